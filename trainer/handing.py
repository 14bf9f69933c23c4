"""Hand a trained run on, and fetch one: `mmpd-train push` and `mmpd-train pull`.

    push(Path("runs/align"), "hf://user/name")          # weights, results, label sets, classifiers and a card
    pull("hf://user/name", Path("runs/theirs"))         # an ordinary run
    fetch("user/name")                                  # its folder among the files of the hub, for `Model.from_pretrained`

At the place lie `model.safetensors`, `config.json`, the card `README.md`, and what the run has of `curves.png`, `eval/`, `labels/` and
`classifiers/`. `model.safetensors` is a checkpoint of ours under the name that tools of the hub look for. It has the weights that the run
works with (the average over steps, if there is one) and no state of the optimiser. `config.json` lists the other files with their
checksums and is written last, so a half-pushed run is never taken for a complete one. Places of this machine do not go out.

The class `HubModel` of this module is a `torch.nn.Module` with `huggingface_hub.PyTorchModelHubMixin`, which loads such a folder:

    HubModel.from_pretrained("user/name")(points)       # [B, P, C] to [B, F]

It is made when it is first asked for, because the package of the hub is optional.
"""

import dataclasses
import functools
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from torch import Tensor, nn

from cache_schema import licences
from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.local import Cleaner, own_names
from cache_schema.remote import CARD, FILE_MOST, MODELS, ROOT_MOST, Absent, Folder, Hub, Place, is_remote, place_of_run, snapshot
from cache_schema.spec import from_json, to_json
from cache_schema.terminal import counted, json_text
from trainer import card, checkpoint, classifiers, folder, handed, labels
from trainer.checkpoint import SHARED, WEIGHTS, Header, Loaded
from trainer.encoders import catalog
from trainer.encoders.protocol import EncoderSettings
from trainer.handed import CURVES, FOLDERS, KEY, TRAINING, File, Handed
from trainer.stage import build
from trainer.tasks import result
from trainer.tasks.features import Body

SHIPPED: Final = {path.name: path for path in sorted((Path(__file__).parent / "shipped").iterdir()) if path.is_dir()}
"""Folders of the runs that come with the project, by name."""
PATTERNS: Final = (SHARED, folder.CONFIG, CARD, *(f"{name}/*{end}" for name, end in FOLDERS.items()))
"""Files that `fetch` brings from the hub. Nothing else is ever fetched, so no stranger's pickle either."""

Say = Callable[[str], None]
"""Prints a message."""


# ---------------------------------------------------------------------------------------------------------------- push


def push(
    run: Path,
    url: str,
    *,
    caches: Sequence[Path] = (),
    licence: str = "",
    public: bool = False,
    allow_unknown: bool = False,
    training: bool = False,
    replace: bool = False,
    say: Say = lambda text: None,
) -> dict[str, int]:
    """Write a run to another place, with a card.

    Args:
        run: the folder of the run.
        url: `hf://USER/NAME`, a folder, `s3://` or `gs://`. It may hold an earlier state of this run.
        caches: where the caches are now that the run was trained on, for the licences. Those that are where they were need not be named.
        licence: the licence that you give the weights under; empty to say nothing.
        public: whether everybody can see a repository that the push makes on the hub. Default: a private one.
        allow_unknown: whether to push although a licence is not known.
        training: whether the state of the optimiser goes along, with which the training can be continued.
        replace: whether to write over another run.
        say: prints messages.

    Returns:
        The size in bytes of each file that was written, by its place.

    Raises:
        UserError: there is no run, a licence forbids it, the place holds something else, or the connection is lost.
    """
    place = place_of_run(url)
    if not place.writable:
        raise UserError(f"{url} can only be read: push to {MODELS}USER/NAME, a folder, s3:// or gs://")
    if public and not isinstance(place, Hub):
        raise UserError(f"--public is for models on the hub ({MODELS}USER/NAME); who can read {url} is decided there")
    if isinstance(place, Folder) and place.path.resolve() == run.resolve():
        raise UserError(f"{url} is the run itself; give another place")
    loaded = checkpoint.load(run)
    cleaner = Cleaner(_places(loaded, caches), own_names())
    facts = card.gathered(loaded, caches, classifiers.names(run))
    check_licences(run, facts.holders, allow_unknown, say)
    trial = checkpoint.setup(loaded.header, seeds=True)
    check_place(place, trial, replace)
    if isinstance(place, Hub):
        place.public = public
        say(place.audience())
    return _write(place, loaded, cleaner, facts, licence, trial, training)


