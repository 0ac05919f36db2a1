"""Marks for tests that need more than Python: the right to make TAPs, and programs.

A user gets that right from tlsnic.qemu.rights, as in `make test`. The library of the device process is a
fixture, `libvfio_user`.
"""

import os
import shutil

import pytest

from tlsnic.qemu.rights import TUN

needs_taps = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists(TUN),
    reason=f"making TAP devices and network namespaces needs root and {TUN}",
)


def needs_programs(*names):
    """Skips a test where one of these programs is missing."""
    missing = [name for name in names if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"missing: {', '.join(missing)}")
