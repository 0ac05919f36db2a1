"""A device on a socket, once for each libvfio-user at hand."""

import os
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tlsnic.device.vfu import (
    Context,
    Irq,
    Library,
    Region,
    RegionFlag,
    VfuAbiError,
    VfuDisconnected,
    load_library,
)

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves test helpers unreachable
from raw_client import Client

HEAD_VARIABLE = "TLSNIC_TEST_LIBVFIO_USER_HEAD"


@pytest.fixture(params=["june2022", "head"])
def library(request: pytest.FixtureRequest) -> Library:
    if request.param == "head":
        path = os.environ.get(HEAD_VARIABLE)
        if not path:
            pytest.skip(f"{HEAD_VARIABLE} names no libvfio-user of today's HEAD")
        return load_library(path)
    try:
        return load_library()
    except VfuAbiError as error:
        pytest.skip(f"no libvfio-user: {error}")


class Registers:
    """A region of plain memory that records its writes."""

    def __init__(self, size: int) -> None:
        self.memory = bytearray(size)
        self.writes: list[tuple[int, bytes]] = []
        self.fail: BaseException | None = None

    def read(self, offset: int, length: int) -> bytes:
        if self.fail is not None:
            raise self.fail
        return bytes(self.memory[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        if self.fail is not None:
            raise self.fail
        self.writes.append((offset, data))
        self.memory[offset : offset + len(data)] = data


class Device:
    """A small PCI device: registers in BAR0, 4 MSI-X vectors, DMA."""

    def __init__(self, path: Path, library: Library, **options: object) -> None:
        self.path = str(path)
        self.registers = Registers(4096)
        self.events: list[object] = []
        self.disconnects: list[str] = []
        self.context = Context(self.path, library=library, **options)  # type: ignore[arg-type]
        self.context.pci_init()
        self.context.pci_set_id(0x1234, 0x5678, 0x1AF4, 0x1100)
        self.context.pci_set_class(2, 0, 0)
        self.context.setup_region(
            Region.BAR0, 4096, self.registers, flags=RegionFlag.RW | RegionFlag.MEM
        )
        self.context.setup_irqs(Irq.INTX, 1)
        self.context.setup_irqs(Irq.MSIX, 4)
        self.dma = self.context.setup_dma(
            lambda region: self.events.append(("map", region.iova)),
            lambda region: self.events.append(("unmap", region.iova)),
        )
        self.context.on_reset(self.events.append)

    def realize(self) -> "Device":
        self.context.realize()
        return self

    def pump(self) -> None:
        """Run until the context has nothing to do, collecting disconnections."""
        while select.select([self.context], [], [], 0)[0]:
            try:
                self.context.run()
            except VfuDisconnected as gone:
                self.disconnects.append(gone.what)

    def connect(self) -> Client:
        client = Client(self.path, self.pump)
        assert client.negotiate().error == 0
        return client


DeviceMaker = Callable[..., Device]


@pytest.fixture
def make_device(tmp_path: Path, library: Library) -> Iterator[DeviceMaker]:
    made: list[Device] = []

    def make(**options: object) -> Device:
        made.append(Device(tmp_path / f"{len(made)}.sock", library, **options))
        return made[-1]

    yield make
    for device in made:
        device.context.close()


@pytest.fixture
def device(make_device: DeviceMaker) -> Device:
    return make_device().realize()


@pytest.fixture
def client(device: Device) -> Iterator[Client]:
    with device.connect() as connected:
        yield connected


@pytest.fixture
def memfd() -> Iterator[int]:
    fd = os.memfd_create("ram")
    os.ftruncate(fd, 1 << 20)
    yield fd
    os.close(fd)
