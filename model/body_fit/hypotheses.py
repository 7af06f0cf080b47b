"""Several bodies that explain one image: the fitted one, and those with a limb or the torso in another depth twin."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.fit import starts
from pipeline.fit.kinematics import State
from pipeline.fit.objective import Objective
from pipeline.fit.race import DIFFERENT, Finalists, different, distances, race
from pipeline.records import BodyParameters
from pipeline.skeletons import JointSet

# A network's one depth of a limb's joint is believed this many times less when its twins are weighed: it had to choose one as well.
LOOSER = 3.0
LIMB_JOINTS = ("elbow", "wrist", "knee", "ankle")
STEPS = 8
# The fitted body, its torso turned round, and each of four limbs in another twin.
MOST = 6
# By what a difference of costs is divided before it counts as twice a difference of log-likelihoods: residuals of one body are no
# independent witnesses.
TEMPERATURE = 4.0


@dataclass(frozen=True)
class Hypotheses:
    """K bodies of each of N people. joints: (N, K, J, 3) m about the root. weights: (N, K), sum to 1; 0 where there is no further body
    that differs by DIFFERENT, and the fitted body stands in its place. parameters: K lists of N, absolute.
    """

    joints: np.ndarray
    weights: np.ndarray
    parameters: list[list[BodyParameters]]


def loosened(objective: Objective, joint_set: JointSet) -> Objective:
    """The same objective with the limbs' places in space believed less; those in the image as much."""
    evidence = objective.evidence
    rows = [k for k, name in enumerate(joint_set.names) if name.split("_")[-1] in LIMB_JOINTS]
    weight = evidence.points_weight.clone()
    weight[:, rows] /= LOOSER**2
    return objective.over(replace(evidence, points_weight=weight))


def other_bodies(
    objective: Objective, likely: torch.Tensor, fitted: State, count: int, joint_set: JointSet
) -> tuple[list[State], np.ndarray]:
    """`count` states, the fitted one first, and their weights (N, count). likely: (A, 3, 3) rotations of the likely pose."""
    if not 1 <= count <= MOST:
        raise ValueError(f"{count} hypotheses were asked for; there are 1 to {MOST} of a person")
    chain, J = objective.chain, len(joint_set)
    loose = loosened(objective, joint_set)
    limbs = starts.limbs_of(chain, likely)
    twins = [
        starts.reversed_torso(chain, limbs, fitted, loose.evidence),
        *starts.other_limbs(loose, limbs, fitted),
    ]
    raced = race(loose, twins, keep=len(twins), iterations=STEPS)
    own = loose.cost(fitted)[None]
    # the fitted body comes first whatever it costs here: it is the best where depths are believed
    first = torch.full_like(own, -torch.inf)
    everyone = Finalists(
        [fitted, *raced.states],
        torch.cat([first, raced.costs]),
        torch.cat([torch.zeros_like(raced.starts[:1]), raced.starts + 1]),
    )
    chosen = different(chain, everyone, count, J)
    costs = torch.where(chosen.costs.isinf(), own, chosen.costs)
    apart = distances(chain, chosen.states, J)
    # where there are not so many different bodies, one comes again
    again = torch.stack([(apart[k, :k] < DIFFERENT).any(0) for k in range(count)])
    logs = torch.where(again, -torch.inf, -(costs - costs[:1]).clamp_min(0) / 2 / TEMPERATURE)
    states = [state.where(~again[k], fitted) for k, state in enumerate(chosen.states)]
    return states, logs.softmax(0).T.numpy()
