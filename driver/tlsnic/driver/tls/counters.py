"""Counters of TLS in the driver, by the names of Linux's Documentation/networking/tls-offload.rst."""

from __future__ import annotations

from typing import Self


class _Counters:
    """Numbers by name."""

    __slots__: tuple[str, ...] = ()

    def add(self, other: Self) -> None:
        """Add the counts of `other`."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={value}" for name, value in self.as_dict().items() if value)
        return f"<{type(self).__name__} {counts}>"


class TlsCounters(_Counters):
    """What happened to the packets of one send tag, or of all. Packets are those that were handed
    to the driver: one for a segmented send."""

    __slots__ = (
        "tx_tls_ctx",
        "tx_tls_del",
        "tx_tls_drop_bypass_req",
        "tx_tls_drop_no_sync_data",
        "tx_tls_encrypted_bytes",
        "tx_tls_encrypted_packets",
        "tx_tls_ooo",
        "tx_tls_skip_no_sync_data",
    )

    def __init__(self) -> None:
        self.tx_tls_encrypted_packets = 0
        """Packets given to the card for encryption."""
        self.tx_tls_encrypted_bytes = 0
        """TCP payload bytes of these."""
        self.tx_tls_ctx = 0
        """Flow contexts made in the card."""
        self.tx_tls_del = 0
        """Flow contexts that are gone again: destroyed, or lost with a reset or the card."""
        self.tx_tls_ooo = 0
        """Packets with payload that did not start at the expected TCP sequence number, or came
        while there was none; whatever became of them."""
        self.tx_tls_skip_no_sync_data = 0
        """Of these, from before the start of offload: sent as they are."""
        self.tx_tls_drop_no_sync_data = 0
        """Of these, dropped because their record is not known any more."""
        self.tx_tls_drop_bypass_req = 0
        """Of these, dropped because they lie on both sides of the start of offload."""


class TlsReceiveCounters(_Counters):
    """What happened to the packets and questions of one receive tag, or of all. Packets are those
    that the card hands over: one for segments that it joined."""

    __slots__ = (
        "rx_tls_ctx",
        "rx_tls_decrypted_bytes",
        "rx_tls_decrypted_packets",
        "rx_tls_del",
        "rx_tls_err",
        "rx_tls_resync_req_end",
        "rx_tls_resync_req_pkt",
        "rx_tls_resync_req_skip",
        "rx_tls_resync_req_start",
        "rx_tls_resync_res_ok",
        "rx_tls_resync_res_skip",
    )

    def __init__(self) -> None:
        self.rx_tls_decrypted_packets = 0
        """Packets that the card has decrypted."""
        self.rx_tls_decrypted_bytes = 0
        """TCP payload bytes of these."""
        self.rx_tls_ctx = 0
        """Flow contexts made in the card."""
        self.rx_tls_del = 0
        """Flow contexts that are gone again: destroyed, or lost with a reset or the card."""
        self.rx_tls_resync_req_pkt = 0
        """Packets with a question of the card in them."""
        self.rx_tls_resync_req_start = 0
        """Questions of the card that came here."""
        self.rx_tls_resync_req_end = 0
        """Of these, those that the stream reached, and that were answered."""
        self.rx_tls_resync_req_skip = 0
        """Of these, those that were replaced by a newer one, or lost with the flow."""
        self.rx_tls_resync_res_ok = 0
        """Answers that named a record, and hints, that the card took."""
        self.rx_tls_resync_res_skip = 0
        """Answers that no record starts there; answers and hints that came too late."""
        self.rx_tls_err = 0
        """Packets with a record that failed authentication in the card."""
