"""Fixtures for users who test with pytest.

Every run of pytest loads this module, also in projects that have nothing to do with capelin, so it imports
nothing of it. The fixtures are plain functions: they work under any plugin for asynchronous tests, and
without.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from capelin.app import Capelin
    from capelin.testing import Testing


@pytest.fixture
def capelin_testing() -> "Iterator[Callable[..., Testing]]":
    """A factory: binds an app to an in-process Redis until the test ends; takes what ``app.testing`` takes.

    Example:
        async def test_signup(capelin_testing):
            t = capelin_testing(app, resources=Resources(db=FakeDB()))
            await signup("a@b.c")
            assert t.enqueued(send, "a@b.c")
            await t.drain(raise_errors=True)
    """
    with ExitStack() as ends:

        def enter(app: "Capelin[Any]", **options: Any) -> "Testing":
            return ends.enter_context(app.testing(**options))

        yield enter
