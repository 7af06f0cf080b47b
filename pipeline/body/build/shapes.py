"""The statistics of the sample: mean body, shape directions, joint regressor, and how well they do on other people."""

from dataclasses import dataclass

import numpy as np

from pipeline.body.build.source import People
from pipeline.skeletons import SMPLX_55

CARRIERS = 600  # vertices that may carry a joint
REACH = 0.3  # metres: how far around the joint they lie, or farther where the part has too few vertices there
RIDGE = 1e-3  # metres: position noise that the weights must bear


@dataclass(frozen=True)
class ShapeSpace:
    """mean: (V, 3) metres. directions: (V, 3, K) metres per standard deviation of the sample, orthogonal, by variance."""

    mean: np.ndarray
    directions: np.ndarray
    explained: float

    def coefficients(self, vertices: np.ndarray) -> np.ndarray:
        """(N, K): the bodies (N, V, 3) projected on the directions."""
        D = self.directions.reshape(-1, self.directions.shape[2])
        return (vertices - self.mean).reshape(len(vertices), -1) @ D / (D**2).sum(0)

    def bodies(self, coefficients: np.ndarray) -> np.ndarray:
        """(N, V, 3) metres from (N, K) coefficients."""
        return self.mean + np.tensordot(coefficients, self.directions, (1, 2))


def principal_shapes(vertices: np.ndarray, n: int, mean: np.ndarray | None = None) -> ShapeSpace:
    """The n directions of largest variance of bodies (N, V, 3). The sign of each makes the largest mean change in height or, failing
    that, the largest single displacement positive, so that it does not hang on the linear algebra library."""
    mean = vertices.mean(0) if mean is None else mean
    X = (vertices - mean).reshape(len(vertices), -1)
    variance, U = np.linalg.eigh(X @ X.T / len(X))  # N x N: there are fewer bodies than coordinates
    variance, U = variance[::-1], U[:, ::-1]
    directions = (X.T @ U[:, :n] / np.sqrt(len(X))).reshape(*mean.shape, n)
    stature = np.abs(directions[:, 1]).max(0)
    for k in range(n):
        pivot = directions[..., k].ravel()[np.abs(directions[..., k]).argmax()]
        rise = directions[mean[:, 1].argmax(), 1, k] - directions[mean[:, 1].argmin(), 1, k]
        directions[..., k] *= np.sign(rise if abs(rise) > 0.2 * stature[k] else pivot)
    return ShapeSpace(mean, directions, float(variance[:n].sum() / variance.sum()))


def joint_regressor(
    people: People, weights: np.ndarray, expressions: np.ndarray, eyes: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """(55, V): each joint as a weighted sum of vertices around it, weights summing to one (ridge least squares over the sample).

    The carriers are spread evenly over the parts that meet at the joint: the nearest ones alone, a patch of skin, say little
    about depth.
    Vertices that expressions move carry no joint, so a smile does not move the neck. An eye is the centre of its ball.
    """
    regressor = np.zeros((len(SMPLX_55), people.vertices.shape[1]))
    still = np.abs(expressions).max((1, 2)) < 1e-4
    still[np.concatenate(eyes)] = False
    mean_vertices, mean_joints = people.vertices.mean(0), people.joints.mean(0)
    for j, name in enumerate(SMPLX_55.names):
        if name in ("left_eye", "right_eye"):
            ball = eyes[name == "right_eye"]
            regressor[j, ball] = 1 / len(ball)
            continue
        family = [k for k in range(len(SMPLX_55)) if k == j or SMPLX_55.parents[k] == j or SMPLX_55.parents[j] == k]
        around = np.flatnonzero(still & (weights[:, family].sum(1) > 0.3))
        chosen = around[carriers(mean_vertices[around], mean_joints[j])]
        regressor[j, chosen] = weighted_sum(people.vertices[:, chosen], people.joints[:, j])
    return regressor


def carriers(points: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Indices of up to CARRIERS of the points (P, 3) within reach of the joint, by farthest-point sampling from the nearest one."""
    distance = np.linalg.norm(points - joint, axis=1)
    near = np.flatnonzero(distance <= max(REACH, np.sort(distance)[min(CARRIERS, len(points) - 1)]))
    chosen = [int(distance[near].argmin())]
    gap = np.linalg.norm(points[near] - points[near[chosen[0]]], axis=1)
    while len(chosen) < min(CARRIERS, len(near)):
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, np.linalg.norm(points[near] - points[near[chosen[-1]]], axis=1))
    return near[chosen]


def weighted_sum(vertices: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """(K,) weights w with sum 1 that minimise mean |sum_k w_k v_k - joint|^2 + RIDGE^2 |w|^2; vertices (N, K, 3), joint (N, 3).

    Positions are taken relative to the joint; the constraint is a Lagrange row.
    """
    n, k = vertices.shape[:2]
    A = (vertices - joint[:, None]).transpose(0, 2, 1).reshape(-1, k)
    kkt = np.zeros((k + 1, k + 1))
    kkt[:k, :k] = A.T @ A / n + RIDGE**2 * np.eye(k)
    kkt[k, :k] = kkt[:k, k] = 1
    return np.linalg.solve(kkt, np.append(np.zeros(k), 1.0))[:k]


def regressor_errors(regressor: np.ndarray, people: People) -> np.ndarray:
    """(N, 55) metres between the regressed and the true joints."""
    return np.linalg.norm(np.einsum("jv,nva->nja", regressor, people.vertices) - people.joints, axis=-1)
