/*
 * Hardware interface of the tlsnic network card. Generated from rdl/tlsnic.rdl by `python -m
 * tlsnic.abi.generate`; do not edit.
 */
#ifndef TLSNIC_HW_H
#define TLSNIC_HW_H

#ifdef __KERNEL__
#include <linux/stddef.h>
#include <linux/types.h>
typedef __le16 tlsnic_le16;
typedef __le32 tlsnic_le32;
typedef __le64 tlsnic_le64;
#else
#include <stddef.h>
#include <stdint.h>
typedef uint16_t tlsnic_le16;
typedef uint32_t tlsnic_le32;
typedef uint64_t tlsnic_le64;
#endif

#ifdef __cplusplus
#define TLSNIC_ASSERT(condition) static_assert(condition, #condition)
#else
#define TLSNIC_ASSERT(condition) _Static_assert(condition, #condition)
#endif

/*
 * BAR 0: registers. Control, status, queue configuration and counters. 64-bit, memory, not
 * prefetchable, 64 KiB.
 */
#define TLSNIC_BAR0_SIZE 0x10000

/* Transmit queues. The ring holds transmit descriptors. */
#define TLSNIC_REG_TX_QUEUE_STRIDE 0x40
#define TLSNIC_REG_TX_QUEUE_COUNT 16

/* Receive queues. The ring holds receive descriptors. */
#define TLSNIC_REG_RX_QUEUE_STRIDE 0x40
#define TLSNIC_REG_RX_QUEUE_COUNT 16

/* Magic. 32 bits. */
#define TLSNIC_REG_MAGIC 0x0

/* Interface version. 32 bits. */
#define TLSNIC_REG_VERSION 0x4
#define TLSNIC_VERSION_MINOR_SHIFT 0
#define TLSNIC_VERSION_MINOR_MASK 0xffffU /* RO */
#define TLSNIC_VERSION_MAJOR_SHIFT 16
#define TLSNIC_VERSION_MAJOR_MASK 0xffff0000U /* RO */

/* Queue capabilities. 32 bits. */
#define TLSNIC_REG_CAP_QUEUES 0x8
#define TLSNIC_CAP_QUEUES_TX_QUEUES_SHIFT 0
#define TLSNIC_CAP_QUEUES_TX_QUEUES_MASK 0xffU /* RO */
#define TLSNIC_CAP_QUEUES_RX_QUEUES_SHIFT 8
#define TLSNIC_CAP_QUEUES_RX_QUEUES_MASK 0xff00U /* RO */
#define TLSNIC_CAP_QUEUES_VECTORS_SHIFT 16
#define TLSNIC_CAP_QUEUES_VECTORS_MASK 0xff0000U /* RO */

/* Ring capabilities. 32 bits. */
#define TLSNIC_REG_CAP_RINGS 0xc
#define TLSNIC_CAP_RINGS_MIN_LOG2_SHIFT 0
#define TLSNIC_CAP_RINGS_MIN_LOG2_MASK 0xffU /* RO */
#define TLSNIC_CAP_RINGS_MAX_LOG2_SHIFT 8
#define TLSNIC_CAP_RINGS_MAX_LOG2_MASK 0xff00U /* RO */
#define TLSNIC_CAP_RINGS_MAX_CHAIN_SHIFT 16
#define TLSNIC_CAP_RINGS_MAX_CHAIN_MASK 0xff0000U /* RO */
#define TLSNIC_CAP_RINGS_MIN_RX_BUFFER_SHIFT 24
#define TLSNIC_CAP_RINGS_MIN_RX_BUFFER_MASK 0xff000000U /* RO */

/* Offload capabilities. 32 bits. */
#define TLSNIC_REG_CAP_OFFLOADS 0x10

/* Largest frame. 32 bits. */
#define TLSNIC_REG_CAP_FRAME 0x14
#define TLSNIC_CAP_FRAME_FRAME_BYTES_SHIFT 0
#define TLSNIC_CAP_FRAME_FRAME_BYTES_MASK 0xffffU /* RO */
#define TLSNIC_CAP_FRAME_SEGMENT_PAYLOAD_BYTES_SHIFT 16
#define TLSNIC_CAP_FRAME_SEGMENT_PAYLOAD_BYTES_MASK 0xffff0000U /* RO */

/* TLS transmit cipher suites. 64 bits. */
#define TLSNIC_REG_CAP_TLS_TX 0x18

/* TLS receive cipher suites. 64 bits. */
#define TLSNIC_REG_CAP_TLS_RX 0x20

/* TLS flow contexts. 32 bits. */
#define TLSNIC_REG_CAP_TLS_FLOWS 0x28

/* TLS features. 32 bits. */
#define TLSNIC_REG_CAP_TLS_FEATURES 0x2c

/* Device control. 32 bits. */
#define TLSNIC_REG_CONTROL 0x40
#define TLSNIC_CONTROL_RESET_SHIFT 0
#define TLSNIC_CONTROL_RESET_MASK 0x1U /* W1P */
#define TLSNIC_CONTROL_RX_ENABLE_SHIFT 1
#define TLSNIC_CONTROL_RX_ENABLE_MASK 0x2U /* RW */
#define TLSNIC_CONTROL_TX_ENABLE_SHIFT 2
#define TLSNIC_CONTROL_TX_ENABLE_MASK 0x4U /* RW */

/* Device status. 32 bits. */
#define TLSNIC_REG_STATUS 0x44
#define TLSNIC_STATUS_READY_SHIFT 0
#define TLSNIC_STATUS_READY_MASK 0x1U /* RO */
#define TLSNIC_STATUS_LINK_UP_SHIFT 1
#define TLSNIC_STATUS_LINK_UP_MASK 0x2U /* RO */
#define TLSNIC_STATUS_RESET_COUNT_SHIFT 16
#define TLSNIC_STATUS_RESET_COUNT_MASK 0xffff0000U /* RO */

/* Link speed. 32 bits. */
#define TLSNIC_REG_LINK_SPEED 0x48

/* Largest frame accepted. 32 bits. */
#define TLSNIC_REG_MAX_FRAME 0x4c
#define TLSNIC_MAX_FRAME_BYTES_SHIFT 0
#define TLSNIC_MAX_FRAME_BYTES_MASK 0xffffU /* RW */

/* MAC address. 64 bits. */
#define TLSNIC_REG_MAC_ADDRESS 0x50
#define TLSNIC_MAC_ADDRESS_ADDRESS_SHIFT 0
#define TLSNIC_MAC_ADDRESS_ADDRESS_MASK 0xffffffffffffULL /* RW */

/* Offload enable. 32 bits. */
#define TLSNIC_REG_OFFLOAD_ENABLE 0x58

/* Receive coalescing. 32 bits. */
#define TLSNIC_REG_RX_COALESCE 0x5c
#define TLSNIC_RX_COALESCE_TIMEOUT_US_SHIFT 0
#define TLSNIC_RX_COALESCE_TIMEOUT_US_MASK 0xffffU /* RW */
#define TLSNIC_RX_COALESCE_MAX_KIB_SHIFT 16
#define TLSNIC_RX_COALESCE_MAX_KIB_MASK 0xff0000U /* RW */
#define TLSNIC_RX_COALESCE_MAX_SEGMENTS_SHIFT 24
#define TLSNIC_RX_COALESCE_MAX_SEGMENTS_MASK 0xff000000U /* RW */

/* TLS resync time-out. 32 bits. */
#define TLSNIC_REG_TLS_RESYNC 0x60

/* Interrupt cause. 64 bits. */
#define TLSNIC_REG_INT_CAUSE 0x80

/* Interrupt enable. 64 bits. */
#define TLSNIC_REG_INT_ENABLE 0x88

/* Interrupt trigger. 64 bits. */
#define TLSNIC_REG_INT_TRIGGER 0x90

/* Last diagnostic. 32 bits. */
#define TLSNIC_REG_DIAG_LAST 0xa0
#define TLSNIC_DIAG_LAST_CODE_SHIFT 0
#define TLSNIC_DIAG_LAST_CODE_MASK 0xffffU /* RO */
#define TLSNIC_DIAG_LAST_QUEUE_SHIFT 16
#define TLSNIC_DIAG_LAST_QUEUE_MASK 0xff0000U /* RO */
#define TLSNIC_DIAG_LAST_KIND_SHIFT 24
#define TLSNIC_DIAG_LAST_KIND_MASK 0xff000000U /* RO */

/* Diagnostics raised. 32 bits. */
#define TLSNIC_REG_DIAG_COUNT 0xa4

/* Diagnostic operand. 64 bits. */
#define TLSNIC_REG_DIAG_OPERAND 0xa8

/* Event enable. 32 bits. */
#define TLSNIC_REG_EVENT_ENABLE 0xb0

/* Receive filter control. 32 bits. */
#define TLSNIC_REG_RX_FILTER 0xc0
#define TLSNIC_RX_FILTER_PROMISCUOUS_SHIFT 0
#define TLSNIC_RX_FILTER_PROMISCUOUS_MASK 0x1U /* RW */
#define TLSNIC_RX_FILTER_ALL_MULTICAST_SHIFT 1
#define TLSNIC_RX_FILTER_ALL_MULTICAST_MASK 0x2U /* RW */
#define TLSNIC_RX_FILTER_BROADCAST_SHIFT 2
#define TLSNIC_RX_FILTER_BROADCAST_MASK 0x4U /* RW */
#define TLSNIC_RX_FILTER_VLAN_FILTER_SHIFT 3
#define TLSNIC_RX_FILTER_VLAN_FILTER_MASK 0x8U /* RW */

/* MAC filter entry. 64 bits. */
#define TLSNIC_REG_MAC_FILTER 0x100
#define TLSNIC_REG_MAC_FILTER_STRIDE 0x8
#define TLSNIC_REG_MAC_FILTER_COUNT 32
#define TLSNIC_MAC_FILTER_ADDRESS_SHIFT 0
#define TLSNIC_MAC_FILTER_ADDRESS_MASK 0xffffffffffffULL /* RW */
#define TLSNIC_MAC_FILTER_VALID_SHIFT 63
#define TLSNIC_MAC_FILTER_VALID_MASK 0x8000000000000000ULL /* RW */

/* VLAN filter. 64 bits. */
#define TLSNIC_REG_VLAN_FILTER 0x200
#define TLSNIC_REG_VLAN_FILTER_STRIDE 0x8
#define TLSNIC_REG_VLAN_FILTER_COUNT 64

/* RSS control. 32 bits. */
#define TLSNIC_REG_RSS_CONTROL 0x400
#define TLSNIC_RSS_CONTROL_TYPES_SHIFT 0
#define TLSNIC_RSS_CONTROL_TYPES_MASK 0xffffU /* RW */
#define TLSNIC_RSS_CONTROL_ENABLE_SHIFT 31
#define TLSNIC_RSS_CONTROL_ENABLE_MASK 0x80000000U /* RW */

