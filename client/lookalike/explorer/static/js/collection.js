// The collection behind the page, and its server: asked for once, and again when the generation changes.
import { ask, file } from "./api.js";
import { count, h } from "./dom.js";

let pending = null;
let known = null;
let about = null;
let named = null;
let listed = null;
let filterable = null;

/** The collection: {collection, tag, sizes}. */
export async function collection() {
  pending ??= ask("collection").then(
    (found) => {
      known = found;
      dispatchEvent(new CustomEvent("collection", { detail: found }));
      return found;
    },
    (error) => {
      pending = null;
      throw error;
    },
  );
  return pending;
}

/** The collections that the caller may look at, as [{name, images, problem}]; `problem` says why one is not loaded. */
export async function collections() {
  listed ??= ask("collections").then(
    (found) => found.collections,
    (error) => {
      listed = null;
      throw error;
    },
  );
  return listed;
}

/**
 * The server: {server, address}. Its first answer may take it seconds, as it starts its network to tell whether it can
 * embed pictures: no view may wait for it.
 */
export async function server() {
  about ??= ask("server").catch((error) => {
    about = null;
    throw error;
  });
  return about;
}

/** The labels by name, as [{label, note}], the first thousand of more; `note` tells how many images have it. */
export async function labels() {
  named ??= ask("labels").then(
    (found) => found.labels.map(({ label, images }) => ({ label, note: count(images, "image") })),
    (error) => {
      named = null;
      throw error;
    },
  );
  return named;
}

/** What a filter may name: {columns: [{name, type, values}], clusterings, models}. */
export async function columns() {
  filterable ??= Promise.all([ask("columns"), labels().catch(() => [])]).then(
    ([found, there]) => ({
      ...found,
      columns: found.columns.map((each) => (each.name === "label" ? { ...each, values: there.map(({ label }) => label) } : each)),
    }),
    (error) => {
      filterable = null;
      throw error;
    },
  );
  return filterable;
}

/** Ask anew when they are next needed. */
export function forget() {
  pending = about = named = listed = filterable = null;
}

/** Take notice of what served a reply: a newer generation is asked about anew. */
export function noticed(served) {
  if (known && served && served.generation !== known.collection.generation) {
    forget();
    collection().catch(() => {});
  }
}

/** What the reader of a reply should know, such as that it lacks the latest changes; null where there is nothing. */
export function remarks(served) {
  return served?.notes?.length ? h("p", { class: "remark" }, served.notes.join(" ")) : null;
}

/** The address of an image's thumbnail, relative. */
export function thumbnail(id, size = 160) {
  return file(`thumbnails/${known.tag}/${id}/${size}.jpg`);
}

/** The names of the clusterings, those of the default space first, and of each space the current one first. */
export function clusterings(found) {
  const { clusterings: all, default_space: first, spaces } = found.collection;
  const current = new Set(spaces.map((each) => each.default_clustering));
  const rank = (each) => 2 * (each.space === first) + current.has(each.name);
  return [...all].sort((a, b) => rank(b) - rank(a) || a.name.localeCompare(b.name)).map((each) => each.name);
}
