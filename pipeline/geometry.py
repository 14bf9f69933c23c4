"""A shape in memory (triangles with materials, or a cloud of points), and operations on it.

    shape = normalized(shape, "unit_sphere")                 # area centroid at the origin, farthest vertex at distance 1

Colours are sRGB, as on a screen, whatever the file holds. `normalized` and `appearance` decide which parts of a surface are visible and in
which colour. Pictures and points both use them, so that they cannot differ.

Letters: V vertices, F triangles, n points of a cloud, H x W texture pixels, k copies of a part in a scene, m places on a surface.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np

from cache_schema.errors import UserError
from cache_schema.spec import GREY as GREY  # formats import it from here
from cache_schema.spec import POINT_LABELS, BoxSpec, PointSpec
from cache_schema.terminal import article
from pipeline.coincident import BACK, BOTH, HIDDEN, places, sides

AlphaMode = Literal["OPAQUE", "MASK", "BLEND"]
"""What the alpha of a material does, as glTF names it."""

REACH: Final = 1e15
"""Largest coordinate whose square fits float32."""

SMALLEST: Final = 1e-30
"""Smallest size of a shape. Numbers of the other byte order are often smaller."""

MANY: Final = 4
"""Least number of different coordinates along an axis of which it is seen that they were rounded, if no other axis has many more. A box has
two."""

COARSE: Final = 1 / 500
"""Largest step between the coordinates of a shape, as a share of its size, that is not spoken of."""

TRIANGLES: Final = 60_000_000
"""Most triangles of a scene. A scene whose copies of copies expand to more is refused before it is built."""

FAINT: Final = 0.01
"""Least alpha of a visible blended surface, less than three of 255 levels. Below it nothing is drawn, sampled or framed."""

FINE: Final = 128
"""Number of steps along the size of the shape in which the visibility of a partly visible part is tested. Textures are tested at every
second texel, too."""

LOOKS: Final = 250_000
"""Approximate largest number of places of a part at which visibility is tested."""

PER_VERTEX: Final = ("vertices", "normals", "uv", "colors")
"""The arrays of a `Part` that hold one row for each vertex."""

PER_FACE: Final = ("side", "part", "instance", "label_uv")
"""The arrays of a `Part`, beside `faces`, that hold one row for each triangle."""


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """The objects of a scene."""

    box: np.ndarray
    """[m, 7] float64: centre x, y, z; size along the box's own x, y, z; turn about +Y in radians, counter-clockwise seen from above."""
    kind: np.ndarray
    """[m] int32: index of the class in `pipeline.sources.catalog.Labelled.boxes`."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Triangles of one material, in world coordinates."""

    vertices: np.ndarray
    """[V, 3] float32."""
    faces: np.ndarray
    """[F, 3] int32. Winding has a meaning only for triangles that `side` marks, because many files wind faces inconsistently."""
    normals: np.ndarray | None = None
    """[V, 3] float32, unit length. None if the file has no normals."""
    uv: np.ndarray | None = None
    """[V, 2] float32, texture coordinates. (0, 0) is the lower left corner of the texture, which repeats."""
    colors: np.ndarray | None = None
    """[V, 4] uint8. Multiplies the base colour and the texture."""
    base_color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    texture: np.ndarray | None = None
    """[H, W, 4] uint8, row 0 at the top."""
    metallic: float = 0.0
    roughness: float = 1.0
    emissive: tuple[float, float, float] = (0.0, 0.0, 0.0)
    alpha_mode: AlphaMode = "OPAQUE"
    alpha_cutoff: float = 0.5
    side: np.ndarray | None = None
    """[F] uint8: `BOTH`, `FRONT` or `BACK` of `pipeline.coincident`, which `normalized` sets for coincident surfaces. None: all `BOTH`."""
    outline: np.ndarray | None = None
    """[n, 3] float32: outermost visible places, which `normalized` sets. None if these are the vertices."""
    part: np.ndarray | None = None
    """[F] int16: index of each triangle's label in `pipeline.sources.catalog.Labelled.parts`, -1 for none. None if no triangle has one."""
    instance: np.ndarray | None = None
    """[F] int32: number of the object that each triangle belongs to, -1 for none. None if no triangle has one."""
    label_map: np.ndarray | None = None
    """[H, W] int16, row 0 at the top: a picture whose texels are labels of parts. Where it is given, it replaces `part`."""
    label_uv: np.ndarray | None = None
    """[F, 3, 2] float32: place of each corner on `label_map`, as in `uv`; NaN for a triangle without a place."""

    @property
    def textured(self) -> bool:
        return self.texture is not None and self.uv is not None

    @property
    def threshold(self) -> float:
        """Least alpha of a visible place."""
        return {"OPAQUE": -np.inf, "MASK": self.alpha_cutoff, "BLEND": FAINT}[self.alpha_mode]

    @functools.cached_property
    def clamped(self) -> bool:
        """Whether the texture ends at its edges instead of repeating. It does if it is partly transparent and used at most once.

        If it repeated, each edge would show a line from the opposite edge, as far out as the surface reaches.
        """
        if self.uv is None or self.texture is None or self.alpha_mode == "OPAQUE" or not len(self.uv):
            return False
        return bool(self.texture[..., 3].min() < 255 and self.uv.min() > -1e-4 and self.uv.max() < 1 + 1e-4)

    @functools.cached_property
    def alphas(self) -> tuple[float, float]:
        """(least, largest) alpha of the part; (1, 1) if alpha is ignored."""
        if self.alpha_mode == "OPAQUE":
            return 1.0, 1.0
        low = high = float(self.base_color[3])
        for array in (self.colors, self.texture if self.textured else None):
            if array is not None and array.size:
                low, high = low * int(array[..., 3].min()) / 255, high * int(array[..., 3].max()) / 255
        return low, high


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A surface."""

    parts: tuple[Part, ...]
    """Parts. A file gives one part for each material."""
    colored: bool
    """Whether the file has any colour. Otherwise everything is grey."""
    warnings: tuple[str, ...] = ()
    """What a reader left out, and the shape is still right without."""
    beside: bytes = b""
    """sha256 over the other files that it was read from (materials, textures, buffers of a glTF, labels); empty if there were none."""
    boxes: Boxes | None = None
    """The objects of a scene."""


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A point cloud."""

    points: np.ndarray
    """[n, 3] float32."""
    colors: np.ndarray | None = None
    """[n, 3] uint8."""
    normals: np.ndarray | None = None
    """[n, 3] float32 after `finished`: unit length, or 0 0 0 at a point without a normal. None if the file has no normals."""
    warnings: tuple[str, ...] = ()
    """What a reader left out, and the shape is still right without."""
    beside: bytes = b""
    """sha256 over the other files that it was read from; empty if there were none."""
    normals_beside: bytes = b""
    """sha256 over normals that the source's digest does not cover, because they are stored elsewhere; empty if there are none."""
    part: np.ndarray | None = None
    """[n] int16: index of each point's label in `pipeline.sources.catalog.Labelled.parts`, -1 for none. None if no point has one."""
    instance: np.ndarray | None = None
    """[n] int32: number of the object that each point belongs to, -1 for none. None if no point has one."""
    origin: np.ndarray | None = None
    """[n] int32: number of each point in the list of points of its scene. None if the cloud is no crop of a scene."""
    boxes: Boxes | None = None
    """The objects of a scene."""

    @property
    def colored(self) -> bool:
        return self.colors is not None

    def fewer_than(self, count: int) -> bool:
        """Whether there are fewer different points than `count`. Copies in one place are one point."""
        return len(self.points) < count or len(np.unique(places(self.points))) < count


