"""What is made ahead comes in order, is bounded in number, and leaves no thread behind."""

import signal
import threading
import time

import numpy as np
import pytest

from model.people import ahead as module
from model.people.ahead import ahead as run_ahead
from model.people.job import until_interrupted
from model.people.records import Picture, PicturePeople, pixels_of
from pipeline.camera import assumed_camera

PICTURE = Picture("a.jpg", np.zeros((8, 8, 3), np.uint8), assumed_camera(8, 8))


def answers(count, made):
    """So many, whose numbers are put into `made` as they are asked for."""
    for k in range(count):
        made.append(k)
        yield (None if k % 5 == 4 else PICTURE), PicturePeople(str(k), 8, 8, None)


def ahead(found):
    return run_ahead(found, lambda answer: pixels_of(answer[0]))


def names(found):
    return [one.name for _, one in found]


def settled(made, least):
    """How many were made: as soon as there are so many, and none has come for a while."""
    for _ in range(200):
        before = len(made)
        time.sleep(0.05)
        if before == len(made) >= least:
            break
    return len(made)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # processes that run tests may ignore it
    yield
    signal.signal(signal.SIGINT, before)
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_order_and_pictures_stay():
    found = list(ahead(answers(100, [])))
    assert names(found) == [str(k) for k in range(100)]
    assert [picture is None for picture, _ in found] == [k % 5 == 4 for k in range(100)]
    assert list(ahead(iter(()))) == []


def test_they_are_made_before_they_are_asked_for_but_not_all(monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 7)
    made: list[int] = []
    found = ahead(answers(100, made))
    assert not made  # nothing begins before the first is asked for
    next(found)
    assert 7 <= settled(made, 7) <= 9  # those that wait, the one that was taken, and one in hand
    found.close()
    assert len(made) < 12


def test_large_pictures_wait_in_small_numbers(monkeypatch):
    monkeypatch.setattr(module, "MOST_PIXELS", 3 * 64)
    made: list[int] = []
    found = ahead(answers(100, made))
    next(found)
    assert 4 <= settled(made, 4) <= 7  # one in five has no pixels
    found.close()


def test_an_error_comes_after_what_was_made_before_it():
    def broken():
        yield from answers(3, [])
        raise KeyError("the fourth")

    found = ahead(broken())
    assert names(next(found) for _ in range(3)) == ["0", "1", "2"]
    with pytest.raises(KeyError, match="the fourth"):
        next(found)


def test_whoever_stops_early_closes_what_makes_them():
    closed = threading.Event()

    def guarded():
        try:
            yield from answers(100, [])
        finally:
            closed.set()

    for _, one in ahead(guarded()):
        if one.name == "2":
            break
    assert closed.wait(5)


def test_an_error_that_somebody_keeps_keeps_no_thread():
    """As Ctrl-C is kept until the program has said what happened: threads that still work then break the program off."""
    later = ahead((picture, one) for picture, one in ahead(answers(10_000, [])))
    next(later)
    with pytest.raises(KeyboardInterrupt) as kept:
        later.throw(KeyboardInterrupt())
    assert kept.tb and not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_ctrl_c_ends_a_webcam_and_what_was_found_is_kept():
    before, found = signal.getsignal(signal.SIGINT), []
    for _, one in until_interrupted(ahead(answers(10_000, []))):
        found.append(one.name)
        if one.name == "5":
            signal.raise_signal(signal.SIGINT)
    assert found == [str(k) for k in range(6)] and signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_pressed_twice_interrupts():
    with pytest.raises(KeyboardInterrupt):
        for _ in until_interrupted(ahead(answers(100, []))):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)


def test_one_stage_runs_ahead_of_another():
    made: list[int] = []
    again = ahead((picture, one) for picture, one in ahead(answers(50, made)))
    assert names(again) == [str(k) for k in range(50)]
    half = ahead((picture, one) for picture, one in ahead(answers(500, made)))
    next(half)
    half.close()
    assert len(made) < 50 + 150
