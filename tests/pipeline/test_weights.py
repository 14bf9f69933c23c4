"""Where weights are found, what is downloaded, and how they are identified."""

import json
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

from pipeline import weights

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def hub(monkeypatch, tmp_path):
    """An empty hub cache and no network."""

    class Nowhere:
        def model_info(self, *args, **kwargs):
            raise ConnectionError("no route\nto anywhere")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "HfApi", Nowhere)
    return tmp_path / "hub"


def cached(hub, *names, repo="some/model", commit=SHA):
    root = hub / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    folder = root / "snapshots" / commit
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"{}")
    return folder


def test_digest_is_of_names_types_shapes_and_bytes():
    state = {"b": torch.arange(4.0), "a": torch.tensor(3, dtype=torch.bfloat16)}
    assert weights.digest(state) == weights.digest(dict(reversed(state.items())))
    others = [
        {**state, "b": torch.tensor([0.0, 1, 2, 4])},
        {**state, "b": torch.arange(4.0).view(2, 2)},
        {**state, "b": torch.arange(4.0).view(torch.int32)},
        {"c": state["b"], "a": state["a"]},
        {"a": state["a"]},
    ]
    assert len({weights.digest(s) for s in [state, *others]}) == 6
    assert weights.digest({"t": torch.arange(6).view(2, 3).t()}) == weights.digest({"t": torch.tensor([[0, 3], [1, 4], [2, 5]])})


def test_a_local_folder_is_itself(tmp_path):
    assert weights.folder(str(tmp_path), "") == (tmp_path, "")
    with pytest.raises(ValueError, match="no folder"):
        weights.folder(str(tmp_path / "nowhere"), "")


@pytest.mark.parametrize("revision", ["", "main", SHA])
def test_the_cache_is_enough(hub, revision):
    folder = cached(hub, "config.json", "model.safetensors")
    assert weights.folder("some/model", revision) == (folder, SHA)


def test_the_second_kind_of_weights_is_taken_where_the_first_is_not(hub):
    folder = cached(hub, "config.json", "pytorch_model.bin")
    assert weights.folder("some/model", "") == (folder, SHA)


def test_half_a_checkpoint_is_not_taken(hub):
    folder = cached(hub, "config.json", "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="no weights of some/model"):
        weights.folder("some/model", "")
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"")
    assert weights.folder("some/model", "") == (folder, SHA)


def test_the_message_says_what_where_and_how(hub):
    with pytest.raises(ValueError) as caught:
        weights.folder("some/model", "v1")
    message = str(caught.value)
    assert "no weights of some/model at v1" in message
    assert str(hub) in message
    assert "ConnectionError: no route)" in message
    assert "`hf download some/model --revision v1`" in message


def test_offline_never_asks(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub, "HfApi", None)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE"):
        weights.folder("some/model", "")


@pytest.mark.parametrize(
    ("there", "fetched"),
    [
        (
            ["config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.safetensors", "README.md"],
            ["README.md", "config.json", "model.safetensors"],
        ),
        (["config.json", "pytorch_model.bin", "flax_model.msgpack"], ["config.json", "pytorch_model.bin"]),
    ],
)
def test_a_download_takes_one_kind_of_weights(hub, monkeypatch, there, fetched):
    asked = []

    class Hub:
        def model_info(self, repo, *, revision, timeout):
            assert timeout > 0
            return SimpleNamespace(sha=SHA, siblings=[SimpleNamespace(rfilename=name) for name in there])

    real = huggingface_hub.snapshot_download

    def snapshot_download(repo, *, revision, allow_patterns, local_files_only=False, **options):
        if local_files_only:
            return real(repo, revision=revision, allow_patterns=allow_patterns, local_files_only=True, **options)
        asked.append((repo, revision))
        return str(cached(hub, *allow_patterns))

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    folder, commit = weights.folder("some/model", "main")
    assert (asked, commit) == ([("some/model", SHA)], SHA)
    assert sorted(path.name for path in folder.iterdir()) == fetched
    assert weights.folder("some/model", "main") == (folder, SHA)
    assert len(asked) == 1


def test_a_repository_without_weights_is_said_to_have_none(hub, monkeypatch):
    info = SimpleNamespace(sha=SHA, siblings=[SimpleNamespace(rfilename="README.md")])
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: SimpleNamespace(model_info=lambda *args, **kwargs: info))
    with pytest.raises(ValueError, match=r"the hub has no \*.safetensors or \*.bin there"):
        weights.folder("some/model", "")


def test_a_name_too_long_for_a_file_is_no_shipped_model():
    assert not weights.is_shipped("x" * 300) and not weights.is_shipped("ü" * 200)
