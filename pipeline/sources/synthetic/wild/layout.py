"""The finished capture: blocks joined to MSCOCO's annotation files and to one file of everything in 3D.

Both go through memory block by block.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import InputError
from pipeline.skeletons import COCO, FIELD_JOINTS
from pipeline.sources.synthetic.wild.blocks import Block, read_block
from pipeline.sources.synthetic.wild.columns import (
    FORMAT,
    OUTSIDE,
    PERSON_COLUMNS,
    PICTURE_COLUMNS,
    SEEN,
    TRUTH_FILE,
    image_path,
)
from pipeline.sources.synthetic.wild.settings import FOLDERS, split_of

# Visibility in MSCOCO's files: not in the picture, there but hidden, to be seen.
_UNLABELLED, _COVERED, _VISIBLE = 0, 1, 2
NOTE = "Rendered people, not a recording: written by nvf-cli synthesize --wild."


def coco_path(split: str) -> str:
    """Of a split's keypoints, relative to the capture."""
    return f"annotations/person_keypoints_{FOLDERS[split]}.json"


def join(folder: Path, blocks: Sequence[Block]) -> int:
    """Write the annotation files of all blocks; how many people they have."""
    try:
        (folder / TRUTH_FILE).parent.mkdir(exist_ok=True)
        people = _join_truth(folder / TRUTH_FILE, blocks)
        for split in FOLDERS:
            _join_coco(folder / coco_path(split), blocks, split)
    except OSError as error:
        raise InputError(
            f"{folder}: the annotations cannot be written ({error.strerror or error}); free some space"
        ) from error
    return people


def _columns_of(blocks: Sequence[Block]) -> Iterator[dict[str, np.ndarray]]:
    for block in blocks:
        columns = read_block(block)
        if columns is None:
            raise InputError(f"{block.path} is damaged; the same command again makes its pictures anew")
        yield columns


def _join_truth(path: Path, blocks: Sequence[Block]) -> int:
    """One dataset a column, grown block by block."""
    draft = path.with_name(path.name + ".tmp")
    with h5py.File(draft, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["joints"] = list(FIELD_JOINTS.names)
        file.attrs["coco_joints"] = list(COCO.names)
        for group, columns in (("picture", PICTURE_COLUMNS), ("person", PERSON_COLUMNS)):
            for name, (shape, kind) in columns.items():
                file.create_dataset(
                    f"{group}/{name}",
                    (0, *shape),
                    kind,
                    maxshape=(None, *shape),
                    chunks=(1024, *shape),
                    compression="gzip",
                    compression_opts=1,
                    shuffle=True,
                )
        for found in _columns_of(blocks):
            for name, values in found.items():
                dataset = file[name]
                dataset.resize(len(dataset) + len(values), 0)
                if len(values):
                    dataset[-len(values) :] = values
        people = len(file["person/picture"])
    with open(draft, "rb") as written:
        os.fsync(written.fileno())
    os.replace(draft, path)
    return people


def _join_coco(path: Path, blocks: Sequence[Block], split: str) -> None:
    """MSCOCO's keypoints of a split. The id of an annotation is the person's row in the 3D file, plus one."""
    draft = path.with_name(path.name + ".tmp")
    head = {
        "info": {"description": NOTE, "version": FORMAT},
        "licenses": [],
        "categories": [
            {
                "id": 1,
                "name": "person",
                "supercategory": "person",
                "keypoints": list(COCO.names),
                "skeleton": [[a + 1, b + 1] for a, b in COCO.bones],
            }
        ],
    }
    with open(draft, "w") as file:
        file.write(json.dumps(head)[:-1])
        for key, entries in (("images", _images), ("annotations", _annotations)):
            file.write(f', "{key}": [')
            first = True
            for entry in entries(blocks, split):
                file.write(("\n" if first else ",\n") + json.dumps(entry, separators=(",", ":")))
                first = False
            file.write("]")
        file.write("}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def _images(blocks: Sequence[Block], split: str) -> Iterator[dict]:
    for found in _columns_of(blocks):
        for number, (width, height) in zip(
            found["picture/number"].tolist(), found["picture/size"].tolist(), strict=True
        ):
            if split_of(number) == split:
                yield {"id": number, "file_name": Path(image_path(number)).name, "width": width, "height": height}


def _annotations(blocks: Sequence[Block], split: str) -> Iterator[dict]:
    row = 0
    for found in _columns_of(blocks):
        for k, number in enumerate(found["person/picture"].tolist()):
            row += 1
            if split_of(number) == split:
                yield _annotation(found, k, row)


def _annotation(found: dict[str, np.ndarray], k: int, number: int) -> dict:
    seen = found["person/coco_seen"][k]
    mark = np.select([seen == OUTSIDE, seen == SEEN], [_UNLABELLED, _VISIBLE], _COVERED)
    points = np.where((mark > 0)[:, None], found["person/coco"][k], 0).round(2)
    return {
        "id": number,
        "image_id": int(found["person/picture"][k]),
        "category_id": 1,
        "iscrowd": 0,
        "bbox": found["person/box"][k].tolist(),
        "area": int(found["person/pixels"][k]),
        "num_keypoints": int((mark > 0).sum()),
        "keypoints": np.concatenate([points, mark[:, None]], 1).astype(float).ravel().round(2).tolist(),
    }
