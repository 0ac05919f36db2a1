"""SET-03: with the flow table full a flow is refused, others are undisturbed, and a freed slot is
usable again.

On the host the whole table is filled. An emulated guest would need many minutes for that, and a
card with fewer contexts cannot be had there: it checks what the card says of its table, and fills
as much of it as time allows. That a full one refuses is then shown by the host alone.
"""

import random

import pytest
from harness.tls_rx_flow import DECRYPTED, NONE
from harness.tls_start import flow_block, make_session

from tlsnic.abi.enums import CipherSuite, CommandStatus, TlsDirection
from tlsnic.abi.structures import TlsFlow, TlsFlowCreateCommand, TlsFlowDestroyCommand
from tlsnic.driver.errors import SendTagRefused
from tlsnic.driver.tls.send_tag import OutcomeKind
from tlsnic.driver.tls.session import FlowAddress

pytestmark = [
    pytest.mark.row("SET-03"),
    pytest.mark.nic(admin_entries=1024, command_timeout_s=20.0),
    pytest.mark.deadline(60),
]
IN_ORDER, SOFTWARE = OutcomeKind.IN_ORDER, OutcomeKind.SOFTWARE
CONTEXTS = 262144
_PORTS = 60000


class Filler:
    """Flows by the thousand: TLS_FLOW_CREATE commands, as many on their way as the ring holds."""

    def __init__(self, nic, direction=TlsDirection.TRANSMIT):
        self._nic = nic
        self._depth = nic.admin.entries - 1
        self._memory = nic.bus.dma_alloc(TlsFlow.SIZE * self._depth, 64)
        session = make_session(CipherSuite.TLS12_AES_128_GCM, seed=3)
        self._sample = flow_block(session, address_of(0), direction=direction).pack()
        self._made = 0

    def fill(self, count):
        """Make `count` flows more; their handles."""
        handles = []
        while count:
            batch = min(count, self._depth)
            for slot in range(batch):
                self._write(slot, address_of(self._made))
                self._made += 1
            commands = [
                TlsFlowCreateCommand(
                    address=self._memory.iova + slot * TlsFlow.SIZE, length=TlsFlow.SIZE
                )
                for slot in range(batch)
            ]
            handles += [response.result0 for response in execute_all(self._nic, commands)]
            count -= batch
        return handles

    def _write(self, slot, address):
        view, start = self._memory.view, slot * TlsFlow.SIZE
        view[start : start + TlsFlow.SIZE] = self._sample
        at = start + TlsFlow.OFFSET_LOCAL_ADDRESS
        view[at : at + 4] = address.local_address
        at = start + TlsFlow.OFFSET_LOCAL_PORT
        view[at : at + 2] = address.local_port.to_bytes(2, "little")

    def close(self):
        self._memory.free()


def address_of(number):
    """Of a flow of the filler."""
    host, port = divmod(number, _PORTS)
    return FlowAddress(4, b"\xc6\x12\0" + bytes([host]), b"\xc6\x12\1\1", 1024 + port, 443)


def execute_all(nic, commands):
    """Responses of as many commands as the ring holds, all behind one doorbell."""
    admin = nic.admin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admin, "_ring_doorbell", lambda *_: None)
        pending = [admin.submit(command) for command in commands]
    admin._ring_doorbell(admin.tail_doorbell, admin._posted & admin._mask)
    return [admin.result(one) for one in pending]


def carry(flow, kind):
    """The connection works, and it is known who encrypts."""
    flow.write(2000)
    assert {outcome.kind for outcome in flow.send_rest()} == {kind}
    flow.check()


def bring(flow, how=DECRYPTED):
    """The same for a connection that receives, and who decrypts."""
    flow.write(2000)
    flow.send_rest()
    assert set(flow.states()) == {how}
    flow.check()


def destroy(nic, handles):
    """TLS_FLOW_DESTROY for each."""
    execute_all(nic, [TlsFlowDestroyCommand(handle=handle) for handle in handles])


def empty(nic, watch):
    """Be rid of all flows at once."""
    watch.checkpoint()
    nic.reset()
    watch.start_again()


def test_set_03_slots_are_used_again(nic, watch, flows, defer, scale):
    """Most of the table stays empty: see above."""
    assert nic.capabilities.tls_flows == CONTEXTS
    first = flows.open()
    filler = Filler(nic)
    defer(filler.close)
    count = scale(4000, 400)
    handles = filler.fill(count)
    assert len({0, first.tag.handle, *handles}) == count + 2
    carry(first, IN_ORDER)
    freed = random.Random(3).sample(handles, count // 4)
    destroy(nic, freed)
    again = filler.fill(len(freed))
    assert not set(again) & set(handles), "a handle was given out twice"
    carry(first, IN_ORDER)
    counters = nic.counters()
    live = counters["TX_TLS_CTX"] - counters["TX_TLS_DEL"]
    assert live == 1 + count
    empty(nic, watch)


def test_set_03_both_directions_share_the_slots(nic, watch, flows, rx_flows, defer, scale):
    """A slot that one direction leaves is one that the other can have."""
    first, into = flows.open(), rx_flows.open()
    fillers = [Filler(nic, direction) for direction in TlsDirection]
    for filler in fillers:
        defer(filler.close)
    count = scale(1000, 100)
    handles = [filler.fill(count) for filler in fillers]
    both = {0, first.tag.handle, into.tag.handle, *handles[0], *handles[1]}
    assert len(both) == 2 * count + 3
    destroy(nic, handles[0])
    bring(into)
    again = fillers[1].fill(count)
    assert not both & set(again), "a handle was given out twice"
    destroy(nic, handles[1])
    carry(first, IN_ORDER)
    bring(into)
    counters = nic.counters()
    ways = [(counters[f"{way}_TLS_CTX"], counters[f"{way}_TLS_DEL"]) for way in ("TX", "RX")]
    assert ways == [(1 + count, count), (1 + 2 * count, count)]
    into.free()
    empty(nic, watch)


@pytest.mark.side("host")
@pytest.mark.deadline(120)
def test_set_03_full_table(nic, watch, flows, rx_flows, defer):
    first, late = flows.open(), flows.open(software=True)
    into = rx_flows.open()
    filler = Filler(nic)
    defer(filler.close)
    handles = filler.fill(CONTEXTS - 2)
    assert len({0, first.tag.handle, into.tag.handle, *handles}) == CONTEXTS + 1
    carry(first, IN_ORDER)
    for _ in range(3):
        with pytest.raises(SendTagRefused) as caught:
            late.offload()
        assert caught.value.status == CommandStatus.TABLE_FULL
    with pytest.raises(SendTagRefused) as caught:
        rx_flows.open(openssl=False)
    assert caught.value.status == CommandStatus.TABLE_FULL
    bring(rx_flows.open(openssl=False, resync=None), NONE)
    bring(into)
    carry(late, SOFTWARE)
    carry(first, IN_ORDER)
    counters = nic.counters()
    assert (counters["TX_TLS_CTX"], counters["RX_TLS_CTX"]) == (CONTEXTS - 1, 1)
    for handle in random.Random(3).sample(handles, 5):
        destroy(nic, [handle])
        tag = late.offload()
        assert tag.handle not in handles, "a handle was given out twice"
        carry(late, IN_ORDER)
        with pytest.raises(SendTagRefused):
            flows.open(openssl=False)
        late.free()
        found = rx_flows.open(openssl=False)
        assert found.tag.handle not in handles
        bring(found)
        found.free()
        assert len(filler.fill(1)) == 1
    carry(first, IN_ORDER)
    bring(into)
    into.free()
    empty(nic, watch)
