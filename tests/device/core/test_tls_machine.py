"""Any sequence of what drivers do with TLS flows: what leaves is the wire stream, or nothing leaves."""

from itertools import count

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stream_bench import CASES, Beside, Chain, Stream, leaks
from tls_rig import TlsRig, make_frame

from tlsnic.abi import registers as r
from tlsnic.abi.enums import CommandStatus, Diagnostic, Offload, TxStatus
from tlsnic.abi.structures import TlsPresync

OFFERED = [case for case in CASES if not case.encrypt_then_mac or case.layout.version == 0x0303]
PORTS = (1, 2, 3)
TLS_10 = 0x0301
BEFORE_START = Beside(TlsPresync(flags=4).pack(), b"", b"")
UNMAPPED = (0xDEAD_0000).to_bytes(8, "little")
LONGEST_FRAME_PAYLOAD = 1400
FIRST_RECORDS = (100, 2500, 0, 600)
COUNTED = (
    "encrypted_packets", "encrypted_bytes", "ooo", "presync", "drop_no_sync_data",
    "drop_bad_handle", "skip_no_sync_data", "drop_bypass_req", "ctx", "del",
)  # fmt: skip

WHO = st.integers(0, 2)
"""Which of the flows that there are."""
RARELY = st.sampled_from([False] * 7 + [True])
PLACE = st.floats(0, 1, exclude_max=True)
SIZE = st.one_of(st.integers(1, 40), st.integers(1, 1400), st.integers(1400, 6000))
MSS = st.sampled_from([0, 0, 100, 536, 1448])


class Sender:
    """What the driver knows of one flow, and what must be true of it."""

    def __init__(self, rig, port, case, seed, sequence):
        self.port = port
        self.stream = Stream(case, seed=seed, sequence=sequence)
        self.handle = rig.create(self.stream, local_port=port)
        for size in FIRST_RECORDS:
            self.stream.add(size)
        self.chain = Chain(self.stream)
        self.position = 0
        """Where the next packet in order begins."""
        self.keys = (0,)
        """Where in the stream the keys begin that the card still has."""
        self.packets = self.payload_bytes = self.out_of_order = self.presynced = self.refused = 0

    def part(self, begin, size, mss):
        """End of a packet of about that size, of records that there are."""
        size = min(size, 60 * mss) if mss else min(size, LONGEST_FRAME_PAYLOAD)
        return min(begin + size, len(self.stream))

    def somewhere(self, place):
        return int(place * len(self.stream))

    def can_presync(self, begin):
        """Whether the card has the key, and for TLS 1.0 the IV, of the record at `begin`."""
        start = self.stream.records[self.stream.index_at(begin)].start
        return start >= self.keys[0] and self.chain.can_start(begin)


