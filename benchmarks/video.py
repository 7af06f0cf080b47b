"""Frames straight from videos against JPEG files on disk, read in order.

    python -m benchmarks.video [--frames 300] [--every 1 5 64] [--quick] [--json FILE]

Writes a video of 1000 x 1000 pixels with a moving textured scene, the same frames as JPEG (quality 95 and 75), and
reads both through `pipeline.images.read_image`. Target: per frame read in order, video at least as fast as JPEG.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from pipeline.images import read_image

SIDE = 1000


def write_scene(folder: Path, frames: int) -> None:
    """A still room with noise of its own and a textured figure that moves through it, as in a studio recording."""
    rng = np.random.default_rng(0)
    room = cv2.resize(rng.integers(0, 256, (60, 60, 3), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    figure = cv2.resize(rng.integers(0, 256, (40, 20, 3), np.uint8), (200, 400), interpolation=cv2.INTER_CUBIC)
    video = cv2.VideoWriter(str(folder / "v.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 50, (SIDE, SIDE))
    for k in range(frames):
        image = room.copy()
        x = 2 * k % (SIDE - 200)
        image[300:700, x : x + 200] = figure
        image = cv2.add(image, rng.integers(0, 6, image.shape, np.uint8))
        video.write(image)
        for quality in (95, 75):
            cv2.imwrite(str(folder / f"{k:06d}_q{quality}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    video.release()


def milliseconds(root: Path, names: list[str], repeats: int = 3) -> float:
    """Per image, the best of some passes in order."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        for name in names:
            read_image(root, name)
        times.append((time.perf_counter() - started) / len(names) * 1000)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--every", type=int, nargs="+", default=[1, 5, 64])
    parser.add_argument("--quick", action="store_true", help="30 frames")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.frames, arguments.every = 30, [1, 5]
    cv2.setNumThreads(1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_scene(root, arguments.frames)
        bytes_of = {
            kind: sum(p.stat().st_size for p in root.glob(kind)) for kind in ("*.mp4", "*_q95.jpg", "*_q75.jpg")
        }
        size = {kind: total / arguments.frames / 1024 for kind, total in bytes_of.items()}
        print("KiB a frame: " + ", ".join(f"{kind} {value:.0f}" for kind, value in size.items()))
        print(
            f"\n{'every':>6}{'video ms':>10}{'JPEG 95 ms':>12}{'JPEG 75 ms':>12}   per frame that is used, one thread"
        )
        for every in arguments.every:
            chosen = range(0, arguments.frames, every)
            row = {"every": every, "video_ms": milliseconds(root, [f"v.mp4#frame={k}" for k in chosen])}
            for quality in (95, 75):
                row[f"jpeg_{quality}_ms"] = milliseconds(root, [f"{k:06d}_q{quality}.jpg" for k in chosen])
            rows.append({key: round(value, 2) for key, value in row.items()})
            print(f"{every:6}{row['video_ms']:10.2f}{row['jpeg_95_ms']:12.2f}{row['jpeg_75_ms']:12.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, "kib_a_frame": size}, indent=1) + "\n")


if __name__ == "__main__":
    main()
