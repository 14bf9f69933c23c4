"""What licences say about giving a cache away. THE table of licences, and the only code that reads their names.

    terms("CC BY-NC 4.0")                     # Terms(sharing="conditional", conditions=("attribution", "non-commercial"))
    forbids(["MIT", "by-nd", ""])             # {"by-nd": "it forbids ...", "": "the licence is not known"}
    chosen(["by", "MIT", "by-nc"], ["cc-by", "allowed"])                      # ["by", "MIT"]
    in_words(["MIT", "CC-BY-4.0"])            # "it may be shared on conditions: name the authors (CC-BY-4.0)"

Names come from anybody: SPDX identifiers and expressions (`MIT OR GPL-3.0-only`), the words of Sketchfab, Objaverse and Thingiverse
(`by-nc`, `Creative Commons - Attribution`), the metadata of model hubs (`openrail`), addresses of Creative Commons, or a sentence. A name
that is not understood whole is `unknown`, which is never taken for allowed. A cache holds pictures, points and embeddings of shapes, so a
licence without derivatives forbids to share it. This is help, not legal advice: the licence itself decides.

Sources: https://spdx.org/licenses, https://creativecommons.org/share-your-work/cclicenses, https://sketchfab.com/licenses,
https://huggingface.co/docs/hub/repositories-licenses, https://github.com/meta-llama/llama3/blob/main/LICENSE,
https://github.com/apple/ml-mobileclip/blob/main/LICENSE_MODELS, https://huggingface.co/datasets/ShapeNet/shapenetcore-glb,
https://kaldir.vc.in.tum.de/scannet/ScanNet_TOS.pdf, https://spdx.org/licenses/exceptions-index.html.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from cache_schema import products
from cache_schema.spec import CaptionSpec, Record, TeacherSpec

Sharing = Literal["allowed", "conditional", "unknown", "forbidden"]
"""Whether something may be given away, from free to forbidden. Of several licences that all hold, the last one decides."""

UNKNOWN_NAME: Final = "the licence is not known"
"""Why something without the name of a licence cannot be shared."""

MEANINGS: Final[dict[str, str]] = {
    "attribution": "name the authors",
    "share-alike": "share under the same licence",
    "non-commercial": "no commercial use",
    "research": "use in research only",
    "use restrictions": "hand on the licence's list of forbidden uses",
    "own terms": "hand on the terms of the licence",
}
"""The conditions that licences set, in words."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a licence, or several that all hold, says about sharing."""

    sharing: Sharing
    conditions: tuple[str, ...] = ()
    """Names in `MEANINGS`, in their order."""
    alike: frozenset[str] = frozenset()
    """Share-alike licences, by their normal names without versions. One work cannot be under two of them."""
    why: str = ""
    """Why sharing is forbidden or unknown."""


def _set(sharing: Sharing, *conditions: str, why: str = "") -> Terms:
    return Terms(sharing=sharing, conditions=tuple(name for name in MEANINGS if name in conditions), why=why)


