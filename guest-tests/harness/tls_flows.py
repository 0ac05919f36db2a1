"""All TLS flows of a test: opened on the card, and their frames collected.

`TlsFlows` is the `flows` fixture. It scans every frame that comes for plaintext, and at the test's
end none may be left that nobody asked for.
"""

from __future__ import annotations

from harness.peer import MAC as PEER_MAC
from harness.peer import Peer
from harness.tls_flow import Flow
from harness.tls_start import FIRST_PORT, PEER_PORT, START, make_session
from harness.tls_stream import PlaintextScanner
from harness.traffic import ETHERTYPE, IP4_NIC, IP4_PEER, IP6_NIC, IP6_PEER
from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import MAX_PLAINTEXT
from tlsnic.driver.nic import Nic
from tlsnic.driver.tls.session import FlowAddress, TlsSession

_TIMEOUT_S = 20.0
_BARRIER = b"tlsnic barrier"


class TlsFlows:
    """All flows of one test, on one card."""

    def __init__(self, nic: Nic, peer: Peer) -> None:
        self.nic = nic
        self.peer = peer
        self.scanner = PlaintextScanner()
        self.flows: list[Flow] = []
        self._barriers = 0

    def open(
        self,
        suite: CipherSuite = CipherSuite.TLS12_AES_128_GCM,
        *,
        key_bytes: int | None = None,
        encrypt_then_mac: bool | None = None,
        max_plaintext: int = MAX_PLAINTEXT,
        openssl: bool = True,
        session: TlsSession | None = None,
        record_number: int | None = None,
        sequence: int = START,
        ip: str = "IP",
        address: FlowAddress | None = None,
        vlan: int | None = None,
        rate_bytes_per_s: int = 0,
        software: bool = False,
    ) -> Flow:
        """A connection that the card encrypts from TCP sequence number `sequence` on.

        openssl: its far end is OpenSSL, else keys are made up (`session`, or from a seed) and only
        software TLS judges. ip: "IP" or "IPv6". software: the card is not asked until
        `Flow.offload`. Raises SendTagRefused.
        """
        tls = None
        if session is None and openssl:
            from harness.tls import TlsPeer  # noqa: PLC0415 - slow to import in a guest

            tls = TlsPeer.make(
                suite,
                key_bytes=key_bytes,
                encrypt_then_mac=encrypt_then_mac,
                max_plaintext=max_plaintext,
            )
            session = tls.session
        if session is None:
            session = make_session(
                suite,
                seed=len(self.flows),
                key_bytes=key_bytes,
                encrypt_then_mac=bool(encrypt_then_mac),
                max_plaintext=max_plaintext,
            )
        if address is None:
            address = self.address(ip, vlan=vlan)
        flow = Flow(self, address, session, sequence, record_number, tls)
        if not software:
            flow.offload(rate_bytes_per_s=rate_bytes_per_s)
        self.flows.append(flow)
        return flow

    def address(self, ip: str = "IP", *, vlan: int | None = None) -> FlowAddress:
        """Addresses of the next flow: each has a port of its own."""
        here, there = (IP4_NIC, IP4_PEER) if ip == "IP" else (IP6_NIC, IP6_PEER)
        port = FIRST_PORT + len(self.flows)
        return FlowAddress.make(here, port, there, PEER_PORT, vlan)

    def collect(self, frames: int | None = None, timeout_s: float = _TIMEOUT_S) -> list[bytes]:
        """All frames that the card has sent, scanned, and given to their flows.

        With `frames` just that many are waited for: where a rate limit holds some back. Without,
        whatever was posted so far has come when this returns.
        """
        if frames is not None:
            for queue in self.nic.tx:
                queue.flush()
            found = self.peer.receive_many(frames, timeout_s)
        else:
            found = self._up_to_barrier(timeout_s)
        self._look_at(found)
        return found

    def collect_timed(self, frames: int, timeout_s: float = _TIMEOUT_S) -> list[tuple[int, bytes]]:
        """The same for just so many frames, with when they came; see `Peer.receive_timed`."""
        for queue in self.nic.tx:
            queue.flush()
        found = self.peer.receive_timed(frames, timeout_s)
        self._look_at([frame for _, frame in found])
        return found

    def _look_at(self, found: list[bytes]) -> None:
        self.scanner.check(found)
        for flow in self.flows:
            flow.stream.add(found)

    def _up_to_barrier(self, timeout_s: float) -> list[bytes]:
        """A frame of no flow, sent when all queues are done, comes behind all others."""
        self.nic.drain_tx(timeout_s)
        self._barriers += 1
        barrier = PEER_MAC + self.nic.mac_address + ETHERTYPE + _BARRIER
        barrier = (barrier + self._barriers.to_bytes(4, "big")).ljust(60, b"\0")
        self.nic.tx[0].send(barrier, report=True)
        self.nic.tx[0].drain(timeout_s)
        found: list[bytes] = []
        while barrier not in found:
            found += self.peer.receive_many(1, timeout_s)
            found += self.peer.drain()
        found.remove(barrier)
        return found

    def close(self) -> None:
        """Free all flows; fails the test when frames came that nobody collected."""
        for flow in self.flows:
            flow.free()
        if self.nic.link_up and self.nic.started:
            left = self.collect()
            assert not left, f"{len(left)} frames that no test has looked at: {left[0][:80].hex()}"
