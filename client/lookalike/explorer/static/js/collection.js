// The collection behind the page: asked for once, and again when its generation changes.
import { ask } from "./api.js";

let pending = null;
let known = null;

/** The collection, its server and its limits. */
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

/** Ask anew when it is next needed. */
export function forget() {
  pending = null;
}

/** Take notice of what served a reply: a newer generation is asked about anew. */
export function noticed(served) {
  if (known && served && served.generation !== known.collection.generation) {
    forget();
    collection().catch(() => {});
  }
}

/** The address of an image's thumbnail. */
export function thumbnail(id, size = 160) {
  return `/thumbnails/${known.tag}/${id}/${size}.jpg`;
}

/** The names of the clusterings, those of the default space first. */
export function clusterings(found) {
  const { clusterings: all, default_space: first } = found.collection;
  return [...all].sort((a, b) => (b.space === first) - (a.space === first) || a.name.localeCompare(b.name)).map((each) => each.name);
}
