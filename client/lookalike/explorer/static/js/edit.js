// Changes of the collection, if the caller may make them: select, delete, label, add, undo.
import { ask } from "./api.js";
import { chosen } from "./address.js";
import { forget } from "./collection.js";
import { count, h, labeled, say } from "./dom.js";
import { labelBox } from "./labels.js";

// Number of images in one request.
const TOGETHER = 1000;
const UNDOS = 50;

const main = document.getElementById("view");
const bar = document.getElementById("edit");
const selected = new Map();
let rights = null;
let about = "";

/** Return the caller's permission: {may, why, generation}. */
export function mayChange() {
  if (about !== chosen()) {
    about = chosen();
    rights = null;
  }
  rights ??= ask("changes").catch(() => ({ may: false, why: "", generation: 0 }));
  return rights;
}

/** Fetch the permission again and clear the selection, after a login or with another collection. */
export function begin() {
  rights = null;
  selected.clear();
  refresh();
}

/** Add checkboxes to the tiles of the page, including later ones, if the caller may change the collection. */
export async function offer() {
  const { may } = await mayChange();
  document.body.classList.toggle("writes", may);
  if (!may) return refresh();
  for (const tile of main.querySelectorAll(".tile[data-id]")) decorate(tile);
  refresh();
}

new MutationObserver((records) => {
  if (!document.body.classList.contains("writes")) return;
  for (const { addedNodes } of records)
    for (const node of addedNodes)
      if (node instanceof Element) for (const tile of [node, ...node.querySelectorAll(".tile[data-id]")]) if (tile.matches(".tile[data-id]")) decorate(tile);
}).observe(main, { childList: true, subtree: true });

function decorate(tile) {
  if (tile.querySelector(".select")) return;
  const id = Number(tile.dataset.id);
  const name = tile.querySelector("a[title]")?.title ?? `image ${id}`;
  const box = h("input", { type: "checkbox", class: "select", aria: { label: `Select ${name}` }, onchange: () => select([id], box.checked) });
  box.checked = selected.has(id);
  tile.prepend(box);
  // An image of an experiment may have been deleted since.
  tile.classList.toggle("gone", kept().some(({ undo }) => (undo.restore ?? []).includes(id)));
}

/** Select images, or deselect them. */
export function select(ids, on = true) {
  for (const id of ids) {
    if (on) selected.set(id, true);
    else selected.delete(id);
  }
  refresh();
}

/** Return a button that selects the images of `ids()`; null if the caller may not change anything. */
export async function selectAll(ids) {
  const { may } = await mayChange();
  return may ? h("button", { type: "button", onclick: () => select(ids()) }, "Select all") : null;
}

function refresh() {
  for (const box of main.querySelectorAll(".tile > .select")) box.checked = selected.has(Number(box.parentElement.dataset.id));
  const undos = kept();
  bar.hidden = !document.body.classList.contains("writes") || !(selected.size || undos.length);
  const gone = new Set(undos.flatMap(({ undo }) => undo.restore ?? []));
  for (const tile of main.querySelectorAll(".tile[data-id]")) tile.classList.toggle("gone", gone.has(Number(tile.dataset.id)));
  if (bar.hidden) return bar.replaceChildren();
  const typed = bar.querySelector("#edit-label")?.value ?? "";
  const label = labelBox({ id: "edit-label", text: "Label", chosen: typed, placeholder: "a label, or none", changed: () => {} });
  const some = selected.size
    ? [
        h("strong", {}, `${count(selected.size, "image")} selected`),
        h("button", { type: "button", class: "danger", onclick: () => change(remove) }, "Delete"),
        h("form", { class: "row tight", onsubmit: (event) => (event.preventDefault(), change(() => relabel(label.value()))) }, label.element, h("button", { type: "submit" }, "Set label")),
        h("button", { type: "button", onclick: () => (selected.clear(), refresh()) }, "Clear selection"),
      ]
    : [];
  const last = undos.at(-1);
  const undo = last ? h("button", { type: "button", onclick: () => change(takeBack) }, `Undo: ${last.words}`) : null;
  bar.replaceChildren(...some, ...(undo ? [undo] : []));
}

/** Make a change and show the view again; errors appear above the view. */
async function change(make) {
  for (const control of bar.querySelectorAll("button, input")) control.disabled = true;
  let problem = "";
  try {
    say(await make());
  } catch (error) {
    problem = error.message;
  }
  refresh();
  changed();
  if (problem) dispatchEvent(new CustomEvent("refused", { detail: problem }));
}

