"""Write, read and find the descriptions (manifest and records) in the `zarr.json` files of a cache, and tell which records are lost.

Each description carries a checksum of its own text, so that a changed description is recognised.
"""

import dataclasses
import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from cache_schema import products, spec
from cache_schema.errors import UserError
from cache_schema.files import read_file
from cache_schema.layout import node_json
from cache_schema.spec import Manifest, Record

KEY: Final = "mmpd"
"""Key of our description in the attributes of a Zarr node."""

T = TypeVar("T")


def sealed(value: object) -> dict[str, Any]:
    """Return Zarr attributes that hold a description (of a cache, product or overlay), its fingerprint and the checksum of its text."""
    body = spec.to_json(value)
    return {KEY: body, "fingerprint": spec.fingerprint(value), "sha256": hashlib.sha256(spec.canonical(body)).hexdigest()}


def attributes_of(node: Path) -> dict[str, Any]:
    """Read the attributes of a `zarr.json`.

    Raises:
        UserError: the file is missing, or does not describe a Zarr node.
    """
    try:
        body = json.loads(read_file(node))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{node} is damaged: {str(error).removeprefix(f'{node} ')}") from error
    attributes = body.get("attributes", {}) if isinstance(body, dict) else None
    if not isinstance(attributes, dict):
        raise UserError(f"{node} is damaged: it is no description of a Zarr node with attributes")
    return attributes


def opened(cls: type[T], attributes: Mapping[str, Any], node: Path | str) -> T:
    """Return the description that `sealed` put into attributes.

    Args:
        cls: the class of the description: `Manifest`, `Record` or `below.Overlay`.
        attributes: attributes that hold `KEY`.
        node: the file they were read from, or its address, for messages.

    Raises:
        UserError: the text does not match its checksum, or has fields or values that this software does not know.
    """
    body = attributes[KEY]
    try:
        whole = hashlib.sha256(spec.canonical(body)).hexdigest() == attributes.get("sha256")
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise UserError(f"{node} is damaged: its description does not match its checksum")
    try:
        value: T = spec.from_json(cls, body)
    except ValueError as error:
        raise UserError(f"{node}: {error}") from error
    return value


def place_of(product: str) -> tuple[bool, list[str]]:
    """Return the key by which products are sorted when they are read: the order must not depend on where they lie."""
    return "/" in product, product.split("/")


def as_of(record: Record, manifest: Manifest) -> Record:
    """Return a record as it was when the cache had this manifest.

    A record that was written when the cache grew also serves readers that opened the cache before. They see the product as it was.
    """
    content = dict(record.before).get(manifest.shapes)
    if content is None:
        return record
    described = manifest.source if record.product == products.INDEX.name else record.spec
    older = tuple((rows, then) for rows, then in record.before if rows < manifest.shapes)
    return dataclasses.replace(record, spec=described, complete=True, content=content, before=older)


def outgrown(record: Record, rows: int) -> Record:
    """Return the record of a product about shapes when the cache has more of them: unfinished, with what the product was before.

    Args:
        record: the product as it was before.
        rows: number of rows of the cache before.
    """
    if rows in dict(record.before):  # it is that of a larger cache already
        return record
    before = (*record.before, (rows, record.content)) if record.complete else record.before
    return dataclasses.replace(record, complete=False, content="", before=before)


