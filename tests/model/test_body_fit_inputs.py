"""Bodies of what a network says when it is shown what it cannot know: uncertain where it is so, never NaN, and never a batch-mate's
change."""

import numpy as np
import pytest
import torch
from scipy.special import gammaincinv

from model.body_fit import BodyDecoder, Keypoints
from model.body_fit.evidence import LIMITS, RIGHT, USUAL, deviation_factor
from model.data.views import read_views
from model.decoding import run_decoder, save_bodies
from model.networks.certainty import Certainty
from model.networks.encoders.encoder import Features
from model.networks.field.votes import decode
from model.networks.frame import HALF
from model.networks.heads.nvf import DirectVotes
from model.networks.records import Decoded, Encoded
from model.people.free_model import folder
from model.training.runs import load_run
from pipeline.body.model import load_body
from pipeline.skeletons import COCO, FIELD_JOINTS
from tests.model.capsules import make_view, write_folder

WRIST, OTHER = FIELD_JOINTS.index("left_wrist"), FIELD_JOINTS.index("right_wrist")


@pytest.fixture(scope="module")
def decoder():
    return BodyDecoder(load_body(), FIELD_JOINTS)


@pytest.fixture(scope="module")
def joints(decoder):
    """(17, 3) m about the root: somebody who stands upright before the camera."""
    return decoder.filler


def test_a_joint_without_votes_is_uncertain_in_every_array_and_file(decoder, joints, tmp_path):
    said = np.stack([joints, joints, joints])
    said[1, WRIST] = np.nan
    root = np.tile([0.0, 0.0, 4.0], (3, 1))
    found = decoder(said, root)
    assert [bool(doubt) for doubt in found.doubts] == [False, True, False]
    assert found.spread[1, WRIST] > 1.2 * found.spread[0, WRIST]
    assert np.abs(found.joints[0] - found.joints[2]).max() < 1e-5
    views = read_views([write_folder(tmp_path / "shards", [make_view(n, "test", "S9") for n in range(3)])])["test"]
    save_bodies(tmp_path / "bodies.npz", found, decoder.body, views, np.arange(3))
    with np.load(tmp_path / "bodies.npz") as saved:
        assert all(np.isfinite(array).all() for array in saved.values() if array.dtype.kind == "f")
        assert saved["doubts"][1] == found.doubts[1]


def confidence_of(spread, expected):
    """(1, 17) of joints whose votes lie `spread` metres apart and expect to be `expected` metres off."""
    maps = torch.full((1, 17, 12, 12), -20.0)
    maps[..., 6, 6] = 0.0  # the image shows every joint sharply
    context = torch.zeros(1, 4)
    encoded = Encoded(Features([[maps]], context), [maps], torch.zeros(1, 17, 3), context, torch.zeros(17, 3))
    return Certainty()(encoded, Decoded(torch.zeros(1, 17, 3), spread, {}, expected))[0]


def test_votes_far_apart_make_a_body_uncertain_where_they_are_however_sure_each_is(decoder, joints):
    q = torch.rand(1, 64, 3, generator=torch.Generator().manual_seed(0)) * 0.2
    raw = torch.zeros(1, 64, 17, 4)
    raw[..., :3] = torch.as_tensor(joints / HALF).float() - q[:, :, None]
    raw[..., 3] = 4.0  # each expects to be 14 mm off
    raw[:, ::2, WRIST, 2] += 0.5 / HALF  # half of them put the wrist a metre behind where the others do
    raw[:, 1::2, WRIST, 2] -= 0.5 / HALF
    everywhere = torch.ones(1, 64, 17, dtype=torch.bool)
    votes = decode(DirectVotes(), q, raw, everywhere, torch.ones(1), torch.full((1,), 64.0))
    assert votes.spread[0, WRIST] == pytest.approx(0.5, abs=0.01) and votes.spread[0, OTHER] < 0.01
    confidence = confidence_of(votes.spread, votes.expected_error)
    assert confidence[0, WRIST] < 0.1 < 0.9 < confidence[0, OTHER]
    found = decoder(joints[None], np.array([[0, 0, 4.0]]), confidence=confidence.numpy())
    assert found.spread[0, WRIST] > 1.5 * found.spread[0, OTHER] and np.isfinite(found.joints).all()


def test_a_person_half_outside_is_uncertain_there_and_changes_nobody_else(decoder, joints):
    """Legs below the crop: their joints are guesses at the crop's border, of low confidence, and no keypoint sees them."""
    rows = FIELD_JOINTS.indices([f"{side}_{name}" for side in ("left", "right") for name in ("knee", "ankle")])
    said, confidence = np.stack([joints, joints]), np.full((2, 17), 0.9)
    said[0, rows], confidence[0, rows] = [0, 0.3, 0], 0.03
    root = np.tile([0.0, 0.0, 4.0], (2, 1))
    rays, seen = np.full((2, 17, 2), np.nan), np.zeros((2, 17))
    shoulder = COCO.index("left_shoulder")
    point = joints[FIELD_JOINTS.index("left_shoulder")] + root[0]
    rays[:, shoulder], seen[:, shoulder] = point[:2] / point[2:], 1.0
    found = decoder(said, root, Keypoints(rays, seen), confidence)
    assert np.isfinite(found.joints).all()
    assert (found.spread[0, rows] > 1.5 * found.spread[1, rows]).all()
    alone = decoder(said[1:], root[1:], Keypoints(rays[1:], seen[1:]), confidence[1:])
    assert np.abs(found.joints[1] - alone.joints[0]).max() < 1e-5
    above = FIELD_JOINTS.indices(("head_top", "left_elbow", "right_elbow"))
    assert np.linalg.norm(found.joints[0, above] - joints[above], axis=-1).mean() < 0.06


@pytest.mark.slow
@pytest.mark.parametrize("picture", ["black", "noise"])
def test_a_view_of_nobody_gives_a_body_with_doubts(picture):
    network, _, record = load_run(folder())
    network.eval()
    side = network.config.crop_px
    generator = torch.Generator().manual_seed(0)
    image = (
        torch.full((1, 3, side, side), -1.0)
        if picture == "black"
        else torch.rand(1, 3, side, side, generator=generator) * 2 - 1
    )
    K = torch.tensor([[[2.0 * side, 0, (side - 1) / 2], [0, 2.0 * side, (side - 1) / 2], [0, 0, 1]]])
    said = network.predict(image, K)
    assert said.presence[0] < 0.5
    found = run_decoder(folder(), record, FIELD_JOINTS).decoder(
        *(part.double().numpy() for part in (said.joints, said.root)), confidence=said.confidence.numpy()
    )
    assert np.isfinite(found.joints).all() and np.isfinite(found.spread).all()
    assert found.doubts[0]


def test_how_far_off_a_joint_of_some_confidence_is():
    """The share of a Gaussian in space within a radius is an incomplete gamma function, and scipy has its inverse."""
    p = np.concatenate([np.linspace(0, 1, 2001), [1e-9, 1 - 1e-9]])
    true = np.clip(RIGHT / USUAL / np.sqrt(2 * gammaincinv(1.5, p.clip(1e-6, 1 - 1e-6))), *LIMITS)
    assert np.allclose(deviation_factor(p), true, rtol=1e-13, atol=0)
    assert deviation_factor(np.array([np.nan, -np.inf, -1, 2, np.inf])).tolist() == [4, 4, 4, 0.5, 0.5]
