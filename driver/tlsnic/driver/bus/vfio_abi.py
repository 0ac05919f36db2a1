"""Numbers and structures of linux/vfio.h, which vfio-pci and the vfio-user protocol share.

Nothing here does I/O. Structure layouts carry the name of the C structure they follow.
"""

from __future__ import annotations

from struct import Struct

# Device flags: struct vfio_device_info
DEVICE_FLAGS_RESET = 1 << 0
DEVICE_FLAGS_PCI = 1 << 1

# PCI regions and interrupts, by index
PCI_CONFIG_REGION_INDEX = 7
PCI_NUM_REGIONS = 9
PCI_INTX_IRQ_INDEX = 0
PCI_MSI_IRQ_INDEX = 1
PCI_MSIX_IRQ_INDEX = 2
PCI_ERR_IRQ_INDEX = 3
PCI_REQ_IRQ_INDEX = 4

# Region flags and capabilities: struct vfio_region_info, struct vfio_info_cap_header
REGION_INFO_FLAG_READ = 1 << 0
REGION_INFO_FLAG_WRITE = 1 << 1
REGION_INFO_FLAG_MMAP = 1 << 2
REGION_INFO_FLAG_CAPS = 1 << 3
REGION_INFO_CAP_SPARSE_MMAP = 1

# Interrupt flags: struct vfio_irq_info
IRQ_INFO_EVENTFD = 1 << 0
IRQ_INFO_MASKABLE = 1 << 1
IRQ_INFO_AUTOMASKED = 1 << 2
IRQ_INFO_NORESIZE = 1 << 3

# Interrupt actions: struct vfio_irq_set
IRQ_SET_DATA_NONE = 1 << 0
IRQ_SET_DATA_BOOL = 1 << 1
IRQ_SET_DATA_EVENTFD = 1 << 2
IRQ_SET_ACTION_MASK = 1 << 3
IRQ_SET_ACTION_UNMASK = 1 << 4
IRQ_SET_ACTION_TRIGGER = 1 << 5

DEVICE_INFO = Struct("=IIII")  # struct vfio_device_info: argsz, flags, num_regions, num_irqs
REGION_INFO = Struct("=IIIIQQ")  # struct vfio_region_info: argsz, flags, index, caps, size, offset
CAP_HEADER = Struct("=HHI")  # struct vfio_info_cap_header: id, version, next
SPARSE_MMAP = Struct("=II")  # struct vfio_region_info_cap_sparse_mmap: nr_areas, reserved
SPARSE_AREA = Struct("=QQ")  # struct vfio_region_sparse_mmap_area: offset, size
IRQ_INFO = Struct("=IIII")  # struct vfio_irq_info: argsz, flags, index, count
IRQ_SET = Struct("=IIIII")  # struct vfio_irq_set: argsz, flags, index, start, count

_MAX_CAPS = 32


class RegionInfo:
    """One region of a device: a BAR, the ROM, configuration space.

    `areas` are the mappable parts as (offset, size_bytes) inside the region; `offset` is where the
    region begins in the file that is mapped.
    """

    __slots__ = ("areas", "argsz", "flags", "index", "offset", "size_bytes")

    def __init__(
        self,
        index: int,
        flags: int,
        size_bytes: int,
        offset: int,
        *,
        areas: list[tuple[int, int]],
        argsz: int,
    ) -> None:
        self.index = index
        self.flags = flags
        self.size_bytes = size_bytes
        self.offset = offset
        self.areas = areas
        self.argsz = argsz


def parse_region_info(data: bytes | bytearray | memoryview) -> RegionInfo:
    """Decode a struct vfio_region_info with its capabilities.

    A mappable region without a sparse-mmap capability is one area of the whole size. Capabilities
    that did not fit (`argsz` says how much there is) are left out. Raises ValueError with the
    reason when the bytes make no sense.
    """
    if len(data) < REGION_INFO.size:
        raise ValueError(f"region info has {len(data)} of {REGION_INFO.size} bytes")
    argsz, flags, index, cap_offset, size_bytes, offset = REGION_INFO.unpack_from(data)
    areas: list[tuple[int, int]] | None = None
    if flags & REGION_INFO_FLAG_CAPS and argsz <= len(data):
        areas = _sparse_areas(data, cap_offset, size_bytes)
    if areas is None:
        areas = [(0, size_bytes)] if flags & REGION_INFO_FLAG_MMAP and size_bytes else []
    return RegionInfo(index, flags, size_bytes, offset, areas=areas, argsz=argsz)


def _sparse_areas(
    data: bytes | bytearray | memoryview, cap_offset: int, size_bytes: int
) -> list[tuple[int, int]] | None:
    for _ in range(_MAX_CAPS):
        if cap_offset == 0:
            return None
        if cap_offset < REGION_INFO.size or cap_offset + CAP_HEADER.size > len(data):
            raise ValueError(f"a region capability lies at {cap_offset}, of {len(data)} bytes")
        cap_id, _version, following = CAP_HEADER.unpack_from(data, cap_offset)
        if cap_id == REGION_INFO_CAP_SPARSE_MMAP:
            return _areas_at(data, cap_offset + CAP_HEADER.size, size_bytes)
        cap_offset = following
    raise ValueError("the list of region capabilities loops")


def _areas_at(
    data: bytes | bytearray | memoryview, position: int, size_bytes: int
) -> list[tuple[int, int]]:
    if position + SPARSE_MMAP.size > len(data):
        raise ValueError("the sparse-mmap capability is cut short")
    count, _ = SPARSE_MMAP.unpack_from(data, position)
    position += SPARSE_MMAP.size
    if position + count * SPARSE_AREA.size > len(data):
        raise ValueError(f"the sparse-mmap capability has no room for its {count} areas")
    areas = []
    for _ in range(count):
        start, length = SPARSE_AREA.unpack_from(data, position)
        position += SPARSE_AREA.size
        if start + length > size_bytes:
            raise ValueError(f"mappable area {start:#x}+{length:#x} is outside its region")
        if length:
            areas.append((start, length))
    return areas


def irq_set(flags: int, index: int, start: int, count: int, data: bytes = b"") -> bytes:
    """A struct vfio_irq_set with its data."""
    return IRQ_SET.pack(IRQ_SET.size + len(data), flags, index, start, count) + data
