"""The joints of a person in a photograph, from an exported program: torch alone, and Pillow to read the picture.

python examples/predict_with_torch.py field.pt2 photo.jpg 120 40 300 520
"""

import math
import sys

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

MARGIN = 1.25  # the crop's side over the longer side of the box


def crop_of(image, box, side, focal=None):
    """image (3, H, W) from -1 to 1, box x, y, width, height -> crop (1, 3, S, S), its K (1, 3, 3), and R (3, 3), photo to crop."""
    height, width = image.shape[1:]
    f, x, y, w, h = focal or math.hypot(width, height), *box
    ray = lambda u, v: torch.tensor([(u - (width - 1) / 2) / f, (v - (height - 1) / 2) / f, 1.0], dtype=torch.float64)  # noqa: E731
    u, v, half = x + (w - 1) / 2, y + (h - 1) / 2, MARGIN * max(w, h) / 2
    d = F.normalize(ray(u, v), dim=0)  # the smallest rotation that takes d to z
    turn = torch.tensor([[0, 0, -d[0]], [0, 0, -d[1]], [d[0], d[1], 0]], dtype=torch.float64)
    R = torch.eye(3, dtype=torch.float64) + turn + turn @ turn / (1 + d[2])
    left, right, top, low = (R @ ray(*p) for p in ((u - half, v), (u + half, v), (u, v - half), (u, v + half)))
    span = (abs(right[0] / right[2] - left[0] / left[2]) + abs(low[1] / low[2] - top[1] / top[2])) / 2
    c = (side - 1) / 2
    K = torch.tensor([[side / span, 0, c], [0, side / span, c], [0, 0, 1]], dtype=torch.float64)
    rows, columns = torch.meshgrid(*[torch.arange(side, dtype=torch.float64)] * 2, indexing="ij")
    seen = torch.stack([columns, rows, torch.ones_like(rows)], -1) @ (R.T @ torch.linalg.inv(K)).T
    at = seen[..., :2] / seen[..., 2:] * f + torch.tensor(
        [(width - 1) / 2, (height - 1) / 2]
    )  # pixels of the photograph
    image, ratio = (image[None] + 1) / 2, float(f * span / side)
    while ratio >= 2:  # halve the photograph while a pixel of the crop covers two of its own
        image = F.pad(image, (0, image.shape[3] % 2, 0, image.shape[2] % 2), mode="replicate")
        image, at, ratio = F.avg_pool2d(image, 2), (at + 0.5) / 2 - 0.5, ratio / 2
    size = torch.tensor([image.shape[3], image.shape[2]])
    crop = F.grid_sample(image, ((2 * at + 1) / size - 1)[None].float(), align_corners=False)
    return crop * 2 - 1, K[None].float(), R.float()


def predict(program, image, box, side, focal=None):
    """joints (J, 3) root-relative and root (3,), metres in the photograph's camera; confidence (J,) that each lies within 100 mm."""
    crop, K, R = crop_of(image, box, side, focal)
    joints, root, confidence = program(crop, K)
    return joints[0] @ R, root[0] @ R, confidence[0]


if __name__ == "__main__":
    file = torch.export.load(sys.argv[1])
    side = file.example_inputs[0][0].shape[-1]
    picture = ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB")
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(picture.height, picture.width, 3)
    photograph = pixels.permute(2, 0, 1).float() * (2 / 255) - 1
    joints, root, confidence = predict(file.module(), photograph, [float(v) for v in sys.argv[3:7]], side)
    print("root", *(f"{value:8.4f}" for value in root.tolist()))
    for joint, sure in zip(joints.tolist(), confidence.tolist(), strict=True):
        print(*(f"{value:8.4f}" for value in joint), f"{sure:.2f}")
