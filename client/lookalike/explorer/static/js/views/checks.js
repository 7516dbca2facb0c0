// Checks of the image set: near-duplicates, leaks between splits, wrong labels, poor quality, and a sample to label.
import { ask, Failure } from "../api.js";
import { go, link } from "../address.js";
import { collection, noticed, remarks } from "../collection.js";
import { count, digits, findings, h, labeled, measured, percent } from "../dom.js";
import { failure } from "../failures.js";
import { grid, tile } from "../tiles.js";

const PARTS = { duplicates: "Duplicates", leaks: "Leaks", labels: "Labels", quality: "Quality", sample: "Sample" };
const GROUPS = 60;
const LISTED = 120;
const OF_FLAG = 24;
const SAMPLED = 24;
// The most that the page's server accepts.
const MOST = 500;
// Names of columns that usually hold a split.
const SPLITS = ["split", "fold", "subset", "partition"];

export async function view(asked, signal) {
  const found = await collection();
  const part = PARTS[asked.show] ? asked.show : "duplicates";
  const make = { duplicates, leaks, labels, quality, sample }[part];
  let element;
  try {
    element = await make(asked, signal, found.collection);
  } catch (error) {
    // One check may lack its data; the others must stay reachable.
    if (!(error instanceof Failure) || error.kind === "login") throw error;
    element = failure(error, null, { inline: true });
  }
  const whole = h(
    "div",
    {},
    h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, "Checks"), choice(asked, part, found.collection)),
    h(
      "nav",
      { class: "tabs", aria: { label: "Checks of the images" } },
      Object.entries(PARTS).map(([name, text]) => h("a", { href: link("checks", { show: name === "duplicates" ? "" : name }), aria: name === part ? { current: "page" } : {} }, text)),
    ),
    element,
  );
  return { element: whole, title: PARTS[part] };
}

/** Return the choice of the column that holds the split, for leaks, or of the number of images, for a sample. */
function choice(asked, part, { attributes, images }) {
  if (part === "sample") return size(asked, images);
  if (part !== "leaks") return null;
  const names = ["label", ...attributes.map((each) => each.name)];
  const chosen = splitOf(asked, attributes);
  const select = h(
    "select",
    { id: "split", onchange: () => go(link("checks", { show: "leaks", split: select.value })) },
    names.map((name) => h("option", { value: name, selected: name === chosen }, name)),
  );
  return h("div", { class: "pick" }, h("div", { class: "field" }, h("label", { for: "split" }, "Split by"), select));
}

function size(asked, images) {
  const number = h("input", { id: "count", type: "number", min: 1, max: Math.min(MOST, images), value: asked.count ?? SAMPLED, required: true });
  const submit = (event) => (event.preventDefault(), go(link("checks", { show: "sample", count: number.value })));
  return h("form", { class: "pick", onsubmit: submit }, h("div", { class: "field" }, h("label", { for: "count" }, "Images"), number), h("button", { type: "submit" }, "Show"));
}

function splitOf(asked, attributes) {
  const there = attributes.map((each) => each.name);
  return asked.split || SPLITS.find((name) => there.includes(name)) || "label";
}

function told({ findings: sentences, served }) {
  noticed(served);
  return h("div", {}, findings(sentences), remarks(served));
}

function nothing(sentence) {
  return h("p", { class: "notice" }, sentence);
}

async function duplicates(asked, signal) {
  const reply = await ask("experiments/duplicates", { limit: GROUPS }, { signal });
  const images = Map.groupBy(reply.tables.images, (row) => row.group);
  const groups = reply.tables.groups.map((group) => [
    h("h2", { class: "section" }, `Group ${group.group}: ${count(group.images, "image")}`),
    grid(images.get(group.group).map((row) => duplicate(row, reply.settings.metric)), { strip: true, label: `Group ${group.group}` }),
  ]);
  return h("div", {}, told(reply), groups.length ? groups : nothing("No two images are near-duplicates."));
}

