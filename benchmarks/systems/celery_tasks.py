"""Celery's app: imported by its program and by the adapter."""

# The strict checkers run where Celery is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
import os
from typing import Any

from celery import Celery

from benchmarks.programs import URL_VARIABLE
from benchmarks.work import FUNCTIONS, Work

app = Celery("benchmark", broker=os.environ[URL_VARIABLE], backend=os.environ[URL_VARIABLE])
app.conf.worker_prefetch_multiplier = 64
app.conf.broker_connection_retry_on_startup = True
app.conf.worker_hijack_root_logger = False

TASKS: dict[Work, Any] = {each: app.task(name=each.value)(body) for each, body in FUNCTIONS.items()}
