"""The playground: draw a drag on a picture, watch it happen, stop and go on, compare, step back, keep what is good.

It is a consumer of the stream of steps like all others. The edit runs in the kernel's own thread, which hears clicks
after each gradient step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import ipywidgets as ipw
import numpy as np
from PIL import Image

from gooddrag.automask import suggest_mask
from gooddrag.backbone import Backbone
from gooddrag.candidates import variants
from gooddrag.errors import BadInput, EditFailed, is_out_of_memory
from gooddrag.methods import METHODS, Method, method_for
from gooddrag.result import Result
from gooddrag.task import DragTask
from gooddrag.watch import milestones, tell
from widgets.drag_canvas import DragCanvas
from widgets.drag_canvas.wire import encode_picture
from widgets.explorers.base import beside
from widgets.playground.attempt import Attempt
from widgets.playground.form import SettingsForm
from widgets.playground.gallery import Gallery
from widgets.playground.keeping import Keeper
from widgets.playground.panel import Panel
from widgets.still import with_still

BREATH = 0.001  # seconds after each gradient step in which the kernel hears clicks
SEEDS = 3
NEARBY = 0.08  # how far apart in strength candidates are
DRAWN = ("image", "points", "via", "mask")  # what makes the canvas's task


class Playground(ipw.VBox):
    """Drag a picture, by hand and eye.

    Parameters
    ----------
    backbone
        The engine, from `load_backbone`.
    start
        A `DragTask`, a folder that holds one, a picture or a path to one; None asks the user for a picture.
    method
        The method and settings to begin with; default: GoodDrag as it suits the engine.

    Attributes
    ----------
    canvas
        The `DragCanvas`; `canvas.task` is what will be dragged.
    form
        The settings; `form.method` is what they say.
    result
        The `Result` that is shown, or None.
    """

    def __init__(
        self, backbone: Backbone, start: DragTask | Image.Image | Path | str | None = None, method: Method | None = None
    ):
        self.backbone, self.first_method = backbone, method or method_for("gooddrag", backbone.name)
        self.canvas, self.form = DragCanvas(start), SettingsForm(self.first_method, backbone.name)
        self.panel, self.gallery = Panel(self.canvas), Gallery(self.show)
        self.keeper = Keeper(self.canvas.name, self._shown_result, self._say)
        self.attempt: Attempt | None = None
        self.said = ""
        self.working = self._stop = self._ours = False  # _ours: it is us who change the canvas
        self._running: asyncio.Future[None] | None = None
        self._first_drawn = {name: getattr(self.canvas, name) for name in DRAWN}
        self._queue: list[Method] = []
        super().__init__(self.panel.laid_out(self.canvas, self.form, self.gallery, self.keeper))
        self.add_class("gd-playground")
        self._listen()
        self._warn()
        self._show_state()

    @property
    def result(self) -> Result | None:
        return self.attempt.result if self.attempt else None

    async def drag(self) -> None:
        """Drag what the canvas shows, as often as the choice beside the button says."""
        with self._at_work():
            task = self.canvas.task
            self._queue = self._methods(task)
            notes = self._only_once() if len(self._queue) == 1 else []
            await self._work_off(self._opened(task, self._queue.pop(0)), notes)

    async def go_on(self) -> None:
        """Go on where Stop was pressed; where something was changed since, say so and begin anew."""
        attempt, changed = self.attempt, ""
        with self._at_work():
            if attempt is None or not attempt.can_go_on:
                raise BadInput("There is nothing to go on with: press Drag.")
            changed = self._change_since(attempt)
            if not changed:
                await self._work_off(attempt, [])
        if changed:
            await self.drag()
            self._say(f"You have changed {changed}, so this began anew. {self.said}")

    def stop(self) -> None:
        """End the dragging at the next gradient step; the picture is finished from the last whole drag."""
        if self.working:
            self._stop = True
            self._say("Stopping …")

    def suggest(self) -> None:
        """Mask what the drags pull at and where they take it, whatever the mask was; say how much that is."""
        if self.working:
            return
        with self._at_work():
            self._say("Looking where these drags pull …")
            mask = suggest_mask(self.backbone, self.canvas.unmasked)
            self.canvas.mask = mask
            self._say(f"The mask now covers {100 * mask.mean():.0f} % of the picture: where these drags pull.")

    def reset(self) -> None:
        """Back to the picture, the arrows and the settings that the playground began with."""
        if not self.working:
            self._give_up()
            self.attempt, self._queue = None, []
            self.gallery.clear()
            self.form.show(self.first_method)
            self._draw(**self._first_drawn, preview=None, trails=[])
            self._warn()
            self._show_state()
            self._say("")

    def load_settings(self, file: Mapping[str, Any] | None = None) -> None:
        """Put the method and settings of an uploaded file (name, content) into the form, or say why that can't be."""
        if file is None:
            return
        name = str(file["name"])
        try:
            method = self.form.load(bytes(file["content"]), name)
        except BadInput as error:
            self._say(str(error))
        else:
            self._say(f"The settings are now those of {name} ({method.name}).")
        self.panel.load.value = ()  # so that the same file can be taken again

    def show(self, attempt: Attempt) -> None:
        """Put a result of the gallery on the canvas, with its own arrows and mask."""
        if self.working or attempt.result is None:
            return
        self.attempt, task = attempt, attempt.task
        if not _same(task, self._task()):
            points = np.stack([task.handles, task.targets], 1).reshape(-1, 2)
            self._draw(image=task.image, mask=task.mask, points=points, via=task.via)
        self._draw(preview=attempt.result.image, trails=attempt.trails())
        self._warn()
        self._show_state()

    def step_back(self, number: int) -> None:
        """Show a moment of the way, numbered from 0; the one behind the last is the result."""
        attempt = self.attempt
        if attempt is None or self.working or self._ours or not 0 <= number <= len(attempt.moments):
            return
        if number == len(attempt.moments):
            self._draw(preview=attempt.result and attempt.result.image, trails=attempt.trails())
        else:
            moment = attempt.moments[number]
            self._draw(preview=moment.picture, trails=attempt.trails(moment.drag))

    def adopt(self) -> None:
        """Make what is shown the picture to drag next, without arrows and with the mask as it is."""
        if self.canvas.preview is not None and not self.working:
            self._draw(image=self.canvas.preview, points=[], preview=None, trails=[])
            self._give_up()
            self._leave()

    # The work

    async def _work_off(self, attempt: Attempt, notes: list[str]) -> None:
        """This attempt, then those of the queue; a method that can't do the task is passed over with its sentence.

        `notes` are said at the end.
        """
        await self._work(attempt)
        while self._queue and not self._stop:
            try:
                attempt = self._opened(attempt.task, self._queue.pop(0))
            except BadInput as error:
                notes.append(str(error))
            else:
                await self._work(attempt)
        if notes:
            self._say(" ".join([self.said, *notes]))

    async def _work(self, attempt: Attempt) -> None:
        """Consume the stream of one attempt until its end or a stop."""
        assert attempt.editing is not None
        marks = milestones(attempt.method)
        attempt.resume()
        with closing(attempt.editing.steps()) as stream:
            for step in stream:
                news, new_picture = tell(step, marks), attempt.see(step)
                if news is not None:
                    self.panel.bar.value = news.done
                    self._say(f"{news.phase}: {news.count}. {attempt.left if attempt.distances else news.detail}")
                if new_picture:
                    self._draw(preview=attempt.moments[-1].picture, trails=attempt.trails())
                    self.panel.show_curves(attempt)
                await asyncio.sleep(BREATH)
                if self._stop and attempt.can_go_on:
                    break
            if attempt.can_go_on and attempt.drags:
                self._say(f"Stopped after drag {attempt.drags}; finishing the picture …")
                attempt.stop()
        if attempt.result is not None:
            self.gallery.add(attempt)
        self._draw(preview=attempt.result and attempt.result.image, trails=attempt.trails())
        self.panel.show_curves(attempt)
        self._say(_ending(attempt))

    def _opened(self, task: DragTask, method: Method) -> Attempt:
        attempt = Attempt(self.backbone, task, method)
        self._give_up()
        self.attempt = attempt
        self._draw(preview=None, trails=[], compare=0.0)
        return attempt

    def _give_up(self) -> None:
        """Nothing is gone on with any more."""
        for attempt in (self.attempt, *self.gallery.attempts):
            if attempt is not None:
                attempt.give_up()

    def _methods(self, task: DragTask) -> list[Method]:
        method = self.form.method
        if self.panel.runs.value == "seeds" and method.draws(task):
            return variants(method, task, SEEDS)
        if self.panel.runs.value == "strengths":
            return _around(method)
        if self.panel.runs.value == "methods":
            others = [name for name in METHODS if name != method.name.lower()]
            return [method, *(method_for(name, self.backbone.name) for name in others)]
        return [method]

    def _only_once(self) -> list[str]:
        """Why there is one candidate where several were asked for."""
        method = self.form.method
        reasons = {
            "seeds": f"Another seed would change nothing: with these settings {method.name} draws nothing at random.",
            "strengths": f"Strengths nearby would change nothing: with {method.steps} steps they come to as many.",
        }
        return [reasons[name] for name in [str(self.panel.runs.value)] if name in reasons]

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """While this lasts the canvas is locked; whatever goes wrong becomes a sentence."""
        self.working, self._stop, self.canvas.locked = True, False, True
        self._show_state()
        try:
            yield
        except BadInput as error:
            self._say(str(error))
        except Exception as error:
            self._give_up()
            self._say(_told(error))
        finally:
            self.working, self.canvas.locked = False, False
            self._show_state()

    # What is shown, and what the user does

    def _listen(self) -> None:
        acts: dict[str, Callable[[], Any]] = {
            "Drag": lambda: self._start(self.drag),
            "Stop": self.stop,
            "Continue": lambda: self._start(self.go_on),
            "Reset": self.reset,
        }
        for name, act in acts.items():
            self.panel.buttons[name].on_click(lambda _, act=act: act())
        self.panel.suggest.on_click(lambda _: self.suggest())
        self.panel.adopt.on_click(lambda _: self.adopt())
        self.panel.steps.observe(lambda change: self.step_back(change["new"]), "value")
        self.canvas.observe(lambda _: self._ours or self._leave(), list(DRAWN))
        self.panel.load.observe(lambda change: self.load_settings(*change["new"][:1]), "value")
        self.form.watch(self._warn)

    def _start(self, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(act())

    def _leave(self) -> None:
        """The task has changed, so what is shown of an earlier one goes; the gallery keeps it."""
        self._draw(preview=None, trails=[])
        self.gallery.mark(None)
        self._warn()
        self._show_state()

    def _draw(self, **traits: Any) -> None:
        with self._by_us(), self.canvas.hold_sync():
            for name, value in traits.items():
                setattr(self.canvas, name, value)

    @contextmanager
    def _by_us(self) -> Iterator[None]:
        """What changes meanwhile isn't the user's doing."""
        before, self._ours = self._ours, True
        try:
            yield
        finally:
            self._ours = before

    def _show_state(self) -> None:
        attempt = self.attempt
        shown = self.canvas.preview is not None and attempt is not None and attempt.result is not None
        self.panel.enable(self.working, attempt is not None and attempt.can_go_on, shown)
        if attempt is not None and shown and not self.working:
            with self._by_us():
                self.panel.show_steps(attempt)
            self.gallery.mark(attempt)
        self.panel.show_curves(attempt)

    def _warn(self) -> None:
        """What speaks against the task and the settings as they are, before anything starts."""
        sentences = self.canvas.warnings()
        if self.canvas.image is not None:
            sentences += self.backbone.notes(self.canvas.image)
        try:
            method = self.form.method
            method.steps_to_take()
        except BadInput as error:
            sentences.append(str(error))
        else:
            if self.canvas.via and not method.abilities.paths:
                sentences.append(f"{method.name} drags straight: take the paths away, or change the method.")
            elif (task := self._task()) is not None:
                sentences += method.notes(task)
        self.panel.warn(sentences)

    def _say(self, text: str) -> None:
        self.said = text
        self.panel.say(text)

    def _shown_result(self) -> Result:
        if self.result is None:
            raise BadInput("There is no result yet: press Drag first.")
        return self.result

    def _task(self) -> DragTask | None:
        try:
            return self.canvas.task
        except BadInput:
            return None

    def _change_since(self, attempt: Attempt) -> str:
        """What differs from what the attempt began with, in words; empty where nothing does."""
        if not _same(attempt.task, self._task()):
            return "the picture, the arrows or the mask"
        return "" if attempt.method == self.form.method else "the settings"

    def _repr_mimebundle_(self, **how: Any) -> dict[str, Any]:
        """Where no kernel runs (a stored notebook), a picture of the canvas and of the result stands for the widget."""
        picture = self.canvas.still()
        if self.result is not None:
            picture = beside(picture, self.result.image)
        text = f"Playground with {len(self.canvas.points) // 2} drag(s)"
        return with_still(super()._repr_mimebundle_(**how), encode_picture(picture), text)


def _same(one: DragTask, other: DragTask | None) -> bool:
    """Whether two tasks ask for the same edit."""
    if other is None or one.size != other.size or (one.mask is None) != (other.mask is None):
        return False
    return (
        len(one.ways) == len(other.ways)
        and all(map(np.array_equal, one.ways, other.ways))
        and (one.mask is None or other.mask is None or np.array_equal(one.mask, other.mask))
        and one.image.tobytes() == other.image.tobytes()
    )


def _around(method: Method) -> list[Method]:
    """The method at its own strength, a little below it and a little above; of those with as many steps only one."""
    found = {len(method.timeline): method}
    for strength in (method.strength - NEARBY, method.strength + NEARBY):
        with suppress(BadInput):  # no strength, or none that leaves a step
            other = method.with_settings(strength=round(min(strength, 1.0), 4))
            found.setdefault(len(other.timeline), other)
    return list(found.values())


def _ending(attempt: Attempt) -> str:
    if not attempt.drags and attempt.can_go_on:
        return "Stopped before anything was dragged."
    if attempt.result is not None and attempt.result.stopped:
        done = f"drag {attempt.drags} of {attempt.most_drags}"
        return f"Stopped after {done}, {attempt.left}. Continue goes on from here."
    reached = "every handle arrived" if attempt.result and attempt.result.reached else "not every handle arrived"
    return f"Done after {attempt.drags} drag{'s' * (attempt.drags != 1)}: {reached}, {attempt.left}."


def _told(error: Exception) -> str:
    """Any error as one sentence."""
    if isinstance(error, EditFailed):
        return str(error)
    if is_out_of_memory(error):
        return "The machine's memory is used up: take a smaller picture or engine, or restart the kernel."
    first = next(iter(str(error).splitlines()), "")[:160]
    return f"This failed in a way that it shouldn't ({type(error).__name__}: {first}): please report it."
