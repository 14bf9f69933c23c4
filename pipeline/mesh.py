"""A shape in memory, and how a file becomes one.

    shape = load("chair.glb", up="y", textures="require")    # Mesh or Cloud, +Y up, all parts in place
    shape = normalized(shape, "unit_sphere")                 # area centroid at the origin, farthest vertex at distance 1

Files are parsed by trimesh, which is imported only here and only when a file is read. Colours are sRGB, as they are
seen on a screen, whatever the file holds. Every way a file can be wrong ends in a `ValueError` of one line that a
person understands. Nothing is silently grey: trimesh skips an image it cannot read, but logs it, and we listen.

Letters: V vertices, F triangles, n points of a cloud, H x W texture pixels, k copies of a part in a scene.
"""

import dataclasses
import logging
import re
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

GREY: Final = 190 / 255
"""What has no colour of its own is this grey, in pictures and in points."""

TEXTURE_PIXELS: Final = 64_000_000
"""A texture that declares more pixels than this is not decoded."""

TEXTURE_SIDE: Final = 2048
"""Larger textures are averaged down: no view shows more, and a scene may hold fifty of them."""

TRIANGLES: Final = 60_000_000
"""A scene that expands to more triangles than this, by copies of copies, is refused before it is built."""

REACH: Final = 1e15
"""Coordinates beyond this cannot be squared in float32."""

REASON: Final = 200
"""Longest error message, in characters."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Triangles of one material, in world coordinates."""

    vertices: np.ndarray
    """[V, 3] float32."""
    faces: np.ndarray
    """[F, 3] int32. Winding says nothing: files are inconsistent about it."""
    normals: np.ndarray | None = None
    """[V, 3] float32, unit length, where the file gave them."""
    uv: np.ndarray | None = None
    """[V, 2] float32. (0, 0) is the lower left corner of the texture, which repeats."""
    colors: np.ndarray | None = None
    """[V, 4] uint8. Multiplies the base colour and the texture."""
    base_color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    texture: np.ndarray | None = None
    """[H, W, 4] uint8, row 0 at the top."""
    metallic: float = 0.0
    roughness: float = 1.0
    emissive: tuple[float, float, float] = (0.0, 0.0, 0.0)
    alpha_mode: Literal["OPAQUE", "MASK", "BLEND"] = "OPAQUE"
    alpha_cutoff: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A surface."""

    parts: tuple[Part, ...]
    """No two of the same material where they come from a file."""
    colored: bool
    """False where nothing said a colour and all is grey."""


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A point cloud."""

    points: np.ndarray
    """[n, 3] float32."""
    colors: np.ndarray | None = None
    """[n, 3] uint8."""

    @property
    def colored(self) -> bool:
        return self.colors is not None


Geometry = Mesh | Cloud


# --------------------------------------------------------------------------------------------------------- the doors


