"""`mmpd-train`: pre-train a 3D encoder from a cache alone, in two stages, and measure it. Every command explains itself with --help."""

# ruff: noqa: E402, because NumPy and torch read the number of threads when they are imported. The modules below import NumPy.
import os

from trainer import machine

machine.suit()
# By default OpenMP's threads spin while they wait. On a machine with other work this costs far more than it gains.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import dataclasses
import inspect
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

from cache_schema import plugins
from cache_schema.errors import UserError
from cache_schema.remote import is_remote
from cache_schema.terminal import LOG_FILE, QUIET, everywhere, printable, version_line
from trainer import cli_use, signals
from trainer.tasks.protocol import TASKS
from trainer.terminal import answer, err, log, out, print_json, print_wide, progress, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cache_schema.store import Cache
    from trainer.checkpoint import Loaded
    from trainer.config import AlignConfig, DistillConfig, StageConfig
    from trainer.tasks.protocol import TaskOptions
    from trainer.tasks.result import Result

app = typer.Typer(
    help="Train 3D encoders from a cache: align, guide, distill, eval. Start with: mmpd-train align out.zarr runs/align",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
DEFAULT = "tiny"
"""Name of the default recipe."""
ALONE = 15.0
"""Grace period in seconds. If all ranks fail, torchrun ends this process within it; if the process still runs then, only it has failed."""

CachePath = Annotated[Path, typer.Argument(metavar="CACHE", help="The cache, a folder NAME.zarr.", show_default=False)]
CacheOrAddress = Annotated[
    str, typer.Argument(metavar="CACHE", help="The cache: a folder, or an address such as s3://LAB/NAME.zarr.", show_default=False)
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of the run.", show_default=False)]
Recipe = Annotated[str, typer.Option(metavar="NAME", help=f"See `mmpd-train recipes`. Default: {DEFAULT}.", show_default=False)]
Also = Annotated[
    list[str] | None, typer.Option(metavar="CACHE", help="Train on this cache too; see data.passes. Repeatable.", show_default=False)
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change one setting. Repeatable.", show_default=False)]
Init = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN", help="Take the weights of RUN, as far as they fit. Without --recipe also its settings.", show_default=False
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in RUN; start it if the folder is empty.")]
Device = Annotated[str, typer.Option(help="Torch device. auto: a GPU if there is one, else the CPU.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(version_line())
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help=QUIET)] = False,
    log_file: Annotated[Path | None, typer.Option("--log-file", metavar="FILE", help=LOG_FILE, show_default=False)] = None,
) -> None:
    """Train 3D encoders from a cache: align, guide, distill, eval. Start with: mmpd-train align out.zarr runs/align

    --quiet and --log-file may stand anywhere in a command.
    """
    err.quiet = quiet
    log.begin(log_file if os.environ.get("RANK", "0") == "0" else None, f"mmpd-train {' '.join(sys.argv[1:])}")


@app.command()
def align(
    cache: CacheOrAddress,
    run: RunPath,
    recipe: Recipe = "",
    init: Init = None,
    also: Also = None,
    set_: Set = None,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Stage 1: align an encoder with the images and texts of the cached teachers.

    \b
    mmpd-train align out.zarr runs/align
    mmpd-train align out.zarr runs/align --resume
    mmpd-train align out.zarr runs/more --init runs/align --set optim.epochs=100 --set optim.lr=1e-4
    mmpd-train align other.zarr runs/heads --init runs/align --set optim.freeze=-1
    mmpd-train align s3://lab/out.zarr runs/align --set data.mirror=mirror --set data.mirror_limit=50GiB
    mmpd-train align shapenet.zarr runs/mmpd --recipe mmpd --set data.teachers=clip-vit-b32,dinov2-small
    torchrun --nproc-per-node 8 -m trainer.cli align shapenet.zarr runs/mmpd --recipe mmpd
    """
    from trainer.loop import train

    config = configuration("align", run, recipe, set_ or [], resume, init)
    train(config, [cache, *(also or [])], run, init=init, resume=resume, device=device, console=err)
    here = f"mmpd-cache pull {cache} CACHE, then mmpd-train guide CACHE" if is_remote(cache) else f"mmpd-train guide {cache}"
    say(f"{run} is trained: checkpoint, metrics and curves.png are there. Next: {here} {run}")


@app.command()
def guide(
    cache: CachePath,
    run: RunPath,
    name: Annotated[str, typer.Option(help="Name of the guide in the cache. Default: the name of the run.", show_default=False)] = "",
    blocks: Annotated[int, typer.Option(help="Number of blocks of each shape to guide, from the first. 0: all.")] = 0,
    precision: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Arithmetic of the guide.")] = "float32",
    device: Device = "auto",
    overlay: Annotated[
        Path | None,
        typer.Option(
            "--overlay",
            metavar="MINE.zarr",
            help="Write the guide into this folder of your own and leave CACHE as it is. Both are then one cache, MINE.zarr.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compute the features of every stored block with a run of stage 1, and write them into the cache: the targets of stage 2.

    To continue after an interruption, run the same command again.

    \b
    mmpd-train guide /lab/shared.zarr runs/align --overlay mine.zarr
    """
    from cache_schema.overlay import laid, refuse_unwritable
    from cache_schema.products import GUIDE
    from cache_schema.spec import GuideSpec
    from cache_schema.store import open_cache
    from trainer import checkpoint
    from trainer.guide import COLLAPSED, refuse_stale, spread, write

    name = name or run.resolve().name
    product = GUIDE.product(guide=name)
    with laid(cache, overlay) as path:
        online = f"mmpd-train distill {path} RUN --init {run} --set guide_online=true"
        refuse_unwritable(path, f", or compute the guide's features during training: {online}")
        opened, loaded = open_cache(path), checkpoint.load(run)
        if loaded.header.unfinished:
            say(f"Note on {run}: {loaded.header.unfinished}")
        with progress(product) as step:
            made = write(opened, loaded, name, blocks=blocks, precision=precision, device=device, progress=step)
        opened = open_cache(path)
    assert isinstance(made.spec, GuideSpec)
    for note in refuse_stale([(opened, made.spec)], loaded):
        say(f"Note: {note}")
    apart = spread(opened, name)
    say("Mean cosine distance between summaries {:.3g}, between tokens {:.3g}".format(*apart))
    if min(apart) < COLLAPSED:
        say(f"Warning: the features in {product} are almost equal for all shapes (collapse). See {run}/curves.png")
    say(f"{path} now has {product}. Next: mmpd-train distill {path} RUN --guide {name} --init {run}")


@app.command()
def distill(
    cache: CacheOrAddress,
    run: RunPath,
    recipe: Recipe = "",
    guide_: Annotated[
        str, typer.Option("--guide", metavar="NAME", help="The guide in the cache. Not needed if there is only one.", show_default=False)
    ] = "",
    init: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="The run of stage 1 that made the guide: the student starts from its weights. Or any other run: its encoder and, as far "
            "as they fit, its decoders and heads are taken. Without --recipe also its settings, or those of its encoder.",
            show_default=False,
        ),
    ] = None,
    guide_run: Annotated[
        Path | None,
        typer.Option(
            "--guide-run",
            metavar="RUN",
            help="The run of the guide, if --init names another. Features in the cache that are not of this run as it is now are refused.",
            show_default=False,
        ),
    ] = None,
    also: Also = None,
    set_: Set = None,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Stage 2: masked modelling that distils a guide's features, globally and locally, with token shuffling.

    \b
    mmpd-train distill out.zarr runs/distill --init runs/align
    mmpd-train distill out.zarr runs/noshuffle --init runs/align --set distill.shuffle=none
    mmpd-train distill out.zarr runs/longer --init runs/distill --set optim.epochs=100
    mmpd-train distill out.zarr runs/pointmae --recipe point-mae --set encoder.name=pointmae-tiny
    """
    from trainer.config import DistillConfig
    from trainer.loop import train

    config = configuration("distill", run, recipe, set_ or [], resume, init)
    assert isinstance(config, DistillConfig)
    if init and "start=random" in (set_ or []) and not config.needs_guide_run:
        raise UserError(f"the run {init} is of no use: the student starts from random weights (start=random). Leave --init out")
    if guide_ and (not config.needs_guide or config.guide_online):
        raise UserError("--guide names features in the cache, but with these settings no guide is read from it: leave out --guide")
    config = dataclasses.replace(config, guide=guide_) if guide_ else config
    train(config, [cache, *(also or [])], run, init=init, guide_run=guide_run, resume=resume, device=device, console=err)
    say(f"{run} is trained: checkpoint, metrics and curves.png are there. Next: mmpd-train eval svm {run} {cache}")


EVAL_HELP: Final = f"""Measure a run, or join the results of several into one table.

Tasks: {", ".join(TASKS)}. `mmpd-train show TASK` prints what --set can change. With several tasks a setting goes to each task that has
it; one that no task has is refused. With --json the results of several tasks, runs or test caches are a list, which is printed even if a
later one fails.

\b
mmpd-train eval svm runs/distill out.zarr
mmpd-train eval svm,knn runs/align runs/distill out.zarr           # several tasks and runs: features are computed once
mmpd-train eval zeroshot runs/align out.zarr --set labels=modelnet40 --json
mmpd-train eval classify runs/distill out.zarr --keep chairs       # then: --classifier chairs, and mmpd-train predict
mmpd-train eval classify runs/distill other.zarr --classifier chairs
mmpd-train eval classify runs/imported out.zarr --as-published
mmpd-train eval table runs/align runs/distill
mmpd-train eval table runs/a0 runs/a1 runs/b0 runs/b1 --by setup --markdown
mmpd-train eval table runs/* --csv > results.csv
mmpd-train eval compare runs/a0 runs/a1 runs/b0 runs/b1 --by setup   # which differences are more than chance? shape by shape
"""


class _Eval(TyperCommand):
    """Adds the tasks of other packages to the help. They are looked for only when it is shown."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        told = [f"{name} ({plugins.state('tasks', name, TASKS)})" for name in plugins.others("tasks", TASKS)]
        if told := [*told, *plugins.refused("tasks", TASKS)]:
            formatter.write_paragraph()
            formatter.write_text(printable(f"Tasks of other packages: {', '.join(told)}"))
        super().format_epilog(ctx, formatter)


@app.command("eval", help=EVAL_HELP, cls=_Eval)
def evaluate(
    task: Annotated[
        str, typer.Argument(metavar="TASK[,TASK]", help="What to measure, several with commas; or `table`, `compare`.", show_default=False)
    ],
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="RUN... CACHE", help="Runs and a cache; for `table` and `compare` only runs.", show_default=False),
    ],
    set_: Set = None,
    test_cache: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CACHE",
            help="Test on another cache; classes are matched by name. Repeatable: `classify`, `scenes` and `detect` train once for all; "
            "--json prints a list.",
            show_default=False,
        ),
    ] = None,
    peer_protocol: Annotated[
        bool, typer.Option("--peer-protocol", help="Also report the best epoch on the test shapes, as many papers do.")
    ] = False,
    keep: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="classify, fewshot, svm: keep the classifier, of the first seed, fold or block, in RUN/classifiers.",
            show_default=False,
        ),
    ] = "",
    classifier: Annotated[
        str, typer.Option(metavar="NAME", help="classify: measure a kept classifier on CACHE, without training.", show_default=False)
    ] = "",
    as_published: Annotated[
        bool, typer.Option("--as-published", help="classify: measure the classifier of an imported run's file on CACHE, without training.")
    ] = False,
    by: Annotated[
        Literal["run", "setup"] | None,
        typer.Option(
            help="table, compare: one column or side for each run (the default), or for each group of runs that differ only in their "
            "seeds.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str, typer.Option(metavar="RUN", help="compare: the run that the others are compared with. Default: all pairs.", show_default=False)
    ] = "",
    device: Device = "auto",
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="table, compare: print Markdown.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="table: print CSV, a row for each metric of each run.")] = False,
) -> None:
    """Measure a run, or join or compare the results of several."""
    of_training = {"--test-cache": test_cache, "--peer-protocol": peer_protocol, "--keep": keep}
    of_kept = {"--classifier": classifier, "--as-published": as_published}
    of_tasks = {"--set": set_, "--device": device != "auto", **of_training, **of_kept}
    of_joined = {"--by": by, "--markdown": markdown}
    of_table, of_compare = {"--csv": as_csv}, {"--against": against}
    others = {"table": of_tasks | of_compare, "compare": of_tasks | of_table}.get(task, of_joined | of_table | of_compare)
    idle = [option for option, given in others.items() if given]
    if idle:
        raise UserError(f"{' and '.join(idle)} would have no effect on eval {task}: leave it out")
    if any(of_kept.values()) and (task != "classify" or all(of_kept.values()) or any(of_training.values())):
        rest = ", ".join(("the other of them", *of_training))
        raise UserError(f"--classifier and --as-published measure CACHE by eval classify, without training: give neither with {rest}")
    if task == "table":
        forms = {"--json": as_json, "--markdown": markdown, "--csv": as_csv}
        print_joined(paths, by or "run", [form for form, given in forms.items() if given])
        return
    if task == "compare":
        print_compared(paths, by or "run", against, [form for form, given in {"--json": as_json, "--markdown": markdown}.items() if given])
        return
    from trainer.tasks import catalog

    names = [name.strip() for name in task.split(",")]
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise UserError(f"eval names the task {repeated[0]} twice: name it once")
    if keep and len(names) > 1:
        raise UserError("--keep would give the classifiers of several tasks one name: name one task")
    chosen = catalog.options_of(names, [] if any(of_kept.values()) else set_ or [], peer_protocol=peer_protocol)
    if len(paths) < 2:
        raise UserError(f"eval {task} takes a run and a cache, got {len(paths)} path: mmpd-train eval {task} RUN CACHE")
    from cache_schema.overlay import told_behind
    from cache_schema.store import open_cache
    from trainer import checkpoint
    from trainer.classifiers import PUBLISHED
    from trainer.distributed import device_of
    from trainer.tasks.features import once

    *runs, place = paths
    if mistaken := [run for run in runs if (run / "zarr.json").exists()]:
        raise UserError(f"{mistaken[0]} is a cache, and no run: give runs, then one cache; a second cache is tested on by --test-cache")
    cache, tests = open_cache(place), test_cache or []
    if said := told_behind(cache):
        say(f"Note: {said}")
    found: list[Result] = []
    try:
        for run in runs:
            loaded = checkpoint.load(run)
            loaded.model.to(device_of(device))
            if any(of_kept.values()):
                found.append(catalog.measure(loaded, classifier or PUBLISHED, cache, set_ or []))
                tell(found[-1], run, as_json)
                continue
            with once(features=len(names) > 1 or len(tests) > 1):
                for name in names:
                    for result in trained_results(name, loaded, cache, chosen[name], tests, keep, as_json):
                        found.append(result)
    finally:  # a later failure does not lose what is there
        if as_json and found:
            several = len(runs) * len(names) * max(1, len(tests)) > 1
            print(f"[{','.join(one.json() for one in found)}]" if several else found[0].json())


@app.command()
def curves(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RUN... [OUT]", help="Runs, and a file that ends in .png, .svg or .csv.", show_default=False)
    ],
    x: Annotated[Literal["step", "epoch", "samples", "hours"], typer.Option(help="What the horizontal axis shows.")] = "step",
    smooth: Annotated[
        int, typer.Option(metavar="N", help="Records in a running mean; 1 for none. Default: what fits the length of the run.", min=0)
    ] = 0,
) -> None:
    """Draw the curves of a run, or of several over each other: losses, probes with chance, learning rate, gradient norm, speed.

    Related curves of one run share a panel; of several runs each curve has a panel, with a line for each run. Without OUT the picture of
    one run is RUN/curves.png. CSV has all values: run, step, epoch, samples, hours, name, value.

    \b
    mmpd-train curves runs/align
    mmpd-train curves runs/align runs/distill both.png --x epoch
    mmpd-train curves runs/* all.csv
    """
    from trainer import curves

    last = paths[-1]
    given = last.suffix in curves.ENDINGS and not last.is_dir()
    runs = paths[:-1] if given else paths
    if not runs:
        raise UserError(f"{last} is the file to write; name a run before it: mmpd-train curves RUN {last}")
    if not given and len(runs) > 1:
        raise UserError(f"several runs need a file for their picture: mmpd-train curves {' '.join(map(str, runs))} OUT.png")
    file = last if given else runs[0] / curves.FILE
    for run in curves.draw(runs, file, x, smooth or None):
        say(f"{run} has no metrics: it is left out")
    say(f"The curves are in {file}")


for command in (cli_use.embed, cli_use.predict, cli_use.search):
    app.command()(command)


@app.command("import")
def import_(
    checkpoint_: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A file written by torch.save, or a safetensors file.", show_default=False)
    ],
    out_: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of the new run.", show_default=False)],
    architecture: Annotated[
        str, typer.Option("--as", metavar="NAME", help="The architecture of the checkpoint: one of the names above.", show_default=False)
    ],
    teacher: Annotated[
        str, typer.Option(metavar="NAME", help="ulip, ulip-2: the name in your caches of the model's teacher.", show_default=False)
    ] = "",
    key: Annotated[str, typer.Option(metavar="NAME", help="Key of the weights in the file, if it has several.", show_default=False)] = "",
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="PREFIX", help="Leave out tensors whose names begin with PREFIX. Repeatable.", show_default=False),
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Names of the classes of the file's classifier, in the order of the label numbers: modelnet40, scanobjectnn, ..., or a "
            "text file with one name on each line. Default: they are called by number.",
            show_default=False,
        ),
    ] = "",
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Turn a published checkpoint, pre-trained or fine-tuned for classification, into a run. List every tensor: taken, dropped or missing.

    The run works with eval, guide and distill --init. Its features are the features of the published model. No code from the file
    is executed.

    \b
    point-mae, point-m2ae, pointmamba, i2p-mae  The encoder, and the decoder of coordinates if the file has one.
    act, a fine-tuned point-mae  The encoder has a class token. With --set encoder.class_token=joined its output is joined to every
             patch's token.
    recon    The encoder has a class, an image and a text token. Their outputs are joined to every patch's token.
    ulip     Point-BERT's encoder, and the projection to its teacher for eval zeroshot. The teacher is the SLIP ViT-B/16 of ULIP, which
             `mmpd-cache teachers` does not have: name yours with --teacher.
    ulip-2   The same with colours. The teacher is OpenCLIP ViT-bigG-14 laion2b_s39b_b160k; its name is openclip-bigg14 unless you give
             another one with --teacher.

    The classifier of a fine-tuned file is kept as `published`: `eval classify RUN CACHE --as-published` measures it, `predict` uses it.
    It reads what the published one reads, whatever --set encoder.class_token says. Other heads, such as those for parts, are dropped.

    If tokens are joined, the published classifier or projection reads their maximum. The summary of the run is this maximum for ulip
    and ulip-2. For all others it is the mean of the tokens.

    A file does not store the point count, group count and size, heads or radii. If they differ from the published pre-training, give
    them with --set. points.count is the number of points per shape in training; eval and guide use the same number.

    \b
    mmpd-train import pretrain.pth runs/point-m2ae --as point-m2ae
    mmpd-train import pretrain.pth runs/probe --as point-m2ae --set encoder.radii=0,0,0      # as in its linear probe
    mmpd-train import scan_pb.pth runs/pb --as point-mae --set encoder.groups=128 --set points.count=2048
    mmpd-train import mn40.pth runs/mn40 --as pointmamba --classes modelnet40               # then eval classify --as-published
    mmpd-train import ulip2.pt runs/ulip2 --as ulip-2                                       # then eval zeroshot runs/ulip2 CACHE
    mmpd-train import small.pth runs/small --as point-mae --set encoder.dim=192 --set encoder.heads=3 --set distill.heads=3
    """
    from cache_schema.spec import to_json
    from trainer.published.importing import import_checkpoint

    report = import_checkpoint(checkpoint_, architecture, out_, set_ or [], teacher, key=key, drop=drop or [], classes=classes)
    if as_json:
        print_json(to_json(report))
    else:
        lines = [f"taken    {tensor.name} -> {', '.join(tensor.ours)}" for tensor in report.taken]
        lines += [f"dropped  {tensor.name}: {tensor.reason}" for tensor in report.dropped]
        lines += [f"missing  {tensor.name}: {tensor.reason}" for tensor in report.missing]
        answer("\n".join(lines))
    counts = f"{len(report.taken)} tensors taken, {len(report.dropped)} dropped, {len(report.missing)} missing"
    say(f"{out_} is a run of {report.encoder} with the weights of {checkpoint_} (sha256 {report.source.sha256}): {counts}")
    say(f"Input of the published model: {report.input}")
    for note in report.notes:
        say(note)


@app.command()
def labels(
    run: RunPath,
    source: Annotated[
        Path | None, typer.Argument(metavar="CACHE|FILE", help="A cache, or a label file. Without it: list.", show_default=False)
    ] = None,
    name: Annotated[str, typer.Argument(metavar="SET", help="The label set; all of the cache if left out.", show_default=False)] = "",
    as_json: Json = False,
) -> None:
    """Copy label sets into the folder of a run, so that they travel with it, or list those that it has.

    A label set is copied with the embeddings of each of the run's teachers. Embeddings of other teachers are refused.

    \b
    mmpd-train labels runs/align out.zarr modelnet40
    mmpd-train labels runs/align mine.safetensors        # from: mmpd-cache labels --names "chair,table" --teacher T mine.safetensors
    mmpd-train labels runs/align
    """
    from trainer import checkpoint
    from trainer.labels import add, read, sets

    loaded = checkpoint.load(run)
    if source is not None:
        for file in add(loaded, source, name):
            say(f"{run} now has the label set {file.labels.name}: {len(file.labels.classes)} classes, by {file.teacher.name}")
    known = [(label_set, teacher) for label_set, teachers in sets(run).items() for teacher in teachers]
    rows = [{"set": s, "teacher": t, "classes": list(read(run, s, t).labels.classes)} for s, t in known]
    if as_json:
        print_json(rows)
    elif source is None:
        answer("\n".join(f"{row['set']}@{row['teacher']}  {len(row['classes'])} classes" for row in rows) or f"{run} has no label set")


@app.command()
def export(
    run: RunPath,
    file: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write: .onnx, .pt2 or .safetensors.", show_default=False)],
    takes: Annotated[
        Literal["points", "groups"] | None,
        typer.Option(
            "--input",
            help="Input of an .onnx or .pt2 file. points (the default): points in farthest-point order; the file finds the groups of "
            "nearest points. groups: the groups and their centres, found by you.",
            show_default=False,
        ),
    ] = None,
    classifier: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="A classifier that is kept with the run: an .onnx or .pt2 file then gives its logits.", show_default=False
        ),
    ] = "",
) -> None:
    """Write the encoder of a run as one file for other programs. The end of its name chooses what it is.

    \b
    .onnx         A graph for onnxruntime and others. Outputs: vector, tokens, summary, and the summary in each teacher's space.
    .pt2          The same graph as a file of torch.export, which runs in plain torch.
    .safetensors  The weights, with the tensor names of the authors' pre-training model.

    A graph takes any number of shapes. Each has as many points as those of the run's training, normalised in the same way, in
    farthest-point order; the file says so itself. Before it is put in place, its outputs are compared with torch's: they differ by at most
    1e-4 of the largest value. .onnx needs the extra `onnx`: pip install 'mmpd[onnx]'.

    In a .safetensors file of a run that was imported from ulip or ulip-2, there is also the projection to the teacher, and it can be
    imported again. Any other run with a pointbert encoder has separate heads for images and texts instead of this projection: import --as
    ulip refuses its file.

    \b
    mmpd-train export runs/align encoder.onnx
    mmpd-train export runs/align encoder.onnx --input groups
    mmpd-train export runs/distill encoder.safetensors
    """
    from trainer import graphs

    if file.suffix in graphs.ENDS:
        made = graphs.write(run, file, takes or "points", classifier)
        for value in (*made.inputs, *made.outputs):
            answer(f"{'input ' if value in made.inputs else 'output'}  {value.name} {list(value.shape)}: {value.about}")
        what = f"the classifier {classifier}" if classifier else "the encoder"
        say(f"{file} now has {what} of {run}: {made.bytes / 1e6:.1f} MB, {made.apart:.1g} of the largest value apart from torch")
        return
    if takes or classifier:
        option = "--input" if takes else "--classifier"
        raise UserError(f"{option} would have no effect on {file}: leave it out, or give a name that ends in {' or '.join(graphs.ENDS)}")
    from trainer.published.exporting import export_encoder

    count = export_encoder(run, file)
    say(f"{file} now has the encoder of {run}: {count} tensors")


@app.command()
def push(
    run: RunPath,
    url: Annotated[str, typer.Argument(metavar="URL", help="hf://USER/NAME, a folder, s3://BUCKET/NAME or gs://BUCKET/NAME.")],
    caches: Annotated[
        list[Path] | None,
        typer.Option("--cache", metavar="CACHE", help="Where a cache that the run was trained on is now. Repeatable.", show_default=False),
    ] = None,
    licence: Annotated[
        str, typer.Option(metavar="NAME", help="The licence that you give the weights under, e.g. mit.", show_default=False)
    ] = "",
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see a model that is made on the hub. Default: a private one.")
    ] = False,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Push although the licence of some shapes or teachers is not known.")
    ] = False,
    training: Annotated[
        bool, typer.Option("--training", help="Push the state of the optimiser, too, with which the training can be continued.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Write over another run.")] = False,
    as_json: Json = False,
) -> None:
    """Give a run away: write its weights, results, label sets and kept classifiers to another place, with a card (README.md).

    Others use it by Model.from_pretrained("USER/NAME") or `mmpd-train pull`. The state of the optimiser stays here. Places on this machine
    and names of its user do not go out. A licence that forbids to share is obeyed: that of a shape, of a teacher or of a captioner.
    Licences are read from the caches. Credentials come from the environment or from the files of each library, and are never stored. Needs
    pip install 'mmpd[remote]', except for a folder.

    \b
    mmpd-train push runs/align hf://me/chairs
    mmpd-train push runs/align /shared/models/chairs
    mmpd-train push runs/align s3://lab/chairs --cache /archive/shapes.zarr --licence cc-by-4.0
    """
    from trainer.handing import push as push_run

    sizes = push_run(
        run,
        url,
        caches=caches or (),
        licence=licence,
        public=public,
        allow_unknown=allow_unknown,
        training=training,
        replace=replace,
        say=say,
    )
    if as_json:
        print_json(sizes)
    say(f"{len(sizes) + 1} files, {sum(sizes.values()) / 1e6:.1f} MB, are at {url}. Others fetch them by: mmpd-train pull {url} RUN")


@app.command()
def pull(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="hf://USER/NAME, a folder, an address of s3://, gs:// or https://, or starter-point-mae.")
    ],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of the new run.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Fetch a run that `mmpd-train push` wrote, and check every file. It is then an ordinary run.

    The run starter-point-mae comes with mmpd: a small encoder, trained on shapes that are made in code.

    No code of others is executed: the weights are safetensors, and other files than those of a run are not fetched.

    \b
    mmpd-train pull hf://me/chairs runs/chairs
    mmpd-train pull starter-point-mae runs/starter
    """
    from trainer.handing import pull as pull_run

    sizes = pull_run(url, run)
    if as_json:
        print_json(sizes)
    say(f"{run} is the run of {url}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB")


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A recipe, a task of `eval`, an encoder, or the folder of a run.", show_default=False)
    ],
) -> None:
    """Print all settings of a recipe, a task or an encoder as JSON. --set can change each of them. Of a run, print what its checkpoint says
    of it."""
    from cache_schema.spec import did_you_mean, to_json
    from trainer.encoders import catalog as encoders
    from trainer.recipes import RECIPES, experiment

    tasks = plugins.names("tasks", TASKS)
    if name in tasks:
        from trainer.tasks import catalog

        print_json(to_json(catalog.options(name), whole=True))
    elif name in RECIPES:
        stages = {"align": experiment(name).align, "distill": experiment(name).distill}
        configs = {stage: config for stage, config in stages.items() if config is not None}
        print_json({stage: {**to_json(config, whole=True), "encoder": _encoder(config)} for stage, config in configs.items()})
    elif Path(name).is_dir():
        from trainer import checkpoint

        print_json(to_json(checkpoint.header(Path(name))))
    elif name in encoders.names():
        print_json({"parameters": encoders.parameters(name), "encoder": to_json(encoders.config(name), whole=True)})
    else:
        known = [*RECIPES, *tasks, *encoders.names()]
        raise UserError(f"no recipe, task or encoder is called {name!r}{did_you_mean(name, known)}")


def _encoder(config: "StageConfig") -> dict[str, Any]:
    """Name and settings of a configuration's encoder."""
    from cache_schema.spec import to_json

    return {"name": config.encoder.name, **to_json(config.encoder.resolved(), whole=True)}


@app.command()
def recipes(as_json: Json = False) -> None:
    """List the recipes: named experiments."""
    from trainer.recipes import RECIPES

    about = {
        name: "\n".join(" ".join(part.split()) for part in (inspect.getdoc(recipe) or "").split("\n\n")) for name, recipe in RECIPES.items()
    }
    if as_json:
        print_json({name: {"about": text, "stages": stages_of(name)} for name, text in about.items()})
        return
    table = Table("recipe", "stages", "what", box=None)
    for name, text in about.items():
        table.add_row(*(Text(printable(cell)) for cell in (name, " ".join(stages_of(name)), text)))
    out.print(table)


# -------------------------------------------------------------------------------------------------- helpers of the commands


def configuration(
    stage: Literal["align", "distill"], run: Path, recipe: str, assignments: list[str], resume: bool, init: Path | None
) -> "AlignConfig | DistillConfig":
    """The configuration of a training: that of the recipe, of the run in the folder that goes on, or of the run that `init` names."""
    from cache_schema.settings import override
    from trainer.folder import begun
    from trainer.recipes import configured
    from trainer.start import like

    stored = begun(run).config if resume else None
    if stored is not None and stored.stage != stage:
        raise UserError(f"{run} is a run of {stored.stage}: mmpd-train {stored.stage} CACHE {run} --resume")
    if recipe or (stored is None and init is None):
        return configured(recipe or DEFAULT, stage, assignments)
    if stored is None:
        assert init is not None
        stored = like(stage, init, DEFAULT)
    return override(stored, assignments)


def trained_results(
    task: str, loaded: "Loaded", cache: "Cache", chosen: "TaskOptions", tests: list[Path], keep: str, as_json: bool
) -> "Iterator[Result]":
    """Measure a run by a task, on each of the test caches, and keep its classifier if `keep` names it. Each result is saved when it is
    there.
    """
    from cache_schema.store import open_cache
    from trainer.tasks import catalog

    if keep:
        catalog.check_keep(task, loaded, keep, chosen)
    found = []
    opened: list[Cache | None] = [open_cache(path) for path in tests]
    with catalog.resumable(task, loaded, chosen, [cache, *(test for test in opened if test is not None)]):
        for test in opened or [None]:
            found.append(catalog.evaluate(task, loaded, cache, chosen, test))
            tell(found[-1], loaded.run, as_json)
            yield found[-1]
        if keep:
            file, which = catalog.keep(found[0], loaded, keep)
            say(f"The classifier of {which} is in {file}. Next: mmpd-train predict {loaded.run} {cache.path} --classifier {keep}")


def tell(result: "Result", run: Path, as_json: bool) -> None:
    """Save a result in the folder of its run, and print it if it will not be printed as JSON."""
    from trainer.tasks import catalog

    files = catalog.save(result, run)
    if not as_json:
        print_wide(result.rich())
    say(f"The result is in {files[0]}")


def stages_of(recipe: str) -> list[str]:
    from trainer.recipes import experiment

    found = experiment(recipe)
    return [stage for stage in ("align", "distill") if getattr(found, stage) is not None]


def print_joined(runs: list[Path], by: Literal["run", "setup"], forms: list[str]) -> None:
    """Print the results of several runs as one table: as JSON, Markdown or CSV, or for a terminal if no form is given."""
    from trainer.tasks.table import collect, table

    if len(forms) > 1:
        raise UserError(f"{' and '.join(forms)} are several forms of one table: choose one")
    results = collect(runs)
    joined = table(results, by)
    for reason in results.without:
        say(f"{reason}: it is left out")
    if forms:
        text = {"--json": joined.json, "--markdown": joined.markdown, "--csv": joined.csv}[forms[0]]()
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    else:
        print_wide(joined.rich(out.width if out.is_terminal else None))


def print_compared(runs: list[Path], by: Literal["run", "setup"], against: str, forms: list[str]) -> None:
    """Print which differences between runs are more than chance: as JSON or Markdown, or for a terminal if no form is given."""
    from trainer.tasks.compare import compare, sides_of
    from trainer.tasks.table import collect

    if len(forms) > 1:
        raise UserError(f"{' and '.join(forms)} are several forms of one table: choose one")
    results = collect(runs)
    named = against in {result.run for result in results}
    found = compare(sides_of(results, by), against if named or not against else Path(against).resolve().name)
    for reason in results.without:
        say(f"{reason}: it is left out")
    if forms:
        text = {"--json": found.json, "--markdown": found.markdown}[forms[0]]()
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    else:
        print_wide(found.rich())


def main() -> None:
    """Console entry. A user's mistake gives a message of one line, a bug a traceback. After Ctrl-C, --resume continues a training."""
    signals.install()
    rest: list[str] = []
    try:
        front, rest = everywhere(sys.argv[1:])
        app([*front, *rest])
    except signals.Stopped:
        trains = rest[:1] in (["align"], ["distill"])
        fail(f"stopped. {'Finished work is saved; continue with --resume.' if trains else 'Run the same command again.'}", 130)
    except UserError as error:
        fail(str(error), 2)
    except (RuntimeError, MemoryError) as error:
        from trainer.distributed import out_of_memory

        if not out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0] or "of the machine"
        advice = "End other programs that use memory; if a GPU is full, add --device cpu; eval classify needs less with --set batch=8"
        fail(f"out of memory ({reason}). {advice}", 2)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "cache_schema", "pipeline", "trainer"):
            raise
        fail(f"this command needs the package {package}, which is not installed: pip install 'mmpd[trainer]'", 2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}", 2)


def fail(message: str, code: int) -> None:
    """Print the reason and end the process. If all ranks fail for the same reason, only the first one prints."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        # If all ranks fail, the first one prints, and torchrun then ends the others. A rank that is still running after ALONE seconds
        # has failed alone, so it prints.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        time.sleep(ALONE)
    err.quiet = False
    err.print(Text(printable(f"mmpd-train: {message}")), style="red", soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
