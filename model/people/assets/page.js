// The page's viewer: the picture with its skeletons on the left, the people in space on the right. No library, no network.
// Metres and camera axes (x right, y down, z forward) until the last step, where y and z change sign for WebGL.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const BODY = DATA.body ? unpackBody(DATA.body) : null;
const byId = (id) => document.getElementById(id);
const state = { number: 0, bodies: true, skeletons: true, floor: true, turning: true, playing: false };
const view = { yaw: 0, pitch: 0.15, distance: 4, target: [0, 0, 3] };

// ---- data ----------------------------------------------------------------------------------------------------------

function unpack(text, Type) {
  const raw = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Type(raw.buffer);
}

function unpackBody(packed) {
  const scaled = (part) => Float32Array.from(unpack(part.data, Int16Array), (value) => value * part.scale);
  return {
    template: scaled(packed.template), directions: scaled(packed.directions), faces: unpack(packed.faces, Uint16Array),
    joints: unpack(packed.bones, Uint8Array), weights: unpack(packed.weights, Uint8Array), each: packed.each, parents: packed.parents,
    rest: packed.rest, restDirections: packed.rest_directions,
  };
}

// ---- the body: shape, then bones, then skin ------------------------------------------------------------------------

function turnOf(x, y, z) {
  const angle = Math.hypot(x, y, z);
  if (angle < 1e-9) return [1, 0, 0, 0, 1, 0, 0, 0, 1];
  const [a, b, c] = [x / angle, y / angle, z / angle], s = Math.sin(angle), k = Math.cos(angle), m = 1 - k;
  return [k + a * a * m, a * b * m - c * s, a * c * m + b * s, a * b * m + c * s, k + b * b * m, b * c * m - a * s,
    a * c * m - b * s, b * c * m + a * s, k + c * c * m];
}

function times(a, b) {
  const out = new Array(9);
  for (let r = 0; r < 3; r++) for (let c = 0; c < 3; c++) out[3 * r + c] = a[3 * r] * b[c] + a[3 * r + 1] * b[3 + c] + a[3 * r + 2] * b[6 + c];
  return out;
}

const apply = (m, x, y, z) => [m[0] * x + m[1] * y + m[2] * z, m[3] * x + m[4] * y + m[5] * z, m[6] * x + m[7] * y + m[8] * z];

function shaped(mean, directions, betas) {
  const out = Float32Array.from(mean), n = betas.length;
  for (let i = 0; i < out.length; i++) {
    let sum = 0;
    for (let k = 0; k < n; k++) sum += directions[n * i + k] * betas[k];
    out[i] += sum;
  }
  return out;
}

// Vertices (3 V) of a person's body, metres, camera axes.
function posed(person) {
  const rest = shaped(BODY.rest, BODY.restDirections, person.betas), still = shaped(BODY.template, BODY.directions, person.betas);
  const count = BODY.parents.length, turns = [], shifts = new Float32Array(12 * count), places = [];
  for (let j = 0; j < count; j++) {
    const own = person.pose[j] ? turnOf(...person.pose[j]) : turnOf(0, 0, 0), parent = BODY.parents[j];
    turns[j] = parent < 0 ? own : times(turns[parent], own);
    const bone = [0, 1, 2].map((k) => rest[3 * j + k] - (parent < 0 ? 0 : rest[3 * parent + k]));
    const far = parent < 0 ? bone : apply(turns[parent], ...bone);
    places[j] = far.map((value, k) => value + (parent < 0 ? person.transl[k] : places[parent][k]));
    const moved = apply(turns[j], rest[3 * j], rest[3 * j + 1], rest[3 * j + 2]);
    for (let r = 0; r < 3; r++) {
      for (let c = 0; c < 3; c++) shifts[12 * j + 4 * r + c] = turns[j][3 * r + c];
      shifts[12 * j + 4 * r + 3] = places[j][r] - moved[r];
    }
  }
  const out = new Float32Array(still.length), blend = new Float32Array(12);
  for (let v = 0; v < still.length / 3; v++) {
    blend.fill(0);
    let whole = 0;
    for (let k = 0; k < BODY.each; k++) whole += BODY.weights[BODY.each * v + k];
    for (let k = 0; k < BODY.each; k++) {
      const weight = BODY.weights[BODY.each * v + k] / whole, at = 12 * BODY.joints[BODY.each * v + k];
      if (weight) for (let e = 0; e < 12; e++) blend[e] += weight * shifts[at + e];
    }
    const [x, y, z] = [still[3 * v], still[3 * v + 1], still[3 * v + 2]];
    for (let r = 0; r < 3; r++) out[3 * v + r] = blend[4 * r] * x + blend[4 * r + 1] * y + blend[4 * r + 2] * z + blend[4 * r + 3];
  }
  return out;
}

