"""People in pictures, from Python: joints, distances and meshes of everybody in some photographs.

python examples/people_in_pictures.py photo.jpg [more.jpg ...] [--run runs/x]
"""

import argparse

import numpy as np

import nvf_body


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--run", help="a run of yours; the shipped model without")
    arguments = parser.parse_args()
    model = nvf_body.load(arguments.run)
    for found in model(arguments.pictures):  # all of them together, with the same results as one by one
        print(found.name, found.refusal or f"{len(found.people)} people")
        for person in found.people:
            joints = dict(zip(model.joint_names, person.joints + person.root, strict=True))  # metres from the camera
            print(f"  {person.root[2]:.2f} m away, right wrist at {np.round(joints['right_wrist'], 2)}")
            if person.body is not None:
                height = np.ptp(model.mesh(person)[:, 1])  # (13492, 3) metres, triangles are model.faces
                print(f"  the body is {height:.2f} m high in the picture, betas {np.round(person.body.betas[:3], 1)}")


if __name__ == "__main__":
    main()
