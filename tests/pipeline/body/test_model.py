"""Posing, moving, and reading other people's files."""

import pickle
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from smplx.vertex_ids import vertex_ids
from torch.utils.flop_counter import FlopCounterMode

from pipeline.body.model import FREE_BODY, as_tensors, load_body, move_body
from pipeline.body.vertex_ids import VERTEX_IDS
from pipeline.errors import InputError
from pipeline.records import PARAMETER_SIZES, BodyParameters
from tests.pipeline.oracle import smplx_layer


def random_bodies(n, seed=0, scale=0.6):
    rng = np.random.default_rng(seed)
    return [BodyParameters(**{k: rng.normal(0, scale, size) for k, size in PARAMETER_SIZES.items()}) for _ in range(n)]


@pytest.fixture(scope="module")
def licensed_file(licensed_arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("licensed") / "SMPLX_MALE.npz"
    np.savez(path, **licensed_arrays)
    return path


@pytest.fixture(scope="module")
def licensed(licensed_file):
    return load_body(licensed_file)


def test_parameters_are_those_of_the_records():
    assert [f.name for f in fields(BodyParameters)] == list(PARAMETER_SIZES)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["body", "licensed"])
def test_pose_equals_smplx(which, request):
    model = request.getfixturevalue(which)
    layer = smplx_layer(FREE_BODY if which == "body" else request.getfixturevalue("licensed_file"))
    params = as_tensors(random_bodies(3))
    vertices, joints = model.pose(params)
    with torch.no_grad():
        # smplx tiles its landmarks by the layer's batch size, so one body at a time.
        theirs = [layer(**{k: v[i : i + 1] for k, v in params.items()}) for i in range(3)]
    scale = 1 + vertices.abs().max()
    torch.testing.assert_close(vertices, torch.cat([o.vertices for o in theirs]), atol=5e-6 * float(scale), rtol=0)
    torch.testing.assert_close(joints, torch.cat([o.joints[:, :55] for o in theirs]), atol=5e-6 * float(scale), rtol=0)


@pytest.mark.slow
def test_arrays_are_those_of_smplx_to_the_bit(body, licensed, licensed_file):
    """Also their order in memory, on which the last bits of sums depend."""
    names = {"exprdirs": "expr_dirs", "weights": "lbs_weights", "landmark_faces": "lmk_faces_idx"}
    names |= {"landmark_weights": "lmk_bary_coords", "faces": "faces_tensor"}
    same = ("v_template", "shapedirs", "posedirs", "J_regressor", "parents")
    for model, layer in ((body, smplx_layer()), (licensed, smplx_layer(licensed_file))):
        for name in (*same, *names):
            ours, theirs = getattr(model, name), getattr(layer, names.get(name, name))
            if name == "posedirs" and ours is None:
                assert not theirs.any()
                continue
            ours = torch.from_numpy(ours) if isinstance(ours, np.ndarray) else ours
            assert torch.equal(ours, theirs) and ours.stride() == theirs.stride(), name


