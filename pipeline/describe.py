"""Describe a cache for people: how many shapes are ok, what its products are made of, how large they are."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np

from cache_schema import products, spec
from cache_schema.layout import texts
from cache_schema.local import REMOVED
from cache_schema.overlay import behind
from cache_schema.selection import held
from cache_schema.store import Cache
from cache_schema.terminal import counted
from pipeline import readings, weights

NO_LICENCE: Final = "(none)"
"""Stands for the licence of shapes whose licence is unknown."""


def status_counts(cache: Cache) -> dict[str, int]:
    """Count shapes by status."""
    record = cache.records().get(products.STATUS.name)
    names = {spec.PENDING: "pending", spec.OK: "ok", spec.FAILED: "failed"}
    counts = Counter(dict.fromkeys(names.values(), 0))
    if record is None:
        counts["pending"] = cache.manifest.count
    else:
        values, numbers = np.unique(cache.column("status")[held(cache.manifest)], return_counts=True)
        counts.update({names[value]: number for value, number in zip(values.tolist(), numbers.tolist(), strict=True)})
    return {name: counts[name] for name in ("ok", "failed", "pending")}


def ahead(cache: Cache) -> int:
    """Number of shards behind the last one of which files are there: those of shapes that an append or a pull has not finished."""
    if cache.below is not None:  # an overlay whose shared cache has grown has shards behind its last one
        return 0
    found: set[int] = set()
    for record in cache.records().values():
        if not products.of(record).labelled:
            with contextlib.suppress(FileNotFoundError):
                names = os.listdir(cache.folder(f"products/{record.product}") / "c")
                found |= {int(name) for name in names if name.isdecimal() and int(name) >= cache.manifest.shards}
    return len(found)


def origin(cache: Cache) -> dict[str, Any]:
    """Tell the format of a cache, how many shapes have which licence, and the shapes of each segment if the cache has grown.

    Returns:
        `format`; `licences`, a count by name, with `NO_LICENCE` for unknown; where there are any, `segments`, `sources` of several
        segments, and `relabelled`, the columns that are no longer as the sources say; for an overlay `shared`, the path of the shared
        cache, `own`, the names of the products that do not lie there, and `behind`, the number of shapes that the shared cache has and
        these products lack, if there are any; `ahead`, the number of shards of shapes that are not finished yet, if there are any;
        `readers` and `read_otherwise`, see `pipeline.readings.told`.
    """
    m = cache.manifest
    licences: Counter[str] = Counter(dict.fromkeys(m.licences, 0))
    if m.licences:
        # Shard by shard, because the rows between two segments hold no shape.
        for _, values in cache.column_shards("licence"):
            for value, number in zip(*(found.tolist() for found in np.unique(values, return_counts=True)), strict=True):
                licences[m.licences[value] if value >= 0 else NO_LICENCE] += number
    told: dict[str, Any] = {"format": m.format_version, "licences": dict(licences)}
    if m.segments:
        told["segments"] = list(m.segments)
    sources = (m.source, *m.source.also)
    if m.source.also:
        told["sources"] = [describe_source(source) for source in sources]
    if changed := sorted({column for source in sources for column, _ in source.relabelled}):
        told["relabelled"] = changed
    if cache.below is not None:
        told |= {"shared": str(cache.home), "own": [name for name in cache.records() if cache.owns(name)]}
        told |= {"behind": more} if (more := behind(cache)) else {}
    told |= {"ahead": more} if (more := ahead(cache)) else {}
    return told | readings.told(cache)


def describe_source(source: spec.SourceSpec) -> str:
    """Say in a few words which shapes a source has and how they are read."""
    some = [f"(some of its {source.of} shapes)"] if source.of else []
    return " ".join([source.kind, *(f"{name}={value}" for name, value in source.options), *some])


def failures(cache: Cache) -> list[tuple[str, str]]:
    """List (id, reason) of all failed shapes."""
    return failures_and_remarks(cache)[0]


def remarks(cache: Cache) -> list[tuple[str, str]]:
    """List (id, remark) of all shapes that are ok although a part of their files was left out or replaced."""
    return failures_and_remarks(cache)[1]


def failures_and_remarks(cache: Cache) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """List what `failures` and what `remarks` list, which takes as long as one of them."""
    failed: list[tuple[str, str]] = []
    noted: list[tuple[str, str]] = []
    index = cache.record(products.INDEX.name)
    # Shard by shard, because the texts of a million shapes are a quarter of a gigabyte.
    for (shard, states), (_, cells) in zip(cache.column_shards("status"), cache.column_shards("reason"), strict=True):
        for found, wanted in ((failed, states == spec.FAILED), (noted, (states == spec.OK) & (cells[:, 0] != 0))):
            if wanted.any():
                ids = texts(cache.shard_rows(cache.node("id"), shard, index)[wanted])
                found += zip(ids.tolist(), texts(cells[wanted]).tolist(), strict=True)
    return failed, noted


def starter_warning(models: Iterable[str], source: spec.SourceSpec, classes: Iterable[str]) -> str:
    """Return a warning if models trained on the starter collection see other shapes, or see its shapes otherwise; else an empty text.

    Args:
        models: names of teachers and captioners.
        source: the source of the shapes. Of scans, the source of what is scanned counts.
        classes: names of the classes of the shapes.
    """
    shipped = list(dict.fromkeys(name for name in models if weights.is_shipped(name)))
    if not shipped:
        return ""
    sources = (source, *source.also)
    know, were = ("know", "were") if len(shipped) > 1 else ("knows", "was")
    strange = any(one.scanned != STARTER for one in sources)
    if any(one.kind == "lidar" for one in sources):
        from pipeline.sources.lidar import MADE  # not at the top: few caches need it, and it takes a second

        strange = strange or not set(MADE).isdisjoint(classes)
    if strange:
        return (
            f"{', '.join(shipped)} {know} the kinds of the starter collection and nothing else. For shapes of your own take real "
            "models: --recipe clip-dino, or see `mmpd-cache recipes` and `mmpd-cache teachers`"
        )
    if any(one.kind != STARTER for one in sources):
        return (
            f"{', '.join(shipped)} {were} taught with pictures of the surfaces of starter shapes, and pictures of scanned points look "
            "otherwise"
        )
    return ""


def warn_of_starter(models: Iterable[str], source: spec.SourceSpec, classes: Iterable[str], say: Callable[[str], None]) -> None:
    """Say the warning of `starter_warning`, if there is one."""
    if warning := starter_warning(models, source, classes):
        say(f"Warning: {warning}")


def is_random(record: spec.Record) -> bool:
    """Whether a model with random weights made a product. Published checkpoints of this kind have `random` in their names."""
    return "random" in PurePosixPath(model_of(record)).name.lower()


def model_of(record: spec.Record) -> str:
    """Return the name or path of the model that a product's teacher or captioner is; empty if it has none."""
    made = record.teacher or record.spec
    return made.model if isinstance(made, spec.TeacherSpec | spec.CaptionSpec) else ""


