"""A thousand flows at once: keys are handed to the kernel as OpenSSL does, without the handshakes.

Handshakes would take minutes on an emulated CPU, and `lifecycle` has them.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct

from near import FAR_ADDRESS, Changes, far_server, flows_left, wait_for

_COUNT = 1000
_BYTES = 300
_PORT = 5300
# linux/tls.h, linux/tcp.h
_SOL_TLS, _TLS_TX, _TLS_RX = 282, 1, 2
_TCP_ULP = 31
_TLS_1_2, _AES_GCM_128 = 0x0303, 51
# Takes connections and keeps them; what comes is not read.
_SINK = f"""
import resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
server, kept = socket.create_server(("", {_PORT}), backlog={_COUNT}), []
while True: kept.append(server.accept()[0])
"""


def _crypto_info() -> bytes:
    """struct tls12_crypto_info_aes_gcm_128, with a key of its own."""
    return struct.pack(
        "=HH8s16s4s8s", _TLS_1_2, _AES_GCM_128, *map(os.urandom, (8, 16, 4)), bytes(8)
    )


def sink() -> contextlib.AbstractContextManager[None]:
    """A server at the far end for `open_flows`, meanwhile."""
    return far_server("python3", "-c", _SINK, port=_PORT)


def open_flows() -> socket.socket:
    """A connection to `sink` with a flow each way."""
    connection = socket.create_connection((FAR_ADDRESS, _PORT), 30)
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_ULP, b"tls")
    for way in (_TLS_TX, _TLS_RX):
        connection.setsockopt(_SOL_TLS, way, _crypto_info())
    return connection


def test_a_thousand_flows_at_once() -> dict[str, object]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    changes = Changes()
    with sink(), contextlib.ExitStack() as undo:
        connections = [undo.enter_context(open_flows()) for _ in range(_COUNT)]
        assert flows_left() == 2 * _COUNT
        for connection in connections:
            connection.sendall(bytes(_BYTES))
        wait_for(lambda: changes()["tx_tls_encrypted_packets"] >= _COUNT, "all sent")
        now = changes()
        assert now["TlsCurrTxDevice"] == now["TlsCurrRxDevice"] == _COUNT, now
    wait_for(lambda: not flows_left(), "flows gone", wait_s=60)
    counted = changes()
    assert counted["TlsTxDevice"] == counted["tx_tls_ctx"] == counted["tx_tls_del"] == _COUNT
    assert counted["TlsRxDevice"] == counted["rx_tls_ctx"] == counted["rx_tls_del"] == _COUNT
    assert not counted["tls_add_failed"], counted
    assert not counted["TlsCurrTxDevice"], counted
    return {"flows": 2 * _COUNT}


TESTS = [test_a_thousand_flows_at_once]
