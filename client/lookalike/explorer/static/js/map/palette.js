// Colours for what the points are: one for each of the most frequent, grey for the rest.

// Of equal lightness, so that none is louder than another; told apart by the words beside them, never by colour alone.
const HUES = [205, 28, 145, 275, 95, 345, 60, 180, 310, 240, 10, 120];
const REST = [138, 133, 124];

/** Bytes for each point, and what each colour stands for: [{code, colour, count}], the most frequent first. */
export function paint(codes, dark, hidden = new Set()) {
  const counts = new Map();
  for (const code of codes) counts.set(code, (counts.get(code) ?? 0) + 1);
  const frequent = [...counts].filter(([code]) => code >= 0).sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  const colours = new Map();
  frequent.forEach(([code], at) => colours.set(code, hue(at, dark)));
  const bytes = new Uint8Array(4 * codes.length);
  for (let at = 0; at < codes.length; at++) {
    const [red, green, blue] = colours.get(codes[at]) ?? REST;
    bytes[4 * at] = red;
    bytes[4 * at + 1] = green;
    bytes[4 * at + 2] = blue;
    bytes[4 * at + 3] = hidden.has(codes[at]) ? 0 : 255;
  }
  return { bytes, legend: frequent.map(([code, count]) => ({ code, count, colour: `rgb(${(colours.get(code) ?? REST).join(" ")})` })) };
}

/** The first twelve are far apart; those after them vary them by lightness, up to 36, then grey. */
function hue(at, dark) {
  const round = Math.floor(at / HUES.length);
  if (round > 2) return REST;
  const lightness = (dark ? [66, 52, 80] : [46, 62, 34])[round];
  return fromHsl(HUES[at % HUES.length], 58, lightness);
}

function fromHsl(h, s, l) {
  const a = (s / 100) * Math.min(l / 100, 1 - l / 100);
  const channel = (n) => {
    const k = (n + h / 30) % 12;
    return Math.round(255 * (l / 100 - a * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}
