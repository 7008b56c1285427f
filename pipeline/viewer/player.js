// Plays an avatar in the browser: skinned, opaque, isotropic Gaussians in WebGL2, without any library.
//
// The Gaussians are drawn without sorting, in three passes. (1) Small discs give the depth of the front surface.
// (2) Every Gaussian adds its colour, weighted by its opacity and by how near it is to that surface, and its optical
// depth. (3) Colour is the weighted mean, and alpha = 1 - exp(-optical depth), which is exact in any order.
// The files are described in pack.py.

const NEAR = 0.1, BEHIND = 0.0008, LOW_PASS = 0.3;
const DARKEST = 0.5, BRIGHTEST = 1.3, FACING = 2 / 3, LIGHTEST = 0.95;  // as in render/lighting.py
const MAX_YAW = 60, MAX_PITCH = 30, MAX_ZOOM = 6;
const KEYS = { ArrowLeft: [-5, 0], ArrowRight: [5, 0], ArrowUp: [0, 5], ArrowDown: [0, -5] };

const VERTEX = `#version 300 es
precision highp float;
precision highp int;
layout(location = 0) in vec3 position;
layout(location = 1) in float size;
layout(location = 2) in vec3 color;
layout(location = 3) in float guessed;
layout(location = 4) in uvec4 joint;
layout(location = 5) in vec4 weight;
layout(location = 6) in uvec3 corner;
layout(location = 7) in vec2 bary;
layout(location = 8) in vec3 normal;  // of what is lit, as long as its share of the light
uniform highp sampler2D bones;    // 3 x joints: rows of the joints' transforms
uniform highp sampler2D offsets;  // where the expression moves the vertices of the face
uniform mat4 view;
uniform vec4 lens;                // fx, fy, cx, cy in pixels of the target
uniform vec2 target;              // its width and height
uniform vec3 low, high, light;
uniform vec2 logScale;
uniform float far, reach, tint;
uniform int faceSplats;
out vec3 shade;
flat out vec2 disc;               // standard deviation and half the point's size, pixels
flat out float depth;
vec3 moved(uint i) { int w = textureSize(offsets, 0).x; return texelFetch(offsets, ivec2(int(i) % w, int(i) / w), 0).xyz; }
void main() {
  vec3 p = mix(low, high, position);
  if (gl_VertexID < faceSplats)
    p += moved(corner.x) * bary.x + moved(corner.y) * bary.y + moved(corner.z) * (1.0 - bary.x - bary.y);
  vec4 h = vec4(p, 1.0), x = vec4(0.0), y = vec4(0.0), z = vec4(0.0);
  for (int k = 0; k < 4; k++) {
    int j = int(joint[k]);
    x += weight[k] * texelFetch(bones, ivec2(0, j), 0);
    y += weight[k] * texelFetch(bones, ivec2(1, j), 0);
    z += weight[k] * texelFetch(bones, ivec2(2, j), 0);
  }
  vec3 c = (view * vec4(dot(x, h), dot(y, h), dot(z, h), 1.0)).xyz;
  float spread = exp(mix(logScale.x, logScale.y, size)) * lens.x / max(c.z, 0.01);
  float sigma = sqrt(spread * spread + ${LOW_PASS});
  float half_size = max(reach * sigma, 0.75);
  vec2 pixel = lens.xy * c.xy / max(c.z, 0.01) + lens.zw;
  depth = c.z;
  gl_Position = vec4(pixel / target * 2.0 - 1.0, (c.z - ${NEAR}) / (far - ${NEAR}) * 2.0 - 1.0, 1.0);
  gl_Position.y = -gl_Position.y;
  gl_PointSize = 2.0 * half_size;
  disc = vec2(sigma, half_size);
  vec3 n = vec3(dot(x.xyz, normal), dot(y.xyz, normal), dot(z.xyz, normal));
  float bright = clamp((1.0 + dot(n, light) / max(length(n), 1e-6)) / (1.0 + ${FACING} * light.z), ${DARKEST}, ${BRIGHTEST});
  float factor = mix(1.0, bright, min(length(normal), 1.0));
  float mean = min(dot(color, vec3(1.0 / 3.0)), ${LIGHTEST});
  float whiter = clamp((factor - 1.0) * mean / (1.0 - mean), 0.0, 1.0);
  vec3 lit = mix(color * min(factor, 1.0), vec3(1.0), whiter);
  shade = mix(lit, vec3(1.0, 0.42, 0.05), 0.65 * tint * guessed);
}`;

