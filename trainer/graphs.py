"""The encoder of a run as a graph for other programs: an ONNX file, or a file of `torch.export`. Neither needs this software to run.

    made = write(Path("runs/align"), Path("encoder.onnx"), takes="points")
    made.apart                                           # largest difference from torch, checked before the file is put in place

A graph has no farthest-point sampling, whose loop no such file holds well. Its input is points in farthest-point order, of which the graph
takes the first ones as centres and finds their groups (`points`), or the groups themselves (`groups`). The number of shapes is free. The
number of points is that of the run's training, since other numbers give other features.

Letters: B shapes, P points, C channels, G groups, K points per group, D width of a token, F width of a vector, E a teacher's width,
L levels, N classes.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor, nn

from cache_schema import licences
from cache_schema.errors import UserError
from cache_schema.files import write_file
from cache_schema.spec import to_json
from cache_schema.terminal import version_line
from trainer import card, checkpoint, classifiers, ops
from trainer.align import Align, Regression, TeacherLosses
from trainer.checkpoint import Loaded
from trainer.encoders.protocol import Arranged, Encoder, Level, Patches, refuse_masked
from trainer.points import Convention
from trainer.stage import Stage
from trainer.tasks.features import finite

Takes = Literal["points", "groups"]
"""Input of a graph: points in farthest-point order, or the groups of points."""
ENDS: Final = (".onnx", ".pt2")
"""Ends of file names: ONNX, and `torch.export`."""
AGREEMENT: Final = 1e-4
"""Largest difference of an output from torch's, in units of that output's largest absolute value. With a larger one, no file is written."""
CHECKED: Final = (1, 3)
"""Numbers of shapes of the inputs with which a file is checked."""
OPSET: Final = 20
"""Version of ONNX's operators in a file."""
NEEDED: Final = ("val", "tensor_meta")
"""What a file of `torch.export` needs to know about a node: the types and shapes of its values."""
KEY: Final = "mmpd"
"""Start of the keys of our metadata in a file."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """An input or an output of a graph."""

    name: str
    shape: tuple[str | int, ...]
    """Its axes: numbers, and `batch` for the number of shapes."""
    about: str


@dataclass(frozen=True, kw_only=True)
class Made:
    """A file that was written, and how it was checked."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    points: int
    """Number of points of a shape that the graph was made for: the axis of `points`, and what `groups` are found among."""
    apart: float
    """Largest difference from torch over all outputs, in units of the output's largest absolute value."""
    bytes: int


# ------------------------------------------------------------------------------------------------------------- the graph


class Graph(nn.Module):
    """Everything that a run's model gives for a shape, as a module of plain tensors: for an exporter."""

    def __init__(self, model: Stage, takes: Takes, classifier: nn.Module | None = None) -> None:
        """
        Args:
            model: the run's model, in evaluation mode.
            takes: the input.
            classifier: gives logits [B, N] for ordered points [B, P, C]; then they are the only output. None for the model's features.
        """
        super().__init__()
        assert not model.training
        self.takes, self.classifier = takes, classifier
        if classifier is None:
            self.encoder: Encoder = model.encoder
            self.pool: nn.Module | None = model.pool if isinstance(model, Align) else model.summary
            self.teachers: TeacherLosses | None = model.teachers if self.pool is not None else None
            self.reader = model.reader if isinstance(model, Align) and model.teachers.own else None

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs, by position, for the inputs by position."""
        return tuple(self.named(*inputs).values())

    def named(self, *inputs: Tensor) -> dict[str, Tensor]:
        """The outputs by name: `vector` [B, F], as of `mean_max` pooling; `tokens` [B, G, D]; `centres` [B, G, 3] if they are not given;
        `summary` if the run has one, and from it a vector [B, E] in each teacher's space."""
        if self.classifier is not None:
            return {"logits": self.classifier(inputs[0])}
        patches = self.encoder.patchify(inputs[0], ordered=True) if self.takes == "points" else self._patches(inputs)
        tokens = self.encoder(patches).tokens  # [B, G, D]
        found = {"vector": torch.cat([tokens.mean(1), tokens.amax(1)], -1), "tokens": tokens}
        if self.takes == "points":
            found["centres"] = patches.coarsest.centres
        if self.pool is not None:
            found["summary"] = self.pool(tokens).float()
        if self.teachers is not None:
            found |= dict(spaces(self.teachers, found["summary"] if self.reader is None else self.reader(tokens).float()))
        return found

    def _patches(self, inputs: Sequence[Tensor]) -> Patches:
        """The patches of groups that were given: `groups` and `centres` of the finest level, `centres` and `members` of the others."""
        groups, centres, *rest = inputs
        # No encoder reads which points are in a group of the finest level.
        levels = [Level(groups=groups, centres=centres, members=torch.zeros(groups.shape[:3], dtype=torch.int64, device=groups.device))]
        for centres, members in zip(rest[::2], rest[1::2], strict=True):
            below = ops.gather(levels[-1].centres, members)  # [B, G, K, 3]
            levels.append(Level(groups=below - centres.unsqueeze(2), centres=centres, members=members))
        if isinstance(self.encoder, Arranged):
            levels = [self.encoder.along(level) for level in levels]
        return Patches(levels=tuple(levels))


