"""Keypoints of the user's, to which bodies are fitted, and a network that looks whether people are where these are."""

from collections.abc import Iterator, Sequence

from model.people.given import GivenBoxes
from model.people.records import Box, Picture
from pipeline.misplaced import PICTURES, Look, told_of_most
from pipeline.records import View
from pipeline.skeletons import JOINT_SETS
from pipeline.witness import Witness, judge_view


class Watched:
    """The same boxes. A person is looked at in the first three pictures, and then ever more seldom, since a video goes on for long."""

    def __init__(self, given: GivenBoxes, witness: Witness):
        self.given, self.witness = given, witness
        self.pictures = 0
        self.looks: list[Look] = []

    def __call__(self, picture: Picture) -> list[Box]:
        boxes = self.given(picture)
        if boxes:
            if self.pictures & (self.pictures - 1) == 0 and len(self.looks) < PICTURES:
                self.looks.append(self._look(picture, boxes[0]))
            self.pictures += 1
        return boxes

    def _look(self, picture: Picture, box: Box) -> Look:
        keypoints = box.keypoints
        assert keypoints is not None  # as of all boxes of `read_keypoints`
        view = View(picture.name, "", picture.camera, picture.name, box.box, keypoints.points, keypoints.confidence)
        names: Sequence[str] = JOINT_SETS[keypoints.joint_set].names
        return Look(picture.name, "", judge_view(picture.pixels, view, names, self.witness))

    def remarks(self) -> Iterator[str]:
        """What of the file was not used, and what is wrong with it."""
        yield from self.given.remarks()
        told = told_of_most(self.looks)
        if told is not None:
            yield f"{self.given.path}: {told}. The people predicted follow these keypoints."