def product_bytes(cache: Cache, record: spec.Record) -> int:
    """Add up the bytes of the files that a product has so far."""
    nodes = cache.arrays(record)
    return sum(size or 0 for node in nodes for size in cache.sizes(node)) + sum(_description_bytes(cache, node.path) for node in nodes)


def _description_bytes(cache: Cache, path: str) -> int:
    """Number of bytes of the description of an array; 0 if it is not there."""
    try:
        return (cache.folder(path) / "zarr.json").stat().st_size
    except OSError:
        return 0


STARTER: Final = "starter"
"""Kind of the source that the models of the project were taught with."""
PARTS: Final = 8
"""Largest number of names of parts that a description shows."""


def describe(record: spec.Record) -> str:
    """Say in a few words what a product is and what made it."""
    match record.spec:
        case spec.TeacherSpec() as t if t.imported:
            return f"imported, told to be of {t.model}: not computed here{_brought(record)}"
        case spec.TeacherSpec() as t:
            cut = f", {counted(record.cut, 'text')} longer than it reads" if record.cut else ""
            if products.of(record) is products.TEXT and record.cut is None:
                cut = ", texts cut: not counted"
            return f"{t.backend}:{t.model}{f'@{t.revision[:12]}' if t.revision else ''} weights {t.weights[:12]} {t.precision}{cut}"
        case spec.CaptionSpec() as c if c.imported:
            return f"imported texts by {c.model}, up to {c.samples} per {c.per}{_brought(record)}"
        case spec.CaptionSpec() as c:
            return ", ".join(filter(None, _captions_in_words(c)))
        case spec.ViewSpec() as v:
            return f"rig {v.rig.name}, {counted(v.count, 'view')} of {v.size} pixels{_chosen_by(v)}"
        case spec.PointSpec() as p:
            few = ", ".join(p.parts[:PARTS]) + (" ..." if len(p.parts) > PARTS else "")
            parts = f", {counted(len(p.parts), 'part')} ({few})" if p.parts else ""
            return f"{counted(p.blocks, 'block')} of {p.count}, first {p.ordered} in farthest-point order, seed {p.seed}{parts}"
        case spec.GuideSpec() as g:
            return f"{g.encoder} weights {g.weights[:12]}{', repeated points left out' if g.missing == 'mask' else ''}"
        case spec.DenseSpec() as d:
            return f"patches of {d.teacher.name} on {d.groups} groups of {counted(d.group_size, 'point')}, {counted(d.blocks, 'block')}"
        case spec.BoxSpec() as b:
            return f"up to {b.most} boxes of {counted(len(b.names), 'class')}"
        case spec.SourceSpec() as s:
            return "; ".join(map(describe_source, (s, *s.also)))


