"""Two small curves as SVG: how far the handles still have to go, and the loss. Drawn in a millisecond, in any theme."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT = 300, 64  # of a curve's own field, in SVG units


def curves(distances: Sequence[float], losses: Sequence[float], drags: int) -> str:
    """Both curves over the drags, for `ipywidgets.HTML`.

    Parameters
    ----------
    distances
        Mean distance from handle to target in image px: at the start, and after each drag.
    losses
        Motion supervision loss of each drag.
    drags
        How many drags there will be at most: the width of the axis.
    """
    left = f"{distances[-1]:.1f} px" if len(distances) else "–"
    loss = f"{losses[-1]:.3g}" if len(losses) else "–"
    most = max(drags, len(losses), 1)
    return (
        '<div class="gd-curves">'
        f"{_curve('to go on average', left, list(enumerate(distances)), most, 'gd-far')}"
        f"{_curve('loss', loss, list(enumerate(losses, start=1)), most, 'gd-loss')}"
        "</div>"
    )


def _curve(name: str, now: str, points: list[tuple[int, float]], most: int, look: str) -> str:
    """One curve from 0 up, its last value marked and written beside its name."""
    array = np.array([point for point in points if np.isfinite(point[1])], float).reshape(-1, 2)
    top = array[:, 1].max(initial=0) or 1.0
    x, y = array[:, 0] / most * WIDTH, HEIGHT - array[:, 1] / top * (HEIGHT - 4)
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    dot = f'<circle cx="{x[-1]:.1f}" cy="{y[-1]:.1f}" r="3.5"/>' if len(x) else ""
    told = f"{name}: {now}, at first {array[0, 1]:.3g}" if len(array) else f"{name}: nothing yet"
    return (
        f'<figure class="{look}"><figcaption>{name} <b>{now}</b></figcaption>'
        f'<svg viewBox="-4 -4 {WIDTH + 8} {HEIGHT + 8}" role="img" aria-label="{told}">'
        f'<path d="M0 {HEIGHT}H{WIDTH}"/><polyline points="{line}"/>{dot}</svg></figure>'
    )
