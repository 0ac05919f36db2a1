"""The bench with TLS: flows made by commands, packets cut from a stream of records, and what arrived."""

import gc
import struct
from types import FunctionType, ModuleType

from rig import FakeHost, Rig
from stream_bench import Stream, case_of

from tlsnic.abi import registers as r
from tlsnic.abi.enums import Offload, TlsFlowFlags, TxFlags
from tlsnic.abi.structures import (
    TlsFlow,
    TlsFlowCreateCommand,
    TlsFlowDestroyCommand,
    TlsFlowQueryCommand,
    TlsFlowRateCommand,
    TlsFlowRekeyCommand,
    TlsFlowState,
    TxDescriptor,
)
from tlsnic.device.packet.headers import parse
from tlsnic.device.packet.vnet import cut

GCM = case_of("TLS13_AES_128_GCM")
CBC = case_of("TLS12_AES_CBC_SHA256", 16)
LOCAL_PORT, REMOTE_PORT = 40000, 443
LOCAL = {4: bytes((10, 0, 0, 1)), 6: bytes.fromhex("fd00") + bytes(13) + b"\x01"}
REMOTE = {4: bytes((10, 0, 0, 2)), 6: bytes.fromhex("fd00") + bytes(13) + b"\x02"}
ASIDE_FLAGS = (TxFlags.PRESYNC, TxFlags.PREFIX, TxFlags.SUFFIX)


def checksum(data):
    """RFC 1071: 0xFFFF over data that holds its own checksum."""
    data = bytes(data) + bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def make_frame(sequence, payload, *, ip_version=4, local_port=LOCAL_PORT, vlan=None, flags=0x10):
    """A TCP packet of the connection; its checksums are for the card to fill in."""
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    addresses = LOCAL[ip_version] + REMOTE[ip_version]
    tcp = struct.pack("!HHIIBBHHH", local_port, REMOTE_PORT, sequence, 1, 0x50, flags, 9, 0x55, 0)
    if ip_version == 4:
        length = 40 + len(payload)
        network = struct.pack("!BBHHHBBH", 0x45, 0, length & 0xFFFF, 1, 0x4000, 64, 6, 0x77)
        ether_type = b"\x08\x00"
    else:
        network = struct.pack("!IHBB", 6 << 28, 20 + len(payload) & 0xFFFF, 6, 64)
        ether_type = b"\x86\xdd"
    return bytes(12) + tag + ether_type + network + addresses + tcp + bytes(payload)


def header_bytes(ip_version=4, vlan=None):
    """What header_length says of such a packet."""
    return 54 + 20 * (ip_version == 6) + 4 * (vlan is not None)


def held_by_card(rig, *secrets):
    """What can be reached from the card and holds a secret; the guest's memory is not the card's."""
    guest = [memory for memory, _ in rig.host.maps.values()]
    seen, found, left = set(map(id, guest)), [], [rig.nic]
    while left:
        value = left.pop()
        if id(value) in seen or isinstance(value, type | ModuleType | FakeHost):
            continue
        seen.add(id(value))
        if isinstance(value, FunctionType):  # not its globals, which are the whole program
            left += (*(value.__closure__ or ()), value.__defaults__, value.__kwdefaults__)
        else:
            left += gc.get_referents(value)
        if isinstance(value, bytes | bytearray) and any(secret in value for secret in secrets):
            found.append(value)
    return found


