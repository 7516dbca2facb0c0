// Elements are made by code, never from markup, so that no text of a collection can become an element.

/** Create an element; `on*` properties are listeners, `data`, `aria` and `style` are objects; null children are skipped. */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "data") Object.assign(element.dataset, value);
    else if (key === "style") for (const [rule, text] of Object.entries(value)) element.style.setProperty(rule, text);
    else if (key === "aria") for (const [aria, text] of Object.entries(value)) element.setAttribute(`aria-${aria}`, text);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Announce a sentence to screen readers. */
export function say(sentence) {
  document.getElementById("said").textContent = sentence;
}

/** Format a count: "1,234 images", "1 image". */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** Format a distance or share with `places` decimals; a dash for none. */
export function digits(value, places = 3) {
  return value === null || value === undefined ? "–" : value.toFixed(places);
}

/** Format a share as "96.3%"; a dash for none. */
export function percent(share) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)}%`;
}

const METRICS = { cosine: "cosine", l2: "Euclidean" };

/** Name a distance: "cosine distance"; "distance" if the server does not report the metric. */
export function measured(metric, what = "distance") {
  return METRICS[metric] ? `${METRICS[metric]} ${what}` : what;
}

// Captions leave WordNet numbers out: "n03445777_golf_ball" becomes "golf ball".
const WORDNET_NUMBER = /\bn\d{8}[_ -](?=\p{L})/gu;

/** Format a label for people; "no label" for none. */
export function labeled(label) {
  return label ? label.replaceAll(WORDNET_NUMBER, "").replaceAll("_", " ") : "no label";
}

// Matches a label within a sentence, but not in a path of a command.
const WORDNET_LABEL = /\bn\d{8}[_ -](\p{L}[\p{L}\p{N}_-]*)(?![\p{L}\p{N}_\/-])/gu;

/** Format the findings of an experiment as a list, with labels as in captions. */
export function findings(sentences) {
  const words = (sentence) => sentence.replaceAll(WORDNET_LABEL, (_, label) => label.replaceAll("_", " "));
  return h("ul", { class: "findings small" }, sentences.map((each) => h("li", {}, words(each))));
}

/** Call `then` once when an element comes near the window. Return a function that stops watching. */
export function whenNear(element, then, margin = "600px") {
  const watcher = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watcher.disconnect();
      then();
    },
    { rootMargin: margin },
  );
  watcher.observe(element);
  return () => watcher.disconnect();
}
