"""Tasks: what can be one, what it keeps of its function, and to which app it goes."""
# ruff: noqa: ARG001, D101 -- the functions are signatures, the classes samples

import asyncio
import copy
import functools
import gc
import inspect
import os
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, overload
from uuid import UUID

import pytest
from tenacity import stop_after_attempt

from capelin.app import Capelin
from capelin.errors import (
    InvalidArguments,
    InvalidName,
    InvalidOption,
    InvalidTask,
    NoApp,
    SyncInAsync,
    UnknownTask,
)
from capelin.options import TaskOptions
from capelin.priority import Priority
from capelin.requests import JobRequest
from capelin.retry import RetryPolicy
from capelin.tasks import AsyncTask, SyncTask, Tasks

P = ParamSpec("P")
R = TypeVar("R")

tasks = Tasks(prefix="billing.", defaults=TaskOptions(queue="bills"))


@tasks.task
async def charge(order: int, *, note: str = "") -> UUID:
    """Charge an order."""
    return UUID(int=order)


@tasks.task(name="sum", aliases=("add",), run_in="process", priority="high", timeout=timedelta(minutes=1))
def total(numbers: list[float]) -> float:
    """Add numbers."""
    return sum(numbers)


@pytest.fixture
def app() -> Capelin:
    return Capelin("memory://", name="shop")


# What a task keeps of its function


def test_a_task_is_still_the_plain_function() -> None:
    assert asyncio.run(charge(5)) == UUID(int=5)
    assert total([1, 2]) == 3


def test_a_task_keeps_the_name_doc_module_and_signature_of_its_function() -> None:
    assert (charge.__name__, charge.__doc__, charge.__module__) == ("charge", "Charge an order.", __name__)
    assert charge.__wrapped__ is charge.function
    assert list(inspect.signature(charge).parameters) == ["order", "note"]
    assert inspect.unwrap(total) is total.function


def test_a_task_shows_its_name_and_signature() -> None:
    assert repr(charge) == "<AsyncTask billing.charge(order: int, *, note: str = …)>"
    assert repr(total) == "<SyncTask billing.sum(numbers: list[float])>"
    assert repr(charge.options(delay=5)) == "<TaskCall billing.charge delay=5.0>"


def test_a_task_is_pickled_and_copied_by_reference() -> None:
    assert pickle.loads(pickle.dumps(total)) is total  # noqa: S301 -- what the process pool does
    assert copy.deepcopy(total) is total
    assert total.import_path == f"{__name__}:total"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="inspect can be told from 3.12 on")
def test_frameworks_see_that_a_task_is_asynchronous() -> None:
    assert inspect.iscoroutinefunction(charge)
    assert not inspect.iscoroutinefunction(total)


# Names, places and options


def test_a_task_is_named_after_its_function_or_as_it_is_told_with_its_groups_prefix() -> None:
    assert (charge.name, total.name) == ("billing.charge", "billing.sum")
    assert (charge.aliases, total.aliases) == ((), ("add",))


def test_a_task_runs_where_its_function_belongs(app: Capelin) -> None:
    @app.task
    def plain() -> None: ...

    assert (charge.run_in, total.run_in, plain.run_in) == ("loop", "process", "thread")
    assert (type(charge), type(total), type(plain)) == (AsyncTask, SyncTask, SyncTask)


def test_options_come_from_the_task_its_group_its_app_and_capelin_in_this_order() -> None:
    policy = RetryPolicy(stop=stop_after_attempt(9))
    shop = Capelin("memory://", defaults=TaskOptions(queue="shop", priority="low", retry=policy))
    shop.include(tasks)

    options = total.effective(shop.defaults)

    assert (options.queue, options.priority, options.timeout) == ("bills", Priority.HIGH, 60.0)
    assert options.retry is policy
    assert options.retention is None


def test_an_apps_on_failure_does_not_hold_for_the_task_that_it_names() -> None:
    shop = Capelin("memory://", defaults=TaskOptions(on_failure="alert"))

    @shop.task
    async def alert() -> None: ...

    @shop.task
    async def send() -> None: ...

    assert send.job().on_failure == "alert"
    assert alert.job().on_failure is None


