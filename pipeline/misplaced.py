"""What is wrong with the pictures of a source as a whole, by the word of a witness (`pipeline.witness`) who looks at some of them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.images import read_image
from pipeline.moments import Films, other_moments
from pipeline.plausible import doubtful_cameras
from pipeline.records import Instant, View
from pipeline.skeletons import JOINT_SETS
from pipeline.spread import spread_evenly
from pipeline.witness import (
    CUT_OUT,
    ELSEWHERE,
    EXCHANGED,
    NOBODY,
    THERE_ALREADY,
    Mistake,
    Witness,
    is_there,
    judge_view,
)

# So many pictures are looked at, and of each camera of a rig so many, but no more than so many in all.
PICTURES, OF_EACH, AT_MOST = 12, 3, 36
# These are told of so many pictures at least, since a witness may err, and people who stand look alike.
OFTEN = 3
RARELY = (ELSEWHERE.kind, CUT_OUT, *(mistake.kind for mistake in list(EXCHANGED)[1:]))
# Of the pictures, the share that must show nobody, and of those of one camera, the share that must be wrong.
MOSTLY = 0.75


@dataclass(frozen=True)
class Look:
    """What the witness says of a view of a camera: THERE_ALREADY, a mistake, None where the picture does not tell."""

    view: str
    camera: str
    found: Mistake | None

    @property
    def wrong(self) -> bool:
        return self.found not in (None, THERE_ALREADY)


def misplaced(root: Path, instants: Sequence[Instant], witness: Witness, refutable: Sequence[str] = ()) -> list[str]:
    """What is wrong with most of the pictures that tell, or with those of a camera, of some that are looked at; and why the first
    picture that cannot be read cannot. refutable: doubts about left and right, told again unless the pictures show people as they are
    marked: networks guess the faces of people whose back is seen.
    """
    looks: list[Look] = []
    unread: list[str] = []
    for instant, view in _looked_at(instants):
        try:
            looks.append(_look(_image(root, view), instant, view, witness))
        except InputError as error:
            unread = unread or [f"a picture that was looked at cannot be used: {error}"]
    most, again = told_of_most(looks), [] if _shown_as_marked(looks) else list(refutable)
    if most is None or ELSEWHERE.kind in most:
        most = most or told_of_some(looks)
        told = list(_told_of_cameras(root, instants, looks, witness)) or ([most] if most else [])
        return [*again, *unread, *told]
    return [*again, *unread, most]


def told_by_pictures(
    root: Path, instants: Sequence[Instant], films: Films, witness: Witness | None, refutable: Sequence[str]
) -> list[str]:
    """What looks wrong with a source whose instants are read: what a witness says of these instants and films, and what odd cameras
    say. Without a witness nobody refutes what is refutable."""
    if witness is None:
        return list(refutable)
    seen = misplaced(root, instants, witness, refutable)
    return [*doubtful_cameras(instants), *seen, *other_moments(root, films, witness)]


def _shown_as_marked(looks: Sequence[Look]) -> bool:
    """Whether several pictures show the person as it is marked, and none with sides exchanged."""
    there = sum(look.found == THERE_ALREADY for look in looks)
    return there >= OFTEN and not any(look.found in EXCHANGED for look in looks)


def _looked_at(instants: Sequence[Instant]) -> Iterator[tuple[Instant, View]]:
    """Evenly over the instants, camera after camera."""
    chosen = [instants[k] for k in spread_evenly(len(instants), PICTURES)]
    most = max((len(instant.views) for instant in chosen), default=0)
    count = max(PICTURES, min(OF_EACH * most, AT_MOST))
    for n in range(min(count, len(chosen) * most)):
        again, k = divmod(n, len(chosen))
        views = chosen[k].views
        if again < len(views):
            yield chosen[k], views[(k + again) % len(views)]


def _image(root: Path, view: View) -> np.ndarray:
    return read_image(root, view.image_path, (view.camera.width, view.camera.height))


def _look(image: np.ndarray, instant: Instant, view: View, witness: Witness) -> Look:
    return Look(view.id, view.camera_id, judge_view(image, view, JOINT_SETS[instant.joint_set].names, witness))


def told_of_most(looks: Sequence[Look]) -> str | None:
    """What is wrong with most of the pictures that tell."""
    empty = [look for look in looks if look.found == NOBODY]
    if len(empty) >= OFTEN and len(empty) > MOSTLY * len(looks):
        seen = f"in {len(empty)} of {len(looks)} pictures a network that sees people sees nobody where the joints are"
        return f"{seen} (first: {empty[0].view})"
    told: dict[str, list[tuple[str, Mistake]]] = defaultdict(list)
    for look in looks:
        if look.found is not None and look.found != NOBODY:
            told[look.found.kind].append((look.view, look.found))
    total = sum(map(len, told.values()))
    kind, views = max(told.items(), key=lambda item: len(item[1]), default=("", []))
    if not kind or 2 * len(views) <= total or (kind in RARELY and len(views) < OFTEN):
        return None
    mistake = Mistake(kind, tuple(np.median([found.numbers for _, found in views], axis=0)))
    return f"in {len(views)} of {total} pictures a network that sees people finds them as if {mistake} (first: {views[0][0]})"


def told_of_some(looks: Sequence[Look]) -> str | None:
    """What is wrong with several pictures alike, where most are right or do not tell. Of moves and sizes that are measured in the
    picture, chance finds one that fits now and then; of the few mistakes that are tried one by one it does not."""
    found = Counter(
        look.found.kind for look in looks if look.found is not None and look.wrong and not look.found.numbers
    )
    kind, count = max(
        ((kind, n) for kind, n in found.items() if kind not in (*RARELY, NOBODY.kind)),
        key=itemgetter(1),
        default=("", 0),
    )
    if count < OFTEN:
        return None
    first = next(look.view for look in looks if look.found is not None and look.found.kind == kind)
    return f"in {count} of {len(looks)} pictures a network that sees people finds them as if {kind} (first: {first})"


# --- one camera among others ------------------------------------------------------------------------------------------


def _told_of_cameras(root: Path, instants: Sequence[Instant], looks: Sequence[Look], witness: Witness) -> Iterator[str]:
    """What is wrong with the pictures of single cameras of a rig, of which more are looked at where most do not show the person."""
    cameras = sorted({look.camera for look in looks})
    for camera in cameras if len(cameras) > 1 else []:
        own = [look for look in looks if look.camera == camera]
        there = sum(look.found == THERE_ALREADY for look in own)
        if len(own) > 1 and 2 * there <= len(own) and (told := _told_of_camera(root, instants, camera, witness)):
            yield told


def _told_of_camera(root: Path, instants: Sequence[Instant], camera: str, witness: Witness) -> str | None:
    own, others = [], defaultdict(list)
    having = [instant for instant in instants if any(view.camera_id == camera for view in instant.views)]
    for instant in (having[k] for k in spread_evenly(len(having), PICTURES)):
        view = next(view for view in instant.views if view.camera_id == camera)
        try:
            image = _image(root, view)
        except InputError:
            continue
        own.append(_look(image, instant, view, witness))
        names = JOINT_SETS[instant.joint_set].names
        for other in (other for other in instant.views if other.camera_id != camera):
            others[other.camera_id].append(is_there(image, other, names, witness))
    there = sum(look.found == THERE_ALREADY for look in own)
    if others and 2 * there <= len(own):
        best = max(others, key=lambda name: sum(others[name]))
        count = sum(others[best])
        if count >= OFTEN and count > MOSTLY * len(others[best]) and count > 2 * there:
            return (
                f"in {count} of {len(own)} pictures of {camera} a network that sees people finds them where {best} sees them: were "
                "the pictures exchanged?"
            )
    wrong, told = [look for look in own if look.wrong], sum(look.found is not None for look in own)
    if len(wrong) < OFTEN or len(wrong) <= MOSTLY * told:
        return None
    usual = told_of_most(wrong)
    return f"of camera {camera}: {usual}" if usual else None
