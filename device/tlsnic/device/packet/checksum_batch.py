"""Checksums of many received frames at once: numpy's price is paid per call, not per frame.

Measured with CPython 3.11 and numpy 2.4 on 1502-byte frames: 2.6 us for one by itself, 0.5 us each for
64.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from tlsnic.device.packet.checksum import RxChecksum, verify_rx
from tlsnic.device.packet.headers import PROTOCOL_TCP, Headers

_FEW: Final = 4
"""Fewer frames of a kind are checked one by one."""
_IPV4_L4: Final = 34
_IPV6_L4: Final = 54
_IP_WORD: Final = 7
"""Where the IP header starts, in 16-bit words."""
_WORD: Final = np.dtype("<u2")
_SUM: Final = np.dtype(np.uint32)
"""Holds 65537 words."""
_MAX_BYTES: Final = 65536
_RESULTS: Final = {
    True: tuple(
        tuple(RxChecksum(True, ip_ok, True, l4_ok) for l4_ok in (False, True))
        for ip_ok in (False, True)
    ),
    False: (tuple(RxChecksum(False, False, True, l4_ok) for l4_ok in (False, True)),) * 2,
}


def verify_rx_many(frames: Sequence[bytes], headers: Sequence[Headers]) -> list[RxChecksum]:
    """What verify_rx() says of each frame."""
    kinds: dict[tuple[int, int], list[int]] = {}
    others: list[int] = []
    for index, (frame, parsed) in enumerate(zip(frames, headers, strict=True)):
        _, _, _, _, l4, _, end, version, protocol, _, l4_bytes, _, _, _ = parsed
        length = len(frame)
        # TCP behind plain Ethernet and IP headers, without padding.
        if (
            protocol == PROTOCOL_TCP
            and (l4 == _IPV4_L4 or (l4 == _IPV6_L4 and version == 6))
            and l4_bytes
            and end == length <= _MAX_BYTES
        ):
            kind = (length, l4)
            if kind in kinds:
                kinds[kind].append(index)
            else:
                kinds[kind] = [index]
        else:
            others.append(index)
    found: dict[int, RxChecksum] = {}
    for (length, l4), indexes in kinds.items():
        if len(indexes) < _FEW:
            others += indexes
            continue
        alike = frames if len(indexes) == len(frames) else [frames[index] for index in indexes]
        results = _verify_alike(alike, length, l4)
        if alike is frames:
            return results
        found.update(zip(indexes, results, strict=True))
    for index in others:
        found[index] = verify_rx(frames[index], headers[index])
    return [found[index] for index in range(len(frames))]


def _verify_alike(frames: Sequence[bytes], length: int, l4: int) -> list[RxChecksum]:
    """Frames of one length, whose layer 4 starts at byte `l4`."""
    padding = bytes(length & 1)
    together = padding.join(frames) + padding
    words = np.frombuffer(together, _WORD).reshape(len(frames), -1)
    is_ipv4 = l4 == _IPV4_L4
    addresses = (l4 >> 1) - (4 if is_ipv4 else 16)
    pseudo = (PROTOCOL_TCP + length - l4) << 8
    sums = np.add.reduce(words[:, addresses:], axis=1, dtype=_SUM).astype(np.uint64) + pseudo
    l4_ok = (sums % 65535 == 0).tolist()
    results = _RESULTS[is_ipv4]
    if not is_ipv4:
        return [results[0][ok] for ok in l4_ok]
    ip_ok = (np.add.reduce(words[:, _IP_WORD : l4 >> 1], axis=1, dtype=_SUM) % 65535 == 0).tolist()
    return [results[ip][ok] for ip, ok in zip(ip_ok, l4_ok, strict=True)]
