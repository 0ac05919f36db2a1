"""Two hundred megabytes in each direction, over whatever wire: what takes minutes, and runs when asked."""

from __future__ import annotations

import hashlib
import os
import threading

from near import (
    AES128,
    HOME,
    NEAR_ADDRESS,
    Changes,
    far,
    far_run,
    flows_left,
    openssl_server,
    prepare_files,
    wait_for,
)

_BYTES = 200_000_000
_PORT = 4453
_WAIT_S = 180.0


def _counted(changes: Changes) -> dict[str, int]:
    wait_for(lambda: not flows_left(), "flows gone")
    counted = changes()
    for name in ("TlsDecryptError", "TlsTxSw", "TlsRxSw", "rx_tls_err", "tx_drop_tls"):
        assert not counted[name], (name, counted)
    assert counted["TlsTxDevice"] == counted["TlsRxDevice"] == 1, counted
    return counted


def test_curl_fetches_200_mb() -> dict[str, object]:
    """From `openssl s_server -ktls`."""
    prepare_files(_BYTES)
    with (HOME / "data").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    changes = Changes()
    with openssl_server("-WWW", "-sendfile", port=_PORT, suite=AES128):
        words = ("curl", "--silent", "--show-error", "--insecure", "--tls-max", "1.2")
        got = far_run(*words, f"https://{NEAR_ADDRESS}:{_PORT}/data", wait_s=_WAIT_S)
    (HOME / "data").unlink()
    assert (got["bytes"], got["sha256"]) == (_BYTES, digest), got["error"]
    counted = _counted(changes)
    assert counted["tx_tls_encrypted_bytes"] > _BYTES, counted
    names = ("tx_tls_encrypted_packets", "tx_tls_ooo", "tx_tls_presync", "tx_tls_fallback")
    return {"sha256": digest[:16], **{name: counted[name] for name in names}}


def test_socat_sends_200_mb() -> dict[str, object]:
    """To `openssl s_server -ktls`."""
    wanted = far("file", name="bulk", size_bytes=_BYTES, timeout_s=_WAIT_S)
    reader_fd, writer_fd = os.pipe()
    digest, size_bytes = hashlib.sha256(), 0

    def read() -> None:
        nonlocal size_bytes
        with open(reader_fd, "rb", buffering=0) as reader:
            while block := reader.read(1 << 16):
                digest.update(block)
                size_bytes += len(block)

    changes = Changes()
    thread = threading.Thread(target=read)
    thread.start()
    try:
        options = ("-quiet", "-naccept", "1")
        with openssl_server(*options, port=_PORT, suite=AES128, stdout=writer_fd):
            os.close(writer_fd)
            words = f"verify=0,openssl-max-proto-version=TLS1.2,cipher={AES128}"
            target = f"OPENSSL:{NEAR_ADDRESS}:{_PORT},{words}"
            far_run("socat", "-u", "OPEN:bulk", target, wait_s=_WAIT_S)
            wait_for(lambda: size_bytes >= _BYTES, "all data", wait_s=_WAIT_S)
    finally:
        thread.join(_WAIT_S)
    assert (size_bytes, digest.hexdigest()) == (_BYTES, wanted)
    counted = _counted(changes)
    assert counted["rx_tls_decrypted_packets"] > 0, counted
    names = ("rx_tls_decrypted_packets", "rx_tls_resync_req_start", "rx_tls_resync_res_ok")
    share = round(counted["rx_tls_decrypted_bytes"] / _BYTES, 2)
    return {"share": share, **{name: counted[name] for name in names}}


TESTS = [test_curl_fetches_200_mb, test_socat_sends_200_mb]
