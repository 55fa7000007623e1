"""Pictures that move."""

from __future__ import annotations

import base64
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Film:
    """An animation (the bytes of a GIF) that shows itself in a notebook, with words for those who can't see it."""

    gif: bytes
    words: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"image/gif": base64.b64encode(self.gif).decode(), "text/plain": self.words}
