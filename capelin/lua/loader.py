"""Loads the Lua scripts that are the state transitions.

A script opens with a contract: its purpose, its keys, its arguments, its reply, the guarantees it keeps.
The loader turns the names of keys and arguments into Lua locals and resolves includes (each once,
cycles refused), so that no script counts indexes.

What a script includes is defined anew at each call of it, and that is a good part of what a short call costs.
What it needs ``rarely`` is defined when it is first asked for: ``rarely().bury(uid)``.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files

from capelin.lua.call import Script

_HEADER = re.compile(r"^-- (KEYS|ARGV|include|rarely):[ \t]*(.*)$", re.MULTILINE)
_GROUP = re.compile(r"^\*(\w+)\(([\w, ]+)\)$")
_COMMENT = re.compile(r"^[ \t]*--.*\n", re.MULTILINE)
_ASKED = re.compile(r"\brarely\(\)\.(\w+)")
_FUNCTION = re.compile(r"^local function (\w+)", re.MULTILINE)


class ScriptError(Exception):
    """A script's header or an include is not right; a mistake in capelin itself, found at import."""


def _read(path: str) -> str:
    try:
        return files("capelin.lua").joinpath(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ScriptError(f"no file {path} beside the Lua loader") from None


def _header(text: str, path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in _HEADER.findall(text):
        if name in found:
            raise ScriptError(f"{path}: more than one line {name}:")
        found[name] = value.strip()
    return found


def _names(line: str) -> list[str]:
    return [name for name in re.split(r",\s*(?![^(]*\))", line) if name]


def _includes(
    names: Iterable[str], done: dict[str, str], path: tuple[str, ...], read: Callable[[str], str]
) -> None:
    for name in names:
        if name in path:
            raise ScriptError(f"includes go in a circle: {' -> '.join((*path, name))}")
        if name not in done:
            text = read(f"includes/{name}.lua")
            _includes(_names(_header(text, name).get("include", "")), done, (*path, name), read)
            done[name] = text


def _check_rows(text: str, group_name: str, group: tuple[str, ...], path: str) -> None:
    for names in re.findall(rf"local ([\w, ]+) = {group_name}\(i\)", text):
        if tuple(_names(names)) != group:
            raise ScriptError(f"{path}: {group_name}(i) gives {', '.join(group)}, not {names}")


def _code(text: str) -> str:
    return _COMMENT.sub("", text).strip()


def _rarely(parts: Sequence[str], body: str, path: str) -> Iterable[str]:
    """A function that defines these includes once, and returns their functions by name."""
    names = [name for part in parts for name in _FUNCTION.findall(part)]
    for asked in _ASKED.findall(body):
        if asked not in names:
            raise ScriptError(f"{path}: nothing that it needs rarely defines {asked}")
    if not parts:
        return
    yield "local rare"
    yield "local function rarely()"
    yield "if rare then return rare end"
    yield from map(_code, parts)
    yield f"rare = {{ {', '.join(f'{name} = {name}' for name in names)} }}"
    yield "return rare"
    yield "end"


def assemble(name: str, text: str, read: Callable[[str], str] = _read) -> Script:
    """Make a script of a file's text: locals for its names, its includes (``read`` by path), its body."""
    header = _header(text, name)
    if "KEYS" not in header or "ARGV" not in header:
        raise ScriptError(f"{name}: a script opens with its KEYS and ARGV")
    lines = [f"-- capelin {name}"]
    keys = _names(header["KEYS"])
    for index, key in enumerate(keys, 1):
        if key.startswith("*"):
            if index != len(keys):
                raise ScriptError(f"{name}: {key} must be the last of KEYS")
            lines.append(f"local {key[1:]} = {{ unpack(KEYS, {index}) }}")
        else:
            lines.append(f"local {key} = KEYS[{index}]")
    args = _names(header["ARGV"])
    group: tuple[str, ...] = ()
    if args and (match := _GROUP.match(args[-1])):
        args.pop()
        group = tuple(_names(match[2]))
        row = ", ".join(f"ARGV[i + {offset}]" if offset else "ARGV[i]" for offset in range(len(group)))
        lines.append(f"local FIRST, STEP = {len(args) + 1}, {len(group)}")
        lines.append(f"local function {match[1]}(i) return {row} end")
        _check_rows(text, match[1], group, name)
    lines += [f"local {arg} = ARGV[{index}]" for index, arg in enumerate(args, 1)]
    included: dict[str, str] = {}
    _includes(_names(header.get("include", "")), included, (), read)
    lines += map(_code, included.values())
    always = len(included)
    _includes(_names(header.get("rarely", "")), included, (), read)
    lines += _rarely(list(included.values())[always:], text, name)
    lines.append(_code(text))
    return Script(name=name, text="\n".join(lines) + "\n", keys=tuple(keys), args=tuple(args), group=group)


@cache
def load(name: str) -> Script:
    """Load one script of the package.

    Raises:
        ScriptError: Its header is not complete, an include is missing, or includes go in a circle.
    """
    return assemble(name, _read(f"{name}.lua"))
