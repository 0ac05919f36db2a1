-- Wireshark dissector of tlsnic trace records (link type USER0).
-- wireshark -X lua_script:tlsnic.lua CAPTURE
--
-- Generated from rdl/tlsnic.rdl by `python -m tlsnic.abi.generate`; do not edit.

local enums = {
  QueueState = {flags=false, names={[0]="DISABLED", [1]="RUNNING", [2]="ERROR"}},
  Diagnostic = {flags=false, names={[0]="NONE", [1]="REG_UNKNOWN", [2]="REG_READ_ONLY", [3]="REG_ACCESS", [4]="REG_RESERVED_BITS", [5]="DOORBELL_DISABLED", [6]="DOORBELL_RANGE", [7]="RING_BASE_ZERO", [8]="RING_SIZE", [9]="RING_ALIGNMENT", [10]="QUEUE_BUSY", [11]="BUS_MASTER_OFF", [12]="DMA_FAULT", [13]="DMA_PERMISSION", [14]="VECTOR_INVALID", [15]="TX_RESERVED", [16]="TX_FLAGS", [17]="TX_LENGTH", [18]="TX_HEADER", [19]="TX_SEGMENTATION", [20]="TX_CHECKSUM", [21]="TX_CHAIN", [22]="TX_LINK_DOWN", [23]="COMPLETION_RING_FULL", [24]="COMPLETION_INDEX", [25]="RX_BUFFER", [26]="RX_NO_BUFFER", [27]="COMMAND_UNKNOWN", [28]="COMMAND_RESERVED", [29]="COMMAND_FIELD", [30]="EVENT_LOST", [31]="RSS_QUEUE", [32]="RAM_NOT_SHARED", [33]="RESET_IN_FLIGHT", [34]="VALUE_RANGE", [35]="TLS_HANDLE", [36]="TLS_SEQUENCE", [37]="TLS_PRESYNC", [38]="TLS_DESTROYED", [39]="OFFLOAD_DEPENDENCY", [40]="RX_QUEUE_DISABLED", [41]="TLS_RECORD", [42]="TLS_TUPLE", [43]="TLS_AUTH"}},
  Offload = {flags=true, names={[1]="TX_CHECKSUM", [2]="RX_CHECKSUM", [4]="TSO4", [8]="TSO6", [16]="VLAN_INSERT", [32]="VLAN_STRIP", [64]="RSS", [128]="MAC_FILTER", [256]="VLAN_FILTER", [512]="RX_COALESCE", [65536]="TX_TLS", [131072]="RX_TLS", [262144]="TX_RATE_LIMIT"}},
  CipherSuite = {flags=true, names={[1]="TLS12_AES_128_GCM", [2]="TLS12_AES_256_GCM", [4]="TLS12_CHACHA20_POLY1305", [8]="TLS13_AES_128_GCM", [16]="TLS13_AES_256_GCM", [32]="TLS13_CHACHA20_POLY1305", [256]="TLS10_AES_CBC_SHA1", [512]="TLS11_AES_CBC_SHA1", [1024]="TLS12_AES_CBC_SHA1", [2048]="TLS12_AES_CBC_SHA256", [4096]="TLS12_AES_CBC_SHA384", [2147483648]="ENCRYPT_THEN_MAC"}},
  TlsFeature = {flags=true, names={[1]="TX_PRESYNC", [2]="RX_RESYNC_REQUEST", [4]="RX_RESYNC_HINT", [8]="RX_RESYNC_TAG", [16]="REKEY"}},
  HashType = {flags=true, names={[1]="IPV4", [2]="TCP_IPV4", [4]="UDP_IPV4", [8]="IPV6", [16]="TCP_IPV6", [32]="UDP_IPV6"}},
  EventMask = {flags=true, names={[1]="LINK", [2]="QUEUE", [4]="DIAGNOSTIC", [8]="TLS"}},
  TxFlags = {flags=true, names={[1]="END_OF_PACKET", [2]="REPORT", [4]="IP_CHECKSUM", [8]="L4_CHECKSUM", [16]="SEGMENT", [32]="VLAN_INSERT", [64]="TLS", [128]="PRESYNC", [256]="PREFIX", [512]="SUFFIX"}},
  TxStatus = {flags=false, names={[0]="OK", [1]="BAD_PACKET", [2]="LINK_DOWN", [3]="DMA_FAULT", [4]="TLS_DROPPED"}},
  RxFlags = {flags=true, names={[1]="IP_CHECKSUM_OK", [2]="IP_CHECKSUM_BAD", [4]="L4_CHECKSUM_OK", [8]="L4_CHECKSUM_BAD", [16]="VLAN_STRIPPED", [32]="COALESCED", [64]="IPV4", [128]="IPV6", [256]="TCP", [512]="UDP", [1024]="FRAGMENT", [2048]="RESYNC", [32768]="PHASE"}},
  TlsRxState = {flags=false, names={[0]="NONE", [1]="AS_ON_WIRE", [2]="DECRYPTED", [3]="AUTH_FAILED"}},
  TlsTrackerState = {flags=false, names={[0]="NONE", [1]="OFFLOAD", [2]="SEARCH", [3]="TRACK", [4]="HALTED"}},
  CompletionFlags = {flags=true, names={[32768]="PHASE"}},
  CommandOpcode = {flags=false, names={[0]="NOP", [1]="STATISTICS", [256]="TLS_FLOW_CREATE", [257]="TLS_FLOW_QUERY", [258]="TLS_FLOW_REKEY", [259]="TLS_FLOW_RATE", [260]="TLS_FLOW_DESTROY", [261]="TLS_RESYNC_ANSWER", [262]="TLS_RESYNC_HINT"}},
  CommandStatus = {flags=false, names={[0]="OK", [1]="BAD_OPCODE", [2]="RESERVED_BITS", [3]="BAD_FIELD", [4]="TOO_SHORT", [5]="DMA_FAULT", [6]="UNSUPPORTED", [7]="TABLE_FULL", [8]="DUPLICATE", [9]="BAD_HANDLE", [10]="DEPENDENCY", [11]="STALE", [12]="BUSY", [13]="DISABLED"}},
  EventType = {flags=false, names={[1]="LINK_CHANGE", [2]="QUEUE_ERROR", [3]="DIAGNOSTIC", [4]="RESYNC_REQUEST", [5]="FLOW_ERROR"}},
  QueueKind = {flags=false, names={[0]="DEVICE", [1]="TRANSMIT", [2]="RECEIVE", [3]="ADMIN", [4]="EVENT"}},
  TlsDirection = {flags=false, names={[0]="TRANSMIT", [1]="RECEIVE"}},
  TlsFlowFlags = {flags=true, names={[1]="ENCRYPT_THEN_MAC", [2]="RESYNC_HOST", [4]="RESYNC_TAG", [8]="RATE_LIMIT", [16]="VLAN"}},
  PresyncFlags = {flags=true, names={[1]="UPDATE_STATE", [2]="PREFIX", [4]="BEFORE_START"}},
  TraceType = {flags=false, names={[1]="REGISTER_READ", [2]="REGISTER_WRITE", [3]="DMA_READ", [4]="DMA_WRITE", [5]="INTERRUPT", [6]="TLS_PACKET", [7]="TLS_EVENT", [8]="INPUT", [9]="FRAME"}},
  TraceFlags = {flags=true, names={[1]="TRUNCATED", [2]="SECRET", [4]="FAULT", [8]="READ_ONLY"}},
  DmaPurpose = {flags=false, names={[0]="DATA", [1]="DESCRIPTOR", [2]="COMPLETION", [3]="BLOCK"}},
  TlsOutcome = {flags=false, names={[1]="AS_ON_WIRE", [2]="DECRYPTED", [3]="AUTH_FAILED", [4]="ENCRYPTED", [5]="PRESYNCED", [6]="BYPASSED", [7]="DROPPED"}},
  TlsEvent = {flags=false, names={[1]="CREATED", [2]="DESTROYED", [3]="REKEYED", [4]="TRACKER", [5]="ASKED", [6]="ANSWERED", [7]="DENIED", [8]="STALE", [9]="HINTED", [10]="HALTED", [11]="RATED", [12]="RESET"}},
  DeviceInput = {flags=false, names={[1]="START", [2]="ADVANCE", [3]="POLL", [4]="RECEIVE", [5]="LINK", [6]="WIRE_WRITABLE", [7]="FORGET_VIEWS", [8]="RESET", [9]="REPORT", [10]="PCI", [11]="WIRE", [12]="MARK"}},
}