def load(path: str | Path, *, up: Literal["y", "z"], textures: Literal["require", "grey"]) -> Geometry:
    """Reads a file in any format trimesh reads, or a table of points (`.npy`, `.xyz`: positions, then colours or normals).

    Args:
        path: The file. Materials and textures are looked for where it says, then beside it.
        up: Which axis of the file points up. `z` is turned into +Y.
        textures: `require` makes a missing texture file an error, `grey` goes on without it.

    Returns:
        A `Mesh`, or a `Cloud` where the file has points and no triangles. Vertices no triangle uses are dropped. What
        lies farther from the origin than a hundred times its size is moved there, because float32 would tear it.

    Raises:
        ValueError: the file is missing, empty, damaged, misnamed, of an unknown format or without a surface, its
            indices or coordinates are no good, or a texture is missing, damaged or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(_one_line(f"there is no file {path.name}"))
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise ValueError(f"the file cannot be opened: {error.strerror}") from error
    if not head:
        raise ValueError("the file is empty (0 bytes)")
    turn = np.eye(4)
    if up == "z":
        turn[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    suffix = path.suffix.lower()
    try:
        if suffix in (".npy", ".xyz"):
            return _from_table(_table(path, suffix), turn)
        scene, gone = _scene(path, textures)
        return _from_scene(scene, turn, gone, linear=suffix in (".glb", ".gltf"))
    except ValueError as error:
        raise ValueError(_one_line(f"{_misnamed(head, path.suffix)}{error}")) from error


def normalized(geometry: Geometry, how: Literal["unit_sphere", "none"]) -> Geometry:
    """Moves a shape to where the cache keeps it, after checking that there is something to keep.

    `unit_sphere` puts the area centroid (of a cloud: the mean) at the origin and the farthest vertex at distance 1;
    `none` only checks.

    Raises:
        ValueError: coordinates are not finite or beyond float32, the surface has no area, a cloud has fewer than two
            different points.
    """
    if isinstance(geometry, Cloud):
        points = geometry.points.astype(np.float64)
        _check_coordinates([points])
        if not len(points) or np.all(points == points[0]):
            raise ValueError(f"the cloud has {len(points)} points and no two different ones")
        center = points.mean(axis=0)
        radius = np.linalg.norm(points - center, axis=1).max()
        moved = ((points - center) / radius).astype(np.float32)
        return geometry if how == "none" else dataclasses.replace(geometry, points=moved)

    parts = [_compact(part) for part in geometry.parts]
    _check_coordinates([part.vertices for part in parts])
    sums, area = np.zeros(3), 0.0
    for part in parts:
        for corners, areas in triangles(part):
            sums += areas @ corners.mean(axis=1)
            area += areas.sum()
    low, high = _bounds([part.vertices for part in parts])
    if area <= 1e-12 * np.sum((high - low) ** 2):
        raise ValueError("the surface has no area: its triangles are all points or lines")
    if how == "none":
        return dataclasses.replace(geometry, parts=tuple(parts))
    center = sums / area
    radius = max(np.linalg.norm(part.vertices - center, axis=1).max() for part in parts)
    moved = [dataclasses.replace(part, vertices=((part.vertices - center) / radius).astype(np.float32)) for part in parts]
    return dataclasses.replace(geometry, parts=tuple(moved))


def triangles(part: Part, at_once: int = 1_000_000) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Corners `[f, 3, 3]` and areas `[f]` of all triangles in order, float64, a bounded number at a time."""
    for start in range(0, len(part.faces), at_once):
        corners = part.vertices[part.faces[start : start + at_once]].astype(np.float64)  # [f, 3, 3]
        sides = corners[:, 1:] - corners[:, :1]
        yield corners, np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2


# --------------------------------------------------------------------------------------------------- reading a file


def _scene(path: Path, textures: str) -> tuple[Any, bool]:
    """The file as a trimesh scene, nothing merged, images not yet decoded; and whether it has to do without a texture."""
    import trimesh
    from PIL import Image, UnidentifiedImageError

    kind = trimesh.util.split_extension(path.name).lower()
    known = trimesh.available_formats() - {"stl_ascii"}
    if kind not in known:
        raise ValueError(f"'.{kind}' files cannot be read; what can: {' '.join(sorted(known | {'npy'}))}")
    beside = _Beside(path)
    with _listening() as unread, path.open("rb") as file:
        try:
            scene = trimesh.load_scene(file, file_type=kind, resolver=beside, process=False)  # type: ignore[arg-type]
        except FileNotFoundError as error:
            raise ValueError(f"{error}: put it beside {path.name}") from error
        except Exception as error:  # the parsers let anything through, and all of it means that this file is no good
            if isinstance(error, MemoryError):
                raise
            raise ValueError(f"cannot be read as {kind.upper()}, damaged or cut short? ({type(error).__name__}: {error})") from error
    gone = False
    for trouble in unread:
        match trouble:
            case FileNotFoundError() | KeyError():
                gone = True
                if textures == "require":
                    raise ValueError(f"{trouble}: put it there, or build with `--set source.textures=grey`")
            case Image.DecompressionBombError():
                raise ValueError(f"a texture declares more than {TEXTURE_PIXELS // 1_000_000} million pixels ({trouble})")
            case UnidentifiedImageError():
                raise ValueError("a texture is not an image that can be read")
            case _:
                raise ValueError(f"a part of the file cannot be read: {trouble}")
    return scene, gone


