"""The table of licences: names of every origin, expressions, and what is never taken for allowed."""

import itertools
import re

import pytest

from cache_schema import licences
from cache_schema.licences import both, chosen, forbids, in_words, terms, together

SAID = {
    "allowed": """MIT | The MIT License | apache-2.0 | Apache License, Version 2.0 | CC0 | cc0-1.0 | CC0 1.0 Universal | Public Domain
        Creative Commons - Public Domain Dedication | BSD-3-Clause | BSD License | unlicense | CC0 Public Domain | GPL-3.0-only OR MIT
        https://creativecommons.org/publicdomain/zero/1.0/ | Apache-2.0 WITH LLVM-exception | (MIT)
        MIT WITH classpath-exception-2.0 OR proprietary""",
    "conditional": """by | by-nc | BY-NC-SA | CC-BY-4.0 | cc by 4.0 | CC Attribution | Creative Commons - Attribution - Share Alike | by_nc
        CC Attribution-NonCommercial | Attribution - Non-Commercial - Share Alike | http://creativecommons.org/licenses/by-nc/4.0/
        openrail | creativeml-openrail-m | gpl-3.0 | GPL-3.0-or-later | GNU - GPL | apple-amlr | llama3 | odc-by
        MIT AND CC-BY-4.0 | (by-nd OR by) AND MIT | cc-by-3.0-us | CC-BY-NC-SA-4.0 AND by-nc-sa""",
    "forbidden": """by-nd | CC-BY-NC-ND-4.0 | CC Attribution-NonCommercial-NoDerivs | proprietary | All Rights Reserved | research-only
        Sketchfab Standard | shapenet | ScanNet terms of use | MIT AND by-nd | by-sa AND by-nc-sa | non-commercial research
        MIT WITH Commons-Clause AND proprietary""",
    "unknown": """other | unknown | CC | Creative Commons | CC BY 4.0 except for training | MIT-ish | by-sa-nd | nc | MIT AND | AND | (MIT
        MIT OR unheard-of AND | MIT WITH Commons-Clause | dinov3-license | gemma | MIT AND unheard-of
        CC-BY-4.0 with restrictions | NOASSERTION | my own
        GPL-3.0 WITH Commons-Clause-no-exception | MIT WITH LLVM-exceptions | MIT WITH
        MIT WITH (LLVM-exception) | PROPRIETARY-OR-MIT""",
}


@pytest.mark.parametrize(
    ("sharing", "name"),
    [
        (sharing, name.strip())
        for sharing, names in {**SAID, "unknown": SAID["unknown"] + "||"}.items()
        for name in re.split(r"[|\n]", names)
    ],
)
def test_names_of_every_origin_say_what_they_mean(sharing, name):
    assert terms(name).sharing == sharing


def test_licences_that_hold_together_are_at_least_as_strict_as_each():
    """`OR` in a name does not reach beyond it, and neither does a bracket."""
    order = ["allowed", "conditional", "unknown", "forbidden"]
    pool = [
        "MIT",
        "MIT OR Apache-2.0",
        "by OR by-nd",
        "MIT AND by",
        "gpl-3.0 WITH GCC-exception-3.1",
        "all-rights-reserved",
        "",
        "MIT) OR (MIT",
    ]
    pool += ["(MIT", "MIT)", "MIT OR", "unheard-of OR by-nd", "MIT (free)", "OR"]
    for count in (1, 2, 3):
        for names in itertools.product(pool, repeat=count):
            at_least = max(order.index(terms(name).sharing) for name in names)
            assert order.index(terms(both(names)).sharing) >= at_least, names
    assert both(["MIT OR Apache-2.0", "all-rights-reserved"]) == "(MIT OR Apache-2.0) AND all-rights-reserved"
    assert both(["MIT", "MIT"]) == "MIT" and both(["MIT", ""]) == both([]) == "" and both(["by-nd", ""]) == "by-nd"


def test_conditions_are_those_of_the_parts():
    assert terms("by-nc-sa").conditions == ("attribution", "share-alike", "non-commercial")
    assert terms("Creative Commons - Attribution").conditions == ("attribution",)
    assert terms("MIT OR by").conditions == () and terms("MIT AND by").conditions == ("attribution",)


def test_a_collection_is_as_strict_as_its_strictest_part_in_any_order():
    pool = ["MIT", "by", "by-nc-sa", "", "by-nd", "gpl-3.0"]
    order = ["allowed", "conditional", "unknown", "forbidden"]
    for names in itertools.combinations(pool, 3):
        expected = max((terms(name).sharing for name in names), key=order.index)
        for turned in itertools.permutations(names):
            found = together(turned)
            assert found.sharing == expected
            assert set(found.conditions) == {c for name in names for c in terms(name).conditions}
        assert (forbids(names) == {}) == (expected in ("allowed", "conditional"))
    assert together([]).sharing == "unknown"


def test_what_forbids_is_named_with_a_reason():
    found = forbids(["MIT", "by-nd", "", "by"])
    assert list(found) == ["by-nd", ""] and "made from" in found["by-nd"] and found[""] == licences.UNKNOWN_NAME


def test_licences_are_chosen_by_any_of_their_names():
    names = ["by", "CC-BY-4.0", "MIT", "by-nc", "Apache-2.0", ""]
    assert chosen(names, ["cc-by-3.0"]) == ["by", "CC-BY-4.0"]
    assert chosen(names, ["apache"]) == ["Apache-2.0"] and chosen(names, ["allowed"]) == ["MIT", "Apache-2.0"]
    assert chosen(names, ["nothing", ""]) == []


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["MIT", "cc0"], "it may be shared; keep"),
        (["MIT", "by", "CC-BY-4.0"], "on conditions: name the authors (by, CC-BY-4.0)"),
        (["MIT", ""], "nobody knows whether it may be shared (no licence: the licence is not known)"),
        (["by-nd", ""], "it must not be shared (by-nd: "),
        ([], "nobody knows"),
    ],
)
def test_the_intersection_in_words(names, words):
    assert words in in_words(names)
