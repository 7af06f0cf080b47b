"""Reading Human3.6M's annotations at full size: 2.1 million views in 3DMPPE's layout, written here with made-up
numbers.

    python -m benchmarks.annotations [--folder DIR] [--scale 1.0] [--images] [--quick] [--json FILE]

Prints seconds and peak memory of `check-data`'s pass over the instants, of all subjects and of one. The
files (about 2 GB) are written once and kept in DIR; a quick run writes a hundredth of them and keeps nothing. With
--images the sampled images exist, as empty files; without, every view is rejected.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline.camera import tight_box

# Frames of every subject: with 4 cameras as many views as Human3.6M has (1.56 million of S1 to S8, 548,819 of S9 and
# S11).
FRAMES = {1: 62094, 5: 97800, 6: 78000, 7: 81600, 8: 70640, 9: 83800, 11: 53405}
TARGETS = {"seconds": 180, "peak_gib": 4.0}


# A standing person of Human3.6M's 17 joints, millimetres, z up.
PERSON = 1000 * np.array(
    [
        (0, 0, 0), (-0.13, 0, 0), (-0.13, 0.03, -0.44), (-0.12, -0.02, -0.88), (0.13, 0, 0), (0.13, 0.03, -0.44),
        (0.12, -0.02, -0.88), (0, 0, 0.23), (0, 0, 0.49), (0, 0.1, 0.61), (0, 0, 0.72), (0.15, 0, 0.47), (0.22, -0.02, 0.2),
        (0.25, 0.04, -0.04), (-0.15, 0, 0.47), (-0.22, -0.02, 0.2), (-0.25, 0.04, -0.04),
    ]
)  # fmt: skip
F, C = (1145.04940458804, 1143.78109572365), (512.54, 515.45)


def make_cameras() -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """R, t (mm) of four cameras around the origin."""
    cameras = {}
    for camera in range(4):
        angle = np.pi / 2 * camera
        x, z = np.array([-np.sin(angle), np.cos(angle), 0]), np.array([-np.cos(angle), -np.sin(angle), 0])
        cameras[camera + 1] = np.stack([x, np.cross(z, x), z]), np.array([0.0, 0.0, 5000.0])
    return cameras


def make_boxes(joints: np.ndarray, R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(K, 4) of people (K, 17, 3)."""
    local = joints @ R.T + t
    return tight_box(local[..., :2] / local[..., 2:] * F + C, subtract=1)


