"""The kernel's own TLS on the card as servers use it: nginx with sendfile, many short connections.

Both ends are programs that nobody here wrote. Those at the far end have TLS in their own process.
"""

from __future__ import annotations

import hashlib
import re
import subprocess

from near import (
    AES128,
    AES256,
    FAR_ADDRESS,
    HOME,
    LOSSY,
    NEAR_ADDRESS,
    NEAR_ADDRESS6,
    Changes,
    far,
    far_openssl_server,
    far_run,
    flows_left,
    prepare_files,
    server,
    wait_for,
)

_BYTES = 4_000_000
_PORT = 8443
_FAR_PORT = 8444
_PARALLEL = 8
_SECONDS = 3
_CONFIGURATION = """\
user root;
worker_processes {workers};
pid {home}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    client_max_body_size 0;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen {port} ssl;
        listen [::]:{port} ssl;
        ssl_certificate {home}/cert.pem;
        ssl_certificate_key {home}/key.pem;
        ssl_protocols TLSv1.2;
        ssl_ciphers {suite};
        ssl_conf_command Options {options};
        root {home};
        location /up/ {{ dav_methods PUT; create_full_put_path on; }}
    }}
}}
"""
KTLS = "KTLS"


def nginx(*, port: int, suite: str = AES128, workers: int = 1, options: str = KTLS):
    """nginx on `port`, meanwhile; it serves HOME, and takes uploads to /up/."""
    configuration = HOME / f"nginx-{port}.conf"
    configuration.write_text(
        _CONFIGURATION.format(home=HOME, port=port, suite=suite, workers=workers, options=options)
    )
    words = ("nginx", "-e", "stderr", "-c", str(configuration), "-g", "daemon off;")
    return server(*words, port=port)


def url(name: str, address: str = NEAR_ADDRESS) -> str:
    """Of a file in HOME."""
    return f"https://{f'[{address}]' if ':' in address else address}:{_PORT}/{name}"


def fetch(*words: str) -> dict[str, object]:
    """curl at the far end."""
    return far_run("curl", "--silent", "--show-error", "--insecure", "--fail", *words)


