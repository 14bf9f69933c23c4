"""Training with several processes (ranks). The result is that of one process with the same batch size.

    torchrun --nproc-per-node 8 -m trainer.cli align CACHE RUN

Each rank takes its rows of every batch and of the random choices, which are drawn for the whole batch. Losses that compare shapes gather
the rows of all ranks (`trainer.align`). Batch norms use the statistics of all rows, and gradients are averaged. Only drop path differs:
each rank draws its own.

Each rank has a copy of the model (`replicated`, DDP), or a part of it (`sharded`, FSDP: https://arxiv.org/abs/2304.11277). Checkpoints are
the same files: `gathered_state` brings the parts together.

Letters: B shapes of a rank, A shapes of all ranks, n rows of a rank, R ranks, C channels.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from cache_schema.errors import UserError

PATIENCE: Final = timedelta(hours=1)
"""Longest time that a rank waits for the others. While the first rank evaluates, the others wait, so an evaluation may take this long. A
rank that has ended is noticed at once."""
LARGE: Final = 300_000_000
"""Number of parameters from which `distributed=auto` shards a model on GPUs. Weights, gradients and both moments of Adam then take 5 GB."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The number of this process among all that train together, and its device."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this rank is the one that writes files and messages."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """This rank's rows of a batch.

        Raises:
            UserError: the batch size is not a multiple of the number of ranks.
        """
        if batch % self.count:
            raise UserError(f"a batch of {batch} (optim.batch / optim.accumulate) cannot be dealt to {self.count} ranks evenly")
        size = batch // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.count == 1:
            return flag
        value = torch.tensor(int(flag))
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of the values over all ranks. The tensor is changed in place."""
        if self.count > 1:
            dist.all_reduce(values)
            values /= self.count
        return values

    def wait(self) -> None:
        """Wait until all ranks have reached this call."""
        if self.count > 1:
            dist.barrier()


def device_of(name: str, number: int | None = None) -> torch.device:
    """The torch device called `name`. A GPU always gets a number, because `torch.cuda.set_device` in a thread needs one.

    Args:
        name: a name that torch knows, or `auto` for a GPU if there is one.
        number: number of the GPU if the name has none; None for the current GPU.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if name == "cuda":
            name = f"cuda:{torch.cuda.current_device() if number is None else number}"
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"device {name!r} cannot be used ({reason}); `--device cpu` works everywhere") from error
    return device


def out_of_memory(error: BaseException) -> bool:
    """Whether the reason of an error is too little memory, on the GPU or in the machine."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the other ranks if torchrun started this process; otherwise this process is the only rank. Yields its `Ranks`.

    Raises:
        UserError: there is no such device, or all ranks would share one GPU.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(device=device_of(device))
        return
    if device.startswith("cuda:"):
        raise UserError(f"{count} ranks cannot share {device}: each takes the GPU of its own number by --device cuda")
    found = device_of(device, int(os.environ["LOCAL_RANK"]))
    if found.type == "cuda":
        torch.cuda.set_device(found)
    ours = not dist.is_initialized()  # a program that trains several times makes one group for all
    if ours:
        dist.init_process_group("cpu:gloo,cuda:nccl" if found.type == "cuda" else "gloo", timeout=PATIENCE)
    yield Ranks(device=found, rank=dist.get_rank(), count=count)
    if ours:  # not after an error: the others may wait in a collective until this process ends
        dist.destroy_process_group()


def replicated(stage: nn.Module, ranks: Ranks) -> nn.Module:
    """The module to call in training. It averages gradients over ranks and synchronises batch norms. One rank gets the stage itself."""
    if ranks.count == 1:
        return stage
    _synchronise_all(stage, ranks)
    return DistributedDataParallel(stage)


# ------------------------------------------------------------------------------------------------------- a part each, FSDP


@runtime_checkable
class Limited(Protocol):
    """A module that keeps one of its weights below a limit, such as a temperature."""

    def limit(self) -> None:
        """Bring the weight back to the limit if it is beyond."""


