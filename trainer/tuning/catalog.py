"""Parameter-efficient tuning by name: small new parts in the blocks of a frozen encoder.

    adapted = adapt(encoder, "lora", Efficient(lora_rank=4))      # replaces the encoder; its features are the same at first

To add a method, add a module to this package that follows `Method`. Add its name to `Mode` and `METHODS`, and its `Options` to the bases of
`Efficient`. Fields of `Options` must have names that no other method uses. A method works on the sites of an encoder
(`trainer.encoders.protocol.Site`), not on its class.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, get_args

from torch import nn

from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from trainer.encoders.protocol import Encoder, Site, Tunable, refuse_masked
from trainer.tuning import adapter, lora, most, pointgst, pointlora, prompt
from trainer.tuning.adapted import Adapted, Around

Mode = Literal["lora", "adapter", "prompt", "pointgst", "most", "pointlora"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
"""Names of the methods. `--set tune=NAME` chooses one."""


class Method(Protocol):
    """A module of this package that attaches new parts."""

    Options: type[Any]
    """Class of its options, a frozen dataclass and a base of `Efficient`."""

    def attach(self, sites: Sequence[Site], options: "Efficient", name: str) -> Around | None:
        """Put new parts into the blocks of an encoder, in place. Their weights come from torch's global generator.

        Until the new parts are trained, the features of the encoder stay the same to the last bit.

        Args:
            sites: the encoder's sites, at least one.
            options: sizes of the parts.
            name: name of the encoder's class, for messages.

        Returns:
            A context manager to open around every forward pass, if the parts need data of the batch; else None.

        Raises:
            UserError: the sites have no place for these parts.
        """
        ...


METHODS: Final[Mapping[Mode, Method]] = {
    "lora": lora,
    "adapter": adapter,
    "prompt": prompt,
    "pointgst": pointgst,
    "most": most,
    "pointlora": pointlora,
}
"""The module of each method."""


@dataclass(frozen=True, kw_only=True)
class Efficient(pointlora.Options, most.Options, pointgst.Options, prompt.Options, adapter.Options, lora.Options):
    """Sizes of the new parts of all methods. Each method reads its own.

    In a Transformer of width 384 and depth 12, the defaults give about 0.6 M parameters for `lora` and for `adapter`. Together with the
    head, `pointgst` has 0.6 M, `most` 0.8 M (both as published) and `pointlora` 0.7 M. `prompt` has fewer.
    """

    def __post_init__(self) -> None:
        for base in type(self).__bases__:
            base.__post_init__(self)  # type: ignore[attr-defined]  # every method's options check themselves


def sizes(mode: str) -> tuple[str, ...]:
    """The fields of `Efficient` that a value of `tune` reads; none if it attaches no parts."""
    for name, method in METHODS.items():
        if name == mode:
            return tuple(field.name for field in dataclasses.fields(method.Options))
    return ()


def adapt(encoder: Encoder, mode: Mode, options: Efficient) -> Adapted:
    """Freeze an encoder and put new parts into its blocks, in place. Their weights come from torch's global generator.

    Args:
        encoder: the encoder, in evaluation mode. It must stay in this mode.
        mode: name of the method.
        options: sizes of the parts.

    Raises:
        UserError: this encoder has no place for these parts.
    """
    assert isinstance(encoder, nn.Module) and not encoder.training
    name, own = type(encoder).__name__, list(encoder.parameters())
    sites = encoder.sites() if isinstance(encoder, Tunable) else ()
    if not sites:
        raise UserError(f"tune={mode}: {name} has no blocks that are known here; take full, mlp or linear")
    around = METHODS[mode].attach(sites, options, name)
    if around is not None:  # it looks at all groups of a shape
        refuse_masked(encoder, f"tune={mode}")
    for parameter in own:
        parameter.requires_grad_(False)
    return Adapted(encoder, around).to(own[0].device).eval()


def check_sizes(tune: str, options: Efficient) -> None:
    """Check that every size which differs from its default has an effect.

    Raises:
        UserError: a size differs from its default, but this value of `tune` does not read it.
    """
    read = sizes(tune)
    known = f"it reads {', '.join(f'efficient.{name}' for name in read)} alone" if read else f"only {', '.join(MODES)} have such parts"
    refuse_unread(options, [name for name in vars(options) if name not in read], f"tune={tune} ({known})", prefix="efficient.")


def learned(module: nn.Module) -> int:
    """Number of trained parameters: those that need gradients."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