_FREE: Final = (
    "mit mit-0 mit-cmu apache apache-2.0 apache-1.1 apache2 apache2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsd-4-clause 0bsd "
    "isc zlib ncsa bsl-1.0 boost-1.0 python-2.0 psf-2.0 afl-3.0 artistic-2.0 postgresql ms-pl ecl-2.0 unlicense wtfpl cc0 pddl pddl-1.0 "
    "public-domain public-domain-mark cdla-permissive-1.0 cdla-permissive-2.0 openmdw-1.0 hpnd upl-1.0"
)
_CREDITED: Final = "odc-by odc-by-1.0 etalab-2.0 ogl-uk-3.0"
_ALIKE: Final = (
    "gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.0 lgpl-2.1 lgpl-3.0 agpl agpl-3.0 gnu-gpl gnu-lgpl gnu-agpl gfdl gfdl-1.3 mpl-2.0 epl-1.0 epl-2.0 "
    "eupl-1.1 eupl-1.2 osl-3.0 odbl odbl-1.0 cdla-sharing-1.0"
)
_RESTRICTED: Final = (
    "openrail openrail++ openrail-m bigscience-openrail-m creativeml-openrail-m bigcode-openrail-m bigscience-bloom-rail-1.0"
)
# Two texts were read as a whole, with the places that are named above: the Meta Llama 3 Community License of April 18, 2024, and Apple's
# Machine Learning Research Model license ("apple-amlr" below). Both let others have the model and what is derived from it if the terms go
# along. Whether embeddings are derived from a model is a matter of law; here they are.
_OWN_TERMS: Final = "llama3 llama-3"
# Terms that makers of models wrote themselves, and that nobody read as a whole for this table.
_UNREAD: Final = (
    "gemma dinov3 llama2 llama-2 llama3.1 llama-3.1 llama3.2 llama-3.2 llama3.3 llama-3.3 llama4 llama-4 c-uda sam "
    "fair-noncommercial-research"
)
_CLOSED: Final = (
    "proprietary commercial all-rights-reserved copyrighted closed confidential internal private no-redistribution editorial ed st free-st "
    "standard free-standard sketchfab-standard sketchfab-editorial royalty-free"
)
# Those of ShapeNet and ScanNet name who may have the data: a researcher, and colleagues who agree to the same terms first. What was not
# looked up, such as those of ModelNet and S3DIS, is taken to be as strict.
_STUDY: Final = (
    "research research-only research-use-only for-research-only research-purposes-only non-commercial-research "
    "non-commercial-research-only noncommercial-research academic academic-only academic-use-only academic-research-only "
    "shapenet shapenet-terms-of-use shapenet-tou partnet partnet-terms-of-use scannet scannet-terms-of-use scannet-tou modelnet s3dis"
)

TABLE: Final[dict[str, Terms]] = {
    **dict.fromkeys(_FREE.split(), _set("allowed")),
    **dict.fromkeys(_CREDITED.split(), _set("conditional", "attribution")),
    **{
        name: Terms(sharing="conditional", conditions=("share-alike",), alike=frozenset({re.sub(r"^gnu-|-[\d.]+$", "", name)}))
        for name in _ALIKE.split()
    },
    **dict.fromkeys(_RESTRICTED.split(), _set("conditional", "use restrictions")),
    **dict.fromkeys(_OWN_TERMS.split(), _set("conditional", "own terms")),
    "apple-amlr": _set("conditional", "non-commercial", "research", "own terms"),
    **dict.fromkeys(_UNREAD.split(), _set("unknown", why="it has terms of its own, which nobody has read for this table: read them")),
    **dict.fromkeys(_CLOSED.split(), _set("forbidden", why="it gives nobody the right to pass the material on")),
    **dict.fromkeys(_STUDY.split(), _set("forbidden", why="it allows to use the material in research, not to pass it on")),
}
"""Terms by the normal name of a licence, without those of Creative Commons, which are made of parts; see `_common`."""

# --------------------------------------------------------------------------------------------------------- names

_FILLERS: Final = frozenset("license licence licensed licenses under the version v".split())
_LATER: Final = re.compile(r"(?<=\d)(-only|-or-later|\+)$")
_COMMONS: Final[dict[str, str]] = {
    "by": "by",
    "attribution": "by",
    "nc": "nc",
    "noncommercial": "nc",
    "sa": "sa",
    "sharealike": "sa",
    "nd": "nd",
    "noderivatives": "nd",
    "noderivs": "nd",
    "noderivative": "nd",
}
_AROUND: Final = frozenset(
    "cc creative commons international unported generic deed at au de dk fr igo jp nl uk us en 1.0 2.0 2.1 2.5 3.0 4.0 1 2 3 4".split()
)
"""Words that may stand around the parts of a licence of Creative Commons: versions and countries change nothing here."""
_ADDRESS: Final = re.compile(r"^(?:https?://)?(?:www\.)?creativecommons\.org/(licenses|publicdomain)/([a-z-]+)(?:/[\w.-]*)*$")


