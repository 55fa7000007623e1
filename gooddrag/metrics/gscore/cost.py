"""What a rating will cost, before it starts: an estimate by the providers' published rules of thumb."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gooddrag.metrics.gscore.protocol import Protocol, Sample, questions
from gooddrag.metrics.gscore.raters import MOST_TOKENS, Rater
from gooddrag.metrics.gscore.run import is_known

CHARACTERS_PER_TOKEN = 4  # of English text, by Google's and OpenAI's rule of thumb
ANSWER_TOKENS = (20, 50)  # about so many, and about so many for each edit


@dataclass(frozen=True)
class Forecast:
    """Requests to send, those whose answers are known, and tokens. Thoughts of models that think come on top."""

    requests: int
    known: int
    input_tokens: int
    output_tokens: int

    @property
    def most_output_tokens(self) -> int:
        """If every answer, with its thoughts, were as long as it may be."""
        return self.requests * MOST_TOKENS

    def price(self, per_million_in: float, per_million_out: float) -> tuple[float, float]:
        """About how much, and how much with answers as long as they may be; in the currency of the prices."""
        start = self.input_tokens * per_million_in
        about, most = (start + tokens * per_million_out for tokens in (self.output_tokens, self.most_output_tokens))
        return about / 1e6, most / 1e6


def forecast(samples: Iterable[Sample], rater: Rater, protocol: Protocol, folder: Path | None = None) -> Forecast:
    """Count what is not known yet. Failed requests that are sent again are not foreseen."""
    requests = known = tokens_in = tokens_out = 0
    for sample in samples:
        for question in questions(sample, protocol):
            if is_known(question, rater, folder):
                known += 1
                continue
            requests += 1
            if not any(rater.picture_tokens(*size) for size in question.sizes):
                continue  # it costs nothing
            captions = sum(len(caption) for caption, _ in question.captioned)
            tokens_in += (len(question.prompt) + captions) // CHARACTERS_PER_TOKEN
            tokens_in += sum(rater.picture_tokens(*size) for size in question.sizes)
            tokens_out += ANSWER_TOKENS[0] + ANSWER_TOKENS[1] * len(question.methods)
    return Forecast(requests, known, tokens_in, tokens_out)
