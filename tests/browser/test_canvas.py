"""The drag canvas under real hands: mouse, fingers and keys in Chromium, and a kernel that must agree."""

import io
import random

import numpy as np
import pytest
from PIL import Image

from gooddrag.task import DragTask
from tests.browser.canvas_page import HANDS, CanvasPage, Oracle, random_actions, shown
from widgets import DragCanvas

SIZE = (64, 48)
FRAME = "document.querySelector('.gd-stage').dataset.frame"
BRUSH = 2.71  # no pixel lies exactly so far from a stroke
CELL = f"""
import numpy as np
from widgets import DragCanvas

picture = np.random.default_rng(0).integers(0, 256, ({SIZE[1]}, {SIZE[0]}, 3)).astype(np.uint8)
canvas = DragCanvas(picture, brush={BRUSH})
canvas
"""


def noise(width=SIZE[0], height=SIZE[1]):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8))


@pytest.fixture
def bench(page):
    """A canvas on a page without Jupyter, 64×48 px and empty."""
    return CanvasPage(page, DragCanvas(noise(), brush=BRUSH))


def spot(page, x, y):
    """Where an image pixel is in the window."""
    at = page.evaluate("(p) => hands(document.querySelector('.gd-canvas')).seen(p)", [x, y])
    return at["clientX"], at["clientY"]


def pull(page, p, g):
    """Press at one image pixel, move in steps, let go at another."""
    page.mouse.move(*spot(page, *p))
    page.mouse.down()
    page.mouse.move(*spot(page, *g), steps=5)
    page.mouse.up()


def click(page, name):
    page.locator(f".gd-toolbar [data-action='{name}']").click()


def points_near(points, wanted, within=0.51):
    return len(points) == len(wanted) and np.allclose(points, wanted, atol=within)


def test_two_arrows_are_drawn_one_is_moved_and_all_is_undone_and_redone(notebook):
    lab = notebook(CELL)
    page = lab.page
    page.evaluate(HANDS)
    lab.widget(".gd-stage[data-frame]")

    pull(page, (10, 10), (30, 12))
    page.mouse.click(*spot(page, 12, 40))
    page.mouse.click(*spot(page, 40, 35))
    lab.wait_until("len(canvas.points) == 4")
    assert points_near(lab.value("canvas.points"), [[10, 10], [30, 12], [12, 40], [40, 35]])

    pull(page, (40, 35), (50, 20))
    lab.wait_until("canvas.points[3][1] < 25")
    assert points_near(lab.value("canvas.points"), [[10, 10], [30, 12], [12, 40], [50, 20]])

    for _ in range(3):
        page.keyboard.press("Control+z")
    lab.wait_until("canvas.points == []")
    for _ in range(3):
        page.keyboard.press("Control+y")
    lab.wait_until("len(canvas.points) == 4 and canvas.points[3][1] < 25")
    assert points_near(lab.value("canvas.points"), [[10, 10], [30, 12], [12, 40], [50, 20]])
    assert page.locator("[data-point]").count() == 4
    assert "handle 2 at 12" in page.locator("[data-point='2']").get_attribute("aria-label")


def test_python_and_the_browser_agree_over_a_real_kernel_after_fifty_random_sequences(notebook):
    lab = notebook(CELL)
    lab.page.evaluate(HANDS)
    lab.widget(".gd-stage[data-frame]")
    dice, oracle = random.Random(1), Oracle(SIZE, BRUSH)
    mask = "None if canvas.mask is None else np.packbits(canvas.mask).tolist()"
    state = f"[canvas.points, canvas.via, {mask}, canvas.feather]"

    for number in range(50):
        actions = random_actions(dice, oracle, 6)
        lab.page.evaluate("(a) => hands(document.querySelector('.gd-canvas')).act(a)", actions)
        points, free = shown(lab.page, SIZE)
        mask = None if oracle.mask is None else np.packbits(oracle.mask).tolist()
        wanted = [oracle.points, oracle.via, mask, oracle.feather]

        lab.wait_until(f"{state} == {wanted!r}", seconds=20)
        assert np.allclose(np.reshape(points, (-1, 2)), np.reshape(oracle.points, (-1, 2))), (number, actions)
        if not oracle.feather:
            assert np.array_equal(free, oracle._mask_or(True)), (number, actions)


