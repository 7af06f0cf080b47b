"""Pictures of a run: skeletons on crops and from the side, curves, bars, and a slice of the field. Arrays or PNG
files.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.networks.frame import CANONICAL_SIDE, HALF
from model.scoring.shown import DistanceSlices, ShownView
from model.scoring.skeleton import draw_skeleton
from pipeline.outputs import write_file
from pipeline.skeletons import JointSet

TRUE = (255, 255, 255)
INK, MUTED, ACCENT = "#22303c", "#9aa7b2", "#2f7de1"


# --- skeletons -------------------------------------------------------------------------------------------------------


def draw_both(
    canvas: np.ndarray,
    predicted: np.ndarray,
    truth: np.ndarray | None,
    joint_set: JointSet,
    true_colour: tuple[int, int, int],
) -> None:
    """The predicted skeleton in colour over the true one. (J, 2) pixels of the canvas each."""
    side = canvas.shape[0]
    if truth is not None:
        draw_skeleton(canvas, truth, joint_set, (20, 20, 20), max(4, side // 42))
        draw_skeleton(canvas, truth, joint_set, true_colour, max(2, side // 84))
    draw_skeleton(canvas, predicted, joint_set, None, max(2, side // 84))


def overlay(
    image: np.ndarray,
    K: np.ndarray,
    predicted: np.ndarray,
    truth: np.ndarray | None,
    joint_set: JointSet,
    side: int = 256,
) -> np.ndarray:
    """A crop enlarged to `side` px with the predicted skeleton in colour, over the true one in white.

    image: (S, S, 3) uint8. K: (3, 3) px. predicted, truth: (J, 3) m, absolute, in crop axes.
    """
    scale = side / image.shape[0]
    canvas = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)

    def pixels(points: np.ndarray) -> np.ndarray:
        flat = points[:, :2] / np.maximum(points[:, 2:], 1e-3) @ K[:2, :2].T + K[:2, 2]
        return (flat + 0.5) * scale - 0.5

    draw_both(canvas, pixels(predicted), None if truth is None else pixels(truth), joint_set, TRUE)
    return canvas


def from_the_side(predicted: np.ndarray, truth: np.ndarray | None, joint_set: JointSet, side: int = 256) -> np.ndarray:
    """The same skeletons seen from the camera's right, without perspective: the depth that an overlay hides.

    predicted, truth: (J, 3) m, root-relative crop axes. The camera looks from the left; the picture spans
    CANONICAL_SIDE.
    """
    canvas = np.full((side, side, 3), (246, 247, 249), np.uint8)
    for k in range(1, 4):
        cv2.line(canvas, (0, k * side // 4), (side, k * side // 4), (228, 231, 235), 1)
        cv2.line(canvas, (k * side // 4, 0), (k * side // 4, side), (228, 231, 235), 1)

    def pixels(points: np.ndarray) -> np.ndarray:
        return points[:, [2, 1]] * (side / CANONICAL_SIDE) + (side - 1) / 2

    draw_both(canvas, pixels(predicted), None if truth is None else pixels(truth), joint_set, (225, 225, 225))
    return canvas


def caption(image: np.ndarray, text: str) -> np.ndarray:
    """The image with a line of text under it."""
    strip = np.full((26, image.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 48, 60), 1, cv2.LINE_AA)
    return np.concatenate([image, strip])


def grid(images: list[np.ndarray], columns: int) -> np.ndarray:
    """Images of one size, row by row, on white, with a little room between them."""
    h, w = images[0].shape[:2]
    rows = -(-len(images) // columns)
    canvas = np.full((rows * (h + 8), columns * (w + 8), 3), 255, np.uint8)
    for k, image in enumerate(images):
        r, c = divmod(k, columns)
        canvas[r * (h + 8) : r * (h + 8) + h, c * (w + 8) : c * (w + 8) + w] = image
    return canvas


def prediction_grid(shown: Sequence[ShownView], joint_set: JointSet, columns: int = 2, side: int = 256) -> np.ndarray:
    """(H, W, 3) uint8: for each view the crop, the skeletons on it, and the skeletons from the side."""
    pictures = []
    for view in shown:
        predicted, true = view.predicted + view.predicted_root, view.joints + view.root
        parts = [
            cv2.resize(view.crop, (side, side), interpolation=cv2.INTER_CUBIC),
            overlay(view.crop, view.K, predicted, true, joint_set, side),
            from_the_side(view.predicted, view.joints, joint_set, side),
        ]
        pictures.append(caption(np.concatenate(parts, 1), view.text))
    return grid(pictures, columns)


# --- numbers ---------------------------------------------------------------------------------------------------------


def save_figure(path: Path, fig: Figure) -> None:
    """Write a figure as a PNG file."""
    data = BytesIO()
    fig.savefig(data, format="png", dpi=110)
    write_file(path, data.getvalue())


def _style(ax: Axes, title: str) -> None:
    ax.set_title(title, loc="left", fontsize=11, color=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#e6eaee", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=INK, labelsize=8)


def curves(path: Path, history: list[dict], mean_pose_mm: float | None = None) -> None:
    """Losses over steps, and validation MPJPE."""
    fig = Figure(figsize=(10, 3.4), layout="constrained")
    (left, right) = fig.subplots(1, 2)
    train = [row for row in history if row["kind"] == "train"]
    other = ("kind", "step", "learning_rate", "step_seconds", "data_wait", "gradient")
    for name in [name for name in (train[0] if train else {}) if name not in other]:
        values = [row[name] for row in train]
        heavy = name == "total"
        left.plot(
            [row["step"] for row in train], values, label=name, lw=2 if heavy else 1, color=INK if heavy else None
        )
    _style(left, "training losses (unweighted parts)")
    left.set_xlabel("step", fontsize=8)
    if train:
        left.legend(frameon=False, fontsize=8)
    looks = [row for row in history if row["kind"] == "validation"]
    steps = [row["step"] for row in looks]
    right.plot(steps, [row["mpjpe_mm"] for row in looks], "o-", color=ACCENT, ms=4, label="MPJPE")
    right.plot(steps, [row["pa_mpjpe_mm"] for row in looks], "o-", color="#f08a3c", ms=4, label="PA-MPJPE")
    if mean_pose_mm is not None:
        right.axhline(mean_pose_mm, color=MUTED, ls="--", lw=1, label="mean pose, MPJPE")
    _style(right, "validation error, mm")
    right.set_ylim(bottom=0)
    right.set_xlabel("step", fontsize=8)
    right.legend(frameon=False, fontsize=8)
    save_figure(path, fig)


def joint_bars(path: Path, report: dict) -> None:
    """Error of each joint, with and without alignment, worst first."""
    rows = sorted(report["per_joint"].items(), key=lambda item: -item[1]["mpjpe_mm"])
    fig = Figure(figsize=(10, 3.4), layout="constrained")
    ax = fig.subplots()
    x = np.arange(len(rows))
    ax.bar(x - 0.2, [row["mpjpe_mm"] for _, row in rows], 0.4, color=ACCENT, label="MPJPE")
    ax.bar(x + 0.2, [row["pa_mpjpe_mm"] for _, row in rows], 0.4, color="#f08a3c", label="after Procrustes alignment")
    ax.set_xticks(x, [name.replace("_", " ") for name, _ in rows], rotation=35, ha="right")
    _style(ax, "error of each joint, mm")
    ax.legend(frameon=False, fontsize=8)
    save_figure(path, fig)


def field_slice(path: Path, slices: DistanceSlices) -> None:
    """The predicted distance on planes, the true samples near each on top in the same colours, so that a dot that cannot be seen is a
    distance that is right.
    """
    fig = Figure(figsize=(11, 3.9), layout="constrained")
    axes = fig.subplots(1, 3, width_ratios=[1, 1.12, 1.12])
    axes[0].imshow(slices.crop)
    axes[0].set_title("crop", loc="left", fontsize=11, color=INK)
    axes[0].axis("off")
    limits = {"cmap": "RdBu", "vmin": -100 * slices.limit, "vmax": 100 * slices.limit}
    dots = {"s": 9, "lw": 0.3, "edgecolors": "#00000055"}
    for ax, plane in zip(axes[1:], slices.planes, strict=True):
        values = ax.imshow(100 * plane.values, extent=(-HALF, HALF, HALF, -HALF), **limits)
        ax.scatter(plane.samples[:, 0], plane.samples[:, 1], c=100 * plane.distance, **dots, **limits)
        ax.set_title(plane.title, loc="left", fontsize=11, color=INK)
        ax.tick_params(labelsize=7)
        ax.set_xlabel("m", fontsize=8)
    fig.colorbar(values, ax=axes[1:], shrink=0.8).set_label("signed distance, cm (inside is red)", fontsize=8)
    save_figure(path, fig)


def comparison_plot(path: Path, table: list[dict]) -> None:
    """MPJPE and PA-MPJPE of each model: the mean over seeds as a bar, every seed as a dot. table: rows of a
    comparison.
    """
    names = list(dict.fromkeys(row["model"] for row in sorted(table, key=lambda row: row["mpjpe_mm"])))
    fig = Figure(figsize=(max(5, 1.3 * len(names)), 3.8), layout="constrained")
    ax = fig.subplots()
    for key, label, colour, shift in (
        ("mpjpe_mm", "MPJPE", ACCENT, -0.2),
        ("pa_mpjpe_mm", "PA-MPJPE", "#f08a3c", 0.2),
    ):
        for x, name in enumerate(names):
            values = [row[key] for row in table if row["model"] == name]
            ax.bar(x + shift, np.mean(values), 0.38, color=colour, alpha=0.85, label=label if x == 0 else None)
            ax.plot(np.full(len(values), x + shift), values, "o", color=INK, ms=3)
    ax.set_xticks(range(len(names)), names)
    _style(ax, "test error, mm: mean over seeds, and every seed")
    ax.legend(frameon=False, fontsize=8)
    save_figure(path, fig)
