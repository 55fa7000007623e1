"""Points typed as numbers, a button that drags, a picture that follows: plain ipywidgets, nothing to install."""

from __future__ import annotations

import asyncio
import io
from contextlib import closing
from typing import Any

import ipywidgets as ipw
from PIL import Image

from gooddrag.backbone import Backbone
from gooddrag.editor import iter_edit
from gooddrag.errors import BadInput, EditFailed
from gooddrag.methods import Method
from gooddrag.result import Recorder, Result
from gooddrag.steps import Denoised, Dragged, Inverted, Learned, Measured
from gooddrag.task import DragTask
from widgets.still import with_still

SIDE = 320  # px on screen


class PointEntry(ipw.VBox):
    """Drag a picture from a notebook.

    `task` is always what the fields say; `result` is the last edit's, or None. The kernel stays free while an edit
    runs: Stop ends the dragging at the next step and finishes the picture from there.
    """

    def __init__(self, backbone: Backbone, task: DragTask, method: Method):
        self.backbone, self.method, self.start = backbone, method, task
        self.result: Result | None = None
        self._stop = False
        self._running: asyncio.Task[None] | None = None
        self.rows = ipw.VBox()
        self.before, self.after = (ipw.Image(format="png", width=SIDE) for _ in range(2))
        self.note = ipw.Label()
        self.bar = ipw.IntProgress(layout=ipw.Layout(width="220px"))
        buttons = {"Drag": self._on_drag, "Stop": self.stop, "Add point": self.add, "Undo point": self.undo}
        self.buttons = {name: ipw.Button(description=name) for name in [*buttons, "Reset"]}
        for name, act in (buttons | {"Reset": self.reset}).items():
            self.buttons[name].on_click(lambda _, act=act: act())
        super().__init__(
            [
                ipw.HBox([_titled("your task", self.before), _titled("result", self.after)]),
                self.rows,
                ipw.HBox(list(self.buttons.values())),
                ipw.HBox([self.bar, self.note]),
            ]
        )
        self.reset()

    def _repr_mimebundle_(self, **how: Any) -> dict[str, Any]:
        """Where no kernel runs (a stored notebook), a picture of the task stands for the widget."""
        text = f"PointEntry with {len(self.rows.children)} drag(s)"
        return with_still(super()._repr_mimebundle_(**how), self.before.value, text)

    @property
    def task(self) -> DragTask:
        """The task that the fields describe; raises BadInput where they describe none."""
        points = [
            [field.value for field in row.children if isinstance(field, ipw.FloatText)] for row in self.rows.children
        ]
        return self.start.with_points([p[:2] for p in points], [p[2:] for p in points])

    def reset(self) -> None:
        """Back to the picture and the points that the widget began with."""
        self.rows.children = ()
        for p, g in zip(self.start.handles, self.start.targets, strict=True):
            self._add_row(*p, *g)
        self.after.value = _png(self.start.image)
        self._redraw()

    def add(self) -> None:
        """One more drag, from the picture's middle to the right."""
        x, y = (s / 2 for s in self.start.size)
        self._add_row(x, y, x + self.start.size[0] / 8, y)
        self._redraw()

    def undo(self) -> None:
        """Take the last drag away; the first one stays."""
        if len(self.rows.children) > 1:
            self.rows.children = self.rows.children[:-1]
        self._redraw()

    def stop(self) -> None:
        """Ask the running edit to finish its picture now."""
        self._stop = True

    async def run(self) -> None:
        """Run the edit that the fields describe, showing each step."""
        self._stop = False
        try:
            task = self.task
            recorder = Recorder(task, self.method, self.backbone)
            with closing(iter_edit(self.backbone, task, self.method)) as stream:
                for step in stream:
                    recorder.see(step)
                    self._show(step)
                    await asyncio.sleep(0)  # lets a click on Stop through
                    if self._stop and isinstance(step, Measured):
                        self.result = recorder.result(stopped_at=step.finish())
                        break
                else:
                    self.result = recorder.result()
            self.after.value = _png(self.result.image)
            left = ", ".join(f"{d:.1f}" for d in self.result.trace.table.groupby("point")["distance"].last())
            self.note.value = f"{'Stopped' if self.result.stopped else 'Done'}: {left} px left to the target(s)."
        except (BadInput, EditFailed) as error:
            self.note.value = str(error)

    def _on_drag(self) -> None:
        if self._running is None or self._running.done():
            self._running = asyncio.get_event_loop().create_task(self.run())

    def _show(self, step: object) -> None:
        match step:
            case Learned() | Inverted():
                self.bar.max, self.bar.value = step.of, step.step
                self.note.value = "learning the picture …" if isinstance(step, Learned) else "back into noise …"
            case Dragged():
                self.bar.max, self.bar.value = step.of, step.drag
                self.note.value = f"drag {step.drag}: {step.distances.max():.1f} px to go"
                self.after.value = _png(step.preview())
            case Denoised():
                self.bar.max, self.bar.value = step.of, step.at + 1

    def _add_row(self, *values: float) -> None:
        names = ("handle x", "y", "target x", "y")
        fields = [ipw.FloatText(value=round(v, 1), layout=ipw.Layout(width="90px")) for v in values]
        for field in fields:
            field.observe(lambda _: self._redraw(), "value")
        labelled = [part for name, field in zip(names, fields, strict=True) for part in (ipw.Label(name), field)]
        self.rows.children = (*self.rows.children, ipw.HBox(labelled))

    def _redraw(self) -> None:
        try:
            self.before.value = _png(self.task.draw())
            self.note.value = " ".join(self.task.warnings())
        except BadInput as error:
            self.note.value = str(error)


def _titled(title: str, picture: ipw.Image) -> ipw.VBox:
    return ipw.VBox([ipw.HTML(f"<b>{title}</b>"), picture])


def _png(image: Image.Image) -> bytes:
    """Picture → PNG bytes at twice the size on screen, smooth."""
    scale = 2 * SIDE / max(image.size)
    shown = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    shown.save(out, "PNG")
    return out.getvalue()
