"""From instants to tensors: what was seen, in the units of the objective; and what cannot be fitted, with the reason."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from pipeline import camera as cameras
from pipeline.fit.objective import Evidence
from pipeline.fit.settings import FitSettings
from pipeline.plausible import few_joints
from pipeline.records import Instant, View
from pipeline.skeletons import JOINT_SETS

# Nothing that a camera sees of a person is further from the frame's origin than this, metres.
FURTHEST = 1e4


def refusal(instant: Instant, settings: FitSettings) -> str | None:
    """Why an instant cannot be fitted, or None."""
    if instant.joint_set not in JOINT_SETS:
        return f"unknown joint set '{instant.joint_set}'"
    J = len(JOINT_SETS[instant.joint_set])
    for view in instant.views:
        reason = _camera_refusal(view) or _keypoints_refusal(view, J)
        if reason:
            return f"view {view.id}: {reason}"
    if instant.joints_3d is not None:
        joints, valid = instant.joints_3d, instant.joints_3d_valid
        if np.shape(joints) != (J, 3) or (valid is not None and np.shape(valid) != (J,)):
            return f"joints_3d has shape {np.shape(joints)}, {instant.joint_set} has {J} joints"
        seen = np.ones(J, bool) if valid is None else np.asarray(valid, bool)
        if not np.isfinite(joints[seen]).all():
            return "a 3D joint is NaN or infinite"
        if seen.any() and np.abs(joints[seen]).max() > FURTHEST:
            return f"a 3D joint lies {np.abs(joints[seen]).max():.3g} m away; joints are in metres"
    return few_joints(instant, settings.min_joints, settings.min_confidence)


def _camera_refusal(view: View) -> str | None:
    K, R, t = (np.asarray(a, float) for a in (view.camera.K, view.camera.R, view.camera.t))
    if K.shape != (3, 3) or R.shape != (3, 3) or t.shape != (3,):
        return "the camera's K, R, t are not (3, 3), (3, 3), (3,)"
    if not (np.isfinite(K).all() and np.isfinite(R).all() and np.isfinite(t).all()):
        return "the camera holds NaN or infinity"
    if K[0, 0] <= 0 or K[1, 1] <= 0:
        return f"the camera's focal length is {K[0, 0]:g}, {K[1, 1]:g} px"
    if np.abs(R @ R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(R) < 0:
        return "the camera's R is not a rotation"
    return None


def _keypoints_refusal(view: View, J: int) -> str | None:
    for pixels, confidence, count in _keypoint_arrays(view, J):
        if np.shape(pixels) != (count, 2) or np.shape(confidence) != (count,):
            return f"keypoints of shape {np.shape(pixels)}, their joint set has {count} joints"
        if not np.isfinite(confidence).all() or np.min(confidence, initial=0) < 0:
            return "a confidence is NaN, infinite or below zero"
        seen = confidence > 0
        if not np.isfinite(pixels[seen]).all():
            return "a keypoint is NaN or infinite"
        reach = 10 * max(view.camera.width, view.camera.height, 1)
        if seen.any() and np.abs(pixels[seen]).max() > reach:
            return f"a keypoint lies at {np.abs(pixels[seen]).max():.3g} px, far outside the image"
    return None


def _keypoint_arrays(view: View, J: int) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    yield np.asarray(view.joints_2d, float), np.asarray(view.confidence, float), J
    for name, keypoints in view.keypoints_2d.items():
        keypoints = np.asarray(keypoints, float)
        if keypoints.ndim != 2 or keypoints.shape[-1] != 3 or name not in JOINT_SETS:
            yield keypoints, keypoints, -1
        else:
            yield keypoints[:, :2], keypoints[:, 2], len(JOINT_SETS[name])


def build_evidence(
    instants: Sequence[Instant],
    extra_sets: tuple[str, ...],
    template: np.ndarray,
    defined: np.ndarray,
    settings: FitSettings,
) -> Evidence:
    """Evidence of instants that share joint set, extra keypoint sets and number of views.

    extra_sets: names of further keypoint sets, whose points follow the joint set's own. template: (N, 3) the points on the body in
    its T-pose, metres, from which bone lengths and so each view's pixels a metre are taken. defined: (N,) bool, the body has it.
    """
    joint_set = JOINT_SETS[instants[0].joint_set]
    J, N = len(joint_set), len(template)
    B, V = len(instants), len(instants[0].views)
    points, points_weight = np.zeros((B, N, 3)), np.zeros((B, N))
    pixels, weight = np.zeros((B, V, N, 2)), np.zeros((B, V, N))
    R, t, scale, up = np.zeros((B, V, 3, 3)), np.zeros((B, V, 3)), np.zeros((B, V, 2, 2)), np.zeros((B, 3))
    relative = np.ones(N)
    relative[:J] = joint_set.noise or 1.0
    for b, instant in enumerate(instants):
        if settings.manner.upright and not instant.has_world:  # most people stand, most cameras are held level
            up[b] = -instant.views[0].camera.R[1]
        if instant.joints_3d is not None:
            valid = np.ones(J, bool) if instant.joints_3d_valid is None else np.asarray(instant.joints_3d_valid, bool)
            points[b, :J][valid] = instant.joints_3d[valid]
            points_weight[b, :J] = (valid & defined[:J]) / settings.noise_3d**2
        for v, view in enumerate(instant.views):
            xy, confidence = view_keypoints(view, extra_sets)
            confidence = np.where(defined & (confidence > settings.min_confidence), confidence, 0)
            pixels[b, v] = xy
            # a joint that is known in 3D needs no second opinion from its own projections
            weight[b, v] = np.where(points_weight[b] > 0, 0, (confidence / relative) ** 2)
            R[b, v], t[b, v] = view.camera.R, view.camera.t
            inverse_depth = apparent_inverse_depth(xy, confidence > 0, template, joint_set.bones)
            f = view.camera.K[:2, :2]
            pixels_a_metre = inverse_depth * np.sqrt(f[0, 0] * f[1, 1])
            noise_2d = settings.manner.noise_2d * settings.noise_2d
            scale[b, v] = f / max(noise_2d * settings.body_height * pixels_a_metre, settings.least_noise_px)
    tensors = (points, points_weight, pixels, weight, R, t, scale, up)
    return Evidence(*(torch.as_tensor(a, dtype=torch.float64, device=settings.device) for a in tensors))


def view_keypoints(view: View, extra_sets: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Undistorted normalised coordinates (N, 2) and confidence (N,) of everything seen in a view; zeros where unseen, and where the
    lens shows nothing."""
    places, confidences = [view.joints_2d], [view.confidence]
    for name in extra_sets:
        keypoints = view.keypoints_2d.get(name, np.zeros((len(JOINT_SETS[name]), 3)))
        places.append(keypoints[:, :2])
        confidences.append(keypoints[:, 2])
    xy, confidence = np.concatenate(places).astype(float), np.concatenate(confidences).astype(float)
    seen = confidence > 0
    rays = np.zeros_like(xy)
    if seen.any():
        rays[seen] = cameras.pixel_rays(view.camera, xy[seen])
    shown = np.isfinite(rays).all(1)
    return np.where(shown[:, None], rays, 0.0), np.where(shown, confidence, 0.0)


def apparent_inverse_depth(
    xy: np.ndarray, seen: np.ndarray, template: np.ndarray, bones: Sequence[tuple[int, int]]
) -> float:
    """1 / z (1/metre) of a person from normalised coordinates xy (N, 2) of the points that are `seen` (N,).

    A bone of length L that looks l long is at most as far as L / l, seen from the side exactly there: the shortest of these
    distances that are not outliers is the best guess.
    """
    ratios = []
    for i, j in bones:
        length = np.linalg.norm(template[i] - template[j])
        if seen[i] and seen[j] and length > 0.12:
            ratios.append(np.linalg.norm(xy[i] - xy[j]) / length)
    if len(ratios) < 3:  # too few bones: the largest distance between any two points
        index = np.flatnonzero(seen)
        if len(index) < 2:
            return 0.2
        apart = np.linalg.norm(xy[index, None] - xy[index], axis=-1)
        lengths = np.linalg.norm(template[index, None] - template[index], axis=-1)
        i, j = np.unravel_index(apart.argmax(), apart.shape)
        ratios = [apart[i, j] / max(lengths[i, j], 0.1)]
    return float(np.clip(np.quantile(ratios, 0.8), 1e-3, 10))
