"""Write an HTML page about a cache: products, pictures of shapes, nearest neighbours, failures, sizes and timings.

    mmpd-cache report out.zarr page.html --shapes 48
    write(open_cache("out.zarr"), Path("page.html"), 48)

The page is one file that needs no other; `report.html` is its template. It depends only on the cache and the journal beside it. For an
unfinished cache it shows the finished shards. Of a large cache it reads a sample.

Letters: N shapes, n sampled shapes, V views, P points, E embedding width.
"""

import base64
import io
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Final

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cache_schema import layout, products, spec
from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.products import markers
from cache_schema.rows import Rows
from cache_schema.spec import Camera, CameraRig, CaptionSpec, Record, TeacherSpec
from cache_schema.store import Cache
from pipeline.cameras import poses
from pipeline.describe import describe, human, product_bytes, starter_warning
from pipeline.snapshot import Snapshot, spread
from pipeline.timings import costs

CAPTIONS: Final = 3
"""Number of captions shown for a shape."""
QUERIES: Final = 6
"""Number of shapes whose neighbours are shown."""
NEAREST: Final = 5
"""Number of neighbours shown for each."""
SAMPLE: Final = 2000
"""Number of shapes among which neighbours are searched."""
CENTERS: Final = 64
"""Number of leading points of a block that are marked. They are the centres of the coarsest groups."""
MARK: Final = (225, 20, 130)
"""Colour of the marked centres, which objects seldom have."""
LONG: Final = 40
"""Number of classes that are listed. If there are more, these are the largest."""
LISTED: Final = 500
"""Number of failed shapes listed for one kind of reason."""
PICTURE, THUMBNAIL = 192, 112
"""Largest height and width of a picture on the page, pixels."""
REMARKS: Final = 100
"""Number of shapes with a remark that are listed."""

THREE_QUARTER: Final = CameraRig(name="three-quarter", cameras=(Camera(azimuth=35, elevation=25),))
"""Camera for points of a cache without views."""


def write(cache: Cache, page: Path, shapes: int) -> None:
    """Write the page.

    Args:
        cache: complete or not.
        page: the file to write; its folder is made.
        shapes: how many shapes to show, spread over the classes.

    Raises:
        UserError: `shapes` is below 1, or `page` is a folder or lies in the cache.
    """
    if shapes < 1:
        raise UserError(f"a report shows at least one shape, asked for {shapes}")
    if page.is_dir():
        raise UserError(f"{page} is a folder; give the name of the page to write, such as {page / 'report.html'}")
    if any(page.resolve().is_relative_to(path) for path in cache.paths):
        raise UserError(f"{page} lies in the cache, where only the cache's own files may be; give another place")
    snapshot = Snapshot(cache)
    shown = choose(snapshot.label, np.flatnonzero(snapshot.status == spec.OK), shapes)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"human": human, "count": "{:,}".format, "duration": duration, "rate": rate}
    template = environment.from_string(resources.files("pipeline").joinpath("report.html").read_text(encoding="utf-8"))
    html = template.render(
        head=head(snapshot),
        products=[product(snapshot, record) for record in snapshot.records.values()],
        random=[record.product for record in snapshot.records.values() if is_random(record)],
        cards=[card(snapshot, int(row)) for row in shown],
        neighbours=neighbours(snapshot, spread(shown, QUERIES)),
        failures=failures(snapshot),
        remarks=remarks(snapshot),
        warning=warning(snapshot),
        costs=costs(snapshot),
        views=snapshot.views,
        centers=CENTERS,
        long=LONG,
    )
    write_file(page, html.encode())


def choose(label: NDArray[Any], rows: NDArray[Any], count: int) -> NDArray[Any]:
    """Choose at most `count` rows, spread evenly over the classes and within each class. They are sorted by class."""
    groups = [rows[label[rows] == one] for one in spread(np.unique(label[rows]), count)]
    taken = [0] * len(groups)
    while sum(taken) < min(count, sum(map(len, groups))):
        for i, group in enumerate(groups):
            if taken[i] < len(group) and sum(taken) < count:
                taken[i] += 1
    return np.concatenate([spread(group, some) for group, some in zip(groups, taken, strict=True)]) if groups else rows


# ------------------------------------------------------------------------------------------------ what it is, and holds


def is_random(record: Record) -> bool:
    """Whether a model with random weights made a product. Published checkpoints of this kind have `random` in their names."""
    return isinstance(record.spec, TeacherSpec | CaptionSpec) and "random" in PurePosixPath(record.spec.model).name.lower()


