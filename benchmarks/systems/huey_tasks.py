"""huey's tasks: imported by its consumer program and by the adapter."""

# The strict checkers run where huey is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
import os
from typing import Any

from huey import RedisHuey

from benchmarks.programs import URL_VARIABLE
from benchmarks.work import FUNCTIONS, Work

huey = RedisHuey("benchmark", url=os.environ[URL_VARIABLE], notify_result=True)
TASKS: dict[Work, Any] = {each: huey.task(name=each.value)(body) for each, body in FUNCTIONS.items()}
