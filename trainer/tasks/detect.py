"""Detection of objects in scenes: a decoder on the encoder's tokens predicts boxes and their classes.

    scores = run(stage, train_cache, test_cache, Options(tune="frozen", epochs=100))

The detector is like 3DETR (`trainer.tasks.detector`), its loss is in `trainer.tasks.matching`, and the measure is the official average
precision at an overlap of 0.25 and 0.5 (`trainer.tasks.boxes`). The result is that of the last epoch, as mean and deviation over seeds.

Letters: B and n scenes, P points, C channels, Q queries, K classes.
"""

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache_schema import products
from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from cache_schema.store import Cache
from trainer.encoders.catalog import regrouped
from trainer.encoders.protocol import Encoder
from trainer.points import Blocks, Convention, specification
from trainer.stage import Stage
from trainer.tasks import boxes
from trainer.tasks.accuracy import interval
from trainer.tasks.boxes import Curve, Detections
from trainer.tasks.detector import Detector, DetectorOptions, bounds, spread
from trainer.tasks.features import encoder_of, trained
from trainer.tasks.finetune import Schedule, arithmetic, described, epochs
from trainer.tasks.matching import SetWeights, Targets, set_loss
from trainer.tasks.metres import Frame, InMetres, as_stored, framed
from trainer.tasks.picture_above import Above, View
from trainer.tasks.protocol import told
from trainer.tasks.result import Metric, Scores, share
from trainer.tasks.scene_boxes import SceneAugment, Scenes, both, changed, draw, named, scenes
from trainer.tasks.seen import Sides
from trainer.tuning.catalog import MODES, adapt, check_sizes

THRESHOLDS: Final = {"AP25": 0.25, "AP50": 0.5}
"""Names of the measures, and the overlap that makes a found box a hit."""

DRAWN: Final = 4
"""Number of test scenes in the picture of a result."""


@dataclass(frozen=True, kw_only=True)
class Options(InMetres, Schedule):
    """Options of detection, in addition to those of `Schedule` and `InMetres`. The head is the detector: `tune=mlp` trains it on the frozen
    encoder, and `tune=linear` is refused. The defaults of the training are those of 3DETR on ScanNet, which took days."""

    epochs: int = 1080
    batch: int = 8
    lr: float = 5e-4
    """Highest learning rate, 3DETR's. PointGST has 2e-4."""
    weight_decay: float = 0.1
    warmup: float = 9.0
    clip: float = 0.1
    train_split: str = "train"
    test_split: str | None = told(None)
    """Split with the test scenes; None for `test`, or `val` if there is no `test`."""
    scratch: bool = told(False)
    """Start from random weights, new ones for every seed, instead of the run's."""
    seeds: int = 3
    """Number of trainings, with seeds 0, 1, ..."""
    queries: int = 256
    """Number of boxes that are predicted in a scene."""
    groups: int | None = None
    """Number of groups in which the encoder reads a scene; None for as many as in its pre-training. An encoder with several levels gets
    more groups on each."""
    scale: float | None = 1.0
    """Number of metres that become 1 in the encoder's coordinates; None for the median radius of the training scenes. With 1, an encoder
    that was trained in the unit sphere sees objects of 2 m at the size of its training."""
    middle: float | None = 0.0
    """Height above the floor, in metres, that becomes 0 in the encoder's coordinates; None for the median middle of the training scenes."""
    least_points: int = boxes.POINTS
    """Number of points below which a found box counts as empty and is removed."""
    model: DetectorOptions = DetectorOptions()
    """Sizes of the detector."""
    weights: SetWeights = SetWeights()
    """Weights of the loss."""
    augment: SceneAugment = SceneAugment()

    def __post_init__(self) -> None:
        Schedule.__post_init__(self)
        InMetres.__post_init__(self)
        check_numbers(self, {"seeds": 1, "queries": 1, "groups": 1, "least_points": 0})
        if self.tune == "linear":
            raise UserError("tune=linear: one linear layer cannot predict a set of boxes; take mlp, the detector on the frozen encoder")
        if self.groups is not None and self.model.pre_encoder:
            raise UserError("groups would have no effect where model.pre_encoder=true: set model.pre_tokens instead")


