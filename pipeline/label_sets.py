"""Embed label sets, for the command `labels`: into a cache, by all of its teachers that read text; or into a label file, by one teacher."""

from collections.abc import Callable, Mapping
from pathlib import Path

from cache_schema import label_files, products, store
from cache_schema.errors import UserError
from cache_schema.label_files import LabelFile
from cache_schema.overlay import told_behind
from cache_schema.spec import LabelSet, PointSpec, Record, TeacherSpec
from cache_schema.store import Cache
from cache_schema.terminal import counted
from pipeline import build, journal, labels
from pipeline.executors import catalog as executors
from pipeline.models import Models
from pipeline.opening import check_place, places, text_teachers
from pipeline.recipes import BuildConfig
from pipeline.records import label_record
from pipeline.work import Machine, Terminal, Work, held


def add_labels(path: Path, reference: str, batch: int, machine: Machine, terminal: Terminal) -> LabelSet:
    """Embed a label set (see `pipeline.labels.label_set`) with every teacher of a cache that reads text.

    Raises:
        UserError: there is no such label set, no teacher reads text, or a teacher is not on this machine.
    """
    opened = store.open_cache(path)  # no lock file beside what is no cache
    if said := told_behind(opened):
        terminal.say(f"Note: {said}")
    made = labels.label_set(reference, opened.manifest.classes, parts_of(opened))
    if not text_teachers(opened):
        raise UserError(
            f"{path} has no teacher with a text side to embed labels with; add one with `mmpd-cache add-teacher`, or bring embeddings of "
            "them with `mmpd-cache import-embeddings --kind labels`"
        )
    models = Models(executors.devices(machine)[0], places(path))
    check_place(path)
    with held(path, terminal) as file:
        work = Work(cache=store.open_cache(path), models=models, machine=machine, terminal=terminal, journal=file)
        work.note(journal.Labels(set=reference))
        embed_labels(work, made, batch)
        work.note(journal.Done())
    return made


def write_labels(
    out: Path, made: LabelSet, teacher: str, precision: str | None, batch: int, machine: Machine, terminal: Terminal
) -> LabelFile:
    """Embed a label set with a teacher, and write it into a label file, without a cache.

    Args:
        out: the file. It must not exist.
        made: the label set.
        teacher: name or reference of the teacher.
        precision: arithmetic of the teacher; None for that of the catalogue.
        batch: number of texts in a forward pass.
        machine: where to run.
        terminal: where to report.

    Raises:
        UserError: the file exists or has another ending, there is no such teacher, its weights are missing, or it reads no text.
    """
    if out.suffix != label_files.SUFFIX:
        raise UserError(f"a label file ends in {label_files.SUFFIX}, got {out}")
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists: remove it, or give another name")
    models = Models(executors.devices(machine)[0])
    loaded = models.load_teacher(teacher, terminal.say, precision)
    if not loaded.spec.text:
        raise UserError(f"teacher {teacher} reads no text; `mmpd-cache teachers` lists teachers that do")
    terminal.say(f"embedding {counted(len(made.classes), 'class')} x {counted(len(made.templates), 'template')} with {teacher}")
    file = LabelFile(
        labels=made,
        teacher=loaded.spec,
        embeddings=build.embedded_labels(made, loaded, batch, models),
        made_by=label_record(made, loaded.spec, models.here, batch).made_by,
    )
    label_files.write(out, file)
    return file


def wanted_labels(cache: Cache, config: BuildConfig, say: Callable[[str], None] = lambda text: None) -> list[LabelSet]:
    """Return the label sets of a build. `say` gets a warning for one that is left out, because its names are easily confused. Raises the
    errors of `pipeline.labels.label_set`."""
    own = {"source": cache.manifest.classes, "parts": parts_of(cache)}
    found = []
    for name in config.labels:
        if name in own and not own[name]:
            continue
        if name in own and (said := labels.told_confused(own[name])):
            say(f"Warning: {said}")
            continue
        found.append(labels.label_set(name, own["source"], own["parts"]))
    return found


def parts_of(cache: Cache) -> tuple[str, ...]:
    """Names of the parts that the points of a cache are labelled with; empty if they have no labels."""
    record = cache.records().get(products.POINTS.name)
    return record.spec.parts if record is not None and isinstance(record.spec, PointSpec) else ()


def embed_labels(work: Work, label_set: LabelSet, batch: int, only: TeacherSpec | None = None) -> None:
    """Embed a label set with every teacher of a cache that reads text, or with one teacher only.

    Args:
        work: the cache, and what the command works with.
        label_set: the label set.
        batch: number of texts in a forward pass.
        only: the teacher; None for all.

    Raises:
        UserError: the cache has another label set of this name, or a teacher is not on this machine.
    """
    cache = work.cache
    for teacher in [only] if only is not None else text_teachers(cache):
        wanted = label_record(label_set, teacher, work.models.here, batch)
        there = cache.agreed(wanted)
        if there.complete and not cache.missing(there):
            continue
        loaded = work.models.teacher(teacher)
        record = cache.begin(wanted)
        work.terminal.say(
            f"embedding {counted(len(label_set.classes), 'class')} x {counted(len(label_set.templates), 'template')} with {teacher.name}"
        )
        if cache.missing(record):
            build.make_labels(cache, record, loaded, batch, work.models)
        cache.finish(record)


def embed_stored_labels(work: Work, there: Mapping[str, Record], batch: int, teacher: TeacherSpec) -> None:
    """Embed the label sets that a cache has with one teacher, if it reads text.

    Args:
        work: the cache, and what the command works with.
        there: the finished products of the cache, by name.
        batch: number of texts in a forward pass.
        teacher: the teacher.

    Raises:
        UserError: see `embed_labels`.
    """
    if teacher.text:
        for label_set in {record.labels.name: record.labels for record in there.values() if record.labels is not None}.values():
            embed_labels(work, label_set, batch, only=teacher)
