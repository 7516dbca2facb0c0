// One image: similar images, its clusters, the models' predictions, and their attributions.
import { ask } from "../api.js";
import { link } from "../address.js";
import { collection, noticed } from "../collection.js";
import { count, digits, findings, h, labeled, measured, percent, whenNear } from "../dom.js";
import { failure } from "../failures.js";
import { frame, grid, tile, waiting as frames } from "../tiles.js";

const NEAR = 12;
const OTHERS = 6;

export function waiting() {
  return frames(12);
}

export async function view(asked, signal) {
  const about = ask("image", { id: asked.id, key: asked.key, members: 9 }, { signal });
  const search = (id, more) => ask("search", { id, space: asked.space, ...more }, { signal });
  const neighbors = asked.id === undefined ? about.then(({ image }) => search(image.id, { k: NEAR })) : search(asked.id, { k: NEAR });
  neighbors.catch(() => {}); // the first request reports an unknown image
  const [found, { image, memberships }] = await Promise.all([collection(), about]);
  const others = image.label ? search(image.id, { k: OTHERS, other: image.label }) : null;
  others?.catch(() => {});
  const near = await neighbors;
  noticed(near.served);
  const name = labeled(image.label ?? image.key);
  const distance = measured(near.metric);
  const show = portrait(image, found, asked, signal);
  const taken = predictions(image, asked, signal);
  const element = h(
    "div",
    { class: "beside" },
    h("aside", { class: "asked" }, show.parts),
    h(
      "div",
      {},
      h("h1", { tabindex: "-1" }, name),
      asked.why ? taken : null,
      section("Looks like", strip(near.neighbors, image, distance), h("a", { class: "small", href: link("search", { id: image.id }) }, "Search from here")),
      others ? section("Nearest of another class", await otherwise(others, image, distance)) : null,
      asked.why ? null : taken,
      homes(image, memberships),
    ),
  );
  // A link from a mistake shows the attribution at once.
  return { element, title: name, ready: () => asked.why && show.draw("cam") };
}

/** Return the nearest images of other classes, or a note that there are none. */
async function otherwise(found, image, distance) {
  const { neighbors } = await found;
  return neighbors.length ? strip(neighbors, image, distance) : h("p", { class: "muted small" }, "No image has another label.");
}

function section(title, ...content) {
  const [body, aside] = content;
  return h("section", { class: "section" }, h("div", { class: "heading" }, h("h2", {}, title), aside ?? null), body);
}

function strip(images, subject, distance) {
  const tiles = images.map((each) =>
    tile(each, {
      href: link("image", { id: each.id }),
      value: digits(each.distance),
      valueTitle: distance,
      other: Boolean(subject.label) && each.label !== subject.label,
      size: 160,
      title: `${labeled(each.label)}, ${distance} ${digits(each.distance)}, ${each.key}`,
    }),
  );
  return grid(tiles, { strip: true });
}

