"""Enumerations of the hardware interface.

Generated from rdl/tlsnic.rdl by `python -m tlsnic.abi.generate`; do not edit.
"""

from enum import IntEnum, IntFlag


class QueueState(IntEnum):
    """Values of QueueState."""

    DISABLED = 0
    """Not enabled. Configuration registers may be written."""
    RUNNING = 1
    """Enabled: descriptors are fetched and completions are written."""
    ERROR = 2
    """Stopped by a fault. ERROR_CODE and ERROR_ADDRESS say why. Clear ENABLE to leave."""


class Diagnostic(IntEnum):
    """Values of Diagnostic."""

    NONE = 0
    """No diagnostic since reset."""
    REG_UNKNOWN = 1
    """Access to an offset that no register occupies. Reads return zero, writes are ignored."""
    REG_READ_ONLY = 2
    """Write to a register without a writable field. Ignored."""
    REG_ACCESS = 3
    """Access that is narrower than 32 bits or not aligned. Reads return the bytes without side
    effects, writes are ignored.
    """
    REG_RESERVED_BITS = 4
    """Write of a one into a reserved bit. The other bits are taken."""
    DOORBELL_DISABLED = 5
    """Doorbell of a queue that is not running, or the tail doorbell of the event queue, which has
    no descriptor ring. Ignored.
    """
    DOORBELL_RANGE = 6
    """Doorbell with an index that is not below the size of the ring. The queue goes to ERROR."""
    RING_BASE_ZERO = 7
    """Queue enabled before a ring base was set. The queue goes to ERROR."""
    RING_SIZE = 8
    """Queue enabled with a ring size of zero, not a power of two, or outside the limits. The queue
    goes to ERROR.
    """
    RING_ALIGNMENT = 9
    """Queue enabled with a ring base that is not aligned to 64 bytes. The queue goes to ERROR."""
    QUEUE_BUSY = 10
    """Configuration register of an enabled queue written, or ENABLE set again in ERROR without
    clearing it first. Ignored.
    """
    BUS_MASTER_OFF = 11
    """DMA or interrupt needed while Bus Master Enable is clear. Nothing was transferred:
    descriptors and interrupts wait, received frames are dropped.
    """
    DMA_FAULT = 12
    """Address that the host has not mapped, or RAM without a shared file descriptor. The queue goes
    to ERROR.
    """
    DMA_PERMISSION = 13
    """Device write to memory that is mapped read-only. The queue goes to ERROR."""
    VECTOR_INVALID = 14
    """Queue enabled with an interrupt vector that does not exist. The queue goes to ERROR."""
    TX_RESERVED = 15
    """Reserved bits set in a transmit descriptor. The packet is dropped."""
    TX_FLAGS = 16
    """Contradictory or unsupported flags in a transmit descriptor, or flags of the first descriptor
    in a later one. The packet is dropped.
    """
    TX_LENGTH = 17
    """Packet shorter than an Ethernet header, longer than MAX_FRAME (or than the segmentation
    limit), or a descriptor of length zero. The packet is dropped.
    """
    TX_HEADER = 18
    """header_length does not agree with the headers of the packet. The packet is dropped."""
    TX_SEGMENTATION = 19
    """Segmentation asked for with an MSS of zero, of a packet that is not TCP, or of an IP
    fragment. The packet is dropped.
    """
    TX_CHECKSUM = 20
    """Checksum asked for in a packet that is neither TCP nor UDP, or is a fragment. The packet is
    dropped.
    """
    TX_CHAIN = 21
    """More descriptors in one packet than CAP_RINGS.MAX_CHAIN, or than the ring holds. The queue
    goes to ERROR.
    """
    TX_LINK_DOWN = 22
    """Packet queued while the link is down. Dropped and counted."""
    COMPLETION_RING_FULL = 23
    """No free completion entry: the driver has not returned its consumer index. The queue waits."""
    COMPLETION_INDEX = 24
    """Consumer index that is out of range or past the producer index. Ignored."""
    RX_BUFFER = 25
    """Receive buffer shorter than CAP_RINGS.MIN_RX_BUFFER or with reserved bits set. The queue goes
    to ERROR.
    """
    RX_NO_BUFFER = 26
    """Frame dropped because its receive ring had too few buffers."""
    COMMAND_UNKNOWN = 27
    """Command with an unknown opcode. Answered with BAD_OPCODE."""
    COMMAND_RESERVED = 28
    """Command with reserved bits set. Answered with RESERVED_BITS."""
    COMMAND_FIELD = 29
    """Command with a field out of range, or a parameter block that is too short. Answered with the
    error.
    """
    EVENT_LOST = 30
    """Event queue full or not running: the event was not written."""
    RSS_QUEUE = 31
    """Indirection table entry names a receive queue that does not exist. Queue 0 is used."""
    RAM_NOT_SHARED = 32
    """The host mapped RAM without a file descriptor. QEMU needs memory-backend-memfd,share=on."""
    RESET_IN_FLIGHT = 33
    """Reset while descriptors were pending. They are forgotten."""
    VALUE_RANGE = 34
    """Register written with a value that is out of its documented range. Ignored."""
    TLS_HANDLE = 35
    """Send tag handle that is stale, forged or of the wrong direction. The packet is dropped or the
    command refused.
    """
    TLS_SEQUENCE = 36
    """Packet with TLS that does not start at the flow's next TCP sequence number, and has no
    presync block. It is dropped.
    """
    TLS_PRESYNC = 37
    """Presync block that is malformed or does not cover the packet. The packet is dropped."""
    TLS_DESTROYED = 38
    """Flow destroyed while packets of it were pending. They are dropped, never sent in clear."""
    OFFLOAD_DEPENDENCY = 39
    """An offload without the one that it needs. RX_COALESCE and RX_TLS need RX_CHECKSUM: the
    register is written, the offload does nothing. A packet with TLS needs L4_CHECKSUM or SEGMENT:
    it is dropped.
    """
    RX_QUEUE_DISABLED = 40
    """Frame for a receive queue that is not enabled, told once until the queue is. The frame is
    dropped.
    """
    TLS_RECORD = 41
    """Record header that the flow cannot encrypt: type, version, length or padding. The packet is
    dropped.
    """
    TLS_TUPLE = 42
    """Packet with TLS whose addresses, ports or VLAN are not those of its flow. It is dropped."""
    TLS_AUTH = 43
    """Record of a receive flow that failed authentication: a wrong key or record number, or a
    forger. The flow is halted.
    """


