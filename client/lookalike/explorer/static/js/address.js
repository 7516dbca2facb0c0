// The address bar holds what is shown, so that a link shows the same.

/** The view and the parameters of the address. */
export function read() {
  const view = location.pathname.split("/")[1] || "search";
  return { view, asked: Object.fromEntries(new URLSearchParams(location.search)) };
}

/** The address of a view; parameters that are empty are left out. */
export function link(view, asked = {}) {
  const given = Object.entries(asked).filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false);
  const text = new URLSearchParams(given.map(([key, value]) => [key, value === true ? "1" : String(value)])).toString();
  return `/${view}${text ? `?${text}` : ""}`;
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
