"""A local server that speaks Gemini's and OpenAI's protocols, and answers as a script says: well, badly, maliciously.

Its honest answer is read off each picture: an edit of the grey value 20·s gets the score s, wherever it is shown.
"""

import base64
import io
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

PROTOCOLS = ("gemini", "openai")


@dataclass
class Asked:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def protocol(self) -> str:
        return "gemini" if "generateContent" in self.path else "openai"

    @property
    def body(self) -> dict:
        return json.loads(self.raw)

    @property
    def pictures(self) -> list[bytes]:
        if self.protocol == "gemini":
            parts = self.body["contents"][0]["parts"]
            return [base64.urlsafe_b64decode(part["inlineData"]["data"]) for part in parts if "inlineData" in part]
        parts = self.body["messages"][0]["content"]
        return [base64.b64decode(p["image_url"]["url"].split(",")[1]) for p in parts if p["type"] == "image_url"]

    @property
    def greys(self) -> list[int]:
        """Of the edits, in the order shown."""
        return [Image.open(io.BytesIO(png)).convert("L").getpixel((0, 0)) for png in self.pictures[1:]]

    def ratings(self, **changes) -> str:
        """An honest answer, every rating with the changes."""
        versions = zip("ABCDEFGH", self.greys, strict=False)
        return json.dumps({"ratings": [{"version": v, "score": g / 20, "reason": "ok"} | changes for v, g in versions]})

    def envelope(self, text: str, ended: str | None = None, **message) -> bytes:
        if self.protocol == "gemini":
            candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": ended or "STOP"}
            usage = {"promptTokenCount": 1000, "candidatesTokenCount": 50, "thoughtsTokenCount": 7}
            return json.dumps({"candidates": [candidate], "usageMetadata": usage}).encode()
        choice = {"index": 0, "message": {"role": "assistant", "content": text} | message}
        usage = {"prompt_tokens": 1000, "completion_tokens": 57, "total_tokens": 1057}
        head = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "usage": usage}
        return json.dumps(head | {"choices": [choice | {"finish_reason": ended or "stop"}]}).encode()


@dataclass
class Reply:
    """What goes back. `stream` writes the body itself, to a connection that then ends."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stream: Callable[[io.RawIOBase], None] | None = None


def honest(asked: Asked) -> Reply:
    return Reply(body=asked.envelope(asked.ratings()))


def text(content: str | Callable[[Asked], str], ended: str | None = None):
    """Answer with this text in a proper envelope."""
    return lambda asked: Reply(body=asked.envelope(content(asked) if callable(content) else content, ended))


def raw(body: bytes, status: int = 200, **headers: str):
    """Answer with these bytes."""
    return lambda _: Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def failure(status: int, message: str = "no", **headers: str):
    return raw(json.dumps({"error": {"message": message, "code": status}}).encode(), status, **headers)


class RaterServer:
    """Takes the script's replies one after the other, then `otherwise`."""

    def __init__(self):
        self.script, self.otherwise = [], honest
        self.requests: list[Asked] = []
        self.over = threading.Event()  # lets replies that wait come to an end
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self._http.shutdown()
        self._http.server_close()

    def address(self, protocol: str) -> str:
        return f"http://127.0.0.1:{self._http.server_port}" + ("/v1" if protocol == "openai" else "")

    def _next(self, asked: Asked) -> Reply:
        with self._lock:
            self.requests.append(asked)
            make = self.script.pop(0) if self.script else self.otherwise
        return make(asked)

    def _handler(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                raw_body = self.rfile.read(int(self.headers["Content-Length"]))
                reply = server._next(Asked(self.path, {k.lower(): v for k, v in self.headers.items()}, raw_body))
                with suppress(OSError):  # the other side may have heard enough
                    self._send(reply)

            def _send(self, reply: Reply):
                self.send_response(reply.status)
                for name, value in ({"Content-Type": "application/json"} | reply.headers).items():
                    self.send_header(name, value)
                if reply.stream is None:
                    self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                if reply.stream is None:
                    self.wfile.write(reply.body)
                else:
                    reply.stream(self.wfile)

            def log_message(self, *_):
                pass

        return Handler
