"""Which of Human3.6M's two layouts lies in a folder, and its reader."""

from pathlib import Path

from pipeline.errors import InputError
from pipeline.sources.human36m.annotations import AnnotatedHuman36m
from pipeline.sources.human36m.common import TEST_STEP, TRAIN_STEP, Human36m, Human36mOptions
from pipeline.sources.human36m.release import ReleasedHuman36m


def open_human36m(
    root: Path,
    subjects: tuple[int | str, ...] | None = None,
    every_train: int = TRAIN_STEP,
    every_test: int = TEST_STEP,
    final: bool = False,
    drop_shifted: bool = False,
    metadata: Path | None = None,
    smpl: Path | None = None,
    regressor: Path | None = None,
) -> Human36m:
    """The reader that fits what lies in `root`. subjects: numbers or names ("S9"). metadata: the release's
    metadata.xml when it does not lie in `root`. smpl, regressor: folder of SMPL_NEUTRAL.pkl and the 17 x 6890 regressor
    file, to take the annotations' SMPL fits (`_smpl_param.json`)."""
    if subjects is not None:
        subjects = tuple(_subject_number(subject) for subject in subjects)
    options = Human36mOptions(subjects, every_train, every_test, final, drop_shifted)
    if (root / "annotations").is_dir():
        if smpl is None and regressor is None:
            return AnnotatedHuman36m(root, options)
        from pipeline.body.smpl import open_smpl  # loads torch, which a mere look at the dataset does not need

        return AnnotatedHuman36m(root, options, open_smpl(smpl, regressor))
    if smpl is not None or regressor is not None:
        raise InputError(
            "smpl and regressor are for the annotations' SMPL fits; the official release of Human3.6M has none."
        )
    if metadata is not None or (root / "metadata.xml").exists() or any(root.glob("S*/MyPoseFeatures")):
        return ReleasedHuman36m(root, options, metadata)
    raise InputError(
        f"{root} holds neither annotations/Human36M_subject*_data.json (3DMPPE's layout) nor S*/MyPoseFeatures with "
        "metadata.xml (the official release). Give the folder above them; docs/datasets.md shows both layouts."
    )


def _subject_number(subject: int | str) -> int:
    text = str(subject).upper().removeprefix("S")
    if not text.isdecimal():
        raise InputError(f"{subject!r} is not a subject of Human3.6M; write S9 or 9.")
    return int(text)
