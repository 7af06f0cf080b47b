"""The plan: which instants land where, what may be continued, and what is refused before long work."""

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.preprocess import disk
from pipeline.preprocess import plan as planning
from pipeline.preprocess.disk import expected_bytes
from pipeline.preprocess.folder import remove_run
from pipeline.preprocess.job_files import decode, encode, read_context
from pipeline.preprocess.plan import lay_out_ids, make_plan
from pipeline.preprocess.settings import PreprocessSettings, Request
from pipeline.records import BodyFit, FitQuality, Instant
from pipeline.sampling import SamplingSettings
from pipeline.shards.run_json import write_run
from pipeline.typed_json import from_plain, to_plain
from tests.pipeline.run_fakes import SETTINGS, FakeSource, body_once, open_fake, write_source


@pytest.fixture(autouse=True)
def fake_source(monkeypatch):
    monkeypatch.setattr(planning, "open_source", open_fake)
    monkeypatch.setattr(planning, "load_body", lambda _: body_once())
    monkeypatch.setattr(planning.Fitter, "solve_shapes", solve_nothing)


def solve_nothing(_self, instants):
    """Betas that tell how many instants they were solved from."""
    return {instants[0].subject: np.full(10, len(instants), float)}


@pytest.fixture
def root(tmp_path):
    return write_source(tmp_path / "data", {"S1": 5, "S8": 1, "S9": 4})


def request(root, settings=SETTINGS, **changes) -> Request:
    return Request("fake", root, root.parent / "out", settings=settings, **changes)


def names(count, subject="S1"):
    return [Instant(f"{subject}/{k:04d}", subject, "walk", k, "human36m_17", ()) for k in range(count)]


def test_plan_covers_every_instant_once_in_order(root):
    plan = make_plan(request(root))
    laid_out = [i for ids in plan.record.layout for i in ids]
    assert laid_out == [instant.id for instant in FakeSource(root).instants()]
    assert [len(ids) for ids in plan.record.layout] == [2, 2, 2, 2, 2]
    assert plan.split_views == {"train": 10, "validation": 2, "test": 8} and plan.views == 20
    assert [task.shard.name for task in plan.tasks] == [f"shard-{k:05d}.h5" for k in range(5)]


@pytest.mark.parametrize("limit, expected", [(1, [0]), (3, [0, 33, 66]), (100, range(100)), (500, range(100))])
def test_limit_is_spread_evenly(root, limit, expected):
    layout = lay_out_ids(request(root, limit=limit), None, names(100))
    assert [i for ids in layout for i in ids] == [f"S1/{k:04d}" for k in expected]


def test_betas_come_from_the_full_list_whatever_the_limit(root):
    assert make_plan(request(root)).record.betas["S1"][0] == 5
    remove_run(root.parent / "out")
    assert make_plan(request(root, limit=2)).record.betas["S1"][0] == 5


def test_an_interrupted_run_keeps_its_layout_and_id(root):
    first, again = make_plan(request(root)).record, make_plan(request(root)).record
    assert first.run_id == again.run_id and first.layout == again.layout


def test_append_adds_subjects_and_moves_nothing(root):
    first = make_plan(request(root)).record
    write_source(root, {"S5": 3})
    with pytest.raises(InputError, match="annotation file S5.txt is new.*--append"):
        make_plan(request(root))
    grown = make_plan(request(root, append=True)).record
    assert grown.layout[:5] == first.layout and grown.run_id == first.run_id
    assert {i[:2] for ids in grown.layout[5:] for i in ids} == {"S5"}
    assert grown.betas.items() >= first.betas.items() and grown.betas["S5"][0] == 3
    assert make_plan(request(root, append=True)).record.layout == grown.layout, "the same command again continues"


def test_append_takes_named_subjects(root):
    make_plan(request(root, subjects=("S1",)))
    grown = make_plan(request(root, subjects=("S9",), append=True)).record
    assert grown.subjects == ("S1", "S9") and {i[:2] for ids in grown.layout for i in ids} == {"S1", "S9"}


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"settings": dataclasses.replace(SETTINGS, crop_px=64)}, r"crop_px: 32 -> 64; size: 40 -> 80"),
        (
            {"settings": dataclasses.replace(SETTINGS, sampling=SamplingSettings(pool=400, voters=6))},
            r"sampling.pool: 300 -> 400",
        ),
        ({"settings": dataclasses.replace(SETTINGS, offsets="dense")}, r"offsets: voters -> dense"),
        ({"limit": 3}, r"limit: None -> 3"),
        ({"subjects": ("S1",)}, r"subjects: all -> \['S1'\]"),
        ({"options": {"final": True}}, r"options.final: None -> True"),
    ],
)
def test_a_changed_setting_is_named(root, changes, told):
    make_plan(request(root))
    with pytest.raises(InputError, match=rf"made otherwise .*{told}.*--overwrite"):
        make_plan(dataclasses.replace(request(root), **changes))


