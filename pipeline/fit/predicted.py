"""Bodies that `nvf-cli predict` found, as the fits of a dataset. A network has seen the pictures; fits of keypoints see them alone."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np

from pipeline.body.model import BodyModel
from pipeline.boxes import overlap, tight
from pipeline.fit.settings import FitSettings
from pipeline.fit.supplied import supplied_fit
from pipeline.images import UPRIGHT
from pipeline.records import BodyFit, BodyParameters, Camera, Instant, Reject, View

# Of a person's box in common with the annotated one, and how far the cameras may be apart, parts of the focal length.
SAME_PERSON, SAME_CAMERA = 0.5, 0.01


@dataclass(frozen=True)
class PredictedBody:
    """image: the picture's path as predict was given it; of a frame "FILE#frame=N". box: (4,) x, y, width, height, pixels.
    camera: of the picture, turned upright. parameters: in its axes, of the free body. doubts: what predict holds against it."""

    image: str
    box: np.ndarray
    camera: Camera
    parameters: BodyParameters
    doubts: str = ""


class PredictedBodies:
    """path: of the file that they are from. taken: who was taken by an instant so far; nobody is by two."""

    def __init__(self, path: Path, people: Iterable[PredictedBody], images: Iterable[str] = ()):
        """images: of all pictures that predict was given, those with nobody in them too."""
        self.path, self.taken = path, set[int]()
        self._people: dict[str, list[PredictedBody]] = defaultdict(list)
        for person in people:
            self._people[person.image].append(person)
        self._named: dict[str, list[str]] = defaultdict(list)
        for image in {*images, *self._people}:
            self._named[PurePath(image).name].append(image)

    def counts(self) -> dict[str, int]:
        """How many people there are, how many were taken, and how many of those predict itself doubts."""
        everybody = [person for people in self._people.values() for person in people]
        taken = [person for person in everybody if id(person) in self.taken]
        return {"found": len(everybody), "taken": len(taken), "doubtful": sum(bool(person.doubts) for person in taken)}

    def fits(self, instants: Sequence[Instant], body: BodyModel, settings: FitSettings) -> list[BodyFit | Reject]:
        """One result an instant, in order; errors and thresholds are those of the run's own fits. Rows that nobody was predicted for
        are rejects. Whose boxes agree best find each other first."""
        found = [self._of(instant) for instant in instants]
        pairs = [(overlaps, row, person) for row, people in enumerate(found) for overlaps, person in people or ()]
        results: dict[int, BodyFit | Reject] = {}
        for _, row, person in sorted(pairs, key=lambda pair: (-pair[0], pair[1])):
            if row not in results and id(person) not in self.taken:
                results[row] = self._fit(instants[row], person, body, settings)
        return [
            results.get(row) or Reject(one.id, "fit", self._why(one, found[row])) for row, one in enumerate(instants)
        ]

    def _fit(self, instant: Instant, person: PredictedBody, body: BodyModel, settings: FitSettings) -> BodyFit | Reject:
        problem = other_camera(instant.views[0].camera, person.camera)
        if problem:
            return Reject(instant.id, "fit", problem)
        given = replace(instant, supplied=person.parameters, supplied_in_camera=True, supplied_body=body.sha256)
        fit = supplied_fit(given, body, None, settings)
        if isinstance(fit, BodyFit):
            self.taken.add(id(person))
        return fit

    def _of(self, instant: Instant) -> list[tuple[float, PredictedBody]] | None:
        """Who an instant may be, and how well their boxes agree; None where predict has not seen its picture."""
        if len(instant.views) != 1:
            return None
        view = instant.views[0]
        images = self._images(view)
        if len(images) != 1:
            return None
        agree = [(_agreement(person.box, view), person) for person in self._people.get(images[0], ())]
        return [pair for pair in agree if pair[0] >= SAME_PERSON]

    def _images(self, view: View) -> list[str]:
        """The pictures that may be the view's: one path ends with the other."""
        own = PurePath(view.image_path.removesuffix(UPRIGHT)).parts
        named = self._named.get(own[-1], [])
        ends = [image for image in named if PurePath(image).parts[-len(own) :] == own]
        return ends or [image for image in named if own[-len(PurePath(image).parts) :] == PurePath(image).parts]

    def _why(self, instant: Instant, people: list[tuple[float, PredictedBody]] | None) -> str:
        """Why nobody is an instant."""
        if len(instant.views) != 1:
            return "several cameras see the person, and predict looks at one picture at a time; leave out --people"
        if people is None:
            several = len(self._images(instant.views[0])) > 1
            return (
                f"{self.path} has several pictures of that path; give predict the dataset's own folder"
                if several
                else f"{self.path} is not of the picture; give it to predict"
            )
        if people:
            return f"who is there in {self.path} is another person of the dataset already"
        return f"nobody in {self.path} is where the person is; give predict the dataset's boxes, with --boxes, or its --keypoints"


def _agreement(box: np.ndarray, view: View) -> float:
    """Of a predicted box with the annotated one, or with that of the keypoints, which predict may have been given."""
    seen = view.joints_2d[view.confidence > 0]
    return max(overlap(box, view.box), overlap(box, tight(seen)) if len(seen) else 0.0)


def other_camera(own: Camera, theirs: Camera) -> str:
    """What tells the dataset's camera of a picture from the one that predict took; "" where nothing does."""
    if (own.width, own.height) != (theirs.width, theirs.height):
        return (
            f"predict saw a picture of {theirs.width} x {theirs.height} pixels and the dataset has {own.width} x {own.height}; "
            "is it turned, or another?"
        )
    if own.distortion.any():
        return "the dataset's lens is distorted, and predict knows of no distortion; leave out --people"
    if not np.allclose(own.K, theirs.K, rtol=0, atol=SAME_CAMERA * own.K[0, 0]):
        told = [f"f {K[0, 0]:.0f}, {K[1, 1]:.0f}, centre {K[0, 2]:.0f}, {K[1, 2]:.0f}" for K in (theirs.K, own.K)]
        return f"predict took a camera of {told[0]} px, and the dataset has {told[1]}; give both the same --focal"
    return ""
