"""People keep their number from frame to frame, also when their boxes cross, are missed for a moment, or come back."""

import numpy as np
import pytest

from model.people.detector import FINE_SIDES, SIDES, Detector
from model.people.photographs import photograph_camera
from model.people.records import Box, Picture
from model.people.tracks import THOROUGH, Tracker, VideoFinder, appearance, unlike

COLOURS = np.array([(200, 40, 40), (40, 60, 200), (60, 180, 60)])


def frame(number: int, places: list[tuple[float, float] | None], name="v.mp4") -> tuple[Picture, list[Box]]:
    """People of different clothes on grey, 40 x 100 px, at x, y; None is not there."""
    pixels = np.full((240, 400, 3), 128, np.uint8)
    boxes = []
    for colour, place in zip(COLOURS, places, strict=False):
        if place is not None:
            x, y = (int(value) for value in place)
            pixels[y : y + 100, x : x + 40] = colour
            boxes.append(Box(np.array([x, y, 40.0, 100.0]), 0.9, "detector"))
    return Picture(f"{name}#frame={number}", pixels, photograph_camera(400, 240, None), number, number / 25), boxes


def numbers(boxes) -> list[int | None]:
    return [box.track for box in boxes if box.source == "detector"]


def test_two_who_cross_keep_their_numbers():
    tracker = Tracker()
    for k in range(60):
        picture, boxes = frame(k, [(20 + 5 * k, 60), (320 - 5 * k, 70)])
        order = [1, 0] if k % 3 == 0 else [0, 1]  # the detector's order says nothing
        found = {box.track: box.box[0] for box in tracker(picture, [boxes[i] for i in order])}
        if k == 0:
            own = {x: track for track, x in found.items()}
        assert found == {own[20]: 20 + 5 * k, own[320]: 320 - 5 * k}


@pytest.mark.parametrize(
    "last",
    [
        [((503, 240),), ((536, 221), (450, 170)), ((564, 205), (453, 161)), ((567, 213), (438, 181))],
        [((464, 286),), ((581, 179), (450, 170)), ((596, 172), (453, 161)), ((586, 191), (446, 169))],
    ],
    ids=["thorough", "quick"],
)
def test_who_goes_behind_somebody_comes_out_as_himself(last):
    """Boxes of the detector in a film of somebody in red who passes before somebody in green, from its frame 38 on: x and width px.
    Of who is behind they show what is seen of him, which shrinks from one side, then nobody, then what is seen at the other side."""
    boxes = (
        [((426, 220), (599, 182)), ((435, 217), (603, 168)), ((448, 218), (607, 155)), ((461, 208), (610, 139))]
        + [((465, 217),), ((481, 226),), ((486, 233),), ((495, 225),), ((494, 237),), ((489, 248),)]
        + last
    )
    tracker, numbered = Tracker(), []
    for k, seen in enumerate((((406, 220), (616, 200)), ((416, 220), (607, 190)), *boxes)):
        pixels = np.full((400, 1000, 3), 200, np.uint8)
        for x, colour in (
            (671 - 9 * k, (0, 150, 0)),
            (516 + 10 * k, (180, 0, 0)),
        ):  # their middles; the second is in front
            pixels[50:390, x - 60 : x + 60], pixels[110:200, x - 60 : x + 60] = 30, colour
        picture = Picture(f"v.mp4#frame={k}", pixels, photograph_camera(1000, 400, None), k, k / 25)
        found = tracker(picture, [Box(np.array([x, 50.0, width, 340]), 0.8, "detector") for x, width in seen])
        numbered.append(numbers(found))
    assert numbered[0] == [1, 2] and {tuple(now) for now in numbered} == {(1, 2), (1,)}


def test_who_is_missed_for_a_moment_stays_and_who_is_gone_is_gone():
    tracker = Tracker()
    tracker(*frame(0, [(50, 60)]))
    tracker(*frame(1, [(54, 60)]))
    (kept,) = tracker(frame(2, [(58, 60)])[0], [])
    assert kept.source == "track" and kept.track == 1 and 54 < kept.box[0] < 60
    (again,) = tracker(*frame(3, [(62, 60)]))
    assert again.track == 1 and again.source == "detector"
    assert tracker(frame(20, [(62, 60)])[0], []) == []  # not for ever
    assert numbers(tracker(*frame(60, [(62, 60)]))) == [2]


