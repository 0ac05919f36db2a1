/* SPDX-License-Identifier: GPL-2.0 */
/*
 * tlsnic: an Ethernet card with TLS offload. What the parts of the driver share.
 *
 * main    PCI function: probe, remove, resets by the bus
 * regs    registers: reset, capabilities, settings
 * ring    descriptor and completion rings, the same for all kinds of queues
 * irq     interrupt vectors and their handlers
 * admin   commands and their responses
 * event   what the device tells unasked
 * netdev  the network interface: open and close, settings, recovery
 * tx, rx  packets
 * stats   counters
 * ethtool settings and figures for people
 * ktls    TLS flows: made, found, destroyed; ktls_tx and ktls_rx their packets
 */
#ifndef TLSNIC_H
#define TLSNIC_H

#include <linux/bitfield.h>
#include <linux/completion.h>
#include <linux/ethtool.h>
#include <linux/if_vlan.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/spinlock.h>
#include <linux/u64_stats_sync.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <net/tls.h>

#include "tlsnic_hw.h"

#define TLSNIC_NAME "tlsnic"

#define TLSNIC_MAX_QUEUES TLSNIC_REG_TX_QUEUE_COUNT
/* Of the admin and the event queue; queue pair n has vector n + 1. */
#define TLSNIC_SERVICE_VECTOR 0

/* By default; a joined packet takes up to 17 buffers. */
#define TLSNIC_TX_ENTRIES 1024
#define TLSNIC_RX_ENTRIES 2048
#define TLSNIC_ADMIN_ENTRIES 64
#define TLSNIC_EVENT_ENTRIES 1024

/* The largest packet takes: head and fragments, presync block and the fragments of a record. */
#define TLSNIC_TX_ROOM (2 * (MAX_SKB_FRAGS + 1) + 1)
/* A queue that was stopped for lack of room goes on when there is twice as much. */
#define TLSNIC_TX_WAKE (2 * TLSNIC_TX_ROOM)
#define TLSNIC_MIN_ENTRIES roundup_pow_of_two(TLSNIC_TX_WAKE + 1)
#define TLSNIC_RX_BUFFER_BYTES PAGE_SIZE
#define TLSNIC_RSS_ENTRIES (4 * TLSNIC_REG_RSS_TABLE_COUNT)
#define TLSNIC_RSS_KEY_BYTES (4 * TLSNIC_REG_RSS_KEY_COUNT)

/* Counters: all 64-bit registers from the first to the last one, gaps included. */
#define TLSNIC_COUNTERS ((TLSNIC_REG_TX_TLS_PACED - TLSNIC_REG_TX_PACKETS) / 8 + 1)
#define TLSNIC_COUNTER(name) ((TLSNIC_REG_##name - TLSNIC_REG_TX_PACKETS) / 8)

/* Value of a register's field, and the other way round. */
#define TLSNIC_GET(field, value) FIELD_GET(TLSNIC_##field##_MASK, value)
#define TLSNIC_PREP(field, value) FIELD_PREP(TLSNIC_##field##_MASK, value)

struct tlsnic;

/**
 * struct tlsnic_ring - a queue's descriptor ring and completion ring
 * @nic: whose
 * @regs: offset of the queue's registers in BAR 0
 * @tail_doorbell: takes the index after the last descriptor
 * @completion_doorbell: takes the index of the next completion, with or without ARM
 * @desc: descriptors, NULL for the event queue
 * @desc_dma: their address
 * @desc_bytes: size of one
 * @size: how many, a power of two
 * @entries: completions
 * @entries_dma: their address
 * @entry_bytes: size of one
 * @entries_size: how many, a power of two
 * @next: index of the next completion to look at
 * @armed: an interrupt was asked for, and no completion taken since
 * @phase: PHASE of a valid entry in this lap
 */
