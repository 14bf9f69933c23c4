"""Import what builds, changes of caches and commands import. The server that forks processes of tests imports this once; see `forks.py`."""

from pipeline.torchvision_ops import declare_missing

declare_missing()

import open_clip  # noqa: E402, F401
import pyarrow.parquet  # noqa: E402, F401
import scipy.spatial  # noqa: E402, F401
import transformers.models.blip_2.modeling_blip_2  # noqa: E402
import transformers.models.dinov2.modeling_dinov2  # noqa: E402, F401

import pipeline.cli  # noqa: E402
import pipeline.points  # noqa: E402
import pipeline.reading  # noqa: E402
import pipeline.sources.catalog  # noqa: E402, F401
import tests.pipeline.conftest  # noqa: E402
import tests.torture.change_once  # noqa: E402, F401
import trainer.cli  # noqa: E402
import trainer.loop  # noqa: E402, F401
