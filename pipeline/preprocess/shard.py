"""One shard, from its instants to its file: what every worker runs, and `--workers 0` in this process.

    Instant, BodyFit -> PosedBody -> KnownJoints -> Picture of each view -> FieldSamples of each -> ShardView

A step that fails gives a Reject in place of its record, and the steps after it say what is left without it.
"""

import functools
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.body.keypoints import with_joint_regressor
from pipeline.body.model import BodyModel, load_body, move_body
from pipeline.body.smpl import SmplBodies
from pipeline.camera import Crop, make_crop, pixel_rays, project_pinhole, warp_to_crop, world_to_camera
from pipeline.errors import InputError
from pipeline.fit import Fitter
from pipeline.fit.supplied import given_fit, mesh_of, supplied_fit, uses_supplied
from pipeline.images import read_image
from pipeline.mesh import BodySurface, body_surface
from pipeline.plausible_pictures import odd_picture
from pipeline.preprocess.job_files import Context, Task, read_context, read_job
from pipeline.preprocess.rejects import KEPT
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
from pipeline.shards.format import J, ShardView, kept_offsets
from pipeline.shards.run_json import ShardRecord
from pipeline.shards.store import ShardReader, finished_record, write_shard
from pipeline.skeletons import FIELD_JOINTS, JOINT_SETS, JointSet, match_joints
from pipeline.threads import one_thread


@dataclass(frozen=True)
class Worker:
    """What a process needs for every shard of a run; made once. betas: subject -> (10,). smpl: the user's SMPL files, where
    the dataset's SMPL parameters are the meshes."""

    context: Context
    body: BodyModel
    surface: BodySurface
    fitter: Fitter
    betas: dict[str, np.ndarray]
    smpl: SmplBodies | None


@dataclass(frozen=True)
class PosedBody:
    """A fit and what follows from it, in the instant's frame. distance: signed distance to the mesh."""

    fit: BodyFit
    mesh: BodyMesh
    distance: SignedDistance


@dataclass(frozen=True)
class KnownJoints:
    """The field's joints of an instant, in its frame: the dataset's own where it has them in 3D, else the body's.

    places: (J, 3) metres, zeros where nothing is known. source: (J,) one of NO_JOINT, DATASET_JOINT, FIT_JOINT. valid: (J,)
    bool, may be supervised or scored. unseen: (J,) bool, the body's, and no evidence says where on the body it is.
    """

    places: np.ndarray
    source: np.ndarray
    valid: np.ndarray
    unseen: np.ndarray

    @property
    def knows_root(self) -> bool:
        return bool(self.source[FIELD_JOINTS.root_index] != NO_JOINT)

    @property
    def trusts_root(self) -> bool:
        return bool(self.valid[FIELD_JOINTS.root_index])


@dataclass(frozen=True)
class Picture:
    """A view's crop: its camera and the stored JPEG."""

    view: View
    crop: Crop
    jpeg: bytes


@one_thread()
def make_shard(task: Task) -> ShardRecord:
    """Fits, meshes, samples and writes the instants of one task. A finished shard of this run that verifies is kept, unless images
    that it lacked are there now.

    Raises InputError for what no retry mends (a full disk, another distance backend than the plan's).
    """
    worker = worker_of(task.context)
    instants, fits = read_job(task)
    kept = finished_record(task.shard, worker.context.header)
    if kept is not None and not lacks_views(worker, instants, task.shard, kept):
        return kept
    bodies = find_bodies(worker, instants) if fits is None else take_bodies(worker, instants, fits)
    rows = [row for instant, fit in zip(instants, bodies, strict=True) for row in instant_rows(worker, instant, fit)]
    views = [row for row in rows if not isinstance(row, Reject)]
    rejects = [row for row in rows if isinstance(row, Reject)]
    return write_shard(task.shard, worker.context.header, views, rejects)


def lacks_views(worker: Worker, instants: Sequence[Instant], shard: Path, kept: ShardRecord) -> bool:
    """Whether a finished shard lacks a view that can be made by now: one whose image was missing or damaged."""
    with closing(ShardReader(shard)) as reader:
        there = set(reader.ids())
    left_out = {reject.key: reject for reject in kept.rejects}
    for instant in instants:
        whole = left_out.get(instant.id)
        if whole is not None and not whole.reason.endswith(KEPT):
            continue
        for view in (view for view in instant.views if view.id not in there):
            reject = left_out.get(view.id)  # none where the reader itself left the view out when the run was planned
            if reject is None or (reject.stage == "read" and isinstance(take_picture(worker, view), Picture)):
                return True
    return False