@pytest.mark.slow
@pytest.mark.parametrize("tenth", range(10))
def test_python_and_the_browser_agree_after_any_sequence_of_actions(page, tenth):
    for seed in range(50 * tenth, 50 * tenth + 50):
        canvas, oracle = DragCanvas(noise(), brush=BRUSH), Oracle(SIZE, BRUSH)
        bench = CanvasPage(page, canvas)
        actions = random_actions(random.Random(seed), oracle, 12)

        bench.act(*actions)
        points, free = bench.shown()

        assert canvas.points == oracle.points, (seed, actions)
        assert canvas.via == oracle.via, (seed, actions)
        assert canvas.feather == oracle.feather, (seed, actions)
        assert canvas.selected == page.evaluate("model.get('selected')"), (seed, actions)
        assert (canvas.mask is None) == (oracle.mask is None), (seed, actions)
        assert np.array_equal(_mask(canvas), oracle._mask_or(True)), (seed, actions)
        assert np.allclose(np.reshape(points, (-1, 2)), np.reshape(canvas.points, (-1, 2))), (seed, actions)
        if not canvas.feather:
            assert np.array_equal(free, _mask(canvas)), (seed, actions)


def test_zoomed_drawing_hits_the_pixel_that_one_sees(page):
    picture = np.full((480, 640, 3), 90, np.uint8)
    marks = [(137, 201), (144, 207)]
    for x, y in marks:
        picture[y, x] = (255, 0, 0)
    bench = CanvasPage(page, DragCanvas(picture))
    for ratio in (1, 2.5, 12):  # times as large as fitted
        click(page, "fit")
        bench.canvas.points = []
        bench.talk()
        page.locator(".gd-stage").focus()
        page.mouse.move(*spot(page, 140, 204))
        while (scale := _scale(page)) < 1.1 * ratio:
            page.mouse.wheel(0, -60)
            page.wait_for_function(f"Number({FRAME}.split(' ')[0]) > {scale}")
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        seen = sorted(_red_spots(page), key=lambda at: at[0])

        page.mouse.move(*seen[0])
        page.mouse.down()
        page.mouse.move(*seen[-1], steps=3)
        page.mouse.up()
        bench.talk()

        assert points_near(bench.canvas.points, marks, within=0.5), (ratio, bench.canvas.points)


def test_a_click_beside_the_picture_sets_nothing(bench):
    page, canvas = bench.page, bench.canvas
    click(page, "zoom-out")
    page.mouse.click(*spot(page, -4, 20))
    pull(page, (70, 20), (30, 20))
    page.mouse.click(*spot(page, 10, 10))
    page.mouse.click(*spot(page, 20, 52))
    bench.talk()
    assert canvas.points == []
    assert page.locator(".gd-status").inner_text().startswith("Outside the picture nothing is set.")

    page.mouse.click(*spot(page, 30, 12))  # the first click inside still waits for its target
    pull(page, (40, 20), (70, 20))  # what is pulled beyond the edge goes to the edge
    bench.talk()
    assert points_near(canvas.points, [[10, 10], [30, 12], [40, 20], [63, 20]])


def trace(page, way, steps=3):
    """Press at the first image pixel, move through the others, let go at the last."""
    page.mouse.move(*spot(page, *way[0]))
    page.mouse.down()
    for p in way[1:]:
        page.mouse.move(*spot(page, *p), steps=steps)
    page.mouse.up()


def arc(p, g, height, points=40):
    """Half an ellipse from p over to g, image px."""
    turns = np.linspace(0, np.pi, points)
    across = np.subtract(g, p)
    up = np.array([across[1], -across[0]]) / np.hypot(*across) * height
    return [np.add(p, g) / 2 - across / 2 * np.cos(t) + up * np.sin(t) for t in turns]


