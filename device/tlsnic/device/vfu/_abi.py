"""The C side of libvfio-user: structures, callback types and prototypes of both known ABIs.

Source: include/libvfio-user.h of revision 0b28d205 (June 2022, in Debian's QEMU source package) and
of efd091bc (June 2026). They differ, for what is bound here, in `vfu_setup_device_dma` (the newer
takes the greatest number of maps as its second argument) and in `vfu_sgl_read/write` (flags at the
end). Callbacks and calls swap errno with ctypes' own copy, so that a callback can set it.
"""

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char_p,
    c_int,
    c_int64,
    c_size_t,
    c_ssize_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from enum import Enum
from typing import Any

DMA_SG_SIZE_BYTES = 40
"""sizeof(dma_sg_t) in both revisions; anything else is a library not known here."""
ATTACH_NB = 1
TRANSPORT_SOCKET = 0
DEVICE_TYPE_PCI = 0
OLD_MAX_DMA_REGIONS = 16


class Abi(Enum):
    """The two interfaces told apart by `Library`."""

    JUNE_2022 = "0b28d205"
    HEAD_2026 = "efd091bc"


class IoVecC(Structure):
    """`struct iovec`. The length is size_t: 32 bits would cut a 5 GiB map to 1 GiB."""

    _fields_ = (("iov_base", c_void_p), ("iov_len", c_size_t))


class DmaInfoC(Structure):
    """`vfu_dma_info_t`; everything but `iova` and `prot` counts only when `vaddr` is set."""

    _fields_ = (
        ("iova", IoVecC),
        ("vaddr", c_void_p),
        ("mapping", IoVecC),
        ("page_size", c_size_t),
        ("prot", c_uint32),
    )


class ScatterC(Structure):
    """`dma_sg_t`: its size is checked at load, its fields are the same in both revisions.

    `region` is an index in the older and a pointer in the newer one; it is never read here.
    """

    _fields_ = (
        ("dma_addr", c_uint64),
        ("region", c_uint64),
        ("length", c_uint64),
        ("offset", c_uint64),
        ("writeable", c_bool),
    )


LOG_CALLBACK = CFUNCTYPE(None, c_void_p, c_int, c_char_p, use_errno=True)
REGION_CALLBACK = CFUNCTYPE(
    c_ssize_t, c_void_p, c_void_p, c_size_t, c_int64, c_bool, use_errno=True
)
RESET_CALLBACK = CFUNCTYPE(c_int, c_void_p, c_int, use_errno=True)
QUIESCE_CALLBACK = CFUNCTYPE(c_int, c_void_p, use_errno=True)
DMA_CALLBACK = CFUNCTYPE(None, c_void_p, POINTER(DmaInfoC), use_errno=True)
IRQ_STATE_CALLBACK = CFUNCTYPE(None, c_void_p, c_uint32, c_uint32, c_bool, use_errno=True)

_REGION_MEMORY = (POINTER(IoVecC), c_uint32, c_int, c_uint64)
"""The last arguments of vfu_setup_region: areas, their number, descriptor, offset in it."""

_COMMON: dict[str, tuple[Any, list[Any]]] = {
    "dma_sg_size": (c_size_t, []),
    "vfu_create_ctx": (c_void_p, [c_int, c_char_p, c_int, c_void_p, c_int]),
    "vfu_realize_ctx": (c_int, [c_void_p]),
    "vfu_attach_ctx": (c_int, [c_void_p]),
    "vfu_get_poll_fd": (c_int, [c_void_p]),
    "vfu_run_ctx": (c_int, [c_void_p]),
    "vfu_destroy_ctx": (None, [c_void_p]),
    "vfu_setup_log": (c_int, [c_void_p, LOG_CALLBACK, c_int]),
    "vfu_setup_region": (
        c_int,
        [c_void_p, c_int, c_size_t, REGION_CALLBACK, c_int, *_REGION_MEMORY],
    ),
    "vfu_setup_device_quiesce_cb": (None, [c_void_p, QUIESCE_CALLBACK]),
    "vfu_device_quiesced": (c_int, [c_void_p, c_int]),
    "vfu_setup_device_reset_cb": (c_int, [c_void_p, RESET_CALLBACK]),
    "vfu_setup_device_nr_irqs": (c_int, [c_void_p, c_int, c_uint32]),
    "vfu_setup_irq_state_callback": (c_int, [c_void_p, c_int, IRQ_STATE_CALLBACK]),
    "vfu_irq_trigger": (c_int, [c_void_p, c_uint32]),
    "vfu_addr_to_sgl": (
        c_int,
        [c_void_p, c_uint64, c_size_t, POINTER(ScatterC), c_size_t, c_int],
    ),
    "vfu_sgl_get": (c_int, [c_void_p, POINTER(ScatterC), POINTER(IoVecC), c_size_t, c_int]),
    "vfu_sgl_mark_dirty": (None, [c_void_p, POINTER(ScatterC), c_size_t]),
    "vfu_sgl_put": (None, [c_void_p, POINTER(ScatterC), POINTER(IoVecC), c_size_t]),
    "vfu_sg_is_mappable": (c_bool, [c_void_p, POINTER(ScatterC)]),
    "vfu_pci_init": (c_int, [c_void_p, c_int, c_int, c_int]),
    "vfu_pci_set_id": (None, [c_void_p, c_uint16, c_uint16, c_uint16, c_uint16]),
    "vfu_pci_set_class": (None, [c_void_p, c_uint8, c_uint8, c_uint8]),
    "vfu_pci_get_config_space": (c_void_p, [c_void_p]),
    "vfu_pci_add_capability": (c_ssize_t, [c_void_p, c_size_t, c_int, c_char_p]),
    "vfu_pci_find_capability": (c_size_t, [c_void_p, c_bool, c_int]),
    "vfu_pci_find_next_capability": (c_size_t, [c_void_p, c_bool, c_size_t, c_int]),
}

_BY_ABI: dict[Abi, dict[str, tuple[Any, list[Any]]]] = {
    Abi.JUNE_2022: {
        "vfu_setup_device_dma": (c_int, [c_void_p, DMA_CALLBACK, DMA_CALLBACK]),
        "vfu_sgl_read": (c_int, [c_void_p, POINTER(ScatterC), c_size_t, c_void_p]),
        "vfu_sgl_write": (c_int, [c_void_p, POINTER(ScatterC), c_size_t, c_void_p]),
    },
    Abi.HEAD_2026: {
        "vfu_setup_device_dma": (c_int, [c_void_p, c_size_t, DMA_CALLBACK, DMA_CALLBACK]),
        "vfu_sgl_read": (c_int, [c_void_p, POINTER(ScatterC), c_size_t, c_void_p, c_int]),
        "vfu_sgl_write": (c_int, [c_void_p, POINTER(ScatterC), c_size_t, c_void_p, c_int]),
    },
}

SYMBOLS = (*_COMMON, *_BY_ABI[Abi.JUNE_2022])
"""Every function that must be exported by either revision."""


def declare(library: ctypes.PyDLL, abi: Abi) -> None:
    """Set result and argument types of every function bound here."""
    for name, (result, arguments) in {**_COMMON, **_BY_ABI[abi]}.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
