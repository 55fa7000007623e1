"""A rater by its name. Only here the providers' packages are loaded, and only when they are needed."""

from __future__ import annotations

from gooddrag.errors import BadInput
from gooddrag.metrics.gscore.raters import Rater
from gooddrag.metrics.gscore.stand_in import StandIn

RATERS = ("gemini", "openai", "stand-in")


def connect(
    rater: str,
    model: str | None = None,
    base_url: str | None = None,
    *,
    temperature: float | None = None,
    timeout: float = 120.0,
    attempts: int = 6,
    per_minute: float | None = None,
) -> Rater:
    """A rater by name.

    Parameters
    ----------
    rater
        gemini (needs GEMINI_API_KEY or GOOGLE_API_KEY), openai (OPENAI_API_KEY; any server that speaks its protocol
        with `base_url`, such as vLLM or Ollama) or stand-in.
    model
        The provider's name for it. There is no default: it would be out of date soon.
    temperature
        Default: the model's own. The published notebook had 0.4.
    timeout
        Seconds for one answer.
    attempts
        How often a request is tried in all.
    per_minute
        At most so many requests a minute; default: no limit.

    Raises
    ------
    BadInput
        When there is no such rater, or its model, key or package is missing.
    """
    if rater not in RATERS:
        raise BadInput(f"There is no rater '{rater}': choose one of {', '.join(RATERS)}.")
    if rater == "stand-in":
        return StandIn()
    if not model:
        raise BadInput(f"The rater {rater} needs a model: name one that takes pictures with --model.")
    try:
        from gooddrag.metrics.gscore.gemini import Gemini
        from gooddrag.metrics.gscore.openai_protocol import OpenAIProtocol
        from gooddrag.metrics.gscore.patience import Patient
    except ModuleNotFoundError as error:
        raise BadInput(
            f"The package '{error.name}' is missing, which raters need: get it with pip install 'gooddrag[gscore]'."
        ) from error
    kind = Gemini if rater == "gemini" else OpenAIProtocol
    return Patient(kind(model, base_url, temperature, timeout), attempts, per_minute)
