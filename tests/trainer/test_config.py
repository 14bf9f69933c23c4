"""Configurations and recipes: what they say, how they are changed, and that each of them can be built."""

import contextlib
import dataclasses
import re
import typing

import pytest
import torch

from cache_schema import store
from cache_schema.errors import UserError
from cache_schema.records import differences
from cache_schema.settings import override
from cache_schema.spec import fingerprint, from_json, to_json
from tests.trainer.conftest import config_of
from trainer import cli, unread
from trainer.align import PatchTeacher, Teacher
from trainer.batch import Batch
from trainer.config import AlignConfig, DistillConfig, EncoderConfig
from trainer.data import Data
from trainer.options import DistillOptions
from trainer.part import DataConfig, Needs
from trainer.recipes import RECIPES, TEACHERS, configured, experiment
from trainer.stage import Facts, build

STAGES = [(name, stage) for name in RECIPES for stage in ("align", "distill") if getattr(experiment(name), stage) is not None]


@pytest.mark.parametrize(("name", "stage"), STAGES)
def test_a_recipe_survives_json_and_builds(name, stage):
    whole = configured(name, stage)
    config = override(whole, ["encoder.depths=1,1,1" if whole.encoder.name.startswith("pointm2ae") else "encoder.depth=1"])
    assert from_json(type(config), to_json(config)) == config
    teacher = Teacher(name="t", dim=8, text=True, objective="contrast")
    needs_teachers = stage == "align" or config.distill.teacher_weight > 0
    needs_patches = config.align.local_weight > 0 if stage == "align" else config.distill.predicts == "dense"
    patches = (PatchTeacher(name="t", dim=8, text=True),) if needs_patches else ()
    built = build(config, Facts(teachers=(teacher,) if needs_teachers else (), patches=patches))
    assert built.encoder.config == config.encoder.resolved() != whole.encoder.resolved()
    assert RECIPES[name].__doc__


def test_the_method_is_that_of_the_paper():
    align, distill = experiment("mmpd").align, experiment("mmpd").distill
    assert (align.optim.batch, align.optim.lr, align.optim.betas, align.optim.weight_decay) == (512, 1e-3, (0.9, 0.98), 0.1)
    assert (align.augment.rotate, align.augment.scale, align.augment.shift) == (True, (0.8, 1.25), 0.1)
    assert (align.data.templates, align.align.positives, align.objective) == (0.5, "either", "by_teacher")
    assert (distill.optim.batch, distill.optim.lr, distill.optim.weight_decay, distill.optim.epochs) == (128, 5e-4, 0.05, 300)
    assert (distill.start, distill.guide_online) == ("guide", False)
    assert distill.distill == DistillOptions(local_weight=1, global_weight=1, shuffle="all", masked_only=False, local_depth=4)
    assert distill.encoder.resolved().mask_ratio == 0.6
    assert (distill.encoder.resolved().dim, distill.encoder.resolved().depth) == (384, 12)


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("mmpd-no-shuffle", ["distill.distill.shuffle is 'all', asked 'none'"]),
        ("mmpd-no-global", ["distill.distill.global_weight is 1.0, asked 0"]),
        ("mmpd-no-local", ["distill.distill.local_weight is 1.0, asked 0"]),
        ("mmpd-2-teachers", [f"align.data.teachers is {TEACHERS}, asked {TEACHERS[:2]}"]),
        ("mmpd-dense", [f"align.data.dense is (), asked {TEACHERS}", "align.align.local_weight is 0.0, asked 1.0"]),
        ("mmpd-1-teacher", [f"align.data.teachers is {TEACHERS}, asked {TEACHERS[:1]}"]),
    ],
)
def test_an_ablation_takes_away_one_thing(name, difference):
    assert differences(experiment("mmpd"), experiment(name)) == difference


