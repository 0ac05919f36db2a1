"""Structures in memory: descriptors, completions, commands, responses, events, blocks.

Every member defaults to zero, except for the opcode of a command and the type of an event. See
`tlsnic.abi.layout.Structure` for what all classes offer. `OFFSET_MEMBER` is a member's byte offset.

Generated from rdl/tlsnic.rdl by `python -m tlsnic.abi.generate`; do not edit.
"""

from struct import Struct
from typing import NamedTuple

from tlsnic.abi.layout import Structure


class _TxDescriptor(NamedTuple):
    address: int = 0
    length: int = 0
    flags: int = 0
    vlan_tci: int = 0
    send_tag: int = 0
    mss: int = 0
    header_length: int = 0


class TxDescriptor(_TxDescriptor, Structure):
    """Transmit descriptor. Descriptor, 32 bytes.

    One buffer of a packet. Offload fields are read from the first data descriptor of the packet,
    which is the first without PRESYNC and PREFIX. Descriptors with PRESYNC, PREFIX or SUFFIX have
    no other flag but END_OF_PACKET, and no other field but address and length.
    """

    __slots__ = ()

    NAME = "tx_descriptor"
    KIND = "descriptor"
    SIZE = 32
    STRUCT = Struct("<QIHHIHH8x")
    RESERVED = 0xFFFFFFFFFFFFFFFF00000000000000000000FC00000000000000000000000000
    OFFSET_ADDRESS = 0
    OFFSET_LENGTH = 8
    OFFSET_FLAGS = 12
    OFFSET_VLAN_TCI = 14
    OFFSET_SEND_TAG = 16
    OFFSET_MSS = 20
    OFFSET_HEADER_LENGTH = 22
    MEMBERS = (
        ("address", 0, 8, False, None),
        ("length", 8, 4, False, None),
        ("flags", 12, 2, False, "TxFlags"),
        ("vlan_tci", 14, 2, False, None),
        ("send_tag", 16, 4, False, None),
        ("mss", 20, 2, False, None),
        ("header_length", 22, 2, False, None),
    )


class _TxCompletion(NamedTuple):
    send_tag: int = 0
    detail: int = 0
    head: int = 0
    status: int = 0
    flags: int = 0


class TxCompletion(_TxCompletion, Structure):
    """Transmit completion. Completion, 16 bytes.

    Says that the device is done with all descriptors before head. Written for packets with REPORT
    and for every dropped packet.
    """

    __slots__ = ()

    NAME = "tx_completion"
    KIND = "completion"
    SIZE = 16
    STRUCT = Struct("<IH2xIHH")
    RESERVED = 0x7FFF000000000000FFFF000000000000
    OFFSET_SEND_TAG = 0
    OFFSET_DETAIL = 4
    OFFSET_HEAD = 8
    OFFSET_STATUS = 12
    OFFSET_FLAGS = 14
    MEMBERS = (
        ("send_tag", 0, 4, False, None),
        ("detail", 4, 2, False, "Diagnostic"),
        ("head", 8, 4, False, None),
        ("status", 12, 2, False, "TxStatus"),
        ("flags", 14, 2, False, "CompletionFlags"),
    )


class _RxDescriptor(NamedTuple):
    address: int = 0
    length: int = 0


class RxDescriptor(_RxDescriptor, Structure):
    """Receive descriptor. Descriptor, 16 bytes.

    One empty buffer. Buffers are filled in ring order; a frame that is longer than one buffer takes
    several.
    """

    __slots__ = ()

    NAME = "rx_descriptor"
    KIND = "descriptor"
    SIZE = 16
    STRUCT = Struct("<QI4x")
    RESERVED = 0xFFFFFFFF000000000000000000000000
    OFFSET_ADDRESS = 0
    OFFSET_LENGTH = 8
    MEMBERS = (
        ("address", 0, 8, False, None),
        ("length", 8, 4, False, None),
    )


class _RxCompletion(NamedTuple):
    length: int = 0
    rss_hash: int = 0
    index: int = 0  # type: ignore[assignment]
    buffers: int = 0
    vlan_tci: int = 0
    segments: int = 0
    flow: int = 0
    segment_bytes: int = 0
    hash_type: int = 0
    tls_state: int = 0
    tls_records: int = 0
    flags: int = 0


class RxCompletion(_RxCompletion, Structure):
    """Receive completion. Completion, 32 bytes.

    One received packet, in buffers ring entries from index on.
    """

    __slots__ = ()

    NAME = "rx_completion"
    KIND = "completion"
    SIZE = 32
    STRUCT = Struct("<IIHHHHIHHBB4xH")
    RESERVED = 0x7000FFFFFFFF0000FFC000000000000000000000000000000000000000000000
    OFFSET_LENGTH = 0
    OFFSET_RSS_HASH = 4
    OFFSET_INDEX = 8
    OFFSET_BUFFERS = 10
    OFFSET_VLAN_TCI = 12
    OFFSET_SEGMENTS = 14
    OFFSET_FLOW = 16
    OFFSET_SEGMENT_BYTES = 20
    OFFSET_HASH_TYPE = 22
    OFFSET_TLS_STATE = 24
    OFFSET_TLS_RECORDS = 25
    OFFSET_FLAGS = 30
    MEMBERS = (
        ("length", 0, 4, False, None),
        ("rss_hash", 4, 4, False, None),
        ("index", 8, 2, False, None),
        ("buffers", 10, 2, False, None),
        ("vlan_tci", 12, 2, False, None),
        ("segments", 14, 2, False, None),
        ("flow", 16, 4, False, None),
        ("segment_bytes", 20, 2, False, None),
        ("hash_type", 22, 2, False, "HashType"),
        ("tls_state", 24, 1, False, "TlsRxState"),
        ("tls_records", 25, 1, False, None),
        ("flags", 30, 2, False, "RxFlags"),
    )


class _Command(NamedTuple):
    opcode: int = 0
    command_id: int = 0
    parameter0: int = 0
    parameter1: int = 0
    parameter2: int = 0


class Command(_Command, Structure):
    """Command. Command, 32 bytes.

    Entry of the admin ring: the part that all commands have. Commands are carried out in ring
    order, one after the other; a response is written for each.
    """

    __slots__ = ()

    NAME = "command"
    KIND = "command"
    SIZE = 32
    STRUCT = Struct("<H2xIQQQ")
    RESERVED = 0xFFFF0000
    OFFSET_OPCODE = 0
    OFFSET_COMMAND_ID = 4
    OFFSET_PARAMETER0 = 8
    OFFSET_PARAMETER1 = 16
    OFFSET_PARAMETER2 = 24
    MEMBERS = (
        ("opcode", 0, 2, False, "CommandOpcode"),
        ("command_id", 4, 4, False, None),
        ("parameter0", 8, 8, False, None),
        ("parameter1", 16, 8, False, None),
        ("parameter2", 24, 8, False, None),
    )


