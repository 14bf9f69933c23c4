"""Parameter-efficient fine-tuning: small new parts in the blocks of a frozen encoder, on random shapes."""

import copy
import functools
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cache_schema import store
from trainer import checkpoint
from trainer.encoders.catalog import build
from trainer.tasks import catalog, classify, finetune
from trainer.tuning.catalog import MODES, Efficient, adapt, learned, sizes
from trainer.tuning.most import Monarch, Updated, fold, mixing
from trainer.tuning.pointgst import Spectral, basis, spectra, z_order
from trainer.tuning.pointlora import Looking, doubled

SIZES = {
    "pointmae-tiny": {"groups": 8, "group_size": 8, "embed": (16, 16, 32), "dim": 24, "depth": 2, "heads": 2},
    "pointbert-tiny": {"groups": 8, "group_size": 8, "embed": (16, 16, 32), "reduce": 16, "dim": 24, "depth": 2, "heads": 2},
    "recon-tiny": {"groups": 8, "group_size": 8, "embed": (16, 16, 32), "dim": 24, "depth": 2, "heads": 2},
    "pointm2ae-tiny": {"counts": (32, 16, 8), "sizes": (8, 4, 4), "embed": (16, 16, 32), "widths": (12, 24, 48), "depths": (1, 1, 2)},
    "pointmamba-tiny": {"groups": 8, "group_size": 8, "embed": (16, 16, 32), "dim": 24, "depth": 2, "state": 4},
}
OPTIONS = Efficient(
    lora_rank=2,
    adapter_width=3,
    prompts=5,
    spectral_width=4,
    window=4,
    monarch_blocks=4,
    pointlora_rank=2,
    shared_width=5,
    selected=3,
    selected_large=2,
)
REFUSED = [("pointmamba-tiny", "prompt"), ("pointmamba-tiny", "pointlora"), ("pointm2ae-tiny", "pointlora")]
CASES = [case for case in itertools.product(SIZES, MODES) if case not in REFUSED]


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def encoder_of(name):
    """With weights that make something of its input, and with batch norms and a drop path that would be seen in training mode."""
    encoder = build(name, **SIZES[name], drop_path=0.5)
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return encoder.eval()


def points(count=4):
    return F.normalize(torch.randn(count, 64, 3), dim=-1) * torch.rand(count, 64, 1) ** (1 / 3)


def tokens(encoder, xyz):
    return encoder(encoder.patchify(xyz, ordered=False)).tokens


