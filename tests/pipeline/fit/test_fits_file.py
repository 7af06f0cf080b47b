"""fits.h5 round trip through plain smplx, SMPLify-X's layout, and `nvf-cli fit`."""

import json
import pickle
import re
import shutil

import cv2
import h5py
import numpy as np
import pytest
import smplx
import torch
from click.testing import CliRunner

from benchmarks.fit import pose_fits
from cli.fit import command
from pipeline import camera as cameras
from pipeline.body.keypoints import keypoint_map
from pipeline.body.model import FREE_BODY
from pipeline.errors import InputError
from pipeline.fit import read_fits
from pipeline.fit.fits_file import FitsWriter, export_smplifyx
from pipeline.look.pictures import bin_edges
from pipeline.outputs import run_lock
from pipeline.preprocess.plan import make_plan
from pipeline.preprocess.settings import Request
from pipeline.records import PARAMETER_SIZES, Reject
from tests.pipeline.people import striped, unsure_witness


@pytest.fixture(scope="module")
def fits_file(tmp_path_factory, free_body, monocular_fits):
    path = tmp_path_factory.mktemp("fits") / "fits.h5"
    writer = FitsWriter(
        path, free_body, {"source": "test", "joint_set": "openpose_25", "frame": "camera"}, vertices=True
    )
    writer.append(monocular_fits[:5])
    writer.append(monocular_fits[5:])
    writer.reject([Reject("x/1", "fit", "no visible joints")])
    writer.close()
    return path


def test_rows_come_back_as_they_were(free_body, fits_file, monocular_fits):
    for path in (fits_file, fits_file.parent):
        fits = read_fits(path, free_body)
        assert list(fits) == [fit.instant_id for fit in monocular_fits]
        for fit in monocular_fits:
            again = fits[fit.instant_id]
            for name in PARAMETER_SIZES:
                assert np.array_equal(getattr(again.parameters, name), getattr(fit.parameters, name))
            assert again.quality.start == fit.quality.start and again.quality.unseen == fit.quality.unseen
            assert np.array_equal(again.quality.reprojection_px, fit.quality.reprojection_px)


def test_plain_smplx_poses_the_file(fits_file, tmp_path):
    layer = smplx.SMPLX(str(FREE_BODY), use_pca=False, flat_hand_mean=True, num_betas=10, batch_size=8, ext="npz")
    with h5py.File(fits_file) as file:
        assert file.attrs["flat_hand_mean"] and not file.attrs["use_pca"]
        output = layer(**{name: torch.from_numpy(file[name][:]) for name in PARAMETER_SIZES})
        assert np.abs(output.joints[:, :55].detach().numpy() - file["joints"][:]).max() < 1e-5
        assert np.abs(output.vertices.detach().numpy() - file["vertices"][:]).max() < 1e-5
        assert file["rejects/reason"].asstr()[0] == "no visible joints"


def test_wrong_files_are_refused(tmp_path, fits_file, free_body):
    from dataclasses import replace

    with pytest.raises(InputError, match="no fits"):
        read_fits(tmp_path)
    (tmp_path / "cut.h5").write_bytes(fits_file.read_bytes()[:3000])
    with pytest.raises(InputError, match="cut.h5"):
        read_fits(tmp_path / "cut.h5")
    with pytest.raises(InputError, match="other body"):
        read_fits(fits_file, replace(free_body, name="other body", sha256="0" * 64))
    newer = tmp_path / "newer.h5"
    newer.write_bytes(fits_file.read_bytes())
    with h5py.File(newer, "r+") as file:
        file.attrs["version"] = 99
    with pytest.raises(InputError, match="99"):
        read_fits(newer)


def test_smplifyx_result_puts_the_same_joints_in_the_image(free_body, monocular, monocular_fits, tmp_path):
    fit, view = monocular_fits[0], monocular.instants[0].views[0]
    path = export_smplifyx(fit, view.camera.R, view.camera.t, tmp_path)
    result = pickle.loads(path.read_bytes())
    assert result["body_pose"].shape == (1, 63) and "transl" not in result
    names = [name for name in PARAMETER_SIZES if name != "transl"]
    vertices, joints = free_body.pose({name: torch.from_numpy(result[name]) for name in names})
    points = keypoint_map(free_body, "openpose_25")(joints.numpy(), vertices.numpy())[0]
    seen = points @ result["camera_rotation"][0].T + result["camera_translation"][0]
    error = np.linalg.norm(cameras.project(view.camera, seen) - view.joints_2d, axis=1).mean()
    assert error == pytest.approx(fit.quality.reprojection_px[0], abs=0.05)