def spaces(teachers: TeacherLosses, vector: Tensor) -> Iterator[tuple[str, Tensor]]:
    """What teachers' heads read, [B, F], in each teacher's own space: name, such as `image/clip`, and [B, E] of unit length.

    A head that was trained by regression gives standardised embeddings, from which those of the teacher are made.
    """
    for product, embedded in teachers.embed(vector).items():
        own = teachers.targets[product.replace(".", "_")]
        if isinstance(own, Regression):
            embedded = embedded * own.deviation + own.average
        yield product, nn.functional.normalize(embedded, dim=-1)


def given(patches: Patches) -> list[Tensor]:
    """The inputs of a graph that takes groups: `groups` and `centres` of the finest level, `centres` and `members` of each other one."""
    finest, *others = patches.levels
    return [finest.groups, finest.centres, *(tensor for level in others for tensor in (level.centres, level.members))]


def inputs(model: Stage, points: Tensor, takes: Takes) -> tuple[Value, ...]:
    """What a graph takes, for points [B, P, C] in farthest-point order like those that it will get."""
    order = "in farthest-point order, normalised as in the run's training: x, y, z" + (
        ", then red, green, blue in 0..1" if points.shape[2] == 6 else ""
    )
    if takes == "points":
        return (Value(name="points", shape=("batch", *points.shape[1:]), about=f"points {order}"),)
    levels = model.encoder.patchify(points, ordered=True).levels
    found = [
        Value(
            name="groups",
            shape=("batch", *levels[0].groups.shape[1:]),
            about="the nearest points of each centre, nearest first: x, y, z "
            "relative to the centre" + (", then colours" if points.shape[2] == 6 else ""),
        ),
        Value(name="centres", shape=("batch", *levels[0].centres.shape[1:]), about=f"the first points {order.partition(',')[0]}"),
    ]
    for number, level in enumerate(levels[1:], 2):
        found.append(Value(name=f"centres_{number}", shape=("batch", *level.centres.shape[1:]), about="the first of the centres below"))
        found.append(
            Value(name=f"members_{number}", shape=("batch", *level.members.shape[1:]), about="numbers of the nearest centres below, int64")
        )
    return tuple(found)


ABOUT: Final = {
    "logits": "one number for each class of the classifier, the largest for the likeliest",
    "vector": "the vector of a shape: mean and maximum over the tokens",
    "tokens": "one feature for each group",
    "centres": "the centre of each group",
    "summary": "the run's own summary of a shape",
}
"""What an output is, by name. Any other is a vector in the space of a teacher."""


def outputs(graph: Graph, sample: Sequence[Tensor]) -> tuple[Value, ...]:
    """What a graph gives, in its order, for inputs like these."""
    found = graph.named(*sample).items()
    return tuple(
        Value(name=name, shape=("batch", *value.shape[1:]), about=ABOUT.get(name, f"the summary in the space of {name}, of unit length"))
        for name, value in found
    )


# -------------------------------------------------------------------------------------------------------------- the file


