"""Scrub through the drags of an edit that has ended: where the handles were, how far they still had to go."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw
import pandas as pd
from PIL import Image, ImageDraw

import figures
from figures.style import COLOURS, SMALL, LessonFigure, house_style
from gooddrag.result import Result
from gooddrag.trace import Trace
from widgets.explorers.base import Explorer, Shown, beside, nearest, numbered, rendered, stacked
from widgets.pointed import Area, Place

CURVES = (6.2, 3.2)  # inches
ALL = -1  # stands for the mean of all handles


class TraceViewer(Explorer):
    """Picture, patch at a handle and curves of a result at a chosen drag.

    Distance and drift are the mean of all handles, or those of the one that you choose. Press on a curve to go to the
    drag there, and on the picture to choose the handle nearest by. Where the edit kept frames (`edit(…, frames=20)`),
    the picture is the frame nearest to the drag; else it is the original, and the edited picture at the last drag.
    """

    def __init__(self, result: Result):
        self.result = result
        self.last = int(result.trace.table["drag"].max())
        self._perturbation = _Curves(figures.perturbation_curve(result.trace))
        self._drift: dict[int, _Curves] = {}  # by handle
        self.drag = ipw.IntSlider(self.last, 0, self.last, description="drag")
        handles = numbered(len(result.task.handles))
        mean = [("all (mean)", ALL)] if len(handles) > 1 else []
        self.handle: Any = ipw.Dropdown(options=[*mean, *handles], description="handle")
        play = ipw.Play(value=self.last, min=0, max=self.last, interval=300)
        ipw.link((play, "value"), (self.drag, "value"))
        super().__init__([self.drag, self.handle], below=[play])

    def until(self, drag: int) -> Trace:
        """The trace up to a drag, with the denoising that came before the next one left out."""
        table = self.result.trace.table
        done = (table["drag"] < drag) | ((table["drag"] == drag) & (table["phase"] != "denoise"))
        return Trace(table[done].reset_index(drop=True))

    def at(self, drag: int) -> pd.DataFrame:
        """The rows of one drag, a row a point; drag 0 is the start."""
        table = self.result.trace.table
        return table[(table["drag"] == drag) & (table["phase"] != "denoise")].reset_index(drop=True)

    def frame(self, drag: int) -> Image.Image:
        """The picture that stands for a drag."""
        frames = self.result.frames or (self.result.task.image, self.result.image)
        if not self.result.frames:
            return frames[drag == self.last]
        return frames[round(drag / max(self.last, 1) * (len(frames) - 1))]

    def patches(self, drag: int, handle: int) -> dict[str, Image.Image]:
        """What surrounds a handle in the original, and where it is after a drag (if a picture of then was kept)."""
        source, now = self.at(0), self.at(drag)
        found = {f"handle {handle + 1} at the start": self._patch(self.result.task.image, source, handle)}
        if self.result.frames or drag == self.last:
            found[f"after drag {drag}"] = self._patch(self.frame(drag), now, handle)
        return found

    def draw(self) -> Shown:
        drag, handle = self.drag.value, self.handle.value
        done = self.until(drag)
        way = figures.trajectories(self.frame(drag), done)
        patches = self.patches(drag, 0 if handle == ALL else handle)
        left = stacked(rendered(way), rendered(figures.before_after(patches, height=2)))
        row = int((done.table["point"] == 0).sum()) - 1  # the perturbation is plotted over all steps, not over drags
        drift, perturbation = self._drift_of(handle), self._perturbation
        right = stacked(drift.with_cursor(drag), perturbation.with_cursor(row))
        scale = left.height / right.height
        areas = [area.moved(left.width, 0, scale) for area in drift.areas]
        areas += [area.moved(left.width, scale * drift.base.height, scale) for area in perturbation.areas]
        picture = Area.of(way.axes[0]).moved((left.width - way.bbox.width) // 2, 0)
        return Shown(beside(left, right), self._sentence(drag, handle), (*areas, picture))

    def point(self, place: Place) -> None:
        if place.area == 3:  # after the axes of distance, drift and perturbation
            self.handle.value = nearest(place, self.at(self.drag.value)[["x", "y"]].to_numpy(float))
        elif place.area == 2:
            steps = self.result.trace.table.query("point == 0")["drag"]
            self.drag.value = int(steps.iloc[min(max(round(place.x), 0), len(steps) - 1)])
        else:
            self.drag.value = round(place.x)  # the slider keeps to its ends

    @property
    def place(self) -> Place:
        return Place(0, self.drag.value, 0)

    def _patch(self, image: Image.Image, rows: pd.DataFrame, handle: int) -> Image.Image:
        """The surroundings of a handle, a fifth of the picture wide."""
        x, y = (round(value) for value in rows[["x", "y"]].to_numpy(float)[handle])
        r = max(4, min(image.size) // 10)
        return image.convert("RGB").crop((x - r, y - r, x + r + 1, y + r + 1))

    def _drift_of(self, handle: int) -> _Curves:
        """Distance and drift of a handle, or the mean of all; drawn once."""
        if handle not in self._drift:
            figure = figures.drift_curve(Trace(_rows_of(self.result.trace.table, handle)))
            if handle != ALL and len(self.result.task.handles) > 1:
                with house_style():
                    figure.axes[0].set_title(f"handle {handle + 1}", loc="left", fontsize=SMALL)
            self._drift[handle] = _Curves(figure)
        return self._drift[handle]

    def _sentence(self, drag: int, handle: int) -> str:
        rows = _rows_of(self.at(drag), handle)
        distance, drift, inside = rows[["distance", "drift", "perturbation_inside"]].mean()
        left = f"handle {handle + 1} is {distance:.1f} px from its target"
        if handle == ALL:
            left = f"the handles are {distance:.1f} px from their targets on average"
        if drag == 0:
            return f"Before the first drag {left}."
        return f"After drag {drag} of {self.last} {left}; drift {drift:.3f}, perturbation {inside:.3f}."


def _rows_of(table: pd.DataFrame, handle: int) -> pd.DataFrame:
    return table if handle == ALL else table[table["point"] == handle]


class _Curves:
    """A figure drawn once; a cursor is painted over it, which is many times as fast as drawing it again."""

    def __init__(self, figure: LessonFigure):
        figure.set_size_inches(CURVES)
        self.base = rendered(figure)
        self.figure = figure
        self.areas = [Area.of(axes) for axes in figure.axes]

    def with_cursor(self, x: float) -> Image.Image:
        """The figure with a vertical line at x on each of its axes."""
        picture = self.base.copy()
        pen = ImageDraw.Draw(picture)
        for axes in self.figure.axes:
            column = axes.transData.transform((x, 0))[0]
            box = axes.bbox
            if box.x0 <= column <= box.x1:
                pen.line([(column, picture.height - box.y1), (column, picture.height - box.y0)], COLOURS[1], width=2)
        return picture
