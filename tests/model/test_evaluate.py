import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.data.loading import ViewDataset, evaluation_batches
from model.data.views import read_views
from model.evaluate import evaluate_run, predict_views, save_predictions, to_source_axes
from model.networks.test_time import predict_augmented
from model.scoring.evaluation import Predictions, distal_ratio, facing_flips, report_of, view_errors
from model.scoring.protocols import PROTOCOLS
from model.scoring.report import decode_text
from model.train import train
from model.training.runs import load_run, trained_on
from pipeline import records
from pipeline.errors import InputError
from pipeline.shards.run_json import read_run, write_run
from pipeline.skeletons import FIELD_JOINTS
from tests.model.capsules import make_folder, make_view, tiny_config, write_folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("evaluate") / "shards", 12, 2, 8)


@pytest.fixture(scope="module")
def test_views(shards):
    return read_views([shards])["test"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, shards):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    train(shards, folder, tiny_config(steps=6, evaluations=1), device="cpu")
    return folder


def perfect(views, stretch=1.0):
    """The truth as a prediction, its scale wrong by `stretch` (the votes are right, s_hat is not)."""
    n = len(views)
    scale = np.linspace(0.8, 1.2, n)
    joints, root = views["joints"] * stretch, views["root"] * stretch
    counts = np.full((n, 17), 5.0)
    return Predictions(
        np.arange(n),
        joints,
        root,
        scale / stretch,
        scale,
        scale,
        counts / 10,
        counts < 0,
        counts,
        np.full(n, 100.0),
        2.0,
    )


def test_a_perfect_prediction_has_no_error_and_the_mean_pose_has_its_own(test_views):
    mean_pose = test_views["joints"].mean(0)
    report = report_of(perfect(test_views), test_views, mean_pose)
    assert report["mpjpe_mm"] == report["pa_mpjpe_mm"] == report["mrpe_mm"] == 0 and report["pck_150mm"] == 1
    by_hand = np.linalg.norm(test_views["joints"] - mean_pose, axis=-1).mean() * 1000
    assert report["mean_pose"]["mpjpe_mm"] == pytest.approx(by_hand, abs=1e-3)
    assert report["n_views"] == 8 and report["n_skipped"] == 0 and report["root"] == "predicted"
    assert report["per_action"].keys() == {"Sitting", "Walking"} and report["per_subject"]["S9"]["n"] == 8
    assert report["facing_flips"] == 0 and report["queries"] == 100 and report["fallback"]["joints"] == 0
    assert report["images_per_second"] == 4
    json.dumps(report, allow_nan=False)