function normalsOf(vertices, faces) {
  const out = new Float32Array(vertices.length);
  for (let f = 0; f < faces.length; f += 3) {
    const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
    const u = [0, 1, 2].map((k) => vertices[b + k] - vertices[a + k]), w = [0, 1, 2].map((k) => vertices[c + k] - vertices[a + k]);
    const n = [u[1] * w[2] - u[2] * w[1], u[2] * w[0] - u[0] * w[2], u[0] * w[1] - u[1] * w[0]];
    for (const at of [a, b, c]) for (let k = 0; k < 3; k++) out[at + k] += n[k];
  }
  return out;
}

// A bone as a prism of six sides: [vertices, normals].
function prism(a, b, radius) {
  const along = [0, 1, 2].map((k) => b[k] - a[k]), length = Math.hypot(...along) || 1e-9, d = along.map((value) => value / length);
  const other = Math.abs(d[1]) < 0.9 ? [0, 1, 0] : [1, 0, 0];
  const cross = (p, q) => [p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]];
  const u = cross(d, other), size = Math.hypot(...u), first = u.map((value) => value / size), second = cross(d, first);
  const ring = [0, 1, 2, 3, 4, 5, 6].map((k) => {
    const [c, s] = [Math.cos((k * Math.PI) / 3), Math.sin((k * Math.PI) / 3)];
    return first.map((value, axis) => c * value + s * second[axis]);
  });
  const vertices = [], normals = [];
  const put = (end, out) => { normals.push(...out); vertices.push(...end.map((value, axis) => value + radius * out[axis])); };
  for (let k = 0; k < 6; k++) for (const [end, side] of [[a, k], [b, k], [b, k + 1], [a, k], [b, k + 1], [a, k + 1]]) put(end, ring[side]);
  return [vertices, normals];
}

// ---- WebGL ---------------------------------------------------------------------------------------------------------

const space = byId("space"), gl = space.getContext("webgl", { antialias: true, alpha: false, preserveDrawingBuffer: true });
const meshes = [];
let program, places;

const VERTEX = `attribute vec3 at, normal; uniform mat4 seen; varying vec3 facing, where;
void main() { facing = vec3(normal.x, -normal.y, -normal.z); where = vec3(at.x, -at.y, -at.z); gl_Position = seen * vec4(where, 1.0); }`;
const FRAGMENT = `precision mediump float; varying vec3 facing, where; uniform vec3 colour, eye; uniform float plain, opacity;
void main() {
  vec3 towards = normalize(eye - where), n = normalize(facing + vec3(1e-6)), light = normalize(vec3(-0.35, 0.75, 0.55));
  if (dot(n, towards) < 0.0) n = -n;
  float bright = 0.40 + 0.52 * max(dot(n, light), 0.0) + 0.16 * pow(1.0 - max(dot(n, towards), 0.0), 2.0);
  gl_FragColor = vec4(colour * mix(bright, 1.0, plain), opacity);
}`;

function startGl() {
  program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  places = {};
  for (const name of ["at", "normal"]) places[name] = gl.getAttribLocation(program, name);
  for (const name of ["seen", "colour", "eye", "plain", "opacity"]) places[name] = gl.getUniformLocation(program, name);
  for (const name of ["at", "normal"]) gl.enableVertexAttribArray(places[name]);
  gl.enable(gl.DEPTH_TEST);
  gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
}

