// SPDX-License-Identifier: GPL-2.0
/*
 * Transmit. A packet is a chain of descriptors: presync block and record bytes where TLS needs
 * them, then head and fragments. Only the last packet before a doorbell asks for a completion, as
 * completions are cumulative.
 */
#include <linux/dma-mapping.h>
#include <linux/ip.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/netdev_queues.h>
#include <net/tcp.h>

#include "tlsnic.h"

/* A long burst asks for a completion now and then, so that its memory comes back. */
#define TLSNIC_TX_REPORT_EVERY 16

static u32 tlsnic_tx_free_entries(const struct tlsnic_tx_queue *tx)
{
	return (READ_ONCE(tx->head) - READ_ONCE(tx->tail) - 1) & (tx->ring.size - 1);
}

static struct tlsnic_tx_descriptor *tlsnic_tx_desc(struct tlsnic_tx_queue *tx, u32 index)
{
	return (struct tlsnic_tx_descriptor *)tx->ring.desc + index;
}

static void tlsnic_tx_unmap(struct device *dev, struct tlsnic_tx_buffer *buffer)
{
	switch (buffer->map) {
	case TLSNIC_TX_SINGLE:
		dma_unmap_single(dev, buffer->dma, buffer->length, DMA_TO_DEVICE);
		break;
	case TLSNIC_TX_PREFIX:
		dma_unmap_page(dev, buffer->dma, buffer->length, DMA_TO_DEVICE);
		put_page(buffer->page);
		break;
	case TLSNIC_TX_PAGE:
		dma_unmap_page(dev, buffer->dma, buffer->length, DMA_TO_DEVICE);
		break;
	}
	buffer->map = TLSNIC_TX_NONE;
}

/* Fill the next descriptor, and remember how to undo it. */
static void tlsnic_tx_add(struct tlsnic_tx_queue *tx, u32 *index, dma_addr_t dma, u32 length,
			  u16 flags, enum tlsnic_tx_map map, struct page *page)
{
	struct tlsnic_tx_buffer *buffer = &tx->buffers[*index];

	*tlsnic_tx_desc(tx, *index) = (struct tlsnic_tx_descriptor) {
		.address = cpu_to_le64(dma),
		.length = cpu_to_le32(length),
		.flags = cpu_to_le16(flags),
	};
	buffer->skb = NULL;
	buffer->page = page;
	buffer->dma = dma;
	buffer->length = length;
	buffer->map = map;
	*index = (*index + 1) & (tx->ring.size - 1);
}

static int tlsnic_tx_add_frag(struct tlsnic_tx_queue *tx, u32 *index, const skb_frag_t *frag,
			      u16 flags, enum tlsnic_tx_map map)
{
	struct device *dev = &tx->ring.nic->pdev->dev;
	dma_addr_t dma = skb_frag_dma_map(dev, frag, 0, skb_frag_size(frag), DMA_TO_DEVICE);

	if (dma_mapping_error(dev, dma))
		return -ENOMEM;
	tlsnic_tx_add(tx, index, dma, skb_frag_size(frag), flags, map, skb_frag_page(frag));
	return 0;
}

static void tlsnic_tx_undo(struct tlsnic_tx_queue *tx, u32 first, u32 end)
{
	for (; first != end; first = (first + 1) & (tx->ring.size - 1))
		tlsnic_tx_unmap(&tx->ring.nic->pdev->dev, &tx->buffers[first]);
}

/* The presync block, in the memory that belongs to its descriptor, and the record's bytes. */
static int tlsnic_tx_add_presync(struct tlsnic_tx_queue *tx, u32 *index,
				 struct tlsnic_tls_packet *tls)
{
	struct tlsnic_tls_presync *block = &tx->presync[*index];
	dma_addr_t dma = tx->presync_dma + *index * sizeof(*block);
	int i;

