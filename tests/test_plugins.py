"""What other installed packages add by entry points: the five kinds, broken ones, names that are taken, and what records say of them."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cache_schema import plugins, store
from cache_schema.errors import UserError
from cache_schema.spec import PointSpec

ENCODER = """
import dataclasses
from trainer.encoders.pointmae import CONFIGS as THEIRS, PointMAE
CONFIGS = {"demo-tiny": dataclasses.replace(THEIRS["pointmae-tiny"], dim=24, depth=1, heads=2, embed=(8, 8, 8), group_size=8)}
build = PointMAE
"""
TASK = """
from trainer.tasks.knn import SMOKE, Options, run
"""
SOURCE = """
import hashlib
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from pipeline.geometry import Cloud
from pipeline.sources.catalog import Entry, Source
LOOKS_FOR = "a folder of .demo files, each with the radius of a ball"
def recognises(location):
    return any(Path(location).glob("*.demo"))
@dataclass(frozen=True)
class Reader:
    location: str
    kind: str = "demo"
    textures: str = "require"
    options: tuple = ()
    def digest(self, entry):
        return hashlib.sha256(Path(self.location, entry.locator).read_bytes()).digest()
    def read(self, entry):
        points = np.random.default_rng(0).normal(size=(500, 3))
        points *= float(Path(self.location, entry.locator).read_text()) / np.linalg.norm(points, axis=1, keepdims=True)
        return Cloud(points=points.astype(np.float32))
def open_source(location, *, textures):
    files = sorted(Path(location).glob("*.demo"))
    return Source.of(Reader(str(Path(location).absolute())), [Entry(id=f.stem, locator=f.name, label="ball") for f in files])
"""
CAPTIONER = """
from cache_schema.spec import CaptionSpec
PACKAGES = ()
SPEC = CaptionSpec(name="", captioner="", samples=2)
class Demo:
    def __init__(self, spec):
        self.spec = spec
    def caption(self, images, keys, names):
        return [[f"a demo {key}", "a demo"][: self.spec.samples] for key in keys]
def load(spec, *, device):
    return Demo(spec)
"""
TEACHER = """
import torch
from cache_schema.spec import TeacherSpec
PACKAGES = ()
class Demo:
    def __init__(self, spec):
        self.spec = spec
    def preprocess(self, image):
        return torch.from_numpy(image[:8, :8].transpose(2, 0, 1) / 255).float()
    def embed_images(self, pixels):
        return pixels.flatten(1)[:, :2]
    def embed_texts(self, texts):
        return torch.tensor([[len(text), text.count("a")] for text in texts]).float()
def load(model, *, name, revision, device, precision):
    return Demo(TeacherSpec(
        name=name, backend="demo", model=model, revision=revision, weights="w", preprocess="p", dim=2, text=True, image_size=8
    ))
