"""What an edit leaves behind: picture, trace, settings, and the folder that holds them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

import gooddrag
from gooddrag.errors import EditFailed
from gooddrag.files import written_together
from gooddrag.steps import Dragged, Finished, Measured, Step
from gooddrag.task import DragTask
from gooddrag.trace import Trace

if TYPE_CHECKING:
    from gooddrag.backbone import Backbone
    from gooddrag.methods import Method


@dataclass(frozen=True, eq=False)
class Result:
    """An edit that has ended. `stopped`: it was ended early, and the picture is what had been reached by then."""

    image: Image.Image
    trace: Trace
    task: DragTask
    settings: dict[str, Any]
    reached: bool
    stopped: bool = False
    frames: tuple[Image.Image, ...] = field(default=(), repr=False)

    @classmethod
    def collect(
        cls, stream: Iterable[Step], task: DragTask, method: Method, backbone: Backbone, frames: int = 0
    ) -> Result:
        """Consume a stream of steps from `iter_edit`; `frames` > 0 keeps about so many pictures along the way."""
        recorder = Recorder(task, method, backbone, frames)
        for step in stream:
            recorder.see(step)
        return recorder.result()

    def save(self, folder: Path | str) -> Path:
        """Write edited.png, trace.parquet, settings.json, task/ and, where frames were kept, animation.gif.

        All of it is written or nothing is, and then an earlier result in that folder stays as it was. settings.json
        comes last, so a folder that has it is complete.
        """
        folder = Path(folder)
        with written_together(folder, last="settings.json", optional=("animation.gif", "task/mask.png")) as place:
            self.image.save(place / "edited.png")
            self.trace.save(place / "trace.parquet")
            self.task.write(place / "task")
            if self.frames:
                (place / "animation.gif").write_bytes(animation(self.frames))
            text = json.dumps(self.settings | {"reached": self.reached, "stopped": self.stopped}, indent=2) + "\n"
            (place / "settings.json").write_text(text)
        return folder


class Recorder:
    """Watches the steps of one edit and makes a `Result` of them, at the end or at a stop."""

    def __init__(self, task: DragTask, method: Method, backbone: Backbone, frames: int = 0):
        self.task = task
        self.settings = {
            "gooddrag": gooddrag.__version__,
            "method": method.name.lower(),
            "settings": method.model_dump(mode="json"),
            "backbone": backbone.name,
            "prompt": task.prompt,
            "fingerprint": backbone.fingerprint,
        }
        self.wanted = frames
        self.rows: list[dict[str, Any]] = []
        self.frames: list[Image.Image] = [task.image] if frames else []
        self.image: Image.Image | None = None
        self.reached = False
        self.last: Measured | None = None  # where a stop would finish the picture from

    def see(self, step: Step) -> None:
        """Take note of a step. Call it while the stream waits there: frames are made now."""
        if isinstance(step, Finished):
            self.image, self.reached = step.image, step.reached
            self.frames += [step.image] if self.frames else []
            return
        self.rows += step.rows()  # numbers only: keeping every step would keep its tensors alive
        self.last = step if isinstance(step, Measured) else self.last
        if self.wanted and isinstance(step, Dragged) and step.drag % max(1, -(-step.of // self.wanted)) == 0:
            self.frames.append(step.finish())

    @property
    def drags(self) -> int:
        """How many drags have been done."""
        return self.last.drag if self.last else 0

    def stopped(self) -> Result:
        """The result if the edit ends here, the picture finished from the last whole step. The stream must be open."""
        if self.last is None or not self.drags:
            raise EditFailed("Stopped before anything was dragged, so there is nothing to save.")
        return self.result(stopped_at=self.last.finish())

    def result(self, stopped_at: Image.Image | None = None) -> Result:
        """The result so far; `stopped_at` is the picture to show where the edit was ended early."""
        image = self.image or stopped_at
        if image is None:
            raise EditFailed("The edit ended before there was a picture: nothing has been dragged yet.")
        trace = Trace.from_rows(self.rows)
        return Result(image, trace, self.task, self.settings, self.reached, stopped_at is not None, tuple(self.frames))


def animation(frames: Iterable[Image.Image], milliseconds: int = 120, least_side: int = 256) -> bytes:
    """Pictures → a looping GIF (small ones enlarged smoothly), resting on the first and the last frame."""
    pictures = list(frames)
    enlarge = max(1, -(-least_side // max(pictures[0].size)))
    size = (pictures[0].width * enlarge, pictures[0].height * enlarge)
    shown = [p.resize(size, Image.Resampling.LANCZOS) if enlarge > 1 else p for p in pictures]
    times = [milliseconds] * len(shown)
    times[0] = times[-1] = 900
    out = io.BytesIO()
    shown[0].save(out, "GIF", save_all=True, append_images=shown[1:], duration=times, loop=0)
    return out.getvalue()
