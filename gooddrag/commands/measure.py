"""`gooddrag measure`: measures of finished edits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from gooddrag.errors import BadInput
from gooddrag.terminal import note, output, printable

if TYPE_CHECKING:
    from gooddrag.measures import Edited


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(measure)


def measure(
    results: Annotated[list[Path], typer.Argument(help="Result folders that edits have left.")],
    measures: Annotated[
        str,
        typer.Option(
            help="Of dai, md, truth, outside, back (edits again), if, clip, tres, musiq, topiq (need weights)."
        ),
    ] = "dai",
) -> None:
    """Measure results: the dragging accuracy index (DAI) and others."""
    from gooddrag.measures import MEASURES, check_measures

    names = [name.strip() for name in measures.split(",")]
    check_measures(names)
    columns = {column: title for name in names for column, title in MEASURES[name].columns.items()}
    table = Table("result", *columns.values())
    doubts: dict[str, None] = {}
    for folder in results:
        edited, numbers = _edited(folder, {MEASURES[name].needs for name in names}), {}
        for name in names:
            if not MEASURES[name].can_take(edited):
                doubts[f"'{folder}': '{name}' needs a task with a known truth."] = None
                continue
            found, against = MEASURES[name].take(edited)
            numbers |= found
            doubts |= {f"'{folder}': {doubt}.": None for doubt in against}
        cells = (f"{numbers[column]:.4f}" if column in numbers else "–" for column in columns)
        table.add_row(printable(str(folder)), *cells)
    output.print(table)
    for sentence in doubts:
        note(sentence)


def _edited(folder: Path, needs: set[str]) -> Edited:
    """Read a result folder, and load what the measures need."""
    from gooddrag.measures import Edited
    from gooddrag.pocket.tasks import KnownTask
    from gooddrag.task import DragTask, read_image

    task, picture = DragTask.read(folder / "task"), read_image(folder / "edited.png")
    more: dict[str, Any] = {}
    if "known" in needs and (folder / "task" / "truth.json").exists():
        more["known"] = KnownTask.read(folder / "task")
    if needs & {"backbone", "method"}:
        from gooddrag.backbone import load_backbone
        from gooddrag.methods import method_for

        stored = _settings(folder / "settings.json")
        more["backbone"] = load_backbone(stored["backbone"], stored.get("prompt", ""))
        more["method"] = method_for(stored["method"], stored["backbone"], **stored["settings"])
    return Edited(task, picture, **more)


def _settings(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if all(
            isinstance(stored[name], kind) for name, kind in (("backbone", str), ("method", str), ("settings", dict))
        ):
            return stored
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise BadInput(
        f"'{path}' doesn't say which engine and method made this result: name a folder that an edit has left."
    )
