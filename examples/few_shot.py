# %% [markdown]
# # Learn two classes from ten shapes
# Features of a pre-trained encoder need few labels. Here: five bowls and five boxes are named, and fifty others of both kinds are asked.

# %%
import numpy as np
from shared import ready
from sklearn.linear_model import LogisticRegression

from cache_schema.intervals import wilson
from trainer.model import Model

_, run = ready()
model = Model.load(run)
rng = np.random.default_rng(0)

# %% [markdown]
# Your shapes would come from files. These are clouds of 1,000 points: half shells, and boxes, each with other proportions, each turned.


# %%
def bowl(n: int = 1000) -> np.ndarray:
    points = rng.standard_normal((n, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points[:, 1] = -np.abs(points[:, 1])  # the upper half folds down
    return points


def box(n: int = 1000) -> np.ndarray:
    points = rng.uniform(-1, 1, (n, 3))
    side = rng.integers(3, size=n)
    points[np.arange(n), side] = np.sign(points[np.arange(n), side])
    return points


def placed(points: np.ndarray) -> np.ndarray:
    """A cloud with other proportions, turned about the upright axis. [n, 3]"""
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return ((points * rng.uniform(0.6, 1.4, 3)) @ turn.T).astype(np.float32)


clouds = [placed(made()) for made in (bowl, box) for _ in range(30)]
truth = np.repeat(["bowl", "box"], 30)
vectors = model.embed(clouds)  # [60, D]

# %% [markdown]
# Which ten shapes are named matters when they are so few. So draw often, and look at the spread.

# %%
right = []
for seed in range(20):
    drawn = np.random.default_rng(seed).permutation(len(truth))
    known = np.concatenate([drawn[truth[drawn] == name][:5] for name in ("bowl", "box")])  # ten shapes
    asked = np.setdiff1d(drawn, known)
    learned = LogisticRegression(max_iter=1000).fit(vectors[known], truth[known])
    right.append(100 * learned.score(vectors[asked], truth[asked]))

mean, spread = np.mean(right), np.std(right, ddof=1)
low, high = wilson(mean, len(asked))
print(f"{mean:.1f} ± {spread:.1f} percent right over 20 draws; chance is 50")
print(f"{len(asked)} shapes are asked in each draw: the 95 % interval over other shapes is [{low:.0f}, {high:.0f}]")

# %% [markdown]
# `mmpd-train eval fewshot RUN CACHE` measures this on a cache, over folds, in the form in which papers report it.
