"""Whether keys stay in a device: its process's memory, its log, and DMA memory are searched."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import SUITES
from tlsnic.driver.bus.vfio_user import VfioUserBus
from tlsnic.driver.nic import Nic
from tlsnic.driver.tls.framing import APPLICATION_DATA, Framer
from tlsnic.driver.tls.send_tag import SendTag
from tlsnic.driver.tls.session import FlowAddress, TlsSession
from tlsnic.qemu.peer import memory
from tlsnic.qemu.peer.checks import SMALL, CheckFailed, expect_clean, hang_up, open_client
from tlsnic.qemu.peer.device import DeviceProcess

TIMEOUT_S = 5.0
START = 1000
_SEARCHABLE_BYTES = 12
"""Shorter secrets (the salt of GCM) are anywhere by chance."""
ADDRESS = FlowAddress.make("192.0.2.1", 5001, "192.0.2.2", 443)
HEADERS = bytes.fromhex(
    "02746c73ff01 02746c730001 0800"
    "4500 0000 0001 4000 4006 0000 c0000201 c0000202"
    "1389 01bb 00000000 00000007 5010 ffff 0000 0000"
)


def secrets(
    directory: Path,
    *,
    seed: int,
    hows: Sequence[str],
    suites: Sequence[str] = ("TLS12_AES_128_GCM",),
) -> dict[str, object]:
    """Keys of a flow that was used are nowhere in the device's memory or log afterwards.

    `hows` is what comes between, one after the other, each with other keys: "destroy", "rekey"
    (twice: the card keeps two keys), "disconnect", or a reset ("soft", "function", "vfio").
    `suites` by name. Right after the flow was made no key is in DMA memory.
    """
    rng = random.Random(seed)
    with DeviceProcess(directory, "null", name=f"check-{seed}") as device:
        for how in hows:
            for name in suites:
                found = _one_life(device, make_session(CipherSuite[name], rng), how)
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


def wanted_of(session: TlsSession) -> dict[str, bytes]:
    """The secrets that can be searched for, by name."""
    secrets = {name: bytes(getattr(session, name)) for name in ("key", "iv", "mac_key")}
    return {name: secret for name, secret in secrets.items() if len(secret) >= _SEARCHABLE_BYTES}


def _one_life(device: DeviceProcess, session: TlsSession, how: str) -> set[str]:
    """A client that has a flow, and then does `how`; what is left of the flow's keys.

    Raises CheckFailed when keys are where they must never be, or the search proves nothing.
    """
    wanted = wanted_of(session)
    with contextlib.closing(open_client(device.socket_path)) as bus:
        nic = Nic.attach(bus, SMALL)
        tag = nic.snd_tag_alloc(session, ADDRESS, START)
        shared = memory.find(device.child.pid, wanted, shared_only=True)
        if shared:
            raise CheckFailed(f"still in DMA memory once the flow is made: {sorted(shared)}")
        _use(nic, tag)
        missing = wanted.keys() - memory.find(device.child.pid, wanted)
        if "key" in missing:
            raise CheckFailed("the search does not find the key in use, so it proves nothing")
        if how == "disconnect":
            hang_up(bus, "between messages")
        else:
            _DEEDS[how](bus, nic, tag)
            found = memory.find(device.child.pid, wanted)
            if found:
                return found
    expect_clean(device, "after the client with a key")
    log = device.log()
    for name, secret in wanted.items():
        if secret.hex() in log.lower() or repr(secret)[2:-1] in log:
            raise CheckFailed(f"{name} is in the device's log")
    return memory.find(device.child.pid, wanted)


def _use(nic: Nic, tag: SendTag) -> None:
    """Records whole, again, and a last one in pieces, of which one is still to come."""
    framer = Framer(tag.session)
    for size in (300, 400, 500):
        tag.records.add(tag.records.end_sequence, framer.frame(APPLICATION_DATA, bytes(size)))
    ends = [entry.start_sequence for entry in tag.records]
    for start, end in ((ends[0], ends[2]), (ends[1], ends[2]), (ends[2], ends[2] + 90)):
        _send(nic, tag, start, end)
    nic.drain_tx(TIMEOUT_S)
    sent = nic.counters()["TX_TLS_ENCRYPTED_PACKETS"]
    if sent != 3:
        raise CheckFailed(f"{sent} of 3 packets were encrypted")


def _send(nic: Nic, tag: SendTag, start: int, end: int) -> None:
    headers = bytearray(HEADERS)
    headers[16:18] = (40 + end - start).to_bytes(2, "big")
    headers[38:42] = start.to_bytes(4, "big")
    tag.transmit(nic.tx[0], headers, start, tag.records.read(start, end - start))


def _rekey_twice(_bus: VfioUserBus, nic: Nic, tag: SendTag) -> None:
    rng = random.Random("rekey")
    position = START + 90 + sum(len(entry.record.data) for entry in list(tag.records)[:2])
    _send(nic, tag, position, tag.records.end_sequence)
    for _ in range(2):
        tag.modify_rekey(make_session(tag.session.suite, rng), tag.records.end_sequence)
        framer, start = Framer(tag.session), tag.records.end_sequence
        tag.records.add(start, framer.frame(APPLICATION_DATA, bytes(100)))
        _send(nic, tag, start, tag.records.end_sequence)
        nic.drain_tx(TIMEOUT_S)


def soft_reset(bus: VfioUserBus) -> None:
    """By CONTROL."""
    bus.write(0, reg.CONTROL, reg.CONTROL_RESET_MASK, 4)
    bus.read(0, reg.STATUS, 4)  # which says that it has happened


_DEEDS: dict[str, Callable[[VfioUserBus, Nic, SendTag], None]] = {
    "destroy": lambda _bus, _nic, tag: tag.free(TIMEOUT_S),
    "rekey": _rekey_twice,
    "soft": lambda bus, _nic, _tag: soft_reset(bus),
    "function": lambda bus, _nic, _tag: bus.flr(),
    "vfio": lambda bus, _nic, _tag: bus.reset(),
}
