"""Makes the lifter's weights: posed bodies before cameras, seen as points that are off as detectors are, and nothing else.

    python -m pipeline.build_lifter OUT [--bodies 40000] [--steps 8000] [--seed 0]

Poses and cameras are those of the wild capture (`pipeline.sources.synthetic.wild`), bodies are drawn at random: no person of any
capture is among them, and nothing that only test subjects do. Writes OUT/lifter.safetensors and OUT/lifter.provenance.json.
"""

import argparse
import hashlib
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import BodyModel, load_body
from pipeline.errors import InputError
from pipeline.lift.network import ASSET, JOINTS, LEAST_POINTS, Lifter, canonical
from pipeline.outputs import MARK, make_folder, write_file, write_json
from pipeline.skeletons import COCO, FIELD_JOINTS
from pipeline.sources.synthetic import people, repertoire
from pipeline.sources.synthetic.wild import stage
from pipeline.sources.synthetic.wild.cameras import draw_camera
from pipeline.sources.synthetic.wild.clips import load_clips
from pipeline.sources.synthetic.wild.pose import draw_pose
from pipeline.sources.synthetic.wild.settings import WildSettings
from pipeline.version import code_commit

# Bodies that poses are given to, and the longest side of pictures (px, of which nothing but the shape counts).
SHAPES, PICTURE_PX = 400, 512
# Deviation of a middling point, least and greatest, parts of a person's height: from annotators' to a small network's in clutter.
NOISE, HEIGHT_M = (0.004, 0.04), 1.7
# One point in so many is so many times as far off, and nobody says so.
OUTLIERS, OUTLIER_FACTOR = 1 / 12, 4.0
# How much of the stated deviation is not so, logarithms: of a whole person, and of a point.
MISSTATED = (0.3, 0.2)
# Where shoulders and hips are marked differs from one set of annotations to the next, metres.
DEFINITION_M = 0.015
# Share of people of whom some points are lost, and at most how many of them. Share who are told MSCOCO's points, the field's, or both.
LOSSES, MOST_LOST = 0.5, 0.4
TOLD = (0.5, 0.4, 0.1)
TURNED, NEAREST_M = 0.3, 0.3  # radians that a body is turned about the vertical; no joint is nearer to the camera
# Share of cameras that are turned about their own axis beyond what they were drawn with, and by how much, radians: tripods tilt.
ROLLS, ROLL = 0.5, 0.25
BATCH, RATE, DECAY = 1024, 2e-3, 0.01
# A shorter schedule has no step in which its rate could rise; so few steps take the beginning of this one.
LEAST_SCHEDULE = 11


@dataclass(frozen=True)
class Bodies:
    """N posed bodies that stand at the world's origin, z up, each with a camera that was drawn for it.

    points: (N, 34, 3) m, of the lifter's POINTS. K: (N, 3, 3), R: (N, 3, 3), t: (N, 3) m world to camera; size: (N, 2) px; azimuth:
    (N,) radians, where the camera stands.
    """

    points: Tensor
    K: Tensor
    R: Tensor
    t: Tensor
    size: Tensor
    azimuth: Tensor


@dataclass(frozen=True)
class Seen:
    """What a camera and a detector make of N bodies. rays, deviation: as the lifter is given them. joints: (N, 17, 3) m about the
    root."""

    rays: Tensor
    deviation: Tensor
    joints: Tensor


