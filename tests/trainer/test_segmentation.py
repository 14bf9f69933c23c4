"""Features of several depths, their propagation to points, and the tasks that label every point."""

import pytest
import torch

from trainer.encoders.catalog import build
from trainer.encoders.protocol import Layered
from trainer.tuning.catalog import MODES, Efficient, adapt

FAMILIES = {
    "pointmae-tiny": {"depth": 4},
    "pointbert-tiny": {"depth": 4},
    "recon-tiny": {"depth": 4},
    "pointmamba-tiny": {"depth": 4},
    "pointm2ae-tiny": {"counts": (64, 32, 8)},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_layers_end_with_the_encoders_own_tokens_and_differ_by_depth(name: str) -> None:
    torch.manual_seed(0)
    encoder = build(name, **FAMILIES[name]).eval()
    patches = encoder.patchify(torch.randn(2, 256, 3).clamp(-1, 1), ordered=False)
    assert isinstance(encoder, Layered)
    layers, tokens = encoder.layers(patches), encoder(patches).tokens
    assert len(layers) == 3
    # Learnt tokens, which come first in a joined token, are no features of groups.
    assert torch.equal(layers[2].tokens, tokens[..., -layers[2].tokens.shape[-1] :])
    assert torch.equal(layers[2].centres, patches.coarsest.centres)
    for layer, level in zip(layers, patches.levels if len(patches.levels) == 3 else patches.levels * 3, strict=True):
        assert layer.tokens.shape[:2] == level.centres.shape[:2] and torch.equal(layer.centres, level.centres)
        assert torch.allclose(layer.tokens.std(-1, correction=0), torch.ones(()), atol=0.4)  # the mean of two normalised tokens has less
    if len(patches.levels) == 1:
        # After 2, 3 and 4 of 4 blocks: an encoder that ends there gives the same.
        shallow = build(name, **FAMILIES[name] | {"depth": 2}).eval()
        shallow.load_state_dict({k: v for k, v in encoder.state_dict().items() if k in shallow.state_dict()})
        assert torch.equal(shallow.layers(patches)[2].tokens, layers[0].tokens)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
def test_layers_of_a_tuned_encoder_start_as_its_own_and_train_the_new_parts(name: str, mode: str) -> None:
    if (name, mode) == ("pointmamba-tiny", "prompt"):
        pytest.skip("Mamba has no attention")
    torch.manual_seed(0)
    encoder = build(name, **FAMILIES[name]).eval()
    patches = encoder.patchify(torch.randn(2, 256, 3).clamp(-1, 1), ordered=False)
    before = [layer.tokens for layer in encoder.layers(patches)]
    adapted = adapt(encoder, mode, Efficient(window=8))
    after = [layer.tokens for layer in adapted.layers(patches)]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    after[0].square().sum().backward()
    assert any(p.grad is not None for p in adapted.parameters() if p.requires_grad)
