"""Things to touch in JupyterLab. They consume the same stream of steps as everything else."""

from widgets.drag_canvas import DragCanvas
from widgets.explorers import (
    BlindRating,
    LoraExplorer,
    LossLandscape,
    ScheduleStrip,
    SimilarityExplorer,
    TimestepScrubber,
    TraceViewer,
)
from widgets.playground import Playground

__all__ = [
    "BlindRating",
    "DragCanvas",
    "LoraExplorer",
    "LossLandscape",
    "Playground",
    "ScheduleStrip",
    "SimilarityExplorer",
    "TimestepScrubber",
    "TraceViewer",
]
