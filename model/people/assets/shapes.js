// Shapes for the page's viewer (page.js), as lists of vertices: the body, posed as ours is, and bones. Metres, camera axes.
"use strict";

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

// Vertices (3 V) of a person whose parameters are given, metres, camera axes.
function posed(body, person) {
  const rest = shaped(body.rest, body.restDirections, person.betas), still = shaped(body.template, body.directions, person.betas);
  const count = body.parents.length, turns = [], shifts = new Float32Array(12 * count), places = [];
  for (let j = 0; j < count; j++) {
    const own = person.pose[j] ? turnOf(...person.pose[j]) : turnOf(0, 0, 0), parent = body.parents[j];
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
    for (let k = 0; k < body.each; k++) whole += body.weights[body.each * v + k];
    for (let k = 0; k < body.each; k++) {
      const weight = body.weights[body.each * v + k] / whole, at = 12 * body.joints[body.each * v + k];
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