def _write(place: Place, loaded: Loaded, cleaner: Cleaner, facts: card.Facts, licence: str, trial: str, training: bool) -> dict[str, int]:
    """Write the files of a run, `config.json` last. Returns their sizes."""
    header = _clean_header(loaded.header, cleaner)
    encoder = loaded.model.encoder.config
    files = _beside(loaded.run, cleaner)
    state = {WEIGHTS + name: value for name, value in loaded.model.state_dict().items()}
    files[SHARED] = checkpoint.contents(header, encoder, state)
    if training:
        files[TRAINING] = checkpoint.contents(header, encoder, checkpoint.read(loaded.run)[2])
    where = place.repo if isinstance(place, Hub) else place.path.name if isinstance(place, Folder) else place.url
    names = sorted([*files, CARD, folder.CONFIG])
    files[CARD] = cleaner.cleaned(card.readme(where, loaded, facts, _results(loaded.run), licence, names).decode()).encode()
    listed = tuple(File(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in sorted(files.items()))
    holders = tuple((name, tuple(map(cleaner.cleaned, who))) for name, who in facts.holders.items())
    made = Handed(header=header, digest=loaded.weights, trial=trial, files=listed, holders=holders)
    for name, data in files.items():
        place.write(name, data)
    place.write(folder.CONFIG, _config(made, encoder))
    place.settle()
    return {file.name: file.size for file in listed}


def _config(made: Handed, encoder: EncoderSettings) -> bytes:
    """The bytes of `config.json`: our part, and what a run's own `config.json` says."""
    return (json_text({KEY: to_json(made), **folder.described(made.header, encoder, None, None)}) + "\n").encode()


def _results(run: Path) -> list[result.Result]:
    return [result.load(path) for path in sorted((run / result.FOLDER).glob("*.json"))]


def _beside(run: Path, cleaner: Cleaner) -> dict[str, bytes]:
    """The files of a run that go along with its weights, by their places, without anything local.

    Raises:
        UserError: a file is damaged, or has a name under which it could not be fetched.
    """
    found = {CURVES: (run / CURVES).read_bytes()} if (run / CURVES).is_file() else {}
    for parent, end in FOLDERS.items():
        for path in sorted((run / parent).glob(f"*{labels.AT}*{end}" if parent == labels.FOLDER else f"*{end}")):
            if path.name.startswith("."):
                continue
            name = f"{parent}/{path.name}"
            handed.check_name(name, str(run))
            data = path.read_bytes()
            found[name] = _clean_json(data, cleaner) if end == ".json" else _clean_tensors(data, cleaner, path)
    return found


def _places(loaded: Loaded, caches: Sequence[Path]) -> tuple[str, ...]:
    """Places of this machine that texts of a run may name, longest first."""
    named = [loaded.run, *caches, *(Path(used.path) for used in loaded.header.caches if not is_remote(used.path))]
    found = {str(made) for path in named for made in (path.absolute(), path.resolve(), path.absolute().parent)}
    return tuple(sorted((place for place in found if place.count("/") > 1), key=len, reverse=True))


def _clean_header(header: Header, cleaner: Cleaner) -> Header:
    """A header without places: caches are called by their names."""
    caches = tuple(dataclasses.replace(used, path=PurePosixPath(used.path).name) for used in header.caches)
    return cleaner.description(dataclasses.replace(header, caches=caches), "the configuration of the run")


def _clean_json(data: bytes, cleaner: Cleaner) -> bytes:
    return (json_text(_each_text(json.loads(data), cleaner.cleaned)) + "\n").encode()


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(item, change) for item in value]
    return {key: _each_text(item, change) for key, item in value.items()} if isinstance(value, dict) else value


