// Panels for failed requests: what happened, and what to do.
import { h } from "./dom.js";
import { go, link } from "./address.js";

const TITLES = {
  wrong: "Invalid request",
  missing: "Not found",
  "not-built": "Not built yet",
  "not-loaded": "This collection is not loaded",
  changed: "The collection has changed",
  busy: "The server is busy",
  gone: "The server is unavailable",
  offline: "The server is unavailable",
  slow: "Timeout",
  failed: "Unexpected error",
};
const HINTS = {
  gone: "This page reconnects automatically.",
  offline: "This page reconnects automatically. Is `lookalike explore` still running?",
  "not-loaded": "Choose another collection above, or try again when the problem is fixed.",
  busy: "Try again in a moment.",
  slow: "The server may be reading a large space. Try again, or request less.",
  changed: "Try again to see the new generation.",
};
const RETRIED = new Set(["busy", "not-loaded", "slow", "failed", "changed"]);

/** Return a panel about a Failure, with a button that calls `again` if a retry may help. */
export function failure(error, again, { inline = false } = {}) {
  const kind = error.kind ?? "failed";
  return h(
    "section",
    { class: inline ? "notice inline" : "notice", role: "alert", data: { kind } },
    inline ? null : h("h1", { tabindex: "-1" }, TITLES[kind] ?? TITLES.failed),
    h("p", {}, sentence(error.message)),
    HINTS[kind] ? h("p", { class: "muted small" }, sentence(HINTS[kind])) : null,
    h(
      "div",
      { class: "row" },
      RETRIED.has(kind) && again ? h("button", { type: "button", onclick: again }, "Try again") : null,
      !inline && (kind === "missing" || kind === "wrong") ? h("button", { type: "button", onclick: () => go(link("search")) }, "Start over") : null,
    ),
  );
}

/** Format a sentence, with commands as code. */
export function sentence(text) {
  const parts = text.split(/`([^`]+)`|((?:^|(?<=: ))lookalike [^.;]*(?:\.\w[^.;]*)*)/);
  return h("span", {}, parts.map((part, at) => (part === undefined ? null : at % 3 ? h("code", {}, part) : part)));
}
