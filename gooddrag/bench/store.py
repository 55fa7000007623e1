"""Where a benchmark's results lie: any path that fsspec knows (a folder, memory://, s3://, …).

    plan.json            what belongs to the benchmark: every unit's key, and the samples that could not be read
    rows/KEY.json        one unit's row, written last: whoever sees it finds the picture too
    pictures/KEY.png     its picture
    tasks/TASK.png       a task, drawn with its points; TASK-original.png its picture; TASK-truth.png its true result,
                         where that is known
    table.parquet        all rows of the plan, made at the end

One process writes, and each file is written whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from gooddrag.errors import BadInput
from gooddrag.files import write_whole


class Store:
    """One benchmark's files."""

    def __init__(self, where: str):
        try:
            import fsspec
        except ImportError as error:
            raise BadInput("Benchmarks need fsspec: pip install 'gooddrag[bench]'.") from error
        try:
            self.fs, path = fsspec.url_to_fs(where)
        except (ImportError, ValueError) as error:
            raise BadInput(f"'{where}' can't be opened ({error}): name a folder, or install what it needs.") from error
        self.where, self.root = where, path.rstrip("/")

    def write(self, name: str, data: bytes) -> None:
        """Local files are exchanged under a temporary name; object stores show an object when it is complete."""
        path = f"{self.root}/{name}"
        if self._is_local:
            write_whole(Path(path), lambda part: part.write_bytes(data))
        else:
            self.fs.pipe_file(path, data)

    def read(self, name: str) -> bytes:
        return self.fs.cat_file(f"{self.root}/{name}")

    def has(self, name: str) -> bool:
        return self.fs.exists(f"{self.root}/{name}")

    @property
    def _is_local(self) -> bool:
        return "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))

    def done(self) -> set[str]:
        """The keys of all rows there are."""
        folder = f"{self.root}/rows"
        self.fs.invalidate_cache()
        if not self.fs.exists(folder):
            return set()
        names = (str(path).rpartition("/")[2] for path in self.fs.ls(folder, detail=False))
        return {name.removesuffix(".json") for name in names if name.endswith(".json") and not name.startswith(".")}

    def put(self, row: dict[str, Any], picture: bytes | None) -> None:
        """Keep a unit's result; again is no harm."""
        if picture is not None:
            self.write(f"pictures/{row['key']}.png", picture)
        self.write(f"rows/{row['key']}.json", json.dumps(row).encode())

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Add to an earlier plan of the same data, weights and measures; replace any other."""
        old = self.plan() if self.has("plan.json") else None
        if old and all(old[name] == plan[name] for name in ("dataset", "fingerprint", "measures")):
            plan = plan | {"units": old["units"] | plan["units"], "methods": old["methods"] | plan["methods"]}
        self.write("plan.json", json.dumps(plan, indent=1).encode())

    def plan(self) -> dict[str, Any]:
        """What belongs together.

        Raises
        ------
        BadInput
            When there is no benchmark here.
        """
        try:
            return json.loads(self.read("plan.json"))
        except (OSError, ValueError) as error:
            raise BadInput(
                f"'{self.where}' holds no benchmark: name a path that `gooddrag bench` has filled."
            ) from error

    def rows(self, keys: Iterable[str]) -> list[dict[str, Any]]:
        """The rows of these units, those that are there, in this order."""
        done = self.done()
        return [json.loads(self.read(f"rows/{key}.json")) for key in keys if key in done]

    def table(self) -> pd.DataFrame:
        """All rows of the plan as a table, in the plan's order."""
        return pd.DataFrame(self.rows(self.plan()["units"].values()))

    def write_table(self) -> pd.DataFrame:
        """Make table.parquet; what is nested becomes JSON there."""
        table = self.table()
        flat = table.copy()
        for column in ("settings", "doubts"):
            flat[column] = [json.dumps(value) for value in table[column]]
        self.write("table.parquet", flat.to_parquet(index=False))  # type: ignore[arg-type]
        return table
