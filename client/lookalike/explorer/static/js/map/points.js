// Points of a map, drawn by WebGL with one vertex each.
//
// With a graphics card, 100,000 points are redrawn for every frame. Without one, this takes a tenth of a second. So the
// canvas is larger than the window, and moving shows the existing drawing, which costs the same for any number of
// points. The points are redrawn when the camera rests, reaches the edge of the drawing, or if drawing is fast.
import * as twgl from "../../vendor/twgl.js";

// Extra width on each side, as a share of the window.
const MARGIN = 0.25;
const QUICK_MS = 6;
const STILL_MS = 140;

const VERTEX = `#version 300 es
in vec2 position;
in vec4 color;
uniform vec2 middle;
uniform vec2 scale;
uniform float size;
out vec4 shade;
void main() {
  shade = color;
  gl_Position = vec4((position - middle) * scale, 0.0, 1.0);
  gl_PointSize = color.a > 0.0 ? size : 0.0;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 shade;
uniform float alpha;
uniform float size;
out vec4 result;
void main() {
  float edge = (0.5 - length(gl_PointCoord - 0.5)) * size;
  if (edge <= 0.0) discard;
  float cover = min(edge, 1.0) * alpha * shade.a;
  result = vec4(shade.rgb * cover, cover);
}`;

export class Points {
  /** `canvas` must lie in a box that clips it. Throws an Error if the browser has no WebGL 2. */
  constructor(canvas, { x, y }) {
    this.canvas = canvas;
    const gl = (this.gl = canvas.getContext("webgl2", { antialias: false, alpha: true, premultipliedAlpha: true, preserveDrawingBuffer: false }));
    if (!gl) throw new Error("This browser has no WebGL 2, which draws the map.");
    this.program = twgl.createProgramInfo(gl, [VERTEX, FRAGMENT]);
    if (!this.program) throw new Error("The browser could not prepare drawing the map.");
    this.count = x.length;
    // Relative to the middle of the map, so that 32-bit floats are precise enough when zoomed.
    this.origin = [mean(x), mean(y)];
    this.buffers = twgl.createBufferInfoFromArrays(gl, {
      position: { numComponents: 2, data: this.around({ x, y }) },
      color: { numComponents: 4, data: new Uint8Array(4 * this.count), normalize: true },
    });
    this.drawn = null;
    this.cost = 0;
    this.still = 0;
  }

  /** Move the points, whose number stays the same. */
  move(points) {
    twgl.setAttribInfoBufferFromArray(this.gl, this.buffers.attribs.position, this.around(points));
    this.drawn = null;
  }

  around({ x, y }) {
    const position = new Float32Array(2 * x.length);
    for (let at = 0; at < x.length; at++) {
      position[2 * at] = x[at] - this.origin[0];
      position[2 * at + 1] = y[at] - this.origin[1];
    }
    return position;
  }

  /** Set the colors, 4 bytes for each point; alpha 0 hides a point. */
  color(bytes) {
    twgl.setAttribInfoBufferFromArray(this.gl, this.buffers.attribs.color, bytes);
    this.drawn = null;
  }

  /** Show the map from the camera's position. */
  show(camera) {
    clearTimeout(this.still);
    if (!this.drawn || this.cost < QUICK_MS || !this.covers(camera)) {
      this.draw(camera);
      return;
    }
    this.place(camera);
    this.still = setTimeout(() => this.draw(camera.copy()), STILL_MS);
  }

  /** Stop, and free the graphics memory. */
  close() {
    clearTimeout(this.still);
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  /** Whether the drawing fills the window, at a suitable resolution. */
  covers(camera) {
    const { drawn } = this;
    const ratio = camera.scale / drawn.scale;
    if (ratio > 2.5 || ratio < 0.75 || camera.width !== drawn.width || camera.height !== drawn.height) return false;
    const slackX = ((1 + 2 * MARGIN) * ratio - 1) * (camera.width / 2);
    const slackY = ((1 + 2 * MARGIN) * ratio - 1) * (camera.height / 2);
    return Math.abs(camera.x - drawn.x) * camera.scale <= slackX && Math.abs(camera.y - drawn.y) * camera.scale <= slackY;
  }

  place(camera) {
    const { drawn } = this;
    const ratio = camera.scale / drawn.scale;
    const right = (drawn.x - camera.x) * camera.scale;
    const down = (camera.y - drawn.y) * camera.scale;
    this.canvas.style.transform = `translate(${right}px, ${down}px) scale(${ratio})`;
  }

  draw(camera) {
    const { gl, canvas } = this;
    if (gl.isContextLost()) return;
    const began = performance.now();
    const wide = camera.width * (1 + 2 * MARGIN);
    const high = camera.height * (1 + 2 * MARGIN);
    const density = Math.min(devicePixelRatio, 2);
    const [width, height] = [Math.round(wide * density), Math.round(high * density)];
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
      for (const [rule, value] of Object.entries({ width: wide, height: high, left: -camera.width * MARGIN, top: -camera.height * MARGIN })) canvas.style[rule] = `${value}px`;
    }
    const size = density * pointSize(this.count, camera.zoom);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.useProgram(this.program.program);
    twgl.setBuffersAndAttributes(gl, this.program, this.buffers);
    twgl.setUniforms(this.program, {
      middle: [camera.x - this.origin[0], camera.y - this.origin[1]],
      scale: [(2 * camera.scale) / wide, (2 * camera.scale) / high],
      size,
      alpha: 0.85,
    });
    twgl.drawBufferInfo(gl, this.buffers, gl.POINTS);
    // Reading a pixel waits for the end of drawing, so that the measured time is correct.
    if (!this.measured) {
      gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
      this.cost = performance.now() - began;
      this.measured = this.cost > QUICK_MS || ++this.quick > 3;
    }
    this.drawn = camera.copy();
    this.place(camera);
  }

  quick = 0;
  measured = false;
}

/** Return the diameter of a point in pixels: smaller with many points, larger when zoomed. */
export function pointSize(count, zoom) {
  const far = Math.min(9, Math.max(2.5, 260 / Math.sqrt(count)));
  return Math.min(14, far * Math.min(3, Math.sqrt(Math.max(1, zoom))));
}

function mean(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return values.length ? sum / values.length : 0;
}
