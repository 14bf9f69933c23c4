"""PointLoRA (https://arxiv.org/abs/2504.16023): low-rank updates of attention, and tokens of selected places that all blocks look at.

- Every linear layer of an attention gets an update of low rank, as in LoRA, and a narrow MLP beside it that all blocks share.
- Groups of two sizes are embedded by the encoder's own patch embedding. A small network scores them. The best ones are *selected*: every
  block attends to them.

As in the authors' code: the layers (the paper's text names the MLP as well, but the published 0.77 M parameters count attention alone),
rank and widths, two sizes of groups, and how many of each are selected.

Our choices. (1) The authors put the selected tokens into the sequence. Here a block attends to them by a softmax of its own through a
gate for each head, which begins at zero, so that tuning starts from the features of the encoder; they are not changed by blocks and not
pooled. (2) A selected token is multiplied by its score, so that the task teaches the scores. The authors' scores get no gradient from the
task, only from a loss of their own. (3) Patches hold no loose points, so a large group is the group of a centre together with that of its
nearest centre, for half of the centres. (4) The authors' code also trains a class token, the position MLP, two layers of the patch
embedding, and an MLP on all tokens. Here the encoder is frozen, and these 0.11 M parameters are not learned.

Letters: B shapes, G groups, K points per group, N selected groups, D width, H heads.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.spec import added
from trainer import ops
from trainer.encoders import blocks
from trainer.encoders.protocol import Level, Patches, Site
from trainer.tuning.adapted import check_positive
from trainer.tuning.lora import LowRank


@dataclass(frozen=True, kw_only=True)
class Options:
    """Sizes of PointLoRA."""

    pointlora_rank: int = added(8)
    """Rank of every update. In a Transformer of width 384 and depth 12 all parts have 0.4 M parameters."""
    shared_width: int = added(32)
    """PointLoRA: width of the MLPs that all blocks share."""
    selected: int = added(32)
    """PointLoRA: number of groups that are selected; all if there are fewer."""
    selected_large: int = added(8)
    """PointLoRA: number of groups of double size that are selected; all if there are fewer."""

    def __post_init__(self) -> None:
        check_positive(self, "pointlora_rank", "shared_width", "selected", "selected_large")


def narrow(inputs: int, outputs: int, width: int) -> nn.Sequential:
    """A narrow MLP, [..., in] to [..., out]. Its output is zero at first."""
    last = nn.Linear(width, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), last)


class Beside(nn.Module):
    """A linear layer plus a low-rank update plus an MLP that other layers share. [..., in] to [..., out]."""

    def __init__(self, base: nn.Linear, rank: int, shared: nn.Module) -> None:
        super().__init__()
        self.updated = LowRank(base, rank)
        self.shared = (shared,)  # in a tuple: it is no part of this module, so that its weights are stored once

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.updated(x) + self.shared[0](x)
        return out


class Looking(nn.Module):
    """Attention with an additional, separate attention to selected tokens."""

    def __init__(self, attention: blocks.Attention) -> None:
        super().__init__()
        self.attention = attention
        self.gates = nn.Parameter(torch.zeros(attention.heads, 1, 1))
        self.selected: Tensor | None = None
        """[B, N, D] during a forward pass of the encoder; else None."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention over tokens x [B, T, D], with a result of the same shape. The mask is that of `Attention`. It hides no selected
        token."""
        assert self.selected is not None, "an attention of PointLoRA works only inside its `Adapted` encoder, which selects the tokens"
        q, k, v = self._projected(x)
        _, far_k, far_v = self._projected(self.selected.to(x.dtype))
        seen = blocks.attend(q, k, v, mask)
        seen = seen + self.gates.to(seen.dtype) * blocks.attend(q, far_k, far_v)
        out: Tensor = self.attention.proj(seen.transpose(1, 2).flatten(2))
        return out

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, H, T, D / H] of tokens."""
        q, k, v = self.attention.qkv(x).unflatten(-1, (3, self.attention.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v


class Selection(nn.Module):
    """Selects groups of a shape, and tells their tokens to all attentions while an encoder runs. It owns the MLPs that blocks share."""

    def __init__(
        self, embed: Callable[[Level], Tensor], width: int, shared: nn.ModuleList, told: Sequence[Looking], options: Options
    ) -> None:
        super().__init__()
        self.embed, self.told, self.options = embed, tuple(told), options
        self.shared = shared
        self.change = narrow(width, width, options.shared_width)
        self.score = nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 1), nn.Sigmoid())

    @contextmanager
    def forward(self, patches: Patches, visible: Tensor | None) -> Iterator[None]:
        if visible is not None:
            raise UserError("pointlora: groups are selected from whole shapes, so no group can be hidden")
        found = self.chosen(patches.coarsest)
        for part in self.told:
            part.selected = found
        try:
            yield
        finally:
            for part in self.told:
                part.selected = None  # the autograd graph keeps what the backward pass needs

    def chosen(self, level: Level) -> Tensor:
        """The tokens of the selected groups [B, N, D]: large groups last, and of each size the best first."""
        tokens = []
        for one, count in ((level, self.options.selected), (doubled(level), self.options.selected_large)):
            with torch.no_grad():  # the encoder is frozen
                all_of_them = self.embed(one)  # [B, G, D]
                # Blocks read tokens after a norm, so these have one, too.
                all_of_them = F.layer_norm(all_of_them, all_of_them.shape[-1:])
            scores = self.score(all_of_them)  # [B, G, 1]
            best = scores.squeeze(-1).topk(min(count, scores.shape[1]), dim=1).indices  # [B, N]
            tokens.append(ops.gather(all_of_them, best) * ops.gather(scores, best))
        together = torch.cat(tokens, 1)
        changed: Tensor = together + self.change(together)
        return changed