def test_the_free_body_is_posed_without_smplx():
    """Its licence permits research only, so what is free does not import it: neither loading, posing and fitting the body, nor its
    keypoints."""
    code = (
        "import sys, pipeline.fit, pipeline.preprocess.shard, pipeline.look.pictures, pipeline.sources.synthetic.takes; "
        "from pipeline.body.keypoints import keypoint_map; from pipeline.body.model import load_body; body = load_body(); "
        "body.pose({'transl': __import__('torch').zeros(1, 3)}); keypoint_map(body, 'openpose_25'); assert 'smplx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=FREE_BODY.parents[3])


def test_vertex_ids_are_those_of_smplx():
    assert vertex_ids["smplx"] == VERTEX_IDS


def test_a_body_does_not_depend_on_its_batch(body):
    bodies = random_bodies(70)  # more than one chunk
    vertices, joints = body.pose(as_tensors(bodies))
    for i in (0, 63, 64, 69):
        alone, alone_joints = body.mesh(bodies[i])
        np.testing.assert_allclose(alone, vertices[i], atol=2e-6)
        np.testing.assert_allclose(alone_joints, joints[i], atol=2e-6)
    assert alone.dtype == np.float32 and alone.shape == (body.n_vertices, 3)


def test_parameters_left_out_are_zero(body):
    vertices, _ = body.pose({"transl": torch.tensor([[1.0, 2, 3]])})
    torch.testing.assert_close(vertices[0], body.v_template + torch.tensor([1.0, 2, 3]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("which", ["body", "licensed"])
def test_moved_body_is_the_moved_mesh_and_moves_back(which, request):
    model, old = request.getfixturevalue(which), random_bodies(1, seed=3)[0]
    for R in (Rotation.random(random_state=4).as_matrix(), np.diag([1.0, -1, -1])):
        t = np.array([0.3, -1.0, 4.0])
        new = move_body(model, old, R, t)
        tolerance = 2e-6 * (1 + np.abs(model.mesh(old)[0]).max())
        np.testing.assert_allclose(model.mesh(new)[0], model.mesh(old)[0] @ R.T + t, atol=tolerance)
        back = move_body(model, new, R.T, -R.T @ t)
        np.testing.assert_allclose(model.mesh(back)[0], model.mesh(old)[0], atol=tolerance)


def test_a_body_that_came_from_another_process_is_moved(body):
    """Its arrays are read-only then."""
    old = random_bodies(1)[0]
    for field in fields(old):
        getattr(old, field.name).flags.writeable = False
    new = move_body(body, old, np.eye(3), np.zeros(3))
    np.testing.assert_allclose(new.global_orient, old.global_orient, atol=1e-6)


def test_posing_multiplies_for_shape_and_skin_alone(body):
    """What makes it quick (`benchmarks.posing`): neither pose directions that are all zero nor those of a neutral face are multiplied,
    and joints are not regressed from every vertex."""
    params = as_tensors(random_bodies(4)) | {"expression": torch.zeros(4, 10)}
    with FlopCounterMode(display=False) as counted:
        body.pose(params)
    shape, skin = 3 * params["betas"].shape[1], 12 * body.weights.shape[1]
    assert counted.get_total_flops() < 1.01 * 4 * body.n_vertices * 2 * (shape + skin)


def test_published_layout_is_read_without_its_dictionaries(licensed, licensed_arrays):
    assert licensed.name == "SMPLX_MALE" and licensed.posedirs is not None
    np.testing.assert_allclose(licensed.shapedirs, licensed_arrays["shapedirs"][..., :10], atol=1e-7)
    np.testing.assert_allclose(licensed.exprdirs, licensed_arrays["shapedirs"][..., 300:310], atol=1e-7)


def test_a_folder_gives_the_file_of_the_gender(licensed_file):
    assert load_body(licensed_file.parent, gender="male").name == "SMPLX_MALE"
    with pytest.raises(InputError, match="SMPLX_FEMALE.npz"):
        load_body(licensed_file.parent, gender="female")


def test_free_body_given_by_path_is_the_free_body(body):
    again = load_body(FREE_BODY)
    assert again.sha256 == body.sha256 and again.posedirs is None
    torch.testing.assert_close(again.v_template, body.v_template)


class Trap:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def small(arrays, **changes):
    """Few directions and no correctives' bulk: quick to write. A change of None drops the array."""
    reduced = arrays | {"shapedirs": arrays["shapedirs"][..., :20]} | changes
    return {k: v for k, v in reduced.items() if v is not None}


def test_no_pickle_is_opened(licensed_arrays, tmp_path):
    touched = tmp_path / "touched"
    trap = np.array(Trap(touched), dtype=object)
    hidden = tmp_path / "SMPLX_NEUTRAL.npz"
    np.savez(hidden, **small(licensed_arrays, v_template=trap))
    pickled = tmp_path / "SMPLX_NEUTRAL.pkl"
    pickled.write_bytes(pickle.dumps(Trap(touched)))
    disguised = tmp_path / "SMPLX_FEMALE.npz"
    disguised.write_bytes(pickle.dumps(Trap(touched)))
    for path, word in ((hidden, "plain numeric"), (pickled, "pickle"), (disguised, "archive")):
        with pytest.raises(InputError, match=word):
            load_body(path)
    beside = tmp_path / "extra.npz"
    np.savez(beside, **small(licensed_arrays, joint2num=trap))
    load_body(beside)
    assert not touched.exists()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"weights": np.ones((6890, 24)) / 24}, "SMPL model .24 joints"),
        ({"weights": np.ones((6890, 52)) / 52}, "SMPL-H model .52 joints"),
        ({"weights": np.ones((778, 16)) / 16}, "MANO model .16 joints"),
        ({"weights": np.ones((5023, 5)) / 5}, "FLAME model .5 joints"),
        ({"lmk_faces_idx": None, "hands_meanl": None}, "lacks hands_meanl, lmk_faces_idx"),
        ({"f": np.full((5, 3), 10**6)}, "f points outside"),
        ({"f": np.zeros((0, 3), int)}, "f has no face"),
        ({"v_template": np.array("x")}, "v_template is"),
        ({"hands_meanl": np.zeros(12)}, "hands_meanl has shape .12,."),
        ({"kintree_table": np.zeros((2, 55), np.int64)}, "kintree_table describes another tree"),
        ({"hands_meanr": np.full(45, np.nan)}, "hands_meanr holds values that are not finite"),
    ],
)
def test_wrong_files_are_named_with_their_fault(licensed_arrays, tmp_path, changes, words):
    path = tmp_path / "SMPLX_NEUTRAL.npz"
    np.savez(path, **small(licensed_arrays, **changes))
    with pytest.raises(InputError, match=words) as error:
        load_body(path)
    assert str(path) in str(error.value) and "Download" in str(error.value)


def test_missing_files_and_genders(tmp_path):
    with pytest.raises(InputError, match="no body model at"):
        load_body(tmp_path / "none.npz")
    with pytest.raises(InputError, match="gender-neutral"):
        load_body(gender="female")
    with pytest.raises(InputError, match="Unknown gender 'x'"):
        load_body(gender="x")
