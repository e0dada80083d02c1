"""``capelin leader``: who leads the scheduler, or why nobody does."""

from typing import TYPE_CHECKING

from capelin.cli.options import Json, JsonLines, Prefix, RedisUrl

if TYPE_CHECKING:
    from capelin.admin import LeaderStanding


def leader(
    *, redis: RedisUrl = None, prefix: Prefix = None, as_json: Json = False, as_lines: JsonLines = False
) -> None:
    """Show who leads the scheduler, since when, and who would take over."""
    from capelin.admin import read_leader
    from capelin.cli.asking import ask
    from capelin.cli.printing import at, print_details, print_note, printed

    found = ask(redis, prefix, read_leader)
    if printed(found, as_json=as_json, as_lines=as_lines):
        return
    if found.worker is None:
        print_note(f"Nobody leads, so no schedule ticks. {_what_to_do(found)}")
        return
    print_details(
        f"{found.worker} leads",
        [
            ("app", found.app),
            ("host", f"{found.host}, pid {found.pid}" if found.host else None),
            ("since", f"{at(found.since)}, epoch {found.epoch}"),
            ("lease", f"holds {found.lease_seconds:.1f} s more, and is renewed"),
            ("candidates", "\n".join(found.candidates) or "no other: when it dies, no schedule ticks"),
        ],
    )


def _what_to_do(found: "LeaderStanding") -> str:
    if found.candidates:
        return (
            f"{_counted(len(found.candidates), 'candidate stands', 'candidates stand')}: one takes the lead "
            "within seconds. If none does, their logs say why."
        )
    if found.workers:
        return (
            f"{_counted(found.workers, 'worker runs', 'workers run')}, with --no-scheduler: "
            "start capelin scheduler APP, or a worker without it."
        )
    return "No worker runs: start one with capelin worker APP, or capelin scheduler APP."


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
