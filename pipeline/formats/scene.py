"""Everything that trimesh reads and no module of ours does. Images that trimesh cannot read it only logs, so we listen.

Letters: V vertices, F triangles.
"""

import dataclasses
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cache_schema.errors import UserError
from pipeline import textures
from pipeline.geometry import GREY, TRIANGLES, Cloud, Geometry, Mesh, Part, compact, copied, display, grouped, rgba, taken, unit
from pipeline.reading import File, Missing


def read(file: File) -> Geometry:
    """The shape in a file, in its own axes.

    Raises:
        UserError: it cannot be read, or lacks a texture that is required.
    """
    return _from_scene(_scene(file), file.gone, linear=file.suffix in (".glb", ".gltf"))


def _scene(file: File) -> Any:
    """The file as a trimesh scene, nothing merged, images not yet decoded."""
    import trimesh
    from PIL import Image, UnidentifiedImageError

    kind = file.suffix.removeprefix(".")
    with _listening() as unread, file.path.open("rb") as stream:
        try:
            scene = trimesh.load_scene(stream, file_type=kind, resolver=_Beside(file), process=False)  # type: ignore[arg-type]
        except FileNotFoundError as error:
            raise UserError(f"{error}: put it beside {file.path.name}") from error
        except Exception as error:  # the parsers let anything through, and all of it means that this file is no good
            if isinstance(error, MemoryError):
                raise
            raise UserError(f"cannot be read as {kind.upper()}, damaged or cut short? ({type(error).__name__}: {error})") from error
    for trouble in unread:
        match trouble:
            case FileNotFoundError() | KeyError() | Missing():
                file.lacks(trouble)
            case Image.DecompressionBombError():
                raise UserError(f"a texture declares more than {textures.PIXELS // 1_000_000} million pixels ({trouble})")
            case UnidentifiedImageError():
                raise UserError("a texture is not an image that can be read")
            case _:
                raise UserError(f"a part of the file cannot be read: {trouble}")
    return scene


class _Beside:
    """What trimesh calls a resolver: finds the files a mesh names."""

    def __init__(self, file: File) -> None:
        self.file, self.file_name, self.file_path = file, file.path.name, str(file.path)

    def get(self, name: str) -> bytes:
        try:
            return self.file.beside(name)
        except Missing as error:
            raise FileNotFoundError(str(error)) from error

    __getitem__ = get


@contextmanager
def _listening() -> Iterator[list[BaseException]]:
    """Collects what trimesh leaves out of a file without raising: images, material files, compressed geometry."""
    log = logging.getLogger("trimesh")
    unread: list[BaseException] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if re.search(r"unsupported, skipping|didn't decode|unable to load image from", text) and not record.exc_info:
                unread.append(ValueError(text))
            elif record.exc_info and record.exc_info[1] and re.search(r"image|texture|materials|file in zip", text):
                unread.append(record.exc_info[1])

    ear, level, propagate = Ear(), log.level, log.propagate
    log.addHandler(ear)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        with warnings.catch_warnings(), textures.limited():
            # Parsers warn about files; what matters of it reaches us as an exception or a log record.
            warnings.simplefilter("ignore")
            yield unread
    finally:
        log.removeHandler(ear)
        log.setLevel(level)
        log.propagate = propagate


def _from_scene(scene: Any, gone: bool, linear: bool) -> Geometry:
    """All geometry of a trimesh scene, put in place; parts that share a material become one.

    A scene of a million instances is walked once and each distinct part placed in one product, not node by node.
    """
    import trimesh

    placed = _placements(scene)
    total = sum(len(getattr(scene.geometry[name], "faces", ())) * len(copies) for name, copies in placed.items())
    if total > TRIANGLES:
        raise UserError(f"the scene expands to {total:,} triangles; at most {TRIANGLES:,} are built")

    pixels = _decoder()
    parts: list[Part] = []
    clouds: list[tuple[np.ndarray, np.ndarray | None]] = []
    colored, bare, lines = False, 0, 0
    for name, copies in placed.items():
        geometry = scene.geometry[name]
        if isinstance(geometry, trimesh.PointCloud):
            points = np.concatenate([geometry.vertices @ m[:3, :3].T + m[:3, 3] for m in copies])
            raw = geometry.colors if np.shape(geometry.colors)[:1] == np.shape(geometry.vertices)[:1] else None
            clouds.append((points, None if raw is None else np.tile(rgba(raw)[:, :3], (len(copies), 1))))
        elif not isinstance(geometry, trimesh.Trimesh):
            lines += 1
        elif not len(geometry.faces):
            bare += len(geometry.vertices)
        else:
            part, said = _part(geometry, pixels, gone, linear)
            colored |= said
            parts.append(copied(part, np.stack(copies)))

    if parts:
        return Mesh(parts=tuple(grouped(parts)), colored=colored)
    if clouds:
        colors = [c for _, c in clouds if c is not None]
        return Cloud(points=np.concatenate([p for p, _ in clouds]), colors=np.concatenate(colors) if len(colors) == len(clouds) else None)
    if bare:
        raise UserError(f"the file has {bare:,} vertices and no triangles")
    raise UserError("the file holds only lines, no surface and no points" if lines else "the file holds no triangles and no points")


def _placements(scene: Any) -> dict[str, list[np.ndarray]]:
    """For each geometry of a scene, the world matrices `[4, 4]` of its copies, in the order of the file."""
    graph = scene.graph.transforms
    children = graph.children
    found: dict[str, list[np.ndarray]] = {}
    todo = [(scene.graph.base_frame, np.eye(4))]
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
        raise UserError(f"a triangle names vertex {faces.min() if faces.min() < 0 else faces.max()} of {len(vertices)}")
    # Only normals that the file gave are in the cache here; asking the property would compute some.
    normals = unit(mesh._cache.cache.get("vertex_normals"), len(vertices))
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
        part, said = dataclasses.replace(part, colors=rgba(colors, linear)), True
    elif per_face is not None and np.ndim(per_face) == 2 and len(per_face) == len(faces):
        flat = faces.reshape(-1)
        part = dataclasses.replace(taken(part, flat), faces=np.arange(len(flat)).reshape(-1, 3))
        part, said = dataclasses.replace(part, colors=np.repeat(rgba(per_face), 3, axis=0)), True
    color = (1.0, 1.0, 1.0, 1.0) if said else (GREY, GREY, GREY, 1.0)
    if base is not None:
        red, green, blue = display(base[:3]) if linear else base[:3]
        color = (float(red), float(green), float(blue), float(base[3]))
    return compact(dataclasses.replace(part, base_color=color)), said


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
        "emissive": tuple(map(float, display(emissive) if linear else emissive)),
        "alpha_mode": material.alphaMode or "OPAQUE",
        "alpha_cutoff": 0.5 if material.alphaCutoff is None else material.alphaCutoff,
    }
    return base, image, look


def _decoder() -> Callable[[Any], np.ndarray]:
    """Decodes Pillow images to `[H, W, 4]` uint8, each once."""
    done: dict[int, tuple[Any, np.ndarray]] = {}  # the image is kept, so that its id stays its own

    def decode(image: Any) -> np.ndarray:
        if id(image) not in done:
            done[id(image)] = (image, textures.pixels(image))
        return done[id(image)][1]

    return decode
