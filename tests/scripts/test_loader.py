"""The Lua is a code base: its contracts, names and includes are checked before anything runs."""

import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.resources import files
from pkgutil import iter_modules
from typing import Any, NamedTuple

import pytest

from capelin import lua
from capelin.keys import LEADER, Keys
from capelin.lua import Call
from capelin.lua.loader import ScriptError, assemble, load
from capelin.lua.typed import Transition, checked
from tests.scripts.lua_globals import KNOWN_TO_REDIS, globals_of

FOLDER = files("capelin.lua")
SCRIPTS = sorted(file.name.removesuffix(".lua") for file in FOLDER.iterdir() if file.name.endswith(".lua"))
INCLUDES = sorted(
    file.name.removesuffix(".lua")
    for file in FOLDER.joinpath("includes").iterdir()
    if file.name.endswith(".lua")
)
MODULES = [import_module(f"{lua.__name__}.{found.name}") for found in iter_modules(lua.__path__)]

# What must work on a full Redis, so that it drains. Each opens with a write that is allowed there, after
# which Redis lets the rest of the script pass.
ALLOWED_WHEN_FULL = {
    "lease_acquire",
    "lease_renew",
    "lease_release",
    "fleet_beat",
    "fleet_leave",
    "renew",
    "take",
    "finish",
    "reap",
    "cancel",
    "retain",
    "unpark",
    "leave",
    "watch",
    "schedule_intend",
    "schedule_commit",
    "schedule_drop",
    "singleton_declare",
    "singleton_begin",
    "singleton_save",
    "singleton_note",
    "singleton_aside",
}


def text_of(name: str) -> str:
    return FOLDER.joinpath(f"{name}.lua").read_text(encoding="utf-8")


def include_text(name: str) -> str:
    return FOLDER.joinpath(f"includes/{name}.lua").read_text(encoding="utf-8")


def body_of(text: str) -> list[str]:
    """Lines of code, without comments."""
    return [line for line in text.splitlines() if line.strip() and not line.strip().startswith("--")]


def reader(**includes: str) -> Callable[[str], str]:
    """Includes from memory instead of from the package."""
    by_path = {f"includes/{name}.lua": text for name, text in includes.items()}
    return lambda path: by_path[path]


HEADER = "-- x: does nothing.\n-- KEYS: one\n-- ARGV: two\n"


def test_an_include_comes_once_and_before_what_needs_it() -> None:
    includes = reader(
        left="-- include: base\nlocal left = base",
        right="-- include: base\nlocal right = base",
        base="local base = 1",
    )
    script = assemble("x", f"{HEADER}-- include: left, right\nreturn left + right", includes)
    lines = [line for line in script.text.splitlines() if not line.startswith("--")]
    assert lines == [
        "local one = KEYS[1]",
        "local two = ARGV[1]",
        "local base = 1",
        "local left = base",
        "local right = base",
        "return left + right",
    ]


def run(text: str) -> Any:
    """What a text without Redis comes to."""
    lua_runtime: Any = import_module("lupa.lua51").LuaRuntime()
    return lua_runtime.execute(f"local KEYS, ARGV = {{'k'}}, {{'a'}}\n{text}")


def test_what_is_needed_rarely_is_defined_once_and_only_when_asked_for() -> None:
    includes = reader(
        rare="-- include: base, more\ndefined = defined + 1\nlocal function both() return base + more() end",
        base="local base = 1",
        more="local function more() return 2 end",
    )
    header = f"{HEADER}-- include: base\n-- rarely: rare\ndefined = 0\n"
    assert run(assemble("x", f"{header}return defined", includes).text) == 0
    asked = "local sum = rarely().both() + rarely().both() + rarely().more()"
    script = assemble("x", f"{header}{asked}\nreturn sum * 10 + defined", includes)
    assert run(script.text) == 81
    assert script.text.count("local base = 1") == 1


def test_what_no_rare_include_defines_is_refused() -> None:
    includes = reader(rare="local function both() return 1 end")
    with pytest.raises(ScriptError, match="nothing that it needs rarely defines bothh"):
        assemble("x", f"{HEADER}-- rarely: rare\nreturn rarely().bothh()", includes)


def test_includes_that_go_in_a_circle_are_refused_with_the_way_they_go() -> None:
    includes = reader(a="-- include: b", b="-- include: c", c="-- include: a")
    with pytest.raises(ScriptError, match="a -> b -> c -> a"):
        assemble("x", f"{HEADER}-- include: a", includes)


