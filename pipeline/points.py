"""From a shape to the `points` product: R blocks of P coloured surface points, each in farthest-point order.

    xyz, rgb, normal = sample(shape, PointSpec(normals=True), "chair/0001")

A shape's points depend on the shape, the specification and its id; not on what was sampled before, nor by how many
workers. The order is computed on what is stored, that is after rounding to `spec.dtype`, so a reader finds that
farthest-point sampling of the first G stored points, from index 0, gives 0..G-1.

Letters: R blocks, P points per block, n points in all, F triangles.
"""

import hashlib
from typing import Final, NamedTuple

import fpsample
import numpy as np

from cache_schema.errors import UserError
from cache_schema.spec import PointSpec
from pipeline.geometry import GREY, Cloud, Geometry, Mesh, appearance, counted, facing, triangles
from pipeline.normals import estimated

DRAWS: Final = 20_000_000
"""So many places of a surface are tried for one shape at most."""


class Samples(NamedTuple):
    xyz: np.ndarray
    """[R, P, 3] float16 or float32, as `PointSpec.dtype` says."""
    rgb: np.ndarray
    """[R, P, 3] uint8, sRGB; grey where the shape has no colour."""
    normal: np.ndarray | None = None
    """[R, P, 3] float16, of length 1 to within 0.001, where `PointSpec.normals` asks for it. See `sample` for what it is."""


class Places(NamedTuple):
    """Points before they are rounded and put in order."""

    xyz: np.ndarray
    """[n, 3] float32 or float64."""
    rgb: np.ndarray
    """[n, 3] in 0..1."""
    normal: np.ndarray | None
    """[n, 3] of unit length; None where they are not asked for."""

    def rows(self, chosen: np.ndarray | slice) -> "Places":
        """Some of the places."""
        return Places(self.xyz[chosen], self.rgb[chosen], None if self.normal is None else self.normal[chosen])


def sample(geometry: Geometry, spec: PointSpec, shape_id: str) -> Samples:
    """Samples a shape that has been through `geometry.normalized`.

    A surface is sampled uniformly by area, each place once and only where it is visible; colour comes from textures, vertex colours,
    base colours and what is emitted. From a cloud, a block takes random points: none twice while there are enough, else each equally
    often, give or take one.

    A surface's normal is that of the triangle that a point lies on, from the side on which its corners go around counter-clockwise. So it
    looks outwards where the file winds its faces so, mirrored copies included; of two coincident surfaces it is the outer one's, as the
    colour is; a face that is wound against its neighbours has the opposite sign to theirs. A cloud's normals are those of its file; where
    it has none they are estimated, see `pipeline.normals`. They need no random numbers: positions and colours do not depend on them.

    Raises:
        UserError: coordinates do not fit `spec.dtype`, or hardly anything is visible.
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
    # Rounding moves each number by less than 1/2048 of itself, and so the length, too.
    normals = None if made.normal is None else np.take_along_axis(made.normal.astype(np.float16).reshape(stored.shape), orders, axis=1)
    return Samples(np.take_along_axis(stored, orders, axis=1), np.take_along_axis(colors, orders, axis=1), normals)


def farthest_first(points: np.ndarray, ordered: int) -> np.ndarray:
    """A permutation `[P]` of `points` `[P, 3]`: the first `ordered` by farthest-point sampling from index 0, the rest as they were.

    Of equally far points the stored order keeps the one that comes first, as `argmax` does. Once only copies of chosen points
    are left there is no farthest one, and they follow as they were too.
    """
    picked = fpsample.fps_sampling(points.astype(np.float32), ordered, start_idx=0).astype(np.int64)
    _, first = np.unique(picked, return_index=True)  # among copies it may pick one point twice
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
    return Places(cloud.points[rows], colors, _cloud_normals(cloud, rows) if spec.normals else None)


def _cloud_normals(cloud: Cloud, rows: np.ndarray) -> np.ndarray:
    """Normals `[n, 3]` of some points of a cloud: the file's, estimated where it has none or 0 0 0."""
    if cloud.normals is None:
        return estimated(cloud.points, rows)
    normals: np.ndarray = cloud.normals[rows]
    unknown = np.flatnonzero(~normals.any(axis=1))
    if len(unknown):
        normals[unknown] = estimated(cloud.points, rows[unknown])
    return normals


def _from_mesh(mesh: Mesh, spec: PointSpec, rng: np.random.Generator) -> Places:
    """Places on a surface.

    What is drawn where the surface is invisible is drawn again, which leaves the rest uniform over what is visible.
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
        places, shown = _drawn(mesh, ends, wanted, rng, spec.normals)
        found.append(places.rows(shown))
        have, drawn = have + int(shown.sum()), drawn + wanted
        wanted = min(max(1000, int(1.2 * (n - have) * drawn / max(have, 1))), 500_000)
    normal = np.concatenate([p.normal for p in found if p.normal is not None]) if spec.normals else None
    return Places(np.concatenate([p.xyz for p in found]), np.concatenate([p.rgb for p in found]), normal).rows(slice(n))


def _drawn(mesh: Mesh, ends: np.ndarray, n: int, rng: np.random.Generator, normals: bool) -> tuple[Places, np.ndarray]:
    """`n` random places on the triangles whose areas add up to `ends` `[F]`, and whether each is visible `[n]`."""
    # Below the total, so that no draw falls behind the last triangle that has an area; `right` passes over those without.
    chosen = np.searchsorted(ends, np.minimum(rng.random(n) * ends[-1], np.nextafter(ends[-1], 0)), side="right")  # [n]
    corner = rng.random((n, 2))
    corner = np.where(corner.sum(axis=1, keepdims=True) > 1, 1 - corner, corner)  # fold the parallelogram onto the triangle
    weights = np.column_stack([1 - corner.sum(axis=1), corner])  # [n, 3]

    xyz, rgb, shown = np.empty((n, 3)), np.empty((n, 3)), np.ones(n, bool)
    normal = np.empty((n, 3)) if normals else None
    start = 0
    for part in mesh.parts:
        here = (chosen >= start) & (chosen < start + len(part.faces))
        corners = part.faces[chosen[here] - start]  # [m, 3]
        xyz[here] = np.einsum("mk,mkd->md", weights[here], part.vertices[corners])
        rgb[here], alpha = appearance(part, corners, weights[here])
        shown[here] = alpha >= part.threshold
        if normal is not None:
            normal[here] = facing(part.vertices[corners].astype(np.float64))
        start += len(part.faces)
    return Places(xyz, rgb, normal), shown
