"""Before anything imports torch: its threads must not spin while they wait, or tests with several processes starve each other."""

import gc
import os

gc.disable()  # until everything is imported, which makes half a million objects that stay
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores already
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if "CI" in os.environ:  # a property that fails once in a thousand examples is found at home, and stops nobody's submission
    from hypothesis import settings

    settings.register_profile("ci", derandomize=True, deadline=None)
    settings.load_profile("ci")


def pytest_collection_modifyitems(items):
    """The longest tests begin first, so that at the end no core waits for another."""
    items.sort(key=lambda item: item.path.name != "test_learning.py")


def pytest_collection_finish():
    """What was imported is not searched for garbage again and again: that took a tenth of the tests' time. Not by `gc.freeze`: libraries
    that are imported later could not see who refers to what."""
    gc.set_threshold(20_000, 20, 20)
    gc.enable()
