"""Labels still agree after augmentation: everything in metres moves with the camera, the picture with its homography."""

import cv2
import numpy as np
import pytest

from model.data.augment import (
    NO_AUGMENTATION,
    AugmentConfig,
    draw_reframe,
    jitter_colour,
    occlude,
    plain_reframe,
    transform_pixels,
    warp_image,
)
from model.data.loading import DrawConfig, ViewDataset, draw_points, joint_shares
from model.data.views import read_views
from pipeline.camera import project_pinhole
from pipeline.lattice import to_lattice
from pipeline.skeletons import FIELD_JOINTS
from tests.model.capsules import CROP, SIZE, distance, make_view, write_folder

WILD = AugmentConfig(scale=0.2, shift=0.1, roll_degrees=40, flip=0.5, colour=0.3, occlusion=0.5)
GEOMETRY = AugmentConfig(scale=0.1, shift=0.05, roll_degrees=20, flip=0.5, colour=0, occlusion=0)
K = np.array([[150.0, 0, (SIZE - 1) / 2], [0, 150.0, (SIZE - 1) / 2], [0, 0, 1]])


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    return read_views(
        [write_folder(tmp_path_factory.mktemp("augment") / "s", [make_view(n, "train", "S1") for n in range(6)])]
    )


def test_distances_joints_and_pixels_agree_after_augmentation(views):
    dataset = ViewDataset(views["train"], CROP, DrawConfig(points=400), WILD, seed=5)
    mirrored = 0
    for epoch in range(6):
        batch = dataset.__getitems__([(epoch, i) for i in range(6)])
        for b in range(6):
            joints, points = batch.joints[b].numpy(), batch.points[b].numpy()
            # the label of each point is its distance to the body that the moved joints describe
            np.testing.assert_allclose(batch.sdf[b].numpy(), distance(points, joints), atol=2e-4)
            pixels = project_pinhole(batch.K[b].numpy(), joints + batch.root[b].numpy())
            np.testing.assert_allclose(pixels, batch.joints_2d[b].numpy(), atol=1e-3)
            # left and right: with the person upright and facing us, the spine, "left minus right" and the view form a
            # frame
            # whose handedness a mirror image without swapped names would turn over
            side = joints[FIELD_JOINTS.index("left_hip")] - joints[FIELD_JOINTS.index("right_hip")]
            up = joints[FIELD_JOINTS.index("neck")]
            stored = views["train"]["joints"][b]
            a = stored[FIELD_JOINTS.index("left_hip")] - stored[FIELD_JOINTS.index("right_hip")]
            mirrored += np.dot(np.cross(side, up), [0, 0, 1]) * np.dot(np.cross(a, stored[8]), [0, 0, 1]) < 0
    assert mirrored == 0


def test_voters_keep_their_offsets(views):
    """Stored offsets, turned with the camera, are the differences of the turned joints and points."""
    dataset = ViewDataset(views["train"], CROP, DrawConfig(points=400), WILD)
    reader, row = dataset.reader(0), int(views["train"]["row"][0])
    samples, stored = reader.read_samples(row), reader.file["samples/joint_offsets"][row]
    lattice = to_lattice(views["train"]["joints"][0])
    for seed in range(4):
        reframe = draw_reframe(np.random.default_rng(seed), WILD, K, CROP, CROP)
        flip = FIELD_JOINTS.flip if reframe.mirrored else np.arange(17)
        joints = (lattice * 1e-4 @ reframe.matrix.T)[flip]
        for j in range(17):
            voters = samples.points[samples.voters[flip[j]]] * 1e-4 @ reframe.matrix.T
            offsets = stored[flip[j]] * 1e-4 @ reframe.matrix.T
            np.testing.assert_allclose(joints[j] - voters, offsets, atol=1e-12)


def test_the_warped_picture_shows_each_joint_where_its_label_says():
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    spots = np.array([[25.0, 30], [50, 40], [38, 55]])
    for x, y in spots.astype(int):
        cv2.circle(image, (int(x), int(y)), 2, (255, 255, 255), -1)
    for seed in range(8):
        reframe = draw_reframe(np.random.default_rng(seed), GEOMETRY, K, CROP, CROP)
        warped = warp_image(image, K, reframe)[..., 0].astype(float)
        for u in transform_pixels(reframe.homography(K), spots):
            yy, xx = np.mgrid[:CROP, :CROP]
            weight = warped * (np.hypot(xx - u[0], yy - u[1]) < 4)
            found = np.array([(xx * weight).sum(), (yy * weight).sum()]) / weight.sum()
            assert np.abs(found - u).max() < 0.25


