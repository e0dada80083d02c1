"""What a singleton is: what is refused when it is declared, and how its state outlives releases."""

import gc
from datetime import timedelta
from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from capelin import Capelin, InvalidName, InvalidOption, InvalidSingleton, InvalidState, Leader, Tasks
from capelin.errors import LeadershipLost
from capelin.singletons import Singleton


class Position(BaseModel):
    """A state."""

    at: int = 0
    seen: list[str] = []


class Strict(BaseModel):
    """A state that forbids what it does not know."""

    model_config = ConfigDict(extra="forbid")
    at: int = 0
    inner: list[Position] = []
    more: "dict[str, Strict]" = {}


class Needy(BaseModel):
    """A state that cannot be made of nothing."""

    shard: str
    at: int = 0


class Odd(BaseModel):
    """A state whose defaults are refused by itself."""

    at: int = Field(default=0, validate_default=True)

    @field_validator("at")
    @classmethod
    def odd(cls, at: int) -> int:
        if at % 2 == 0:
            raise ValueError("even")
        return at


async def plain(leader: Leader[None]) -> None:
    del leader


async def positioned(leader: Leader[Position]) -> None:
    del leader


async def hook(leader: Leader[Position]) -> None:
    del leader


class Paper:
    """A holder on paper: it keeps what is saved."""

    held = True

    def __init__(self) -> None:
        self.saved: list[bytes] = []

    async def save(self, text: bytes) -> None:
        self.saved.append(text)

    async def beat(self) -> None:
        raise LeadershipLost(singleton="s", fencing_token=1)


def make(
    function: Any = positioned, *, name: Any = "s", state: Any = Position, **options: Any
) -> Singleton[Any]:
    return Singleton(function, name=name, state=state, **options)


def leader_of(singleton: Singleton[Any], holder: Paper | None = None) -> Leader[Any]:
    return Leader(
        singleton,
        singleton.initial_state(),
        fencing_token=7,
        worker_id="w",
        holder=holder or Paper(),
    )


