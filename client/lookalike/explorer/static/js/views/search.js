// Search for stored images that look like one.
import { ask, file, sendAgain } from "../api.js";
import { go, link } from "../address.js";
import { clusterings, collection, noticed, server } from "../collection.js";
import { count, digits, h, labeled, measured, say } from "../dom.js";
import { adder, chooser } from "../edit.js";
import { labelBox } from "../labels.js";
import { endless, frame, grid, tile, waiting as frames, whenPainted } from "../tiles.js";

const K = 24;
const MOST = 200;
const LONGEST_TEXT = 300;
const RECALLS = [0.8, 0.9, 0.95, 0.99];

export function waiting() {
  return frames(18);
}

export async function view(asked, signal) {
  return asked.id === undefined && asked.upload === undefined && asked.text === undefined ? start(asked, signal) : results(asked, signal);
}

async function start(asked, signal) {
  const page = (token) => ask("images", { label: asked.label, where: asked.where, token, limit: 60 }, { signal });
  const [found, first] = await Promise.all([collection(), page("")]);
  const toTiles = ({ images, next, total }) => ({
    tiles: images.map((image) => tile(image, { href: link("search", { id: image.id }) })),
    next,
    total,
  });
  const filter = labelBox({ id: "only", text: "Only images with the label", chosen: asked.label, changed: () => submit() });
  const submit = () => go(link("search", { label: filter.value() }));
  const form = h(
    "form",
    { class: "pick", onsubmit: (event) => (event.preventDefault(), submit()) },
    filter.element,
    h("button", { type: "submit" }, "Show"),
  );
  const { collection: all } = found;
  const refused = h("p", { class: "remark", hidden: true });
  const adding = await chooser();
  // After the images have loaded, because this request may start the server's network, which takes processor time.
  const ready = () =>
    whenPainted(element)
      .then(() => (signal.aborted ? null : server()))
      .then((told) => {
        if (!told || told.server.image_queries) return;
        refused.textContent = `This server cannot search by your own images: ${told.server.image_query_problem}`;
        refused.hidden = false;
      })
      .catch(() => {});
  const element = h(
    "div",
    {},
    h(
      "section",
      { class: "hero" },
      h("h1", { tabindex: "-1" }, "What does your image look like?"),
      textBox(all, {}),
      h("p", {}, `Drop an image here, paste one, or choose one below to find the most similar of ${count(all.images, "image")}.`),
      refused,
      adding,
      untrained(all),
    ),
    h("div", { class: "heading" }, h("h2", {}, asked.label ? `${count(first.total, "image")} labeled ${labeled(asked.label)}` : "In this collection"), form),
    first.total ? endless(toTiles(first), async (token) => toTiles(await page(token)), { label: "Images of the collection", signal, noun: "image" }) : empty(asked, all),
  );
  return { element, title: asked.label ? `Images labeled ${asked.label}` : all.name, ready };
}

function empty({ label, where }, all) {
  if (where) return h("div", { class: "notice" }, h("p", {}, label ? `No image with the label ${label} matches the filter.` : "No image matches the filter."));
  const what = label ? `No image has the label ${label}.` : "This collection has no images yet.";
  const todo = label ? "Labels are matched whole, with capitals." : h("span", {}, "Add some with ", h("code", {}, `lookalike index SOURCE --collection ${all.name}`), ".");
  return h("div", { class: "notice" }, h("p", {}, what), h("p", { class: "muted small" }, todo));
}