def normal(name: str) -> str:
    """Return the normal form of the name of one licence: `The MIT License` is `mit`, `CC BY-NC 4.0` is `cc-by-nc`. Versions of Creative
    Commons are left out; others stay. A name that is not understood keeps its words."""
    text = unicodedata.normalize("NFKC", name).strip().strip("\"'").lower()
    if found := _ADDRESS.match(text):
        text = {"zero": "cc0", "mark": "public domain"}.get(found[2], found[2]) if found[1] == "publicdomain" else f"cc {found[2]}"
    text = re.sub(r"\bnon[\s-]+commercial", "noncommercial", text)
    text = re.sub(r"\bshare[\s-]+alike", "sharealike", text)
    text = re.sub(r"\bno[\s-]+deriv", "noderiv", text)
    text = re.sub(r"\bv(?=\d)", "", text)
    words = [word for word in re.split(r"[\s_,;:/\-]+", text) if word and word not in _FILLERS]
    return _common(words) or _LATER.sub("", "-".join(words)).replace("noncommercial-research", "non-commercial-research")


def _common(words: list[str]) -> str:
    """Return the normal name of a licence of Creative Commons; empty if the words say anything else."""
    rest = [word for word in words if word not in _AROUND]
    if rest and rest[0] in ("cc0", "zero") and set(rest[1:]) <= {"universal", "public", "domain", "dedication"}:
        return "cc0"
    if rest[:2] == ["public", "domain"] and set(rest[2:]) <= {"dedication", "mark", "universal"}:
        return "cc0" if "dedication" in rest else "public-domain"
    parts = {_COMMONS.get(word, "") for word in rest}
    if "by" not in parts or "" in parts or {"sa", "nd"} <= parts:
        return ""
    return "-".join(["cc", *(part for part in ("by", "nc", "sa", "nd") if part in parts)])


def _one(name: str) -> Terms:
    """Return the terms of one licence."""
    found = normal(name)
    if not found or found in ("none", "unknown", "other", "no", "n/a", "na", "unspecified", "null", "cc", "creative-commons", "custom"):
        return Terms(sharing="unknown", why=UNKNOWN_NAME)
    if found in TABLE:
        return TABLE[found]
    parts = found.split("-")
    if re.fullmatch(r"cc-by(-nc)?(-sa|-nd)?", found):
        if "nd" in parts:
            return Terms(sharing="forbidden", why="it forbids to share anything that was made from the material, as a cache is")
        names = {"by": "attribution", "nc": "non-commercial", "sa": "share-alike"}
        made = _set("conditional", *(names[part] for part in parts[1:]))
        return Terms(sharing=made.sharing, conditions=made.conditions, alike=frozenset({found} if "sa" in parts else ()))
    return Terms(sharing="unknown", why="nobody here knows this licence")


# ---------------------------------------------------------------------------------------------------- expressions

_OPERATOR: Final = re.compile(r"(?<![^\s()])(?:AND|OR|WITH)(?![^\s()])")
_TOKEN: Final = re.compile(rf"\(|\)|{_OPERATOR.pattern}")
_EXCEPTIONS: Final = frozenset(
    "389-exception autoconf-exception-2.0 autoconf-exception-3.0 autoconf-exception-generic bison-exception-2.2 bison-exception-1.24 "
    "bootloader-exception classpath-exception-2.0 clisp-exception-2.0 digirule-foss-exception ecos-exception-2.0 fawkes-runtime-exception "
    "fltk-exception font-exception-2.0 freertos-exception-2.0 gcc-exception-2.0 gcc-exception-3.1 gnu-javamail-exception "
    "gpl-3.0-linking-exception gstreamer-exception-2005 i2p-gpl-java-exception lgpl-3.0-linking-exception libtool-exception "
    "linux-syscall-note llvm-exception lzma-exception mif-exception ocaml-lgpl-linking-exception openjdk-assembly-exception-1.0 "
    "openvpn-openssl-exception ps-or-pdf-font-exception-20170817 qt-gpl-exception-1.0 qt-lgpl-exception-1.1 qwt-exception-1.0 "
    "swift-exception u-boot-exception-2.0 universal-foss-exception-1.0 wxwindows-exception-3.1".split()
)
"""Exceptions in the list of SPDX, in small letters. Each gives a right that the licence does not give, and takes none."""


