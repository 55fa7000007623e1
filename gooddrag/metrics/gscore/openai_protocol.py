"""Raters that speak OpenAI's chat completions: GPT-class models, and what vLLM, Ollama and others serve."""

from __future__ import annotations

import base64
import math
import os
from typing import Any

from openai import OpenAI
from pydantic import BaseModel, Field, NonNegativeInt

from gooddrag.metrics.gscore.protocol import Question
from gooddrag.metrics.gscore.raters import MOST_TOKENS, Rater, Reply, TryAgain
from gooddrag.metrics.gscore.wire import Key, check_address, cleanly, http_client


class OpenAIProtocol(Rater):
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

        def call() -> Reply:
            response = self._client.chat.completions.with_raw_response.create(
                model=self.model,
                messages=[{"role": "user", "content": content}],
                response_format={"type": "json_schema", "json_schema": schema},  # type: ignore[arg-type]
                **self._settings,
            )
            return _reply(response.text)

        return cleanly(call, self.redact)

    def picture_tokens(self, width: int, height: int) -> int:
        """85, and 170 for each tile of 512 px once the picture fits 2048 px and its short side 768 px.

        See https://platform.openai.com/docs/guides/images-vision; models that count patches of 32 px differ.
        """
        scale = min(1.0, 2048 / max(width, height), 768 / min(width, height))
        return 85 + 170 * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)

    def redact(self, text: str) -> str:
        return self._key.redact(text)


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: NonNegativeInt = 0
    completion_tokens: NonNegativeInt = 0


class _Envelope(BaseModel):
    """What we need of a reply, checked; the client takes what comes."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


def _reply(body: str) -> Reply:
    reply = _Envelope.model_validate_json(body)
    usage = reply.usage or _Usage()
    tokens = (usage.prompt_tokens, usage.completion_tokens)
    message, ended = reply.choices[0].message, reply.choices[0].finish_reason
    text = message.content or ""
    if message.refusal or ended == "content_filter":
        return Reply(text, "refused", message.refusal or "content_filter", *tokens)
    if ended == "length":
        return Reply(text, "truncated", ended, *tokens)
    if message.content is None:
        raise TryAgain("the server sent no text")
    return Reply(text, None, "", *tokens)
