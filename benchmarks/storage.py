"""Bytes a view for every way to keep offsets, and how fast a trainer reads them, beside .npz files and zarr.

    python -m benchmarks.storage [SHARDS] [--views 256] [--loaders 0 1 2] [--quick] [--json FILE]

SHARDS: a folder or one shard; without it a small one is made. A read is what a training step takes of a view: the
decoded image, a draw of 1,024 points, the voters and their offsets. Views are read in random order, twice; the second
pass (warm page cache) is timed.
"""

import argparse
import json
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from benchmarks._sample import sample_capture
from pipeline.look.overview import find_target
from pipeline.preprocess.progress import RunProgress
from pipeline.preprocess.settings import Request
from pipeline.run import Workers, preprocess
from pipeline.shards.format import OFFSETS, J, ShardHeader, ShardView
from pipeline.shards.store import ShardReader, write_shard

DRAW = 1024


def sample_shards(folder: Path, instants: int) -> Path:
    root = sample_capture(folder, instants)
    with RunProgress(Console(quiet=True)) as progress:
        preprocess(Request("human36m", root, folder / "shards", limit=instants), Workers(0), progress)
    return folder / "shards"


def stored_view(reader: ShardReader, row: int) -> ShardView:
    """A view of a shard as it was before it was written."""
    view = reader.read_view(row)
    names = ShardView.__dataclass_fields__.keys() & view.keys()
    return ShardView(
        **{name: view[name] for name in names},
        image=reader.read_jpeg(row).tobytes(),
        fit=reader.read_body(row),
        samples=reader.read_samples(row),
    )


def rewrite(target, folder: Path, offsets: str, views: int) -> Path:
    """The first views of the target in one shard with other offsets."""
    rows = [(ShardReader(path), row) for path in target.shards for row in range(len(ShardReader(path)))][:views]
    a = rows[0][0].attributes
    header = ShardHeader(
        **{
            name: a[name].item() if isinstance(a[name], np.generic) else a[name]
            for name in ShardHeader.__dataclass_fields__
        }
        | {"offsets": offsets}
    )
    path = folder / f"{offsets}.h5"
    write_shard(path, header, [stored_view(*row) for row in rows])
    return path


class ShardViews:
    def __init__(self, path: Path):
        self.reader = ShardReader(path)
        self.n = len(self.reader)

    def read(self, row: int, chosen: np.ndarray):
        samples = self.reader.read_samples(row)
        return self.reader.read_image(row), samples.points[chosen], samples.sdf[chosen], samples.voters


class NpzViews:
    """One compressed .npz a view."""

    def __init__(self, folder: Path):
        self.files = sorted(folder.glob("*.npz"))
        self.n = len(self.files)

    def read(self, row: int, chosen: np.ndarray):
        with np.load(self.files[row]) as data:
            image = cv2.imdecode(data["image"], cv2.IMREAD_COLOR_RGB)
            return image, data["points"][chosen], data["sdf"][chosen], data["voters"]


class ZarrViews:
    """One zarr group, a chunk a view, its default compressor."""

    def __init__(self, folder: Path):
        import zarr

        self.group = zarr.open_group(str(folder), mode="r")
        self.arrays = {name: self.group[name] for name in ("points", "sdf", "voters", "image", "length")}
        self.lengths = self.arrays["length"][:]
        self.n = len(self.lengths)

    def read(self, row: int, chosen: np.ndarray):
        a = self.arrays
        image = cv2.imdecode(a["image"][row][: self.lengths[row]], cv2.IMREAD_COLOR_RGB)
        return image, a["points"][row][chosen], a["sdf"][row][chosen], a["voters"][row]


def write_npz(shard: Path, folder: Path, compress: bool) -> Path:
    folder.mkdir()
    reader = ShardReader(shard)
    for row in range(len(reader)):
        s = reader.read_samples(row)
        save = np.savez_compressed if compress else np.savez
        save(
            folder / f"{row:06d}.npz",
            image=reader.read_jpeg(row),
            points=s.points,
            sdf=s.sdf,
            voters=s.voters,
        )
    return folder


def write_zarr(shard: Path, folder: Path) -> Path:
    import zarr

    reader = ShardReader(shard)
    rows = [reader.read_samples(row) for row in range(len(reader))]
    images = [reader.read_jpeg(row) for row in range(len(reader))]
    longest = max(map(len, images))
    data = {name: np.stack([getattr(s, name) for s in rows]) for name in ("points", "sdf", "voters")}
    data["image"] = np.stack([np.pad(image, (0, longest - len(image))) for image in images])
    data["length"] = np.array([len(image) for image in images])
    group = zarr.open_group(str(folder), mode="w")
    for name, values in data.items():
        chunks = values.shape if name == "length" else (1, *values.shape[1:])
        group.create_array(name, shape=values.shape, chunks=chunks, dtype=values.dtype)[...] = values
    return folder


def read_all(views_of, path: Path, seed: int, passes: int) -> float:
    """CPU and wall do not differ here: seconds of the last pass."""
    cv2.setNumThreads(0)
    views, rng = views_of(path), np.random.default_rng(seed)
    for _ in range(passes):
        began = time.perf_counter()
        for row in rng.permutation(views.n):
            views.read(int(row), rng.integers(0, 2048, DRAW))
        seconds = time.perf_counter() - began
    return seconds


def views_a_second(views_of, path: Path, loaders: int) -> float:
    n = views_of(path).n
    if loaders == 0:
        return n / read_all(views_of, path, 0, 2)
    with ProcessPoolExecutor(loaders, mp_context=get_context("fork")) as pool:
        seconds = list(pool.map(read_all, [views_of] * loaders, [path] * loaders, range(loaders), [2] * loaders))
    return sum(n / s for s in seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path, nargs="?")
    parser.add_argument("--views", type=int, default=256)
    parser.add_argument("--loaders", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="56 views, without loader processes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.views, options.loaders = 56, [0]
    folder = Path(tempfile.mkdtemp())
    try:
        target = find_target(options.shards or sample_shards(folder, options.views // 4))
        stores = {f"shard, {o}": (ShardViews, rewrite(target, folder, o, options.views)) for o in OFFSETS}
        first = stores["shard, voters"][1]
        stores["npz, plain"] = (NpzViews, write_npz(first, folder / "npz", False))
        stores["npz, compressed"] = (NpzViews, write_npz(first, folder / "npzc", True))
        try:
            stores["zarr"] = (ZarrViews, write_zarr(first, folder / "zarr"))
        except ImportError:
            print("zarr is not installed (pip install '.[bench]'): left out")
        rows = []
        for name, (views_of, path) in stores.items():
            files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
            row = {"store": name, "bytes_a_view": round(sum(p.stat().st_size for p in files) / views_of(path).n)}
            row |= {
                f"views_s_{loaders}": round(views_a_second(views_of, path, loaders), 1) for loaders in options.loaders
            }
            rows.append(row)
        print(f"{'store':<18}{'bytes a view':>14}" + "".join(f"{f'views/s, {n} loaders':>20}" for n in options.loaders))
        for row in rows:
            print(
                f"{row['store']:<18}{row['bytes_a_view']:14}"
                + "".join(f"{row[f'views_s_{n}']:20}" for n in options.loaders)
            )
        if options.json:
            options.json.write_text(json.dumps({"joints": J, "draw": DRAW, "rows": rows}, indent=1))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
