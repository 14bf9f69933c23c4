"""Who may import whom (README, "Where things are"): trainer -> cache_schema <- pipeline, and nothing heavy where it is not needed."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from cache_schema import synthetic

ROOT = Path(__file__).parent.parent
TEACHER_LIBRARIES = {"open_clip", "transformers", "timm", "torchvision", "pyrender", "trimesh", "dask", "distributed", "h5py", "pipeline"}
ALLOWED = {
    # fsspec and the hub only in one file, and only once somebody gives an address.
    "cache_schema": {"cache_schema", "numpy", "zarr", "numcodecs", "google_crc32c", "fsspec", "huggingface_hub", "safetensors"},
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
        "scipy",
        "matplotlib",
        "tensorboard",
        "pyarrow",
        "faiss",  # this and those below only where a user installed them
        "onnx",
        "onnxruntime",
        "onnxscript",
        "mlflow",
        "trackio",
        "wandb",
        "mamba_ssm",
    },
}
ONLY_IN = {
    "fsspec": {"cache_schema/remote.py"},
    "pyarrow": {"pipeline/card.py", "trainer/vectors.py"},
    "faiss": {"trainer/search.py"},
    "mlflow": {"trainer/trackers/mlflow.py"},
    "trackio": {"trainer/trackers/trackio.py"},
    "wandb": {"trainer/trackers/wandb.py"},
    "pyrender": {"pipeline/render.py"},
    "dask": {"pipeline/executors/dask.py", "pipeline/executors/slurm.py"},
    "distributed": {"pipeline/executors/dask.py", "pipeline/executors/slurm.py"},
}


@functools.cache
def nodes(file: Path) -> list[ast.AST]:
    """The nodes of a file that the tests ask for: parsed and walked once."""
    kinds = (ast.Import, ast.ImportFrom, ast.Expr, ast.Constant, ast.ClassDef, ast.Name, ast.Attribute)
    return [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, kinds)]


@functools.cache
def imports(file: Path) -> set[str]:
    found = set()
    for node in nodes(file):
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


@pytest.mark.parametrize("program", ["trainer.cli", "pipeline.cli"])
def test_commands_that_compute_nothing_import_nothing_heavy(program, tmp_path):
    """`eval table` reads the digest of a run's weights, `status` and `info` read what a cache says."""
    then = ""
    if program == "pipeline.cli":
        pytest.importorskip("trimesh")
        synthetic.write(tmp_path / "c.zarr", shapes=4, shard=4)
        commands = [["--help"], ["status", f"{tmp_path}/c.zarr"], ["info", f"{tmp_path}/c.zarr"], ["build", "--help"]]
    else:
        run = tmp_path / "run" / "eval"
        run.mkdir(parents=True)
        safetensors.numpy.save_file({"model.encoder.x": np.zeros(2, np.float32)}, run.parent / "last.safetensors")
        commands = [["--help"], ["eval", "--help"], ["align", "--help"], ["eval", "table", str(run.parent)]]
        then = f"from trainer import saved; assert len(saved.weights(saved.Path({str(run.parent)!r}))) == 64"
    code = f"""
import sys, {program}
for words in {commands!r}:
    sys.argv = ["x", *words]
    try:
        {program}.main()
    except SystemExit:
        pass
{then}
print("loaded", *{{m.partition('.')[0] for m in sys.modules}})"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert not {"torch", "sklearn", "scipy", "matplotlib", "trimesh", "pandas"} & set(out.rpartition("loaded ")[2].split())


# ------------------------------------------------------------------------------------------------------ within a package


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


@functools.cache
def imported_modules(file: Path) -> set[str]:
    """Full names of what a file imports, wherever in it: modules, and what may be modules or things in them."""
    found = set()
    for node in nodes(file):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Sets of modules that can all be reached from each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(graph[start])
        while todo:
            if (module := todo.pop()) not in seen:
                seen.add(module)
                todo += graph[module]
        return seen

    reach = {module: reached(module) for module in graph}
    return {frozenset(m for m in reach[module] if module in reach[m]) for module in graph if module in reach[module]}


@pytest.mark.parametrize("package", ["cache_schema", "pipeline", "trainer"])
def test_no_modules_import_each_other_in_a_circle(package):
    files = {name_of(file): file for file in sources(package)}
    graph = {module: imported_modules(file) & files.keys() - {module} for module, file in files.items()}
    assert not circles(graph)


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == {frozenset({"b", "c"})}


@functools.cache
def strings(file: Path) -> set[str]:
    """Texts in a file that are used: docstrings and such count as none."""
    idle = {node.value for node in nodes(file) if isinstance(node, ast.Expr)}
    return {node.value for node in nodes(file) if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in idle}


def test_only_the_catalogues_know_the_starter_collection():
    allowed = {"pipeline/sources/catalog.py", "pipeline/teachers/catalog.py", "pipeline/captioners/catalog.py"}
    for file in sources("pipeline"):
        path = file.relative_to(ROOT).as_posix()
        if not path.startswith("pipeline/starter/") and path not in allowed:
            named = {name for name in imported_modules(file) | strings(file) if name.startswith("pipeline.starter")}
            assert not named, f"{path} names {named}"


def test_nothing_outside_of_the_encoders_names_one():
    """A module, or a class that can be an encoder. What all encoders share, and their catalogue, is for everyone."""
    package = "trainer.encoders."
    shared = {package + name for name in ("catalog", "protocol", "blocks", "trial")}
    classes = {
        node.name
        for file in sources("trainer/encoders")
        if name_of(file) not in shared
        for node in nodes(file)
        if isinstance(node, ast.ClassDef)
    }
    assert {"PointMAE", "PointMamba", "SerialLevel", "PointM2AEConfig"} <= classes
    for file in sources("trainer"):
        if file.parent.name == "encoders":
            continue
        for name in imported_modules(file) | strings(file):
            known = any(name == module or name.startswith(f"{module}.") for module in shared)
            assert known or not name.startswith(package), f"{file} names {name}"
        # A class has the name of another thing only where that is made in the file itself.
        own = {node.name for node in nodes(file) if isinstance(node, ast.ClassDef)}
        own |= {name.rpartition(".")[2] for name in imported_modules(file)}
        named = {node.id for node in nodes(file) if isinstance(node, ast.Name)}
        named |= {node.attr for node in nodes(file) if isinstance(node, ast.Attribute)}
        found = (named | strings(file)) & classes - own
        assert not found, f"{file} names {found}"
