// Parser of the binary columns of api/map.

const KINDS = { float32: Float32Array, float64: Float64Array, int32: Int32Array };

/** Return the header, with `columns` as typed arrays by name. */
export function read(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = 4 + length;
  const columns = Object.fromEntries(
    Object.entries(header.columns).map(([name, { dtype, offset, length: rows }]) => [name, new KINDS[dtype](buffer, start + offset, rows)]),
  );
  return { ...header, columns };
}

/**
 * Give each of `steps` equal runs of points the same center and spread, in place. The steps of an evolution are aligned
 * by Procrustes analysis, which shrinks a step that agrees less with the one before. Their sizes therefore mean nothing,
 * and small ones would be unreadable.
 */
export function leveled({ x, y }, steps) {
  const rows = x.length / steps;
  for (let step = 0; step < steps; step++) {
    const [own, across] = [x, y].map((values) => values.subarray(step * rows, (step + 1) * rows));
    const [left, down] = [own, across].map((values) => values.reduce((sum, value) => sum + value, 0) / rows);
    let spread = 0;
    for (let at = 0; at < rows; at++) spread += (own[at] - left) ** 2 + (across[at] - down) ** 2;
    spread = Math.sqrt(spread / rows) || 1;
    for (let at = 0; at < rows; at++) {
      own[at] = (own[at] - left) / spread;
      across[at] = (across[at] - down) / spread;
    }
  }
}

/** Return the points within a polygon of [x, y] corners; `index` is their KDBush. */
export function within(polygon, { x, y }, index) {
  const xs = polygon.map(([left]) => left);
  const ys = polygon.map(([, top]) => top);
  return index.range(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)).filter((at) => inside(x[at], y[at], polygon));
}

function inside(x, y, polygon) {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i];
    const [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}
