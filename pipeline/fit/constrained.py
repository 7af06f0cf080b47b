"""Which of the field's joints the evidence says something about, and which were left to the prior.

A joint counts as seen when the evidence has that joint, or a point that moves with it (a heel with the ankle, an eye with the nose),
and also when it lies between two neighbours that are seen: an elbow between a seen shoulder and a seen wrist has nowhere else to be. A
wrist of confidence 0 is not seen, and an elbow of confidence 0 above it is not either.
"""

import numpy as np

from pipeline.fit.parts import HAND_SETS, extra_sets
from pipeline.fit.settings import FitSettings
from pipeline.records import Instant
from pipeline.skeletons import FIELD_JOINTS, JOINT_SETS, OPENPOSE_FACE

_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "head", "jaw")
# Points that are as good as the joint itself: they lie on the same bone, or next to it.
_SAME = {
    "pelvis": ("left_hip", "right_hip"),
    "spine": ("spine1", "spine2", "spine3"),
    "neck": ("left_shoulder", "right_shoulder", "left_collar", "right_collar"),
    "nose": _FACE,
    "head_top": _FACE,
}
for _side in ("left", "right"):
    _SAME[f"{_side}_ankle"] = tuple(f"{_side}_{point}" for point in ("foot", "heel", "big_toe", "small_toe"))
    _SAME[f"{_side}_wrist"] = (f"{_side}_hand",)


def joints_unseen(instant: Instant, settings: FitSettings) -> tuple[str, ...]:
    """Names of the joints of `FIELD_JOINTS` that nothing in the instant constrains, in their order."""
    told = _told(instant, settings)
    direct = np.array([bool(told & {name, *_SAME.get(name, ())}) for name in FIELD_JOINTS.names])
    neighbours = np.zeros(len(FIELD_JOINTS), int)
    for parent, child in FIELD_JOINTS.bones:
        neighbours[parent] += direct[child]
        neighbours[child] += direct[parent]
    return tuple(
        name
        for name, itself, around in zip(FIELD_JOINTS.names, direct, neighbours, strict=True)
        if not itself and around < 2
    )


def _told(instant: Instant, settings: FitSettings) -> set[str]:
    """Names of all points that some view sees, or that are known in 3D. A seen hand tells where its wrist is, a seen face its nose."""
    seen = np.zeros(len(JOINT_SETS[instant.joint_set]), bool)
    if instant.joints_3d is not None:
        seen |= True if instant.joints_3d_valid is None else np.asarray(instant.joints_3d_valid, bool)
    for view in instant.views:
        seen |= view.confidence > settings.min_confidence
    told = {name for name, there in zip(JOINT_SETS[instant.joint_set].names, seen, strict=True) if there}
    for name in extra_sets(instant, settings):
        if name in HAND_SETS:
            told.add(JOINT_SETS[name].names[0])
        elif name == OPENPOSE_FACE.name:
            told.add("nose")
    return told
