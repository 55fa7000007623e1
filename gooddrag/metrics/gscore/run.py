"""Asks every question, keeps every answer in a file of its own, and lays all of them out as a table."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from gooddrag.errors import EditFailed
from gooddrag.files import write_whole
from gooddrag.metrics.gscore.answers import Outcome, read_answer, tame
from gooddrag.metrics.gscore.protocol import Protocol, Question, Sample, questions
from gooddrag.metrics.gscore.raters import Declined, Rater, TooLong, TryAgain

COLUMNS = ("task", "method", "shown_as", "position", "repeat", "score", "reason", "problem", "detail", "rater")
FAILURES_IN_A_ROW = 5  # then something is wrong that more requests won't mend
MOST_STORED = 200_000  # bytes of a kept answer


@dataclass(frozen=True)
class Answer:
    """What came of a question; `kept`: it was known from before, and nothing was sent."""

    question: Question
    outcome: Outcome
    rater: str
    kept: bool


def rate(
    samples: Iterable[Sample],
    rater: Rater,
    protocol: Protocol | None = None,
    folder: Path | None = None,
    parallel: int = 1,
) -> Generator[Answer, None, None]:
    """Ask for every sample and repeat, and yield the answers in that order.

    A model's answer is kept whatever it is: asking until one fits would choose among answers. What failed on the way
    is not kept, so the next run asks again.

    Parameters
    ----------
    folder
        Where answers are kept, one file each; None: nowhere.
    parallel
        So many requests at a time, at most one sample's repeats.

    Raises
    ------
    BadInput
        When the server refuses key or model, or a picture can't be read.
    EditFailed
        When requests fail again and again; or when the rater was told to wait for long.
    """
    protocol = protocol or Protocol()
    answer = partial(_answer, rater=rater, folder=folder)
    failures = 0
    with ThreadPoolExecutor(parallel) as pool:
        each = map if parallel == 1 else pool.map  # Ctrl-C reaches what runs in the main thread
        rater.resume()
        try:
            for sample in samples:
                for found in each(answer, questions(sample, protocol)):
                    failures = failures + 1 if found.outcome.problem == "failed" else 0
                    yield found
                    if failures == FAILURES_IN_A_ROW:
                        raise EditFailed(
                            f"{failures} requests in a row failed, the last one because {found.outcome.detail}: mend "
                            "that, then run this again; the answers so far are kept."
                        )
        finally:
            rater.stop()


def is_known(question: Question, rater: Rater, folder: Path | None) -> bool:
    """Is the answer there already?"""
    return _stored(_place(question, rater, folder), question) is not None


def table(answers: Iterable[Answer]) -> pd.DataFrame:
    """One row per edit and repeat; where there is no score, `problem` says why."""
    rows = []
    for answer in answers:
        question, outcome = answer.question, answer.outcome
        for position, (letter, method) in enumerate(zip(question.letters, question.methods, strict=True), start=1):
            rating = outcome.ratings.get(letter)
            score, reason = (rating.score, rating.reason) if rating else (float("nan"), "")
            problem = outcome.problem or ""
            place = (question.task, method, letter, position, question.repeat)
            rows.append((*place, score, reason, problem, outcome.detail, answer.rater))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"score": float})


def _answer(question: Question, rater: Rater, folder: Path | None) -> Answer:
    place = _place(question, rater, folder)
    kept = _stored(place, question)
    if kept is not None:
        return Answer(question, kept, rater.name, kept=True)
    outcome = _ask(question, rater)
    if place is not None and outcome.problem != "failed":
        write_whole(place, lambda part: part.write_text(outcome.model_dump_json(indent=1), encoding="utf-8"))
    return Answer(question, outcome, rater.name, kept=False)


def _ask(question: Question, rater: Rater) -> Outcome:
    try:
        reply = rater.ask(question)
    except (TryAgain, Declined) as error:
        return Outcome(problem="failed", detail=tame(str(error)))
    except TooLong as error:
        return Outcome(problem="too long", detail=str(error))
    if reply.problem:
        outcome = Outcome(problem=reply.problem, detail=tame(rater.redact(reply.detail)))
    else:
        outcome = read_answer(rater.redact(reply.text), question)
    return outcome.model_copy(update={"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens})


def _place(question: Question, rater: Rater, folder: Path | None) -> Path | None:
    return folder / f"{question.key(rater.identity)}.json" if folder else None


def _stored(place: Path | None, question: Question) -> Outcome | None:
    """A kept answer; one that is damaged or doesn't fit counts as absent."""
    try:
        if place is None or place.stat().st_size > MOST_STORED:
            return None
        outcome = Outcome.model_validate_json(place.read_bytes())
    except (OSError, ValidationError):
        return None
    scores = [rating.score for rating in outcome.ratings.values()]
    fits = not outcome.ratings or sorted(outcome.ratings) == list(question.letters)
    whole = bool(outcome.ratings) != bool(outcome.problem)
    return outcome if fits and whole and all(question.low <= s <= question.high for s in scores) else None