class _Beside:
    """Finds the files a mesh names (trimesh calls this a resolver).

    Tolerates what other people's exporters write: backslashes, another machine's folders, options before the name,
    another case. Folders above the mesh's own are allowed, because ShapeNet keeps its textures there.
    """

    def __init__(self, path: Path) -> None:
        self.folder, self.file_name, self.file_path = path.parent, path.name, str(path)
        self.asker = path.name

    def get(self, name: str) -> bytes:
        clean = name.strip().strip('"').replace("\\", "/")
        relative = re.sub(r"^([a-zA-Z]:)?/+", "", clean)
        for candidate in (relative, urllib.parse.unquote(relative), (relative.rsplit(maxsplit=1) or [""])[-1], relative.rsplit("/", 1)[-1]):
            path = self.folder / candidate
            if not path.is_file() and path.parent.is_dir():
                path = min((p for p in path.parent.iterdir() if p.name.lower() == path.name.lower()), default=path)
            if path.is_file():
                if path.suffix.lower() == ".mtl":
                    self.asker = path.name
                return path.read_bytes()
        raise FileNotFoundError(f"file {clean!r}, named in {self.asker}, is missing")

    __getitem__ = get


@contextmanager
def _listening() -> Iterator[list[BaseException]]:
    """Collects what trimesh leaves out of a file without raising: images, material files, compressed geometry."""
    from PIL import Image

    log = logging.getLogger("trimesh")
    unread: list[BaseException] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if re.search(r"unsupported, skipping|didn't decode|unable to load image from", text) and not record.exc_info:
                unread.append(ValueError(text))
            elif record.exc_info and record.exc_info[1] and re.search(r"image|texture|materials|file in zip", text):
                unread.append(record.exc_info[1])

    ear, level, propagate, limit = Ear(), log.level, log.propagate, Image.MAX_IMAGE_PIXELS
    log.addHandler(ear)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    Image.MAX_IMAGE_PIXELS = TEXTURE_PIXELS // 2  # Pillow warns at this and raises at twice as much
    try:
        with warnings.catch_warnings():
            # Parsers warn about files; what matters of it reaches us as an exception or a log record.
            warnings.simplefilter("ignore")
            yield unread
    finally:
        log.removeHandler(ear)
        log.setLevel(level)
        log.propagate = propagate
        Image.MAX_IMAGE_PIXELS = limit


def _table(path: Path, suffix: str) -> np.ndarray:
    """Numbers `[n, columns]`. Not by trimesh, which casts every fourth column to a byte, normals too."""
    try:
        if suffix == ".npy":
            return np.load(path, allow_pickle=False)
        text = path.read_text(errors="replace").replace(",", " ")
        return np.loadtxt(text.splitlines(), ndmin=2, comments=("#", "//"))
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"cannot be read as a table of numbers, damaged or cut short? ({error})") from error


def _from_table(table: np.ndarray, turn: np.ndarray) -> Cloud:
    if table.ndim != 2 or table.shape[1] < 3 or table.dtype.kind not in "fiu":
        raise ValueError(f"expected numbers [n, 3] or [n, 6], got {table.dtype} {list(table.shape)}")
    extra = table[:, 3:6]
    colors = None
    if extra.size and extra.shape[1] == 3 and np.isfinite(extra).all() and extra.min() >= 0 and extra.max() <= 255:
        whole = extra.dtype.kind in "iu" or extra.max() > 1
        colors = np.rint(extra if whole else extra * 255).astype(np.uint8)  # else they are normals
    return _finished_cloud(table[:, :3].astype(np.float64) @ turn[:3, :3].T, colors)