-- Name, bytes, reset-independent layout: name, lowest bit, bits, enumeration, description.
local registers = {
  {name="MAGIC", bar=0, offset=0x0, size=4, count=1, stride=0x0, text="Magic.", fields={
    {"VALUE", 0, 32, nil, ""},
  }},
  {name="VERSION", bar=0, offset=0x4, size=4, count=1, stride=0x0, text="Interface version.", fields={
    {"MINOR", 0, 16, nil, "Compatible additions."},
    {"MAJOR", 16, 16, nil, "Incompatible changes."},
  }},
  {name="CAP_QUEUES", bar=0, offset=0x8, size=4, count=1, stride=0x0, text="Queue capabilities.", fields={
    {"TX_QUEUES", 0, 8, nil, "Transmit queues."},
    {"RX_QUEUES", 8, 8, nil, "Receive queues."},
    {"VECTORS", 16, 8, nil, "Interrupt vectors."},
  }},
  {name="CAP_RINGS", bar=0, offset=0xc, size=4, count=1, stride=0x0, text="Ring capabilities.", fields={
    {"MIN_LOG2", 0, 8, nil, "Smallest ring, log2 of entries."},
    {"MAX_LOG2", 8, 8, nil, "Largest ring, log2 of entries."},
    {"MAX_CHAIN", 16, 8, nil, "Most descriptors in one packet."},
    {"MIN_RX_BUFFER", 24, 8, nil, "Smallest receive buffer, in units of 64 bytes."},
  }},
  {name="CAP_OFFLOADS", bar=0, offset=0x10, size=4, count=1, stride=0x0, text="Offload capabilities.", fields={
    {"OFFLOADS", 0, 32, "Offload", ""},
  }},
  {name="CAP_FRAME", bar=0, offset=0x14, size=4, count=1, stride=0x0, text="Largest frame.", fields={
    {"FRAME_BYTES", 0, 16, nil, "Bytes of a frame on the wire."},
    {"SEGMENT_PAYLOAD_BYTES", 16, 16, nil, "Bytes of TCP payload in a packet with SEGMENT."},
  }},
  {name="CAP_TLS_TX", bar=0, offset=0x18, size=8, count=1, stride=0x0, text="TLS transmit cipher suites.", fields={
    {"SUITES", 0, 64, "CipherSuite", ""},
  }},
  {name="CAP_TLS_RX", bar=0, offset=0x20, size=8, count=1, stride=0x0, text="TLS receive cipher suites.", fields={
    {"SUITES", 0, 64, "CipherSuite", ""},
  }},
  {name="CAP_TLS_FLOWS", bar=0, offset=0x28, size=4, count=1, stride=0x0, text="TLS flow contexts.", fields={
    {"CONTEXTS", 0, 32, nil, ""},
  }},
  {name="CAP_TLS_FEATURES", bar=0, offset=0x2c, size=4, count=1, stride=0x0, text="TLS features.", fields={
    {"FEATURES", 0, 32, "TlsFeature", ""},
  }},
  {name="CONTROL", bar=0, offset=0x40, size=4, count=1, stride=0x0, text="Device control.", fields={
    {"RESET", 0, 1, nil, "Write one: soft reset. Registers, queues, counters, diagnostics and keys return to their reset values; the MAC address to the operator's. PCI configuration and the link stay. The other bits of the same write have no effect. Complete when the write is; read STATUS to be sure that it has arrived."},
    {"RX_ENABLE", 1, 1, nil, "Frames from the wire are taken. Clear: they are dropped and counted in RX_DROP_DISABLED; what coalescing holds is delivered when the bit is cleared."},
    {"TX_ENABLE", 2, 1, nil, "Doorbells of transmit queues are served. Clear: descriptors wait."},
  }},
  {name="STATUS", bar=0, offset=0x44, size=4, count=1, stride=0x0, text="Device status.", fields={
    {"READY", 0, 1, nil, "The device is ready for use."},
    {"LINK_UP", 1, 1, nil, "The link is up."},
    {"RESET_COUNT", 16, 16, nil, "Resets of any kind since the device process started, modulo 2^16. A driver that finds it changed knows that its queues are gone."},
  }},
  {name="LINK_SPEED", bar=0, offset=0x48, size=4, count=1, stride=0x0, text="Link speed.", fields={
    {"MBPS", 0, 32, nil, "Megabits per second."},
  }},
  {name="MAX_FRAME", bar=0, offset=0x4c, size=4, count=1, stride=0x0, text="Largest frame accepted.", fields={
    {"BYTES", 0, 16, nil, ""},
  }},
  {name="MAC_ADDRESS", bar=0, offset=0x50, size=8, count=1, stride=0x0, text="MAC address.", fields={
    {"ADDRESS", 0, 48, nil, ""},
  }},
  {name="OFFLOAD_ENABLE", bar=0, offset=0x58, size=4, count=1, stride=0x0, text="Offload enable.", fields={
    {"OFFLOADS", 0, 32, "Offload", "RX_CHECKSUM, VLAN_STRIP, RX_COALESCE, TX_TLS and RX_TLS, as far as CAP_OFFLOADS has them. A write with any other bit is ignored (VALUE_RANGE). With TX_TLS or RX_TLS clear no flow of that direction can be made; those that exist go on."},
  }},
  {name="RX_COALESCE", bar=0, offset=0x5c, size=4, count=1, stride=0x0, text="Receive coalescing.", fields={
    {"TIMEOUT_US", 0, 16, nil, "Longest wait for the next segment, in microseconds."},
    {"MAX_KIB", 16, 8, nil, "Largest joined packet, in units of 1024 bytes."},
    {"MAX_SEGMENTS", 24, 8, nil, "Most segments in a joined packet."},
  }},
  {name="TLS_RESYNC", bar=0, offset=0x60, size=4, count=1, stride=0x0, text="TLS resync time-out.", fields={
    {"TIMEOUT_US", 0, 32, nil, "Microseconds; zero: for ever."},
  }},
  {name="INT_CAUSE", bar=0, offset=0x80, size=8, count=1, stride=0x0, text="Interrupt cause.", fields={
    {"VECTORS", 0, 64, nil, "Write one to clear."},
  }},
  {name="INT_ENABLE", bar=0, offset=0x88, size=8, count=1, stride=0x0, text="Interrupt enable.", fields={
    {"VECTORS", 0, 64, nil, ""},
  }},
  {name="INT_TRIGGER", bar=0, offset=0x90, size=8, count=1, stride=0x0, text="Interrupt trigger.", fields={
    {"VECTORS", 0, 64, nil, "Write one to raise."},
  }},
  {name="DIAG_LAST", bar=0, offset=0xa0, size=4, count=1, stride=0x0, text="Last diagnostic.", fields={
    {"CODE", 0, 16, "Diagnostic", "Which rule was broken."},
    {"QUEUE", 16, 8, nil, "Queue number."},
    {"KIND", 24, 8, "QueueKind", "Kind of queue."},
  }},
  {name="DIAG_COUNT", bar=0, offset=0xa4, size=4, count=1, stride=0x0, text="Diagnostics raised.", fields={
    {"COUNT", 0, 32, nil, ""},
  }},
  {name="DIAG_OPERAND", bar=0, offset=0xa8, size=8, count=1, stride=0x0, text="Diagnostic operand.", fields={
    {"VALUE", 0, 64, nil, ""},
  }},
  {name="EVENT_ENABLE", bar=0, offset=0xb0, size=4, count=1, stride=0x0, text="Event enable.", fields={
    {"EVENTS", 0, 32, "EventMask", ""},
  }},
  {name="RX_FILTER", bar=0, offset=0xc0, size=4, count=1, stride=0x0, text="Receive filter control.", fields={
    {"PROMISCUOUS", 0, 1, nil, "Frames for every address. VLAN_FILTER still applies."},
    {"ALL_MULTICAST", 1, 1, nil, "Every multicast frame."},
    {"BROADCAST", 2, 1, nil, "Broadcast frames."},
    {"VLAN_FILTER", 3, 1, nil, "Tagged frames only when VLAN_FILTER has their VLAN; untagged and priority-tagged frames always."},
  }},
  {name="MAC_FILTER", bar=0, offset=0x100, size=8, count=32, stride=0x8, text="MAC filter entry.", fields={
    {"ADDRESS", 0, 48, nil, "Address, first octet in bits 7:0."},
    {"VALID", 63, 1, nil, "The entry is used."},
  }},
  {name="VLAN_FILTER", bar=0, offset=0x200, size=8, count=64, stride=0x8, text="VLAN filter.", fields={
    {"VLANS", 0, 64, nil, ""},
  }},
  {name="RSS_CONTROL", bar=0, offset=0x400, size=4, count=1, stride=0x0, text="RSS control.", fields={
    {"TYPES", 0, 16, "HashType", "Hash types; the most specific enabled one is used."},
    {"ENABLE", 31, 1, nil, "Use the hash to choose the receive queue."},
  }},
  {name="RSS_KEY", bar=0, offset=0x410, size=4, count=10, stride=0x4, text="RSS key.", fields={
    {"BYTES", 0, 32, nil, ""},
  }},
  {name="RSS_TABLE", bar=0, offset=0x480, size=4, count=32, stride=0x4, text="RSS indirection table.", fields={
    {"QUEUE0", 0, 8, nil, ""},
    {"QUEUE1", 8, 8, nil, ""},
    {"QUEUE2", 16, 8, nil, ""},
    {"QUEUE3", 24, 8, nil, ""},
  }},
  {name="MODERATION", bar=0, offset=0x600, size=4, count=64, stride=0x4, text="Interrupt moderation.", fields={
    {"USECS", 0, 16, nil, "Longest wait in microseconds."},
    {"FRAMES", 16, 16, nil, "Completions that end the wait early; zero: no limit."},
  }},
  {name="TX_PACKETS", bar=0, offset=0x800, size=8, count=1, stride=0x0, text="Packets fetched from transmit rings; one with SEGMENT counts once.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_SENT_PACKETS", bar=0, offset=0x808, size=8, count=1, stride=0x0, text="Of these, packets handed to the wire.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_FRAMES", bar=0, offset=0x810, size=8, count=1, stride=0x0, text="Frames on the wire; a packet that the wire segments itself counts as the frames that it makes.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_BYTES", bar=0, offset=0x818, size=8, count=1, stride=0x0, text="Bytes of these frames, without FCS.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_SEGMENTED", bar=0, offset=0x820, size=8, count=1, stride=0x0, text="Packets with SEGMENT that were sent.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_DROP_LINK_DOWN", bar=0, offset=0x828, size=8, count=1, stride=0x0, text="Packets dropped because the link was down, or went down while they waited for the wire.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_DROP_BAD_PACKET", bar=0, offset=0x830, size=8, count=1, stride=0x0, text="Packets dropped for their descriptors or headers.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_DROP_DMA", bar=0, offset=0x838, size=8, count=1, stride=0x0, text="Packets dropped because memory was not mapped.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_DROP_TLS", bar=0, offset=0x840, size=8, count=1, stride=0x0, text="Packets dropped rather than sent in clear.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_WIRE_BUSY", bar=0, offset=0x848, size=8, count=1, stride=0x0, text="Times that the wire could not take a frame and transmit waited.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_WIRE_FRAMES", bar=0, offset=0x880, size=8, count=1, stride=0x0, text="Frames that arrived from the wire.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_FRAMES", bar=0, offset=0x888, size=8, count=1, stride=0x0, text="Of these, frames written to host memory.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_BYTES", bar=0, offset=0x890, size=8, count=1, stride=0x0, text="Bytes of these frames as on the wire, without FCS.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_PACKETS", bar=0, offset=0x898, size=8, count=1, stride=0x0, text="Receive completions; joined segments count once.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_MULTICAST", bar=0, offset=0x8a0, size=8, count=1, stride=0x0, text="Multicast frames, broadcast excepted, among RX_FRAMES.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_BROADCAST", bar=0, offset=0x8a8, size=8, count=1, stride=0x0, text="Broadcast frames among RX_FRAMES.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_CHECKSUM_BAD", bar=0, offset=0x8b0, size=8, count=1, stride=0x0, text="Frames among RX_FRAMES with a bad IPv4 header, TCP or UDP checksum.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_COALESCED", bar=0, offset=0x8b8, size=8, count=1, stride=0x0, text="Frames among RX_FRAMES that were joined to an earlier one.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_DROP_DISABLED", bar=0, offset=0x8c0, size=8, count=1, stride=0x0, text="Frames dropped because RX_ENABLE was clear, the queue was not running or bus mastering was off.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_DROP_FILTER", bar=0, offset=0x8c8, size=8, count=1, stride=0x0, text="Frames dropped by address or VLAN filter.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_DROP_RUNT", bar=0, offset=0x8d0, size=8, count=1, stride=0x0, text="Frames shorter than an Ethernet header.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_DROP_OVERSIZE", bar=0, offset=0x8d8, size=8, count=1, stride=0x0, text="Frames longer than MAX_FRAME, or left to the device to complete in a way that does not fit them.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_DROP_NO_BUFFER", bar=0, offset=0x8e0, size=8, count=1, stride=0x0, text="Frames dropped because the receive ring or its completion ring was full.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_DROP_DMA", bar=0, offset=0x8e8, size=8, count=1, stride=0x0, text="Frames dropped because a receive buffer was not mapped or not valid, or its completion could not be written.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="INTERRUPTS", bar=0, offset=0x8f0, size=8, count=1, stride=0x0, text="Interrupts raised.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="EVENTS_LOST", bar=0, offset=0x8f8, size=8, count=1, stride=0x0, text="Events that found no room.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_TLS_ENCRYPTED_PACKETS", bar=0, offset=0x900, size=8, count=1, stride=0x0, text="Packets with TLS that were encrypted.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_TLS_ENCRYPTED_BYTES", bar=0, offset=0x908, size=8, count=1, stride=0x0, text="TCP payload bytes of these packets.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_TLS_OOO", bar=0, offset=0x910, size=8, count=1, stride=0x0, text="Packets with TLS that did not start at the expected TCP sequence number.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_TLS_PRESYNC", bar=0, offset=0x918, size=8, count=1, stride=0x0, text="Packets encrypted with the help of a presync block.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_TLS_DROP_NO_SYNC_DATA", bar=0, offset=0x920, size=8, count=1, stride=0x0, text="Packets dropped because presync data was missing or did not fit.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_TLS_DROP_BAD_HANDLE", bar=0, offset=0x928, size=8, count=1, stride=0x0, text="Packets dropped because their handle was stale or forged, or the handle of another connection.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_TLS_SKIP_NO_SYNC_DATA", bar=0, offset=0x930, size=8, count=1, stride=0x0, text="Packets from before the start of offload, sent as they were (BEFORE_START).", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_TLS_DROP_BYPASS_REQ", bar=0, offset=0x938, size=8, count=1, stride=0x0, text="Packets dropped because they lie on both sides of the start of offload.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_TLS_DECRYPTED_PACKETS", bar=0, offset=0x940, size=8, count=1, stride=0x0, text="Packets delivered decrypted.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_TLS_DECRYPTED_BYTES", bar=0, offset=0x948, size=8, count=1, stride=0x0, text="TCP payload bytes of these packets.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_TLS_RESYNC_REQ_PKT", bar=0, offset=0x950, size=8, count=1, stride=0x0, text="Packets with RESYNC in their completion.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_TLS_RESYNC_REQ_START", bar=0, offset=0x958, size=8, count=1, stride=0x0, text="Resync questions asked.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_TLS_RESYNC_REQ_END", bar=0, offset=0x960, size=8, count=1, stride=0x0, text="Questions that were answered in time. What REQ_START has more than REQ_END and REQ_SKIP together is open.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_TLS_RESYNC_REQ_SKIP", bar=0, offset=0x968, size=8, count=1, stride=0x0, text="Questions dropped before an answer: no longer followed, timed out, settled otherwise, or the flow destroyed.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_TLS_RESYNC_RES_OK", bar=0, offset=0x970, size=8, count=1, stride=0x0, text="Answers and hints that brought a flow back to offload.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_TLS_RESYNC_RES_SKIP", bar=0, offset=0x978, size=8, count=1, stride=0x0, text="Answers and hints that did not: stale, or no record starts there.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_TLS_RESYNC_TAG", bar=0, offset=0x980, size=8, count=1, stride=0x0, text="Resyncs settled by a record's own tag.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_TLS_ERR", bar=0, offset=0x988, size=8, count=1, stride=0x0, text="Packets left as on the wire because a record that ended in them failed authentication.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_TLS_CTX", bar=0, offset=0x990, size=8, count=1, stride=0x0, text="Receive flow contexts that were made.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="RX_TLS_DEL", bar=0, offset=0x998, size=8, count=1, stride=0x0, text="Receive flow contexts that were destroyed.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_TLS_CTX", bar=0, offset=0x9c0, size=8, count=1, stride=0x0, text="Transmit flow contexts that were made.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_TLS_DEL", bar=0, offset=0x9c8, size=8, count=1, stride=0x0, text="Transmit flow contexts that were destroyed.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="TX_TLS_PACED", bar=0, offset=0x9d0, size=8, count=1, stride=0x0, text="Frames that a rate limit held back.", fields={
    {"COUNT", 0, 64, nil, "Count since reset; wraps at 2^64."},
  }},
  {name="ADMIN_QUEUE_RING_BASE", bar=0, offset=0x2000, size=8, count=1, stride=0x0, text="Descriptor ring base.", fields={
    {"ADDRESS", 0, 64, nil, ""},
  }},
  {name="ADMIN_QUEUE_COMPLETION_BASE", bar=0, offset=0x2008, size=8, count=1, stride=0x0, text="Completion ring base.", fields={
    {"ADDRESS", 0, 64, nil, ""},
  }},
  {name="ADMIN_QUEUE_RING_SIZE", bar=0, offset=0x2010, size=4, count=1, stride=0x0, text="Descriptor ring size.", fields={
    {"ENTRIES", 0, 32, nil, ""},
  }},
  {name="ADMIN_QUEUE_COMPLETION_SIZE", bar=0, offset=0x2014, size=4, count=1, stride=0x0, text="Completion ring size.", fields={
    {"ENTRIES", 0, 32, nil, ""},
  }},
  {name="ADMIN_QUEUE_CONTROL", bar=0, offset=0x2018, size=4, count=1, stride=0x0, text="Queue control.", fields={
    {"ENABLE", 0, 1, nil, "Run the queue."},
  }},
  {name="ADMIN_QUEUE_VECTOR", bar=0, offset=0x201c, size=4, count=1, stride=0x0, text="Interrupt vector.", fields={
    {"VECTOR", 0, 16, nil, "Vector number, below CAP_QUEUES.VECTORS."},
  }},
  {name="ADMIN_QUEUE_STATUS", bar=0, offset=0x2020, size=4, count=1, stride=0x0, text="Queue status.", fields={
    {"STATE", 0, 8, "QueueState", "State."},
    {"ERROR_CODE", 16, 16, "Diagnostic", "Why the queue is in ERROR."},
  }},
  {name="ADMIN_QUEUE_HEAD", bar=0, offset=0x2024, size=4, count=1, stride=0x0, text="Head.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="ADMIN_QUEUE_TAIL", bar=0, offset=0x2028, size=4, count=1, stride=0x0, text="Tail.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="ADMIN_QUEUE_COMPLETION_PRODUCER", bar=0, offset=0x202c, size=4, count=1, stride=0x0, text="Completion producer.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="ADMIN_QUEUE_ERROR_ADDRESS", bar=0, offset=0x2030, size=8, count=1, stride=0x0, text="Error address.", fields={
    {"VALUE", 0, 64, nil, ""},
  }},
  {name="ADMIN_QUEUE_COMPLETION_CONSUMER", bar=0, offset=0x2038, size=4, count=1, stride=0x0, text="Completion consumer.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="EVENT_QUEUE_RING_BASE", bar=0, offset=0x2040, size=8, count=1, stride=0x0, text="Descriptor ring base.", fields={
    {"ADDRESS", 0, 64, nil, ""},
  }},
  {name="EVENT_QUEUE_COMPLETION_BASE", bar=0, offset=0x2048, size=8, count=1, stride=0x0, text="Completion ring base.", fields={
    {"ADDRESS", 0, 64, nil, ""},
  }},
  {name="EVENT_QUEUE_RING_SIZE", bar=0, offset=0x2050, size=4, count=1, stride=0x0, text="Descriptor ring size.", fields={
    {"ENTRIES", 0, 32, nil, ""},
  }},
  {name="EVENT_QUEUE_COMPLETION_SIZE", bar=0, offset=0x2054, size=4, count=1, stride=0x0, text="Completion ring size.", fields={
    {"ENTRIES", 0, 32, nil, ""},
  }},
  {name="EVENT_QUEUE_CONTROL", bar=0, offset=0x2058, size=4, count=1, stride=0x0, text="Queue control.", fields={
    {"ENABLE", 0, 1, nil, "Run the queue."},
  }},
  {name="EVENT_QUEUE_VECTOR", bar=0, offset=0x205c, size=4, count=1, stride=0x0, text="Interrupt vector.", fields={
    {"VECTOR", 0, 16, nil, "Vector number, below CAP_QUEUES.VECTORS."},
  }},
  {name="EVENT_QUEUE_STATUS", bar=0, offset=0x2060, size=4, count=1, stride=0x0, text="Queue status.", fields={
    {"STATE", 0, 8, "QueueState", "State."},
    {"ERROR_CODE", 16, 16, "Diagnostic", "Why the queue is in ERROR."},
  }},
  {name="EVENT_QUEUE_HEAD", bar=0, offset=0x2064, size=4, count=1, stride=0x0, text="Head.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="EVENT_QUEUE_TAIL", bar=0, offset=0x2068, size=4, count=1, stride=0x0, text="Tail.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="EVENT_QUEUE_COMPLETION_PRODUCER", bar=0, offset=0x206c, size=4, count=1, stride=0x0, text="Completion producer.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="EVENT_QUEUE_ERROR_ADDRESS", bar=0, offset=0x2070, size=8, count=1, stride=0x0, text="Error address.", fields={
    {"VALUE", 0, 64, nil, ""},
  }},
  {name="EVENT_QUEUE_COMPLETION_CONSUMER", bar=0, offset=0x2078, size=4, count=1, stride=0x0, text="Completion consumer.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="TX_QUEUE_RING_BASE", bar=0, offset=0x4000, size=8, count=16, stride=0x40, text="Descriptor ring base.", fields={
    {"ADDRESS", 0, 64, nil, ""},
  }},
  {name="TX_QUEUE_COMPLETION_BASE", bar=0, offset=0x4008, size=8, count=16, stride=0x40, text="Completion ring base.", fields={
    {"ADDRESS", 0, 64, nil, ""},
  }},
  {name="TX_QUEUE_RING_SIZE", bar=0, offset=0x4010, size=4, count=16, stride=0x40, text="Descriptor ring size.", fields={
    {"ENTRIES", 0, 32, nil, ""},
  }},
  {name="TX_QUEUE_COMPLETION_SIZE", bar=0, offset=0x4014, size=4, count=16, stride=0x40, text="Completion ring size.", fields={
    {"ENTRIES", 0, 32, nil, ""},
  }},
  {name="TX_QUEUE_CONTROL", bar=0, offset=0x4018, size=4, count=16, stride=0x40, text="Queue control.", fields={
    {"ENABLE", 0, 1, nil, "Run the queue."},
  }},
  {name="TX_QUEUE_VECTOR", bar=0, offset=0x401c, size=4, count=16, stride=0x40, text="Interrupt vector.", fields={
    {"VECTOR", 0, 16, nil, "Vector number, below CAP_QUEUES.VECTORS."},
  }},
  {name="TX_QUEUE_STATUS", bar=0, offset=0x4020, size=4, count=16, stride=0x40, text="Queue status.", fields={
    {"STATE", 0, 8, "QueueState", "State."},
    {"ERROR_CODE", 16, 16, "Diagnostic", "Why the queue is in ERROR."},
  }},
  {name="TX_QUEUE_HEAD", bar=0, offset=0x4024, size=4, count=16, stride=0x40, text="Head.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="TX_QUEUE_TAIL", bar=0, offset=0x4028, size=4, count=16, stride=0x40, text="Tail.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="TX_QUEUE_COMPLETION_PRODUCER", bar=0, offset=0x402c, size=4, count=16, stride=0x40, text="Completion producer.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="TX_QUEUE_ERROR_ADDRESS", bar=0, offset=0x4030, size=8, count=16, stride=0x40, text="Error address.", fields={
    {"VALUE", 0, 64, nil, ""},
  }},
  {name="TX_QUEUE_COMPLETION_CONSUMER", bar=0, offset=0x4038, size=4, count=16, stride=0x40, text="Completion consumer.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="RX_QUEUE_RING_BASE", bar=0, offset=0x6000, size=8, count=16, stride=0x40, text="Descriptor ring base.", fields={
    {"ADDRESS", 0, 64, nil, ""},
  }},
  {name="RX_QUEUE_COMPLETION_BASE", bar=0, offset=0x6008, size=8, count=16, stride=0x40, text="Completion ring base.", fields={
    {"ADDRESS", 0, 64, nil, ""},
  }},
  {name="RX_QUEUE_RING_SIZE", bar=0, offset=0x6010, size=4, count=16, stride=0x40, text="Descriptor ring size.", fields={
    {"ENTRIES", 0, 32, nil, ""},
  }},
  {name="RX_QUEUE_COMPLETION_SIZE", bar=0, offset=0x6014, size=4, count=16, stride=0x40, text="Completion ring size.", fields={
    {"ENTRIES", 0, 32, nil, ""},
  }},
  {name="RX_QUEUE_CONTROL", bar=0, offset=0x6018, size=4, count=16, stride=0x40, text="Queue control.", fields={
    {"ENABLE", 0, 1, nil, "Run the queue."},
  }},
  {name="RX_QUEUE_VECTOR", bar=0, offset=0x601c, size=4, count=16, stride=0x40, text="Interrupt vector.", fields={
    {"VECTOR", 0, 16, nil, "Vector number, below CAP_QUEUES.VECTORS."},
  }},
  {name="RX_QUEUE_STATUS", bar=0, offset=0x6020, size=4, count=16, stride=0x40, text="Queue status.", fields={
    {"STATE", 0, 8, "QueueState", "State."},
    {"ERROR_CODE", 16, 16, "Diagnostic", "Why the queue is in ERROR."},
  }},
  {name="RX_QUEUE_HEAD", bar=0, offset=0x6024, size=4, count=16, stride=0x40, text="Head.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="RX_QUEUE_TAIL", bar=0, offset=0x6028, size=4, count=16, stride=0x40, text="Tail.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="RX_QUEUE_COMPLETION_PRODUCER", bar=0, offset=0x602c, size=4, count=16, stride=0x40, text="Completion producer.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="RX_QUEUE_ERROR_ADDRESS", bar=0, offset=0x6030, size=8, count=16, stride=0x40, text="Error address.", fields={
    {"VALUE", 0, 64, nil, ""},
  }},
  {name="RX_QUEUE_COMPLETION_CONSUMER", bar=0, offset=0x6038, size=4, count=16, stride=0x40, text="Completion consumer.", fields={
    {"INDEX", 0, 32, nil, ""},
  }},
  {name="TX_DOORBELL_TAIL", bar=2, offset=0x0, size=4, count=16, stride=0x8, text="Tail doorbell.", fields={
    {"INDEX", 0, 31, nil, "Ring index, below RING_SIZE."},
  }},
  {name="TX_DOORBELL_COMPLETION", bar=2, offset=0x4, size=4, count=16, stride=0x8, text="Completion doorbell.", fields={
    {"INDEX", 0, 31, nil, "Index of the next entry that the driver will look at."},
    {"ARM", 31, 1, nil, "Raise the queue's vector once, when an entry at or after INDEX has been written."},
  }},
  {name="RX_DOORBELL_TAIL", bar=2, offset=0x400, size=4, count=16, stride=0x8, text="Tail doorbell.", fields={
    {"INDEX", 0, 31, nil, "Ring index, below RING_SIZE."},
  }},
  {name="RX_DOORBELL_COMPLETION", bar=2, offset=0x404, size=4, count=16, stride=0x8, text="Completion doorbell.", fields={
    {"INDEX", 0, 31, nil, "Index of the next entry that the driver will look at."},
    {"ARM", 31, 1, nil, "Raise the queue's vector once, when an entry at or after INDEX has been written."},
  }},
  {name="ADMIN_DOORBELL_TAIL", bar=2, offset=0x800, size=4, count=1, stride=0x0, text="Tail doorbell.", fields={
    {"INDEX", 0, 31, nil, "Ring index, below RING_SIZE."},
  }},
  {name="ADMIN_DOORBELL_COMPLETION", bar=2, offset=0x804, size=4, count=1, stride=0x0, text="Completion doorbell.", fields={
    {"INDEX", 0, 31, nil, "Index of the next entry that the driver will look at."},
    {"ARM", 31, 1, nil, "Raise the queue's vector once, when an entry at or after INDEX has been written."},
  }},
  {name="EVENT_DOORBELL_TAIL", bar=2, offset=0x808, size=4, count=1, stride=0x0, text="Tail doorbell.", fields={
    {"INDEX", 0, 31, nil, "Ring index, below RING_SIZE."},
  }},
  {name="EVENT_DOORBELL_COMPLETION", bar=2, offset=0x80c, size=4, count=1, stride=0x0, text="Completion doorbell.", fields={
    {"INDEX", 0, 31, nil, "Index of the next entry that the driver will look at."},
    {"ARM", 31, 1, nil, "Raise the queue's vector once, when an entry at or after INDEX has been written."},
  }},
}

