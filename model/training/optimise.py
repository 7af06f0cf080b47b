"""How a network is trained: settings, optimiser, learning rate as a function of the step."""

import math
from dataclasses import dataclass

import torch

from model.data.views import GROUND_TRUTHS
from model.networks.network import Network

OPTIMIZERS = ("muon", "adamw", "rmsprop")
SCHEDULES = ("cosine", "steps")
# Part of a run by the clock that the warm-up takes at most.
LONGEST_WARMUP = 0.1
# A step's generator is seeded with 64 million times the seed, in 64 bits. Each loader is a process that has loaded PyTorch.
MOST_SEED, MOST_WORKERS = 10**11, 512


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run. Everything is counted in steps.

    steps: how many; minutes: train for so long instead, whatever a step takes (0: by steps), and the schedule follows the clock.
    ground_truth: "dataset" or "fit", what the labels are of (`model.data.views.Views.labelled`), in training and validation.
    batch_size: views a step, over all processes. optimizer: "muon" (with AdamW for all that is no hidden matrix), "adamw" or
    "rmsprop" (the published recipe). schedule: "cosine" down to zero, or "steps": times 0.1 at each of `milestones` (parts of the
    run). warmup: steps of linear rise. clip_norm: largest norm of the gradient (0: no clipping). average: decay of the moving
    average of the weights, which is what is evaluated and kept as best (0: the weights themselves). bf16: autocast where it is
    fast. compile: torch.compile. workers: loader processes. evaluations: how often validation is looked at; evaluate_views: on how
    many of its views. log_every, save_every: steps between log rows and between last checkpoints.
    """

    ground_truth: str = "dataset"
    steps: int = 2400
    minutes: float = 0.0
    batch_size: int = 16
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    schedule: str = "cosine"
    milestones: tuple[float, ...] = (0.5, 0.75, 0.9)
    warmup: int = 100
    clip_norm: float = 1.0
    average: float = 0.998
    bf16: bool = True
    compile: bool = False
    workers: int = 1
    seed: int = 0
    evaluations: int = 6
    evaluate_views: int = 64
    log_every: int = 20
    save_every: int = 200

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "learning_rate",
            "log_every",
            "save_every",
            "evaluations",
            "evaluate_views",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"train.{name} is {getattr(self, name)}; it must be above 0")
        for name in ("minutes", "weight_decay", "warmup", "clip_norm", "workers", "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"train.{name} is {getattr(self, name)}; it must not be below 0")
        for name, most in (("seed", MOST_SEED), ("workers", MOST_WORKERS)):
            if getattr(self, name) > most:
                raise ValueError(f"train.{name} is {getattr(self, name)}; it must not be above {most}")
        if self.ground_truth not in GROUND_TRUTHS:
            raise ValueError(f"train.ground_truth {self.ground_truth!r}: choose one of {', '.join(GROUND_TRUTHS)}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"train.optimizer {self.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"train.schedule {self.schedule!r}: choose one of {', '.join(SCHEDULES)}")
        if not 0 <= self.average < 1:
            raise ValueError(f"train.average is {self.average}; it is a decay, at least 0 and below 1")
        if not all(0 < part < 1 for part in self.milestones):
            raise ValueError(f"train.milestones {self.milestones} are parts of the run, between 0 and 1")
        if self.save_every % self.log_every:
            raise ValueError(
                f"train.save_every ({self.save_every}) must be a multiple of train.log_every ({self.log_every}): "
                "a row of the log covers whole steps, and a resumed run writes the same rows"
            )


def learning_rate(config: TrainConfig, step: int, part: float) -> float:
    """The rate of step 0, 1, ..., which is taken when `part` of the run is over, 0..1."""
    rise = min(1.0, (step + 1) / (config.warmup + 1))
    if config.minutes:  # slow steps must not make the warm-up most of the run
        rise = min(1.0, max(rise, part / LONGEST_WARMUP))
    if config.schedule == "cosine":
        return config.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * part))
    return config.learning_rate * rise * 0.1 ** sum(part >= milestone for milestone in config.milestones)


def make_optimizers(network: Network, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """The configured optimiser, or two: Muon for the hidden matrices and AdamW for what is left.

    The network's parameter groups say how fast each part learns, and which parts are frozen. Only matrices and kernels decay,
    not gains and biases.
    """
    hidden = {id(p) for p in network.hidden_matrices()} if config.optimizer == "muon" else set()
    groups, orthogonal = [], []
    for group in network.parameter_groups():
        trained = [p for p in group.parameters if not group.frozen]
        decay, rate = config.weight_decay if group.decay else 0.0, {"rate": group.rate}
        matrices = [p for p in trained if p.ndim > 1 and id(p) not in hidden]
        orthogonal.append({"params": [p for p in trained if id(p) in hidden], "weight_decay": decay} | rate)
        groups.append({"params": matrices, "weight_decay": decay} | rate)
        groups.append({"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0} | rate)
    groups, orthogonal = ([group for group in some if group["params"]] for some in (groups, orthogonal))
    if config.optimizer == "rmsprop":
        return [torch.optim.RMSprop(groups, lr=config.learning_rate, foreach=True)]
    rest = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    return [Muon(orthogonal, config.learning_rate, config.weight_decay), rest] if orthogonal else [rest]


def set_learning_rate(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    """The rate of a step, times each group's own factor."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate"]


