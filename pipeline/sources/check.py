"""What a dataset on disk holds, before hours are spent on it: counts, gaps, and whether joints, boxes and cameras fit
together."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.camera import in_image, project, world_to_camera
from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.outputs import check_output
from pipeline.records import SPLITS, Instant, Reject, View
from pipeline.sources.base import MISSING_IMAGE, Found, ReadReport, Source
from pipeline.sources.contact_sheet import write_contact_sheet

# Views whose image is decoded and whose joints, box and camera are compared.
LOOKED_AT = 64


@dataclass
class Counts:
    """Of one subject: annotated instants and views, and how many views are left after sampling."""

    instants: int = 0
    views: int = 0
    sampled: int = 0


@dataclass
class Survey:
    """What was found. subjects: by name, "" where the source knows none. sampled_instants: after sampling. by_split:
    sampled views. cameras: sampled views by (split, camera). joint_sets: names of the sets that occur. looked_at: sampled
    instants, evenly over the source, for a closer look. report: what was read beside the instants. unreadable: parts of
    the source that could not be read to their end, and why."""

    subjects: dict[str, Counts] = field(default_factory=dict)
    sampled_instants: int = 0
    by_split: Counter = field(default_factory=Counter)
    cameras: Counter = field(default_factory=Counter)
    joint_sets: set[str] = field(default_factory=set)
    looked_at: list[Instant] = field(default_factory=list)
    report: ReadReport = field(default_factory=ReadReport)
    unreadable: dict[str, InputError] = field(default_factory=dict)


def check_source(source: Source, picture: Path | None = None) -> dict:
    """The report of `nvf-cli check-data`, JSON-able. picture: where a contact sheet is written. Raises InputError
    where no part of the source can be read."""
    check_output(picture, (".png", ".jpg", ".jpeg"))
    started = time.perf_counter()
    survey = take_survey(source)
    groups = set(survey.subjects) - set(survey.unreadable)
    findings = source.findings(Found(groups, survey.by_split, survey.cameras))
    rejects = survey.report.rejects
    problems = _part_problems(survey) + _reject_problems(rejects) + findings.problems
    problems += look_closer(source, survey.looked_at)
    if not survey.sampled_instants:
        problems.insert(0, "nothing is left to use")
    if picture is not None and survey.looked_at:
        write_contact_sheet(picture, source.root, survey.looked_at)
    views = sum(c.views for c in survey.subjects.values())
    return {
        "source": source.name,
        "root": str(source.root),
        "recorded": source.recorded,
        "joint_set": ", ".join(sorted(survey.joint_sets)),
        "instants": sum(c.instants for c in survey.subjects.values()),
        "views": views,
        "sampled": sum(survey.by_split.values()),
        "missing_images": sum(reject.reason.endswith(MISSING_IMAGE) for reject in rejects),
        "by_subject": {name: counts.views for name, counts in survey.subjects.items()},
        "by_split": {split: survey.by_split[split] for split in SPLITS if survey.by_split[split]},
        "subjects": {name: vars(counts) for name, counts in survey.subjects.items()},
        "rejects": dict(_reasons(rejects).most_common()),
        "skipped": dict(survey.report.skipped),
        "notices": source.notices() + findings.notices,
        "problems": problems,
        "picture": str(picture) if picture is not None and survey.looked_at else None,
        "seconds": round(time.perf_counter() - started, 3),
    }


def empty_report(source: str, root: Path, problem: str) -> dict:
    """The report on what cannot be read at all."""
    return {
        "source": source,
        "root": str(root),
        "instants": 0,
        "views": 0,
        "sampled": 0,
        "missing_images": 0,
        "by_subject": {},
        "by_split": {},
        "subjects": {},
        "rejects": {},
        "skipped": {},
        "notices": [],
        "problems": [problem],
    }


def take_survey(source: Source) -> Survey:
    """Runs through the source once, keeping every 2^k-th instant so that at most LOOKED_AT are held."""
    survey, stride = Survey(), 1
    for item in source.items(survey.unreadable):
        if not isinstance(item, Instant):
            survey.report.add(item)
            continue
        if survey.sampled_instants % stride == 0:
            survey.looked_at.append(item)
            if len(survey.looked_at) > LOOKED_AT:
                survey.looked_at, stride = survey.looked_at[::2], 2 * stride
        survey.sampled_instants += 1
        survey.by_split[item.split] += len(item.views)
        survey.joint_sets.add(item.joint_set)
        survey.subjects.setdefault(source.group(item), Counts()).sampled += len(item.views)
        for view in item.views:
            survey.cameras[item.split, view.camera_id] += 1
    if survey.unreadable and not survey.sampled_instants and survey.unreadable.keys() == source.parts().keys():
        raise next(iter(survey.unreadable.values()))
    for name, (instants, views) in survey.report.annotated.items():
        counts = survey.subjects.setdefault(name, Counts())
        counts.instants, counts.views = instants, views
    survey.subjects = dict(sorted(survey.subjects.items()))
    return survey


def _part_problems(survey: Survey) -> list[str]:
    """A file that several parts share is told once."""
    names: dict[str, list[str]] = {}
    for name, error in survey.unreadable.items():
        names.setdefault(str(error), []).append(name)
    return [f"{', '.join(parts)} cannot be read: {error}" for error, parts in names.items()]


def _reasons(rejects: list[Reject]) -> Counter:
    """Rejects by reason, without the name of the file in front."""
    return Counter(reject.reason.rsplit(": ", 1)[-1] for reject in rejects)


def _reject_problems(rejects: list[Reject]) -> list[str]:
    problems = []
    for reason, count in _reasons(rejects).most_common():
        first = next(r for r in rejects if r.reason.endswith(reason))
        problems.append(f"{count} left out: {reason} (first: {first.key}, {first.reason})")
    return problems


def look_closer(source: Source, instants: list[Instant]) -> list[str]:
    """Decodes one image of each instant and compares joints, box and camera in all its views; problems, each told
    once."""
    found: dict[str, list[str]] = {}
    for k, instant in enumerate(instants):
        for view in instant.views:
            for problem in view_problems(instant, view):
                found.setdefault(problem, []).append(view.id)
        view = instant.views[k % len(instant.views)]
        try:
            read_image(source.root, view.image_path, (view.camera.width, view.camera.height))
        except InputError as error:
            found.setdefault(f"an image that was tried cannot be used: {error}", []).append(view.id)
    return [f"{problem} ({len(views)} of the views looked at; first: {views[0]})" for problem, views in found.items()]


def view_problems(instant: Instant, view: View) -> list[str]:
    """What does not fit together in a view: signs of wrong units, a transposed rotation, boxes of another image
    size."""
    camera, problems = view.camera, []
    f, c = camera.K[[0, 1], [0, 1]], camera.K[:2, 2]
    side = max(camera.width, camera.height)
    if not (0.2 * side < f.min() and f.max() < 20 * side):
        problems.append("focal length far from the image size: is it in pixels of this image?")
    if not (0 < c[0] < camera.width and 0 < c[1] < camera.height):
        problems.append("principal point outside the image")
    if np.abs(camera.R @ camera.R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(camera.R) < 0:
        problems.append("the camera's R is not a rotation")
    seen = view.confidence > 0
    grown = np.array([*(view.box[:2] - view.box[2:] / 2), *(view.box[:2] + 1.5 * view.box[2:])])
    inside = (view.joints_2d >= grown[:2]).all(1) & (view.joints_2d <= grown[2:]).all(1)
    if seen.any() and (inside & seen).sum() < 0.5 * seen.sum():
        problems.append("most joints lie outside the person's box: cameras, boxes and joints do not belong together")
    if instant.joints_3d is None:
        return problems
    joints = instant.joints_3d[instant.joints_3d_valid]
    span = np.ptp(joints, axis=0).max()
    if not 0.3 < span < 3:
        problems.append(f"a body spans {'less than 0.3' if span <= 0.3 else 'more than 3'} m: are the units right?")
    local = world_to_camera(camera, joints)
    if (local[:, 2] <= 0.1).any():
        problems.append("joints behind the camera: are R and t world -> camera?")
    elif not in_image(project(camera, local), camera.width, camera.height).any():
        problems.append("no joint projects into the image: are R and t world -> camera?")
    return problems
