"""The benchmark: units and keys, resuming, failures, lost workers, any path; and what the report makes of the rows."""

import io
import json
import os
import re
import signal
import sys
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from distributed import Client, KilledWorker
from PIL import Image

from gooddrag.bench import runner as runner_room
from gooddrag.bench.datasets import open_dataset
from gooddrag.bench.pocket_report import ROUND_TRIP, overview, publish, verdicts
from gooddrag.bench.render import markdown, page, write_report
from gooddrag.bench.report import Results, sections
from gooddrag.bench.runner import Bench, cluster, iter_rows, run
from gooddrag.bench.store import Store
from gooddrag.bench.units import COST, Engine, do, grouped, parse_methods, task_key
from gooddrag.cli import app
from gooddrag.errors import BadInput
from gooddrag.methods import GoodDrag, SdeDrag
from gooddrag.metrics.gscore.samples import read_samples
from gooddrag.task import DragTask
from tests.conftest import make_tiny_backbone

ROOT = Path(__file__).parents[1]
QUICK = {"steps": 6, "strength": 0.8, "drags": 2, "per_denoise": 1, "supervision_steps": 1, "r1": 1, "r2": 2}


def tiny_engine(name: str, prompt: str, device: str):
    return make_tiny_backbone()


TINY = Engine("tiny", tiny_engine)


@pytest.fixture(scope="session")
def tasks(tmp_path_factory) -> str:
    """Two sound tasks, one that no method can do (it asks for no drag), and one that can't be read."""
    folder = tmp_path_factory.mktemp("tasks")
    mask = np.zeros((64, 64), bool)
    mask[8:56, 8:56] = True
    for name, target in (("cat_1", (34, 30)), ("dog_1", (24, 40)), ("dog_2", (24, 30))):
        picture = np.random.default_rng(len(name)).integers(0, 256, (64, 64, 3)).astype(np.uint8)
        DragTask(picture, [(24, 30)], [target], mask).write(folder / name)
    DragTask(picture, [(24, 30)], [(30, 30)]).write(folder / "torn")
    (folder / "torn" / "original.png").write_bytes(b"\x89")
    return str(folder)


@pytest.fixture
def bench(tasks) -> Bench:
    methods = {name: GoodDrag(**QUICK, lora=None, supervision=name) for name in ("ipms", "standard")}
    return Bench(open_dataset(tasks), methods, (0,), ("dai", "outside"), TINY)


@pytest.fixture(scope="module")
def client():
    """One worker in this process."""
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as client:
        yield client


def fingerprint() -> str:
    return make_tiny_backbone().fingerprint


def comparable(store: Store) -> pd.DataFrame:
    return store.table().drop(columns=list(COST), errors="ignore")


# Units


def test_a_key_depends_on_whatever_changes_the_result_and_on_nothing_else(bench):
    unit = bench.plan("weights").units[0]
    changed = {
        "weights": Bench(bench.dataset, bench.methods, (0,), ("dai", "outside"), TINY).plan("others").units[0],
        "measures": Bench(bench.dataset, bench.methods, (0,), ("dai",), TINY).plan("weights").units[0],
        "seed": Bench(bench.dataset, bench.methods, (1,), ("dai", "outside"), TINY).plan("weights").units[0],
        "settings": bench.plan("weights").units[1],
        "task": bench.plan("weights").units[2],
    }
    assert len({unit.key, *(u.key for u in changed.values())}) == 6
    renamed = Bench(bench.dataset, {"mine": bench.methods["ipms"]}, (0,), ("dai", "outside"), Engine("x", tiny_engine))
    assert renamed.plan("weights").units[0].key == unit.key


def test_a_tasks_key_sees_points_mask_picture_and_prompt():
    picture, other = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
    mask = np.ones((32, 32), bool)
    tasks = [
        DragTask(picture, [[4, 4]], [[9, 9]]),
        DragTask(other, [[4, 4]], [[9, 9]]),
        DragTask(picture, [[9, 9]], [[4, 4]]),
        DragTask(picture, [[4, 4]], [[9, 9]], mask),
        DragTask(picture, [[4, 4]], [[9, 9]], prompt="a dog"),
    ]
    assert len({task_key(task) for task in tasks}) == 5
    assert task_key(DragTask(picture, [[4, 4]], [[9, 9]], name="other")) == task_key(tasks[0])


