/**
 * The drag canvas in the browser: draws the picture, the mask and the arrows, and hears mouse, finger, pen and keys.
 *
 * A `Store` stands between the model that Python shares and the views of it on the page; it keeps undo and redo. A
 * `View` holds what belongs to one place on the page: zoom, toolbar, the gesture under way. A gesture changes drafts
 * while it lasts and the model once, at its end.
 *
 * @typedef {[number, number]} Point (x, y), in image pixels with pixel centres at integers unless it says screen
 * @typedef {{width: number, height: number, bits: Uint8Array, count: number}} Mask bits: 1 where the picture may change
 * @typedef {{left: number, top: number, right: number, bottom: number}} Box pixels, right and bottom not included
 * @typedef {{scale: number, x: number, y: number}} Frame screen = (image + 0.5) * scale + (x, y), in CSS pixels
 * @typedef {{_picture: number[], points: Point[], via: Point[][], mask: DataView | null, feather: number}} Edited what
 *   undo brings back
 * @typedef {{move: (at: Point, event: PointerEvent) => void, end: (at: Point, event: PointerEvent) => void,
 *   cancel: () => void}} Gesture `at` on the screen, from the stage's corner
 */

const EDITED = ["_picture", "points", "via", "mask", "feather"];
const SHOWN = ["image", "preview", "mode", "brush", "selected", "locked", "compare", "trails", "status"];
const MOST_PAIRS = 100;
const MOST_STOPS = 900; // on all paths together, as in task.py
const MOST_OF_PATH = 60; // so that a region's dozen handles can have their copies of it
const MOST_OF_OUTLINE = 200;
const LEAST_GAP = 2; // image pixels between two points of a curve
const MOST_UNDONE = 200;
const PICTURES_KEPT = 8; // as in __init__.py
const LARGEST_FILE = 100_000_000; // bytes, as in __init__.py
const PIECE = 1_000_000; // bytes of a file in one message
const RUNS = 1;
const BITS = 2;
const HEAD = 9; // bytes: one of the above, width, height
const REACH = { mouse: 11, pen: 14, touch: 24 }; // how near to a point, in CSS pixels, counts as on it
const SLOP = 4; // CSS pixels that a click may move
const LARGEST_SCALE = 64; // CSS pixels per image pixel
const STROKE = "gooddrag-stroke"; // name of the performance measure: pointer moved → shown

const clamp = (/** @type {number} */ v, /** @type {number} */ low, /** @type {number} */ high) =>
  Math.max(low, Math.min(high, v));
const rounded = (/** @type {number} */ v) => Math.round(v * 100) / 100 + 0;
const apart = (/** @type {Point} */ a, /** @type {Point} */ b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
const said = (/** @type {Point} */ p) => p.map((v) => String(Math.round(v * 10) / 10)).join(", ");

/** @param {Frame} frame @param {Point} p image → screen @returns {Point} */
function toScreen(frame, p) {
  return [(p[0] + 0.5) * frame.scale + frame.x, (p[1] + 0.5) * frame.scale + frame.y];
}

/** @param {Frame} frame @param {Point} p screen → image @returns {Point} */
function toImage(frame, p) {
  return [(p[0] - frame.x) / frame.scale - 0.5, (p[1] - frame.y) / frame.scale - 0.5];
}

/** The whole picture, in the middle. @param {number[]} size @param {number[]} stage @returns {Frame} */
function fitted(size, stage) {
  const scale = Math.min(LARGEST_SCALE, stage[0] / size[0], stage[1] / size[1]) || 1;
  return { scale, x: (stage[0] - size[0] * scale) / 2, y: (stage[1] - size[1] * scale) / 2 };
}

/** Zoomed so that what is at the screen point stays there. @param {Frame} f @param {Point} at @param {number} scale */
function zoomed(f, at, scale) {
  const ratio = scale / f.scale;
  return { scale, x: at[0] - (at[0] - f.x) * ratio, y: at[1] - (at[1] - f.y) * ratio };
}

/**
 * Moved no further than leaves some of the picture in sight.
 * @param {Frame} f @param {number[]} size @param {number[]} stage
 */
function kept(f, size, stage) {
  const [x, y] = [f.x, f.y].map((v, k) => {
    const seen = Math.min(60, size[k] * f.scale);
    return clamp(v, seen - size[k] * f.scale, stage[k] - seen);
  });
  return { scale: f.scale, x, y };
}

/** A point of the picture, to a hundredth. @param {Point} p @param {number[]} size @returns {Point} */
function inside(p, size) {
  return [rounded(clamp(p[0], 0, size[0] - 1)), rounded(clamp(p[1], 0, size[1] - 1))];
}

/** Whether a point lies on a pixel of the picture. @param {Point} p @param {number[]} size */
const onPicture = (p, size) => p.every((v, k) => v >= -0.5 && v <= size[k] - 0.5);

/**
 * The index of the point nearest to a screen point, or -1.
 * @param {Point[]} onScreen @param {Point} at @param {number} reach
 */
function nearest(onScreen, at, reach) {
  let best = -1;
  onScreen.forEach((p, k) => {
    if (apart(p, at) <= (best < 0 ? reach : apart(onScreen[best], at))) best = k;
  });
  return best;
}

/**
 * A curve with fewer points: at most `most` between its ends, each some way from the one before.
 * @param {Point[]} way in image pixels @param {number} most @returns {Point[]}
 */
function thinned(way, most) {
  const length = way.reduce((sum, p, k) => sum + (k ? apart(way[k - 1], p) : 0), 0);
  const gap = Math.max(LEAST_GAP, length / most);
  const end = way[way.length - 1];
  const kept = [way[0]];
  for (const p of way) if (apart(kept[kept.length - 1], p) >= gap) kept.push(p);
  while (kept.length > 1 && apart(kept[kept.length - 1], end) < gap) kept.pop();
  return [...kept, end];
}

/** All that the pointer did since the last event. @param {PointerEvent} event @returns {PointerEvent[]} */
function coalesced(event) {
  const events = event.getCoalescedEvents?.() ?? [];
  return events.length ? events : [event];
}

/** @param {number[]} size @param {number} value @returns {Mask} */
function plainMask(size, value) {
  const bits = new Uint8Array(size[0] * size[1]).fill(value);
  return { width: size[0], height: size[1], bits, count: value * bits.length };
}

/** All of a mask. @param {{width: number, height: number}} mask @returns {Box} */
const whole = (mask) => ({ left: 0, top: 0, right: mask.width, bottom: mask.height });

/** @param {Box | null} a @param {Box | null} b @returns {Box | null} */
function joined(a, b) {
  if (!a || !b) return a || b;
  return {
    left: Math.min(a.left, b.left),
    top: Math.min(a.top, b.top),
    right: Math.max(a.right, b.right),
    bottom: Math.max(a.bottom, b.bottom),
  };
}

/** Fill pixels from…to of one row, both included and fractional. @param {Mask} mask */
function fillRow(
  mask,
  /** @type {number} */ y,
  /** @type {number} */ from,
  /** @type {number} */ to,
  /** @type {number} */ value,
) {
  const left = Math.max(0, Math.ceil(from));
  const right = Math.min(mask.width - 1, Math.floor(to));
  if (left <= right) mask.bits.fill(value, y * mask.width + left, y * mask.width + right + 1);
}

/**
 * Paint every pixel whose centre is no further than `radius` from the line a–b.
 * @param {Mask} mask @param {Point} a @param {Point} b @param {number} radius @param {number} value @returns {Box}
 */
function paintLine(mask, a, b, radius, value) {
  const r = Math.max(radius, Math.SQRT1_2); // so that a dab never falls between pixels
  const length = apart(a, b);
  const [nx, ny] = length ? [((a[1] - b[1]) / length) * r, ((b[0] - a[0]) / length) * r] : [0, 0];
  /** @type {Point[]} */
  const corners = [
    [a[0] + nx, a[1] + ny],
    [b[0] + nx, b[1] + ny],
    [b[0] - nx, b[1] - ny],
    [a[0] - nx, a[1] - ny],
  ];
  const top = Math.max(0, Math.ceil(Math.min(a[1], b[1]) - r));
  const bottom = Math.min(mask.height - 1, Math.floor(Math.max(a[1], b[1]) + r));
  for (let y = top; y <= bottom; y++) {
    let [from, to] = [Infinity, -Infinity];
    for (const p of [a, b]) {
      const half = Math.sqrt(r * r - (y - p[1]) ** 2);
      if (half >= 0) [from, to] = [Math.min(from, p[0] - half), Math.max(to, p[0] + half)];
    }
    for (const x of length ? crossings(corners, y) : []) [from, to] = [Math.min(from, x), Math.max(to, x)];
    fillRow(mask, y, from, to, value);
  }
  const [left, right] = [Math.min(a[0], b[0]) - r, Math.max(a[0], b[0]) + r];
  return {
    left: Math.max(0, Math.floor(left)),
    top,
    right: Math.min(mask.width, Math.ceil(right) + 1),
    bottom: bottom + 1,
  };
}

/** Where the sides of a polygon cross a row, from left to right. @param {Point[]} corners @param {number} y */
function crossings(corners, y) {
  const xs = corners.flatMap((p, k) => {
    const q = corners[(k + 1) % corners.length];
    return p[1] <= y === q[1] <= y ? [] : [p[0] + ((y - p[1]) / (q[1] - p[1])) * (q[0] - p[0])];
  });
  return xs.sort((a, b) => a - b);
}

/**
 * Fill the pixels whose centres lie in a polygon (even-odd).
 * @param {Mask} mask @param {Point[]} corners @param {number} value
 */
function fillPolygon(mask, corners, value) {
  const ys = corners.map((p) => p[1]);
  const bottom = Math.min(mask.height - 1, Math.floor(Math.max(...ys)));
  for (let y = Math.max(0, Math.ceil(Math.min(...ys))); y <= bottom; y++) {
    const xs = crossings(corners, y);
    for (let k = 0; k + 1 < xs.length; k += 2) fillRow(mask, y, xs[k], xs[k + 1], value);
  }
}

/**
 * A mask → its bytes: run lengths, 0 first, as LEB128 numbers, or one bit a pixel where that is shorter. wire.py
 * writes the same. Brings the mask's count up to date on the way.
 * @param {Mask} mask @returns {DataView}
 */
function encodeMask(mask) {
  const { bits } = mask;
  const most = Math.ceil(bits.length / 8);
  const out = new Uint8Array(HEAD + most);
  let size = HEAD;
  let [from, value] = [0, 0];
  mask.count = 0;
  while (from < bits.length && size < HEAD + most) {
    const next = bits.indexOf(1 - value, from);
    let run = (next < 0 ? bits.length : next) - from;
    from += run;
    mask.count += value * run;
    value = 1 - value;
    for (; run >= 128; run = Math.floor(run / 128)) out[size++] = (run % 128) + 128; // past the end nothing is written
    out[size++] = run;
  }
  const fits = from >= bits.length && size <= HEAD + most;
  if (!fits) {
    out.fill(0);
    mask.count = bits.reduce((sum, bit) => sum + bit, 0);
    bits.forEach((bit, k) => (out[HEAD + (k >> 3)] |= bit << (k & 7)));
  }
  const view = new DataView(fits ? out.slice(0, size).buffer : out.buffer);
  view.setUint8(0, fits ? RUNS : BITS);
  view.setUint32(1, mask.width, true);
  view.setUint32(5, mask.height, true);
  return view;
}

/** The inverse of `encodeMask`. @param {DataView} view @returns {Mask} */
function decodeMask(view) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const mask = plainMask([view.getUint32(1, true), view.getUint32(5, true)], 0);
  if (view.getUint8(0) === BITS) {
    for (let k = 0; k < mask.bits.length; k++) mask.bits[k] = (bytes[HEAD + (k >> 3)] >> (k & 7)) & 1;
    mask.count = mask.bits.reduce((sum, bit) => sum + bit, 0);
    return mask;
  }
  let [at, value, run, place] = [0, 0, 0, 1];
  for (let k = HEAD; k < bytes.length; k++) {
    run += (bytes[k] & 127) * place;
    place *= 128;
    if (bytes[k] >= 128) continue;
    if (value) mask.bits.fill(1, at, at + run);
    mask.count += value * run;
    at += run;
    [value, run, place] = [1 - value, 0, 1];
  }
  return mask;
}