class Offload(IntFlag):
    """Bits of Offload."""

    TX_CHECKSUM = 0x1
    """IPv4 header, TCP and UDP checksums on transmit, IPv4 and IPv6."""
    RX_CHECKSUM = 0x2
    """The same, checked on receive."""
    TSO4 = 0x4
    """TCP segmentation over IPv4."""
    TSO6 = 0x8
    """TCP segmentation over IPv6."""
    VLAN_INSERT = 0x10
    """802.1Q tag inserted on transmit."""
    VLAN_STRIP = 0x20
    """802.1Q tag stripped on receive."""
    RSS = 0x40
    """Receive-side scaling with the Toeplitz hash."""
    MAC_FILTER = 0x80
    """Exact unicast and multicast filter table."""
    VLAN_FILTER = 0x100
    """VLAN filter table."""
    RX_COALESCE = 0x200
    """Receive coalescing of TCP segments."""
    TX_TLS = 0x10000
    """TLS transmit offload; see CAP_TLS_TX."""
    RX_TLS = 0x20000
    """TLS receive offload; see CAP_TLS_RX."""
    TX_RATE_LIMIT = 0x40000
    """Rate-limited send tags."""


class CipherSuite(IntFlag):
    """Bits of CipherSuite."""

    TLS12_AES_128_GCM = 0x1
    """TLS 1.2, AES-128-GCM (RFC 5288)."""
    TLS12_AES_256_GCM = 0x2
    """TLS 1.2, AES-256-GCM (RFC 5288)."""
    TLS12_CHACHA20_POLY1305 = 0x4
    """TLS 1.2, ChaCha20-Poly1305 (RFC 7905)."""
    TLS13_AES_128_GCM = 0x8
    """TLS 1.3, AES-128-GCM (RFC 8446)."""
    TLS13_AES_256_GCM = 0x10
    """TLS 1.3, AES-256-GCM (RFC 8446)."""
    TLS13_CHACHA20_POLY1305 = 0x20
    """TLS 1.3, ChaCha20-Poly1305 (RFC 8446)."""
    TLS10_AES_CBC_SHA1 = 0x100
    """TLS 1.0, AES-128/256-CBC with HMAC-SHA1, implicit IV (RFC 2246)."""
    TLS11_AES_CBC_SHA1 = 0x200
    """TLS 1.1, AES-128/256-CBC with HMAC-SHA1, explicit IV (RFC 4346)."""
    TLS12_AES_CBC_SHA1 = 0x400
    """TLS 1.2, AES-128/256-CBC with HMAC-SHA1 (RFC 5246)."""
    TLS12_AES_CBC_SHA256 = 0x800
    """TLS 1.2, AES-128/256-CBC with HMAC-SHA256 (RFC 5246)."""
    TLS12_AES_CBC_SHA384 = 0x1000
    """TLS 1.2, AES-128/256-CBC with HMAC-SHA384 (RFC 5289)."""
    ENCRYPT_THEN_MAC = 0x80000000
    """Encrypt-then-MAC with the TLS 1.2 CBC suites above (RFC 7366)."""


