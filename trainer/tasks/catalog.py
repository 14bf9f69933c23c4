"""The evaluation tasks by name. A task measures a trained model on the splits of a cache.

    result = evaluate("svm", checkpoint.load(run), cache, options("svm", ["c=0.01"]))
    save(result, run)                                                   # RUN/eval/...json and pictures

`trainer.tasks.protocol` defines a task and explains how to add one.
"""

import dataclasses
import json
import math
import statistics
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

import torch

from cache_schema import plugins, products
from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.settings import override
from cache_schema.spec import did_you_mean, to_json
from cache_schema.store import Cache
from cache_schema.terminal import article, some
from trainer import checkpoint, classifiers
from trainer.align import Teacher
from trainer.arithmetic import of_task
from trainer.checkpoint import Header, Loaded, learned_from, setup
from trainer.encoders.catalog import ENCODERS
from trainer.tasks import rank, unfinished, unread
from trainer.tasks.mistakes import Mistakes, pairs
from trainer.tasks.protocol import TASKS, TOLD, Task, TaskOptions
from trainer.tasks.result import FOREIGN, Metric, Result, Scores
from trainer.tasks.shapes import EVERYTHING
from trainer.trained import relabelled_since

PLAIN: Final = str.maketrans("", "", '"[] ')
"""Characters to remove from JSON to get the form that `--set` takes: `[0.5, 1]` becomes `0.5,1`."""

ROUNDED: Final = 0.01
"""Most that a percentage of another package may be off: a mean of float32 numbers may be 100.00001."""
LONGEST: Final = 20
"""Largest number of letters of the unit of a metric, which stands behind the metric's name in tables."""

TITLE: Final = 100
"""Number of letters of a line above a picture, which the narrowest picture has room for."""


def task(name: str) -> Task:
    """The module of a task, ours or of another package (`cache_schema.plugins`).

    Raises:
        UserError: there is no task of that name, or that of another package cannot be imported.
    """
    return cast(Task, plugins.module("tasks", name, TASKS))


def lacks(name: str, cache: Cache) -> str:
    """A message if a cache lacks a product, an array or a split that the quickest form of a task needs; empty if it lacks nothing.

    Raises:
        UserError: there is no such task.
    """
    quickest = task(name).SMOKE
    splits, records = cache.manifest.splits, cache.products().values()
    there = {record.product for record in records} | {node.path for record in records for node in cache.arrays(record)}
    if missing := [need for need in getattr(task(name), "NEEDS", ()) if need not in there]:
        kind = "array" if "/" in missing[0] else "product"
        return f"needs the {kind} {missing[0]}, which {cache.path} does not have"
    learned = getattr(quickest, "train_split", None)
    if learned is not None and learned not in splits:
        return f"learns from a split {learned!r}, which {cache.path} does not have"
    if not {"test", "val"} & set(splits):
        return f"tests on a split 'test' or 'val', and {cache.path} has neither"
    return ""


def options(name: str, assignments: Sequence[str] = (), *, peer_protocol: bool = False) -> TaskOptions:
    """A task's options with `--set` assignments.

    Raises:
        UserError: the task or an option is unknown, a value is invalid, an option would have no effect, or the task has no peer protocol.
    """
    default = task(name).Options()
    if peer_protocol and not hasattr(default, "peer_protocol"):
        raise UserError(f"task {name} has no peer protocol: it has no choice that test shapes could decide. Leave --peer-protocol out.")
    found = override(default, [*assignments, *(["peer_protocol=true"] if peer_protocol else [])])
    unread.check(name, found)
    return found


