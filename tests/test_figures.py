"""Figures show the data they are given, and say so to those who can't see them."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

import figures
from gooddrag.editor import edit
from gooddrag.errors import BadInput
from gooddrag.result import animation
from gooddrag.schedule import aldd, drag_then_denoise
from gooddrag.task import DragTask


@pytest.fixture
def result(tiny, task, quick):
    return edit(tiny, task, quick, use_cache=False)


def test_the_distance_curve_is_the_mean_over_the_points(result):
    figure = figures.drift_curve(result.trace)
    (line,) = figure.axes[0].lines
    table = result.trace.table
    assert np.allclose(line.get_ydata(), table[table["phase"] != "denoise"].groupby("drag")["distance"].mean())


def test_two_traces_are_named(result):
    figure = figures.drift_curve({"one": result.trace, "two": result.trace})
    assert [t.get_text() for t in figure.axes[1].get_legend().get_texts()] == ["one", "two"]


def test_the_perturbation_curve_has_a_tick_for_each_drag(result):
    figure = figures.perturbation_curve(result.trace)
    ticks = [line for line in figure.axes[0].lines if line.get_marker() == "|"]
    assert len(ticks[0].get_xdata()) == 4


def test_trajectories_end_where_the_trace_does(result):
    figure = figures.trajectories(result.image, result.trace)
    ends = {tuple(np.round(line.get_xydata()[-1], 3)) for line in figure.axes[0].lines}
    assert tuple(np.round(result.trace.path(0)[["x", "y"]].iloc[-1], 3)) in ends


def test_pictures_stand_side_by_side_under_their_titles(task):
    figure = figures.before_after({"before": task.image, "after": task.image})
    assert [axes.get_title() for axes in figure.axes] == ["before", "after"]


def test_a_strip_is_as_high_as_the_drags_at_its_timestep():
    figure = figures.schedule_strip({"aldd": aldd(7, 3, 5), "first": drag_then_denoise(7, 5)})
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]
    assert heights == [[3, 3, 1, 0, 0], [7, 0, 0, 0, 0]]


def test_the_brightest_spot_of_a_similarity_map_lies_where_the_likeness_is(task):
    heat = np.zeros((8, 8))
    heat[2, 6] = 1
    axes = figures.similarity_maps(task.image, {"block": heat}, (3, 4)).axes[0]
    left, right, bottom, top = axes.images[1].get_extent()
    assert (right - left, bottom - top) == task.image.size
    assert axes.images[1].get_array().argmax() == 2 * 8 + 6
    assert list(axes.lines[0].get_xydata()[0]) == [3, 4]


def test_channels_share_a_scale_that_is_the_same_on_both_sides_of_zero():
    z = np.stack([np.full((4, 4), -3.0), np.ones((4, 4))])
    images = [axes.images[0] for axes in figures.latent_channels(z).axes[:2]]
    assert {image.get_clim() for image in images} == {(-3.0, 3.0)}


def test_gradient_arrows_start_at_the_handles_and_point_at_the_targets(task):
    gradient = np.zeros((4, 8, 8))
    gradient[:, 5, 1] = 2
    figure = figures.gradient_arrows(task.image, gradient, task.handles, task.targets - task.handles)
    arrows = figure.axes[0].collections[0]
    assert np.allclose(arrows.get_offsets(), task.handles)
    assert np.allclose(np.stack([arrows.U, arrows.V], 1), task.targets - task.handles)
    assert "(1, 5)" in figure.alt_text


@pytest.mark.parametrize(("smaller", "top"), [(True, "a"), (False, "b")])
def test_the_best_stands_on_top_of_a_ranking(smaller, top):
    axes = figures.ranking({"a": (1, 0, 2), "b": (3, 2, 4)}, "error", smaller_is_better=smaller).axes[0]
    assert axes.get_yticklabels()[-1].get_text() == top
    assert list(axes.lines[0].get_xdata()) in ([0, 2], [2, 4])


def test_an_effect_is_drawn_bold_only_where_its_interval_leaves_out_0():
    panels = {"B": {"worse": np.arange(1, 9) / 8, "who knows": np.linspace(-1, 1, 8)}, "J": {"same": np.zeros(8)}}
    axes, other = figures.effects(panels, "error").axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["worse", "who knows"]
    bars = [
        line for line in (*axes.lines, *other.lines) if len(set(line.get_ydata())) == 1 and len(line.get_ydata()) == 2
    ]
    assert [bar.get_linewidth() > 3 for bar in bars] == [True, False, False]
    low, high = bars[0].get_xdata()
    assert 0 < low < np.arange(1, 9).mean() / 8 < high


def test_small_multiples_share_their_axes():
    panels = {f"task {k}": {"one": np.arange(5) * k, "two": np.ones(5)} for k in range(5)}
    figure = figures.small_multiples(panels, "drag", "drift", columns=3)
    assert len({axes.get_ylim() for axes in figure.axes[:5]}) == 1
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["one", "two"]


def test_small_multiples_count_in_whole_numbers():
    figure = figures.small_multiples({f"task {k}": {"one": np.arange(9)} for k in range(4)}, "drag", "drift")
    figure.draw_without_rendering()
    assert all(tick == round(tick) for axes in figure.axes for tick in axes.get_xticks())


def test_a_sheet_has_a_row_for_each_task(task):
    figure = figures.sheet({"a": [task.image] * 3, "b": [task.image] * 3})
    assert [axes.get_title() for axes in figure.axes[:3]] == ["source", "edit", "truth"]
    assert [axes.texts[0].get_text() for axes in figure.axes[::3]] == ["a", "b"]


def test_a_sheet_with_a_picture_too_few_says_so(task):
    with pytest.raises(BadInput, match="'a' has 2 pictures: give one each for source, edit, truth"):
        figures.sheet({"a": [task.image] * 2})


def test_perturbation_is_drawn_for_both_sides_of_the_mask(result):
    figure = figures.perturbation_by_timestep(result.trace)
    rows = result.trace.table.query("point == 0 and phase != 'drag'")
    for axes, column in zip(figure.axes, ("perturbation_inside", "perturbation_outside"), strict=True):
        assert list(axes.lines[0].get_xdata()) == list(range(9))
        assert np.allclose(axes.lines[0].get_ydata(), rows[column])


def test_a_bar_reaches_from_the_timestep_s_entry_to_its_last_drag(result):
    bars = figures.perturbation_by_timestep(result.trace).axes[0].collections[0].get_segments()
    inside = result.trace.table.query("point == 0")["perturbation_inside"].to_numpy()
    ends = [(inside[0], inside[2]), (inside[3], inside[5])]  # start, 2 drags, denoise, 2 drags
    assert np.allclose([bar[:, 1] for bar in bars], ends)


def test_a_mask_that_allows_everything_has_no_outside(tiny, task, quick):
    trace = edit(tiny, DragTask(task.image, task.handles, task.targets), quick, use_cache=False).trace
    assert "everything may change" in [
        text.get_text() for text in figures.perturbation_by_timestep(trace).axes[1].texts
    ]
    assert "outside" not in figures.perturbation_curve(trace).alt_text


def test_a_figure_shows_itself_in_a_notebook_with_its_alt_text(task):
    data, more = figures.before_after({"a": task.image})._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["text/plain"] == more["image/png"]["alt"]


def test_a_film_shows_all_its_pictures_with_words(task):
    frames = [task.image, task.image.rotate(90), task.image]
    data = figures.Film(animation(frames), "a turn and back")._repr_mimebundle_()
    assert Image.open(io.BytesIO(base64.b64decode(data["image/gif"]))).n_frames == 3
    assert data["text/plain"] == "a turn and back"
