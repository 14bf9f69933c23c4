"""`mmpd-cache`: make a cache of 3D shapes, add products, check it and look at it. `--help` explains each command."""

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cache_schema.errors import Partial, UserError
from cache_schema.terminal import LOG_FILE, QUIET, everywhere, version_line
from pipeline import cli_change, cli_look, cli_make, cli_share
from pipeline.terminal import err, log, say

# Teachers and renderers share the cores. By default the threads of OpenMP spin while they wait, which takes the cores from the renderers:
# builds then ran at a fifth of the speed. OpenMP reads this variable when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    help="Turn 3D shapes into a cache of points, pictures, captions and teacher embeddings. Start with: mmpd-cache build starter out.zarr",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(version_line())
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help=QUIET)] = False,
    log_file: Annotated[Path | None, typer.Option("--log-file", metavar="FILE", help=LOG_FILE, show_default=False)] = None,
) -> None:
    """Turn 3D shapes into a cache of points, pictures, captions and teacher embeddings. Start with: mmpd-cache build starter out.zarr

    --quiet and --log-file may stand anywhere in a command.
    """
    err.quiet = quiet
    log.begin(log_file, f"mmpd-cache {' '.join(sys.argv[1:])}")


COMMANDS: Final = (
    *(cli_make.build, cli_make.plan, cli_make.fetch, cli_make.append, cli_make.retry),
    *(cli_change.remove, cli_change.relabel, cli_change.add_teacher, cli_change.add_dense, cli_change.add_captioner),
    *(cli_change.import_captions, cli_change.import_embeddings, cli_change.labels, cli_look.query, cli_change.overlay),
    *(cli_look.status, cli_look.verify, cli_look.info, cli_change.licence),
    *(cli_share.copy, cli_share.push, cli_share.pull),
    *(cli_look.report, cli_look.recipes, cli_look.teachers, cli_look.captioners, cli_look.sources),
)
"""All commands, in the order of `--help`."""
for command in COMMANDS:
    app.command()(command)


class Stopped(BaseException):
    """Raised by Ctrl-C and by SIGTERM. It is no KeyboardInterrupt, because typer would handle that itself."""


def _stop(*_: Any) -> None:
    raise Stopped


def main() -> None:
    """Run the command line. A user's mistake is shown as one line without a traceback. After Ctrl-C the same command can continue."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        front, rest = everywhere(sys.argv[1:])
        app([*front, *rest])
    except Stopped:
        fail("stopped. What is done is kept; run the same command to go on.", 130)
    except Partial as error:
        fail(str(error), 1)
    except UserError as error:
        fail(str(error), 2)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "cache_schema", "pipeline", "trainer"):
            raise
        fail(f"this command needs the package {package}, which is not installed: pip install 'mmpd[pipeline]'", 2)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            fail(f"the disk is full ({error.filename or error}). Free some space and run the same command: it goes on.", 2)
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            fail(
                f"cannot write {error.filename or ''}: {error.strerror}. Give a place you may write to; new products of a cache that is "
                "read-only for you go into a folder of your own by --overlay MINE.zarr.",
                2,
            )
        if isinstance(error, FileNotFoundError) and error.filename:
            fail(f"{error.filename} does not exist", 2)
        raise


def fail(message: str, code: int) -> None:
    """Print what is wrong, and exit with a code."""
    err.quiet = False
    say(f"mmpd-cache: {message}", "red")
    sys.exit(code)
