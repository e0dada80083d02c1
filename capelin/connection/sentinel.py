"""Sentinel: asks where the master is, and believes it only when that server says so itself."""

from collections.abc import Sequence
from typing import Any

from capelin.connection.dial import Dialler
from capelin.connection.refusals import Refusal
from capelin.connection.urls import Address
from capelin.connection.wire import Command, Wire
from capelin.errors import ConfigurationError, Unreachable


def question(service: str) -> Command:
    """What a sentinel is asked."""
    return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)


def address_in(replies: Sequence[Any]) -> Address | None:
    """What a sentinel answered; None if it did not, refused, or does not know the service."""
    match replies:
        case [[bytes() as host, bytes() as port]]:
            return Address(host.decode(), int(port))
        case _:
            return None


async def open_master(
    sentinels: Sequence[Address], service: str, *, ask: Dialler, data: Dialler, first: Address | None = None
) -> Wire:
    """A wire to the master of a service.

    Args:
        first: Tried before any sentinel is asked: most of them named it a moment ago.
        sentinels: Asked one after the other until one names a master that says it is one.
        service: The name under which the sentinels watch it.
        ask: Opens wires to sentinels.
        data: Opens wires to Redis servers.

    Raises:
        Unreachable: No sentinel answers, or no master was found (a failover may be under way).
        RedisRefused: A server does not let us in.
        ConfigurationError: The sentinels do not know the service.
    """
    causes: list[str] = []
    unknown = 0
    if first is not None:
        try:
            return await _checked(await data.open(first), data)
        except Unreachable as error:
            causes.append(error.cause)
    for sentinel in sentinels:
        try:
            address = await _master_by(sentinel, service, ask)
            if address is None:
                unknown += 1
                causes.append(f"{sentinel}: it does not know the service {service!r}")
                continue
            return await _checked(await data.open(address), data)
        except Unreachable as error:
            causes.append(error.cause)
    if unknown == len(sentinels):
        raise ConfigurationError(
            f"{data.url}: no sentinel knows a service {service!r}; its name stands behind the last host"
        )
    raise Unreachable(url=data.url, cause="; ".join(causes))


async def _master_by(sentinel: Address, service: str, ask: Dialler) -> Address | None:
    """What this sentinel says; None if it does not know the service."""
    wire = await ask.open(sentinel)
    try:
        replies = await wire.send([question(service)])
        cause = wire.lost
    finally:
        await wire.close()
    if not replies or isinstance(replies[0], Refusal):
        cause = replies[0].message if replies else cause
        raise Unreachable(url=ask.url, cause=f"sentinel {sentinel}: {cause}")
    return address_in(replies)


async def _checked(wire: Wire, data: Dialler) -> Wire:
    """The wire, if a master is at its other end."""
    try:
        replies = await wire.send([("ROLE",)])
    except BaseException:
        await wire.close()
        raise
    role = replies[0] if replies else None
    # A user without the right to ask gets to know it from the first write, which a replica refuses.
    if isinstance(role, Refusal) or (role and role[0] == b"master"):
        return wire
    cause = wire.lost or "it is not the master (a failover may be under way)"
    await wire.close()
    raise Unreachable(url=data.url, cause=f"{wire.name}: {cause}")