-- Members: name, offset, bytes, is a byte string, enumeration, description.
local structures = {
  tx_descriptor = {name="tx_descriptor", kind="descriptor", size=32, secret=false, title="Transmit descriptor", members={
    {"address", 0, 8, false, nil, "Guest address of the buffer."},
    {"length", 8, 4, false, nil, "Bytes in the buffer, at least 1."},
    {"flags", 12, 2, false, "TxFlags", "What to do."},
    {"vlan_tci", 14, 2, false, nil, "802.1Q tag control information for VLAN_INSERT."},
    {"send_tag", 16, 4, false, nil, "Handle of the flow, with TLS; else zero."},
    {"mss", 20, 2, false, nil, "TCP payload bytes per segment, with SEGMENT; else zero."},
    {"header_length", 22, 2, false, nil, "Bytes of Ethernet, IP and TCP headers, with SEGMENT or TLS; else zero."},
  }},
  tx_completion = {name="tx_completion", kind="completion", size=16, secret=false, title="Transmit completion", members={
    {"send_tag", 0, 4, false, nil, "Flow of the packet, or zero."},
    {"detail", 4, 2, false, "Diagnostic", "Diagnostic of a dropped packet, or zero."},
    {"head", 8, 4, false, nil, "Index after the last descriptor of the packet."},
    {"status", 12, 2, false, "TxStatus", "What became of the packet that ends at head."},
    {"flags", 14, 2, false, "CompletionFlags", "Valid mark."},
  }},
  rx_descriptor = {name="rx_descriptor", kind="descriptor", size=16, secret=false, title="Receive descriptor", members={
    {"address", 0, 8, false, nil, "Guest address of the buffer."},
    {"length", 8, 4, false, nil, "Bytes in the buffer."},
  }},
  rx_completion = {name="rx_completion", kind="completion", size=32, secret=false, title="Receive completion", members={
    {"length", 0, 4, false, nil, "Bytes of the packet in memory."},
    {"rss_hash", 4, 4, false, nil, "Toeplitz hash, or zero when no type matched."},
    {"index", 8, 2, false, nil, "Receive descriptor of the first buffer."},
    {"buffers", 10, 2, false, nil, "Buffers used."},
    {"vlan_tci", 12, 2, false, nil, "Tag control information, with VLAN_STRIPPED."},
    {"segments", 14, 2, false, nil, "Segments joined in the packet; 1 when not coalesced."},
    {"flow", 16, 4, false, nil, "Handle of the receive flow, or zero."},
    {"segment_bytes", 20, 2, false, nil, "TCP payload bytes of the first segment, with COALESCED."},
    {"hash_type", 22, 2, false, "HashType", "Hash type of rss_hash."},
    {"tls_state", 24, 1, false, "TlsRxState", "What TLS offload did."},
    {"tls_records", 25, 1, false, nil, "Records that ended in the packet."},
    {"flags", 30, 2, false, "RxFlags", "What the device found; the valid mark."},
  }},
  command = {name="command", kind="command", size=32, secret=false, title="Command", members={
    {"opcode", 0, 2, false, "CommandOpcode", "What to do."},
    {"command_id", 4, 4, false, nil, "Chosen by the driver, returned in the response."},
    {"parameter0", 8, 8, false, nil, "Depends on the opcode."},
    {"parameter1", 16, 8, false, nil, "Depends on the opcode."},
    {"parameter2", 24, 8, false, nil, "Depends on the opcode."},
  }},
  response = {name="response", kind="response", size=32, secret=false, title="Response", members={
    {"command_id", 0, 4, false, nil, "From the command."},
    {"opcode", 4, 2, false, "CommandOpcode", "From the command."},
    {"status", 6, 2, false, "CommandStatus", "Result."},
    {"result0", 8, 8, false, nil, "Depends on the opcode; zero on error."},
    {"result1", 16, 8, false, nil, "Depends on the opcode; zero on error."},
    {"detail", 24, 4, false, nil, "On error: which offset or size is meant."},
    {"flags", 30, 2, false, "CompletionFlags", "Valid mark."},
  }},
  nop_command = {name="nop_command", kind="command", opcode=0x0, size=32, secret=false, title="NOP", members={
    {"opcode", 0, 2, false, "CommandOpcode", "What to do."},
    {"command_id", 4, 4, false, nil, "Chosen by the driver, returned in the response."},
  }},
  statistics_command = {name="statistics_command", kind="command", opcode=0x1, size=32, secret=false, title="STATISTICS", members={
    {"opcode", 0, 2, false, "CommandOpcode", "What to do."},
    {"command_id", 4, 4, false, nil, "Chosen by the driver, returned in the response."},
    {"address", 8, 8, false, nil, "Guest address of the block, aligned to 8 bytes."},
    {"length", 16, 4, false, nil, "Bytes in the block."},
  }},
  tls_flow_create_command = {name="tls_flow_create_command", kind="command", opcode=0x100, size=32, secret=false, title="TLS_FLOW_CREATE", members={
    {"opcode", 0, 2, false, "CommandOpcode", "What to do."},
    {"command_id", 4, 4, false, nil, "Chosen by the driver, returned in the response."},
    {"address", 8, 8, false, nil, "Guest address of the flow block, aligned to 8 bytes."},
    {"length", 16, 4, false, nil, "Bytes in the block."},
  }},
  tls_flow_query_command = {name="tls_flow_query_command", kind="command", opcode=0x101, size=32, secret=false, title="TLS_FLOW_QUERY", members={
    {"opcode", 0, 2, false, "CommandOpcode", "What to do."},
    {"command_id", 4, 4, false, nil, "Chosen by the driver, returned in the response."},
    {"address", 8, 8, false, nil, "Guest address of the block, aligned to 8 bytes."},
    {"length", 16, 4, false, nil, "Bytes in the block."},
    {"handle", 20, 4, false, nil, "The flow."},
  }},
  tls_flow_rekey_command = {name="tls_flow_rekey_command", kind="command", opcode=0x102, size=32, secret=false, title="TLS_FLOW_REKEY", members={
    {"opcode", 0, 2, false, "CommandOpcode", "What to do."},
    {"command_id", 4, 4, false, nil, "Chosen by the driver, returned in the response."},
    {"address", 8, 8, false, nil, "Guest address of the flow block, aligned to 8 bytes."},
    {"length", 16, 4, false, nil, "Bytes in the block."},
    {"handle", 20, 4, false, nil, "The flow."},
  }},
  tls_flow_rate_command = {name="tls_flow_rate_command", kind="command", opcode=0x103, size=32, secret=false, title="TLS_FLOW_RATE", members={
    {"opcode", 0, 2, false, "CommandOpcode", "What to do."},
    {"command_id", 4, 4, false, nil, "Chosen by the driver, returned in the response."},
    {"rate_bytes_per_s", 8, 8, false, nil, "Bytes on the wire per second; zero: no limit."},
    {"handle", 20, 4, false, nil, "The flow."},
  }},
  tls_flow_destroy_command = {name="tls_flow_destroy_command", kind="command", opcode=0x104, size=32, secret=false, title="TLS_FLOW_DESTROY", members={
    {"opcode", 0, 2, false, "CommandOpcode", "What to do."},
    {"command_id", 4, 4, false, nil, "Chosen by the driver, returned in the response."},
    {"handle", 20, 4, false, nil, "The flow."},
  }},
  tls_resync_answer_command = {name="tls_resync_answer_command", kind="command", opcode=0x105, size=32, secret=false, title="TLS_RESYNC_ANSWER", members={
    {"opcode", 0, 2, false, "CommandOpcode", "What to do."},
    {"command_id", 4, 4, false, nil, "Chosen by the driver, returned in the response."},
    {"record_number", 8, 8, false, nil, "Number of the record at tcp_sequence."},
    {"tcp_sequence", 16, 4, false, nil, "From the question."},
    {"handle", 20, 4, false, nil, "The flow."},
    {"question", 24, 4, false, nil, "From the question: which one is answered."},
    {"found", 28, 1, false, nil, "1: a record starts there. 0: none does."},
  }},
  tls_resync_hint_command = {name="tls_resync_hint_command", kind="command", opcode=0x106, size=32, secret=false, title="TLS_RESYNC_HINT", members={
    {"opcode", 0, 2, false, "CommandOpcode", "What to do."},
    {"command_id", 4, 4, false, nil, "Chosen by the driver, returned in the response."},
    {"record_number", 8, 8, false, nil, "Number of the record at tcp_sequence."},
    {"tcp_sequence", 16, 4, false, nil, "TCP sequence number of the first byte of the record's header."},
    {"handle", 20, 4, false, nil, "The flow."},
  }},
  tls_flow = {name="tls_flow", kind="block", size=176, secret=true, title="TLS flow block", members={
    {"direction", 0, 1, false, "TlsDirection", "Transmit or receive."},
    {"ip_version", 1, 1, false, nil, "4 or 6."},
    {"flags", 2, 2, false, "TlsFlowFlags", "Options."},
    {"tls_version", 4, 2, false, nil, "TLS version as on the wire: 0x0301 to 0x0304."},
    {"vlan_id", 6, 2, false, nil, "VLAN identifier, with VLAN."},
    {"suite", 8, 8, false, "CipherSuite", "One bit of the capability register."},
    {"record_number", 16, 8, false, nil, "Number of the first record."},
    {"tcp_sequence", 24, 4, false, nil, "TCP sequence number of the first byte of that record's header."},
    {"local_port", 28, 2, false, nil, "TCP port of the driver's side, host byte order."},
    {"remote_port", 30, 2, false, nil, "TCP port of the other side, host byte order."},
    {"rate_bytes_per_s", 32, 8, false, nil, "Rate limit in bytes per second, with RATE_LIMIT."},
    {"key_length", 40, 2, false, nil, "Bytes of key: 16 or 32."},
    {"iv_length", 42, 2, false, nil, "Bytes of salt (TLS 1.2 GCM: 4), IV (TLS 1.3, ChaCha20: 12) or block IV (TLS 1.0 CBC: 16)."},
    {"mac_key_length", 44, 2, false, nil, "Bytes of MAC key (CBC suites), else zero."},
    {"max_plaintext", 46, 2, false, nil, "Largest content of a record, 64 to 16384 bytes, TLS 1.3's inner type and padding not counted (compare record_size_limit, RFC 8449); 0 for 16384."},
    {"local_address", 48, 16, true, nil, "Address of the driver's side, network byte order; IPv4 in the first 4 bytes."},
    {"remote_address", 64, 16, true, nil, "Address of the other side."},
  }},
  tls_flow_state = {name="tls_flow_state", kind="block", size=112, secret=false, title="TLS flow state block", members={
    {"tracker_state", 0, 1, false, "TlsTrackerState", "State of the receive tracker."},
    {"direction", 1, 1, false, "TlsDirection", "Transmit or receive."},
    {"tcp_sequence", 4, 4, false, nil, "Next in-order TCP sequence number."},
    {"record_number", 8, 8, false, nil, "Number of the record at or around it."},
    {"packets", 16, 8, false, nil, "Packets encrypted or decrypted, those with presync included."},
    {"payload_bytes", 24, 8, false, nil, "TCP payload bytes of these packets."},
    {"out_of_order", 32, 8, false, nil, "Packets out of order."},
    {"not_offloaded", 40, 8, false, nil, "Packets dropped (transmit) or left as on the wire (receive)."},
    {"questions", 48, 8, false, nil, "Resync questions asked."},
    {"auth_failures", 56, 8, false, nil, "Packets with a record that failed authentication."},
    {"presynced", 64, 8, false, nil, "Packets encrypted with the help of a presync block."},
    {"rate_bytes_per_s", 72, 8, false, nil, "Rate limit in bytes per second, or zero."},
    {"record_iv", 80, 16, true, nil, "TLS 1.0: the last ciphertext block before that record, its IV. Else zero."},
    {"host_resyncs", 96, 8, false, nil, "Resyncs by an answer or hint of the host."},
    {"tag_resyncs", 104, 8, false, nil, "Resyncs by a record's own tag."},
  }},
  tls_presync = {name="tls_presync", kind="block", size=48, secret=false, title="TLS presync block", members={
    {"tcp_sequence", 0, 4, false, nil, "TCP sequence number of the first byte of the record's header."},
    {"flags", 4, 2, false, "PresyncFlags", "Options."},
    {"prefix_length", 6, 2, false, nil, "Bytes that descriptors with PREFIX supply: all of the record before the packet, or none."},
    {"record_number", 8, 8, false, nil, "Number of that record."},
    {"record_header", 16, 24, true, nil, "The record's first bytes as the host laid them out: header and explicit nonce or IV. The rest is ignored."},
  }},
  event = {name="event", kind="event", size=32, secret=false, title="Event", members={
    {"type", 0, 2, false, "EventType", "What happened."},
    {"queue", 2, 1, false, nil, "Queue number."},
    {"kind", 3, 1, false, "QueueKind", "Kind of queue."},
    {"handle", 4, 4, false, nil, "Flow handle, or zero."},
    {"value0", 8, 8, false, nil, "Depends on the type."},
    {"value1", 16, 8, false, nil, "Depends on the type."},
    {"sequence", 24, 4, false, nil, "Counts events since reset, lost ones included."},
    {"flags", 30, 2, false, "CompletionFlags", "Valid mark."},
  }},
  link_change_event = {name="link_change_event", kind="event", opcode=0x1, size=32, secret=false, title="LINK_CHANGE", members={
    {"type", 0, 2, false, "EventType", "What happened."},
    {"queue", 2, 1, false, nil, "Queue number."},
    {"kind", 3, 1, false, "QueueKind", "Kind of queue."},
    {"handle", 4, 4, false, nil, "Flow handle, or zero."},
    {"link_up", 8, 8, false, nil, "1: up, 0: down."},
    {"mbps", 16, 8, false, nil, "Megabits per second."},
    {"sequence", 24, 4, false, nil, "Counts events since reset, lost ones included."},
    {"flags", 30, 2, false, "CompletionFlags", "Valid mark."},
  }},
  queue_error_event = {name="queue_error_event", kind="event", opcode=0x2, size=32, secret=false, title="QUEUE_ERROR", members={
    {"type", 0, 2, false, "EventType", "What happened."},
    {"queue", 2, 1, false, nil, "Queue number."},
    {"kind", 3, 1, false, "QueueKind", "Kind of queue."},
    {"handle", 4, 4, false, nil, "Flow handle, or zero."},
    {"code", 8, 8, false, "Diagnostic", "Why."},
    {"address", 16, 8, false, nil, "As in ERROR_ADDRESS."},
    {"sequence", 24, 4, false, nil, "Counts events since reset, lost ones included."},
    {"flags", 30, 2, false, "CompletionFlags", "Valid mark."},
  }},
  diagnostic_event = {name="diagnostic_event", kind="event", opcode=0x3, size=32, secret=false, title="DIAGNOSTIC", members={
    {"type", 0, 2, false, "EventType", "What happened."},
    {"queue", 2, 1, false, nil, "Queue number."},
    {"kind", 3, 1, false, "QueueKind", "Kind of queue."},
    {"handle", 4, 4, false, nil, "Flow handle, or zero."},
    {"code", 8, 8, false, "Diagnostic", "Which rule was broken."},
    {"operand", 16, 8, false, nil, "As in DIAG_OPERAND."},
    {"sequence", 24, 4, false, nil, "Counts events since reset, lost ones included."},
    {"flags", 30, 2, false, "CompletionFlags", "Valid mark."},
  }},
  resync_request_event = {name="resync_request_event", kind="event", opcode=0x4, size=32, secret=false, title="RESYNC_REQUEST", members={
    {"type", 0, 2, false, "EventType", "What happened."},
    {"queue", 2, 1, false, nil, "Queue number."},
    {"kind", 3, 1, false, "QueueKind", "Kind of queue."},
    {"handle", 4, 4, false, nil, "The flow."},
    {"tcp_sequence", 8, 4, false, nil, "TCP sequence number of the first byte of the supposed header."},
    {"question", 12, 4, false, nil, "Number of the question, to be returned in the answer."},
    {"record_number", 16, 8, false, nil, "Last record number that was certain."},
    {"sequence", 24, 4, false, nil, "Counts events since reset, lost ones included."},
    {"flags", 30, 2, false, "CompletionFlags", "Valid mark."},
  }},
  flow_error_event = {name="flow_error_event", kind="event", opcode=0x5, size=32, secret=false, title="FLOW_ERROR", members={
    {"type", 0, 2, false, "EventType", "What happened."},
    {"queue", 2, 1, false, nil, "Queue number."},
    {"kind", 3, 1, false, "QueueKind", "Kind of queue."},
    {"handle", 4, 4, false, nil, "The flow."},
    {"code", 8, 8, false, "Diagnostic", "Why."},
    {"tcp_sequence", 16, 8, false, nil, "TCP sequence number at which it happened."},
    {"sequence", 24, 4, false, nil, "Counts events since reset, lost ones included."},
    {"flags", 30, 2, false, "CompletionFlags", "Valid mark."},
  }},
  trace = {name="trace", kind="trace", size=16, secret=false, title="Trace record", members={
    {"type", 0, 2, false, "TraceType", "What this is."},
    {"card", 2, 1, false, nil, "Number of the card in its process."},
    {"flags", 3, 1, false, "TraceFlags", "About the bytes that follow."},
    {"now_ns", 8, 8, false, nil, "The device's clock, nanoseconds."},
  }},
  trace_register_read = {name="trace_register_read", kind="trace", opcode=0x1, size=32, secret=false, title="REGISTER_READ", members={
    {"type", 0, 2, false, "TraceType", "What this is."},
    {"card", 2, 1, false, nil, "Number of the card in its process."},
    {"flags", 3, 1, false, "TraceFlags", "About the bytes that follow."},
    {"now_ns", 8, 8, false, nil, "The device's clock, nanoseconds."},
    {"bar", 16, 1, false, nil, "BAR."},
    {"width", 17, 1, false, nil, "Bytes of the access: 1, 2, 4 or 8."},
    {"offset", 20, 4, false, nil, "Byte offset in the BAR."},
    {"value", 24, 8, false, nil, "What was read or written."},
  }},
  trace_register_write = {name="trace_register_write", kind="trace", opcode=0x2, size=32, secret=false, title="REGISTER_WRITE", members={
    {"type", 0, 2, false, "TraceType", "What this is."},
    {"card", 2, 1, false, nil, "Number of the card in its process."},
    {"flags", 3, 1, false, "TraceFlags", "About the bytes that follow."},
    {"now_ns", 8, 8, false, nil, "The device's clock, nanoseconds."},
    {"bar", 16, 1, false, nil, "BAR."},
    {"width", 17, 1, false, nil, "Bytes of the access: 1, 2, 4 or 8."},
    {"offset", 20, 4, false, nil, "Byte offset in the BAR."},
    {"value", 24, 8, false, nil, "What was read or written."},
  }},
  trace_dma_read = {name="trace_dma_read", kind="trace", opcode=0x3, size=32, secret=false, title="DMA_READ", members={
    {"type", 0, 2, false, "TraceType", "What this is."},
    {"card", 2, 1, false, nil, "Number of the card in its process."},
    {"flags", 3, 1, false, "TraceFlags", "About the bytes that follow."},
    {"now_ns", 8, 8, false, nil, "The device's clock, nanoseconds."},
    {"address", 16, 8, false, nil, "Guest address."},
    {"length", 24, 4, false, nil, "Bytes of the access."},
    {"queue", 28, 1, false, nil, "Queue number."},
    {"kind", 29, 1, false, "QueueKind", "Kind of queue, with DESCRIPTOR and COMPLETION."},
    {"purpose", 30, 1, false, "DmaPurpose", "What is there."},
  }},
  trace_dma_write = {name="trace_dma_write", kind="trace", opcode=0x4, size=32, secret=false, title="DMA_WRITE", members={
    {"type", 0, 2, false, "TraceType", "What this is."},
    {"card", 2, 1, false, nil, "Number of the card in its process."},
    {"flags", 3, 1, false, "TraceFlags", "About the bytes that follow."},
    {"now_ns", 8, 8, false, nil, "The device's clock, nanoseconds."},
    {"address", 16, 8, false, nil, "Guest address."},
    {"length", 24, 4, false, nil, "Bytes of the access."},
    {"queue", 28, 1, false, nil, "Queue number."},
    {"kind", 29, 1, false, "QueueKind", "Kind of queue, with DESCRIPTOR and COMPLETION."},
    {"purpose", 30, 1, false, "DmaPurpose", "What is there."},
  }},
  trace_interrupt = {name="trace_interrupt", kind="trace", opcode=0x5, size=24, secret=false, title="INTERRUPT", members={
    {"type", 0, 2, false, "TraceType", "What this is."},
    {"card", 2, 1, false, nil, "Number of the card in its process."},
    {"flags", 3, 1, false, "TraceFlags", "About the bytes that follow."},
    {"now_ns", 8, 8, false, nil, "The device's clock, nanoseconds."},
    {"vector", 16, 4, false, nil, "MSI-X vector; zero for INTx."},
    {"msix", 20, 1, false, nil, "1: MSI-X, 0: INTx."},
    {"asserted", 21, 1, false, nil, "INTx: 1 asserted, 0 not. MSI-X: 1."},
  }},
  trace_tls_packet = {name="trace_tls_packet", kind="trace", opcode=0x6, size=40, secret=false, title="TLS_PACKET", members={
    {"type", 0, 2, false, "TraceType", "What this is."},
    {"card", 2, 1, false, nil, "Number of the card in its process."},
    {"flags", 3, 1, false, "TraceFlags", "About the bytes that follow."},
    {"now_ns", 8, 8, false, nil, "The device's clock, nanoseconds."},
    {"handle", 16, 4, false, nil, "The flow."},
    {"tcp_sequence", 20, 4, false, nil, "TCP sequence number of the packet."},
    {"length", 24, 4, false, nil, "TCP payload bytes."},
    {"direction", 28, 1, false, "TlsDirection", "Transmit or receive."},
    {"outcome", 29, 1, false, "TlsOutcome", "What became of it."},
    {"tracker_state", 30, 1, false, "TlsTrackerState", "Receive: the tracker's state afterwards."},
    {"records", 31, 1, false, nil, "Receive: records that ended in the packet."},
    {"record_number", 32, 8, false, nil, "Number of the record at or around the flow's in-order position afterwards."},
  }},
  trace_tls_event = {name="trace_tls_event", kind="trace", opcode=0x7, size=88, secret=false, title="TLS_EVENT", members={
    {"type", 0, 2, false, "TraceType", "What this is."},
    {"card", 2, 1, false, nil, "Number of the card in its process."},
    {"flags", 3, 1, false, "TraceFlags", "About the bytes that follow."},
    {"now_ns", 8, 8, false, nil, "The device's clock, nanoseconds."},
    {"handle", 16, 4, false, nil, "The flow."},
    {"tcp_sequence", 20, 4, false, nil, "TCP sequence number that it is about."},
    {"event", 24, 2, false, "TlsEvent", "What happened."},
    {"old_state", 26, 1, false, "TlsTrackerState", "TRACKER: the state before."},
    {"new_state", 27, 1, false, "TlsTrackerState", "The tracker's state now."},
    {"question", 28, 4, false, nil, "Number of the question, with ASKED, ANSWERED, DENIED and STALE."},
    {"record_number", 32, 8, false, nil, "Record number that it is about."},
    {"direction", 40, 1, false, "TlsDirection", "Transmit or receive."},
    {"ip_version", 41, 1, false, nil, "CREATED: 4 or 6."},
    {"local_port", 42, 2, false, nil, "CREATED: TCP port of the driver's side."},
    {"remote_port", 44, 2, false, nil, "CREATED: TCP port of the other side."},
    {"tls_version", 46, 2, false, nil, "CREATED: TLS version as on the wire."},
    {"suite", 48, 8, false, "CipherSuite", "CREATED: the suite."},
    {"local_address", 56, 16, true, nil, "CREATED: address of the driver's side, network byte order; IPv4 in the first 4 bytes."},
    {"remote_address", 72, 16, true, nil, "CREATED: address of the other side."},
  }},
  trace_input = {name="trace_input", kind="trace", opcode=0x8, size=32, secret=false, title="INPUT", members={
    {"type", 0, 2, false, "TraceType", "What this is."},
    {"card", 2, 1, false, nil, "Number of the card in its process."},
    {"flags", 3, 1, false, "TraceFlags", "About the bytes that follow."},
    {"now_ns", 8, 8, false, nil, "The device's clock, nanoseconds."},
    {"input", 16, 2, false, "DeviceInput", "Which."},
    {"argument", 20, 4, false, nil, "Depends on the input."},
    {"value", 24, 8, false, nil, "Depends on the input."},
  }},
  trace_frame = {name="trace_frame", kind="trace", opcode=0x9, size=40, secret=false, title="FRAME", members={
    {"type", 0, 2, false, "TraceType", "What this is."},
    {"card", 2, 1, false, nil, "Number of the card in its process."},
    {"flags", 3, 1, false, "TraceFlags", "About the bytes that follow."},
    {"now_ns", 8, 8, false, nil, "The device's clock, nanoseconds."},
    {"length", 16, 4, false, nil, "Bytes of the frame."},
    {"outbound", 20, 1, false, nil, "1: the device sends it, 0: it came."},
    {"taken", 21, 1, false, nil, "Sending: 1 the wire took it, 0 not now."},
    {"has_work", 22, 1, false, nil, "1: what follows describes work left to be done, as in struct virtio_net_hdr."},
    {"work_flags", 23, 1, false, nil, "VIRTIO_NET_HDR_F_*."},
    {"gso_type", 24, 1, false, nil, "VIRTIO_NET_HDR_GSO_*."},
    {"header_length", 26, 2, false, nil, "Bytes of headers."},
    {"gso_size", 28, 2, false, nil, "Payload bytes per segment."},
    {"csum_start", 30, 2, false, nil, "Where the checksum starts."},
    {"csum_offset", 32, 2, false, nil, "Where the checksum is, from there."},
  }},
}