class TlsFeature(IntFlag):
    """Bits of TlsFeature."""

    TX_PRESYNC = 0x1
    """Presync blocks: retransmits and out-of-order data are encrypted."""
    RX_RESYNC_REQUEST = 0x2
    """The device asks whether a record starts at a TCP sequence number."""
    RX_RESYNC_HINT = 0x4
    """The stack tells where the next record starts."""
    RX_RESYNC_TAG = 0x8
    """Tag-verified resync: a record's own tag settles its number."""
    REKEY = 0x10
    """Keys of a flow can be replaced (TLS 1.3 KeyUpdate)."""


class HashType(IntFlag):
    """Bits of HashType."""

    IPV4 = 0x1
    """Addresses of IPv4 packets, fragments included."""
    TCP_IPV4 = 0x2
    """Addresses and ports of TCP over IPv4."""
    UDP_IPV4 = 0x4
    """Addresses and ports of UDP over IPv4."""
    IPV6 = 0x8
    """Addresses of IPv6 packets."""
    TCP_IPV6 = 0x10
    """Addresses and ports of TCP over IPv6."""
    UDP_IPV6 = 0x20
    """Addresses and ports of UDP over IPv6."""


class EventMask(IntFlag):
    """Bits of EventMask."""

    LINK = 0x1
    """Link changes."""
    QUEUE = 0x2
    """Queue errors."""
    DIAGNOSTIC = 0x4
    """Every diagnostic. Meant for driver development."""
    TLS = 0x8
    """Resync questions and flow errors."""


class TxFlags(IntFlag):
    """Bits of TxFlags."""

    END_OF_PACKET = 0x1
    """Last descriptor of the packet."""
    REPORT = 0x2
    """Write a completion when this packet is done. Completions are cumulative. First data
    descriptor.
    """
    IP_CHECKSUM = 0x4
    """Fill the IPv4 header checksum. First descriptor. Ignored for IPv6."""
    L4_CHECKSUM = 0x8
    """Fill the TCP or UDP checksum. First descriptor."""
    SEGMENT = 0x10
    """Cut the TCP payload into segments of mss bytes; implies both checksums. First descriptor."""
    VLAN_INSERT = 0x20
    """Insert an 802.1Q tag with vlan_tci. First descriptor."""
    TLS = 0x40
    """send_tag is valid: the TCP payload is TLS records to encrypt. First descriptor."""
    PRESYNC = 0x80
    """The buffer is a presync block, not frame data. Before the first data descriptor."""
    PREFIX = 0x100
    """The buffer holds record bytes that precede the packet: read, not sent. After PRESYNC."""
    SUFFIX = 0x200
    """The buffer holds record bytes that follow the packet: read, not sent. After the last data
    descriptor.
    """