def doubled(level: Level) -> Level:
    """Groups of double size around the first half of the centres, rounded up: the group of each, and that of its nearest other centre.

    The first centres in farthest-point order are spread over the shape. A point that is in both groups is there twice, which the maximum of
    a patch embedding does not notice.
    """
    centres = level.centres
    near = ops.nearest(centres[:, : -(-centres.shape[1] // 2)], centres, min(2, centres.shape[1]))  # [B, G / 2, 2]
    groups, points = level.groups, level.groups.shape[2]
    found = ops.gather(groups.flatten(2), near).unflatten(-1, (points, -1))  # [B, G / 2, 2, K, C]
    shift = ops.gather(centres, near) - centres[:, : near.shape[1]].unsqueeze(2)  # [B, G / 2, 2, 3]
    found = torch.cat([found[..., :3] + shift.unsqueeze(3), found[..., 3:]], -1)
    members = ops.gather(level.members, near)
    return Level(groups=found.flatten(2, 3), centres=centres[:, : near.shape[1]], members=members.flatten(2))


def attach(sites: Sequence[Site], options: Options, name: str) -> Selection:
    """Add updates to the attention of every block, and let it look at selected tokens, in place. See `trainer.tuning.catalog.Method`.

    Raises:
        UserError: a block has no attention, or reads tokens that are not made of points.
    """
    if any(site.attention is None for site in sites):
        raise UserError(f"tune=pointlora: it tunes attention, and {name} has no attention; take lora, adapter, pointgst or most")
    embed = sites[0].embed
    if embed is None or any(site.level for site in sites):
        raise UserError(
            f"tune=pointlora: {name} has no embedding that makes tokens of any groups of points (`Site.embed`); take lora, adapter, "
            "pointgst or most"
        )
    shared: dict[str, nn.Module] = {}
    looking = []
    for site in sites:
        assert site.attention is not None
        for path in site.linears:
            linear = site.block.get_submodule(path)
            assert isinstance(linear, nn.Linear), f"{name} offers {path} as a linear layer"
            if path.startswith(f"{site.attention}."):
                if path not in shared:
                    shared[path] = narrow(linear.in_features, linear.out_features, options.shared_width)
                site.block.set_submodule(path, Beside(linear, options.pointlora_rank, shared[path]))
        attention = site.block.get_submodule(site.attention)
        assert isinstance(attention, blocks.Attention), f"{name} offers {site.attention} as attention"
        part = Looking(attention)
        site.block.set_submodule(site.attention, part)
        looking.append(part)
    return Selection(embed, sites[0].dim, nn.ModuleList(list(shared.values())), looking, options)
