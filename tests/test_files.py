"""Files that belong together: all of them are written or none, and until then what was there stays as it was."""

import errno
import itertools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gooddrag.errors import EditFailed
from gooddrag.files import written_together
from gooddrag.result import Result
from gooddrag.task import DragTask
from gooddrag.trace import Trace
from tests.test_task import contents

FULL = OSError(errno.ENOSPC, "No space left on device")
OLD = ["animation.gif", "edited.png", "mine.txt", "settings.json", "task/points.json"]
NEW = ["edited.png", "settings.json", "task/mask.png", "task/points.json"]
MOVES = 3 + 1 + len(NEW)  # three old files and the animation aside, then the new ones in


def fill(place, names, text):
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


def write_new(folder, fault=None):
    with written_together(folder, last="settings.json", optional=["animation.gif"]) as place:
        fill(place, NEW, "new")
        if fault is not None:
            raise fault


def files(folder):
    return {name: data.decode() for name, data in contents(folder).items() if data is not None}


def test_the_new_files_replace_the_old_ones_and_strangers_stay(tmp_path):
    fill(tmp_path, OLD, "old")
    write_new(tmp_path)
    assert files(tmp_path) == dict.fromkeys(NEW, "new") | {"mine.txt": "old"}
    assert sorted(os.listdir(tmp_path)) == ["edited.png", "mine.txt", "settings.json", "task"]


def test_the_last_file_is_the_first_to_go_and_the_last_to_come(tmp_path, monkeypatch):
    fill(tmp_path, OLD, "old")
    there, replace = [], os.replace

    def watched(source, target):
        replace(source, target)
        there.append((tmp_path / "settings.json").exists())

    monkeypatch.setattr(os, "replace", watched)
    write_new(tmp_path)
    assert there == [False] * (MOVES - 1) + [True]


@pytest.mark.parametrize(("fault", "seen"), [(FULL, EditFailed), (KeyboardInterrupt(), KeyboardInterrupt)])
def test_a_failure_while_writing_leaves_the_folder_as_it_was(tmp_path, fault, seen):
    fill(tmp_path / "there", OLD, "old")
    before = contents(tmp_path)
    for name in ("there", "not/there"):
        with pytest.raises(seen):
            write_new(tmp_path / name, fault)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("fault", "seen"), [(FULL, EditFailed), (KeyboardInterrupt(), KeyboardInterrupt)])
@pytest.mark.parametrize("moves", range(MOVES))
def test_a_failure_after_some_moves_brings_the_old_files_back(tmp_path, monkeypatch, moves, fault, seen):
    fill(tmp_path, OLD, "old")
    before, replace, number = contents(tmp_path), os.replace, itertools.count()

    def fails_once(source, target):
        if next(number) == moves:
            raise fault
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails_once)
    with pytest.raises(seen):
        write_new(tmp_path)
    assert contents(tmp_path) == before


def result(seed, mask=None, frames=0):
    picture = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20, 3)).astype(np.uint8))
    task = DragTask(picture, [(1, 1)], [(9, 9)], mask)
    return Result(picture, Trace.from_rows([]), task, {"seed": seed}, reached=True, frames=(picture,) * frames)


def test_animation_and_mask_of_an_earlier_result_go(tmp_path):
    result(1, mask=np.ones((20, 20)), frames=2).save(tmp_path)
    assert {"animation.gif", "task/mask.png"} <= files_of(tmp_path)
    result(2).save(tmp_path)
    assert not {"animation.gif", "task/mask.png"} & files_of(tmp_path)


def files_of(folder):
    return {name for name, data in contents(folder).items() if data is not None}


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Image.Image, "save"), (pd.DataFrame, "to_parquet"), (Path, "write_text"), (Path, "write_bytes")],
)
def test_a_disk_that_fills_up_midway_keeps_the_earlier_result(tmp_path, monkeypatch, owner, name):
    result(1, frames=2).save(tmp_path / "out")
    before = contents(tmp_path)

    def full(*_, **__):
        raise FULL

    monkeypatch.setattr(owner, name, full)
    with pytest.raises(EditFailed, match=r"disk is full, so '.*out' was not written"):
        result(2, frames=3).save(tmp_path / "out")
    assert contents(tmp_path) == before
