// The page: chooses the view by the URL, and holds everything that views share.
import { Failure, sendImage } from "./api.js";
import { chosen, go, here, isFiltered, isOwn, link, read } from "./address.js";
import { forget } from "./collection.js";
import { watch } from "./connection.js";
import { h, say } from "./dom.js";
import { handed } from "./handed.js";
import { failure } from "./failures.js";
import { FilterBar } from "./filter/bar.js";
import { begin, offer } from "./edit.js";
import { describe, fillSwitch, undescribe } from "./switch.js";

const VIEWS = {
  search: () => import("./views/search.js"),
  image: () => import("./views/image.js"),
  clusters: () => import("./views/clusters.js"),
  mistakes: () => import("./views/mistakes.js"),
  checks: () => import("./views/checks.js"),
  map: () => import("./views/map.js"),
  login: () => import("./views/login.js"),
};
const SLOW_MS = 150;

const main = document.getElementById("view");
const progress = document.getElementById("progress");
const bar = new FilterBar(document.getElementById("filter"));
let shown = new AbortController();
let showing = "";
let about = chosen();

/** Show the view of the URL. The old view stays until the new one has its data. */
async function show() {
  const { view, asked } = read();
  shown.abort();
  const mine = (shown = new AbortController());
  if (about !== chosen()) {
    about = chosen();
    forget();
    undescribe();
    begin();
  }
  mark(view);
  fillSwitch();
  main.setAttribute("aria-busy", "true");
  const slow = setTimeout(() => (progress.hidden = false), SLOW_MS);
  const taken = isFiltered(view) ? bar.show(asked.where ?? "", mine.signal) : bar.hide();
  let made;
  try {
    const module = await (VIEWS[view] ?? VIEWS.search)();
    if (showing !== view && module.waiting && !mine.signal.aborted) main.replaceChildren(module.waiting());
    made = await module.view(asked, mine.signal);
  } catch (error) {
    if (mine.signal.aborted || error.name === "AbortError") return;
    if (!(error instanceof Failure)) console.error(error);
    if (error.kind === "login") {
      go(link("login", { next: here() }), { replace: true });
      return;
    }
    made = (await taken) ? { element: failure(error, again), title: error.message } : unfiltered();
  } finally {
    clearTimeout(slow);
    if (shown === mine) progress.hidden = true;
  }
  if (mine.signal.aborted) return;
  if (showing !== view) refuse("");
  showing = view;
  main.replaceChildren(made.element);
  main.classList.toggle("whole", Boolean(made.whole));
  main.setAttribute("aria-busy", "false");
  document.title = `${made.title} · Lookalike`;
  say(made.title);
  scrollTo(0, history.state?.scroll ?? 0);
  if (!main.contains(document.activeElement)) main.querySelector("h1")?.focus({ preventScroll: true });
  made.ready?.();
  if (view !== "login") offer();
}

function again() {
  forget();
  show();
}

/** Return the view that is shown while the filter bar reports an error. */
function unfiltered() {
  const words = "No images are shown, because the filter above cannot be applied.";
  return { element: h("div", { class: "notice" }, h("h1", { tabindex: "-1" }, "Filter"), h("p", {}, words)), title: "Filter" };
}

function mark(view) {
  document.querySelector(".top .mark").setAttribute("href", link("search", { where: "" }));
  for (const anchor of document.querySelectorAll(".top nav a")) {
    anchor.setAttribute("href", link(anchor.dataset.view));
    if (anchor.dataset.view === view) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
}

/** Search with an image that was dropped, pasted or chosen. */
async function searchWith(file) {
  refuse("");
  progress.hidden = false;
  try {
    const upload = await sendImage(file);
    const { view, asked } = read();
    const kept = view === "search" ? { ...asked, id: undefined } : {};
    go(link("search", { ...kept, upload }));
  } catch (error) {
    progress.hidden = true;
    if (error.kind === "login") go(link("login", { next: here() }));
    else if (error.kind === "wrong") refuse(error.message);
    else main.replaceChildren(failure(error, () => searchWith(file)));
  }
}


addEventListener("click", (event) => {
  const anchor = event.target.closest?.("a[href]");
  if (!anchor || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  if (!isOwn(anchor.href) || anchor.hash || anchor.target) return;
  event.preventDefault();
  go(anchor.href);
});
addEventListener("popstate", show);
addEventListener("address", show);

const drop = document.getElementById("drop");
let over = 0;
addEventListener("dragenter", (event) => {
  if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
  event.preventDefault();
  over += 1;
  drop.hidden = false;
});
addEventListener("dragleave", () => {
  over = Math.max(0, over - 1);
  drop.hidden = over === 0;
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  over = 0;
  drop.hidden = true;
  take(handed(event.dataTransfer));
});
addEventListener("paste", (event) => {
  // Pasted text goes to the inputs.
  if (event.clipboardData?.files.length) take(handed(event.clipboardData));
});
addEventListener("change", (event) => {
  if (event.target.type !== "file") return;
  take({ image: event.target.files[0] });
  event.target.value = "";
});

function take({ image, problem }) {
  if (problem) refuse(problem);
  else if (image) searchWith(image);
}

/** Show an error above the view; "" hides it. */
function refuse(sentence) {
  const line = document.getElementById("refusal");
  line.hidden = !sentence;
  line.replaceChildren(...(sentence ? [h("span", {}, sentence), h("button", { type: "button", onclick: () => refuse("") }, "Close")] : []));
}
addEventListener("refused", ({ detail }) => refuse(detail));
addEventListener("collection", ({ detail: { collection } }) => {
  bar.forget();
  describe(collection);
});

history.scrollRestoration = "manual";
watch(show);
show();
