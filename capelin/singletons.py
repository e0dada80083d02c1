"""Singletons: coroutines that run on one process of the fleet, and move to another when it dies.

A singleton keeps a typed state, which only its present leader can save: every write is fenced in Redis by the
owner and the epoch of its lease. This module says what a singleton is; ``capelin.scheduler`` runs it.
"""

import copy
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Generic, Protocol, cast

from pydantic import BaseModel
from typing_extensions import TypeVar

from capelin._evolution import read_of_any_release
from capelin._singleton_checks import check_body, check_hint, checked_hook, checked_state, made, positive
from capelin.codec import Codec, Inexact
from capelin.durations import Duration
from capelin.errors import InvalidSingleton, InvalidState
from capelin.functions import same_function
from capelin.hints import spell
from capelin.keys import LEADER
from capelin.names import check_name

State = TypeVar("State", bound=BaseModel | None, default=None)

MAX_STATE_BYTES = 1024 * 1024
INTERVAL = 60.0
"""Seconds from the end of one run to the next, if nothing else is said."""
LOSE_TIMEOUT = 5.0
"""Seconds for ``on_lose_leadership``, if nothing else is said."""


class Holder(Protocol):
    """What a leader asks of the process that holds its lease."""

    @property
    def held(self) -> bool:
        """Whether the lease can be trusted at this moment."""
        ...

    async def save(self, text: bytes) -> None:
        """Write the state; `LeadershipLost` if that is refused."""
        ...

    async def beat(self) -> None:
        """Give a sign of life; `LeadershipLost` if that is refused."""
        ...


class Leader(Generic[State]):
    """What a singleton's code is given: its state, and its right to be the only one.

    Attributes:
        name: The singleton's name.
        worker_id: The worker that runs it.
        fencing_token: Grows each time somebody takes the lease, and never repeats. Pass it to foreign systems
            with what is written there, so that they can refuse a leader that was deposed.

    Example:
        async def indexer(leader: Leader[IndexState]) -> None:
            leader.state.position = await index_from(leader.state.position)
            await leader.save()
    """

    def __init__(
        self,
        singleton: "Singleton[State]",
        state: State,
        *,
        fencing_token: int,
        worker_id: str,
        holder: Holder,
    ) -> None:
        self.name = singleton.name
        self.fencing_token = fencing_token
        self.worker_id = worker_id
        self._singleton = singleton
        self._state = state
        self._holder = holder

    @property
    def state(self) -> State:
        """The state: change it, or set another, and ``save()`` it.

        What is not saved is gone when the leader changes, or a run fails.
        """
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._singleton.check_state(state)
        self._state = state

    @property
    def held(self) -> bool:
        """Whether this process may still believe that it is the only one.

        Once it is false it stays so.
        """
        return self._holder.held

    async def save(self) -> None:
        """Write the state to Redis; a sign of life, too.

        When this returns, the next leader will find it. Through an outage it is sent again as long as the
        lease can be trusted.

        Raises:
            LeadershipLost: Somebody else leads now. Nothing was written.
            InvalidState: The state cannot be encoded exactly. Nothing was written.
            RedisRefused: Redis answered with an error.
        """
        await self._holder.save(self._singleton.encode(self._state))

    async def heartbeat(self) -> None:
        """Give a sign of life: for a run that does not return within twice the interval.

        Raises:
            LeadershipLost: Somebody else leads now.
            RedisRefused: Redis answered with an error.
        """
        await self._holder.beat()

    def __repr__(self) -> str:
        return f"<Leader {self.name} token={self.fencing_token}{'' if self.held else ' lost'}>"


Body = Callable[[Leader[State]], Coroutine[Any, Any, object]]


