// Clusters of a clustering: all of them, one of them, the matrix of classes and clusters, and oddballs.
import { ask } from "../api.js";
import { go, link } from "../address.js";
import { clusterings, collection, noticed } from "../collection.js";
import { count, digits, h, labeled, measured, whenNear } from "../dom.js";
import { endless, frame, tile } from "../tiles.js";
import { matrix } from "./matrix.js";
import { oddballs } from "./oddballs.js";

const PARTS = { sheet: "All clusters", matrix: "Classes × clusters", oddballs: "Oddballs" };
const SAMPLES = 5;

export async function view(asked, signal) {
  const found = await collection();
  const clustering = asked.clustering || clusterings(found)[0] || "";
  const part = PARTS[asked.show] ? asked.show : "sheet";
  const own = { ...asked, clustering };
  if (!clustering) await ask("clusters", {}, { signal }); // fails with the command that makes one
  if (asked.cluster !== undefined) return one(own, signal);
  const make = { sheet, matrix, oddballs }[part];
  const { element, title } = await make(own, signal);
  const whole = h(
    "div",
    {},
    h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, title), choice(own, clusterings(found))),
    h(
      "nav",
      { class: "tabs", aria: { label: "About the clusters" } },
      Object.entries(PARTS).map(([name, text]) =>
        h("a", { href: link("clusters", { clustering: asked.clustering, show: name === "sheet" ? "" : name }), aria: name === part ? { current: "page" } : {} }, text),
      ),
    ),
    element,
  );
  return { element: whole, title: part === "sheet" ? `${title} of ${clustering}` : title };
}

function choice(asked, names) {
  if (names.length < 2) return h("p", { class: "print" }, names[0]);
  const select = h(
    "select",
    { id: "clustering", onchange: () => go(link("clusters", { clustering: select.value, show: asked.show })) },
    names.map((name) => h("option", { value: name, selected: name === asked.clustering }, name)),
  );
  return h("div", { class: "pick" }, h("div", { class: "field" }, h("label", { for: "clustering" }, "Clustering"), select));
}

async function sheet(asked, signal) {
  const { clusters, metric, served } = await ask("clusters", { clustering: asked.clustering, where: asked.where }, { signal });
  noticed(served);
  const ordered = clusters.filter((each) => each.size).sort((a, b) => b.size - a.size);
  const names = interpreted(asked, signal);
  const cards = ordered.map((each) => card({ ...each, metric }, asked, names, signal));
  const empty = clusters.length - ordered.length;
  const element = h(
    "div",
    {},
    served.notes.map((note) => h("p", { class: "print section" }, note)),
    h("p", { class: "print lead" }, `Largest first. Purity: the share of the most frequent label. Mean ${measured(metric)}: to the centroid.`),
    h("ul", { class: "sheet" }, cards),
    empty ? h("p", { class: "print section" }, `${count(empty, "cluster")} without any image${asked.where ? " that matches" : ""}`) : null,
  );
  return { element, title: asked.where ? `${count(ordered.length, "cluster")} with matches` : count(clusters.length, "cluster") };
}

/** Return the suggested name and the purity of each cluster by number; empty if the server cannot compute them. */
async function interpreted({ clustering, where }, signal) {
  // Purity needs labels, and names need labels or predictions; without them clusters show their numbers.
  const told = (name, settings) =>
    ask(`experiments/${name}`, { clustering, ...settings }, { signal }).then(
      ({ tables }) => tables.clusters,
      () => [],
    );
  const [names, purities] = await Promise.all([told("interpret", { samples: 1 }), told("matrix", { where })]);
  const rows = new Map(names.map(({ cluster, name }) => [cluster, { name: name ? labeled(name) : "" }]));
  for (const { cluster, purity } of purities) rows.set(cluster, { name: "", ...rows.get(cluster), purity });
  return rows;
}

function card({ cluster, size, metric, mean_distance: mean }, { clustering, where }, names, signal) {
  const mosaic = h("span", { class: "mosaic waiting", aria: { hidden: "true" } });
  const title = h("h2", {}, `Cluster ${cluster}`);
  const print = h("span", { class: "print" }, `mean ${measured(metric)} ${digits(mean, 2)}`);
  const item = h(
    "li",
    { class: "card", data: { cluster } },
    h(
      "a",
      { href: link("clusters", { clustering, cluster }) },
      mosaic,
      h("span", { class: "words" }, h("span", { class: "title" }, title, h("span", { class: "print" }, count(size, "image"))), print),
    ),
  );
  const fill = async () => {
    const { members } = await ask("members", { clustering, cluster, where, limit: SAMPLES }, { signal }).catch(() => ({ members: [] }));
    mosaic.classList.remove("waiting");
    mosaic.append(...members.map((each, at) => frame(each.id, { size: at ? 160 : 320 })));
  };
  signal.addEventListener("abort", whenNear(item, fill), { once: true });
  names.then((rows) => {
    const row = rows.get(cluster);
    if (!row) return;
    const { name, purity } = row;
    if (name) title.textContent = title.title = name;
    const known = purity !== null && purity !== undefined;
    print.textContent = [name && `cluster ${cluster}`, known && `purity ${digits(purity, 2)}`, `mean ${measured(metric)} ${digits(mean, 2)}`].filter(Boolean).join(" · ");
  });
  return item;
}

async function one(asked, signal) {
  const { clustering, cluster, where } = asked;
  const page = (token) => ask("members", { clustering, cluster, where, token, limit: 60 }, { signal });
  const first = await page("");
  noticed(first.served);
  const toTiles = ({ members, metric, next, total }) => ({
    tiles: members.map((each) =>
      tile(each, { href: link("image", { id: each.id }), value: digits(each.distance), valueTitle: `${measured(metric)} to the centroid`, title: `${labeled(each.label)}, ${measured(metric)} to the centroid ${digits(each.distance)}, ${each.key}` }),
    ),
    next,
    total,
  });
  const title = h("h1", { tabindex: "-1" }, `Cluster ${cluster}`);
  const about = h("p", { class: "muted small" }, `${count(first.total, "image")}, nearest to the centroid first · numbers: ${measured(first.metric)} to it`);
  interpreted(asked, signal).then((rows) => {
    const row = rows.get(Number(cluster));
    if (row?.name) title.textContent = row.name;
    if (row?.purity !== undefined && row.purity !== null) about.textContent += ` · purity ${digits(row.purity, 2)}`;
  });
  const element = h(
    "div",
    {},
    h("p", { class: "small back" }, h("a", { href: link("clusters", { clustering }) }, `← All clusters of ${clustering}`)),
    h("div", { class: "heading" }, title, about),
    first.total
      ? endless(toTiles(first), async (token) => toTiles(await page(token)), { label: `Members of cluster ${cluster}`, signal, noun: "member" })
      : h("p", { class: "notice" }, where ? "No image of this cluster matches the filter." : "This cluster is empty: k-means found no image nearest to its centroid."),
  );
  return { element, title: `Cluster ${cluster} of ${clustering}` };
}
