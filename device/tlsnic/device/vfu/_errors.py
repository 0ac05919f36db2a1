"""What can go wrong on the bus, as exceptions."""

import errno as _errno
import os


class VfuError(OSError):
    """A call into libvfio-user, or the socket under it, failed.

    `errno` is the library's; the text says which call and, where known, the fix.
    """

    def __init__(self, errno: int, what: str) -> None:
        super().__init__(errno, f"{what}: {os.strerror(errno)}")
        self.what = what


class VfuAbiError(VfuError):
    """The shared library is missing, is no libvfio-user, or is of a revision not known here."""

    def __init__(self, what: str, errno: int = _errno.ENOEXEC) -> None:
        super().__init__(errno, what)


class VfuDisconnected(VfuError):
    """The client is gone; the context already listens for the next one."""

    def __init__(self, why: str) -> None:
        super().__init__(_errno.ENOTCONN, why)


class DmaError(VfuError):
    """A DMA address that is not mapped, or not with the wanted access.

    EFAULT: no map covers the whole range, or the map cannot be reached from this process;
    EACCES: the client granted no such access. `iova` and `length` are the range asked for.
    """

    def __init__(self, errno: int, iova: int, length: int, why: str) -> None:
        super().__init__(errno, f"DMA to [{iova:#x}, +{length:#x}): {why}")
        self.iova = iova
        self.length = length


class RequestRefused(Exception):
    """Raised by a handler to answer the client's request with an error of its choice.

    Every other exception that leaves a handler counts as a fault of the device.
    """

    def __init__(self, errno: int, why: str = "") -> None:
        super().__init__(errno, why)
        self.errno = errno


class WrongThreadError(RuntimeError):
    """A context was used from another thread than the one that made it."""
