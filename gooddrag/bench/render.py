"""A benchmark's report as one HTML page that needs nothing else, and as Markdown."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from PIL import Image

from gooddrag.bench.report import Results, Section, sections
from gooddrag.bench.store import Store
from gooddrag.files import write_whole

THUMB = 160  # px, longer side
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 14px; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left; }
.scroll { overflow-x: auto; }
figure { display: inline-block; margin: .3rem; vertical-align: top; text-align: center; font-size: 12px; }
figure img { display: block; }
"""


def write_report(store: Store, folder: Path, more: Iterable[Section] = ()) -> Path:
    """Write report.html and report.md, with `more` sections at their end; returns the page's path."""
    results = Results(store.plan(), store.table())
    parts = [*sections(results), *more]
    write_whole(folder / "report.md", lambda part: part.write_text(markdown(parts), encoding="utf-8"))
    write_whole(folder / "report.html", lambda part: part.write_text(page(parts, results, store), encoding="utf-8"))
    return folder / "report.html"


def markdown(parts: list[Section], level: int = 1) -> str:
    """Sections as Markdown. The first one's title has this level, the others are parts of it or, from 2, beside it."""
    blocks = []
    for k, part in enumerate(parts):
        blocks.append(f"{'#' * (level if k == 0 else 2)} {part.title}")
        blocks.append(part.text.replace("\n", "  \n"))
        if part.table is not None and len(part.table):
            blocks.append(_markdown_table(part.table))
    return "\n\n".join(blocks) + "\n"


def _markdown_table(table: pd.DataFrame) -> str:
    cells = [list(table.columns), ["---"] * len(table.columns), *table.fillna("–").astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells)


def page(parts: list[Section], results: Results, store: Store) -> str:
    """Sections and every task's pictures as a page; whatever comes from files is escaped."""
    body = []
    for k, part in enumerate(parts):
        level = 1 if k == 0 else 2
        body.append(f"<h{level}>{html.escape(part.title)}</h{level}>")
        body += [f"<p>{html.escape(line.replace('**', ''))}</p>" for line in part.text.splitlines()]
        if part.table is not None and len(part.table):
            body.append(f'<div class="scroll">{part.table.to_html(index=False, na_rep="–", border=0)}</div>')
    body.append("<h2>Every task</h2>")
    samples = [] if results.rows.empty else results.rows.groupby("sample", sort=False)
    body += [_contact_sheet(str(name), rows, results, store) for name, rows in samples]
    title = html.escape(f"Benchmark {results.plan['dataset']}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        + "\n".join(body)
        + "</html>\n"
    )


def _contact_sheet(name: str, rows: pd.DataFrame, results: Results, store: Store) -> str:
    """A task with its points, what every method made of it, and the truth where it is known."""
    task, shown = str(rows["task"].iloc[0]), rows[rows["seed"] == rows["seed"].min()]
    figures = [_figure("task", f"tasks/{task}.png", store)]
    for method in results.methods:
        for row in shown[shown["method"] == method].itertuples():
            failed = f"{method}: {row.reason}"
            figures.append(_figure(method, f"pictures/{row.key}.png", store) if row.ok else _note(failed))
    if store.has(f"tasks/{task}-truth.png"):
        figures.append(_figure("truth", f"tasks/{task}-truth.png", store))
    return f"<h3>{html.escape(name)}</h3><div>{''.join(figures)}</div>"


def _figure(caption: str, path: str, store: Store) -> str:
    if not store.has(path):
        return _note(f"{caption}: its picture is missing")
    with Image.open(io.BytesIO(store.read(path))) as picture:
        scale = THUMB / max(picture.size)
        small = picture.convert("RGB").resize(
            [max(1, round(s * scale)) for s in picture.size], Image.Resampling.LANCZOS
        )
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=85)
    data = base64.b64encode(stream.getvalue()).decode()
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="{html.escape(caption, quote=True)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _note(text: str) -> str:
    return f'<figure style="width: {THUMB}px">{html.escape(text)}</figure>'
