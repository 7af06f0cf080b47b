"""Errors of predicted joints: MPJPE, Procrustes alignment, PCK and AUC. Batched, float64, metres.

Shapes: N samples, J joints. `valid` (N, J) bool says which joints count; None counts all. A sample without a valid
joint is NaN. Inputs may be arrays or CPU tensors.
"""

import numpy as np

PCK_THRESHOLD = 0.150
# MPI-INF-3DHP's area under the curve: the mean PCK over thresholds of 0 to 150 mm in steps of 5 mm.
AUC_THRESHOLDS = np.arange(31) * 0.005


def root_align(points: np.ndarray, root: int) -> np.ndarray:
    """(N, J, 3) relative to joint `root`."""
    points = np.asarray(points, np.float64)
    return points - points[:, root : root + 1]


def joint_errors(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N, J) metres: distance of each joint."""
    difference = np.asarray(prediction, np.float64) - np.asarray(truth, np.float64)
    return np.sqrt(np.einsum("njk,njk->nj", difference, difference))


def sample_mean(values: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """(N, J) -> (N,): mean over each sample's valid joints; NaN where there are none."""
    if valid is None:
        return values.mean(1)
    count = valid.sum(1)
    return np.where(valid, values, 0.0).sum(1) / np.where(count, count, np.nan)


def mpjpe(prediction: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """(N,) metres: mean per joint position error of each sample, in the frame the inputs are in (align the root
    before)."""
    return sample_mean(joint_errors(prediction, truth), valid)


def procrustes(
    source: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None, scale: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The motions that bring each source closest to its target: s (N,), R (N, 3, 3), t (N, 3) of `s R x + t`.

    Least squares over the valid joints (Umeyama 1991). R is a rotation, never a reflection. scale=False keeps s at 1
    (a rigid motion). Where all source joints coincide s is 1.
    A sample with a joint that is not finite gets a t that is not finite.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    weight = np.ones(source.shape[:2]) if valid is None else np.asarray(valid, np.float64)
    count = np.maximum(weight.sum(1), 1)[:, None]
    # Joints that do not count may hold anything, also NaN.
    source, target = (np.where(weight[..., None] > 0, points, 0.0) for points in (source, target))
    source_mean, target_mean = source.sum(1) / count, target.sum(1) / count
    source = (source - source_mean[:, None]) * weight[..., None]
    target = (target - target_mean[:, None]) * weight[..., None]
    covariance = np.swapaxes(target, 1, 2) @ source
    # svd would raise; the means of such a sample carry the NaN into t.
    covariance[~np.isfinite(covariance).all((1, 2))] = 0.0
    U, singular, Vt = np.linalg.svd(covariance)
    # The best rotation takes the smallest singular value with a minus where U Vt would be a reflection.
    sign = np.where(np.linalg.det(U) * np.linalg.det(Vt) < 0, -1.0, 1.0)
    U[:, :, 2] *= sign[:, None]
    R = U @ Vt
    s = np.ones(len(source))
    if scale:
        variance = np.einsum("njk,njk->n", source, source)
        trace = singular[:, 0] + singular[:, 1] + sign * singular[:, 2]
        s = np.divide(trace, variance, out=s, where=variance > 0)
    t = target_mean - s[:, None] * np.einsum("nab,nb->na", R, source_mean)
    return s, R, t


def align(
    prediction: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None, scale: bool = True
) -> np.ndarray:
    """(N, J, 3) predictions moved onto the truth by `procrustes`: a similarity, or a rigid motion with scale=False."""
    s, R, t = procrustes(prediction, truth, valid, scale)
    return np.asarray(prediction, np.float64) @ np.swapaxes(s[:, None, None] * R, 1, 2) + t[:, None]


def pa_mpjpe(
    prediction: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None, scale: bool = True
) -> np.ndarray:
    """(N,) metres: MPJPE after the best similarity (or rigid motion) of each sample."""
    return mpjpe(align(prediction, truth, valid, scale), truth, valid)


def pck(errors: np.ndarray, valid: np.ndarray | None = None, threshold: float = PCK_THRESHOLD) -> float:
    """Share of joints, 0..1, whose error (N, J) metres is below the threshold."""
    errors = errors.ravel() if valid is None else errors[valid]
    return float((errors < threshold).mean()) if errors.size else float("nan")


def auc(errors: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Mean of `pck` over AUC_THRESHOLDS, 0..1."""
    errors = np.sort(errors.ravel() if valid is None else errors[valid])
    if not errors.size:
        return float("nan")
    return float(np.searchsorted(errors, AUC_THRESHOLDS, side="left").mean() / errors.size)
