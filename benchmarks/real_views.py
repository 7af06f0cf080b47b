"""A run on photographs of a real person: four calibrated cameras, the truth triangulated from a 2D pose network in all of them.

    pip download --no-deps pose2sim==0.10.49 -d downloads        # the film, BSD-3-Clause; the wheel is not installed
    python -m benchmarks.real_views RUN --out OUT [--wheel FILE] [--weights thunder]
    python -m benchmarks.real_views --quick                      # rendered people and a network that has learnt nothing

Nobody measured this person: 100 views of 25 moments are compared with points that MoveNet thunder's keypoints in four views agree on
(docs/real-views.md says what that means). Given to the run: the photograph, its camera, and the box of the person. Writes
OUT/real_views.json and OUT/real_views.jpg.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import _pose2sim as pose2sim
from benchmarks._sample import sample_capture
from benchmarks._triangulate import Seen, Triangulated, detect, limb_lengths, triangulate
from model.decoding import AUTO, BODY, decode_of
from model.networks.build import build_network
from model.networks.encoders.body import weights_file
from model.networks.keypoint_network import KeypointNetwork
from model.networks.network import Network
from model.networks.records import Statistics
from model.people.bodies import BodyFits, embody
from model.people.marking import mark
from model.people.predict import Model, load_model, make_person, predict_crops
from model.people.records import Box, Person, Picture
from model.scoring import metrics
from model.scoring.figures import prediction_grid
from model.scoring.shown import ShownView
from model.training.config import load_config
from model.training.runs import mean_pose_of
from pipeline.body.keypoints import KeypointMap, keypoint_map
from pipeline.body.model import BodyModel, load_body
from pipeline.camera import BOX_SCALE, make_crop, project, warp_to_crop, world_to_camera
from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.outputs import encode_picture, make_folder, write_file, write_json
from pipeline.records import Instant
from pipeline.skeletons import COCO, JOINT_SETS, JointSet
from pipeline.sources import open_source

DOWNLOADS = Path("downloads")
WHEEL = DOWNLOADS / f"pose2sim-{pose2sim.VERSION}-py3-none-any.whl"
# What both sides name. The pelvis is the middle of the hips and the neck that of the shoulders, on both sides; neither is scored.
_PARENTS = {"hip": "pelvis", "knee": "hip", "ankle": "knee", "shoulder": "neck", "elbow": "shoulder", "wrist": "elbow"}
_TREE = [("pelvis", None), ("neck", "pelvis")] + [
    (f"{side}_{name}", parent if parent in ("pelvis", "neck") else f"{side}_{parent}")
    for side in ("right", "left")
    for name, parent in _PARENTS.items()
]
_NAMES = tuple(name for name, _ in _TREE)
LIMBS = JointSet("limbs", _NAMES, tuple(_NAMES.index(p) if p else -1 for _, p in _TREE), root="pelvis")
SCORED = slice(2, None)
# A joint this part of the box's longer side from where it should be in the image counts as found.
NEAR = 0.1
PICTURES = 8
# What is done to a predicted person before it is compared.
Finish = Callable[[Person, Picture], Person]


@dataclass(frozen=True)
class Compared:
    """Predictions of N views against the truth, in the axes of each view's camera, root-relative, metres.

    predicted, truth, mean_pose: (N, 14, 3) joints of LIMBS. off: (N, 12) distance in the image of the scored ones, parts of the box's
    longer side. presence: (N,). shown: what a picture of each needs.
    """

    predicted: np.ndarray
    truth: np.ndarray
    mean_pose: np.ndarray
    off: np.ndarray
    presence: np.ndarray
    shown: list[ShownView]


def limbs(points: np.ndarray, joint_set: JointSet) -> np.ndarray:
    """(..., J, 3) of a joint set -> (..., 14, 3) of LIMBS."""
    own = points[..., joint_set.indices(LIMBS.names[SCORED]), :]
    middles = [
        own[..., [LIMBS.index(f"{side}_{name}") - 2 for side in ("left", "right")], :].mean(-2)
        for name in ("hip", "shoulder")
    ]
    return np.concatenate([np.stack(middles, -2), own], -2)


def limbs_of(person: Person, joint_set: JointSet, body: BodyModel, marked: KeypointMap) -> np.ndarray:
    """(14, 3) m of LIMBS, camera axes. Of a person with a body, MSCOCO's points of that body: the truth is made of such points, and
    Human3.6M's hips and shoulders, which the joints are, lie up to 10 cm from them."""
    if person.body is None:
        return limbs(person.joints + person.root, joint_set)
    vertices, joints = body.mesh(person.body)
    return limbs(marked(joints, vertices), COCO)