@pytest.fixture(scope="module")
def openpose_root(tmp_path_factory, monocular):
    """Two images in OpenPose's layout, one with two people of whom one is hardly seen."""
    root = tmp_path_factory.mktemp("openpose")
    (root / "images").mkdir()
    (root / "keypoints").mkdir()
    view = monocular.instants[0].views[0]
    intrinsics = view.camera.K[[0, 1, 0, 1], [0, 1, 2, 2]]
    (root / "camera.json").write_text(json.dumps(dict(zip(("fx", "fy", "cx", "cy"), intrinsics, strict=True))))
    for k, name in enumerate(("a", "b")):
        people = [np.c_[monocular.instants[k].views[0].joints_2d, np.ones(25)]]
        if name == "b":
            people.append(people[0] * (np.arange(25) < 4)[:, None])
        cv2.imwrite(str(root / "images" / f"{name}.jpg"), striped(1000, 1000))
        content = {"version": 1.3, "people": [{"pose_keypoints_2d": p.ravel().tolist()} for p in people]}
        (root / "keypoints" / f"{name}_keypoints.json").write_text(json.dumps(content))
    return root


def test_ids_that_look_alike_get_files_of_their_own(monocular, monocular_fits, tmp_path):
    from dataclasses import replace

    camera = monocular.instants[0].views[0].camera
    ids = ["a/b", "a_b", "a:b", "A_b", "é", "è", "x" * 300 + "1", "x" * 300 + "2", "..", "../a_b"]
    paths = [export_smplifyx(replace(monocular_fits[0], instant_id=name), camera.R, camera.t, tmp_path) for name in ids]
    assert len({path.name.lower() for path in paths}) == len(ids) == len(list(tmp_path.iterdir()))
    assert paths[1].name == "a_b.pkl" and all(path.parent == tmp_path for path in paths)


@pytest.mark.parametrize(
    "values", [[3.0] * 3, [1.3841, 1.3841, np.nextafter(1.3841, 2)], [0.0], [1e-9, 2e-9], [1.0, 5.0]]
)
def test_a_histogram_takes_values_that_are_nearly_equal(values):
    edges = bin_edges(values)
    assert (np.diff(edges) > 0).all() and edges[0] <= min(values) and edges[-1] >= max(values)


