// SPDX-License-Identifier: GPL-2.0
/*
 * Counters: those of the device, read all at one moment by a command, those of the queues, and the
 * few that only the driver can know. The device's begin at zero with each reset; what they were
 * before is added.
 */
#include <net/netdev_queues.h>

#include "tlsnic.h"

struct tlsnic_counter_name {
	char name[ETH_GSTRING_LEN];
	u16 index;
};

#define COUNTER(text, register) { .name = text, .index = TLSNIC_COUNTER(register) }

/* The names of TLS counters are those of the kernel's tls-offload document, where it has them. */
static const struct tlsnic_counter_name tlsnic_counter_names[] = {
	COUNTER("tx_fetched_packets", TX_PACKETS),
	COUNTER("tx_sent_packets", TX_SENT_PACKETS),
	COUNTER("tx_wire_frames", TX_FRAMES),
	COUNTER("tx_wire_bytes", TX_BYTES),
	COUNTER("tx_segmented", TX_SEGMENTED),
	COUNTER("tx_drop_link_down", TX_DROP_LINK_DOWN),
	COUNTER("tx_drop_bad_packet", TX_DROP_BAD_PACKET),
	COUNTER("tx_drop_dma", TX_DROP_DMA),
	COUNTER("tx_drop_tls", TX_DROP_TLS),
	COUNTER("tx_wire_busy", TX_WIRE_BUSY),
	COUNTER("rx_wire_frames", RX_WIRE_FRAMES),
	COUNTER("rx_frames", RX_FRAMES),
	COUNTER("rx_wire_bytes", RX_BYTES),
	COUNTER("rx_delivered_packets", RX_PACKETS),
	COUNTER("rx_multicast", RX_MULTICAST),
	COUNTER("rx_broadcast", RX_BROADCAST),
	COUNTER("rx_checksum_bad", RX_CHECKSUM_BAD),
	COUNTER("rx_coalesced", RX_COALESCED),
	COUNTER("rx_drop_disabled", RX_DROP_DISABLED),
	COUNTER("rx_drop_filter", RX_DROP_FILTER),
	COUNTER("rx_drop_runt", RX_DROP_RUNT),
	COUNTER("rx_drop_oversize", RX_DROP_OVERSIZE),
	COUNTER("rx_drop_no_buffer", RX_DROP_NO_BUFFER),
	COUNTER("rx_drop_dma", RX_DROP_DMA),
	COUNTER("interrupts", INTERRUPTS),
	COUNTER("events_lost", EVENTS_LOST),
	COUNTER("tx_tls_encrypted_packets", TX_TLS_ENCRYPTED_PACKETS),
	COUNTER("tx_tls_encrypted_bytes", TX_TLS_ENCRYPTED_BYTES),
	COUNTER("tx_tls_ctx", TX_TLS_CTX),
	COUNTER("tx_tls_del", TX_TLS_DEL),
	COUNTER("tx_tls_ooo", TX_TLS_OOO),
	COUNTER("tx_tls_presync", TX_TLS_PRESYNC),
	COUNTER("tx_tls_skip_no_sync_data", TX_TLS_SKIP_NO_SYNC_DATA),
	COUNTER("tx_tls_drop_no_sync_data", TX_TLS_DROP_NO_SYNC_DATA),
	COUNTER("tx_tls_drop_bypass_req", TX_TLS_DROP_BYPASS_REQ),
	COUNTER("tx_tls_drop_bad_handle", TX_TLS_DROP_BAD_HANDLE),
	COUNTER("rx_tls_decrypted_packets", RX_TLS_DECRYPTED_PACKETS),
	COUNTER("rx_tls_decrypted_bytes", RX_TLS_DECRYPTED_BYTES),
	COUNTER("rx_tls_ctx", RX_TLS_CTX),
	COUNTER("rx_tls_del", RX_TLS_DEL),
	COUNTER("rx_tls_resync_req_pkt", RX_TLS_RESYNC_REQ_PKT),
	COUNTER("rx_tls_resync_req_start", RX_TLS_RESYNC_REQ_START),
	COUNTER("rx_tls_resync_req_end", RX_TLS_RESYNC_REQ_END),
	COUNTER("rx_tls_resync_req_skip", RX_TLS_RESYNC_REQ_SKIP),
	COUNTER("rx_tls_resync_res_ok", RX_TLS_RESYNC_RES_OK),
	COUNTER("rx_tls_resync_res_skip", RX_TLS_RESYNC_RES_SKIP),
	COUNTER("rx_tls_resync_tag", RX_TLS_RESYNC_TAG),
	COUNTER("rx_tls_err", RX_TLS_ERR),
};

