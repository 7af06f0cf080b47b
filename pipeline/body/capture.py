"""True bodies for a synthetic capture: people that ten betas describe only roughly.

A fit of the body model's ten betas to them leaves some millimetres, as with real people. They are none of those that shaped the betas.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pipeline.body.model import FREE_BODY, BodyModel, with_template


@dataclass(frozen=True)
class CaptureShapes:
    """Shapes of N people.

    betas: (N, 10), their best betas. coefficients: (N, K) along directions: (V, 3, K) metres, beyond the betas.
    """

    betas: np.ndarray
    coefficients: np.ndarray
    directions: np.ndarray

    def __len__(self) -> int:
        return len(self.betas)

    def body(self, free_body: BodyModel, index: int) -> BodyModel:
        """Person `index` as a body model of its own: this person at zero betas. Pose it with every parameter but betas."""
        known = free_body.shapedirs @ torch.from_numpy(self.betas[index])
        beyond = torch.from_numpy((self.directions @ self.coefficients[index]).astype(np.float32))
        return with_template(free_body, f"capture body {index}", free_body.v_template + known + beyond)


def capture_shapes() -> CaptureShapes:
    """The people stored beside the free body."""
    with np.load(FREE_BODY.with_name("capture_shapes.npz"), allow_pickle=False) as archive:
        return CaptureShapes(archive["betas"], archive["coefficients"], archive["directions"].astype(np.float32))
