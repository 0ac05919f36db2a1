"""What registers, structures and values mean, one line each, for tools that print it.

Generated from rdl/tlsnic.rdl by `python -m tlsnic.abi.generate`; do not edit.
"""

REGISTERS: dict[str, str] = {
    "MAGIC": (
        "Magic. Constant 0x4E534C54, `TLSN` in ASCII, low byte first. All ones mean that the "
        "device is gone."
    ),
    "VERSION": (
        "Interface version. Version of this interface. A driver accepts any minor version of "
        "the major version that it knows."
    ),
    "CAP_QUEUES": "Queue capabilities. How many queues and vectors there are.",
    "CAP_RINGS": "Ring capabilities. Limits of rings and packets.",
    "CAP_OFFLOADS": "Offload capabilities. Offloads that this device has.",
    "CAP_FRAME": (
        "Largest frame. Largest value of MAX_FRAME, and the largest packet for segmentation, "
        "in bytes from the destination address on, without FCS."
    ),
    "CAP_TLS_TX": (
        "TLS transmit cipher suites. Versions and cipher suites for transmit. Zero where "
        "OFFLOADS has no TX_TLS."
    ),
    "CAP_TLS_RX": (
        "TLS receive cipher suites. Versions and cipher suites for receive. Zero where "
        "OFFLOADS has no RX_TLS."
    ),
    "CAP_TLS_FLOWS": "TLS flow contexts. Most flow contexts, both directions together.",
    "CAP_TLS_FEATURES": "TLS features. Parts of the TLS interface that this device has.",
    "CONTROL": "Device control. Reset and overall enable.",
    "STATUS": "Device status. State of the device.",
    "LINK_SPEED": (
        "Link speed. Nominal speed of the wire. A wire in software has none; the value is "
        "what `tlsnic device` was told."
    ),
    "MAX_FRAME": (
        "Largest frame accepted. Longest frame in either direction, in bytes without FCS; a "
        "VLAN tag may come on top. Values outside 64 to CAP_FRAME.FRAME_BYTES are ignored."
    ),
    "MAC_ADDRESS": (
        "MAC address. Unicast address of the port, first octet in bits 7:0. Its reset value "
        "is set by the operator."
    ),
    "OFFLOAD_ENABLE": (
        "Offload enable. Receive offloads that are switched on, and whether flow contexts "
        "can be made. Other transmit offloads are asked for per packet. The driver must: Set "
        "RX_CHECKSUM together with RX_COALESCE, without which nothing is joined, and with "
        "RX_TLS. Use L4_CHECKSUM or SEGMENT with every TLS packet."
    ),
    "RX_COALESCE": (
        "Receive coalescing. Limits of coalescing; used when OFFLOAD_ENABLE has RX_COALESCE."
    ),
    "TLS_RESYNC": (
        "TLS resync time-out. How long a resync question waits for its answer. When a packet "
        "of the flow comes later than that, the question is dropped and a new one asked."
    ),
    "INT_CAUSE": (
        "Interrupt cause. One bit per vector that has fired. With MSI-X it is only "
        "informative. With INTx the line is asserted while a bit is set that INT_ENABLE has "
        "too. Ordering: Write back the bits that were read, then look at the completion "
        "rings: a completion after the write sets the bit again."
    ),
    "INT_ENABLE": (
        "Interrupt enable. Vectors that may assert INTx. MSI-X vectors are masked in the "
        "MSI-X table instead."
    ),
    "INT_TRIGGER": (
        "Interrupt trigger. Raises vectors as if their queue had asked, without moderation. "
        "For driver self-tests."
    ),
    "DIAG_LAST": (
        "Last diagnostic. What the driver did wrong last. The event queue and the debug "
        "shell give all of them."
    ),
    "DIAG_COUNT": "Diagnostics raised. Diagnostics since reset.",
    "DIAG_OPERAND": (
        "Diagnostic operand. Register offset, guest address, index or opcode that DIAG_LAST "
        "is about."
    ),
    "EVENT_ENABLE": "Event enable. Kinds of events that are written to the event queue.",
    "RX_FILTER": (
        "Receive filter control. Which frames are taken from the wire besides those for "
        "MAC_ADDRESS."
    ),
    "MAC_FILTER": (
        "MAC filter entry. Further unicast and multicast addresses. A write of one half "
        "takes effect at once: write 64 bits, or clear VALID first."
    ),
    "VLAN_FILTER": "VLAN filter. Bit b of entry n admits VLAN 64 n + b.",
    "RSS_CONTROL": (
        "RSS control. Which packets are hashed. A packet of no enabled type, and every "
        "packet while ENABLE is clear, goes to queue 0."
    ),
    "RSS_KEY": "RSS key. 40-byte Toeplitz key. Byte 4n is in bits 7:0 of entry n.",
    "RSS_TABLE": (
        "RSS indirection table. Four of 128 entries per register: entry 4n in bits 7:0. The "
        "low 7 bits of the hash choose the entry. The driver must not: Name a receive queue "
        "that is not running."
    ),
    "MODERATION": (
        "Interrupt moderation. Per vector. An interrupt is raised when FRAMES completions "
        "have gathered or when USECS have passed since the first of them, whichever comes "
        "first. Zero in both: at once. With USECS of zero and FRAMES set there is no time "
        "limit. Completions that were there when the ring was armed count too."
    ),
    "TX_PACKETS": "Packets fetched from transmit rings; one with SEGMENT counts once.",
    "TX_SENT_PACKETS": "Of these, packets handed to the wire.",
    "TX_FRAMES": (
        "Frames on the wire; a packet that the wire segments itself counts as the frames "
        "that it makes."
    ),
    "TX_BYTES": "Bytes of these frames, without FCS.",
    "TX_SEGMENTED": "Packets with SEGMENT that were sent.",
    "TX_DROP_LINK_DOWN": (
        "Packets dropped because the link was down, or went down while they waited for the wire."
    ),
    "TX_DROP_BAD_PACKET": "Packets dropped for their descriptors or headers.",
    "TX_DROP_DMA": "Packets dropped because memory was not mapped.",
    "TX_DROP_TLS": "Packets dropped rather than sent in clear.",
    "TX_WIRE_BUSY": "Times that the wire could not take a frame and transmit waited.",
    "RX_WIRE_FRAMES": "Frames that arrived from the wire.",
    "RX_FRAMES": "Of these, frames written to host memory.",
    "RX_BYTES": "Bytes of these frames as on the wire, without FCS.",
    "RX_PACKETS": "Receive completions; joined segments count once.",
    "RX_MULTICAST": "Multicast frames, broadcast excepted, among RX_FRAMES.",
    "RX_BROADCAST": "Broadcast frames among RX_FRAMES.",
    "RX_CHECKSUM_BAD": "Frames among RX_FRAMES with a bad IPv4 header, TCP or UDP checksum.",
    "RX_COALESCED": "Frames among RX_FRAMES that were joined to an earlier one.",
    "RX_DROP_DISABLED": (
        "Frames dropped because RX_ENABLE was clear, the queue was not running or bus "
        "mastering was off."
    ),
    "RX_DROP_FILTER": "Frames dropped by address or VLAN filter.",
    "RX_DROP_RUNT": "Frames shorter than an Ethernet header.",
    "RX_DROP_OVERSIZE": (
        "Frames longer than MAX_FRAME, or left to the device to complete in a way that does "
        "not fit them."
    ),
    "RX_DROP_NO_BUFFER": "Frames dropped because the receive ring or its completion ring was full.",
    "RX_DROP_DMA": (
        "Frames dropped because a receive buffer was not mapped or not valid, or its "
        "completion could not be written."
    ),
    "INTERRUPTS": "Interrupts raised.",
    "EVENTS_LOST": "Events that found no room.",
    "TX_TLS_ENCRYPTED_PACKETS": "Packets with TLS that were encrypted.",
    "TX_TLS_ENCRYPTED_BYTES": "TCP payload bytes of these packets.",
    "TX_TLS_OOO": "Packets with TLS that did not start at the expected TCP sequence number.",
    "TX_TLS_PRESYNC": "Packets encrypted with the help of a presync block.",
    "TX_TLS_DROP_NO_SYNC_DATA": "Packets dropped because presync data was missing or did not fit.",
    "TX_TLS_DROP_BAD_HANDLE": (
        "Packets dropped because their handle was stale or forged, or the handle of another "
        "connection."
    ),
    "TX_TLS_SKIP_NO_SYNC_DATA": (
        "Packets from before the start of offload, sent as they were (BEFORE_START)."
    ),
    "TX_TLS_DROP_BYPASS_REQ": (
        "Packets dropped because they lie on both sides of the start of offload."
    ),
    "RX_TLS_DECRYPTED_PACKETS": "Packets delivered decrypted.",
    "RX_TLS_DECRYPTED_BYTES": "TCP payload bytes of these packets.",
    "RX_TLS_RESYNC_REQ_PKT": "Packets with RESYNC in their completion.",
    "RX_TLS_RESYNC_REQ_START": "Resync questions asked.",
    "RX_TLS_RESYNC_REQ_END": (
        "Questions that were answered in time. What REQ_START has more than REQ_END and "
        "REQ_SKIP together is open."
    ),
    "RX_TLS_RESYNC_REQ_SKIP": (
        "Questions dropped before an answer: no longer followed, timed out, settled "
        "otherwise, or the flow destroyed."
    ),
    "RX_TLS_RESYNC_RES_OK": "Answers and hints that brought a flow back to offload.",
    "RX_TLS_RESYNC_RES_SKIP": "Answers and hints that did not: stale, or no record starts there.",
    "RX_TLS_RESYNC_TAG": "Resyncs settled by a record's own tag.",
    "RX_TLS_ERR": (
        "Packets left as on the wire because a record that ended in them failed authentication."
    ),
    "RX_TLS_CTX": "Receive flow contexts that were made.",
    "RX_TLS_DEL": "Receive flow contexts that were destroyed.",
    "TX_TLS_CTX": "Transmit flow contexts that were made.",
    "TX_TLS_DEL": "Transmit flow contexts that were destroyed.",
    "TX_TLS_PACED": "Frames that a rate limit held back.",
    "ADMIN_QUEUE_RING_BASE": (
        "Descriptor ring base. Guest address of the descriptor ring, aligned to 64 bytes. "
        "The admin queue's ring holds commands."
    ),
    "ADMIN_QUEUE_COMPLETION_BASE": (
        "Completion ring base. Guest address of the completion ring, aligned to 64 bytes."
    ),
    "ADMIN_QUEUE_RING_SIZE": (
        "Descriptor ring size. Entries in the descriptor ring: a power of two within "
        "CAP_RINGS. The ring is empty when HEAD equals TAIL, so it holds one descriptor less "
        "than its size."
    ),
    "ADMIN_QUEUE_COMPLETION_SIZE": (
        "Completion ring size. Entries in the completion ring: a power of two within "
        "CAP_RINGS. It holds one entry less than its size. As large as the descriptor ring "
        "is enough for a queue never to wait."
    ),
    "ADMIN_QUEUE_CONTROL": (
        "Queue control. Setting ENABLE checks the configuration and starts the queue with "
        "all indices at zero and the first lap's phase at one. Clearing it stops the queue: "
        "when the write has been followed by a read of STATUS that says DISABLED, the device "
        "does not touch the rings or buffers any more. The driver must: Clear completion "
        "memory to zero before enabling, so that no entry looks valid."
    ),
    "ADMIN_QUEUE_VECTOR": (
        "Interrupt vector. MSI-X vector that completions of this queue raise. With INTx the "
        "vector is the bit in INT_CAUSE."
    ),
    "ADMIN_QUEUE_STATUS": "Queue status. State of the queue.",
    "ADMIN_QUEUE_HEAD": "Head. Index of the next descriptor that the device will fetch.",
    "ADMIN_QUEUE_TAIL": "Tail. Index that the last accepted doorbell named.",
    "ADMIN_QUEUE_COMPLETION_PRODUCER": (
        "Completion producer. Index of the next completion entry that the device will write."
    ),
    "ADMIN_QUEUE_ERROR_ADDRESS": (
        "Error address. Guest address, or the index or value, that the diagnostic in "
        "STATUS.ERROR_CODE is about."
    ),
    "ADMIN_QUEUE_COMPLETION_CONSUMER": (
        "Completion consumer. Consumer index that the driver last returned."
    ),
    "EVENT_QUEUE_RING_BASE": (
        "Descriptor ring base. Guest address of the descriptor ring, aligned to 64 bytes. "
        "The admin queue's ring holds commands."
    ),
    "EVENT_QUEUE_COMPLETION_BASE": (
        "Completion ring base. Guest address of the completion ring, aligned to 64 bytes."
    ),
    "EVENT_QUEUE_RING_SIZE": (
        "Descriptor ring size. Entries in the descriptor ring: a power of two within "
        "CAP_RINGS. The ring is empty when HEAD equals TAIL, so it holds one descriptor less "
        "than its size."
    ),
    "EVENT_QUEUE_COMPLETION_SIZE": (
        "Completion ring size. Entries in the completion ring: a power of two within "
        "CAP_RINGS. It holds one entry less than its size. As large as the descriptor ring "
        "is enough for a queue never to wait."
    ),
    "EVENT_QUEUE_CONTROL": (
        "Queue control. Setting ENABLE checks the configuration and starts the queue with "
        "all indices at zero and the first lap's phase at one. Clearing it stops the queue: "
        "when the write has been followed by a read of STATUS that says DISABLED, the device "
        "does not touch the rings or buffers any more. The driver must: Clear completion "
        "memory to zero before enabling, so that no entry looks valid."
    ),
    "EVENT_QUEUE_VECTOR": (
        "Interrupt vector. MSI-X vector that completions of this queue raise. With INTx the "
        "vector is the bit in INT_CAUSE."
    ),
    "EVENT_QUEUE_STATUS": "Queue status. State of the queue.",
    "EVENT_QUEUE_HEAD": "Head. Index of the next descriptor that the device will fetch.",
    "EVENT_QUEUE_TAIL": "Tail. Index that the last accepted doorbell named.",
    "EVENT_QUEUE_COMPLETION_PRODUCER": (
        "Completion producer. Index of the next completion entry that the device will write."
    ),
    "EVENT_QUEUE_ERROR_ADDRESS": (
        "Error address. Guest address, or the index or value, that the diagnostic in "
        "STATUS.ERROR_CODE is about."
    ),
    "EVENT_QUEUE_COMPLETION_CONSUMER": (
        "Completion consumer. Consumer index that the driver last returned."
    ),
    "TX_QUEUE_RING_BASE": (
        "Descriptor ring base. Guest address of the descriptor ring, aligned to 64 bytes. "
        "The admin queue's ring holds commands."
    ),
    "TX_QUEUE_COMPLETION_BASE": (
        "Completion ring base. Guest address of the completion ring, aligned to 64 bytes."
    ),
    "TX_QUEUE_RING_SIZE": (
        "Descriptor ring size. Entries in the descriptor ring: a power of two within "
        "CAP_RINGS. The ring is empty when HEAD equals TAIL, so it holds one descriptor less "
        "than its size."
    ),
    "TX_QUEUE_COMPLETION_SIZE": (
        "Completion ring size. Entries in the completion ring: a power of two within "
        "CAP_RINGS. It holds one entry less than its size. As large as the descriptor ring "
        "is enough for a queue never to wait."
    ),
    "TX_QUEUE_CONTROL": (
        "Queue control. Setting ENABLE checks the configuration and starts the queue with "
        "all indices at zero and the first lap's phase at one. Clearing it stops the queue: "
        "when the write has been followed by a read of STATUS that says DISABLED, the device "
        "does not touch the rings or buffers any more. The driver must: Clear completion "
        "memory to zero before enabling, so that no entry looks valid."
    ),
    "TX_QUEUE_VECTOR": (
        "Interrupt vector. MSI-X vector that completions of this queue raise. With INTx the "
        "vector is the bit in INT_CAUSE."
    ),
    "TX_QUEUE_STATUS": "Queue status. State of the queue.",
    "TX_QUEUE_HEAD": "Head. Index of the next descriptor that the device will fetch.",
    "TX_QUEUE_TAIL": "Tail. Index that the last accepted doorbell named.",
    "TX_QUEUE_COMPLETION_PRODUCER": (
        "Completion producer. Index of the next completion entry that the device will write."
    ),
    "TX_QUEUE_ERROR_ADDRESS": (
        "Error address. Guest address, or the index or value, that the diagnostic in "
        "STATUS.ERROR_CODE is about."
    ),
    "TX_QUEUE_COMPLETION_CONSUMER": (
        "Completion consumer. Consumer index that the driver last returned."
    ),
    "RX_QUEUE_RING_BASE": (
        "Descriptor ring base. Guest address of the descriptor ring, aligned to 64 bytes. "
        "The admin queue's ring holds commands."
    ),
    "RX_QUEUE_COMPLETION_BASE": (
        "Completion ring base. Guest address of the completion ring, aligned to 64 bytes."
    ),
    "RX_QUEUE_RING_SIZE": (
        "Descriptor ring size. Entries in the descriptor ring: a power of two within "
        "CAP_RINGS. The ring is empty when HEAD equals TAIL, so it holds one descriptor less "
        "than its size."
    ),
    "RX_QUEUE_COMPLETION_SIZE": (
        "Completion ring size. Entries in the completion ring: a power of two within "
        "CAP_RINGS. It holds one entry less than its size. As large as the descriptor ring "
        "is enough for a queue never to wait."
    ),
    "RX_QUEUE_CONTROL": (
        "Queue control. Setting ENABLE checks the configuration and starts the queue with "
        "all indices at zero and the first lap's phase at one. Clearing it stops the queue: "
        "when the write has been followed by a read of STATUS that says DISABLED, the device "
        "does not touch the rings or buffers any more. The driver must: Clear completion "
        "memory to zero before enabling, so that no entry looks valid."
    ),
    "RX_QUEUE_VECTOR": (
        "Interrupt vector. MSI-X vector that completions of this queue raise. With INTx the "
        "vector is the bit in INT_CAUSE."
    ),
    "RX_QUEUE_STATUS": "Queue status. State of the queue.",
    "RX_QUEUE_HEAD": "Head. Index of the next descriptor that the device will fetch.",
    "RX_QUEUE_TAIL": "Tail. Index that the last accepted doorbell named.",
    "RX_QUEUE_COMPLETION_PRODUCER": (
        "Completion producer. Index of the next completion entry that the device will write."
    ),
    "RX_QUEUE_ERROR_ADDRESS": (
        "Error address. Guest address, or the index or value, that the diagnostic in "
        "STATUS.ERROR_CODE is about."
    ),
    "RX_QUEUE_COMPLETION_CONSUMER": (
        "Completion consumer. Consumer index that the driver last returned."
    ),
    "TX_DOORBELL_TAIL": (
        "Tail doorbell. Index after the last descriptor that the driver has filled. The "
        "device may fetch up to it at any time from now on. Ordering: Descriptors must be "
        "written before the doorbell. A posted write does not pass earlier stores to memory "
        "on the architectures that QEMU emulates when the driver uses a write barrier."
    ),
    "TX_DOORBELL_COMPLETION": (
        "Completion doorbell. Returns completion entries to the device, and asks for an "
        "interrupt. The driver must: Return consumed entries before the completion ring is "
        "full: the queue waits otherwise. Ordering: With ARM the device compares INDEX with "
        "its own producer index and raises the vector at once when they differ: a completion "
        "that was written while the driver was on its way to sleep is never lost."
    ),
    "RX_DOORBELL_TAIL": (
        "Tail doorbell. Index after the last descriptor that the driver has filled. The "
        "device may fetch up to it at any time from now on. Ordering: Descriptors must be "
        "written before the doorbell. A posted write does not pass earlier stores to memory "
        "on the architectures that QEMU emulates when the driver uses a write barrier."
    ),
    "RX_DOORBELL_COMPLETION": (
        "Completion doorbell. Returns completion entries to the device, and asks for an "
        "interrupt. The driver must: Return consumed entries before the completion ring is "
        "full: the queue waits otherwise. Ordering: With ARM the device compares INDEX with "
        "its own producer index and raises the vector at once when they differ: a completion "
        "that was written while the driver was on its way to sleep is never lost."
    ),
    "ADMIN_DOORBELL_TAIL": (
        "Tail doorbell. Index after the last descriptor that the driver has filled. The "
        "device may fetch up to it at any time from now on. Ordering: Descriptors must be "
        "written before the doorbell. A posted write does not pass earlier stores to memory "
        "on the architectures that QEMU emulates when the driver uses a write barrier."
    ),
    "ADMIN_DOORBELL_COMPLETION": (
        "Completion doorbell. Returns completion entries to the device, and asks for an "
        "interrupt. The driver must: Return consumed entries before the completion ring is "
        "full: the queue waits otherwise. Ordering: With ARM the device compares INDEX with "
        "its own producer index and raises the vector at once when they differ: a completion "
        "that was written while the driver was on its way to sleep is never lost."
    ),
    "EVENT_DOORBELL_TAIL": (
        "Tail doorbell. Index after the last descriptor that the driver has filled. The "
        "device may fetch up to it at any time from now on. Ordering: Descriptors must be "
        "written before the doorbell. A posted write does not pass earlier stores to memory "
        "on the architectures that QEMU emulates when the driver uses a write barrier."
    ),
    "EVENT_DOORBELL_COMPLETION": (
        "Completion doorbell. Returns completion entries to the device, and asks for an "
        "interrupt. The driver must: Return consumed entries before the completion ring is "
        "full: the queue waits otherwise. Ordering: With ARM the device compares INDEX with "
        "its own producer index and raises the vector at once when they differ: a completion "
        "that was written while the driver was on its way to sleep is never lost."
    ),
}
"""Registers, by name."""

