"""What tests of the drag canvas share: the canvas on a page without Jupyter, hands that act on it, and an oracle.

`CanvasPage` joins canvas.js to a `DragCanvas` in this process: what the one sends, the other gets, as over a wire.
`Oracle` says, in its own slow words, what each action must lead to.
"""

from __future__ import annotations

import base64
import json
import random
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page

from widgets import DragCanvas

ROOM = Path(__file__).parents[2] / "widgets" / "drag_canvas"
UNSENT = ("_esm", "_css", "layout")
MOST_UNDONE = 200

MODEL = """
async ([code, state]) => {
    const bytes = (v) => v?.bytes === undefined ? v
        : new DataView(Uint8Array.from(atob(v.bytes), (c) => c.charCodeAt(0)).buffer);
    const text = (v) => v instanceof DataView
        ? {bytes: btoa(Array.from(new Uint8Array(v.buffer), (b) => String.fromCharCode(b)).join(""))} : v;
    class Model {
        values = {}; hearers = {}; changed = {}; sent = []; messages = [];
        get(name) { return this.values[name]; }
        on(event, hear) { (this.hearers[event] ??= []).push(hear); }
        off() {}
        tell(name) { for (const hear of this.hearers[`change:${name}`] ?? []) hear(); }
        set(name, value) { this.values[name] = this.changed[name] = value; this.tell(name); }
        save_changes() {
            this.sent.push(Object.fromEntries(Object.entries(this.changed).map(([k, v]) => [k, text(v)])));
            this.changed = {};
        }
        send(content, _, buffers) { this.messages.push([content, ...buffers.map(text)]); }
        receive(state) {
            for (const name in state) this.values[name] = bytes(state[name]);
            for (const name in state) this.tell(name);
        }
        take() { return {sent: this.sent.splice(0), messages: this.messages.splice(0)}; }
    }
    window.model = new Model();
    model.receive(state);
    const url = URL.createObjectURL(new Blob([code], {type: "text/javascript"}));
    window.widget = (await import(url)).default();
    await widget.initialize({model});
    window.show = () => {
        const el = document.createElement("div");
        document.body.append(el);
        return widget.render({model, el});
    };
    window.remove?.();
    window.remove = await show();
}
"""

HANDS = """
() => { window.hands = (root) => {
    const stage = root.querySelector(".gd-stage");
    const seen = ([x, y]) => {
        const [scale, left, top] = stage.dataset.frame.split(" ").map(Number);
        const box = stage.getBoundingClientRect();
        return {clientX: box.left + stage.clientLeft + (x + 0.5) * scale + left,
                clientY: box.top + stage.clientTop + (y + 0.5) * scale + top};
    };
    const same = {pointerId: 77, pointerType: "mouse", button: 0, buttons: 1, bubbles: true, cancelable: true};
    const fire = (type, p) => stage.dispatchEvent(new PointerEvent(type, {...same, ...seen(p)}));
    const line = (points) => {
        fire("pointerdown", points[0]);
        for (const p of points.slice(1)) fire("pointermove", p);
        fire("pointerup", points.at(-1));
    };
    const key = (target, key, more) =>
        target.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true, ...more}));
    const click = (name) => root.querySelector(`.gd-toolbar [data-action="${name}"]`).click();
    const frames = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const point = async (index) => {
        const find = () => root.querySelector(`[data-point="${index}"]`);
        return find() ?? (await frames(), find());
    };
    const acts = {
        pull: (p, g) => { click("drag"); line([p, g]); },
        clicks: (p, g) => { click("drag"); line([p]); line([g]); },
        path: (points) => { click("path"); line(points); },
        move: (k, p, to) => { click("drag"); line([p, to]); },
        brush: (points) => { click("brush"); line(points); },
        erase: (points) => { click("erase"); line(points); },
        polygon: (points) => { click("polygon"); for (const p of points) line([p]); key(stage, "Enter"); },
        nudge: async (index, name, shift) => key(await point(index), name, {shiftKey: shift}),
        remove: async (k) => { const end = await point(2 * k); end.focus(); key(end, "Delete"); },
        zoom: (p) => stage.dispatchEvent(new WheelEvent("wheel",
            {deltaY: -40, ctrlKey: true, bubbles: true, cancelable: true, ...seen(p)})),
        pan: (p, q) => { click("pan"); line([p, q]); },
        feather: (value) => {
            const input = root.querySelector("[data-trait=feather]");
            input.value = value;
            input.dispatchEvent(new Event("input", {bubbles: true}));
            input.dispatchEvent(new Event("change", {bubbles: true}));
        },
        button: click,
    };
    const act = async (actions) => { for (const [name, ...rest] of actions) await acts[name](...rest); };
    const shown = async (width, height) => {
        click("fit");
        await frames();
        const [scale, left, top] = stage.dataset.frame.split(" ").map(Number);
        const points = [...root.querySelectorAll("[data-point]")]
            .sort((a, b) => a.dataset.point - b.dataset.point)
            .map((g) => g.getAttribute("transform").slice("translate(".length, -1).split(",").map(Number))
            .map(([x, y]) => [(x - left) / scale - 0.5, (y - top) / scale - 0.5]);
        const veil = root.querySelector(".gd-veil");
        const pixels = veil.getContext("2d").getImageData(0, 0, veil.width, veil.height).data;
        const free = [];
        for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
            const [sx, sy] = [Math.round((x + 0.5) * scale + left), Math.round((y + 0.5) * scale + top)];
            free.push(pixels[4 * (sy * veil.width + sx) + 3] === 0 ? 1 : 0);
        }
        return {points, free: free.join("")};
    };
    return {act, shown, seen, line, fire};
}; }
"""


