"""Which card draws beside which card computes, on machines that are only pretended; and that a shape process is told."""

import sys
from types import SimpleNamespace

import pytest
import torch

from pipeline import graphics, models, worker
from pipeline.executors import catalog
from pipeline.graphics import Card
from pipeline.work import Machine

UUIDS = [f"{i:08x}-0000-4000-8000-{i:012x}" for i in range(1, 5)]
DIGITS = [uuid.replace("-", "") for uuid in UUIDS]
SOFTWARE = Card()


@pytest.fixture
def machine(monkeypatch):
    """Pretend a machine: `machine(EGL's cards, CUDA's uuids, its CUDA_VISIBLE_DEVICES)`."""
    monkeypatch.delenv(graphics.VARIABLE, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def pretend(cards, uuids, visible=None):
        monkeypatch.setattr(graphics, "devices", lambda: tuple(cards))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(uuid=uuids[i]))
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return pretend


def numbers(count):
    return [graphics.number(f"cuda:{i}") for i in range(count)]


def test_cards_are_matched_by_what_both_sides_call_them(machine):
    # EGL lists the cards backwards, after Mesa's; CUDA shows two of four.
    cards = [SOFTWARE, *(Card(uuid=digits, ordinal=0) for digits in reversed(DIGITS))]
    machine(cards, [UUIDS[2], "GPU-" + UUIDS[0]], visible="2,0")
    assert numbers(2) == [2, 4] and graphics.environment("cuda:1") == {"EGL_DEVICE_ID": "4"}


def test_numbers_of_cuda_count_where_they_can_mean_one_thing_only(machine):
    cards = [Card(ordinal=1), Card(ordinal=0), SOFTWARE]
    machine(cards, UUIDS)
    assert numbers(2) == [1, 0]
    machine(cards, UUIDS, visible="1,0")
    assert numbers(2) == [None, None] and graphics.environment("cuda:0") == {}


def test_a_user_who_names_the_card_is_asked_no_more(machine, monkeypatch):
    machine([Card(uuid=DIGITS[0])], UUIDS)
    monkeypatch.setenv(graphics.VARIABLE, "3")
    assert graphics.environment("cuda:0") == {} and graphics.environment("cpu") == {}


def test_cards_that_draw_for_others_are_told(machine):
    drawn = SimpleNamespace(devices=("cuda:0", "cuda:1"), task=SimpleNamespace(views=True))
    machine([Card(uuid=DIGITS[0])], UUIDS)
    assert catalog._unmatched(Machine(), drawn) == "EGL does not tell which of its devices is cuda:1: its first device draws for each"
    machine([Card(uuid=digits) for digits in DIGITS], UUIDS)
    assert catalog._unmatched(Machine(), drawn) == ""


def test_the_libraries_own_list_is_read(machine):
    assert all(isinstance(card, Card) for card in graphics.devices()) and graphics.number("cpu") is None


def test_a_shape_process_gets_the_variable(monkeypatch, fresh_processes):
    script = "import os, sys; from pipeline import worker; worker._send(sys.stdout.buffer, os.environ['EGL_DEVICE_ID'])"
    popen = worker.subprocess.Popen
    monkeypatch.setattr(worker.subprocess, "Popen", lambda command, **options: popen([sys.executable, "-c", script], **options))
    process = worker._Process(SimpleNamespace(judge=""), 1, {graphics.VARIABLE: "5"})
    assert process.renderer == "5"
    process.close()


def test_turns_let_as_many_in_as_there_are(monkeypatch):
    turns = models.Turns("meta")  # a device that is no CPU and takes one batch
    with turns:
        assert turns._free.empty()
    assert turns._free.qsize() == 1