function changed() {
  forget();
  dispatchEvent(new CustomEvent("address"));
}

const post = (path, body) => ask(`changes/${path}`, {}, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });

function* chunks(ids) {
  for (let at = 0; at < ids.length; at += TOGETHER) yield ids.slice(at, at + TOGETHER);
}

async function remove() {
  let deleted = 0;
  for (const ids of chunks([...selected.keys()])) {
    const reply = await post("delete", { ids });
    deleted += reply.deleted;
    keep(reply.undo, `delete ${count(reply.deleted, "image")}`);
    ids.forEach((id) => selected.delete(id));
  }
  return `${count(deleted, "image")} deleted`;
}

async function relabel(label) {
  let relabeled = 0;
  for (const ids of chunks([...selected.keys()])) {
    const reply = await post("label", { ids, label });
    relabeled += reply.changed;
    keep(reply.undo, `label ${count(reply.changed, "image")} ${labeled(label)}`);
    ids.forEach((id) => selected.delete(id));
  }
  return `${count(relabeled, "image")} labeled ${labeled(label)}`;
}

async function takeBack() {
  const undos = kept();
  const last = undos.pop();
  try {
    await post("undo", last.undo);
  } catch (error) {
    // A generation that contains this change contains all earlier ones, too.
    if (error.kind === "changed") store([]);
    throw error;
  }
  store(undos);
  return `Undone: ${last.words}`;
}

/** Add a file, or the upload of that name, and return its id. With `fresh`, it must not replace an image. */
export async function add({ file, upload, key, label, fresh }) {
  const reply = await ask("changes/add", { key, label, upload, new: fresh ? "1" : undefined }, { method: "POST", body: file ?? "", headers: { "Content-Type": "application/octet-stream" } });
  keep(reply.undo, `${reply.replaced ? "replace" : "add"} ${key}`);
  refresh();
  return reply.id;
}

/** Return a form that adds an uploaded image; null if the caller may not change anything. `suggested` is a label. */
export async function adder(upload, suggested) {
  const { may } = await mayChange();
  if (!may) return null;
  const problem = h("p", { class: "remark", role: "alert", hidden: true });
  const key = h("input", { id: "add-key", name: "key", required: true, maxlength: 1000, value: `added/${upload.slice(0, 12)}.jpg` });
  const label = labelBox({ id: "add-label", text: "Label", chosen: suggested, placeholder: "none", changed: () => {} });
  const form = h(
    "form",
    { class: "adder", onsubmit: submit },
    h("h2", {}, "Add it to the collection"),
    h("div", { class: "field" }, h("label", { for: key.id }, "Key"), key),
    label.element,
    problem,
    h("button", { type: "submit", class: "button strong" }, "Add"),
  );

  async function submit(event) {
    event.preventDefault();
    problem.hidden = true;
    try {
      await add({ upload, key: key.value, label: label.value() });
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      return;
    }
    say(`${key.value} added`);
    changed();
  }

  return form;
}

/** Return a button that adds files under their names; null if the caller may not change anything. */
export async function chooser() {
  const { may } = await mayChange();
  if (!may) return null;
  const told = h("span", { class: "small", role: "status" });
  const input = h("input", { type: "file", multiple: true, accept: "image/*", class: "unseen adds" });
  input.addEventListener("change", async (event) => {
    event.stopPropagation();
    const problems = [];
    const files = [...input.files];
    for (const [at, file] of files.entries()) {
      told.textContent = `Adding ${at + 1} of ${files.length} …`;
      await add({ file, key: `added/${file.name}`, label: "", fresh: true }).catch((error) => problems.push(`${file.name}: ${error.message}`));
    }
    changed();
    if (problems.length) dispatchEvent(new CustomEvent("refused", { detail: problems.join(" ") }));
  });
  return h("div", { class: "row tight" }, h("label", { class: "button" }, input, h("span", {}, "Add images")), told);
}

// Undo steps are kept in the tab, separately for each collection.
const place = () => `undo/${chosen()}`;

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(place()) ?? "[]");
  } catch {
    return [];
  }
}

function store(undos) {
  try {
    sessionStorage.setItem(place(), JSON.stringify(undos.slice(-UNDOS)));
  } catch {
    // Without session storage there is no undo.
  }
}

function keep(undo, words) {
  store([...kept(), { undo, words }]);
}