def compare(
    model: Model, instants: Sequence[Instant], root: Path, seen: Seen, points: np.ndarray, finish: Finish
) -> Compared:
    """Ask the network about every view. points: (F, 17, 3) m, COCO's keypoints in the instants' frame."""
    own, rows, body = model.joint_set, [], load_body()
    marked = keypoint_map(body, COCO)
    mean_pose = limbs(mean_pose_of(model.record, model.network).astype(np.float64), own)
    for f, instant in enumerate(instants):
        for c, view in enumerate(instant.views):
            low, size = seen.boxes[f, c, :2], seen.boxes[f, c, 2:]
            box = np.concatenate([low + size / 2 - size * BOX_SCALE / 2, size * BOX_SCALE])
            picture = Picture(view.image_path, read_image(root, view.image_path), view.camera)
            crop = make_crop(view.camera, box, model.side, model.side)
            pixels = warp_to_crop(picture.pixels, view.camera, crop)
            found = make_person(picture, Box(box, None, "given"), crop, predict_crops(model, [crop], [pixels])[0])
            found = finish(found, picture)
            predicted = limbs_of(found, own, body, marked)
            truth = world_to_camera(view.camera, limbs(points[f], COCO))
            off = [project(view.camera, joints[SCORED]) for joints in (predicted, truth)]
            off = np.linalg.norm(off[0] - off[1], axis=-1) / box[2:].max()
            relative = [joints - joints[0] for joints in (predicted, truth, mean_pose)]
            error = 1000 * metrics.mpjpe(relative[0][None, SCORED], relative[1][None, SCORED])[0]
            shown = ShownView(
                pixels,
                crop.K,
                *(part @ crop.R.T for part in (relative[0], predicted[0], relative[1], truth[0])),
                f"{view.id}   {error:.0f} mm",
            )
            rows.append((*relative, off, found.presence, shown))
    predicted, true, mean, off, presence, shown = zip(*rows, strict=True)
    return Compared(*(np.array(column) for column in (predicted, true, mean, off, presence)), shown=list(shown))


def finishes(model: Model) -> dict[str, Finish]:
    """What may become of a predicted person, by name: each is what `nvf-cli predict` can do."""
    fits, network = BodyFits(model, BODY), KeypointNetwork(augmented=model.augmented)

    def body(person: Person, picture: Picture) -> Person:
        return embody([person], [picture.camera], fits)[0]

    def with_keypoints(person: Person, picture: Picture) -> Person:
        box = Box(person.box, None, "given")
        return body(replace(person, keypoints=mark(network, picture, box)), picture)

    return {"votes": lambda person, picture: person, "body": body, "body, with keypoints": with_keypoints}


