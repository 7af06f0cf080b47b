"""What `predict` tells while it works: a line for every photograph, and how far a video is."""

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from model.people.records import PicturePeople

# Between two lines about a video, seconds: on a terminal, where one line is written again and again, and in a log.
OFTEN_S, SELDOM_S = 0.5, 10.0


class Progress:
    """total: how many pictures there will be, None where that is not known."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0
        self.first = self.told = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def begin(self, total: int | None) -> None:
        self.total, self.first = total, time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def add(self, found: "PicturePeople") -> None:
        self.done += 1
        if self.done == 1:  # what came before it was the start, which says nothing of the others
            self.first = time.monotonic()
        if found.refusal:
            self._clear()
            click.echo(f"Refused: {found.refusal}", err=True)
        elif found.frame is None:
            self._clear()
            click.echo(f"{found.name}: {said_of(found)}")
        for text in found.left_out if not found.refusal and found.frame is None else ():
            click.echo(f"Left out: {found.name}: {text}", err=True)
        now = time.monotonic()
        if now - self.told >= (OFTEN_S if self.terminal else SELDOM_S):
            self.told = now
            text = self.text(now)
            click.echo(f"\r{text:<70}" if self.terminal else text, err=True, nl=not self.terminal)

    def text(self, now: float) -> str:
        """ "120 of 900 pictures, 3.4 a second, 3 min 49 s to go"."""
        said = f"{self.done} pictures" if self.total is None else f"{self.done} of {self.total} pictures"
        if self.done < 2:
            return said
        each = max(now - self.first, 1e-6) / (self.done - 1)
        said += f", {each:.1f} s each" if each > 1 else f", {1 / each:.1f} a second"
        if self.total is None:
            return said
        left = int(max(self.total - self.done, 0) * each)
        minutes = f"{left // 60} min " if left >= 60 else ""
        return f"{said}, {minutes}{left % 60} s to go"

    def _clear(self) -> None:
        if self.terminal and self.told > self.first:
            click.echo(f"\r{'':<70}\r", err=True, nl=False)


def said_of(found: "PicturePeople") -> str:
    """What the line of a photograph says."""
    far = ", ".join(f"{person.root[2]:.2f}" for person in found.people[:5])
    more = "" if len(found.people) <= 5 else ", ..."
    who = "1 person" if len(found.people) == 1 else f"{len(found.people)} people"
    doubtful = [person.doubts for person in found.people if person.doubts]
    said = f"; {len(doubtful)} doubtful: {doubtful[0]}" if doubtful else ""
    return f"{who}, root at {far}{more} m{said}"
