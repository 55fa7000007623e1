"""The way of each handle to its target: straight, or along the stops of a path that was drawn.

Nothing in GoodDrag's equations knows of paths. A handle heads for one stop after the other, and what the equations call
its target g is the stop that it heads for now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gooddrag.supervision import Points


@dataclass(frozen=True, eq=False)
class Route:
    """Where each handle is to go by and by. `stops` (n, m, 2) in cells; shorter ways repeat their last stop.

    A handle turns to the next stop as soon as it is nearer than `ahead` to the present one: with β, the length of a
    whole step, it never slows down on its way, and cuts corners by less than that.
    """

    stops: Tensor
    leg: Tensor  # (n,) which stop each handle heads for
    ahead: float = 0.0  # cells

    @classmethod
    def along(cls, stops: Sequence[Tensor]) -> Route:
        """Of the stops of each handle, (m, 2) in cells, its target last."""
        padded = pad_sequence(list(stops), batch_first=True)
        last = torch.tensor([len(way) for way in stops], device=padded.device) - 1
        index = torch.arange(padded.shape[1], device=padded.device).minimum(last[:, None])
        repeated = padded.gather(1, index[:, :, None].expand(-1, -1, 2))
        return cls(repeated, torch.zeros_like(last))

    @property
    def straight(self) -> bool:
        return self.stops.shape[1] == 1

    @property
    def heading(self) -> Tensor:
        """The stop that each handle heads for (n, 2), in cells."""
        return self.stops[torch.arange(len(self.leg), device=self.leg.device), self.leg]

    def after(self, points: Points) -> tuple[Route, Points]:
        """Let every handle that is near enough to its stop head for the next one that it isn't near to.

        A handle whose stop is the last one keeps it; `points.under_way` then says that it has arrived.
        """
        route, last = self, self.stops.shape[1] - 1
        while not route.straight:
            passed = (points.distance < max(self.ahead, points.reach)) & (route.leg < last)
            if not passed.any():
                break
            route = replace(route, leg=route.leg + passed)
            points = replace(points, g=route.heading)
        return route, points


def simplified(way: np.ndarray, tolerance: float) -> np.ndarray:
    """The same way with fewer stops: what it leaves out lies within `tolerance` of it (Ramer, Douglas and Peucker).

    A handle takes the longer steps (β) the further apart its stops are. `way` is (m, 2), and its ends stay.
    """
    if len(way) < 3:
        return way
    chord = way[-1] - way[0]
    share = np.clip((way - way[0]) @ chord / max(float(chord @ chord), 1e-12), 0, 1)  # how far along the chord
    away = np.linalg.norm(way - way[0] - share[:, None] * chord, axis=1)
    k = int(away.argmax())
    if away[k] <= tolerance:
        return way[[0, -1]]
    return np.vstack([simplified(way[: k + 1], tolerance)[:-1], simplified(way[k:], tolerance)])
