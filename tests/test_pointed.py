"""Pointing at a picture: places arrive in the units of what is pointed at, one at a time."""

import numpy as np
import pytest

from figures.style import new_figure
from gooddrag.diffusion import Timeline
from gooddrag.editor import edit
from widgets import LossLandscape, ScheduleStrip, SimilarityExplorer, TimestepScrubber, TraceViewer
from widgets.explorers.base import rendered
from widgets.pointed import Area, Place, PointedPicture


def point(explorer, area, x, y, *way):
    """What the browser does; `way`: where the pressed pointer was since it last did."""
    explorer.picture._asked = [explorer.picture._answered + 1, area, x, y, *map(list, way)]


def value_at(area, pixel):
    """What the browser makes of a pixel."""
    right, down = (pixel[0] - area.left) / area.width, (pixel[1] - area.top) / area.height
    return area.x[0] + right * (area.x[1] - area.x[0]), area.y[0] + down * (area.y[1] - area.y[0])


def test_an_area_tells_which_pixel_of_the_drawn_picture_shows_what():
    figure = new_figure(4, 3)
    _, axes = figure.subplots(1, 2)
    values = np.zeros((5, 7))
    values[3, 5] = 1
    axes.imshow(values, cmap="gray")
    axes.set_axis_off()
    picture = np.asarray(rendered(figure).convert("L"))
    area = Area.of(axes)
    inside = picture[int(area.top) + 2 : int(area.top + area.height) - 2, int(area.left) + 2 :]
    rows, columns = np.nonzero(inside[:, : int(area.width) - 4] > 128)
    centre = columns.mean() + int(area.left) + 2.5, rows.mean() + int(area.top) + 2.5
    assert value_at(area, centre) == pytest.approx((5, 3), abs=0.05)


def test_an_area_moves_with_its_picture():
    area = Area(10, 20, 30, 40, (0, 1), (1, 0)).moved(5, 6, scale=2)
    assert area == Area(25, 46, 60, 80, (0, 1), (1, 0))


def test_each_question_is_answered_even_where_the_answer_fails():
    def heard(place):
        raise ZeroDivisionError

    picture = PointedPicture(heard, areas=[Area(0, 0, 9, 9, (0, 9), (0, 9))])
    with pytest.raises(ZeroDivisionError):
        picture._asked = [1, 0, 2.0, 3.0]
    assert picture._answered == 1


def test_a_place_on_an_area_that_is_gone_is_passed_over():
    heard = []
    picture = PointedPicture(heard.append, areas=[Area(0, 0, 9, 9, (0, 9), (0, 9))])
    picture._asked = [1, 3, 2.0, 3.0]
    assert (heard, picture._answered) == ([], 1)
    picture._asked = [2, 0, 2.0, 3.0]
    assert heard == [Place(0, 2.0, 3.0)]


def test_the_pixel_under_the_pointer_is_the_one_compared(tiny, task, monkeypatch):
    explorer = SimilarityExplorer(tiny, task.image, 101)
    drawn = []
    monkeypatch.setattr(explorer, "draw", lambda draw=explorer.draw: drawn.append(1) or draw())
    point(explorer, 1, 11.6, -0.4)
    assert (explorer.x.value, explorer.y.value) == (12, 0)
    assert "(12, 0)" in explorer.text
    assert drawn == [1], "both coordinates move before it draws"
    assert explorer.picture.place == Place(0, 12, 0)


def test_every_map_can_be_pointed_at_and_no_colour_bar(tiny, task):
    explorer = SimilarityExplorer(tiny, task.image, 101)
    explorer.blocks.value = tuple(explorer.features)[:5]
    areas = explorer.picture.areas
    assert len(areas) == 5
    assert all((area.x, area.y) == ((-0.5, 63.5), (-0.5, 63.5)) for area in areas)


def test_a_schedule_is_painted():
    strip = ScheduleStrip(8, 10, 2)
    point(strip, 0, 5.2, 2.6)
    point(strip, 0, 6.9, 1.4)
    point(strip, 0, 0.1, -0.3)
    assert strip.counts == (0, 2, 2, 2, 0, 3, 0, 1, 0, 0)
    assert strip.picture.place == Place(0, 0, 0)