@pytest.mark.parametrize(("grounded", "plain"), [("mmpd-on-mae", "mmpd"), ("tiny-on-mae", "tiny")])
def test_a_recipe_on_point_mae_is_the_method_and_coordinates(grounded, plain):
    own = [one.split(" is ")[0] for one in differences(experiment(plain), experiment(grounded)) if ".optim.epochs" not in one]
    assert {one for one in own if not one.endswith("reconstruction_depth")} == {
        "align.align.reconstruction_weight",
        "align.start",
        "distill.distill.reconstruction_weight",
    }
    course, mae = experiment(grounded), experiment({"mmpd": "point-mae", "tiny": "tiny-mae"}[plain])
    depths = course.align.align.reconstruction_depth, course.distill.distill.reconstruction_depth
    assert set(depths) == {mae.distill.distill.reconstruction_depth}, "the decoder of coordinates goes on"


def test_recipes_of_published_methods_have_their_settings():
    """What they had otherwise than published, without saying so."""
    assert configured("point-m2ae", "distill").optim.cosine == 0.75, "300 epochs of a cosine over 400"
    assert configured("point-mae", "distill").augment.per_axis and configured("point-m2ae", "distill").augment.per_axis
    for name in ("point-mae", "point-m2ae", "pointmamba", "recon-like", "act-like"):
        assert configured(name, "distill").optim.clip == 0
    ulip = configured("ulip2-like", "align")
    assert (ulip.align.pool, ulip.align.projection, ulip.align.positives) == ("max", "linear", "none")
    assert (ulip.optim.lr_end, ulip.optim.clip) == (1e-5, 0)
    assert configured("recon-like", "distill").align.projection == "linear"


def test_a_baseline_needs_no_guide_unless_it_distils():
    without = {name for name, stage in STAGES if stage == "distill" and not experiment(name).distill.needs_guide}
    assert without == {"scratch", "tiny-mae", "point-mae", "point-m2ae", "pointmamba", "recon-like"}


def test_an_encoders_own_settings_are_set_like_any_other():
    config = configured("tiny", "align", ["encoder.depth=2", "optim.lr=0.01", "data.teachers=a,b", "encoder.name=pointmae-s"])
    assert config.encoder == EncoderConfig(name="pointmae-s", options=("depth=2",))
    assert (config.encoder.resolved().depth, config.encoder.resolved().dim) == (2, 384)
    assert (config.optim.lr, config.data.teachers) == (0.01, ("a", "b"))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("encoder.depht=2", "did you mean 'depth'"),
        ("optm.lr=1", "did you mean 'optim'"),
        ("optim.learning_rate=1", "has no field 'learning_rate'"),
        ("optim.lr=fast", "expected a number"),
        ("encoder.name=pointmae-m", "did you mean 'pointmae-"),
        ("align.positives=all", "expected one of 'either'"),
        ("optim.batch=30 optim.accumulate=4", "multiple of optim.accumulate"),
        ("data.fraction=0", r"must lie in \(0, 1\]"),
        ("data.teachers=a,a", "has the same name twice"),
        ("encoder.heads=0", "heads must be at least 1, got 0"),
        ("encoder.depth=-1", "depth must be at least 1, got -1"),
        ("data.teacher_weights=1,2", "one weight for each"),
    ],
)
def test_a_wrong_setting_is_explained(assignment, message):
    with pytest.raises(ValueError, match=message):
        configured("tiny", "align", assignment.split())


@pytest.mark.parametrize(("name", "none", "value"), [("drop", "0", "0.1"), ("per_axis", "false", "true")])
def test_a_guides_tokens_forbid_other_groups(name, none, value):
    with pytest.raises(ValueError, match=rf"augment\.{name} must be {none} .* got {value}"):
        configured("tiny", "distill", [f"augment.{name}={value}"])
    if name == "per_axis":
        with pytest.raises(ValueError, match=r"augment\.per_axis must be false with align\.local_weight"):
            configured("mmpd-dense", "align", ["augment.per_axis=true"])
    assert getattr(configured("pointmamba", "distill", ["augment.scale=0.8,1.25", f"augment.{name}={value}"]).augment, name)


@pytest.mark.parametrize(("name", "stage", "message"), [("point-mae", "align", "no stage align"), ("mmdp", "align", "did you mean 'mmpd'")])
def test_a_recipe_that_is_not_there_is_explained(name, stage, message):
    with pytest.raises(ValueError, match=message):
        configured(name, stage)


