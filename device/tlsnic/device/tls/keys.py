"""Key material that is overwritten when it goes, and the bounded store of expanded keys.

An expanded key (an AESGCM or ChaCha20Poly1305 object) takes 2.5 KiB and a microsecond or more to
make, so that thousands of flows cannot all have one, and those that send now must.
"""

from collections import OrderedDict
from typing import Final, Protocol

DEFAULT_LIMIT: Final = 4096


class KeyMaterial:
    """The secrets of one direction of a connection. Takes copies of what it is given."""

    __slots__ = ("iv", "key", "mac_key")

    def __init__(
        self,
        key: bytes | bytearray | memoryview,
        iv: bytes | bytearray | memoryview,
        mac_key: bytes | bytearray | memoryview = b"",
    ) -> None:
        self.key = bytearray(key)
        self.iv = bytearray(iv)
        self.mac_key = bytearray(mac_key)

    def __repr__(self) -> str:
        return (
            f"<KeyMaterial key: {len(self.key)} bytes, iv: {len(self.iv)} bytes, "
            f"mac_key: {len(self.mac_key)} bytes>"
        )

    def wipe(self) -> None:
        """Overwrite everything with zeros."""
        for secret in (self.key, self.iv, self.mac_key):
            secret[:] = bytes(len(secret))


class KeyHolder(Protocol):
    """What keeps an expanded key while the cache lets it."""

    def forget(self) -> None:
        """Drop the expanded key; it can be made again."""


class KeyCache:
    """At most `limit` holders have their expanded key; the oldest gives way to a new one.

    First in, first out: a hit costs nothing, because it does not come here.
    """

    __slots__ = ("_holders", "limit")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        if limit < 1:
            raise ValueError(f"a cache of {limit} keys")
        self.limit = limit
        self._holders: OrderedDict[KeyHolder, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._holders)

    def __contains__(self, holder: KeyHolder) -> bool:
        return holder in self._holders

    def add(self, holder: KeyHolder) -> None:
        """Count `holder`, which is about to expand its key, and make room for it."""
        if holder not in self._holders and len(self._holders) >= self.limit:
            self._holders.popitem(last=False)[0].forget()
        self._holders[holder] = None

    def remove(self, holder: KeyHolder) -> None:
        """Stop counting `holder`, which has dropped its key. No error when it was not counted."""
        self._holders.pop(holder, None)