-- The block of the STATISTICS command: bytes, and offset and name of each counter.
local statistics = {size=472, counters={{0, "TX_PACKETS"}, {8, "TX_SENT_PACKETS"}, {16, "TX_FRAMES"}, {24, "TX_BYTES"}, {32, "TX_SEGMENTED"}, {40, "TX_DROP_LINK_DOWN"}, {48, "TX_DROP_BAD_PACKET"}, {56, "TX_DROP_DMA"}, {64, "TX_DROP_TLS"}, {72, "TX_WIRE_BUSY"}, {128, "RX_WIRE_FRAMES"}, {136, "RX_FRAMES"}, {144, "RX_BYTES"}, {152, "RX_PACKETS"}, {160, "RX_MULTICAST"}, {168, "RX_BROADCAST"}, {176, "RX_CHECKSUM_BAD"}, {184, "RX_COALESCED"}, {192, "RX_DROP_DISABLED"}, {200, "RX_DROP_FILTER"}, {208, "RX_DROP_RUNT"}, {216, "RX_DROP_OVERSIZE"}, {224, "RX_DROP_NO_BUFFER"}, {232, "RX_DROP_DMA"}, {240, "INTERRUPTS"}, {248, "EVENTS_LOST"}, {256, "TX_TLS_ENCRYPTED_PACKETS"}, {264, "TX_TLS_ENCRYPTED_BYTES"}, {272, "TX_TLS_OOO"}, {280, "TX_TLS_PRESYNC"}, {288, "TX_TLS_DROP_NO_SYNC_DATA"}, {296, "TX_TLS_DROP_BAD_HANDLE"}, {304, "TX_TLS_SKIP_NO_SYNC_DATA"}, {312, "TX_TLS_DROP_BYPASS_REQ"}, {320, "RX_TLS_DECRYPTED_PACKETS"}, {328, "RX_TLS_DECRYPTED_BYTES"}, {336, "RX_TLS_RESYNC_REQ_PKT"}, {344, "RX_TLS_RESYNC_REQ_START"}, {352, "RX_TLS_RESYNC_REQ_END"}, {360, "RX_TLS_RESYNC_REQ_SKIP"}, {368, "RX_TLS_RESYNC_RES_OK"}, {376, "RX_TLS_RESYNC_RES_SKIP"}, {384, "RX_TLS_RESYNC_TAG"}, {392, "RX_TLS_ERR"}, {400, "RX_TLS_CTX"}, {408, "RX_TLS_DEL"}, {448, "TX_TLS_CTX"}, {456, "TX_TLS_DEL"}, {464, "TX_TLS_PACED"}}}

