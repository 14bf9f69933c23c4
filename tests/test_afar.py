"""Training from an S3 server through a mirror gives the losses of training from the local cache, bit for bit."""

import json

import numpy as np
import pytest

from cache_schema import remote, store, synthetic
from cache_schema.errors import UserError
from cache_schema.mirror import shard_bytes
from cache_schema.spec import PointSpec
from pipeline import publish
from tests.figures import undrawn_curves  # noqa: F401
from tests.pipeline.afar import Quiet, s3_server
from tests.trainer.conftest import LABELS, config_of
from trainer.loop import train

SHARD = 4
"""Number of shapes in a shard."""


@pytest.fixture(scope="module")
def lab():
    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as counter:
        yield counter


@pytest.fixture(scope="module")
def cache(lab, tmp_path_factory):
    """32 shapes in 8 shards, here and on the server."""
    path = tmp_path_factory.mktemp("caches") / "a.zarr"
    synthetic.write(path, shapes=32, shard=SHARD, points=PointSpec(count=64, blocks=2, ordered=32), labels=LABELS)
    publish.push(path, "s3://lab/a.zarr", allow_unknown=True, terminal=Quiet())
    return path


def losses(cache, run, *settings):
    train(config_of("align", "optim.batch=4", "optim.epochs=3", *settings), [cache], run, device="cpu")
    with open(run / "metrics.jsonl") as file:
        return [{name: value for name, value in json.loads(line).items() if "loss" in name or "grad" in name} for line in file]


@pytest.fixture(scope="module")
def local(cache, tmp_path_factory):
    """The losses of training from the local cache."""
    return losses(cache, tmp_path_factory.mktemp("runs") / "local")


def read_sizes(path):
    """Bytes of each shard of the arrays that training reads, largest first, one list for each array."""
    cache = store.open_cache(path)
    nodes = [cache.node(name) for name in ("points/xyz", "points/rgb", "image/random-a", "image/random-b", "text/synthetic/random-a")]
    used = np.unique(np.flatnonzero(cache.column("split") == 0) // SHARD).tolist()
    return {node.path: [shard_bytes(node, shard) for shard in used] for node in nodes}


def test_losses_are_those_of_the_local_cache(cache, lab, local, tmp_path):
    assert len(local) > 10
    sizes = read_sizes(cache)
    lab.reset()
    assert losses("s3://lab/a.zarr", tmp_path / "roomy", f"data.mirror={tmp_path / 'm'}") == local
    # Each file came once, and no file that training does not read.
    got = {path.removeprefix("/lab/a.zarr/"): size for path, size in lab.got.items()}
    arrays = {name: sum(size for key, size in got.items() if key.startswith(f"{name}/c/")) for name in sizes}
    assert arrays["image/random-a"] == sum(sizes["image/random-a"])
    assert all(arrays[name] in (0, sum(those)) for name, those in sizes.items())
    assert not [key for key in got if key.startswith(("guide", "points/normal", "labels/three"))]
    # The same mirror serves the next run, which fetches only the root.
    lab.reset()
    assert losses("s3://lab/a.zarr", tmp_path / "again", f"data.mirror={tmp_path / 'm'}") == local
    assert set(lab.got) == {"/lab/a.zarr/zarr.json"}


def test_a_mirror_that_must_drop_files_gives_the_same_losses(cache, lab, local, tmp_path):
    with pytest.raises(UserError, match="is the least that works") as caught:
        losses("s3://lab/a.zarr", tmp_path / "run", f"data.mirror={tmp_path / 'm'}", "data.mirror_limit=9KiB")
    least = str(caught.value).partition("data.mirror_limit=")[2].partition(" ")[0]
    lab.reset()
    assert losses("s3://lab/a.zarr", tmp_path / "tight", f"data.mirror={tmp_path / 'm'}", f"data.mirror_limit={least}") == local
    assert sum(lab.got.values()) > 2 * sum(map(sum, read_sizes(cache).values()))  # files did come again


def test_data_in_memory_need_no_room_in_the_mirror(cache, lab, local, tmp_path):
    """A mirror may be too small for the files of a batch: data that is held in memory is read from it only once."""
    lab.reset()
    mirror = f"data.mirror={tmp_path / 'm'}", "data.mirror_limit=9KiB"
    assert losses("s3://lab/a.zarr", tmp_path / "run", "data.resident=device", *mirror) == local
    # Files come at most twice: to be looked at, and, if others took their room meanwhile, to be loaded. No epoch fetches any again.
    assert sum(lab.got.values()) < 3 * sum(map(sum, read_sizes(cache).values()))


def test_addresses_and_mirrors_belong_together(cache, tmp_path):
    with pytest.raises(UserError, match=r"data\.mirror=DIR"):
        losses("s3://lab/a.zarr", tmp_path / "run")
    with pytest.raises(UserError, match=r"data\.mirror would have no effect"):
        losses(cache, tmp_path / "run", f"data.mirror={tmp_path / 'm'}")


def test_a_server_that_goes_away_ends_the_run_with_its_name(cache, lab, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "WAITS", (0.01,))
    read = remote.Store._bounded

    def gone(self, path, most):
        if "a.zarr/image/random-b/c/" in path:
            raise ConnectionResetError("reset by peer")
        return read(self, path, most)

    monkeypatch.setattr(remote.Store, "_bounded", gone)
    with pytest.raises(UserError, match=r"s3://lab/a.zarr/image/random-b/c/\d+/0/0: the connection is lost .*reset by peer.* 2 tries"):
        losses("s3://lab/a.zarr", tmp_path / "run", f"data.mirror={tmp_path / 'm'}")
