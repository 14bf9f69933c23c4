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
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from cache_schema import plugins
from cache_schema.errors import UserError
from cache_schema.remote import is_remote
from cache_schema.terminal import LOG_FILE, QUIET, counted, everywhere, printable, version_line
from trainer import cli_eval, cli_search, cli_use, signals
from trainer.tasks.protocol import TASKS
from trainer.terminal import answer, err, log, out, print_json, progress, say

if TYPE_CHECKING:
    from trainer.config import AlignConfig, DistillConfig, StageConfig

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
    asked = given(run, set_ or [], resume)
    train(config, [cache, *(also or [])], run, init=init, resume=resume, device=device, console=err, asked=asked)
    here = f"mmpd-cache pull {cache} CACHE, then mmpd-train guide CACHE" if is_remote(cache) else f"mmpd-train guide {cache}"
    say(f"{_ended(run)}. Next: {here} {run}")


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
    measured = {what: value for what, value in zip(("summaries", "tokens"), spread(opened, name), strict=True) if value is not None}
    if measured:
        say("Mean cosine distance " + ", ".join(f"between {what} {value:.3g}" for what, value in measured.items()))
    if "summaries" not in measured:
        say("Whether summaries differ from shape to shape is not known: that takes two shapes")
    if any(value < COLLAPSED for value in measured.values()):
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
    train(
        config,
        [cache, *(also or [])],
        run,
        init=init,
        guide_run=guide_run,
        resume=resume,
        device=device,
        console=err,
        asked=given(run, set_ or [], resume),
    )
    say(f"{_ended(run)}. Next: mmpd-train eval svm {run} {cache}")


app.command("eval", help=cli_eval.EVAL_HELP, cls=cli_eval.Eval)(cli_eval.evaluate)


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


for command in (cli_use.embed, cli_use.predict, cli_search.search):
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
            say(f"{run} now has the label set {file.labels.name}: {counted(len(file.labels.classes), 'class')}, by {file.teacher.name}")
    known = [(label_set, teacher) for label_set, teachers in sets(run).items() for teacher in teachers]
    rows = [{"set": s, "teacher": t, "classes": list(read(run, s, t).labels.classes)} for s, t in known]
    if as_json:
        print_json(rows)
    elif source is None:
        answer(
            "\n".join(f"{row['set']}@{row['teacher']}  {counted(len(row['classes']), 'class')}" for row in rows)
            or f"{run} has no label set"
        )


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
        other = "numbers would give other features" if takes != "groups" else "numbers give other features, and no graph can see that"
        where = "of exactly" if takes != "groups" else "whose groups are found among"
        say(
            f"It takes any number of shapes, {where} {made.points} points each, as in the run's training: other {other}. Its metadata, "
            "mmpd.preprocessing, says how to prepare them"
        )
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
    say(f"{run} is the run of {url}: {counted(len(sizes), 'file')}, {sum(sizes.values()) / 1e6:.1f} MB")


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
    from trainer.unread import check_new

    stored = begun(run).config if resume else None
    if stored is not None and stored.stage != stage:
        raise UserError(f"{run} is a run of {stored.stage}: mmpd-train {stored.stage} CACHE {run} --resume")
    if stored is not None and not recipe:
        return override(stored, assignments)
    base = like(stage, init, DEFAULT) if init is not None and not recipe else configured(recipe or DEFAULT, stage, [])
    config = override(base, assignments)
    if stored is None:
        check_new(base, config)
    return config


def given(run: Path, assignments: list[str], resume: bool) -> list[str]:
    """Names of the settings that were given for a new run; none for a run in the folder that goes on."""
    from trainer.folder import begun

    return [] if resume and begun(run).config is not None else [assignment.partition("=")[0].strip() for assignment in assignments]


def _ended(run: Path) -> str:
    """What a training has left in the folder of its run. A run without steps has no metrics, of which curves would be drawn."""
    from trainer.handed import CURVES

    if (run / CURVES).exists():
        return f"{run} is trained: checkpoint, metrics and {CURVES} are there"
    return f"{run} has a checkpoint of the weights that it began with: no step was made"


def stages_of(recipe: str) -> list[str]:
    from trainer.recipes import experiment

    found = experiment(recipe)
    return [stage for stage in ("align", "distill") if getattr(found, stage) is not None]


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
