"""The methods that look: what they say, and that they change nothing."""

import contextlib

import pytest
from receive_rig import begun, frame_of, stream_of
from stream_bench import Stream
from tls_rig import GCM

from tlsnic.abi import registers as r
from tlsnic.abi.enums import Diagnostic, TxFlags
from tlsnic.abi.structures import NopCommand, TxDescriptor
from tlsnic.device.control import METHODS, ControlError


def queue(call, kind, number=0):
    return call("queues.show", kind=kind, number=number)


def fails(name, call, method, **params):
    with pytest.raises(ControlError) as caught:
        call(method, **params)
    assert caught.value.name == name
    return caught.value.message


# device, registers


def test_device_info(rig, call):
    info = call("device.info")
    assert info["mac"] == "02:74:6c:73:00:01"
    assert info["wire"] == "memory"
    assert info["link_up"]
    assert info["tx_enabled"]
    assert info["rx_enabled"]
    assert info["bus_master"]
    assert (info["client"], info["reset_count"], info["now_ns"]) == ("none", 0, rig.now_ns)


def test_soft_reset_is_a_write_of_control(rig, call):
    assert call("device.reset") == {"reset_count": 1}
    assert not call("device.info")["tx_enabled"]
    assert all(queue["state"] == "DISABLED" for queue in call("queues.list"))


def test_all_values_are_those_that_reads_give(rig, call):
    values = call("registers.values", all=True)["values"]
    assert len(values) == sum(
        register.array_count for bar in (r.BAR0, r.BAR2) for register in bar.registers
    )
    for bar, offset, value in values:
        width = (r.BAR0 if bar == 0 else r.BAR2).find(offset)[0].size_bytes
        assert rig.read(offset, width, bar) == value, (bar, hex(offset))


def test_values_have_no_side_effect(rig, call):
    rig.nic.counters.tx_bytes = 0x1_0000_0001
    assert rig.read(r.TX_BYTES) == 1  # latches the high half
    rig.nic.counters.tx_bytes = 0x2_0000_0002
    items = [[r.TX_BYTES, 64], [r.TX_BYTES, 32], [r.TX_BYTES + 4, 32], [0x3F00, 8], [3, 16]]
    values = call("registers.values", items=items)["values"]
    assert [value for _, _, value in values[:4]] == [0x2_0000_0002, 2, 2, 0]
    assert rig.read(r.TX_BYTES + 4) == 1
    assert not rig.nic.diagnostics.total


def test_accesses_are_those_of_a_driver(rig, call):
    assert call("registers.read", offset=r.STATUS)["value"] & r.STATUS_READY_MASK
    call("registers.write", offset=r.MAX_FRAME, value=20)
    assert call("registers.read", offset=0x3F00, width=32) == {"value": 0}
    assert rig.diagnostics == [Diagnostic.VALUE_RANGE, Diagnostic.REG_UNKNOWN]
    call("registers.write", bar=2, offset=r.TX_DOORBELL_TAIL, value=9999)
    assert rig.queue.error == Diagnostic.DOORBELL_RANGE


@pytest.mark.parametrize(
    "params",
    [
        {"bar": 1},
        {"bar": 0, "offset": r.BAR0.size_bytes, "width": 8},
        {"bar": 2, "offset": r.BAR2.size_bytes - 2, "width": 32},
        {"offset": -1},
        {"offset": 0, "width": 24},
        {"offset": True},
        {"offset": "0"},
        {"offset": 1.0},
        {"offset": None},
        {"offset": 0, "value": 1},
        {},
    ],
)
def test_bad_reads(rig, call, params):
    fails("BAD_PARAMETER", call, "registers.read", **params)
    assert not rig.nic.diagnostics.total


@pytest.mark.parametrize(
    "items", [[[0]], [[0, 24]], [[-1, 8]], [[0x10000, 8]], [0], [[0, 32.0]], [[False, 32]], {}, 7]
)
def test_bad_items(call, items):
    fails("BAD_PARAMETER", call, "registers.values", items=items)


