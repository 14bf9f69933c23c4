"""Read and write the files of a cache where others can get at them: a folder, `s3://`, `gs://`, `https://` (read only), `hf://datasets/`.

    place = place_of("s3://lab/shapes.zarr")
    described = described_at(place)                    # its manifest and its complete products, from the root alone
    data = place.read("points/xyz/c/0/0/0/0", most=2**20)

This is the only file that knows fsspec and the hub. Both are imported when they are first needed, so that a machine that only has local
caches does without them. Nothing here lists a folder to read a cache: the consolidated metadata in the root says which products are
complete, and `cache_schema.products` says which files they have. So a plain web server is enough.

Credentials come from where the libraries look for them (environment, configuration files, instance roles). They are never stored, and an
address that holds some is refused.
"""

import contextlib
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from cache_schema import products, records, spec
from cache_schema.errors import UserError
from cache_schema.files import read_file, refuse_links, write_file
from cache_schema.names import path_name
from cache_schema.records import KEY
from cache_schema.spec import Manifest, Record

T = TypeVar("T")

CARD: Final = "README.md"
"""Name of the card that a push writes beside the arrays."""
TABLE: Final = "shapes.parquet"
"""Name of the table of shapes that a push writes beside the arrays."""
ROOT: Final = "zarr.json"
"""Name of the file that describes the root of a cache. It is the first file that is read, and the last one that is written."""
ROOT_MOST: Final = 1 << 26
"""Largest size in bytes of a root or a card that is read from afar."""
FILE_MOST: Final = 1 << 33
"""Largest size in bytes of a file that is fetched, whatever its description says. Files are held in memory while they move."""
WAITS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each new try after a lost connection."""
SCHEMES: Final = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "http": "http", "https": "http"}
"""Extra of this project that has the package for an address, by scheme."""
HUB: Final = "hf://datasets/"
"""Beginning of the address of a data set on the hub."""
MODELS: Final = "hf://"
"""Beginning of the address of a model on the hub, `hf://USER/NAME`."""
NETWORK: Final = frozenset("aiohttp botocore aiobotocore gcsfs requests urllib3 httpx httpx2 httpcore httpcore2 huggingface_hub".split())
"""Packages whose exceptions come from the network."""
HUB_COMMIT: Final = 200
"""Number of files in one commit to the hub, which limits the number of commits an hour."""


class Absent(UserError):
    """A file is not at a place."""


class Place:
    """A folder for the files of one cache, here or elsewhere. Files are named by their places in it, such as `points/xyz/zarr.json`.

    Methods may be called from several threads. Each raises UserError with the address and the file if the connection is lost for good, or
    if access is refused.
    """

    writable: bool = True

    def __init__(self, url: str) -> None:
        self.url = url

    def read(self, key: str, most: int) -> bytes:
        """Read a file.

        Args:
            key: the file.
            most: largest size in bytes that the file may have.

        Raises:
            Absent: there is no such file.
            UserError: it is larger.
        """
        raise NotImplementedError

    def write(self, key: str, data: bytes) -> None:
        """Write a file. Readers see the old file or the new one. Files appear in the order in which they were written, at the latest at
        `settle`."""
        raise NotImplementedError

    def settle(self) -> None:
        """Wait until every file that was written is there."""

    def find(self, prefix: str) -> set[str]:
        """List all files below a folder; empty if there is none."""
        raise NotImplementedError

    def address(self, key: str) -> str:
        """Return the address of a file, for messages."""
        return f"{self.url.rstrip('/')}/{key}"

    def _too_large(self, key: str, most: int) -> UserError:
        return UserError(f"{self.address(key)} is larger than the {most} bytes that the description of its cache allows: it is damaged")


class Folder(Place):
    """A folder that can be reached by a path."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.path = Path(url.removeprefix("file://")).absolute()

    def read(self, key: str, most: int) -> bytes:
        path = self.path / key
        if not path.exists():
            raise Absent(f"{path} is not there")
        if path.is_file() and path.stat().st_size > most:
            raise self._too_large(key, most)
        refuse_links(path, self.path)
        return read_file(path)

    def write(self, key: str, data: bytes) -> None:
        write_file(self.path / key, data, within=self.path)

    def find(self, prefix: str) -> set[str]:
        found = (path for path in (self.path / prefix).rglob("*") if path.is_file() and not path.name.endswith(".tmp"))
        return {path.relative_to(self.path).as_posix() for path in found}


