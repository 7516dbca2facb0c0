// Camera of the map: its center in map units, and its scale in pixels per unit. The center stays within the map, and the
// zoom within limits that depend on the number of points, so that there is always something to see.

const FARTHEST = 0.8;
// Upper limit of the zoom, as a multiple of the zoom with one point per window on average.
const NEARER = 4;
const LEAST_NEAREST = 16;

export class Camera {
  constructor(points) {
    this.box = bounds(points);
    this.nearest = Math.max(LEAST_NEAREST, NEARER * Math.sqrt(points.x.length));
    this.x = (this.box.left + this.box.right) / 2;
    this.y = (this.box.bottom + this.box.top) / 2;
    this.scale = 1;
    this.fitted = 1;
    this.width = this.height = 1;
  }

  /** Set the size of the window in pixels; the first time, and with `fit`, show the whole map. */
  resize(width, height, fit = false) {
    const zoom = this.scale / this.fitted;
    this.width = width;
    this.height = height;
    const wide = Math.max(this.box.right - this.box.left, 1e-9);
    const high = Math.max(this.box.top - this.box.bottom, 1e-9);
    this.fitted = 0.92 * Math.min(width / wide, height / high);
    this.scale = fit ? this.fitted : zoom * this.fitted;
  }

  /** The zoom: 1 shows the whole map. */
  get zoom() {
    return this.scale / this.fitted;
  }

  toScreen(x, y) {
    return [this.width / 2 + (x - this.x) * this.scale, this.height / 2 - (y - this.y) * this.scale];
  }

  toMap(left, top) {
    return [this.x + (left - this.width / 2) / this.scale, this.y - (top - this.height / 2) / this.scale];
  }

  /** Move by pixels. */
  pan(right, down) {
    this.goTo(this.x - right / this.scale, this.y + down / this.scale);
  }

  /** Center a place, or the nearest place within the map. */
  goTo(x, y) {
    this.x = Math.min(Math.max(x, this.box.left), this.box.right);
    this.y = Math.min(Math.max(y, this.box.bottom), this.box.top);
  }

  /** Set the zoom within its limits. */
  zoomTo(zoom) {
    this.scale = this.fitted * Math.min(Math.max(zoom, FARTHEST), this.nearest);
  }

  /** Zoom by a factor, keeping the place under (left, top). */
  zoomAt(factor, left, top) {
    const [x, y] = this.toMap(left, top);
    this.zoomTo(this.zoom * factor);
    this.goTo(x - (left - this.width / 2) / this.scale, y + (top - this.height / 2) / this.scale);
  }

  /** Move by the smallest distance that brings a point into the window, `margin` pixels from its edge. */
  include(x, y, margin) {
    const aside = Math.max(0, this.width / 2 - margin) / this.scale;
    const above = Math.max(0, this.height / 2 - margin) / this.scale;
    this.goTo(Math.min(Math.max(this.x, x - aside), x + aside), Math.min(Math.max(this.y, y - above), y + above));
  }

  copy() {
    return Object.assign(Object.create(Camera.prototype), this);
  }
}

function bounds({ x, y }) {
  let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let at = 0; at < x.length; at++) {
    if (x[at] < left) left = x[at];
    if (x[at] > right) right = x[at];
    if (y[at] < bottom) bottom = y[at];
    if (y[at] > top) top = y[at];
  }
  return { left, right, bottom, top };
}
