"""The records that flow through the pipeline: Instant -> BodyFit -> BodyMesh -> FieldSamples.

Metres, radians and pixels; camera axes x right, y down, z forward; pixel centres are integers. Each stage takes one record and
returns the next; none changes what it was given. The *instant's frame* is the world where the source has extrinsics, else the
axes of the one camera.
"""

from dataclasses import dataclass, field

import numpy as np

SPLITS = ("train", "validation", "test")
# Where a joint is from: nowhere, the dataset's measurement, or the fitted mesh. Values of a shard's views/joints_source.
NO_JOINT, DATASET_JOINT, FIT_JOINT = 0, 1, 2
# The annotation file that marks a capture of `nvf-cli synthesize`: its counts are not those of a recorded dataset.
SYNTHETIC_MARK = "synthetic.json"
# What a capture has as long as it lacks its mark: it is being made, or was interrupted.
SYNTHETIC_PLAN = ".plan/context.json"


@dataclass(frozen=True)
class Camera:
    """A calibrated camera. `X_cam = R @ X + t` for X in the instant's frame.

    K: (3, 3) pixels. R: (3, 3), t: (3,) metres. width, height: pixels. distortion: (5,) k1 k2 k3 p1 p2 of Human3.6M's own
    model (`pipeline.camera.distort`), zeros for a pinhole. assumed: the focal length was guessed, not calibrated.
    """

    K: np.ndarray
    R: np.ndarray
    t: np.ndarray
    width: int
    height: int
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(5))
    assumed: bool = False


@dataclass(frozen=True)
class View:
    """One image of an instant.

    id: unique in the source, "<instant id>/<camera>". image_path: relative to the source's root; a video frame is
    "FILE#frame=N". box: (4,) x, y, width, height of the person, source pixels. joints_2d: (J, 2) source pixels, distorted as
    the image is. confidence: (J,) 0..1, 0 where the joint was not seen (its joints_2d are then 0).
    keypoints_2d: further 2D evidence by joint-set name, (N, 3) x, y, confidence (OpenPose's hands and face).
    """

    id: str
    camera_id: str
    camera: Camera
    image_path: str
    box: np.ndarray
    joints_2d: np.ndarray
    confidence: np.ndarray
    keypoints_2d: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Instant:
    """One body at one moment, seen in 1..n views.

    id: unique in the source, "<subject>/<action>/<frame>"-like, sorts by time. subject: None where the source does not know
    it. joint_set: name of the set of joints_3d and of every view's joints_2d. joints_3d: (J, 3) metres in the instant's frame,
    or None. joints_3d_valid: (J,) bool. has_world: the frame is a world that all views share.
    supplied: a fit that came with the dataset, if any, in the instant's frame; in the axes of the first view's camera where
    supplied_in_camera. supplied_body: sha256 of the body model that its parameters belong to, "" for SMPL-X itself. split: "train",
    "validation" or "test", set by the plan.
    """

    id: str
    subject: str | None
    action: str
    frame: int
    joint_set: str
    views: tuple[View, ...]
    joints_3d: np.ndarray | None = None
    joints_3d_valid: np.ndarray | None = None
    has_world: bool = False
    supplied: "BodyParameters | SmplParameters | None" = None
    supplied_in_camera: bool = False
    supplied_body: str = ""
    split: str = ""


@dataclass(frozen=True)
class BodyParameters:
    """SMPL-X parameters of one body: axis-angle (radians), hands flat at zero, no PCA. transl in metres.

    `vertices = smplx(...)(betas, ..., transl)`: a rotation of the frame about the origin changes global_orient and transl,
    see `pipeline.body.model.move_body`.
    """

    betas: np.ndarray  # (10,)
    global_orient: np.ndarray  # (3,)
    body_pose: np.ndarray  # (63,)
    left_hand_pose: np.ndarray  # (45,)
    right_hand_pose: np.ndarray  # (45,)
    jaw_pose: np.ndarray  # (3,)
    leye_pose: np.ndarray  # (3,)
    reye_pose: np.ndarray  # (3,)
    expression: np.ndarray  # (10,)
    transl: np.ndarray  # (3,)