/* RSS key. 32 bits. */
#define TLSNIC_REG_RSS_KEY 0x410
#define TLSNIC_REG_RSS_KEY_STRIDE 0x4
#define TLSNIC_REG_RSS_KEY_COUNT 10

/* RSS indirection table. 32 bits. */
#define TLSNIC_REG_RSS_TABLE 0x480
#define TLSNIC_REG_RSS_TABLE_STRIDE 0x4
#define TLSNIC_REG_RSS_TABLE_COUNT 32
#define TLSNIC_RSS_TABLE_QUEUE0_SHIFT 0
#define TLSNIC_RSS_TABLE_QUEUE0_MASK 0xffU /* RW */
#define TLSNIC_RSS_TABLE_QUEUE1_SHIFT 8
#define TLSNIC_RSS_TABLE_QUEUE1_MASK 0xff00U /* RW */
#define TLSNIC_RSS_TABLE_QUEUE2_SHIFT 16
#define TLSNIC_RSS_TABLE_QUEUE2_MASK 0xff0000U /* RW */
#define TLSNIC_RSS_TABLE_QUEUE3_SHIFT 24
#define TLSNIC_RSS_TABLE_QUEUE3_MASK 0xff000000U /* RW */

/* Interrupt moderation. 32 bits. */
#define TLSNIC_REG_MODERATION 0x600
#define TLSNIC_REG_MODERATION_STRIDE 0x4
#define TLSNIC_REG_MODERATION_COUNT 64
#define TLSNIC_MODERATION_USECS_SHIFT 0
#define TLSNIC_MODERATION_USECS_MASK 0xffffU /* RW */
#define TLSNIC_MODERATION_FRAMES_SHIFT 16
#define TLSNIC_MODERATION_FRAMES_MASK 0xffff0000U /* RW */

/* Packets fetched from transmit rings; one with SEGMENT counts once. 64 bits. */
#define TLSNIC_REG_TX_PACKETS 0x800

/* Of these, packets handed to the wire. 64 bits. */
#define TLSNIC_REG_TX_SENT_PACKETS 0x808

/*
 * Frames on the wire; a packet that the wire segments itself counts as the frames that it makes.
 * 64 bits.
 */
#define TLSNIC_REG_TX_FRAMES 0x810

/* Bytes of these frames, without FCS. 64 bits. */
#define TLSNIC_REG_TX_BYTES 0x818

/* Packets with SEGMENT that were sent. 64 bits. */
#define TLSNIC_REG_TX_SEGMENTED 0x820

/*
 * Packets dropped because the link was down, or went down while they waited for the wire. 64
 * bits.
 */
#define TLSNIC_REG_TX_DROP_LINK_DOWN 0x828

/* Packets dropped for their descriptors or headers. 64 bits. */
#define TLSNIC_REG_TX_DROP_BAD_PACKET 0x830

/* Packets dropped because memory was not mapped. 64 bits. */
#define TLSNIC_REG_TX_DROP_DMA 0x838

/* Packets dropped rather than sent in clear. 64 bits. */
#define TLSNIC_REG_TX_DROP_TLS 0x840

/* Times that the wire could not take a frame and transmit waited. 64 bits. */
#define TLSNIC_REG_TX_WIRE_BUSY 0x848

/* Frames that arrived from the wire. 64 bits. */
#define TLSNIC_REG_RX_WIRE_FRAMES 0x880

/* Of these, frames written to host memory. 64 bits. */
#define TLSNIC_REG_RX_FRAMES 0x888

/* Bytes of these frames as on the wire, without FCS. 64 bits. */
#define TLSNIC_REG_RX_BYTES 0x890

/* Receive completions; joined segments count once. 64 bits. */
#define TLSNIC_REG_RX_PACKETS 0x898

/* Multicast frames, broadcast excepted, among RX_FRAMES. 64 bits. */
#define TLSNIC_REG_RX_MULTICAST 0x8a0

/* Broadcast frames among RX_FRAMES. 64 bits. */
#define TLSNIC_REG_RX_BROADCAST 0x8a8

/* Frames among RX_FRAMES with a bad IPv4 header, TCP or UDP checksum. 64 bits. */
#define TLSNIC_REG_RX_CHECKSUM_BAD 0x8b0

/* Frames among RX_FRAMES that were joined to an earlier one. 64 bits. */
#define TLSNIC_REG_RX_COALESCED 0x8b8

/*
 * Frames dropped because RX_ENABLE was clear, the queue was not running or bus mastering was
 * off. 64 bits.
 */
#define TLSNIC_REG_RX_DROP_DISABLED 0x8c0

/* Frames dropped by address or VLAN filter. 64 bits. */
#define TLSNIC_REG_RX_DROP_FILTER 0x8c8

/* Frames shorter than an Ethernet header. 64 bits. */
#define TLSNIC_REG_RX_DROP_RUNT 0x8d0

/*
 * Frames longer than MAX_FRAME, or left to the device to complete in a way that does not fit
 * them. 64 bits.
 */
#define TLSNIC_REG_RX_DROP_OVERSIZE 0x8d8

/* Frames dropped because the receive ring or its completion ring was full. 64 bits. */
#define TLSNIC_REG_RX_DROP_NO_BUFFER 0x8e0

/*
 * Frames dropped because a receive buffer was not mapped or not valid, or its completion could
 * not be written. 64 bits.
 */
#define TLSNIC_REG_RX_DROP_DMA 0x8e8

/* Interrupts raised. 64 bits. */
#define TLSNIC_REG_INTERRUPTS 0x8f0

/* Events that found no room. 64 bits. */
#define TLSNIC_REG_EVENTS_LOST 0x8f8

/* Packets with TLS that were encrypted. 64 bits. */
#define TLSNIC_REG_TX_TLS_ENCRYPTED_PACKETS 0x900

/* TCP payload bytes of these packets. 64 bits. */
#define TLSNIC_REG_TX_TLS_ENCRYPTED_BYTES 0x908

/* Packets with TLS that did not start at the expected TCP sequence number. 64 bits. */
#define TLSNIC_REG_TX_TLS_OOO 0x910

/* Packets encrypted with the help of a presync block. 64 bits. */
#define TLSNIC_REG_TX_TLS_PRESYNC 0x918

/* Packets dropped because presync data was missing or did not fit. 64 bits. */
#define TLSNIC_REG_TX_TLS_DROP_NO_SYNC_DATA 0x920

/*
 * Packets dropped because their handle was stale or forged, or the handle of another connection.
 * 64 bits.
 */
#define TLSNIC_REG_TX_TLS_DROP_BAD_HANDLE 0x928

/* Packets from before the start of offload, sent as they were (BEFORE_START). 64 bits. */
#define TLSNIC_REG_TX_TLS_SKIP_NO_SYNC_DATA 0x930

/* Packets dropped because they lie on both sides of the start of offload. 64 bits. */
#define TLSNIC_REG_TX_TLS_DROP_BYPASS_REQ 0x938

/* Packets delivered decrypted. 64 bits. */
#define TLSNIC_REG_RX_TLS_DECRYPTED_PACKETS 0x940

/* TCP payload bytes of these packets. 64 bits. */
#define TLSNIC_REG_RX_TLS_DECRYPTED_BYTES 0x948

/* Packets with RESYNC in their completion. 64 bits. */
#define TLSNIC_REG_RX_TLS_RESYNC_REQ_PKT 0x950

/* Resync questions asked. 64 bits. */
#define TLSNIC_REG_RX_TLS_RESYNC_REQ_START 0x958

/*
 * Questions that were answered in time. What REQ_START has more than REQ_END and REQ_SKIP
 * together is open. 64 bits.
 */
#define TLSNIC_REG_RX_TLS_RESYNC_REQ_END 0x960

/*
 * Questions dropped before an answer: no longer followed, timed out, settled otherwise, or the
 * flow destroyed. 64 bits.
 */
#define TLSNIC_REG_RX_TLS_RESYNC_REQ_SKIP 0x968

/* Answers and hints that brought a flow back to offload. 64 bits. */
#define TLSNIC_REG_RX_TLS_RESYNC_RES_OK 0x970

/* Answers and hints that did not: stale, or no record starts there. 64 bits. */
#define TLSNIC_REG_RX_TLS_RESYNC_RES_SKIP 0x978

/* Resyncs settled by a record's own tag. 64 bits. */
#define TLSNIC_REG_RX_TLS_RESYNC_TAG 0x980

/*
 * Packets left as on the wire because a record that ended in them failed authentication. 64
 * bits.
 */
#define TLSNIC_REG_RX_TLS_ERR 0x988

/* Receive flow contexts that were made. 64 bits. */
#define TLSNIC_REG_RX_TLS_CTX 0x990

/* Receive flow contexts that were destroyed. 64 bits. */
#define TLSNIC_REG_RX_TLS_DEL 0x998

/* Transmit flow contexts that were made. 64 bits. */
#define TLSNIC_REG_TX_TLS_CTX 0x9c0

/* Transmit flow contexts that were destroyed. 64 bits. */
#define TLSNIC_REG_TX_TLS_DEL 0x9c8

/* Frames that a rate limit held back. 64 bits. */
#define TLSNIC_REG_TX_TLS_PACED 0x9d0

/* Descriptor ring base. 64 bits. */
#define TLSNIC_REG_ADMIN_QUEUE_RING_BASE 0x2000

/* Completion ring base. 64 bits. */
#define TLSNIC_REG_ADMIN_QUEUE_COMPLETION_BASE 0x2008

/* Descriptor ring size. 32 bits. */
#define TLSNIC_REG_ADMIN_QUEUE_RING_SIZE 0x2010

/* Completion ring size. 32 bits. */
#define TLSNIC_REG_ADMIN_QUEUE_COMPLETION_SIZE 0x2014

/* Queue control. 32 bits. */
#define TLSNIC_REG_ADMIN_QUEUE_CONTROL 0x2018
#define TLSNIC_ADMIN_QUEUE_CONTROL_ENABLE_SHIFT 0
#define TLSNIC_ADMIN_QUEUE_CONTROL_ENABLE_MASK 0x1U /* RW */

/* Interrupt vector. 32 bits. */
#define TLSNIC_REG_ADMIN_QUEUE_VECTOR 0x201c
#define TLSNIC_ADMIN_QUEUE_VECTOR_VECTOR_SHIFT 0
#define TLSNIC_ADMIN_QUEUE_VECTOR_VECTOR_MASK 0xffffU /* RW */

/* Queue status. 32 bits. */
#define TLSNIC_REG_ADMIN_QUEUE_STATUS 0x2020
#define TLSNIC_ADMIN_QUEUE_STATUS_STATE_SHIFT 0
#define TLSNIC_ADMIN_QUEUE_STATUS_STATE_MASK 0xffU /* RO */
#define TLSNIC_ADMIN_QUEUE_STATUS_ERROR_CODE_SHIFT 16
#define TLSNIC_ADMIN_QUEUE_STATUS_ERROR_CODE_MASK 0xffff0000U /* RO */

