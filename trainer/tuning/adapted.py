"""An encoder with new parts in its blocks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

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


class Told:
    """Tells the new parts what they need to know of a batch, while an encoder runs. It is a class, so that a copy of the model refers to
    its own parts."""

    def __init__(self, why: str, field: str, levels: Sequence[Sequence[nn.Module]], tell: Callable[[Level], object]) -> None:
        """
        Args:
            why: what needs whole shapes, for messages: "most: the neighbours are".
            field: the attribute of a part that is set; None at other times.
            levels: the parts of each level of `Patches.levels`.
            tell: what the parts of a level are told.
        """
        self.why, self.field, self.levels, self.tell = why, field, levels, tell

    @contextmanager
    def __call__(self, patches: Patches, visible: Tensor | None) -> Iterator[None]:
        if visible is not None:
            raise UserError(f"{self.why} of whole shapes, so no group can be hidden")
        for level, parts in zip(patches.levels, self.levels, strict=True):
            found = self.tell(level)
            for part in parts:
                setattr(part, self.field, found)
        try:
            yield
        finally:
            for parts in self.levels:
                for part in parts:
                    setattr(part, self.field, None)  # the autograd graph keeps what the backward pass needs


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

    def layers(self, patches: Patches, parts: int = 3) -> tuple[Scale, ...]:
        """Features of several depths, computed with the new parts. See `trainer.encoders.protocol.Layered`.

        Raises:
            UserError: the encoder gives only its last tokens.
        """
        if not isinstance(self.encoder, Layered):
            raise UserError(f"{type(self.encoder).__name__} gives no features of several depths")
        with nullcontext() if self.around is None else self.around(patches, None):
            # Encoders of other packages may know three parts alone.
            return self.encoder.layers(patches) if parts == 3 else self.encoder.layers(patches, parts)

    @property
    def width(self) -> int:
        """Width of the tokens that the encoder's blocks read. See `trainer.encoders.protocol.Stacked`."""
        return self.encoder.width if isinstance(self.encoder, Stacked) else 0

    def read(self, tokens: Tensor, level: Level) -> Tensor:
        """Tokens [B, G, W] after the blocks, computed with the new parts. See `trainer.encoders.protocol.Stacked`."""
        assert isinstance(self.encoder, Stacked)
        with nullcontext() if self.around is None else self.around(Patches(levels=(level,)), None):
            return self.encoder.read(tokens, level)