def test_values_need_items(call):
    fails("BAD_PARAMETER", call, "registers.values")


def test_written_values_fit_their_width(call):
    fails("BAD_PARAMETER", call, "registers.write", offset=r.MAX_FRAME, width=8, value=256)


# queues


def test_a_queue_at_rest_waits_for_nothing(call):
    found = {(queue["kind"], queue["number"]): queue for queue in call("queues.list")}
    assert len(found) == 2 + r.TX_QUEUE_COUNT + r.RX_QUEUE_COUNT
    assert found["TRANSMIT", 0]["waits_for"] == "nothing"
    assert found["ADMIN", 0]["waits_for"] == "nothing"
    assert found["EVENT", 0]["waits_for"] == "nothing"
    assert found["RECEIVE", 0]["waits_for"] == "the wire: the next frame"
    assert found["RECEIVE", 0]["pending"] == 127
    assert found["TRANSMIT", 1]["waits_for"] == "the driver: to enable the queue"
    assert found["TRANSMIT", 1]["error"] is None


def test_a_stopped_queue_says_why(rig, call):
    rig.doorbell(r.TX_DOORBELL_TAIL, 9999)
    shown = queue(call, "TRANSMIT")
    assert (shown["state"], shown["error"], shown["error_address"]) == (
        "ERROR", "DOORBELL_RANGE", 9999,
    )  # fmt: skip
    assert shown["waits_for"].startswith("the driver: to clear ENABLE")


def test_what_transmit_waits_for(rig, call):
    def waits():
        return queue(call, "TRANSMIT")["waits_for"]

    frame = bytes(60)
    rig.queue.post(TxDescriptor(rig.place(frame), 60).pack())
    rig.queue.ring_doorbell()
    assert waits() == "the device: its next turn"
    rig.run()
    assert waits() == "the driver: to post the rest of a packet (END_OF_PACKET)"
    rig.host.bus_master = False
    assert waits() == "the driver: to set Bus Master Enable"
    rig.host.bus_master = True
    rig.write(r.CONTROL, r.CONTROL_RX_ENABLE_MASK)
    assert waits() == "the driver: to set TX_ENABLE"
    rig.start()
    rig.wire.blocked = True
    rig.queue.post(TxDescriptor(rig.place(frame), 60, TxFlags.END_OF_PACKET).pack())
    rig.queue.post(TxDescriptor(rig.place(frame), 60, TxFlags.END_OF_PACKET).pack())
    rig.queue.ring_doorbell()
    rig.run()
    assert waits() == "the wire: it takes no frame now"


def test_transmit_waits_for_completions_to_be_taken(rig, call):
    for _ in range(rig.queue.entries + 3):
        rig.send(rig.queue, bytes(60))
        rig.queue.ring_doorbell()
        rig.run()
    assert queue(call, "TRANSMIT")["waits_for"] == "the driver: to take completions"


def test_transmit_waits_for_a_rate(rig, call):
    stream = Stream(GCM)
    handle = rig.create(stream, rate=1000)
    for _ in range(24):
        stream.add(15_000)
    at = 0
    for _ in range(24):
        rig.post_part(handle, stream, at, at + 15_000, mss=1400)
        at += 15_000
        rig.run()
    assert queue(call, "TRANSMIT")["waits_for"] == f"the rate limit of flow {handle:#x}"
    shown = call("flows.show", handle=handle)
    assert shown["held_bytes"] > 0
    assert shown["rate_bytes_per_s"] == 1000


def test_receive_waits_for_buffers(rig, call):
    stream = stream_of(30_000)
    for at in range(0, 127 * 100, 100):
        rig.receive(frame_of(stream, at, at + 100))
    assert queue(call, "RECEIVE")["waits_for"].startswith("the driver: to take completions")
    rig.packets_queue.reap()
    assert queue(call, "RECEIVE")["waits_for"].startswith("the driver: to post buffers")