def head(snapshot: Snapshot) -> dict[str, Any]:
    """Collect what the page says about the cache as a whole."""
    m = snapshot.manifest
    status = {name: int((snapshot.status == value).sum()) for name, value in (("ok", spec.OK), ("failed", spec.FAILED))}
    pending = m.shapes - sum(status.values())
    usable = snapshot.status == spec.OK

    def counts(names: Sequence[str], column: NDArray[Any]) -> list[tuple[str, int, int]]:
        """Count shapes by name: (name, shapes, ok shapes)."""
        every = np.bincount(column + 1, minlength=len(names) + 1).tolist()
        fine = np.bincount(column[usable] + 1, minlength=len(names) + 1).tolist()
        found = list(zip(names, every[1:], fine[1:], strict=True))
        found = sorted(found, key=lambda row: -row[1]) if len(found) > LONG else found
        return found + [("(none)", every[0], fine[0])] * bool(every[0])

    return {
        "name": snapshot.cache.path.resolve().name,
        "manifest": m,
        "status": status | {"pending": pending},
        "classes": counts(m.classes, snapshot.label) if m.classes else [],
        "splits": counts(m.splits, snapshot.split) if m.splits else [],
        "fingerprint": spec.fingerprint(m),
        "complete": all(record.complete for record in snapshot.records.values()) and not pending,
    }


def product(snapshot: Snapshot, record: Record) -> dict[str, Any]:
    """Collect one row of the table of products."""
    shards = markers(snapshot.manifest, record).shape[0]
    size = product_bytes(snapshot.cache, record)
    what = describe(record)
    if record.labels is not None:
        what = f"{len(record.labels.classes)} classes × {len(record.labels.templates)} templates by {what}"
    return {
        "name": record.product,
        "what": what,
        "random": is_random(record),
        "arrays": snapshot.cache.arrays(record),
        "bytes": size,
        "a_shape": size / max(int(snapshot.done(record.product).sum()), 1) if not products.of(record).labelled else None,
        "fingerprint": record.fingerprint,
        "complete": record.complete,
        "shards": shards,
        "done": shards - len(snapshot.missing[record.product]),
        "inputs": record.inputs,
        "made_by": record.made_by,
        "content": record.content,
        "settings": settings(record),
    }


def settings(record: Record) -> list[tuple[str, str]]:
    """Write every field of a product's specification as text. Long ones, such as 1,156 class names, are cut."""
    fields = spec.to_json(record.spec) | (spec.to_json(record.labels) if record.labels is not None else {})
    found = []
    for name, value in fields.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if value not in ("", []):
            found.append((name, text if len(text) <= 400 else text[:400] + " …"))
    return found


# ------------------------------------------------------------------------------------------------------ contact sheet


def card(snapshot: Snapshot, row: int) -> dict[str, Any]:
    """Collect what the page shows of one shape."""
    name, label = snapshot.name(row)
    told = [record for record in snapshot.records.values() if products.of(record) is products.CAPTIONS]
    at = np.array([row])
    seen = snapshot.views if snapshot.views and snapshot.done(products.VIEWS.name)[row] else []
    return {
        "id": name,
        "label": label,
        "split": snapshot.manifest.splits[snapshot.split[row]] if snapshot.split[row] >= 0 else "",
        "coloured": bool(snapshot.table("colored", at)[0]),
        "points": data_uri(points_picture(snapshot, row), PICTURE) if snapshot.done(products.POINTS.name)[row] else "",
        "as_view": snapshot.points_view if seen else None,
        "views": [(view, data_uri(view_picture(snapshot, row, view), PICTURE)) for view in seen],
        "captions": [line for record in told if snapshot.done(record.product)[row] for line in captions(snapshot, record, row)],
    }


def captions(snapshot: Snapshot, record: Record, row: int) -> list[dict[str, Any]]:
    """Select the best captions of a shape from one captions product. The first caption of each view takes part, and equal texts count
    once."""
    at = np.array([row])
    described = record.spec
    assert isinstance(described, CaptionSpec)
    text, score = snapshot.cache.arrays(record)
    texts = layout.texts(snapshot.table(text.path, at)[0, :, 0])  # [V]
    scores = snapshot.table(score.path, at)[0, :, 0]  # [V]
    best: dict[str, dict[str, Any]] = {}
    for view in np.argsort(-scores, kind="stable").tolist():
        found = best.setdefault(texts[view], {"text": texts[view], "views": [], "score": None})
        found["views"].append(view)
        if described.rank_by and found["score"] is None:
            found["score"] = float(scores[view])
    return list(best.values())[:CAPTIONS]


def view_picture(snapshot: Snapshot, row: int, view: int) -> Image.Image:
    """Read a stored view of a shape."""
    return Image.fromarray(snapshot.cache.array("views/rgb")[row, view])


