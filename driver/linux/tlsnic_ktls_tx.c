// SPDX-License-Identifier: GPL-2.0
/*
 * Packets of TLS flows on transmit. The device encrypts in the order of TCP sequence numbers. A
 * packet that is not next gets a presync block, from the records that the TLS stack keeps until
 * they are acknowledged: a retransmission leaves the device's place in the stream where it is, any
 * other moves it. What the device cannot do is encrypted by the TLS stack, here and now.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <net/tcp.h>

#include "tlsnic_ktls.h"

enum tlsnic_sync {
	TLSNIC_SYNC_DONE,
	TLSNIC_SYNC_BEFORE_START,
	TLSNIC_SYNC_BOTH_SIDES,		/* of the start of offload */
	TLSNIC_SYNC_NO_RECORD,		/* acknowledged, and forgotten */
};

/* Header and nonce, which are in the record's first fragment, and nothing of its content. */
static void tlsnic_copy_header(u8 *header, size_t bytes, const struct tls_record_info *record)
{
	memcpy(header, skb_frag_address(&record->frags[0]),
	       min_t(size_t, bytes, skb_frag_size(&record->frags[0])));
}

/* The record's bytes before the packet, each fragment with a reference. */
static void tlsnic_take_prefix(struct tlsnic_tls_packet *packet,
			       const struct tls_record_info *record, u32 bytes)
{
	packet->prefix_length = bytes;
	while (bytes) {
		skb_frag_t *frag = &packet->prefix[packet->nr_prefix];
		u32 size;

		*frag = record->frags[packet->nr_prefix++];
		get_page(skb_frag_page(frag));
		size = min_t(u32, bytes, skb_frag_size(frag));
		skb_frag_size_set(frag, size);
		bytes -= size;
	}
}

static enum tlsnic_sync tlsnic_sync_with(struct tls_context *context, u32 seq, u32 length,
					 bool update, struct tlsnic_tls_packet *packet)
{
	struct tls_offload_context_tx *tx = tls_offload_ctx_tx(context);
	const struct tls_prot_info *prot = &context->prot_info;
	enum tlsnic_sync result = TLSNIC_SYNC_DONE;
	struct tls_record_info *record;
	unsigned long flags;
	u32 offset, end;

	packet->presync = true;
	packet->flags = 0;
	packet->start = 0;
	packet->number = 0;
	packet->prefix_length = 0;
	memset(packet->header, 0, sizeof(packet->header));

	spin_lock_irqsave(&tx->lock, flags);
	record = tls_get_record(tx, seq, &packet->number);
	if (!record) {
		result = TLSNIC_SYNC_NO_RECORD;
		goto unlock;
	}
	if (tls_record_is_start_marker(record)) {
		packet->number = 0;
		result = before(record->end_seq, seq + length) ? TLSNIC_SYNC_BOTH_SIDES :
								 TLSNIC_SYNC_BEFORE_START;
		goto unlock;
	}
	packet->start = tls_record_start_seq(record);
	if (before(seq, packet->start)) {
		result = TLSNIC_SYNC_NO_RECORD;
		goto unlock;
	}
	offset = seq - packet->start;
	end = offset + length;
	if (update)
		packet->flags |= TLSNIC_PRESYNC_FLAGS_UPDATE_STATE;
	/* The tag is over all of the record; a place in mid-record needs what is before it. */
	if (offset >= prot->prepend_size &&
	    (end > record->len - prot->tag_size || (update && end < record->len))) {
		packet->flags |= TLSNIC_PRESYNC_FLAGS_PREFIX;
		tlsnic_take_prefix(packet, record, offset);
	}
	tlsnic_copy_header(packet->header,
			   min_t(size_t, prot->prepend_size, sizeof(packet->header)), record);
unlock:
	spin_unlock_irqrestore(&tx->lock, flags);
	return result;
}

/* Encrypted by the TLS stack; NULL when it cannot be, and the packet is dropped. */
static struct sk_buff *tlsnic_tx_fallback(struct tlsnic *nic, struct sk_buff *skb,
					  struct tlsnic_tls_packet *packet)
{
	struct sk_buff *encrypted;

	packet->handle = 0;
	packet->presync = false;
	packet->expected = NULL;
	encrypted = tls_encrypt_skb(skb);
	if (encrypted) {
		skb_mark_not_on_list(encrypted);
		atomic64_inc(&nic->ktls.tx_fallback);
	}
	return encrypted;
}

/*
 * Whether the packet has the addresses and ports that the device knows its flow by: NAT and BPF may
 * have changed them.
 */