def write(run: Path, out: Path, takes: Takes = "points", classifier: str = "") -> Made:
    """Write the encoder of a run as a graph, if the graph gives what torch gives.

    Args:
        run: the folder of the run.
        out: the file, `.onnx` or `.pt2`.
        takes: `points`: points [B, P, C] in farthest-point order. `groups`: the groups of these points.
        classifier: name of a classifier that is kept with the run, whose logits are then the output. Empty for the run's features.

    Raises:
        UserError: there is no run, or it does not say what points it was trained on; its encoder leaves points out; the file exists or has
            another end; a package is missing; or the graph gives something else than torch.
    """
    if out.suffix not in ENDS:
        raise UserError(f"{out} must end in {' or '.join(ENDS)}")
    if out.exists():
        raise UserError(f"{out} exists: give another name")
    loaded = checkpoint.load(run)
    refuse_masked(loaded.model.encoder, "a graph")
    convention = loaded.model.convention
    if convention is None:
        raise UserError(f"{run} does not say how many points a shape it was trained on, and the graph needs that: train or import it again")
    kept = None
    if classifier:
        if takes != "points":
            raise UserError("a classifier takes points: leave out --input groups")
        kept = classifiers.load(run, classifier, "cpu")
    graph = Graph(loaded.model, takes, _Classifier(kept.body, kept.head) if kept else None).eval()
    about = {f"{KEY}.classes": json.dumps(kept.classes)} if kept else {}
    about[f"{KEY}.licences"] = licences.in_words(card.gathered(loaded, (), [classifier] if classifier else []).holders)
    with torch.no_grad():
        return _checked(loaded, graph, (kept and kept.convention) or convention, out, about)


class _Classifier(nn.Module):
    """Body and head of a kept classifier: ordered points [B, P, C] to logits [B, N]."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, points: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(points, True))
        return logits


def _checked(loaded: Loaded, graph: Graph, convention: Convention, out: Path, more: dict[str, str]) -> Made:
    """Make the file in memory, compare it with torch, and put it in place."""
    samples = [_sample(loaded.model, convention, count, graph.takes) for count in CHECKED]
    points = shapes(1, convention, loaded.model.encoder.config.channels)
    takes, gives = inputs(loaded.model, points, graph.takes), outputs(graph, samples[0])
    about = metadata(loaded, convention, takes, gives) | more
    finite(torch.cat([value.flatten() for value in graph(*samples[0])]))  # else the file would be made before it is refused
    example = _sample(loaded.model, convention, 2, graph.takes)
    data, run = (_onnx if out.suffix == ".onnx" else _exported)(graph, example, takes, gives, about)
    apart = 0.0
    for sample in samples:
        for value, mine, theirs in zip(gives, graph(*sample), run(sample), strict=True):
            difference = ((mine - theirs).abs().max() / mine.abs().max().clamp(min=1e-6)).item()
            if not difference <= AGREEMENT:
                raise UserError(
                    f"the graph gives another {value.name} than torch for {len(sample[0])} shapes: they differ by {difference:.2g} of its "
                    f"largest value, at most {AGREEMENT:g} is allowed. {out} was not written"
                )
            apart = max(apart, difference)
    write_file(out, data)
    return Made(inputs=takes, outputs=gives, points=convention.count, apart=apart, bytes=len(data))


Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def _onnx(
    graph: Graph, example: Sequence[Tensor], takes: Sequence[Value], gives: Sequence[Value], about: dict[str, str]
) -> tuple[bytes, Run]:
    """The bytes of an ONNX file, and a function that runs it with onnxruntime."""
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  torch.onnx needs it
    except ModuleNotFoundError as error:
        raise UserError(f"ONNX files need the package {error.name}, which is not installed: pip install 'mmpd[onnx]'") from error
    with _quiet():
        program = torch.onnx.export(
            graph, tuple(example), dynamo=True, opset_version=OPSET, verbose=False, optimize=True,
            dynamic_shapes=(_free(example),), input_names=[v.name for v in takes], output_names=[v.name for v in gives],
        )  # fmt: off
    assert program is not None
    model = program.model_proto
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, about)
    model.doc_string = about[f"{KEY}.preprocessing"]
    for value, told in zip((*model.graph.input, *model.graph.output), (*takes, *gives), strict=True):
        value.doc_string = told.about
    for node in model.graph.node:  # torch puts the stack of this process there, with paths of this machine
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def run(sample: Sequence[Tensor]) -> list[Tensor]:
        found = session.run(None, {v.name: tensor.numpy() for v, tensor in zip(takes, sample, strict=True)})
        return [torch.from_numpy(array) for array in found]

    return data, run


def _exported(
    graph: Graph, example: Sequence[Tensor], takes: Sequence[Value], gives: Sequence[Value], about: dict[str, str]
) -> tuple[bytes, Run]:
    """The bytes of a file of `torch.export`, and a function that runs it."""
    with _quiet():
        program = torch.export.export(graph, tuple(example), dynamic_shapes=(_free(example),))
        _forget_places(program)
        file = io.BytesIO()
        torch.export.save(program, file, extra_files={f"{KEY}.json": json.dumps(about)})
        again = torch.export.load(io.BytesIO(file.getvalue())).module()
    return file.getvalue(), lambda sample: again(*sample)


def _forget_places(program: torch.export.ExportedProgram) -> None:
    """Take everything from the nodes of a program that only tells which code made them, since it has paths of this machine."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta = {key: value for key, value in node.meta.items() if key in NEEDED}