def points_picture(snapshot: Snapshot, row: int) -> Image.Image:
    """Draw block 0 of a shape with the camera of one of its views, or with `THREE_QUARTER` if it has none."""
    at = np.array([row]), np.array([0])
    xyz, rgb = snapshot.mapped("points/xyz").gather(*at)[0].astype(np.float32), snapshot.mapped("points/rgb").gather(*at)[0]
    if snapshot.views and snapshot.done(products.VIEWS.name)[row]:
        pose = snapshot.cache.array("views/pose")[row, snapshot.points_view]
        return draw_points(xyz, rgb, pose, snapshot.rig.fov)
    return draw_points(xyz, rgb, poses(THREE_QUARTER, xyz)[0], THREE_QUARTER.fov)


def thumbnail(snapshot: Snapshot, row: int) -> str:
    """Return a small picture of a shape as a data URI; empty if there is nothing to show."""
    if snapshot.views and snapshot.done(products.VIEWS.name)[row]:
        return data_uri(view_picture(snapshot, row, snapshot.points_view), THUMBNAIL)
    return data_uri(points_picture(snapshot, row), THUMBNAIL) if snapshot.done(products.POINTS.name)[row] else ""


def draw_points(xyz: NDArray[np.float32], rgb: NDArray[np.uint8], pose: NDArray[np.float32], fov: float) -> Image.Image:
    """Draw points as a camera sees them. Near points cover far ones, far points are darker, and the first `CENTERS` are ringed.

    Args:
        xyz: [P, 3], rgb: [P, 3].
        pose: camera to world, looking along its -Z. [4, 4]
        fov: field of view, degrees.
    """
    side = 2 * PICTURE  # drawn large and averaged down, for smooth edges
    seen = (xyz - pose[:3, 3]) @ pose[:3, :3]  # [P, 3]
    depth = np.maximum(-seen[:, 2], 1e-6)
    where = seen[:, :2] / (depth * np.tan(np.radians(fov) / 2))[:, None] * (1, -1)
    where = (where + 1) / 2 * side
    nearness = (depth.max() - depth) / max(float(np.ptp(depth)), 1e-6)
    colours = (rgb * (0.55 + 0.45 * nearness)[:, None]).astype(np.uint8)
    radii = min(side * 0.4 / np.sqrt(len(xyz)), side * 0.025) * depth.mean() / depth
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    for i in np.argsort(-depth, kind="stable"):
        (x, y), r, fill = where[i], radii[i], tuple(colours[i].tolist())
        edge = tuple((colours[i] * 0.7).astype(int).tolist())
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=edge)
        if i < CENTERS:
            draw.ellipse((x - r, y - r, x + r, y + r), outline=MARK, width=3)
    return picture


def data_uri(picture: Image.Image, side: int) -> str:
    """Encode a picture as a data URI, at most `side` pixels high and wide."""
    picture.thumbnail((side, side))
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()


# --------------------------------------------------------------------------------------------------------- neighbours


def neighbours(snapshot: Snapshot, queries: NDArray[Any]) -> list[dict[str, Any]]:
    """Collect, for each teacher, nearest neighbours of some shapes, and how well it matches shapes with their captions."""
    return [
        alike(snapshot, record, queries)
        for record in snapshot.records.values()
        if products.of(record) is products.IMAGE and (snapshot.done(record.product) & (snapshot.status == spec.OK)).sum() > 1
    ]


def alike(snapshot: Snapshot, record: Record, queries: NDArray[Any]) -> dict[str, Any]:
    """Collect the neighbours that one teacher finds."""
    there = snapshot.done(record.product) & (snapshot.status == spec.OK)
    queries = queries[there[queries]]
    found = np.flatnonzero(there)
    # Not evenly spaced, because classes may come round in turn.
    sample = np.union1d(np.random.default_rng(0).permutation(found)[:SAMPLE], queries)  # [n]
    images = mean_embeddings(snapshot.mapped(record.product), sample)  # [n, E]
    cosines = images @ images.T
    np.fill_diagonal(cosines, -np.inf)
    label = snapshot.label[sample]
    labelled = (label >= 0) & (np.bincount(label + 1)[label + 1] > 1)
    rows = []
    for i in np.searchsorted(sample, queries):
        near = np.argsort(-cosines[i], kind="stable")[: min(NEAREST, len(sample) - 1)]
        rows.append(
            {
                "query": _found(snapshot, sample[i]),
                "found": [
                    {**_found(snapshot, sample[j]), "cosine": cosines[i, j], "same": bool(label[i] >= 0 and label[i] == label[j])}
                    for j in near
                ],
            }
        )
    assert isinstance(record.spec, TeacherSpec)
    return {
        "name": record.spec.name,
        "what": describe(record),
        "random": is_random(record),
        "sampled": len(sample),
        "same": float((label == label[cosines.argmax(1)])[labelled].mean()) if labelled.any() else None,
        "chance": float((np.bincount(label + 1)[label + 1] - 1)[labelled].mean() / (len(sample) - 1)) if labelled.any() else None,
        "rows": rows,
        "captions": [
            {"name": products.parts(texts)["captions"], **ranks}
            for texts in products.select(snapshot.records, products.TEXT, teacher=record.spec.name)
            if (ranks := caption_ranks(snapshot, texts, sample, images)) is not None
        ],
    }


