// SPDX-License-Identifier: GPL-2.0
/*
 * TLS flows: made and destroyed as the TLS stack asks. A flow that the device does not take, or has
 * lost by a reset, is no error: its connection goes on in software.
 */
#include <linux/inet.h>
#include <net/ipv6.h>

#include "tlsnic_ktls.h"

/*
 * What the TLS stack can encrypt again where a record came half decrypted: AES-GCM. On receive it
 * asks for other ciphers, too, and cannot go on after a loss when it gets them.
 */
static u64 tlsnic_find_suite(u64 offered, const struct tls_crypto_info *info)
{
	if (info->version != TLS_1_2_VERSION)
		return 0;
	switch (info->cipher_type) {
	case TLS_CIPHER_AES_GCM_128:
		return offered & TLSNIC_CIPHER_SUITE_TLS12_AES_128_GCM;
	case TLS_CIPHER_AES_GCM_256:
		return offered & TLSNIC_CIPHER_SUITE_TLS12_AES_256_GCM;
	default:
		return 0;
	}
}

static void tlsnic_fill_keys(struct tlsnic_tls_flow *block, const void *key, size_t key_bytes,
			     const void *salt, size_t salt_bytes, const void *number)
{
	memcpy(block->key, key, key_bytes);
	memcpy(block->iv, salt, salt_bytes);
	block->key_length = cpu_to_le16(key_bytes);
	block->iv_length = cpu_to_le16(salt_bytes);
	block->record_number = cpu_to_le64(get_unaligned_be64(number));
}

/* The explicit nonce is in the records. */
static void tlsnic_fill_crypto(struct tlsnic_tls_flow *block, const struct tls_crypto_info *info)
{
	if (info->cipher_type == TLS_CIPHER_AES_GCM_128) {
		const struct tls12_crypto_info_aes_gcm_128 *gcm = (const void *)info;

		tlsnic_fill_keys(block, gcm->key, sizeof(gcm->key), gcm->salt, sizeof(gcm->salt),
				 gcm->rec_seq);
	} else {
		const struct tls12_crypto_info_aes_gcm_256 *gcm = (const void *)info;

		tlsnic_fill_keys(block, gcm->key, sizeof(gcm->key), gcm->salt, sizeof(gcm->salt),
				 gcm->rec_seq);
	}
}

static void tlsnic_fill_ipv4(struct tlsnic_tls_flow *block, const struct sock *sk)
{
	block->ip_version = 4;
	memcpy(block->local_address, &sk->sk_rcv_saddr, sizeof(sk->sk_rcv_saddr));
	memcpy(block->remote_address, &sk->sk_daddr, sizeof(sk->sk_daddr));
}

static int tlsnic_fill_addresses(struct tlsnic_tls_flow *block, const struct sock *sk)
{
	switch (sk->sk_family) {
	case AF_INET:
		tlsnic_fill_ipv4(block, sk);
		break;
#if IS_ENABLED(CONFIG_IPV6)
	case AF_INET6:
		if (ipv6_addr_v4mapped(&sk->sk_v6_daddr)) {
			tlsnic_fill_ipv4(block, sk);
			break;
		}
		block->ip_version = 6;
		memcpy(block->local_address, &sk->sk_v6_rcv_saddr, sizeof(sk->sk_v6_rcv_saddr));
		memcpy(block->remote_address, &sk->sk_v6_daddr, sizeof(sk->sk_v6_daddr));
		break;
#endif
	default:
		return -EOPNOTSUPP;
	}
	block->local_port = cpu_to_le16(ntohs(inet_sk(sk)->inet_sport));
	block->remote_port = cpu_to_le16(ntohs(sk->sk_dport));
	return 0;
}

static u16 tlsnic_flow_flags(const struct tlsnic *nic, enum tls_offload_ctx_dir direction)
{
	u16 flags = 0;

	if (direction == TLS_OFFLOAD_CTX_DIR_TX)
		return 0;
	if (!(nic->priv_flags & BIT(TLSNIC_PRIV_RX_HINT)))
		flags |= TLSNIC_TLS_FLOW_FLAGS_RESYNC_HOST;
	if (nic->priv_flags & BIT(TLSNIC_PRIV_RX_TAG))
		flags |= TLSNIC_TLS_FLOW_FLAGS_RESYNC_TAG;
	return flags;
}

