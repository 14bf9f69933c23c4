"""README and documentation name nothing that does not exist: commands, options, settings, make targets, files, modules, links."""

import ast
import dataclasses
import functools
import importlib
import itertools
import re
import shlex
import tomllib
from collections.abc import Callable

import pytest
import typer

from cache_schema.errors import UserError
from pipeline import cli as pipeline_cli
from pipeline.recipes import SourceConfig
from pipeline.recipes import configured as build_configured
from pipeline.sources.catalog import about
from tests.docs.pages import PAGES, README, ROOT, blocks, commands, inline, links, name
from trainer import cli as trainer_cli
from trainer.recipes import configured as train_configured
from trainer.tasks.catalog import TASKS
from trainer.tasks.catalog import options as task_options

PROGRAMS = {"mmpd-cache": typer.main.get_command(pipeline_cli.app), "mmpd-train": typer.main.get_command(trainer_cli.app)}
STAGES = ("align", "distill")
EXAMPLES = {"A.B=C", "a.b=c"}
"""Settings that stand for any setting."""
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
PREFIXES = ("source", "points", "views", "captions", "limits", "data", "optim", "encoder", "augment", "align", "distill")
"""First words of the settings that a page may name without --set."""

every_page = pytest.mark.parametrize("page", PAGES, ids=name)


def shell(page):
    """(where, words) of every command line in the shell blocks of a page."""
    return [(block.where, words) for block in blocks(page) if block.language == "sh" for words in commands(block.text)]


def programs(page):
    """(where, words, whether it is a whole command line) of all that calls our programs, in blocks and within lines."""
    found = [(where, words, True) for where, words in shell(page)]
    found += [(f"{name(page)}: {code}", code.split(), False) for code in inline(page)]
    return [(where, words, whole) for where, words, whole in found if words[0] in PROGRAMS]


def accepts(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except UserError:
        return False
    return True


@functools.cache  # pages name the same ones again and again
def is_setting(assignment: str, others: tuple[str, ...] = ()) -> bool:
    """Whether some recipe or task takes it, alone or together with the others of its command."""
    option = assignment.partition("=")[0].strip().removeprefix("source.")
    if assignment.startswith("source.") and option not in {field.name for field in dataclasses.fields(SourceConfig)}:
        return any(option in options for _, options in about().values())
    attempts = [lambda: build_configured("default", [assignment])]
    attempts += [lambda stage=stage: train_configured("mmpd", stage, [assignment]) for stage in STAGES]
    attempts += [lambda task=task: task_options(task, [assignment]) for task in TASKS]
    if others:  # some only fit together
        attempts.append(lambda: build_configured("default", list(others)))
        attempts += [lambda stage=stage: train_configured("mmpd", stage, others) for stage in STAGES]
        attempts += [lambda task=task: task_options(task, list(others)) for task in TASKS]
    return any(map(accepts, attempts))


@functools.cache
def bodies() -> list[dict[str, object]]:
    """The configurations there are, with their values."""
    builds = [build_configured(recipe, []) for recipe in ("default", "adaptive")]  # a rig has no settings of a policy
    return [
        dataclasses.asdict(body)
        for body in (*builds, *(train_configured("mmpd", stage, []) for stage in STAGES), *map(task_options, TASKS))
    ]


@functools.cache
def is_field(dotted: str) -> bool:
    """Whether some configuration has a field of this name."""
    first, *rest = dotted.split(".")
    if first == "source" and any(rest == [option] for _, options in about().values() for option in options):
        return True
    found: list[object] = list(bodies())
    for part in (first, *rest):
        found = [body[part] for body in found if isinstance(body, dict) and part in body]
    values = ("8", "mask") if first == "encoder" else ()  # settings of an encoder are kept as text
    return bool(found) or any(accepts(lambda value=value: train_configured("mmpd", "align", [f"{dotted}={value}"])) for value in values)


@every_page
def test_commands_and_their_options_exist(page):
    for where, words, whole in programs(page):
        program = PROGRAMS[words[0]]
        if len(words) == 1 or words[1].startswith("-"):
            continue
        assert words[1] in program.commands, f"{where}: {words[0]} has no command {words[1]}"
        command = program.commands[words[1]]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
        wrong = [word for word in words[2:] if word.startswith("--") and word.partition("=")[0] not in known]
        assert not wrong, f"{where}: {words[1]} has no {wrong}"
        if whole:
            command.make_context(words[1], list(words[2:]))


def split(code: str) -> list[str]:
    """The words of code in a line of text, as a shell reads them if it is a whole command."""
    return shlex.split(code) if " --set '" in code else code.split()


@every_page
def test_settings_exist(page):
    found = [(where, words) for where, words in shell(page)] + [(f"{name(page)}: {code}", split(code)) for code in inline(page)]
    for where, words in found:
        told = [assignment for option, assignment in itertools.pairwise(words) if option == "--set" and assignment not in EXAMPLES]
        for assignment in told:
            captioner = "add-captioner" in words
            forms = [f"captions.{assignment}"] if captioner else [assignment]
            others = told
            if captioner:
                others = [f"captions={words[3].rpartition('=')[2]}", *(f"captions.{one}" for one in told)]
            if words[0] == "--set":  # any command may be meant, `add-captioner`, too
                forms.append(f"captions.{assignment}")
            assert any(is_setting(form, tuple(others)) for form in forms), f"{where}: no recipe, task or captioner takes {assignment}"
    for code in inline(page):
        dotted = re.fullmatch(r"((?:" + "|".join(PREFIXES) + r")(?:\.[a-z_]+)+)(=\S+)?", code)
        if dotted and not code.endswith(".py"):
            assert is_field(dotted[1]), f"{name(page)}: there is no setting {dotted[1]}"


@every_page
def test_recipes_tasks_and_encoders_exist(page):
    for where, words, whole in programs(page):
        if not whole:
            continue
        if "--recipe" in words:
            recipe, stage = words[words.index("--recipe") + 1], words[1]
            known = build_configured(recipe, []) if stage in ("build", "plan") else train_configured(recipe, stage, [])
            assert known, where
        if words[:2] == ["mmpd-train", "eval"]:
            assert set(words[2].split(",")) <= {*TASKS, "table", "compare"}, f"{where}: there is no task {words[2]}"


@every_page
def test_make_targets_exist(page):
    lines = [words for _, words in shell(page)] + [code.split() for code in inline(page)]
    asked = {word for words in lines if words[0] == "make" for word in words[1:] if "=" not in word}
    assert asked <= TARGETS, asked - TARGETS


@every_page
def test_scripts_exist_with_their_options(page):
    for where, words in shell(page):
        if words[0] in ("python", "torchrun"):
            if "-m" in words:
                file = ROOT / (words[words.index("-m") + 1].replace(".", "/") + ".py")
            else:
                file = ROOT / words[1]
            assert file.is_file(), f"{where}: there is no {file.relative_to(ROOT)}"
            if words[0] == "python":
                text = file.read_text()
                wrong = [word for word in words if word.startswith("--") and f'"{word}"' not in text]
                assert not wrong, f"{where}: {file.name} has no {wrong}"


@every_page
def test_files_and_modules_exist(page):
    for code in inline(page):
        if re.fullmatch(r"(cache_schema|pipeline|trainer|tests|docs|bench|science|\.github|\.ci)/[\w./*-]*", code):
            assert list(ROOT.glob(code.rstrip("/"))), f"{name(page)}: there is no {code}"
        if re.fullmatch(r"(cache_schema|pipeline|trainer)(\.\w+)+", code):
            assert resolves(code), f"{name(page)}: there is no {code}"


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        if (ROOT / "/".join(parts[:end])).with_suffix(".py").is_file() or (end == len(parts) and (ROOT / "/".join(parts)).is_dir()):
            value = importlib.import_module(".".join(parts[:end]))
            for part in parts[end:]:
                if not hasattr(value, part):
                    return False
                value = getattr(value, part)
            return True
    return False


@every_page
def test_links_lead_somewhere(page):
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), f"{name(page)}: {target} is not there"
        if anchor and there.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{name(page)}: {there.name} has no heading {anchor}"