def train(encoder, xyz, steps, target):
    """Steps towards target tokens. Returns the losses."""
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (tokens(encoder, xyz) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# ------------------------------------------------------------------------------------------------- what is new and what is not


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_the_features_begin_as_those_of_the_encoder(name, mode):
    encoder, xyz = encoder_of(name), points()
    adapted = adapt(copy.deepcopy(encoder), mode, OPTIONS)
    assert torch.equal(tokens(adapted, xyz), tokens(encoder, xyz))
    for field in ("config", "dim", "groups", "centres", "group_size", "mask_ratio"):
        assert getattr(adapted, field) == getattr(encoder, field)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_only_the_new_parts_learn_and_all_of_them(name, mode):
    encoder, xyz = encoder_of(name), points()
    own = encoder.state_dict(keep_vars=True)
    before = {key: tensor.clone() for key, tensor in own.items()}
    adapted = adapt(encoder, mode, OPTIONS)
    losses = train(adapted, xyz, 5, torch.randn(4, 8, encoder.dim))
    assert losses[-1] < losses[0]
    frozen = {id(tensor) for tensor in own.values()}
    for key, parameter in adapted.named_parameters():
        assert parameter.requires_grad == (id(parameter) not in frozen), key
        if parameter.requires_grad:
            assert parameter.grad.abs().sum() > 0, f"{key} gets no gradient"
        else:
            assert parameter.grad is None, key
    assert frozen >= {id(parameter) for parameter in adapted.parameters() if not parameter.requires_grad}
    for key, tensor in own.items():
        assert torch.equal(tensor, before[key]), f"{key} changed"


def test_the_number_of_learned_parameters_is_as_by_hand():
    def count(name, mode):
        return learned(adapt(encoder_of(name), mode, OPTIONS))

    d, depth, heads = 24, 2, 2
    assert count("pointmae-tiny", "lora") == depth * 2 * ((d + 3 * d) + (d + d) + (d + 4 * d) + (4 * d + d))
    assert count("pointmae-tiny", "adapter") == depth * (d * 3 + 3 + 3 * d + d)
    assert count("pointmae-tiny", "prompt") == depth * (5 * d + heads)
    assert count("pointmae-tiny", "pointgst") == depth * ((d * 4 + 4) + (4 * 4 + 4) + (4 * d + d) + 2 * (4 + 4))
    assert count("pointm2ae-tiny", "adapter") == sum(width * 3 + 3 + 3 * width + width for width in (12, 24, 48, 48))
    inner = 2 * d
    assert count("pointmamba-tiny", "lora") == depth * 2 * ((d + 2 * inner) + (inner + d))
    assert count("pointmamba-tiny", "pointgst") == count("pointmae-tiny", "pointgst")
    factors = (d * d + d * 3 * d) / 4 + (d * d + d * 4 * d) / 4  # of qkv and of the first MLP layer, in 4 blocks
    assert count("pointmae-tiny", "most") == depth * (factors + 3 * d + 4 * d)
    assert count("pointmamba-tiny", "most") == depth * ((d * d + d * 2 * inner) / 4 + 2 * inner)
    narrow = (5 * d + 5) + (5 * 3 * d + 3 * d) + 2 * ((5 * d + 5) + (5 * d + d))  # beside qkv, beside proj, and of selected tokens
    score = (d * d // 2 + d // 2) + (d // 2 + 1)
    assert count("pointmae-tiny", "pointlora") == depth * (2 * ((d + 3 * d) + (d + d)) + heads) + narrow + score


def test_published_sizes():
    expected = {"lora": 589_824, "adapter": 595_200, "prompt": 46_152, "pointgst": 354_528}
    counts = {mode: learned(adapt(build("pointmae-s").eval(), mode, Efficient())) for mode in expected}
    assert counts == expected
    assert learned(adapt(build("pointmamba-s").eval(), "lora", Efficient())) == 294_912
    head = finetune.head(768, 15, finetune.Classifying())
    assert counts["pointgst"] + learned(head) == 622_063, "published as 0.6 M"


@pytest.mark.parametrize(("blocks", "published"), [(32, 0.8), (16, 1.3), (8, 2.3)])
def test_most_learns_as_many_parameters_as_published(blocks, published):
    """The published counts, in millions, are of Point-MAE with a class token of 2 D numbers and the head of a classifier."""
    inside = learned(adapt(build("pointmae-s").eval(), "most", Efficient(monarch_blocks=blocks)))
    above = learned(finetune.head(768, 15, finetune.Classifying()))
    assert round((inside + 2 * 384 + above) / 1e6, 1) == published
    if blocks == 32:
        assert inside == 529_920 and round(100 * (inside + 2 * 384 + above) / 22.1e6, 1) == 3.6, "published as 3.6 %"


def test_pointlora_differs_from_the_published_count_by_what_its_page_names():
    encoder = build("pointmae-s").eval()
    own = sum(parameter.numel() for parameter in encoder.parameters())
    frozen = {name: sum(p.numel() for p in getattr(encoder, name).parameters()) for name in ("positions",)}
    frozen["embed"] = sum(p.numel() for part in (encoder.embed.lift, encoder.embed.norm1, encoder.embed.widen) for p in part.parameters())
    inside = learned(adapt(encoder, "pointlora", Efficient()))
    above = learned(finetune.head(768, 15, finetune.Classifying()))
    assert inside == 395_689
    gates, token, narrow = 12 * 6, 2 * 384, (384 * 32 + 32) + (32 * 384 + 384)
    published = inside + above - gates + token + narrow + sum(frozen.values())
    assert published == 772_752, "published as 0.77 M"
    model = own + token + above + inside - gates + narrow
    assert round(100 * published / model, 2) == 3.43, "published as 3.43 %"


def test_what_does_not_apply_is_refused():
    with pytest.raises(ValueError, match=r"tune=prompt: .* PointMamba has no attention"):
        adapt(encoder_of("pointmamba-tiny"), "prompt", OPTIONS)
    with pytest.raises(ValueError, match="tune=lora: Linear has no blocks that are known here"):
        adapt(nn.Linear(3, 3).eval(), "lora", OPTIONS)
    adapted = adapt(encoder_of("pointmae-tiny"), "pointgst", Efficient(window=3))
    with pytest.raises(ValueError, match=r"8 groups cannot be cut into windows of 3; set efficient\.window"):
        tokens(adapted, points())
    adapted = adapt(encoder_of("pointmae-tiny"), "pointgst", OPTIONS)
    with pytest.raises(ValueError, match="no group can be hidden"):
        adapted(adapted.patchify(points(), ordered=False), torch.arange(4).expand(4, -1))
    with pytest.raises(ValueError, match="prompts must be at least 1, got 0"):
        Efficient(prompts=0)
    with pytest.raises(ValueError, match="pointlora: it tunes attention, and PointMamba has no attention"):
        adapt(encoder_of("pointmamba-tiny"), "pointlora", OPTIONS)
    with pytest.raises(ValueError, match="pointlora: PointM2AE has no embedding that makes tokens of any groups"):
        adapt(encoder_of("pointm2ae-tiny"), "pointlora", OPTIONS)
    with pytest.raises(ValueError, match=r"5 blocks do not divide attn.qkv of PointMAE, which maps 24 to 72; set efficient"):
        adapt(encoder_of("pointmae-tiny"), "most", Efficient(monarch_blocks=5))
    for wrong, message in (({"neighbours": -1}, "neighbours must not be negative"), ({"strength": 0.0}, "strength must lie in")):
        with pytest.raises(ValueError, match=message):
            Efficient(**wrong)
    for mode in ("most", "pointlora"):
        adapted = adapt(encoder_of("pointmae-tiny"), mode, OPTIONS)
        with pytest.raises(ValueError, match="no group can be hidden"):
            adapted(adapted.patchify(points(), ordered=False), torch.arange(4).expand(4, -1))


@pytest.mark.parametrize("mode", ["lora", "adapter", "prompt"])
@pytest.mark.parametrize("name", ["pointmae-tiny", "pointm2ae-tiny"])
def test_groups_can_be_hidden(name, mode):
    encoder, xyz, visible = encoder_of(name), points(), torch.tensor([[0, 3, 5]]).expand(4, -1)
    adapted = adapt(copy.deepcopy(encoder), mode, OPTIONS)
    patches = encoder.patchify(xyz, ordered=False)
    assert torch.equal(adapted(patches, visible).tokens, encoder(patches, visible).tokens)


# ------------------------------------------------------------------------------------------------- prompts


def test_prompts_are_attended_to_by_a_softmax_of_their_own():
    adapted = adapt(encoder_of("pointmae-tiny"), "prompt", OPTIONS)
    part, x = adapted.encoder.transformer.blocks[0].attn, torch.randn(2, 8, 24)
    with torch.no_grad():
        part.gates.copy_(torch.tensor([0.5, 2.0]).view(2, 1, 1))
    expected = []
    wq, wk, wv = part.attention.qkv.weight.chunk(3)
    for head, gate in enumerate((0.5, 2.0)):
        rows = slice(12 * head, 12 * head + 12)
        q, k, v = x @ wq[rows].T, part.prompts @ wk[rows].T, part.prompts @ wv[rows].T
        expected.append(gate * (q @ k.T / 12**0.5).softmax(-1) @ v)
    expected = part.attention(x) + torch.cat(expected, -1) @ part.attention.proj.weight.T
    assert torch.allclose(part(x), expected, atol=1e-6)


# ------------------------------------------------------------------------------------------------- the spectrum


def level_of(name, xyz):
    return encoder_of(name).patchify(xyz, ordered=False).coarsest


def test_the_basis_is_of_the_normalised_laplacian():
    centres = torch.randn(10, 3)
    found = basis(centres.unsqueeze(0), "sample")[0].double().numpy()
    distances = np.linalg.norm(centres.numpy()[:, None] - centres.numpy()[None], axis=-1).astype(float)
    weights = 1 / (distances / distances[distances > 0].min() + np.eye(10))
    scale = np.diag(weights.sum(1) ** -0.5)
    values, vectors = np.linalg.eigh(np.eye(10) - scale @ weights @ scale)
    assert np.allclose(np.abs(found @ vectors), np.eye(10), atol=1e-4), "rows are eigenvectors"
    assert values[0] < 1e-6
    assert np.allclose(np.abs(found[0]), np.sqrt(weights.sum(1) / weights.sum()), atol=1e-4), "the first is that of the degrees"
    assert (found[np.arange(10), np.abs(found).argmax(1)] > 0).all()
    published = basis(centres.unsqueeze(0), "batch")[0].double().numpy()
    assert np.allclose(np.abs(vectors.T @ published), np.eye(10), atol=1e-4), "columns are"


def test_the_plain_laplacian_is_degrees_minus_weights():
    """As in the authors' code for classification, whose basis has eigenvectors as columns."""
    centres = torch.randn(10, 3)
    distances = np.linalg.norm(centres.numpy()[:, None] - centres.numpy()[None], axis=-1).astype(float)
    weights = 1 / (distances / distances[distances > 0].min() + np.eye(10))
    vectors = np.linalg.eigh(np.diag(weights.sum(1)) - weights)[1]
    published = basis(centres.unsqueeze(0), "batch", "plain")[0].double().numpy()
    assert np.allclose(np.abs(vectors.T @ published), np.eye(10), atol=1e-3)
    assert np.allclose(np.abs(published[:, 0]), 10**-0.5, atol=1e-4), "the first wave is the same everywhere"
    level = level_of("pointmae-tiny", points())
    plain = spectra(level, Efficient(window=4, laplacian="plain"))
    for one, other in zip(plain, spectra(level, Efficient(window=4)), strict=True):
        assert not torch.allclose(one, other, atol=1e-3), "the setting is read"


def test_centres_in_one_place_give_a_basis_too():
    for centres in (torch.zeros(1, 6, 3), torch.randn(1, 3, 3).repeat(1, 2, 1)):
        for kind, laplacian in itertools.product(("sample", "batch"), ("normalised", "plain")):
            found = basis(centres, kind, laplacian)
            assert torch.allclose(found @ found.mT, torch.eye(6), atol=1e-5)


def test_the_basis_of_a_sample_does_not_depend_on_the_others():
    xyz = torch.cat([points(), 0.1 * points(1)])
    for options in (OPTIONS, Efficient(window=4, spectral_width=4, basis="batch")):
        adapted = adapt(encoder_of("pointmae-tiny"), "pointgst", options)
        with torch.no_grad():
            for part in adapted.modules():
                if isinstance(part, Spectral):
                    part.adapt.weight.normal_()
                    part.up.weight.normal_()
            alone, together = tokens(adapted, xyz[:1]), tokens(adapted, xyz)[:1]
        assert torch.allclose(alone, together, atol=1e-4) == (options.basis == "sample")


def test_windows_are_neighbours_on_a_z_curve():
    centres = torch.tensor([[0, 0, 0.02], [0, 0.02, 0], [0.02, 0, 0], [0, 0, 0.004], [-0.02, 0, 0], [0.01, 0.01, 0.01], [0, 0, 0.01]])
    assert z_order(centres.unsqueeze(0)).tolist() == [[3, 6, 5, 0, 2, 1, 4]], "y above x above z, negative ones last"
    level = level_of("pointmae-tiny", points())
    whole, local = spectra(level, OPTIONS)
    assert whole.shape == local.shape == (4, 1, 8, 8)
    order = z_order(level.centres)
    for b in range(4):
        for w in range(2):
            inside = order[b, 4 * w : 4 * w + 4]
            rows = local[b, 0, 4 * w : 4 * w + 4]
            assert torch.allclose(rows[:, inside], basis(level.centres[b, inside], "sample"), atol=1e-5)
            assert rows.abs().sum() - rows[:, inside].abs().sum() < 1e-6, "other windows have no part in these waves"
    for matrix in (whole, local):
        assert torch.allclose(matrix @ matrix.mT, torch.eye(8), atol=1e-5)


def test_a_spectral_adapter_is_what_it_is_published_as():
    part, x = Spectral(24, 4), torch.randn(4, 8, 24)
    for tensor in part.parameters():
        nn.init.normal_(tensor)
    part.spectra = spectra(level_of("pointmae-tiny", points()), OPTIONS)
    down = part.down(x)
    expected = F.silu(down)
    for matrix, norm in zip(part.spectra, part.norms, strict=True):
        waves = torch.einsum("bfg,bgr->bfr", matrix[:, 0], down)
        expected = expected + torch.einsum("bfg,bfr->bgr", matrix[:, 0], waves + F.silu(part.adapt(norm(waves))))
    assert torch.allclose(part(x), part.up(expected), atol=1e-4, rtol=1e-4)


def test_along_curves_the_waves_are_those_of_the_centres():
    level = level_of("pointmamba-tiny", points())
    along = spectra(level, OPTIONS)
    plain = spectra(level_of("pointmae-tiny", points()), OPTIONS)
    assert along[0].shape == (4, 2, 8, 8) and plain[0].shape == (4, 1, 8, 8)
    signal = torch.randn(4, 8, 1)
    rows = level.places.argsort(-1)  # [B, S, G]
    serial = signal.squeeze(-1).unsqueeze(1).expand(-1, 2, -1).gather(2, rows).unsqueeze(-1)
    waves = basis(level.centres, "sample") @ signal
    assert torch.allclose(along[0] @ serial, waves.unsqueeze(1).expand(-1, 2, -1, -1), atol=1e-5)


# ------------------------------------------------------------------------------------------------- Monarch matrices


def shuffle(rows, columns):
    """The permutation matrix that reads a table [rows, columns] column by column."""
    order = torch.arange(rows * columns).view(rows, columns).mT.flatten()
    return torch.eye(rows * columns)[order]


def dense(part):
    """The matrix of a Monarch layer as a product of full matrices: permutation, left blocks, permutation, right blocks."""
    blocks, rank, _ = part.right.shape
    outputs = part.left.shape[1]
    return shuffle(blocks, outputs) @ torch.block_diag(*part.left) @ shuffle(rank, blocks) @ torch.block_diag(*part.right)


@pytest.mark.parametrize(("inputs", "outputs", "blocks"), [(24, 24, 4), (24, 72, 6), (24, 96, 12), (72, 24, 4), (12, 48, 1)])
def test_a_monarch_layer_is_the_product_of_its_factors(inputs, outputs, blocks):
    part, x = Monarch(inputs, outputs, blocks), torch.randn(3, 5, inputs)
    assert not part(x).any(), "zero at first"
    nn.init.normal_(part.left)
    nn.init.normal_(part.bias)
    assert part.right.numel() + part.left.numel() == min(inputs, outputs) * (inputs + outputs) // blocks
    assert torch.allclose(part.dense(), dense(part), atol=1e-5)
    assert torch.allclose(part(x), x @ dense(part).mT + part.bias, atol=1e-4)
    if blocks > 1 and blocks <= part.left.shape[2]:
        assert dense(part).bool().all(), "every output depends on every input"
        assert torch.linalg.matrix_rank(dense(part)) == min(inputs, outputs), "where a product as small by LoRA has a low rank"


def randomised(adapted):
    """With updates that do something."""
    with torch.no_grad():
        for part in adapted.modules():
            if isinstance(part, Monarch):
                part.left.normal_(std=0.2)
                part.bias.normal_(std=0.2)
    return adapted


@pytest.mark.parametrize("name", SIZES)
def test_folded_updates_give_the_same_features(name):
    adapted = randomised(adapt(encoder_of(name), "most", Efficient(monarch_blocks=4, neighbours=0)))
    own, xyz = encoder_of(name), points()
    before = tokens(adapted, xyz)
    fold(adapted)
    assert torch.allclose(tokens(adapted, xyz), before, atol=1e-4)
    assert learned(adapted) == 0 and not any(isinstance(part, Monarch) for part in adapted.modules())
    biases = sum(layer.numel() for key, layer in adapted.encoder.state_dict().items() if key not in own.state_dict())
    assert sum(p.numel() for p in adapted.parameters()) == sum(p.numel() for p in own.parameters()) + biases, "nothing but biases is new"
    visible = torch.tensor([[0, 3, 5]]).expand(4, -1)
    assert torch.isfinite(adapted(adapted.patchify(xyz, ordered=False), visible).tokens).all(), "without neighbours groups can be hidden"
    with pytest.raises(ValueError, match=r"look at neighbours cannot be folded into weights; tune with efficient.neighbours=0"):
        fold(adapt(encoder_of(name), "most", OPTIONS))


@pytest.mark.parametrize(("name", "learnt"), [("pointmae-tiny", 0), ("pointbert-tiny", 1), ("pointmamba-tiny", 0)])
def test_an_update_of_most_is_what_it_is_published_as(name, learnt):
    level = level_of(name, points())
    part = Updated(nn.Linear(24, 72), 4, mixes=True)
    nn.init.normal_(part.update.left)
    part.mixing = mixing(level, OPTIONS)
    sequences = part.mixing.shape[1]
    x = torch.randn(4, learnt + 8 * sequences, 24)
    out, matrix = part(x), dense(part.update)
    for b in range(4):
        gaps = torch.cdist(level.centres[b], level.centres[b])
        once = torch.eye(8)
        for i in range(8):
            near = gaps[i].argsort()[1 : 1 + OPTIONS.neighbours]
            shares = 1 / (gaps[i, near] + 0.05)
            once[i, near] += OPTIONS.strength * shares / shares.sum()
        assert torch.allclose(once.sum(1), torch.full((8,), 1 + OPTIONS.strength))
        for s in range(sequences):
            order = torch.arange(8) if level.order is None else level.order[b, s]
            here = slice(learnt + 8 * s, learnt + 8 * s + 8)
            signal = torch.empty(8, 24)
            signal[order] = x[b, here]  # in the order of the centres
            expected = (once @ ((once @ signal) @ matrix.mT))[order]
            assert torch.allclose(out[b, here] - part.base(x[b, here]), expected, atol=1e-3, rtol=1e-3)
        assert torch.allclose(out[b, :learnt], part.base(x[b, :learnt]) + x[b, :learnt] @ matrix.mT, atol=1e-4)


def test_neighbours_of_a_shape_do_not_depend_on_the_others():
    xyz = torch.cat([points(), 0.1 * points(1)])
    adapted = randomised(adapt(encoder_of("pointm2ae-tiny"), "most", OPTIONS))
    assert torch.allclose(tokens(adapted, xyz[:1]), tokens(adapted, xyz)[:1], atol=1e-4)


# ------------------------------------------------------------------------------------------------- selected tokens


def test_large_groups_are_two_groups_around_one_centre():
    xyz = points()
    level = level_of("pointmae-tiny", xyz)
    large = doubled(level)
    assert large.groups.shape == (4, 4, 16, 3) and torch.equal(large.centres, level.centres[:, :4])
    for b in range(4):
        for i in range(4):
            other = torch.cdist(level.centres[b, i : i + 1], level.centres[b])[0].argsort()[1]
            expected = torch.cat([xyz[b, level.members[b, i]], xyz[b, level.members[b, other]]])
            assert torch.allclose(large.groups[b, i] + large.centres[b, i], expected, atol=1e-6)
            assert torch.allclose(xyz[b, large.members[b, i]], expected, atol=1e-6)


def test_the_best_scored_groups_are_selected_and_attended_to():
    encoder, xyz = encoder_of("pointmae-tiny"), points()
    adapted = adapt(copy.deepcopy(encoder), "pointlora", OPTIONS)
    selection = adapted.around
    with torch.no_grad():
        for part in adapted.modules():
            if isinstance(part, Looking):
                part.gates.fill_(1.0)
        nn.init.normal_(selection.score[2].weight, std=3)
    level = encoder.patchify(xyz, ordered=False).coarsest
    found = selection.chosen(level)
    assert found.shape == (4, 3 + 2, 24)
    embedded = F.layer_norm(encoder.embed(level.groups) + encoder.positions(level.centres), (24,))
    scores = selection.score(embedded).squeeze(-1)
    for b in range(4):
        best = scores[b].argsort(descending=True)[:3]
        assert torch.allclose(found[b, :3], embedded[b, best] * scores[b, best, None], atol=1e-5)
    # Attention by hand: a softmax over the tokens, plus one over the selected tokens.
    looking, x = adapted.encoder.transformer.blocks[0].attn, torch.randn(4, 8, 24)
    looking.selected = found
    wq, wk, wv = looking.attention.qkv.updated.base.weight.chunk(3)
    proj = looking.attention.proj.updated.base
    expected = []
    for head in range(2):
        rows = slice(12 * head, 12 * head + 12)
        q = x @ wq[rows].T
        expected.append(sum((q @ (y @ wk[rows].T).mT / 12**0.5).softmax(-1) @ (y @ wv[rows].T) for y in (x, found)))
    assert torch.allclose(looking(x), proj(torch.cat(expected, -1)), atol=1e-5)


def test_blocks_share_their_narrow_mlps_which_are_stored_once():
    adapted = adapt(encoder_of("pointmae-tiny"), "pointlora", OPTIONS)
    for one in (adapted, copy.deepcopy(adapted)):
        first, second = (block.attn.attention for block in one.encoder.transformer.blocks)
        assert first.qkv.shared[0] is second.qkv.shared[0] is one.around.shared[0]
        assert first.proj.shared[0] is second.proj.shared[0] is one.around.shared[1]
        assert len({tensor.data_ptr() for tensor in one.state_dict().values()}) == len(one.state_dict())


# ------------------------------------------------------------------------------------------------- as a task


def ellipsoids(count):
    """Points of ellipsoids that are flat or not in two axes, and which of these four they are."""
    kind = torch.arange(count) % 4
    axes = torch.stack([torch.ones(count), 1 - 0.8 * (kind % 2), 1 - 0.8 * (kind // 2)], -1)
    return F.normalize(torch.randn(count, 64, 3), dim=-1) * axes.unsqueeze(1), kind


def fit(encoder, parameters, target, steps, lr):
    """Train with a new head. Returns the last loss, and the accuracy on other shapes."""
    (xyz, kind), (others, other_kind) = ellipsoids(48), ellipsoids(48)
    head, patches = nn.Linear(encoder.dim, 4), encoder.patchify(xyz, ordered=False)
    optimizer = torch.optim.AdamW([*head.parameters(), *parameters], lr=lr)
    frozen = None if parameters else encoder.eval()(patches).tokens.mean(1).detach()  # the same in every step
    for _ in range(steps):
        loss = F.cross_entropy(head(encoder(patches).tokens.mean(1) if frozen is None else frozen), target(kind))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = head(tokens(encoder, others).mean(1)).argmax(1) == target(other_kind)
    return loss.item(), right.float().mean().item()


STEPS = {"pointmae-tiny": 80, "pointm2ae-tiny": 40, "pointmamba-tiny": 40}
"""Number of steps of the toy task."""


@functools.cache
def trained(name):
    """An encoder that tells what is flat in one axis, and how far a head on it gets as it is: loss and accuracy."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build(name, **SIZES[name])
        for module in encoder.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = 0.3  # so that its running means follow in so few steps
        fit(encoder, list(encoder.parameters()), lambda kind: kind % 2, 40, 3e-3)
        torch.manual_seed(2)
        return encoder, fit(encoder.eval(), [], lambda kind: kind, STEPS[name], 1e-2)


@pytest.mark.parametrize(
    ("name", "mode"),
    [case for case in CASES if case[0] == "pointmae-tiny" or (case[0] in ("pointm2ae-tiny", "pointmamba-tiny") and case[1] == "pointgst")],
)
def test_learns_a_toy_task_better_than_the_frozen_start(name, mode):
    encoder, (frozen_loss, _) = trained(name)
    adapted = adapt(copy.deepcopy(encoder), mode, OPTIONS)
    torch.manual_seed(2)
    loss, tuned = fit(adapted, [p for p in adapted.parameters() if p.requires_grad], lambda kind: kind, STEPS[name], 1e-2)
    assert loss < 0.97 * frozen_loss
    assert tuned > 0.4, "on shapes it was not trained on, where chance is 0.25"  # which of two is better there, 48 shapes cannot tell


@pytest.mark.parametrize("mode", MODES)
def test_classification_says_how_much_was_learned_and_leaves_the_run_alone(mode, aligned, cache_path):
    stage, cache = checkpoint.load(aligned).model.eval(), store.open_cache(cache_path)
    before = {key: value.clone() for key, value in stage.state_dict().items()}
    chosen = catalog.options("classify", [f"tune={mode}", "train_split=all", "epochs=1", "seeds=1", f"efficient.{sizes(mode)[0]}=3"])
    scores = classify.run(stage, cache, cache, chosen)
    assert scores == classify.run(stage, cache, cache, chosen) and scores.variant == mode
    assert all(torch.equal(value, before[key]) for key, value in stage.state_dict().items())
    assert all(parameter.requires_grad for parameter in stage.parameters())
    inside = learned(adapt(copy.deepcopy(stage.encoder), mode, chosen.efficient))
    above = learned(finetune.head(2 * stage.encoder.dim, len(scores.classes), chosen))
    frozen = sum(parameter.numel() for parameter in stage.encoder.parameters())
    note = f"{mode}: {inside + above:,} parameters learned, {inside:,} in the encoder and {above:,} in the head; {frozen:,} frozen"
    assert note in scores.notes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["efficient.lora_rank=2"], r"lora_rank would .* tune=full \(only " + ", ".join(MODES) + " have such"),
        (["efficient.window=8", "tune=lora", "efficient.lora_rank=2"], "window would .* tune=lora .it reads efficient.lora_rank alone"),
        (["tune=pointgst", "efficient.prompts=8", "efficient.lora_rank=2"], "efficient.lora_rank and efficient.prompts would have no"),
    ],
)
def test_sizes_that_are_not_read_are_refused(settings, message, aligned, cache_path):
    stage, cache = checkpoint.load(aligned).model.eval(), store.open_cache(cache_path)
    with pytest.raises(ValueError, match=message):
        classify.run(stage, cache, cache, catalog.options("classify", ["train_split=all", "epochs=1", "seeds=1", *settings]))


def test_the_published_basis_is_an_option_that_the_result_names(aligned, cache_path, tmp_path):
    chosen = catalog.options("classify", ["tune=pointgst", "train_split=all", "epochs=1", "seeds=1", "efficient.basis=batch"])
    found = catalog.evaluate("classify", checkpoint.load(aligned), store.open_cache(cache_path), chosen)
    assert "efficient.basis=batch" in found.title and ("efficient.basis", '"batch"') in found.settings
    assert any("depend on the other shapes of its batch" in note for note in found.scores.notes)


def test_the_best_epoch_can_be_kept(aligned, cache_path):
    """The peer protocol copies the model."""
    stage, cache = checkpoint.load(aligned).model.eval(), store.open_cache(cache_path)
    chosen = classify.Options(tune="pointgst", train_split="all", epochs=1, seeds=1, peer_protocol=True, votes=2, vote_repeats=1)
    assert len(classify.run(stage, cache, cache, chosen).metrics) == 6
