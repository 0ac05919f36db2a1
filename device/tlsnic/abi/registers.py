"""Registers of the hardware interface: offsets, field shifts and masks, and the table.

`NAME` is a register's byte offset in its BAR (of element 0 of an array), `NAME_STRIDE` the distance
between elements of an array or of a register file, `NAME_COUNT` their number. `NAME_FIELD_MASK` is
a field in place, `NAME_FIELD_SHIFT` its lowest bit; a field that fills its register has neither.

Generated from rdl/tlsnic.rdl by `python -m tlsnic.abi.generate`; do not edit.
"""

from tlsnic.abi.layout import RegisterMap

TX_QUEUE_STRIDE = 0x40
TX_QUEUE_COUNT = 16

RX_QUEUE_STRIDE = 0x40
RX_QUEUE_COUNT = 16

MAGIC = 0x0

VERSION = 0x4
VERSION_MINOR_SHIFT = 0
VERSION_MINOR_MASK = 0xFFFF
VERSION_MAJOR_SHIFT = 16
VERSION_MAJOR_MASK = 0xFFFF0000

CAP_QUEUES = 0x8
CAP_QUEUES_TX_QUEUES_SHIFT = 0
CAP_QUEUES_TX_QUEUES_MASK = 0xFF
CAP_QUEUES_RX_QUEUES_SHIFT = 8
CAP_QUEUES_RX_QUEUES_MASK = 0xFF00
CAP_QUEUES_VECTORS_SHIFT = 16
CAP_QUEUES_VECTORS_MASK = 0xFF0000

CAP_RINGS = 0xC
CAP_RINGS_MIN_LOG2_SHIFT = 0
CAP_RINGS_MIN_LOG2_MASK = 0xFF
CAP_RINGS_MAX_LOG2_SHIFT = 8
CAP_RINGS_MAX_LOG2_MASK = 0xFF00
CAP_RINGS_MAX_CHAIN_SHIFT = 16
CAP_RINGS_MAX_CHAIN_MASK = 0xFF0000
CAP_RINGS_MIN_RX_BUFFER_SHIFT = 24
CAP_RINGS_MIN_RX_BUFFER_MASK = 0xFF000000

CAP_OFFLOADS = 0x10

CAP_FRAME = 0x14
CAP_FRAME_FRAME_BYTES_SHIFT = 0
CAP_FRAME_FRAME_BYTES_MASK = 0xFFFF
CAP_FRAME_SEGMENT_PAYLOAD_BYTES_SHIFT = 16
CAP_FRAME_SEGMENT_PAYLOAD_BYTES_MASK = 0xFFFF0000

CAP_TLS_TX = 0x18

CAP_TLS_RX = 0x20

CAP_TLS_FLOWS = 0x28

CAP_TLS_FEATURES = 0x2C

CONTROL = 0x40
CONTROL_RESET_SHIFT = 0
CONTROL_RESET_MASK = 0x1
CONTROL_RX_ENABLE_SHIFT = 1
CONTROL_RX_ENABLE_MASK = 0x2
CONTROL_TX_ENABLE_SHIFT = 2
CONTROL_TX_ENABLE_MASK = 0x4

STATUS = 0x44
STATUS_READY_SHIFT = 0
STATUS_READY_MASK = 0x1
STATUS_LINK_UP_SHIFT = 1
STATUS_LINK_UP_MASK = 0x2
STATUS_RESET_COUNT_SHIFT = 16
STATUS_RESET_COUNT_MASK = 0xFFFF0000

LINK_SPEED = 0x48

MAX_FRAME = 0x4C
MAX_FRAME_BYTES_SHIFT = 0
MAX_FRAME_BYTES_MASK = 0xFFFF

MAC_ADDRESS = 0x50
MAC_ADDRESS_ADDRESS_SHIFT = 0
MAC_ADDRESS_ADDRESS_MASK = 0xFFFFFFFFFFFF

OFFLOAD_ENABLE = 0x58

RX_COALESCE = 0x5C
RX_COALESCE_TIMEOUT_US_SHIFT = 0
RX_COALESCE_TIMEOUT_US_MASK = 0xFFFF
RX_COALESCE_MAX_KIB_SHIFT = 16
RX_COALESCE_MAX_KIB_MASK = 0xFF0000
RX_COALESCE_MAX_SEGMENTS_SHIFT = 24
RX_COALESCE_MAX_SEGMENTS_MASK = 0xFF000000

TLS_RESYNC = 0x60

INT_CAUSE = 0x80

INT_ENABLE = 0x88

INT_TRIGGER = 0x90

DIAG_LAST = 0xA0
DIAG_LAST_CODE_SHIFT = 0
DIAG_LAST_CODE_MASK = 0xFFFF
DIAG_LAST_QUEUE_SHIFT = 16
DIAG_LAST_QUEUE_MASK = 0xFF0000
DIAG_LAST_KIND_SHIFT = 24
DIAG_LAST_KIND_MASK = 0xFF000000

DIAG_COUNT = 0xA4

DIAG_OPERAND = 0xA8