/* Head. 32 bits. */
#define TLSNIC_REG_ADMIN_QUEUE_HEAD 0x2024

/* Tail. 32 bits. */
#define TLSNIC_REG_ADMIN_QUEUE_TAIL 0x2028

/* Completion producer. 32 bits. */
#define TLSNIC_REG_ADMIN_QUEUE_COMPLETION_PRODUCER 0x202c

/* Error address. 64 bits. */
#define TLSNIC_REG_ADMIN_QUEUE_ERROR_ADDRESS 0x2030

/* Completion consumer. 32 bits. */
#define TLSNIC_REG_ADMIN_QUEUE_COMPLETION_CONSUMER 0x2038

/* Descriptor ring base. 64 bits. */
#define TLSNIC_REG_EVENT_QUEUE_RING_BASE 0x2040

/* Completion ring base. 64 bits. */
#define TLSNIC_REG_EVENT_QUEUE_COMPLETION_BASE 0x2048

/* Descriptor ring size. 32 bits. */
#define TLSNIC_REG_EVENT_QUEUE_RING_SIZE 0x2050

/* Completion ring size. 32 bits. */
#define TLSNIC_REG_EVENT_QUEUE_COMPLETION_SIZE 0x2054

/* Queue control. 32 bits. */
#define TLSNIC_REG_EVENT_QUEUE_CONTROL 0x2058
#define TLSNIC_EVENT_QUEUE_CONTROL_ENABLE_SHIFT 0
#define TLSNIC_EVENT_QUEUE_CONTROL_ENABLE_MASK 0x1U /* RW */

/* Interrupt vector. 32 bits. */
#define TLSNIC_REG_EVENT_QUEUE_VECTOR 0x205c
#define TLSNIC_EVENT_QUEUE_VECTOR_VECTOR_SHIFT 0
#define TLSNIC_EVENT_QUEUE_VECTOR_VECTOR_MASK 0xffffU /* RW */

/* Queue status. 32 bits. */
#define TLSNIC_REG_EVENT_QUEUE_STATUS 0x2060
#define TLSNIC_EVENT_QUEUE_STATUS_STATE_SHIFT 0
#define TLSNIC_EVENT_QUEUE_STATUS_STATE_MASK 0xffU /* RO */
#define TLSNIC_EVENT_QUEUE_STATUS_ERROR_CODE_SHIFT 16
#define TLSNIC_EVENT_QUEUE_STATUS_ERROR_CODE_MASK 0xffff0000U /* RO */

/* Head. 32 bits. */
#define TLSNIC_REG_EVENT_QUEUE_HEAD 0x2064

/* Tail. 32 bits. */
#define TLSNIC_REG_EVENT_QUEUE_TAIL 0x2068

/* Completion producer. 32 bits. */
#define TLSNIC_REG_EVENT_QUEUE_COMPLETION_PRODUCER 0x206c

/* Error address. 64 bits. */
#define TLSNIC_REG_EVENT_QUEUE_ERROR_ADDRESS 0x2070

/* Completion consumer. 32 bits. */
#define TLSNIC_REG_EVENT_QUEUE_COMPLETION_CONSUMER 0x2078

/* Descriptor ring base. 64 bits. */
#define TLSNIC_REG_TX_QUEUE_RING_BASE 0x4000

/* Completion ring base. 64 bits. */
#define TLSNIC_REG_TX_QUEUE_COMPLETION_BASE 0x4008

/* Descriptor ring size. 32 bits. */
#define TLSNIC_REG_TX_QUEUE_RING_SIZE 0x4010

/* Completion ring size. 32 bits. */
#define TLSNIC_REG_TX_QUEUE_COMPLETION_SIZE 0x4014

/* Queue control. 32 bits. */
#define TLSNIC_REG_TX_QUEUE_CONTROL 0x4018
#define TLSNIC_TX_QUEUE_CONTROL_ENABLE_SHIFT 0
#define TLSNIC_TX_QUEUE_CONTROL_ENABLE_MASK 0x1U /* RW */

/* Interrupt vector. 32 bits. */
#define TLSNIC_REG_TX_QUEUE_VECTOR 0x401c
#define TLSNIC_TX_QUEUE_VECTOR_VECTOR_SHIFT 0
#define TLSNIC_TX_QUEUE_VECTOR_VECTOR_MASK 0xffffU /* RW */

/* Queue status. 32 bits. */
#define TLSNIC_REG_TX_QUEUE_STATUS 0x4020
#define TLSNIC_TX_QUEUE_STATUS_STATE_SHIFT 0
#define TLSNIC_TX_QUEUE_STATUS_STATE_MASK 0xffU /* RO */
#define TLSNIC_TX_QUEUE_STATUS_ERROR_CODE_SHIFT 16
#define TLSNIC_TX_QUEUE_STATUS_ERROR_CODE_MASK 0xffff0000U /* RO */

/* Head. 32 bits. */
#define TLSNIC_REG_TX_QUEUE_HEAD 0x4024

/* Tail. 32 bits. */
#define TLSNIC_REG_TX_QUEUE_TAIL 0x4028

/* Completion producer. 32 bits. */
#define TLSNIC_REG_TX_QUEUE_COMPLETION_PRODUCER 0x402c

/* Error address. 64 bits. */
#define TLSNIC_REG_TX_QUEUE_ERROR_ADDRESS 0x4030

/* Completion consumer. 32 bits. */
#define TLSNIC_REG_TX_QUEUE_COMPLETION_CONSUMER 0x4038

/* Descriptor ring base. 64 bits. */
#define TLSNIC_REG_RX_QUEUE_RING_BASE 0x6000

/* Completion ring base. 64 bits. */
#define TLSNIC_REG_RX_QUEUE_COMPLETION_BASE 0x6008

/* Descriptor ring size. 32 bits. */
#define TLSNIC_REG_RX_QUEUE_RING_SIZE 0x6010

/* Completion ring size. 32 bits. */
#define TLSNIC_REG_RX_QUEUE_COMPLETION_SIZE 0x6014

/* Queue control. 32 bits. */
#define TLSNIC_REG_RX_QUEUE_CONTROL 0x6018
#define TLSNIC_RX_QUEUE_CONTROL_ENABLE_SHIFT 0
#define TLSNIC_RX_QUEUE_CONTROL_ENABLE_MASK 0x1U /* RW */

/* Interrupt vector. 32 bits. */
#define TLSNIC_REG_RX_QUEUE_VECTOR 0x601c
#define TLSNIC_RX_QUEUE_VECTOR_VECTOR_SHIFT 0
#define TLSNIC_RX_QUEUE_VECTOR_VECTOR_MASK 0xffffU /* RW */

/* Queue status. 32 bits. */
#define TLSNIC_REG_RX_QUEUE_STATUS 0x6020
#define TLSNIC_RX_QUEUE_STATUS_STATE_SHIFT 0
#define TLSNIC_RX_QUEUE_STATUS_STATE_MASK 0xffU /* RO */
#define TLSNIC_RX_QUEUE_STATUS_ERROR_CODE_SHIFT 16
#define TLSNIC_RX_QUEUE_STATUS_ERROR_CODE_MASK 0xffff0000U /* RO */

/* Head. 32 bits. */
#define TLSNIC_REG_RX_QUEUE_HEAD 0x6024

/* Tail. 32 bits. */
#define TLSNIC_REG_RX_QUEUE_TAIL 0x6028

/* Completion producer. 32 bits. */
#define TLSNIC_REG_RX_QUEUE_COMPLETION_PRODUCER 0x602c

/* Error address. 64 bits. */
#define TLSNIC_REG_RX_QUEUE_ERROR_ADDRESS 0x6030

/* Completion consumer. 32 bits. */
#define TLSNIC_REG_RX_QUEUE_COMPLETION_CONSUMER 0x6038

/* BAR 2: doorbells. Write-only. Reads return zero. 64-bit, memory, not prefetchable, 4 KiB. */
#define TLSNIC_BAR2_SIZE 0x1000

/* Transmit doorbells. */
#define TLSNIC_REG_TX_DOORBELL_STRIDE 0x8
#define TLSNIC_REG_TX_DOORBELL_COUNT 16

/* Receive doorbells. */
#define TLSNIC_REG_RX_DOORBELL_STRIDE 0x8
#define TLSNIC_REG_RX_DOORBELL_COUNT 16

/* Tail doorbell. 32 bits. */
#define TLSNIC_REG_TX_DOORBELL_TAIL 0x0
#define TLSNIC_TX_DOORBELL_TAIL_INDEX_SHIFT 0
#define TLSNIC_TX_DOORBELL_TAIL_INDEX_MASK 0x7fffffffU /* WO */

/* Completion doorbell. 32 bits. */
#define TLSNIC_REG_TX_DOORBELL_COMPLETION 0x4
#define TLSNIC_TX_DOORBELL_COMPLETION_INDEX_SHIFT 0
#define TLSNIC_TX_DOORBELL_COMPLETION_INDEX_MASK 0x7fffffffU /* WO */
#define TLSNIC_TX_DOORBELL_COMPLETION_ARM_SHIFT 31
#define TLSNIC_TX_DOORBELL_COMPLETION_ARM_MASK 0x80000000U /* WO */

/* Tail doorbell. 32 bits. */
#define TLSNIC_REG_RX_DOORBELL_TAIL 0x400
#define TLSNIC_RX_DOORBELL_TAIL_INDEX_SHIFT 0
#define TLSNIC_RX_DOORBELL_TAIL_INDEX_MASK 0x7fffffffU /* WO */

/* Completion doorbell. 32 bits. */
#define TLSNIC_REG_RX_DOORBELL_COMPLETION 0x404
#define TLSNIC_RX_DOORBELL_COMPLETION_INDEX_SHIFT 0
#define TLSNIC_RX_DOORBELL_COMPLETION_INDEX_MASK 0x7fffffffU /* WO */
#define TLSNIC_RX_DOORBELL_COMPLETION_ARM_SHIFT 31
#define TLSNIC_RX_DOORBELL_COMPLETION_ARM_MASK 0x80000000U /* WO */

/* Tail doorbell. 32 bits. */
#define TLSNIC_REG_ADMIN_DOORBELL_TAIL 0x800
#define TLSNIC_ADMIN_DOORBELL_TAIL_INDEX_SHIFT 0
#define TLSNIC_ADMIN_DOORBELL_TAIL_INDEX_MASK 0x7fffffffU /* WO */

/* Completion doorbell. 32 bits. */
#define TLSNIC_REG_ADMIN_DOORBELL_COMPLETION 0x804
#define TLSNIC_ADMIN_DOORBELL_COMPLETION_INDEX_SHIFT 0
#define TLSNIC_ADMIN_DOORBELL_COMPLETION_INDEX_MASK 0x7fffffffU /* WO */
#define TLSNIC_ADMIN_DOORBELL_COMPLETION_ARM_SHIFT 31
#define TLSNIC_ADMIN_DOORBELL_COMPLETION_ARM_MASK 0x80000000U /* WO */

