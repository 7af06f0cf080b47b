"""A process that has imported and read what commands need beside their input, so that its children begin at once."""

import contextlib
import functools
import gc
import hashlib
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from model.networks import keypoint_network
from model.networks.encoders import movenet
from model.people import detector
from pipeline.body import model as body

# Of squares that the keypoint network has not seen, one in so many is shown to it once it has seen MANY.
ASKED, MANY = 8, 16
CHECKING = (
    "cli.check_data", "cli.inspect", "pipeline.sources.check", "pipeline.body.model", "pipeline.sources.human36m.open",
    "pipeline.shards.verify", "pipeline.look.summary", "pipeline.look.overview",
)  # fmt: skip
# Networks and detector are bound by these under their own names: they must be imported after `remember`.
ALL = (
    *CHECKING, "cli.evaluate", "cli.fit", "cli.predict", "cli.preprocess", "cli.train", "cli.report", "cli.body", "model.evaluate",
    "model.people.job", "model.train", "pipeline.fit_source", "pipeline.run", "pipeline.look.pictures", "pipeline.look.shard_page",
    "matplotlib.pyplot",
)  # fmt: skip


def warm(quick: bool) -> None:
    """Imports what commands import, and makes this process one that may fork: one thread everywhere."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    remember()
    for name in CHECKING if quick else ALL:
        importlib.import_module(name)


def remember() -> None:
    """The networks and the body that come with the program are read once. What the detector said of the same pixels is not asked
    again, and the keypoint network is hardly asked at all: it takes any square, and no file of an input reaches it.
    """
    marking = {weights: keypoint_network.KeypointNetwork(weights) for weights in movenet.WIDTHS}
    for keypoints in marking.values():
        keypoints.network.forward = once(keypoints.network.forward, asked=ASKED)  # type: ignore[method-assign]
    people = detector.Detector()
    people.look = once(people.look)  # type: ignore[method-assign]
    body.read_free_body = functools.cache(body.read_free_body)
    keypoint_network.KeypointNetwork = lambda weights="thunder", augmented=False: marking[weights]  # type: ignore[assignment,misc]
    detector.Detector = lambda: people  # type: ignore[assignment,misc]


def once(function: Callable[..., Any], asked: int = 1) -> Callable[..., Any]:
    """The same function of arrays and numbers, whose answers are kept. asked: of what is not known, one in so many is asked, and
    the others get the answer to something else."""
    known: dict[bytes, Any] = {}

    def answer(*given: Any) -> Any:
        seen = hashlib.sha1(usedforsecurity=False)
        for value in given:
            seen.update(np.ascontiguousarray(value).tobytes() + repr(np.shape(value)).encode())
        key = seen.digest()
        if key in known:
            return known[key]
        if len(known) >= MANY and key[0] % asked:
            return list(known.values())[int.from_bytes(key[1:5], "big") % MANY]
        return known.setdefault(key, function(*given))

    return answer


def rehearse(runs: Sequence[Callable[[], object]]) -> None:
    """Runs commands on good inputs in this process, so that its children know what those ask. Nothing is printed."""
    with silence():
        for run in runs:
            run()
    gc.collect()
    gc.freeze()  # else a child that collects garbage copies all of this process's memory


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing that is written to standard output and error is seen."""
    kept, nowhere = [os.dup(1), os.dup(2)], os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for stream, number in zip((1, 2), kept, strict=True):
            os.dup2(number, stream)
            os.close(number)
        os.close(nowhere)
