"""The people of an MSCOCO annotation file: who is one, what their keypoints are called, and whether they make sense."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.plausible_people import odd_boxes, odd_people
from pipeline.skeletons import COCO
from pipeline.sources.joint_names import Placing, place
from pipeline.sources.parsing import array, image_shape, load_json, member, typed

# Names of the category that is people; MSCOCO's has the id 1.
PEOPLE = ("person", "people", "human", "pedestrian")
PERSON_ID = 1


@dataclass(frozen=True)
class Person:
    """One annotation. keypoints: (J, 3) x, y, visibility in the order of the file's joint set, not visible ones zero. box: (4,)
    pixels. size: width and height of the image."""

    key: str
    entry: dict
    file_name: str
    image: int
    size: tuple[int, int]
    keypoints: np.ndarray
    box: np.ndarray


@dataclass(frozen=True)
class AnnotationFile:
    """people: entries sorted by key. images: by id. placing: where the file's keypoints go. category: id -> why annotations of
    it are left out, None for people; other ids are not in the file."""

    path: Path
    images: dict[int, dict]
    people: list[dict]
    placing: Placing
    categories: dict[int, str | None]

    def person(self, key: str, entry: dict) -> Person:
        """InputError for an entry of another layout."""
        path, where = self.path, f"annotations/{entry['id']}"
        image = member(self.images, entry["image_id"], path, "images")
        count = len(self.placing.theirs)
        values = array(member(entry, "keypoints", path, where), (3 * count,), path, f"{where}/keypoints")
        return Person(
            key,
            entry,
            typed(member(image, "file_name", path, "images"), str, path, "images/file_name"),
            entry["image_id"],
            image_shape(image, path, f"images/{image['id']}"),
            self.placing(values.reshape(count, 3)),
            array(member(entry, "bbox", path, where), (4,), path, f"{where}/bbox"),
        )


def read_annotations(path: Path, key: Callable[[dict], str]) -> AnnotationFile:
    """Duplicate ids are an error. key: of an entry, by which people are sorted."""
    data = load_json(path)
    pictures, entries = (typed(member(data, name, path), list, path, name) for name in ("images", "annotations"))
    _check_numbers(pictures, "images", "id", path)
    _check_numbers(entries, "annotations", "image_id", path)
    try:
        images = {image["id"]: image for image in pictures}
        people = sorted(entries, key=key)
        ids = {str(person["id"]) for person in people}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: an image or annotation has no usable id ({error}). It is not in MSCOCO's layout."
        ) from None
    if len(images) != len(pictures) or len(ids) != len(people):
        counts = Counter([f"image {image['id']}" for image in pictures]) + Counter(
            f"annotation {p['id']}" for p in people
        )
        raise InputError(
            f"{path}: the id of {counts.most_common(1)[0][0]} occurs twice. Number each image and annotation once, or fetch the file "
            "again."
        )
    categories = typed(data.get("categories") or [], list, path, "categories")
    return AnnotationFile(path, images, people, placing_of(categories, path), _kinds(categories, path))


def _check_numbers(entries: list, name: str, key: str, path: Path) -> None:
    """Raises InputError for a key that is there and no whole number."""
    odd = [entry[key] for entry in entries if isinstance(entry, dict) and key in entry and type(entry[key]) is not int]
    if odd:
        raise InputError(
            f"{path}: {name}/{key} is {str(odd[0])[:40]!r}, expected a whole number. Write it without quotes or a decimal point."
        )


def _kinds(categories: list, path: Path) -> dict[int, str | None]:
    """Category id -> None for people, else the name of what it is. Without categories 1 is people."""
    kinds = {}
    for entry in categories:
        number = typed(member(entry, "id", path, "categories"), int, path, "categories/id")
        name = str(entry.get("name", "person"))
        kinds[number] = None if name.lower() in PEOPLE else name
    return kinds or {PERSON_ID: None}


def placing_of(categories: list, path: Path) -> Placing:
    """By the names that the category of people gives its keypoints; MSCOCO's own order where it gives none."""
    given = [
        typed(entry["keypoints"], list, path, "categories/keypoints")
        for entry in categories
        if isinstance(entry, dict) and entry.get("keypoints") and str(entry.get("name", "person")).lower() in PEOPLE
    ]
    if any(names != given[0] for names in given):
        raise InputError(
            f"{path} has {len(given)} categories of people with different keypoints; write one file for each of them."
        )
    return place(given[0], f"{path}: categories/keypoints") if given else place(COCO.names, str(path))


def marks_joints(entry: dict) -> bool:
    """Whether any keypoint of an annotation has the visibility 1 or 2, whatever its num_keypoints says."""
    values = entry.get("keypoints")
    return isinstance(values, list) and any(value in (1, 2) for value in values[2::3])


def odd_annotations(people: list[Person]) -> list[str | None]:
    """Why each person's annotation cannot be what it says, None where it can."""
    if not people:
        return []
    keypoints = np.array([person.keypoints for person in people])
    keypoints[~np.isfinite(keypoints)] = 0
    seen = keypoints[..., 2] > 0
    images = {number: k for k, number in enumerate(dict.fromkeys(person.image for person in people))}
    sizes = {person.image: person.size for person in people}
    picture = np.array([images[person.image] for person in people])
    reasons = odd_people(keypoints[..., :2], seen, picture, np.array([sizes[number] for number in images]))
    everyone = odd_boxes(keypoints[..., :2], seen, np.array([person.box for person in people]))
    return [
        _score(person.keypoints[:, 2]) or reason or everyone for person, reason in zip(people, reasons, strict=True)
    ]


def _score(visibility: np.ndarray) -> str | None:
    odd = visibility[np.isfinite(visibility) & ~np.isin(visibility, (0, 1, 2))]
    if not len(odd):
        return None
    if (odd % 1 == 0).all():
        return f"a keypoint's visibility is {odd[0]:.0f}, where MSCOCO has 0 (not labelled), 1 (hidden) or 2 (seen)"
    return (
        f"a keypoint's third number is the score {odd[0]:.4g}, where MSCOCO has the visibility 0, 1 or 2 (the source openpose reads "
        "scores)"
    )
