"""The card of a trained run: a page for people and hubs that goes beside its weights.

    facts = gathered(loaded, caches=[Path("shapes.zarr")])              # data, teachers and licences, as far as they are known here
    text = readme("user/name", loaded, facts, results, licence="", files=("model.safetensors",))

The card is Markdown with a metadata block (https://huggingface.co/docs/hub/model-cards).
"""

import dataclasses
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema import licences, products
from cache_schema.cards import hub_licence, licences_of, plain
from cache_schema.errors import UserError
from cache_schema.spec import Record, TeacherSpec
from cache_schema.store import Cache, open_cache
from cache_schema.terminal import counted, version_line
from trainer import checkpoint, classifiers, handed
from trainer.batch import Used
from trainer.checkpoint import Header, Loaded, Past
from trainer.config import AlignConfig, DistillConfig
from trainer.folder import Begun, begun
from trainer.tasks.result import Result, in_percent
from trainer.trained import UNREADABLE, Absent, Changed, alike, at_its_place, find, points_of, why

LIBRARY: Final = "mmpd"
"""Name of this software in the metadata block."""
TASK: Final = "feature-extraction"
"""The task of a run in the words of the hub (https://huggingface.co/tasks)."""
GONE: Final = "which is not here"
"""Why the licences of a cache are not known of which nothing else can be said."""
TAGS: Final = ("3d", "point-cloud", LIBRARY, "model_hub_mixin", "pytorch_model_hub_mixin")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What one cache gave to a run, or to the run of its guide."""

    used: Used
    whose: str
    """`the run` or `its guide`."""
    shapes: Mapping[str, int]
    """Number of shapes that were trained on, by licence; empty for unknown. Empty if the cache is not here."""
    records: tuple[Record, ...]
    """Records of what was read, in the order of making; empty if the cache is not here."""
    lost: tuple[str, ...] = ()
    """Products that were read and that the cache does not have any more as they were, so that nobody knows who made them."""
    why: str = ""
    """Why its licences are not known, as the end of a sentence; empty if the cache is here."""
    classes: int = 0
    """Number of its classes; 0 if it has other classes than then, or is not here."""
    sure: bool = True
    """Whether it is known which of its shapes were trained on. If not, `shapes` has all that it may be."""
    compared: bool = True
    """Whether its data is known to be that of then, or it lies where it was then."""
    stated: bool = False
    """Whether the cache is not here, and who pushed the run says under which licences it is."""

    @property
    def name(self) -> str:
        return Path(self.used.path).name

    @property
    def called(self) -> str:
        """The cache in words."""
        return self.name if self.whose == "the run" else f"{self.name} of {self.whose}"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Where a run comes from, as far as it is known here."""

    data: tuple[Trained, ...]
    holders: Mapping[str, Sequence[str]]
    """Who is under which licence: shapes and teachers by licence; an empty one stands for unknown."""


# ------------------------------------------------------------------------------------------------------ what is known


def gathered(loaded: Loaded, caches: Sequence[Path], kept: Sequence[str] = ()) -> Facts:
    """Find out what a run was trained on, and under which licences that is.

    What is not here is unknown, unless the run was pulled: then its `config.json` says who is under which licence (`handed.stated`).

    Args:
        loaded: the run.
        caches: where its caches are now; those that are still where they were need not be named.
        kept: names of classifiers of the run that go along.

    Raises:
        UserError: a file of a classifier is damaged.
    """
    opened = [open_cache(path) for path in caches]
    header = checkpoint.recalled(loaded.header, [loaded.run.resolve().parent])
    data, held = _of_run(loaded.run, header, loaded.weights, "the run", opened)
    here = list(opened)
    for one in data:
        with suppress(*UNREADABLE):  # moved, or gone
            here.append(at_its_place(one.used))
    for name in kept:
        held += _of_classifier(loaded, name, here)
    holders: dict[str, dict[str, None]] = {}
    for licence, who in held:
        holders.setdefault(licence, {})[who] = None
    return Facts(data=tuple(data), holders={name: tuple(who) for name, who in holders.items()})


Held = list[tuple[str, str]]
"""(licence, who is under it)."""


