"""Named protocols: which views and joints they take, how they align and average, and the counts they insist on."""

import json
import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from model.scoring.metrics import pa_mpjpe
from model.scoring.protocols import PROTOCOLS, check_count, protocol, score, select
from model.scoring.published import PUBLISHED, published
from pipeline.errors import InputError
from pipeline.skeletons import FIELD_JOINTS, HUMAN36M


@pytest.fixture
def table():
    """Two subjects, two cameras, frames 0..127 step 4, actions of unequal size."""
    rows = [(s, c, f) for s in ("S9", "S11") for c in ("1", "4") for f in range(0, 128, 4)]
    subject, camera, frame = (np.array(column) for column in zip(*rows, strict=True))
    return {
        "subject": subject,
        "camera": camera,
        "frame": frame,
        "action": np.where(frame < 100, "Walking", "Eating"),
        "split": np.full(len(rows), "test"),
    }


def poses(n, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 0.4, (n, 17, 3))
    return truth + rng.normal(0, noise, truth.shape), truth


@pytest.mark.parametrize(
    "name, subjects, cameras, frames",
    [
        ("h36m-p1-17j", {"S11"}, {"1", "4"}, {0, 64}),
        ("h36m-p2-17j", {"S9", "S11"}, {"1", "4"}, {0, 64}),
        ("h36m-martinez-17j", {"S9", "S11"}, {"1", "4"}, set(range(0, 128, 4))),
        ("h36m-i2l-14j", {"S9", "S11"}, {"4"}, {0, 64}),
        ("h36m-spin-14j", {"S9", "S11"}, {"4"}, set(range(0, 128, 20))),
        ("all-17j", {"S9", "S11"}, {"1", "4"}, set(range(0, 128, 4))),
    ],
)
def test_each_protocol_selects_its_views(table, name, subjects, cameras, frames):
    rows, left_out = select(protocol(name), table)
    assert set(table["subject"][rows]) == subjects and set(table["camera"][rows]) == cameras
    assert set(table["frame"][rows].tolist()) == frames
    assert len(rows) == len(subjects) * len(cameras) * len(frames)
    assert sum(left_out.values()) == len(table["frame"]) - len(rows)


def test_fourteen_joints_drop_pelvis_torso_and_nose():
    """eval_joint of I2L-MeshNet: (1,2,3,4,5,6,8,10,11,12,13,14,15,16)."""
    for name in ("h36m-i2l-14j", "h36m-spin-14j", "3dpw-14j"):
        assert HUMAN36M.indices(PROTOCOLS[name].joints).tolist() == [1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14, 15, 16]


def test_pelvis_counts_as_zero_with_17_joints(table):
    rows, _ = select(protocol("h36m-p2-17j"), table)
    prediction, truth = poses(len(rows))
    prediction += 3.0  # the root is aligned before anything else
    report = score(protocol("h36m-p2-17j"), prediction, truth, {k: v[rows] for k, v in table.items()})
    assert report["per_joint"]["pelvis"]["mpjpe_mm"] == 0 and len(report["per_joint"]) == 17
    p, q = prediction - prediction[:, :1], truth - truth[:, :1]
    assert np.isclose(report["mpjpe_mm"], np.linalg.norm(p - q, axis=-1).mean() * 1000, atol=1e-3)


def test_the_root_is_left_out_of_shares_of_right_joints(table):
    """It is right whatever was predicted: who had no other joint right had one in 17."""
    n, joints = len(table["frame"]), np.arange(17) != FIELD_JOINTS.index("pelvis")
    truth = np.zeros((n, 17, 3))
    wrong = truth + np.where(joints, 1.0, 0.0)[:, None]
    for half, share in ((0, 0.0), (8, 0.5), (16, 1.0)):
        prediction = wrong.copy()
        prediction[:, np.flatnonzero(joints)[:half]] = 0
        report = score(PROTOCOLS["h36m-p2-17j"], prediction, truth, table)
        assert report["pck_150mm"] == share and report["auc"] == round(share * 30 / 31, 5)


def test_root_is_aligned_at_the_pelvis_before_14_joints_are_chosen(table):
    prediction, truth = poses(len(table["frame"]))
    report = score(protocol("h36m-i2l-14j"), prediction, truth, table)
    p, q = (x - x[:, :1] for x in (prediction, truth))
    keep = [1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14, 15, 16]
    assert np.isclose(report["mpjpe_mm"], np.linalg.norm((p - q)[:, keep], axis=-1).mean() * 1000, atol=1e-3)
    assert np.isclose(report["pa_mpjpe_mm"], pa_mpjpe(p[:, keep], q[:, keep]).mean() * 1000, atol=1e-3)


def test_protocol_1_is_rigid_fitted_with_the_thorax_and_scored_without_it(table):
    """A body twice as large keeps its error; a similarity would remove it."""
    prediction, truth = poses(len(table["frame"]))
    R = Rotation.from_euler("y", 70, degrees=True).as_matrix()
    report = score(protocol("h36m-p1-17j"), 2 * truth @ R, truth, table)
    assert report["pa_mpjpe_mm"] > 300 and report["protocol"]["alignment"] == "rigid"
    assert score(protocol("h36m-p2-17j"), 2 * truth @ R, truth, table)["pa_mpjpe_mm"] < 1e-3
    # The thorax is the shoulders' mean, an 18th point of the fit only.
    shoulders = FIELD_JOINTS.indices(("left_shoulder", "right_shoulder"))
    with_thorax = [np.concatenate([x, x[:, shoulders].mean(1, keepdims=True)], 1) for x in (prediction, truth)]
    source, target = (x - x.mean(1, keepdims=True) for x in with_thorax)
    expected = []
    for p, q in zip(source, target, strict=True):
        fitted = Rotation.align_vectors(q, p)[0].apply(p)
        expected.append(np.linalg.norm(fitted - q, axis=1)[:17].mean())
    assert np.isclose(
        score(protocol("h36m-p1-17j"), prediction, truth, table)["pa_mpjpe_mm"], np.mean(expected) * 1000, atol=1e-3
    )


