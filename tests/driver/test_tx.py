"""Transmit queues: nothing is lost, overwritten or given back too early."""

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tlsnic.abi.enums import TxFlags, TxStatus
from tlsnic.abi.structures import TxDescriptor
from tlsnic.driver.errors import DeadlineError, ProtocolError, QueueError, RingFullError
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.driver.tx import DmaRange, TxQueue


def frames(device):
    return [frame for _, frame, _ in device.sent]


def tail_doorbells(device, offset=0):
    return [value for bell, value in device.doorbells if bell == offset]


def test_a_sent_frame_reaches_the_wire_with_what_was_asked_for(device, attach):
    queue = attach(tx_queues=2).tx[1]
    ticket = queue.send(b"a" * 60, checksum=True, vlan=0x2005)
    queue.wait_done(ticket, 1)
    number, frame, first = device.sent[0]
    assert (number, frame) == (1, b"a" * 60)
    assert first.flags == (
        TxFlags.END_OF_PACKET
        | TxFlags.REPORT
        | TxFlags.IP_CHECKSUM
        | TxFlags.L4_CHECKSUM
        | TxFlags.VLAN_INSERT
    )
    assert first.vlan_tci == 0x2005
    assert first.mss == first.header_length == 0


def test_segmentation_finds_the_header_length_itself(device, attach):
    queue = attach().tx[0]
    tcp = bytes(12) + b"\x80\x10" + bytes(18)  # data offset 8: 32 bytes
    ip = b"\x45\x00" + bytes(7) + b"\x06" + bytes(10)
    queue.send(bytes(12) + b"\x08\x00" + ip + tcp + b"x" * 5000, mss=1000)
    _, _, first = device.sent[0]
    assert first.header_length == 14 + 20 + 32
    assert first.mss == 1000
    assert first.flags & TxFlags.SEGMENT


def test_segmentation_of_what_is_not_tcp_is_refused_before_anything_is_posted(device, attach):
    queue = attach().tx[0]
    with pytest.raises(ValueError, match="TCP"):
        queue.send(bytes(60), mss=1000)
    assert queue.posted == 0
    assert not tail_doorbells(device)


def test_a_batch_rings_one_doorbell_and_reports_every_kth_and_the_last(device, attach):
    queue = attach(tx_report_every=4, tx_entries=64).tx[0]
    device.doorbells.clear()
    with queue.batch():
        for n in range(10):
            queue.send(bytes([n]) * 60)
    assert tail_doorbells(device) == [10]
    reported = [n for n, (_, _, d) in enumerate(device.sent) if d.flags & TxFlags.REPORT]
    assert reported == [4, 8, 9]
    assert queue.reap() == 10
    assert queue.pending == 0


def test_report_false_leaves_the_packet_to_a_later_report(device, attach):
    queue = attach(tx_report_every=2).tx[0]
    first = queue.send(b"a" * 60, report=False)
    with pytest.raises(DeadlineError):
        queue.wait_done(first, 0.02)
    queue.send(b"b" * 60, report=True)
    queue.wait_done(first, 1)
    assert [bool(d.flags & TxFlags.REPORT) for _, _, d in device.sent] == [False, True]


def test_a_full_ring_says_so_and_posts_nothing(device, attach):
    queue = attach(tx_entries=8).tx[0]
    device.paused = True
    for n in range(7):
        queue.send(bytes([n]) * 60)
    for _ in range(2):
        with pytest.raises(RingFullError):
            queue.send(b"x" * 60)
    assert isinstance(RingFullError(), BlockingIOError)
    assert queue.free == 0
    assert queue.posted == 7
    device.paused = False
    device.run()
    queue.send(b"y" * 60)
    assert frames(device) == [bytes([n]) * 60 for n in range(7)] + [b"y" * 60]


def test_full_copy_memory_says_so_and_comes_back(device, attach):
    queue = attach(tx_bounce_bytes=4096).tx[0]
    device.paused = True
    queue.send(b"a" * 2000)
    queue.send(b"b" * 2000)
    with pytest.raises(RingFullError, match="copy buffer"):
        queue.send(b"c" * 100)
    with pytest.raises(ValueError, match="4096"):
        queue.send(bytes(4097))
    device.paused = False
    device.run()
    queue.send(b"d" * 4096)
    assert frames(device) == [b"a" * 2000, b"b" * 2000, b"d" * 4096]


def test_reserved_memory_is_sent_in_place(device, attach):
    queue = attach().tx[0]
    room = queue.reserve(1000)
    room[:5] = b"hello"
    queue.wait_done(queue.commit(5), 1)
    assert frames(device) == [b"hello"]
    with pytest.raises(ValueError, match="reserve"):
        queue.commit(5)


