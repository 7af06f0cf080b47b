"""`fit` and `preprocess` make the same of the same data, however much of it cannot be fitted."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.fit_persons import make_persons
from pipeline import fit_source as fitting
from pipeline.fit import FitSettings
from pipeline.fit.fits_file import read_fits
from pipeline.fit.shapes import shape_frames
from pipeline.fit_source import fit_source
from pipeline.preprocess.plan import solve_betas
from pipeline.records import BodyParameters
from pipeline.sources.base import Source

SETTINGS = FitSettings(shape_frames=4)


class Listed(Source):
    """Instants that are in memory."""

    name = "listed"

    def __init__(self, root, instants):
        self.root, self.listed = root, instants

    def parts(self):
        return {"all": iter(self.listed)}


@pytest.fixture(scope="module")
def instants(free_body):
    """Twelve moments of two subjects, and so many beside each that cannot be fitted or are of another kind."""
    people = make_persons(free_body, 12, 4, "human36m_17", subjects=2, noise_3d=0.02).instants
    found = []
    for k, instant in enumerate(people):
        broken = replace(instant, joints_3d=instant.joints_3d * np.nan)
        flat, nobody = replace(instant, joints_3d=None), replace(instant, subject=None)
        found += [[broken, instant], [instant, broken, broken], [flat, instant, nobody]][k % 3]
    return [numbered(instant, k) for k, instant in enumerate(found)]


def numbered(instant, k):
    views = tuple(replace(view, id=f"{k:03d}/{j}") for j, view in enumerate(instant.views))
    return replace(instant, id=f"{k:03d}", views=views, split="train")


def usable(instant):
    return instant.subject is not None and instant.joints_3d is not None and np.isfinite(instant.joints_3d).all()


def shapes_of_preprocess(body, instants):
    request = SimpleNamespace(settings=SimpleNamespace(fit=SETTINGS))
    return solve_betas(request, SimpleNamespace(fits=None, body=body, instants=instants), instants, {})


def test_fit_and_preprocess_solve_the_same_shapes(free_body, instants, tmp_path):
    report = fit_source(Listed(tmp_path, instants), free_body, SETTINGS, tmp_path, limit=1)
    betas = shapes_of_preprocess(free_body, instants)
    assert sorted(betas) == sorted(report["subjects"]) and len(betas) == 2
    for subject, values in betas.items():
        np.testing.assert_allclose(report["subjects"][subject], values, atol=1e-6)
    clean = shapes_of_preprocess(free_body, list(filter(usable, instants)))
    assert clean == betas  # what cannot be fitted takes no other's place


def test_new_fits_never_stand_beside_an_old_report(free_body, instants, tmp_path, monkeypatch):
    for name in ("report.json", "report.html"):
        (tmp_path / name).write_text("{}")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "_write_report", killed)
    with pytest.raises(KeyboardInterrupt):
        fit_source(Listed(tmp_path, instants[1:2]), free_body, SETTINGS, tmp_path, limit=1)
    assert len(read_fits(tmp_path)) == 1 and not list(tmp_path.glob("report.*"))


def test_who_comes_with_some_fits_has_the_same_shape_too(free_body, instants):
    """Frames whose fits are the dataset's own tell of the shape as others do; who has no other needs none."""
    own = BodyParameters(**{name: np.zeros(1) for name in BodyParameters.__dataclass_fields__})
    first = instants[0].subject
    given = [
        replace(one, supplied=own, supplied_body=free_body.sha256) if k % 2 or one.subject == first else one
        for k, one in enumerate(instants)
    ]
    plain, betas = (shapes_of_preprocess(free_body, some) for some in (instants, given))
    (other,) = set(plain) - {first}
    assert list(betas) == [other] and betas[other] == plain[other]


def test_the_frames_that_are_chosen_are_chosen_again():
    rng = np.random.default_rng(0)
    told = [
        None if rng.random() < 0.3 else (f"S{rng.integers(3)}", f"kind {rng.choice(2, p=(0.3, 0.7))}")
        for _ in range(200)
    ]
    chosen = shape_frames(told, 7)
    assert sorted(chosen) == ["S0", "S1", "S2"]
    for subject, frames in chosen.items():
        same = [k for k, one in enumerate(told) if one == (subject, "kind 1")]
        assert len(frames) == 7 and {told[k] for k in frames} == {(subject, "kind 1")}
        assert (frames[0], frames[-1]) == (same[0], same[-1])
    rows = sorted(k for frames in chosen.values() for k in frames)
    again = shape_frames([told[k] for k in rows], 7)
    assert {name: [rows[k] for k in frames] for name, frames in again.items()} == chosen
    assert shape_frames([None, ("S1", 0), ("S1", 0), ("S1", 1)], 48) == {"S1": [1, 2]}
    assert shape_frames([None], 3) == {}
