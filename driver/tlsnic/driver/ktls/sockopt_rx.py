"""Socket option TCP_RXTLS_ENABLE (ktls_enable_rx()).

Receive always has a software backend: also with a card, for the records that it has not decrypted,
or not whole. The card comes second (ktls_try_ifnet): its flow starts at the first record that is not
decrypted yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlsnic.driver.ktls.decrypt import KtlsRx
from tlsnic.driver.ktls.session import (
    KTLS_RX,
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_SW,
    TlsEnable,
    ktls_create_session,
)

if TYPE_CHECKING:
    from tlsnic.driver.ktls.socket import Socket


def ktls_enable_rx(so: Socket, en: TlsEnable) -> None:
    """What is read from now on comes in TLS records, decrypted by the card if it does, and where it
    has not, in software. For `sockopt.setsockopt`, which has looked whether that may be, in
    `ProtocolSwitch.call`: the first record's TCP sequence number must not move meanwhile. Raises
    OSError: EINVAL as `ktls_create_session`, and what the backends say (EPROTONOSUPPORT for
    AES-CBC)."""
    with so.so_rcv.sb_mtx:
        tls = ktls_create_session(so.kernel, en, so.flowid)
        try:
            tls.kernel.backends.try_sw(tls, KTLS_RX)
        except OSError:
            tls.free()
            raise
        number = int.from_bytes(en.rec_seq, "big")
        so.ktls_rx = rx = KtlsRx(so, tls, number, so.proto.rcv_start(so))
        try:
            tls.snd_tag = so.proto.rcv_tag_alloc(
                so,
                tls,
                tcp_sequence=rx.next_tcp_sequence,
                record_number=so.so_rcv.sb_tls_seqno,
                force=False,
            )
        except OSError:
            tls.set_mode(TCP_TLS_MODE_SW)
        else:
            tls.set_mode(TCP_TLS_MODE_IFNET)
    so.kernel.sysctl.add("stats.offload_total")
