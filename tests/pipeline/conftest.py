"""Costly things that several rooms' tests share."""

import pickle

import numpy as np
import pytest

from pipeline.body.model import load_body
from pipeline.body.smpl import FILES, SmplBodies
from pipeline.mesh import body_surface
from pipeline.records import PARAMETER_SIZES, BodyFit, BodyParameters
from pipeline.skeletons import HUMAN36M, SMPL_24, SMPLX_22
from tests.pipeline.people import affine_rows, standing

RINGS, SEGMENTS = 82, 84  # of a sphere with SMPL's 6890 vertices

# Arms through the trunk, a thigh through the belly: axis-angle, radians.
FOLDED = {
    "left_shoulder": (0.3, -1.0, -0.9),
    "left_elbow": (0, -2.0, 0),
    "right_shoulder": (0.3, 1.0, 0.9),
    "right_elbow": (0, 2.0, 0),
    "left_hip": (-1.9, 0, -0.3),
    "left_knee": (2.2, 0, 0),
    "spine1": (0.8, 0, 0),
}


@pytest.fixture(scope="session")
def make_fit():
    """make_fit(body_pose=...) -> a fit of zeros but for these parameters."""

    def make(instant_id="S1/walk/000001", **values):
        return BodyFit(
            instant_id,
            BodyParameters(
                **{
                    name: np.asarray(values.get(name, np.zeros(size)), np.float64)
                    for name, size in PARAMETER_SIZES.items()
                }
            ),
            None,
        )

    return make


@pytest.fixture(scope="session")
def free_body():
    return load_body()


@pytest.fixture(scope="session")
def free_surface(free_body):
    return body_surface(free_body)


@pytest.fixture(scope="session")
def folded_body(free_body, make_fit):
    """(vertices (V, 3), faces (F, 3)) of a body deep inside itself."""
    pose = np.zeros((21, 3))
    for name, angles in FOLDED.items():
        pose[SMPLX_22.index(name) - 1] = angles
    return free_body.mesh(make_fit(body_pose=pose.ravel()).parameters)[0], free_body.faces


@pytest.fixture(scope="session")
def egg_smpl(tmp_path_factory):
    """An egg-shaped SMPL: 6890 vertices, closed, the joints of a standing person, all of it hanging on the pelvis."""
    folder = tmp_path_factory.mktemp("smpl")
    polar = np.pi * np.arange(1, RINGS + 1)[:, None] / (RINGS + 1)
    round_ = 2 * np.pi * np.arange(SEGMENTS) / SEGMENTS
    sphere = np.stack(
        [np.sin(polar) * np.cos(round_), np.cos(polar) + 0 * round_, -np.sin(polar) * np.sin(round_)], -1
    ).reshape(-1, 3)
    template = np.concatenate([sphere, [[0, 1, 0], [0, -1, 0]]]) * [0.25, 0.85, 0.2]
    faces = []
    for s in range(SEGMENTS):
        n, last = (s + 1) % SEGMENTS, (RINGS - 1) * SEGMENTS
        faces += [(6888, s, n), (6889, last + n, last + s)]
        for r in range(0, last, SEGMENTS):
            faces += [(r + s, r + SEGMENTS + s, r + SEGMENTS + n), (r + s, r + SEGMENTS + n, r + n)]
    weights = np.zeros((6890, 24))
    weights[:, 0] = 1
    parents = np.array([-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21])
    model = {
        "v_template": template,
        "shapedirs": np.zeros((6890, 3, 10)),
        "posedirs": np.zeros((6890, 3, 207)),
        "weights": weights,
        "J_regressor": affine_rows(template, standing(SMPL_24.names)),
        "kintree_table": np.stack([parents, np.arange(24)]),
        "f": np.array(faces, np.uint32),
    }
    for name in FILES.values():
        (folder / name).write_bytes(pickle.dumps(model, 2))
    np.save(folder / "regressor.npy", affine_rows(template, standing(HUMAN36M.names)))
    return SmplBodies(folder, folder / "regressor.npy")
