"""A real person filmed by four calibrated cameras, read by the source `multiview` and fitted: pose2sim's single-person demo.

    pip download --no-deps pose2sim==0.10.49 -d downloads
    python -m benchmarks.multiview [--wheel FILE] [--weights lightning] [--picture FILE] [--json FILE] [--quick]

Keypoints are those of MoveNet lightning, which comes with this program; the person is followed from a given box. There is no truth:
what is told is how far the fits' joints lie from the keypoints, in the views that were fitted and in one that was left out, over the
person's size in that image. --quick needs no download: a made-up person whose keypoints are exact.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks import _pose2sim as pose2sim
from benchmarks._good_inputs import write_multiview
from benchmarks._sample import sample_capture
from benchmarks._triangulate import detect
from model.networks.keypoint_network import KeypointNetwork
from pipeline.agreement import apart_of_views, sight_of
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel, as_tensors, load_body
from pipeline.camera import project, world_to_camera
from pipeline.fit import FitSettings, Fitter
from pipeline.images import read_image
from pipeline.look.pictures import shade_mesh
from pipeline.outputs import encode_picture, write_file
from pipeline.records import BodyFit, Instant, Reject, View
from pipeline.sources import open_source
from pipeline.spread import spread_evenly

WHEEL = Path("downloads") / f"pose2sim-{pose2sim.VERSION}-py3-none-any.whl"
SEEN, ROWS, TILE, ZOOM = 0.3, 3, 100, 2


def write_demo(wheel: Path, weights: str, root: Path) -> dict[str, str]:
    """The demo in the layout of the source, with the keypoints of every fourth frame. Returns the options that read it."""
    pose2sim.unpack(wheel, root)
    instants = pose2sim.instants(root)
    seen = detect(instants, root, KeypointNetwork(weights))
    for f, instant in enumerate(instants):
        for c, view in enumerate(instant.views):
            folder = root / "keypoints" / view.camera_id
            folder.mkdir(parents=True, exist_ok=True)
            person = {"pose_keypoints_2d": np.c_[seen.pixels[f, c], seen.scores[f, c]].ravel().tolist()}
            (folder / f"{instant.frame:06d}_keypoints.json").write_text(json.dumps({"people": [person]}))
    return {"layout": "coco17"}


def write_made_up(root: Path) -> dict[str, str]:
    """Three frames of a rendered person who stands still, with exact keypoints. Returns the options that read them."""
    with tempfile.TemporaryDirectory() as name:
        capture = sample_capture(Path(name), 7, 96)
        write_multiview(root, capture, next(open_source("human36m", capture).instants()))
    return {"calibration": "rig.json"}


def offsets(
    body: BodyModel, fits: Sequence[BodyFit | Reject], instants: Sequence[Instant], views: Sequence[View]
) -> list[float]:
    """For each view, one an instant, the mean distance of the fit's joints from its keypoints, over the person's size."""
    found = []
    for fit, instant, view in zip(fits, instants, views, strict=True):
        if isinstance(fit, BodyFit):
            regressor = keypoint_map(body, instant.joint_set)
            vertices, joints = body.pose(as_tensors([fit.parameters]))
            points = regressor(joints[0].numpy(), vertices[0].numpy())
            seen = (view.confidence > SEEN) & regressor.defined
            off = project(view.camera, world_to_camera(view.camera, points)) - view.joints_2d
            found.append(float(np.linalg.norm(off[seen], axis=1).mean() / view.box[2:].max()))
    return found


def measure(root: Path, options: dict[str, str], picture: Path | None) -> dict[str, float]:
    instants, report = open_source("multiview", root, **options).read()
    body = load_body()
    fitter = Fitter(body, FitSettings())
    betas = fitter.solve_shapes(instants)
    fits = fitter.fit(instants, betas)
    seen, held = [], []
    for k in range(max(len(instant.views) for instant in instants)):
        rows = [row for row, instant in enumerate(instants) if len(instant.views) > max(k, 2)]
        some, views = [instants[row] for row in rows], [instants[row].views[k] for row in rows]
        seen += offsets(body, [fits[row] for row in rows], some, views)
        without = [replace(i, views=i.views[:k] + i.views[k + 1 :]) for i in some]
        held += offsets(body, fitter.fit(without, betas), without, views)
    if picture is not None:
        write_file(picture, encode_picture(draw(root, body, instants, fits), picture.suffix))
    rays = np.concatenate([apart_of_views([sight_of(view) for view in i.views]) for i in instants])
    return {
        "instants": len(instants),
        "views": sum(len(instant.views) for instant in instants),
        "rejects": len(report.rejects),
        "valid_fits": sum(isinstance(fit, BodyFit) and fit.quality.valid for fit in fits),
        "rays_apart_percent": 100 * float(np.nanmedian(rays)),
        "fit_off_percent": 100 * float(np.mean(seen)),
        "held_out_camera_off_percent": 100 * float(np.mean(held)),
    }


def draw(root: Path, body: BodyModel, instants: Sequence[Instant], fits: Sequence[BodyFit | Reject]) -> np.ndarray:
    """(H, W, 3): some instants, one a row, in all views: the fitted body over the picture, the keypoints as white dots."""
    rows = []
    for k in spread_evenly(len(instants), ROWS):
        fit, tiles = fits[k], []
        for view in instants[k].views:
            side, middle = 1.3 * view.box[2:].max(), view.box[:2] + view.box[2:] / 2
            scale, corner = TILE / side, middle - side / 2
            image = cv2.warpAffine(
                read_image(root, view.image_path),
                np.c_[np.eye(2) * scale, -scale * corner],
                (TILE, TILE),
                flags=cv2.INTER_AREA,
            )
            K = np.diag([scale, scale, 1]) @ view.camera.K
            K[:2, 2] -= scale * corner
            if isinstance(fit, BodyFit):
                vertices = body.pose(as_tensors([fit.parameters]))[0][0].numpy()
                image = shade_mesh(image, world_to_camera(view.camera, vertices), body.faces, K, ZOOM)
            for point in ZOOM * scale * (view.joints_2d[view.confidence > SEEN] - corner):
                x, y = point.round().astype(int).tolist()
                cv2.circle(image, (x, y), 3, (255, 255, 255), -1, cv2.LINE_AA)
            tiles.append(image)
        rows.append(np.concatenate(tiles, 1))
    widest = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0))) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, default=WHEEL)
    parser.add_argument("--weights", default="lightning", help="of the 2D network")
    parser.add_argument("--picture", type=Path, help="draw some of the fits over their pictures")
    parser.add_argument("--quick", action="store_true", help="a made-up person, no download")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)  # one image at a time: on a busy machine more threads spin and wait for one another
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        options = write_made_up(root) if asked.quick else write_demo(asked.wheel, asked.weights, root)
        numbers = measure(root, options, asked.picture)
    for key, value in numbers.items():
        print(f"{key:30s} {value:10.4g}")
    if asked.json:
        asked.json.write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