def draw_bodies(body: BodyModel, count: int, seed: int) -> Bodies:
    """`count` bodies in poses of the wild capture, each before a camera that was drawn for it; the same for the same seed."""
    rig, settings = people.make_rig(body), WildSettings()
    rng = np.random.default_rng([seed, 0])
    shapes = [people.random_shape(rig, rng, settings.shape_spread, settings.shape_warp_m) for _ in range(SHAPES)]
    persons = [people.shape_person(rig, *shape) for shape in shapes]
    bank, clips = repertoire.make_arm_bank(np.random.default_rng([seed, 1])), load_clips()
    coco, field = keypoint_map(body, COCO), keypoint_map(body, FIELD_JOINTS)
    rows: list[tuple] = []
    for _ in range(count):
        person, azimuth = persons[rng.integers(len(persons))], rng.uniform(0, 2 * np.pi)
        pose = draw_pose(rng, rig, person, bank, clips, settings.penetration_m, held_out=0.0)
        figure = stage.stand(rig, 0, person, pose, stage.draw_heading(rng, azimuth), np.zeros(2))
        camera = draw_camera(rng, stage.subject_of(figure), azimuth, PICTURE_PX)
        places = figure.motion.places[0]
        points = np.concatenate([each(places, figure.naked) for each in (coco, field)])
        rows.append((points, camera.K, camera.R, camera.t, (camera.width, camera.height), azimuth))
    return Bodies(*(torch.tensor(np.array(column), dtype=torch.float32) for column in zip(*rows, strict=True)))


