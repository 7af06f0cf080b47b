"""One body shape for everybody who is followed through a video: bodies of single frames differ in shape, and people do not."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from model.people.records import Person, PicturePeople
from pipeline.images import split_frame

# Frames that a shape should be of; the pictures from where a track begins wait for so many.
ENOUGH = 8
# A video's name and the number of the track.
Track = tuple[str, int]


def track_of(found: PicturePeople, person: Person) -> Track | None:
    """Who it is; None of a photograph, and where nobody is followed."""
    followed = found.frame is not None and person.track is not None
    return (split_frame(found.name)[0], person.track) if followed and person.track is not None else None


class TrackShapes:
    """The shapes of tracks, each settled once: the median over the frames that were fitted first."""

    def __init__(self) -> None:
        self._betas: dict[Track, np.ndarray] = {}

    def of(self, track: Track | None) -> np.ndarray | None:
        """(10,) betas; None before they are settled."""
        return None if track is None else self._betas.get(track)

    def new(self, track: Track | None) -> bool:
        return track is not None and track not in self._betas

    def settle(self, tracks: Sequence[Track | None], bodies: Sequence[Person]) -> None:
        """The shapes of tracks whose frames were fitted one by one. Frames that are doubtful count where there are no others."""
        seen: dict[Track, list[Person]] = defaultdict(list)
        for track, person in zip(tracks, bodies, strict=True):
            if track is not None:
                seen[track].append(person)
        for track, people in seen.items():
            sure = [person for person in people if not person.doubts] or people
            betas = [person.body.betas for person in sure if person.body is not None]
            self._betas[track] = np.median(np.stack(betas), 0)

    def ripe(self, pictures: Sequence[PicturePeople]) -> int:
        """How many of the pictures, from the first on, are to be fitted now: those before one in which a track has just begun. Whoever
        is in the first picture has waited long enough."""
        tracks = [{track_of(found, person) for person in found.people} for found in pictures]
        counts = Counter(track for here in tracks for track in here if self.new(track))
        young = {track for track, count in counts.items() if count < ENOUGH} - tracks[0]
        return next((k for k, here in enumerate(tracks) if here & young), len(pictures))