static const char tlsnic_driver_names[][ETH_GSTRING_LEN] = {
	"tx_tls_fallback",
	"tls_add_failed",
	"tx_timeouts",
	"queue_restarts",
	"device_resets",
	"diagnostics",
};

static const char * const tlsnic_queue_names[] = {
	"tx%u_packets", "tx%u_bytes", "tx%u_dropped", "tx%u_tls",
	"rx%u_packets", "rx%u_bytes", "rx%u_dropped", "rx%u_tls",
};

struct tlsnic_queue_figures {
	u64 packets, bytes, dropped, tls;
};

static void tlsnic_queue_read(const struct tlsnic_queue_stats *stats,
			      struct tlsnic_queue_figures *figures)
{
	unsigned int start;

	do {
		start = u64_stats_fetch_begin(&stats->sync);
		figures->packets = u64_stats_read(&stats->packets);
		figures->bytes = u64_stats_read(&stats->bytes);
		figures->dropped = u64_stats_read(&stats->dropped);
		figures->tls = u64_stats_read(&stats->tls);
	} while (u64_stats_fetch_retry(&stats->sync, start));
}

void tlsnic_stats64(struct net_device *netdev, struct rtnl_link_stats64 *stats)
{
	struct tlsnic *nic = netdev_priv(netdev);
	struct tlsnic_queue_figures figures;
	unsigned int i;

	for (i = 0; i < nic->max_pairs; i++) {
		tlsnic_queue_read(&nic->pairs[i]->tx.stats, &figures);
		stats->tx_packets += figures.packets;
		stats->tx_bytes += figures.bytes;
		stats->tx_dropped += figures.dropped;
		tlsnic_queue_read(&nic->pairs[i]->rx.stats, &figures);
		stats->rx_packets += figures.packets;
		stats->rx_bytes += figures.bytes;
		stats->rx_dropped += figures.dropped;
	}
	/* Not older than a second or two: this must not sleep, the watchdog does. */
	stats->multicast = READ_ONCE(nic->counters_now[TLSNIC_COUNTER(RX_MULTICAST)]);
	stats->rx_missed_errors = READ_ONCE(nic->counters_now[TLSNIC_COUNTER(RX_DROP_NO_BUFFER)]);
}

static void tlsnic_get_queue_stats_rx(struct net_device *netdev, int index,
				      struct netdev_queue_stats_rx *stats)
{
	struct tlsnic *nic = netdev_priv(netdev);
	struct tlsnic_queue_figures figures;

	tlsnic_queue_read(&nic->pairs[index]->rx.stats, &figures);
	stats->packets = figures.packets;
	stats->bytes = figures.bytes;
	stats->alloc_fail = figures.dropped;
}

static void tlsnic_get_queue_stats_tx(struct net_device *netdev, int index,
				      struct netdev_queue_stats_tx *stats)
{
	struct tlsnic *nic = netdev_priv(netdev);
	struct tlsnic_queue_figures figures;

	tlsnic_queue_read(&nic->pairs[index]->tx.stats, &figures);
	stats->packets = figures.packets;
	stats->bytes = figures.bytes;
}

/* Of the queues that are not there now. */
static void tlsnic_get_base_stats(struct net_device *netdev, struct netdev_queue_stats_rx *rx,
				  struct netdev_queue_stats_tx *tx)
{
	struct tlsnic *nic = netdev_priv(netdev);

	rx->packets = 0;
	rx->bytes = 0;
	rx->alloc_fail = 0;
	tx->packets = 0;
	tx->bytes = 0;
	netdev_stat_queue_sum(netdev, netdev->real_num_rx_queues, nic->max_pairs, rx,
			      netdev->real_num_tx_queues, nic->max_pairs, tx);
}

const struct netdev_stat_ops tlsnic_stat_ops = {
	.get_queue_stats_rx = tlsnic_get_queue_stats_rx,
	.get_queue_stats_tx = tlsnic_get_queue_stats_tx,
	.get_base_stats = tlsnic_get_base_stats,
};

