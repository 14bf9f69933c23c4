"""Formats by file extension. A new format is one module and its lines here.

The module has `read(file: pipeline.reading.File) -> Mesh | Cloud`, in the file's own axes and units, float64 welcome:
every part in place, one part for each material (`geometry.grouped`), colours in sRGB, `warnings` for what was left out.
It raises `UserError` for whatever it cannot read.
"""

from typing import Final

FORMATS: Final[dict[str, str]] = {
    ".glb": "pipeline.formats.gltf",
    ".gltf": "pipeline.formats.gltf",
    ".obj": "pipeline.formats.obj",
    ".off": "pipeline.formats.off",
    ".stl": "pipeline.formats.stl",
    ".ply": "pipeline.formats.ply",
    ".dae": "pipeline.formats.collada",
    ".zae": "pipeline.formats.collada",
    ".3mf": "pipeline.formats.threemf",
    ".usd": "pipeline.formats.usd",
    ".usda": "pipeline.formats.usd",
    ".usdc": "pipeline.formats.usd",
    ".usdz": "pipeline.formats.usd",
    ".3dxml": "pipeline.formats.scene",
    ".npy": "pipeline.formats.table",
    ".npz": "pipeline.formats.table",
    ".xyz": "pipeline.formats.table",
    ".txt": "pipeline.formats.table",
    ".pts": "pipeline.formats.table",
    ".asc": "pipeline.formats.table",
    ".csv": "pipeline.formats.table",
    ".pcd": "pipeline.formats.pcd",
    ".las": "pipeline.formats.las",
    ".laz": "pipeline.formats.las",
}
"""Extension, in lower case, to module."""

_BLENDER: Final = "open it in Blender (free) and use File > Export > glTF 2.0"
_CAD: Final = "open it in FreeCAD (free) and use File > Export > glTF 2.0"

ELSEWHERE: Final[dict[str, str]] = {
    ".fbx": _BLENDER, ".blend": _BLENDER, ".abc": _BLENDER, ".x3d": _BLENDER, ".wrl": _BLENDER, ".3ds": _BLENDER,
    ".max": "use File > Export > glTF or OBJ in 3ds Max", ".skp": "use File > Export > glTF or COLLADA in SketchUp",
    ".step": _CAD, ".stp": _CAD, ".iges": _CAD, ".igs": _CAD, ".brep": _CAD, ".fcstd": _CAD,
    ".xaml": "convert it to glTF",
}  # fmt: skip
"""Extensions of shapes that are not read here, and how to make one that is."""
