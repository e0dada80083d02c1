"""Script calls that go out together, and their replies.

A pipeline is sent when it is made, not when a coroutine comes to its turn: who learns in a callback what to
ask for has it on the wire before anything else is done.
"""

from collections.abc import Sequence
from typing import Any

from capelin.connection.delivery import Errand
from capelin.connection.network import Network
from capelin.connection.refusals import Refusal, to_error
from capelin.lua.call import Call


class Pipeline:
    """Calls on their way.

    Args:
        network: The servers. With no wire open to them, and in a Cluster, the calls go out when `replies` is
            awaited.
        calls: Script calls; at least one.
        url: The URL as it may be printed.
    """

    __slots__ = ("_begun", "_calls", "_errands", "_network", "_url")

    def __init__(self, network: Network, calls: Sequence[Call[Any]], *, url: str) -> None:
        self._network, self._calls, self._url = network, calls, url
        self._errands = [Errand(call.command, key=call.routed_by, script=call.script) for call in calls]
        self._begun = network.begin(self._errands)

    async def replies(self) -> list[Any]:
        """As `Connection.run_many`; to be awaited once."""
        results = await self._network.carry(self._errands, self._begun)
        for place, reply in enumerate(results):
            if reply.__class__ is Refusal:
                script = self._calls[place].script.name
                results[place] = to_error(reply, url=self._url, server=self._network.name, script=script)
            elif not isinstance(reply, Exception):
                try:
                    results[place] = self._calls[place].parse(reply)
                except Exception as error:  # noqa: BLE001 -- it costs no other call its reply
                    results[place] = error
        return results