def options_of(names: Sequence[str], assignments: Sequence[str] = (), *, peer_protocol: bool = False) -> dict[str, TaskOptions]:
    """The options of one or several tasks, by the name of the task. An assignment goes to each task that has such an option.

    Raises:
        UserError: as for `options`; with several tasks the error names the task. Or none of the tasks has the option of an assignment.
    """
    if len(names) == 1:
        return {names[0]: options(names[0], assignments, peer_protocol=peer_protocol)}
    fields = {name: [field.name for field in dataclasses.fields(task(name).Options())] for name in names}
    heads = [(assignment, assignment.partition("=")[0].partition(".")[0].strip()) for assignment in assignments]
    for assignment, head in heads:
        if not any(head in known for known in fields.values()):
            guess = did_you_mean(head, [field for known in fields.values() for field in known])
            raise UserError(f"--set {assignment}: none of the tasks {', '.join(names)} has an option {head!r}{guess}")
    found = {}
    for name in names:
        own = [assignment for assignment, head in heads if head in fields[name]]
        try:
            found[name] = options(name, own, peer_protocol=peer_protocol)
        except UserError as error:
            raise UserError(f"task {name}: {error}") from error
    return found


def evaluate(
    name: str, loaded: Loaded, cache: Cache, chosen: TaskOptions, test_cache: Cache | None = None, *, judged: bool = True
) -> Result:
    """Measure a run.

    Args:
        name: name of the task.
        loaded: the run, with its model on the device to use.
        cache: the cache with the training shapes; also with the test shapes if there is no `test_cache`.
        chosen: the task's options.
        test_cache: the cache with the test shapes; classes are matched by name. None for `cache`. If it is another one, and has no splits
            and `chosen` names none, then all of it is tested.
        judged: whether a note says so if the encoder tells shapes apart less than random weights do. It costs a forward pass or two.

    Raises:
        UserError: the task cannot be done with this model, these caches or these options.
    """
    module, header = task(name), loaded.header
    loaded.model.convention = checkpoint.trained_on(header, (test_cache or cache, cache))
    known = loaded.model.convention is not None
    unknown = "" if known else "the run does not record the number, normalisation and colours of its training points"
    if unknown and header.source:
        unknown += ": import it again to record them"
    unread.check(name, chosen)
    unread.check_read(name, chosen, loaded, cache)
    if test_cache is not None and test_cache.path != cache.path and not test_cache.manifest.splits:
        chosen = _tested_whole(chosen)
    measured = module.run(loaded.model, cache, test_cache or cache, chosen)
    if theirs := plugins.plugin("tasks", name, TASKS):
        _refuse(measured, f"task {name!r} ({theirs.told})")
    scores = _counted(measured, loaded, scratch=getattr(chosen, "scratch", False))
    settings, usual, titled = _flat(to_json(chosen)), _flat(to_json(module.Options())), set(_told(chosen))
    unusual = [f"{key}={value.translate(PLAIN)}" for key, value in settings if (key, value) not in usual and key not in titled]
    scores = dataclasses.replace(
        scores,
        worst=scores.worst or pairs(scores.confusion, scores.classes),
        variant=" ".join(filter(None, (scores.variant, *unusual))),
        notes=_each_once(
            *scores.notes,
            *unread.told(name, chosen),
            "trained in bfloat16, as a GPU that computes it does; on a CPU it would be float32" if scores.precision == "bfloat16" else "",
            *imported(header.facts.teachers),
            *_made_elsewhere(name, header.config.encoder.name),
            *_not_new(scores),
            *(_alike(module, loaded, scores, chosen) if judged else ()),
            *(() if getattr(chosen, "scratch", False) else _relabelled(header, (cache, test_cache or cache))),
            unknown,
            header.origin,
            header.unfinished,
            *header.notes,
            *unfinished.notes(),
        ),
    )
    peers = getattr(chosen, "peer_protocol", False)
    return Result(
        task=name,
        run=loaded.run.resolve().name,
        setup=setup(header),
        trial=setup(header, seeds=True),
        weights=loaded.weights,
        model=loaded.settings,
        protocol="last epoch, peer protocol where named" if peers else "last epoch",
        settings=tuple(settings),
        scores=scores,
    )