def circle(x, y, radius):
    return [(x + radius * np.cos(t), y + radius * np.sin(t)) for t in np.linspace(0, 6, 30)]


def test_paths_and_regions_reach_a_real_kernel_and_are_undone(notebook):
    lab = notebook(CELL)
    page = lab.page
    page.evaluate(HANDS)
    lab.widget(".gd-stage[data-frame]")

    click(page, "path")
    trace(page, arc((10, 30), (34, 30), 16), steps=1)
    lab.wait_until("len(canvas.via) == 1")
    click(page, "region")
    trace(page, circle(10, 30, 8), steps=1)
    lab.wait_until("len(canvas.points) > 12 and len(canvas.via) == len(canvas.points) // 2")
    page.wait_for_function("document.querySelector('.gd-status').textContent.startsWith('The region moves')")
    assert page.locator("[data-point]").count() == lab.value("len(canvas.points)")

    page.keyboard.press("Control+z")
    lab.wait_until("len(canvas.points) == 2 and len(canvas.via) == 1")
    trace(page, circle(50, 10, 5), steps=1)
    page.wait_for_function("document.querySelector('.gd-status').textContent.startsWith('No handle lies')")
    page.keyboard.press("Control+z")
    lab.wait_until("canvas.points == [] and canvas.via == []")


def test_a_path_is_thinned_and_goes_where_the_pointer_went(bench):
    page, canvas = bench.page, bench.canvas
    click(page, "path")
    drawn = arc((10, 30), (50, 28), 20)
    trace(page, drawn)
    bench.talk()

    assert points_near(canvas.points, [drawn[0], drawn[-1]])
    way = np.array(canvas.task.ways[0])
    assert 8 < len(canvas.via[0]) <= 60
    assert np.linalg.norm(np.diff(way, axis=0), axis=1).min() >= 1.99
    assert all(np.linalg.norm(np.array(drawn) - p, axis=1).min() < 2 for p in way)
    assert all(np.linalg.norm(way - p, axis=1).min() < 3 for p in np.array(drawn))
    shaft = page.locator(".gd-shafts .gd-line").get_attribute("points").split()
    assert abs(len(shaft) - len(way)) <= 3
    assert "along a path" in page.locator("[data-point='0']").get_attribute("aria-label")


def test_a_long_path_has_sixty_points_at_most_between_its_ends(page):
    bench = CanvasPage(page, DragCanvas(noise(640, 480)))
    click(page, "path")
    trace(page, [(20 + 15 * k, 240 + 150 * np.sin(k / 2)) for k in range(40)], steps=6)
    bench.talk()

    assert 40 <= len(bench.canvas.via[0]) <= 60


def test_a_path_drawn_from_a_handle_takes_the_place_of_its_arrow(bench):
    page, canvas = bench.page, bench.canvas
    pull(page, (10, 10), (30, 10))
    pull(page, (10, 40), (30, 40))
    click(page, "path")
    page.mouse.click(*spot(page, 10, 10))
    page.mouse.click(*spot(page, 50, 20))
    bench.talk()
    assert len(canvas.points) == 4  # clicks draw nothing
    assert canvas.selected == 0

    trace(page, [(10, 10), (20, 22), (40, 20)])
    trace(page, [(30, 40), (50, 40)])  # a target is moved, as by the other tool
    bench.talk()
    assert points_near(canvas.points, [[10, 10], [40, 20], [10, 40], [50, 40]])
    assert [len(stops) for stops in canvas.via] == [5, 0]

    click(page, "undo"), click(page, "undo")
    bench.talk()
    assert points_near(canvas.points, [[10, 10], [30, 10], [10, 40], [30, 40]])
    assert canvas.via == []