class CanvasPage:
    """canvas.js on an empty page, joined to `canvas` in this process. Call `talk` to let messages through."""

    def __init__(self, page: Page, canvas: DragCanvas):
        self.page, self.canvas, self.outbox = page, canvas, []
        canvas._send = lambda message, buffers=None: self.outbox.append((message, buffers))
        if not page.evaluate("Boolean(window.hands)"):
            page.set_content(f"<style>{(ROOM / 'canvas.css').read_text()}</style><body></body>")
            page.evaluate(HANDS)
        state = {name: _out(value) for name, value in canvas.get_state().items() if name not in UNSENT}
        page.evaluate(MODEL, [(ROOM / "canvas.js").read_text(), state])
        page.wait_for_selector(".gd-stage[data-frame]" if canvas.image else ".gd-stage", state="attached")

    def act(self, *actions: Any) -> None:
        """Let hands do these things in the browser, then let messages through."""
        self.page.evaluate("(actions) => hands(document.querySelector('.gd-canvas')).act(actions)", actions)
        self.talk()

    def talk(self) -> None:
        """Carry messages both ways until none is left."""
        while True:
            from_browser = self.page.evaluate("model.take()")
            for state in from_browser["sent"]:
                self.canvas.set_state({name: _in(value) for name, value in state.items()})
            for content, *buffers in from_browser["messages"]:
                self.canvas._handle_custom_msg(content, [memoryview(_in(b)) for b in buffers])
            outbox, self.outbox[:] = list(self.outbox), []
            updates = [m for m in outbox if m[0]["method"] == "update"]
            for message, buffers in updates:
                state = dict(message["state"])
                for path, buffer in zip(message["buffer_paths"], buffers, strict=True):
                    state[path[0]] = buffer
                self.page.evaluate("(state) => model.receive(state)", {k: _out(v) for k, v in state.items()})
            if not any(from_browser.values()) and not updates:
                return

    def shown(self) -> tuple[list[list[float]], np.ndarray]:
        """What the browser shows: points, and where no veil lies (H, W)."""
        return shown(self.page, self.canvas.image.size)


def shown(page: Page, size: tuple[int, int]) -> tuple[list[list[float]], np.ndarray]:
    """What the first canvas on a page shows: points in image px, and where no veil lies, bool (H, W)."""
    state = page.evaluate("(size) => hands(document.querySelector('.gd-canvas')).shown(...size)", list(size))
    return state["points"], np.array([c == "1" for c in state["free"]]).reshape(size[::-1])


