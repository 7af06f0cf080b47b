"""What a resume compares is all of the settings; runs of the first release are understood."""

import copy
import json
from dataclasses import fields, is_dataclass, make_dataclass, replace
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.fit import FitSettings
from pipeline.preprocess.description import as_described_now, describe, flatten, refuse_changes
from pipeline.preprocess.settings import PreprocessSettings, Request
from tests.pipeline.run_fakes import SETTINGS, body_once
from tests.pipeline.shard_fakes import make_record

# The description of a run of the first release (commit 5503714), made with `--crop-px 64 --pool 600`.
FIRST_RELEASE = json.loads("""{"source": "human36m", "options": {}, "limit": 3, "body": {"name": "free body", "sha256":
"00b1500baae71477f5e841d5c0c89510b3257985a3b921003ab6f08fe36bef50"}, "joint_set": "human36m_17", "joint_regressor": null, "crop":
{"crop_px": 64, "size": 80, "jpeg_quality": 90}, "fit": {"prior": "anatomical", "prior_file": null, "noise_2d": 0.004,
"least_noise_px": 1.0, "noise_3d": 0.004, "robust": 10.0, "hands": false, "face": false, "interpenetration": false, "min_joints":
6, "min_confidence": 0.05, "valid_error_mm": 25.0, "valid_reprojection": 0.046875, "batch": 128, "shape_frames": 48,
"body_height": 1.7, "device": "cpu"}, "sampling": {"pool": 600, "widths": [0.01, 0.05], "near": [0.35, 0.25], "ball": 0.1,
"ball_margin": 0.1, "depth": 1.5, "inside_share": null, "voters": 64, "voter_band": 0.05}, "fits_from": null, "seed": 0,
"shard_instants": 64, "offsets": "voters", "sdf": {"backend": "pysdf+libigl", "sign_rule": "winding number > 0.5"}}""")


def request(settings=SETTINGS, **changes) -> Request:
    return Request("fake", Path("data"), Path("out"), settings=settings, **changes)


def refused(before: Request, after: Request) -> str:
    """The message with which a run of `before` refuses to go on as `after`."""
    standing = make_record([], config=describe(before, body_once()))
    with pytest.raises(InputError) as told:
        refuse_changes(Path("out"), standing, describe(after, body_once()), {}, None, append=False)
    return str(told.value)


def leaves(record, path=()):
    """Every field of nested settings, as the names that lead to it."""
    for field in fields(record):
        value = getattr(record, field.name)
        yield from leaves(value, (*path, field.name)) if is_dataclass(value) else [(*path, field.name)]


def changed(record, path, value):
    """A copy with one field set, whether or not the settings would take the value."""
    new = copy.copy(record)
    inner = value if len(path) == 1 else changed(getattr(record, path[0]), path[1:], value)
    object.__setattr__(new, path[0], inner)
    return new


ALL = list(leaves(PreprocessSettings()))


def test_there_are_nested_settings_to_forget():
    assert ("fit", "noise_2d") in ALL and ("sampling", "pool") in ALL and ("margin",) in ALL


@pytest.mark.parametrize("path", ALL, ids=".".join)
def test_no_setting_can_be_changed_on_the_way(path):
    value = 1.5 if path == ("margin",) else 48 if path == ("crop_px",) else "other"
    assert f"{'.'.join(path)}: " in refused(request(), request(changed(SETTINGS, path, value)))


def test_a_new_setting_is_compared_without_a_line_of_code():
    longer = make_dataclass("Longer", [("sharpness", float, 0.5)], bases=(FitSettings,), frozen=True)
    now = replace(SETTINGS, fit=longer())
    assert "fit.sharpness: 0.5 -> 0.7" in refused(request(now), request(replace(SETTINGS, fit=longer(sharpness=0.7))))
    assert "fit.sharpness: None -> 0.5" in refused(request(), request(now)), "a version that did not know it"


@pytest.mark.parametrize(
    "change, told",
    [
        ({"options": {"every_test": 0}}, "options.every_test: None -> 0"),
        ({"limit": 3}, "limit: None -> 3"),
        ({"source": "coco"}, "source: fake -> coco"),
    ],
)
def test_what_else_decides_the_content_is_compared(change, told):
    assert told in refused(request(), replace(request(), **change))


def test_a_run_of_the_first_release_goes_on():
    """With its own prior, which `--prior anatomical` names."""
    fit = FitSettings(prior="anatomical")
    settings = PreprocessSettings(fit=fit, crop_px=64, sampling=replace(PreprocessSettings().sampling, pool=600))
    now = flatten(describe(request(settings, limit=3), body_once()))
    assert as_described_now(FIRST_RELEASE) == now | {"source": "human36m"}


def test_a_setting_that_is_gone_is_named_where_it_was_used():
    old = copy.deepcopy(FIRST_RELEASE)
    old["sampling"]["inside_share"] = 0.5
    assert as_described_now(old)["sampling.inside_share"] == 0.5
