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
from cache_schema.terminal import json_text, printable, version_line
from trainer import signals
from trainer.tasks.protocol import TASKS

if TYPE_CHECKING:
    from trainer.config import AlignConfig, DistillConfig, StageConfig

# By default OpenMP's threads spin while they wait: on a machine with other work that costs far more than it gains. It is read
# when torch is imported.
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
"""Name of the recipe that is used if none is named."""
ALONE = 5.0
"""Grace period in seconds. If the first rank has not ended this process by then, only this rank has failed."""

CachePath = Annotated[Path, typer.Argument(metavar="CACHE", help="The cache, a folder NAME.zarr.", show_default=False)]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of the run.", show_default=False)]
Recipe = Annotated[str, typer.Option(metavar="NAME", help=f"See `mmpd-train recipes`; {DEFAULT} if none is named.", show_default=False)]
Also = Annotated[
    list[Path] | None, typer.Option(metavar="CACHE", help="Mix in another cache; see data.passes. Repeatable.", show_default=False)
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change one setting. Repeatable.", show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what is in RUN, if anything is.")]
Device = Annotated[str, typer.Option(help="Torch device. auto: a GPU, else the CPU.")]
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
    cache: CachePath,
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
    mmpd-train align shapenet.zarr runs/mmpd --recipe mmpd --set data.teachers=clip-vit-b32,dinov2-small
    torchrun --nproc-per-node 8 -m trainer.cli align shapenet.zarr runs/mmpd --recipe mmpd
    """
    from trainer.loop import train

    config, _ = configuration("align", run, recipe, set_ or [], resume)
    train(config, [cache, *(also or [])], run, resume=resume, device=device, console=err)
    say(f"{run} is trained: checkpoint, metrics and curves.png are there. Next: mmpd-train guide {cache} {run}")


@app.command()
def guide(
    cache: CachePath,
    run: RunPath,
    name: Annotated[str, typer.Option(help="Name of the guide in the cache; the run's if none is given.", show_default=False)] = "",
    blocks: Annotated[int, typer.Option(help="Guide the first so many blocks of each shape. 0: all.")] = 0,
    precision: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Arithmetic of the guide.")] = "float32",
    device: Device = "auto",
) -> None:
    """Write what a run of stage 1 makes of every stored block into the cache: the targets of stage 2.

    Stopped in the middle? Run the same command again: it makes what is missing.
    """
    from cache_schema.products import GUIDE
    from cache_schema.store import open_cache
    from trainer import checkpoint
    from trainer.guide import COLLAPSED, spread, write

    name = name or run.resolve().name
    product = GUIDE.product(guide=name)
    beside = cache.resolve().parent
    if cache.is_dir() and not (os.access(cache, os.W_OK) and os.access(beside, os.W_OK)):
        raise UserError(
            f"{cache} is read-only for you, and a guide is written into it: copy the cache to a place you may write to, or train with the "
            f"guide beside the student: mmpd-train distill {cache} RUN --init {run} --set guide_online=true"
        )
    opened, loaded = open_cache(cache), checkpoint.load(run)
    if loaded.header.unfinished:
        say(f"Note on {run}: {loaded.header.unfinished}")
    with progress(product) as step:
        write(opened, loaded, name, blocks=blocks, precision=precision, device=device, progress=step)
    apart = spread(opened, name)
    say("Mean cosine distance of two summaries {:.3g}, of two tokens {:.3g}".format(*apart))
    if min(apart) < COLLAPSED:
        say(f"Warning: {product} says nearly the same of everything. A student would learn little of it; see {run}/curves.png")
    say(f"{cache} now has {product}. Next: mmpd-train distill {cache} RUN --guide {name} --init {run}")


@app.command()
def distill(
    cache: CachePath,
    run: RunPath,
    recipe: Recipe = "",
    guide_: Annotated[
        str, typer.Option("--guide", metavar="NAME", help="The guide in the cache; not needed if there is one only.", show_default=False)
    ] = "",
    init: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The run of stage 1 the guide was made of; the student starts from it.", show_default=False),
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
        raise UserError("--guide names features in the cache, but with these settings no guide is read from it: leave it out")
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
        Path | None, typer.Option(metavar="CACHE", help="Test on another cache; classes are matched by name.", show_default=False)
    ] = None,
    peer_protocol: Annotated[
        bool, typer.Option("--peer-protocol", help="Report the best epoch on the test shapes as well, as the peers do.")
    ] = False,
    by: Annotated[
        Literal["run", "setup"] | None,
        typer.Option(help="table: a row for each run (the default), or for runs that differ in their seeds only.", show_default=False),
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
    from cache_schema.store import open_cache
    from trainer import checkpoint
    from trainer.distributed import device_of

    run, cache = paths
    loaded = checkpoint.load(run)
    loaded.model.to(device_of(device))
    found = catalog.evaluate(task, loaded, open_cache(cache), chosen, open_cache(test_cache) if test_cache else None)
    files = catalog.save(found, run)
    if as_json:
        print(found.json())
    else:
        out.print(found.rich())
    say(f"kept in {files[0]}")


@app.command("import")
def import_(
    checkpoint_: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A file of torch.save, or safetensors.", show_default=False)],
    out_: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of the run that is made.", show_default=False)],
    architecture: Annotated[
        str, typer.Option("--as", metavar="NAME", help="What it is a checkpoint of: one of the names above.", show_default=False)
    ],
    teacher: Annotated[
        str, typer.Option(metavar="NAME", help="ulip, ulip-2: what your caches call the teacher it was aligned with.", show_default=False)
    ] = "",
    key: Annotated[str, typer.Option(metavar="NAME", help="Under which of its names the file has the weights.", show_default=False)] = "",
    drop: Annotated[
        list[str] | None, typer.Option(metavar="PREFIX", help="Leave out tensors whose names begin so. Repeatable.", show_default=False)
    ] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Make a run of a published checkpoint, pre-trained or fine-tuned for classification, and say what became of every tensor in it.

    The run serves eval, guide and distill --init, and its features are those of the published model. Nothing
    that a file asks for is run.

    \b
    point-mae, point-m2ae, pointmamba, i2p-mae  Encoder, and the decoder of coordinates as far as there is one.
    act, a fine-tuned point-mae  A class token the patches attend to. With --set encoder.class_token=joined its output stands beside
             every patch's token.
    recon    Class, image and text token, whose outputs stand beside every patch's token.
    ulip     Point-BERT's encoder, and the projection to its teacher, the SLIP ViT-B/16 of ULIP, for eval zeroshot. No teacher of
             `mmpd-cache teachers` is that one: --teacher must name yours.
    ulip-2   The same with colours. Its teacher is OpenCLIP ViT-bigG-14 laion2b_s39b_b160k, here openclip-bigg14 unless --teacher says
             otherwise.

    Where --help says beside, the maximum over tokens is what the published classifier or projection reads. The summary of a run is that
    maximum for ulip and ulip-2, for all others the mean of the tokens.

    How many points a shape had, how many groups of how many points, attention heads and radii a file does not say: what is not as in the
    published pre-training, --set must name. points.count is how many points a shape had in training; eval and guide give the model as
    many.

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
    say(f"{out_} is {report.encoder} with the weights of {checkpoint_} (sha256 {report.source.sha256}): {counts}")
    say(f"It was published with {report.input}")
    for note in report.notes:
        say(note)


@app.command()
def export(
    run: RunPath, file: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.", show_default=False)]
) -> None:
    """Write the encoder of a run under the names of its authors' pre-training model.

    Of an imported ulip or ulip-2 the projection to its teacher goes with it, and the file can be imported again. The encoder
    pointbert of any other run has none, since images and texts have heads of their own there: import --as ulip refuses such a file.

    \b
    mmpd-train export runs/distill encoder.safetensors
    """
    from trainer.published.exporting import export_encoder

    count = export_encoder(run, file)
    say(f"{file} has the encoder of {run}, {count} tensors")


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe, or a task of `eval`.", show_default=False)]) -> None:
    """Every setting of a recipe, or of a task, as JSON: what --set can change."""
    from cache_schema.spec import did_you_mean, to_json
    from trainer.recipes import RECIPES, experiment
    from trainer.tasks import catalog

    if name in catalog.TASKS:
        print_json(to_json(catalog.options(name), whole=True))
    elif name in RECIPES:
        stages = {"align": experiment(name).align, "distill": experiment(name).distill}
        configs = {stage: config for stage, config in stages.items() if config is not None}
        print_json({stage: {**to_json(config, whole=True), "encoder": _encoder(config)} for stage, config in configs.items()})
    else:
        raise UserError(f"no recipe and no task is called {name!r}{did_you_mean(name, [*RECIPES, *catalog.TASKS])}")


def _encoder(config: "StageConfig") -> dict[str, Any]:
    """Name and all settings of a configuration's encoder."""
    from cache_schema.spec import to_json

    return {"name": config.encoder.name, **to_json(config.encoder.resolved(), whole=True)}


