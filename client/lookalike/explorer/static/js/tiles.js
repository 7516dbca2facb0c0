// Grids of images with arrow-key navigation.
import { count, h, labeled, whenNear } from "./dom.js";
import { thumbnail } from "./collection.js";

// A busy server may reject a thumbnail; it is requested once more.
const AGAIN_MS = 1500;
const PATIENCE_MS = 3000;

/** Return an image that loads when it comes near the window; a placeholder with a note if its file is lost. */
export function frame(id, { alt = "", size = 160, eager = false, source = null } = {}) {
  let again = true;
  const image = h("img", {
    src: source ?? thumbnail(id, size),
    alt,
    loading: eager ? "eager" : "lazy",
    decoding: "async",
    draggable: "false",
    onerror: () => {
      if (again && !source) {
        again = false;
        setTimeout(() => (image.src = `${image.getAttribute("src")}?again`), AGAIN_MS);
        return;
      }
      box.classList.add("lost");
      box.replaceChildren("image not available");
    },
  });
  const box = h("span", { class: "frame" }, image);
  return box;
}

/**
 * Return a tile of {id, key, label} with its link and caption: a `value` beside the label, then `more` on one line,
 * `lines` of words, and `numbers` as [[what, value]].
 */
export function tile(image, { href, value = "", more = null, lines = [], numbers = [], title = null, other = false, size = 320, eager = false, valueTitle = null }) {
  const name = labeled(image.label);
  return h(
    "li",
    { class: "tile", data: { id: image.id } },
    h("a", { href, title: image.key, aria: { label: title ?? `${name}, ${image.key}` } }, frame(image.id, { size, eager })),
    h(
      "div",
      { class: "caption" },
      h("a", { class: other ? "label other" : "label", href: `image?id=${image.id}`, title: `${name} (${image.key}): about this image`, tabindex: "-1" }, name),
      value ? h("span", { class: "value", title: valueTitle }, value) : null,
      more ? h("span", { class: "more", title: more }, more) : null,
      lines.map((line) => h("span", { class: "line" }, line)),
      numbers.length ? h("dl", { class: "numbers" }, numbers.map(([what, number]) => [h("dt", {}, what), h("dd", {}, number)])) : null,
    ),
  );
}

/** Return a list of tiles. Arrow keys move the focus; i opens the page of the focused image. */
export function grid(tiles, { strip = false, label = "Images" } = {}) {
  return h("ul", { class: strip ? "tiles strip" : "tiles", aria: { label }, onkeydown: walk }, tiles);
}

/** Return empty frames to show while waiting. */
export function waiting(number, strip = false) {
  const empty = Array.from({ length: number }, () => h("li", { class: "tile waiting" }, h("span", { class: "frame" })));
  return h("ul", { class: strip ? "tiles strip" : "tiles", aria: { hidden: "true" } }, empty);
}

/** Resolve when the images in the window have loaded or failed, or after a timeout. */
export function whenPainted(element) {
  // Not by `complete`, which is also true for a lazy image that is not near the window yet.
  const near = [...element.querySelectorAll("img")].filter((image) => !image.naturalWidth && image.getBoundingClientRect().top < innerHeight);
  const there = (image) => new Promise((resolve) => ["load", "error"].forEach((name) => image.addEventListener(name, resolve, { once: true })));
  return Promise.race([Promise.all(near.map(there)), new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
}

function walk(event) {
  const links = [...event.currentTarget.querySelectorAll(".tile > a")];
  const at = links.indexOf(document.activeElement);
  if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "i") {
    links[at].parentElement.querySelector(".label").click();
    return;
  }
  const top = (link) => link.getBoundingClientRect().top;
  const firstRow = links.filter((link) => Math.abs(top(link) - top(links[0])) < 4).length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: firstRow, ArrowUp: -firstRow }[event.key];
  const to = event.key === "Home" ? 0 : event.key === "End" ? links.length - 1 : step === undefined ? null : at + step;
  if (to === null || !links[to]) return;
  event.preventDefault();
  links[to].focus();
}

/**
 * Return a grid that loads more tiles on scroll. `next(token)` resolves to {tiles, next, total}; `first` is the first
 * page. `signal` stops it.
 */
export function endless(first, next, { label, signal, noun = "image" }) {
  const list = grid(first.tiles, { label });
  const foot = h("div", { class: "loadmore" });
  let token = first.next;
  let shown = first.tiles.length;

  const state = () => `${count(shown, noun)} of ${first.total.toLocaleString("en")}`;
  const arm = () => {
    if (!token) {
      foot.replaceChildren(h("p", { class: "print" }, shown > 24 ? `All ${count(shown, noun)}` : ""));
      return;
    }
    foot.replaceChildren(h("button", { type: "button", onclick: load }, `Show more: ${state()}`));
    const stop = whenNear(foot, load);
    signal?.addEventListener("abort", stop, { once: true });
  };
  let loading = false;
  const load = async () => {
    if (loading) return;
    loading = true;
    try {
      const page = await next(token);
      list.append(...page.tiles);
      shown += page.tiles.length;
      token = page.next;
      loading = false;
      arm();
    } catch (error) {
      loading = false;
      if (error.name === "AbortError") return;
      foot.replaceChildren(h("p", { class: "remark" }, error.message), h("button", { type: "button", onclick: load }, "Try again"));
    }
  };
  arm();
  return h("div", {}, list, foot);
}
