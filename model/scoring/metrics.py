"""Errors of predicted joints: MPJPE, Procrustes alignment, PCK and AUC. Batched, float64, metres.

Shapes: N samples, J joints. `valid` (N, J) bool says which joints count; None counts all. A sample without a valid
joint is NaN. Inputs may be arrays or CPU tensors.
"""

import numpy as np

PCK_THRESHOLD = 0.150
# MPI-INF-3DHP's area under the curve: the mean PCK over thresholds of 0 to 150 mm in steps of 5 mm.
AUC_THRESHOLDS = np.arange(31) * 0.005
CHUNK = 1024
# Of a matrix of norm 1: below it (the largest possible is 0.19) its rotation is left to an SVD. Above it Newton's
# iteration is exact to rounding after so many steps, with one to spare.
LEAST_DETERMINANT, NEWTON_STEPS = 1e-5, 8


def root_align(points: np.ndarray, root: int) -> np.ndarray:
    """(N, J, 3) relative to joint `root`."""
    points = np.asarray(points, np.float64)
    return points - points[:, root : root + 1]


def joint_errors(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N, J) metres: distance of each joint."""
    prediction, truth = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    errors = np.empty(truth.shape[:2])
    for part in _chunks(len(truth)):
        squares = prediction[part] - truth[part]
        squares *= squares
        np.add(squares[..., 0], squares[..., 1], out=errors[part])
        errors[part] += squares[..., 2]
    return np.sqrt(errors, out=errors)


def _chunks(n: int) -> list[slice]:
    """Samples so many at a time that intermediate results stay in the processor's cache."""
    return [slice(start, start + CHUNK) for start in range(0, n, CHUNK)]


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
    s, R, t = np.ones(len(source)), np.empty((len(source), 3, 3)), np.empty((len(source), 3))
    for part in _chunks(len(source)):
        a, a_mean = _centred(source[part], None if valid is None else valid[part])
        b, b_mean = _centred(target[part], None if valid is None else valid[part])
        covariance = np.swapaxes(b, 1, 2) @ a
        R[part] = nearest_rotation(covariance)
        if scale:
            variance = np.einsum("njk,njk->n", a, a)
            trace = np.einsum("nab,nab->n", R[part], covariance)
            s[part] = np.divide(trace, variance, out=s[part], where=variance > 0)
        t[part] = b_mean - s[part, None] * np.einsum("nab,nb->na", R[part], a_mean)
    return s, R, t


def _centred(points: np.ndarray, valid: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(N, J, 3) less the mean of their valid joints, zero at the others; and that mean, (N, 3)."""
    if valid is None:
        mean = points.mean(1)
        return points - mean[:, None], mean
    # Joints that do not count may hold anything, also NaN.
    counts = np.asarray(valid, bool)[..., None]
    mean = np.where(counts, points, 0.0).sum(1) / np.maximum(counts.sum(1), 1)
    return np.where(counts, points - mean[:, None], 0.0), mean


def nearest_rotation(matrices: np.ndarray) -> np.ndarray:
    """(N, 3, 3) the rotations R with the largest trace of R^T M, never reflections.

    Where M is well conditioned with a positive determinant, R is its polar factor, by Newton's iteration with Higham's
    scaling (1986) on all samples at once; elsewhere (mirrored, flat or collinear points) an SVD decides.
    """
    norms = np.sqrt(np.einsum("nab,nab->n", matrices, matrices))
    sound = np.isfinite(norms) & (norms > 0)
    X = (matrices / np.where(sound, norms, 1.0)[:, None, None]).transpose(1, 2, 0).copy()
    with np.errstate(all="ignore"):
        determinant = np.einsum("kn,kn->n", X[0], _cofactors(X)[0])
        easy = sound & (determinant > LEAST_DETERMINANT)
        for _ in range(NEWTON_STEPS):
            cofactors = _cofactors(X)
            inverse = cofactors / np.einsum("kn,kn->n", X[0], cofactors[0])  # transposed
            gain = ((inverse * inverse).sum((0, 1)) / (X * X).sum((0, 1))) ** 0.25
            X = 0.5 * (gain * X + inverse / gain)
    rotations = X.transpose(2, 0, 1).copy()
    if not easy.all():
        rotations[~easy] = _nearest_rotation_svd(np.where(sound[~easy, None, None], matrices[~easy], 0.0))
    return rotations


def _cofactors(X: np.ndarray) -> np.ndarray:
    """(3, 3, N) -> (3, 3, N): cross products of the rows, the inverse transposed times the determinant."""
    result = np.empty_like(X)
    for i in range(3):
        a, b = X[i - 2], X[i - 1]
        for k in range(3):
            np.subtract(a[k - 2] * b[k - 1], a[k - 1] * b[k - 2], out=result[i, k])
    return result


def _nearest_rotation_svd(matrices: np.ndarray) -> np.ndarray:
    """The same by Kabsch and Umeyama: the smallest singular value's direction is turned round where U Vt would
    reflect."""
    U, _, Vt = np.linalg.svd(matrices)
    U[:, :, 2] *= np.where(np.linalg.det(U) * np.linalg.det(Vt) < 0, -1.0, 1.0)[:, None]
    return U @ Vt


def align(prediction: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None, scale: bool = True) -> np.ndarray:
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
