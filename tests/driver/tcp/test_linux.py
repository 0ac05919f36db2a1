"""The TCP against the Linux stack: device process, TAP, network namespace, sockets, bad wires."""

import hashlib
import socket
import threading

import pytest
from needs import needs_taps

from tlsnic.abi.enums import Offload
from tlsnic.driver.bus import open_bus
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.driver.tcp import Failure, State, TcpConfig, TcpError
from tlsnic.driver.tcp.host import Host
from tlsnic.qemu.netns import tap_namespace
from tlsnic.qemu.peer.data import blocks, receive_all, send_all
from tlsnic.qemu.peer.device import DeviceProcess

pytestmark = [pytest.mark.root, needs_taps, pytest.mark.usefixtures("libvfio_user")]
LINUX, LINUX6 = "192.0.2.1", "2001:db8::1"
OURS, OURS6 = "192.0.2.2", "2001:db8::2"
SIZE = 2_000_000
BAD = "loss=1%,reorder=1%,duplicate=1%,seed=3"
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def namespace():
    with tap_namespace(f"{LINUX}/24", f"{LINUX6}/64", vnet_hdr=True) as made:
        yield made


@pytest.fixture
def join(namespace, tmp_path):
    """`join(impairments)`: a host on a card whose wire is the namespace's TAP."""
    opened = []

    def make(impairments="", **options):
        wire = f"tap:tap0,netns={namespace.path}" + (
            f"+impair:{impairments}" if impairments else ""
        )
        device = DeviceProcess(tmp_path, wire, mac="02:00:00:00:00:99")
        opened.append(device.stop)
        bus = open_bus(f"vfio-user:{device.socket_path}")
        opened.append(bus.close)
        nic = Nic.attach(bus, NicOptions(rx_entries=1024, **options))
        opened.append(nic.close)
        return Host(nic, [OURS, OURS6])

    yield make
    for close in reversed(opened):
        close()


class Peer(threading.Thread):
    """A Linux socket that sends and takes a stream at the same time, and keeps its digests."""

    def __init__(self, connect, size=SIZE):
        super().__init__(daemon=True)
        self.connect, self.size = connect, size
        self.sent = self.got = None
        self.start()

    def run(self):
        with self.connect() as connection:
            connection.settimeout(TIMEOUT_S)
            other = threading.Thread(target=self.send, args=(connection,))
            other.start()
            self.got = receive_all(connection)
            other.join()

    def send(self, connection):
        self.sent = send_all(connection, self.size, 5)


def listener(namespace, address):
    made = namespace.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.settimeout(TIMEOUT_S)
    made.bind((address, 0))
    made.listen()
    return made


def exchange(host, connection, size=SIZE):
    """Send and take at once, end our stream; the digests of both, and bytes received."""
    out, into, count = hashlib.sha256(), hashlib.sha256(), 0
    left = blocks(size, 9)
    piece = b""

    def pump():
        nonlocal piece, count
        while True:
            if not piece:
                piece = memoryview(next(left, b""))
                if not piece:
                    connection.close(0)
                    break
                out.update(piece)
            taken = connection.write(piece)
            if not taken:
                break
            piece = piece[taken:]
        data = connection.read()
        into.update(data)
        count += len(data)
        return connection.at_end and not connection.unacknowledged

    def turn():
        if connection.state in (State.ESTABLISHED, State.CLOSE_WAIT):
            return pump()
        data = connection.read()
        into.update(data)
        nonlocal count
        count += len(data)
        return connection.at_end and not connection.unacknowledged

    assert host.run(turn, TIMEOUT_S), connection.statistics.as_dict()
    # The FIN handshake to its end, on both sides.
    ends = (State.TIME_WAIT, State.CLOSED)
    assert host.run(lambda: connection.state in ends, TIMEOUT_S)
    assert connection.error is None
    return out.hexdigest(), into.hexdigest(), count


@pytest.mark.parametrize("impairments", ["", BAD], ids=["clean", "bad"])
@pytest.mark.parametrize("address", [LINUX, LINUX6], ids=["ipv4", "ipv6"])
def test_connect_and_two_megabytes_both_ways(join, namespace, address, impairments):
    host = join(impairments)
    with listener(namespace, address) as listening:
        peer = Peer(lambda: listening.accept()[0])
        connection = host.connect(address, listening.getsockname()[1], timeout_s=TIMEOUT_S)
        sent, got, count = exchange(host, connection)
        peer.join(TIMEOUT_S)
    assert peer.got == (sent, SIZE)
    assert (peer.sent, SIZE) == (got, count)
    # Over a clean wire, too, a busy machine can be later than a retransmission timer.
    assert connection.statistics.retransmits > 0 or not impairments
    assert connection.config.timestamps
    assert connection.sender.sack


