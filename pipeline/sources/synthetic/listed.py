"""Files that come with the program, which a list beside them names with their checksums."""

import hashlib
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import InputError


def listed_bytes(path: Path, sha256: str, listed_in: str) -> bytes:
    """What is in the file. Raises InputError when it is missing or not the one that the list names."""
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(
            f"{path} is {'damaged' if data else 'missing'}: it is not the file that {listed_in} lists. Install this program again."
        )
    return data


def read_listed(path: Path, sha256: str, listed_in: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a picture. Raises InputError as `listed_bytes` does."""
    image = cv2.imdecode(np.frombuffer(listed_bytes(path, sha256, listed_in), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None  # it has the sum of a picture
    return image[..., ::-1].copy()
