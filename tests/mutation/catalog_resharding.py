"""Queues that are cut anew: what layouts, questions, loans, and what is left of older layouts, keep."""

from tests.mutation.mutants import Mutant, lua, mutant, python

_NAMED = "conformance/test_resharding::"

RESHARDING: tuple[Mutant, ...] = (
    mutant(
        "a shard takes what an older layout placed",
        "7: it refuses requests of an older layout",
        lua("enqueue", "  if older then return 'moved', string.format('%.0f', heard) end\n"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a shard hears of no layout",
        "7: whoever asks makes a shard hear of its layout",
        lua("includes/layout", "if tonumber(layout) > heard then", "if false then"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "what a shard has heard shrinks",
        "7: what a shard has heard only grows",
        lua("includes/layout", "if tonumber(layout) > heard then", "if tonumber(layout) ~= heard then"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a sealed shard has heard nothing",
        "7: sealing has every shard hear of the newest layout",
        lua("seal", "hear()\nlocal live", "local live"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a question writes its job",
        "7: a key that is free in an older home is taken in its present one",
        lua("enqueue", "    return question == '1' and 'free' or 'new', uid\n", "    return 'new', uid\n"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a question about a job without a key writes it",
        "8: a tick is enqueued where its intent says, and nowhere else",
        lua(
            "enqueue",
            "if unique_key == '' then return question == '1' and 'free' or 'new', uid end",
            "if unique_key == '' then return 'new', uid end",
        ),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a home does not say that it has lent a key",
        "7: who asks for a lent key is sent to its borrower",
        lua("enqueue", "    if loan then return 'away', loan end\n"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "who is told that a key is free calls no loan in",
        "7: a loan that somebody was told is over cannot be used",
        lua("enqueue", "    rarely().call_in(past)\n"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a home does not count its keys",
        "7: a layout of which keys are held stays on the list",
        lua("enqueue", "if taken > 0 then rarely().count_keys(layout, taken) end\n"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a home does not note its windows",
        "7: a layout of which a window holds stays on the list",
        lua(
            "enqueue",
            "  redis.call('HSET', meta, 'windows:' .. layout, string.format('%.0f', last_window))\n",
        ),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a follower holds its key under the newest layout",
        "7: it inherits the key, and the layout of which that is one",
        lua(
            "enqueue",
            "extra.layout = redis.call('HGET', record(target), 'layout') or nil",
            "extra.layout = layout",
        ),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a dead job takes its key without asking",
        "7: a replay asks every home of its key",
        lua("replay", "if home == '' and (heard > 1 or tonumber(layout) > 1) then", "if false then"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a replay goes by an older layout",
        "7: it begins anew where its shard has heard of a newer one",
        lua("replay", "if not number and older then", "if false then"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a loan that was called in is used",
        "7: a loan that somebody was told is over cannot be used",
        lua("replay", "  if number and number <= (tonumber(j[8]) or 0) then return { 'moved', '' } end\n"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a loan is used twice",
        "7: one loan, one replay",
        lua("replay", "    redis.call('HSET', name, 'called', home)\n"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a home of an older layout lends",
        "7: it refuses who goes by an older layout",
        lua("lend", "if older then return { 'moved', heard } end\n"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a key that is held is lent",
        "7: one live job a key",
        lua("lend", "if holder then return { 'duplicate', job_id(holder) } end\n"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a key is lent to two",
        "7: one borrower at a time",
        lua("lend", "if loan and string.match(loan, '^(.+)#') ~= job then return { 'away', loan } end\n"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "any loan of a key is struck off",
        "7: only the very loan that is over is struck off",
        lua("loans", "if redis.call('HGET', lent, key) == loan then", "if true then"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "an empty shard holds what was counted",
        "an older layout ends, whatever a torn record held",
        lua("seal", "local count = live > 0 and counts[version] or 0", "local count = counts[version] or 0"),
        lua(
            "seal",
            "  if counts[version] and live == 0 then redis.call('HDEL', meta, 'keys:' .. version) end\n",
        ),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a cut forgets how the queue was cut",
        "7: older layouts stay on the list while keys are held",
        lua(
            "queue_reshard",
            "  'homes', (homes ~= '' and homes .. ',' or '') .. version .. ':' .. before,\n",
            "  'homes', homes,\n",
        ),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a cut leaves the shards beyond",
        "1: shards that may hold something are served",
        lua("queue_reshard", "'reach', math.max(reach, tonumber(shards)),", "'reach', shards,"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "more shards trim what the old ones hold",
        "limits for a whole queue divide by the fewest shards that it had",
        lua("queue_reshard", "'fewest', math.min(fewest, before),", "'fewest', shards,"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a layout that was cut since is settled",
        "7: nothing is struck off by who looked before the queue was cut anew",
        lua("queue_settle", "q[3] ~= tonumber(layout) or"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "who settles believes a layout that lost its shards",
        "1: shards that hold something are served, whatever Redis lost",
        lua("queue_settle", "elseif wanted ~= q[4] then", "elseif wanted < q[4] then"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "who opens a queue believes a layout that lost its shards",
        "1: shards that hold something are served, whatever Redis lost",
        lua("open_queue", "if tonumber(held) <= q[4] then return q end", "if held then return q end"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a client asks in no older home",
        "7: the route of a key begins at its oldest home",
        python(
            "lua/layouts",
            "return (*self.older_homes(key, home), home) if self.homes else (home,)",
            "return (home,)",
        ),
        aimed=(_NAMED + "test_a_key_that_a_job_of_the_old_layout_holds_is_held_for_every_client",),
    ),
    mutant(
        "a home that has lent a key is struck off",
        "7: an older layout of which a key is lent stays on the list",
        python("resharding", "shard.lent or any(version in taken", "any(version in taken"),
        aimed=(_NAMED + "test_a_lent_key_is_found_after_another_reshard",),
    ),
    mutant(
        "a client knows older layouts for ever",
        "who asks in older homes looks again whether they are over",
        python(
            "_queues",
            "self._look_again_at = min(self._look_again_at, time.monotonic() + LOOK_AGAIN)",
            "pass",
        ),
        aimed=("unit/test_layouts",),
    ),
    mutant(
        "new shards of a paused queue are not paused",
        "whoever pauses a queue pauses all of it",
        python("admin/reshard", "    while new and said is not", "    while said and said is not"),
        aimed=(_NAMED + "test_a_paused_queue_is_paused_in_its_new_shards_too",),
    ),
    mutant(
        "a cut makes no room before it refuses",
        "older layouts that are over do not count",
        python("admin/reshard", "    if before.homes:\n", "    if before.homes and shards < 0:\n"),
        aimed=(_NAMED + "test_too_many_layouts_that_hold_keys_are_refused",),
    ),
    mutant(
        "nobody tells workers of new shards",
        "4: jobs in new shards do not wait for the next look",
        python("admin/reshard", "        await _tell_workers(access)\n", "        pass\n"),
        aimed=("simulation/test_resharding",),
    ),
    mutant(
        "a worker leaves the shards of a layout that Redis lost",
        "1: shards that hold something are served, whatever Redis lost",
        python("workers/territory", "if layout.reach >= before.reach:", "if layout.reach >= 0:"),
        aimed=(
            _NAMED
            + "test_a_worker_that_knows_a_layout_which_redis_has_lost_goes_on_to_serve_what_lies_there",
        ),
    ),
    mutant(
        "a queue that was settled is not settled again",
        "older layouts end within seconds of their last key",
        python(
            "workers/settling",
            "return (self.version, self.settled) == (layout.version, layout.settled)",
            "return True",
        ),
        aimed=(_NAMED + "test_a_worker_that_has_settled_a_queue_settles_it_again_when_it_is_cut_anew",),
    ),
    mutant(
        "a version that was lost is written again as it was",
        "7: a version that was lost is not another layout's",
        lua("includes/queue", "'layout', floor + 1)", "'layout', floor)"),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "a version that was made good is settled at once",
        "7: every shard hears of a version that was made good",
        lua(
            "includes/queue",
            "if q[5] == '' then redis.call('HSET', queue_meta, 'homes'",
            "if false then redis.call('HSET', queue_meta, 'homes'",
        ),
        aimed=("scripts/test_resharding",),
    ),
    mutant(
        "nobody looks for strays",
        "1: a job in a shard that no layout names is served",
        python(
            "workers/heartbeat",
            "not away and await self._strays.run(connection, self._ownership.shards)",
            "False",
        ),
        aimed=("simulation/test_resharding",),
    ),
    mutant(
        "who finds strays tells them nothing",
        "7: who goes by a layout that was lost is refused",
        python(
            "workers/strays",
            "        await seal_each(connection, behind, version=layout.version)\n",
            "        pass\n",
        ),
        aimed=(_NAMED + "test_who_goes_by_a_layout_that_was_lost_is_refused_once_its_shards_were_told",),
    ),
    mutant(
        "keys that were taken under a lost version are forgotten",
        "7: an older layout stands for the versions that were lost before it",
        python(
            "resharding",
            "yield home, range(first, last + 1)",
            "yield home, range(home.version, home.version + 1)",
        ),
        aimed=("conformance/test_resharding",),
    ),
    mutant(
        "a replay keeps to itself what a shard has heard",
        "a version that was lost is made good by whoever hears of it",
        python(
            "replaying",
            "                self._queues.moved(self._job.queue, int(detail))\n",
            "                pass\n",
        ),
        aimed=("conformance/test_resharding",),
    ),
)
