"""Optimisation: AdamW with two parameter groups, the learning rate, and the average of weights over steps."""

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.terminal import counted
from trainer import layers
from trainer.config import OptimConfig
from trainer.distributed import is_part, part

SCALE: Final = "scale"
"""Key of a group of parameters with the factor of its learning rate."""


def adamw(stage: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the trained parameters. Only matrices decay; vectors (biases, norms, mask tokens, queries, scales) do not. With
    `layer_decay` the deeper layers of the encoder in `stage` learn slower: each group of parameters has its factor of the learning rate
    under `SCALE`; see `set_rate`.

    Raises:
        UserError: `layer_decay` is not 1, and the encoder does not tell its blocks.
    """
    scales = layers.rates(stage, config.layer_decay)
    groups: list[dict[str, Any]] = []
    for scale in sorted({1.0} | {scales[name] for name, _ in named(stage)}):
        trained = [parameter for name, parameter in named(stage) if scales[name] == scale]
        vectors = [p for p in trained if sum(size > 1 for size in p.shape) <= 1]
        matrices = [p for p in trained if sum(size > 1 for size in p.shape) > 1]
        groups += [
            {"params": matrices, "weight_decay": config.weight_decay, SCALE: scale},
            {"params": vectors, "weight_decay": 0.0, SCALE: scale},
        ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of a step. Each group of parameters gets it times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[SCALE]


def named(stage: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters that are trained, by name."""
    return [(name, parameter) for name, parameter in stage.named_parameters() if parameter.requires_grad]


def steps(config: OptimConfig, shapes: int) -> int:
    """Number of steps of a run with `shapes` shapes in an epoch.

    Raises:
        UserError: all epochs together do not fill one batch.
    """
    count = config.epochs * shapes // config.batch
    if config.epochs and not count:
        raise UserError(
            f"{counted(config.epochs, 'epoch')} of {counted(shapes, 'shape')} do not fill one batch of {config.batch}: lower optim.batch"
        )
    return count


def learning_rate(config: OptimConfig, step: int, steps: int, per_epoch: float) -> float:
    """The learning rate of one step: a line up from 0, then a cosine down to `lr_end`, or a part of it.

    Args:
        config: highest and lowest rate, the length of the warm-up, and the share of the cosine.
        step: number of the step, from 0.
        steps: number of steps of the whole run.
        per_epoch: steps in an epoch.
    """
    warmup = min(round(config.warmup * per_epoch), steps // 10)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = config.cosine * (step - warmup) / max(1, steps - warmup)
    return config.lr_end + (config.lr - config.lr_end) * (1 + math.cos(math.pi * progress)) / 2


def state(stage: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser by name, as `<parameter>.exp_avg`."""
    return {f"{name}.{key}": value for name, parameter in named(stage) for key, value in optimizer.state.get(parameter, {}).items()}


def restore(stage: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser the state that `state` returned."""
    by_parameter: dict[str, dict[str, Tensor]] = {}
    parameters = dict(named(stage))
    for name, value in tensors.items():
        parameter, _, key = name.rpartition(".")
        if parameter in parameters and key != "step":  # the number of steps is a number, whatever the parameter is
            value = part(value, parameters[parameter])
        by_parameter.setdefault(parameter, {})[key] = value
    names = {id(parameter): name for name, parameter in parameters.items()}
    order = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
    remembered = {i: by_parameter[name] for i, name in enumerate(order) if name in by_parameter}
    optimizer.load_state_dict({"state": remembered, "param_groups": optimizer.state_dict()["param_groups"]})


class Average:
    """Exponential average over the states of a module, its buffers too."""

    def __init__(self, stage: nn.Module, decay: float) -> None:
        """Begin with the present state; `decay` 0 keeps none."""
        self.decay = decay
        self.tensors = {name: value.detach().clone() for name, value in stage.state_dict().items()} if decay else {}

    @torch.no_grad()
    def update(self, stage: nn.Module) -> None:
        """Move the average towards the present state."""
        own, now = self.tensors, stage.state_dict()
        moving = [name for name in own if own[name].is_floating_point()]
        # Parts of weights and whole buffers apart: one operation takes one kind.
        for kind in (True, False):
            same = [name for name in moving if is_part(own[name]) is kind]
            if same:
                torch._foreach_lerp_([own[name] for name in same], [now[name] for name in same], 1 - self.decay)
        for name in own.keys() - set(moving):
            own[name].copy_(now[name])

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the average to tensors by name."""
        for name, value in tensors.items():
            self.tensors[name].copy_(part(value, self.tensors[name]))
