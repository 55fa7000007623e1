"""Scrub through the drags of an edit that has ended: where the handles were, how far they still had to go."""

from __future__ import annotations

import ipywidgets as ipw
import pandas as pd
from PIL import Image, ImageDraw

import figures
from figures.style import COLOURS, LessonFigure
from gooddrag.result import Result
from gooddrag.trace import Trace
from widgets.explorers.base import Explorer, Shown, beside, nearest, rendered, stacked
from widgets.pointed import Area, Place

CURVES = (6.2, 3.2)  # inches


class TraceViewer(Explorer):
    """Picture, patch at a handle and curves of a result at a chosen drag.

    Press on a curve to go to the drag there, and on the picture to choose the handle nearest by. Where the edit kept
    frames (`edit(…, frames=20)`), the picture is the frame nearest to the drag; else it is the original, and the edited
    picture at the last drag.
    """

    def __init__(self, result: Result):
        self.result = result
        self.last = int(result.trace.table["drag"].max())
        self._curves = [_Curves(figures.drift_curve(result.trace)), _Curves(figures.perturbation_curve(result.trace))]
        self.drag = ipw.IntSlider(self.last, 0, self.last, description="drag")
        self.handle = ipw.Dropdown(
            options=[(f"{k + 1}", k) for k in range(len(result.task.handles))], description="handle"
        )
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
        drag = self.drag.value
        done = self.until(drag)
        way = figures.trajectories(self.frame(drag), done)
        left = stacked(
            rendered(way), rendered(figures.before_after(self.patches(drag, self.handle.value or 0), height=2))
        )
        row = int((done.table["point"] == 0).sum()) - 1  # the perturbation is plotted over all steps, not over drags
        drift, perturbation = self._curves
        right = stacked(drift.with_cursor(drag), perturbation.with_cursor(row))
        scale = left.height / right.height
        areas = [area.moved(left.width, 0, scale) for area in drift.areas]
        areas += [area.moved(left.width, scale * drift.base.height, scale) for area in perturbation.areas]
        picture = Area.of(way.axes[0]).moved((left.width - way.bbox.width) // 2, 0)
        return Shown(beside(left, right), self._sentence(drag), (*areas, picture))

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

    def _sentence(self, drag: int) -> str:
        rows = self.at(drag)
        left = f"the handles are {rows['distance'].mean():.1f} px from their targets on average"
        if drag == 0:
            return f"Before the first drag {left}."
        inside = rows["perturbation_inside"].iloc[0]
        return f"After drag {drag} of {self.last} {left}; drift {rows['drift'].mean():.3f}, perturbation {inside:.3f}."


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
