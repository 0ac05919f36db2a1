// SPDX-License-Identifier: GPL-2.0
/*
 * Receive. A buffer is a page of the pool. Headers are copied to a packet's head, and what follows
 * them stays in the pages; a short packet is copied whole, and its page used again.
 */
#include <linux/etherdevice.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <net/gro.h>
#include <net/page_pool/helpers.h>
#include <net/tcp.h>

#include "tlsnic.h"

#define TLSNIC_RX_COPY 256
#define TLSNIC_RX_FILL_AT_ONCE 16

/* Offer pages to the device, as many as there is room for. False when memory is short. */
static bool tlsnic_rx_fill(struct tlsnic_rx_queue *rx)
{
	struct tlsnic_rx_descriptor *desc = rx->ring.desc;
	u32 mask = rx->ring.size - 1, tail = rx->tail;
	u32 room = (rx->head - tail - 1) & mask;
	bool all = true;

	if (room < TLSNIC_RX_FILL_AT_ONCE)
		return true;
	while (room--) {
		struct page *page = page_pool_dev_alloc_pages(rx->pool);

		if (unlikely(!page)) {
			all = false;
			break;
		}
		rx->pages[tail] = page;
		desc[tail].address = cpu_to_le64(page_pool_get_dma_addr(page));
		desc[tail].length = cpu_to_le32(TLSNIC_RX_BUFFER_BYTES);
		tail = (tail + 1) & mask;
	}
	if (tail != rx->tail) {
		rx->tail = tail;
		tlsnic_ring_set_tail(&rx->ring, tail);
	}
	return all;
}

static struct page *tlsnic_rx_take(struct tlsnic_rx_queue *rx, u32 bytes)
{
	struct page *page = rx->pages[rx->head];

	rx->pages[rx->head] = NULL;
	rx->head = (rx->head + 1) & (rx->ring.size - 1);
	page_pool_dma_sync_for_cpu(rx->pool, page, 0, bytes);
	return page;
}

/* The packet as a socket buffer, or NULL when memory is short; its buffers are taken either way. */
static struct sk_buff *tlsnic_rx_build(struct tlsnic_pair *pair, u32 length, u32 buffers)
{
	struct tlsnic_rx_queue *rx = &pair->rx;
	u32 part = min_t(u32, length, TLSNIC_RX_BUFFER_BYTES);
	struct page *page = tlsnic_rx_take(rx, part);
	void *data = page_address(page);
	struct sk_buff *skb;
	u32 head = length;

	skb = napi_alloc_skb(&pair->napi, TLSNIC_RX_COPY);
	if (unlikely(!skb)) {
		page_pool_recycle_direct(rx->pool, page);
		while (--buffers)
			page_pool_recycle_direct(rx->pool, tlsnic_rx_take(rx, 0));
		return NULL;
	}
	if (length > TLSNIC_RX_COPY)
		head = eth_get_headlen(pair->nic->netdev, data, TLSNIC_RX_COPY);
	memcpy(__skb_put(skb, head), data, ALIGN(head, sizeof(long)));
	if (head == part) {
		page_pool_recycle_direct(rx->pool, page);
	} else {
		skb_mark_for_recycle(skb);
		skb_add_rx_frag(skb, 0, page, head, part - head, TLSNIC_RX_BUFFER_BYTES);
	}
	while (--buffers) {
		length -= part;
		part = min_t(u32, length, TLSNIC_RX_BUFFER_BYTES);
		skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, tlsnic_rx_take(rx, part), 0, part,
				TLSNIC_RX_BUFFER_BYTES);
	}
	return skb;
}

