// The address bar holds what is shown, so that a link shows the same. Addresses are relative, because a proxy may put
// a prefix before them; all views lie in one folder, so that an address means the same in each of them.

/** The view and the parameters of the address. */
export function read() {
  const view = location.pathname.split("/").at(-1) || "search";
  return { view, asked: Object.fromEntries(new URLSearchParams(location.search)) };
}

/** The collection that the address names; "" for the server's first. */
export function chosen() {
  return read().asked.collection ?? "";
}

/** The address of what is shown, as `link` gives it. */
export function here() {
  return read().view + location.search;
}

/** Whether an absolute address is one of the page's own. */
export function isOwn(address) {
  return address.startsWith(new URL(".", location).href);
}

/** The address of a view, relative, of the collection that is shown; parameters that are empty are left out. */
export function link(view, asked = {}) {
  const given = Object.entries({ collection: chosen(), ...asked }).filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false);
  const text = new URLSearchParams(given.map(([key, value]) => [key, value === true ? "1" : String(value)])).toString();
  return `${view}${text ? `?${text}` : ""}`;
}

/** Go to an address, as following a link does. */
export function go(address, { replace = false } = {}) {
  history.replaceState({ ...history.state, scroll: scrollY }, "");
  history[replace ? "replaceState" : "pushState"]({}, "", address);
  dispatchEvent(new CustomEvent("address"));
}

/** Put an address in the bar without showing anything anew, such as where a map was moved to. */
export function note(address) {
  history.replaceState(history.state, "", address);
}
