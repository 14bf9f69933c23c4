"""Formats by file extension and by first bytes. A new format is one module and its lines here.

The module has `read(file: pipeline.reading.File) -> Mesh | Cloud`. The shape has the axes and units of the file; coordinates may be
float64. Every part is in place, there is one part for each material (`geometry.grouped`), colours are sRGB, and `warnings` says what was
left out. `read` raises `UserError` for a file that it cannot read.
"""

import re
from typing import Final, NamedTuple

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
"""By extension, in lower case: the module that reads it."""

READINGS: Final[dict[str, int]] = {
    **dict.fromkeys((".glb", ".gltf"), 1),
    ".obj": 1,
    ".off": 1,
    ".stl": 1,
    ".ply": 1,
    **dict.fromkeys((".dae", ".zae"), 1),
    ".3mf": 1,
    ".npy": 1,
    ".npz": 1,
    **dict.fromkeys((".xyz", ".txt", ".pts", ".asc", ".csv"), 1),
    ".pcd": 1,
    **dict.fromkeys((".las", ".laz"), 1),
    "labels": 1,  # of points, beside or in files of any format: `pipeline.formats.labels`
    # Sources that read files of their own layout. Those that are not here read files of the formats above, or make shapes in code, whose
    # revision is one of their options.
    "hdf5": 1,
    "shapenetpart": 1,
    "partnet": 1,
    "s3dis": 1,
    "scannet": 1,
    "sunrgbd": 1,
    "kitti": 1,
    "semantickitti": 1,
    "openshape": 1,
    "ulip": 1,
    "modelnetfewshot": 1,
}
"""Number of the reading of each format, and of each kind of source that reads its files itself. Caches record it (`pipeline.readings`), so
that shapes of two readings are not mixed. Raise it by one with every change after which a file that was read before gives another shape:
other points, faces, colours, normals or labels. A file that was refused before, or another remark, is no such change. A change of what
several readers share, such as `columns`, `labels`, `textures` or `geometry.finished`, raises the number of each that it changes.
`tests/pipeline/reading_digests.py` notices some of these changes.
"""

_BLENDER: Final = "open them in Blender and use File > Export > glTF 2.0"
_CAD: Final = "open them in FreeCAD and use File > Export > glTF 2.0"
_MAYA: Final = "open them in Maya and export them as .obj"
_POINTS: Final = "open them in CloudCompare and save them as .ply"
_PARAVIEW: Final = "open them in ParaView and save their surface as .ply or .stl"
_MESHLAB: Final = "open them in MeshLab and save them as .ply"
_SPLAT: Final = "convert them to .ply"

ANY_DATA: Final = (".pkl", ".pickle", ".pt", ".pth", ".mat")
"""Extensions of files that may hold any data, among them points."""

ELSEWHERE: Final[dict[str, str]] = {
    **dict.fromkeys((".fbx", ".blend", ".3ds", ".x3d", ".x3dv", ".wrl", ".vrml", ".abc", ".dxf", ".lwo"), _BLENDER),
    **dict.fromkeys((".usd", ".usda", ".usdc", ".usdz"), _BLENDER),
    **dict.fromkeys((".step", ".stp", ".iges", ".igs", ".brep", ".brp", ".fcstd", ".ifc", ".dwg", ".jt", ".sat", ".x_t", ".x_b"), _CAD),
    **dict.fromkeys((".sldprt", ".sldasm", ".ipt", ".iam", ".catpart", ".catproduct", ".prt"), _CAD),
    ".xaml": "convert them to glTF",
    ".3dxml": "export them as .obj or .stl from the program they are from",
    ".max": "open them in 3ds Max and use File > Export > glTF or OBJ",
    ".skp": "open them in SketchUp and export them as .dae or .obj",
    ".ma": _MAYA,
    ".mb": _MAYA,
    ".c4d": "open them in Cinema 4D and export them as .glb or .obj",
    ".vrm": "rename them to .glb",
    ".3dm": "open them in Rhino and export them as .glb or .obj",
    ".ztl": "open them in ZBrush and export them as .obj",
    ".e57": _POINTS,
    ".ptx": _POINTS,
    ".rcp": _POINTS,
    ".rcs": _POINTS,
    ".vtk": _PARAVIEW,
    ".vtp": _PARAVIEW,
    ".vtu": _PARAVIEW,
    ".msh": "open them in gmsh and save them as .stl",
    ".amf": _MESHLAB,
    ".ctm": _MESHLAB,
    ".spz": _SPLAT,
    ".splat": _SPLAT,
    ".ksplat": _SPLAT,
    ".drc": "decode them to .ply with draco_decoder",
    ".kmz": "unzip them: the .dae in them can be read",
    ".vox": "open them in MagicaVoxel and export them as .ply",
    **dict.fromkeys((".b3dm", ".i3dm", ".cmpt", ".pnts"), "convert them to .glb with 3d-tiles-tools"),
    **dict.fromkeys((".nrrd", ".nii", ".mha", ".dcm"), "open them in 3D Slicer and save a surface of them as .stl"),
    **dict.fromkeys(ANY_DATA, "if they hold points, save these as .npy"),
}
"""By extension of a format that is not read: how to convert the files."""


