"""Every figure looks as it did, can be read in greyscale and from afar, and says in words what it shows.

After a change that is meant: `pytest tests/test_figure_images.py --mpl-generate-path=tests/baseline`, then look.
"""

import re

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.text import Text

import figures
from tests.figure_samples import SAMPLES

LINES = ("drift_curve", "perturbation_by_timestep", "perturbation_curve", "small_multiples")


@pytest.fixture(params=SAMPLES)
def figure(request):
    return SAMPLES[request.param]()


def test_every_figure_has_a_sample():
    assert set(SAMPLES) == set(figures.__all__) - {"Film"}  # which draws nothing itself


# Text is left out, since letters differ from one FreeType to the next and would shift everything else.
@pytest.mark.mpl_image_compare(style="default", remove_text=True, tolerance=2, savefig_kwargs={"dpi": 40})
@pytest.mark.parametrize("name", SAMPLES)
def test_figure_looks_as_it_did(name):
    figure = SAMPLES[name]()
    for text in figure.findobj(Text):
        text.set_text("")
    return figure


def test_the_alt_text_says_what_is_seen(figure):
    assert len(figure.alt_text) > 60
    assert len(re.findall(r"\d+", figure.alt_text)) >= 4, "numbers, not only the kind of plot"
    assert figure.alt_text.endswith(".")
    assert "nan" not in figure.alt_text


def test_letters_are_large_enough_for_a_projector(figure):
    figure.draw_without_rendering()
    small = {text.get_text(): text.get_fontsize() for text in figure.findobj(Text) if text.get_fontsize() < 11}
    assert small == {}


@pytest.mark.parametrize("name", LINES)
def test_no_line_is_told_by_its_colour_alone(name):
    for axes in SAMPLES[name]().axes:
        looks = {}
        for line in axes.lines:
            hollow = line.get_markerfacecolor() == "white"
            look = line.get_linestyle(), line.get_marker(), line.get_linewidth(), hollow
            looks.setdefault(look, set()).add(line.get_color())
        assert all(len(colours) == 1 for colours in looks.values()), looks


def test_values_in_a_heat_map_keep_their_order_in_greyscale(figure):
    for image in figure.findobj(mpl.image.AxesImage):
        if image.get_array().ndim == 3:
            continue  # a picture in colour, not a map of values
        red, green, blue, _ = image.get_cmap()(np.linspace(0, 1, 64)).T
        assert (np.diff(0.299 * red + 0.587 * green + 0.114 * blue) > 0).all(), image.get_cmap().name


def test_handles_are_told_by_their_numbers():
    axes = SAMPLES["trajectories"]().axes[0]
    assert [text.get_text() for text in axes.texts] == ["1", "2"]