class TxStatus(IntEnum):
    """Values of TxStatus."""

    OK = 0
    """All packets up to head were handed to the wire."""
    BAD_PACKET = 1
    """The packet that ends at head was dropped: malformed descriptor or headers; detail is the
    diagnostic.
    """
    LINK_DOWN = 2
    """The packet was dropped: link down."""
    DMA_FAULT = 3
    """The packet was dropped: its memory is not mapped. The queue is in ERROR."""
    TLS_DROPPED = 4
    """The packet was dropped rather than sent in clear; detail is the diagnostic."""


class RxFlags(IntFlag):
    """Bits of RxFlags."""

    IP_CHECKSUM_OK = 0x1
    """IPv4 header checksum was checked and is right."""
    IP_CHECKSUM_BAD = 0x2
    """IPv4 header checksum is wrong."""
    L4_CHECKSUM_OK = 0x4
    """TCP or UDP checksum was checked and is right."""
    L4_CHECKSUM_BAD = 0x8
    """TCP or UDP checksum is wrong."""
    VLAN_STRIPPED = 0x10
    """An 802.1Q tag was taken out; vlan_tci holds it."""
    COALESCED = 0x20
    """Several TCP segments were joined; segments and segment_bytes describe them. The TCP checksum
    field then holds the sum of the pseudo-header; L4_CHECKSUM_OK says that every segment was right.
    """
    IPV4 = 0x40
    """IPv4 packet."""
    IPV6 = 0x80
    """IPv6 packet."""
    TCP = 0x100
    """TCP segment (not a fragment)."""
    UDP = 0x200
    """UDP datagram (not a fragment)."""
    FRAGMENT = 0x400
    """IP fragment."""
    RESYNC = 0x800
    """A resync question for this flow was asked while this packet passed."""
    PHASE = 0x8000
    """Valid mark; see the completion rings chapter."""


class TlsRxState(IntEnum):
    """Values of TlsRxState."""

    NONE = 0
    """Not a TLS flow of this device."""
    AS_ON_WIRE = 1
    """TLS flow, but the packet is exactly as on the wire."""
    DECRYPTED = 2
    """All record content in the packet is decrypted. Records that ended in it were verified, but
    for one of which a part came as on the wire before.
    """
    AUTH_FAILED = 3
    """A record that ended in the packet failed authentication. The packet is as on the wire."""


class TlsTrackerState(IntEnum):
    """Values of TlsTrackerState."""

    NONE = 0
    """A transmit flow."""
    OFFLOAD = 1
    """Record boundaries and numbers are known: records are decrypted."""
    SEARCH = 2
    """A record header was lost: the stream is searched for the next one."""
    TRACK = 3
    """What looks like a record is followed by its lengths, until host or tag confirm it."""
    HALTED = 4
    """A record failed authentication, or the peer changed its key: packets come as on the wire
    until a rekey or hint.
    """


class CompletionFlags(IntFlag):
    """Bits of CompletionFlags."""

    PHASE = 0x8000
    """Valid mark; see the completion rings chapter."""


