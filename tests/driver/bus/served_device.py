"""A small device on the real libvfio-user, run as a process of its own: served_device.py SOCKET.

BAR0 is memory, except: a write to 0x100 triggers that MSI-X vector, one to 0x104 asserts the INTx
pin (1) or withdraws it (0), and one to 0x200 copies by DMA (source at 0x208, destination 0x210,
length 0x218; errno to 0x21c). The number of writes so far is read at 0x300, the kind of the last
reset at 0x400.
"""

import mmap
import os
import select
import struct
import sys

from tlsnic.device.vfu import (
    Context,
    DmaError,
    Irq,
    MmapArea,
    Region,
    RequestRefused,
    VfuDisconnected,
    capabilities,
)


class Registers:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.memory = bytearray(0x4000)
        self.writes = 0

    def read(self, offset: int, length: int) -> bytes:
        if offset >= 0x3000:
            raise RequestRefused(5, "nothing is there")
        struct.pack_into("<Q", self.memory, 0x300, self.writes)
        return bytes(self.memory[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        self.writes += 1
        self.memory[offset : offset + len(data)] = data
        if offset == 0x100:
            self.context.trigger(data[0])
        elif offset == 0x104:
            # Interrupt status, by which a shared pin's handler knows its device (PCI 3.0, 6.2.3).
            self.context.config[6] = self.context.config[6] & ~8 | 8 * data[0]
            if data[0]:
                self.context.trigger(0)
        elif offset == 0x200:
            self.copy()

    def copy(self) -> None:
        source, destination, length = struct.unpack_from("<QQI", self.memory, 0x208)
        status = 0
        try:
            self.context.dma.write(destination, self.context.dma.read(source, length))
        except DmaError as error:
            status = error.errno
        struct.pack_into("<I", self.memory, 0x21C, status)

    def reset(self, kind: int) -> None:
        self.memory[:] = bytes(len(self.memory))
        struct.pack_into("<I", self.memory, 0x400, 1 + int(kind))


def main(path: str) -> None:
    area = os.memfd_create("bar2")
    os.ftruncate(area, 0x4000)
    with Context(path) as context:
        registers = Registers(context)
        context.pci_init()
        context.pci_set_id(0x1234, 0x5678)
        context.add_capability(capabilities.power_management())
        context.add_capability(capabilities.express_endpoint())
        context.add_capability(
            capabilities.msix(20, table_bar=0, table_offset=0x2000, pba_bar=0, pba_offset=0x2800)
        )
        context.setup_region(Region.BAR0, 0x4000, registers)
        context.setup_region(
            Region.BAR2, 0x4000, registers, fd=area, mmap_areas=[MmapArea(mmap.PAGESIZE, 0x2000)]
        )
        context.setup_dma()
        context.setup_irqs(Irq.INTX, 1)
        context.setup_irqs(Irq.MSIX, 20)
        context.on_reset(registers.reset)
        context.realize()
        print("ready", flush=True)
        while True:
            select.select([context], [], [])
            try:
                context.run()
            except VfuDisconnected:
                continue


if __name__ == "__main__":
    main(sys.argv[1])
