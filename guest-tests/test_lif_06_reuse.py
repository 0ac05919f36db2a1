"""LIF-06: the same addresses and ports again after a close. The new flow has a handle and keys of
its own; the old handle is refused, and nothing of the old flow's state is left.

A connection's four-tuple may come back at once (RFC 6191, RFC 9293 section 3.6.1), so the card
lets a new flow have it as soon as it has taken the old one's destroy.
"""

import pytest
from harness.tls_raw import Packet, presynced
from harness.tls_start import START, create, flow_block, make_session

from tlsnic.abi.enums import CipherSuite, CommandStatus, Diagnostic, TxStatus
from tlsnic.abi.structures import TlsFlowQueryCommand, TlsFlowRateCommand, TlsFlowState
from tlsnic.driver.errors import CommandError, SendTagDeadError, SendTagRefused

pytestmark = pytest.mark.row("LIF-06")

MASK = 0xFFFF_FFFF
SUITES = [
    CipherSuite.TLS12_AES_128_GCM,
    CipherSuite.TLS13_CHACHA20_POLY1305,
    CipherSuite.TLS10_AES_CBC_SHA1,
    CipherSuite.TLS12_AES_CBC_SHA256,
    CipherSuite.TLS13_AES_256_GCM,
]


def use(flow):
    """In order, again, and up to the middle of a record."""
    flow.write(600, 800)
    flow.send(flow.sent_end, 1000)
    flow.send(flow.start + 50, 300)
    flow.check()


def close(flow):
    """The connection is over; its handle. The next one of its address has a stream of its own."""
    handle = flow.tag.handle
    flow.free()
    flow.flows.flows.remove(flow)
    return handle


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
@pytest.mark.parametrize("start", [START, START - 5000, START + 900], ids=["same", "lower", "in"])
def test_lif_06_new_flow_starts_anew(nic, flows, suite, start):
    """Its sequence numbers are the same, lower, or inside of what the old one has sent."""
    first = flows.open(SUITES[0])
    use(first)
    tag = first.tag
    stale = close(first)
    flow = flows.open(suite, address=first.address, sequence=start)
    assert flow.tag.handle != stale
    state = flow.tag.query()
    assert state == TlsFlowState(
        tcp_sequence=start,
        record_number=flow.session.record_number,
        direction=state.direction,
        record_iv=state.record_iv if suite is CipherSuite.TLS10_AES_CBC_SHA1 else bytes(16),
    )
    assert flow.tag.counters.tx_tls_ctx == 1
    assert not flow.tag.counters.tx_tls_encrypted_packets
    use(flow)
    flow.send_rest()
    flow.check()
    with pytest.raises(SendTagDeadError, match="freed"):
        tag.transmit(nic.tx[0], first.headers(START, 1), START, b"x")
    counters = nic.counters()
    assert (counters["TX_TLS_CTX"], counters["TX_TLS_DEL"]) == (2, 1)


def test_lif_06_old_handle_is_refused(nic, watch, flows, raw):
    """Packets that would be good for the old flow, or for the new one: in order, and with presync
    blocks; and commands. The new flow does not notice."""
    first = flows.open()
    use(first)
    again = presynced(first, START + 100, 200)
    stale = close(first)
    flow = flows.open(CipherSuite.TLS13_AES_128_GCM, address=first.address)
    use(flow)
    state = flow.tag.query()
    for packet in (
        again,
        presynced(flow, flow.start + 100, 200),
        presynced(flow, state.tcp_sequence, 100, moves=True),
        Packet(
            flow.headers(state.tcp_sequence, 100),
            flow.records.read(state.tcp_sequence, 100),
        ),
    ):
        watch.expect(Diagnostic.TLS_DESTROYED)
        completion = raw.post(packet._replace(handle=stale))
        assert (completion.status, completion.detail) == (
            TxStatus.TLS_DROPPED,
            Diagnostic.TLS_DESTROYED,
        )
    for command in (
        TlsFlowQueryCommand(handle=stale, length=TlsFlowState.SIZE),
        TlsFlowRateCommand(handle=stale, rate_bytes_per_s=1),
    ):
        watch.expect(Diagnostic.TLS_HANDLE)
        with pytest.raises(CommandError) as caught:
            nic.admin.execute(command)
        assert caught.value.status == CommandStatus.BAD_HANDLE
    assert nic.counters()["TX_TLS_DROP_BAD_HANDLE"] == 4
    assert flows.collect() == []
    assert flow.tag.query() == state
    flow.send_rest()
    flow.check()


