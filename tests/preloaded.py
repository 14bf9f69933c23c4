"""Import what builds, changes of caches and commands of the pipeline import. The server of `forks.py` imports this once."""
# ruff: noqa: E402, F401

from pipeline.torchvision_ops import declare_missing

declare_missing()

import distributed
import open_clip
import pyarrow.parquet
import scipy.spatial
import transformers.models.blip_2.modeling_blip_2
import transformers.models.dinov2.modeling_dinov2

import pipeline.cli
import pipeline.points
import pipeline.reading
import pipeline.sources.catalog
import tests.pipeline.conftest
import tests.torture.change_once