class TlsRig(Rig):
    """A card that does TLS, with an admin queue and one transmit queue."""

    SCRATCH = 384 << 10

    def __init__(self, *, super_frames=False, entries=64):
        super().__init__(super_frames=super_frames)
        self.commands = self.admin(entries=16)
        self.queue = self.tx(0, entries)
        self._scratch = self.allocate(self.SCRATCH)
        self._used = 0
        self.up()

    def up(self):
        """What a driver does after a reset."""
        self.commands.enable(vector=1)
        self.queue.enable()
        self.start()
        self.write(r.OFFLOAD_ENABLE, Offload.TX_TLS)

    def place(self, data):
        """Put `data` somewhere in memory that is used round and round."""
        size = (len(data) + 63) & ~63
        if self._used + size > self.SCRATCH:
            self._used = 0
        address = self._scratch + self._used
        self._used += size
        self.host.write(address, data)
        return address

    # Commands

    def post_command(self, command):
        self.commands.post(command.pack())
        self.commands.ring_doorbell()
        self.run()

    def command(self, command):
        """The response, which must come at once."""
        self.post_command(command)
        (response,) = self.commands.reap()
        assert (response.opcode, response.command_id) == (command.opcode, command.command_id)
        return response

    def flow_block(self, stream, *, ip_version=4, **fields):
        """The block of a flow that begins at the stream's next record."""
        case, (key, iv, mac_key) = stream.case, stream.keys
        values = {
            "ip_version": ip_version,
            "flags": TlsFlowFlags.ENCRYPT_THEN_MAC if case.encrypt_then_mac else 0,
            "tls_version": case.layout.version,
            "suite": case.layout.suite,
            "record_number": stream.number,
            "tcp_sequence": stream.sequence_at(len(stream)),
            "local_port": LOCAL_PORT,
            "remote_port": REMOTE_PORT,
            "key_length": len(key),
            "iv_length": len(iv),
            "mac_key_length": len(mac_key),
            "local_address": LOCAL.get(ip_version, b"").ljust(16, b"\0"),
            "remote_address": REMOTE.get(ip_version, b"").ljust(16, b"\0"),
            "key": key.ljust(32, b"\0"),
            "iv": iv.ljust(16, b"\0"),
            "mac_key": mac_key.ljust(48, b"\0"),
        }
        return TlsFlow(**{**values, **fields})

    def try_create(self, block, length=TlsFlow.SIZE):
        data = block if isinstance(block, bytes) else block.pack()
        return self.command(TlsFlowCreateCommand(address=self.place(data), length=length))

    def create(self, stream, *, rate=0, **fields):
        """The handle of a new flow."""
        if rate:
            fields["flags"] = fields.get("flags", 0) | TlsFlowFlags.RATE_LIMIT
            fields["rate_bytes_per_s"] = rate
        response = self.try_create(self.flow_block(stream, **fields))
        assert response.status == 0, response
        return response.result0

    def rekey(self, handle, stream, **fields):
        address = self.place(self.flow_block(stream, **fields).pack())
        return self.command(
            TlsFlowRekeyCommand(address=address, length=TlsFlow.SIZE, handle=handle)
        )

    def rate(self, handle, rate):
        return self.command(TlsFlowRateCommand(handle=handle, rate_bytes_per_s=rate))

    def query(self, handle):
        """Status and, if it is OK, the state."""
        address = self.place(bytes(TlsFlowState.SIZE))
        command = TlsFlowQueryCommand(address=address, length=TlsFlowState.SIZE, handle=handle)
        response = self.command(command)
        raw = self.host.read(address, TlsFlowState.SIZE)
        return response.status, TlsFlowState.unpack_from(raw) if not response.status else None

    def destroy(self, handle):
        return self.command(TlsFlowDestroyCommand(handle=handle))

    def flow(self, handle):
        """The device's own flow."""
        return self.nic.flows.get(handle)

    # Packets

    def post_packet(
        self, handle, frame, *, mss=0, header_length=54, beside=None, queue=None, flags=0, pieces=1,
        **fields,
    ):  # fmt: skip
        """Post a packet with TLS, its data in `pieces` buffers, and ring the doorbell."""
        queue = queue or self.queue
        flags |= TxFlags.TLS | TxFlags.REPORT
        flags |= TxFlags.SEGMENT if mss else TxFlags.L4_CHECKSUM | TxFlags.IP_CHECKSUM
        before, after = [], []
        if beside is not None:
            for data, flag in zip(beside, ASIDE_FLAGS, strict=True):
                if data:
                    entry = TxDescriptor(self.place(data), len(data), flag)
                    (after if flag is TxFlags.SUFFIX else before).append(entry)
        size = -(-len(frame) // pieces)
        parts = [frame[at : at + size] for at in range(0, len(frame), size)]
        first = TxDescriptor(
            self.place(parts[0]), len(parts[0]), flags, send_tag=handle, mss=mss,
            header_length=header_length, **fields,
        )  # fmt: skip
        others = [TxDescriptor(self.place(part), len(part)) for part in parts[1:]]
        chain = [*before, first, *others, *after]
        chain[-1] = chain[-1]._replace(flags=chain[-1].flags | TxFlags.END_OF_PACKET)
        for entry in chain:
            queue.post(entry.pack())
        queue.ring_doorbell()

    def post_part(self, handle, stream, begin, end, *, presync=False, update=False, **options):
        """Post the packet with bytes `begin` to `end` of the stream, and what must be beside it."""
        beside = options.pop("beside", None)
        if beside is None:
            beside = stream.beside(begin, end, update=update)
            if not presync:
                beside = beside._replace(presync=b"", prefix=b"")
        keys = ("ip_version", "local_port", "vlan")
        connection = {key: options.pop(key) for key in keys if key in options}
        payload = options.pop("payload", stream.laid_out[begin:end])
        frame = make_frame(
            options.pop("sequence", stream.sequence_at(begin)), payload, **connection
        )
        connection.pop("local_port", None)
        length = options.pop("header_length", header_bytes(**connection))
        self.post_packet(handle, frame, header_length=length, beside=beside, **options)

    def send_part(self, handle, stream, begin, end, **options):
        """The same, and its completion."""
        queue = options.get("queue") or self.queue
        self.post_part(handle, stream, begin, end, **options)
        self.run()
        done = queue.reap()
        assert len(done) == 1, done
        return done[0]

    # The wire

    def arrivals(self):
        """New frames as a receiver has them, checksums checked: (local port, sequence, payload)."""
        found = []
        for data, vnet, _ in self.wire.sent:
            cuts = [[data]] if vnet is None else cut(data, vnet.gso_type, vnet.gso_size)
            for frame in map(b"".join, cuts):
                headers = parse(frame)
                assert headers.fault is None
                l3, l4, end = headers.l3, headers.l4, headers.end
                if headers.ip_version == 4:
                    assert checksum(frame[l3:l4]) == 0xFFFF
                    addresses = frame[l3 + 12 : l3 + 20]
                else:
                    addresses = frame[l3 + 8 : l3 + 40]
                pseudo = addresses + struct.pack("!HH", 6, end - l4)
                assert checksum(pseudo + frame[l4:end]) == 0xFFFF
                port = int.from_bytes(frame[l4 : l4 + 2], "big")
                found.append((port, headers.tcp_seq, frame[headers.payload : end]))
        self.wire.sent.clear()
        return found

    def arrived(self):
        """The payloads of new frames, one after the other."""
        return b"".join(payload for _, _, payload in self.arrivals())


def filled(case=GCM, sizes=(100, 3000, 600), *, rate=0, fields=None, **options):
    """A rig with a flow at the start of a stream with some records: rig, stream, handle."""
    rig = TlsRig(**options)
    stream = Stream(case)
    handle = rig.create(stream, rate=rate, **(fields or {}))
    for size in sizes:
        stream.add(size)
    return rig, stream, handle