FIELDS: dict[str, str] = {
    "VERSION.MINOR": "Compatible additions.",
    "VERSION.MAJOR": "Incompatible changes.",
    "CAP_QUEUES.TX_QUEUES": "Transmit queues.",
    "CAP_QUEUES.RX_QUEUES": "Receive queues.",
    "CAP_QUEUES.VECTORS": "Interrupt vectors.",
    "CAP_RINGS.MIN_LOG2": "Smallest ring, log2 of entries.",
    "CAP_RINGS.MAX_LOG2": "Largest ring, log2 of entries.",
    "CAP_RINGS.MAX_CHAIN": "Most descriptors in one packet.",
    "CAP_RINGS.MIN_RX_BUFFER": "Smallest receive buffer, in units of 64 bytes.",
    "CAP_FRAME.FRAME_BYTES": "Bytes of a frame on the wire.",
    "CAP_FRAME.SEGMENT_PAYLOAD_BYTES": "Bytes of TCP payload in a packet with SEGMENT.",
    "CONTROL.RESET": (
        "Write one: soft reset. Registers, queues, counters, diagnostics and keys return to "
        "their reset values; the MAC address to the operator's. PCI configuration and the "
        "link stay. The other bits of the same write have no effect. Complete when the write "
        "is; read STATUS to be sure that it has arrived."
    ),
    "CONTROL.RX_ENABLE": (
        "Frames from the wire are taken. Clear: they are dropped and counted in "
        "RX_DROP_DISABLED; what coalescing holds is delivered when the bit is cleared."
    ),
    "CONTROL.TX_ENABLE": "Doorbells of transmit queues are served. Clear: descriptors wait.",
    "STATUS.READY": "The device is ready for use.",
    "STATUS.LINK_UP": "The link is up.",
    "STATUS.RESET_COUNT": (
        "Resets of any kind since the device process started, modulo 2^16. A driver that "
        "finds it changed knows that its queues are gone."
    ),
    "LINK_SPEED.MBPS": "Megabits per second.",
    "OFFLOAD_ENABLE.OFFLOADS": (
        "RX_CHECKSUM, VLAN_STRIP, RX_COALESCE, TX_TLS and RX_TLS, as far as CAP_OFFLOADS has "
        "them. A write with any other bit is ignored (VALUE_RANGE). With TX_TLS or RX_TLS "
        "clear no flow of that direction can be made; those that exist go on."
    ),
    "RX_COALESCE.TIMEOUT_US": "Longest wait for the next segment, in microseconds.",
    "RX_COALESCE.MAX_KIB": "Largest joined packet, in units of 1024 bytes.",
    "RX_COALESCE.MAX_SEGMENTS": "Most segments in a joined packet.",
    "TLS_RESYNC.TIMEOUT_US": "Microseconds; zero: for ever.",
    "INT_CAUSE.VECTORS": "Write one to clear.",
    "INT_TRIGGER.VECTORS": "Write one to raise.",
    "DIAG_LAST.CODE": "Which rule was broken.",
    "DIAG_LAST.QUEUE": "Queue number.",
    "DIAG_LAST.KIND": "Kind of queue.",
    "RX_FILTER.PROMISCUOUS": "Frames for every address. VLAN_FILTER still applies.",
    "RX_FILTER.ALL_MULTICAST": "Every multicast frame.",
    "RX_FILTER.BROADCAST": "Broadcast frames.",
    "RX_FILTER.VLAN_FILTER": (
        "Tagged frames only when VLAN_FILTER has their VLAN; untagged and priority-tagged "
        "frames always."
    ),
    "MAC_FILTER.ADDRESS": "Address, first octet in bits 7:0.",
    "MAC_FILTER.VALID": "The entry is used.",
    "RSS_CONTROL.TYPES": "Hash types; the most specific enabled one is used.",
    "RSS_CONTROL.ENABLE": "Use the hash to choose the receive queue.",
    "MODERATION.USECS": "Longest wait in microseconds.",
    "MODERATION.FRAMES": "Completions that end the wait early; zero: no limit.",
    "TX_PACKETS.COUNT": "Count since reset; wraps at 2^64.",
    "TX_SENT_PACKETS.COUNT": "Count since reset; wraps at 2^64.",
    "TX_FRAMES.COUNT": "Count since reset; wraps at 2^64.",
    "TX_BYTES.COUNT": "Count since reset; wraps at 2^64.",
    "TX_SEGMENTED.COUNT": "Count since reset; wraps at 2^64.",
    "TX_DROP_LINK_DOWN.COUNT": "Count since reset; wraps at 2^64.",
    "TX_DROP_BAD_PACKET.COUNT": "Count since reset; wraps at 2^64.",
    "TX_DROP_DMA.COUNT": "Count since reset; wraps at 2^64.",
    "TX_DROP_TLS.COUNT": "Count since reset; wraps at 2^64.",
    "TX_WIRE_BUSY.COUNT": "Count since reset; wraps at 2^64.",
    "RX_WIRE_FRAMES.COUNT": "Count since reset; wraps at 2^64.",
    "RX_FRAMES.COUNT": "Count since reset; wraps at 2^64.",
    "RX_BYTES.COUNT": "Count since reset; wraps at 2^64.",
    "RX_PACKETS.COUNT": "Count since reset; wraps at 2^64.",
    "RX_MULTICAST.COUNT": "Count since reset; wraps at 2^64.",
    "RX_BROADCAST.COUNT": "Count since reset; wraps at 2^64.",
    "RX_CHECKSUM_BAD.COUNT": "Count since reset; wraps at 2^64.",
    "RX_COALESCED.COUNT": "Count since reset; wraps at 2^64.",
    "RX_DROP_DISABLED.COUNT": "Count since reset; wraps at 2^64.",
    "RX_DROP_FILTER.COUNT": "Count since reset; wraps at 2^64.",
    "RX_DROP_RUNT.COUNT": "Count since reset; wraps at 2^64.",
    "RX_DROP_OVERSIZE.COUNT": "Count since reset; wraps at 2^64.",
    "RX_DROP_NO_BUFFER.COUNT": "Count since reset; wraps at 2^64.",
    "RX_DROP_DMA.COUNT": "Count since reset; wraps at 2^64.",
    "INTERRUPTS.COUNT": "Count since reset; wraps at 2^64.",
    "EVENTS_LOST.COUNT": "Count since reset; wraps at 2^64.",
    "TX_TLS_ENCRYPTED_PACKETS.COUNT": "Count since reset; wraps at 2^64.",
    "TX_TLS_ENCRYPTED_BYTES.COUNT": "Count since reset; wraps at 2^64.",
    "TX_TLS_OOO.COUNT": "Count since reset; wraps at 2^64.",
    "TX_TLS_PRESYNC.COUNT": "Count since reset; wraps at 2^64.",
    "TX_TLS_DROP_NO_SYNC_DATA.COUNT": "Count since reset; wraps at 2^64.",
    "TX_TLS_DROP_BAD_HANDLE.COUNT": "Count since reset; wraps at 2^64.",
    "TX_TLS_SKIP_NO_SYNC_DATA.COUNT": "Count since reset; wraps at 2^64.",
    "TX_TLS_DROP_BYPASS_REQ.COUNT": "Count since reset; wraps at 2^64.",
    "RX_TLS_DECRYPTED_PACKETS.COUNT": "Count since reset; wraps at 2^64.",
    "RX_TLS_DECRYPTED_BYTES.COUNT": "Count since reset; wraps at 2^64.",
    "RX_TLS_RESYNC_REQ_PKT.COUNT": "Count since reset; wraps at 2^64.",
    "RX_TLS_RESYNC_REQ_START.COUNT": "Count since reset; wraps at 2^64.",
    "RX_TLS_RESYNC_REQ_END.COUNT": "Count since reset; wraps at 2^64.",
    "RX_TLS_RESYNC_REQ_SKIP.COUNT": "Count since reset; wraps at 2^64.",
    "RX_TLS_RESYNC_RES_OK.COUNT": "Count since reset; wraps at 2^64.",
    "RX_TLS_RESYNC_RES_SKIP.COUNT": "Count since reset; wraps at 2^64.",
    "RX_TLS_RESYNC_TAG.COUNT": "Count since reset; wraps at 2^64.",
    "RX_TLS_ERR.COUNT": "Count since reset; wraps at 2^64.",
    "RX_TLS_CTX.COUNT": "Count since reset; wraps at 2^64.",
    "RX_TLS_DEL.COUNT": "Count since reset; wraps at 2^64.",
    "TX_TLS_CTX.COUNT": "Count since reset; wraps at 2^64.",
    "TX_TLS_DEL.COUNT": "Count since reset; wraps at 2^64.",
    "TX_TLS_PACED.COUNT": "Count since reset; wraps at 2^64.",
    "ADMIN_QUEUE_CONTROL.ENABLE": "Run the queue.",
    "ADMIN_QUEUE_VECTOR.VECTOR": "Vector number, below CAP_QUEUES.VECTORS.",
    "ADMIN_QUEUE_STATUS.STATE": "State.",
    "ADMIN_QUEUE_STATUS.ERROR_CODE": "Why the queue is in ERROR.",
    "EVENT_QUEUE_CONTROL.ENABLE": "Run the queue.",
    "EVENT_QUEUE_VECTOR.VECTOR": "Vector number, below CAP_QUEUES.VECTORS.",
    "EVENT_QUEUE_STATUS.STATE": "State.",
    "EVENT_QUEUE_STATUS.ERROR_CODE": "Why the queue is in ERROR.",
    "TX_QUEUE_CONTROL.ENABLE": "Run the queue.",
    "TX_QUEUE_VECTOR.VECTOR": "Vector number, below CAP_QUEUES.VECTORS.",
    "TX_QUEUE_STATUS.STATE": "State.",
    "TX_QUEUE_STATUS.ERROR_CODE": "Why the queue is in ERROR.",
    "RX_QUEUE_CONTROL.ENABLE": "Run the queue.",
    "RX_QUEUE_VECTOR.VECTOR": "Vector number, below CAP_QUEUES.VECTORS.",
    "RX_QUEUE_STATUS.STATE": "State.",
    "RX_QUEUE_STATUS.ERROR_CODE": "Why the queue is in ERROR.",
    "TX_DOORBELL_TAIL.INDEX": "Ring index, below RING_SIZE.",
    "TX_DOORBELL_COMPLETION.INDEX": "Index of the next entry that the driver will look at.",
    "TX_DOORBELL_COMPLETION.ARM": (
        "Raise the queue's vector once, when an entry at or after INDEX has been written."
    ),
    "RX_DOORBELL_TAIL.INDEX": "Ring index, below RING_SIZE.",
    "RX_DOORBELL_COMPLETION.INDEX": "Index of the next entry that the driver will look at.",
    "RX_DOORBELL_COMPLETION.ARM": (
        "Raise the queue's vector once, when an entry at or after INDEX has been written."
    ),
    "ADMIN_DOORBELL_TAIL.INDEX": "Ring index, below RING_SIZE.",
    "ADMIN_DOORBELL_COMPLETION.INDEX": "Index of the next entry that the driver will look at.",
    "ADMIN_DOORBELL_COMPLETION.ARM": (
        "Raise the queue's vector once, when an entry at or after INDEX has been written."
    ),
    "EVENT_DOORBELL_TAIL.INDEX": "Ring index, below RING_SIZE.",
    "EVENT_DOORBELL_COMPLETION.INDEX": "Index of the next entry that the driver will look at.",
    "EVENT_DOORBELL_COMPLETION.ARM": (
        "Raise the queue's vector once, when an entry at or after INDEX has been written."
    ),
}
"""Fields, by `REGISTER.FIELD`."""