@dataclass
class Oracle:
    """What points, paths, mask and feather must be after each action, for a picture of `size` (width, height)."""

    size: tuple[int, int]
    brush: float
    points: list[list[float]] = field(default_factory=list)
    paths: list[list[list[float]]] = field(default_factory=list)  # one for each arrow, straight ones too
    mask: np.ndarray | None = None
    feather: float = 0.0
    past: list[Any] = field(default_factory=list)
    future: list[Any] = field(default_factory=list)

    def act(self, name: str, *how: Any) -> None:
        """Do one action."""
        before = self._state()
        if (name, *how) == ("button", "undo"):
            self._turn(self.past, self.future)
            return
        if (name, *how) == ("button", "redo"):
            self._turn(self.future, self.past)
            return
        getattr(self, f"_{how[0].replace('-', '_') if name == 'button' else name}")(
            *(how[1:] if name == "button" else how)
        )
        if not _equal(before, self._state()):
            self.past, self.future = [*self.past, before][-MOST_UNDONE:], []

    def _turn(self, source: list[Any], target: list[Any]) -> None:
        if source:
            target.append(self._state())
            self.points, self.paths, self.mask, self.feather = source.pop()

    def _state(self) -> tuple[Any, ...]:
        return self.points, self.paths, self.mask, self.feather

    @property
    def via(self) -> list[list[list[float]]]:
        """The paths as the canvas names them."""
        return self.paths if any(self.paths) else []

    def _pull(self, p: list[float], g: list[float]) -> None:
        self._path([p, g])

    _clicks = _pull

    def _path(self, points: list[list[float]]) -> None:
        p, *stops, g = map(self._inside, points)
        self.points, self.paths = [*self.points, p, g], [*self.paths, stops]

    def _move(self, index: int, p: list[float], to: list[float]) -> None:
        self.points = [self._inside(to) if k == index else q for k, q in enumerate(self.points)]

    def _nudge(self, index: int, key: str, shift: bool) -> None:
        dx, dy = {"ArrowLeft": (-1, 0), "ArrowRight": (1, 0), "ArrowUp": (0, -1), "ArrowDown": (0, 1)}[key]
        x, y = self.points[index]
        by = 10 if shift else 1
        self._move(index, [x, y], [x + by * dx, y + by * dy])

    def _remove(self, k: int) -> None:
        self.points = self.points[: 2 * k] + self.points[2 * k + 2 :]
        self.paths = self.paths[:k] + self.paths[k + 1 :]

    def _clear_points(self) -> None:
        self.points, self.paths = [], []

    def _clear_mask(self) -> None:
        self.mask = None

    def _invert(self) -> None:
        self.mask = ~self._mask_or(True)

    def _brush(self, points: list[list[float]], value: bool = True) -> None:
        near = np.zeros(self.size[::-1], bool)
        for a, b in zip(points, points[1:] or points, strict=False):
            near |= self._distance(np.array(a), np.array(b)) <= max(self.brush, 0.5**0.5)
        self.mask = np.where(near, value, self._mask_or(not value))

    def _erase(self, points: list[list[float]]) -> None:
        self._brush(points, False)

    def _polygon(self, corners: list[list[float]]) -> None:
        x, y = self._grid()
        odd = np.zeros(self.size[::-1], bool)
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            with np.errstate(divide="ignore", invalid="ignore"):
                odd ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
        self.mask = self._mask_or(False) | odd

    def _feather(self, value: float) -> None:
        self.feather = value

    def _zoom(self, *_: Any) -> None: ...

    def _pan(self, *_: Any) -> None: ...

    def _mask_or(self, value: bool) -> np.ndarray:
        return np.full(self.size[::-1], value) if self.mask is None else self.mask

    def _inside(self, p: list[float]) -> list[float]:
        return [round(min(max(v, 0.0), s - 1.0), 2) for v, s in zip(p, self.size, strict=True)]

    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        return np.meshgrid(*(np.arange(s) for s in self.size))

    def _distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        grid = np.stack(self._grid(), -1)
        along = ((grid - a) @ (b - a) / max(((b - a) ** 2).sum(), 1e-12)).clip(0, 1)
        return np.linalg.norm(grid - a - along[..., None] * (b - a), axis=-1)


def random_actions(dice: random.Random, oracle: Oracle, count: int) -> list[tuple[Any, ...]]:
    """Some actions that one can do one after the other; the oracle does them as they are thrown."""
    actions = []
    while len(actions) < count:
        action = _random_action(dice, oracle)
        if action:
            oracle.act(*action)
            actions.append(action)
    return actions


def _random_action(dice: random.Random, oracle: Oracle) -> tuple[Any, ...] | None:
    def place(margin: float = 0.0) -> list[float]:
        # Not on halves or integers, where which pixel is hit would be a matter of rounding.
        return [
            round(round(dice.uniform(-margin, s + margin - 1), 1) + dice.choice([0.03, 0.07]), 2) for s in oracle.size
        ]

    def free(p: list[float], but: int = -1) -> bool:
        return all(np.hypot(*np.subtract(p, q)) > 2.5 for k, q in enumerate(oracle.points) if k != but)

    names = ["pull", "clicks", "path", "move", "nudge", "remove", "brush", "erase", "polygon", "zoom", "pan", "feather"]
    name = dice.choice([*names, "undo", "undo", "redo", "invert", "clear-mask", "clear-points"])
    index = dice.randrange(len(oracle.points)) if oracle.points else -1
    if name in ("pull", "clicks"):
        p, g = place(), place(3.0 if name == "pull" else 0.0)  # a click beside the picture sets nothing
        return (name, p, g) if free(p) and np.hypot(*np.subtract(p, g)) > 3 else None
    if name == "path":
        way = [place() for _ in range(dice.randint(3, 5))]
        spread = [np.hypot(*np.subtract(p, q)) for p, q in pairwise(way)]
        return (name, way) if free(way[0]) and min(spread) > 8 else None  # none is so near that it would be left out
    if name in ("move", "nudge", "remove") and index < 0:
        return None
    if name == "move":
        p, to = oracle.points[index], place(3.0)
        return (name, index, p, to) if free(p, index) and np.hypot(*np.subtract(p, to)) > 3 else None
    if name == "nudge":
        key = dice.choice(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"])
        return name, index, key, dice.random() < 0.3
    if name == "remove":
        return name, index // 2
    if name in ("brush", "erase"):
        return name, [place(2.0) for _ in range(dice.randint(1, 4))]
    if name == "polygon":
        return name, [place(2.0) for _ in range(dice.randint(3, 6))]
    if name == "zoom":
        return name, place()
    if name == "pan":
        return name, place(), place()
    if name == "feather":
        return name, dice.choice([0, 0, 1.5, 3])
    return "button", name


def _equal(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    (p, v, m, f), (q, w, n, g) = a, b
    return p == q and v == w and f == g and ((m is None) == (n is None)) and (m is None or np.array_equal(m, n))


def _out(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return {"bytes": base64.b64encode(value).decode()}
    return json.loads(json.dumps(value, default=list))


def _in(value: Any) -> Any:
    return base64.b64decode(value["bytes"]) if isinstance(value, dict) and "bytes" in value else value
