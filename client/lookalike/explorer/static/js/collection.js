// Cached data about the collection and its server, fetched again when the generation changes.
import { ask, file } from "./api.js";
import { count, h } from "./dom.js";

let pending = null;
let known = null;
let about = null;
let named = null;
let listed = null;
let filterable = null;

/** Return the collection: {collection, tag, sizes}. */
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

/** Return the collections that the caller may use, as [{name, images, problem}]; `problem` is why one is not loaded. */
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
 * Return the server: {server, address}. The first reply may take seconds, since the server starts its network to tell
 * whether it can embed images: no view may wait for it.
 */
export async function server() {
  about ??= ask("server").catch((error) => {
    about = null;
    throw error;
  });
  return about;
}

/** Return the first thousand labels by name, as [{label, note}]; `note` is the number of images with the label. */
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

/** Return the columns that a filter can name: {columns: [{name, type, values}], clusterings, models}. */
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

/** Fetch everything again on next use. */
export function forget() {
  pending = about = named = listed = filterable = null;
}

/** Check which generation served a reply; fetch a newer one. */
export function noticed(served) {
  if (known && served && served.generation !== known.collection.generation) {
    forget();
    collection().catch(() => {});
  }
}

/** Format the notes of a reply, such as that it lacks the latest changes; null without notes. */
export function remarks(served) {
  return served?.notes?.length ? h("p", { class: "remark" }, served.notes.join(" ")) : null;
}

/** Return the relative URL of an image's thumbnail. */
export function thumbnail(id, size = 160) {
  return file(`thumbnails/${known.tag}/${id}/${size}.jpg`);
}

/** Return the names of the clusterings: those of the default space first, and each space's default first. */
export function clusterings(found) {
  const { clusterings: all, default_space: first, spaces } = found.collection;
  const current = new Set(spaces.map((each) => each.default_clustering));
  const rank = (each) => 2 * (each.space === first) + current.has(each.name);
  return [...all].sort((a, b) => rank(b) - rank(a) || a.name.localeCompare(b.name)).map((each) => each.name);
}
