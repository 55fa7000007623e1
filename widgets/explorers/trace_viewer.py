"""Scrub through the drags of an edit that has ended: where the handles were, how far they still had to go."""

from __future__ import annotations

import ipywidgets as ipw
import pandas as pd
from PIL import Image, ImageDraw

import figures
from figures.style import COLOURS, LessonFigure
from gooddrag.result import Result
from gooddrag.trace import Trace
from widgets.explorers.base import Explorer, Shown, beside, rendered, stacked


class TraceViewer(Explorer):
    """Picture and curves of a result at a chosen drag.

    Where the edit kept frames (`edit(…, frames=20)`), the picture is the frame nearest to the drag; else it is the
    original, and the edited picture at the last drag.
    """

    def __init__(self, result: Result):
        self.result = result
        self.last = int(result.trace.table["drag"].max())
        self._curves = [_Curves(figures.drift_curve(result.trace)), _Curves(figures.perturbation_curve(result.trace))]
        self.drag = ipw.IntSlider(self.last, 0, self.last, description="drag")
        play = ipw.Play(value=self.last, min=0, max=self.last, interval=300)
        ipw.link((play, "value"), (self.drag, "value"))
        super().__init__([self.drag], below=[play])

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

    def draw(self) -> Shown:
        drag = self.drag.value
        done = self.until(drag)
        way = rendered(figures.trajectories(self.frame(drag), done))
        row = int((done.table["point"] == 0).sum()) - 1  # the perturbation is plotted over all steps, not over drags
        drift, perturbation = self._curves
        curves = stacked(drift.with_cursor(drag), perturbation.with_cursor(row))
        return Shown(beside(way, curves), self._sentence(drag))

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
        self.base = rendered(figure)
        self.figure = figure

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
