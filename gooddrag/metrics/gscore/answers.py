"""From a rater's text to scores. The text comes from outside: it is measured, checked and cut, and never obeyed."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gooddrag.metrics.gscore.protocol import Question

Problem = Literal["failed", "refused", "truncated", "too long", "unparsable", "wrong number", "out of range"]
MOST_TEXT = 20_000  # characters; an honest answer has about 100 per edit
MOST_REASON = 300
_FENCED = re.compile(r"\s*```(?:json)?\s*(.*?)\s*```\s*", re.DOTALL)


class Rating(BaseModel):
    """One version's score and why."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Annotated[str, Field(max_length=1)]
    score: Annotated[float, Field(allow_inf_nan=False)]
    reason: str = ""


class _Sheet(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    ratings: Annotated[list[Rating], Field(max_length=100)]


class Outcome(BaseModel):
    """What came of one question: a rating for each letter, or a problem."""

    model_config = ConfigDict(extra="forbid")

    ratings: dict[str, Rating] = {}
    problem: Problem | None = None
    detail: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


def read_answer(text: str, question: Question) -> Outcome:
    """Check an answer against its question.

    All versions must be there, once each, with numbers on the scale. Nothing is mended: a half answer counts as none,
    as the kept half would favour some methods.
    """
    if len(text) > MOST_TEXT:
        return Outcome(problem="too long", detail=f"{len(text)} characters")
    if fenced := _FENCED.fullmatch(text):
        text = fenced[1]
    try:
        ratings = _Sheet.model_validate_json(text).ratings
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        return Outcome(problem="unparsable", detail=tame(f"{where} {first['msg']}: {text}", 200))
    letters = [rating.version for rating in ratings]
    if sorted(letters) != list(question.letters):
        return Outcome(problem="wrong number", detail=tame(f"rated {','.join(letters)} of {question.letters}", 200))
    beyond = [rating.score for rating in ratings if not question.low <= rating.score <= question.high]
    if beyond:
        return Outcome(problem="out of range", detail=f"{beyond[0]:g} is not in {question.low}-{question.high}")
    tamed = {r.version: Rating(version=r.version, score=r.score, reason=tame(r.reason)) for r in ratings}
    return Outcome(ratings=tamed)


def tame(text: str, most: int = MOST_REASON) -> str:
    """Foreign text as one short line: no control or direction characters, and no formula for a spreadsheet."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    line = line if len(line) <= most else line[: most - 1] + "…"
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line
