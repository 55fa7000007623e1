"""Each explorer opens in a real JupyterLab, and one gesture at its picture changes what it shows."""

import pytest

SETUP = """
import numpy as np
from PIL import Image
from gooddrag import DragTask, GoodDrag, edit
from gooddrag.diffusion import Timeline
from tests.conftest import make_tiny_backbone
from widgets import *

tiny = make_tiny_backbone()
picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
task = DragTask(picture, [(24, 30), (40, 28)], [(34, 30), (40, 40)])
quick = GoodDrag(steps=10, strength=0.8, drags=4, per_denoise=2, supervision_steps=2, r1=2, r2=4, lora=None)
shades = [Image.new("RGB", (32, 32), (80 * k, 80, 80)) for k in range(4)]
"""
MADE = {
    "SimilarityExplorer": "SimilarityExplorer(tiny, task.image, 101)",
    "TimestepScrubber": "TimestepScrubber(tiny, task.image, Timeline(10))",
    "LossLandscape": "LossLandscape(tiny, task, quick)",
    "ScheduleStrip": "ScheduleStrip(8, 10, 2)",
    "TraceViewer": "TraceViewer(edit(tiny, task, quick, use_cache=False, frames=4))",
    "LoraExplorer": "LoraExplorer(tiny, task.image, ranks=(1, 2), steps=(3,), timeline=Timeline(4))",
    "BlindRating": "BlindRating({t: dict(zip(('original', *'abc'), shades)) for t in ('one', 'two')})",
}


@pytest.fixture
def opened(notebook):
    """`opened("ScheduleStrip")` shows an explorer that is `e` in the kernel; the notebook comes back."""

    def show(name):
        lab = notebook(SETUP, f"e = {MADE[name]}\ne")
        lab.widget(".gd-pointed img[src^=blob]")
        return lab

    return show


def on_screen(lab, area, x, y):
    """Where the page shows the values (x, y) of an area, in CSS px."""
    left, top, width, height, (x0, x1), (y0, y1) = lab.value(f"list(e.picture.areas[{area}])")
    img = lab.widget(".gd-pointed img")
    img.scroll_into_view_if_needed()
    box, scale = img.bounding_box(), img.evaluate("img => img.clientWidth / img.naturalWidth")
    right, down = (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)
    return box["x"] + scale * (left + right * width), box["y"] + scale * (top + down * height)


def picture_changes(lab, act):
    """Do something and wait until the page shows another picture."""
    before = lab.widget(".gd-pointed img").get_attribute("src")
    act()
    lab.page.wait_for_function("old => document.querySelector('.gd-pointed img').src !== old", arg=before)


def test_the_pixel_under_the_mouse_is_compared(opened):
    lab = opened("SimilarityExplorer")

    picture_changes(lab, lambda: lab.page.mouse.move(*on_screen(lab, 1, 50, 11)))

    lab.wait_until("(e.x.value, e.y.value) == (50, 11)")
    lab.widget("text=How alike each place is to the point (50, 11)")


def test_a_fast_mouse_ends_where_it_stops(opened):
    lab = opened("SimilarityExplorer")
    start, end = on_screen(lab, 0, 2, 2), on_screen(lab, 0, 60, 40)

    lab.page.mouse.move(*start)
    lab.page.mouse.move(*end, steps=50)

    lab.wait_until("(e.x.value, e.y.value) == (60, 40)")
    assert lab.value("e.picture._answered") < 40, "places on the way are passed over while it draws"


def test_arrow_keys_move_the_pixel_and_not_the_notebook_s_cells(opened):
    lab = opened("SimilarityExplorer")
    lab.widget(".gd-pointed").focus()

    picture_changes(lab, lambda: lab.page.keyboard.press("ArrowRight"))
    picture_changes(lab, lambda: lab.page.keyboard.press("Shift+ArrowUp"))

    lab.wait_until("(e.x.value, e.y.value) == (33, 22)")
    assert lab.page.evaluate("document.activeElement.className").startswith("gd-pointed")


