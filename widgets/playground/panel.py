"""What the playground shows around its canvas: buttons, progress, curves, the way back, and where they all stand."""

from __future__ import annotations

import html
from pathlib import Path

import ipywidgets as ipw

from widgets.drag_canvas import DragCanvas
from widgets.playground.attempt import Attempt
from widgets.playground.curves import curves

STYLE = Path(__file__).parent / "playground.css"
BUTTONS = {  # name: icon, what it does
    "Drag": ("play", "drag the handles to their targets"),
    "Stop": ("stop", "end the dragging and finish the picture"),
    "Continue": ("step-forward", "go on where you stopped"),
    "Reset": ("undo", "back to the beginning"),
}
RUNS = {"once": "once", "with 3 seeds": "seeds", "with 3 strengths": "strengths", "with every method": "methods"}
WHAT_FOR = (
    "how often Drag works. Several results are candidates to choose from: another seed draws anew what is drawn at "
    "random; less strength keeps more of the picture, more strength lets more of it change"
)
SHORT = {"description_width": "initial"}


class Panel:
    """The controls, without what they do."""

    def __init__(self, canvas: DragCanvas):
        self.buttons = {
            name: ipw.Button(description=name, icon=icon, tooltip=tip) for name, (icon, tip) in BUTTONS.items()
        }
        self.buttons["Drag"].button_style = "primary"
        self.runs = ipw.Dropdown(options=RUNS, tooltip=WHAT_FOR).add_class("gd-runs")
        tip = "a mask from the arrows, in place of the one that is there: the engine says where they pull"
        self.suggest = ipw.Button(description="Suggest mask", icon="magic", tooltip=tip)
        tip = "take method and settings from a file, such as a result's settings.json"
        self.load = ipw.FileUpload(accept=".json,.yaml,.yml", description="Load settings", tooltip=tip)
        self.bar = ipw.FloatProgress(min=0.0, max=1.0)
        self.note, self.warnings, self.curves = ipw.HTML(), ipw.HTML(), ipw.HTML()
        self.compare = ipw.FloatSlider(
            0.0, min=0.0, max=1.0, step=0.01, description="compare", readout=False, style=SHORT
        )
        self.compare.tooltip = "how far the picture before covers the one after"
        ipw.jslink((self.compare, "value"), (canvas, "compare"))
        self.steps = ipw.SelectionSlider(options=[("", -1)], description="step back", style=SHORT)
        self.play = ipw.Play(interval=150, show_repeat=False)
        ipw.jslink((self.play, "value"), (self.steps, "index"))
        self.adopt = ipw.Button(description="Use as picture", icon="picture-o", tooltip="go on from what is shown")
        back = ipw.HBox([self.play, self.steps, self.adopt]).add_class("gd-row")
        self.after = ipw.VBox([self.compare, back])

    def laid_out(
        self, canvas: DragCanvas, form: ipw.Widget, gallery: ipw.Widget, keeper: ipw.Widget
    ) -> list[ipw.Widget]:
        """Canvas, buttons and results on the left, settings beside them, or below where there is no room."""
        style = ipw.HTML(f"<style>{STYLE.read_text(encoding='utf-8')}</style>").add_class("gd-style")
        run = ipw.HBox([*self.buttons.values(), self.runs, self.suggest]).add_class("gd-row")
        progress = ipw.HBox([self.bar, self.note]).add_class("gd-progress")
        left = ipw.VBox([canvas, self.warnings, run, progress, self.after, gallery, keeper]).add_class("gd-left")
        right = ipw.VBox([form, self.load, self.curves]).add_class("gd-right")
        return [style, ipw.Box([left, right]).add_class("gd-columns")]

    def say(self, text: str) -> None:
        """A sentence below the buttons, read out to those who can't see it."""
        self.note.value = f'<div role="status">{html.escape(text)}</div>'

    def warn(self, sentences: list[str]) -> None:
        """What speaks against the task or the settings as they are."""
        items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
        self.warnings.value = f'<ul class="gd-warnings">{items}</ul>' if items else ""

    def show_curves(self, attempt: Attempt | None) -> None:
        """Distance and loss so far."""
        self.curves.value = curves(attempt.distances, attempt.losses, attempt.most_drags) if attempt else ""

    def show_steps(self, attempt: Attempt) -> None:
        """The moments that one can step back to, the result being the last."""
        options = [("start" if m.drag == 0 else f"drag {m.drag}", k) for k, m in enumerate(attempt.moments)]
        options += [("result", len(options))] if attempt.result is not None else []
        self.steps.options = options
        self.play.max, self.steps.index = len(options) - 1, len(options) - 1
        self.play.value = self.play.max

    def enable(self, working: bool, can_go_on: bool, has_result: bool) -> None:
        """Let only that be pressed which has a meaning now."""
        able = {"Drag": not working, "Stop": working, "Continue": can_go_on and not working, "Reset": not working}
        for name, button in self.buttons.items():
            button.disabled = not able[name]
        self.runs.disabled = self.load.disabled = self.suggest.disabled = working
        self.after.layout.display = None if has_result and not working else "none"
        self.bar.layout.display = None if working else "none"