def test_a_run_of_the_first_release_is_continued_and_its_shards_stay(root):
    """It wrote its settings in another form: the run keeps its own words, and so do its shards' headers."""
    out = root.parent / "out"
    record = make_plan(request(root)).record
    config = dict(record.config)
    del config["margin"]
    config["crop"] = {name: config.pop(name) for name in ("crop_px", "size", "jpeg_quality")}
    config["sampling"] = config["sampling"] | {"inside_share": None}
    write_run(out, dataclasses.replace(record, config=config))
    again = make_plan(request(root))
    assert again.record.config == config and again.record.run_id == record.run_id
    assert read_context((out / ".plan" / "context.json").read_text()).header.config == config
    with pytest.raises(InputError, match="crop_px: 32 -> 64"):
        make_plan(request(root, settings=dataclasses.replace(SETTINGS, crop_px=64)))


def test_numbers_that_no_shard_can_hold_are_rejects(root, monkeypatch):
    def numbered(source, parts=FakeSource.parts):
        power = itertools.count(60)
        return {
            name: (dataclasses.replace(instant, frame=2 ** next(power)) for instant in part)
            for name, part in parts(source).items()
        }

    monkeypatch.setattr(FakeSource, "parts", numbered)
    plan = make_plan(request(root))
    assert plan.views == 6 and len(plan.record.rejects) == 7
    assert "number 9223372036854775808 does not fit 64 bits" in plan.record.rejects[0].reason


def test_another_joint_regressor_is_another_run(root, tmp_path):
    make_plan(request(root))
    rows = np.zeros((17, body_once().n_vertices))
    rows[np.arange(17), np.arange(17)] = 1
    np.save(tmp_path / "r.npy", rows)
    with pytest.raises(InputError, match=r"made otherwise \(joint_regressor: None -> [0-9a-f]{64}\)"):
        make_plan(request(root, joint_regressor=tmp_path / "r.npy"))


def test_a_changed_annotation_is_named_also_when_appending(root):
    make_plan(request(root))
    (root / "S1.txt").write_text("4")
    for append in (False, True):
        with pytest.raises(InputError, match="annotation file S1.txt changed"):
            make_plan(request(root, append=append))
    assert make_plan(request(root, overwrite=True)).split_views["train"] == 8


def test_overwrite_removes_the_run_and_nothing_else(root):
    out = root.parent / "out"
    make_plan(request(root))
    for name in ("shard-00000.h5", "shard-00001.h5.ab12.tmp", "notes.txt", "my-shard.h5"):
        (out / name).write_text("x")
    remove_run(out)
    assert sorted(path.name for path in out.iterdir()) == ["my-shard.h5", "notes.txt"]


def test_refusals(root, tmp_path):
    with pytest.raises(InputError, match="nothing to append to"):
        make_plan(request(root, append=True))
    with pytest.raises(InputError, match="give one of them"):
        make_plan(request(root, append=True, overwrite=True))
    (root.parent / "out" / "shard-00000.h5").write_text("")
    with pytest.raises(InputError, match="no run.json that lists them"):
        make_plan(request(root))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used as the output folder"):
        make_plan(dataclasses.replace(request(root), out=tmp_path / "file" / "out"))
    for name in ("S1", "S8", "S9"):
        (root / f"{name}.txt").write_text("0")
    with pytest.raises(InputError, match="has no instant to preprocess as fake.*check-data"):
        make_plan(dataclasses.replace(request(root), out=tmp_path / "new"))


def test_a_disk_too_small_is_refused_with_the_bytes_of_each_choice(root, monkeypatch):
    usage = disk.shutil.disk_usage(root)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage._replace(free=10**6))
    with pytest.raises(InputError, match=r"0.0 GB free; 20 views need about voters .* dense .* derive .* Free"):
        make_plan(request(root))
    assert not list((root.parent / "out").iterdir())
    sizes = expected_bytes(PreprocessSettings(), 312188)
    assert sizes["derive"] < sizes["voters"] < sizes["dense"]


def test_the_crop_keeps_its_centre():
    for crop_px in (32, 33, 127, 128, 224, 256):
        assert (PreprocessSettings(crop_px=crop_px).size - crop_px) % 2 == 0
    assert PreprocessSettings().size == 320
    with pytest.raises(InputError, match="jpeg_quality is 0; choose a value from 1 to 100"):
        PreprocessSettings(jpeg_quality=0)


def test_records_survive_the_job_file_bit_for_bit(root):
    [instant, *_] = FakeSource(root).instants()
    quality = FitQuality(
        float("nan"), np.array([0.5, np.nan]), np.array([0.1, 0.2]), 3, True, "a", float("inf"), True, ("x",)
    )
    fit = BodyFit(instant.id, None, quality)
    again, fit_again = decode(json.loads(json.dumps(encode([instant, fit]))))
    assert_same(instant, again)
    assert_same(fit, fit_again)


def assert_same(a, b):
    assert type(a) is type(b)
    if dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes() and a.shape == b.shape
    else:
        assert a == b or (a != a and b != b)


def test_settings_survive_json():
    settings = dataclasses.replace(SETTINGS, fit=dataclasses.replace(SETTINGS.fit, prior_file=Path("/a/b.pkl")))
    assert from_plain(PreprocessSettings, json.loads(json.dumps(to_plain(settings))), "settings") == settings
