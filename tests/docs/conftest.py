"""What the tests of the pages share, to be read only: the folder in which the quickstart's commands were typed."""

import pytest

from tests.docs.pages import QUICKSTART, blocks, commands
from tests.docs.running import forked


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory):
    """The folder after the commands that the quickstart marks to be run, and what each of them printed."""
    folder = tmp_path_factory.mktemp("quickstart")
    (quick,) = [block for block in blocks(QUICKSTART) if block.run]
    return folder, [forked(words, folder) for words in commands(quick.text)]
