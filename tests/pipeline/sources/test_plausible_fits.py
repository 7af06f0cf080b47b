"""Fits that come with a dataset: what nobody's can be is left out by name, and the person stays."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.camera import assumed_camera, project
from pipeline.plausible_fits import odd_fit
from pipeline.records import PARAMETER_SIZES, BodyParameters, Instant, SmplParameters, View
from pipeline.skeletons import COCO, HUMAN36M
from pipeline.sources.base import Source
from tests.pipeline.people import TO_CAMERA, standing

CAMERA = replace(
    assumed_camera(400, 300), R=np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]), t=np.array([0.2, 0.1, 5.0])
)
POSE = {"global_orient": np.array([3.0, 0.2, 0]), "body_pose": np.full(63, 0.3), "betas": np.linspace(-2, 3, 10)}
CHANGES = {
    "as if angles were in degrees": lambda f: replace(f, body_pose=np.degrees(f.body_pose)),
    "an angle of 172.3 radians, as if angles were in degrees": lambda f: replace(
        f, global_orient=np.degrees(f.global_orient), body_pose=np.zeros(63)
    ),
    "as if it were in millimetres": lambda f: replace(f, transl=1000 * f.transl),
    "as if it were in centimetres": lambda f: replace(f, transl=100 * f.transl),
    "5.87 m away from the person's joints": lambda f: replace(f, transl=f.transl - [5, 1, 3]),
    "standard deviations from the mean": lambda f: replace(f, betas=40 * f.betas),
    "is not finite": lambda f: replace(f, betas=f.betas * np.nan),
}


def person(in_camera: bool = False) -> Instant:
    """A person of whom joints and fit are known, the fit's root a third of a metre from the joints', as SMPL-X has it."""
    joints = standing(HUMAN36M.names) @ TO_CAMERA + [1.3, 0.2, 0.4]
    root = joints[HUMAN36M.index("pelvis")]
    local = joints @ CAMERA.R.T + CAMERA.t
    points = project(CAMERA, local)
    box = np.concatenate([points.min(0), np.ptp(points, 0)])
    values = {name: np.zeros(size) for name, size in PARAMETER_SIZES.items()}
    place = CAMERA.R @ root + CAMERA.t if in_camera else root
    fit = BodyParameters(**values | POSE | {"transl": place + [0, 0.35, 0]})
    view = View("a/0", "0", CAMERA, "a.png", box, points, np.ones(len(points)))
    return Instant(
        "a", None, "", 0, HUMAN36M.name, (view,), joints, np.ones(17, bool), supplied=fit, supplied_in_camera=in_camera
    )


@pytest.mark.parametrize("in_camera", [False, True])
@pytest.mark.parametrize("said", CHANGES)
def test_fits_that_nobody_has_are_told(said, in_camera):
    right = person(in_camera)
    assert odd_fit(right) is None and odd_fit(replace(right, supplied=None)) is None
    assert odd_fit(replace(right, supplied=replace(right.supplied, transl=right.supplied.transl + 1))) is None
    wrong = replace(right, supplied=CHANGES[said](right.supplied))
    assert said in odd_fit(wrong) or (in_camera and "m away from the person's joints" in odd_fit(wrong))

    class One(Source):
        name = "one"
        parts = lambda self: {"one": iter([wrong])}  # noqa: E731

    (kept,), report = One(".").read()
    assert kept.supplied is None and kept.joints_3d is wrong.joints_3d
    assert [reject.key for reject in report.rejects if "The person is kept without it" in reject.reason] == ["a"]


def test_smpl_fits_of_people_without_joints_in_space():
    flat = replace(person(), joint_set=COCO.name, joints_3d=None, joints_3d_valid=None)
    smpl = SmplParameters("neutral", np.full(72, 0.2), np.zeros(10), np.array([0.1, 0.2, 6.0]))
    assert odd_fit(replace(flat, supplied=smpl)) is None
    assert "millimetres" in odd_fit(replace(flat, supplied=replace(smpl, trans=1000 * smpl.trans)))
    assert "degrees" in odd_fit(replace(flat, supplied=replace(smpl, pose=np.degrees(smpl.pose))))
