"""What is typed wrong is answered in one line that says what to do, and ends with exit status 2."""

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import APP, Run, one_line
from tests.support.ports import free_port


def test_a_module_that_is_not_there_names_the_nearest(run: Run) -> None:
    line = one_line(run("worker", "tests.cli.apps.shp:app"))
    assert "no module 'tests.cli.apps.shp'" in line
    assert "did you mean 'tests.cli.apps.shop'?" in line


def test_a_module_in_no_package_names_the_nearest_in_the_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "billing.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert "did you mean 'billing'?" in one_line(run("worker", "biling:app"))
    assert f"is it in this folder ({tmp_path})? --app-dir names another" in one_line(run("worker", "zzz:app"))


def test_an_attribute_that_is_not_there_names_the_app(run: Run) -> None:
    line = one_line(run("worker", "tests.cli.apps.shop:ap"))
    assert line == (
        "cannot load 'tests.cli.apps.shop:ap': tests.cli.apps.shop has no attribute 'ap'; "
        "did you mean tests.cli.apps.shop:app?"
    )


def test_something_else_than_an_app_names_the_app(run: Run) -> None:
    line = one_line(run("worker", "tests.cli.apps.shop:greet"))
    assert "it is a AsyncTask, not a Capelin app; did you mean tests.cli.apps.shop:app?" in line


def test_a_file_instead_of_a_module_is_told_how_to_write_it(run: Run) -> None:
    assert "did you mean examples.quickstart:app?" in one_line(run("worker", "./examples/quickstart.py"))