def test_who_comes_back_within_a_second_is_the_same():
    tracker = Tracker()
    tracker(*frame(0, [(50, 60), (200, 60)]))
    tracker(*frame(10, [None, (200, 60)]))
    assert sorted(numbers(tracker(*frame(20, [(60, 60), (205, 60)])))) == [1, 2]


def test_looks_tell_who_is_who_where_places_do_not():
    tracker = Tracker()
    tracker(*frame(0, [(100, 60), (120, 60)]))
    picture, boxes = frame(1, [(118, 60), (102, 60)])  # they jumped past each other
    red, blue = tracker(picture, boxes)
    before = numbers(tracker(*frame(2, [(118, 60), (102, 60)])))
    assert [red.track, blue.track] == before and {red.track, blue.track} == {1, 2}


def test_another_video_begins_anew_and_photographs_have_no_tracks():
    tracker = Tracker()
    tracker(*frame(0, [(50, 60), (200, 60)]))
    assert numbers(tracker(*frame(0, [None, (200, 60)], "w.mp4"))) == [1]
    picture, boxes = frame(0, [(50, 60)])
    photograph = Picture("a.png", picture.pixels, picture.camera)
    assert numbers(tracker(photograph, boxes)) == [None]


def test_a_box_that_leaves_the_picture_stays_within_it():
    tracker = Tracker()
    for k in range(4):
        tracker(*frame(k, [(320 + 12 * k, 60)]))
    (kept,) = tracker(frame(6, [None])[0], [])
    assert kept.box[0] + kept.box[2] <= 400 and kept.box[2] >= 2


class Watched(Detector):
    """Sees `boxes`, in a quick look only at the sizes `seen`. asked: what it did, the size of a quick look or 0 for a thorough one."""

    def __init__(self):
        self.asked, self.boxes, self.seen = [], [], SIDES

    def __call__(self, pixels, look=None):
        self.asked.append(0)
        return self.boxes

    def quick(self, look, side):
        self.asked.append(side)
        return self.boxes if side in self.seen else []


def test_the_detector_looks_thoroughly_where_it_misses_somebody_and_now_and_then():
    detector = Watched()
    find = VideoFinder(detector)
    for k in range(2 * THOROUGH):
        picture, detector.boxes = frame(k, [(50, 60)])
        detector.seen = () if k == 5 else SIDES
        assert numbers(find(picture)) == [1]
    assert detector.asked[:8] == [0, *[416] * 4, 416, 320, 0]
    assert 2 <= detector.asked.count(0) <= 4
    picture, detector.boxes = frame(0, [(50, 60)])
    detector.asked.clear()
    assert numbers(find(Picture("a.png", picture.pixels, picture.camera))) == [None] and detector.asked == [0]


def test_who_is_seen_at_one_size_only_is_looked_for_at_that_size():
    detector = Watched()
    find, detector.seen = VideoFinder(detector), (320,)
    for k in range(8):
        picture, detector.boxes = frame(k, [(50, 60)])
        assert numbers(find(picture)) == [1]
    assert detector.asked == [0, 416, *[320] * 7]


def test_while_one_is_before_another_every_look_is_thorough():
    detector = Watched()
    find = VideoFinder(detector)
    places = [(60, 120), (75, 105), (75, 105), (70, 112), (66, 116), (62, 120)]
    for k, (left, right) in enumerate(places):
        picture, detector.boxes = frame(k, [(left, 60), (right, 70)])
        find(picture)
    # whether they are apart again is seen by the look that follows
    assert detector.asked == [0, 416, 0, 0, 416, 416]


def test_a_picture_is_not_looked_at_twice_at_one_size():
    seen = []
    detector = Detector()
    plain = detector.look
    detector.look = lambda pixels, side: (seen.append(side), plain(pixels, side))[1]
    look = detector.looks(np.full((240, 400, 3), 128, np.uint8))
    assert detector.quick(look, SIDES[0]) == [] and detector(np.full((240, 400, 3), 128, np.uint8), look) == []
    assert seen == [*SIDES, *FINE_SIDES]


@pytest.mark.parametrize("box", [(-20, -20, 30, 30), (390, 230, 40, 40), (0, 0, 400, 240), (500, 500, 10, 10)])
def test_looks_of_any_box(box):
    picture, _ = frame(0, [(50, 60)])
    looks = appearance(picture.pixels, np.array(box, float))
    assert looks.shape == (96,) and np.isfinite(looks).all() and 0 <= unlike(looks, looks) <= 1
