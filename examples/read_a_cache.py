# %% [markdown]
# # Read a cache from PyTorch, JAX and xarray
# A cache is plain Zarr version 3, so any Zarr client reads it. Our own reader is faster: it maps the files into memory.

# %%
import importlib.util

import numpy as np
import torch
from shared import ready

from cache_schema.store import open_cache

cache, _ = ready()
opened = open_cache(cache)
print(f"{opened.manifest.shapes} shapes of {len(opened.manifest.classes)} classes; products:")
print(", ".join(opened.products()))

# %% [markdown]
# ## PyTorch
# `rows` gives any rows of an array, copied out of mapped files. A data set for `torch.utils.data.DataLoader` needs no more than this.

# %%


class Points(torch.utils.data.Dataset):
    def __init__(self) -> None:
        self.xyz, self.labels = opened.rows("points/xyz"), opened.column("label")
        self.usable = np.flatnonzero(opened.ok())

    def __len__(self) -> int:
        return len(self.usable)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        row = self.usable[i]
        blocks = self.xyz.gather(np.array([row]))[0]  # [R, P, 3] float16
        return torch.from_numpy(blocks[0]).float(), int(self.labels[row])


points, labels = next(iter(torch.utils.data.DataLoader(Points(), batch_size=8)))
print("PyTorch:", tuple(points.shape), points.dtype, labels.tolist())

# %% [markdown]
# ## JAX
# The first points of a block are spread evenly over the shape (farthest-point order), so a prefix is a coarser cloud.

# %%
if importlib.util.find_spec("jax"):
    import jax.numpy as jnp

    coarse = jnp.asarray(opened.rows("points/xyz").gather(np.arange(8))[:, 0, :64], jnp.float32)
    print("JAX:", coarse.shape, f"mean distance from the centre {float(jnp.linalg.norm(coarse, axis=-1).mean()):.3f}")
else:
    print("JAX is not installed: pip install jax")

# %% [markdown]
# ## xarray
# Dimensions have names. Nothing is read before it is asked for.

# %%
if importlib.util.find_spec("xarray"):
    import xarray

    group = xarray.open_zarr(cache, group="points", consolidated=False)
    print("xarray:", dict(group["xyz"].sizes))
    extent = group["xyz"].isel(block=0).max("point") - group["xyz"].isel(block=0).min("point")
    print("largest extent of a shape:", float(extent.max()))
else:
    print("xarray is not installed: pip install xarray")