def test_an_end_that_is_moved_leaves_the_path_and_a_nudged_arrow_takes_it_along(bench):
    page, canvas = bench.page, bench.canvas
    canvas.points, canvas.via = [[10, 10], [30, 10], [10, 40], [30, 40]], [[[14, 20], [26, 20]], []]
    bench.talk()
    pull(page, (30, 10), (40, 12))
    bench.talk()
    assert points_near(canvas.points[:2], [[10, 10], [40, 12]])
    assert canvas.via == [[[14, 20], [26, 20]], []]

    page.locator(".gd-stage").focus()
    page.keyboard.press("ArrowRight")
    bench.talk()
    assert points_near(canvas.points[:2], [[11, 10], [41, 12]])
    assert canvas.via == [[[15, 20], [27, 20]], []]

    page.keyboard.press("Delete")
    bench.talk()
    assert canvas.points == [[10, 40], [30, 40]]
    assert canvas.via == []
    click(page, "undo")
    bench.talk()
    assert canvas.via == [[[15, 20], [27, 20]], []]


def test_escape_gives_up_a_path_and_a_region(bench):
    page, canvas = bench.page, bench.canvas
    canvas.points = [[10, 10], [30, 10]]
    bench.talk()
    for tool in ("path", "region"):
        click(page, tool)
        page.mouse.move(*spot(page, 20, 20))
        page.mouse.down()
        page.mouse.move(*spot(page, 40, 30), steps=5)
        page.locator(".gd-sketch polyline, .gd-sketch polygon").first.wait_for()
        page.keyboard.press("Escape")
        page.mouse.move(*spot(page, 50, 40), steps=3)
        page.mouse.up()
        bench.talk()
        assert page.locator(".gd-sketch polyline, .gd-sketch polygon").count() == 0
        assert page.locator(".gd-status").inner_text() == "Dropped."
    assert canvas.points == [[10, 10], [30, 10]]
    assert canvas.via == []


def test_a_circled_region_is_covered_with_handles_and_undone_in_one_step(bench):
    page, canvas = bench.page, bench.canvas
    click(page, "region")
    trace(page, circle(20, 24, 9))
    bench.talk()
    assert canvas.points == []
    assert page.locator(".gd-status").inner_text().startswith("First draw an arrow inside the region")

    click(page, "drag")
    pull(page, (20, 24), (32, 20))
    click(page, "region")
    page.mouse.click(*spot(page, 20, 24))
    assert page.locator(".gd-status").inner_text().startswith("Draw a closed curve")
    for _ in range(2):  # the second time the same sentence is to be seen again
        trace(page, circle(50, 10, 5))
        bench.talk()
        assert page.locator(".gd-status").inner_text().startswith("No handle lies in the region")
        click(page, "zoom-in"), click(page, "fit"), page.mouse.click(*spot(page, 20, 24))
    trace(page, circle(20, 24, 9))
    bench.talk()
    points = np.array(canvas.points)
    assert len(points) > 16
    assert np.allclose(points[1::2] - points[0::2], points[1] - points[0])
    assert len(bench.shown()[0]) == len(points)
    assert page.locator(".gd-status").inner_text().startswith("The region moves as a whole now")

    click(page, "undo")
    bench.talk()
    assert points_near(canvas.points, [[20, 24], [32, 20]])
    click(page, "redo")
    bench.talk()
    assert np.array_equal(canvas.points, points)


def test_paths_and_regions_are_drawn_with_keys_alone(bench):
    page, canvas = bench.page, bench.canvas
    press = page.keyboard.press

    def corners(*steps):
        for step in steps:
            for key in step:
                press("Shift+Arrow" + {"l": "Left", "r": "Right", "u": "Up", "d": "Down"}[key])
            press("Space")

    page.locator(".gd-stage").focus()
    press("c")
    corners("l", "d", "r", "r")
    press("Backspace")
    press("Enter")
    bench.talk()
    assert np.allclose(np.diff(canvas.task.ways[0], axis=0), [[0, 10], [10, 0]])

    press("Escape"), press("Escape")
    press("r")
    corners("lllu", "dd", "rr", "uu")
    press("Enter")
    bench.talk()
    assert len(canvas.via) == len(canvas.points) // 2 > 4