def instant_rows(worker: Worker, instant: Instant, fit: BodyFit | Reject) -> Iterator[ShardView | Reject]:
    """The rows of one instant, and what was left out of it.

    An instant with 3D joints of its own stays when its fit or mesh fails: `fit_valid` is then False, its samples are
    zeros and the reject says so. Where those lack the pelvis (SMPL's lies elsewhere) only a valid fit knows the root, and
    the instant goes with the fit.
    """
    posed = pose_body(worker, instant, fit)
    body = None if isinstance(posed, Reject) else posed
    joints = known_joints(instant, body)
    anchored = joints.trusts_root if instant.joints_3d is not None else joints.knows_root
    if isinstance(posed, Reject):
        yield replace(posed, reason=posed.reason + (KEPT if anchored else ""))
    elif not anchored:
        yield Reject(instant.id, "fit", "no trustworthy pelvis to be relative to")
    if not anchored:
        return
    pictures = []
    for picture in (take_picture(worker, view) for view in instant.views):
        if isinstance(picture, Reject):
            yield picture
        else:
            pictures.append(picture)
    for picture, samples in zip(pictures, sample_pictures(worker, body, joints, pictures), strict=True):
        yield samples if isinstance(samples, Reject) else make_row(worker, instant, body, joints, picture, samples)


# --- the process -----------------------------------------------------------------------------------------------------


def worker_of(context: Path) -> Worker:
    return _worker(context.read_text())


@functools.lru_cache(maxsize=1)
def _worker(text: str) -> Worker:
    """Keyed by the file's content: another run in the same process gets its own."""
    context = read_context(text)
    header = context.header
    if header.sdf_backend != BACKEND:
        raise InputError(
            f"the run was planned with {header.sdf_backend} for distances, but this worker has {BACKEND}; "
            "install the same packages on every machine (`make setup`)"
        )
    body = load_body(context.body)
    if body.sha256 != header.body_sha256:
        raise InputError(
            f"the body model {context.body} changed since the run was planned; use --overwrite or restore it"
        )
    body = with_joint_regressor(body, context.joint_regressor)
    if body.joint_regressor_sha256 != context.joint_regressor_sha256:
        raise InputError(
            f"the joint regressor {context.joint_regressor} changed since the run was planned; use --overwrite or restore it"
        )
    betas = {name: np.array(values) for name, values in context.betas.items()}
    smpl = SmplBodies(*context.smpl) if context.smpl else None
    return Worker(context, body, body_surface(body), Fitter(body, context.settings.fit), betas, smpl)


# --- the steps -------------------------------------------------------------------------------------------------------


def find_bodies(worker: Worker, instants: Sequence[Instant]) -> list[BodyFit | Reject]:
    """The body of each instant: the one that came with the dataset where the run can pose it, else fitted."""
    given = [uses_supplied(instant, worker.body) for instant in instants]
    fitted = iter(worker.fitter.fit([i for i, known in zip(instants, given, strict=True) if not known], worker.betas))
    return [
        supplied_fit(instant, worker.body, worker.smpl, worker.context.settings.fit) if known else next(fitted)
        for instant, known in zip(instants, given, strict=True)
    ]


def take_bodies(
    worker: Worker, instants: Sequence[Instant], fits: Sequence[BodyFit | Reject]
) -> list[BodyFit | Reject]:
    """The given fits that fit their instants."""
    settings = worker.context.settings.fit
    return [
        fit if isinstance(fit, Reject) else given_fit(instant, fit, worker.body, settings)
        for instant, fit in zip(instants, fits, strict=True)
    ]


def pose_body(worker: Worker, instant: Instant, fit: BodyFit | Reject) -> PosedBody | Reject:
    """The mesh of a fit and its distance; a Reject where the fit was one, or where the mesh is not closed."""
    if isinstance(fit, Reject):
        return fit
    try:
        mesh = mesh_of(fit, worker.body, worker.surface, worker.smpl)
        return PosedBody(fit, mesh, SignedDistance(mesh.vertices, mesh.faces))
    except InputError as error:
        return Reject(instant.id, "mesh", str(error))


