"""Cameras: projection, Human3.6M's distortion, and the crop that every stored view is.

Pixel centres are integers (the top-left one is 0, 0); camera axes are x right, y down, z forward. A crop is one warp of the
source image: undistorted, rotated so that the box centre lies on the optical axis, scaled to a square pinhole image.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.errors import InputError
from pipeline.records import Camera

# Crop side over the longer side of the person's box (3DMPPE's and I2L-MeshNet's margin).
BOX_MARGIN = 1.25
# Spacing of the crop pixels whose place in the source image is computed, the others' is interpolated.
NODE_PX = 4
# Parts of a box's square by which a crop's width is told, the next where the one before is not seen as a whole.
PARTS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)
# Cosine of the widest angle from the middle at which a camera is taken to see anything.
LEAST_COSINE = 0.05
# Pixels that a side of an image may have: OpenCV counts them in 16 bits.
MOST_SIDE = (1 << 15) - 2
# A place that is in no image, pixels.
FAR_OUTSIDE = -1e6
# A dataset's box is this much wider and higher than the tight box about the joints (3DMPPE's annotations).
BOX_SCALE = 1.2
# Axes of a camera to the right of another one: to the right what is further away from that one, down what is down. So far off
# (metres) that nearly nothing is smaller for being further away.
FROM_THE_SIDE, ASIDE = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]), 60.0


@dataclass(frozen=True)
class Crop:
    """A virtual square pinhole camera that shares its centre with the source camera.

    K: (3, 3) pixels, principal point at the image centre. R: (3, 3) source-camera axes -> crop axes. size: side in pixels.
    """

    K: np.ndarray
    R: np.ndarray
    size: int


def assumed_camera(width: int, height: int, focal: float | None = None) -> Camera:
    """A pinhole at the image centre. focal: pixels; where it is None sqrt(w^2 + h^2), about 53 degrees across the
    diagonal, and the camera says that it is assumed."""
    f = math.hypot(width, height) if focal is None else focal
    K = np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]])
    return Camera(K, np.eye(3), np.zeros(3), width, height, assumed=focal is None)


def resized(camera: Camera, width: int, height: int) -> Camera:
    """The camera of the picture after it was resized."""
    K = camera.K.copy()
    for row, part in enumerate((width / camera.width, height / camera.height)):
        K[row] *= part
        K[row, 2] += (part - 1) / 2  # the middle of the first pixel is 0
    return replace(camera, K=K, width=width, height=height)


def side_camera(centre: np.ndarray, zoom: float, width: int, height: int) -> Camera:
    """A camera to the right of another one, in whose axes the middle of the picture, `centre` (3,) m, is given. zoom: px a metre."""
    K = np.array([[zoom * ASIDE, 0, (width - 1) / 2], [0, zoom * ASIDE, (height - 1) / 2], [0, 0, 1]])
    return Camera(K, FROM_THE_SIDE, np.array([0, 0, ASIDE]) - FROM_THE_SIDE @ centre, width, height)


def tight_box(joints_2d: np.ndarray, subtract: float, scale: float = BOX_SCALE) -> np.ndarray:
    """(..., 4) x, y, width, height: the tight box of (..., J, 2) pixels, `subtract` taken off its sides, times
    `scale` about its centre. 3DMPPE's Human3.6M annotation subtracts 1, its 3DPW annotation 0."""
    low, high = joints_2d.min(-2), joints_2d.max(-2)
    side = high - low - subtract
    centre = low + side / 2
    return np.concatenate([centre - side * scale / 2, side * scale], -1)


def world_to_camera(camera: Camera, points: np.ndarray) -> np.ndarray:
    """(..., 3) metres in the instant's frame -> camera axes."""
    return points @ camera.R.T + camera.t


