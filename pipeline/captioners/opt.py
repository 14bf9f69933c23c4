"""The steps of OPT (https://arxiv.org/abs/2205.01068), the language model of BLIP-2, with few operations.

    steps = Steps(model)                      # once
    decoder = steps.begin(prefix)             # decoder.scores: of the next word of each beginning
    decoder.step(row, word)                   # go on from rows, each with one more word

A step of a small model costs what it costs to start its operations, whatever they compute. transformers' own step gathers and joins the
keys and the values of each layer, makes a mask and counts positions. Here the keys and values of all words so far lie in one pool for each
layer, each word once, and a row is a list of places in the pools. So a row is repeated or left out without a copy, and a layer takes one
gather.

Letters: R rows, T tokens, D width, H heads, d width of a head, N words in the pool, W words of the vocabulary.
"""

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

OFFSET: Final = 2
"""Number of rows of OPT's table of positions before that of the first token."""


class _Layer(NamedTuple):
    """The parameters of one layer."""

    norm: tuple[Tensor, Tensor]
    """Weight and bias of the norm before attention."""
    joint: tuple[Tensor, Tensor]
    """Those of the projections to queries, keys and values, as one. [3 D, D], [3 D]"""
    out: tuple[Tensor, Tensor]
    norm_wide: tuple[Tensor, Tensor]
    wide: tuple[Tensor, Tensor]
    narrow: tuple[Tensor, Tensor]


def knows(model: Any) -> bool:
    """Whether a language model of transformers is an OPT of the form that `Steps` computes: norms first, biases, ReLU, no projections
    around the layers."""
    c = model.config
    return bool(
        type(model).__name__ == "OPTForCausalLM"
        and (c.do_layer_norm_before, c.enable_bias, c.layer_norm_elementwise_affine, c.activation_function) == (True, True, True, "relu")
        and not c._remove_final_layer_norm
        and c.word_embed_proj_dim == c.hidden_size
    )


class Steps:
    """An OPT, prepared to be run step by step."""

    def __init__(self, model: Any) -> None:
        """`model`: one that `knows` knows."""
        decoder = model.model.decoder
        self.heads: int = model.config.num_attention_heads
        self.eps: float = decoder.final_layer_norm.eps
        self.words, self.places = decoder.embed_tokens.weight, decoder.embed_positions.weight  # [W, D], [OFFSET + places, D]
        self.norm, self.head = _both(decoder.final_layer_norm), model.lm_head.weight
        self.layers = [_layer(layer) for layer in decoder.layers]

    def begin(self, prefix: Tensor) -> "Decoder":
        """Run embedded beginnings. [R, T, D]"""
        return Decoder(self, prefix)


def _layer(layer: Any) -> _Layer:
    attention = layer.self_attn
    projections = attention.q_proj, attention.k_proj, attention.v_proj
    weight, bias = (torch.cat(parts) for parts in zip(*map(_both, projections), strict=True))
    # The model keeps parts of the joint ones: three projections of a large model are gigabytes.
    for projection, *part in zip(projections, weight.chunk(3), bias.chunk(3), strict=True):
        projection.weight.data, projection.bias.data = part
    return _Layer(
        norm=_both(layer.self_attn_layer_norm),
        joint=(weight, bias),
        out=_both(attention.out_proj),
        norm_wide=_both(layer.final_layer_norm),
        wide=_both(layer.fc1),
        narrow=_both(layer.fc2),
    )


def _both(module: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of a module."""
    return module.weight.detach(), module.bias.detach()


class Decoder:
    """Rows of words, which begin as the beginnings."""

    def __init__(self, steps: Steps, prefix: Tensor) -> None:
        self.steps = steps
        rows, length, _ = prefix.shape
        self.path = torch.arange(rows * length, device=prefix.device).view(rows, length)
        """Place in the pools of each token of each row. [R, T]"""
        self.pools: list[Tensor] = []
        """Keys and values of each layer. [N, 2 D] each"""
        self._run(prefix + steps.places[OFFSET : OFFSET + length])

    def step(self, row: Tensor, word: Tensor) -> None:
        """Go on from some rows, each with one more word. Rows may be repeated or left out. [R'] each"""
        first, length = len(self.pools[0]), self.path.shape[1]
        new = torch.arange(first, first + len(row), device=row.device)
        self.path = torch.cat([self.path[row], new[:, None]], dim=1)
        self._run((self.steps.words[word] + self.steps.places[OFFSET + length])[:, None])

    def _run(self, hidden: Tensor) -> None:
        """Run the tokens that are new in each row, which are all of it or one. [R, T, D]"""
        steps = self.steps
        rows, count, width = hidden.shape
        hidden = hidden.flatten(0, 1)  # [R T, D]
        for i, layer in enumerate(steps.layers):
            joint = F.linear(F.layer_norm(hidden, (width,), *layer.norm, steps.eps), *layer.joint)
            hidden = hidden + F.linear(self._attended(i, joint, rows, count), *layer.out)
            wide = F.linear(F.layer_norm(hidden, (width,), *layer.norm_wide, steps.eps), *layer.wide)
            hidden += F.linear(wide.relu_(), *layer.narrow)
        last = hidden.view(rows, count, width)[:, -1]
        self.scores: Tensor = F.linear(F.layer_norm(last, (width,), *steps.norm, steps.eps), steps.head).float()
        """A score of each word as the next one. [R, W]"""

    def _attended(self, layer: int, joint: Tensor, rows: int, count: int) -> Tensor:
        """Keep the keys and values of new tokens, and let their queries attend to all tokens of the row so far. [R T, 3 D] -> [R T, D]"""
        width = joint.shape[1] // 3
        new = joint[:, width:]
        if layer == len(self.pools):
            self.pools.append(new)
        else:
            self.pools[layer] = torch.cat([self.pools[layer], new])
        shape = (rows, -1, self.steps.heads, width // self.steps.heads)
        told = self.pools[layer].index_select(0, self.path.flatten())  # [R T, 2 D]
        queries = joint[:, :width] * shape[-1] ** -0.5  # before the product, as in transformers: so both round alike
        query, key, value = (part.view(shape).transpose(1, 2) for part in (queries, told[:, :width], told[:, width:]))
        out = F.scaled_dot_product_attention(query, key, value, is_causal=count > 1, scale=1.0)  # [R, H, T, d]
        return out.transpose(1, 2).reshape(rows * count, width)
