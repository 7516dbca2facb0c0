// Requests to the page's own server, about the collection that the URL names.
import { chosen } from "./address.js";

/** A failed request with a sentence. `kind`: wrong, missing, not-built, not-loaded, changed, busy, login, denied, gone, slow, failed, offline. */
export class Failure extends Error {
  constructor(sentence, kind, retryAfter = 0) {
    super(sentence);
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

const lost = new EventTarget();

/** Call `listener` whenever a request finds no server. */
export function onLost(listener) {
  lost.addEventListener("lost", listener);
}

/** Return the reply as JSON, or throw a Failure. `asked` become parameters of the URL. */
export async function ask(path, asked = {}, options = {}) {
  const reply = await fetchReply(`api/${path}`, asked, options);
  return reply.json();
}

/** Return the reply as bytes, or throw a Failure. */
export async function askBytes(path, asked = {}, options = {}) {
  const reply = await fetchReply(`api/${path}`, asked, options);
  return reply.arrayBuffer();
}

/** Log in with a token; throw a Failure if the server rejects it. */
export async function logIn(token) {
  // Next to the views: the browser limits the cookie to the folder of the URL that set it.
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
    throw new Failure("The page's server does not respond.", "offline");
  }
  if (reply.ok) return reply;
  const said = await reply.json().catch(() => ({}));
  const kind = said.kind ?? "failed";
  if (kind === "gone") lost.dispatchEvent(new Event("lost"));
  throw new Failure(said.error ?? `The page's server replied with status ${reply.status}.`, kind, Number(reply.headers.get("Retry-After") ?? 0));
}

/** Return the URL of a file from the page's server, such as an image. */
export function file(path) {
  return chosen() ? `${path}?${new URLSearchParams({ collection: chosen() })}` : path;
}

const dropped = new Map();

/** Upload an image and return its name for URLs. The page keeps a copy, in case the server evicts it. */
export async function sendImage(file) {
  const { upload } = await ask("uploads", {}, { method: "POST", body: file, headers: { "Content-Type": file.type || "application/octet-stream" } });
  dropped.set(upload, file);
  if (dropped.size > 16) dropped.delete(dropped.keys().next().value);
  return upload;
}

/** Upload an image again that the server has evicted; return whether the page still had a copy. */
export async function sendAgain(name) {
  if (!dropped.has(name)) return false;
  await sendImage(dropped.get(name));
  return true;
}