static bool tlsnic_tx_same_addresses(const struct sk_buff *skb)
{
	const struct tcphdr *tcp = tcp_hdr(skb);
	const struct sock *sk = skb->sk;

	if (tcp->source != inet_sk(sk)->inet_sport || tcp->dest != sk->sk_dport)
		return false;
	if (skb->protocol == htons(ETH_P_IP))
		return ip_hdr(skb)->saddr == sk->sk_rcv_saddr &&
		       ip_hdr(skb)->daddr == sk->sk_daddr;
#if IS_ENABLED(CONFIG_IPV6)
	return ipv6_addr_equal(&ipv6_hdr(skb)->saddr, &sk->sk_v6_rcv_saddr) &&
	       ipv6_addr_equal(&ipv6_hdr(skb)->daddr, &sk->sk_v6_daddr);
#else
	return false;
#endif
}

/**
 * tlsnic_ktls_tx - what a packet needs for TLS
 * @nic: the device
 * @skb: the packet, of whatever kind
 * @packet: filled in; its handle stays zero for a packet that is sent as it is
 *
 * Return: the packet to send, perhaps another; NULL when it was dropped.
 */
struct sk_buff *tlsnic_ktls_tx(struct tlsnic *nic, struct sk_buff *skb,
			       struct tlsnic_tls_packet *packet)
{
	struct tls_context *context;
	struct net_device *netdev;
	struct tlsnic_flow *flow;
	u32 seq, length;
	bool update;

	if (!tls_is_skb_tx_device_offloaded(skb))
		return skb;
	length = skb->len - skb_tcp_all_headers(skb);
	if (!length)
		return skb;
	context = tls_get_ctx(skb->sk);
	/* NULL while the TLS stack takes its flows away from an interface that went down. */
	netdev = rcu_dereference_bh(context->netdev);
	/* The flow is on another interface, and the route has changed: validated for this one, the
	 * packet was encrypted by the TLS stack.
	 */
	if (netdev && netdev != nic->netdev)
		return skb;
	flow = *tlsnic_flow_place(context, TLS_OFFLOAD_CTX_DIR_TX);
	if (unlikely(!flow || !tlsnic_flow_alive(nic, flow) || skb_vlan_tagged(skb) ||
		     !tlsnic_tx_same_addresses(skb)))
		return tlsnic_tx_fallback(nic, skb, packet);

	seq = ntohl(tcp_hdr(skb)->seq);
	packet->handle = flow->handle;
	packet->end = seq + length;
	if (likely(seq == flow->expected && READ_ONCE(flow->in_step))) {
		packet->expected = &flow->expected;
		return skb;
	}
	update = !READ_ONCE(flow->in_step) || after(packet->end, flow->expected);
	switch (tlsnic_sync_with(context, seq, length, update, packet)) {
	case TLSNIC_SYNC_DONE:
		if (1 + packet->nr_prefix + 1 + skb_shinfo(skb)->nr_frags > nic->max_chain) {
			tlsnic_ktls_tx_release(packet, 0);
			packet->nr_prefix = 0;
			return tlsnic_tx_fallback(nic, skb, packet);
		}
		if (update) {
			packet->expected = &flow->expected;
			packet->in_step = &flow->in_step;
		}
		return skb;
	case TLSNIC_SYNC_BEFORE_START:
		if (WARN_ON_ONCE(skb_is_decrypted(skb)))
			goto drop;
		packet->flags = TLSNIC_PRESYNC_FLAGS_BEFORE_START;
		return skb;
	case TLSNIC_SYNC_BOTH_SIDES:
		atomic64_inc(&nic->ktls.tx_drop_bypass_req);
		break;
	case TLSNIC_SYNC_NO_RECORD:
		/* TCP sends again what was acknowledged meanwhile: nobody waits for it. */
		atomic64_inc(&nic->ktls.tx_drop_no_sync_data);
		break;
	}
drop:
	dev_kfree_skb_any(skb);
	return NULL;
}

/* Give back the references to fragments that were not posted. */
void tlsnic_ktls_tx_release(struct tlsnic_tls_packet *packet, int from)
{
	for (; from < packet->nr_prefix; from++)
		put_page(skb_frag_page(&packet->prefix[from]));
}

/* The device dropped a packet of a flow, so it may not be where the driver thinks. */
void tlsnic_ktls_tx_dropped(struct tlsnic *nic, u32 handle)
{
	struct tlsnic_flow *flow;

	rcu_read_lock();
	flow = xa_load(&nic->flows, handle);
	if (flow)
		WRITE_ONCE(flow->in_step, false);
	rcu_read_unlock();
}

/* All transmit rings were emptied: no flow is where the driver thinks. */
void tlsnic_ktls_rings_lost(struct tlsnic *nic)
{
	struct tlsnic_flow *flow;
	unsigned long handle;

	rcu_read_lock();
	xa_for_each(&nic->flows, handle, flow)
		WRITE_ONCE(flow->in_step, false);
	rcu_read_unlock();
}
