"""Asking a worker over HTTP, as kubelet and Prometheus do."""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import ChildProcess
from tests.support.waiting import wait_until_sync

SERVES = "serves health and metrics"
ANY_PORT = "127.0.0.1:0"
TIMEOUT = 10.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer, and the seconds it took."""

    status: int
    body: str
    content_type: str
    seconds: float

    @property
    def failing(self) -> dict[str, str]:
        """What it says is wrong, by the name of the check."""
        checks: list[dict[str, Any]] = json.loads(self.body)["checks"]
        return {check["name"]: check["detail"] for check in checks if check["status"] != "ok"}


class Asked:
    """A worker, or a supervisor, that serves HTTP."""

    def __init__(self, process: ChildProcess) -> None:
        self.process = process
        wait_until_sync(lambda: process.events(SERVES), description="it to listen")
        self.address = str(process.events(SERVES)[0]["http"])

    def get(self, path: str, *, method: str = "GET") -> Answer:
        """Ask."""
        connection = http.client.HTTPConnection(self.address, timeout=TIMEOUT)
        began = time.monotonic()
        try:
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        return Answer(
            status=response.status,
            body=body,
            content_type=response.getheader("Content-Type") or "",
            seconds=time.monotonic() - began,
        )

    def live(self) -> Answer:
        """Is it alive?"""
        return self.get("/health/live")

    def ready(self) -> Answer:
        """Is it ready?"""
        return self.get("/health/ready")

    def until_ready(self, *, timeout: float = 20) -> None:
        """Wait until it is ready."""
        wait_until_sync(lambda: self.ready().status == 200, description="it to be ready", timeout=timeout)

    def until_failing(self, path: str, check: str, *, timeout: float = 10) -> str:
        """Wait until that check fails, and return what it says."""
        found: list[str] = []

        def fails() -> bool:
            answer = self.get(path)
            if answer.status == 503 and check in answer.failing:
                found.append(answer.failing[check])
            return bool(found)

        wait_until_sync(fails, description=f"{path} to fail for {check}", timeout=timeout)
        return found[0]

    def metrics(self) -> "Samples":
        """Return what its metrics say now."""
        answer = self.get("/metrics")
        assert answer.status == 200, answer
        return Samples(answer.body)


class Samples:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def of(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name and those labels."""
        found = self.all(name, labels)
        return sum(found)

    def all(self, name: str, labels: Mapping[str, str]) -> list[float]:
        """The samples of that name and those labels."""
        return [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
