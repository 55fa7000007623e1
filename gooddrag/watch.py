"""What a terminal shows of an edit: a bar for each phase, or plain lines where there is no terminal; then the outcome.

Ctrl-C is heard here: the first one ends the dragging and keeps the picture, the second one interrupts.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from gooddrag.methods import Method
from gooddrag.result import Recorder, Result
from gooddrag.schedule import Denoise, Drag
from gooddrag.steps import Denoised, Dragged, Finished, Inverted, Learned, Step
from gooddrag.terminal import printable, xy

WIDTHS = {"phase": 20, "count": 15, "detail": 15, "time": 12}
PLAIN_LINES = 5  # so many while dragging, where there is no bar


@dataclass(frozen=True)
class News:
    """A step, told: which bar it belongs to, what to write beside it, and how far the bar is (0 to 1)."""

    bar: str
    phase: str
    count: str
    detail: str
    done: float


def milestones(method: Method) -> dict[Drag | Denoise, float]:
    """How much of the work is done (0 to 1) after each step of the schedule, counted in passes through the U-Net."""
    schedule = method.steps_to_take()
    passes = [method.passes_per_drag if isinstance(step, Drag) else 2 for step in schedule]
    return {step: done / sum(passes) for step, done in zip(schedule, accumulate(passes), strict=True)}


def tell(step: Step, marks: dict[Drag | Denoise, float]) -> News | None:
    """What a step means to somebody who waits; None for those that only mark a place.

    Where the schedule was not known in advance, steps themselves say how far the work is.
    """
    match step:
        case Learned():
            return _side_task("learning the picture", step, f"loss {step.loss:.3f}")
        case Inverted():
            return _side_task("back into noise", step, "")
        case Dragged():
            done, name = marks.get(Drag(step.drag, step.at), (step.drag - 1) / step.of), "dragging"
            count = f"drag {step.drag} of {step.of}"
        case Denoised():
            done, name = marks.get(Denoise(step.at), (step.at + 1) / step.of), "denoising"
            count = f"step {step.at + 1} of {step.of}"
        case _:
            return None
    return News("dragging and denoising", name, count, f"{step.distances.mean():.1f} px to go", done)


def _side_task(name: str, step: Learned | Inverted, detail: str) -> News:
    return News(name, name, f"step {step.step} of {step.of}", detail, step.step / step.of)


def watch(stream: Generator[Step, None, None], recorder: Recorder, method: Method, console: Console) -> Result:
    """Run an edit to its end, or to the first Ctrl-C.

    Raises
    ------
    EditFailed
        When it was stopped before there was anything to keep.
    KeyboardInterrupt
        At the second Ctrl-C.
    """
    display = Display(console, method)
    with display, _stop_request(display.stopping) as stop, closing(stream):
        for step in stream:
            display.show(step)
            recorder.see(step)
            if not stop or isinstance(step, Finished):
                continue
            if recorder.drags:
                display.say(f"Stopping: finishing the picture as it is after drag {recorder.drags} …")
            return recorder.stopped()
    return recorder.result()


def watch_together(
    stream: Generator[tuple[int, Step | Exception], None, None],
    recorders: Mapping[str, Recorder],
    methods: Sequence[Method],
    console: Console,
) -> None:
    """Run several edits to their end, a bar for each; `recorders` by what their edits are called.

    Raises
    ------
    BadInput, EditFailed
        What the first edit that fails has to say.
    """
    marks, seen = [milestones(method) for method in methods], list(recorders.values())
    live = console.is_terminal and not console.is_dumb_terminal
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[phase]}"))
    if not live:
        console.print(Text(f"{len(seen)} edits at once …"), soft_wrap=True)
    with Progress(*columns, console=console, disable=not live) as progress, closing(stream):
        bars = [progress.add_task(name, total=1, phase="") for name in recorders]
        for k, step in stream:
            if isinstance(step, Exception):
                raise step
            seen[k].see(step)
            if (news := tell(step, marks[k])) is not None:
                done = news.done if isinstance(step, Dragged | Denoised) else None
                progress.update(bars[k], phase=news.phase, completed=done)


@contextmanager
def _stop_request(at_first: Callable[[], None]) -> Iterator[list[bool]]:
    """A list that becomes non-empty at the first Ctrl-C; the second one interrupts as usual."""
    asked: list[bool] = []

    def ask(_signal: int, _frame: Any) -> None:
        asked.append(True)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        at_first()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


class Display:
    """Bars in a terminal, one below the other; a few plain lines in a file or a pipe."""

    def __init__(self, console: Console, method: Method):
        self.console, self.marks = console, milestones(method)
        self.live = console.is_terminal and not console.is_dumb_terminal
        self.progress = Progress(*_columns(console.width), console=console, disable=not self.live)
        self.bar, self.task, self.drags, self.stopped = "", TaskID(0), 0, False

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def show(self, step: Step) -> None:
        """Bring the display up to date."""
        news = tell(step, self.marks)
        if isinstance(step, Finished) and self.bar:
            self.progress.update(self.task, completed=1, phase="dragging, denoising", count=f"{self.drags} drags")
        if news is None:
            return
        if news.bar != self.bar:
            self.bar = news.bar
            self._begin(news)
        phase = "stopping …" if self.stopped else news.phase
        self.progress.update(self.task, completed=news.done, phase=phase, count=news.count, detail=news.detail)
        if isinstance(step, Dragged):
            if not self.live and step.drag * PLAIN_LINES // step.of > self.drags * PLAIN_LINES // step.of:
                self.say(f"  {news.count}, {news.detail}")
            self.drags = step.drag

    def _begin(self, news: News) -> None:
        self.task = self.progress.add_task("", total=1, phase=news.phase, count="", detail="")
        if not self.live:
            self.say(f"{news.bar} …")

    def say(self, line: str) -> None:
        """Write a line; in a terminal it goes above the bars."""
        self.console.print(Text(line), soft_wrap=True)

    def stopping(self) -> None:
        """Show at once that Ctrl-C was heard. Runs in a signal handler: it changes a field and writes nothing."""
        self.stopped = True
        if self.bar:
            self.progress.update(self.task, phase="stopping …")


def _columns(width: int) -> list[ProgressColumn]:
    """What fits into the terminal: where it is narrow first the bar goes, then the detail."""
    columns = [_text("phase", style="bold"), _text("count"), _text("detail"), _Clock(table_column=Column(no_wrap=True))]
    room = width - sum(WIDTHS.values()) - len(WIDTHS)
    if room < 0:
        columns.pop(2)
    if room >= 4:
        columns.insert(1, BarColumn(bar_width=min(room, 30)))
    return columns


def _text(name: str, style: str = "none") -> TextColumn:
    column = Column(no_wrap=True, width=WIDTHS[name], overflow="ellipsis")
    return TextColumn("{task.fields[" + name + "]}", style=style, markup=False, table_column=column)


class _Clock(ProgressColumn):
    """The time left; of what is done, the time taken."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(f"{_clock(task.finished_time)} taken".rjust(WIDTHS["time"]), style="progress.elapsed")
        return Text(f"{_clock(task.time_remaining)} left".rjust(WIDTHS["time"]), style="progress.remaining")


