"""PCI capabilities as bytes for `Context.add_capability`.

Source: PCI Local Bus 3.0 (6.7, 6.8.2), PCI Power Management 1.2 (3.2), PCI Express 5.0 (7.5.3,
7.9.3).
The "next" pointers are left zero; the library fills them in.
"""

from struct import pack

CAP_POWER_MANAGEMENT = 0x01
CAP_VENDOR = 0x09
CAP_EXPRESS = 0x10
CAP_MSIX = 0x11
EXT_CAP_SERIAL_NUMBER = 0x0003
EXT_CAP_VENDOR = 0x000B

EXPRESS_BYTES = 0x3C
_ROLE_BASED_ERROR_REPORTING = 1 << 15
_FUNCTION_LEVEL_RESET = 1 << 28
_COMPLETION_TIMEOUT_DISABLE = 1 << 4


def power_management(*, no_soft_reset: bool = True) -> bytes:
    """D0 and D3hot, no PME. With `no_soft_reset`, D3hot to D0 keeps the device's state."""
    return pack("<BBHHBB", CAP_POWER_MANAGEMENT, 0, 0x0003, 0x0008 if no_soft_reset else 0, 0, 0)


def express_endpoint(
    *,
    function_level_reset: bool = True,
    max_payload_bytes: int = 256,
    link_speed: int = 3,
    link_width: int = 16,
) -> bytes:
    """A PCI Express endpoint, capability version 2. `link_speed`: 1 = 2.5, 2 = 5, 3 = 8 GT/s..."""
    if max_payload_bytes not in (128, 256, 512, 1024, 2048, 4096):
        raise ValueError(f"no PCI Express payload size: {max_payload_bytes}")
    device = (max_payload_bytes // 128).bit_length() - 1 | _ROLE_BASED_ERROR_REPORTING
    if function_level_reset:
        device |= _FUNCTION_LEVEL_RESET
    link = link_speed | link_width << 4
    body = pack("<BBHIHHIHH", CAP_EXPRESS, 0, 0x0002, device, 0, 0, link, 0, link)
    body += bytes(0x24 - len(body)) + pack("<I", _COMPLETION_TIMEOUT_DISABLE)
    body += bytes(0x2C - len(body)) + pack("<IH", (1 << link_speed) - 1 << 1, link_speed)
    return body.ljust(EXPRESS_BYTES, b"\0")


def msix(
    vectors: int, *, table_bar: int, table_offset: int, pba_bar: int, pba_offset: int
) -> bytes:
    """MSI-X with `vectors` (1 to 2048); the offsets are multiples of 8 bytes."""
    if not 1 <= vectors <= 2048:
        raise ValueError(f"MSI-X has 1 to 2048 vectors, not {vectors}")
    for name, bar, offset in (("table", table_bar, table_offset), ("PBA", pba_bar, pba_offset)):
        if offset % 8 or not 0 <= offset < 1 << 32 or not 0 <= bar <= 5:
            raise ValueError(f"MSI-X {name} cannot be at BAR{bar}+{offset:#x}")
    return pack("<BBHII", CAP_MSIX, 0, vectors - 1, table_offset | table_bar, pba_offset | pba_bar)


def vendor(data: bytes) -> bytes:
    """A vendor-specific capability with up to 252 bytes of data, padded to whole dwords."""
    length = (3 + len(data) + 3) & ~3
    if length > 0xFF:
        raise ValueError(f"{len(data)} bytes do not fit a vendor-specific capability")
    return pack("<BBB", CAP_VENDOR, 0, length) + data.ljust(length - 3, b"\0")


def serial_number(number: int) -> bytes:
    """The extended Device Serial Number capability (CapFlag.EXTENDED), an EUI-64."""
    return pack("<IQ", EXT_CAP_SERIAL_NUMBER | 1 << 16, number)


def extended_vendor(vendor_id: int, revision: int, data: bytes) -> bytes:
    """An extended vendor-specific capability (CapFlag.EXTENDED), padded to whole dwords."""
    length = (8 + len(data) + 3) & ~3
    if length > 0xFFF:
        raise ValueError(f"{len(data)} bytes do not fit an extended capability")
    header = pack("<II", EXT_CAP_VENDOR | 1 << 16, vendor_id | revision << 16 | length << 20)
    return header + data.ljust(length - 8, b"\0")
