"""Import what a small build imports when it loads models. The server that forks the builds of `test_build.py` imports this once."""

from pipeline.torchvision_ops import declare_missing

declare_missing()

import open_clip  # noqa: E402, F401
import transformers.models.blip_2.modeling_blip_2  # noqa: E402
import transformers.models.dinov2.modeling_dinov2  # noqa: E402, F401

import tests.pipeline.conftest  # noqa: E402, F401