def terms(name: str) -> Terms:
    """Return what a licence says about sharing.

    Args:
        name: a name of any origin, or an SPDX expression: `A AND B` (both hold), `A OR B` (the freer one is chosen), `A WITH EXCEPTION`
            (an exception in SPDX's list is left out, because it only frees; any other is unknown). AND, OR and WITH are in capitals, as
            SPDX has them. Empty for unknown.
    """
    if not _OPERATOR.search(name) and not name.lstrip().startswith("("):
        return _one(name)
    return _read(name) or Terms(sharing="unknown", why="nobody here understands this expression")


def _read(name: str) -> Terms | None:
    """Return the terms of an expression, which may be a single name. None if it is no expression."""
    ends = [0, *(place for found in _TOKEN.finditer(name) for place in found.span()), len(name)]
    tokens = [token for start, end in itertools.pairwise(ends) if (token := name[start:end].strip())]
    found = _either(tokens)
    return None if tokens else found


def both(names: Iterable[str]) -> str:
    """Return the expression that says that several licences hold for one work.

    Each name that is an expression stands in brackets, so that its OR cannot reach beyond it.

    Args:
        names: names or expressions, of any number. An empty one stands for unknown.

    Returns:
        The names, each once, in their order. Empty for unknown if one of them is unknown by being empty or no right expression, unless
        others forbid to share: then only those, because what is forbidden stays so.
    """
    every = list(dict.fromkeys(name.strip() for name in names))
    if len(every) > 1 and not all(map(_read, every)):
        every = [name for name in every if _read(name) and terms(name).sharing == "forbidden"]
    if len(every) < 2:
        return "".join(every)
    return " AND ".join(f"({name})" if _OPERATOR.search(name) else name for name in every)


def _either(tokens: list[str]) -> Terms | None:
    """Read `A OR B ...` from the front of tokens, which are taken away. None if it is no expression."""
    found = [_all(tokens)]
    while tokens and tokens[0] == "OR":
        tokens.pop(0)
        found.append(_all(tokens))
    known = [one for one in found if one is not None]
    order = get_args(Sharing)
    return min(known, key=lambda one: (order.index(one.sharing), len(one.conditions))) if len(known) == len(found) else None


def _all(tokens: list[str]) -> Terms | None:
    """Read `A AND B ...` from the front of tokens: all hold for one work."""
    found = [_atom(tokens)]
    while tokens and tokens[0] == "AND":
        tokens.pop(0)
        found.append(_atom(tokens))
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    whole = _strictest(known)
    if whole.sharing == "conditional" and len(whole.alike) > 1:
        both = " and ".join(sorted(whole.alike))
        return Terms(sharing="forbidden", alike=whole.alike, why=f"{both} each demand that the work is under them alone")
    return whole


def _atom(tokens: list[str]) -> Terms | None:
    """Read a name, perhaps with an exception, or an expression in brackets."""
    if not tokens or tokens[0] in ("AND", "OR", "WITH", ")"):
        return None
    if (first := tokens.pop(0)) == "(":
        found = _either(tokens)
        return found if tokens and tokens.pop(0) == ")" else None
    if tokens[:1] == ["WITH"]:
        added = "".join(tokens[1:2])
        if added in ("", "AND", "OR", "WITH", "(", ")"):
            return None
        del tokens[:2]
        if added.lower() not in _EXCEPTIONS:  # other additions, such as the Commons Clause, restrict
            return _strictest([_one(first), Terms(sharing="unknown", why=f"nobody here knows the addition {added}")])
    return _one(first)


