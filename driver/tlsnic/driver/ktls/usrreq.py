"""What sockets ask of TCP (struct protosw; FreeBSD's tcp_usrreq.c), over a `TcpStack`.

What touches connections or cards is done in the thread that takes turns: at once when that is the
calling one, else as a task of its next turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tlsnic.driver.ktls import ktls_ifnet
from tlsnic.driver.ktls.decrypt import TlsRxParams
from tlsnic.driver.ktls.session import KtlsSession
from tlsnic.driver.ktls.snd_tag import SndTag
from tlsnic.driver.ktls.sockbuf import Sockbuf
from tlsnic.driver.ktls.tasks import TaskQueue
from tlsnic.driver.tcp.seq import MASK

if TYPE_CHECKING:
    from tlsnic.driver.ktls.socket import Socket
    from tlsnic.driver.ktls.stack import TcpStack

_T = TypeVar("_T")


class TcpUsrreq:
    """A `socket.ProtocolSwitch`."""

    def __init__(self, stack: TcpStack, tasks: TaskQueue) -> None:
        """tasks: the stack's."""
        self._stack = stack
        self._tasks = tasks
        self._writing: set[Socket] = set()

    def pr_send(self, so: Socket) -> None:
        """tcp_usr_send: the next turn sends it."""
        self._tasks.wake()

    def pr_ready(self, so: Socket) -> None:
        """tcp_usr_ready. Any thread."""
        self._tasks.wake()

    def pr_rcvd(self, so: Socket) -> None:
        """tcp_usr_rcvd."""
        inp = self._stack.find(so)
        if inp is not None:
            self._tasks.do(inp.connection.was_read)

    def pr_shutdown(self, so: Socket) -> None:
        """tcp_usr_shutdown."""
        inp = self._stack.find(so)
        if inp is not None:
            self._tasks.do(lambda: inp.connection.close(self._stack.now_ns()))

    def pr_close(self, so: Socket) -> None:
        """tcp_usr_close."""
        inp = self._stack.find(so)
        if inp is None:
            so.sofree()
            return
        inp.is_closing = True
        so.so_rcv.sbflush()

        def close() -> None:
            inp.connection.close(self._stack.now_ns())
            inp.connection.was_read()

        self._tasks.do(close)

    def pr_abort(self, so: Socket) -> None:
        """tcp_usr_abort. The socket buffers go when TCP has ended: it must not find them empty."""
        inp = self._stack.find(so)
        if inp is None:
            so.sofree()
            return
        inp.is_closing = True

        def abort() -> None:
            inp.is_dropped = True
            inp.connection.abort(self._stack.now_ns())
            so.sofree()

        self._tasks.do(abort)

    def tcp_drop(self, so: Socket, error: int) -> None:
        """A reset to the peer, in the next turn. Any thread."""
        inp = self._stack.find(so)
        if inp is not None:
            self._tasks.enqueue(lambda: inp.connection.abort(self._stack.now_ns()))

    def call(self, function: Callable[[], _T]) -> _T:
        """As `TcpStack.call`."""
        return self._tasks.call(function)

    def sorwakeup(self, so: Socket) -> None:
        """The thread that takes turns may be waiting in `sbwait`. Any thread."""
        self._tasks.wake()

    def snd_tag_alloc(self, so: Socket, tls: KtlsSession, *, force: bool) -> SndTag:
        """ktls_alloc_snd_tag."""
        inp = self._stack.inpcb(so)
        return self._tasks.call(lambda: ktls_ifnet.ktls_alloc_snd_tag(inp, tls, force=force))

    def rcv_start(self, so: Socket) -> int:
        """TCP sequence number of the first byte in so_rcv."""
        return self._stack.inpcb(so).rcv_nxt - so.so_rcv.sb_ccc & MASK

    def rcv_tag_alloc(
        self, so: Socket, tls: KtlsSession, *, tcp_sequence: int, record_number: int, force: bool
    ) -> SndTag:
        """ktls_alloc_rcv_tag; in the thread that takes turns."""
        inp = self._stack.inpcb(so)
        return ktls_ifnet.rcv_tag_alloc(inp, tls, tcp_sequence, record_number, force=force)

    def rx_tag_modify(self, so: Socket, params: TlsRxParams) -> None:
        """if_snd_tag_modify. Any thread."""
        inp = self._stack.find(so)
        if inp is not None:
            self._tasks.enqueue(lambda: ktls_ifnet.rx_tag_modify(inp, params))

    def sbwait(self, so: Socket, sb: Sockbuf, timeout_s: float | None) -> bool:
        """Wait for a change of a socket buffer; take turns meanwhile, if this thread does."""
        if not self._tasks.is_mine:
            return sb.sbwait(timeout_s)
        before = _look(so, sb)
        deadline_ns = None if timeout_s is None else self._stack.now_ns() + int(timeout_s * 1e9)
        if sb is so.so_snd:
            self._writing.add(so)
        sb.sb_mtx.release()
        try:
            while _look(so, sb) == before:
                left_s = 1.0
                if deadline_ns is not None:
                    left_s = (deadline_ns - self._stack.now_ns()) / 1e9
                    if left_s <= 0:
                        return False
                self._stack.turn(left_s)
        finally:
            sb.sb_mtx.acquire()
            self._writing.discard(so)
        return True

    def is_writing(self, so: Socket) -> bool:
        """Whether a call of this thread is waiting for room in the socket's send buffer."""
        return so in self._writing


def _look(so: Socket, sb: Sockbuf) -> tuple[int, ...]:
    return sb.sb_acc, sb.sb_ccc, sb.sb_state, so.so_error, so.so_state