def test_entries_are_those_in_memory(rig, call):
    rig.queue.post(TxDescriptor(0x1234, 60, send_tag=7).pack())
    rig.queue.ring_doorbell()
    first, second = call("queues.show", kind="TRANSMIT", count=2)["descriptors"]
    assert TxDescriptor.unpack_from(bytes.fromhex(first["bytes"])).send_tag == 7
    assert (first["index"], first["where"], first["address"]) == (0, "posted", rig.queue.ring)
    assert second["where"] == "done"


def test_valid_is_what_the_driver_sees(rig, call):
    """Entries that the driver would take are valid: over several laps, at every moment."""
    for number in range(70):
        rig.commands.post(NopCommand().pack())
        rig.commands.ring_doorbell()
        rig.run()
        shown = call("queues.show", kind="ADMIN", first=0, count=1024)["completions"]
        assert len(shown) == 16
        valid = [entry["index"] for entry in shown if entry["valid"]]
        assert valid == [entry["index"] for entry in shown if entry["where"] == "new"]
        assert len(valid) == (number % 7) + 1
        if number % 7 == 6:
            assert len(rig.commands.reap()) == 7


def test_entries_that_are_not_mapped_are_null(rig, call):
    del rig.host.maps[0]
    assert queue(call, "TRANSMIT")["descriptors"][0]["bytes"] is None


def test_no_such_queue(call):
    fails("NOT_FOUND", call, "queues.show", kind="TRANSMIT", number=16)
    fails("BAD_PARAMETER", call, "queues.show", kind="DEVICE")


# flows


def test_flows_of_both_directions(rig, call):
    _, wire, handle = begun(1000, 1000, rig=rig, fields={"vlan": 5})
    sender = rig.create(Stream(GCM), ip_version=6)
    listed = call("flows.list")
    assert listed["total"] == 2
    receive, transmit = listed["flows"]
    assert receive["handle"] == handle
    assert receive["vlan_id"] == 5
    assert (receive["direction"], receive["state"]) == ("RECEIVE", "OFFLOAD")
    assert (receive["local"], receive["remote"]) == ("10.0.0.1:40000", "10.0.0.2:443")
    assert receive["tcp_sequence"] == wire.sequence
    assert (transmit["handle"], transmit["direction"]) == (sender, "TRANSMIT")
    assert (transmit["local"], transmit["remote"]) == ("[fd00::1]:40000", "[fd00::2]:443")
    assert transmit["suite"] == "TLS13_AES_128_GCM"
    assert transmit["tls_version"] == 0x0304
    assert call("flows.list", first=1)["flows"] == [transmit]
    assert call("flows.list", first=2, count=1)["flows"] == []


def test_an_open_question_is_shown(rig, call):
    _, wire, handle = begun(*[700] * 6, rig=rig)
    rig.feed(wire, 0, 1000)
    rig.feed(wire, 2500, 3500)
    asked = rig.question()
    shown = call("flows.show", handle=handle)
    assert shown["state"] == "TRACK"
    assert shown["question"]["tcp_sequence"] == shown["candidate"] == asked.tcp_sequence
    assert shown["question"]["number"] == asked.question == shown["questions"]
    rig.answer(asked, wire)
    shown = call("flows.show", handle=handle)
    assert (shown["state"], shown["question"], shown["candidate"]) == ("OFFLOAD", None, None)
    assert shown["host_resyncs"] == 1


def test_a_flow_that_is_gone(rig, call):
    _, _, handle = begun(rig=rig)
    rig.destroy(handle)
    assert "destroyed" in fails("NOT_FOUND", call, "flows.show", handle=handle)
    assert "never" in fails("NOT_FOUND", call, "flows.show", handle=1)


