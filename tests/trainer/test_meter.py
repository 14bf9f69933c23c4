"""Losses are read a step late, none is left out, and what is wrong is found before anything is saved."""

import time

import pytest
import torch

from cache_schema.errors import UserError
from trainer.meter import Meter, Watch

NAMES = ("loss", "grad_norm")


def meter_of(batch=4):
    return Meter(Watch(3.0, lambda step: f"explained {step}"), batch)


def test_a_step_is_read_when_the_next_one_is_there():
    meter = meter_of()
    for step, loss in enumerate((2.0, 4.0, 6.0), 1):
        meter.add(step, NAMES, torch.tensor([loss, 1.0]))
        assert len(meter.watch.first) == step - 1
    assert meter.means() == {"loss": 3.0, "grad_norm": 1.0}
    meter.catch_up()
    meter.catch_up()  # reads nothing twice
    assert meter.means() == {"loss": 4.0, "grad_norm": 1.0} and meter.watch.first == [2.0, 4.0, 6.0]
    meter.restart()
    meter.add(4, NAMES, torch.tensor([1.0, 0.0]))
    meter.catch_up()
    assert meter.means() == {"loss": 1.0, "grad_norm": 0.0}


def test_what_is_wrong_is_raised_with_the_step_that_it_was_in():
    meter = meter_of()
    meter.add(7, NAMES, torch.tensor([float("nan"), 1.0]))
    with pytest.raises(UserError, match=r"step 7: loss not finite .*explained 7"):
        meter.add(8, NAMES, torch.tensor([1.0, 1.0]))


def test_the_time_of_waiting_is_told_apart():
    meter = meter_of()
    with meter.waiting():
        time.sleep(0.02)
    meter.add(1, NAMES, torch.tensor([1.0, 1.0]))
    meter.catch_up()
    speed = meter.speed()
    assert 0 < speed["data_wait"] <= 1 and 0 < speed["samples_per_s"] < 4 / 0.02