@pytest.mark.parametrize("interrupts", ["msix", "intx", "poll"])
def test_accept(join, namespace, interrupts):
    """Linux connects to us, and finds us by ARP; also with joined packets from the card."""
    host = join(interrupts=interrupts)
    host.nic.offloads = Offload.RX_CHECKSUM | Offload.RX_COALESCE
    host.nic.set_rx_coalesce(50)
    accepted = host.listen(4433)

    def connect():
        made = namespace.socket()
        made.settimeout(TIMEOUT_S)
        made.connect((OURS, 4433))
        return made

    peer = Peer(connect)
    assert host.run(lambda: accepted, TIMEOUT_S)
    connection = accepted.popleft()
    sent, got, count = exchange(host, connection)
    peer.join(TIMEOUT_S)
    assert peer.got == (sent, SIZE)
    assert (peer.sent, SIZE) == (got, count)


def test_a_reader_that_stops_closes_the_window_and_opens_it_again(join, namespace):
    host = join()
    with listener(namespace, LINUX) as listening:
        connection = host.connect(LINUX, listening.getsockname()[1])
        far, _ = listening.accept()
        with far:
            data = bytes(n % 251 for n in range(1_000_000)) * 8
            view = memoryview(data)

            def stuck():
                nonlocal view
                view = view[connection.write(view) :]
                return connection.statistics.window_probes >= 2

            assert host.run(stuck, TIMEOUT_S)
            assert connection.state is State.ESTABLISHED
            got = []

            def read():
                far.settimeout(TIMEOUT_S)
                got.append(receive_all(far))

            reader = threading.Thread(target=read)
            reader.start()

            def rest():
                nonlocal view
                view = view[connection.write(view) :]
                return not view

            assert host.run(rest, TIMEOUT_S)
            connection.close(0)
            assert host.run(lambda: not connection.unacknowledged, TIMEOUT_S)
            assert host.run(lambda: not reader.is_alive(), TIMEOUT_S)
    assert got == [(hashlib.sha256(data).hexdigest(), len(data))]


def test_a_closed_port_refuses_both_ways(join, namespace):
    host = join()
    with pytest.raises(TcpError, match="RST"):
        host.connect(LINUX, 9)
    results = []

    def knock():
        with namespace.socket() as made:
            made.settimeout(TIMEOUT_S)
            results.append(made.connect_ex((OURS, 9)))

    thread = threading.Thread(target=knock)
    thread.start()
    assert host.run(lambda: not thread.is_alive(), TIMEOUT_S)
    assert results == [111]  # ECONNREFUSED


def test_nobody_there(join):
    host = join()
    with pytest.raises(TcpError, match=r"192\.0\.2\.77"):
        host.connect("192.0.2.77", 1, timeout_s=0.3)
    with pytest.raises(TcpError, match="no address"):
        Host(host.nic, [OURS]).connect(LINUX6, 1)


def test_abort_is_seen_by_linux_and_a_reset_by_us(join, namespace):
    host = join()
    with listener(namespace, LINUX) as listening:
        first = host.connect(LINUX, listening.getsockname()[1])
        far, _ = listening.accept()
        first.abort(0)
        host.turn(0.01)
        far.settimeout(TIMEOUT_S)
        with far, pytest.raises(ConnectionResetError):
            far.recv(1)
        second = host.connect(LINUX, listening.getsockname()[1])
        far, _ = listening.accept()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        assert host.run(lambda: second.closed, TIMEOUT_S)
        assert second.error is Failure.RESET
        host.turn(0)
        assert not host.connections


def test_a_small_ring_delays_but_loses_nothing(join, namespace):
    """Packets that find no room wait for it."""
    host = join(tx_entries=8, tx_bounce_bytes=1 << 17)
    config = TcpConfig(max_send_bytes=3000, send_buffer=4 << 20, congestion_control=False)
    with listener(namespace, LINUX) as listening:
        peer = Peer(lambda: listening.accept()[0], size=1)
        connection = host.connect(LINUX, listening.getsockname()[1], config=config)
        sent, _, _ = exchange(host, connection)
        peer.join(TIMEOUT_S)
    assert peer.got == (sent, SIZE)
    assert host.port.delayed > 0
