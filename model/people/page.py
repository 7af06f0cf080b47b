"""One page that shows people in space, in any browser and without a network: pictures on the left, what turns on the right.

The page holds the body once and of each person only its parameters, so that a thousand frames fit; it poses bodies itself
(`assets/shapes.js`, `assets/page.js`).
"""

import base64
import json
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from model.people.shown import Shown
from model.people.words import about
from pipeline.body.model import POSE_ORDER, BodyModel
from pipeline.outputs import encode_picture
from pipeline.records import BodyParameters
from pipeline.skeletons import SIDE_COLOURS, JointSet, side_of

ASSETS = Path(__file__).parent / "assets"
# Longest side of a picture in the page, px, and how many there are at most; of more, every second one is dropped, again and again.
PHOTOGRAPH_PX, FRAME_PX, MOST_PICTURES = 1000, 480, 400
BETAS, LARGEST = 10, 32767
USUAL_SECONDS = 0.1
# The part of a video's frames that may lie outside what is looked at, on each side.
MOMENT = 0.03


class PagePictures:
    """Gathers what the page shows, a bounded number of pictures however many come."""

    def __init__(self) -> None:
        self.pictures: list[dict[str, Any]] = []
        self.seen, self.every = 0, 1
        self._last: Shown | None = None

    def add(self, shown: Shown) -> None:
        if self.seen % self.every == 0:
            if len(self.pictures) == MOST_PICTURES:
                self.pictures, self.every = self.pictures[::2], 2 * self.every
            if self.seen % self.every == 0:
                self.pictures.append(describe(shown))
        self.seen += 1
        self._last = shown

    def page(self) -> bytes | None:
        """The whole page; None where no picture came."""
        last = self._last
        if last is None:
            return None
        pictures = one_reach_a_clip(self.pictures)
        embodied = any(person["body"] for picture in pictures for person in picture["people"])
        data = {
            "video": any(picture["clip"] for picture in pictures),
            "seconds": self._seconds(),
            "bones": coloured_bones(last.joint_set),
            "pictures": pictures,
            "body": pack_body(last.body) if embodied else None,
        }
        dropped = f"{len(self.pictures)} of {self.seen} pictures are here, evenly spread. " if self.every > 1 else ""
        return write_page(data, dropped).encode()

    def _seconds(self) -> float:
        """How long a frame is shown. Several videos, each of which begins at 0, are shown at one speed."""
        moving = pairwise(picture for picture in self.pictures if picture["time_s"] is not None)
        steps = [after["time_s"] - before["time_s"] for before, after in moving if before["clip"] == after["clip"]]
        forward = [step for step in steps if step > 0]
        return float(np.median(forward)) if forward else USUAL_SECONDS