def test_history_of_a_resync(rig, call):
    _, wire, handle = begun(*[700] * 6, rig=rig)
    rig.feed(wire, 0, 1000)
    rig.feed(wire, 2500, 3500)
    asked = rig.question()
    rig.answer(asked, wire)
    rig.hint(handle, 1, 1)
    notes = call("flows.history", handle=handle)
    events = [note["event"] for note in notes]
    assert events[0] == "CREATED"
    assert {"TRACKER", "ASKED", "ANSWERED"} < set(events)
    (question,) = [note for note in notes if note["event"] == "ASKED"]
    assert (question["tcp_sequence"], question["question"]) == (
        asked.tcp_sequence, asked.question,
    )  # fmt: skip
    assert [note["event"] for note in call("resync.log")][:2] == ["ASKED", "ANSWERED"]
    assert len(call("resync.log", count=1)) == 1
    rig.destroy(handle)
    assert call("flows.history", handle=handle)[-1]["event"] == "DESTROYED"
    assert call("flows.history", handle=handle)[: len(notes)] == notes
    fails("NOT_FOUND", call, "flows.history", handle=1)


# interrupts, counters, diagnostics, what is not there


def test_interrupts(rig, call):
    rig.write(r.MODERATION, 100)  # microseconds
    rig.queue.return_entries(arm=True)
    rig.send(rig.queue, bytes(60))
    rig.queue.ring_doorbell()
    rig.run()
    shown = call("interrupts.list")
    assert shown["mode"] == "msix"
    vector = shown["vectors"][0]
    assert (vector["usecs"], vector["gathered"], vector["raised"]) == (100, 1, 0)
    assert vector["waiting"] == [{"kind": "TRANSMIT", "number": 0}]
    assert vector["deadline_ns"] == rig.now_ns + 100_000
    rig.run(100_000)
    vector = call("interrupts.list")["vectors"][0]
    assert (vector["waiting"], vector["raised"], vector["deadline_ns"]) == ([], 1, None)


def test_a_vector_without_bus_master_is_blocked(rig, call):
    rig.host.bus_master = False
    rig.write(r.INT_TRIGGER, 4)
    assert call("interrupts.list")["vectors"][2]["blocked"]
    rig.host.msix_enabled = False
    assert call("interrupts.list")["mode"] == "intx"


def test_counters_and_diagnostics(rig, call):
    for _ in range(3):
        rig.read(0x3F00)
    rig.write(r.MAX_FRAME, 1)
    shown = call("diagnostics.list", count=2)
    assert shown["total"] == 4
    assert shown["counts"] == {"REG_UNKNOWN": 3, "VALUE_RANGE": 1}
    assert [entry["code"] for entry in shown["recent"]] == ["REG_UNKNOWN", "VALUE_RANGE"]
    assert shown["recent"][1]["operand"] == r.MAX_FRAME
    rig.send(rig.queue, bytes(60))
    rig.queue.ring_doorbell()
    rig.run()
    counters = call("counters.read")
    assert counters["counters"]["TX_PACKETS"] == counters["wire"]["tx_frames"] == 1
    assert len(counters["counters"]) == len(rig.nic.counters.as_dict())


def test_without_a_pci_side(call):
    for method in ("pci.config", "dma.maps"):
        fails("UNAVAILABLE", call, method)
    fails("UNAVAILABLE", call, "device.reset", kind="function")


# calls


def test_wrong_calls(call):
    fails("UNKNOWN_METHOD", call, "queues.lost")
    fails("UNKNOWN_CARD", call, "device.info", card=1)
    fails("BAD_PARAMETER", call, "device.info", card="0")
    fails("BAD_PARAMETER", call, "device.info", cards=0)
    fails("BAD_PARAMETER", call, "device.reset", kind="hard")


def test_looking_changes_nothing(rig, call):
    """Every method that does not say that it changes something: the card stays as it was."""
    _, _, handle = begun(1000, rig=rig)
    params = {
        "queues.show": {"kind": "TRANSMIT"},
        "flows.show": {"handle": handle},
        "registers.values": {"all": True},
    }

    def image():
        return call("registers.values", all=True), rig.nic.diagnostics.total, rig.host.triggered[:]

    before = image()
    for method in METHODS.values():
        if not (method.changes or method.subscribes):
            with contextlib.suppress(ControlError):
                call(method.name, **params.get(method.name, {}))
    assert image() == before
