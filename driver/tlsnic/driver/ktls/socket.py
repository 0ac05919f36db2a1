"""Sockets: what a program has of a connection.

    so.setsockopt(IPPROTO_TCP, TCP_TXTLS_ENABLE, TlsEnable.of(handshake.transmit_session()))
    so.write(data)
    so.sendfile(file.fileno(), 0, size)
    so.sendmsg([alert], [(IPPROTO_TCP, TLS_SET_RECORD_TYPE, bytes((TLS_RLTYPE_ALERT,)))])
    so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE)      # none, software or ifnet

    so.setsockopt(IPPROTO_TCP, TCP_RXTLS_ENABLE, TlsEnable.of(handshake.receive_session()))
    data, control, is_eor = so.recvmsg(1 << 16)     # one record

Sending is in `sosend` and `sendfile`, receiving in `decrypt` and `soreceive`, options in `sockopt`
and `sockopt_rx`. TCP is behind `ProtocolSwitch`.
Errors are OSErrors with the errno that FreeBSD gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from errno import ECONNRESET
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from tlsnic.driver.ktls import sendfile, sockopt, sosend
from tlsnic.driver.ktls.iolock import IoLock
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.mbuf import ReadableBuffer
from tlsnic.driver.ktls.session import KtlsSession, SendTagReference, TlsEnable
from tlsnic.driver.ktls.sockbuf import SBS_CANTRCVMORE, SBS_CANTSENDMORE, Sockbuf
from tlsnic.driver.ktls.soreceive import Message, soreceive

if TYPE_CHECKING:
    from tlsnic.driver.ktls.decrypt import KtlsRx, TlsRxParams

_T = TypeVar("_T")

# so_state
SS_ISCONNECTED: Final = 0x0002
SS_NBIO: Final = 0x0100

_LOWAT: Final = 2048  # MCLBYTES
ControlMessage = tuple[int, int, bytes]
"""Level, type, data: as in Python's `socket.sendmsg`."""


class ProtocolSwitch(Protocol):
    """What a socket asks of TCP (struct protosw). Those marked so are called by workers too."""

    def pr_send(self, so: Socket) -> None:
        """Something was appended to so_snd: send it if possible (tcp_usr_send)."""

    def pr_ready(self, so: Socket) -> None:
        """Something in so_snd has become ready (tcp_usr_ready). Any thread."""

    def pr_rcvd(self, so: Socket) -> None:
        """The program has read: the window may grow (tcp_usr_rcvd)."""

    def pr_shutdown(self, so: Socket) -> None:
        """The program sends no more: a FIN after what is in so_snd (tcp_usr_shutdown)."""

    def pr_close(self, so: Socket) -> None:
        """The program has closed the socket; what it has not read goes. When the connection has
        come to its end, call `Socket.sofree` (tcp_usr_close)."""

    def pr_abort(self, so: Socket) -> None:
        """End the connection with a reset, then call `Socket.sofree` (tcp_usr_abort)."""

    def tcp_drop(self, so: Socket, error: int) -> None:
        """End the connection with a reset; what was received can still be read. Any thread."""

    def call(self, function: Callable[[], _T]) -> _T:
        """Call it in the thread whose TCP and cards are, for its result. Raises what it raises,
        and TimeoutError when that thread does not do it."""

    def sorwakeup(self, so: Socket) -> None:
        """so_rcv has changed: whoever drives TCP while it waits in `sbwait` shall look. Any thread."""

    def snd_tag_alloc(self, so: Socket, tls: KtlsSession, *, force: bool) -> SendTagReference:
        """A send tag on the interface that the connection is routed over (ktls_alloc_snd_tag);
        its first record starts behind all that is in so_snd, whose send lock the caller holds.
        force: even if kern.ipc.tls.ifnet.permitted is 0. Raises OSError."""

    def rcv_start(self, so: Socket) -> int:
        """TCP sequence number (u32) of the first byte in so_rcv, whose lock is held; behind all
        that has come when it is empty. In `call`."""

    def rcv_tag_alloc(
        self, so: Socket, tls: KtlsSession, *, tcp_sequence: int, record_number: int, force: bool
    ) -> SendTagReference:
        """A receive tag on the interface that the connection's packets come in at
        (ktls_alloc_rcv_tag): record `record_number` starts at `tcp_sequence`. The lock of so_rcv is
        held. force: as above. In `call`. Raises OSError."""

    def rx_tag_modify(self, so: Socket, params: TlsRxParams) -> None:
        """Tell the receive tag of a record (if_snd_tag_modify). Any thread."""

    def sbwait(self, so: Socket, sb: Sockbuf, timeout_s: float | None) -> bool:
        """Wait until something happens to the socket buffer, whose lock is held, or drive what
        makes it happen; False when it took too long."""