class _Response(NamedTuple):
    command_id: int = 0
    opcode: int = 0
    status: int = 0
    result0: int = 0
    result1: int = 0
    detail: int = 0
    flags: int = 0


class Response(_Response, Structure):
    """Response. Response, 32 bytes.

    Entry of the admin completion ring.
    """

    __slots__ = ()

    NAME = "response"
    KIND = "response"
    SIZE = 32
    STRUCT = Struct("<IHHQQI2xH")
    RESERVED = 0x7FFFFFFF00000000000000000000000000000000000000000000000000000000
    OFFSET_COMMAND_ID = 0
    OFFSET_OPCODE = 4
    OFFSET_STATUS = 6
    OFFSET_RESULT0 = 8
    OFFSET_RESULT1 = 16
    OFFSET_DETAIL = 24
    OFFSET_FLAGS = 30
    MEMBERS = (
        ("command_id", 0, 4, False, None),
        ("opcode", 4, 2, False, "CommandOpcode"),
        ("status", 6, 2, False, "CommandStatus"),
        ("result0", 8, 8, False, None),
        ("result1", 16, 8, False, None),
        ("detail", 24, 4, False, None),
        ("flags", 30, 2, False, "CompletionFlags"),
    )


class _NopCommand(NamedTuple):
    opcode: int = 0
    command_id: int = 0


class NopCommand(_NopCommand, Structure):
    """NOP. Command, 32 bytes.

    Does nothing. Its response proves that the admin queue works.
    """

    __slots__ = ()

    NAME = "nop_command"
    KIND = "command"
    OPCODE = 0x0
    SIZE = 32
    STRUCT = Struct("<H2xI24x")
    RESERVED = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFF0000
    OFFSET_OPCODE = 0
    OFFSET_COMMAND_ID = 4
    MEMBERS = (
        ("opcode", 0, 2, False, "CommandOpcode"),
        ("command_id", 4, 4, False, None),
    )


class _StatisticsCommand(NamedTuple):
    opcode: int = 0x1
    command_id: int = 0
    address: int = 0
    length: int = 0


class StatisticsCommand(_StatisticsCommand, Structure):
    """STATISTICS. Command, 32 bytes.

    Copies the counter registers, in register order from TX_PACKETS on, gaps as zero, to memory at
    one moment. result0 is the number of bytes.
    """

    __slots__ = ()

    NAME = "statistics_command"
    KIND = "command"
    OPCODE = 0x1
    SIZE = 32
    STRUCT = Struct("<H2xIQI12x")
    RESERVED = 0xFFFFFFFFFFFFFFFFFFFFFFFF00000000000000000000000000000000FFFF0000
    OFFSET_OPCODE = 0
    OFFSET_COMMAND_ID = 4
    OFFSET_ADDRESS = 8
    OFFSET_LENGTH = 16
    MEMBERS = (
        ("opcode", 0, 2, False, "CommandOpcode"),
        ("command_id", 4, 4, False, None),
        ("address", 8, 8, False, None),
        ("length", 16, 4, False, None),
    )


class _TlsFlowCreateCommand(NamedTuple):
    opcode: int = 0x100
    command_id: int = 0
    address: int = 0
    length: int = 0


class TlsFlowCreateCommand(_TlsFlowCreateCommand, Structure):
    """TLS_FLOW_CREATE. Command, 32 bytes.

    Creates a flow context from a TLS flow block. result0 is the handle. The device has read the
    block when the response is written: the driver can wipe it.
    """

    __slots__ = ()

    NAME = "tls_flow_create_command"
    KIND = "command"
    OPCODE = 0x100
    SIZE = 32
    STRUCT = Struct("<H2xIQI12x")
    RESERVED = 0xFFFFFFFFFFFFFFFFFFFFFFFF00000000000000000000000000000000FFFF0000
    OFFSET_OPCODE = 0
    OFFSET_COMMAND_ID = 4
    OFFSET_ADDRESS = 8
    OFFSET_LENGTH = 16
    MEMBERS = (
        ("opcode", 0, 2, False, "CommandOpcode"),
        ("command_id", 4, 4, False, None),
        ("address", 8, 8, False, None),
        ("length", 16, 4, False, None),
    )


class _TlsFlowQueryCommand(NamedTuple):
    opcode: int = 0x101
    command_id: int = 0
    address: int = 0
    length: int = 0
    handle: int = 0


class TlsFlowQueryCommand(_TlsFlowQueryCommand, Structure):
    """TLS_FLOW_QUERY. Command, 32 bytes.

    Copies a TLS flow state block to memory. result0 is the number of bytes.
    """

    __slots__ = ()

    NAME = "tls_flow_query_command"
    KIND = "command"
    OPCODE = 0x101
    SIZE = 32
    STRUCT = Struct("<H2xIQII8x")
    RESERVED = 0xFFFFFFFFFFFFFFFF0000000000000000000000000000000000000000FFFF0000
    OFFSET_OPCODE = 0
    OFFSET_COMMAND_ID = 4
    OFFSET_ADDRESS = 8
    OFFSET_LENGTH = 16
    OFFSET_HANDLE = 20
    MEMBERS = (
        ("opcode", 0, 2, False, "CommandOpcode"),
        ("command_id", 4, 4, False, None),
        ("address", 8, 8, False, None),
        ("length", 16, 4, False, None),
        ("handle", 20, 4, False, None),
    )


class _TlsFlowRekeyCommand(NamedTuple):
    opcode: int = 0x102
    command_id: int = 0
    address: int = 0
    length: int = 0
    handle: int = 0


class TlsFlowRekeyCommand(_TlsFlowRekeyCommand, Structure):
    """TLS_FLOW_REKEY. Command, 32 bytes.

    Replaces key, IV and record number of a flow from the flow block's tcp_sequence on, which starts
    a record. Direction, version, suite, lengths and max_plaintext must be those of the flow;
    addresses, ports and rate are not looked at. Transmit: records before it keep the old key, also
    when they are sent again, until the next rekey. Receive: packets from it on come as on the wire
    until the switch.
    """

    __slots__ = ()

    NAME = "tls_flow_rekey_command"
    KIND = "command"
    OPCODE = 0x102
    SIZE = 32
    STRUCT = Struct("<H2xIQII8x")
    RESERVED = 0xFFFFFFFFFFFFFFFF0000000000000000000000000000000000000000FFFF0000
    OFFSET_OPCODE = 0
    OFFSET_COMMAND_ID = 4
    OFFSET_ADDRESS = 8
    OFFSET_LENGTH = 16
    OFFSET_HANDLE = 20
    MEMBERS = (
        ("opcode", 0, 2, False, "CommandOpcode"),
        ("command_id", 4, 4, False, None),
        ("address", 8, 8, False, None),
        ("length", 16, 4, False, None),
        ("handle", 20, 4, False, None),
    )


