"""The axis that usually points up in a file, by its format. Files of shapes do not say it, COLLADA apart."""

from typing import Final, Literal

UP: Final[dict[str, Literal["y", "z"]]] = {
    ".glb": "y",
    ".gltf": "y",
    ".obj": "y",
    ".dae": "y",
    ".zae": "y",
    ".off": "z",
    ".ply": "z",
    ".stl": "z",
    ".3mf": "z",
    ".xyz": "z",
    ".npy": "z",
    ".npz": "z",
    ".asc": "z",
    ".pts": "z",
    ".pcd": "z",
    ".las": "z",
    ".laz": "z",
    ".csv": "z",
    ".txt": "y",
}
"""By extension of a shape: the usual up axis. +Y is the up axis of glTF, the default of COLLADA, and usual in .obj files. +Z is usual in
CAD, 3D printing and scanning. The well-known clouds in .txt files (ModelNet40 with normals, ShapeNetPart) have +Y up."""