SIGNS: Final = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`", ()),
    (rb"\s*<(!doctype html|html)", "a web page, not a mesh", ()),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP", "a picture", ()),
    (rb"glTF", "GLB", (".glb",)),
    (rb"ply\s", "PLY", (".ply",)),
    (rb"PK\x03\x04", "a ZIP archive", (".zip", ".3mf", ".zae", ".3dxml")),
    (rb"\x93NUMPY", "a NumPy array", (".npy",)),
    (rb"\s*solid\s", "STL", (".stl",)),
    (rb"\s*(#[^\n]*\n\s*)*(ST)?C?N?4?n?OFF", "OFF", (".off",)),
    (rb"\s*(#[^\n]*\n\s*)*(mtllib|usemtl|v|vn|vt|o|g)\s+[^\s]", "OBJ", (".obj",)),
    (rb"\s*<.*COLLADA", "COLLADA", (".dae",)),
    (rb'\s*\{.*"asset"', "glTF", (".gltf",)),
)
"""How files begin, what that is, and the extensions it goes by."""


def _misnamed(head: bytes, suffix: str) -> str:
    """For a file that failed: what it looks like, where that is not what it is called."""
    for sign, what, suffixes in SIGNS:
        if re.match(sign, head, re.DOTALL | re.IGNORECASE):
            return "" if suffix.lower() in suffixes else f"named {suffix or 'without extension'} but looks like {what}: "
    return ""


def _one_line(text: str) -> str:
    text = "".join(c if c.isprintable() else " " for c in re.sub(r"\s+", " ", text)).strip()
    return text if len(text) <= REASON else text[: REASON - 3] + "..."


# ------------------------------------------------------------------------------------------------ from scene to parts


def _from_scene(scene: Any, turn: np.ndarray, gone: bool, linear: bool) -> Geometry:
    """All geometry of a trimesh scene, put in place; parts that share a material become one.

    A scene of a million instances is walked once and each distinct part placed in one product, not node by node.
    """
    import trimesh

    placed = _placements(scene, turn)
    total = sum(len(getattr(scene.geometry[name], "faces", ())) * len(copies) for name, copies in placed.items())
    if total > TRIANGLES:
        raise ValueError(f"the scene expands to {total:,} triangles; at most {TRIANGLES:,} are built")

    pixels = _decoder()
    groups: dict[Any, list[Part]] = {}
    clouds: list[tuple[np.ndarray, np.ndarray | None]] = []
    colored, bare, lines = False, 0, 0
    for name, copies in placed.items():
        geometry = scene.geometry[name]
        if isinstance(geometry, trimesh.PointCloud):
            points = np.concatenate([geometry.vertices @ m[:3, :3].T + m[:3, 3] for m in copies])
            raw = geometry.colors if np.shape(geometry.colors)[:1] == np.shape(geometry.vertices)[:1] else None
            clouds.append((points, None if raw is None else np.tile(_rgba(raw)[:, :3], (len(copies), 1))))
        elif not isinstance(geometry, trimesh.Trimesh):
            lines += 1
        elif not len(geometry.faces):
            bare += len(geometry.vertices)
        else:
            part, said = _part(geometry, pixels, gone, linear)
            colored |= said
            look = (part.metallic, part.roughness, part.emissive, part.alpha_mode, part.alpha_cutoff)
            key = (id(part.texture), *look, part.uv is None, part.normals is None)
            groups.setdefault(key, []).append(_copied(part, np.stack(copies)))

    if groups:
        return _finished_mesh([_joined(parts) for parts in groups.values()], colored)
    if clouds:
        colors = [c for _, c in clouds if c is not None]
        return _finished_cloud(np.concatenate([p for p, _ in clouds]), np.concatenate(colors) if len(colors) == len(clouds) else None)
    if bare:
        raise ValueError(f"the file has {bare:,} vertices and no triangles")
    raise ValueError("the file holds only lines, no surface and no points" if lines else "the file holds no triangles and no points")


def _placements(scene: Any, turn: np.ndarray) -> dict[str, list[np.ndarray]]:
    """For each geometry of a scene, the world matrices `[4, 4]` of its copies, in the order of the file."""
    graph = scene.graph.transforms
    children = graph.children
    found: dict[str, list[np.ndarray]] = {}
    todo = [(scene.graph.base_frame, turn)]
    while todo:
        node, world = todo.pop()
        name = graph.node_data[node].get("geometry")
        if name in scene.geometry:
            found.setdefault(name, []).append(world)
        for child in reversed(children.get(node, ())):
            todo.append((child, world @ graph.edge_data[(node, child)].get("matrix", np.eye(4))))
    return found


def _part(mesh: Any, pixels: Callable[[Any], np.ndarray], gone: bool, linear: bool) -> tuple[Part, bool]:
    """One trimesh mesh as a `Part` (vertices still float64), and whether anything said its colour.

    `gone`: a texture file of the shape is missing, so a textured part without one is grey, not the white or black beneath.
    `linear`: for glTF, whose factors and vertex colours are linear light; textures are sRGB in every format.
    """
    from trimesh.visual.material import PBRMaterial, SimpleMaterial

    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"a triangle names vertex {faces.min() if faces.min() < 0 else faces.max()} of {len(vertices)}")
    # Only normals that the file gave are in the cache here; asking the property would compute some.
    normals = _unit(mesh._cache.cache.get("vertex_normals"), len(vertices))
    visual, uv, base, image = mesh.visual, None, None, None
    look: dict[str, Any] = {}
    colors, per_face = mesh.vertex_attributes.get("color"), mesh.face_attributes.get("color")
    match visual.kind:
        case "vertex":
            colors = visual.vertex_colors
        case "face":
            per_face = visual.face_colors
        case "texture":
            if visual.uv is not None and np.shape(visual.uv) == (len(vertices), 2):
                uv = np.nan_to_num(np.asarray(visual.uv), posinf=0, neginf=0)
            colors = visual.vertex_attributes.get("color", colors)
            material = visual.material
            if isinstance(material, SimpleMaterial):
                # trimesh's stand-in for no material has an image too, but one that was never a file.
                image = material.image if material.image is not None and material.image.format else None
                # Exporters write any Kd beside a texture, black too, and viewers leave it out.
                base = material.diffuse / 255 if image is None and "kd" in material.kwargs else None
                look = {"roughness": float((2 / (max(material.glossiness, 0) + 2)) ** 0.25)}
            elif isinstance(material, PBRMaterial):
                base, image, look = _pbr(material, linear)
    texture = pixels(image) if image is not None and uv is not None else None
    bare = gone and uv is not None and image is None and (not linear or base is None or min(base[:3]) == 1)
    if bare:
        base = None
    if (bare or texture is not None) and not linear:
        colors = per_face = None  # only glTF means them to be multiplied; elsewhere they are often black beside a texture
    said = texture is not None or base is not None
    part = Part(vertices=vertices, faces=faces, normals=normals, uv=uv if texture is not None else None, texture=texture, **look)

    if colors is not None and np.ndim(colors) == 2 and len(colors) == len(vertices):
        part, said = dataclasses.replace(part, colors=_rgba(colors, linear)), True
    elif per_face is not None and np.ndim(per_face) == 2 and len(per_face) == len(faces):
        flat = faces.reshape(-1)
        part = dataclasses.replace(_taken(part, flat), faces=np.arange(len(flat)).reshape(-1, 3))
        part, said = dataclasses.replace(part, colors=np.repeat(_rgba(per_face), 3, axis=0)), True
    color = (1.0, 1.0, 1.0, 1.0) if said else (GREY, GREY, GREY, 1.0)
    if base is not None:
        red, green, blue = _display(base[:3]) if linear else base[:3]
        color = (float(red), float(green), float(blue), float(base[3]))
    return _compact(dataclasses.replace(part, base_color=color)), said


def _pbr(material: Any, linear: bool) -> tuple[np.ndarray | None, Any, dict[str, Any]]:
    """Base colour, image and the other `Part` fields of a trimesh PBR material."""
    base = None if material.baseColorFactor is None else np.asarray(material.baseColorFactor) / 255
    image = material.baseColorTexture
    emissive = np.zeros(3) if material.emissiveFactor is None else np.clip(material.emissiveFactor, 0, 1)
    if material.emissiveTexture is not None:
        # Hand-painted models often keep all their colour here. Beside a base texture it lights details: left out.
        if image is None:
            image, base = material.emissiveTexture, np.append(emissive, 1.0)
        emissive = np.zeros(3)
    mapped = material.metallicRoughnessTexture is not None  # the factors alone say nothing then; most such maps are dielectric
    metallic = 0.0 if mapped else (float(linear) if material.metallicFactor is None else material.metallicFactor)
    look = {
        "metallic": float(np.clip(metallic, 0, 1)),
        "roughness": 0.6 if mapped else float(np.clip(1.0 if material.roughnessFactor is None else material.roughnessFactor, 0, 1)),
        "emissive": tuple(map(float, _display(emissive) if linear else emissive)),
        "alpha_mode": material.alphaMode or "OPAQUE",
        "alpha_cutoff": 0.5 if material.alphaCutoff is None else material.alphaCutoff,
    }
    return base, image, look


def _decoder() -> Callable[[Any], np.ndarray]:
    """Decodes Pillow images to `[H, W, 4]` uint8, each once."""
    done: dict[int, tuple[Any, np.ndarray]] = {}  # the image is kept, so that its id stays its own

    def decode(image: Any) -> np.ndarray:
        if id(image) not in done:
            try:
                image.load()
                shrink = -(-max(image.size) // TEXTURE_SIDE)
                done[id(image)] = (image, np.asarray(image.convert("RGBA").reduce(shrink)))
            except (OSError, ValueError, SyntaxError, EOFError) as error:
                raise ValueError(f"a texture is damaged or cut short ({error})") from error
        return done[id(image)][1]

    return decode


# ----------------------------------------------------------------------------------------------------- small helpers


def _unit(normals: np.ndarray | None, count: int) -> np.ndarray | None:
    """Normals of unit length, or None where they are none."""
    if normals is None or np.shape(normals) != (count, 3):
        return None
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / length if np.isfinite(length).all() and length.min() > 1e-12 else None


def _rgba(colors: np.ndarray, linear: bool = False) -> np.ndarray:
    """Colours of any type as `[n, 4]` uint8."""
    colors = np.asarray(colors)
    if colors.dtype.kind == "f":
        colors = np.rint(np.clip(np.nan_to_num(colors), 0, 1) * 255)
    elif colors.dtype.itemsize == 2:
        colors = colors >> 8
    colors = colors.astype(np.uint8)
    rgb = np.rint(_display(np.arange(256) / 255) * 255).astype(np.uint8)[colors[:, :3]] if linear else colors[:, :3]
    alpha = colors[:, 3:4] if colors.shape[1] == 4 else np.full((len(colors), 1), 255, np.uint8)
    return np.hstack([rgb, alpha])


def _display(light: np.ndarray) -> np.ndarray:
    """Linear light 0..1 as sRGB 0..1 (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def _taken(part: Part, rows: np.ndarray) -> Part:
    """The part with these of its vertices; the faces are the caller's business."""
    arrays = {name: getattr(part, name) for name in ("vertices", "normals", "uv", "colors")}
    return dataclasses.replace(part, **{name: array[rows] for name, array in arrays.items() if array is not None})


def _compact(part: Part) -> Part:
    """The part without vertices that no triangle uses."""
    used = np.zeros(len(part.vertices), bool)
    used[part.faces] = True
    if used.all():
        return part
    return dataclasses.replace(_taken(part, np.flatnonzero(used)), faces=(np.cumsum(used, dtype=np.int32) - 1)[part.faces])


def _copied(part: Part, matrices: np.ndarray) -> Part:
    """The part at each of the places `[k, 4, 4]`, as one."""
    k, count = len(matrices), len(part.vertices)
    with np.errstate(all="ignore"):  # infinite coordinates and flattening matrices are told apart later
        vertices = np.einsum("kij,vj->kvi", matrices[:, :3, :3], part.vertices) + matrices[:, None, :3, 3]  # [k, V, 3]
        normals = None
        if part.normals is not None:
            # Normals go by the inverse transpose, which is the cofactor matrix up to scale and exists for flat copies too.
            a, b, c = np.moveaxis(matrices[:, :3, :3], 1, 0)
            cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
            normals = _unit(np.einsum("kij,vj->kvi", cofactors, part.normals).reshape(-1, 3), k * count)
    faces = part.faces[None] + np.arange(k)[:, None, None] * count  # [k, F, 3]
    return dataclasses.replace(
        part,
        vertices=vertices.reshape(-1, 3),
        faces=faces.reshape(-1, 3),
        normals=normals,
        uv=None if part.uv is None else np.tile(part.uv, (k, 1)),
        colors=None if part.colors is None else np.tile(part.colors, (k, 1)),
    )


def _joined(parts: list[Part]) -> Part:
    """Parts of one material as one. Where their base colours differ, these go into vertex colours."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if any(p.colors is not None or p.base_color != first.base_color for p in parts):
        parts = [dataclasses.replace(p, colors=_baked(p), base_color=(1.0, 1.0, 1.0, 1.0)) for p in parts]
    starts = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    stacked: dict[str, Any] = {
        name: None if any(getattr(p, name) is None for p in parts) else np.concatenate([getattr(p, name) for p in parts])
        for name in ("vertices", "normals", "uv", "colors")
    }
    faces = np.concatenate([p.faces + start for p, start in zip(parts, starts, strict=True)])
    return dataclasses.replace(parts[0], faces=faces, **stacked)


def _baked(part: Part) -> np.ndarray:
    """Vertex colours times base colour, `[V, 4]` uint8."""
    colors = np.full((len(part.vertices), 4), 255, np.uint8) if part.colors is None else part.colors
    return np.rint(colors * np.asarray(part.base_color)).astype(np.uint8)


def _finished_mesh(parts: list[Part], colored: bool) -> Mesh:
    vertices = _near([part.vertices for part in parts])
    types = {"normals": np.float32, "uv": np.float32, "faces": np.int32}
    done = []
    for part, moved in zip(parts, vertices, strict=True):
        arrays = {name: getattr(part, name) for name in types}
        cast: dict[str, Any] = {name: np.ascontiguousarray(a, types[name]) for name, a in arrays.items() if a is not None}
        done.append(dataclasses.replace(part, vertices=moved, **cast))
    return Mesh(parts=tuple(done), colored=colored)


def _finished_cloud(points: np.ndarray, colors: np.ndarray | None) -> Cloud:
    if not len(points):
        raise ValueError("the cloud has no points")
    return Cloud(points=_near([points])[0], colors=colors)


def _near(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Checked float64 coordinates as float32, moved to the origin where they are so far away that float32 would tear them."""
    _check_coordinates(arrays)
    low, high = _bounds(arrays)
    center = (low + high) / 2
    far = np.linalg.norm(center) > 100 * np.linalg.norm(high - low)
    return [np.ascontiguousarray(a - center if far else a, np.float32) for a in arrays]


def _bounds(arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    low = np.min([a.min(axis=0) for a in arrays], axis=0).astype(np.float64)
    return low, np.max([a.max(axis=0) for a in arrays], axis=0).astype(np.float64)


def _check_coordinates(arrays: list[np.ndarray]) -> None:
    """Raises `ValueError` for coordinates `[.., 3]` that nothing can be computed with."""
    for array in arrays:
        bad = np.count_nonzero(~np.isfinite(array).all(axis=1))
        if bad:
            raise ValueError(f"{bad:,} of {len(array):,} vertices in use are not finite (NaN or infinity)")
        if len(array) and np.abs(array).max() > REACH:
            raise ValueError(f"coordinates reach {np.abs(array).max():.3g}; beyond {REACH:g} nothing can be computed in float32")
