"""MoveNet in torch is held to numbers that TensorFlow.js computed from the published graph (tools/record_movenet.js)."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cli.encoder import command
from model.networks.encoders import movenet_weights
from model.networks.encoders.movenet import WIDTHS, MoveNet, PoseMaps, decode_keypoints
from model.networks.encoders.movenet_weights import (
    asset_path,
    build_assets,
    graph_names,
    provenance,
    read_weights,
    shapes,
)
from model.networks.encoders.tfjs import read_graph
from pipeline.errors import InputError

RECORDED = {
    kind: json.loads((Path(__file__).parent / f"movenet_{kind}.json").read_text()) for kind in ("lightning", "thunder")
}
# The published graph's size of a cell, a part of the picture's side: 1 / 48 as a half, and 1 / 64.
CELL = {"lightning": 0.0208282470703125, "thunder": 0.015625}


def loaded(asked: str) -> MoveNet:
    kind, state = read_weights(asset_path(asked))
    network = MoveNet(kind).eval().requires_grad_(False)
    network.load_state_dict(state)
    return network


@pytest.fixture(scope="module")
def network() -> MoveNet:
    return loaded("lightning")


def picture(side: int) -> torch.Tensor:
    """(1, 3, side, side) in [-1, 1]: the image that the recording made up."""
    y, x = np.mgrid[0:side, 0:side]
    from_middle = (x - side // 2) ** 2 + (y - side // 2) ** 2
    pixels = np.stack([(7 * x + 3 * y) % 256, (x * x // 16 + 5 * y) % 256, from_middle // 40 % 256])
    return torch.from_numpy(pixels / 127.5 - 1).float()[None]


@pytest.mark.parametrize("kind", list(RECORDED))
def test_every_stage_and_head_is_that_of_the_published_graph(kind):
    network, recorded = loaded(kind), RECORDED[kind]
    image = picture(recorded["side"])
    stages = network.backbone(image)
    ours = {f"stage{k}": stages[k] for k in range(1, 6)}
    ours |= dict(zip(("sixteenth", "eighth", "quarter"), network.pyramid(stages), strict=True))
    ours |= network(image)._asdict()
    assert set(ours) | {"keypoints"} == set(recorded["maps"])
    for name, value in ours.items():
        said = recorded["maps"][name]
        assert [1, *value.shape[2:], value.shape[1]] == said["shape"], name
        samples = value.permute(0, 2, 3, 1).flatten()[:: recorded["every"]].numpy()
        largest = np.abs(said["values"]).max()
        np.testing.assert_allclose(samples, said["values"], rtol=0, atol=5e-5 * largest, err_msg=name)


@pytest.mark.parametrize("kind", list(RECORDED))
def test_keypoints_are_those_of_the_published_graph(kind):
    xy, score = decode_keypoints(loaded(kind)(picture(RECORDED[kind]["side"])))
    y, x, s = np.array(RECORDED[kind]["maps"]["keypoints"]["values"]).reshape(17, 3).T
    np.testing.assert_allclose(xy[0], np.stack([x, y], -1) / CELL[kind] * 4 - 0.5, atol=1e-3)
    np.testing.assert_allclose(score[0], s, atol=1e-5)


def test_keypoints_are_read_for_each_person_of_a_batch_and_near_its_centre():
    """Two crops of 12 x 16 cells; the heatmaps have a twin far from the person that is a little brighter."""
    h, w = 12, 16
    heatmap, centre = torch.full((2, 17, h, w), -6.0), torch.full((2, 1, h, w), -6.0)
    regression, offset = torch.zeros(2, 34, h, w), torch.zeros(2, 34, h, w)
    for row, (y, x) in enumerate([(5, 8), (7, 4)]):
        centre[row, 0, y, x] = 2.0
        regression[row, 0::2, y, x], regression[row, 1::2, y, x] = 1.2, -0.8  # keypoints lie about (y + 1, x - 1)
        heatmap[row, :, y + 1, x - 1], heatmap[row, :, 0, 15] = 1.0, 1.5
        offset[row, 0::2, y + 1, x - 1], offset[row, 1::2, y + 1, x - 1] = 0.25, 0.5
    xy, score = decode_keypoints(PoseMaps(heatmap, centre, regression, offset))
    want = torch.tensor([[7.5, 6.25], [3.5, 8.25]]) * 4 - 0.5
    torch.testing.assert_close(xy, want[:, None].expand(-1, 17, -1))
    torch.testing.assert_close(score, torch.full((2, 17), 1.0).sigmoid())


@pytest.mark.parametrize("side", [32, 96, 224])
def test_any_side_that_divides_by_32_gives_maps_at_the_strides(network, side):
    stages = network.backbone(picture(side))
    assert [side // stage.shape[-1] for stage in stages] == [2, 4, 8, 16, 16, 32]
    assert [stage.shape[1] for stage in stages] == list(network.backbone.channels)


def test_the_shipped_weights_are_those_of_their_provenance():
    for path in asset_path("lightning").parent.glob("*.safetensors"):
        said = json.loads(provenance(path).read_text())
        assert said["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert said["licence"].startswith("Apache-2.0") and "COCO" in said["trained_on"] and said["origin"]
        assert "Apache License" in (path.parent / "movenet_LICENSE.txt").read_text()


# The builder, on files in the published format that hold our own asset again.


def published(folder: Path, change=lambda model, arrays: None) -> Path:
    """movenet-lightning.json and .bin with the asset's numbers. change: what another version has otherwise."""
    _, state = read_weights(asset_path("lightning"))
    arrays = {}
    for name, source in graph_names("lightning").items():
        value = state[name].half().numpy()
        if value.ndim == 4:
            value = value.transpose(2, 3, 0, 1) if ".depthwise." in name else value.transpose(2, 3, 1, 0)
        arrays[source] = np.ascontiguousarray(value)
    model = {
        "generatedBy": movenet_weights.ORIGIN.format("lightning"),
        "modelTopology": {"node": [{"name": "input", "op": "Placeholder"}]},
    }
    change(model, arrays)
    half = {"dtype": "float16", "original_dtype": "float32"}
    weights = [
        {"name": name, "shape": value.shape, "dtype": "float32", "quantization": half} for name, value in arrays.items()
    ]
    path = folder / "movenet-lightning.json"
    path.write_text(json.dumps(model | {"weightsManifest": [{"paths": ["movenet-lightning.bin"], "weights": weights}]}))
    path.with_suffix(".bin").write_bytes(b"".join(value.tobytes() for value in arrays.values()))
    return path