class Records:
    """Reads the records of a cache. Every call reads the disk again."""

    def __init__(self, path: Path, manifest: Manifest, *, index: bool = True, since: int = 0) -> None:
        """
        Args:
            path: the folder.
            manifest: the manifest of the cache.
            index: whether the folder must have the index, which is that of a cache, but not that of an overlay.
            since: number of rows for which the products in the folder are made, if these are fewer than in the manifest; else 0.
        """
        self.since = since
        self.path = path
        self.index = index
        self.root = path / "products"
        self.manifest = manifest
        self.version = manifest.format_version

    def all(self) -> tuple[dict[str, Record], dict[str, str]]:
        """Read the record of every product that was begun. Also returns, by product, what is wrong with records that cannot be read."""
        found: dict[str, Record] = {}
        damaged: dict[str, str] = {}
        for node in self._nodes():
            name = node.parent.relative_to(self.root).as_posix()
            try:
                record = self.one(name)
            except UserError as error:
                damaged[name] = (
                    f"{error}. A record cannot be made again from the product's files: delete {node.parent} and run the "
                    "command that made it again"
                )
            else:
                if record is not None:
                    found[name] = record
        return found, damaged

    def one(self, product: str) -> Record | None:
        """Read the record of a product; None if there is nothing, or a group of products.

        Raises:
            UserError: it is damaged.
        """
        node = self.root / product / "zarr.json"
        if not node.exists():
            return None
        attributes = attributes_of(node)
        if KEY not in attributes:
            if self._is_group(product):
                return None
            raise UserError(f"{node} is damaged: it does not say what the product {product!r} is")
        record = opened(Record, attributes, node)
        if record.product != product:
            raise UserError(f"{node} describes {record.product!r}: it is damaged or was moved")
        record = as_of(record, self.manifest)
        try:
            products.check(record, self.version)
        except UserError as error:
            raise UserError(f"{node}: {error}") from None
        return outgrown(record, self.since) if self.since and not products.of(record).labelled else record

    def has_outgrown(self, product: str) -> bool:
        """Whether the record on disk is that of a cache which has grown since the manifest was read.

        Raises:
            UserError: the record is damaged.
        """
        node = self.root / product / "zarr.json"
        body = attributes_of(node).get(KEY) if node.exists() else None
        before = body.get("before", ()) if isinstance(body, dict) else ()
        return any(isinstance(one, list) and one[:1] == [self.manifest.shapes] for one in before)

    def lost(self) -> dict[str, str]:
        """Find products that have completion markers but no record. Returns a message for each."""
        found = {self.root / products.INDEX.name} if self.index else set()
        todo = [self.root] if self.root.is_dir() else []
        while todo:
            folder = todo.pop()
            try:
                names = os.listdir(folder)
            except OSError:
                continue
            if folder.name == "c" and "zarr.json" not in names:
                names = [name for name in names if not name.isdigit()]  # a folder for each shard would be walked in vain
            below = [folder / name for name in names if name != "zarr.json" and (folder / name).is_dir()]
            if "c" in [path.name for path in below]:
                found.add(folder)
            todo += [path for path in below if not path.is_symlink()]
        gone = [folder for folder in sorted(found) if not (folder / "zarr.json").exists()]
        message = "is not there, and nothing else says what the product is; run the command that made it again"
        return {folder.relative_to(self.root).as_posix(): message for folder in gone}

    def ownerless(self) -> list[str]:
        """Find products that have arrays but no folder in `products`, because somebody deleted it."""
        found = {}
        for pattern in ("*/", "*/*/", "*/*/*/"):
            for folder in self.path.glob(pattern):
                place = folder.relative_to(self.path).as_posix()
                product = products.owner(place, self.version)
                if product is not None and place.count("/") <= product.count("/") + 1:
                    found[folder] = product
        owners = {product for folder, product in found.items() if self.is_array_of(folder, product)}
        return sorted(product for product in owners if not (self.root / product / "zarr.json").exists())

    def _nodes(self) -> list[Path]:
        """List the `zarr.json` of every product, in the order of `place_of`. Groups that other people added may be among them."""
        depths = {name: len(kind.parts_of(self.version)) for name, kind in sorted(products.KINDS.items())}
        patterns = ["*", *("/".join([name] + ["*"] * (depth - 1)) for name, depth in depths.items() if depth > 1)]
        nodes = [node for pattern in patterns for node in sorted(self.root.glob(f"{pattern}/zarr.json"))]
        return [node for node in nodes if not products.is_group(node.parent.relative_to(self.root).as_posix(), self.version)]

    def _is_group(self, product: str) -> bool:
        """Whether a node of `products` without a record is a group of products, or a group that somebody added, and not an emptied
        record."""
        if products.is_group(product, self.version):
            return True
        place, said = self.root / product, json.dumps(product).encode()
        if product in products.FIXED or read_file(place / "zarr.json") != node_json() or (place / "c").exists():
            return False
        return not any(said in read_file(array) for array in (self.path / product).rglob("zarr.json"))

    def is_array_of(self, folder: Path, product: str) -> bool:
        """Whether a folder holds an array of a product. Where the array's own description is lost, a folder with data counts as one."""
        node = folder / "zarr.json"
        if not node.exists():
            return (folder / "c").is_dir()
        try:
            return bool(attributes_of(node).get("product") == product)
        except (UserError, OSError):
            return (folder / "c").is_dir()


