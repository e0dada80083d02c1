"""Script calls that go out together, and their replies.

A pipeline is sent when it is made, not when a coroutine comes to its turn: who learns in a callback what to
ask for has it on the wire before anything else is done.
"""

from collections.abc import Sequence
from typing import Any

from capelin.connection.network import Network
from capelin.connection.refusals import Refusal, to_error
from capelin.errors import CapelinError, TornKey
from capelin.lua.call import Call


class Pipeline:
    """Calls on their way.

    Args:
        network: The servers. With no wire open to them, and in a Cluster, the calls go out when `replies` is
            awaited.
        calls: Script calls; at least one.
        url: The URL as it may be printed.
    """

    __slots__ = ("_begun", "_calls", "_network", "_url")

    def __init__(self, network: Network, calls: Sequence[Call[Any]], *, url: str) -> None:
        self._network, self._calls, self._url = network, calls, url
        self._begun = network.begin(calls)

    @property
    def sent(self) -> bool:
        """Whether the calls are on their way."""
        return self._begun is not None

    async def replies(self) -> list[Any]:
        """As `Connection.run_many`; to be awaited once."""
        begun, calls = self._begun, self._calls
        raw = None if begun is None else begun.whole(await begun.sent)
        if raw is None:  # a part of it was lost, refused, or not sent yet
            raw = await self._network.carry(calls, begun)
        url, server = self._url, self._network.name
        return [
            read_reply(call, reply, url=url, server=server) for call, reply in zip(calls, raw, strict=True)
        ]


def read_reply(call: Call[Any], reply: Any, *, url: str, server: str) -> Any:
    """What a call's reply says, or the exception that stands for it."""
    if reply.__class__ is Refusal:
        return to_error(reply, url=url, server=server, script=call.script.name, keys=call.keys)
    if isinstance(reply, Exception):
        return reply
    try:
        return call.parse(reply)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        # What lies there was not written by capelin. It costs no other call its reply.
        if isinstance(error, CapelinError) or not call.keys:
            return error
        torn = TornKey(key=call.keys[0], why=f"holds what cannot be read ({error})", script=call.script.name)
        torn.__cause__ = error  # whoever is to blame, the traceback is there
        return torn
    except Exception as error:  # noqa: BLE001 -- as above
        return error
