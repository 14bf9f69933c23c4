"""Every kind of thing the starter collection has, and its maker: a function from a random generator to a `Thing`.

    thing = KINDS["night stand"](np.random.default_rng(0))

A new kind is one function in a module beside this one, one line here, and another `shapes.REVISION`, since the kinds of all indices move.
"""

from collections.abc import Callable
from typing import Final

from pipeline.sources.kinds import devices, outdoors, seats, storage, wares
from pipeline.sources.kinds.thing import Rng, Thing

KINDS: Final[dict[str, Callable[[Rng], Thing]]] = {
    "airplane": outdoors.airplane,
    "bathtub": seats.bathtub,
    "bed": seats.bed,
    "bench": seats.bench,
    "boat": outdoors.boat,
    "bookshelf": storage.bookshelf,
    "bottle": wares.bottle,
    "bowl": wares.bowl,
    "bucket": wares.bucket,
    "car": outdoors.car,
    "chair": seats.chair,
    "clock": devices.clock,
    "desk": storage.desk,
    "door": storage.door,
    "dresser": storage.dresser,
    "fence": storage.fence,
    "frying pan": wares.frying_pan,
    "guitar": devices.guitar,
    "house": outdoors.house,
    "keyboard": devices.keyboard,
    "ladder": outdoors.ladder,
    "lamp": devices.lamp,
    "laptop": devices.laptop,
    "mailbox": outdoors.mailbox,
    "microwave": devices.microwave,
    "monitor": devices.monitor,
    "mug": wares.mug,
    "night stand": storage.night_stand,
    "piano": devices.piano,
    "potted plant": wares.potted_plant,
    "radio": devices.radio,
    "refrigerator": storage.refrigerator,
    "rocket": outdoors.rocket,
    "sink": seats.sink,
    "sofa": seats.sofa,
    "stairs": outdoors.stairs,
    "stool": seats.stool,
    "table": storage.table,
    "teapot": wares.teapot,
    "tent": outdoors.tent,
    "toilet": seats.toilet,
    "traffic cone": outdoors.traffic_cone,
    "umbrella": wares.umbrella,
    "vase": wares.vase,
    "wardrobe": storage.wardrobe,
}
"""The order is part of what an index means."""
