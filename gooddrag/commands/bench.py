"""`gooddrag bench`, `gooddrag report` and `gooddrag dataset check`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.text import Text

from gooddrag.errors import BadInput
from gooddrag.terminal import output, printable

DATASET = "pocket:64 (tasks made on the spot), or a folder of task folders: Drag100's, DragBench's, SDE-Drag's, yours."
SHOWN = 5  # names of samples that one line lists


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(bench)
    app.command()(report)
    dataset_app = typer.Typer(help="Look at data sets.", no_args_is_help=True)
    dataset_app.command("check")(dataset_check)
    app.add_typer(dataset_app, name="dataset")


def bench(
    dataset: Annotated[str, typer.Argument(help=DATASET)],
    out: Annotated[str, typer.Option(help="Folder, or any path that fsspec knows: s3://bucket/run, …")],
    methods: Annotated[
        str, typer.Option(help="Separated by commas, each with changes if you like: gooddrag:per_denoise=1:drags=40.")
    ] = "all",
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = "0",
    backbone: Annotated[str, typer.Option(help="pocket, sd15, sd21, sdxl, a hub id or a diffusers folder.")] = "pocket",
    measures: Annotated[
        str,
        typer.Option(
            help="Of dai, md, truth, outside, back (edits again), if, clip, tres, musiq, topiq (need weights)."
        ),
    ] = "dai,md,truth,outside",
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Use the data set's prompts; the paper uses none.")
    ] = False,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask scheduler, tcp://host:8786; default: this machine.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine; default: one per core.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each worker; pocket gains nothing by more.")] = 1,
    together: Annotated[
        int, typer.Option(min=1, help="Edits of one method that a worker makes at once, in so much more memory.")
    ] = 1,
) -> None:
    """Run methods on a data set, one row and one picture per edit. Run it again to go on where it was cut short."""
    from gooddrag.bench.datasets import open_dataset
    from gooddrag.bench.runner import Bench, run
    from gooddrag.bench.store import Store
    from gooddrag.bench.units import Engine, parse_methods

    plan = Bench(
        open_dataset(dataset),
        parse_methods(methods, backbone),
        _seeds(seeds),
        tuple(name.strip() for name in measures.split(",")),
        Engine(backbone),
        prompts,
    )
    table = run(plan, Store(out), scheduler=scheduler, workers=workers, threads=threads, together=together)
    failed = int((~table["ok"].astype(bool)).sum()) if len(table) else 0
    output.print(f"{len(table)} edits, {failed} failed; now: gooddrag report {out}", markup=False, soft_wrap=True)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise BadInput(f"'--seeds {text}' are no whole numbers: write --seeds 0,1,2.") from None


def report(
    path: Annotated[str, typer.Argument(help="Where `gooddrag bench` has put its results.")],
    out: Annotated[Path | None, typer.Option(help="Folder for report.html and report.md; default: that path.")] = None,
) -> None:
    """Make one HTML page and a Markdown file of a benchmark, finished or not."""
    from gooddrag.bench.render import write_report
    from gooddrag.bench.store import Store

    if out is None and "://" in path:
        raise BadInput(f"'{path}' is no folder of this machine: name one for the report with --out.")
    output.print(str(write_report(Store(path), out or Path(path))), markup=False, soft_wrap=True)


def dataset_check(dataset: Annotated[str, typer.Argument(help=DATASET)]) -> None:
    """Read every sample of a data set; say what it holds and what is odd. Exits with 1 where one can't be read."""
    from gooddrag.bench.check import examine
    from gooddrag.bench.datasets import open_dataset

    found = examine(open_dataset(dataset))
    lines = [f"{found.pictures} pictures, {found.pairs} pairs of points."]
    lines += _counted("categories", found.categories.items())
    lines += _counted("kinds of task", found.kinds.items())
    lines += _counted("sizes", ((f"{w}×{h}", n) for (w, h), n in found.sizes.most_common()))
    if found.lengths:
        lines.append(f"pair lengths: mean {np.mean(found.lengths):.1f} px, longest {max(found.lengths):.1f} px")
    if found.coverage:
        lines.append(f"masks: {np.mean(found.coverage):.1%} of the picture may change on average")
    lines += [f"odd: {what}: {len(names)} ({_some(names)})" for what, names in found.odd.items()]
    lines += [f"refused: {name}: {why}" for name, why in found.refused.items()]
    output.print(Text("\n".join(printable(line) for line in lines)), soft_wrap=True)
    if found.refused:
        raise typer.Exit(1)


def _counted(what: str, counts: Iterable[tuple[Any, int]]) -> list[str]:
    text = ", ".join(f"{name} {n}" for name, n in counts)
    return [f"{what}: {text}"] if text else []


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