function buffer(kind, values) {
  const made = gl.createBuffer();
  gl.bindBuffer(kind, made);
  gl.bufferData(kind, values, gl.STATIC_DRAW);
  return made;
}

function addMesh(part, colour, vertices, normals, faces, mode) {
  meshes.push({
    part, colour: colour.map((value) => value / 255), at: buffer(gl.ARRAY_BUFFER, Float32Array.from(vertices)),
    normal: buffer(gl.ARRAY_BUFFER, Float32Array.from(normals)), faces: faces && buffer(gl.ELEMENT_ARRAY_BUFFER, faces),
    count: faces ? faces.length : vertices.length / 3, mode: mode === undefined ? gl.TRIANGLES : mode,
  });
}

function addStage(picture, low, middle) {
  const lines = [], reach = 3, step = 0.5, first = (value) => Math.round(value / step) * step;
  for (let k = -reach; k <= reach + 1e-9; k += step) {
    lines.push(first(middle[0]) + k, low, first(middle[2]) - reach, first(middle[0]) + k, low, first(middle[2]) + reach);
    lines.push(first(middle[0]) - reach, low, first(middle[2]) + k, first(middle[0]) + reach, low, first(middle[2]) + k);
  }
  const deep = 0.4, corner = (x, y) => [(deep * (x - picture.camera[2])) / picture.camera[0], (deep * (y - picture.camera[3])) / picture.camera[1], deep];
  const corners = [[0, 0], [picture.width, 0], [picture.width, picture.height], [0, picture.height]].map(([x, y]) => corner(x, y));
  const cone = [];
  corners.forEach((one, k) => cone.push(0, 0, 0, ...one, ...one, ...corners[(k + 1) % 4]));
  addMesh("floor", [62, 73, 84], lines, lines.map(() => 0), null, gl.LINES);
  addMesh("floor", [150, 165, 180], cone, cone.map(() => 0), null, gl.LINES);
}

// ---- one picture ---------------------------------------------------------------------------------------------------

function build(picture) {
  for (const mesh of meshes.splice(0)) for (const name of ["at", "normal", "faces"]) if (mesh[name]) gl.deleteBuffer(mesh[name]);
  let low = -Infinity;
  const middle = [0, 0, 0];
  for (const person of picture.people) {
    const joints = person.joints;
    for (let k = 0; k < 3; k++) middle[k] += joints[0][k] / picture.people.length;
    for (const joint of joints) low = Math.max(low, joint[1]);
    if (person.body && BODY) {
      const vertices = posed(person.body);
      for (let k = 1; k < vertices.length; k += 3) low = Math.max(low, vertices[k]);
      addMesh("bodies", person.colour, vertices, normalsOf(vertices, BODY.faces), BODY.faces);
    }
    for (const [from, to, colour] of DATA.bones) addMesh("skeletons", colour, ...prism(joints[from], joints[to], 0.014));
  }
  if (picture.people.length) addStage(picture, low, middle);
  return middle;
}

function show(number) {
  state.number = (number + DATA.pictures.length) % DATA.pictures.length;
  const picture = DATA.pictures[state.number];
  const middle = build(picture);
  if (picture.people.length && !show.placed) {
    view.target = middle;
    view.distance = Math.min(14, Math.max(2.4, 0.9 * Math.hypot(...middle)));
    show.placed = DATA.video; // a video is looked at from one place
  }
  byId("name").textContent = picture.name;
  byId("where").textContent = DATA.pictures.length > 1 ? `${state.number + 1} of ${DATA.pictures.length}` : "";
  byId("slider").value = state.number;
  const list = byId("people");
  list.replaceChildren(...picture.people.map((person) => {
    const line = document.createElement("span"), dot = document.createElement("i");
    dot.style.background = `rgb(${person.colour})`;
    line.append(dot, person.says);
    return line;
  }));
  byId("none").textContent = picture.people.length ? "" : picture.refusal || "Nobody was found in this picture.";
  const image = new Image();
  image.onload = () => { show.image = image; drawPhotograph(); };
  image.src = picture.source;
  draw();
}

