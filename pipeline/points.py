"""Sample the `points` product of a shape: R blocks of P coloured surface points, each in farthest-point order.

    xyz, rgb, normal = sample(shape, PointSpec(normals=True), "chair/0001")

The points depend only on the shape, the specification and the id of the shape. They do not depend on other shapes or on the number of
workers. The order is computed after rounding to `spec.dtype`. So farthest-point sampling of the stored points from index 0 gives the
indices 0..G-1 for every G up to `spec.ordered`.

Letters: R blocks, P points per block, n points in all, F triangles.
"""

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import fpsample
import numpy as np

from cache_schema import crowds
from cache_schema.errors import UserError
from cache_schema.spec import PointSpec
from pipeline.coincident import places
from pipeline.geometry import GREY, Cloud, Geometry, Mesh, appearance, counted, facing, labels_at, triangles
from pipeline.normals import estimated

DRAWS: Final = 20_000_000
"""Most places of a surface that are tried for one shape."""


APART: Final = 0.75
"""Share of the different points of a block that still differ as stored, below which a remark says so."""


class Samples(NamedTuple):
    """The points of one shape."""

    xyz: np.ndarray
    """[R, P, 3] float16 or float32, as `PointSpec.dtype` says."""
    rgb: np.ndarray
    """[R, P, 3] uint8, sRGB; grey where the shape has no colour."""
    normal: np.ndarray | None = None
    """[R, P, 3] float16, of length 1 to within 0.001; None unless `PointSpec.normals`. `sample` tells what normals mean."""
    labels: Mapping[str, np.ndarray] = MappingProxyType({})
    """[R, P] each: the labels that `PointSpec.labels` names, of its types; -1 for none."""
    merged: str = ""
    """What is to be said if many points that differ are equal as they are stored; else empty."""


class Places(NamedTuple):
    """Points that are not yet rounded and ordered."""

    xyz: np.ndarray
    """[n, 3] float32 or float64."""
    rgb: np.ndarray
    """[n, 3] in 0..1."""
    normal: np.ndarray | None
    """[n, 3] of unit length; None where they are not asked for."""
    labels: Mapping[str, np.ndarray]
    """[n] each, by name."""

    def rows(self, chosen: np.ndarray | slice) -> "Places":
        """Select some of the places."""
        labels = {name: values[chosen] for name, values in self.labels.items()}
        return Places(self.xyz[chosen], self.rgb[chosen], None if self.normal is None else self.normal[chosen], labels)