/* Several segments that the device joined, as GRO would have. */
static void tlsnic_rx_joined(struct sk_buff *skb, const struct tlsnic_rx_completion *completion,
			     u16 flags)
{
	int offset = eth_type_vlan(skb->protocol) ? VLAN_HLEN : 0;
	struct skb_shared_info *info = skb_shinfo(skb);

	/* skb->data is behind the Ethernet header. */
	skb_set_network_header(skb, offset);
	/* What is joined has no IP options or extension headers. */
	offset += flags & TLSNIC_RX_FLAGS_IPV4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	skb_set_transport_header(skb, offset);
	info->gso_size = le16_to_cpu(completion->segment_bytes);
	info->gso_type = flags & TLSNIC_RX_FLAGS_IPV4 ? SKB_GSO_TCPV4 : SKB_GSO_TCPV6;
	NAPI_GRO_CB(skb)->count = le16_to_cpu(completion->segments);
	tcp_gro_complete(skb);
}

static void tlsnic_rx_offloads(struct tlsnic_pair *pair, struct sk_buff *skb,
			       const struct tlsnic_rx_completion *completion)
{
	u16 flags = le16_to_cpu(completion->flags);
	struct net_device *netdev = pair->nic->netdev;
	u16 type = le16_to_cpu(completion->hash_type);

	if (flags & TLSNIC_RX_FLAGS_L4_CHECKSUM_OK && netdev->features & NETIF_F_RXCSUM)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	if (flags & TLSNIC_RX_FLAGS_VLAN_STRIPPED)
		__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), le16_to_cpu(completion->vlan_tci));
	if (type && netdev->features & NETIF_F_RXHASH)
		skb_set_hash(skb, le32_to_cpu(completion->rss_hash),
			     type & (TLSNIC_HASH_TYPE_IPV4 | TLSNIC_HASH_TYPE_IPV6) ?
			     PKT_HASH_TYPE_L3 : PKT_HASH_TYPE_L4);
#if IS_ENABLED(CONFIG_TLS_DEVICE)
	if (completion->tls_state == TLSNIC_TLS_RX_STATE_DECRYPTED)
		skb->decrypted = 1;
#endif
	if (flags & TLSNIC_RX_FLAGS_COALESCED)
		tlsnic_rx_joined(skb, completion, flags);
}

/**
 * tlsnic_rx_poll - take in packets
 * @pair: the queue pair
 * @budget: how many at most
 *
 * Return: how many; the budget also when there are no buffers and filling must be tried again.
 */
int tlsnic_rx_poll(struct tlsnic_pair *pair, int budget)
{
	struct tlsnic_rx_queue *rx = &pair->rx;
	const struct tlsnic_rx_completion *completion;
	unsigned int bytes = 0, dropped = 0, decrypted = 0;
	int packets = 0;

	while (packets < budget && (completion = tlsnic_ring_peek(&rx->ring))) {
		u32 length = le32_to_cpu(completion->length);
		u32 buffers = le16_to_cpu(completion->buffers);
		struct sk_buff *skb;

		if (unlikely(le16_to_cpu(completion->index) != rx->head || length < ETH_HLEN ||
			     buffers != DIV_ROUND_UP(length, TLSNIC_RX_BUFFER_BYTES) ||
			     buffers > MAX_SKB_FRAGS)) {
			netdev_err(pair->nic->netdev, "receive completion out of order\n");
			tlsnic_request(pair->nic, TLSNIC_RESTART);
			break;
		}
		/* The question about a flow is written before the packet's completion. It must
		 * be with the TLS stack before the record that it is about.
		 */
		if (unlikely(completion->flags & cpu_to_le16(TLSNIC_RX_FLAGS_RESYNC)))
			tlsnic_events_poll(pair->nic);
		skb = tlsnic_rx_build(pair, length, buffers);
		packets++;
		if (unlikely(!skb)) {
			dropped++;
			tlsnic_ring_pop(&rx->ring);
			continue;
		}
		bytes += length;
		skb_record_rx_queue(skb, pair->index);
		skb->protocol = eth_type_trans(skb, pair->nic->netdev);
		tlsnic_rx_offloads(pair, skb, completion);
		decrypted += completion->tls_state == TLSNIC_TLS_RX_STATE_DECRYPTED;
		tlsnic_ring_pop(&rx->ring);
		napi_gro_receive(&pair->napi, skb);
	}
	if (packets) {
		u64_stats_update_begin(&rx->stats.sync);
		u64_stats_add(&rx->stats.packets, packets - dropped);
		u64_stats_add(&rx->stats.bytes, bytes);
		u64_stats_add(&rx->stats.dropped, dropped);
		u64_stats_add(&rx->stats.tls, decrypted);
		u64_stats_update_end(&rx->stats.sync);
	}
	if (unlikely(!tlsnic_rx_fill(rx)) && rx->tail == rx->head)
		return budget;
	return packets;
}

