// Images that are odd for their class, the oddest first.
import { ask } from "../api.js";
import { go, link } from "../address.js";
import { digits, h, labelled } from "../dom.js";
import { grid, tile } from "../tiles.js";

export async function oddballs(asked, signal) {
  const { tables, findings } = await ask("experiments/oddballs", { clustering: asked.clustering, label: asked.label, limit: 60 }, { signal });
  const rows = tables.oddballs ?? Object.values(tables)[0];
  const only = h("input", { id: "only", value: asked.label ?? "", placeholder: "any class", spellcheck: "false" });
  const form = h(
    "form",
    { class: "pick", onsubmit: (event) => (event.preventDefault(), go(link("clusters", { clustering: asked.clustering, show: "oddballs", label: only.value.trim() }))) },
    h("div", { class: "field" }, h("label", { for: "only" }, "Only the class"), only),
    h("button", { type: "submit" }, "Show"),
  );
  const tiles = rows.map((row) =>
    tile(row, {
      href: link("image", { id: row.id }),
      value: digits(row.distance ?? row.score, 2),
      more: row.looks_like ? `looks like ${labelled(row.looks_like)}` : null,
    }),
  );
  const element = h(
    "div",
    {},
    h("div", { class: "heading" }, findings.length ? h("ul", { class: "findings small" }, findings.slice(0, 4).map((each) => h("li", {}, each))) : h("span", {}), form),
    tiles.length ? grid(tiles, { label: "Oddballs" }) : h("p", { class: "notice" }, "Nothing is odd here: every image is among its like."),
  );
  return { element, title: "Oddballs" };
}
