"""Flows and the driver come and go: many connections, link flap, resets, reload, all under traffic."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from flows import open_flows, sink
from ktls import digest_of
from near import (
    FAR_ADDRESS,
    LOSSY,
    NEAR_ADDRESS,
    Changes,
    client_context,
    curl,
    ethtool,
    far,
    far_openssl_server,
    far_run,
    far_server,
    flows_left,
    function,
    interface,
    load,
    openssl_server,
    prepare_files,
    run,
    unload,
    up,
    wait_for,
)

_BYTES = 24_000_000
_RATE = "12M"  # bytes per second: time enough for what happens in the middle
_PORT = 4443
_FAR_PORT = 4445
_IPERF_PORT = 5202
_FLOWS = 60 if LOSSY else 300


def sent_bytes() -> int:
    """Bytes that the interface has sent."""
    return int(Path(f"/sys/class/net/{interface()}/statistics/tx_bytes").read_text())


def download_while(disturb: Callable[[], None]) -> dict[str, int]:
    """curl at the far end fetches `data` over TLS, and in the middle `disturb` happens; the payload
    is right, and no flow is left. What was counted meanwhile."""
    results: list[dict[str, object]] = []

    def download() -> None:
        words = ["curl", "--silent", "--insecure", "--tls-max", "1.2", "--limit-rate", _RATE]
        results.append(far_run(*words, f"https://{NEAR_ADDRESS}:{_PORT}/data"))

    changes, before = Changes(), sent_bytes()
    with openssl_server("-WWW", "-sendfile", port=_PORT):
        thread = threading.Thread(target=download)
        thread.start()
        try:
            wait_for(lambda: sent_bytes() - before > _BYTES // 4, "the first quarter")
            disturb()
        finally:
            thread.join()
        (got,) = results
    assert (got["bytes"], got["sha256"]) == (_BYTES, digest_of("data")), got["error"]
    wait_for(lambda: not flows_left(), "contexts gone")
    counted = changes()
    assert counted["TlsTxDevice"] == 1, counted
    assert not counted["TlsDecryptError"], counted
    return counted


def prepare() -> None:
    """Files of both ends."""
    prepare_files(_BYTES)
    far("file", name="small", size_bytes=2000)


def test_many_flows_leave_no_context() -> None:
    context = client_context()
    changes = Changes()
    with far_openssl_server("-WWW", port=_FAR_PORT):
        for number in range(_FLOWS):
            # The same few ports again and again: a 4-tuple is used before its last flow is gone.
            source = ("", 40000 + number % 8)
            with socket.socket() as plain:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                # Closed by a reset, so that the port is free at once.
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                plain.bind(source)
                plain.connect((FAR_ADDRESS, _FAR_PORT))
                with context.wrap_socket(plain) as connection:
                    connection.sendall(b"GET /small HTTP/1.0\r\n\r\n")
                    got = b""
                    while len(got.partition(b"\r\n\r\n")[2]) < 2000:
                        part = connection.recv(1 << 14)
                        assert part
                        got += part
    wait_for(lambda: not flows_left(), "contexts gone")
    counted = changes()
    assert counted["TlsTxDevice"] == counted["tx_tls_ctx"] == counted["tx_tls_del"] == _FLOWS
    assert counted["TlsRxDevice"] == counted["rx_tls_ctx"] == counted["rx_tls_del"] == _FLOWS
    assert not counted["TlsDecryptError"]
    assert not counted["tls_add_failed"]


def test_link_flap_under_tls() -> None:
    def flap() -> None:
        run("ip", "link", "set", interface(), "down")
        up()

    counted = download_while(flap)
    # The flow is not offloaded any more after that; it goes on in software.
    assert counted["TlsTxDevice"] == 1


def test_far_link_flap() -> None:
    carrier = Path(f"/sys/class/net/{interface()}/carrier")

    def flap() -> None:
        far_run("ip", "link", "set", "tap0", "down")
        wait_for(lambda: carrier.read_text() == "0\n", "link down")
        far_run("ip", "link", "set", "tap0", "up")
        wait_for(lambda: carrier.read_text() == "1\n", "link up")

    counted = download_while(flap)
    assert not counted["tx_tls_fallback"], counted


def test_queues_restarted_under_tls() -> None:
    def change() -> None:
        for words in (("-G", "tx", "512"), ("-L", "combined", "1"), ("-L", "combined", "2")):
            ethtool(*words)
            time.sleep(0.2)
        ethtool("-G", "tx", "1024")

    counted = download_while(change)
    assert not counted["tx_tls_fallback"], counted
    assert not counted["tx_drop_tls"], counted


def test_reset_under_tls_goes_on_in_software() -> None:
    def reset() -> None:
        ethtool("--reset", "dedicated")

    counted = download_while(reset)
    assert counted["device_resets"] == 1
    assert counted["tx_tls_fallback"] > 0, counted


def test_function_level_reset_under_tls() -> None:
    def reset() -> None:
        (function() / "reset").write_text("1")

    counted = download_while(reset)
    assert counted["device_resets"] == 1


def test_offloads_switched_under_tls() -> None:
    def switch() -> None:
        ethtool("-K", "tx", "off", "sg", "off", "gro", "off")
        time.sleep(0.3)
        ethtool("-K", "tx", "on", "sg", "on", "gro", "on")
        ethtool("-K", "tso", "on", "tls-hw-tx-offload", "on")

    download_while(switch)


def _encrypted_in_software_when(*action: str) -> None:
    """Packets of a flow that `tc` has changed are not the flow's any more for the card."""
    with sink(), open_flows() as connection:
        changes = Changes()
        run("tc", "qdisc", "add", "dev", interface(), "clsact")
        try:
            match = ("protocol", "ip", "matchall", "action", *action)
            run("tc", "filter", "add", "dev", interface(), "egress", *match)
            connection.sendall(bytes(3000))
            wait_for(lambda: changes()["tx_tls_fallback"] > 0, "fallback")
        finally:
            run("tc", "qdisc", "del", "dev", interface(), "clsact")
        assert not changes()["tx_drop_tls"], action