EVENT_ENABLE = 0xB0

RX_FILTER = 0xC0
RX_FILTER_PROMISCUOUS_SHIFT = 0
RX_FILTER_PROMISCUOUS_MASK = 0x1
RX_FILTER_ALL_MULTICAST_SHIFT = 1
RX_FILTER_ALL_MULTICAST_MASK = 0x2
RX_FILTER_BROADCAST_SHIFT = 2
RX_FILTER_BROADCAST_MASK = 0x4
RX_FILTER_VLAN_FILTER_SHIFT = 3
RX_FILTER_VLAN_FILTER_MASK = 0x8

MAC_FILTER = 0x100
MAC_FILTER_STRIDE = 0x8
MAC_FILTER_COUNT = 32
MAC_FILTER_ADDRESS_SHIFT = 0
MAC_FILTER_ADDRESS_MASK = 0xFFFFFFFFFFFF
MAC_FILTER_VALID_SHIFT = 63
MAC_FILTER_VALID_MASK = 0x8000000000000000

VLAN_FILTER = 0x200
VLAN_FILTER_STRIDE = 0x8
VLAN_FILTER_COUNT = 64

RSS_CONTROL = 0x400
RSS_CONTROL_TYPES_SHIFT = 0
RSS_CONTROL_TYPES_MASK = 0xFFFF
RSS_CONTROL_ENABLE_SHIFT = 31
RSS_CONTROL_ENABLE_MASK = 0x80000000

RSS_KEY = 0x410
RSS_KEY_STRIDE = 0x4
RSS_KEY_COUNT = 10

RSS_TABLE = 0x480
RSS_TABLE_STRIDE = 0x4
RSS_TABLE_COUNT = 32
RSS_TABLE_QUEUE0_SHIFT = 0
RSS_TABLE_QUEUE0_MASK = 0xFF
RSS_TABLE_QUEUE1_SHIFT = 8
RSS_TABLE_QUEUE1_MASK = 0xFF00
RSS_TABLE_QUEUE2_SHIFT = 16
RSS_TABLE_QUEUE2_MASK = 0xFF0000
RSS_TABLE_QUEUE3_SHIFT = 24
RSS_TABLE_QUEUE3_MASK = 0xFF000000

MODERATION = 0x600
MODERATION_STRIDE = 0x4
MODERATION_COUNT = 64
MODERATION_USECS_SHIFT = 0
MODERATION_USECS_MASK = 0xFFFF
MODERATION_FRAMES_SHIFT = 16
MODERATION_FRAMES_MASK = 0xFFFF0000

TX_PACKETS = 0x800

TX_SENT_PACKETS = 0x808

TX_FRAMES = 0x810

TX_BYTES = 0x818

TX_SEGMENTED = 0x820

TX_DROP_LINK_DOWN = 0x828

TX_DROP_BAD_PACKET = 0x830

TX_DROP_DMA = 0x838

TX_DROP_TLS = 0x840

TX_WIRE_BUSY = 0x848

RX_WIRE_FRAMES = 0x880

RX_FRAMES = 0x888

RX_BYTES = 0x890

RX_PACKETS = 0x898

RX_MULTICAST = 0x8A0

RX_BROADCAST = 0x8A8

RX_CHECKSUM_BAD = 0x8B0

RX_COALESCED = 0x8B8

RX_DROP_DISABLED = 0x8C0

RX_DROP_FILTER = 0x8C8

RX_DROP_RUNT = 0x8D0

RX_DROP_OVERSIZE = 0x8D8

RX_DROP_NO_BUFFER = 0x8E0

RX_DROP_DMA = 0x8E8

INTERRUPTS = 0x8F0

EVENTS_LOST = 0x8F8

TX_TLS_ENCRYPTED_PACKETS = 0x900

TX_TLS_ENCRYPTED_BYTES = 0x908

TX_TLS_OOO = 0x910

TX_TLS_PRESYNC = 0x918

TX_TLS_DROP_NO_SYNC_DATA = 0x920

TX_TLS_DROP_BAD_HANDLE = 0x928

TX_TLS_SKIP_NO_SYNC_DATA = 0x930

TX_TLS_DROP_BYPASS_REQ = 0x938

RX_TLS_DECRYPTED_PACKETS = 0x940

RX_TLS_DECRYPTED_BYTES = 0x948

RX_TLS_RESYNC_REQ_PKT = 0x950

RX_TLS_RESYNC_REQ_START = 0x958

RX_TLS_RESYNC_REQ_END = 0x960

RX_TLS_RESYNC_REQ_SKIP = 0x968

RX_TLS_RESYNC_RES_OK = 0x970

RX_TLS_RESYNC_RES_SKIP = 0x978

RX_TLS_RESYNC_TAG = 0x980

RX_TLS_ERR = 0x988

RX_TLS_CTX = 0x990

RX_TLS_DEL = 0x998

TX_TLS_CTX = 0x9C0

TX_TLS_DEL = 0x9C8

TX_TLS_PACED = 0x9D0

ADMIN_QUEUE_RING_BASE = 0x2000