def _found(snapshot: Snapshot, row: int) -> dict[str, Any]:
    """A shape among the neighbours."""
    name, label = snapshot.name(row)
    return {"id": name, "label": label, "picture": thumbnail(snapshot, row)}


def mean_embeddings(rows: Rows, sample: NDArray[Any]) -> NDArray[np.float32]:
    """The mean over views of unit-length embeddings, at unit length again. [n, E]"""
    parts = []
    for start in range(0, len(sample), 128):
        values = _unit(rows.gather(sample[start : start + 128]).astype(np.float32))  # [<= 128, V, E]
        parts.append(_unit(values.mean(1)))
    return np.concatenate(parts)


def _unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
    return unit


def caption_ranks(snapshot: Snapshot, texts: Record, sample: NDArray[Any], images: NDArray[np.float32]) -> dict[str, Any] | None:
    """Measure how often a shape's own captions are the nearest to its pictures. Returns None if fewer than two shapes have captions.

    If another shape has the same captions, a shape's own come first.

    Args:
        snapshot: the cache.
        texts: the embedded captions of one captioner and one teacher.
        sample: rows of the shapes. [n]
        images: mean embedding of the views of each by the same teacher, of length 1. [n, E]
    """
    kept = snapshot.done(texts.product)[sample]
    if kept.sum() < 2:
        return None
    means = mean_embeddings(snapshot.mapped(texts.product), sample[kept])
    cosines = images[kept] @ means.T  # [n images, n texts]
    places = 1 + (cosines > np.diagonal(cosines)[:, None] + 1e-5).sum(1)
    return {"first": float((places == 1).mean()), "median": float(np.median(places)), "of": len(places)}


# ----------------------------------------------------------------------------------------------------------- failures


def failures(snapshot: Snapshot) -> dict[str, Any]:
    """Group failed shapes by kind of reason, the most frequent first. A kind is a reason without its names and numbers."""
    rows = np.flatnonzero(snapshot.status == spec.FAILED)
    kinds: dict[str, dict[str, Any]] = {}
    for start in range(0, len(rows), 4096):
        part = rows[start : start + 4096]
        for shape, reason in zip(layout.texts(snapshot.table("id", part)), layout.texts(snapshot.table("reason", part)), strict=True):
            name = re.sub(r"'[^']*'|\"[^\"]*\"|[\w./-]+\.[A-Za-z]\w{1,4}\b|\d[\d.,e+-]*", "…", reason)
            kind = kinds.setdefault(name, {"name": name, "count": 0, "shapes": []})
            kind["count"] += 1
            if kind["count"] <= LISTED:
                kind["shapes"].append((shape, reason))
    return {"total": len(rows), "kinds": sorted(kinds.values(), key=lambda kind: -kind["count"])}


def remarks(snapshot: Snapshot) -> dict[str, Any]:
    """Count the ok shapes that have a remark, and list the first of them."""
    rows = np.flatnonzero(snapshot.status == spec.OK)
    shown: list[tuple[str, str]] = []
    total = 0
    for start in range(0, len(rows), 4096):
        part = rows[start : start + 4096]
        cells = snapshot.table("reason", part)
        noted = cells[:, 0] != 0
        total += int(noted.sum())
        if noted.any() and len(shown) < REMARKS:
            few = part[noted][: REMARKS - len(shown)]
            shown += zip(layout.texts(snapshot.table("id", few)), layout.texts(snapshot.table("reason", few)), strict=True)
    return {"total": total, "shapes": shown}


def warning(snapshot: Snapshot) -> str:
    """Return the warning of the build about models that were trained on other shapes; empty if there is none."""
    models = [record.spec.model for record in snapshot.records.values() if isinstance(record.spec, TeacherSpec | CaptionSpec)]
    return starter_warning(models, snapshot.manifest.source.kind)


# ---------------------------------------------------------------------------------------------------- for people


def duration(seconds: float) -> str:
    """Write a time with units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def rate(units: int, seconds: float) -> str:
    """Write units per second with one decimal, or without decimals from 100."""
    if not seconds:
        return "–"
    return f"{units / seconds:,.0f}" if units >= 100 * seconds else f"{units / seconds:.1f}"