def test_martinez_averages_over_actions(table):
    prediction, truth = poses(len(table["frame"]), noise=0)
    prediction[table["action"] == "Eating", 3, 0] += 0.17
    report = score(protocol("h36m-martinez-17j"), prediction, truth, table)
    assert np.isclose(report["mpjpe_mm"], (10 + 0) / 2, atol=1e-3)
    share = (table["action"] == "Eating").mean()
    assert np.isclose(score(protocol("h36m-p2-17j"), prediction, truth, table)["mpjpe_mm"], 10 * share, atol=1e-3)
    assert report["per_action"]["Eating"]["mpjpe_mm"] == 10 and report["per_action"]["Walking"]["mpjpe_mm"] == 0


@pytest.mark.parametrize(
    "name, count",
    [("h36m-p2-17j", 8695), ("h36m-i2l-14j", 2181), ("h36m-spin-14j", 27558), ("h36m-martinez-17j", 548819)],
)
def test_known_counts_are_insisted_on_for_real_sets_only(name, count):
    chosen = protocol(name)
    assert check_count(chosen, count, real=True, allow_partial=False) is None
    assert check_count(chosen, 12, real=False, allow_partial=False) is None
    with pytest.raises(InputError, match=f"{count} views.*here are {count - 1}.*--allow-partial"):
        check_count(chosen, count - 1, real=True, allow_partial=False)
    assert "PARTIAL" in check_count(chosen, count - 1, real=True, allow_partial=True)


def test_3dpw_count_is_a_range():
    chosen = protocol("3dpw-14j")
    assert check_count(chosen, 35515, real=True, allow_partial=False) is None
    with pytest.raises(InputError):
        check_count(chosen, 35000, real=True, allow_partial=False)


def test_the_count_of_protocol_1_is_what_other_counts_leave():
    """docs/protocols.md, step by step."""
    train_frames = range(5 * (312_188 // 4) - 4 * 150, 5 * (312_188 // 4) + 1)
    s9_frames = [1_877_420 // 4 - frames for frames in (train_frames[-1], train_frames[0])]
    s9_views = math.ceil(s9_frames[0] / 64), (s9_frames[1] + 30 * 63) // 64
    missing = 4 * PROTOCOLS["h36m-i2l-14j"].known_views[0] - PROTOCOLS["h36m-p2-17j"].known_views[0]
    least, most = (4 * (2181 - views) - missing for views in reversed(s9_views))
    assert (s9_views, missing, least, most) == ((1237, 1275), 29, 3595, 3747)

    chosen = protocol("h36m-p1-17j")
    assert chosen.known_views == (least, most)
    assert all(check_count(chosen, n, real=True, allow_partial=False) is None for n in (least, most))
    for n in (least - 1, most + 1):
        with pytest.raises(InputError, match=f"scores 3595 to 3747 views of human36m, here are {n}.*--allow-partial"):
            check_count(chosen, n, real=True, allow_partial=False)


def test_every_protocol_of_a_dataset_knows_its_views():
    assert [name for name, p in PROTOCOLS.items() if p.source and not p.known_views] == []


def test_partial_is_said_in_the_report(table):
    prediction, truth = poses(len(table["frame"]))
    report = score(protocol("h36m-p2-17j"), prediction, truth, table, real=True, allow_partial=True)
    assert "PARTIAL" in report["partial"]
    with pytest.raises(InputError, match="not be comparable"):
        score(protocol("h36m-p2-17j"), prediction, truth, table, real=True)


def test_views_without_a_scored_joint_are_skipped_and_counted(table):
    prediction, truth = poses(len(table["frame"]))
    valid = np.ones(truth.shape[:2], bool)
    valid[:3, FIELD_JOINTS.index("head_top")] = False
    valid[5, FIELD_JOINTS.index("spine")] = False
    prediction[7] = np.nan
    report = score(protocol("h36m-i2l-14j"), prediction, truth, table, valid)
    assert report["skipped"] == {"the truth has no head_top": 3, "the prediction is not finite": 1}
    assert report["n_views"] == len(truth) - 4
    report = score(protocol("h36m-p2-17j"), prediction, truth, table, valid)
    assert report["skipped"]["the truth has no spine"] == 1
    json.dumps(report, allow_nan=False)
    valid[:, FIELD_JOINTS.index("head_top")] = False
    with pytest.raises(InputError, match="head_top.*It needs Human3.6M's joints regressed"):
        score(protocol("3dpw-14j"), prediction, truth, table, valid)


def test_wrong_names_and_datasets_are_refused(table):
    with pytest.raises(InputError, match="h36m-p9.*choose one of.*h36m-spin-14j"):
        protocol("h36m-p9")
    with pytest.raises(InputError, match="is of threedpw, the shards are of human36m"):
        select(protocol("3dpw-14j"), table, source="human36m")
    with pytest.raises(InputError, match="takes none of the"):
        select(protocol("h36m-i2l-14j"), table | {"subject": np.full(len(table["frame"]), "S1")})


def test_published_rows_are_quoted_with_a_source():
    assert set(PUBLISHED) <= set(PROTOCOLS)
    for name in PUBLISHED:
        for row in published(name):
            assert row["quoted"] and row["source"] and (row["mpjpe_mm"] or row["pa_mpjpe_mm"])
    assert published("all-17j") == []
    assert {"method": "I2L-MeshNet, lixel", "mpjpe_mm": 55.7}.items() <= published("h36m-i2l-14j")[0].items()
