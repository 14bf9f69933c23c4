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
    ".3dxml": "pipeline.formats.scene",
    ".xaml": "pipeline.formats.scene",
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
