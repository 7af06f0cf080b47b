"""What would help the body fit most: a part of the truth given to it, one at a time, on a run's validation views.

    python -m benchmarks.fit_oracles RUN SHARDS [--views 240] [--json FILE]
    python -m benchmarks.fit_oracles --quick       # made-up predictions about rendered bodies, to see that it runs

Rows: the joints before the fit; the fit under each prior; with MoveNet's keypoints beside the joints, which err more on rendered
people than on photographs, and with the true ones moved as far as detectors err on photographs; with the true image positions,
depths, size or shape in place of the predicted ones; the best of several bodies in other depth twins; and with a surface: some points
of the skin are drawn to the nearest points of it, again and again while the body moves. The true skin says what a perfect signed
distance could give, the network's own distance and gradient what this one gives. The truth is in all other rows from "true" on.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.spatial import cKDTree

from model.body_fit import BodyDecoder, BodyFitSettings, Keypoints
from model.body_fit.evidence import KEYPOINT_NOISE, made_usable
from model.body_fit.prior import learn_prior
from model.data.loading import ViewDataset, evaluation_batches
from model.data.poses import body_poses
from model.data.views import Views, need_views, read_views
from model.evaluate import predict_views
from model.networks.encoders.body import weights_file
from model.networks.encoders.movenet import MoveNet, decode_keypoints
from model.networks.encoders.movenet_weights import read_weights
from model.networks.frame import reference_depth, to_crop
from model.networks.network import Network
from model.networks.records import PredictedDistance
from model.scoring import metrics
from model.scoring.evaluation import ground_truth
from model.training.runs import load_run
from pipeline.body.keypoints import KeypointMap, keypoint_map
from pipeline.body.model import BodyModel, load_body
from pipeline.errors import InputError
from pipeline.fit.kinematics import BODY_JOINTS, Chain
from pipeline.fit.objective import Objective
from pipeline.fit.prior_terms import Prior
from pipeline.fit.priors import anatomical_prior
from pipeline.fit.solver import minimise
from pipeline.outputs import write_json
from pipeline.records import PARAMETER_SIZES, BodyParameters
from pipeline.skeletons import COCO, FIELD_JOINTS
from pipeline.spread import spread_evenly

# Points of the skin that are drawn to a surface, how often their nearest points are sought, and how well the network's own surface is
# known, metres.
SKIN_POINTS, SKIN_ROUNDS, SKIN_SIGMAS = 200, 5, (0.1, 0.3)
# Metres over which the gradient of a predicted distance is taken, and views at once.
GRADIENT_STEP, BATCH = 0.02, 32
EXACT = 0.005
# How far published 2D networks are off on photographs (Human3.6M's: 5 to 7 px of people of about 500): the deviation of a middling
# joint, parts of a person's height, and how many are how many times as far off.
DETECTOR_NOISE, OUTLIERS, OUTLIER_FACTOR, HEIGHT_M = 0.008, 1 / 12, 4.0, 1.7
HYPOTHESES = 6


@dataclass(frozen=True)
class Surface:
    """A predicted distance of some views, with their D0 and predicted scale."""

    distance: PredictedDistance
    depth: torch.Tensor
    scale: torch.Tensor


@dataclass(frozen=True)
class Case:
    """N views. joints, truth: (N, J, 3) m about the root, crop axes; root: (N, 3) m as predicted; confidence: (N, J); bodies: the true
    ones about the root; keypoints: of MoveNet, None where nobody looked; surfaces: the network's own, BATCH views each, where it has
    one."""

    joints: np.ndarray
    root: np.ndarray
    confidence: np.ndarray
    truth: np.ndarray
    bodies: list[BodyParameters]
    keypoints: Keypoints | None
    surfaces: list["Surface"]

    @property
    def placed(self) -> np.ndarray:
        """(N, J, 3) m: the true joints about the predicted root, in whose perspective the image oracle is told."""
        return self.truth + self.root[:, None]


def true_bodies(views: Views, index: np.ndarray) -> list[BodyParameters]:
    """The fits of some views, their root at the origin of the crop's axes."""
    found = []
    for view in index:
        reader = views.folders[views["folder"][view]].readers[views["shard"][view]]
        found.append(reader.read_body(int(views["row"][view])))
    return found