class Sign(NamedTuple):
    """How files of a kind begin, whatever they are called."""

    pattern: bytes
    """A regular expression for their first bytes."""
    what: str
    """Name of the kind."""
    suffixes: tuple[str, ...] = ()
    """Their extensions; empty for what is no shape."""
    remedy: str = ""
    """What to do with one that is named as a table of numbers; empty for a kind without rows of numbers, which would pass for points."""


SIGNS: Final = (
    Sign(rb"(?i)version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    Sign(rb"(?i)\s*<(!doctype html|html)", "a web page, not a mesh"),
    Sign(rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP", "a picture"),
    Sign(rb"glTF", "GLB", (".glb",)),
    Sign(rb"\s*ply[ \t]*\r?\n\s*format\s", "PLY", (".ply",), "rename it to .ply"),
    Sign(rb"PK\x03\x04", "a ZIP archive", (".zip", ".3mf", ".zae", ".npz")),
    Sign(rb"\x93NUMPY", "a NumPy array", (".npy",)),
    Sign(rb"(?i)\s*solid\b[^\n]*\n\s*facet\s", "STL", (".stl",), "rename it to .stl"),
    Sign(rb"\s*(#[^\n]*\n\s*)*(ST)?C?N?4?n?OFF\s", "OFF", (".off",), "rename it to .off"),
    Sign(
        rb"\s*((#|(usemtl|[ogs])\b)[^\n]*\n\s*)*(mtllib[ \t]+\S|v[nt]?[ \t]+[-+.\d])",  # not in capitals: V is vanadium
        "OBJ",
        (".obj",),
        "rename it to .obj",
    ),
    Sign(rb"\s*(#[^\n]*\n\s*)*VERSION\s+\S+\s+FIELDS\s", "PCD", (".pcd",), "rename it to .pcd"),
    Sign(
        rb"(?i)\s*ncols\s+\d+\s+nrows\s+\d+\s",
        "a grid of heights (ESRI ASCII)",
        remedy="make points of it, for instance with gdal_translate -of XYZ",
    ),
    Sign(rb"\s*DSAA\s", "a grid of heights (Surfer)", remedy="make points of it, for instance with gdal_translate -of XYZ"),
    Sign(rb"(?i)\s*<.*COLLADA", "COLLADA", (".dae",)),
    Sign(rb'\s*\{.*"asset"', "glTF", (".gltf",)),
)
"""Kinds of files by their first bytes. The first that fits counts."""

BEGINNING: Final = 65536
"""Number of bytes or characters that `sign_of` looks at. Most files need a few; comments may come first."""


def sign_of(data: bytes | str) -> Sign | None:
    """Tell by its beginning what kind of file something is; None if that is not known.

    Args:
        data: the beginning of the file, or its text.
    """
    head = data[:BEGINNING].encode() if isinstance(data, str) else data[:BEGINNING]
    return next((sign for sign in SIGNS if re.match(sign.pattern, head, re.DOTALL)), None)