/** @param {DataView | null} a @param {DataView | null} b */
function sameBytes(a, b) {
  if (a === b || !a || !b || a.byteLength !== b.byteLength) return a === b;
  for (let k = 0; k < a.byteLength; k++) if (a.getUint8(k) !== b.getUint8(k)) return false;
  return true;
}

/** @param {Edited} a @param {Edited} b */
function sameEdited(a, b) {
  const rest = (/** @type {Edited} */ e) => JSON.stringify([e._picture, e.points, e.via, e.feather]);
  return rest(a) === rest(b) && sameBytes(a.mask, b.mask);
}

/**
 * A picture in its own size, half of it, a quarter …: each zoom then draws from one that is at most twice too large.
 * @param {DataView} bytes a picture file @returns {Promise<CanvasImageSource[]>}
 */
async function halvings(bytes) {
  const bitmap = await createImageBitmap(new Blob([/** @type {any} */ (bytes)]));
  /** @type {any[]} */
  const levels = [bitmap];
  for (let last = bitmap; Math.max(last.width, last.height) > 512; last = levels[levels.length - 1]) {
    const half = Object.assign(document.createElement("canvas"), {
      width: Math.ceil(last.width / 2),
      height: Math.ceil(last.height / 2),
    });
    context(half).drawImage(last, 0, 0, half.width, half.height);
    levels.push(half);
  }
  return levels;
}

/** @param {HTMLCanvasElement} canvas @returns {CanvasRenderingContext2D} */
const context = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

/** What all views of one model share: its state as they see it, undo and redo, the stroke under way. */
class Store {
  /** @param {any} model of anywidget */
  constructor(model) {
    this.model = model;
    /** @type {Set<(what: {box?: Box, outside?: boolean}) => void>} */
    this.listeners = new Set();
    /** @type {Edited[]} */
    this.past = [];
    /** @type {Edited[]} */
    this.future = [];
    this.merge = "";
    this.writing = false;
    this.queued = false;
    /** @type {{bytes: DataView | null, mask: Mask | null}} */
    this.decoded = { bytes: null, mask: null };
    /** @type {Mask | null} the mask that a stroke is changing */
    this.draft = null;
    this.layer = document.createElement("canvas"); // opaque where the picture stays, in image pixels
    /** @type {DataView | null} the mask that the layer shows */
    this.drawn = null;
    /** @type {Map<number, CanvasImageSource[]>} picture number → its halvings */
    this.album = new Map();
    /** @type {CanvasImageSource[] | null} */
    this.preview = null;
    this.now = this.snapshot();
    for (const name of [...EDITED, ...SHOWN]) model.on(`change:${name}`, () => this.heard(name));
    this.drawLayer();
    this.readPicture();
    this.readPreview();
  }

  /** @returns {Edited} */
  snapshot() {
    const [_picture, points, via, mask, feather] = EDITED.map((name) => this.model.get(name));
    return { _picture, points, via, mask, feather };
  }

  /** @param {string} name */
  get(name) {
    return this.model.get(name);
  }

  /** Width and height of the picture; 0 where there is none. @returns {number[]} */
  get size() {
    return this.now._picture.slice(1);
  }

  get pairs() {
    return this.now.points.length / 2;
  }

  /** What each arrow's handle passes by. @returns {Point[][]} */
  get paths() {
    const { via } = this.now;
    return via.length === this.pairs ? via : Array(this.pairs).fill([]);
  }

  /** The mask to show, or null where everything may change. @returns {Mask | null} */
  get mask() {
    if (this.draft) return this.draft;
    const bytes = this.now.mask;
    if (bytes !== this.decoded.bytes) this.decoded = { bytes, mask: bytes && decodeMask(bytes) };
    const { mask } = this.decoded;
    return mask && mask.width === this.size[0] && mask.height === this.size[1] ? mask : null;
  }

  /** The picture's halvings once they are decoded. @returns {CanvasImageSource[] | null} */
  get picture() {
    return this.album.get(this.now._picture[0]) ?? null;
  }

  /**
   * Change the model by one action of the user.
   * @param {Record<string, any>} changes @param {string} merge actions of the same non-empty name are undone together
   */
  commit(changes, merge = "") {
    const next = { ...this.now };
    for (const name of EDITED) if (name in changes) /** @type {any} */ (next)[name] = changes[name];
    if (!sameEdited(next, this.now)) {
      if (!merge || merge !== this.merge) this.past.push(this.now);
      if (this.past.length > MOST_UNDONE) this.past.shift();
      this.future = [];
      this.merge = merge;
    }
    this.write(changes);
  }

  /** @param {Record<string, any>} changes */
  write(changes) {
    this.writing = true;
    for (const [name, value] of Object.entries(changes)) this.model.set(name, value);
    this.writing = false;
    this.now = this.snapshot();
    this.model.save_changes();
    if (this.now.mask !== this.drawn) this.drawLayer();
    this.tell({});
  }

  undo() {
    return this.turn(this.past, this.future);
  }

  redo() {
    return this.turn(this.future, this.past);
  }

  /** @param {Edited[]} from @param {Edited[]} to @returns {boolean} whether there was something */
  turn(from, to) {
    const newest = Math.max(...this.album.keys(), this.now._picture[0]);
    const entry = from.pop();
    if (!entry) return false;
    if (entry._picture[0] && entry._picture[0] <= newest - PICTURES_KEPT) {
      from.length = 0;
      return false;
    }
    to.push(this.now);
    this.merge = "";
    const selected = this.get("selected") < entry.points.length / 2 ? this.get("selected") : -1;
    this.write({ ...entry, selected });
    return true;
  }

  /** Something changed that isn't our own writing: Python did it. @param {string} name */
  heard(name) {
    if (this.writing) return;
    if (name === "image" || name === "_picture") this.readPicture();
    if (name === "preview") this.readPreview();
    if (this.queued) return;
    this.queued = true;
    queueMicrotask(() => this.absorb()); // after all that came in the same message
  }

  absorb() {
    this.queued = false;
    const now = this.snapshot();
    const outside = !sameEdited(now, this.now);
    if (outside) {
      this.past.push(this.now);
      this.future = [];
      this.merge = "";
      this.draft = null;
    }
    this.now = now;
    if (outside) this.drawLayer();
    this.tell({ outside });
  }

  /** @param {{box?: Box, outside?: boolean}} what */
  tell(what) {
    for (const listener of this.listeners) listener(what);
  }

  /**
   * A copy of the mask for a stroke to change, or null where another one is under way.
   * @param {number} value of the stroke
   */
  beginStroke(value) {
    if (this.draft) return null;
    const mask = this.mask;
    this.draft = mask ? { ...mask, bits: mask.bits.slice() } : plainMask(this.size, 1 - value);
    if (!mask) this.drawLayer();
    return this.draft;
  }

  /** @param {boolean} keep */
  endStroke(keep) {
    const { draft } = this;
    this.draft = null;
    if (!draft) return;
    if (keep) {
      const bytes = encodeMask(draft);
      this.decoded = { bytes, mask: draft };
      this.drawn = bytes;
      this.commit({ mask: bytes });
    } else {
      this.drawLayer();
      this.tell({ box: whole(draft) });
    }
  }

  /** Take the layer's memory, tens of megabytes for a photo, before the first stroke needs it. */
  sizeLayer() {
    const { layer } = this;
    const [width, height] = this.size;
    if (!width || (layer.width === width && layer.height === height)) return;
    Object.assign(layer, { width, height });
    context(layer).putImageData(new ImageData(1, 1), 0, 0);
  }

  /** Bring the layer up to date with the mask. @param {Box} [box] only there */
  drawLayer(box) {
    const { mask, layer } = this;
    if (!box) this.drawn = this.draft ? null : this.now.mask;
    if (!mask) return;
    this.sizeLayer();
    if (!box && (!mask.count || mask.count === mask.bits.length)) {
      context(layer)[mask.count ? "clearRect" : "fillRect"](0, 0, mask.width, mask.height); // a hundred times as quick
      return;
    }
    const { left, top, right, bottom } = box ?? whole(mask);
    const rows = Math.max(1, Math.floor(1_000_000 / (right - left))); // a few megabytes at a time
    for (let y = top; y < bottom && left < right; y += rows) {
      const data = new ImageData(right - left, Math.min(rows, bottom - y));
      const pixels = new Uint32Array(data.data.buffer);
      for (let k = 0, row = 0; row < data.height; row++) {
        const start = (y + row) * mask.width;
        for (let x = left; x < right; x++, k++) if (!mask.bits[start + x]) pixels[k] = 0xff000000;
      }
      context(layer).putImageData(data, left, y);
    }
  }