struct tlsnic_ring {
	struct tlsnic *nic;
	u32 regs;
	void __iomem *tail_doorbell;
	void __iomem *completion_doorbell;
	void *desc;
	dma_addr_t desc_dma;
	u32 desc_bytes;
	u32 size;
	void *entries;
	dma_addr_t entries_dma;
	u32 entry_bytes;
	u32 entries_size;
	u32 next;
	bool armed;
	bool phase;
};

struct tlsnic_queue_stats {
	struct u64_stats_sync sync;
	u64_stats_t packets;
	u64_stats_t bytes;
	u64_stats_t dropped;
	u64_stats_t tls;	/* packets with TLS (transmit), decrypted (receive) */
};

enum tlsnic_tx_map {
	TLSNIC_TX_NONE,		/* nothing to unmap: a presync block */
	TLSNIC_TX_SINGLE,
	TLSNIC_TX_PAGE,
	TLSNIC_TX_PREFIX,	/* a page of a record: unmap and put */
};

/* What a transmit descriptor points to. */
struct tlsnic_tx_buffer {
	struct sk_buff *skb;	/* with a packet's last descriptor */
	struct page *page;	/* TLSNIC_TX_PREFIX */
	dma_addr_t dma;
	u32 length;
	u8 map;
};

struct tlsnic_tx_queue {
	struct tlsnic_ring ring;
	struct netdev_queue *nq;
	struct tlsnic_tx_buffer *buffers;
	/* One block for each descriptor that may need it. */
	struct tlsnic_tls_presync *presync;
	dma_addr_t presync_dma;
	u32 tail;		/* next descriptor to fill */
	u32 head;		/* oldest descriptor not completed */
	u32 unreported;		/* packets since the last REPORT */
	struct tlsnic_tx_descriptor *last;	/* first data descriptor of the newest packet */
	struct tlsnic_queue_stats stats;
};

struct tlsnic_rx_queue {
	struct tlsnic_ring ring;
	struct page_pool *pool;
	struct page **pages;
	u32 tail;		/* next descriptor to fill */
	u32 head;		/* oldest buffer that the device has */
	struct tlsnic_queue_stats stats;
};

struct tlsnic_pair {
	struct tlsnic *nic;
	struct napi_struct napi;
	unsigned int index;
	struct tlsnic_tx_queue tx;
	struct tlsnic_rx_queue rx;
	char irq_name[IFNAMSIZ + 16];
};

#define TLSNIC_BLOCK_BYTES 512

/**
 * struct tlsnic_slot - a command under way
 * @id: command_id; its low bits are the slot's number
 * @done: completed by the response
 * @posted: the device has the command
 * @abandoned: nobody waits any more; the response frees the slot
 * @generation: of the device that has, or had, the command
 * @status: of the response
 * @result: of the response
 * @block: memory for what the command refers to
 * @block_dma: its address
 */
struct tlsnic_slot {
	u32 id;
	struct completion done;
	bool posted;
	bool abandoned;
	u32 generation;
	u16 status;
	u64 result;
	void *block;
	dma_addr_t block_dma;
};

struct tlsnic_admin {
	struct tlsnic_ring ring;
	spinlock_t lock;	/* everything here */
	u32 tail;
	u32 ids;
	DECLARE_BITMAP(used, TLSNIC_ADMIN_ENTRIES);
	struct tlsnic_slot slots[TLSNIC_ADMIN_ENTRIES];
	wait_queue_head_t room;
	unsigned long heard;	/* jiffies of the last response */
	void *blocks;
	dma_addr_t blocks_dma;
	bool up;
};

struct tlsnic_events {
	struct tlsnic_ring ring;
	spinlock_t lock;	/* the ring */
	bool up;
};

/* What only the driver can count. */
struct tlsnic_ktls_stats {
	atomic64_t tx_drop_no_sync_data;
	atomic64_t tx_drop_bypass_req;
	atomic64_t tx_fallback;
	atomic64_t add_failed;
};

enum {
	TLSNIC_PRIV_RX_HINT,
	TLSNIC_PRIV_RX_TAG,
	TLSNIC_PRIV_FLAGS
};

