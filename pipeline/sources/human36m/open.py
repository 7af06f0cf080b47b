"""Which of Human3.6M's two layouts lies in a folder, and its reader."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.sources.base import smpl_files
from pipeline.sources.human36m.annotations import AnnotatedHuman36m
from pipeline.sources.human36m.common import TEST_STEP, TRAIN_STEP, Human36m, Human36mOptions
from pipeline.sources.human36m.release import ReleasedHuman36m


@dataclass(frozen=True)
class Options:
    """subjects: numbers or names ("S9"), None for all that are there. every_train, every_test: keep frames whose
    number is a multiple. final: subject 8 joins the training set. drop_shifted: leave out the three sequences of
    subject 9 with shifted ground truth. metadata: the release's metadata.xml when it does not lie in the folder. smpl,
    regressor: folder of SMPL_NEUTRAL.pkl and the 17 x 6890 regressor file, to take the annotations' SMPL fits."""

    subjects: tuple[int | str, ...] | None = None
    every_train: int = TRAIN_STEP
    every_test: int = TEST_STEP
    final: bool = False
    drop_shifted: bool = False
    metadata: Path | None = None
    smpl: Path | None = None
    regressor: Path | None = None


def open_root(root: Path, given: Options) -> Human36m:
    """The reader that fits what lies in `root`."""
    subjects = None if given.subjects is None else tuple(_subject_number(subject) for subject in given.subjects)
    options = Human36mOptions(subjects, given.every_train, given.every_test, given.final, given.drop_shifted)
    if (root / "annotations").is_dir():
        return AnnotatedHuman36m(root, options, smpl_files(given.smpl, given.regressor))
    if given.smpl is not None or given.regressor is not None:
        raise InputError(
            "smpl and regressor are for the annotations' SMPL fits; the official release of Human3.6M has none."
        )
    if given.metadata is not None or (root / "metadata.xml").exists() or any(root.glob("S*/MyPoseFeatures")):
        return ReleasedHuman36m(root, options, given.metadata)
    raise InputError(
        f"{root} holds neither annotations/Human36M_subject*_data.json (3DMPPE's layout) nor S*/MyPoseFeatures with "
        "metadata.xml (the official release). Give the folder above them; docs/datasets.md shows both layouts."
    )


def _subject_number(subject: int | str) -> int:
    text = str(subject).upper().removeprefix("S")
    if not text.isdecimal():
        raise InputError(f"{subject!r} is not a subject of Human3.6M; write S9 or 9.")
    return int(text)
