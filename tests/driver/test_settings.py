"""Settings reach the registers the reference names, and nothing out of range does."""

import pytest

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import HashType, Offload


def test_the_mac_address_has_its_first_octet_in_the_low_bits(device, attach):
    nic = attach()
    nic.mac_address = bytes.fromhex("021122334455")
    assert device.regs[reg.MAC_ADDRESS] == 0x554433221102
    assert nic.mac_address == bytes.fromhex("021122334455")
    with pytest.raises(ValueError, match="6 bytes"):
        nic.mac_address = b"12345"


def test_rss_key_and_table(device, attach):
    nic = attach()
    key = bytes(range(40))
    nic.set_rss(key, [3, 0, 9], HashType.TCP_IPV4 | HashType.IPV6)
    assert (
        b"".join(device.regs[reg.RSS_KEY + 4 * n].to_bytes(4, "little") for n in range(10)) == key
    )
    table = b"".join(device.regs[reg.RSS_TABLE + 4 * n].to_bytes(4, "little") for n in range(32))
    assert table == (bytes([3, 0, 9]) * 43)[:128]
    assert device.regs[reg.RSS_CONTROL] == 0x8000_000A
    nic.disable_rss()
    assert device.regs[reg.RSS_CONTROL] == 0


def test_filters_replace_the_whole_table(device, attach):
    nic = attach()
    nic.set_mac_filters([bytes([2, 0, 0, 0, 0, n]) for n in range(32)])
    nic.set_mac_filters([bytes.fromhex("01005e000001")])
    assert device.regs[reg.MAC_FILTER] == 0x8000_0100_005E_0001
    assert not any(device.regs[reg.MAC_FILTER + 8 * n] for n in range(1, 32))
    nic.set_vlan_filters([0, 63, 64, 4095])
    nic.set_vlan_filters([64])
    assert (device.regs[reg.VLAN_FILTER], device.regs[reg.VLAN_FILTER + 8]) == (0, 1)
    assert device.regs[reg.VLAN_FILTER + 8 * 63] == 0
    nic.set_rx_filter(promiscuous=True, vlan_filter=True, broadcast=False)
    assert device.regs[reg.RX_FILTER] == 0b1001


def test_moderation_and_coalescing(device, attach):
    nic = attach()
    nic.set_moderation(63, usecs=100, frames=8)
    assert device.regs[reg.MODERATION + 4 * 63] == 8 << 16 | 100
    nic.set_rx_coalesce(50, 32, 16)
    assert device.regs[reg.RX_COALESCE] == 16 << 24 | 32 << 16 | 50
    nic.offloads = Offload.RX_CHECKSUM | Offload.RX_COALESCE
    assert nic.offloads == Offload.RX_CHECKSUM | Offload.RX_COALESCE


@pytest.mark.parametrize(
    "change",
    [
        lambda nic: setattr(nic, "max_frame_bytes", 63),
        lambda nic: setattr(nic, "max_frame_bytes", 9023),
        lambda nic: setattr(nic, "offloads", Offload.RX_TLS),
        lambda nic: nic.set_rss(bytes(39), [0], HashType.IPV4),
        lambda nic: nic.set_rss(bytes(40), [], HashType.IPV4),
        lambda nic: nic.set_rss(bytes(40), [256], HashType.IPV4),
        lambda nic: nic.set_moderation(64, 0),
        lambda nic: nic.set_moderation(0, 0x10000),
        lambda nic: nic.set_rx_coalesce(-1),
        lambda nic: nic.set_vlan_filters([4096]),
        lambda nic: nic.set_mac_filters([bytes(6)] * 33),
    ],
)
def test_values_out_of_range_are_refused_before_they_are_written(device, attach, change):
    nic = attach()
    before = dict(device.regs)
    with pytest.raises(ValueError, match=r"\d|RX_TLS"):
        change(nic)
    assert device.regs == before


def test_the_last_diagnostic_is_readable(device, attach):
    nic = attach()
    device.regs[reg.DIAG_LAST] = 1 << 24 | 3 << 16 | 17
    device.regs[reg.DIAG_COUNT] = 9
    device.regs[reg.DIAG_OPERAND] = 0xABC
    assert nic.diagnostics() == (17, 1, 3, 0xABC, 9)
    assert str(nic.diagnostics()) == "TX_LENGTH (transmit 3, operand 0xabc), 9 in all"
    device.regs[reg.DIAG_LAST] = 0xFFFFFF
    assert str(nic.diagnostics()).startswith("0xffff (device 255")


def test_tls_is_switched_on_at_attach_unless_it_is_not_wanted(device, attach):
    assert attach().tx_tls
    assert device.regs[reg.OFFLOAD_ENABLE] == Offload.TX_TLS


def test_tls_stays_off_when_it_is_not_wanted_or_not_offered(device, attach, monkeypatch):
    assert not attach(tls=False).tx_tls
    reset = device.reset

    def without_tls():
        reset()
        device.regs[reg.CAP_OFFLOADS] = 0x3FF

    monkeypatch.setattr(device, "reset", without_tls)
    device.reset()
    nic = attach()
    assert not nic.tx_tls
    with pytest.raises(ValueError, match="does not offer"):
        nic.tx_tls = True
    assert reg.OFFLOAD_ENABLE not in device.regs


def test_receive_offloads_leave_tls_alone(device, attach):
    nic = attach()
    nic.offloads = Offload.RX_CHECKSUM
    assert nic.tx_tls
    assert nic.offloads == Offload.RX_CHECKSUM
    with pytest.raises(ValueError, match="tx_tls"):
        nic.offloads = Offload.TX_TLS
    with pytest.raises(ValueError, match="RX_TLS needs RX_CHECKSUM"):
        nic.offloads = Offload.RX_TLS
    nic.tx_tls = False
    assert device.regs[reg.OFFLOAD_ENABLE] == Offload.RX_CHECKSUM


def test_tls_needs_transmit_checksums(device, attach):
    nic = attach()
    assert nic.tx_checksum
    nic.tx_checksum = False
    assert not nic.tx_tls
    with pytest.raises(ValueError, match="tx_checksum is off"):
        nic.tx_tls = True
    assert not device.regs[reg.OFFLOAD_ENABLE]
    nic.tx_checksum = True
    nic.tx_tls = True
    nic.reset()
    assert nic.tx_tls
