"""The package smplx, by which our own posing is judged."""

from pathlib import Path

import smplx

from pipeline.body.model import FREE_BODY


def smplx_layer(path: Path = FREE_BODY) -> smplx.SMPLX:
    """A body file as plain smplx opens it: hands flat at zero, no PCA."""
    layer = smplx.create(
        str(path),
        model_type="smplx",
        ext="npz",
        use_pca=False,
        flat_hand_mean=True,
        num_betas=10,
        num_expression_coeffs=10,
        batch_size=1,
    )
    return layer.eval().requires_grad_(False)