def write_subject(folder: Path, subject: int, frames: int, first_id: int) -> int:
    """One subject's three files, streamed. Returns the number of views."""
    rng = np.random.default_rng(subject)
    sequences = [(action, subaction) for action in range(2, 17) for subaction in (1, 2)]
    lengths = np.full(30, frames // 30)
    lengths[: frames - lengths.sum()] += 1
    poses = {
        sequence: (PERSON + rng.normal(0, 30, (length, 17, 3)) + rng.normal(0, 400, (length, 1, 3)) * [1, 1, 0]).round(
            3
        )
        for sequence, length in zip(sequences, lengths, strict=True)
    }
    identity = first_id
    vis = json.dumps([True] * 17)
    with (
        open(folder / f"Human36M_subject{subject}_data.json", "w") as images,
        open(folder / "part.tmp", "w") as annotations,
    ):
        images.write('{"images": [')
        for (action, subaction), length in zip(sequences, lengths, strict=True):
            for camera, (R, t) in make_cameras().items():
                name = f"s_{subject:02d}_act_{action:02d}_subact_{subaction:02d}_ca_{camera:02d}"
                boxes = make_boxes(poses[action, subaction], R, t).round(3)
                for frame in range(length):
                    comma = "" if identity == first_id else ", "
                    images.write(
                        f'{comma}{{"id": {identity}, "file_name": "{name}/{name}_{frame + 1:06d}.jpg", "width": 1000, '
                        f'"height": {1002 if camera in (1, 4) else 1000}, "subject": {subject}, "action_name": "Directions", '
                        f'"action_idx": {action}, "subaction_idx": {subaction}, "cam_idx": {camera}, "frame_idx": {frame}}}'
                    )
                    annotations.write(
                        f'{comma}{{"id": {identity}, "image_id": {identity}, "keypoints_vis": {vis}, '
                        f'"bbox": {json.dumps(boxes[frame].tolist())}}}'
                    )
                    identity += 1
        images.write('], "annotations": [')
        annotations.close()
        with open(folder / "part.tmp") as part:
            while chunk := part.read(1 << 24):
                images.write(chunk)
        images.write("]}")
    (folder / "part.tmp").unlink()
    _write_joints(folder, subject, poses)
    _write_cameras(folder, subject)
    return identity - first_id


def _write_joints(folder: Path, subject: int, poses: dict[tuple[int, int], np.ndarray]) -> None:
    with open(folder / f"Human36M_subject{subject}_joint_3d.json", "w") as file:
        file.write("{")
        for k, ((action, subaction), joints) in enumerate(poses.items()):
            file.write(f"{', ' if k and subaction == 1 else ''}" + (f'"{action}": {{' if subaction == 1 else ", "))
            frames = ", ".join(f'"{f}": {json.dumps(pose.tolist())}' for f, pose in enumerate(joints))
            file.write(f'"{subaction}": {{{frames}}}' + ("}" if subaction == 2 else ""))
        file.write("}")


def _write_cameras(folder: Path, subject: int) -> None:
    cameras = {str(n): {"R": R.tolist(), "t": t.tolist(), "f": F, "c": C} for n, (R, t) in make_cameras().items()}
    (folder / f"Human36M_subject{subject}_camera.json").write_text(json.dumps(cameras))


def read(root: Path, subjects: list[str] | None) -> dict:
    """Seconds, peak memory of this process and counts of `check-data`'s pass over the instants."""
    from pipeline.sources import open_source
    from pipeline.sources.check import check_source

    started = time.perf_counter()
    report = check_source(open_source("human36m", root, subjects=subjects))
    seconds = time.perf_counter() - started
    return {
        "views_annotated": report["views"],
        "views_sampled": report["sampled"],
        "left_out": sum(report["rejects"].values()),
        "seconds": round(seconds, 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def in_own_process(root: Path, subjects: str) -> dict:
    """`read` in a process of its own, so that peaks do not mix."""
    command = [sys.executable, "-m", "benchmarks.annotations", "--folder", str(root), "--read", subjects]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/human36m-size"))
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the frames")
    parser.add_argument("--images", action="store_true", help="create the sampled images as empty files first")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the frames, in a folder of its own")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        print(json.dumps(read(arguments.folder, None if arguments.read == "all" else arguments.read.split(","))))
    elif arguments.quick:
        with tempfile.TemporaryDirectory() as name:
            arguments.folder, arguments.scale = Path(name), 0.01
            measure(arguments)
    else:
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Write the files where they are missing, read them, print and keep the numbers."""
    folder = arguments.folder / "annotations"
    if not folder.exists():
        folder.mkdir(parents=True)
        (arguments.folder / "images").mkdir()
        first = 0
        for subject, frames in FRAMES.items():
            first += write_subject(folder, subject, round(frames * arguments.scale), first)
    if arguments.images:
        touch_images(arguments.folder)
    rows = {"all subjects": in_own_process(arguments.folder, "all"), "S9 only": in_own_process(arguments.folder, "S9")}
    rows["all subjects"]["bytes"] = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{'':14}{'annotated':>12}{'sampled':>10}{'seconds':>9}{'peak GiB':>10}")
    for name, row in rows.items():
        print(
            f"{name:14}{row['views_annotated']:12,}{row['views_sampled']:10,}{row['seconds']:9.1f}{row['peak_gib']:10.2f}"
        )
    print(f"targets: {TARGETS['seconds']} s, {TARGETS['peak_gib']} GiB for all subjects")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, "targets": TARGETS}, indent=1) + "\n")


def touch_images(root: Path) -> None:
    """Empty files where the sampled frames' images would be."""
    from pipeline.sources import open_source

    source = open_source("human36m", root)
    for reject in source.read()[1].rejects:
        if reject.reason.endswith("does not exist"):
            path = root / reject.reason.split(": ")[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


if __name__ == "__main__":
    main()
