/**
 * A picture that says where on it the user points. State is the model's; see __init__.py for what each trait means.
 *
 * @typedef {[number, number, number, number, [number, number], [number, number]]} Area left, top, width and height in
 *   pixels of the picture; values at the left and right edge; values at the top and bottom edge
 * @typedef {[number, number, number]} Place number of the area, x, y
 */

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const FAR = 10; // units that an arrow key goes with Shift

const clamp = (/** @type {number} */ v, /** @type {number} */ low, /** @type {number} */ high) =>
  Math.max(low, Math.min(high, v));

/** @param {Area} area @param {number[]} at pixels of the picture */
const holds = ([left, top, width, height], at) =>
  at[0] >= left && at[0] <= left + width && at[1] >= top && at[1] <= top + height;

/** The values at a pixel, or at the edge nearest to it. @param {Area} area @param {number[]} at */
function valuesAt([left, top, width, height, x, y], at) {
  const right = clamp((at[0] - left) / width, 0, 1);
  const down = clamp((at[1] - top) / height, 0, 1);
  return [x[0] + right * (x[1] - x[0]), y[0] + down * (y[1] - y[0])];
}

/** Where the pointer is, in pixels of the picture. @param {HTMLImageElement} img @param {PointerEvent} event */
function pixelAt(img, event) {
  const box = img.getBoundingClientRect();
  return [
    ((event.clientX - box.left) * img.naturalWidth) / box.width,
    ((event.clientY - box.top) * img.naturalHeight) / box.height,
  ];
}

/** Asks Python about one place at a time; of the places in between the last is kept, and the way there. */
function asking(model) {
  /** @type {Place | null} */
  let next = null;
  /** @type {number[][]} */
  let way = []; // values where the pressed pointer was, from the last question on
  const idle = () => model.get("_asked")[0] === model.get("_answered");
  const ask = () => {
    if (!next || !idle()) return;
    model.set("_asked", [model.get("_answered") + 1, ...next, ...way]);
    model.save_changes();
    next = null;
    way = [];
  };
  model.on("change:_answered", ask);
  return {
    /** @param {Place} place @param {number[] | null} from the values before, where the pointer stayed pressed */
    about(place, from = null) {
      way = from ? [...way, from] : [];
      next = place;
      ask();
    },
    stop: () => model.off("change:_answered", ask),
  };
}

export default {
  render({ model, el }) {
    const img = document.createElement("img");
    img.draggable = false;
    const frame = document.createElement("div");
    frame.className = "gd-pointed";
    frame.tabIndex = 0;
    frame.setAttribute("role", "application"); // arrow keys reach us, not the screen reader
    frame.dataset.lmSuppressShortcuts = "true"; // … nor JupyterLab
    frame.append(img);
    el.append(frame);

    const question = asking(model);
    let held = -1; // the area in which the pointer was pressed
    /** @type {number[] | null} */
    let last = null; // the values where it was since

    const show = () => {
      URL.revokeObjectURL(img.src);
      img.src = URL.createObjectURL(new Blob([model.get("value")], { type: "image/png" }));
    };
    const describe = () => {
      img.alt = model.get("alt");
      const keys = model.get("place") ? " Arrow keys move the place." : "";
      frame.setAttribute("aria-label", img.alt + keys);
    };

    /** @param {PointerEvent} event */
    const point = (event) => {
      const at = pixelAt(img, event);
      const areas = model.get("areas");
      const k = held >= 0 ? held : areas.findIndex((area) => holds(area, at));
      frame.classList.toggle("gd-on-area", k >= 0);
      if (k < 0 || k >= areas.length) return -1;
      const values = valuesAt(areas[k], at);
      if (held >= 0 || model.get("hover")) question.about([k, ...values], last);
      if (held >= 0) last = values;
      return k;
    };
    frame.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || event.button !== 0) return;
      held = model.get("areas").findIndex((area) => holds(area, pixelAt(img, event)));
      last = null;
      if (held >= 0) frame.setPointerCapture(event.pointerId);
      point(event);
    });
    frame.addEventListener("pointermove", (event) => event.isPrimary && point(event));
    for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, () => ([held, last] = [-1, null]));

    frame.addEventListener("keydown", (event) => {
      const way = KEYS[event.key];
      const place = model.get("place");
      if (!way || !place || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const [k, x, y] = place;
      const [, , , , xs, ys] = model.get("areas")[k];
      const far = event.shiftKey ? FAR : 1;
      question.about([k, x + way[0] * far * Math.sign(xs[1] - xs[0]), y + way[1] * far * Math.sign(ys[1] - ys[0])]);
    });

    model.on("change:value", show);
    model.on("change:alt", describe);
    show();
    describe();
    return () => {
      model.off("change:value", show);
      model.off("change:alt", describe);
      question.stop();
      URL.revokeObjectURL(img.src);
    };
  },
};
