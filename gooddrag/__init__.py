"""GoodDrag (ICLR 2025), to learn, see and try: drag a point of a picture, and the picture follows.

The public names load on first use, so that `import gooddrag` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "BadInput": "errors",
    "EditFailed": "errors",
    "DragTask": "task",
    "read_image": "images",
    "Backbone": "backbone",
    "load_backbone": "backbone",
    "Timeline": "diffusion",
    "SourcePath": "diffusion",
    "ddim_step": "diffusion",
    "aldd": "schedule",
    "drag_then_denoise": "schedule",
    "GoodDrag": "methods",
    "DragDiffusion": "methods",
    "Method": "methods",
    "method_for": "methods",
    "iter_edit": "editor",
    "Editing": "editor",
    "edit": "editor",
    "iter_together": "together",
    "edit_together": "together",
    "Trace": "trace",
    "Result": "result",
}


__all__ = [
    "Backbone",
    "BadInput",
    "DragDiffusion",
    "DragTask",
    "EditFailed",
    "Editing",
    "GoodDrag",
    "Method",
    "Result",
    "SourcePath",
    "Timeline",
    "Trace",
    "aldd",
    "ddim_step",
    "drag_then_denoise",
    "edit",
    "edit_together",
    "iter_edit",
    "iter_together",
    "load_backbone",
    "method_for",
    "read_image",
]

if TYPE_CHECKING:
    from gooddrag.backbone import Backbone, load_backbone
    from gooddrag.diffusion import SourcePath, Timeline, ddim_step
    from gooddrag.editor import Editing, edit, iter_edit
    from gooddrag.errors import BadInput, EditFailed
    from gooddrag.images import read_image
    from gooddrag.methods import DragDiffusion, GoodDrag, Method, method_for
    from gooddrag.result import Result
    from gooddrag.schedule import aldd, drag_then_denoise
    from gooddrag.task import DragTask
    from gooddrag.together import edit_together, iter_together
    from gooddrag.trace import Trace


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gooddrag' has no attribute {name!r}")
    return getattr(import_module(f"gooddrag.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
