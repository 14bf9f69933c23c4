"""Writing the guide: the features that a frozen run of stage 1 computes for every stored block, as a product of the cache.

    write(open_cache("shapes.zarr"), checkpoint.load(Path("runs/align")), "align")

Blocks are not augmented. The product is written shard by shard, and a stopped run can be continued, as for any product.

Letters: n shapes of a shard, R guided blocks, G tokens, D width.
"""

import contextlib
import dataclasses
import hashlib
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema import plugins, products
from cache_schema.errors import UserError
from cache_schema.files import exclusive
from cache_schema.overlay import catch_up
from cache_schema.products import GUIDE, POINTS
from cache_schema.records import differences
from cache_schema.spec import GREY, GuideSpec, PointSpec, Record
from cache_schema.store import Cache, open_ahead
from trainer import machine, saved
from trainer.checkpoint import OF_GUIDE, Loaded, Past, header, learned_from, recalled, setup, trained_on
from trainer.distributed import device_of
from trainer.encoders.catalog import ENCODERS
from trainer.encoders.protocol import missing
from trainer.points import Blocks
from trainer.saved import Settings

BATCH: Final = 64
"""Number of blocks in a forward pass. It is a constant, because another number could change the last bit of a result."""

SAMPLE: Final = 256
"""Number of shapes on which `spread` is measured."""
COLLAPSED: Final = 0.01
"""A `spread` below this gives a warning. Models before and after training had values between 0.2 and 1."""

Precision = Literal["float32", "bfloat16"]


