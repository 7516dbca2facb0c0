// Map of the collection: similar images lie together.
import { askBytes } from "../api.js";
import { go, link, note } from "../address.js";
import { clusterings, collection } from "../collection.js";
import { count, h, labeled, say } from "../dom.js";
import { selectAll } from "../edit.js";
import { failure } from "../failures.js";
import { Camera } from "../map/camera.js";
import { leveled, read, within } from "../map/columns.js";
import { middles, Names } from "../map/names.js";
import { Near } from "../map/near.js";
import { paint } from "../map/palette.js";
import { Points } from "../map/points.js";
import { listen } from "../map/stage.js";
import { frame, grid, tile } from "../tiles.js";
import KDBush from "../../vendor/kdbush.js";

const LEGEND = 14;
const LISTED = 60;
// Distance from a point in pixels that still counts as on it.
const REACH = 9;
const SETTLE_MS = 130;
// Distance from the window's edge in pixels at which the last visible point is kept.
const EDGE = 60;
// Duration of the animation between checkpoints in ms, for up to GLIDING points.
const GLIDE_MS = 450;
const GLIDING = 20000;
const METHODS = { pca: "PCA", tsne: "t-SNE", umap: "UMAP" };
const PLACES = new Set(["x", "y", "id", "step"]);

export async function view(asked, signal) {
  const [known, bytes] = await Promise.all([collection(), askBytes("map", { name: asked.name }, { signal })]);
  const all = read(bytes);
  if (all.categories.step) leveled(all.columns, all.categories.step.length);
  const found = asked.where ? await matching(all, asked.where, signal) : all;
  if (!found.columns.id.length) return { element: h("div", { class: "notice" }, h("h1", { tabindex: "-1" }, "Map"), h("p", {}, "No image of this map matches the filter.")), title: "Map" };
  const map = new MapView(found, asked, known, signal);
  await map.learn(map.color);
  return { element: map.element, title: "Map", whole: true, ready: () => map.start() };
}

/** Return the points of the images that match a filter, at their places; `extent` has all points. */
async function matching(found, where, signal) {
  const ids = new Set(read(await askBytes("matching", { where }, { signal })).columns.id);
  const { columns } = found;
  const rows = [...columns.id.keys()].filter((at) => ids.has(columns.id[at]));
  const kept = Object.entries(columns).map(([name, values]) => [name, values.constructor.from(rows, (at) => values[at])]);
  return { ...found, columns: Object.fromEntries(kept), extent: columns };
}

class MapView {
  constructor(found, asked, known, signal) {
    this.found = found;
    this.asked = asked;
    this.signal = signal;
    this.steps = found.categories.step ?? [];
    // Categories: columns of the map itself, such as predictions; labels; and the clusters of each clustering.
    const own = Object.keys(found.columns).filter((name) => !PLACES.has(name) && found.columns[name] instanceof Int32Array);
    const labeled = known.collection.labels ? ["label"] : [];
    this.colors = [...new Set([...labeled, ...own, ...clusterings(known)])];
    this.color = this.colors.includes(asked.color) ? asked.color : (this.colors[0] ?? "");
    this.hidden = new Set();
    this.lasso = false;
    this.take(Math.max(0, this.steps.indexOf(asked.step ?? this.steps.at(-1))));
    this.build();
  }

