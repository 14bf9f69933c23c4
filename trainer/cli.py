"""`mmpd-train`: pre-train a 3D encoder from a cache alone, in two stages, and measure it. Every command explains itself with --help."""

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cache_schema.errors import UserError
from cache_schema.remote import is_remote
from cache_schema.terminal import json_text, printable, version_line
from trainer import signals
from trainer.tasks.protocol import TASKS

if TYPE_CHECKING:
    from trainer.config import AlignConfig, DistillConfig, StageConfig

# By default OpenMP's threads spin while they wait. On a machine with other work this costs far more than it gains. OpenMP reads this
# variable when torch is imported, so it is set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    help="Train 3D encoders from a cache: align, guide, distill, eval. Start with: mmpd-train align out.zarr runs/align",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console()
err = Console(stderr=True)

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
) -> None:
    """Train 3D encoders from a cache: align, guide, distill, eval. Start with: mmpd-train align out.zarr runs/align"""


@app.command()
def align(
    cache: CacheOrAddress,
    run: RunPath,
    recipe: Recipe = "",
    also: Also = None,
    set_: Set = None,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Stage 1: align an encoder with the images and texts of the cached teachers.

    \b
    mmpd-train align out.zarr runs/align
    mmpd-train align out.zarr runs/align --resume
    mmpd-train align s3://lab/out.zarr runs/align --set data.mirror=mirror --set data.mirror_limit=50GiB
    mmpd-train align shapenet.zarr runs/mmpd --recipe mmpd --set data.teachers=clip-vit-b32,dinov2-small
    torchrun --nproc-per-node 8 -m trainer.cli align shapenet.zarr runs/mmpd --recipe mmpd
    """
    from trainer.loop import train

    config, _ = configuration("align", run, recipe, set_ or [], resume)
    train(config, [cache, *(also or [])], run, resume=resume, device=device, console=err)
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
    from cache_schema.store import open_cache
    from trainer import checkpoint
    from trainer.guide import COLLAPSED, spread, write

    name = name or run.resolve().name
    product = GUIDE.product(guide=name)
    with laid(cache, overlay) as path:
        online = f"mmpd-train distill {path} RUN --init {run} --set guide_online=true"
        refuse_unwritable(path, f", or compute the guide's features during training: {online}")
        opened, loaded = open_cache(path), checkpoint.load(run)
        if loaded.header.unfinished:
            say(f"Note on {run}: {loaded.header.unfinished}")
        with progress(product) as step:
            write(opened, loaded, name, blocks=blocks, precision=precision, device=device, progress=step)
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
            metavar="RUN", help="The run of stage 1 that made the guide. The student starts from its weights.", show_default=False
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
    mmpd-train distill out.zarr runs/pointmae --recipe point-mae --set encoder.name=pointmae-tiny
    """
    from trainer.config import DistillConfig
    from trainer.loop import train

    config, before = configuration("distill", run, recipe, set_ or [], resume)
    assert isinstance(config, DistillConfig)
    if guide_ and (not config.needs_guide or config.guide_online):
        raise UserError("--guide names features in the cache, but with these settings no guide is read from it: leave out --guide")
    config = dataclasses.replace(config, guide=guide_) if guide_ else config
    train(config, [cache, *(also or [])], run, guide_run=init or before, resume=resume, device=device, console=err)
    say(f"{run} is trained: checkpoint, metrics and curves.png are there. Next: mmpd-train eval svm {run} {cache}")


EVAL_HELP: Final = f"""Measure a run, or join the results of several into one table.

Tasks: {", ".join(TASKS)}. `mmpd-train show TASK` prints what --set can change.

\b
mmpd-train eval svm runs/distill out.zarr
mmpd-train eval zeroshot runs/align out.zarr --set labels=modelnet40 --json
mmpd-train eval table runs/align runs/distill
mmpd-train eval table runs/a0 runs/a1 runs/b0 runs/b1 --by setup --markdown
"""


@app.command("eval", help=EVAL_HELP)
def evaluate(
    task: Annotated[str, typer.Argument(metavar="TASK", help="What to measure, or `table`.", show_default=False)],
    paths: Annotated[list[Path], typer.Argument(metavar="RUN CACHE", help="A run and a cache; for `table` runs.", show_default=False)],
    set_: Set = None,
    test_cache: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CACHE",
            help="Test on another cache; classes are matched by name. Repeatable: `scenes` and `detect` are then trained once for all, and "
            "--json prints a list.",
            show_default=False,
        ),
    ] = None,
    peer_protocol: Annotated[
        bool, typer.Option("--peer-protocol", help="Also report the best epoch on the test shapes, as many papers do.")
    ] = False,
    by: Annotated[
        Literal["run", "setup"] | None,
        typer.Option(
            help="table: one row for each run (the default), or for each group of runs that differ only in their seeds.", show_default=False
        ),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="table: print it as Markdown.")] = False,
) -> None:
    """Measure a run, or join the results of several into one table."""
    from trainer.tasks import catalog, result

    of_tasks = {"--set": set_, "--test-cache": test_cache, "--peer-protocol": peer_protocol, "--device": device != "auto"}
    of_table = {"--by": by, "--markdown": markdown}
    idle = [option for option, given in (of_tasks if task == "table" else of_table).items() if given]
    if idle:
        raise UserError(f"{' and '.join(idle)} would have no effect on eval {task}: leave it out")
    if task == "table":
        if as_json and markdown:
            raise UserError("--json and --markdown are two forms of one table: choose one")
        joined = result.table(result.collect(paths), by or "run")
        if as_json:
            print(joined.json())
        elif markdown:
            print(joined.markdown(), end="")
        else:
            out.print(joined.rich())
        return
    chosen = catalog.options(task, set_ or [], peer_protocol=peer_protocol)
    if len(paths) != 2:
        raise UserError(f"eval {task} takes a run and a cache, got {len(paths)} paths: mmpd-train eval {task} RUN CACHE")
    from cache_schema.store import Cache, open_cache
    from trainer import checkpoint
    from trainer.distributed import device_of
    from trainer.tasks.features import train_once

    run, cache = paths
    loaded = checkpoint.load(run)
    loaded.model.to(device_of(device))
    tests: list[Cache | None] = [open_cache(path) for path in test_cache or []]
    found = []
    with train_once():
        for test in tests or [None]:
            found.append(catalog.evaluate(task, loaded, open_cache(cache), chosen, test))
            files = catalog.save(found[-1], run)
            if not as_json:
                out.print(found[-1].rich())
            say(f"The result is in {files[0]}")
    if as_json:
        print(found[0].json() if len(found) == 1 else f"[{','.join(one.json() for one in found)}]")


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

    If tokens are joined, the published classifier or projection reads their maximum. The summary of the run is this maximum for ulip
    and ulip-2. For all others it is the mean of the tokens.

    A file does not store the point count, group count and size, heads or radii. If they differ from the published pre-training, give
    them with --set. points.count is the number of points per shape in training; eval and guide use the same number.

    \b
    mmpd-train import pretrain.pth runs/point-m2ae --as point-m2ae
    mmpd-train import pretrain.pth runs/probe --as point-m2ae --set encoder.radii=0,0,0      # as in its linear probe
    mmpd-train import scan_pb.pth runs/pb --as point-mae --set encoder.groups=128 --set points.count=2048
    mmpd-train import ulip2.pt runs/ulip2 --as ulip-2                                       # then eval zeroshot runs/ulip2 CACHE
    mmpd-train import small.pth runs/small --as point-mae --set encoder.dim=192 --set encoder.heads=3 --set distill.heads=3
    """
    from cache_schema.spec import to_json
    from trainer.published.importing import import_checkpoint

    report = import_checkpoint(checkpoint_, architecture, out_, set_ or [], teacher, key=key, drop=drop or [])
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
        say(f"{file} now has the encoder of {run}: {made.bytes / 1e6:.1f} MB, {made.apart:.1g} of the largest value apart from torch")
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
    url: Annotated[str, typer.Argument(metavar="URL", help="hf://USER/NAME, a folder, or an address of s3://, gs:// or https://.")],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of the new run.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Fetch a run that `mmpd-train push` wrote, and check every file. It is then an ordinary run.

    No code of others is executed: the weights are safetensors, and other files than those of a run are not fetched.

    \b
    mmpd-train pull hf://me/chairs runs/chairs
    """
    from trainer.handing import pull as pull_run

    sizes = pull_run(url, run)
    if as_json:
        print_json(sizes)
    say(f"{run} is the run of {url}: {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB")


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe, or a task of `eval`.", show_default=False)]) -> None:
    """Print all settings of a recipe or a task as JSON. --set can change each of them."""
    from cache_schema.spec import did_you_mean, to_json
    from trainer.recipes import RECIPES, experiment

    if name in TASKS:
        from trainer.tasks import catalog

        print_json(to_json(catalog.options(name), whole=True))
    elif name in RECIPES:
        stages = {"align": experiment(name).align, "distill": experiment(name).distill}
        configs = {stage: config for stage, config in stages.items() if config is not None}
        print_json({stage: {**to_json(config, whole=True), "encoder": _encoder(config)} for stage, config in configs.items()})
    else:
        raise UserError(f"no recipe and no task is called {name!r}{did_you_mean(name, [*RECIPES, *TASKS])}")


