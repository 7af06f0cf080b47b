"""What a dataset on disk holds, before hours are spent on it: counts, gaps, and whether joints, boxes and cameras fit
together."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.misplaced import misplaced
from pipeline.moments import Films, other_moments
from pipeline.outputs import check_output
from pipeline.plausible import doubtful_cameras, few_joints
from pipeline.plausible_pictures import odd_picture
from pipeline.records import SPLITS, Instant, Reject
from pipeline.sources.base import MISSING_IMAGE, Found, Implausible, ReadReport, Source
from pipeline.sources.contact_sheet import PICTURES, write_contact_sheet
from pipeline.witness import Witness

# Views whose image is decoded and whose joints, box and camera are compared.
LOOKED_AT = 64


@dataclass
class Counts:
    """Of one subject: annotated instants and views, and how many views are left after sampling."""

    instants: int = 0
    views: int = 0
    sampled: int = 0


@dataclass
class Few:
    """Some of a stream of instants, evenly: every 2^k-th, so that at most `most` are held."""

    most: int
    kept: list[Instant] = field(default_factory=list)
    stride: int = 1
    count: int = 0

    def add(self, instant: Instant) -> None:
        """Keeps the instant when it is its turn, and lets go of every second one when there are too many."""
        if self.count % self.stride == 0:
            self.kept.append(instant)
            if len(self.kept) > self.most:
                self.kept, self.stride = self.kept[::2], 2 * self.stride
        self.count += 1


@dataclass
class Survey:
    """What was found. subjects: by name, "" where the source knows none. sampled_instants: after sampling. by_split:
    sampled views. cameras: sampled views by (split, camera). joint_sets: names of the sets that occur.
    too_few: why instants cannot be fitted, and how many. looked_at: sampled instants, evenly over the source, for a
    closer look. odd: some of those that are left out because nobody can be so. report: what was read beside the
    instants. films: of a source that has such. unreadable: parts of the source that could not be read to their end, and why."""

    subjects: dict[str, Counts] = field(default_factory=dict)
    sampled_instants: int = 0
    by_split: Counter = field(default_factory=Counter)
    cameras: Counter = field(default_factory=Counter)
    joint_sets: set[str] = field(default_factory=set)
    too_few: Counter = field(default_factory=Counter)
    looked_at: "Few" = field(default_factory=lambda: Few(LOOKED_AT))
    odd: "Few" = field(default_factory=lambda: Few(PICTURES))
    report: ReadReport = field(default_factory=ReadReport)
    films: Films = field(default_factory=Films)
    unreadable: dict[str, InputError] = field(default_factory=dict)


def check_source(source: Source, picture: Path | None = None, witness: Witness | None = None) -> dict:
    """The report of `nvf-cli check-data`, JSON-able. picture: where a contact sheet is written. witness: who looks
    whether people are where they should be. Raises InputError where no part of the source can be read."""
    check_output(picture, (".png", ".jpg", ".jpeg"))
    started = time.perf_counter()
    survey = take_survey(source)
    groups = set(survey.subjects) - set(survey.unreadable)
    findings = source.findings(Found(groups, survey.by_split, survey.cameras))
    rejects = survey.report.rejects
    problems = _part_problems(survey) + _reject_problems(rejects) + findings.problems + survey.report.doubts
    problems += look_closer(source, survey.looked_at.kept)
    if witness is not None:
        seen = misplaced(source.root, survey.looked_at.kept, witness, survey.report.refutable)
        problems += [problem for problem in seen if "cannot be used" not in problem]  # which `look_closer` tells too
        problems += other_moments(source.root, survey.films, witness)
    else:
        problems += survey.report.refutable
    if survey.sampled_instants <= survey.too_few.total():
        problems.insert(0, "nothing is left to use")
    drawn = picture is not None and bool(survey.looked_at.count + survey.odd.count)
    if picture is not None and drawn:
        try:
            write_contact_sheet(picture, source.root, survey.looked_at.kept, survey.odd.kept)
        except InputError as error:
            drawn = False
            problems.append(f"the picture is not written: {error}")
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
        "notices": source.notices() + findings.notices + _notice_few(survey.too_few),
        "problems": problems,
        "picture": str(picture) if drawn else None,
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
    survey = Survey()
    for item in source.items(survey.unreadable):
        if not isinstance(item, Instant):
            survey.report.add(item)
            if isinstance(item, Implausible):
                survey.odd.add(item.instant)
            continue
        survey.looked_at.add(item)
        survey.films.add(item, source.film_of(item))
        survey.sampled_instants += 1
        survey.by_split[item.split] += len(item.views)
        survey.joint_sets.add(item.joint_set)
        reason = few_joints(item)
        if reason is not None:
            survey.too_few[reason] += 1
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


def _notice_few(too_few: Counter) -> list[str]:
    """What a fit will leave out, though nothing is wrong with it."""
    if not too_few:
        return []
    listed = ", ".join(f"{count} with {reason}" for reason, count in too_few.most_common(3))
    return [f"{too_few.total()} instants cannot be fitted and will be left out: {listed}."]


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
    """Decodes one image of each instant and looks at the cameras of all its views; problems, each told once."""
    found: dict[str, list[str]] = {}
    for k, instant in enumerate(instants):
        view = instant.views[k % len(instant.views)]
        try:
            image = read_image(source.root, view.image_path, (view.camera.width, view.camera.height))
        except InputError as error:
            found.setdefault(f"an image that was tried cannot be used: {error}", []).append(view.id)
        else:
            if (problem := odd_picture(image, view)) is not None:
                found.setdefault(problem, []).append(view.id)
    seen = [f"{problem} ({len(views)} of the views looked at; first: {views[0]})" for problem, views in found.items()]
    return doubtful_cameras(instants) + seen
