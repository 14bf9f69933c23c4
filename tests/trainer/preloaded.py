"""Import what ranks and trainings of tests import. The server of `tests/forks.py` imports this once."""
# ruff: noqa: F401

import torch.distributed.fsdp
import torch.distributed.tensor

import tests.trainer.conftest
import trainer.cli
import trainer.loop
import trainer.tasks.catalog
