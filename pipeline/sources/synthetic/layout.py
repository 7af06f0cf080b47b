"""The finished capture of people in motion: annotations in Human3.6M's layout, the true bodies and a contact sheet."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import InputError
from pipeline.outputs import encode_picture, write_file
from pipeline.records import Camera
from pipeline.sources.synthetic.sequences import THUMB_PX, SequencePlan, SequenceResult, Studio
from pipeline.sources.synthetic.settings import CAMERAS, CaptureSettings
from pipeline.sources.synthetic.truth import TRUTH_FILE, write_truth

SHEET_FILE = "contact_sheet.png"


def join(out: Path, studio: Studio, plans: Sequence[SequencePlan], results: Sequence[SequenceResult]) -> None:
    """Write what all filmed sequences together give. Raises InputError where it cannot be written."""
    try:
        _write_annotations(out / "annotations", studio, plans, results)
        ids = [plan.instant_id(k * plan.stride) for plan in plans for k in range(plan.kept)]
        subjects = [plan.subject for plan in plans for _ in range(plan.kept)]
        truth = {name: np.concatenate([result.truth[name] for result in results]) for name in results[0].truth}
        warps = {subject: studio.persons[subject].warp for subject in studio.settings.subjects}
        write_truth(out / TRUTH_FILE, ids, subjects, truth, warps)
        write_file(out / SHEET_FILE, encode_picture(contact_sheet(studio.settings, plans, results)))
    except OSError as error:
        raise InputError(
            f"{out}: the annotations cannot be written ({error.strerror or error}); free some space"
        ) from error


def _write_annotations(
    folder: Path, studio: Studio, plans: Sequence[SequencePlan], results: Sequence[SequenceResult]
) -> None:
    """_data, _camera and _joint_3d of every subject (DATASETS: annotation layout of 3DMPPE); ids count on over subjects."""
    number = 0
    size = studio.settings.image_px
    for subject in dict.fromkeys(plan.subject for plan in plans):
        images: list[dict] = []
        annotations: list[dict] = []
        joints: dict[str, dict[str, dict]] = {}
        for plan, result in zip(plans, results, strict=True):
            if plan.subject != subject:
                continue
            joints.setdefault(str(plan.action_idx), {})[str(plan.subaction)] = {
                str(frame): pose for frame, pose in enumerate(result.joints_mm.tolist())
            }
            for note in result.images:
                images.append(
                    {
                        "id": number,
                        "file_name": plan.image_name(note.camera, note.frame),
                        "width": size,
                        "height": size,
                        "subject": subject,
                        "action_name": plan.action,
                        "action_idx": plan.action_idx,
                        "subaction_idx": plan.subaction,
                        "cam_idx": note.camera,
                        "frame_idx": note.frame,
                    }
                )
                annotations.append(
                    {
                        "id": number,
                        "image_id": number,
                        "keypoints_vis": note.visible.tolist(),
                        "bbox": note.box.tolist(),
                    }
                )
                number += 1
        for part, content in (
            ("data", {"images": images, "annotations": annotations}),
            ("camera", _camera_entries(studio.cameras[subject])),
            ("joint_3d", joints),
        ):
            path = folder / f"Human36M_subject{subject}_{part}.json"
            write_file(path, json.dumps(content, separators=(",", ":")).encode())


def _camera_entries(cameras: tuple[Camera, ...]) -> dict[str, dict]:
    """The content of `_camera.json`: t in millimetres, focal lengths and centre in pixels."""
    return {
        str(number): {
            "R": camera.R.tolist(),
            "t": (1000 * camera.t).tolist(),
            "f": np.diag(camera.K)[:2].tolist(),
            "c": camera.K[:2, 2].tolist(),
        }
        for number, camera in zip(CAMERAS, cameras, strict=True)
    }


def contact_sheet(
    settings: CaptureSettings, plans: Sequence[SequencePlan], results: Sequence[SequenceResult]
) -> np.ndarray:
    """(H, W, 3) uint8 RGB: one row an action, two crops a subject (cameras 1 and 2 of the first subaction, or whichever there is)."""
    label = 90
    sheet = np.full(
        (24 + len(settings.actions) * THUMB_PX, label + 2 * len(settings.subjects) * THUMB_PX, 3), 255, np.uint8
    )
    for k, subject in enumerate(settings.subjects):
        cv2.putText(
            sheet,
            f"S{subject}",
            (label + 2 * k * THUMB_PX + 4, 17),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.5,
            (0, 0, 0),
            1,
            cv2.LINE_AA,
        )
    for row, action in enumerate(settings.actions):
        top = 24 + row * THUMB_PX
        cv2.putText(sheet, action, (3, top + 20), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)
        for k, subject in enumerate(settings.subjects):
            found = [
                r for plan, r in zip(plans, results, strict=True) if (plan.subject, plan.action) == (subject, action)
            ]
            if found:
                left = label + 2 * k * THUMB_PX
                sheet[top : top + THUMB_PX, left : left + 2 * THUMB_PX] = np.concatenate(list(found[0].thumbs[:2]), 1)
    return sheet
