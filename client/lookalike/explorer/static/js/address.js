// The address bar holds what is shown, so that a link shows the same. Addresses are relative, because a proxy may put
// a prefix before them; all views lie in one folder, so that an address means the same in each of them.

// Views of the images that a filter means. The last filter goes along to them from other views, too.
const FILTERED = new Set(["search", "clusters", "map"]);
let kept = "";

/** Whether a view shows only the images that the filter of the address means. */
export function isFiltered(view) {
  return FILTERED.has(view);
}

/** The view and the parameters of the address. */
export function read() {
  const view = location.pathname.split("/").at(-1) || "search";
  const asked = Object.fromEntries(new URLSearchParams(location.search));
  if (isFiltered(view)) kept = asked.where ?? "";
  return { view, asked };
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

/**
 * The address of a view, relative, of the collection that is shown and with its filter, unless `asked` has others;
 * parameters that are empty are left out.
 */
export function link(view, asked = {}) {
  const all = { collection: chosen(), where: "", ...asked };
  if (!isFiltered(view)) all.where = "";
  // The columns of another collection are others.
  else if (!("where" in asked) && all.collection === chosen()) all.where = kept;
  const given = Object.entries(all).filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false);
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