def test_the_mask_is_painted_erased_inverted_cleared_and_filled(bench):
    page, canvas = bench.page, bench.canvas

    click(page, "brush")
    pull(page, (10, 10), (40, 10))
    bench.talk()
    assert canvas.mask[10, 10:41].all()
    assert not canvas.mask[20:].any()

    click(page, "erase")
    pull(page, (20, 10), (30, 10))
    bench.talk()
    assert canvas.mask[10, 12]
    assert not canvas.mask[10, 20:31].any()

    before = canvas.mask
    click(page, "invert")
    bench.talk()
    assert np.array_equal(canvas.mask, ~before)

    click(page, "clear-mask")
    bench.talk()
    assert canvas.mask is None

    click(page, "polygon")
    for corner in ((5, 5), (50, 5), (50, 40)):
        page.mouse.click(*spot(page, *corner))
    page.mouse.dblclick(*spot(page, 5, 40))
    bench.talk()
    assert canvas.mask[6:39, 7:49].all()
    assert not canvas.mask[:4].any()
    assert not canvas.mask[:, 53:].any()


def test_a_stroke_is_seen_while_it_is_drawn_and_reaches_python_at_its_end(bench):
    page, canvas = bench.page, bench.canvas
    canvas.mask = np.zeros((48, 64), bool)
    bench.talk()
    click(page, "brush")
    page.mouse.move(*spot(page, 10, 10))
    page.mouse.down()
    page.mouse.move(*spot(page, 40, 30), steps=6)
    bench.talk()

    _, free = bench.shown()
    assert free[20, 25]
    assert not canvas.mask.any()

    page.mouse.up()
    bench.talk()
    assert np.array_equal(canvas.mask, free)


def test_a_polygon_is_dropped_by_escape(bench):
    click(bench.page, "polygon")
    for corner in ((5, 5), (50, 5), (50, 40)):
        bench.page.mouse.click(*spot(bench.page, *corner))
    bench.page.keyboard.press("Escape")
    bench.page.keyboard.press("Enter")
    bench.talk()

    assert bench.canvas.mask is None


def test_everything_is_done_with_keys_alone(bench):
    page, canvas = bench.page, bench.canvas
    press = page.keyboard.press

    press("Tab")  # the toolbar
    assert page.evaluate("document.activeElement.dataset.action") == "drag"
    press("Tab"), press("Tab"), press("Tab")  # two sliders, then the picture
    assert page.evaluate("document.activeElement.className") == "gd-stage"
    press("Enter")  # a new arrow in the middle, its handle focused
    press("ArrowLeft"), press("Shift+ArrowUp"), press("Alt+ArrowRight")
    press("Enter")  # on to the target
    press("Shift+ArrowDown")
    bench.talk()
    middle = [round(v) for v in ((SIZE[0] - 1) / 2 + 0.01, (SIZE[1] - 1) / 2 + 0.01)]
    assert canvas.points == [[middle[0] - 0.9, middle[1] - 10], [middle[0] + 8, middle[1] + 10]]

    press("Control+z")
    bench.talk()
    assert canvas.points[1] == [middle[0] + 8, middle[1]]
    press("Control+Shift+z")
    bench.talk()
    assert canvas.points[1] == [middle[0] + 8, middle[1] + 10]

    press("b"), press("Escape"), press("Escape")
    press("ArrowRight"), press("Space")
    bench.talk()
    assert canvas.mask[middle[1], middle[0] + 1]
    assert 0 < canvas.mask.sum() < 40

    press("i")
    press("d")
    page.locator("[data-point='0']").focus()
    press("Delete")
    bench.talk()
    assert canvas.points == []
    assert not canvas.mask[middle[1], middle[0] + 1]


def test_points_are_in_the_tab_order_and_tell_where_they_are(bench):
    bench.canvas.points = [[10, 20], [30.5, 40]]
    bench.canvas.mask = np.tri(48, 64, 20, dtype=bool)
    bench.talk()
    page = bench.page
    page.locator("[data-point='0']").wait_for()
    page.locator(".gd-stage").focus()

    labels = []
    for _ in range(2):
        page.keyboard.press("Tab")
        labels.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))

    assert sorted(labels) == ["handle 1 at 10, 20", "target 1 at 30.5, 40"]
    assert page.evaluate("model.get('selected')") == 0


