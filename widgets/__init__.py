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
from widgets.point_entry import PointEntry

__all__ = [
    "BlindRating",
    "DragCanvas",
    "LoraExplorer",
    "LossLandscape",
    "PointEntry",
    "ScheduleStrip",
    "SimilarityExplorer",
    "TimestepScrubber",
    "TraceViewer",
]
