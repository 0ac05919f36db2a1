"""Which receive queue a frame goes to: the RSS registers, and what was computed per flow before."""

from collections.abc import Iterable
from typing import Final

from tlsnic.abi import registers
from tlsnic.abi.enums import Diagnostic
from tlsnic.device.core.diagnostics import Diagnostics
from tlsnic.device.core.regfile import RegisterFile
from tlsnic.device.packet.headers import PROTOCOL_TCP, Buffer, Headers, flow_key, parse
from tlsnic.device.packet.rss import HashType, Rss

MAX_CACHED_FLOWS: Final = 1 << 18

Choice = tuple[int, int, int]
"""Receive queue, hash, hash type."""
_DEFAULT: Final[Choice] = (0, 0, 0)


class Steering:
    """Receive-side scaling as the registers say."""

    def __init__(self, regs: RegisterFile, diagnostics: Diagnostics) -> None:
        self._regs = regs
        self._diagnostics = diagnostics
        self._cache: dict[bytes, Choice] = {}
        self._rss: Rss | None = None
        self._stale = True
        for name in ("RSS_CONTROL", "RSS_KEY", "RSS_TABLE"):
            regs.on_write(name, self._invalidate)

    def choose(self, frame: Buffer, headers: Headers) -> Choice:
        """Queue, hash and hash type of a frame; queue 0 without a hash when no type fits."""
        if self._stale:
            self._reload()
        if self._rss is None:
            return _DEFAULT
        # A fragment has no layer 4 header, so its key is shorter: it never meets that of a flow.
        key = flow_key(frame, headers)
        if headers.protocol != PROTOCOL_TCP:
            key += headers.protocol.to_bytes(2, "big", signed=True)
        choice = self._cache.get(key)
        if choice is None:
            choice = self._compute(self._rss, frame, headers)
            if len(self._cache) >= MAX_CACHED_FLOWS:
                self._cache.clear()
            self._cache[key] = choice
        return choice

    def choose_tcp(self, frame: bytes, key: bytes) -> Choice:
        """The same for a TCP segment whose flow_key() is known."""
        if self._stale:
            self._reload()
        if self._rss is None:
            return _DEFAULT
        return self._cache.get(key) or self.choose(frame, parse(frame))

    def invalidate(self) -> None:
        """The registers have changed: read them again before the next choice."""
        self._stale = True

    def _reload(self) -> None:
        get = self._regs.get
        control = get("RSS_CONTROL")
        enabled = control & registers.RSS_CONTROL_ENABLE_MASK
        types = HashType(control & registers.RSS_CONTROL_TYPES_MASK if enabled else 0)
        self._cache.clear()
        self._stale = False
        self._rss = None
        if types:
            key = (get("RSS_KEY", index) for index in range(registers.RSS_KEY_COUNT))
            table = (get("RSS_TABLE", index) for index in range(registers.RSS_TABLE_COUNT))
            self._rss = Rss(_bytes(key), types, _bytes(table))

    def _compute(self, rss: Rss, frame: Buffer, headers: Headers) -> Choice:
        queue, hash_type, value = rss.select(frame, headers)
        if queue >= registers.RX_QUEUE_COUNT:
            self._diagnostics.report(Diagnostic.RSS_QUEUE, queue)
            queue = 0
        return queue, value, int(hash_type)

    def _invalidate(self, _index: int, _old: int, new: int, _written: int) -> int:
        self._stale = True  # the key comes in ten writes: it is read once, when it is needed
        return new


def _bytes(words: Iterable[int]) -> bytes:
    """The bytes of consecutive 32-bit registers."""
    return b"".join(word.to_bytes(4, "little") for word in words)
