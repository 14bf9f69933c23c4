"""Classifiers of published models: their layers, the features that they read, the names of their classes.

    found = read(PEERS["point-mae"], encoder, {"0.weight": ..., "8.bias": ...})      # a Head, or in words why it is not understood
    names = class_names("modelnet40", 40)

Letters: D width of the encoder's tokens, F features, K classes.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from cache_schema.class_lists import CLASS_LISTS, names
from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean, from_json, to_json
from trainer.checkpoint import assign
from trainer.classifiers import About, Published, layered
from trainer.encoders.protocol import Encoder, EncoderSettings
from trainer.published.peers import PEERS, Peer, Reads
from trainer.tasks.features import Readout

DROPOUT: Final = 0.5
"""Dropout rate of the published heads. It changes no result."""
COUNT: Final = "num_batches_tracked"
"""Ending of the names of batch norms' step counts, which converted files lack."""
TWICE: Final = ("mean_max", "mean_later_max")
"""Forms of features that are 2 D wide; the others of published heads are D wide."""
LONGEST: Final = 10_000
"""Largest number of classes that a file of names may have."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """A published classifier."""

    layers: nn.Sequential
    """The head with its weights, in evaluation mode."""
    pool: Readout
    """How tokens become its features."""
    settings: EncoderSettings
    """Configuration of the encoder that gives these tokens. The weights are those of the run's encoder."""

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        return last.out_features


def read(peer: Peer, encoder: Encoder, tensors: Mapping[str, Tensor]) -> Head | str:
    """The classifier of a published file; or in words why it is not understood.

    Args:
        peer: the architecture.
        encoder: the imported encoder.
        tensors: tensors of the head, under their names without the prefix `Peer.head`.
    """
    try:
        layers = _layers(tensors)
    except ValueError as error:
        return f"its layers are not those of the published classifier ({error})"
    first = layers[0]
    assert isinstance(first, nn.Linear)
    widths = []
    for reads in peer.reads:
        made = _as_read(encoder, reads)
        if isinstance(made, str):
            return made
        width = made.dim * (2 if reads.pool in TWICE else 1)
        if width == first.in_features:
            return Head(layers=layers, pool=reads.pool, settings=made.config)
        widths.append(str(width))
    return f"it reads {first.in_features} features, the published classifier {' or '.join(widths)}"


def _layers(tensors: Mapping[str, Tensor]) -> nn.Sequential:
    """The layers of a head with their weights.

    Raises:
        UserError: they are not those of `layered`.
        ValueError: the name of a tensor does not begin with a number.
    """
    linear = {int(name.partition(".")[0]): value for name, value in tensors.items() if name.endswith(".weight") and value.ndim == 2}
    order = [linear[place] for place in sorted(linear)]
    if not order:
        raise UserError("it has no linear layer")
    normed = len(order) == 1 or "1.weight" in tensors
    hidden = [len(value) for value in order[:-1]]
    made = layered(order[0].shape[1], hidden, len(order[-1]), DROPOUT, normed=normed)
    counts = {name: value for name, value in made.state_dict().items() if name.endswith(COUNT)}  # 0
    assign(made, counts | dict(tensors), "the head")
    return made.eval()


def _as_read(encoder: Encoder, reads: Reads) -> Encoder | str:
    """An encoder with the settings that a classifier needs, of new weights; or in words why the imported weights do not fit it."""
    settings = from_json(type(encoder.config), {**to_json(encoder.config, whole=True), **reads.settings})
    if settings == encoder.config:
        return encoder
    with torch.random.fork_rng([]):  # only its sizes are of interest
        made: Encoder = type(encoder)(settings)  # type: ignore[call-arg]
    assert isinstance(made, nn.Module) and isinstance(encoder, nn.Module)
    lacking = sorted(set(made.state_dict()) - set(encoder.state_dict()))
    return f"the file has no {lacking[0]}, which the published classifier needs" if lacking else made


# --------------------------------------------------------------------------------------------------------------- the classes


def class_names(asked: str, count: int) -> tuple[tuple[str, ...], str]:
    """The names of a published classifier's classes.

    Args:
        asked: a name of `cache_schema.class_lists.CLASS_LISTS`, or the path of a text file with one name on each line, in the order of the
            label numbers; empty if the names are not known.
        count: number of classes, K.

    Returns:
        The names, and the name of their list: without `asked`, the numbers of the classes and an empty name.

    Raises:
        UserError: there is no such list or file, it is no text, a name repeats, or it has another number of names.
    """
    if not asked:
        return tuple(map(str, range(count))), ""
    found = names(asked) if asked in CLASS_LISTS else _from_file(Path(asked))
    if len(found) != count:
        raise UserError(f"--classes {asked} has {len(found)} names, but the classifier of the file has {count} classes")
    return found, asked if asked in CLASS_LISTS else Path(asked).name


def _from_file(file: Path) -> tuple[str, ...]:
    """The lines of a text file. Raises as `class_names`."""
    if not file.is_file():
        raise UserError(f"--classes {file} is neither a file nor a list{did_you_mean(str(file), CLASS_LISTS)}")
    try:
        lines = file.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"--classes {file} is no text in UTF-8: it must have one class name on each line") from None
    found = [line.strip() for line in lines]
    while found and not found[-1]:
        found.pop()
    if not all(found) or len(found) > LONGEST:
        where = [*found, ""].index("") + 1
        raise UserError(f"--classes {file} must have one class name on each line, at most {LONGEST} in all; line {where} has none")
    if twice := next((name for i, name in enumerate(found) if name in found[:i]), None):
        raise UserError(f"--classes {file} has the name {twice!r} twice")
    return tuple(found)


# ------------------------------------------------------------------------------------------------- the published fine-tuning


def unlike(about: About, settings: EncoderSettings) -> tuple[str, ...]:
    """Notes on how a run reads shapes otherwise than the published fine-tuning did for the same list of classes.

    Args:
        about: the published classifier.
        settings: configuration of its encoder.
    """
    assert isinstance(about.origin, Published)
    peer = PEERS[about.origin.source.architecture] if about.origin.source.architecture in PEERS else None
    notes = [peer.told] if peer and peer.told else []
    wanted = peer.tuned.get(about.origin.class_list, {}) if peer else {}
    here = {f"encoder.{field.name}": getattr(settings, field.name) for field in dataclasses.fields(settings)}
    here |= {f"points.{name}": value for name, value in vars(about.points).items()} if about.points else {}
    other = {name: value for name, value in wanted.items() if name in here and here[name] != value}
    if other:
        told = ", ".join(f"{name}={_said(value)} (here {_said(here[name])})" for name, value in other.items())
        notes.append(f"published models for {about.origin.class_list} were fine-tuned with {told}: import again with --set to read it so")
    return tuple(notes)


def _said(value: object) -> str:
    """A value in the form that `--set` takes."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
