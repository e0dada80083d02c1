"""Runs scripts as a server does: one Lua interpreter, which all simulated servers of a process share.

fakeredis compiles a script anew at each call, and turns each table into Python's lists on its way to the
wire. Here a script is compiled once, and its reply is written as the wire wants it by Lua itself.
"""

from typing import TYPE_CHECKING, Any

import fakeredis
from fakeredis._helpers import SimpleError

from tests.simulation.quick import LISTS, QUICK, SLOWLY

if TYPE_CHECKING:
    from tests.simulation.session import Session

_MANY = 4000
"""So many words are more than a call may have."""

_GLUE = """
function(call, items, lists)
  -- What is always a list comes as several values, of which Lua makes a table faster than Python.
  redis.call = function(name, ...)
    if lists[name] then return { items(name, ...) } end
    return call(name, ...)
  end

  local function resp(value)
    local kind = type(value)
    if kind == 'string' then return '$' .. #value .. '\\r\\n' .. value .. '\\r\\n' end
    if kind == 'number' then
      return string.format(':%.0f\\r\\n', (value < 0 and math.ceil(value) or math.floor(value)) + 0)
    end
    if kind == 'boolean' then return value and ':1\\r\\n' or '$-1\\r\\n' end
    if kind == 'nil' then return '$-1\\r\\n' end
    if kind ~= 'table' then error('no reply of a script: ' .. kind) end
    if value.ok then return '+' .. value.ok .. '\\r\\n' end
    if value.err then return '-' .. value.err .. '\\r\\n' end
    local parts = { '' }
    for place, item in ipairs(value) do parts[place + 1] = resp(item) end
    parts[1] = '*' .. (#parts - 1) .. '\\r\\n'
    return table.concat(parts)
  end

  local function run(script, keys, all)
    local left = {}
    for place = keys + 1, #all do
      left[place - keys], all[place] = all[place], nil
    end
    KEYS, ARGV = all, left
    return resp(script())
  end
  return function(script, keys, ...) return run(script, keys, { ... }) end, run
end
"""


class Interpreter:
    """Lua, with a `redis.call` that asks whichever session runs a script."""

    def __init__(self, session: "Session") -> None:
        home: Any = fakeredis.FakeServer(version=(7,))
        self._lua: Any = session.new_runtime(home)
        self._sessions: list[Any] = home._lua_current_socket
        self._compiled: dict[bytes, Any] = {}
        lists = self._lua.table_from(dict.fromkeys(LISTS, True))
        self._run, self._run_with_many = self._lua.eval(_GLUE)(self._call, self._items, lists)

    def run(self, session: "Session", text: bytes, keys: int, words: list[bytes]) -> bytes:
        """Run a script; its reply, as it goes over the wire."""
        script = self._compiled.get(text)
        if script is None:
            script = self._compiled[text] = self._lua.compile(text)
        self._sessions[0] = session
        try:
            reply: bytes
            if len(words) < _MANY:
                reply = self._run(script, keys, *words)
            else:
                reply = self._run_with_many(script, keys, self._lua.table_from(words))
        except SimpleError as error:
            return b"-%b\r\n" % error.value.encode()
        except Exception as error:  # noqa: BLE001 -- whatever went wrong in the script
            return b"-ERR Error running script: %b\r\n" % str(error).replace("\n", " ").encode()
        return reply

    # What scripts call.

    def _call(self, name: bytes, *args: Any) -> Any:
        return self.answer(self._sessions[0], name, args)

    def _items(self, name: bytes, *args: Any) -> tuple[Any, ...]:
        session = self._sessions[0]
        words = [arg if type(arg) is bytes else _text(arg) for arg in args]
        answer = QUICK[name](session.redis.db, words)
        if answer is SLOWLY:
            return tuple(self._ask(session, name, words).values())
        return tuple(map(self._for_lua, answer))

    def answer(self, session: "Session", name: bytes, args: tuple[Any, ...]) -> Any:
        """What `redis.call` says."""
        words = [arg if type(arg) is bytes else _text(arg) for arg in args]
        if name == b"HSET" and session.redis.common.observe is not None:
            session.redis.common.observe(session, words)
        quick = QUICK.get(name)
        if quick is not None and (answer := quick(session.redis.db, words)) is not SLOWLY:
            return self._for_lua(answer)
        return self._ask(session, name, words)

    def _ask(self, session: "Session", name: bytes, words: list[bytes]) -> Any:
        return session.ask_fakeredis(self._lua, name.decode().lower(), words)

    def _for_lua(self, answer: Any) -> Any:
        if answer.__class__ is list:
            return self._lua.table_from(list(map(self._for_lua, answer)))
        return answer


def _text(number: float) -> bytes:
    return f"{number:.17g}".encode()


_made: list[Interpreter] = []


def interpreter(session: "Session") -> Interpreter:
    """The interpreter of this process."""
    if not _made:
        _made.append(Interpreter(session))
    return _made[0]