@torch.no_grad()
def seen_by_movenet(views: Views, index: np.ndarray, side: int) -> Keypoints:
    """COCO's keypoints in the crops of some views."""
    kind, state = read_weights(weights_file("lightning"))
    network = MoveNet(kind).eval()
    network.load_state_dict(state)
    dataset, pixels, scores, cameras = ViewDataset(views, side, None, None), [], [], []
    for keys in evaluation_batches(index, 16):
        batch = dataset.__getitems__(keys).to("cpu")
        found, score = decode_keypoints(network(batch.image))
        pixels.append(found.double().numpy())
        scores.append(score.double().numpy())
        cameras.append(batch.K.double().numpy())
    return Keypoints.from_pixels(np.concatenate(pixels), np.concatenate(scores), np.concatenate(cameras))


def case_of(run: Path, views: Views, count: int) -> Case:
    """What a run predicts of some views that have a valid fit."""
    network, config, _ = load_run(run)
    usable = np.flatnonzero(views["fit_valid"] & ground_truth(views, np.arange(len(views)))[1].all(1))
    if not len(usable):
        raise InputError("No validation view has a valid fit and a whole measured body.")
    index = usable[spread_evenly(len(usable), count)]
    said = predict_views(network, views, index, bf16=config.train.bf16)
    keypoints = seen_by_movenet(views, index, config.network.crop_px)
    truth = np.asarray(views["joints"][index], float)
    return Case(
        said.joints.astype(float),
        said.root.astype(float),
        said.confidence,
        truth,
        true_bodies(views, index),
        keypoints,
        surfaces_of(network, views, index, said.scale),
    )


@torch.no_grad()
def surfaces_of(network: Network, views: Views, index: np.ndarray, scale: np.ndarray) -> list[Surface]:
    """The predicted distances of some views; none of a network without any."""
    side, found = network.config.crop_px, []
    dataset = ViewDataset(views, side, None, None)
    for k, keys in enumerate(evaluation_batches(index, BATCH)):
        batch = dataset.__getitems__(keys).to("cpu")
        distance = network.distance(batch.image, batch.K)
        if distance is None:
            return []
        own = torch.as_tensor(scale[k * BATCH : k * BATCH + len(keys)])
        found.append(Surface(distance, reference_depth(batch.K, side), own))
    return found


def made_up(body: BodyModel, count: int) -> Case:
    """Bodies in random poses, and predictions that are off as a network's are."""
    rng = np.random.default_rng(0)
    bodies, points = [], []
    for _ in range(count):
        values = {name: np.zeros(size) for name, size in PARAMETER_SIZES.items()}
        values |= {"betas": rng.normal(size=10), "body_pose": rng.normal(0, 0.2, 63)}
        one = BodyParameters(**values | {"global_orient": np.array([np.pi, 0, 0])})
        vertices, joints = body.mesh(one)
        here = keypoint_map(body, FIELD_JOINTS)(joints, vertices)
        bodies.append(replace(one, transl=one.transl - here[0]))
        points.append(here - here[0])
    truth = np.stack(points)
    off = rng.normal(0, [0.04, 0.04, 0.08], truth.shape)
    root = np.tile([0.0, 0.0, 4.0], (count, 1))
    return Case(truth + off - off[:, :1], root, np.full(truth.shape[:2], 0.7), truth, bodies, None, [])


def like_a_detector(case: Case, body: BodyModel) -> Keypoints:
    """The true keypoints of the case's bodies about the predicted root, moved as far as detectors err on photographs."""
    rng, of_body = np.random.default_rng(0), keypoint_map(body, COCO)
    points = []
    for one, root in zip(case.bodies, case.root, strict=True):
        vertices, joints = body.mesh(one)
        points.append(of_body(joints, vertices) + root)
    seen = np.stack(points)
    rays = seen[..., :2] / seen[..., 2:]
    deviation = DETECTOR_NOISE * HEIGHT_M / case.root[:, 2, None] * KEYPOINT_NOISE
    deviation = deviation * np.where(rng.random(deviation.shape) < OUTLIERS, OUTLIER_FACTOR, 1)
    return Keypoints(rays + deviation[..., None] * rng.normal(size=rays.shape), np.full(deviation.shape, 0.7))


