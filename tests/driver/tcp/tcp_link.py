"""Two connections, and a link between them that loses, doubles, delays and reorders, by a seed."""

import heapq
import random

from tlsnic.driver.tcp import Connection, Endpoint, TcpConfig, to_frames

MS = 10**6
SECOND = 10**9


def endpoints(version=4, vlan=None):
    """The two ends of one connection."""
    mac = [b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"]
    if version == 4:
        ip = [b"\x0a\0\0\x01", b"\x0a\0\0\x02"]
    else:
        ip = [bytes.fromhex("fd00") + bytes(13) + bytes([n]) for n in (1, 2)]
    return (
        Endpoint(mac[0], mac[1], ip[0], ip[1], 40000, 443, vlan),
        Endpoint(mac[1], mac[0], ip[1], ip[0], 443, 40000, vlan),
    )


def pair(client=None, server=None, *, version=4, vlan=None):
    """A connection that will connect, and one that listens; fixed initial sequence numbers."""
    a, b = endpoints(version, vlan)
    client = client or TcpConfig()
    server = server or TcpConfig()
    if client.initial_sequence is None:
        client = client._replace(initial_sequence=1000)
    if server.initial_sequence is None:
        server = server._replace(initial_sequence=2000)
    return Connection(a, client), Connection(b, server)


class Link:
    """Virtual time: frames between `ends`, and the clock."""

    def __init__(
        self, a, b, *, seed=0, loss=0.0, duplicate=0.0, reorder=0.0, delay_ns=MS, garble=0.0
    ):
        self.ends = (a, b)
        self.now_ns = SECOND
        self.loss, self.duplicate, self.reorder, self.garble = loss, duplicate, reorder, garble
        self.delay_ns = delay_ns
        self.rule = None
        """rule(from_end, frame) -> False: lose it."""
        self.log = []
        """(time, from end, frame) of all that was sent, lost or not."""
        self.keep_log = False
        self._random = random.Random(seed)
        self._queue = []
        self._count = 0

    def _send(self, end, frame):
        chance = self._random.random
        if self.keep_log:
            self.log.append((self.now_ns, end, frame))
        if chance() < self.loss or (self.rule is not None and self.rule(end, frame) is False):
            return
        if chance() < self.garble:
            frame = bytearray(frame)
            frame[self._random.randrange(len(frame))] ^= 1 << self._random.randrange(8)
        for _ in range(2 if chance() < self.duplicate else 1):
            at = self.now_ns + self.delay_ns
            if chance() < self.reorder:
                at += int(self.delay_ns * (1 + 2 * chance()))
            self._count += 1
            heapq.heappush(self._queue, (at, self._count, 1 - end, bytes(frame)))

    def flush(self):
        """Let both ends send what they have."""
        for end, connection in enumerate(self.ends):
            while packets := connection.poll(self.now_ns):
                for packet in packets:
                    for frame in to_frames(packet):
                        self._send(end, frame)

    def step(self):
        """On to the next thing that happens: False when nothing ever will."""
        self.flush()
        times = [self._queue[0][0]] if self._queue else []
        times += [
            deadline
            for connection in self.ends
            if (deadline := connection.next_deadline_ns()) is not None
        ]
        if not times:
            return False
        self.now_ns = max(self.now_ns, min(times))
        while self._queue and self._queue[0][0] <= self.now_ns:
            _, _, end, frame = heapq.heappop(self._queue)
            self.ends[end].receive(frame, self.now_ns)
        self.flush()
        return True

    def run(self, until=None, *, steps=400_000):
        """Step until `until()`; without, until nothing happens."""
        for _ in range(steps):
            if until is not None and until():
                return
            if not self.step():
                assert until is None or until(), self.describe()
                return
        raise AssertionError(f"not done after {steps} steps: {self.describe()}")

    def describe(self):
        return [
            (end.state, end.error, end.unacknowledged, end.statistics.as_dict())
            for end in self.ends
        ]

    def open(self):
        """The handshake."""
        a, b = self.ends
        b.listen()
        a.connect(self.now_ns)
        self.run(lambda: a.established and b.established)


def transfer(link, sizes, *, seed=1, write_bytes=50_000):
    """Both ends send so many bytes and close; the streams must arrive as they were written."""
    rng = random.Random(seed)
    data = [rng.randbytes(size) for size in sizes]
    sent, got = [0, 0], [bytearray(), bytearray()]

    def pump():
        for n, end in enumerate(link.ends):
            while sent[n] < len(data[n]) and end.writable and end.state.name != "CLOSED":
                piece = data[n][sent[n] : sent[n] + rng.randrange(1, write_bytes)]
                sent[n] += end.write(piece)
            if sent[n] == len(data[n]) and end.established:
                end.close(link.now_ns)
            got[n] += end.read()
        return all(end.closed or end.state.name == "TIME_WAIT" for end in link.ends)

    link.run(pump)
    assert [end.error for end in link.ends] == [None, None]
    assert bytes(got[0]) == data[1]
    assert bytes(got[1]) == data[0]
    link.run()
    assert all(end.closed for end in link.ends)
