"""A track of a video has one shape, whichever frames were fitted together; photographs have their own."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from model.body_fit import BodyDecoder
from model.people import bodies
from model.people.bodies import with_bodies
from model.people.records import PicturePeople
from model.people.shapes import ENOUGH, TrackShapes, track_of
from pipeline.body.model import load_body
from pipeline.skeletons import FIELD_JOINTS
from tests.model.people.scenes import shown, standing


def frame(number, tracks, body, name="v.mp4"):
    """The picture and the people of a frame, without bodies, their joints off by some noise."""
    people = [
        replace(standing(n, x=0.8 * n - 1.2), betas=np.full(10, 0.3 * n, np.float32)) for n in (t or 0 for t in tracks)
    ]
    one = shown(body, people, f"{name}#frame={number}", number, tracks)
    rng = np.random.default_rng(number or 0)
    plain = [
        replace(person, joints=person.joints + rng.normal(0, 0.02, (17, 3)), body=None, spread=None)
        for person in one.people
    ]
    return one.picture, replace(one.found, people=tuple(plain))


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.mark.slow
def test_a_track_has_one_shape_and_its_joints_stay_where_they_are(body, monkeypatch):
    """Two tracks, one of which begins at the end of a batch, then another video with the same numbers, then a photograph."""
    monkeypatch.setattr(bodies, "BATCH", 12)
    fits = SimpleNamespace(decoder=BodyDecoder(body, FIELD_JOINTS), own_joints=True, body=body)
    answers = [frame(k, [1] if k < 11 else [1, 2], body) for k in range(20)]
    answers += [frame(k, [1], body, "w.mp4") for k in range(4)]
    answers += [frame(None, [None], body, "a.jpg")]
    found = [found for _, found in with_bodies(answers, fits)]
    assert [one.name for one in found] == [one.name for _, one in answers]
    shapes = {}
    for (_, before), after in zip(answers, found, strict=True):
        for given, person in zip(before.people, after.people, strict=True):
            shapes.setdefault(track_of(after, person), []).append(person.body.betas)
            assert np.linalg.norm(person.joints - given.joints, axis=1).mean() < 0.07
            assert np.linalg.norm(person.root - given.root) < 0.15  # how far away a body is depends on how tall it is
    assert [len(seen) for seen in shapes.values()] == [20, 9, 4, 1]
    for seen in shapes.values():
        assert np.ptp(np.stack(seen), 0).max() == 0
    means = [seen[0] for seen in shapes.values()]
    assert all(np.abs(a - b).max() > 0.01 for k, a in enumerate(means) for b in means[:k])
    alone = [found.people[0].body.betas for one in answers[:8] for _, found in with_bodies([one], fits)]
    assert np.ptp(np.stack(alone), 0).max() > 0.05  # each frame's own would differ


def of_tracks(*tracks, name="v.mp4"):
    """Frames with these tracks in each."""
    person = SimpleNamespace
    return [
        PicturePeople(f"{name}#frame={k}", 9, 9, None, tuple(person(track=one) for one in here), k)
        for k, here in enumerate(tracks)
    ]


def test_pictures_wait_for_a_track_that_has_just_begun():
    shapes = TrackShapes()
    frames = of_tracks(*[[1]] * 10, [1, 2], [1, 2])
    assert shapes.ripe(frames) == 10  # the second track is two frames old
    assert shapes.ripe(frames[10:]) == 2  # who is in the first has waited long enough
    assert shapes.ripe(of_tracks(*[[1]] * 10, *[[1, 2]] * ENOUGH)) == 10 + ENOUGH
    assert shapes.ripe(of_tracks([], [], [1])) == 2 and shapes.ripe(of_tracks([None], [None])) == 2


def test_doubtful_frames_count_only_where_there_are_no_others():
    def person(beta, doubts=""):
        return SimpleNamespace(doubts=doubts, body=SimpleNamespace(betas=np.full(10, beta)))

    shapes, one, two = TrackShapes(), ("v.mp4", 1), ("v.mp4", 2)
    people = [person(1.0), person(9.0, "far off"), person(2.0), person(3.0), person(5.0, "far off"), person(0.0)]
    shapes.settle([one, one, one, one, two, None], people)
    assert shapes.of(one)[0] == 2.0 and shapes.of(two)[0] == 5.0
    assert shapes.of(None) is None and shapes.of(("w.mp4", 1)) is None and not shapes.new(None)
