"""Texts with places, addresses and names of people, and texts that only look like them."""

import time

import pytest

from cache_schema.local import REMOVED, Cleaner

CLEANER = Cleaner(("/mnt/shapes/list", "/mnt/shapes"), ("janedoe",))

PRIVATE = {
    # paths
    "/home/bob/models/dino": "dino",
    "/home/bob": REMOVED,
    "/secret": REMOVED,
    "in /secret now": f"in {REMOVED}",
    "/secret/plan.ply": "plan.ply",
    "//nas/home/bob": REMOVED,
    "//nas/shapes/x.obj": "x.obj",
    r"\\server\share\jane": REMOVED,
    r"\\server\share\jane\x.obj": "x.obj",
    "C:/Users/bob/x.obj": "x.obj",
    r"C:\Users\Bob Brown\secret things\x y.obj is gone": "x y.obj is gone",
    r"d:\secret": REMOVED,
    "file:///home/x": REMOVED,
    "file:/home/x/y.ply": "y.ply",
    "file://nas/home/x": REMOVED,
    "~/secret/x.ply": "x.ply",
    "~bob/x": REMOVED,
    "error:/home/bob/x.ply": "error:x.ply",
    "--out=/home/bob/x.ply": "--out=x.ply",
    "'/home/bob/x.ply' and \"/home/eve/y.ply\"": "'x.ply' and \"y.ply\"",
    "/mnt/My Drive/secret project/x.ply": "x.ply",
    "/mnt/My Drive/secret project/x.ply is cut short": "x.ply is cut short",
    "/mnt/My Drive": REMOVED,
    "/home/bob/a/x.ply to /home/eve/b/y.ply": "x.ply to y.ply",
    "/daten/Müller/süß.obj": "süß.obj",
    "/home/bob/x at https://huggingface.co/a": "x at https://huggingface.co/a",
    # below a known folder
    "/mnt/shapes/chairs/a b.off is empty": "chairs/a b.off is empty",
    "/mnt/shapes/list": "list",
    # addresses
    "ssh://bob@10.2.3.4/x": REMOVED,
    "s3://lab-private/x": REMOVED,
    "gs://lab/x and tcp://node7:8786": f"{REMOVED} and {REMOVED}",
    "10.2.3.4:8786": REMOVED,
    "8.8.8.8:53": REMOVED,
    "asked 192.168.1.20.": f"asked {REMOVED}.",
    "[fe80::1]:8786": REMOVED,
    "localhost:8000": REMOVED,
    "gpu.lab.edu:8786": REMOVED,
    "node7.cluster.local": REMOVED,
    "http://gpubox:8000/v1 failed": f"{REMOVED} failed",
    "http://10.0.0.1/x": REMOVED,
    "https://bob:pw@lab.org/x": REMOVED,
    "https://lab.org/x?token=abc": REMOVED,
    "bob@lab.edu": REMOVED,
    "by Bob <bob.b+x@mail.lab.edu>": f"by Bob <{REMOVED}>",
    "bob@gpubox7:/data/x": REMOVED,
    "bob@10.2.3.4": REMOVED,
}
HARMLESS = """1/2|and/or|n/a|km/h|image/clip|image/*|openai/clip-vit-base|facebook/dinov2-base@0fae|./my-siglip|../a/b|a photo of {}/{}
https://huggingface.co/openai/clip-vit-base|https://huggingface.co/a?b=c#d|http://creativecommons.org/licenses/by/4.0/
see https://a.org, or b
git+https://github.com/a/b|12:30|12:30:45|2026-11-29T03:24:28|1.2.3.4|version 12.8.4.1|torch 2.9.0+cu128
ratio 16:9|1:1024|top@5|mAP@0.5
3 / 4|a / b|50%/year|+/-|</s>|<image></s>|chairs/a b.off|mesh.obj:12|x: y|a:b|C: drive|[1:2]|[0:3, 1]|a\\nb|// a note|doi:10.1145/3592133
~5|~5/6
w/o texture|e.g. this|arXiv:2304.07193|/|//|/ or /|/5|(a)/b|scan:starter|chair/0001#2|Crème/brûlée|10.1234/abc.def|10.2.3|x.local_name"""


@pytest.mark.parametrize(("text", "clean"), PRIVATE.items())
def test_what_is_private_is_found_and_taken_out(text, clean):
    assert CLEANER.local(text)
    assert CLEANER.cleaned(text) == clean
    assert not CLEANER.local(clean)
    assert CLEANER.local(f"see {text}") and CLEANER.local(f"({text})")


@pytest.mark.parametrize("text", [text for line in HARMLESS.splitlines() for text in line.split("|")])
def test_what_only_looks_private_stays(text):
    assert CLEANER.local(text) == ""
    assert CLEANER.cleaned(text) == text


def test_names_go():
    assert CLEANER.cleaned("asked JaneDoe") == f"asked {REMOVED}"


@pytest.mark.parametrize(
    "text", ["/a" * 5000, "/a b" * 3000, "a.b-" * 3000, "/a " * 4000, "@a" * 5000, "[:" * 5000, "\\\\a" * 4000, "~" * 9000]
)
def test_long_texts_take_no_time(text):
    begun = time.process_time()
    CLEANER.local(text)
    CLEANER.cleaned(text)
    assert time.process_time() - begun < 2