def test_what_changes_no_result_may_change_in_a_run():
    config = configured("tiny", "align")
    other = dataclasses.replace(config, log_every=1, save_every=7, data=DataConfig(threads=5))
    assert differences(config, other) == []
    assert differences(config, dataclasses.replace(config, seed=1)) == ["seed is 0, asked 1"]


FINGERPRINTS = {
    "tiny": "6c9b6e3797eac4e5",
    "mmpd": "469c0306de301a6c",
    "point-m2ae": "1eccbf1031a21005",
    "pointmamba": "d75983d26ebc1cd9",
    "recon-like": "b2349710322ab6d2",
    "act-like": "89a31899bbe383cb",
}
"""Fingerprints of recipes. Runs that were trained before are told apart by them, so they change only if a recipe means something else."""


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_a_recipe_keeps_its_fingerprint(name):
    assert fingerprint(experiment(name)) == FINGERPRINTS[name]


def test_an_encoders_settings_keep_their_form_on_disk():
    config = configured("tiny", "distill", ["encoder.options=depth=2,heads=3", "encoder.drop_path=0.2"])
    assert to_json(config.encoder) == {"name": "pointmae-tiny", "options": ["depth=2", "heads=3", "drop_path=0.2"]}
    assert fingerprint(config) == "cde1dae254435845"
    assert config.encoder.resolved() is config.encoder.resolved() and config.encoder.resolved().depth == 2
    older = from_json(type(config), {**to_json(config), "encoder": {"name": "pointmae-tiny", "options": ["depth=4", "depth=1"]}})
    assert older.encoder.resolved().depth == 1


def test_a_setting_that_is_given_again_replaces_the_one_before():
    config = configured("tiny", "align", ["encoder.depth=2", "encoder.heads=3"])
    assert override(config, ["encoder.depth=2"]) == config
    assert override(config, ["encoder.depth=1"]).encoder.options == ("depth=1", "heads=3")


@pytest.mark.parametrize(
    ("stage", "assignments", "said"),
    [
        ("align", "augment.drop_color=0.5", "augment.drop_color would have no effect where encoder.channels=3"),
        ("align", "data.templates=0 data.labels=x", "data.labels would have no effect where data.templates=0"),
        ("align", "optim.lr=1e-4 optim.lr_end=1e-3", "got optim.lr_end=0.001 and optim.lr=0.0001"),
        ("align", "probe=knn,knn", "probe names knn twice"),
        ("distill", "distill.local_weight=0 distill.shuffle=none", "distill.shuffle would have no effect where distill.local_weight=0"),
        ("distill", "distill.reconstruction_depth=2", "where distill.reconstruction_weight=0"),
        ("distill", "distill.global_weight=0 distill.global_depth=3", "where no loss is on a summary"),
        ("distill", "align.positives=text", "align.positives would have no effect where distill.teacher_weight=0"),
        ("distill", "guide_online=true guide=x", "guide would have no effect where guide_online=true"),
        ("distill", "data.templates=0.2", "data.templates would have no effect where distill.teacher_weight=0"),
        ("distill", "align.heads=3", "align.heads would have no effect where the stage is 2, which reads distill.heads"),
        ("align", "objective=regress align.positives=text", "align.positives would have no effect where objective=regress"),
        ("align", "objective=regress data.negatives=9", "data.negatives would have no effect where objective=regress"),
        ("align", "data.teachers=a align.teacher_drop=0.5", "align.teacher_drop would have no effect where data.teachers names one"),
        ("align", "data.captions=a data.caption_weights=2", "data.caption_weights would have no effect where data.captions names one"),
        ("align", "probe= probe_every=3", "probe_every would have no effect where probe is empty"),
        ("align", "log.project=x", "log.project would have no effect where log.trackers is empty"),
        ("align", "data.dense=a", "data.dense would have no effect where no loss uses patch features"),
        ("align", "data.mirror_limit=9GiB", "data.mirror_limit would have no effect where data.mirror is empty"),
        (
            "distill",
            "distill.local_weight=0 distill.global_weight=0 distill.teacher_weight=1 distill.normalise_targets=true",
            "no loss is on",
        ),
        (
            "distill",
            "encoder.name=pointmamba-tiny distill.local_weight=0 distill.global_weight=0 distill.reconstruction_weight=1 distill.heads=3",
            "distill.heads would have no effect where the only decoder is that of coordinates, which has no attention",
        ),
    ],
)
def test_settings_of_a_new_run_that_nothing_reads_are_refused(stage, assignments, said, tmp_path):
    asked = assignments.split()
    with pytest.raises(UserError, match=re.escape(said)):
        cli.configuration(stage, tmp_path / "run", "tiny", asked, False, None)
    configured("tiny", stage, asked)  # a run of an earlier version is still read


