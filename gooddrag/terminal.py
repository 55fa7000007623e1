"""How the command line speaks: what is asked for on standard output, all else on the error output, in plain sentences.

No tensors here, so that mistakes show at once.
"""

from __future__ import annotations

import codecs
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

console = Console(stderr=True, highlight=False, emoji=False)
output = Console(highlight=False, emoji=False)
IN_ASCII = {"…": "...", "→": "->", "×": "x", "≤": "<=", "≥": ">=", "–": "-", "α": "alpha", "β": "beta", "λ": "lambda"}


def complain(sentence: str) -> None:
    """Say what went wrong."""
    console.print(Text.assemble(("gooddrag:", "bold red"), " ", printable(sentence)), soft_wrap=True)


def note(sentence: str) -> None:
    """Say what is good to know."""
    console.print(Text.assemble(("Note:", "yellow"), " ", printable(sentence)), soft_wrap=True)


def printable(text: str) -> str:
    """Text for a terminal: what is no character (line ends, escape sequences, broken file names) is spelled out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def xy(p: Any) -> str:
    """A point in image pixels, as text."""
    return f"({p[0]:.1f}, {p[1]:.1f})"


def spell_for_narrow_encodings() -> None:
    """Where a terminal or a file knows ASCII only, write -> for → instead of failing."""
    codecs.register_error("gooddrag", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # notebooks and tests put streams of their own there
            stream.reconfigure(errors="gooddrag")  # type: ignore[union-attr]


def _spelled(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(IN_ASCII.get(c, "?") for c in error.object[error.start : error.end]), error.end
