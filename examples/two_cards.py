"""Two cards in one device process, back to back, each with a driver of its own.

    .venv/bin/python examples/two_cards.py

The first sends a segmented 60 KB TCP packet, the second receives it coalesced; the payload's SHA-256 is
compared. It is the shortest program that shows everything a driver does: attach, send with offloads,
receive, look at counters.
"""

import hashlib
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from tlsnic.abi.enums import Offload, RxFlags
from tlsnic.driver.bus import open_bus
from tlsnic.driver.nic import Nic

PAYLOAD_BYTES = 60_000
MSS = 1448
HEADER_BYTES = 54


def tcp_packet(source: bytes, destination: bytes, payload: bytes) -> bytes:
    """Ethernet, IPv4 and TCP headers; lengths and checksums are the card's work."""
    ethernet = destination + source + b"\x08\x00"
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 0, 1, 0x4000, 64, 6, 0, b"\x0a\0\0\x01", b"\x0a\0\0\x02"
    )
    tcp = struct.pack("!HHIIBBHHH", 40000, 443, 1, 1, 0x50, 0x10, 0xFFFF, 0, 0)
    return ethernet + ip + tcp + payload


def main() -> int:
    """Run the exchange; exit status 0 when the payload came through unchanged."""
    with tempfile.TemporaryDirectory() as folder:
        sockets = [Path(folder) / "a.sock", Path(folder) / "b.sock"]
        ready, write = os.pipe()
        command = [sys.executable, "-m", "tlsnic.device", "--ready-fd", str(write)]
        for path in sockets:
            command += ["--socket", str(path), "--wire", "pair:cable"]
        device = subprocess.Popen(command, pass_fds=[write])
        os.close(write)
        try:
            if not os.read(ready, 6):
                return 1
            return exchange(*sockets)
        finally:
            os.close(ready)
            device.terminate()
            device.wait()


def exchange(first: Path, second: Path) -> int:
    """Send from one card to the other."""
    with (
        open_bus(f"vfio-user:{first}") as bus_a,
        open_bus(f"vfio-user:{second}") as bus_b,
        Nic.attach(bus_a) as sender,
        Nic.attach(bus_b) as receiver,
    ):
        receiver.offloads = Offload.RX_CHECKSUM | Offload.RX_COALESCE
        payload = os.urandom(PAYLOAD_BYTES)
        packet = tcp_packet(sender.mac_address, receiver.mac_address, payload)
        sender.tx[0].send(packet, mss=MSS)
        sender.drain_tx(5.0)
        received = bytearray()
        while len(received) < PAYLOAD_BYTES:
            arrived = receiver.receive(5.0)
            if arrived is None:
                print("nothing arrived within 5 s")
                return 1
            checked = bool(arrived.rx_flags & RxFlags.L4_CHECKSUM_OK)
            print(
                f"{arrived.segments} frames in one packet, checksum {'right' if checked else 'bad'}"
            )
            received += arrived.data[HEADER_BYTES:]
        same = hashlib.sha256(received).digest() == hashlib.sha256(payload).digest()
        frames = sender.counters()["TX_FRAMES"]
        print(f"{frames} frames on the wire, SHA-256 {'equal' if same else 'DIFFERENT'}")
        return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
