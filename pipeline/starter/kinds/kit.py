"""The language in which the kinds are written: every word of the toolkit under one name.

A kind begins with `from pipeline.starter.kinds.kit import *`; no two modules of the kit share a name.
"""

from pipeline.starter.kinds.casings import *
from pipeline.starter.kinds.hulls import *
from pipeline.starter.kinds.joinery import *
from pipeline.starter.kinds.outlines import *
from pipeline.starter.kinds.padding import *
from pipeline.starter.kinds.plants import *
from pipeline.starter.kinds.skins import *
from pipeline.starter.kinds.solids import *
from pipeline.starter.kinds.thing import *
from pipeline.starter.kinds.vessels import *
