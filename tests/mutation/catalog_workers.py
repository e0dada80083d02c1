"""What a worker process keeps: whom it judges, what it runs once, what it gives up."""

# ruff: noqa: E501 -- the texts of scripts stand as they are

from tests.mutation.mutants import Mutant, mutant, python

_NO_REPLY = "guarantees/test_06_no_reply_lost_on_the_wire_loses_or_doubles_a_job"

WORKERS: tuple[Mutant, ...] = (
    mutant(
        "a worker judges right after its start",
        "12: only who was on time for a TTL and an interval judges",
        python(
            "workers/trust",
            "        return now - self._since >= self._ttl + self._interval\n",
            "        return True\n",
        ),
        aimed=("unit/test_worker_parts",),
    ),
    mutant(
        "a worker judges right after an outage",
        "12: a late renewal begins the wait anew",
        python(
            "workers/trust",
            "        elif now - self._last > self._interval * _LATE:\n            self._since = now\n",
            "        elif now - self._last > self._interval * _LATE:\n",
        ),
        aimed=("unit/test_worker_parts",),
    ),
    mutant(
        "a judgement never gets old",
        "12: a call that an outage held up judges nobody",
        python(
            "workers/trust",
            "        return 0 if now is None or not self.fit_for(shard) else now + round(self._interval * _LATE * 1000)",
            "        return 1 << 52",
        ),
        aimed=("unit/test_worker_parts",),
    ),
    mutant(
        "a worker forgets that there was an outage",
        "12: an outage counts no crash",
        python("workers/trust", "            self._no_crash_before = server_now + int(self._ttl * 1000)\n"),
        aimed=("unit/test_worker_parts",),
    ),
    mutant(
        "one shard's silence is nobody's",
        "12: one master may be away while others answer",
        python("workers/trust", "        self._failed[shard] = self._clock()\n"),
        aimed=("unit/test_worker_parts",),
    ),
    mutant(
        "a start that runs here begins again",
        "6: adoption and a late reply begin it once",
        python(
            "workers/running",
            "if known is not None and known.token >= token:",
            "if known is not None and known.token > token:",
        ),
        aimed=("unit/test_worker_parts",),
    ),
    mutant(
        "a start that has ended here begins again",
        "6: adoption and a late reply begin it once",
        python("workers/running", "        if self._ended.get(key, 0) >= token:\n            return False\n"),
        aimed=("unit/test_worker_parts",),
    ),
    mutant(
        "an older start goes on beside a newer one",
        "2: what is not ours any more is stopped",
        python("workers/running", "            known.request_stop(Stop.LOST)\n", "            pass\n"),
        aimed=("unit/test_worker_parts",),
    ),
    mutant(
        "what one renewal missed is adopted at once",
        "6: unknown in two renewals running",
        python(
            "workers/reconciliation",
            "for start in renewed.unknown if start in before]",
            "for start in renewed.unknown]",
        ),
        aimed=("unit/test_worker_parts",),
    ),
    mutant(
        "a take without a reply is forgotten",
        "6: its shard keeps a stake until it is reconciled",
        python(
            "workers/reconciliation",
            "            self._unsure[self._unanswered.popleft()] = self._clock() + self._patience\n",
            "            self._unanswered.popleft()\n",
        ),
        aimed=("unit/test_worker_parts",),
    ),
    mutant(
        "a lease is trusted past its end",
        "one holder at a time, as it believes itself",
        python(
            "scheduler/leases",
            "return held if held is not None and self._clock() < held.until else None",
            "return held",
        ),
        aimed=("unit/test_leases",),
    ),
    mutant(
        "a lease is counted from the reply",
        "never trusted for longer than Redis wrote down",
        python(
            "scheduler/leases",
            "self._held[name] = held = Holding(name=name, epoch=reply.epoch, until=self._until(sent))",
            "self._held[name] = held = Holding(name=name, epoch=reply.epoch, until=self._until(self._clock()))",
        ),
        aimed=("unit/test_leases",),
    ),
    mutant(
        "an outcome without a reply is not sent again",
        "6: no reply lost loses an outcome",
        python(
            "workers/recording",
            "        if isinstance(error, Unreachable):\n            self._again(batch)\n",
            "        if isinstance(error, Unreachable):\n",
        ),
        aimed=(f"{_NO_REPLY}::test_each_job_starts_once_and_is_recorded_once_though_a_reply_was_cut_off",),
    ),
    mutant(
        "an enqueue is sent again as another",
        "6: re-sent with the same id",
        python(
            "_sending",
            "                row(requests[place], uid, common) for place, uid in zip(batch.places, batch.uids, strict=True)\n",
            "                row(requests[place], new_uid(), common) for place in batch.places\n",
        ),
        aimed=("integration/test_client_resending",),
    ),
    mutant(
        "what is not ours any more goes on",
        "2: the worker cancels what it has lost",
        python("workers/control", "                start.request_stop(Stop.LOST)\n"),
        aimed=(
            "simulation/test_simulation::test_a_worker_that_slept_past_its_stakes_stops_what_is_not_its_own_any_more",
        ),
    ),
    mutant(
        "a blocked worker keeps what it owns",
        "5: after 2 s without progress it gives up its shards",
        python(
            "workers/heartbeat",
            "        if stalled:\n            await self.give_up(connection, why=STALLED)\n",
        ),
        aimed=("guarantees/test_05_a_blocked_event_loop_loses_no_stake",),
    ),
    mutant(
        "nobody asks for what is parked",
        "10: a worker asks every shard on joining",
        python(
            "workers/control",
            "        self._parking.look(self._shards())\n",
            "        return\n",
        ),
        aimed=("guarantees/test_10_a_rolling_deploy_loses_nothing",),
    ),
)
