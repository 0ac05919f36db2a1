"""Python handlers as C callbacks that cannot lose an exception.

ctypes prints an exception that leaves a callback and returns 0 to C, which mostly means success.
So every callback here catches everything, logs it, keeps the first for `run` to raise (or gives
each to the `on_error` hook), and answers so that nothing proceeds on a false belief. An access or
a reset fails with EIO (QEMU then reads all ones). Quiescing fails with EIO, which refuses the
client's request; EBUSY would stall the context, and 0 would let the library go on. Only when the
client is gone does a failed quiesce count as done: the connection must be torn down, and DMA views
do not dangle.
"""

import ctypes
import errno
import logging
from collections.abc import Callable
from typing import Any

from tlsnic.device.vfu._abi import (
    DMA_CALLBACK,
    IRQ_STATE_CALLBACK,
    LOG_CALLBACK,
    QUIESCE_CALLBACK,
    REGION_CALLBACK,
    RESET_CALLBACK,
    DmaInfoC,
)
from tlsnic.device.vfu._errors import RequestRefused
from tlsnic.device.vfu._types import (
    ErrorHook,
    IrqStateHook,
    QuiesceHook,
    RegionHandler,
    Reset,
    ResetHook,
)

log = logging.getLogger("tlsnic.device.vfu")
_LOG_LEVELS = (50, 50, 50, 40, 30, 20, 20, 10)
"""Python's level for each of syslog(3), LOG_EMERG to LOG_DEBUG."""


class Callbacks:
    """Makes the C callbacks of one context, keeps them alive, and keeps their exceptions."""

    def __init__(self, on_error: ErrorHook | None) -> None:
        self._on_error = on_error
        self._alive: list[Any] = []
        self.failure: BaseException | None = None
        self.client_lost = False

    def failed(self, exception: BaseException, where: str) -> None:
        """Record an exception that left the handler called `where`."""
        try:
            log.error("%s failed", where, exc_info=exception)
            if self._on_error is not None:
                self._on_error(exception, where)
                return
        except BaseException as error:  # of the hook, or of a log handler
            if error is not exception:
                error.__context__ = exception
            exception = error
        if self.failure is None:
            self.failure = exception

    def raise_failure(self) -> None:
        """Raise the kept exception, once."""
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def _keep(self, callback: Any) -> Any:
        self._alive.append(callback)
        return callback

    def region(self, handler: RegionHandler, where: str) -> Any:
        """Return a `vfu_region_access_cb_t`."""
        read, write = handler.read, handler.write
        string_at, memmove = ctypes.string_at, ctypes.memmove

        def access(_: int, buffer: int, count: int, offset: int, is_write: bool) -> int:
            try:
                if is_write:
                    write(offset, string_at(buffer, count))
                else:
                    data = read(offset, count)
                    if len(data) != count:
                        raise ValueError(f"handler read {len(data)} bytes instead of {count}")
                    memmove(buffer, bytes(data), count)
                return count
            except RequestRefused as refused:
                ctypes.set_errno(refused.errno or errno.EIO)
            except BaseException as exception:
                self.failed(exception, f"{where} {'write' if is_write else 'read'} at {offset:#x}")
                ctypes.set_errno(errno.EIO)
            return -1

        return self._keep(REGION_CALLBACK(access))

    def reset(self, hook: ResetHook) -> Any:
        """Return a `vfu_reset_cb_t`."""

        def reset(_: int, kind: int) -> int:
            try:
                hook(Reset(kind))
                return 0
            except RequestRefused as refused:
                ctypes.set_errno(refused.errno or errno.EIO)
            except BaseException as exception:
                self.failed(exception, "reset hook")
                ctypes.set_errno(errno.EIO)
            return -1

        return self._keep(RESET_CALLBACK(reset))

    def quiesce(self, hook: QuiesceHook) -> Any:
        """Return a `vfu_device_quiesce_cb_t`."""

        def quiesce(_: int) -> int:
            try:
                if hook():
                    return 0
                ctypes.set_errno(errno.EBUSY)
            except BaseException as exception:
                self.failed(exception, "quiesce hook")
                if self.client_lost:
                    return 0
                ctypes.set_errno(errno.EIO)
            return -1

        return self._keep(QUIESCE_CALLBACK(quiesce))

    def dma(self, hook: Callable[[DmaInfoC], None], where: str) -> Any:
        """Return a `vfu_dma_register_cb_t` or `vfu_dma_unregister_cb_t`."""

        def dma(_: int, info: "ctypes._Pointer[DmaInfoC]") -> None:
            try:
                hook(info.contents)
            except BaseException as exception:
                self.failed(exception, where)

        return self._keep(DMA_CALLBACK(dma))

    def irq_state(self, hook: IrqStateHook) -> Any:
        """Return a `vfu_dev_irq_state_cb_t`."""

        def irq_state(_: int, start: int, count: int, masked: bool) -> None:
            try:
                hook(start, count, masked)
            except BaseException as exception:
                self.failed(exception, "interrupt state hook")

        return self._keep(IRQ_STATE_CALLBACK(irq_state))

    def log(self) -> Any:
        """Return a `vfu_log_fn_t` that feeds the logger "tlsnic.device.vfu"."""

        def write(_: int, level: int, message: bytes) -> None:
            try:
                log.log(_LOG_LEVELS[min(level, 7)], "%s", message.decode("utf-8", "replace"))
            except BaseException as exception:
                self.failed(exception, "log handler")

        return self._keep(LOG_CALLBACK(write))