@every_page
def test_python_blocks_are_python(page):
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text, block.where)


@every_page
def test_what_the_api_pages_show_exists(page):
    lines = page.read_text().splitlines()
    module = ""
    for line in lines:
        if line.startswith("::: "):
            module = line.removeprefix("::: ")
            assert resolves(module), f"{name(page)}: there is no {module}"
        if members := re.fullmatch(r" +members: \[(.+)\]", line):
            missing = [m for m in members[1].split(", ") if not hasattr(importlib.import_module(module), m)]
            assert not missing, f"{name(page)}: {module} has no {missing}"


def test_a_setting_that_does_not_exist_is_found_out():
    assert is_setting("points.blocks=4") and is_setting("encoder.depth=6") and is_setting("source.up=z")
    assert not is_setting("points.bloks=4") and not is_setting("source.upp=z")
    assert is_field("points.ordered") and is_field("encoder.groups") and not is_field("points.order")


def test_the_tree_of_the_readme_is_that_of_the_project():
    tree = next(block.text for block in blocks(README) if not block.language)
    above = ROOT
    for line in tree.splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split()
        top = not line.startswith(" ")
        for found in names:
            place = (ROOT if top else above) / found
            assert place.exists(), f"the tree names {place.relative_to(ROOT)}"
        above = ROOT / names[0] if top else above
    for package in ("cache_schema", "pipeline", "trainer", "docs", "tests"):
        assert f"{package}/" in tree


def test_every_file_of_the_packages_has_its_line():
    page = (ROOT / "docs" / "where.md").read_text()
    for package in ("cache_schema", "pipeline", "trainer"):
        section = page.partition(f"## {package}\n")[2].partition("\n## ")[0]
        first_cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        said = [name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)]
        there = [f"{path.name}/" if path.is_dir() else path.name for path in (ROOT / package).iterdir()]
        there = [name for name in there if name.endswith((".py", "/")) and name not in ("__init__.py", "__pycache__/")]
        assert sorted(said) == sorted(there)


def test_the_readme_is_short_and_pictures_are_small_and_complete():
    assert len(README.read_text().splitlines()) <= 150
    pictures = list((ROOT / "docs" / "pictures").iterdir())
    assert sum(file.stat().st_size for file in pictures) < 600_000
    for file in pictures:
        if file.suffix == ".svg":
            text = file.read_text()
            assert not re.findall(r"(?:href|src|url)\s*[=(]\s*[\"']?https?:", text), f"{file.name} needs another server"
            assert "<title" in text and "<desc" in text, f"{file.name} says nothing to a screen reader"


def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text()
