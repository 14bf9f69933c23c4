"""The pages a reader sees, cut into what a test can look at: fenced blocks, code within a line, links.

for block in blocks(README):
    print(block.where, block.language, block.run)
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
QUICKSTART: Final = ROOT / "docs" / "quickstart.md"
PAGES: Final = (README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))

RUN: Final = "<!-- run -->"
"""The line before a fenced block that the tests run."""

_FENCE: Final = re.compile(rf"^(?P<run>{re.escape(RUN)}\n)?```(?P<language>\w*)(?: [^\n]*)?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of code."""

    where: str
    """Page and line."""
    language: str
    text: str
    run: bool
    """Whether it is marked to be run."""


def name(page: Path) -> str:
    """A page's path in the project."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        where = f"{name(page)}:{text.count(chr(10), 0, match.start()) + 1}"
        found.append(Block(where=where, language=match["language"], text=match["text"], run=bool(match["run"])))
    return found


def inline(page: Path) -> list[str]:
    """What stands between single backticks, outside fenced blocks."""
    return re.findall(r"`([^`\n]+)`", _FENCE.sub("", page.read_text()))


def links(page: Path) -> list[str]:
    """Targets of links and pictures, without those on other servers."""
    text = _FENCE.sub("", page.read_text())
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def commands(text: str) -> list[list[str]]:
    """The command lines of a shell block, as lists of words. A line that ends in a backslash goes on."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]
