"""What every reader of a dataset is: parts that yield items, read through one gate that keeps the promises of ids."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.plausible import odd_bones, odd_sides, odd_view
from pipeline.plausible_fits import odd_fit
from pipeline.records import Instant, Reject

if TYPE_CHECKING:
    from pipeline.body.smpl import SmplBodies

# Why a view is rejected when its image file is not there.
MISSING_IMAGE = "the image does not exist"
# A shard keeps frame numbers in 64 bits.
MOST_FRAME = (1 << 63) - 1


@dataclass(frozen=True)
class Skipped:
    """People or views that the dataset's usual filters leave out; nothing is wrong with them."""

    reason: str
    count: int = 1


@dataclass(frozen=True)
class Annotated:
    """How much is annotated under the name of a group (a subject, a file), before sampling. Later ones replace it."""

    group: str
    instants: int
    views: int


@dataclass(frozen=True)
class Doubt:
    """Something that looks wrong with a source as a whole, though nothing is left out for it. refutable: whether somebody who looks at
    the pictures may know better."""

    reason: str
    refutable: bool = False


@dataclass(frozen=True)
class Implausible:
    """A reject of what can be read but cannot be. instant: what the annotation says, for a picture of the mistake."""

    reject: Reject
    instant: Instant


Item = Instant | Reject | Implausible | Skipped | Annotated | Doubt


@dataclass
class ReadReport:
    """What a run through a source found beside its instants.

    rejects: what was left out because something is wrong with it. skipped: how many people or views the usual filters
    leave out, by reason. annotated: (instants, views) of each group before sampling. doubts: what looks wrong as a whole. refutable:
    of those, what somebody who looks at the pictures may refute.
    """

    rejects: list[Reject] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    annotated: dict[str, tuple[int, int]] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    refutable: list[str] = field(default_factory=list)

    def add(self, item: Reject | Implausible | Skipped | Annotated | Doubt) -> None:
        """Counts one item that is no instant."""
        if isinstance(item, Reject):
            self.rejects.append(item)
        elif isinstance(item, Implausible):
            self.rejects.append(item.reject)
        elif isinstance(item, Skipped):
            self.skipped[item.reason] += item.count
        elif isinstance(item, Doubt):
            (self.refutable if item.refutable else self.doubts).append(item.reason)
        else:
            self.annotated[item.group] = item.instants, item.views

    def commonest(self) -> str:
        """The three commonest reasons for leaving something out, for a message."""
        reasons = Counter(reject.reason.rsplit(": ", 1)[-1] for reject in self.rejects) + self.skipped
        listed = "; ".join(f"{count} times: {reason}" for reason, count in reasons.most_common(3))
        return listed or "its annotations are empty"


@dataclass(frozen=True)
class Found:
    """Counts of a run through a source, for `Source.findings`. groups: those that were read to their end. by_split:
    sampled views. cameras: sampled views by (split, camera)."""

    groups: set[str]
    by_split: Counter[str]
    cameras: Counter[tuple[str, str]]


@dataclass(frozen=True)
class Findings:
    """What a reader knows of its own dataset, held against what was found. notices are no fault."""

    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