def _strictest(found: Iterable[Terms]) -> Terms:
    """Return the terms of a collection of works: the strictest about sharing, and all conditions."""
    every = list(found)
    order = get_args(Sharing)
    worst = max(every, key=lambda one: order.index(one.sharing), default=Terms(sharing="unknown", why=UNKNOWN_NAME))
    conditions = {name for one in every for name in one.conditions}
    alike = frozenset[str]().union(*(one.alike for one in every))
    return Terms(sharing=worst.sharing, conditions=tuple(name for name in MEANINGS if name in conditions), alike=alike, why=worst.why)


# ------------------------------------------------------------------------------------------------------ questions


def of_products(records: Mapping[str, Record]) -> dict[str, str]:
    """Return the licence of the models that made each product, by product; empty for unknown.

    Embedded captions are under the licences of the teacher and of the captioner; unknown if the captions are not there. Products that no
    foundation model made, such as points, are left out.

    Args:
        records: the records of a cache by product.
    """
    found: dict[str, list[str]] = {}
    for product, record in records.items():
        described = record.teacher or record.spec
        if isinstance(described, TeacherSpec) or (isinstance(described, CaptionSpec) and described.model):
            found[product] = [described.licence]
    for product, record in records.items():
        if products.of(record) is products.TEXT:
            written = products.select(records, products.CAPTIONS, captions=products.parts(record)["captions"])
            # Without the captions nobody knows whether a model wrote them.
            found[product] += [name for captions in written for name in found.get(captions.product, [])] if written else [""]
    return {product: both(sorted(names)) for product, names in found.items()}


def together(names: Iterable[str]) -> Terms:
    """Return the terms of a collection of works under several licences: the strictest about sharing, and all conditions. A collection of
    nothing is unknown."""
    return _strictest(map(terms, names))


def forbids(names: Iterable[str]) -> dict[str, str]:
    """Return the licences that do not allow to share, with the reason: those that forbid it, and those that nobody here knows.

    Args:
        names: names of any origin; an empty one stands for unknown.

    Returns:
        A sentence by name, in the order of the names. Empty if everything may be shared, perhaps on conditions.
    """
    found = {name: terms(name) for name in names}
    return {name: one.why for name, one in found.items() if one.sharing in ("unknown", "forbidden")}


def chosen(names: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Return the licences that somebody chose.

    Args:
        names: names of any origin.
        wanted: other names of the same licences, of any version if none is said; or `allowed`, `conditional`, `unknown` for all such.
    """
    keys = {word.strip().lower() for word in wanted} | {normal(word) for word in wanted}
    return [name for name in names if {terms(name).sharing, normal(name), re.sub(r"-\d[\d.]*$", "", normal(name))} & keys - {""}]


def in_words(names: Iterable[str]) -> str:
    """Say what all licences together allow, as the end of a sentence about the cache."""
    known = list(dict.fromkeys(names))
    whole = together(known)
    if whole.sharing in ("unknown", "forbidden"):
        reasons = forbids(known)
        worst = [f"{name or 'no licence'}: {why}" for name, why in reasons.items() if terms(name).sharing == whole.sharing]
        less = [name or "no licence" for name in reasons if terms(name).sharing != whole.sharing]
        said = "it must not be shared" if whole.sharing == "forbidden" else "nobody knows whether it may be shared"
        also = f"; not known: {', '.join(less)}" if less else ""
        return f"{said} ({'; '.join(worst) or whole.why}{also})"
    if not whole.conditions:
        return "it may be shared; keep the notices of authors"
    where = {c: [name for name in known if c in terms(name).conditions] for c in whole.conditions}
    return "it may be shared on conditions: " + "; ".join(f"{MEANINGS[c]} ({', '.join(names)})" for c, names in where.items())
