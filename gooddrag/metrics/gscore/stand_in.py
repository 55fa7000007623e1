"""A rater for lessons and tests without a model: it compares pixels, and judges nothing."""

from __future__ import annotations

import hashlib
import io
import json
import random

import numpy as np
from PIL import Image

from gooddrag.metrics.gscore.protocol import Question
from gooddrag.metrics.gscore.raters import Rater, Reply


class StandIn(Rater):
    """Scores fall with the root mean square difference to the original, so it likes edits that changed little.

    Parameters
    ----------
    noise
        Standard deviation of what is added to each score; hangs on picture and repeat alone, so runs are repeatable.
    bias
        Added to the first version's score and taken off the last one's: a fault to find with the check for it.
    """

    def __init__(self, noise: float = 0.5, bias: float = 0.0):
        self.noise, self.bias = noise, bias
        self.name = "stand-in"
        self.identity = f"stand-in {noise} {bias}"

    def ask(self, question: Question) -> Reply:
        original, *edits = map(_pixels, question.pictures)
        lean = np.linspace(self.bias, -self.bias, len(edits)) if len(edits) > 1 else [0.0]
        ratings = []
        for letter, png, edit, extra in zip(question.letters, question.pictures[1:], edits, lean, strict=True):
            chance = random.Random(f"{hashlib.blake2b(png).hexdigest()} {question.repeat}")
            worth = 1 - min(1.0, _difference(original, edit) / 64)
            score = question.low + worth * (question.high - question.low) + chance.gauss(0, self.noise) + extra
            score = round(min(max(score, question.low), question.high), 1)
            ratings.append({"version": letter, "score": score, "reason": "Arithmetic on pixels, not a judgement."})
        return Reply(json.dumps({"ratings": ratings}))


def _pixels(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def _difference(original: Image.Image, edit: Image.Image) -> float:
    a, b = (np.asarray(p, float) for p in (original, edit.resize(original.size)))
    return float(np.sqrt(((a - b) ** 2).mean()))
