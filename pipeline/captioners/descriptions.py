"""The captioner `descriptions` makes texts of what the source states about a shape. It uses no pictures and no model, and invents nothing.

    captioner = catalog.load(CAPTIONERS["descriptions"].spec)
    captioner.tell("chair/0001", statement, Variety())     # ["swivel chair", "a brown fabric chair with ...", "this is a chair. it is ..."]

A text of a kind for which too little is stated is empty: there is none. Random choices (of names, of the order of parts, of the frame) come
from the key alone.

With `CaptionSpec.wrong` each text is the sentence with one thing exchanged for what other shapes of the same name have, so that nobody can
tell it by its oddness: hard wrong answers, as in https://arxiv.org/abs/2210.01936 and https://arxiv.org/abs/2211.11733. Values that no
shape of the name has would be told from the text alone (https://arxiv.org/abs/2306.14610).
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from cache_schema.errors import UserError
from cache_schema.spec import CaptionSpec
from pipeline.captioners.catalog import generator, shortened
from pipeline.statements import Sort, Statement, Variety
from pipeline.words import adjective, counted, listed, several, with_article

if TYPE_CHECKING:
    import torch

PACKAGES: Final = ("numpy",)
"""The packages whose versions are recorded with its texts. NumPy draws the random choices."""

RIGHT: Final[dict[str, str]] = {
    "name": "a name of a few words",
    "sentence": "one sentence with colour, material and parts",
    "paragraph": "several sentences, or what the maker of the shape writes",
}
"""Kinds of texts that are so."""
WRONG: Final[dict[str, str]] = {
    "color": "the sentence with another colour of the whole",
    "material": "the sentence with another material of the whole",
    "count": "the sentence with another number of a part",
    "part": "the sentence with a part that the shape lacks in the place of one that it has",
}
"""Kinds of texts that say one thing that is not so."""
KINDS: Final[dict[str, str]] = RIGHT | WRONG
TELLS: Final = True
"""It makes texts of what the source states (`CaptionSpec.stated`)."""

MOST: Final = 3
"""Most sorts of parts in a sentence."""
FRAMES: Final = ("{}", "{}", "this is {}", "there is {}")
"""What is put around a sentence."""

Rng = np.random.Generator


IDLE: Final = ("max_tokens", "temperature", "top_p", "precision")
"""Settings that are for models."""


def load(spec: CaptionSpec, *, device: "torch.device | str") -> "Descriptions":
    """Make the captioner. It loads nothing, so `device` has no effect.

    Raises:
        UserError: the kinds of texts are not given, or are both right and wrong ones; or there is a setting that it does not read.
    """
    known, others = (WRONG, RIGHT) if spec.wrong else (RIGHT, WRONG)
    if not spec.kinds:
        raise UserError(f"captions.kinds: which texts of what the source states? Of {', '.join(known)}")
    if odd := [kind for kind in spec.kinds if kind in others]:
        raise UserError(
            f"captions.kinds: with captions.wrong={str(spec.wrong).lower()} the kinds are {', '.join(known)}, got {odd[0]!r}. Wrong texts "
            "are captions of their own, which no training takes for right ones"
        )
    given = [name for name in ("model", "prompt", "templates") if getattr(spec, name)]
    if given:
        raise UserError(f"captions.{given[0]} has no effect with captioner 'descriptions', which has sentences of its own: leave it out")
    return Descriptions(replace(spec, stated=True))


class Descriptions:
    """Makes texts of statements. See `catalog.Captioner` and `catalog.Telling`."""

    def __init__(self, spec: CaptionSpec) -> None:
        self.spec = spec

    def caption(self, images: np.ndarray, keys: Sequence[str], names: Sequence[str]) -> list[list[str]]:
        """Make texts of names alone, because a picture states nothing."""
        return [self.tell(key, Statement(name=name), Variety()) for key, name in zip(keys, names, strict=True)]

    def tell(self, key: str, statement: Statement, variety: Variety) -> list[str]:
        """Make the texts of one shape; see `catalog.Telling`."""
        state = (self.spec.seed, key)
        shown = _shown(statement, generator(*state, "shown"))

        def said(one: Statement) -> str:
            return _sentence(one, generator(*state, "sentence"))  # always from the same state: so two texts differ in words alone

        texts = []
        for kind in self.spec.kinds:
            rng = generator(*state, kind)
            if kind in WRONG:
                other = EXCHANGES[kind](shown, variety, rng)
                text, whole = shortened("" if other is None else said(other))
                # What makes it wrong may be behind the end of a cell: then it is not all there, or is the right one.
                texts.append(text if whole and text != shortened(said(shown))[0] else "")
            else:
                right = {"name": _name, "sentence": lambda _, __: said(shown), "paragraph": _paragraph}[kind]
                texts.append(shortened(right(statement, rng))[0])
        return texts


# ----------------------------------------------------------------------------------------------------------- right texts


def _pick(rng: Rng, things: Sequence[str]) -> str:
    return things[int(rng.integers(len(things)))]


def _called(statement: Statement, rng: Rng) -> str:
    """One of the names of a shape; empty for none."""
    names = list(dict.fromkeys(filter(None, (statement.name, statement.design))))
    return _pick(rng, names) if names else ""


def _shown(statement: Statement, rng: Rng) -> Statement:
    """The statement with the name, the adjective and the parts that a sentence has room for, in a random order."""
    order = rng.permutation(len(statement.parts))[:MOST]
    style = (_pick(rng, statement.style),) if statement.style else ()
    return replace(statement, name=_called(statement, rng), design="", style=style, parts=tuple(statement.parts[i] for i in order))


def _name(statement: Statement, rng: Rng) -> str:
    """A name of a few words: with the colour or an adjective in one of two cases."""
    name = _called(statement, rng)
    if not name:
        return statement.title
    first = [word for word in (statement.color, *statement.style) if word and word not in name.split()]
    return f"{_pick(rng, first)} {name}" if first and rng.random() < 0.5 else name


def _sentence(statement: Statement, rng: Rng) -> str:
    """One sentence with everything that a statement holds but its text."""
    frame = _pick(rng, FRAMES)
    if not statement.name:
        return _titled(statement)
    words = [*statement.style, statement.color, adjective(statement.material)]
    told = [word for word in words if word and word not in statement.name.split()]
    text = with_article(" ".join([*told, statement.name]))
    if statement.parts:
        text += f" with {listed([_part(part) for part in statement.parts])}"
    more = _titled(statement)
    return frame.replace("{}", text) + (f", {more}" if more else "")


def _titled(statement: Statement) -> str:
    """What its maker calls a shape, and its tags; empty for neither."""
    tags = f"tagged {listed(statement.tags)}" if statement.tags else ""
    return ", ".join(filter(None, (f"called {statement.title}" if statement.title else "", tags)))


def _part(part: Sort) -> str:
    word = part.color or adjective(part.material)
    return several(part.count, f"{word} {part.noun}".strip())


def _paragraph(statement: Statement, rng: Rng) -> str:
    """What its maker writes about a shape; or sentences about everything that is stated. Empty if that is no more than a name."""
    if statement.text:
        return statement.text
    called = list(dict.fromkeys(filter(None, (statement.name, statement.design))))
    if not called:
        return ""
    first = f"this is {with_article(called[-1])}"
    style = [word for word in (*statement.style, statement.color) if word not in called[-1].split()]
    looks = [*style, f"made of {statement.material}" if statement.material else ""]
    looks = [looks[i] for i in rng.permutation(len(looks)) if looks[i]]
    parts = [statement.parts[i] for i in rng.permutation(len(statement.parts))]
    whole = [_part(replace(part, color=" ".join(filter(None, (part.color, adjective(part.material)))))) for part in parts]
    titled = _titled(statement)
    said = [f"it is {listed(looks)}" if looks else "", f"it has {listed(whole)}" if whole else "", f"it is {titled}" if titled else ""]
    more = [text for text in said if text]
    return ". ".join([first, *more]) + "." if more or len(called) > 1 else ""


# ----------------------------------------------------------------------------------------------------------- wrong texts

Exchange = Callable[[Statement, Variety, Rng], Statement | None]
"""Returns the statement with one thing that is not so; None if nothing can be exchanged."""


def _other_color(statement: Statement, variety: Variety, rng: Rng) -> Statement | None:
    there = {statement.color, *(part.color for part in statement.parts), *statement.name.split()}
    others = [color for color in variety.colors if color not in there]
    return replace(statement, color=_pick(rng, others)) if statement.color and others else None


def _other_material(statement: Statement, variety: Variety, rng: Rng) -> Statement | None:
    there = {statement.material, *(part.material for part in statement.parts)}
    others = [material for material in variety.materials if material not in there]
    return replace(statement, material=_pick(rng, others)) if statement.material and others else None


def _other_count(statement: Statement, variety: Variety, rng: Rng) -> Statement | None:
    known = dict(variety.counts)
    other = {
        place: numbers
        for place, part in enumerate(statement.parts)
        if (numbers := [number for number in known.get(part.noun, ()) if counted(number) != counted(part.count)])
    }
    if not other:
        return None
    place = list(other)[int(rng.integers(len(other)))]
    count = other[place][int(rng.integers(len(other[place])))]
    return _with_part(statement, place, replace(statement.parts[place], count=count))


def _other_part(statement: Statement, variety: Variety, rng: Rng) -> Statement | None:
    if not statement.parts or not variety.absent:
        return None
    place = int(rng.integers(len(statement.parts)))
    noun, numbers = variety.absent[int(rng.integers(len(variety.absent)))]
    return _with_part(statement, place, Sort(noun=noun, count=numbers[int(rng.integers(len(numbers)))]))


def _with_part(statement: Statement, place: int, part: Sort) -> Statement:
    """The statement with another part in a place."""
    parts = [*statement.parts]
    parts[place] = part
    return dataclasses.replace(statement, parts=tuple(parts))


EXCHANGES: Final[dict[str, Exchange]] = {"color": _other_color, "material": _other_material, "count": _other_count, "part": _other_part}
"""By kind of a wrong text: what exchanges one thing of a statement."""