	*block = (struct tlsnic_tls_presync) {
		.tcp_sequence = cpu_to_le32(tls->start),
		.flags = cpu_to_le16(tls->flags),
		.prefix_length = cpu_to_le16(tls->prefix_length),
		.record_number = cpu_to_le64(tls->number),
	};
	memcpy(block->record_header, tls->header, sizeof(block->record_header));
	tlsnic_tx_add(tx, index, dma, sizeof(*block), TLSNIC_TX_FLAGS_PRESYNC, TLSNIC_TX_NONE,
		      NULL);
	for (i = 0; i < tls->nr_prefix; i++) {
		if (tlsnic_tx_add_frag(tx, index, &tls->prefix[i], TLSNIC_TX_FLAGS_PREFIX,
				       TLSNIC_TX_PREFIX)) {
			tlsnic_ktls_tx_release(tls, i);
			return -ENOMEM;
		}
	}
	return 0;
}

/* Offloads of the first data descriptor. */
static void tlsnic_tx_offloads(struct sk_buff *skb, const struct tlsnic_tls_packet *tls,
			       struct tlsnic_tx_descriptor *desc)
{
	u16 flags = 0;

	if (skb_is_gso(skb)) {
		flags |= TLSNIC_TX_FLAGS_SEGMENT;
		desc->mss = cpu_to_le16(skb_shinfo(skb)->gso_size);
		desc->header_length = cpu_to_le16(skb_tcp_all_headers(skb));
	} else if (tls->handle) {
		/* What is encrypted gets its checksum afterwards, whoever made the one in it. */
		flags |= TLSNIC_TX_FLAGS_L4_CHECKSUM;
	} else if (skb->ip_summed == CHECKSUM_PARTIAL) {
		flags |= TLSNIC_TX_FLAGS_L4_CHECKSUM;
	}
	if (tls->handle) {
		flags |= TLSNIC_TX_FLAGS_TLS;
		desc->send_tag = cpu_to_le32(tls->handle);
		desc->header_length = cpu_to_le16(skb_tcp_all_headers(skb));
	}
	if (skb_vlan_tag_present(skb)) {
		flags |= TLSNIC_TX_FLAGS_VLAN_INSERT;
		desc->vlan_tci = cpu_to_le16(skb_vlan_tag_get(skb));
	}
	desc->flags = cpu_to_le16(flags);
}

/* Tell the device of everything posted; the newest packet reports. */
static void tlsnic_tx_kick(struct tlsnic_tx_queue *tx)
{
	if (tx->last) {
		tx->last->flags |= cpu_to_le16(TLSNIC_TX_FLAGS_REPORT);
		tx->last = NULL;
		tx->unreported = 0;
	}
	tlsnic_ring_set_tail(&tx->ring, tx->tail);
}

static int tlsnic_tx_post(struct tlsnic_tx_queue *tx, struct sk_buff *skb,
			  struct tlsnic_tls_packet *tls)
{
	struct device *dev = &tx->ring.nic->pdev->dev;
	u32 index = tx->tail, first;
	struct tlsnic_tx_descriptor *desc, head = {};
	dma_addr_t dma;
	int i;

	if (tls->presync && tlsnic_tx_add_presync(tx, &index, tls))
		goto undo;
	dma = dma_map_single(dev, skb->data, skb_headlen(skb), DMA_TO_DEVICE);
	if (dma_mapping_error(dev, dma))
		goto undo;
	first = index;
	tlsnic_tx_add(tx, &index, dma, skb_headlen(skb), 0, TLSNIC_TX_SINGLE, NULL);
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++)
		if (tlsnic_tx_add_frag(tx, &index, &skb_shinfo(skb)->frags[i], 0,
				       TLSNIC_TX_PAGE))
			goto undo;

	tlsnic_tx_offloads(skb, tls, &head);
	desc = tlsnic_tx_desc(tx, first);
	head.address = desc->address;
	head.length = desc->length;
	*desc = head;
	if (++tx->unreported >= TLSNIC_TX_REPORT_EVERY) {
		desc->flags |= cpu_to_le16(TLSNIC_TX_FLAGS_REPORT);
		tx->unreported = 0;
	}
	tx->last = desc;
	i = (index - 1) & (tx->ring.size - 1);
	tlsnic_tx_desc(tx, i)->flags |= cpu_to_le16(TLSNIC_TX_FLAGS_END_OF_PACKET);
	tx->buffers[i].skb = skb;
	if (tls->expected)
		*tls->expected = tls->end;
	if (tls->in_step)
		WRITE_ONCE(*tls->in_step, true);
	WRITE_ONCE(tx->tail, index);
	return 0;

