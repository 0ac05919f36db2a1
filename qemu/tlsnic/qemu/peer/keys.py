"""The search for keys that stay in a device, for transmit flows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from tlsnic.driver.nic import Nic
from tlsnic.driver.tls.framing import APPLICATION_DATA, Framer
from tlsnic.driver.tls.session import TlsSession
from tlsnic.qemu.peer.checks import CheckFailed
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.peer.key_search import ADDRESS, START, TIMEOUT_S, make_session, search

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
    """As `key_search.search`; "rekey" is two new keys, because the card keeps two."""
    with DeviceProcess(directory, "null", name=f"check-{seed}") as device:
        return search(device, _Sender, seed=seed, hows=hows, suites=suites)


class _Sender:
    """A transmit flow."""

    def __init__(self, nic: Nic, session: TlsSession) -> None:
        self._nic = nic
        self._tag = nic.snd_tag_alloc(session, ADDRESS, START)

    def use(self) -> None:
        """Also a record that is sent again."""
        records, framer = self._tag.records, Framer(self._tag.session)
        for size in (300, 400, 500):
            records.add(records.end_sequence, framer.frame(APPLICATION_DATA, bytes(size)))
        ends = [entry.start_sequence for entry in records]
        for start, end in ((ends[0], ends[2]), (ends[1], ends[2]), (ends[2], ends[2] + 90)):
            self._send(start, end)
        self._nic.drain_tx(TIMEOUT_S)
        sent = self._nic.counters()["TX_TLS_ENCRYPTED_PACKETS"]
        if sent != 3:
            raise CheckFailed(f"{sent} of 3 packets were encrypted")

    def rekey(self) -> None:
        """With the rest of the last record, and a record of each new key."""
        rng, tag = random.Random("rekey"), self._tag
        records = tag.records
        position = START + 90 + sum(len(entry.record.data) for entry in list(records)[:2])
        self._send(position, records.end_sequence)
        for _ in range(2):
            tag.modify_rekey(make_session(tag.session.suite, rng), records.end_sequence)
            framer, start = Framer(tag.session), records.end_sequence
            records.add(start, framer.frame(APPLICATION_DATA, bytes(100)))
            self._send(start, records.end_sequence)
            self._nic.drain_tx(TIMEOUT_S)

    def destroy(self) -> None:
        """By free."""
        self._tag.free(TIMEOUT_S)

    def _send(self, start: int, end: int) -> None:
        headers = bytearray(HEADERS)
        headers[16:18] = (40 + end - start).to_bytes(2, "big")
        headers[38:42] = start.to_bytes(4, "big")
        payload = self._tag.records.read(start, end - start)
        self._tag.transmit(self._nic.tx[0], headers, start, payload)