function drawPhotograph() {
  const canvas = byId("photograph"), paper = canvas.getContext("2d"), picture = DATA.pictures[state.number];
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  const scale = Math.min(canvas.width / picture.width, canvas.height / picture.height);
  const left = (canvas.width - scale * picture.width) / 2, top = (canvas.height - scale * picture.height) / 2;
  if (show.image) paper.drawImage(show.image, left, top, scale * picture.width, scale * picture.height);
  if (!state.skeletons) return;
  paper.beginPath(); // what lies beyond the picture is not drawn
  paper.rect(left, top, scale * picture.width, scale * picture.height);
  paper.clip();
  const flat = ([x, y]) => [left + (x + 0.5) * scale, top + (y + 0.5) * scale];
  paper.lineCap = "round";
  for (const person of picture.people) {
    const [x, y, w, h] = person.box, size = (Math.max(w, h) * scale) / 160;
    paper.strokeStyle = `rgb(${person.colour})`;
    paper.lineWidth = 1.5 * ratio;
    paper.strokeRect(...flat([x, y]), w * scale, h * scale);
    for (const wide of [true, false]) {
      for (const [from, to, colour] of DATA.bones) {
        paper.strokeStyle = wide ? "#141414" : `rgb(${colour})`;
        paper.lineWidth = Math.max(2 * ratio, size * (wide ? 3.4 : 2));
        paper.beginPath();
        paper.moveTo(...flat(person.flat[from]));
        paper.lineTo(...flat(person.flat[to]));
        paper.stroke();
      }
    }
  }
}

// ---- looking around ------------------------------------------------------------------------------------------------

function seenBy(width, height) {
  const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
  const target = [view.target[0], -view.target[1], -view.target[2]];
  const back = [sy * cp, sp, cy * cp], right = [cy, 0, -sy], up = [-sy * sp, cp, -cy * sp];
  const eye = target.map((value, k) => value + view.distance * back[k]), dot = (a) => -(a[0] * eye[0] + a[1] * eye[1] + a[2] * eye[2]);
  const zoom = 1.9 * Math.min(1, width / height), near = 0.05, far = 100;
  const a = (far + near) / (near - far), b = (2 * far * near) / (near - far), aspect = width / height, [x, y] = [zoom / Math.max(aspect, 1e-6), zoom];
  const rows = [right.map((v) => v * x).concat(dot(right) * x), up.map((v) => v * y).concat(dot(up) * y),
    back.map((v) => v * a).concat(dot(back) * a + b), back.map((v) => -v).concat(-dot(back))];
  return { eye, matrix: Float32Array.from([0, 1, 2, 3].flatMap((column) => rows.map((row) => row[column]))) };
}

function draw() {
  if (!gl) return;
  const ratio = window.devicePixelRatio || 1;
  space.width = Math.max(1, space.clientWidth * ratio);
  space.height = Math.max(1, space.clientHeight * ratio);
  gl.viewport(0, 0, space.width, space.height);
  gl.clearColor(0.078, 0.094, 0.114, 1);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  const { eye, matrix } = seenBy(space.width, space.height);
  gl.uniformMatrix4fv(places.seen, false, matrix);
  gl.uniform3fv(places.eye, eye);
  // skeletons first: bodies over them let them shine through
  for (const part of ["floor", "skeletons", "bodies"]) {
    if (!state[part]) continue;
    const through = part === "bodies" && state.skeletons;
    gl[through ? "enable" : "disable"](gl.BLEND);
    gl.uniform1f(places.opacity, through ? 0.72 : 1);
    for (const mesh of meshes.filter((one) => one.part === part)) {
      gl.uniform3fv(places.colour, mesh.colour);
      gl.uniform1f(places.plain, part === "floor" ? 1 : 0);
      for (const name of ["at", "normal"]) {
        gl.bindBuffer(gl.ARRAY_BUFFER, mesh[name]);
        gl.vertexAttribPointer(places[name], 3, gl.FLOAT, false, 0, 0);
      }
      if (mesh.faces) {
        gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, mesh.faces);
        const drawOnce = () => gl.drawElements(mesh.mode, mesh.count, gl.UNSIGNED_SHORT, 0);
        if (through) { // depth first, so that of a body only its nearest side is seen
          gl.colorMask(false, false, false, false);
          drawOnce();
          gl.colorMask(true, true, true, true);
          gl.depthFunc(gl.LEQUAL);
        }
        drawOnce();
        gl.depthFunc(gl.LESS);
      } else gl.drawArrays(mesh.mode, 0, mesh.count);
    }
  }
}

