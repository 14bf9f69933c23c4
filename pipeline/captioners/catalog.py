"""The captioners that exist, and how to load one. A captioner writes texts about views.

    captioner = catalog.load(CAPTIONERS["blip2-opt-2.7b"].spec, device="cuda")
    texts = captioner.caption(pictures, keys, names)   # pictures [B, H, W, 3] -> B lists of `samples` texts

To add a captioner, add a module with a function `load`, and a line in `BACKENDS`. Or another package has an entry point
(`cache_schema.plugins`), and its module the usual settings in `SPEC`. Large libraries are imported when a captioner is loaded.
A caption depends on the picture, its key and the number of the sample. It never depends on other pictures of the batch. A caption may be
empty; it is stored and ranked like the others. A model behind an address (`http`) promises less: see `CaptionSpec.reproducible`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import numpy as np

from cache_schema import plugins
from cache_schema.errors import UserError
from cache_schema.names import path_name
from cache_schema.settings import override, refuse_unread
from cache_schema.spec import TEXT_BYTES, CaptionSpec, Server, did_you_mean
from cache_schema.terminal import article, counted
from pipeline import labels
from pipeline.statements import Statement, Variety

if TYPE_CHECKING:
    import torch

BACKENDS: dict[str, str] = {
    "blip2": "pipeline.captioners.blip2",
    "descriptions": "pipeline.captioners.descriptions",
    "http": "pipeline.captioners.http",
    "template": "pipeline.captioners.templates",
}
"""Name (`CaptionSpec.captioner`) to module, imported when chosen. Each offers `load(spec, *, device) -> Captioner` and names
the packages it computes with in `PACKAGES`. One that can write several kinds of texts at once names them in `KINDS`. One that asks a server
has `ASKS = True`, one that makes texts of what the source states `TELLS = True`. One that does not read all fields of `CaptionSpec` names
the others in `IDLE`."""


class Captioner(Protocol):
    """A loaded captioner."""

    spec: CaptionSpec
    """The specification that was asked for, with the digest and the revision of the weights."""

    def caption(self, images: np.ndarray, keys: Sequence[str], names: Sequence[str]) -> list[list[str]]:
        """Write `samples` texts for each picture. One call is one batch of the model.

        Args:
            images: [B, H, W, 3] uint8.
            keys: shape and view of each picture. Key and seed together decide all random numbers.
            names: label or file name of each shape as words, for templates.

        Returns:
            B lists of `spec.samples` texts, in the order drawn, each of at most `TEXT_BYTES` bytes.
        """
        ...


class Pending(Protocol):
    """Texts that are being asked for."""

    def result(self) -> list[list[str]]:
        """Wait for the texts, and return what `Captioner.caption` returns."""
        ...


@runtime_checkable
class Asking(Protocol):
    """A captioner that asks a server. Many of its pictures wait for their texts at a time."""

    spec: CaptionSpec
    ahead: int
    """Number of pictures that may wait."""

    def begin(self, images: np.ndarray, keys: Sequence[str], names: Sequence[str]) -> Pending:
        """Begin to ask for what `Captioner.caption` returns."""
        ...

    def used(self) -> dict[str, float]:
        """Tell what was asked so far, as numbers by name, such as `questions`, `prompt_tokens` and `cost`."""
        ...

    def reasons(self) -> list[str]:
        """Return why pictures have no text, since the last call."""
        ...


@runtime_checkable
class Telling(Protocol):
    """A captioner that makes texts of what the source states about shapes (`CaptionSpec.stated`), and not of pictures."""

    spec: CaptionSpec

    def tell(self, key: str, statement: Statement, variety: Variety) -> list[str]:
        """Make the `samples` texts of one shape. A text for which too little is stated is empty.

        Args:
            key: id of the shape. Key and seed together decide all random numbers.
            statement: what the source states about it.
            variety: what other shapes of its name have; only for wrong texts (`CaptionSpec.wrong`).
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A captioner known by name."""

    spec: CaptionSpec
    """Its specification. You may change it with `dataclasses.replace`."""
    about: str


TOLD: Final = "told:"
"""Beginning of `CaptionSpec.weights` of a model that nobody here has seen. Then comes the name that its server gives it."""

ONE_SHEET: Final = (
    "The picture shows one object, drawn from several sides, with a number in each view. Describe the object, and not the views, the "
    "numbers or the background."
)
"""What a model behind an address is asked about a sheet of views."""

# Revisions are commits of the hub as seen in public code that pins them.
CAPTIONERS: dict[str, Choice] = {
    "starter-blip2": Choice(
        spec=CaptionSpec(name="starter-blip2", captioner="blip2", model="starter-blip2", samples=8, max_tokens=40, temperature=0.65),
        about="comes with the project, knows starter shapes: a small BLIP-2",
    ),
    "blip2-opt-2.7b": Choice(
        spec=CaptionSpec(
            name="blip2-opt-2.7b", captioner="blip2", model="Salesforce/blip2-opt-2.7b", revision="59a1ef6c1e5117b3f65523d1c6066825bcf315e3"
        ),
        about="BLIP-2 with OPT 2.7B, free captions of the pictures",
    ),
    "http": Choice(
        spec=CaptionSpec(
            name="http",
            captioner="http",
            prompt="Describe the object in this picture in one plain sentence of at most twenty words. Do not mention the picture.",
            samples=1,
            max_tokens=60,
            reproducible=False,
        ),
        about="any model behind an address like OpenAI's (vLLM, Ollama, hosted): a caption of each view",
    ),
    "http-shape": Choice(
        spec=CaptionSpec(
            name="http-shape",
            captioner="http",
            prompt=ONE_SHEET,
            samples=3,
            keep=3,
            max_tokens=400,
            per="shape",
            sheet=4,
            kinds=("tags", "sentence", "paragraph"),
            over="mean",
            reproducible=False,
        ),
        about="the same, one question for each shape with a sheet of its views: tags, a sentence and a paragraph",
    ),
    "http-lengths": Choice(
        spec=CaptionSpec(
            name="http-lengths",
            captioner="http",
            prompt=ONE_SHEET,
            samples=3,
            keep=3,
            max_tokens=400,
            per="shape",
            sheet=4,
            kinds=("name", "sentence", "paragraph"),
            over="mean",
            reproducible=False,
        ),
        about="the same in three lengths: a name, a sentence and a paragraph",
    ),
    "descriptions": Choice(
        spec=CaptionSpec(
            name="descriptions",
            captioner="descriptions",
            samples=3,
            keep=3,
            per="shape",
            kinds=("name", "sentence", "paragraph"),
            over="mean",
            stated=True,
        ),
        about="no model: a name, a sentence and a paragraph of what the source states about the shape",
    ),
    "wrong-descriptions": Choice(
        spec=CaptionSpec(
            name="wrong-descriptions",
            captioner="descriptions",
            samples=4,
            keep=4,
            per="shape",
            kinds=("color", "material", "count", "part"),
            over="mean",
            stated=True,
            wrong=True,
        ),
        about="no model: the sentence with one thing that is not so, as hard wrong answers (data.hard)",
    ),
    "template": Choice(
        spec=CaptionSpec(name="template", captioner="template", templates=labels.TEMPLATES),
        about="no model: sentences filled with the class or file name of the shape",
    ),
}
"""Known captioners by name. The name is also that of their captions in a cache."""


def asked(reference: str, assignments: Sequence[str] = ()) -> CaptionSpec:
    """Return the specification of a captioner.

    Args:
        reference: a name in `CAPTIONERS`, or `MINE=NAME` to call its captions MINE in the cache.
        assignments: changed settings, such as `samples=10`.

    Raises:
        UserError: there is no such captioner or setting, or the name is not allowed.
    """
    called, equals, name = reference.rpartition("=")
    theirs = name not in CAPTIONERS and name in plugins.others("captioners", BACKENDS)
    if name not in CAPTIONERS and not theirs:
        raise UserError(f"no captioner is called {name!r}{did_you_mean(name, known())}")
    if equals and any(assignment.partition("=")[0].strip() == "name" for assignment in assignments):
        raise UserError(f"{reference} gives the captions a name, and so does --set name; leave one out")
    spec = override(_default(name) if theirs else CAPTIONERS[name].spec, assignments)
    return replace(spec, name=path_name(called if equals else spec.name, "the captions"))


def load(spec: CaptionSpec, *, device: "torch.device | str" = "cpu") -> Captioner:
    """Load the captioner that a specification describes.

    Args:
        spec: the specification. If `weights` is not empty, the loaded weights must have this digest.
        device: torch device of the model.

    Raises:
        UserError: there is no such captioner, it does not know a setting, or its weights cannot be found or differ from `spec.weights`.
    """
    module = plugins.module("captioners", spec.captioner, BACKENDS)
    kinds = getattr(module, "KINDS", {})
    if unknown := [kind for kind in spec.kinds if kind not in kinds]:
        known = did_you_mean(unknown[0], kinds) if kinds else "; its texts are of one kind: leave captions.kinds out"
        raise UserError(f"captioner {spec.captioner!r} writes no texts of the kind {unknown[0]!r}{known}")
    asks = spec.captioner not in BACKENDS or getattr(module, "ASKS", False)
    if spec.server != Server() and not asks:
        raise UserError(f"captions.server has no effect with captioner {spec.captioner!r}, which asks no server: leave it out")
    if not spec.temperature and not asks:
        raise UserError(f"captions.temperature=0 is for a captioner that asks a server, not {spec.captioner!r}: take a small one, as 0.01")
    if (spec.stated or spec.wrong) and spec.captioner in BACKENDS and not getattr(module, "TELLS", False):
        setting = "wrong" if spec.wrong else "stated"
        raise UserError(f"captions.{setting} is for captioners of what a source states, not {spec.captioner!r}: leave it out")
    captioner: Captioner = module.load(spec, device=device)
    if spec.captioner not in BACKENDS:
        _refuse(captioner, spec)
    if spec.weights and captioner.spec.weights != spec.weights and spec.weights.startswith(TOLD):
        raise UserError(
            f"the server at {spec.server.address} calls its model {captioner.spec.weights.removeprefix(TOLD)!r}, and the captions were "
            f"begun with {spec.weights.removeprefix(TOLD)!r}: let it serve that one, or give the new captions another name"
        )
    if spec.weights and captioner.spec.weights != spec.weights:
        raise UserError(
            f"the weights of {spec.model} have changed: expected digest {spec.weights[:12]}, got {captioner.spec.weights[:12]}; "
            "name the model the captions were begun with, or begin another cache"
        )
    return captioner


def _refuse(captioner: object, asked: CaptionSpec) -> None:
    """Refuse what the `load` of another package has returned if it is no captioner, or not the one that was asked for."""
    said, found = f"captioner {asked.captioner!r}", getattr(captioner, "spec", None)
    if not isinstance(found, CaptionSpec):
        raise UserError(f"{said}: its load returned {article(type(captioner).__name__)}, expected an object with the CaptionSpec in `spec`")
    for field in ("name", "captioner", "samples", "keep", "per", "kinds", "seed"):
        if (got := getattr(found, field)) != (wanted := getattr(asked, field)):
            raise UserError(f"{said}: its spec.{field} is {got!r}, expected {wanted!r}, as load was told")
    if not any(callable(getattr(captioner, method, None)) for method in ("caption", "begin", "tell")):
        raise UserError(f"{said} has no caption")


def texts_of(captioner: Captioner | Asking, written: object, count: int) -> list[list[str]]:
    """Return what a captioner has written about `count` pictures, each text as one line of printable characters.

    Raises:
        UserError: this is not what `Captioner.caption` promises; the message is for the author of the captioner.
    """
    samples = captioner.spec.samples
    said = f"captioner {captioner.spec.captioner!r} breaks its promise: it"
    if not isinstance(written, list | tuple) or len(written) != count:
        told = f"{counted(len(written), 'list')} of texts" if isinstance(written, list | tuple) else article(type(written).__name__)
        raise UserError(f"{said} returned {told}, expected a list of texts for each of {count} pictures")
    lines: list[list[str]] = []
    for texts in written:
        if not isinstance(texts, list | tuple) or len(texts) != samples:
            told = counted(len(texts), "text") if isinstance(texts, list | tuple) else article(type(texts).__name__)
            raise UserError(f"{said} returned {told} for a picture, expected a list of samples={samples} texts")
        for text in texts:
            if not isinstance(text, str):
                raise UserError(f"{said} returned {article(type(text).__name__)}, expected a text")
            if (size := len(_line(text).encode())) > TEXT_BYTES:
                raise UserError(f"{said} returned a text of {size} bytes, expected at most {TEXT_BYTES}: {text[:60]!r}. Use `fit` first")
        lines.append([fit(text) for text in texts])
    return lines


def refuse_idle(spec: CaptionSpec) -> None:
    """Refuse settings that a captioner does not read. Captions of earlier versions may have some, and are not refused.

    Raises:
        UserError: there is one that differs from its default.
    """
    module = plugins.module("captioners", spec.captioner, BACKENDS)
    refuse_unread(spec, getattr(module, "IDLE", ()), f"captioner is {spec.captioner!r}, which has no model", prefix="captions.")


def packages(backend: str) -> tuple[str, ...]:
    """Return the packages whose versions are recorded with the captions of a backend.

    Raises:
        UserError: there is no such backend.
    """
    own = [package for package, _ in plugins.origin("captioners", backend, BACKENDS)]
    return tuple(dict.fromkeys((*plugins.module("captioners", backend, BACKENDS).PACKAGES, *own)))


def known() -> dict[str, Choice]:
    """Return all captioners by name: `CAPTIONERS`, and each backend of another package that can be imported, with its `SPEC`."""
    found = dict(CAPTIONERS)
    for name in plugins.others("captioners", BACKENDS):
        about = plugins.state("captioners", name, BACKENDS)
        if name not in found and not about.startswith("broken"):
            found[name] = Choice(spec=_default(name), about=about)
    return found


def _default(backend: str) -> CaptionSpec:
    """Return the usual settings of another package's captioner.

    Raises:
        UserError: it cannot be imported, or does not say them.
    """
    spec = getattr(plugins.module("captioners", backend, BACKENDS), "SPEC", None)
    if not isinstance(spec, CaptionSpec):
        raise UserError(f"captioner {backend!r}: its module needs a CaptionSpec called SPEC, got {type(spec).__name__}")
    return replace(spec, name=spec.name or backend, captioner=backend)


def generator(*state: str | int) -> np.random.Generator:
    """Make a random generator that is different for each combination of names and numbers."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("\0".join(map(str, state)).encode()).digest()))


def fit(text: str) -> str:
    """Return a text as one line of printable characters, cut between characters to fit `TEXT_BYTES` of UTF-8."""
    return _line(text).encode()[:TEXT_BYTES].decode(errors="ignore").rstrip()


def _line(text: str) -> str:
    """A text as one line of printable characters, of any length."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shortened(text: str) -> tuple[str, bool]:
    """Make a text fit into its cell: cut after a sentence, or else after a word. Returns whether it is whole, too."""
    fitted, line = fit(text), _line(text)
    if fitted == line:
        return fitted, True
    sentence = max(fitted.rfind(f"{end} ") for end in ".!?")
    if sentence > TEXT_BYTES // 4:
        return fitted[: sentence + 1], False
    whole = fitted if line[len(fitted)] == " " else fitted.rpartition(" ")[0]
    return whole.rstrip(" ,;:-") or fitted, False
