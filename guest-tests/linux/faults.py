"""The card, its wire and the bus go wrong on purpose while the kernel's TLS is at work.

Faults are those of `tlsnic device`'s control socket. Whatever happens, the payload is right or the
connection ends with an error, nothing hangs, and afterwards the interface works as before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator

from flows import open_flows, sink
from kernel_log import LOG
from ktls import digest_of, fetch, flows_left
from near import (
    AES128,
    FAR_ADDRESS,
    NEAR_ADDRESS,
    Changes,
    client_context,
    ethtool,
    far,
    far_run,
    far_server,
    interface,
    openssl_server,
    prepare_files,
    run,
    statistics,
    up,
    wait_for,
)

from tlsnic.abi import registers

_BYTES = 8_000_000
_PORT = 4453
_SINK_PORT = 4454
_MANY = 50


def device(method: str, **params: object) -> object:
    """Call a method of the control socket."""
    return far("device", called=method, params=params)


@contextlib.contextmanager
def fault(name: str, **settings: object) -> Iterator[None]:
    """A fault of the card, meanwhile."""
    device("faults.set", name=name, **settings)
    try:
        yield
        if settings.get("count"):
            wait_for(lambda: not _on(name), f"{settings['count']} times {name}", wait_s=3)
    finally:
        device("faults.clear", name=name)


def _on(name: str) -> bool:
    faults = device("faults.list")
    assert isinstance(faults, list)
    return any(each["name"] == name and each["setting"] is not None for each in faults)


def download() -> dict[str, int]:
    """curl at the far end fetches `data`, which arrives whole; what was counted meanwhile."""
    changes = Changes()
    with openssl_server("-WWW", "-sendfile", port=_PORT):
        words = ["curl", "--silent", "--insecure", "--tls-max", "1.2", "--max-time", "80"]
        got = far_run(*words, f"https://{NEAR_ADDRESS}:{_PORT}/data")
    assert (got["bytes"], got["sha256"]) == (_BYTES, digest_of("data")), got["error"]
    wait_for(lambda: not flows_left(), "contexts gone", wait_s=40)
    counted = changes()
    assert not counted["TlsDecryptError"], counted
    return counted


def works() -> None:
    """The interface works."""
    assert "2 received" in run("ping", "-q", "-c", "2", "-i", "0.2", "-W", "9", FAR_ADDRESS)


def prepare() -> None:
    """Files of both ends."""
    prepare_files(_BYTES)
    far("file", name="data", size_bytes=_BYTES)


def test_lost_interrupts_are_found() -> None:
    with fault("swallow_interrupts", count=6, after=40):
        download()
    with fault("swallow_interrupts", count=6, after=40):
        fetch(AES128)
    works()


def test_interrupts_for_nothing() -> None:
    for vector in (0, 1, 2):
        with fault("spurious_interrupts", count=20, vector=vector):
            works()
    download()


def test_late_doorbells() -> None:
    with fault("delay_doorbells", us=2000):
        download()
    works()


def test_completions_that_come_late() -> None:
    for kind in ("TRANSMIT", "RECEIVE", "ADMIN", "EVENT"):
        with fault("hold_completions", kind=kind, ms=300):
            download()
    works()


def test_stalled_wire() -> None:
    with fault("stall_wire", ms=1500):
        counted = download()
    assert not counted["tx_timeouts"], counted


def test_link_flap_by_the_cable() -> None:
    with fault("link_flap", ms=400):
        download()
    works()


@contextlib.contextmanager
def one_queue() -> Iterator[None]:
    """All packets go over queue 0, meanwhile."""
    ethtool("-L", "combined", "1")
    try:
        yield
    finally:
        ethtool("-L", "combined", "2")


class _Sender(threading.Thread):
    """Sends to a connection, without haste, until it is told to stop."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self._stopped = threading.Event()
        self._digest = hashlib.sha256()
        self.sent_bytes = 0

    def run(self) -> None:
        while not self._stopped.wait(0.01):
            part = os.urandom(1 << 16)
            self._connection.sendall(part)
            self._digest.update(part)
            self.sent_bytes += len(part)

    def stop(self) -> str:
        """SHA-256 of all that was sent."""
        self._stopped.set()
        self.join()
        return self._digest.hexdigest()


