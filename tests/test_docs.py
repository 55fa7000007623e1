"""The documents: the glossary is in order, and what the documents link to is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
GLOSSARY = (DOCS / "glossary.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^- \*\*(.+?)\*\* – (.+?)(?=\n- |\Z)", GLOSSARY, re.MULTILINE | re.DOTALL)


def test_the_glossary_is_in_alphabetical_order_and_names_each_term_once():
    terms = [term.lower() for term, _ in ENTRIES]
    assert len(terms) == GLOSSARY.count("\n- ") > 30
    assert terms == sorted(set(terms))


def test_each_term_of_the_glossary_names_the_lesson_that_explains_it():
    for term, meaning in ENTRIES:
        assert re.search(r"\[(\d\d)\]\(\.\./notebooks/\1_\w+\.ipynb\)$", meaning.strip()), term


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_what_a_document_links_to_is_there(page):
    links = set(re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")))
    assert [link for link in sorted(links) if "://" not in link and not (DOCS / link).exists()] == []


def test_the_readmes_edit_runs_as_it_stands(tiny, monkeypatch, capsys):
    """On a tiny engine, from the repository's root, where a reader is."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    source = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "iter_edit" in block)
    monkeypatch.chdir(DOCS.parent)
    monkeypatch.setattr("gooddrag.load_backbone", lambda name: tiny)
    exec(source, {})
    assert capsys.readouterr().out.endswith("Finished\n")


def test_the_site_is_made_without_a_warning(tmp_path):
    """`make site`: a link that leads nowhere is one."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", "-c", "docs", ".", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "docs" / "pocket-report.html").is_file()