  async readPicture() {
    const number = this.get("_picture")[0];
    const bytes = this.get("image");
    if (!number || !bytes || this.album.has(number)) return;
    const levels = await halvings(bytes);
    if (this.get("image") !== bytes) return;
    this.album.set(number, levels);
    for (const old of this.album.keys()) if (old <= number - PICTURES_KEPT) this.album.delete(old);
    this.tell({});
  }

  async readPreview() {
    const bytes = this.get("preview");
    const levels = bytes && (await halvings(bytes));
    if (this.get("preview") !== bytes) return; // a newer one is on its way
    this.preview = levels;
    this.tell({});
  }
}

const ICONS = {
  drag: "M5 19 17 7M10 6h8v8M3.5 19a2 2 0 1 0 4 0 2 2 0 1 0-4 0",
  path: "M3.5 19a2 2 0 1 0 4 0 2 2 0 1 0-4 0M5.5 17c0-15 12-15 12 0M13.5 13.5l4 4 4-4",
  region: "M9 4q-4 1-5 5M15 4q4 1 5 5M20 15q-1 4-5 5M9 20q-4-1-5-5M8 12h8M13 9l3 3-3 3",
  brush: "M14 4l6 6-8 7-5-5zM7 12l5 5c-1 3-5 4-8 3 2-1 1-5 3-8",
  erase: "M4 15 14 5l6 6-9 9H8zM9 10l6 6M11 20h9",
  polygon: "M5 8 13 4l7 7-4 9H7zM5 8h.01M13 4h.01M20 11h.01M16 20h.01M7 20h.01",
  pan: "M12 3v18M3 12h18M9.5 5.5 12 3l2.5 2.5M9.5 18.5 12 21l2.5-2.5M5.5 9.5 3 12l2.5 2.5M18.5 9.5 21 12l-2.5 2.5",
  undo: "M9 5 4 10l5 5M4 10h10a6 6 0 0 1 0 11h-3",
  redo: "M15 5l5 5-5 5M20 10H10a6 6 0 0 0 0 11h3",
  delete: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  invert: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16M15 7.5v9M18 10v4",
  "clear-mask": "M4 4h16v16H4zM9 9l6 6M15 9l-6 6",
  "clear-points": "M4 18 12 10M9 9h4v4M15 13l5 5M20 13l-5 5",
  "zoom-out": "M4 10a6 6 0 1 0 12 0 6 6 0 1 0-12 0M15 15l6 6M7 10h6",
  fit: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  "zoom-in": "M4 10a6 6 0 1 0 12 0 6 6 0 1 0-12 0M15 15l6 6M7 10h6M10 7v6",
  upload: "M12 16V4M7 9l5-5 5 5M4 16v4h16v-4",
  help: "M9 9a3 3 0 1 1 4 3c-1 .5-1 1-1 2.5M12 18h.01",
};

const GROUPS = {
  tools: [
    ["drag", "Drag arrows (D): press on a point and pull, or click twice"],
    ["path", "Path (C): press on a handle and draw the curve to its target"],
    ["region", "Region (R): draw an arrow, then circle what is to move along with it as a whole"],
    ["brush", "Brush (B): paint what may change"],
    ["erase", "Eraser (E): paint what stays as it is"],
    ["polygon", "Polygon (P): click corners; Enter or a double click fills, Esc drops it"],
    ["pan", "Move the picture (H)"],
  ],
  history: [
    ["undo", "Undo (Ctrl+Z)"],
    ["redo", "Redo (Ctrl+Y)"],
  ],
  edit: [
    ["delete", "Delete the selected arrow (Delete)"],
    ["clear-points", "Delete all arrows"],
    ["invert", "Invert the mask (I)"],
    ["clear-mask", "Clear the mask: everything may change"],
  ],
  view: [
    ["zoom-out", "Zoom out (-)"],
    ["fit", "Fit the picture (0)"],
    ["zoom-in", "Zoom in (+)"],
  ],
  more: [
    ["upload", "Open a picture of your own"],
    ["help", "Keys"],
  ],
};
const TOOLS = GROUPS.tools.map(([name]) => name);
const MASK_TOOLS = ["brush", "erase", "polygon"];
const CURVE_TOOLS = ["path", "region"];
const KEYS = {
  d: "drag",
  c: "path",
  r: "region",
  b: "brush",
  e: "erase",
  p: "polygon",
  h: "pan",
  i: "invert",
  "+": "zoom-in",
  "=": "zoom-in",
  "-": "zoom-out",
  0: "fit",
};
const HELP = [
  ["Tab", "to the arrows' ends, one by one"],
  ["Arrow keys", "nudge what is focused by 1 px (Shift 10, Alt 0.1), else move the picture"],
  ["Enter", "a new arrow in the middle; on a point: done, on to the next; a polygon, path or region: done"],
  ["Delete", "the arrow that is selected"],
  ["Ctrl+Z, Ctrl+Y", "undo, redo"],
  ["D C R", "drag straight, along a path, a whole region"],
  ["B E P H", "brush, eraser, polygon, move the picture"],
  ["Space", "at the cross that the arrow keys move: a dab of the brush, a corner, a point of a path or round a region"],
  ["[ ]", "a smaller, a larger brush"],
  ["I", "invert the mask"],
  ["+ - 0", "zoom in, out, fit; so does the wheel once the picture has the focus"],
  ["Esc", "drop what is under way, select nothing"],
];

const LASSO = "Draw a closed curve around what is to move as a whole, with an arrow's handle inside.";

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes and children; svg:name makes one of SVG.
 * @param {string} name @param {Record<string, any>} [attributes] @param {...(Node | string)} children @returns {any}
 */
function make(name, attributes = {}, ...children) {
  const [local, svg] = name.startsWith("svg:") ? [name.slice(4), true] : [name, false];
  const element = svg ? document.createElementNS(SVG, local) : document.createElement(local);
  set(element, attributes);
  element.append(...children);
  return element;
}

/** @param {Element} element @param {Record<string, any>} attributes */
function set(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (element.getAttribute(key) !== String(value)) element.setAttribute(key, String(value));
  }
}

