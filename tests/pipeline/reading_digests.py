"""Digests of what is read from one small file of each format, and from the example of each source.

`python -m tests.pipeline.reading_digests` writes the file of digests again. `test_readings.py` compares with that file: if a digest
differs, this version gets another shape from a file than the version before, and a number in `pipeline.formats.catalog.READINGS` has to
be raised. The files here show the features that are usual in each format, and not all of them.
"""

import dataclasses
import hashlib
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.formats.catalog import FORMATS, READINGS
from pipeline.geometry import Geometry
from pipeline.reading import load
from pipeline.sources import catalog
from tests.pipeline import test_collada_3mf, test_gltf, test_obj_off_stl, test_tables

FILE = Path(__file__).with_suffix(".txt")
CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 2) for z in (0, 3)], np.float64)
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
SHADES = (np.arange(24).reshape(8, 3) * 10 + 5).astype(np.uint8)
CLOUD = np.random.default_rng(0).normal(size=(40, 3)).round(3)
ALL = np.concatenate([CLOUD, (CLOUD / np.linalg.norm(CLOUD, axis=1, keepdims=True)).round(3), np.arange(120).reshape(40, 3)], axis=1)
LEFT_OUT = ("warnings", "beside", "normals_beside")
"""Fields of shapes that are not compared."""
NAMES = "x y z nx ny nz red green blue"


def _obj() -> dict[str, bytes]:
    rows = [f"v {x} {y} {z}" for x, y, z in CORNERS] + ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1"]
    rows += [f"vn {x - 0.5} {y - 1} 1" for x, y, _ in CORNERS]
    rows += [("usemtl red\n" if at == 0 else "usemtl painted\n" if at == 3 else "") + _face(quad) for at, quad in enumerate(QUADS)]
    material = "newmtl red\nKd 1 0 0\nd 0.5\nnewmtl painted\nKd 1 1 1\nmap_Kd a.png\n"
    return {
        "a.obj": "\n".join(["mtllib a.mtl", *rows]).encode(),
        "a.mtl": material.encode(),
        "a.png": test_gltf.saved(test_gltf.quarters()),
    }


def _face(quad: Iterable[int]) -> str:
    return "f " + " ".join(f"{corner + 1}/{at + 1}/{corner + 1}" for at, corner in enumerate(quad))


def _off() -> bytes:
    rows = [" ".join(map(str, (*corner, *shade, 255))) for corner, shade in zip(CORNERS.tolist(), SHADES.tolist(), strict=True)]
    return "\n".join(["COFF", "8 6 0", *rows, *("4 " + " ".join(map(str, quad)) for quad in QUADS)]).encode()


def _ply() -> bytes:
    head = ["ply", "format binary_little_endian 1.0", "element vertex 8"]
    head += [f"property float {name}" for name in "x y z nx ny nz".split()] + [
        f"property uchar {name}" for name in ("red", "green", "blue")
    ]
    head += ["element face 6", "property list uchar int vertex_indices", "end_header", ""]
    body = b"".join(struct.pack("<6f3B", *corner, *(corner - [0.5, 1, 1]), *shade) for corner, shade in zip(CORNERS, SHADES, strict=True))
    return "\n".join(head).encode() + body + b"".join(struct.pack("<B4i", 4, *quad) for quad in QUADS)


def _gltf(binary: bool) -> bytes:
    file = test_gltf.File()
    test_gltf.textured(file)
    part = file.primitive(material=test_gltf.colored(file, (1, 0.5, 0, 0.5)), NORMAL=np.tile(np.float32([0, 0, 1]), (4, 1)))
    file.mesh(part, node={"translation": [0, 0, 1], "scale": [1, 2, 1]})
    if binary:
        return file.glb()
    file.json["buffers"] = [{"byteLength": len(file.data), "uri": "data:;base64," + test_gltf.base64.b64encode(file.data).decode()}]
    return test_gltf.json.dumps(file.json).encode()


def _scan(suffix: str) -> bytes:
    import laspy  # not everybody has it

    scan = laspy.create(point_format=3, file_version="1.2")
    scan.header.scales, scan.header.offsets = [1e-3] * 3, [500_000.0, 5_000_000.0, 0.0]
    scan.x, scan.y, scan.z = (CLOUD + np.array([500_000, 5_000_000, 0])).T
    scan.red, scan.green, scan.blue = (ALL[:, 6:] * 257).astype(np.uint16).T
    scan.classification = np.arange(40, dtype=np.uint8) % 8  # 7 is noise
    with tempfile.TemporaryDirectory() as folder:
        scan.write(Path(folder, f"a{suffix}"))
        return Path(folder, f"a{suffix}").read_bytes()


