// Elements, made by code: the page has no markup of others, so nothing that a collection holds can become one.

/** An element; `on*` properties are listeners, `data`, `aria` and `style` are objects, null children are left out. */
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

/** Tell people who hear the page instead of seeing it. */
export function say(sentence) {
  document.getElementById("said").textContent = sentence;
}

/** "1,234 images", "1 image". */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** A distance or share with so many digits; a dash for none. */
export function digits(value, places = 3) {
  return value === null || value === undefined ? "–" : value.toFixed(places);
}

/** A share as "96.3%"; a dash for none. */
export function percent(share) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)}%`;
}

const METRICS = { cosine: "cosine", l2: "Euclidean" };

/** What a distance is called beside its number: "cosine distance"; "distance" where the server does not say. */
export function measured(metric, what = "distance") {
  return METRICS[metric] ? `${METRICS[metric]} ${what}` : what;
}

// As captions of pictures leave them out: "n03445777_golf_ball" is a golf ball.
const WORDNET_NUMBER = /\bn\d{8}[_ -](?=\p{L})/gu;

/** A label as people read it, or the name of its absence. */
export function labelled(label) {
  return label ? label.replaceAll(WORDNET_NUMBER, "").replaceAll("_", " ") : "no label";
}

// A label within a sentence; not the folder of a file, by which a command names one.
const WORDNET_LABEL = /\bn\d{8}[_ -](\p{L}[\p{L}\p{N}_-]*)(?![\p{L}\p{N}_\/-])/gu;

/** The sentences of an experiment as a list, with the labels in them as captions have them. */
export function findings(sentences) {
  const words = (sentence) => sentence.replaceAll(WORDNET_LABEL, (_, label) => label.replaceAll("_", " "));
  return h("ul", { class: "findings small" }, sentences.map((each) => h("li", {}, words(each))));
}

/** Call `then` once when an element comes near the window. Returns what stops watching. */
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