"""
KINDS = {"encoder": ENCODER, "task": TASK, "source": SOURCE, "captioner": CAPTIONER, "teacher": TEACHER}
OURS = {
    "encoders": "trainer.encoders.catalog:ENCODERS",
    "tasks": "trainer.tasks.protocol:TASKS",
    "sources": "pipeline.sources.catalog:SOURCES",
    "captioners": "pipeline.captioners.catalog:BACKENDS",
    "teachers": "pipeline.teachers.catalog:BACKENDS",
}


def install(place: Path, package: str, version: str, points: dict[str, dict[str, str]]) -> None:
    """Write what `pip install` leaves of a package: its metadata with entry points, by kind a name and a module."""
    info = place / f"{package}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    text = "".join(f"[mmpd.{kind}]\n" + "".join(f"{n} = {m}\n" for n, m in own.items()) for kind, own in points.items())
    (info / "entry_points.txt").write_text(text)


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """A package with one of each kind, called `demo`; one that is broken; and two that want the same name, and one of ours."""
    place = tmp_path / "site"
    install(
        place,
        "mmpd-demo",
        "1.2",
        {
            "encoders": {"demo-tiny": "mmpd_demo_encoder"},
            **{f"{kind}s": {"demo": f"mmpd_demo_{kind}"} for kind in KINDS if kind != "encoder"},
        },
    )
    names = {"encoders": ("broken", "pointmae-tiny"), "tasks": ("broken", "svm"), "sources": ("broken", "folder")}
    names |= {"captioners": ("broken", "template"), "teachers": ("broken", "open_clip")}
    install(place, "bad", "0.1", {kind: {**dict.fromkeys(own, "mmpd_bad"), "twice": "mmpd_bad"} for kind, own in names.items()})
    install(place, "worse", "0.2", {kind: {"twice": "mmpd_bad"} for kind in names})
    for kind, text in KINDS.items():
        (place / f"mmpd_demo_{kind}.py").write_text(text)
    (place / "mmpd_bad.py").write_text("raise RuntimeError('no driver')\n")
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{Path(__file__).parents[1]}")  # for processes of their own
    plugins.found.cache_clear()
    yield place
    plugins.found.cache_clear()
    for name in [name for name in sys.modules if name.startswith(("mmpd_demo", "mmpd_bad"))]:
        del sys.modules[name]


def ours(kind):
    module, _, name = OURS[kind].partition(":")
    return getattr(pytest.importorskip(module), name)


@pytest.mark.parametrize("kind", OURS)
def test_names_broken_modules_and_collisions(demo, kind):
    known = ours(kind)
    name = "demo-tiny" if kind == "encoders" else "demo"
    assert plugins.names(kind, known) == [*known, "broken", *([name] if name < "twice" else []), "twice"]
    assert plugins.module(kind, name, known).__name__.startswith("mmpd_demo") and plugins.origin(kind, name, known) == (
        ("mmpd-demo", "1.2"),
    )
    assert plugins.state(kind, name, known) == "of package mmpd-demo 1.2" and "no driver" in plugins.state(kind, "broken", known)
    with pytest.raises(UserError, match=r"'broken' \(mmpd_bad, package bad 0\.1\) cannot be imported: RuntimeError: no driver"):
        plugins.module(kind, "broken", known)
    with pytest.raises(UserError, match=r"two packages have a .* 'twice': package bad 0\.1 and package worse 0\.2"):
        plugins.module(kind, "twice", known)
    with pytest.raises(UserError, match=r"(is called )?'dem0.*did you mean 'demo"):
        plugins.module(kind, name.replace("o", "0"), known)
    (line,) = plugins.refused(kind, known)
    taken = next(one.name for one in plugins.found(kind) if one.name in known)
    assert line.startswith("package bad 0.1 is refused") and repr(taken) in line and "mmpd's own" in line
    assert plugins.module(kind, taken, known).__name__ == known[taken] and plugins.origin(kind, taken, known) == ()


def test_an_encoder_and_a_task_of_another_package_train_and_measure(demo, tmp_path):
    from cache_schema import synthetic
    from cache_schema.spec import LabelSet, PointSpec
    from trainer import checkpoint, guide
    from trainer.loop import train
    from trainer.recipes import configured
    from trainer.tasks import catalog

    labels = LabelSet(name="source", classes=("cone", "cube"), templates=("a {}",))
    synthetic.write(tmp_path / "c.zarr", shapes=24, shard=8, points=PointSpec(count=64, blocks=1, ordered=32), labels=labels)
    settings = ["encoder.name=demo-tiny", "align.heads=2", "optim.epochs=1", "data.threads=1"]
    train(configured("smoke", "align", settings), [tmp_path / "c.zarr"], tmp_path / "run", device="cpu")
    loaded, cache = checkpoint.load(tmp_path / "run"), store.open_cache(tmp_path / "c.zarr")
    result = catalog.evaluate("demo", loaded, cache, catalog.options("demo", ["neighbours=3"]))
    assert "the task is of another package: mmpd-demo 1.2" in result.scores.notes
    assert "the encoder is of another package: mmpd-demo 1.2" in result.scores.notes
    assert not [
        n
        for n in catalog.evaluate("knn", checkpoint.load(tmp_path / "run"), cache, catalog.options("knn", ["neighbours=3"])).scores.notes
        if "task is" in n
    ]
    made = guide.write(cache, loaded, "own", device="cpu")
    assert ("mmpd-demo", "1.2") in made.made_by
    shutil.rmtree(demo / "mmpd-demo-1.2.dist-info")  # the cache is read without the package, the run is not
    plugins.found.cache_clear()
    assert "guide/own" in store.open_cache(tmp_path / "c.zarr").products()
    with pytest.raises(UserError, match=r"no encoder is called 'demo-tiny'.* is of a package that is not installed here"):
        checkpoint.load(tmp_path / "run")


def test_a_source_a_captioner_and_a_teacher_of_another_package(demo, tmp_path):
    pytest.importorskip("trimesh")
    from pipeline.captioners import catalog as captioners
    from pipeline.sources import catalog as sources
    from pipeline.teachers import catalog as teachers

    (tmp_path / "balls").mkdir()
    for i in range(3):
        (tmp_path / "balls" / f"{i}.demo").write_text(str(1 + i))
    found = sources.open_source(str(tmp_path / "balls"))
    assert found.reader.kind == "demo" and [entry.id for entry in found.entries] == ["0", "1", "2"]
    assert [note for note in found.notes if "'broken' was not asked" in note and "no driver" in note]
    assert sources.about()["demo"][0].endswith("(of package mmpd-demo 1.2)") and sources.about()["broken"][0].startswith("broken: ")

    # A build in processes of their own, from the command line to the record.
    command = ["build", str(tmp_path / "balls"), str(tmp_path / "out.zarr"), "--set", "captions=none", "--set", "teachers="]
    command += ["--set", "views=none", "--set", "points.count=64", "--set", "points.ordered=32", "--set", "points.blocks=1"]
    code = "import sys; sys.argv[0] = 'mmpd-cache'; from pipeline.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    records = store.open_cache(tmp_path / "out.zarr").products()
    assert all(("mmpd-demo", "1.2") in records[name].made_by for name in ("status", "points"))

    spec = captioners.asked("mine=demo", ["samples=1"])
    assert (spec.name, spec.captioner, captioners.load(spec).caption([None], ["k"], [""])) == ("mine", "demo", [["a demo k"]])
    assert captioners.packages("demo") == ("mmpd-demo",) and "demo" in captioners.known() and "broken" not in captioners.known()
    assert teachers.load("demo:m").spec.backend == "demo" and teachers.packages("demo") == ("torch", "mmpd-demo")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("teacher.spec = None", "its load returned a Demo, expected an object with a TeacherSpec in `spec`"),
        ("teacher.spec = replace(teacher.spec, name='x')", "its spec.name is 'x', expected 'mine', as load was told"),
        ("teacher.spec = replace(teacher.spec, precision='float16')", "its spec.precision is 'float16', expected 'float32'"),
        ("teacher.embed_texts = None", "has no embed_texts"),
        ("teacher.preprocess = lambda image: torch.ones(3, 9, 8)", r"preprocess returned a float32 tensor \[3, 9, 8\] on cpu"),
        ("teacher.preprocess = lambda image: np.ones((3, 8, 8))", r"preprocess returned a numpy array \[3, 8, 8\]"),
        ("teacher.preprocess = lambda image: torch.ones(3, 8, 8) / 0", "preprocess returned values that are not finite"),
        ("teacher.embed_images = lambda x: x.flatten(1)[:, None, :2]", r"embed_images returned a float32 tensor \[2, 1, 2\] on cpu"),
        ("teacher.embed_images = lambda x: x.flatten(1)[:, :3]", r"tensor \[2, 3\] on cpu, expected a float32 tensor \[2, 2\]"),
        ("teacher.embed_images = lambda x: x[:1].flatten(1)[:, :2]", r"tensor \[1, 2\] on cpu, expected a float32 tensor \[2, 2\]"),
        ("teacher.embed_images = lambda x: x.flatten(1)[:, :2].int()", "embed_images returned an int32 tensor"),
        ("teacher.embed_images = lambda x: None", r"embed_images returned nothing \(None\)"),
        ("teacher.embed_images = lambda x: torch.ones(2, 2).requires_grad_()", "needs gradients: put @torch.inference_mode"),
        ("teacher.embed_images = lambda x: x.flatten(1)[:, :2] * np.nan", "returned values that are not finite for plain pictures"),
        ("teacher.embed_images = lambda x: torch.ones(2, 2)", "embed_images returned the same vector for two different pictures"),
        ("teacher.embed_images = lambda x: torch.rand(2, 2)", r"different vectors for one and the same.*call eval\(\)"),
        ("teacher.embed_images = lambda x: x.flatten(1)[:, :2] - x.mean()", r"different vectors for one and the same.*call eval\(\)"),
        ("teacher.embed_texts = lambda texts: torch.ones(2, 5)", r"embed_texts returned a float32 tensor \[2, 5\]"),
        ("teacher.embed_texts = lambda texts: torch.ones(2, 2)", "embed_texts returned the same vector for two different texts"),
    ],
)
def test_a_teacher_of_another_package_is_tried_before_it_embeds(demo, line, message):
    pytest.importorskip("trimesh")
    from pipeline.teachers import catalog as teachers

    (demo / "mmpd_demo_teacher.py").write_text(
        f"{TEACHER.replace('def load', 'def first')}\nimport numpy as np\nfrom dataclasses import replace\n"
        f"def load(model, **how):\n    teacher = first(model, **how)\n    {line}\n    return teacher\n"
    )
    with pytest.raises(UserError, match=rf"teacher mine.*{message}"):
        teachers.load("mine=demo:m")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", ""),
        ("Demo.patch_method = ' '", "its patch_method is ' ', expected words"),
        ("Demo.patch_grid = lambda self, size: (4, 4)", r"patch_grid returned \(4, 4\), expected a Grid"),
        ("Demo.patch_grid = lambda self, size: Grid(0.5, 1.0, 4, 0.0, 8.0)", ""),
        ("Demo.patch_grid = lambda self, size: Grid(900.0, 99.0, 4, 0.0, 224.0)", "patch_grid puts the patches of a picture of 224 "),
        ("Demo.embed_patches = lambda self, x: x[:, :2]", r"embed_patches returned a float32 tensor \[2, 2, 8, 8\]"),
        ("Demo.embed_patches = lambda self, x: places(x).numpy()", r"embed_patches returned a numpy array \[2, 4, 4, 2\]"),
        ("Demo.embed_patches = lambda self, x: places(x)[:, :3]", r"float32 tensor \[2, 3, 4, 2\] .*the 4 x 4 patches of `patch_grid`"),
        ("Demo.embed_patches = lambda self, x: places(x)[..., :1]", r"expected a float32 tensor \[2, 4, 4, 2\]"),
        ("Demo.embed_patches = lambda self, x: places(x).int()", "embed_patches returned an int32 tensor"),
        ("Demo.embed_patches = lambda self, x: places(x).requires_grad_()", "put @torch.inference_mode"),
        ("Demo.embed_patches = lambda self, x: places(x) * np.nan", "embed_patches returned values that are not finite"),
        ("Demo.embed_patches = lambda self, x: places(x) - x.mean()", r"in two batches.*call eval\(\)"),
        ("Demo.embed_patches = lambda self, x: places(x) * 0 + 1", "the same vector for two different pictures"),
        ("Demo.embed_patches = lambda self, x: places(x)[:, :1, :1].expand(-1, 4, 4, -1)", "the same vector for all patches"),
    ],
)
def test_patch_features_of_another_package_are_tried_before_they_are_cached(demo, line, message):
    pytest.importorskip("trimesh")
    import torch

    from pipeline.records import dense_spec
    from pipeline.teachers import catalog as teachers
    from pipeline.teachers import trial

    (demo / "mmpd_demo_teacher.py").write_text(
        f"{TEACHER}\nimport numpy as np\nfrom pipeline.teachers import patches\n"
        "def Grid(*values):\n    return patches.Grid(**dict(zip(('first', 'step', 'count', 'low', 'high'), values)))\n"
        "def places(x):\n    return torch.nn.functional.avg_pool2d(x, 2)[:, :2].permute(0, 2, 3, 1)\n"
        "def small(image):\n    return image[:: len(image) // 8, :: len(image) // 8]\n"
        "Demo.preprocess = lambda self, image: torch.from_numpy(small(image).transpose(2, 0, 1) / 255).float()\n"
        "Demo.patch_method = 'means of pixels'\nDemo.patch_grid = lambda self, size: Grid(1.0, 2.0, 4, 0.0, 8.0)\n"
        f"Demo.embed_patches = lambda self, x: places(x)\n{line}\n"
    )
    teacher = teachers.load("mine=demo:m")
    if not message:
        assert dense_spec(teacher, blocks=1, groups=4, group_size=4).dim == 2
        with pytest.raises(UserError, match=r"teacher mine: embed_patches returned .* expected a float32 tensor \[3, 4, 4, 2\]"):
            trial.patch_answers(teacher, teacher.embed_patches(torch.zeros(2, 3, 8, 8)), 3, 4, 2)
        return
    with pytest.raises(UserError, match=rf"teacher mine \(demo:m, package mmpd-demo 1\.2\): .*{message}|teacher mine: .*{message}"):
        dense_spec(teacher, blocks=1, groups=4, group_size=4)


def test_the_complete_teacher_and_source_of_the_pages_work(demo, tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("trimesh")
    from pipeline import worker
    from pipeline.sources import catalog as sources
    from pipeline.teachers import catalog as teachers
    from tests.docs.pages import ROOT, blocks

    def complete(page, word):
        (text,) = [block.text for block in blocks(ROOT / "docs" / "howto" / page) if block.language == "python" and word in block.text]
        return text

    (demo / "mmpd_demo_mine.py").write_text(complete("teacher.md", "def load"))
    (demo / "mmpd_demo_balls.py").write_text(complete("plugins.md", "def open_source"))
    install(demo, "pages", "1.0", {"teachers": {"mine": "mmpd_demo_mine"}, "sources": {"balls": "mmpd_demo_balls"}})
    plugins.found.cache_clear()
    teacher = teachers.load("mine:m")
    assert teacher.embed_images(torch.zeros(3, 3, 32, 32)).shape == (3, teacher.spec.dim)
    (tmp_path / "one.ball").write_text("2")
    (entry,) = (source := sources.open_source(str(tmp_path))).entries
    task = worker.Task(reader=source.reader, points=PointSpec(count=32, blocks=1, ordered=8), views=None)
    assert worker.make(task, entry, None).reason == ""


def test_an_error_in_a_teacher_of_another_package_says_whose_it_is(demo):
    pytest.importorskip("trimesh")
    from pipeline.teachers import catalog as teachers

    (demo / "mmpd_demo_teacher.py").write_text(TEACHER.replace("return pixels", "return 1 / 0 or pixels"))
    with pytest.raises(ZeroDivisionError) as caught:
        teachers.load("mine=demo:m")
    assert caught.value.__notes__[0].startswith("teacher mine (demo:m, package mmpd-demo 1.2) raised this in embed_images")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("return object()", "its load returned an object, expected an object with the CaptionSpec in `spec`"),
        ("made.spec = replace(spec, samples=3)", "its spec.samples is 3, expected 2, as load was told"),
        ("Demo.caption = None", "has no caption"),
        ("made.caption = lambda *of: None", "it returned a NoneType, expected a list of texts for each of 2 pictures"),
        ("made.caption = lambda *of: [['a', 'b']]", "it returned 1 list of texts, expected a list of texts for each of 2 pictures"),
        ("made.caption = lambda *of: ['ab', 'cd']", "it returned a str for a picture, expected a list of samples=2 texts"),
        ("made.caption = lambda *of: [['a'], ['b']]", "it returned 1 text for a picture, expected a list of samples=2 texts"),
        ("made.caption = lambda *of: [['a', 'b'], ['c', None]]", "it returned a NoneType, expected a text"),
        ("made.caption = lambda *of: [['a', 'b'], ['c', 'd' * 300]]", "a text of 300 bytes, expected at most 256: 'ddd.*Use `fit` first"),
    ],
)
def test_a_captioner_of_another_package_keeps_its_promise_or_is_refused(demo, line, message):
    pytest.importorskip("trimesh")
    from pipeline.captioners import catalog as captioners

    (demo / "mmpd_demo_captioner.py").write_text(
        f"{CAPTIONER.replace('def load', 'def first')}\nfrom dataclasses import replace\n"
        f"def load(spec, *, device):\n    made = first(spec, device=device)\n    {line}\n    return made\n"
    )
    with pytest.raises(UserError, match=rf"captioner 'demo'.*{message}"):
        made = captioners.load(captioners.asked("mine=demo"))
        captioners.texts_of(made, made.caption(None, ["k", "l"], ["", ""]), 2)


def test_texts_of_another_package_become_lines(demo):
    pytest.importorskip("trimesh")
    from pipeline.captioners import catalog as captioners

    made = captioners.load(captioners.asked("mine=demo"))
    assert captioners.texts_of(made, [["a  chair.\n", " \u00a0" * 200]], 1) == [["a chair.", ""]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", ""),
        ("def __init__(self, config, more):\n        super().__init__(config)", "its class does not take its configuration alone"),
        ("def patchify(self, p, o):\n        return super().patchify(p, o).levels", "patchify returned a tuple, expected Patches"),
        ("def patchify(self, p, o):\n        return super().patchify(p.flip(1), o)", "must be the first 16 points; they are not"),
        ("def forward(self, p, v=None):\n        return super().forward(p, v).tokens", "it returned a Tensor, expected Encoded"),
        (
            "def forward(self, p, v=None):\n        return super().forward(p, None)",
            r"its tokens are float32 \[2, 16, 24\], expected floats \[2, 5,",
        ),
        (
            "def forward(self, p, v=None):\n        e = super().forward(p, v)\n"
            "        return replace(e, tokens=e.tokens + p.coarsest.groups.mean())",
            "depend on the other shapes of its batch|change with the points of hidden ones",
        ),
        (
            "def forward(self, p, v=None):\n        e = super().forward(p, v)\n"
            "        return replace(e, tokens=e.tokens + p.coarsest.groups.mean((1, 2, 3))[:, None, None])",
            "change with the points of hidden ones, so in stage 2 it could look them up",
        ),
        (
            "def forward(self, p, v=None):\n        e = super().forward(p, None if v is None else v.sort(1).values)\n"
            "        return e if v is None else replace(e, visible=v)",
            "do not follow the order of `visible`",
        ),
        (
            "def forward(self, p, v=None):\n        e = super().forward(p, v)\n"
            "        return replace(e, tokens=torch.nn.functional.dropout(e.tokens, 0.5))",
            "tokens must not depend on chance",
        ),
        (
            "def forward(self, p, v=None):\n        e = super().forward(p, v)\n        return replace(e, tokens=e.tokens * 0 + 1)",
            "all tokens of two different shapes are the same",
        ),
        (
            "def forward(self, p, v=None):\n        e = super().forward(p, v)\n        return replace(e, tokens=e.tokens / 0)",
            "its tokens are not finite",
        ),
    ],
)
def test_an_encoder_of_another_package_is_tried_before_it_trains(demo, body, message):
    import torch

    from trainer.encoders import catalog, trial

    (demo / "mmpd_demo_encoder.py").write_text(
        f"{ENCODER.replace('build = PointMAE', '')}\nimport torch\nfrom dataclasses import replace\n"
        f"class Mine(PointMAE):\n    {body or 'pass'}\n"
        f"def build(config):\n    return Mine(config{', 0' if 'more' in body else ''})\n"
    )
    made, before = catalog.build("demo-tiny", groups=16), torch.get_rng_state()
    if not message:
        trial.refuse(made, "encoder 'demo-tiny'", count=64)
        assert torch.equal(torch.get_rng_state(), before)
        return
    with pytest.raises(UserError, match=f"encoder 'demo-tiny': .*({message})"):
        trial.refuse(made, "encoder 'demo-tiny'", count=64)


def test_the_trial_of_encoders_takes_all_of_ours():
    from trainer.encoders import catalog, trial

    for name in (name for name in catalog.ENCODERS if name.endswith("-tiny")):
        trial.refuse(catalog.build(name), name, count=512)
    with pytest.raises(UserError, match="its build returned an object without config, dim, groups"):
        trial.refuse(object(), "mine", count=64)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("87.5", "its run returned a float, expected Scores"),
        ("replace(scores, metrics=())", "none of its metrics has headline=True"),
        ("rated(scores, (101.0,))", "the values of 'accuracy' must be percentages, 0 to 100, got 101"),
        ("rated(scores, (float('nan'),))", "the values of 'accuracy' must be finite numbers, got nan"),
        ("rated(scores, ())", "the values of 'accuracy' must be finite numbers, got none"),
        ("rated(scores, (0.5,))", "its accuracy is 0.5, and its confusion matrix says 50 %"),
        (
            "rated(scores, (50.0,), measured_in='')",
            "its metric 'accuracy' .*does not tell measured_in. Add measured_in='%', better='higher'",
        ),
        ("rated(scores, (50.0,), better='')", "its metric 'accuracy' .*does not tell better"),
        ("rated(scores, (50.0,), measured_in='metres of height above')", "its metric 'accuracy' .*expected a unit of at most 20 letters"),
        ("replace(scores, predictions=(kept('mine'),))", "its predictions for 'mine' are right for 75 %, .* got none"),
        ("replace(scores, predictions=(kept('accuracy'),))", "its predictions for 'accuracy' are right for 75 %, .* got 50.0"),
    ],
)
def test_scores_of_a_task_of_another_package_are_looked_at(demo, line, message):
    from trainer.tasks import catalog
    from trainer.tasks.predictions import Predictions
    from trainer.tasks.result import Data, Metric, Scores, share

    data = Data(cache="c", points="p", split="test", shapes=4)
    scores = Scores(
        test=data,
        metrics=(share(name="accuracy", values=(50.0,), over="blocks", headline=True),),
        classes=("a", "b"),
        confusion=((1, 1), (1, 1)),
    )
    catalog._refuse(scores, "task 'demo'")
    mean = share(name="mean", values=(100.000008, -1e-7), over="blocks")  # as float32 rounds
    metres = Metric(name="height", values=(131.5,), over="blocks", measured_in="m", better="lower")
    catalog._refuse(replace(scores, metrics=(*scores.metrics, mean, metres)), "task 'demo'")

    def rated(scores, values, **more):
        return replace(scores, metrics=(replace(scores.metrics[0], values=values, **more),))

    def kept(metric):
        return Predictions(metric=metric, shapes="s", truth="0 0 1 1", predicted=("0 0 1 0",))

    wrong = eval(line, {"scores": scores, "rated": rated, "replace": replace, "kept": kept})
    with pytest.raises(UserError, match=f"task 'demo': {message}"):
        catalog._refuse(wrong, "task 'demo'")


def test_lists_and_help_name_the_package_and_help_stays_quick(demo):
    from typer.testing import CliRunner

    from trainer.cli import app

    said = " ".join(CliRunner().invoke(app, ["eval", "--help"]).stdout.split())
    assert "demo (of package mmpd-demo 1.2)" in said and "broken (broken: " in said and "package bad 0.1 is refused the task 'svm'" in said
    plugins.found.cache_clear()
    began = time.process_time()  # of this process: others may keep it waiting
    plugins.found("tasks")
    assert time.process_time() - began < 0.5


def test_no_command_looks_for_other_packages_before_it_needs_them(demo):
    code = (
        "import importlib.metadata as m, sys\n"
        "found = m.entry_points\n"
        "def refuse(**k):\n"
        "    if k.get('group', '').startswith('mmpd.'): raise SystemExit('looked')\n"
        "    return found(**k)\n"
        "m.entry_points = refuse\n"
        "import trainer.cli, trainer.encoders.catalog\n"
        "trainer.encoders.catalog.build('pointmae-tiny')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


LACKING = {"encoders": "CONFIGS", "tasks": "Options", "sources": "LOOKS_FOR", "captioners": "PACKAGES", "teachers": "PACKAGES"}


@pytest.mark.parametrize("kind", OURS)
def test_a_module_that_exits_or_lacks_something_is_broken(demo, kind):
    (demo / "mmpd_bad.py").write_text("import sys; sys.exit(3)\n")
    assert plugins.state(kind, "broken", ours(kind)).endswith("cannot be imported: SystemExit: 3")
    (demo / "mmpd_bad.py").write_text("")
    assert f"its module has no {LACKING[kind]} and no" in plugins.state(kind, "broken", ours(kind))
    called = [name for name, called in plugins.REQUIRED[kind].items() if called]
    sys.modules["mmpd_bad"].__dict__.update(dict.fromkeys(plugins.REQUIRED[kind], 0))
    with pytest.raises(UserError, match=f"{called[-1]} of its module cannot be called"):
        plugins.module(kind, "broken", ours(kind))


@pytest.mark.parametrize("text", ["", "raise SystemExit", SOURCE.replace("return any(", "return 1 / 0 or any(")])
def test_a_broken_source_stops_neither_a_build_nor_the_list(demo, tmp_path, text):
    pytest.importorskip("trimesh")
    from pipeline.sources import catalog as sources

    (demo / "mmpd_bad.py").write_text(text)
    (tmp_path / "balls").mkdir()
    (tmp_path / "balls" / "a.demo").write_text("1")
    found = sources.open_source(str(tmp_path / "balls"))
    assert found.reader.kind == "demo" and any(note.startswith("source 'broken' was not asked, broken: ") for note in found.notes)
    assert list(sources.about())[: len(sources.SOURCES)] == list(sources.SOURCES) and "broken" in sources.about()
