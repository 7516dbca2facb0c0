// Login with a token.
import { logIn } from "../api.js";
import { go, link } from "../address.js";
import { h } from "../dom.js";
import { forget } from "../collection.js";
import { begin } from "../edit.js";

export async function view(asked) {
  const problem = h("p", { class: "remark", role: "alert", hidden: true });
  const token = h("input", { type: "password", id: "token", autocomplete: "current-password", required: true, autofocus: true });
  const form = h(
    "form",
    { class: "login", onsubmit: submit },
    h("h1", { tabindex: "-1" }, "Log in"),
    h("p", { class: "muted" }, "This server requires a token."),
    h("div", { class: "field" }, h("label", { for: "token" }, "Token"), token),
    problem,
    h("button", { type: "submit", class: "button strong" }, "Log in"),
  );

  async function submit(event) {
    event.preventDefault();
    problem.hidden = true;
    try {
      await logIn(token.value);
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      token.focus();
      return;
    }
    forget();
    begin();
    // Only follow URLs of this page, whatever the link contains.
    const next = asked.next ?? "";
    go(/^[a-z]+(\?|$)/.test(next) ? next : link("search"), { replace: true });
  }

  return { element: form, title: "Log in", ready: () => token.focus() };
}