class _TlsFlowRateCommand(NamedTuple):
    opcode: int = 0x103
    command_id: int = 0
    rate_bytes_per_s: int = 0
    handle: int = 0


class TlsFlowRateCommand(_TlsFlowRateCommand, Structure):
    """TLS_FLOW_RATE. Command, 32 bytes.

    Sets the rate limit of a transmit flow. Lifting it sends at once what the limit held back.
    """

    __slots__ = ()

    NAME = "tls_flow_rate_command"
    KIND = "command"
    OPCODE = 0x103
    SIZE = 32
    STRUCT = Struct("<H2xIQ4xI8x")
    RESERVED = 0xFFFFFFFFFFFFFFFF00000000FFFFFFFF000000000000000000000000FFFF0000
    OFFSET_OPCODE = 0
    OFFSET_COMMAND_ID = 4
    OFFSET_RATE_BYTES_PER_S = 8
    OFFSET_HANDLE = 20
    MEMBERS = (
        ("opcode", 0, 2, False, "CommandOpcode"),
        ("command_id", 4, 4, False, None),
        ("rate_bytes_per_s", 8, 8, False, None),
        ("handle", 20, 4, False, None),
    )


class _TlsFlowDestroyCommand(NamedTuple):
    opcode: int = 0x104
    command_id: int = 0
    handle: int = 0


class TlsFlowDestroyCommand(_TlsFlowDestroyCommand, Structure):
    """TLS_FLOW_DESTROY. Command, 32 bytes.

    Destroys a flow and wipes its key. The response comes when everything that was posted before the
    command has left, so it may come after those of later commands. From the command on the handle
    is refused by others, and the 5-tuple is free.
    """

    __slots__ = ()

    NAME = "tls_flow_destroy_command"
    KIND = "command"
    OPCODE = 0x104
    SIZE = 32
    STRUCT = Struct("<H2xI12xI8x")
    RESERVED = 0xFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFFFFFFFFFF00000000FFFF0000
    OFFSET_OPCODE = 0
    OFFSET_COMMAND_ID = 4
    OFFSET_HANDLE = 20
    MEMBERS = (
        ("opcode", 0, 2, False, "CommandOpcode"),
        ("command_id", 4, 4, False, None),
        ("handle", 20, 4, False, None),
    )


class _TlsResyncAnswerCommand(NamedTuple):
    opcode: int = 0x105
    command_id: int = 0
    record_number: int = 0
    tcp_sequence: int = 0
    handle: int = 0
    question: int = 0
    found: int = 0


class TlsResyncAnswerCommand(_TlsResyncAnswerCommand, Structure):
    """TLS_RESYNC_ANSWER. Command, 32 bytes.

    Answers a resync question. The record number is that of the record whose header starts at
    tcp_sequence.
    """

    __slots__ = ()

    NAME = "tls_resync_answer_command"
    KIND = "command"
    OPCODE = 0x105
    SIZE = 32
    STRUCT = Struct("<H2xIQIIIB3x")
    RESERVED = 0xFFFFFF00000000000000000000000000000000000000000000000000FFFF0000
    OFFSET_OPCODE = 0
    OFFSET_COMMAND_ID = 4
    OFFSET_RECORD_NUMBER = 8
    OFFSET_TCP_SEQUENCE = 16
    OFFSET_HANDLE = 20
    OFFSET_QUESTION = 24
    OFFSET_FOUND = 28
    MEMBERS = (
        ("opcode", 0, 2, False, "CommandOpcode"),
        ("command_id", 4, 4, False, None),
        ("record_number", 8, 8, False, None),
        ("tcp_sequence", 16, 4, False, None),
        ("handle", 20, 4, False, None),
        ("question", 24, 4, False, None),
        ("found", 28, 1, False, None),
    )


class _TlsResyncHintCommand(NamedTuple):
    opcode: int = 0x106
    command_id: int = 0
    record_number: int = 0
    tcp_sequence: int = 0
    handle: int = 0


class TlsResyncHintCommand(_TlsResyncHintCommand, Structure):
    """TLS_RESYNC_HINT. Command, 32 bytes.

    Tells where a record starts, unasked (next-record hint of the stack).
    """

    __slots__ = ()

    NAME = "tls_resync_hint_command"
    KIND = "command"
    OPCODE = 0x106
    SIZE = 32
    STRUCT = Struct("<H2xIQII8x")
    RESERVED = 0xFFFFFFFFFFFFFFFF0000000000000000000000000000000000000000FFFF0000
    OFFSET_OPCODE = 0
    OFFSET_COMMAND_ID = 4
    OFFSET_RECORD_NUMBER = 8
    OFFSET_TCP_SEQUENCE = 16
    OFFSET_HANDLE = 20
    MEMBERS = (
        ("opcode", 0, 2, False, "CommandOpcode"),
        ("command_id", 4, 4, False, None),
        ("record_number", 8, 8, False, None),
        ("tcp_sequence", 16, 4, False, None),
        ("handle", 20, 4, False, None),
    )


class _TlsFlow(NamedTuple):
    direction: int = 0
    ip_version: int = 0
    flags: int = 0
    tls_version: int = 0
    vlan_id: int = 0
    suite: int = 0
    record_number: int = 0
    tcp_sequence: int = 0
    local_port: int = 0
    remote_port: int = 0
    rate_bytes_per_s: int = 0
    key_length: int = 0
    iv_length: int = 0
    mac_key_length: int = 0
    max_plaintext: int = 0
    local_address: bytes = bytes(16)
    remote_address: bytes = bytes(16)
    key: bytes = bytes(32)
    iv: bytes = bytes(16)
    mac_key: bytes = bytes(48)


