"""Which messages never reach the library: those that would block it, confuse it or crash it.

Source for the layouts: include/vfio-user.h of libvfio-user, and the vfio-user specification. All
integers are little-endian. What is refused here, and why:

* A size below the header's or above the library's limit: the stream can no longer be followed.
  The connection is dropped.
* SET_IRQS whose start + count overflows 32 bits: 0b28d205 checks the wrapped sum and closes file
  descriptors far past the end of its table (HEAD saturates).
* A configuration-space write that crosses a dword: both revisions copy it into a capability on the
  stack without a check of its end.
* DMA_MAP of no bytes or past 2^64, which the revisions enter in their tables or trip over;
  DMA_MAP and DMA_UNMAP shorter than their structures, of which 0b28d205 reads the missing part.
"""

import errno
from struct import Struct

HEADER = Struct("<HHIII")
"""Message ID, command, message size including this header, flags, error number."""
HEADER_BYTES = 16
PEEK_BYTES = 64
"""Enough to judge any message: header and the longest structure looked at."""
MAX_MESSAGE_BYTES = HEADER_BYTES + 16 + (1 << 20)

VERSION = 1
DMA_MAP = 2
DMA_UNMAP = 3
SET_IRQS = 8
REGION_READ = 9
REGION_WRITE = 10

FLAG_REPLY = 1
FLAG_NO_REPLY = 0x10
FLAG_ERROR = 0x20

_CONFIG_REGION = 7
_REGION_ACCESS = Struct("<QII")
_DMA_MAP = Struct("<IIQQQ")
_DMA_UNMAP = Struct("<IIQQ")
_IRQ_SET = Struct("<IIIII")


def verdict(message: bytes | bytearray | memoryview, command: int, size_bytes: int) -> int:
    """Judge a message by its first PEEK_BYTES: 0 to pass it on, else the errno to refuse it with.

    `message` holds min(size_bytes, PEEK_BYTES) bytes or more.
    """
    payload_bytes = size_bytes - HEADER_BYTES
    if command == REGION_WRITE:
        if payload_bytes >= _REGION_ACCESS.size:
            offset, region, count = _REGION_ACCESS.unpack_from(message, HEADER_BYTES)
            if region == _CONFIG_REGION and (offset & 3) + count > 4:
                return errno.EINVAL
    elif command == SET_IRQS:
        if payload_bytes >= _IRQ_SET.size:
            _, _, _, start, count = _IRQ_SET.unpack_from(message, HEADER_BYTES)
            if start + count > 0xFFFFFFFF:
                return errno.EINVAL
    elif command == DMA_MAP:
        if payload_bytes < _DMA_MAP.size:
            return errno.EINVAL
        _, _, _, address, length = _DMA_MAP.unpack_from(message, HEADER_BYTES)
        if length == 0 or address + length > 1 << 64:
            return errno.EINVAL
    elif command == DMA_UNMAP and payload_bytes < _DMA_UNMAP.size:
        return errno.EINVAL
    return 0


def refusal(message_id: int, command: int, error: int) -> bytes:
    """Return the reply that refuses a message with errno `error`."""
    return HEADER.pack(message_id, command, HEADER_BYTES, FLAG_REPLY | FLAG_ERROR, error)