def _clean_tensors(data: bytes, cleaner: Cleaner, path: Path) -> bytes:
    """The bytes of a safetensors file whose metadata name no place of this machine. Its tensors stay as they are."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        said = dict(header.get("__metadata__", {}))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: it is no safetensors file ({error})") from error

    def clean(text: str) -> str:
        try:
            return json.dumps(_each_text(json.loads(text), cleaner.cleaned), sort_keys=True)
        except ValueError:
            return cleaner.cleaned(text)

    made = {key: clean(text) if cleaner.local(text) else text for key, text in said.items()}
    if made == said:
        return data
    new = json.dumps(header | {"__metadata__": made}).encode()
    new += b" " * (-len(new) % 8)  # tensors begin at multiples of 8 bytes
    return len(new).to_bytes(8, "little") + new + data[8 + length :]


# ------------------------------------------------------------------------------------------------------ may it go out?


def check_licences(run: Path, holders: Mapping[str, Sequence[str]], allow_unknown: bool, say: Say) -> None:
    """Refuse to give away what a licence forbids to give away.

    Args:
        run: the run.
        holders: who is under which licence; an empty one stands for unknown.
        allow_unknown: whether unknown licences are only told.
        say: prints what is only told.

    Raises:
        UserError: a licence of shapes or of a teacher forbids it, or is not known.
    """
    forbidden: list[str] = []
    unknown: list[str] = []
    for name, why in licences.forbids(holders).items():
        said = f"{', '.join(holders[name])} ({name or 'no licence'}: {why})"
        (unknown if licences.terms(name).sharing == "unknown" else forbidden).append(said)
    if forbidden:
        raise UserError(f"{run} must not be given away: {'; '.join(forbidden)}. Train without what forbids it")
    if unknown and not allow_unknown:
        raise UserError(
            f"nobody knows whether {run} may be given away: {'; '.join(unknown)}. Name caches that have moved by --cache, and give models "
            "their licences by `mmpd-cache licence`. If you know that it may, or the place is for your own group only, add "
            "--allow-unknown; the card then says what is not known"
        )
    if unknown:
        say(f"Pushed although a licence is not known: {'; '.join(unknown)}")


def check_place(place: Place, trial: str, replace: bool) -> None:
    """Refuse to write over what is not an earlier state of this run.

    Raises:
        UserError: the place holds something else.
    """
    try:
        there = described(place)
    except Absent:
        others = sorted(name for name in place.find("") if name != ".gitattributes")
        if others and not replace:
            raise UserError(f"{place.url} holds {others[0]} and no run; give another place, or add --replace to write beside it") from None
        return
    except UserError:
        if replace:
            return
        raise
    if there.trial != trial and not replace:
        what = f"{there.header.config.encoder.name}, {counted(there.header.step, 'step')}"
        raise UserError(f"{place.url} holds another run ({what}); give another place, or add --replace")


# ---------------------------------------------------------------------------------------------------------------- pull


def described(place: Place) -> Handed:
    """What `config.json` at a place says.

    Everything in it may come from a stranger. A file that is not one of those that a push writes is refused.

    Raises:
        Absent: there is no such file.
        UserError: it is damaged, of another version, or not of this software.
    """
    return handed.read(place.read(folder.CONFIG, ROOT_MOST), place.address(folder.CONFIG))


def pull(url: str, run: Path) -> dict[str, int]:
    """Fetch a run, and check every file against its checksum. The folder is then an ordinary run; it is complete or absent.

    Args:
        url: `hf://USER/NAME`, a folder, an address of `s3://`, `gs://` or `https://`, or a name of `SHIPPED`.
        run: where to put it: a new folder.

    Returns:
        The size in bytes of each file, by its place in the folder.

    Raises:
        UserError: there is no run at the place, a file is damaged or is not the one that was pushed, or `run` has files.
    """
    place = place_of_run(_address(url))
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise UserError(f"{run} exists; give a new folder")
    try:
        there = described(place)
    except Absent as error:
        raise Absent(f"{url} holds no run: {error}") from None
    config = place.read(folder.CONFIG, ROOT_MOST)
    files = _fetched(place, there) | {folder.CONFIG: config}
    try:
        # The weights come last: a folder without them is no run.
        for name in sorted(files, key=lambda one: one == checkpoint.LAST):
            write_file(run / name, files[name])
        _check_weights(run, there, url)
    except BaseException:
        shutil.rmtree(run, ignore_errors=True)
        raise
    return {name: len(data) for name, data in files.items()}


def _address(name: str) -> str:
    """The folder of a run that comes with the project; any other name as it is. A folder here of that name comes first."""
    return name if Path(name).is_dir() else str(SHIPPED.get(name, name))


def _fetched(place: Place, there: Handed) -> dict[str, bytes]:
    """The files of a run at a place, by their places in its new folder.

    Raises:
        UserError: one is missing, or is not the one that was pushed.
    """
    found: dict[str, bytes] = {}
    whole = any(file.name == TRAINING for file in there.files)
    for file in there.files:
        if file.name == SHARED and whole:
            continue  # the whole checkpoint has the same weights
        data = place.read(file.name, min(file.size, FILE_MOST))
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise UserError(
                f"{place.address(file.name)} does not match its checksum in {folder.CONFIG} ({len(data)} of {file.size} bytes came): it is "
                "damaged there, or a push is at work. It was not kept. Try again, or push that run again"
            )
        found[checkpoint.LAST if file.name in (SHARED, TRAINING) else file.name] = data
    return found


def fetch(name: str, revision: str | None = None) -> Path:
    """The folder of a run that is named by a path, or by its name on the hub. What is fetched from the hub stays among the hub's files.

    Args:
        name: a folder, `USER/NAME`, `hf://USER/NAME`, or a name of `SHIPPED`.
        revision: a branch, tag or commit on the hub; None for the newest state.

    Raises:
        UserError: there is no such run, a file is damaged, or the hub cannot be reached and the run was not fetched before.
    """
    name = _address(name)
    if not is_remote(name) and Path(name).is_dir():
        if revision is not None:
            raise UserError(f"{name} is a folder, which has no revisions: leave out the revision")
        if (Path(name) / SHARED).is_file() and (Path(name) / folder.CONFIG).is_file():
            _check_folder(Path(name), name)
        return Path(name)
    repo = name.removeprefix(MODELS)
    if is_remote(repo):
        raise UserError(f"{name}: fetch it first, mmpd-train pull {name} RUN, then load RUN")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise UserError(
            f"{name} is no folder, no run that comes along ({', '.join(SHIPPED)}), and no name of a model on the hub, which is USER/NAME"
        )
    found = snapshot(repo, revision, PATTERNS)
    if not (found / folder.CONFIG).is_file() or not (found / SHARED).is_file():
        raise UserError(
            f"{MODELS}{repo} holds no run of this project: it lacks {folder.CONFIG} or {SHARED}. Nothing else is read, least of all pickles"
        )
    _check_folder(found, f"{MODELS}{repo}")
    return found


def _check_folder(found: Path, name: str) -> None:
    """Compare the files in a folder with the checksums in its `config.json`. A folder whose `config.json` is not ours is refused."""
    there = handed.read((found / folder.CONFIG).read_bytes(), str(found / folder.CONFIG))
    _check_weights(found, there, name)
    for file in there.files:
        path = found / file.name
        if path.exists() and (path.stat().st_size != file.size or handed.sha256(path) != file.sha256):
            raise UserError(
                f"{file.name} of {name} does not match its checksum in {folder.CONFIG}: it was damaged or changed. Delete {found} and "
                "fetch it again, or push the run again"
            )


def _check_weights(run: Path, there: Handed, name: str) -> None:
    if (digest := checkpoint.weights(run)) != there.digest:
        raise UserError(
            f"the weights of {name} are not those of its {folder.CONFIG} (digest {digest[:12]}, expected {there.digest[:12]}): the file "
            f"was damaged or replaced. Delete {run} and fetch it again"
        )


# ------------------------------------------------------------------------------------------------------- for other tools


def __getattr__(name: str) -> Any:
    if name == "HubModel":
        return _hub_model()
    raise AttributeError(name)


@functools.cache
def _hub_model() -> type[nn.Module]:
    """Make the class `HubModel`."""
    from cache_schema.remote import hub_mixin

    mixin: Any = hub_mixin()

    class HubModel(nn.Module, mixin, library_name=card.LIBRARY, tags=list(card.TAGS), pipeline_tag=card.TASK):  # type: ignore[misc,call-arg]
        """A run as a module of torch that the tools of the hub load and save. Its state has the names of `model.safetensors`."""

        def __init__(self, mmpd: dict[str, Any], encoder: dict[str, Any]) -> None:
            """`mmpd` and `encoder` are these parts of `config.json`."""
            super().__init__()
            self.handed: Handed = from_json(Handed, mmpd)
            settings = from_json(type(catalog.config(self.handed.header.config.encoder.name)), encoder)
            self.model = build(self.handed.header.config, self.handed.header.facts, encoder=settings)
            self.model.convention = self.handed.header.points
            self.eval()

        def forward(self, points: Tensor, ordered: bool = False) -> Tensor:
            """The vectors [B, F] of shapes, points [B, P, C] as in the run's training. `ordered`: they are in farthest-point order."""
            found: Tensor = Body.of(self.model, "mean_max")(points, ordered)
            return found

        def _save_pretrained(self, save_directory: Path) -> None:
            """Write `model.safetensors` with our header, as `push` does, so that the folder stays a run."""
            state = {WEIGHTS + name: value for name, value in self.model.state_dict().items()}
            settings = self.model.encoder.config
            data = checkpoint.contents(self.handed.header, settings, state)
            file = File(name=SHARED, size=len(data), sha256=hashlib.sha256(data).hexdigest())
            digest = checkpoint.digest(self.model.state_dict())
            # Nobody knows here what other weights were trained on.
            holders = self.handed.holders if digest == self.handed.digest else ()
            made = dataclasses.replace(self.handed, digest=digest, files=(file,), holders=holders)
            write_file(Path(save_directory) / SHARED, data)
            write_file(Path(save_directory) / folder.CONFIG, _config(made, settings))

    return HubModel