Geometry = Mesh | Cloud


def checked(read: object) -> Geometry:
    """Return what a reader has returned, if its arrays have the forms that `Mesh` and `Cloud` promise. What is wrong with the shape itself,
    such as NaN, is for `normalized`.

    Raises:
        UserError: it is something else, or an array has another form; the message is for the author of the reader.
    """
    if isinstance(read, Cloud):
        n = len(_array(read.points, "Cloud.points", "iuf", 3))
        for name, kind, width in (("colors", "u", 3), ("normals", "f", 3), ("part", "iu", 0), ("instance", "iu", 0), ("origin", "iu", 0)):
            if (values := getattr(read, name)) is not None:
                _array(values, f"Cloud.{name}", kind, width, n)
        if read.normals is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                squares = np.einsum("ni,ni->n", read.normals, read.normals)  # a fifth of the time of their lengths
            if (np.isfinite(squares) & (squares > 0) & (np.abs(squares - 1) > 0.02)).any():
                raise UserError(_unlike("Cloud.normals holds vectors of another length than 1 or 0"))
        _check_boxes(read.boxes)
        return read
    if isinstance(read, Mesh) and isinstance(read.parts, tuple | list) and all(isinstance(part, Part) for part in read.parts):
        for part in read.parts:
            vertices = len(_array(part.vertices, "Part.vertices", "iuf", 3))
            faces = _array(part.faces, "Part.faces", "iu", 3)
            if faces.size and not 0 <= int(faces.min()) <= int(faces.max()) < vertices:
                raise UserError(_unlike(f"Part.faces names vertices {faces.min()} to {faces.max()} of {vertices}"))
            for name, kind, width, count in (
                ("normals", "f", 3, vertices),
                ("uv", "f", 2, vertices),
                ("colors", "u", 4, vertices),
                ("part", "iu", 0, len(faces)),
                ("instance", "iu", 0, len(faces)),
            ):
                if (values := getattr(part, name)) is not None:
                    _array(values, f"Part.{name}", kind, width, count)
            _check_label_map(part)
            if part.alpha_mode not in get_args(AlphaMode):
                raise UserError(_unlike(f"Part.alpha_mode is {part.alpha_mode!r}, expected {' or '.join(get_args(AlphaMode))}"))
            if (picture := part.texture) is not None:
                if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 4:
                    raise UserError(_unlike(f"Part.texture is {_form(picture)}, expected uint8 (0 to 255) [H, W, 4]"))
            if len(part.base_color) != 4 or not all(-1e-3 <= value <= 1 + 1e-3 for value in part.base_color):
                raise UserError(_unlike(f"Part.base_color is {part.base_color}, expected four numbers of 0 to 1"))
            if not read.colored and not _grey(part):
                raise UserError(_unlike("Mesh.colored is False, and a Part has a colour: then everything is GREY, as in base_color"))
        _check_boxes(read.boxes)
        return read
    raise UserError(_unlike(f"it returned {article(type(read).__name__)}, expected a Mesh of Parts or a Cloud"))


def _check_label_map(part: Part) -> None:
    """Refuse a picture of labels, or places on it, of another form than `Part` promises."""
    if (part.label_map is None) != (part.label_uv is None):
        raise UserError(_unlike("Part.label_map and Part.label_uv must be given together, and only one of them is there"))
    if part.label_map is None:
        return
    width = part.label_map.shape[-1] if isinstance(part.label_map, np.ndarray) and part.label_map.ndim == 2 else 1
    if not _array(part.label_map, "Part.label_map", "iu", width).size:
        raise UserError(_unlike(f"Part.label_map is empty: {list(part.label_map.shape)}"))
    if not isinstance(part.label_uv, np.ndarray) or part.label_uv.dtype.kind != "f" or part.label_uv.shape != (len(part.faces), 3, 2):
        raise UserError(_unlike(f"Part.label_uv is {_form(part.label_uv)}, expected float32 [{len(part.faces)}, 3, 2]"))


