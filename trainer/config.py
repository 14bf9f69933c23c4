"""The configuration of a run: frozen dataclasses with a docstring under each field.

    config = configured("mmpd", "align", ["optim.batch=256", "encoder.depth=6"])        # trainer.recipes

Every checkpoint stores the whole configuration. Fields declared by `label` do not change results: a continued run may have other values.
`trainer.unread` says under which condition each setting is read.
"""

import functools
from dataclasses import dataclass
from typing import Final, Literal

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.settings import override, settings_of_choice
from cache_schema.spec import added, did_you_mean, label
from trainer.arithmetic import Asked
from trainer.augment import AugmentOptions
from trainer.encoders import catalog
from trainer.encoders.protocol import EncoderSettings
from trainer.options import AlignOptions, DistillOptions
from trainer.part import DataConfig

AUTO: Final = "auto"
"""Name of the probes that are chosen by their cost; see `trainer.probes`."""
SEEDS: Final = 2**32
"""Number of seeds. The generators of all libraries take those below."""


def check_seed(seed: int) -> None:
    """Refuse a seed that a generator of random numbers would not take.

    Raises:
        UserError: it is negative or too large.
    """
    if not 0 <= seed < SEEDS:
        raise UserError(f"seed must be a whole number from 0 to {SEEDS - 1}, got {seed}")


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Name of the encoder, and the settings that differ from its named configuration."""

    name: str = "pointmae-s"
    """A name of `trainer.encoders.catalog.ENCODERS`."""
    options: tuple[str, ...] = settings_of_choice()
    """The encoder's own settings as a checkpoint keeps them, name=value each. `--set encoder.depth=6` is short for
    `--set encoder.options=depth=6`. Code reads them by `resolved`."""

    def __post_init__(self) -> None:
        check_numbers(self.resolved(), prefix="encoder.")

    def resolved(self) -> EncoderSettings:
        """The encoder's own configuration: that of its name, changed by `options`."""
        return self._resolved

    @functools.cached_property
    def _resolved(self) -> EncoderSettings:
        return override(catalog.config(self.name), self.options)


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW, with a learning rate that rises in the warm-up and then falls on a cosine."""

    batch: int
    """Shapes in a step, over all ranks."""
    accumulate: int = 1
    """Number of parts of a batch that are computed one after another. Contrast and batch norms use one part at a time."""
    epochs: int
    """Number of epochs. With 0 the model keeps its initial weights."""
    lr: float
    """Highest learning rate."""
    lr_end: float = 1e-6
    """Lowest learning rate, at the end."""
    cosine: float = added(1.0)
    """Share of the cosine, from its top, that the learning rate has gone down at the end; 1 for all of it, down to `lr_end`. Point-M2AE
    ends after 300 of 400 epochs, so at 0.75: a seventh of the highest rate is left."""
    warmup: float = 10.0
    """Epochs over which the learning rate rises from 0; at most a tenth of all."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    """Weight decay of matrices. Vectors (biases, norms, mask tokens, queries) have none."""
    clip: float = 10.0
    """Norm at which the gradient is clipped; 0 for no clipping."""
    ema: float = 0.0
    """Decay of an exponential average of the weights, which is then the result of the run; 0 for no average."""
    freeze: int = added(0)
    """Number of the encoder's first blocks that stay as they are, with the embeddings below them; 0: none; -1: the whole encoder."""
    layer_decay: float = added(1.0)
    """Layer-wise decay of the learning rate: each block of the encoder learns at this share of the rate of the layer above it, and the
    embeddings slowest. Heads and decoders have the full rate. 1 for one rate."""

    def __post_init__(self) -> None:
        check_numbers(self, {"lr_end": 0, "weight_decay": 0, "betas": 0}, "optim.")
        if max(self.betas) >= 1:
            raise UserError(f"optim.betas must lie in [0, 1), got {self.betas}")
        if self.batch < 2 or self.accumulate < 1 or self.batch % self.accumulate:
            raise UserError(f"optim.batch must be a multiple of optim.accumulate and at least 2, got {self.batch} and {self.accumulate}")
        for name in ("epochs", "warmup", "clip"):
            if getattr(self, name) < 0:
                raise UserError(f"optim.{name} must not be negative, got {getattr(self, name)}")
        if self.lr <= 0:
            raise UserError(f"optim.lr must be positive, got {self.lr}; optim.epochs=0 leaves a model as it is")
        if not 0 < self.cosine <= 1:
            raise UserError(f"optim.cosine must lie in (0, 1], got {self.cosine}")
        if not 0 <= self.ema < 1:
            raise UserError(f"optim.ema must lie in [0, 1), got {self.ema}")
        if self.freeze < -1:
            raise UserError(f"optim.freeze must be a number of blocks, or -1 for the whole encoder, got {self.freeze}")
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"optim.layer_decay must lie in (0, 1], got {self.layer_decay}")
        if self.freeze == -1 and self.layer_decay != 1:
            raise UserError("optim.layer_decay would have no effect where optim.freeze=-1: leave it out")


