"""Transitions of ownership: leases, and the fleet's membership."""

from typing import Any

from capelin.keys import Keys
from capelin.lua.call import Call
from capelin.lua.replies import Beat, Lease
from capelin.lua.typed import Transition, checked

_ACQUIRE = Transition("lease_acquire")
_RENEW = Transition("lease_renew")
_RELEASE = Transition("lease_release")
_BEAT = Transition("fleet_beat")
_LEAVE = Transition("fleet_leave")


@checked(_ACQUIRE)
def lease_acquire(lease: str, /, *, owner: str, ttl: int) -> Call[Lease]:
    """Take a lease (a key) that is free, expired or already ours, for ``ttl`` ms."""
    return _ACQUIRE((lease,), Lease.read, owner=owner, ttl=ttl)


@checked(_RENEW)
def lease_renew(lease: str, /, *, owner: str, epoch: int, ttl: int) -> Call[bool]:
    """Keep a lease for ``ttl`` ms more. False: it is not ours any more."""
    return _RENEW((lease,), bool, owner=owner, epoch=epoch, ttl=ttl)


@checked(_RELEASE)
def lease_release(lease: str, /, *, owner: str, epoch: int) -> Call[bool]:
    """Give a lease up. False: it was not ours."""
    return _RELEASE((lease,), bool, owner=owner, epoch=epoch)


def _fleet(keys: Keys, worker: str) -> tuple[str, str, str, str]:
    return keys.fleet_members, keys.fleet_expiry, keys.fleet_free, keys.fleet_pulse(worker)


@checked(_BEAT)
def fleet_beat(
    keys: Keys, /, *, worker: str, member: str, ttl: int, free: int, judge_until: int, pulse: str = ""
) -> Call[Beat]:
    """Say that a worker is alive.

    Args:
        keys: The namespace.
        worker: Its id.
        member: Its record as JSON; written when it differs.
        ttl: ms until it counts as gone.
        free: Its free slots.
        judge_until: Its own renewals were on time, so that it may remove members that are silent beyond
            theirs, until this moment by Redis's clock, ms. 0: they were not.
        pulse: How it is, as JSON; empty when it does not say.
    """
    return _BEAT(
        _fleet(keys, worker),
        Beat.read,
        worker=worker,
        member=member,
        ttl=ttl,
        free=free,
        judge_until=judge_until,
        pulse=pulse,
    )


def _version(raw: Any) -> int:
    return int(raw)


@checked(_LEAVE)
def fleet_leave(keys: Keys, /, *, worker: str) -> Call[int]:
    """Take a worker off the fleet; returns the new version."""
    return _LEAVE(_fleet(keys, worker), _version, worker=worker)