enum {
	TLSNIC_GONE,		/* all registers read as ones */
	TLSNIC_DOWN,		/* rings are not running */
	TLSNIC_RESTART,		/* work: rings are to be started again */
	TLSNIC_RESET,		/* work: the device is to be reset */
};

struct tlsnic {
	struct pci_dev *pdev;
	struct net_device *netdev;
	void __iomem *bar0;
	void __iomem *bar2;
	unsigned long state;
	u32 msg_enable;

	/* capabilities */
	u32 offloads;
	u64 tls_tx_suites;
	u64 tls_rx_suites;
	u32 max_entries;
	u32 max_chain;
	u32 max_frame;
	u32 max_segment;

	/* settings */
	unsigned int max_pairs;
	unsigned int num_pairs;
	u32 tx_entries;
	u32 rx_entries;
	u32 moderation;
	u32 priv_flags;
	u16 hash_types;
	u8 rss_key[TLSNIC_RSS_KEY_BYTES];
	u8 rss_table[TLSNIC_RSS_ENTRIES];
	u64 mac_filter[TLSNIC_REG_MAC_FILTER_COUNT];
	u64 vlan_filter[TLSNIC_REG_VLAN_FILTER_COUNT];

	bool msix;
	bool irq_ready;
	struct tlsnic_pair *pairs[TLSNIC_MAX_QUEUES];
	struct tlsnic_admin admin;
	struct tlsnic_events events;
	struct work_struct work;
	struct delayed_work watchdog;

	/* Flows by handle; those of an older generation died with a reset. Changed with
	 * admin.lock held.
	 */
	struct xarray flows;
	u32 generation;
	struct tlsnic_ktls_stats ktls;

	struct mutex counters_lock;	/* counters_base, counters_now */
	u64 counters_base[TLSNIC_COUNTERS];
	u64 counters_now[TLSNIC_COUNTERS];
	u64 tx_timeouts;
	u64 restarts;
	u64 resets;
};

static inline u32 tlsnic_read(const struct tlsnic *nic, u32 reg)
{
	return readl(nic->bar0 + reg);
}

static inline void tlsnic_write(const struct tlsnic *nic, u32 reg, u32 value)
{
	writel(value, nic->bar0 + reg);
}

static inline u64 tlsnic_read64(const struct tlsnic *nic, u32 reg)
{
	return readq(nic->bar0 + reg);
}

static inline void tlsnic_write64(const struct tlsnic *nic, u32 reg, u64 value)
{
	writeq(value, nic->bar0 + reg);
}

/* regs */
int tlsnic_hw_identify(struct tlsnic *nic);
int tlsnic_hw_reset(struct tlsnic *nic);
bool tlsnic_hw_gone(struct tlsnic *nic);
void tlsnic_hw_program(struct tlsnic *nic);
void tlsnic_hw_set_mac(struct tlsnic *nic);
void tlsnic_hw_set_mtu(struct tlsnic *nic, unsigned int mtu);
void tlsnic_hw_set_offloads(struct tlsnic *nic, netdev_features_t features);
void tlsnic_hw_set_moderation(struct tlsnic *nic);
void tlsnic_hw_set_events(struct tlsnic *nic);
void tlsnic_hw_set_rss(struct tlsnic *nic);
void tlsnic_hw_set_rx_filter(struct tlsnic *nic, netdev_features_t features);
void tlsnic_hw_set_vlan(struct tlsnic *nic, u16 vid, bool on);
void tlsnic_hw_set_traffic(struct tlsnic *nic, bool on);
bool tlsnic_hw_link_up(struct tlsnic *nic);

/* ring */
struct tlsnic_ring_layout {
	u32 regs;
	u32 doorbells;
	u32 desc_bytes;
	u32 size;
	u32 entry_bytes;
	u32 entries_size;
};

int tlsnic_ring_alloc(struct tlsnic *nic, struct tlsnic_ring *ring,
		      const struct tlsnic_ring_layout *layout);
