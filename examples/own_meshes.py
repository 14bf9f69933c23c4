# %% [markdown]
# # Vectors for meshes of your own
# A trained encoder turns each shape into a vector. Shapes whose vectors point in the same direction look alike to it.

# %%
import numpy as np
import trimesh
from shared import call, fresh, ready

cache, run = ready()
folder = fresh("meshes")

# %% [markdown]
# Any folder of shapes will do: OBJ, GLB, STL, PLY and more, of any size. Here we write six: three boards and three sticks.

# %%
(folder / "shapes").mkdir()
for i, (length, height) in enumerate([(8, 5), (7, 6), (9, 4)]):
    trimesh.creation.box((length, height, 0.3)).export(folder / "shapes" / f"board{i}.ply")
    trimesh.creation.cylinder(0.2 + 0.05 * i, length).export(folder / "shapes" / f"stick{i}.obj")

# %% [markdown]
# One command reads them, samples points as the run was trained on, and writes the vectors. The ending of the file chooses the form:
# `.parquet`, `.npz` or `.csv`.

# %%
call("mmpd-train embed {run} {shapes} {out}", run=run, shapes=folder / "shapes", out=folder / "vectors.npz")
found = np.load(folder / "vectors.npz")
names, vectors = found["id"], found["vector"]
print(f"{len(names)} shapes, {vectors.shape[1]} numbers each")

# %% [markdown]
# Who is nearest to whom? The cosine of the angle between two vectors says it. The mean is taken off first: it is what all shapes share.

# %%
unit = vectors - vectors.mean(0)
unit /= np.linalg.norm(unit, axis=1, keepdims=True)
cosines = unit @ unit.T
np.fill_diagonal(cosines, -1)
for name, row in zip(names, cosines, strict=True):
    print(f"{name}: nearest is {names[row.argmax()]}, cosine {row.max():.3f}")

# %% [markdown]
# The same in Python, for points that are already in memory: any scale, place and number of points.

# %%
from trainer.model import Model  # noqa: E402

cloud = trimesh.load(folder / "shapes" / "stick1.obj").sample(3000)  # [3000, 3]
vector = Model.load(run).embed(np.asarray(cloud, np.float32))[0]
same = vectors[list(names).index(next(name for name in names if "stick1" in name))]
print(f"Model.embed and the command: cosine {vector @ same / np.linalg.norm(vector) / np.linalg.norm(same):.3f}")