def _encoder(config: "StageConfig") -> dict[str, Any]:
    """Name and settings of a configuration's encoder."""
    from cache_schema.spec import to_json

    return {"name": config.encoder.name, **to_json(config.encoder.resolved(), whole=True)}


@app.command()
def recipes(as_json: Json = False) -> None:
    """List the recipes: named experiments."""
    from trainer.recipes import RECIPES

    about = {name: (recipe.__doc__ or "").strip() for name, recipe in RECIPES.items()}
    if as_json:
        print_json({name: {"about": text, "stages": stages_of(name)} for name, text in about.items()})
        return
    table = Table("recipe", "stages", "what", box=None)
    for name, text in about.items():
        table.add_row(*(Text(printable(cell)) for cell in (name, " ".join(stages_of(name)), text)))
    out.print(table)


# -------------------------------------------------------------------------------------------------- helpers of the commands


def configuration(
    stage: Literal["align", "distill"], run: Path, recipe: str, assignments: list[str], resume: bool
) -> "tuple[AlignConfig | DistillConfig, Path | None]":
    """The configuration of a training, and the run of the guide if the training in the folder was started with one."""
    from cache_schema.settings import override
    from trainer.folder import begun
    from trainer.recipes import configured

    stored, init = begun(run) if resume else (None, None)
    if stored is not None and stored.stage != stage:
        raise UserError(f"{run} is a run of {stored.stage}: mmpd-train {stored.stage} CACHE {run} --resume")
    if stored is None or recipe:
        return configured(recipe or DEFAULT, stage, assignments), init
    return override(stored, assignments), init


