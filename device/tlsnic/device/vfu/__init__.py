"""libvfio-user in Python: a PCI device that QEMU, or any vfio-user client, attaches to by a socket.

    library = load_library()                       # TLSNIC_LIBVFIO_USER, else the cache's newest
    with Context("/run/nic.sock", library=library) as context:
        context.pci_init()
        context.pci_set_id(0x1234, 0x5678)
        context.setup_region(Region.BAR0, 4096, registers)   # registers.read, registers.write
        dma = context.setup_dma(on_unmap=drop_views)
        context.setup_irqs(Irq.MSIX, 8)
        context.realize()
        while True:
            select.select([context], [], [])
            try:
                context.run()
            except VfuDisconnected:
                pass                                # it listens for the next client already

`capabilities` makes PCI capabilities for `Context.add_capability`.
"""

from tlsnic.device.vfu import _capabilities as capabilities
from tlsnic.device.vfu._abi import Abi
from tlsnic.device.vfu._connection import State
from tlsnic.device.vfu._context import Context
from tlsnic.device.vfu._dma import NO_FD, DmaMap, DmaRegion
from tlsnic.device.vfu._errors import (
    DmaError,
    RequestRefused,
    VfuAbiError,
    VfuDisconnected,
    VfuError,
    WrongThreadError,
)
from tlsnic.device.vfu._library import ENVIRONMENT_VARIABLE, Library, find_library, load_library
from tlsnic.device.vfu._scatter import ScatterList
from tlsnic.device.vfu._sockets import Listener
from tlsnic.device.vfu._types import (
    CapFlag,
    IoVec,
    Irq,
    MmapArea,
    PciType,
    Region,
    RegionFlag,
    RegionHandler,
    Reset,
)

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "NO_FD",
    "Abi",
    "CapFlag",
    "Context",
    "DmaError",
    "DmaMap",
    "DmaRegion",
    "IoVec",
    "Irq",
    "Library",
    "Listener",
    "MmapArea",
    "PciType",
    "Region",
    "RegionFlag",
    "RegionHandler",
    "RequestRefused",
    "Reset",
    "ScatterList",
    "State",
    "VfuAbiError",
    "VfuDisconnected",
    "VfuError",
    "WrongThreadError",
    "capabilities",
    "find_library",
    "load_library",
]
