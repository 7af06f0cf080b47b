"""Writes a capture: films every sequence, in this process or several, and the annotations in Human3.6M's layout."""

import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipeline.errors import InputError
from pipeline.records import Camera
from pipeline.sources.synthetic.people import Rig, make_rig
from pipeline.sources.synthetic.sequences import (
    THUMB_PX,
    SequencePlan,
    SequenceResult,
    Studio,
    film,
    open_studio,
    plan_sequences,
)
from pipeline.sources.synthetic.settings import CAMERAS, CaptureSettings
from pipeline.sources.synthetic.truth import TRUTH_FILE, write_truth
from pipeline.threads import one_thread

if TYPE_CHECKING:
    from pipeline.body.model import BodyModel

MARK_FILE = "synthetic.json"
SHEET_FILE = "contact_sheet.png"
FORMAT = 1
# So often processes are started anew when one was killed.
ATTEMPTS = 3


@one_thread()
def write_capture(
    out: Path,
    body: "BodyModel",
    settings: CaptureSettings,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Write a capture into the new or empty folder `out` and return what its mark file says.

    workers: processes; 0 films in this one. The bytes written do not depend on it.
    progress: called with (instants done, instants in total). Everything is written beside `out` first and renamed when it is
    complete. Raises InputError when `out` is not empty or cannot be written.
    """
    out = Path(out)
    _refuse_filled(out, "exists and is not an empty folder")
    plans = plan_sequences(settings)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            draft = Path(folder) / out.name
            mark = _write(draft, make_rig(body), settings, plans, workers, progress or (lambda done, total: None))
            _refuse_filled(out, "was filled while this capture was filmed, by another run")
            if out.exists():
                out.rmdir()
            os.rename(draft, out)
    except OSError as error:
        raise InputError(
            f"the capture cannot be written to {out} ({error.strerror or error}); name a folder on a disk that can be written and has "
            f"about {settings.instants * 4 * 20 // 1024 + 20} MB free."
        ) from error
    return mark


def _refuse_filled(out: Path, why: str) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} {why}; name a new folder for the capture or remove this one first.")


def _write(
    out: Path,
    rig: Rig,
    settings: CaptureSettings,
    plans: list[SequencePlan],
    workers: int,
    progress: Callable[[int, int], None],
) -> dict:
    (out / "annotations").mkdir(parents=True)
    studio = open_studio(rig, settings)
    filmed: dict[int, SequenceResult] = {}
    total, done = sum(plan.kept for plan in plans), 0
    progress(0, total)
    for k, result in _film_all(studio, plans, out / "images", workers):
        filmed[k] = result
        done += plans[k].kept
        progress(done, total)
    results = [filmed[k] for k in range(len(plans))]
    _write_annotations(out / "annotations", studio, plans, results)
    ids = [plan.instant_id(k * plan.stride) for plan in plans for k in range(plan.kept)]
    subjects = [plan.subject for plan in plans for _ in range(plan.kept)]
    truth = {name: np.concatenate([result.truth[name] for result in results]) for name in results[0].truth}
    write_truth(out / TRUTH_FILE, ids, subjects, truth, {s: studio.persons[s].warp for s in settings.subjects})
    write_contact_sheet(out / SHEET_FILE, settings, plans, results)
    mark = {
        "synthetic": True,
        "format": FORMAT,
        "note": "Rendered people, not a recording: written by nvf-cli synthesize.",
        "seed": settings.seed,
        "settings": asdict(settings),
        "body": {"name": rig.name, "sha256": rig.sha256},
        "instants": total,
        "views": total * len(CAMERAS),
    }
    (out / MARK_FILE).write_text(json.dumps(mark, indent=1) + "\n")
    return mark


_studio: Studio | None = None


def _open_worker(rig: Rig, settings: CaptureSettings) -> None:
    global _studio
    cv2.setNumThreads(1)
    _studio = open_studio(rig, settings)


def _film_in_worker(plan: SequencePlan, images: Path) -> SequenceResult:
    assert _studio is not None, "_open_worker comes first"
    return film(_studio, plan, images)


def _film_all(
    studio: Studio, plans: list[SequencePlan], images: Path, workers: int
) -> Iterator[tuple[int, SequenceResult]]:
    """(index, result) of every plan, in the order in which they are done. Where a process dies, others do what it left."""
    if workers == 0:
        for k, plan in enumerate(plans):
            yield k, film(studio, plan, images)
        return
    left = dict(enumerate(plans))
    for _ in range(ATTEMPTS):
        try:
            for k, result in _film_in_pool(studio, left, images, workers):
                del left[k]
                yield k, result
            return
        except BrokenProcessPool:
            continue
    raise InputError(
        f"a process that films was killed {ATTEMPTS} times with {len(left)} of {len(plans)} sequences to go; free some memory, or "
        f"give fewer --workers than {workers}"
    )


def _film_in_pool(
    studio: Studio, plans: dict[int, SequencePlan], images: Path, workers: int
) -> Iterator[tuple[int, SequenceResult]]:
    """As `_film_all`, over new processes. Raises BrokenProcessPool when one of them dies."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _open_worker, (studio.rig, studio.settings)) as pool:
        futures = {pool.submit(_film_in_worker, plan, images): k for k, plan in plans.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_annotations(folder: Path, studio: Studio, plans: list[SequencePlan], results: list[SequenceResult]) -> None:
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
            path.write_text(json.dumps(content, separators=(",", ":")))


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


def write_contact_sheet(
    path: Path, settings: CaptureSettings, plans: list[SequencePlan], results: list[SequenceResult]
) -> None:
    """One row an action, two crops a subject (cameras 1 and 2 of the first subaction, or whichever there is)."""
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
    done, data = cv2.imencode(".png", sheet[..., ::-1])
    assert done
    path.write_bytes(data.tobytes())