async function results(asked, signal) {
  const found = await collection();
  const began = performance.now();
  const query = { k: K, ...asked };
  const question = () => ask("search", query, { signal });
  const about = asked.id === undefined ? null : ask("image", { id: asked.id, members: 0 }, { signal });
  about?.catch(() => {});
  const near = await question().catch(async (error) => {
    if (error.kind === "missing" && asked.upload && (await sendAgain(asked.upload))) return question();
    throw error;
  });
  const subject = about ? (await about).image : { key: asked.text ?? "Your image", label: null };
  const seen = performance.now() - began;
  noticed(near.served);
  const keep = (change) => link("search", { ...asked, ...change });
  const tiles = near.neighbors.map((each, rank) =>
    tile(each, {
      href: keep({ id: each.id, upload: undefined, text: undefined }),
      value: digits(each.distance),
      valueTitle: measured(near.metric),
      more: each.cluster === null ? null : `cluster ${each.cluster}`,
      title: `${rank + 1}: ${labeled(each.label)}, ${measured(near.metric)} ${digits(each.distance)}, ${each.key}`,
      other: Boolean(subject.label) && each.label !== subject.label,
      eager: rank < 12,
    }),
  );
  const name = asked.text !== undefined ? `“${asked.text}”` : asked.id === undefined ? "your image" : labeled(subject.label ?? subject.key);
  const same = subject.label ? near.neighbors.filter((each) => each.label === subject.label).length : null;
  const adding = asked.upload === undefined ? null : await adder(asked.upload, common(near.neighbors.slice(0, 5)));
  const element = h(
    "div",
    { class: "beside" },
    h("aside", { class: "asked" }, asked.text === undefined ? null : textBox(found.collection, asked), queried(asked, subject), adding, controls(asked, found, near)),
    h(
      "section",
      {},
      h(
        "div",
        { class: "heading" },
        h("h1", { tabindex: "-1" }, asked.text === undefined ? `Looks like ${name}` : `Matches for ${name}`),
        h("p", { class: "muted small" }, [same === null ? "" : `${same} of ${near.neighbors.length} share its label`, `numbers: ${measured(near.metric)}`].filter(Boolean).join(" · ")),
      ),
      near.served.pretrained ? null : untrained(found.collection),
      near.matching === null ? null : h("p", { class: "muted small" }, filtered(asked, near)),
      tiles.length || !asked.where ? null : h("p", { class: "notice" }, "No other image matches the filter."),
      grid(tiles, { label: "Neighbors, nearest first" }),
      h("p", { class: "print section", id: "served" }, smallPrint(near.served, seen)),
    ),
  );
  const ready = () => say(`${count(near.neighbors.length, "neighbor")} of ${name}`);
  return { element, title: `Like ${name}`, ready };
}

/** Return the input for a description if a space takes text queries; `then` are the settings to keep. */
function textBox(all, then) {
  const space = textSpace(all, then.space);
  if (space === null) return null;
  const box = h("input", { id: "text", name: "text", type: "search", maxlength: LONGEST_TEXT, required: true, value: then.text ?? "", placeholder: "a red bus at night" });
  const submit = (event) => {
    event.preventDefault();
    if (box.value.trim()) go(link("search", { ...then, id: undefined, upload: undefined, text: box.value.trim(), space: space === all.default_space ? undefined : space }));
  };
  return h("form", { class: "pick", role: "search", onsubmit: submit }, h("label", { for: "text" }, "Describe an image"), box, h("button", { type: "submit" }, "Search"));
}

/** Return the space for text queries: the chosen one, else the default one, else the first that takes texts. */
function textSpace(all, chosen) {
  const able = all.spaces.filter((each) => each.takes_text && each.index).map((each) => each.name);
  return [chosen, all.default_space, able[0]].find((name) => able.includes(name)) ?? null;
}

