"""Files of others: weights come out of whatever they are wrapped in, nothing of a file runs, and what is no checkpoint is named."""

import argparse
import collections
import datetime
import io
import json
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch

from trainer import foreign

WEIGHTS = {"blocks.0.weight": torch.arange(6.0).reshape(2, 3), "blocks.0.bias": torch.ones(2), "norm.steps": torch.tensor(7)}


class EasyDict(dict):
    """As of the package of that name: a dictionary with attributes."""

    def __init__(self, values):
        super().__init__(values)
        self.__dict__.update(values)


class Meter(list):
    pass


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(3, 2)])
        self.register_buffer("steps", torch.tensor(7))


BESIDE = {
    "numpy float": np.float64(0.5),
    "numpy int32": np.int32(3),
    "numpy bool": np.bool_(True),
    "numpy array": np.arange(4, dtype=np.int16),
    "big-endian array": np.arange(4, dtype=">f4"),
    "array of objects": np.array([{"a": 1}, None], object),
    "defaultdict": collections.defaultdict(list, {"loss": [1.0]}),
    "EasyDict": EasyDict({"lr": 0.1}),
    "Namespace": argparse.Namespace(lr=0.1),
    "list of a class": Meter([1, 2]),
    "path": pathlib.PurePosixPath("/somewhere"),
    "date": datetime.datetime(2020, 1, 1),
    "set": {1, 2},
    "counter": collections.Counter("aab"),
    "dtype": torch.float16,
    "device": torch.device("cpu"),
    "size": torch.Size([2, 3]),
    "function": os.path.join,
    "optimiser": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
}


def saved(path, value, **options):
    torch.save(value, path, **options)
    return path


def same(found, weights=WEIGHTS):
    return found.keys() == weights.keys() and all(torch.equal(found[name], value) for name, value in weights.items())


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_lies_beside_the_weights(tmp_path, name, zipped):
    value = {"config": BESIDE[name], "optimizer": BESIDE[name], "epoch": 3, "model": WEIGHTS}
    assert same(foreign.read(saved(tmp_path / "a.pth", value, _use_new_zipfile_serialization=zipped)))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickles(tmp_path, protocol):
    assert same(foreign.read(saved(tmp_path / "a.pth", {"state_dict": WEIGHTS, "set": {1}}, pickle_protocol=protocol)))


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.ckpt", "a.pth.tar", "a.bin", "a", "a.safetensors"])
def test_the_name_of_a_file_says_nothing(tmp_path, name):
    assert same(foreign.read(saved(tmp_path / name, WEIGHTS)))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "base_model",
        "state_dict",
        "model_state_dict",
        "model",
        "model_ema",
        "ema",
        "net",
        "network",
        "student",
        "checkpoint.model",
        "model.state_dict",
        "ema.module",
        "a.b.c",
        "epoch_3",
        "config_model",
        "best_metric_model",
    ],
)
def test_wherever_the_weights_lie(tmp_path, path):
    value = WEIGHTS
    for key in reversed(path.split(".") if path else []):
        value = {key: value, "epoch": torch.tensor(3), "optimizer": {"state": {"m": torch.ones(9)}}}
    assert same(foreign.read(saved(tmp_path / "a.pth", value)))


@pytest.mark.parametrize("kind", [collections.OrderedDict, EasyDict, lambda w: collections.defaultdict(int, w)])
def test_whatever_kind_of_dictionary(tmp_path, kind):
    assert same(foreign.read(saved(tmp_path / "a.pth", {"model": kind(WEIGHTS)})))


def test_parameters_arrays_views_and_whole_models(tmp_path):
    parameters = {name: torch.nn.Parameter(value, requires_grad=value.is_floating_point()) for name, value in WEIGHTS.items()}
    assert same(foreign.read(saved(tmp_path / "a.pth", parameters)))
    arrays = {name: value.numpy() for name, value in WEIGHTS.items()}
    assert same(foreign.read(saved(tmp_path / "b.pth", {"weights": arrays})))
    assert foreign.read(tmp_path / "b.pth")["norm.steps"].shape == ()
    scalar = {"norm.mean": np.zeros(2), "norm.steps": np.int64(7), "best": np.float64(0.5)}
    assert same(foreign.read(saved(tmp_path / "s.pth", scalar)), {"norm.mean": torch.zeros(2).double(), "norm.steps": torch.tensor(7)})
    swapped = {"w": np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))}
    assert same(foreign.read(saved(tmp_path / "c.pth", swapped)), {"w": torch.arange(6.0).reshape(2, 3)})
    view = {"w": torch.arange(6.0).reshape(2, 3).T}
    assert same(foreign.read(saved(tmp_path / "d.pth", view)), view)
    model = Model()
    assert same(foreign.read(saved(tmp_path / "e.pth", {"model": model, "epoch": 1})), dict(model.state_dict()))


def test_two_that_differ_are_asked_about(tmp_path):
    other = {name: value + 1 for name, value in WEIGHTS.items()}
    file = saved(tmp_path / "a.pth", {"model": WEIGHTS, "model_ema": other, "optimizer": {}})
    with pytest.raises(ValueError, match="holds weights under model, model_ema, which differ: say which to take by --key NAME"):
        foreign.read(file)
    assert same(foreign.read(file, "model_ema"), other)
    assert same(foreign.read(file, "model"))
    with pytest.raises(ValueError, match="has nothing called 'modle'; did you mean 'model'"):
        foreign.read(file, "modle")
    with pytest.raises(ValueError, match="holds no weights by name under 'optimizer'"):
        foreign.read(file, "optimizer")
    nested = saved(tmp_path / "b.pth", {"a": {"x": WEIGHTS, "y": other}})
    assert same(foreign.read(nested, "a.y"), other)
    assert same(foreign.read(saved(tmp_path / "c.pth", {"model": WEIGHTS, "model_ema": dict(WEIGHTS)})))


