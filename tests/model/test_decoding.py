import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.body_fit import prior as priors
from model.data.poses import body_poses
from model.data.views import read_views
from model.decoding import BODY, LEARNT, MOTION, VOTES, decode_of, pose_prior, run_decoder, spread_factor
from model.evaluate import evaluate_run
from model.scoring.by_direction import behind_skin, by_direction, hidden_joints
from model.scoring.evaluation import Predictions
from model.train import train
from model.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.training.pack import pack_run
from model.training.runs import load_run
from pipeline.body.model import load_body
from pipeline.errors import InputError
from pipeline.records import PARAMETER_SIZES
from pipeline.skeletons import FIELD_JOINTS
from tests.model.capsules import make_view, tiny_config, write_folder


def bodily(number, split, subject, **changes):
    """A view whose fit has a pose of its own."""
    view = make_view(number, split, subject, **changes)
    pose = np.random.default_rng(number).normal(0, 0.2, 63)
    return replace(view, fit=replace(view.fit, body_pose=pose))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    views = [bodily(n, "train", "S1") for n in range(12)] + [bodily(20 + n, "validation", "S8") for n in range(3)]
    views += [bodily(30 + n, "test", "S9") for n in range(3)]
    return write_folder(tmp_path_factory.mktemp("decoding") / "shards", views)


