"""Costly things that several rooms' tests share."""

import numpy as np
import pytest

from pipeline.body.model import load_body
from pipeline.mesh import body_surface
from pipeline.records import PARAMETER_SIZES, BodyFit, BodyParameters
from pipeline.skeletons import SMPLX_22

# Arms through the trunk, a thigh through the belly: axis-angle, radians.
FOLDED = {
    "left_shoulder": (0.3, -1.0, -0.9), "left_elbow": (0, -2.0, 0), "right_shoulder": (0.3, 1.0, 0.9), "right_elbow": (0, 2.0, 0),
    "left_hip": (-1.9, 0, -0.3), "left_knee": (2.2, 0, 0), "spine1": (0.8, 0, 0),
}


@pytest.fixture(scope="session")
def make_fit():
    """make_fit(body_pose=...) -> a fit of zeros but for these parameters."""
    def make(instant_id="S1/walk/000001", **values):
        return BodyFit(instant_id, BodyParameters(**{
            name: np.asarray(values.get(name, np.zeros(size)), np.float64) for name, size in PARAMETER_SIZES.items()
        }), None)
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