/** Return the image, its facts and the attributions: {parts, draw(method)}. */
function portrait(image, found, asked, signal) {
  const original = frame(image.id, { alt: `${labeled(image.label)}: ${image.key}`, size: 512, eager: true });
  const note = h("div", {});
  const models = [...new Set(found.collection.spaces.map((space) => space.model))];
  const model = models.length > 1 ? h("select", { aria: { label: "Model" } }, models.map((name) => h("option", { value: name, selected: name === asked.model }, name))) : null;
  const buttons = Object.entries({ cam: "Class activation (CAM)", gbp: "Guided backprop" }).map(([method, text]) =>
    h("button", { type: "button", aria: { pressed: "false" }, data: { method }, onclick: (event) => draw(event.currentTarget, method) }, text),
  );
  let drawn = null;

  async function draw(button, method) {
    const was = button.getAttribute("aria-pressed") === "true";
    for (const each of buttons) each.setAttribute("aria-pressed", "false");
    drawn?.remove();
    drawn = null;
    note.replaceChildren();
    if (was) return;
    button.setAttribute("aria-pressed", "true");
    note.replaceChildren(h("p", { class: "print" }, "Computing …"));
    try {
      const query = new URLSearchParams({ id: image.id, method, ...(model ? { model: model.value } : {}) });
      const reply = await fetch(`api/attribution?${query}`, { signal });
      if (!reply.ok) throw Object.assign(new Error((await reply.json()).error), { kind: "inline" });
      const source = URL.createObjectURL(await reply.blob());
      drawn = frame(image.id, { alt: `${button.textContent} of ${image.key}`, source, eager: true });
      drawn.querySelector("img").addEventListener("load", () => URL.revokeObjectURL(source), { once: true });
      original.after(drawn);
      note.replaceChildren(h("p", { class: "print" }, "The model's input, and the parts that support its most probable class."));
    } catch (error) {
      if (error.name === "AbortError") return;
      button.setAttribute("aria-pressed", "false");
      note.replaceChildren(failure(error, null, { inline: true }));
    }
  }

  const parts = [
    original,
    h("div", { class: "row" }, model, buttons),
    note,
    h(
      "dl",
      { class: "facts" },
      h("dt", {}, "Key"),
      h("dd", {}, image.key),
      h("dt", {}, "Label"),
      h("dd", {}, image.label ? h("a", { href: link("search", { label: image.label }) }, labeled(image.label)) : "none"),
      h("dt", {}, "Size"),
      h("dd", {}, `${image.width} × ${image.height}`),
      h("dt", {}, "Id"),
      h("dd", {}, String(image.id)),
    ),
  ];
  return { parts, draw: (method) => draw(buttons.find((each) => each.dataset.method === method), method) };
}

function predictions(image, asked, signal) {
  const body = h("div", {}, h("p", { class: "print" }, "…"));
  const part = section("Predictions", body);
  const load = async () => {
    try {
      const { tables, findings: sentences } = await ask("experiments/explain", { id: image.id, space: asked.space }, { signal });
      const models = Map.groupBy(tables.predictions ?? [], (row) => row.model);
      body.replaceChildren(
        sentences.length ? findings(sentences) : "",
        ...[...models].map(([model, rows]) => h("div", {}, models.size > 1 ? h("p", { class: "print" }, model) : null, h("ul", { class: "bars", aria: { label: `Predictions of ${model}` } }, rows.map(bar)))),
      );
    } catch (error) {
      if (error.name !== "AbortError") body.replaceChildren(failure(error, load, { inline: true }));
    }
  };
  load();
  return part;
}

function bar(row) {
  return h(
    "li",
    { class: "bar" },
    h("span", {}, labeled(row.class)),
    h("meter", { min: 0, max: 1, value: row.probability, aria: { hidden: "true" } }),
    h("span", { class: "value" }, percent(row.probability)),
  );
}

function homes(image, memberships) {
  if (!memberships.length) return section("Its cluster", h("p", { class: "muted small" }, "This collection has no clustering yet; make one with: ", h("code", {}, "lookalike cluster DIR")));
  const rows = memberships.map((each) => {
    const toCentroid = `${measured(each.metric)} to the centroid`;
    const about = each.cluster < 0 ? h("p", { class: "muted small" }, "Not in any cluster.") : null;
    return h(
      "div",
      { class: "home" },
      h(
        "div",
        {},
        h("h3", {}, each.cluster < 0 ? each.clustering : h("a", { href: link("clusters", { clustering: each.clustering, cluster: each.cluster }) }, `Cluster ${each.cluster}`)),
        h("p", { class: "print" }, each.clustering),
        about ?? h("p", { class: "print" }, `${count(each.size, "image")} · ${toCentroid} ${digits(each.distance)} · margin ${digits(each.margin)}`),
      ),
      strip(each.nearest, image, toCentroid),
    );
  });
  return section(memberships.length > 1 ? "Its cluster in every clustering" : "Its cluster", h("div", {}, rows));
}