def test_raw_descriptors_go_out_untouched(device, attach):
    nic = attach()
    queue = nic.tx[0]
    with nic.bus.dma_alloc(4096) as memory:
        memory.view[:6] = b"abcdef"
        parts = [
            TxDescriptor(address=memory.iova, length=2),
            TxDescriptor(address=memory.iova + 2, length=3),
            TxDescriptor(memory.iova + 5, 1, TxFlags.END_OF_PACKET).pack(),
        ]
        ticket = queue.send_descriptors(parts)
        assert frames(device) == [b"abcdef"]
        assert queue.reap() == 0, "no REPORT was added"
        queue.send(b"x" * 60)
        queue.wait_done(ticket, 1)


def test_a_chain_copies_some_parts_and_uses_others_in_place(device, attach):
    nic = attach()
    queue = nic.tx[0]
    with nic.bus.dma_alloc(4096) as memory:
        memory.view[:5] = b"place"
        ticket = queue.send_chain(
            [
                (b"block", TxFlags.PRESYNC),
                (b"pre", TxFlags.PREFIX),
                (memoryview(b"fix"), TxFlags.PREFIX),
                (b"head", 0),
                (b"", 0),
                (bytearray(b"er"), 0),
                (DmaRange(memory.iova, 5), 0),
                (DmaRange(memory.iova, 0), 0),
                (b"rest", TxFlags.SUFFIX),
            ],
            flags=TxFlags.TLS | TxFlags.L4_CHECKSUM,
            vlan_tci=1,
            send_tag=2,
            mss=3,
            header_length=4,
        )
        queue.wait_done(ticket, 1)
    (chain,) = device.chains
    assert [data for _, data in chain] == [b"block", b"prefix", b"header", b"place", b"rest"]
    first = TxFlags.TLS | TxFlags.L4_CHECKSUM | TxFlags.REPORT
    assert [descriptor[2:] for descriptor, _ in chain] == [
        (TxFlags.PRESYNC, 0, 0, 0, 0),
        (TxFlags.PREFIX, 0, 0, 0, 0),
        (first, 1, 2, 3, 4),
        (0, 0, 0, 0, 0),
        (TxFlags.SUFFIX | TxFlags.END_OF_PACKET, 0, 0, 0, 0),
    ]
    assert chain[3][0].address == memory.iova


def test_a_chain_in_a_batch_reports_on_its_first_data_descriptor(device, attach):
    queue = attach(tx_report_every=4).tx[0]
    with queue.batch():
        for _ in range(5):
            queue.send_chain([(b"p", TxFlags.PRESYNC), (b"d", 0), (b"s", TxFlags.SUFFIX)])
        queue.send_chain([(b"p", TxFlags.PRESYNC), (b"d", 0)], report=False)
    reports = [
        [bool(descriptor.flags & TxFlags.REPORT) for descriptor, _ in chain]
        for chain in device.chains
    ]
    silent, loud = [False, False, False], [False, True, False]
    assert reports == [silent, loud, silent, loud, loud, [False, False]]
    assert queue.reap() == 15
    queue.send_chain([(b"d", 0)], report=True)
    assert queue.reap() == 3


def test_a_chain_without_room_posts_nothing(device, attach):
    queue = attach(tx_entries=8, tx_bounce_bytes=4096).tx[0]
    device.paused = True
    for _ in range(5):
        queue.send(b"a" * 60)
    pieces = [(b"p", TxFlags.PRESYNC), (b"d", 0), (b"s", TxFlags.SUFFIX)]
    with pytest.raises(RingFullError):
        queue.send_chain(pieces)
    with pytest.raises(RingFullError, match="copy buffer"):
        queue.send_chain([(bytes(3000), 0), (bytes(1000), TxFlags.SUFFIX)])
    for wrong in ([], [(b"p", TxFlags.PRESYNC)], pieces * 3):
        with pytest.raises(ValueError, match=r"descriptors|without frame data"):
            queue.send_chain(wrong)
    assert queue.posted == 5
    device.paused = False
    device.run()
    queue.send_chain(pieces)
    queue.drain(1)
    assert frames(device) == [b"a" * 60] * 5 + [b"d"]


def test_drops_are_told_to_who_wants_to_know(device, attach):
    queue = attach().tx[0]
    told = []
    queue.on_drop = told.append
    device.drop[b"b" * 60] = TxStatus.BAD_PACKET
    queue.send(b"b" * 60)
    queue.drain(1)
    assert told == list(queue.drops)


def test_a_dropped_packet_is_recorded_and_the_queue_goes_on(device, attach):
    queue = attach().tx[0]
    device.drop[b"b" * 60] = TxStatus.BAD_PACKET
    for letter in (b"a", b"b", b"c"):
        queue.send(letter * 60)
    queue.drain(1)
    assert queue.drop_count == 1
    assert (queue.drops[0].status, queue.drops[0].detail, queue.drops[0].head) == (1, 12, 2)


def test_a_queue_in_error_ends_the_wait_and_restarts(device, attach):
    queue = attach().tx[0]
    device.drop[b"b" * 60] = TxStatus.DMA_FAULT
    queue.send(b"b" * 60)
    queue.drain(1)
    device.queues["tx", 0].head = device.queues["tx", 0].tail
    with pytest.raises(QueueError, match="DMA_FAULT") as caught:
        queue.check()
    assert caught.value.code == 12
    queue.restart()
    queue.wait_done(queue.send(b"c" * 60), 1)
    assert frames(device) == [b"c" * 60]


