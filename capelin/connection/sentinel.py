"""Sentinel: asks where the master is, and believes it only when that server says so itself."""

from collections.abc import Sequence

from capelin.connection.dial import Dialler
from capelin.connection.refusals import Refusal
from capelin.connection.urls import Address
from capelin.connection.wire import Wire
from capelin.errors import ConfigurationError, Unreachable


async def open_master(sentinels: Sequence[Address], service: str, *, ask: Dialler, data: Dialler) -> Wire:
    """A wire to the master of a service.

    Args:
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
        replies = await wire.send([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)])
        cause = wire.lost
    finally:
        await wire.close()
    if not replies or isinstance(replies[0], Refusal):
        cause = replies[0].message if replies else cause
        raise Unreachable(url=ask.url, cause=f"sentinel {sentinel}: {cause}")
    if replies[0] is None:
        return None
    host, port = replies[0]
    return Address(host.decode(), int(port))


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