/** @param {keyof typeof ICONS} name @param {string} title */
function button(name, title) {
  const icon = make("svg:svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, make("svg:path", { d: ICONS[name] }));
  const tool = TOOLS.includes(name) ? { "aria-pressed": "false" } : {};
  return make(
    "button",
    { type: "button", "data-action": name, title, "aria-label": title, tabindex: -1, ...tool },
    icon,
  );
}

/** A slider with its name and number. @param {string} name @param {string} title */
function slider(name, title) {
  const input = make("input", {
    type: "range",
    "data-trait": name,
    min: 0,
    max: 100,
    step: 0.5,
    "aria-label": title,
    title,
  });
  return make("label", { class: "gd-slider", "data-for": name }, name, input, make("output"));
}

/** The fixed parts of a view. @param {HTMLElement} el */
function build(el) {
  const groups = Object.entries(GROUPS).map(([name, buttons]) =>
    make(
      "span",
      { class: "gd-group", role: "group", "aria-label": name },
      ...buttons.map(([a, b]) => button(/** @type {any} */ (a), b)),
    ),
  );
  const sliders = make(
    "span",
    { class: "gd-group gd-sliders" },
    slider("brush", "Radius of the brush in pixels"),
    slider("feather", "Width of the mask's soft edge in pixels"),
  );
  const parts = {
    toolbar: make("div", { class: "gd-toolbar", role: "toolbar", "aria-label": "Drag canvas" }, ...groups, sliders),
    base: make("canvas", { class: "gd-base", "aria-hidden": "true" }),
    veil: make("canvas", { class: "gd-veil", "aria-hidden": "true" }),
    trails: make("svg:g", { class: "gd-trails" }),
    shafts: make("svg:g", { class: "gd-shafts" }),
    arrows: make("svg:g", { class: "gd-arrows" }),
    sketch: make("svg:g", { class: "gd-sketch" }),
    divider: make("div", {
      class: "gd-divider",
      role: "slider",
      tabindex: 0,
      "aria-label": "Before and after",
      "aria-valuemin": 0,
      "aria-valuemax": 100,
    }),
    empty: make(
      "div",
      { class: "gd-empty" },
      make("p", {}, "Drop a picture here"),
      make("button", { type: "button", "data-action": "upload" }, "or choose one …"),
    ),
    status: make("span", { class: "gd-status", role: "status", "aria-live": "polite" }),
    zoom: make("span", { class: "gd-zoom" }),
    file: make("input", {
      type: "file",
      accept: "image/*,.tif,.tiff,.webp,.avif",
      hidden: "",
      "aria-hidden": "true",
      tabindex: -1,
    }),
    help: make(
      "dl",
      { class: "gd-help", hidden: "" },
      ...HELP.flatMap(([key, text]) => [make("dt", {}, key), make("dd", {}, text)]),
    ),
  };
  const marks = make("svg:svg", { class: "gd-marks" }, parts.trails, parts.shafts, parts.arrows, parts.sketch);
  const stage = make(
    "div",
    { class: "gd-stage", tabindex: 0, role: "application" },
    parts.base,
    parts.veil,
    marks,
    parts.divider,
    parts.empty,
  );
  const foot = make("div", { class: "gd-foot" }, parts.status, parts.zoom);
  const root = make(
    "div",
    { class: "gd-canvas", "data-lm-suppress-shortcuts": "true" },
    parts.toolbar,
    stage,
    parts.help,
    foot,
    parts.file,
  );
  el.append(root);
  return { root, stage, marks, ...parts };
}

/** One place on the page that shows the canvas. */
class View {
  /** @param {Store} store @param {HTMLElement} el */
  constructor(store, el) {
    this.store = store;
    this.parts = build(el);
    this.abort = new AbortController();
    /** @type {Frame} */
    this.frame = { scale: 1, x: 0, y: 0 };
    this.fit = true;
    this.stage = [0, 0]; // CSS pixels
    this.ratio = 1; // device pixels per CSS pixel
    this.dirty = { base: true, veil: true, marks: true };
    /** @type {Box | null} image pixels; what of the veil is to be drawn again, null: all */
    this.dirtyBox = null;
    this.request = 0;
    this.strokeSince = 0; // when the pointer made the change that the next frame shows
    /** @type {Map<number, Point>} */
    this.pointers = new Map();
    /** @type {Gesture | null} */
    this.gesture = null;
    /** @type {Point | null} the first click of two */
    this.pending = null;
    /** @type {{index: number, at: Point} | null} a point on the move */
    this.draft = null;
    /** @type {Point[]} */
    this.polygon = [];
    /** @type {Point[]} the curve under way, of a path or round a region */
    this.way = [];
    /** @type {Point | null} where the pointer, or the keys' cross, is */
    this.hover = null;
    this.cross = false; // whether the keys moved it last
    /** @type {number | null} */
    this.compareDraft = null;
    this.presses = 0; // of keys; a held one counts once
    this.pattern = hatch();
    this.seen = { status: store.get("status"), mode: store.get("mode"), picture: "" };
    this.listen();
    this.say(store.get("status"));
    this.refresh({});
  }

  /**
   * @param {EventTarget} target @param {string} names @param {(event: any) => void} hear
   * @param {AddEventListenerOptions} [how]
   */
  on(target, names, hear, how = {}) {
    for (const name of names.split(" ")) target.addEventListener(name, hear, { ...how, signal: this.abort.signal });
  }

  listen() {
    const { root, stage, toolbar, divider, file } = this.parts;
    const told = (/** @type {{box?: Box, outside?: boolean}} */ what) => this.refresh(what);
    this.store.listeners.add(told);
    this.abort.signal.addEventListener("abort", () => this.store.listeners.delete(told));
    const observer = new ResizeObserver(() => this.resize());
    observer.observe(stage);
    this.abort.signal.addEventListener("abort", () => observer.disconnect());
    this.on(window, "resize", () => this.resize()); // also when the device pixel ratio changes
    this.on(stage, "pointerdown", (e) => this.press(e));
    this.on(stage, "pointermove", (e) => this.moved(e));
    this.on(stage, "pointerup", (e) => this.release(e));
    this.on(stage, "pointercancel lostpointercapture", (e) => this.lose(e));
    this.on(stage, "pointerleave", () => this.pointAt(null));
    this.on(stage, "mousedown", (e) => e.target.closest("button") || e.preventDefault()); // the focus is ours to give
    this.on(stage, "dblclick", (e) => this.closePolygon(e.altKey));
    this.on(stage, "wheel", (e) => this.wheel(e), { passive: false });
    this.on(root, "keydown", (e) => this.key(e));
    this.on(root, "focusin", (e) => this.focused(e.target));
    this.on(root, "click", (e) => this.clicked(e.target.closest("[data-action]")));
    this.on(root, "input", (e) => this.slid(e.target, false));
    this.on(root, "change", (e) => (e.target === file ? this.upload(file.files) : this.slid(e.target, true)));
    this.on(root, "dragover", (e) => e.preventDefault());
    this.on(root, "drop", (e) => {
      e.preventDefault();
      e.stopPropagation();
      this.upload(e.dataTransfer.files);
    });
    this.on(toolbar, "keydown", (e) => this.toolbarKey(e));
    this.on(divider, "pointerdown", (e) => this.pressDivider(e));
    this.on(divider, "keydown", (e) => this.dividerKey(e));
  }

  remove() {
    this.gesture?.cancel();
    this.abort.abort();
    cancelAnimationFrame(this.request);
    this.parts.root.remove();
  }

  get size() {
    return this.store.size;
  }

  /** The page's focused element. @returns {Element | null} */
  get focus() {
    return /** @type {any} */ (this.parts.root.getRootNode()).activeElement;
  }

  get mode() {
    return this.store.get("mode");
  }

  get locked() {
    return this.store.get("locked") || !this.size[0];
  }

  get selected() {
    return this.store.get("selected");
  }

  /** The points as they look now, a moving one where it is. @returns {Point[]} */
  get points() {
    const { points } = this.store.now;
    return this.draft ? points.map((p, k) => (k === this.draft?.index ? this.draft.at : p)) : points;
  }

  get compare() {
    return this.compareDraft ?? this.store.get("compare");
  }

  /** @param {string} text */
  say(text) {
    this.parts.status.textContent = text;
  }

  /** The store changed. @param {{box?: Box, outside?: boolean}} what */
  refresh(what) {
    const { store, seen, parts } = this;
    if (what.box) return this.invalidate({ veil: true }, what.box);
    if (what.outside || store.get("mode") !== seen.mode || this.locked) this.drop();
    const picture = store.now._picture.join();
    if (picture !== seen.picture) {
      this.fit = true;
      parts.stage.style.setProperty("--gd-aspect", this.size[0] ? `${this.size[0]} / ${this.size[1]}` : "2");
      this.resize();
    }
    if (store.get("status") !== seen.status) this.say(store.get("status"));
    if (MASK_TOOLS.includes(this.mode)) store.sizeLayer();
    Object.assign(seen, { status: store.get("status"), mode: store.get("mode"), picture });
    this.showControls();
    this.invalidate({ base: true, veil: true, marks: true });
  }

  /** Put aside what the user had begun. */
  drop() {
    this.gesture?.cancel();
    this.gesture = null;
    this.pending = null;
    this.draft = null;
    this.polygon = [];
    this.way = [];
    this.invalidate({ marks: true });
  }

  /** Buttons, sliders and labels as the state has them. */
  showControls() {
    const { store, parts, mode } = this;
    const off = {
      undo: this.locked ? !store.past.length || store.get("locked") : !store.past.length,
      redo: !store.future.length || store.get("locked"),
      delete: this.locked || this.selected < 0,
      "clear-points": this.locked || !store.pairs,
      invert: this.locked,
      "clear-mask": this.locked || !store.now.mask,
      upload: store.get("locked"),
      drag: this.locked,
      path: this.locked,
      region: this.locked,
      brush: this.locked,
      erase: this.locked,
      polygon: this.locked,
    };
    for (const b of parts.toolbar.querySelectorAll("button")) {
      const name = b.dataset.action;
      set(b, { "aria-disabled": Boolean(/** @type {any} */ (off)[name]) });
      if (TOOLS.includes(name)) set(b, { "aria-pressed": mode === name });
    }
    this.rove(parts.toolbar.querySelector("button[tabindex='0']") ?? parts.toolbar.querySelector("button"));
    const side = Math.max(...this.size, 64);
    for (const [name, least, most] of /** @type {[string, number, number][]} */ ([
      ["brush", 0.5, side / 4],
      ["feather", 0, side / 8],
    ])) {
      const label = parts.toolbar.querySelector(`[data-for="${name}"]`);
      const input = label.querySelector("input");
      set(input, { min: least, max: Math.max(most, store.get(name)) });
      input.disabled = this.locked;
      if (input !== this.focus || Number(input.value) !== store.get(name)) input.value = store.get(name);
      label.querySelector("output").textContent = `${Math.round(store.get(name) * 10) / 10} px`;
    }
    set(parts.root, { "data-mode": mode, "data-locked": store.get("locked"), "data-empty": !this.size[0] });
    set(parts.stage, { "aria-label": this.description() });
    parts.empty.hidden = Boolean(this.size[0]);
  }

  description() {
    if (!this.size[0]) return "Drag canvas without a picture";
    const { mask } = this.store;
    const share = mask ? `${Math.round((100 * mask.count) / mask.bits.length)} %` : "all of it";
    const size = this.size.join(" by ");
    return `Picture of ${size} pixels, ${this.store.pairs} arrow(s), ${share} may change. Tool: ${this.mode}.`;
  }

  resize() {
    const { stage, base, veil } = this.parts;
    const [width, height] = [stage.clientWidth, stage.clientHeight];
    const ratio = window.devicePixelRatio || 1;
    if (!width || !height) return;
    const middle = toImage(this.frame, [this.stage[0] / 2, this.stage[1] / 2]);
    this.stage = [width, height];
    this.ratio = ratio;
    for (const canvas of [base, veil]) {
      const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
      if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    }
    if (this.fit) return this.look(fitted(this.size, this.stage), true);
    const { scale } = this.frame;
    this.look({ scale, x: width / 2 - (middle[0] + 0.5) * scale, y: height / 2 - (middle[1] + 0.5) * scale }, false);
  }

  /** @param {Frame} frame @param {boolean} fit */
  look(frame, fit) {
    if (!this.size[0]) return;
    this.fit = fit;
    this.frame = fit ? frame : kept(frame, this.size, this.stage);
    set(this.parts.stage, { "data-frame": [this.frame.scale, this.frame.x, this.frame.y].join(" ") });
    this.parts.zoom.textContent = `${Math.round(this.frame.scale * 100)} %`;
    this.invalidate({ base: true, veil: true, marks: true });
  }

  /** @param {number} factor @param {Point} [at] */
  zoom(factor, at = [this.stage[0] / 2, this.stage[1] / 2]) {
    const least = Math.min(1, fitted(this.size, this.stage).scale) / 2;
    this.look(zoomed(this.frame, at, clamp(this.frame.scale * factor, least, LARGEST_SCALE)), false);
  }

  /** @param {number} dx CSS pixels @param {number} dy */
  pan(dx, dy) {
    this.look({ ...this.frame, x: this.frame.x + dx, y: this.frame.y + dy }, false);
  }

  /** Ask for a frame. @param {{base?: boolean, veil?: boolean, marks?: boolean}} what @param {Box} [box] of the veil */
  invalidate(what, box) {
    if (what.veil) this.dirtyBox = box && (this.dirtyBox || !this.dirty.veil) ? joined(this.dirtyBox, box) : null;
    for (const key of /** @type {const} */ (["base", "veil", "marks"])) this.dirty[key] ||= Boolean(what[key]);
    this.request ||= requestAnimationFrame(() => this.paint());
  }

  paint() {
    const { dirty } = this;
    const since = this.strokeSince;
    this.request = 0;
    if (dirty.base) this.paintBase();
    if (dirty.veil) this.paintVeil(this.dirtyBox);
    if (dirty.marks) this.paintMarks();
    Object.assign(dirty, { base: false, veil: false, marks: false });
    this.dirtyBox = null;
    this.strokeSince = 0;
    if (!since) return;
    const { port1, port2 } = new MessageChannel(); // heard once the browser has put this frame together
    port1.onmessage = () => {
      performance.measure(STROKE, { start: since, end: performance.now() });
      port1.close();
    };
    port2.postMessage(null);
  }

  paintBase() {
    const ctx = context(this.parts.base);
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, ctx.canvas.width, ctx.canvas.height);
    if (!this.size[0]) return;
    const { preview, picture } = this.store;
    if (!preview) return this.drawPicture(ctx, picture, 0, 1);
    this.drawPicture(ctx, preview, this.compare, 1);
    if (this.compare > 0) this.drawPicture(ctx, picture, 0, this.compare);
  }

  /**
   * @param {CanvasRenderingContext2D} ctx @param {any[] | null} levels @param {number} from part of the width
   * @param {number} to
   */
  drawPicture(ctx, levels, from, to) {
    if (!levels || from >= to) return;
    const scale = this.frame.scale * this.ratio * (this.size[0] / levels[0].width);
    const level = levels[clamp(Math.floor(Math.log2(1 / scale) + 0.01), 0, levels.length - 1)];
    const [x, y] = [this.frame.x * this.ratio, this.frame.y * this.ratio];
    const [w, h] = this.size.map((v) => v * this.frame.scale * this.ratio);
    ctx.save();
    ctx.beginPath();
    ctx.rect(x + from * w, y, (to - from) * w, h);
    ctx.clip();
    ctx.imageSmoothingEnabled = scale < 3 || this.fit; // single pixels are for those who have zoomed in
    ctx.imageSmoothingQuality = scale > 1 ? "high" : "medium";
    ctx.drawImage(level, x, y, w, h);
    ctx.restore();
  }

  /** @param {Box | null} box image pixels; null: all */
  paintVeil(box) {
    const ctx = context(this.parts.veil);
    const { mask, layer } = this.store;
    const scale = this.frame.scale * this.ratio;
    const sigma = this.store.get("feather") * scale;
    const area = this.onDevice(box ?? whole({ width: this.size[0], height: this.size[1] }), box ? 3 * sigma + 2 : 0);
    ctx.save();
    if (box) {
      ctx.beginPath();
      ctx.rect(area.left, area.top, area.right - area.left, area.bottom - area.top);
      ctx.clip();
    }
    ctx.clearRect(0, 0, ctx.canvas.width, ctx.canvas.height);
    if (mask && area.left < area.right && area.top < area.bottom) {
      this.drawLayer(ctx, layer, area, sigma, scale);
      ctx.globalCompositeOperation = "source-in";
      ctx.fillStyle = this.pattern;
      ctx.fillRect(area.left, area.top, area.right - area.left, area.bottom - area.top);
    }
    ctx.restore();
  }

  /**
   * Image pixels → whole device pixels in sight.
   * @param {Box} box @param {number} margin device pixels @returns {Box}
   */
  onDevice(box, margin) {
    const [scale, x, y] = [this.frame.scale, this.frame.x, this.frame.y].map((v) => v * this.ratio);
    const { width, height } = this.parts.veil;
    return {
      left: clamp(Math.floor(box.left * scale + x - margin), 0, width),
      top: clamp(Math.floor(box.top * scale + y - margin), 0, height),
      right: clamp(Math.ceil(box.right * scale + x + margin), 0, width),
      bottom: clamp(Math.ceil(box.bottom * scale + y + margin), 0, height),
    };
  }

  /**
   * The layer onto the area, blurred. The picture's border is drawn on beyond it, or the blur would thin the veil.
   * @param {CanvasRenderingContext2D} ctx @param {HTMLCanvasElement} layer @param {Box} area device pixels
   * @param {number} sigma device pixels @param {number} scale
   */
  drawLayer(ctx, layer, area, sigma, scale) {
    const [x, y] = [this.frame.x * this.ratio, this.frame.y * this.ratio];
    const [w, h] = this.size.map((v) => v * scale);
    if (sigma < 0.3) {
      ctx.imageSmoothingEnabled = scale < 2;
      ctx.drawImage(layer, x, y, w, h);
      return;
    }
    const far = Math.ceil(3 * sigma);
    const [left, top] = [area.left - far, area.top - far];
    const sharp = Object.assign(document.createElement("canvas"), {
      width: area.right - area.left + 2 * far,
      height: area.bottom - area.top + 2 * far,
    });
    const into = context(sharp);
    into.translate(x - left, y - top);
    const [W, H] = this.size;
    into.drawImage(layer, 0, 0, 1, H, -far, 0, far, h);
    into.drawImage(layer, W - 1, 0, 1, H, w, 0, far, h);
    into.drawImage(layer, 0, 0, W, 1, 0, -far, w, far);
    into.drawImage(layer, 0, H - 1, W, 1, 0, h, w, far);
    into.drawImage(layer, 0, 0, w, h);
    ctx.save();
    ctx.beginPath();
    ctx.rect(x, y, w, h);
    ctx.clip();
    ctx.filter = `blur(${sigma}px)`;
    ctx.drawImage(sharp, left, top);
    ctx.restore();
  }

  paintMarks() {
    this.paintTrails();
    this.paintArrows();
    this.paintSketch();
    this.paintDivider();
  }

  paintTrails() {
    const lines = this.store.get("trails").filter((/** @type {Point[]} */ path) => path.length);
    this.parts.trails.replaceChildren(
      ...lines.flatMap((/** @type {Point[]} */ path) => {
        const points = path.map((p) => toScreen(this.frame, p).join()).join(" ");
        const [x, y] = toScreen(this.frame, path[path.length - 1]);
        return [
          make("svg:polyline", { class: "gd-casing", points }),
          make("svg:polyline", { class: "gd-trail", points }),
          make("svg:path", { class: "gd-now", d: `M${x - 4} ${y}l4-4 4 4-4 4z` }),
        ];
      }),
    );
  }

  /** The arrows' elements stay as long as their arrows, so that the focus stays too. Shafts lie below all ends. */
  paintArrows() {
    const { arrows, shafts } = this.parts;
    const points = this.points;
    const { mask, paths } = this.store;
    while (arrows.children.length > points.length / 2) {
      if (arrows.lastChild.contains(this.focus)) this.parts.stage.focus({ preventScroll: true }); // or keys go astray
      arrows.lastChild.remove();
      shafts.lastChild.remove();
    }
    while (arrows.children.length < points.length / 2) {
      shafts.append(shaftElement());
      arrows.append(arrowElement(arrows.children.length));
    }
    [...arrows.children].forEach((/** @type {any} */ element, k) => {
      const way = [points[2 * k], ...paths[k], points[2 * k + 1]];
      const [x, y] = way[0].map(Math.round);
      const held = mask ? !mask.bits[y * mask.width + x] : false;
      const onScreen = way.map((p) => toScreen(this.frame, p));
      placeArrow(element, shafts.children[k], k, way, onScreen, held);
      const look = `gd-arrow${k === this.selected ? " gd-selected" : ""}${held ? " gd-held" : ""}`;
      for (const part of [element, shafts.children[k]]) set(part, { class: look });
    });
  }

  /** What is being drawn: the second click's line, the polygon, the curve, the brush. */
  paintSketch() {
    const { sketch } = this.parts;
    const at = this.hover && toScreen(this.frame, this.hover);
    const parts = [];
    if (this.pending) {
      const p = toScreen(this.frame, this.pending);
      const points = `${p.join()} ${(at ?? p).join()}`;
      parts.push(
        make("svg:polyline", { class: "gd-casing", points }),
        make("svg:polyline", { class: "gd-line", points }),
      );
      parts.push(make("svg:circle", { class: "gd-handle-dot", cx: p[0], cy: p[1], r: 6 }));
    }
    if (this.polygon.length) {
      const corners = this.polygon.map((p) => toScreen(this.frame, p));
      const points = [...corners, ...(at ? [at] : [])].map((p) => p.join()).join(" ");
      parts.push(make("svg:polygon", { class: "gd-area", points }));
      parts.push(...corners.map((p) => make("svg:circle", { class: "gd-corner", cx: p[0], cy: p[1], r: 4 })));
    }
    if (this.way.length) parts.push(...this.sketchWay(at));
    if (at && (this.mode === "brush" || this.mode === "erase") && !this.locked) {
      const r = Math.max(this.store.get("brush") * this.frame.scale, 1.5);
      for (const name of ["gd-brush-outer", "gd-brush-inner"]) {
        parts.push(make("svg:circle", { class: name, cx: at[0], cy: at[1], r }));
      }
    }
    if (at && this.cross) {
      const d = `M${at[0] - 9} ${at[1]}h18M${at[0]} ${at[1] - 9}v18`;
      parts.push(make("svg:path", { class: "gd-brush-outer", d }), make("svg:path", { class: "gd-brush-inner", d }));
    }
    sketch.replaceChildren(...parts);
  }

  /** The curve under way; the keys' one goes on to the cross. @param {Point | null} at on the screen */
  sketchWay(at) {
    const way = this.way.map((p) => toScreen(this.frame, p));
    const points = [...way, ...(at && !this.gesture ? [at] : [])].map((p) => p.join()).join(" ");
    if (this.mode === "region") return [make("svg:polygon", { class: "gd-area", points })];
    return [
      make("svg:polyline", { class: "gd-casing", points }),
      make("svg:polyline", { class: "gd-line", points }),
      make("svg:circle", { class: "gd-handle-dot", cx: way[0][0], cy: way[0][1], r: 6 }),
    ];
  }

  paintDivider() {
    const { divider } = this.parts;
    divider.hidden = !this.store.preview || !this.size[0];
    const percent = Math.round(100 * this.compare);
    set(divider, { "aria-valuenow": percent, "aria-valuetext": `original on the left ${percent} %` });
    divider.style.left = `${clamp(this.frame.x + this.compare * this.size[0] * this.frame.scale, 0, this.stage[0])}px`;
  }
  /**
   * Where an event is, from the stage's corner in CSS pixels.
   * @param {PointerEvent | WheelEvent} event @returns {Point}
   */
  at(event) {
    const box = this.parts.stage.getBoundingClientRect();
    return [
      event.clientX - box.left - this.parts.stage.clientLeft,
      event.clientY - box.top - this.parts.stage.clientTop,
    ];
  }

  /** @param {PointerEvent} event */
  press(event) {
    const target = /** @type {Element} */ (event.target);
    if (event.button > 1 || target.closest("button, .gd-divider") || !this.size[0]) return;
    const at = this.at(event);
    this.pointers.set(event.pointerId, at);
    try {
      this.parts.stage.setPointerCapture(event.pointerId);
    } catch {
      // a pointer that has gone meanwhile, or was made by a script, can't be captured; it still does its work
    }
    this.parts.stage.focus({ preventScroll: true });
    if (this.pointers.size > 1) {
      this.gesture?.cancel();
      this.gesture = this.pointers.size === 2 ? this.pinching() : null;
      return;
    }
    this.pointAt(toImage(this.frame, at));
    this.gesture = event.button === 1 ? this.panning(at) : this.begin(at, event);
  }

  /** What a press begins, by the tool. @param {Point} at @param {PointerEvent} event @returns {Gesture | null} */
  begin(at, event) {
    const { mode } = this;
    if (mode === "pan" || this.locked) return this.panning(at);
    if (mode === "brush" || mode === "erase") return this.stroking(at, event, mode === "brush" ? 1 : 0);
    if (mode === "polygon") return this.cornering(at);
    if (mode === "region") return this.circling(at);
    const reach = REACH[/** @type {keyof typeof REACH} */ (event.pointerType)] ?? REACH.mouse;
    const index = this.pending
      ? -1
      : nearest(
          this.points.map((p) => toScreen(this.frame, p)),
          at,
          reach,
        );
    if (mode === "path" && index >= 0 && index % 2 === 0) return this.pathing(at, index >> 1);
    if (index >= 0) return this.moving(at, index);
    if (onPicture(toImage(this.frame, at), this.size))
      return mode === "path" ? this.pathing(at, this.store.pairs) : this.drawing(at);
    this.say(`Outside the picture nothing is set.${this.pending ? " Click inside it; Esc drops the handle." : ""}`);
    return null;
  }

  /** @param {PointerEvent} event */
  moved(event) {
    const at = this.at(event);
    if (this.pointers.has(event.pointerId)) this.pointers.set(event.pointerId, at);
    this.pointAt(toImage(this.frame, at));
    this.gesture?.move(at, event);
  }

  /** @param {PointerEvent} event */
  release(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { gesture } = this;
    this.gesture = null;
    gesture?.end(this.at(event), event);
    if (event.pointerType === "touch") this.pointAt(null);
  }

  /** @param {PointerEvent} event */
  lose(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    this.gesture?.cancel();
    this.gesture = null;
  }

  /** @param {Point | null} hover in image pixels */
  pointAt(hover) {
    this.hover = hover;
    this.cross = false;
    this.invalidate({ marks: true });
  }

  /** @param {Point} start @returns {Gesture} */
  panning(start) {
    let last = start;
    this.parts.stage.classList.add("gd-panning");
    const stop = () => this.parts.stage.classList.remove("gd-panning");
    return {
      move: (at) => {
        this.pan(at[0] - last[0], at[1] - last[1]);
        last = at;
      },
      end: stop,
      cancel: stop,
    };
  }

  /** Two fingers move and zoom. @returns {Gesture} */
  pinching() {
    const ends = () => /** @type {[Point, Point]} */ ([...this.pointers.values()].slice(0, 2));
    const middle = ([a, b] = ends()) => /** @type {Point} */ ([(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]);
    let [centre, width] = [middle(), apart(...ends())];
    const nothing = () => {};
    return {
      move: () => {
        if (this.pointers.size !== 2) return;
        const [now, wide] = [middle(), apart(...ends())];
        this.pan(now[0] - centre[0], now[1] - centre[1]);
        this.zoom(wide / Math.max(width, 1), now);
        [centre, width] = [now, wide];
      },
      end: nothing,
      cancel: nothing,
    };
  }

  /** A new arrow: pulled, or clicked twice. @param {Point} start @returns {Gesture} */
  drawing(start) {
    const from = this.pending ?? inside(toImage(this.frame, start), this.size);
    const second = Boolean(this.pending);
    this.pending = this.hasRoom(this.store.pairs) ? from : null;
    return {
      move: () => {},
      end: (at) => {
        const to = inside(toImage(this.frame, at), this.size);
        if (!this.pending) return;
        if (apart(toScreen(this.frame, from), at) <= SLOP || (!second && apart(start, at) <= SLOP)) {
          this.say(`Handle at ${said(from)}. Now click where it should go; Esc drops it.`);
          return;
        }
        this.pending = null;
        this.add([from, to]);
      },
      cancel: () => {
        this.pending = second ? from : null;
        this.invalidate({ marks: true });
      },
    };
  }

  /** The way of arrow k, which may be a new one. @param {Point} start @param {number} k @returns {Gesture | null} */
  pathing(start, k) {
    if (!this.hasRoom(k)) return null;
    if (k < this.store.pairs) this.focusPoint(2 * k);
    const from = this.store.now.points[2 * k] ?? inside(toImage(this.frame, start), this.size);
    return this.tracing(start, from, (way) => this.add(way, k), "Press on a handle and draw the curve to its target.");
  }

  /** Whether there can be an arrow k; says why not. @param {number} k */
  hasRoom(k) {
    if (k >= MOST_PAIRS) this.say(`There are ${MOST_PAIRS} arrows, which is the most: delete one first.`);
    return k < MOST_PAIRS;
  }

  /** What is to move as a whole. @param {Point} start @returns {Gesture | null} */
  circling(start) {
    const from = inside(toImage(this.frame, start), this.size);
    return this.led() ? this.tracing(start, from, (way) => this.sendRegion(way), LASSO) : null;
  }

  /** Whether there is an arrow for a region to follow; says so where not. */
  led() {
    if (!this.store.pairs) this.say("First draw an arrow inside the region: it says where the region is to go.");
    return this.store.pairs > 0;
  }

  /**
   * A curve drawn with the pointer.
   * @param {Point} start @param {Point} first in image pixels @param {(way: Point[]) => void} done
   * @param {string} hint for those who only click @returns {Gesture}
   */
  tracing(start, first, done, hint) {
    const place = (/** @type {Point} */ at) => inside(toImage(this.frame, at), this.size);
    const stop = () => {
      this.way = [];
      this.invalidate({ marks: true });
    };
    let far = false;
    this.way = [first];
    return {
      move: (at, event) => {
        far ||= apart(start, at) > SLOP;
        this.way.push(...coalesced(event).map((e) => place(this.at(e))));
        this.invalidate({ marks: true });
      },
      end: (at) => {
        const way = [...this.way, place(at)];
        stop();
        if (far || apart(start, at) > SLOP) done(way);
        else this.say(hint);
      },
      cancel: stop,
    };
  }

  /** Python covers with handles what lies inside, and says so. @param {Point[]} way around it */
  sendRegion(way) {
    this.store.write({ _region: thinned(way, MOST_OF_OUTLINE), status: "" });
  }

  /** @param {Point} start @param {number} index @returns {Gesture} */
  moving(start, index) {
    const before = this.store.now.points[index];
    const grip = toScreen(this.frame, before);
    this.focusPoint(index);
    let far = false;
    const place = (/** @type {Point} */ at) =>
      inside(toImage(this.frame, [grip[0] + at[0] - start[0], grip[1] + at[1] - start[1]]), this.size);
    const stop = () => {
      this.draft = null;
      this.invalidate({ marks: true });
    };
    return {
      move: (at) => {
        far ||= apart(start, at) > SLOP;
        if (!far) return;
        this.draft = { index, at: place(at) };
        this.invalidate({ marks: true });
      },
      end: (at) => {
        stop();
        if (far) this.put(index, place(at));
      },
      cancel: stop,
    };
  }

  /** @param {Point} start @param {PointerEvent} event @param {number} value 1: may change @returns {Gesture | null} */
  stroking(start, event, value) {
    const mask = this.store.beginStroke(value);
    if (!mask) return null;
    const radius = this.store.get("brush");
    performance.clearMeasures(STROKE);
    let last = toImage(this.frame, start);
    const line = (/** @type {Point} */ to, /** @type {number} */ when) => {
      const box = paintLine(mask, last, to, radius, value);
      last = to;
      this.strokeSince ||= when;
      this.store.drawLayer(box);
      this.store.tell({ box });
    };
    const fresh = !this.store.now.mask;
    line(last, event.timeStamp);
    if (fresh) this.store.tell({ box: whole(mask) }); // all of it could change until now
    return {
      move: (_, event) => {
        for (const e of coalesced(event)) line(toImage(this.frame, this.at(e)), event.timeStamp);
      },
      end: () => {
        this.store.endStroke(true);
        this.sayMask(value ? "Painted" : "Erased");
      },
      cancel: () => this.store.endStroke(false),
    };
  }

  /** A click sets a corner; one on the first corner closes. @param {Point} start @returns {Gesture} */
  cornering(start) {
    return {
      move: () => {},
      end: () => {
        const corners = this.polygon.map((p) => toScreen(this.frame, p));
        if (corners.length > 2 && apart(corners[0], start) < 10) return this.closePolygon(false);
        if (corners.length && apart(corners[corners.length - 1], start) <= SLOP) return; // half of a double click
        this.addCorner(toImage(this.frame, start));
      },
      cancel: () => {},
    };
  }

  /** @param {Point} p */
  addCorner(p) {
    this.polygon.push(p);
    this.say(`Corner ${this.polygon.length} at ${said(p)}. Enter or a double click fills, Esc drops it.`);
    this.invalidate({ marks: true });
  }

  /** @param {boolean} erase */
  closePolygon(erase) {
    const corners = this.polygon;
    if (this.mode !== "polygon" || corners.length < 3 || this.locked) return;
    this.polygon = [];
    const mask = this.store.beginStroke(erase ? 0 : 1);
    if (!mask) return;
    fillPolygon(mask, corners, erase ? 0 : 1);
    this.store.drawLayer(whole(mask));
    this.store.endStroke(true);
    this.sayMask(erase ? "Erased" : "Filled");
  }

  /** @param {string} what */
  sayMask(what) {
    const { mask } = this.store;
    if (!mask) return this.say(`${what}: everything may change.`);
    if (!mask.count) return this.say(`${what}: the mask is empty, so nothing may change.`);
    const share = (100 * mask.count) / mask.bits.length;
    this.say(`${what}: ${share < 1 ? "under 1" : Math.round(share)} % of the picture may change.`);
  }

  /** Arrow k, a new one or one that is there, goes along a curve. @param {Point[]} way @param {number} [k] */
  add(way, k = this.store.pairs) {
    const [points, via] = [[...this.store.now.points], [...this.store.paths]];
    const others = via.reduce((sum, stops, n) => sum + (n === k ? 0 : stops.length), 0);
    const thin = thinned(way, Math.min(MOST_OF_PATH, MOST_STOPS - others));
    const [p, g] = [thin[0], thin[thin.length - 1]];
    points.splice(2 * k, 2, p, g);
    via[k] = thin.slice(1, -1);
    this.store.commit({ points, via: bent(via), selected: k });
    this.say(`Arrow ${k + 1}: ${said(p)} → ${said(g)}${via[k].length ? ", along a path" : ""}.`);
    this.focusPoint(2 * k + 1);
  }

  /** Move one point. @param {number} index @param {Point} to @param {string} [merge] */
  put(index, to, merge) {
    const points = this.store.now.points.map((p, k) => (k === index ? to : p));
    this.store.commit({ points, selected: index >> 1 }, merge);
    this.say(`${pointName(index)} at ${said(to)}.`);
  }

  /** @param {number} k */
  deleteArrow(k) {
    if (k < 0 || k >= this.store.pairs || this.locked) return;
    const { now, paths } = this.store;
    const points = now.points.filter((_, n) => n >> 1 !== k);
    this.store.commit({ points, via: bent(paths.filter((_, n) => n !== k)), selected: -1 });
    this.parts.stage.focus({ preventScroll: true });
    this.say(`Arrow ${k + 1} deleted, ${this.store.pairs} left.`);
  }

  /** @param {number} k */
  select(k) {
    if (k !== this.selected) this.store.write({ selected: k });
  }

  /** @param {number} index */
  focusPoint(index) {
    this.paintArrows();
    this.parts.arrows.querySelector(`[data-point="${index}"]`)?.focus({ preventScroll: true });
  }

  /** @param {Element} target */
  focused(target) {
    const index = target.getAttribute("data-point");
    if (index !== null && !this.store.get("locked")) this.select(Number(index) >> 1);
    if (target.matches(".gd-toolbar button")) this.rove(target);
  }

  /** Leave one button of the toolbar in the Tab order. @param {Element} chosen */
  rove(chosen) {
    for (const b of this.parts.toolbar.querySelectorAll("button")) set(b, { tabindex: b === chosen ? 0 : -1 });
  }

  /** @param {KeyboardEvent} event */
  toolbarKey(event) {
    const target = /** @type {Element} */ (event.target);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !target.matches("button")) return;
    const buttons = [...this.parts.toolbar.querySelectorAll("button")];
    buttons[(buttons.indexOf(target) + step + buttons.length) % buttons.length].focus();
    event.preventDefault();
  }

  /** @param {HTMLElement | null} target */
  clicked(target) {
    if (!target || target.getAttribute("aria-disabled") === "true") return;
    this.act(/** @type {string} */ (target.dataset.action));
  }

  /** @param {string} name of a button */
  act(name) {
    const { store, parts } = this;
    if (TOOLS.includes(name)) return store.write({ mode: name });
    const middle = /** @type {Point} */ ([this.stage[0] / 2, this.stage[1] / 2]);
    /** @type {Record<string, () => void>} */
    const looks = {
      "zoom-in": () => this.zoom(1.25, middle),
      "zoom-out": () => this.zoom(0.8, middle),
      fit: () => this.look(fitted(this.size, this.stage), true),
      help: () => parts.help.toggleAttribute("hidden"),
    };
    if (name in looks) return looks[name]();
    if (store.get("locked")) return;
    /** @type {Record<string, () => void>} */
    const edits = {
      undo: () => this.undo(),
      redo: () => this.say(store.redo() ? "Done again." : "There is nothing to do again."),
      delete: () => this.deleteArrow(this.selected),
      "clear-points": () => {
        store.commit({ points: [], via: [], selected: -1 });
        this.say("All arrows deleted.");
      },
      invert: () => this.invert(),
      "clear-mask": () => {
        store.commit({ mask: null });
        this.sayMask("Mask cleared");
      },
      upload: () => parts.file.click(),
    };
    edits[name]();
  }

  /** What is under way goes first. */
  undo() {
    if (this.polygon.pop() || (!this.gesture && this.way.pop()) || this.pending) {
      this.pending = null;
      return this.invalidate({ marks: true });
    }
    this.gesture?.cancel();
    this.gesture = null;
    this.say(this.store.undo() ? "Undone." : "There is nothing to undo.");
  }

  invert() {
    if (this.locked || this.store.draft) return;
    const { mask } = this.store;
    const next = mask ? { ...mask, bits: mask.bits.map((bit) => 1 - bit) } : plainMask(this.size, 0);
    this.store.commit({ mask: encodeMask(next) });
    this.sayMask("Inverted");
  }

  /** @param {any} input @param {boolean} done */
  slid(input, done) {
    const name = input.closest("[data-trait]")?.dataset.trait;
    if (!name || this.locked) return;
    const value = Number(input.value);
    input.nextElementSibling.textContent = `${value} px`;
    if (done) this.store.commit({ [name]: value });
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    if (!this.size[0]) return;
    const pinch = event.ctrlKey || event.metaKey;
    const { root } = this.parts;
    if (!pinch && this.mode !== "pan" && !root.contains(this.focus)) {
      this.say("Click the picture first, or hold Ctrl, to zoom with the wheel.");
      return; // so that the page can be scrolled past the canvas
    }
    event.preventDefault();
    event.stopPropagation();
    const pixels = event.deltaY * [1, 16, 400][event.deltaMode];
    this.zoom(Math.exp(-clamp(pixels, -300, 300) * (event.ctrlKey ? 0.01 : 0.002)), this.at(event));
  }

  /** @param {PointerEvent} event */
  pressDivider(event) {
    const { divider, stage } = this.parts;
    event.stopPropagation();
    divider.setPointerCapture?.(event.pointerId);
    const follow = new AbortController();
    const how = { signal: follow.signal };
    divider.addEventListener(
      "pointermove",
      (/** @type {PointerEvent} */ e) => {
        const x = e.clientX - stage.getBoundingClientRect().left - stage.clientLeft;
        this.compareDraft = clamp((x - this.frame.x) / (this.size[0] * this.frame.scale), 0, 1);
        this.invalidate({ base: true, marks: true });
      },
      how,
    );
    const done = () => {
      follow.abort();
      const value = this.compareDraft;
      this.compareDraft = null;
      if (value !== null) this.store.write({ compare: value });
    };
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) divider.addEventListener(name, done, how);
  }

  /** @param {KeyboardEvent} event */
  dividerKey(event) {
    const { compare } = this;
    const to = { ArrowLeft: compare - 0.02, ArrowRight: compare + 0.02, Home: 0, End: 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.store.write({ compare: clamp(Math.round(to * 1000) / 1000, 0, 1) });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const command = event.ctrlKey || event.metaKey;
    if (command && event.key.toLowerCase() === "s") return this.passOn(event);
    if (!event.repeat) this.presses++;
    const input = /** @type {Element} */ (event.target).matches("input") && !command;
    const handled = !input && !event.defaultPrevented && (command ? this.commandKey(event) : this.plainKey(event));
    if (handled) event.preventDefault();
    if (handled || (!command && event.key !== "Tab")) event.stopPropagation();
  }

  /** Saving is the page's business, whose own shortcuts don't hear us. @param {KeyboardEvent} event */
  passOn(event) {
    const { key, code, keyCode, ctrlKey, metaKey, shiftKey } = event;
    const copy = new KeyboardEvent("keydown", {
      key,
      code,
      keyCode,
      ctrlKey,
      metaKey,
      shiftKey,
      bubbles: true,
      cancelable: true,
    });
    event.stopPropagation();
    if (!this.parts.root.parentElement?.dispatchEvent(copy)) event.preventDefault();
  }

  /** @param {KeyboardEvent} event @returns {boolean} whether it meant something */
  commandKey(event) {
    const key = event.key.toLowerCase();
    if (key === "z" || key === "y") this.act(key === "y" || event.shiftKey ? "redo" : "undo");
    return key === "z" || key === "y";
  }

  /** @param {KeyboardEvent} event @returns {boolean} whether it meant something */
  plainKey(event) {
    const target = /** @type {Element} */ (event.target);
    const { key } = event;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    const onButton = target.matches("button");
    if (key === "Escape") return this.escape();
    if (this.parts.file === target || !this.size[0]) return false;
    if (step && !onButton) return this.arrowKey(event, step[0], step[1]);
    if (key === "Delete" || key === "Backspace") return this.deleteKey(target);
    if (key === "Enter" && !onButton) return this.enterKey(target);
    if (key === " " && !onButton) return this.spaceKey();
    if (key === "[" || key === "]") return this.brushKey(key === "]" ? 1.2 : 1 / 1.2);
    const name = /** @type {Record<string, string>} */ (KEYS)[key.toLowerCase()];
    if (!name || event.altKey) return false;
    const look = ["zoom-in", "zoom-out", "fit", "pan"].includes(name);
    if (look || !this.locked) this.act(name);
    return true;
  }

  escape() {
    const busy = this.gesture || this.pending || this.polygon.length || this.way.length;
    this.drop();
    if (!busy && this.selected >= 0 && !this.locked) this.select(-1);
    this.parts.stage.focus({ preventScroll: true });
    if (busy) this.say("Dropped.");
    return true;
  }

  /** @param {KeyboardEvent} event @param {number} dx @param {number} dy */
  arrowKey(event, dx, dy) {
    const by = event.shiftKey ? 10 : event.altKey ? 0.1 : 1;
    const index = Number(/** @type {Element} */ (event.target).getAttribute("data-point") ?? -1);
    const merge = `nudge ${this.presses}`;
    const moved = (/** @type {Point} */ p) => inside([p[0] + by * dx, p[1] + by * dy], this.size);
    if (index >= 0) {
      if (!this.locked) this.put(index, moved(this.store.now.points[index]), merge);
    } else if ([...MASK_TOOLS, ...CURVE_TOOLS].includes(this.mode) && !this.locked) {
      this.hover = moved(this.hover ?? this.centre());
      this.cross = true;
      this.say(`Cross at ${said(this.hover)}.`);
      this.invalidate({ marks: true });
    } else if (this.selected >= 0 && !this.locked) {
      this.nudgeArrow(this.selected, by * dx, by * dy, merge);
    } else {
      this.pan(-40 * dx, -40 * dy);
    }
    return true;
  }

  /**
   * The whole arrow, as far as all of it stays inside.
   * @param {number} k @param {number} dx @param {number} dy @param {string} merge
   */
  nudgeArrow(k, dx, dy, merge) {
    const { paths, now } = this.store;
    const moved = (/** @type {Point} */ p) => /** @type {Point} */ ([rounded(p[0] + dx), rounded(p[1] + dy)]);
    const ends = now.points.slice(2 * k, 2 * k + 2).map(moved);
    const stops = paths[k].map(moved);
    if ([...ends, ...stops].some((p) => p.some((v, axis) => v < 0 || v > this.size[axis] - 1))) return;
    const points = now.points.map((p, n) => (n >> 1 === k ? ends[n & 1] : p));
    this.store.commit({ points, via: bent(paths.map((old, n) => (n === k ? stops : old))) }, merge);
    this.say(`Arrow ${k + 1}: ${said(ends[0])} → ${said(ends[1])}.`);
  }

  /** The middle of what is in sight. @returns {Point} */
  centre() {
    const [x, y] = inside(toImage(this.frame, [this.stage[0] / 2, this.stage[1] / 2]), this.size);
    return [Math.round(x), Math.round(y)];
  }

  /** The last corner of what is being drawn, else the focused arrow, else the selected one. @param {Element} target */
  deleteKey(target) {
    const index = target.getAttribute("data-point");
    if (this.polygon.pop() || (!this.gesture && this.way.pop())) {
      this.invalidate({ marks: true });
    } else {
      this.deleteArrow(index === null ? this.selected : Number(index) >> 1);
    }
    return true;
  }

  /** Add an arrow, or go on from point to point. @param {Element} target */
  enterKey(target) {
    const index = Number(target.getAttribute("data-point") ?? -1);
    if (this.locked) return true;
    if (this.mode === "polygon" && index < 0) {
      this.closePolygon(false);
    } else if (this.mode === "brush" || this.mode === "erase") {
      this.dab();
    } else if (CURVE_TOOLS.includes(this.mode) && index < 0) {
      this.endWay();
    } else if (index >= 0) {
      if (index % 2) this.parts.stage.focus({ preventScroll: true });
      else this.focusPoint(index + 1);
    } else if (this.mode === "drag") {
      this.addInMiddle();
    }
    return true;
  }

  addInMiddle() {
    if (this.store.pairs >= MOST_PAIRS) return;
    const p = this.pending ?? this.centre();
    const right = inside([p[0] + Math.round(this.size[0] / 8), p[1]], this.size);
    this.pending = null;
    this.add([p, right[0] > p[0] ? right : inside([p[0] - Math.round(this.size[0] / 8), p[1]], this.size)]);
    this.focusPoint(2 * this.store.pairs - 2);
  }

  spaceKey() {
    if (this.locked) return true;
    if (this.mode === "polygon") this.addCorner(this.hover ?? this.centre());
    if (CURVE_TOOLS.includes(this.mode)) this.addStop(inside(this.hover ?? this.centre(), this.size));
    if (this.mode === "brush" || this.mode === "erase") this.dab();
    return true;
  }

  /** The curve goes on to where the cross is. @param {Point} p */
  addStop(p) {
    if (this.gesture || !(this.mode === "region" ? this.led() : this.hasRoom(this.store.pairs))) return;
    this.way.push(p);
    this.say(`Point ${this.way.length} at ${said(p)}. Enter: done, Esc drops them.`);
    this.invalidate({ marks: true });
  }

  /** What the keys have drawn is done. */
  endWay() {
    const { way } = this;
    if (this.gesture || way.length < (this.mode === "region" ? 3 : 2)) return;
    this.way = [];
    if (this.mode === "region") this.sendRegion(way);
    else this.add(way);
  }

  /** The brush, once, where the cross is. */
  dab() {
    const at = this.hover ?? this.centre();
    const value = this.mode === "brush" ? 1 : 0;
    const mask = this.store.beginStroke(value);
    if (!mask) return;
    this.store.drawLayer(paintLine(mask, at, at, this.store.get("brush"), value));
    this.store.endStroke(true);
    this.sayMask(value ? "Painted" : "Erased");
  }

  /** @param {number} factor */
  brushKey(factor) {
    if (!this.locked)
      this.store.commit({ brush: clamp(rounded(this.store.get("brush") * factor), 0.5, Math.max(...this.size)) });
    return true;
  }

  /** Files go to Python in pieces; it decodes them, whatever they are. @param {FileList | null} files */
  async upload(files) {
    const file = files?.[0];
    if (!file || this.store.get("locked")) return;
    if (file.size > LARGEST_FILE)
      return this.say(`${file.name} has over ${LARGEST_FILE / 1e6} MB: scale it down first.`);
    this.say(`Opening ${file.name} …`);
    const bytes = await file.arrayBuffer();
    const of = Math.max(1, Math.ceil(bytes.byteLength / PIECE));
    for (let part = 0; part < of; part++) {
      const piece = new DataView(bytes.slice(part * PIECE, (part + 1) * PIECE));
      this.store.model.send({ kind: "upload", name: file.name, part, of }, undefined, [piece]);
    }
    this.parts.file.value = "";
  }
}