def files() -> dict[str, dict[str, bytes]]:
    """By extension: files by name, the first of which is read."""
    dae = test_collada_3mf.dae(asset='<unit meter="0.5"/><up_axis>X_UP</up_axis>')
    two_colors = test_collada_3mf.FLAT.format(' pid="5" p1="0"', ' pid="5" p1="1"')
    colors = test_collada_3mf.BASE + test_collada_3mf.thing(inner=test_collada_3mf.mesh(two_colors))
    faces = np.array([(a, b, c) for a, b, c, _ in QUADS])
    made: dict[str, bytes] = {
        ".glb": _gltf(binary=True),
        ".gltf": _gltf(binary=False),
        ".off": _off(),
        ".stl": test_obj_off_stl.stl(color=(0x801F, 0xFC00)),
        ".ply": _ply(),
        ".dae": dae.encode(),
        ".zae": test_collada_3mf.zipped({"a.dae": dae}),
        ".3mf": test_collada_3mf.threemf(test_collada_3mf.model(colors)),
        ".npy": test_tables.npy(ALL),
        ".npz": test_tables.npz(vertices=CORNERS, faces=faces, colors=SHADES),
        ".xyz": test_tables.text(ALL[:, :6]),
        ".txt": test_tables.text(ALL, head=f"{NAMES}\n"),
        ".pts": b"40\n" + test_tables.text(ALL[:, [0, 1, 2, 6, 7, 8]]),
        ".asc": test_tables.text(ALL[:, [0, 1, 2, 6, 7, 8]], ";").replace(b".", b","),
        ".csv": test_tables.text(ALL, ",", f"{NAMES.replace(' ', ',')}\n"),
        ".pcd": test_tables.pcd("binary", CLOUD, ALL[:, 6:]),
        ".las": _scan(".las"),
        ".laz": _scan(".laz"),
    }
    return {suffix: {f"a{suffix}": data} for suffix, data in made.items()} | {".obj": _obj()}


def _state(value: object) -> bytes:
    """Bytes of a field of a shape. Numbers have three digits: processors differ in the last ones. Without negative zeros."""
    if isinstance(value, np.ndarray):
        return repr(value.shape).encode() + (np.round(np.asarray(value, np.float64), 3) + 0.0).tobytes()
    if isinstance(value, tuple):
        return b"".join(map(_state, value))
    if dataclasses.is_dataclass(value):
        there = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.name not in LEFT_OUT}
        return b"".join(name.encode() + _state(one) for name, one in there.items() if one is not None)
    return repr(round(value, 3) if isinstance(value, float) else value).encode()


def digest(shapes: Iterable[Geometry]) -> str:
    """Return twelve hex digits over all that shapes have, without remarks and digests of files."""
    return hashlib.sha256(b"".join(map(_state, shapes))).hexdigest()[:12]


def digests() -> dict[str, str]:
    """By name in `READINGS`: the digest of what is read now."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix, given in files().items():
            for name, data in given.items():
                Path(folder, name).write_bytes(data)
            found[suffix] = digest([load(Path(folder, f"a{suffix}"), up="y", textures="require")])
    for name in (name for name in READINGS if name in catalog.SOURCES):
        with tempfile.TemporaryDirectory() as folder:
            source = catalog.open_source(__import__(catalog.SOURCES[name], fromlist=["example"]).example(Path(folder)))
            found[name] = digest(source.reader.read(entry) for entry in source.entries)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.txt", "b.txt"):
            Path(folder, name).write_bytes(test_tables.text(np.column_stack([CLOUD, np.arange(40) % 3]), head="x y z label\n"))
        source = catalog.open_source(folder, labels="field")
        found["labels"] = digest(source.reader.read(entry) for entry in source.entries)
    assert set(found) == {*FORMATS, *READINGS}
    return found


def lines() -> list[str]:
    """A line of the file for each name: the name, the number of its reading, and the digest."""
    return [f"{name} {READINGS[name]} {made}" for name, made in sorted(digests().items())]


if __name__ == "__main__":
    FILE.write_text("".join(f"{line}\n" for line in lines()))
