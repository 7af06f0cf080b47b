"""Places from panoramas: each becomes a picture of its surroundings and the light that it casts.

The panoramas hold true brightness, lamps and sun included. A picture keeps what a camera can show; the light is worked out here,
once, so that the capture needs neither the panoramas nor a reader for them.
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import InputError
from pipeline.known_package import Known, open_package
from pipeline.outputs import claim_folder, write_file, write_json
from pipeline.sources.synthetic.light import Light, features
from pipeline.sources.synthetic.places import BRIGHTEST, LIST_FILE, direction_grid

PMNDRS = Known(
    name="@pmndrs/assets",
    version="1.7.0",
    licence="CC0-1.0",
    how="`npm pack @pmndrs/assets@1.7.0`, unpack it, and give its folder `package`",
    licence_file="LICENSE",
    licence_text="Creative Commons Legal Code\n\nCC0 1.0 Universal",
    manifest="package.json",
    sha256={
        "hdri/apartment.exr.js": "74c0206dd58bed5fd0795194c3eb0d6f1a7e30c26a831dc239617de707d3a6d8",
        "hdri/bridge.exr.js": "0e0c4def1bd2e8f88d13de12e708047a103b845116f6a04737a25127ad115cb0",
        "hdri/city.exr.js": "dcb14d9dfc48d83e7cc38c7fbb76416cac3a959a59a80d4b0fbfd9dbf4a05ed3",
        "hdri/dawn.exr.js": "455ea02a016b2d177faa501e812ea993b43f223480fe3fe6abded88c5f242cf2",
        "hdri/esplanade.exr.js": "1c7a9a7da193deafd6494a55c21a0a198b72e9024a5faae6e2d3db66a87154dc",
        "hdri/forest.exr.js": "d37ba5af4a60e169f22482f299a14dde2c84455142eb2074d791c863aa619a79",
        "hdri/hall.exr.js": "55db560c95f87b2c0cb82079d87c684fb0be8890d33e97a3628246740bef09e2",
        "hdri/lab.exr.js": "3adb2d8b79177fe47c8d9fc50e52b8d5329ff6ba8409bd38d519fbce1e09d7d3",
        "hdri/lobby.exr.js": "58150e771d20555ebe4a9fc0e1e1aede23de9096430c71d3107017e8a13dc7a6",
        "hdri/night.exr.js": "e76f8e31dad6f491ff83fc3182551b1867c499464569a87d5d2874efb374f66e",
        "hdri/park.exr.js": "88947c10444e0c5f0e51018e5b69af9a7489baab9e8034b0044686c2d8fd7a8c",
        "hdri/sunset.exr.js": "57ab9a1e5aec61f1816b2b977646d0baf82a4adf61bfe9d4a8313138f2f50e7c",
        "hdri/venice.exr.js": "08d9d3255f50ffba3a2aa37a95abbcd0944282b90101877b5d0abf340ee0642a",
        "hdri/warehouse.exr.js": "ce15dbb7b20bfd3c1daa478fec3425c6a8efa7ae5e2fe4d501033a1bcc1bd90a",
        "hdri/workshop.exr.js": "32b92ffdb6aca9d5f73f13bbf9bd2d7b47169522de69f7fc4b18cf1da6beb048",
    },
)
BLENDER = Known(
    name="blender-data",
    version="3.4.1+dfsg-2",
    licence="CC0-1.0",
    how="`apt-get download blender-data`, unpack it with `dpkg-deb -x`, and give usr/share/blender/datafiles/studiolights/world",
    licence_file="license.txt",
    licence_text="All HDRIs are licenses as CC0.",
    manifest=None,
    sha256={
        "city.exr": "70940108df90c0721799d29f758ca79e67e509d9a2636487e639db7779561524",
        "courtyard.exr": "1518fa37da6a8a389810a7a70262c410553018a51f0be9e248155b9bb363ff3d",
        "forest.exr": "63ad3243d0f9c29bd1f51b9a3bbf5c0ad25ea39299698dba6cfc29d1660d6008",
        "interior.exr": "4f6810b182ade346eac6964bf02405adf430c321b8853a644316af4e05d0fdb5",
        "night.exr": "a46488f5cb744f325abc9f5af3c3eeb5d9393df69b5178fbe727538522120045",
        "sunrise.exr": "b97206217e29763d62d9a65ad2d7058460acfb4824659e7a59f5bde374f21937",
        "sunset.exr": "a164f20b86bc43ba4afd66c988a20a9dd5f1a0a5d8e960aed57a33f78119c168",
    },
)
AUTHORS = {
    PMNDRS.name: "Poly Haven (https://polyhaven.com), resized by Antoine Bernier",
    BLENDER.name: "Greg Zaal (HDRI Haven)",
}
# Largest width of a stored picture, and its quality as a JPEG.
WIDTH, QUALITY = 1024, 88
# A lamp is what shines this many times as bright as the place on average, within this angle (radians) of the brightest point.
LAMP_CONTRAST, LAMP_RADIUS = 8.0, 0.3
MOST_LAMPS = 2
# Lamps below this share of the rest of the light are left to it.
FAINT = 0.05
# The surroundings from this far below to this far above the horizon (degrees) are exposed to this mean (square roots of 0..1).
BAND, MEAN = (-35.0, 25.0), 0.5


def build_places(folders: Sequence[Path], out: Path) -> dict[str, dict]:
    """Write a picture of each place, places.json and the licences into `out`; returns what places.json says, by name.

    folders: one of each package above, in that order. Raises InputError as `open_package` does, before anything is written.
    """
    claim_folder(out, (LIST_FILE,))
    packages = [(known, open_package(folder, known)) for known, folder in zip((PMNDRS, BLENDER), folders, strict=True)]
    records = {}
    for known, files in packages:
        prefix = known.name.strip("@").split("/")[0].split("-")[0]
        for path in known.sha256:
            name = f"{prefix}_{Path(path).name.split('.')[0]}"
            picture, light = make_place(read_panorama(files[path], path))
            data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
            write_file(out / f"{name}.jpg", data)
            records[name] = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "licence": known.licence,
                "author": AUTHORS[known.name],
                "package": f"{known.name} {known.version}",
                "read_from": {path: known.sha256[path]},
                "ambient": np.round(light.ambient, 5).tolist(),
                "directions": np.round(light.directions, 5).tolist(),
                "colours": np.round(light.colours, 5).tolist(),
            }
        assert known.licence_file is not None  # both packages have one
        write_file(out / f"{prefix}_LICENSE.txt", files[known.licence_file])
    write_json(out / LIST_FILE, records)
    return records


def read_panorama(data: bytes, name: str) -> np.ndarray:
    """(H, 2 H, 3) float32 linear RGB of an OpenEXR file, or of a JavaScript module that holds one as base64."""
    os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"  # read when OpenCV first decodes one
    if name.endswith(".js"):
        data = base64.b64decode(data.split(b"base64,")[1].split(b"'")[0])
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[1] != 2 * image.shape[0]:
        raise InputError(
            f"{name} cannot be decoded as a panorama; this OpenCV may be built without OpenEXR. Use PyPI's."
        )
    return without_rings(np.ascontiguousarray(image[..., 2::-1]))


def without_rings(panorama: np.ndarray) -> np.ndarray:
    """(H, W, 3) linear light, never negative. Where panoramas were made smaller or compressed, values beside the sun and lamps are
    negative, black rings in the middle of what is white: they get the light around them."""
    filled = cv2.morphologyEx(panorama, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return np.maximum(np.where((panorama < 0).any(2, keepdims=True), filled, panorama), 0)


def make_place(panorama: np.ndarray) -> tuple[np.ndarray, Light]:
    """(H, 2 H, 3) linear RGB -> (H, 2 H, 3) uint8 picture, square roots of what is at most BRIGHTEST, and the light."""
    height = len(panorama)
    lower, upper = (int((90 - degrees) / 180 * height) for degrees in BAND)
    band = panorama[upper:lower]
    low, high = 1e-4, 1e4
    for _ in range(60):
        gain = np.sqrt(low * high)
        dark = np.sqrt(np.clip(band * gain, 0, 1)).mean() < MEAN
        low, high = (gain, high) if dark else (low, gain)
    exposed = panorama * np.float32(gain)
    # Compression has coloured what is much brighter than white; a camera shows it white.
    level = exposed.mean(2, keepdims=True)
    white = np.clip(level / 1.5 - 1, 0, 1)
    picture = np.sqrt(np.clip((exposed + (level - exposed) * white) / BRIGHTEST, 0, 1)) * 255
    return (picture + 0.5).astype(np.uint8), make_light(exposed)


def make_light(panorama: np.ndarray) -> Light:
    """The light of a panorama (linear RGB) on something in its middle."""
    small = cv2.resize(panorama, (256, 128), interpolation=cv2.INTER_AREA).astype(float)
    directions = direction_grid(128)
    angle = np.sin((np.arange(128) + 0.5) / 128 * np.pi) * (np.pi / 128) ** 2  # steradians of a pixel, by row
    solid = np.repeat(angle, 256)
    rays, radiance = directions.reshape(-1, 3), small.reshape(-1, 3)
    lamps: list[tuple[np.ndarray, np.ndarray]] = []
    level = (radiance * solid[:, None]).sum(0) / solid.sum()
    for _ in range(MOST_LAMPS):
        bright = cv2.GaussianBlur(radiance.mean(1).reshape(128, 256), (0, 0), 2).ravel()
        near = rays @ rays[bright.argmax()] > np.cos(LAMP_RADIUS)
        limit = LAMP_CONTRAST * level.mean()
        over = near & (radiance.mean(1) > limit)
        if not over.any():
            break
        kept = radiance[over] * (limit / radiance[over].mean(1))[:, None]
        power = (radiance[over] - kept) * solid[over, None]
        radiance[over] = kept
        middle = (rays[over] * power.mean(1)[:, None]).sum(0)
        # A white surface that faces the lamp sends back its light over pi. Compression may have coloured the sun beyond belief.
        strength = power.sum(0) / np.pi
        colour = np.clip(strength / strength.mean(), 0.75, 1.25) * strength.mean()
        if colour.mean() > FAINT * level.mean():
            lamps.append((middle / np.linalg.norm(middle), colour))
    towards, colours = (np.array([lamp[part] for lamp in lamps]).reshape(-1, 3) for part in (0, 1))
    return Light(ambient_of(rays, radiance * solid[:, None]), towards, colours)


def ambient_of(rays: np.ndarray, power: np.ndarray) -> np.ndarray:
    """(N, 3) directions that send (N, 3) light -> (9, 3) coefficients of what a surface of each normal gets of it."""
    normals = direction_grid(16).reshape(-1, 3)
    got = np.stack([np.maximum(rays @ normal, 0) @ power for normal in normals]) / np.pi
    return np.linalg.lstsq(features(normals), got, rcond=None)[0]
