// SPDX-License-Identifier: GPL-2.0
/*
 * The network interface: its queues started and stopped, its settings, and the recovery from what
 * goes wrong. Commands and events work from probe to remove; only the packet queues belong to an
 * interface that is up.
 */
#include <linux/etherdevice.h>
#include <linux/rtnetlink.h>

#include "tlsnic.h"

#define TLSNIC_TX_TIMEOUT (20 * HZ)
#define TLSNIC_WATCHDOG HZ

static int tlsnic_napi_poll(struct napi_struct *napi, int budget)
{
	struct tlsnic_pair *pair = container_of(napi, struct tlsnic_pair, napi);
	bool more = tlsnic_tx_poll(pair, budget);
	int done = 0;

	if (budget)
		done = tlsnic_rx_poll(pair, budget);
	if (more || done >= budget) {
		tlsnic_ring_return(&pair->tx.ring);
		tlsnic_ring_return(&pair->rx.ring);
		return budget;
	}
	/* The device compares indices: a completion since the last look raises the vector, and NAPI
	 * notes that it was missed. Not after completing, as the rings may be stopped from then on.
	 */
	if (budget) {
		tlsnic_ring_arm(&pair->tx.ring);
		tlsnic_ring_arm(&pair->rx.ring);
		napi_complete_done(napi, done);
	}
	return done;
}

static void tlsnic_pairs_free(struct tlsnic *nic)
{
	unsigned int i;

	for (i = 0; i < nic->num_pairs; i++) {
		struct tlsnic_pair *pair = nic->pairs[i];

		if (!pair)
			continue;
		tlsnic_tx_free(pair);
		tlsnic_rx_free(pair);
		netif_queue_set_napi(nic->netdev, i, NETDEV_QUEUE_TYPE_TX, NULL);
		netif_queue_set_napi(nic->netdev, i, NETDEV_QUEUE_TYPE_RX, NULL);
		netif_napi_del(&pair->napi);
		memset(&pair->tx.ring, 0, sizeof(pair->tx.ring));
		memset(&pair->rx.ring, 0, sizeof(pair->rx.ring));
	}
}

static int tlsnic_pairs_alloc(struct tlsnic *nic)
{
	unsigned int i;
	int error;

	for (i = 0; i < nic->num_pairs; i++) {
		struct tlsnic_pair *pair = nic->pairs[i];

		netif_napi_add(nic->netdev, &pair->napi, tlsnic_napi_poll);
		netif_napi_set_irq(&pair->napi, tlsnic_irq_of(pair));
		netif_queue_set_napi(nic->netdev, i, NETDEV_QUEUE_TYPE_TX, &pair->napi);
		netif_queue_set_napi(nic->netdev, i, NETDEV_QUEUE_TYPE_RX, &pair->napi);
		error = tlsnic_tx_alloc(pair);
		if (!error)
			error = tlsnic_rx_alloc(pair);
		if (error) {
			unsigned int num_pairs = nic->num_pairs;

			nic->num_pairs = i + 1;
			tlsnic_pairs_free(nic);
			nic->num_pairs = num_pairs;
			return error;
		}
	}
	return 0;
}

/**
 * tlsnic_up - start the packet queues
 * @nic: the device
 *
 * Called with rtnl held.
 *
 * Return: 0 or a negative error, and then nothing is started.
 */