class CommandOpcode(IntEnum):
    """Values of CommandOpcode."""

    NOP = 0
    """Does nothing."""
    STATISTICS = 1
    """Copies all counters to memory at one moment."""
    TLS_FLOW_CREATE = 256
    """Creates a flow context and gives its send tag handle."""
    TLS_FLOW_QUERY = 257
    """Copies state and counters of a flow to memory; never keys."""
    TLS_FLOW_REKEY = 258
    """Replaces the keys of a flow from a TCP sequence number on."""
    TLS_FLOW_RATE = 259
    """Sets the rate limit of a transmit flow."""
    TLS_FLOW_DESTROY = 260
    """Destroys a flow; completes when nothing of it is in flight any more."""
    TLS_RESYNC_ANSWER = 261
    """Answers a resync question."""
    TLS_RESYNC_HINT = 262
    """Tells where a record starts, unasked."""


class CommandStatus(IntEnum):
    """Values of CommandStatus."""

    OK = 0
    """Done."""
    BAD_OPCODE = 1
    """Unknown opcode."""
    RESERVED_BITS = 2
    """A reserved bit was set."""
    BAD_FIELD = 3
    """A field is out of range; detail is its byte offset."""
    TOO_SHORT = 4
    """The memory block is shorter than the command needs; detail is the size it needs, in bytes."""
    DMA_FAULT = 5
    """The memory block is not mapped."""
    UNSUPPORTED = 6
    """Not offered by this device: version, cipher suite or feature."""
    TABLE_FULL = 7
    """No free flow context."""
    DUPLICATE = 8
    """A flow with this direction and 5-tuple exists."""
    BAD_HANDLE = 9
    """Stale or forged handle."""
    DEPENDENCY = 10
    """The checksum offload that TLS needs is switched off."""
    STALE = 11
    """Answer for a question that is no longer open. Ignored."""
    BUSY = 12
    """A previous rekey is not finished: the stream has not reached its TCP sequence number."""
    DISABLED = 13
    """TX_TLS or RX_TLS is off in OFFLOAD_ENABLE. Flows that exist go on."""


class EventType(IntEnum):
    """Values of EventType."""

    LINK_CHANGE = 1
    """The link went up or down."""
    QUEUE_ERROR = 2
    """A queue went to ERROR."""
    DIAGNOSTIC = 3
    """A diagnostic was raised."""
    RESYNC_REQUEST = 4
    """Is there a record at this TCP sequence number?"""
    FLOW_ERROR = 5
    """A flow cannot be offloaded any more."""


class QueueKind(IntEnum):
    """Values of QueueKind."""

    DEVICE = 0
    """Not a queue: the device as a whole."""
    TRANSMIT = 1
    """Transmit queue."""
    RECEIVE = 2
    """Receive queue."""
    ADMIN = 3
    """Admin queue."""
    EVENT = 4
    """Event queue."""


class TlsDirection(IntEnum):
    """Values of TlsDirection."""

    TRANSMIT = 0
    """The device encrypts."""
    RECEIVE = 1
    """The device decrypts."""


class TlsFlowFlags(IntFlag):
    """Bits of TlsFlowFlags."""

    ENCRYPT_THEN_MAC = 0x1
    """CBC suites: encrypt-then-MAC (RFC 7366)."""
    RESYNC_HOST = 0x2
    """Receive: resync is confirmed by the host."""
    RESYNC_TAG = 0x4
    """Receive: resync may be settled by a record's own tag."""
    RATE_LIMIT = 0x8
    """Transmit: rate_bytes_per_s is valid."""
    VLAN = 0x10
    """vlan_id is part of the flow's key."""


class PresyncFlags(IntFlag):
    """Bits of PresyncFlags."""

    UPDATE_STATE = 0x1
    """The in-order state moves to the end of this packet. Clear: the packet is a retransmit, the
    state stays.
    """
    PREFIX = 0x2
    """Descriptors with PREFIX supply the record's bytes from its start to the start of the packet.
    """
    BEFORE_START = 0x4
    """All of the packet precedes the start of offload: it is sent as it is. The other fields must
    be zero.
    """


