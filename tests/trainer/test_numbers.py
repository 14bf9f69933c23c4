"""Numbers that no configuration may hold: NaN, infinite, or below what the field can be; refused when it is made, by the field's name."""

import dataclasses

import pytest

from cache_schema.checks import check_numbers
from cache_schema.errors import UserError
from cache_schema.spec import to_json
from tests.trainer.conftest import config_of
from trainer.config import OptimConfig
from trainer.tasks import catalog


def floats(value, name=""):
    """Names of all fields that hold a float, or a list of them."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield from floats(item, f"{name}{key}.")
        elif isinstance(item, float) or (isinstance(item, list) and item and isinstance(item[0], float)):
            yield f"{name}{key}", len(item) if isinstance(item, list) else 1


ALIGN, DISTILL = (sorted(floats(to_json(config_of(stage)))) for stage in ("align", "distill"))
OF_TASKS = [(task, *found) for task in catalog.TASKS for found in floats(to_json(catalog.options(task, [])))]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("stage", "name", "count"), [("align", *f) for f in ALIGN] + [("distill", *f) for f in DISTILL])
def test_every_number_of_a_run_is_finite(stage, name, count, value):
    with pytest.raises(UserError):
        config_of(stage, f"{name}={','.join([value] * count)}")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("task", "name", "count"), OF_TASKS)
def test_every_number_of_a_task_is_finite(task, name, count, value):
    more = {"c": [], "fewshot": ["by=finetune"] if name.startswith("training") else []}.get(task, [])
    with pytest.raises(UserError):
        catalog.options(task, [f"{name}={','.join([value] * count)}", *more])


@pytest.mark.parametrize("name", ["distill.mask_ratio", "encoder.drop_path"])
@pytest.mark.parametrize("value", ["nan", "inf", "1.5"])
def test_numbers_that_are_unset_by_default_are_checked_too(name, value):
    with pytest.raises(UserError):
        config_of("distill", f"{name}={value}")


@pytest.mark.parametrize(
    ("stage", "setting"),
    [
        ("align", "seed=-1"),
        ("align", "optim.batch=0"),
        ("align", "optim.batch=-1"),
        ("align", "optim.batch=1"),
        ("align", "optim.betas=0.9,1.0"),
        ("align", "optim.betas=-0.1,0.9"),
        ("align", "optim.weight_decay=-1"),
        ("align", "optim.lr_end=-1"),
        ("align", "augment.tilt=-3"),
        ("align", "augment.shift=-0.1"),
        ("align", "diverged=nan"),
        ("distill", "distill.mask_ratio=1"),
        ("align", "seed=4294967296"),
        ("align", "optim.lr=0"),
        ("align", "optim.warmup=-1"),
        ("align", "data.threads=0"),
        ("align", "log_every=0"),
    ],
)
def test_ranges_of_a_run(stage, setting):
    with pytest.raises(UserError, match=setting.partition("=")[0].rpartition(".")[2]):
        config_of(stage, setting)


@pytest.mark.parametrize(
    ("task", "setting"),
    [
        ("svm", "c=0"),
        ("svm", "repeats=0"),
        ("svm", "seed=-1"),
        ("svm", "seed=4294967296"),
        ("knn", "neighbours=0"),
        ("knn", "repeats=-2"),
        ("retrieval", "repeats=0"),
        ("zeroshot", "repeats=0"),
        ("fewshot", "c=-1"),
        ("fewshot", "seed=-1"),
        ("fewshot", f"seed={10**400}"),
        ("classify", "batch=0"),
        ("classify", "batch=-1"),
        ("classify", "weight_decay=-1"),
        ("classify", "epochs=0"),
    ],
)
def test_ranges_of_a_task(task, setting):
    with pytest.raises(UserError, match=setting.partition("=")[0]):
        catalog.options(task, [setting])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", 0.0, r"^optim\.lr must be positive, got 0\.0"),
        ("clip", -1.0, r"^optim\.clip must not be negative, got -1\.0$"),
        ("epochs", -1, r"^optim\.epochs must not be negative, got -1$"),
    ],
)
def test_the_field_and_its_value_are_named_and_no_other(name, value, message):
    with pytest.raises(UserError, match=message) as caught:
        OptimConfig(**{"batch": 2, "epochs": 1, "lr": 1.0, name: value})
    assert "OptimConfig" not in str(caught.value)


def test_what_is_no_number_is_named_so_where_none_is_allowed_too():
    with pytest.raises(UserError, match=r"^--set c: expected a number, got nan$"):
        catalog.options("svm", ["c=nan"])


def test_the_largest_seed_is_taken():
    assert catalog.options("svm", ["seed=4294967295"]).seed == config_of("align", "seed=4294967295").seed == 2**32 - 1


def test_the_field_is_named():
    with pytest.raises(UserError, match=r"^optim\.clip must be a finite number, got nan$"):
        OptimConfig(batch=2, epochs=1, lr=1.0, clip=float("nan"))

    @dataclasses.dataclass
    class Outer:
        inner: OptimConfig
        several: tuple[float, ...] = (1.0,)

    with pytest.raises(UserError, match=r"^several must be at least 2, got \(1\.0,\)$"):
        check_numbers(Outer(inner=OptimConfig(batch=2, epochs=1, lr=1.0)), {"several": 2})
