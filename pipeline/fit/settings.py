"""Settings of the fit, validated when made."""

from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.errors import InputError
from pipeline.plausible_people import LEAST_CONFIDENCE, LEAST_JOINTS

# Joints in 3D from which a body is started and by which it is judged; of fewer, the image decides as well.
ENOUGH_3D = 6
PRIORS = ("motion", "anatomical", "l2", "angle", "gmm", "vposer")


@dataclass(frozen=True)
class Manner:
    """What a fit does beside its settings.

    upright: where up is not known, people are taken to stand upright in the image. as_annotated: MSCOCO's and OpenPose's knees,
    wrists and shoulders lie where annotators put them, not at the body's own joints. noise_2d: factor on the settings' `noise_2d`;
    detectors err more than annotators. robust: factor on the settings' `robust`; detectors' errors have heavy tails, and a joint
    that is written off at ten deviations leaves its limb to the prior. finalists: of one image so many different bodies are
    solved with all joints and the shape. lifted: the lifter says how a body lies in depth that one image alone shows.
    """

    upright: bool
    as_annotated: bool
    noise_2d: float
    robust: float
    finalists: int
    lifted: bool


TODAY = Manner(upright=True, as_annotated=True, noise_2d=1.5, robust=2.0, finalists=2, lifted=True)
# Fits of version 0.1.0 can be continued and compared.
VERSION_0_1 = Manner(upright=False, as_annotated=False, noise_2d=1.0, robust=1.0, finalists=1, lifted=False)


@dataclass(frozen=True)
class FitSettings:
    """How bodies are fitted.

    prior: motion or anatomical (no file), l2, angle, gmm or vposer, see `manner`; prior_file: the user's gmm_08.pkl or VPoser
    checkpoint. noise_2d: expected keypoint error as a fraction of the person's height in the image, at least least_noise_px;
    noise_3d: metres an axis.
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
    def manner(self) -> Manner:
        """Today's with the motion prior, that of version 0.1.0 with its priors."""
        return TODAY if self.prior == "motion" else VERSION_0_1

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