def resumable(name: str, loaded: Loaded, chosen: TaskOptions, caches: Sequence[Cache]) -> AbstractContextManager[None]:
    """Let the trainings of a task in the block go on after a stop, where the task can (`trainer.tasks.unfinished`).

    With the peer protocol they begin anew: what it remembers of every epoch is not kept.

    Args:
        name: name of the task.
        loaded: the run.
        chosen: the task's options.
        caches: the caches with the training and the test shapes.
    """
    if not getattr(task(name), "RESUMES", False) or getattr(chosen, "peer_protocol", False):
        return nullcontext()
    read = (products.INDEX, products.STATUS, products.POINTS, products.BOXES)
    known = [{record.product: (record.fingerprint, record.content) for record in cache.products().values()} for cache in caches]
    data = [[one[kind.name] for kind in read if kind.name in one] for one in known]
    device = next(loaded.model.parameters()).device
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    computing = [of_task(learns, device).precision for learns in (True, False)]
    software = (version("mmpd"), torch.__version__, machine, computing)
    model = (setup(loaded.header, seeds=True), loaded.weights, loaded.settings)
    return unfinished.keeping(loaded.run, name, (*software, *model, _flat(to_json(chosen)), data))


def _each_once(*notes: str) -> tuple[str, ...]:
    """Notes without empty ones and repetitions."""
    return tuple(dict.fromkeys(filter(None, notes)))


def _refuse(scores: object, said: str) -> None:
    """Refuse scores of a task of another package that are not what a result needs.

    Raises:
        UserError: they are no `Scores`, no metric stands in tables, one does not tell its unit and direction, a value is no number or no
            percentage, or `confusion` or `predictions` say another accuracy.
    """
    if not isinstance(scores, Scores):
        raise UserError(f"{said}: its run returned {article(type(scores).__name__)}, expected Scores of trainer.tasks.result")
    if not any(metric.headline for metric in scores.metrics):
        raise UserError(f"{said}: none of its metrics has headline=True, so no table would have it")
    for metric in scores.metrics:
        _refuse_metric(metric, said)
    told = [metric for metric in scores.metrics[:1] if metric.name == "accuracy"]
    total = sum(map(sum, scores.confusion))
    if told and total:
        right = 100 * sum(row[i] for i, row in enumerate(scores.confusion)) / total
        if abs(right - told[0].mean) > ROUNDED:
            raise UserError(
                f"{said}: its accuracy is {told[0].mean:g}, and its confusion matrix says {right:g} %: accuracies are percentages"
            )
    for kept in scores.predictions:  # `eval compare` calls these shares by the name of the metric
        own = next((metric for metric in scores.metrics if metric.name == kept.metric), None)
        means = (None if own is None else own.mean, statistics.fmean(kept.values))
        if own is None or not own.percent or own.better == "lower" or abs(own.mean - statistics.fmean(kept.values)) > ROUNDED:
            raise UserError(
                f"{said}: its predictions for {kept.metric!r} are right for {means[1]:g} %, expected the value of a metric of that name in "
                f"percent, got {'none' if own is None else own.told}: predictions are for a metric that counts how many of them are right"
            )


def _refuse_metric(metric: Metric, said: str) -> None:
    """Refuse a metric of another package of which tables and readers would think something else than it is.

    Raises:
        UserError: see `_refuse`.
    """
    if not metric.measured_in or not metric.better:
        lacks = " and ".join(name for name in ("measured_in", "better") if not getattr(metric, name))
        raise UserError(
            f"{said}: its metric {metric.name!r} does not tell {lacks}. Add measured_in='%', better='higher' if its values are "
            "percentages, 0 to 100, of which more is better; else its unit, such as measured_in='m', and better='lower' or 'higher'"
        )
    if len(metric.measured_in) > LONGEST or metric.better not in ("lower", "higher"):
        raise UserError(
            f"{said}: its metric {metric.name!r} has measured_in={metric.measured_in!r} and better={metric.better!r}, expected a unit of "
            f"at most {LONGEST} letters, and lower or higher"
        )
    ends = [one for one in (metric.chance, metric.largest) if one is not None]
    if not metric.values or not all(map(math.isfinite, (*metric.values, *(metric.interval or ()), *ends))):
        raise UserError(f"{said}: the values of {metric.name!r} must be finite numbers, got {_shown(metric)}")
    if metric.percent and not all(-ROUNDED <= value <= 100 + ROUNDED for value in metric.values):
        raise UserError(
            f"{said}: the values of {metric.name!r} must be percentages, 0 to 100, got {_shown(metric)}. If they are something else, tell "
            "their unit by measured_in"
        )