class TlsFlow(_TlsFlow, Structure):
    """TLS flow block. Block, 176 bytes.

    Everything that a flow context starts from.
    """

    __slots__ = ()

    NAME = "tls_flow"
    KIND = "block"
    SIZE = 176
    STRUCT = Struct("<BBHHHQQIHHQHHHH16s16s32s16s48s")
    RESERVED = 0xFFE00000
    SECRET = ("key", "iv", "mac_key")
    __repr__ = Structure.__repr__
    OFFSET_DIRECTION = 0
    OFFSET_IP_VERSION = 1
    OFFSET_FLAGS = 2
    OFFSET_TLS_VERSION = 4
    OFFSET_VLAN_ID = 6
    OFFSET_SUITE = 8
    OFFSET_RECORD_NUMBER = 16
    OFFSET_TCP_SEQUENCE = 24
    OFFSET_LOCAL_PORT = 28
    OFFSET_REMOTE_PORT = 30
    OFFSET_RATE_BYTES_PER_S = 32
    OFFSET_KEY_LENGTH = 40
    OFFSET_IV_LENGTH = 42
    OFFSET_MAC_KEY_LENGTH = 44
    OFFSET_MAX_PLAINTEXT = 46
    OFFSET_LOCAL_ADDRESS = 48
    OFFSET_REMOTE_ADDRESS = 64
    OFFSET_KEY = 80
    OFFSET_IV = 112
    OFFSET_MAC_KEY = 128
    MEMBERS = (
        ("direction", 0, 1, False, "TlsDirection"),
        ("ip_version", 1, 1, False, None),
        ("flags", 2, 2, False, "TlsFlowFlags"),
        ("tls_version", 4, 2, False, None),
        ("vlan_id", 6, 2, False, None),
        ("suite", 8, 8, False, "CipherSuite"),
        ("record_number", 16, 8, False, None),
        ("tcp_sequence", 24, 4, False, None),
        ("local_port", 28, 2, False, None),
        ("remote_port", 30, 2, False, None),
        ("rate_bytes_per_s", 32, 8, False, None),
        ("key_length", 40, 2, False, None),
        ("iv_length", 42, 2, False, None),
        ("mac_key_length", 44, 2, False, None),
        ("max_plaintext", 46, 2, False, None),
        ("local_address", 48, 16, True, None),
        ("remote_address", 64, 16, True, None),
        ("key", 80, 32, True, None),
        ("iv", 112, 16, True, None),
        ("mac_key", 128, 48, True, None),
    )


class _TlsFlowState(NamedTuple):
    tracker_state: int = 0
    direction: int = 0
    tcp_sequence: int = 0
    record_number: int = 0
    packets: int = 0
    payload_bytes: int = 0
    out_of_order: int = 0
    not_offloaded: int = 0
    questions: int = 0
    auth_failures: int = 0
    presynced: int = 0
    rate_bytes_per_s: int = 0
    record_iv: bytes = bytes(16)
    host_resyncs: int = 0
    tag_resyncs: int = 0


class TlsFlowState(_TlsFlowState, Structure):
    """TLS flow state block. Block, 112 bytes.

    What TLS_FLOW_QUERY writes. Never key material.
    """

    __slots__ = ()

    NAME = "tls_flow_state"
    KIND = "block"
    SIZE = 112
    STRUCT = Struct("<BB2xIQQQQQQQQQ16sQQ")
    RESERVED = 0xFFFF0000
    OFFSET_TRACKER_STATE = 0
    OFFSET_DIRECTION = 1
    OFFSET_TCP_SEQUENCE = 4
    OFFSET_RECORD_NUMBER = 8
    OFFSET_PACKETS = 16
    OFFSET_PAYLOAD_BYTES = 24
    OFFSET_OUT_OF_ORDER = 32
    OFFSET_NOT_OFFLOADED = 40
    OFFSET_QUESTIONS = 48
    OFFSET_AUTH_FAILURES = 56
    OFFSET_PRESYNCED = 64
    OFFSET_RATE_BYTES_PER_S = 72
    OFFSET_RECORD_IV = 80
    OFFSET_HOST_RESYNCS = 96
    OFFSET_TAG_RESYNCS = 104
    MEMBERS = (
        ("tracker_state", 0, 1, False, "TlsTrackerState"),
        ("direction", 1, 1, False, "TlsDirection"),
        ("tcp_sequence", 4, 4, False, None),
        ("record_number", 8, 8, False, None),
        ("packets", 16, 8, False, None),
        ("payload_bytes", 24, 8, False, None),
        ("out_of_order", 32, 8, False, None),
        ("not_offloaded", 40, 8, False, None),
        ("questions", 48, 8, False, None),
        ("auth_failures", 56, 8, False, None),
        ("presynced", 64, 8, False, None),
        ("rate_bytes_per_s", 72, 8, False, None),
        ("record_iv", 80, 16, True, None),
        ("host_resyncs", 96, 8, False, None),
        ("tag_resyncs", 104, 8, False, None),
    )


class _TlsPresync(NamedTuple):
    tcp_sequence: int = 0
    flags: int = 0
    prefix_length: int = 0
    record_number: int = 0
    record_header: bytes = bytes(24)


class TlsPresync(_TlsPresync, Structure):
    """TLS presync block. Block, 48 bytes.

    Tells the device where in which record a packet starts that is not next in order.
    """

    __slots__ = ()

    NAME = "tls_presync"
    KIND = "block"
    SIZE = 48
    STRUCT = Struct("<IHHQ24s8x")
    RESERVED = int(
        "ffffffffffffffff0000000000000000000000000000000000000000000000000000000000000000"
        "0000fff800000000",
        16,
    )
    OFFSET_TCP_SEQUENCE = 0
    OFFSET_FLAGS = 4
    OFFSET_PREFIX_LENGTH = 6
    OFFSET_RECORD_NUMBER = 8
    OFFSET_RECORD_HEADER = 16
    MEMBERS = (
        ("tcp_sequence", 0, 4, False, None),
        ("flags", 4, 2, False, "PresyncFlags"),
        ("prefix_length", 6, 2, False, None),
        ("record_number", 8, 8, False, None),
        ("record_header", 16, 24, True, None),
    )


class _Event(NamedTuple):
    type: int = 0
    queue: int = 0
    kind: int = 0
    handle: int = 0
    value0: int = 0
    value1: int = 0
    sequence: int = 0
    flags: int = 0


class Event(_Event, Structure):
    """Event. Event, 32 bytes.

    Entry of the event ring: the part that all events have.
    """

    __slots__ = ()

    NAME = "event"
    KIND = "event"
    SIZE = 32
    STRUCT = Struct("<HBBIQQI2xH")
    RESERVED = 0x7FFFFFFF00000000000000000000000000000000000000000000000000000000
    OFFSET_TYPE = 0
    OFFSET_QUEUE = 2
    OFFSET_KIND = 3
    OFFSET_HANDLE = 4
    OFFSET_VALUE0 = 8
    OFFSET_VALUE1 = 16
    OFFSET_SEQUENCE = 24
    OFFSET_FLAGS = 30
    MEMBERS = (
        ("type", 0, 2, False, "EventType"),
        ("queue", 2, 1, False, None),
        ("kind", 3, 1, False, "QueueKind"),
        ("handle", 4, 4, False, None),
        ("value0", 8, 8, False, None),
        ("value1", 16, 8, False, None),
        ("sequence", 24, 4, False, None),
        ("flags", 30, 2, False, "CompletionFlags"),
    )


