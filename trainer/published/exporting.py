"""Export our encoders to files with the authors' tensor names.

    export_encoder(Path("runs/point-mae"), Path("encoder.safetensors"))

Letters: D width, E a teacher's width.
"""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from cache_schema.errors import UserError
from cache_schema.files import write_file
from trainer import checkpoint
from trainer.encoders import catalog
from trainer.encoders.protocol import refuse_masked
from trainer.published.peers import ENDS, PEERS, PROJECTION


def export_encoder(run: Path, out: Path) -> int:
    """Write the encoder of a run as safetensors, with the tensor names of the authors' pre-training model.

    For a run imported from ULIP, the file also has the projection to the teacher.

    Returns:
        The number of tensors written.

    Raises:
        UserError: there is no run, or the file's name does not end in .safetensors, or the file exists, or the encoder leaves points out,
            which the authors' code does not.
    """
    if out.suffix != ".safetensors":
        raise UserError(f"{out} must end in .safetensors, .onnx or .pt2")
    if out.exists():
        raise UserError(f"{out} exists: give another name")
    loaded = checkpoint.load(run)
    refuse_masked(loaded.model.encoder, "the authors' code")
    state = {f"encoder.{name}": value for name, value in loaded.model.get_submodule("encoder").state_dict().items()}
    theirs = catalog.family(loaded.config.encoder.name).to_published(state)
    source = loaded.header.source
    if source and PEERS[source.architecture].stage == "align":  # other runs have separate or different heads for images and texts
        theirs |= _projection(loaded.model.state_dict())
    theirs = {name: value.contiguous() for name, value in theirs.items()}
    write_file(out, safetensors.torch.save(theirs, {"format": "pt"}))
    return len(theirs)


def _projection(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The projection [D, E] into the teacher's space and its scale, from an imported run, under ULIP's names."""
    found = {theirs: next(value for name, value in state.items() if name.endswith(end)) for theirs, end in ENDS.items()}
    return found | {PROJECTION: found[PROJECTION].T}
