"""Gemini as a rater, through Google's own package."""

from __future__ import annotations

import math

from google import genai
from google.genai import types
from pydantic import BaseModel, ConfigDict, NonNegativeInt
from pydantic.alias_generators import to_camel

from gooddrag.metrics.gscore.protocol import Question
from gooddrag.metrics.gscore.raters import MOST_TOKENS, Rater, Reply, TryAgain
from gooddrag.metrics.gscore.wire import Key, check_address, cleanly, http_client

ENDED = {"STOP", "FINISH_REASON_UNSPECIFIED"}


class Gemini(Rater):
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
            should_return_http_response=True,  # else the client reads JSON that it shouldn't trust
        )
        content = types.Content(role="user", parts=parts)

        def call() -> Reply:
            response = self._client.models.generate_content(model=self.model, contents=content, config=config)
            return _reply(response.sdk_http_response.body if response.sdk_http_response else None)

        return cleanly(call, self.redact)

    def picture_tokens(self, width: int, height: int) -> int:
        """258 for each tile of 768 px (Gemini 2), and up to 1120 a picture (Gemini 3): the larger of the two.

        See https://ai.google.dev/gemini-api/docs/tokens and …/media-resolution.
        """
        return max(1120, 258 * math.ceil(width / 768) * math.ceil(height / 768))

    def redact(self, text: str) -> str:
        return self._key.redact(text)


class _Sent(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class _Part(_Sent):
    text: str = ""
    thought: bool = False


class _Content(_Sent):
    parts: list[_Part] = []


class _Candidate(_Sent):
    content: _Content = _Content()
    finish_reason: str = "STOP"


class _Feedback(_Sent):
    block_reason: str = ""


class _Usage(_Sent):
    prompt_token_count: NonNegativeInt = 0
    candidates_token_count: NonNegativeInt = 0
    thoughts_token_count: NonNegativeInt = 0


class _Envelope(_Sent):
    """What we need of a reply, checked; the client takes what comes."""

    candidates: list[_Candidate] = []
    prompt_feedback: _Feedback = _Feedback()
    usage_metadata: _Usage = _Usage()


def _reply(body: str | None) -> Reply:
    reply = _Envelope.model_validate_json(body or "")
    usage = reply.usage_metadata
    tokens = (usage.prompt_token_count, usage.candidates_token_count + usage.thoughts_token_count)
    if not reply.candidates and reply.prompt_feedback.block_reason:
        return Reply("", "refused", reply.prompt_feedback.block_reason, *tokens)
    if not reply.candidates:
        raise TryAgain("the server sent no answer")
    first = reply.candidates[0]
    text = "".join(part.text for part in first.content.parts if not part.thought)
    if first.finish_reason == "MAX_TOKENS":
        return Reply(text, "truncated", first.finish_reason, *tokens)
    if first.finish_reason not in ENDED:
        return Reply(text, "refused", first.finish_reason, *tokens)
    return Reply(text, None, "", *tokens)
