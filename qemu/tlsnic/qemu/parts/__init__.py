"""Getting the parts that the card needs around it: libvfio-user, QEMU, the guest.

Each function below returns at once when the part is in the cache (`cache_root()`) and sound, else
makes it, showing progress on standard error. All raise PartError, which carries the fix.
"""

from __future__ import annotations

import functools
from pathlib import Path

from tlsnic.qemu.parts import _libvfio
from tlsnic.qemu.parts._apt import Archive
from tlsnic.qemu.parts._cache import cache_root, ensure
from tlsnic.qemu.parts._console import Console
from tlsnic.qemu.parts._errors import PartError

__all__ = ["Console", "PartError", "cache_root", "libvfio_user_path"]


@functools.cache
def _archive(root: Path) -> Archive:
    return Archive(root)


def libvfio_user_path(console: Console | None = None) -> Path:
    """Path of libvfio-user's shared library: $TLSNIC_LIBVFIO_USER, else the one in the cache."""
    own = _libvfio.own()
    if own is not None:
        return own
    root = cache_root()
    recipe = _libvfio.recipe(_archive(root))
    return ensure(recipe, root, console or Console()) / _libvfio.LIBRARY
