"""What can be promised of data sets that were found: each is opened as its build will open it, and asked for what its tests need.

    found, left = kept(found, Path("/data"), Path("build/paper/caches"))

Files may tell a data set and still lack what comes apart: lists of splits, the area that is tested on, labels, boxes. Then a build or a
test would fail after hours. Some shapes of each split are read, too. A cache that is there already is not asked again.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from official import DATA_SETS, LEARN, LEARNED, LINK, Apart, Build, Found, Test

from cache_schema.errors import UserError
from pipeline.geometry import Cloud
from pipeline.opening import open_config_source
from pipeline.recipes import configured
from pipeline.sources.catalog import Entry, Source
from trainer.tasks import catalog
from trainer.tasks.shapes import split_names

TRIED: Final = 8
"""Number of shapes, spread over a split, that are read. One that can be used is enough."""
UNREADABLE: Final = (UserError, OSError, ValueError, KeyError)
"""What readers raise for damaged files."""


def kept(found: Mapping[str, Found], data: Path, caches: Path) -> tuple[dict[str, Found], dict[str, str]]:
    """The data sets that can be built, each with the tests that it cannot do (`Found.lacking`); and why each other one cannot.

    Args:
        found: the data sets that were found.
        data: the folder that their paths are relative to.
        caches: the folder of the caches; those that are there are not asked again.
    """
    done: dict[str, Found] = {}
    left: dict[str, str] = {}
    for name, one in found.items():
        lacking, reasons, fewer = dict(one.lacking), list[str](), dict[str, None]()
        for build in DATA_SETS[name].builds:
            tests = [test for test in DATA_SETS[name].tests if test.cache == build.name and test.name not in lacking]
            if (caches / f"{build.name}.zarr" / "zarr.json").exists() or not (tests or name == LEARN):
                continue
            try:
                source = _opened(build, one, data)
                reasons += [f"it {reason}" for reason, _ in _without(source, "train", "") if name == LEARN]
                lacking |= {test.name: why for test in tests if (why := _lacks(test, source, DATA_SETS[name].fetch))}
                wholes = [(("train",), (LEARNED,), "", 0)] if name == LEARN else [_wanted(test) for test in tests]
                fewer |= dict.fromkeys(said for whole in wholes for said in _fewer(source, *whole))
            except UNREADABLE as error:
                reasons.append(f"it cannot be built: {error}")
                lacking |= {test.name: reasons[-1] for test in tests}
        tests = [test.name for test in DATA_SETS[name].tests]
        if reasons and name == LEARN:
            left[name] = f"{one.path} was found, and {'; '.join(reasons)}"
        elif tests and lacking.keys() >= set(tests):
            left[name] = f"{one.path} was found, and {'; '.join(dict.fromkeys(lacking[test] for test in tests))}"
        else:
            done[name] = replace(one, lacking=lacking, fewer=f"a part of it, or something else: {'; '.join(fewer)}" if fewer else "")
    return done, left


def _opened(build: Build, found: Found, data: Path) -> Source:
    """The source of a build. Scenes are listed whole, because to find their crops all of them would be read.

    Raises:
        UserError: it cannot be opened.
    """
    settings = [f"source.kind={found.place.kind}", *build.settings, *found.settings, *([] if build.objects else ["source.crop=whole"])]
    settings = [setting.replace(f"source.lists={LINK}/", f"source.lists={data}/") for setting in settings]
    return open_config_source(str(data / found.path), configured(build.recipe, settings))


def _wanted(test: Test) -> tuple[tuple[str, ...], tuple[int, ...], str, int]:
    """The splits that a test learns from and tests on, each with the number of shapes or scenes that the published files have in it."""
    options: Any = catalog.options(test.task, test.settings)
    return split_names(getattr(options, "train_split", "")), test.whole[0], options.test_split or "test", test.whole[1]


def _fewer(source: Source, learned: Sequence[str], trained: Sequence[int], tested: str, count: int) -> Iterator[str]:
    """Other numbers of shapes in a source than in the published files, in words; none if they are alike, or not known.

    Args:
        source: the source; of scenes, each is one entry.
        learned: the splits that are trained on.
        trained: the numbers of training shapes that the published files may have; empty if they are not compared.
        tested: the split that is tested on.
        count: the number of its shapes; 0 if it is not compared.
    """
    splits = Counter(entry.split for entry in source.entries)
    train = sum(splits[name] for name in learned)
    if trained and train not in trained:
        yield f"{train:,} to learn from, where the published files have {trained[0]:,}"
    if count and splits[tested] != count:
        yield f"{splits[tested]:,} to test on, where the published files have {count:,}"


def _lacks(test: Test, source: Source, fetch: Mapping[Apart, str]) -> str:
    """What a test lacks in a source, in words; empty if it has all. `fetch`: as `official.DataSet.fetch`."""
    options: Any = catalog.options(test.task, test.settings)
    if getattr(options, "stored", False):  # folds have splits of their own, which `finding.py` counts
        return ""
    # Without a split `test`, `mmpd-train eval` takes `val`: what is tested there is not what the papers test.
    splits = [*(split_names(options.train_split) if hasattr(options, "train_split") else []), options.test_split or "test"]
    found = [one for split in splits for one in _without(source, split, WANTED.get(test.task, ""))]
    remedies = [fetch[apart] for _, apart in found if apart is not None and apart in fetch]
    return "; ".join(dict.fromkeys([*(reason for reason, _ in found), *remedies]))


WANTED: Final = {"parts": "part", "scenes": "part", "detect": "boxes"}
"""By task: the labels of a shape that it needs, by their name in `pipeline.geometry.Cloud`."""
CALLED: Final = {"part": "labels of points", "boxes": "boxes of objects"}
"""What these labels are, in words."""


def _without(source: Source, split: str, wanted: str) -> Iterator[tuple[str, Apart | None]]:
    """Why a split of a source cannot be used, if so, and which of what comes apart it lacks. `wanted`: the labels that its shapes need;
    empty for none."""
    every = {entry.split for entry in source.entries}
    entries = [entry for entry in source.entries if entry.split == split or (every == {""} and split == "train" and not wanted)]
    if not entries:
        named = ", ".join(sorted(every - {""})) or "no split at all"
        yield f"has no shape in the split {split} (there is {named})", "splits"
        return
    tried = [entries[place * len(entries) // min(TRIED, len(entries))] for place in range(min(TRIED, len(entries)))]
    unfit = _unfit(source, tried, wanted)
    if len(unfit) == len(tried):
        # What all of them lack can be fetched; a damaged one alone tells nothing of the others.
        reason, apart = next((one for one in unfit if one[1] is not None), unfit[0])
        yield f"has nothing to use in the split {split}, of {len(tried)} that were tried: {reason}", apart


def _unfit(source: Source, entries: Sequence[Entry], wanted: str) -> list[tuple[str, Apart | None]]:
    """Why shapes cannot be used, in words, and which of what comes apart each lacks; of those before the first that can be used."""
    found: list[tuple[str, Apart | None]] = []
    for entry in entries:
        try:
            shape = source.reader.read(entry)
        except UNREADABLE as error:
            found.append((f"{entry.id} cannot be read: {error}", None))
            continue
        labels = getattr(shape, wanted, None) if isinstance(shape, Cloud) and wanted else None
        if not wanted or labels is not None:
            break
        found.append((f"{entry.id} has no {CALLED[wanted]}", "labels"))
    return found
