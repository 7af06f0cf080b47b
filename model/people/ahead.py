"""Stages of work on pictures, each in a thread of its own, so that cores that one stage leaves idle do the next."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from threading import Condition, Thread
from typing import Generic, TypeVar

# Items, and pixels of theirs, that may wait for the next stage.
MOST_WAITING, MOST_PIXELS = 32, 64_000_000
Item = TypeVar("Item")


def ahead(items: Iterable[Item], pixels: Callable[[Item], int]) -> Iterator[Item]:
    """The same items in the same order, made in a thread that runs ahead of whoever takes them, by a bounded number.

    pixels: of an item. What making them raises is raised here, after the items before it. Closed early, this waits for the item that
    is being made.
    """
    queue = Queue(pixels)
    maker = Thread(target=queue.fill, args=(iter(items),), name="ahead", daemon=True)
    maker.start()
    try:
        yield from queue
    finally:
        queue.stop()
        maker.join()


class Queue(Generic[Item]):
    """Between the thread that makes items and the one that takes them."""

    def __init__(self, pixels: Callable[[Item], int]) -> None:
        self._pixels = pixels
        self._changed = Condition()
        self._waiting: deque[Item] = deque()
        self._stopped = self._done = False
        self._error: BaseException | None = None

    def fill(self, items: Iterator[Item]) -> None:
        """Until there are no more, or nobody wants them."""
        try:
            for item in items:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or self._has_room())
                    if self._stopped:
                        return
                    self._waiting.append(item)
                    self._changed.notify_all()
        except BaseException as error:  # for the thread that takes them, whatever it is
            self._error = error
        finally:
            # An error that somebody keeps would keep the thread of a stage before this one.
            if isinstance(items, Generator):
                items.close()
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._done)
                if not self._waiting:
                    break
                item = self._waiting.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Nobody takes any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        few = len(self._waiting) < MOST_WAITING and sum(map(self._pixels, self._waiting)) < MOST_PIXELS
        return few or not self._waiting
