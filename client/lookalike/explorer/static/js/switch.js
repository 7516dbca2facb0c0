// Header line about the collection: its numbers and, if the server has several, a switch between collections.
import { chosen, go, link, read } from "./address.js";
import { collections } from "./collection.js";
import { count, h } from "./dom.js";

const place = document.getElementById("switch");
const line = document.getElementById("collection");

/** Fill the switch with the server's current collections. It is hidden if there is no other one, and for older servers. */
export async function fillSwitch() {
  const name = chosen();
  const found = await collections().catch(() => []);
  if (name !== chosen()) return;
  const shown = name || found[0]?.name;
  // If a link names a collection that the caller may not use, the switch leads to the only other one.
  place.hidden = found.length < 2 && (found.length === 0 || shown === found[0].name);
  if (place.hidden) return place.replaceChildren();
  const select = h(
    "select",
    { id: "collection-choice", onchange: () => change(select.value) },
    // A link may name a collection that does not exist; its view reports that.
    found.some((each) => each.name === shown) ? null : h("option", { value: shown, selected: true }, shown),
    found.map((each) => h("option", { value: each.name, selected: each.name === shown, title: each.problem || null }, each.problem ? `${each.name} (not loaded)` : each.name)),
  );
  place.replaceChildren(h("label", { for: select.id, class: "unseen" }, "Collection"), select);
}

/** Describe the collection that is shown. */
export async function describe(collection) {
  const name = chosen();
  await fillSwitch();
  if (name !== chosen()) return;
  const numbers = `${count(collection.images, "image")} · generation ${collection.generation}`;
  line.textContent = place.hidden ? `${collection.name} · ${numbers}` : numbers;
}

/** Clear the description of a collection that is no longer shown. */
export function undescribe() {
  line.textContent = "";
}

function change(collection) {
  const { view, asked } = read();
  // A view of the navigation exists in every collection, an image in one only. An uploaded image can be searched for in
  // all of them.
  const isShared = Boolean(document.querySelector(`.top nav a[data-view="${CSS.escape(view)}"]`));
  go(link(isShared ? view : "search", { collection, upload: view === "search" ? asked.upload : "" }));
}
