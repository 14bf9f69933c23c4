"""Sentences about starter shapes, from which the starter teachers learn language, and a check of captions against the truth.

    rng = np.random.default_rng(0)
    sentence(description, rng).text # "a rendering of a tall wooden dresser that has six drawers", seldom twice alike
    caption(description, rng)       # "a brown wooden dresser with six drawers and four metal legs", what the captioner learns to say
    wrong(claims(text), description)  # what a caption says and is not so, and how much it says
    corpus()                        # every word there is, for tokenizers

Sentences come from a grammar. Random numbers choose the facts, their order, synonyms and the frame around them.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cache_schema import class_lists
from pipeline.labels import TEMPLATES
from pipeline.starter.kinds.catalog import KINDS
from pipeline.starter.kinds.thing import COLORS, STYLES, Parts, maybe, pick
from pipeline.starter.shapes import Description
from pipeline.words import MANY, NUMBERS, adjective, counted, listed, plural, several, with_article

Rng = np.random.Generator

TAUGHT: Final = ("modelnet10", "modelnet40", "scanobjectnn")
"""Data sets whose class names the teachers' tokenizers know."""

SUBSTANCES: Final = ("wood", "fabric", "leather", "plastic", "metal", "ceramic", "glass", "stone")

SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    "airplane": ("plane", "aircraft"),
    "bathtub": ("bath tub", "bath", "tub"),
    "boat": ("ship",),
    "bookshelf": ("bookcase", "shelf"),
    "bucket": ("pail",),
    "car": ("automobile", "vehicle"),
    "desk": ("writing desk", "office desk"),
    "dresser": ("chest of drawers", "commode"),
    "frying pan": ("pan", "skillet"),
    "lamp": ("light",),
    "laptop": ("notebook computer", "laptop computer"),
    "mailbox": ("letter box",),
    "monitor": ("screen", "display", "computer screen", "television"),
    "mug": ("cup", "coffee cup"),
    "night stand": ("nightstand", "bedside table", "bedside cabinet"),
    "potted plant": ("plant", "flower pot", "house plant"),
    "refrigerator": ("fridge",),
    "sink": ("wash basin", "basin"),
    "sofa": ("couch", "settee"),
    "stairs": ("staircase", "steps"),
    "teapot": ("tea pot",),
    "traffic cone": ("cone",),
    "wardrobe": ("closet", "armoire"),
}
"""Other names of a kind. No name belongs to two kinds."""

FRAMES: Final = (
    "{}",
    "{}",
    "this is {}",
    "there is {}",
    "it is {}",
    "here we see {}",
    "{} on a plain background",
    "{} seen from the side",
    "{}, nothing else",
)
MEDIA: Final = (
    "a photo of {}",
    "a picture of {}",
    "a rendering of {}",
    "a 3d model of {}",
    "an image of {}",
    "a drawing of {}",
    "a cad model of {}",
)
PLAIN: Final = ("a grey 3d model of {}", "an untextured model of {}", "{} without colours", "a plain grey rendering of {}")
"""For shapes without colours."""

