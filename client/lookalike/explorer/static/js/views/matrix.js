// Matrix of the number of images of each class in each cluster; a cell links to its images.
import { ask } from "../api.js";
import { link } from "../address.js";
import { remarks } from "../collection.js";
import { count, digits, findings, h, labeled, measured } from "../dom.js";
import { tile, endless } from "../tiles.js";

const MOST = 120;
const FIGURES = { purity: "Purity", nmi: "NMI", ari: "ARI", v_measure: "V-measure" };

export async function matrix(asked, signal) {
  if (asked.label !== undefined && asked.in !== undefined) return cell(asked, signal);
  const { tables, figures, findings: sentences, served } = await ask("experiments/matrix", { clustering: asked.clustering, where: asked.where }, { signal });
  if (!figures.images) return { element: h("p", { class: "notice" }, asked.where ? "No image with a label and a cluster matches the filter." : "No image has a label and a cluster."), title: "Classes and clusters" };
  const element = h("div", {}, remarks(served), summary(figures, sentences), table(asked, tables));
  return { element, title: "Classes and clusters" };
}

function summary(figures, sentences) {
  const shown = Object.entries(FIGURES).filter(([name]) => figures[name] !== undefined);
  return h(
    "div",
    {},
    h("dl", { class: "figures" }, shown.map(([name, text]) => h("div", {}, h("dt", {}, text), h("dd", {}, digits(figures[name]))))),
    sentences.length ? findings(sentences.slice(0, 6)) : null,
  );
}

function table(asked, { counts, labels, clusters }) {
  const byPosition = (a, b) => a.position - b.position;
  const rows = [...labels].sort(byPosition);
  const columns = clusters.filter((each) => each.labelled).sort(byPosition);
  const shownRows = rows.slice(0, MOST);
  const order = columns.slice(0, MOST).map((each) => each.cluster);
  const sizes = new Map(labels.map((each) => [each.label, each.images]));
  const byCell = new Map(counts.map((row) => [`${row.label}\n${row.cluster}`, row.count]));
  const head = h("tr", {}, h("th", { scope: "col" }, h("span", { class: "unseen" }, "Class")), order.map((cluster) => h("th", { scope: "col" }, h("a", { href: link("clusters", { clustering: asked.clustering, cluster }), title: `Cluster ${cluster}` }, String(cluster)))));
  const lines = shownRows.map(({ label }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row", title: label ?? labeled(label) }, labeled(label)),
      order.map((cluster) => {
        const images = byCell.get(`${label}\n${cluster}`) ?? 0;
        if (!images) return h("td", {}, h("span", {}));
        const share = images / sizes.get(label);
        const to = link("clusters", { clustering: asked.clustering, show: "matrix", label, in: cluster });
        const text = `${count(images, "image")} of ${labeled(label)} in cluster ${cluster}`;
        return h("td", {}, h("a", { href: to, title: text, class: "heat", data: { heat: Math.min(4, Math.floor(share * 5)) }, aria: { label: text } }, String(images)));
      }),
    ),
  );
  const cut = rows.length > MOST || columns.length > MOST;
  const note = cut ? h("p", { class: "print section" }, "Only the first ", String(MOST), " classes and clusters are shown. For all of them, run ", h("code", {}, "lookalike matrix --collection DIR")) : null;
  const drawn = h("div", { class: "heatmap", tabindex: "0", role: "region", aria: { label: "Images of each class in each cluster" } }, h("table", {}, h("thead", {}, head), h("tbody", {}, lines)));
  return h("div", {}, drawn, note);
}

/** Return the images of a class in a cluster, nearest to its centroid first. */
async function cell(asked, signal) {
  const { clustering, label, where } = asked;
  const cluster = asked.in;
  const page = async (token) => {
    const { members, metric, next, total } = await ask("members", { clustering, cluster, label, where, token, limit: 60 }, { signal });
    const tiles = members.map((each) => tile(each, { href: link("image", { id: each.id }), value: digits(each.distance), valueTitle: `${measured(metric)} to the centroid` }));
    return { tiles, next, total };
  };
  const first = await page("");
  const element = h(
    "div",
    {},
    h("p", { class: "small back" }, h("a", { href: link("clusters", { clustering, show: "matrix" }) }, "← All classes and clusters"), " · ", h("a", { href: link("clusters", { clustering, cluster }) }, `All of cluster ${cluster}`)),
    endless(first, page, { label: `${labeled(label)} in cluster ${cluster}`, signal }),
  );
  return { element, title: `${labeled(label)} in cluster ${cluster}` };
}