def test_the_builder_makes_the_shipped_file_again(tmp_path, monkeypatch):
    path = published(tmp_path)
    monkeypatch.setattr(movenet_weights, "KNOWN", {"lightning": read_graph(path).sha256})
    result = CliRunner().invoke(command, ["build", str(path), "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert result.exit_code == 0 and "2317974 parameters" in result.output
    made = tmp_path / "out" / asset_path("lightning").name
    assert made.read_bytes() == asset_path("lightning").read_bytes()
    shipped = json.loads(provenance(asset_path("lightning")).read_text())
    record = json.loads(provenance(made).read_text())
    assert {**record, "read_from": 0} == {**shipped, "read_from": 0}
    licence = "movenet_LICENSE.txt"
    assert (tmp_path / "out" / licence).read_text() == (asset_path("lightning").parent / licence).read_text()
    build_assets([path], tmp_path / "out")  # its own files are replaced


def test_no_file_of_somebody_else_is_replaced(tmp_path, monkeypatch):
    path = published(tmp_path)
    monkeypatch.setattr(movenet_weights, "KNOWN", {"lightning": read_graph(path).sha256})
    for name in (asset_path("lightning").name, "movenet_lightning.provenance.json", "movenet_LICENSE.txt"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(InputError, match=f"{name} exists, and this program did not write it"):
            build_assets([path], tmp_path)
        (tmp_path / name).unlink()
    assert {p.name for p in tmp_path.iterdir()} == {"movenet-lightning.json", "movenet-lightning.bin"}


STEM = movenet_weights.EXTRACTOR + "model/block_3_expand/Conv2D_weights"


@pytest.mark.parametrize(
    "change, said",
    [
        (
            lambda model, arrays: model.update(generatedBy="https://tfhub.dev/x/5"),
            "it is from https://tfhub.dev/x/5, not from",
        ),
        (lambda model, arrays: arrays.pop(STEM), f"{STEM} is missing"),
        (
            lambda model, arrays: arrays.update({STEM: arrays[STEM][..., :100]}),
            r"is \[1, 1, 24, 100\], not \[1, 1, 24, 144\]",
        ),
        (lambda model, arrays: arrays.update({STEM: arrays[STEM] + 1}), "movenet-lightning.bin has the checksum"),
    ],
)
def test_another_version_is_named_with_what_changed(tmp_path, change, said):
    path = published(tmp_path, change)
    with pytest.raises(InputError, match="another version of MoveNet lightning.*" + said + ".*npm pack"):
        build_assets([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_network_is_refused_by_what_it_says_it_is(tmp_path):
    def change(model, arrays):
        arrays.clear()
        model["generatedBy"] = "https://tfhub.dev/y/1"

    with pytest.raises(InputError, match="is not MoveNet lightning or thunder.*tfhub.dev/y/1"):
        build_assets([published(tmp_path, change)], tmp_path / "out")


def test_files_that_are_no_weights_of_movenet_are_refused(tmp_path):
    missing, text = tmp_path / "none.safetensors", tmp_path / "text.safetensors"
    text.write_text("hello")
    for path, said in ((missing, "cannot be read"), (text, "no safetensors file")):
        with pytest.raises(InputError, match=f"{path.name} .*{said}.*encoder build"):
            read_weights(path)
    other = tmp_path / "other.safetensors"
    other.write_bytes(movenet_weights.save({"a": torch.zeros(2)}))
    with pytest.raises(InputError, match="does not hold the weights of MoveNet lightning or thunder"):
        read_weights(other)


def test_both_networks_have_a_name_in_the_graph_for_every_tensor():
    for kind in WIDTHS:
        found = graph_names(kind)
        assert set(found) == set(shapes(kind)) and len(set(found.values())) == len(found)
