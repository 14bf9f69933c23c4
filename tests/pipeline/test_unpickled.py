"""The reader of pickles gives back what NumPy wrote, executes nothing, and needs no more memory than a file has bytes."""

import io
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_schema.errors import UserError
from pipeline.formats import unpickled
from pipeline.sources import openshape


def read(data: bytes):
    return unpickled.unpickled(data, "f.npy")


def same(one, other) -> bool:
    if isinstance(other, dict):
        return isinstance(one, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in other)
    if isinstance(other, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(other, np.ndarray | np.generic):
        return one.dtype.newbyteorder("=") == other.dtype.newbyteorder("=") and one.shape == other.shape and np.array_equal(one, other)
    return type(one) is type(other) and one == other


VALUE = {
    "xyz": np.arange(12, dtype=np.float32).reshape(4, 3),
    "big": np.arange(6, dtype=">f8").reshape(2, 3),
    "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "half": np.arange(3, dtype=np.float16),
    "none": np.zeros((0, 3), np.float32),
    "words": np.array(["a", "längere"]),
    "raw": np.array([b"x", b"yz"]),
    "one": np.float32(2.5),
    "truth": np.array([True, False]),
    "list": [{"original": np.ones((1, 4), np.float32)}, {"original": np.zeros((1, 4), np.float32)}],
    "text": ["a chair", "", "日本語"],
    "numbers": [1, -1, 0.5, 2**40, True, None, (1, "x")],
    "bytes": b"abc",
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_numpy_pickles_comes_back(protocol):
    got = read(pickle.dumps(VALUE, protocol))
    assert same(got, VALUE)


def test_files_as_numpy_saves_them(tmp_path):
    np.save(tmp_path / "dict.npy", np.array(VALUE, dtype=object))
    np.save(tmp_path / "list.npy", np.array([{"a": 1}, {"a": 2}], dtype=object))
    np.save(tmp_path / "plain.npy", VALUE["columns"])
    assert same(unpickled.read(tmp_path / "dict.npy"), np.load(tmp_path / "dict.npy", allow_pickle=True).item())
    assert unpickled.read(tmp_path / "list.npy") == [{"a": 1}, {"a": 2}]
    assert same(unpickled.read(tmp_path / "plain.npy"), VALUE["columns"])
    assert unpickled.holds_objects(tmp_path / "dict.npy") and not unpickled.holds_objects(tmp_path / "plain.npy")


def test_the_names_of_numpy_1_and_of_python_2():
    data = pickle.dumps(VALUE["xyz"], 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core" in data and same(read(data), VALUE["xyz"])
    old = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
        b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'AB'\ntb."
    )
    assert read(old).tolist() == [65, 66]


class Call:
    """Pickles as the call of a function."""

    def __init__(self, called, *given):
        self.called, self.given = called, given

    def __reduce__(self):
        return self.called, self.given


def protocol0(text: bytes) -> bytes:
    return text + b"."


BOMB = b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b"."
ATTACKS = {
    "os.system": (pickle.dumps({"xyz": Call(os.system, "touch owned")}), "posix.system|os.system"),
    "builtins.eval": (pickle.dumps([Call(eval, "open('owned', 'w')")]), "builtins.eval"),
    "builtins.exec, protocol 0": (pickle.dumps(Call(exec, "open('owned', 'w')"), 0), "builtin"),
    "a name alone": (b"cos\nsystem\n.", "os.system"),
    "a name of parts": (b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.", "builtins.getattr"),
    "numpy.load": (pickle.dumps(Call(np.load, "owned")), "numpy.load"),
    "numpy.fromfile": (b"cnumpy\nfromfile\n(S'/etc/passwd'\ntR.", "numpy.fromfile"),
    "numpy.memmap": (b"cnumpy\nmemmap\n(S'owned'\nS'u1'\nS'w+'\nI0\n(I10\nttR.", "numpy.memmap"),
    "ndarray of a terabyte": (b"cnumpy\nndarray\n((I1099511627776\nttR.", "numpy.ndarray"),
    "reconstruct a class": (b"cnumpy.core.multiarray\n_reconstruct\n(cos\nsystem\n(I0\ntS'b'\ntR.", "os.system"),
    "reconstruct at once": (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I1073741824\ntS'b'\ntR.",
        "an array of its own kind",
    ),
    "an instance": (b"(ios\nsystem\n.", "INST"),
    "an instance by mark": (b"(cos\nsystem\nS'x'\no.", "os.system"),
    "a new object": (b"\x80\x02cnumpy\nndarray\n)\x81.", "NEWOBJ"),
    "an extension": (b"\x80\x02\x82\x01.", "EXT1"),
    "a persistent id": (b"Pmine\n.", "PERSID"),
    "a state of a dict": (b"}S'a'\nb.", "a state of a dict"),
    "a call of a text": (b"S'a'\n(tR.", "a call of a str"),
    "bytes by another code": (b"c_codecs\nencode\n(Vx\nVrot13\ntR.", "encoding"),
    "a type with fields": (
        b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR(I3\nS'|'\nN(S'a'\nt}S'a'\n(cnumpy\ndtype\n(S'O8'\nI0\nI1\ntRI0\ntsI8\nI1\nI0\ntb.",
        "an array of records",
    ),
    "a number of a megabyte": (b"\x80\x02\x8b" + struct.pack("<i", 10**6) + b"\x7f" * 10**6 + b".", "64 bits"),
    "a dict by a list": (b"}(lI1\ns.", "key of the type list"),
    "lists in lists": (BOMB, "nested"),
    "a list in itself": (b"]q\x00h\x00a.", "nested"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_by_name_and_nothing_is_executed(attack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, named = ATTACKS[attack]
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=named):
            read(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not list(tmp_path.iterdir())
    assert peak < 20_000_000 + 400 * len(data)


def test_arrays_that_are_smaller_or_larger_than_they_say():
    good = pickle.dumps(np.zeros(1000, np.uint8), 4)
    at = good.index(b"M\xe8\x03")
    for size in (b"M\xe7\x03", b"M\xe9\x03"):
        with pytest.raises(UserError, match="another number of bytes"):
            read(good[:at] + size + good[at + 3 :])
    array = pickle.dumps(np.array([{"a": 1}, [2]], dtype=object), 4)
    assert read(array) == [{"a": 1}, [2]]
    with pytest.raises(UserError, match="Python values"):
        read(pickle.dumps(np.array([[{"a": 1}], [{}]], dtype=object), 4))
    hostile = pickle.dumps(np.array([Call(os.system, "touch owned")], dtype=object), 4)
    with pytest.raises(UserError, match=r"\.system"):
        read(hostile)


def test_a_header_that_promises_a_terabyte(tmp_path):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 38,)})
    (tmp_path / "a.npy").write_bytes(file.getvalue() + b"\0" * 64)
    with pytest.raises(UserError, match="cut short"):
        unpickled.read(tmp_path / "a.npy")


def test_a_list_that_is_there_a_billion_times_is_no_array():
    inner: list = [1.0] * 1000
    for _ in range(4):
        inner = [inner] * 1000
    with pytest.raises(UserError, match="so many places"):
        read(pickle.dumps({"a": inner}, 4))
    assert unpickled.numbers_of(inner) is None
    shared = np.arange(1000.0)
    assert len(read(pickle.dumps({str(i): shared for i in range(1000)}, 4))) == 1000
    assert unpickled.numbers_of([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]] and unpickled.numbers_of([[1], [2, 3]]) is None


@pytest.mark.parametrize("value", ["a \ud800 b", {"\udfff": 1}, {"a": ["b", "\ud800"]}, {"a": np.array(["x"])}, np.array("x")])
@pytest.mark.parametrize("protocol", [2, 5])
def test_texts_that_are_no_unicode_are_refused(value, protocol, tmp_path):
    data = pickle.dumps(value, protocol)
    if "numpy" in repr(data):
        good, bad = "x".encode("utf-32-le"), b"\xff\xff\xff\xff" if protocol == 5 else b"\x00\xd8\x00\x00"
        if protocol == 2:  # it writes bytes as Latin-1 in UTF-8
            good, bad = good, bad.decode("latin-1").encode()
        assert data.count(good) == 1
        data = data.replace(good, bad) if len(good) == len(bad) else data.replace(b"\x04\0\0\0" + good, b"\x05\0\0\0" + bad)
    with pytest.raises(UserError, match=r"f\.npy has (a text with half of a surrogate pair|texts with the number 0x(ffffffff|d800))"):
        read(data)


@pytest.mark.parametrize("order", "<>")
def test_arrays_of_texts_that_are_no_unicode_are_refused(order, tmp_path):
    for code in (0xD800, 0xDFFF, 0x110000, 0xFFFFFFFF):
        np.save(tmp_path / "a.npy", np.array([65, code], f"{order}u4").view(f"{order}U1"))
        with pytest.raises(UserError, match=f"a.npy has texts with the number {code:#x}"):
            unpickled.read(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([0xD7FF, 0xE000, 0x10FFFF, 0], f"{order}u4").view(f"{order}U2"))
    assert unpickled.read(tmp_path / "a.npy").tolist() == ["\ud7ff\ue000", "\U0010ffff"]


WHOLE = pickle.dumps(openshape.sample(np.random.default_rng(0), "a", points=2, dim=2, views=1), 4)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255), st.booleans())
def test_a_damaged_file_is_an_error_for_the_user_or_another_value(place, byte, cut):
    data = WHOLE[:place] if cut else WHOLE[:place] + bytes([byte]) + WHOLE[place + 1 :]
    try:
        read(data)
    except UserError as error:
        assert str(error).startswith("f.npy ")
    else:
        assert not cut
