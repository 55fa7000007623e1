"""The table of an edit: what it holds, and that it survives being stored. Results and their folders."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gooddrag.editor import edit
from gooddrag.errors import BadInput, EditFailed
from gooddrag.result import Recorder
from gooddrag.task import DragTask
from gooddrag.trace import COLUMNS, Trace


@pytest.fixture
def result(tiny, task, quick):
    return edit(tiny, task, quick, use_cache=False, frames=2)


def test_there_is_a_row_for_each_step_and_point(result):
    table = result.trace.to_frame()
    assert list(table.columns) == list(COLUMNS)
    assert table.groupby("phase").size().to_dict() == {"start": 2, "drag": 8, "denoise": 16}
    assert table[["x", "y", "distance", "drift"]].notna().all().all()


def test_distances_are_those_of_the_points(result):
    table = result.trace.to_frame()
    expected = np.hypot(table["target_x"] - table["x"], table["target_y"] - table["y"])
    assert np.allclose(table["distance"], expected)


def test_the_way_of_a_handle_begins_where_it_was_put(result, task):
    way = result.trace.path(1)
    assert way["drag"].tolist() == [0, 1, 2, 3, 4]
    assert np.abs(way[["x", "y"]].iloc[0] - task.handles[1]).max() <= 0.5


def test_a_trace_survives_being_stored(result, tmp_path):
    result.trace.save(tmp_path / "trace.parquet")
    pd.testing.assert_frame_equal(Trace.load(tmp_path / "trace.parquet").table, result.trace.table)


@pytest.mark.parametrize("make", ["missing", "text", "another table"])
def test_what_is_no_trace_gets_one_sentence(tmp_path, make):
    path = tmp_path / "t.parquet"
    if make == "text":
        path.write_text("hello")
    if make == "another table":
        pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(BadInput) as caught:
        Trace.load(path)
    assert str(caught.value).endswith(".")


def test_a_result_folder_holds_what_it_promises(result, tmp_path):
    folder = result.save(tmp_path / "out")
    names = {p.name for p in folder.iterdir()}
    assert names == {"edited.png", "trace.parquet", "settings.json", "task", "animation.gif"}
    assert Image.open(folder / "edited.png").tobytes() == result.image.tobytes()
    assert DragTask.read(folder / "task").image.tobytes() == result.task.image.tobytes()
    facts = json.loads((folder / "settings.json").read_text())
    assert facts["method"] == "gooddrag"
    assert facts["settings"]["drags"] == 4
    assert facts["stopped"] is False


def test_an_animation_runs_from_the_source_to_the_result(result, tmp_path):
    folder = result.save(tmp_path / "out")
    with Image.open(folder / "animation.gif") as film:
        assert film.n_frames >= 3
        assert min(film.size) >= 256


def test_a_recorder_without_a_picture_has_no_result(tiny, task, quick):
    with pytest.raises(EditFailed):
        Recorder(task, quick, tiny).result()