def test_an_include_that_includes_itself_is_refused() -> None:
    with pytest.raises(ScriptError, match="a -> a"):
        assemble("x", f"{HEADER}-- include: a", reader(a="-- include: a"))


def test_an_include_that_does_not_exist_is_named() -> None:
    with pytest.raises(ScriptError, match=r"no file includes/nowhere\.lua"):
        assemble("x", f"{HEADER}-- include: nowhere")


def test_a_script_that_does_not_exist_is_named() -> None:
    with pytest.raises(ScriptError, match=r"no file nowhere\.lua"):
        load("nowhere")


@pytest.mark.parametrize("missing", ["KEYS", "ARGV"])
def test_a_script_without_its_contract_is_refused(missing: str) -> None:
    header = "".join(line for line in HEADER.splitlines(keepends=True) if missing not in line)
    with pytest.raises(ScriptError, match="opens with its KEYS and ARGV"):
        assemble("x", header + "return 1")


def test_a_header_that_says_something_twice_is_refused() -> None:
    with pytest.raises(ScriptError, match="more than one line KEYS"):
        assemble("x", HEADER + "-- KEYS: three\nreturn 1")


def test_keys_of_unknown_number_must_be_the_last() -> None:
    with pytest.raises(ScriptError, match="must be the last"):
        assemble("x", "-- KEYS: *many, one\n-- ARGV:\nreturn 1")


def test_names_become_locals_and_the_rest_of_the_keys_a_list() -> None:
    script = assemble("x", "-- KEYS: one, *rest\n-- ARGV: a, *row(b, c)\nlocal b, c = row(i)")
    assert script.keys == ("one", "*rest")
    assert script.args == ("a",)
    assert script.group == ("b", "c")
    assert "local rest = { unpack(KEYS, 2) }" in script.text
    assert "local FIRST, STEP = 2, 2" in script.text
    assert "local function row(i) return ARGV[i], ARGV[i + 1] end" in script.text


@pytest.mark.parametrize("names", ["c, b", "b", "b, c, d"])
def test_a_row_read_under_other_names_than_the_contract_is_refused(names: str) -> None:
    with pytest.raises(ScriptError, match=r"row\(i\) gives b, c, not"):
        assemble("x", f"-- KEYS:\n-- ARGV: *row(b, c)\nlocal {names} = row(i)")


def test_a_script_is_known_by_its_text() -> None:
    first, same = assemble("x", HEADER + "return 1"), assemble("x", HEADER + "return 1")
    other = assemble("x", HEADER + "return 2")
    assert first.sha == same.sha
    assert first.sha != other.sha
    assert len(first.sha) == 40


def test_the_shas_of_all_scripts_differ() -> None:
    assert len({load(name).sha for name in SCRIPTS}) == len(SCRIPTS)


class Pair(NamedTuple):
    """A row."""

    uid: str
    token: int


ADOPT = Transition("adopt")


def test_a_wrapper_with_another_parameter_than_the_script_is_refused_at_import() -> None:
    with pytest.raises(ScriptError, match="wrong: parameters"):

        @checked(ADOPT, rows=Pair)
        def wrong(*, owner: str, running: list[Pair]) -> Call[int]:
            return ADOPT((), int, running, worker=owner)


def test_a_wrapper_whose_rows_have_other_fields_is_refused_at_import() -> None:
    class Reversed(NamedTuple):
        token: int
        uid: str

    with pytest.raises(ScriptError, match="wrong: rows"):

        @checked(ADOPT, rows=Reversed)
        def wrong(*, worker: str, running: list[Reversed]) -> Call[int]:
            return ADOPT((), int, running, worker=worker)


def test_a_wrapper_that_fits_is_left_as_it_is() -> None:
    def right(*, worker: str, running: list[Pair]) -> Call[int]:
        return ADOPT(("k",), int, running, worker=worker)

    assert checked(ADOPT, rows=Pair)(right) is right
    assert right(worker="w", running=[Pair("u", 1), Pair("v", 2)]).args == ["w", "u", 1, "v", 2]


def test_a_row_of_another_length_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ScriptError, match="a row has 3 values, not 2"):
        ADOPT(("k",), int, [("u", 1, 2)], worker="w")


def test_an_argument_that_is_missing_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        ADOPT(("k",), int)