undo:
	tlsnic_tx_undo(tx, tx->tail, index);
	return -ENOMEM;
}

/* Checksums that the device cannot do are done here. */
static int tlsnic_tx_checksum(struct sk_buff *skb)
{
	if (skb->ip_summed != CHECKSUM_PARTIAL || skb_is_gso(skb))
		return 0;
	if (skb->csum_offset == offsetof(struct tcphdr, check) ||
	    skb->csum_offset == offsetof(struct udphdr, check))
		return 0;
	return skb_checksum_help(skb);
}

netdev_tx_t tlsnic_start_xmit(struct sk_buff *skb, struct net_device *netdev)
{
	struct tlsnic *nic = netdev_priv(netdev);
	struct tlsnic_tx_queue *tx = &nic->pairs[skb_get_queue_mapping(skb)]->tx;
	struct tlsnic_tls_packet tls;
	unsigned int length;

	tls.handle = 0;
	tls.presync = false;
	tls.nr_prefix = 0;
	tls.expected = NULL;
	tls.in_step = NULL;
	/* Stopped already, unless something else has woken all queues. */
	if (unlikely(!netif_txq_maybe_stop(tx->nq, tlsnic_tx_free_entries(tx), TLSNIC_TX_ROOM,
					   TLSNIC_TX_WAKE)))
		return NETDEV_TX_BUSY;
	skb = tlsnic_ktls_tx(nic, skb, &tls);
	if (!skb)
		goto dropped;
	if (unlikely(tlsnic_tx_checksum(skb)))
		goto drop;
	if (unlikely(1 + skb_shinfo(skb)->nr_frags + tls.presync + tls.nr_prefix >
		     nic->max_chain)) {
		/* Only where the kernel has more fragments to a packet than usual. */
		if (skb_linearize(skb))
			goto drop;
	}
	length = skb->len;
	skb_tx_timestamp(skb);
	if (unlikely(tlsnic_tx_post(tx, skb, &tls))) {
		tls.nr_prefix = 0;
		goto drop;
	}
	u64_stats_update_begin(&tx->stats.sync);
	u64_stats_inc(&tx->stats.packets);
	u64_stats_add(&tx->stats.bytes, length);
	if (tls.handle)
		u64_stats_inc(&tx->stats.tls);
	u64_stats_update_end(&tx->stats.sync);
	netif_txq_maybe_stop(tx->nq, tlsnic_tx_free_entries(tx), TLSNIC_TX_ROOM,
			     TLSNIC_TX_WAKE);
	if (__netdev_tx_sent_queue(tx->nq, length, netdev_xmit_more()))
		tlsnic_tx_kick(tx);
	return NETDEV_TX_OK;

drop:
	tlsnic_ktls_tx_release(&tls, 0);
	dev_kfree_skb_any(skb);
dropped:
	u64_stats_update_begin(&tx->stats.sync);
	u64_stats_inc(&tx->stats.dropped);
	u64_stats_update_end(&tx->stats.sync);
	if (!netdev_xmit_more() && tx->last)
		tlsnic_tx_kick(tx);
	return NETDEV_TX_OK;
}

/* Free what is done, up to the index `head`; returns the number of packets. */
static unsigned int tlsnic_tx_reap(struct tlsnic_tx_queue *tx, u32 head, unsigned int *bytes,
				   int budget)
{
	struct device *dev = &tx->ring.nic->pdev->dev;
	unsigned int packets = 0;
	u32 at = tx->head;

	for (; at != head; at = (at + 1) & (tx->ring.size - 1)) {
		struct tlsnic_tx_buffer *buffer = &tx->buffers[at];

		tlsnic_tx_unmap(dev, buffer);
		if (!buffer->skb)
			continue;
		packets++;
		*bytes += buffer->skb->len;
		napi_consume_skb(buffer->skb, budget);
		buffer->skb = NULL;
	}
	WRITE_ONCE(tx->head, at);
	return packets;
}