def test_two_flips_are_no_change():
    flip = draw_reframe(np.random.default_rng(0), AugmentConfig(0, 0, 0, flip=1, colour=0, occlusion=0), K, CROP, SIZE)
    assert flip.mirrored
    image = np.random.default_rng(1).integers(0, 255, (SIZE, SIZE, 3), np.uint8)
    flip_again = flip.__class__(flip.matrix, K, SIZE)
    once = warp_image(image, K, flip_again)
    np.testing.assert_array_equal(once, image[:, ::-1])
    np.testing.assert_array_equal(warp_image(once, K, flip_again), image)
    np.testing.assert_array_equal(flip.matrix @ flip.matrix, np.eye(3))
    np.testing.assert_array_equal(FIELD_JOINTS.flip[FIELD_JOINTS.flip], np.arange(17))


def test_the_nominal_crop_is_the_centre_of_the_stored_image():
    image = np.random.default_rng(1).integers(0, 255, (SIZE, SIZE, 3), np.uint8)
    margin = (SIZE - CROP) // 2
    np.testing.assert_array_equal(
        warp_image(image, K, plain_reframe(K, CROP, CROP)), image[margin:-margin, margin:-margin]
    )
    drawn = draw_reframe(np.random.default_rng(0), NO_AUGMENTATION, K, CROP, CROP)
    np.testing.assert_allclose(drawn.homography(K), plain_reframe(K, CROP, CROP).homography(K), atol=1e-12)


@pytest.mark.parametrize("size", [SIZE, SIZE + 1])
def test_a_smaller_crop_averages_and_stays_in_place(size):
    K = np.array([[150.0, 0, (size - 1) / 2], [0, 150.0, (size - 1) / 2], [0, 0, 1]])
    ramp = np.broadcast_to(2.0 * np.arange(size)[None, :, None], (size, size, 3)).astype(np.uint8)
    small = warp_image(ramp, K, plain_reframe(K, 64, 32))
    wanted = (
        2
        * transform_pixels(np.linalg.inv(plain_reframe(K, 64, 32).homography(K)), np.array([[5.0, 16], [20, 16]]))[:, 0]
    )
    np.testing.assert_allclose(small[16, [5, 20], 0], wanted, atol=1)


def test_colour_and_occlusion_leave_the_mean_and_stay_in_range():
    rng = np.random.default_rng(0)
    image = rng.integers(60, 200, (CROP, CROP, 3), np.uint8)
    changed = np.stack([jitter_colour(np.random.default_rng(k), WILD, image) for k in range(60)])
    assert abs(changed.mean() - image.mean()) < 6 and changed.std((1, 2, 3)).std() > 2
    painted = np.mean([(occlude(np.random.default_rng(k), WILD, image.copy()) != image).any() for k in range(200)])
    assert 0.35 < painted < 0.65


def test_every_joint_gets_its_share_and_distal_ones_more():
    shares = joint_shares(FIELD_JOINTS, 2.0)
    voters = np.arange(17)[:, None] * 50 + np.arange(50)
    counts = np.zeros(17)
    for seed in range(40):
        chosen = draw_points(np.random.default_rng(seed), DrawConfig(points=300), voters, shares, 5000)
        assert len(chosen) == 300
        counts += np.bincount(chosen[:100] // 50, minlength=17)
        assert len(set(chosen[:100])) == 100  # 100 of 17 lists of 50: none twice
    assert counts.min() >= 40 * 3
    wrists = counts[[FIELD_JOINTS.index("left_wrist"), FIELD_JOINTS.index("right_wrist")]].mean()
    assert 1.6 < wrists / counts[0] < 2.4


@pytest.mark.parametrize("change", [{"flip": 1.5}, {"scale": -0.1}, {"occlusion": -1}])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        AugmentConfig(**change)
