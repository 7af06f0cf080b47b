"""Fits a whole source: `nvf-cli fit`. Reads, fits and writes block by block, so memory does not grow with the dataset."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.body.model import BodyModel
from pipeline.errors import InputError
from pipeline.fit import fits_file
from pipeline.fit.fits_file import FitsWriter, export_smplifyx
from pipeline.fit.fitter import Fitter, Kind
from pipeline.fit.predicted import PredictedBodies
from pipeline.fit.settings import FitSettings
from pipeline.fit.shapes import shape_frames
from pipeline.look.fit_report import Tally, write_page
from pipeline.misplaced import PICTURES, told_by_pictures
from pipeline.moments import Films
from pipeline.outputs import write_marked
from pipeline.records import BodyFit, Instant, Reject
from pipeline.sources.base import ReadReport, Source
from pipeline.spread import spread_evenly
from pipeline.witness import Witness

# Instants read, fitted and written at a time.
BLOCK = 1024
PERCENTILES = (5, 50, 90, 95, 99)


def fit_source(
    source: Source,
    body: BodyModel,
    settings: FitSettings,
    out: Path,
    limit: int | None = None,
    vertices: bool = False,
    pkl: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    witness: Witness | None = None,
    people: PredictedBodies | None = None,
) -> dict:
    """Writes out/fits.h5, out/report.json and out/report.html; returns the report.

    limit: fit at most this many instants, spread evenly over the source; shapes of known subjects come from all of it. A
    page that cannot be drawn costs the page alone: the report says why under `page_error`. witness: who looks whether people are where
    they should be. people: bodies that are taken in place of fits; nothing is fitted then.
    """
    fitter = Fitter(body, settings)
    read, told, joint_sets = _look_through(source, fitter, witness)
    began = time.perf_counter()
    betas = _shapes(source, fitter, told) if people is None else {}
    shape_seconds = time.perf_counter() - began
    chosen = spread_evenly(len(told), limit or len(told))
    about = {"source": source.name, "joint_set": ", ".join(sorted(joint_sets))}
    fit = partial(fitter.fit, betas=betas) if people is None else partial(people.fits, body=body, settings=settings)
    with _writer(about, body, out, vertices) as writer:
        pkl_folder = out if pkl else None
        tally, rejects = _fit_blocks(source, fit, chosen, writer, pkl_folder, progress)
        rejects = [*read.rejects, *rejects]
        writer.reject(rejects)
    for old in ("report.json", "report.html"):  # of the fits that are replaced
        (out / old).unlink(missing_ok=True)
    (out / f"{fits_file.NAME}.tmp").replace(out / fits_file.NAME)
    report = (
        about
        | summarise(tally, rejects, settings, body, source)
        | {
            "fits_per_second": len(tally.errors_mm) / tally.seconds if tally.seconds else None,
            "seconds": {"fit": tally.seconds, "shapes": shape_seconds},
            "subjects": {name: [float(beta) for beta in shape] for name, shape in betas.items()},
            "doubts": read.doubts,
        }
    )
    if people is not None:
        report["people"] = {"file": str(people.path), **people.counts()}
    return _write_report(out, report, tally, body, source.root)


def _shapes(source: Source, fitter: Fitter, told: list[tuple[str, Kind] | None]) -> dict[str, np.ndarray]:
    """Betas (10,) of the subjects. told: of whose shape every instant tells."""
    of_shapes = {i for frames in shape_frames(told, fitter.settings.shape_frames).values() for i in frames}
    return fitter.solve_shapes(list(_chosen(source, of_shapes)))


def _look_through(
    source: Source, fitter: Fitter, witness: Witness | None
) -> tuple[ReadReport, list[tuple[str, Kind] | None], set[str]]:
    """What is read beside the instants, of whose shape every instant tells, and the joint sets that occur. InputError without an
    instant."""
    read, told, joint_sets, films = ReadReport(), [], set(), Films()
    known: dict[tuple[str, Kind] | None, tuple[str, Kind] | None] = {}  # few are different, and each is kept once
    for item in source.items():
        if isinstance(item, Instant):
            tells = fitter.tells(item)
            told.append(known.setdefault(tells, tells))
            joint_sets.add(item.joint_set)
            if witness is not None:
                films.add(item, source.film_of(item))
        else:
            read.add(item)
    if not told:
        raise InputError(
            f"{source.root} has no instant to fit as {source.name} ({read.commonest()}). "
            f"`nvf-cli check-data {source.name} {source.root}` says what is there."
        )
    few = set(spread_evenly(len(told), PICTURES)) if witness is not None else set()
    read.doubts.extend(told_by_pictures(source.root, list(_chosen(source, few)), films, witness, read.refutable))
    return read, told, joint_sets


def _fit_blocks(
    source: Source,
    fit: Callable[[Sequence[Instant]], list[BodyFit | Reject]],
    chosen: list[int],
    writer: FitsWriter,
    pkl_folder: Path | None,
    progress: Callable[[int, int], None],
) -> tuple[Tally, list[Reject]]:
    """Fits and writes the chosen instants."""
    tally, rejects = Tally(), []
    for block in _blocks(_chosen(source, set(chosen)), BLOCK):
        began = time.perf_counter()
        results = fit(block)
        tally.seconds += time.perf_counter() - began
        rejects += [result for result in results if isinstance(result, Reject)]
        fitted = [(instant, one) for instant, one in zip(block, results, strict=True) if isinstance(one, BodyFit)]
        writer.append([one for _, one in fitted])
        for instant, one in fitted:
            tally.add(instant, one)
            if pkl_folder is not None:
                export_smplifyx(one, instant.views[0].camera.R, instant.views[0].camera.t, pkl_folder)
        tally.has_world |= block[0].has_world
        progress(len(tally.errors_mm) + len(rejects), len(chosen))
    writer.file.attrs["frame"] = "world" if tally.has_world else "camera"
    return tally, rejects


def _write_report(out: Path, report: dict, tally: Tally, body: BodyModel, root: Path) -> dict:
    """The JSON first, then the page; the report with the page's error, if it has one."""
    json_file = out / "report.json"
    write_marked(json_file, json.dumps(report, allow_nan=False).encode())
    try:
        write_page(out / "report.html", report, tally, body, root)
    except Exception as error:  # a drawing library's fault must not look like the fits'
        report = report | {"page_error": f"{type(error).__name__}: {error}"}
        write_marked(json_file, json.dumps(report, allow_nan=False).encode())
    return report


