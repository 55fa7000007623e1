"""What happened during an edit, as a table: one row per step and point. Plots and reports read nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from gooddrag.errors import BadInput
from gooddrag.files import write_whole

if TYPE_CHECKING:
    from gooddrag.steps import Step

COLUMNS = {
    "phase": "start, drag or denoise",
    "drag": "number of drags done so far (k)",
    "at": "timestep index, 0 is the noisiest",
    "t": "timestep",
    "point": "which handle, from 0",
    "x": "where the handle is now, image px",
    "y": "",
    "target_x": "where it is to go, image px",
    "target_y": "",
    "distance": "from handle to target, image px",
    "drift": "mean feature difference of the current handle to the original handle",
    "loss_drag": "motion supervision loss of the last gradient step, all handles",
    "loss_mask": "mask term of the last gradient step, with its weight λ",
    "perturbation_inside": "RMS of edit minus source latent at the same level, where the mask allows change",
    "perturbation_outside": "… and where it doesn't (NaN when everything may change)",
}


@dataclass(frozen=True, eq=False)
class Trace:
    """The table of an edit; see `COLUMNS` for what each column holds."""

    table: pd.DataFrame

    @classmethod
    def of(cls, steps: Iterable[Step]) -> Trace:
        """Collect the table from the stream of steps; steps that say nothing about points are passed over."""
        return cls.from_rows(row for step in steps for row in step.rows())

    @classmethod
    def from_rows(cls, rows: Iterable[dict[str, Any]]) -> Trace:
        """Make the table from rows that steps gave."""
        return cls(pd.DataFrame(list(rows), columns=list(COLUMNS)))

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table, one row per step and point."""
        return self.table.copy()

    @property
    def drags(self) -> pd.DataFrame:
        """The rows of the drags only."""
        return self.table[self.table["phase"] == "drag"].reset_index(drop=True)

    def path(self, point: int = 0) -> pd.DataFrame:
        """Where one handle was, from the start through every drag: columns drag, x, y, distance."""
        rows = self.table[(self.table["point"] == point) & self.table["phase"].isin(["start", "drag"])]
        return rows[["drag", "x", "y", "distance"]].reset_index(drop=True)

    def save(self, path: Path | str) -> None:
        """Write the table as parquet, whole or not at all."""
        write_whole(Path(path), lambda part: self.table.to_parquet(part, index=False))

    @classmethod
    def load(cls, path: Path | str) -> Trace:
        """Read a table that `save` wrote."""
        try:
            table = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise BadInput(f"'{path}' can't be read as a trace: give the trace.parquet of a result folder.") from error
        missing = [name for name in COLUMNS if name not in table.columns]
        if missing:
            raise BadInput(f"'{path}' is not a trace (it lacks the column '{missing[0]}'): give a trace.parquet.")
        return cls(table[list(COLUMNS)])