STRUCTURES: dict[str, str] = {
    "tx_descriptor": (
        "Transmit descriptor. One buffer of a packet. Offload fields are read from the first "
        "data descriptor of the packet, which is the first without PRESYNC and PREFIX. "
        "Descriptors with PRESYNC, PREFIX or SUFFIX have no other flag but END_OF_PACKET, "
        "and no other field but address and length."
    ),
    "tx_completion": (
        "Transmit completion. Says that the device is done with all descriptors before head. "
        "Written for packets with REPORT and for every dropped packet."
    ),
    "rx_descriptor": (
        "Receive descriptor. One empty buffer. Buffers are filled in ring order; a frame "
        "that is longer than one buffer takes several."
    ),
    "rx_completion": (
        "Receive completion. One received packet, in buffers ring entries from index on."
    ),
    "command": (
        "Command. Entry of the admin ring: the part that all commands have. Commands are "
        "carried out in ring order, one after the other; a response is written for each."
    ),
    "response": "Response. Entry of the admin completion ring.",
    "nop_command": "NOP. Does nothing. Its response proves that the admin queue works.",
    "statistics_command": (
        "STATISTICS. Copies the counter registers, in register order from TX_PACKETS on, "
        "gaps as zero, to memory at one moment. result0 is the number of bytes."
    ),
    "tls_flow_create_command": (
        "TLS_FLOW_CREATE. Creates a flow context from a TLS flow block. result0 is the "
        "handle. The device has read the block when the response is written: the driver can "
        "wipe it. The driver must: Wipe the flow block after the response: it holds the key."
    ),
    "tls_flow_query_command": (
        "TLS_FLOW_QUERY. Copies a TLS flow state block to memory. result0 is the number of bytes."
    ),
    "tls_flow_rekey_command": (
        "TLS_FLOW_REKEY. Replaces key, IV and record number of a flow from the flow block's "
        "tcp_sequence on, which starts a record. Direction, version, suite, lengths and "
        "max_plaintext must be those of the flow; addresses, ports and rate are not looked "
        "at. Transmit: records before it keep the old key, also when they are sent again, "
        "until the next rekey. Receive: packets from it on come as on the wire until the "
        "switch. The driver must: Wipe the flow block after the response: it holds the key."
    ),
    "tls_flow_rate_command": (
        "TLS_FLOW_RATE. Sets the rate limit of a transmit flow. Lifting it sends at once "
        "what the limit held back."
    ),
    "tls_flow_destroy_command": (
        "TLS_FLOW_DESTROY. Destroys a flow and wipes its key. The response comes when "
        "everything that was posted before the command has left, so it may come after those "
        "of later commands. From the command on the handle is refused by others, and the "
        "5-tuple is free."
    ),
    "tls_resync_answer_command": (
        "TLS_RESYNC_ANSWER. Answers a resync question. The record number is that of the "
        "record whose header starts at tcp_sequence."
    ),
    "tls_resync_hint_command": (
        "TLS_RESYNC_HINT. Tells where a record starts, unasked (next-record hint of the stack)."
    ),
    "tls_flow": "TLS flow block. Everything that a flow context starts from.",
    "tls_flow_state": "TLS flow state block. What TLS_FLOW_QUERY writes. Never key material.",
    "tls_presync": (
        "TLS presync block. Tells the device where in which record a packet starts that is "
        "not next in order."
    ),
    "event": "Event. Entry of the event ring: the part that all events have.",
    "link_change_event": "LINK_CHANGE. The link went up or down.",
    "queue_error_event": "QUEUE_ERROR. A queue went to ERROR; queue and kind say which.",
    "diagnostic_event": "DIAGNOSTIC. A diagnostic was raised.",
    "resync_request_event": (
        "RESYNC_REQUEST. The tracker of a receive flow follows what looks like records, and "
        "asks whether one starts at tcp_sequence."
    ),
    "flow_error_event": (
        "FLOW_ERROR. A flow cannot be offloaded any more; its packets come as on the wire, "
        "or are dropped on transmit."
    ),
    "trace": "Trace record. One packet on a bus interface of a capture: the part that all have.",
    "trace_register_read": "REGISTER_READ. The host read a register.",
    "trace_register_write": "REGISTER_WRITE. The host wrote a register or rang a doorbell.",
    "trace_dma_read": "DMA_READ. The device read host memory. The bytes follow.",
    "trace_dma_write": "DMA_WRITE. The device wrote host memory. The bytes follow.",
    "trace_interrupt": "INTERRUPT. An MSI-X message, or a change of the INTx line.",
    "trace_tls_packet": (
        "TLS_PACKET. What TLS offload did to a packet, or to a super-frame as a whole."
    ),
    "trace_tls_event": "TLS_EVENT. Something happened to a TLS flow besides packets.",
    "trace_input": "INPUT. Another input of the device: time, link, reset.",
    "trace_frame": (
        "FRAME. What belongs to a frame besides its bytes, which are the next packet of the "
        "wire's interface."
    ),
}
"""Structures, by name in the hardware description."""

