"""What every source promises, asked of every source in the registry: a new reader adds its sample to SAMPLES."""

import dataclasses
import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cli.check_data import command
from pipeline.errors import InputError
from pipeline.records import SPLITS, Instant, Reject
from pipeline.skeletons import JOINT_SETS
from pipeline.sources import SOURCES, open_source, parse_options
from pipeline.sources import base as sources_base
from tests.pipeline.sources import test_coco, test_multiview, test_openpose, test_threedpw, test_wild


@dataclass(frozen=True)
class Sample:
    """A small dataset. write: makes it in a folder, from the recording of Human3.6M. image: one that the first instant
    shows, named in it. annotation: a file that decides what is read."""

    write: Callable
    image: str
    annotation: str


def write_human36m(root, annotated):
    shutil.copytree(annotated, root, dirs_exist_ok=True)


def write_coco(root, _):
    test_coco.dataset(root, [test_coco.person(k, image) for k, image in ((7, 785), (12, 99), (3, 785))])


def write_threedpw(root, _):
    test_threedpw.dataset(root, {("test", "walk"): test_threedpw.track(), ("train", "arm"): test_threedpw.track(1)})


def write_openpose(root, _):
    for name in "ba":
        test_openpose.picture(root, name, [test_openpose.person(k) for k in range(12)])


def write_multiview(root, _):
    test_multiview.write_keypoints(root)
    test_multiview.write_json(root)


def write_wild(root, _):
    shutil.copytree(test_wild.made(), root, dirs_exist_ok=True)


SAMPLES = {
    "human36m": Sample(
        write_human36m,
        "images/s_01_act_02_subact_01_ca_01/s_01_act_02_subact_01_ca_01_000001.jpg",
        "annotations/Human36M_subject1_data.json",
    ),
    "threedpw": Sample(write_threedpw, "imageFiles/arm/image_00000.jpg", "sequenceFiles/test/walk.pkl"),
    "coco": Sample(write_coco, "val2017/000000000099.jpg", "annotations/person_keypoints_val2017.json"),
    "openpose": Sample(write_openpose, "images/a.jpg", "keypoints/a_keypoints.json"),
    "multiview": Sample(
        write_multiview,
        "images/cam1/cam1_000000000000.jpg",
        "keypoints/cam1/cam1_000000000000_keypoints.json",
    ),
    "wild": Sample(write_wild, "train2017/000000000000.jpg", "annotations/people_3d.h5"),
}


@pytest.fixture(params=SOURCES)
def name(request) -> str:
    return request.param


@pytest.fixture
def root(name, tmp_path, annotated_root) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    SAMPLES[name].write(folder, annotated_root)
    return folder


def exact(value):
    """A record as something that compares."""
    if dataclasses.is_dataclass(value):
        return [exact(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, tuple | list):
        return [exact(item) for item in value]
    return {key: exact(item) for key, item in value.items()} if isinstance(value, dict) else value


def test_ids_ascend_and_views_are_named_after_their_instant(name, root):
    instants, report = open_source(name, root).read()
    names = [instant.id for instant in instants]
    assert names and names == sorted(set(names))
    views = [view.id for instant in instants for view in instant.views]
    assert len(set(views)) == len(views)
    assert all(view.id.startswith(f"{i.id}/") for i in instants for view in i.views)
    assert sum(views for _, views in report.annotated.values()) >= len(views)


def test_instants_are_whole(name, root):
    for instant in open_source(name, root).instants():
        J = len(JOINT_SETS[instant.joint_set])
        assert instant.split in SPLITS and instant.frame >= 0 and instant.views
        assert instant.joints_3d is None or instant.joints_3d.shape == (J, 3) and instant.joints_3d_valid.shape == (J,)
        for view in instant.views:
            assert view.joints_2d.shape == (J, 2) and view.confidence.shape == (J,) and view.box.shape == (4,)
            assert not view.joints_2d[view.confidence == 0].any()
            assert view.camera.width > 0 and view.camera.height > 0 and (root / view.image_path).exists()


def test_reading_twice_gives_the_same_to_the_bit(name, root):
    source = open_source(name, root)
    first, again, other = source.read(), source.read(), open_source(name, root).read()
    assert exact(first) == exact(again) == exact(other)


def test_what_is_left_out_is_counted_and_the_rest_goes_on(name, root):
    before, _ = open_source(name, root).read()
    gone = {view.id for instant in before for view in instant.views if view.image_path == SAMPLES[name].image}
    assert gone
    (root / SAMPLES[name].image).unlink()
    after, report = open_source(name, root).read()
    left = {view.id for instant in after for view in instant.views}
    assert left == {view.id for instant in before for view in instant.views} - gone
    assert report.rejects and all("does not exist" in reject.reason for reject in report.rejects)


def test_the_fingerprint_follows_every_annotation(name, root):
    before = open_source(name, root).fingerprint()
    assert SAMPLES[name].annotation in before and SAMPLES[name].image not in before
    path = root / SAMPLES[name].annotation
    path.write_bytes(path.read_bytes() + b" ")
    after = open_source(name, root).fingerprint()
    assert [key for key in before if before[key] != after[key]] == [SAMPLES[name].annotation]


def test_a_cut_annotation_is_named(name, root):
    path = root / SAMPLES[name].annotation
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=path.name):
        open_source(name, root).read()
    result = CliRunner().invoke(command, [name, str(root), "--json"])
    assert path.name in " ".join(json.loads(result.stdout)["problems"])


def test_an_option_that_it_does_not_have_is_refused_with_the_list(name, root):
    options = importlib.import_module(SOURCES[name]).Options
    known = ", ".join(field.name for field in dataclasses.fields(options))
    for refused in (lambda: open_source(name, root, colour="red"), lambda: parse_options(name, ["colour=red"])):
        with pytest.raises(InputError, match=f"{name} has no option colour; it takes {known}"):
            refused()
    with pytest.raises(InputError, match="write key=value"):
        parse_options(name, [known.split(",")[0]])


def test_options_are_frozen_and_every_default_opens(name, root):
    options = importlib.import_module(SOURCES[name]).Options
    assert options.__dataclass_params__.frozen
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    assert exact(open_source(name, root, **defaults).read()) == exact(open_source(name, root).read())


def test_an_empty_folder_is_refused_with_the_layout(name, tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        open_source(name, tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        open_source(name, tmp_path / "nowhere")


class Twice(sources_base.Source):
    """A source whose people share an id."""

    name = "twice"

    def __init__(self, root, instants):
        super().__init__(root)
        self.given = instants

    def parts(self):
        return {"all": iter(self.given)}


def test_an_id_that_comes_twice_is_a_counted_reject_and_ids_out_of_order_are_our_mistake(root, name):
    first, second, *_ = open_source(name, root).instants()
    instants, report = Twice(root, [first, replace(second, id=first.id), second]).read()
    assert [instant.id for instant in instants] == [first.id, second.id]
    assert report.rejects == [Reject(first.id, "read", "another instant has the same id")]
    with pytest.raises(AssertionError, match="ids must ascend"):
        Twice(root, [second, first]).read()
    with pytest.raises(AssertionError, match="views of"):
        Twice(root, [replace(first, views=first.views + first.views)]).read()


def test_what_is_read_is_never_lost_between_items_and_their_report(name, root):
    source = open_source(name, root)
    items = list(source.items())
    instants, report = source.read()
    assert sum(isinstance(item, Instant) for item in items) == len(instants)
    assert [item for item in items if isinstance(item, Reject)] == report.rejects