/* Tail doorbell. 32 bits. */
#define TLSNIC_REG_EVENT_DOORBELL_TAIL 0x808
#define TLSNIC_EVENT_DOORBELL_TAIL_INDEX_SHIFT 0
#define TLSNIC_EVENT_DOORBELL_TAIL_INDEX_MASK 0x7fffffffU /* WO */

/* Completion doorbell. 32 bits. */
#define TLSNIC_REG_EVENT_DOORBELL_COMPLETION 0x80c
#define TLSNIC_EVENT_DOORBELL_COMPLETION_INDEX_SHIFT 0
#define TLSNIC_EVENT_DOORBELL_COMPLETION_INDEX_MASK 0x7fffffffU /* WO */
#define TLSNIC_EVENT_DOORBELL_COMPLETION_ARM_SHIFT 31
#define TLSNIC_EVENT_DOORBELL_COMPLETION_ARM_MASK 0x80000000U /* WO */

enum tlsnic_queue_state {
	/* Not enabled. Configuration registers may be written. */
	TLSNIC_QUEUE_STATE_DISABLED = 0,
	/* Enabled: descriptors are fetched and completions are written. */
	TLSNIC_QUEUE_STATE_RUNNING = 1,
	/* Stopped by a fault. ERROR_CODE and ERROR_ADDRESS say why. Clear ENABLE to leave. */
	TLSNIC_QUEUE_STATE_ERROR = 2,
};

enum tlsnic_diagnostic {
	/* No diagnostic since reset. */
	TLSNIC_DIAGNOSTIC_NONE = 0,
	/* Access to an offset that no register occupies. Reads return zero, writes are ignored. */
	TLSNIC_DIAGNOSTIC_REG_UNKNOWN = 1,
	/* Write to a register without a writable field. Ignored. */
	TLSNIC_DIAGNOSTIC_REG_READ_ONLY = 2,
	/*
	 * Access that is narrower than 32 bits or not aligned. Reads return the bytes without side
	 * effects, writes are ignored.
	 */
	TLSNIC_DIAGNOSTIC_REG_ACCESS = 3,
	/* Write of a one into a reserved bit. The other bits are taken. */
	TLSNIC_DIAGNOSTIC_REG_RESERVED_BITS = 4,
	/*
	 * Doorbell of a queue that is not running, or the tail doorbell of the event queue, which has
	 * no descriptor ring. Ignored.
	 */
	TLSNIC_DIAGNOSTIC_DOORBELL_DISABLED = 5,
	/* Doorbell with an index that is not below the size of the ring. The queue goes to ERROR. */
	TLSNIC_DIAGNOSTIC_DOORBELL_RANGE = 6,
	/* Queue enabled before a ring base was set. The queue goes to ERROR. */
	TLSNIC_DIAGNOSTIC_RING_BASE_ZERO = 7,
	/*
	 * Queue enabled with a ring size of zero, not a power of two, or outside the limits. The queue
	 * goes to ERROR.
	 */
	TLSNIC_DIAGNOSTIC_RING_SIZE = 8,
	/* Queue enabled with a ring base that is not aligned to 64 bytes. The queue goes to ERROR. */
	TLSNIC_DIAGNOSTIC_RING_ALIGNMENT = 9,
	/*
	 * Configuration register of an enabled queue written, or ENABLE set again in ERROR without
	 * clearing it first. Ignored.
	 */
	TLSNIC_DIAGNOSTIC_QUEUE_BUSY = 10,
	/*
	 * DMA or interrupt needed while Bus Master Enable is clear. Nothing was transferred:
	 * descriptors and interrupts wait, received frames are dropped.
	 */
	TLSNIC_DIAGNOSTIC_BUS_MASTER_OFF = 11,
	/*
	 * Address that the host has not mapped, or RAM without a shared file descriptor. The queue goes
	 * to ERROR.
	 */
	TLSNIC_DIAGNOSTIC_DMA_FAULT = 12,
	/* Device write to memory that is mapped read-only. The queue goes to ERROR. */
	TLSNIC_DIAGNOSTIC_DMA_PERMISSION = 13,
	/* Queue enabled with an interrupt vector that does not exist. The queue goes to ERROR. */
	TLSNIC_DIAGNOSTIC_VECTOR_INVALID = 14,
	/* Reserved bits set in a transmit descriptor. The packet is dropped. */
	TLSNIC_DIAGNOSTIC_TX_RESERVED = 15,
	/*
	 * Contradictory or unsupported flags in a transmit descriptor, or flags of the first descriptor
	 * in a later one. The packet is dropped.
	 */
	TLSNIC_DIAGNOSTIC_TX_FLAGS = 16,
	/*
	 * Packet shorter than an Ethernet header, longer than MAX_FRAME (or than the segmentation
	 * limit), or a descriptor of length zero. The packet is dropped.
	 */
	TLSNIC_DIAGNOSTIC_TX_LENGTH = 17,
	/* header_length does not agree with the headers of the packet. The packet is dropped. */
	TLSNIC_DIAGNOSTIC_TX_HEADER = 18,
	/*
	 * Segmentation asked for with an MSS of zero, of a packet that is not TCP, or of an IP
	 * fragment. The packet is dropped.
	 */
	TLSNIC_DIAGNOSTIC_TX_SEGMENTATION = 19,
	/*
	 * Checksum asked for in a packet that is neither TCP nor UDP, or is a fragment. The packet is
	 * dropped.
	 */
	TLSNIC_DIAGNOSTIC_TX_CHECKSUM = 20,
	/*
	 * More descriptors in one packet than CAP_RINGS.MAX_CHAIN, or than the ring holds. The queue
	 * goes to ERROR.
	 */
	TLSNIC_DIAGNOSTIC_TX_CHAIN = 21,
	/* Packet queued while the link is down. Dropped and counted. */
	TLSNIC_DIAGNOSTIC_TX_LINK_DOWN = 22,
	/* No free completion entry: the driver has not returned its consumer index. The queue waits. */
	TLSNIC_DIAGNOSTIC_COMPLETION_RING_FULL = 23,
	/* Consumer index that is out of range or past the producer index. Ignored. */
	TLSNIC_DIAGNOSTIC_COMPLETION_INDEX = 24,
	/*
	 * Receive buffer shorter than CAP_RINGS.MIN_RX_BUFFER or with reserved bits set. The queue goes
	 * to ERROR.
	 */
	TLSNIC_DIAGNOSTIC_RX_BUFFER = 25,
	/* Frame dropped because its receive ring had too few buffers. */
	TLSNIC_DIAGNOSTIC_RX_NO_BUFFER = 26,
	/* Command with an unknown opcode. Answered with BAD_OPCODE. */
	TLSNIC_DIAGNOSTIC_COMMAND_UNKNOWN = 27,
	/* Command with reserved bits set. Answered with RESERVED_BITS. */
	TLSNIC_DIAGNOSTIC_COMMAND_RESERVED = 28,
	/*
	 * Command with a field out of range, or a parameter block that is too short. Answered with the
	 * error.
	 */
	TLSNIC_DIAGNOSTIC_COMMAND_FIELD = 29,
	/* Event queue full or not running: the event was not written. */
	TLSNIC_DIAGNOSTIC_EVENT_LOST = 30,
	/* Indirection table entry names a receive queue that does not exist. Queue 0 is used. */
	TLSNIC_DIAGNOSTIC_RSS_QUEUE = 31,
	/* The host mapped RAM without a file descriptor. QEMU needs memory-backend-memfd,share=on. */
	TLSNIC_DIAGNOSTIC_RAM_NOT_SHARED = 32,
	/* Reset while descriptors were pending. They are forgotten. */
	TLSNIC_DIAGNOSTIC_RESET_IN_FLIGHT = 33,
	/* Register written with a value that is out of its documented range. Ignored. */
	TLSNIC_DIAGNOSTIC_VALUE_RANGE = 34,
	/*
	 * Send tag handle that is stale, forged or of the wrong direction. The packet is dropped or the
	 * command refused.
	 */
	TLSNIC_DIAGNOSTIC_TLS_HANDLE = 35,
	/*
	 * Packet with TLS that does not start at the flow's next TCP sequence number, and has no
	 * presync block. It is dropped.
	 */
	TLSNIC_DIAGNOSTIC_TLS_SEQUENCE = 36,
	/* Presync block that is malformed or does not cover the packet. The packet is dropped. */
	TLSNIC_DIAGNOSTIC_TLS_PRESYNC = 37,
	/* Flow destroyed while packets of it were pending. They are dropped, never sent in clear. */
	TLSNIC_DIAGNOSTIC_TLS_DESTROYED = 38,
	/*
	 * An offload without the one that it needs. RX_COALESCE and RX_TLS need RX_CHECKSUM: the
	 * register is written, the offload does nothing. A packet with TLS needs L4_CHECKSUM or
	 * SEGMENT: it is dropped.
	 */
	TLSNIC_DIAGNOSTIC_OFFLOAD_DEPENDENCY = 39,
	/*
	 * Frame for a receive queue that is not enabled, told once until the queue is. The frame is
	 * dropped.
	 */
	TLSNIC_DIAGNOSTIC_RX_QUEUE_DISABLED = 40,
	/*
	 * Record header that the flow cannot encrypt: type, version, length or padding. The packet is
	 * dropped.
	 */
	TLSNIC_DIAGNOSTIC_TLS_RECORD = 41,
	/* Packet with TLS whose addresses, ports or VLAN are not those of its flow. It is dropped. */
	TLSNIC_DIAGNOSTIC_TLS_TUPLE = 42,
	/*
	 * Record of a receive flow that failed authentication: a wrong key or record number, or a
	 * forger. The flow is halted.
	 */
	TLSNIC_DIAGNOSTIC_TLS_AUTH = 43,
};

/* IPv4 header, TCP and UDP checksums on transmit, IPv4 and IPv6. */
#define TLSNIC_OFFLOAD_TX_CHECKSUM 0x1U
#define TLSNIC_OFFLOAD_RX_CHECKSUM 0x2U /* The same, checked on receive. */
#define TLSNIC_OFFLOAD_TSO4 0x4U /* TCP segmentation over IPv4. */
#define TLSNIC_OFFLOAD_TSO6 0x8U /* TCP segmentation over IPv6. */
#define TLSNIC_OFFLOAD_VLAN_INSERT 0x10U /* 802.1Q tag inserted on transmit. */
#define TLSNIC_OFFLOAD_VLAN_STRIP 0x20U /* 802.1Q tag stripped on receive. */
#define TLSNIC_OFFLOAD_RSS 0x40U /* Receive-side scaling with the Toeplitz hash. */
#define TLSNIC_OFFLOAD_MAC_FILTER 0x80U /* Exact unicast and multicast filter table. */
#define TLSNIC_OFFLOAD_VLAN_FILTER 0x100U /* VLAN filter table. */
#define TLSNIC_OFFLOAD_RX_COALESCE 0x200U /* Receive coalescing of TCP segments. */
#define TLSNIC_OFFLOAD_TX_TLS 0x10000U /* TLS transmit offload; see CAP_TLS_TX. */
#define TLSNIC_OFFLOAD_RX_TLS 0x20000U /* TLS receive offload; see CAP_TLS_RX. */
#define TLSNIC_OFFLOAD_TX_RATE_LIMIT 0x40000U /* Rate-limited send tags. */