def test_keys_do_not_leak_to_jupyterlab_but_saving_does(notebook):
    lab = notebook(CELL)
    lab.page.evaluate(HANDS)
    lab.widget(".gd-stage[data-frame]").focus()

    for key in ("d", "d", "b", "x", "Enter"):  # in a notebook: delete the cell, add one, cut it, edit it
        lab.page.keyboard.press(key)
    assert lab.page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets.length") == 1
    lab.wait_until("canvas.mode == 'brush'")

    lab.page.evaluate("window.jupyterapp.shell.currentWidget.context.model.dirty = true")
    lab.page.keyboard.press("Control+s")
    lab.page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")


def test_fingers_draw_and_pinch(browser):
    with browser.new_context(viewport={"width": 500, "height": 700}, has_touch=True) as context:
        page = context.new_page()
        bench = CanvasPage(page, DragCanvas(noise()))
        devtools = context.new_cdp_session(page)

        def touch(kind, *at):
            points = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(at)]
            devtools.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

        touch("Start", spot(page, 10, 10))
        for x in (15, 20, 30):
            touch("Move", spot(page, x, 12))
        touch("End")
        bench.talk()
        assert points_near(bench.canvas.points, [[10, 10], [30, 12]])

        click(page, "path")
        touch("Start", spot(page, 10, 40))
        for p in ((20, 30), (30, 40)):
            touch("Move", spot(page, *p))
        touch("End")
        bench.talk()
        assert points_near(bench.canvas.points[2:], [[10, 40], [30, 40]])
        assert points_near(bench.canvas.via[1], [[20, 30]])

        scale, (x, y) = _scale(page), spot(page, 32, 24)
        touch("Start", (x - 40, y), (x + 40, y))
        touch("Move", (x - 60, y), (x + 60, y))
        touch("Move", (x - 80, y), (x + 80, y))
        touch("End")
        bench.talk()
        assert _scale(page) == pytest.approx(2 * scale, rel=0.02)
        assert len(bench.canvas.points) == 4
        assert np.allclose(spot(page, 32, 24), (x, y), atol=2)


def test_a_locked_canvas_can_be_looked_at_but_not_changed(bench):
    bench.canvas.points = [[10, 20], [30, 40]]
    bench.canvas.locked = True
    bench.talk()
    page = bench.page
    before = page.locator(".gd-stage").get_attribute("data-frame")

    for name in ("brush", "erase", "drag", "path", "region", "polygon", "invert", "clear-points", "undo"):
        page.locator(f"[data-action='{name}']").dispatch_event("click")
    pull(page, (10, 20), (20, 22))
    page.keyboard.press("Delete")
    page.keyboard.press("Control+z")
    click(page, "zoom-in")
    bench.talk()

    assert bench.canvas.points == [[10, 20], [30, 40]]
    assert bench.canvas.mask is None
    assert bench.canvas.mode == "drag"
    assert page.locator(".gd-stage").get_attribute("data-frame") != before


def test_views_of_one_canvas_follow_each_other_and_share_undo(bench):
    page = bench.page
    page.evaluate("void show()")
    first, second = page.locator(".gd-canvas").all()

    pull(page, (10, 10), (30, 12))
    second.locator("[data-point='1']").wait_for()
    second.locator("[data-action='undo']").click()
    bench.talk()

    page.wait_for_function("!document.querySelector('[data-point]')")
    assert bench.canvas.points == []
    assert first.locator("[data-action='redo']").get_attribute("aria-disabled") == "false"


def test_what_python_does_is_shown_and_can_be_undone(bench):
    bench.canvas.points = [[10, 20], [30, 40]]
    bench.canvas.mask = np.tri(48, 64, dtype=bool)
    bench.talk()
    points, free = bench.shown()
    assert np.allclose(points, bench.canvas.points)
    assert np.array_equal(free, bench.canvas.mask)

    bench.act(("button", "undo"), ("button", "undo"))

    assert bench.canvas.points == []
    assert bench.canvas.mask is None


