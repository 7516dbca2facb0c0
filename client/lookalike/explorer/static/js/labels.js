// A box to name a label in, with a list of those that there are.
import { labels } from "./collection.js";
import { h, labelled } from "./dom.js";

/**
 * A field for a label: {element, value()}. `chosen` is the label that is in it, `known` those to choose from, as
 * [{label, note}], or a promise of them; without it, all of the collection. `changed()` is called when one was chosen.
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
    () => {}, // an older server has no list: the box takes what is typed
  );
  /** The label that is meant, however it is written. */
  function value() {
    const typed = input.value.trim();
    const alike = (label) => labelled(label).toLowerCase() === labelled(typed).toLowerCase();
    return there.some(({ label }) => label === typed) ? typed : (there.find(({ label }) => alike(label))?.label ?? typed);
  }
  return { element: h("div", { class: "field" }, h("label", { for: id }, text), input, list), value };
}
