// Colors of categories: one for each of the most frequent, gray for the rest.

// The colors of the charts, charts/palette.py, in the same order; text beside them tells them apart, too.
const COLORS = [
  "#1f77b4", "#d20000", "#007800", "#c300c3", "#a57800", "#78d200", "#00a596", "#ff6987",
  "#b496ff", "#ff874b", "#00c3ff", "#c31e5a", "#87965a", "#f0b400", "#7869a5", "#ff69e1",
  "#a5694b", "#3c4bff", "#5ad296", "#69691e", "#b46996", "#007869", "#00a53c", "#78a5f0",
];
// Number of times that each color is used: charts have as many markers, and leave all other categories gray.
const ROUNDS = 5;
const REST = rgb("#c7c7c7");

/**
 * Return color bytes for each point, and the legend: [{code, color, count}], the most frequent of `all` codes first. If
 * `codes` are those of one step, a category has the same color in all steps.
 */
export function paint(codes, hidden = new Set(), all = codes) {
  const counts = counted(codes);
  const frequent = [...counted(all)].filter(([code]) => code >= 0).sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  const colors = new Map();
  frequent.forEach(([code], at) => colors.set(code, hue(at)));
  const bytes = new Uint8Array(4 * codes.length);
  for (let at = 0; at < codes.length; at++) {
    const [red, green, blue] = colors.get(codes[at]) ?? REST;
    bytes[4 * at] = red;
    bytes[4 * at + 1] = green;
    bytes[4 * at + 2] = blue;
    bytes[4 * at + 3] = hidden.has(codes[at]) ? 0 : 255;
  }
  const shown = frequent.filter(([code]) => counts.has(code));
  return { bytes, legend: shown.map(([code]) => ({ code, count: counts.get(code), color: `rgb(${colors.get(code).join(" ")})` })) };
}

function counted(codes) {
  const counts = new Map();
  for (const code of codes) counts.set(code, (counts.get(code) ?? 0) + 1);
  return counts;
}

/** Return the color of the category that is the `at`-th most frequent. */
function hue(at) {
  if (at >= ROUNDS * COLORS.length) return REST;
  return rgb(COLORS[at % COLORS.length]);
}

function rgb(hex) {
  return [1, 3, 5].map((start) => Number.parseInt(hex.slice(start, start + 2), 16));
}
