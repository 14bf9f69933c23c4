"""The encoders by name.

    encoder = build("pointmae-tiny", channels=6)
    patches = encoder.patchify(points, ordered=True)
    tokens = encoder(patches, visible=None).tokens

To add an encoder, add a module to this package that follows `trainer.encoders.protocol.Family`, and a line to `ENCODERS`. Heads, decoders
of features, losses and shuffling are not part of encoders. If an encoder has `sites`, the methods of `trainer.tuning` that fit these sites
can tune it.
"""

import dataclasses
from typing import Any, Final, cast

import torch

from cache_schema import plugins
from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean
from trainer.encoders.protocol import Encoder, EncoderSettings, Family

ENCODERS: Final = {
    "pointmae-s": "trainer.encoders.pointmae",
    "pointmae-b": "trainer.encoders.pointmae",
    "pointmae-l": "trainer.encoders.pointmae",
    "pointmae-tiny": "trainer.encoders.pointmae",
    "pointbert-s": "trainer.encoders.pointbert",
    "pointbert-b": "trainer.encoders.pointbert",
    "pointbert-l": "trainer.encoders.pointbert",
    "pointbert-tiny": "trainer.encoders.pointbert",
    "recon-s": "trainer.encoders.recon",
    "recon-b": "trainer.encoders.recon",
    "recon-l": "trainer.encoders.recon",
    "recon-tiny": "trainer.encoders.recon",
    "pointm2ae-s": "trainer.encoders.pointm2ae",
    "pointm2ae-b": "trainer.encoders.pointm2ae",
    "pointm2ae-l": "trainer.encoders.pointm2ae",
    "pointm2ae-tiny": "trainer.encoders.pointm2ae",
    "pointmamba-s": "trainer.encoders.pointmamba",
    "pointmamba-b": "trainer.encoders.pointmamba",
    "pointmamba-l": "trainer.encoders.pointmamba",
    "pointmamba-tiny": "trainer.encoders.pointmamba",
}
"""Modules by the name of the encoder, family and size. A module has the configuration in `CONFIGS[name]`; its function `build` takes it."""


def names() -> list[str]:
    """The names of all encoders, ours and those of other packages."""
    return list(plugins.names("encoders", ENCODERS))


def family(name: str) -> Family:
    """The module of the encoder called `name`, ours or of another package (`cache_schema.plugins`).

    Raises:
        UserError: there is no such encoder, and the message names a similar one; or that of another package cannot be imported.
    """
    module = plugins.module("encoders", name, ENCODERS)
    if name not in getattr(module, "CONFIGS", {}):
        raise UserError(f"encoder {name!r}: {module.__name__} has no CONFIGS[{name!r}]")
    return cast(Family, module)


def config(name: str, **overrides: Any) -> EncoderSettings:
    """The configuration called `name` with some fields changed.

    Raises:
        UserError: the encoder or a field is unknown, or a value is invalid.
    """
    known = family(name).CONFIGS[name]
    fields = [f.name for f in dataclasses.fields(known)]
    for field in overrides:
        if field not in fields:
            raise UserError(f"encoder {name} has no setting {field!r}{did_you_mean(field, fields)}")
    return dataclasses.replace(known, **overrides)


def build(name: str, **overrides: Any) -> Encoder:
    """A new encoder of the configuration called `name`, with some fields changed. Its weights come from torch's global generator. Raises as
    `config`.
    """
    return family(name).build(config(name, **overrides))


def parameters(name: str) -> int:
    """Number of parameters of the encoder called `name`. No memory is taken for them. Raises as `config`."""
    with torch.device("meta"):
        encoder = build(name)
    assert isinstance(encoder, torch.nn.Module)
    return sum(parameter.numel() for parameter in encoder.parameters())


def regrouped(encoder: Encoder, groups: int | None = None, group_size: int | None = None) -> Encoder:
    """A copy of an encoder that groups points otherwise, for shapes of another size. No weight depends on the groups.

    Args:
        encoder: the encoder. It stays as it is.
        groups: number of tokens, G; None for as many as it has. An encoder with several levels gets proportionally more groups on each.
        group_size: number of points of a group of the coarsest level, K; None for as many as it has. Groups of finer levels get
            proportionally more.

    Raises:
        UserError: a level would not have a whole number of groups, or of members of a group.
    """
    settings = vars(encoder.config)
    changed: dict[str, Any] = {}
    for name, asked, now, levels, what in (
        ("groups", groups, encoder.groups, "counts", "groups"),
        ("group_size", group_size, encoder.group_size, "sizes", "members a group"),
    ):
        if asked is not None and name in settings:
            changed[name] = asked
        elif asked is not None:
            there = settings[levels]
            if any(number * asked % now for number in there):
                raise UserError(f"{name}={asked}: the levels of this encoder have {there} {what}; take a multiple of {now}")
            changed[levels] = tuple(number * asked // now for number in there)
    return _rebuilt(encoder, changed)[0]


def refitted(encoder: Encoder, *, class_token: bool = False, drop_path: float | None = None) -> Encoder:
    """A copy of an encoder with what fine-tuning adds. Weights of a new class token come from torch's global generator.

    Args:
        encoder: the encoder. It stays as it is.
        class_token: whether it gets a class token, whose output is joined to every token. All other weights stay.
        drop_path: rate of drop path at its last block, in [0, 1); None for the one that it has.

    Raises:
        UserError: an encoder of its kind has no class token, it has one already, or it has no drop path.
    """
    changed: dict[str, Any] = {}
    kind = type(encoder).__name__
    if class_token:
        own = vars(encoder.config).get("class_token")
        if own is None:
            raise UserError(f"{kind} has no class token, in its authors' fine-tuning either: leave class_token out")
        if own != "none":
            raise UserError(f"this encoder has a class token already (encoder.class_token={own}): leave class_token out")
        changed["class_token"] = "joined"
    if drop_path is not None:
        if "drop_path" not in vars(encoder.config):
            raise UserError(f"{kind} has no drop path: leave drop_path out")
        changed["drop_path"] = drop_path
    made, new = _rebuilt(encoder, changed)
    for parameter in new:
        torch.nn.init.trunc_normal_(parameter, std=0.02)
    return made


def _rebuilt(encoder: Encoder, changed: dict[str, Any]) -> tuple[Encoder, list[torch.nn.Parameter]]:
    """A copy of an encoder with other settings, and those of its parameters that the encoder does not have."""
    assert isinstance(encoder, torch.nn.Module)
    with torch.random.fork_rng([]):  # the new weights are replaced, so they must not change what is drawn next
        made = type(encoder)(dataclasses.replace(encoder.config, **changed))
    lacking, unknown = made.load_state_dict(encoder.state_dict(), strict=False)
    assert not unknown
    made = made.to(next(encoder.parameters()).device).train(encoder.training)
    return cast(Encoder, made), [made.get_parameter(name) for name in lacking]


def check_grouping(encoder: Encoder, count: int, more: str) -> None:
    """Check before a run that an encoder can group shapes of `count` points.

    Args:
        encoder: the encoder, on the CPU.
        count: number of points of a shape.
        more: advice for the message, as an alternative to smaller groups.

    Raises:
        UserError: the encoder's groups need more points.
    """
    try:
        encoder.patchify(torch.zeros(1, count, encoder.config.channels), ordered=True)
    except UserError as error:
        fields = [f.name for f in dataclasses.fields(encoder.config)]
        sizes = [f"encoder.{name}" for name in ("groups", "group_size", "counts", "sizes") if name in fields]
        raise UserError(f"{error}. Lower {' or '.join(sizes)}, or {more}") from error