class Flows(RuleBasedStateMachine):
    """Several flows of different suites on one queue."""

    @initialize(super_frames=st.booleans(), cases=st.lists(st.sampled_from(OFFERED), max_size=3))
    def power_on(self, super_frames, cases):
        self.rig = TlsRig(super_frames=super_frames)
        self.seeds = count(1)
        self.enabled = True
        self.senders = {}
        self.stale = []
        """Handles that are no more, each with a port and a sequence number."""
        self.secrets = []
        """The bytearrays that held keys of flows that are no more."""
        self.counted = dict.fromkeys(COUNTED, 0)
        for port, case in zip(PORTS, cases, strict=False):
            self.create(port, case, 1000)

    # What is expected

    def accept(self, sender, begin, end, *, presync):
        """A packet that leaves encrypted."""
        size = end - begin
        if begin != sender.position:
            self.out_of_order(sender)
        sender.packets += 1
        sender.payload_bytes += size
        sender.presynced += presync
        self.counted["encrypted_packets"] += 1
        self.counted["encrypted_bytes"] += size
        self.counted["presync"] += presync
        sender.chain.took(end)

    def out_of_order(self, sender):
        sender.out_of_order += 1
        self.counted["ooo"] += 1

    def refuse(self, sender, reason):
        sender.refused += 1
        self.counted[reason] += 1

    def check_done(self, status=TxStatus.OK, detail=0, packets=1):
        self.rig.run()
        done = [(entry.status, entry.detail) for entry in self.rig.queue.reap()]
        assert done == [(status, detail)] * packets

    def check_dropped(self, diagnostic):
        self.check_done(TxStatus.TLS_DROPPED, diagnostic)
        assert not self.rig.wire.sent

    def check_sent(self, sender, begin, end, mss=0):
        """The segments of that part of the wire stream, each at its place."""
        assert not any(map(leaks, self.rig.sent))
        at = begin
        for port, sequence, payload in self.rig.arrivals():
            assert (port, sequence) == (sender.port, sender.stream.sequence_at(at))
            assert len(payload) <= (mss or LONGEST_FRAME_PAYLOAD)
            assert payload == sender.stream.wire[at : at + len(payload)]
            at += len(payload)
        assert at == end

    def post(self, sender, begin, end, **options):
        options = {"local_port": sender.port, **options}
        self.rig.post_part(sender.handle, sender.stream, begin, end, **options)

    def sender(self, who):
        senders = list(self.senders.values())
        return senders[who % len(senders)]

    def with_data(self, sender, size=100):
        """The flow, with something that is next in order."""
        if sender.position == len(sender.stream):
            sender.stream.add(size)
        return sender

    def bury(self, sender):
        for epoch in self.rig.flow(sender.handle).epochs:
            keys = epoch.cipher._keys
            self.secrets += [keys.key, keys.iv, keys.mac_key]
        self.stale.append((sender.port, sender.handle))
        del self.senders[sender.port]

    # Flows

    @rule(
        port=st.sampled_from(PORTS),
        case=st.sampled_from(OFFERED),
        sequence=st.sampled_from([1000, 2**32 - 700]),
    )
    def create(self, port, case, sequence):
        if port in self.senders:
            stream = Stream(case, sequence=sequence)
            status = CommandStatus.DUPLICATE if self.enabled else CommandStatus.DISABLED
        elif self.enabled:
            self.senders[port] = Sender(self.rig, port, case, next(self.seeds), sequence)
            self.counted["ctx"] += 1
            return
        else:
            stream = Stream(case, sequence=sequence)
            status = CommandStatus.DISABLED
        block = self.rig.flow_block(stream, local_port=port)
        assert self.rig.try_create(block).status == status

    @precondition(lambda self: self.senders)
    @rule(who=WHO, size=st.integers(0, 4000), kind=st.sampled_from([21, 22, 23]),
          blocks=st.sampled_from([0, 1, 15]))  # fmt: skip
    def add_record(self, who, size, kind, blocks):
        self.sender(who).stream.add(size, kind=kind, extra_blocks=blocks)

    @precondition(lambda self: self.senders)
    @rule(who=WHO)
    def rekey(self, who):
        sender = self.sender(who)
        if sender.stream.case.layout.version == TLS_10:
            return
        stream, begin = sender.stream, len(sender.stream)
        if sender.position < sender.keys[-1]:
            fresh = Stream(stream.case, seed=next(self.seeds), sequence=stream.sequence_at(begin))
            assert self.rig.rekey(sender.handle, fresh).status == CommandStatus.BUSY
            return
        stream.rekey(next(self.seeds))
        assert self.rig.rekey(sender.handle, stream).status == CommandStatus.OK
        sender.keys = (sender.keys[-1], begin)

    @precondition(lambda self: self.senders)
    @rule(who=WHO)
    def destroy(self, who):
        sender = self.sender(who)
        self.bury(sender)
        assert self.rig.destroy(sender.handle).status == CommandStatus.OK
        self.counted["del"] += 1

    @precondition(lambda self: self.senders)
    @rule(who=WHO)
    def query(self, who):
        sender = self.sender(who)
        status, state = self.rig.query(sender.handle)
        assert status == CommandStatus.OK
        assert state.tcp_sequence == sender.stream.sequence_at(sender.position)
        assert (state.packets, state.payload_bytes) == (sender.packets, sender.payload_bytes)
        assert (state.out_of_order, state.presynced) == (sender.out_of_order, sender.presynced)
        assert state.not_offloaded == sender.refused

    @rule(on=st.sampled_from([True, True, False]))
    def switch(self, on):
        self.rig.write(r.OFFLOAD_ENABLE, Offload.TX_TLS if on else 0)
        self.enabled = on

    @rule(really=RARELY)
    def soft_reset(self, really):
        if not really:
            return
        for sender in list(self.senders.values()):
            self.bury(sender)
        self.rig.write(r.CONTROL, r.CONTROL_RESET_MASK)
        self.counted = dict.fromkeys(COUNTED, 0)
        self.enabled = True
        self.rig.up()

    # Packets

    @precondition(lambda self: self.senders)
    @rule(who=WHO, size=SIZE, mss=MSS, pieces=st.integers(1, 3), packets=st.integers(1, 5))
    def send_next(self, who, size, mss, pieces, packets):
        sender = self.sender(who)
        for _ in range(packets):
            self.with_data(sender, size)
            begin = sender.position
            end = sender.part(begin, size, mss)
            self.post(sender, begin, end, mss=mss, pieces=pieces)
            self.accept(sender, begin, end, presync=False)
            sender.position = end
            self.check_done()
            self.check_sent(sender, begin, end, mss)

    @rule(size=SIZE)
    def send_together(self, size):
        """The next packets of all flows, with one look at the ring."""
        posted = {}
        for port, sender in self.senders.items():
            self.with_data(sender)
            begin, end = sender.position, sender.part(sender.position, size, 0)
            self.post(sender, begin, end)
            self.accept(sender, begin, end, presync=False)
            sender.position = end
            posted[port] = sender.stream.sequence_at(begin), sender.stream.wire[begin:end]
        self.check_done(packets=len(posted))
        assert not any(map(leaks, self.rig.sent))
        assert {port: (at, data) for port, at, data in self.rig.arrivals()} == posted

    @precondition(lambda self: self.senders)
    @rule(who=WHO, places=st.lists(PLACE, min_size=1, max_size=4), size=SIZE, mss=MSS,
          moves=st.booleans())  # fmt: skip
    def send_presynced(self, who, places, size, mss, moves):
        """Retransmits, or resyncs forward or back."""
        sender = self.with_data(self.sender(who))
        for place in places:
            self.send_with_presync(sender, sender.somewhere(place), size, mss, moves)

    def send_with_presync(self, sender, begin, size, mss, moves):
        end = sender.part(begin, size, mss)
        possible = sender.can_presync(begin)
        self.post(sender, begin, end, mss=mss, presync=True, update=moves)
        if not possible:
            if begin != sender.position:
                self.out_of_order(sender)
            self.refuse(sender, "drop_no_sync_data")
            self.check_dropped(Diagnostic.TLS_PRESYNC)
            return
        self.accept(sender, begin, end, presync=True)
        self.check_done()
        self.check_sent(sender, begin, end, mss)
        if moves:
            sender.position = end

    @precondition(lambda self: self.senders)
    @rule(who=WHO, place=PLACE, size=SIZE, mss=MSS)
    def send_with_a_gap(self, who, place, size, mss):
        sender = self.with_data(self.sender(who))
        begin = sender.somewhere(place)
        if begin == sender.position:
            return
        self.post(sender, begin, sender.part(begin, size, mss), mss=mss)
        self.out_of_order(sender)
        self.refuse(sender, "drop_no_sync_data")
        self.check_dropped(Diagnostic.TLS_SEQUENCE)

    @precondition(lambda self: self.senders)
    @rule(who=WHO, back=st.integers(1, 1400), size=st.integers(1, 1400))
    def send_from_before_the_start(self, who, back, size):
        sender = self.sender(who)
        sequence = sender.stream.sequence - back & 0xFFFF_FFFF
        frame = make_frame(sequence, b"-" * size, local_port=sender.port)
        self.rig.post_packet(sender.handle, frame, beside=BEFORE_START)
        self.out_of_order(sender)
        if size > back:
            self.refuse(sender, "drop_bypass_req")
            self.check_dropped(Diagnostic.TLS_PRESYNC)
            return
        self.counted["skip_no_sync_data"] += 1
        self.check_done()
        assert self.rig.arrivals() == [(sender.port, sequence, b"-" * size)]

    @precondition(lambda self: self.senders)
    @rule(who=WHO, size=SIZE, mss=MSS, pieces=st.integers(1, 3), which=st.integers(0, 3))
    def send_from_memory_that_is_gone(self, who, size, mss, pieces, which):
        sender = self.with_data(self.sender(who))
        queue, first = self.rig.queue, self.rig.queue.tail
        end = sender.part(sender.position, size, mss)
        self.post(sender, sender.position, end, mss=mss, pieces=pieces)
        descriptors = (queue.tail - first) % queue.entries
        place = (first + which % descriptors) % queue.entries
        self.rig.host.write(queue.ring + 32 * place, UNMAPPED)
        self.check_dropped(Diagnostic.DMA_FAULT)

    @precondition(lambda self: self.stale)
    @rule(number=st.integers(0, 7), presync=st.booleans())
    def send_with_a_stale_handle(self, number, presync):
        port, handle = self.stale[number % len(self.stale)]
        stream = Stream(OFFERED[0])
        stream.add(200)
        self.rig.post_part(handle, stream, 0, 200, local_port=port, presync=presync)
        self.counted["drop_bad_handle"] += 1
        self.check_dropped(Diagnostic.TLS_DESTROYED)

    @precondition(lambda self: self.senders)
    @rule(who=WHO, other=st.sampled_from(PORTS))
    def send_for_another_connection(self, who, other):
        sender = self.with_data(self.sender(who))
        if sender.port == other:
            return
        begin, end = sender.position, sender.part(sender.position, 500, 0)
        self.post(sender, begin, end, local_port=other)
        self.counted["drop_bad_handle"] += 1
        self.check_dropped(Diagnostic.TLS_TUPLE)

    # What holds

    @precondition(lambda self: hasattr(self, "rig"))
    @invariant()
    def counters_add_up(self):
        counters = self.rig.nic.counters
        counted = {name: getattr(counters, f"tx_tls_{name}") for name in COUNTED}
        assert counted == self.counted
        assert counters.tx_packets == counters.tx_sent_packets + counters.tx_drop_tls
        assert len(self.rig.nic.flows) == len(self.senders) == counted["ctx"] - counted["del"]

    @precondition(lambda self: hasattr(self, "rig"))
    @invariant()
    def keys_of_dead_flows_are_gone(self):
        assert not any(map(any, self.secrets))

    def teardown(self):
        """Whatever has been, the rest of every stream can be sent."""
        for who, sender in enumerate(getattr(self, "senders", {}).values()):
            while sender.position < len(sender.stream):
                self.send_next(who, 60_000, 1448, 1, 1)
            self.query(who)


TestFlows = Flows.TestCase
TestFlows.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # to shrink takes minutes
)