def test_transmit_timeout_is_recovered_from() -> None:
    """The network stack's watchdog finds a queue that has been stuck for 20 s under TLS."""
    listen = f"OPENSSL-LISTEN:{_SINK_PORT},cert=cert.pem,key=key.pem,verify=0"
    changes = Changes()
    with (
        one_queue(),
        far_server("socat", "-u", listen, "CREATE:got", port=_SINK_PORT),
        socket.create_connection((FAR_ADDRESS, _SINK_PORT)) as plain,
        client_context().wrap_socket(plain) as connection,
    ):
        sender = _Sender(connection)
        sender.start()
        try:
            wait_for(lambda: sender.sent_bytes > 1_000_000, "first megabyte")
            LOG.expect(r"NETDEV WATCHDOG: .*transmit queue 0 timed out")
            with fault("hold_completions", kind="TRANSMIT"):
                wait_for(lambda: changes()["queue_restarts"], "restart", wait_s=60)
            # The completions that were held for the old ring were for nobody.
            before = sender.sent_bytes
            wait_for(lambda: sender.sent_bytes > before + 1_000_000, "another megabyte")
        finally:
            digest = sender.stop()
        size = ("stat", "--format", "%s", "got")
        wait_for(lambda: int(str(far_run(*size)["text"])) == sender.sent_bytes, "all of it there")
    assert str(far_run("sha256sum", "got")["text"]).startswith(digest)
    wait_for(lambda: not flows_left(), "contexts gone")
    works()
    counted = changes()
    assert counted["TlsTxDevice"] == counted["tx_timeouts"] == counted["queue_restarts"] == 1
    # The card is told anew where in the stream it is.
    assert counted["tx_tls_presync"] > 0, counted
    for name in ("device_resets", "tx_tls_fallback", "tx_drop_tls", "diagnostics"):
        assert not counted[name], counted


def test_card_without_room_for_flows() -> None:
    for direction in ("transmit", "receive"):
        with fault("refuse_flows", direction=direction):
            counted = download()
        assert counted["tls_add_failed"] == 1, counted
        assert counted["TlsTxSw" if direction == "transmit" else "TlsRxSw"] == 1, counted


def test_questions_that_get_lost() -> None:
    with fault("lose_questions", count=None), fault("drop_frames", side="rx", count=3, after=300):
        counted = fetch(AES128)
    assert not counted["TlsDecryptError"], counted
    assert not counted["TlsRxDeviceResync"], counted


def test_damaged_frames_are_not_trusted() -> None:
    with fault("corrupt_frame", side="rx", count=4, after=300, seed=3):
        counted = fetch(AES128)
    assert not counted["TlsDecryptError"], counted


def test_forged_record_ends_the_connection() -> None:
    changes = Changes()
    with fault("corrupt_tag", count=1, after=20):
        try:
            fetch(AES128)
        except OSError:
            pass  # the TLS stack's EBADMSG, or what OpenSSL makes of it
        else:
            raise AssertionError("a forged record was taken for good")
    wait_for(lambda: not flows_left(), "contexts gone")
    counted = changes()
    assert counted["TlsDecryptError"] > 0, counted
    assert counted["rx_tls_err"] > 0, counted
    works()


def test_memory_that_is_not_mapped_is_recovered_from() -> None:
    for purpose in ("completion", "data", "descriptor"):
        before = statistics()
        with fault("fail_dma", count=1, after=100, purpose=purpose):
            download()
        works()
        now = statistics()
        again = sum(now[name] - before[name] for name in ("queue_restarts", "device_resets"))
        assert again <= 1, purpose


def _command_ring() -> int:
    """Address of the ring of commands, which is in use."""
    dump = subprocess.check_output(["ethtool", "-d", interface(), "raw", "on"])
    at = registers.ADMIN_QUEUE_RING_BASE
    return int.from_bytes(dump[at : at + 8], "little")


def test_command_queue_breaks_while_flows_end() -> None:
    changes = Changes()
    # More flows than there can be commands: whoever ends them holds the lock that a reset needs.
    with sink(), contextlib.ExitStack() as undo:
        for _ in range(_MANY):
            undo.enter_context(open_flows())
        with fault("fail_dma", count=1, address=_command_ring()):
            run("ip", "link", "set", interface(), "down")
    up()
    works()
    counted = changes()
    assert counted["TlsTxDevice"] == counted["TlsRxDevice"] == _MANY, counted
    assert counted["device_resets"] == 1, counted
    assert not flows_left()


TESTS = [
    prepare,
    test_lost_interrupts_are_found,
    test_interrupts_for_nothing,
    test_late_doorbells,
    test_completions_that_come_late,
    test_stalled_wire,
    test_link_flap_by_the_cable,
    test_transmit_timeout_is_recovered_from,
    test_card_without_room_for_flows,
    test_questions_that_get_lost,
    test_damaged_frames_are_not_trusted,
    test_forged_record_ends_the_connection,
    test_memory_that_is_not_mapped_is_recovered_from,
    test_command_queue_breaks_while_flows_end,
]
