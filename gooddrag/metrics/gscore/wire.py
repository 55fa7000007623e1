"""What lies between a provider's client and the network: keys, limits on what comes in, and what failures mean.

Both clients get the HTTP client made here, so that neither meets an answer that is huge, slow or compressed.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
from pydantic_core import from_json

from gooddrag.errors import BadInput, EditFailed
from gooddrag.metrics.gscore.answers import tame
from gooddrag.metrics.gscore.raters import Declined, TooLong, TryAgain

T = TypeVar("T")
MOST_BYTES = 1_000_000  # of one HTTP answer
OURS = (BadInput, EditFailed, Declined, TooLong, TryAgain)


class Key:
    """A key from the environment. It shows itself to nobody, and takes itself out of texts."""

    def __init__(self, *variables: str, needed: bool):
        self._value = next((os.environ[name].strip() for name in variables if os.environ.get(name, "").strip()), "")
        if needed and not self._value:
            raise BadInput(f"The key for this rater is missing: put it into the environment as {variables[0]}.")
        # A character may also stand as \uXXXX, where JSON holds JSON.
        spelled = "".join(rf"(?:{re.escape(c)}|\\+u(?i:{ord(c):04x}))" for c in self._value)
        self._pattern = re.compile(spelled) if self._value else None

    def reveal(self) -> str:
        """The key itself, for the client alone. A local server that needs none gets a word instead."""
        return self._value or "none"

    def redact(self, text: str) -> str:
        return self._pattern.sub("[key]", text) if self._pattern else text

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Key(…)"

    def __reduce__(self) -> str:
        raise TypeError("A key is not to be stored.")


def check_address(base_url: str | None, key: Key) -> None:
    """Refuse what is no web address, one with a password in it, and one that would show the key to everybody."""
    if base_url is None:
        return
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput("The server's address is none: give one such as http://localhost:11434/v1.")
    if parts.username or parts.password or parts.query:
        raise BadInput("The server's address holds a name, a password or a query: put the key into the environment.")
    if key and parts.scheme == "http" and not _is_near(parts.hostname):
        raise BadInput(f"Your key would go to '{parts.hostname}' unencrypted: use an https address, or unset the key.")


def _is_near(host: str) -> bool:
    """Is it this machine, or one of the local network?"""
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "localhost" or "." not in host or host.endswith((".local", ".internal"))


def http_client(timeout: float) -> httpx2.Client:
    """An HTTP client that reads at most MOST_BYTES in `timeout` seconds, and is sent elsewhere by nobody."""
    headers = {"Accept-Encoding": "identity"}
    hooks = {"response": [lambda response: _check(response, time.monotonic() + timeout)]}
    return httpx2.Client(timeout=timeout, headers=headers, event_hooks=hooks, follow_redirects=False)


def _check(response: httpx2.Response, until: float) -> None:
    """Turn a failure into one of our exceptions before the client sees it; guard the body of a success."""
    assert isinstance(response.stream, httpx2.SyncByteStream)
    if response.headers.get("content-encoding", "identity") != "identity":
        raise TryAgain("the server compresses its answers although it was asked not to")
    stream = _Guarded(response.stream, until)
    if response.status_code == 200:
        response.stream = stream
        return
    try:
        body: Any = from_json(b"".join(stream))
    except (TooLong, ValueError):
        body = None
    raise complaint(response.status_code, response.headers, body)


class _Guarded(httpx2.SyncByteStream):
    """A body that is in time and small enough; else it raises."""

    def __init__(self, stream: httpx2.SyncByteStream, until: float):
        self.stream, self.until = stream, until

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self.stream:
            size += len(chunk)
            if size > MOST_BYTES:
                raise TooLong(f"more than {MOST_BYTES} bytes")
            if time.monotonic() > self.until:
                raise TryAgain("the answer took too long")
            yield chunk

    def close(self) -> None:
        self.stream.close()


def complaint(status: int, headers: httpx2.Headers, body: Any) -> Exception:
    """What an HTTP status means for us: wait and try again, leave this question, or end the run."""
    said = f"{status}: {tame(message)}" if (message := _message(body)) else str(status)
    if status in (401, 403):
        return BadInput(f"The server refuses the key ({said}): put a valid one into the environment.")
    if status == 404:
        return BadInput(f"The server knows no such model or address ({said}): check --model and --base-url.")
    if status in (408, 409, 425, 429) or status >= 500:
        return TryAgain(f"the server answered {said}", _seconds_to_wait(headers, body))
    return Declined(f"the server answered {said}")


def _message(body: Any) -> str:
    inner = body.get("error", body) if isinstance(body, dict) else body
    message = inner.get("message") if isinstance(inner, dict) else inner
    return message if isinstance(message, str) else ""


def _seconds_to_wait(headers: httpx2.Headers, body: Any) -> float:
    """By Retry-After (seconds or a date), else by the RetryInfo that Gemini puts into the body."""
    text = headers.get("retry-after", "")
    if not text:
        found = re.search(r'"retryDelay": ?"([0-9.]+)s"', json.dumps(body))
        text = found[1] if found else ""
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = parsedate_to_datetime(text)
            seconds = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        except ValueError:
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def cleanly(call: Callable[[], T], redact: Callable[[str], str]) -> T:
    """Run a client's call; whatever it raises becomes one of our exceptions, without the request and its key."""
    try:
        return call()
    except MemoryError:
        raise
    except Exception as error:
        raise _ours(error, redact) from None


def _ours(error: BaseException, redact: Callable[[str], str]) -> Exception:
    """Clients wrap what the network raised, so look through the causes."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OURS):
            after = {"after": link.after} if isinstance(link, TryAgain) else {}
            return type(link)(redact(str(link)), **after)
        if isinstance(link, httpx2.TimeoutException):
            return TryAgain("no answer came in time")
        if isinstance(link, httpx2.HTTPError):
            return TryAgain(f"the connection failed ({type(link).__name__})")
        link = link.__cause__ or link.__context__
    return TryAgain(f"the server's answer can't be understood ({type(error).__name__})")
