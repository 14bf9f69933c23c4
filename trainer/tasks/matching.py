"""The loss of a detector that predicts a set of boxes: each true box is matched with one prediction, the others must say "no object".

    losses = set_loss(predicted, targets, SetWeights())
    losses["loss"].backward()

Costs, losses and weights are those of 3DETR on ScanNet (https://arxiv.org/abs/2109.08141, and `scripts/scannet_ep1080.sh` of its code),
which PointGST uses too (https://arxiv.org/abs/2410.08114): matching by -1 times the probability of the class and -2 times the generalised
overlap; loss with weights 1 for the class (0.25 for "no object"), 5 for the centre, 1 for the size, 1 for the generalised overlap, 0.1 for
the bin of the angle and 0.5 for the rest of the angle. The same loss is taken after every layer of the decoder.

Two things differ for turned boxes. The generalised overlap is that of both boxes in the frame of the true one, as if the predicted angle
were right; the angle has a loss of its own. And the bins of the angle cover half a turn, since a box is the same after half a turn.

Letters: L layers, B scenes, Q predictions (queries) of a scene, M places for true boxes, K classes, A bins of the angle.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cache_schema.checks import check_numbers
from trainer.batch import Tensors

HALF: Final = math.pi
"""Half a turn, after which a box is the same."""


@dataclass(frozen=True, kw_only=True)
class SetWeights:
    """Weights of the costs of matching and of the parts of the loss. The defaults are those published for ScanNet."""

    match_class: float = 1.0
    """Cost of matching: weight of the probability of the true class."""
    match_centre: float = 0.0
    """Cost of matching: weight of the distance of the centres."""
    match_overlap: float = 2.0
    """Cost of matching: weight of the generalised overlap."""
    kind: float = 1.0
    """Loss: weight of the cross-entropy of the class."""
    nothing: float = 0.25
    """Loss: weight of the class "no object" within the cross-entropy."""
    centre: float = 5.0
    """Loss: weight of the distance of the centres."""
    size: float = 1.0
    """Loss: weight of the difference of the sizes."""
    overlap: float = 1.0
    """Loss: weight of 1 - generalised overlap."""
    angle_bin: float = 0.1
    """Loss: weight of the cross-entropy of the angle's bin."""
    angle_rest: float = 0.5
    """Loss: weight of the difference between the angle and the middle of its bin."""

    def __post_init__(self) -> None:
        check_numbers(self, dict.fromkeys(vars(self), 0), "weights.")


@dataclass(frozen=True, kw_only=True)
class Targets(Tensors):
    """The true boxes of a batch of scenes."""

    boxes: Tensor
    """[B, M, 7], as in `trainer.tasks.boxes`."""
    kinds: Tensor
    """[B, M] int64: class of each box; -1 for a place without a box."""
    extent: Tensor
    """[B, 3]: size of the scene. Distances of centres and differences of sizes count in shares of it."""


@dataclass(frozen=True, kw_only=True)
class Predictions(Tensors):
    """The boxes that a detector predicts after every layer of its decoder."""

    logits: Tensor
    """[L, B, Q, K + 1]; the last class is "no object"."""
    centres: Tensor
    """[L, B, Q, 3]."""
    sizes: Tensor
    """[L, B, Q, 3]."""
    bins: Tensor
    """[L, B, Q, A]: logits of the angle's bin. A is 1 if no box is turned."""
    rests: Tensor
    """[L, B, Q, A]: for each bin, the angle from its middle, in units of half its width."""

    @property
    def angles(self) -> Tensor:
        """Angle of each box, [L, B, Q]; 0 if no box is turned."""
        count = self.bins.shape[-1]
        if count == 1:
            return torch.zeros_like(self.rests[..., 0])
        best = self.bins.argmax(-1, keepdim=True)
        return (best + self.rests.gather(-1, best) / 2).squeeze(-1) * (HALF / count)

    @property
    def boxes(self) -> Tensor:
        """[L, B, Q, 7]."""
        return torch.cat([self.centres, self.sizes, self.angles.unsqueeze(-1)], -1)


def overlap(predicted: Tensor, true: Tensor) -> Tensor:
    """Generalised intersection over union (https://arxiv.org/abs/1902.09630) of predicted and true boxes [..., 7], in -1..1: [...]

    Both boxes are taken without a turn, in the frame of the true one. The result has gradients also where the boxes are apart.
    """
    away = predicted[..., :3] - true[..., :3]
    c, s = true[..., 6].cos(), true[..., 6].sin()
    away = torch.stack([c * away[..., 0] - s * away[..., 2], away[..., 1], s * away[..., 0] + c * away[..., 2]], -1)
    half, own = predicted[..., 3:6] / 2, true[..., 3:6] / 2
    shared = (torch.minimum(away + half, own) - torch.maximum(away - half, -own)).clamp(min=0).prod(-1)
    around = (torch.maximum(away + half, own) - torch.minimum(away - half, -own)).prod(-1).clamp(min=1e-9)
    union = (predicted[..., 3:6].prod(-1) + true[..., 3:6].prod(-1) - shared).clamp(min=1e-9)
    return shared / union - (around - union) / around


