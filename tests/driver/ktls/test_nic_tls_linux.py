"""KTLS over two real cards against OpenSSL on the Linux stack: TAPs on a bridge, a lagg that fails
over, routes that move, live connections that are switched. Not one byte is ever on a wire in clear.
"""

import contextlib
import hashlib
import ssl
import threading

import pytest
from needs import needs_taps

from tlsnic.driver.bus import open_bus
from tlsnic.driver.ktls.control import ControlServer
from tlsnic.driver.ktls.ifnet import NicIfnet
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.lagg import Lagg
from tlsnic.driver.ktls.pages import Memory
from tlsnic.driver.ktls.session import (
    IPPROTO_TCP,
    TCP_RXTLS_ENABLE,
    TCP_RXTLS_MODE,
    TCP_TLS_MODE_IFNET,
    TCP_TLS_MODE_SW,
    TCP_TXTLS_ENABLE,
    TCP_TXTLS_MODE,
    TlsEnable,
)
from tlsnic.driver.ktls.socket import SS_NBIO
from tlsnic.driver.ktls.stack import TcpStack
from tlsnic.driver.ktls.switch_tls import main as switch_tls
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.driver.tcp import TcpConfig
from tlsnic.driver.tls.handshake import Handshake, make_context
from tlsnic.driver.tls.send_tag import OutcomeKind
from tlsnic.qemu.netns import Netns
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.peer.openssl import NAME, SUITES, make_files

