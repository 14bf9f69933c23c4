"""Write an HTML page about a cache: pictures and points of shapes, maps, accuracy, duplicates, failures, licences, sizes and timings.

    mmpd-cache report out.zarr page.html --shapes 48
    write(open_cache("out.zarr"), Path("page.html"), 48)

The page is one file that needs no other, and asks no address for anything. `report.html` is its template, `report.css` and `report.js` are
put into it. It depends only on the cache and the journal beside it. For an unfinished cache it shows the finished shards. Of a large cache
it reads a sample. Places on this machine are left out, so that the page can be given away.

Letters: N shapes, n sampled shapes, V views, P points, E embedding width.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cache_schema import layout, products, spec
from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.local import Cleaner, own_names
from cache_schema.overlay import told_behind
from cache_schema.products import markers
from cache_schema.spec import CaptionSpec, PointSpec, Record, TeacherSpec
from cache_schema.store import Cache
from cache_schema.terminal import duration
from pipeline import findings, licensing, pictures, scatter
from pipeline.describe import describe, human, is_random, model_of, product_bytes, starter_warning
from pipeline.journal import Begun, Build, journal_of
from pipeline.private import own_places
from pipeline.snapshot import Snapshot, spread
from pipeline.timings import costs

CAPTIONS: Final = 3
"""Number of captions shown for a shape."""
QUERIES: Final = 6
"""Number of shapes whose neighbours are shown."""
NEAREST: Final = 5
"""Number of neighbours shown for each."""
LONG: Final = 40
"""Number of classes that are listed. If there are more, these are the largest."""
LISTED: Final = 500
"""Number of failed shapes listed for one kind of reason."""
REMARKS: Final = 100
"""Number of shapes with a remark that are listed."""
PICTURE, SMALLER, THUMBNAIL = 224, 144, 112
"""Largest height and width, in pixels, of a picture on the page, on a page of more than `MANY` shapes, and among neighbours."""
MANY: Final = 100
"""Number of shapes from which on the pictures are smaller."""
POINTS: Final = 256_000
"""Number of points of all shapes on the page together, of which each shape has at most `MOST_POINTS`."""
MOST_POINTS: Final = 1024
HUES, MARKS = 7, 8
"""Number of colours and of markers of classes on a map. Both change from class to class, and no pair comes back before their product."""
MAP: Final = (600, 440)
"""Width and height of a map in its own units."""


def write(cache: Cache, page: Path, shapes: int, method: scatter.Method = "pca") -> None:
    """Write the page.

    Args:
        cache: complete or not.
        page: the file to write; its folder is made.
        shapes: how many shapes to show, spread over the classes.
        method: how the map of embeddings is made.

    Raises:
        UserError: `shapes` is below 1, `page` is a folder or lies in the cache, or the map needs a package that is not installed.
    """
    if shapes < 1:
        raise UserError(f"a report shows at least one shape, asked for {shapes}")
    if page.is_dir():
        raise UserError(f"{page} is a folder; give the name of the page to write, such as {page / 'report.html'}")
    if any(page.resolve().is_relative_to(path) for path in cache.paths):
        raise UserError(f"{page} lies in the cache, where only the cache's own files may be; give another place")
    snapshot = Snapshot(cache)
    write_file(page, _template().render(content(snapshot, shapes, method), **_inlined()).encode())


def content(snapshot: Snapshot, shapes: int, method: scatter.Method) -> dict[str, Any]:
    """Collect everything that the template shows."""
    clean = Cleaner(own_places(snapshot.cache), own_names()).cleaned
    shown = choose(snapshot.label, np.flatnonzero(snapshot.status == spec.OK), shapes)
    dead = spread(np.flatnonzero(snapshot.status == spec.FAILED), shapes)
    found = findings.findings(snapshot)
    return {
        "head": head(snapshot, clean),
        "products": [product(snapshot, record, clean) for record in snapshot.records.values()],
        "random": [record.product for record in snapshot.records.values() if is_random(record)],
        "cards": [card(snapshot, row, len(shown), clean) for row in shown.tolist()],
        "dead": [failed_card(snapshot, row, clean) for row in dead.tolist()],
        "shown": set(shown.tolist()),
        "found": found,
        "map": atlas(snapshot, method, set(shown.tolist())),
        "neighbours": [
            alike(snapshot, record, one, spread(shown, QUERIES))
            for record, one in zip(findings.compared(snapshot), found.neighbours, strict=True)
        ],
        "failures": failures(snapshot, clean),
        "remarks": remarks(snapshot, clean),
        "warning": warning(snapshot),
        "behind": clean(told_behind(snapshot.cache)),
        "licences": licensing.told(snapshot.cache),
        "built": built(snapshot, clean),
        "costs": costs(snapshot),
        "views": snapshot.views,
        "centers": pictures.CENTERS,
        "long": LONG,
    }


def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"human": human, "count": "{:,}".format, "duration": took, "rate": rate}
    return environment.from_string(_file("report.html"))


def _inlined() -> dict[str, Markup]:
    """Return the style and the script of the page, and their digests: the page runs and uses no others."""
    style, script = _file("report.css"), _file("report.js")
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    style_digest, script_digest = digests
    return {"style": Markup(style), "script": Markup(script), "style_digest": Markup(style_digest), "script_digest": Markup(script_digest)}


def _file(name: str) -> str:
    return resources.files("pipeline").joinpath(name).read_text(encoding="utf-8")


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


def head(snapshot: Snapshot, clean: Callable[[str], str]) -> dict[str, Any]:
    """Collect what the page says about the cache as a whole."""
    m = snapshot.manifest
    usable = snapshot.status == spec.OK

    def counts(names: Sequence[str], column: NDArray[Any]) -> list[tuple[str, int, int]]:
        """Count shapes by name: (name, shapes, ok shapes)."""
        every = np.bincount(column[snapshot.held] + 1, minlength=len(names) + 1).tolist()
        fine = np.bincount(column[usable] + 1, minlength=len(names) + 1).tolist()
        found = list(zip(names, every[1:], fine[1:], strict=True))
        found = sorted(found, key=lambda row: -row[1]) if len(found) > LONG else found
        return found + [("(none)", every[0], fine[0])] * bool(every[0])

    return {
        "name": snapshot.cache.path.resolve().name,
        "manifest": m,
        "sources": [(source, [(name, clean(value)) for name, value in source.options]) for source in (m.source, *m.source.also)],
        "status": snapshot.counts,
        "classes": counts(m.classes, snapshot.label) if m.classes else [],
        "splits": counts(m.splits, snapshot.split) if m.splits else [],
        "fingerprint": spec.fingerprint(m),
        "complete": all(record.complete for record in snapshot.records.values()) and not snapshot.counts["pending"],
    }


def product(snapshot: Snapshot, record: Record, clean: Callable[[str], str]) -> dict[str, Any]:
    """Collect one row of the table of products."""
    shards = markers(snapshot.manifest, record).shape[0]
    size = product_bytes(snapshot.cache, record)
    what = clean(describe(record))
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
        "made_by": [(name, clean(value)) for name, value in record.made_by],
        "content": record.content,
        "settings": [(name, clean(text)) for name, text in settings(record)],
    }


def settings(record: Record) -> list[tuple[str, str]]:
    """Write every field of a product's specification as text. Long ones, such as 1,156 class names, are cut."""
    fields = spec.to_json(record.spec) | (spec.to_json(record.labels) if record.labels is not None else {})
    return [(name, _short(value)) for name, value in fields.items() if value not in ("", [])]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 else text[:400] + " …"


