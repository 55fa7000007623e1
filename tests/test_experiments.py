"""The experiments of lesson 09: their tables are whole and belong to the weights; runs are kept and go on."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gooddrag.bench.datasets import open_dataset
from gooddrag.bench.pocket_report import methods
from gooddrag.bench.store import Store
from gooddrag.bench.units import Engine
from gooddrag.errors import BadInput
from gooddrag.methods import GoodDrag
from tests.conftest import make_tiny_backbone

sys.path.insert(0, str(Path(__file__).parents[1] / "notebooks"))
from lessons import benchmark, experiments
from lessons.experiments import EXPERIMENTS, MEASURES, TASKS, Place, differences, method_of, read, reading, run


def tiny_engine(name: str, prompt: str, device: str):
    return make_tiny_backbone()


@pytest.fixture
def place(tmp_path, quick):
    """Everything small: a random engine, one task, hurried edits."""
    quick = GoodDrag(**quick.model_dump() | {"lora": {"steps": 1, "rank": 1}})
    kept = Store(str(tmp_path / "kept"))
    return Place(open_dataset("pocket:1@1"), quick, Engine("tiny", tiny_engine), kept, tmp_path / "tables")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_stored_table_has_every_setting_on_every_task(name):
    table = read(name)
    wanted = {(label, sample.name) for label in EXPERIMENTS[name] for sample in open_dataset(TASKS).samples}
    assert set(zip(table["setting"], table["task"], strict=True)) == wanted
    assert len(table) == len(wanted)
    assert np.isfinite(table[list(MEASURES)]).all(axis=None)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_stored_table_was_made_with_the_weights_that_are_here(name, pocket):
    assert set(read(name)["fingerprint"]) == {pocket.fingerprint}, f"python -m lessons.experiments {name} renews it"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_the_usual_settings_once_and_each_other_one_is_another_method(name):
    settings = EXPERIMENTS[name]
    assert sum(not changes for changes in settings.values()) == 1
    base = GoodDrag.for_pocket(**experiments.PAPER)
    made = {(str(method_of(base, changes)), changes.get("block")) for changes in settings.values()}
    assert len(made) == len(settings)


def test_the_usual_settings_are_what_the_tables_call_them():
    base = GoodDrag.for_pocket(**experiments.PAPER)
    usual = {next(label for label, changes in settings.items() if not changes) for settings in EXPERIMENTS.values()}
    assert usual == {
        f"{base.steps} steps",
        f"strength {base.strength:.2f}",
        f"B = {base.per_denoise}",
        f"IPMS, J = {base.supervision_steps}",
        "no fresh noise",
        "up_blocks[2]",
        f"{base.lora.steps} LoRA steps",
    }
    assert base.drags == 70
    assert base.eta == 0


def test_a_small_run_fills_a_table_and_the_next_one_edits_nothing(place, monkeypatch):
    table = run("block", place)
    assert list(table["setting"]) == ["up_blocks[1]", "up_blocks[2]", "up_blocks[3]"]
    assert list(table["as_it_is"]) == [False, True, False]
    assert table["error_share"].nunique() == 3
    assert set(table["fingerprint"]) == {make_tiny_backbone().fingerprint}
    monkeypatch.setattr(experiments, "do", None)
    again = run("block", place)
    pd.testing.assert_frame_equal(again, table)
    pd.testing.assert_frame_equal(read("block", place.tables), table)


def test_differences_are_taken_task_by_task():
    table = pd.DataFrame(
        {
            "setting": ["a", "b", "b", "a"],
            "as_it_is": [True, False, False, True],
            "task": ["x", "x", "y", "y"],
            "error_share": [0.5, 0.25, 1.0, 0.75],
        }
    )
    assert differences(table, "error_share")["b"].to_dict() == {"x": -0.25, "y": 0.25}


def test_another_block_gives_other_features_and_leaves_the_engine_alone(tiny):
    import torch

    other = reading(tiny, 1)
    z = torch.zeros(1, 4, 16, 16)
    assert other.predict(z, 1, features=True).features.shape[-1] == 8
    assert tiny.predict(z, 1, features=True).features.shape[-1] == 16
    assert other.fingerprint != tiny.fingerprint == make_tiny_backbone().fingerprint


def test_a_missing_table_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(BadInput, match=r"python -m lessons\.experiments lora"):
        read("lora", tmp_path)


# The stored benchmark of lesson 08


def test_the_stored_benchmark_has_every_task_and_belongs_to_the_weights(pocket):
    rows = benchmark.stored()
    samples = {sample.name for sample in open_dataset(benchmark.TASKS).samples}
    for method, part in rows.groupby("method"):
        assert set(part.index.get_level_values("sample")) == samples, method
    assert set(rows["fingerprint"]) == {pocket.fingerprint}, "make bench-pocket REPORT_ARGS='--publish docs' renews it"
    assert np.isfinite(rows[list(benchmark.MEASURES)]).all(axis=None)
    assert set(rows.index.get_level_values("method")) <= set(methods())


def test_a_failed_edit_of_the_benchmark_counts_with_the_worst_value(tmp_path):
    rows = [
        {"method": m, "sample": "a-1", "ok": True, **dict.fromkeys(benchmark.MEASURES, v)}
        for m, v in (("x", 1), ("y", 3))
    ]
    rows.append({"method": "z", "sample": "a-1", "ok": False})
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    failed = benchmark.stored(tmp_path / "rows.csv").loc[("z", "a-1")]
    assert failed["error_share"] == 3
    assert failed["gained_db"] == 1


def test_a_missing_benchmark_says_how_it_is_made(tmp_path):
    with pytest.raises(BadInput, match="make bench-pocket"):
        benchmark.stored(tmp_path / "none.csv")