def test_on_failure_takes_a_task_or_its_name(app: Capelin) -> None:
    @app.task
    async def alert() -> None: ...

    @app.task(on_failure=alert)
    async def one() -> None: ...

    @app.task(on_failure="other.alert")
    async def two() -> None: ...

    assert (one.job().on_failure, two.job().on_failure) == ("alert", "other.alert")


# Requests


def test_a_job_is_a_request_with_the_arguments_as_given(app: Capelin) -> None:
    app.include(tasks)

    request = charge.job(5, note="x")

    assert request == JobRequest(
        task="billing.charge", queue="bills", args='[[5],{"note":"x"}]', digest=charge.signature.digest
    )


def test_options_of_a_call_change_the_request_and_not_the_task(app: Capelin) -> None:
    app.include(tasks)

    request = total.options(queue="other", priority="critical", delay=60, then=charge.job(1)).job([1.0])

    assert (request.queue, request.priority, request.delay) == ("other", Priority.CRITICAL, 60.0)
    assert request.then == charge.job(1)
    assert total.job([1.0]).priority is Priority.HIGH
    assert total.job([1.0]).delay is None


def test_a_parameter_may_be_called_self_or_app_or_task(app: Capelin) -> None:
    @app.task
    async def odd(first: int, *, self: int, app: int, task: int) -> int:
        return self + app + task

    assert odd.job(1, self=2, app=3, task=4).args == '[[1],{"self":2,"app":3,"task":4}]'
    assert asyncio.run(odd(1, self=2, app=3, task=4)) == 9


def test_wrong_arguments_are_refused_before_anything_is_sent(app: Capelin) -> None:
    app.include(tasks)

    with pytest.raises(InvalidArguments, match=r"billing\.charge: order: expected int, got str 'five'"):
        charge.job("five")  # type: ignore[arg-type]
    with pytest.raises(InvalidArguments, match=r"billing\.charge: missing 'order'"):
        asyncio.run(charge.enqueue())  # type: ignore[call-arg]