def test_no_value_is_an_empty_text_and_truth_is_a_number() -> None:
    assert Transition("renew")(("k",), int, worker="w", ttl=1, epoch=None, staked=True).args == [
        "w",
        1,
        "",
        1,
    ]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_opens_with_its_contract(name: str) -> None:
    header = "\n".join(line for line in text_of(name).splitlines() if line.startswith("--"))
    assert header.startswith(f"-- {name}: "), "the first line says what it is for"
    for word in ("KEYS", "ARGV", "Reply"):
        assert len(re.findall(rf"^-- {word}:", header, re.MULTILINE)) == 1, word


@pytest.mark.parametrize("name", INCLUDES)
def test_every_include_says_what_it_is_for(name: str) -> None:
    assert re.search(rf"^-- {name}: \w+", include_text(name), re.MULTILINE)


def test_every_include_is_used() -> None:
    used: set[str] = set()
    for text in (*map(text_of, SCRIPTS), *map(include_text, INCLUDES)):
        for line in re.findall(r"^-- (?:include|rarely): (.*)$", text, re.MULTILINE):
            used.update(line.split(", "))
    assert used == set(INCLUDES)


@pytest.mark.parametrize("name", sorted(ALLOWED_WHEN_FULL))
def test_what_drains_a_full_redis_begins_with_a_write_that_is_allowed_there(name: str) -> None:
    first = next(line for line in body_of(text_of(name)) if "redis." in line)
    assert re.match(r"redis\.call\('PERSIST', \w+\)", first)


def test_what_only_adds_work_does_not_begin_with_such_a_write() -> None:
    assert "PERSIST" not in text_of("enqueue").partition("local verdicts")[0]  # behind it, nothing was added
    assert "PERSIST" not in text_of("replay")


def transitions() -> Iterator[tuple[str, Transition]]:
    for module in MODULES:
        for name, value in vars(module).items():
            if isinstance(value, Transition):
                yield f"{module.__name__}.{name}", value


def test_every_script_is_reached_by_one_public_function() -> None:
    by_global = {name: transition.script.name for name, transition in transitions()}
    reached: dict[str, str] = {}
    for module in MODULES:
        for name, function in vars(module).items():
            if (
                name.startswith("_")
                or not inspect.isfunction(function)
                or function.__module__ != module.__name__
            ):
                continue
            for word in function.__code__.co_names:
                script = by_global.get(f"{module.__name__}.{word}")
                if script is not None:
                    assert script not in reached, f"{script} has two functions: {name} and {reached[script]}"
                    reached[script] = name
    assert sorted(reached) == SCRIPTS


def test_every_declared_key_is_one_of_the_shard_and_all_are_in_its_slot() -> None:
    shard = Keys().shard("emails", 3)
    for _, transition in transitions():
        if transition.script.name.startswith(
            ("lease_", "fleet_", "open_", "queue_", "schedule_", "singleton_")
        ):
            continue
        keys = transition.keys_of(shard)
        assert keys
        assert all(key.startswith("capelin:{emails:3}:") for key in keys)


def test_every_declared_key_of_schedules_is_in_their_slot_and_so_is_the_lease_that_fences_them() -> None:
    keys = Keys()
    places = {name: getattr(keys, name) for name in dir(keys) if name.startswith("schedules_")}
    places["lease"] = keys.lease(LEADER)
    found = {name: t.script.keys for name, t in transitions() if t.script.name.startswith("schedule_")}
    assert len(found) == 7
    for name, declared in found.items():
        assert all(places[key].startswith("capelin:{schedules}:") for key in declared), name


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name.startswith(("schedule_", "singleton_"))])
def test_what_takes_an_epoch_looks_at_it_before_it_writes(name: str) -> None:
    text = text_of(name)
    if "epoch" not in load(name).args:
        return
    lines = [line for line in body_of(text) if re.search(r"redis\.call|deposed\(\)|_item\(", line)]
    before = lines[: next(n for n, line in enumerate(lines) if "deposed()" in line)]
    assert all(re.match(r"redis\.call\('PERSIST', \w+\)", line) for line in before)


def test_the_check_for_globals_finds_them_in_inner_functions() -> None:
    chunk = globals_of(
        "local a = 1 local function f() return function() return a + mispelt end end forgotten = f"
    )
    assert chunk.read == {"mispelt"}
    assert chunk.written == {"forgotten"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_uses_a_name_that_redis_does_not_give_it(name: str) -> None:
    chunk = globals_of(load(name).text)
    assert chunk.read <= KNOWN_TO_REDIS
    assert not chunk.written
