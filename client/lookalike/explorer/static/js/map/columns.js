// The map's columns out of the bytes that /api/map answers with.

const KINDS = { float32: Float32Array, float64: Float64Array, int32: Int32Array };

/** The header, with `columns` as typed arrays by name. */
export function read(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = 4 + length;
  const columns = Object.fromEntries(
    Object.entries(header.columns).map(([name, { dtype, offset, length: rows }]) => [name, new KINDS[dtype](buffer, start + offset, rows)]),
  );
  return { ...header, columns };
}

/** Which points lie within a polygon of [x, y] corners; `index` is a KDBush of them. */
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
