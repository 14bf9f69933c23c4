"""Who may import whom (README, "Where things are"): trainer -> cache_schema <- pipeline, and nothing heavy where it is not needed."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEACHER_LIBRARIES = {"open_clip", "transformers", "timm", "torchvision", "pyrender", "trimesh", "dask", "distributed", "h5py", "pipeline"}
ALLOWED = {
    "cache_schema": {"cache_schema", "numpy", "zarr", "numcodecs", "google_crc32c"},
    "trainer": {
        "trainer",
        "cache_schema",
        "numpy",
        "zarr",
        "torch",
        "typer",
        "rich",
        "safetensors",
        "sklearn",
        "matplotlib",
        "tensorboard",
        "mamba_ssm",  # the last only where a user installed it
    },
}
ONLY_IN = {"pyrender": {"pipeline/render.py"}, "dask": {"pipeline/run.py"}, "distributed": {"pipeline/run.py"}}


@functools.cache
def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add((node.module or "").partition(".")[0])
    return found


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", ["cache_schema", "trainer"])
def test_a_light_package_imports_what_it_may(package):
    for file in sources(package):
        extra = imports(file) - ALLOWED[package] - set(sys.stdlib_module_names)
        assert not extra, f"{file} imports {extra}"


def test_pipeline_does_not_import_the_trainer():
    assert not [file for file in sources("pipeline") if "trainer" in imports(file)]


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_stays_in_its_file(library):
    users = {
        file.relative_to(ROOT).as_posix()
        for package in ("pipeline", "trainer", "cache_schema")
        for file in sources(package)
        if library in imports(file)
    }
    assert users <= ONLY_IN[library]


@pytest.mark.parametrize(
    "file", [f for p in ("cache_schema", "pipeline", "trainer") for f in sources(p) if f.name == "__init__.py"], ids=str
)
def test_init_files_are_empty(file):
    assert file.read_text() == ""


@pytest.mark.parametrize(("package", "forbidden"), [("cache_schema", TEACHER_LIBRARIES | {"torch"}), ("trainer", TEACHER_LIBRARIES)])
def test_a_fresh_process_that_imports_all_of_a_package_holds_nothing_heavy(package, forbidden):
    modules = [f.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for f in sources(package) if f.name != "__init__.py"]
    code = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert not forbidden & set(loaded)
