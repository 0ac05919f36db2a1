"""The model of the card, and a driver attached to it."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tlsnic.driver.nic import Nic, NicOptions

# With --import-mode=importlib the test folders are no packages: load the model by its path.
_SPEC = importlib.util.spec_from_file_location(
    "fake_device", Path(__file__).with_name("fake_device.py")
)
fake_device = importlib.util.module_from_spec(_SPEC)
sys.modules.setdefault(_SPEC.name, fake_device)
_SPEC.loader.exec_module(fake_device)


@pytest.fixture
def device():
    return fake_device.FakeDevice()


@pytest.fixture
def attach(device):
    """`attach(option=value, ...)`: a started Nic; at the end no DMA memory must be left."""
    opened = []

    def make(*, start=True, msix_vectors=64, **options):
        bus = device.bus(msix_vectors=msix_vectors)
        opened.append((bus, None))
        nic = Nic.attach(bus, NicOptions(**options), start=start)
        opened[-1] = (bus, nic)
        return nic

    yield make
    for bus, nic in opened:
        if nic is not None:
            nic.close()
        assert bus.dma_live_bytes == 0
        bus.close()