def test_a_dropped_picture_is_shown_and_undo_brings_the_old_one_back(bench):
    page, canvas = bench.page, bench.canvas
    pull(page, (10, 10), (30, 12))
    bench.talk()
    old, points = canvas.image, canvas.points
    data = io.BytesIO()
    noise(30, 20).save(data, "PNG")

    page.locator("input[type=file]").set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": data.getvalue()}
    )
    page.wait_for_function("model.messages.length")
    bench.talk()
    assert canvas.image.size == (30, 20)
    assert page.locator(".gd-status").inner_text().startswith("mine.png: 30×20 px")

    click(page, "undo")
    bench.talk()
    assert canvas.image is old
    assert canvas.points == points

    click(page, "redo")
    bench.talk()
    assert canvas.image.size == (30, 20)


def test_an_empty_canvas_asks_for_a_picture(page):
    bench = CanvasPage(page, DragCanvas())

    assert page.get_by_text("Drop a picture here").is_visible()
    bench.canvas.image = noise()
    bench.talk()
    assert not page.get_by_text("Drop a picture here").is_visible()


def test_the_divider_shows_before_and_after(page):
    bench = CanvasPage(page, DragCanvas(Image.new("RGB", SIZE, "red")))
    bench.canvas.preview, bench.canvas.compare = Image.new("RGB", SIZE, "blue"), 0.25
    bench.talk()
    page.locator(".gd-divider").wait_for()
    assert _colours(page, [(10, 30), (50, 30)]) == ["red", "blue"]

    page.mouse.move(*spot(page, 15.5, 10))
    page.mouse.down()
    page.mouse.move(*spot(page, 55.5, 10), steps=4)
    page.mouse.up()
    bench.talk()

    assert bench.canvas.compare == pytest.approx(56 / 64, abs=0.02)
    assert bench.canvas.points == []
    assert _colours(page, [(10, 30), (50, 30), (62, 30)]) == ["red", "red", "blue"]


def test_a_reloaded_notebook_shows_the_same_state(notebook):
    lab = notebook(CELL)
    lab.run("canvas.points = [[10, 20], [30, 40]]; canvas.mask = np.tri(48, 64, dtype=bool)")
    lab.widget("[data-point='0']")
    lab.save()

    lab.reload()
    lab.page.evaluate(HANDS)
    lab.widget("[data-point='3'], [data-point='1']")
    points, free = shown(lab.page, SIZE)

    assert np.allclose(points, [[10, 20], [30, 40]])
    assert np.array_equal(free, np.tri(48, 64, dtype=bool))


def test_a_stored_notebook_without_a_kernel_shows_a_picture(notebook):
    lab = notebook(CELL)
    lab.widget(".gd-stage[data-frame]")
    lab.save()

    stored = lab.page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets[0].model.outputs.toJSON()")
    assert any("image/png" in output.get("data", {}) for output in stored)


@pytest.mark.parametrize("app", ["notebook", "voila"])
def test_other_hosts_draw_too(notebook, app):
    lab = notebook(CELL, app=app)
    lab.page.evaluate(HANDS)
    lab.widget(".gd-stage[data-frame]")

    pull(lab.page, (10, 10), (30, 12))

    lab.widget("[data-point='1']")
    if app == "notebook":
        lab.wait_until("len(canvas.points) == 2")


def test_the_canvas_takes_on_the_dark_theme(notebook):
    lab = notebook(CELL)
    lab.widget(".gd-stage[data-frame]")
    colours = []
    for theme in ("light", "dark"):
        lab.theme(theme)
        style = "getComputedStyle(document.querySelector('.gd-canvas'))"
        colours.append([_brightness(lab.page.evaluate(f"{style}.{what}")) for what in ("backgroundColor", "color")])

    (light_back, light_text), (dark_back, dark_text) = colours
    assert light_back > 200 > 100 > light_text
    assert dark_back < 60 < 180 < dark_text


