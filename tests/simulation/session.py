"""What a simulated Redis knows of one connection, and how it runs what comes over it.

Commands run one at a time, those of other connections between those of one pipeline. A session that blocks
waits its turn in the order in which it began to block.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import fakeredis
import hiredis
from fakeredis._commands import COMMANDS_WITH_SUB
from fakeredis._helpers import NoResponse, SimpleError, SimpleString
from fakeredis.aioredis import AsyncFakeSocket
from typing_extensions import override

from tests.simulation.interpreter import interpreter

if TYPE_CHECKING:
    from tests.simulation.server import SimRedis

CHANGED: dict[str, list[tuple[str, str]]] = {}
"""Scripts that are broken on purpose: by name, parts of their text and what stands there instead."""


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
        self.words: list[bytes] = []
        self.asking = False
        self.blocked_on: Sequence[bytes] = ()

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
        self.words = command
        if command[0] == b"EVALSHA" and (script := self._server.script_cache.get(command[1])) is not None:
            self._run_script(script, command)
        else:
            self._process_command(command)

    def answer_later(self, seconds: float, answer: Any) -> None:
        """Let what comes next wait, and then say that."""
        self.blocked = (lambda _: None, None)
        self._timer = self.redis.later_by(seconds, lambda: self.turn_away(answer))

    def turn_away(self, answer: Any) -> None:
        """What it waits for will not come here: answer it with that."""
        if self.blocked is not None and not self.gone:
            self._answer(answer)

    def mark_blocked(self, *, blocked: bool) -> None:
        """Whether `CLIENT UNBLOCK` finds it."""
        self._blocked = blocked

    def _go_on(self) -> None:
        if self._waiting and not self._scheduled and self.blocked is None:
            self._scheduled = True
            self.redis.later(self._next)

    def _next(self) -> None:
        self._scheduled = False
        if self.gone or self.blocked is not None or not self._waiting or not self.redis.up:
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
        self.redis.block(self)
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

    # Scripts.

    def _run_script(self, script: bytes, command: list[bytes]) -> None:
        name = script[11 : script.index(b"\n")].decode()  # -- capelin <name>
        for before, instead in CHANGED.get(name, ()):
            script = script.replace(before.encode(), instead.encode())
        self.script_name = name
        self.redis.common.scripts_run += 1
        self.redis.db.time = time.time()
        self._script_resp = 2
        try:
            reply = interpreter(self).run(self, script, int(command[2]), command[3:])
        finally:
            self._script_resp = None
        if not self.gone:
            self.reply(reply)

    def new_runtime(self, home: Any) -> Any:
        """A Lua interpreter; what belongs to it is kept there."""
        return self._get_server_runtime(home)

    def ask_fakeredis(self, runtime: Any, command: str, words: list[bytes]) -> Any:
        """What fakeredis says to a command of a script."""
        if command in COMMANDS_WITH_SUB:
            command = f"{command} {words.pop(0).decode().lower()}"
        func, signature = self._name_to_func(command)
        return self._convert_redis_result(runtime, self._run_command(func, signature, words, True))

    @override
    def _lua_redis_call(self, lua_runtime: Any, expected_globals: Any, op: bytes, *args: Any) -> Any:
        return interpreter(self).answer(self, op, args)


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