@torch.no_grad()
def match(predicted: Predictions, targets: Targets, weights: SetWeights) -> Tensor:
    """The true box of each prediction, [L, B, Q] int64: its place in 0..M-1, or -1 for no object.

    It is the cheapest assignment of all true boxes of a scene to different predictions (Hungarian method). If there are more true boxes
    than predictions, some true boxes have none.
    """
    kinds = targets.kinds.clamp(min=0)  # [B, M]
    probability = predicted.logits.float().softmax(-1)
    index = kinds[None, :, None, :].expand(*probability.shape[:3], -1)  # [L, B, Q, M]
    cost = -weights.match_class * probability.gather(-1, index)
    cost = cost - weights.match_overlap * overlap(predicted.boxes.unsqueeze(-2), targets.boxes[None, :, None])
    if weights.match_centre:
        cost = cost + weights.match_centre * _distances(predicted, targets)
    found = torch.full(cost.shape[:3], -1)
    places = [there.nonzero().squeeze(1) for there in (targets.kinds >= 0).cpu()]
    # A training that diverges has costs that are no numbers. It is stopped where the loss is read, not here.
    for layer, costs in enumerate(cost.cpu().nan_to_num(1e6, 1e6, -1e6)):
        for scene, there in enumerate(places):
            rows, columns = linear_sum_assignment(costs[scene, :, there].numpy())
            found[layer, scene, torch.from_numpy(rows)] = there[torch.from_numpy(columns)]
    return found.to(cost.device)


def _distances(predicted: Predictions, targets: Targets) -> Tensor:
    """Sums of coordinate differences between predicted and true centres, in shares of the scene, [L, B, Q, M]."""
    away = (predicted.centres.unsqueeze(-2) - targets.boxes[None, :, None, :, :3]) / targets.extent[None, :, None, None]
    return away.abs().sum(-1)


def set_loss(predicted: Predictions, targets: Targets, weights: SetWeights) -> dict[str, Tensor]:
    """The losses of a batch by name, each summed over the layers, and their weighted sum `loss`."""
    matched = match(predicted, targets, weights)  # [L, B, Q]
    good = matched >= 0
    place = matched.clamp(min=0)
    count = (targets.kinds >= 0).sum().clamp(min=1)
    boxes = targets.boxes.expand(len(matched), -1, -1, -1).gather(2, place.unsqueeze(-1).expand(-1, -1, -1, 7))  # [L, B, Q, 7]
    kinds = targets.kinds.expand(len(matched), -1, -1).gather(2, place).masked_fill(~good, predicted.logits.shape[-1] - 1)

    def mean(values: Tensor) -> Tensor:  # over the true boxes of the batch
        return (values * good).sum() / count

    extent = targets.extent[None, :, None]  # [1, B, 1, 3]
    losses = {
        "kind": _class_loss(predicted.logits.float(), kinds, weights.nothing),
        "centre": mean(((predicted.centres - boxes[..., :3]) / extent).abs().sum(-1)),
        "size": mean(((predicted.sizes - boxes[..., 3:6]) / extent).abs().sum(-1)),
        "overlap": mean(1 - overlap(predicted.boxes, boxes)),
    }
    if predicted.bins.shape[-1] > 1:
        on_bin, rest = _angle_losses(predicted, boxes[..., 6])
        losses |= {"angle_bin": mean(on_bin), "angle_rest": mean(rest)}
    losses["loss"] = torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()
    return losses


def _class_loss(logits: Tensor, kinds: Tensor, nothing: float) -> Tensor:
    """Cross-entropy of logits [L, B, Q, K + 1] and classes [L, B, Q], averaged over the predictions of a layer and summed over layers."""
    balance = torch.ones(logits.shape[-1], device=logits.device)
    balance[-1] = nothing
    layers = [F.cross_entropy(one.flatten(0, 1), kind.flatten(), balance) for one, kind in zip(logits, kinds, strict=True)]
    return torch.stack(layers).sum()


def binned(angles: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The bin of each angle [...], int64 in 0..count-1, and the angle from the bin's middle in units of half its width, in -1..1.

    Bin 0 has its middle at angle 0, and the bins cover half a turn.
    """
    width = HALF / count
    turns = torch.remainder(angles, HALF) / width  # 0..count
    nearest = turns.round()
    return (nearest.long() % count), 2 * (turns - nearest)


def _angle_losses(predicted: Predictions, angles: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the bins and Huber loss of the rest, for angles [L, B, Q] of the matched boxes. [L, B, Q] each."""
    bins, rests = binned(angles, predicted.bins.shape[-1])
    on_bin = F.cross_entropy(predicted.bins.float().movedim(-1, 1), bins, reduction="none")
    own = predicted.rests.gather(-1, bins.unsqueeze(-1)).squeeze(-1)
    return on_bin, F.huber_loss(own, rests, reduction="none")
