"""How many views Human3.6M has, as everyone samples it, and how a folder compares."""

from pipeline.sources.base import Findings, Found

# Views of subjects 1, 5, 6, 7, 8 at every 5th frame; of 9 and 11 at every 64th and at every frame; and of those camera 4.
TRAIN = {5: 312188}
TEST = {64: 8695, 1: 548819}
TEST_CAMERA_4 = {64: 2181, 5: 27558}
TRAIN_SUBJECTS, TEST_SUBJECTS = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")


def compare_counts(
    found: Found, every_train: int, every_test: int, drop_shifted: bool, chosen: tuple[int, ...] | None
) -> Findings:
    """Where a split with all its subjects has other numbers of views than everyone's. The other arguments are the source's options;
    chosen: its subjects, None for all."""
    expected = []
    if found.groups.issuperset(TRAIN_SUBJECTS) and every_train in TRAIN:
        views = found.by_split["train"] + found.by_split["validation"]
        expected.append(("training and validation", TRAIN[every_train], views))
    if found.groups.issuperset(TEST_SUBJECTS) and not drop_shifted:
        for name, known, views in (
            ("test, 4 cameras", TEST, found.by_split["test"]),
            ("test, camera 4", TEST_CAMERA_4, found.cameras["test", "4"]),
        ):
            if every_test in known:
                expected.append((name, known[every_test], views))
    missing = [subject for subject in (*TRAIN_SUBJECTS, *TEST_SUBJECTS) if subject not in found.groups]
    notices = []
    if missing and chosen is None:
        names = ", ".join(missing)
        notices.append(f"{names} are not there, or not readable: counts of their splits are not compared.")
    return Findings(
        [
            f"{name}: {views} views, Human3.6M has {known}; protocols will refuse the set without --allow-partial"
            for name, known, views in expected
            if known != views
        ],
        notices,
    )