class Muon(torch.optim.Optimizer):
    """Steps along the momentum with all its singular values made about 1 (Jordan et al. 2024, "Muon"), so that directions which
    are rarely asked for are learnt as fast as the common ones. A kernel counts as the matrix of its filters.

    The step is scaled to the size of one of Adam's (Liu et al. 2025), which lets both share a learning rate and decay.
    """

    def __init__(self, groups: list, lr: float, weight_decay: float = 0.0, momentum: float = 0.95):
        """groups: matrices, or groups of them as every optimiser takes."""
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # it asks for no loss, and returns none
        """One step of every matrix that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                velocity = state["momentum"].mul_(group["momentum"]).add_(p.grad)
                ahead = p.grad.add(velocity, alpha=group["momentum"]).flatten(1)
                size = 0.2 * max(ahead.shape) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(orthogonalise(ahead).view_as(p), alpha=-group["lr"] * size)


def orthogonalise(matrix: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """(m, n) with the same singular vectors and singular values between about 0.7 and 1.2, but for those that vanish.

    Newton-Schulz with the quintic of Jordan et al. All factors are polynomials of the Gram matrix of the shorter side, so they
    are multiplied there and meet the matrix once: half the time of the plain iteration, which the tests compare with.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    gram, factor = x @ x.T, None
    for k in range(iterations):
        q = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        q.diagonal().add_(3.4445)
        factor = q if factor is None else q @ factor
        if k < iterations - 1:
            gram = q @ gram @ q
    x = factor @ x
    return x.T if tall else x


def learning(network: Network) -> dict[str, torch.nn.Parameter]:
    """The parameters that a run trains, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


class MovingAverage:
    """Exponential average of a network's weights. Early on it forgets faster, so that it does not remember the start.

    network: a copy that carries the average; with decay 0 the trained network itself. Frozen parameters stay as they are;
    buffers (running statistics of a normalisation) are those of the trained network.
    """

    def __init__(self, network: Network, copy: Network, decay: float):
        self.network, self.decay = (copy if decay else network), decay
        own, averaged = learning(network), dict(self.network.named_parameters())
        self.source: list[torch.Tensor] = list(own.values())
        self.parameters: list[torch.Tensor] = [averaged[name] for name in own]
        self.source_buffers, self.buffers = list(network.buffers()), list(self.network.buffers())

    @torch.no_grad()
    def update(self, step: int) -> None:
        if self.decay:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.parameters, self.source, 1 - decay)
            for buffer, source in zip(self.buffers, self.source_buffers, strict=True):
                buffer.copy_(source)
