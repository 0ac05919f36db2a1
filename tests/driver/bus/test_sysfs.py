"""PCI functions are found, bound and given back as the kernel's files allow."""

import errno
import shutil

import pytest

from tlsnic.driver.bus import BusError
from tlsnic.driver.bus.sysfs import PciFunction, find_function


@pytest.mark.parametrize("where", ["0000:00:05.0", "00:05.0", "1234:5678"])
def test_a_function_is_found_by_address_or_identifiers(sysfs, where):
    assert find_function(where, sysfs) == "0000:00:05.0"


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("0000:00:06.0", "no PCI function 0000:00:06.0"),
        ("../0000:00:05.0", "no PCI function"),
        ("1234:9999", "no PCI function 1234:9999"),
        ("nonsense", "neither a PCI address"),
        ("1:2:3", "neither a PCI address"),
    ],
)
def test_what_cannot_be_found_says_why_and_how(sysfs, where, why):
    with pytest.raises(BusError, match=why) as caught:
        find_function(where, sysfs)
    assert caught.value.fix


def test_two_functions_alike_must_be_named(sysfs):
    shutil.copytree(sysfs.function, sysfs.function.with_name("0000:00:06.0"), symlinks=True)
    with pytest.raises(BusError, match=r"2 PCI functions.*0000:00:05\.0, 0000:00:06\.0"):
        find_function("1234:5678", sysfs)


def test_resources_give_size_and_flags(sysfs):
    bars = PciFunction(sysfs.ADDRESS, sysfs).bars()
    assert [(b.index, b.size_bytes, b.is_io, b.is_64bit, b.is_prefetchable) for b in bars] == [
        (0, 8192, False, True, True),
        (2, 32, True, False, False),
    ]


def test_binding_takes_the_function_and_restore_gives_it_back(sysfs):
    function = PciFunction(sysfs.ADDRESS, sysfs)
    function.bind("uio_pci_generic", "uio_pci_generic")
    assert sysfs.driver() == function.driver == "uio_pci_generic"
    assert sysfs.modules[-1] == "uio_pci_generic"
    function.restore()
    function.restore()
    assert sysfs.driver() == "e1000e"
    assert (sysfs.function / "driver_override").read_text() == "(null)"


def test_a_function_without_driver_is_left_without(sysfs):
    sysfs.write(f"{sysfs.function}/driver/unbind", sysfs.ADDRESS)
    function = PciFunction(sysfs.ADDRESS, sysfs)
    function.bind("vfio-pci", "vfio-pci")
    function.restore()
    assert sysfs.driver() == ""


def test_a_function_bound_already_is_left_bound(sysfs):
    PciFunction(sysfs.ADDRESS, sysfs).bind("vfio-pci", "vfio-pci")
    before = list(sysfs.writes)
    second = PciFunction(sysfs.ADDRESS, sysfs)
    second.bind("vfio-pci", "vfio-pci")
    second.restore()
    assert sysfs.driver() == "vfio-pci"
    assert sysfs.writes == before


def test_a_kernel_without_the_driver_says_which_module(sysfs):
    sysfs.available.clear()
    with pytest.raises(BusError, match="modprobe uio_pci_generic"):
        PciFunction(sysfs.ADDRESS, sysfs).bind("uio_pci_generic", "uio_pci_generic")
    assert sysfs.driver() == "e1000e"


def test_a_driver_that_refuses_is_an_error_and_the_old_one_comes_back(sysfs):
    sysfs.accepting.discard("vfio-pci")
    with pytest.raises(BusError, match="vfio-pci refuses"):
        PciFunction(sysfs.ADDRESS, sysfs).bind("vfio-pci", "vfio-pci")
    assert sysfs.driver() == "e1000e"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (PermissionError(errno.EACCES, "no"), "run as root"),
        (OSError(errno.ENODEV, "No such device"), "No such device"),
    ],
)
def test_a_write_the_kernel_refuses_is_an_error_and_the_old_driver_stays(sysfs, error, why):
    write = sysfs.write

    def failing(path, text):
        if path.endswith("drivers_probe") and sysfs.driver() == "" and failing.armed:
            failing.armed = False
            raise error
        write(path, text)

    failing.armed = True
    sysfs.write = failing
    with pytest.raises(BusError, match=why):
        PciFunction(sysfs.ADDRESS, sysfs).bind("vfio-pci", "vfio-pci")
    assert sysfs.driver() == "e1000e"