def known_joints(instant: Instant, body: PosedBody | None) -> KnownJoints:
    """The dataset has a joint where it names that very one in 3D (SMPL's hip is not Human3.6M's); the body has them all."""
    places = np.zeros((J, 3)) if body is None else np.array(body.mesh.field_joints, np.float64)
    source = np.full(J, NO_JOINT if body is None else FIT_JOINT, np.uint8)
    if instant.joints_3d is not None:
        theirs, ours = match_joints(JOINT_SETS[instant.joint_set], FIELD_JOINTS)
        known = np.ones(len(theirs), bool) if instant.joints_3d_valid is None else instant.joints_3d_valid[theirs]
        places[ours[known]], source[ours[known]] = instant.joints_3d[theirs[known]], DATASET_JOINT
    fit_valid = body is not None and body.fit.quality.valid
    unconstrained = np.isin(FIELD_JOINTS.names, body.fit.quality.joints_unseen if body else ())
    return KnownJoints(
        places,
        source,
        valid=(source == DATASET_JOINT) | ((source == FIT_JOINT) & fit_valid),
        unseen=(source == FIT_JOINT) & unconstrained,
    )


def take_picture(worker: Worker, view: View) -> Picture | Reject:
    """The view's crop: one warp of the source image. A Reject where that cannot be read, or shows nothing."""
    settings, camera = worker.context.settings, view.camera
    try:
        crop = make_crop(camera, view.box, settings.crop_px, settings.size)
        image = read_image(worker.context.root, view.image_path, (camera.width, camera.height))
        if (reason := odd_picture(image, view)) is not None:
            return Reject(view.id, "read", f"{view.image_path}: {reason}")
        warped = warp_to_crop(image, camera, crop)
    except InputError as error:
        return Reject(view.id, "read", str(error))
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(warped, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality]
    )
    assert done
    return Picture(view, crop, data.tobytes())


def sample_pictures(
    worker: Worker, body: PosedBody | None, joints: KnownJoints, pictures: list[Picture]
) -> Sequence[FieldSamples | Reject | None]:
    """Samples of every picture; None where there is no body."""
    if body is None:
        return [None] * len(pictures)
    settings, views = worker.context.settings, [(picture.view, picture.crop) for picture in pictures]
    return sample_instant(body.mesh, body.distance, views, joints.places, settings.sampling, settings.seed)


def make_row(
    worker: Worker,
    instant: Instant,
    body: PosedBody | None,
    joints: KnownJoints,
    picture: Picture,
    samples: FieldSamples | None,
) -> ShardView | Reject:
    """Everything of one view, turned to the crop's axes and made relative to its root; a Reject where an offset does not fit
    the lattice."""
    view, crop, camera = picture.view, picture.crop, picture.view.camera
    in_crop = world_to_camera(camera, joints.places) @ crop.R.T
    root = in_crop[FIELD_JOINTS.root_index]
    stored = np.where((joints.source == NO_JOINT)[:, None], 0, in_crop - root).astype(np.float32)
    if samples is not None:
        try:
            kept_offsets(worker.context.header.offsets, samples, stored)
        except InputError as error:
            return Reject(view.id, "sample", f"view {view.id}: {error}")
    joints_2d, joints_2d_valid = crop_joints_2d(view, instant.joint_set, crop)
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
        joints=stored,
        joints_valid=joints.valid,
        joints_source=joints.source,
        joints_unseen=joints.unseen,
        joints_2d=joints_2d,
        joints_2d_valid=joints_2d_valid,
        is_3d=instant.joints_3d is not None,
        has_world=instant.has_world,
        camera_assumed=camera.assumed,
        image=picture.jpeg,
        samples=samples,
        **fit_columns(worker, instant, body, picture, root),
    )


def fit_columns(
    worker: Worker, instant: Instant, body: PosedBody | None, picture: Picture, root: np.ndarray
) -> dict[str, Any]:
    """What a row says of the fitted body: fields of ShardView. root: (3,) metres in the crop's axes."""
    if body is None:
        nothing = {"fit": None, "fit_joints": np.zeros((J, 3), np.float32), "fit_valid": False}
        return nothing | {"fit_error_mm": float("nan"), "reprojection_px": float("nan")}
    camera, R, quality = picture.view.camera, picture.crop.R, body.fit.quality
    parameters, moved = body.fit.parameters, None
    if isinstance(parameters, BodyParameters):
        moved = move_body(worker.body, parameters, R @ camera.R, R @ camera.t - root)
    number = [view.id for view in instant.views].index(picture.view.id)
    return {
        "fit": moved,
        "fit_joints": (world_to_camera(camera, body.mesh.field_joints) @ R.T - root).astype(np.float32),
        "fit_valid": quality.valid,
        "fit_error_mm": quality.fit_error_mm,
        "reprojection_px": quality.reprojection_px[number],
        "mesh_model": "smpl" if moved is None else "smplx",
        "ambiguous": quality.ambiguous,
    }


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
