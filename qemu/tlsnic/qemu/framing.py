"""JSON text sequences (RFC 7464): message framing that survives garbage on the line.

A message is RS (0x1E), one JSON text, LF. The JSON is ASCII without control characters, so neither
byte occurs inside it, and a receiver that has lost its place finds the next message at the next RS.
For a person it still reads as one JSON text per line.

`bytes` travel as `{"$bytes": "<base64>"}`. Only the standard library: the guest imports this too.
"""

import base64
import binascii
import json

RECORD_SEPARATOR = b"\x1e"
LINE_FEED = b"\n"
MAX_MESSAGE_BYTES = 16 << 20
_BYTES_KEY = "$bytes"


class MessageTooLongError(ValueError):
    """A message would not fit in `MAX_MESSAGE_BYTES`; the receiver would drop it."""


def _to_json(value: object) -> object:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {_BYTES_KEY: base64.b64encode(value).decode("ascii")}
    raise TypeError(f"{type(value).__name__} cannot be sent over the control channel")


def _from_json(value: dict[str, object]) -> object:
    if len(value) == 1:
        text = value.get(_BYTES_KEY)
        if isinstance(text, str):
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                return value
    return value


_encoder = json.JSONEncoder(default=_to_json, allow_nan=False, separators=(",", ":"))
_decoder = json.JSONDecoder(object_hook=_from_json)


def encode(message: object) -> bytes:
    """One framed message.

    Raises `TypeError` or `ValueError` for what JSON cannot hold, `MessageTooLongError` for size.
    """
    frame = RECORD_SEPARATOR + _encoder.encode(message).encode("ascii") + LINE_FEED
    if len(frame) > MAX_MESSAGE_BYTES:
        raise MessageTooLongError(f"message of {len(frame)} bytes, at most {MAX_MESSAGE_BYTES}")
    return frame


class Decoder:
    """Finds the messages in a byte stream that comes in arbitrary pieces.

    What is not a message is dropped and counted, never raised: `garbage_bytes` counts bytes outside
    any frame, `bad_frames` counts frames cut short, too long, or not JSON.
    """

    def __init__(self, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.garbage_bytes = 0
        self.bad_frames = 0
        self._max_message_bytes = max_message_bytes
        self._partial = bytearray()  # empty, or RS and what followed it so far

    def feed(self, data: bytes) -> list[object]:
        """The messages that `data` completes, in order."""
        messages: list[object] = []
        # Every RS starts a new piece, whatever was going on before it.
        head, *frames = data.split(RECORD_SEPARATOR)
        self._take(head, messages)
        for frame in frames:
            self.bad_frames += bool(self._partial)
            self._partial[:] = RECORD_SEPARATOR
            self._take(frame, messages)
        return messages

    def _take(self, piece: bytes, messages: list[object]) -> None:
        """Add `piece`, which holds no RS, to the frame in progress."""
        if not self._partial:
            self.garbage_bytes += len(piece)
            return
        text, line_feed, rest = piece.partition(LINE_FEED)
        if len(self._partial) + len(text) + len(line_feed) > self._max_message_bytes:
            self.bad_frames += 1
            self.garbage_bytes += len(rest)
            self._partial.clear()
            return
        self._partial += text
        if not line_feed:
            return
        try:
            messages.append(_decoder.decode(self._partial[1:].decode("ascii")))
        except (ValueError, RecursionError):
            self.bad_frames += 1
        self._partial.clear()
        self.garbage_bytes += len(rest)