ADMIN_QUEUE_COMPLETION_BASE = 0x2008

ADMIN_QUEUE_RING_SIZE = 0x2010

ADMIN_QUEUE_COMPLETION_SIZE = 0x2014

ADMIN_QUEUE_CONTROL = 0x2018
ADMIN_QUEUE_CONTROL_ENABLE_SHIFT = 0
ADMIN_QUEUE_CONTROL_ENABLE_MASK = 0x1

ADMIN_QUEUE_VECTOR = 0x201C
ADMIN_QUEUE_VECTOR_VECTOR_SHIFT = 0
ADMIN_QUEUE_VECTOR_VECTOR_MASK = 0xFFFF

ADMIN_QUEUE_STATUS = 0x2020
ADMIN_QUEUE_STATUS_STATE_SHIFT = 0
ADMIN_QUEUE_STATUS_STATE_MASK = 0xFF
ADMIN_QUEUE_STATUS_ERROR_CODE_SHIFT = 16
ADMIN_QUEUE_STATUS_ERROR_CODE_MASK = 0xFFFF0000

ADMIN_QUEUE_HEAD = 0x2024

ADMIN_QUEUE_TAIL = 0x2028

ADMIN_QUEUE_COMPLETION_PRODUCER = 0x202C

ADMIN_QUEUE_ERROR_ADDRESS = 0x2030

ADMIN_QUEUE_COMPLETION_CONSUMER = 0x2038

EVENT_QUEUE_RING_BASE = 0x2040

EVENT_QUEUE_COMPLETION_BASE = 0x2048

EVENT_QUEUE_RING_SIZE = 0x2050

EVENT_QUEUE_COMPLETION_SIZE = 0x2054

EVENT_QUEUE_CONTROL = 0x2058
EVENT_QUEUE_CONTROL_ENABLE_SHIFT = 0
EVENT_QUEUE_CONTROL_ENABLE_MASK = 0x1

EVENT_QUEUE_VECTOR = 0x205C
EVENT_QUEUE_VECTOR_VECTOR_SHIFT = 0
EVENT_QUEUE_VECTOR_VECTOR_MASK = 0xFFFF

EVENT_QUEUE_STATUS = 0x2060
EVENT_QUEUE_STATUS_STATE_SHIFT = 0
EVENT_QUEUE_STATUS_STATE_MASK = 0xFF
EVENT_QUEUE_STATUS_ERROR_CODE_SHIFT = 16
EVENT_QUEUE_STATUS_ERROR_CODE_MASK = 0xFFFF0000

EVENT_QUEUE_HEAD = 0x2064

EVENT_QUEUE_TAIL = 0x2068

EVENT_QUEUE_COMPLETION_PRODUCER = 0x206C

EVENT_QUEUE_ERROR_ADDRESS = 0x2070

EVENT_QUEUE_COMPLETION_CONSUMER = 0x2078

TX_QUEUE_RING_BASE = 0x4000

TX_QUEUE_COMPLETION_BASE = 0x4008

TX_QUEUE_RING_SIZE = 0x4010

TX_QUEUE_COMPLETION_SIZE = 0x4014

TX_QUEUE_CONTROL = 0x4018
TX_QUEUE_CONTROL_ENABLE_SHIFT = 0
TX_QUEUE_CONTROL_ENABLE_MASK = 0x1

TX_QUEUE_VECTOR = 0x401C
TX_QUEUE_VECTOR_VECTOR_SHIFT = 0
TX_QUEUE_VECTOR_VECTOR_MASK = 0xFFFF

TX_QUEUE_STATUS = 0x4020
TX_QUEUE_STATUS_STATE_SHIFT = 0
TX_QUEUE_STATUS_STATE_MASK = 0xFF
TX_QUEUE_STATUS_ERROR_CODE_SHIFT = 16
TX_QUEUE_STATUS_ERROR_CODE_MASK = 0xFFFF0000

TX_QUEUE_HEAD = 0x4024

TX_QUEUE_TAIL = 0x4028

TX_QUEUE_COMPLETION_PRODUCER = 0x402C

TX_QUEUE_ERROR_ADDRESS = 0x4030

TX_QUEUE_COMPLETION_CONSUMER = 0x4038

RX_QUEUE_RING_BASE = 0x6000

RX_QUEUE_COMPLETION_BASE = 0x6008

RX_QUEUE_RING_SIZE = 0x6010

RX_QUEUE_COMPLETION_SIZE = 0x6014

RX_QUEUE_CONTROL = 0x6018
RX_QUEUE_CONTROL_ENABLE_SHIFT = 0
RX_QUEUE_CONTROL_ENABLE_MASK = 0x1

RX_QUEUE_VECTOR = 0x601C
RX_QUEUE_VECTOR_VECTOR_SHIFT = 0
RX_QUEUE_VECTOR_VECTOR_MASK = 0xFFFF

RX_QUEUE_STATUS = 0x6020
RX_QUEUE_STATUS_STATE_SHIFT = 0
RX_QUEUE_STATUS_STATE_MASK = 0xFF
RX_QUEUE_STATUS_ERROR_CODE_SHIFT = 16
RX_QUEUE_STATUS_ERROR_CODE_MASK = 0xFFFF0000