class Attack:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_runs(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    attacks = [
        Attack(os.system, ("touch ran",)),
        Attack(eval, ("open('ran', 'w')",)),
        Attack(exec, ("open('ran', 'w')",)),
        Attack(open, ("ran", "w")),
        Attack(pathlib.Path.touch, (pathlib.Path("ran"),)),
        Attack(getattr, ("os", "system")),
        Attack(torch.storage._load_from_bytes, (b"x",)),
        Attack(torch.load, ("x",)),
        Attack(np.load, ("x",)),
        Attack(__import__, ("os",)),
    ]
    for attack in attacks:
        assert same(foreign.read(saved(tmp_path / "a.pth", {"model": WEIGHTS, "x": attack}, _use_new_zipfile_serialization=zipped)))
    assert not (tmp_path / "ran").exists()


def _zip(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return out.getvalue()


def _torch(**options):
    out = io.BytesIO()
    torch.save(WEIGHTS, out, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: its download failed"),
        (b"\0" * 4096, "is nothing but zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is a pointer of git-lfs and not the file itself"),
        (b"<!DOCTYPE html><html><head></head></html>", "is a web page and not the file"),
        (b"\n\n  <html>", "is a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error/>", "is a web page"),
        (b'{"error": "not found"}', "is JSON text"),
        (b"Not Found", r"is no checkpoint of PyTorch and no safetensors, judging by its first bytes \(b'Not Foun'\)"),
        (b"\x1f\x8b\x08\0\0\0", "is packed by gzip: unpack it first"),
        (b"\x89HDF\r\n\x1a\n", "is HDF5"),
        (b"\x93NUMPY\1\0", "is one array of NumPy"),
        (_zip(**{"folder/model.pth": b"x", "readme.md": b"y"}), r"is a zip of other files \(folder/model.pth, readme.md\): unpack it"),
        (_zip(**{"a/data.pkl": b"x", "a/constants.pkl": b"y", "a/code/x.py": b""}), "is a TorchScript program"),
        (_torch()[:500], "is cut short: it begins as a checkpoint, and its end is missing"),
        (_torch(_use_new_zipfile_serialization=False)[:-20], "is cut short or damaged"),
        (_torch(_use_new_zipfile_serialization=False)[:100], "is cut short or damaged"),
        (pickle.dumps({"a.weight": [1.0]}), r"is a plain pickle, not of torch\.save"),
        (pickle.dumps({"a.weight": np.ones(3)}, protocol=2), r"is a plain pickle, not of torch\.save"),
        (b"\x80\x02garbage", "is cut short or damaged"),
        (b"\x40\0\0\0\0\0\0\0{" + b" " * 20, "is cut short or damaged"),
    ],
)
def test_what_is_no_checkpoint_is_named_by_its_first_bytes(tmp_path, content, message):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        foreign.read(tmp_path / "a.pth")
    assert "weights_only" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_flipped_bit_is_noticed_wherever_there_is_a_checksum(tmp_path):
    content = _torch()
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        for entry in opened.infolist():
            place = content.index(opened.read(entry), entry.header_offset + 30 + len(entry.filename))
            flipped = bytearray(content)
            flipped[place + entry.file_size - 1] ^= 16
            (tmp_path / "a.pth").write_bytes(flipped)
            with pytest.raises(ValueError, match=rf"is damaged: its part {entry.filename} is not what was saved"):
                foreign.read(tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes(content)
    assert not foreign.unchecked(tmp_path / "a.pth") and same(foreign.read(tmp_path / "a.pth"))


def test_a_file_without_checksums_is_read_with_a_note(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        (tmp_path / "a.pth").write_bytes(_torch())
    finally:
        torch.serialization.set_crc32_options(before)
    assert same(foreign.read(tmp_path / "a.pth")) and "was saved without checksums" in foreign.unchecked(tmp_path / "a.pth")
    assert not foreign.unchecked(saved(tmp_path / "b.pth", WEIGHTS, _use_new_zipfile_serialization=False))


def test_an_unknown_type_of_tensor_is_named_so(tmp_path):
    with pytest.raises(ValueError, match="holds a type of tensor that is not known here, perhaps float8"):
        foreign.read(saved(tmp_path / "a.pth", {"w": torch.ones(3).to(torch.float8_e4m3fn)}))


def test_at_most_eight_names_are_listed(tmp_path):
    many = {f"part{i:02}": {"w": torch.full((1,), float(i))} for i in range(20)}
    with pytest.raises(ValueError, match=r"under part00, .*part07 and 12 more, which differ: .*--key NAME"):
        foreign.read(saved(tmp_path / "a.pth", many))
    with pytest.raises(ValueError, match=r"has nothing called 'missing'; there is: layer0, .*layer7 and 192 more$"):
        foreign.read(saved(tmp_path / "b.pth", {f"layer{i}.weight": torch.ones(1) for i in range(200)}), "missing")


def test_what_has_no_weights_says_what_it_has(tmp_path):
    with pytest.raises(ValueError, match="holds no weights by name; it holds a list"):
        foreign.read(saved(tmp_path / "a.pth", [torch.ones(2)]))
    with pytest.raises(ValueError, match="holds no weights by name; it holds 'epoch', 'config'"):
        foreign.read(saved(tmp_path / "b.pth", {"epoch": 3, "config": json.dumps({})}))
    with pytest.raises(ValueError, match="is no file"):
        foreign.read(tmp_path / "nothing.pth")
