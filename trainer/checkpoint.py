"""Save and load the checkpoint of a run. One safetensors file holds everything: weights, state of the optimiser, and in its header, as
JSON, the full configuration, the number of finished steps, and the data. Nothing is ever unpickled.

    loaded = load(Path("runs/align"))                   # Loaded: model in evaluation mode, config, step, caches, weights
    loaded.model.features(points, ordered=True)
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from cache_schema import products
from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.spec import GuideSpec, PointSpec, added, fingerprint, from_json, label, to_json
from cache_schema.store import Cache, open_cache
from cache_schema.terminal import counted, some
from trainer.batch import Used
from trainer.bounded import bounded, refuse_huge
from trainer.config import AlignConfig, DistillConfig
from trainer.encoders import catalog
from trainer.encoders.protocol import EncoderSettings
from trainer.options import LOSS
from trainer.points import Convention
from trainer.saved import AVERAGE as AVERAGE
from trainer.saved import FEATURES, Settings, check_kind, damaged, other_form, told
from trainer.saved import LAST as LAST
from trainer.saved import METADATA as METADATA
from trainer.saved import OPTIMIZER as OPTIMIZER
from trainer.saved import SHARED as SHARED
from trainer.saved import WEIGHTS as WEIGHTS
from trainer.saved import path as path
from trainer.saved import settings as settings
from trainer.saved import weights as weights
from trainer.software import Software
from trainer.stage import Facts, Stage, build

FORMAT: Final = 1
"""Version of the file's form. A reader refuses any other."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The published checkpoint that a run was imported from."""

    file: str = label()
    """Name of the file, without its folder."""
    sha256: str
    architecture: str
    """A name of `trainer.published.peers.PEERS`."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a model that was not taken from the run that another one started from."""

    name: str
    """The beginning of the names of its tensors."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Init:
    """What a run took from another one before its first step; see `trainer.start`."""

    run: str = label()
    """Name of the folder of the other run."""
    stage: Literal["align", "distill"]
    weights: str
    """Digest of the other run's weights, as `Loaded.weights`."""
    setup: str
    """Fingerprint of how the other run was made, as `setup`."""
    step: int
    """Number of steps that the other run had made."""
    taken: tuple[str, ...]
    """Parts whose weights were taken."""
    new: tuple[Part, ...]
    """Parts of this run with new weights."""
    unused: tuple[Part, ...]
    """Parts of the other run that were not used."""
    notes: tuple[str, ...] = ()
    caches: tuple[Used, ...] = ()
    """The caches that the weights had learned from before."""
    unknown: tuple[str, ...] | None = added(None, identity=False)
    """Data that the weights had learned from before and of which nothing is recorded, in words, such as `unknown data (imported from
    pretrain.pth)`. None in files of earlier versions, which do not store it."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """What weights have learned from."""

    caches: tuple[Used, ...] = ()
    unknown: tuple[str, ...] = label(())
    """Data of which nothing is recorded, in words, such as `unknown data (imported from pretrain.pth)`."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The contents of a checkpoint in addition to its tensors."""

    format: int = FORMAT
    config: AlignConfig | DistillConfig
    facts: Facts
    caches: tuple[Used, ...]
    step: int
    """Steps made so far."""
    steps: int
    """Steps of the whole run."""
    guide: str = ""
    """Digest of the guide's weights in stage 2; empty without a guide."""
    guide_setup: str = ""
    """Result of `guide_setup` for the guide in stage 2; empty without a guide, or if its training is unknown."""
    guide_past: Past | None = added(None)
    """What the guide has learned from, if a loss uses its features. None where there is no guide, where `init` tells the same, because the
    student starts from its guide, where it is not known, and in files of earlier versions."""
    first: tuple[float, ...] = ()
    """Losses of the first steps. A continued run compares them with `recent` to detect divergence."""
    recent: tuple[float, ...] = ()
    """Losses of the latest steps."""
    watched: str = added(LOSS)
    """Name of the loss that `first` and `recent` are."""
    source: Source | None = None
    """Where the weights come from, if the run was imported and not trained."""
    points: Convention | None = None
    """The kind of points that the run was trained on; None in files of earlier versions, which do not store it (see `trained_on`)."""
    init: Init | None = None
    """What was taken from another run at the start; None for nothing, and in files of earlier versions, which do not store it."""
    precision: Literal["", "float32", "bfloat16"] = ""
    """Arithmetic of the forward passes of training, "float32" or "bfloat16"; empty if nothing was trained, and in files of earlier
    versions."""
    made_by: Software = added(())
    """The software that made the last steps; empty in files of earlier versions, which do not store it."""
    notes: tuple[str, ...] = added(())
    """What a reader of this run's results should know: what of a guide was not compared, and which steps other software made."""

    @property
    def unfinished(self) -> str:
        """How far the run came, in words; empty if it came to its end."""
        return f"the run had made {self.step} of {counted(self.steps, 'step')}" if self.step < self.steps else ""

    @property
    def origin(self) -> str:
        """The run whose weights this one started from, in words; empty for none, and for a student of its guide."""
        init = self.init
        if init is None or init.weights == self.guide:
            return ""
        frozen = {0: "", -1: ", with a frozen encoder"}.get(self.config.optim.freeze, f", with {self.config.optim.freeze} frozen blocks")
        return f"started from the run {init.run} ({init.stage}, weights {init.weights[:12]}){frozen}"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A trained model and where it comes from."""

    run: Path
    header: Header
    model: Stage
    """The model on the CPU, in evaluation mode. Its weights are the average over steps if the run keeps one."""
    weights: str
    """sha256 over the parameters and buffers that produce its features."""
    settings: Settings = ()
    """The settings that change its features and that no weight tells (`trainer.saved.settings`); empty if they are not known."""

    @property
    def config(self) -> AlignConfig | DistillConfig:
        return self.header.config

    @property
    def step(self) -> int:
        return self.header.step


def save(
    run: Path,
    header: Header,
    model: Stage,
    optimizer: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the newest checkpoint of a run. An interrupted write leaves the one before.

    Args:
        run: the folder of the run.
        header: what the checkpoint says beside its tensors.
        model: the stage.
        optimizer: state of the optimiser by name.
        average: the averaged state of the model by name; empty for none.
        weights: the state of the model by name, if this process has only a part of it; None for what the model itself has.
    """
    tensors = {WEIGHTS + name: value for name, value in (model.state_dict() if weights is None else weights).items()}
    tensors |= {AVERAGE + name: value for name, value in average.items()} | {OPTIMIZER + name: value for name, value in optimizer.items()}
    write_file(run / LAST, contents(header, model.encoder.config, tensors))