def _check_boxes(boxes: object) -> None:
    """Refuse boxes of another form than `Boxes` promises."""
    if boxes is None:
        return
    if not isinstance(boxes, Boxes):
        raise UserError(_unlike(f"`boxes` is {article(type(boxes).__name__)}, expected Boxes"))
    box = _array(boxes.box, "Boxes.box", "iuf", 7)
    _array(boxes.kind, "Boxes.kind", "iu", 0, len(box))
    if not np.isfinite(box).all():
        raise UserError(_unlike("Boxes.box holds values that are not finite"))
    if len(box) and (box[:, 3:6] < 0).any():
        raise UserError(_unlike(f"Boxes.box holds a size of {box[:, 3:6].min():g}, expected lengths of edges of at least 0"))


def check_labels(geometry: Geometry, points: PointSpec, boxes: BoxSpec | None) -> None:
    """Refuse labels that name none of the parts, or of the classes of boxes, that are stored. A shape without labels is fine.

    Args:
        geometry: what a reader has returned, and `checked` has taken.
        points, boxes: what is stored of it.

    Raises:
        UserError: a label is out of range; the message is for the author of the reader.
    """
    parts = geometry.parts if isinstance(geometry, Mesh) else (geometry,)
    if points.parts:
        for one in parts:
            for name in ("part", "label_map"):
                _in_range(getattr(one, name, None), f"{type(one).__name__}.{name}", -1, len(points.parts), "Labelled.parts")
    for name in (name for name in ("instance", "origin") if name in points.labels):
        for one in parts:
            _in_range(getattr(one, name, None), f"{type(one).__name__}.{name}", -1, 2**31, "int32")
    if boxes is not None and geometry.boxes is not None:
        _in_range(geometry.boxes.kind, "Boxes.kind", 0, len(boxes.names), "Labelled.boxes")


def _in_range(labels: np.ndarray | None, name: str, low: int, high: int, where: str) -> None:
    """Refuse labels that are not in low..high-1."""
    if labels is not None and labels.size and not low <= int(labels.min()) <= int(labels.max()) < high:
        raise UserError(_unlike(f"{name} holds labels {labels.min()} to {labels.max()}, expected {low} to {high - 1} ({where})"))


def _grey(part: Part) -> bool:
    """Whether a part is `GREY` everywhere. Where grey materials of different alpha are joined, the colours of vertices say so, in bytes."""
    if part.textured:
        return False
    if part.colors is None:
        return bool(np.abs(np.subtract(part.base_color[:3], GREY)).max() <= 1e-3)
    return bool((np.abs(baked(part)[:, :3] - 255 * GREY) <= 1).all())


def _array(values: object, name: str, kind: str, width: int, count: int | None = None) -> np.ndarray:
    """Return an array of a shape if it has the form [count, width], or [count] if `width` is 0, and its type is one of NumPy's in `kind`.
    Colours (`u`) must be bytes."""
    if not isinstance(values, np.ndarray):
        raise UserError(_unlike(f"{name} is {_form(values)}, expected an array of NumPy"))
    form = (len(values) if values.ndim and count is None else count, *((width,) if width else ()))
    bytes_only = kind == "u" and values.dtype != np.uint8
    if values.shape != form or values.dtype.kind not in kind or bytes_only:
        types = {"u": "uint8 (0 to 255)", "f": "float32", "iu": "integers", "iuf": "float32"}[kind]
        wanted = ["n" if count is None else count, *form[1:]]
        raise UserError(_unlike(f"{name} is {_form(values)}, expected {types} [{', '.join(map(str, wanted))}]"))
    return values


def _form(values: object) -> str:
    """The type and the form of an array, or what a value is instead of one."""
    return f"{values.dtype} {list(values.shape)}" if isinstance(values, np.ndarray) else article(type(values).__name__)


def _unlike(what: str) -> str:
    return f"the reader of this file breaks its promise (`pipeline.geometry`): {what}"


def beside(geometry: Geometry, normals: bool) -> bytes:
    """Return the digests of everything a shape was read from that the source's digest does not cover; empty if there is nothing.

    Args:
        geometry: the shape.
        normals: whether its normals are used. If not, `Cloud.normals_beside` is left out.
    """
    apart = geometry.normals_beside if normals and isinstance(geometry, Cloud) else b""
    return geometry.beside + apart


def normalized(geometry: Geometry, how: Literal["unit_sphere", "none"]) -> Geometry:
    """Check a shape, and move it to the position and scale that the cache stores.

    `unit_sphere` moves the area centroid (for a cloud the mean) to the origin and the farthest vertex to distance 1. Only visible surface
    counts, and coincident surface counts once. `none` moves nothing. Both remove triangles that are invisible or copies of others, and set
    `Part.side` and `Part.outline`.

    Raises:
        UserError: coordinates are not finite or too large for float32, the surface has no area, nothing is visible, or a cloud has fewer
            than two different points.
    """
    if isinstance(geometry, Cloud):
        points = geometry.points.astype(np.float64)
        _check_coordinates([points])
        if not len(points) or np.all(points == points[0]):
            raise UserError(f"the cloud has no two different points ({len(points)} in all)")
        center = points.mean(axis=0)
        radius = np.linalg.norm(points - center, axis=1).max()
        if how == "none":
            return geometry
        placed = ((points - center) / radius).astype(np.float32)
        return dataclasses.replace(geometry, points=placed, boxes=_placed(geometry.boxes, center, radius))

    parts = [compact(part) for part in geometry.parts]
    _check_coordinates([part.vertices for part in parts])
    parts, warned = _told_apart(_visible(parts))
    sums, area = np.zeros(3), 0.0
    for part in parts:
        for middles, areas in _pieces(part):
            sums += areas @ middles
            area += areas.sum()
    low, high = _bounds([extent(part) for part in parts])
    if area <= 1e-12 * np.sum((high - low) ** 2):
        raise UserError("the surface has no area: its triangles are all points or lines")
    warnings = geometry.warnings + tuple(text for text in warned if text not in geometry.warnings)
    if how == "none":
        return dataclasses.replace(geometry, parts=tuple(parts), warnings=warnings)
    center = sums / area
    radius = max(np.linalg.norm(extent(part) - center, axis=1).max() for part in parts)

    def moved(points: np.ndarray) -> np.ndarray:
        placed: np.ndarray = ((points - center) / radius).astype(np.float32)
        return placed

    done = [dataclasses.replace(p, vertices=moved(p.vertices), outline=None if p.outline is None else moved(p.outline)) for p in parts]
    return dataclasses.replace(geometry, parts=tuple(done), warnings=warnings, boxes=_placed(geometry.boxes, center, radius))