MEMBERS: dict[str, str] = {
    "tx_descriptor.address": "Guest address of the buffer.",
    "tx_descriptor.length": "Bytes in the buffer, at least 1.",
    "tx_descriptor.flags": "What to do.",
    "tx_descriptor.vlan_tci": "802.1Q tag control information for VLAN_INSERT.",
    "tx_descriptor.send_tag": "Handle of the flow, with TLS; else zero.",
    "tx_descriptor.mss": "TCP payload bytes per segment, with SEGMENT; else zero.",
    "tx_descriptor.header_length": (
        "Bytes of Ethernet, IP and TCP headers, with SEGMENT or TLS; else zero."
    ),
    "tx_completion.send_tag": "Flow of the packet, or zero.",
    "tx_completion.detail": "Diagnostic of a dropped packet, or zero.",
    "tx_completion.head": "Index after the last descriptor of the packet.",
    "tx_completion.status": "What became of the packet that ends at head.",
    "tx_completion.flags": "Valid mark.",
    "rx_descriptor.address": "Guest address of the buffer.",
    "rx_descriptor.length": "Bytes in the buffer.",
    "rx_completion.length": "Bytes of the packet in memory.",
    "rx_completion.rss_hash": "Toeplitz hash, or zero when no type matched.",
    "rx_completion.index": "Receive descriptor of the first buffer.",
    "rx_completion.buffers": "Buffers used.",
    "rx_completion.vlan_tci": "Tag control information, with VLAN_STRIPPED.",
    "rx_completion.segments": "Segments joined in the packet; 1 when not coalesced.",
    "rx_completion.flow": "Handle of the receive flow, or zero.",
    "rx_completion.segment_bytes": "TCP payload bytes of the first segment, with COALESCED.",
    "rx_completion.hash_type": "Hash type of rss_hash.",
    "rx_completion.tls_state": "What TLS offload did.",
    "rx_completion.tls_records": "Records that ended in the packet.",
    "rx_completion.flags": "What the device found; the valid mark.",
    "command.opcode": "What to do.",
    "command.command_id": "Chosen by the driver, returned in the response.",
    "command.parameter0": "Depends on the opcode.",
    "command.parameter1": "Depends on the opcode.",
    "command.parameter2": "Depends on the opcode.",
    "response.command_id": "From the command.",
    "response.opcode": "From the command.",
    "response.status": "Result.",
    "response.result0": "Depends on the opcode; zero on error.",
    "response.result1": "Depends on the opcode; zero on error.",
    "response.detail": "On error: which offset or size is meant.",
    "response.flags": "Valid mark.",
    "nop_command.opcode": "What to do.",
    "nop_command.command_id": "Chosen by the driver, returned in the response.",
    "statistics_command.opcode": "What to do.",
    "statistics_command.command_id": "Chosen by the driver, returned in the response.",
    "statistics_command.address": "Guest address of the block, aligned to 8 bytes.",
    "statistics_command.length": "Bytes in the block.",
    "tls_flow_create_command.opcode": "What to do.",
    "tls_flow_create_command.command_id": "Chosen by the driver, returned in the response.",
    "tls_flow_create_command.address": "Guest address of the flow block, aligned to 8 bytes.",
    "tls_flow_create_command.length": "Bytes in the block.",
    "tls_flow_query_command.opcode": "What to do.",
    "tls_flow_query_command.command_id": "Chosen by the driver, returned in the response.",
    "tls_flow_query_command.address": "Guest address of the block, aligned to 8 bytes.",
    "tls_flow_query_command.length": "Bytes in the block.",
    "tls_flow_query_command.handle": "The flow.",
    "tls_flow_rekey_command.opcode": "What to do.",
    "tls_flow_rekey_command.command_id": "Chosen by the driver, returned in the response.",
    "tls_flow_rekey_command.address": "Guest address of the flow block, aligned to 8 bytes.",
    "tls_flow_rekey_command.length": "Bytes in the block.",
    "tls_flow_rekey_command.handle": "The flow.",
    "tls_flow_rate_command.opcode": "What to do.",
    "tls_flow_rate_command.command_id": "Chosen by the driver, returned in the response.",
    "tls_flow_rate_command.rate_bytes_per_s": "Bytes on the wire per second; zero: no limit.",
    "tls_flow_rate_command.handle": "The flow.",
    "tls_flow_destroy_command.opcode": "What to do.",
    "tls_flow_destroy_command.command_id": "Chosen by the driver, returned in the response.",
    "tls_flow_destroy_command.handle": "The flow.",
    "tls_resync_answer_command.opcode": "What to do.",
    "tls_resync_answer_command.command_id": "Chosen by the driver, returned in the response.",
    "tls_resync_answer_command.record_number": "Number of the record at tcp_sequence.",
    "tls_resync_answer_command.tcp_sequence": "From the question.",
    "tls_resync_answer_command.handle": "The flow.",
    "tls_resync_answer_command.question": "From the question: which one is answered.",
    "tls_resync_answer_command.found": "1: a record starts there. 0: none does.",
    "tls_resync_hint_command.opcode": "What to do.",
    "tls_resync_hint_command.command_id": "Chosen by the driver, returned in the response.",
    "tls_resync_hint_command.record_number": "Number of the record at tcp_sequence.",
    "tls_resync_hint_command.tcp_sequence": (
        "TCP sequence number of the first byte of the record's header."
    ),
    "tls_resync_hint_command.handle": "The flow.",
    "tls_flow.direction": "Transmit or receive.",
    "tls_flow.ip_version": "4 or 6.",
    "tls_flow.flags": "Options.",
    "tls_flow.tls_version": "TLS version as on the wire: 0x0301 to 0x0304.",
    "tls_flow.vlan_id": "VLAN identifier, with VLAN.",
    "tls_flow.suite": "One bit of the capability register.",
    "tls_flow.record_number": "Number of the first record.",
    "tls_flow.tcp_sequence": "TCP sequence number of the first byte of that record's header.",
    "tls_flow.local_port": "TCP port of the driver's side, host byte order.",
    "tls_flow.remote_port": "TCP port of the other side, host byte order.",
    "tls_flow.rate_bytes_per_s": "Rate limit in bytes per second, with RATE_LIMIT.",
    "tls_flow.key_length": "Bytes of key: 16 or 32.",
    "tls_flow.iv_length": (
        "Bytes of salt (TLS 1.2 GCM: 4), IV (TLS 1.3, ChaCha20: 12) or block IV (TLS 1.0 CBC: 16)."
    ),
    "tls_flow.mac_key_length": "Bytes of MAC key (CBC suites), else zero.",
    "tls_flow.max_plaintext": (
        "Largest content of a record, 64 to 16384 bytes, TLS 1.3's inner type and padding "
        "not counted (compare record_size_limit, RFC 8449); 0 for 16384."
    ),
    "tls_flow.local_address": (
        "Address of the driver's side, network byte order; IPv4 in the first 4 bytes."
    ),
    "tls_flow.remote_address": "Address of the other side.",
    "tls_flow.key": "Key.",
    "tls_flow.iv": "Salt or IV.",
    "tls_flow.mac_key": "MAC key.",
    "tls_flow_state.tracker_state": "State of the receive tracker.",
    "tls_flow_state.direction": "Transmit or receive.",
    "tls_flow_state.tcp_sequence": "Next in-order TCP sequence number.",
    "tls_flow_state.record_number": "Number of the record at or around it.",
    "tls_flow_state.packets": "Packets encrypted or decrypted, those with presync included.",
    "tls_flow_state.payload_bytes": "TCP payload bytes of these packets.",
    "tls_flow_state.out_of_order": "Packets out of order.",
    "tls_flow_state.not_offloaded": "Packets dropped (transmit) or left as on the wire (receive).",
    "tls_flow_state.questions": "Resync questions asked.",
    "tls_flow_state.auth_failures": "Packets with a record that failed authentication.",
    "tls_flow_state.presynced": "Packets encrypted with the help of a presync block.",
    "tls_flow_state.rate_bytes_per_s": "Rate limit in bytes per second, or zero.",
    "tls_flow_state.record_iv": (
        "TLS 1.0: the last ciphertext block before that record, its IV. Else zero."
    ),
    "tls_flow_state.host_resyncs": "Resyncs by an answer or hint of the host.",
    "tls_flow_state.tag_resyncs": "Resyncs by a record's own tag.",
    "tls_presync.tcp_sequence": "TCP sequence number of the first byte of the record's header.",
    "tls_presync.flags": "Options.",
    "tls_presync.prefix_length": (
        "Bytes that descriptors with PREFIX supply: all of the record before the packet, or none."
    ),
    "tls_presync.record_number": "Number of that record.",
    "tls_presync.record_header": (
        "The record's first bytes as the host laid them out: header and explicit nonce or "
        "IV. The rest is ignored."
    ),
    "event.type": "What happened.",
    "event.queue": "Queue number.",
    "event.kind": "Kind of queue.",
    "event.handle": "Flow handle, or zero.",
    "event.value0": "Depends on the type.",
    "event.value1": "Depends on the type.",
    "event.sequence": "Counts events since reset, lost ones included.",
    "event.flags": "Valid mark.",
    "link_change_event.type": "What happened.",
    "link_change_event.queue": "Queue number.",
    "link_change_event.kind": "Kind of queue.",
    "link_change_event.handle": "Flow handle, or zero.",
    "link_change_event.link_up": "1: up, 0: down.",
    "link_change_event.mbps": "Megabits per second.",
    "link_change_event.sequence": "Counts events since reset, lost ones included.",
    "link_change_event.flags": "Valid mark.",
    "queue_error_event.type": "What happened.",
    "queue_error_event.queue": "Queue number.",
    "queue_error_event.kind": "Kind of queue.",
    "queue_error_event.handle": "Flow handle, or zero.",
    "queue_error_event.code": "Why.",
    "queue_error_event.address": "As in ERROR_ADDRESS.",
    "queue_error_event.sequence": "Counts events since reset, lost ones included.",
    "queue_error_event.flags": "Valid mark.",
    "diagnostic_event.type": "What happened.",
    "diagnostic_event.queue": "Queue number.",
    "diagnostic_event.kind": "Kind of queue.",
    "diagnostic_event.handle": "Flow handle, or zero.",
    "diagnostic_event.code": "Which rule was broken.",
    "diagnostic_event.operand": "As in DIAG_OPERAND.",
    "diagnostic_event.sequence": "Counts events since reset, lost ones included.",
    "diagnostic_event.flags": "Valid mark.",
    "resync_request_event.type": "What happened.",
    "resync_request_event.queue": "Queue number.",
    "resync_request_event.kind": "Kind of queue.",
    "resync_request_event.handle": "The flow.",
    "resync_request_event.tcp_sequence": (
        "TCP sequence number of the first byte of the supposed header."
    ),
    "resync_request_event.question": "Number of the question, to be returned in the answer.",
    "resync_request_event.record_number": "Last record number that was certain.",
    "resync_request_event.sequence": "Counts events since reset, lost ones included.",
    "resync_request_event.flags": "Valid mark.",
    "flow_error_event.type": "What happened.",
    "flow_error_event.queue": "Queue number.",
    "flow_error_event.kind": "Kind of queue.",
    "flow_error_event.handle": "The flow.",
    "flow_error_event.code": "Why.",
    "flow_error_event.tcp_sequence": "TCP sequence number at which it happened.",
    "flow_error_event.sequence": "Counts events since reset, lost ones included.",
    "flow_error_event.flags": "Valid mark.",
    "trace.type": "What this is.",
    "trace.card": "Number of the card in its process.",
    "trace.flags": "About the bytes that follow.",
    "trace.now_ns": "The device's clock, nanoseconds.",
    "trace_register_read.type": "What this is.",
    "trace_register_read.card": "Number of the card in its process.",
    "trace_register_read.flags": "About the bytes that follow.",
    "trace_register_read.now_ns": "The device's clock, nanoseconds.",
    "trace_register_read.bar": "BAR.",
    "trace_register_read.width": "Bytes of the access: 1, 2, 4 or 8.",
    "trace_register_read.offset": "Byte offset in the BAR.",
    "trace_register_read.value": "What was read or written.",
    "trace_register_write.type": "What this is.",
    "trace_register_write.card": "Number of the card in its process.",
    "trace_register_write.flags": "About the bytes that follow.",
    "trace_register_write.now_ns": "The device's clock, nanoseconds.",
    "trace_register_write.bar": "BAR.",
    "trace_register_write.width": "Bytes of the access: 1, 2, 4 or 8.",
    "trace_register_write.offset": "Byte offset in the BAR.",
    "trace_register_write.value": "What was read or written.",
    "trace_dma_read.type": "What this is.",
    "trace_dma_read.card": "Number of the card in its process.",
    "trace_dma_read.flags": "About the bytes that follow.",
    "trace_dma_read.now_ns": "The device's clock, nanoseconds.",
    "trace_dma_read.address": "Guest address.",
    "trace_dma_read.length": "Bytes of the access.",
    "trace_dma_read.queue": "Queue number.",
    "trace_dma_read.kind": "Kind of queue, with DESCRIPTOR and COMPLETION.",
    "trace_dma_read.purpose": "What is there.",
    "trace_dma_write.type": "What this is.",
    "trace_dma_write.card": "Number of the card in its process.",
    "trace_dma_write.flags": "About the bytes that follow.",
    "trace_dma_write.now_ns": "The device's clock, nanoseconds.",
    "trace_dma_write.address": "Guest address.",
    "trace_dma_write.length": "Bytes of the access.",
    "trace_dma_write.queue": "Queue number.",
    "trace_dma_write.kind": "Kind of queue, with DESCRIPTOR and COMPLETION.",
    "trace_dma_write.purpose": "What is there.",
    "trace_interrupt.type": "What this is.",
    "trace_interrupt.card": "Number of the card in its process.",
    "trace_interrupt.flags": "About the bytes that follow.",
    "trace_interrupt.now_ns": "The device's clock, nanoseconds.",
    "trace_interrupt.vector": "MSI-X vector; zero for INTx.",
    "trace_interrupt.msix": "1: MSI-X, 0: INTx.",
    "trace_interrupt.asserted": "INTx: 1 asserted, 0 not. MSI-X: 1.",
    "trace_tls_packet.type": "What this is.",
    "trace_tls_packet.card": "Number of the card in its process.",
    "trace_tls_packet.flags": "About the bytes that follow.",
    "trace_tls_packet.now_ns": "The device's clock, nanoseconds.",
    "trace_tls_packet.handle": "The flow.",
    "trace_tls_packet.tcp_sequence": "TCP sequence number of the packet.",
    "trace_tls_packet.length": "TCP payload bytes.",
    "trace_tls_packet.direction": "Transmit or receive.",
    "trace_tls_packet.outcome": "What became of it.",
    "trace_tls_packet.tracker_state": "Receive: the tracker's state afterwards.",
    "trace_tls_packet.records": "Receive: records that ended in the packet.",
    "trace_tls_packet.record_number": (
        "Number of the record at or around the flow's in-order position afterwards."
    ),
    "trace_tls_event.type": "What this is.",
    "trace_tls_event.card": "Number of the card in its process.",
    "trace_tls_event.flags": "About the bytes that follow.",
    "trace_tls_event.now_ns": "The device's clock, nanoseconds.",
    "trace_tls_event.handle": "The flow.",
    "trace_tls_event.tcp_sequence": "TCP sequence number that it is about.",
    "trace_tls_event.event": "What happened.",
    "trace_tls_event.old_state": "TRACKER: the state before.",
    "trace_tls_event.new_state": "The tracker's state now.",
    "trace_tls_event.question": "Number of the question, with ASKED, ANSWERED, DENIED and STALE.",
    "trace_tls_event.record_number": "Record number that it is about.",
    "trace_tls_event.direction": "Transmit or receive.",
    "trace_tls_event.ip_version": "CREATED: 4 or 6.",
    "trace_tls_event.local_port": "CREATED: TCP port of the driver's side.",
    "trace_tls_event.remote_port": "CREATED: TCP port of the other side.",
    "trace_tls_event.tls_version": "CREATED: TLS version as on the wire.",
    "trace_tls_event.suite": "CREATED: the suite.",
    "trace_tls_event.local_address": (
        "CREATED: address of the driver's side, network byte order; IPv4 in the first 4 bytes."
    ),
    "trace_tls_event.remote_address": "CREATED: address of the other side.",
    "trace_input.type": "What this is.",
    "trace_input.card": "Number of the card in its process.",
    "trace_input.flags": "About the bytes that follow.",
    "trace_input.now_ns": "The device's clock, nanoseconds.",
    "trace_input.input": "Which.",
    "trace_input.argument": "Depends on the input.",
    "trace_input.value": "Depends on the input.",
    "trace_frame.type": "What this is.",
    "trace_frame.card": "Number of the card in its process.",
    "trace_frame.flags": "About the bytes that follow.",
    "trace_frame.now_ns": "The device's clock, nanoseconds.",
    "trace_frame.length": "Bytes of the frame.",
    "trace_frame.outbound": "1: the device sends it, 0: it came.",
    "trace_frame.taken": "Sending: 1 the wire took it, 0 not now.",
    "trace_frame.has_work": (
        "1: what follows describes work left to be done, as in struct virtio_net_hdr."
    ),
    "trace_frame.work_flags": "VIRTIO_NET_HDR_F_*.",
    "trace_frame.gso_type": "VIRTIO_NET_HDR_GSO_*.",
    "trace_frame.header_length": "Bytes of headers.",
    "trace_frame.gso_size": "Payload bytes per segment.",
    "trace_frame.csum_start": "Where the checksum starts.",
    "trace_frame.csum_offset": "Where the checksum is, from there.",
}
"""Members of structures, by `structure.member`."""

