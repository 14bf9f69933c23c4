"""Every number of a build is checked before anything is begun: a wrong one leaves nothing behind."""

import dataclasses
import math
import typing

import pytest

from cache_schema.checks import within
from cache_schema.errors import UserError
from cache_schema.spec import Camera, CaptionSpec, PointSpec, ViewSpec
from pipeline.cameras import RIGS
from pipeline.recipes import BuildConfig, configured
from pipeline.worker import Limits

WRONG = [
    "views.background=300,0,0",
    "views.background=0,0,-1",
    "views.size=0",
    "views.size=99999",
    "views.level=0",
    "views.level=99",
    "limits.memory_gib=inf",
    "limits.memory_gib=nan",
    "limits.memory_gib=0",
    "limits.memory_gib=-1",
    "limits.seconds=nan",
    "limits.seconds=0",
    "limits.seconds=inf",
    "captions.max_tokens=0",
    "captions.samples=0",
    "captions.keep=0",
    "captions.temperature=nan",
    "captions.temperature=0",
    "captions.temperature=inf",
    "captions.top_p=nan",
    "captions.top_p=0",
    "captions.top_p=1.5",
    "points.count=99999999999",
    "points.count=0",
    "points.count=-1",
    "points.blocks=0",
    "points.blocks=999999999",
    "points.ordered=0",
    "points.ordered=99999",
    "points.seed=99999999999999999999999",
    "image_batch=0",
    "image_batch=-1",
    "caption_batch=0",
    "caption_batch=-1",
    "shard=-1",
    "shard=999999999",
    "captions.seed=99999999999999999999999",
    "points.revision=7",
    "views.revision=9",
    "captions.revision_of_code=5",
]


@pytest.mark.parametrize("assignment", WRONG)
def test_a_number_out_of_range_is_refused_by_its_name(assignment):
    with pytest.raises(UserError, match=assignment.partition("=")[0].rpartition(".")[2]):
        configured("default", [assignment])


@pytest.mark.parametrize("cls", [PointSpec, ViewSpec, CaptionSpec, Limits, BuildConfig, Camera])
def test_no_number_may_be_nan_or_infinite_and_none_is_forgotten(cls):
    needed = {ViewSpec: {"rig": RIGS["ring4"]}, CaptionSpec: {"captioner": "blip2"}, Camera: {"azimuth": 0.0, "elevation": 0.0}}.get(
        cls, {}
    )
    fine = cls(**needed)
    kinds = typing.get_type_hints(cls)
    numbers = [f.name for f in dataclasses.fields(cls) if kinds[f.name] in (int, float) and not f.name.startswith("revision")]
    assert numbers
    for name in numbers:
        for value in (math.nan, math.inf, -math.inf, 10.0**30, -(10.0**30)):
            with pytest.raises(UserError):
                dataclasses.replace(fine, **{name: value})


def test_what_nothing_would_look_at_is_refused():
    with pytest.raises(UserError, match="captions are made of views"):
        configured("default", ["views=none"])
    with pytest.raises(UserError, match="teachers look at views: set views, or leave out starter-resnet"):
        configured("default", ["views=none", "captions=none"])


def test_a_range_says_what_it_is():
    within("x", 3, 1, 5)
    with pytest.raises(UserError, match=r"^x must be a number from 1 to 5, got nan$"):
        within("x", math.nan, 1, 5)
    with pytest.raises(UserError, match=r"^x must be a number of 1 or more, got inf$"):
        within("x", math.inf, 1, math.inf)


def test_a_sources_own_settings_are_set_like_any_other():
    config = configured("default", ["source.up=z", "source.kind=folder", "source.label=a=b", "points.blocks=4", "source.up=y"])
    assert config.source.options == ("up=y", "label=a=b") and config.source.kind == "folder" and config.points.blocks == 4
    assert config.source.settings == {"up": "y", "label": "a=b"}
    assert configured("default", ["source.options=up=z", "source.split=0.5"]).source.options == ("up=z", "split=0.5")
    with pytest.raises(UserError, match=r"source\.options takes name=value, got 'up'"):
        configured("default", ["source.options=up"])
    with pytest.raises(UserError, match="PointSpec has no field 'blocs'; did you mean 'blocks'"):
        configured("default", ["points.blocs=4"])