NEEDS: Final = (products.BOXES.name,)
"""See `trainer.tasks.protocol.Task`."""
SMOKE: Final = Options(
    epochs=1, batch=8, seeds=1, queries=16, model=DetectorOptions(layers=1, dim=24, heads=2), augment=SceneAugment(turn=0.0)
)
RESUMES: Final = True
"""Whether its trainings go on after a stop."""


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Average precision after the last epoch, for each seed, on the first block of every test scene."""
    train, test, notes = both(scenes(train_cache, options.train_split), scenes(test_cache, options.test_split))
    if train.upright:
        _refuse_angles(options, train)
    convention = stage.convention
    frame, placed = framed(convention, train.shapes, test.shapes, stage.encoder.config.channels, options)
    found = []

    def learned(seed: int) -> Detector:
        return fit(encoder_of(stage, scratch=options.scratch), train, convention, frame, options, seed)

    for seed in range(options.seeds):
        detector = trained(stage, train_cache, options, seed, partial(learned, seed))
        found.append(detect(detector, test, convention, options))
    blocks = _blocks(test, convention, detector)
    starts = _starts(test, blocks, options.queries)
    other = train.shapes.cache.home != test.shapes.cache.home
    return Scores(
        train=train.shapes.data,
        test=test.shapes.data,
        sides=Sides(train=train.shapes, test=test.shapes),
        metrics=_metrics(found, guessed(train, starts), test),
        variant=options.tune + (" from scratch" if options.scratch else ""),
        precision=arithmetic(options, next(stage.parameters()).device).precision,
        notes=(
            *notes,
            *placed,
            *blocks.notes(test.shapes.rows),
            *(_blocks(train, convention, detector).notes(train.shapes.rows, "training") if other else ()),
            *_protocol(train, test, convention, detector),
            *_absent(test),
            *_unreachable(test, starts, options.model.reach),
            *described(detector.below, detector.above, options),
        ),
        drawing=Above(views=tuple(_views(found[0], test, blocks)), names=test.names),
    )


# ---------------------------------------------------------------------------------------------------------------- training


def fit(encoder: Encoder, train: Scenes, convention: Convention | None, frame: Frame, options: Options, seed: int) -> Detector:
    """Train a detector, and return it in evaluation mode.

    New weights and dropout come from torch's global generators (`features.seeded`), everything else from the seed.

    Args:
        encoder: the encoder, in evaluation mode. It is copied.
        train: training scenes. Every epoch uses each of them once, by a random block.
        convention: the kind of points that the encoder was trained on; None if unknown.
        frame: how coordinates become those of the encoder.
        options: options of the task.
        seed: seed of the order, the blocks and the augmentation.

    Raises:
        UserError: the scenes have too few points, the encoder has no place for new parts, or the loss is NaN or infinite.
    """
    check_sizes(options.tune, options.efficient)
    detector = _built(encoder, train, convention, frame, options)
    blocks, device = _blocks(train, convention, detector), next(detector.parameters()).device
    true, kinds = torch.from_numpy(train.boxes).float().to(device), torch.from_numpy(train.kinds).to(device)
    computing = arithmetic(options, device)

    def loss(chosen: NDArray[np.int64], order: np.random.Generator, chance: torch.Generator) -> Tensor:
        points = blocks.read(train.shapes.rows[chosen], order.integers(blocks.blocks, size=len(chosen))).to(device)
        points, own = changed(points, true[chosen], draw(options.augment, len(points), chance), upright=train.upright)
        extent = bounds(points[..., :3])[1]
        with computing.autocast(device):
            predicted = detector(points, blocks.ordered)
        return set_loss(predicted, Targets(boxes=own, kinds=kinds[chosen], extent=extent), options.weights)["loss"]

    def begin() -> None:
        detector.train()
        detector.below.train(options.tune == "full")

    for _ in epochs(detector, len(train), options, seed, begin, loss):
        blocks.settle()
    return detector.eval()


def _built(encoder: Encoder, train: Scenes, convention: Convention | None, frame: Frame, options: Options) -> Detector:
    """A new detector on a copy of the encoder, on its device, with gradients for what the task trains."""
    assert isinstance(encoder, nn.Module)
    device = next(encoder.parameters()).device
    own = regrouped(encoder, options.groups)
    assert isinstance(own, nn.Module)
    own.requires_grad_(options.tune == "full")
    if options.tune in MODES:
        own = adapt(own, options.tune, options.efficient)
    turned = not train.upright
    detector = Detector(own, options.model, classes=len(train.names), turned=turned, queries=options.queries, frame=frame)
    detector.to(device).eval()
    blocks = _blocks(train, convention, detector)
    if blocks.count < options.queries:
        raise UserError(f"{train.shapes.name} has {blocks.count} points a scene, too few for queries={options.queries}: lower queries")
    return detector.prepare(blocks.read(train.shapes.rows[:1], 0).to(device), blocks.ordered)


def _blocks(some: Scenes, convention: Convention | None, detector: Detector) -> Blocks:
    """The blocks of scenes with all their stored points, whatever number the encoder was trained on."""
    convention = as_stored(convention, some.shapes)
    if convention is not None:
        convention = dataclasses.replace(convention, count=specification(some.shapes.cache).count)
    return some.shapes.blocks(convention, detector.encoder.config.channels, detector.centres)


# ----------------------------------------------------------------------------------------------------------------- testing


@torch.no_grad()
def detect(detector: Detector, test: Scenes, convention: Convention | None, options: Options) -> list[Detections]:
    """The boxes that a detector, in evaluation mode, finds in each scene.

    Raises:
        UserError: a box is not finite, or a file does not match its checksum.
    """
    blocks, device, out = _blocks(test, convention, detector), next(detector.parameters()).device, []
    for chosen in np.array_split(np.arange(len(test)), -(-len(test) // options.batch)):
        points = blocks.read(test.shapes.rows[chosen], 0)
        predicted = detector(points.to(device), blocks.ordered)
        found = predicted.boxes[-1].double().cpu().numpy()
        probabilities = predicted.logits[-1].double().softmax(-1).cpu().numpy()
        if not (np.isfinite(found).all() and np.isfinite(probabilities).all()):
            raise UserError("a predicted box is NaN or infinite: the training diverged; lower lr")
        xyz = points[..., :3].double().numpy()
        out += [boxes.detections(*one, options.least_points) for one in zip(found, probabilities, xyz, strict=True)]
    blocks.settle()
    return out


def guessed(train: Scenes, starts: Sequence[NDArray[np.float64]]) -> list[Detections]:
    """What can be found without looking at a scene: at every query [Q, 3] a box of each class, of the mean size of its training boxes, with
    the share of its training boxes as score. Boxes of one class do not overlap, as in the official choice.
    """
    there = train.kinds >= 0
    kinds, sizes = train.kinds[there], train.boxes[there, 3:6]
    shares = np.bincount(kinds, minlength=len(train.names)) / len(kinds)
    means = [sizes[kinds == kind].mean(0) for kind in range(len(train.names))]
    out = []
    for start in starts:
        each = [np.concatenate([start, np.broadcast_to(size, start.shape), np.zeros((len(start), 1))], 1) for size in means]
        kept = [own[boxes.suppressed(own, np.zeros(len(own)), np.zeros(len(own), np.int64))] for own in each]
        scores = np.repeat(np.diag(shares), [len(own) for own in kept], 0)
        out.append(Detections(boxes=np.concatenate(kept), scores=scores))
    return out


def _starts(test: Scenes, blocks: Blocks, queries: int) -> list[NDArray[np.float64]]:
    """The queries of each test scene, [Q, 3] each."""
    rows = (blocks.read(test.shapes.rows[i : i + 1], 0)[..., :3] for i in range(len(test)))
    return [spread(points, blocks.ordered, queries)[0].double().numpy() for points in rows]


def _curves(found: Sequence[Detections], test: Scenes, threshold: float) -> tuple[Curve, ...]:
    outcomes = [boxes.outcome(one, *test.of(i)) for i, one in enumerate(found)]
    return boxes.curves(outcomes, threshold, len(test.names))


def _metrics(found: Sequence[Sequence[Detections]], guess: Sequence[Detections], test: Scenes) -> tuple[Metric, ...]:
    """The mean average precisions with interval and guess, the recall, and the average precision of each class."""
    means, classes = [], []
    for name, threshold in THRESHOLDS.items():
        seeds = [_curves(one, test, threshold) for one in found]
        chance = 100 * boxes.average_precisions(_curves(guess, test, threshold))  # [K]
        each = 100 * np.array([boxes.average_precisions(curves) for curves in seeds])  # [seeds, K]
        values = tuple(map(float, np.nanmean(each, 1)))
        mean = share(
            name=name,
            values=values,
            over="seeds",
            headline=True,
            shapes=len(test),
            units="scenes",
            interval=interval(lambda drawn, seeds=seeds: 100 * boxes.mean_precision(seeds, drawn), len(test)),  # type: ignore[misc]
            chance=float(np.nanmean(chance)),
        )
        recall = tuple(100 * statistics.fmean(c.recall for c in curves if c.truths.any()) for curves in seeds)
        means += [mean, share(name=name.replace("AP", "AR"), values=recall, over="seeds", shapes=len(test), units="scenes")]
        classes += [
            share(
                name=f"{name} {kind}",
                values=tuple(map(float, each[:, k])),
                over="seeds",
                shapes=len(test),
                units="scenes",
                chance=float(chance[k]),
            )
            for k, kind in enumerate(test.names)
            if not np.isnan(chance[k])
        ]
    return (*means, *classes)


def _views(found: Sequence[Detections], test: Scenes, blocks: Blocks) -> Iterator[View]:
    """Some test scenes, evenly chosen, with the boxes that were found in them by the first training."""
    ids = test.shapes.cache.ids()
    for scene in np.unique(np.linspace(0, len(test) - 1, DRAWN).round().astype(int)).tolist():
        row = test.shapes.rows[scene]
        true, kinds = test.of(scene)
        points = blocks.read(np.array([row]), 0)[0, :, :3].numpy()
        yield View(title=str(ids[row]), points=points, true=true, kinds=kinds, found=found[scene])


# -------------------------------------------------------------------------------------------------------------- the notes


def _protocol(train: Scenes, test: Scenes, convention: Convention | None, detector: Detector) -> Iterator[str]:
    """How the scenes were read and measured."""
    counts = np.bincount(train.kinds[train.kinds >= 0], minlength=len(train.names)).tolist()
    yield f"{sum(counts)} training boxes: {named(counts, train.names)}; {int((test.kinds >= 0).sum())} test boxes"
    yield (
        "average precision as VoteNet and 3DETR measure it; chance: boxes of each class's mean size at the queries, scored by its share of "
        "the training boxes"
    )
    here, there = specification(train.shapes.cache), specification(test.shapes.cache)
    if here.count != there.count:
        yield f"a training scene has {here.count} points, a test scene {there.count}: the groups of points differ in size"
    if convention is not None:
        yield (
            f"the encoder was trained on {convention.count} points of a shape, normalize={convention.normalize}, and reads {there.count} "
            f"points of a scene, normalize={there.normalize}, in {detector.tokens} tokens"
        )


def _refuse_angles(options: Options, train: Scenes) -> None:
    """Raise UserError if an option of angles is set, and no training box is turned."""
    where = f"no box of {train.shapes.name} is turned"
    refuse_unread(options.model, ["bins"], where, prefix="model.")
    refuse_unread(options.weights, ["angle_bin", "angle_rest"], where, prefix="weights.")


def _absent(test: Scenes) -> Iterator[str]:
    """A note on classes that no test box has."""
    none = [name for kind, name in enumerate(test.names) if not (test.kinds == kind).any()]
    if none:
        yield f"no test box has these classes, which are left out of the mean: {', '.join(none)}"


def _unreachable(test: Scenes, starts: Sequence[NDArray[np.float64]], reach: float) -> Iterator[str]:
    """Notes on test boxes that no query can find: their centres are too far from all queries, or a scene has more boxes than queries."""
    far = crowded = 0
    for scene, start in enumerate(starts):
        centres = test.of(scene)[0][:, :3]
        near: NDArray[np.bool_] = np.abs(centres[:, None] - start).max(-1) <= reach  # [M, Q]
        far += len(centres) - int(near.any(axis=1).sum())
        crowded += len(centres) > len(start)
    if far:
        count = int((test.kinds >= 0).sum())
        yield f"{far} of {count} test boxes have no query within model.reach={reach:g} of their centre: they cannot be found"
    if crowded:
        yield f"{crowded} of {len(test)} test scenes have more boxes than queries, so not all can be found"