class _LinkChangeEvent(NamedTuple):
    type: int = 0x1
    queue: int = 0
    kind: int = 0
    handle: int = 0
    link_up: int = 0
    mbps: int = 0
    sequence: int = 0
    flags: int = 0


class LinkChangeEvent(_LinkChangeEvent, Structure):
    """LINK_CHANGE. Event, 32 bytes.

    The link went up or down.
    """

    __slots__ = ()

    NAME = "link_change_event"
    KIND = "event"
    OPCODE = 0x1
    SIZE = 32
    STRUCT = Struct("<HBBIQQI2xH")
    RESERVED = 0x7FFFFFFF00000000000000000000000000000000000000000000000000000000
    OFFSET_TYPE = 0
    OFFSET_QUEUE = 2
    OFFSET_KIND = 3
    OFFSET_HANDLE = 4
    OFFSET_LINK_UP = 8
    OFFSET_MBPS = 16
    OFFSET_SEQUENCE = 24
    OFFSET_FLAGS = 30
    MEMBERS = (
        ("type", 0, 2, False, "EventType"),
        ("queue", 2, 1, False, None),
        ("kind", 3, 1, False, "QueueKind"),
        ("handle", 4, 4, False, None),
        ("link_up", 8, 8, False, None),
        ("mbps", 16, 8, False, None),
        ("sequence", 24, 4, False, None),
        ("flags", 30, 2, False, "CompletionFlags"),
    )


class _QueueErrorEvent(NamedTuple):
    type: int = 0x2
    queue: int = 0
    kind: int = 0
    handle: int = 0
    code: int = 0
    address: int = 0
    sequence: int = 0
    flags: int = 0


class QueueErrorEvent(_QueueErrorEvent, Structure):
    """QUEUE_ERROR. Event, 32 bytes.

    A queue went to ERROR; queue and kind say which.
    """

    __slots__ = ()

    NAME = "queue_error_event"
    KIND = "event"
    OPCODE = 0x2
    SIZE = 32
    STRUCT = Struct("<HBBIQQI2xH")
    RESERVED = 0x7FFFFFFF00000000000000000000000000000000000000000000000000000000
    OFFSET_TYPE = 0
    OFFSET_QUEUE = 2
    OFFSET_KIND = 3
    OFFSET_HANDLE = 4
    OFFSET_CODE = 8
    OFFSET_ADDRESS = 16
    OFFSET_SEQUENCE = 24
    OFFSET_FLAGS = 30
    MEMBERS = (
        ("type", 0, 2, False, "EventType"),
        ("queue", 2, 1, False, None),
        ("kind", 3, 1, False, "QueueKind"),
        ("handle", 4, 4, False, None),
        ("code", 8, 8, False, "Diagnostic"),
        ("address", 16, 8, False, None),
        ("sequence", 24, 4, False, None),
        ("flags", 30, 2, False, "CompletionFlags"),
    )


class _DiagnosticEvent(NamedTuple):
    type: int = 0x3
    queue: int = 0
    kind: int = 0
    handle: int = 0
    code: int = 0
    operand: int = 0
    sequence: int = 0
    flags: int = 0


class DiagnosticEvent(_DiagnosticEvent, Structure):
    """DIAGNOSTIC. Event, 32 bytes.

    A diagnostic was raised.
    """

    __slots__ = ()

    NAME = "diagnostic_event"
    KIND = "event"
    OPCODE = 0x3
    SIZE = 32
    STRUCT = Struct("<HBBIQQI2xH")
    RESERVED = 0x7FFFFFFF00000000000000000000000000000000000000000000000000000000
    OFFSET_TYPE = 0
    OFFSET_QUEUE = 2
    OFFSET_KIND = 3
    OFFSET_HANDLE = 4
    OFFSET_CODE = 8
    OFFSET_OPERAND = 16
    OFFSET_SEQUENCE = 24
    OFFSET_FLAGS = 30
    MEMBERS = (
        ("type", 0, 2, False, "EventType"),
        ("queue", 2, 1, False, None),
        ("kind", 3, 1, False, "QueueKind"),
        ("handle", 4, 4, False, None),
        ("code", 8, 8, False, "Diagnostic"),
        ("operand", 16, 8, False, None),
        ("sequence", 24, 4, False, None),
        ("flags", 30, 2, False, "CompletionFlags"),
    )


class _ResyncRequestEvent(NamedTuple):
    type: int = 0x4
    queue: int = 0
    kind: int = 0
    handle: int = 0
    tcp_sequence: int = 0
    question: int = 0
    record_number: int = 0
    sequence: int = 0
    flags: int = 0


class ResyncRequestEvent(_ResyncRequestEvent, Structure):
    """RESYNC_REQUEST. Event, 32 bytes.

    The tracker of a receive flow follows what looks like records, and asks whether one starts at
    tcp_sequence.
    """

    __slots__ = ()

    NAME = "resync_request_event"
    KIND = "event"
    OPCODE = 0x4
    SIZE = 32
    STRUCT = Struct("<HBBIIIQI2xH")
    RESERVED = 0x7FFFFFFF00000000000000000000000000000000000000000000000000000000
    OFFSET_TYPE = 0
    OFFSET_QUEUE = 2
    OFFSET_KIND = 3
    OFFSET_HANDLE = 4
    OFFSET_TCP_SEQUENCE = 8
    OFFSET_QUESTION = 12
    OFFSET_RECORD_NUMBER = 16
    OFFSET_SEQUENCE = 24
    OFFSET_FLAGS = 30
    MEMBERS = (
        ("type", 0, 2, False, "EventType"),
        ("queue", 2, 1, False, None),
        ("kind", 3, 1, False, "QueueKind"),
        ("handle", 4, 4, False, None),
        ("tcp_sequence", 8, 4, False, None),
        ("question", 12, 4, False, None),
        ("record_number", 16, 8, False, None),
        ("sequence", 24, 4, False, None),
        ("flags", 30, 2, False, "CompletionFlags"),
    )


class _FlowErrorEvent(NamedTuple):
    type: int = 0x5
    queue: int = 0
    kind: int = 0
    handle: int = 0
    code: int = 0
    tcp_sequence: int = 0
    sequence: int = 0
    flags: int = 0


