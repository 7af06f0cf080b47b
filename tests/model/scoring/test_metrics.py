"""Metrics against a slow twin written from the definitions, and against cases worked out by hand."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from model.scoring.metrics import (
    LEAST_DETERMINANT,
    align,
    auc,
    joint_errors,
    mpjpe,
    nearest_rotation,
    pa_mpjpe,
    pck,
    procrustes,
    root_align,
)


def slow_alignment(source, target, scale):
    """One sample, by Horn's quaternion method: the largest eigenvector of a 4 x 4 matrix, no SVD."""
    a, b = source - source.mean(0), target - target.mean(0)
    S = a.T @ b
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = S
    N = np.array(
        [
            [xx + yy + zz, yz - zy, zx - xz, xy - yx],
            [yz - zy, xx - yy - zz, xy + yx, zx + xz],
            [zx - xz, xy + yx, yy - xx - zz, yz + zy],
            [xy - yx, zx + xz, yz + zy, zz - xx - yy],
        ]
    )
    w, x, y, z = np.linalg.eigh(N)[1][:, -1]
    R = Rotation.from_quat([x, y, z, w]).as_matrix()
    s = sum(q @ R @ p for p, q in zip(a, b, strict=True)) / sum(p @ p for p in a) if scale else 1.0
    return np.array([s * R @ p for p in a]) + target.mean(0)


def slow_mpjpe(prediction, truth):
    return sum(np.linalg.norm(p - q) for p, q in zip(prediction, truth, strict=True)) / len(truth)


@pytest.fixture(scope="module")
def pairs():
    """Predictions (200, 17, 3) near to truths, half of them mirrored (what tempts an alignment to reflect)."""
    rng = np.random.default_rng(1)
    truth = rng.normal(0, 0.4, (200, 17, 3))
    R = Rotation.random(200, rng=2).as_matrix()
    prediction = (truth + rng.normal(0, 0.05, truth.shape)) @ np.swapaxes(R, 1, 2) * rng.uniform(0.7, 1.4, (200, 1, 1))
    prediction[::2, :, 0] *= -1
    return prediction + rng.normal(0, 1, (200, 1, 3)), truth


def test_metrics_equal_the_slow_twin(pairs):
    prediction, truth = pairs
    assert np.allclose(mpjpe(prediction, truth), [slow_mpjpe(*pair) for pair in zip(*pairs, strict=True)], atol=1e-9)
    for scale in (True, False):
        slow = [slow_mpjpe(slow_alignment(p, q, scale), q) for p, q in zip(prediction, truth, strict=True)]
        assert np.allclose(pa_mpjpe(prediction, truth, scale=scale), slow, atol=1e-6)


def test_squared_error_falls_from_root_to_rigid_to_similarity(pairs):
    prediction, truth = pairs
    squared = [
        (joint_errors(points, reference) ** 2).sum(1)
        for points, reference in (
            (root_align(prediction, 0), root_align(truth, 0)),
            (align(prediction, truth, scale=False), truth),
            (align(prediction, truth), truth),
        )
    ]
    assert (squared[1] <= squared[0] + 1e-12).all() and (squared[2] <= squared[1] + 1e-12).all()
    assert (squared[2] < squared[0] / 2).mean() > 0.9


def test_known_similarity_is_undone():
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(1, 14, 3))
    R = Rotation.from_euler("xyz", [30, -50, 170], degrees=True).as_matrix()
    moved = (truth - [0.3, 2, -1]) @ R / 1.7
    s, found, t = procrustes(moved, truth)
    assert np.allclose(s, 1.7) and np.allclose(found[0], R) and np.allclose(t[0], [0.3, 2, -1])
    assert pa_mpjpe(moved, truth)[0] < 1e-12
    # Without scale each joint stays at 1 / 1.7 of its distance from the centre.
    centred = truth[0] - truth[0].mean(0)
    assert np.isclose(pa_mpjpe(moved, truth, scale=False)[0], np.linalg.norm(centred, axis=1).mean() * (1 - 1 / 1.7))


def test_offset_by_hand():
    truth = np.zeros((1, 2, 3))
    prediction = np.array([[[0.03, 0, 0.04], [0, 0.1, 0]]])
    assert np.isclose(mpjpe(prediction, truth)[0], (0.05 + 0.1) / 2)


