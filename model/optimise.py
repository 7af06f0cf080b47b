"""How a network is trained: settings, optimiser, learning rate as a function of the step."""

import math
from dataclasses import dataclass

import torch

OPTIMIZERS = ("adamw", "rmsprop")
SCHEDULES = ("cosine", "steps")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run. Everything is counted in steps.

    batch_size: views a step, over all processes. optimizer: "adamw" or "rmsprop" (the published recipe). schedule:
    "cosine" down to zero, or "steps": times 0.1 at each of `milestones` (parts of the run). warmup: steps of linear
    rise. clip_norm: largest norm of the gradient (0: no clipping). average: decay of the moving average of the
    weights, which is what is evaluated and kept as best (0: the weights themselves). bf16: autocast where it is
    fast. compile:
    torch.compile. workers: loader processes. evaluations: how often validation is looked at; evaluate_views: on how
    many of its views. log_every, save_every: steps between log rows and between last checkpoints.
    """

    steps: int = 2400
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

    def __post_init__(self):
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
        for name in ("weight_decay", "warmup", "clip_norm", "workers", "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"train.{name} is {getattr(self, name)}; it must not be below 0")
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


def fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster than float32 there: on CUDA, and on processors with its instructions (a step of `small` takes
    0.6 of the time). Other processors emulate it, slowly.
    """
    if device.type == "cuda":
        return True
    able = torch.cpu.get_capabilities()
    return device.type == "cpu" and (able.get("avx512_bf16", False) or able.get("amx_bf16", False))


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of step 0, 1, ..."""
    rise = min(1.0, (step + 1) / (config.warmup + 1))
    part = step / config.steps
    if config.schedule == "cosine":
        return config.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * part))
    return config.learning_rate * rise * 0.1 ** sum(part >= milestone for milestone in config.milestones)


def make_optimizer(network: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimiser; only matrices and kernels decay, not gains and biases."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, foreach=True)
    return torch.optim.RMSprop(groups, lr=config.learning_rate, foreach=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


class MovingAverage:
    """Exponential average of a network's weights. Early on it forgets faster, so that it does not remember the start.

    network: a copy that carries the average; with decay 0 the trained network itself.
    """

    def __init__(self, network: torch.nn.Module, copy: torch.nn.Module, decay: float):
        self.source = list(network.parameters())
        self.network, self.decay = (copy if decay else network), decay
        self.parameters = list(self.network.parameters())

    @torch.no_grad()
    def update(self, step: int) -> None:
        if self.decay:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.parameters, self.source, 1 - decay)