class FlowErrorEvent(_FlowErrorEvent, Structure):
    """FLOW_ERROR. Event, 32 bytes.

    A flow cannot be offloaded any more; its packets come as on the wire, or are dropped on
    transmit.
    """

    __slots__ = ()

    NAME = "flow_error_event"
    KIND = "event"
    OPCODE = 0x5
    SIZE = 32
    STRUCT = Struct("<HBBIQQI2xH")
    RESERVED = 0x7FFFFFFF00000000000000000000000000000000000000000000000000000000
    OFFSET_TYPE = 0
    OFFSET_QUEUE = 2
    OFFSET_KIND = 3
    OFFSET_HANDLE = 4
    OFFSET_CODE = 8
    OFFSET_TCP_SEQUENCE = 16
    OFFSET_SEQUENCE = 24
    OFFSET_FLAGS = 30
    MEMBERS = (
        ("type", 0, 2, False, "EventType"),
        ("queue", 2, 1, False, None),
        ("kind", 3, 1, False, "QueueKind"),
        ("handle", 4, 4, False, None),
        ("code", 8, 8, False, "Diagnostic"),
        ("tcp_sequence", 16, 8, False, None),
        ("sequence", 24, 4, False, None),
        ("flags", 30, 2, False, "CompletionFlags"),
    )


class _Trace(NamedTuple):
    type: int = 0
    card: int = 0
    flags: int = 0
    now_ns: int = 0


class Trace(_Trace, Structure):
    """Trace record. Trace, 16 bytes.

    One packet on a bus interface of a capture: the part that all have.
    """

    __slots__ = ()

    NAME = "trace"
    KIND = "trace"
    SIZE = 16
    STRUCT = Struct("<HBB4xQ")
    RESERVED = 0xFFFFFFFFF0000000
    OFFSET_TYPE = 0
    OFFSET_CARD = 2
    OFFSET_FLAGS = 3
    OFFSET_NOW_NS = 8
    MEMBERS = (
        ("type", 0, 2, False, "TraceType"),
        ("card", 2, 1, False, None),
        ("flags", 3, 1, False, "TraceFlags"),
        ("now_ns", 8, 8, False, None),
    )


class _TraceRegisterRead(NamedTuple):
    type: int = 0x1
    card: int = 0
    flags: int = 0
    now_ns: int = 0
    bar: int = 0
    width: int = 0
    offset: int = 0
    value: int = 0


class TraceRegisterRead(_TraceRegisterRead, Structure):
    """REGISTER_READ. Trace, 32 bytes.

    The host read a register.
    """

    __slots__ = ()

    NAME = "trace_register_read"
    KIND = "trace"
    OPCODE = 0x1
    SIZE = 32
    STRUCT = Struct("<HBB4xQBB2xIQ")
    RESERVED = 0xFFFF00000000000000000000FFFFFFFFF0000000
    OFFSET_TYPE = 0
    OFFSET_CARD = 2
    OFFSET_FLAGS = 3
    OFFSET_NOW_NS = 8
    OFFSET_BAR = 16
    OFFSET_WIDTH = 17
    OFFSET_OFFSET = 20
    OFFSET_VALUE = 24
    MEMBERS = (
        ("type", 0, 2, False, "TraceType"),
        ("card", 2, 1, False, None),
        ("flags", 3, 1, False, "TraceFlags"),
        ("now_ns", 8, 8, False, None),
        ("bar", 16, 1, False, None),
        ("width", 17, 1, False, None),
        ("offset", 20, 4, False, None),
        ("value", 24, 8, False, None),
    )


class _TraceRegisterWrite(NamedTuple):
    type: int = 0x2
    card: int = 0
    flags: int = 0
    now_ns: int = 0
    bar: int = 0
    width: int = 0
    offset: int = 0
    value: int = 0


class TraceRegisterWrite(_TraceRegisterWrite, Structure):
    """REGISTER_WRITE. Trace, 32 bytes.

    The host wrote a register or rang a doorbell.
    """

    __slots__ = ()

    NAME = "trace_register_write"
    KIND = "trace"
    OPCODE = 0x2
    SIZE = 32
    STRUCT = Struct("<HBB4xQBB2xIQ")
    RESERVED = 0xFFFF00000000000000000000FFFFFFFFF0000000
    OFFSET_TYPE = 0
    OFFSET_CARD = 2
    OFFSET_FLAGS = 3
    OFFSET_NOW_NS = 8
    OFFSET_BAR = 16
    OFFSET_WIDTH = 17
    OFFSET_OFFSET = 20
    OFFSET_VALUE = 24
    MEMBERS = (
        ("type", 0, 2, False, "TraceType"),
        ("card", 2, 1, False, None),
        ("flags", 3, 1, False, "TraceFlags"),
        ("now_ns", 8, 8, False, None),
        ("bar", 16, 1, False, None),
        ("width", 17, 1, False, None),
        ("offset", 20, 4, False, None),
        ("value", 24, 8, False, None),
    )


class _TraceDmaRead(NamedTuple):
    type: int = 0x3
    card: int = 0
    flags: int = 0
    now_ns: int = 0
    address: int = 0
    length: int = 0
    queue: int = 0
    kind: int = 0
    purpose: int = 0


class TraceDmaRead(_TraceDmaRead, Structure):
    """DMA_READ. Trace, 32 bytes.

    The device read host memory. The bytes follow.
    """

    __slots__ = ()

    NAME = "trace_dma_read"
    KIND = "trace"
    OPCODE = 0x3
    SIZE = 32
    STRUCT = Struct("<HBB4xQQIBBB1x")
    RESERVED = 0xFF0000000000000000000000000000000000000000000000FFFFFFFFF0000000
    OFFSET_TYPE = 0
    OFFSET_CARD = 2
    OFFSET_FLAGS = 3
    OFFSET_NOW_NS = 8
    OFFSET_ADDRESS = 16
    OFFSET_LENGTH = 24
    OFFSET_QUEUE = 28
    OFFSET_KIND = 29
    OFFSET_PURPOSE = 30
    MEMBERS = (
        ("type", 0, 2, False, "TraceType"),
        ("card", 2, 1, False, None),
        ("flags", 3, 1, False, "TraceFlags"),
        ("now_ns", 8, 8, False, None),
        ("address", 16, 8, False, None),
        ("length", 24, 4, False, None),
        ("queue", 28, 1, False, None),
        ("kind", 29, 1, False, "QueueKind"),
        ("purpose", 30, 1, False, "DmaPurpose"),
    )


class _TraceDmaWrite(NamedTuple):
    type: int = 0x4
    card: int = 0
    flags: int = 0
    now_ns: int = 0
    address: int = 0
    length: int = 0
    queue: int = 0
    kind: int = 0
    purpose: int = 0