function lookAround() {
  const held = new Map();
  let pinch = 0;
  const stop = () => { if (state.turning) toggle("turning"); };
  space.addEventListener("pointerdown", (event) => { held.set(event.pointerId, event); space.setPointerCapture(event.pointerId); stop(); });
  for (const end of ["pointerup", "pointercancel"]) space.addEventListener(end, (event) => { held.delete(event.pointerId); pinch = 0; });
  space.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    held.set(event.pointerId, event);
    if (held.size === 2) {
      const [a, b] = [...held.values()], now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (pinch) zoomBy(pinch / now);
      pinch = now;
    } else if (event.shiftKey || event.buttons === 2) {
      const step = view.distance / space.clientHeight, [c, s] = [Math.cos(view.yaw), Math.sin(view.yaw)];
      view.target = [view.target[0] - dx * step * c, view.target[1] - dy * step, view.target[2] - dx * step * s];
    } else turnBy(-dx / 160, dy / 160);
    draw();
  });
  space.addEventListener("contextmenu", (event) => event.preventDefault());
  space.addEventListener("wheel", (event) => { event.preventDefault(); zoomBy(Math.exp(event.deltaY / 700)); draw(); }, { passive: false });
  space.addEventListener("keydown", (event) => {
    const turn = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
    if (!turn) return;
    event.preventDefault();
    stop();
    turnBy(...turn);
    draw();
  });
}

function turnBy(yaw, pitch) {
  view.yaw += yaw;
  view.pitch = Math.max(-1.5, Math.min(1.5, view.pitch + pitch));
}

function zoomBy(factor) {
  view.distance = Math.max(0.5, Math.min(40, view.distance * factor));
}

function toggle(name) {
  state[name] = !state[name];
  byId(name).setAttribute("aria-pressed", state[name]);
  if (name === "skeletons") drawPhotograph();
  draw();
}

// ---- start ---------------------------------------------------------------------------------------------------------

function tick(now) {
  if (state.turning) {
    view.yaw = 0.75 * Math.sin(now / 2600);
    draw();
  }
  if (state.playing && now - (tick.last || 0) > 1000 * DATA.seconds) {
    tick.last = now;
    show(state.number + 1);
  }
  requestAnimationFrame(tick);
}

function start() {
  if (gl) {
    startGl();
    lookAround();
  } else byId("none").textContent = "This browser has no WebGL, so the people are not shown in space.";
  if (window.matchMedia("(prefers-reduced-motion: reduce)").matches || location.hash === "#still") {
    state.turning = false;
    view.yaw = 0.6;
  }
  for (const name of ["bodies", "skeletons", "floor", "turning", "playing"]) {
    byId(name).setAttribute("aria-pressed", state[name]);
    byId(name).addEventListener("click", () => toggle(name));
  }
  byId("bodies").hidden = !BODY;
  const many = DATA.pictures.length > 1;
  for (const name of ["slider", "before", "after"]) byId(name).hidden = !many;
  byId("playing").hidden = !(many && DATA.video);
  byId("slider").max = DATA.pictures.length - 1;
  byId("slider").addEventListener("input", (event) => show(Number(event.target.value)));
  byId("before").addEventListener("click", () => show(state.number - 1));
  byId("after").addEventListener("click", () => show(state.number + 1));
  window.addEventListener("resize", () => { drawPhotograph(); draw(); });
  show(0);
  requestAnimationFrame(tick);
  document.body.dataset.ready = gl ? "yes" : "no webgl";
}

start();
