"""Parts of the cards (README.md) that go beside what is given away: caches and runs.

A card is Markdown with a metadata block (https://huggingface.co/docs/hub/model-cards). Words in it come from anybody, so they are shown as
letters and never as markup.
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cache_schema import licences
from cache_schema.terminal import printable

HUB_LICENCES: Final = frozenset(
    "mit apache-2.0 bsd-3-clause bsd-2-clause cc0-1.0 cc-by-4.0 cc-by-3.0 cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0 odbl odc-by".split()
)
"""Names of licences that the metadata block of a hub knows; all others are `other` there."""


def licences_of(holders: Mapping[str, Sequence[str]]) -> str:
    """Say in Markdown who is under which licence, and what all allow together. `holders`: who, by licence; an empty one stands for
    unknown."""
    lines = [f"- {plain(name) or 'not known'}: {plain(', '.join(who))}" for name, who in holders.items()]
    together = licences.in_words(holders)
    return "\n".join([*lines, "", f"Together: {plain(together)}. This is help, not legal advice: the licences themselves decide."])


def hub_licence(holders: Iterable[str]) -> str:
    """The name of a licence that a hub knows for something under all of these; `other` or `unknown` if there is none."""
    names = list(holders)
    known = [name.strip().lower().replace(" ", "-") for name in names]
    if "" in names:
        return "unknown"
    return known[0] if len(known) == 1 and known[0] in HUB_LICENCES else "other"


def plain(text: str) -> str:
    """Write a text of strangers so that Markdown shows it as it is: no markup, no links, no line breaks."""
    line = " ".join(printable(text).split())
    return re.sub(r"([\\`*_\[\]|~#!{}$@])", r"\\\1", html.escape(line, quote=False))
