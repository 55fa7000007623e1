"""The rig itself: cells run, the kernel answers, and what goes wrong is told."""

import pytest

from tests.browser import find_browser


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
