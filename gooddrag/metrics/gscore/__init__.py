"""GScore: models and people say from 0 to 10 how good edits look (paper, section 4; see `protocol`).

>>> from PIL import Image
>>> from gooddrag.metrics.gscore import Protocol, Sample, StandIn, rate, table
>>> grey, dark = (Image.new("RGB", (64, 64), colour) for colour in ("grey", "black"))
>>> sample = Sample("one", grey, {"kept": grey, "spoilt": dark})
>>> found = table(rate([sample], StandIn(), Protocol(repeats=3)))
>>> found.groupby("method")["score"].mean().idxmax()
'kept'
"""

from gooddrag.metrics.gscore.connect import connect
from gooddrag.metrics.gscore.protocol import Protocol, Question, Sample, questions
from gooddrag.metrics.gscore.raters import Rater, Reply
from gooddrag.metrics.gscore.run import Answer, rate, table
from gooddrag.metrics.gscore.stand_in import StandIn

__all__ = [
    "Answer",
    "Protocol",
    "Question",
    "Rater",
    "Reply",
    "Sample",
    "StandIn",
    "connect",
    "questions",
    "rate",
    "table",
]
