"""LIF-07: rekey on transmit. Records before the KeyUpdate have the old key, also when they are sent
again; those behind it have the next one; and what is sent before the card has that key is encrypted
in software and leaves the card unchanged.

RFC 8446 section 4.6.3. The order (KeyUpdate under the old key, then software until the card has the
new one, then the card again) is that of Linux's tls_device rekey; the interface keeps two keys.
"""

import pytest
from harness.tls_flow import KEY_UPDATE, payloads
from harness.tls_open import open_records

from tlsnic.abi.enums import CipherSuite, CommandStatus
from tlsnic.driver.errors import SendTagRefused
from tlsnic.driver.tls.framing import HANDSHAKE
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = pytest.mark.row("LIF-07")

MASK = 0xFFFF_FFFF
IN_ORDER, PRESYNC, SOFTWARE = OutcomeKind.IN_ORDER, OutcomeKind.PRESYNC, OutcomeKind.SOFTWARE
SUITES = [
    CipherSuite.TLS13_AES_128_GCM,
    CipherSuite.TLS13_AES_256_GCM,
    CipherSuite.TLS13_CHACHA20_POLY1305,
]
every_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)


def offset(flow):
    return flow.end - flow.start & MASK


def send(flow, begin, end):
    return flow.send(flow.start + begin, end - begin).kind


@every_suite
def test_lif_07_keys_change_at_the_record_behind_the_key_update(flows, suite):
    """Record by record, opened with the key that it must have; the numbers begin at 0 again."""
    flow = flows.open(suite)
    sessions, bounds = [flow.session], [0]
    flow.write(300, 20)
    for _ in range(2):
        flow.key_update()
        bounds.append(offset(flow))
        sessions.append(flow.session)
        flow.write(500, 1)
        assert {outcome.kind for outcome in flow.send_rest(177)} == {IN_ORDER}
    wire = flow.check()
    bounds.append(len(wire))
    kinds = []
    for session, begin, end in zip(sessions, bounds[:-1], bounds[1:], strict=True):
        kinds.append([(r.kind, r.content) for r in open_records(session, wire[begin:end], 0)])
    updates = [part[-1] for part in kinds[:-1]]
    assert updates == [(HANDSHAKE, KEY_UPDATE)] * 2
    assert all(kind == 23 for part in kinds for kind, content in part if content != KEY_UPDATE)


@every_suite
def test_lif_07_old_key_again_after_the_rekey(flows, suite):
    """As soon as the card has the new key, when the stream has just reached it, and later."""
    flow = flows.open(suite)
    flow.write(400, 500)
    old = offset(flow)
    flow.send_rest(300)
    flow.key_update()
    border = offset(flow)
    for begin, end in ((0, 200), (130, old), (old - 3, old)):
        assert send(flow, begin, end) is PRESYNC
    assert send(flow, old, border) is IN_ORDER
    assert send(flow, old, border) is PRESYNC
    flow.write(600)
    assert send(flow, border, border + 100) is IN_ORDER
    for begin, end in (
        (0, 900),
        (old - 10, border),
        (border - 1, border + 1),
        (border, border + 9),
    ):
        assert send(flow, begin, end) is PRESYNC
    flow.send_rest(200)
    assert send(flow, 300, border + 300) is PRESYNC
    flow.check()
    assert flow.tag.query().tcp_sequence == flow.end


@every_suite
def test_lif_07_key_before_the_last_two_is_software(flows, suite):
    """The card has two keys: what is older the driver encrypts, if anybody still wants it."""
    flow = flows.open(suite)
    bounds = []
    for _ in range(3):
        flow.write(350)
        flow.key_update()
        bounds.append(offset(flow))
        flow.send_rest(250)
    flow.write(200)
    flow.send_rest(250)
    assert [send(flow, at - 200, at) for at in bounds] == [SOFTWARE, SOFTWARE, PRESYNC]
    assert send(flow, bounds[2], bounds[2] + 50) is PRESYNC
    flow.check()


@every_suite
def test_lif_07_sent_before_the_card_has_the_key(nic, flows, suite):
    """The stack has switched, the card has not: its records go by software, and then the card goes
    on at the next record. The old context neither changes nor counts them."""
    flow = flows.open(suite)
    flow.write(300)
    flow.write_bytes(KEY_UPDATE, content_type=HANDSHAKE)
    flow.send_rest(200)
    flow.check()
    border, tag = flow.end, flow.tag
    old, old_state = tag.session, tag.query()
    before = nic.counters()
    flow.new_keys(flow.tls.next_session())
    flow.to_software()
    entries = flow.write(400, 300)
    while left := flow.end - flow.sent_end & MASK:
        at, length = flow.sent_end, min(left, 123)
        assert flow.send(at, length).kind is SOFTWARE
        assert payloads(flows.collect()) == [(at, flow.expected(at, length))]
    flow.check()
    assert tag.query() == old_state
    after = nic.counters()
    assert {name for name in after if "TLS" in name and after[name] != before[name]} == set()

    assert tag.session is old
    tag.modify_rekey(flow.session, border)
    for entry in entries:
        tag.records.add(entry.start_sequence, entry.record)
    flow.tag = tag
    tag.resync(flow.end)
    flow.write(500, 200)
    kinds = [outcome.kind for outcome in flow.send_rest(333)]
    assert kinds == [PRESYNC] + [IN_ORDER] * (len(kinds) - 1)
    for begin, end in ((0, 200), (250, 400), (offset(flow) - 900, offset(flow))):
        assert send(flow, begin, end) is PRESYNC
    flow.check()


def test_lif_07_rekey_before_the_stream_reached_the_last_one(flows):
    """BUSY, as the card has no room for a third key; nothing changes, and it is taken later."""
    flow = flows.open(SUITES[0])
    flow.write(300)
    flow.key_update()
    at = flow.sent_end
    flow.write(400)
    flow.write_bytes(KEY_UPDATE, content_type=HANDSHAKE)
    following = flow.tls.next_session()
    for _ in range(2):
        with pytest.raises(SendTagRefused) as caught:
            flow.tag.modify_rekey(following, flow.end)
        assert caught.value.status == CommandStatus.BUSY
    assert flow.sent_end == at
    flow.send_rest(100)
    flow.check()
    flow.rekey(following)
    flow.write(500)
    assert {outcome.kind for outcome in flow.send_rest(100)} == {IN_ORDER}
    flow.check()


def test_lif_07_rekey_in_the_middle_of_a_record_is_refused(flows):
    """By the driver: keys change where a record starts."""
    flow = flows.open(SUITES[1])
    flow.write(300)
    session = flow.session
    with pytest.raises(ValueError, match="no record starts"):
        flow.tag.modify_rekey(flow.tls.next_session(), flow.start + 100)
    assert flow.tag.session is session
    flow.send_rest()
    flow.check()


def test_lif_07_rekey_while_out_of_step(flows):
    """The KeyUpdate's end and the new key's first record were lost inside the host."""
    flow = flows.open(SUITES[2])
    flow.write(300)
    flow.send_rest()
    flow.key_update()
    border = offset(flow)
    flow.write(400)
    following = offset(flow)
    flow.write(500)
    start = flow.sent_end - flow.start & MASK
    assert send(flow, border + 30, border + 200) is SOFTWARE
    assert send(flow, border - 5, border + 10) is PRESYNC
    assert flow.tag.is_resync_pending
    assert send(flow, border + 200, following) is SOFTWARE
    assert send(flow, following, following + 100) is PRESYNC
    assert {outcome.kind for outcome in flow.send_rest(150)} == {IN_ORDER}
    assert send(flow, start, border + 30) is PRESYNC
    flow.check()
