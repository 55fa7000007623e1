"""One edit of the playground: the stream that can stop and go on, and what was seen of it on the way."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from gooddrag.backbone import Backbone
from gooddrag.editor import Editing
from gooddrag.methods import Method
from gooddrag.result import Recorder, Result
from gooddrag.steps import Dragged, Finished, Measured, Started, Step
from gooddrag.task import DragTask

MOST_MOMENTS = 72  # pictures of the way that are kept
PREVIEWS = 0.2  # share of the time that may go into them


@dataclass(frozen=True)
class Moment:
    """A picture of the way, and how many drags had been done by then."""

    drag: int
    picture: Image.Image


class Attempt:
    """An edit that is under way, paused, or at its end.

    `result` is there after a stop and at the end. `way` holds the handles (n, 2) in image px, at the start and after
    each drag; `distances` how far they are from their targets there on average, `losses` the drag loss of each drag.
    """

    def __init__(self, backbone: Backbone, task: DragTask, method: Method):
        self.task, self.method = task, method
        self.editing: Editing | None = Editing(backbone, task, method)
        self.recorder: Recorder | None = Recorder(task, method, backbone)
        self.result: Result | None = None
        self.way: list[np.ndarray] = []
        self.distances: list[float] = []
        self.losses: list[float] = []
        self.most_drags = 0
        self.moments = [Moment(0, task.image)]
        self._worked = self._shown = 0.0  # seconds: of work between previews, and of previews
        self.resume()

    @property
    def can_go_on(self) -> bool:
        return self.editing is not None

    @property
    def drags(self) -> int:
        """How many drags have been done."""
        return len(self.losses)

    @property
    def left(self) -> str:
        """How far the handles still have to go, in words."""
        return f"{self.distances[-1]:.1f} px to go on average"

    def trails(self, drag: int | None = None) -> list[list[list[float]]]:
        """The way of each handle, up to a drag or to where it is now: a list of [x, y] each."""
        way = self.way[: None if drag is None else drag + 1]
        return np.stack(way, 1).tolist() if way else []

    def resume(self) -> None:
        """Work begins now, or goes on after a pause."""
        self._since = time.perf_counter()

    def see(self, step: Step) -> bool:
        """Take note of a step; returns whether there is a new moment."""
        assert self.recorder is not None
        self.recorder.see(step)
        if isinstance(step, Started | Dragged):
            self.way.append(step.handles)
            self.distances.append(float(step.distances.mean()))
        if isinstance(step, Dragged):
            self.losses.append(step.loss_drag)
            self.most_drags = step.of
            return self._look(step)
        if isinstance(step, Finished):
            self.result = self._with_frames(self.recorder.result())
            self.give_up()
        return False

    def stop(self) -> None:
        """Finish the picture from the last whole drag; raises EditFailed where there is none."""
        assert self.recorder is not None
        self.result = self._with_frames(self.recorder.stopped())

    def give_up(self) -> None:
        """Never go on: lets go of all that the engine would need for it."""
        self.editing = self.recorder = None

    def _look(self, step: Measured) -> bool:
        """Make a preview, unless that would take too much of the time."""
        begun = time.perf_counter()
        self._worked, self._since = self._worked + begun - self._since, begun
        if self._shown > PREVIEWS * self._worked:
            return False
        self.moments.append(Moment(step.drag, step.preview()))
        self._since = time.perf_counter()
        self._shown += self._since - begun
        if len(self.moments) > MOST_MOMENTS:
            del self.moments[1:-1:2]
        return True

    def _with_frames(self, result: Result) -> Result:
        return replace(result, frames=(*(moment.picture for moment in self.moments), result.image))