pytestmark = [pytest.mark.root, needs_taps, pytest.mark.usefixtures("libvfio_user")]
FAR, NEAR, SECOND = "192.0.2.1", "192.0.2.2", "192.0.2.3"
MARKER = b"never in clear "
SIZE = 3_000_000
DATA = b"".join(MARKER + b"%017d" % n for n in range(SIZE // 32))
TIMEOUT_S = 60.0
TCP = TcpConfig(send_buffer=1 << 20, window=1 << 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("certificate")
    make_files(made, 1, 1)
    return made


@pytest.fixture
def world(tmp_path):
    """`world(impairments)`: a namespace with two TAPs on a bridge, two cards on them, a stack."""
    with contextlib.ExitStack() as stack:

        def make(impairments="loss=0.5%"):
            far = stack.enter_context(Netns())
            # With an address of its own, which does not change with its ports.
            far.ip("link", "add", "br0", "address", "02:00:00:00:00:01", "type", "bridge")
            cards, captures = [], []
            for n in range(2):
                far.add_tap(f"tap{n}", vnet_hdr=True)
                far.ip("link", "set", f"tap{n}", "master", "br0")
                captures.append(tmp_path / f"{n}.pcapng")
                wire = f"tap:tap{n},netns={far.path}+capture:{captures[-1]}"
                wire += f"+impair:{impairments},seed={n}"
                device = DeviceProcess(
                    tmp_path, wire, name=f"card{n}", mac=f"02:00:00:00:00:{0x50 + n:02x}"
                )
                stack.callback(device.stop)
                bus = stack.enter_context(open_bus(f"vfio-user:{device.socket_path}"))
                options = NicOptions(tx_entries=1024, rx_entries=1024, tx_bounce_bytes=8 << 20)
                cards.append(stack.enter_context(Nic.attach(bus, options)))
            far.ip("address", "add", f"{FAR}/24", "dev", "br0")
            far.ip("link", "set", "br0", "up")
            memory = Memory(cards[0].access.dma_alloc, cards[0])
            kernel = Kernel(memory)
            kernel.sysctl["ifnet_max_rexmit_pct"] = 100
            one = TcpStack(kernel)
            for n, card in enumerate(cards):
                one.if_attach(NicIfnet(card, f"tlsnic{n}"))

            def close():
                for card in cards:
                    card.stop()
                one.close()
                kernel.close()

            stack.callback(close)
            return far, one, captures

        yield make


class Peer(threading.Thread):
    """An OpenSSL server that takes and sends DATA at the same time."""

    def __init__(self, far, folder, version):
        super().__init__(daemon=True)
        self.listener = far.socket()
        self.listener.settimeout(TIMEOUT_S)
        self.listener.bind((FAR, 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        wanted = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
        self.context.minimum_version = self.context.maximum_version = wanted
        self.got = b""
        self.error = None
        self.start()

    def run(self):
        try:
            connection, _ = self.listener.accept()
            connection.settimeout(TIMEOUT_S)
            with self.context.wrap_socket(connection, server_side=True) as tls:
                # Python's sockets may not be read and written at once: in turns, and at the end.
                parts, sent = [], 0
                size = 0
                while size < len(DATA):
                    piece = tls.recv(1 << 16)
                    if not piece:
                        break
                    parts.append(piece)
                    size += len(piece)
                    if sent < size:
                        tls.sendall(DATA[sent:size])
                        sent = size
                self.got = b"".join(parts)
        except Exception as error:
            self.error = error
        finally:
            self.listener.close()


def read_record(so, stack):
    """One record of the handshake: so that what comes behind it stays in the socket buffer."""
    record = b""
    while (need := 5 + (int.from_bytes(record[3:5], "big") if len(record) >= 5 else 0)) > len(
        record
    ):
        record += so.read(need - len(record) if len(record) >= 5 else 5 - len(record))
    return record


def shake_hands(stack, so, folder, version):
    context = make_context(server_side=False, suites=SUITES[version])
    context.load_verify_locations(folder / "cert.pem")
    handshake = Handshake(context, server_side=False, server_hostname=NAME)
    so.so_timeo_s = TIMEOUT_S
    while True:
        pending = handshake.pending()
        if pending:
            so.write(pending)
        if handshake.done:
            break
        handshake.receive(read_record(so, stack))
    assert not handshake.take_surplus()
    so.setsockopt(IPPROTO_TCP, TCP_TXTLS_ENABLE, TlsEnable.of(handshake.transmit_session()))
    so.setsockopt(IPPROTO_TCP, TCP_RXTLS_ENABLE, TlsEnable.of(handshake.receive_session()))
    assert so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE) == TCP_TLS_MODE_IFNET
    assert so.getsockopt(IPPROTO_TCP, TCP_RXTLS_MODE) == TCP_TLS_MODE_IFNET


def exchange(stack, so, peer, at):
    """Send and take DATA at once. `at`: what is done when so many bytes were taken; nothing more is
    taken while its answer is False, it is asked again."""
    so.so_state |= SS_NBIO
    sent, got, size = 0, [], 0
    view = memoryview(DATA)
    steps = sorted(at.items())

    def pump():
        nonlocal sent, size
        with contextlib.suppress(BlockingIOError):
            while sent < len(view):
                sent += so.write(view[sent : sent + 100_000])
        with contextlib.suppress(BlockingIOError):
            while size < (steps[0][0] if steps else len(DATA)):
                message = so.recvmsg(1 << 20)
                assert not message.at_end
                if message.control is None or message.control.tls_type == 23:
                    got.append(message.data)
                    size += len(message.data)
        while steps and size >= steps[0][0] and steps[0][1]() is not False:
            steps.pop(0)
        return size >= len(DATA) and not so.so_snd.sbused()

    assert stack.run(pump, TIMEOUT_S), (sent, size, stack.output_errors, so.so_error)
    peer.join(TIMEOUT_S)
    assert peer.error is None
    for data in (b"".join(got), peer.got):
        assert hashlib.sha256(data).digest() == hashlib.sha256(DATA).digest()


def check_captures(captures):
    """Both wires carried data, and no capture has the marker."""
    for capture in captures:
        raw = capture.read_bytes()
        assert len(raw) > 100_000
        assert MARKER not in raw


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_lagg_fails_over_under_a_live_connection(world, folder, version, tmp_path):
    far, stack, captures = world()
    first, second = stack.ifnets
    lagg = Lagg([first, second])
    stack.add_address(lagg, f"{NEAR}/24")
    peer = Peer(far, folder, version)
    so = stack.connect(FAR, peer.port, config=TCP)
    shake_hands(stack, so, folder, version)

    def down(n):
        far.ip("link", "set", f"tap{n}", "nomaster")
        stack.ifnets[n].set_up(False)

    def up(n):
        far.ip("link", "set", f"tap{n}", "master", "br0")
        stack.ifnets[n].set_up(True)

    steps = {500_000: lambda: down(0), 1_500_000: lambda: up(0), 2_200_000: lambda: down(0)}
    exchange(stack, so, peer, steps)
    assert lagg.active == [second]
    sysctl = stack.kernel.sysctl
    assert sysctl["ifnet.reset"] >= 6, "three of each direction"
    assert not sysctl["ifnet.reset_dropped"]
    assert stack.leaf_tag(so).packets[OutcomeKind.IN_ORDER]
    check_captures(captures)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_route_moves_and_modes_are_switched(world, folder, version, tmp_path):
    far, stack, captures = world()
    first, second = stack.ifnets
    stack.add_address(second, f"{SECOND}/24")
    stack.add_address(first, f"{NEAR}/24")
    peer = Peer(far, folder, version)
    so = stack.connect(FAR, peer.port, config=TCP)
    shake_hands(stack, so, folder, version)
    control = ControlServer(stack, tmp_path / "control")
    results = []

    def switch(mode):
        arguments = ["-c", str(tmp_path / "control"), f"-{mode}", "-a"]
        threading.Thread(target=lambda: results.append(switch_tls(arguments))).start()

    def tx_mode():
        return so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE)

    modes = []

    def look():
        """The mode, once `switch_tls` has ended."""
        if len(results) == len(modes):
            return False
        modes.append(tx_mode())
        return True

    steps = {
        250_000: lambda: stack.routes.add("192.0.2.0/24", second),
        1_000_000: lambda: switch("s"),
        1_500_000: look,
        1_750_000: lambda: switch("i"),
        2_250_000: look,
        2_500_000: lambda: stack.routes.add("192.0.2.0/24", first),
    }
    exchange(stack, so, peer, steps)
    control.close()
    assert modes[0] == TCP_TLS_MODE_SW
    assert results[0] == 0
    if results[1] == 0:  # else the software's records were still with the card's of before
        assert modes[1] == TCP_TLS_MODE_IFNET
    sysctl = stack.kernel.sysctl
    assert sysctl["stats.switch_to_sw"] == 1
    assert sysctl["ifnet.reset"] >= 1
    assert not sysctl["ifnet.reset_dropped"]
    check_captures(captures)
