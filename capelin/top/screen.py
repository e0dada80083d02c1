"""The screen of ``capelin top``: lists, keys, and a loop that looks at Redis again and again.

An outage is said in the first line, the last look stays, and the loop goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import ClassVar, Final

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import ContentSwitcher, DataTable, Footer, Static
from typing_extensions import override

from capelin.errors import CapelinError
from capelin.records import JobStatus
from capelin.top.dialogs import JobScreen, Question, WhichJob
from capelin.top.line import Choice, Line
from capelin.top.listing import Listing
from capelin.top.picture import Picture
from capelin.top.views import View
from capelin.top.words import cut

_VIEWS: Final = tuple(View)
_STATUSES: Final = (None, *JobStatus)
_CAN: Final[Mapping[str, frozenset[View]]] = {
    "pause": frozenset({View.QUEUES, View.SCHEDULES}),
    "replay": frozenset({View.DEAD, View.JOBS}),
    "cancel": frozenset({View.JOBS}),
    "status": frozenset({View.JOBS}),
}
"""What can be done in some lists only."""
_OF_LISTS: Final = frozenset({"view", "step", "leave", "again", "job", *_CAN})
"""What can be done while nothing is opened over the lists."""


class TopApp(App[None]):
    """The fleet on one screen.

    Args:
        line: The line to Redis.
        every: Seconds between looks.
    """

    TITLE = "capelin top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(at), f"view('{view}')", show=False) for at, view in enumerate(_VIEWS, 1)),
        Binding("right,tab", "step(1)", show=False, priority=True),
        Binding("left,shift+tab", "step(-1)", show=False, priority=True),
        Binding("q", "quit", "Quit"),
        Binding("p", "pause", "Pause/resume"),
        Binding("r", "replay", "Replay"),
        Binding("c", "cancel", "Cancel"),
        Binding("s", "status", "Status"),
        Binding("j", "job", "Job by id"),
        Binding("escape", "leave", show=False),
        Binding("space", "again", "Look again", show=False),
    ]
    CSS = """
    #title { height: 1; background: $primary; color: $text; padding: 0 1; text-style: bold; }
    #title.trouble { background: $error; }
    #totals, #views, #said { height: 1; padding: 0 1; }
    #detail { height: 2; padding: 0 1; color: $text-muted; }
    ContentSwitcher { height: 1fr; }
    Listing { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; }
    """

    def __init__(self, line: Line, *, every: float) -> None:
        super().__init__()
        self._line, self._every = line, every
        self.picture = Picture(line.url, every=every)
        self._view = View.QUEUES
        self._choice = Choice()
        self._from = View.QUEUES
        self._again = asyncio.Event()
        self.looks = 0
        # Held, not looked up: an answer may come when the screen is about to be left.
        self._title, self._totals, self._tabs = Static(id="title"), Static(id="totals"), Static(id="views")
        self._detail, self._said = Static(id="detail"), Static(id="said")
        self._lists = {view: Listing(id=view.value) for view in _VIEWS}
        self._switcher = ContentSwitcher(*self._lists.values(), initial=View.QUEUES.value)

    # What is drawn.

    @override
    def compose(self) -> ComposeResult:
        yield self._title
        yield self._totals
        yield self._tabs
        yield self._switcher
        yield self._detail
        yield self._said
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._draw()
        self._list.focus()
        self.run_worker(self._watch(), exclusive=True, group="watch")

    def on_resize(self, event: events.Resize) -> None:
        """The terminal has another width."""
        self._draw(width=event.size.width)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """The cursor moved."""
        del event
        self._draw_detail()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter, or a click."""
        del event
        self._look_inside()

    @property
    def _list(self) -> Listing:
        return self._lists[self._view]

    def _draw(self, width: int | None = None) -> None:
        self._title.update(self._one_line(self.picture.title()))
        self._title.set_class(self.picture.in_trouble, "trouble")
        self._totals.update(self._one_line(self.picture.totals()))
        self._tabs.update(self._named_views())
        margin = 3  # of the list, and its scroll bar
        self._list.show_grid(self.picture.grid(self._view), (width or self.size.width) - margin)
        self._draw_detail()

    def _draw_detail(self) -> None:
        current = self._list.current
        words = self._list.empty if current is None else current.detail
        self._detail.update(Text(" ".join(words.split())))

    def _one_line(self, words: str) -> Text:
        return Text(cut(words, self.size.width - 2))

    def _named_views(self) -> Text:
        text = Text()
        for at, view in enumerate(_VIEWS, 1):
            text.append(f"{at} {view.value}", style="reverse" if view is self._view else "")
            text.append("  ")
        if self._view is View.JOBS:
            text.append(cut(str(self._choice), self.size.width - 2 - len(text)), style="dim")
        return text

    def _say(self, words: str) -> None:
        self._said.update(self._one_line(words))

    # Looking.

    async def _watch(self) -> None:
        while True:
            self._again.clear()
            try:
                self.picture.saw(await self._line.overview())
                await self._look_at_view()
            except CapelinError as error:
                self.picture.failed(error)
            self.looks += 1
            if not self.is_running:
                return
            self._draw()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._again.wait()

    async def _look_at_view(self) -> None:
        """Read what is read while it is shown only."""
        if self._view is View.SCHEDULES:
            self.picture.schedules = await self._line.schedules()
        elif self._view is View.DEAD:
            self.picture.dead = await self._line.dead()
        elif self._view is View.JOBS:
            self.picture.jobs = await self._line.jobs(self._choice)

    # Keys.

    @override
    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key means something here."""
        del parameters
        if action in _OF_LISTS and self.screen is not self.screen_stack[0]:
            return False
        return action not in _CAN or self._view in _CAN[action]

    def action_view(self, view: str) -> None:
        """Show another list."""
        self._view = View(view)
        self._switcher.current = view
        self._list.focus()
        self.refresh_bindings()
        self._draw()
        self._again.set()

    def action_step(self, by: int) -> None:
        """Show the next list, or the one before."""
        self.action_view(_VIEWS[(_VIEWS.index(self._view) + by) % len(_VIEWS)])

    def action_again(self) -> None:
        """Look at once."""
        self._again.set()

    def action_status(self) -> None:
        """List jobs of the next status."""
        at = _STATUSES.index(self._choice.status)
        self._list_jobs(Choice(queue=self._choice.queue, status=_STATUSES[(at + 1) % len(_STATUSES)]))

    def action_leave(self) -> None:
        """From jobs to the list whose jobs they are."""
        if self._view is View.JOBS:
            self.action_view(self._from.value)

    def action_job(self) -> None:
        """Look inside a job whose id is typed."""

        async def ask() -> None:
            job_id = await self.push_screen_wait(WhichJob())
            if job_id is not None:
                self._open_job(job_id)

        self.run_worker(ask(), group="deeds")

    def action_pause(self) -> None:
        """Pause the queue or the schedule under the cursor, or resume it."""
        current = self._list.current
        if current is None:
            return
        paused = self.picture.is_paused(self._view, current.key)
        toggle = self._line.toggle_queue if self._view is View.QUEUES else self._line.toggle_schedule
        self._do(None, lambda: toggle(current.key, paused=paused))

    def action_replay(self) -> None:
        """Run the job under the cursor again."""
        current = self._list.current
        if current is not None:
            self._do(f"Run {current.key} again", lambda: self._line.replay(current.key))

    def action_cancel(self) -> None:
        """Cancel the job under the cursor."""
        current = self._list.current
        if current is not None:
            self._do(f"Cancel {current.key}", lambda: self._line.cancel(current.key))

    def _look_inside(self) -> None:
        current = self._list.current
        if current is None:
            return
        if self._view in (View.DEAD, View.JOBS):
            self._open_job(current.key)
        elif self._view is View.SCHEDULES:
            last = next((one.last_job for one in self.picture.schedules if one.name == current.key), None)
            if last is None:
                self._say(f"schedule {current.key} has not fired yet")
            else:
                self._open_job(last)
        elif self._view is View.WORKERS:
            self._list_jobs(Choice(worker=current.key))
        else:
            self._list_jobs(Choice(queue=current.key.rpartition(":")[0] or current.key))

    def _open_job(self, job_id: str) -> None:
        self.push_screen(JobScreen(self._line, job_id, every=self._every, ask=self._ask))

    async def _ask(self, asked: str) -> bool:
        return await self.push_screen_wait(Question(asked))

    def _list_jobs(self, choice: Choice) -> None:
        self._choice = choice
        if self._view is not View.JOBS:
            self._from = self._view
        self.picture.jobs = ()
        self.action_view(View.JOBS.value)

    def _do(self, asked: str | None, deed: Callable[[], Awaitable[str]]) -> None:
        async def ask_and_do() -> None:
            if asked is not None and not await self._ask(asked):
                return
            try:
                self._say(await deed())
            except CapelinError as error:
                self._say(f"not done: {error}")
            self._again.set()

        self.run_worker(ask_and_do(), group="deeds")
