"""Things to touch in JupyterLab. They consume the same stream of steps as everything else.

The names load on first use, so that a canvas alone needs no engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "DragCanvas": "drag_canvas",
    "Playground": "playground",
    "BlindRating": "explorers",
    "ExperimentForm": "explorers",
    "LoraExplorer": "explorers",
    "LossLandscape": "explorers",
    "ScheduleStrip": "explorers",
    "SimilarityExplorer": "explorers",
    "TimestepScrubber": "explorers",
    "TraceViewer": "explorers",
}

__all__ = [
    "BlindRating",
    "DragCanvas",
    "ExperimentForm",
    "LoraExplorer",
    "LossLandscape",
    "Playground",
    "ScheduleStrip",
    "SimilarityExplorer",
    "TimestepScrubber",
    "TraceViewer",
]

if TYPE_CHECKING:
    from widgets.drag_canvas import DragCanvas
    from widgets.explorers import (
        BlindRating,
        ExperimentForm,
        LoraExplorer,
        LossLandscape,
        ScheduleStrip,
        SimilarityExplorer,
        TimestepScrubber,
        TraceViewer,
    )
    from widgets.playground import Playground


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'widgets' has no attribute {name!r}")
    return getattr(import_module(f"widgets.{_HOMES[name]}"), name)