int tlsnic_up(struct tlsnic *nic)
{
	struct net_device *netdev = nic->netdev;
	unsigned int started = 0, i;
	int error;

	error = netif_set_real_num_queues(netdev, nic->num_pairs, nic->num_pairs);
	if (!error)
		error = tlsnic_pairs_alloc(nic);
	if (error)
		return error;
	error = tlsnic_irq_request_pairs(nic);
	if (error)
		goto free;
	for (; started < nic->num_pairs; started++) {
		struct tlsnic_pair *pair = nic->pairs[started];

		error = tlsnic_tx_start(pair);
		if (error)
			goto stop;
		error = tlsnic_rx_start(pair);
		if (error) {
			tlsnic_tx_stop(pair);
			goto stop;
		}
	}
	for (i = 0; i < nic->num_pairs; i++)
		napi_enable(&nic->pairs[i]->napi);
	clear_bit(TLSNIC_DOWN, &nic->state);
	tlsnic_hw_set_traffic(nic, true);
	for (i = 0; i < nic->num_pairs; i++) {
		tlsnic_ring_arm(&nic->pairs[i]->tx.ring);
		tlsnic_ring_arm(&nic->pairs[i]->rx.ring);
	}
	/* Not only started: packets may wait for them since they were stopped. */
	netif_tx_wake_all_queues(netdev);
	return 0;

stop:
	while (started--) {
		tlsnic_rx_stop(nic->pairs[started]);
		tlsnic_tx_stop(nic->pairs[started]);
	}
	tlsnic_irq_free_pairs(nic);
free:
	tlsnic_pairs_free(nic);
	return error;
}

/**
 * tlsnic_down - stop the packet queues and free them
 * @nic: the device
 *
 * Called with rtnl held; harmless when they are stopped.
 */
void tlsnic_down(struct tlsnic *nic)
{
	unsigned int i;

	if (test_and_set_bit(TLSNIC_DOWN, &nic->state))
		return;
	if (!tlsnic_hw_gone(nic))
		tlsnic_hw_set_traffic(nic, false);
	tlsnic_irq_free_pairs(nic);
	for (i = 0; i < nic->num_pairs; i++)
		napi_disable(&nic->pairs[i]->napi);
	/* Nobody is left who would wake them. */
	netif_tx_disable(nic->netdev);
	for (i = 0; i < nic->num_pairs; i++) {
		tlsnic_rx_stop(nic->pairs[i]);
		tlsnic_tx_stop(nic->pairs[i]);
	}
	tlsnic_ktls_rings_lost(nic);
	tlsnic_pairs_free(nic);
}

/*
 * Spread what comes over all queues. A table that somebody has set stays, and names no queue that
 * is not there: ethtool sees to that.
 */
static void tlsnic_spread(struct tlsnic *nic)
{
	unsigned int i;

	if (netif_is_rxfh_configured(nic->netdev))
		return;
	for (i = 0; i < TLSNIC_RSS_ENTRIES; i++)
		nic->rss_table[i] = ethtool_rxfh_indir_default(i, nic->num_pairs);
}

static void tlsnic_resize(struct tlsnic *nic, unsigned int pairs, u32 tx_entries, u32 rx_entries)
{
	nic->num_pairs = pairs;
	nic->tx_entries = tx_entries;
	nic->rx_entries = rx_entries;
	tlsnic_spread(nic);
	tlsnic_hw_set_rss(nic);
}

/**
 * tlsnic_change - change the number of queues and the sizes of their rings
 * @nic: the device
 * @pairs: how many pairs of queues
 * @tx_entries: descriptors of each transmit ring
 * @rx_entries: the same for receive
 *
 * An interface that is up stays up, and keeps its flows; when the new sizes cannot be had it goes
 * back to the old ones.
 *
 * Return: 0 or a negative error.
 */
int tlsnic_change(struct tlsnic *nic, unsigned int pairs, u32 tx_entries, u32 rx_entries)
{
	u32 old_tx_entries = nic->tx_entries, old_rx_entries = nic->rx_entries;
	unsigned int old_pairs = nic->num_pairs;
	bool running = !test_bit(TLSNIC_DOWN, &nic->state);
	int error;

	if (running)
		tlsnic_down(nic);
	tlsnic_resize(nic, pairs, tx_entries, rx_entries);
	if (!running)
		return 0;
	error = tlsnic_up(nic);
	if (!error)
		return 0;
	tlsnic_resize(nic, old_pairs, old_tx_entries, old_rx_entries);
	if (tlsnic_up(nic))
		dev_close(nic->netdev);
	return error;
}

