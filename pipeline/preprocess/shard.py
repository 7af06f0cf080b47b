"""One shard, from its instants to its file: what every worker runs, and `--workers 0` in this process."""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from pipeline.body.keypoints import with_joint_regressor
from pipeline.body.model import BodyModel, load_body, move_body
from pipeline.body.smpl import SmplBodies
from pipeline.camera import Crop, make_crop, pixel_rays, project_pinhole, warp_to_crop, world_to_camera
from pipeline.errors import InputError
from pipeline.fit import Fitter
from pipeline.fit.supplied import mesh_of, supplied_fit, uses_supplied
from pipeline.images import read_image
from pipeline.lattice import offsets_to, to_lattice
from pipeline.mesh import BodySurface, body_surface
from pipeline.preprocess.job_files import Task, read_job, settings_from
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.records import (
    DATASET_JOINT,
    FIT_JOINT,
    NO_JOINT,
    BodyFit,
    BodyMesh,
    BodyParameters,
    FieldSamples,
    Instant,
    Reject,
    View,
)
from pipeline.sampling import sample_instant
from pipeline.sdf import BACKEND, SignedDistance
from pipeline.shards.format import J, ShardHeader, ShardRecord, ShardView
from pipeline.shards.store import finished_record, write_shard
from pipeline.skeletons import FIELD_JOINTS, JOINT_SETS, JointSet, match_joints
from pipeline.threads import one_thread


@dataclass(frozen=True)
class Worker:
    """What a process needs for every shard of a run; made once. betas: subject -> (10,). smpl: the user's SMPL files, where
    the dataset's SMPL parameters are the meshes."""

    root: Path
    header: ShardHeader
    settings: PreprocessSettings
    body: BodyModel
    surface: BodySurface
    fitter: Fitter
    betas: dict[str, np.ndarray]
    smpl: SmplBodies | None = None


@one_thread()
def make_shard(task: Task) -> ShardRecord:
    """Fits, meshes, samples and writes the instants of one task. A finished shard of this run that verifies is kept.

    Raises InputError for what no retry mends (a full disk, another distance backend than the plan's).
    """
    worker = worker_of(task.job.parent / "context.json")
    kept = finished_record(task.shard, worker.header)
    if kept is not None:
        return kept
    instants, fits = read_job(task)
    if fits is None:
        fits = find_bodies(worker, instants)
    views, rejects = [], []
    for instant, fit in zip(instants, fits, strict=True):
        for row in shard_views(worker, instant, fit):
            (rejects if isinstance(row, Reject) else views).append(row)
    return write_shard(task.shard, worker.header, views, rejects)


def find_bodies(worker: Worker, instants: Sequence[Instant]) -> list[BodyFit | Reject]:
    """The body of each instant: the one that came with the dataset where the run can pose it, else fitted."""
    given = [uses_supplied(instant, worker.body) for instant in instants]
    fitted = iter(worker.fitter.fit([i for i, known in zip(instants, given, strict=True) if not known], worker.betas))
    return [
        supplied_fit(instant, worker.body, worker.smpl, worker.settings.fit) if known else next(fitted)
        for instant, known in zip(instants, given, strict=True)
    ]


def worker_of(context: Path) -> Worker:
    return _worker(context.read_text())


@functools.lru_cache(maxsize=1)
def _worker(context: str) -> Worker:
    """Keyed by the file's content: another run in the same process gets its own."""
    values = json.loads(context)
    header = ShardHeader(**values["header"])
    if header.sdf_backend != BACKEND:
        raise InputError(
            f"the run was planned with {header.sdf_backend} for distances, but this worker has {BACKEND}; "
            "install the same packages on every machine (`make setup`)"
        )
    settings = settings_from(PreprocessSettings, values["settings"])
    body = load_body(Path(values["body"]) if values["body"] else None)
    if body.sha256 != header.body_sha256:
        raise InputError(
            f"the body model {values['body']} changed since the run was planned; use --overwrite or restore it"
        )
    regressor = values["joint_regressor"]
    body = with_joint_regressor(body, Path(regressor) if regressor else None)
    if body.joint_regressor_sha256 != header.config["joint_regressor"]:
        raise InputError(
            f"the joint regressor {regressor} changed since the run was planned; use --overwrite or restore it"
        )
    betas = {name: np.array(values) for name, values in values["betas"].items()}
    smpl = SmplBodies(*map(Path, values["smpl"])) if values["smpl"] else None
    fitter = Fitter(body, settings.fit)
    return Worker(Path(values["root"]), header, settings, body, body_surface(body), fitter, betas, smpl)


