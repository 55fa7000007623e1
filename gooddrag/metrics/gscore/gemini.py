"""Gemini as a rater, through Google's own package."""

from __future__ import annotations

import math

from google import genai
from google.genai import types

from gooddrag.metrics.gscore.protocol import Question
from gooddrag.metrics.gscore.raters import MOST_TOKENS, Reply
from gooddrag.metrics.gscore.wire import Key, check_address, cleanly, http_client

ENDED = {"STOP", "FINISH_REASON_UNSPECIFIED"}


class Gemini:
    """One Gemini model. Arguments as for `connect`."""

    def __init__(self, model: str, base_url: str | None, temperature: float | None, timeout: float):
        self._key = Key("GEMINI_API_KEY", "GOOGLE_API_KEY", needed=base_url is None)
        check_address(base_url, self._key)
        self.model, self.temperature = model, temperature
        self.name = f"gemini:{model}"
        self.identity = f"{self.name} {base_url} {temperature}"
        self._http = http_client(timeout)
        options = types.HttpOptions(base_url=base_url, timeout=int(timeout * 1000), httpx_client=self._http)
        self._client = genai.Client(vertexai=False, api_key=self._key.reveal(), http_options=options)

    def ask(self, question: Question) -> Reply:
        parts = [types.Part.from_text(text=question.prompt)]
        for caption, png in question.captioned:
            parts += [types.Part.from_text(text=caption), types.Part.from_bytes(data=png, mime_type="image/png")]
        config = types.GenerateContentConfig(
            temperature=self.temperature,
            max_output_tokens=MOST_TOKENS,
            response_mime_type="application/json",
            response_json_schema=question.schema,
        )
        content = types.Content(role="user", parts=parts)
        return cleanly(
            lambda: _reply(self._client.models.generate_content(model=self.model, contents=content, config=config)),
            self.redact,
        )

    def picture_tokens(self, width: int, height: int) -> int:
        """258 for each tile of 768 px (Gemini 2), and up to 1120 a picture (Gemini 3): the larger of the two.

        See https://ai.google.dev/gemini-api/docs/tokens and …/media-resolution.
        """
        return max(1120, 258 * math.ceil(width / 768) * math.ceil(height / 768))

    def redact(self, text: str) -> str:
        return self._key.redact(text)

    def stop(self) -> None:
        pass


def _reply(response: types.GenerateContentResponse) -> Reply:
    usage = response.usage_metadata or types.GenerateContentResponseUsageMetadata()
    tokens = (usage.prompt_token_count or 0, (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0))
    if not response.candidates:
        blocked = response.prompt_feedback.block_reason if response.prompt_feedback else None
        return Reply("", "refused", str(getattr(blocked, "value", blocked or "no answer")), *tokens)
    first = response.candidates[0]
    ended = str(getattr(first.finish_reason, "value", first.finish_reason or "STOP"))
    parts = (first.content.parts if first.content else None) or []
    text = "".join(part.text for part in parts if part.text and not part.thought)
    if ended == "MAX_TOKENS":
        return Reply(text, "truncated", ended, *tokens)
    if ended not in ENDED:
        return Reply(text, "refused", ended, *tokens)
    return Reply(text, None, "", *tokens)
