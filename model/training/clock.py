"""How long a run is: so many steps, or so many minutes of training. Its schedule follows the part of it that is over."""

from dataclasses import dataclass

from model.training.optimise import TrainConfig


@dataclass(frozen=True)
class Length:
    """A run of `steps` steps, or, where `seconds` is not 0, of that much training time whatever a step takes.

    Training time is that of steps, waiting for data among it; looks at validation and checkpoints come on top.
    """

    steps: int
    seconds: float = 0.0

    @classmethod
    def of(cls, config: TrainConfig) -> "Length":
        return cls(config.steps, 60 * config.minutes)

    @property
    def by_clock(self) -> bool:
        return self.seconds > 0

    def part(self, step: int, seconds: float) -> float:
        """How much of the run is over, 0..1, after so many steps in so much time."""
        if self.by_clock:
            return min(1.0, seconds / self.seconds)
        return step / self.steps if self.steps else 1.0

    def ended(self, step: int, seconds: float, last: float = 0.0) -> bool:
        """Whether no further step fits; last: seconds of the last one. By the clock, whichever end is nearer: half a step at most."""
        if self.by_clock:
            return step > 0 and seconds + last / 2 >= self.seconds
        return step >= self.steps

    def look_due(self, evaluations: int, step: int, before: float, seconds: float, ended: bool) -> bool:
        """Whether validation is looked at after a step that took from `before` to `seconds`: evenly spread over the run, the last
        time after its last step."""
        if self.by_clock:
            parts = [self.part(step, moment) for moment in (before, seconds)]
            return ended or int(parts[1] * evaluations) > int(parts[0] * evaluations)
        return step * evaluations // self.steps > (step - 1) * evaluations // self.steps

    def said(self, step: int, seconds: float) -> str:
        """ "step 40/2400", or "step 40, 1:10 of 5:00"."""
        return (
            f"step {step}, {duration(seconds)} of {duration(self.seconds)}"
            if self.by_clock
            else f"step {step}/{self.steps}"
        )


def duration(seconds: float) -> str:
    """75 -> "1:15"; 3700 -> "1:01:40"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
