"""What opens over the lists: a job's story, a question, and where a job's id is typed."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Input, Static
from typing_extensions import override

from capelin.errors import CapelinError
from capelin.top.line import Line
from capelin.top.story import story


class Question(ModalScreen[bool]):
    """Asks before something is done.

    Args:
        asked: The question.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
    ]
    CSS = """
    Question { align: center middle; }
    Question Static {
        width: auto; max-width: 76; padding: 1 2; border: round $warning; background: $surface;
    }
    """

    def __init__(self, asked: str) -> None:
        super().__init__()
        self._asked = asked

    @override
    def compose(self) -> ComposeResult:
        yield Static(Text(f"{self._asked}?\n\ny yes   n no"))

    def action_answer(self, yes: bool) -> None:  # noqa: FBT001 -- textual passes it by place
        """End the dialog."""
        self.dismiss(yes)


class WhichJob(ModalScreen[str | None]):
    """Asks for a job's id."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Back")]
    CSS = """
    WhichJob { align: center middle; }
    WhichJob Vertical { width: 70; height: auto; border: round $primary; background: $surface; padding: 0 1; }
    """

    @override
    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static("Id of the job (Escape: back)")
            yield Input(placeholder="emails.3.06dpvgeqmvk5m3jvmfb6v0000s")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """It was typed."""
        self.dismiss(event.value.strip() or None)

    def action_leave(self) -> None:
        """Escape."""
        self.dismiss(None)


class JobScreen(Screen[None]):
    """A job's whole story; it is read again while it is shown.

    Args:
        line: The line to Redis.
        job_id: The job.
        every: Seconds between looks.
        ask: Asks a question over it, and returns whether the answer was yes.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Back"),
        Binding("r", "replay", "Replay"),
        Binding("c", "cancel", "Cancel"),
        Binding("up,down,pageup,pagedown", "none", "Scroll", show=True, key_display="↑↓"),
    ]
    CSS = """
    JobScreen #name { height: 1; background: $primary; color: $text; padding: 0 1; text-style: bold; }
    JobScreen VerticalScroll { height: 1fr; padding: 0 1; }
    JobScreen #said { height: 1; padding: 0 1; }
    """

    def __init__(
        self, line: Line, job_id: str, *, every: float, ask: Callable[[str], Awaitable[bool]]
    ) -> None:
        super().__init__()
        self._line, self._job_id, self._every, self._ask = line, job_id, every, ask
        self._again = asyncio.Event()
        # Held, not looked up: an answer may come when the screen has just been left.
        self._told, self._said = Static("looking …"), Static("", id="said")
        self._scroll = VerticalScroll(self._told)

    @override
    def compose(self) -> ComposeResult:
        yield Static(Text(f"job {self._job_id}"), id="name")
        yield self._scroll
        yield self._said
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._scroll.focus()
        self.run_worker(self._watch(), exclusive=True, group="job")

    async def _watch(self) -> None:
        while True:
            self._again.clear()
            try:
                found = await self._line.job(self._job_id)
            except CapelinError as error:
                self._say(f"not read: {error}")
            else:
                self._told.update(Text("\n".join(story(found))))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._again.wait()

    def _say(self, words: str) -> None:
        self._said.update(Text(" ".join(words.split())))

    def action_leave(self) -> None:
        """Back to the lists."""
        self.dismiss(None)

    def action_replay(self) -> None:
        """Ask, and run it again."""
        self._do(f"Run {self._job_id} again", lambda: self._line.replay(self._job_id))

    def action_cancel(self) -> None:
        """Ask, and cancel it."""
        self._do(f"Cancel {self._job_id}", lambda: self._line.cancel(self._job_id))

    def _do(self, asked: str, deed: Callable[[], Awaitable[str]]) -> None:
        async def ask_and_do() -> None:
            if not await self._ask(asked):
                return
            try:
                self._say(await deed())
            except CapelinError as error:
                self._say(f"not done: {error}")
            self._again.set()

        self.run_worker(ask_and_do(), group="deeds")
