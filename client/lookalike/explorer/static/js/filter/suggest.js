// Suggestions for the next part of a filter: columns, operators, values, and words that join expressions. The server
// parses filters; this module only helps to write them.

const TOKEN = /\s*(?:(?<number>-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))|(?<text>'(?:[^']|'')*')|(?<quoted>"(?:[^"]|"")*")|(?<word>[\p{L}_][\p{L}\p{N}_]*(?:\.[\p{L}\p{N}_]+)*)|(?<sign><=|>=|<>|!=|==|[=<>(),]))/uy;
const PLAIN = /^[\p{L}_][\p{L}\p{N}_]*(?:\.[\p{L}\p{N}_]+)*$/u;
const WORDS = new Set(["and", "or", "not", "in", "between", "is", "null", "has", "true", "false"]);
const FUNCTIONS = { cluster: "int64", distance: "float64", predicted: "string", probability: "float64" };
const ORDERED = ["<", "<=", ">", ">=", "=", "!=", "between ", "in ("];
const OPERATORS = {
  bool: ["and ", "or "],
  int64: ORDERED,
  float64: ORDERED,
  timestamp: ORDERED,
  string: ["=", "!=", "in (", "not in ("],
  "list<string>": ["has "],
};
const MOST = 40;

/**
 * Return suggestions at the end of `text`: {from, options: [{text, note}]}; an option replaces the text after `from`.
 * `known` is {columns: [{name, type, values}], clusterings, models}.
 */
