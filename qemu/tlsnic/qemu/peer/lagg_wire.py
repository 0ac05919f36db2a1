"""Two cards at two ports of one bridge, for a lagg: the far end is the kernel's stack on that bridge."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tlsnic.driver.bus import open_bus
from tlsnic.driver.nic import Nic
from tlsnic.qemu.netns import Netns
from tlsnic.qemu.peer.data import FAR_ADDRESS, PREFIX
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.peer.openssl import NIC_OPTIONS

BRIDGE = "br0"
TAPS = ("tap0", "tap1")
"""Of the first and of the second card; a card has a link while its TAP is up."""
MACS = ("02:74:6c:73:00:01", "02:74:6c:73:00:02")


@contextlib.contextmanager
def two_cards_on_a_bridge(
    folder: Path, impairments: str, captures: Sequence[Path] = ()
) -> Iterator[tuple[Netns, list[Nic]]]:
    """The namespace with FAR_ADDRESS, and the cards, each in a process of its own.

    impairments: of both wires, as in their grammar; their seeds differ. captures: where to write what
    each card sends, and what it receives.
    """
    with contextlib.ExitStack() as stack:
        far = stack.enter_context(Netns())
        far.ip("link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
        for tap in TAPS:
            far.add_tap(tap, vnet_hdr=True)
            far.ip("link", "set", tap, "master", BRIDGE)
        far.ip("address", "add", f"{FAR_ADDRESS}/{PREFIX}", "dev", BRIDGE)
        far.ip("link", "set", BRIDGE, "up")
        nics = []
        for number, (tap, mac) in enumerate(zip(TAPS, MACS, strict=True)):
            wire = f"tap:{tap},netns={far.path}+impair:{impairments}"
            if captures:
                wire += f"+capture:{captures[number]}"
            device = stack.enter_context(
                DeviceProcess(folder, wire, name=f"device{number}", mac=mac)
            )
            bus = stack.enter_context(open_bus(f"vfio-user:{device.socket_path}"))
            nics.append(stack.enter_context(Nic.attach(bus, NIC_OPTIONS)))
        yield far, nics