class TestDeclaring:
    """``@app.singleton``, on apps and groups."""

    def test_its_name_is_the_functions_or_what_is_given_after_the_groups_prefix(self) -> None:
        app, group = Capelin("memory://"), Tasks(prefix="search.")
        app.singleton(plain)
        app.singleton("other")(plain)
        group.singleton(state=Position)(positioned)
        group.singleton("named", state=Position)(positioned)
        app.include(group)
        assert list(app.singletons) == ["plain", "other", "search.positioned", "search.named"]

    def test_an_included_group_brings_what_it_gets_later(self) -> None:
        app, group = Capelin("memory://"), Tasks(prefix="search.")
        app.include(group)
        made = group.singleton("late")(plain)
        assert app.singletons["search.late"] is made
        assert made.import_path == f"{__name__}:plain"

    def test_a_module_that_is_included_by_name_brings_its_singletons(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = ModuleType("shop_of_singletons")
        group = module.__dict__["group"] = Tasks()
        group.singleton(plain)
        monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
        assert list(Capelin("memory://", include=[module.__name__]).singletons) == ["plain"]

    def test_a_group_does_not_keep_an_app_alive(self) -> None:
        group = Tasks()
        group.singleton(plain)
        app = Capelin("memory://")
        app.include(group)
        del app
        gc.collect()
        other = Capelin("memory://")
        other.include(group)
        assert list(other.singletons) == ["plain"]

    def test_a_name_is_used_once(self) -> None:
        app = Capelin("memory://")
        app.singleton("s")(plain)
        with pytest.raises(
            InvalidSingleton, match=f"s cannot be .* taken by {__name__}:plain; give {__name__}"
        ):
            app.singleton("s", state=Position)(positioned)
        assert app.singletons["s"].function is plain

    def test_the_same_function_imported_twice_is_one_and_the_importable_one_stays(self) -> None:
        app = Capelin("memory://")
        importable = app.singleton("s")(plain)
        twin = FunctionType(plain.__code__, plain.__globals__, "plain")
        twin.__module__ = "__main__"
        app.singleton("s")(twin)
        assert app.singletons["s"] is importable

    def test_it_is_called_as_the_function_that_it_is(self) -> None:
        made = make()
        coroutine = made(leader_of(made))
        with pytest.raises(StopIteration):
            coroutine.send(None)
        assert (made.__name__, made.__wrapped__, repr(made)) == ("positioned", positioned, "<Singleton s>")

    def test_durations_are_seconds_or_timedelta(self) -> None:
        assert (make().interval, make().lose_timeout) == (60, 5)
        made = make(interval=timedelta(minutes=2), lose_timeout=1)
        assert (made.interval, made.lose_timeout) == (120, 1)

    @pytest.mark.parametrize("name", ["", "with space", "a" * 201, "{}"])
    def test_names_that_keys_do_not_allow_are_refused(self, name: str) -> None:
        with pytest.raises(InvalidName, match="singleton name"):
            Capelin("memory://").singleton(name)(plain)

    def test_the_name_of_the_schedulers_own_lease_is_refused(self) -> None:
        with pytest.raises(InvalidSingleton, match="the scheduler's own lease"):
            make(name="leader")


def not_async(leader: Leader[Position]) -> None:
    del leader


async def no_parameter() -> None: ...


async def two(leader: Leader[Position], other: int) -> None:
    del leader, other


async def keyword(*, leader: Leader[Position]) -> None:
    del leader


async def generator(leader: Leader[Position]) -> Any:
    yield leader


class Methods:
    """Has one."""

    async def method(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (not_async, "it is not async, and could not be cancelled"),
        (no_parameter, "it is called with the leader, and nothing else"),
        (two, "it is called with the leader, and nothing else"),
        (keyword, "it is called with the leader, and nothing else"),
        (generator, "async generator"),
        (Methods.method, "it is a method"),
        (Methods().method, "it is a method"),
        (partial(positioned), "functools.partial"),
        (Methods, "it is a class"),
        (5, "it is not a function but int"),
        (eval("lambda leader: leader"), "a lambda has no name"),  # noqa: S307
        (make(), "it is one already"),
    ],
)
def test_what_cannot_run_is_refused_with_a_reason(function: Any, why: str) -> None:
    app: Any = Capelin("memory://")
    with pytest.raises(InvalidSingleton, match=why):
        app.singleton(state=Position)(function)
    assert not app.singletons


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"state": int}, "is not a pydantic model"),
        ({"state": Position()}, "is not a pydantic model"),
        ({"state": BaseModel}, "is not a pydantic model"),
        ({"state": Needy}, "Needy needs shard, which nobody gives it"),
        ({"state": Odd}, r"Odd\(\) fails"),
        ({"state": Needy, "initial": Position()}, "which is not a Needy"),
        ({"state": Needy, "initial": lambda: 5}, "initial= gives 5"),
        ({"state": None, "initial": Position()}, "of no use without state="),
        (
            {"state": Needy, "initial": Needy(shard="a"), "function": positioned},
            "it takes a Leader.Position., but",
        ),
        ({"state": None, "function": positioned}, "it takes a Leader.Position., but no state= was given"),
        ({"state": Position, "function": plain}, "it takes a Leader.None., but state=Position was given"),
    ],
)
def test_states_that_cannot_be_are_refused_with_a_reason(options: dict[str, Any], why: str) -> None:
    async def anything(leader: Any) -> None:
        del leader

    with pytest.raises(InvalidSingleton, match=why):
        make(**{"function": anything} | options)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"interval": 0}, "interval=0: must be more than 0 s"),
        ({"interval": timedelta(0)}, "must be more than 0 s"),
        ({"interval": -1}, "must be at least 0 s"),
        ({"interval": float("nan")}, "must be finite"),
        ({"interval": "1"}, r"expected seconds \(a number\)"),
        ({"lose_timeout": 0}, "lose_timeout=0: must be more than 0 s"),
        ({"on_become_leader": not_async}, "on_become_leader=.* expected an async function"),
        ({"on_lose_leadership": two}, "on_lose_leadership=.* and nothing else"),
        ({"on_lose_leadership": 5}, "expected an async function"),
    ],
)
def test_options_that_make_no_sense_are_refused_with_a_reason(options: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidOption, match=why):
        make(**options)