def shards(how: Literal["auto", "ddp", "fsdp"], stage: nn.Module, ranks: Ranks) -> bool:
    """Whether each rank keeps only a part of a model, by the setting `distributed`. One rank keeps all of it."""
    large = ranks.device.type == "cuda" and sum(parameter.numel() for parameter in stage.parameters()) >= LARGE
    return ranks.count > 1 and (how == "fsdp" or (how == "auto" and large))


def shard(stage: nn.Module, ranks: Ranks, blocks: Sequence[nn.Module]) -> frozenset[str]:
    """Deal the weights of a model to the ranks, in place, and synchronise its batch norms. The weights are parts then (`DTensor`), under
    the same names. An optimiser must be made afterwards.

    Args:
        stage: the model to call in training.
        ranks: this process among the others.
        blocks: modules of the model that run one after another. Each gathers its weights when it runs, and lets go of them afterwards.

    Returns:
        The names of weights that are single numbers, for `whole`. They cannot be dealt, so they are rows of one number from now on.
    """
    from torch.distributed.device_mesh import init_device_mesh  # both are slow to import, and most runs need neither
    from torch.distributed.fsdp import fully_shard

    _synchronise_all(stage, ranks)
    scalars = [(name, parameter) for name, parameter in stage.named_parameters() if parameter.ndim == 0]
    for name, parameter in scalars:
        module, _, own = name.rpartition(".")
        setattr(stage.get_submodule(module), own, nn.Parameter(parameter.detach().reshape(1), parameter.requires_grad))
    mesh = init_device_mesh(ranks.device.type, (ranks.count,))
    for part in (*blocks, stage):
        fully_shard(part, mesh=mesh)
    limited = [module for module in stage.modules() if isinstance(module, Limited)]

    def limit(*_: object) -> None:
        # What a module changes while it runs is a gathered copy, which is thrown away. So limits are kept on the parts, before each step.
        for module in limited:
            module.limit()

    stage.register_forward_pre_hook(limit, prepend=True)
    return frozenset(name for name, _ in scalars)


def is_part(tensor: Tensor) -> bool:
    """Whether a tensor is this rank's part of a larger one."""
    return hasattr(tensor, "full_tensor")  # importing its class takes half a second


def whole(tensor: Tensor) -> Tensor:
    """The tensor of which this rank has a part. All ranks must call it. A tensor that is no part is returned."""
    full: Tensor = tensor.full_tensor() if is_part(tensor) else tensor  # type: ignore[attr-defined]
    return full


def gathered_state(tensors: Mapping[str, Tensor], scalars: frozenset[str], ranks: Ranks) -> dict[str, Tensor]:
    """Weights, or what an optimiser remembers of them, as one rank alone has them. All ranks must call it; the first gets the result.

    Args:
        tensors: by name. The names of what an optimiser remembers begin with that of the weight, and a dot.
        scalars: the result of `shard`.
        ranks: this process among the others.
    """
    out = {}
    for name, tensor in tensors.items():
        full = whole(tensor)
        if ranks.first:  # one tensor at a time, so that the model never lies as a whole on a GPU
            out[name] = full.detach().cpu() if is_part(tensor) else full
            if name in scalars or name.rpartition(".")[0] in scalars:
                out[name] = out[name].reshape(())
    return out


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """This rank's part of a tensor that all ranks have, dealt as `like` is. If that is no part, the tensor itself."""
    if not is_part(like):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    tensor = tensor.to(like.device).reshape(like.shape)
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


@contextmanager
def deferred(model: nn.Module) -> Iterator[None]:
    """Leave the gradients of a pass on each rank, to be averaged together with those of a later pass."""
    if isinstance(model, DistributedDataParallel):
        with model.no_sync():
            yield
        return
    from torch.distributed.fsdp import FSDPModule

    assert isinstance(model, FSDPModule)
    model.set_requires_gradient_sync(False)
    yield
    model.set_requires_gradient_sync(True)


# ----------------------------------------------------------------------------------------------------------- collectives


