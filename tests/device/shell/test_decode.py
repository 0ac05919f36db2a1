"""Names to registers, values to names, structures to members."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsnic.abi import registers as r
from tlsnic.abi.enums import DmaPurpose, QueueKind, TraceType
from tlsnic.abi.structures import STRUCTURES, TlsFlow, TlsPresync, TraceDmaRead, TxDescriptor
from tlsnic.device.shell import decode, traceline
from tlsnic.device.shell.errors import UsageError


def names(expression):
    return [place.name for place in decode.resolve(expression)[0]]


def test_register_by_name_in_any_case():
    assert names("control") == ["CONTROL"]
    places, field = decode.resolve("Control.tx_enable")
    assert (places[0].register.name, field.name) == ("CONTROL", "TX_ENABLE")


def test_arrays_and_elements():
    assert len(names("TX_QUEUE_HEAD")) == 16
    assert names("tx_queue_head[3]") == ["TX_QUEUE_HEAD[3]"]
    assert names("TX_QUEUE_*[2]")[0] == "TX_QUEUE_RING_BASE[2]"
    assert len(names("TX_QUEUE_*[2]")) == 12


def test_addresses():
    assert names(f"0:{r.STATUS:#x}") == ["STATUS"]
    assert names("bar2:0x400") == ["RX_DOORBELL_TAIL[0]"]
    assert names(f"0:{r.MAC_ADDRESS + 4}") == ["MAC_ADDRESS"]


def test_counter_that_is_called_as_a_group():
    assert names("INTERRUPTS") == ["INTERRUPTS"]
    assert "INT_ENABLE" in names("interrupts")


def test_groups_patterns_and_all():
    assert "CONTROL" in names("device-control")
    assert set(names("DIAG_*")) == {"DIAG_LAST", "DIAG_COUNT", "DIAG_OPERAND"}
    assert len(names("all")) == sum(
        register.array_count for bar in (r.BAR0, r.BAR2) for register in bar.registers
    )


@pytest.mark.parametrize(
    "expression",
    ["", "NOTHING", "CONTROL.NOTHING", "0:0x3000", "1:0", "TX_QUEUE_HEAD[16]", "TX_*.INDEX", "Z*"],
)
def test_what_names_no_register(expression):
    with pytest.raises(UsageError):
        decode.resolve(expression)


def test_one_place_refuses_several():
    with pytest.raises(UsageError, match="16 elements"):
        decode.one_place("TX_QUEUE_HEAD")
    with pytest.raises(UsageError, match="registers"):
        decode.one_place("DIAG_*")


@given(st.text(max_size=20))
def test_any_expression_is_resolved_or_refused(text):
    with contextlib.suppress(UsageError):
        assert decode.resolve(text)[0]


def test_every_register_is_found_by_its_name_and_address():
    for place in decode.every_place():
        assert decode.resolve(place.name)[0] == [place]
        assert decode.resolve(place.address)[0] == [place]
        assert place.description, place.name


def test_writes_that_act():
    acts = {place.register.name for place in decode.every_place() if place.acts}
    assert {"CONTROL", "INT_CAUSE", "INT_TRIGGER", "TX_QUEUE_CONTROL", "TX_DOORBELL_TAIL"} <= acts
    assert not acts & {"MAX_FRAME", "OFFLOAD_ENABLE", "MODERATION", "RSS_TABLE"}


def test_values_of_enumerations():
    assert decode.value_name("QueueState", 2) == "ERROR"
    assert decode.value_name("QueueState", 77) == "unknown 0x4d"
    assert decode.value_name("TxFlags", 0x41) == "END_OF_PACKET | TLS"
    assert decode.value_name("TxFlags", 0) == "none"
    assert decode.value_name("EventMask", 0x81) == "LINK | 0x80"


def test_values_by_name():
    assert decode.value_of("TxFlags", "tls|report") == 0x42
    assert decode.value_of("QueueState", "error") == 2
    assert decode.value_of(None, "0x10") == 16
    assert decode.value_of(None, "on") == 1
    assert decode.value_of("TxFlags", "none") == 0
    with pytest.raises(UsageError, match="is no TxFlags"):
        decode.value_of("TxFlags", "FRAGILE")


@pytest.mark.parametrize("cls", STRUCTURES.values(), ids=STRUCTURES)
def test_every_structure_is_decoded(cls):
    members = decode.structure_json(cls, bytes(range(cls.SIZE)))
    assert {member.name for member in cls.members()} <= set(members)
    assert decode.structure_text(members)
    assert decode.structure_json(cls, bytes(cls.SIZE - 1)) == {}


def test_key_material_of_a_structure_is_not_shown():
    data = bytes(range(1, 256)) + bytes(TlsFlow.SIZE)
    members = decode.structure_json(TlsFlow, data)
    for member in TlsFlow.members():
        if member.name in TlsFlow.SECRET:
            hidden = data[member.offset : member.offset + member.size_bytes].hex()
            assert hidden not in str(members)
            assert "secret" in members[member.name]


def test_text_of_a_structure_leaves_out_what_says_nothing():
    members = decode.structure_json(TxDescriptor, TxDescriptor(0x1000, 60, 3).pack())
    assert decode.structure_text(members) == "address=0x1000 length=60 flags=END_OF_PACKET|REPORT"


def test_blocks_that_pass_are_named():
    block = TlsPresync(tcp_sequence=1000, record_number=7)
    record = TraceDmaRead(
        type=TraceType.DMA_READ, length=block.SIZE, kind=QueueKind.TRANSMIT,
        purpose=DmaPurpose.BLOCK,
    )  # fmt: skip
    shown = traceline.decoded(record.pack(), block.pack())
    assert shown["entry"]["record_number"] == 7
    assert "tls_presync: tcp_sequence=1000 record_number=7" in shown["text"]
    assert "entry" not in traceline.decoded(record.pack(), block.pack()[:40])