  /** Select the points of a step, or all points without steps. */
  take(step) {
    const { columns } = this.found;
    this.step = step;
    const rows = this.steps.length ? columns.x.length / this.steps.length : columns.x.length;
    const cut = (values) => values.subarray(step * rows, (step + 1) * rows);
    this.points = Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, cut(values)]));
    this.index = new KDBush(rows, 64, Float32Array);
    for (let at = 0; at < rows; at++) this.index.add(this.points.x[at], this.points.y[at]);
    this.index.finish();
  }

  /** Fetch the categories of a coloring that the map itself does not have. */
  async learn(color) {
    const { columns, categories } = this.found;
    if (!color || columns[color]) return;
    const asked = color === "label" ? { by: "label" } : { by: "cluster", clustering: color };
    const told = read(await askBytes("colors", asked, { signal: this.signal }));
    const codes = new Map();
    told.columns.id.forEach((id, at) => codes.set(id, told.columns.code[at]));
    columns[color] = Int32Array.from(columns.id, (id) => codes.get(id) ?? -1);
    if (told.categories.code) categories[color] = told.categories.code;
    this.take(this.step);
  }

  name(column, code) {
    const names = this.found.categories[column];
    if (code < 0) return `no ${names ? column : "cluster"}`;
    return names ? labeled(names[code]) : `cluster ${code}`;
  }

  build() {
    this.canvas = h("canvas", { class: "points", aria: { hidden: "true" } });
    this.nearby = h("div", { class: "nearby" });
    this.words = h("div", { class: "names", aria: { hidden: "true" } });
    this.outline = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.outline.setAttribute("class", "outline");
    this.tip = h("div", { class: "tip", hidden: true });
    this.box = h(
      "div",
      { class: "stage", tabindex: "0", role: "application", aria: { label: `Map of ${count(this.points.x.length, "image")}. Arrow keys move, plus and minus zoom, 0 or a double click shows all, Enter opens the image in the middle.` } },
      this.canvas,
      this.words,
      this.nearby,
      this.outline,
      this.tip,
    );
    this.legend = h("ul", { class: "legend" });
    this.list = h("section", { class: "chosen", hidden: true, aria: { label: "Chosen images" } });
    this.lassoButton = h("button", { type: "button", aria: { pressed: "false" }, onclick: () => this.setLasso(!this.lasso) }, "Lasso");
    this.element = h("div", { class: "map" }, this.box, h("aside", { class: "panel" }, ...this.panel()), this.list);
  }

  panel() {
    const { maps, name, settings, out_of_date: stale } = this.found;
    const select = (text, id, options, chosen, then) =>
      h("div", { class: "field" }, h("label", { for: id }, text), h("select", { id, onchange: (event) => then(event.target.value) }, options.map(([value, shown]) => h("option", { value, selected: value === chosen }, shown))));
    const method = settings.method ? `placed by ${METHODS[settings.method] ?? settings.method} of ${settings.space}` : this.steps.length ? `at ${count(this.steps.length, "checkpoint")} of ${settings.model}` : "";
    return [
      h("h1", { tabindex: "-1" }, "Map"),
      h("p", { class: "print" }, `${count(this.points.x.length, "image")} ${method}`),
      stale ? h("p", { class: "remark" }, "The collection has changed since this map was made. Make it again with ", h("code", {}, this.steps.length ? "lookalike evolution" : "lookalike map"), ".") : null,
      maps.length > 1 ? select("Map", "which", maps.map((each) => [each, each]), name, (value) => go(link("map", { name: value }))) : null,
      this.colors.length ? select("Color by", "color", this.colors.map((each) => [each, each.includes("/") ? `cluster in ${each}` : each]), this.color, (value) => this.changeColor(value)) : null,
      this.steps.length ? this.slider() : null,
      h("div", { class: "row tight" }, this.lassoButton, this.zoomer("+", 1.6, "Zoom in"), this.zoomer("−", 1 / 1.6, "Zoom out"), h("button", { type: "button", onclick: () => this.fit() }, "All")),
      this.legend,
    ];
  }

  zoomer(text, factor, label) {
    return h("button", { type: "button", aria: { label }, onclick: () => (this.camera.zoomAt(factor, this.camera.width / 2, this.camera.height / 2), this.moved()) }, text);
  }

  slider() {
    const output = h("output", { class: "print", for: "step" }, this.steps[this.step]);
    const input = h("input", {
      id: "step", type: "range", min: 0, max: this.steps.length - 1, step: 1, value: this.step, aria: { valuetext: this.steps[this.step] },
      oninput: () => {
        this.goTo(Number(input.value));
        output.textContent = this.steps[this.step];
        input.setAttribute("aria-valuetext", this.steps[this.step]);
      },
    });
    return h("div", { class: "field" }, h("label", { for: "step" }, "Checkpoint"), input, output);
  }

  /** Show another step; the points move from their old to their new places. */
  goTo(step) {
    const from = this.between ?? this.points;
    this.take(step);
    this.near.clear();
    this.hovered(null);
    this.setColor(this.color);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches || this.points.x.length > GLIDING;
    this.glide(from, performance.now() - (still ? GLIDE_MS : 0));
  }

  glide(from, began) {
    cancelAnimationFrame(this.gliding);
    const past = Math.min(1, (performance.now() - began) / GLIDE_MS);
    const share = past * past * (3 - 2 * past);
    const mixed = (axis) => this.points[axis].map((value, at) => from[axis][at] + share * (value - from[axis][at]));
    this.between = past < 1 ? { x: mixed("x"), y: mixed("y") } : null;
    this.drawing.move(this.between ?? this.points);
    this.moved();
    if (this.between) this.gliding = requestAnimationFrame(() => this.glide(from, began));
  }

  start() {
    this.camera = new Camera(this.found.extent ?? this.found.columns);
    try {
      this.drawing = new Points(this.canvas, this.points);
    } catch (error) {
      this.box.replaceChildren(h("p", { class: "notice", role: "alert" }, error.message));
      return;
    }
    this.near = new Near(this.nearby);
    this.names = new Names(this.words);
    const size = (fit) => {
      this.camera.resize(this.box.clientWidth, this.box.clientHeight, fit);
      this.moved();
    };
    size(true);
    if (this.asked.zoom) {
      this.camera.zoomTo(Number(this.asked.zoom) || 1);
      if (this.asked.x && this.asked.y) this.camera.goTo(Number(this.asked.x) || 0, Number(this.asked.y) || 0);
    }
    const watcher = new ResizeObserver(() => size(false));
    watcher.observe(this.box);
    this.signal.addEventListener("abort", () => {
      watcher.disconnect();
      clearTimeout(this.settling);
      cancelAnimationFrame(this.frame);
      cancelAnimationFrame(this.gliding);
      this.drawing.close();
    });
    listen(this.box, this.camera, {
      lasso: () => this.lasso,
      moved: () => this.moved(),
      clicked: (left, top) => this.clicked(left, top),
      doubled: () => this.fit(),
      hovered: (left, top) => this.hovered(left, top),
      drawing: (corners) => this.showOutline(corners),
      drew: (corners) => this.choose(corners),
      signal: this.signal,
    });
    this.setColor(this.color);
    this.box.dataset.ready = "true";
  }

  moved() {
    if (!this.drawing) return;
    this.stay();
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.drawing.show(this.camera);
      this.near.follow(this.camera);
      this.names.follow(this.camera, this.near.shown.size > 0);
    });
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.settle(), SETTLE_MS);
  }

  /** Keep a point in the window: if there is none, move to the nearest one. */
  stay() {
    const { camera, index } = this;
    if (camera.zoom <= 1) return;
    const { x, y } = this.points;
    const [left, bottom] = camera.toMap(0, camera.height);
    const [right, top] = camera.toMap(camera.width, 0);
    // The point that was visible last is usually still visible, so no other has to be searched.
    const seen = this.seen;
    if (x[seen] >= left && x[seen] <= right && y[seen] >= bottom && y[seen] <= top) return;
    [this.seen] = index.range(left, bottom, right, top);
    if (this.seen !== undefined) return;
    const away = (at) => Math.hypot(x[at] - camera.x, y[at] - camera.y);
    let found = [];
    for (let reach = (right - left + top - bottom) / 2; !found.length && Number.isFinite(reach); reach *= 2) found = index.within(camera.x, camera.y, reach);
    if (!found.length) return;
    const nearest = found.reduce((best, at) => (away(at) < away(best) ? at : best));
    camera.include(x[nearest], y[nearest], EDGE);
  }

  /** Update what changes only when the camera rests: the thumbnails, and the URL. */
  settle() {
    const { camera } = this;
    const [left, bottom] = camera.toMap(0, camera.height);
    const [right, top] = camera.toMap(camera.width, 0);
    const codes = this.points[this.color];
    const inside = this.index.range(left, bottom, right, top).filter((at) => !codes || !this.hidden.has(codes[at]));
    this.box.dataset.thumbnails = this.near.settle(camera, inside, (at) => this.place(at));
    this.names.follow(camera, this.near.shown.size > 0);
    this.box.dataset.inside = inside.length;
    this.box.dataset.zoom = camera.zoom.toFixed(3);
    note(link("map", { ...this.asked, name: this.found.maps.length > 1 ? this.found.name : "", color: this.color === this.colors[0] ? "" : this.color, step: this.steps[this.step], ...(Math.abs(camera.zoom - 1) > 0.01 ? { x: camera.x.toPrecision(6), y: camera.y.toPrecision(6), zoom: camera.zoom.toPrecision(4) } : { x: "", y: "", zoom: "" }) }));
  }

  place(at) {
    const { x, y, id, label } = this.points;
    const shade = this.shades.get(this.points[this.color]?.[at]);
    return { x: x[at], y: y[at], id: id[at], label: label ? this.name("label", label[at]) : "", color: shade };
  }

  fit() {
    this.camera = Object.assign(this.camera, new Camera(this.found.extent ?? this.found.columns));
    this.camera.resize(this.box.clientWidth, this.box.clientHeight, true);
    this.moved();
  }

  async changeColor(color) {
    try {
      await this.learn(color);
    } catch (error) {
      if (error.name !== "AbortError") this.legend.replaceChildren(h("li", {}, failure(error, () => this.changeColor(color), { inline: true })));
      return;
    }
    this.setColor(color);
  }

  setColor(color) {
    if (color !== this.color) this.hidden.clear();
    this.color = color;
    const codes = this.points[color] ?? new Int32Array(this.points.x.length);
    const { bytes, legend } = paint(codes, this.hidden, this.found.columns[color] ?? codes);
    this.shades = new Map(legend.map(({ code, color: shade }) => [code, shade]));
    this.drawing.color(bytes);
    this.showLegend(color ? legend : []);
    this.names.take(this.groups(codes, legend));
    this.moved();
  }

  /** Return the names of the groups in the legend that are not hidden, with their places. */
  groups(codes, legend) {
    const places = new Map(middles(codes, this.points).map((each) => [each.code, each]));
    return legend.filter(({ code }) => !this.hidden.has(code)).map(({ code }) => ({ ...places.get(code), text: this.name(this.color, code) }));
  }

  showLegend(entries) {
    const toggle = (code) => {
      if (this.hidden.has(code)) this.hidden.delete(code);
      else this.hidden.add(code);
      this.setColor(this.color);
    };
    const rows = entries.slice(0, this.allShown ? entries.length : LEGEND).map(({ code, count: images, color }) =>
      h(
        "li",
        {},
        h(
          "button",
          { type: "button", aria: { pressed: String(!this.hidden.has(code)) }, title: "Show or hide", onclick: () => toggle(code) },
          h("span", { class: "dot", style: { background: color } }),
          h("span", { class: "what" }, this.name(this.color, code)),
          h("span", { class: "print" }, images.toLocaleString("en")),
        ),
      ),
    );
    const rest = entries.length - rows.length;
    const more = rest > 0 ? h("li", {}, h("button", { type: "button", class: "more", onclick: () => ((this.allShown = true), this.showLegend(entries)) }, `${rest} more`)) : null;
    this.legend.replaceChildren(...rows, ...(more ? [more] : []));
  }

  nearest(left, top) {
    const [x, y] = this.camera.toMap(left, top);
    const codes = this.points[this.color];
    const reach = this.index.within(x, y, REACH / this.camera.scale).filter((at) => !codes || !this.hidden.has(codes[at]));
    const away = (at) => Math.hypot(this.points.x[at] - x, this.points.y[at] - y);
    return reach.length ? reach.reduce((best, at) => (away(at) < away(best) ? at : best)) : null;
  }

  clicked(left, top) {
    const at = this.nearest(left, top);
    if (at !== null) go(link("image", { id: this.points.id[at] }));
  }

  hovered(left, top) {
    const at = left === null || this.lasso ? null : this.nearest(left, top);
    this.box.classList.toggle("over", at !== null);
    this.tip.hidden = at === null;
    if (at === null) return;
    const { id } = this.place(at);
    const [right, down] = this.camera.toScreen(this.points.x[at], this.points.y[at]);
    this.tip.style.left = `${Math.min(Math.max(right, 76), this.camera.width - 76)}px`;
    this.tip.style.top = `${down}px`;
    this.tip.classList.toggle("below", down < 190);
    if (this.tip.dataset.id === String(id)) return;
    this.tip.dataset.id = id;
    const words = this.colors.filter((name) => this.points[name]).map((name) => this.name(name, this.points[name][at]));
    this.tip.replaceChildren(frame(id, { eager: true }), h("p", {}, words.join(" · ")));
  }

  setLasso(on) {
    this.lasso = on;
    this.lassoButton.setAttribute("aria-pressed", String(on));
    this.box.classList.toggle("lasso", on);
    if (on) say("Draw around images to list them.");
  }

  showOutline(corners) {
    this.outline.replaceChildren();
    if (!corners) return;
    const shape = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    shape.setAttribute("points", corners.map((each) => each.map(Math.round).join(",")).join(" "));
    this.outline.append(shape);
  }

  async choose(corners) {
    const polygon = corners.map(([left, top]) => this.camera.toMap(left, top));
    const codes = this.points[this.color];
    const inside = within(polygon, this.points, this.index).filter((at) => !codes || !this.hidden.has(codes[at]));
    this.setLasso(false);
    const close = h("button", { type: "button", onclick: () => ((this.list.hidden = true), this.box.focus()) }, "Close");
    const words = `${count(inside.length, "image")} chosen`;
    const body = h("div", {});
    const title = h("h2", { tabindex: "-1" }, words);
    this.list.hidden = false;
    this.list.replaceChildren(h("div", { class: "heading" }, title, this.summary(inside), close), body);
    say(words);
    title.focus({ preventScroll: true });
    let from = 0;
    const tiles = grid([], { label: words });
    const more = h("button", { type: "button", onclick: () => add() }, "Show more");
    const every = await selectAll(() => inside.map((at) => this.points.id[at]));
    if (every) close.before(every);
    const add = () => {
      tiles.append(...inside.slice(from, from + LISTED).map((at) => tile({ ...this.place(at), key: `image ${this.points.id[at]}` }, { href: link("image", { id: this.points.id[at] }), size: 160 })));
      from += LISTED;
      more.hidden = from >= inside.length;
    };
    add();
    body.append(tiles, h("div", { class: "loadmore" }, more));
    this.list.scrollIntoView({ block: "nearest" });
  }

  summary(inside) {
    const codes = this.points[this.color];
    if (!codes || !inside.length) return null;
    const counts = new Map();
    for (const at of inside) counts.set(codes[at], (counts.get(codes[at]) ?? 0) + 1);
    const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 4);
    return h("p", { class: "muted small" }, most.map(([code, images]) => `${images} ${this.name(this.color, code)}`).join(", ") + (counts.size > 4 ? ` and ${count(counts.size - 4, "other")}` : ""));
  }
}