class Store(Place):
    """An object store or a web server, through fsspec (https://filesystem-spec.readthedocs.io)."""

    def __init__(self, url: str, scheme: str) -> None:
        super().__init__(url.rstrip("/"))
        self.writable = SCHEMES[scheme] != "http"
        self._web = not self.writable
        with _explained(scheme):
            import fsspec

            options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
            if scheme == "s3":
                # We try again ourselves, with a message that names the file; the library would do so silently for minutes.
                options["config_kwargs"] = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 1, "mode": "standard"}}
            self._fs: Any = fsspec.filesystem(scheme, **options)
            if hasattr(type(self._fs), "retries"):
                self._fs.retries = 1
        self._base = self.url if self._web else self._fs._strip_protocol(self.url)

    def read(self, key: str, most: int) -> bytes:
        path = f"{self._base}/{urllib.parse.quote(key) if self._web else key}"
        data = patiently(self.address(key), lambda: self._bounded(path, most))
        if len(data) > most:
            raise self._too_large(key, most)
        return data

    def _bounded(self, path: str, most: int) -> bytes:
        """Read at most one byte more than `most`, whatever the server sends."""
        if not self._web:
            return bytes(self._fs.cat_file(path, start=0, end=most + 1))
        # A web server need not obey a range. A stream is read only as far as wanted.
        parts, left = [], most + 1
        with self._fs.open(path, "rb", block_size=0) as stream:
            size = stream.size
            while left and (part := stream.read(min(left, 1 << 20))):
                parts.append(part)
                left -= len(part)
        data = b"".join(parts)
        if size is not None and len(data) < min(size, most + 1):
            raise ConnectionError(f"the connection ended after {len(data)} of {size} bytes")
        return data

    def write(self, key: str, data: bytes) -> None:
        patiently(self.address(key), lambda: self._fs.pipe_file(f"{self._base}/{key}", data))

    def find(self, prefix: str) -> set[str]:
        begin = f"{self._base}/"
        try:
            found = patiently(self.address(prefix), lambda: self._fs.find(f"{begin}{prefix}"))
        except Absent:
            return set()
        return {path.removeprefix(begin) for path in found}