/**
 * tlsnic_service_start - settings, commands and events, on a device that was reset
 * @nic: the device
 *
 * Return: 0 or a negative error.
 */
int tlsnic_service_start(struct tlsnic *nic)
{
	int error;

	tlsnic_hw_program(nic);
	error = tlsnic_admin_start(nic);
	if (error)
		return error;
	error = tlsnic_events_start(nic);
	if (error) {
		tlsnic_admin_stop(nic);
		return error;
	}
	tlsnic_irq_program(nic);
	return 0;
}

void tlsnic_service_stop(struct tlsnic *nic)
{
	tlsnic_events_stop(nic);
	tlsnic_admin_stop(nic);
}

/**
 * tlsnic_quiesce - let go of the device before it is reset
 * @nic: the device
 *
 * Its flows are lost: their connections go on in software.
 */
void tlsnic_quiesce(struct tlsnic *nic)
{
	netif_device_detach(nic->netdev);
	tlsnic_down(nic);
	if (!tlsnic_hw_gone(nic))
		tlsnic_counters_keep(nic);
	tlsnic_service_stop(nic);
	nic->resets++;
	/* What was asked for until now is about queues that are no more. */
	clear_bit(TLSNIC_RESTART, &nic->state);
	clear_bit(TLSNIC_RESET, &nic->state);
}

/**
 * tlsnic_revive - go on after a reset
 * @nic: the device
 *
 * Called with rtnl held. Where only the packet queues do not start, for lack of memory, the
 * interface is closed, and can be opened again.
 *
 * Return: 0 or a negative error; without commands and events the interface stays detached.
 */
int tlsnic_revive(struct tlsnic *nic)
{
	int error;

	error = tlsnic_service_start(nic);
	if (error) {
		netdev_err(nic->netdev, "cannot go on after a reset: error %d\n", error);
		return error;
	}
	if (netif_running(nic->netdev)) {
		error = tlsnic_up(nic);
		if (error) {
			netdev_err(nic->netdev, "closed after a reset: error %d\n", error);
			dev_close(nic->netdev);
		}
	}
	netif_device_attach(nic->netdev);
	return error;
}

/**
 * tlsnic_reset - reset the device and go on
 * @nic: the device
 *
 * Called with rtnl held.
 *
 * Return: 0 or a negative error.
 */
int tlsnic_reset(struct tlsnic *nic)
{
	int error;

	tlsnic_quiesce(nic);
	error = tlsnic_hw_reset(nic);
	return error ? error : tlsnic_revive(nic);
}

/*
 * Start the queues again; if that does not help, reset. Not while the interface is detached: then
 * the device is gone, shut down, or being reset by somebody else, and must not even be looked at.
 */
static void tlsnic_work(struct work_struct *work)
{
	struct tlsnic *nic = container_of(work, struct tlsnic, work);
	bool restart, reset;

	rtnl_lock();
	if (!netif_device_present(nic->netdev))
		goto unlock;
	restart = test_and_clear_bit(TLSNIC_RESTART, &nic->state);
	reset = test_and_clear_bit(TLSNIC_RESET, &nic->state);
	if (tlsnic_hw_gone(nic)) {
		netif_device_detach(nic->netdev);
		netif_carrier_off(nic->netdev);
	} else if (reset || tlsnic_ring_broken(&nic->admin.ring) ||
		   tlsnic_ring_broken(&nic->events.ring)) {
		tlsnic_reset(nic);
	} else if (restart && !test_bit(TLSNIC_DOWN, &nic->state)) {
		nic->restarts++;
		tlsnic_down(nic);
		if (tlsnic_up(nic))
			tlsnic_reset(nic);
	}
unlock:
	rtnl_unlock();
}

/*
 * Once a second: what came without an interrupt is found all the same, and the rings armed again.
 * When somebody is at the settings, the next second will do. The device's counters are fetched for
 * those who ask where nobody may sleep.
 */
