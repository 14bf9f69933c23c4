"""An encoder with new parts in its blocks."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn

from cache_schema.errors import UserError
from trainer.encoders.protocol import Encoded, Encoder, EncoderSettings, Patches

Around = Callable[[Patches, Tensor | None], AbstractContextManager[None]]
"""What a method does around every forward pass of the encoder, given the patches and the visible groups [B, Gv] or None for all."""


def check_positive(options: object, *names: str) -> None:
    """Check that these sizes of a method's options are positive.

    Raises:
        UserError: one of them is below 1.
    """
    for name in names:
        if getattr(options, name) < 1:
            raise UserError(f"{name} must be at least 1, got {getattr(options, name)}")


class Adapted(nn.Module):
    """An encoder (`trainer.encoders.protocol.Encoder`) that has new parts in its blocks, and is an encoder itself."""

    def __init__(self, encoder: Encoder, around: Around | None) -> None:
        super().__init__()
        self.encoder, self.around = encoder, around
        self.dim, self.groups, self.centres = encoder.dim, encoder.groups, encoder.centres
        self.group_size, self.mask_ratio = encoder.group_size, encoder.mask_ratio

    @property
    def config(self) -> EncoderSettings:
        """What the encoder was built from."""
        return self.encoder.config

    def patchify(self, points: Tensor, ordered: bool) -> Patches:
        """As the encoder does."""
        return self.encoder.patchify(points, ordered)

    def forward(self, patches: Patches, visible: Tensor | None = None) -> Encoded:
        """As the encoder does, with the new parts.

        Raises:
            UserError: groups are hidden, and the method needs whole shapes.
        """
        with nullcontext() if self.around is None else self.around(patches, visible):
            return self.encoder(patches, visible)
