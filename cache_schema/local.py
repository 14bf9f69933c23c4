"""Find places of this machine and names of its user in texts that are given away, and take them out.

    cleaner = Cleaner(("/lab/shapes",), own_names())
    cleaner.cleaned("/home/jane/my-siglip")            # 'my-siglip'
    cleaner.description(record, "the record")          # the labels of a dataclass, cleaned

Labels in descriptions may be changed: nothing depends on them. What decides a fingerprint may not, so a place of this machine in it is
refused.
"""

import dataclasses
import getpass
import re
import socket
from typing import Any, Final, TypeVar

from cache_schema.errors import UserError
from cache_schema.spec import short

T = TypeVar("T")

REMOVED: Final = "(removed)"
"""Text in the place of a name of a user or a machine."""
COMMON: Final = frozenset(
    "root user users admin ubuntu debian localhost runner home test guest nobody jovyan vscode docker build node".split()
)
"""Names of users and machines that say nothing about anybody, and that ordinary texts hold."""
_HOMES: Final = frozenset(("home", "users", "homes"))
"""Folders whose subfolders are called like people."""

_CHAR: Final = r"""[^\s/\\:;,'"()<>|]"""
_BLANK: Final = r"[^\S\n]+(?![~/\\]|[A-Za-z]:[/\\]|[A-Za-z][\w+.-]*://)"
"""What may lie between two words of the name of a folder or a file. No path or address of its own begins after it."""
_ENDED: Final = rf"{_CHAR}*\.[A-Za-z]\w{{0,7}}\.?(?![^\s:;,'\"()<>|])"
"""A word with a suffix, such as that of a file."""
_WORD: Final = rf"(?!{_ENDED}){_CHAR}+"
_FOLDER: Final = rf"{_CHAR}+(?:{_BLANK}{_CHAR}+)*[/\\]+"
_LAST: Final = rf"(?:{_ENDED}|{_WORD}(?:{_BLANK}{_WORD})*(?:{_BLANK}{_ENDED})?)"
"""The last part of a path. It ends with a suffix or with the last word, because nobody knows where a name with blanks ends."""
_PATH: Final = re.compile(
    rf"""
    file:/{{1,3}}(?:{_FOLDER})*(?:{_LAST})?                                      # file:///home/jane
    | (?<![\w.~/\\])~(?:[A-Za-z_][\w-]*)?/(?:{_FOLDER})*(?:{_LAST})?              # ~/models, ~jane/models
    | (?<![A-Za-z])[A-Za-z]:[/\\](?![/\\])(?:{_FOLDER})*(?:{_LAST})?              # C:\Users\jane, C:/Users/jane
    | (?<![\w.:~/\\])(?://|\\\\)(?=[\w.-]+[/\\]+\w)(?:{_FOLDER})*(?:{_LAST})?     # //nas/home/jane, \\nas\home\jane
    | (?<![\w.~/\\)\]}}%+-])/(?=[^\s/]+/)(?:{_FOLDER})+(?:{_LAST})?               # /home/jane
    | (?<![\w.~/\\)\]}}%+<-])/(?=\w*[^\W\d]){_CHAR}{{2}}(?:{_LAST})?              # /secret
    """,
    re.VERBOSE,
)
"""A place on a machine: an absolute path. Names of models and products, and `and/or` and `1/2`, are none."""
_INSIDE: Final = "local|localdomain|lan|internal|intra|corp"
_IP: Final = r"(?:\d{1,3}\.){3}\d{1,3}"
_ADDRESS: Final = re.compile(
    rf"""
    (?<![\w+.-])(?!(?:git\+)?https?://|file:)[a-z][a-z0-9+.-]*://\S+                    # ssh://10.2.3.4/x, s3://lab/x: not for everybody
    | https?://[^/\s@]*@\S+                                                             # with a name or a password
    | https?://\S*[?&][\w-]*(?:token|key|secret|signature|password|credential)[\w-]*=\S*
    | https?://(?:localhost|[\d.]+|\[[0-9a-f:]+\]|[\w-]+|[\w.-]+\.(?:{_INSIDE}|home))(?::\d+)?(?=[/\s?#,;)'"]|$)(?:\S*[^\s,;)'"])?
    | (?<![\w/.+-])[\w.+-]+@(?:{_IP}|[\w-]+(?:\.[\w-]+)*\.[a-z]{{2,}}\b|[\w.-]+(?=:[/~]))(?::\S+)?     # jane@lab.edu, jane@box:/data
    | (?<![\w.-]){_IP}:\d+(?!\w)\S*
    | (?<![\w.=-])(?={_IP}(?!\.?\w))(?:10|127|169\.254|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.[\d.]*\d
    | \[[0-9a-f]*:[0-9a-f:]*:[0-9a-f]*\](?::\d+)?
    | (?<![\w./@-])(?:localhost|(?:[\w-]+\.)+(?:{_INSIDE}|com|org|net|edu|gov|io|ac|de|uk|ch|fr|jp|cn|eu|us)):\d{{2,5}}(?!\w)\S*
    | (?<![\w./@-])(?:[\w-]+\.)+(?:{_INSIDE})(?![\w.-])
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""An address of a server that is not public, of a storage, or of a person. `1.2.3.4` without a port is a version."""


def _kept(path: str) -> str:
    """Return what goes out of a path: its last part if that is a file, or a folder well below the root; else `REMOVED`."""
    shared = re.match(r"(?://|\\\\)[^/\\]+", path)
    parts = [part for part in re.split(r"[/\\]+", re.sub(r"^(?:file:|[A-Za-z]:)", "", path[shared.end() if shared else 0 :])) if part]
    if not parts or (len(parts) > 1 and parts[-2].lower() in _HOMES):
        return REMOVED
    return parts[-1] if len(parts) > 2 or re.search(r"\.[A-Za-z]\w{0,7}\.?$", parts[-1]) else REMOVED


def own_names() -> tuple[str, ...]:
    """List names of the user and of this machine that are more than common words."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = ""
    host = socket.gethostname()
    return tuple(name for name in dict.fromkeys((user, host, host.partition(".")[0])) if len(name) > 3 and name.lower() not in COMMON)


class Cleaner:
    """Takes places and names of this machine out of texts."""

    def __init__(self, places: tuple[str, ...], names: tuple[str, ...]) -> None:
        """
        Args:
            places: folders of this machine, longest first.
            names: names of the user and the machine.
        """
        known = [rf"(?<![\w.~-]){re.escape(place)}(?=[/\s:;,'\"()]|$)/?" for place in places]
        self._known = re.compile("|".join(known)) if known else None
        self._names = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b", re.IGNORECASE) if names else None

    def local(self, text: str) -> str:
        """Return the first place of this machine or another in a text; empty if there is none."""
        for pattern in (self._known, _PATH, _ADDRESS):
            if pattern is not None and (found := pattern.search(text)):
                return found[0]
        return ""

    def cleaned(self, text: str) -> str:
        """Return a text without places and names: a path below a known folder becomes relative to it, any other becomes its last part or
        `REMOVED`, as do addresses and names. Words after a path may go along, because names of folders may have blanks."""
        if self._known is not None:
            text = self._known.sub(lambda found: "" if found[0].endswith("/") else _kept(found[0]), text)
        text = _ADDRESS.sub(REMOVED, text)
        text = _PATH.sub(lambda found: _kept(found[0]), text)
        return text if self._names is None else self._names.sub(REMOVED, text)

    def description(self, value: T, where: str) -> T:
        """Clean the labels of a record or a manifest.

        Raises:
            UserError: a field that decides the fingerprint holds a place.
        """
        made: T = self._clean(value, where, identity=True)
        return made

    def _clean(self, value: Any, where: str, identity: bool) -> Any:
        if isinstance(value, str):
            if identity and (place := self.local(value)):
                raise UserError(
                    f"{where} holds a place of this machine ({short(place)}), and nothing local goes out. It decides the fingerprint, so "
                    "it cannot be left out: build the cache anew with a setting that names no place"
                )
            return value if identity else self.cleaned(value)
        if isinstance(value, tuple):
            return tuple(self._clean(item, where, identity) for item in value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            made = {
                field.name: self._clean(
                    getattr(value, field.name), f"{where}.{field.name}", identity and bool(field.metadata.get("identity", True))
                )
                for field in dataclasses.fields(value)
            }
            return dataclasses.replace(value, **made)
        return value