def _placed(boxes: Boxes | None, center: np.ndarray, radius: float) -> Boxes | None:
    """Move boxes with their scene: `center` becomes the origin, and `radius` becomes 1."""
    if boxes is None:
        return None
    moved = np.column_stack([(boxes.box[:, :3] - center) / radius, boxes.box[:, 3:6] / radius, boxes.box[:, 6]])
    return dataclasses.replace(boxes, box=moved)


def extent(part: Part) -> np.ndarray:
    """Return the outermost visible places of a part `[n, 3]`. They are its vertices, unless some of it is invisible."""
    return part.vertices if part.outline is None else part.outline


def _visible(parts: list[Part]) -> list[Part]:
    """Remove invisible triangles from parts, and give partly visible parts an outline.

    Raises:
        UserError: nothing is visible.
    """
    if all(part.alpha_mode == "OPAQUE" for part in parts):
        return parts
    low, high = _bounds([part.vertices for part in parts])
    cell = float(np.linalg.norm(high - low)) / FINE
    kept: list[Part] = []
    for part in parts:
        least, most = part.alphas
        if least >= part.threshold:
            kept.append(part)
        elif most >= part.threshold:
            share, outline = _share(part, cell)
            rows = np.flatnonzero(share > 0)
            if len(outline):
                kept.append(compact(dataclasses.replace(of_faces(part, rows), outline=outline)))
    if not kept:
        raise UserError("nothing of the surface is visible: its alpha is everywhere below its alphaCutoff (MASK) or near zero (BLEND)")
    return kept