def _shown(metric: Metric) -> str:
    """The first values of a metric, for a message."""
    return some([f"{value:g}" for value in metric.values], most=3) if metric.values else "none"


def _counted(scores: Scores, loaded: Loaded, *, scratch: bool = False) -> Scores:
    """The scores with the number of test shapes that are not new (`Scores.seen`). `scratch`: the encoder's weights were left aside."""
    if scores.sides is None:
        return scores
    header = checkpoint.recalled(loaded.header, [loaded.run.resolve().parent])
    return dataclasses.replace(scores, seen=scores.sides.seen(header, scratch=scratch, units=scores.metrics[0].units))


def _alike(module: Task, loaded: Loaded, scores: Scores, chosen: TaskOptions) -> tuple[str, ...]:
    """A note on an encoder whose features are less useful than those of random weights, where a task reads them as they are."""
    if scores.sides is None or not getattr(module, "PROBES", False) or getattr(chosen, "scratch", False):
        return ()
    return rank.notes(loaded.model, scores.sides.test)


def _not_new(scores: Scores) -> Sequence[str]:
    """Notes on test shapes that are not new."""
    if scores.seen is None:
        return ["the task does not say which shapes it used (Scores.sides), so it was not checked whether the test shapes are new"]
    return scores.seen.notes(scores.metrics[0].units)


def _relabelled(header: Header, caches: Sequence[Cache]) -> list[str]:
    """Notes on caches in which shapes got other classes, splits or names since the run has read them."""
    return [
        f"the encoder was trained on {then} before shapes there got other classes, splits or names (`mmpd-cache relabel`): it learned from "
        "those of before"
        for used in learned_from(header).caches
        for cache in caches
        if (then := relabelled_since(used, cache, config=header.config.data, seed=header.config.seed))
    ]


def settled(name: str, assignments: Sequence[str] = ()) -> list[tuple[str, str]]:
    """All settings of a task as a result keeps them (`Result.settings`). Raises as `options`."""
    return _flat(to_json(options(name, assignments)))


def check_keep(name: str, loaded: Loaded, keep: str, chosen: TaskOptions) -> None:
    """Check before a training that `keep` can keep its classifier.

    Args:
        name: name of the task.
        loaded: the run.
        keep: name of the classifier.
        chosen: the task's options.

    Raises:
        UserError: the task trains no classifier, the name is not possible, or it belongs to another classifier.
    """
    if not getattr(task(name), "KEEPS", False):
        able = ", ".join(other for other in TASKS if getattr(task(other), "KEEPS", False))
        raise UserError(f"eval {name} trains no classifier that could be kept; these do: {able}. Leave --keep out")
    if getattr(chosen, "average", False):
        raise UserError("average=true fits on means of blocks, and a kept classifier reads one block at a time: leave one of them out")
    classifiers.refuse_taken(loaded.run, keep, loaded.weights, name, tuple(_flat(to_json(chosen))))


def keep(result: Result, loaded: Loaded, name: str) -> tuple[Path, str]:
    """Keep the classifier that a result is of. Returns its file, and in words which of the task's trainings it is.

    Raises:
        UserError: another classifier has this name.
    """
    assert result.scores.trained is not None
    return result.scores.trained.keep(loaded, name, result.task, result.settings)


