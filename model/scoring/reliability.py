"""Whether a stated confidence means what it says."""

import numpy as np

from model.networks.certainty import RIGHT_M

BINS = 10


def reliability(confidence: np.ndarray, errors: np.ndarray, root: int) -> dict:
    """Stated confidences (N, J) against errors (N, J) m of the same joints, NaN where the truth is not known; JSON-able.

    root: the joint that errors are relative to. It is right by definition and counts nowhere.
    rows: for each tenth of confidence that was stated, how many joints, their mean confidence, and how many of them lie within
    100 mm. expected_error: mean distance of the two, weighted by joints (expected calibration error).
    """
    known = np.isfinite(errors) & (np.arange(errors.shape[1]) != root)
    stated, right = confidence[known].astype(float), errors[known] < RIGHT_M
    bins = np.clip((stated * BINS).astype(int), 0, BINS - 1)
    rows = [
        {
            "from": k / BINS,
            "joints": int((bins == k).sum()),
            "stated": round(float(stated[bins == k].mean()), 4),
            "within_100mm": round(float(right[bins == k].mean()), 4),
        }
        for k in np.unique(bins).tolist()
    ]
    off = sum(row["joints"] * abs(row["stated"] - row["within_100mm"]) for row in rows) / max(1, len(stated))
    return {"rows": rows, "expected_error": round(off, 4)}
