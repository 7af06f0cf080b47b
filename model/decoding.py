"""Which joints of a run count: those that its head gives ("votes"), or those of bodies fitted to them ("body").

A run says at its end which of the two is better on validation, and keeps the pose prior that it learnt from its own training fits.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from model.body_fit import Bodies, BodyDecoder, Hypotheses
from model.body_fit.prior import learn_prior, prior_of, prior_sum, prior_tensors
from model.body_fit.records import stacked
from model.data.poses import body_poses
from model.data.views import Views
from model.scoring.evaluation import Predictions
from model.training.checkpoint import load_checkpoint
from model.training.runs import find_weights
from pipeline.body.model import BodyModel, load_body, move_body
from pipeline.errors import InputError
from pipeline.fit.learned_priors import MixturePrior
from pipeline.outputs import write_file
from pipeline.records import PARAMETER_SIZES, BodyParameters
from pipeline.skeletons import JointSet

# What may be asked for; "auto" is what the run chose.
VOTES, BODY, AUTO = "votes", "body", "auto"
# Priors of poses: of real people's motion, which comes with the program, and of the run's own training fits.
MOTION, LEARNT = "motion", "learnt"
# How much further off joints are than the fit expects, in runs that have not measured it.
USUAL_SPREAD = 2.3
UNITS = (
    "SMPL-X parameters of the free body in the source camera's axes (x right, y down, z forward): global_orient, body_pose and "
    "the other poses are axis-angle in radians, transl and root metres, joints and spread metres relative to the root, betas and "
    "expression without a unit"
)


@dataclass(frozen=True)
class RunDecoder:
    """How a run's predictions become bodies. prior: MOTION or LEARNT, or what else it is called; poses: that it was learnt from."""

    decoder: BodyDecoder
    prior: str
    poses: int
    sha256: str | None

    def facts(self) -> dict:
        """What a report says of it."""
        return {
            "prior": self.prior,
            "poses": self.poses,
            "prior_sha256": self.sha256,
            "spread_factor": self.decoder.spread_factor,
        }


def decode_of(asked: str, record: dict) -> str:
    """VOTES or BODY: what is asked for, or for AUTO what the run chose. A run that chose nothing has votes."""
    return (record.get("body") or {}).get("decode", VOTES) if asked == AUTO else asked


def pose_prior(run: Path, record: dict) -> MixturePrior | None:
    """The prior that a run keeps, None where it keeps none. Raises InputError when it is not what the record says."""
    said = (record.get("body") or {}).get("pose_prior")
    if said is None:
        return None
    path = find_weights(Path(run))
    tensors = load_checkpoint(path).part("pose_prior")
    prior = prior_of(tensors, path)
    if prior_sum(tensors) != said["sha256"]:
        raise InputError(
            f"{path}: its pose prior is not the one that its record names. Copy the file again, or train again."
        )
    return prior


def run_decoder(run: Path, record: dict, joint_set: JointSet, training: Views | None = None) -> RunDecoder:
    """The body decode of a run: with the prior that it chose, else with one learnt from its training views where they are given, else
    with the prior of real people's motion. training: views of its training split.
    """
    said = record.get("body")
    kept = pose_prior(run, record)
    poses = said["pose_prior"]["poses"] if said and kept is not None else 0
    if said is None and training is not None:
        known = body_poses(training)
        kept, poses = learn_prior(known), len(known)
    if kept is not None:  # what is learnt now is what a checkpoint would give back
        kept = prior_of(prior_tensors(kept), Path(run))
    use = kept if said is None or said["prior"] == LEARNT else None
    decoder = BodyDecoder(
        load_body(), joint_set, prior=use, spread_factor=said["spread_factor"] if said else USUAL_SPREAD
    )
    if use is None:
        return RunDecoder(decoder, MOTION, 0, None)
    return RunDecoder(decoder, LEARNT, poses, prior_sum(prior_tensors(use)))


def fitted(predicted: Predictions, decoder: BodyDecoder) -> tuple[Predictions, Bodies]:
    """The joints of bodies that are fitted to the predicted ones, at the network's own scale, and the bodies. seconds: of both."""
    started = time.perf_counter()
    bodies = decoder(predicted.joints, predicted.root, confidence=predicted.confidence)
    seconds = predicted.seconds + time.perf_counter() - started
    return replace(predicted, joints=bodies.joints, root=bodies.root, seconds=seconds), bodies


def spread_factor(spread: np.ndarray, joints: np.ndarray, truth: np.ndarray, known: np.ndarray) -> float:
    """By what a stated spread (N, J) m is to be multiplied to be the root mean square of the errors; USUAL_SPREAD of nothing known.
    joints, truth: (N, J, 3) m about the root. known: (N, J) bool.
    """
    used = known & (spread > 0)
    if not used.any():
        return USUAL_SPREAD
    errors = np.linalg.norm(joints - truth, axis=-1)[used]
    # in proportion: a joint that is expected to be far off must not decide alone
    return round(float(np.sqrt(np.square(errors / spread[used]).mean())), 4)


def save_bodies(
    path: Path,
    bodies: Bodies,
    body: BodyModel,
    views: Views,
    index: Sequence[int] | np.ndarray,
    others: Hypotheses | None = None,
) -> None:
    """An .npz of plain arrays: SMPL-X parameters by their names, each with one row a view, in the source camera's axes; `units` says
    what they are in. others: hypotheses of the same views; their arrays have a second axis for them.
    """
    turns = np.asarray(views["R_crop"][index], np.float64).transpose(0, 2, 1)
    arrays: dict[str, Any] = in_source_axes(bodies.parameters, body, turns)
    arrays |= {
        "id": views["id"][index],
        "joint_names": np.array(views.joint_set.names),
        "joints": np.einsum("nab,njb->nja", turns, bodies.joints).astype(np.float32),
        "root": np.einsum("nab,nb->na", turns, bodies.root).astype(np.float32),
        "spread": bodies.spread.astype(np.float32),
        "doubts": np.array(bodies.doubts, dtype=str),
        "model_type": "smplx",
        "gender": "neutral",
        "body_model": body.name,
        "body_sha256": body.sha256,
        "units": UNITS,
    }
    if others is not None:
        each = [in_source_axes(parameters, body, turns) for parameters in others.parameters]
        arrays |= {f"hypotheses_{name}": np.stack([one[name] for one in each], 1) for name in PARAMETER_SIZES}
        arrays["hypotheses_joints"] = np.einsum("nab,nkjb->nkja", turns, others.joints).astype(np.float32)
        arrays["hypotheses_weights"] = others.weights.astype(np.float32)
    data = BytesIO()
    np.savez_compressed(data, **arrays)
    write_file(path, data.getvalue())


def in_source_axes(parameters: Sequence[BodyParameters], body: BodyModel, turns: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays (N, size) by name of the bodies turned by `turns` (N, 3, 3), float32."""
    moved = [move_body(body, one, R, np.zeros(3)) for one, R in zip(parameters, turns, strict=True)]
    return {name: values.astype(np.float32) for name, values in stacked(moved).items()}