/**
 * tlsnic_tx_poll - take in completions
 * @pair: the queue pair
 * @budget: of NAPI; zero when packets must be freed for any context
 *
 * Return: whether there may be more.
 */
bool tlsnic_tx_poll(struct tlsnic_pair *pair, int budget)
{
	struct tlsnic_tx_queue *tx = &pair->tx;
	const struct tlsnic_tx_completion *completion;
	unsigned int packets = 0, bytes = 0, dropped = 0;
	unsigned int left = tx->ring.entries_size / 2;

	while (left && (completion = tlsnic_ring_peek(&tx->ring))) {
		u32 head = le32_to_cpu(completion->head) & (tx->ring.size - 1);

		if (unlikely(le16_to_cpu(completion->status) != TLSNIC_TX_STATUS_OK)) {
			dropped++;
			if (completion->send_tag)
				tlsnic_ktls_tx_dropped(pair->nic,
						       le32_to_cpu(completion->send_tag));
		}
		packets += tlsnic_tx_reap(tx, head, &bytes, budget);
		tlsnic_ring_pop(&tx->ring);
		left--;
	}
	if (dropped) {
		/* Counted by the device too, by reason. */
		netif_dbg(pair->nic, tx_err, pair->nic->netdev, "%u packets dropped\n", dropped);
	}
	if (packets)
		netif_txq_completed_wake(tx->nq, packets, bytes, tlsnic_tx_free_entries(tx),
					 TLSNIC_TX_WAKE);
	return !left;
}

int tlsnic_tx_alloc(struct tlsnic_pair *pair)
{
	struct tlsnic *nic = pair->nic;
	struct tlsnic_ring_layout layout = {
		.regs = TLSNIC_REG_TX_QUEUE_RING_BASE +
			pair->index * TLSNIC_REG_TX_QUEUE_STRIDE,
		.doorbells = TLSNIC_REG_TX_DOORBELL_TAIL +
			     pair->index * TLSNIC_REG_TX_DOORBELL_STRIDE,
		.desc_bytes = sizeof(struct tlsnic_tx_descriptor),
		.size = nic->tx_entries,
		.entry_bytes = sizeof(struct tlsnic_tx_completion),
		.entries_size = min(2 * nic->tx_entries, nic->max_entries),
	};
	struct tlsnic_tx_queue *tx = &pair->tx;

	if (tlsnic_ring_alloc(nic, &tx->ring, &layout))
		return -ENOMEM;
	tx->buffers = kvcalloc(tx->ring.size, sizeof(*tx->buffers), GFP_KERNEL);
	tx->presync = dma_alloc_coherent(&nic->pdev->dev, tx->ring.size * sizeof(*tx->presync),
					 &tx->presync_dma, GFP_KERNEL);
	if (!tx->buffers || !tx->presync) {
		tlsnic_tx_free(pair);
		return -ENOMEM;
	}
	return 0;
}

void tlsnic_tx_free(struct tlsnic_pair *pair)
{
	struct tlsnic_tx_queue *tx = &pair->tx;

	if (tx->presync)
		dma_free_coherent(&pair->nic->pdev->dev, tx->ring.size * sizeof(*tx->presync),
				  tx->presync, tx->presync_dma);
	tx->presync = NULL;
	kvfree(tx->buffers);
	tx->buffers = NULL;
	tlsnic_ring_free(&tx->ring);
}

int tlsnic_tx_start(struct tlsnic_pair *pair)
{
	struct tlsnic_tx_queue *tx = &pair->tx;

	tx->nq = netdev_get_tx_queue(pair->nic->netdev, pair->index);
	tx->tail = 0;
	tx->head = 0;
	tx->unreported = 0;
	tx->last = NULL;
	return tlsnic_ring_enable(&tx->ring, pair->index + 1);
}

/* Stop the queue and drop what it has. The network core does not transmit any more. */
void tlsnic_tx_stop(struct tlsnic_pair *pair)
{
	struct tlsnic_tx_queue *tx = &pair->tx;
	unsigned int bytes = 0;

	tlsnic_ring_disable(&tx->ring);
	tlsnic_tx_reap(tx, tx->tail, &bytes, 0);
	if (tx->nq)
		netdev_tx_reset_queue(tx->nq);
}
