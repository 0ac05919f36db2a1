"""The kernel unpacked on the host, so that an emulated CPU need not unpack it at every boot.

A bzImage carries the compressed kernel (Linux Documentation/arch/x86/boot.rst, payload_offset).
QEMU starts the ELF file inside directly when it has a PVH entry point. That saves some 1.5 s of
emulated zstd. Any kernel for which this is not possible boots as it is.
"""

import contextlib
import ctypes
import hashlib
import os
import struct
import tempfile
from pathlib import Path

from tlsnic.qemu.parts import cache_root

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_PT_NOTE = 4
_PHYS32_ENTRY = 18  # XEN_ELFNOTE_PHYS32_ENTRY, xen/include/public/elfnote.h
_MAX_KERNEL_BYTES = 512 << 20
_KEPT = 4


def unpacked(kernel: Path) -> Path:
    """The uncompressed form of `kernel`, made once and kept in the cache; or `kernel` itself."""
    status = kernel.stat()
    identity = f"{kernel}:{status.st_size}:{status.st_mtime_ns}"
    name = f"vmlinux-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    target = cache_root() / name
    if target.exists():
        return target
    elf = extract(kernel.read_bytes())
    if elf is None or not has_pvh_entry(elf):
        return kernel
    try:
        _write(target, elf)
    except OSError:  # a full disk costs the time saved, no more
        return kernel
    return target


def extract(image: bytes) -> bytes | None:
    """The ELF file inside the bzImage `image`, or None when it is packed in another way."""
    if image[0x202:0x206] != b"HdrS" or len(image) < 0x250:
        return None
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    # The build appends the unpacked size to the payload.
    payload = image[start : start + length - 4]
    if length < 8 or len(payload) != length - 4 or not payload.startswith(_ZSTD_MAGIC):
        return None
    if len(image) < start + length:
        return None
    (size,) = struct.unpack_from("<I", image, start + length - 4)
    return _zstd(payload, size) if size <= _MAX_KERNEL_BYTES else None


def _zstd(data: bytes, size: int) -> bytes | None:
    try:
        library = ctypes.CDLL("libzstd.so.1")  # dpkg needs it, so every Debian has it
    except OSError:
        return None
    decompress = library.ZSTD_decompress
    decompress.restype = ctypes.c_size_t
    decompress.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
    buffer = ctypes.create_string_buffer(size)
    return buffer.raw if decompress(buffer, size, data, len(data)) == size else None


def has_pvh_entry(elf: bytes) -> bool:
    """Whether the 64-bit ELF file has the note that names a PVH entry point."""
    if elf[:5] != b"\x7fELF\x02" or len(elf) < 64:
        return False
    (headers,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    try:
        for index in range(count):
            kind, _, offset, _, _, length = struct.unpack_from(
                "<IIQQQQ", elf, headers + index * size
            )
            if kind == _PT_NOTE and _phys32_note(elf[offset : offset + length]):
                return True
    except struct.error:
        return False
    return False


def _phys32_note(notes: bytes) -> bool:
    at = 0
    while at + 12 <= len(notes):
        name_bytes, value_bytes, kind = struct.unpack_from("<III", notes, at)
        if kind == _PHYS32_ENTRY and notes[at + 12 : at + 16] == b"Xen\0":
            return True
        at += 12 + -(-name_bytes // 4) * 4 + -(-value_bytes // 4) * 4
    return False


def _write(target: Path, data: bytes) -> None:
    """Write under another name and rename, so that nobody ever sees half a kernel."""
    fd, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.rename(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    kept = sorted(target.parent.glob("vmlinux-*"), key=lambda path: path.stat().st_mtime_ns)
    for old in kept[:-_KEPT]:
        old.unlink(missing_ok=True)
