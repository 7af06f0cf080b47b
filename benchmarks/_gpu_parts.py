"""What `benchmarks.gpu` measures, one function a part. Each takes `Asked` and gives plain values for JSON."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._published_field import written_as_published
from benchmarks.fit_persons import make_persons
from model.data.views import Views, need_views, read_views
from model.device import Ranks
from model.evaluate import evaluate_run
from model.networks.build import build_network
from model.networks.encoders import hub
from model.networks.encoders.backbone import BackboneSettings
from model.networks.network import Network
from model.train import train
from model.training.config import Config, config_from_dict, load_config, merge, with_train
from model.training.job import Job
from model.training.runs import start_run, training_statistics
from model.training.step import losses_module, take_step
from pipeline.body.model import load_body
from pipeline.errors import InputError
from pipeline.fit import FitSettings, Fitter
from pipeline.records import SYNTHETIC_MARK, BodyFit
from pipeline.run import Workers
from pipeline.sources.synthetic.settings import CaptureSettings
from pipeline.synthesize import CaptureProgress, CaptureRequest, synthesize

CONFIGS = ("small", "base", "published")
INFERENCE_BATCHES = (1, 32)
FIT_BATCHES = (1024, 4096, 16384)
# Moments of the capture; each gives four images.
INSTANTS = 400
# Persons that fits are timed on; larger batches repeat them.
PERSONS = 1024
# Steps that are not timed, and how long the others are timed, seconds and steps at least.
WARM_STEPS, TIMED_SECONDS, TIMED_STEPS = 5, 4.0, 5
STEADY = {"evaluations": 1, "log_every": 1_000_000, "save_every": 1_000_000}
# What --quick makes of a configuration: the same parts, each as small as it can be.
TINY = {
    "network": {"crop_px": 64, "head": {"mlp": {"hidden": [16]}, "search": {"cells": 24, "most": 64, "nearest": 16}}},
    "train": {"batch_size": 2, "workers": 0, "evaluate_views": 2},
    "draw": {"points": 32},
}
TINY_CAPTURE = CaptureSettings(instants=4, image_px=64, subjects=(1, 8, 9), actions=("Walking",))
TINY_ENCODERS = {
    "small": {"channels": 8, "context": 16},
    "base": {"channels": 8, "context": 16},
    "published": {"channels": 32, "context": 16},
}


@dataclass(frozen=True)
class Asked:
    """out: where everything is written. minutes: of the whole benchmark. device: "cuda" or "cpu". seconds_left: when a part starts."""

    out: Path
    minutes: float
    device: str
    quick: bool
    seconds_left: float = 0.0

    @property
    def shards(self) -> Path:
        return self.out / "shards"

    @property
    def backbone(self) -> Path:
        """The stand-in of `base`'s backbone, where its own weights cannot be had."""
        return self.out / "backbone"


# --- what the machine is, and what there is to train on ----------------------------------------------------------------


def machine(asked: Asked) -> dict:
    """The device, its memory, the versions, and the rates of large matrix products: what shares are of."""
    found = {"device": asked.device, "cores": len(os.sched_getaffinity(0)), "torch": torch.__version__}
    if asked.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "name": properties.name,
            "memory_gb": round(properties.total_memory / 1e9, 1),
            "cuda": torch.version.cuda,
        }
    rates = {
        name: round(matrix_rate(asked, kind), 3)
        for name, kind in (("bf16", torch.bfloat16), ("float32", torch.float32))
    }
    return found | {"matrix_tflops": rates}


def matrix_rate(asked: Asked, kind: torch.dtype) -> float:
    """TFLOP/s of a product of square matrices: the best of three, after one that is not timed."""
    side = 256 if asked.quick or asked.device == "cpu" else 8192
    a, b = (torch.randn(side, side, device=asked.device, dtype=kind) for _ in range(2))
    best = 0.0
    for _ in range(4):
        with stopwatch(asked.device) as taken:
            for _ in range(10):
                a @ b
        best = max(best, 10 * 2 * side**3 / taken() / 1e12)
    return best


def data(asked: Asked) -> dict:
    """A synthetic capture and its shards, by the commands that a user types; what is there already is kept."""
    capture, seconds = asked.out / "capture", {}
    commands = {
        "synthesize": [str(capture), "--instants", str(INSTANTS)],
        "preprocess": ["human36m", str(capture), str(asked.shards), "--crop-px", "64" if asked.quick else "256"],
    }
    if asked.quick:
        synthesize(CaptureRequest(capture, TINY_CAPTURE), Workers(0), CaptureProgress(Console(stderr=True)))
    if (capture / SYNTHETIC_MARK).exists():
        del commands["synthesize"]
    workers = 0 if asked.quick else len(os.sched_getaffinity(0))
    for name, arguments in commands.items():
        started = time.perf_counter()
        given = [name, *arguments, "--workers", str(workers)]
        subprocess.run([sys.executable, "-m", "cli.main", *given], check=True)
        seconds[f"{name}_seconds"] = round(time.perf_counter() - started, 1)
    return seconds | {"views": {name: len(views) for name, views in read_views([asked.shards]).items()}}