static void tlsnic_watchdog(struct work_struct *work)
{
	struct tlsnic *nic = container_of(to_delayed_work(work), struct tlsnic, watchdog);
	unsigned int i;

	tlsnic_admin_poll(nic);
	tlsnic_events_poll(nic);
	if (rtnl_trylock()) {
		for (i = 0; !test_bit(TLSNIC_DOWN, &nic->state) && i < nic->num_pairs; i++) {
			struct tlsnic_pair *pair = nic->pairs[i];

			if (!tlsnic_ring_peek(&pair->tx.ring) && !tlsnic_ring_peek(&pair->rx.ring))
				continue;
			local_bh_disable();
			napi_schedule(&pair->napi);
			local_bh_enable();
		}
		rtnl_unlock();
	}
	tlsnic_counters_update(nic);
	schedule_delayed_work(&nic->watchdog, TLSNIC_WATCHDOG);
}

/**
 * tlsnic_request - have the queues started again, or the device reset, soon
 * @nic: the device
 * @what: TLSNIC_RESTART or TLSNIC_RESET
 *
 * For any context.
 */
void tlsnic_request(struct tlsnic *nic, int what)
{
	set_bit(what, &nic->state);
	schedule_work(&nic->work);
}

static int tlsnic_open(struct net_device *netdev)
{
	return tlsnic_up(netdev_priv(netdev));
}

static int tlsnic_stop(struct net_device *netdev)
{
	tlsnic_down(netdev_priv(netdev));
	return 0;
}

static void tlsnic_tx_timeout(struct net_device *netdev, unsigned int queue)
{
	struct tlsnic *nic = netdev_priv(netdev);

	nic->tx_timeouts++;
	netif_info(nic, tx_err, netdev, "transmit queue %u is stuck: starting it again\n", queue);
	tlsnic_request(nic, TLSNIC_RESTART);
}

static int tlsnic_set_mac_address(struct net_device *netdev, void *address)
{
	int error = eth_mac_addr(netdev, address);

	if (!error)
		tlsnic_hw_set_mac(netdev_priv(netdev));
	return error;
}

static int tlsnic_change_mtu(struct net_device *netdev, int mtu)
{
	WRITE_ONCE(netdev->mtu, mtu);
	tlsnic_hw_set_mtu(netdev_priv(netdev), mtu);
	return 0;
}

static void tlsnic_set_rx_mode(struct net_device *netdev)
{
	tlsnic_hw_set_rx_filter(netdev_priv(netdev), netdev->features);
}

static int tlsnic_vlan_add(struct net_device *netdev, __be16 protocol, u16 vid)
{
	tlsnic_hw_set_vlan(netdev_priv(netdev), vid, true);
	return 0;
}

static int tlsnic_vlan_kill(struct net_device *netdev, __be16 protocol, u16 vid)
{
	tlsnic_hw_set_vlan(netdev_priv(netdev), vid, false);
	return 0;
}

static int tlsnic_set_features(struct net_device *netdev, netdev_features_t features)
{
	struct tlsnic *nic = netdev_priv(netdev);
	netdev_features_t changed = netdev->features ^ features;

	tlsnic_hw_set_offloads(nic, features);
	if (changed & NETIF_F_HW_VLAN_CTAG_FILTER) {
		netif_addr_lock_bh(netdev);
		tlsnic_hw_set_rx_filter(nic, features);
		netif_addr_unlock_bh(netdev);
	}
	return 0;
}

static const struct net_device_ops tlsnic_netdev_ops = {
	.ndo_open = tlsnic_open,
	.ndo_stop = tlsnic_stop,
	.ndo_start_xmit = tlsnic_start_xmit,
	.ndo_tx_timeout = tlsnic_tx_timeout,
	.ndo_get_stats64 = tlsnic_stats64,
	.ndo_set_mac_address = tlsnic_set_mac_address,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_change_mtu = tlsnic_change_mtu,
	.ndo_set_rx_mode = tlsnic_set_rx_mode,
	.ndo_vlan_rx_add_vid = tlsnic_vlan_add,
	.ndo_vlan_rx_kill_vid = tlsnic_vlan_kill,
	.ndo_set_features = tlsnic_set_features,
};

