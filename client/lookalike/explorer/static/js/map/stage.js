// Input on the map: pointer, wheel, touch and keys move the camera.

const STEP = 60;
const CLICK = 5;

/**
 * Listen on `box`. `lasso()` returns whether the lasso is on. Callbacks: `moved()` after the camera moved; `clicked(left,
 * top)`; `doubled()` for a double click; `hovered(left, top)` or `hovered(null)`; `drawing(corners)` while a lasso grows,
 * and `drew(corners)` at its end, with corners in pixels.
 */
export function listen(box, camera, { lasso, moved, clicked, doubled, hovered, drew, drawing, signal }) {
  const pointers = new Map();
  let path = null;
  let traveled = 0;
  const at = (event) => {
    const { left, top } = box.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  const on = (name, listener, options = {}) => box.addEventListener(name, listener, { signal, ...options });

  on("pointerdown", (event) => {
    if (event.button || event.target.closest("a, button")) return;
    box.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    traveled = 0;
    if (pointers.size === 1 && (lasso() || event.shiftKey)) path = [at(event)];
    if (pointers.size === 2) path = null;
    hovered(null);
  });
  on("pointermove", (event) => {
    const here = at(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse" && !event.target.closest("a, button")) hovered(...here);
      return;
    }
    const [right, down] = [here[0] - before[0], here[1] - before[1]];
    traveled += Math.abs(right) + Math.abs(down);
    if (path) {
      path.push(here);
      drawing(path);
    } else if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const grown = distance(here, other) / Math.max(1, distance(before, other));
      camera.pan(right / 2, down / 2);
      camera.zoomAt(grown, (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
      moved();
    } else {
      camera.pan(right, down);
      moved();
    }
    pointers.set(event.pointerId, here);
  });
  const up = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (path && path.length > 2 && traveled > CLICK) drew(path);
    else if (traveled <= CLICK && event.type === "pointerup") clicked(...at(event));
    path = null;
    drawing(null);
  };
  on("pointerup", up);
  on("pointercancel", up);
  on("dblclick", (event) => {
    if (!event.target.closest("a, button")) doubled();
  });
  on("pointerleave", () => hovered(null));
  on(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 18 : 1;
      camera.zoomAt(Math.exp(-Math.max(-200, Math.min(200, event.deltaY * lines)) / 260), ...at(event));
      hovered(null);
      moved();
    },
    { passive: false },
  );
  on("keydown", (event) => {
    if (event.target !== box || event.ctrlKey || event.metaKey || event.altKey) return;
    const middle = [camera.width / 2, camera.height / 2];
    const keys = {
      ArrowLeft: () => camera.pan(STEP, 0),
      ArrowRight: () => camera.pan(-STEP, 0),
      ArrowUp: () => camera.pan(0, STEP),
      ArrowDown: () => camera.pan(0, -STEP),
      "+": () => camera.zoomAt(1.4, ...middle),
      "=": () => camera.zoomAt(1.4, ...middle),
      "-": () => camera.zoomAt(1 / 1.4, ...middle),
      0: () => camera.resize(camera.width, camera.height, true),
      Enter: () => clicked(...middle),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
    moved();
  });
}

function distance([ax, ay], [bx, by]) {
  return Math.hypot(ax - bx, ay - by);
}
