"""Schedules are data; these are their counts and order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gooddrag.errors import BadInput
from gooddrag.schedule import Denoise, Drag, aldd, drag_then_denoise


def test_the_papers_schedule_drags_seventy_times_over_seven_timesteps():
    steps = aldd(drags=70, per_denoise=10, timesteps=38)
    drags = [s for s in steps if isinstance(s, Drag)]
    assert len(drags) == 70
    assert {s.at for s in drags} == set(range(7))
    assert [s.at for s in steps if isinstance(s, Denoise)] == list(range(38))


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 40))
def test_every_schedule_numbers_its_drags_and_denoises_each_timestep_once(drags, per_denoise, timesteps):
    if drags > per_denoise * timesteps:
        with pytest.raises(BadInput):
            aldd(drags, per_denoise, timesteps)
        return
    steps = aldd(drags, per_denoise, timesteps)
    assert [s.number for s in steps if isinstance(s, Drag)] == list(range(1, drags + 1))
    assert [s.at for s in steps if isinstance(s, Denoise)] == list(range(timesteps))
    assert [s.at for s in steps] == sorted(s.at for s in steps)


def test_dragging_first_is_aldd_that_never_pauses():
    assert drag_then_denoise(80, 35) == aldd(80, 80, 35)
    assert {s.at for s in drag_then_denoise(80, 35) if isinstance(s, Drag)} == {0}


@pytest.mark.parametrize("bad", [(-1, 10, 5), (5, 0, 5), (5, 5, 0)])
def test_impossible_numbers_are_refused(bad):
    with pytest.raises(BadInput):
        aldd(*bad)