/** @param {number} index in points */
const pointName = (index) => `${index % 2 ? "target" : "handle"} ${(index >> 1) + 1}`;

/** The paths, or none where all are straight. @param {Point[][]} paths */
const bent = (paths) => (paths.some((stops) => stops.length) ? paths : []);

/** The line of an arrow. */
const shaftElement = () =>
  make(
    "svg:g",
    {},
    make("svg:polyline", { class: "gd-casing" }),
    make("svg:polyline", { class: "gd-line" }),
  );

/** The ends of arrow k and its number: what they are made of, not where. @param {number} k */
function arrowElement(k) {
  const point = (/** @type {number} */ index, /** @type {Node[]} */ ...children) =>
    make(
      "svg:g",
      { class: index % 2 ? "gd-target" : "gd-handle", "data-point": index, tabindex: 0, role: "button" },
      make("svg:circle", { class: "gd-halo", r: 12 }),
      ...children,
    );
  return make(
    "svg:g",
    {},
    point(
      2 * k + 1,
      make("svg:circle", { class: "gd-casing", r: 7 }),
      make("svg:circle", { class: "gd-ring", r: 7 }),
      make("svg:path", { class: "gd-casing" }),
      make("svg:path", { class: "gd-head" }),
    ),
    point(2 * k, make("svg:circle", { class: "gd-handle-dot", r: 6 })),
    make("svg:text", { class: "gd-number" }, String(k + 1)),
  );
}