RX_QUEUE_HEAD = 0x6024

RX_QUEUE_TAIL = 0x6028

RX_QUEUE_COMPLETION_PRODUCER = 0x602C

RX_QUEUE_ERROR_ADDRESS = 0x6030

RX_QUEUE_COMPLETION_CONSUMER = 0x6038

TX_DOORBELL_STRIDE = 0x8
TX_DOORBELL_COUNT = 16

RX_DOORBELL_STRIDE = 0x8
RX_DOORBELL_COUNT = 16

TX_DOORBELL_TAIL = 0x0
TX_DOORBELL_TAIL_INDEX_SHIFT = 0
TX_DOORBELL_TAIL_INDEX_MASK = 0x7FFFFFFF

TX_DOORBELL_COMPLETION = 0x4
TX_DOORBELL_COMPLETION_INDEX_SHIFT = 0
TX_DOORBELL_COMPLETION_INDEX_MASK = 0x7FFFFFFF
TX_DOORBELL_COMPLETION_ARM_SHIFT = 31
TX_DOORBELL_COMPLETION_ARM_MASK = 0x80000000

RX_DOORBELL_TAIL = 0x400
RX_DOORBELL_TAIL_INDEX_SHIFT = 0
RX_DOORBELL_TAIL_INDEX_MASK = 0x7FFFFFFF

RX_DOORBELL_COMPLETION = 0x404
RX_DOORBELL_COMPLETION_INDEX_SHIFT = 0
RX_DOORBELL_COMPLETION_INDEX_MASK = 0x7FFFFFFF
RX_DOORBELL_COMPLETION_ARM_SHIFT = 31
RX_DOORBELL_COMPLETION_ARM_MASK = 0x80000000

ADMIN_DOORBELL_TAIL = 0x800
ADMIN_DOORBELL_TAIL_INDEX_SHIFT = 0
ADMIN_DOORBELL_TAIL_INDEX_MASK = 0x7FFFFFFF

ADMIN_DOORBELL_COMPLETION = 0x804
ADMIN_DOORBELL_COMPLETION_INDEX_SHIFT = 0
ADMIN_DOORBELL_COMPLETION_INDEX_MASK = 0x7FFFFFFF
ADMIN_DOORBELL_COMPLETION_ARM_SHIFT = 31
ADMIN_DOORBELL_COMPLETION_ARM_MASK = 0x80000000

EVENT_DOORBELL_TAIL = 0x808
EVENT_DOORBELL_TAIL_INDEX_SHIFT = 0
EVENT_DOORBELL_TAIL_INDEX_MASK = 0x7FFFFFFF

EVENT_DOORBELL_COMPLETION = 0x80C
EVENT_DOORBELL_COMPLETION_INDEX_SHIFT = 0
EVENT_DOORBELL_COMPLETION_INDEX_MASK = 0x7FFFFFFF
EVENT_DOORBELL_COMPLETION_ARM_SHIFT = 31
EVENT_DOORBELL_COMPLETION_ARM_MASK = 0x80000000