def numbers(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Errors of (N, 14, 3) m over the scored joints, mm."""
    pair = predicted[:, SCORED], truth[:, SCORED]
    return {
        "mpjpe_mm": round(1000 * float(metrics.mpjpe(*pair).mean()), 1),
        "pa_mpjpe_mm": round(1000 * float(metrics.pa_mpjpe(*pair).mean()), 1),
    }


def summary(compared: Compared) -> dict[str, float]:
    near = {"near_in_the_image": round(float((compared.off < NEAR).mean()), 4)}
    return numbers(compared.predicted, compared.truth) | near


def report(compared: Compared, seen: Seen, found: Triangulated, cameras: Sequence[str]) -> dict:
    """What the JSON file says. cameras: of every view."""
    errors = 1000 * metrics.joint_errors(compared.predicted, compared.truth)[:, SCORED]
    names, by_camera = LIMBS.names[SCORED], np.array(cameras)
    reprojection = found.errors[:, :, COCO.indices(names)]
    return {
        "views": len(errors),
        **summary(compared),
        "mean_pose": numbers(compared.mean_pose, compared.truth),
        "presence": round(float(compared.presence.mean()), 3),
        "per_joint_mm": {name: round(float(errors[:, k].mean()), 1) for k, name in enumerate(names)},
        "per_camera_mm": {name: round(float(errors[by_camera == name].mean()), 1) for name in sorted(set(cameras))},
        "truth": {
            "reprojection_px": {
                "median": round(float(np.median(reprojection)), 1),
                "p90": round(float(np.percentile(reprojection, 90)), 1),
            },
            "keypoint_score": round(float(seen.scores[..., COCO.indices(names)].mean()), 3),
            "limbs_mm": {
                name: {"median": round(1000 * median, 1), "deviation": round(1000 * deviation, 1)}
                for name, (median, deviation) in limb_lengths(found.points).items()
            },
        },
    }


def print_report(said: dict) -> None:
    table = Table(
        "", "MPJPE mm", "PA-MPJPE mm", "near in the image %", title=f"{said['views']} views, 12 joints of the limbs"
    )
    for name, row in {**said["decodes"], "mean training pose": said["mean_pose"]}.items():
        table.add_row(name, str(row["mpjpe_mm"]), str(row["pa_mpjpe_mm"]), near(row))
    Console().print(table)


def near(row: dict) -> str:
    return f"{100 * row['near_in_the_image']:.1f}" if "near_in_the_image" in row else "-"


def rendered_people(folder: Path) -> tuple[Path, list[Instant]]:
    """A small capture and its instants, in place of the film: their joints are known."""
    capture = sample_capture(folder, 10)
    source = open_source("human36m", capture)
    return capture, [instant for instant in source.instants() if len(instant.views) == 4][:3]


def unlearnt(config_name: str = "small") -> Network:
    """A network that has only its encoder's knowledge."""
    config = load_config(config_name).network
    joints = len(JOINT_SETS[config.joint_set])
    torch.manual_seed(0)
    return build_network(config, Statistics(torch.zeros(joints, 3), torch.ones(joints - 1), 0.0, 1.0)).eval()


def judge(model: Model, instants: Sequence[Instant], root: Path, weights: str, out: Path) -> dict:
    """The report, which is written with its picture into `out`."""
    seen = detect(instants, root, KeypointNetwork(weights))
    found = triangulate([[view.camera for view in instant.views] for instant in instants], seen)
    all_compared = {
        name: compare(model, instants, root, seen, found.points, finish) for name, finish in finishes(model).items()
    }
    chosen_decode = "body, with keypoints" if decode_of(AUTO, model.record) == BODY else "votes"  # as predict does
    compared = all_compared[chosen_decode]
    said = {"decode": chosen_decode, "decodes": {name: summary(one) for name, one in all_compared.items()}}
    said |= report(compared, seen, found, [view.camera_id for instant in instants for view in instant.views])
    known = [instant.joints_3d for instant in instants if instant.joints_3d is not None]
    if len(known) == len(instants):
        true = limbs(np.stack(known), JOINT_SETS[instants[0].joint_set])
        apart = np.linalg.norm(limbs(found.points, COCO) - true, axis=-1)[:, SCORED]
        said["truth"]["error_mm"] = round(1000 * float(apart.mean()), 1)
    chosen = np.linspace(0, len(compared.shown) - 1, min(PICTURES, len(compared.shown))).round().astype(int)
    picture = prediction_grid([compared.shown[k] for k in chosen], LIMBS)
    make_folder(out)
    write_json(out / "real_views.json", said)
    write_file(out / "real_views.jpg", encode_picture(picture, ".jpg"))
    return said


def quick(out: Path, augmented: bool) -> dict:
    """The report on rendered people, of a network that has learnt nothing."""
    with tempfile.TemporaryDirectory() as folder:
        root, instants = rendered_people(Path(folder))
        model = Model(network := unlearnt(), JOINT_SETS[network.config.joint_set], root, 0, {}, augmented)
        return judge(model, instants, root, "lightning", out)


def of_the_film(run: Path, wheel: Path, weights: str, out: Path, augmented: bool) -> dict:
    """The report on the real person. Raises InputError where the run, the wheel or the weights are not there."""
    model = load_model(run, augmented=augmented)
    weights_file(weights)
    with tempfile.TemporaryDirectory() as folder:
        pose2sim.unpack(wheel, Path(folder))
        found = judge(model, pose2sim.instants(Path(folder)), Path(folder), weights, out)
    said = {"run": str(run), "augmented": augmented, "step": model.step, "commit": model.record["commit"]} | found
    write_json(out / "real_views.json", said)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="the run's folder; not asked for with --quick")
    parser.add_argument("--out", type=Path, default=Path("runs/real-views"))
    parser.add_argument("--wheel", type=Path, default=WHEEL)
    parser.add_argument("--weights", default="thunder", help="of the 2D network that the truth is triangulated with")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation")
    parser.add_argument(
        "--quick", action="store_true", help="rendered people, to see that it runs: the numbers say nothing"
    )
    asked = parser.parse_args()
    if not asked.quick and asked.run is None:
        parser.error("name a run's folder, or give --quick")
    torch.set_num_threads(1)  # one image at a time: more threads would only wait for one another
    try:
        found = (
            quick(asked.out, asked.tta)
            if asked.quick
            else of_the_film(asked.run, asked.wheel, asked.weights, asked.out, asked.tta)
        )
        print_report(found)
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