def camera_to_world(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Inverse of `world_to_camera`."""
    return (points - camera.t) @ camera.R


def distort(xy: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Human3.6M's distortion of normalised image coordinates (..., 2) = (X/Z, Y/Z).

    `coefficients`: k1 k2 k3 p1 p2. Source: ProjectPointRadial.m of the dataset's release. It is not OpenCV's model: the
    tangential term multiplies the point itself, `(x', y') = (x, y) (1 + k1 r2 + k2 r2^2 + k3 r2^3 + p1 y + p2 x) + (p2, p1) r2`.
    """
    k1, k2, k3, p1, p2 = coefficients
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    scale = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * y + p2 * x
    return np.stack([x * scale + p2 * r2, y * scale + p1 * r2], -1)


def from_opencv(coefficients: np.ndarray, K: np.ndarray, width: int, height: int) -> tuple[np.ndarray, float]:
    """OpenCV's k1 k2 p1 p2 k3 of a camera as Human3.6M's k1 k2 k3 p1 p2, and how far the two lie apart in the image, pixels.

    Without p1 and p2 they are the same. With them OpenCV's model has twice the tangential term in one of its places: the
    coefficients that come nearest over the image differ by some hundredths of a pixel for usual lenses.
    """
    k1, k2, p1, p2, k3 = coefficients
    if not (p1 or p2):
        return np.array([k1, k2, k3, 0.0, 0.0]), 0.0
    grid = np.stack(np.meshgrid(np.linspace(0, width - 1, 25), np.linspace(0, height - 1, 25)), -1).reshape(-1, 2)
    xy = (grid - K[:2, 2]) @ np.linalg.inv(K[:2, :2]).T
    x, y = xy.T
    r2 = x * x + y * y
    radial = k1 * r2 + k2 * r2**2 + k3 * r2**3
    wanted = np.stack(
        [x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], -1
    )
    columns = np.stack([distort(xy, row) - xy for row in np.eye(5)], -1)  # the model is linear in its coefficients
    found = np.linalg.lstsq(columns.reshape(-1, 5), wanted.ravel(), rcond=None)[0]
    apart = np.abs((columns @ found - wanted) @ K[:2, :2].T).max()
    return found, float(apart)


def lens_reach(coefficients: np.ndarray) -> float:
    """How far from the middle, in X/Z and Y/Z, a lens sees: beyond it `distort` would fold the image back over itself. Infinite for
    most."""
    k1, k2, k3 = coefficients[:3]
    squares = np.roots([7 * k3, 5 * k2, 3 * k1, 1.0])  # where r (1 + k1 r^2 + k2 r^4 + k3 r^6) stops growing with r
    folds = squares.real[(np.abs(squares.imag) < 1e-9) & (squares.real > 0)]
    return math.sqrt(folds.min()) if len(folds) else math.inf


@np.errstate(all="ignore")
def undistort(xy: np.ndarray, coefficients: np.ndarray, iterations: int = 20) -> np.ndarray:
    """Inverse of `distort` by Newton's method, exact to 1e-9 also far outside Human3.6M's images; NaN where nothing is seen through
    the lens."""
    if not np.any(coefficients):
        return xy
    k1, k2, k3, p1, p2 = coefficients
    found = np.array(xy, np.float64)
    for _ in range(iterations):
        x, y = found[..., 0], found[..., 1]
        r2 = x * x + y * y
        scale = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * y + p2 * x
        growth = 2 * (k1 + 2 * k2 * r2 + 3 * k3 * r2**2)  # d scale / dx = growth x + p2, d scale / dy = growth y + p1
        xx, xy_ = scale + x * (growth * x + p2) + 2 * p2 * x, x * (growth * y + p1) + 2 * p2 * y
        yx, yy = y * (growth * x + p2) + 2 * p1 * x, scale + y * (growth * y + p1) + 2 * p1 * y
        ex, ey = np.moveaxis(distort(found, coefficients) - xy, -1, 0)
        step = np.stack([yy * ex - xy_ * ey, xx * ey - yx * ex], -1) / (xx * yy - xy_ * yx)[..., None]
        found = found - step
        if np.abs(step).max(initial=0) < 1e-12:
            break
    missed = ~(np.abs(distort(found, coefficients) - xy).max(-1) < 1e-6)
    found[missed | (np.linalg.norm(found, axis=-1) > lens_reach(coefficients))] = np.nan
    return found


def project(camera: Camera, points_cam: np.ndarray) -> np.ndarray:
    """(..., 3) metres in camera axes -> (..., 2) pixels of the source image, with its distortion."""
    xy = distort(points_cam[..., :2] / points_cam[..., 2:], camera.distortion)
    return xy @ camera.K[:2, :2].T + camera.K[:2, 2]


def pixel_rays(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    """(..., 2) source pixels -> (..., 2) undistorted normalised coordinates X/Z, Y/Z; NaN where nothing is seen through the lens."""
    xy = (pixels - camera.K[:2, 2]) @ np.linalg.inv(camera.K[:2, :2]).T
    return undistort(xy, camera.distortion)


def project_pinhole(K: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(..., 3) metres in the axes of a pinhole camera -> (..., 2) pixels."""
    return points[..., :2] / points[..., 2:] @ K[:2, :2].T + K[:2, 2]


def look_at(direction: np.ndarray) -> np.ndarray:
    """(3, 3) smallest rotation that takes `direction` (3,) to +z: the crop's rotation without roll about its own axis."""
    d = direction / np.linalg.norm(direction)
    axis = np.cross(d, [0.0, 0.0, 1.0])
    K = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + K + K @ K / (1 + d[2])


def make_crop(camera: Camera, box: np.ndarray, crop_px: int, size: int) -> Crop:
    """The virtual camera that sees the person's box.

    box: (4,) x, y, width, height in source pixels. The square of side BOX_MARGIN * max(width, height) about the box centre
    becomes crop_px pixels; the stored image is size >= crop_px pixels wide, the rest being margin for augmentation.
    Where the square reaches beyond what the lens sees, it is as wide as a part of it that the lens does see says. Raises InputError
    for a box without area, and for one whose middle is not seen.
    """
    x, y, w, h = (float(value) for value in box)
    if not (np.isfinite([x, y, w, h]).all() and w > 0 and h > 0):
        raise InputError(
            f"the box {[x, y, w, h]} has no area; give x, y, width and height in pixels, width and height above 0"
        )
    centre = np.array([x + (w - 1) / 2, y + (h - 1) / 2])
    for part in PARTS:
        half = part * BOX_MARGIN * max(w, h) / 2
        rays = pixel_rays(
            camera, np.array([centre, centre - [half, 0], centre + [half, 0], centre - [0, half], centre + [0, half]])
        )
        rays = np.concatenate([rays, np.ones((5, 1))], -1)
        R = look_at(rays[0])
        edges = rays[1:] @ R.T
        if (edges[:, 2] > LEAST_COSINE * np.linalg.norm(edges, axis=1)).all():
            spans = np.abs(edges[[1, 3], [0, 1]] / edges[[1, 3], 2] - edges[[0, 2], [0, 1]] / edges[[0, 2], 2])
            f = part * crop_px / spans.mean()
            c = (size - 1) / 2
            return Crop(np.array([[f, 0, c], [0, f, c], [0, 0, 1]]), R, size)
    raise InputError(
        f"the middle of the box {[x, y, w, h]} is not seen through the camera's lens; correct the box, or the lens coefficients"
    )


def warp_to_crop(image: np.ndarray, camera: Camera, crop: Crop) -> np.ndarray:
    """One warp of the source image (H, W, 3) to the crop (size, size, 3); what lies outside the source image, or is not seen through
    its lens, is black.

    The image is first halved until a crop pixel covers less than two source pixels, which avoids aliasing. Raises InputError where
    it is too long then.
    """
    source = source_pixels(camera, crop)
    smaller, halvings = halved(image, camera.K[0, 0] / crop.K[0, 0])
    if max(smaller.shape[:2]) > MOST_SIDE:
        raise InputError(
            f"an image of {image.shape[1]} x {image.shape[0]} pixels is too long for its crops: make it smaller"
        )
    for _ in range(halvings):
        source = (source + 0.5) / 2 - 0.5
    source = source.astype(np.float32)
    return cv2.remap(smaller, source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def halved(image: np.ndarray, ratio: float) -> tuple[np.ndarray, int]:
    """An image (H, W, 3) of which a pixel that is drawn covers `ratio` of its pixels, halved until it covers less than two; and how
    often. At each time the pixel (x, y) comes to `((x, y) + 0.5) / 2 - 0.5`."""
    times = 0
    while ratio >= 2:
        height, width = image.shape[:2]
        if height % 2 or width % 2:  # halve exactly, so that pixel centres stay where the formula puts them
            image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
        ratio, times = ratio / 2, times + 1
    return image, times


def source_pixels(camera: Camera, crop: Crop) -> np.ndarray:
    """(size, size, 2) pixels of the source image under each crop pixel, row by row; far outside of it where nothing is seen.

    Exact on every NODE_PX-th pixel and bilinear between them: on the way, rays and distortion bend by less than 0.05 crop pixels.
    """
    nodes = np.linspace(0, crop.size - 1, -(-(crop.size - 1) // NODE_PX) + 1)
    jj, ii = np.meshgrid(nodes, nodes)
    directions = np.stack(
        [(jj - crop.K[0, 2]) / crop.K[0, 0], (ii - crop.K[1, 2]) / crop.K[1, 1], np.ones(jj.shape)], -1
    )
    rays = directions @ crop.R
    with np.errstate(all="ignore"):
        exact = project(camera, rays)
    across, ahead = np.linalg.norm(rays[..., :2], axis=-1), rays[..., 2]
    seen = (ahead > LEAST_COSINE * np.linalg.norm(rays, axis=-1)) & (across <= lens_reach(camera.distortion) * ahead)
    if not seen.all():  # what is behind the camera, or beyond where the lens folds, has a picture in the formula alone
        exact[~seen] = FAR_OUTSIDE
    # (size, nodes): row i holds the weights of the two nodes beside pixel i.
    weights = np.maximum(0, 1 - np.abs(np.arange(crop.size)[:, None] - nodes) / (nodes[1] - nodes[0]))
    return np.stack([weights @ exact[..., k] @ weights.T for k in range(2)], -1)


def in_image(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """(..., 2) pixels -> (...,) bool: inside the image, borders of the outermost pixels included."""
    return (
        (pixels[..., 0] >= -0.5)
        & (pixels[..., 0] <= width - 0.5)
        & (pixels[..., 1] >= -0.5)
        & (pixels[..., 1] <= height - 0.5)
    )
