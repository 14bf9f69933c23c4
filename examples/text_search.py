# %% [markdown]
# # Find shapes by a text
# A run of stage 1 places shapes where its teachers place pictures and texts. So a text finds shapes, also those without any name.

# %%
import json

from shared import call, fresh, ready

cache, run = ready()

# %% [markdown]
# The text is embedded by the teacher that the run learned from, in a process of its own: the trainer needs no teacher. `--json` gives
# the answer to a script, and `--page` writes a page with pictures to look at.

# %%
page = fresh("search") / "chairs.html"
command = 'mmpd-train search {run} {cache} --text "a chair" --top 3 --json --page {page}'
answer = json.loads(call(command, run=run, cache=cache, page=page))
for place, one in enumerate(answer["neighbours"], 1):
    print(f"{place}. {one['id']}, cosine {one['cosine']:.3f}")
print(f"{page} has {page.stat().st_size // 1024} KiB")

# %% [markdown]
# `--image` searches by a picture, and `--shape` by a shape: a file, or the id of a shape of the cache. That needs no teacher.

# %%
first = answer["neighbours"][0]["id"]
answer = json.loads(call("mmpd-train search {run} {cache} --shape {first} --top 3 --json", run=run, cache=cache, first=first))
print(f"near {first}:", ", ".join(f"{one['id']} ({one['cosine']:.2f})" for one in answer["neighbours"]))
