"""Which receive queue a frame goes to: the RSS registers, and what was computed per flow before."""

from typing import Final

from tlsnic.abi import registers
from tlsnic.abi.enums import Diagnostic
from tlsnic.device.core.diagnostics import Diagnostics
from tlsnic.device.core.regfile import RegisterFile
from tlsnic.device.packet.headers import Buffer, Headers, flow_key
from tlsnic.device.packet.rss import HashType, Toeplitz, hash_input

MAX_CACHED_FLOWS: Final = 1 << 16
TABLE_ENTRIES: Final = 4 * registers.RSS_TABLE_COUNT

Choice = tuple[int, int, int]
"""Receive queue, hash, hash type."""
_DEFAULT: Final[Choice] = (0, 0, 0)


class Steering:
    """Receive-side scaling as the registers say."""

    def __init__(self, regs: RegisterFile, diagnostics: Diagnostics) -> None:
        self._regs = regs
        self._diagnostics = diagnostics
        self._cache: dict[tuple[int, bytes], Choice] = {}
        self._types = HashType.NONE
        self._toeplitz: Toeplitz | None = None
        self._table: list[int] = []
        self._stale = True
        for name in ("RSS_CONTROL", "RSS_KEY", "RSS_TABLE"):
            regs.on_write(name, self._invalidate)

    def choose(self, frame: Buffer, headers: Headers) -> Choice:
        """Queue, hash and hash type of a frame; queue 0 without a hash when no type fits."""
        if self._stale:
            self._reload()
        if not self._types:
            return _DEFAULT
        # A fragment has no layer 4 header, so its key is shorter: it never meets that of a flow.
        key = (headers.protocol, flow_key(frame, headers))
        choice = self._cache.get(key)
        if choice is None:
            choice = self._compute(frame, headers)
            if len(self._cache) >= MAX_CACHED_FLOWS:
                self._cache.clear()
            self._cache[key] = choice
        return choice

    def invalidate(self) -> None:
        """The registers have changed: read them again before the next choice."""
        self._stale = True

    def _reload(self) -> None:
        get = self._regs.get
        control = get("RSS_CONTROL")
        enabled = control & registers.RSS_CONTROL_ENABLE_MASK
        self._types = HashType(control & registers.RSS_CONTROL_TYPES_MASK if enabled else 0)
        self._cache.clear()
        self._stale = False
        if self._types:
            words = (get("RSS_KEY", index) for index in range(registers.RSS_KEY_COUNT))
            self._toeplitz = Toeplitz(b"".join(word.to_bytes(4, "little") for word in words))
            entries = (get("RSS_TABLE", index) for index in range(registers.RSS_TABLE_COUNT))
            self._table = list(b"".join(entry.to_bytes(4, "little") for entry in entries))

    def _compute(self, frame: Buffer, headers: Headers) -> Choice:
        hash_type, data = hash_input(frame, headers, self._types)
        if not hash_type or self._toeplitz is None:
            return _DEFAULT
        value = self._toeplitz.hash(data)
        queue = self._table[value % TABLE_ENTRIES]
        if queue >= registers.RX_QUEUE_COUNT:
            self._diagnostics.report(Diagnostic.RSS_QUEUE, queue)
            queue = 0
        return queue, value, int(hash_type)

    def _invalidate(self, _index: int, _old: int, new: int, _written: int) -> int:
        self._stale = True  # the key comes in ten writes: it is read once, when it is needed
        return new
