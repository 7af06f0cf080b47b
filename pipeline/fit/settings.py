"""Settings of the fit, validated when made."""

from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.errors import InputError
from pipeline.plausible_people import LEAST_CONFIDENCE, LEAST_JOINTS

PRIORS = ("motion", "anatomical", "l2", "angle", "gmm", "vposer")


@dataclass(frozen=True)
class FitSettings:
    """How bodies are fitted.

    prior: motion or anatomical (no file), l2, angle, gmm or vposer, see `as_in_0_1`; prior_file: the user's gmm_08.pkl or VPoser
    checkpoint. noise_2d:
    expected keypoint error as a fraction of the person's height in the image, at least least_noise_px; noise_3d: metres an axis.
    robust: Geman-McClure's c of the last stage, in units of the 2D noise. hands, face: also fit fingers, jaw and expression
    where keypoints of them are given. interpenetration: push limbs out of the body. body_height: metres, turns the person's
    size in the image into their height there. min_joints, min_confidence: below, an instant is refused or a keypoint ignored.
    valid_error_mm, valid_reprojection: a fit is valid when its 3D error is within the first, or without 3D when its
    reprojection error is within the second, a fraction of the crop's side (I2L-MeshNet's 25 mm, and 3 px of 64). batch:
    instants fitted at once. shape_frames: instants of a subject from which its shape is solved. device: "cpu" or "cuda".
    """

    prior: str = "motion"
    prior_file: Path | None = None
    noise_2d: float = 0.004
    least_noise_px: float = 1.0
    noise_3d: float = 0.004
    robust: float = 10.0
    hands: bool = False
    face: bool = False
    interpenetration: bool = False
    min_joints: int = LEAST_JOINTS
    min_confidence: float = LEAST_CONFIDENCE
    valid_error_mm: float = 25.0
    valid_reprojection: float = 3 / 64
    batch: int = 128
    shape_frames: int = 48
    body_height: float = 1.7
    device: str = "cpu"

    @property
    def as_in_0_1(self) -> bool:
        """With any prior but motion a fit is in everything as version 0.1.0 made it, so that its runs can be continued and compared:
        nobody is taken to stand upright, MSCOCO's and OpenPose's knees and wrists are the body's own joints, keypoints are trusted as
        much as they were, and one finalist alone is finished."""
        return self.prior != "motion"

    @property
    def trusted_noise_2d(self) -> float:
        """`noise_2d` as the fit uses it. With the motion prior 1.5 times as much: detectors err more than annotators."""
        return self.noise_2d if self.as_in_0_1 else 1.5 * self.noise_2d

    @property
    def last_robust(self) -> float:
        """`robust` as the fit uses it. With the motion prior twice as much: detectors' errors have heavy tails, and a joint that is
        written off at ten deviations leaves its limb to the prior."""
        return self.robust if self.as_in_0_1 else 2 * self.robust

    def __post_init__(self) -> None:
        if self.prior not in PRIORS:
            raise InputError(f"Unknown pose prior '{self.prior}'; choose one of {', '.join(PRIORS)}.")
        if self.prior in ("gmm", "vposer") and self.prior_file is None:
            raise InputError(
                f"The {self.prior} prior needs its file; give it with --prior-file (its makers license it, it does not ship with us)."
            )
        for name in (
            "noise_2d",
            "least_noise_px",
            "noise_3d",
            "robust",
            "valid_error_mm",
            "valid_reprojection",
            "body_height",
        ):
            if not getattr(self, name) > 0:
                raise InputError(f"The fit's {name} is {getattr(self, name)}; it must be above zero.")
        for name, least in (("min_joints", 4), ("batch", 1), ("shape_frames", 1)):
            if getattr(self, name) < least:
                raise InputError(f"The fit's {name} is {getattr(self, name)}; it must be at least {least}.")
        if torch.device(self.device).type == "cuda" and not torch.cuda.is_available():
            raise InputError(
                f"The fit was asked to run on '{self.device}', but no CUDA device is at hand; use --device cpu."
            )