def stages_of(recipe: str) -> list[str]:
    from trainer.recipes import experiment

    found = experiment(recipe)
    return [stage for stage in ("align", "distill") if getattr(found, stage) is not None]


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output, without line wrapping."""
    sys.stdout.write(json_text(value) + "\n")


def answer(text: str) -> None:
    """Print the answer of a command on standard output. Control characters are escaped, and markup has no effect."""
    out.print(Text(printable(text)), soft_wrap=True)


def say(text: str) -> None:
    """Print a message on standard error. If there are several ranks, only the first one prints."""
    if os.environ.get("RANK", "0") == "0":
        err.print(Text(printable(text)), soft_wrap=True)


@contextmanager
def progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error. Yields a function that sets the number of finished steps and the number of all steps."""
    with Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=err
    ) as bars:
        task = bars.add_task(printable(name))
        yield lambda done, total: bars.update(task, completed=done, total=total)


def main() -> None:
    """Console entry. A user's mistake gives a message of one line, a bug a traceback. After Ctrl-C, --resume continues the run."""
    signals.install()
    try:
        app()
    except signals.Stopped:
        fail("stopped. Finished work is saved; continue with --resume (a guide: with the same command).", 130)
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
    err.print(Text(printable(f"mmpd-train: {message}")), style="red", soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
