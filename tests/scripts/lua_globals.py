"""Which globals a script reads and writes: names it forgot to make local, or misspelt, where no test goes.

Read out of what Lua 5.1 compiles it to.
"""

import importlib
import struct
from typing import Any

KNOWN_TO_REDIS = {
    "ARGV",
    "KEYS",
    "cjson",
    "error",
    "ipairs",
    "math",
    "pairs",
    "pcall",
    "redis",
    "string",
    "table",
    "tonumber",
    "type",
    "unpack",
}

_GETGLOBAL, _SETGLOBAL = 5, 7
_HEADER = 12


class Globals:
    """The globals of a compiled chunk.

    Attributes:
        read, written: Their names.
    """

    def __init__(self, dump: bytes) -> None:
        self._dump, self._at = dump, _HEADER
        self.read: set[str] = set()
        self.written: set[str] = set()
        self._function()

    def _unpack(self, kind: str) -> Any:
        [value] = struct.unpack_from(kind, self._dump, self._at)
        self._at += struct.calcsize(kind)
        return value

    def _count(self) -> range:
        return range(self._unpack("<i"))

    def _text(self) -> str:
        length = self._unpack("<Q")
        text = self._dump[self._at : self._at + max(0, length - 1)]
        self._at += length
        return text.decode()

    def _constant(self) -> object:
        match self._unpack("<B"):
            case 0:
                return None
            case 1:
                return bool(self._unpack("<B"))
            case 3:
                return self._unpack("<d")
            case _:
                return self._text()

    def _function(self) -> None:
        self._text()
        self._at += 2 * 4 + 4
        code = [self._unpack("<I") for _ in self._count()]
        constants = [self._constant() for _ in self._count()]
        for word in code:
            names = {_GETGLOBAL: self.read, _SETGLOBAL: self.written}.get(word & 0x3F)
            if names is not None:
                names.add(str(constants[word >> 14]))
        for _ in self._count():
            self._function()
        lines = self._count()
        self._at += 4 * len(lines)
        for _ in self._count():
            self._text()
            self._at += 8
        for _ in self._count():
            self._text()


def globals_of(text: str) -> Globals:
    """Compile a script and look."""
    lua: Any = importlib.import_module("lupa.lua51")
    runtime = lua.LuaRuntime(encoding=None)
    dump = runtime.eval(b"function(text) return string.dump(assert(loadstring(text))) end")
    return Globals(dump(text.encode()))
