"""SET-09: key material cannot be read back by register, query, DMA, shell, trace or log, and is
wiped on destroy and reset.

What a driver can see is searched here. The device's own memory and log are searched by the host,
with a device process of its own (`tlsnic.qemu.peer.keys`), also for a guest.
"""

import pytest
from harness.registers import elements
from harness.tls_rx_flow import DECRYPTED
from harness.tls_start import create, flow_block, make_session

from tlsnic.abi import registers as reg
from tlsnic.abi.enums import CipherSuite, Diagnostic
from tlsnic.abi.structures import TlsFlowQueryCommand, TlsFlowState
from tlsnic.driver.errors import CommandError, SendTagRefused
from tlsnic.driver.tls.receive_tag import Resync
from tlsnic.qemu.peer import memory

pytestmark = pytest.mark.row("SET-09")
SUITES = [
    CipherSuite.TLS12_AES_128_GCM,
    CipherSuite.TLS13_CHACHA20_POLY1305,
    CipherSuite.TLS12_AES_CBC_SHA256,
]
_WINDOW_BYTES = 8


def secrets_of(session):
    """What must not be seen, by name; a GCM salt is so short that it is anywhere by chance."""
    found = {"key": session.key, "iv": session.iv, "mac_key": session.mac_key}
    return {name: bytes(secret) for name, secret in found.items() if len(secret) >= 12}


def windows_of(session):
    """Every run of eight bytes of the secrets, as they are and with its bytes turned round."""
    return {
        secret[at : at + _WINDOW_BYTES][::step]
        for secret in secrets_of(session).values()
        for at in range(len(secret) - _WINDOW_BYTES + 1)
        for step in (1, -1)
    }


def assert_hidden(session, content, where):
    assert not [window for window in windows_of(session) if window in content], where


def use(flow):
    """In order, in pieces, and again."""
    flow.write(700, 700)
    flow.send(flow.sent_end, 1000)
    flow.send(flow.start, 500)
    flow.check()


def in_dma_memory(session):
    return memory.find("self", secrets_of(session), shared_only=True)


def test_set_09_search_finds_what_is_there(nic, flows):
    """Else the tests below prove nothing."""
    session = make_session(SUITES[2], seed=90)
    assert in_dma_memory(session) == set()
    with nic.bus.dma_alloc(4096, 64) as block:
        raw = flow_block(session, flows.address()).pack()
        block.view[100 : 100 + len(raw)] = raw
        assert in_dma_memory(session) == {"key", "mac_key"}
        with pytest.raises(AssertionError):
            assert_hidden(session, bytes(block.view), "the block")
    assert in_dma_memory(session) == set(), "freed memory is wiped"


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_set_09_registers_queries_and_dma(nic, bus, flows, scale, suite):
    flow = flows.open(suite, session=make_session(suite, seed=91))
    session = flow.session
    assert in_dma_memory(session) == set(), "after alloc"
    use(flow)
    registers = b"".join(
        bus.read(0, offset, register.size_bytes).to_bytes(register.size_bytes, "little")
        for register, offset in elements(every=scale(1, 64))
    )
    assert_hidden(session, registers, "BAR 0")
    doorbells = b"".join(
        bus.read(2, register.address(0), 4).to_bytes(4, "little") for register in reg.BAR2.registers
    )
    assert_hidden(session, doorbells, "BAR 2")
    _, block = nic.admin.execute_block(
        TlsFlowQueryCommand(handle=flow.tag.handle), bytes(4096), length=4096
    )
    assert not any(block[TlsFlowState.SIZE :]), "a query writes no more than its block"
    assert_hidden(session, block, "the query block")
    assert in_dma_memory(session) == set(), "with rings, events and buffers"
    flow.free()
    assert in_dma_memory(session) == set()


def test_set_09_rekey_leaves_no_key_in_dma_memory(flows):
    flow = flows.open(CipherSuite.TLS13_AES_256_GCM)
    use(flow)
    before = flow.session
    flow.key_update()
    use(flow)
    for session in (before, flow.session):
        assert in_dma_memory(session) == set()


@pytest.mark.parametrize("why", ["duplicate", "bad field"])
def test_set_09_refused_commands(nic, watch, flows, why):
    """What is refused is wiped as well, and the error does not say what was in it."""
    flow = flows.open(openssl=False)
    session = make_session(SUITES[2], seed=92)
    if why == "duplicate":
        with pytest.raises(SendTagRefused) as caught:
            nic.snd_tag_alloc(session, flow.address, 5)
    else:
        watch.expect(Diagnostic.COMMAND_FIELD)
        with pytest.raises(CommandError) as caught:
            create(nic, flow_block(session, flow.address, key_length=31))
    assert in_dma_memory(session) == set()
    assert_hidden_in_text(session, f"{caught.value} {caught.value!r} {vars(caught.value)}")