class TraceDmaWrite(_TraceDmaWrite, Structure):
    """DMA_WRITE. Trace, 32 bytes.

    The device wrote host memory. The bytes follow.
    """

    __slots__ = ()

    NAME = "trace_dma_write"
    KIND = "trace"
    OPCODE = 0x4
    SIZE = 32
    STRUCT = Struct("<HBB4xQQIBBB1x")
    RESERVED = 0xFF0000000000000000000000000000000000000000000000FFFFFFFFF0000000
    OFFSET_TYPE = 0
    OFFSET_CARD = 2
    OFFSET_FLAGS = 3
    OFFSET_NOW_NS = 8
    OFFSET_ADDRESS = 16
    OFFSET_LENGTH = 24
    OFFSET_QUEUE = 28
    OFFSET_KIND = 29
    OFFSET_PURPOSE = 30
    MEMBERS = (
        ("type", 0, 2, False, "TraceType"),
        ("card", 2, 1, False, None),
        ("flags", 3, 1, False, "TraceFlags"),
        ("now_ns", 8, 8, False, None),
        ("address", 16, 8, False, None),
        ("length", 24, 4, False, None),
        ("queue", 28, 1, False, None),
        ("kind", 29, 1, False, "QueueKind"),
        ("purpose", 30, 1, False, "DmaPurpose"),
    )


class _TraceInterrupt(NamedTuple):
    type: int = 0x5
    card: int = 0
    flags: int = 0
    now_ns: int = 0
    vector: int = 0
    msix: int = 0
    asserted: int = 0


class TraceInterrupt(_TraceInterrupt, Structure):
    """INTERRUPT. Trace, 24 bytes.

    An MSI-X message, or a change of the INTx line.
    """

    __slots__ = ()

    NAME = "trace_interrupt"
    KIND = "trace"
    OPCODE = 0x5
    SIZE = 24
    STRUCT = Struct("<HBB4xQIBB2x")
    RESERVED = 0xFFFF0000000000000000000000000000FFFFFFFFF0000000
    OFFSET_TYPE = 0
    OFFSET_CARD = 2
    OFFSET_FLAGS = 3
    OFFSET_NOW_NS = 8
    OFFSET_VECTOR = 16
    OFFSET_MSIX = 20
    OFFSET_ASSERTED = 21
    MEMBERS = (
        ("type", 0, 2, False, "TraceType"),
        ("card", 2, 1, False, None),
        ("flags", 3, 1, False, "TraceFlags"),
        ("now_ns", 8, 8, False, None),
        ("vector", 16, 4, False, None),
        ("msix", 20, 1, False, None),
        ("asserted", 21, 1, False, None),
    )


class _TraceTlsPacket(NamedTuple):
    type: int = 0x6
    card: int = 0
    flags: int = 0
    now_ns: int = 0
    handle: int = 0
    tcp_sequence: int = 0
    length: int = 0
    direction: int = 0
    outcome: int = 0
    tracker_state: int = 0
    records: int = 0
    record_number: int = 0


class TraceTlsPacket(_TraceTlsPacket, Structure):
    """TLS_PACKET. Trace, 40 bytes.

    What TLS offload did to a packet, or to a super-frame as a whole.
    """

    __slots__ = ()

    NAME = "trace_tls_packet"
    KIND = "trace"
    OPCODE = 0x6
    SIZE = 40
    STRUCT = Struct("<HBB4xQIIIBBBBQ")
    RESERVED = 0xFFFFFFFFF0000000
    OFFSET_TYPE = 0
    OFFSET_CARD = 2
    OFFSET_FLAGS = 3
    OFFSET_NOW_NS = 8
    OFFSET_HANDLE = 16
    OFFSET_TCP_SEQUENCE = 20
    OFFSET_LENGTH = 24
    OFFSET_DIRECTION = 28
    OFFSET_OUTCOME = 29
    OFFSET_TRACKER_STATE = 30
    OFFSET_RECORDS = 31
    OFFSET_RECORD_NUMBER = 32
    MEMBERS = (
        ("type", 0, 2, False, "TraceType"),
        ("card", 2, 1, False, None),
        ("flags", 3, 1, False, "TraceFlags"),
        ("now_ns", 8, 8, False, None),
        ("handle", 16, 4, False, None),
        ("tcp_sequence", 20, 4, False, None),
        ("length", 24, 4, False, None),
        ("direction", 28, 1, False, "TlsDirection"),
        ("outcome", 29, 1, False, "TlsOutcome"),
        ("tracker_state", 30, 1, False, "TlsTrackerState"),
        ("records", 31, 1, False, None),
        ("record_number", 32, 8, False, None),
    )


class _TraceTlsEvent(NamedTuple):
    type: int = 0x7
    card: int = 0
    flags: int = 0
    now_ns: int = 0
    handle: int = 0
    tcp_sequence: int = 0
    event: int = 0
    old_state: int = 0
    new_state: int = 0
    question: int = 0
    record_number: int = 0
    direction: int = 0
    ip_version: int = 0
    local_port: int = 0
    remote_port: int = 0
    tls_version: int = 0
    suite: int = 0
    local_address: bytes = bytes(16)
    remote_address: bytes = bytes(16)


class TraceTlsEvent(_TraceTlsEvent, Structure):
    """TLS_EVENT. Trace, 88 bytes.

    Something happened to a TLS flow besides packets.
    """

    __slots__ = ()

    NAME = "trace_tls_event"
    KIND = "trace"
    OPCODE = 0x7
    SIZE = 88
    STRUCT = Struct("<HBB4xQIIHBBIQBBHHHQ16s16s")
    RESERVED = 0xFFFFFFFFF0000000
    OFFSET_TYPE = 0
    OFFSET_CARD = 2
    OFFSET_FLAGS = 3
    OFFSET_NOW_NS = 8
    OFFSET_HANDLE = 16
    OFFSET_TCP_SEQUENCE = 20
    OFFSET_EVENT = 24
    OFFSET_OLD_STATE = 26
    OFFSET_NEW_STATE = 27
    OFFSET_QUESTION = 28
    OFFSET_RECORD_NUMBER = 32
    OFFSET_DIRECTION = 40
    OFFSET_IP_VERSION = 41
    OFFSET_LOCAL_PORT = 42
    OFFSET_REMOTE_PORT = 44
    OFFSET_TLS_VERSION = 46
    OFFSET_SUITE = 48
    OFFSET_LOCAL_ADDRESS = 56
    OFFSET_REMOTE_ADDRESS = 72
    MEMBERS = (
        ("type", 0, 2, False, "TraceType"),
        ("card", 2, 1, False, None),
        ("flags", 3, 1, False, "TraceFlags"),
        ("now_ns", 8, 8, False, None),
        ("handle", 16, 4, False, None),
        ("tcp_sequence", 20, 4, False, None),
        ("event", 24, 2, False, "TlsEvent"),
        ("old_state", 26, 1, False, "TlsTrackerState"),
        ("new_state", 27, 1, False, "TlsTrackerState"),
        ("question", 28, 4, False, None),
        ("record_number", 32, 8, False, None),
        ("direction", 40, 1, False, "TlsDirection"),
        ("ip_version", 41, 1, False, None),
        ("local_port", 42, 2, False, None),
        ("remote_port", 44, 2, False, None),
        ("tls_version", 46, 2, False, None),
        ("suite", 48, 8, False, "CipherSuite"),
        ("local_address", 56, 16, True, None),
        ("remote_address", 72, 16, True, None),
    )


