// The page's viewer: the picture with its skeletons on the left, the people in space on the right. No library, no network.
// Metres and camera axes (x right, y down, z forward) until the last step, where y and z change sign for WebGL.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const BODY = DATA.body ? unpackBody(DATA.body) : null;
const byId = (id) => document.getElementById(id);
const state = { number: 0, bodies: true, skeletons: true, floor: true, turning: true, playing: false };
const view = { yaw: 0, pitch: 0.15, distance: 4, target: [0, 0, 3] };

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

// The floor lies below those who are looked at.
function addStage(picture) {
  const { middle, radius } = looked(picture), low = picture.reach[1][1];
  const lines = [], step = 0.5, reach = step * Math.max(6, Math.ceil((radius + step) / step)), first = (value) => Math.round(value / step) * step;
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

// The middle of those who are looked at, and how far they reach about it, m.
function looked(picture) {
  const [low, high] = picture.reach;
  return { middle: low.map((value, k) => (value + high[k]) / 2), radius: Math.hypot(...low.map((value, k) => (high[k] - value) / 2)) };
}

function build(picture) {
  for (const mesh of meshes.splice(0)) for (const name of ["at", "normal", "faces"]) if (mesh[name]) gl.deleteBuffer(mesh[name]);
  for (const person of picture.people) {
    const joints = person.joints;
    if (person.body && BODY) {
      const vertices = posed(BODY, person.body);
      addMesh("bodies", person.colour, vertices, normalsOf(vertices, BODY.faces), BODY.faces);
    }
    for (const [from, to, colour] of DATA.bones) addMesh("skeletons", colour, ...prism(joints[from], joints[to], 0.014));
  }
  if (picture.reach) addStage(picture);
}

function show(number) {
  state.number = (number + DATA.pictures.length) % DATA.pictures.length;
  const picture = DATA.pictures[state.number];
  if (gl) build(picture);
  if (picture.reach && !(picture.clip && picture.clip === show.clip)) lookAtAll(picture); // a video is looked at from one place
  show.clip = picture.clip;
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
  const seen = gl ? "" : "This browser has no WebGL, so the people are not shown in space.";
  byId("none").textContent = picture.people.length ? seen : picture.refusal || "Nobody was found in this picture.";
  const image = new Image();
  image.onload = () => {
    if (picture !== DATA.pictures[state.number]) return; // somebody went on meanwhile
    show.image = image;
    drawPhotograph();
  };
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

const ZOOM = 1.9; // the shorter side of the view spans 2 / ZOOM of the distance

// From so far away that all who are looked at fit, whichever way they are turned.
function lookAtAll(picture) {
  const { middle, radius } = looked(picture);
  view.target = middle;
  view.distance = Math.max(1.2, radius * Math.hypot(1, ZOOM));
}

function seenBy(width, height) {
  const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
  const target = [view.target[0], -view.target[1], -view.target[2]];
  const back = [sy * cp, sp, cy * cp], right = [cy, 0, -sy], up = [-sy * sp, cp, -cy * sp];
  const eye = target.map((value, k) => value + view.distance * back[k]), dot = (a) => -(a[0] * eye[0] + a[1] * eye[1] + a[2] * eye[2]);
  const zoom = ZOOM * Math.min(1, width / height), near = 0.05, far = 100;
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
  space.addEventListener("dblclick", () => {
    const picture = DATA.pictures[state.number];
    if (picture.reach) lookAtAll(picture);
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
  if (!state.turning) tick.swing = null;
  else {
    tick.swing = tick.swing || { from: now, yaw: view.yaw }; // about where somebody left it
    view.yaw = tick.swing.yaw + 0.75 * Math.sin((now - tick.swing.from) / 2600);
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
  }
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