def errors(joints: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """MPJPE and PA-MPJPE, mm, of (N, J, 3) m about any root."""
    root = FIELD_JOINTS.root_index
    pair = metrics.root_align(joints, root), metrics.root_align(truth, root)
    return {
        "mpjpe_mm": round(1000 * float(metrics.mpjpe(*pair).mean()), 1),
        "pa_mpjpe_mm": round(1000 * float(metrics.pa_mpjpe(*pair).mean()), 1),
    }


def moved(case: Case, name: str) -> np.ndarray:
    """The predicted joints (N, J, 3) m about the root with one thing about them made true."""
    root, true = case.root[:, None], case.placed
    joints = case.joints + root
    if name == "image positions":
        return np.concatenate([true[..., :2] / true[..., 2:] * joints[..., 2:], joints[..., 2:]], -1) - root
    if name == "depths":
        return np.concatenate([joints[..., :2] / joints[..., 2:] * true[..., 2:], true[..., 2:]], -1) - root
    assert name == "size", name
    size = [np.linalg.norm(part, axis=-1).sum(1) for part in (case.truth, case.joints)]
    return case.joints * (size[0] / size[1])[:, None, None]


def with_true_shape(decoder: BodyDecoder, case: Case) -> np.ndarray:
    """Joints of bodies whose betas are the true ones."""
    told = made_usable(case.joints, case.root, decoder.filler)
    free = decoder.objective(told, confidence=case.confidence)
    fixed = free.with_shape_known()
    betas = torch.as_tensor(np.stack([one.betas for one in case.bodies]), dtype=torch.float64)
    start = replace(decoder.solve(free), shape=betas)
    return decoder.placed(decoder.solve(fixed, start))[1]


# Of rows of a case and points (B, n, 3) m of their skin: the nearest points of a surface, and which of them are known, (B, n) bool.
Nearest = Callable[[slice, np.ndarray], tuple[np.ndarray, np.ndarray]]


def true_skin(body: BodyModel, case: Case) -> Nearest:
    """The true skin about the predicted root."""

    def nearest(rows: slice, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        trees = [cKDTree(body.mesh(one)[0] + r) for one, r in zip(case.bodies[rows], case.root[rows], strict=True)]
        found = [tree.data[tree.query(p)[1]] for tree, p in zip(trees, points, strict=True)]
        return np.stack(found), np.ones(points.shape[:2], bool)

    return nearest


@torch.no_grad()
def own_surface(case: Case) -> Nearest:
    """Where the network's own distance says that the surface is: a step against its gradient. Unknown where it saturates."""

    def nearest(rows: slice, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        field = case.surfaces[rows.start // BATCH]
        scale = field.scale[:, None, None]
        canonical = torch.as_tensor(points).float() * scale
        shifts = torch.cat([torch.zeros(1, 3), GRADIENT_STEP * torch.eye(3)])
        asked = to_crop((canonical[:, None] + shifts[:, None]).flatten(1, 2), field.depth)
        with torch.no_grad():
            values = field.distance.at(asked).unflatten(1, (4, -1))
        here, gradient = values[:, 0], ((values[:, 1:] - values[:, :1]) / GRADIENT_STEP).transpose(1, 2)
        steep = gradient.norm(dim=-1).clamp_min(0.3)
        targets = canonical - (here / steep.square())[..., None] * gradient
        known = (here.abs() < 0.8 * field.distance.limit) & (asked[:, : here.shape[1]].abs() < 1).all(-1)
        return (targets / scale).double().numpy(), known.numpy()

    return nearest


def with_skin(decoder: BodyDecoder, case: Case, nearest: Nearest, sigma: float) -> np.ndarray:
    """Joints of bodies whose skin is drawn to a surface that is known to `sigma` metres, again and again while the body moves."""
    body, J = decoder.body, len(FIELD_JOINTS)
    ids = np.unique(np.linspace(0, body.n_vertices - 1, SKIN_POINTS).round().astype(np.int64))
    ids = ids[(body.weights[ids][:, 22:].sum(1) < 0.1).numpy()]  # not of face and fingers, which the fit does not turn
    skin = KeypointMap(FIELD_JOINTS, np.zeros((len(ids), 55)), ids, np.eye(len(ids)), np.ones(len(ids), bool))
    chain = Chain(body, [keypoint_map(body, FIELD_JOINTS), skin], BODY_JOINTS, False)
    told, found = made_usable(case.joints, case.root, decoder.filler), []
    for k in range(0, len(case.joints), BATCH):
        rows = slice(k, k + BATCH)
        part = replace(told, joints=told.joints[rows], root=told.root[rows], has=told.has[rows])
        objective = decoder.objective(part, confidence=case.confidence[rows])
        state = decoder.solve(objective)
        for _ in range(SKIN_ROUNDS):
            targets, known = nearest(rows, chain.points(state)[:, J:].numpy())
            more = (torch.as_tensor(a, dtype=torch.float64) for a in (targets, known / sigma**2))
            evidence = objective.evidence.with_points(*more)
            drawn = Objective(chain, decoder.prior, evidence, objective.weights, free_shape=True)
            state = minimise(drawn, state, iterations=6, tolerance=1e-4).state
        found.append(chain.points(state)[:, :J].numpy())
    return np.concatenate(found)


def best_of_twins(decoder: BodyDecoder, case: Case) -> np.ndarray:
    """Of several bodies a view the one nearest to the truth."""
    found = decoder.hypotheses(case.joints, case.root, HYPOTHESES, confidence=case.confidence)
    root = FIELD_JOINTS.root_index
    off = np.linalg.norm(found.joints - (case.truth - case.truth[:, root, None])[:, None], axis=-1).mean(-1)
    return found.joints[np.arange(len(off)), off.argmin(1)]


def measure(case: Case, body: BodyModel, learnt: Prior | None) -> dict[str, dict[str, float]]:
    """Every row of the table."""
    decoder = BodyDecoder(body, FIELD_JOINTS, prior=learnt)
    exact = BodyDecoder(body, FIELD_JOINTS, BodyFitSettings(across=EXACT), learnt)

    def fit(
        joints: np.ndarray,
        by: BodyDecoder = decoder,
        sure: np.ndarray | None = case.confidence,
        keypoints: Keypoints | None = None,
    ) -> np.ndarray:
        return by(joints, case.root, keypoints, sure).joints

    rows: dict[str, Callable[[], np.ndarray]] = {
        "before the fit": lambda: case.joints,
        "prior of motion": lambda: fit(case.joints, BodyDecoder(body, FIELD_JOINTS)),
        "anatomical prior": lambda: fit(
            case.joints, BodyDecoder(body, FIELD_JOINTS, prior=anatomical_prior(torch.float64))
        ),
        "learnt prior: nothing true": lambda: fit(case.joints),
        "all joints as sure as one another": lambda: fit(case.joints, sure=None),
        "with MoveNet's keypoints": lambda: fit(case.joints, keypoints=case.keypoints),
        "with keypoints as detectors find them on photographs": lambda: fit(
            case.joints, keypoints=like_a_detector(case, body)
        ),
        "true image positions": lambda: fit(moved(case, "image positions")),
        "true image positions, known to 5 mm": lambda: fit(moved(case, "image positions"), exact, None),
        "true depths": lambda: fit(moved(case, "depths")),
        "true size of the pose": lambda: fit(moved(case, "size")),
        "true shape": lambda: with_true_shape(decoder, case),
        f"best of up to {HYPOTHESES} depth twins": lambda: best_of_twins(decoder, case),
        "true surface, known to 20 mm": lambda: with_skin(decoder, case, true_skin(body, case), 0.02),
        **{
            f"the network's own surface, known to {1000 * sigma:.0f} mm": partial(
                with_skin, decoder, case, own_surface(case), sigma
            )
            for sigma in (SKIN_SIGMAS if case.surfaces else ())
        },
    }
    if case.keypoints is None:
        del rows["with MoveNet's keypoints"]
    return {name: errors(make(), case.truth) for name, make in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("shards", type=Path, nargs="?")
    parser.add_argument("--views", type=int, default=240)
    parser.add_argument("--json", type=Path, help="also into this file")
    parser.add_argument("--quick", action="store_true", help="no run is asked for: the numbers say nothing")
    asked = parser.parse_args()
    body = load_body()
    try:
        if asked.quick:
            case, learnt = made_up(body, 12), None
        elif asked.run is None or asked.shards is None:
            parser.error("name a run and the shards it was trained on, or give --quick")
        else:
            splits = read_views([asked.shards])
            case = case_of(asked.run, need_views(splits, "validation", [asked.shards]), asked.views)
            learnt = learn_prior(body_poses(need_views(splits, "train", [asked.shards])))
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    rows = measure(case, body, learnt)
    table = Table("inside the fit", "MPJPE mm", "PA-MPJPE mm", title=f"{len(case.joints)} views")
    for name, row in rows.items():
        table.add_row(name, str(row["mpjpe_mm"]), str(row["pa_mpjpe_mm"]))
    Console().print(table)
    if asked.json:
        write_json(asked.json, {"views": len(case.joints), "rows": rows})


if __name__ == "__main__":
    main()
