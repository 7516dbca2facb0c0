// Images that are unusual for their class, most unusual first, with reasons and scores.
import { ask } from "../api.js";
import { go, link } from "../address.js";
import { remarks } from "../collection.js";
import { count, digits, findings, h, labeled, measured } from "../dom.js";
import { labelBox } from "../labels.js";
import { grid, tile } from "../tiles.js";

// Reasons in words.
const REASONS = {
  outside: () => "not in a cluster of its class",
  secondary: () => "in another class's cluster",
  nearer: (row) => `nearer to ${labeled(row.looks_like)}`,
  far: () => "far from its class",
};

export async function oddballs(asked, signal) {
  const { tables, findings: sentences, settings, served } = await ask("experiments/oddballs", { clustering: asked.clustering, label: asked.label, where: asked.where, limit: 60 }, { signal });
  const rows = tables.oddballs;
  const only = labelBox({ id: "only", text: "Only the class", chosen: asked.label, placeholder: "any class", known: tables.labels.map(({ label, odd: some }) => ({ label, note: count(some, "oddball") })), changed: () => submit() });
  const submit = () => go(link("clusters", { clustering: asked.clustering, show: "oddballs", label: only.value() }));
  const form = h(
    "form",
    { class: "pick", onsubmit: (event) => (event.preventDefault(), submit()) },
    only.element,
    h("button", { type: "submit" }, "Show"),
  );
  const element = h(
    "div",
    {},
    h("div", { class: "heading" }, sentences.length ? findings(sentences.slice(0, 4)) : h("span", {}), form),
    remarks(served),
    rows.length ? legend(settings) : null,
    rows.length ? grid(rows.map((row) => odd(row, settings.method)), { label: "Oddballs" }) : h("p", { class: "notice" }, asked.where ? "No unusual image matches the filter." : "No image is unusual for its class."),
  );
  return { element, title: "Oddballs" };
}

function odd(row, method) {
  const why = Object.keys(REASONS).filter((name) => row[name]).map((name) => REASONS[name](row));
  const to = method === "clusters" ? "to its cluster" : "to its class";
  const numbers = [
    ["score", digits(row.score, 2)],
    [to, digits(row.distance)],
    row.other_distance === null ? null : [`to ${labeled(row.looks_like)}`, digits(row.other_distance)],
  ].filter(Boolean);
  return tile(row, {
    href: link("image", { id: row.id }),
    title: `${labeled(row.label)}: ${why.join(", ")}; ${numbers.map((pair) => pair.join(" ")).join(", ")}; ${row.key}`,
    more: row.looks_like && !row.nearer ? `looks like ${labeled(row.looks_like)}` : null,
    lines: why,
    numbers,
  });
}

/** Explain the numbers under the images. */
function legend({ method, metric }) {
  const [score, distances] =
    method === "clusters"
      ? ["the share of its class in its cluster, minus the share of the class that has most of its images there", "to the centroid of its cluster"]
      : ["simplified silhouette, (b − a) / max(a, b), from −1 to 1; below 0 the other class is nearer", "a to the mean of the other images of its class, b to that of the class that it looks like"];
  return h(
    "dl",
    { class: "facts legend-of-numbers" },
    h("dt", {}, "score"),
    h("dd", {}, score),
    h("dt", {}, "to …"),
    h("dd", {}, `${measured(metric)} of embeddings: ${distances}`),
  );
}