def test_a_narrow_window_shows_all_of_the_picture_and_every_button(notebook):
    lab = notebook(CELL)
    lab.widget(".gd-stage[data-frame]")
    wide = lab.page.locator(".gd-stage").bounding_box()["width"]
    lab.resize(420)
    lab.page.wait_for_function("(w) => document.querySelector('.gd-stage').clientWidth < w - 100", arg=wide)
    lab.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    stage = lab.page.locator(".gd-stage")
    scale, left, _ = map(float, stage.get_attribute("data-frame").split())
    width = lab.page.evaluate("document.querySelector('.gd-stage').clientWidth")
    assert scale * SIZE[0] <= width + 1
    assert left >= -1
    root = lab.page.locator(".gd-canvas").bounding_box()
    for b in lab.page.locator(".gd-toolbar button").all():
        box = b.bounding_box()
        assert root["x"] - 1 <= box["x"]
        assert box["x"] + box["width"] <= root["x"] + root["width"] + 1


def test_the_picture_is_crisp_at_any_device_pixel_ratio(browser):
    for ratio in (1, 1.5, 2):
        with browser.new_context(viewport={"width": 700, "height": 700}, device_scale_factor=ratio) as context:
            page = context.new_page()
            CanvasPage(page, DragCanvas(noise()))
            wide = page.evaluate(
                "[document.querySelector('.gd-base').width, document.querySelector('.gd-stage').clientWidth]"
            )
            assert wide[0] == round(wide[1] * ratio)


def test_a_stroke_on_a_photo_of_twelve_megapixels_is_timed(page, capsys):
    bench = CanvasPage(page, DragCanvas(Image.effect_noise((4000, 3000), 40).convert("RGB")))
    page.wait_for_function(
        "document.querySelector('.gd-base').getContext('2d').getImageData(300, 200, 1, 1).data[3] > 0"
    )
    lines = []
    for feather in (0, 20):
        bench.canvas.feather = feather
        bench.talk()
        click(page, "brush")
        page.mouse.move(*spot(page, 800, 1000))
        page.mouse.down()
        for k in range(60):
            page.mouse.move(*spot(page, 800 + 40 * k, 1000 + 500 * np.sin(k / 5)))
        page.mouse.up()
        page.wait_for_function("performance.getEntriesByName('gooddrag-stroke').length > 3")
        times = page.evaluate("performance.getEntriesByName('gooddrag-stroke').map((e) => e.duration)")
        bench.talk()
        lines.append(
            f"4000×3000 px, brush {bench.canvas.brush:g} px, feather {feather} px: stroke to screen median "
            f"{np.median(times):.1f} ms, 95 % under {np.percentile(times, 95):.1f} ms ({len(times)} frames)"
        )

    assert bench.canvas.mask.any()
    with capsys.disabled():
        print("\n" + "\n".join(lines))


def test_the_task_on_the_canvas_is_a_task(bench):
    pull(bench.page, (10, 10), (30, 12))
    bench.talk()

    assert isinstance(bench.canvas.task, DragTask)


def _mask(canvas):
    return np.ones(SIZE[::-1], bool) if canvas.mask is None else canvas.mask


def _scale(page):
    return float(page.locator(".gd-stage").get_attribute("data-frame").split()[0])


def _screen(page):
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


def _red_spots(page):
    """The middles of the two red squares on the screen, in window pixels."""
    red = (_screen(page) - 90) @ [1, -1, -1] > 60
    y, x = np.nonzero(red)
    right = x > (x.min() + x.max()) / 2
    return [(x[side].mean() + 0.5, y[side].mean() + 0.5) for side in (~right, right)]


def _colours(page, at):
    """What is seen at image pixels, by name."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    screen = _screen(page)
    names = {(255, 0, 0): "red", (0, 0, 255): "blue"}
    return [names.get(tuple(screen[int(y), int(x)])) for x, y in (spot(page, *p) for p in at)]


def _brightness(colour):
    return np.mean([float(v) for v in colour[colour.index("(") + 1 : -1].split(",")[:3]])