def test_methods_are_read_with_their_changes():
    methods = parse_methods("gooddrag, dragdiffusion:drags=210:lora.steps=5", "pocket")
    assert list(methods) == ["gooddrag", "dragdiffusion:drags=210:lora.steps=5"]
    assert methods["gooddrag"] == GoodDrag.for_pocket()
    changed = methods["dragdiffusion:drags=210:lora.steps=5"].model_dump()
    assert (changed["drags"], changed["lora"]["steps"]) == (210, 5)
    assert len(parse_methods("all", "pocket")) >= 2
    for text in ("", "gooddrag,", "nobody", "gooddrag:nothing=1"):
        with pytest.raises(BadInput):
            parse_methods(text, "pocket")


def test_a_failed_edit_is_a_row_with_its_reason(bench):
    units = {unit.sample: unit for unit in bench.plan(fingerprint()).units}
    ((row, picture),) = do([units["dog_2"]], TINY, 1)
    assert picture is None
    assert (row["ok"], row["sample"], row["method"]) == (False, "dog_2", "standard")
    assert row["reason"].startswith("Every target lies on its handle's own feature cell")
    ((row, picture),) = do([units["cat_1"]], TINY, 1)
    assert row["ok"]
    assert row["seconds"] > 0
    assert row["peak_mb"] > 100
    with Image.open(io.BytesIO(picture)) as edited:
        assert edited.size == (64, 64)


def test_a_worker_with_other_weights_stops_the_benchmark_instead_of_filling_it(bench):
    with pytest.raises(RuntimeError, match="different weights"):
        do(bench.plan("other weights").units[:1], TINY, 1)


def test_units_that_are_done_together_fail_and_succeed_each_for_itself(bench):
    units = [unit for unit in bench.plan(fingerprint()).units if unit.label == "ipms"]
    results = do(units, TINY, 1)
    assert [row["sample"] for row, _ in results] == [unit.sample for unit in units]
    for unit, (row, picture) in zip(units, results, strict=True):
        ((alone, its_picture),) = do([unit], TINY, 1)
        assert row["ok"] == alone["ok"]
        assert row["reason"] == alone["reason"]
        assert (picture is None) == (its_picture is None)
        if row["ok"]:
            assert (row["together"], alone["together"]) == (len(units), 1)
            assert row["outside"] == pytest.approx(alone["outside"], rel=0.2)


def test_only_units_of_one_method_and_prompt_are_grouped(bench):
    units = bench.plan("weights").units
    groups = list(grouped(units, 2))
    assert sorted(unit.key for group in groups for unit in group) == sorted(unit.key for unit in units)
    assert all(len({unit.label for unit in group}) == 1 for group in groups)
    assert max(map(len, groups)) == 2
    assert [len(group) for group in grouped(units, 1)] == [1] * len(units)
    lonely = Bench(bench.dataset, {"sde": SdeDrag(lora=None)}, (0,), ("dai",), TINY).plan("weights").units
    assert max(map(len, grouped(lonely, 8))) == 1


def test_a_benchmark_with_edits_together_has_the_same_rows(bench, client, tmp_path):
    plan = bench.plan(fingerprint())
    for name, together in (("alone", 1), ("together", 3)):
        store = Store(str(tmp_path / name))
        plan.write(store)
        rows = list(iter_rows(plan, store, client, together=together))
        assert {row["key"] for row in rows} == {unit.key for unit in plan.units}
    alone, together = (Store(str(tmp_path / name)).table().set_index("key") for name in ("alone", "together"))
    assert alone["ok"].equals(together["ok"])
    assert list(alone["reason"]) == list(together["reason"])


