"""The trainer without the pipeline: `make test` runs these tests where no teacher library is installed."""

import importlib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_module_is_imported_with_what_is_installed_here():
    files = [file for package in ("cache_schema", "trainer") for file in sorted((ROOT / package).rglob("*.py"))]
    names = [file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__") for file in files]
    assert len(names) > 100 and all(importlib.import_module(name).__name__ == name for name in names)
