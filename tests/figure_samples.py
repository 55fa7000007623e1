"""One small example of every figure, made of numbers that are the same on every machine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

import figures
from figures.style import LessonFigure
from gooddrag.schedule import Schedule, aldd, drag_then_denoise
from gooddrag.trace import Trace

START, TARGETS = np.array([[8.0, 20.0], [30.0, 10.0]]), np.array([[20.0, 8.0], [30.0, 28.0]])
AT = np.linspace(0, 1, 8)


def trace(schedule: Schedule, growth: float = 0.1) -> Trace:
    """Two handles that go three quarters of their way; each drag adds `growth` and each denoising takes some away."""
    drags = sum(type(step).__name__ == "Drag" for step in schedule)
    rows, done, inside = list(_rows("start", 0, 0, 0.0, 0.0)), 0, 0.0
    for step in schedule:
        phase = type(step).__name__.lower()
        done, inside = (done + 1, inside + growth) if phase == "drag" else (done, 0.9 * inside)
        rows += _rows(phase, done, step.at, done / drags, inside)
    return Trace.from_rows(rows)


def _rows(phase: str, drag: int, at: int, share: float, inside: float) -> list[dict[str, object]]:
    p = START + 0.75 * share * (TARGETS - START) + [2 * np.sin(3 * share), 0]
    shared = {"phase": phase, "drag": drag, "at": at, "perturbation_inside": inside, "perturbation_outside": inside / 4}
    return [
        shared
        | {"point": k, "x": x, "y": y, "target_x": gx, "target_y": gy}
        | {"distance": float(np.hypot(gx - x, gy - y)), "drift": share**0.5 + 0.1 * k}
        for k, ((x, y), (gx, gy)) in enumerate(zip(p, TARGETS, strict=True))
    ]


def picture(shade: int = 0) -> Image.Image:
    """40 × 32 px that get lighter to the right, with a box that `shade` makes darker."""
    values = np.tile(np.linspace(90, 230, 40), (32, 1))
    values[8:24, 10:26] = 160 - shade
    return Image.fromarray(np.stack([values, values * 0.9, values * 0.7], 2).astype(np.uint8))


def two_traces() -> dict[str, Trace]:
    """The same number of drags, spread over timesteps and all at the first."""
    return {"alternating": trace(aldd(8, 2, 8)), "drags first": trace(drag_then_denoise(8, 8), 0.08)}


def _heat(height: int, width: int) -> np.ndarray:
    return np.cos(np.arange(height) * 1.3)[:, None] * np.sin(np.arange(width) * 0.9)


def _gradient_arrows() -> LessonFigure:
    return figures.gradient_arrows(picture(), _heat(8, 10)[None], START, (TARGETS - START) / 3)


SAMPLES: dict[str, Callable[[], LessonFigure]] = {
    "before_after": lambda: figures.before_after({"before": picture(), "after": picture(90)}),
    "drift_curve": lambda: figures.drift_curve(two_traces()),
    "effects": lambda: figures.effects(
        {"B": {"B = 2": AT - 0.2, "B = 70": 2 * AT - 1}, "J": {"J = 1": AT / 4 - 0.5}}, "error"
    ),
    "gradient_arrows": _gradient_arrows,
    "latent_channels": lambda: figures.latent_channels(np.stack([k * _heat(6, 8) for k in range(1, 6)]), columns=3),
    "perturbation_by_timestep": lambda: figures.perturbation_by_timestep(two_traces()),
    "perturbation_curve": lambda: figures.perturbation_curve(two_traces()),
    "ranking": lambda: figures.ranking({"a": (3, 2, 4.5), "b": (1, 0.5, 2), "c": (2, 1.8, 2.5)}, "error"),
    "schedule_strip": lambda: figures.schedule_strip({"a": aldd(8, 2, 8), "b": drag_then_denoise(8, 8)}),
    "sheet": lambda: figures.sheet({"one": [picture(k) for k in (0, 60, 120)], "two": [picture()] * 3}),
    "similarity_maps": lambda: figures.similarity_maps(picture(), {"up": _heat(8, 10), "mid": _heat(2, 2)}, (12, 20)),
    "small_multiples": lambda: figures.small_multiples(
        {f"task {k}": {"one": AT**k, "two": 1 - AT, "three": AT * k / 4} for k in range(1, 6)}, "drag", "drift", 3
    ),
    "trajectories": lambda: figures.trajectories(picture(), trace(aldd(8, 2, 8))),
}
