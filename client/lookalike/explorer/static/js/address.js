// The URL holds the state of the page, so that a link shows the same. URLs are relative, because a proxy may add a path
// prefix; all views lie in one folder, so that a relative URL means the same in each of them.

// Views that show only the images that match a filter. The last filter stays in links to them from other views.
const FILTERED = new Set(["search", "clusters", "map"]);
let kept = "";

/** Whether a view shows only the images that match the filter of the URL. */
export function isFiltered(view) {
  return FILTERED.has(view);
}

/** Return the view and the parameters of the URL. */
export function read() {
  const view = location.pathname.split("/").at(-1) || "search";
  const asked = Object.fromEntries(new URLSearchParams(location.search));
  if (isFiltered(view)) kept = asked.where ?? "";
  return { view, asked };
}

/** Return the collection that the URL names; "" for the server's first one. */
export function chosen() {
  return read().asked.collection ?? "";
}

/** Return the relative URL of the current view, in the form of `link`. */
export function here() {
  return read().view + location.search;
}

/** Whether an absolute URL belongs to this page. */
export function isOwn(address) {
  return address.startsWith(new URL(".", location).href);
}

/**
 * Return the relative URL of a view. It keeps the current collection and filter unless `asked` has others, and leaves
 * empty parameters out.
 */
export function link(view, asked = {}) {
  const all = { collection: chosen(), where: "", ...asked };
  if (!isFiltered(view)) all.where = "";
  // Another collection has other columns, so it does not keep the filter.
  else if (!("where" in asked) && all.collection === chosen()) all.where = kept;
  const given = Object.entries(all).filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false);
  const text = new URLSearchParams(given.map(([key, value]) => [key, value === true ? "1" : String(value)])).toString();
  return `${view}${text ? `?${text}` : ""}`;
}

/** Navigate to a URL, as following a link does. */
export function go(address, { replace = false } = {}) {
  history.replaceState({ ...history.state, scroll: scrollY }, "");
  history[replace ? "replaceState" : "pushState"]({}, "", address);
  dispatchEvent(new CustomEvent("address"));
}

/** Change the URL without showing the view again, for example when a map has moved. */
export function note(address) {
  history.replaceState(history.state, "", address);
}