def digest_of(name: str) -> str:
    """SHA-256 of a file in HOME."""
    with (HOME / name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prepare() -> None:
    """Files of both ends."""
    prepare_files(_BYTES)
    (HOME / "small").write_bytes(b"0123456789abcdef" * 64)
    far("file", name="data", size_bytes=_BYTES)


def _counted(changes: Changes) -> dict[str, int]:
    """What was counted, once all flows are gone; nothing went wrong."""
    wait_for(lambda: not flows_left(), "flows gone")
    counted = changes()
    for name in ("TlsDecryptError", "TlsTxSw", "TlsRxSw", "rx_tls_err", "tx_drop_tls"):
        assert not counted[name], (name, counted)
    for name in ("tls_add_failed", "events_lost", "diagnostics", "tx_timeouts"):
        assert not counted[name], (name, counted)
    for way in ("tx", "rx"):
        assert counted[f"{way}_tls_ctx"] == counted[f"{way}_tls_del"], counted
    return counted


def _served(suite: str, address: str) -> dict[str, object]:
    changes = Changes()
    with nginx(port=_PORT, suite=suite):
        got = fetch(url("data", address))
    assert (got["bytes"], got["sha256"]) == (_BYTES, digest_of("data")), got["error"]
    counted = _counted(changes)
    assert counted["TlsTxDevice"] == counted["TlsRxDevice"] == 1, counted
    assert counted["tx_tls_encrypted_bytes"] > _BYTES, counted
    assert not counted["tx_tls_fallback"], counted
    return {"encrypted_packets": counted["tx_tls_encrypted_packets"]}


def test_nginx_sends_a_file() -> dict[str, object]:
    return _served(AES128, NEAR_ADDRESS)


def test_nginx_sends_a_file_with_aes_256_over_ipv6() -> dict[str, object]:
    return _served(AES256, NEAR_ADDRESS6)


def test_nginx_takes_an_upload() -> dict[str, object]:
    changes = Changes()
    with nginx(port=_PORT):
        fetch("--upload-file", "data", url("up/data"))
    assert digest_of("up/data") == far("file", name="data", size_bytes=_BYTES)
    counted = _counted(changes)
    assert counted["TlsRxDevice"] == 1, counted
    assert counted["rx_tls_decrypted_packets"] > 0
    assert not LOSSY or counted["rx_tls_resync_req_start"] > 0, counted
    share = counted["rx_tls_decrypted_bytes"] / _BYTES
    assert LOSSY or share > 0.9, counted
    return {
        "decrypted_packets": counted["rx_tls_decrypted_packets"],
        "share": round(share, 2),
        "resyncs": counted["rx_tls_resync_res_ok"],
    }


def test_several_connections_at_once() -> dict[str, object]:
    changes = Changes()
    words = [f"{url('data')} -o got{number}".split() for number in range(_PARALLEL)]
    with nginx(port=_PORT, workers=2):
        fetch("--parallel", "--parallel-immediate", *(word for pair in words for word in pair))
    for number in range(_PARALLEL):
        said = str(far_run("sha256sum", f"got{number}")["text"])
        assert said.startswith(digest_of("data")), number
    counted = _counted(changes)
    assert counted["TlsTxDevice"] == _PARALLEL, counted
    assert counted["tx_tls_encrypted_bytes"] > _PARALLEL * _BYTES, counted
    return {"connections": _PARALLEL}


def _s_time(kind: str) -> dict[str, object]:
    """`openssl s_time` at the far end makes as many connections as it can."""
    changes = Changes()
    with nginx(port=_PORT):
        said = far_run(
            *("openssl", "s_time", "-connect", f"{NEAR_ADDRESS}:{_PORT}", "-www", "/small", kind),
            *("-time", str(_SECONDS), "-tls1_2", "-cipher", AES128),
        )
    found = re.search(
        r"^(\d+) connections in \d+ real seconds, (\d+) bytes", str(said["text"]), re.M
    )
    assert found is not None, said
    connections = int(found[1])
    assert connections > 10, said["text"]
    counted = _counted(changes)
    # With -reuse a first one makes the session, and is not counted; each may end with another.
    assert connections <= counted["TlsTxDevice"] <= connections + 2, (connections, counted)
    assert counted["tx_tls_ctx"] == counted["TlsTxDevice"], counted
    assert counted["tx_tls_encrypted_packets"] >= connections, counted
    return {"connections": connections, "seconds": _SECONDS}


def test_many_short_connections() -> dict[str, object]:
    return _s_time("-new")


def test_many_resumed_connections() -> dict[str, object]:
    return _s_time("-reuse")


def test_s_client_receives() -> dict[str, object]:
    """`openssl s_client -ktls` here, `openssl s_server` without at the far end."""
    changes = Changes()
    words = ["openssl", "s_client", "-ktls", "-quiet", "-tls1_2", "-cipher", AES128]
    with far_openssl_server("-WWW", port=_FAR_PORT):
        done = subprocess.run(
            [*words, "-connect", f"{FAR_ADDRESS}:{_FAR_PORT}"],
            input=b"GET /data HTTP/1.0\r\n\r\n",
            capture_output=True,
            timeout=60,
            check=False,
        )
    body = done.stdout.partition(b"\r\n\r\n")[2]
    assert len(body) == _BYTES, (len(body), done.stderr[-500:])
    digest = hashlib.sha256(body).hexdigest()
    assert digest == far("file", name="data", size_bytes=_BYTES)
    counted = _counted(changes)
    assert counted["TlsRxDevice"] == counted["TlsTxDevice"] == 1, counted
    share = counted["rx_tls_decrypted_bytes"] / _BYTES
    assert share > 0, counted
    assert LOSSY or share > 0.9, counted
    return {"share": round(share, 2), "resyncs": counted["rx_tls_resync_res_ok"]}


TESTS = [
    prepare,
    test_nginx_sends_a_file,
    test_nginx_sends_a_file_with_aes_256_over_ipv6,
    test_nginx_takes_an_upload,
    test_several_connections_at_once,
    test_many_short_connections,
    test_many_resumed_connections,
    test_s_client_receives,
]
