"""What a capture is made of: its size, its splits, and how much it disturbs what it shows."""

from dataclasses import dataclass

from pipeline.errors import InputError

# Number of what a seed draws of people in motion before four cameras (`begun.Kind`).
DRAWN = 2
SUBJECTS = {"train": (1, 5, 6, 7), "validation": (8,), "test": (9, 11)}
SPLIT_OF = {subject: split for split, subjects in SUBJECTS.items() for subject in subjects}
# Human3.6M's actions in the order of its action_idx 2..16.
ACTIONS = (
    "Directions",
    "Discussion",
    "Eating",
    "Greeting",
    "Phoning",
    "Posing",
    "Purchases",
    "Sitting",
    "SittingDown",
    "Smoking",
    "Photo",
    "Waiting",
    "Walking",
    "WalkDog",
    "WalkTogether",
)
FIRST_ACTION_IDX = 2
SUBACTIONS = (1, 2)
CAMERAS = (1, 2, 3, 4)
# The splits keep every 5th frame of training and validation subjects, every 64th of test subjects: strides are multiples.
KEPT = {"train": 5, "validation": 5, "test": 64}
SHARE = {"train": 0.76, "validation": 0.08, "test": 0.16}


@dataclass(frozen=True)
class Looks:
    """How either capture looks; each can be turned off, to see what it is worth.

    places: share of pictures in real places and their light, the others are in built rooms. garments: clothes as meshes
    over the body; without, all clothes are painted on the skin and stand off it. camera_effects: exposures, casts, blur,
    shake, noise and compression that differ from camera to camera, and limbs that move while the shutter is open; without,
    all are as a plain camera's of people who keep still.
    """

    places: float = 0.7
    garments: bool = True
    camera_effects: bool = True

    def __post_init__(self) -> None:
        assert 0 <= self.places <= 1


@dataclass(frozen=True)
class CaptureSettings:
    """Settings of people in motion before four cameras; all lengths in metres unless the name says otherwise.

    instants: rendered moments in total (four images each), shared out over splits by SHARE and evenly over sequences. image_px:
    side of the square images. stride: frames (at 50 Hz) between rendered frames, per split, multiples of KEPT. box_shift,
    box_scale: standard deviations of the disturbance of the written boxes, as a fraction of the box's longer side and of its
    size, cut at two of them; with both 0 the boxes follow 3DMPPE's convention exactly. occluder_rate: share of views with
    something in front of the person. shape_spread, shape_warp_m: for a body that comes without people of its own, the standard
    deviation of its betas, and the size of a smooth change of shape that they cannot express. garment_m: least and greatest
    displacement of clothes. penetration_m: how far two capsules of the body may overlap. supersampling: rays per pixel along each
    axis. jpeg_quality: of the best pictures. looks: how things look. subjects, actions: what to make (tests make less).
    """

    seed: int = 0
    instants: int = 1500
    image_px: int = 256
    stride_train: int = 25
    stride_test: int = 64
    box_shift: float = 0.03
    box_scale: float = 0.05
    occluder_rate: float = 0.2
    shape_spread: float = 1.0
    shape_warp_m: float = 0.008
    garment_m: tuple[float, float] = (0.010, 0.040)
    penetration_m: float = 0.02
    supersampling: int = 2
    jpeg_quality: int = 92
    looks: Looks = Looks()
    subjects: tuple[int, ...] = tuple(SPLIT_OF)
    actions: tuple[str, ...] = ACTIONS

    def __post_init__(self) -> None:
        unknown = [s for s in self.subjects if s not in SPLIT_OF] + [a for a in self.actions if a not in ACTIONS]
        if unknown or not self.subjects or not self.actions:
            raise InputError(
                f"the capture cannot be made of {unknown or 'nothing'}; subjects are {sorted(SPLIT_OF)} and actions {list(ACTIONS)}"
            )
        if self.instants < len(self.subjects):
            raise InputError(
                f"{self.instants} instants are too few for {len(self.subjects)} subjects; ask for at least one instant a subject"
            )
        if not 64 <= self.image_px <= 1000:
            raise InputError(f"images of {self.image_px} px cannot be made; give 64 to 1000 (Human3.6M's own size)")
        for name, stride, kept in (("train", self.stride_train, 5), ("test", self.stride_test, 64)):
            if stride <= 0 or stride % kept:
                raise InputError(
                    f"the {name} stride {stride} would render frames that the splits drop; give a multiple of {kept}"
                )
        if self.seed < 0:
            raise InputError(f"the seed {self.seed} is negative; give 0 or more")
        assert self.supersampling >= 1 and 0 <= self.occluder_rate <= 1 and self.garment_m[0] <= self.garment_m[1]

    def shares(self) -> dict[str, int]:
        """Instants of each split that has subjects: by SHARE among them, at least one a subject; they sum to `instants`."""
        counts = {split: sum(s in self.subjects for s in subjects) for split, subjects in SUBJECTS.items()}
        total = sum(SHARE[split] for split, n in counts.items() if n)
        shares = {split: max(n, int(self.instants * SHARE[split] / total)) for split, n in counts.items() if n}
        largest = max(shares, key=lambda split: shares[split])
        shares[largest] += self.instants - sum(shares.values())
        return shares

    def stride(self, subject: int) -> int:
        return self.stride_test if SPLIT_OF[subject] == "test" else self.stride_train
