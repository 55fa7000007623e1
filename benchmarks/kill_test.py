"""Does a benchmark survive SIGKILL? Its runner or one of its workers is killed at random, again and again.

    python benchmarks/kill_test.py [--kills 30] [--tasks 20]

In the end the table must equal that of an undisturbed run, with no row doubled and none lost, and the pictures must be
the same bytes. Also prints how much faster two workers are than one. Exits with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from gooddrag.bench.datasets import open_dataset  # noqa: E402
from gooddrag.bench.runner import Bench, cluster, iter_rows  # noqa: E402
from gooddrag.bench.store import Store  # noqa: E402
from gooddrag.bench.units import COST, Engine, fingerprint  # noqa: E402
from gooddrag.methods import GoodDrag  # noqa: E402
from gooddrag.task import DragTask  # noqa: E402

QUICK = {"steps": 6, "strength": 0.8, "drags": 2, "per_denoise": 1, "supervision_steps": 1, "r1": 1, "r2": 2}


def tiny(name: str, prompt: str, device: str):
    """A random U-Net of pocket's shape, which the tests use too."""
    from tests.conftest import make_tiny_backbone

    return make_tiny_backbone()


def bench(tasks: Path) -> Bench:
    """Two methods and two seeds on every task."""
    methods = {name: GoodDrag(**QUICK, lora=None, supervision=name) for name in ("ipms", "standard")}
    return Bench(open_dataset(str(tasks)), methods, (0, 1), ("dai", "outside"), Engine("tiny", tiny))


def write_tasks(folder: Path, count: int) -> None:
    """Pictures of noise with two drags each; the last one's targets are its handles, so that every edit of it fails."""
    for k in range(count):
        picture = np.random.default_rng(k).integers(0, 256, (64, 64, 3)).astype(np.uint8)
        handles = [(24, 30), (40, 28)]
        DragTask(picture, handles, handles if k == count - 1 else [(34, 30), (40, 40)]).write(folder / f"task_{k}")


def run(tasks: Path, out: Path, workers: int) -> None:
    """One benchmark, in this process; says each row and at the end how long they took. This is what gets killed."""
    with cluster(workers=workers) as client:
        plan, store = bench(tasks).plan(client.submit(fingerprint, Engine("tiny", tiny)).result()), Store(str(out))
        plan.write(store)
        client.run(fingerprint, Engine("tiny", tiny))  # every worker is warm before the clock starts
        began = time.perf_counter()
        for row in iter_rows(plan, store, client):
            print("row", row["key"], flush=True)
        print("seconds", time.perf_counter() - began, flush=True)


def runner(tasks: Path, out: Path, workers: int) -> subprocess.Popen[str]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--run", str(out), "--workers", str(workers), "--folder", str(tasks)]
    many = os.environ | {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1000"}  # an unlucky unit is no bad one
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=many)


def undisturbed(tasks: Path, out: Path, workers: int) -> float:
    """Seconds that the edits took."""
    text, _ = runner(tasks, out, workers).communicate()
    return float(text.split()[-1])


def disturbed(tasks: Path, out: Path, kills: int, chance: random.Random) -> Iterator[str]:
    """Kill until enough were killed or all is done, then run to the end; yields who was killed."""
    while kills:
        process = runner(tasks, out, 2)
        assert process.stdout is not None
        while kills and process.poll() is None:
            lines = [process.stdout.readline() for _ in range(chance.randint(1, 2))]
            if not all(line.startswith("row") for line in lines):
                process.wait()
                return
            try:
                process.wait(chance.uniform(0, 0.3))
            except subprocess.TimeoutExpired:
                kills -= 1
                yield kill(process, chance)
        process.kill()
        process.wait()
        process.stdout.close()  # not read to its end: orphaned workers have it too, until they notice and go
    undisturbed(tasks, out, 2)


def kill(process: subprocess.Popen[str], chance: random.Random) -> str:
    """SIGKILL the runner, or one of its workers; says which."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        if workers and chance.random() < 0.6:
            chance.choice(workers).kill()
            return "worker"
    except psutil.NoSuchProcess:
        pass  # it died by itself in the meantime; the runner then gets it
    process.kill()
    process.wait()
    return "runner"


def differences(one: Store, other: Store) -> list[str]:
    """What is not the same in two benchmarks, besides what they cost."""
    a, b = (store.table().drop(columns=list(COST), errors="ignore") for store in (one, other))
    found = []
    for store, table in ((one, a), (other, b)):
        keys = list(store.plan()["units"].values())
        if sorted(store.done()) != sorted(keys) or table["key"].duplicated().any() or len(table) != len(keys):
            found.append(f"{store.where} has {len(table)} rows in {len(store.done())} files for {len(keys)} units")
    try:
        pd.testing.assert_frame_equal(a, b)
    except AssertionError as error:
        found.append(str(error))
    for key in a.loc[a["ok"].astype(bool), "key"]:
        if one.read(f"pictures/{key}.png") != other.read(f"pictures/{key}.png"):
            found.append(f"the pictures of {key} differ")
    return found


def main() -> None:
    """Run undisturbed with one and with two workers, then disturbed, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.run:
        run(chosen.folder, chosen.run, chosen.workers)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_tasks(folder / "tasks", chosen.tasks)
        one, two = (undisturbed(folder / "tasks", folder / f"by-{n}", n) for n in (1, 2))
        print(f"two workers are {one / two:.2f} times as fast as one ({one:.1f} s, {two:.1f} s)", flush=True)
        killed = []
        for who in disturbed(folder / "tasks", folder / "disturbed", chosen.kills, random.Random(chosen.seed)):
            killed.append(who)
            print(f"kill {len(killed)}: {who}", flush=True)
        found = differences(Store(str(folder / "by-1")), Store(str(folder / "disturbed")))
    print(f"{len(killed)} kills ({killed.count('worker')} workers, {killed.count('runner')} runners): ", end="")
    print("\n".join(found) or "the table is that of an undisturbed run, no row doubled, none lost, same pictures")
    sys.exit(1 if found or len(killed) < chosen.kills else 0)


if __name__ == "__main__":
    main()
