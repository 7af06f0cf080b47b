"""Whether joints carry each other's names, told from people together: part of what `pipeline.plausible` judges."""

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.skeletons import JOINT_SETS, side_of

# Joints that follow one another along the body, from its middle outwards; those with a side stand once. The last two of a chain seem
# exchanged in somebody whose middle joint lies so many times further from the first than the last does, and than they lie from one
# another. Folded limbs and foreshortened ones look so now and then, in the image above all; hands behind the head are at 1.35.
CHAINS = (
    (("hip", "knee", "ankle"), 1.4),
    (("shoulder", "elbow", "wrist"), 1.4),
    (("nose", "eye", "ear"), 1.2),
    (("pelvis", "spine", "neck"), 1.3),
    (("spine", "neck", "nose"), 1.3),
    (("neck", "nose", "head_top"), 1.3),
)
# That is told of so many people, where it is so in this part of them.
FEWEST, MOSTLY = 5, 0.5
# Of so many poses of one person it can be told that a bone's length changes, by this part of it between a tenth and nine tenths of the
# poses.
FEWEST_POSES, MOST_CHANGE = 12, 0.25


def exchanged_names(points: np.ndarray, seen: np.ndarray, names: Sequence[str]) -> str | None:
    """Which joints carry each other's names in most people. points: (P, J, 2) pixels or (P, J, 3) metres. seen: (P, J) bool."""
    seen = seen & np.isfinite(points).all(-1)
    for sided, further in _chains(names):
        index = [names.index(name) for name in sided]
        first, middle, last = points[seen[:, index].all(1)][:, index].swapaxes(0, 1)
        reach, between, direct = (
            np.linalg.norm(p - q, axis=-1) for p, q in ((first, middle), (middle, last), (first, last))
        )
        wrong, count = int((reach > further * np.maximum(between, direct)).sum()), len(reach)
        if count >= FEWEST and wrong > MOSTLY * count:
            return f"{sided[1]} and {sided[2]} carry each other's names in {wrong} of {count} poses, or joints are in another order"
    return None


def _chains(names: Sequence[str]) -> Iterator[tuple[list[str], float]]:
    """The chains that a list of names has, those with a side of both."""
    for chain, further in CHAINS:
        for side in ("left_", "right_") if f"left_{chain[1]}" in names else ("",):
            sided = [name if name in ("nose", "neck") else side + name for name in chain]
            if set(sided) <= set(names):
                yield sided, further


def odd_names_of_all(joint_set: str, joints: np.ndarray) -> str | None:
    """Whether one person's poses (F, J, 3) metres, NaN where unknown, tell that joints carry others' names."""
    names = JOINT_SETS[joint_set].names
    told = exchanged_names(joints, np.ones(joints.shape[:2], bool), names)
    return told or changing_bone(joint_set, joints)


def changing_bone(joint_set: str, joints: np.ndarray) -> str | None:
    """A bone of a limb whose length is another in other poses of one person. joints: (F, J, 3). The size of each pose is taken out: a
    name may stand for several people."""
    names = JOINT_SETS[joint_set].names
    bones = np.array(
        [(a, b) for a, b in JOINT_SETS[joint_set].bones if side_of(names[a]) == side_of(names[b]) != "middle"]
    )
    joints = joints[np.isfinite(joints).all((1, 2))]
    if len(joints) < FEWEST_POSES or not len(bones):
        return None
    lengths = np.linalg.norm(joints[:, bones[:, 0]] - joints[:, bones[:, 1]], axis=-1)
    usual = np.maximum(np.median(lengths, 0), 1e-6)
    size = np.maximum(np.median(lengths / usual, 1, keepdims=True), 1e-6)
    low, high = np.quantile(lengths / usual / size, (0.1, 0.9), axis=0)
    worst = int((high - low).argmax())
    if high[worst] - low[worst] < MOST_CHANGE:
        return None
    a, b = (names[k] for k in bones[worst])
    return (
        f"{a} and {b} lie {100 * usual[worst] * low[worst]:.0f} to {100 * usual[worst] * high[worst]:.0f} cm apart, where a bone "
        "keeps its length, as if the joints were in another order"
    )
