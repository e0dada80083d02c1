"""docs/operators-guide.md, tried as a new user would: typed from the page, from an alert to the repair."""

import asyncio
import re
import shlex
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import yaml
from tenacity import stop_after_attempt

from capelin import Capelin, RetryPolicy
from capelin.workers.worker import Worker
from tests.cli.conftest import Run
from tests.support.processes import ROOT
from tests.support.workers import QUICK

GUIDE = (ROOT / "docs" / "operators-guide.md").read_text("utf-8")
ALERTS = Path(ROOT / "deploy" / "prometheus" / "alerts.yaml")
PLACEHOLDERS = {"Q": "emails", "S": "digest", "ID": "emails.3.06dpvgeqmvk5m3jvmfb6v0000s"}
INLINE = sorted(set(re.findall(r"`(capelin [^`]+)`", GUIDE)))
TWO_PAGES = 1300


def typed(section: str) -> list[list[str]]:
    """The commands of a section of the guide, in order, without `capelin`."""
    _, _, text = GUIDE.partition(f"## {section}\n")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    lines = [line for language, block in blocks if not language for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_it_has_two_pages() -> None:
    assert len(GUIDE.split()) < TWO_PAGES


def test_it_knows_every_alert() -> None:
    alerts = [
        rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]
    told = set(re.findall(r"^\| `(Capelin\w+)` ", GUIDE, re.MULTILINE))
    # These two say that something passed; the runbook says what to look at.
    assert told | {"CapelinTicksSkipped", "CapelinOutcomesRefused"} == set(alerts)


@pytest.mark.parametrize("command", INLINE)
def test_every_command_in_its_sentences_exists(run: Run, command: str) -> None:
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)[1:]]
    said = run(*words, "--help")
    assert (said.status, said.err) == (0, "")


@pytest.fixture
def mail(redis_url: str) -> "Mail":
    """An app that sends mail, by a server that may be away."""
    return Mail(redis_url)


class Mail:
    """The app, and its workers, that end when nothing is due."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.away = True
        self.sent: list[str] = []

    def app(self) -> Capelin[Any]:
        app = Capelin(self._url, name="mail", settings=QUICK)

        @app.task(name="email.send", queue="emails", retry=RetryPolicy(stop=stop_after_attempt(1)))
        async def send(to: str) -> None:
            if not to:
                raise ValueError("nobody to send it to")
            if self.away:
                raise TimeoutError("mail.example.com did not answer")
            self.sent.append(to)

        return app

    def use(self, work: Callable[[Capelin[Any]], Coroutine[Any, Any, Any]]) -> Any:
        async def main() -> Any:
            async with self.app() as app:
                return await work(app)

        return asyncio.run(main())

    def enqueue(self, *to: str) -> list[str]:
        async def work(app: Capelin[Any]) -> list[str]:
            send = app.tasks["email.send"]
            return [job.id for job in await app.enqueue([send.job(each) for each in to])]

        ids: list[str] = self.use(work)
        return ids

    def work(self) -> None:
        self.use(lambda app: Worker(app, burst=True, settings=QUICK).run())


def test_jobs_that_die_are_found_understood_and_run_again_with_three_commands(run: Run, mail: Mail) -> None:
    listing, showing, replaying = typed("An example: jobs die")
    ids = mail.enqueue("a@b.c", "", "d@e.f")
    mail.work()

    listed = run(*listing)
    assert listed.status == 0
    assert "TimeoutError" in listed.out
    assert all(each in listed.out for each in ids)

    assert showing[:2] == ["jobs", "show"]
    shown = run("jobs", "show", ids[0])
    assert "mail.example.com did not answer" in shown.out
    assert "Traceback" in shown.out

    mail.away = False
    dry = run(*replaying, "--dry-run")
    assert "2 jobs" in dry.out + dry.err
    replayed = run(*replaying)
    assert replayed.status == 0, replayed.err
    mail.work()
    assert sorted(mail.sent) == ["a@b.c", "d@e.f"]
    [left] = run("dlq", "ls", "--json").json["jobs"]
    assert left["error"]["message"] == "nobody to send it to", "what died for another reason stays"


def test_a_queue_that_waits_since_it_is_paused_is_found_and_goes_on_with_three_commands(
    run: Run, mail: Mail
) -> None:
    looking, listing, resuming = (
        [word.replace("reports", "emails") for word in words]
        for words in typed("An example: the queue waits")
    )
    mail.away = False
    mail.enqueue("a@b.c")
    run("queues", "pause", "emails")
    mail.work()
    assert mail.sent == []

    found = run(*looking)
    assert "paused" in found.out
    assert "waiting    1" in found.out
    assert run(*listing).status == 0
    assert run(*resuming).out == "queue emails is open\n"
    mail.work()
    assert mail.sent == ["a@b.c"]