/* What the network core is told about the device's offloads. */
static void tlsnic_netdev_features(struct tlsnic *nic)
{
	static const struct {
		u32 offload;
		netdev_features_t feature;
	} map[] = {
		{ TLSNIC_OFFLOAD_TX_CHECKSUM, NETIF_F_IP_CSUM | NETIF_F_IPV6_CSUM },
		{ TLSNIC_OFFLOAD_RX_CHECKSUM, NETIF_F_RXCSUM },
		{ TLSNIC_OFFLOAD_TSO4, NETIF_F_TSO | NETIF_F_TSO_ECN },
		{ TLSNIC_OFFLOAD_TSO6, NETIF_F_TSO6 },
		{ TLSNIC_OFFLOAD_VLAN_INSERT, NETIF_F_HW_VLAN_CTAG_TX },
		{ TLSNIC_OFFLOAD_VLAN_STRIP, NETIF_F_HW_VLAN_CTAG_RX },
		{ TLSNIC_OFFLOAD_VLAN_FILTER, NETIF_F_HW_VLAN_CTAG_FILTER },
		{ TLSNIC_OFFLOAD_RSS, NETIF_F_RXHASH },
		{ TLSNIC_OFFLOAD_RX_COALESCE, NETIF_F_GRO_HW },
	};
	struct net_device *netdev = nic->netdev;
	unsigned int i;

	netdev->hw_features = NETIF_F_SG;
	for (i = 0; i < ARRAY_SIZE(map); i++)
		if (nic->offloads & map[i].offload)
			netdev->hw_features |= map[i].feature;
	netdev->vlan_features = netdev->hw_features &
				(NETIF_F_SG | NETIF_F_IP_CSUM | NETIF_F_IPV6_CSUM | NETIF_F_TSO |
				 NETIF_F_TSO_ECN | NETIF_F_TSO6 | NETIF_F_RXCSUM);
	netdev->features = netdev->hw_features | NETIF_F_HIGHDMA;
	netdev->vlan_features |= NETIF_F_HIGHDMA;
}

void tlsnic_netdev_init(struct tlsnic *nic)
{
	struct net_device *netdev = nic->netdev;

	INIT_WORK(&nic->work, tlsnic_work);
	INIT_DELAYED_WORK(&nic->watchdog, tlsnic_watchdog);
	nic->num_pairs = min_t(unsigned int, nic->max_pairs, netif_get_num_default_rss_queues());
	nic->tx_entries = min_t(u32, TLSNIC_TX_ENTRIES, nic->max_entries);
	nic->rx_entries = min_t(u32, TLSNIC_RX_ENTRIES, nic->max_entries);
	nic->hash_types = TLSNIC_HASH_TYPE_IPV4 | TLSNIC_HASH_TYPE_TCP_IPV4 |
			  TLSNIC_HASH_TYPE_IPV6 | TLSNIC_HASH_TYPE_TCP_IPV6;
	netdev_rss_key_fill(nic->rss_key, sizeof(nic->rss_key));
	tlsnic_spread(nic);
	/* Cannot fail before the interface is registered. */
	netif_set_real_num_queues(netdev, nic->num_pairs, nic->num_pairs);

	netdev->netdev_ops = &tlsnic_netdev_ops;
	netdev->ethtool_ops = &tlsnic_ethtool_ops;
	netdev->stat_ops = &tlsnic_stat_ops;
	netdev->priv_flags |= IFF_UNICAST_FLT | IFF_LIVE_ADDR_CHANGE;
	netdev->watchdog_timeo = TLSNIC_TX_TIMEOUT;
	netdev->min_mtu = ETH_MIN_MTU;
	netdev->max_mtu = nic->max_frame - ETH_HLEN;
	netif_set_tso_max_size(netdev, min_t(u32, nic->max_segment, GSO_LEGACY_MAX_SIZE));
	tlsnic_netdev_features(nic);
}