def sample(geometry: Geometry, spec: PointSpec, shape_id: str) -> Samples:
    """Sample a shape that `geometry.normalized` returned.

    A surface is sampled uniformly by area, and only where it is visible. Where surfaces coincide, the place counts once. The colour comes
    from textures, vertex colours, base colours and emitted light. From a cloud, each block takes random points. If the cloud has fewer
    points than a block, each point is taken equally often, give or take one; else no point is taken twice.

    The normal of a point on a surface is that of its triangle, on the side where the corners go around counter-clockwise.
    - It points outwards if the file winds its faces in this way. This holds for mirrored copies, too.
    - A face that is wound against its neighbours has the opposite sign.
    - Of two coincident surfaces, the outer one gives the normal, as it gives the colour.
    The normals of a cloud come from its file. Missing ones are estimated, see `pipeline.normals`. A point on a surface has the labels of
    its triangle. Normals and labels use no random numbers, so positions and colours do not depend on them.

    Raises:
        UserError: coordinates do not fit `spec.dtype`, or hardly any of the surface is visible.
    """
    digest = hashlib.sha256(f"{spec.seed}\0{shape_id}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    made = _from_cloud(geometry, spec, rng) if isinstance(geometry, Cloud) else _from_mesh(geometry, spec, rng)
    with np.errstate(over="ignore"):
        stored = made.xyz.astype(spec.dtype).reshape(spec.blocks, spec.count, 3)  # [R, P, 3]
    if not np.isfinite(stored).all():
        raise UserError(
            f"coordinates reach {np.abs(made.xyz).max():.3g}, beyond {spec.dtype}: set points.normalize=unit_sphere or points.dtype=float32"
        )
    orders = np.stack([farthest_first(block, spec.ordered) for block in stored])[..., None]  # [R, P, 1]
    colors = np.rint(made.rgb * 255).astype(np.uint8).reshape(stored.shape)
    # Rounding to float16 changes each number, and so the length, by less than 1/2048.
    normals = None if made.normal is None else np.take_along_axis(made.normal.astype(np.float16).reshape(stored.shape), orders, axis=1)
    labels = {name: np.take_along_axis(values.reshape(orders.shape[:2]), orders[..., 0], axis=1) for name, values in made.labels.items()}
    ordered = np.take_along_axis(stored, orders, axis=1), np.take_along_axis(colors, orders, axis=1)
    return Samples(*ordered, normals, labels, merged=_merged(made.xyz[: spec.count], stored[0]))


def remarks(given: np.ndarray | None, placed: Geometry, samples: Samples, spec: PointSpec) -> tuple[str, ...]:
    """What spoils the points of a shape without making it fail: a few that set the scale, many in one place, a type that is too coarse.

    Args:
        given: [n, 3]: the points of a cloud as it was read; None for a mesh.
        placed: the shape after `geometry.normalized`.
        samples: its points.
        spec: how they were sampled.
    """
    scaled = spec.normalize != "none"
    if given is not None and isinstance(placed, Cloud):
        said = crowds.said_of(given, placed.points if scaled else None)
    else:
        said = [crowds.OUTLYING_SAID] if scaled and crowds.outlying(samples.xyz.reshape(-1, 3).astype(np.float32)) else []
        if scaled and not said and isinstance(placed, Mesh) and crowds.speck(np.concatenate([part.vertices for part in placed.parts])):
            said = [crowds.SPECK_SAID]
    return (*said, *([samples.merged] if samples.merged else []))


def _merged(given: np.ndarray, stored: np.ndarray) -> str:
    """Return `Samples.merged` of a block before and after rounding, [P, 3] each."""
    left = len(np.unique(places(stored)))
    if left >= APART * len(stored):
        return ""  # spares looking at the others
    before = len(np.unique(places(given)))
    if left >= APART * before:
        return ""
    told = "" if stored.dtype == np.float32 else "; points.dtype=float32 is finer"
    return f"only {left:,} of {before:,} different points of a block differ as {stored.dtype}{told}"


def surface(geometry: Geometry, count: int) -> np.ndarray:
    """Return random places of a shape `[n, 3]`, as `sample` draws them but in no order: `count` of a surface, at most that many of a cloud.
    The same shape gives the same places, whatever it is called. Raises the second error of `sample`."""
    rng = np.random.default_rng(0)
    if isinstance(geometry, Cloud):
        return geometry.points[rng.permutation(len(geometry.points))[:count]]
    return _from_mesh(geometry, PointSpec(count=count, blocks=1, ordered=1), rng).xyz


def farthest_first(points: np.ndarray, ordered: int) -> np.ndarray:
    """Return a permutation `[P]` of `points` `[P, 3]`. Its first `ordered` indices follow farthest-point sampling from index 0. The rest
    keep
    their order.

    Of equally far points the first is chosen, as `argmax` does. When only copies of chosen points are left, none of them is farthest, and
    they keep their order, too.
    """
    picked = fpsample.fps_sampling(points.astype(np.float32), ordered, start_idx=0).astype(np.int64)
    _, first = np.unique(picked, return_index=True)  # fpsample may choose one of several copies twice
    picked = picked[np.sort(first)]
    rest = np.ones(len(points), bool)
    rest[picked] = False
    return np.concatenate([picked, np.flatnonzero(rest)])


def _from_cloud(cloud: Cloud, spec: PointSpec, rng: np.random.Generator) -> Places:
    count = len(cloud.points)
    rounds = -(-spec.count // count)
    blocks = [np.concatenate([rng.permutation(count) for _ in range(rounds)])[: spec.count] for _ in range(spec.blocks)]
    rows = np.concatenate(blocks)
    colors = np.full((len(rows), 3), GREY) if cloud.colors is None else cloud.colors[rows] / 255
    labels = {name: _chosen(getattr(cloud, name), rows, dtype) for name, dtype in spec.labels.items()}
    return Places(cloud.points[rows], colors, _cloud_normals(cloud, rows) if spec.normals else None, labels)


def _chosen(labels: np.ndarray | None, rows: np.ndarray, dtype: str) -> np.ndarray:
    """Labels of some points or triangles `[n]`; -1 if there are none."""
    return np.full(len(rows), -1, dtype) if labels is None else labels[rows].astype(dtype)


def _cloud_normals(cloud: Cloud, rows: np.ndarray) -> np.ndarray:
    """Return normals `[n, 3]` of some points of a cloud: those of the file, or estimated ones where it has none or 0 0 0."""
    if cloud.normals is None:
        return estimated(cloud.points, rows)
    normals: np.ndarray = cloud.normals[rows]
    unknown = np.flatnonzero(~normals.any(axis=1))
    if len(unknown):
        normals[unknown] = estimated(cloud.points, rows[unknown])
    return normals


def _from_mesh(mesh: Mesh, spec: PointSpec, rng: np.random.Generator) -> Places:
    """Sample places on a surface.

    A place where the surface is invisible is replaced by a new one. So the places are uniform over the visible surface.
    """
    n = spec.blocks * spec.count
    areas = []
    for part in mesh.parts:
        mine, once = np.concatenate([areas for _, areas in triangles(part)]), counted(part)
        areas.append(mine if once is None else mine * once)
    ends = np.cumsum(np.concatenate(areas))  # [F]
    found: list[Places] = []
    have, drawn, wanted = 0, 0, n
    while have < n:
        if drawn > DRAWS:
            raise UserError(f"less than one place in {DRAWS // max(have, 1):,} of the surface is visible: too little to sample")
        places, shown = _drawn(mesh, ends, wanted, rng, spec)
        found.append(places.rows(shown))
        have, drawn = have + int(shown.sum()), drawn + wanted
        wanted = min(max(1000, int(1.2 * (n - have) * drawn / max(have, 1))), 500_000)
    normal = np.concatenate([p.normal for p in found if p.normal is not None]) if spec.normals else None
    labels = {name: np.concatenate([p.labels[name] for p in found]) for name in spec.labels}
    return Places(np.concatenate([p.xyz for p in found]), np.concatenate([p.rgb for p in found]), normal, labels).rows(slice(n))


def _drawn(mesh: Mesh, ends: np.ndarray, n: int, rng: np.random.Generator, spec: PointSpec) -> tuple[Places, np.ndarray]:
    """Draw `n` random places on the triangles whose areas add up to `ends` `[F]`. Also returns whether each is visible `[n]`."""
    # Numbers stay below the total, so that none falls behind the last triangle with an area. `right` skips triangles without one.
    chosen = np.searchsorted(ends, np.minimum(rng.random(n) * ends[-1], np.nextafter(ends[-1], 0)), side="right")  # [n]
    corner = rng.random((n, 2))
    corner = np.where(corner.sum(axis=1, keepdims=True) > 1, 1 - corner, corner)  # fold the parallelogram onto the triangle
    weights = np.column_stack([1 - corner.sum(axis=1), corner])  # [n, 3]

    xyz, rgb, shown = np.empty((n, 3)), np.empty((n, 3)), np.ones(n, bool)
    normal = np.empty((n, 3)) if spec.normals else None
    labels = {name: np.empty(n, dtype) for name, dtype in spec.labels.items()}
    start = 0
    for part in mesh.parts:
        here = (chosen >= start) & (chosen < start + len(part.faces))
        faces = chosen[here] - start  # [m]
        corners = part.faces[faces]  # [m, 3]
        xyz[here] = np.einsum("mk,mkd->md", weights[here], part.vertices[corners])
        rgb[here], alpha = appearance(part, corners, weights[here])
        shown[here] = alpha >= part.threshold
        if normal is not None:
            normal[here] = facing(part.vertices[corners].astype(np.float64))
        for name, values in labels.items():
            values[here] = labels_at(part, name, faces, weights[here])
        start += len(part.faces)
    return Places(xyz, rgb, normal, labels), shown
