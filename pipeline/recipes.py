"""Recipes of `build`. A recipe is a function that returns a complete, typed configuration.

config = configured("default", ["points.blocks=4", "views.rig=ring30", "source.up=z"])
"""

import dataclasses
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cache_schema.checks import within
from cache_schema.errors import UserError
from cache_schema.settings import override, settings_of_choice
from cache_schema.spec import CameraRig, CaptionSpec, Coverage, PointSpec, ViewSpec, added, did_you_mean
from pipeline.cameras import RIGS
from pipeline.captioners.catalog import CAPTIONERS
from pipeline.worker import Limits


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """How shapes are found and read."""

    kind: str = "auto"
    """A name in `pipeline.sources.catalog.SOURCES`, or auto."""
    textures: Literal["require", "grey"] = "require"
    """What happens to a shape whose texture file is missing: it fails (require), or is read without the texture (grey)."""
    options: tuple[str, ...] = settings_of_choice()
    """The source's own settings, as `name=value` texts. `--set source.up=z` is short for `--set source.options=up=z`. Code reads them with
    `settings`."""

    def __post_init__(self) -> None:
        for option in self.options:
            if "=" not in option:
                raise UserError(f"source.options takes name=value, got {option!r}")

    @property
    def settings(self) -> dict[str, str]:
        """The source's own settings by name. Values are texts, because `auto` finds out later which source reads them."""
        return dict(typing.cast(tuple[str, str], option.split("=", 1)) for option in self.options)


@dataclass(frozen=True, kw_only=True)
class DenseConfig:
    """Patch features of teachers on groups of points. A build makes them only with `views.depth=true`; `add-dense` can draw depth again."""

    teachers: tuple[str, ...] = ()
    """Names of those teachers of the build whose patch features are made; empty for none."""
    blocks: int = 1
    """Number of leading blocks of each shape that get features; 0 for all."""
    groups: int = 64
    """Number of groups in a block. Their centres are the first points of the block, like those of an encoder's tokens."""
    group_size: int = 32
    """Number of points in a group."""

    def __post_init__(self) -> None:
        for name, least in {"blocks": 0, "groups": 1, "group_size": 1}.items():
            within(f"dense.{name}", getattr(self, name), least, 2**20)


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """All settings of a build."""

    source: SourceConfig = SourceConfig()
    points: PointSpec = PointSpec(normals=True)
    """Points with colours and normals. `--set points.normals=false` leaves out the normals, 6 of 15 bytes per point."""
    given: bool = added(True)
    """Whether to store the embeddings and texts that the source has of its shapes, such as OpenShape's. They are marked as imported."""
    point_labels: bool = True
    """Whether to store the labels of points (parts, objects) and the boxes of scenes, where the source has them."""
    views: ViewSpec | None = ViewSpec(rig=RIGS["ring12"])
    """Pictures of the shapes. `none`: only points are made."""
    teachers: tuple[str, ...] = ()
    """Names or references of teachers, which `mmpd-cache teachers` explains."""
    captions: CaptionSpec | None = None
    """The captioner and its settings. `none`: no captions are made."""
    dense: DenseConfig = added(DenseConfig())
    """Patch features on points."""
    labels: tuple[str, ...] = ("source",)
    """Label sets to embed. `source` means the classes of the source, `parts` the names of their parts; `cache_schema.class_lists` has
    others."""
    shard: int = 0
    """Number of shapes per shard. 0: it depends on the number of shapes."""
    limits: Limits = Limits()
    """Time and memory that one shape may take."""
    image_batch: int = 64
    """Number of pictures or texts per forward pass of a teacher."""
    caption_batch: int = 16
    """Number of pictures per call of the captioner."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the teachers."""
    licences: tuple[str, ...] = added(())
    """Licences of the weights of teachers, as `TEACHER=LICENCE`, where their cards say none or another. Captions have
    `captions.licence`, shapes `source.licence`."""

    def licence_of(self, teacher: str) -> str:
        """Return the licence that was given for a teacher; empty for none."""
        return dict(typing.cast(tuple[str, str], one.split("=", 1)) for one in self.licences).get(teacher, "")

    def __post_init__(self) -> None:
        for one in self.licences:
            if "=" not in one:
                raise UserError(f"licences takes TEACHER=LICENCE, got {one!r}")
        within("shard", self.shard, 0, 2**16)
        within("image_batch", self.image_batch, 1, 2**16)
        within("caption_batch", self.caption_batch, 1, 2**16)
        if self.captions is not None and self.views is None and not self.captions.stated:
            raise UserError("captions are made of views: set views, or captions=descriptions, which need none, or captions=none")
        if self.teachers and self.views is None:
            raise UserError(f"teachers look at views: set views, or leave out {', '.join(self.teachers)}")
        if self.dense.teachers and (self.views is None or not self.views.depth):
            raise UserError(
                "dense.teachers: patch features on points need the depth of the views: --set views.depth=true. To store no depth, leave "
                "out dense.teachers and run `mmpd-cache add-dense` afterwards, which draws the depth again"
            )


def points() -> BuildConfig:
    """Only points: no pictures, no models."""
    return BuildConfig(views=None, labels=())


def scenes() -> BuildConfig:
    """For segmentation of scenes: columns of one metre that overlap, in metres, 4 blocks of 2,048 points. No pictures, no models."""
    spec = PointSpec(count=2048, blocks=4, normalize="none", dtype="float32", normals=True)
    return dataclasses.replace(points(), source=SourceConfig(options=("crop=columns",)), points=spec)


def whole_scenes() -> BuildConfig:
    """For detection in scenes: whole scenes, in metres, one block of 40,000 points. No pictures, no models."""
    spec = PointSpec(count=40_000, blocks=1, ordered=2048, normalize="none", dtype="float32", normals=True)
    return dataclasses.replace(points(), source=SourceConfig(options=("crop=whole",)), points=spec)