def chosen_views(records: Mapping[str, spec.Record]) -> str:
    """Describe the views of a cache if they were chosen for each shape; else an empty text. `records`: its products by name."""
    return next((describe(r) for r in records.values() if isinstance(r.spec, spec.ViewSpec) and r.spec.policy is not None), "")


def _chosen_by(v: spec.ViewSpec) -> str:
    """Say by what views are chosen for each shape; empty if all cameras see every shape."""
    if v.policy is None:
        return ""
    p, judge = v.policy, v.policy.judge
    by = [(p.surface, "visible surface"), (p.likeness, f"pictures as {p.teacher} sees them"), (p.spread, "directions")]
    weighed = ", ".join(f"{words} (weight {weight:g})" for weight, words in by if weight)
    weights = f", {p.teacher} weights {judge.weights[:12]}" if judge else ""
    return f", chosen for each shape among its {len(v.rig.cameras)} cameras by {weighed} on {p.size} pixels{weights}"


def _captions_in_words(c: spec.CaptionSpec) -> list[str]:
    """Parts of the description of captions; empty for what there is nothing to say of."""
    kinds = ", ".join(c.kinds)
    scored = f"{'scored' if c.kinds else 'ranked'} by {c.rank_by}" if c.rank_by else ""
    return [
        f"{c.captioner} {c.model}".strip(),
        f"{c.samples} per {c.per}{f' ({kinds})' if kinds else ''}",
        f"from a sheet of {counted(c.sheet, 'view')}" if c.sheet else "",
        f"{scored} ({c.over} over the views)" if scored and c.over != "first" else scored,
        f"answers of {'a server' if c.server.address == REMOVED else c.server.address}, temperature {c.temperature:g}"
        if c.server.address
        else "",
        "" if c.reproducible else "not reproducible",
        "of what the source states" if c.stated else "",
        "wrong on purpose" if c.wrong else "",
    ]


def asked_in_words(asked: Mapping[str, float], seconds: float = 0.0) -> str:
    """Say what a captioner's server was asked.

    Args:
        asked: see `pipeline.captioners.http.Http.used` and `pipeline.journal.asked`.
        seconds: time that it took, for rates; 0 for none.
    """
    number = {name: int(value) for name, value in asked.items() if name != "cost"}
    tokens = number.get("prompt_tokens", 0), number.get("completion_tokens", 0)
    rate = f" ({number.get('questions', 0) / seconds:.3g} a second)" if seconds else ""
    killed, elsewhere = number.get("killed", 0), number.get("elsewhere", 0)
    least, questions = bool(killed or elsewhere), number.get("questions", 0)
    said = [f"{'at least ' * least}{questions:,} question{'s' * (questions != 1)} answered{rate}"]
    if killed:
        said.append(f"and an unknown number for {counted(killed, 'shard')}, in which the command was killed or is at work")
    if elsewhere:
        said.append(f"and an unknown number for {counted(elsewhere, 'shard')} that the journal beside this cache does not know")
    if uncounted := number.get("uncounted", 0):
        said.append(f"tokens of {uncounted:,} unknown, because the server does not count them")
    if sum(tokens):
        rate = f" ({tokens[1] / seconds:.3g} written a second)" if seconds else ""
        said.append(f"{tokens[0]:,} tokens asked and {tokens[1]:,} written{rate}")
    more = {"again": "asked again", "cut": "texts cut", "refused": "pictures without a text"}
    said += [f"{number[name]:,} {words}" for name, words in more.items() if number.get(name)]
    if "cost" in asked:
        said.append(f"cost {'at least ' * (bool(uncounted) or least)}{asked['cost']:.4g} at the prices given")
    return ", ".join(said)


def _brought(record: spec.Record) -> str:
    """The file that an imported product was brought from, and how much it lacks, in words."""
    told = dict(record.made_by)
    digest = f" (sha256 {told['file_sha256'][:12]})" if "file_sha256" in told else ""
    lack = f"; {record.lacking} shape{' lacks' if record.lacking == 1 else 's lack'} something" if record.lacking else ""
    return f"; {told.get(spec.IMPORTED, 'unknown file')}{digest}{lack}"


def human(size: float) -> str:
    """Write a number of bytes with a unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