/** Return the most frequent label of the images; "" without labels. */
function common(images) {
  const counts = new Map();
  for (const { label } of images) if (label) counts.set(label, (counts.get(label) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? "";
}

function queried(asked, subject) {
  if (asked.text !== undefined) return h("div", { class: "about" }, h("p", { class: "name" }, subject.key));
  const source = asked.id === undefined ? file(`api/uploads/${encodeURIComponent(asked.upload)}`) : null;
  return h(
    "div",
    { class: "about" },
    frame(asked.id, { alt: `Query: ${subject.key}`, size: 320, eager: true, source }),
    h(
      "div",
      {},
      h("p", { class: "name" }, subject.label ? labeled(subject.label) : subject.key),
      subject.label ? h("p", { class: "print" }, subject.key) : null,
      asked.id === undefined ? null : h("p", { class: "small" }, h("a", { href: link("image", { id: asked.id }) }, "About this image")),
    ),
  );
}

function filtered({ label, where }, { neighbors, matching }) {
  const which = where ? "that match the filter and have the label" : "with the label";
  return `${neighbors.length} of ${count(matching, "image")} ${which} ${labeled(label)} ${neighbors.length === 1 ? "is" : "are"} shown.`;
}

function untrained(all) {
  if (all.spaces.every((space) => space.pretrained)) return null;
  return h("p", { class: "remark" }, "A network here is untrained: its neighbors follow color and texture, not meaning.");
}

/** Describe the accuracy of a search by default. */
function usual(found, name) {
  const { spaces, default_space: first } = found.collection;
  const index = spaces.find((each) => each.name === (name || first))?.index;
  const measured = index?.recall.find(({ nprobe, k }) => nprobe === index.default_nprobe && k === 10)?.recall;
  return measured === undefined ? "default" : `default: ${+(100 * measured).toFixed(1)}% of the 10 nearest`;
}

function controls(asked, found, near) {
  const { collection: all } = found;
  const id = (name) => `control-${name}`;
  const field = (name, text, control) => h("div", { class: "field" }, h("label", { for: id(name) }, text), control);
  const select = (name, options, chosen) =>
    h("select", { id: id(name), name }, options.map(([value, text]) => h("option", { value, selected: String(value) === String(chosen ?? "") }, text)));
  const label = labelBox({ id: id("label"), name: "label", text: "Only the label", chosen: asked.label });
  const names = clusterings(found);
  const most = Math.min(MOST, Math.max(1, all.images));
  const form = h(
    "form",
    { onchange: submit, onsubmit: submit },
    field("k", "How many (k)", h("input", { id: id("k"), name: "k", type: "number", min: 1, max: most, value: asked.k ?? K })),
    field(
      "effort",
      "Accuracy",
      select("effort", [["", usual(found, asked.space)], ...RECALLS.map((recall) => [recall, `at least ${100 * recall}% of the nearest`]), ["exact", "exact: compare with every image"]], asked.exact ? "exact" : asked.recall),
    ),
    field("space", "Space", select("space", [["", `${all.default_space} (default)`], ...all.spaces.filter((each) => each.name !== all.default_space).map((each) => [each.name, each.name])], asked.space)),
    names.length > 1 ? field("clustering", "Clusters of", select("clustering", names.map((name, at) => [at ? name : "", name]), asked.clustering)) : null,
    label.element,
  );

  function submit(event) {
    event.preventDefault();
    if (!form.reportValidity()) return;
    const given = { ...Object.fromEntries(new FormData(form)), label: label.value() };
    const { effort, k, ...rest } = given;
    const next = { ...asked, ...rest, k: Number(k) === K ? undefined : k, exact: effort === "exact", recall: effort === "exact" ? undefined : effort };
    go(link("search", next), { replace: false });
  }

  const wide = matchMedia("(min-width: 60.01rem)").matches;
  return h("details", { class: "controls", open: wide }, h("summary", {}, "Search settings"), form);
}

function smallPrint(served, seen) {
  const { timings } = served;
  const ms = (us) => `${(us / 1000).toFixed(us < 10000 ? 1 : 0)} ms`;
  const effort = served.nprobe ? `nprobe ${served.nprobe}` : "every image compared";
  const recall = served.expected_recall === null ? "" : `, recall ${served.expected_recall.toFixed(2)}`;
  return [
    `${served.space}${served.index ? `/${served.index}` : ""} on ${served.device}, ${effort}${recall}`,
    `vector ${ms(timings.resolve_us)}, queue ${ms(timings.queue_us)}, search ${ms(timings.search_us)}, lookup ${ms(timings.lookup_us)}, total ${ms(timings.total_us)}`,
    `round trip ${seen.toFixed(0)} ms`,
    `generation ${served.generation}`,
    ...(served.plan?.lists_skipped ? [`${count(served.plan.lists_skipped, "list")} without a match skipped`] : []),
    ...served.notes,
  ].join(" · ");
}