def _of_run(run: Path, header: Header, weights: str, whose: str, opened: Sequence[Cache]) -> tuple[list[Trained], Held]:
    """What a run learned from: its caches, and those of the runs that it was made from, or what it remembers of these."""
    own = whose == "the run"
    data = [_trained(used, header, whose, opened) for used in header.caches]
    others: list[Trained] = []
    held: Held = []
    missing: list[str] = []
    if header.source:
        held.append(("", f"the checkpoint {header.source.file} that was imported{'' if own else f' as {whose}'}"))
    for name, path, before, digest, past in _before(run, header):
        called = name if own else f"{name} (of {whose})"
        if before is not None and path is not None:
            more, theirs = _of_run(path, before, digest, called, opened)
            others, held = others + more, held + theirs
        elif past is not None:
            data += [_trained(used, None, called, opened) for used in past.caches]
            missing += [f"{told} of {called}" for told in past.unknown]
        else:
            missing.append(f"{called}, whose run is not here")
    held = [(licence, who) for one in data for licence, who in _of_cache(one)] + held
    missing = [f"cache {one.called}, {one.why}" for one in data if one.why] + missing
    missing += [f"{name} of {one.called}, which was made anew since" for one in data for name in one.lost]
    said = handed.stated(run, weights) if missing else {}
    if said:
        data = [dataclasses.replace(one, stated=True) if one.why else one for one in data]
        return data + others, held + [(licence, one) for licence, who in said.items() for one in who]
    return data + others, held + [("", one) for one in missing]


def _of_cache(one: Trained) -> Iterator[tuple[str, str]]:
    """The licences of what a cache gave."""
    for licence, count in one.shapes.items():
        yield licence, f"{counted(count, 'shape')} of {one.called}" if one.sure else f"shapes of {one.called}"
    known = {record.product: record for record in one.records}
    for product, licence in licences.of_products(known).items():
        parts = products.parts(known[product])
        yield licence, f"teacher {parts['teacher']}" if "teacher" in parts else f"captions {parts.get('captions', product)}"


def _of_classifier(loaded: Loaded, name: str, here: Sequence[Cache]) -> Held:
    """The licences of what a kept classifier learned from. Its training shapes may come from other caches than those of the run.

    Args:
        loaded: the run.
        name: the classifier.
        here: caches that are here.
    """
    origin = classifiers.about(loaded.run, name).origin
    if isinstance(origin, classifiers.Published):
        return [("", f"classifier {name} of the file {origin.source.file} that was imported")]
    learned = classifiers.learned(loaded.run, name)  # a classifier of an earlier version does not say which shapes
    found = [cache for cache in here if points_of(cache) == origin.train.points and (learned is None or learned.rows_in(cache) is not None)]
    # One of the name that it had is the one; else every cache with these points counts, whatever it is called now.
    found = [cache for cache in found if cache.home.name.removesuffix(".zarr") == origin.train.cache] or found
    if found:
        rows = learned.rows if learned else None
        return list(dict.fromkeys((licence, f"shapes of classifier {name}") for cache in found for licence in _licensed(cache, rows)))
    file = classifiers.path(loaded.run, name).relative_to(loaded.run).as_posix()
    said = handed.stated(loaded.run, loaded.weights) if handed.unchanged(loaded.run, loaded.weights, file) else {}
    if said:
        return [(licence, one) for licence, who in said.items() for one in who]
    return [("", f"classifier {name}, trained on {origin.train.cache}, which is not here")]


def _before(run: Path, header: Header) -> Iterator[tuple[str, Path | None, Header | None, str, Past | None]]:
    """The runs that a run was made from: what each is, in words, its folder, header, digest of weights, and what the run remembers of what
    it has learned from. The header is None if the run is not where it was, the last one if it was not recorded.
    """
    there = Begun()
    with suppress(UserError, OSError):  # imported, or without the file that says how it was begun
        there = begun(run)
    init = header.init
    first = Past(caches=init.caches, unknown=init.unknown) if init and init.unknown is not None else None
    same = init is not None and init.weights == header.guide
    started = init.weights if init and not same else ""
    for whose, path, weights, past in (
        ("its guide", there.guide_run, header.guide, first if same else header.guide_past),
        ("the run that it started from", there.init, started, first),
    ):
        if not weights:
            continue
        found = None
        with suppress(UserError, OSError):
            if path is not None and checkpoint.weights(path) == weights:  # not another run in the same place
                found = checkpoint.recalled(checkpoint.read(path)[0], [path.resolve().parent])
        yield whose, path, found, weights, past