def test_a_module_that_fails_on_import_says_where(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "falls_over.py").write_text("from capelin import Capelin\n\nprint(undefined)\n")
    (tmp_path / "no_python.py").write_text("app = (\n")
    (tmp_path / "needs.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    line = one_line(run("worker", "falls_over:app"))
    assert "NameError: name 'undefined' is not defined (falls_over.py, line 3)" in line
    assert "python -c 'import falls_over' shows where" in line
    assert "SyntaxError" in one_line(run("worker", "no_python:app"))
    assert "No module named 'no_such_library' (needs.py, line 1)" in one_line(run("worker", "needs:app"))


def test_a_module_without_an_app_and_one_with_several_say_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none_here.py").write_text("")
    (tmp_path / "two_here.py").write_text("from capelin import Capelin\na, b = Capelin(), Capelin()\n")
    monkeypatch.chdir(tmp_path)
    assert "has no Capelin app" in one_line(run("worker", "none_here"))
    assert "did you mean two_here:a or two_here:b?" in one_line(run("worker", "two_here"))


def test_an_app_without_tasks_is_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty_app.py").write_text("from capelin import Capelin\napp = Capelin()\n")
    monkeypatch.chdir(tmp_path)
    assert "has no tasks" in one_line(run("worker", "empty_app:app"))


def test_an_app_dir_that_is_not_there_is_named(run: Run) -> None:
    assert "there is no folder 'nowhere'" in one_line(run("worker", APP, "--app-dir", "nowhere"))


def test_no_app_at_all_is_asked_for(run: Run) -> None:
    assert "missing argument 'APP'" in one_line(run("worker"))


@pytest.mark.parametrize(
    "words",
    [
        ("worker", APP, "-q", "e mails"),
        ("worker", APP, "-q", "emails=0"),
        ("worker", APP, "-q", "emails=many"),
        ("worker", APP, "-q", "emails", "-q", "emails=2"),
        ("worker", APP, "-c", "0"),
        ("worker", APP, "--grace", "-1"),
        ("worker", APP, "--processes", "0"),
        ("worker", APP, "--prefix", "a b"),
        ("worker", APP, "--name", "a b"),
        ("scheduler", APP, "--name", "a b"),
        ("scheduler", APP, "--grace", "-1"),
    ],
    ids=" ".join,
)
def test_options_of_a_worker_that_make_no_sense_are_refused(run: Run, words: tuple[str, ...]) -> None:
    one_line(run(*words))


@pytest.mark.parametrize(
    "command", [("worker", APP), ("queues",), ("jobs", "ls"), ("dlq",), ("enqueue", APP, "greet")]
)
def test_a_url_that_cannot_be_understood_is_refused(run: Run, command: tuple[str, ...]) -> None:
    assert "Redis URL 'http://localhost'" in one_line(run(*command, "--redis", "http://localhost"))


@pytest.mark.parametrize(
    "command",
    [
        ("queues",),
        ("queues", "show", "default"),
        ("queues", "pause", "default"),
        ("queues", "resume", "default"),
        ("jobs",),
        ("jobs", "show", "default.0.x"),
        ("jobs", "cancel", "default.0.x", "--yes"),
        ("jobs", "retry", "default.0.x"),
        ("dlq",),
        ("dlq", "replay", "--all"),
        ("dlq", "purge", "--all", "--yes"),
        ("workers",),
        ("workers", "show", "w"),
        ("shards",),
        ("leader",),
        ("schedules",),
        ("schedules", "show", "one"),
        ("schedules", "next", "one"),
        ("schedules", "pause", "one"),
        ("schedules", "resume", "one"),
        ("schedules", "trigger", "one"),
        ("schedules", "rm", "one", "--yes"),
        ("schedules", "add", "one", "every:60", "greet"),
        ("enqueue", APP, "greet", '["Ada"]'),
    ],
    ids=" ".join,
)
def test_a_redis_that_does_not_answer_is_named_with_what_to_check(run: Run, command: tuple[str, ...]) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    line = one_line(run(*command, "--redis", url))
    assert f"Redis at {url} does not answer" in line
    assert "check the address, the network and the server" in line
    assert "--redis or CAPELIN_REDIS_URL name another" in line


def test_a_password_in_a_url_is_not_shown(run: Run) -> None:
    line = one_line(run("queues", "--redis", f"redis://:hush@127.0.0.1:{free_port()}/0"))
    assert "hush" not in line
    assert "***" in line


def test_a_redis_of_one_process_is_refused(run: Run) -> None:
    assert "lives inside one process" in one_line(run("queues", "--redis", "memory://x"))
    assert "lives inside one process" in one_line(
        run("enqueue", APP, "greet", '["Ada"]', "--redis", "memory://x")
    )
    assert "lives inside one process" in one_line(run("worker", APP, "--redis", "memory://x"))


def test_settings_of_the_environment_that_make_no_sense_are_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPELIN_LEASE_TTL", "soon")
    assert "CAPELIN_LEASE_TTL" in one_line(run("queues"))
    assert "CAPELIN_LEASE_TTL" in one_line(run("worker", APP))


def test_a_task_that_is_not_there_names_the_nearest(run: Run) -> None:
    line = one_line(run("enqueue", APP, "gret", '["Ada"]'))
    assert line == "no task named 'gret' in this app; did you mean 'greet'?"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("{name: Ada}", "is no JSON"),
        ("3", "arguments are a JSON object (by name) or list (by position), not 3"),
        ('{"nam": "Ada"}', "nam"),
        ('{"name": 3}', "name"),
        ("[]", "name"),
        ('["Ada", "!", 1]', "greet"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(run: Run, arguments: str, why: str) -> None:
    assert why in one_line(run("enqueue", APP, "greet", arguments))


def test_options_of_a_call_that_make_no_sense_are_refused(run: Run) -> None:
    assert "expected one of 'critical'" in one_line(
        run("enqueue", APP, "greet", '["A"]', "--priority", "urgent")
    )
    one_line(run("enqueue", APP, "greet", '["A"]', "--queue", "a b"))
    one_line(run("enqueue", APP, "greet", '["A"]', "--delay", "-5"))


def test_commands_and_options_that_are_not_there_name_the_nearest(run: Run) -> None:
    assert "did you mean 'queues'" in one_line(run("queue")).lower()
    assert "did you mean 'show'" in one_line(run("jobs", "shwo")).lower()
    assert "--limt" in one_line(run("jobs", "--limt", "3"))


def test_ids_that_are_none_are_refused(run: Run) -> None:
    for verb in ("show", "retry"):
        assert "'nonsense' is not a job id" in one_line(run("jobs", verb, "nonsense"))
    assert "'nonsense' is not a job id" in one_line(run("jobs", "cancel", "nonsense", "--yes"))
    assert "'nonsense' is not a job id" in one_line(run("dlq", "replay", "nonsense"))


def test_jobs_that_are_not_there_are_named(run: Run) -> None:
    for words in (("jobs", "show"), ("jobs", "retry"), ("dlq", "show"), ("dlq", "replay"), ("dlq", "purge")):
        assert "no job default.0.nothing" in one_line(run(*words, "default.0.nothing"))


def test_a_status_that_is_none_names_the_nearest(run: Run) -> None:
    assert "did you mean 'failed'?" in one_line(run("jobs", "--status", "fail"))
    assert "one of scheduled, queued" in one_line(run("jobs", "--status", "zz"))


def test_a_bare_replay_or_purge_asks_which(run: Run) -> None:
    for verb in ("replay", "purge"):
        assert f"capelin dlq {verb} ID… | --task TASK | --queue QUEUE | --error PATTERN | --all" in one_line(
            run("dlq", verb)
        )
        assert "ids do not go together" in one_line(run("dlq", verb, "default.0.x", "--all"))


def test_an_error_nobody_expected_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["capelin", "queues"])
    monkeypatch.setenv("CAPELIN_REDIS_URL", "redis://127.0.0.1:1/0")

    def surprise(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("capelin.cli.asking.ask", surprise)
    with pytest.raises(ZeroDivisionError):
        run("queues")


@pytest.mark.parametrize(
    "words", [("schedules", "show"), ("queues", "pause"), ("jobs", "ls", "--task")], ids=str
)
def test_bytes_that_are_no_text_are_refused(run: Run, words: tuple[str, ...]) -> None:
    assert one_line(run(*words, "\udcff")) == "'\\udcff' is no text in UTF-8"