def built(snapshot: Snapshot, clean: Callable[[str], str]) -> list[dict[str, Any]]:
    """Collect the commands in the journal beside the cache, each with what it was told."""
    found = []
    for event in journal_of(snapshot.cache).events:
        if isinstance(event, Begun):
            config = flat(event.config or {}) if isinstance(event, Build) else ()
            source = clean(event.source) if isinstance(event, Build) else ""
            machine = [("machine", clean(event.machine))] if event.machine else []
            found.append(
                {"what": f"{clean(event.title)} {source}".strip(), "settings": [*machine, *((name, clean(text)) for name, text in config)]}
            )
    return found


def flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Write nested settings as `--set` does: ("points.count", "1024")."""
    for name, value in config.items():
        if isinstance(value, Mapping) and len(before) < 100:  # a journal may come from a stranger
            yield from flat(value, f"{before}{name}.")
        elif value not in ("", [], None):
            yield f"{before}{name}", _short(value)


# ------------------------------------------------------------------------------------------------------ contact sheet


def card(snapshot: Snapshot, row: int, shown: int, clean: Callable[[str], str]) -> dict[str, Any]:
    """Collect what the page shows of one shape.

    Args:
        snapshot: the cache.
        row: row of the shape.
        shown: number of shapes on the page. If there are many, each has smaller pictures and fewer points.
        clean: takes places on this machine out of a text.
    """
    name, label = snapshot.name(row)
    told = findings.right_captions(snapshot)
    at, side = np.array([row]), PICTURE if shown <= MANY else SMALLER
    drawn = bool(snapshot.done(products.POINTS.name)[row])
    seen = snapshot.views if snapshot.views and snapshot.done(products.VIEWS.name)[row] else []
    return {
        "row": row,
        "id": name,
        "label": label,
        "split": snapshot.split_name(row),
        "coloured": bool(snapshot.table("colored", at)[0]),
        "remark": clean(str(layout.texts(snapshot.table("reason", at))[0])),
        "picture": pictures.data_uri(pictures.points_picture(snapshot, row), side) if drawn else "",
        "points": points(snapshot, row, int(np.clip(POINTS // shown, 256, MOST_POINTS))) if drawn else None,
        "as_view": snapshot.points_view if seen else None,
        "views": [(view, pictures.data_uri(pictures.view_picture(snapshot, row, view), side)) for view in seen],
        "captions": [line for record in told if snapshot.done(record.product)[row] for line in captions(snapshot, record, row)],
    }


def points(snapshot: Snapshot, row: int, most: int) -> dict[str, Any]:
    """Pack the first points of block 0 of a shape for the page. In farthest-point order, the first ones cover the whole shape.

    Returns:
        `count`; `data`, the packed points; `labels`, JSON: a list of `{"title", "names", "data"}`, one for each kind of label of points.
    """
    xyz, rgb = pictures.block(snapshot, row)
    described = snapshot.records[products.POINTS.name].spec
    assert isinstance(described, PointSpec)
    kinds = []
    for kind, path in (("part", "points/part"), ("instance", "points/instance")):
        if kind in described.labels:
            values = snapshot.table(path, np.array([row]))[0, 0][:most]  # [P]
            found, data = pictures.packed_labels(values)
            if found:
                names = [described.parts[i] if kind == "part" and i < len(described.parts) else f"{kind} {i}" for i in found]
                kinds.append({"title": kind, "names": names, "data": data})
    data = pictures.packed_points(xyz[:most], rgb[:most])
    return {"count": min(len(xyz), most), "of": len(xyz), "data": data, "labels": json.dumps(kinds) if kinds else ""}


def failed_card(snapshot: Snapshot, row: int, clean: Callable[[str], str]) -> dict[str, Any]:
    """Collect what the page shows of one failed shape."""
    name, label = snapshot.name(row)
    reason = clean(str(layout.texts(snapshot.table("reason", np.array([row])))[0]))
    return {"row": row, "id": name, "label": label, "split": snapshot.split_name(row), "reason": reason}


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
        found = best.setdefault(texts[view], {"text": texts[view], "views": [], "score": None, "per": described.per})
        found["views"].append(view)
        if described.rank_by and found["score"] is None:
            found["score"] = float(scores[view])
    return list(best.values())[:CAPTIONS]


# ---------------------------------------------------------------------------------------------------- map, neighbours


def atlas(snapshot: Snapshot, method: scatter.Method, shown: set[int]) -> dict[str, Any]:
    """Collect the maps of all teachers, with the classes of their legend.

    Returns:
        `maps`; `shapes`, JSON: by row, its id, the name of its class and whether it is on the page; `classes`, the legend.
    """
    made = list(scatter.maps(snapshot, method))
    rows = np.unique(np.concatenate([one.rows for one in made])) if made else np.zeros(0, np.int64)
    used, counts = np.unique(snapshot.label[rows], return_counts=True)
    styles = {label: (i % HUES, i % MARKS) for i, label in enumerate(label for label in used.tolist() if label >= 0)}
    legend = [
        {"label": label, "name": snapshot.manifest.classes[label], "count": count, "style": styles[label]}
        for label, count in zip(used.tolist(), counts.tolist(), strict=True)
        if label >= 0
    ]
    names = snapshot.names(rows)
    return {
        "maps": [
            {"teacher": one.teacher, "random": one.random, "axes": one.axes, "groups": _placed(snapshot, one, styles)} for one in made
        ],
        "shapes": json.dumps({row: [*name, int(row in shown)] for row, name in zip(rows.tolist(), names, strict=True)}),
        "count": len(rows),
        "of": snapshot.counts["ok"],
        "classes": legend if len(legend) <= LONG else sorted(legend, key=lambda one: -one["count"]),
        "size": MAP,
        "method": method,
    }


def _placed(snapshot: Snapshot, one: scatter.Map, styles: Mapping[int, tuple[int, int]]) -> list[dict[str, Any]]:
    """Group the shapes of a map by class, with their places in its own units. Both axes have the same scale."""
    margin = 14
    low, high = one.places.min(0), one.places.max(0)
    room = np.array(MAP) - 2 * margin
    scale = float((room / np.maximum(high - low, 1e-9)).min())
    middle = (low + high) / 2
    places = (one.places - middle) * scale * (1, -1) + np.array(MAP) / 2
    labels = snapshot.label[one.rows]
    return [
        {
            "label": label,
            "style": styles.get(label),
            "shapes": [
                (row, f"{x:.0f}", f"{y:.0f}")
                for row, (x, y) in zip(one.rows[labels == label].tolist(), places[labels == label], strict=True)
            ],
        }
        for label in np.unique(labels).tolist()
    ]


def alike(snapshot: Snapshot, record: Record, found: findings.Neighbours, queries: NDArray[Any]) -> dict[str, Any]:
    """Collect the nearest neighbours of some shapes that one teacher finds.

    Args:
        snapshot: the cache.
        record: embeddings of pictures by the teacher.
        found: what was measured with it.
        queries: rows of the shapes.
    """
    there = findings.usable(snapshot, record)
    sample = np.union1d(findings.sampled(np.flatnonzero(there), findings.SAMPLE), queries[there[queries]])
    sample, values = findings.embedded(snapshot, record, sample)
    label = snapshot.label[sample]
    rows = []
    for i in np.flatnonzero(np.isin(sample, queries)).tolist():
        cosines = values @ values[i]
        cosines[i] = -np.inf
        near = np.argsort(-cosines, kind="stable")[: min(NEAREST, len(sample) - 1)]
        told = [bool(label[i] == label[j]) if label[i] >= 0 and label[j] >= 0 else None for j in near]
        rows.append(
            {
                "query": _found(snapshot, int(sample[i])),
                "found": [
                    {**_found(snapshot, int(sample[j])), "cosine": float(cosines[j]), "same": same}
                    for j, same in zip(near, told, strict=True)
                ],
            }
        )
    assert isinstance(record.spec, TeacherSpec)
    return {"name": record.spec.name, "what": describe(record), "random": is_random(record), "measured": found, "rows": rows}


def _found(snapshot: Snapshot, row: int) -> dict[str, Any]:
    """A shape among the neighbours."""
    name, label = snapshot.name(row)
    return {"row": row, "id": name, "label": label, "picture": pictures.thumbnail(snapshot, row, THUMBNAIL)}


# ----------------------------------------------------------------------------------------------------------- failures


def failures(snapshot: Snapshot, clean: Callable[[str], str]) -> dict[str, Any]:
    """Group failed shapes by kind of reason, the most frequent first. A kind is a reason without its names and numbers."""
    rows = np.flatnonzero(snapshot.status == spec.FAILED)
    kinds: dict[str, dict[str, Any]] = {}
    for start in range(0, len(rows), 4096):
        part = rows[start : start + 4096]
        for shape, reason in zip(layout.texts(snapshot.table("id", part)), layout.texts(snapshot.table("reason", part)), strict=True):
            name = re.sub(r"'[^']*'|\"[^\"]*\"|[\w./-]+\.[A-Za-z]\w{1,4}\b|\d[\d.,e+-]*", "…", reason)
            kind = kinds.setdefault(name, {"name": clean(name), "count": 0, "shapes": []})
            kind["count"] += 1
            if kind["count"] <= LISTED:
                kind["shapes"].append((shape, clean(str(reason))))
    return {"total": len(rows), "kinds": sorted(kinds.values(), key=lambda kind: -kind["count"])}


def remarks(snapshot: Snapshot, clean: Callable[[str], str]) -> dict[str, Any]:
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
            said = [clean(str(text)) for text in layout.texts(snapshot.table("reason", few))]
            shown += zip(layout.texts(snapshot.table("id", few)), said, strict=True)
    return {"total": total, "shapes": shown}


def warning(snapshot: Snapshot) -> str:
    """Return the warning of the build about models that were trained on other shapes; empty if there is none."""
    return starter_warning(map(model_of, snapshot.records.values()), snapshot.manifest.source, snapshot.manifest.classes)


# ---------------------------------------------------------------------------------------------------- for people


def took(seconds: float) -> str:
    """Write a measured time as every command does (`duration`), but a very short one as what it is."""
    return duration(seconds) if seconds >= 0.5 else "less than a second"


def rate(units: int, seconds: float) -> str:
    """Write units per second with one decimal, or without decimals from 100."""
    if not seconds:
        return "–"
    return f"{units / seconds:,.0f}" if units >= 100 * seconds else f"{units / seconds:.1f}"