class Singleton(Generic[State]):
    """A coroutine that runs on one process of the fleet at a time, with its state. Made by ``app.singleton``.

    Attributes:
        name: Its name; one for the whole namespace, whatever the app.
        function: What runs.
        state: The state's model, or None.
        interval: Seconds from the end of one run to the next.
        on_become_leader: Runs before the first run on each new host.
        on_lose_leadership: Runs after the last run on each host, for ``lose_timeout`` seconds at most.
        lose_timeout: Seconds for that hook, and for a run to heed that it was cancelled.
    """

    def __init__(
        self,
        function: Body[State],
        *,
        name: str,
        state: type[State] | None = None,
        initial: State | Callable[[], State] | None = None,
        interval: Duration = INTERVAL,
        on_become_leader: Body[State] | None = None,
        on_lose_leadership: Body[State] | None = None,
        lose_timeout: Duration = LOSE_TIMEOUT,
    ) -> None:
        self.name = check_name("singleton", name)
        if name == LEADER:
            raise InvalidSingleton(
                singleton=name, why="the scheduler's own lease has this name; choose another"
            )
        check_body(function, name)
        check_hint(function, name, Leader, state)
        self.function = function
        self.state = checked_state(state, name)
        self.interval = positive("interval", interval)
        self.lose_timeout = positive("lose_timeout", lose_timeout)
        self.on_become_leader = checked_hook("on_become_leader", on_become_leader)
        self.on_lose_leadership = checked_hook("on_lose_leadership", on_lose_leadership)
        self._initial = initial
        self._codec = Codec(state) if state is not None else None
        self.initial_state()
        self.__wrapped__ = function
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__

    @property
    def import_path(self) -> str:
        """Where it is defined: ``search.tasks:indexer``."""
        return f"{self.__module__}:{self.__qualname__}"

    def __call__(self, leader: Leader[State], /) -> Coroutine[Any, Any, object]:
        """Call the function here and now, as if it were no singleton."""
        return self.function(leader)

    def initial_state(self) -> State:
        """Return a state as it is before the first save.

        Raises:
            InvalidSingleton: There is none: the model has required fields, or ``initial`` gives something
                else.
        """
        if self.state is None:
            if self._initial is not None:
                raise InvalidSingleton(singleton=self.name, why="initial= is of no use without state=")
            return cast(State, None)
        if self._initial is None:
            return cast(State, made(self.state, self.name))
        given: object = self._initial
        if callable(given) and not isinstance(given, BaseModel):
            given = given()
        if type(given) is not self.state:
            raise InvalidSingleton(
                singleton=self.name, why=f"initial= gives {given!r}, which is not a {spell(self.state)}"
            )
        return cast(State, copy.deepcopy(given))

    def check_state(self, state: object) -> None:
        """Refuse what is not a state of this singleton.

        Raises:
            InvalidState: It is of another type.
        """
        if (state is None) if self.state is None else type(state) is self.state:
            return
        wanted = "it was declared without state=" if self.state is None else f"expected {spell(self.state)}"
        raise InvalidState(singleton=self.name, why=f"{wanted}, got {type(state).__qualname__}")

    def encode(self, state: State) -> bytes:
        """Return a state as JSON.

        Raises:
            InvalidState: It would not come back as it is, or is of another type.
        """
        self.check_state(state)
        if self._codec is None:
            return b"null"
        try:
            text = self._codec.write(state)
        except Inexact as cause:
            raise InvalidState(singleton=self.name, why=str(cause)) from cause
        if len(text) > MAX_STATE_BYTES:
            raise InvalidState(
                singleton=self.name,
                why=f"it takes {len(text):,} bytes, the limit is {MAX_STATE_BYTES:,}; store it elsewhere",
            )
        return text

    def decode(self, text: bytes) -> State:
        """Return the state that this, an older or a newer release saved.

        Raises:
            ValueError: It cannot be read.
        """
        if self._codec is None:
            return cast(State, None)
        try:
            return cast(State, read_of_any_release(self._codec, text))
        except Inexact as cause:
            raise ValueError(str(cause)) from cause

    def __repr__(self) -> str:
        return f"<Singleton {self.name}>"


class SingletonRegistry(Mapping[str, Singleton[Any]]):
    """Singletons by name. A name is used once; the same function imported twice counts as one."""

    def __init__(self) -> None:
        self._singletons: dict[str, Singleton[Any]] = {}

    def add(self, *singletons: Singleton[Any]) -> None:
        """Add singletons, all or none.

        Raises:
            InvalidSingleton: A name is taken by another.
        """
        for one in singletons:
            present = self._singletons.get(one.name)
            if present is not None and not same_function(present.function, one.function):
                raise InvalidSingleton(
                    singleton=one.name,
                    why=f"the name is taken by {present.import_path}; give {one.import_path} another",
                )
        for one in singletons:
            if one.name not in self._singletons or one.__module__ != "__main__":
                self._singletons[one.name] = one

    def __getitem__(self, name: str) -> Singleton[Any]:
        return self._singletons[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._singletons)

    def __len__(self) -> int:
        return len(self._singletons)

    def __repr__(self) -> str:
        return f"<SingletonRegistry {', '.join(self._singletons) or 'empty'}>"
