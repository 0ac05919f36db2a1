"""The far end of the wire and the host, as tests see them: the same calls on host and in guest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from harness.environment import Environment

MAC = bytes.fromhex("02746c73ff01")
"""The far end's own address."""
RECEIVE_TIMEOUT_S = 20.0


class Peer:
    """What is beyond the card's port. Frames are bytes from the destination address on, no FCS."""

    def __init__(self, environment: Environment) -> None:
        self._call = environment.call
        self.is_impaired = False
        self.link_is_up = True

    # The wire

    def send(self, *frames: bytes) -> None:
        """Put frames on the wire, towards the card, in this order."""
        self._call("wire.send", frames=list(frames))

    def receive(self, timeout_s: float = RECEIVE_TIMEOUT_S) -> bytes:
        """The next frame from the card; none within `timeout_s` fails the test."""
        return self.receive_many(1, timeout_s)[0]

    def receive_many(self, count: int, timeout_s: float = RECEIVE_TIMEOUT_S) -> list[bytes]:
        """The next `count` frames from the card; fewer within `timeout_s` fail the test."""
        frames = cast("list[bytes]", self._call("wire.receive", count=count, wait_s=timeout_s))
        assert len(frames) == count, f"{len(frames)} of {count} frames came within {timeout_s:g} s"
        return frames

    def receive_timed(
        self, count: int, timeout_s: float = RECEIVE_TIMEOUT_S
    ) -> list[tuple[int, bytes]]:
        """The same with the time in nanoseconds, by the far end's clock, at which each came."""
        found = self._call("wire.receive_timed", count=count, wait_s=timeout_s)
        frames = [(at, frame) for at, frame in cast("list[tuple[int, bytes]]", found)]
        assert len(frames) == count, f"{len(frames)} of {count} frames came within {timeout_s:g} s"
        return frames

    def drain(self) -> list[bytes]:
        """All frames that have arrived from the card so far."""
        return cast("list[bytes]", self._call("wire.drain"))

    def impair(
        self,
        *,
        seed: int | None = None,
        to_nic: Mapping[str, object] | None = None,
        from_nic: Mapping[str, object] | None = None,
    ) -> None:
        """Make the wire bad (fields of `tlsnic.device.wire.Impairments`) until the test's end."""
        self.is_impaired = True
        self._call("wire.impair", seed=seed, to_nic=to_nic, from_nic=from_nic)

    def set_link(self, up: bool) -> None:
        """Unplug the wire, or plug it in again (which returns when both ends know)."""
        self._call("wire.set_link", up=up)
        self.link_is_up = up

    def make_ready(self) -> None:
        """Wait until the wire is plugged in, and forget what is left on it."""
        self._call("wire.make_ready")

    def counts(self) -> dict[str, int]:
        """Frames "sent" to the card and "received" from it so far, and "waiting" to be taken."""
        return cast("dict[str, int]", self._call("wire.counts"))

    # Frames by scapy

    def craft(self, *frames: Sequence[Any]) -> list[bytes]:
        """Frames from their layers; see `tlsnic.qemu.peer.frames`."""
        return cast("list[bytes]", self._call("frames.craft", frames=list(frames)))

    def dissect(self, *frames: bytes) -> list[dict[str, Any]]:
        """What scapy says of frames; see `tlsnic.qemu.peer.frames.dissect`."""
        return cast("list[dict[str, Any]]", self._call("frames.dissect", frames=list(frames)))

    # TLS by tshark

    def decrypt(
        self, frames: Sequence[bytes], key_log: str, *, port: int = 443
    ) -> dict[str, list[bytes]]:
        """What tshark reads of one TLS connection; see `tlsnic.qemu.peer.tls.decrypt`."""
        found = self._call(
            "tls.decrypt", timeout_s=60.0, frames=list(frames), key_log=key_log, port=port
        )
        return cast("list[dict[str, list[bytes]]]", found)[0]

    # The host

    def check(self, name: str, **params: object) -> dict[str, Any]:
        """A check that only the host can make, with a card of its own; its report.

        See `tlsnic.qemu.peer.checks`. Fails the test when the check does.
        """
        return cast("dict[str, Any]", self._call(f"check.{name}", timeout_s=60.0, **params))

    def stack(self, name: str, timeout_s: float = 60.0, **params: object) -> Any:
        """The Linux stack at the second card's wire; see `tlsnic.qemu.peer.traffic`."""
        return self._call(f"traffic.{name}", timeout_s=timeout_s, **params)

    def restore(self) -> None:
        """Undo what a test did to the wire; `make_ready` empties it for the next one."""
        if not self.link_is_up:
            self.set_link(True)
        if self.is_impaired:
            self._call("wire.impair")
            self.is_impaired = False