def test_a_wait_for_a_queue_that_failed_raises_its_error(device, attach):
    queue = attach().tx[0]
    device.paused = True
    ticket = queue.send(b"b" * 60)
    device.queues["tx", 0].fail(13, 0x1234)
    with pytest.raises(QueueError, match="DMA_PERMISSION, 0x1234"):
        queue.wait_done(ticket, 10)


@pytest.mark.parametrize("head", [3, 5000])
def test_a_completion_for_what_was_not_posted_is_refused(device, attach, head):
    queue = attach().tx[0]
    device.paused = True
    queue.send(b"b" * 60)
    entry = bytearray(16)
    entry[8:12] = head.to_bytes(4, "little")
    device.queues["tx", 0].complete(bytes(entry))
    with pytest.raises(ProtocolError):
        queue.reap()


def test_wait_free_waits_for_room(device, attach):
    queue = attach(tx_entries=8).tx[0]
    device.paused = True
    for n in range(7):
        queue.send(bytes([n]) * 60)
    with pytest.raises(DeadlineError):
        queue.wait_free(1, 0.01)
    device.paused = False
    device.run()
    queue.wait_free(7, 1)
    assert queue.free == 7
    with pytest.raises(ValueError, match="8 descriptors"):
        queue.wait_free(8, 1)


def test_completions_as_few_as_descriptors_never_run_full(device, attach):
    nic = attach(start=False)
    queue = TxQueue(
        nic.access,
        nic.waiter,
        number=3,
        vector=0,
        entries=8,
        completion_entries=8,
        bounce_bytes=4096,
        report_every=1,
    )
    try:
        queue.enable()
        for _ in range(20):  # the model refuses to write into a full ring
            with queue.batch():
                for _ in range(7):
                    queue.send(b"x" * 60, report=True)
            assert queue.reap() == 7
    finally:
        queue.disable()
        queue.close()


class TxMachine(RuleBasedStateMachine):
    """Any interleaving of posting, batching, device work and reaping, against a list of frames."""

    ENTRIES = 8

    def __init__(self):
        super().__init__()
        import fake_device  # noqa: PLC0415 - made importable by the conftest

        self.device = fake_device.FakeDevice(memory=bytearray(1 << 20))
        self.device.paused = True
        self.bus = self.device.bus()
        options = NicOptions(
            tx_entries=self.ENTRIES, rx_queues=0, tx_bounce_bytes=1024, tx_report_every=3
        )
        self.nic = Nic.attach(self.bus, options)
        self.queue = self.nic.tx[0]
        self.expected = []
        self.unrung = deque()
        self.counter = 0

    @rule(size=st.integers(1, 700), batched=st.booleans())
    def send(self, size, batched):
        self.counter += 1
        frame = (self.counter.to_bytes(4, "big") * 200)[:size]
        self.queue.batch_depth = int(batched)
        try:
            self.queue.send(frame)
        except RingFullError:
            assert self.queue.free == 0 or size > 1024 - 700 - 64 or self.queue.pending
        else:
            self.expected.append(frame)
        finally:
            self.queue.batch_depth = 0

    @rule(sizes=st.lists(st.integers(0, 200), min_size=1, max_size=4), batched=st.booleans())
    def send_chain(self, sizes, batched):
        self.counter += 1
        data = [(bytes([self.counter & 0xFF]) * size, 0) for size in (1, *sizes)]
        self.queue.batch_depth = int(batched)
        before = self.queue.posted
        try:
            self.queue.send_chain([(b"p" * 48, TxFlags.PRESYNC), *data, (b"s", TxFlags.SUFFIX)])
        except RingFullError:
            assert self.queue.posted == before
        else:
            self.expected.append(b"".join(piece for piece, _ in data))
        finally:
            self.queue.batch_depth = 0

    @rule()
    def flush(self):
        self.queue.flush()

    @rule()
    def work(self):
        self.device.paused = False
        self.device.run()
        self.device.paused = True

    @rule()
    def reap(self):
        self.queue.reap()

    @precondition(lambda self: self.queue.pending == 0)
    @rule()
    def everything_pending_zero_means_everything_sent(self):
        assert frames(self.device) == self.expected

    @invariant()
    def ring_accounting_holds(self):
        queue = self.queue
        assert 0 <= queue.pending < self.ENTRIES
        assert queue.free == self.ENTRIES - 1 - queue.pending
        assert frames(self.device) == self.expected[: len(self.device.sent)]

    def teardown(self):
        self.device.paused = False
        self.queue.drain(1)
        assert frames(self.device) == self.expected
        assert self.queue.pending == 0
        self.nic.close()
        self.bus.close()


TxMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, derandomize=True
)
TestTxMachine = TxMachine.TestCase