/** From one screen point towards another, of length 1. @param {Point} from @param {Point} to @returns {Point} */
function heading(from, to) {
  const length = apart(from, to);
  return length ? [(to[0] - from[0]) / length, (to[1] - from[1]) / length] : [1, 0];
}

/**
 * @param {any} element of an arrow's ends @param {any} shaft @param {number} k @param {Point[]} way
 * @param {Point[]} onScreen the same @param {boolean} held outside the mask
 */
function placeArrow(element, shaft, k, way, onScreen, held) {
  const [p, g] = [onScreen[0], onScreen[onScreen.length - 1]];
  const body = onScreen.slice(0, -1);
  while (body.length > 1 && apart(body[body.length - 1], g) < 22) body.pop(); // the head needs a straight end
  const last = body[body.length - 1];
  const length = apart(last, g);
  const [dx, dy] = heading(last, g);
  const stop = Math.max(0, length - 8);
  const points = [...body, [last[0] + dx * stop, last[1] + dy * stop]].map((q) => q.join()).join(" ");
  for (const line of shaft.querySelectorAll("polyline")) set(line, { points });
  const [target, handle] = element.querySelectorAll("[data-point]");
  const along = way.length > 2 ? ", along a path" : "";
  set(handle, {
    transform: `translate(${p.join()})`,
    "aria-label": `${pointName(2 * k)} at ${said(way[0])}${along}${held ? ", outside the mask" : ""}`,
  });
  set(target, {
    transform: `translate(${g.join()})`,
    "aria-label": `${pointName(2 * k + 1)} at ${said(way[way.length - 1])}`,
  });
  const wing = (/** @type {number} */ side) =>
    `${-8 * dx - 7 * dx - 5 * side * dy},${-8 * dy - 7 * dy + 5 * side * dx}`;
  const d = length > 20 ? `M${wing(1)}L${-8 * dx},${-8 * dy}L${wing(-1)}` : "";
  for (const path of target.querySelectorAll("path")) set(path, { d });
  const [ox, oy] = heading(p, onScreen.find((q) => apart(p, q) > 22) ?? g);
  set(element.querySelector("text"), { x: p[0] - ox * 10 + Math.abs(oy) * 10, y: p[1] - 9 });
}

/** The veil's pattern: grey with fine stripes, so that it shows on grey pictures too. @returns {CanvasPattern} */
function hatch() {
  const tile = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
  const ctx = context(tile);
  ctx.fillStyle = "rgba(112, 112, 112, 0.55)";
  ctx.fillRect(0, 0, 8, 8);
  ctx.fillStyle = "rgba(255, 255, 255, 0.22)";
  for (let k = 0; k < 8; k++) ctx.fillRect(k, 7 - k, 1, 1);
  return /** @type {CanvasPattern} */ (ctx.createPattern(tile, "repeat"));
}

/** One store for each model, one view for each place. */
export default () => {
  /** @type {Store | null} */
  let store = null;
  return {
    /** @param {{model: any}} context */
    initialize({ model }) {
      store = new Store(model);
    },
    /** @param {{model: any, el: HTMLElement}} context */
    render({ model, el }) {
      store ??= new Store(model);
      const view = new View(store, el);
      return () => view.remove();
    },
  };
};
