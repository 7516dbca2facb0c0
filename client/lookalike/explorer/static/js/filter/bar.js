// Filter bar above the views. The URL holds the filter as `where`.
import { ask } from "../api.js";
import { go, link, read } from "../address.js";
import { columns } from "../collection.js";
import { h, say } from "../dom.js";
import { suggest } from "./suggest.js";

// Kinds of failures for a filter that the server rejects.
const REFUSED = new Set(["wrong", "missing", "not-built"]);
const PLACE = / \(at character (\d+) of the filter\)/;

export class FilterBar {
  constructor(box) {
    this.box = box;
    this.known = null;
    this.chosen = -1;
    this.options = [];
    this.list = h("ul", { id: "filter-list", class: "suggestions", role: "listbox", aria: { label: "Suggestions" }, hidden: true });
    this.input = h("input", {
      id: "filter-text",
      placeholder: "all images, or a filter: label = 'cat' and width > 300",
      spellcheck: "false",
      autocomplete: "off",
      autocapitalize: "off",
      role: "combobox",
      aria: { expanded: "false", controls: "filter-list", autocomplete: "list", describedby: "filter-told" },
      oninput: () => this.offer(),
      onfocus: () => this.learn(),
      onclick: () => this.offer(),
      onblur: () => this.close(),
      onkeydown: (event) => this.key(event),
    });
    this.clear = h("button", { type: "button", onclick: () => this.apply("") }, "Clear");
    this.told = h("p", { id: "filter-told", class: "filter-told", aria: { live: "polite" } });
    const form = h(
      "form",
      { class: "filter-form", role: "search", aria: { label: "Filter the images" }, onsubmit: (event) => (event.preventDefault(), this.apply(this.input.value.trim())) },
      h("label", { for: "filter-text" }, "Filter"),
      h("div", { class: "filter-field" }, this.input, this.list),
      h("button", { type: "submit" }, "Apply"),
      this.clear,
    );
    box.replaceChildren(form, this.told);
    new ResizeObserver(() => document.documentElement.style.setProperty("--filter", `${box.offsetHeight}px`)).observe(box);
  }

  hide() {
    this.box.hidden = true;
    return Promise.resolve(true);
  }

  /** Show the filter of the URL and the number of matches; resolve to whether the server accepts the filter. */
  async show(where, signal) {
    this.box.hidden = false;
    this.close();
    this.input.value = where;
    this.clear.hidden = !where;
    if (!where) {
      this.tell("");
      return true;
    }
    return this.count(where, signal);
  }

  async count(where, signal) {
    try {
      const { matches, images } = await ask("matches", { where }, { signal });
      const text = `${matches.toLocaleString("en")} of ${images.toLocaleString("en")} images match`;
      this.tell(text);
      say(text);
      return true;
    } catch (error) {
      if (error.name === "AbortError" || !REFUSED.has(error.kind)) return true; // the view reports other errors
      this.refuse(where, error.message);
      return false;
    }
  }

  /** Apply the filter in the input if the server accepts it. */
  async apply(where) {
    this.close();
    if (where && !(await this.count(where))) return;
    const { view, asked } = read();
    // The view keeps its cluster or cell, and its settings.
    go(link(view, { ...asked, where }));
  }

  tell(text) {
    this.input.removeAttribute("aria-invalid");
    this.told.classList.remove("refused");
    this.told.replaceChildren(text);
    this.told.hidden = !text;
  }

  /** Show the error of a filter, and its place. */
  refuse(where, sentence) {
    this.tell(sentence.replace(PLACE, ""));
    this.told.classList.add("refused");
    this.input.setAttribute("aria-invalid", "true");
    say(sentence);
    const place = PLACE.exec(sentence);
    if (!place) return;
    // The server counts code points, JavaScript UTF-16 units.
    const characters = [...where];
    const start = Number(place[1]) - 1;
    const word = /^\S*/.exec(characters.slice(start).join(""))[0] || " ";
    const before = characters.slice(Math.max(0, start - 40), start).join("");
    const after = characters.slice(start).join("").slice(word.length, word.length + 40);
    this.told.append(h("code", { class: "filter-place" }, start > 40 ? "…" : "", before, h("mark", {}, word), after));
    const at = characters.slice(0, start).join("").length;
    if (document.activeElement === this.input) this.input.setSelectionRange(at, at + word.length);
  }

  async learn() {
    this.known ??= await columns().catch(() => null);
  }

  /** Fetch the columns again on next use. */
  forget() {
    this.known = null;
  }

  async offer() {
    await this.learn();
    if (!this.known || document.activeElement !== this.input) return;
    const caret = this.input.selectionStart;
    const { from, options } = suggest(this.input.value.slice(0, caret), this.known);
    this.from = from;
    this.options = options;
    this.choose(-1);
    this.list.replaceChildren(
      ...options.map((each, at) =>
        h(
          "li",
          { id: `filter-option-${at}`, role: "option", aria: { selected: "false" }, onpointerdown: (event) => (event.preventDefault(), this.take(at)) },
          h("span", {}, each.text.trim()),
          each.note ? h("span", { class: "print" }, each.note) : null,
        ),
      ),
    );
    this.list.hidden = !options.length;
    this.input.setAttribute("aria-expanded", String(Boolean(options.length)));
  }

  close() {
    this.list.hidden = true;
    this.options = [];
    this.choose(-1);
    this.input.setAttribute("aria-expanded", "false");
  }

  choose(at) {
    this.chosen = at;
    [...this.list.children].forEach((each, place) => each.setAttribute("aria-selected", String(place === at)));
    if (at < 0) this.input.removeAttribute("aria-activedescendant");
    else {
      this.input.setAttribute("aria-activedescendant", `filter-option-${at}`);
      this.list.children[at].scrollIntoView({ block: "nearest" });
    }
  }

  /** Insert a suggestion in place of the text that it completes. */
  take(at) {
    const { text } = this.options[at];
    const after = this.input.value.slice(this.input.selectionStart);
    const before = this.input.value.slice(0, this.from);
    const gap = before && !/[\s(]$/.test(before) && !/^[,)]/.test(text) ? " " : "";
    this.input.value = before + gap + text + after.trimStart();
    const caret = (before + gap + text).length;
    this.input.setSelectionRange(caret, caret);
    this.offer();
  }

  key(event) {
    const number = this.options.length;
    if (event.key === "Escape" && number) this.close();
    else if (event.key === "ArrowDown" && !number) this.offer();
    else if (event.key === "ArrowDown") this.choose((this.chosen + 1) % number);
    else if (event.key === "ArrowUp" && number) this.choose((this.chosen <= 0 ? number : this.chosen) - 1);
    else if ((event.key === "Enter" || event.key === "Tab") && this.chosen >= 0) this.take(this.chosen);
    else return;
    event.preventDefault();
  }
}
