"""dramatiq's actors: imported by its program and by the adapter."""

# The strict checkers run where dramatiq is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.programs import URL_VARIABLE
from benchmarks.work import FUNCTIONS, Work

broker = RedisBroker(url=os.environ[URL_VARIABLE])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ[URL_VARIABLE])))
dramatiq.set_broker(broker)

ACTORS: dict[Work, Any] = {
    each: dramatiq.actor(actor_name=each.value, **({"store_results": True} if each is Work.ECHO else {}))(
        body
    )
    for each, body in FUNCTIONS.items()
}
