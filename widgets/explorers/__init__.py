"""Things to explore with sliders and by pointing at their pictures, all of which works by keyboard too.

Each computes in one method and draws in another.
"""

from widgets.explorers.base import Explorer, Shown
from widgets.explorers.blind_rating import BlindRating
from widgets.explorers.experiment import ExperimentForm
from widgets.explorers.landscape import LossLandscape
from widgets.explorers.lora import LoraExplorer
from widgets.explorers.scrubber import TimestepScrubber
from widgets.explorers.similarity import SimilarityExplorer
from widgets.explorers.strip import ScheduleStrip
from widgets.explorers.trace_viewer import TraceViewer

__all__ = [
    "BlindRating",
    "ExperimentForm",
    "Explorer",
    "LoraExplorer",
    "LossLandscape",
    "ScheduleStrip",
    "Shown",
    "SimilarityExplorer",
    "TimestepScrubber",
    "TraceViewer",
]
