"""The layers of an encoder in the order in which they run: which of them stay as they are, and at what rate each of them learns.

    order = Order.of_encoder(encoder)                    # order.of["transformer.blocks.0.norm1.weight"] is 1
    frozen = freeze(encoder, 4)                          # embeddings and the first four blocks
    stage.train()
    frozen.hold()                                        # they stay in evaluation mode, so that nothing in them moves

Layer 0 has everything that runs before the first block: embeddings, positions and learnt tokens. Block i, counted from 1, is layer i. What
runs between two blocks, such as the embedding of a coarser level, belongs to the block after it. What runs after the last of L blocks, the
last norm, is layer L + 1, with everything outside the encoder.

Which module is a block is told by `Tunable.sites`. When the others run is found out by running the encoder once. So this holds for every
encoder, with levels or mixers, and needs nothing of its class.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import nn

from cache_schema.errors import UserError
from trainer.encoders.protocol import Encoder, Tunable

WHOLE: Final = -1
"""The value of `freeze` that stands for the whole encoder."""
POINTS: Final = 1024
"""Smallest number of points of the shape that finds out the order; more if the encoder has more than half as many centres."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """The layer of each part of an encoder."""

    of: dict[str, int]
    """The layer of each parameter, by its name in the encoder."""
    modules: dict[str, int]
    """The layer of each block, and of each module that has parameters of its own or no submodules, by its name in the encoder."""
    blocks: int
    """Number of blocks, L."""

    @staticmethod
    def of_encoder(encoder: Encoder) -> "Order":
        """The order of an encoder, which is run once, on a random shape and in evaluation mode.

        Raises:
            UserError: the encoder does not say what its blocks are.
        """
        if not isinstance(encoder, Tunable):
            raise UserError(
                f"{type(encoder).__name__} does not tell its blocks (it has no `sites`), so freeze takes only {WHOLE}, the whole encoder, "
                "and layer_decay only 1"
            )
        assert isinstance(encoder, nn.Module)
        blocks = [site.block for site in encoder.sites()]
        inside = {id(module): number for number, block in enumerate(blocks, 1) for module in block.modules()}
        called = _called(encoder, blocks)
        modules = {}
        for name, module in encoder.named_modules():
            if id(module) in inside:
                modules[name] = inside[id(module)]
            elif _counts(module):
                runs = _runs(encoder, name, called)
                # A module without weights, such as a dropout, may run in several places. It counts with the last one.
                modules[name] = min(runs) if any(True for _ in module.parameters()) else max(runs)
        parameters = {name: modules[name.rpartition(".")[0]] for name, _ in encoder.named_parameters()}
        return Order(of=parameters, modules=modules, blocks=len(blocks))

    def rate(self, name: str, decay: float) -> float:
        """The factor of the learning rate of a parameter: `decay` to the power of the number of layers above it."""
        return float(decay ** (self.blocks + 1 - self.of[name]))


def _counts(module: nn.Module) -> bool:
    """Whether a module has parameters or buffers of its own, or no submodules."""
    own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return bool(own) or not any(True for _ in module.children())


def _runs(encoder: nn.Module, name: str, called: dict[int, list[int]]) -> list[int]:
    """The layers in which a module runs. One that is never called, since its weights are read directly, runs with the module around it."""
    while (found := called.get(id(encoder.get_submodule(name)))) is None:
        name = name.rpartition(".")[0]
    return found


def _called(encoder: nn.Module, blocks: list[nn.Module]) -> dict[int, list[int]]:
    """The layers in which each module outside the blocks is called, by the module's id. The encoder itself counts with layer 0."""
    called: dict[int, list[int]] = {id(encoder): [0]}
    number, now = {id(block): i for i, block in enumerate(blocks, 1)}, 0

    def begins(module: nn.Module, _: object) -> None:
        nonlocal now
        now = number.get(id(module), now)
        called.setdefault(id(module), []).append(now)

    def ends(module: nn.Module, _: object, __: object) -> None:
        nonlocal now
        if id(module) in number:
            now = number[id(module)] + 1

    with ExitStack() as hooks:
        for module in encoder.modules():
            hooks.callback(module.register_forward_pre_hook(begins).remove)
            hooks.callback(module.register_forward_hook(ends).remove)
        _run(encoder)
    return called


