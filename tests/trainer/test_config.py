"""Configurations and recipes: what they say, how they are changed, and that each of them can be built."""

import dataclasses
import re

import pytest

from cache_schema.errors import UserError
from cache_schema.records import differences
from cache_schema.settings import override
from cache_schema.spec import fingerprint, from_json, to_json
from trainer import cli
from trainer.align import PatchTeacher, Teacher
from trainer.config import EncoderConfig
from trainer.options import DistillOptions
from trainer.part import DataConfig
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
    ],
)
def test_settings_of_a_new_run_that_are_read_are_taken(stage, assignments, tmp_path):
    base, asked = configured("tiny", stage), assignments.split()
    assert cli.configuration(stage, tmp_path / "run", "tiny", asked, False, None) == override(base, asked)


def test_every_recipe_can_be_begun(tmp_path):
    for recipe in RECIPES:
        for stage in cli.stages_of(recipe):
            assert cli.configuration(stage, tmp_path / "run", recipe, [], False, None) == configured(recipe, stage)
