"""The initial RAM disk: busybox, the disk's driver, and a script that finds and enters the root.

The archive is cpio's "newc" format (Linux Documentation/driver-api/early-userspace/
buffer-format.rst), written uncompressed: an emulated CPU unpacks gzip slower than QEMU loads it.
"""

from __future__ import annotations

import lzma
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT_LABEL = "tlsnic-root"
PROJECT_LABEL = "tlsnic-project"
GUEST_INIT = "/project/qemu/tlsnic/qemu/guest/init"

_INIT = f"""\
#!/bin/busybox sh
# Find the root disk and the project disk by label, and hand over to the project's own init.
# Few programs are started: each costs some 30 ms on an emulated CPU.
bb=/bin/busybox
$bb mount -t devtmpfs dev /dev
for module in /lib/*.ko; do $bb insmod "$module"; done
disk() {{ $bb findfs "LABEL=$1" 2>/dev/null; }}
tries=0
until root=$(disk {ROOT_LABEL}) || [ $tries -ge 20 ]; do
    tries=$((tries + 1)); $bb usleep 100000
done
root=${{root:-/dev/vda}}
if ! $bb mount -t ext4 "$root" /root; then
    echo "tlsnic: cannot mount the root disk $root" >&2
    exec $bb sh
fi
if project=$(disk {PROJECT_LABEL}); then
    [ -d /root/project ] || $bb mkdir /root/project
    $bb mount -t ext4 -o ro,noload "$project" /root/project
fi
$bb mount -t proc proc /root/proc
$bb mount -t sysfs sys /root/sys
$bb mount -o move /dev /root/dev
init=/bin/sh
[ -e /root{GUEST_INIT} ] && init={GUEST_INIT}
exec $bb switch_root /root $init
"""


@dataclass(frozen=True)
class Entry:
    """One file, folder or device of a cpio archive. `device` is (major, minor)."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def write(path: Path, busybox: Path, modules: Iterable[Path]) -> None:
    """Write the archive to `path`. Modules are loaded in the order given."""
    folder = Entry(stat.S_IFDIR | 0o755)
    entries = dict.fromkeys(("bin", "dev", "proc", "sys", "lib", "root"), folder)
    # Without /dev/console in the archive the script would have no standard output.
    entries["dev/console"] = Entry(stat.S_IFCHR | 0o600, device=(5, 1))
    entries["bin/busybox"] = Entry(stat.S_IFREG | 0o755, busybox.read_bytes())
    entries["init"] = Entry(stat.S_IFREG | 0o755, _INIT.encode())
    for number, module in enumerate(modules):
        data = module.read_bytes()
        if module.suffix == ".xz":
            data = lzma.decompress(data)
        name = f"lib/{number}-{module.name.removesuffix('.xz')}"
        entries[name] = Entry(stat.S_IFREG | 0o644, data)
    path.write_bytes(archive(entries))


def archive(entries: Mapping[str, Entry]) -> bytes:
    """A cpio archive in "newc" format, owned by root and without times, so always the same."""
    out = bytearray()
    for inode, (name, entry) in enumerate({**entries, "TRAILER!!!": Entry(0)}.items(), start=1):
        encoded = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device)
        out += b"070701" + b"".join(b"%08X" % n for n in (*numbers, len(encoded), 0)) + encoded
        out += bytes(-len(out) % 4)
        out += entry.data
        out += bytes(-len(out) % 4)
    return bytes(out)
