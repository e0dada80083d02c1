"""Redis: fakeredis behind a socket, which the network may break.

Bytes come in and go out as over a real connection, so that the wire and hiredis are the real ones. Commands
run one at a time, those of other connections between those of one pipeline. A session that blocks waits its
turn in the order in which it began to block. The server can be killed, and then comes back without the newest
writes.
"""

import asyncio
import copy
import time
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, cast

import fakeredis
import hiredis
from fakeredis._commands import COMMANDS_WITH_SUB
from fakeredis._helpers import NoResponse, SimpleError, SimpleString
from fakeredis.aioredis import AsyncFakeSocket
from fakeredis.model import Hash, XStream
from typing_extensions import override

from tests.simulation.loop import Lane, SimLoop

Observe = Callable[["Session", list[bytes]], None]
_SCRIPTS_KEPT = 200

CHANGED: dict[str, tuple[str, str]] = {}
"""Scripts that are broken on purpose: by name, a part of their text and what stands there instead."""


class Session(AsyncFakeSocket):
    """What the server knows of one connection.

    Args:
        redis: The server.
        pod: Who is at the other end.
        reply: Receives bytes.
    """

    def __init__(self, redis: "SimRedis", pod: str, reply: Callable[[bytes], None], number: int) -> None:
        self.number = number
        super().__init__(redis.fake, 0, client_class=fakeredis.FakeRedis)
        self.redis, self.pod = redis, pod
        self.reply = reply
        self._reader = hiredis.Reader()
        self._waiting: list[list[bytes]] = []
        self._scheduled = False
        self.gone = False
        self.blocked: tuple[Callable[[bool], Any], Callable[[Any], Any] | None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.script_name = ""
        self.in_script = False

    @override
    def __hash__(self) -> int:
        return self.number

    @override
    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return f"<Session {self.number} of {self.pod}>"

    # The connection.

    def receive(self, data: bytes) -> None:
        """Bytes arrived."""
        if self.gone:
            return
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            self._waiting.append(
                [word if isinstance(word, bytes) else str(word).encode() for word in command]
            )
        self._go_on()

    def hang_up(self) -> None:
        """The connection is gone."""
        if self.gone:
            return
        self.gone = True
        self._waiting.clear()
        self.redis.unblock(self)
        if self._timer is not None:
            self._timer.cancel()
        self.close()
        self.redis.sessions.pop(self.number, None)

    def obey(self, command: list[bytes]) -> None:
        """Run a command."""
        self._process_command(command)

    def mark_blocked(self, *, blocked: bool) -> None:
        """Whether `CLIENT UNBLOCK` finds it."""
        self._blocked = blocked

    def _go_on(self) -> None:
        if self._waiting and not self._scheduled and self.blocked is None:
            self._scheduled = True
            self.redis.later(self._next)

    def _next(self) -> None:
        self._scheduled = False
        if self.gone or self.blocked is not None or not self._waiting:
            return
        command = self._waiting.pop(0)
        self.redis.run(self, command)
        self._go_on()

    # What fakeredis asks of a socket.

    @override
    def put_response(self, msg: Any) -> None:
        if not self.gone:
            self.reply(encode(msg))

    @override
    def _decode_result(self, result: Any) -> Any:
        return result

    @override
    def _blocking(self, timeout: float | None, func: Any, shape: Any = None) -> Any:
        result = func(True)
        if result is not None:
            return result if shape is None else shape(result)
        self.blocked = (func, shape)
        self._blocked = True
        self.redis.blocked[self.number] = self
        if timeout:
            self._timer = self.redis.later_by(timeout, self._time_out)
        return NoResponse()

    def try_again(self) -> None:
        """Something was written that this session may wait for."""
        if self.blocked is None:
            return
        func, shape = self.blocked
        if self._unblock_reason is not None:
            self._unblock_reason = None
            self._answer(None)
            return
        result = func(False)
        if result is not None:
            self._answer(result if shape is None else shape(result))

    def _time_out(self) -> None:
        if self.blocked is not None and not self.gone:
            self._answer(None)

    def _answer(self, result: Any) -> None:
        self.redis.unblock(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.put_response(result)
        self._go_on()

    # Scripts: as fakeredis runs them, without compiling and collecting garbage at every call.

    @override
    def eval(self, script: bytes, numkeys: int, *keys_and_args: bytes) -> Any:
        runtime = self._get_server_runtime(self._server)
        known = self.redis.compiled
        name = script[11 : script.index(b"\n")].decode()  # -- capelin <name>
        if script not in known:
            before, instead = CHANGED.get(name, ("", ""))
            known[script] = runtime.compile(
                script.replace(before.encode(), instead.encode()) if before else script
            )
        server: Any = self._server
        server._lua_current_socket[0] = self
        self._script_resp = 2
        server._lua_set_keys_argv(
            runtime.table_from(keys_and_args[:numkeys]), runtime.table_from(keys_and_args[numkeys:])
        )
        self.script_name = name
        self.in_script = True
        try:
            result = known[script]()
        except SimpleError:
            raise
        except Exception as error:
            raise SimpleError(f"ERR Error running script: {error}") from error
        finally:
            self._script_resp = None
            self.in_script = False
            self.redis.scripts_run += 1
            if self.redis.scripts_run % _SCRIPTS_KEPT == 0:
                runtime.execute("collectgarbage()")
        return self._convert_lua_result(result, nested=False)

    @override
    def _lua_redis_call(self, lua_runtime: Any, expected_globals: Any, op: bytes, *args: Any) -> Any:
        words = [arg if isinstance(arg, bytes) else f"{arg:.17g}".encode() for arg in args]
        name = op.decode().lower()
        if (quick := _QUICK.get(name)) is not None and (answer := quick(self.redis, words)) is not _SLOWLY:
            return lua_runtime.table_from(answer) if isinstance(answer, list) else answer
        if name == "hset" and self.redis.observe is not None:
            self.redis.observe(self, words)
        if name in COMMANDS_WITH_SUB:
            name = f"{name} {words.pop(0).decode().lower()}"
        func, sig = self._name_to_func(name)
        return self._convert_redis_result(lua_runtime, self._run_command(func, sig, words, True))


class SimRedis:
    """The server of a simulation.

    Args:
        loop: The loop.
        observe: Told of each `HSET` of a script, before it is done.
    """

    def __init__(self, loop: SimLoop, *, observe: Observe | None = None) -> None:
        self._loop = loop
        self.lane = Lane(loop, "redis")
        self._context: Context = self.lane.context()
        self.fake = fakeredis.FakeServer(version=(7,))
        self.db: Any = self.fake.dbs[0]
        self.observe = observe
        self.sessions: dict[int, Session] = {}
        self.blocked: dict[int, Session] = {}
        self.compiled: dict[bytes, Any] = {}
        self.scripts_run = 0
        self.commands = 0
        self._numbers = 0
        self._written = False
        self.up = True
        self._snapshot: tuple[float, Any] | None = None
        self._checker: Session | None = None
        self.db.add_change_callback(self._note_write)

    def open(self, pod: str, reply: Callable[[bytes], None]) -> Session:
        """A new connection."""
        self._numbers += 1
        session = Session(self, pod, reply, self._numbers)
        self.sessions[session.number] = session
        return session

    def later(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback, context=self._context)

    def later_by(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, callback, context=self._context)

    def run(self, session: Session, command: list[bytes]) -> None:
        """Run a command, and then what others wait for because of it."""
        self.commands += 1
        session.script_name = ""
        session.obey(command)
        while self._written:
            self._written = False
            self.db.time = time.time()
            with self.fake.lock:
                for waiting in list(self.blocked.values()):
                    waiting.try_again()

    def unblock(self, session: Session) -> None:
        session.blocked = None
        session.mark_blocked(blocked=False)
        self.blocked.pop(session.number, None)

    def _note_write(self) -> None:
        self._written = True

    # Asked by checkers, outside of the simulation's time.

    def ask(self, *words: str | bytes | float) -> Any:
        """The reply to a command, as texts; nobody else notices."""
        replies: list[bytes] = []
        if self._checker is None:
            self._checker = Session(self, "checker", replies.append, 0)
        session = self._checker
        session.reply = replies.append
        session.obey([word if isinstance(word, bytes) else str(word).encode() for word in words])
        self._written = False
        reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
        for reply in replies:
            reader.feed(reply)
        return reader.gets()

    def hash_at(self, key: bytes) -> dict[str, str]:
        """The fields of a hash; empty if there is none."""
        item = self.db._dict.get(key)
        values: dict[bytes, bytes] = getattr(item.value, "_values", {}) if item is not None else {}
        return {name.decode(): value.decode(errors="replace") for name, value in values.items()}

    def all_keys(self) -> list[bytes]:
        """Every key."""
        return list(self.db._dict)

    # What befalls servers.

    def flush_scripts(self) -> None:
        """The script cache is gone: a failover, a restart, an operator."""
        self.fake.script_cache.clear()

    def take_snapshot(self) -> None:
        """Keep what there is now: what a crash will lose is written after this moment."""
        self._snapshot = (self._loop.time(), self._copy())

    def restore_snapshot(self) -> float:
        """Go back to the snapshot; how many seconds of writes are lost."""
        if self._snapshot is None:
            return 0.0
        taken, (data, heap) = self._snapshot
        self.db._dict.clear()
        self.db._dict.update(data)
        self.db._expiry_heap[:] = heap
        self._snapshot = None
        return self._loop.time() - taken

    def _copy(self) -> Any:
        return copy.deepcopy((self.db._dict, self.db._expiry_heap))


# What scripts ask most often, answered without fakeredis's ceremony. What is not plain goes the usual way.

_SLOWLY = object()


def _item(redis: SimRedis, key: bytes, kind: type) -> Any:
    """A key's value; None if there is none; `_SLOWLY` for one of another kind, or that expires."""
    item = redis.db._dict.get(key)
    if item is None:
        return None
    return item.value if item.expireat is None and type(item.value) is kind else _SLOWLY


def _hget(redis: SimRedis, words: list[bytes]) -> Any:
    found = _item(redis, words[0], Hash)
    if found is None:
        return False
    return _SLOWLY if found is _SLOWLY or found._expirations else found._values.get(words[1], False)


def _hmget(redis: SimRedis, words: list[bytes]) -> Any:
    found = _item(redis, words[0], Hash)
    if found is None:
        return [False] * (len(words) - 1)
    if found is _SLOWLY or found._expirations:
        return _SLOWLY
    values = found._values
    return [values.get(word, False) for word in words[1:]]


def _xlen(redis: SimRedis, words: list[bytes]) -> Any:
    found = _item(redis, words[0], XStream)
    return 0 if found is None else _SLOWLY if found is _SLOWLY else len(found)


def _exists(redis: SimRedis, words: list[bytes]) -> Any:
    if len(words) != 1:
        return _SLOWLY
    item = redis.db._dict.get(words[0])
    return 0 if item is None else 1 if item.expireat is None else _SLOWLY


def _persist(redis: SimRedis, words: list[bytes]) -> Any:
    item = redis.db._dict.get(words[0])
    return 0 if item is None or item.expireat is None else _SLOWLY


def _time(_: SimRedis, __: list[bytes]) -> Any:
    now = round(time.time() * 1_000_000)
    return [b"%d" % (now // 1_000_000), b"%d" % (now % 1_000_000)]


_QUICK: dict[str, Callable[[SimRedis, list[bytes]], Any]] = {
    "hget": _hget,
    "hmget": _hmget,
    "xlen": _xlen,
    "exists": _exists,
    "persist": _persist,
    "time": _time,
}


def encode(reply: Any) -> bytes:  # noqa: PLR0911 -- one for each kind
    """A reply as it goes over the wire (RESP2)."""
    match reply:
        case None:
            return b"$-1\r\n"
        case bool():
            return b":%d\r\n" % reply
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case str():
            return encode(reply.encode())
        case SimpleString():
            return b"+%b\r\n" % reply.value
        case SimpleError():
            return b"-%b\r\n" % reply.value.encode()
        case list() | tuple():
            items = cast(Sequence[Any], reply)
            return b"*%d\r\n" % len(items) + b"".join(map(encode, items))
        case float():
            return encode(f"{reply:.17g}".encode())
        case _:
            raise TypeError(f"no reply of Redis: {reply!r}")
