"""What a widget leaves behind in a stored notebook, where no kernel runs."""

from __future__ import annotations

import base64
from typing import Any


def with_still(bundle: Any, png: bytes, text: str) -> dict[str, Any]:
    """A widget's own mime bundle, with a picture and a text that stand for it."""
    return dict(bundle or {}) | {"image/png": base64.b64encode(png).decode(), "text/plain": text}