def test_a_schedule_is_painted_with_the_mouse(opened):
    lab = opened("ScheduleStrip")
    lab.page.mouse.move(*on_screen(lab, 0, 6, 3))
    lab.page.mouse.down()
    lab.wait_until("e.counts[6] == 3")
    lab.page.mouse.move(*on_screen(lab, 0, 8, 1))
    lab.page.mouse.up()

    lab.wait_until("e.counts == (2, 2, 2, 2, 0, 0, 3, 2, 1, 0)")
    lab.page.mouse.move(*on_screen(lab, 0, 2, 4))
    assert lab.value("e.counts[2]") == 2, "without a button nothing is painted"


def test_a_quick_stroke_leaves_no_timestep_out(opened):
    lab = opened("ScheduleStrip")
    lab.page.mouse.move(*on_screen(lab, 0, 1, 4))
    lab.page.mouse.down()
    lab.page.mouse.move(*on_screen(lab, 0, 8, 4))
    lab.page.mouse.up()

    lab.wait_until("e.chosen.value == 8")
    assert lab.value("e.counts")[1:9] == [4] * 8


def test_a_press_on_a_curve_goes_to_its_drag(opened):
    lab = opened("TraceViewer")

    picture_changes(lab, lambda: lab.page.mouse.click(*on_screen(lab, 0, 2, 5)))

    lab.widget("text=After drag 2 of")
    assert lab.value("e.drag.value") == 2


def test_a_press_on_a_handle_shows_its_landscape(opened):
    lab = opened("LossLandscape")

    picture_changes(lab, lambda: lab.page.mouse.click(*on_screen(lab, 0, 40, 28)))

    lab.widget("text=loss of handle 2 is least")


def test_a_press_on_a_rung_goes_to_its_timestep(opened):
    lab = opened("TimestepScrubber")

    picture_changes(lab, lambda: lab.page.mouse.click(*on_screen(lab, 6, 30, 30)))

    assert lab.value("e.timestep.value == e.rungs[6]")


def test_an_adapter_is_trained_at_the_press_of_a_button(opened):
    lab = opened("LoraExplorer")

    picture_changes(lab, lambda: lab.widget("button:has-text('Train')").click())

    assert lab.value("list(e.trained)") == [[1, 3]]


def test_a_page_is_rated_and_the_next_one_comes(opened):
    lab = opened("BlindRating")
    slider = lab.page.get_by_role("slider").first
    slider.focus()
    slider.press("ArrowRight")

    lab.widget("button:has-text('Next')").click()

    lab.widget("text=Task 2 of 2 is not rated yet; 1 rated in all.")
    assert lab.value("list(e.ratings['score'])") == [6, 5, 5]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_the_page(opened, theme):
    lab = opened("ScheduleStrip")
    lab.theme(theme)

    style = "e => getComputedStyle(e)"
    ink = lab.page.get_by_text("cost up to").last.evaluate(f"{style}.color")
    paper = lab.widget(".jp-Notebook").evaluate(f"{style}.backgroundColor")
    assert abs(_lightness(ink) - _lightness(paper)) > 0.5


def test_a_picture_lies_on_a_light_card_with_a_margin_in_the_dark_too(opened):
    lab = opened("ScheduleStrip")
    card, img = lab.widget(".gd-pointed"), lab.widget(".gd-pointed img")
    for theme in ("light", "dark"):
        lab.theme(theme)
        assert _lightness(card.evaluate("e => getComputedStyle(e).backgroundColor")) > 0.95

    outer, inner = card.bounding_box(), img.bounding_box()
    assert inner["x"] >= outer["x"] + 8
    assert inner["x"] + inner["width"] <= outer["x"] + outer["width"] - 8
    assert inner["y"] + inner["height"] <= outer["y"] + outer["height"] - 8


def _lightness(css):
    red, green, blue = (float(part) for part in css[css.index("(") + 1 : -1].split(",")[:3])
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255