def weights(asked: Asked) -> dict:
    """Whether the weights of `base` can be had; where not, the same backbone with random ones is saved for the other parts."""
    encoder = load_config("base").network.encoder
    assert isinstance(encoder, BackboneSettings)
    name = encoder.name
    reason = "a tiny stand-in, for --quick"
    if not asked.quick:
        try:
            hub.load(name)
            return {"base": name}
        except InputError as error:
            reason = str(error)
    sizes = (
        {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": [64, 64]}
        if asked.quick
        else {}
    )
    library = hub.library()
    torch.manual_seed(0)
    library.VitPoseBackbone(library.VitPoseBackboneConfig(**sizes)).save_pretrained(asked.backbone)
    return {"base": "random weights of the same architecture", "because": reason}


def configured(asked: Asked, name: str) -> Config:
    """A named configuration as this benchmark runs it."""
    config = load_config(name)
    changes: dict = {"train": {"workers": min(config.train.workers, len(os.sched_getaffinity(0))), **STEADY}}
    if asked.device == "cuda" and name == "small":
        changes["train"]["workers"] = min(8, len(os.sched_getaffinity(0)))
    if name == "base" and asked.backbone.exists():
        changes = merge(changes, {"network": {"encoder": {"name": str(asked.backbone)}}})
    if asked.quick:
        changes = merge(merge(changes, TINY), {"network": {"encoder": TINY_ENCODERS[name]}})
    return config_from_dict(merge(config.to_dict(), changes), f"configuration {name}")


# --- training steps ----------------------------------------------------------------------------------------------------


def step(asked: Asked, name: str, written: str) -> dict:
    """A training step of a configuration. written: "ours", "compiled", or "published": eager float32, every point through the whole
    MLP with all that it read concatenated at every layer.
    """
    if asked.quick:  # minutes of compiling would tell nothing of a tiny network
        torch.compiler.set_stance("force_eager")
    config = with_train(configured(asked, name), bf16=written != "published", compile=written == "compiled")
    views = training_views(asked)
    device = torch.device(asked.device)
    network = build_network(config.network, training_statistics(views, config))
    if written == "published":
        network = written_as_published(network)
    job = Job(with_train(config, workers=0), views, [1.0], None, asked.out, device, Ranks())
    run, compute = start_run(network.to(device), config), losses_module(network, config.train.compile, job.ranks)
    batch = next(job.batches(range(1))).to(device)
    started = time.perf_counter()
    for _ in range(1 if asked.quick else WARM_STEPS):
        take_step(run, compute, batch, job, 0.0)
    warm = time.perf_counter() - started
    flops = 0
    if written != "compiled":  # a compiled graph cannot be counted
        with FlopCounterMode(display=False) as counter:
            take_step(run, compute, batch, job, 0.0)
        flops = counter.get_total_flops()

    def alone() -> float:
        take_step(run, compute, batch, job, 0.0)
        return 0.0

    seconds, _ = timed(asked, alone)
    return {
        "batch": len(batch),
        "step_ms": round(1000 * seconds, 2),
        "images_per_second": round(len(batch) / seconds, 1),
        "warm_up_seconds": round(warm, 1),
        "tflop_a_step": round(flops / 1e12, 4) or None,
        "tflops": round(flops / seconds / 1e12, 3) or None,
        "parameters": sum(p.numel() for p in network.parameters()),
        **memory(asked),
    }


def loading(asked: Asked, name: str) -> dict:
    """Steps that loader processes feed, and how long the first batch is waited for."""
    config, views, device = configured(asked, name), training_views(asked), torch.device(asked.device)
    network = build_network(config.network, training_statistics(views, config))
    job = Job(config, views, [1.0], None, asked.out, device, Ranks())
    run, compute = start_run(network.to(device), config), losses_module(network, False, job.ranks)
    batches = job.batches(range(10_000))
    started = time.perf_counter()
    first = next(batches)
    waited_first = time.perf_counter() - started
    for _ in range(1 if asked.quick else WARM_STEPS):
        take_step(run, compute, first.to(device), job, 0.0)

    def fed() -> float:
        before = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - before
        take_step(run, compute, batch.to(device), job, 0.0)
        return waited

    seconds, waited = timed(asked, fed)
    return {
        "workers": config.train.workers,
        "first_batch_seconds": round(waited_first, 1),
        "images_per_second": round(len(first) / seconds, 1),
        "data_wait": round(waited / seconds, 3),
    }


def training_views(asked: Asked) -> Views:
    return need_views(read_views([asked.shards]), "train", [asked.shards])


def timed(asked: Asked, once: Callable[[], float]) -> tuple[float, float]:
    """Mean seconds of calls, and the mean of what they give."""
    least, limit = (1, 0.0) if asked.quick else (TIMED_STEPS, TIMED_SECONDS)
    given: list[float] = []
    with stopwatch(asked.device) as taken:
        started = time.perf_counter()
        while len(given) < least or time.perf_counter() - started < limit:
            given.append(once())
    return taken() / len(given), float(np.mean(given))


@contextmanager
def stopwatch(device: str) -> Iterator[Callable[[], float]]:
    """Wall seconds of what stands inside, work of the device included."""
    if device == "cuda":
        torch.cuda.synchronize()
    started, ended = time.perf_counter(), 0.0
    yield lambda: ended - started
    if device == "cuda":
        torch.cuda.synchronize()
    ended = time.perf_counter()


def memory(asked: Asked) -> dict:
    """The most that the device has held."""
    return {"peak_memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2)} if asked.device == "cuda" else {}


# --- what a trained network and the fit are used for --------------------------------------------------------------------


def inference(asked: Asked, name: str) -> dict:
    """Images a second of predictions in bf16, one image at a time and many."""
    config = configured(asked, name)
    network: Network = build_network(config.network, training_statistics(training_views(asked), config))
    network.to(asked.device).eval()
    side, found = config.network.crop_px, {}
    one = torch.tensor(
        [[2.0 * side, 0, side / 2 - 0.5], [0, 2.0 * side, side / 2 - 0.5], [0, 0, 1]], device=asked.device
    )

    def predict(image: torch.Tensor) -> float:
        with torch.autocast(asked.device, torch.bfloat16):
            network.predict(image, one.expand(len(image), 3, 3))
        return 0.0

    for batch in INFERENCE_BATCHES:
        image = torch.rand(batch, 3, side, side, device=asked.device) * 2 - 1
        predict(image)
        seconds, _ = timed(asked, partial(predict, image))
        found[str(batch)] = {"images_per_second": round(batch / seconds, 1), "ms": round(1000 * seconds, 2)}
    return found | memory(asked)


def fits(asked: Asked, batch: int) -> dict:
    """Fits a second of bodies to 17 joints in space, `batch` at once."""
    batch = batch // 256 if asked.quick else batch
    body = load_body()
    people = min(batch, PERSONS)
    persons = make_persons(body, people, 8, "human36m_17", "wide", subjects=min(7, people), noise_3d=0.003)
    instants = [
        replace(persons.instants[k % people], id=f"{k // people}/{persons.instants[k % people].id}")
        for k in range(batch)
    ]
    fitter = Fitter(body, FitSettings(device=asked.device, batch=batch))
    betas = fitter.solve_shapes(persons.instants)
    fitter.fit(instants[:4], betas)
    with stopwatch(asked.device) as taken:
        found = fitter.fit(instants, betas)
    errors = [fit.quality.fit_error_mm for fit in found if isinstance(fit, BodyFit)]
    if len(errors) < batch:
        raise RuntimeError(f"{batch - len(errors)} of {batch} fits were refused")
    return {
        "fits": batch,
        "seconds": round(taken(), 2),
        "fits_per_second": round(batch / taken(), 1),
        "error_mm": round(float(np.mean(errors)), 2),
        **memory(asked),
    }


def training(asked: Asked) -> dict:
    """A run for the time that is left, and its error on subjects whom it never saw."""
    name = "small" if asked.backbone.exists() else "base"
    reserve = 0.0 if asked.quick else 40.0  # looks at validation, the evaluation, and pictures
    minutes = 0.02 if asked.quick else max(0.25, (asked.seconds_left - reserve) / 60)
    config = with_train(configured(asked, name), log_every=20, save_every=10_000 * 20, evaluations=2)
    folder = asked.out / "run"
    record = train(asked.shards, folder, config, minutes=minutes, device=asked.device)
    assert record is not None
    report = evaluate_run(folder, asked.shards, device=asked.device, allow_partial=True)
    return {
        "config": name,
        "minutes": round(minutes, 2),
        "steps": record["step"],
        "images_per_second": round(record["step"] * config.train.batch_size / record["seconds"], 1),
        "mpjpe_mm": round(report["mpjpe_mm"], 1),
        "pa_mpjpe_mm": round(report["pa_mpjpe_mm"], 1),
        "mean_pose_mpjpe_mm": round(report["mean_pose"]["mpjpe_mm"], 1),
        "test_views": report["n_views"],
    }


def parts() -> dict[str, Callable[[Asked], dict]]:
    """Every part by name, in the order in which they are run."""
    found: dict[str, Callable[[Asked], dict]] = {"machine": machine, "data": data, "weights": weights}
    for written in ("ours", "published"):
        found |= {f"step/{name}/{written}": partial(step, name=name, written=written) for name in CONFIGS}
    found |= {f"inference/{name}": partial(inference, name=name) for name in CONFIGS}
    found |= {f"fits/{batch}": partial(fits, batch=batch) for batch in FIT_BATCHES}
    found |= {f"loading/{name}": partial(loading, name=name) for name in CONFIGS}
    found |= {f"step/{name}/compiled": partial(step, name=name, written="compiled") for name in CONFIGS}
    return found | {"training": training}
