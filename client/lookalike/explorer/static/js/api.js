// Questions to the page's own server, about the collection that the address names.
import { chosen } from "./address.js";

/** What went wrong, in a sentence. `kind`: wrong, missing, not-built, not-loaded, changed, busy, login, gone, slow, failed, offline. */
export class Failure extends Error {
  constructor(sentence, kind, retryAfter = 0) {
    super(sentence);
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

const lost = new EventTarget();

/** Call `listener` whenever a question found no server. */
export function onLost(listener) {
  lost.addEventListener("lost", listener);
}

/** The answer as JSON; a Failure otherwise. `asked` become parameters of the address. */
export async function ask(path, asked = {}, options = {}) {
  const reply = await fetchReply(`api/${path}`, asked, options);
  return reply.json();
}

/** The answer as bytes; a Failure otherwise. */
export async function askBytes(path, asked = {}, options = {}) {
  const reply = await fetchReply(`api/${path}`, asked, options);
  return reply.arrayBuffer();
}

/** Log in with a token; a Failure where the server refuses it. */
export async function logIn(token) {
  // Beside the views: the browser sends the cookie to the folder of the address that set it.
  await fetchReply("login", {}, { method: "POST", body: token });
}

async function fetchReply(path, asked, options) {
  const given = Object.entries({ collection: chosen(), ...asked }).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given).toString();
  let reply;
  try {
    reply = await fetch(`${path}${text ? `?${text}` : ""}`, { ...options, headers: { Accept: "application/json", ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    lost.dispatchEvent(new Event("lost"));
    throw new Failure("The page's own server does not answer.", "offline");
  }
  if (reply.ok) return reply;
  const said = await reply.json().catch(() => ({}));
  const kind = said.kind ?? "failed";
  if (kind === "gone") lost.dispatchEvent(new Event("lost"));
  throw new Failure(said.error ?? `The page's server answered ${reply.status}.`, kind, Number(reply.headers.get("Retry-After") ?? 0));
}

/** The address of a file that the page's server answers with, such as a picture. */
export function file(path) {
  return chosen() ? `${path}?${new URLSearchParams({ collection: chosen() })}` : path;
}

const dropped = new Map();

/** Hand a picture to the server; its name in addresses. The page keeps it, in case the server forgets it. */
export async function sendPicture(file) {
  const { picture } = await ask("pictures", {}, { method: "POST", body: file, headers: { "Content-Type": file.type || "application/octet-stream" } });
  dropped.set(picture, file);
  if (dropped.size > 16) dropped.delete(dropped.keys().next().value);
  return picture;
}

/** Hand over again a picture that the server no longer has; whether the page still had it. */
export async function sendAgain(name) {
  if (!dropped.has(name)) return false;
  await sendPicture(dropped.get(name));
  return true;
}