def _share(part: Part, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """Find how much of each triangle is visible, `[F]` in 0..1, and the corners of the visible cells of a grid on all triangles `[n, 3]`.

    A cell is visible if its middle is. Its corners are not tested, because a texture that repeats shows a line of its opposite edge there,
    without any width. But a triangle with a visible corner of a cell keeps a tiny share, so that it stays.
    """
    share, found = np.zeros(len(part.faces)), [np.zeros((0, 3))]
    for rows, count in _grids(part, cell):
        nodes, middles, cells = _grid(count)
        shown = _shown(part, part.faces[rows], middles)  # [f, cells]
        share[rows] = shown.mean(axis=1)
        face, middle = np.nonzero(shown)
        reached = np.zeros((len(rows), len(nodes)), bool)
        reached[face[:, None], cells[middle]] = True
        face, node = np.nonzero(reached)
        found.append(np.einsum("nk,nkd->nd", nodes[node], part.vertices[part.faces[rows[face]]]))
        none = rows[share[rows] == 0]
        share[none] = 1e-6 * _shown(part, part.faces[none], nodes).any(axis=1)
    return share, np.concatenate(found).astype(np.float32)


def _grids(part: Part, cell: float) -> Iterator[tuple[np.ndarray, int]]:
    """Yield rows of `part.faces`, a bounded number at a time, and the number of steps into which their edges are cut to test alpha."""
    corners = part.vertices[part.faces].astype(np.float64)
    wanted = np.linalg.norm(corners - corners[:, [1, 2, 0]], axis=2).max(axis=1) / max(cell, 1e-300)
    if part.texture is not None and part.uv is not None:
        texels = part.uv[part.faces].astype(np.float64) * (np.array(part.texture.shape[1::-1]) / 2)
        wanted = np.maximum(wanted, np.abs(texels - texels[:, [1, 2, 0]]).max(axis=(1, 2)))
    steps = 2 ** np.ceil(np.log2(np.clip(wanted, 2, 512))).astype(np.int64)
    while steps.max() > 1 and ((steps + 1) * (steps + 2) // 2).sum() > LOOKS:
        steps = np.minimum(steps, steps.max() // 2)
    for count in np.unique(steps):
        rows = np.flatnonzero(steps == count)
        at_once = max(1, LOOKS // 4 // int(count + 1) ** 2)
        for start in range(0, len(rows), at_once):
            yield rows[start : start + at_once], int(count)


@functools.lru_cache(maxsize=16)
def _grid(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make a grid on a triangle.

    Returns:
        Weights of the three corners at the nodes `[n, 3]` and at the middles of the `count ** 2` cells `[cells, 3]`, and the three nodes
        around each cell `[cells, 3]`.
    """
    a, b = (axis.reshape(-1) for axis in np.meshgrid(np.arange(count + 1), np.arange(count + 1), indexing="ij"))
    steps = np.column_stack([a, b])
    steps, upright, turned = steps[a + b <= count], steps[a + b < count], steps[a + b < count - 1]
    number = np.zeros((count + 2, count + 2), np.int64)
    number[tuple(steps.T)] = np.arange(len(steps))
    around = np.concatenate([upright[:, None] + [[0, 0], [1, 0], [0, 1]], turned[:, None] + [[1, 0], [0, 1], [1, 1]]])  # [cells, 3, 2]
    cells = number[around[..., 0], around[..., 1]]
    nodes = np.column_stack([count - steps.sum(axis=1), steps]) / count
    return nodes, nodes[cells].mean(axis=1), cells


def _told_apart(parts: list[Part]) -> tuple[list[Part], list[str]]:
    """Mark the sides of coincident surfaces, and remove copies. Returns the parts and warnings."""
    through = [part.alphas[0] < 1 for part in parts]
    plain = [part.colors is None and not part.textured for part in parts]
    side = sides([(part.vertices, part.faces) for part in parts], through, plain)
    if not side.any():
        return parts, []
    done, lost = [], 0
    for part, mine, open_ in zip(parts, np.split(side, np.cumsum([len(part.faces) for part in parts])[:-1]), through, strict=True):
        rows = np.flatnonzero(mine != HIDDEN)
        lost += (len(mine) - len(rows)) * open_
        if len(rows):
            side_of = mine[rows] if (mine[rows] != BOTH).any() else None
            done.append(compact(dataclasses.replace(of_faces(part, rows), side=side_of)))
    return done, [f"{lost:,} see-through triangles lie exactly on others and are left out"] if lost else []


def _pieces(part: Part) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield middles `[n, 3]` and areas `[n]`, in float64, of the visible surface of a part. Coincident surface counts once."""
    sampled = counted(part)
    if part.outline is None:
        start = 0
        for corners, areas in triangles(part):
            yield corners.mean(axis=1), areas if sampled is None else areas * sampled[start : start + len(areas)]
            start += len(areas)
        return
    areas = np.concatenate([areas for _, areas in triangles(part)]) * (1 if sampled is None else sampled)
    low, high = _bounds([part.outline])
    for rows, count in _grids(part, float(np.linalg.norm(high - low)) / FINE):
        _, middles, _ = _grid(count)
        shown = _shown(part, part.faces[rows], middles)  # [f, cells]
        corners = part.vertices[part.faces[rows]].astype(np.float64)
        sums = np.einsum("fn,nk,fkd->fd", shown, middles, corners, optimize=True)
        number = shown.sum(axis=1)
        yield sums / np.maximum(number, 1)[:, None], areas[rows] * number / len(middles)


def counted(part: Part) -> np.ndarray | None:
    """Tell which triangles `[F]` count for area and points; None if all do."""
    return None if part.side is None else part.side != BACK


def appearance(part: Part, corners: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the colour and alpha of a surface, before lighting, at places on its triangles.

    The colour is base colour times vertex colour times texture, plus the emitted light, at most 1. Pictures shade exactly this colour. In
    transparent parts each texel counts by its alpha, so that the colour of transparent texels is never seen.

    Args:
        part: The part that the triangles belong to.
        corners: `[m, 3]` vertices of the triangle of each place.
        weights: `[m, 3]` barycentric coordinates of each place.

    Returns:
        Colours `[m, 3]` in 0..1 and alphas `[m]` in 0..1, which are 1 in an opaque part.
    """
    color, alpha = np.tile(np.asarray(part.base_color[:3], np.float64), (len(corners), 1)), np.ones(len(corners))
    opaque = part.alpha_mode == "OPAQUE"
    if not opaque:
        alpha *= part.base_color[3]
    if part.colors is not None:
        color *= np.einsum("mk,mkd->md", weights, part.colors[corners, :3]) / 255
        if not opaque:
            alpha *= np.einsum("mk,mk->m", weights, part.colors[corners, 3]) / 255
    if part.texture is not None and part.uv is not None:
        uv = np.einsum("mk,mkd->md", weights, part.uv[corners].astype(np.float64))
        rgb, own = _texels(part.texture, uv, opaque, part.clamped)
        color *= rgb
        alpha *= own
    return np.clip(np.nan_to_num(color + part.emissive), 0, 1), alpha


def _texels(texture: np.ndarray, uv: np.ndarray, opaque: bool, clamped: bool) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate colours `[m, 3]` and alphas `[m]` in 0..1 of a texture `[H, W, 4]` at `[m, 2]`. Centres of texels lie at half numbers.

    Unless `opaque`, texels count for the colour by their alpha. Unless `clamped`, the texture repeats.
    """
    height, width = texture.shape[:2]
    across, down = (np.clip(uv[:, 0], 0, 1), np.clip(1 - uv[:, 1], 0, 1)) if clamped else (uv[:, 0] % 1, (1 - uv[:, 1]) % 1)
    x, y = across * width - 0.5, down * height - 0.5
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    dx, dy = (x - left)[:, None], (y - top)[:, None]

    def inside(index: np.ndarray, count: int) -> np.ndarray:
        return np.clip(index, 0, count - 1) if clamped else index % count

    def between(at: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        rows, columns = (inside(top, height), inside(top + 1, height)), (inside(left, width), inside(left + 1, width))
        upper = at(rows[0], columns[0]) * (1 - dx) + at(rows[0], columns[1]) * dx
        lower = at(rows[1], columns[0]) * (1 - dx) + at(rows[1], columns[1]) * dx
        mixed: np.ndarray = upper * (1 - dy) + lower * dy
        return mixed

    if opaque:
        return between(lambda row, column: texture[row, column, :3] / 255), np.ones(len(uv))

    def weighted(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        texels: np.ndarray = texture[row, column] / 255
        texels[:, :3] *= texels[:, 3:]
        return texels

    found = between(weighted)
    return found[:, :3] / np.maximum(found[:, 3:], 1e-6), found[:, 3]


def _shown(part: Part, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Tell which of the places `weights` `[n, 3]` are visible on each of the triangles `faces` `[f, 3]`. `[f, n]`"""
    f, n = len(faces), len(weights)
    _, alpha = appearance(part, np.repeat(faces, n, axis=0), np.tile(weights, (f, 1)))
    return alpha.reshape(f, n) >= part.threshold


def triangles(part: Part, at_once: int = 1_000_000) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield corners `[f, 3, 3]` and areas `[f]` of all triangles in order, in float64, a bounded number at a time."""
    for start in range(0, len(part.faces), at_once):
        corners = part.vertices[part.faces[start : start + at_once]].astype(np.float64)  # [f, 3, 3]
        sides = corners[:, 1:] - corners[:, :1]
        yield corners, np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2


def facing(corners: np.ndarray) -> np.ndarray:
    """Compute unit normals `[m, 3]` float64 of triangles from their corners `[m, 3, 3]` in counter-clockwise order. Each has an area."""
    edges = corners[:, 1:] - corners[:, :1]
    across: np.ndarray = np.cross(edges[:, 0], edges[:, 1])
    unit_length: np.ndarray = across / np.linalg.norm(across, axis=1, keepdims=True)
    return unit_length


def unit_or_zero(normals: np.ndarray | None) -> np.ndarray | None:
    """Scale normals `[n, 3]` of a cloud to unit length, in float32. Those that are 0 or not finite become 0 0 0; None if all do."""
    if normals is None:
        return None
    with np.errstate(all="ignore"):
        scaled = normals.astype(np.float64) / np.abs(normals).max(axis=1, keepdims=True)  # so that no square overflows
        scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    there = np.isfinite(scaled).all(axis=1)
    return np.where(there[:, None], scaled, 0).astype(np.float32) if there.any() else None


def unit(normals: np.ndarray | None, count: int) -> np.ndarray | None:
    """Scale normals `[count, 3]` to unit length; None if the shape is another, or one of them is 0 or not finite."""
    if normals is None or np.shape(normals) != (count, 3):
        return None
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / length if np.isfinite(length).all() and length.min() > 1e-12 else None


def rgba(colors: np.ndarray, linear: bool = False) -> np.ndarray:
    """Convert colours of any type to `[n, 4]` uint8. `linear`: they are linear light and become sRGB."""
    colors = np.asarray(colors)
    if colors.dtype.kind == "f":
        colors = np.rint(np.clip(np.nan_to_num(colors), 0, 1) * 255)
    elif colors.dtype.itemsize == 2:
        colors = colors >> 8
    colors = colors.astype(np.uint8)
    rgb = np.rint(display(np.arange(256) / 255) * 255).astype(np.uint8)[colors[:, :3]] if linear else colors[:, :3]
    alpha = colors[:, 3:4] if colors.shape[1] == 4 else np.full((len(colors), 1), 255, np.uint8)
    return np.hstack([rgb, alpha])


def display(light: np.ndarray) -> np.ndarray:
    """Convert linear light 0..1 to sRGB 0..1 (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def taken(part: Part, rows: np.ndarray) -> Part:
    """Return the part with only these vertices. The caller must renumber the faces."""
    arrays = {name: getattr(part, name) for name in PER_VERTEX}
    return dataclasses.replace(part, **{name: array[rows] for name, array in arrays.items() if array is not None})


def of_faces(part: Part, rows: np.ndarray) -> Part:
    """Return the part with only these triangles. It keeps all vertices."""
    arrays = {name: getattr(part, name) for name in PER_FACE}
    return dataclasses.replace(part, faces=part.faces[rows], **{name: array[rows] for name, array in arrays.items() if array is not None})


def compact(part: Part) -> Part:
    """Return the part without unused vertices."""
    used = np.zeros(len(part.vertices), bool)
    used[part.faces] = True
    if used.all():
        return part
    return dataclasses.replace(taken(part, np.flatnonzero(used)), faces=(np.cumsum(used, dtype=np.int32) - 1)[part.faces])


def left_alone(count: int, corners: np.ndarray, faces: int) -> str:
    """What to say of a file with `count` vertices if its faces name less than half of them; empty else.

    Such a file may be a cloud with a few stray faces, which is read as these faces alone.

    Args:
        count: number of vertices.
        corners: the vertex of each corner of the faces.
        faces: number of faces.
    """
    if 2 * len(corners) >= count:
        named = np.zeros(count, bool)
        named[corners] = True
        used = int(np.count_nonzero(named))
    else:
        used = len(np.unique(corners))
    if 2 * used >= count:
        return ""
    told = f"only {used:,} of {count:,} vertices belong to a face, the others are left out"
    return f"{told}; if they are a cloud, take out its {faces:,} faces"


def copied(part: Part, matrices: np.ndarray) -> Part:
    """Return one part with a copy of the part for each matrix `[k, 4, 4]`."""
    k, count = len(matrices), len(part.vertices)
    with np.errstate(all="ignore"):  # infinite coordinates are refused later
        vertices = np.einsum("kij,vj->kvi", matrices[:, :3, :3], part.vertices) + matrices[:, None, :3, 3]  # [k, V, 3]
        normals = None
        if part.normals is not None:
            # Normals transform by the inverse transpose. Up to scale this is the cofactor matrix, which exists for flat copies, too.
            a, b, c = np.moveaxis(matrices[:, :3, :3], 1, 0)
            cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
            normals = unit(np.einsum("kij,vj->kvi", cofactors, part.normals).reshape(-1, 3), k * count)
    faces = part.faces[None] + np.arange(k)[:, None, None] * count  # [k, F, 3]
    with np.errstate(all="ignore"):
        mirrored = np.linalg.det(matrices[:, :3, :3]) < 0  # [k]
    faces[mirrored] = faces[mirrored][..., ::-1]  # so that faces that point outwards still do
    repeated: dict[str, Any] = {name: np.stack([array] * k) for name in PER_FACE if (array := getattr(part, name)) is not None}
    if "label_uv" in repeated:  # [k, F, 3, 2], in the order of the corners
        repeated["label_uv"][mirrored] = repeated["label_uv"][mirrored][:, :, ::-1]
    return dataclasses.replace(
        part,
        vertices=vertices.reshape(-1, 3),
        faces=faces.reshape(-1, 3),
        normals=normals,
        uv=None if part.uv is None else np.tile(part.uv, (k, 1)),
        colors=None if part.colors is None else np.tile(part.colors, (k, 1)),
        **{name: array.reshape(-1, *array.shape[2:]) for name, array in repeated.items()},
    )


def joined(parts: list[Part]) -> Part:
    """Join parts of one material. If their base colours differ, these become vertex colours."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if any(p.colors is not None or p.base_color != first.base_color for p in parts):
        parts = [dataclasses.replace(p, colors=baked(p), base_color=(1.0, 1.0, 1.0, 1.0)) for p in parts]
    starts = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    stacked: dict[str, Any] = {
        name: None if any(getattr(p, name) is None for p in parts) else np.concatenate([getattr(p, name) for p in parts])
        for name in PER_VERTEX
    }
    for name in ("part", "instance"):
        if any(getattr(p, name) is not None for p in parts):
            stacked[name] = np.concatenate([label_of_faces(p, name) for p in parts])
    maps = [p.label_map for p in parts if p.label_map is not None]
    if maps:  # a file has one picture of labels
        stacked["label_map"] = maps[0]
        stacked["label_uv"] = np.concatenate([np.full((len(p.faces), 3, 2), np.nan) if p.label_uv is None else p.label_uv for p in parts])
    faces = np.concatenate([p.faces + start for p, start in zip(parts, starts, strict=True)])
    return dataclasses.replace(parts[0], faces=faces, **stacked)


def label_of_faces(part: Part, name: str) -> np.ndarray:
    """Return the labels of a part's triangles `[F]`; -1 where there is none. A triangle has no `origin`."""
    labels: np.ndarray | None = getattr(part, name, None)
    return np.full(len(part.faces), -1, POINT_LABELS[name]) if labels is None else labels


def labels_at(part: Part, name: str, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the labels `[m]` of places on a surface: of the nearest texel of `label_map` if there is one, else of the triangle.

    Labels are never blended, because the label between 1 and 3 is not 2.

    Args:
        part: the part that the triangles belong to.
        name: which labels, of `cache_schema.spec.POINT_LABELS`.
        faces: `[m]` rows of `part.faces`.
        weights: `[m, 3]` barycentric coordinates of the places.
    """
    if name != "part" or part.label_map is None or part.label_uv is None:
        of_triangles: np.ndarray = label_of_faces(part, name)[faces]
        return of_triangles
    height, width = part.label_map.shape
    uv = np.einsum("mk,mkd->md", weights, part.label_uv[faces].astype(np.float64))
    placed = np.isfinite(uv).all(axis=1)
    uv = np.where((uv < 0) | (uv > 1), uv % 1, np.nan_to_num(uv))
    column, row = np.minimum((uv[:, 0] * width).astype(int), width - 1), np.minimum(((1 - uv[:, 1]) * height).astype(int), height - 1)
    return np.where(placed, part.label_map[row, column], -1)


def baked(part: Part) -> np.ndarray:
    """Multiply vertex colours by the base colour. `[V, 4]` uint8"""
    colors = np.full((len(part.vertices), 4), 255, np.uint8) if part.colors is None else part.colors
    product: np.ndarray = np.rint(colors * np.asarray(part.base_color)).astype(np.uint8)
    return product


def finished_mesh(parts: list[Part], colored: bool) -> Mesh:
    """Check parts and make a mesh: float32 and int32, near the origin, with finite numbers only.

    Args:
        parts: vertices `[V, 3]` of any float type, +Y up; at least one triangle in all.
        colored: see `Mesh`.

    Raises:
        UserError: coordinates are not finite or beyond `REACH`.
    """
    vertices, said = _near([part.vertices for part in parts])
    types = {"normals": np.float32, "uv": np.float32, "faces": np.int32, "part": np.int16, "instance": np.int32, "label_uv": np.float32}
    done, warnings = [], list(said)
    for part, moved in zip(parts, vertices, strict=True):
        if part.uv is not None and not np.isfinite(part.uv).all():
            warnings.append("some texture coordinates are not finite (NaN or infinity); 0 is taken for them")
            part = dataclasses.replace(part, uv=np.nan_to_num(part.uv, posinf=0, neginf=0))
        if part.normals is not None and not np.isfinite(part.normals).all():
            warnings.append("some normals are not finite (NaN or infinity); all of their material are computed")
            part = dataclasses.replace(part, normals=None)
        for name in PER_FACE:
            labels = getattr(part, name)
            assert labels is None or np.shape(labels)[:1] == (len(part.faces),), f"{name}: one for each triangle, got {np.shape(labels)}"
        arrays = {name: getattr(part, name) for name in types}
        cast: dict[str, Any] = {name: np.ascontiguousarray(a, types[name]) for name, a in arrays.items() if a is not None}
        done.append(dataclasses.replace(part, vertices=moved, **cast))
    return Mesh(parts=tuple(done), colored=colored, warnings=tuple(dict.fromkeys(warnings)))


def finished_cloud(
    points: np.ndarray,
    colors: np.ndarray | None,
    normals: np.ndarray | None = None,
    part: np.ndarray | None = None,
    instance: np.ndarray | None = None,
    origin: np.ndarray | None = None,
) -> Cloud:
    """Check points and make a cloud: float32, near the origin, without points that are not finite.

    Args:
        points: `[n, 3]` of any float type, +Y up.
        colors: `[n, 3]` uint8, or None.
        normals: `[n, 3]` of any float type and length, +Y up, or None.
        part, instance, origin: `[n]` whole numbers, or None; see `Cloud`.

    Raises:
        UserError: no point is left, or coordinates are beyond `REACH`.
    """
    if not len(points):
        raise UserError("the cloud has no points")
    warnings: tuple[str, ...] = ()
    labels: dict[str, Any] = {
        name: np.asarray(values, POINT_LABELS[name])
        for name, values in (("part", part), ("instance", instance), ("origin", origin))
        if values is not None
    }
    for name, values in labels.items():
        assert values.shape == (len(points),), f"{name}: one for each point, got {values.shape}"
    real = np.isfinite(points).all(axis=1)
    if not real.all():
        if not real.any():
            raise UserError(f"none of the cloud's {len(points):,} points is finite: all are NaN or infinity")
        warnings = (f"{len(points) - int(real.sum()):,} of {len(points):,} points are not finite (NaN or infinity) and are left out",)
        points, colors = points[real], None if colors is None else colors[real]
        normals = None if normals is None else normals[real]
        labels = {name: values[real] for name, values in labels.items()}
    (near,), said = _near([points])
    return Cloud(points=near, colors=colors, normals=unit_or_zero(normals), warnings=warnings + said, **labels)


def _near(arrays: list[np.ndarray]) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Check coordinates and convert them to float32. A shape far from the origin is moved there first, to keep its detail in float32.

    Returns:
        The arrays, and remarks about coordinates that had lost their detail before.
    """
    _check_coordinates(arrays)
    low, high = _bounds(arrays)
    center, size = (low + high) / 2, float(np.linalg.norm(high - low))
    if 0 < size < SMALLEST:
        raise UserError(f"the shape measures {size:.1g}: damaged, or written in the other byte order?")
    far = np.linalg.norm(center) > 100 * size
    said = _rounded(arrays, size) if far else ()
    return [np.ascontiguousarray(a - center if far else a, np.float32) for a in arrays], said


def _rounded(arrays: list[np.ndarray], size: float) -> tuple[str, ...]:
    """Say if coordinates `[.., 3]`, which lie far from the origin, were rounded to float32 or to six digits before they were read.

    Programs write coordinates of maps so, such as 4600000.5. Then they lie on a coarse grid, and take most of its places.
    """
    points = np.concatenate(arrays).astype(np.float64)
    most = np.maximum(np.abs(points).max(axis=0), 1e-300)
    float32 = np.spacing(most.astype(np.float32)).astype(np.float64)
    for base, steps in ((2, float32), (10, 10.0 ** (np.floor(np.log10(most)) - 5))):
        if steps.max() <= COARSE * size:
            continue
        places = points / np.maximum(steps, 1e-300)  # [n, 3]
        if np.abs(places - np.rint(places)).max() > 1e-6:
            continue
        every = [np.unique(axis) for axis in np.rint(places).T]
        for axis in np.argsort(-steps, kind="stable"):
            used, step = every[axis], steps[axis]
            many = len(used) >= MANY or (len(used) > 1 and max(map(len, every)) >= MANY**2)
            dense = 2 * len(used) > np.ptp(used) and bool((used % base != 0).any())  # else they are rounded more coarsely
            if many and dense and step > COARSE * size:
                return (
                    f"coordinates far from 0 are in steps of {step:g}, and the shape measures {size:.3g}: detail was lost when it was "
                    "written; write it near 0, or with more digits",
                )
    return ()


def _bounds(arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    # Axis by axis, which is twenty times as fast in numpy as a minimum over rows of three.
    low = np.min([[axis.min() for axis in a.T] for a in arrays], axis=0).astype(np.float64)
    return low, np.max([[axis.max() for axis in a.T] for a in arrays], axis=0).astype(np.float64)


def _check_coordinates(arrays: list[np.ndarray]) -> None:
    """Raise `UserError` for coordinates `[.., 3]` that are not finite or too large."""
    for array in arrays:
        bad = np.count_nonzero(~np.isfinite(array).all(axis=1))
        if bad:
            raise UserError(f"{bad:,} of {len(array):,} vertices in use are not finite (NaN or infinity)")
        if len(array) and np.abs(array).max() > REACH:
            raise UserError(f"coordinates reach {np.abs(array).max():.3g}; beyond {REACH:g} nothing can be computed in float32")


def grouped(parts: Iterable[Part]) -> list[Part]:
    """Join all parts of the same material, in the order in which materials first appear.

    Two parts have the same material if they share the texture array and differ only in base and vertex colours.
    """
    groups: dict[Any, list[Part]] = {}
    for part in parts:
        look = (part.metallic, part.roughness, part.emissive, part.alpha_mode, part.alpha_cutoff)
        groups.setdefault((id(part.texture), *look, part.uv is None, part.normals is None), []).append(part)
    return [joined(alike) for alike in groups.values()]


Up = Literal["x", "y", "z", "-x", "-y", "-z"]
"""An axis of a file that points up."""

TURNS: Final[dict[Up, list[list[int]]]] = {
    "x": [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
    "y": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "z": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
    "-x": [[0, 1, 0], [-1, 0, 0], [0, 0, 1]],
    "-y": [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
    "-z": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
}
"""By axis: the rotation that turns it to +Y, as a matrix from the left. X and -X turn by 90 degrees about the Z axis, Z and -Z by 90
degrees about the X axis, and -Y by 180 degrees about the X axis."""


def finished(geometry: Geometry, up: Up) -> Geometry:
    """Turn the geometry of a file so that +Y is up, check it, and convert it to float32.

    Args:
        geometry: coordinates in the file's own axes, of any float type.
        up: which of these axes points up.

    Raises:
        UserError: coordinates are not finite or beyond `REACH`, or a cloud has no points.
    """
    turn = np.array(TURNS[up], np.float64)
    if isinstance(geometry, Cloud):
        with np.errstate(invalid="ignore"):
            turned = geometry.points.astype(np.float64) @ turn.T
            normals = None if geometry.normals is None else geometry.normals.astype(np.float64) @ turn.T
        assert geometry.boxes is None or up == "y", "boxes stand on +Y"
        done = finished_cloud(turned, geometry.colors, normals, geometry.part, geometry.instance, geometry.origin)
        return dataclasses.replace(
            done,
            warnings=geometry.warnings + done.warnings,
            beside=geometry.beside,
            normals_beside=geometry.normals_beside,
            boxes=geometry.boxes,
        )
    parts = []
    for part in geometry.parts:
        if not len(part.faces):
            continue
        if part.faces.min() < 0 or part.faces.max() >= len(part.vertices):
            wrong = part.faces.min() if part.faces.min() < 0 else part.faces.max()
            raise UserError(f"a triangle names vertex {wrong} of {len(part.vertices)}")
        part = compact(part)
        _check_coordinates([part.vertices])
        normals = None if part.normals is None else part.normals @ turn.T
        parts.append(dataclasses.replace(part, vertices=part.vertices.astype(np.float64) @ turn.T, normals=normals))
    if not parts:
        raise UserError("the file holds no triangles")
    mesh = finished_mesh(parts, geometry.colored)
    warnings = geometry.warnings + mesh.warnings
    if hidden := sum(part.alphas[1] < part.threshold for part in parts):  # `normalized` leaves them out, and fails where all are hidden
        warnings += (f"{hidden} of {len(parts)} surfaces are wholly transparent and left out",)
    return dataclasses.replace(mesh, warnings=warnings, boxes=geometry.boxes)
