"""torchvision can be imported beside any torch."""

import torch

from pipeline import torchvision_ops


def test_torchvision_imports():
    torchvision_ops.declare_missing()
    torchvision_ops.declare_missing()
    from torchvision.transforms import v2

    assert v2.functional.resize(torch.zeros(3, 8, 8), [4, 4]).shape == (3, 4, 4)


def test_nothing_is_declared_over_the_real_operators(monkeypatch):
    monkeypatch.setattr(torchvision_ops, "_declared", [])
    monkeypatch.setattr(torchvision_ops, "_loads", lambda: True)
    torchvision_ops.declare_missing()
    assert torchvision_ops._declared == []
