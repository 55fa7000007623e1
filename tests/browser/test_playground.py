"""The playground in a real browser: clicks reach the kernel while it works, and nothing piles up."""

import re
import time

import pytest

TINY = """
from gooddrag import DragTask, GoodDrag
from tests.conftest import make_tiny_backbone
from widgets.playground import Playground
import numpy as np

picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
mask = np.zeros((64, 64), bool)
mask[8:56, 8:56] = True
task = DragTask(picture, [(24, 30), (40, 28)], [(34, 30), (40, 40)], mask, "noise")
method = GoodDrag(steps=10, strength=0.8, drags={drags}, per_denoise={drags}, r1=2, r2=4, lora=None, reach=0.01)
method = method.with_settings(latent_lr={rate})
playground = Playground(make_tiny_backbone(), task, method)
playground
"""
POCKET = """
from gooddrag import GoodDrag, load_backbone
from widgets.playground import Playground
from gooddrag.pocket import EXAMPLES

method = GoodDrag.for_pocket(drags=6, per_denoise=1, steps=10, lora=None)
playground = Playground(load_backbone("pocket"), EXAMPLES / "move-3", method)
playground
"""
STATUS = ".gd-playground [role=status]"


def tiny(drags, rate=0.02):
    """The cell of a quick playground; at a rate next to 0 no handle ever arrives, so all drags are done."""
    return TINY.format(drags=drags, rate=rate)


def button(lab, name):
    return lab.page.locator(f".gd-playground button:text-is('{name}')")


def slider_of(lab, label):
    return lab.page.locator(".gd-playground .widget-slider", has_text=label).get_by_role("slider")


def status(lab, text):
    return lab.page.locator(STATUS, has_text=text)


def heap(page):
    """Bytes that JavaScript holds after a garbage collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    return metrics["JSHeapUsedSize"]


@pytest.mark.slow
@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_drag_runs_to_the_end_and_can_be_compared_and_stepped_back(notebook, app):
    lab = notebook(POCKET, app=app)
    button(lab, "Drag").click()
    status(lab, "Done after").wait_for()

    assert lab.value("playground.result.trace.drags['drag'].max()") == 6
    lab.page.locator(".gd-playground .gd-card").wait_for()
    slider_of(lab, "step back").press("Home")
    lab.wait_until("playground.canvas.preview.tobytes() == playground.attempt.task.image.tobytes()")
    slider_of(lab, "compare").press("End")
    lab.wait_until("playground.canvas.compare == 1")
    assert app != "lab" or lab.page.said == []  # Notebook 7 has complaints of its own


@pytest.mark.slow
def test_voila_shows_a_playground_that_drags(notebook):
    voila = notebook(tiny(drags=2), app="voila")
    button(voila, "Drag").click()
    status(voila, "Done after 2 drags").wait_for()


def test_stop_takes_less_than_two_seconds_and_continue_goes_on(notebook):
    lab = notebook(tiny(drags=400, rate=1e-6))
    button(lab, "Drag").click()
    status(lab, re.compile(r"drag ([3-9]|\d{2,}) of")).wait_for()  # the third may be gone before the browser looks

    pressed = time.monotonic()
    button(lab, "Stop").click()
    status(lab, "Stopped after drag").wait_for()
    took = time.monotonic() - pressed

    assert took < 2
    stopped_at = lab.value("playground.attempt.drags")
    button(lab, "Continue").click()
    lab.wait_until(f"playground.attempt.drags > {stopped_at}")  # and other cells are heard meanwhile
    button(lab, "Stop").click()
    status(lab, "Stopped after drag").wait_for()


def test_a_suggested_mask_is_shown_and_undone_in_one_step(notebook):
    lab = notebook(tiny(drags=2))
    button(lab, "Suggest mask").click()
    status(lab, re.compile(r"The mask now covers \d+ % of the picture")).wait_for()
    lab.wait_until("not (playground.canvas.mask == task.mask).all()")

    lab.page.locator(".gd-playground [data-action='undo'][aria-disabled='false']").click()
    lab.wait_until("(playground.canvas.mask == task.mask).all()")


@pytest.mark.slow
def test_memory_stays_flat_over_twenty_edits(notebook):
    lab = notebook(tiny(drags=2))
    lab.run("import gc, psutil; measure = lambda: (gc.collect(), psutil.Process().memory_info().rss)[1]")
    lab.run("playground.canvas.preview, done = None, 0")

    def edit():
        button(lab, "Drag").click()
        status(lab, "dragging").or_(status(lab, "Done")).first.wait_for()
        lab.wait_until("not playground.working and playground.gallery._count > done")
        lab.run("done = playground.gallery._count")

    for _ in range(9):  # until the gallery is full
        edit()
    before = lab.value("measure()"), heap(lab.page)
    for _ in range(20):
        edit()
    after = lab.value("measure()"), heap(lab.page)

    assert lab.value("done") == 29
    kernel, browser = ((b - a) / 2**20 for a, b in zip(before, after, strict=True))
    print(f"grown by {kernel:.1f} MiB in the kernel, {browser:.1f} MiB in the browser")
    assert kernel < 24
    assert browser < 8


def test_dark_theme_and_a_narrow_window_keep_everything_in_sight(notebook):
    lab = notebook(tiny(drags=2))
    stage, form = (lab.page.locator(f".gd-playground {name}") for name in (".gd-stage", ".gd-form"))
    assert form.bounding_box()["x"] > stage.bounding_box()["x"] + stage.bounding_box()["width"]

    lab.theme("dark")
    lab.resize(640)

    lab.page.wait_for_function(
        "() => document.querySelector('.gd-form').getBoundingClientRect().top >"
        " document.querySelector('.gd-stage').getBoundingClientRect().bottom"
    )
    wide = lab.page.evaluate(
        "() => { const p = document.querySelector('.gd-playground').parentElement;"
        " return p.scrollWidth - p.clientWidth; }"
    )
    assert wide <= 0
    colour = "n => getComputedStyle(document.querySelector(n)).color"
    for name in (".gd-form .widget-label", ".gd-keep .widget-label"):
        assert sum(map(int, lab.page.evaluate(colour, name)[4:-1].split(",")[:3])) > 3 * 128, "dark text on dark"