function duplicate(row, metric) {
  const state = row.keep ? "keep" : row.exact ? "exact copy" : row.by_hash ? "by hash, uncertain" : "can go";
  const numbers = [["pixels", `${row.width} × ${row.height}`], ["nearest", digits(row.distance)]];
  return tile(row, {
    href: link("image", { id: row.id }),
    title: `${state}: ${labeled(row.label)}, ${row.width} × ${row.height}, ${measured(metric)} ${digits(row.distance)} to the nearest of its group; ${row.key}`,
    other: !row.keep,
    lines: [state],
    numbers,
  });
}

async function leaks(asked, signal, { attributes }) {
  const reply = await ask("experiments/leaks", { split: splitOf(asked, attributes), limit: GROUPS }, { signal });
  const pairs = reply.tables.leaks.map((row) => {
    const title = `${row.rank}: ${labeled(row.split)} and ${labeled(row.other_split)}`;
    const sides = [
      { id: row.id, key: row.key, label: row.split },
      { id: row.other_id, key: row.other_key, label: row.other_split },
    ];
    const value = row.exact ? "exact copy" : digits(row.distance);
    return [
      h("h2", { class: "section" }, title),
      grid(sides.map((side) => tile(side, { href: link("image", { id: side.id }), value, valueTitle: measured(reply.settings.metric), title: `${labeled(side.label)}: ${side.key}` })), { strip: true, label: title }),
    ];
  });
  return h("div", {}, told(reply), pairs.length ? pairs : nothing("No image has a near-duplicate in another split."));
}

async function labels(asked, signal) {
  const reply = await ask("experiments/label_issues", { limit: LISTED }, { signal });
  const rows = reply.tables.issues;
  return h("div", {}, told(reply), rows.length ? grid(rows.map(issue), { label: "Labels that are likely wrong" }) : nothing("No label is likely wrong."));
}

function issue(row) {
  return tile(row, {
    href: link("image", { id: row.id }),
    title: `${row.rank}: labeled ${labeled(row.label)}, suggested ${labeled(row.suggested)}; ${row.key}`,
    other: true,
    lines: [`suggested: ${labeled(row.suggested)}`],
    numbers: [["this label", percent(row.label_probability)], ["suggested", percent(row.suggested_probability)]],
  });
}

async function quality(asked, signal) {
  const reply = await ask("experiments/quality", { limit: OF_FLAG }, { signal });
  const images = Map.groupBy(reply.tables.images, (row) => row.flag);
  const flags = reply.tables.flags
    .filter((flag) => flag.images)
    .map((flag) => [
      h("h2", { class: "section" }, `${labeled(flag.flag)}: ${count(flag.images, "image")}`),
      h("p", { class: "print" }, flag.rule),
      grid(images.get(flag.flag).map((row) => tile(row, { href: link("image", { id: row.id }), value: digits(row.value, 2), title: `${labeled(flag.flag)}, ${digits(row.value)}: ${row.key}` })), { label: labeled(flag.flag) }),
    ]);
  return h("div", {}, told(reply), flags.length ? flags : nothing("No image has a quality flag."));
}

async function sample(asked, signal, { images }) {
  const reply = await ask("experiments/sample", { count: asked.count ?? Math.min(SAMPLED, images) }, { signal });
  return h("div", {}, told(reply), grid(reply.tables.images.map((row) => spread(row, reply.settings.metric)), { label: "A spread-out sample" }));
}

function spread(row, metric) {
  // The first image has none before it.
  const first = row.distance === null;
  const value = first ? "" : digits(row.distance);
  return tile(row, {
    href: link("image", { id: row.id }),
    value,
    valueTitle: `${measured(metric)} to the nearest image before it`,
    title: `${row.rank}: ${labeled(row.label)}, ${first ? "the most typical image" : `${measured(metric)} ${value} to the nearest image before it`}; ${row.key}`,
    more: first ? "most typical" : null,
  });
}