@dataclass(frozen=True)
class Body:
    """The body of an instant as far as it is known, in the instant's frame.

    fit, mesh, distance: None where the fit or its mesh failed, `failure` then says why. joints: (J, 3) metres;
    source: (J,) where each is from. valid: (J,) which may be supervised or scored.
    """

    fit: BodyFit | None
    mesh: BodyMesh | None
    distance: SignedDistance | None
    failure: Reject | None
    joints: np.ndarray
    source: np.ndarray
    valid: np.ndarray

    @property
    def fit_valid(self) -> bool:
        return self.fit is not None and self.fit.quality.valid


def shard_views(worker: Worker, instant: Instant, fit: BodyFit | Reject) -> Iterator[ShardView | Reject]:
    """The rows of one instant, and what was left out of it.

    An instant with 3D joints of its own stays when its fit or mesh fails: `fit_valid` is then False, its samples are
    zeros and the reject says so. Where those lack the pelvis (SMPL's lies elsewhere) only a valid fit knows the root, and
    the instant goes with the fit.
    """
    body = solve_body(worker, instant, fit)
    root = FIELD_JOINTS.root_index
    anchored = body.valid[root] if instant.joints_3d is not None else body.source[root] != NO_JOINT
    if body.failure is not None:
        yield replace(body.failure, reason=body.failure.reason + (": kept for its 3D joints" if anchored else ""))
    elif not anchored:
        yield Reject(instant.id, "fit", "no trustworthy pelvis to be relative to")
    if not anchored:
        return
    crops = []
    for view in instant.views:
        try:
            crop = make_crop(view.camera, view.box, worker.settings.crop_px, worker.settings.size)
            crops.append((view, crop, encode_crop(worker.root, view, crop, worker.settings.jpeg_quality)))
        except InputError as error:
            yield Reject(view.id, "read", str(error))
    for (view, crop, image), samples in zip(crops, sample_crops(worker, body, crops), strict=True):
        if isinstance(samples, Reject):
            yield samples
        else:
            yield shard_view(worker, instant, body, view, crop, image, samples)


def solve_body(worker: Worker, instant: Instant, fit: BodyFit | Reject) -> Body:
    mesh, distance, failure = None, None, fit if isinstance(fit, Reject) else None
    if failure is None:
        try:
            mesh = mesh_of(fit, worker.body, worker.surface, worker.smpl)
            distance = SignedDistance(mesh.vertices, mesh.faces)
        except InputError as error:
            mesh, failure = None, Reject(instant.id, "mesh", str(error))
    joints, source = field_joints(instant, mesh)
    fit_valid = failure is None and fit.quality.valid
    valid = (source == DATASET_JOINT) | ((source == FIT_JOINT) & fit_valid)
    return Body(None if failure else fit, mesh, distance, failure, joints, source, valid)


def sample_crops(
    worker: Worker, body: Body, crops: list[tuple[View, Crop, bytes]]
) -> list[FieldSamples | Reject | None]:
    """Samples of every view; None where there is no mesh."""
    if body.mesh is None:
        return [None] * len(crops)
    pairs = [(view, crop) for view, crop, _ in crops]
    return sample_instant(body.mesh, body.distance, pairs, body.joints, worker.settings.sampling, worker.settings.seed)


def shard_view(
    worker: Worker, instant: Instant, body: Body, view: View, crop: Crop, image: bytes, samples: FieldSamples | None
) -> ShardView:
    """Everything of one view, turned to the crop's axes and made relative to its root."""
    camera = view.camera
    in_crop = world_to_camera(camera, body.joints) @ crop.R.T
    root = in_crop[FIELD_JOINTS.root_index]
    joints = np.where((body.source == NO_JOINT)[:, None], 0, in_crop - root).astype(np.float32)
    fit_joints, parameters = np.zeros((J, 3), np.float32), None
    if body.fit is not None:
        fit_joints = (world_to_camera(camera, body.mesh.field_joints) @ crop.R.T - root).astype(np.float32)
        if isinstance(body.fit.parameters, BodyParameters):
            parameters = move_body(worker.body, body.fit.parameters, crop.R @ camera.R, crop.R @ camera.t - root)
    if samples is not None:  # offsets of the joints as they are stored, in single precision
        lattice = to_lattice(joints)
        offsets = offsets_to(samples.points[samples.voters], lattice[:, None])
        samples = replace(samples, joints=lattice, joint_offsets=offsets, root=root)
    joints_2d, joints_2d_valid = crop_joints_2d(view, instant.joint_set, crop)
    quality = body.fit and body.fit.quality
    number = [v.id for v in instant.views].index(view.id)
    return ShardView(
        id=view.id,
        instant_id=instant.id,
        split=instant.split,
        subject=instant.subject or "",
        action=instant.action,
        camera=view.camera_id,
        frame=instant.frame,
        image_path=view.image_path,
        K=crop.K,
        R_crop=crop.R,
        K_source=camera.K,
        distortion=camera.distortion,
        box=view.box,
        root=root,
        joints=joints,
        joints_valid=body.valid,
        joints_source=body.source,
        joints_2d=joints_2d,
        joints_2d_valid=joints_2d_valid,
        is_3d=instant.joints_3d is not None,
        has_world=instant.has_world,
        camera_assumed=camera.assumed,
        image=image,
        fit=parameters,
        fit_joints=fit_joints,
        fit_error_mm=quality.fit_error_mm if quality else float("nan"),
        reprojection_px=quality.reprojection_px[number] if quality else float("nan"),
        fit_valid=body.fit_valid,
        samples=samples,
    )


