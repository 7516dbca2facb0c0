// Names of the groups on the map, each above the middle of its points.
import { h } from "../dom.js";

// Groups beyond this number have no color of their own.
const MOST = 120;
// Distance of a name above its point, in pixels.
const APART = 5;

export class Names {
  constructor(box) {
    this.box = box;
    this.all = [];
  }

  /** Set the groups, largest first: [{text, x, y}] in map units. */
  take(groups) {
    this.all = groups.slice(0, MOST).map(({ text, x, y }) => ({ x, y, element: h("span", {}, text) }));
    this.box.replaceChildren(...this.all.map(({ element }) => element));
    for (const each of this.all) {
      each.width = each.element.offsetWidth;
      each.height = each.element.offsetHeight;
    }
  }

  /** Move the names with the camera. A name that would overlap an earlier one is hidden, and all are while images show. */
  follow(camera, thumbnails) {
    // A class instead of `hidden`: names that are added meanwhile must be measured.
    this.box.classList.toggle("away", thumbnails);
    const taken = [];
    for (const { x, y, width, height, element } of this.all) {
      const [middle, down] = camera.toScreen(x, y);
      const [left, top] = [middle - width / 2, down - height - APART];
      const over = (other) => left < other.left + other.width && other.left < left + width && top < other.top + other.height && other.top < top + height;
      element.hidden = taken.some(over);
      if (element.hidden) continue;
      taken.push({ left, top, width, height });
      element.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
    }
  }
}

/** Return the point of each group nearest to the median of its points: [{code, x, y}], with the groups of `codes`. */
export function middles(codes, { x, y }) {
  const rows = Map.groupBy(codes.keys(), (at) => codes[at]);
  return [...rows].map(([code, own]) => {
    const middle = [x, y].map((axis) => Float32Array.from(own, (at) => axis[at]).sort()[own.length >> 1]);
    const away = (at) => (x[at] - middle[0]) ** 2 + (y[at] - middle[1]) ** 2;
    const nearest = own.reduce((best, at) => (away(at) < away(best) ? at : best));
    return { code, x: x[nearest], y: y[nearest] };
  });
}