#define TLSNIC_CIPHER_SUITE_TLS12_AES_128_GCM 0x1U /* TLS 1.2, AES-128-GCM (RFC 5288). */
#define TLSNIC_CIPHER_SUITE_TLS12_AES_256_GCM 0x2U /* TLS 1.2, AES-256-GCM (RFC 5288). */
/* TLS 1.2, ChaCha20-Poly1305 (RFC 7905). */
#define TLSNIC_CIPHER_SUITE_TLS12_CHACHA20_POLY1305 0x4U
#define TLSNIC_CIPHER_SUITE_TLS13_AES_128_GCM 0x8U /* TLS 1.3, AES-128-GCM (RFC 8446). */
#define TLSNIC_CIPHER_SUITE_TLS13_AES_256_GCM 0x10U /* TLS 1.3, AES-256-GCM (RFC 8446). */
/* TLS 1.3, ChaCha20-Poly1305 (RFC 8446). */
#define TLSNIC_CIPHER_SUITE_TLS13_CHACHA20_POLY1305 0x20U
/* TLS 1.0, AES-128/256-CBC with HMAC-SHA1, implicit IV (RFC 2246). */
#define TLSNIC_CIPHER_SUITE_TLS10_AES_CBC_SHA1 0x100U
/* TLS 1.1, AES-128/256-CBC with HMAC-SHA1, explicit IV (RFC 4346). */
#define TLSNIC_CIPHER_SUITE_TLS11_AES_CBC_SHA1 0x200U
/* TLS 1.2, AES-128/256-CBC with HMAC-SHA1 (RFC 5246). */
#define TLSNIC_CIPHER_SUITE_TLS12_AES_CBC_SHA1 0x400U
/* TLS 1.2, AES-128/256-CBC with HMAC-SHA256 (RFC 5246). */
#define TLSNIC_CIPHER_SUITE_TLS12_AES_CBC_SHA256 0x800U
/* TLS 1.2, AES-128/256-CBC with HMAC-SHA384 (RFC 5289). */
#define TLSNIC_CIPHER_SUITE_TLS12_AES_CBC_SHA384 0x1000U
/* Encrypt-then-MAC with the TLS 1.2 CBC suites above (RFC 7366). */
#define TLSNIC_CIPHER_SUITE_ENCRYPT_THEN_MAC 0x80000000U

/* Presync blocks: retransmits and out-of-order data are encrypted. */
#define TLSNIC_TLS_FEATURE_TX_PRESYNC 0x1U
/* The device asks whether a record starts at a TCP sequence number. */
#define TLSNIC_TLS_FEATURE_RX_RESYNC_REQUEST 0x2U
#define TLSNIC_TLS_FEATURE_RX_RESYNC_HINT 0x4U /* The stack tells where the next record starts. */
/* Tag-verified resync: a record's own tag settles its number. */
#define TLSNIC_TLS_FEATURE_RX_RESYNC_TAG 0x8U
#define TLSNIC_TLS_FEATURE_REKEY 0x10U /* Keys of a flow can be replaced (TLS 1.3 KeyUpdate). */

#define TLSNIC_HASH_TYPE_IPV4 0x1U /* Addresses of IPv4 packets, fragments included. */
#define TLSNIC_HASH_TYPE_TCP_IPV4 0x2U /* Addresses and ports of TCP over IPv4. */
#define TLSNIC_HASH_TYPE_UDP_IPV4 0x4U /* Addresses and ports of UDP over IPv4. */
#define TLSNIC_HASH_TYPE_IPV6 0x8U /* Addresses of IPv6 packets. */
#define TLSNIC_HASH_TYPE_TCP_IPV6 0x10U /* Addresses and ports of TCP over IPv6. */
#define TLSNIC_HASH_TYPE_UDP_IPV6 0x20U /* Addresses and ports of UDP over IPv6. */

#define TLSNIC_EVENT_MASK_LINK 0x1U /* Link changes. */
#define TLSNIC_EVENT_MASK_QUEUE 0x2U /* Queue errors. */
#define TLSNIC_EVENT_MASK_DIAGNOSTIC 0x4U /* Every diagnostic. Meant for driver development. */
#define TLSNIC_EVENT_MASK_TLS 0x8U /* Resync questions and flow errors. */

#define TLSNIC_TX_FLAGS_END_OF_PACKET 0x1U /* Last descriptor of the packet. */
/*
 * Write a completion when this packet is done. Completions are cumulative. First data
 * descriptor.
 */
#define TLSNIC_TX_FLAGS_REPORT 0x2U
/* Fill the IPv4 header checksum. First descriptor. Ignored for IPv6. */
#define TLSNIC_TX_FLAGS_IP_CHECKSUM 0x4U
#define TLSNIC_TX_FLAGS_L4_CHECKSUM 0x8U /* Fill the TCP or UDP checksum. First descriptor. */
/* Cut the TCP payload into segments of mss bytes; implies both checksums. First descriptor. */
#define TLSNIC_TX_FLAGS_SEGMENT 0x10U
/* Insert an 802.1Q tag with vlan_tci. First descriptor. */
#define TLSNIC_TX_FLAGS_VLAN_INSERT 0x20U
/* send_tag is valid: the TCP payload is TLS records to encrypt. First descriptor. */
#define TLSNIC_TX_FLAGS_TLS 0x40U
/* The buffer is a presync block, not frame data. Before the first data descriptor. */
#define TLSNIC_TX_FLAGS_PRESYNC 0x80U
/* The buffer holds record bytes that precede the packet: read, not sent. After PRESYNC. */
#define TLSNIC_TX_FLAGS_PREFIX 0x100U
/*
 * The buffer holds record bytes that follow the packet: read, not sent. After the last data
 * descriptor.
 */
#define TLSNIC_TX_FLAGS_SUFFIX 0x200U

enum tlsnic_tx_status {
	/* All packets up to head were handed to the wire. */
	TLSNIC_TX_STATUS_OK = 0,
	/*
	 * The packet that ends at head was dropped: malformed descriptor or headers; detail is the
	 * diagnostic.
	 */
	TLSNIC_TX_STATUS_BAD_PACKET = 1,
	/* The packet was dropped: link down. */
	TLSNIC_TX_STATUS_LINK_DOWN = 2,
	/* The packet was dropped: its memory is not mapped. The queue is in ERROR. */
	TLSNIC_TX_STATUS_DMA_FAULT = 3,
	/* The packet was dropped rather than sent in clear; detail is the diagnostic. */
	TLSNIC_TX_STATUS_TLS_DROPPED = 4,
};

#define TLSNIC_RX_FLAGS_IP_CHECKSUM_OK 0x1U /* IPv4 header checksum was checked and is right. */
#define TLSNIC_RX_FLAGS_IP_CHECKSUM_BAD 0x2U /* IPv4 header checksum is wrong. */
#define TLSNIC_RX_FLAGS_L4_CHECKSUM_OK 0x4U /* TCP or UDP checksum was checked and is right. */
#define TLSNIC_RX_FLAGS_L4_CHECKSUM_BAD 0x8U /* TCP or UDP checksum is wrong. */
#define TLSNIC_RX_FLAGS_VLAN_STRIPPED 0x10U /* An 802.1Q tag was taken out; vlan_tci holds it. */
/*
 * Several TCP segments were joined; segments and segment_bytes describe them. The TCP checksum
 * field then holds the sum of the pseudo-header; L4_CHECKSUM_OK says that every segment was
 * right.
 */
#define TLSNIC_RX_FLAGS_COALESCED 0x20U
#define TLSNIC_RX_FLAGS_IPV4 0x40U /* IPv4 packet. */
#define TLSNIC_RX_FLAGS_IPV6 0x80U /* IPv6 packet. */
#define TLSNIC_RX_FLAGS_TCP 0x100U /* TCP segment (not a fragment). */
#define TLSNIC_RX_FLAGS_UDP 0x200U /* UDP datagram (not a fragment). */
#define TLSNIC_RX_FLAGS_FRAGMENT 0x400U /* IP fragment. */
/* A resync question for this flow was asked while this packet passed. */
#define TLSNIC_RX_FLAGS_RESYNC 0x800U
#define TLSNIC_RX_FLAGS_PHASE 0x8000U /* Valid mark; see the completion rings chapter. */

enum tlsnic_tls_rx_state {
	/* Not a TLS flow of this device. */
	TLSNIC_TLS_RX_STATE_NONE = 0,
	/* TLS flow, but the packet is exactly as on the wire. */
	TLSNIC_TLS_RX_STATE_AS_ON_WIRE = 1,
	/*
	 * All record content in the packet is decrypted. Records that ended in it were verified, but
	 * for one of which a part came as on the wire before.
	 */
	TLSNIC_TLS_RX_STATE_DECRYPTED = 2,
	/* A record that ended in the packet failed authentication. The packet is as on the wire. */
	TLSNIC_TLS_RX_STATE_AUTH_FAILED = 3,
};

enum tlsnic_tls_tracker_state {
	/* A transmit flow. */
	TLSNIC_TLS_TRACKER_STATE_NONE = 0,
	/* Record boundaries and numbers are known: records are decrypted. */
	TLSNIC_TLS_TRACKER_STATE_OFFLOAD = 1,
	/* A record header was lost: the stream is searched for the next one. */
	TLSNIC_TLS_TRACKER_STATE_SEARCH = 2,
	/* What looks like a record is followed by its lengths, until host or tag confirm it. */
	TLSNIC_TLS_TRACKER_STATE_TRACK = 3,
	/*
	 * A record failed authentication, or the peer changed its key: packets come as on the wire
	 * until a rekey or hint.
	 */
	TLSNIC_TLS_TRACKER_STATE_HALTED = 4,
};

#define TLSNIC_COMPLETION_FLAGS_PHASE 0x8000U /* Valid mark; see the completion rings chapter. */

enum tlsnic_command_opcode {
	/* Does nothing. */
	TLSNIC_COMMAND_OPCODE_NOP = 0,
	/* Copies all counters to memory at one moment. */
	TLSNIC_COMMAND_OPCODE_STATISTICS = 1,
	/* Creates a flow context and gives its send tag handle. */
	TLSNIC_COMMAND_OPCODE_TLS_FLOW_CREATE = 256,
	/* Copies state and counters of a flow to memory; never keys. */
	TLSNIC_COMMAND_OPCODE_TLS_FLOW_QUERY = 257,
	/* Replaces the keys of a flow from a TCP sequence number on. */
	TLSNIC_COMMAND_OPCODE_TLS_FLOW_REKEY = 258,
	/* Sets the rate limit of a transmit flow. */
	TLSNIC_COMMAND_OPCODE_TLS_FLOW_RATE = 259,
	/* Destroys a flow; completes when nothing of it is in flight any more. */
	TLSNIC_COMMAND_OPCODE_TLS_FLOW_DESTROY = 260,
	/* Answers a resync question. */
	TLSNIC_COMMAND_OPCODE_TLS_RESYNC_ANSWER = 261,
	/* Tells where a record starts, unasked. */
	TLSNIC_COMMAND_OPCODE_TLS_RESYNC_HINT = 262,
};

