"""ARP and neighbour discovery; scapy asks, and reads the answers."""

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from tlsnic.driver.tcp.neighbour import Neighbours

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
IP, OTHER_IP = "192.0.2.1", "192.0.2.2"
IP6, OTHER_IP6 = "2001:db8::1", "2001:db8::abcd:ef12"
RAW_MAC, RAW_OTHER = (bytes.fromhex(mac.replace(":", "")) for mac in (MAC, OTHER))
RAW_IP, RAW_OTHER_IP = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
RAW_IP6 = bytes.fromhex("20010db8" + "0" * 23 + "1")
RAW_OTHER_IP6 = bytes.fromhex("20010db8" + "0" * 16 + "abcdef12")


def table():
    return Neighbours(RAW_MAC, [RAW_IP, RAW_IP6])


def test_arp_request_is_answered_and_learned_from():
    own = table()
    asked = Ether(src=OTHER, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=1, hwsrc=OTHER, psrc=OTHER_IP, pdst=IP
    )
    answer = Ether(own.receive(bytes(asked)))
    assert (answer.dst, answer.src) == (OTHER, MAC)
    arp = answer[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (2, MAC, IP, OTHER, OTHER_IP)
    assert own.lookup(RAW_OTHER_IP) == RAW_OTHER


def test_arp_for_somebody_else_is_ignored():
    own = table()
    asked = Ether(src=OTHER, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=1, hwsrc=OTHER, psrc=OTHER_IP, pdst="192.0.2.9"
    )
    assert own.receive(bytes(asked)) is None
    assert own.lookup(RAW_OTHER_IP) is None


def test_arp_request_and_its_reply():
    own = table()
    asked = Ether(own.request(RAW_IP, RAW_OTHER_IP))
    assert asked.dst == "ff:ff:ff:ff:ff:ff"
    assert (asked[ARP].op, asked[ARP].psrc, asked[ARP].pdst) == (1, IP, OTHER_IP)
    reply = Ether(src=OTHER, dst=MAC) / ARP(op=2, hwsrc=OTHER, psrc=OTHER_IP, hwdst=MAC, pdst=IP)
    assert own.receive(bytes(reply)) is None
    assert own.lookup(RAW_OTHER_IP) == RAW_OTHER


def solicitation(source=OTHER_IP6, **changes):
    fields = {"hlim": 255, **changes}
    packet = Ether(src=OTHER, dst="33:33:ff:00:00:01") / IPv6(
        src=source, dst="ff02::1:ff00:1", **fields
    )
    packet /= ICMPv6ND_NS(tgt=IP6)
    return packet if source == "::" else packet / ICMPv6NDOptSrcLLAddr(lladdr=OTHER)


def test_solicitation_is_answered_and_learned_from():
    own = table()
    raw = own.receive(bytes(solicitation()))
    answer = Ether(raw)
    assert (answer.dst, answer[IPv6].src, answer[IPv6].dst) == (OTHER, IP6, OTHER_IP6)
    advertisement = answer[ICMPv6ND_NA]
    assert (advertisement.tgt, advertisement.S, advertisement.O) == (IP6, 1, 1)
    assert answer[ICMPv6NDOptDstLLAddr].lladdr == MAC
    assert own.lookup(RAW_OTHER_IP6) == RAW_OTHER
    checksum = advertisement.cksum
    del advertisement.cksum
    assert Ether(bytes(answer))[ICMPv6ND_NA].cksum == checksum


def test_duplicate_address_detection_is_answered_to_all():
    answer = Ether(table().receive(bytes(solicitation("::"))))
    assert (answer.dst, answer[IPv6].dst) == ("33:33:00:00:00:01", "ff02::1")
    assert (answer[ICMPv6ND_NA].S, answer[ICMPv6ND_NA].O) == (0, 1)


def test_routed_or_damaged_solicitations_are_ignored():
    own = table()
    assert own.receive(bytes(solicitation(hlim=64))) is None
    raw = bytearray(bytes(solicitation()))
    raw[-1] ^= 1
    assert own.receive(bytes(raw)) is None
    assert own.lookup(RAW_OTHER_IP6) is None


def test_solicitation_and_its_advertisement():
    own = table()
    asked = Ether(own.request(RAW_IP6, RAW_OTHER_IP6))
    assert (asked.dst, asked[IPv6].dst) == ("33:33:ff:cd:ef:12", "ff02::1:ffcd:ef12")
    assert (asked[IPv6].hlim, asked[ICMPv6ND_NS].tgt) == (255, OTHER_IP6)
    assert asked[ICMPv6NDOptSrcLLAddr].lladdr == MAC
    reply = Ether(src=OTHER, dst=MAC) / IPv6(src=OTHER_IP6, dst=IP6, hlim=255)
    reply = reply / ICMPv6ND_NA(tgt=OTHER_IP6) / ICMPv6NDOptDstLLAddr(lladdr=OTHER)
    assert own.receive(bytes(reply)) is None
    assert own.lookup(RAW_OTHER_IP6) == RAW_OTHER


@given(st.binary(max_size=100), st.sampled_from([None, 0, 1]), st.integers(0, 100))
def test_garbage_is_ignored(raw, kind, cut):
    own = table()
    if kind is not None:
        whole = Neighbours(RAW_OTHER, [RAW_OTHER_IP, RAW_OTHER_IP6]).request(
            *((RAW_OTHER_IP, RAW_IP), (RAW_OTHER_IP6, RAW_IP6))[kind]
        )
        raw = whole[: cut % len(whole)] + raw
    answer = own.receive(raw)
    assert answer is None or answer[6:12] == RAW_MAC


def test_the_table_does_not_grow_without_end():
    own = table()
    for number in range(3000):
        address = f"192.{number >> 8}.{number & 255}.9"
        frame = Ether(src=OTHER) / ARP(op=2, hwsrc=OTHER, psrc=address, pdst=IP)
        if number in (0, 1999, 2999):
            own.receive(bytes(frame))
        else:
            own.receive(
                b"\xff" * 6 + RAW_OTHER + b"\x08\x06" + bytes.fromhex("0001080006040002")
                + RAW_OTHER + bytes([192, number >> 8, number & 255, 9]) + RAW_MAC + RAW_IP
            )  # fmt: skip
    assert own.lookup(bytes([192, 0, 0, 9])) is None
    assert own.lookup(bytes([192, 11, 183, 9])) == RAW_OTHER
