"""What a source states about a shape, in words. Texts of it invent nothing: the captioner `descriptions` fills sentences with it.

    statement = stated(reader, entry)        # Statement(name="chair", color="brown", parts=(Sort(noun="leg", count=4), ...))
    variety = varied(reader, entry)          # what other chairs of this source have, and this one has not

A source that knows more than classes has a `StatingReader`; of all others a shape is stated to be of its class, or nothing.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cache_schema.errors import UserError
from pipeline.labels import readable
from pipeline.sources.catalog import Entry, Reader


@dataclass(frozen=True, kw_only=True)
class Sort:
    """Parts of one sort."""

    noun: str
    """What each of them is called, in the singular."""
    count: int
    """How many there are, 1 or more."""
    color: str = ""
    """Their colour; empty if it is not stated, or that of the whole."""
    material: str = ""
    """Their substance; empty as `color`."""

    def __post_init__(self) -> None:
        if not self.noun.strip() or self.count < 1:
            raise UserError(f"a sort of parts needs a noun and a count of 1 or more, got {self.noun!r} and {self.count}")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a source states about a shape. What it does not state is empty."""

    name: str = ""
    """What the shape is, such as `chair`."""
    design: str = ""
    """A narrower name, such as `swivel chair`."""
    style: tuple[str, ...] = ()
    """Adjectives, such as `tall`."""
    color: str = ""
    """Colour of the whole."""
    material: str = ""
    """Substance of the whole."""
    parts: tuple[Sort, ...] = ()
    """Sorts of parts."""
    title: str = ""
    """What its maker calls it."""
    tags: tuple[str, ...] = ()
    """Words that its maker has tagged it with."""
    text: str = ""
    """What its maker writes about it."""


Numbers = tuple[tuple[str, tuple[int, ...]], ...]
"""Sorts of parts, each with the numbers in which they occur."""


@dataclass(frozen=True, kw_only=True)
class Variety:
    """What shapes of one name have in a source, and one of them has not. So a text with it is wrong, but no stranger than the right one."""

    colors: tuple[str, ...] = ()
    """Colours that a whole shape of this name has; that of the shape itself may be among them."""
    materials: tuple[str, ...] = ()
    """Substances, in the same way."""
    counts: Numbers = ()
    """Numbers in which parts occur, in the same way."""
    absent: Numbers = ()
    """Sorts of parts that the source knows this one to lack."""


@runtime_checkable
class StatingReader(Protocol):
    """A `Reader` of a source that states more about a shape than its class."""

    def states(self, entry: Entry) -> Statement:
        """What the source states about a shape.

        Raises:
            UserError: what it is read from is damaged.
        """


@runtime_checkable
class VaryingReader(Protocol):
    """A `Reader` of a source that knows in what shapes of one name differ."""

    def varies(self, entry: Entry) -> Variety:
        """What other shapes of this one's name have."""


def stated(reader: Reader, entry: Entry) -> Statement:
    """What a source states about a shape: at least its class, if it has one. Raises the errors of `StatingReader.states`."""
    return reader.states(entry) if isinstance(reader, StatingReader) else Statement(name=readable(entry.label))


def varied(reader: Reader, entry: Entry) -> Variety:
    """What other shapes of this one's name have; nothing if the source does not know."""
    return reader.varies(entry) if isinstance(reader, VaryingReader) else Variety()
