"""Raters that speak OpenAI's chat completions: GPT-class models, and what vLLM, Ollama and others serve."""

from __future__ import annotations

import base64
import math
import os
from typing import Any

from openai import OpenAI

from gooddrag.metrics.gscore.protocol import Question
from gooddrag.metrics.gscore.raters import MOST_TOKENS, Reply, TryAgain
from gooddrag.metrics.gscore.wire import Key, check_address, cleanly, http_client


class OpenAIProtocol:
    """One model on one server. Arguments as for `connect`; OPENAI_BASE_URL is used where no address is given."""

    def __init__(self, model: str, base_url: str | None, temperature: float | None, timeout: float):
        base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        self._key = Key("OPENAI_API_KEY", needed=base_url is None)
        check_address(base_url, self._key)
        self.model = model
        self.name = f"openai:{model}"
        self.identity = f"{self.name} {base_url} {temperature}"
        # Other servers know the limit by its older name only.
        self._settings: dict[str, Any] = {"max_tokens" if base_url else "max_completion_tokens": MOST_TOKENS}
        if temperature is not None:
            self._settings["temperature"] = temperature
        self._client = OpenAI(
            api_key=self._key.reveal(),
            base_url=base_url,
            max_retries=0,
            timeout=timeout,
            http_client=http_client(timeout),
        )

    def ask(self, question: Question) -> Reply:
        content: list[Any] = [{"type": "text", "text": question.prompt}]
        for caption, png in question.captioned:
            url = "data:image/png;base64," + base64.b64encode(png).decode()
            content.append({"type": "text", "text": caption})
            content.append({"type": "image_url", "image_url": {"url": url, "detail": "high"}})
        schema = {"name": "ratings", "strict": True, "schema": question.schema}
        return cleanly(
            lambda: _reply(
                self._client.chat.completions.create(
                    model=self.model,
                    messages=[{"role": "user", "content": content}],
                    response_format={"type": "json_schema", "json_schema": schema},  # type: ignore[arg-type]
                    **self._settings,
                )
            ),
            self.redact,
        )

    def picture_tokens(self, width: int, height: int) -> int:
        """85, and 170 for each tile of 512 px once the picture fits 2048 px and its short side 768 px.

        See https://platform.openai.com/docs/guides/images-vision; models that count patches of 32 px differ.
        """
        scale = min(1.0, 2048 / max(width, height), 768 / min(width, height))
        return 85 + 170 * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)

    def redact(self, text: str) -> str:
        return self._key.redact(text)

    def stop(self) -> None:
        pass


def _reply(completion: Any) -> Reply:
    """The client doesn't check what the server sends, so nothing here is taken for what it should be."""
    tokens = (_count(completion, "prompt_tokens"), _count(completion, "completion_tokens"))
    first = completion.choices[0]
    message, ended = first.message, first.finish_reason
    text = message.content if isinstance(message.content, str) else ""
    if getattr(message, "refusal", None) or ended == "content_filter":
        return Reply(text, "refused", str(getattr(message, "refusal", None) or ended), *tokens)
    if ended == "length":
        return Reply(text, "truncated", ended, *tokens)
    if not isinstance(message.content, str):
        raise TryAgain("the server sent no text")
    return Reply(text, None, "", *tokens)


def _count(completion: Any, name: str) -> int:
    count = getattr(getattr(completion, "usage", None), name, 0)
    return count if isinstance(count, int) and 0 <= count < 10**9 else 0
