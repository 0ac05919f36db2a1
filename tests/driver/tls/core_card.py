"""The real core of the card behind a `Bus`, in this process: for tests of driver and card together.

The card works on each doorbell at once unless `paused`; its clock goes on by `advance`.
"""

from tlsnic.device.core import DmaFault, Nic, NicConfig
from tlsnic.driver.bus.base import Bar, Bus
from tlsnic.driver.bus.dma import DmaBuffer

IOVA = 0x1_0000_0000
MEMORY_BYTES = 8 << 20


class Card:
    """Core, host memory and wire. `frames`: what the card sent; `wire_busy`: it takes none, until
    the core is told `wire_writable`; `codes`: its diagnostics."""

    bus_master = True
    msix_enabled = True
    intx_disabled = False
    takes_super_frames = False

    def __init__(self):
        self.memory = bytearray(MEMORY_BYTES)
        self.frames = []
        self.now_ns = 0
        self.paused = False
        self.wire_busy = False
        self.unmapped = set()  # addresses whose DMA fails
        self.core = Nic(NicConfig(), self, self)
        self.codes = []
        self.core.observer = lambda entry: self.codes.append(entry.code)
        self.core.set_link(True)

    # Host and port of the core

    def view(self, address, length, write):
        return self.views(address, length, write)[0]

    def views(self, address, length, write):
        at = address - IOVA
        if not 0 <= at <= at + length <= MEMORY_BYTES or address in self.unmapped:
            raise DmaFault(address, length)
        return [memoryview(self.memory)[at : at + length]]

    def trigger(self, vector):
        pass

    def set_intx(self, asserted):
        pass

    def send(self, parts, vnet, now_ns):
        if self.wire_busy:
            return False
        self.frames.append(b"".join(bytes(part) for part in parts))
        return True

    # For the tests

    def run(self):
        while not self.paused and self.core.poll(self.now_ns):
            pass

    def advance(self, seconds):
        self.now_ns += int(seconds * 1e9)
        self.run()

    def bus(self):
        return CoreBus(self)


class CoreBar(Bar):
    """BAR 0 or 2."""

    def __init__(self, card, index):
        super().__init__(index, 0x10000)
        self.card = card

    def read(self, offset, width):
        self.card.run()
        return self.card.core.read(self.index, offset, width)

    def write(self, offset, value, width):
        self.card.core.write(self.index, offset, width, value)
        self.card.run()


class CoreBus(Bus):
    """A bus with nothing but the core behind it; it has no interrupts."""

    spec = "core"

    def __init__(self, card):
        self.card = card
        self.used = 0
        self.live = set()

    def bars(self):
        return []

    def bar(self, index):
        return CoreBar(self.card, index)

    def config_read(self, offset, width):
        return 0x1234

    def config_write(self, offset, value, width):
        pass

    def set_bus_master(self, enabled):
        pass

    def dma_alloc(self, size_bytes, align=4096):
        start = -(-self.used // align) * align
        self.used = start + size_bytes
        assert self.used <= MEMORY_BYTES, "the memory is used up"
        view = memoryview(self.card.memory)[start : self.used]

        def free(buffer):
            self.live.discard(buffer)
            buffer.view[:] = bytes(len(buffer.view))
            buffer.view.release()

        buffer = DmaBuffer(view, IOVA + start, free)
        self.live.add(buffer)
        return buffer

    @property
    def dma_live_bytes(self):
        return sum(buffer.size_bytes for buffer in self.live)

    def msix_vectors(self):
        return 0

    def msix_enable(self, count):
        raise NotImplementedError

    intx_enable = reset = msix_enable

    def close(self):
        assert not self.live, self.live
