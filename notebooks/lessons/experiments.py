"""The stored experiments of lesson 09: GoodDrag with one thing changed, on six tasks. From `notebooks/`:

python -m lessons.experiments                # all (about an hour of one core; goes on where it was)
python -m lessons.experiments J lora         # some

Each becomes a table experiments/NAME.csv. Edits are kept in runs/experiments/ until weights or settings change.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from gooddrag.backbone import Backbone
from gooddrag.bench.datasets import Dataset, open_dataset
from gooddrag.bench.runner import Bench
from gooddrag.bench.store import Store
from gooddrag.bench.units import Engine, Unit, do, fingerprint
from gooddrag.errors import BadInput, EditFailed
from gooddrag.files import write_whole
from gooddrag.methods import GoodDrag, Method

TABLES = Path(__file__).parents[1] / "experiments"
KEPT = Path(__file__).parents[2] / "runs" / "experiments"
TASKS = "pocket:6@2000"  # six kinds of drags; no setting was ever chosen on these seeds
# The paper's schedule and step, and otherwise settings that suited pocket before `hold_outside` was there.
PAPER = {"strength": 0.88, "per_denoise": 10, "latent_lr": 0.01, "eta": 0.0, "hold_outside": False}
MEASURES = ("error_share", "brokenness", "gained_db", "edit_feature_distance", "drift")

Changes = Mapping[str, Any]  # of GoodDrag's settings; "block" is the decoder block that features come from

EXPERIMENTS: dict[str, dict[str, Changes]] = {
    "steps": {  # T_max; the last two drag over the same noise levels as 50 steps do
        "30 steps": {"steps": 30},
        "50 steps": {},
        "70 steps": {"steps": 70},
        "30 steps, B = 18": {"steps": 30, "per_denoise": 18},
        "70 steps, B = 7": {"steps": 70, "per_denoise": 7},
    },
    "strength": {
        "strength 0.75": {"strength": 0.75},
        "strength 0.88": {},
    },
    "B": {
        "B = 2": {"per_denoise": 2},
        "B = 10": {},
        "B = 70": {"per_denoise": 70},
    },
    "eta": {  # what the paper doesn't ask
        "no fresh noise": {},
        "fresh noise": {"eta": 1.0},
    },
    "J": {  # at 70 drags; the last one makes as many gradient steps as J = 3 does, at the same timesteps
        "IPMS, J = 3": {},
        "standard, J = 3": {"supervision": "standard"},
        "IPMS, J = 1": {"supervision_steps": 1},
        "standard, J = 1": {"supervision": "standard", "supervision_steps": 1},
        "standard, J = 1, 210 drags": {
            "supervision": "standard",
            "supervision_steps": 1,
            "drags": 210,
            "per_denoise": 30,
        },
    },
    "block": {
        "up_blocks[1]": {"block": 1},
        "up_blocks[2]": {},
        "up_blocks[3]": {"block": 3},
    },
    "lora": {
        "no LoRA": {"lora": None},
        "20 LoRA steps": {},
        "60 LoRA steps": {"lora": {"steps": 60}},
    },
}


# Features from elsewhere


@dataclass(frozen=True, eq=False)
class OtherBlock(Backbone):
    """An engine that reads its features from another decoder block, and is known to the store as another one."""

    block: int = 2

    @property
    def feature_block(self) -> nn.Module:
        return self.unet.up_blocks[self.block]

    @cached_property
    def fingerprint(self) -> str:
        return f"{super().fingerprint}, up_blocks[{self.block}]"


def reading(backbone: Backbone, block: int) -> OtherBlock:
    """The same engine, with features from up_blocks[block]."""
    return OtherBlock(**{f.name: getattr(backbone, f.name) for f in fields(Backbone)}, block=block)


def _loaded(engine: Engine, block: int, name: str, prompt: str, device: str) -> Backbone:
    return reading(engine.load(engine.name, prompt, device), block)


def _engine(engine: Engine, changes: Changes) -> Engine:
    if "block" not in changes:
        return engine
    return Engine(f"{engine.name}, block {changes['block']}", partial(_loaded, engine, changes["block"]))


# Running


@dataclass(frozen=True)
class Place:
    """What experiments run on, and where they leave things: other than this for tests only."""

    dataset: Dataset
    base: Method
    engine: Engine
    kept: Store
    tables: Path

    @classmethod
    def usual(cls) -> Place:
        return cls(open_dataset(TASKS), GoodDrag.for_pocket(**PAPER), Engine(), Store(str(KEPT)), TABLES)


def method_of(base: Method, changes: Changes) -> Method:
    """GoodDrag with these changes."""
    return base.with_settings(**{name: value for name, value in changes.items() if name != "block"})


def units(name: str, place: Place) -> Iterator[tuple[Engine, Unit]]:
    """Every edit of an experiment, setting by setting, each task in turn."""
    for label, changes in EXPERIMENTS[name].items():
        engine = _engine(place.engine, changes)
        bench = Bench(place.dataset, {label: method_of(place.base, changes)}, measures=("truth",), engine=engine)
        yield from ((engine, unit) for unit in bench.plan(fingerprint(engine)).units)


def row_of(unit: Unit, engine: Engine, kept: Store | None = None) -> dict[str, Any]:
    """One edit and what was measured; from the store where it has been done.

    Raises
    ------
    EditFailed
        When the edit failed.
    """
    if kept is not None and unit.key in kept.done():
        (row,) = kept.rows([unit.key])
        return row
    ((row, picture),) = do([unit], engine, 1)
    if not row["ok"]:
        raise EditFailed(f"{unit.label}, {unit.sample}: {row['reason']}")
    if kept is not None:
        kept.put(row, picture)
    return row


def line_of(name: str, unit: Unit, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of an experiment's table."""
    measured = {column: round(float(row[column]), 4) for column in MEASURES}
    facts = {"experiment": name, "setting": unit.label, "as_it_is": not EXPERIMENTS[name][unit.label]}
    weights = unit.fingerprint.partition(",")[0]
    facts |= {"task": unit.sample, "kind": unit.kind}
    return facts | measured | {"fingerprint": weights}


