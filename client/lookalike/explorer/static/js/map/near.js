// Thumbnails of points on a zoomed map, without overlap.
import { h } from "../dom.js";
import { link } from "../address.js";
import { thumbnail } from "../collection.js";

const MOST = 90;
// Thumbnails cover points, so they show only on a zoomed map, or with few points.
const FEW = 700;
const NEAR_ZOOM = 1.8;
const FEW_IN_ALL = 60;

export class Near {
  constructor(box) {
    this.box = box;
    this.shown = new Map();
    this.at = null;
  }

  /** Move the thumbnails with the camera until the next `settle`. */
  follow(camera) {
    if (!this.at) return;
    const ratio = camera.scale / this.at.scale;
    const [left, top] = camera.toScreen(this.at.x, this.at.y);
    this.box.style.transform = `translate(${left - (camera.width / 2) * ratio}px, ${top - (camera.height / 2) * ratio}px) scale(${ratio})`;
  }

  /** Remove all thumbnails until the next `settle`. */
  clear() {
    this.box.replaceChildren();
    this.shown.clear();
  }

  /** Choose the points with room for a thumbnail among `candidates` in the window; `place(at)` describes each. */
  settle(camera, candidates, place) {
    const side = camera.width < 600 ? 56 : 76;
    const taken = new Set();
    const chosen = new Map();
    if (candidates.length <= FEW && (camera.zoom >= NEAR_ZOOM || candidates.length <= FEW_IN_ALL)) {
      for (const at of candidates) {
        const { x, y, id, label, color } = place(at);
        const [left, top] = camera.toScreen(x, y);
        const column = Math.floor(left / (side + 6));
        const row = Math.floor(top / (side + 6));
        const around = [-1, 0, 1].flatMap((dx) => [-1, 0, 1].map((dy) => chosen.get(`${column + dx},${row + dy}`))).filter(Boolean);
        if (chosen.size >= MOST || around.some((other) => Math.abs(other.left - left) < side + 4 && Math.abs(other.top - top) < side + 4)) continue;
        chosen.set(`${column},${row}`, { left, top, id, label, color });
        taken.add(id);
      }
    }
    for (const [id, element] of this.shown) {
      if (taken.has(id)) continue;
      element.remove();
      this.shown.delete(id);
    }
    for (const { left, top, id, label, color } of chosen.values()) {
      let element = this.shown.get(id);
      if (!element) {
        element = h("a", { class: "near", href: link("image", { id }), tabindex: "-1", aria: { label: label || `image ${id}` } }, h("img", { src: thumbnail(id, 160), alt: "", draggable: "false" }));
        this.shown.set(id, element);
        this.box.append(element);
      }
      element.style.left = `${left - side / 2}px`;
      element.style.width = element.style.height = `${side}px`;
      element.style.borderColor = color;
      element.style.top = `${top - side / 2}px`;
    }
    this.at = { x: camera.x, y: camera.y, scale: camera.scale };
    this.box.style.transform = "none";
    return taken.size;
  }
}
