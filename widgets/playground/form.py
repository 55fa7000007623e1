"""A method's settings as a form: the few that one changes often in sight, all others in a fold.

Fields and descriptions are those of the method's own data class, which also does all checking.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

import ipywidgets as ipw
from pydantic import BaseModel

from gooddrag.methods import METHODS, PRESETS, Method, method_for
from gooddrag.settings import parse_settings

LABELS, FOLDED_LABELS = {"description_width": "12.5em"}, {"description_width": "9em"}


class Slider(NamedTuple):
    """How a setting that stays in sight is labelled, and what its slider offers. Larger values widen it."""

    label: str
    least: float
    most: float
    step: float = 1


SLIDERS = {
    "drags": Slider("drags (K)", 0, 150),
    "per_denoise": Slider("drags per denoise (B)", 1, 40),
    "strength": Slider("strength", 0.02, 1, 0.02),
    "mask_weight": Slider("mask weight (λ)", 0, 2, 0.05),
}
IN_SIGHT = (*SLIDERS, "lora", "seed")


class Setting(NamedTuple):
    """A field of a method. `kind`: its type without None; of a nested settings object NoneType, for a tick."""

    name: str
    kind: Any
    value: Any
    optional: bool
    text: str


class SettingsForm(ipw.VBox):
    """What the user wants: `method` is the settings object that the form describes.

    Parameters
    ----------
    method
        What the form shows first.
    backbone
        Name of the engine, which decides on a method's usual settings.
    """

    def __init__(self, method: Method, backbone: str):
        self.backbone = backbone
        self.kinds: dict[str, Any] = {name: kind for name, kind in METHODS.items() if kind is not type(method)}
        self.kinds = {method.name.lower(): type(method)} | self.kinds
        presets = {name: make(backbone) for name, make in PRESETS.items()}
        self.controls: dict[str, Any] = {}  # by name; those of nested settings as "lora.steps"
        self._ticks: set[str] = set()  # names of nested settings
        self._watchers: list[Callable[[], None]] = []
        options = [(kind.__name__, name) for name, kind in self.kinds.items()]
        options += [(f"{preset.name}, {name.partition('-')[2]}", name) for name, preset in presets.items()]
        self.kinds |= {name: type(preset) for name, preset in presets.items()}
        self.chooser = ipw.Dropdown(options=options, description="method", style=LABELS)
        self.in_sight, self.rest = ipw.VBox(), ipw.VBox()
        self.fold = ipw.Accordion([self.rest], titles=["All settings"])
        super().__init__([self.chooser, self.in_sight, self.fold])
        self.add_class("gd-form")
        self.show(method)
        self.chooser.observe(lambda _: self._show_usual(), "value")

    @property
    def method(self) -> Method:
        """The method with the settings as they stand; raises BadInput where they can't be."""
        settings: dict[str, Any] = {}
        for name, control in self.controls.items():
            outer, _, inner = name.partition(".")
            if name in self._ticks:
                settings[name] = {} if control.value else None
            elif not inner:
                settings[name] = _value(control)
            elif settings[outer] is not None:  # its tick stands before it
                settings[outer][inner] = _value(control)
        return self.kinds[str(self.chooser.value)](**settings)

    def show(self, method: Method) -> None:
        """Let the form describe a method."""
        if self.kinds[str(self.chooser.value)] is not type(method):
            self.chooser.value = method.name.lower()  # which shows its usual settings, and now these:
        settings = list(_settings(method))
        self.controls = {setting.name: _control(setting) for setting in settings}
        self._ticks = {setting.name for setting in settings if setting.kind is NoneType}
        for control in self.controls.values():
            control.observe(lambda _: self._tell(), "value")
        self.in_sight.children = [self.controls[name] for name in IN_SIGHT if name in self.controls]
        self.rest.children = [_described(self.controls[s.name], s.text) for s in settings if s.name not in IN_SIGHT]
        self._tell()

    def load(self, data: bytes, name: str) -> Method:
        """Show what a settings file says, be it JSON or YAML, and return it; raises BadInput where it can't be used."""
        stored = parse_settings(data, Path(name))
        method = method_for(stored.method or str(self.chooser.value), self.backbone, **stored.settings)
        self.show(method)
        return method

    def watch(self, call: Callable[[], None]) -> None:
        """Have `call` called after each change."""
        self._watchers.append(call)

    def _show_usual(self) -> None:
        name = str(self.chooser.value)
        self.show(method_for(name, self.backbone) if name in [*METHODS, *PRESETS] else self.kinds[name]())

    def _tell(self) -> None:
        for call in self._watchers:
            call()


def _settings(method: BaseModel, prefix: str = "") -> Iterator[Setting]:
    """The fields of a settings object in their order, each nested object followed by its own."""
    for name, field in type(method).model_fields.items():
        value, types = getattr(method, name), get_args(field.annotation)
        optional = NoneType in types
        kind = next(t for t in types if t is not NoneType) if optional else field.annotation
        text = _description(type(method), name)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield Setting(name, NoneType, value is not None, False, text)
            yield from _settings(value or kind(), f"{name}.")
        else:
            yield Setting(prefix + name, kind, value, optional, text)


def _description(kind: type, name: str) -> str:
    """What a field's data class says of it, or the one that it changes."""
    fields = (getattr(base, "model_fields", {}).get(name) for base in kind.__mro__)
    return next((field.description for field in fields if field is not None and field.description), "")


def _control(setting: Setting) -> Any:
    style = LABELS if setting.name in IN_SIGHT else FOLDED_LABELS
    label = {"description": setting.name.replace("_", " ").replace(".", " "), "style": style, "tooltip": setting.text}
    if setting.kind is NoneType:
        return ipw.Checkbox(setting.value, **(label | {"description": "identity LoRA"}))
    if setting.kind is bool:
        return ipw.Checkbox(setting.value, **label)
    if get_origin(setting.kind) is Literal:
        return ipw.Dropdown(options=get_args(setting.kind), value=setting.value, **label)
    if setting.optional:
        return ipw.Text("" if setting.value is None else str(setting.value), placeholder="none", **label)
    if setting.name not in SLIDERS:
        return (ipw.IntText if setting.kind is int else ipw.FloatText)(setting.value, **label)
    name, least, most, step = SLIDERS[setting.name]
    make: Any = ipw.IntSlider if setting.kind is int else ipw.FloatSlider
    limits = {"min": min(least, setting.value), "max": max(most, setting.value), "step": step}
    return make(setting.value, **limits, **(label | {"description": name, "continuous_update": False}))


def _value(control: Any) -> Any:
    return control.value.strip() or None if isinstance(control, ipw.Text) else control.value


def _described(control: Any, text: str) -> ipw.HBox:
    return ipw.HBox([control, ipw.HTML(html.escape(text))]).add_class("gd-setting")