TRACKERS: Final = {"mlflow": "trainer.trackers.mlflow", "trackio": "trainer.trackers.trackio", "wandb": "trainer.trackers.wandb"}
"""Experiment trackers: name of the package, which is also that of the extra, to the module that uses it."""


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """Where metrics go besides the folder of the run."""

    trackers: tuple[str, ...] = ()
    """Experiment trackers: trackio, wandb, mlflow. Each needs the extra of its name."""
    project: str = "mmpd"
    """The project of the run in the trackers."""

    def __post_init__(self) -> None:
        for name in self.trackers:
            if name not in TRACKERS:
                raise UserError(f"log.trackers: no tracker is called {name!r}{did_you_mean(name, TRACKERS)}. TensorBoard needs no setting")
        if len(set(self.trackers)) < len(self.trackers):
            raise UserError(f"log.trackers names a tracker twice: {', '.join(self.trackers)}")
        if not self.project.strip():
            raise UserError("log.project must not be empty")


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Settings that both stages have."""

    encoder: EncoderConfig = EncoderConfig()
    data: DataConfig = DataConfig()
    augment: AugmentOptions = AugmentOptions()
    optim: OptimConfig
    align: AlignOptions = AlignOptions()
    """Settings of the losses on teachers' embeddings."""
    objective: Literal["by_teacher", "contrast", "regress"] = "by_teacher"
    """`by_teacher`: contrast with those that have a text side, regression to the others."""
    precision: Asked = "auto"
    """Arithmetic of the forward pass, by autocast. auto: bfloat16 where the processor or GPU computes it, else float32. A run tells at its
    start which one it takes, keeps it when it is continued, and stores it."""
    compile: bool = False
    """Compile the stage with torch.compile: a minute at the start, faster steps."""
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] = added("default", identity=False)
    """Mode of torch.compile, with `compile`. On a GPU `reduce-overhead` replays CUDA graphs, which saves the time of launching kernels, and
    `max-autotune` does so and measures several kernels for each product first, which takes minutes."""
    recompute: bool = added(False, identity=False)
    """Keep only the tokens that enter each block of the encoder, and compute the rest again in the backward pass: less memory, about a
    third more time, the same results."""
    distributed: Literal["auto", "ddp", "fsdp"] = added("auto", identity=False)
    """How several ranks share a model. `ddp`: each has all of it. `fsdp`: each keeps a part of the weights, gradients and state of the
    optimiser, for models that leave no room for activations. `auto`: fsdp on GPUs for 300 million parameters and more, ddp otherwise."""
    diverged: float = 3.0
    """Stop if the smoothed loss exceeds its initial value by this factor."""
    seed: int = 0
    """Seed of everything random."""
    log: LogConfig = added(LogConfig(), identity=False)
    log_every: int = label(10)
    """Steps from one line of metrics to the next."""
    save_every: int = label(500)
    """Steps from one checkpoint to the next. The end and a stop are always saved."""
    probe: tuple[str, ...] = label((AUTO,))
    """Tasks that are evaluated every `probe_every` epochs and at the end, on the first cache, on its split `val` or else `test`; names of
    `mmpd-train eval --help`. `auto`: zeroshot and knn, where they are possible and take at most 2 % of the time. Empty for none."""
    probe_every: int = label(10)
    """Epochs from one evaluation of the tasks in `probe` to the next."""

    def __post_init__(self) -> None:
        check_numbers(self)
        check_seed(self.seed)
        for name in ("log_every", "save_every", "probe_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.compile_mode != "default" and not self.compile:
            raise UserError(f"compile_mode={self.compile_mode} has no effect without --set compile=true")
        if self.data.hard and (self.align.positives not in ("text", "none") or self.objective == "regress"):
            why = (
                "regression has no wrong answers"
                if self.objective == "regress"
                else f"with align.positives={self.align.positives} a text about another shape of the class is a right answer, also where "
                "it says what is wrong of this shape: --set align.positives=text"
            )
            raise UserError(f"data.hard={self.data.hard}: {why}")
        if self.diverged <= 1:
            raise UserError(f"diverged must be above 1, got {self.diverged}")


@dataclass(frozen=True, kw_only=True)
class AlignConfig(StageConfig):
    """Settings of stage 1, alignment."""

    stage: Literal["align"] = "align"
    start: Literal["any", "run"] = added("any")
    """Source of the initial weights. `any`: the run that `--init` names, else random ones. `run`: such a run, which must be named."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.align.local_weight and self.augment.per_axis:
            raise UserError(
                "augment.per_axis must be false with align.local_weight: patch features belong to groups of the block as it is stored"
            )


@dataclass(frozen=True, kw_only=True)
class DistillConfig(StageConfig):
    """Settings of stage 2, distillation, and of the baselines that mask."""

    stage: Literal["distill"] = "distill"
    distill: DistillOptions = DistillOptions()
    start: Literal["guide", "random", "run"] = "guide"
    """Source of the student's initial weights. `run`: a run that is not its guide, which `--init` names."""
    guide: str = ""
    """Name of the guide in the cache; empty for the only guide."""
    guide_online: bool = False
    """Run the guide at every step instead of reading its features from the cache. On a CPU it computes in float32, as `mmpd-train guide`
    does; on a GPU in the precision of the run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.needs_guide or self.distill.predicts == "dense":
            for name, none in (("drop", "0"), ("per_axis", "false")):
                if value := getattr(self.augment, name):
                    raise UserError(
                        f"augment.{name} must be {none} with a guide or patch features, which belong to groups of the whole block as it is "
                        f"stored; got {str(value).lower()}"
                    )
        if self.align.local_weight:
            raise UserError(
                "align.local_weight is a loss of stage 1 and has no effect in stage 2: leave it out, or predict patch features by --set "
                "distill.tokens=dense"
            )
        if self.align.reconstruction_weight:
            raise UserError(
                "align.reconstruction_weight is a loss of stage 1 and has no effect in stage 2: leave it out, or reconstruct by --set "
                "distill.reconstruction_weight=1"
            )
        if self.align.queries != "shared":
            raise UserError("align.queries is a setting of stage 1, and stage 2 pools by one query: leave it out")
        if self.align.balance != "none" and not self.distill.teacher_weight:
            raise UserError(
                "align.balance has no effect without losses on teachers' embeddings: leave it out, or set distill.teacher_weight"
            )

    @property
    def needs_guide(self) -> bool:
        """Whether a loss uses the guide's features."""
        return self.distill.predicts == "guide" or self.distill.global_weight + self.distill.projected_weight > 0

    @property
    def needs_guide_run(self) -> bool:
        """Whether the guide's run is needed, not only its features."""
        return self.start == "guide" or self.distill.projected_weight > 0 or (self.needs_guide and self.guide_online)