@pytest.fixture(scope="module")
def run(tmp_path_factory, shards):
    """A run that learnt its prior, of few poses."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("decoding") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(priors, "LEAST_POSES", 4)
        train(shards, folder, tiny_config(steps=2, evaluations=1), device="cpu")
    return folder


def test_poses_are_those_of_valid_fits_each_instant_once(tmp_path, shards):
    found = body_poses(read_views([shards])["train"])
    assert found.shape == (12, 63)
    assert np.abs(found - np.stack([bodily(n, "train", "S1").fit.body_pose for n in range(12)])).max() < 1e-6
    same = bodily(0, "train", "S1")
    views = [
        same,
        replace(same, id=same.id + "b"),
        bodily(1, "train", "S1", fit_valid=False),
        bodily(2, "train", "S1", mesh_model="smpl"),
        make_view(3, "train", "S1"),  # no pose at all
    ]
    assert body_poses(read_views([write_folder(tmp_path / "few", views)])["train"]).shape == (1, 63)
    assert priors.learn_prior(found) is None  # too few


@pytest.mark.slow
def test_a_run_ends_with_its_prior_and_the_decode_that_is_better_on_validation(run):
    said = json.loads((run / "best.json").read_text())["body"]
    rows = said["validation"]
    assert rows["views"] == 3 and set(rows) == {"views", "votes", "body, motion prior", "body, learnt prior"}
    best = min(("motion", "learnt"), key=lambda name: rows[f"body, {name} prior"]["mpjpe_mm"])
    better = rows[f"body, {best} prior"]["mpjpe_mm"] < rows["votes"]["mpjpe_mm"]
    assert (said["prior"], said["decode"]) == (best, BODY if better else VOTES)
    assert said["pose_prior"]["poses"] == 12 and said["spread_factor"] > 0
    network, _, record = load_run(run)
    prior = pose_prior(run, record)
    assert priors.prior_sum(priors.prior_tensors(prior)) == said["pose_prior"]["sha256"]
    assert json.loads((run / "last.json").read_text())["body"] == said


@pytest.mark.slow
def test_a_prior_that_was_changed_or_cut_is_refused(run, tmp_path):
    checkpoint = load_checkpoint(run / "best.safetensors")
    record = checkpoint.record

    def with_prior(**changes):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        tensors = dict(checkpoint.tensors)
        for name, change in changes.items():
            value = change(tensors.pop(f"pose_prior.{name}"))
            if value is not None:
                tensors[f"pose_prior.{name}"] = value
        save_checkpoint(folder / "best.safetensors", Checkpoint(tensors, record))
        return folder

    assert pose_prior(with_prior(), record) is not None
    for name, change, said in (
        ("means", lambda t: t + 1e-3, "not the one that its record names"),
        ("means", lambda t: t[:, :60], "its shapes are"),
        ("means", lambda t: t * torch.nan, "not finite"),
        ("covariances", lambda t: -t, "not positive definite"),
        ("weights", lambda t: t * 0, "not above zero"),
        ("weights", lambda t: None, "in place of means, covariances, weights"),
    ):
        folder = with_prior(**{name: change})
        with pytest.raises(InputError, match=said) as refused:
            pose_prior(folder, record)
        assert "best.safetensors" in str(refused.value) and "train again" in str(refused.value)


@pytest.mark.slow
def test_an_evaluation_takes_the_run_s_choice_and_writes_bodies(run, shards):
    chosen = json.loads((run / "best.json").read_text())["body"]["decode"]
    auto = evaluate_run(run, shards, device="cpu", both=True)
    assert auto["decode"] == chosen and auto["mpjpe_mm"] == auto["decodes"][chosen]["mpjpe_mm"]
    assert set(auto["decodes"]) == {VOTES, BODY} and auto["chosen_by"]["views"] == 3
    picture = run / "figures" / "hypotheses.png"
    picture.touch()  # as an earlier evaluation left it
    votes = evaluate_run(run, shards, device="cpu", decode=VOTES)
    assert not picture.exists() and not (run / "bodies.npz").exists()
    assert votes["decodes"] == {VOTES: votes["decodes"][VOTES]} and "body" not in votes
    assert votes["decodes"][VOTES]["mpjpe_mm"] == auto["decodes"][VOTES]["mpjpe_mm"]
    body = evaluate_run(run, shards, device="cpu", decode=BODY, hypotheses=2)
    # the network states its confidence of its own joints, whichever are scored
    assert body["confidence"] == votes["confidence"] and body["confidence"]["of"] == VOTES
    several = body["hypotheses"]
    assert picture.exists() == (several["mean_count"] > 1)
    assert several["min_of_k_mpjpe_mm"] <= several["fitted_mpjpe_mm"] and 1 <= several["mean_count"] <= 2
    assert several["fitted_mpjpe_mm"] == pytest.approx(body["mpjpe_mm"], abs=0.01)
    with np.load(run / "bodies.npz") as saved, np.load(run / "predictions.npz") as joints:
        assert saved["id"].tolist() == joints["id"].tolist() and "radians" in str(saved["units"])
        assert {name: saved[name].shape for name in PARAMETER_SIZES} == {n: (3, k) for n, k in PARAMETER_SIZES.items()}
        assert np.abs(saved["joints"] - joints["joints"]).max() < 1e-6
        assert saved["spread"].shape == (3, 17) and saved["doubts"].shape == (3,)
        assert saved["hypotheses_joints"].shape == (3, 2, 17, 3) and saved["hypotheses_body_pose"].shape == (3, 2, 63)
        assert np.abs(saved["hypotheses_joints"][:, 0] - saved["joints"]).max() < 1e-5
    assert body["body"]["prior"] in (MOTION, LEARNT) and body["mpjpe_mm"] == body["decodes"][BODY]["mpjpe_mm"]


@pytest.mark.slow
def test_a_packed_run_keeps_its_prior_and_its_choice(run, tmp_path):
    record = pack_run(run, tmp_path, {})
    assert pose_prior(tmp_path, record) is not None
    assert load_run(tmp_path)[2]["body"] == load_run(run)[2]["body"]


def test_parameters_on_disk_are_the_body_in_the_source_s_axes(tmp_path):
    from model.body_fit import BodyDecoder
    from model.decoding import save_bodies
    from pipeline.body.keypoints import keypoint_map
    from pipeline.records import BodyParameters

    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    shards = write_folder(tmp_path / "shards", [make_view(n, "test", "S9", R_crop=turn) for n in range(2)])
    views, body = read_views([shards])["test"], load_body()
    joints = np.asarray(views["joints"], float)
    bodies = BodyDecoder(body, FIELD_JOINTS)(joints, views["root"])
    save_bodies(tmp_path / "bodies.npz", bodies, body, views, np.arange(2))
    with np.load(tmp_path / "bodies.npz") as saved:
        for row in range(2):
            one = BodyParameters(**{name: saved[name][row] for name in PARAMETER_SIZES})
            vertices, skeleton = body.mesh(one)
            points = keypoint_map(body, FIELD_JOINTS)(skeleton, vertices)
            assert np.abs(points - (saved["joints"][row] + saved["root"][row])).max() < 1e-4
            assert np.abs(saved["joints"][row] - bodies.joints[row] @ turn).max() < 1e-5


def test_old_runs_keep_votes_and_any_decode_can_be_asked_for():
    assert decode_of("auto", {}) == decode_of("auto", {"body": None}) == VOTES
    assert decode_of("auto", {"body": {"decode": BODY}}) == BODY
    assert decode_of(VOTES, {"body": {"decode": BODY}}) == VOTES


@pytest.mark.slow
def test_an_old_run_learns_its_prior_from_the_shards_it_was_trained_on(run, shards, monkeypatch):
    _, _, record = load_run(run)
    old = {name: value for name, value in record.items() if name != "body"}
    monkeypatch.setattr(priors, "LEAST_POSES", 4)
    found = run_decoder(run, old, FIELD_JOINTS, read_views([shards])["train"])
    assert (found.prior, found.poses) == (LEARNT, 12)
    assert found.sha256 == record["body"]["pose_prior"]["sha256"]
    assert run_decoder(run, old, FIELD_JOINTS).prior == MOTION


def test_a_spread_is_made_as_wide_as_the_errors_are():
    rng = np.random.default_rng(0)
    spread = np.exp(rng.normal(-3, 1, (500, 17)))
    errors = rng.normal(size=(500, 17, 3)) * spread[..., None] * 2 / np.sqrt(3)
    known = np.ones((500, 17), bool)
    assert spread_factor(spread, errors, np.zeros_like(errors), known) == pytest.approx(2, rel=0.05)
    assert spread_factor(spread, errors, np.zeros_like(errors), ~known) > 0


def test_joints_behind_skin_outside_of_the_crop_and_without_evidence_are_hidden(tmp_path):
    joints = np.array([[0, 0, 4.0], [0.3, 0, 4.0], [0, 0, 3.0]])
    skin = np.array([[0.01, 0, 3.5], [0.3, 0, 3.9]])
    assert behind_skin(joints, skin).tolist() == [True, False, False]
    assert not behind_skin(joints, np.zeros((0, 3))).any()
    shards = write_folder(
        tmp_path / "shards", [make_view(0, "test", "S9"), make_view(1, "test", "S9", root=np.array([5.0, 0, 4]))]
    )
    views = read_views([shards])["test"]
    views.table["joints_unseen"][0, 3] = True
    hidden = hidden_joints(views, np.arange(2))
    assert hidden[0, 3] and not hidden[0].all() and hidden[1].all()


def test_errors_are_told_across_and_along_the_ray(tmp_path):
    views = read_views([write_folder(tmp_path / "shards", [make_view(0, "test", "S9")])])["test"]
    truth, root = views["joints"].astype(float), np.asarray(views["root"], float)
    rays = (truth + root[:, None]) / np.linalg.norm(truth + root[:, None], axis=-1, keepdims=True)
    pelvis = FIELD_JOINTS.root_index
    none, counts = np.ones(1), np.ones((1, 17))

    def told(joints):
        predicted = Predictions(np.arange(1), joints, root, none, none, none, counts, None, None, None, 1.0)
        return by_direction(predicted, views, views.crop_px[0], np.arange(17)[None] % 2 == 0)

    further = truth + 0.05 * rays
    further[:, pelvis] = truth[:, pelvis]
    found = told(further)["all"]
    assert found["along_mm"] == pytest.approx(50, abs=0.1) and found["across_mm"] < 0.1 and found["image_px"] < 0.01
    beside = truth + np.array([0.05, 0, 0])
    beside[:, pelvis] = truth[:, pelvis]
    found = told(beside)
    assert found["all"]["across_mm"] > 45 and found["all"]["along_mm"] < 20 and found["all"]["image_px"] > 0.5
    assert found["seen"]["joints"] == 8 and found["hidden"]["joints"] == 8
    assert told(np.full_like(truth, np.nan))["all"]["joints"] == 16
