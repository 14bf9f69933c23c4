"""How many texts are longer than a teacher reads. Its tower sees their beginning alone, so the rest teaches nothing.

record = measured(work, record)          # Record.cut
"""

import dataclasses
from typing import Final

import numpy as np

from cache_schema import products
from cache_schema.layout import texts
from cache_schema.spec import CUT, CaptionSpec, Record, TeacherSpec
from cache_schema.terminal import counted
from pipeline.teachers.catalog import Measuring
from pipeline.work import Work

AT_ONCE: Final = 1024
"""Most texts that are measured at a time."""
REMEMBERED: Final = 1 << 16
"""Number of texts after which those that were measured are forgotten."""


def measured(work: Work, record: Record) -> Record:
    """Return the record of embedded captions with the number of texts of usable shapes that its teacher cuts, and say it if there are some.

    Other records stay as they are, and those of teachers that were imported or do not tell how much they read.
    """
    if products.of(record) is not products.TEXT or not isinstance(record.spec, TeacherSpec) or record.spec.imported:
        return record
    teacher = work.models.teacher(record.spec)
    if not isinstance(teacher, Measuring):
        return record
    cache, known = work.cache, dict[str, bool]()
    (captions,) = products.select(cache.records(), products.CAPTIONS, captions=products.parts(record)["captions"])
    assert isinstance(captions.spec, CaptionSpec)
    ok, total, cut = cache.ok(), 0, 0
    if int(ok.sum()) * record.per_shape > REMEMBERED:  # this takes a while
        work.terminal.say(f"counting the texts of {captions.product} that are longer than {record.spec.name} reads")
    for shard, cells in cache.column_shards(cache.arrays(captions)[0].path):
        rows = cache.manifest.rows(shard)
        said = texts(cells[ok[rows.start : rows.stop]][:, :, : captions.spec.keep].reshape(-1, cells.shape[-1]))
        found, count = np.unique(said[said != ""].astype(str), return_counts=True)
        if len(known) > REMEMBERED:
            known.clear()
        new = [text for text in found.tolist() if text not in known]
        for start in range(0, len(new), AT_ONCE):
            part = new[start : start + AT_ONCE]
            known |= dict(zip(part, teacher.too_long(part), strict=True))
        total += int(count.sum())
        cut += int(sum(number for text, number in zip(found.tolist(), count.tolist(), strict=True) if known[text]))
    if cut:
        whole = "they are left out" if captions.spec.wrong else "it cuts them"
        which = f"{cut} of {counted(total, 'text')} of {captions.product}"
        work.terminal.say(f"Note: {which} are longer than {record.spec.name} reads; {whole}")
    kept = [pair for pair in record.made_by if pair[0] != CUT]
    return dataclasses.replace(record, made_by=(*kept, (CUT, str(cut))))
