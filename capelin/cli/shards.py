"""``capelin shards``: who owns what."""

from capelin.cli.nouns import noun
from capelin.cli.options import Json, JsonLines, OfQueue, Prefix, RedisUrl

shards = noun("Shards: who waits on each, and what is in it.")


@shards.command("ls")
def ls(
    *,
    queue: OfQueue = None,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """List the shards."""
    from capelin.admin import list_shards
    from capelin.cli.asking import ask
    from capelin.cli.printing import Column, print_note, print_table, print_torn, printed

    torn: dict[str, str] = {}
    found = ask(redis, prefix, lambda access: list_shards(access, queue, torn=torn))
    if printed(found, as_json=as_json, as_lines=as_lines):
        print_torn(torn)
        return
    if not found and not torn:
        print_note("No shard yet: the first job or worker of a queue makes its shards.")
        return
    columns = [
        Column("SHARD"),
        Column("OWNER"),
        Column("WAIT", right=True),
        Column("RUN", right=True),
        Column("SCHED", right=True),
        Column("PARK", right=True),
        Column("DEAD", right=True),
        Column("STATE"),
    ]
    print_table(
        columns,
        [
            (f"{shard.queue}:{shard.shard}", *["?"] * 6, "torn")
            if shard.torn
            else (
                f"{shard.queue}:{shard.shard}",
                shard.owner or "nobody",
                shard.waiting,
                sum(shard.running.values()),
                shard.scheduled + shard.followers,
                sum(shard.parked.values()),
                shard.dead,
                "paused" if shard.paused else "",
            )
            for shard in found
        ],
    )
    print_torn(torn)
