"""The bodies of a picture as files that programs for 3D open: GLB and PLY."""

import numpy as np

from model.people.shown import Shown
from pipeline.outputs import MARK

# glTF has y up and looks along -z; cameras have y down and look along z.
TO_GLTF = np.diag([1.0, -1.0, -1.0])


def as_glb(shown: Shown) -> bytes | None:
    """A glTF file with one node a person, `person-1` and so on (or `track-7`), metres, y up, the camera at the origin looking
    along -z. None without bodies."""
    if not shown.embodied:
        return None
    import trimesh  # here, since predictions without meshes need not wait for it
    from trimesh.visual.material import PBRMaterial
    from trimesh.visual.texture import TextureVisuals

    scene = trimesh.Scene()
    for (number, _), vertices, normals in zip(shown.embodied, shown.vertices, shown.normals, strict=True):
        material = PBRMaterial(
            baseColorFactor=[*linear(shown.colour(number)), 255], metallicFactor=0.0, roughnessFactor=0.8
        )
        mesh = trimesh.Trimesh(
            vertices @ TO_GLTF.astype(np.float32),
            shown.body.faces,
            vertex_normals=normals @ TO_GLTF,
            process=False,
            visual=TextureVisuals(material=material),
        )
        name = name_of(shown, number)
        scene.add_geometry(mesh, node_name=name, geom_name=name)

    def say_who(tree: dict) -> None:
        tree["asset"]["generator"] = MARK

    data = scene.export(file_type="glb", include_normals=True, tree_postprocessor=say_who)
    assert isinstance(data, bytes)
    return data


def linear(colour: np.ndarray) -> list[int]:
    """A colour (3,) 0..255 as screens and pictures have it, as glTF wants it: in proportion to its light."""
    share = colour / 255
    return (
        np.round(255 * np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)).astype(int).tolist()
    )


def as_ply(shown: Shown) -> bytes | None:
    """All bodies of the picture in one binary PLY file, coloured, metres, in the axes of the camera (y down). None without bodies."""
    if not shown.embodied:
        return None
    import trimesh

    each = len(shown.vertices[0])
    colours = np.repeat([shown.colour(number) for number, _ in shown.embodied], each, axis=0)
    faces = np.concatenate([shown.body.faces + k * each for k in range(len(shown.vertices))])
    data = trimesh.Trimesh(np.concatenate(shown.vertices), faces, process=False, vertex_colors=colours).export(
        None, file_type="ply"
    )
    assert isinstance(data, bytes)
    return data


def name_of(shown: Shown, number: int) -> str:
    """Of a person in files: by the track where there is one, else by the place among the people of the picture."""
    track = shown.people[number].track
    return f"person-{number + 1}" if track is None else f"track-{track}"
