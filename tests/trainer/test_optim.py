"""Learning rate, decay groups, the state of an optimiser by name, the average."""

import pytest
import torch

from tests.trainer.conftest import config_of
from trainer import optim
from trainer.align import Teacher
from trainer.config import OptimConfig
from trainer.stage import Facts, build


@pytest.fixture
def stage():
    torch.manual_seed(0)
    return build(config_of("align"), Facts(teachers=(Teacher(name="a", dim=8, text=True, objective="contrast"),)))


def test_the_learning_rate_rises_in_a_line_and_falls_in_a_cosine():
    config = OptimConfig(batch=8, epochs=10, lr=1.0, lr_end=0.1, warmup=1)
    rates = [optim.learning_rate(config, step, 100, per_epoch=10) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[55] == pytest.approx(0.55) and rates[99] == pytest.approx(0.1, abs=1e-3)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert optim.learning_rate(config, 5, 20, per_epoch=10) < 1  # warm-up takes a tenth of a short run at most
    assert optim.learning_rate(config, 2, 20, per_epoch=10) == 1


def test_a_run_may_end_within_the_cosine():
    """Point-M2AE ends after 300 epochs of a cosine over 400."""
    whole, part = (OptimConfig(batch=8, epochs=epochs, lr=1e-3, warmup=0, cosine=share) for epochs, share in ((400, 1.0), (300, 0.75)))
    rates = [optim.learning_rate(part, step, 3000, per_epoch=10) for step in range(3000)]
    assert rates == pytest.approx([optim.learning_rate(whole, step, 4000, per_epoch=10) for step in range(3000)])
    assert rates[-1] == pytest.approx(1.47e-4, rel=0.01)
    assert optim.learning_rate(part, 299, 300, per_epoch=1) == pytest.approx(rates[-1], rel=0.03), "a share, so also of fewer epochs"
    for share in (0, 1.5):
        with pytest.raises(ValueError, match=r"optim.cosine must lie in \(0, 1\]"):
            OptimConfig(batch=8, epochs=1, lr=1.0, cosine=share)


def test_steps_fill_all_epochs():
    config = OptimConfig(batch=125, epochs=250, lr=1.0)
    assert optim.steps(config, 1007) == 2014  # 250 * (1007 / 125) is a little less
    assert optim.steps(OptimConfig(batch=125, epochs=0, lr=1.0), 1007) == 0
    with pytest.raises(ValueError, match="250 epochs of 0 shapes do not fill one batch of 125"):
        optim.steps(config, 0)


def test_vectors_do_not_decay_whatever_their_written_shape(stage):
    optimizer = optim.adamw(stage, OptimConfig(batch=8, epochs=1, lr=1e-3, weight_decay=0.3))
    names = {id(parameter): name for name, parameter in stage.named_parameters()}
    matrices, vectors = ([names[id(p)] for p in group["params"]] for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0]
    assert {"pool.query", "encoder.norm.weight", "teachers.targets.image/a.log_scale", "encoder.embed.lift.bias"} <= set(vectors)
    assert "encoder.embed.lift.weight" in matrices and len(matrices) + len(vectors) == len(names)


def test_what_is_frozen_is_not_optimised(stage):
    stage.teachers.requires_grad_(False)
    assert not [name for name, _ in optim.named(stage) if name.startswith("teachers.")]


def test_an_optimiser_comes_back_from_its_tensors(stage):
    config = OptimConfig(batch=8, epochs=1, lr=1e-3)

    def steps(optimizer, count):
        for _ in range(count):
            for i, (_, parameter) in enumerate(optim.named(stage)):
                parameter.grad = torch.full_like(parameter, 1 + i)
            optimizer.step()

    first = optim.adamw(stage, config)
    steps(first, 2)
    weights, remembered = (
        {n: v.clone() for n, v in stage.state_dict().items()},
        {n: v.clone() for n, v in optim.state(stage, first).items()},
    )
    steps(first, 1)
    expected = stage.state_dict()["pool.query"].clone()
    stage.load_state_dict(weights)
    second = optim.adamw(stage, config)
    optim.restore(stage, second, remembered)
    steps(second, 1)
    assert torch.equal(stage.state_dict()["pool.query"], expected)


def test_the_average_follows_slowly_and_keeps_counts(stage):
    average = optim.Average(stage, 0.75)
    before = stage.pool.query.detach().clone()
    with torch.no_grad():
        stage.pool.query.add_(4)
    stage.encoder.embed.norm1.num_batches_tracked += 3
    average.update(stage)
    torch.testing.assert_close(average.tensors["pool.query"], before + 1)
    assert average.tensors["encoder.embed.norm1.num_batches_tracked"] == 3
    assert optim.Average(stage, 0).tensors == {}