def _trained(used: Used, header: Header | None, whose: str, opened: Sequence[Cache]) -> Trained:
    """What a cache gave, by `trainer.trained.find`. `header`: None if the settings of the run are not known."""

    def unlike(cache: Cache) -> int:
        made = cache.products()
        return sum(name not in made or made[name].fingerprint != fingerprint for name, fingerprint in used.products)

    # What a user names comes first, and of several with the same points the one that has most of what was read.
    given = sorted((cache for cache in opened if alike(used, cache)), key=unlike)
    places: list[Callable[[], Cache]] = [*(lambda cache=cache: cache for cache in given), lambda: at_its_place(used)]
    config, seed = (header.config.data, header.config.seed) if header else (None, 0)
    try:
        found = find(used, places, config=config, seed=seed, alone=header is not None and not used.rows)
        shapes, made = _licensed(found.cache, found.rows), found.cache.products()
    except UNREADABLE as error:
        told = f"which {why(error)}" if isinstance(error, Changed) or not isinstance(error, Absent) else GONE
        if given and isinstance(error, Changed) and str(given[0].path) != used.path:  # another cache is no reason to call this one changed
            told = f"{GONE}; {given[0].home.name} has shapes of the same names and other data"
        return Trained(used=used, whose=whose, shapes={}, records=(), why=told)
    known = [name for name, fingerprint in used.products if name in made and made[name].fingerprint == fingerprint]
    # Embedded captions are under the licence of their captioner, too.
    written = [f"{products.CAPTIONS.name}/{name.split('/')[1]}" for name in known if made[name].kind == products.TEXT.name]
    changed = {name for name, _ in used.products if name not in known}
    records = {name: made[name] for name in dict.fromkeys([*known, *written]) if name in made and name not in changed}
    teachers = {products.parts(record).get("teacher", "") for record in records.values()} - {""}
    return Trained(
        used=used,
        whose=whose,
        shapes=shapes,
        records=tuple(products.in_order(records.values())),
        lost=tuple(name for name in sorted(changed) if _of_a_model(name, teachers)),
        classes=0 if products.INDEX.name in changed else len(found.cache.manifest.classes),
        sure=found.rows is not None,
        compared=found.compared or str(found.cache.path) == used.path,
    )


def _of_a_model(product: str, teachers: Set[str]) -> bool:
    """Whether the licence of a product, by its name, is one that nothing else tells. Class names that were embedded again, since the cache
    has more of them by now, are of a teacher that is known by its other products; a guide is known by its run."""
    kind, _, names = product.partition("/")
    again = kind == products.LABELS.name and names.rpartition("/")[2] in teachers
    return kind not in (*products.FIXED, products.POINTS.name, products.GUIDE.name) and not again


def _licensed(cache: Cache, rows: NDArray[np.signedinteger] | None) -> dict[str, int]:
    """Number of shapes in some rows of a cache, by licence; an empty one stands for unknown. None for all usable shapes."""
    names, rows = cache.manifest.licences, np.flatnonzero(cache.ok()) if rows is None else rows
    if not names:
        return {"": len(rows)}
    values, counts = np.unique(np.asarray(cache.column("licence"))[rows], return_counts=True)
    return {names[value] if value >= 0 else "": int(count) for value, count in zip(values, counts, strict=True)}


# ------------------------------------------------------------------------------------------------------------ the card


def readme(where: str, loaded: Loaded, facts: Facts, results: Sequence[Result], licence: str, files: Sequence[str]) -> bytes:
    """Write the card.

    Args:
        where: how others name the run: `USER/NAME` on the hub, else the name of its folder.
        loaded: the run.
        facts: what `gathered` found, with the licences.
        results: its results.
        licence: the licence that the weights are given under, as their owner says; empty if nothing was said.
        files: what lies beside the card.
    """
    name = where.rpartition("/")[2]
    head = [
        "---",
        f"license: {hub_licence([licence] if licence else facts.holders)}",
        f"library_name: {LIBRARY}",
        f"pipeline_tag: {TASK}",
        f"tags: [{', '.join(TAGS)}]",
        "---",
    ]
    config = loaded.config
    how = "aligned with the images and texts of teachers" if config.stage == "align" else "trained by masked modelling"
    parts = [
        "\n".join(head),
        f"# {plain(name)}",
        f"An encoder of 3D shapes, {how} by {LIBRARY}. It gives a vector for every shape, and features of its parts."
        + (f" It is not finished: {loaded.header.unfinished}." if loaded.header.unfinished else ""),
        "## Use it\n\n" + _use(where, loaded),
        "## Results\n\n" + _results(results, loaded),
        "## The encoder\n\n" + _architecture(loaded),
        "## What it was trained on\n\n" + _data(facts),
        "## Limits\n\n" + _limits(loaded),
        "## Licences\n\n" + (f"The weights are given under {plain(licence)}. What they were made from:\n\n" if licence else "")
        + licences_of(facts.holders),
        "## Where it comes from\n\n" + _provenance(loaded, files),
    ]  # fmt: skip
    if "curves.png" in files:
        parts.append("![Losses during training](curves.png)")
    return ("\n\n".join(parts) + "\n").encode()


