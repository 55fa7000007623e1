"""Writes the README's table of what the lessons cover, from their cells' tags. `python docs/coverage.py` renews it.

A cell tagged `concept:inversion` and `part:formula` counts for that field of the table. A test compares the table in
the README with the tags, and finds the holes.
"""

import json
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
MARKS = ("<!-- coverage: written by docs/coverage.py -->\n", "<!-- end of coverage -->\n")
PARTS = ("explanation", "formula", "picture", "touch", "exercise", "check", "solution")
CONCEPTS = {
    "diffusion-step": "diffusion step",
    "inversion": "inversion",
    "identity-lora": "identity LoRA",
    "features": "features",
    "tracking": "tracking",
    "standard-supervision": "standard supervision",
    "ipms": "IPMS",
    "aldd": "AlDD",
    "mask-term": "mask term",
    "mutual-attention": "mutual attention",
    "dai": "DAI",
    "gscore": "GScore",
    "nr-iqa": "NR-IQA",
    "rivals": "rivals",
    "failure-modes": "failure modes",
}


def covered() -> dict[tuple[str, str], set[str]]:
    """(concept, part) → numbers of the lessons that have it."""
    lessons = defaultdict(set)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            tags = [tag.lower().partition(":") for tag in cell["metadata"].get("tags", [])]
            for concept in (name for kind, _, name in tags if kind == "concept"):
                for part in (name for kind, _, name in tags if kind == "part"):
                    lessons[concept, part].add(path.stem[:2])
    return lessons


def table() -> str:
    """The table as Markdown: a row for each concept, a column for each part, lesson numbers in the fields."""
    lessons = covered()
    rows = [["", *PARTS], ["---"] * (len(PARTS) + 1)]
    rows += [
        [name, *(", ".join(sorted(lessons[concept, part])) or "–" for part in PARTS)]
        for concept, name in CONCEPTS.items()
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def renewed(text: str) -> str:
    """The README with the table as the tags have it now."""
    begin, end = map(re.escape, MARKS)
    return re.sub(f"({begin}).*?({end})", lambda found: found[1] + table() + found[2], text, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
