"""What fitted bodies say of themselves, against the truth."""

import numpy as np

from model.body_fit import Bodies, Hypotheses
from model.data.views import Views
from model.scoring import metrics
from model.scoring.evaluation import ground_truth

PARTS = 5


def body_report(bodies: Bodies, views: Views, index: np.ndarray) -> dict:
    """doubtful: share of bodies with a doubt; doubts: how many have each. spread: for each fifth of the joints by their stated spread,
    the root mean squares of what was stated and of the true errors, mm. JSON-able.
    """
    doubts: dict[str, int] = {}
    for said in bodies.doubts:
        for doubt in filter(None, said.split("; ")):
            kind = "joints may be far off" if doubt.startswith("joints may be") else doubt
            doubts[kind] = doubts.get(kind, 0) + 1
    truth, known = ground_truth(views, index)
    root = views.joint_set.root_index
    known = known & known[:, root, None] & (np.arange(len(views.joint_set)) != root)
    errors = np.linalg.norm(bodies.joints - (truth - truth[:, root, None]), axis=-1)[known]
    return {
        "doubtful": round(float(np.mean([bool(said) for said in bodies.doubts])), 5) if bodies.doubts else None,
        "doubts": doubts,
        "spread": spread_rows(bodies.spread[known], errors),
    }


def spread_rows(stated: np.ndarray, errors: np.ndarray) -> list[dict[str, float]]:
    """stated, errors: (n,) m."""
    order = np.argsort(stated, kind="stable")
    rms = lambda values: round(1000 * float(np.sqrt(np.square(values).mean())), 2)  # noqa: E731
    return [
        {"joints": len(rows), "stated_mm": rms(stated[rows]), "true_mm": rms(errors[rows])}
        for rows in np.array_split(order, PARTS)
        if len(rows)
    ]


def hypotheses_report(found: Hypotheses, views: Views, index: np.ndarray) -> dict:
    """Errors of the fitted body and of the best of the K in each view (the published way of scoring ambiguity), over views whose every
    joint is known; how many different bodies there were; and the mean weight that the best ones had. JSON-able.
    """
    truth, known = ground_truth(views, index)
    whole = known.all(1)
    if not whole.any():
        return {"asked": found.joints.shape[1], "views": 0}
    joints, true, weights = found.joints[whole], truth[whole], found.weights[whole]
    (n, K), root = weights.shape, views.joint_set.root_index
    true = metrics.root_align(np.repeat(true, K, 0), root)
    aligned = metrics.root_align(joints.reshape(n * K, *joints.shape[2:]), root)
    errors = {"mpjpe": metrics.mpjpe(aligned, true), "pa_mpjpe": metrics.pa_mpjpe(aligned, true)}
    there = weights > 0
    said: dict = {"asked": K, "views": n, "mean_count": round(float(there.sum(1).mean()), 3)}
    for name, values in errors.items():
        each = np.where(there, values.reshape(n, K), np.inf)
        said[f"fitted_{name}_mm"] = round(1000 * float(each[:, 0].mean()), 3)
        said[f"min_of_k_{name}_mm"] = round(1000 * float(each.min(1).mean()), 3)
    best = np.where(there, errors["mpjpe"].reshape(n, K), np.inf).argmin(1)
    return said | {"weight_of_the_best": round(float(weights[np.arange(n), best].mean()), 4)}
