"""The command line: `gooddrag edit | task | doctor | train-pocket`.

Exit codes: 0 done, 1 failed on the way, 2 bad input. Heavy modules load inside the commands, so that help and
mistakes answer at once.
"""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gooddrag.errors import BadInput, EditFailed

if TYPE_CHECKING:
    from gooddrag.backbone import Backbone
    from gooddrag.methods import Method
    from gooddrag.result import Result
    from gooddrag.steps import Step
    from gooddrag.task import DragTask

app = typer.Typer(
    help="Drag-based image editing with diffusion models: GoodDrag, to learn, see and try.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
task_app = typer.Typer(help="Make and check drag tasks.", no_args_is_help=True)
app.add_typer(task_app, name="task")
console = Console(stderr=True)


def main() -> None:
    """Entry point: turns our errors into one sentence and an exit code."""
    try:
        app(standalone_mode=True)
    except BadInput as error:
        _complain(str(error), 2)
    except EditFailed as error:
        _complain(str(error), 1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _complain("The disk is full: free some space, then run the command again.", 1)
    except KeyboardInterrupt:
        _complain("Stopped; nothing was written.", 1)


def _complain(sentence: str, code: int) -> None:
    console.print(f"[bold red]gooddrag:[/] {_plain(sentence)}", highlight=False, soft_wrap=True)
    sys.exit(code)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


@app.command()
def edit(
    task: Annotated[Path | None, typer.Argument(help="Task folder: original.jpg/.png, points.json, mask.png.")] = None,
    method: Annotated[str, typer.Option(help="gooddrag or dragdiffusion.")] = "gooddrag",
    backbone: Annotated[str, typer.Option(help="pocket, sd15, sd21, sdxl, a hub id or a diffusers folder.")] = "pocket",
    set_: Annotated[list[str] | None, typer.Option("--set", help="One setting, name=value; may be repeated.")] = None,
    settings: Annotated[Path | None, typer.Option(help="Settings file (JSON or YAML).")] = None,
    out: Annotated[Path | None, typer.Option(help="Result folder; default runs/<task name>.")] = None,
    animate: Annotated[bool, typer.Option("--animate", help="Also write animation.gif.")] = False,
    frames: Annotated[int, typer.Option(min=2, max=200, help="Pictures in the animation, about.")] = 16,
    prompt: Annotated[str, typer.Option(help="Text that describes the picture; the paper uses none.")] = "",
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; default: the best there is.")] = None,
    replay: Annotated[Path | None, typer.Option(help="A result folder: do that edit again.")] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor fill the cache.")] = False,
) -> None:
    """Drag the points of a task and write the edited picture, its trace and its settings."""
    from gooddrag.files import check_writable
    from gooddrag.settings import parse_assignments, read_settings
    from gooddrag.task import DragTask

    chosen: dict[str, Any] = {}
    if replay is not None:
        task, settings = task or replay / "task", settings or replay / "settings.json"
    if task is None:
        raise BadInput("No task was given: name a task folder, or a result folder with --replay.")
    drag_task = DragTask.read(task)
    if settings is not None:
        stored = read_settings(settings)
        method, backbone = stored.method or method, (stored.backbone if replay and stored.backbone else backbone)
        chosen |= stored.settings
    chosen |= parse_assignments(set_ or [])
    folder = out or Path("runs") / (f"{drag_task.name}-again" if replay else drag_task.name)
    check_writable(folder)
    from gooddrag.backbone import load_backbone
    from gooddrag.methods import method_for

    how = method_for(method, backbone, **chosen)
    with console.status(f"Loading {backbone} …"):
        engine = load_backbone(backbone, prompt or drag_task.prompt, device)
    for note in [*drag_task.warnings(), *engine.notes(drag_task.image)]:
        console.print(f"[yellow]Note:[/] {_plain(note)}", highlight=False, soft_wrap=True)
    result = _watched_edit(engine, drag_task, how, frames if animate else 0, not no_cache)
    result.save(folder)
    _report(result, folder)
    if result.stopped:
        raise typer.Exit(1)


def _watched_edit(engine: Backbone, task: DragTask, method: Method, frames: int, use_cache: bool) -> Result:
    """Run the stream of steps under a progress bar; the first Ctrl-C ends the dragging and keeps what there is."""
    from gooddrag.editor import iter_edit
    from gooddrag.result import Recorder
    from gooddrag.steps import Measured

    recorder = Recorder(task, method, engine, frames)
    columns = (
        TextColumn("[bold]{task.fields[phase]:<20}"),
        BarColumn(bar_width=18),
        TextColumn("{task.fields[detail]:<26}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    with bar, _stop_request() as stop, closing(iter_edit(engine, task, method, use_cache=use_cache)) as stream:
        line, last = bar.add_task("", total=1, phase="starting", detail=""), ""
        for step in stream:
            kind, phase, detail, done, of = _progress(step)
            bar.update(line, phase=phase, detail=detail, completed=done, total=of)
            if kind != last and not console.is_terminal:
                console.print(f"{kind} …")
            last = kind
            recorder.see(step)
            if stop and isinstance(step, Measured):
                console.print("Stopping: finishing the picture from here …")
                return recorder.result(stopped_at=step.finish())
            if stop:
                raise KeyboardInterrupt
    return recorder.result()


def _progress(step: Step) -> tuple[str, str, str, int, int]:
    """What a step shows: kind of work, phase and detail for the bar, how much of it is done, and of how much."""
    from gooddrag.steps import Denoised, Dragged, Inverted, Learned

    match step:
        case Learned():
            return "learning the picture", "learning the picture", f"loss {step.loss:.3f}", step.step, step.of
        case Inverted():
            return "back into noise", "back into noise", "", step.step, step.of
        case Dragged():
            farthest = f"{step.distances.max():.1f} px to go"
            return "dragging and denoising", f"drag {step.drag} of {step.of}", farthest, step.drag, step.of
        case Denoised():
            return "dragging and denoising", "denoising", f"timestep {step.t}", step.at + 1, step.of
    return "dragging and denoising", "", "", 1, 1


@contextmanager
def _stop_request() -> Iterator[list[bool]]:
    """A list that becomes non-empty at the first Ctrl-C; the second one interrupts as usual."""
    asked: list[bool] = []

    def ask(_signal: int, _frame: Any) -> None:
        asked.append(True)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _report(result: Result, folder: Path) -> None:
    table = Table("handle", "from px", "to px", "asked for", "tracked to", "left", title=None)
    last = result.trace.table.groupby("point").last()
    rows = zip(result.task.handles, result.task.targets, last[["x", "y"]].to_numpy(), last["distance"], strict=True)
    for k, (p0, g, p, left) in enumerate(rows, start=1):
        asked = float(((g - p0) ** 2).sum() ** 0.5)
        table.add_row(str(k), _xy(p0), _xy(g), f"{asked:.1f} px", _xy(p), f"{left:.1f} px")
    console.print(table)
    drags = int(result.trace.table["drag"].max())
    end = (
        "stopped early" if result.stopped else "every handle arrived" if result.reached else "not every handle arrived"
    )
    console.print(f"{drags} drags, {end}. Results in [bold]{folder}[/].", highlight=False)


def _xy(point: Any) -> str:
    return f"({point[0]:.1f}, {point[1]:.1f})"


@task_app.command("new")
def task_new(
    image: Annotated[Path, typer.Argument(help="The picture.")],
    drag: Annotated[list[str], typer.Option("--drag", help="x,y:x,y from handle to target in px; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    mask: Annotated[Path | None, typer.Option(help="White where the picture may change.")] = None,
    box: Annotated[
        str | None, typer.Option(help="left,top,right,bottom in px: what may change, instead of --mask.")
    ] = None,
) -> None:
    """Make a task folder from a picture and its points."""
    from gooddrag.settings import parse_box, parse_drag
    from gooddrag.task import DragTask, read_image

    picture = read_image(image)
    pairs = [parse_drag(text) for text in drag]
    if mask is not None and box is not None:
        raise BadInput("Both --mask and --box were given: use one of them.")
    area: Any = parse_box(box, picture.size) if box is not None else mask
    task = DragTask(picture, np.array([h for h, _ in pairs]), np.array([g for _, g in pairs]), mask=area, name=out.name)
    task.write(out)
    _describe(task, out)


@task_app.command("check")
def task_check(folder: Annotated[Path, typer.Argument(help="Task folder.")]) -> None:
    """Read a task folder, say what it holds and what looks odd."""
    from gooddrag.task import DragTask

    _describe(DragTask.read(folder), folder)


def _describe(task: DragTask, folder: Path) -> None:
    width, height = task.size
    share = "everything" if task.mask is None else f"{task.mask.mean():.1%} of the picture"
    out = Console(soft_wrap=True, highlight=False)
    out.print(f"{folder}: {width}×{height} px, {len(task.handles)} drag(s), {share} may change.")
    for k, (p, g, d) in enumerate(zip(task.handles, task.targets, task.distances, strict=True), start=1):
        out.print(f"  {k}: {_xy(p)} → {_xy(g)}, {d:.1f} px")
    for note in task.warnings():
        out.print(f"  Note: {note}", markup=False)


@app.command()
def doctor() -> None:
    """Print versions, device, threads, weights, caches and disk space; exit with 1 where something is missing."""
    from gooddrag.doctor import examine

    findings = examine()
    table = Table("what", "found", "", show_lines=False)
    for finding in findings:
        table.add_row(finding.what, _plain(finding.found), "[green]ok[/]" if finding.ok else "[red]look here[/]")
    Console().print(table)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command("train-pocket")
def train_pocket(
    folder: Annotated[Path, typer.Option(help="Checkpoints and rendered pictures.")] = Path("runs/pocket"),
    pictures: Annotated[int, typer.Option(help="Stop when so many pictures have been seen in all.")] = 2_000_000,
    cooldown: Annotated[int, typer.Option(help="Let the learning rate fall to 0 over the last so many.")] = 0,
    minutes: Annotated[float | None, typer.Option(help="Stop after so many minutes.")] = None,
    bf16: Annotated[bool, typer.Option(help="bfloat16 passes; only CPUs with AVX512-BF16 or AMX gain by it.")] = False,
    export: Annotated[bool, typer.Option(help="At the end write the averaged weights into the package.")] = False,
) -> None:
    """Train the pocket engine; may be stopped at any moment and goes on where it was."""
    import json

    from gooddrag.pocket import train

    settings = train.TrainSettings(pictures=pictures, cooldown=cooldown, bf16=bf16)
    losses: list[float] = []
    with closing(train.iter_training(folder, settings)) as steps:
        for step in steps:
            losses.append(step.loss)
            if step.step % 100 == 0:
                mean = sum(losses) / len(losses)
                losses.clear()
                typer.echo(f"pictures {step.pictures}  loss {mean:.4f}  {step.seconds / 60:.1f} min")
            if minutes is not None and step.seconds > minutes * 60:
                break
    if export:
        typer.echo(json.dumps(train.export(folder, settings)))
