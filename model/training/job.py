"""What a run is given: settings, views, place and processes. It does not change while the run goes on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from model.data.batch import Batch
from model.data.loading import StepSampler, ViewDataset
from model.data.views import Views
from model.data.workers import loader
from model.device import Ranks
from model.networks.network import Network
from model.training.clock import Length
from model.training.config import Config
from model.training.runs import trainable


@dataclass(frozen=True)
class Job:
    """weights: of the views' folders. validation: None where there is none."""

    config: Config
    views: Views
    weights: Sequence[float]
    validation: Views | None
    folder: Path
    device: torch.device
    ranks: Ranks

    def length(self, network: Network) -> Length:
        return Length.of(self.config.train) if trainable(network) else Length(0)

    def batches(self, steps: range) -> Iterator[Batch]:
        """This process's part of the batches of some steps."""
        settings = self.config.train
        dataset = ViewDataset(
            self.views, self.config.network.crop_px, self.config.draw, self.config.augment, settings.seed
        )
        sampler = StepSampler(
            self.views, self.weights, settings.batch_size, steps, settings.seed, self.ranks.rank, self.ranks.world
        )
        return loader(dataset, sampler, settings.workers, pin=self.device.type == "cuda")
