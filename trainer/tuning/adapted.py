"""An encoder with new parts in its blocks."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn

from cache_schema.errors import UserError
from trainer.encoders.protocol import Encoded, Encoder, EncoderSettings, Layered, Level, Patches, Scale, Stacked

Around = Callable[[Patches, Tensor | None], AbstractContextManager[None]]
"""Context manager that a method opens around every forward pass. Arguments: the patches, and the visible groups [B, Gv] or None for all."""


def check_positive(options: object, *names: str) -> None:
    """Check that the named sizes in a method's options are positive.

    Raises:
        UserError: a size is below 1.
    """
    for name in names:
        if getattr(options, name) < 1:
            raise UserError(f"{name} must be at least 1, got {getattr(options, name)}")


class Adapted(nn.Module):
    """An encoder with new parts in its blocks. It is itself a `trainer.encoders.protocol.Encoder`."""

    def __init__(self, encoder: Encoder, around: Around | None) -> None:
        super().__init__()
        self.encoder, self.around = encoder, around
        self.dim, self.groups, self.centres = encoder.dim, encoder.groups, encoder.centres
        self.group_size, self.mask_ratio = encoder.group_size, encoder.mask_ratio

    @property
    def config(self) -> EncoderSettings:
        """The configuration of the encoder."""
        return self.encoder.config

    def patchify(self, points: Tensor, ordered: bool) -> Patches:
        """Group points [B, P, C] with the encoder's own `patchify`."""
        return self.encoder.patchify(points, ordered)

    def forward(self, patches: Patches, visible: Tensor | None = None) -> Encoded:
        """Tokens of the groups in `visible` [B, Gv], or of all groups, computed with the new parts.

        Raises:
            UserError: groups are hidden, but the method needs whole shapes.
        """
        with nullcontext() if self.around is None else self.around(patches, visible):
            return self.encoder(patches, visible)

    def layers(self, patches: Patches) -> tuple[Scale, ...]:
        """Features of several depths, computed with the new parts. See `trainer.encoders.protocol.Layered`.

        Raises:
            UserError: the encoder gives only its last tokens.
        """
        if not isinstance(self.encoder, Layered):
            raise UserError(f"{type(self.encoder).__name__} gives no features of several depths, which tasks that label points need")
        with nullcontext() if self.around is None else self.around(patches, None):
            return self.encoder.layers(patches)

    @property
    def width(self) -> int:
        """Width of the tokens that the encoder's blocks read. See `trainer.encoders.protocol.Stacked`."""
        return self.encoder.width if isinstance(self.encoder, Stacked) else 0

    def read(self, tokens: Tensor, level: Level) -> Tensor:
        """Tokens [B, G, W] after the blocks, computed with the new parts. See `trainer.encoders.protocol.Stacked`."""
        assert isinstance(self.encoder, Stacked)
        with nullcontext() if self.around is None else self.around(Patches(levels=(level,)), None):
            return self.encoder.read(tokens, level)