def run(name: str, place: Place) -> pd.DataFrame:
    """Do what is missing of an experiment, and write its table."""
    lines = []
    for engine, unit in units(name, place):
        lines.append(line_of(name, unit, row_of(unit, engine, place.kept)))
        print(f"{name}: {unit.label}, {unit.sample}: {lines[-1]['error_share']:.2f} of the way left", flush=True)
    table = pd.DataFrame(lines)
    write_whole(place.tables / f"{name}.csv", lambda part: table.to_csv(part, index=False))
    return table


# Reading


def read(name: str, tables: Path = TABLES) -> pd.DataFrame:
    """A stored table.

    Raises
    ------
    BadInput
        When it is not there.
    """
    path = tables / f"{name}.csv"
    if not path.is_file():
        raise BadInput(f"There is no table '{path.name}': make it with python -m lessons.experiments {name}.")
    return pd.read_csv(path)


def differences(table: pd.DataFrame, measure: str) -> dict[str, pd.Series]:
    """How much each setting differs from the usual ones, task by task: setting → a number for each task."""
    wide = table.pivot(index="task", columns="setting", values=measure)
    usual = table.loc[table["as_it_is"], "setting"].iloc[0]
    return {name: wide[name] - wide[usual] for name in table["setting"].unique() if name != usual}


def again(name: str, setting: str, task: str) -> dict[str, Any]:
    """One row of a table, computed anew."""
    place = Place.usual()
    samples = tuple(sample for sample in place.dataset.samples if sample.name == task)
    here = replace(place, dataset=replace(place.dataset, samples=samples))
    engine, unit = next((engine, unit) for engine, unit in units(name, here) if unit.label == setting)
    return line_of(name, unit, row_of(unit, engine))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}")
    chosen = arguments.parse_args()
    if unknown := [name for name in chosen.names if name not in EXPERIMENTS]:
        arguments.error(f"there is no experiment '{unknown[0]}': choose from {', '.join(EXPERIMENTS)}")
    for name in chosen.names or EXPERIMENTS:
        run(name, Place.usual())


if __name__ == "__main__":
    main()
