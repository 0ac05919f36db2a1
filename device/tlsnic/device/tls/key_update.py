"""Recognises the last record of a TLS 1.3 key: that with the peer's KeyUpdate."""

from typing import Final

from tlsnic.device.packet.headers import Buffer

_HANDSHAKE: Final = 22
_NEW_SESSION_TICKET, _KEY_UPDATE = 4, 24
AFTER_HANDSHAKE: Final = (_NEW_SESSION_TICKET, _KEY_UPDATE)
"""What the content of a record with a KeyUpdate begins with (RFC 8446 section 4.6)."""
_MESSAGE_HEADER_BYTES: Final = 4


def changes_key(content: Buffer) -> bool:
    """Whether there is a KeyUpdate in a record's whole content, which begins with a message.

    RFC 8446 sections 4.6.3 and 5.4: the inner type is the last byte that is not zero.
    """
    if content[0] not in AFTER_HANDSHAKE:
        return False
    inner = bytes(content).rstrip(b"\0")
    messages, at = inner[:-1], 0
    while inner[-1] == _HANDSHAKE and at < len(messages):
        if messages[at] == _KEY_UPDATE:
            return True
        at += _MESSAGE_HEADER_BYTES + int.from_bytes(messages[at + 1 : at + 4], "big")
    return False