def mean(values: Tensor, rows: Tensor) -> Tensor:
    """Mean of values [B] over the rows [B] bool that count; 0 if none counts. The mean of the results of all ranks is the global mean."""
    count = rows.sum()
    ranks = 1
    if _distributed():
        dist.all_reduce(count)
        ranks = dist.get_world_size()
    return ranks * values.where(rows, 0).sum() / count.clamp(min=1)


def share(rows: Tensor) -> Tensor:
    """How much the mean over this rank's rows [...] bool that count weighs beside those of the other ranks, a scalar.

    The mean over ranks of own mean times share is the global mean. The share is exactly 1 where all ranks have as many rows that count.
    All ranks must call it.
    """
    own = rows.sum()
    total, ranks = own.clone(), 1
    if _distributed():
        dist.all_reduce(total)
        ranks = dist.get_world_size()
    return ranks * own / total.clamp(min=1)


def moments(x: Tensor, counts: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance over the rows [n, C] of all ranks, [C] each, and the number of these rows, [C]. Ranks may have different numbers
    of rows. The gradients are those of the whole batch. counts: which rows count, [n] bool; None for all."""
    if counts is None:
        variance, average = torch.var_mean(x, 0, correction=0)
        own = torch.full_like(average, len(x))
    else:
        of = counts.unsqueeze(1)
        own = counts.sum().to(x.dtype).expand(x.shape[1])
        average = x.where(of, 0).sum(0) / own.clamp(min=1)
        variance = (x - average).square().where(of, 0).sum(0) / own.clamp(min=1)
    averages, variances, sizes = gathered(torch.stack([average, variance, own]).unsqueeze(0)).unbind(1)  # [R, C] each
    rows = sizes.sum(0)
    average = (sizes * averages).sum(0) / rows
    variance = (sizes * (variances + (averages - average).square())).sum(0) / rows
    return average, variance, rows


def gathered(x: Tensor) -> Tensor:
    """Rows of all ranks in rank order, [B, ...] to [A, ...]. Each rank gets the gradients of its own rows."""
    if not _distributed():
        return x
    if x.dtype == torch.bool:  # torch.compile for a CPU misreads truth values that a collective wrote (torch 2.13)
        return _all_rows(x.byte()).bool()
    return _with_gradients(x) if x.requires_grad else _all_rows(x)


def _all_rows(x: Tensor) -> Tensor:
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """Gathers the rows of all ranks. The backward pass sums the gradients of all ranks' losses for this rank's rows."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        return _all_rows(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def _with_gradients(x: Tensor) -> Tensor:
    rows: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]  # torch has no types on it
    return rows


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


# ----------------------------------------------------------------------------------------------------------- batch norms


class SyncBatchNorm(nn.BatchNorm1d):
    """Batch norm over the rows [n, C] of all ranks, on a CPU: torch's own class needs a GPU. Ranks may have different numbers of rows."""

    def forward(self, x: Tensor) -> Tensor:
        return batch_norm(self, x) if self.training else super().forward(x)


def batch_norm(norm: _BatchNorm, x: Tensor, counts: Tensor | None = None) -> Tensor:
    """What a batch norm in training makes of the rows x [n, C]. Its statistics, also the running ones, are those of the rows of all ranks,
    or of those that count, [n] bool."""
    mean, variance, rows = moments(x.float(), counts)
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None and norm.momentum
    with torch.no_grad():
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * rows / (rows - 1), norm.momentum)
        norm.num_batches_tracked += 1
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return torch.addcmul(norm.bias - mean * scale, x.float(), scale).to(x.dtype)


def _synchronise_all(stage: nn.Module, ranks: Ranks) -> None:
    """Let batch norms use the rows of all ranks, in place."""
    if ranks.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(stage)
    else:
        _synchronise(stage)


def _synchronise(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm1d:
            own = SyncBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
            own.weight, own.bias = child.weight, child.bias
            own.running_mean, own.running_var, own.num_batches_tracked = child.running_mean, child.running_var, child.num_batches_tracked
            setattr(module, name, own)
        else:
            _synchronise(child)