def field_joints(instant: Instant, mesh: BodyMesh | None) -> tuple[np.ndarray, np.ndarray]:
    """(J, 3) metres in the instant's frame, and (J,) where each is from: the dataset where it has that very joint in 3D
    (SMPL's hip is not Human3.6M's), else the mesh."""
    joints = np.zeros((J, 3)) if mesh is None else np.array(mesh.field_joints, np.float64)
    source = np.full(J, NO_JOINT if mesh is None else FIT_JOINT, np.uint8)
    if instant.joints_3d is not None:
        theirs, ours = match_joints(JOINT_SETS[instant.joint_set], FIELD_JOINTS)
        known = np.ones(len(theirs), bool) if instant.joints_3d_valid is None else instant.joints_3d_valid[theirs]
        joints[ours[known]], source[ours[known]] = instant.joints_3d[theirs[known]], DATASET_JOINT
    return joints, source


def crop_joints_2d(view: View, joint_set: str, crop: Crop) -> tuple[np.ndarray, np.ndarray]:
    """The dataset's 2D joints in pixels of the crop, (J, 2) float32, and which it has, (J,) bool.

    Each goes the way of the image: undistorted, turned to the crop's axes, projected. One that ends behind the crop's
    camera, or so far out of the image that its distortion has no inverse, is not valid.
    """
    ours, source_pixels, seen = seen_joints(view, JOINT_SETS[joint_set])
    pixels, valid = np.zeros((J, 2), np.float32), np.zeros(J, bool)
    with np.errstate(all="ignore"):
        rays = pixel_rays(view.camera, source_pixels)
        rays = np.concatenate([rays, np.ones((len(rays), 1))], -1) @ crop.R.T
        found = project_pinhole(crop.K, rays)
    good = seen & (rays[:, 2] > 0.1) & np.isfinite(found).all(1) & (np.abs(found) < 1e5).all(1)
    pixels[ours[good]], valid[ours[good]] = found[good], True
    return pixels, valid


def seen_joints(view: View, joint_set: JointSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints of the field that the dataset marks: indices (N,), source pixels (N, 2) and whether each was seen (N,).

    Where no pelvis is labelled (MSCOCO has none) the middle of the hips is taken for it, seen where both are, as 3DMPPE does.
    """
    theirs, ours = match_joints(joint_set, FIELD_JOINTS)
    pixels, seen = np.asarray(view.joints_2d[theirs], np.float64), view.confidence[theirs] > 0
    if joint_set.root is not None or seen[ours == FIELD_JOINTS.root_index].any():
        return ours, pixels, seen
    others = ours != FIELD_JOINTS.root_index
    ours, pixels, seen = ours[others], pixels[others], seen[others]
    hips = joint_set.indices(("left_hip", "right_hip"))
    middle = np.asarray(view.joints_2d[hips], np.float64).mean(0)
    return (
        np.append(ours, FIELD_JOINTS.root_index),
        np.concatenate([pixels, middle[None]]),
        np.append(seen, (view.confidence[hips] > 0).all()),
    )


def encode_crop(root: Path, view: View, crop: Crop, quality: int) -> bytes:
    """The JPEG of the stored crop: one warp of the source image."""
    image = read_image(root, view.image_path, (view.camera.width, view.camera.height))
    warped = cv2.cvtColor(warp_to_crop(image, view.camera, crop), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", warped, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()