def _free(example: Sequence[Tensor]) -> tuple[dict[int, object], ...]:
    """That the first axis of each input, the number of shapes, is free."""
    batch = torch.export.Dim("batch")
    return tuple({0: batch} for _ in example)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch's exporters tell their developers from the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


# -------------------------------------------------------------------------------------------------------- what it is told


def preprocessing(convention: Convention, channels: int) -> str:
    """How to prepare the points of a shape for a graph, in sentences."""
    place = {
        "unit_sphere": "Move their mean (of a mesh: the centroid of its surface) to the origin, and scale them so that the "
        "farthest one has distance 1.",
        "none": "The coordinates are those of the source, in its own units.",
    }[convention.normalize]
    colours = f" Add red, green and blue in 0..1, or {convention.grey:.3g} for all three if there are none." if channels == 6 else ""
    return (
        f"Take {convention.count} points of the surface of a shape. {place}{colours} Put them in farthest-point order: each next point is "
        f"the one farthest from all points before it. Take no other number than {convention.count}: it would give other features."
    )


def metadata(loaded: Loaded, convention: Convention, takes: Sequence[Value], gives: Sequence[Value]) -> dict[str, str]:
    """What a file says about itself: keys and texts."""
    said = {
        "digest": loaded.weights,
        "encoder": loaded.config.encoder.name,
        "stage": loaded.config.stage,
        "convention": json.dumps(to_json(convention, whole=True)),
        "preprocessing": preprocessing(convention, loaded.model.encoder.config.channels),
        "inputs": "; ".join(f"{v.name} {list(v.shape)}: {v.about}" for v in takes),
        "outputs": "; ".join(f"{v.name} {list(v.shape)}: {v.about}" for v in gives),
        "version": version_line().strip(),
    }
    return {f"{KEY}.{key}": text for key, text in said.items()}


def shapes(count: int, convention: Convention, channels: int) -> Tensor:
    """Made-up shapes [B, P, C] of the kind that a run was trained on, in farthest-point order: boxes, balls and rings of random sizes.

    Their coordinates have the stored type of the training's, so that equal distances occur as often as there.
    """
    generator = torch.Generator().manual_seed(0)
    turns = torch.rand(count, 4 * convention.count, 2, generator=generator) * 2 * torch.pi
    radius = 0.3 * torch.rand(count, 1, generator=generator)
    ring = (1 - radius + radius * turns[..., 1].cos()).unsqueeze(-1) * torch.stack([turns[..., 0].cos(), turns[..., 0].sin()], -1)
    torus = torch.cat([ring, (radius * turns[..., 1].sin()).unsqueeze(-1)], -1)
    box = torch.randn(torus.shape, generator=generator)
    box = box / box.abs().amax(-1, keepdim=True) * (0.2 + torch.rand(count, 1, 3, generator=generator))
    xyz = torch.where((torch.arange(torus.shape[1]) % 3 == 0).view(1, -1, 1), torus, box)  # a ring that goes through a box
    xyz = xyz[:, : 2 * convention.count]
    xyz = ops.gather(xyz, ops.farthest_points(xyz, convention.count))
    xyz = xyz - xyz.mean(1, keepdim=True)
    xyz = xyz / xyz.norm(dim=-1).amax(1).view(-1, 1, 1)
    xyz = xyz.to(getattr(torch, convention.dtype)).float()
    return torch.cat([xyz, torch.rand(*xyz.shape[:2], channels - 3, generator=generator)], -1)


def _sample(model: Stage, convention: Convention, count: int, takes: Takes) -> list[Tensor]:
    """Inputs of `count` made-up shapes."""
    points = shapes(count, convention, model.encoder.config.channels)
    return [points] if takes == "points" else given(model.encoder.patchify(points, ordered=True))