class _TraceInput(NamedTuple):
    type: int = 0x8
    card: int = 0
    flags: int = 0
    now_ns: int = 0
    input: int = 0
    argument: int = 0
    value: int = 0


class TraceInput(_TraceInput, Structure):
    """INPUT. Trace, 32 bytes.

    Another input of the device: time, link, reset.
    """

    __slots__ = ()

    NAME = "trace_input"
    KIND = "trace"
    OPCODE = 0x8
    SIZE = 32
    STRUCT = Struct("<HBB4xQH2xIQ")
    RESERVED = 0xFFFF00000000000000000000FFFFFFFFF0000000
    OFFSET_TYPE = 0
    OFFSET_CARD = 2
    OFFSET_FLAGS = 3
    OFFSET_NOW_NS = 8
    OFFSET_INPUT = 16
    OFFSET_ARGUMENT = 20
    OFFSET_VALUE = 24
    MEMBERS = (
        ("type", 0, 2, False, "TraceType"),
        ("card", 2, 1, False, None),
        ("flags", 3, 1, False, "TraceFlags"),
        ("now_ns", 8, 8, False, None),
        ("input", 16, 2, False, "DeviceInput"),
        ("argument", 20, 4, False, None),
        ("value", 24, 8, False, None),
    )


class _TraceFrame(NamedTuple):
    type: int = 0x9
    card: int = 0
    flags: int = 0
    now_ns: int = 0
    length: int = 0
    outbound: int = 0
    taken: int = 0
    has_work: int = 0
    work_flags: int = 0
    gso_type: int = 0
    header_length: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0


class TraceFrame(_TraceFrame, Structure):
    """FRAME. Trace, 40 bytes.

    What belongs to a frame besides its bytes, which are the next packet of the wire's interface.
    """

    __slots__ = ()

    NAME = "trace_frame"
    KIND = "trace"
    OPCODE = 0x9
    SIZE = 40
    STRUCT = Struct("<HBB4xQIBBBBB1xHHHH6x")
    RESERVED = int(
        "ffffffffffff0000000000000000ff0000000000000000000000000000000000fffffffff0000000", 16
    )
    OFFSET_TYPE = 0
    OFFSET_CARD = 2
    OFFSET_FLAGS = 3
    OFFSET_NOW_NS = 8
    OFFSET_LENGTH = 16
    OFFSET_OUTBOUND = 20
    OFFSET_TAKEN = 21
    OFFSET_HAS_WORK = 22
    OFFSET_WORK_FLAGS = 23
    OFFSET_GSO_TYPE = 24
    OFFSET_HEADER_LENGTH = 26
    OFFSET_GSO_SIZE = 28
    OFFSET_CSUM_START = 30
    OFFSET_CSUM_OFFSET = 32
    MEMBERS = (
        ("type", 0, 2, False, "TraceType"),
        ("card", 2, 1, False, None),
        ("flags", 3, 1, False, "TraceFlags"),
        ("now_ns", 8, 8, False, None),
        ("length", 16, 4, False, None),
        ("outbound", 20, 1, False, None),
        ("taken", 21, 1, False, None),
        ("has_work", 22, 1, False, None),
        ("work_flags", 23, 1, False, None),
        ("gso_type", 24, 1, False, None),
        ("header_length", 26, 2, False, None),
        ("gso_size", 28, 2, False, None),
        ("csum_start", 30, 2, False, None),
        ("csum_offset", 32, 2, False, None),
    )


COMMANDS: dict[int, type[Structure]] = {
    0x0: NopCommand,
    0x1: StatisticsCommand,
    0x100: TlsFlowCreateCommand,
    0x101: TlsFlowQueryCommand,
    0x102: TlsFlowRekeyCommand,
    0x103: TlsFlowRateCommand,
    0x104: TlsFlowDestroyCommand,
    0x105: TlsResyncAnswerCommand,
    0x106: TlsResyncHintCommand,
}
"""Commands by opcode."""

RESPONSES: dict[int, type[Structure]] = {}
"""Responses by the opcode of the command they answer."""

EVENTS: dict[int, type[Structure]] = {
    0x1: LinkChangeEvent,
    0x2: QueueErrorEvent,
    0x3: DiagnosticEvent,
    0x4: ResyncRequestEvent,
    0x5: FlowErrorEvent,
}
"""Events by type number."""

TRACES: dict[int, type[Structure]] = {
    0x1: TraceRegisterRead,
    0x2: TraceRegisterWrite,
    0x3: TraceDmaRead,
    0x4: TraceDmaWrite,
    0x5: TraceInterrupt,
    0x6: TraceTlsPacket,
    0x7: TraceTlsEvent,
    0x8: TraceInput,
    0x9: TraceFrame,
}
"""Trace records by type number."""

STRUCTURES: dict[str, type[Structure]] = {
    "tx_descriptor": TxDescriptor,
    "tx_completion": TxCompletion,
    "rx_descriptor": RxDescriptor,
    "rx_completion": RxCompletion,
    "command": Command,
    "response": Response,
    "nop_command": NopCommand,
    "statistics_command": StatisticsCommand,
    "tls_flow_create_command": TlsFlowCreateCommand,
    "tls_flow_query_command": TlsFlowQueryCommand,
    "tls_flow_rekey_command": TlsFlowRekeyCommand,
    "tls_flow_rate_command": TlsFlowRateCommand,
    "tls_flow_destroy_command": TlsFlowDestroyCommand,
    "tls_resync_answer_command": TlsResyncAnswerCommand,
    "tls_resync_hint_command": TlsResyncHintCommand,
    "tls_flow": TlsFlow,
    "tls_flow_state": TlsFlowState,
    "tls_presync": TlsPresync,
    "event": Event,
    "link_change_event": LinkChangeEvent,
    "queue_error_event": QueueErrorEvent,
    "diagnostic_event": DiagnosticEvent,
    "resync_request_event": ResyncRequestEvent,
    "flow_error_event": FlowErrorEvent,
    "trace": Trace,
    "trace_register_read": TraceRegisterRead,
    "trace_register_write": TraceRegisterWrite,
    "trace_dma_read": TraceDmaRead,
    "trace_dma_write": TraceDmaWrite,
    "trace_interrupt": TraceInterrupt,
    "trace_tls_packet": TraceTlsPacket,
    "trace_tls_event": TraceTlsEvent,
    "trace_input": TraceInput,
    "trace_frame": TraceFrame,
}
"""All structures by their name in the hardware description."""