class Hub(Place):
    """A data set or a model on the hub (https://huggingface.co/docs/huggingface_hub). Files that are written wait until there are enough
    for a commit.

    `HF_ENDPOINT` names another server than the public one, `HF_TOKEN` or `hf auth login` the credentials.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url.rstrip("/"))
        self.kind: Literal["dataset", "model"] = "dataset" if self.url.startswith(HUB) else "model"
        begin = HUB if self.kind == "dataset" else MODELS
        user, _, rest = self.url.removeprefix(begin).partition("/")
        name, _, self._below = rest.partition("/")
        if not user or not name or "@" in self.url:
            raise UserError(f"{url}: expected {begin}USER/NAME")
        self.repo = f"{user}/{name}"
        self.public = False
        """Whether everybody can see the repository if a write makes it. One that is there stays as it is."""
        self._made = False
        with _explained("hf"):
            import huggingface_hub

            self._hub: Any = huggingface_hub
            self._api: Any = huggingface_hub.HfApi()
        self._waiting: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def _place(self, key: str) -> str:
        return f"{self._below}/{key}" if self._below else key

    def read(self, key: str, most: int) -> bytes:
        def fetch() -> bytes:
            begin = f"{self._api.endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.repo}"
            address = f"{begin}/resolve/main/{urllib.parse.quote(self._place(key))}"
            with self._hub.get_session().stream(
                "GET", address, headers=self._api._build_hf_headers(), follow_redirects=True, timeout=60
            ) as answer:
                if answer.status_code == 404:
                    raise FileNotFoundError(address)
                answer.raise_for_status()
                parts, size = [], 0
                for part in answer.iter_bytes(1 << 20):
                    parts.append(part)
                    size += len(part)
                    if size > most:
                        break
            return b"".join(parts)

        data = patiently(self.address(key), fetch)
        if len(data) > most:
            raise self._too_large(key, most)
        return data

    def write(self, key: str, data: bytes) -> None:
        with self._lock:
            self._waiting[key] = data
            if len(self._waiting) >= HUB_COMMIT:
                self._commit()

    def settle(self) -> None:
        with self._lock:
            self._commit()

    def _commit(self) -> None:
        if not self._waiting:
            return
        operations = [self._hub.CommitOperationAdd(self._place(key), data) for key, data in self._waiting.items()]

        def commit() -> None:
            if not self._made:
                self._api.create_repo(self.repo, repo_type=self.kind, private=not self.public, exist_ok=True)
                self._made = True
            self._api.create_commit(self.repo, operations, commit_message=f"mmpd push: {len(operations)} files", repo_type=self.kind)

        patiently(self.url, commit)
        self._waiting.clear()

    def audience(self) -> str:
        """Return a sentence about who can see the repository, or will see it once a write has made it."""
        try:
            private = patiently(self.url, lambda: self._api.repo_info(self.repo, repo_type=self.kind).private)
        except Absent:
            if self.public:
                return f"{self.url} is made public: everybody can see it"
            return f"{self.url} is made private: only {self.repo.partition('/')[0]} can see it (--public makes a public one)"
        if private:
            kept = ", although --public is given. Make it public on the hub if that is meant" if self.public else ""
            return f"{self.url} is there and stays private{kept}"
        return f"{self.url} is there and is public: everybody can see what is pushed"

    def find(self, prefix: str) -> set[str]:
        def listed() -> set[str]:
            return set(self._api.list_repo_files(self.repo, repo_type=self.kind))

        try:
            found = patiently(self.url, listed)
        except Absent:
            return set()
        begin = f"{self._below}/" if self._below else ""
        return {path.removeprefix(begin) for path in found if path.startswith(f"{begin}{prefix}")}


def is_remote(url: str) -> bool:
    """Whether a text is an address of another machine rather than a path."""
    return re.match(r"[a-z][a-z0-9+.-]*:/", url, re.IGNORECASE) is not None and not url.startswith("file://")


def place_of(url: str) -> Place:
    """Return the place at an address or a path.

    Raises:
        UserError: the address is of an unknown kind, holds credentials, or needs a package that is not installed.
    """
    if not is_remote(url):
        return Folder(url)
    if re.match(r"[a-z]+:/(?!/)", url):
        raise UserError(f"{url}: an address begins with two slashes, such as {url.replace(':/', '://', 1)}")
    parts = urllib.parse.urlsplit(url)
    if parts.username or parts.password or parts.query or parts.fragment:
        shown = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
        raise UserError(
            f"{shown}: an address must not hold a user name, a password or a query, because it is printed and stored. Give credentials to "
            "the library that reads the address, by its environment variables or files"
        )
    if not parts.netloc:
        raise UserError(f"{url}: the address names no server or bucket")
    if url.startswith(HUB):
        return Hub(url)
    if parts.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in ("s3", "gs", "https"))
        raise UserError(f"{url}: no address of this kind is known; use a path, {known} or {HUB}USER/NAME")
    return Store(url, parts.scheme)


def place_of_run(url: str) -> Place:
    """Return the place of a trained run at an address or a path: as `place_of`, but on the hub a run is a model, `hf://USER/NAME`.

    Raises:
        UserError: as `place_of`; or the address is that of a data set.
    """
    if url.startswith(HUB):
        raise UserError(f"{url} is a data set, and a run is a model: give {MODELS}USER/NAME")
    return Hub(url) if url.startswith(MODELS) and "?" not in url and "#" not in url else place_of(url)


def snapshot(repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Fetch files of a model on the hub into the hub's own folder for such files, where they are kept, and return that folder.

    Args:
        repo: USER/NAME.
        revision: a branch, tag or commit; None for the newest state.
        patterns: patterns of the files to fetch.

    Raises:
        Absent: there is no such model, or no such revision.
        UserError: access is refused, or the connection is lost, and the files were not fetched before.
    """
    with _explained("hf"):
        import huggingface_hub

    def fetch() -> str:
        return huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=list(patterns))

    try:
        return Path(patiently(f"{MODELS}{repo}", fetch))
    except huggingface_hub.errors.LocalEntryNotFoundError as error:
        raise UserError(f"{MODELS}{repo}: the hub cannot be reached ({_said(error)}), and the model was not fetched before") from error


def hub_mixin() -> type:
    """Return `huggingface_hub.PyTorchModelHubMixin`, which gives a class of models `from_pretrained` and `save_pretrained`.

    Raises:
        UserError: the package is not installed.
    """
    with _explained("hf"):
        from huggingface_hub import PyTorchModelHubMixin
    return PyTorchModelHubMixin


