"""What was left out, counted by reason and told in few words."""

import re
from collections.abc import Iterable

from pipeline.records import Reject

# How the reason ends where no body could be made, and the instant stays for its joints.
KEPT = ": kept for its 3D joints"


class RejectCounts:
    """How often each reason occurs. A reason is counted whatever numbers stand in it, and told as it first occurred where it
    always has the same ones, else with one of them as an example."""

    def __init__(self, rejects: Iterable[Reject] = ()):
        self.counts: dict[str, int] = {}
        self._example: dict[str, str] = {}
        self._differ: set[str] = set()
        self.add(rejects)

    def add(self, rejects: Iterable[Reject]) -> None:
        """Counts rejects, those whose reasons differ in numbers alone together."""
        for reject in rejects:
            told = reason_of(reject)
            kind = re.sub(r"-?[0-9][0-9.,]*", "N", told)
            self.counts[kind] = self.counts.get(kind, 0) + 1
            if self._example.setdefault(kind, told) != told:
                self._differ.add(kind)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def by_reason(self) -> dict[str, int]:
        """Reason as it is told -> how often, the commonest first."""
        ordered = sorted(self.counts.items(), key=lambda pair: -pair[1])
        return {self._example[kind] + (" (and the like)" if kind in self._differ else ""): n for kind, n in ordered}

    def __str__(self) -> str:
        listed = [f"{count} x {reason}" for reason, count in list(self.by_reason().items())[:4]]
        return "; ".join(listed + ["..."] * (len(self.counts) > 4))


def reason_of(reject: Reject) -> str:
    """ "read: the image does not exist": what rejects are counted by. The text before the reason's last ": " says which item
    it is of, the text after ";" what to do."""
    kept = reject.reason.endswith(KEPT)
    reason = reject.reason.removesuffix(KEPT).rsplit(": ", 1)[-1].split(";")[0]
    return f"{reject.stage}: {reason}" + (f" ({KEPT[2:]})" if kept else "")
