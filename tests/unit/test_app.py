"""What an app knows before it connects: its name, its Redis, its tasks, its settings."""

import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import pytest

from capelin import (
    Capelin,
    ConfigurationError,
    InvalidName,
    InvalidOption,
    InvalidURL,
    NoResources,
    Settings,
    TaskOptions,
    Tasks,
    UnknownTask,
)
from capelin._binding import override

app = Capelin("memory://module-level")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder from which modules can be imported; those that were are forgotten."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = dict(sys.modules)
    yield tmp_path
    for name in set(sys.modules).difference(before):
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the surroundings say does not count here."""
    for name in ("CAPELIN_REDIS_URL", "CAPELIN_PREFIX", "CAPELIN_CLI_REDIS_URL", "CAPELIN_CLI_PREFIX"):
        monkeypatch.delenv(name, raising=False)


class TestWhere:
    """Which Redis, and which prefix."""

    def test_without_a_word_it_is_the_local_one(self) -> None:
        bare = Capelin()
        assert (bare.url, bare.keys.prefix) == ("redis://localhost:6379/0", "capelin")

    def test_the_environment_says_where(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CAPELIN_REDIS_URL", "redis://env:1/0")
        monkeypatch.setenv("CAPELIN_PREFIX", "env")
        from_env = Capelin()
        assert (from_env.url, from_env.keys.prefix) == ("redis://env:1/0", "env")

    def test_an_argument_overrides_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CAPELIN_REDIS_URL", "redis://env:1/0")
        monkeypatch.setenv("CAPELIN_PREFIX", "env")
        given = Capelin("redis://argument:1/0", prefix="argument")
        assert (given.url, given.keys.prefix) == ("redis://argument:1/0", "argument")

    def test_the_command_line_overrides_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("CAPELIN_CLI_REDIS_URL", "CAPELIN_CLI_PREFIX"):
            monkeypatch.setenv(name, "")  # so that what is set below goes with the test
            monkeypatch.delenv(name)
        given = Capelin("redis://argument:1/0", prefix="argument", settings=Settings(prefix="settings"))
        override(url="redis://cli:1/0", prefix="cli")
        assert (given.url, given.keys.prefix) == ("redis://cli:1/0", "cli")
        with given.testing():
            assert given.url.startswith("memory://")

    def test_settings_can_be_given(self) -> None:
        given = Capelin(settings=Settings(redis_url="redis://settings:1/0", prefix="settings", shards=3))
        assert (given.url, given.keys.prefix, given.settings.shards) == (
            "redis://settings:1/0",
            "settings",
            3,
        )

    def test_a_wrong_url_is_refused_when_it_is_first_needed(self) -> None:
        with pytest.raises(InvalidURL, match=r"redis\+cluster"):
            _ = Capelin("redis-cluster://somewhere").url
        with pytest.raises(InvalidURL):
            override(url="somewhere")
        with pytest.raises(InvalidName):
            override(prefix="a:b")

    def test_a_wrong_prefix_is_refused_at_once(self) -> None:
        with pytest.raises(InvalidName, match="prefix"):
            Capelin(prefix="a:b")

    def test_a_wrong_variable_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CAPELIN_SHARDS", "many")
        with pytest.raises(ConfigurationError, match="CAPELIN_SHARDS=many: Input should be a valid integer"):
            _ = Capelin().settings

    def test_settings_that_contradict_each_other_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CAPELIN_RESEND_WINDOW", "20")
        with pytest.raises(ConfigurationError, match="must stay below resend_window"):
            _ = Capelin().settings


class TestName:
    """What it is called."""

    def test_it_is_what_it_was_given(self) -> None:
        named = Capelin(name="billing")
        named.imported_as("x:y")
        assert named.name == "billing"
        with pytest.raises(InvalidName):
            Capelin(name="a b")

    def test_else_it_is_the_import_string(self) -> None:
        assert app.name == f"{__name__}:app"
        assert repr(app) == f"<Capelin {__name__}:app: 0 tasks>"

    def test_else_it_is_how_it_was_loaded(self) -> None:
        loaded = Capelin()
        loaded.imported_as("shop.tasks:app")
        assert loaded.name == "shop.tasks:app"

    def test_else_it_is_the_module_that_made_it(self) -> None:
        assert Capelin().name == __name__


class TestTasks:
    """What it includes."""

    def test_modules_are_imported_when_the_tasks_are_needed(self, modules: Path) -> None:
        (modules / "shop_app.py").write_text(
            "from capelin import Capelin\n"
            "app = Capelin('memory://x', include=['shop_tasks', 'shop_more:more'])\n"
        )
        (modules / "shop_tasks.py").write_text(
            textwrap.dedent("""
            from capelin import Tasks
            from shop_app import app
            @app.task
            async def direct() -> None: ...
            group = Tasks(prefix="group.")
            @group.task
            async def grouped() -> None: ...
            """)
        )
        (modules / "shop_more.py").write_text(
            textwrap.dedent("""
            from capelin import Tasks
            more, others = Tasks(prefix="more."), Tasks(prefix="others.")
            @more.task
            async def one() -> None: ...
            @others.task
            async def two() -> None: ...
            """)
        )
        shop = imported("shop_app").app
        assert len(shop.registry) == 0
        assert "shop_tasks" not in sys.modules
        assert list(shop.tasks) == ["direct", "group.grouped", "more.one"]
        shop.include("shop_more")
        assert "others.two" in shop.tasks

    def test_a_module_that_does_not_exist_is_named(self) -> None:
        lost = Capelin(include=["no_such_module.tasks"])
        with pytest.raises(ConfigurationError, match="no module named 'no_such_module'"):
            _ = lost.tasks
        with pytest.raises(ConfigurationError, match="no module named 'no_such_module'"):
            _ = lost.tasks

    def test_a_group_that_does_not_exist_is_named(self) -> None:
        with pytest.raises(ConfigurationError, match="'json:loads' names no Tasks"):
            _ = Capelin(include=["json:loads"]).tasks

    def test_what_a_module_raises_is_raised(self, modules: Path) -> None:
        (modules / "broken_tasks.py").write_text("import not_installed_at_all\n")
        with pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
            _ = Capelin(include=["broken_tasks"]).tasks

    @pytest.mark.parametrize("path", ["", "a b", "a/b.py", "a:", "a:b:c", ".a", "a."])
    def test_what_is_no_import_path_is_refused_at_once(self, path: str) -> None:
        with pytest.raises(ConfigurationError, match="is not a module"):
            Capelin(include=[path])

    def test_one_path_will_do(self) -> None:
        assert list(Capelin(include="json").tasks) == []

    def test_a_misspelt_task_is_suggested(self) -> None:
        shop = Capelin()

        @shop.task(name="email.send")
        async def send() -> None: ...

        assert shop.tasks["email.send"] is send
        with pytest.raises(UnknownTask, match=r"did you mean 'email\.send'"):
            _ = shop.tasks["email.sent"]

    def test_an_app_that_only_includes_groups_goes_with_its_last_reference(self) -> None:
        group = Tasks()

        @group.task
        async def nothing() -> None: ...

        for _ in range(3):
            local = Capelin("memory://x", defaults=TaskOptions(queue="q"))
            local.include(group)
            assert nothing.app is local
            with local.testing() as t:
                nothing.enqueue_sync()
                assert len(t.enqueued(nothing)) == 1
            del local, t


class TestResources:
    """What its lifespan yields."""

    async def test_they_are_open_while_it_runs(self) -> None:
        events: list[str] = []

        @asynccontextmanager
        async def lifespan(owner: Capelin[str]) -> AsyncGenerator[str]:
            events.append(f"opens for {owner.name}")
            yield "db"
            events.append("closes")

        local = Capelin("memory://x", name="local", lifespan=lifespan)
        with pytest.raises(NoResources):
            _ = local.resources
        async with local.running() as resources:
            assert resources == local.resources == "db"
            assert events == ["opens for local"]
        assert events == ["opens for local", "closes"]
        with pytest.raises(NoResources):
            _ = local.resources

    async def test_an_app_without_a_lifespan_runs_without(self) -> None:
        bare = Capelin("memory://x", name="bare")
        async with bare.running() as resources:
            assert resources is None
            with pytest.raises(NoResources, match="app bare has no resources"):
                _ = bare.resources

    def test_what_cannot_be_one_is_refused_at_once(self) -> None:
        async def not_a_manager() -> AsyncGenerator[int]:
            yield 1

        with pytest.raises(InvalidOption, match="asynccontextmanager"):
            Capelin(lifespan=not_a_manager)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType, reportCallIssue]
        with pytest.raises(InvalidOption):
            Capelin(middleware=[print])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]


def test_as_a_script_it_is_called_by_its_file(tmp_path: Path) -> None:
    script = tmp_path / "shop.py"
    script.write_text("from capelin import Capelin\napp = Capelin()\nprint(app.name)\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "shop:app\n"


def imported(name: str) -> ModuleType:
    import importlib

    return importlib.import_module(name)
