"""What a wild capture is like: histograms of its cameras, people and poses, as numbers and as a picture."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from pipeline.outputs import encode_picture, write_file, write_json
from pipeline.skeletons import FIELD_JOINTS
from pipeline.sources.synthetic.wild.cameras import pitch_of, roll_of
from pipeline.sources.synthetic.wild.columns import BEHIND_ITSELF, OUTSIDE, TRUTH_FILE

STATISTICS_FILE, PICTURE_FILE = "statistics.json", "statistics.png"
# What is published of MSCOCO's train2017 as means: 150,000 people with keypoints in 57,000 pictures, 1.7 million keypoints labelled.
_PEOPLE, _KEYPOINTS = 150_000 / 57_000, 1_700_000 / 150_000
# Diagonal of a film frame, by which photographers give focal lengths, millimetres.
_FILM_MM = 43.27


@dataclass(frozen=True)
class Histogram:
    """name: with its unit. counts: (N,) of the values between edges (N + 1,); what lies outside is in the first and the last. mean:
    of the values; published: the mean that MSCOCO publishes, where it does."""

    name: str
    edges: np.ndarray
    counts: np.ndarray
    median: float
    mean: float
    published: float | None = None

    def plain(self) -> dict:
        found = {"edges": self.edges.round(3).tolist(), "counts": self.counts.tolist()}
        numbers = {"median": self.median, "mean": self.mean, "mscoco_mean": self.published}
        return found | {name: round(number, 3) for name, number in numbers.items() if number is not None}


def write_statistics(folder: Path) -> dict:
    """Writes both files of a joined capture, and returns what the JSON file holds."""
    with h5py.File(folder / TRUTH_FILE) as file:
        data = {f"{group}/{name}": file[group][name][:] for group in ("picture", "person") for name in file[group]}
    histograms = _of_cameras(data) + _of_people(data) + _of_poses(data["person/joints_mm"])
    kinds = Counter(kind.decode() for kind in data["person/kind"].tolist())
    total = max(1, kinds.total())
    content = {
        "pictures": len(data["picture/number"]),
        "people": len(data["person/picture"]),
        "bodies": len(np.unique(data["person/body"])),
        "poses": {kind: round(count / total, 4) for kind, count in kinds.most_common()},
        "histograms": {histogram.name: histogram.plain() for histogram in histograms},
    }
    write_json(folder / STATISTICS_FILE, content)
    write_file(folder / PICTURE_FILE, encode_picture(_draw(histograms)))
    return content


def _histogram(
    name: str, values: np.ndarray, low: float, high: float, bins: int, published: float | None = None
) -> Histogram:
    edges = np.linspace(low, high, bins + 1)
    counts = np.histogram(np.clip(values, low, high), edges)[0]
    median, mean = (float(np.median(values)), float(np.mean(values))) if len(values) else (0.0, 0.0)
    return Histogram(name, edges, counts, median, mean, published)


def _of_cameras(data: dict[str, np.ndarray]) -> list[Histogram]:
    R, t = data["picture/R"], data["picture/t"]
    height = -(np.transpose(R, (0, 2, 1)) @ t[..., None])[:, 2, 0]
    film = data["picture/K"][:, 0, 0] / np.linalg.norm(data["picture/size"], axis=1) * _FILM_MM
    people = np.bincount(np.searchsorted(data["picture/number"], data["person/picture"]), minlength=len(R))
    return [
        _histogram("pitch, degrees down", np.degrees([pitch_of(r) for r in R]), -40, 60, 25),
        _histogram("roll, degrees", np.degrees([roll_of(r) for r in R]), -30, 30, 24),
        _histogram("camera's height, m", height, 0, 4.5, 18),
        _histogram("focal length, mm on film", film, 10, 200, 19),
        _histogram("people in a picture", people.astype(float), -0.5, 4.5, 5, _PEOPLE),
    ]


def _of_people(data: dict[str, np.ndarray]) -> list[Histogram]:
    box = data["person/box"].astype(float)
    size = data["picture/size"][np.searchsorted(data["picture/number"], data["person/picture"])].astype(float)
    cut = (box[:, :2] <= 0).any(1) | (box[:, :2] + box[:, 2:] >= size).any(1)
    joints = data["person/joints_mm"].astype(float) / 1000
    ahead = np.cross(joints[:, _at("left_hip")] - joints[:, _at("right_hip")], joints[:, _at("neck")] - joints[:, 0])
    turn = np.degrees(np.arctan2(ahead[:, 0], -ahead[:, 2]))
    return [
        _histogram("distance, m", joints[:, 0, 2], 0, 13, 26),
        _histogram("box's longer side, px", box[:, 2:].max(1), 0, size.max(initial=1), 24),
        _histogram("box's longer side over the picture's", (box[:, 2:] / size).max(1), 0, 1, 20),
        _histogram("cut by the border (1) or not", cut.astype(float), -0.5, 1.5, 2),
        _histogram(
            "joints to be seen, of 17", (data["person/seen"] >= BEHIND_ITSELF).sum(1).astype(float), -0.5, 17.5, 18
        ),
        _histogram(
            "keypoints labelled, of MSCOCO's 17",
            (data["person/coco_seen"] > OUTSIDE).sum(1).astype(float),
            -0.5,
            17.5,
            18,
            _KEYPOINTS,
        ),
        _histogram("turned from the camera, degrees", turn, -180, 180, 24),
    ]


def _of_poses(joints: np.ndarray) -> list[Histogram]:
    """joints: (N, 17, 3) camera axes, any unit of length."""
    found = []
    for name, chain in (
        ("elbow, degrees bent", ("shoulder", "elbow", "wrist")),
        ("knee, degrees bent", ("hip", "knee", "ankle")),
    ):
        angles = [_bend(joints, *(f"{side}_{joint}" for joint in chain)) for side in ("left", "right")]
        found.append(_histogram(name, np.concatenate(angles), 0, 160, 20))
    hips = [_bend(joints, "neck", f"{side}_hip", f"{side}_knee") for side in ("left", "right")]
    found.append(_histogram("hip, degrees bent", np.concatenate(hips), 0, 160, 20))
    arms = [180 - _bend(joints, f"{side}_hip", f"{side}_shoulder", f"{side}_elbow") for side in ("left", "right")]
    found.append(_histogram("upper arm, degrees from hanging", np.concatenate(arms), 0, 180, 20))
    trunk = joints[:, _at("neck")] - joints[:, 0]
    lean = np.degrees(np.arccos(np.clip(-trunk[:, 1] / np.maximum(np.linalg.norm(trunk, axis=1), 1e-9), -1, 1)))
    return [*found, _histogram("trunk, degrees from upright in the picture", lean, 0, 180, 24)]


def _at(name: str) -> int:
    return FIELD_JOINTS.index(name)


def _bend(joints: np.ndarray, first: str, middle: str, last: str) -> np.ndarray:
    """(N,) degrees by which two bones that meet deviate from a straight line."""
    a, b = joints[:, _at(middle)] - joints[:, _at(first)], joints[:, _at(last)] - joints[:, _at(middle)]
    cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-9)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def _draw(histograms: list[Histogram]) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a small plot each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(histograms) // 4)
    figure = Figure(figsize=(14, 2.6 * rows), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for k, histogram in enumerate(histograms):
        axes = figure.add_subplot(rows, 4, k + 1)
        share = histogram.counts / max(1, histogram.counts.sum())
        axes.bar(
            histogram.edges[:-1], share, np.diff(histogram.edges), align="edge", color="#3b8eff", edgecolor="white"
        )
        axes.set_title(f"{histogram.name} (median {histogram.median:.3g})", fontsize=9)
        if histogram.published is not None:
            axes.axvline(histogram.mean, color="#1b4f9c", label=f"mean {histogram.mean:.1f}")
            axes.axvline(histogram.published, color="#e4572e", ls="--", label=f"MSCOCO's {histogram.published:.1f}")
            axes.legend(
                fontsize=8,
                frameon=False,
                loc="upper left" if histogram.mean > np.mean(histogram.edges) else "upper right",
            )
        axes.set_yticks([])
        axes.tick_params(labelsize=8)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