void tlsnic_ring_free(struct tlsnic_ring *ring);
int tlsnic_ring_enable(struct tlsnic_ring *ring, unsigned int vector);
void tlsnic_ring_disable(struct tlsnic_ring *ring);
bool tlsnic_ring_broken(struct tlsnic_ring *ring);

/**
 * tlsnic_ring_peek - the next completion, or NULL
 * @ring: the queue's rings
 *
 * The last word is read first and by one load: the device writes it last.
 */
static inline const void *tlsnic_ring_peek(const struct tlsnic_ring *ring)
{
	const void *entry = ring->entries + (size_t)ring->next * ring->entry_bytes;
	const __le64 *last = entry + ring->entry_bytes - sizeof(*last);

	if (!!(le64_to_cpu(READ_ONCE(*last)) & BIT_ULL(63)) != ring->phase)
		return NULL;
	dma_rmb();
	return entry;
}

/* The completion that was peeked at has been dealt with. */
static inline void tlsnic_ring_pop(struct tlsnic_ring *ring)
{
	ring->armed = false;
	ring->next = (ring->next + 1) & (ring->entries_size - 1);
	if (!ring->next)
		ring->phase = !ring->phase;
}

/* Give completions back to the device. */
static inline void tlsnic_ring_return(struct tlsnic_ring *ring)
{
	writel(ring->next, ring->completion_doorbell);
}

/* Give completions back and ask for an interrupt, unless that was done and none came since. */
static inline void tlsnic_ring_arm(struct tlsnic_ring *ring)
{
	if (ring->armed)
		return;
	ring->armed = true;
	writel(ring->next | TLSNIC_TX_DOORBELL_COMPLETION_ARM_MASK, ring->completion_doorbell);
}

static inline void tlsnic_ring_set_tail(struct tlsnic_ring *ring, u32 tail)
{
	writel(tail, ring->tail_doorbell);
}

/* irq */
int tlsnic_irq_alloc(struct tlsnic *nic);
void tlsnic_irq_free(struct tlsnic *nic);
int tlsnic_irq_request_service(struct tlsnic *nic);
void tlsnic_irq_free_service(struct tlsnic *nic);
int tlsnic_irq_request_pairs(struct tlsnic *nic);
void tlsnic_irq_free_pairs(struct tlsnic *nic);
void tlsnic_irq_program(struct tlsnic *nic);
int tlsnic_irq_of(const struct tlsnic_pair *pair);

/* admin */
int tlsnic_admin_alloc(struct tlsnic *nic);
void tlsnic_admin_free(struct tlsnic *nic);
int tlsnic_admin_start(struct tlsnic *nic);
void tlsnic_admin_stop(struct tlsnic *nic);
void tlsnic_admin_poll(struct tlsnic *nic);
struct tlsnic_slot *tlsnic_admin_get(struct tlsnic *nic);
void tlsnic_admin_put(struct tlsnic *nic, struct tlsnic_slot *slot);
int tlsnic_admin_run(struct tlsnic *nic, struct tlsnic_slot *slot, void *command);
int tlsnic_admin_post(struct tlsnic *nic, void *command, u32 generation);
int tlsnic_admin_post_sleeping(struct tlsnic *nic, void *command, u32 generation);

/* event */
int tlsnic_events_alloc(struct tlsnic *nic);
void tlsnic_events_free(struct tlsnic *nic);
int tlsnic_events_start(struct tlsnic *nic);
void tlsnic_events_stop(struct tlsnic *nic);
void tlsnic_events_poll(struct tlsnic *nic);
void tlsnic_events_look_at_link(struct tlsnic *nic);

/* netdev */
int tlsnic_service_start(struct tlsnic *nic);
void tlsnic_service_stop(struct tlsnic *nic);
int tlsnic_up(struct tlsnic *nic);
void tlsnic_down(struct tlsnic *nic);
int tlsnic_change(struct tlsnic *nic, unsigned int pairs, u32 tx_entries, u32 rx_entries);
int tlsnic_reset(struct tlsnic *nic);
void tlsnic_quiesce(struct tlsnic *nic);
int tlsnic_revive(struct tlsnic *nic);
void tlsnic_request(struct tlsnic *nic, int what);
void tlsnic_netdev_init(struct tlsnic *nic);

