"""Fine-tuning for classification: the encoder and a head, a head on the frozen encoder, or small new parts in the encoder and a head.

    scores = run(stage, train_cache, test_cache, Options(tune="linear", seeds=3))

The result is the accuracy after the last epoch, as mean and deviation over seeds. The tables of other papers give the best test epoch of
the best seed. Many also let augmented copies vote, and give the best of several repetitions. With `peer_protocol` these numbers are added
to the result, marked as such.
"""

import copy
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cache_schema.errors import UserError
from cache_schema.settings import refuse_unread
from cache_schema.store import Cache
from trainer.augment import augment, draw
from trainer.stage import Stage
from trainer.tasks.accuracy import accuracies, confusion, counted
from trainer.tasks.features import Body, Pool, extract, seeded
from trainer.tasks.finetune import Training, described, fit
from trainer.tasks.mistakes import mistakes
from trainer.tasks.protocol import told
from trainer.tasks.result import Metric, Scores
from trainer.tasks.shapes import Shapes, matched, of_split


@dataclass(frozen=True, kw_only=True)
class Options(Training):
    """Options of fine-tuning for classification, in addition to those of `Training`."""

    train_split: str = "train"
    test_split: str | None = told(None)
    """Split with the test shapes; None for `test`, or `val` if there is no `test`."""
    pool: Pool = "mean_max"
    """Input of the head: mean and maximum of the tokens, the model's summary, or the summary and the maximum."""
    scratch: bool = told(False)
    """Start from random weights, new ones for every seed, instead of the run's."""
    seeds: int = 3
    """Number of trainings, with seeds 0, 1, ..."""
    peer_protocol: bool = False
    """Also report the best epoch on the test shapes, the best seed, and votes: for comparison with papers that report these."""
    votes: int = 10
    """Peer protocol: number of augmented copies of a shape that vote."""
    vote_repeats: int = 10
    """Peer protocol: number of repetitions of the vote; the best one counts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.seeds, self.votes, self.vote_repeats) < 1:
            raise UserError(f"seeds, votes and vote_repeats must be at least 1, got {self.seeds}, {self.votes} and {self.vote_repeats}")
        if not self.peer_protocol:
            refuse_unread(self, ["votes", "vote_repeats"], "--peer-protocol is not given")


SMOKE: Final = Options(epochs=1, batch=8, seeds=1)


def run(stage: Stage, train_cache: Cache, test_cache: Cache, options: Options) -> Scores:
    """Accuracy after the last epoch, for each seed, on the first block of every test shape."""
    train, test, notes = matched(of_split(train_cache, options.train_split), of_split(test_cache, options.test_split))
    last, best, voted = [], [], []
    for seed in range(options.seeds):
        best_of_seed, peak = -1.0, None
        with seeded(seed, next(stage.parameters()).device):
            body = Body.of(stage, options.pool, scratch=options.scratch)
            for tuned, head in fit(body, train, options, seed):
                if options.peer_protocol:
                    accuracy = _percent(extract(tuned, test, 0, head), test)
                    if accuracy > best_of_seed:
                        best_of_seed, peak = accuracy, copy.deepcopy((tuned, head))
        last.append(extract(tuned, test, 0, head).argmax(1).numpy())
        if peak is not None:
            best.append(best_of_seed)
            voted.append(vote(*peak, test, options, seed))
    worst, drawing = mistakes(test, last)
    return Scores(
        train=train.data,
        test=test.data,
        metrics=(*accuracies(test.labels, last, "seeds", len(test.classes)), *(_peers(best, voted, test) if options.peer_protocol else ())),
        variant=options.tune + (" from scratch" if options.scratch else ""),
        classes=test.classes,
        confusion=confusion(test.labels, last, len(test.classes)),
        worst=worst,
        drawing=drawing,
        notes=(*notes, *body.notes(test, train), *described(tuned, head, options)),
    )


def vote(body: Body, head: nn.Module, shapes: Shapes, options: Options, seed: int) -> float:
    """Accuracy in percent if augmented copies of each shape vote: the best of several repetitions on the test shapes."""
    chance = torch.Generator(body.device).manual_seed(seed)

    def change(points: Tensor) -> Tensor:
        return augment(points, draw(options.augment, len(points), points.shape[1], chance), body.grey)

    def once() -> float:
        copies = [extract(body, shapes, 0, head, change).softmax(1) for _ in range(options.votes)]
        return _percent(torch.stack(copies).mean(0), shapes)

    return max(once() for _ in range(options.vote_repeats))


def _peers(best: list[float], voted: list[float], test: Shapes) -> tuple[Metric, ...]:
    return tuple(
        counted(f"{what} (peer protocol)", values, "seeds", len(test), 100 / len(test.classes), headline=True)
        for what, values in (
            ("best test epoch", tuple(best)),
            ("best test epoch of best seed", (max(best),)),
            ("best vote", tuple(voted)),
            ("best vote of best seed", (max(voted),)),
        )
    )


def _percent(scores: Tensor, shapes: Shapes) -> float:
    right: NDArray[np.bool_] = scores.argmax(1).numpy() == shapes.labels
    return 100 * float(right.mean())