class TraceType(IntEnum):
    """Values of TraceType."""

    REGISTER_READ = 1
    """The host read a register."""
    REGISTER_WRITE = 2
    """The host wrote a register or rang a doorbell."""
    DMA_READ = 3
    """The device read host memory."""
    DMA_WRITE = 4
    """The device wrote host memory."""
    INTERRUPT = 5
    """An MSI-X message, or a change of the INTx line."""
    TLS_PACKET = 6
    """What TLS offload did to a packet."""
    TLS_EVENT = 7
    """Something happened to a TLS flow besides packets."""
    INPUT = 8
    """Another input of the device: time, link, reset."""
    FRAME = 9
    """What belongs to a frame besides its bytes, which are the next packet of the wire's interface.
    """


class TraceFlags(IntFlag):
    """Bits of TraceFlags."""

    TRUNCATED = 0x1
    """The bytes that follow are not all there were."""
    SECRET = 0x2
    """The bytes were key material. In a capture they are left out; in a record they are sealed."""
    FAULT = 0x4
    """The memory is not mapped: nothing was read or written, and no bytes follow."""
    READ_ONLY = 0x8
    """With FAULT: it is mapped, but not for this direction."""


class DmaPurpose(IntEnum):
    """Values of DmaPurpose."""

    DATA = 0
    """Packet data."""
    DESCRIPTOR = 1
    """An entry of a descriptor or command ring."""
    COMPLETION = 2
    """An entry of a completion, response or event ring."""
    BLOCK = 3
    """A block that a command names, or a presync block."""


class TlsOutcome(IntEnum):
    """Values of TlsOutcome."""

    AS_ON_WIRE = 1
    """Receive: delivered as it came."""
    DECRYPTED = 2
    """Receive: delivered decrypted."""
    AUTH_FAILED = 3
    """Receive: delivered as it came, because a record failed authentication."""
    ENCRYPTED = 4
    """Transmit: encrypted in order."""
    PRESYNCED = 5
    """Transmit: encrypted out of order, with a presync block."""
    BYPASSED = 6
    """Transmit: before the start of offload, sent as it is."""
    DROPPED = 7
    """Transmit: not sent; the completion says why. Receive: followed, and then not delivered, for
    want of a buffer for example.
    """


class TlsEvent(IntEnum):
    """Values of TlsEvent."""

    CREATED = 1
    """The flow was made."""
    DESTROYED = 2
    """The flow is gone."""
    REKEYED = 3
    """A new key was given."""
    TRACKER = 4
    """The receive tracker changed its state."""
    ASKED = 5
    """The device asked whether a record starts at tcp_sequence."""
    ANSWERED = 6
    """The host answered: there is one, and this is its number."""
    DENIED = 7
    """The host answered: there is none."""
    STALE = 8
    """An answer or hint came too late and was ignored."""
    HINTED = 9
    """The host told a record boundary without being asked."""
    HALTED = 10
    """A record failed authentication: the flow is halted."""
    RATED = 11
    """The rate limit was set."""
    RESET = 12
    """The flow was wiped by a reset of the device."""


class DeviceInput(IntEnum):
    """Values of DeviceInput."""

    START = 1
    """The device as configured; value is the MAC address, argument the link speed."""
    ADVANCE = 2
    """Time went on."""
    POLL = 3
    """The device did a turn of its work."""
    RECEIVE = 4
    """Frames came from the wire; argument is how many."""
    LINK = 5
    """The wire came up (argument 1) or went down."""
    WIRE_WRITABLE = 6
    """The wire takes frames again."""
    FORGET_VIEWS = 7
    """Guest memory is about to go."""
    RESET = 8
    """Reset by other means than CONTROL; argument says who asked for it."""
    REPORT = 9
    """A diagnostic found outside the core: argument is its code, value its operand."""
    PCI = 10
    """Configuration bits changed; argument: 1 bus master, 2 MSI-X enabled, 4 INTx disabled."""
    WIRE = 11
    """What the wire can do changed; argument 1: it takes super-frames."""
    MARK = 12
    """A place marked by the user."""