def film(bodies: Bodies, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """`count` bodies before cameras of others, half of them seen in a mirror: points (n, 34, 3) m in camera axes, K (n, 3, 3) and
    sizes (n, 2) px."""
    who, where = (torch.randint(len(bodies.points), (count,), generator=rng) for _ in range(2))
    turn = bodies.azimuth[where] - bodies.azimuth[who] + TURNED * torch.randn(count, generator=rng)
    about = about_z(turn)
    roll = about_z((torch.rand(count, generator=rng) < ROLLS) * ROLL * torch.randn(count, generator=rng))
    points = bodies.points[who] @ (bodies.R[where] @ about).transpose(1, 2) + bodies.t[where][:, None]
    points = points @ roll.transpose(1, 2)
    flip = torch.tensor(np.r_[COCO.flip, len(COCO) + FIELD_JOINTS.flip])
    mirrored = torch.rand(count, generator=rng) < 0.5
    mirror = torch.where(mirrored[:, None, None], torch.tensor([-1.0, 1.0, 1.0]), torch.ones(3))
    points = torch.where(mirrored[:, None, None], points[:, flip], points) * mirror
    return points, bodies.K[where], bodies.size[where]


def about_z(angle: Tensor) -> Tensor:
    """(n, 3, 3) turns by angles (n,), radians."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1], -1).view(-1, 3, 3)


def see(bodies: Bodies, count: int, rng: torch.Generator) -> Seen:
    """About `count` views: those in which nothing of a body is beside the camera and enough points are seen."""
    points, K, size = film(bodies, count, rng)
    joints = points[:, len(COCO) :]
    root = joints[:, FIELD_JOINTS.root_index]
    marked = points + _definitions(count, rng)
    rays = marked[..., :2] / marked[..., 2:].clamp_min(NEAREST_M)
    true, stated = _deviations(count, rng)
    per_metre = HEIGHT_M / root[:, 2:].clamp_min(NEAREST_M)
    rays = rays + torch.randn(rays.shape, generator=rng) * (true * per_metre)[..., None]
    pixels = rays * K[:, None, [0, 1], [0, 1]] + K[:, None, :2, 2]
    inside = ((pixels > 0) & (pixels < size[:, None])).all(-1) & (marked[..., 2] > NEAREST_M)
    lost = (torch.rand(count, 1, generator=rng) < LOSSES) * MOST_LOST * torch.rand(count, 1, generator=rng)
    kept = torch.rand(inside.shape, generator=rng) >= lost
    told = torch.multinomial(torch.tensor(TOLD), count, replacement=True, generator=rng)[:, None]
    ours = torch.arange(points.shape[1]) >= len(COCO)
    seen = inside & kept & torch.where(ours, told > 0, told != 1)
    usable = (seen.sum(1) >= LEAST_POINTS) & (joints[..., 2] > NEAREST_M).all(1)
    deviation = torch.where(seen, stated * per_metre, torch.inf)
    return Seen(rays[usable], deviation[usable], (joints - root[:, None])[usable])


def _definitions(count: int, rng: torch.Generator) -> Tensor:
    """(n, 34, 3) m by which a set of annotations has its shoulders and hips elsewhere."""
    parts = torch.zeros(count, len(COCO) + JOINTS, 3)
    for k, name in enumerate(COCO.names):
        if name.endswith(("shoulder", "hip")):
            parts[:, k] = DEFINITION_M * torch.randn(count, 3, generator=rng)
    return parts


def _deviations(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """(n, 34) how far points are off and what is said of it, parts of a person's height."""
    coco = torch.tensor(COCO.relative_noise, dtype=torch.float32)
    level = torch.empty(count, 1).uniform_(math.log(NOISE[0]), math.log(NOISE[1]), generator=rng).exp()
    ours = torch.empty(count, JOINTS).uniform_(math.log(0.5), math.log(2.0), generator=rng).exp()
    expected = level * torch.cat([coco.expand(count, -1), ours], 1)
    whole, single = (torch.randn(count, n, generator=rng) for n in (1, expected.shape[1]))
    stated = expected * (MISSTATED[0] * whole + MISSTATED[1] * single).exp()
    outlier = torch.rand(expected.shape, generator=rng) < OUTLIERS
    return torch.where(outlier, OUTLIER_FACTOR * expected, expected), stated


def train(bodies: Bodies, steps: int, seed: int) -> tuple[Lifter, float]:
    """The network, and its mean distance from the true joints over the last tenth of the steps, metres."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    network = Lifter()
    first = see(bodies, 8 * BATCH, rng)
    turned = first.joints @ canonical(first.rays, first.deviation)[1].transpose(1, 2)
    network.mean.copy_(turned.mean(0))
    network.deviation.copy_(turned.std(0).clamp_min(0.02))
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=max(steps, LEAST_SCHEDULE), pct_start=0.1
    )
    asked = torch.arange(JOINTS) != FIELD_JOINTS.root_index
    distances = []
    for step in range(steps):
        batch = see(bodies, BATCH, rng)
        features, turns = canonical(batch.rays, batch.deviation)
        found, spread = network(features)
        off = found - batch.joints @ turns.transpose(1, 2)
        loss = (off.abs() / spread + spread.log())[:, asked].mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        distances.append(float(off.detach()[:, asked].norm(dim=-1).mean()))
        if (step + 1) % 500 == 0:
            print(f"step {step + 1} of {steps}: {1000 * np.mean(distances[-500:]):.1f} mm", flush=True)
    return network.eval(), float(np.mean(distances[-max(steps // 10, 1) :]))


def build(out: Path, count: int, steps: int, seed: int) -> None:
    """Writes the weights, in half precision, and where they come from into the folder `out`."""
    if count < 1 or steps < 1:
        raise InputError(f"The lifter was to learn {steps} steps from {count} bodies; give at least 1 of each.")
    started = time.perf_counter()
    body = load_body()
    network, distance = train(draw_bodies(body, count, seed), steps, seed)
    data = save({name: value.half() for name, value in network.state_dict().items()}, {"written_by": MARK})
    record = {
        "what": "Weights of the lifter: image points of a person to joints in space. Trained on posed bodies alone, no pictures.",
        "made_from": "the free body (CC0), the motion clips of pipeline/sources/synthetic/wild/assets (zlib), random shapes",
        "licence": "that of this program",
        "made_by": f"python -m pipeline.build_lifter OUT --bodies {count} --steps {steps} --seed {seed}",
        "commit": code_commit(),
        "body_sha256": body.sha256,
        "training_distance_mm": round(1000 * distance, 1),
        "seconds": round(time.perf_counter() - started),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    make_folder(out)
    write_file(out / ASSET.name, data)
    write_json(out / f"{ASSET.stem}.provenance.json", record)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write lifter.safetensors and its provenance into")
    parser.add_argument("--bodies", type=int, default=40_000)
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    try:
        build(asked.out, asked.bodies, asked.steps, asked.seed)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