@contextmanager
def _writer(about: dict[str, str], body: BodyModel, out: Path, vertices: bool) -> Iterator[FitsWriter]:
    writer = FitsWriter(out / f"{fits_file.NAME}.tmp", body, about, vertices)
    try:
        yield writer
    finally:
        writer.close()


def summarise(tally: Tally, rejects: list[Reject], settings: FitSettings, body: BodyModel, source: Source) -> dict:
    """The report without its times; JSON-ready."""
    reasons = Counter(f"{reject.stage}: {reject.reason}" for reject in rejects)
    return {
        "root": str(source.root),
        "n": len(tally.errors_mm),
        "valid": tally.valid,
        "converged": tally.converged,
        "ambiguous": tally.ambiguous,
        "rejects": [asdict(reject) for reject in rejects],
        "rejects_by_reason": dict(reasons.most_common()),
        "fit_error_mm": percentiles(tally.errors_mm),
        "reprojection_px": percentiles(tally.reprojection_px),
        "iterations": percentiles(tally.iterations),
        "starts": dict(tally.starts.most_common()),
        "unseen": dict(tally.unseen.most_common()),
        "joints_unseen": dict(tally.joints_unseen.most_common()),
        "body": {"name": body.name, "sha256": body.sha256},
        "joint_regressor": body.joint_regressor_sha256,
        "settings": {
            name: str(value) if isinstance(value, Path) else value for name, value in asdict(settings).items()
        },
    }


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """Mean, percentiles and maximum of the finite values; None without any."""
    finite = np.array([value for value in values if np.isfinite(value)], float)
    if not len(finite):
        return None
    named = {f"p{p}": float(np.percentile(finite, p)) for p in PERCENTILES}
    return {"mean": float(finite.mean()), **named, "max": float(finite.max())}


def _chosen(source: Source, indices: set[int]) -> Iterator[Instant]:
    if not indices:
        return
    for i, instant in enumerate(source.instants()):
        if i in indices:
            yield instant


def _blocks(instants: Iterable[Instant], size: int) -> Iterator[list[Instant]]:
    block = []
    for instant in instants:
        block.append(instant)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block
