"""What other installed packages add: encoders, teachers, captioners, sources and tasks, by entry points, without a change here.

    [project.entry-points."mmpd.sources"]                               # in the pyproject.toml of the other package
    scans = "their_package.scans"

    module("sources", "scans", SOURCES)                                 # ours, or theirs, imported
    names("sources", SOURCES)                                           # ours, then theirs
    refused("sources", SOURCES)                                         # sentences about names that are taken

An entry point is a name and a module, as in our own catalogues. It is read from the metadata of the installed packages when a catalogue
looks for a name that is not ours, in every process anew: workers know the same ones. A module is imported when its name is used, so a
broken one stops only the command that names it. Our names cannot be replaced.
"""

import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Final, Literal

from cache_schema.errors import UserError
from cache_schema.spec import did_you_mean

Kind = Literal["encoders", "teachers", "captioners", "sources", "tasks"]
WORDS: Final[dict[Kind, str]] = {
    "encoders": "encoder",
    "teachers": "teacher backend",
    "captioners": "captioner",
    "sources": "kind of source",
    "tasks": "task",
}
"""One thing of each kind, in words."""
REQUIRED: Final[dict[Kind, dict[str, bool]]] = {
    "encoders": {"CONFIGS": False, "build": True},
    "teachers": {"PACKAGES": False, "load": True},
    "captioners": {"PACKAGES": False, "load": True, "SPEC": False},
    "sources": {"LOOKS_FOR": False, "recognises": True, "open_source": True},
    "tasks": {"Options": True, "SMOKE": False, "run": True},
}
"""The names that a module of each kind must have, and whether each is called."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """An entry point of another package."""

    name: str
    module: str
    package: str
    version: str

    @property
    def told(self) -> str:
        """The package and its version, in words."""
        return f"package {self.package} {self.version}"


def group(kind: Kind) -> str:
    """The group of entry points of a kind, such as `mmpd.sources`."""
    return f"mmpd.{kind}"


@functools.cache
def found(kind: Kind) -> tuple[Plugin, ...]:
    """All entry points of a kind, by name and package. A package that is installed twice counts once, as Python would import it."""
    import importlib.metadata  # only here, so that commands which need no list start without it

    plugins: dict[tuple[str, str], Plugin] = {}
    for point in importlib.metadata.entry_points(group=group(kind)):
        package, version = (point.dist.name, point.dist.version) if point.dist else ("unknown", "")
        plugins.setdefault((point.name, package), Plugin(name=point.name, module=point.module, package=package, version=version))
    return tuple(plugins[key] for key in sorted(plugins))


def others(kind: Kind, ours: Mapping[str, str]) -> dict[str, tuple[Plugin, ...]]:
    """The names that other packages add: by name the packages that want it. Names of ours are left out."""
    by_name: dict[str, tuple[Plugin, ...]] = {}
    for plugin in found(kind):
        if plugin.name not in ours:
            by_name[plugin.name] = (*by_name.get(plugin.name, ()), plugin)
    return by_name


def names(kind: Kind, ours: Mapping[str, str]) -> list[str]:
    """All names: ours in their order, then those of other packages."""
    return [*ours, *others(kind, ours)]


def plugin(kind: Kind, name: str, ours: Mapping[str, str]) -> Plugin | None:
    """The entry point behind a name; None if the name is ours or unknown.

    Raises:
        UserError: two packages have this name; the message names both.
    """
    wanted = () if name in ours else others(kind, ours).get(name, ())
    if len(wanted) > 1:
        one, two = wanted[:2]
        raise UserError(f"two packages have a {WORDS[kind]} {name!r}: {one.told} and {two.told}; uninstall one of them")
    return wanted[0] if wanted else None


def module(kind: Kind, name: str, ours: Mapping[str, str]) -> ModuleType:
    """Import the module behind a name.

    Raises:
        UserError: there is no such name, two packages have it, or the module of another package cannot be imported or lacks something that
            modules of its kind have (`REQUIRED`).
    """
    if name in ours:
        return importlib.import_module(ours[name])
    theirs = plugin(kind, name, ours)
    if theirs is None:
        called = "" if kind in ("teachers", "captioners") else "is called "
        raise UserError(f"no {WORDS[kind]} {called}{name!r}{did_you_mean(name, names(kind, ours))}")
    told = f"{WORDS[kind]} {name!r} ({theirs.module}, {theirs.told})"
    try:
        found = importlib.import_module(theirs.module)
        lacking = [one for one in REQUIRED[kind] if not hasattr(found, one)]
        fixed = [one for one, called in REQUIRED[kind].items() if called and one not in lacking and not callable(getattr(found, one))]
    except (Exception, SystemExit) as error:  # the code of others may raise anything; a wish to exit must not end the command
        raise UserError(f"{told} cannot be imported: {type(error).__name__}: {error}") from error
    if lacking:
        raise UserError(f"{told} cannot be used: its module has no {' and no '.join(lacking)}")
    if fixed:
        raise UserError(f"{told} cannot be used: {' and '.join(fixed)} of its module cannot be called")
    return found


def origin(kind: Kind, name: str, ours: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """(package, version) of what another package added, for `Record.made_by`; empty for ours and for an unknown name."""
    theirs = plugin(kind, name, ours)
    return ((theirs.package, theirs.version),) if theirs else ()


def state(kind: Kind, name: str, ours: Mapping[str, str]) -> str:
    """What a list says of a name that another package added: its package, and what is wrong with it; empty for ours."""
    if name in ours:
        return ""
    try:
        module(kind, name, ours)
    except UserError as error:
        return f"broken: {error}"
    return f"of {', '.join(one.told for one in others(kind, ours)[name])}"


def refused(kind: Kind, ours: Mapping[str, str]) -> Sequence[str]:
    """A sentence about each name that another package wants, and that is ours."""
    return [f"{one.told} is refused the {WORDS[kind]} {one.name!r}: that name is mmpd's own" for one in found(kind) if one.name in ours]
