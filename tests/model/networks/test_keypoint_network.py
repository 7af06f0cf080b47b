"""What the keypoint network is shown of a picture."""

import numpy as np
import pytest

from model.networks.keypoint_network import scaled_square


@pytest.mark.parametrize("factor", [1, 4, 7])
def test_a_large_picture_is_averaged_and_stays_in_its_place(factor):
    """Fine stripes become grey, not other stripes; a spot lies where `scale * (x, y) + shift` says."""
    side = 64
    stripes = np.zeros((side * factor, side * factor, 3), np.uint8)
    stripes[:, ::2] = 255
    if factor > 1:
        seen = scaled_square(stripes, 1 / factor, np.zeros(2), side)[4:-4, 4:-4].astype(float)
        assert abs(seen.mean() - 127.5) < 2 and seen.std() < 20
    spot = np.zeros_like(stripes)
    x, y = 30 * factor, 21 * factor
    spot[y - factor : y + factor + 1, x - factor : x + factor + 1] = 255
    shift = np.array([3.25, -2.5])
    found = scaled_square(spot, 1 / factor, shift, side)[..., 0].astype(float)
    middle = [(found.sum(axis) * np.arange(side)).sum() / found.sum() for axis in (0, 1)]
    assert middle == pytest.approx([x / factor + shift[0], y / factor + shift[1]], abs=0.05)


def test_what_is_made_larger_is_drawn_once():
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    assert scaled_square(image, 3.0, np.zeros(2), 60).shape == (60, 60, 3)
