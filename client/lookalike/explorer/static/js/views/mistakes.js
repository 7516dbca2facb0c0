// Misclassified images of a model: by class, and image by image.
import { ask } from "../api.js";
import { go, link } from "../address.js";
import { collection, noticed, remarks } from "../collection.js";
import { count, findings, h, labeled, percent } from "../dom.js";
import { labelBox } from "../labels.js";
import { endless, tile } from "../tiles.js";

// The largest number that the page's server lists; the counts include all images.
const LISTED = 500;
const PAGE = 60;
// Number of wrong classes to show for each label.
const NAMED = 5;

export async function view(asked, signal) {
  const [found, told] = await Promise.all([collection(), ask("experiments/mistakes", { model: asked.model, label: asked.label, limit: LISTED }, { signal })]);
  noticed(told.served);
  const { tables, figures, settings } = told;
  const one = asked.class === undefined ? null : Number(asked.class);
  const rows = tables.mistakes.filter((row) => one === null || row.class_index === one);
  const element = h(
    "div",
    {},
    h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, `Mistakes of ${settings.model}`), choice(asked, found, settings.model, tables)),
    h(
      "dl",
      { class: "figures" },
      figure("Images judged", figures.images.toLocaleString("en")),
      figure("Wrong", figures.wrong.toLocaleString("en")),
      figure("Accuracy (top-1)", percent(1 - figures.wrong / figures.images)),
    ),
    findings(told.findings),
    remarks(told.served),
    asked.label ? narrowed(asked, tables, one) : confusions(asked, tables),
    h("div", { class: "heading section below" }, h("h2", {}, title(rows.length, figures.wrong, one))),
    rows.length ? mistakeTiles(rows, settings.model, signal) : h("p", { class: "muted small" }, "No mistake is listed here."),
  );
  return { element, title: `Mistakes of ${settings.model}` };
}

function figure(name, value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

function title(listed, wrong, one) {
  const all = one === null && listed < wrong ? ` of ${wrong.toLocaleString("en")}` : "";
  return `${listed.toLocaleString("en")}${all} misclassified ${listed === 1 ? "image" : "images"}, the most confident first`;
}

/** Return the choices of a label and, if there are several, of a model. */
function choice(asked, found, model, { labels }) {
  const models = [...new Set(found.collection.spaces.map((space) => space.model))];
  const only = labelBox({
    id: "only",
    text: "Only the label",
    chosen: asked.label,
    known: asked.label ? undefined : labels.map(({ label, wrong }) => ({ label, note: count(wrong, "mistake") })),
    changed: () => submit(),
  });
  const which = h("select", { id: "model", onchange: () => go(link("mistakes", { model: which.value, label: asked.label })) }, models.map((name) => h("option", { value: name, selected: name === model }, name)));
  const submit = () => go(link("mistakes", { model: asked.model, label: only.value() }));
  return h(
    "form",
    { class: "pick", onsubmit: (event) => (event.preventDefault(), submit()) },
    models.length > 1 ? h("div", { class: "field" }, h("label", { for: "model" }, "Model"), which) : null,
    only.element,
    h("button", { type: "submit" }, "Show"),
  );
}

/** Return the confusion table: for each label the number of correct images, and the wrong classes. */
function confusions(asked, { labels, confusion }) {
  const wrong = Map.groupBy(confusion.filter((cell) => !cell.right), (cell) => cell.label);
  const lines = labels.map((row) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("a", { href: link("mistakes", { model: asked.model, label: row.label }) }, labeled(row.label))),
      h("td", { class: "number" }, `${row.images - row.wrong} of ${row.images}`),
      h("td", { class: "number share" }, percent(row.accuracy)),
      h("td", {}, chips(asked, wrong.get(row.label) ?? [])),
    ),
  );
  const head = h("tr", {}, ["Label", "Right", "Accuracy", "Taken for"].map((name, at) => h("th", { scope: "col", class: ["", "number", "number share", ""][at] }, name)));
  return h("div", { class: "table", tabindex: "0", role: "region", aria: { label: "Right and wrong images of each label" } }, h("table", {}, h("thead", {}, head), h("tbody", {}, lines)));
}

function chips(asked, cells) {
  const rest = cells.slice(NAMED).reduce((sum, cell) => sum + cell.count, 0);
  return h("span", { class: "chips" }, cells.slice(0, NAMED).map((cell) => chip(asked, cell, false)), rest ? h("span", { class: "muted" }, `and ${rest} more`) : null);
}

function chip(asked, cell, chosen) {
  const to = link("mistakes", { model: asked.model, label: cell.label, class: chosen ? "" : cell.class_index });
  const text = `${labeled(cell.label)} taken for ${labeled(cell.class)}: ${count(cell.count, "image")}`;
  return h("a", { class: "chip", href: to, title: text, aria: { label: text, ...(chosen ? { current: "true" } : {}) } }, labeled(cell.class), h("span", { class: "print" }, cell.count.toLocaleString("en")));
}

/** Return the wrong classes of one label as links; one of them may be selected. */
function narrowed(asked, { confusion }, one) {
  const cells = confusion.filter((cell) => !cell.right);
  return h(
    "div",
    {},
    h("p", { class: "small back" }, h("a", { href: link("mistakes", { model: asked.model }) }, "← All labels")),
    h("p", { class: "chips" }, h("span", { class: "muted" }, `${labeled(asked.label)} is taken for`), cells.length ? cells.map((cell) => chip(asked, cell, cell.class_index === one)) : "nothing else"),
  );
}

function mistakeTiles(rows, model, signal) {
  const page = async (from) => ({
    tiles: rows.slice(Number(from), Number(from) + PAGE).map((row) => mistake(row, model)),
    next: Number(from) + PAGE < rows.length ? String(Number(from) + PAGE) : "",
    total: rows.length,
  });
  const list = h("div", {});
  page(0).then((first) => list.append(endless(first, page, { label: "Misclassified images", signal, noun: "image" })));
  return list;
}

function mistake(row, model) {
  const own = row.label_rank ? [["its label", percent(row.label_probability)]] : [["its label", "not predicted"]];
  return tile(row, {
    href: link("image", { id: row.id, model, why: true }),
    title: `${row.rank}: ${labeled(row.label)} taken for ${labeled(row.class)}, ${percent(row.probability)}: why? ${row.key}`,
    lines: [`taken for ${labeled(row.class)}`],
    numbers: [["this class", percent(row.probability)], ...own],
  });
}
