"""The benchmark: every method on every task with every seed, by workers on this machine or many (Dask distributed).

Only this process writes results (see `store.py`); workers are handed a task and give back a row and a picture. A run
that was cut short goes on where it was, and a lost worker's units run again elsewhere.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gooddrag.bench.datasets import Dataset
from gooddrag.bench.store import Store
from gooddrag.bench.units import Engine, Unit, do, failure, fingerprint, grouped, png, task_key
from gooddrag.cache import content_key
from gooddrag.errors import BadInput, EditFailed
from gooddrag.measures import OFFLINE, check_measures
from gooddrag.methods import Method
from gooddrag.terminal import console, note

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 30  # seconds to wait for a scheduler, or for a worker to come back


@dataclass(frozen=True)
class Bench:
    """What is to be compared. `prompts`: use those of the data set (the engine loads anew for each); else none."""

    dataset: Dataset
    methods: Mapping[str, Method]
    seeds: Sequence[int] = (0,)
    measures: Sequence[str] = OFFLINE
    engine: Engine = field(default_factory=Engine)
    prompts: bool = False

    def plan(self, fingerprint: str) -> Plan:
        """Read every sample once, and make every unit."""
        units: list[Unit] = []
        refused: dict[str, str] = {}
        for sample in self.dataset.samples:
            try:
                task, known = sample.read()
            except BadInput as error:
                refused[sample.name] = str(error)
                continue
            task = task if self.prompts else replace(task, prompt="")
            kind, measures = known.kind if known else sample.kind, tuple(self.measures)
            units += [
                Unit(sample.name, sample.category, kind, label, seeded, measures, fingerprint, task, known)
                for seed in self.seeds
                for label, method in self.methods.items()
                if (seeded := method.with_settings(seed=seed))
            ]
        return Plan(self, fingerprint, units, refused)


@dataclass(frozen=True)
class Plan:
    """All units of a benchmark, and the samples that could not be read."""

    bench: Bench
    fingerprint: str
    units: list[Unit] = field(repr=False)
    refused: dict[str, str]

    def write(self, store: Store) -> None:
        """Keep it, and what reports show of the tasks."""
        for unit in {task_key(unit.task): unit for unit in self.units}.values():
            name = f"tasks/{task_key(unit.task)}"
            if not store.has(f"{name}.png"):
                if unit.known is not None:
                    store.write(f"{name}-truth.png", png(unit.known.truth))
                store.write(f"{name}-original.png", png(unit.task.image))
                store.write(f"{name}.png", png(unit.task.draw()))
        bench = self.bench
        methods = {label: {"method": m.name.lower()} | m.model_dump(mode="json") for label, m in bench.methods.items()}
        plan = {
            "dataset": bench.dataset.name,
            "published_as": bench.dataset.published_as,
            "fingerprint": self.fingerprint,
            "measures": list(bench.measures),
            "methods": methods,
            "refused": self.refused,
            "units": {f"{u.label} {u.method.seed} {u.sample}": u.key for u in self.units},
        }
        store.write_plan(plan)


@contextmanager
def cluster(scheduler: str | None = None, workers: int | None = None) -> Iterator[Client]:
    """Workers: those of a Dask scheduler ("tcp://host:8786"), or processes of this machine, restarted when they die.

    Raises
    ------
    BadInput
        When Dask is missing, or no scheduler answers.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise BadInput("Benchmarks need Dask: pip install 'gooddrag[bench]'.") from error
    if scheduler is None:
        # Dask would end a worker that takes more than its share of the memory; large engines are meant to.
        local = LocalCluster(
            n_workers=workers or os.cpu_count() or 1,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
        with local, Client(local) as client:
            yield client
        return
    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"No Dask scheduler answers at '{scheduler}': start one, or leave --scheduler out.") from error
    with client:
        if not client.scheduler_info()["workers"]:
            note(f"The scheduler at {scheduler} has no workers yet: `dask worker {scheduler}` starts one.")
        yield client


def iter_rows(
    plan: Plan, store: Store, client: Client, threads: int = 1, together: int = 1
) -> Iterator[dict[str, Any]]:
    """Do what is not done yet; yields each row when it is kept.

    Only a few units are under way at a time, so that the scheduler never holds a whole data set of pictures.
    """
    from distributed import KilledWorker, wait

    done = store.done()
    missing = grouped({unit.key: unit for unit in plan.units if unit.key not in done}.values(), together)
    under_way: dict[Any, list[Unit]] = {}

    def submit() -> None:
        if units := next(missing, None):
            key = f"gooddrag-{content_key(*(unit.key for unit in units))}"
            future = client.submit(do, units, plan.bench.engine, threads, key=key, retries=0)
            under_way[future] = units

    for _ in range(2 * max(1, len(client.scheduler_info()["workers"])) + 1):
        submit()
    while under_way:
        try:
            finished: Any = wait(list(under_way), timeout=PATIENCE, return_when="FIRST_COMPLETED")
        except TimeoutError:
            _replace_lost_workers(client)
            continue
        future = next(iter(finished.done))
        units = under_way.pop(future)
        try:
            results = future.result()
        except KilledWorker as error:
            lost = EditFailed(f"The workers that did this were lost ({error.allowed_failures + 1} of them).")
            results = [(unit.facts() | failure(lost), None) for unit in units]
        for row, picture in results:
            store.put(row, picture)
        submit()
        yield from (row for row, _ in results)


def _replace_lost_workers(client: Client) -> None:
    """New workers for this machine, where none is left: Dask gives one up that dies while it is started anew."""
    local = client.cluster
    if local is not None and not client.scheduler_info()["workers"]:
        count = len(local.worker_spec)
        local.scale(0)
        local.scale(count)


def run(
    bench: Bench,
    store: Store,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    together: int = 1,
) -> pd.DataFrame:
    """Run a benchmark to its end, with a live line of progress; returns its table.

    `together`: edits of one method that a worker makes at once. Results are the same up to rounding.

    Raises
    ------
    BadInput
        When a measure's weights or Dask are missing; before any edit.
    EditFailed
        When it is interrupted or the scheduler is lost; what is done stays.
    """
    check_measures(bench.measures)
    with cluster(scheduler, workers) as client:
        try:
            plan = bench.plan(client.submit(fingerprint, bench.engine, pure=False).result())
            plan.write(store)
            for name, why in plan.refused.items():
                note(f"{name}: {why}")
            _watch(plan, store, client, threads, together)
        except KeyboardInterrupt:
            raise EditFailed("Interrupted: the same command goes on from here.") from None
        except OSError as error:
            if client.status == "running":
                raise
            raise EditFailed("The scheduler was lost: the same command goes on from here.") from error
    return store.write_table()


def _watch(plan: Plan, store: Store, client: Client, threads: int, together: int) -> None:
    """Consume the rows: how many are done, how many failed, how long it will take, and where Dask shows more."""
    done = store.done() & {unit.key for unit in plan.units}
    console.print(f"Dashboard: {client.dashboard_link}", soft_wrap=True)
    columns = (
        TextColumn("edits"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("edits", total=len({u.key for u in plan.units}), completed=len(done), failed=0)
        failed = 0
        for row in iter_rows(plan, store, client, threads, together):
            failed += not row["ok"]
            progress.update(bar, advance=1, failed=failed)
            if not row["ok"]:
                progress.console.print(
                    f"{row['method']}, {row['sample']}: {row['reason']}", soft_wrap=True, markup=False
                )