/* tx */
int tlsnic_tx_alloc(struct tlsnic_pair *pair);
void tlsnic_tx_free(struct tlsnic_pair *pair);
int tlsnic_tx_start(struct tlsnic_pair *pair);
void tlsnic_tx_stop(struct tlsnic_pair *pair);
bool tlsnic_tx_poll(struct tlsnic_pair *pair, int budget);
netdev_tx_t tlsnic_start_xmit(struct sk_buff *skb, struct net_device *netdev);

/* rx */
int tlsnic_rx_alloc(struct tlsnic_pair *pair);
void tlsnic_rx_free(struct tlsnic_pair *pair);
int tlsnic_rx_start(struct tlsnic_pair *pair);
void tlsnic_rx_stop(struct tlsnic_pair *pair);
int tlsnic_rx_poll(struct tlsnic_pair *pair, int budget);

/* stats */
extern const struct netdev_stat_ops tlsnic_stat_ops;
void tlsnic_stats64(struct net_device *netdev, struct rtnl_link_stats64 *stats);
void tlsnic_counters_update(struct tlsnic *nic);
void tlsnic_counters_keep(struct tlsnic *nic);
int tlsnic_stats_count(const struct tlsnic *nic);
void tlsnic_stats_strings(const struct tlsnic *nic, u8 *data);
void tlsnic_stats_values(struct tlsnic *nic, u64 *data);

/* ethtool */
extern const struct ethtool_ops tlsnic_ethtool_ops;

/* ktls */

/* What a packet for transmit needs besides its own data. */
struct tlsnic_tls_packet {
	u32 handle;		/* zero: no TLS */
	bool presync;
	u16 flags;		/* of the presync block */
	u32 start;		/* TCP sequence number of the record */
	u64 number;
	u8 header[sizeof_field(struct tlsnic_tls_presync, record_header)];
	u32 prefix_length;
	int nr_prefix;
	skb_frag_t prefix[MAX_SKB_FRAGS];	/* each with a reference */
	u32 end;		/* TCP sequence number */
	u32 *expected;		/* where to note it, once the packet is posted; or NULL */
	bool *in_step;		/* the same for "true" */
};

#if IS_ENABLED(CONFIG_TLS_DEVICE)
void tlsnic_ktls_init(struct tlsnic *nic);
void tlsnic_ktls_exit(struct tlsnic *nic);
void tlsnic_ktls_rings_lost(struct tlsnic *nic);
struct sk_buff *tlsnic_ktls_tx(struct tlsnic *nic, struct sk_buff *skb,
			       struct tlsnic_tls_packet *packet);
void tlsnic_ktls_tx_release(struct tlsnic_tls_packet *packet, int from);
void tlsnic_ktls_tx_dropped(struct tlsnic *nic, u32 handle);
void tlsnic_ktls_rx_question(struct tlsnic *nic,
			     const struct tlsnic_resync_request_event *event);
#else
static inline void tlsnic_ktls_init(struct tlsnic *nic) {}
static inline void tlsnic_ktls_exit(struct tlsnic *nic) {}
static inline void tlsnic_ktls_rings_lost(struct tlsnic *nic) {}
static inline struct sk_buff *tlsnic_ktls_tx(struct tlsnic *nic, struct sk_buff *skb,
					     struct tlsnic_tls_packet *packet)
{
	return skb;
}

static inline void tlsnic_ktls_tx_release(struct tlsnic_tls_packet *packet, int from) {}
static inline void tlsnic_ktls_tx_dropped(struct tlsnic *nic, u32 handle) {}
static inline void
tlsnic_ktls_rx_question(struct tlsnic *nic,
			const struct tlsnic_resync_request_event *event) {}
#endif

#endif /* TLSNIC_H */