@pytest.mark.parametrize(
    ("stage", "assignments"),
    [
        ("align", "augment.drop_color=0.5 encoder.channels=6"),
        ("distill", "distill.local_weight=0"),  # the recipe's own depth is then idle, and not the user's doing
        ("distill", "distill.teacher_weight=1 align.positives=text"),
        ("distill", "distill.reconstruction_weight=1 distill.reconstruction_depth=2"),
        ("distill", "distill.teacher_weight=1 data.templates=0.2 data.views=2"),
        ("distill", "distill.local_weight=0 distill.global_weight=0 distill.reconstruction_weight=1 distill.heads=3"),
        ("align", "align.heads=3 objective=contrast align.positives=text"),
        ("align", "align.pool=max align.reconstruction_weight=1 align.heads=3"),
    ],
)
def test_settings_of_a_new_run_that_are_read_are_taken(stage, assignments, tmp_path):
    base, asked = configured("tiny", stage), assignments.split()
    assert cli.configuration(stage, tmp_path / "run", "tiny", asked, False, None) == override(base, asked)


def test_every_recipe_can_be_begun(tmp_path):
    for recipe in RECIPES:
        for stage in cli.stages_of(recipe):
            assert cli.configuration(stage, tmp_path / "run", recipe, [], False, None) == configured(recipe, stage)