def test_a_quick_stroke_paints_the_timesteps_it_passes_in_between():
    strip = ScheduleStrip(0, 10, 2)
    point(strip, 0, 1, 4)
    point(strip, 0, 6, 2, (1, 4), (3, 2))
    assert strip.counts == (0, 4, 3, 2, 2, 2, 2, 0, 0, 0)
    point(strip, 0, 3.6, 6.2, (6, 2))  # and back
    assert strip.counts == (0, 4, 3, 2, 6, 4, 2, 0, 0, 0)
    assert strip.picture.place[:3] == (0, 4, 6)


def test_a_new_stroke_leaves_what_lies_between_it_and_the_last_one():
    strip = ScheduleStrip(0, 10, 2)
    point(strip, 0, 1, 4)
    point(strip, 0, 6, 2)
    point(strip, 0, 9, 1, (8, 3))  # its start was passed over while the last picture was drawn
    assert strip.counts == (0, 4, 0, 0, 0, 0, 2, 0, 3, 1)


def test_painting_stays_inside_the_strip():
    strip = ScheduleStrip(8, 10, 2)
    point(strip, 0, 12, -3)
    assert (strip.chosen.value, strip.counts[9]) == (9, 0)
    point(strip, 0, -3, 5, (1, 1))
    assert strip.counts == (5, 1, 2, 2, 0, 0, 0, 0, 0, 0)


def test_pointing_near_a_handle_chooses_it(tiny, task, quick):
    landscape = LossLandscape(tiny, task, quick)
    point(landscape, 0, 41, 26)
    assert landscape.handle.label == "2"
    assert "handle 2" in landscape.text


def test_a_rung_of_the_ladder_leads_to_its_timestep(tiny, task):
    scrubber = TimestepScrubber(tiny, task.image, Timeline(10))
    assert len(scrubber.picture.areas) == len(scrubber.rungs)
    point(scrubber, 6, 1, 1)
    assert scrubber.timestep.value == scrubber.rungs[6]


def test_the_ladder_gets_noisier(tiny, task):
    scrubber = TimestepScrubber(tiny, task.image, Timeline(10))
    clean, noisy = (np.asarray(scrubber.ladder(inverted=False)[k], float) for k in (0, -1))
    source = np.asarray(task.image, float)
    assert np.abs(noisy - source).mean() > np.abs(clean - source).mean()


def test_curves_lead_to_their_drags_and_the_picture_to_its_handles(tiny, task, quick):
    viewer = TraceViewer(edit(tiny, task, quick, use_cache=False, frames=4))
    point(viewer, 0, 1.2, 3)
    assert viewer.drag.value == 1
    point(viewer, 2, 4.1, 0)  # step 4 is the third drag: start, 2 drags, a denoise step, then this one
    assert viewer.drag.value == 3
    point(viewer, 3, *viewer.at(3)[["x", "y"]].iloc[1])
    assert viewer.handle.label == "2"


def test_patches_are_cut_around_the_handle_at_both_times(tiny, task, quick):
    viewer = TraceViewer(edit(tiny, task, quick, use_cache=False, frames=4))
    patches = viewer.patches(2, 1)
    assert list(patches) == ["handle 2 at the start", "after drag 2"]
    (x0, y0), (x, y) = ((round(v) for v in viewer.at(k)[["x", "y"]].iloc[1]) for k in (0, 2))
    start, now = patches.values()
    assert start.getpixel((6, 6)) == task.image.getpixel((x0, y0))
    assert now.getpixel((6, 6)) == viewer.frame(2).getpixel((x, y))


def test_a_drag_without_its_own_picture_shows_no_patch_of_another(tiny, task, quick):
    viewer = TraceViewer(edit(tiny, task, quick, use_cache=False))
    assert len(viewer.patches(2, 0)) == 1
    assert len(viewer.patches(viewer.last, 0)) == 2