enum tlsnic_command_status {
	/* Done. */
	TLSNIC_COMMAND_STATUS_OK = 0,
	/* Unknown opcode. */
	TLSNIC_COMMAND_STATUS_BAD_OPCODE = 1,
	/* A reserved bit was set. */
	TLSNIC_COMMAND_STATUS_RESERVED_BITS = 2,
	/* A field is out of range; detail is its byte offset. */
	TLSNIC_COMMAND_STATUS_BAD_FIELD = 3,
	/* The memory block is shorter than the command needs; detail is the size it needs, in bytes. */
	TLSNIC_COMMAND_STATUS_TOO_SHORT = 4,
	/* The memory block is not mapped. */
	TLSNIC_COMMAND_STATUS_DMA_FAULT = 5,
	/* Not offered by this device: version, cipher suite or feature. */
	TLSNIC_COMMAND_STATUS_UNSUPPORTED = 6,
	/* No free flow context. */
	TLSNIC_COMMAND_STATUS_TABLE_FULL = 7,
	/* A flow with this direction and 5-tuple exists. */
	TLSNIC_COMMAND_STATUS_DUPLICATE = 8,
	/* Stale or forged handle. */
	TLSNIC_COMMAND_STATUS_BAD_HANDLE = 9,
	/* The checksum offload that TLS needs is switched off. */
	TLSNIC_COMMAND_STATUS_DEPENDENCY = 10,
	/* Answer for a question that is no longer open. Ignored. */
	TLSNIC_COMMAND_STATUS_STALE = 11,
	/* A previous rekey is not finished: the stream has not reached its TCP sequence number. */
	TLSNIC_COMMAND_STATUS_BUSY = 12,
	/* TX_TLS or RX_TLS is off in OFFLOAD_ENABLE. Flows that exist go on. */
	TLSNIC_COMMAND_STATUS_DISABLED = 13,
};

enum tlsnic_event_type {
	/* The link went up or down. */
	TLSNIC_EVENT_TYPE_LINK_CHANGE = 1,
	/* A queue went to ERROR. */
	TLSNIC_EVENT_TYPE_QUEUE_ERROR = 2,
	/* A diagnostic was raised. */
	TLSNIC_EVENT_TYPE_DIAGNOSTIC = 3,
	/* Is there a record at this TCP sequence number? */
	TLSNIC_EVENT_TYPE_RESYNC_REQUEST = 4,
	/* A flow cannot be offloaded any more. */
	TLSNIC_EVENT_TYPE_FLOW_ERROR = 5,
};

enum tlsnic_queue_kind {
	/* Not a queue: the device as a whole. */
	TLSNIC_QUEUE_KIND_DEVICE = 0,
	/* Transmit queue. */
	TLSNIC_QUEUE_KIND_TRANSMIT = 1,
	/* Receive queue. */
	TLSNIC_QUEUE_KIND_RECEIVE = 2,
	/* Admin queue. */
	TLSNIC_QUEUE_KIND_ADMIN = 3,
	/* Event queue. */
	TLSNIC_QUEUE_KIND_EVENT = 4,
};

enum tlsnic_tls_direction {
	/* The device encrypts. */
	TLSNIC_TLS_DIRECTION_TRANSMIT = 0,
	/* The device decrypts. */
	TLSNIC_TLS_DIRECTION_RECEIVE = 1,
};

#define TLSNIC_TLS_FLOW_FLAGS_ENCRYPT_THEN_MAC 0x1U /* CBC suites: encrypt-then-MAC (RFC 7366). */
#define TLSNIC_TLS_FLOW_FLAGS_RESYNC_HOST 0x2U /* Receive: resync is confirmed by the host. */
/* Receive: resync may be settled by a record's own tag. */
#define TLSNIC_TLS_FLOW_FLAGS_RESYNC_TAG 0x4U
#define TLSNIC_TLS_FLOW_FLAGS_RATE_LIMIT 0x8U /* Transmit: rate_bytes_per_s is valid. */
#define TLSNIC_TLS_FLOW_FLAGS_VLAN 0x10U /* vlan_id is part of the flow's key. */

/*
 * The in-order state moves to the end of this packet. Clear: the packet is a retransmit, the
 * state stays.
 */
#define TLSNIC_PRESYNC_FLAGS_UPDATE_STATE 0x1U
/* Descriptors with PREFIX supply the record's bytes from its start to the start of the packet. */
#define TLSNIC_PRESYNC_FLAGS_PREFIX 0x2U
/*
 * All of the packet precedes the start of offload: it is sent as it is. The other fields must be
 * zero.
 */
#define TLSNIC_PRESYNC_FLAGS_BEFORE_START 0x4U

/*
 * Transmit descriptor. One buffer of a packet. Offload fields are read from the first data
 * descriptor of the packet, which is the first without PRESYNC and PREFIX. Descriptors with
 * PRESYNC, PREFIX or SUFFIX have no other flag but END_OF_PACKET, and no other field but address
 * and length.
 */
struct tlsnic_tx_descriptor {
	/* Guest address of the buffer. */
	tlsnic_le64 address;
	/* Bytes in the buffer, at least 1. */
	tlsnic_le32 length;
	/* What to do. */
	tlsnic_le16 flags;
	/* 802.1Q tag control information for VLAN_INSERT. */
	tlsnic_le16 vlan_tci;
	/* Handle of the flow, with TLS; else zero. */
	tlsnic_le32 send_tag;
	/* TCP payload bytes per segment, with SEGMENT; else zero. */
	tlsnic_le16 mss;
	/* Bytes of Ethernet, IP and TCP headers, with SEGMENT or TLS; else zero. */
	tlsnic_le16 header_length;
	uint8_t reserved_18[8];
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_tx_descriptor) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_tx_descriptor, address) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_tx_descriptor, length) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_tx_descriptor, flags) == 12);
TLSNIC_ASSERT(offsetof(struct tlsnic_tx_descriptor, vlan_tci) == 14);
TLSNIC_ASSERT(offsetof(struct tlsnic_tx_descriptor, send_tag) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_tx_descriptor, mss) == 20);
TLSNIC_ASSERT(offsetof(struct tlsnic_tx_descriptor, header_length) == 22);

/*
 * Transmit completion. Says that the device is done with all descriptors before head. Written
 * for packets with REPORT and for every dropped packet.
 */
struct tlsnic_tx_completion {
	/* Flow of the packet, or zero. */
	tlsnic_le32 send_tag;
	/* Diagnostic of a dropped packet, or zero. */
	tlsnic_le16 detail;
	uint8_t reserved_06[2];
	/* Index after the last descriptor of the packet. */
	tlsnic_le32 head;
	/* What became of the packet that ends at head. */
	tlsnic_le16 status;
	/* Valid mark. */
	tlsnic_le16 flags;
} __attribute__((packed, aligned(4)));
TLSNIC_ASSERT(sizeof(struct tlsnic_tx_completion) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_tx_completion, send_tag) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_tx_completion, detail) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_tx_completion, head) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_tx_completion, status) == 12);
TLSNIC_ASSERT(offsetof(struct tlsnic_tx_completion, flags) == 14);

/*
 * Receive descriptor. One empty buffer. Buffers are filled in ring order; a frame that is longer
 * than one buffer takes several.
 */
struct tlsnic_rx_descriptor {
	/* Guest address of the buffer. */
	tlsnic_le64 address;
	/* Bytes in the buffer. */
	tlsnic_le32 length;
	uint8_t reserved_0c[4];
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_rx_descriptor) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_descriptor, address) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_descriptor, length) == 8);

/* Receive completion. One received packet, in buffers ring entries from index on. */
struct tlsnic_rx_completion {
	/* Bytes of the packet in memory. */
	tlsnic_le32 length;
	/* Toeplitz hash, or zero when no type matched. */
	tlsnic_le32 rss_hash;
	/* Receive descriptor of the first buffer. */
	tlsnic_le16 index;
	/* Buffers used. */
	tlsnic_le16 buffers;
	/* Tag control information, with VLAN_STRIPPED. */
	tlsnic_le16 vlan_tci;
	/* Segments joined in the packet; 1 when not coalesced. */
	tlsnic_le16 segments;
	/* Handle of the receive flow, or zero. */
	tlsnic_le32 flow;
	/* TCP payload bytes of the first segment, with COALESCED. */
	tlsnic_le16 segment_bytes;
	/* Hash type of rss_hash. */
	tlsnic_le16 hash_type;
	/* What TLS offload did. */
	uint8_t tls_state;
	/* Records that ended in the packet. */
	uint8_t tls_records;
	uint8_t reserved_1a[4];
	/* What the device found; the valid mark. */
	tlsnic_le16 flags;
} __attribute__((packed, aligned(4)));
TLSNIC_ASSERT(sizeof(struct tlsnic_rx_completion) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_completion, length) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_completion, rss_hash) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_completion, index) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_completion, buffers) == 10);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_completion, vlan_tci) == 12);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_completion, segments) == 14);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_completion, flow) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_completion, segment_bytes) == 20);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_completion, hash_type) == 22);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_completion, tls_state) == 24);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_completion, tls_records) == 25);
TLSNIC_ASSERT(offsetof(struct tlsnic_rx_completion, flags) == 30);

/*
 * Command. Entry of the admin ring: the part that all commands have. Commands are carried out in
 * ring order, one after the other; a response is written for each.
 */
struct tlsnic_command {
	/* What to do. */
	tlsnic_le16 opcode;
	uint8_t reserved_02[2];
	/* Chosen by the driver, returned in the response. */
	tlsnic_le32 command_id;
	/* Depends on the opcode. */
	tlsnic_le64 parameter0;
	/* Depends on the opcode. */
	tlsnic_le64 parameter1;
	/* Depends on the opcode. */
	tlsnic_le64 parameter2;
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_command) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_command, opcode) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_command, command_id) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_command, parameter0) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_command, parameter1) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_command, parameter2) == 24);

/* Response. Entry of the admin completion ring. */
struct tlsnic_response {
	/* From the command. */
	tlsnic_le32 command_id;
	/* From the command. */
	tlsnic_le16 opcode;
	/* Result. */
	tlsnic_le16 status;
	/* Depends on the opcode; zero on error. */
	tlsnic_le64 result0;
	/* Depends on the opcode; zero on error. */
	tlsnic_le64 result1;
	/* On error: which offset or size is meant. */
	tlsnic_le32 detail;
	uint8_t reserved_1c[2];
	/* Valid mark. */
	tlsnic_le16 flags;
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_response) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_response, command_id) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_response, opcode) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_response, status) == 6);
TLSNIC_ASSERT(offsetof(struct tlsnic_response, result0) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_response, result1) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_response, detail) == 24);
TLSNIC_ASSERT(offsetof(struct tlsnic_response, flags) == 30);

