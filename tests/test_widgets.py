"""The point-entry widget: its fields are the task, its buttons do what they say, and Stop stops."""

import asyncio
import io

import pytest
from PIL import Image

from widgets import PointEntry


@pytest.fixture
def entry(tiny, task, quick):
    return PointEntry(tiny, task, quick)


def fields(entry, row=0):
    return [f for f in entry.rows.children[row].children if hasattr(f, "value") and isinstance(f.value, float)]


def test_the_fields_are_the_task(entry, task):
    assert entry.task.handles.tolist() == task.handles.tolist()
    fields(entry)[2].value = 50.0
    assert entry.task.targets[0].tolist() == [50.0, 30.0]


def test_the_picture_follows_the_fields(entry):
    before = entry.before.value
    fields(entry)[0].value = 12.0
    assert entry.before.value != before
    assert Image.open(io.BytesIO(entry.before.value)).size == (640, 640)


def test_a_point_outside_is_said_and_breaks_nothing(entry):
    fields(entry)[0].value = 500.0
    assert "outside" in entry.note.value
    asyncio.run(entry.run())
    assert "outside" in entry.note.value
    assert entry.result is None


def test_points_are_added_and_undone(entry):
    entry.add()
    assert len(entry.task.handles) == 3
    entry.undo()
    entry.undo()
    entry.undo()
    assert len(entry.task.handles) == 1
    entry.reset()
    assert len(entry.task.handles) == 2


def test_drag_runs_to_the_end_and_shows_the_result(entry):
    asyncio.run(entry.run())
    assert entry.result is not None
    assert not entry.result.stopped
    assert entry.note.value.startswith("Done")


def test_stop_ends_the_drags_and_keeps_a_picture(entry):
    async def drag_and_stop():
        running = asyncio.ensure_future(entry.run())
        while "drag 2" not in entry.note.value:
            await asyncio.sleep(0)
        entry.stop()
        await running

    asyncio.run(drag_and_stop())
    assert entry.result.stopped
    assert entry.result.trace.drags["drag"].max() < 4
    assert entry.note.value.startswith("Stopped")
