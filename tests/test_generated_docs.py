"""What scripts write into the documents is what they would write now."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def script(name):
    return runpy.run_path(str(ROOT / "docs" / name))


def test_the_page_of_formulas_shows_the_code_as_it_is():
    assert (ROOT / "docs/formulas.md").read_text() == script("formulas.py")["page"](), "run: python docs/formulas.py"


def test_the_table_of_coverage_says_what_the_lessons_hold():
    text = (ROOT / "README.md").read_text()
    assert text == script("coverage.py")["renewed"](text), "run: python docs/coverage.py"
    assert "| inversion |" in text


def test_no_concept_lacks_a_part():
    coverage = script("coverage.py")
    lessons = coverage["covered"]()
    holes = [(c, part) for c in coverage["CONCEPTS"] for part in coverage["PARTS"] if not lessons.get((c, part))]
    assert holes == []


def test_no_cell_has_a_tag_for_an_unknown_concept_or_part():
    coverage = script("coverage.py")
    for concept, part in coverage["covered"]():
        assert concept in coverage["CONCEPTS"]
        assert part in coverage["PARTS"]