def test_reflection_is_not_an_alignment():
    """A mirrored pose keeps an error, and the rotation found stays a rotation; the optimum is checked by a direct
    search."""
    truth = np.random.default_rng(4).normal(size=(1, 17, 3))
    mirrored = truth * [-1, 1, 1]
    s, R, t = procrustes(mirrored, truth)
    assert np.isclose(np.linalg.det(R[0]), 1)

    def cost(x):
        return ((np.exp(x[3]) * mirrored[0] @ Rotation.from_rotvec(x[:3]).as_matrix().T + x[4:] - truth[0]) ** 2).sum()

    starts = Rotation.random(8, rng=5).as_rotvec()
    best = min(minimize(cost, [*start, 0, 0, 0, 0]).fun for start in starts)
    found = ((align(mirrored, truth) - truth) ** 2).sum()
    assert found > 0.1 and found <= best + 1e-6


def test_planar_mirrored_pose_aligns_by_turning_it_over():
    flat = np.random.default_rng(6).normal(size=(1, 10, 3)) * [1, 1, 0]
    assert pa_mpjpe(flat * [-1, 1, 1], flat)[0] < 1e-12


@pytest.mark.parametrize("scale", [True, False])
def test_collinear_and_coincident_joints(scale):
    line = np.linspace(-1, 1, 5)[None, :, None] * np.array([1.0, 0, 0])
    turned = np.linspace(-1, 1, 5)[None, :, None] * np.array([0, 0.6, 0.8])
    s, R, _ = procrustes(turned, line, scale=scale)
    assert np.isclose(np.linalg.det(R[0]), 1) and pa_mpjpe(turned, line, scale=scale)[0] < 1e-12
    point = np.ones((1, 5, 3))
    assert np.isclose(pa_mpjpe(point, line, scale=scale)[0], 0.6)
    assert np.isfinite(procrustes(point, point, scale=scale)[0]).all()


def test_joints_that_are_not_valid_count_nowhere(pairs):
    prediction, truth = (part.copy() for part in pairs)
    valid = np.random.default_rng(7).random(truth.shape[:2]) < 0.7
    valid[0] = False
    prediction[~valid], truth[~valid] = np.nan, 1e6
    for metric in (mpjpe, pa_mpjpe):
        found = metric(prediction, truth, valid)
        assert np.isnan(found[0])
        for k in range(1, 20):
            assert np.isclose(found[k], metric(prediction[k : k + 1, valid[k]], truth[k : k + 1, valid[k]])[0])


def test_pck_and_auc_by_hand():
    errors = np.array([[0.0, 0.0749, 0.1499, 0.150], [0.01, 0.02, 9.0, 9.0]])
    assert pck(errors) == 5 / 8
    # Of the 31 thresholds 0..150 mm: error 0 is below 30 of them, 74.9 mm below 16, 149.9 below 1, 10 below 28, 20
    # below 26.
    assert np.isclose(auc(errors), (30 + 16 + 1 + 28 + 26) / 31 / 8)
    valid = np.array([[True, False, False, False], [False, False, False, True]])
    assert pck(errors, valid) == 0.5 and np.isclose(auc(errors, valid), 30 / 31 / 2)


def test_a_prediction_that_is_not_finite_spoils_only_itself(pairs):
    prediction, truth = pairs[0][:3].copy(), pairs[1][:3]
    prediction[1, 4] = np.nan
    found = pa_mpjpe(prediction, truth)
    assert np.isnan(found[1]) and np.allclose(found[[0, 2]], pa_mpjpe(pairs[0][:3], truth)[[0, 2]])


def test_nearest_rotation_equals_the_svd_for_every_kind_of_matrix():
    """Newton's iteration down to the worst conditioned matrix it is given, and the SVD beyond it, mirrored and
    singular."""
    rng = np.random.default_rng(8)
    U, V = (Rotation.random(3000, rng=k).as_matrix() for k in (9, 10))
    middle = 10 ** rng.uniform(-3, 0, 3000)
    small = middle * 10 ** rng.uniform(-5, 0, 3000) * rng.choice([-1, 1], 3000)
    size = 10 ** rng.uniform(-9, 3, 3000)
    M = (U * np.stack([np.ones(3000), middle, small], 1)[:, None]) @ V * size[:, None, None]
    determinants = np.linalg.det(M / np.linalg.norm(M, axis=(1, 2), keepdims=True))
    assert (determinants > LEAST_DETERMINANT).sum() > 300 and (determinants < 0).sum() > 1000
    R = nearest_rotation(M)
    # U V up to a turn that costs nothing: compare what is maximised, and where the answer is unique the rotation
    # itself.
    assert np.allclose(np.linalg.det(R), 1) and np.allclose(R @ np.swapaxes(R, 1, 2), np.eye(3), atol=1e-12)
    best = (1 + middle + small) * size
    assert np.abs(np.einsum("nab,nab->n", R, M) / best - 1).max() < 1e-12
    unique = middle + small > 1e-2
    assert np.abs((R - U @ V)[unique]).max() < 1e-9
    assert np.linalg.det(nearest_rotation(np.zeros((1, 3, 3))))[0] == pytest.approx(1)
