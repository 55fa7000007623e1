"""The stored notebooks as a reader meets them: run, described, without traces of the machine, with links that work."""

import json
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
MACHINE = re.compile(r"(?<![\w.])/(home|root|work|tmp|Users|usr|opt)/|site-packages|\bC:\\\\|object at 0x")

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@cache
def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code(path):
    return [cell for cell in cells(path) if cell["cell_type"] == "code"]


def outputs(path):
    return [output for cell in code(path) for output in cell["outputs"]]


def prose(path):
    return "\n\n".join("".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown")


def test_every_cell_was_run_in_order_and_none_failed_or_warned(path):
    assert [cell["execution_count"] for cell in code(path)] == list(range(1, len(code(path)) + 1))
    assert {output["output_type"] for output in outputs(path)} <= {"stream", "display_data", "execute_result"}
    assert {output.get("name", "stdout") for output in outputs(path)} <= {"stdout"}


def test_every_picture_has_words(path):
    for data in (output.get("data", {}) for output in outputs(path)):
        if any(kind.startswith("image/") for kind in data):
            words = "".join(data["text/plain"])
            assert len(words.split()) >= 4, words
            assert not words.startswith("<"), words


def test_a_widget_left_a_picture(path):
    for data in (output.get("data", {}) for output in outputs(path)):
        if "application/vnd.jupyter.widget-view+json" in data:
            assert any(kind.startswith("image/") for kind in data), data["text/plain"]


def test_no_output_tells_of_the_machine(path):
    for output in outputs(path):
        text = "".join(output.get("text", "")) + "".join(output.get("data", {}).get("text/plain", ""))
        assert not MACHINE.search(text), text


def test_one_title_and_no_level_of_headings_is_skipped(path):
    levels = [len(mark) for mark in re.findall(r"^(#+) ", re.sub(r"```.*?```", "", prose(path), flags=re.S), re.M)]
    assert levels[0] == 1
    assert 1 not in levels[1:]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(<?([^)\s>]+)", prose(path))
    local = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in local if not (path.parent / target).exists()] == []
