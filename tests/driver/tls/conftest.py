"""A driver attached to the real core."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tlsnic.driver.nic import Nic, NicOptions


def _load(name, folder="."):
    # With --import-mode=importlib the test folders are no packages: load helpers by their path.
    path = Path(__file__).parent / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


core_card = _load("core_card")
_load("flows")
_load("marked_stream")
_load("tcp_link", "../tcp")
linked_card = _load("linked_card")


@pytest.fixture
def card():
    return core_card.Card()


@pytest.fixture
def nic(card):
    bus = card.bus()
    options = NicOptions(tx_queues=2, interrupts="poll", command_timeout_s=0.05)
    attached = Nic.attach(bus, options)
    yield attached
    attached.close()
    assert bus.dma_live_bytes == 0


@pytest.fixture
def rig():
    """`rig(loss=0.01, ...)`: a `linked_card.Rig`."""
    made = []

    def make(**options):
        made.append(linked_card.Rig(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()
