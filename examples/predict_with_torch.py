"""A person's joints in a photograph, with torch and Pillow alone. field.pt2: `nvf-cli export RUN field.pt2 --photograph`.

python examples/predict_with_torch.py field.pt2 photo.jpg X Y WIDTH HEIGHT
"""

import math
import sys

import torch
from PIL import Image, ImageOps


def predict(file, photograph, box, focal=None):
    """Joints (J, 3) root-relative and root (3,), m, in the photograph's camera; confidence (J,): within 100 mm of the truth."""
    picture = ImageOps.exif_transpose(Image.open(photograph)).convert("RGB")
    width, height = picture.size
    f = focal or math.hypot(width, height)  # px; the photograph's diagonal where the lens is not known
    K = torch.tensor([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]])
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(height, width, 3)
    found = torch.export.load(file).module()(pixels, K, torch.tensor([box]).float())
    return [values[0] for values in found]


if __name__ == "__main__":
    joints, root, confidence = predict(sys.argv[1], sys.argv[2], [float(value) for value in sys.argv[3:7]])
    print("root", *(f"{value:8.4f}" for value in root.tolist()))
    for joint, sure in zip(joints.tolist(), confidence.tolist(), strict=True):
        print(*(f"{value:8.4f}" for value in joint), f"{sure:.2f}")
