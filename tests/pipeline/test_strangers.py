"""Records that another program wrote: what they say is looked at before it is used."""

import pytest

from cache_schema import synthetic
from cache_schema.errors import UserError
from cache_schema.spec import Record
from pipeline import label_sets, records
from pipeline.work import Machine
from tests.pipeline.conftest import Silent


def test_labels_of_an_unknown_back_end_are_refused_by_its_name(tmp_path):
    path = synthetic.write(tmp_path / "c.zarr", shapes=5).path
    with pytest.raises(UserError, match=r"no teacher backend 'synthetic'; there is: .*open_clip"):
        label_sets.add_labels(path, "modelnet40", 8, Machine(device="cpu"), Silent())


@pytest.mark.parametrize("said", ["many", "", "0", "-3", "1.5", "99999999", "٣", "8 "])
def test_a_batch_size_that_is_none_is_refused_by_the_name_of_the_product(said):
    record = Record(product="image/a", kind="image", spec=synthetic.teacher("a"), per_shape=2, inputs=(), made_by=(("image_batch", said),))
    with pytest.raises(UserError, match=r"the record of image/a has image_batch .*, expected a whole number"):
        records.batch_size(record, "image_batch", 4)
    assert records.batch_size(record, "text_batch", 4) == 4
