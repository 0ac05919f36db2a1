"""VLAN tags against scapy's frames."""

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet

from tlsnic.device.packet.headers import ETHERTYPE_QINQ, parse
from tlsnic.device.packet.vlan import insert, inserted, strip, stripped

MAC = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
PLAIN = bytes(Ether(**MAC) / IP(src="192.0.2.1") / TCP() / b"payload")
TCI = 5 << 13 | 1 << 12 | 0xABC


def tagged(*tags: Packet) -> bytes:
    frame = Ether(**MAC)
    for tag in tags:
        frame = frame / tag
    return bytes(frame / IP(src="192.0.2.1") / TCP() / b"payload")


TAGGED = tagged(Dot1Q(prio=5, dei=1, vlan=0xABC))
TWO_TAGS = tagged(Dot1AD(vlan=7), Dot1Q(prio=5, dei=1, vlan=0xABC))


def test_inserted_tag_equals_scapy_s() -> None:
    assert b"".join(insert(PLAIN, TCI)) == TAGGED
    assert b"".join(insert(TAGGED, 7, ETHERTYPE_QINQ)) == TWO_TAGS


def test_strip_undoes_insert_and_returns_the_tag() -> None:
    for before, after, tci in ((TAGGED, PLAIN, TCI), (TWO_TAGS, TAGGED, 7)):
        result = strip(before)
        assert result is not None
        assert result[0] == tci
        assert b"".join(result[1]) == after


def test_payload_is_viewed_and_not_copied() -> None:
    frame = bytearray(TAGGED)
    parts = insert(frame, 1)
    result = strip(frame)
    assert result is not None
    frame[-1] ^= 0xFF
    assert parts[1][-1] == result[1][1][-1] == frame[-1]


def test_offsets_follow_the_tag() -> None:
    assert inserted(parse(PLAIN), TCI) == parse(TAGGED)
    assert stripped(parse(TAGGED)) == parse(PLAIN)
    assert inserted(parse(TAGGED), 7) == parse(TWO_TAGS)
    assert stripped(parse(TWO_TAGS), TCI) == parse(TAGGED)


@pytest.mark.parametrize("frame", [b"", PLAIN, PLAIN[:12], TAGGED[:15]])
def test_frame_without_a_whole_tag_is_left_alone(frame: bytes) -> None:
    assert strip(frame) is None


@pytest.mark.parametrize(("frame", "tci"), [(PLAIN[:11], 1), (PLAIN, 0x10000), (PLAIN, -1)])
def test_impossible_tags_are_refused(frame: bytes, tci: int) -> None:
    with pytest.raises(ValueError, match="cannot put tag"):
        insert(frame, tci)