class Socket:
    """A connected TCP socket (struct socket).

    so_snd, so_rcv: its socket buffers; so_error: the errno that the next call raises, once;
    so_timeo_s: how long calls wait at most; flowid: of the connection, chooses the worker.
    """

    def __init__(
        self,
        kernel: Kernel,
        proto: ProtocolSwitch,
        *,
        send_bytes: int = 1 << 20,
        receive_bytes: int = 1 << 20,
        flowid: int = 0,
    ) -> None:
        """send_bytes, receive_bytes: the most that the socket buffers hold."""
        self.kernel = kernel
        self.proto = proto
        self.flowid = flowid
        self.so_snd = Sockbuf(send_bytes)
        self.so_rcv = Sockbuf(receive_bytes)
        self.so_snd.sb_lowat = min(_LOWAT, send_bytes)
        self.ktls_rx: KtlsRx | None = None
        self.so_state = SS_ISCONNECTED
        self.so_error = 0
        self.so_timeo_s: float | None = None
        self.send_lock = IoLock()
        """SOCK_IO_SEND_LOCK: one write after the other."""
        self.is_freed = False
        """The connection is gone."""

    # Sending

    def write(self, data: ReadableBuffer) -> int:
        """Send application data; how much of it was taken: all, or what had room if the socket
        does not block. Raises as `sosend.sosend`."""
        return sosend.sosend(self, data)

    def sendmsg(
        self, buffers: Sequence[ReadableBuffer], control: Sequence[ControlMessage] = ()
    ) -> int:
        """The same from several buffers. With a control message TLS_SET_RECORD_TYPE all of it is
        one record of that type."""
        return sosend.sendmsg(self, buffers, control)

    def sendfile(self, file: int, offset: int, nbytes: int = 0) -> int:
        """Send `nbytes` of a file (0: to its end) from its pages. As `sendfile.vn_sendfile`."""
        return sendfile.vn_sendfile(self, file, offset, nbytes)

    # Receiving

    def recvmsg(self, max_bytes: int, flags: int = 0) -> Message:
        """At most `max_bytes` of the next record, with its control message. As
        `soreceive.soreceive`."""
        return soreceive(self, max_bytes, flags)

    def read(self, max_bytes: int) -> bytes:
        """The same without control message; empty at the end of the stream. Records that are empty
        are passed over."""
        while True:
            message = soreceive(self, max_bytes)
            if message.data or message.at_end:
                return message.data

    # Options

    def setsockopt(self, level: int, option: int, value: TlsEnable | int) -> None:
        """TCP_TXTLS_ENABLE and TCP_RXTLS_ENABLE with a TlsEnable, TCP_TXTLS_MODE. Raises as `sockopt`."""
        sockopt.setsockopt(self, level, option, value)

    def getsockopt(self, level: int, option: int) -> int:
        """TCP_TXTLS_MODE, TCP_RXTLS_MODE: TCP_TLS_MODE_NONE, _SW or _IFNET."""
        return sockopt.getsockopt(self, level, option)

    # From below

    def pr_ready(self) -> None:
        """Something in so_snd has become ready. Any thread."""
        self.proto.pr_ready(self)

    def tcp_drop(self, error: int) -> None:
        """The connection is over; `error` is what the program gets. Any thread."""
        self.so_error = error
        self._cannot()
        self.proto.tcp_drop(self, error)

    def sorwakeup(self) -> None:
        """Something in so_rcv has changed. Any thread."""
        self.so_rcv.sowakeup()
        self.proto.sorwakeup(self)

    def rx_tag_modify(self, params: TlsRxParams) -> None:
        """As `ProtocolSwitch.rx_tag_modify`."""
        self.proto.rx_tag_modify(self, params)

    def sowwakeup(self) -> None:
        """There is room in so_snd: called when something was acknowledged."""
        self.so_snd.sowakeup()

    # The end

    def shutdown(self) -> None:
        """Send no more."""
        with self.so_snd.sb_mtx:
            self.so_snd.sb_state |= SBS_CANTSENDMORE
        self.so_snd.sowakeup()
        self.proto.pr_shutdown(self)

    def close(self) -> None:
        """The program is done with it (soclose). What is in so_snd is still sent."""
        self._cannot()
        self.proto.pr_close(self)

    def abort(self) -> None:
        """Drop the connection and everything in the socket buffers (soabort): they are freed when
        TCP knows of it."""
        self.so_error = ECONNRESET
        self._cannot()
        self.proto.pr_abort(self)

    def sofree(self) -> None:
        """The connection is gone: free what is in the socket buffers, and the sessions. What
        workers have they free themselves, and with it the last references. Twice is harmless."""
        self.is_freed = True
        self.so_state &= ~SS_ISCONNECTED
        self._cannot()
        for sb in (self.so_snd, self.so_rcv):
            with sb.sb_mtx:
                sb.sbflush()
                sb.ktls_check_rx = None
                tls, sb.sb_tls_info = sb.sb_tls_info, None
            sb.sowakeup()
            if tls is not None:
                tls.free()

    def _cannot(self) -> None:
        for sb, flag in ((self.so_snd, SBS_CANTSENDMORE), (self.so_rcv, SBS_CANTRCVMORE)):
            with sb.sb_mtx:
                sb.sb_state |= flag
            sb.sowakeup()