@contextlib.contextmanager
def _explained(scheme: str) -> Iterator[None]:
    """Turn a missing package into a message that names the extra that has it."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"{scheme}:// needs a package that is not installed ({error}): pip install 'mmpd[remote]'") from error


def patiently(what: str, call: Callable[[], T]) -> T:
    """Call a function that uses the network, and again after a while if the connection is lost.

    Args:
        what: the address, for messages.
        call: the function.

    Raises:
        Absent: there is no such file.
        UserError: access is refused, or the connection stays lost.
    """
    begun = time.monotonic()
    for wait in (*WAITS, None):
        try:
            return call()
        except UserError:
            raise
        except Exception as error:
            # The library says of every failure of a web server that the file is not there; its cause is the truth.
            hidden = error.__cause__ if isinstance(error, FileNotFoundError) else None
            if isinstance(hidden, Exception) and type(hidden).__module__.startswith("aiohttp"):
                error = hidden
            if isinstance(error, FileNotFoundError):
                raise Absent(f"{what} is not there ({_said(error)})") from error
            status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
            if status == 404:
                raise Absent(f"{what} is not there") from error
            refused = isinstance(error, PermissionError) or "Credentials" in type(error).__name__ or status in (401, 403)
            if refused:
                raise UserError(f"{what}: access is refused ({_said(error)}). Check the address and your credentials for it") from error
            if not _passing(error, status):
                raise
            if wait is None:
                seconds = time.monotonic() - begun
                raise UserError(
                    f"{what}: the connection is lost ({_said(error)}), also after {len(WAITS) + 1} tries in {seconds:.0f} s. Check the "
                    "network and run the same command again: what has arrived is kept"
                ) from error
            time.sleep(wait)
    raise AssertionError


def _passing(error: Exception, status: Any) -> bool:
    """Whether an error comes from the network, so that it may pass."""
    library = type(error).__module__.partition(".")[0]
    if isinstance(status, int) and 400 <= status < 500 and status not in (408, 429):
        return False
    return isinstance(error, OSError) or library in NETWORK


def _said(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__


# ------------------------------------------------------------------------------------------------ what a place holds


@dataclass(frozen=True, kw_only=True)
class Described:
    """What the root of a cache at a place says about it."""

    manifest: Manifest
    records: dict[str, Record]
    """The complete products by name, in the order of making."""
    nodes: dict[str, Any]
    """Zarr's consolidated metadata: the description of every node by its place."""


def described_at(place: Place, *, being_pushed: bool = False) -> Described:
    """Read what a cache at a place holds. This reads one file.

    Everything in it may come from a stranger. Names that could lead out of a cache are refused. The layout of arrays is that of this
    software, whatever their descriptions say.

    Args:
        place: the place.
        being_pushed: whether the place may lack an index because a push was stopped, as that push finds it when it goes on.

    Raises:
        Absent: there is no cache, or none yet.
        UserError: the root is damaged, or of a format that cannot be read from afar.
    """
    where = place.address(ROOT)
    try:
        data = place.read(ROOT, ROOT_MOST)
    except Absent as error:
        raise Absent(f"{place.url} holds no complete cache: {error}") from None
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is damaged: {error}") from error
    attributes = body.get("attributes") if isinstance(body, dict) else None
    said = attributes.get(KEY) if isinstance(attributes, dict) else None
    if not isinstance(said, dict) or not isinstance(attributes, dict):
        raise UserError(f"{where} describes no cache of this project (no {KEY!r} in its attributes)")
    version = said.get("format_version")
    if version != spec.FORMAT_VERSION:
        old = "; convert it by `mmpd-cache copy` and push the copy" if version == 1 else ""
        raise UserError(f"{where} has format version {spec.short(version)}; {spec.FORMAT_VERSION} is read from afar{old}")
    manifest = records.opened(Manifest, attributes, where)
    summary = body.get("consolidated_metadata")
    nodes = summary.get("metadata") if isinstance(summary, dict) else None
    if not isinstance(nodes, dict):
        raise UserError(f"{where} has no consolidated metadata, which says what is complete")
    found = [_record(where, name.removeprefix("products/"), node) for name, node in nodes.items() if name.startswith("products/")]
    complete = {record.product: record for record in products.in_order(record for record in found if record is not None)}
    if products.INDEX.name not in complete and not being_pushed:
        raise UserError(f"{where} lists no index: a push was stopped while the index was replaced. Run that push again")
    return Described(manifest=manifest, records=complete, nodes=nodes)


def _record(where: str, name: str, node: Any) -> Record | None:
    """Return the record of a complete product from the consolidated metadata; None if the node is a group.

    Raises:
        UserError: it is damaged, or its name could not be that of a folder.
    """
    attributes = node.get("attributes") if isinstance(node, dict) else None
    if not isinstance(attributes, dict) or KEY not in attributes:
        return None
    for part in name.split("/"):
        path_name(part, f"{where}: product {spec.short(name)}")
    record = records.opened(Record, attributes, f"{where}, product {name}")
    if record.product != name:
        raise UserError(f"{where} has a record of {spec.short(record.product)} in the place of {spec.short(name)}: it is damaged")
    products.check(record)
    return record if record.complete else None


def file_most(manifest: Manifest, node: Any, shard: int) -> int:
    """Return the largest size in bytes that the file of one shard of an array can have, at most `FILE_MOST`.

    Args:
        manifest: the manifest of the cache.
        node: the array.
        shard: number of the shard.
    """
    raw = (node.rows(shard) if node.sharded else node.shard) * node.row_bytes
    chunks = 1
    for length in node.grid if node.sharded else ():
        chunks *= length
    # zstd adds at most a few bytes to each chunk of data that cannot be compressed.
    return min(int(raw + raw // 128 + 80 * chunks + 4096), FILE_MOST)