def leaves(kind, prefix=""):
    """Names of all settings of a dataclass, as `--set` writes them."""
    for name, hint in typing.get_type_hints(kind).items():
        if name in {field.name for field in dataclasses.fields(kind)}:
            yield from leaves(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else [prefix + name]


def test_every_setting_says_when_it_is_read():
    there = {*leaves(AlignConfig), *leaves(DistillConfig)}
    rows = {name for row in unread.READINGS for name in row.names}
    assert not set(unread.ALWAYS) & rows and not set(unread.CHECKED) & {*rows, *unread.ALWAYS}
    assert {*unread.ALWAYS, *unread.CHECKED, *rows} == there, "name a new setting in trainer/unread.py"


OTHERWISE = {
    "objective": "contrast",
    "align.positives": "none",
    "align.teacher_drop": 0.9,
    "align.pool": "max",
    "align.heads": 2,
    "align.projection": "linear",
    "distill.shuffle": "none",
    "distill.masked_only": True,
    "distill.local_depth": 3,
    "distill.drop_path": 0.9,
    "distill.normalise_targets": True,
    "distill.global_depth": 3,
    "distill.reconstruction_depth": 3,
    "distill.heads": 2,
}
"""Another value of each setting of the losses that a row is about."""
IDLE = {
    "align": ["objective=regress", "data.teachers=t"],
    "distill": ["distill.global_weight=0 distill.projected_weight=1", "distill.local_weight=0", ""],
    "points": ["encoder.name=pointmamba-tiny distill.local_weight=0 distill.global_weight=0 distill.reconstruction_weight=1"],
    "teachers": ["distill.local_weight=0 distill.global_weight=0 distill.teacher_weight=1", "distill.teacher_weight=1 objective=regress"],
}
"""Configurations in which some of them are idle."""


@pytest.mark.parametrize(("kind", "assignments"), [(kind, one) for kind, several in IDLE.items() for one in several])
def test_no_loss_depends_on_a_setting_that_is_said_to_be_idle(kind, assignments):
    stage = "align" if kind == "align" else "distill"
    small = [] if "pointmamba" in assignments else ["encoder.depth=1"]
    config = configured("tiny", stage, [*small, "encoder.groups=8", "encoder.group_size=4", *assignments.split()])
    names = [name for name in unread.idle(config) if name in OTHERWISE]
    assert names
    expected = losses_of(config)
    for name in names:
        changed = dataclasses.replace(config)
        *parents, last = name.split(".")
        for parent in parents:
            changed = getattr(changed, parent)
        value = OTHERWISE[name] if getattr(changed, last) != OTHERWISE[name] else type(OTHERWISE[name])()
        other = dataclasses.replace(changed, **{last: value})
        whole = dataclasses.replace(config, **{parents[0]: other}) if parents else other
        assert losses_of(whole) == expected, name


def losses_of(config):
    """All losses of a first step on random shapes."""
    torch.manual_seed(0)
    size, dim = 6, config.encoder.resolved().dim
    met = Teacher(name="t", dim=8, text=True, objective="regress" if config.objective == "regress" else "contrast")
    teachers = (met,) if isinstance(config, AlignConfig) or config.distill.teacher_weight + config.distill.projected_weight else ()
    points, image, text = torch.randn(size, 64, 3), torch.randn(size, 8), torch.randn(size, 8)
    statistics = {name: (torch.zeros(8), torch.ones(8)) for name in ("image/t", "text/t")}
    torch.manual_seed(1)
    stage = build(config, Facts(teachers=teachers, guide_dim=dim), statistics)
    batch = Batch(
        points=points,
        index=torch.arange(size),
        label=torch.arange(size) % 2,
        ordered=True,
        image={"t": image},
        text={"t": text},
        text_key=torch.arange(size),
        guide_tokens=torch.randn(size, 8, dim),
        guide_summary=torch.randn(size, dim),
    )
    torch.manual_seed(2)
    draw = stage.draw(size, torch.Generator().manual_seed(3))
    return {name: loss.item() for name, loss in stage(batch, draw).items()}


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        ("data.teachers=random-b data.templates=0.2", "data.templates would have no effect where no teacher reads texts"),
        ("data.teachers=random-b align.positives=none", "where no teacher reads texts, so that each is regressed"),
        ("data.teachers=random-a data.templates=0.2 align.positives=none", ""),
        ("data.teachers=random-b objective=contrast align.positives=none", ""),
        ("encoder.channels=6 augment.drop_color=0.5", ""),
        ("data.splits=train", ""),
    ],
)
def test_a_setting_that_nothing_reads_of_these_caches_is_refused(assignments, said, cache_path):
    config = config_of("align", *assignments.split())
    needs = Needs(teachers=True, color=config.encoder.resolved().channels == 6)
    data = Data([store.open_cache(cache_path)], config.data, batch=8, seed=0, needs=needs)
    asked = [one.partition("=")[0] for one in assignments.split()]
    with pytest.raises(UserError, match=re.escape(said)) if said else contextlib.nullcontext():
        unread.check_read(asked, config, data)
    unread.check_read([], config, data)  # nobody asked for it: a recipe, or a run that goes on


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("data.templates=1", "no shape has a class"),
        ("data.labels=x", "no shape has a class"),
        ("data.templates=0", ""),
        ("data.splits=test", "no cache has splits"),
        ("data.splits=", ""),
    ],
)
def test_a_cache_without_splits_and_classes_has_no_use_for_settings_about_them(assignment, said, cache_path):
    data = Data([store.open_cache(cache_path)], DataConfig(), batch=8, seed=0, needs=Needs(teachers=True))
    for part in data.parts:
        part.own_class[:] = -1
        part.cache.manifest = dataclasses.replace(part.cache.manifest, splits=())
    with pytest.raises(UserError, match=said) if said else contextlib.nullcontext():
        unread.check_read([assignment.partition("=")[0]], config_of("align", assignment), data)