-- Everything below is the same for every interface. Lua 5.1 to 5.4.

local proto = Proto("tlsnic", "tlsnic trace record")

-- Fields ---------------------------------------------------------------------------------------

local MAKE = {[1] = ProtoField.uint8, [2] = ProtoField.uint16, [4] = ProtoField.uint32, [8] = ProtoField.uint64}
local SHOWN_IN_HEX = {address = true, handle = true, send_tag = true, flow = true, tls_version = true,
                      rss_hash = true, offset = true, value = true, value0 = true, value1 = true,
                      operand = true}

local all, by_abbreviation = {}, {}

-- One ProtoField per abbreviation: structures that share a member share its field.
local function field(kind, abbreviation, make)
  local known = by_abbreviation[abbreviation]
  if known then
    assert(known.kind == kind, abbreviation .. " is of two kinds")
    return known.field
  end
  local made = make(abbreviation)
  all[#all + 1] = made
  by_abbreviation[abbreviation] = {kind = kind, field = made}
  return made
end

local function text_field(abbreviation, name, description)
  return field("string", abbreviation, function(a) return ProtoField.string(a, name, base.UNICODE, description) end)
end

local function number_field(abbreviation, name, size, enum, description, in_hex)
  local known = enum and enums[enum]
  local kind = size .. (enum or "")
  return field(kind, abbreviation, function(a)
    if known and not known.flags then
      return MAKE[size](a, name, base.DEC, known.names, nil, description)
    end
    local hex = known or in_hex or SHOWN_IN_HEX[name]
    return MAKE[size](a, name, hex and base.HEX or base.DEC, nil, nil, description)
  end)
end

-- The bits of a set of flags: pairs of bit number and field, the lowest bit first.
local function flag_fields(abbreviation, enum)
  local known = enum and enums[enum]
  if not (known and known.flags) then return nil end
  local bits = {}
  for value, name in pairs(known.names) do
    local bit = 0
    while 2 ^ bit < value do bit = bit + 1 end
    bits[#bits + 1] = {
      bit = bit, name = name,
      field = field("bool", abbreviation .. "." .. name:lower(), function(a) return ProtoField.bool(a, name) end),
    }
  end
  table.sort(bits, function(one, other) return one.bit < other.bit end)
  return bits
end

-- Trace records of one group share abbreviations: trace_register_read is in tlsnic.register.
local function prefix_of(structure)
  if structure.kind ~= "trace" then return "tlsnic." .. structure.name end
  local group = structure.name:match("^trace_(%a+)")
  return group and "tlsnic." .. group or "tlsnic"
end

local common = {}
for _, member in ipairs(structures.trace and structures.trace.members or {}) do common[member[1]] = true end
local QUEUE = {queue = "tlsnic.queue.number", kind = "tlsnic.queue.kind"}

for _, structure in pairs(structures) do
  local prefix = prefix_of(structure)
  structure.decoded = {}
  for place, raw in ipairs(structure.members) do
    local name, offset, size, is_bytes, enum, description = raw[1], raw[2], raw[3], raw[4], raw[5], raw[6]
    local abbreviation = prefix .. "." .. name
    if structure.kind == "trace" then
      if common[name] then abbreviation = "tlsnic." .. name end
      abbreviation = QUEUE[name] or abbreviation
    end
    local member = {name = name, offset = offset, size = size, is_bytes = is_bytes, enum = enum}
    if is_bytes then
      member.field = field("bytes", abbreviation, function(a) return ProtoField.bytes(a, name, base.NONE, description) end)
    else
      member.field = number_field(abbreviation, name, size, enum, description)
      member.flags = flag_fields(abbreviation, enum)
    end
    structure.decoded[place] = member
  end
end

-- Registers by BAR and offset; a register of 8 bytes is there twice. What is wider than 32 bits and
-- no counter is an address.
local elements = {}
local is_counter = {}
for _, counter in ipairs(statistics.counters) do is_counter[counter[2]] = true end
for _, register in ipairs(registers) do
  register.decoded = {}
  for place, raw in ipairs(register.fields) do
    local name, lsb, bits, enum, description = raw[1], raw[2], raw[3], raw[4], raw[5]
    local abbreviation = "tlsnic.reg." .. register.name:lower() .. "." .. name:lower()
    local in_hex = bits > 32 and not is_counter[register.name]
    register.decoded[place] = {
      name = name, lsb = lsb, width = bits, enum = enum, in_hex = in_hex,
      field = number_field(abbreviation, name, bits > 32 and 8 or 4, enum, description, in_hex),
      flags = flag_fields(abbreviation, enum),
    }
  end
  local bar = elements[register.bar] or {}
  elements[register.bar] = bar
  for index = 0, register.count - 1 do
    local begin = register.offset + index * register.stride
    for at = begin, begin + register.size - 4, 4 do
      bar[at] = {register = register, index = index, begin = begin}
    end
  end
end

local register_name = text_field("tlsnic.register.name", "name", "Register at the offset.")
local register_index = field("4", "tlsnic.register.index", function(a)
  return ProtoField.uint32(a, "index", base.DEC, nil, nil, "Element of a register array.")
end)
local dma_structure = text_field("tlsnic.dma.structure", "structure", "What the bytes are.")
local dma_bytes = field("bytes", "tlsnic.dma.bytes", function(a) return ProtoField.bytes(a, "bytes") end)
local local_end = text_field("tlsnic.tls.local", "local", "Address and port of the driver's side.")
local remote_end = text_field("tlsnic.tls.remote", "remote", "Address and port of the other side.")
local mark = text_field("tlsnic.input.text", "text", "Text of a mark.")
local counters = {}
for _, counter in ipairs(statistics.counters) do
  counters[#counters + 1] = {offset = counter[1], name = counter[2],
                             field = number_field("tlsnic.statistics." .. counter[2]:lower(), counter[2], 8)}
end

proto.fields = all
local cut_short = ProtoExpert.new("tlsnic.cut_short", "Bytes are missing", expert.group.MALFORMED, expert.severity.WARN)
local unknown = ProtoExpert.new("tlsnic.unknown", "Nothing known is here", expert.group.UNDECODED, expert.severity.WARN)
proto.experts = {cut_short, unknown}

-- Values ---------------------------------------------------------------------------------------

local function bit_is_set(value, bit)
  return math.floor(value / 2 ^ bit) % 2 == 1
end

-- `low` and `high` are the halves of the value; returns the names of the set bits.
local function flag_names(bits, low, high)
  local names = {}
  for _, one in ipairs(bits) do
    local set = one.bit < 32 and bit_is_set(low, one.bit) or one.bit >= 32 and bit_is_set(high, one.bit - 32)
    if set then names[#names + 1] = one.name end
  end
  return table.concat(names, "|")
end

-- Adds one number with its flags; returns it as a short text, and whether it is 0.
local function add_number(tree, entry, range, low, high, value)
  local item = tree:add(entry.field, range, value)
  local zero = low == 0 and high == 0
  local bits = entry.flags
  if bits then
    local names = flag_names(bits, low, high)
    if names ~= "" then item:append_text(" (" .. names .. ")") end
    for _, one in ipairs(bits) do
      local set = one.bit < 32 and bit_is_set(low, one.bit) or one.bit >= 32 and bit_is_set(high, one.bit - 32)
      item:add(one.field, range, set)
    end
    if names ~= "" then return names, zero end
  elseif entry.enum and high == 0 then
    local name = enums[entry.enum].names[low]
    if name then return name, zero end
  end
  if SHOWN_IN_HEX[entry.name] or entry.in_hex or bits then
    if high == 0 then return string.format("0x%x", low), zero end
    return string.format("0x%x%08x", high, low), zero
  end
  return high == 0 and string.format("%d", low) or tostring(value), zero
end

-- Members that the name of a structure tells already.
local TYPES = {type = true, opcode = true}

-- Adds the members that are there. Returns their texts by name, a summary of those that are not 0,
-- and whether all of them were there.
local function add_structure(tree, tvb, at, limit, structure)
  local texts, shown = {}, {}
  for _, member in ipairs(structure.decoded) do
    local begin = at + member.offset
    if begin + member.size > limit then
      tree:add_proto_expert_info(cut_short, structure.title .. " is cut short")
      return texts, table.concat(shown, " "), false
    end
    local range = tvb(begin, member.size)
    if member.is_bytes then
      tree:add(member.field, range)
    else
      local low, high, value
      if member.size == 8 then
        value = range:le_uint64()
        low, high = value:lower(), value:higher()
      else
        value = range:le_uint()
        low, high = value, 0
      end
      local text, zero = add_number(tree, member, range, low, high, value)
      texts[member.name] = text
      local named = member.enum and not member.flags
      if (named or not zero) and not TYPES[member.name] then shown[#shown + 1] = member.name .. "=" .. text end
    end
  end
  return texts, table.concat(shown, " "), true
end

local function add_subtree(tree, tvb, at, limit, structure, label)
  local length = math.min(structure.size, limit - at)
  local item = tree:add(proto, tvb(at, length), label)
  item:add(dma_structure, structure.name):set_generated()
  local _, summary = add_structure(item, tvb, at, limit, structure)
  item:append_text(": " .. summary)
  return summary
end

-- Registers ------------------------------------------------------------------------------------

-- Decodes `width` bytes at `offset` of a BAR, whose value is in `range` of 8 bytes.
local function add_registers(tree, range, bar, offset, width)
  local value = range:le_uint64()
  local at, texts = offset, {}
  while at < offset + width do
    local element = (elements[bar] or {})[at - at % 4]
    if not element then return table.concat(texts, ", ") end
    local register = element.register
    local name = register.name
    if register.count > 1 then name = string.format("%s[%d]", name, element.index) end
    local item = tree:add(register_name, range, register.name):set_generated()
    if register.count > 1 then
      item:append_text(string.format("[%d]", element.index))
      item:add(register_index, range, element.index):set_generated()
    end
    -- Bits of the register that the access covers, and how far they are shifted in the value.
    local first = (at - element.begin) * 8
    local last = math.min(element.begin + register.size, offset + width) - element.begin
    last = last * 8
    local shift = (element.begin - offset) * 8
    local shown = {}
    for _, part in ipairs(register.decoded) do
      if part.lsb >= first and part.lsb + part.width <= last then
        local bits = value:rshift(part.lsb + shift)
        local low, high = bits:lower(), bits:higher()
        local text
        if part.width <= 32 then
          low = low % 2 ^ part.width
          text = add_number(item, part, range, low, 0, low)
        else
          high = high % 2 ^ (part.width - 32)
          text = add_number(item, part, range, low, high, UInt64.new(low, high))
        end
        shown[#shown + 1] = #register.decoded > 1 and part.name .. "=" .. text or text
      end
    end
    texts[#texts + 1] = name .. " " .. table.concat(shown, " ")
    at = element.begin + register.size
  end
  return table.concat(texts, ", ")
end

local function register_access(verb)
  return function(tree, tvb, limit, texts)
    local bar, width, offset = tvb(16, 1):le_uint(), tvb(17, 1):le_uint(), tvb(20, 4):le_uint()
    local what = string.format("BAR%d+0x%x %s", bar, offset, texts.value)
    if width >= 1 and width <= 8 then
      local known = add_registers(tree, tvb(24, 8), bar, offset, width)
      if known ~= "" then what = known end
    end
    return verb .. " " .. what
  end
end

-- Host memory ----------------------------------------------------------------------------------

local function by_number(kind, member)
  local numbered, generic = {}, nil
  for _, structure in pairs(structures) do
    if structure.kind == kind then
      if structure.opcode then numbered[structure.opcode] = structure else generic = structure end
    end
  end
  local offset, size
  for _, one in ipairs(generic and generic.members or {}) do
    if one[1] == member then offset, size = one[2], one[3] end
  end
  return {
    size = generic and generic.size,
    at = function(tvb, at, limit)
      if offset and at + offset + size <= limit then
        return numbered[tvb(at + offset, size):le_uint()] or generic
      end
      return generic
    end,
  }
end

local function always(name)
  local structure = structures[name]
  return structure and {size = structure.size, at = function() return structure end}
end

-- Entries of rings, by purpose and kind of queue.
local RINGS = {
  DESCRIPTOR = {TRANSMIT = always("tx_descriptor"), RECEIVE = always("rx_descriptor"),
                ADMIN = by_number("command", "opcode")},
  COMPLETION = {TRANSMIT = always("tx_completion"), RECEIVE = always("rx_completion"),
                ADMIN = by_number("response", "opcode"), EVENT = by_number("event", "type")},
}

-- Blocks, by whether the device writes them, and their length.
local BLOCKS = {[true] = {}, [false] = {}}
for name, written in pairs({tls_flow = false, tls_presync = false, tls_flow_state = true}) do
  if structures[name] then BLOCKS[written][structures[name].size] = structures[name] end
end

local function add_statistics(tree, tvb, at, limit)
  local item = tree:add(proto, tvb(at, limit - at), "counters")
  item:add(dma_structure, "statistics"):set_generated()
  for _, counter in ipairs(counters) do
    if at + counter.offset + 8 <= limit then
      item:add_le(counter.field, tvb(at + counter.offset, 8))
    end
  end
end

local function add_memory(tree, tvb, at, limit, written, texts)
  if at >= limit then return "" end
  local purpose, kind = texts.purpose, texts.kind
  local length = tvb(24, 4):le_uint()
  local entry = RINGS[purpose] and RINGS[purpose][kind]
  local summaries = {}
  if entry and entry.size then
    while at + entry.size <= limit do
      local structure = entry.at(tvb, at, limit)
      local summary = add_subtree(tree, tvb, at, limit, structure, structure.name)
      if #summaries < 4 then summaries[#summaries + 1] = structure.name .. " " .. summary end
      at = at + entry.size
    end
  elseif purpose == "BLOCK" then
    local structure = BLOCKS[written][length]
    if structure then
      local summary = add_subtree(tree, tvb, at, limit, structure, structure.name)
      return " " .. structure.name .. " " .. summary
    elseif written and statistics.size > 0 and length == statistics.size then
      add_statistics(tree, tvb, at, limit)
      return " statistics"
    end
  end
  if at < limit then tree:add(dma_bytes, tvb(at, limit - at)) end
  return #summaries > 0 and " " .. table.concat(summaries, "; ") or ""
end

local function memory_access(verb, written)
  return function(tree, tvb, limit, texts, flags, size)
    local what = verb .. " " .. texts.length .. " bytes at " .. texts.address
    if texts.purpose == "DESCRIPTOR" or texts.purpose == "COMPLETION" then
      what = string.format("%s %s, %s queue %s", verb, texts.purpose:lower(), texts.kind, texts.queue)
    elseif texts.purpose == "BLOCK" then
      what = what .. ", block"
    end
    if flags:find("FAULT", 1, true) then
      return what .. (flags:find("READ_ONLY", 1, true) and ": read-only" or ": not mapped")
    elseif flags:find("SECRET", 1, true) then
      if limit > size then tree:add(dma_bytes, tvb(size, limit - size)):append_text(" (sealed)") end
      return what .. ": key material"
    end
    return what .. add_memory(tree, tvb, size, limit, written, texts)
  end
end

-- The other records ----------------------------------------------------------------------------

local function interrupt(_, tvb, _, texts)
  if tvb(20, 1):le_uint() ~= 0 then return "MSI-X vector " .. texts.vector end
  return tvb(21, 1):le_uint() ~= 0 and "INTx asserted" or "INTx deasserted"
end

local function tls_packet(_, _, _, texts)
  local text = string.format("flow %s %s %s, sequence %s, %s bytes", texts.handle, texts.direction:lower(),
                             texts.outcome, texts.tcp_sequence, texts.length)
  if texts.direction == "RECEIVE" then
    text = string.format("%s, %s records ended; %s", text, texts.records, texts.tracker_state)
  end
  return text .. ", record " .. texts.record_number
end

local function address_text(range, version)
  if version == 4 then return tostring(range:range(0, 4):ipv4()) end
  return "[" .. tostring(range:ipv6()) .. "]"
end

local function tls_event(tree, tvb, _, texts)
  local text = string.format("flow %s %s %s", texts.handle, texts.direction:lower(), texts.event)
  local version = tvb(41, 1):le_uint()
  if version == 4 or version == 6 then
    local near = address_text(tvb(56, 16), version) .. ":" .. texts.local_port
    local far = address_text(tvb(72, 16), version) .. ":" .. texts.remote_port
    tree:add(local_end, tvb(56, 16), near):set_generated()
    tree:add(remote_end, tvb(72, 16), far):set_generated()
    if texts.event == "CREATED" then
      text = string.format("%s %s to %s, %s", text, near, far, texts.suite)
    end
  end
  if texts.event == "TRACKER" then
    text = string.format("%s %s to %s", text, texts.old_state, texts.new_state)
  elseif texts.question ~= "0" then
    text = text .. " question " .. texts.question
  end
  return string.format("%s, sequence %s, record %s", text, texts.tcp_sequence, texts.record_number)
end

local function input(tree, tvb, limit, texts, _, size)
  if limit > size then
    local range = tvb(size, limit - size)
    local text = range:string(ENC_UTF_8)
    tree:add(mark, range, text)
    return texts.input .. " " .. text
  end
  return string.format("%s argument %s, value %s", texts.input, texts.argument, texts.value)
end

local function frame(tree, tvb, limit, texts, _, size)
  if limit > size then tree:add(dma_bytes, tvb(size, limit - size)) end
  local way = texts.outbound ~= "0" and "sent" or "came"
  if texts.outbound ~= "0" and texts.taken == "0" then way = "refused" end
  return string.format("frame of %s bytes %s", texts.length, way)
end

local RECORDS = {
  trace_register_read = register_access("read"), trace_register_write = register_access("write"),
  trace_dma_read = memory_access("DMA read", false), trace_dma_write = memory_access("DMA write", true),
  trace_interrupt = interrupt, trace_tls_packet = tls_packet, trace_tls_event = tls_event,
  trace_input = input, trace_frame = frame,
}
local by_type = {}
for _, structure in pairs(structures) do
  if structure.kind == "trace" and structure.opcode then by_type[structure.opcode] = structure end
end

function proto.dissector(tvb, pinfo, tree)
  -- A snap length leaves less than the record had; what is not there must not be touched.
  local limit = tvb:len()
  if tvb.captured_len then limit = tvb:captured_len() end
  if limit == 0 then return 0 end
  pinfo.cols.protocol = "tlsnic"
  local item = tree:add(proto, tvb(0, limit))
  local structure = limit >= 2 and by_type[tvb(0, 2):le_uint()]
  if not structure then
    local _, _, whole = add_structure(item, tvb, 0, limit, structures.trace)
    if whole then item:add_proto_expert_info(unknown, "Unknown type of record") end
    pinfo.cols.info = "unknown record"
    return limit
  end
  local texts, _, whole = add_structure(item, tvb, 0, limit, structure)
  local summary = structure.title .. " (cut short)"
  if whole and limit >= structure.size then
    local describe = RECORDS[structure.name]
    summary = describe and describe(item, tvb, limit, texts, texts.flags, structure.size) or structure.title
  end
  item:append_text(", " .. summary)
  pinfo.cols.info = summary
  return limit
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, proto)