def _clock(seconds: float | None) -> str:
    """135 s → "2:15"."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def report(result: Result, folder: Path, console: Console) -> None:
    """Where every handle went, how the edit ended, and where its files are."""
    table = Table("handle", "from", "to", "tracked to", "left to go", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        column.justify, column.overflow = "right", "fold"  # a number is never cut
    last = result.trace.table.groupby("point").last()
    task = result.task
    rows = zip(task.handles, task.targets, last[["x", "y"]].to_numpy(), last["distance"], task.distances, strict=True)
    for k, (p0, g, p, left, whole) in enumerate(rows, start=1):
        table.add_row(str(k), xy(p0), xy(g), xy(p), f"{left:.1f} of {whole:.1f} px")
    console.print(table)
    console.print(
        Text.assemble(f"{_ending(result)} Results in ", (printable(str(folder)), "bold"), "."), soft_wrap=True
    )


def _ending(result: Result) -> str:
    drags, asked = int(result.trace.table["drag"].max()), result.settings["settings"].get("drags")
    if result.stopped:
        count = f"{drags} drags" if asked is None else f"{drags} of {asked} drags"
        return f"Stopped after {count}; the picture was finished from there."
    if asked == 0:
        return "No drags: the picture went into noise and came back."
    return f"{drags} drags; {'every handle arrived' if result.reached else 'not every handle arrived'}."
