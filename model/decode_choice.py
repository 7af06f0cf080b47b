"""What a run decides at its end: its pose prior, and whether bodies are better than votes on its validation views."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from model.body_fit import BodyDecoder
from model.body_fit.prior import learn_prior, prior_of, prior_sum, prior_tensors
from model.data.poses import body_poses
from model.data.views import Views
from model.decoding import BODY, LEARNT, MOTION, USUAL_SPREAD, VOTES, spread_factor
from model.evaluate import predict_views
from model.scoring.evaluation import ground_truth, view_errors
from model.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.training.runs import load_run
from pipeline.body.model import load_body
from pipeline.fit.learned_priors import MixturePrior


# networks that are built on the way draw from the run's generator, the first time more
@torch.random.fork_rng(devices=[])
def settle_decode(
    folder: Path, path: Path, training: Views, validation: Views | None, index: np.ndarray, device: torch.device
) -> dict:
    """Learns the prior, chooses on the validation views `index`, and puts both into the checkpoint at `path`, which `load_run`
    gives for the run in `folder`. Returns what the record says of it.
    """
    poses = body_poses(training)
    learnt = learn_prior(poses)
    tensors = {} if learnt is None else prior_tensors(learnt)
    prior = None if learnt is None else prior_of(tensors, path)
    said: dict = {"decode": VOTES, "prior": MOTION if prior is None else LEARNT, "spread_factor": USUAL_SPREAD}
    said["pose_prior"] = prior and {
        "poses": len(poses),
        "components": len(prior.weights),
        "sha256": prior_sum(tensors),
    }
    if validation is not None and len(index):
        said |= choose(folder, validation, index, prior, device)
    checkpoint = load_checkpoint(path)
    others = {name: t for name, t in checkpoint.tensors.items() if not name.startswith("pose_prior.")}
    kept = others | {f"pose_prior.{name}": tensor for name, tensor in tensors.items()}
    save_checkpoint(path, Checkpoint(kept, {**checkpoint.record, "body": said}))
    return said


def choose(
    folder: Path, validation: Views, index: np.ndarray, prior: MixturePrior | None, device: torch.device
) -> dict:
    """The errors of votes, and of bodies under each prior, on some validation views; and the decode, prior and spread's factor that
    follow. Bodies must be better in MPJPE to be chosen.
    """
    network, config, _ = load_run(folder, device)
    predicted = predict_views(network, validation, index, device, bf16=config.train.bf16)
    truth, known = ground_truth(validation, index)
    joint_set = validation.joint_set

    def errors(joints: np.ndarray) -> dict[str, float]:
        found = view_errors(replace(predicted, joints=joints), truth, known, joint_set)
        return {f"{name}_mm": round(1000 * float(np.nanmean(found[name])), 3) for name in ("mpjpe", "pa_mpjpe")}

    rows, factors = {VOTES: errors(predicted.joints)}, {}
    for name, one in {MOTION: None, LEARNT: prior}.items():
        if name == LEARNT and one is None:
            continue
        bodies = BodyDecoder(load_body(), joint_set, prior=one)(
            predicted.joints, predicted.root, confidence=predicted.confidence
        )
        rows[f"{BODY}, {name} prior"] = errors(bodies.joints)
        factors[name] = spread_factor(bodies.spread, bodies.joints, truth, known)
    best = min(factors, key=lambda name: rows[f"{BODY}, {name} prior"]["mpjpe_mm"])
    better = rows[f"{BODY}, {best} prior"]["mpjpe_mm"] < rows[VOTES]["mpjpe_mm"]
    return {
        "decode": BODY if better else VOTES,
        "prior": best,
        "spread_factor": factors[best],
        "validation": {"views": len(index), **rows},
    }


def choice_line(said: dict) -> str:
    """What was chosen, in a sentence."""
    rows = said.get("validation")
    if rows is None:
        return f"No validation view says whether bodies are better: {said['decode']} stay the decode."
    errors = ", ".join(f"{name} {row['mpjpe_mm']:.1f} mm" for name, row in rows.items() if name != "views")
    return f"On {rows['views']} validation views: {errors}. `nvf-cli evaluate` decodes by {said['decode']} unless told otherwise."