def test_lif_06_nothing_of_a_rate_limit_or_a_rekey_is_left(nic, flows):
    """The old flow had a limit that would stop the new one, and two keys."""
    first = flows.open(CipherSuite.TLS13_AES_128_GCM, rate_bytes_per_s=1 << 20)
    use(first)
    first.send_rest()
    first.key_update()
    use(first)
    first.tag.modify_rate(1)
    close(first)
    flow = flows.open(CipherSuite.TLS13_AES_128_GCM, address=first.address)
    assert flow.tag.query().rate_bytes_per_s == 0
    flow.write(*[3000] * 10)
    flow.send_rest()
    flow.check()
    flow.key_update()
    use(flow)


def test_lif_06_over_and_over(nic, flows, scale):
    """Handles do not come back, and each connection is encrypted with its own key."""
    handles, address = [], flows.address()
    count = scale(100, 12)
    for number in range(count):
        suite = SUITES[number % len(SUITES)]
        session = make_session(suite, seed=number)
        flow = flows.open(suite, session=session, address=address, sequence=START + 10 * number)
        use(flow)
        handles.append(close(flow))
    assert len(set(handles)) == count
    counters = nic.counters()
    assert (counters["TX_TLS_CTX"], counters["TX_TLS_DEL"]) == (count, count)
    assert nic.send_tags == {}


@pytest.mark.nic(tx_queues=2, tx_entries=256)
def test_lif_06_while_the_old_one_still_leaves(nic, flows):
    """Made right behind the old one's destroy: each has the keys of its own. Two flows never have
    the four-tuple before."""
    first = flows.open(CipherSuite.TLS12_AES_256_GCM)
    first.write(*[16000] * 6)
    with pytest.raises(SendTagRefused) as caught:
        flows.open(address=first.address)
    assert caught.value.status == CommandStatus.DUPLICATE
    tag, first_address = first.tag, first.address
    first.send_rest(48000, mss=1400)
    old_end = first.sent_end
    tag._close()
    flow = flows.open(
        CipherSuite.TLS13_AES_128_GCM, address=first_address, sequence=old_end + 1000 & MASK
    )
    flow.queue = nic.tx[1]
    assert flow.tag.handle != tag.handle
    flow.write(2000)
    flow.send_rest()
    tag.free()
    first.to_software()
    flows.flows.clear()
    found = flows.collect()
    first.stream.add([frame for frame in found if not is_from(flow, frame)])
    flow.stream.add([frame for frame in found if is_from(flow, frame)])
    for each in (first, flow):
        wire = each.stream.wire()
        assert wire == each.expected_all()
        each.check_decrypts(wire)
    flow.free()


def is_from(flow, frame):
    """By its sequence number, as ports and addresses are the same."""
    return int.from_bytes(frame[38:42], "big") - flow.start & MASK < 1 << 31


def test_lif_06_handle_that_the_driver_never_knew(nic, watch, flows):
    """A flow that was made behind the driver's back has the four-tuple until a reset."""
    address = flows.address()
    create(nic, flow_block(make_session(SUITES[0]), address))
    with pytest.raises(SendTagRefused) as caught:
        flows.open(address=address)
    assert caught.value.status == CommandStatus.DUPLICATE
    watch.checkpoint()
    nic.reset()
    watch.start_again()
    flow = flows.open(address=address)
    use(flow)
