"""Caches from strangers: every command that travels or edits refuses them by name or does them no favour, and touches nothing else."""

import contextlib
import dataclasses
import html.parser
import io
import json
import os
import re
import resource
import shutil
import signal
import socket
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from numcodecs.zstd import Zstd
from pyarrow import parquet

from cache_schema import overlay, products, spec, store, synthetic, validate
from cache_schema.copy import copy
from cache_schema.errors import UserError
from cache_schema.layout import encode, text_cells
from cache_schema.mirror import Mirror, opened
from cache_schema.selection import Selection
from cache_schema.spec import LabelSet
from pipeline import edits, publish, report
from pipeline.append import Wanted, append
from pipeline.work import Machine
from tests.pipeline.afar import Quiet

WORDS = (
    "<script>alert(1)</script>",
    "</td><img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "![p](http://x.invalid/p)",
    "a|b\n---\nlicense: cc0-1.0\n---\n# owned",
    "\x1b[2J\x1b]0;owned\x07",
    "--> <b id=owned>",
    "../../../etc/cron.d/x",
)
"""What a stranger would like a page, a terminal or a path to obey."""
SECRET = b"a secret of this machine"
ROOM = 3 << 29
"""Bytes of memory that a command may take besides what the process has."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """4 shapes in 2 shards, whose words are hostile."""
    path = tmp_path_factory.mktemp("caches") / "evil.zarr"
    labels = LabelSet(name="three", classes=WORDS, templates=("a {}",))
    cache = synthetic.write(path, shapes=4, shard=2, labels=labels, teachers=(synthetic.teacher("random-a"),))
    captions = cache.record("captions/synthetic")
    for shard in (0, 1):
        cells = np.resize(text_cells(WORDS), (2, *cache.arrays(captions)[0].shape[1:]))
        score = np.full((2, *cache.arrays(captions)[1].shape[1:]), np.nan, np.float32)
        written(cache, captions, shard, {"captions/synthetic/text": cells, "captions/synthetic/score": score})
    status = cache.record("status")
    values = {node.path: cache.shard_rows(node, 1) for node in cache.arrays(status)}
    values |= {"status": np.array([1, 2], np.uint8), "reason": text_cells(["", WORDS[1]])}
    written(cache, status, 1, values)
    image = cache.record("image/random-a")
    described = dataclasses.replace(image.spec, model=WORDS[4], licence=f"MIT\n{WORDS[0]}")
    changed(path, "image/random-a", lambda record: record.update(spec=spec.to_json(described), made_by=[["torch", WORDS[2]]]))
    return path


def written(cache, record, shard, values):
    begun = dataclasses.replace(record, complete=False, content="")
    cache.reopen(record, shard)
    cache.write(begun, shard, values)
    cache.finish(begun)


def changed(path, product, change):
    """Change a record and its copy in the root, with right checksums."""
    node = path / "products" / product / "zarr.json"
    body = json.loads(node.read_text())
    change(body["attributes"]["mmpd"])
    body["attributes"]["sha256"] = spec.hashlib.sha256(spec.canonical(body["attributes"]["mmpd"])).hexdigest()
    node.write_text(json.dumps(body))
    root = json.loads((path / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"][f"products/{product}"] = body
    (path / "zarr.json").write_text(json.dumps(root))


def root(path, **changes):
    body = json.loads((path / "zarr.json").read_text())
    body["attributes"]["mmpd"].update(changes)
    body["attributes"]["sha256"] = spec.hashlib.sha256(spec.canonical(body["attributes"]["mmpd"])).hexdigest()
    (path / "zarr.json").write_text(json.dumps(body))


def told(path, product, shard, array, data):
    """Put bytes into the place of a file, with a completion marker and a digest that tell of them."""
    cache = store.open_cache(path)
    record = cache.record(product)
    nodes = cache.arrays(record)
    place = [node.path for node in nodes].index(array)
    (path / nodes[place].key(shard)).write_bytes(data)
    sums = cache.checksums(record, shard).copy()
    sums[place] = np.frombuffer(spec.hashlib.sha256(data).digest(), np.uint8)
    marker = products.markers(cache.manifest, record)
    (path / marker.key(shard)).write_bytes(encode(marker, sums[None]))
    content = cache.content(record)
    changed(path, product, lambda said: said.update(content=content))


def linked(path, place, target):
    """Put a link into a place."""
    at = path / place
    shutil.rmtree(at) if at.is_dir() else at.unlink()
    at.symlink_to(target)


def moved(path, name):
    """Give a product the name of a place outside."""
    body = json.loads((path / "zarr.json").read_text())
    nodes = body["consolidated_metadata"]["metadata"]
    node = nodes.pop("products/image/random-a")
    record = {**node["attributes"]["mmpd"], "product": name}
    node["attributes"] |= {"mmpd": record, "sha256": spec.hashlib.sha256(spec.canonical(record)).hexdigest()}
    nodes[f"products/{name}"] = node
    (path / "zarr.json").write_text(json.dumps(body))
    changed_node = path / "products/image/random-a/zarr.json"
    changed_node.write_text(json.dumps(node))


def bomb(said=None):
    """64 KiB that unpack to 2 GiB: a frame of blocks that repeat a byte. Its header says another size, or none."""
    header = b"\x00\x70" if said is None else b"\x80\x70" + said.to_bytes(4, "little")
    block, last = ((131071 << 3 | 1 << 1 | end).to_bytes(3, "little") + b"\0" for end in (0, 1))
    return b"\x28\xb5\x2f\xfd" + header + block * (1 << 14) + last


ATTACKS = {
    "words": lambda path: None,
    "a file that is a link": lambda path: linked(path, "points/xyz/c/0/0/0/0", path.parent / "secret"),
    "a folder that is a link": lambda path: linked(path, "image", path.parent / "elsewhere"),
    "a product that is a link": lambda path: linked(path, "products/points", path.parent / "elsewhere"),
    "a pipe": lambda path: ((path / "label/c/0").unlink(), os.mkfifo(path / "label/c/0")),
    "a name that leads out": lambda path: moved(path, "image/../../../victim"),
    "a name of a root": lambda path: moved(path, "image//tmp"),
    "more shapes than there are": lambda path: root(path, shapes=10**12),
    "shards of any size": lambda path: root(path, shapes=10**9, shard=10**9),
    "a huge embedding": lambda path: changed(path, "image/random-a", lambda r: r["spec"].update(dim=2**40)),
    "huge points": lambda path: changed(path, "points", lambda r: r["spec"].update(count=2**40, ordered=1)),
    "a number of texts without end": lambda path: changed(path, "captions/synthetic", lambda r: r["spec"].update(samples=2**50, keep=1)),
    "not a number": lambda path: (path / "zarr.json").write_text((path / "zarr.json").read_text().replace('"shapes": 4', '"shapes": NaN')),
    "a bomb": lambda path: told(path, "index", 0, "label", bomb()),
    "a bomb of ids": lambda path: told(path, "index", 1, "id", bomb(512)),
    "a marker that lies": lambda path: (path / "points/xyz/c/1/0/0/0").write_bytes(bytes(100)),
    "an index of chunks that lies": lambda path: told(path, "points", 0, "points/xyz", b"\xff" * 4096),
    "labels outside the names": lambda path: told(path, "index", 0, "label", bytes(Zstd().encode(np.array([99, -7], np.int32).tobytes()))),
}


def trained(path, out):
    cache = opened(str(path), Mirror(out / "mirror", 1 << 26))
    for name in cache.products():
        cache.proven(name)
    cache.column("label"), cache.column("captions/synthetic/text")
    cache.rows("points/xyz").gather(np.arange(4))
    cache.rows("image/random-a").gather(np.arange(4))


def renamed(path, out):
    (out / "table.csv").write_text("id,class\nshape-00000,new\n")
    ids = store.open_cache(path).ids()
    (out / "table.csv").write_text(f"id,class\n{ids[0]},new\n")
    edits.relabel(path, out / "table.csv", Quiet())


def laid(path, out):
    with overlay.laid(path, out / "mine.zarr") as mine:
        cache = store.open_cache(mine)
        for name in cache.products():
            cache.proven(name)


def grown(path, out):
    (out / "more").mkdir()
    (out / "more/a.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")
    append(path, str(out / "more"), Wanted(), Machine(device="cpu"), Quiet())


COMMANDS = {
    "pull": lambda path, out: publish.pull(str(path), out / "here.zarr", terminal=Quiet()),
    "pull some": lambda path, out: publish.pull(str(path), out / "some.zarr", where=Selection.parse("split=train"), terminal=Quiet()),
    "push": lambda path, out: publish.push(path, str(out / "there.zarr"), allow_unknown=True, terminal=Quiet()),
    "train": trained,
    "copy": lambda path, out: copy(path, out / "copy.zarr"),
    "copy some": lambda path, out: copy(path, out / "part.zarr", where=Selection.parse("split=train")),
    "overlay": laid,
    "report": lambda path, out: report.write(store.open_cache(path), out / "page.html", 4),
    "verify": lambda path, out: validate.problems(path),
    "relabel": renamed,
    "append": grown,
}


@pytest.fixture(scope="module", autouse=True)
def warm():
    """Arrow reserves its memory in large pieces when it is first used: that is no cost of a command."""
    parquet.write_table(pyarrow.table({"a": [1]}), io.BytesIO())


@contextlib.contextmanager
def bounded():
    """Little memory and a minute, so that what is too large or never ends fails here."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10

    def ended(*_):
        raise TimeoutError

    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, before[1]))
    old = signal.signal(signal.SIGALRM, ended)
    signal.alarm(60)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_strangers_cache_is_refused_or_harmless_in_every_command(whole, tmp_path, attack, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", None)
    (tmp_path / "in/elsewhere").mkdir(parents=True)
    (tmp_path / "in/elsewhere/kept").write_bytes(SECRET)
    (tmp_path / "in/secret").write_bytes(SECRET)
    evil = tmp_path / "in/evil.zarr"
    shutil.copytree(whole, evil)
    ATTACKS[attack](evil)
    refused = []
    for number, (command, run) in enumerate(COMMANDS.items()):
        out = tmp_path / "out" / str(number)
        out.mkdir(parents=True)
        try:
            with bounded():
                run(evil, out)
        except UserError as error:
            assert str(error).strip() and "\x1b" not in str(error), command
            refused.append(command)
        # Nothing was written but where it belongs, and nothing of this machine got in.
        assert {p.name for p in tmp_path.iterdir()} == {"in", "out"}
        beside = {p.name for p in (tmp_path / "in").iterdir()}
        assert beside <= {"elsewhere", "secret", *(f"evil.zarr{end}" for end in ("", ".journal", ".growing", ".growing.journal"))}, command
        assert [p.name for p in (tmp_path / "in/elsewhere").iterdir()] == ["kept"] and (tmp_path / "in/secret").read_bytes() == SECRET
        for file in out.rglob("*"):
            assert file.is_symlink() is False and (not file.is_file() or SECRET not in file.read_bytes()), (command, file)
    if attack == "words":
        assert refused == ["append"]
        pages = (tmp_path / "out/2/there.zarr/README.md", tmp_path / "out/7/page.html")
        assert all("alert(1)" in page.read_text() for page in pages)  # they are there, as letters
        for page in pages:
            assert not Tags(page).found
        head = pages[0].read_text().split("---\n")
        assert head[0] == "" and "cc0" not in head[1] and "\nlicense: unknown\n" in head[1] and "owned" not in head[1]
        assert not re.search(r"(?<!\\)\]\(|^# owned|\x1b", head[2], re.MULTILINE)
    else:
        assert {"pull", "push", "train", "copy"} & {*refused}, refused


class Tags(html.parser.HTMLParser):
    """Finds elements and attributes in a page that only a stranger's words would have put there."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        said = dict(attributes)
        if "onerror" in said or "x.invalid" in said.get("src", "") or "javascript:" in said.get("href", "") or said.get("id") == "owned":
            self.found.append((tag, said))

    def handle_data(self, data):
        if self.cdata_elem == "script" and data.strip() == "alert(1)":
            self.found.append(("script", data))


def test_a_stage_or_a_mirror_with_links_is_not_followed(whole, tmp_path):
    """Links that lie where a pull or a mirror puts its files."""
    (tmp_path / "victim").mkdir()
    mirror = tmp_path / "mirror"
    Mirror(mirror, 1 << 26)
    shutil.rmtree(mirror / "files")
    (mirror / "files").symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match="link"):
        trained(whole, tmp_path)
    (tmp_path / ".new.zarr.pulling").symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match="link"):
        publish.pull(str(whole), tmp_path / "new.zarr", where=Selection.parse("split=train"), terminal=Quiet())
    assert not list((tmp_path / "victim").iterdir())
