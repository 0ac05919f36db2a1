"""Everything a test can ask of the host, by method name: what the control channel offers a guest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from tlsnic.qemu.peer import checks, frames, keys, receive_keys, removal, tls
from tlsnic.qemu.peer.far_network import FarNetwork
from tlsnic.qemu.peer.far_sockets import FarSockets
from tlsnic.qemu.peer.traffic import Traffic
from tlsnic.qemu.peer.wire_end import FarEnd


class Service:
    """The far end of the wire, scapy, the Linux stack at a second card's wire or at both, and
    host checks.

    `far_end` and `traffic` are there at once, since devices need their wires; a card for
    `traffic` is only started where it is asked for (`Traffic.start_device`).
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._undo = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            self.far_end = FarEnd(directory)
            undo.callback(self.far_end.close)
            self.traffic = Traffic(directory)
            undo.callback(self.traffic.close)
            self.network = FarNetwork(self.far_end, self.traffic)
            undo.callback(self.network.close)
            self.sockets = FarSockets(directory, self.traffic)
            undo.callback(self.sockets.close_all)
            self._undo = undo.pop_all()

    def methods(self) -> dict[str, Callable[..., object]]:
        """Functions of keyword arguments; arguments and results are plain data."""
        wire, traffic = self.far_end, self.traffic
        network, sockets = self.network, self.sockets
        return {
            "wire.send": wire.send,
            "wire.receive": wire.receive,
            "wire.receive_timed": wire.receive_timed,
            "wire.drain": wire.drain,
            "wire.impair": wire.impair,
            "wire.set_link": wire.set_link,
            "wire.await_link": wire.await_link,
            "wire.make_ready": wire.make_ready,
            "wire.counts": wire.counts,
            "frames.craft": frames.craft_many,
            "frames.dissect": frames.dissect_many,
            "check.disconnects": lambda **kw: checks.disconnects(self.directory, **kw),
            "check.killed_client": lambda **kw: checks.killed_client(self.directory, **kw),
            "check.removal": lambda **kw: removal.removal(self.directory, **kw),
            "check.secrets": lambda **kw: keys.secrets(self.directory, **kw),
            "check.received_secrets": lambda **kw: receive_keys.received_secrets(
                self.directory, **kw
            ),
            "check.unshared_ram": lambda **kw: checks.unshared_ram(self.directory, **kw),
            "check.unshared_qemu": lambda **kw: checks.unshared_qemu(self.directory, **kw),
            "tls.decrypt": lambda **kw: tls.decrypt(self.directory, **kw),
            "traffic.serve": traffic.serve,
            "traffic.result": traffic.result,
            "traffic.run": traffic.run,
            "traffic.iperf_server": traffic.iperf_server,
            "network.join": network.join,
            "network.part": network.part,
            "network.lose": network.lose,
            "network.drop": network.drop,
            "network.steer": network.steer,
            "network.set_link": network.set_link,
            "network.watched": network.watched,
            "far.certificate": sockets.certificate,
            "far.listen": sockets.listen,
            "far.connect": sockets.connect,
            "far.send": sockets.send,
            "far.receive": sockets.receive,
            "far.state": sockets.state,
            "far.close": sockets.close,
        }

    def close(self) -> None:
        """Stop everything; harmless a second time."""
        self._undo.close()
