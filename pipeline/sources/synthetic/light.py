"""Light on people: a few far lamps that cast shadows, and everything else as smooth light from all around."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Light:
    """Light in linear units: a white surface in a light of strength 1 is white in a picture of exposure 1.

    ambient: (9, 3) RGB, coefficients of `features` of a surface's normal in the world. directions: (K, 3) unit vectors towards the
    lamps (the sun, a window), colours: (K, 3) RGB, how they light a surface that faces them. The first lamp is the strongest.
    """

    ambient: np.ndarray
    directions: np.ndarray
    colours: np.ndarray

    def turned(self, yaw: float) -> "Light":
        """The same light turned about the world's z axis by `yaw` radians."""
        c, s = np.cos(yaw), np.sin(yaw)
        R = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        # Features of a normal turned back are linear in those of the normal itself; nine normals tell how.
        normals = np.array(
            [[0, 0, 1], [0, 0, -1], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 2, 3]], float
        )
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        change = np.linalg.solve(features(normals), features(normals @ R))
        return Light((change @ self.ambient).astype(np.float32), self.directions @ R.T, self.colours)

    def scaled(self, gain: np.ndarray | float) -> "Light":
        """The same light at `gain` times the strength; (3,) for each of red, green and blue."""
        return Light(self.ambient * gain, self.directions, self.colours * gain)

    def on(self, normals: np.ndarray) -> np.ndarray:
        """(M, 3) unit normals -> (M, 3) ambient light there, never negative."""
        return np.maximum(features(normals) @ self.ambient, 0)

    def on_floor(self) -> np.ndarray:
        """(3,) what lights the floor where nothing shades it."""
        up = np.array([[0.0, 0.0, 1.0]])
        return self.on(up)[0] + (np.maximum(self.directions[:, 2:], 0) * self.colours).sum(0)


def features(normals: np.ndarray) -> np.ndarray:
    """(M, 3) unit vectors -> (M, 9) polynomials up to degree two: light that changes smoothly with direction is linear in them."""
    x, y, z = normals.T
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], 1)


def sky_and_ground(sky: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """(9, 3) ambient light of a sky above, (3,) RGB, and a ground below."""
    ambient = np.zeros((9, 3), np.float32)
    ambient[0], ambient[3] = (sky + ground) / 2, (sky - ground) / 2
    return ambient
