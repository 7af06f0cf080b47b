"""Errors of an evaluated run on people of a wild capture, by what they do and by how they are seen: the model card's tables.

    nvf-cli evaluate RUN SHARDS --split validation
    python tools/card.py RUN CAPTURE

Prints two tables in Markdown: people, MPJPE and PA-MPJPE in mm. How people are seen: by the direction of the chest against the camera,
by how far the camera looks down, and by its roll.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import InputError
from pipeline.skeletons import FIELD_JOINTS
from pipeline.sources.synthetic.wild.cameras import pitch_of, roll_of
from pipeline.sources.synthetic.wild.columns import TRUTH_FILE

# What the kinds of poses of the capture are; of a clip the name follows.
KINDS = {
    "calm": "standing or sitting about",
    "action": "doing what the actions of the demo are",
    "mixed": "legs, trunk and arms of different poses",
    "clip": "moments of motion capture",
    "lying": "lying",
}


def people_of(run: Path, capture: Path) -> dict[str, np.ndarray]:
    """The evaluated people: mpjpe, pa (n,) mm; kind (n,); turn, pitch, roll (n,) degrees. Raises InputError where the run was not
    evaluated, or on other people."""
    file = run / "predictions.npz"
    if not file.exists():
        raise InputError(f"{file} is not there; run `nvf-cli evaluate {run} SHARDS --split validation` first.")
    if not (capture / TRUTH_FILE).exists():
        raise InputError(f"{capture / TRUTH_FILE} is not there; give the folder of `nvf-cli synthesize --wild`.")
    with np.load(file) as said, h5py.File(capture / TRUTH_FILE) as truth:
        names = [str(name).split("/") for name in said["id"]]
        # SPLIT/PICTURE/PERSON/CAMERA
        if not all(len(name) == 4 and name[2].isdecimal() for name in names):
            raise InputError(f"{file} is not of people of a wild capture: one of them is {'/'.join(names[0])}.")
        person = np.array([int(name[2]) for name in names])
        pictures = truth["person/picture"][:]
        if person.max() >= len(pictures) or (pictures[person] != [int(name[1]) for name in names]).any():
            raise InputError(
                f"{file} is of other people than those of {capture}; give the capture that the shards are of."
            )
        joints = truth["person/joints_mm"][:][person].astype(float)
        row = np.searchsorted(truth["picture/number"][:], pictures[person])
        R = truth["picture/R"][:][row]
        kind = np.array([one.decode().split()[0] for one in truth["person/kind"][:][person]])
        mpjpe, pa = 1000 * said["mpjpe"], 1000 * said["pa_mpjpe"]
    left, right, neck = (joints[:, FIELD_JOINTS.names.index(name)] for name in ("left_hip", "right_hip", "neck"))
    ahead = np.cross(left - right, neck - joints[:, 0])
    toward = -(ahead * joints[:, 0]).sum(1) / np.linalg.norm(ahead, axis=1) / np.linalg.norm(joints[:, 0], axis=1)
    return {
        "mpjpe": mpjpe,
        "pa": pa,
        "kind": kind,
        "turn": np.degrees(np.arccos(np.clip(toward, -1, 1))),
        "pitch": np.degrees([pitch_of(r) for r in R]),
        "roll": np.abs(np.degrees([roll_of(r) for r in R])),
    }


def seen(found: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """How people are seen, and who is."""
    turn, pitch, roll = found["turn"], found["pitch"], found["roll"]
    yield "from the front (within 60 degrees)", turn < 60
    yield "from the side", (turn >= 60) & (turn <= 120)
    yield "from behind (beyond 120 degrees)", turn > 120
    yield "from below (the camera looks up by more than 5 degrees)", pitch < -5
    yield "level (up to 15 degrees down)", (pitch >= -5) & (pitch <= 15)
    yield "from above (15 to 40 degrees down)", (pitch > 15) & (pitch <= 40)
    yield "from far above (more than 40 degrees)", pitch > 40
    yield "by a camera that is rolled by 10 degrees or more", roll >= 10


def line(name: str, found: dict[str, np.ndarray], who: np.ndarray) -> str:
    values = [f"{found[key][who].mean():.1f}" if who.any() else "-" for key in ("mpjpe", "pa")]
    return f"| {name} | {who.sum()} | {' | '.join(values)} |"


def tables(found: dict[str, np.ndarray]) -> str:
    kinds = [("all", np.ones(len(found["kind"]), bool))]
    kinds += [(said, found["kind"] == kind) for kind, said in KINDS.items()]
    heads = "| {} | number | MPJPE | PA-MPJPE |\n| --- | --- | --- | --- |"
    parts = (("people", kinds), ("seen", seen(found)))
    return "\n\n".join("\n".join([heads.format(head), *(line(n, found, w) for n, w in rows)]) for head, rows in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("capture", type=Path)
    given = parser.parse_args()
    try:
        print(tables(people_of(given.run, given.capture)))
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
