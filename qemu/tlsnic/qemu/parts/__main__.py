"""`python -m tlsnic.qemu.parts`: make every part that is missing, then print where they are."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

from tlsnic.qemu.parts import Console, PartError, all_parts, has_kernel_module, kernel_module
from tlsnic.qemu.project_disk import project_root


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """Make what is missing. Exit status 0, 1 for a part that cannot be had, 130 for Ctrl-C."""
    signal.signal(signal.SIGTERM, _end)
    console = Console()
    started_s = time.monotonic()
    try:
        parts = all_parts(console)
        guest, module = parts.guest, None
        if has_kernel_module(guest):
            module = kernel_module(
                console, release=guest.release, source=project_root(), suite=guest.suite
            )
    except PartError as error:
        print(f"problem: {error.message}\n    fix: {error.fix}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the next run goes on from here", file=sys.stderr)
        return 130
    print(f"libvfio-user  {parts.libvfio_user}")
    print(f"QEMU          {parts.qemu.version_text()}, {parts.qemu.source}")
    print(f"kernel        {guest.kernel}")
    print(f"initrd        {guest.initrd or 'none'}")
    print(f"image         {guest.image}")
    print(f"Linux driver  {module or 'none: $TLSNIC_MODULE can name one for this kernel'}")
    print(f"all parts are there after {time.monotonic() - started_s:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