def dies(*args):
    raise KilledWorker("unit", SimpleNamespace(address="tcp://lost"), 3)


# Running


def test_a_run_that_was_cut_short_does_only_what_is_missing(bench, client, tmp_path):
    plan = bench.plan(fingerprint())
    whole, cut = Store(str(tmp_path / "whole")), Store(str(tmp_path / "cut"))
    for store in (whole, cut):
        plan.write(store)
    assert len(list(iter_rows(plan, whole, client))) == len(plan.units) == 6

    first = [row["key"] for row in islice(iter_rows(plan, cut, client), 2)]
    assert cut.done() == set(first)
    rest = [row["key"] for row in iter_rows(plan, cut, client)]
    assert sorted(first + rest) == sorted(unit.key for unit in plan.units)
    assert list(iter_rows(plan, cut, client)) == []
    pd.testing.assert_frame_equal(comparable(whole), comparable(cut))


def test_a_row_is_there_only_when_all_of_it_is(bench, tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    row = bench.plan("weights").units[0].facts()
    with monkeypatch.context() as patched:
        patched.setattr(runner_room.os, "replace", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.put(row, b"picture")
    assert store.done() == set()
    for _ in range(2):
        store.put(row, b"picture")
    assert store.done() == {row["key"]}
    assert store.read(f"pictures/{row['key']}.png") == b"picture"


def test_a_unit_whose_workers_all_die_is_a_failed_row(bench, client, tmp_path, monkeypatch):
    monkeypatch.setattr(runner_room, "do", dies)
    plan = bench.plan("weights")
    rows = list(iter_rows(plan, Store(str(tmp_path)), client))
    assert {row["reason"] for row in rows} == {"The workers that did this were lost (4 of them)."}


def test_results_go_to_any_path_that_fsspec_knows(bench, client, monkeypatch):
    monkeypatch.setattr(runner_room, "cluster", lambda *args: nullcontext(client))
    store = Store("memory://bench")
    table = run(bench, store)
    assert list(table["sample"]) == ["cat_1", "cat_1", "dog_1", "dog_1", "dog_2", "dog_2"]
    assert list(table["ok"]) == [True] * 4 + [False] * 2
    assert store.plan()["refused"].keys() == {"torn"}
    assert len(pd.read_parquet(io.BytesIO(store.read("table.parquet")))) == 6
    assert all(store.has(f"pictures/{key}.png") for key in table.loc[table["ok"].astype(bool), "key"])


def test_the_units_of_a_killed_worker_run_again_elsewhere(bench, client, tmp_path):
    plan = bench.plan(fingerprint())
    whole, shaken = Store(str(tmp_path / "whole")), Store(str(tmp_path / "shaken"))
    for store in (whole, shaken):
        plan.write(store)
    list(iter_rows(plan, whole, client))
    with cluster(workers=2) as processes:
        rows = iter_rows(plan, shaken, processes)
        keys = [next(rows)["key"]]
        os.kill(next(iter(processes.run(os.getpid).values())), signal.SIGKILL)
        keys += [row["key"] for row in rows]
    assert sorted(keys) == sorted(unit.key for unit in plan.units)
    pd.testing.assert_frame_equal(comparable(whole), comparable(shaken))


def test_a_benchmark_goes_on_where_all_workers_were_lost_for_good(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(runner_room, "PATIENCE", 1)
    plan, store = bench.plan(fingerprint()), Store(str(tmp_path))
    plan.write(store)
    with cluster(workers=1) as processes:
        for nanny in list(processes.cluster.workers.values()):  # as when a worker dies while its nanny starts it
            processes.sync(nanny.close)
        assert not processes.scheduler_info()["workers"]
        keys = [row["key"] for row in iter_rows(plan, store, processes)]
    assert sorted(keys) == sorted(unit.key for unit in plan.units)


def test_a_later_run_adds_its_methods_to_the_plan_unless_the_weights_are_others(bench, tmp_path):
    store = Store(str(tmp_path))
    bench.plan("weights").write(store)
    more = Bench(bench.dataset, {"more": GoodDrag(**QUICK)}, (0,), ("dai", "outside"), TINY)
    more.plan("weights").write(store)
    assert list(store.plan()["methods"]) == ["ipms", "standard", "more"]
    assert len(store.plan()["units"]) == 9
    more.plan("new weights").write(store)
    assert list(store.plan()["methods"]) == ["more"]


def test_no_scheduler_no_dask_and_no_benchmark_are_said_in_one_sentence(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(runner_room, "PATIENCE", 0.1)
    with pytest.raises(BadInput, match="No Dask scheduler answers"):
        run(bench, Store(str(tmp_path)), scheduler="tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(BadInput, match="gooddrag\\[bench\\]"):
        run(bench, Store(str(tmp_path)))
    with pytest.raises(BadInput, match="holds no benchmark"):
        Store(str(tmp_path / "nothing")).plan()
    with pytest.raises(BadInput, match="can't be opened"):
        Store("nosuchprotocol://x")


# Reports


def made_up(values: dict[str, list[float | None]], **more) -> Results:
    """Rows of `dai_1` by method, one per task; None is a failed edit."""
    rows = [
        {"sample": f"task {k}", "method": method, "seed": 0, "kind": "", "category": "cat", "dai_1": value}
        | {"ok": value is not None, "reason": "" if value is not None else "no <b>luck</b>", "doubts": {}}
        | {"seconds": 1.0, "peak_mb": 100.0, "drags": 3, "key": f"{method}{k}", "task": f"t{k}"}
        for method, column in values.items()
        for k, value in enumerate(column)
    ]
    plan = {"dataset": "made <up>", "published_as": "", "measures": ["dai"], "refused": {}}
    plan |= {"methods": dict.fromkeys(values), "units": {str(k): k for k in range(len(rows))}} | more
    return Results(plan, pd.DataFrame(rows))


def section(results: Results, title: str) -> pd.DataFrame:
    found = {part.title: part.table for part in sections(results)}
    return found[title]


def test_a_failed_edit_gets_the_worst_value_of_all():
    results = made_up({"a": [0.1, None, 0.3], "b": [0.2, 0.9, 0.4]})
    assert results.values("dai_1")["a"].tolist() == [0.1, 0.9, 0.3]
    (score, _) = section(results, "All methods").to_dict("records")
    assert score["mean"].startswith("0.433 [")
    assert score["failed"] == 1


def test_duels_are_paired_and_ties_count_half():
    results = made_up({"a": [0.1, 0.5, 0.9, 0.4], "b": [0.2, 0.6, 1.0, 0.4]})
    (duel,) = section(results, "a against each").to_dict("records")
    assert duel["difference"].startswith("-0.075 [")
    assert duel["wins"] == "88%"  # three and a half of four
    assert duel["tasks"] == 4


def test_where_more_is_better_the_higher_wins():
    results = made_up({"a": [0.9, 0.8, 0.9], "b": [0.5, 0.4, 0.6]}, measures=["if"])
    results.rows = results.rows.rename(columns={"dai_1": "if"})
    (duel,) = section(results, "a against each").to_dict("records")
    assert duel["wins"] == "100%"
    assert duel["difference"].startswith("+0.367 [+")


def test_missing_results_refused_samples_and_doubts_are_said():
    results = made_up({"a": [0.1, 0.2, 0.3], "b": [0.2, 0.3, 9.0]}, refused={"torn": "It is torn."})
    results.plan["units"]["one more"] = "k"
    for k in (2, 5):
        results.rows.at[k, "doubts"] = {"dai": ["the arrows turn"]}
    text = markdown(list(sections(results)))
    assert "1 of 7 results are missing" in text
    assert "torn: It is torn." in text
    assert "| dai | the arrows turn | 1 |" in text
    b = section(results, "All methods").to_dict("records")[1]
    assert b["mean"].startswith("3.17 [")
    assert b["without doubts"].startswith("0.25 [")


def test_seeds_are_averaged_before_tasks_are_compared_and_rankings_shown():
    results = made_up({"a": [0.1, 0.3], "b": [0.2, 0.4]})
    again = results.rows.assign(seed=1, dai_1=[0.5, 0.7, 0.2, 0.4])
    results.rows = pd.concat([results.rows, again], ignore_index=True)
    assert results.values("dai_1")["a"].tolist() == pytest.approx([0.3, 0.5])
    (ranking,) = section(results, "Ranking, seed by seed").to_dict("records")
    assert (ranking["seed 0"], ranking["seed 1"], ranking["same"]) == ("a < b", "b < a", "no")


def test_published_numbers_stand_beside_ours_only_on_the_same_data():
    values = {"a": [0.1, 0.3], "b": [0.2, 0.4]}
    table = section(made_up(values, published_as="drag100"), "Published numbers beside ours")
    assert {"a", "GoodDrag", "SDE-Drag"} <= set(table["method"])
    assert table.set_index("method").loc["a", "source"] == "here"
    assert "Published numbers beside ours" not in {part.title for part in sections(made_up(values))}


def test_the_page_needs_nothing_else_and_escapes_what_comes_from_files(tmp_path):
    results, store = made_up({"a": [0.1, None], "b": [0.2, 0.9]}), Store(str(tmp_path))
    stream = io.BytesIO()
    Image.new("RGB", (64, 32), "red").save(stream, "PNG")
    store.write("pictures/a0.png", stream.getvalue())
    text = page(list(sections(results)), results, store)
    assert "<b>luck" not in text
    assert "made <up>" not in text
    assert "no &lt;b&gt;luck" in text
    assert "data:image/jpeg;base64," in text
    assert "http" not in text
    assert text.count("its picture is missing") == 4  # two tasks, two edits


def test_an_unfinished_benchmark_has_a_report_too(bench, client, tmp_path):
    store = Store(str(tmp_path))
    plan = bench.plan(fingerprint())
    plan.write(store)
    write_report(store, tmp_path)
    assert "6 of 6 results are missing" in (tmp_path / "report.md").read_text()
    list(islice(iter_rows(plan, store, client), 3))
    write_report(store, tmp_path)
    assert "3 of 6 results are missing" in (tmp_path / "report.md").read_text()
    assert "data:image/jpeg" in (tmp_path / "report.html").read_text()


def test_raters_take_a_benchmark_as_it_is_and_leave_out_failed_edits(bench, client, tmp_path):
    store = Store(str(tmp_path))
    plan = bench.plan(fingerprint())
    plan.write(store)
    with pytest.raises(BadInput, match="has no edit that worked"):
        read_samples([tmp_path])
    table = pd.DataFrame(iter_rows(plan, store, client))
    worked = table[table["ok"]]
    found = read_samples([tmp_path])
    assert [sample.task for sample in found] == list(worked["sample"].unique())
    assert all(sorted(sample.edits) == ["ipms", "standard"] for sample in found)
    assert all(path.is_file() for sample in found for path in (sample.original, *sample.edits.values()))


def test_the_pocket_report_asks_what_the_paper_claims():
    """IPMS halves the error on every task; the schedule does nothing; the ranking is alike on both halves."""
    error = {"gooddrag": 0.2, "all first, ipms": 0.2, "aldd, standard": 0.4, "all first, standard": 0.4}
    error |= {"dragdiffusion": 0.6, ROUND_TRIP: 1.0}
    rows = [
        {"sample": f"move-{seed}", "method": method, "ok": True, "seconds": 1.0, "error_share": share + seed / 1e4,
         "brokenness": 1 + 9 * share * (method != ROUND_TRIP), "gained_db": -1.0 if seed == 1000 else 1.0,
         "edit_feature_distance": 0.5, "source_feature_distance": 1.0}
        for seed in range(1000, 1004) for method, share in error.items()
    ]  # fmt: skip
    rows += [rows[0] | {"sample": "move-1009", "ok": False, "error_share": None}]
    table = pd.DataFrame(rows).assign(kind="move", dai_1=0.1, outside=1.0)
    own, claims, stable = (part.table for part in verdicts(table))
    found = dict(zip(own["what"], own["found"], strict=True))
    assert found["share of the distance that is left (median)"].startswith("0.30 ")  # of the four that worked
    assert found["tasks: nearer to the true picture than the source, by masked PSNR"].startswith("0.75 ")
    assert found["tasks: no more broken than 95 % of the round trips (1.0 grey levels)"].startswith("0.00 ")
    claim = claims.set_index(["claim", "measure"])["difference"]
    measure = "share of the distance left"
    assert claim["AlDD against all drags first, with IPMS", measure] == "0.00 [0.00, 0.00]"
    assert claim["IPMS against the standard loss at equal J, with AlDD", measure] == "-0.20 [-0.20, -0.20]"
    assert stable["rank correlation"].iloc[0] == "1.00"
    assert ROUND_TRIP not in stable["even seeds"].iloc[0]
    lines, kinds = (part.table for part in overview(table))
    assert set(lines["method"][:2]) == {"gooddrag", "all first, ipms"}  # the best first
    assert lines.set_index("method")["failed"]["gooddrag"] == 1
    assert list(kinds.columns) == ["method", "move"]
    assert set(lines["seconds"]) == {"1"}


def test_seconds_of_edits_that_shared_their_passes_tell_nothing_of_one_alone():
    rows = [
        {"sample": f"move-{seed}", "kind": "move", "method": method, "ok": True, "seconds": 3.0, "together": together}
        | dict.fromkeys(("error_share", "brokenness", "gained_db", "dai_1", "outside"), 1.0)
        | {"edit_feature_distance": 0.5, "source_feature_distance": 1.0}
        for seed in (1000, 1001)
        for method, together in (("gooddrag", 4), (ROUND_TRIP, 1))
    ]
    table = pd.DataFrame(rows)
    lines = next(overview(table)).table.set_index("method")
    assert dict(lines["seconds"]) == {"gooddrag": "–", ROUND_TRIP: "3"}
    assert next(verdicts(table)).table["found"].iloc[-1] == "–"


def test_a_published_report_holds_its_rows_and_its_picture(tmp_path):
    error = {"gooddrag": 0.2, "dragdiffusion": 0.4, ROUND_TRIP: 1.0}
    numbers = {"seconds": 1.0, "gained_db": 1.0, "dai_1": 0.1, "outside": 1.0, "ok": True}
    numbers |= {"edit_feature_distance": 0.5, "source_feature_distance": 1.0, "kind": "move"}
    rows = [
        numbers | {"sample": f"move-{seed}", "method": method, "error_share": share, "brokenness": 5 + share}
        for seed in (1000, 1001) for method, share in error.items()
    ]  # fmt: skip
    (tmp_path / "images").mkdir()
    publish(pd.DataFrame(rows), Image.new("RGB", (40, 20)), tmp_path)
    page = (tmp_path / "pocket-report.md").read_text(encoding="utf-8")
    for name in re.findall(r"\]\(((?!\.\.)[^)]+)\)", page):
        assert any((place / name).is_file() for place in (tmp_path, ROOT / "docs")), name
    assert len(pd.read_csv(tmp_path / "pocket-report.csv")) == len(rows)
    assert "2 tasks" in page


def test_the_commands_check_and_report(tasks, tmp_path):
    from typer.testing import CliRunner

    checked = CliRunner().invoke(app, ["dataset", "check", tasks])
    assert checked.exit_code == 1  # one sample can't be read
    assert "3 pictures, 3 pairs" in checked.stdout
    assert "pairs of zero length: 1 (dog_2)" in checked.stdout
    assert "refused: torn:" in checked.stdout
    plan = {"dataset": "d", "published_as": "", "measures": [], "methods": {}, "refused": {}, "units": {}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    made = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert made.exit_code == 0, made.output
    assert (tmp_path / "report.html").is_file()
