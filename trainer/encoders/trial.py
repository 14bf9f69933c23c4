"""A first trial of encoders of other packages, before a training begins.

    refuse(stage.encoder, "encoder 'blob-tiny' (package blob 0.1)", count=1024)

Our own encoders are held to `trainer.encoders.protocol` by contract tests, which nobody runs for another package. Its usual mistakes do not
end in an error: an encoder that sees hidden groups learns nothing in stage 2, and one that loses the order of the visible groups learns
from the wrong targets.
"""

import dataclasses
from typing import Any, Final

import torch
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.terminal import article
from trainer.encoders.protocol import Encoded, Patches

NEAR: Final = 1e-3
"""Most that two tokens that should be equal may differ, as a share of the largest value: another order of sums rounds otherwise."""
NEAR_ON_GPU: Final = 0.03
"""The same on a GPU, where sums are rounded to TF32, and kernels that know only bfloat16 round by 0.004."""


@torch.no_grad()
def refuse(encoder: Any, said: str, count: int, device: torch.device | str = "cpu") -> None:
    """Refuse an encoder that breaks a promise of `trainer.encoders.protocol.Encoder`. A copy is tried on two shapes of random points; the
    global random state stays as it was.

    Args:
        encoder: what the `build` of the other package returned.
        said: what it is, for the messages.
        count: number of points of a shape, P.
        device: where it will be trained, and is tried: it may have kernels for GPUs alone, and a large one takes minutes on a CPU.

    Raises:
        UserError: it breaks one; the message says which.
    """
    device = torch.device(device)
    lacking = [one for one in ("config", "dim", "groups", "centres", "group_size", "mask_ratio", "patchify") if not hasattr(encoder, one)]
    if not isinstance(encoder, nn.Module) or lacking:
        told = f"{article(type(encoder).__name__)}{' without ' * bool(lacking)}{', '.join(lacking)}"
        raise UserError(f"{said}: its build returned {told}, expected a torch.nn.Module that is an Encoder of trainer.encoders.protocol")
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        own = _again(encoder, said).to(device)
        points = torch.randn(2, count, own.config.channels, generator=torch.Generator().manual_seed(0)).to(device)
        patches = own.patchify(points, True)
        if not isinstance(patches, Patches):
            raise UserError(f"{said}: patchify returned {article(type(patches).__name__)}, expected Patches of trainer.encoders.protocol")
        level, groups = patches.coarsest, own.groups
        for name, tensor, form in (
            ("groups", level.groups, [2, groups, own.group_size]),
            ("centres", level.centres, [2, groups, 3]),
            ("members", level.members, [2, groups, own.group_size]),
        ):
            if list(tensor.shape[: len(form)]) != form:
                raise UserError(f"{said}: patchify gives {name} {list(tensor.shape)} on the last level, expected {form}")
        if not torch.equal(patches.levels[0].centres, points[:, : own.centres, :3]):
            raise UserError(
                f"{said}: with ordered=True the centres of the first level must be the first {own.centres} points; they are not"
            )
        order = torch.rand(2, groups, generator=torch.Generator().manual_seed(1)).argsort(1).to(device)
        visible = order[:, : max(1, groups // 3)]
        hidden = torch.ones(2, groups, dtype=torch.bool, device=device).scatter(1, visible, False)
        noise = torch.randn(level.groups.shape, generator=torch.Generator().manual_seed(2)).to(device)
        other = dataclasses.replace(level, groups=torch.where(hidden[..., None, None], noise, level.groups))
        every = _tokens(own(patches), None, own, said)
        seen = _tokens(own(patches, visible), visible, own, said)
        if not _near(every, _tokens(own(patches), None, own, said)):
            raise UserError(f"{said}: it gives other tokens in another pass, in evaluation mode: tokens must not depend on chance")
        alone = own(own.patchify(points[:1], True))
        if not _near(every[:1], _tokens(alone, None, own, said, shapes=1)):
            raise UserError(f"{said}: the tokens of a shape depend on the other shapes of its batch, in evaluation mode")
        if not _near(seen, _tokens(own(Patches(levels=(*patches.levels[:-1], other)), visible), visible, own, said)):
            raise UserError(
                f"{said}: the tokens of visible groups change with the points of hidden ones, so in stage 2 it could look them up"
            )
        if not _near(seen.flip(1), _tokens(own(patches, visible.flip(1)), visible.flip(1), own, said)):
            raise UserError(f"{said}: tokens do not follow the order of `visible`")
        if _near(every[0, :1].expand_as(every), every):
            raise UserError(f"{said}: all tokens of two different shapes are the same")


def _again(encoder: nn.Module, said: str) -> Any:
    """A new encoder of the same class, as tasks make one, with the same weights and in evaluation mode."""
    try:
        own = type(encoder)(encoder.config)
    except TypeError as error:
        raise UserError(f"{said}: its class does not take its configuration alone, which is how tasks make a new one: {error}") from error
    own.load_state_dict(encoder.state_dict())
    return own.eval()


def _tokens(encoded: Any, visible: Tensor | None, encoder: Any, said: str, shapes: int = 2) -> Tensor:
    """The tokens of a result, if they have the promised form."""
    if not isinstance(encoded, Encoded):
        raise UserError(f"{said}: it returned {article(type(encoded).__name__)}, expected Encoded of trainer.encoders.protocol")
    wanted = torch.arange(encoder.groups).expand(shapes, -1).to(encoded.tokens.device) if visible is None else visible
    form = [shapes, wanted.shape[1], encoder.dim]
    if list(encoded.tokens.shape) != form or not encoded.tokens.is_floating_point():
        told = f"{str(encoded.tokens.dtype).removeprefix('torch.')} {list(encoded.tokens.shape)}"
        raise UserError(f"{said}: its tokens are {told}, expected floats {form}: one for each visible group")
    if not encoded.tokens.isfinite().all():
        raise UserError(f"{said}: its tokens are not finite")
    if not torch.equal(encoded.visible, wanted):
        raise UserError(f"{said}: Encoded.visible is not what it was given (all groups in their order, if it was given None)")
    return encoded.tokens


def _near(one: Tensor, other: Tensor) -> bool:
    near = NEAR if one.device.type == "cpu" else NEAR_ON_GPU
    return bool((one - other).abs().max() <= near * one.abs().max().clamp(min=1e-6))