BAR0 = RegisterMap(
    "bar0",
    0x10000,
    (
        (
            "MAGIC",
            0x0,
            32,
            1,
            0x0,
            False,
            "Identification and capabilities",
            (("VALUE", 0, 32, "RO", 0x4E534C54, None),),
        ),
        (
            "VERSION",
            0x4,
            32,
            1,
            0x0,
            False,
            "Identification and capabilities",
            (
                ("MINOR", 0, 16, "RO", 0x1, None),
                ("MAJOR", 16, 16, "RO", 0x0, None),
            ),
        ),
        (
            "CAP_QUEUES",
            0x8,
            32,
            1,
            0x0,
            False,
            "Identification and capabilities",
            (
                ("TX_QUEUES", 0, 8, "RO", 0x10, None),
                ("RX_QUEUES", 8, 8, "RO", 0x10, None),
                ("VECTORS", 16, 8, "RO", 0x40, None),
            ),
        ),
        (
            "CAP_RINGS",
            0xC,
            32,
            1,
            0x0,
            False,
            "Identification and capabilities",
            (
                ("MIN_LOG2", 0, 8, "RO", 0x3, None),
                ("MAX_LOG2", 8, 8, "RO", 0xF, None),
                ("MAX_CHAIN", 16, 8, "RO", 0x40, None),
                ("MIN_RX_BUFFER", 24, 8, "RO", 0x1, None),
            ),
        ),
        (
            "CAP_OFFLOADS",
            0x10,
            32,
            1,
            0x0,
            False,
            "Identification and capabilities",
            (("OFFLOADS", 0, 32, "RO", 0x703FF, "Offload"),),
        ),
        (
            "CAP_FRAME",
            0x14,
            32,
            1,
            0x0,
            False,
            "Identification and capabilities",
            (
                ("FRAME_BYTES", 0, 16, "RO", 0x233E, None),
                ("SEGMENT_PAYLOAD_BYTES", 16, 16, "RO", 0xFFFF, None),
            ),
        ),
        (
            "CAP_TLS_TX",
            0x18,
            64,
            1,
            0x0,
            False,
            "Identification and capabilities",
            (("SUITES", 0, 64, "RO", 0x80001F3F, "CipherSuite"),),
        ),
        (
            "CAP_TLS_RX",
            0x20,
            64,
            1,
            0x0,
            False,
            "Identification and capabilities",
            (("SUITES", 0, 64, "RO", 0x3F, "CipherSuite"),),
        ),
        (
            "CAP_TLS_FLOWS",
            0x28,
            32,
            1,
            0x0,
            False,
            "Identification and capabilities",
            (("CONTEXTS", 0, 32, "RO", 0x40000, None),),
        ),
        (
            "CAP_TLS_FEATURES",
            0x2C,
            32,
            1,
            0x0,
            False,
            "Identification and capabilities",
            (("FEATURES", 0, 32, "RO", 0x1F, "TlsFeature"),),
        ),
        (
            "CONTROL",
            0x40,
            32,
            1,
            0x0,
            False,
            "Device control",
            (
                ("RESET", 0, 1, "W1P", 0x0, None),
                ("RX_ENABLE", 1, 1, "RW", 0x0, None),
                ("TX_ENABLE", 2, 1, "RW", 0x0, None),
            ),
        ),
        (
            "STATUS",
            0x44,
            32,
            1,
            0x0,
            False,
            "Device control",
            (
                ("READY", 0, 1, "RO", 0x1, None),
                ("LINK_UP", 1, 1, "RO", 0x0, None),
                ("RESET_COUNT", 16, 16, "RO", 0x0, None),
            ),
        ),
        (
            "LINK_SPEED",
            0x48,
            32,
            1,
            0x0,
            False,
            "Device control",
            (("MBPS", 0, 32, "RO", 0x2710, None),),
        ),
        (
            "MAX_FRAME",
            0x4C,
            32,
            1,
            0x0,
            False,
            "Device control",
            (("BYTES", 0, 16, "RW", 0x5EA, None),),
        ),
        (
            "MAC_ADDRESS",
            0x50,
            64,
            1,
            0x0,
            False,
            "Device control",
            (("ADDRESS", 0, 48, "RW", 0x0, None),),
        ),
        (
            "OFFLOAD_ENABLE",
            0x58,
            32,
            1,
            0x0,
            False,
            "Device control",
            (("OFFLOADS", 0, 32, "RW", 0x0, "Offload"),),
        ),
        (
            "RX_COALESCE",
            0x5C,
            32,
            1,
            0x0,
            False,
            "Device control",
            (
                ("TIMEOUT_US", 0, 16, "RW", 0x32, None),
                ("MAX_KIB", 16, 8, "RW", 0x40, None),
                ("MAX_SEGMENTS", 24, 8, "RW", 0x40, None),
            ),
        ),
        (
            "TLS_RESYNC",
            0x60,
            32,
            1,
            0x0,
            False,
            "Device control",
            (("TIMEOUT_US", 0, 32, "RW", 0xF4240, None),),
        ),
        (
            "INT_CAUSE",
            0x80,
            64,
            1,
            0x0,
            False,
            "Interrupts",
            (("VECTORS", 0, 64, "W1C", 0x0, None),),
        ),
        (
            "INT_ENABLE",
            0x88,
            64,
            1,
            0x0,
            False,
            "Interrupts",
            (("VECTORS", 0, 64, "RW", 0x0, None),),
        ),
        (
            "INT_TRIGGER",
            0x90,
            64,
            1,
            0x0,
            False,
            "Interrupts",
            (("VECTORS", 0, 64, "WO", 0x0, None),),
        ),
        (
            "DIAG_LAST",
            0xA0,
            32,
            1,
            0x0,
            False,
            "Diagnostics",
            (
                ("CODE", 0, 16, "RO", 0x0, "Diagnostic"),
                ("QUEUE", 16, 8, "RO", 0x0, None),
                ("KIND", 24, 8, "RO", 0x0, "QueueKind"),
            ),
        ),
        (
            "DIAG_COUNT",
            0xA4,
            32,
            1,
            0x0,
            False,
            "Diagnostics",
            (("COUNT", 0, 32, "RO", 0x0, None),),
        ),
        (
            "DIAG_OPERAND",
            0xA8,
            64,
            1,
            0x0,
            False,
            "Diagnostics",
            (("VALUE", 0, 64, "RO", 0x0, None),),
        ),
        (
            "EVENT_ENABLE",
            0xB0,
            32,
            1,
            0x0,
            False,
            "Diagnostics",
            (("EVENTS", 0, 32, "RW", 0x0, "EventMask"),),
        ),
        (
            "RX_FILTER",
            0xC0,
            32,
            1,
            0x0,
            False,
            "Receive filters",
            (
                ("PROMISCUOUS", 0, 1, "RW", 0x0, None),
                ("ALL_MULTICAST", 1, 1, "RW", 0x0, None),
                ("BROADCAST", 2, 1, "RW", 0x1, None),
                ("VLAN_FILTER", 3, 1, "RW", 0x0, None),
            ),
        ),
        (
            "MAC_FILTER",
            0x100,
            64,
            32,
            0x8,
            False,
            "Receive filters",
            (
                ("ADDRESS", 0, 48, "RW", 0x0, None),
                ("VALID", 63, 1, "RW", 0x0, None),
            ),
        ),
        (
            "VLAN_FILTER",
            0x200,
            64,
            64,
            0x8,
            False,
            "Receive filters",
            (("VLANS", 0, 64, "RW", 0x0, None),),
        ),
        (
            "RSS_CONTROL",
            0x400,
            32,
            1,
            0x0,
            False,
            "Receive-side scaling",
            (
                ("TYPES", 0, 16, "RW", 0x0, "HashType"),
                ("ENABLE", 31, 1, "RW", 0x0, None),
            ),
        ),
        (
            "RSS_KEY",
            0x410,
            32,
            10,
            0x4,
            False,
            "Receive-side scaling",
            (("BYTES", 0, 32, "RW", 0x0, None),),
        ),
        (
            "RSS_TABLE",
            0x480,
            32,
            32,
            0x4,
            False,
            "Receive-side scaling",
            (
                ("QUEUE0", 0, 8, "RW", 0x0, None),
                ("QUEUE1", 8, 8, "RW", 0x0, None),
                ("QUEUE2", 16, 8, "RW", 0x0, None),
                ("QUEUE3", 24, 8, "RW", 0x0, None),
            ),
        ),
        (
            "MODERATION",
            0x600,
            32,
            64,
            0x4,
            False,
            "Interrupts",
            (
                ("USECS", 0, 16, "RW", 0x0, None),
                ("FRAMES", 16, 16, "RW", 0x0, None),
            ),
        ),
        ("TX_PACKETS", 0x800, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        (
            "TX_SENT_PACKETS",
            0x808,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        ("TX_FRAMES", 0x810, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        ("TX_BYTES", 0x818, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        (
            "TX_SEGMENTED",
            0x820,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "TX_DROP_LINK_DOWN",
            0x828,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "TX_DROP_BAD_PACKET",
            0x830,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        ("TX_DROP_DMA", 0x838, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        ("TX_DROP_TLS", 0x840, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        (
            "TX_WIRE_BUSY",
            0x848,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_WIRE_FRAMES",
            0x880,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        ("RX_FRAMES", 0x888, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        ("RX_BYTES", 0x890, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        ("RX_PACKETS", 0x898, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        (
            "RX_MULTICAST",
            0x8A0,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_BROADCAST",
            0x8A8,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_CHECKSUM_BAD",
            0x8B0,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_COALESCED",
            0x8B8,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_DROP_DISABLED",
            0x8C0,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_DROP_FILTER",
            0x8C8,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_DROP_RUNT",
            0x8D0,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_DROP_OVERSIZE",
            0x8D8,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_DROP_NO_BUFFER",
            0x8E0,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        ("RX_DROP_DMA", 0x8E8, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        ("INTERRUPTS", 0x8F0, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        ("EVENTS_LOST", 0x8F8, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        (
            "TX_TLS_ENCRYPTED_PACKETS",
            0x900,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "TX_TLS_ENCRYPTED_BYTES",
            0x908,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        ("TX_TLS_OOO", 0x910, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        (
            "TX_TLS_PRESYNC",
            0x918,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "TX_TLS_DROP_NO_SYNC_DATA",
            0x920,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "TX_TLS_DROP_BAD_HANDLE",
            0x928,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "TX_TLS_SKIP_NO_SYNC_DATA",
            0x930,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "TX_TLS_DROP_BYPASS_REQ",
            0x938,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_TLS_DECRYPTED_PACKETS",
            0x940,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_TLS_DECRYPTED_BYTES",
            0x948,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_TLS_RESYNC_REQ_PKT",
            0x950,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_TLS_RESYNC_REQ_START",
            0x958,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_TLS_RESYNC_REQ_END",
            0x960,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_TLS_RESYNC_REQ_SKIP",
            0x968,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_TLS_RESYNC_RES_OK",
            0x970,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_TLS_RESYNC_RES_SKIP",
            0x978,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_TLS_RESYNC_TAG",
            0x980,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        ("RX_TLS_ERR", 0x988, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        ("RX_TLS_CTX", 0x990, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        ("RX_TLS_DEL", 0x998, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        ("TX_TLS_CTX", 0x9C0, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        ("TX_TLS_DEL", 0x9C8, 64, 1, 0x0, False, "Counters", (("COUNT", 0, 64, "RO", 0x0, None),)),
        (
            "TX_TLS_PACED",
            0x9D0,
            64,
            1,
            0x0,
            False,
            "Counters",
            (("COUNT", 0, 64, "RO", 0x0, None),),
        ),
        (
            "ADMIN_QUEUE_RING_BASE",
            0x2000,
            64,
            1,
            0x0,
            False,
            "Queues",
            (("ADDRESS", 0, 64, "RW", 0x0, None),),
        ),
        (
            "ADMIN_QUEUE_COMPLETION_BASE",
            0x2008,
            64,
            1,
            0x0,
            False,
            "Queues",
            (("ADDRESS", 0, 64, "RW", 0x0, None),),
        ),
        (
            "ADMIN_QUEUE_RING_SIZE",
            0x2010,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("ENTRIES", 0, 32, "RW", 0x0, None),),
        ),
        (
            "ADMIN_QUEUE_COMPLETION_SIZE",
            0x2014,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("ENTRIES", 0, 32, "RW", 0x0, None),),
        ),
        (
            "ADMIN_QUEUE_CONTROL",
            0x2018,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("ENABLE", 0, 1, "RW", 0x0, None),),
        ),
        (
            "ADMIN_QUEUE_VECTOR",
            0x201C,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("VECTOR", 0, 16, "RW", 0x0, None),),
        ),
        (
            "ADMIN_QUEUE_STATUS",
            0x2020,
            32,
            1,
            0x0,
            False,
            "Queues",
            (
                ("STATE", 0, 8, "RO", 0x0, "QueueState"),
                ("ERROR_CODE", 16, 16, "RO", 0x0, "Diagnostic"),
            ),
        ),
        (
            "ADMIN_QUEUE_HEAD",
            0x2024,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "ADMIN_QUEUE_TAIL",
            0x2028,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "ADMIN_QUEUE_COMPLETION_PRODUCER",
            0x202C,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "ADMIN_QUEUE_ERROR_ADDRESS",
            0x2030,
            64,
            1,
            0x0,
            False,
            "Queues",
            (("VALUE", 0, 64, "RO", 0x0, None),),
        ),
        (
            "ADMIN_QUEUE_COMPLETION_CONSUMER",
            0x2038,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "EVENT_QUEUE_RING_BASE",
            0x2040,
            64,
            1,
            0x0,
            False,
            "Queues",
            (("ADDRESS", 0, 64, "RW", 0x0, None),),
        ),
        (
            "EVENT_QUEUE_COMPLETION_BASE",
            0x2048,
            64,
            1,
            0x0,
            False,
            "Queues",
            (("ADDRESS", 0, 64, "RW", 0x0, None),),
        ),
        (
            "EVENT_QUEUE_RING_SIZE",
            0x2050,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("ENTRIES", 0, 32, "RW", 0x0, None),),
        ),
        (
            "EVENT_QUEUE_COMPLETION_SIZE",
            0x2054,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("ENTRIES", 0, 32, "RW", 0x0, None),),
        ),
        (
            "EVENT_QUEUE_CONTROL",
            0x2058,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("ENABLE", 0, 1, "RW", 0x0, None),),
        ),
        (
            "EVENT_QUEUE_VECTOR",
            0x205C,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("VECTOR", 0, 16, "RW", 0x0, None),),
        ),
        (
            "EVENT_QUEUE_STATUS",
            0x2060,
            32,
            1,
            0x0,
            False,
            "Queues",
            (
                ("STATE", 0, 8, "RO", 0x0, "QueueState"),
                ("ERROR_CODE", 16, 16, "RO", 0x0, "Diagnostic"),
            ),
        ),
        (
            "EVENT_QUEUE_HEAD",
            0x2064,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "EVENT_QUEUE_TAIL",
            0x2068,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "EVENT_QUEUE_COMPLETION_PRODUCER",
            0x206C,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "EVENT_QUEUE_ERROR_ADDRESS",
            0x2070,
            64,
            1,
            0x0,
            False,
            "Queues",
            (("VALUE", 0, 64, "RO", 0x0, None),),
        ),
        (
            "EVENT_QUEUE_COMPLETION_CONSUMER",
            0x2078,
            32,
            1,
            0x0,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "TX_QUEUE_RING_BASE",
            0x4000,
            64,
            16,
            0x40,
            False,
            "Queues",
            (("ADDRESS", 0, 64, "RW", 0x0, None),),
        ),
        (
            "TX_QUEUE_COMPLETION_BASE",
            0x4008,
            64,
            16,
            0x40,
            False,
            "Queues",
            (("ADDRESS", 0, 64, "RW", 0x0, None),),
        ),
        (
            "TX_QUEUE_RING_SIZE",
            0x4010,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("ENTRIES", 0, 32, "RW", 0x0, None),),
        ),
        (
            "TX_QUEUE_COMPLETION_SIZE",
            0x4014,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("ENTRIES", 0, 32, "RW", 0x0, None),),
        ),
        (
            "TX_QUEUE_CONTROL",
            0x4018,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("ENABLE", 0, 1, "RW", 0x0, None),),
        ),
        (
            "TX_QUEUE_VECTOR",
            0x401C,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("VECTOR", 0, 16, "RW", 0x0, None),),
        ),
        (
            "TX_QUEUE_STATUS",
            0x4020,
            32,
            16,
            0x40,
            False,
            "Queues",
            (
                ("STATE", 0, 8, "RO", 0x0, "QueueState"),
                ("ERROR_CODE", 16, 16, "RO", 0x0, "Diagnostic"),
            ),
        ),
        (
            "TX_QUEUE_HEAD",
            0x4024,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "TX_QUEUE_TAIL",
            0x4028,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "TX_QUEUE_COMPLETION_PRODUCER",
            0x402C,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "TX_QUEUE_ERROR_ADDRESS",
            0x4030,
            64,
            16,
            0x40,
            False,
            "Queues",
            (("VALUE", 0, 64, "RO", 0x0, None),),
        ),
        (
            "TX_QUEUE_COMPLETION_CONSUMER",
            0x4038,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "RX_QUEUE_RING_BASE",
            0x6000,
            64,
            16,
            0x40,
            False,
            "Queues",
            (("ADDRESS", 0, 64, "RW", 0x0, None),),
        ),
        (
            "RX_QUEUE_COMPLETION_BASE",
            0x6008,
            64,
            16,
            0x40,
            False,
            "Queues",
            (("ADDRESS", 0, 64, "RW", 0x0, None),),
        ),
        (
            "RX_QUEUE_RING_SIZE",
            0x6010,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("ENTRIES", 0, 32, "RW", 0x0, None),),
        ),
        (
            "RX_QUEUE_COMPLETION_SIZE",
            0x6014,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("ENTRIES", 0, 32, "RW", 0x0, None),),
        ),
        (
            "RX_QUEUE_CONTROL",
            0x6018,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("ENABLE", 0, 1, "RW", 0x0, None),),
        ),
        (
            "RX_QUEUE_VECTOR",
            0x601C,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("VECTOR", 0, 16, "RW", 0x0, None),),
        ),
        (
            "RX_QUEUE_STATUS",
            0x6020,
            32,
            16,
            0x40,
            False,
            "Queues",
            (
                ("STATE", 0, 8, "RO", 0x0, "QueueState"),
                ("ERROR_CODE", 16, 16, "RO", 0x0, "Diagnostic"),
            ),
        ),
        (
            "RX_QUEUE_HEAD",
            0x6024,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "RX_QUEUE_TAIL",
            0x6028,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "RX_QUEUE_COMPLETION_PRODUCER",
            0x602C,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
        (
            "RX_QUEUE_ERROR_ADDRESS",
            0x6030,
            64,
            16,
            0x40,
            False,
            "Queues",
            (("VALUE", 0, 64, "RO", 0x0, None),),
        ),
        (
            "RX_QUEUE_COMPLETION_CONSUMER",
            0x6038,
            32,
            16,
            0x40,
            False,
            "Queues",
            (("INDEX", 0, 32, "RO", 0x0, None),),
        ),
    ),
)
"""Register map of BAR 0: registers, 0x10000 bytes."""

BAR2 = RegisterMap(
    "bar2",
    0x1000,
    (
        (
            "TX_DOORBELL_TAIL",
            0x0,
            32,
            16,
            0x8,
            False,
            "Doorbells",
            (("INDEX", 0, 31, "WO", 0x0, None),),
        ),
        (
            "TX_DOORBELL_COMPLETION",
            0x4,
            32,
            16,
            0x8,
            False,
            "Doorbells",
            (
                ("INDEX", 0, 31, "WO", 0x0, None),
                ("ARM", 31, 1, "WO", 0x0, None),
            ),
        ),
        (
            "RX_DOORBELL_TAIL",
            0x400,
            32,
            16,
            0x8,
            False,
            "Doorbells",
            (("INDEX", 0, 31, "WO", 0x0, None),),
        ),
        (
            "RX_DOORBELL_COMPLETION",
            0x404,
            32,
            16,
            0x8,
            False,
            "Doorbells",
            (
                ("INDEX", 0, 31, "WO", 0x0, None),
                ("ARM", 31, 1, "WO", 0x0, None),
            ),
        ),
        (
            "ADMIN_DOORBELL_TAIL",
            0x800,
            32,
            1,
            0x0,
            False,
            "Doorbells",
            (("INDEX", 0, 31, "WO", 0x0, None),),
        ),
        (
            "ADMIN_DOORBELL_COMPLETION",
            0x804,
            32,
            1,
            0x0,
            False,
            "Doorbells",
            (
                ("INDEX", 0, 31, "WO", 0x0, None),
                ("ARM", 31, 1, "WO", 0x0, None),
            ),
        ),
        (
            "EVENT_DOORBELL_TAIL",
            0x808,
            32,
            1,
            0x0,
            False,
            "Doorbells",
            (("INDEX", 0, 31, "WO", 0x0, None),),
        ),
        (
            "EVENT_DOORBELL_COMPLETION",
            0x80C,
            32,
            1,
            0x0,
            False,
            "Doorbells",
            (
                ("INDEX", 0, 31, "WO", 0x0, None),
                ("ARM", 31, 1, "WO", 0x0, None),
            ),
        ),
    ),
)
"""Register map of BAR 2: doorbells, 0x1000 bytes."""
