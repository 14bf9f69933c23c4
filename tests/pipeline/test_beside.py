"""Files beside a shape's own count: a changed one is noticed, a missing one that appears is read, and both end with the right bytes."""

import base64
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache_schema import spec, store, validate
from cache_schema.layout import texts
from pipeline import reading
from pipeline.retry import retry
from pipeline.work import Machine
from pipeline.worker import Task, make
from tests.pipeline.conftest import Silent, build, contents, small

CPU = Machine(workers=1, device="cpu")
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
FACES = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]], np.uint32)
FEW = small(teachers=("starter-resnet",), captions=None, labels=())


def picture(color: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (2, 2), color).save(stream, "png")
    return stream.getvalue()


def binary(size: float) -> bytes:
    return (CORNERS * [1, size, 1]).astype("<f4").tobytes() + FACES.astype("<u4").tobytes() + CORNERS[:, :2].astype("<f4").tobytes()


def gltf(folder: Path) -> None:
    views = [{"buffer": 0, "byteOffset": start, "byteLength": size} for start, size in ((0, 48), (48, 48), (96, 32))]
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
        {"bufferView": 1, "componentType": 5125, "count": 12, "type": "SCALAR"},
        {"bufferView": 2, "componentType": 5126, "count": 4, "type": "VEC2"},
    ]
    primitive = {"attributes": {"POSITION": 0, "TEXCOORD_0": 2}, "indices": 1, "material": 0}
    document = {
        "asset": {"version": "2.0"},
        "buffers": [{"uri": "a.bin", "byteLength": 128}],
        "bufferViews": views,
        "accessors": accessors,
        "images": [{"uri": "skin.png"}],
        "textures": [{"source": 0}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "meshes": [{"primitives": [primitive]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }
    (folder / "a.gltf").write_text(json.dumps(document))
    (folder / "a.bin").write_bytes(binary(1))
    (folder / "skin.png").write_bytes(picture((200, 30, 30)))


def obj(folder: Path) -> None:
    lines = ["mtllib b.mtl", *(f"v {x} {y} {z}" for x, y, z in CORNERS), "usemtl m", *(f"f {a + 1} {b + 1} {c + 1}" for a, b, c in FACES)]
    (folder / "b.obj").write_text("\n".join(lines) + "\n")
    (folder / "b.mtl").write_text("newmtl m\nKd 0.2 0.9 0.1\n")


@pytest.fixture
def mine(tmp_path):
    folder = tmp_path / "shapes"
    folder.mkdir()
    gltf(folder)
    obj(folder)
    (folder / "c.off").write_text("OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n")
    return folder


REPLACED: dict[str, tuple[str, bytes]] = {
    "a.bin": ("a.gltf", binary(3)),
    "skin.png": ("a.gltf", picture((10, 20, 220))),
    "b.mtl": ("b.obj", b"newmtl m\nKd 0.9 0.1 0.2\n"),
}


def reasons(path: Path) -> dict[str, str]:
    cache = store.open_cache(path)
    failed = cache.column("status") == spec.FAILED
    return {i: r for i, r, f in zip(cache.ids(), texts(cache.column("reason")), failed, strict=True) if f}


def test_a_replaced_file_beside_a_shape_fails_that_shape_alone_until_it_is_restored_or_taken_as_it_is(mine, tmp_path, monkeypatch):
    """Each file in turn, on copies of one cache of points. What follows is the same for all, and is done with one of them."""
    points, fresh = tmp_path / "points.zarr", tmp_path / "fresh.zarr"
    build(mine, points, dataclasses.replace(FEW, views=None, teachers=()))
    assert reasons(points) == {}
    build(mine, fresh, FEW)
    for name, (shape, data) in REPLACED.items():
        path, before = tmp_path / f"{name}.zarr", (mine / name).read_bytes()
        shutil.copytree(points, path)
        shutil.copy(f"{points}.journal", f"{path}.journal")
        (mine / name).write_bytes(data)
        build(mine, path, FEW)
        assert list(reasons(path)) == [shape]
        assert reasons(path)[shape].startswith("its file, or one beside it, has changed since its points were made; restore it")
        assert validate.problems(path) == []
        if shape == "b.obj":
            taken_as_it_is(mine, path, tmp_path, monkeypatch)
        (mine / name).write_bytes(before)
        build(mine, path, FEW)
        assert contents(path) == contents(fresh)


def taken_as_it_is(mine: Path, path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command and `retry` make the failed shape anew from the file as it is now."""
    shutil.copytree(path, folder / "other.zarr")
    shutil.copytree(path, folder / "third.zarr")
    lines: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(Silent, "say", lambda _, text: lines.append(text))
        build(mine, folder / "third.zarr", FEW)
    assert "1 shape had failed because of files that changed after the points were made: made again from the files as they are now" in lines
    assert retry(folder / "other.zarr", str(mine), CPU, Silent()).mended == 1
    build(mine, folder / "fresh2.zarr", FEW)
    assert contents(folder / "other.zarr") == contents(folder / "fresh2.zarr")


def test_a_missing_file_beside_a_shape_that_appears_is_read_by_the_same_build(mine, tmp_path):
    path, points = tmp_path / "c.zarr", dataclasses.replace(FEW, views=None, teachers=())
    build(mine, tmp_path / "right.zarr", points)
    away = tmp_path / "away"
    away.mkdir()
    for name in REPLACED:
        (mine / name).rename(away / name)
    build(mine, path, points)
    assert list(reasons(path)) == ["a.gltf", "b.obj"]
    untouched = contents(path)
    build(mine, path, points)  # still not there
    assert contents(path) == untouched
    (away / "a.bin").rename(mine / "a.bin")
    build(mine, path, points)
    assert "skin.png" in reasons(path)["a.gltf"]  # the next that is missing
    for name in ("skin.png", "b.mtl"):
        (away / name).rename(mine / name)
    build(mine, path, points)
    assert contents(path) == contents(tmp_path / "right.zarr")


def test_a_texture_that_a_shape_went_without_and_that_is_there_later_is_noticed(mine, tmp_path):
    path = tmp_path / "c.zarr"
    grey = dataclasses.replace(FEW, source=dataclasses.replace(FEW.source, textures="grey"))
    skin = (mine / "skin.png").read_bytes()
    (mine / "skin.png").unlink()
    build(mine, path, dataclasses.replace(grey, views=None, teachers=()))
    assert reasons(path) == {}
    (mine / "skin.png").write_bytes(skin)
    build(mine, path, grey)
    assert list(reasons(path)) == ["a.gltf"]


def dae(picture: str) -> str:
    return f"""<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1"><library_images><image id="i"><init_from>
{picture}</init_from></image></library_images><library_effects><effect id="e">
<profile_COMMON><newparam sid="s"><surface type="2D"><init_from>i
</init_from></surface></newparam><newparam sid="p"><sampler2D><source>s</source></sampler2D></newparam><technique sid="t"><lambert><diffuse>
<texture texture="p" texcoord="u"/></diffuse></lambert></technique></profile_COMMON></effect></library_effects><library_materials>
<material id="m"><instance_effect url="#e"/></material></library_materials><library_geometries><geometry id="g"><mesh><source id="x">
<float_array id="y" count="9">0 0 0 1 0 0 0 1 0</float_array><technique_common><accessor source="#y" count="3" stride="3"><param name="X"
type="float"/><param name="Y" type="float"/><param name="Z" type="float"/></accessor></technique_common></source><source id="w"><float_array
id="z" count="6">0 0 1 0 0 1</float_array><technique_common><accessor source="#z" count="3" stride="2"><param name="S" type="float"/><param
name="T" type="float"/></accessor></technique_common></source><vertices id="v"><input semantic="POSITION" source="#x"/></vertices><triangles
count="1" material="k"><input semantic="VERTEX" source="#v" offset="0"/><input semantic="TEXCOORD" source="#w" offset="0" set="0"/><p>0 1 2
</p></triangles></mesh></geometry></library_geometries><library_visual_scenes><visual_scene id="n"><node><instance_geometry url="#g">
<bind_material><technique_common><instance_material symbol="k" target="#m"/></technique_common></bind_material></instance_geometry></node>
</visual_scene></library_visual_scenes><scene><instance_visual_scene url="#n"/></scene></COLLADA>""".replace("\n", " ")


LACKING: dict[str, Callable[[Path], None]] = {
    "a.gltf": lambda folder: gltf(folder) or (folder / "a.bin").unlink(),  # type: ignore[func-returns-value]
    "b.obj": lambda folder: obj(folder) or (folder / "b.mtl").unlink(),  # type: ignore[func-returns-value]
    "c.dae": lambda folder: (folder / "c.dae").write_text(dae("gone.png")) and None,
}


@pytest.mark.parametrize("name", LACKING)
def test_every_format_says_that_a_file_is_missing_and_not_that_the_shape_is_bad(tmp_path, name):
    LACKING[name](tmp_path)
    with pytest.raises(reading.Missing, match="is missing"):
        reading.load(tmp_path / name, up="y", textures="require")


def test_the_digest_is_of_names_and_contents_and_not_of_places(tmp_path):
    here, there, alone = (tmp_path / name for name in ("here", "there", "alone"))
    for folder in (here, there, alone):
        folder.mkdir()
    obj(here)
    obj(there)
    (there / "materials").mkdir()
    (there / "b.mtl").rename(there / "materials" / "b.mtl")
    digests = [reading.load(folder / "b.obj", up="y", textures="require").beside for folder in (here, there)]
    assert digests[0] == digests[1] and len(digests[0]) == 32
    gltf(alone)
    document = json.loads((alone / "a.gltf").read_text())
    for one, kind in ((document["buffers"][0], "application/octet-stream"), (document["images"][0], "image/png")):
        one["uri"] = f"data:{kind};base64,{base64.b64encode((alone / one['uri']).read_bytes()).decode()}"
    (alone / "a.gltf").write_text(json.dumps(document))
    assert reading.load(alone / "a.gltf", up="y", textures="require").beside == b""


def test_a_shape_without_files_beside_it_has_the_digest_of_its_file(mine):
    from pipeline.sources.catalog import open_source

    source = open_source(str(mine))
    task = Task(reader=source.reader, points=FEW.points, views=None)
    for entry in source.entries:
        made = make(task, entry, None)
        assert not made.reason
        assert (made.source_sha256 == source.reader.digest(entry)) == (entry.id == "c.off")
