"""Whether keys stay in a device: its process's memory, its log, and DMA memory are searched."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Protocol

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import SUITES
from tlsnic.driver.bus.vfio_user import VfioUserBus
from tlsnic.driver.nic import Nic
from tlsnic.driver.tls.session import FlowAddress, TlsSession
from tlsnic.qemu.peer import memory
from tlsnic.qemu.peer.checks import SMALL, CheckFailed, expect_clean, hang_up, open_client
from tlsnic.qemu.peer.device import DeviceProcess

TIMEOUT_S = 20.0
START = 1000
"""TCP sequence number that flows start at."""
ADDRESS = FlowAddress.make("192.0.2.1", 5001, "192.0.2.2", 443)
_SEARCHABLE_BYTES = 12
"""Shorter secrets (the salt of GCM) are anywhere by chance."""


class Life(Protocol):
    """A flow that was just made, and what can come over it."""

    def use(self) -> None:
        """Records whole, and a last one in pieces, of which one is still to come."""

    def rekey(self) -> None:
        """New keys, until the card has forgotten the first ones."""

    def destroy(self) -> None:
        """As a driver does."""


def search(
    device: DeviceProcess,
    begin: Callable[[Nic, TlsSession], Life],
    *,
    seed: int,
    hows: Sequence[str],
    suites: Sequence[str],
) -> dict[str, object]:
    """Keys of a flow that was used are nowhere in the device's memory or log afterwards.

    `hows` is what comes between, one after the other, each with other keys: "destroy", "rekey",
    "disconnect", or a reset ("soft", "function", "vfio"). `suites` by name. Right after the flow
    was made no key is in DMA memory.

    Raises CheckFailed when keys are where they must not be, or the search proves nothing.
    """
    rng = random.Random(seed)
    for how in hows:
        for name in suites:
            found = _one_life(device, begin, make_session(CipherSuite[name], rng), how)
            if found:
                raise CheckFailed(f"still in the device after {how}, {name}: {sorted(found)}")
    return {"hows": list(hows), "suites": list(suites)}


def make_session(suite: CipherSuite, rng: random.Random) -> TlsSession:
    """Keys from `rng`."""
    layout = SUITES[suite]
    return TlsSession(
        suite,
        rng.randbytes(max(layout.key_bytes)),
        rng.randbytes(layout.iv_bytes),
        rng.randbytes(layout.mac_key_bytes),
    )


def _wanted_of(session: TlsSession) -> dict[str, bytes]:
    """The secrets that can be searched for, by name."""
    secrets = {name: bytes(getattr(session, name)) for name in ("key", "iv", "mac_key")}
    return {name: secret for name, secret in secrets.items() if len(secret) >= _SEARCHABLE_BYTES}


def _one_life(
    device: DeviceProcess,
    begin: Callable[[Nic, TlsSession], Life],
    session: TlsSession,
    how: str,
) -> set[str]:
    """A client that has a flow, and then does `how`; what is left of the flow's keys."""
    wanted = _wanted_of(session)
    with contextlib.closing(open_client(device.socket_path)) as bus:
        life = begin(Nic.attach(bus, SMALL), session)
        shared = memory.find(device.child.pid, wanted, shared_only=True)
        if shared:
            raise CheckFailed(f"still in DMA memory once the flow is made: {sorted(shared)}")
        life.use()
        if "key" not in memory.find(device.child.pid, wanted):
            raise CheckFailed("the search does not find the key in use, so it proves nothing")
        if how == "disconnect":
            hang_up(bus, "between messages")
        else:
            _DEEDS[how](bus, life)
            found = memory.find(device.child.pid, wanted)
            if found:
                return found
    expect_clean(device, "after the client with a key")
    log = device.log()
    for name, secret in wanted.items():
        if secret.hex() in log.lower() or repr(secret)[2:-1] in log:
            raise CheckFailed(f"{name} is in the device's log")
    return memory.find(device.child.pid, wanted)


def _soft_reset(bus: VfioUserBus) -> None:
    bus.write(0, reg.CONTROL, reg.CONTROL_RESET_MASK, 4)
    bus.read(0, reg.STATUS, 4)  # which says that it has happened


_DEEDS: dict[str, Callable[[VfioUserBus, Life], None]] = {
    "destroy": lambda _bus, life: life.destroy(),
    "rekey": lambda _bus, life: life.rekey(),
    "soft": lambda bus, _life: _soft_reset(bus),
    "function": lambda bus, _life: bus.flr(),
    "vfio": lambda bus, _life: bus.reset(),
}