/* NOP. Does nothing. Its response proves that the admin queue works. */
#define TLSNIC_NOP_COMMAND_OPCODE 0x0
struct tlsnic_nop_command {
	/* What to do. */
	tlsnic_le16 opcode;
	uint8_t reserved_02[2];
	/* Chosen by the driver, returned in the response. */
	tlsnic_le32 command_id;
	uint8_t reserved_08[24];
} __attribute__((packed, aligned(4)));
TLSNIC_ASSERT(sizeof(struct tlsnic_nop_command) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_nop_command, opcode) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_nop_command, command_id) == 4);

/*
 * STATISTICS. Copies the counter registers, in register order from TX_PACKETS on, gaps as zero,
 * to memory at one moment. result0 is the number of bytes.
 */
#define TLSNIC_STATISTICS_COMMAND_OPCODE 0x1
struct tlsnic_statistics_command {
	/* What to do. */
	tlsnic_le16 opcode;
	uint8_t reserved_02[2];
	/* Chosen by the driver, returned in the response. */
	tlsnic_le32 command_id;
	/* Guest address of the block, aligned to 8 bytes. */
	tlsnic_le64 address;
	/* Bytes in the block. */
	tlsnic_le32 length;
	uint8_t reserved_14[12];
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_statistics_command) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_statistics_command, opcode) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_statistics_command, command_id) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_statistics_command, address) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_statistics_command, length) == 16);

/*
 * TLS_FLOW_CREATE. Creates a flow context from a TLS flow block. result0 is the handle. The
 * device has read the block when the response is written: the driver can wipe it.
 */
#define TLSNIC_TLS_FLOW_CREATE_COMMAND_OPCODE 0x100
struct tlsnic_tls_flow_create_command {
	/* What to do. */
	tlsnic_le16 opcode;
	uint8_t reserved_02[2];
	/* Chosen by the driver, returned in the response. */
	tlsnic_le32 command_id;
	/* Guest address of the flow block, aligned to 8 bytes. */
	tlsnic_le64 address;
	/* Bytes in the block. */
	tlsnic_le32 length;
	uint8_t reserved_14[12];
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_tls_flow_create_command) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_create_command, opcode) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_create_command, command_id) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_create_command, address) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_create_command, length) == 16);

/* TLS_FLOW_QUERY. Copies a TLS flow state block to memory. result0 is the number of bytes. */
#define TLSNIC_TLS_FLOW_QUERY_COMMAND_OPCODE 0x101
struct tlsnic_tls_flow_query_command {
	/* What to do. */
	tlsnic_le16 opcode;
	uint8_t reserved_02[2];
	/* Chosen by the driver, returned in the response. */
	tlsnic_le32 command_id;
	/* Guest address of the block, aligned to 8 bytes. */
	tlsnic_le64 address;
	/* Bytes in the block. */
	tlsnic_le32 length;
	/* The flow. */
	tlsnic_le32 handle;
	uint8_t reserved_18[8];
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_tls_flow_query_command) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_query_command, opcode) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_query_command, command_id) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_query_command, address) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_query_command, length) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_query_command, handle) == 20);

/*
 * TLS_FLOW_REKEY. Replaces key, IV and record number of a flow from the flow block's
 * tcp_sequence on, which starts a record. Direction, version, suite, lengths and max_plaintext
 * must be those of the flow; addresses, ports and rate are not looked at. Transmit: records
 * before it keep the old key, also when they are sent again, until the next rekey. Receive:
 * packets from it on come as on the wire until the switch.
 */
#define TLSNIC_TLS_FLOW_REKEY_COMMAND_OPCODE 0x102
struct tlsnic_tls_flow_rekey_command {
	/* What to do. */
	tlsnic_le16 opcode;
	uint8_t reserved_02[2];
	/* Chosen by the driver, returned in the response. */
	tlsnic_le32 command_id;
	/* Guest address of the flow block, aligned to 8 bytes. */
	tlsnic_le64 address;
	/* Bytes in the block. */
	tlsnic_le32 length;
	/* The flow. */
	tlsnic_le32 handle;
	uint8_t reserved_18[8];
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_tls_flow_rekey_command) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_rekey_command, opcode) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_rekey_command, command_id) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_rekey_command, address) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_rekey_command, length) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_rekey_command, handle) == 20);

/*
 * TLS_FLOW_RATE. Sets the rate limit of a transmit flow. Lifting it sends at once what the limit
 * held back.
 */
#define TLSNIC_TLS_FLOW_RATE_COMMAND_OPCODE 0x103
struct tlsnic_tls_flow_rate_command {
	/* What to do. */
	tlsnic_le16 opcode;
	uint8_t reserved_02[2];
	/* Chosen by the driver, returned in the response. */
	tlsnic_le32 command_id;
	/* Bytes on the wire per second; zero: no limit. */
	tlsnic_le64 rate_bytes_per_s;
	uint8_t reserved_10[4];
	/* The flow. */
	tlsnic_le32 handle;
	uint8_t reserved_18[8];
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_tls_flow_rate_command) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_rate_command, opcode) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_rate_command, command_id) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_rate_command, rate_bytes_per_s) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_rate_command, handle) == 20);

/*
 * TLS_FLOW_DESTROY. Destroys a flow and wipes its key. The response comes when everything that
 * was posted before the command has left, so it may come after those of later commands. From the
 * command on the handle is refused by others, and the 5-tuple is free.
 */
#define TLSNIC_TLS_FLOW_DESTROY_COMMAND_OPCODE 0x104
struct tlsnic_tls_flow_destroy_command {
	/* What to do. */
	tlsnic_le16 opcode;
	uint8_t reserved_02[2];
	/* Chosen by the driver, returned in the response. */
	tlsnic_le32 command_id;
	uint8_t reserved_08[12];
	/* The flow. */
	tlsnic_le32 handle;
	uint8_t reserved_18[8];
} __attribute__((packed, aligned(4)));
TLSNIC_ASSERT(sizeof(struct tlsnic_tls_flow_destroy_command) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_destroy_command, opcode) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_destroy_command, command_id) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_destroy_command, handle) == 20);

/*
 * TLS_RESYNC_ANSWER. Answers a resync question. The record number is that of the record whose
 * header starts at tcp_sequence.
 */
#define TLSNIC_TLS_RESYNC_ANSWER_COMMAND_OPCODE 0x105
struct tlsnic_tls_resync_answer_command {
	/* What to do. */
	tlsnic_le16 opcode;
	uint8_t reserved_02[2];
	/* Chosen by the driver, returned in the response. */
	tlsnic_le32 command_id;
	/* Number of the record at tcp_sequence. */
	tlsnic_le64 record_number;
	/* From the question. */
	tlsnic_le32 tcp_sequence;
	/* The flow. */
	tlsnic_le32 handle;
	/* From the question: which one is answered. */
	tlsnic_le32 question;
	/* 1: a record starts there. 0: none does. */
	uint8_t found;
	uint8_t reserved_1d[3];
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_tls_resync_answer_command) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_resync_answer_command, opcode) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_resync_answer_command, command_id) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_resync_answer_command, record_number) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_resync_answer_command, tcp_sequence) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_resync_answer_command, handle) == 20);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_resync_answer_command, question) == 24);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_resync_answer_command, found) == 28);

/* TLS_RESYNC_HINT. Tells where a record starts, unasked (next-record hint of the stack). */
#define TLSNIC_TLS_RESYNC_HINT_COMMAND_OPCODE 0x106
struct tlsnic_tls_resync_hint_command {
	/* What to do. */
	tlsnic_le16 opcode;
	uint8_t reserved_02[2];
	/* Chosen by the driver, returned in the response. */
	tlsnic_le32 command_id;
	/* Number of the record at tcp_sequence. */
	tlsnic_le64 record_number;
	/* TCP sequence number of the first byte of the record's header. */
	tlsnic_le32 tcp_sequence;
	/* The flow. */
	tlsnic_le32 handle;
	uint8_t reserved_18[8];
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_tls_resync_hint_command) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_resync_hint_command, opcode) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_resync_hint_command, command_id) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_resync_hint_command, record_number) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_resync_hint_command, tcp_sequence) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_resync_hint_command, handle) == 20);

/* TLS flow block. Everything that a flow context starts from. */
struct tlsnic_tls_flow {
	/* Transmit or receive. */
	uint8_t direction;
	/* 4 or 6. */
	uint8_t ip_version;
	/* Options. */
	tlsnic_le16 flags;
	/* TLS version as on the wire: 0x0301 to 0x0304. */
	tlsnic_le16 tls_version;
	/* VLAN identifier, with VLAN. */
	tlsnic_le16 vlan_id;
	/* One bit of the capability register. */
	tlsnic_le64 suite;
	/* Number of the first record. */
	tlsnic_le64 record_number;
	/* TCP sequence number of the first byte of that record's header. */
	tlsnic_le32 tcp_sequence;
	/* TCP port of the driver's side, host byte order. */
	tlsnic_le16 local_port;
	/* TCP port of the other side, host byte order. */
	tlsnic_le16 remote_port;
	/* Rate limit in bytes per second, with RATE_LIMIT. */
	tlsnic_le64 rate_bytes_per_s;
	/* Bytes of key: 16 or 32. */
	tlsnic_le16 key_length;
	/* Bytes of salt (TLS 1.2 GCM: 4), IV (TLS 1.3, ChaCha20: 12) or block IV (TLS 1.0 CBC: 16). */
	tlsnic_le16 iv_length;
	/* Bytes of MAC key (CBC suites), else zero. */
	tlsnic_le16 mac_key_length;
	/*
	 * Largest content of a record, 64 to 16384 bytes, TLS 1.3's inner type and padding not counted
	 * (compare record_size_limit, RFC 8449); 0 for 16384.
	 */
	tlsnic_le16 max_plaintext;
	/* Address of the driver's side, network byte order; IPv4 in the first 4 bytes. */
	uint8_t local_address[16];
	/* Address of the other side. */
	uint8_t remote_address[16];
	/* Key. */
	uint8_t key[32];
	/* Salt or IV. */
	uint8_t iv[16];
	/* MAC key. */
	uint8_t mac_key[48];
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_tls_flow) == 176);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, direction) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, ip_version) == 1);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, flags) == 2);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, tls_version) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, vlan_id) == 6);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, suite) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, record_number) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, tcp_sequence) == 24);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, local_port) == 28);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, remote_port) == 30);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, rate_bytes_per_s) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, key_length) == 40);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, iv_length) == 42);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, mac_key_length) == 44);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, max_plaintext) == 46);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, local_address) == 48);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, remote_address) == 64);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, key) == 80);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, iv) == 112);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow, mac_key) == 128);

