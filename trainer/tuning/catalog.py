"""Parameter-efficient tuning by name: small new parts in the blocks of a frozen encoder.

    adapted = adapt(encoder, "lora", Efficient(lora_rank=4))      # takes the encoder's place, and begins with the same features

A new method is a module beside this one, and its name in `Mode`, in `METHODS` and among the bases of `Efficient`. The module has what
`Method` says. No field of its `Options` may have the name of another method's. A method works on the sites that an encoder offers
(`trainer.encoders.protocol.Site`) and knows no encoder.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, get_args

from torch import nn

from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from trainer.encoders.protocol import Encoder, Site, Tunable
from trainer.tuning import adapter, lora, pointgst, prompt
from trainer.tuning.adapted import Adapted, Around

Mode = Literal["lora", "adapter", "prompt", "pointgst"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)


class Method(Protocol):
    """A module of this package that attaches new parts."""

    Options: type[Any]
    """Class of its options, a frozen dataclass and a base of `Efficient`."""

    def attach(self, sites: Sequence[Site], options: "Efficient", name: str) -> Around | None:
        """Put new parts into the blocks of an encoder, in place. Their weights come from torch's global generator.

        With new parts that are not trained yet, the features of the encoder are the same, to the last bit.

        Args:
            sites: what the encoder offers, at least one.
            options: sizes of the parts.
            name: of the encoder's class, for messages.

        Returns:
            What the parts need to be told around every forward pass; None for nothing.

        Raises:
            UserError: the sites have no place for such parts.
        """
        ...


METHODS: Final[Mapping[Mode, Method]] = {"lora": lora, "adapter": adapter, "prompt": prompt, "pointgst": pointgst}
"""Modules by the name that `tune` takes."""


@dataclass(frozen=True, kw_only=True)
class Efficient(pointgst.Options, prompt.Options, adapter.Options, lora.Options):
    """Sizes of the new parts of all methods. Each method reads its own.

    In a Transformer of width 384 and depth 12 the defaults come to about 0.6 M parameters with `lora` and `adapter`, and with `pointgst`,
    as published, together with the head; prompts are fewer.
    """

    def __post_init__(self) -> None:
        for base in type(self).__bases__:
            base.__post_init__(self)  # type: ignore[attr-defined]  # every method's options check themselves


def sizes(mode: str) -> tuple[str, ...]:
    """The fields of `Efficient` that a way of tuning reads; none if it attaches no parts."""
    return next((tuple(f.name for f in dataclasses.fields(m.Options)) for name, m in METHODS.items() if name == mode), ())


def adapt(encoder: Encoder, mode: Mode, options: Efficient) -> Adapted:
    """Freeze an encoder and put new parts into its blocks, in place. Their weights come from torch's global generator.

    Args:
        encoder: in evaluation mode, where it must stay.
        mode: the method.
        options: sizes of the parts.

    Raises:
        UserError: this encoder has no place for such parts.
    """
    assert isinstance(encoder, nn.Module) and not encoder.training
    name, own = type(encoder).__name__, list(encoder.parameters())
    sites = encoder.sites() if isinstance(encoder, Tunable) else ()
    if not sites:
        raise UserError(f"tune={mode}: {name} has no blocks that are known here; take full, mlp or linear")
    around = METHODS[mode].attach(sites, options, name)
    for parameter in own:
        parameter.requires_grad_(False)
    return Adapted(encoder, around).to(own[0].device).eval()


def check_sizes(tune: str, options: Efficient) -> None:
    """Refuse sizes that would have no effect.

    Raises:
        UserError: a size differs from its default, and this way of tuning does not read it.
    """
    read = sizes(tune)
    known = f"it reads {', '.join(f'efficient.{name}' for name in read)} alone" if read else f"only {', '.join(MODES)} have such parts"
    refuse_unread(options, [name for name in vars(options) if name not in read], f"tune={tune} ({known})", prefix="efficient.")


def learned(module: nn.Module) -> int:
    """Number of parameters that need gradients."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
