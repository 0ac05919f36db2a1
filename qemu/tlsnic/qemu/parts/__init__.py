"""Getting the parts that the card needs around it: libvfio-user, QEMU, the guest.

And a browser, which only tests need: it is made when the first of them asks for it.

Each function below returns at once when the part is in the cache (`cache_root()`) and sound, else
makes it, showing progress on standard error. All raise PartError, which carries the fix.

Parts come from Debian packages that a private apt fetches and verifies, and that are unpacked into
the cache rather than installed: no maintainer script runs, so neither root nor a chroot is needed,
nothing of the machine changes, and an interrupted run leaves no mounts. The machine itself is given
only what cannot live in the cache: a C compiler with the libraries that libvfio-user is built
against, and the programs that tests with real traffic run. Those are installed as root or through
sudo, in one uninterrupted apt-get; where neither can be had, the exact command is named.

What the user has wins over what would be made, after a check:

    TLSNIC_LIBVFIO_USER     a libvfio-user.so
    TLSNIC_QEMU             a qemu-system-x86_64 of version 10.1 or later with vfio-user-pci
    TLSNIC_KERNEL           a Linux kernel (bzImage); TLSNIC_INITRD its initial RAM disk
    TLSNIC_LINUX            another of Debian's kernels: "7.2"
    TLSNIC_IMAGE            a root disk: ext4, no partition table
    TLSNIC_BROWSER          a Chromium, for the tests of HTML pages
    TLSNIC_MODULE           the Linux driver, tlsnic.ko, for the kernel that boots
    TLSNIC_DEBIAN_MIRROR    the mirror to use, where the machine's apt sources name none
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from tlsnic.qemu.parts import _browser, _guest, _host, _kernel_module, _libvfio, _qemu, _run
from tlsnic.qemu.parts._apt import SUITE, Archive
from tlsnic.qemu.parts._browser import Browser
from tlsnic.qemu.parts._cache import Recipe, cache_root, ensure, notes, problem
from tlsnic.qemu.parts._console import Console
from tlsnic.qemu.parts._errors import PartError
from tlsnic.qemu.parts._guest import Guest
from tlsnic.qemu.parts._initramfs import GUEST_INIT, PROJECT_LABEL, ROOT_LABEL
from tlsnic.qemu.parts._qemu import Qemu

__all__ = [
    "GUEST_INIT",
    "MAKE_COMMAND",
    "PROJECT_LABEL",
    "ROOT_LABEL",
    "Browser",
    "Console",
    "Guest",
    "PartError",
    "Parts",
    "Qemu",
    "all_parts",
    "browser",
    "cache_root",
    "guest",
    "has_kernel_module",
    "kernel_module",
    "libvfio_user_path",
    "missing_host_packages",
    "prepare_host",
    "qemu",
]


@dataclass(frozen=True)
class Parts:
    """Everything that is needed to boot a guest with the card attached."""

    libvfio_user: Path
    qemu: Qemu
    guest: Guest


MAKE_COMMAND = "python -m tlsnic.qemu.parts"
"""The command that makes every part that is missing."""


@functools.cache
def _archive(root: Path) -> Archive:
    return Archive(root)


def _get(recipe: Recipe, root: Path, console: Console | None, make: bool) -> Path:
    if make:
        return ensure(recipe, root, console or Console())
    reason = problem(recipe, root)
    if reason is not None:
        raise PartError(f"{recipe.name}: {reason}", f"run: {MAKE_COMMAND}")
    return recipe.directory(root)


def libvfio_user_path(console: Console | None = None, *, make: bool = True) -> Path:
    """Path of libvfio-user's shared library: $TLSNIC_LIBVFIO_USER, else the one in the cache.

    With `make` false nothing is made: what is not there raises PartError, here and below.
    """
    own = _libvfio.own()
    if own is not None:
        return own
    root = cache_root()
    return _get(_libvfio.recipe(_archive(root)), root, console, make) / _libvfio.LIBRARY


def qemu(console: Console | None = None, *, make: bool = True) -> Qemu:
    """A QEMU with vfio-user-pci: $TLSNIC_QEMU, else the one on PATH, else one in the cache."""
    found = _qemu.own() or _qemu.machines()
    if found is not None:
        return found
    root = cache_root()
    return _qemu.private(_get(_qemu.recipe(_archive(root)), root, console, make))


def guest(console: Console | None = None, *, make: bool = True) -> Guest:
    """What a guest boots from: the user's own kernel and image, else those in the cache.

    $TLSNIC_KERNEL (with $TLSNIC_INITRD) and $TLSNIC_IMAGE each replace one side. An own kernel
    without $TLSNIC_INITRD must have the root disk's driver built in.
    """
    kernel, image = _guest.own_kernel(), _guest.own_image()
    initrd = _guest.own_file(_guest.INITRD_VARIABLE)
    if kernel is not None and image is not None:
        return Guest(kernel, initrd, image, None, "own kernel and image")
    root = cache_root()
    recipe = _guest.recipe(_archive(root), _guest.wanted_version())
    directory = _get(recipe, root, console, make)
    found = _guest.built(directory, notes(recipe, root))
    if kernel is not None:
        source = f"{found.source}; own kernel"
        return replace(found, kernel=kernel, initrd=initrd, source=source, release="")
    found = replace(found, initrd=initrd or found.initrd)
    if image is not None:
        return replace(found, image=image, python=None, source=f"{found.source}; own image")
    return found


def has_kernel_module(found: Guest) -> bool:
    """Whether there is a Linux driver for the kernel of this guest, or one can be built."""
    return bool(found.release) or _kernel_module.VARIABLE in os.environ


def kernel_module(
    console: Console | None = None, *, release: str, source: Path, suite: str = SUITE
) -> Path:
    """Path of tlsnic.ko for the kernel `release`, built from the project's tree `source` if need be.

    `suite` has the kernel's headers. $TLSNIC_MODULE wins. Raises PartError when it cannot be built.
    """
    own = _kernel_module.own()
    if own is not None:
        return own
    if not release:
        raise PartError(
            "the Linux driver cannot be built for a kernel of your own here",
            "build driver/linux against its headers, and set TLSNIC_MODULE to tlsnic.ko",
        )
    root = cache_root()
    recipe = _kernel_module.recipe(_archive(root), root, source, release, suite)
    return _get(recipe, root, console, make=True) / _kernel_module.MODULE


def browser(console: Console | None = None, *, make: bool = True) -> Browser:
    """A headless browser: $TLSNIC_BROWSER, else one in the cache. Not among `all_parts`."""
    found = _browser.own()
    if found is not None:
        return found
    root = cache_root()
    return _browser.private(_get(_browser.recipe(_archive(root)), root, console, make))


def _to_make() -> list[Recipe]:
    """The recipes that `all_parts` will have to follow."""
    root = cache_root()
    archive = _archive(root)
    wanted = []
    if _libvfio.own() is None:
        wanted.append(_libvfio.recipe(archive))
    if _qemu.own() is None and _qemu.machines() is None:
        wanted.append(_qemu.recipe(archive))
    if _guest.own_kernel() is None or _guest.own_image() is None:
        wanted.append(_guest.recipe(archive, _guest.wanted_version()))
    return [recipe for recipe in wanted if problem(recipe, root) is not None]


def prepare_host(console: Console | None = None) -> None:
    """Install, in one go, what the host lacks for making the parts and for tests with traffic.

    Raises PartError for what the parts need; of what only tests need, the absence is told.
    """
    shown = console or Console()
    needed = tuple(dict.fromkeys(tool for recipe in _to_make() for tool in recipe.tools))
    needed_missing = _host.missing(needed)
    try:
        _host.ensure((*needed, *_host.TRAFFIC), shown)
    except PartError as error:
        if needed_missing:
            raise
        shown.note("host", f"{error.message}, so some tests will skip; {error.fix}")


def all_parts(console: Console | None = None) -> Parts:
    """Every part, independent ones at the same time. Ends all of them when one fails."""
    shown = console or Console()
    prepare_host(shown)
    work: tuple[Callable[[Console], object], ...] = (guest, qemu, libvfio_user_path)
    with ThreadPoolExecutor(len(work), thread_name_prefix="part") as pool:
        futures = [pool.submit(make, shown) for make in work]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            if any(future.exception() is not None for future in done):
                _run.stop_all()
            wait(futures)
        except BaseException:
            _run.stop_all()
            wait(futures)
            raise
        finally:
            _run.resume()
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, _run.StoppedError):
            raise error
    # Cheap now that everything is there, and typed.
    return Parts(libvfio_user_path(shown), qemu(shown), guest(shown))


def missing_host_packages() -> list[str]:
    """Debian packages that the host-side tests with real traffic use and the machine lacks."""
    return _host.missing(_host.TRAFFIC)
