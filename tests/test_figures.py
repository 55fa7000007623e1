"""Figures show the data they are given, and say so to those who can't see them."""

import numpy as np
import pytest

import figures
from gooddrag.editor import edit


@pytest.fixture
def result(tiny, task, quick):
    return edit(tiny, task, quick, use_cache=False)


def test_the_distance_curve_is_the_mean_over_the_points(result):
    figure = figures.drift_curve(result.trace)
    (line,) = figure.axes[0].lines
    table = result.trace.table
    assert np.allclose(line.get_ydata(), table[table["phase"] != "denoise"].groupby("drag")["distance"].mean())


def test_two_traces_are_told_by_more_than_colour(result):
    figure = figures.drift_curve({"one": result.trace, "two": result.trace})
    one, two = figure.axes[0].lines
    assert one.get_linestyle() != two.get_linestyle()
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["one", "two"]


def test_the_perturbation_curve_has_a_dot_for_each_drag(result):
    figure = figures.perturbation_curve(result.trace)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "."]
    assert len(dots[0].get_xdata()) == 4


def test_trajectories_end_where_the_trace_does(result):
    figure = figures.trajectories(result.image, result.trace)
    ends = {tuple(np.round(line.get_xydata()[-1], 3)) for line in figure.axes[0].lines}
    assert tuple(np.round(result.trace.path(0)[["x", "y"]].iloc[-1], 3)) in ends


def test_pictures_stand_side_by_side_under_their_titles(task):
    figure = figures.before_after({"before": task.image, "after": task.image})
    assert [axes.get_title() for axes in figure.axes] == ["before", "after"]


def test_every_figure_has_an_alt_text(result, task):
    made = [
        figures.drift_curve(result.trace),
        figures.perturbation_curve(result.trace),
        figures.trajectories(result.image, result.trace),
        figures.before_after({"a": task.image}),
    ]
    assert all(len(figure.alt_text) > 20 for figure in made)


def test_a_figure_shows_itself_in_a_notebook_with_its_alt_text(task):
    data, more = figures.before_after({"a": task.image})._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["text/plain"] == more["image/png"]["alt"]
