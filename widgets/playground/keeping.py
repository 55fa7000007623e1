"""Where a result is kept: a folder that replays, an animation, a film, or the settings alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import ipywidgets as ipw

from gooddrag.errors import BadInput, EditFailed
from gooddrag.files import write_whole
from gooddrag.result import Result, animation
from gooddrag.video import save_mp4

ENDINGS = {"Result": "", "GIF": ".gif", "MP4": ".mp4", "Settings": ".json"}
TOOLTIPS = {
    "Result": "picture, trace, task, settings and animation in a folder; `gooddrag edit --replay` takes it",
    "GIF": "the way there as an animation",
    "MP4": "the way there as a film",
    "Settings": "method and settings alone; `gooddrag edit TASK --settings` takes them",
}


class Keeper(ipw.HBox):
    """A name and buttons that save. `result` gives what is shown; `said` is called with the outcome, a sentence."""

    def __init__(self, name: str, result: Callable[[], Result], said: Callable[[str], None]):
        self.name = ipw.Text(f"runs/{name}", description="save as", style={"description_width": "initial"})
        self.result, self.said = result, said
        self.buttons = {kind: ipw.Button(description=kind, tooltip=tip) for kind, tip in TOOLTIPS.items()}
        for kind, button in self.buttons.items():
            button.on_click(lambda _, kind=kind: self.save(kind))
        super().__init__([self.name, *self.buttons.values()])
        self.add_class("gd-keep")

    def save(self, kind: str) -> None:
        """Write one of `ENDINGS`, and say where it is or why it couldn't be."""
        try:
            path = Path(f"{self._stem()}{ENDINGS[kind]}").expanduser()
            write(self.result(), path, kind)
        except (BadInput, EditFailed) as error:
            self.said(str(error))
        else:
            self.said(f"Saved: {path}")

    def _stem(self) -> str:
        name = self.name.value.strip()
        if not name or name.endswith(("/", "\\")):
            raise BadInput("The result needs a name: write one beside 'save as', such as runs/first.")
        return name


def write(result: Result, path: Path, kind: str) -> None:
    """Write a result, or a part of it, to a path; raises BadInput or EditFailed as the library does."""
    match kind:
        case "Result":
            result.save(path)
        case "GIF":
            write_whole(path, lambda part: part.write_bytes(animation(result.frames)))
        case "MP4":
            save_mp4(result.frames, path)
        case _:
            text = json.dumps({name: result.settings[name] for name in ("method", "settings", "backbone")}, indent=2)
            write_whole(path, lambda part: part.write_text(text + "\n"))