def test_tags_pushed_into_tls_packets() -> None:
    for tag_beside_the_packet in ("on", "off"):
        ethtool("-K", "txvlan", tag_beside_the_packet)
        _encrypted_in_software_when("vlan", "push", "id", "5")
    ethtool("-K", "txvlan", "on")


def test_addresses_changed_in_tls_packets() -> None:
    elsewhere = f"{FAR_ADDRESS.rpartition('.')[0]}.99"
    _encrypted_in_software_when("nat", "egress", f"{NEAR_ADDRESS}/32", elsewhere)


def test_unload_with_traffic_and_load_again() -> None:
    for _ in range(3):
        with far_server("iperf3", "-s", "-p", str(_IPERF_PORT), port=_IPERF_PORT):
            traffic = subprocess.Popen(
                ["iperf3", "-c", FAR_ADDRESS, "-p", str(_IPERF_PORT), "-t", "20"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(0.5)
            unload()
            traffic.kill()
            traffic.wait(30)
        load()
        up()
        assert "2 received" in run("ping", "-q", "-c", "2", "-i", "0.1", "-W", "9", FAR_ADDRESS)


def test_works_with_intx() -> None:
    unload()
    msi = next(path for path in Path("/sys/bus/pci/devices").glob("*/device") if _is_card(path))
    (msi.parent / "msi_bus").write_text("0")
    try:
        load()
        up()
        with openssl_server("-WWW", "-sendfile", port=_PORT):
            got = curl(_PORT, address=NEAR_ADDRESS)
        assert (got["bytes"], got["sha256"]) == (_BYTES, digest_of("data")), got["error"]
        assert "fasteoi   tlsnic" in Path("/proc/interrupts").read_text()
    finally:
        unload()
        (msi.parent / "msi_bus").write_text("1")
        load()
        up()


def _is_card(path: Path) -> bool:
    return path.read_text() == "0x715c\n"


TESTS = [
    prepare,
    test_many_flows_leave_no_context,
    test_link_flap_under_tls,
    test_far_link_flap,
    test_queues_restarted_under_tls,
    test_reset_under_tls_goes_on_in_software,
    test_function_level_reset_under_tls,
    test_offloads_switched_under_tls,
    test_tags_pushed_into_tls_packets,
    test_addresses_changed_in_tls_packets,
    test_unload_with_traffic_and_load_again,
    test_works_with_intx,
]