/* TLS flow state block. What TLS_FLOW_QUERY writes. Never key material. */
struct tlsnic_tls_flow_state {
	/* State of the receive tracker. */
	uint8_t tracker_state;
	/* Transmit or receive. */
	uint8_t direction;
	uint8_t reserved_02[2];
	/* Next in-order TCP sequence number. */
	tlsnic_le32 tcp_sequence;
	/* Number of the record at or around it. */
	tlsnic_le64 record_number;
	/* Packets encrypted or decrypted, those with presync included. */
	tlsnic_le64 packets;
	/* TCP payload bytes of these packets. */
	tlsnic_le64 payload_bytes;
	/* Packets out of order. */
	tlsnic_le64 out_of_order;
	/* Packets dropped (transmit) or left as on the wire (receive). */
	tlsnic_le64 not_offloaded;
	/* Resync questions asked. */
	tlsnic_le64 questions;
	/* Packets with a record that failed authentication. */
	tlsnic_le64 auth_failures;
	/* Packets encrypted with the help of a presync block. */
	tlsnic_le64 presynced;
	/* Rate limit in bytes per second, or zero. */
	tlsnic_le64 rate_bytes_per_s;
	/* TLS 1.0: the last ciphertext block before that record, its IV. Else zero. */
	uint8_t record_iv[16];
	/* Resyncs by an answer or hint of the host. */
	tlsnic_le64 host_resyncs;
	/* Resyncs by a record's own tag. */
	tlsnic_le64 tag_resyncs;
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_tls_flow_state) == 112);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, tracker_state) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, direction) == 1);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, tcp_sequence) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, record_number) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, packets) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, payload_bytes) == 24);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, out_of_order) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, not_offloaded) == 40);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, questions) == 48);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, auth_failures) == 56);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, presynced) == 64);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, rate_bytes_per_s) == 72);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, record_iv) == 80);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, host_resyncs) == 96);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_flow_state, tag_resyncs) == 104);

/*
 * TLS presync block. Tells the device where in which record a packet starts that is not next in
 * order.
 */
struct tlsnic_tls_presync {
	/* TCP sequence number of the first byte of the record's header. */
	tlsnic_le32 tcp_sequence;
	/* Options. */
	tlsnic_le16 flags;
	/* Bytes that descriptors with PREFIX supply: all of the record before the packet, or none. */
	tlsnic_le16 prefix_length;
	/* Number of that record. */
	tlsnic_le64 record_number;
	/*
	 * The record's first bytes as the host laid them out: header and explicit nonce or IV. The rest
	 * is ignored.
	 */
	uint8_t record_header[24];
	uint8_t reserved_28[8];
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_tls_presync) == 48);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_presync, tcp_sequence) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_presync, flags) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_presync, prefix_length) == 6);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_presync, record_number) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_tls_presync, record_header) == 16);

/* Event. Entry of the event ring: the part that all events have. */
struct tlsnic_event {
	/* What happened. */
	tlsnic_le16 type;
	/* Queue number. */
	uint8_t queue;
	/* Kind of queue. */
	uint8_t kind;
	/* Flow handle, or zero. */
	tlsnic_le32 handle;
	/* Depends on the type. */
	tlsnic_le64 value0;
	/* Depends on the type. */
	tlsnic_le64 value1;
	/* Counts events since reset, lost ones included. */
	tlsnic_le32 sequence;
	uint8_t reserved_1c[2];
	/* Valid mark. */
	tlsnic_le16 flags;
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_event) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_event, type) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_event, queue) == 2);
TLSNIC_ASSERT(offsetof(struct tlsnic_event, kind) == 3);
TLSNIC_ASSERT(offsetof(struct tlsnic_event, handle) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_event, value0) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_event, value1) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_event, sequence) == 24);
TLSNIC_ASSERT(offsetof(struct tlsnic_event, flags) == 30);

/* LINK_CHANGE. The link went up or down. */
#define TLSNIC_LINK_CHANGE_EVENT_EVENT_TYPE 0x1
struct tlsnic_link_change_event {
	/* What happened. */
	tlsnic_le16 type;
	/* Queue number. */
	uint8_t queue;
	/* Kind of queue. */
	uint8_t kind;
	/* Flow handle, or zero. */
	tlsnic_le32 handle;
	/* 1: up, 0: down. */
	tlsnic_le64 link_up;
	/* Megabits per second. */
	tlsnic_le64 mbps;
	/* Counts events since reset, lost ones included. */
	tlsnic_le32 sequence;
	uint8_t reserved_1c[2];
	/* Valid mark. */
	tlsnic_le16 flags;
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_link_change_event) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_link_change_event, type) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_link_change_event, queue) == 2);
TLSNIC_ASSERT(offsetof(struct tlsnic_link_change_event, kind) == 3);
TLSNIC_ASSERT(offsetof(struct tlsnic_link_change_event, handle) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_link_change_event, link_up) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_link_change_event, mbps) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_link_change_event, sequence) == 24);
TLSNIC_ASSERT(offsetof(struct tlsnic_link_change_event, flags) == 30);

/* QUEUE_ERROR. A queue went to ERROR; queue and kind say which. */
#define TLSNIC_QUEUE_ERROR_EVENT_EVENT_TYPE 0x2
struct tlsnic_queue_error_event {
	/* What happened. */
	tlsnic_le16 type;
	/* Queue number. */
	uint8_t queue;
	/* Kind of queue. */
	uint8_t kind;
	/* Flow handle, or zero. */
	tlsnic_le32 handle;
	/* Why. */
	tlsnic_le64 code;
	/* As in ERROR_ADDRESS. */
	tlsnic_le64 address;
	/* Counts events since reset, lost ones included. */
	tlsnic_le32 sequence;
	uint8_t reserved_1c[2];
	/* Valid mark. */
	tlsnic_le16 flags;
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_queue_error_event) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_queue_error_event, type) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_queue_error_event, queue) == 2);
TLSNIC_ASSERT(offsetof(struct tlsnic_queue_error_event, kind) == 3);
TLSNIC_ASSERT(offsetof(struct tlsnic_queue_error_event, handle) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_queue_error_event, code) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_queue_error_event, address) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_queue_error_event, sequence) == 24);
TLSNIC_ASSERT(offsetof(struct tlsnic_queue_error_event, flags) == 30);

/* DIAGNOSTIC. A diagnostic was raised. */
#define TLSNIC_DIAGNOSTIC_EVENT_EVENT_TYPE 0x3
struct tlsnic_diagnostic_event {
	/* What happened. */
	tlsnic_le16 type;
	/* Queue number. */
	uint8_t queue;
	/* Kind of queue. */
	uint8_t kind;
	/* Flow handle, or zero. */
	tlsnic_le32 handle;
	/* Which rule was broken. */
	tlsnic_le64 code;
	/* As in DIAG_OPERAND. */
	tlsnic_le64 operand;
	/* Counts events since reset, lost ones included. */
	tlsnic_le32 sequence;
	uint8_t reserved_1c[2];
	/* Valid mark. */
	tlsnic_le16 flags;
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_diagnostic_event) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_diagnostic_event, type) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_diagnostic_event, queue) == 2);
TLSNIC_ASSERT(offsetof(struct tlsnic_diagnostic_event, kind) == 3);
TLSNIC_ASSERT(offsetof(struct tlsnic_diagnostic_event, handle) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_diagnostic_event, code) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_diagnostic_event, operand) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_diagnostic_event, sequence) == 24);
TLSNIC_ASSERT(offsetof(struct tlsnic_diagnostic_event, flags) == 30);

/*
 * RESYNC_REQUEST. The tracker of a receive flow follows what looks like records, and asks
 * whether one starts at tcp_sequence.
 */
#define TLSNIC_RESYNC_REQUEST_EVENT_EVENT_TYPE 0x4
struct tlsnic_resync_request_event {
	/* What happened. */
	tlsnic_le16 type;
	/* Queue number. */
	uint8_t queue;
	/* Kind of queue. */
	uint8_t kind;
	/* The flow. */
	tlsnic_le32 handle;
	/* TCP sequence number of the first byte of the supposed header. */
	tlsnic_le32 tcp_sequence;
	/* Number of the question, to be returned in the answer. */
	tlsnic_le32 question;
	/* Last record number that was certain. */
	tlsnic_le64 record_number;
	/* Counts events since reset, lost ones included. */
	tlsnic_le32 sequence;
	uint8_t reserved_1c[2];
	/* Valid mark. */
	tlsnic_le16 flags;
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_resync_request_event) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_resync_request_event, type) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_resync_request_event, queue) == 2);
TLSNIC_ASSERT(offsetof(struct tlsnic_resync_request_event, kind) == 3);
TLSNIC_ASSERT(offsetof(struct tlsnic_resync_request_event, handle) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_resync_request_event, tcp_sequence) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_resync_request_event, question) == 12);
TLSNIC_ASSERT(offsetof(struct tlsnic_resync_request_event, record_number) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_resync_request_event, sequence) == 24);
TLSNIC_ASSERT(offsetof(struct tlsnic_resync_request_event, flags) == 30);

/*
 * FLOW_ERROR. A flow cannot be offloaded any more; its packets come as on the wire, or are
 * dropped on transmit.
 */
#define TLSNIC_FLOW_ERROR_EVENT_EVENT_TYPE 0x5
struct tlsnic_flow_error_event {
	/* What happened. */
	tlsnic_le16 type;
	/* Queue number. */
	uint8_t queue;
	/* Kind of queue. */
	uint8_t kind;
	/* The flow. */
	tlsnic_le32 handle;
	/* Why. */
	tlsnic_le64 code;
	/* TCP sequence number at which it happened. */
	tlsnic_le64 tcp_sequence;
	/* Counts events since reset, lost ones included. */
	tlsnic_le32 sequence;
	uint8_t reserved_1c[2];
	/* Valid mark. */
	tlsnic_le16 flags;
} __attribute__((packed, aligned(8)));
TLSNIC_ASSERT(sizeof(struct tlsnic_flow_error_event) == 32);
TLSNIC_ASSERT(offsetof(struct tlsnic_flow_error_event, type) == 0);
TLSNIC_ASSERT(offsetof(struct tlsnic_flow_error_event, queue) == 2);
TLSNIC_ASSERT(offsetof(struct tlsnic_flow_error_event, kind) == 3);
TLSNIC_ASSERT(offsetof(struct tlsnic_flow_error_event, handle) == 4);
TLSNIC_ASSERT(offsetof(struct tlsnic_flow_error_event, code) == 8);
TLSNIC_ASSERT(offsetof(struct tlsnic_flow_error_event, tcp_sequence) == 16);
TLSNIC_ASSERT(offsetof(struct tlsnic_flow_error_event, sequence) == 24);
TLSNIC_ASSERT(offsetof(struct tlsnic_flow_error_event, flags) == 30);

#undef TLSNIC_ASSERT

#endif /* TLSNIC_HW_H */