@dataclass(frozen=True)
class SmplParameters:
    """SMPL (not SMPL-X) parameters of one body, as datasets supply them. gender: "neutral", "male" or "female". pose: (72,)
    axis-angle, the pelvis first. betas: (10,). trans: (3,) metres. `vertices = smplx.SMPL(...)(betas, ..., trans)`."""

    gender: str
    pose: np.ndarray
    betas: np.ndarray
    trans: np.ndarray


PARAMETER_SIZES = {
    "betas": 10,
    "global_orient": 3,
    "body_pose": 63,
    "left_hand_pose": 45,
    "right_hand_pose": 45,
    "jaw_pose": 3,
    "leye_pose": 3,
    "reye_pose": 3,
    "expression": 10,
    "transl": 3,
}


@dataclass(frozen=True)
class FitQuality:
    """How good a fit is, and why it may be refused.

    fit_error_mm: mean over the joints with 3D of the distance to the fitted ones after mean-translation alignment; NaN without
    3D. reprojection_px: (views,) mean over seen joints, source pixels; NaN for a view without any. reprojection_crop: (views,)
    the same as a fraction of the crop's side. start: name of the start that won. margin: how much more the best different body costs
    (25 mm or more away; twice the logarithm of how many times likelier the chosen one is), infinite where only one was looked for.
    ambiguous: the margin is so small that the other may as well be the true one. unseen: names of degrees of freedom that the
    evidence does not constrain. joints_unseen: names of the joints of `skeletons.FIELD_JOINTS` that it does not constrain: their
    place on the body is the prior's word alone.
    """

    fit_error_mm: float
    reprojection_px: np.ndarray
    reprojection_crop: np.ndarray
    iterations: int
    converged: bool
    start: str
    margin: float
    valid: bool
    unseen: tuple[str, ...] = ()
    joints_unseen: tuple[str, ...] = ()
    ambiguous: bool = False


@dataclass(frozen=True)
class BodyFit:
    """The body of an instant. parameters are in the instant's frame; of SMPL only where the dataset supplied them."""

    instant_id: str
    parameters: BodyParameters | SmplParameters
    quality: FitQuality

    @property
    def smplx(self) -> BodyParameters:
        """The parameters of a fit that is not SMPL's."""
        assert isinstance(self.parameters, BodyParameters), f"{self.instant_id} has SMPL's parameters"
        return self.parameters


@dataclass(frozen=True)
class BodyMesh:
    """A posed body in the instant's frame.

    vertices: (V, 3) metres. faces: (F, 3) int64. joints: (55, 3) metres, SMPL-X's tree, or SMPL's (24, 3).
    field_joints: (J, 3) metres, the joints of `skeletons.FIELD_JOINTS` on this mesh. face_areas: (F,) square metres in the
    body's rest pose, the weights by which surface points are drawn (a pose-independent weight keeps a seeded point on its face
    whatever the fit's last digits); None: the areas of this mesh.
    """

    instant_id: str
    vertices: np.ndarray
    faces: np.ndarray
    joints: np.ndarray
    field_joints: np.ndarray
    face_areas: np.ndarray | None = None


@dataclass(frozen=True)
class FieldSamples:
    """Supervision of the field for one view, root-relative in crop axes, on the 0.1 mm lattice.

    points: (N, 3) int16 lattice steps, the pool in shuffled order. sdf: (N,) int16 lattice steps, negative inside.
    voters: (J, K) uint16 indices into points: of each joint its nearest near-surface points, nearest first. An offset is the
    stored joint minus the point (`pipeline.lattice.offsets_to`), so it is no part of this.
    """

    view_id: str
    points: np.ndarray
    sdf: np.ndarray
    voters: np.ndarray


@dataclass(frozen=True)
class Reject:
    """Something that was left out, and why. key: instant or view id, or a file. stage: read, fit, mesh, sample, write."""

    key: str
    stage: str
    reason: str
