"""What a rater is, whatever it runs on, and how its requests can end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from gooddrag.metrics.gscore.answers import Problem
from gooddrag.metrics.gscore.protocol import Question

MOST_TOKENS = 8192  # of one answer; models that think first spend their thoughts out of it


@dataclass(frozen=True)
class Reply:
    """A rater's text, or the problem that it ended with, as its provider reports it."""

    text: str = field(repr=False)
    problem: Problem | None = None
    detail: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


class TryAgain(Exception):
    """The request failed in a way that passes. `after`: so many seconds the server asks to wait."""

    def __init__(self, reason: str, after: float = 0.0):
        super().__init__(reason)
        self.after = after


class Declined(Exception):
    """The server won't take this request, however often it is sent; another one may be fine."""


class TooLong(Exception):
    """The answer is larger than any honest one."""


class Rater(ABC):
    """Answers questions."""

    name: str  # in tables
    identity: str  # all of its own that answers depend on: they are kept under it

    @abstractmethod
    def ask(self, question: Question) -> Reply:
        """May raise `TryAgain`, `Declined` and `TooLong`; a `BadInput` or `EditFailed` ends the whole run."""

    def picture_tokens(self, width: int, height: int) -> int:
        """About so many tokens does a picture of this size (px) cost, by the provider's published rule."""
        return 0

    def redact(self, text: str) -> str:
        """Text without what must stay secret."""
        return text

    def resume(self) -> None:
        """A run begins."""
        return None

    def stop(self) -> None:
        """A run ends, maybe early: whoever waits in another thread should give up."""
        return None