int tlsnic_rx_alloc(struct tlsnic_pair *pair)
{
	struct tlsnic *nic = pair->nic;
	struct tlsnic_ring_layout layout = {
		.regs = TLSNIC_REG_RX_QUEUE_RING_BASE +
			pair->index * TLSNIC_REG_RX_QUEUE_STRIDE,
		.doorbells = TLSNIC_REG_RX_DOORBELL_TAIL +
			     pair->index * TLSNIC_REG_RX_DOORBELL_STRIDE,
		.desc_bytes = sizeof(struct tlsnic_rx_descriptor),
		.size = nic->rx_entries,
		.entry_bytes = sizeof(struct tlsnic_rx_completion),
		/* Buffers are offered again before completions are returned. */
		.entries_size = min(2 * nic->rx_entries, nic->max_entries),
	};
	struct page_pool_params params = {
		.flags = PP_FLAG_DMA_MAP | PP_FLAG_DMA_SYNC_DEV,
		.pool_size = nic->rx_entries,
		.nid = NUMA_NO_NODE,
		.dev = &nic->pdev->dev,
		.napi = &pair->napi,
		.dma_dir = DMA_FROM_DEVICE,
		.max_len = TLSNIC_RX_BUFFER_BYTES,
		.netdev = nic->netdev,
	};
	struct tlsnic_rx_queue *rx = &pair->rx;

	if (tlsnic_ring_alloc(nic, &rx->ring, &layout))
		return -ENOMEM;
	rx->pages = kvcalloc(rx->ring.size, sizeof(*rx->pages), GFP_KERNEL);
	if (!rx->pages)
		goto free;
	rx->pool = page_pool_create(&params);
	if (IS_ERR(rx->pool)) {
		rx->pool = NULL;
		goto free;
	}
	return 0;

free:
	tlsnic_rx_free(pair);
	return -ENOMEM;
}

void tlsnic_rx_free(struct tlsnic_pair *pair)
{
	struct tlsnic_rx_queue *rx = &pair->rx;

	if (rx->pool)
		page_pool_destroy(rx->pool);
	rx->pool = NULL;
	kvfree(rx->pages);
	rx->pages = NULL;
	tlsnic_ring_free(&rx->ring);
}

/* Start the queue, with buffers. */
int tlsnic_rx_start(struct tlsnic_pair *pair)
{
	struct tlsnic_rx_queue *rx = &pair->rx;
	int error;

	rx->tail = 0;
	rx->head = 0;
	error = tlsnic_ring_enable(&rx->ring, pair->index + 1);
	if (error)
		return error;
	local_bh_disable();
	tlsnic_rx_fill(rx);
	local_bh_enable();
	if (rx->tail != rx->head)
		return 0;
	tlsnic_rx_stop(pair);
	return -ENOMEM;
}

/* Stop the queue, and give its buffers back. */
void tlsnic_rx_stop(struct tlsnic_pair *pair)
{
	struct tlsnic_rx_queue *rx = &pair->rx;

	tlsnic_ring_disable(&rx->ring);
	while (rx->head != rx->tail) {
		page_pool_put_full_page(rx->pool, rx->pages[rx->head], false);
		rx->pages[rx->head] = NULL;
		rx->head = (rx->head + 1) & (rx->ring.size - 1);
	}
}