def differences(there: Any, asked: Any, where: str = "") -> list[str]:
    """List where two descriptions differ in what changes a result, such as `points.seed is 0, asked 1`."""
    if dataclasses.is_dataclass(there) and type(there) is type(asked):
        fields = [f.name for f in dataclasses.fields(there) if f.metadata.get("identity", True)]
        return [d for f in fields for d in differences(getattr(there, f), getattr(asked, f), f"{where}.{f}" if where else f)]
    if there == asked:
        return []
    if there and asked and _named(there) and _named(asked):
        one, other = dict(there), dict(asked)
        if one != other:  # else only their order differs
            return [d for name in sorted({*one, *other}) for d in _option_differences(one, other, name, where)]
    return [f"{where} is {spec.short(there)}, asked {spec.short(asked)}"]


def _option_differences(one: dict[str, Any], other: dict[str, Any], name: str, where: str) -> list[str]:
    """List where a name differs between names and values. It may be in only one of both."""
    if name not in one:
        return [f"{where}: {name} is not set, asked {spec.short(other[name])}"]
    if name not in other:
        return [f"{where}: {name} is {spec.short(one[name])}, asked none"]
    return differences(one[name], other[name], f"{where}: {name}")


def _named(value: Any) -> bool:
    """Whether a value is a tuple of names and values, with no name twice, such as the options of a source."""
    pairs = isinstance(value, tuple) and all(isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str) for one in value)
    return pairs and len(dict(value)) == len(value)


UNSETTABLE: Final = frozenset({"revision", "revision_of_code", "weights", "judge"})
"""Fields of specifications that no `--set` changes: the software or the model decides them."""


def restoring(there: Any, asked: Any, prefix: str) -> list[str]:
    """List the options that turn the specification asked for into the recorded one, such as `--set points.normals=false`.

    A value that has a name of its own, such as a camera rig, is set by that name. Fields in `UNSETTABLE` are left out.

    Args:
        there: the recorded specification.
        asked: the specification asked for.
        prefix: what `--set` writes before the name of a field, such as `points.`.
    """
    if type(there) is not type(asked) or not dataclasses.is_dataclass(there):
        return []
    found = []
    for field in dataclasses.fields(there):
        value = getattr(there, field.name)
        other = getattr(asked, field.name)
        identity = field.metadata.get("identity", True) and field.name not in UNSETTABLE
        if isinstance(value, spec.Coverage):
            found += _restoring_policy(value, other, f"{prefix}{field.name}")
        elif identity and differences(value, other, field.name):
            found.append(f"--set {shlex.quote(f'{prefix}{field.name}={_setting(value)}')}")
    return found


def _restoring_policy(there: spec.Coverage, asked: spec.Coverage | None, name: str) -> list[str]:
    """List the options that turn a policy for views into the recorded one. `name` is what `--set` calls it."""
    first = [] if asked is not None else [f"--set {name}=coverage"]
    other = spec.Coverage() if asked is None else asked
    teacher = [f"--set {shlex.quote(f'{name}.teacher={there.teacher}')}"] if differences(there.judge, other.judge) else []
    return [*first, *teacher, *restoring(there, other, f"{name}.")]


def _setting(value: Any) -> str:
    """Write a value as `--set` takes it."""
    if dataclasses.is_dataclass(value):
        return str(getattr(value, "name", json.dumps(spec.to_json(value))))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return json.dumps(spec.to_json(value)) if isinstance(value, tuple) else str(value)
