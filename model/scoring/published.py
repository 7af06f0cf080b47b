"""Numbers that papers and repositories report, to stand beside ours in a report. Quoted, never measured here.

Only numbers read in a paper, README or log of the authors (or of the table named) are listed; what is known at second
hand is left out. mm, one image, root-relative. Human3.6M is S9 and S11, 3DPW its test split.
"""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class PublishedResult:
    """One row. mpjpe_mm, pa_mpjpe_mm: None where the source gives none. source: where the numbers were read. note:
    what a reader must know before comparing."""

    method: str
    mpjpe_mm: float | None
    pa_mpjpe_mm: float | None
    source: str
    note: str = ""


_I2L_TABLES = "I2L-MeshNet (ECCV 2020), tables 5 and 6"
_HAND4WHOLE = "Hand4Whole (CVPRW 2022), table 6"
_VARIANT = "variant of the protocol not stated by the source"
_TRAINED_3DPW = "whether trained on 3DPW: see the source"
_WITHOUT_3DPW = "trained without 3DPW"

PUBLISHED: dict[str, tuple[PublishedResult, ...]] = {
    "h36m-p2-17j": (
        PublishedResult("PoseNet (3DMPPE)", 54.4, None, "3DMPPE_POSENET_RELEASE README, table of protocol 2"),
        PublishedResult("PoseNet (3DMPPE)", 53.3, None, "the same", "with ground-truth boxes and roots"),
    ),
    "h36m-i2l-14j": (
        PublishedResult("I2L-MeshNet, lixel", 55.7, 41.1, f"{_I2L_TABLES} (README: 55.83, 41.10)", "H36M and COCO"),
        PublishedResult("I2L-MeshNet, SMPL parameters", 66.05, 45.03, "I2L-MeshNet_RELEASE README"),
        PublishedResult("SMPLify", None, 82.3, _I2L_TABLES, _VARIANT),
        PublishedResult("HMR", 88.0, 56.8, _I2L_TABLES, _VARIANT),
        PublishedResult("GraphCMR", None, 50.1, _I2L_TABLES, _VARIANT),
        PublishedResult("SPIN", None, 41.1, _I2L_TABLES, _VARIANT),
    ),
    "h36m-spin-14j": (
        PublishedResult("METRO", 54.0, 36.7, "METRO docs/EXP.md (log: 54.04 / 36.75)"),
        PublishedResult("Mesh Graphormer", 51.2, 34.5, "MeshGraphormer log (51.20 / 34.55)"),
        PublishedResult("FastMETRO-L-H64", None, 33.6, "FastMETRO README"),
        PublishedResult("HybrIK, ResNet-34", 55.5, 33.8, "HybrIK README", _VARIANT),
        PublishedResult("HybrIK, HRNet-48", 47.1, 29.8, "HybrIK README", f"{_VARIANT}; trained with 3DPW"),
        PublishedResult("HybrIK, HRNet-48", 50.4, 29.5, "HybrIK README", f"{_VARIANT}; trained without 3DPW"),
        PublishedResult("VirtualMarker", 47.3, 32.0, "VirtualMarker README", _VARIANT),
        PublishedResult("PointHMR, HRNet-32", 48.3, 32.9, "PointHMR README", _VARIANT),
        PublishedResult("SMPLer", 47.0, 32.8, "SMPLer README", _VARIANT),
        PublishedResult("SMPLer-L", 45.2, 32.4, "SMPLer README", _VARIANT),
        PublishedResult("Pose2Mesh", 64.9, 46.3, "Pose2Mesh_RELEASE asset/tab.png", "4 cameras, every 50th frame"),
    ),
    "3dpw-14j": (
        PublishedResult("HMR", 130.0, 81.3, f"{_I2L_TABLES}; {_HAND4WHOLE}"),
        PublishedResult("GraphCMR", None, 70.2, _I2L_TABLES),
        PublishedResult("SPIN", 96.9, 59.2, f"{_I2L_TABLES}; {_HAND4WHOLE}"),
        PublishedResult("I2L-MeshNet, lixel", 93.2, 57.7, f"{_I2L_TABLES} (README: 93.15, 57.73)", _WITHOUT_3DPW),
        PublishedResult("I2L-MeshNet, SMPL parameters", 100.0, 60.0, "I2L-MeshNet_RELEASE README", _WITHOUT_3DPW),
        PublishedResult("Pose2Mesh", 88.9, 58.3, "Pose2Mesh_RELEASE asset/tab.png", _TRAINED_3DPW),
        PublishedResult("Pose2Mesh + AMASS", 89.5, 56.3, "Pose2Mesh_RELEASE asset/tab.png", _TRAINED_3DPW),
        PublishedResult("METRO", 77.1, 47.9, "METRO docs/EXP.md", "truth from the neutral model, not the gendered one"),
        PublishedResult(
            "Mesh Graphormer",
            74.7,
            45.6,
            "SMPLer README (own log 73.98 / 45.35)",
            "truth from the neutral model, not the gendered one",
        ),
        PublishedResult("FastMETRO-L-H64", None, 44.6, "FastMETRO README", _TRAINED_3DPW),
        PublishedResult("HybrIK, ResNet-34", 72.4, 44.5, "HybrIK README", _TRAINED_3DPW),
        PublishedResult("HybrIK, HRNet-48", 71.3, 41.8, "HybrIK README", "trained with 3DPW"),
        PublishedResult("HybrIK, HRNet-48", 88.0, 48.6, "HybrIK README", _WITHOUT_3DPW),
        PublishedResult("VirtualMarker", 67.5, 41.3, "VirtualMarker README", _TRAINED_3DPW),
        PublishedResult("PointHMR, HRNet-32", 73.9, 44.9, "PointHMR README", _TRAINED_3DPW),
        PublishedResult("SMPLer", 75.7, 45.2, "SMPLer README", _TRAINED_3DPW),
        PublishedResult("SMPLer-L", 73.7, 43.4, "SMPLer README", _TRAINED_3DPW),
        PublishedResult("Hand4Whole", 86.6, 54.4, _HAND4WHOLE, _TRAINED_3DPW),
        PublishedResult("OSX", 74.7, 45.1, "OSX assets/ehf_3dpw.png", _TRAINED_3DPW),
        PublishedResult("TokenHMR", 70.9, 44.8, "TokenHMR README", _TRAINED_3DPW),
    ),
}


def published(protocol: str) -> list[dict]:
    """Rows to print beside a protocol's result, each marked as quoted; empty where none is known."""
    return [{"quoted": True, **asdict(row)} for row in PUBLISHED.get(protocol, ())]