ENUMS: dict[str, str] = {
    "QueueState.DISABLED": "Not enabled. Configuration registers may be written.",
    "QueueState.RUNNING": "Enabled: descriptors are fetched and completions are written.",
    "QueueState.ERROR": (
        "Stopped by a fault. ERROR_CODE and ERROR_ADDRESS say why. Clear ENABLE to leave."
    ),
    "Diagnostic.NONE": "No diagnostic since reset.",
    "Diagnostic.REG_UNKNOWN": (
        "Access to an offset that no register occupies. Reads return zero, writes are ignored."
    ),
    "Diagnostic.REG_READ_ONLY": "Write to a register without a writable field. Ignored.",
    "Diagnostic.REG_ACCESS": (
        "Access that is narrower than 32 bits or not aligned. Reads return the bytes without "
        "side effects, writes are ignored."
    ),
    "Diagnostic.REG_RESERVED_BITS": "Write of a one into a reserved bit. The other bits are taken.",
    "Diagnostic.DOORBELL_DISABLED": (
        "Doorbell of a queue that is not running, or the tail doorbell of the event queue, "
        "which has no descriptor ring. Ignored."
    ),
    "Diagnostic.DOORBELL_RANGE": (
        "Doorbell with an index that is not below the size of the ring. The queue goes to ERROR."
    ),
    "Diagnostic.RING_BASE_ZERO": (
        "Queue enabled before a ring base was set. The queue goes to ERROR."
    ),
    "Diagnostic.RING_SIZE": (
        "Queue enabled with a ring size of zero, not a power of two, or outside the limits. "
        "The queue goes to ERROR."
    ),
    "Diagnostic.RING_ALIGNMENT": (
        "Queue enabled with a ring base that is not aligned to 64 bytes. The queue goes to ERROR."
    ),
    "Diagnostic.QUEUE_BUSY": (
        "Configuration register of an enabled queue written, or ENABLE set again in ERROR "
        "without clearing it first. Ignored."
    ),
    "Diagnostic.BUS_MASTER_OFF": (
        "DMA or interrupt needed while Bus Master Enable is clear. Nothing was transferred: "
        "descriptors and interrupts wait, received frames are dropped."
    ),
    "Diagnostic.DMA_FAULT": (
        "Address that the host has not mapped, or RAM without a shared file descriptor. The "
        "queue goes to ERROR."
    ),
    "Diagnostic.DMA_PERMISSION": (
        "Device write to memory that is mapped read-only. The queue goes to ERROR."
    ),
    "Diagnostic.VECTOR_INVALID": (
        "Queue enabled with an interrupt vector that does not exist. The queue goes to ERROR."
    ),
    "Diagnostic.TX_RESERVED": "Reserved bits set in a transmit descriptor. The packet is dropped.",
    "Diagnostic.TX_FLAGS": (
        "Contradictory or unsupported flags in a transmit descriptor, or flags of the first "
        "descriptor in a later one. The packet is dropped."
    ),
    "Diagnostic.TX_LENGTH": (
        "Packet shorter than an Ethernet header, longer than MAX_FRAME (or than the "
        "segmentation limit), or a descriptor of length zero. The packet is dropped."
    ),
    "Diagnostic.TX_HEADER": (
        "header_length does not agree with the headers of the packet. The packet is dropped."
    ),
    "Diagnostic.TX_SEGMENTATION": (
        "Segmentation asked for with an MSS of zero, of a packet that is not TCP, or of an "
        "IP fragment. The packet is dropped."
    ),
    "Diagnostic.TX_CHECKSUM": (
        "Checksum asked for in a packet that is neither TCP nor UDP, or is a fragment. The "
        "packet is dropped."
    ),
    "Diagnostic.TX_CHAIN": (
        "More descriptors in one packet than CAP_RINGS.MAX_CHAIN, or than the ring holds. "
        "The queue goes to ERROR."
    ),
    "Diagnostic.TX_LINK_DOWN": "Packet queued while the link is down. Dropped and counted.",
    "Diagnostic.COMPLETION_RING_FULL": (
        "No free completion entry: the driver has not returned its consumer index. The queue waits."
    ),
    "Diagnostic.COMPLETION_INDEX": (
        "Consumer index that is out of range or past the producer index. Ignored."
    ),
    "Diagnostic.RX_BUFFER": (
        "Receive buffer shorter than CAP_RINGS.MIN_RX_BUFFER or with reserved bits set. The "
        "queue goes to ERROR."
    ),
    "Diagnostic.RX_NO_BUFFER": "Frame dropped because its receive ring had too few buffers.",
    "Diagnostic.COMMAND_UNKNOWN": "Command with an unknown opcode. Answered with BAD_OPCODE.",
    "Diagnostic.COMMAND_RESERVED": "Command with reserved bits set. Answered with RESERVED_BITS.",
    "Diagnostic.COMMAND_FIELD": (
        "Command with a field out of range, or a parameter block that is too short. Answered "
        "with the error."
    ),
    "Diagnostic.EVENT_LOST": "Event queue full or not running: the event was not written.",
    "Diagnostic.RSS_QUEUE": (
        "Indirection table entry names a receive queue that does not exist. Queue 0 is used."
    ),
    "Diagnostic.RAM_NOT_SHARED": (
        "The host mapped RAM without a file descriptor. QEMU needs memory-backend-memfd,share=on."
    ),
    "Diagnostic.RESET_IN_FLIGHT": "Reset while descriptors were pending. They are forgotten.",
    "Diagnostic.VALUE_RANGE": (
        "Register written with a value that is out of its documented range. Ignored."
    ),
    "Diagnostic.TLS_HANDLE": (
        "Send tag handle that is stale, forged or of the wrong direction. The packet is "
        "dropped or the command refused."
    ),
    "Diagnostic.TLS_SEQUENCE": (
        "Packet with TLS that does not start at the flow's next TCP sequence number, and has "
        "no presync block. It is dropped."
    ),
    "Diagnostic.TLS_PRESYNC": (
        "Presync block that is malformed or does not cover the packet. The packet is dropped."
    ),
    "Diagnostic.TLS_DESTROYED": (
        "Flow destroyed while packets of it were pending. They are dropped, never sent in clear."
    ),
    "Diagnostic.OFFLOAD_DEPENDENCY": (
        "An offload without the one that it needs. RX_COALESCE and RX_TLS need RX_CHECKSUM: "
        "the register is written, the offload does nothing. A packet with TLS needs "
        "L4_CHECKSUM or SEGMENT: it is dropped."
    ),
    "Diagnostic.RX_QUEUE_DISABLED": (
        "Frame for a receive queue that is not enabled, told once until the queue is. The "
        "frame is dropped."
    ),
    "Diagnostic.TLS_RECORD": (
        "Record header that the flow cannot encrypt: type, version, length or padding. The "
        "packet is dropped."
    ),
    "Diagnostic.TLS_TUPLE": (
        "Packet with TLS whose addresses, ports or VLAN are not those of its flow. It is dropped."
    ),
    "Diagnostic.TLS_AUTH": (
        "Record of a receive flow that failed authentication: a wrong key or record number, "
        "or a forger. The flow is halted."
    ),
    "Offload.TX_CHECKSUM": "IPv4 header, TCP and UDP checksums on transmit, IPv4 and IPv6.",
    "Offload.RX_CHECKSUM": "The same, checked on receive.",
    "Offload.TSO4": "TCP segmentation over IPv4.",
    "Offload.TSO6": "TCP segmentation over IPv6.",
    "Offload.VLAN_INSERT": "802.1Q tag inserted on transmit.",
    "Offload.VLAN_STRIP": "802.1Q tag stripped on receive.",
    "Offload.RSS": "Receive-side scaling with the Toeplitz hash.",
    "Offload.MAC_FILTER": "Exact unicast and multicast filter table.",
    "Offload.VLAN_FILTER": "VLAN filter table.",
    "Offload.RX_COALESCE": "Receive coalescing of TCP segments.",
    "Offload.TX_TLS": "TLS transmit offload; see CAP_TLS_TX.",
    "Offload.RX_TLS": "TLS receive offload; see CAP_TLS_RX.",
    "Offload.TX_RATE_LIMIT": "Rate-limited send tags.",
    "CipherSuite.TLS12_AES_128_GCM": "TLS 1.2, AES-128-GCM (RFC 5288).",
    "CipherSuite.TLS12_AES_256_GCM": "TLS 1.2, AES-256-GCM (RFC 5288).",
    "CipherSuite.TLS12_CHACHA20_POLY1305": "TLS 1.2, ChaCha20-Poly1305 (RFC 7905).",
    "CipherSuite.TLS13_AES_128_GCM": "TLS 1.3, AES-128-GCM (RFC 8446).",
    "CipherSuite.TLS13_AES_256_GCM": "TLS 1.3, AES-256-GCM (RFC 8446).",
    "CipherSuite.TLS13_CHACHA20_POLY1305": "TLS 1.3, ChaCha20-Poly1305 (RFC 8446).",
    "CipherSuite.TLS10_AES_CBC_SHA1": (
        "TLS 1.0, AES-128/256-CBC with HMAC-SHA1, implicit IV (RFC 2246)."
    ),
    "CipherSuite.TLS11_AES_CBC_SHA1": (
        "TLS 1.1, AES-128/256-CBC with HMAC-SHA1, explicit IV (RFC 4346)."
    ),
    "CipherSuite.TLS12_AES_CBC_SHA1": "TLS 1.2, AES-128/256-CBC with HMAC-SHA1 (RFC 5246).",
    "CipherSuite.TLS12_AES_CBC_SHA256": "TLS 1.2, AES-128/256-CBC with HMAC-SHA256 (RFC 5246).",
    "CipherSuite.TLS12_AES_CBC_SHA384": "TLS 1.2, AES-128/256-CBC with HMAC-SHA384 (RFC 5289).",
    "CipherSuite.ENCRYPT_THEN_MAC": (
        "Encrypt-then-MAC with the TLS 1.2 CBC suites above (RFC 7366)."
    ),
    "TlsFeature.TX_PRESYNC": "Presync blocks: retransmits and out-of-order data are encrypted.",
    "TlsFeature.RX_RESYNC_REQUEST": (
        "The device asks whether a record starts at a TCP sequence number."
    ),
    "TlsFeature.RX_RESYNC_HINT": "The stack tells where the next record starts.",
    "TlsFeature.RX_RESYNC_TAG": "Tag-verified resync: a record's own tag settles its number.",
    "TlsFeature.REKEY": "Keys of a flow can be replaced (TLS 1.3 KeyUpdate).",
    "HashType.IPV4": "Addresses of IPv4 packets, fragments included.",
    "HashType.TCP_IPV4": "Addresses and ports of TCP over IPv4.",
    "HashType.UDP_IPV4": "Addresses and ports of UDP over IPv4.",
    "HashType.IPV6": "Addresses of IPv6 packets.",
    "HashType.TCP_IPV6": "Addresses and ports of TCP over IPv6.",
    "HashType.UDP_IPV6": "Addresses and ports of UDP over IPv6.",
    "EventMask.LINK": "Link changes.",
    "EventMask.QUEUE": "Queue errors.",
    "EventMask.DIAGNOSTIC": "Every diagnostic. Meant for driver development.",
    "EventMask.TLS": "Resync questions and flow errors.",
    "TxFlags.END_OF_PACKET": "Last descriptor of the packet.",
    "TxFlags.REPORT": (
        "Write a completion when this packet is done. Completions are cumulative. First data "
        "descriptor."
    ),
    "TxFlags.IP_CHECKSUM": "Fill the IPv4 header checksum. First descriptor. Ignored for IPv6.",
    "TxFlags.L4_CHECKSUM": "Fill the TCP or UDP checksum. First descriptor.",
    "TxFlags.SEGMENT": (
        "Cut the TCP payload into segments of mss bytes; implies both checksums. First descriptor."
    ),
    "TxFlags.VLAN_INSERT": "Insert an 802.1Q tag with vlan_tci. First descriptor.",
    "TxFlags.TLS": (
        "send_tag is valid: the TCP payload is TLS records to encrypt. First descriptor."
    ),
    "TxFlags.PRESYNC": (
        "The buffer is a presync block, not frame data. Before the first data descriptor."
    ),
    "TxFlags.PREFIX": (
        "The buffer holds record bytes that precede the packet: read, not sent. After PRESYNC."
    ),
    "TxFlags.SUFFIX": (
        "The buffer holds record bytes that follow the packet: read, not sent. After the "
        "last data descriptor."
    ),
    "TxStatus.OK": "All packets up to head were handed to the wire.",
    "TxStatus.BAD_PACKET": (
        "The packet that ends at head was dropped: malformed descriptor or headers; detail "
        "is the diagnostic."
    ),
    "TxStatus.LINK_DOWN": "The packet was dropped: link down.",
    "TxStatus.DMA_FAULT": (
        "The packet was dropped: its memory is not mapped. The queue is in ERROR."
    ),
    "TxStatus.TLS_DROPPED": (
        "The packet was dropped rather than sent in clear; detail is the diagnostic."
    ),
    "RxFlags.IP_CHECKSUM_OK": "IPv4 header checksum was checked and is right.",
    "RxFlags.IP_CHECKSUM_BAD": "IPv4 header checksum is wrong.",
    "RxFlags.L4_CHECKSUM_OK": "TCP or UDP checksum was checked and is right.",
    "RxFlags.L4_CHECKSUM_BAD": "TCP or UDP checksum is wrong.",
    "RxFlags.VLAN_STRIPPED": "An 802.1Q tag was taken out; vlan_tci holds it.",
    "RxFlags.COALESCED": (
        "Several TCP segments were joined; segments and segment_bytes describe them. The TCP "
        "checksum field then holds the sum of the pseudo-header; L4_CHECKSUM_OK says that "
        "every segment was right."
    ),
    "RxFlags.IPV4": "IPv4 packet.",
    "RxFlags.IPV6": "IPv6 packet.",
    "RxFlags.TCP": "TCP segment (not a fragment).",
    "RxFlags.UDP": "UDP datagram (not a fragment).",
    "RxFlags.FRAGMENT": "IP fragment.",
    "RxFlags.RESYNC": "A resync question for this flow was asked while this packet passed.",
    "RxFlags.PHASE": "Valid mark; see the completion rings chapter.",
    "TlsRxState.NONE": "Not a TLS flow of this device.",
    "TlsRxState.AS_ON_WIRE": "TLS flow, but the packet is exactly as on the wire.",
    "TlsRxState.DECRYPTED": (
        "All record content in the packet is decrypted. Records that ended in it were "
        "verified, but for one of which a part came as on the wire before."
    ),
    "TlsRxState.AUTH_FAILED": (
        "A record that ended in the packet failed authentication. The packet is as on the wire."
    ),
    "TlsTrackerState.NONE": "A transmit flow.",
    "TlsTrackerState.OFFLOAD": "Record boundaries and numbers are known: records are decrypted.",
    "TlsTrackerState.SEARCH": "A record header was lost: the stream is searched for the next one.",
    "TlsTrackerState.TRACK": (
        "What looks like a record is followed by its lengths, until host or tag confirm it."
    ),
    "TlsTrackerState.HALTED": (
        "A record failed authentication, or the peer changed its key: packets come as on the "
        "wire until a rekey or hint."
    ),
    "CompletionFlags.PHASE": "Valid mark; see the completion rings chapter.",
    "CommandOpcode.NOP": "Does nothing.",
    "CommandOpcode.STATISTICS": "Copies all counters to memory at one moment.",
    "CommandOpcode.TLS_FLOW_CREATE": "Creates a flow context and gives its send tag handle.",
    "CommandOpcode.TLS_FLOW_QUERY": "Copies state and counters of a flow to memory; never keys.",
    "CommandOpcode.TLS_FLOW_REKEY": "Replaces the keys of a flow from a TCP sequence number on.",
    "CommandOpcode.TLS_FLOW_RATE": "Sets the rate limit of a transmit flow.",
    "CommandOpcode.TLS_FLOW_DESTROY": (
        "Destroys a flow; completes when nothing of it is in flight any more."
    ),
    "CommandOpcode.TLS_RESYNC_ANSWER": "Answers a resync question.",
    "CommandOpcode.TLS_RESYNC_HINT": "Tells where a record starts, unasked.",
    "CommandStatus.OK": "Done.",
    "CommandStatus.BAD_OPCODE": "Unknown opcode.",
    "CommandStatus.RESERVED_BITS": "A reserved bit was set.",
    "CommandStatus.BAD_FIELD": "A field is out of range; detail is its byte offset.",
    "CommandStatus.TOO_SHORT": (
        "The memory block is shorter than the command needs; detail is the size it needs, in bytes."
    ),
    "CommandStatus.DMA_FAULT": "The memory block is not mapped.",
    "CommandStatus.UNSUPPORTED": "Not offered by this device: version, cipher suite or feature.",
    "CommandStatus.TABLE_FULL": "No free flow context.",
    "CommandStatus.DUPLICATE": "A flow with this direction and 5-tuple exists.",
    "CommandStatus.BAD_HANDLE": "Stale or forged handle.",
    "CommandStatus.DEPENDENCY": "The checksum offload that TLS needs is switched off.",
    "CommandStatus.STALE": "Answer for a question that is no longer open. Ignored.",
    "CommandStatus.BUSY": (
        "A previous rekey is not finished: the stream has not reached its TCP sequence number."
    ),
    "CommandStatus.DISABLED": "TX_TLS or RX_TLS is off in OFFLOAD_ENABLE. Flows that exist go on.",
    "EventType.LINK_CHANGE": "The link went up or down.",
    "EventType.QUEUE_ERROR": "A queue went to ERROR.",
    "EventType.DIAGNOSTIC": "A diagnostic was raised.",
    "EventType.RESYNC_REQUEST": "Is there a record at this TCP sequence number?",
    "EventType.FLOW_ERROR": "A flow cannot be offloaded any more.",
    "QueueKind.DEVICE": "Not a queue: the device as a whole.",
    "QueueKind.TRANSMIT": "Transmit queue.",
    "QueueKind.RECEIVE": "Receive queue.",
    "QueueKind.ADMIN": "Admin queue.",
    "QueueKind.EVENT": "Event queue.",
    "TlsDirection.TRANSMIT": "The device encrypts.",
    "TlsDirection.RECEIVE": "The device decrypts.",
    "TlsFlowFlags.ENCRYPT_THEN_MAC": "CBC suites: encrypt-then-MAC (RFC 7366).",
    "TlsFlowFlags.RESYNC_HOST": "Receive: resync is confirmed by the host.",
    "TlsFlowFlags.RESYNC_TAG": "Receive: resync may be settled by a record's own tag.",
    "TlsFlowFlags.RATE_LIMIT": "Transmit: rate_bytes_per_s is valid.",
    "TlsFlowFlags.VLAN": "vlan_id is part of the flow's key.",
    "PresyncFlags.UPDATE_STATE": (
        "The in-order state moves to the end of this packet. Clear: the packet is a "
        "retransmit, the state stays."
    ),
    "PresyncFlags.PREFIX": (
        "Descriptors with PREFIX supply the record's bytes from its start to the start of "
        "the packet."
    ),
    "PresyncFlags.BEFORE_START": (
        "All of the packet precedes the start of offload: it is sent as it is. The other "
        "fields must be zero."
    ),
    "TraceType.REGISTER_READ": "The host read a register.",
    "TraceType.REGISTER_WRITE": "The host wrote a register or rang a doorbell.",
    "TraceType.DMA_READ": "The device read host memory.",
    "TraceType.DMA_WRITE": "The device wrote host memory.",
    "TraceType.INTERRUPT": "An MSI-X message, or a change of the INTx line.",
    "TraceType.TLS_PACKET": "What TLS offload did to a packet.",
    "TraceType.TLS_EVENT": "Something happened to a TLS flow besides packets.",
    "TraceType.INPUT": "Another input of the device: time, link, reset.",
    "TraceType.FRAME": (
        "What belongs to a frame besides its bytes, which are the next packet of the wire's "
        "interface."
    ),
    "TraceFlags.TRUNCATED": "The bytes that follow are not all there were.",
    "TraceFlags.SECRET": (
        "The bytes were key material. In a capture they are left out; in a record they are sealed."
    ),
    "TraceFlags.FAULT": (
        "The memory is not mapped: nothing was read or written, and no bytes follow."
    ),
    "TraceFlags.READ_ONLY": "With FAULT: it is mapped, but not for this direction.",
    "DmaPurpose.DATA": "Packet data.",
    "DmaPurpose.DESCRIPTOR": "An entry of a descriptor or command ring.",
    "DmaPurpose.COMPLETION": "An entry of a completion, response or event ring.",
    "DmaPurpose.BLOCK": "A block that a command names, or a presync block.",
    "TlsOutcome.AS_ON_WIRE": "Receive: delivered as it came.",
    "TlsOutcome.DECRYPTED": "Receive: delivered decrypted.",
    "TlsOutcome.AUTH_FAILED": (
        "Receive: delivered as it came, because a record failed authentication."
    ),
    "TlsOutcome.ENCRYPTED": "Transmit: encrypted in order.",
    "TlsOutcome.PRESYNCED": "Transmit: encrypted out of order, with a presync block.",
    "TlsOutcome.BYPASSED": "Transmit: before the start of offload, sent as it is.",
    "TlsOutcome.DROPPED": (
        "Transmit: not sent; the completion says why. Receive: followed, and then not "
        "delivered, for want of a buffer for example."
    ),
    "TlsEvent.CREATED": "The flow was made.",
    "TlsEvent.DESTROYED": "The flow is gone.",
    "TlsEvent.REKEYED": "A new key was given.",
    "TlsEvent.TRACKER": "The receive tracker changed its state.",
    "TlsEvent.ASKED": "The device asked whether a record starts at tcp_sequence.",
    "TlsEvent.ANSWERED": "The host answered: there is one, and this is its number.",
    "TlsEvent.DENIED": "The host answered: there is none.",
    "TlsEvent.STALE": "An answer or hint came too late and was ignored.",
    "TlsEvent.HINTED": "The host told a record boundary without being asked.",
    "TlsEvent.HALTED": "A record failed authentication: the flow is halted.",
    "TlsEvent.RATED": "The rate limit was set.",
    "TlsEvent.RESET": "The flow was wiped by a reset of the device.",
    "DeviceInput.START": (
        "The device as configured; value is the MAC address, argument the link speed."
    ),
    "DeviceInput.ADVANCE": "Time went on.",
    "DeviceInput.POLL": "The device did a turn of its work.",
    "DeviceInput.RECEIVE": "Frames came from the wire; argument is how many.",
    "DeviceInput.LINK": "The wire came up (argument 1) or went down.",
    "DeviceInput.WIRE_WRITABLE": "The wire takes frames again.",
    "DeviceInput.FORGET_VIEWS": "Guest memory is about to go.",
    "DeviceInput.RESET": "Reset by other means than CONTROL; argument says who asked for it.",
    "DeviceInput.REPORT": (
        "A diagnostic found outside the core: argument is its code, value its operand."
    ),
    "DeviceInput.PCI": (
        "Configuration bits changed; argument: 1 bus master, 2 MSI-X enabled, 4 INTx disabled."
    ),
    "DeviceInput.WIRE": "What the wire can do changed; argument 1: it takes super-frames.",
    "DeviceInput.MARK": "A place marked by the user.",
}
"""Values, by `Enumeration.MEMBER`."""