def pictures() -> BuildConfig:
    """Points and 12 views, no models. Teachers and captions can be added later."""
    return BuildConfig(labels=())


def default() -> BuildConfig:
    """Points, 12 views, and the three teachers and the captioner that come with the project. They only know starter shapes. Offline."""
    return BuildConfig(
        teachers=("starter-resnet", "starter-regnet", "starter-attributes"),
        captions=dataclasses.replace(CAPTIONERS["starter-blip2"].spec, rank_by="starter-resnet"),
        caption_batch=64,
    )


def dense() -> BuildConfig:
    """The default with depth, one more teacher that comes with the project (starter-parts, which knows names of parts), and its patch
    features on 64 groups of every block. Offline."""
    base = default()
    return dataclasses.replace(
        base,
        views=ViewSpec(rig=RIGS["ring12"], depth=True),
        teachers=(*base.teachers, "starter-parts"),
        dense=DenseConfig(teachers=("starter-parts",), blocks=0),
        labels=("source", "parts"),
    )


def smoke() -> BuildConfig:
    """A small version of the default: 4 views, 2 blocks of 256 points."""
    return dataclasses.replace(
        default(), points=PointSpec(count=256, blocks=2, ordered=64, normals=True), views=ViewSpec(rig=RIGS["ring4"], size=96)
    )


def adaptive() -> BuildConfig:
    """The default with 4 views of each shape, which are chosen among 30 cameras by what they show. Offline."""
    return dataclasses.replace(default(), views=ViewSpec(rig=RIGS["dome30"], policy=Coverage()))


def clip_dino() -> BuildConfig:
    """For one GPU: CLIP ViT-B/32 and DINOv2-S, BLIP-2 captions ranked by CLIP. Downloads about 16 GB of weights."""
    return BuildConfig(
        teachers=("clip-vit-b32", "dinov2-small"),
        captions=dataclasses.replace(CAPTIONERS["blip2-opt-2.7b"].spec, samples=10, rank_by="clip-vit-b32", precision="bfloat16"),
        precision="bfloat16",
    )


def ulip2() -> BuildConfig:
    """For large GPUs: the setting of ULIP-2 (arXiv:2305.08275) with 30 views, OpenCLIP bigG and ten BLIP-2 captions per view."""
    return BuildConfig(
        views=ViewSpec(rig=RIGS["ring30"]),
        teachers=("openclip-bigg14",),
        captions=dataclasses.replace(
            CAPTIONERS["blip2-opt-2.7b"].spec,
            name="blip2-opt-6.7b",
            model="Salesforce/blip2-opt-6.7b",
            revision="",
            samples=10,
            rank_by="openclip-bigg14",
            precision="bfloat16",
        ),
        precision="bfloat16",
    )


POLICIES: Final[dict[str, Coverage | None]] = {"rig": None, "coverage": Coverage(), "surface": Coverage(teacher="", likeness=0.0)}
"""What `views.policy` can be, by name: all cameras of the rig; some, chosen with a cheap teacher; or by surface and direction alone."""

RECIPES: Final[dict[str, Callable[[], BuildConfig]]] = {
    "default": default,
    "dense": dense,
    "smoke": smoke,
    "adaptive": adaptive,
    "points": points,
    "scenes": scenes,
    "whole-scenes": whole_scenes,
    "pictures": pictures,
    "clip-dino": clip_dino,
    "ulip2": ulip2,
}


def configured(recipe: str, assignments: Sequence[str]) -> BuildConfig:
    """Return a recipe with `--set` assignments applied.

    Raises:
        UserError: no such recipe or field, or a value that does not fit.
    """
    if recipe not in RECIPES:
        raise UserError(f"no recipe {recipe!r}{did_you_mean(recipe, RECIPES)}")
    return changed(RECIPES[recipe](), assignments)


def changed(before: BuildConfig, assignments: Sequence[str]) -> BuildConfig:
    """Return settings with `--set` assignments applied. Raises the errors of `configured`."""
    known = {name: choice.spec for name, choice in CAPTIONERS.items()}
    config = override(before, assignments, {CameraRig: RIGS, CaptionSpec: known, Coverage: POLICIES})
    config = dataclasses.replace(config, captions=_named(before.captions, config.captions))
    policy = None if config.views is None else config.views.policy
    for where, part in (("points", config.points), ("views", config.views), ("views.policy", policy), ("captions", config.captions)):
        name = "revision_of_code" if where == "captions" else "revision"
        asked, here = getattr(part, name, None), getattr(type(part), name, None)
        if part is not None and asked != here:
            raise UserError(f"{where}.{name}: this software makes revision {here} and no other, got {asked}; leave it out")
    if config.points.labels:
        raise UserError(
            "points.parts, points.instances and points.origins: the source decides them; leave them out. `--set point_labels=false` leaves "
            "out all labels of points"
        )
    return config


def _named(before: CaptionSpec | None, captions: CaptionSpec | None) -> CaptionSpec | None:
    """Rename captions whose captioner or model was changed. They must not keep the name of the recipe's own."""
    if before is None or captions is None or captions.name != before.name:
        return captions
    if captions.captioner != before.captioner:
        model = "" if captions.model == before.model else captions.model
        captions = dataclasses.replace(captions, model=model)
    elif captions.model == before.model:
        return captions
    return dataclasses.replace(captions, name=captions.usual_name)


def shard_size(shapes: int) -> int:
    """Choose the number of shapes per shard. Many shards let work overlap and lose little to a kill; few shards mean few files."""
    size = 16
    while size < 512 and shapes / size > 40:
        size *= 2
    return size