def contents(header: Header, encoder: EncoderSettings, tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a checkpoint's file.

    Args:
        header: what the checkpoint says beside its tensors.
        encoder: the encoder's own configuration.
        tensors: all tensors by name, with `WEIGHTS`, `AVERAGE` or `OPTIMIZER` before it.
    """
    body = {"header": to_json(header), "encoder": to_json(encoder), "torch": torch.__version__}
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return safetensors.torch.save(whole, {METADATA: json.dumps(body, sort_keys=True), "format": "pt"})


def load(run: Path) -> Loaded:
    """The model of a run.

    Raises:
        UserError: there is no checkpoint, or it is damaged, pickled, or of another version; the message says which.
    """
    header, encoder, tensors = read(run)
    try:
        refuse_huge(to_json(encoder))
        with bounded(named(tensors, AVERAGE) or named(tensors, WEIGHTS)):
            model = build(header.config, header.facts, encoder=encoder)
    except UserError as error:
        raise UserError(f"{path(run)} is damaged, or was written by another version of mmpd: {error}") from error
    assign(model, named(tensors, AVERAGE) or named(tensors, WEIGHTS), str(path(run)))
    model.convention = trained_on(header)
    return Loaded(run=run, header=header, model=model.eval(), weights=digest(model.state_dict()), settings=settings(run))


def header(run: Path) -> Header:
    """The header of a checkpoint, without its tensors. Raises as `load`."""
    with _opened(run, path(run)) as opened:
        return _told(path(run), opened.metadata() or {})[0]


def read(run: Path) -> tuple[Header, EncoderSettings, dict[str, Tensor]]:
    """The header, the encoder's own configuration and all tensors of a checkpoint. Raises as `load`."""
    file = path(run)
    with _opened(run, file) as opened:
        found, encoder = _told(file, opened.metadata() or {})
        return found, encoder, {name: opened.get_tensor(name) for name in opened.keys()}


def _told(file: Path, metadata: Mapping[str, str]) -> tuple[Header, EncoderSettings]:
    """The header and the encoder's own configuration, from the metadata of a checkpoint. Raises as `load`."""
    body = told(file, metadata)
    version = body["header"].get("format")
    if version != FORMAT:
        raise UserError(f"{file} has format {version}, this software reads {FORMAT}; use the version of mmpd that wrote it")
    # Runs imported by an earlier version say in what their features differ from the published ones, by now in nothing.
    if differs := (body["header"].get("source") or {}).pop("differs", ""):
        raise UserError(f"{file} was imported by an earlier version of mmpd, inexactly ({differs}): import it again")
    try:
        kind = {"align": AlignConfig, "distill": DistillConfig}[body["header"]["config"]["stage"]]
        config = from_json(kind, body["header"]["config"])
        found = from_json(Header, body["header"])
        encoder = from_json(type(catalog.config(config.encoder.name)), body["encoder"])
    except (KeyError, TypeError) as error:
        raise other_form(file, error) from error
    except ValueError as error:
        also = "or its encoder is of a package that is not installed here"
        raise UserError(f"{file}: {error}. It was written by another version of mmpd, {also}") from error
    return found, encoder


def named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names have a prefix, under their names without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@contextmanager
def _opened(run: Path, file: Path) -> Iterator[Any]:
    """Open a checkpoint's file for reading. Raises as `load`."""
    check_kind(run, file)
    try:
        with safetensors.safe_open(file, "pt") as opened:
            yield opened
    except safetensors.SafetensorError as error:
        raise damaged(file, error) from error


def assign(model: torch.nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Give a module its weights.

    Raises:
        UserError: names or shapes differ; the message shows how.
    """
    own = model.state_dict()
    shapes = [
        f"{name} is {list(tensors[name].shape)}, expected {list(value.shape)}"
        for name, value in own.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    missing = [f"{name} is missing" for name in own if name not in tensors]
    extra = [f"{name} is not expected" for name in tensors if name not in own]
    wrong = shapes + missing + extra
    if wrong:
        raise UserError(f"the weights in {source} are those of another model: {some(wrong, 4, '; ')}")
    model.load_state_dict(dict(tensors))


def digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over the part of a model's state that produces features: names, types, shapes and bytes. Heads and decoders do not enter."""
    out = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        if name.startswith(FEATURES):
            out.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
            out.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return out.hexdigest()


def trained_on(header: Header, caches: Sequence[Cache] = ()) -> Convention | None:
    """The points that a run was trained on; None if that is unknown.

    If the run's file does not say, a cache with points of the same fingerprint does. It is looked for among `caches`, and then where the
    caches were that the run was trained on.
    """
    if header.points:
        return header.points
    wanted = {fingerprint for used in header.caches for name, fingerprint in used.products if name == products.POINTS.name}
    if len(wanted) != 1:
        return None
    for cache in (*caches, *_still_there(header.caches)):
        record = cache.products().get(products.POINTS.name)
        if record and record.fingerprint in wanted:
            spec = record.spec
            assert isinstance(spec, PointSpec)
            return Convention(count=spec.count, normalize=spec.normalize, ordered=spec.ordered, dtype=spec.dtype)
    return None


def _still_there(caches: Sequence[Used]) -> Iterator[Cache]:
    for used in caches:
        with suppress(UserError, OSError):  # moved, or gone: then nothing is known
            yield open_cache(used.path)


OF_GUIDE: Final = "unknown data (of its guide)"
"""What a result says of the data of a guide if no checkpoint tells what the guide has learned from."""


def recalled(found: Header, places: Sequence[Path]) -> Header:
    """The header of a run with what its weights had learned from before, if an earlier version did not record it and the run that it
    started from still lies in one of some folders, with the weights of then. Otherwise the header as it is."""
    return _recalled(found, places, ())


def _recalled(found: Header, places: Sequence[Path], passed: tuple[tuple[str, str], ...]) -> Header:
    init = found.init
    if init is None or init.unknown is not None or (init.run, init.weights) in passed:
        return found
    for run in dict.fromkeys(place / init.run for place in places):
        with suppress(UserError, OSError):  # no run of ours, a damaged one, or one that nobody else may read
            if weights(run) == init.weights:
                past = learned_from(_recalled(header(run), places, (*passed, (init.run, init.weights))))
                caches = tuple(dict.fromkeys((*init.caches, *past.caches)))
                return dataclasses.replace(found, init=dataclasses.replace(init, caches=caches, unknown=past.unknown))
    return found


def before(header: Header) -> Past:
    """What the weights of a run had learned from when it began, and what its guide has learned from."""
    caches: list[Used] = []
    unknown = [f"unknown data (imported from {header.source.file})"] if header.source else []
    init, config = header.init, header.config
    if init is not None:
        caches += init.caches
        if init.unknown is not None:
            unknown += init.unknown
        else:
            unknown.append(f"unknown data (before {init.run}{', if there was any' if init.caches else ''})")
    guided = isinstance(config, DistillConfig) and config.needs_guide and header.step > 0
    if guided and not (init is not None and init.weights == header.guide):
        past = header.guide_past
        caches += past.caches if past else ()
        unknown += past.unknown if past else [OF_GUIDE]
    return Past(caches=tuple(dict.fromkeys(caches)), unknown=tuple(dict.fromkeys(unknown)))


def learned_from(header: Header) -> Past:
    """What the weights of a run have learned from: in its own training, before it, and through its guide."""
    past = before(header)
    own = header.caches if header.step else ()
    return Past(caches=tuple(dict.fromkeys((*own, *past.caches))), unknown=past.unknown)


def setup(header: Header, *, seeds: bool = False) -> str:
    """Fingerprint of everything that makes an experiment: configuration, data, and the guide with what it was trained on.

    Args:
        header: the header of its run.
        seeds: whether the seeds enter, its own and its guide's. Without them, repetitions of one experiment have the same fingerprint.
    """
    config = header.config if seeds else dataclasses.replace(header.config, seed=0)
    config = dataclasses.replace(config, precision=header.precision or config.precision)  # `auto` is not the same on every machine
    if isinstance(config, DistillConfig):
        config = dataclasses.replace(config, guide="")  # a name in the cache
    known = "" if seeds else header.guide_setup
    guide = products.GUIDE.parts_of()[0]
    made = [
        [(f"{guide}/", known or p) if name.partition("/")[0] == guide else (name, p) for name, p in used.products]  # whatever it is called
        for used in header.caches
    ]
    more: list[object] = [header.source] if header.source else []
    if header.init and header.init.weights != header.guide:  # the guide is in it already
        more.append((header.init.weights if seeds else header.init.setup, header.init.taken))
    return fingerprint((config, known or header.guide, made, *more))


def guide_setup(guide: Loaded | None, cached: GuideSpec | None) -> str:
    """Fingerprint of how a student's guide was made, without seeds; empty if that is unknown.

    Args:
        guide: the guide's run, if that is read.
        cached: the guide's features in the cache, if those are read.
    """
    run = setup(guide.header) if guide else cached.setup if cached else ""
    # The settings are a part of `run`, and are not recorded in older caches.
    return fingerprint((run, dataclasses.replace(cached, weights="", settings=()) if cached else None)) if run else ""


def same_products(saved: Sequence[Used], caches: Sequence[Cache], run: Path) -> None:
    """Check by their records that caches have what a run was trained on, before their data is opened. Raises as `same_caches`."""
    now = []
    for there, cache in zip(saved, caches, strict=False):
        names = {name for name, _ in there.products}
        known = ((name, record.fingerprint) for name, record in cache.products().items() if name in names)
        now.append(Used(path=cache.address, products=tuple(sorted(known))))
    same_caches(saved, now if len(saved) == len(caches) else [Used(path=cache.address, products=()) for cache in caches], run)


def same_caches(saved: Sequence[Used], now: Sequence[Used], run: Path) -> None:
    """Check that a run goes on with the data it was begun with.

    Raises:
        UserError: a cache was added or left out, or has changed.
    """
    if len(saved) != len(now):
        raise UserError(f"{run} was trained on {len(saved)} caches, now there are {len(now)}: name the same")
    for there, here in zip(saved, now, strict=True):
        changed = [product for product, _ in sorted(set(there.products) ^ set(here.products))]
        if changed:
            raise UserError(
                f"{here.path} is not what {run} was trained on ({there.path}): {', '.join(dict.fromkeys(changed))} differ or are missing"
            )
        if there.rows and here.rows and there.rows != here.rows:
            then, today = (used.rows.partition(" ")[0] for used in (there, here))
            raise UserError(
                f"{here.path} has other usable shapes than when {run} was begun ({then} selected then, {today} now; `retry` mends "
                "failed ones), so the run would go on with other batches: begin a new run, or go on with a copy of the cache of then"
            )
