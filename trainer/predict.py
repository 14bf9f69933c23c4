"""Classes of shapes with their probabilities (of an SVM: scores), as a table, as JSON and in files.

    found = of_cache(model, cache, rows, "modelnet40")
    found.agreement(cache)                              # in words: how many have the class that the cache gives them

Letters: n shapes, K classes, k classes that are shown.
"""

import csv
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cache_schema.classes import NONE, matched
from cache_schema.errors import UserError
from cache_schema.store import Cache
from cache_schema.terminal import counted, some
from trainer.model import BlockNumbers, Kind, Model, Prediction
from trainer.vectors import PART, Table

TOP: Final = 5
"""Number of classes that are shown for a shape."""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """The likeliest classes of n shapes."""

    classes: tuple[str, ...]
    """Names of all K classes."""
    about: str
    """What they are measured against, in words."""
    best: NDArray[np.int64]
    """Indices of the likeliest classes of each shape with a prediction, the likeliest first. [m, k]"""
    probability: NDArray[np.float32]
    """Their probabilities; if `votes`, their shares of the votes. [m, k]"""
    votes: bool = False
    """Whether a kept SVM has voted. Its numbers are no probabilities and are called scores."""

    @property
    def word(self) -> Literal["probability", "score"]:
        """What a number of a class is called, in files, too."""
        return "score" if self.votes else "probability"

    @classmethod
    def of(cls, parts: Sequence[Prediction[NDArray[np.float32]]]) -> "Predicted":
        """Join predictions of the same classes."""
        top = min(TOP, len(parts[0].classes))
        best = [_order(part.probabilities)[:, :top] for part in parts]
        probability = [np.take_along_axis(part.probabilities, order, 1) for part, order in zip(parts, best, strict=True)]
        return cls(
            classes=parts[0].classes,
            about=parts[0].about,
            best=np.concatenate(best),
            probability=np.concatenate(probability),
            votes=parts[0].votes,
        )

    def agreement(self, table: Table) -> dict[str, Any] | None:
        """How many shapes have the class that their cache gives them as the likeliest one.

        Returns:
            Number of shapes whose class is among the K classes (`shapes`), of those that agree (`agree`), and the number that chance gives
            (`chance`); None if no class of the cache is among them, or names cannot be told apart.
        """
        truth = self._truth(table)[1]
        known = truth != NONE
        if not known.any():
            return None
        agree = int((self.best[known, 0] == truth[known]).sum())
        return {"shapes": int(known.sum()), "agree": agree, "chance": float(known.sum() / len(self.classes))}

    def others(self, table: Table) -> str:
        """A note on shapes whose class in the cache is not among the K classes, as after `mmpd-cache relabel`: the `agreement` leaves them
        out. Empty if there are none, or if there is no agreement."""
        own, truth = self._truth(table)
        if (truth == NONE).all():
            return ""
        lost = [name for name, place in zip(own, truth.tolist(), strict=True) if name and place == NONE]
        if not lost:
            return ""
        names = some(list(dict.fromkeys(lost)))
        return (
            f"{len(lost)} of {counted(len(own), 'shape')} have a class that is not among these ({names}): "
            "they are left out where classes are compared"
        )

    def _truth(self, table: Table) -> tuple[list[str], NDArray[np.int64]]:
        """The class that the cache gives to each shape with a prediction, empty for none; and its index among the K classes, `NONE` if it
        is not there, and for all if names cannot be told apart. [m] each"""
        own = [name or "" for name, fine in zip(table.classes, table.fine, strict=True) if fine]
        names = sorted({name for name in own if name})
        places: dict[str, int] = {}
        with suppress(UserError):
            places = dict(zip(names, matched(names, self.classes).tolist(), strict=True))
        return own, np.array([places.get(name, NONE) for name in own], np.int64)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """The prediction of every shape of a table as JSON values; shapes that failed have a reason instead."""
        place = iter(range(len(self.best)))
        found = []
        for name, label, reason, remark in zip(table.ids, table.classes, table.reasons, table.remarks, strict=True):
            row: dict[str, Any] = {"id": name, "class": label, "status": "failed" if reason else "ok"}
            if reason:
                row["reason"] = reason
            else:
                i = next(place)
                pairs = zip(self.best[i].tolist(), self.probability[i].tolist(), strict=True)
                if remark:
                    row["remark"] = remark
                row["top"] = [{"class": self.classes[k], self.word: value} for k, value in pairs]
            found.append(row)
        return found

    def csv(self, table: Table) -> bytes:
        """The prediction of every shape of a table as a .csv file."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        numbers = range(1, self.best.shape[1] + 1)
        writer.writerow(["id", "class", "status", "reason", *(f"{what}_{i}" for i in numbers for what in ("class", self.word))])
        for row in self.rows(table):
            pairs = [cell for one in row.get("top", []) for cell in (one["class"], f"{one[self.word]:.6g}")]
            pairs += [""] * (2 * len(numbers) - len(pairs))
            writer.writerow([row["id"], row["class"] or "", row["status"], row.get("reason", row.get("remark", "")), *pairs])
        return text.getvalue().encode()


def _order(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Classes from the likeliest on; of equally likely ones the first comes first, as in `eval zeroshot`. [n, K]"""
    return torch.from_numpy(probabilities).argsort(dim=1, descending=True, stable=True).numpy()


def of_cache(
    model: Model,
    cache: Cache,
    rows: NDArray[np.int64],
    labels: str,
    step: Callable[[int, int], None] | None = None,
    block: BlockNumbers = 0,
    kind: Kind = "either",
) -> Predicted:
    """Predict the classes of usable shapes of a cache, a part of them at a time. `kind` says what `labels` names. See
    `Model.classify_cache`, whose errors it raises."""
    if not len(rows):
        raise UserError(f"{cache.path}: there is no usable shape to predict")
    parts = []
    if step is not None:
        step(0, len(rows))
    for start in range(0, len(rows), PART):
        parts.append(Predicted.of([model.classify_cache(cache, labels, rows[start : start + PART], block, _kind=kind)]))
        if step is not None:
            step(min(start + PART, len(rows)), len(rows))
    first = parts[0]
    best, probability = (np.concatenate([getattr(part, name) for part in parts]) for name in ("best", "probability"))
    return replace(first, best=best, probability=probability)
