"""A person's joints in a photograph, with torch and Pillow alone: field.pt2 is what `nvf-cli export RUN field.pt2` wrote.

python examples/predict_with_torch.py field.pt2 photo.jpg X Y WIDTH HEIGHT
"""

import math
import sys

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

MARGIN = 1.25  # the crop's side over the longer side of the box


def crop_of(image, box, side, focal):
    """Photograph (3, H, W) in [-1, 1], its box and focal length px -> crop (1, 3, S, S), its K (1, 3, 3), and R: photo to crop."""
    middle = (torch.tensor([image.shape[2], image.shape[1]]).double() - 1) / 2
    x, y, width, height = box
    ends = torch.tensor([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]]).double() * MARGIN * max(width, height) / 2
    ends = ends + torch.tensor([x + (width - 1) / 2, y + (height - 1) / 2])  # the crop's centre and its four sides
    rays = F.pad((ends - middle) / focal, (0, 1), value=1.0)
    (dx, dy, dz), o = F.normalize(rays[0], dim=0).tolist(), 0.0
    turn = torch.tensor([[o, o, -dx], [o, o, -dy], [dx, dy, o]]).double()
    R = torch.eye(3).double() + turn + turn @ turn / (1 + dz)  # the smallest rotation that takes the centre's ray to z
    flat = (rays @ R.T)[:, :2] / (rays @ R.T)[:, 2:]
    zoom, c = 2 * side / float(flat[2, 0] - flat[1, 0] + flat[4, 1] - flat[3, 1]), (side - 1) / 2
    K = torch.tensor([[zoom, o, c], [o, zoom, c], [o, o, 1.0]]).double()
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    rays = torch.stack([columns, rows, torch.ones_like(rows)], -1).double() @ (R.T @ K.inverse()).T
    at, image, shrink = rays[..., :2] / rays[..., 2:] * focal + middle, (image[None] + 1) / 2, focal / zoom
    while shrink >= 2:  # halve the photograph while a pixel of the crop covers two of its own
        image = F.avg_pool2d(F.pad(image, (0, image.shape[3] % 2, 0, image.shape[2] % 2), mode="replicate"), 2)
        at, shrink = (at + 0.5) / 2 - 0.5, shrink / 2
    grid = (2 * at + 1) / torch.tensor([image.shape[3], image.shape[2]]) - 1
    return F.grid_sample(image, grid[None].float(), align_corners=False) * 2 - 1, K[None].float(), R.float()


def predict(file, photograph, box, focal=None):
    """Joints (J, 3) root-relative and root (3,), m, in the photograph's camera; confidence (J,): within 100 mm of the truth."""
    picture = ImageOps.exif_transpose(Image.open(photograph)).convert("RGB")
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(picture.height, picture.width, 3)
    program, image = torch.export.load(file), pixels.permute(2, 0, 1) / 127.5 - 1
    side = program.example_inputs[0][0].shape[-1]
    crop, K, R = crop_of(image, box, side, focal or math.hypot(*picture.size))
    joints, root, confidence = program.module()(crop, K)
    return joints[0] @ R, root[0] @ R, confidence[0]


if __name__ == "__main__":
    joints, root, confidence = predict(sys.argv[1], sys.argv[2], [float(value) for value in sys.argv[3:7]])
    print("root", *(f"{value:8.4f}" for value in root.tolist()))
    for joint, sure in zip(joints.tolist(), confidence.tolist(), strict=True):
        print(*(f"{value:8.4f}" for value in joint), f"{sure:.2f}")