def _use(where: str, loaded: Loaded) -> str:
    teachers = [teacher.name for teacher in loaded.header.facts.teachers if teacher.objective == "contrast"]
    more = f"\nmodel.teacher_space(clouds, {json.dumps(teachers[0])})      # to compare with pictures and texts" if teachers else ""
    return (
        "```python\nfrom trainer.model import Model\n\n"
        f"model = Model.from_pretrained({json.dumps(where)})\n"
        f"vectors = model.embed(clouds)      # clouds: arrays [n, 3 or 6] of any scale, place and count{more}\n```\n\n"
        "`pip install 'mmpd[trainer,remote]'` brings the software."
    )


def _results(results: Sequence[Result], loaded: Loaded) -> str:
    if not results:
        return "No result was measured."
    shown = [(one, [metric for metric in one.scores.metrics if metric.headline] or one.scores.metrics[:1]) for one in results]
    unit = in_percent([metric for _, own in shown for metric in own]).replace("percent", "%")
    lines = [f"| task | measure | result{unit and f', {unit}'} | 95 % interval | n | chance |", "|---|---|---|---|---|---|"]
    notes: dict[str, None] = {}
    for result, own in sorted(shown, key=lambda one: one[0].title):
        for metric in own:
            n = f"{metric.shapes} {metric.units}" if metric.shapes is not None else "unknown"
            said = ", ".join(filter(None, (metric.verdict, result.scores.warning)))
            verdict = f" ({said})" if said else ""
            chance = "unknown" if metric.chance is None else metric.number(metric.chance)
            spread = f" over {len(metric.values)} {metric.over}" if metric.deviation is not None else ""
            cells = plain(result.title), plain(metric.label), f"{metric}{verdict}{spread}", metric.extent or "unknown", n, chance
            lines.append(f"| {' | '.join(cells)} |")
        stale = result.outdated(loaded.weights, loaded.settings) and "measured with earlier weights or settings of this run"
        notes |= dict.fromkeys(f"{result.title}: {note}" for note in (*result.scores.notes, stale) if note)
    told = "\n".join(f"- {plain(note)}" for note in notes)
    return (
        "\n".join(lines)
        + "\n\nn is the number of test shapes, and the interval is over them. ± is a standard deviation."
        + (f"\n\n{told}" if told else "")
    )


def _architecture(loaded: Loaded) -> str:
    config, encoder = loaded.config, loaded.model.encoder
    count = sum(value.numel() for value in loaded.model.get_submodule("encoder").parameters())
    precision = f" in {loaded.header.precision}" if loaded.header.precision else ""
    lines = [
        f"- Encoder: {plain(config.encoder.name)}, {count:,} parameters, {encoder.groups} tokens of width {encoder.dim}, "
        f"{encoder.config.channels} channels ({'coordinates and colours' if encoder.config.channels == 6 else 'coordinates'})",
        f"- Pre-training: {_stage(config)}; {loaded.header.step:,} steps of {config.optim.batch} shapes{precision}, AdamW with a rate up "
        f"to {config.optim.lr:g}, seed {config.seed}",
    ]
    for teacher in loaded.header.facts.teachers:
        texts = ", with texts" if teacher.text else ""
        lines.append(f"- Space of {plain(teacher.name)}: width {teacher.dim}, by {teacher.objective}{texts}")
    return "\n".join(lines)


