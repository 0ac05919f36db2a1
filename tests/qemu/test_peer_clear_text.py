"""What looks for data in clear finds it wherever it lies in a frame, and nothing else."""

import random

import pytest

from tlsnic.device.wire import PcapngWriter
from tlsnic.device.wire.pcapng import Direction
from tlsnic.qemu.peer.clear_text import ClearText

CONTENT = random.Random(1).randbytes(4096)
OTHER = random.Random(2).randbytes(4096)
HEADERS = bytes(66)


@pytest.mark.parametrize("start", [0, 1, 7, 8, 1000, 2601])
def test_content_is_found(start):
    clear = ClearText([OTHER[:64], CONTENT])
    piece = CONTENT[start : start + 1448]
    assert clear.is_in(HEADERS + piece)
    assert clear.is_in(HEADERS + OTHER[100:800] + piece[:60] + OTHER[800:1488])
    assert clear.is_in(HEADERS + piece[:15] + OTHER[100:1000])
    assert clear.is_in(HEADERS + OTHER[100:1000] + piece[:15])


def test_other_data_is_not():
    clear = ClearText([CONTENT])
    assert not clear.is_in(HEADERS + OTHER[:1448])
    assert not clear.is_in(HEADERS)
    assert not clear.is_in(b"")


def test_only_what_the_card_sends_counts(tmp_path):
    frames = [
        (Direction.OUTBOUND, HEADERS + CONTENT[5:1000]),
        (Direction.OUTBOUND, HEADERS + OTHER[:1000]),
        (Direction.OUTBOUND, HEADERS),
        (Direction.INBOUND, HEADERS + CONTENT[:1000]),
    ]
    path = tmp_path / "sent.pcapng"
    with PcapngWriter(path) as writer:
        for direction, frame in frames:
            writer.write([frame], 0, direction)
    assert ClearText([CONTENT]).count(path) == (2, 1)
