"""The rig itself: a widget in a real JupyterLab is clicked, and the kernel answers."""

import pytest

from tests.browser import find_browser

TINY_ENTRY = """
from gooddrag import DragTask, GoodDrag
from tests.conftest import make_tiny_backbone
from widgets import PointEntry
import numpy as np

picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
quick = GoodDrag(steps=10, strength=0.8, drags=4, per_denoise=2, supervision_steps=2, r1=2, r2=4, lora=None)
entry = PointEntry(make_tiny_backbone(), DragTask(picture, [(24, 30)], [(34, 30)]), quick)
entry
"""


def test_a_click_on_drag_in_jupyterlab_runs_to_the_end(notebook):
    lab = notebook(TINY_ENTRY)
    lab.widget("button:has-text('Drag')").click()

    lab.widget(".widget-label:has-text('Done')")

    assert lab.value("entry.result.trace.drags['drag'].max()") in range(1, 5)


def test_an_error_in_a_cell_is_told(notebook):
    with pytest.raises(AssertionError, match="ZeroDivisionError: division by zero"):
        notebook("1 / 0")


def test_the_kernel_answers_in_plain_values(notebook):
    lab = notebook("import numpy as np; a = np.arange(3)")

    assert lab.value("{'list': a, 'number': a[1], 'truth': a.sum() == 3}") == {
        "list": [0, 1, 2],
        "number": 1,
        "truth": True,
    }
    with pytest.raises(AssertionError, match="NameError"):
        lab.value("nothing_of_this_name")


def test_theme_and_window_follow_a_test(notebook):
    lab = notebook("1")

    lab.theme("dark")
    lab.resize(600)

    assert lab.page.evaluate("[document.body.dataset.jpThemeLight, window.innerWidth]") == ["false", 600]


def test_notebook_7_runs_the_same_cells(notebook):
    assert notebook("a = 1 + 1", app="notebook").value("a") == 2


def test_voila_shows_what_a_cell_shows(notebook):
    notebook("print('here ' + 'I am')", app="voila").widget("text=here I am")


def test_no_browser_is_one_sentence(monkeypatch):
    monkeypatch.setenv("GOODDRAG_BROWSER", "/no/such/browser")
    with pytest.raises(find_browser.NoBrowser, match="install one with"):
        find_browser.find_browser()
