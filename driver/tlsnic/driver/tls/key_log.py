"""OpenSSL's key log of one handshake, in memory that no other process can open by name.

Python's ssl gives a connection's secrets in no other way.
"""

from __future__ import annotations

import os
import ssl
import weakref
from collections.abc import Iterable
from typing import Final

_in_use: Final[weakref.WeakSet[ssl.SSLContext]] = weakref.WeakSet()


class KeyLog:
    """Takes the secrets of a context's handshakes until `close`.

    A key log that the context already has (SSLKEYLOGFILE) gets them as well, at the end.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        """Raises BlockingIOError when `context` has another KeyLog."""
        if context in _in_use:
            raise BlockingIOError("another handshake is using this context")
        self._context: ssl.SSLContext | None = context
        self._previous: str | None = context.keylog_filename
        self._descriptor = os.memfd_create("tlsnic-key-log", os.MFD_CLOEXEC)
        try:
            context.keylog_filename = f"/proc/self/fd/{self._descriptor}"
        except BaseException:
            os.close(self._descriptor)
            raise
        _in_use.add(context)

    def secrets(self, client_random: bytes, labels: Iterable[str]) -> list[bytearray]:
        """Secrets of the connection with this client random. Raises KeyError for a label that
        was not logged."""
        found = {}
        connection = client_random.hex()
        for line in self._content().decode("ascii").splitlines():
            words = line.split()
            if len(words) == 3 and words[1] == connection:
                found[words[0]] = words[2]
        return [bytearray.fromhex(found[label]) for label in labels]

    def _content(self) -> bytes:
        return os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)

    def close(self) -> None:
        """Overwrite and free the memory, and give the context its own log back.

        Harmless a second time. Raises OSError when that log cannot be written.
        """
        if self._context is None:
            return
        context, self._context = self._context, None
        try:
            context.keylog_filename = None  # type: ignore[assignment] # switches it off
            if self._previous is not None:
                with open(self._previous, "ab") as log:
                    log.write(self._content())
                context.keylog_filename = self._previous
        finally:
            os.pwrite(self._descriptor, bytes(os.fstat(self._descriptor).st_size), 0)
            os.close(self._descriptor)
            _in_use.discard(context)
