"""The kernel's own TLS on the card: OpenSSL here with kTLS, OpenSSL, curl and socat at the far end without.

Each test asks both the kernel (/proc/net/tls_stat) and the card (`ethtool -S`) who did the work.
The same tests run over a wire that loses, reorders and repeats frames.
"""

from __future__ import annotations

import hashlib
import socket

from near import (
    AES128,
    AES256,
    CHACHA,
    FAR_ADDRESS,
    FAR_ADDRESS6,
    HOME,
    LOSSY,
    NEAR_ADDRESS,
    NEAR_ADDRESS6,
    Changes,
    client_context,
    curl,
    ethtool,
    far,
    far_openssl_server,
    far_run,
    flows_left,
    openssl_server,
    prepare_files,
    server,
    wait_for,
)

_BYTES = 8_000_000
_PORT = 4433
_UPLOAD_PORT = 4434
_FAR_PORT = 4435
_FETCHES = 5
# `openssl s_server` does not hang up when it cannot read on.
_UPLOAD_WAIT_S = 30.0


def prepare() -> None:
    """Files of both ends."""
    prepare_files(_BYTES)
    far("file", name="data", size_bytes=_BYTES)


def digest_of(path: str) -> str:
    """SHA-256 of a file in HOME."""
    with (HOME / path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(suite: str, address: str = NEAR_ADDRESS, *options: str) -> dict[str, int]:
    """curl at the far end fetches `data` from here; what was counted meanwhile."""
    changes = Changes()
    with openssl_server("-WWW", *options, port=_PORT, suite=suite):
        got = curl(_PORT, address=address)
    assert (got["bytes"], got["sha256"]) == (_BYTES, digest_of("data")), got["error"]
    wait_for(lambda: not flows_left(), "contexts gone")
    return changes()


def upload(suite: str, address: str = NEAR_ADDRESS) -> dict[str, int]:
    """socat at the far end sends `data` here; what was counted meanwhile."""
    changes = Changes()
    host = f"[{address}]" if ":" in address else address
    with (HOME / "got").open("wb") as file, openssl_server_to(file, suite):
        options = f"verify=0,openssl-max-proto-version=TLS1.2,cipher={suite}"
        words = ("socat", "-u", "OPEN:data", f"OPENSSL:{host}:{_UPLOAD_PORT},{options}")
        far_run(*words, wait_s=_UPLOAD_WAIT_S)
        wait_for(lambda: (HOME / "got").stat().st_size >= _BYTES, "all data", wait_s=60)
    assert digest_of("got") == far("file", name="data", size_bytes=_BYTES)
    wait_for(lambda: not flows_left(), "contexts gone")
    return changes()


def openssl_server_to(file: object, suite: str):
    """`openssl s_server` at this end that writes what it receives to `file`."""
    words = ["openssl", "s_server", "-accept", str(_UPLOAD_PORT), "-tls1_2", "-cipher", suite]
    words += ["-cert", "cert.pem", "-key", "key.pem", "-ktls", "-quiet", "-naccept", "1"]
    return server(*words, port=_UPLOAD_PORT, stdout=file)


def fetch(suite: str, address: str = FAR_ADDRESS) -> dict[str, int]:
    """This end, OpenSSL with kTLS in Python, fetches `data` from the far end's `openssl s_server`."""
    changes = Changes()
    digest, size_bytes, head = hashlib.sha256(), 0, b""
    with (
        far_openssl_server("-WWW", port=_FAR_PORT, suite=suite),
        socket.create_connection((address, _FAR_PORT)) as plain,
        client_context(suite).wrap_socket(plain) as connection,
    ):
        connection.sendall(b"GET /data HTTP/1.0\r\n\r\n")
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        body = head.partition(b"\r\n\r\n")[2]
        while size_bytes < _BYTES:
            digest.update(body)
            size_bytes += len(body)
            if size_bytes < _BYTES:
                body = connection.recv(1 << 16)
                assert body, f"the stream ended after {size_bytes} bytes"
    assert digest.hexdigest() == far("file", name="data", size_bytes=_BYTES)
    wait_for(lambda: not flows_left(), "contexts gone")
    return changes()


def sent_by_the_card(changes: dict[str, int]) -> dict[str, object]:
    """All of `data` was encrypted by the card, and nothing by anybody else; what shows it."""
    assert changes["TlsTxDevice"] == 1, changes
    assert not changes["TlsTxSw"], changes
    assert changes["tx_tls_encrypted_packets"] > 0
    assert changes["tx_tls_encrypted_bytes"] > _BYTES
    assert not changes["tx_tls_fallback"], changes
    assert not changes["tx_drop_tls"], changes
    # On a good wire, too, a slow machine may send something again.
    assert changes["tx_tls_presync"] or not LOSSY, changes
    _no_errors(changes)
    names = ("TlsTxDevice", "tx_tls_encrypted_packets", "tx_tls_presync")
    return {name: changes[name] for name in names}


def received_by_the_card(changes: dict[str, int]) -> dict[str, object]:
    """`data` was decrypted by the card: all but what came before the keys, or after a loss.

    What shows it.
    """
    assert changes["TlsRxDevice"] == 1, changes
    assert not changes["TlsRxSw"], changes
    assert changes["rx_tls_decrypted_packets"] > 0
    assert LOSSY or changes["rx_tls_decrypted_bytes"] > 0.9 * _BYTES, changes
    _no_errors(changes)
    names = ("TlsRxDevice", "rx_tls_decrypted_packets", "rx_tls_resync_res_ok")
    share = round(changes["rx_tls_decrypted_bytes"] / _BYTES, 2)
    return {**{name: changes[name] for name in names}, "share": share}


def _no_errors(changes: dict[str, int]) -> None:
    assert not changes["TlsDecryptError"], changes
    assert not changes["rx_tls_err"], changes
    assert not changes["events_lost"], changes


def test_sendfile_to_curl() -> dict[str, object]:
    return sent_by_the_card(download(AES128, NEAR_ADDRESS, "-sendfile"))


def test_write_to_curl() -> dict[str, object]:
    return sent_by_the_card(download(AES256))


def test_send_over_ipv6() -> dict[str, object]:
    return sent_by_the_card(download(AES128, NEAR_ADDRESS6))


def test_receive_from_socat() -> dict[str, object]:
    return received_by_the_card(upload(AES128))


def test_receive_from_socat_aes_256_over_ipv6() -> dict[str, object]:
    return received_by_the_card(upload(AES256, NEAR_ADDRESS6))


def test_fetch_as_a_client() -> dict[str, object]:
    changes = fetch(AES128)
    assert changes["TlsTxDevice"] == 1
    return received_by_the_card(changes)


def test_fetch_with_hints_from_the_stack() -> None:
    ethtool("--set-priv-flags", "tls-rx-next-record-hint", "on")
    try:
        changes = fetch(AES128, FAR_ADDRESS6)
    finally:
        ethtool("--set-priv-flags", "tls-rx-next-record-hint", "off")
    assert changes["TlsRxDevice"] == 1
    assert not changes["rx_tls_resync_req_start"], changes
    _no_errors(changes)


def test_fetch_with_resync_by_tag() -> dict[str, object]:
    ethtool("--set-priv-flags", "tls-rx-resync-by-tag", "on")
    try:
        changes = fetch(AES256)
    finally:
        ethtool("--set-priv-flags", "tls-rx-resync-by-tag", "off")
    assert changes["rx_tls_decrypted_bytes"] > (0.5 if LOSSY else 0.9) * _BYTES, changes
    return received_by_the_card(changes)


def test_resync_brings_offload_back() -> dict[str, object]:
    """The stack's answers are often too late (the card has lost its place again), but not always."""
    for _ in range(_FETCHES):
        changes = fetch(AES128)
        details = received_by_the_card(changes)
        questions = ("rx_tls_resync_req_end", "rx_tls_resync_req_skip")
        assert changes["rx_tls_resync_req_start"] == sum(changes[name] for name in questions)
        if not LOSSY or changes["rx_tls_resync_res_ok"]:
            break
    assert not LOSSY or changes["rx_tls_resync_res_ok"], changes
    assert not LOSSY or changes["TlsRxDeviceResync"], changes
    return {"rx_tls_resync_req_start": changes["rx_tls_resync_req_start"], **details}


def test_a_suite_that_the_kernel_does_not_offload_goes_in_software() -> None:
    changes = fetch(CHACHA)
    assert not changes["TlsTxDevice"], changes
    assert not changes["TlsRxDevice"], changes
    assert changes["TlsRxSw"] == 1
    _no_errors(changes)


def test_switched_off_it_goes_in_software_and_on_again_on_the_card() -> dict[str, object]:
    ethtool("-K", "tls-hw-tx-offload", "off", "tls-hw-rx-offload", "off")
    try:
        changes = download(AES128)
    finally:
        ethtool("-K", "tls-hw-tx-offload", "on", "tls-hw-rx-offload", "on")
    assert changes["TlsTxSw"] == 1, changes
    assert not changes["TlsTxDevice"], changes
    assert not changes["tx_tls_encrypted_packets"]
    return sent_by_the_card(download(AES128))


TESTS = [
    prepare,
    test_sendfile_to_curl,
    test_write_to_curl,
    test_send_over_ipv6,
    test_receive_from_socat,
    test_receive_from_socat_aes_256_over_ipv6,
    test_fetch_as_a_client,
    test_fetch_with_hints_from_the_stack,
    test_fetch_with_resync_by_tag,
    test_resync_brings_offload_back,
    test_a_suite_that_the_kernel_does_not_offload_goes_in_software,
    test_switched_off_it_goes_in_software_and_on_again_on_the_card,
]