def assert_hidden_in_text(session, text):
    for secret in secrets_of(session).values():
        assert secret.hex() not in text.lower()
        assert repr(secret)[2:-1] not in text


def test_set_09_nothing_that_is_shown_has_keys(nic, flows):
    """The shell prints these, and logs and traces have them."""
    flow = flows.open(openssl=False)
    use(flow)
    session, tag = flow.session, flow.tag
    block = flow_block(session, flow.address)
    shown = [session, tag, block, tag.records, tag.query(), tag.counters, nic.tls_counters]
    for thing in shown:
        assert_hidden_in_text(session, f"{thing} {thing!r}")


def test_set_09_wiped_on_destroy(peer):
    """In the device process's memory, for each kind of cipher; a rekey forgets the last but one."""
    names = [suite.name for suite in (*SUITES, CipherSuite.TLS10_AES_CBC_SHA1)]
    report = peer.check("secrets", seed=93, hows=["destroy"], suites=names)
    assert report["suites"] == names
    peer.check("secrets", seed=94, hows=["rekey"], suites=["TLS13_AES_256_GCM"])


def test_set_09_wiped_on_reset(peer):
    hows = ["soft", "function", "vfio", "disconnect"]
    report = peer.check("secrets", seed=95, hows=hows, suites=["TLS13_AES_128_GCM"])
    assert report["hows"] == hows


# Receive


def lose(flow):
    """Records in order and in pieces, one of them lost, so that the card asks."""
    flow.write(700, 700, 700, 700)
    last = flow.records[-1].start
    flow.send(0, 1000)
    assert flow.states() == [DECRYPTED]
    flow.send(last - 10, last + 100)
    flow.collect()


@pytest.mark.parametrize("suite", SUITES[:2], ids=lambda suite: suite.name)
def test_set_09_receive_queries_events_and_dma(nic, bus, rx_flows, scale, suite):
    session = make_session(suite, seed=96)
    flow = rx_flows.open(session=session, reader=False, resync=Resync.BOTH)
    assert in_dma_memory(session) == set(), "after alloc"
    lose(flow)
    registers = b"".join(
        bus.read(0, offset, register.size_bytes).to_bytes(register.size_bytes, "little")
        for register, offset in elements(every=scale(1, 64))
    )
    assert_hidden(session, registers, "BAR 0")
    _, block = nic.admin.execute_block(
        TlsFlowQueryCommand(handle=flow.tag.handle), bytes(4096), length=4096
    )
    assert not any(block[TlsFlowState.SIZE :]), "a query writes no more than its block"
    assert_hidden(session, block, "the query block")
    assert in_dma_memory(session) == set(), "with rings, events and buffers"
    shown = [flow.tag, flow.tag.query(), flow.tag.counters, nic.tls_receive_counters]
    for thing in (*shown, *flow.arrived, *nic.events.events):
        assert_hidden_in_text(session, f"{thing} {thing!r}")
    flow.free()
    assert in_dma_memory(session) == set()


@pytest.mark.parametrize("why", ["rekey", "duplicate", "bad field"])
def test_set_09_receive_commands_leave_no_key(nic, watch, rx_flows, why):
    """What is taken and what is refused is wiped in DMA memory alike."""
    suite = CipherSuite.TLS13_AES_256_GCM
    flow = rx_flows.open(suite, openssl=False, reader=False)
    session = make_session(suite, seed=97)
    if why == "rekey":
        flow.tag.modify_rekey(session, flow.sequence)
    elif why == "duplicate":
        with pytest.raises(SendTagRefused) as caught:
            nic.rcv_tag_alloc(session, flow.address, 5)
    else:
        watch.expect(Diagnostic.COMMAND_FIELD)
        with pytest.raises(CommandError) as caught:
            create(nic, flow_block(session, flow.address, direction=1, key_length=31))
    assert in_dma_memory(session) == set()
    if why != "rekey":
        assert_hidden_in_text(session, f"{caught.value} {caught.value!r} {vars(caught.value)}")


def test_set_09_receive_keys_wiped(peer):
    """In the device process's memory; a rekey forgets the key before."""
    hows = ["destroy", "rekey", "function", "disconnect"]
    report = peer.check("received_secrets", seed=98, hows=hows, suites=["TLS13_AES_256_GCM"])
    assert report["hows"] == hows


@pytest.mark.side("host")
def test_set_09_receive_keys_wiped_in_every_way(peer):
    """The same for other ciphers, and the other resets."""
    names = [suite.name for suite in SUITES[:2]]
    hows = ["destroy", "soft", "vfio"]
    report = peer.check("received_secrets", seed=99, hows=hows, suites=names)
    assert (report["hows"], report["suites"]) == (hows, names)