static void tlsnic_counters_read(struct tlsnic *nic)
{
	struct tlsnic_statistics_command command = {
		.opcode = cpu_to_le16(TLSNIC_STATISTICS_COMMAND_OPCODE),
		.length = cpu_to_le32(TLSNIC_BLOCK_BYTES),
	};
	struct tlsnic_slot *slot = tlsnic_admin_get(nic);
	unsigned int i;

	BUILD_BUG_ON(TLSNIC_COUNTERS * sizeof(__le64) > TLSNIC_BLOCK_BYTES);
	command.address = cpu_to_le64(slot->block_dma);
	if (!tlsnic_admin_run(nic, slot, &command)) {
		const __le64 *values = slot->block;

		for (i = 0; i < TLSNIC_COUNTERS && i < slot->result / sizeof(*values); i++)
			WRITE_ONCE(nic->counters_now[i],
				   nic->counters_base[i] + le64_to_cpu(values[i]));
	}
	tlsnic_admin_put(nic, slot);
}

/* Get the device's counters into counters_now. Sleeps. */
void tlsnic_counters_update(struct tlsnic *nic)
{
	mutex_lock(&nic->counters_lock);
	tlsnic_counters_read(nic);
	mutex_unlock(&nic->counters_lock);
}

/*
 * The device is about to be reset: keep what it has counted. It gets no commands from then on, as
 * the same figures would be added again.
 */
void tlsnic_counters_keep(struct tlsnic *nic)
{
	mutex_lock(&nic->counters_lock);
	tlsnic_counters_read(nic);
	memcpy(nic->counters_base, nic->counters_now, sizeof(nic->counters_base));
	/* The reset destroys all flows, and that would not be counted. */
	nic->counters_base[TLSNIC_COUNTER(TX_TLS_DEL)] =
		nic->counters_base[TLSNIC_COUNTER(TX_TLS_CTX)];
	nic->counters_base[TLSNIC_COUNTER(RX_TLS_DEL)] =
		nic->counters_base[TLSNIC_COUNTER(RX_TLS_CTX)];
	tlsnic_admin_stop(nic);
	mutex_unlock(&nic->counters_lock);
}

int tlsnic_stats_count(const struct tlsnic *nic)
{
	return ARRAY_SIZE(tlsnic_counter_names) + ARRAY_SIZE(tlsnic_driver_names) +
	       nic->num_pairs * ARRAY_SIZE(tlsnic_queue_names);
}

void tlsnic_stats_strings(const struct tlsnic *nic, u8 *data)
{
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(tlsnic_counter_names); i++)
		ethtool_puts(&data, tlsnic_counter_names[i].name);
	for (i = 0; i < ARRAY_SIZE(tlsnic_driver_names); i++)
		ethtool_puts(&data, tlsnic_driver_names[i]);
	for (i = 0; i < nic->num_pairs; i++)
		for (j = 0; j < ARRAY_SIZE(tlsnic_queue_names); j++)
			ethtool_sprintf(&data, tlsnic_queue_names[j], i);
}

void tlsnic_stats_values(struct tlsnic *nic, u64 *data)
{
	struct tlsnic_queue_figures figures;
	unsigned int i;

	tlsnic_counters_update(nic);
	for (i = 0; i < ARRAY_SIZE(tlsnic_counter_names); i++) {
		unsigned int index = tlsnic_counter_names[i].index;

		*data = nic->counters_now[index];
		/* What the driver drops does not get to the device. */
		if (index == TLSNIC_COUNTER(TX_TLS_DROP_NO_SYNC_DATA))
			*data += atomic64_read(&nic->ktls.tx_drop_no_sync_data);
		else if (index == TLSNIC_COUNTER(TX_TLS_DROP_BYPASS_REQ))
			*data += atomic64_read(&nic->ktls.tx_drop_bypass_req);
		data++;
	}
	*data++ = atomic64_read(&nic->ktls.tx_fallback);
	*data++ = atomic64_read(&nic->ktls.add_failed);
	*data++ = nic->tx_timeouts;
	*data++ = nic->restarts;
	*data++ = nic->resets;
	*data++ = tlsnic_read(nic, TLSNIC_REG_DIAG_COUNT);
	for (i = 0; i < nic->num_pairs; i++) {
		tlsnic_queue_read(&nic->pairs[i]->tx.stats, &figures);
		*data++ = figures.packets;
		*data++ = figures.bytes;
		*data++ = figures.dropped;
		*data++ = figures.tls;
		tlsnic_queue_read(&nic->pairs[i]->rx.stats, &figures);
		*data++ = figures.packets;
		*data++ = figures.bytes;
		*data++ = figures.dropped;
		*data++ = figures.tls;
	}
}