def test_columns_differ_by_their_scale_alone(test_views):
    mean_pose = test_views["joints"].mean(0)
    report = report_of(perfect(test_views, 1.1), test_views, mean_pose)
    size = np.linalg.norm(test_views["joints"], axis=-1).mean() * 1000
    assert report["mpjpe_mm"] == report["scale"]["head"]["mpjpe_mm"] == pytest.approx(0.1 * size, rel=1e-4)
    assert report["scale"]["gt"]["mpjpe_mm"] == report["scale"]["bones"]["mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert report["scale"]["gt"]["mrpe_mm"] == pytest.approx(0, abs=0.01) and report["mrpe_mm"] > 300
    assert report["scale"]["head"]["median_error"] == pytest.approx(1 - 1 / 1.1, abs=1e-4)
    assert report_of(perfect(test_views, 1.1), test_views, mean_pose, root="gt")["mpjpe_mm"] == pytest.approx(
        0, abs=1e-3
    )


def test_the_fit_can_be_the_truth_and_views_without_one_are_skipped(tmp_path):
    views = [make_view(n, "test", "S9", fit_valid=n > 0) for n in range(3)]
    views = read_views([write_folder(tmp_path / "s", views)])["test"]
    views = views.labelled("fit")
    report = report_of(perfect(views), views, views["joints"].mean(0))
    # the fake fit is the truth moved by 1 cm along every axis: its own pelvis is the root
    assert report["mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert report["mrpe_mm"] == pytest.approx(0, abs=1e-3)
    assert (report["n_views"], report["n_skipped"], report["ground_truth"]) == (2, 1, "fit")

    flat = [make_view(n, "test", "S9", is_3d=False) for n in range(2)]
    flat = read_views([write_folder(tmp_path / "flat", flat)])["test"]
    with pytest.raises(InputError, match="No view can be scored"):
        report_of(perfect(flat), flat, flat["joints"].mean(0))


def without(*names) -> np.ndarray:
    """joints_source of a dataset that lacks some joints, which preprocess then took from the fit."""
    source = np.full(17, records.DATASET_JOINT, np.uint8)
    source[[FIELD_JOINTS.index(name) for name in names]] = records.FIT_JOINT
    return source


def test_a_joint_filled_in_from_the_fit_is_no_measurement(tmp_path):
    """3DPW without SMPL files: SMPL's joints, a valid fit, and Human3.6M's head top from that fit."""
    smpl = without("spine", "nose", "head_top")
    views = [make_view(n, "test", "downtown_bus_00/0", joints_source=smpl) for n in range(3)]
    views = read_views([write_folder(tmp_path / "s", views)])["test"]
    mean_pose = views["joints"].mean(0)
    with pytest.raises(InputError, match=r"no head_top \(3 views\).*gendered ground-truth mesh"):
        report_of(perfect(views), views, mean_pose, protocol=PROTOCOLS["3dpw-14j"])
    with pytest.raises(InputError, match="no spine.*--ground-truth fit"):
        report_of(perfect(views), views, mean_pose)
    fits = views.labelled("fit")
    assert report_of(perfect(fits), fits, mean_pose)["n_views"] == 3

    some = [make_view(n, "test", "S9", joints_source=without("spine") if n < 2 else without()) for n in range(5)]
    some = read_views([write_folder(tmp_path / "some", some)])["test"]
    report = report_of(perfect(some), some, mean_pose)
    assert (report["n_views"], report["skipped"]) == (3, {"the truth has no spine": 2})
    assert report_of(perfect(some), some, mean_pose, protocol=PROTOCOLS["h36m-i2l-14j"])["n_views"] == 5


def test_codes_of_joints_are_those_of_the_format():
    assert (records.NO_JOINT, records.DATASET_JOINT, records.FIT_JOINT) == (0, 1, 2)  # docs/shard-format.md


def test_turned_bodies_are_counted(test_views):
    truth = test_views["joints"].astype(float)
    assert not facing_flips(truth, truth, FIELD_JOINTS).any()
    swapped = truth[:, FIELD_JOINTS.flip]
    assert facing_flips(swapped, truth, FIELD_JOINTS).all()


def test_distal_ratio():
    errors = {name: 50.0 for name in FIELD_JOINTS.names} | {"left_wrist": 100.0, "right_ankle": 200.0}
    assert distal_ratio(errors) == (100 + 200 + 50 + 50) / 4 / 50


def test_predictions_leave_in_source_camera_axes(tmp_path):
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    views = read_views([write_folder(tmp_path / "s", [make_view(0, "test", "S9", R_crop=turn)])])["test"]
    source = np.array([[0.1, 0.2, 0.3]])
    np.testing.assert_allclose(to_source_axes(views, np.array([0]), (source @ turn.T)[None])[0], source)
    predicted = perfect(views)
    errors = view_errors(predicted, views["joints"], views["joints_valid"], FIELD_JOINTS)
    save_predictions(tmp_path / "p.npz", predicted, views, errors)
    with np.load(tmp_path / "p.npz", allow_pickle=False) as saved:
        np.testing.assert_allclose(saved["joints"][0] @ turn.T, views["joints"][0], atol=1e-6)
        assert saved["mpjpe"] == [0] and saved["id"].tolist() == views["id"].tolist()


def test_predictions_do_not_depend_on_batches_or_order(run, test_views):
    network, _, _ = load_run(run)
    together = predict_views(network, test_views, range(8), batch_size=8)
    apart = predict_views(network, test_views, [5, 2], batch_size=1)
    np.testing.assert_allclose(apart.joints, together.joints[[5, 2]], atol=2e-4)
    side = network.config.crop_px
    wanted = test_views["K"][:, 0, 0] * 2.2 / side / test_views["root"][:, 2]
    np.testing.assert_allclose(together.scale_true, wanted, rtol=1e-5)


def test_only_the_box_enters(run, test_views):
    """Joints, root and depth of the truth may be anything: the prediction does not see them."""
    network, _, _ = load_run(run)
    before = predict_views(network, test_views, range(4))
    lied = read_views([test_views.folders[0].path])["test"]
    for name in ("joints", "root", "joints_2d", "fit_joints"):
        lied.table[name] = lied.table[name] * 0 + 3
    np.testing.assert_array_equal(predict_views(network, lied, range(4)).joints, before.joints)


def test_several_looks_are_scored_as_the_mean_of_what_each_says(run, test_views):
    network, _, _ = load_run(run)
    several = predict_views(network, test_views, range(4), batch_size=2, augmented=True)
    dataset = ViewDataset(test_views, network.config.crop_px, draw=None, augment=None)
    (keys,) = evaluation_batches(range(4), 4)
    batch = dataset.__getitems__(keys).to(torch.device("cpu"))
    with torch.no_grad():
        by_hand = predict_augmented(network, batch.image, batch.K)
    np.testing.assert_allclose(several.joints, by_hand.joints, atol=1e-5)
    np.testing.assert_allclose(several.scale, by_hand.scale, rtol=1e-5)
    assert np.abs(several.joints - predict_views(network, test_views, range(4)).joints).max() > 1e-3


@pytest.mark.slow
def test_a_report_says_that_several_looks_were_asked_about(run, shards):
    once, several = (evaluate_run(run, shards, device="cpu", augmented=augmented) for augmented in (False, True))
    assert not once["test_time_augmentation"] and several["test_time_augmentation"]
    assert several["mpjpe_mm"] != once["mpjpe_mm"]
    assert several["queries"] > 2 * once["queries"], "points of all four looks"
    assert several["scale"]["bones"]["mpjpe_mm"] == several["scale"]["head"]["mpjpe_mm"], "each look has its own bones"
    assert "four looks" in decode_text(several) and "four looks" not in decode_text(once)


@pytest.mark.slow
def test_a_run_is_evaluated_into_its_folder(run, shards):
    report = evaluate_run(run, shards, device="cpu")
    assert json.loads((run / "evaluation.json").read_text()) == json.loads(json.dumps(report))
    assert {p.name for p in (run / "figures").iterdir()} == {"predictions.png", "joints.png", "curves.png", "field.png"}
    with np.load(run / "predictions.npz") as saved:
        assert saved["mpjpe"].mean() * 1000 == pytest.approx(report["mpjpe_mm"], abs=0.01)
    with pytest.raises(InputError, match="is of human36m"):
        evaluate_run(run, shards, protocol_name="h36m-p2-17j", device="cpu")
    with pytest.raises(InputError, match="no such checkpoint"):
        evaluate_run(run / "none", shards, device="cpu")


@pytest.mark.slow
def test_the_report_says_what_the_run_was_trained_on(run, shards):
    trained = json.loads((run / "last.json").read_text())["data"][0]
    assert (trained["source"], trained["subjects"], trained["train_views"]) == ("capsules", ["S1"], 12)
    report = evaluate_run(run, shards, device="cpu")
    assert report["trained_on"]["ground_truth"] == "dataset"
    (row,) = report["trained_on"]["data"]
    assert row == {key: trained[key] for key in ("source", "subjects", "train_views", "weight", "content_hash")}
    assert (report["source"], report["recorded"]) == ("capsules", False)
    # the record of a version that had neither source and subjects nor a choice of labels
    old = {"config": {"train": {}}, "data": [{k: v for k, v in trained.items() if k not in ("source", "subjects")}]}
    assert trained_on(old)["data"][0] == row | {"source": None, "subjects": None}


def test_a_recorded_dataset_with_missing_views_is_refused_unless_allowed(test_views, monkeypatch):
    folder = test_views.folders[0]
    monkeypatch.setattr(folder, "run", replace(folder.run, recorded=True, source="human36m"))
    protocol = replace(PROTOCOLS["h36m-p2-17j"])
    mean_pose = test_views["joints"].mean(0)
    with pytest.raises(InputError, match="--allow-partial"):
        report_of(perfect(test_views), test_views, mean_pose, protocol=protocol)
    assert (
        "PARTIAL"
        in report_of(perfect(test_views), test_views, mean_pose, protocol=protocol, allow_partial=True)["partial"]
    )


def test_what_cannot_be_scored_is_refused_before_anything_is_predicted(run, tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("it predicted first")

    monkeypatch.setattr("model.evaluate.predict_views", never)
    chosen = PROTOCOLS["h36m-p2-17j"]
    views = [make_view(64 * n, "test", "S9", camera=(chosen.cameras or ("1",))[0]) for n in range(2)]
    shards = write_folder(tmp_path / "recorded", views)
    write_run(shards, replace(read_run(shards), recorded=True, source="human36m"))
    with pytest.raises(InputError, match="here are 2: the result .*--allow-partial"):
        evaluate_run(run, shards, protocol_name="h36m-p2-17j", device="cpu")
    flat = write_folder(tmp_path / "flat", [make_view(n, "test", "S9", is_3d=False) for n in range(2)])
    with pytest.raises(InputError, match="No view can be scored"):
        evaluate_run(run, flat, device="cpu")