@torch.no_grad()
def _run(encoder: nn.Module) -> None:
    """Encode one random shape in evaluation mode. Modes and random generators are afterwards as they were."""
    modes = {module: module.training for module in encoder.modules()}
    device = next(encoder.parameters()).device
    own = cast(Encoder, encoder)
    count = max(POINTS, 2 * own.centres)
    shape = torch.rand(1, count, own.config.channels, generator=torch.Generator().manual_seed(0)) * 2 - 1  # [1, P, C]
    encoder.eval()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"):
            own(own.patchify(shape.to(device), ordered=True))
    finally:
        for module, mode in modes.items():
            module.training = mode


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """What of an encoder stays as it is."""

    encoder: nn.Module | None = None
    names: tuple[str, ...] = ()
    """Modules of the encoder, by name: training on several ranks replaces batch norms by others of the same name."""
    told: str = ""
    """What is frozen, in words; empty if nothing is."""

    def hold(self) -> None:
        """Put the frozen modules into evaluation mode: batch norms keep their statistics, and nothing is dropped. Call it after `train`."""
        for name in self.names:
            assert self.encoder is not None
            self.encoder.get_submodule(name).eval()


def freeze(encoder: Encoder, blocks: int) -> Frozen:
    """Take the embeddings and the first blocks of an encoder out of training, or all of it.

    Args:
        encoder: the encoder. Its frozen parameters need no gradient afterwards.
        blocks: number of blocks; 0 for nothing, `WHOLE` for the whole encoder.

    Raises:
        UserError: there are fewer blocks, or the encoder does not tell them.
    """
    assert isinstance(encoder, nn.Module)
    if not blocks:
        return Frozen()
    if blocks == WHOLE:
        encoder.requires_grad_(False)
        return Frozen(encoder=encoder, names=("",), told="the encoder")
    order = Order.of_encoder(encoder)
    if blocks > order.blocks:
        raise UserError(f"freeze must lie in 1..{order.blocks}, the number of the encoder's blocks, or be 0 or {WHOLE}, got {blocks}")
    for name, parameter in encoder.named_parameters():
        if order.of[name] <= blocks:
            parameter.requires_grad_(False)
    held = tuple(name for name, layer in order.modules.items() if layer <= blocks and name)
    return Frozen(encoder=encoder, names=held, told=f"the embeddings and {blocks} of {order.blocks} blocks of the encoder")


def tunable(module: nn.Module) -> Iterator[tuple[str, Encoder]]:
    """The encoders in a module that tell their blocks, each with the beginning of its parameters' names."""
    for name, child in module.named_modules():
        if isinstance(child, Tunable) and hasattr(child, "patchify"):  # a part of an encoder may tell its blocks, too
            yield f"{name}." if name else "", cast(Encoder, child)


def rates(module: nn.Module, decay: float) -> dict[str, float]:
    """The factor of the learning rate of each parameter of a module that has an encoder: layer-wise decay, as in BEiT
    (https://arxiv.org/abs/2106.08254). Parameters outside the encoder have factor 1.

    Raises:
        UserError: the encoder does not tell its blocks.
    """
    found = {name: 1.0 for name, _ in module.named_parameters()}
    if decay == 1:
        return found
    place = next(tunable(module), None)
    if place is None:
        raise UserError("layer_decay needs an encoder that tells its blocks (`sites`), and this one does not: leave layer_decay out")
    prefix, encoder = place
    order = Order.of_encoder(encoder)
    return found | {prefix + name: order.rate(name, decay) for name in order.of}