@app.command()
def recipes(as_json: Json = False) -> None:
    """The named experiments."""
    from trainer.recipes import RECIPES

    about = {name: (recipe.__doc__ or "").strip() for name, recipe in RECIPES.items()}
    if as_json:
        print_json({name: {"about": text, "stages": stages_of(name)} for name, text in about.items()})
        return
    table = Table("recipe", "stages", "what", box=None)
    for name, text in about.items():
        table.add_row(*(Text(printable(cell)) for cell in (name, " ".join(stages_of(name)), text)))
    out.print(table)


# ---------------------------------------------------------------------------------------------------- what commands need


def configuration(
    stage: Literal["align", "distill"], run: Path, recipe: str, assignments: list[str], resume: bool
) -> "tuple[AlignConfig | DistillConfig, Path | None]":
    """The configuration to train by, and the run of the guide if the run in the folder was begun with one."""
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
    """Machine-readable output, whole and unwrapped."""
    sys.stdout.write(json_text(value) + "\n")


def answer(text: str) -> None:
    """Print what was asked for on standard output. Control characters are made harmless, and nothing in it is markup."""
    out.print(Text(printable(text)), soft_wrap=True)


def say(text: str) -> None:
    """Print a line for people on standard error. Of several ranks only the first prints."""
    if os.environ.get("RANK", "0") == "0":
        err.print(Text(printable(text)), soft_wrap=True)


@contextmanager
def progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error. The yielded function takes how much is done, and of how much."""
    with Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=err
    ) as bars:
        task = bars.add_task(printable(name))
        yield lambda done, total: bars.update(task, completed=done, total=total)


def main() -> None:
    """Console entry: a user's mistake is one line, and only ours have a traceback; Ctrl-C leaves a state that goes on."""
    signals.install()
    try:
        app()
    except signals.Stopped:
        fail("stopped. What is done is kept; go on with --resume (a guide: with the same command).", 130)
    except UserError as error:
        fail(str(error), 2)
    except (RuntimeError, MemoryError) as error:
        from trainer.distributed import out_of_memory

        if not out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0] or "of the machine"
        advice = "End other programs that use it; where a GPU is full, add --device cpu; eval classify needs less with --set batch=8"
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
    """Print the reason and end the process. If all ranks fail alike, only the first prints."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        # The first rank speaks, and torchrun ends the others as soon as it is gone. What outlives that has failed on its own.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        time.sleep(ALONE)
    err.print(Text(printable(f"mmpd-train: {message}")), style="red", soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