def one_reach_a_clip(pictures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every frame of a video shows the place that holds the people of nearly all of them, so that it is looked at from one place;
    somebody who is seen wrongly for a moment does not count."""
    seen: dict[str, list[Any]] = {}
    for picture in pictures:
        if picture["clip"] is not None and picture["reach"] is not None:
            seen.setdefault(picture["clip"], []).append(picture["reach"])
    shared = {
        clip: np.round([np.quantile(reach, MOMENT, 0)[0], np.quantile(reach, 1 - MOMENT, 0)[1]], 2).tolist()
        for clip, reach in seen.items()
    }
    return [{**picture, "reach": shared.get(picture["clip"], picture["reach"])} for picture in pictures]


def describe(shown: Shown) -> dict[str, Any]:
    """A picture and its people as the page's script takes them. Metres in camera axes; pixels of the picture that the page holds."""
    pixels, longest = shown.picture.pixels, PHOTOGRAPH_PX if shown.picture.frame is None else FRAME_PX
    scale = min(1.0, longest / max(pixels.shape[:2]))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    K = shown.picture.camera.K
    people = []
    for number, person in enumerate(shown.people):
        flat = (person.joints_2d + 0.5) * scale - 0.5
        people.append(
            {
                "says": about(person, number, shown.joint_set),
                "colour": shown.colour(number).tolist(),
                "box": np.round(person.box * scale, 1).tolist(),
                "joints": np.round(person.joints + person.root, 3).tolist(),
                "flat": np.round(flat, 1).tolist(),
                "body": None if person.body is None else describe_body(person.body),
            }
        )
    return {
        "name": shown.picture.name,
        "source": "data:image/jpeg;base64," + base64.b64encode(encode_picture(small, ".jpg")).decode(),
        "width": small.shape[1],
        "height": small.shape[0],
        "camera": [round(float(value) * scale, 2) for value in (K[0, 0], K[1, 1], K[0, 2], K[1, 2])],
        "time_s": shown.picture.time_s,
        "people": people,
        "clip": None if shown.picture.frame is None else shown.source,
        "reach": None if shown.reach is None else np.round(shown.reach.astype(float), 2).tolist(),
        "refusal": shown.found.refusal,
    }


def describe_body(body: BodyParameters) -> dict[str, Any]:
    """Shape, the joints that are turned, and the place."""
    turns = np.concatenate([getattr(body, part) for part in POSE_ORDER]).reshape(-1, 3)
    pose = {joint: np.round(turn, 4).tolist() for joint, turn in enumerate(turns.astype(float)) if turn.any()}
    betas, transl = (np.round(np.asarray(value, float), 4).tolist() for value in (body.betas, body.transl))
    return {"betas": betas, "pose": pose, "transl": transl}


def coloured_bones(joint_set: JointSet) -> list[list]:
    """[parent, child, colour] of each bone."""
    return [[parent, child, list(SIDE_COLOURS[side_of(joint_set.names[child])])] for parent, child in joint_set.bones]


def pack_body(body: BodyModel) -> dict[str, Any]:
    """The body's arrays for the script: lengths in whole steps of under 0.1 mm, skinning weights in 255ths. About 1.6 MB."""
    assert body.posedirs is None, "the page poses the free body, which has no pose correctives"
    weights = body.weights.numpy()
    each = int((weights > 0.5 / 255).sum(1).max())
    bones = np.argsort(-weights, axis=1)[:, :each]
    return {
        "template": steps(body.v_template.numpy()),
        "directions": steps(body.shapedirs.numpy()[..., :BETAS]),
        "faces": text(body.faces.astype(np.uint16)),
        "each": each,
        "bones": text(bones.astype(np.uint8)),
        "weights": text(np.round(255 * np.take_along_axis(weights, bones, 1)).astype(np.uint8)),
        "parents": body.parents.tolist(),
        "rest": np.round(body.joint_template.numpy().astype(float), 5).ravel().tolist(),
        "rest_directions": np.round(body.joint_shapedirs.numpy()[..., :BETAS].astype(float), 6).ravel().tolist(),
    }


def steps(values: np.ndarray) -> dict[str, Any]:
    """Numbers as 16-bit multiples of a scale."""
    scale = float(np.abs(values).max()) / LARGEST or 1.0
    return {"scale": scale, "data": text(np.round(values / scale).astype(np.int16))}


def text(values: np.ndarray) -> str:
    """Little-endian bytes in base64."""
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode()


BUTTONS = (
    ("bodies", "Bodies"),
    ("skeletons", "Skeletons"),
    ("floor", "Floor"),
    ("turning", "Turn"),
    ("playing", "Play"),
)

HELP = "Drag to turn, wheel to come nearer, shift and drag to move, double-click to see everybody. Lines are half a metre apart."


def write_page(data: dict[str, Any], note: str) -> str:
    """The page's text. data: what its script reads. note: a sentence for the reader."""
    packed = json.dumps(data, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )  # no name can end the script
    buttons = "".join(f"<button id={name} type=button>{label}</button>" for name, label in BUTTONS)
    return f"""<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width,initial-scale=1">
<title>People in space</title><style>{(ASSETS / "page.css").read_text()}</style>
<header><h1 id=name></h1><span id=where class=muted></span><div id=people></div></header>
<main>
<section class=panel><canvas id=photograph aria-label="The picture with boxes and skeletons"></canvas></section>
<section class=panel><canvas id=space tabindex=0 aria-label="The people in space; arrow keys turn"></canvas>
<p id=none></p></section>
<p class=muted id=help>{escape(note)}{HELP}</p></main>
<footer>{buttons}<button id=before type=button>Previous</button>
<input id=slider type=range min=0 aria-label="Picture"><button id=after type=button>Next</button></footer>
<script type="application/json" id=data>{packed}</script>
<script>{(ASSETS / "shapes.js").read_text()}</script>
<script>{(ASSETS / "page.js").read_text()}</script>
</html>
"""