def write(
    cache: Cache,
    loaded: Loaded,
    name: str,
    *,
    blocks: int = 0,
    precision: Precision = "float32",
    device: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Record:
    """Write `guide/<name>`: all of it, or the missing and damaged shards. An overlay whose shared cache has grown gets the new shapes.

    Args:
        cache: the cache with the blocks; it gets the features.
        loaded: the guide.
        name: name of the product, after `guide/`.
        blocks: number of blocks of each shape to guide, from the first; 0 for all.
        precision: arithmetic of the forward pass.
        device: a torch device; `auto` takes a GPU if there is one.
        progress: called with the number of finished shards and the number of all shards.

    Returns:
        The finished product's record.

    Raises:
        UserError: the model has no summary, or does not fit the points; the points are damaged; a guide of that name was made by another
            model or with other settings; or repaired shards differ from the original ones.
    """
    record, reader = describe(cache, loaded, name, blocks=blocks, precision=precision, device=device_of(device))
    with exclusive(cache.path):
        ahead = open_ahead(cache.path)  # all is decided before anything is changed: an overlay that is behind is unfinished here already
        begun = ahead.records().get(record.product)
        if begun:
            record = _as_recorded(begun, record)
        if begun and begun.fingerprint != record.fingerprint:
            changed = "; ".join(differences(begun, record))
            raise UserError(
                f"{cache.path} already has {record.product}, of another guide or other settings ({changed}): choose another --name, or "
                f"remove it first: `{shlex.join(['mmpd-cache', 'remove', str(cache.path), record.product])}`"
            )
        if catch_up(cache.path, [record]):
            cache = cache.again()
            record, reader = describe(cache, loaded, name, blocks=blocks, precision=precision, device=device_of(device))
            if begun := cache.records().get(record.product):
                record = _as_recorded(begun, record)
        cache.begin(record)
        return _finished(cache, record, reader, progress)


def describe(
    cache: Cache, loaded: Loaded, name: str, *, blocks: int, precision: Precision, device: torch.device
) -> tuple[Record, "_Reader"]:
    """The record of `guide/<name>`, and the object that computes its features. Nothing is written. Arguments and errors as in `write`."""
    model = loaded.model.to(device)
    config = model.encoder.config
    points = cache.record(products.POINTS.name)
    convention = trained_on(loaded.header, [cache])
    read = Blocks(cache, convention, channels=config.channels, centres=model.encoder.centres, join=False)
    if not 0 <= blocks <= read.blocks:
        raise UserError(f"--blocks must lie in 1..{read.blocks}, the blocks of a shape in {cache.path}, got {blocks}")
    if convention and read.short:
        again = (
            f"; if it was trained on {read.count} points, import it again with --set points.count={read.count}"
            if loaded.header.source
            else ""
        )
        # Each group would reach further than the groups in training. Blocks cannot be joined, since a student reads single blocks.
        raise UserError(
            f"{loaded.run} was trained on {convention.count} points a shape, {cache.path} has blocks of {read.spec.count}: its features of "
            f"these blocks would be wrong. Build a cache with --set points.count={convention.count}, or train a guide on "
            f"this one{again}"
        )
    if model.features(torch.zeros(1, read.count, config.channels, device=device), ordered=True).summary is None:
        raise UserError(f"{loaded.run} was trained without a summary and cannot be a guide; take a run of stage 1")
    spec = GuideSpec(
        name=name,
        encoder=loaded.config.encoder.name,
        weights=loaded.weights,
        tokens=model.encoder.groups,
        dim=model.encoder.dim,
        blocks=blocks or read.blocks,
        precision=precision,
        missing=missing(model.encoder),
        settings=loaded.settings,
        run=loaded.run.resolve().name,
        setup=setup(loaded.header),
    )
    inputs = [("points", points.fingerprint)]
    if read.count != read.spec.count:  # part of a block has other features than the whole block
        inputs.append(("points.count", str(read.count)))
    if read.rgb is not None and convention and convention.grey != GREY:
        inputs.append(("points.grey", f"{convention.grey:.6g}"))
    record = Record(
        product=GUIDE.product(guide=name),
        kind=GUIDE.name,
        spec=spec,
        inputs=tuple(sorted(inputs)),
        made_by=(("torch", torch.__version__), *plugins.origin("encoders", loaded.config.encoder.name, ENCODERS), ("device", device.type)),
    )
    return record, _Reader(read, loaded, spec, device)


def _as_recorded(begun: Record, record: Record) -> Record:
    """The record of a guide with what an earlier version recorded of it, which may be less: then no settings are known."""
    there, asked = begun.spec, record.spec
    assert isinstance(there, GuideSpec) and isinstance(asked, GuideSpec)
    # Nothing compares new shards of an unfinished guide with those that are there. So the fingerprint of its training (`setup`) must be the
    # same, if it is known.
    if there.settings or (not begun.complete and there.setup not in ("", asked.setup)):
        return record
    return dataclasses.replace(record, spec=dataclasses.replace(asked, settings=(), run=there.run, setup=there.setup))


def _finished(cache: Cache, record: Record, reader: "_Reader", progress: Callable[[int, int], None]) -> Record:
    """Write the missing or damaged shards of a product, and finish the product. The caller holds the lock. Raises as `write`."""
    shards = cache.manifest.shards
    todo = [shard for shard in range(shards) if not _intact(cache, record, shard)]
    there = cache.records()[record.product]
    if there.complete and not todo and cache.content(there) != there.content:
        # Each shard matches its marker, but a marker may have changed together with its shard.
        todo = list(range(shards))
    progress(shards - len(todo), shards)
    if there.complete and not todo:
        return there
    if there.made_by != record.made_by:
        made_by = ", ".join(f"{key} {value}" for key, value in there.made_by)
        raise UserError(f"{cache.path}: damaged shards of {record.product} can only be made again by what made it: {made_by}")
    ok = cache.ok()

    def make(todo: list[int]) -> None:
        for done, shard in enumerate(todo, 1):
            rows = np.array(cache.manifest.rows(shard))
            values = reader.features(rows, ok[rows])
            reader.blocks.settle()  # never write features of damaged points
            cache.write(record, shard, values)
            progress(shards - len(todo) + done, shards)

    make(todo)
    if there.complete and len(todo) < shards and cache.content(there) != there.content:
        make([shard for shard in range(shards) if shard not in todo])
    if there.complete and cache.content(there) != there.content:
        raise UserError(
            f"{cache.path}: {record.product} was made again and is not what it was when it was finished: the run {reader.run}, the "
            f"points or the machine is another. Delete {cache.folder(f'products/{record.product}')} and run this command again to have "
            "the guide of today"
        )
    return cache.finish(record)


COMPARES: Final = "--guide-run RUN compares it"
"""End of every note on features that were not compared with the run that made them."""
Start = Literal["guide", "random", "run"]
"""Source of a student's first weights, as `trainer.config.DistillConfig.start`."""
ELSE: Final[dict[Start, str]] = {
    "guide": "name the guide's run by --init, or add --set start=run to start from another run than the guide",
    "run": "name the run that made them by --guide-run",
    "random": "name the run that made them by --guide-run",
}
"""What to do if features are not stale but of another run, by what the student starts from."""


def refuse_stale(found: Sequence[tuple[Cache, GuideSpec]], loaded: Loaded, start: Start = "guide") -> list[str]:
    """Refuse features in caches that are not those of a run as it is now, because it was trained again or is another run.

    Weights do not tell how an encoder groups points, and the like, so such settings are compared, too.

    Args:
        found: the caches, each with what it says of its guide.
        loaded: the run.
        start: what the student starts from. If that is the guide, the run was named for it, too.

    Returns:
        Notes on what could not be compared, because an earlier version wrote the features.

    Raises:
        UserError: the features are of other weights or settings; the message has the commands that make them again.
    """
    of_missing = missing(loaded.model.encoder)
    stale = [(cache, spec) for cache, spec in found if _differs(spec, loaded.weights, loaded.settings) or spec.missing != of_missing]
    if stale:
        there = stale[0][1]
        if there.missing != of_missing and there.weights == loaded.weights:
            was, now = f"encoder.missing={there.missing}", f"the same weights, encoder.missing={of_missing}"
        else:
            was, now = _difference(there, loaded.weights, loaded.settings)
        anew = " && ".join(_again(cache, spec, loaded.run) for cache, spec in stale)
        raise UserError(
            f"the guide in the cache ({was}) was not made of {loaded.run} ({now}). If that run was trained again, its features are out of "
            f"date: `{anew}` makes them again. Else {ELSE[start]}"
        )
    own = setup(loaded.header)
    return [
        f"{GUIDE.product(guide=spec.name)} was written by an earlier version, which did not record the settings of its encoder, such as "
        f"group sizes: its weights are those of {loaded.run.resolve().name}, and nothing else could be compared"
        for spec in dict.fromkeys(spec for _, spec in found)
        if not (spec.settings and loaded.settings) and spec.setup != own
    ]


def compare_nearby(found: Sequence[tuple[Cache, GuideSpec]], places: Sequence[Path]) -> list[str]:
    """Compare features in caches, of which nobody named the run, with the run of the recorded name, where one is found.

    Nothing is refused: an equal name does not prove that it is the run that made them.

    Args:
        found: the caches, each with what it says of its guide.
        places: folders in which the run may lie.

    Returns:
        Notes on what could not be compared, or differs from the run of that name.
    """
    notes: dict[str, None] = {}
    for _, spec in found:
        name, product = spec.run or spec.name, GUIDE.product(guide=spec.name)
        runs: dict[Path, tuple[str, Settings]] = {}
        setups: dict[Path, str] = {}
        for run in dict.fromkeys(place / name for place in places):
            with contextlib.suppress(UserError, OSError):  # no run of ours, a damaged one, or one that nobody else may read
                now, setups[run] = (saved.weights(run), saved.settings(run)), setup(header(run))
                runs[run] = now
        same = [run for run, now in runs.items() if not _differs(spec, *now)]
        if any(spec.settings or spec.setup == setups[run] for run in same):
            continue
        if runs and spec.run and not same:
            there, here = _difference(spec, *next(iter(runs.values())))
            text = (
                f"{product} in the cache was made by a run called {name} ({there}). The run of that name nearby differs ({here}), so it "
                "may be another, or the features may be out of date"
            )
        else:
            made = f"the run called {name}, which is not near" if spec.run else "its run, whose name an earlier version did not record"
            why = "; only the weights were, of a run of its own name" if same else ""
            text = f"{product} in the cache was not compared with {made}{why}"
        notes[f"{text}: {COMPARES}"] = None
    return list(notes)


def past_nearby(found: Sequence[tuple[Cache, GuideSpec]], places: Sequence[Path]) -> Past | None:
    """What the guides of features in caches have learned from, all together; None if no run that made them is found. Where one of several
    guides is not found, `Past.unknown` says so.

    Args:
        found: the caches, each with what it says of its guide.
        places: folders in which the run may lie.
    """
    pasts: list[Past] = []
    lacking = False
    for spec in dict.fromkeys(spec for _, spec in found):
        hits = []
        for run in dict.fromkeys(place / (spec.run or spec.name) for place in places):
            with contextlib.suppress(UserError, OSError):  # as in `compare_nearby`
                if not _differs(spec, saved.weights(run), saved.settings(run)):
                    hits.append(learned_from(recalled(header(run), [run.resolve().parent])))
        pasts += hits
        lacking |= not hits
    if not pasts:
        return None
    unknown = (*(one for past in pasts for one in past.unknown), *((OF_GUIDE,) if lacking else ()))
    return Past(caches=tuple(dict.fromkeys(used for past in pasts for used in past.caches)), unknown=tuple(dict.fromkeys(unknown)))


def _differs(spec: GuideSpec, weights: str, settings: Settings) -> bool:
    """Whether features are not those of a run with these weights and settings. Settings that are not known are not compared."""
    return spec.weights != weights or bool(spec.settings and settings and spec.settings != settings)


def _difference(spec: GuideSpec, weights: str, settings: Settings) -> tuple[str, str]:
    """How a guide in a cache differs from a run with these weights and settings: what it has, and what the run has."""
    if spec.weights != weights:
        return f"weights {spec.weights[:12]}", f"weights {weights[:12]}"
    there, now = dict(spec.settings), dict(settings)
    names = sorted(name for name in {*there, *now} if there.get(name) != now.get(name))
    was, asked = (", ".join(f"{name}={each.get(name, 'unknown')}" for name in names) for each in (there, now))
    return was, f"the same weights, {asked}"


def _again(cache: Cache, spec: GuideSpec, run: Path) -> str:
    """The commands that make the features of a guide anew, of as many blocks and in the same arithmetic as they are now."""
    remove = shlex.join(["mmpd-cache", "remove", str(cache.path), GUIDE.product(guide=spec.name)])
    points = cache.record(POINTS.name).spec
    more = ["--blocks", str(spec.blocks)] if isinstance(points, PointSpec) and spec.blocks < points.blocks else []
    more += ["--precision", spec.precision] if spec.precision != "float32" else []
    return f"{remove} && {shlex.join(['mmpd-train', 'guide', str(cache.path), str(run), '--name', spec.name, *more])}"


def spread(cache: Cache, name: str) -> tuple[float | None, float | None]:
    """How different a guide's features are, measured on the first block of the first shapes.

    Returns:
        Mean cosine distance between the summaries of two shapes, and between two tokens of any shapes. If a value is near 0, the guide's
        features are almost equal for all shapes (collapse). None if there are no two.
    """
    rows = np.flatnonzero(cache.ok())[:SAMPLE]
    product = GUIDE.product(guide=name)
    summary, tokens = (cache.rows(f"{product}/{kind}") for kind in ("summary", "tokens"))
    return _apart(summary.gather(rows, 0 * rows)), _apart(tokens.gather(rows, 0 * rows).reshape(-1, tokens.shape[-1]))


def _apart(features: NDArray[np.float16]) -> float | None:
    """Mean of 1 - cosine over all pairs of features [n, D]; None if there is no pair, 0 if all of several are zeros."""
    if len(features) < 2:
        return None
    values = features.astype(np.float64)
    values = values[values.any(-1)]  # tokens of groups that are missing are zeros
    unit = values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
    count = len(unit)
    return float(((unit - unit.mean(0)) ** 2).sum() / (count - 1)) if count > 1 else 0.0


def _intact(cache: Cache, record: Record, shard: int) -> bool:
    """Whether a shard exists and matches the checksum in its completion marker. False if the marker is missing or damaged."""
    try:
        sums = cache.checksums(record, shard)
    except UserError:
        return False
    files = [cache.file(node.key(shard)) for node in cache.arrays(record)]
    return all(f.exists() and hashlib.sha256(f.read_bytes()).digest() == s.tobytes() for f, s in zip(files, sums, strict=True))


class _Reader:
    """Runs the guide on the blocks of a cache."""

    def __init__(self, blocks: Blocks, loaded: Loaded, spec: GuideSpec, device: torch.device) -> None:
        self.blocks, self.run, self.model, self.spec, self.device = blocks, loaded.run, loaded.model, spec, device

    def features(self, rows: NDArray[np.int64], ok: NDArray[np.bool_]) -> dict[str, NDArray[np.float16]]:
        """Tokens [n, R, G, D] and summaries [n, R, D] of some rows, by array name; zeros for shapes whose building failed."""
        spec = self.spec
        tokens = np.zeros((len(rows), spec.blocks, spec.tokens, spec.dim), np.float16)
        summary = np.zeros((len(rows), spec.blocks, spec.dim), np.float16)
        place, block = np.nonzero(np.repeat(ok[:, None], spec.blocks, 1))
        for start in range(0, len(place), BATCH):
            i, j = place[start : start + BATCH], block[start : start + BATCH]
            points = self.blocks.read(rows[i], j).to(self.device)
            with self._threads(), torch.autocast(self.device.type, torch.bfloat16, enabled=spec.precision == "bfloat16"):
                found = self.model.features(points, self.blocks.ordered)
            assert found.summary is not None
            tokens[i, j], summary[i, j] = found.tokens.half().cpu().numpy(), found.summary.half().cpu().numpy()
        if not np.isfinite(tokens).all() or not np.isfinite(summary).all():
            raise UserError(f"{self.run} computes NaN or infinite features: its training diverged; take another run")
        product = GUIDE.product(guide=spec.name)
        return {f"{product}/tokens": tokens, f"{product}/summary": summary}

    def _threads(self) -> contextlib.AbstractContextManager[object]:
        """One thread for a small encoder on a CPU, as it was trained: several threads sum in another order, and a student would learn from
        features that differ in their last bits."""
        if self.device.type != "cpu":
            return contextlib.nullcontext()
        return machine.suited(sum(one.numel() for one in self.model.parameters()), BATCH)
