// Input for a label, with a list of the existing labels.
import { labels } from "./collection.js";
import { h, labeled } from "./dom.js";

/**
 * Return a field for a label: {element, value()}. `chosen` is the initial label; `known` are the labels to choose from,
 * as [{label, note}] or a promise of them, by default all of the collection. `changed()` is called after a choice.
 */
export function labelBox({ id, text, chosen = "", placeholder = "any label", name = null, known = labels(), changed = null }) {
  const list = h("datalist", { id: `${id}-list` });
  const input = h("input", { id, name, list: list.id, value: chosen, placeholder, spellcheck: "false", autocomplete: "off", onchange: () => ((input.value = value()), changed?.()) });
  let there = [];
  Promise.resolve(known).then(
    (found) => {
      there = found;
      list.append(...found.map(({ label, note }) => h("option", { value: label }, note)));
    },
    () => {}, // an older server has no list: the input accepts any text
  );
  /** Return the label that the text means, in any spelling. */
  function value() {
    const typed = input.value.trim();
    const alike = (label) => labeled(label).toLowerCase() === labeled(typed).toLowerCase();
    return there.some(({ label }) => label === typed) ? typed : (there.find(({ label }) => alike(label))?.label ?? typed);
  }
  return { element: h("div", { class: "field" }, h("label", { for: id }, text), input, list), value };
}
