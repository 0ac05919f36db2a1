"""KTLS-05: NIC TLS: a send tag per session, plain records go down, tag and interface are compared on
output; a mismatch drops and refreshes the tag; a failed refresh drops the connection.
"""

import pytest
from harness.ktls import CARD, CHACHA13, GCM12, GCM13
from harness.ktls_two_cards import Upload, packets_of
from harness.tls_stream import MARKER, marked

from tlsnic.driver.ktls.session import TCP_TLS_MODE_IFNET, TCP_TLS_MODE_SW

pytestmark = [pytest.mark.row("KTLS-05"), CARD, pytest.mark.root]


@pytest.mark.parametrize("suite", [GCM12, GCM13, CHACHA13], ids=lambda suite: suite.name)
def test_ktls_05_plain_records_go_down(network, suite, monkeypatch):
    """What is given to the driver is plaintext, with its tag; what OpenSSL gets is not, and nobody in
    between has encrypted a byte."""
    line = network().connect(suite)
    line.enable_tx()
    assert line.tx_mode == TCP_TLS_MODE_IFNET
    tag = line.network.stack.leaf_tag(line.so)
    session, given = line.so.so_snd.sb_tls_info, []
    transmit = tag.transmit

    def watched(queue, outgoing):
        assert outgoing.payload.tls is session
        given.append(outgoing.payload.tobytes())
        transmit(queue, outgoing)

    monkeypatch.setattr(tag, "transmit", watched)
    line.so.write(marked(30_000))
    wire = line.wire()
    down = b"".join(given)
    assert len(down) >= len(wire), "all of it went this way"
    assert MARKER in down
    assert MARKER not in wire
    assert line.end.open(wire) == marked(30_000)
    assert line.network.counter("bytes_touched.encrypt") == 0
    assert line.network.counter("stats.ocf.tls12_gcm_encrypts") == 0
    assert packets_of(line).keys() <= {"IN_ORDER", "PRESYNC"}
    monkeypatch.undo()


def test_ktls_05_a_tag_per_session(network):
    """Each has a flow of the card's of its own, which ends with the last record that needs it."""
    one = network()
    lines = [one.connect(suite) for suite in (GCM13, GCM12, GCM13)]
    for line in lines:
        line.enable_tx()
    tags = [one.stack.leaf_tag(line.so) for line in lines]
    assert len({id(tag) for tag in tags}) == 3
    assert {tag.tag.handle for tag in tags} == set(one.nics[0].send_tags)
    for number, line in enumerate(lines):
        line.so.write(marked(20_000, number))
    for number, line in enumerate(lines):
        assert line.arrived() == marked(20_000, number)
    lines[1].so.close()
    lines[1].far_send(b"", end=True)
    one.run(lambda: len(one.nics[0].send_tags) == 2, "the tag is given back")
    assert not tags[1].tag.is_alive
    assert tags[0].tag.is_alive


def test_ktls_05_the_tag_lives_as_long_as_records_need_it(network):
    """Software from now on; what was written before is still the card's."""
    line = network().connect(GCM13)
    line.enable_tx()
    tag = line.network.stack.leaf_tag(line.so).tag
    line.so.write(marked(60_000, 1))
    line.switch(TCP_TLS_MODE_SW)
    line.so.write(marked(10_000, 2))
    assert tag.is_alive
    assert line.arrived() == marked(60_000, 1) + marked(10_000, 2)
    line.network.run(lambda: not tag.is_alive, "the tag is given back")


@pytest.mark.row("LIF-03")
def test_ktls_05_a_reset_of_the_card_makes_new_tags(network, watch):
    """The flows of the card are gone with it: packets that wait for it are dropped, never sent in
    clear, and the tag is made anew for all records that are not acknowledged."""
    line = network().connect(GCM13)
    line.enable_tx()
    upload = Upload(line, 200_000)
    upload.write()
    upload.until(20_000)
    nic = line.network.nics[0]
    before = line.network.stack.leaf_tag(line.so).tag
    watch.checkpoint()
    nic.reset()
    watch.start_again()
    upload.check()
    after = line.network.stack.leaf_tag(line.so).tag
    assert after is not before
    assert not before.is_alive
    assert line.network.counter("ifnet.reset") == 1


def test_ktls_05_a_full_table_leaves_software(network):
    """ENOBUFS of the card is no error of the socket option."""
    one = network()
    first = one.connect(GCM13)
    first.enable_tx()
    nic = one.nics[0]
    alloc = nic.snd_tag_alloc
    from tlsnic.abi.enums import CommandStatus  # noqa: PLC0415
    from tlsnic.driver.errors import SendTagRefused  # noqa: PLC0415

    def full(*_, **__):
        raise SendTagRefused(CommandStatus.TABLE_FULL, "TLS_FLOW_CREATE")

    nic.snd_tag_alloc = full
    try:
        line = one.connect(GCM13)
        line.enable_tx()
    finally:
        nic.snd_tag_alloc = alloc
    assert line.tx_mode == TCP_TLS_MODE_SW
    line.so.write(marked(5000))
    assert line.arrived() == marked(5000)
    line.switch(TCP_TLS_MODE_IFNET)
    line.so.write(marked(6000))
    assert line.arrived() == marked(6000)