class TestState:
    """The first state, and what is written and read of it."""

    def test_the_first_one_is_made_anew_each_time(self) -> None:
        needy = Needy(shard="a")
        for made in (
            make(),
            make(hookless, state=Needy, initial=needy),
            make(hookless, state=Needy, initial=lambda: needy),
        ):
            one, other = made.initial_state(), made.initial_state()
            assert one == other
            assert one is not other
            assert one is not needy
        assert make(plain, state=None).initial_state() is None

    def test_what_is_written_is_read(self) -> None:
        made = make()
        state = Position(at=3, seen=["ä", "\x00"])
        assert made.decode(made.encode(state)) == state
        assert made.encode(state).startswith(b'{"at":3')

    def test_fields_that_are_new_have_their_defaults_and_dropped_ones_are_left_out(self) -> None:
        assert make().decode(b'{"at":3,"dropped":[1,2]}') == Position(at=3)

    def test_a_model_that_forbids_extra_fields_reads_what_an_older_one_wrote(self) -> None:
        made = make(hookless, state=Strict)
        text = b'{"at":3,"old":1,"inner":[{"at":4,"old":1}],"more":{"x":{"at":5,"old":{"old":1}}}}'
        assert made.decode(text) == Strict(at=3, inner=[Position(at=4)], more={"x": Strict(at=5)})

    @pytest.mark.parametrize(
        "text", [b"", b"{", b"5", b"null", b'{"at":"x"}', b'{"at":"x","old":1}', b"\xff"]
    )
    def test_what_cannot_be_read_is_an_error(self, text: bytes) -> None:
        for made in (make(), make(hookless, state=Strict)):
            with pytest.raises(ValueError, match=r"\w"):
                made.decode(text)

    @pytest.mark.parametrize(
        ("state", "why"),
        [
            (Needy(shard="a"), "expected Position, got Needy"),
            (None, "expected Position, got NoneType"),
            (Position().model_copy(update={"at": "x"}), "at"),
            (Position(seen=["\ud800"]), "surrogate"),
        ],
    )
    def test_what_would_not_come_back_is_not_written(self, state: Any, why: str) -> None:
        with pytest.raises(InvalidState, match=f"the state of singleton s cannot be stored: .*{why}"):
            make().encode(state)

    async def test_a_leader_saves_its_state_as_it_is_then(self) -> None:
        paper = Paper()
        leader = leader_of(make(), paper)
        leader.state.at = 1
        await leader.save()
        leader.state = Position(at=2)
        await leader.save()
        assert [text.split(b",")[0] for text in paper.saved] == [b'{"at":1', b'{"at":2']

    def test_a_leader_takes_no_other_kind_of_state(self) -> None:
        leader = leader_of(make())
        with pytest.raises(InvalidState, match="expected Position, got dict"):
            leader.state = {"at": 3}
        stateless = leader_of(make(plain, state=None))
        with pytest.raises(InvalidState, match="declared without state="):
            stateless.state = Position()
        assert stateless.state is None

    async def test_a_leader_says_who_it_is(self) -> None:
        leader = leader_of(make())
        assert (leader.name, leader.fencing_token, leader.worker_id, leader.held) == ("s", 7, "w", True)
        assert repr(leader) == "<Leader s token=7>"
        with pytest.raises(LeadershipLost, match="under token 1 is over"):
            await leader.heartbeat()


async def hookless(leader: Any) -> None:
    del leader
