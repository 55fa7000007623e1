"""The one place where requests are paced and tried again; the clients' own retries are off."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from gooddrag.errors import EditFailed
from gooddrag.metrics.gscore.protocol import Question
from gooddrag.metrics.gscore.raters import Rater, Reply, TryAgain

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds, of our own choice
LONGEST_WAIT = 300.0  # seconds; who asks for more sends us home


@dataclass(frozen=True)
class Clock:
    """Seconds, and how to let them pass. Without `sleep`, waiting ends early when the rater is stopped."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] | None = None


class Patient(Rater):
    """A rater that waits its turn and tries again, with pauses that double, vary, and are as long as the server asks.

    Parameters
    ----------
    rater
        Whom to ask.
    attempts
        How often a question is tried in all.
    per_minute
        At most so many requests a minute, repeated ones included, evenly spread; None: no limit.
    seed
        Of the pauses' variation.
    """

    def __init__(
        self,
        rater: Rater,
        attempts: int = 6,
        per_minute: float | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
    ):
        self.rater, self.name, self.identity = rater, rater.name, rater.identity
        self.attempts = attempts
        self.gap = 60 / per_minute if per_minute else 0.0
        self.clock = clock or Clock()
        self._chance = random.Random(seed)
        self._next, self._turn, self._stopped = 0.0, threading.Lock(), threading.Event()

    def ask(self, question: Question) -> Reply:
        retrying = Retrying(
            retry=retry_if_exception_type(TryAgain),
            stop=stop_after_attempt(self.attempts),
            wait=self._pause,
            sleep=self._wait,
            reraise=True,
        )
        return retrying(self._ask_once, question)

    def picture_tokens(self, width: int, height: int) -> int:
        return self.rater.picture_tokens(width, height)

    def redact(self, text: str) -> str:
        return self.rater.redact(text)

    def resume(self) -> None:
        self._stopped.clear()

    def stop(self) -> None:
        self._stopped.set()

    def _ask_once(self, question: Question) -> Reply:
        self._wait(self._time_to_turn())
        if self._stopped.is_set():
            raise EditFailed("The rating was stopped.")
        try:
            return self.rater.ask(question)
        except TryAgain as error:
            if error.after > LONGEST_WAIT:
                raise EditFailed(
                    f"The rater asks to wait for {error.after / 60:.0f} minutes ({error}): run this again later, the "
                    "answers so far are kept."
                ) from None
            raise

    def _time_to_turn(self) -> float:
        """Seconds until this request may go; the next one may go `gap` later."""
        with self._turn:
            now = self.clock.now()
            turn = max(now, self._next)
            self._next = turn + self.gap
            return turn - now

    def _pause(self, state: RetryCallState) -> float:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (state.attempt_number - 1)) * self._chance.uniform(0.5, 1)
        error = state.outcome.exception() if state.outcome else None
        return max(pause, error.after + pause / 10 if isinstance(error, TryAgain) and error.after else 0.0)

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            (self.clock.sleep or self._stopped.wait)(seconds)
