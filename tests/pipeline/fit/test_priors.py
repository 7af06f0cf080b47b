"""Each prior against a slow twin and autodiff; files of priors read without running them."""

import hashlib
import json
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from pipeline.errors import InputError
from pipeline.fit import build_prior, rotations
from pipeline.fit.build_prior import build, mirrored, read_clip, retarget
from pipeline.fit.learned_priors import BendingPrior, VPoserPrior, _dense, read_mixture, read_vposer
from pipeline.fit.prior_choice import make_prior
from pipeline.fit.prior_terms import LIMIT_SIGMA, N_POSED, row_of
from pipeline.fit.priors import ASSETS, MOTION_FILE, anatomical_prior, l2_prior, motion_prior
from pipeline.fit.settings import TODAY, VERSION_0_1, FitSettings
from pipeline.skeletons import SMPLX_22


def vposer_weights(hidden: int = 24) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def linear(out, into):
        return {
            "weight": torch.randn(out, into, generator=generator) / into**0.5,
            "bias": 0.1 * torch.randn(out, generator=generator),
        }

    def norm(n):
        return {
            "weight": torch.rand(n, generator=generator) + 0.5,
            "bias": torch.zeros(n),
            "running_mean": torch.zeros(n),
            "running_var": torch.rand(n, generator=generator) + 0.5,
        }

    layers = {
        "encoder_net.1": norm(63),
        "encoder_net.2": linear(hidden, 63),
        "encoder_net.4": norm(hidden),
        "encoder_net.6": linear(hidden, hidden),
        "encoder_net.7": linear(hidden, hidden),
        "encoder_net.8.mu": linear(32, hidden),
        "decoder_net.0": linear(hidden, 32),
        "decoder_net.3": linear(hidden, hidden),
        "decoder_net.5": linear(126, hidden),
    }
    return {f"vp_model.{layer}.{name}": tensor for layer, tensors in layers.items() for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def prior_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("priors")
    rng = np.random.default_rng(0)
    A = rng.normal(0, 0.1, (3, 69, 69))
    covariances = A @ A.transpose(0, 2, 1) + 0.1 * np.eye(69)
    mixture = {"means": rng.normal(0, 0.3, (3, 69)), "covars": covariances, "weights": np.array([0.5, 0.3, 0.2])}
    (folder / "gmm_08.pkl").write_bytes(pickle.dumps(mixture, protocol=2))
    torch.save({"state_dict": vposer_weights()}, folder / "vposer.ckpt")
    return folder


@pytest.fixture(params=["motion", "anatomical", "l2", "angle", "gmm", "vposer"])
def prior(request, prior_files):
    file = {"gmm": "gmm_08.pkl", "vposer": "vposer.ckpt"}.get(request.param)
    return make_prior(FitSettings(prior=request.param, prior_file=file and prior_files / file), torch.float64)


def random_poses(rows: int, scale: float = 0.7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    R, parents = (
        rotations.exp(scale * torch.randn(rows, 21, 3, dtype=torch.float64, generator=generator)) for _ in range(2)
    )
    return R, parents


def test_half_gradient_is_that_of_the_cost(prior):
    R, parents = random_poses(3)
    terms = prior.linearise(R, parents)
    assert torch.allclose(terms.cost, prior.cost(R), rtol=1e-12)
    direction = torch.randn(3, 21, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def moved(step):
        return prior.cost(rotations.exp((parents.transpose(2, 3) @ (step * direction)[..., None])[..., 0]) @ R)

    numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6
    assert torch.allclose(2 * (terms.gradient * direction).sum((1, 2)), numeric, rtol=1e-5, atol=1e-5)


def test_anatomical_prior_against_its_definition():
    prior = anatomical_prior(torch.float64)
    R, _ = random_poses(2)
    for row in range(2):
        y = torch.stack([rotations.log(R[row, j] @ rotations.exp(prior.mean[j]).T) for j in range(21)])
        expected = y.flatten() @ prior.precision @ y.flatten()
        for j in range(21):
            for axis in range(3):
                outside = max(0, float(y[j, axis] - prior.highest[j, axis])) + max(
                    0, float(prior.lowest[j, axis] - y[j, axis])
                )
                expected += (outside / LIMIT_SIGMA) ** 2
        assert prior.cost(R)[row].item() == pytest.approx(expected.item(), rel=1e-10)


def test_anatomical_prior_is_the_same_for_a_mirrored_body():
    R, _ = random_poses(4)
    mirror = torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64))
    flipped = (mirror @ R @ mirror)[:, [int(j) - 1 for j in SMPLX_22.flip[1:]]]
    prior = anatomical_prior(torch.float64)
    assert torch.allclose(prior.cost(R), prior.cost(flipped), rtol=1e-10)


def test_knees_and_elbows_bend_one_way():
    for prior in (anatomical_prior(torch.float64), BendingPrior(torch.float64)):
        for joint, axis, forward in (
            ("left_knee", 0, 1.0),
            ("right_knee", 0, 1.0),
            ("left_elbow", 1, -1.0),
            ("right_elbow", 1, 1.0),
        ):
            costs = []
            for sign in (1, -1):
                turn = torch.zeros(1, 21, 3, dtype=torch.float64)
                turn[0, row_of(joint), axis] = sign * forward
                costs.append(prior.cost(rotations.exp(turn)).item())
            assert costs[0] + 3 < costs[1], joint


def test_l2_is_the_squared_angle():
    R, _ = random_poses(2)
    assert torch.allclose(l2_prior(torch.float64, 0.5).cost(R), 4 * rotations.log(R).square().sum((1, 2)))


def test_mixture_is_its_best_component_with_hands_marginalised(prior_files):
    R, _ = random_poses(5, 0.3)
    content = pickle.loads((prior_files / "gmm_08.pkl").read_bytes())
    prior = read_mixture(prior_files / "gmm_08.pkl", torch.float64)
    theta = rotations.log(R).flatten(1).numpy()
    constants, densities = [], []
    for mean, covariance, weight in zip(content["means"], content["covars"], content["weights"], strict=True):
        C = covariance[:63, :63]
        constants.append(np.linalg.slogdet(C)[1] - 2 * np.log(weight))
        offset = theta - mean[:63]
        densities.append(np.einsum("bi,ij,bj->b", offset, np.linalg.inv(C), offset) + constants[-1])
    expected = np.min(densities, 0) - min(constants)
    assert np.allclose(prior.cost(R).numpy(), expected, rtol=1e-8)


def test_vposer_against_its_layers(prior_files):
    """The same networks as torch modules, in VPoser 2's order."""
    w = {name.removeprefix("vp_model."): tensor.double() for name, tensor in vposer_weights().items()}
    prior = VPoserPrior(w)
    nn = torch.nn
    encoder = (
        nn.Sequential(
            nn.Flatten(),
            nn.BatchNorm1d(63),
            nn.Linear(63, 24),
            nn.LeakyReLU(),
            nn.BatchNorm1d(24),
            nn.Dropout(),
            nn.Linear(24, 24),
            nn.Linear(24, 24),
            nn.Linear(24, 32),
        )
        .double()
        .eval()
    )
    state = {
        name.removeprefix("encoder_net.").replace("8.mu", "8"): t
        for name, t in w.items()
        if name.startswith("encoder_net")
    }
    encoder.load_state_dict(state, strict=False)
    x = torch.randn(3, 63, dtype=torch.float64)
    assert torch.allclose(prior.encode(x), encoder(x))
    decoded = prior.decode(torch.randn(3, 32, dtype=torch.float64))
    assert torch.allclose(
        decoded @ decoded.transpose(2, 3), torch.eye(3, dtype=torch.float64).expand_as(decoded), atol=1e-12
    )
    assert torch.allclose(torch.linalg.det(decoded), torch.ones(3, 21, dtype=torch.float64))


class Bomb:
    def __reduce__(self):
        return (open, ("/tmp/should-not-exist-nvf-fit", "w"))


@pytest.mark.parametrize("content", [Bomb(), {"means": Bomb()}, {"means": np.zeros((2, 69))}, [1, 2]])
def test_mixture_file_is_not_run(tmp_path, content):
    import os

    (tmp_path / "gmm.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match="gmm.pkl"):
        read_mixture(tmp_path / "gmm.pkl", torch.float64)
    assert not os.path.exists("/tmp/should-not-exist-nvf-fit")


def test_vposer_file_is_not_run(tmp_path):
    torch.save({"state_dict": {}, "hidden": Bomb()}, tmp_path / "bad.ckpt")
    torch.save({"other": torch.zeros(3)}, tmp_path / "other.ckpt")
    for name in ("bad.ckpt", "other.ckpt", "missing.ckpt"):
        with pytest.raises(InputError, match=name):
            read_vposer(tmp_path / name, torch.float64)


def test_settings_refuse():
    for wrong in (
        {"prior": "magic"},
        {"prior": "gmm"},
        {"noise_2d": 0},
        {"noise_3d": float("nan")},
        {"batch": 0},
        {"device": "cuda"},
    ):
        if wrong.get("device") == "cuda" and torch.cuda.is_available():
            continue
        with pytest.raises(InputError):
            FitSettings(**wrong)


def standing(knee: float = 0.0, hip: float = 0.0) -> torch.Tensor:
    """(1, 21, 3, 3) arms hanging, legs bent by so much on both sides."""
    turn = torch.zeros(1, 21, 3, dtype=torch.float64)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        turn[0, row_of(f"{side}_shoulder"), 2] = -1.3 * sign
        turn[0, row_of(f"{side}_knee"), 0], turn[0, row_of(f"{side}_hip"), 0] = knee, -hip
    return rotations.exp(turn)


def test_the_default_prior_knows_that_bent_legs_go_together():
    prior = motion_prior(torch.float64)
    crouch, apart = prior.cost(standing(knee=1.2, hip=0.8)), prior.cost(standing(knee=0.0, hip=0.8))
    assert prior.cost(standing()) < 30 and crouch < apart + 1
    assert prior.cost(standing(knee=-0.3)) > prior.cost(standing(knee=0.3)) + 5  # anatomy's limits stay


def test_the_motion_prior_is_the_same_for_a_mirrored_body():
    R, _ = random_poses(4)
    prior = motion_prior(torch.float64)
    assert torch.allclose(prior.cost(R), prior.cost(torch.as_tensor(mirrored(R.numpy()))), rtol=1e-4)


def test_the_shipped_prior_is_the_one_that_its_provenance_names():
    record = json.loads((ASSETS / "provenance.json").read_text())
    assert record["sha256"] == {MOTION_FILE: hashlib.sha256((ASSETS / MOTION_FILE).read_bytes()).hexdigest()}
    assert "zlib" in record["licence"] and record["sha256_of_the_clips"] == build_prior.PYBULLET.sha256
    assert (ASSETS / MOTION_FILE).stat().st_size < 20_000


def clip_file(path, frames: int, **quaternions) -> None:
    """A clip whose joints stand still at what is given (w, x, y, z; or one angle), the others at rest."""
    row = np.zeros(44)
    row[[4, 8, 12, 16, 21, 25, 30, 35, 39]] = 1
    places = {
        "root": slice(4, 8),
        "left_shoulder": slice(39, 43),
        "left_hip": slice(30, 34),
        "left_knee": 34,
        "left_elbow": 43,
    }
    for name, value in quaternions.items():
        row[places[name]] = value
    path.write_text(json.dumps({"Loop": "wrap", "Frames": np.tile(row, (frames, 1)).tolist()}))


def test_retargeting_points_bones_where_the_clip_has_them(tmp_path, free_body):
    """A left arm raised to the front with its elbow bent upwards, a left thigh and shank at right angles."""
    half = np.sqrt(0.5)
    clip_file(
        tmp_path / "a.txt",
        2,
        left_shoulder=(half, 0, 0, half),  # about z, to the right: what hangs comes to the front
        left_elbow=np.pi / 2,
        left_hip=(half, 0, 0, half),
        left_knee=-np.pi / 2,
    )
    rest = free_body.joint_template[:22].numpy().astype(float)
    pelvis, joints = retarget(read_clip(tmp_path / "a.txt"), rest)
    pose = torch.as_tensor(Rotation.from_matrix(joints.reshape(-1, 3, 3)).as_rotvec().reshape(2, 63)).float()
    J = free_body.pose({"body_pose": pose})[1][0].numpy()

    def bone(a, b):
        direction = J[SMPLX_22.index(b)] - J[SMPLX_22.index(a)]
        return direction / np.linalg.norm(direction)

    forward, up, left = np.array([0, 0, 1.0]), np.array([0, 1.0, 0]), np.array([1.0, 0, 0])
    for a, b, expected in (
        ("left_shoulder", "left_elbow", forward),
        ("left_elbow", "left_wrist", up),
        ("left_hip", "left_knee", forward),
        ("left_knee", "left_ankle", -up),
        ("right_shoulder", "right_elbow", -up),
        ("right_knee", "right_ankle", -up),
    ):
        assert np.abs(bone(a, b) - expected).max() < 1e-5, (a, b)
    assert np.allclose(pelvis, np.eye(3)) and abs(bone("left_shoulder", "left_elbow") @ left) < 1e-5


@pytest.mark.slow
def test_a_prior_is_built_from_clips_and_other_files_are_refused(tmp_path, monkeypatch):
    def know_these():
        """As the package's own: a file that was read and tried."""
        sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(tmp_path.glob("*.txt"))}
        monkeypatch.setattr(build_prior, "PYBULLET", replace(build_prior.PYBULLET, sha256=sums))

    means = []
    for out, angles in (("one", (0.2, 0.9)), ("more", (0.4, 1.1))):
        for k, angle in enumerate(angles):
            clip_file(tmp_path / f"humanoid3d_{k}.txt", 5, left_knee=-angle)
        know_these()
        build(tmp_path, tmp_path / out)
        with np.load(tmp_path / out / MOTION_FILE) as content:
            means.append(content["mean"])
            assert np.linalg.eigvalsh(content["covariance"]).min() > 0
    knee = row_of("left_knee")
    assert means[1][knee, 0] - means[0][knee, 0] == pytest.approx(
        0.1, abs=0.01
    )  # half of 0.2: the mirrored frames bend the other
    assert np.allclose(means[0][row_of("right_knee")] * [1, -1, -1], means[0][knee], atol=1e-6)
    for text in ("{}", "[1]", '{"Frames": [[1, 2]]}', "not json"):
        (tmp_path / "humanoid3d_0.txt").write_text(text)
        with pytest.raises(InputError, match="is not pybullet 3.2.7: humanoid3d_0.txt has the checksum"):
            build(tmp_path, tmp_path / "out")
        know_these()
        with pytest.raises(InputError, match="humanoid3d_0.txt (is not a motion clip|has frames of)"):
            build(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="humanoid3d_0.txt is missing; humanoid3d_1.txt is missing. Fetch"):
        build(tmp_path / "one", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_of_version_0_1_can_be_continued_with_their_prior():
    """Their run.json holds exactly these settings; another one would make every such run look changed."""
    assert {field.name for field in fields(FitSettings)} == {
        "prior", "prior_file", "noise_2d", "least_noise_px", "noise_3d", "robust", "hands", "face", "interpenetration",
        "min_joints", "min_confidence", "valid_error_mm", "valid_reprojection", "batch", "shape_frames", "body_height", "device",
    }  # fmt: skip
    assert FitSettings(prior="anatomical").manner == VERSION_0_1 and FitSettings().manner == TODAY


def test_couplings_all_at_once_are_those_one_by_one():
    prior = motion_prior(torch.float64)
    generator = torch.Generator().manual_seed(0)
    R, parents = (rotations.exp(torch.randn(5, N_POSED, 3, generator=generator, dtype=torch.float64)) for _ in range(2))
    assert prior.all_coupled and not anatomical_prior(torch.float64).all_coupled
    once = prior.linearise(R, parents)
    prior.all_coupled = False
    singly = prior.linearise(R, parents)
    assert torch.allclose(_dense(once), _dense(singly), rtol=0, atol=1e-11)
    assert torch.equal(once.gradient, singly.gradient) and torch.equal(once.cost, singly.cost)