const SURFACE = `#version 300 es
precision highp float;
in vec3 shade;
flat in vec2 disc;
flat in float depth;
void main() {
  vec2 d = (gl_PointCoord - 0.5) * 2.0;
  if (dot(d, d) > 1.0) discard;
}`;

const BLEND = `#version 300 es
precision highp float;
uniform highp sampler2D front;
uniform float far;
in vec3 shade;
flat in vec2 disc;
flat in float depth;
layout(location = 0) out vec4 sum;
layout(location = 1) out vec4 thickness;
void main() {
  vec2 d = (gl_PointCoord - 0.5) * 2.0 * disc.y / disc.x;
  float a = exp(-0.5 * dot(d, d));
  if (a < 0.004) discard;
  float surface = texelFetch(front, ivec2(gl_FragCoord.xy), 0).r * (far - ${NEAR}) + ${NEAR};
  float w = a * exp(-max(depth - surface, 0.0) / ${BEHIND});
  sum = vec4(shade * w, w);
  thickness = vec4(-log(1.0 - min(a, 0.999)));
}`;

const SCREEN = `#version 300 es
void main() { gl_Position = vec4(float(gl_VertexID & 1) * 4.0 - 1.0, float(gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;

const RESOLVE = `#version 300 es
precision highp float;
uniform highp sampler2D sum, thickness;
out vec4 pixel;
void main() {
  vec4 s = texelFetch(sum, ivec2(gl_FragCoord.xy), 0);
  float alpha = 1.0 - exp(-texelFetch(thickness, ivec2(gl_FragCoord.xy), 0).r);
  pixel = vec4(s.rgb / max(s.a, 1e-5), 1.0) * alpha;
}`;

// ---------------------------------------------------------------- files

const KINDS = { "<u2": Uint16Array, "<u1": Uint8Array, "<i1": Int8Array, "<i2": Int16Array, "<f4": Float32Array };

export async function load(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`The avatar could not be fetched (${answer.status}).`);
  let data = await answer.arrayBuffer();
  if (new Uint8Array(data)[0] === 0x1f)
    data = await new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  const words = new DataView(data);
  if (words.getUint32(0) !== 0x4f535631) throw new Error("This is not a file of the viewer.");
  const length = words.getUint32(4, true), header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 8, length)));
  const arrays = {};
  for (const [name, [kind, shape, offset]] of Object.entries(header.sections))
    arrays[name] = new KINDS[kind](data, 8 + length + offset, shape.reduce((a, b) => a * b, 1));
  return { ...header, ...arrays, frames: header.sections.turn[1][0], joints: header.sections.turn[1][1] };
}

// ---------------------------------------------------------------- motion

// Rows of the joints' 3x4 transforms at a time in frames, into out (joints * 12).
function pose(motion, time, out) {
  const { turn, shift, joints, frames } = motion;
  const first = Math.min(Math.floor(time), frames - 1), next = Math.min(first + 1, frames - 1), mix = time - first;
  const q = [0, 0, 0, 0];
  for (let j = 0; j < joints; j++) {
    const a = (first * joints + j) * 4, b = (next * joints + j) * 4, o = j * 12;
    let dot = 0;
    for (let k = 0; k < 4; k++) dot += turn[a + k] * turn[b + k];
    const far = dot < 0 ? -mix : mix;
    for (let k = 0; k < 4; k++) q[k] = turn[a + k] * (1 - mix) + turn[b + k] * far;
    const n = 1 / Math.hypot(...q), x = q[0] * n, y = q[1] * n, z = q[2] * n, w = q[3] * n;
    const s = (first * joints + j) * 3, t = (next * joints + j) * 3;
    out.set([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), shift[s] * (1 - mix) + shift[t] * mix], o);
    out.set([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w), shift[s + 1] * (1 - mix) + shift[t + 1] * mix], o + 4);
    out.set([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y), shift[s + 2] * (1 - mix) + shift[t + 2] * mix], o + 8);
  }
}

// Where the expression at a time moves the face's vertices, into out (four numbers a vertex).
function express(scene, motion, time, out) {
  out.fill(0);
  const count = scene.faceVertices, actions = scene.faceStep.length;
  const first = Math.min(Math.floor(time), motion.frames - 1), next = Math.min(first + 1, motion.frames - 1), mix = time - first;
  for (let e = 0; e < actions; e++) {
    const c = motion.expression[first * actions + e] * (1 - mix) + motion.expression[next * actions + e] * mix;
    if (Math.abs(c) < 1e-4) continue;
    const step = c * scene.faceStep[e], from = e * count * 3;
    for (let v = 0; v < count; v++) {
      out[4 * v] += step * scene.faceBasis[from + 3 * v];
      out[4 * v + 1] += step * scene.faceBasis[from + 3 * v + 1];
      out[4 * v + 2] += step * scene.faceBasis[from + 3 * v + 2];
    }
  }
}

// The photo's camera moved around the person, as Camera.orbited in types.py; column-major for WebGL.
function orbited(camera, center, yaw, pitch) {
  const a = yaw * Math.PI / 180, b = pitch * Math.PI / 180, [ca, sa, cb, sb] = [Math.cos(a), Math.sin(a), Math.cos(b), Math.sin(b)];
  const turn = [[ca, 0, -sa], [-sb * sa, cb, -sb * ca], [cb * sa, sb, cb * ca]];  // Rx^T Ry^T
  const shift = turn.map((row, i) => center[i] - row.reduce((sum, r, k) => sum + r * center[k], 0));
  const m = camera.viewmat, out = new Float32Array(16);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) for (let k = 0; k < 3; k++) out[4 * j + i] += m[4 * i + k] * turn[k][j];
    for (let k = 0; k < 3; k++) out[12 + i] += m[4 * i + k] * shift[k];
    out[12 + i] += m[4 * i + 3];
  }
  out[15] = 1;
  return out;
}

// ---------------------------------------------------------------- drawing

class Renderer {
  constructor(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true, alpha: true });
    if (!gl || !gl.getExtension("EXT_color_buffer_float") && !gl.getExtension("EXT_color_buffer_half_float"))
      throw new Error("This browser has no WebGL2.");
    this.gl = gl;
    this.canvas = canvas;
    this.surface = this.program(VERTEX, SURFACE);
    this.blend = this.program(VERTEX, BLEND);
    this.resolve = this.program(SCREEN, RESOLVE);
    this.screen = gl.createVertexArray();
    this.bones = this.texture();
    this.offsets = this.texture();
    this.targets = null;
  }

  program(vertex, fragment) {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(`The viewer cannot draw here: ${gl.getProgramInfoLog(program)}`);
    const places = {}, count = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS);
    for (let i = 0; i < count; i++) {
      const { name } = gl.getActiveUniform(program, i);
      places[name] = gl.getUniformLocation(program, name);
    }
    return { program, places };
  }

  texture() {
    const gl = this.gl, texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    return texture;
  }

  // Upload what does not move.
  open(scene) {
    const gl = this.gl, n = scene.splats;
    this.close();
    this.scene = scene;
    const corner = new Uint16Array(3 * n), bary = new Uint8Array(2 * n);
    corner.set(scene.faceCorner);
    bary.set(scene.faceBary);
    this.vao = gl.createVertexArray();
    gl.bindVertexArray(this.vao);
    this.buffers = [
      [scene.position, 3, gl.UNSIGNED_SHORT, true], [scene.scale, 1, gl.UNSIGNED_BYTE, true],
      [scene.color, 3, gl.UNSIGNED_BYTE, true], [scene.guessed, 1, gl.UNSIGNED_BYTE, true],
      [scene.joint, 4, gl.UNSIGNED_BYTE, false], [scene.weight, 4, gl.UNSIGNED_BYTE, true],
      [corner, 3, gl.UNSIGNED_SHORT, false], [bary, 2, gl.UNSIGNED_BYTE, true], [scene.normal, 3, gl.BYTE, true],
    ].map(([values, size, kind, normal], i) => {
      const buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(i);
      if (normal) gl.vertexAttribPointer(i, size, kind, true, 0, 0);
      else gl.vertexAttribIPointer(i, size, kind, 0, 0);
      return buffer;
    });
    gl.bindVertexArray(null);
    this.rows = new Float32Array(scene.joints * 12);
    this.high = Math.max(1, Math.ceil(scene.faceVertices / 256));
    this.moved = new Float32Array(256 * this.high * 4);
    this.far = 2 * Math.hypot(...scene.center.map((c, i) => c - scene.low[i])) + 4 + Math.hypot(...scene.center);
  }

  close() {
    for (const buffer of this.buffers ?? []) this.gl.deleteBuffer(buffer);
    if (this.vao) this.gl.deleteVertexArray(this.vao);
    this.buffers = this.vao = this.scene = null;
  }

  resize(width, height) {
    if (this.targets && this.canvas.width === width && this.canvas.height === height) return;
    const gl = this.gl;
    this.canvas.width = width;
    this.canvas.height = height;
    for (const old of this.targets ? [this.targets.depth, this.targets.sum, this.targets.thick] : []) gl.deleteTexture(old);
    for (const old of this.targets ? [this.targets.surface, this.targets.blend] : []) gl.deleteFramebuffer(old);
    const make = (format) => {
      const texture = this.texture();
      gl.texStorage2D(gl.TEXTURE_2D, 1, format, width, height);
      return texture;
    };
    const t = { depth: make(gl.DEPTH_COMPONENT24), sum: make(gl.RGBA16F), thick: make(gl.RGBA16F),
                surface: gl.createFramebuffer(), blend: gl.createFramebuffer() };
    gl.bindFramebuffer(gl.FRAMEBUFFER, t.surface);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, gl.TEXTURE_2D, t.depth, 0);
    gl.drawBuffers([gl.NONE]);
    gl.bindFramebuffer(gl.FRAMEBUFFER, t.blend);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, t.sum, 0);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT1, gl.TEXTURE_2D, t.thick, 0);
    gl.drawBuffers([gl.COLOR_ATTACHMENT0, gl.COLOR_ATTACHMENT1]);
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) throw new Error("The viewer cannot draw here.");
    this.targets = t;
  }

  fill(texture, unit, width, height, values) {
    const gl = this.gl;
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, width, height, 0, gl.RGBA, gl.FLOAT, values);
  }

  splats({ program, places }, reach, look) {
    const gl = this.gl, s = this.scene, { camera } = s, { width, height } = this.canvas;
    const scale = width / camera.width * look.zoom, K = camera.K;
    gl.useProgram(program);
    gl.uniform1i(places.bones, 0);
    gl.uniform1i(places.offsets, 1);
    gl.uniform1i(places.front, 2);
    gl.uniformMatrix4fv(places.view, false, orbited(camera, s.center, look.yaw, look.pitch));
    gl.uniform4f(places.lens, K[0] * scale, K[4] * scale, K[2] * scale + look.x * width, K[5] * scale + look.y * height);
    gl.uniform2f(places.target, width, height);
    gl.uniform3fv(places.low, s.low);
    gl.uniform3fv(places.high, s.high);
    gl.uniform3fv(places.light, s.light);
    gl.uniform2fv(places.logScale, s.logScale);
    gl.uniform1f(places.far, this.far);
    gl.uniform1f(places.reach, reach);
    gl.uniform1f(places.tint, look.tint);
    gl.uniform1i(places.faceSplats, s.faceSplats);
    gl.drawArrays(gl.POINTS, 0, s.splats);
  }

  draw(motion, time, look) {
    const gl = this.gl, { width, height } = this.canvas, t = this.targets;
    pose(motion, time, this.rows);
    express(this.scene, motion, time, this.moved);
    this.fill(this.bones, 0, 3, motion.joints, this.rows);
    this.fill(this.offsets, 1, 256, this.high, this.moved);
    gl.viewport(0, 0, width, height);
    gl.bindVertexArray(this.vao);
    gl.activeTexture(gl.TEXTURE2);
    gl.bindTexture(gl.TEXTURE_2D, null);
    gl.bindFramebuffer(gl.FRAMEBUFFER, t.surface);
    gl.disable(gl.BLEND);
    gl.enable(gl.DEPTH_TEST);
    gl.clear(gl.DEPTH_BUFFER_BIT);
    this.splats(this.surface, 1.6, look);
    gl.bindTexture(gl.TEXTURE_2D, t.depth);
    gl.bindFramebuffer(gl.FRAMEBUFFER, t.blend);
    gl.disable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    this.splats(this.blend, 3.3, look);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.disable(gl.BLEND);
    gl.useProgram(this.resolve.program);
    gl.bindVertexArray(this.screen);
    [t.sum, t.thick].forEach((texture, i) => {
      gl.activeTexture(gl.TEXTURE0 + i);
      gl.bindTexture(gl.TEXTURE_2D, texture);
    });
    gl.uniform1i(this.resolve.places.sum, 0);
    gl.uniform1i(this.resolve.places.thickness, 1);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}

// ---------------------------------------------------------------- the part that people touch

const TEMPLATE = `
<style>
.osv { position: relative; margin: 0 auto; max-width: 432px; font: 14px/1.4 system-ui, sans-serif; color: inherit; }
.osv-stage { position: relative; aspect-ratio: 9 / 16; background: #e8e8ec center / 100% 100% no-repeat; border-radius: 8px; overflow: hidden; }
.osv-stage canvas, .osv-stage img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; touch-action: none; }
.osv-stage canvas { cursor: grab; }
.osv canvas:focus-visible, .osv button:focus-visible, .osv input:focus-visible { outline: 3px solid #4f46e5; outline-offset: 2px; }
.osv-bar { display: flex; gap: 8px; align-items: center; flex-wrap: wrap; margin-top: 6px; }
.osv-bar button { font: inherit; min-width: 56px; min-height: 36px; padding: 4px 10px; border-radius: 6px; border: 1px solid currentColor; background: transparent; color: inherit; cursor: pointer; }
.osv-bar input[type=range] { flex: 1; min-width: 160px; }
.osv-bar label { display: flex; gap: 4px; align-items: center; min-height: 36px; }
.osv p { margin: 4px 0 0; min-height: 1.4em; }
.osv [hidden] { display: none !important; }
</style>
<div class="osv">
  <div class="osv-stage">
    <img alt="The avatar, a still picture" hidden>
    <canvas tabindex="0" role="img" aria-label="The avatar in three dimensions. Arrow keys turn it, plus and minus zoom, space plays and pauses, 0 goes back to the photo's view." hidden></canvas>
  </div>
  <div class="osv-bar" hidden>
    <button type="button" class="osv-play">Pause</button>
    <input type="range" class="osv-time" min="0" max="1" step="0.001" value="0" aria-label="Time in the motion">
    <label><input type="checkbox" class="osv-tint"> show what was guessed</label>
    <button type="button" class="osv-reset">Reset</button>
  </div>
  <p role="status"></p>
</div>`;

export class Player {
  constructor(root) {
    root.innerHTML = TEMPLATE;
    const find = (name) => root.querySelector(name);
    Object.assign(this, { root, canvas: find("canvas"), still: find("img"), stage: find(".osv-stage"), bar: find(".osv-bar"),
                          button: find(".osv-play"), range: find(".osv-time"), tint: find(".osv-tint"), status: find("p") });
    this.playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.time = 0;
    this.sharpness = 1;
    this.reset();
    this.listen(find(".osv-reset"));
  }

  reset() {
    this.look = { yaw: 0, pitch: 0, zoom: 1, x: 0, y: 0, tint: this.tint.checked ? 1 : 0 };
    this.ask();
  }

  say(text) { this.status.textContent = text; }

  // Show {scene, motion, still}: URLs; motion and still may be missing.
  async show(files) {
    const turn = this.turn = (this.turn ?? 0) + 1;
    this.still.hidden = !files?.still;
    if (files?.still) this.still.src = files.still;
    if (!files?.scene) return this.hide("");
    try {
      this.say(this.scene ? "" : "Loading the avatar ...");
      const [scene, motion] = await Promise.all([
        files.scene === this.sceneUrl ? this.scene : load(files.scene), files.motion ? load(files.motion) : null]);
      if (turn !== this.turn) return;
      this.renderer ??= new Renderer(this.canvas);
      if (scene !== this.scene) {
        this.renderer.open(scene);
        this.backdrop(scene);
      }
      Object.assign(this, { scene, sceneUrl: files.scene, motion: motion ?? scene, time: 0 });
      this.canvas.hidden = this.bar.hidden = false;
      this.still.hidden = true;
      this.range.hidden = this.button.hidden = this.motion.frames < 2;
      this.say("Drag to turn, scroll or pinch to zoom.");
      this.label();
      this.ask();
    } catch (error) {
      if (turn === this.turn) this.hide(`${error.message} ${files.still ? "Here is a still picture." : ""}`);
    }
  }

  hide(words) {
    this.canvas.hidden = this.bar.hidden = true;
    this.scene = this.sceneUrl = null;
    this.renderer?.close();
    this.stage.style.backgroundImage = "";
    this.say(words);
  }

  backdrop(scene) {
    if (this.picture) URL.revokeObjectURL(this.picture);
    this.picture = scene.background && URL.createObjectURL(new Blob([scene.background], { type: "image/jpeg" }));
    this.stage.style.backgroundImage = this.picture ? `url(${this.picture})` : "";
    this.stage.style.aspectRatio = `${scene.camera.width} / ${scene.camera.height}`;
  }

  label() { this.button.textContent = this.playing ? "Pause" : "Play"; }

  toggle(playing = !this.playing) {
    this.playing = playing;
    this.label();
    this.ask();
  }

  turnBy(yaw, pitch) {
    const bound = (x, most) => Math.max(-most, Math.min(most, x));
    this.look.yaw = bound(this.look.yaw + yaw, MAX_YAW);
    this.look.pitch = bound(this.look.pitch + pitch, MAX_PITCH);
    this.ask();
  }

  // Zoom by a factor about a point of the stage, both 0..1.
  zoomBy(factor, px = 0.5, py = 0.3) {
    const look = this.look, zoom = Math.max(1, Math.min(MAX_ZOOM, look.zoom * factor)), f = zoom / look.zoom;
    const bound = (x) => Math.max(1 - zoom, Math.min(0, x));
    Object.assign(look, { zoom, x: bound(px - (px - look.x) * f), y: bound(py - (py - look.y) * f) });
    this.stage.style.backgroundSize = `${100 * zoom}% ${100 * zoom}%`;
    const at = (v) => zoom === 1 ? 50 : 100 * v / (1 - zoom);
    this.stage.style.backgroundPosition = `${at(look.x)}% ${at(look.y)}%`;
    this.ask();
  }

  listen(reset) {
    this.button.onclick = () => this.toggle();
    reset.onclick = () => { this.reset(); this.zoomBy(1); };
    this.tint.onchange = () => { this.look.tint = this.tint.checked ? 1 : 0; this.ask(); };
    this.range.oninput = () => { this.toggle(false); this.time = this.range.value * (this.motion.frames - 1); this.ask(); };
    const fingers = new Map();
    const canvas = this.canvas;
    canvas.onpointerdown = (e) => { fingers.set(e.pointerId, [e.clientX, e.clientY]); canvas.setPointerCapture(e.pointerId); };
    canvas.onpointerup = canvas.onpointercancel = (e) => fingers.delete(e.pointerId);
    canvas.onpointermove = (e) => {
      const old = fingers.get(e.pointerId);
      if (!old) return;
      const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
      const before = fingers.size === 2 ? spread() : 0;
      fingers.set(e.pointerId, [e.clientX, e.clientY]);
      if (fingers.size === 2) this.zoomBy(spread() / Math.max(before, 1));
      else this.turnBy((old[0] - e.clientX) * 0.3, (e.clientY - old[1]) * 0.2);
    };
    canvas.addEventListener("wheel", (e) => {
      e.preventDefault();
      const box = canvas.getBoundingClientRect();
      this.zoomBy(Math.exp(-e.deltaY * 0.0015), (e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height);
    }, { passive: false });
    canvas.onkeydown = (e) => {
      if (KEYS[e.key]) this.turnBy(...KEYS[e.key]);
      else if (e.key === "+" || e.key === "=") this.zoomBy(1.2);
      else if (e.key === "-") this.zoomBy(1 / 1.2);
      else if (e.key === " ") this.toggle();
      else if (e.key === "0") { this.reset(); this.zoomBy(1); }
      else return;
      e.preventDefault();
    };
    canvas.addEventListener("webglcontextlost", () => { this.renderer = null; this.hide("The browser stopped drawing; reload the page."); this.still.hidden = !this.still.src; });
    new ResizeObserver(() => this.ask()).observe(this.stage);
    new IntersectionObserver((seen) => { this.seen = seen[0].isIntersecting; this.ask(); }).observe(this.stage);
  }

  // Draw soon; and go on while a motion plays and can be seen.
  ask() {
    if (this.waiting || !this.scene) return;
    this.waiting = true;
    requestAnimationFrame((now) => {
      this.waiting = false;
      if (!this.root.isConnected || !this.scene) return;
      this.advance(now);
      this.draw();
      if (this.playing && this.seen !== false && this.motion.frames > 1) this.ask();
      else this.last = null;
    });
  }

  advance(now) {
    if (this.playing && this.last && this.motion.frames > 1) {
      const passed = (now - this.last) / 1000;
      this.time = (this.time + Math.min(passed, 0.25) * this.motion.fps) % (this.motion.frames - 1);
      this.range.value = this.time / (this.motion.frames - 1);
      this.pace = (this.pace ?? passed) * 0.9 + passed * 0.1;
      if (this.pace > 0.045 && this.sharpness > 0.4) {  // a slow device: fewer pixels
        this.sharpness *= 0.8;
        this.pace = 0.03;
      } else if (this.pace > 0.3) {  // too slow to be of use, and in the way of the rest of the page
        this.toggle(false);
        this.pace = undefined;
        this.say("This device draws slowly, so the motion is paused; turn the avatar, or press Play.");
      }
    }
    this.last = now;
  }

  draw() {
    const box = this.stage.getBoundingClientRect(), dots = Math.min(devicePixelRatio || 1, 2) * this.sharpness;
    const width = Math.max(64, Math.min(1080, Math.round(box.width * dots)));
    this.renderer.resize(width, Math.round(width * this.scene.camera.height / this.scene.camera.width));
    this.renderer.draw(this.motion, this.time, this.look);
  }
}
