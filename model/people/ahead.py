"""Pictures are looked at while those before them are drawn and written, each on a core of its own."""

from collections import deque
from collections.abc import Iterable, Iterator
from threading import Condition, Thread

from model.people.records import Picture, PicturePeople

# Answers, and pixels of theirs, that may wait to be written.
MOST_WAITING, MOST_PIXELS = 32, 64_000_000
Answered = tuple[Picture | None, PicturePeople]


def ahead(answers: Iterable[Answered]) -> Iterator[Answered]:
    """The same answers in the same order, made in a thread that runs ahead of whoever takes them, by a bounded number.

    What the answers raise is raised here, after those before it. Closed early, this waits for the answer that is being made.
    """
    queue = Queue()
    maker = Thread(target=queue.fill, args=(iter(answers),), name="answers", daemon=True)
    maker.start()
    try:
        yield from queue
    finally:
        queue.stop()
        maker.join()


class Queue:
    """Between the thread that makes answers and the one that takes them."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: deque[Answered] = deque()
        self._stopped = self._done = False
        self._error: BaseException | None = None

    def fill(self, answers: Iterator[Answered]) -> None:
        """Until there are no more, or nobody wants them."""
        try:
            for answer in answers:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or self._has_room())
                    if self._stopped:
                        return
                    self._waiting.append(answer)
                    self._changed.notify_all()
        except BaseException as error:  # for the thread that takes them, whatever it is
            self._error = error
        finally:
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def __iter__(self) -> Iterator[Answered]:
        while (answer := self._take()) is not None:
            yield answer
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Nobody takes any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _take(self) -> Answered | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._done)
            answer = self._waiting.popleft() if self._waiting else None
            self._changed.notify_all()
            return answer

    def _has_room(self) -> bool:
        pixels = sum(picture.pixels.size // 3 for picture, _ in self._waiting if picture is not None)
        return not self._waiting or (len(self._waiting) < MOST_WAITING and pixels < MOST_PIXELS)
