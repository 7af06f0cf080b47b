"""What the keypoint network is shown of a picture."""

from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest

from model.networks import keypoint_network
from model.networks.keypoint_network import KeypointNetwork, agreed, scaled_square
from pipeline.camera import BOX_MARGIN
from pipeline.skeletons import COCO

HOPPER = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


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


def test_looks_that_differ_about_a_joint_are_not_averaged():
    """Two of three see it in one place: that is about where it is, and it is less sure than a joint about which all agree."""
    points, scores = np.zeros((3, 2, 2)), np.full((3, 2), 0.9)
    points[:, :, 0] = [[10.0, 10.0], [10.6, 10.6], [10.3, 60.0]]
    found, sure = agreed(points, scores, 100.0)
    assert found[0] == pytest.approx([10.3, 0], abs=0.01) and found[1] == pytest.approx([10.3, 0], abs=0.3)
    assert sure[0] == pytest.approx(0.9, abs=0.1) and sure[1] < 0.65
    scores[2, 1], scores[:2, 1] = 0.9, 0.1  # one that is sure counts more than two that are not
    assert agreed(points, scores, 100.0)[0][1, 0] == pytest.approx(60, abs=0.3)


def test_every_look_sees_the_same_places_of_the_picture():
    """Enlarged or mirrored, of a photograph of somebody who is seen well."""
    picture = cv2.imread(str(HOPPER), cv2.IMREAD_COLOR_RGB)
    network, box = KeypointNetwork(augmented=True), np.array([20.0, 20.0, 470.0, 560.0])
    one, larger = (network._look(picture, box, factor) for factor in keypoint_network.ENLARGED)
    sure = np.minimum(one[1], larger[1]).min(0) > 0.5
    places = np.concatenate([one[0], larger[0]])[:, sure]
    assert sure.sum() >= 5 and np.linalg.norm(places - places.mean(0), axis=-1).max() < 0.03 * 560
    several, scores = network(picture, box)
    assert several[sure] == pytest.approx(places.mean(0), abs=0.03 * 560) and scores[sure].min() > 0.4
    single, _ = KeypointNetwork()(picture, box)
    assert not np.allclose(several[sure], single[sure], atol=1e-3)


def test_several_looks_at_a_mirrored_picture_find_the_mirror_image(monkeypatch):
    """To the rounding, as one look does not; of a picture of nobody as well."""
    monkeypatch.setattr(keypoint_network, "ENLARGED", (1.0,))
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    box, network = np.array([30.0, 10.0, 60.0, 80.0]), KeypointNetwork("lightning", augmented=True)
    other = box + [7 + BOX_MARGIN * 80 / network.side, 0, 0, 0]  # whose square is the mirror image to the pixel
    (points, scores), (mirrored, sure) = network(picture, box), network(picture[:, ::-1].copy(), other)
    mirrored[:, 0] = 127 - mirrored[:, 0]
    assert np.isfinite(points).all() and ((scores >= 0) & (scores <= 1)).all()
    assert mirrored[COCO.flip] == pytest.approx(points, abs=0.2) and sure[COCO.flip] == pytest.approx(scores, abs=0.01)
    assert not np.allclose(KeypointNetwork("lightning")(picture, box)[1], scores, atol=0.01)
