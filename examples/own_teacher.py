# %% [markdown]
# # A teacher of your own
# A teacher is a frozen model that embeds pictures. Any torch module can be one. Here: a small network with fixed random weights.

# %%
import numpy as np
import torch
from shared import fresh, ready

from cache_schema.overlay import lay
from cache_schema.spec import TeacherSpec
from cache_schema.store import open_cache
from pipeline import weights
from pipeline.cli import app
from pipeline.teachers import catalog

# %% [markdown]
# A backend is a module with `PACKAGES` and `load`. What `load` returns has a description, `preprocess` and `embed_images`;
# `docs/howto/teacher.md` lists the rest, which only patch features and texts need.

# %%
PACKAGES = ()  # packages, besides torch, whose versions the cache should record


class Small(torch.nn.Module):
    notes = ()

    def __init__(self, model: str, name: str) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 8, 8), torch.nn.ReLU(), torch.nn.Conv2d(32, 16, 4))
        digest = weights.digest(self.net.state_dict())
        told = "every 4th pixel of 128, then 2 x - 1"
        self.spec = TeacherSpec(name=name, backend="small", model=model, weights=digest, preprocess=told, dim=16, text=False, image_size=32)

    def preprocess(self, image: np.ndarray) -> torch.Tensor:  # [H, W, 3] uint8 -> [3, 32, 32]
        step = image.shape[0] // 32
        return torch.from_numpy(image[: 32 * step : step, : 32 * step : step].copy()).permute(2, 0, 1) / 127.5 - 1

    @torch.no_grad()
    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:  # [B, 3, 32, 32] -> [B, 16]
        return self.net(pixels).flatten(1)


def load(model: str, *, name: str, revision: str, device: object, precision: str) -> Small:
    return Small(model, name)


# %% [markdown]
# A package makes its backend known by an entry point in the group `mmpd.teachers`. A script may add it to the catalogue itself. The
# embeddings go into an overlay: a folder of our own that leaves the shared cache as it is.

# %%
catalog.BACKENDS["small"] = __name__
cache, _ = ready()
mine = fresh("teacher") / "mine.zarr"
lay(cache, mine)
app(["add-teacher", str(mine), "tiny-eye=small:random", "--licence", "CC0-1.0"], standalone_mode=False)

# %%
opened = open_cache(mine)
record = opened.record("image/tiny-eye")
print(f"backend {record.spec.backend}, {record.spec.dim} numbers an embedding, licence {record.spec.licence}")
views = opened.column("image/tiny-eye").astype(np.float32)  # [N, V, 16]
print(f"{views.shape[0]} shapes, {views.shape[1]} views each, {views.shape[2]} numbers a view")