class Source:
    """One dataset on disk. root: its folder. A reader gives `annotation_files` and `parts`; where it knows more of its
    dataset, also `group`, `notices` and `findings`. Reading changes nothing in it."""

    name: str
    # Whether it is a recorded dataset, whose counts are known, or one made by this project.
    recorded = True

    def __init__(self, root: Path):
        self.root = Path(root)

    def annotation_files(self) -> list[Path]:
        """The files that decide what is read (images not counted), sorted."""
        raise NotImplementedError

    def parts(self) -> dict[str, Iterator[Item]]:
        """Its items in pieces by name (subjects, sequences, files), sampled instants with their split sorted by id:
        where one piece cannot be read, the others can."""
        raise NotImplementedError

    def group(self, instant: Instant) -> str:
        """The name under which `Annotated` counts an instant: its subject where the source knows subjects."""
        return instant.subject or ""

    def film_of(self, instant: Instant) -> tuple[str, int] | None:
        """The film that an instant is of, and its frame there; None where pictures are each of its own."""
        parts = instant.id.split("/")
        for k in reversed(range(len(parts))):
            name = parts[k].rstrip("0123456789")
            if (digits := parts[k][len(name) :]) and int(digits) == instant.frame:
                return "/".join([*parts[:k], f"{name}#", *parts[k + 1 :]]), instant.frame
        return None

    def notices(self) -> list[str]:
        """What a user should know of this folder before it is read; no faults."""
        return []

    def findings(self, found: Found) -> Findings:
        """What the counts say to one who knows the dataset."""
        return Findings()

    def items(self, unreadable: dict[str, InputError] | None = None) -> Iterator[Item]:
        """All items in order. unreadable: takes the parts that cannot be read to their end, and why, and the others
        follow; without it such a part raises its InputError."""
        gate = _Gate(self.name)
        for name, part in self.parts().items():
            try:
                for item in part:
                    if isinstance(item, Instant):
                        yield from gate(item)
                    else:
                        yield item
            except InputError as error:
                if unreadable is None:
                    raise
                unreadable[name] = error

    def instants(self) -> Iterator[Instant]:
        """The instants alone, in order."""
        return (item for item in self.items() if isinstance(item, Instant))

    def read(self) -> tuple[list[Instant], ReadReport]:
        """All instants in order, and what was found beside them."""
        instants, report = [], ReadReport()
        for item in self.items():
            instants.append(item) if isinstance(item, Instant) else report.add(item)
        return instants, report

    def fingerprint(self) -> dict:
        """{relative name: {"size": bytes, "sha256": hex}} of the annotation files."""
        return {
            str(path.relative_to(self.root)) if path.is_relative_to(self.root) else path.name: file_print(path)
            for path in self.annotation_files()
        }


class _Gate:
    """Through which every instant goes. Ids ascend, so they are unique; views are named after their instant; frames are
    numbers that a shard can hold; and people, joints, boxes and cameras are plausible."""

    def __init__(self, source: str):
        self.source, self.last = source, ""

    def __call__(self, instant: Instant) -> Iterator[Instant | Reject | Implausible]:
        if instant.id == self.last:
            yield Reject(instant.id, "read", "another instant has the same id")
            return
        self._keeps_promises(instant)
        self.last = instant.id
        if not -MOST_FRAME <= instant.frame <= MOST_FRAME:
            yield Reject(instant.id, "read", f"the frame or image number {instant.frame} does not fit 64 bits")
            return
        known = (instant.joint_set, instant.joints_3d, instant.joints_3d_valid)
        reason = odd_bones(*known) or odd_sides(*known)
        if reason is not None:
            yield Implausible(Reject(instant.id, "read", reason), instant)
            return
        if (reason := odd_fit(instant)) is not None:
            yield Reject(instant.id, "read", f"{reason}. The person is kept without it")
            instant = replace(instant, supplied=None, supplied_in_camera=False)
        views = []
        for view in instant.views:
            reason = odd_view(instant, view)
            if reason is None:
                views.append(view)
            else:
                reject = Reject(view.id, "read", f"{view.image_path}: {reason}")
                yield Implausible(reject, replace(instant, views=(view,)))
        if len(views) == len(instant.views):
            yield instant
        elif views:
            yield replace(instant, views=tuple(views))

    def _keeps_promises(self, instant: Instant) -> None:
        """What a reader owes, whatever lies in its files."""
        assert instant.id > self.last, f"{self.source} yields {instant.id!r} after {self.last!r}; ids must ascend"
        names = [view.id for view in instant.views]
        assert names and len(set(names)) == len(names), f"{self.source}: views of {instant.id!r} are {names}"
        assert all(name.startswith(f"{instant.id}/") for name in names), f"{self.source}: {names}"


def file_print(path: Path) -> dict:
    """{"size", "sha256"} of one file. Raises InputError where it cannot be opened."""
    try:
        with open(path, "rb") as file:
            return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}). Fetch it again, or take it away.") from None


def smpl_files(smpl: Path | None, regressor: Path | None) -> "SmplBodies | None":
    """The user's SMPL files behind the options `smpl` and `regressor`, None where neither is given."""
    if smpl is None and regressor is None:
        return None
    from pipeline.body.smpl import open_smpl  # loads torch, which a mere look at the dataset does not need

    return open_smpl(smpl, regressor)