export function suggest(text, known) {
  const { tokens, rest, from } = cut(text);
  const { state, subject, list } = follow(tokens);
  const typed = rest.replace(/^['"]/, "").toLowerCase();
  const options = offered(state, subject, list, known).filter((each) => each.text.trim() !== rest);
  const starts = options.filter((each) => bare(each.text).startsWith(typed));
  const holds = typed ? options.filter((each) => !bare(each.text).startsWith(typed) && bare(each.text).includes(typed)) : [];
  return { from, options: [...starts, ...holds].slice(0, MOST) };
}

/** Format a value for a filter. */
export function literal(value) {
  return typeof value === "string" ? `'${value.replaceAll("'", "''")}'` : String(value);
}

/** Format the name of a column for a filter. */
export function named(name) {
  const plain = PLAIN.test(name) && !WORDS.has(name.toLowerCase()) && !(name in FUNCTIONS);
  return plain ? name : `"${name.replaceAll('"', '""')}"`;
}

function bare(text) {
  return text.replace(/^['"]/, "").toLowerCase();
}

/** Split a text into complete tokens and the incomplete `rest` that begins at `from`. */
function cut(text) {
  const tokens = [];
  let at = 0;
  while (at < text.length) {
    TOKEN.lastIndex = at;
    const found = TOKEN.exec(text);
    if (!found) break;
    const [kind, said] = Object.entries(found.groups).find(([, each]) => each !== undefined);
    // A word at the end may be incomplete.
    if ((kind === "word" || kind === "number") && TOKEN.lastIndex === text.length) break;
    tokens.push({ kind: kind === "word" && WORDS.has(said.toLowerCase()) ? said.toLowerCase() : kind, said });
    at = TOKEN.lastIndex;
  }
  const from = at + (text.slice(at).length - text.slice(at).trimStart().length);
  return { tokens, rest: text.slice(from), from };
}

/** Return what is expected after the tokens, the column in question, and the open list. */
function follow(tokens) {
  let state = "subject";
  let subject = null;
  let between = false;
  const queue = [...tokens];
  while (queue.length) {
    const { kind, said } = queue.shift();
    if (state === "subject") {
      if (kind === "word" || kind === "quoted") {
        const name = kind === "word" ? said : said.slice(1, -1).replaceAll('""', '"');
        subject = { name, isFunction: kind === "word" && name in FUNCTIONS };
        state = "operator";
        if (subject.isFunction && queue[0]?.said === "(") {
          queue.shift();
          if (queue[0]?.kind !== "text") return { state: queue.length ? "" : "argument", subject };
          queue.shift();
          if (queue.shift()?.said !== ")") return { state: "", subject };
        }
      } else if (kind !== "not" && said !== "(") state = "";
    } else if (state === "operator") {
      if (kind === "in") state = "open";
      else if (kind === "between") [state, between] = ["value", true];
      else if (kind === "has") state = "value";
      else if (kind === "is") state = "null";
      else if (kind === "and" || kind === "or") state = "subject";
      else if (said === ")") state = "join";
      else if (kind === "sign" && !"(),".includes(said)) state = "value";
      else if (kind !== "not") state = "";
    } else if (state === "open") state = said === "(" ? "list" : "";
    else if (state === "list") state = "listed";
    else if (state === "listed") state = said === "," ? "list" : said === ")" ? "join" : "";
    else if (state === "value") [state, between] = [between ? "until" : "join", false];
    else if (state === "until") state = kind === "and" ? "value" : "";
    else if (state === "null") state = kind === "null" ? "join" : kind === "not" ? "null" : "";
    else if (state === "join") state = kind === "and" || kind === "or" ? "subject" : said === ")" ? "join" : "";
    else return { state: "", subject };
  }
  return { state, subject };
}

function offered(state, subject, list, known) {
  const words = (...each) => each.map((text) => ({ text, note: "" }));
  if (state === "subject") return [...known.columns.map((each) => ({ text: `${named(each.name)} `, note: noteOf(each) })), ...functions(known), ...words("not ", "(")];
  if (state === "argument") return (["cluster", "distance"].includes(subject.name) ? known.clusterings : known.models).map((name) => ({ text: `${literal(name)}) `, note: "" }));
  if (state === "operator") {
    const kind = typeOf(subject, known);
    const nothing = subject.isFunction ? [] : ["is null", "is not null"];
    return words(...(OPERATORS[kind] ?? ORDERED), ...nothing).map((each) => ({ ...each, text: each.text.endsWith("(") ? each.text : `${each.text.trimEnd()} ` }));
  }
  if (state === "value" || state === "list") {
    const end = state === "value" ? " " : "";
    const column = subject.isFunction ? null : known.columns.find((each) => each.name === subject.name);
    const kind = typeOf(subject, known);
    const values = kind === "bool" ? [true, false] : (column?.values ?? []);
    const ordered = kind === "int64" || kind === "float64" || kind === "timestamp";
    return values.map((value, at) => ({ text: literal(value) + end, note: ordered && values.length > 1 ? (at ? "greatest" : "least") : "" }));
  }
  if (state === "listed") return words(", ", ") ");
  if (state === "open") return words("(");
  if (state === "until") return words("and ");
  if (state === "null") return words("null ", "not null ");
  if (state === "join") return words("and ", "or ");
  return [];
}

function functions({ clusterings, models }) {
  return [
    ...clusterings.map((name) => ({ text: `cluster(${literal(name)}) `, note: "number of the cluster" })),
    ...(models.length ? [{ text: `predicted(${literal(models[0])}) `, note: "most probable class" }, { text: "probability ", note: "of that class, 0 to 1" }] : []),
  ];
}

function typeOf(subject, known) {
  return subject.isFunction ? FUNCTIONS[subject.name] : known.columns.find((each) => each.name === subject.name)?.type;
}

const TYPES = { bool: "true or false", int64: "whole number", float64: "number", string: "text", timestamp: "time", "list<string>": "list of texts" };

function noteOf({ type, values }) {
  const shown = values.slice(0, 3).map((each) => String(each));
  const ordered = type === "int64" || type === "float64" || type === "timestamp";
  const told = !shown.length || type === "bool" ? "" : ordered ? shown.join(" to ") : `${shown.join(", ")}${values.length > 3 ? " …" : ""}`;
  return [TYPES[type] ?? type, told].filter(Boolean).join(": ");
}
