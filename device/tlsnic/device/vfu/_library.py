"""Finding libvfio-user, loading it, and telling its two ABIs apart.

The project publishes neither version numbers nor symbol versions, and calling
`vfu_setup_device_dma` with the other revision's arguments misplaces callbacks without an error. So
a library is used only when it is positively known:

* every bound function is exported and `dma_sg_size()` is the known 40 bytes;
* `vfu_get_migr_register_area_size` is exported: the interface of June 2022 (the symbol went away in
  September 2023, and what is bound here did not change between);
* it is not, and the library holds the log text that came with the tree of DMA maps (March 2026,
  the change that also brought the new argument): today's interface;
* neither: a revision between the two. Refused.
"""

import ctypes
import errno
import mmap
import os
from pathlib import Path

from tlsnic.device.vfu._abi import DMA_SG_SIZE_BYTES, SYMBOLS, Abi, declare
from tlsnic.device.vfu._errors import VfuAbiError

ENVIRONMENT_VARIABLE = "TLSNIC_LIBVFIO_USER"
HOW_TO_GET_ONE = (
    "build revision 0b28d205 from Debian's QEMU source package (`tlsnic doctor` says how), "
    f"or point {ENVIRONMENT_VARIABLE} at a libvfio-user.so of that revision or of today's HEAD"
)
_OLD_ONLY = "vfu_get_migr_register_area_size"
_NEW_ONLY_TEXT = b"hit max regions %zu"


class Library:
    """A loaded libvfio-user. `calls` holds the functions, `abi` says which interface it has.

    It is loaded as a `PyDLL`: the interpreter lock is held during calls, so no other Python thread
    runs while the library, which is not thread-safe, is in the middle of something.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Load `path`. Raises VfuAbiError, which says how to get a right library."""
        self.path = Path(path)
        if not self.path.is_file():
            raise VfuAbiError(f"no file {self.path}; {HOW_TO_GET_ONE}", errno.ENOENT)
        try:
            calls = ctypes.PyDLL(str(self.path), use_errno=True)
        except OSError as error:
            raise VfuAbiError(f"{self.path} cannot be loaded ({error}); {HOW_TO_GET_ONE}") from None
        missing = [name for name in SYMBOLS if not hasattr(calls, name)]
        if missing:
            raise VfuAbiError(
                f"{self.path} is not a libvfio-user known here: it lacks {', '.join(missing)}; "
                f"{HOW_TO_GET_ONE}"
            )
        calls.dma_sg_size.restype = ctypes.c_size_t
        size_bytes = calls.dma_sg_size()
        if size_bytes != DMA_SG_SIZE_BYTES:
            raise VfuAbiError(
                f"{self.path} has a dma_sg_t of {size_bytes} bytes instead of {DMA_SG_SIZE_BYTES}: "
                f"an unknown revision; {HOW_TO_GET_ONE}"
            )
        if hasattr(calls, _OLD_ONLY):
            self.abi = Abi.JUNE_2022
        elif self._holds(_NEW_ONLY_TEXT):
            self.abi = Abi.HEAD_2026
        else:
            raise VfuAbiError(
                f"{self.path} is from between September 2023 and March 2026, an interface not "
                f"known here; {HOW_TO_GET_ONE}"
            )
        declare(calls, self.abi)
        self.calls = calls

    def _holds(self, text: bytes) -> bool:
        with (
            self.path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image,
        ):
            return image.find(text) >= 0

    def __repr__(self) -> str:
        return f"Library({str(self.path)!r}, {self.abi.name})"


_loaded: dict[Path, Library] = {}


def find_library() -> Path:
    """Return the library to use: TLSNIC_LIBVFIO_USER, else the newest built one in the cache."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return Path(chosen)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlsnic"
    built = [p for p in cache.glob("libvfio-user-*/lib/libvfio-user.so*") if p.is_file()]
    if not built:
        raise VfuAbiError(f"no libvfio-user under {cache}; {HOW_TO_GET_ONE}", errno.ENOENT)
    return max(built, key=lambda path: (path.stat().st_mtime_ns, path.name))


def load_library(path: str | os.PathLike[str] | None = None) -> Library:
    """Load (once per process) the library at `path`, or the one `find_library` finds.

    Raises VfuAbiError when there is none or when its interface is not known.
    """
    real = Path(path if path is not None else find_library()).resolve()
    library = _loaded.get(real)
    if library is None:
        library = _loaded[real] = Library(real)
    return library