def test_wrong_options_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(InvalidOption, match="give either delay or at"):
        charge.options(delay=1, at=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(TypeError, match="unexpected keyword argument 'delai'"):
        charge.options(delai=1)  # type: ignore[call-arg]


def test_an_app_that_checks_round_trips_has_them_checked(
    app: Capelin, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.include(tasks)
    checked: list[bool] = []
    encode = charge.signature.encode

    def watched(args: Any, kwargs: Any, *, check_round_trip: bool = False) -> str:
        checked.append(check_round_trip)
        return encode(args, kwargs, check_round_trip=check_round_trip)

    monkeypatch.setattr(charge.signature, "encode", watched)
    charge.job(1)
    app.check_round_trip = True
    charge.job(1)

    assert checked[-2:] == [False, True]


async def test_one_job_and_many_are_enqueued_by_the_tasks_app(app: Capelin) -> None:
    app.include(tasks)
    async with app:
        one = await charge.enqueue(5)
        later = await charge.options(delay=60).enqueue(6)
        many = await app.enqueue([charge.job(7), total.job([1.5])])

        assert [job.queue for job in (one, later, *many)] == ["bills"] * 4
        assert len({job.id for job in (one, later, *many)}) == 4
        assert [(await job.status()).value for job in (one, later)] == ["queued", "scheduled"]


async def test_a_sync_call_in_a_running_loop_is_refused(app: Capelin) -> None:
    app.include(tasks)

    with pytest.raises(SyncInAsync, match=r"await enqueue\(\) instead"):
        charge.enqueue_sync(5)


# Tasks known by name


def test_a_task_known_by_name_takes_plain_json(app: Capelin) -> None:
    named = app.task_named("email.send", queue="emails")

    request = named.options(delay=5).options(priority="high").job("a@b.c", subject="x")

    assert request == JobRequest(
        task="email.send",
        queue="emails",
        args='[["a@b.c"],{"subject":"x"}]',
        priority=Priority.HIGH,
        delay=5.0,
    )
    assert repr(named) == "<NamedTask email.send queue=emails>"


def test_a_task_known_by_name_goes_where_the_apps_defaults_say() -> None:
    app = Capelin("memory://", defaults=TaskOptions(queue="shop", priority="low"))

    request = app.task_named("email.send").job()

    assert (request.queue, request.priority, request.args) == ("shop", Priority.LOW, "")


def test_a_task_known_by_name_refuses_what_is_not_plain(app: Capelin) -> None:
    with pytest.raises(InvalidArguments, match=r"email\.send: at: datetime .* is not plain JSON"):
        app.task_named("email.send").job(at=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidName):
        app.task_named("email send")


# Apps and groups


def lonely() -> Any:
    group = Tasks()

    @group.task
    async def alone() -> None: ...

    return alone


def test_a_task_without_an_app_says_so() -> None:
    alone = lonely()

    with pytest.raises(NoApp, match=r"task alone is not registered in an app; app\.include\(tasks\)"):
        _ = alone.app
    with pytest.raises(NoApp):
        asyncio.run(alone.enqueue())
    assert alone.job().task == "alone"


def test_a_group_gives_its_tasks_to_an_app_those_to_come_too(app: Capelin) -> None:
    group = Tasks()

    @group.task
    async def before() -> None: ...

    app.include(group)

    @group.task
    async def after() -> None: ...

    assert list(app.registry) == ["before", "after"]
    assert before.app is after.app is app


def test_a_task_in_several_apps_that_agree_makes_requests_but_does_not_guess_where_to_send() -> None:
    group = Tasks()

    @group.task
    async def shared() -> None: ...

    one, two = Capelin("memory://", name="one"), Capelin("memory://", name="two")
    one.include(group)
    two.include(group)

    assert shared.job().queue == "default"
    with pytest.raises(NoApp, match=r"in 2 apps \(one, two\); say which: app\.task_named\('shared'") as error:
        asyncio.run(shared.enqueue())
    assert error.value.apps == ["one", "two"]


def test_a_task_in_several_apps_that_differ_makes_no_request() -> None:
    group = Tasks()

    @group.task
    async def shared() -> None: ...

    one = Capelin("memory://", name="one", defaults=TaskOptions(queue="one"))
    two = Capelin("memory://", name="two")
    one.include(group)
    two.include(group)

    with pytest.raises(NoApp, match="in 2 apps"):
        shared.job()


def test_an_app_that_nobody_holds_any_more_does_not_count() -> None:
    group = Tasks()

    @group.task
    async def shared() -> None: ...

    def make(queue: str) -> Capelin:
        made = Capelin("memory://", name="made", defaults=TaskOptions(queue=queue))
        made.include(group)

        @made.task
        async def own() -> None: ...

        return made

    first = make("first")
    del first
    second = make("second")

    assert shared.job().queue == "second"
    assert shared.app is second


def test_an_app_lives_as_long_as_a_task_that_it_made() -> None:
    def make() -> Any:
        @Capelin("memory://", name="made").task
        async def alone() -> None: ...

        return alone

    alone = make()
    gc.collect()

    assert alone.app.name == "made"


# The registry


def test_tasks_are_found_by_name_and_by_alias_and_counted_once(app: Capelin) -> None:
    app.include(tasks)

    assert app.registry["billing.sum"] is app.registry["add"] is app.registry.get("add") is total
    assert "add" in app.registry
    assert sorted(app.registry) == ["billing.charge", "billing.sum"]
    assert len(app.registry) == 2
    assert app.registry.get("nothing") is None
    assert "nothing" not in app.registry


def test_a_misspelt_name_gets_a_suggestion(app: Capelin) -> None:
    app.include(tasks)

    with pytest.raises(
        UnknownTask, match=r"no task named 'billing\.chrage' in this app; did you mean 'billing\.charge'\?"
    ):
        app.registry["billing.chrage"]


def test_a_name_is_used_once(app: Capelin) -> None:
    @app.task(name="x")
    async def one() -> None: ...

    with pytest.raises(
        InvalidTask, match=r"x cannot be a task: the name 'x' is taken by .*one; give .*two another"
    ):

        @app.task(name="x")
        async def two() -> None: ...

    assert app.registry["x"] is one


@pytest.mark.parametrize(("name", "aliases"), [("old", ()), ("new", ("x",)), ("new", ("old",))])
def test_a_name_and_an_alias_are_one_space(app: Capelin, name: str, aliases: tuple[str, ...]) -> None:
    @app.task(name="x", aliases=("old",))
    async def one() -> None: ...

    with pytest.raises(InvalidTask, match="is taken by"):

        @app.task(name=name, aliases=aliases)
        async def two() -> None: ...

    assert list(app.registry) == ["x"]
    assert app.registry["old"] is one


def test_a_group_whose_names_are_taken_is_not_included_by_half(app: Capelin) -> None:
    @app.task(name="billing.sum")
    async def taken() -> None: ...

    with pytest.raises(InvalidTask, match=r"the name 'billing\.sum' is taken"):
        app.include(tasks)

    assert list(app.registry) == ["billing.sum"]
    assert app.registry["billing.sum"] is taken


def test_the_same_function_imported_again_takes_its_place() -> None:
    app = Capelin("memory://")

    def define() -> Any:
        @app.task(name="x", aliases=("old",))
        async def again() -> None: ...

        return again

    define()
    second = define()

    assert app.registry["x"] is app.registry["old"] is second


_SCRIPT = """
import importlib
from shop import app

if __name__ == "__main__" and {first}:
    importlib.import_module("script")

@app.task
async def send() -> None: ...

if __name__ == "__main__":
    importlib.import_module("script")
    print(app.registry["send"].import_path, send.app is app)
"""


@pytest.mark.parametrize("first", [True, False])
def test_a_module_that_is_also_the_running_script_counts_once(tmp_path: Path, *, first: bool) -> None:
    (tmp_path / "shop.py").write_text("from capelin.app import Capelin\napp = Capelin('memory://')\n")
    (tmp_path / "script.py").write_text(_SCRIPT.format(first=first))

    result = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )

    assert (result.stdout, result.stderr) == ("script:send True\n", "")


# Refusals at decoration


class Service:
    async def method(self) -> None: ...

    @staticmethod
    async def static() -> None: ...

    @classmethod
    async def of_class(cls) -> None: ...

    async def without_self() -> None:  # type: ignore[misc]
        ...


async def takes_self(self: int) -> None: ...
async def takes_cls(cls: int) -> None: ...
async def items() -> AsyncIterator[int]:
    yield 1


def numbers() -> Iterator[int]:
    yield 1


@overload
def twice(a: int) -> int: ...
@overload
def twice(a: str) -> str: ...
def twice(a: Any) -> Any:
    return a * 2


def generic(a: R) -> R:
    return a


class Callee:
    def __call__(self, a: int) -> int:
        return a


def made_by_partial(a: int, b: int) -> int:
    return a + b


async def asynchronous() -> None: ...


@functools.wraps(asynchronous)
def wrapped() -> Any:
    return asynchronous()


@functools.wraps(items)
def wrapped_generator() -> Any:
    return items()


def resolves_nothing(a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@functools.lru_cache
def cached(a: int) -> int:
    return a


REFUSED: list[tuple[Any, str]] = [
    (Service.method, "it is a method"),
    (Service().method, "it is a method"),
    (Service.static, "it is a method"),
    (Service.__dict__["static"], "it is a method"),
    (Service.__dict__["of_class"], "it is a method"),
    (Service.__dict__["without_self"], "it is a method"),
    (takes_self, "it is a method"),
    (takes_cls, "it is a method"),
    (items, "it is a generator, and a job has one result"),
    (numbers, "it is a generator, and a job has one result"),
    (wrapped_generator, "it is a generator, and a job has one result"),
    (twice, "it is overloaded"),
    (generic, "a: it is generic (~R)"),
    (lambda: None, "a lambda has no name"),
    (len, "it is a builtin"),
    (Service, "it is a class"),
    (int, "it is a class"),
    (functools.partial(made_by_partial, 1), "it is a functools.partial"),
    (Callee(), "it is not a function but Callee"),
    (cached, "it is not a function but _lru_cache_wrapper"),
    (5, "it is not a function but int"),
    (resolves_nothing, "its hints cannot be resolved (name 'Nowhere' is not defined)"),
    (wrapped, "it is a plain function wrapped around an async one"),
    (charge, "it is one already; decorate the function once"),
]


@pytest.mark.parametrize(("function", "why"), REFUSED)
def test_what_cannot_be_a_task_is_refused_at_decoration(app: Capelin, function: Any, why: str) -> None:
    with pytest.raises(InvalidTask) as error:
        app.task(name="t")(function)

    assert why in str(error.value)
    assert len(app.registry) == 0


def test_an_error_at_decoration_names_the_function(app: Capelin) -> None:
    with pytest.raises(InvalidTask, match=r"^numbers cannot be a task: it is a generator"):
        app.task(numbers)


def test_a_function_of_a_function_is_a_task_but_not_in_another_process(app: Capelin) -> None:
    def inner() -> None: ...

    assert app.task(inner).name == "inner"
    with pytest.raises(InvalidTask, match="imports it in another process; move it to the top level"):
        app.task(run_in="process", name="x")(inner)


@pytest.mark.parametrize(
    ("function", "run_in", "why"),
    [
        (asynchronous, "thread", 'an async function runs on the loop; make it def for run_in="thread"'),
        (asynchronous, "process", "an async function runs on the loop"),
        (made_by_partial, "loop", "a def function would block the event loop"),
    ],
)
def test_a_function_runs_only_where_it_can(app: Capelin, function: Any, run_in: Any, why: str) -> None:
    with pytest.raises(InvalidTask) as error:
        app.task(run_in=run_in)(function)

    assert why in str(error.value)


def test_a_place_that_does_not_exist_is_refused(app: Capelin) -> None:
    with pytest.raises(InvalidOption, match="expected one of 'loop', 'thread', 'process'"):
        app.task(run_in="greenlet")(made_by_partial)  # type: ignore[call-overload]


def test_a_plain_wrapper_around_an_async_function_says_how_it_runs(app: Capelin) -> None:
    on_loop = app.task(run_in="loop")(wrapped)

    assert type(on_loop) is AsyncTask
    assert asyncio.run(on_loop()) is None


def test_an_async_wrapper_is_an_async_task(app: Capelin) -> None:
    def logged(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        @functools.wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            return await function(*args, **kwargs)

        return wrapper

    @app.task
    @logged
    async def doubled(a: int) -> int:
        return a * 2

    assert doubled.name == "doubled"
    assert str(doubled.signature) == "(a: int)"
    assert asyncio.run(doubled(2)) == 4


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"name": "a b"}, InvalidName, "task name 'a b' is not allowed"),
        ({"name": 5}, InvalidName, "a name is a string"),
        ({"name": ""}, InvalidName, "task name '' is not allowed"),
        ({"aliases": ("ok", "not ok")}, InvalidName, "task name 'not ok' is not allowed"),
        ({"aliases": "mail.send"}, InvalidOption, "expected several names, as (name,)"),
        ({"timeout": -1}, InvalidOption, "timeout=-1"),
        ({"queue": "a b"}, InvalidName, "queue name 'a b'"),
        ({"retries": 3}, TypeError, "unexpected keyword argument 'retries'"),
    ],
)
def test_wrong_options_are_refused_at_decoration(
    app: Capelin, options: dict[str, Any], error: type[Exception], why: str
) -> None:
    with pytest.raises(error) as raised:
        app.task(**options)(asynchronous)

    assert why in str(raised.value)
    assert len(app.registry) == 0


def test_a_prefix_is_a_name() -> None:
    with pytest.raises(InvalidName, match="prefix name 'a:' is not allowed"):
        Tasks(prefix="a:")
