"""Bodies that `nvf-cli predict` found, as the fits of a dataset. A network has seen the pictures; fits of keypoints see them alone."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np

from pipeline.body.model import BodyModel
from pipeline.boxes import overlap
from pipeline.fit.settings import FitSettings
from pipeline.fit.supplied import supplied_fit
from pipeline.records import BodyFit, BodyParameters, Camera, Instant, Reject

# Of a person's box in common with the annotated one, and how far the cameras' focal lengths may be apart.
SAME_PERSON, SAME_FOCAL = 0.5, 0.01


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

    def __init__(self, path: Path, people: Iterable[PredictedBody]):
        self.path, self.taken = path, set[int]()
        self._people: dict[str, list[PredictedBody]] = defaultdict(list)
        for person in people:
            self._people[PurePath(person.image).name].append(person)

    def counts(self) -> dict[str, int]:
        """How many people there are, how many were taken, and how many of those predict itself doubts."""
        everybody = [person for people in self._people.values() for person in people]
        taken = [person for person in everybody if id(person) in self.taken]
        return {"found": len(everybody), "taken": len(taken), "doubtful": sum(bool(person.doubts) for person in taken)}

    def fits(self, instants: Sequence[Instant], body: BodyModel, settings: FitSettings) -> list[BodyFit | Reject]:
        """One result an instant, in order; errors and thresholds are those of the run's own fits. Rows that nobody was predicted for
        are rejects."""
        return [self._fit(instant, body, settings) for instant in instants]

    def _fit(self, instant: Instant, body: BodyModel, settings: FitSettings) -> BodyFit | Reject:
        found = self.of(instant)
        if isinstance(found, str):
            return Reject(instant.id, "fit", found)
        self.taken.add(id(found))
        given = replace(instant, supplied=found.parameters, supplied_in_camera=True, supplied_body=body.sha256)
        return supplied_fit(given, body, None, settings)

    def of(self, instant: Instant) -> PredictedBody | str:
        """Who an instant is, or why nobody is."""
        if len(instant.views) != 1:
            return "several cameras see the person, and predict looks at one picture at a time; leave out --people"
        view = instant.views[0]
        parts = PurePath(view.image_path).parts
        people = [p for p in self._people.get(parts[-1], ()) if PurePath(p.image).parts[-len(parts) :] == parts]
        people = people or self._people.get(parts[-1], [])
        if not people:
            return f"{self.path} has nobody in the picture; give it to predict, with --keypoints or --boxes for people it misses"
        if len({p.image for p in people}) > 1:
            return f"{self.path} has several pictures of that name; run predict on the dataset's own folder"
        best = max(people, key=lambda p: overlap(p.box, view.box))
        if overlap(best.box, view.box) < SAME_PERSON:
            return f"nobody in {self.path} is where the person is; give predict the annotations, with --keypoints or --boxes"
        if id(best) in self.taken:
            return f"the person of {self.path} who is there is another's already; give predict the annotations, with --keypoints"
        sizes = [f"{camera.width} x {camera.height}" for camera in (best.camera, view.camera)]
        if sizes[0] != sizes[1]:
            return f"predict saw a picture of {sizes[0]} pixels and the dataset one of {sizes[1]}; is it turned, or another?"
        own, theirs = view.camera.K[0, 0], best.camera.K[0, 0]
        if abs(theirs / own - 1) > SAME_FOCAL:
            return f"predict took a focal length of {theirs:.0f} px and the dataset has {own:.0f}; give both the same --focal"
        return best