@pytest.mark.slow
def test_fits_that_are_all_alike_get_their_report(openpose_root, tmp_path):
    """Three copies of one picture: errors that differ in the last digit."""
    root = tmp_path / "alike"
    for folder, name in (("images", "{}.jpg"), ("keypoints", "{}_keypoints.json")):
        (root / folder).mkdir(parents=True)
        for k in range(3):
            (root / folder / name.format(k)).write_bytes((openpose_root / folder / name.format("a")).read_bytes())
    result = CliRunner().invoke(command, ["openpose", str(root), str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "report.html").stat().st_size > 1000


@pytest.mark.slow
def test_a_page_that_cannot_be_drawn_costs_the_page_alone(openpose_root, tmp_path, free_body, monkeypatch):
    def broken(*_):
        raise ValueError("Too many bins for data range")

    monkeypatch.setattr("pipeline.look.fit_report._histograms", broken)
    result = CliRunner().invoke(command, ["openpose", str(openpose_root), str(tmp_path / "out")])
    assert result.exit_code == 1 and "Too many bins" in result.output and "are whole" in result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["n"] == len(read_fits(tmp_path / "out", free_body)) == 2 and "Too many bins" in report["page_error"]


@pytest.mark.slow
def test_a_picture_that_cannot_be_drawn_leaves_its_row(openpose_root, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise cv2.error("a decoder's own error")

    monkeypatch.setattr("pipeline.look.fit_report.read_image", broken)
    result = CliRunner().invoke(command, ["openpose", str(openpose_root), str(tmp_path / "out"), "--json"])
    assert "page_error" not in json.loads(result.stdout)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<figure>") == 2 and "a decoder" in page


@pytest.mark.slow
@pytest.mark.slow
def test_fit_and_preprocess_tell_of_doubtful_cameras(openpose_root, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(openpose_root, root)
    (root / "camera.json").write_text(json.dumps({"fx": 1000, "fy": 1000, "cx": 650, "cy": 650}))
    said = "principal point in the middle of images 1.3 times as large"
    assert f"Warning: {said}" in CliRunner().invoke(command, ["openpose", str(root), str(tmp_path / "fits")]).output
    unsure = unsure_witness("")
    assert said in make_plan(Request("openpose", root, tmp_path / "shards"), unsure).doubts[0]
    assert not make_plan(Request("openpose", openpose_root, tmp_path / "right"), unsure).doubts


def test_two_fits_do_not_write_into_one_folder_at_once(openpose_root, tmp_path):
    out = tmp_path / "out"
    with run_lock(out):
        result = CliRunner().invoke(command, ["openpose", str(openpose_root), str(out)])
    assert isinstance(result.exception, InputError) and "another run is writing" in str(result.exception)
    assert not out.exists()


def test_no_valid_fit_is_no_success(openpose_root, tmp_path):
    """Keypoints that no body has."""
    root = tmp_path / "scrambled"
    (root / "images").mkdir(parents=True)
    (root / "keypoints").mkdir()
    (root / "images" / "a.jpg").write_bytes((openpose_root / "images" / "a.jpg").read_bytes())
    points = np.random.default_rng(0).uniform(50, 950, (25, 2))
    people = [{"pose_keypoints_2d": np.c_[points, np.ones(25)].ravel().tolist()}]
    (root / "keypoints" / "a_keypoints.json").write_text(json.dumps({"version": 1.3, "people": people}))
    result = CliRunner().invoke(command, ["openpose", str(root), str(tmp_path / "out")])
    assert result.exit_code == 1 and "No fit is valid" in result.output


@pytest.mark.slow
def test_command(openpose_root, tmp_path, free_body):
    out = tmp_path / "out"
    result = CliRunner().invoke(command, ["openpose", str(openpose_root), str(out), "--json", "--pkl"])
    assert result.exit_code == 1, result.output  # the one who is hardly seen is listed
    report = json.loads(result.stdout)
    assert (
        report["n"] == 2 and len(report["rejects"]) == 1 and "at least 6 are needed" in report["rejects"][0]["reason"]
    )
    assert report["fits_per_second"] > 0 and report["reprojection_px"]["max"] < 3
    assert json.loads((out / "report.json").read_text()) == report
    page = (out / "report.html").read_text()
    assert page.count("<figure>") == 2 and "at least 6 are needed" in page
    captions = re.findall("<figcaption>.*?</figcaption>", page)
    assert all(" px, start " in one and "nan" not in one for one in captions)  # there is no 3D to be off from
    fits = read_fits(out, free_body)
    assert len(fits) == 2 and len(list(out.glob("*.pkl"))) == 2
    assert not list(out.glob("*.tmp"))
    assert pose_fits(free_body, list(fits.values()))[1].shape == (2, 55, 3)
    again = CliRunner().invoke(command, ["openpose", str(openpose_root), str(out)])
    assert isinstance(again.exception, InputError) and "--overwrite" in str(again.exception)
    limited = CliRunner().invoke(
        command, ["openpose", str(openpose_root), str(tmp_path / "one"), "--limit", "1", "--json"]
    )
    assert json.loads(limited.stdout)["n"] == 1


def test_joints_unseen_come_back_and_older_files_have_none(tmp_path, free_body, monocular_fits):
    from dataclasses import replace

    told = replace(
        monocular_fits[0],
        quality=replace(monocular_fits[0].quality, joints_unseen=("left_elbow", "left_wrist"), ambiguous=True),
    )
    writer = FitsWriter(
        tmp_path / "fits.h5", free_body, {"source": "test", "joint_set": "openpose_25", "frame": "camera"}
    )
    writer.append([told, monocular_fits[1]])
    writer.close()
    assert [fit.quality.joints_unseen for fit in read_fits(tmp_path).values()] == [("left_elbow", "left_wrist"), ()]
    with h5py.File(tmp_path / "fits.h5", "r+") as file:
        del file["quality/joints_unseen"], file["quality/ambiguous"]
    assert [fit.quality.joints_unseen for fit in read_fits(tmp_path).values()] == [(), ()]