HAVING: Final = ("with", "with", "that has", "which has", "having", "featuring")
SOME: Final = "some"
"""Number that a caption claims if it names parts in the plural without a number."""


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A text and the facts in it."""

    text: str
    told: frozenset[str]
    """Facts that the text states, in the words of `facts`."""


def facts(description: Description) -> frozenset[str]:
    """List all facts about a shape that a sentence can state."""
    told = {description.kind, *description.style, f"color {description.color}", f"of {description.material}"}
    for part in description.parts:
        told.add(f"{counted(part.count)} {part.noun}")
        if part.material is not None:
            told |= {f"{part.material.color_name} {part.noun}", f"{part.material.substance} {part.noun}"}
    return frozenset(told)


def caption(description: Description, rng: Rng, uncounted: Collection[str] = ()) -> str:
    """Make the caption that the captioner learns: `a [style] [color] [material] KIND [with PARTS]`, up to three of the parts.

    The number of equal parts is left out in half of the cases, so that the captioner learns to say `with drawers` when it cannot count.
    It is always left out for the nouns in `uncounted`.
    """
    words = []
    if description.style and maybe(rng, 0.8):
        words.append(pick(rng, description.style))
    if description.color and maybe(rng, 0.95):
        words.append(description.color)
    if description.material and maybe(rng, 0.85):
        words.append(adjective(description.material))
    text = with_article(" ".join([*words, description.kind]))
    told = _some(description.parts, 3, rng)
    phrases = [_part(part, rng, 0.5)[0] for part in told]
    bare = [part.count > 1 and (maybe(rng, 0.5) or part.noun in uncounted) for part in told]
    phrases = [one.split(" ", 1)[1] if hidden else one for hidden, one in zip(bare, phrases, strict=True)]
    return f"{text} with {listed(phrases)}" if told else text


def sentence(description: Description, rng: Rng) -> Sentence:
    """Make a random true sentence about a shape: with some of the facts, in any order, with synonyms."""
    kind = description.kind
    name = pick(rng, SYNONYMS[kind]) if kind in SYNONYMS and maybe(rng, 0.2) else kind
    told = {kind}
    if maybe(rng, 0.25):
        return Sentence(text=pick(rng, TEMPLATES).replace("{}", name), told=frozenset(told))
    words, after = [], []
    if description.style and maybe(rng, 0.4):
        words.append(pick(rng, description.style))
        told.add(words[0])
    if description.color and maybe(rng, 0.6):
        told.add(f"color {description.color}")
        if maybe(rng, 0.85):
            words.append(description.color)
        else:
            after.append(f"in {description.color}")
    if description.material and maybe(rng, 0.5):
        told.add(f"of {description.material}")
        if maybe(rng, 0.7):
            words.append(adjective(description.material))
        else:
            after.append(f"made of {description.material}")
    chosen = _some(description.parts, 3, rng)
    if chosen:
        phrases = [_part(part, rng, 0.4) for part in chosen]
        told = told.union(*(said for _, said in phrases))
        after.append(f"{pick(rng, HAVING)} {listed([text for text, _ in phrases])}")
    bare = " ".join([*words, name])
    text = " ".join([bare if maybe(rng, 0.2) else with_article(bare), *after])
    if not description.color and maybe(rng, 0.4):
        told.add("color ")
        frame = pick(rng, PLAIN)
    else:
        frame = pick(rng, MEDIA if maybe(rng, 0.5) else FRAMES)
    return Sentence(text=frame.replace("{}", text), told=frozenset(told))


def _some(parts: Sequence[Parts], most: int, rng: Rng) -> list[Parts]:
    count = min(len(parts), int(rng.integers(most + 1)))
    return [parts[i] for i in rng.permutation(len(parts))[:count]]


def _part(part: Parts, rng: Rng, chance: float) -> tuple[str, set[str]]:
    """Describe a part, with its material by a chance. Returns the words and the facts in them."""
    words, told = [], {f"{counted(part.count)} {part.noun}"}
    if part.material is not None and maybe(rng, chance):
        color = maybe(rng, 0.5) or not part.material.substance
        words = [part.material.color_name if color else adjective(part.material.substance)]
        told.add(f"{part.material.color_name if color else part.material.substance} {part.noun}")
    return several(part.count, " ".join([*words, part.noun])), told


# --------------------------------------------------------------------------------------------------------- checking


@dataclass(frozen=True, kw_only=True)
class Claims:
    """The statements of a caption."""

    kind: str
    """Empty where it names no kind."""
    words: tuple[str, ...] = ()
    """Styles, colours and adjectives of substances said of the whole."""
    parts: tuple[tuple[str, tuple[str, ...], str], ...] = ()
    """(number or `some`, words about it, noun as it stands) of each."""


def claims(text: str) -> Claims:
    """Parse a caption of the form that `caption` makes."""
    whole, _, rest = text.partition(" with ")
    names = [kind for kind in KINDS if re.search(rf"\b{kind}$", whole.strip())]
    kind = max(names, key=len, default="")
    words = tuple(whole.strip().removesuffix(kind).split())
    parts = []
    for told in re.split(r", | and ", rest) if rest else ():
        first, *middle = told.split() or [""]
        number = "one" if first in ("a", "an") else first if first in (*NUMBERS, MANY) else SOME
        middle = [first, *middle] if number == SOME else middle
        known = [*COLORS, *map(adjective, SUBSTANCES)]
        said = tuple(word for word in middle if word in known)
        noun = " ".join(word for word in middle if word not in known)
        parts.append((number, said, noun))
    return Claims(kind=kind, words=tuple(word for word in words if word not in ("a", "an")), parts=tuple(parts))


def wrong(said: Claims, truth: Description) -> tuple[list[str], int]:
    """List the wrong attributes of a caption, and count all attributes that it states.

    An attribute is a style, colour or substance word of the whole, a part (with its number, if that is said), or a word about a part.
    Words about a part do not count if the description does not tell its material.
    """
    true_words = {*truth.style, truth.color, adjective(truth.material)}
    mistakes = [word for word in said.words if word not in true_words]
    stated = len(said.words)
    for number, words, noun in said.parts:
        alike = [part for part in truth.parts if noun == (part.noun if part.count == 1 else plural(part.noun))]
        matching = [part for part in alike if number in (counted(part.count), SOME)]
        stated += 1
        if not matching:
            mistakes.append(f"{number} {noun}")
        known = [part.material for part in matching if part.material is not None]
        if matching and not known:
            continue
        stated += len(words)
        for word in words:
            if not any(word in (material.color_name, adjective(material.substance)) for material in known):
                mistakes.append(f"{word} {noun}")
    return mistakes, stated


def corpus(descriptions: Sequence[Description], rng: Rng) -> Iterator[str]:
    """Texts that hold every word of the grammar, and of the label sets, several times: for training a tokenizer."""
    for description in descriptions:
        for _ in range(8):
            yield sentence(description, rng).text
            yield caption(description, rng)
    for name in (
        *(name for data_set in TAUGHT for name in class_lists.names(data_set)),
        *KINDS,
        *(s for names in SYNONYMS.values() for s in names),
    ):
        for template in (*TEMPLATES[:: len(TEMPLATES) // 8], *MEDIA, *FRAMES, *PLAIN):
            yield template.replace("{}", name)
    yield " ".join((*STYLES, *COLORS, *SUBSTANCES, *NUMBERS, MANY))