def measure(loaded: Loaded, name: str, cache: Cache, assignments: Sequence[str] = ()) -> Result:
    """Measure a kept classifier, without any training.

    Args:
        loaded: the run that keeps it, with its model on the device to use.
        name: name of the classifier.
        cache: the cache with the test shapes; classes are matched by name. If it has no splits and `assignments` name none, all of it is
            tested.
        assignments: `--set` assignments; only `test_split` has an effect.

    Raises:
        UserError: there is no such classifier, it does not fit the run or the cache, or an assignment has no effect.
    """

    from trainer.tasks import classify

    chosen = classify.Options()
    for assignment in assignments:
        if assignment.partition("=")[0].strip() != "test_split":
            raise UserError(f"--set {assignment} would have no effect on a classifier that is trained already: leave it out")
    split = override(chosen, assignments).test_split or (None if cache.manifest.splits else EVERYTHING)
    kept = classifiers.load(loaded.run, name, next(loaded.model.parameters()).device, loaded)
    scores = _counted(classify.measure(kept, cache, split), loaded)
    unknown = "" if kept.convention else "the run does not record the number, normalisation and colours of its training points"
    theirs = _made_elsewhere("classify", loaded.config.encoder.name)
    told = (
        *theirs,
        *_relabelled(loaded.header, (cache,)),
        *imported(loaded.header.facts.teachers),
        unknown,
        loaded.header.unfinished,
        *loaded.header.notes,
    )
    return Result(
        task="classify",
        run=loaded.run.resolve().name,
        setup=setup(loaded.header),
        trial=setup(loaded.header, seeds=True),
        weights=loaded.weights,
        model=loaded.settings,
        protocol="last epoch",
        settings=(("classifier", json.dumps(name)), ("test_split", json.dumps(split))),
        scores=dataclasses.replace(scores, notes=_each_once(*scores.notes, *_not_new(scores), *told)),
    )


def _made_elsewhere(name: str, encoder: str) -> list[str]:
    """Notes on what other packages have added: the task, and the encoder of the run."""
    foreign = [(FOREIGN, plugins.origin("tasks", name, TASKS))]
    foreign += [("the encoder is of another package", plugins.origin("encoders", encoder, ENCODERS))]
    return [f"{note}: {package} {version}" for note, origin in foreign for package, version in origin]


def _tested_whole(chosen: TaskOptions) -> TaskOptions:
    """The options with the split `all` for the test, if they name none."""
    return dataclasses.replace(chosen, test_split=EVERYTHING) if getattr(chosen, "test_split", "") is None else chosen


def imported(teachers: Sequence[Teacher]) -> list[str]:
    """A note for each teacher whose embeddings were imported: nobody has seen the model that made them."""
    return [
        f"learned from imported embeddings of {teacher.name}: they are told to be of {teacher.imported}, and were not computed here"
        for teacher in teachers
        if teacher.imported
    ]


def save(result: Result, run: Path) -> list[Path]:
    """Write a result into the folder of its run, with a picture of the confusion matrix and one of some test shapes if it has them. Returns
    the files."""
    files = [result.save(run)]
    if result.scores.confusion:
        from trainer.tasks import picture  # it imports matplotlib

        files.append(files[0].with_suffix(".png"))
        picture.confusion(result, files[1])
    if result.scores.drawing is not None:
        files.append(files[0].with_name(f"{files[0].stem}-{result.scores.drawing.ending}.png"))
        first = result.scores.metrics[0]
        lines = [textwrap.fill(f"{result.run}: {result.title}", TITLE), f"{first.label} {result.said(first)}"]
        if isinstance(result.scores.drawing, Mistakes) and result.together:  # other pictures show one prediction, and count nothing
            lines.append(f"counted {result.together}")
        write_file(files[-1], result.scores.drawing.png("\n".join(lines)))
    return files


def _told(options: TaskOptions, prefix: str = "") -> Iterator[str]:
    """Names of the options that were declared by `told`: a title includes them already. A nested name has the form `training.tune`."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _told(value, f"{prefix}{field.name}.")
        elif TOLD in field.metadata:
            yield prefix + field.name


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as a list of pairs: the name, such as `a.b`, and the value as JSON."""
    pairs = []
    for name, value in settings.items():
        pairs += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, json.dumps(value))]
    return pairs