def _stage(config: AlignConfig | DistillConfig) -> str:
    if isinstance(config, AlignConfig):
        return "stage 1, aligned with teachers"
    losses = {"local": config.distill.local_weight, "global": config.distill.global_weight, "projected": config.distill.projected_weight,
              "teachers": config.distill.teacher_weight, "reconstruction": config.distill.reconstruction_weight}  # fmt: skip
    return f"stage 2, masked modelling with {', '.join(name for name, weight in losses.items() if weight)}"


def _data(facts: Facts) -> str:
    if not facts.data:
        return "It was imported, and its training is that of its authors."
    parts = []
    for one in facts.data:
        count = one.used.rows.partition(" ")[0] or (str(sum(one.shapes.values())) if one.shapes else "an unknown number of")
        lines = [f"**{plain(one.name)}** ({one.whose}): {count} shapes{f' of {one.classes} classes' if one.classes else ''}"]
        if one.why:
            gone = "was not here when this card was written" if one.why.startswith(GONE) else one.why.removeprefix("which ")
            lines[0] += f". The cache {gone}, so its licences are "
            lines[0] += (
                "those that the run's config.json stated when it was fetched; nobody has checked them" if one.stated else "not known"
            )
        if not one.sure:
            lines[0] += ". Which of its shapes these are is not known by now, so the licences are those of all of them"
        if not one.compared:
            lines[0] += ". A cache with shapes of the same names was taken for it, and their data could not be compared"
        lines += ["", "| product | made by | licence | fingerprint |", "|---|---|---|---|"]
        known = {record.product: record for record in one.records}
        said = licences.of_products(known)
        for name, fingerprint in one.used.products:
            record = known.get(name)
            by = _teacher(record.spec) if record is not None and isinstance(record.spec, TeacherSpec) else ""
            licence = plain(said[name]) or "not known" if name in said else "not known, it was made anew since" if name in one.lost else ""
            lines.append(f"| {plain(name)} | {by} | {licence} | `{fingerprint}` |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _teacher(spec: TeacherSpec) -> str:
    revision = f", revision {plain(spec.revision)}" if spec.revision else ""
    return f"{plain(spec.model)}{revision}, weights {plain(spec.weights.removeprefix('sha256:')[:12])}"


def _limits(loaded: Loaded) -> str:
    convention, channels = loaded.model.convention, loaded.model.encoder.config.channels
    if convention is None:
        return "It is not known what points it was trained on. Features of other points than those may be wrong."
    placed = {
        "unit_sphere": "moved to the origin and scaled into the unit sphere, so absolute size means nothing to it",
        "none": "in the units of their source",
    }
    lines = [
        f"- It knows shapes of {convention.count} points, {placed[convention.normalize]}. `Model` brings other clouds to that, and says "
        "where that changes much."
    ]
    if loaded.header.source:
        lines.append(
            "- Which axis was up in its training is not known here: see its authors. A shape that lies on its side has other features."
        )
    else:
        tilt = loaded.config.augment.tilt
        turned = ", turned by any angle about it" if loaded.config.augment.rotate else ""
        tilted = f", tilted by at most {tilt:g} degrees" if tilt else ""
        lines.append(f"- It knows shapes with +Y up{turned}{tilted}. A shape that lies on its side has other features.")
    if channels == 6:
        seen = {True: "It saw colours.", False: "It saw no colours in training, only grey.", None: "Whether it saw colours is not known."}
        lines.append(f"- {seen[convention.colored]} A cloud without colours is given grey {convention.grey:.3g}.")
    else:
        lines.append("- It sees no colours.")
    lines.append("- It was tested on what the results above name, and on nothing else.")
    return "\n".join(lines)


def _provenance(loaded: Loaded, files: Sequence[str]) -> str:
    source = loaded.header.source
    lines = [
        f"- Digest of the weights that give its features: `{loaded.weights}`",
        f"- Fingerprint of the experiment: `{checkpoint.setup(loaded.header, seeds=True)}`",
        *([f"- Imported from {plain(source.file)} (sha256 `{source.sha256}`) as {plain(source.architecture)}"] if source else []),
        f"- Handed on by {version_line().strip()}, torch {plain(torch.__version__)}, Python {platform.python_version()}",
        f"- Files: {', '.join(f'`{name}`' for name in files)}. The weights are safetensors; nothing is pickled.",
    ]
    return "\n".join(lines)
