"""The command line: `gooddrag edit`, `task`, `measure`, `bench`, `report` and all others.

Exit codes: 0 done, 1 failed on the way, 2 bad input. What is asked for goes to standard output, progress and complaints
to the error output. Heavy modules load inside the commands, so that help and mistakes answer at once.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from gooddrag.commands import bench, gscore, measure
from gooddrag.errors import BadInput, EditFailed, is_disk_full, is_out_of_memory
from gooddrag.terminal import complain, console, note, output, printable, spell_for_narrow_encodings, xy

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from gooddrag.backbone import Backbone
    from gooddrag.methods import Method
    from gooddrag.result import Result
    from gooddrag.settings import Order
    from gooddrag.task import DragTask

app = typer.Typer(
    help="Drag-based image editing with diffusion models: GoodDrag, to learn, see and try.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
task_app = typer.Typer(help="Make and check drag tasks.", no_args_is_help=True)
app.add_typer(task_app, name="task")
for commands in (measure, bench, gscore):
    commands.register(app)


def main() -> None:
    """Entry point: turns our errors into one sentence and an exit code."""
    spell_for_narrow_encodings()
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)  # other libraries' news for their programmers
    try:
        app()
    except BadInput as error:
        _end(str(error), 2)
    except EditFailed as error:
        _end(str(error), 1)
    except PermissionError as error:
        _end(f"'{error.filename}' may not be opened: give yourself the right to it, or name another.", 2)
    except OSError as error:
        if not is_disk_full(error):
            raise
        _end("The disk is full: free some space, then run the command again.", 1)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _end("The memory is full: scale the picture down, or close what else uses the memory.", 1)


def _end(sentence: str, code: int) -> None:
    complain(sentence)
    sys.exit(code)


@contextmanager
def _interruptible(sentence: str) -> Iterator[None]:
    """Ctrl-C ends a command with a sentence."""
    try:
        yield
    except KeyboardInterrupt:
        raise EditFailed(sentence) from None


@app.command()
def edit(
    task: Annotated[Path | None, typer.Argument(help="Task folder: original.jpg/.png, points.json, mask.png.")] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="gooddrag (the default), gooddrag-fast, dragdiffusion, dragnoise, freedrag, fastdrag or sdedrag."
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="pocket (the default), sd15, sd21, sdxl, a hub id, a diffusers folder or a .safetensors file."
        ),
    ] = None,
    vae: Annotated[
        Path | None,
        typer.Option(help="Another autoencoder: a folder or a .safetensors file; default: the model's own."),
    ] = None,
    memory: Annotated[str, typer.Option(help="normal, or low: the same in less memory and more time.")] = "normal",
    set_: Annotated[list[str] | None, typer.Option("--set", help="One setting, name=value; may be repeated.")] = None,
    settings: Annotated[Path | None, typer.Option(help="Settings file (JSON or YAML), or a result's own.")] = None,
    out: Annotated[Path | None, typer.Option(help="Result folder; default runs/<task name>.")] = None,
    animate: Annotated[bool, typer.Option("--animate", help="Also write animation.gif.")] = False,
    frames: Annotated[int, typer.Option(min=2, max=200, help="Pictures in the animation, about.")] = 16,
    prompt: Annotated[str, typer.Option(help="Text that describes the picture; the paper uses none.")] = "",
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; default: the best there is.")] = None,
    replay: Annotated[Path | None, typer.Option(help="A result folder: do that edit again.")] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor fill the cache.")] = False,
    candidates: Annotated[int, typer.Option(min=1, help="So many edits with different seeds, to choose from.")] = 1,
    strengths: Annotated[str, typer.Option(help="Edits at each of these strengths, such as 0.7,0.8,0.9.")] = "",
    together: Annotated[
        bool, typer.Option("--together", help="Make the candidates at once: often sooner, in so much more memory.")
    ] = False,
) -> None:
    """Drag the points of a task and write the edited picture, its trace and its settings."""
    from gooddrag.files import check_writable, write_whole
    from gooddrag.settings import parse_numbers, read_order

    order = read_order(
        task,
        replay=replay,
        settings=settings,
        assignments=set_ or (),
        method=method,
        backbone=backbone,
        prompt=prompt,
    )
    levels = parse_numbers(strengths, "--strengths")
    folder = out or order.folder
    check_writable(folder)
    with _interruptible("Interrupted; nothing was written." if candidates == 1 and len(levels) < 2 else "Interrupted."):
        how, engine = _prepare(order, device, vae, memory)
        from gooddrag.candidates import contact_sheet, variants

        methods, pictures = variants(how, order.task, candidates, levels), []
        names = [f"{n}: seed {m.seed}, strength {m.strength:g}" for n, m in enumerate(methods, start=1)]
        places = [folder / str(number) for number in range(1, len(methods) + 1)] if len(methods) > 1 else [folder]
        shots = frames if animate else 0
        if together and len(methods) > 1:
            pictures = _run_together(
                engine, order.task, dict(zip(names, methods, strict=True)), places, shots, not no_cache
            )
        else:
            for name, method_, place in zip(names, methods, places, strict=True):
                if len(methods) > 1:
                    note(f"Candidate {name}.")
                result = _run(engine, order.task, method_, place, shots, not no_cache)
                pictures.append((name, result.image))
                if result.stopped:
                    raise typer.Exit(1)
        if len(methods) > 1:
            sheet = folder / "candidates.png"
            write_whole(sheet, lambda part: contact_sheet(order.task.image, pictures).save(part, "PNG"))
            output.print(Text(f"All beside each other: {printable(str(sheet))}"), soft_wrap=True)


def _run(engine: Backbone, task: DragTask, method: Method, folder: Path, frames: int, use_cache: bool) -> Result:
    """One edit, shown while it goes on, then written and told of."""
    from gooddrag.editor import iter_edit
    from gooddrag.result import Recorder
    from gooddrag.watch import report, watch

    recorder = Recorder(task, method, engine, frames)
    result = watch(iter_edit(engine, task, method, use_cache=use_cache), recorder, method, console)
    result.save(folder)
    report(result, folder, output)
    return result


def _run_together(
    engine: Backbone, task: DragTask, methods: dict[str, Method], places: list[Path], frames: int, use_cache: bool
) -> list[tuple[str, Image.Image]]:
    """Several edits at once, shown while they go on, then written and told of one by one; returns their pictures."""
    from gooddrag.result import Recorder
    from gooddrag.together import iter_together
    from gooddrag.watch import report, watch_together

    recorders = {name: Recorder(task, method, engine, frames) for name, method in methods.items()}
    stream = iter_together(engine, [(task, method) for method in methods.values()], use_cache=use_cache)
    watch_together(stream, recorders, list(methods.values()), console)
    results = {name: recorder.result() for name, recorder in recorders.items()}
    for place, (name, result) in zip(places, results.items(), strict=True):
        note(f"Candidate {name}.")
        result.save(place)
        report(result, place, output)
    return [(name, result.image) for name, result in results.items()]


def _prepare(order: Order, device: str | None, vae: Path | None, memory: Any) -> tuple[Method, Backbone]:
    """Load what is heavy: first what checks the settings, then the engine; says what there is to know about both."""
    with _loading(order.backbone):
        from gooddrag.methods import method_for

        method = method_for(order.method, order.backbone, **order.settings).with_settings(**order.changes)
        method.steps_to_take()
        from gooddrag.backbone import load_backbone

        engine = load_backbone(order.backbone, order.task.prompt, device, vae=vae, memory=memory)
    for sentence in [*order.task.warnings(), *method.notes(order.task), *engine.notes(order.task.image)]:
        note(sentence)
    if order.fingerprint not in (None, engine.fingerprint):
        note("The stored result was made with other weights (or another prompt), so the picture will differ.")
    return method, engine


def _loading(backbone: str) -> AbstractContextManager[object]:
    """A spinner; but a line for what may have to be downloaded, as downloads show their own bars."""
    line = Text(f"Loading {printable(backbone)} …")
    if console.is_terminal and backbone == "pocket":
        return console.status(line, spinner="line")
    if console.is_terminal:
        console.print(line, soft_wrap=True)
    return nullcontext()


@task_app.command("new")
def task_new(
    image: Annotated[Path, typer.Argument(help="The picture.")],
    drag: Annotated[
        list[str],
        typer.Option("--drag", help="x,y:x,y from handle to target in px, x,y:x,y:x,y along a path; may be repeated."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    mask: Annotated[Path | None, typer.Option(help="White where the picture may change.")] = None,
    box: Annotated[
        str | None, typer.Option(help="left,top,right,bottom in px: what may change, instead of --mask.")
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(help="What moves along as a whole: corners 'x,y x,y x,y' in px, or a picture white there."),
    ] = None,
) -> None:
    """Make a task folder from a picture and its points."""
    from gooddrag.region import drag_region
    from gooddrag.settings import parse_box, parse_drag, parse_region
    from gooddrag.task import DragTask, read_image

    picture = read_image(image)
    ways = [parse_drag(text) for text in drag]  # each (m, 2): handle, what it passes by, target
    if mask is not None and box is not None:
        raise BadInput("Both --mask and --box were given: use one of them.")
    area: Any = parse_box(box, picture.size) if box is not None else mask
    handles, targets = (np.array([way[end] for way in ways]) for end in (0, -1))
    task = DragTask(picture, handles, targets, area, name=out.name, via=tuple(way[1:-1] for way in ways))
    if region is not None:
        task = drag_region(task, parse_region(region, picture))
    task.write(out)
    _describe(task, out)


@task_app.command("mask")
def task_mask(
    folder: Annotated[Path, typer.Argument(help="Task folder; its mask.png is written anew.")],
    backbone: Annotated[str, typer.Option(help="The engine that is asked where the drags pull.")] = "pocket",
    sam: Annotated[
        str | None,
        typer.Option(help="Ask SAM 2 for the objects under the handles: its folder, or facebook/sam2.1-hiera-tiny."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; default: the best there is.")] = None,
) -> None:
    """Suggest a mask from the points: what they move, swept along their ways. Look at image_with_points.jpg then."""
    from gooddrag.task import DragTask

    task = DragTask.read(folder)
    with _loading(backbone):
        from gooddrag.automask import mask_along, object_area, suggest_mask
        from gooddrag.backbone import load_backbone

        if sam is not None:
            mask = mask_along(object_area(sam, task.image, task.handles, device or "cpu"), task)
        else:
            mask = suggest_mask(load_backbone(backbone, task.prompt, device), task)
    masked = task.with_mask(mask)
    masked.write(folder)
    _describe(masked, folder)


@task_app.command("make")
def task_make(
    kind: Annotated[str, typer.Argument(help="move, turn-head, open-mouth …; an unknown one lists them all.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Another number, another creature.")] = 0,
) -> None:
    """Make a pocket task whose true result is known: a task folder with truth.png and truth.json."""
    from gooddrag.pocket.tasks import make_task

    known = make_task(kind, seed)
    known.write(out)
    _describe(known.task, out)


@task_app.command("check")
def task_check(folder: Annotated[Path, typer.Argument(help="Task folder.")]) -> None:
    """Read a task folder, say what it holds and what looks odd."""
    from gooddrag.task import DragTask

    _describe(DragTask.read(folder), folder)


def _describe(task: DragTask, folder: Path) -> None:
    width, height = task.size
    share = "everything" if task.mask is None else f"{task.mask.mean():.1%} of the picture"
    lines = [f"{printable(str(folder))}: {width}×{height} px, {len(task.handles)} drag(s), {share} may change."]
    for k, (p, g, d) in enumerate(zip(task.handles, task.targets, task.distances, strict=True), start=1):
        by = f" by way of {len(task.via[k - 1])} stop(s)" if task.via and len(task.via[k - 1]) else ""
        lines.append(f"  {k}: {xy(p)} → {xy(g)}{by}, {d:.1f} px")
    lines += [f"  Note: {sentence}" for sentence in task.warnings()]
    output.print(Text("\n".join(lines)), soft_wrap=True)


@app.command()
def doctor(
    model: Annotated[
        str | None,
        typer.Argument(
            help="For --plan (sd15 by default) or --bench (pocket by default): sd15, sd21, sdxl or a diffusers folder."
        ),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(help="Instead: the memory that an edit will take on a picture of this size, such as 512x512."),
    ] = None,
    bench: Annotated[
        bool, typer.Option("--bench", help="Instead: speed, memory and exactness of a short edit, as Markdown.")
    ] = False,
) -> None:
    """Print versions, device, threads, weights, caches and disk space; exit with 1 where something is missing."""
    if plan is not None and bench:
        raise BadInput("Both --plan and --bench were given: use one of them.")
    if plan is not None:
        _print_plan(plan, model or "sd15")
        return
    if bench:
        _print_bench(model or "pocket")
        return
    from gooddrag.doctor import examine

    findings = examine()
    table = Table("what", "found", "")
    for finding in findings:
        verdict = Text("ok", "green") if finding.ok else Text("look here", "red")
        table.add_row(finding.what, Text(printable(finding.found)), verdict)
    output.print(table)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _print_plan(size: str, model: str) -> None:
    """A table of GB per phase, for both settings of memory and both precisions."""
    import torch

    from gooddrag.plan import architecture_of, parse_size, plan

    (width, height), architecture = parse_size(size), architecture_of(model)
    runs = [plan((width, height), architecture, memory) for memory in ("normal", "low")]
    ways = [(run, dtype) for run in runs for dtype in (torch.float32, torch.bfloat16)]
    plans = [run.phases(dtype) for run, dtype in ways]
    table = Table("phase", *(f"{run.memory}\n{str(dtype).removeprefix('torch.')}" for run, dtype in ways))
    table.columns[0].no_wrap = True
    for row in zip(*plans, strict=True):
        table.add_row(row[0].name, *(f"{phase.total:.1f}" for phase in row))
    table.add_row("peak", *(f"{max(phase.total for phase in phases):.1f}" for phases in plans), style="bold")
    output.print(f"{printable(model)}, {width}×{height} px: expected peak in GB of each phase")
    output.print(table)


def _print_bench(model: str) -> None:
    """A table ready for a README."""
    with _interruptible("Interrupted before everything was measured."):
        with _loading(model):
            from gooddrag.backbone import load_backbone
            from gooddrag.speed import measure

            engine = load_backbone(model)
        note("Measuring a short edit: seconds with pocket, minutes with Stable Diffusion, more without a GPU.")
        output.print(Text(str(measure(engine))), soft_wrap=True)


@app.command("train-pocket")
def train_pocket(
    folder: Annotated[Path, typer.Option(help="Checkpoints and rendered pictures.")] = Path("runs/pocket"),
    pictures: Annotated[
        int, typer.Option(min=1, help="Stop when so many pictures have been seen in all.")
    ] = 20_000_000,
    cooldown: Annotated[int, typer.Option(min=0, help="Let the learning rate fall to 0 over the last so many.")] = 0,
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop after so many minutes.")] = None,
    world: Annotated[int, typer.Option(min=1, help="Render so many different pictures to learn from.")] = 24_000,
    batch: Annotated[int, typer.Option(min=1, help="Pictures in a step.")] = 32,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    bf16: Annotated[
        bool, typer.Option(help="bfloat16 passes; GPUs gain by it, and CPUs with AVX512-BF16 or AMX.")
    ] = False,
    from_scratch: Annotated[
        bool, typer.Option(help="Without a checkpoint, don't begin with the weights that are there.")
    ] = False,
    export: Annotated[bool, typer.Option(help="At the end write the averaged weights into the package.")] = False,
) -> None:
    """Train the pocket engine; may be stopped at any moment and goes on where it was."""
    import json

    from gooddrag.files import check_writable

    check_writable(folder)
    from gooddrag.backbone import check_device
    from gooddrag.pocket import train

    check_device(device)

    settings = train.TrainSettings(world=world, batch=batch, pictures=pictures, cooldown=cooldown, bf16=bf16)
    losses: list[Tensor] = []
    with (
        _interruptible("Training was stopped: run the command again to go on from where it was."),
        closing(train.iter_training(folder, settings, from_scratch=from_scratch, device=device)) as steps,
    ):
        for step in steps:
            losses.append(step.loss)
            if step.step % 100 == 0:
                mean = sum(map(float, losses)) / len(losses)
                losses.clear()
                typer.echo(f"pictures {step.pictures}  loss {mean:.4f}  {step.seconds / 60:.1f} min")
            if minutes is not None and step.seconds > minutes * 60:
                break
    if export:
        typer.echo(json.dumps(train.export(folder, settings)))