static int tlsnic_flow_create(struct tlsnic *nic, struct sock *sk, struct tlsnic_flow *flow,
			      enum tls_offload_ctx_dir direction,
			      const struct tls_crypto_info *info, u32 start)
{
	bool transmit = direction == TLS_OFFLOAD_CTX_DIR_TX;
	struct tlsnic_tls_flow_create_command command = {
		.opcode = cpu_to_le16(TLSNIC_TLS_FLOW_CREATE_COMMAND_OPCODE),
		.length = cpu_to_le32(sizeof(struct tlsnic_tls_flow)),
	};
	struct tlsnic_tls_flow *block;
	struct tlsnic_slot *slot;
	u64 suite;
	int error;

	suite = tlsnic_find_suite(transmit ? nic->tls_tx_suites : nic->tls_rx_suites, info);
	if (!suite)
		return -EOPNOTSUPP;
	slot = tlsnic_admin_get(nic);
	block = slot->block;
	memset(block, 0, sizeof(*block));
	block->direction = transmit ? TLSNIC_TLS_DIRECTION_TRANSMIT : TLSNIC_TLS_DIRECTION_RECEIVE;
	block->flags = cpu_to_le16(tlsnic_flow_flags(nic, direction));
	block->tls_version = cpu_to_le16(info->version);
	block->suite = cpu_to_le64(suite);
	block->tcp_sequence = cpu_to_le32(start);
	tlsnic_fill_crypto(block, info);
	error = tlsnic_fill_addresses(block, sk);
	if (!error) {
		command.address = cpu_to_le64(slot->block_dma);
		error = tlsnic_admin_run(nic, slot, &command);
	}
	flow->handle = lower_32_bits(slot->result);
	flow->generation = slot->generation;
	/* The key in the block is overwritten. */
	tlsnic_admin_put(nic, slot);
	return error;
}

static void tlsnic_flow_destroy(struct tlsnic *nic, struct tlsnic_flow *flow)
{
	struct tlsnic_tls_flow_destroy_command command = {
		.opcode = cpu_to_le16(TLSNIC_TLS_FLOW_DESTROY_COMMAND_OPCODE),
		.handle = cpu_to_le32(flow->handle),
	};

	/* From the command on handle and addresses are free; the rest need not be waited for. */
	tlsnic_admin_post_sleeping(nic, &command, flow->generation);
}

static int tlsnic_tls_add(struct net_device *netdev, struct sock *sk,
			  enum tls_offload_ctx_dir direction, struct tls_crypto_info *info,
			  u32 start)
{
	struct tlsnic *nic = netdev_priv(netdev);
	struct tlsnic_flow *flow;
	int error;

	flow = kzalloc(sizeof(*flow), GFP_KERNEL);
	if (!flow)
		return -ENOMEM;
	spin_lock_init(&flow->lock);
	flow->expected = start;
	flow->in_step = true;
	error = tlsnic_flow_create(nic, sk, flow, direction, info, start);
	if (error)
		goto free;
	error = xa_err(xa_store_irq(&nic->flows, flow->handle, flow, GFP_KERNEL));
	if (error) {
		tlsnic_flow_destroy(nic, flow);
		goto free;
	}
	if (direction == TLS_OFFLOAD_CTX_DIR_RX)
		tlsnic_ktls_rx_setup(nic, sk, flow);
	*tlsnic_flow_place(tls_get_ctx(sk), direction) = flow;
	return 0;

free:
	kfree(flow);
	atomic64_inc(&nic->ktls.add_failed);
	return error;
}

static void tlsnic_tls_del(struct net_device *netdev, struct tls_context *context,
			   enum tls_offload_ctx_dir direction)
{
	struct tlsnic_flow **place = tlsnic_flow_place(context, direction);
	struct tlsnic *nic = netdev_priv(netdev);
	struct tlsnic_flow *flow = *place;

	/* One of an older generation may have the number of a new one. */
	xa_cmpxchg_irq(&nic->flows, flow->handle, flow, NULL, GFP_KERNEL);
	tlsnic_flow_destroy(nic, flow);
	*place = NULL;
	kfree_rcu(flow, rcu);
}

static int tlsnic_tls_resync(struct net_device *netdev, struct sock *sk, u32 seq, u8 *number,
			     enum tls_offload_ctx_dir direction)
{
	struct tlsnic *nic = netdev_priv(netdev);
	struct tlsnic_flow *flow = *tlsnic_flow_place(tls_get_ctx(sk), direction);

	/* On transmit the driver helps itself: tlsnic_ktls_tx.c. */
	if (direction == TLS_OFFLOAD_CTX_DIR_TX || !flow || !tlsnic_flow_alive(nic, flow))
		return -EOPNOTSUPP;
	return tlsnic_ktls_rx_resync(nic, flow, seq, get_unaligned_be64(number));
}

static const struct tlsdev_ops tlsnic_tlsdev_ops = {
	.tls_dev_add = tlsnic_tls_add,
	.tls_dev_del = tlsnic_tls_del,
	.tls_dev_resync = tlsnic_tls_resync,
};

/* Offer what the device has. */
void tlsnic_ktls_init(struct tlsnic *nic)
{
	struct net_device *netdev = nic->netdev;
	netdev_features_t features = 0;

	xa_init_flags(&nic->flows, XA_FLAGS_LOCK_IRQ);
	if (nic->offloads & TLSNIC_OFFLOAD_TX_TLS && nic->tls_tx_suites)
		features |= NETIF_F_HW_TLS_TX;
	if (nic->offloads & TLSNIC_OFFLOAD_RX_TLS && nic->tls_rx_suites)
		features |= NETIF_F_HW_TLS_RX;
	if (!features)
		return;
	netdev->hw_features |= features;
	netdev->features |= features;
	netdev->tlsdev_ops = &tlsnic_tlsdev_ops;
}

void tlsnic_ktls_exit(struct tlsnic *nic)
{
	WARN_ON_ONCE(!xa_empty(&nic->flows));
	xa_destroy(&nic->flows);
}
