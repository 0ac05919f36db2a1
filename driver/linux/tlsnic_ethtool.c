// SPDX-License-Identifier: GPL-2.0
/* Settings and figures for people. */
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/version.h>

#include "tlsnic.h"

#define TLSNIC_REGS_VERSION 1

static const char tlsnic_priv_names[TLSNIC_PRIV_FLAGS][ETH_GSTRING_LEN] = {
	[TLSNIC_PRIV_RX_HINT] = "tls-rx-next-record-hint",
	[TLSNIC_PRIV_RX_TAG] = "tls-rx-resync-by-tag",
};

static void tlsnic_get_drvinfo(struct net_device *netdev, struct ethtool_drvinfo *info)
{
	struct tlsnic *nic = netdev_priv(netdev);
	u32 version = tlsnic_read(nic, TLSNIC_REG_VERSION);

	strscpy(info->driver, TLSNIC_NAME, sizeof(info->driver));
	strscpy(info->bus_info, pci_name(nic->pdev), sizeof(info->bus_info));
	snprintf(info->fw_version, sizeof(info->fw_version), "%u.%u",
		 (u32)TLSNIC_GET(VERSION_MAJOR, version), (u32)TLSNIC_GET(VERSION_MINOR, version));
	info->n_priv_flags = TLSNIC_PRIV_FLAGS;
}

/* All of BAR 0 up to the end of the queues; doorbells read as zero. */
static int tlsnic_get_regs_len(struct net_device *netdev)
{
	return TLSNIC_REG_RX_QUEUE_RING_BASE +
	       TLSNIC_REG_RX_QUEUE_COUNT * TLSNIC_REG_RX_QUEUE_STRIDE;
}

static void tlsnic_dump_regs(struct tlsnic *nic, u32 *data, u32 first, u32 end)
{
	for (; first < end; first += sizeof(*data))
		data[first / sizeof(*data)] = tlsnic_read(nic, first);
}

static void tlsnic_get_regs(struct net_device *netdev, struct ethtool_regs *regs, void *data)
{
	static const struct {
		u32 first, bytes;
	} blocks[] = {
		/* Where there is no register the device would report a wrong access. */
		{ TLSNIC_REG_MAGIC, TLSNIC_REG_CAP_TLS_FEATURES + 4 - TLSNIC_REG_MAGIC },
		{ TLSNIC_REG_CONTROL, TLSNIC_REG_TLS_RESYNC + 4 - TLSNIC_REG_CONTROL },
		{ TLSNIC_REG_INT_CAUSE, 24 },
		{ TLSNIC_REG_DIAG_LAST, TLSNIC_REG_EVENT_ENABLE + 4 - TLSNIC_REG_DIAG_LAST },
		{ TLSNIC_REG_RX_FILTER, 4 },
		{ TLSNIC_REG_MAC_FILTER, 8 * TLSNIC_REG_MAC_FILTER_COUNT },
		{ TLSNIC_REG_VLAN_FILTER, 8 * TLSNIC_REG_VLAN_FILTER_COUNT },
		{ TLSNIC_REG_RSS_CONTROL, 4 },
		{ TLSNIC_REG_RSS_KEY, 4 * TLSNIC_REG_RSS_KEY_COUNT },
		{ TLSNIC_REG_RSS_TABLE, 4 * TLSNIC_REG_RSS_TABLE_COUNT },
		{ TLSNIC_REG_MODERATION, 4 * TLSNIC_REG_MODERATION_COUNT },
	};
	static const u32 queue_bytes = TLSNIC_REG_TX_QUEUE_COMPLETION_CONSUMER + 4 -
				       TLSNIC_REG_TX_QUEUE_RING_BASE;
	struct tlsnic *nic = netdev_priv(netdev);
	unsigned int i;
	u32 at;

	regs->version = TLSNIC_REGS_VERSION;
	memset(data, 0, tlsnic_get_regs_len(netdev));
	for (i = 0; i < ARRAY_SIZE(blocks); i++)
		tlsnic_dump_regs(nic, data, blocks[i].first, blocks[i].first + blocks[i].bytes);
	at = TLSNIC_REG_ADMIN_QUEUE_RING_BASE;
	tlsnic_dump_regs(nic, data, at, at + queue_bytes);
	at = TLSNIC_REG_EVENT_QUEUE_RING_BASE;
	tlsnic_dump_regs(nic, data, at, at + queue_bytes);
	for (i = 0; i < nic->num_pairs; i++) {
		at = TLSNIC_REG_TX_QUEUE_RING_BASE + i * TLSNIC_REG_TX_QUEUE_STRIDE;
		tlsnic_dump_regs(nic, data, at, at + queue_bytes);
		at = TLSNIC_REG_RX_QUEUE_RING_BASE + i * TLSNIC_REG_RX_QUEUE_STRIDE;
		tlsnic_dump_regs(nic, data, at, at + queue_bytes);
	}
}

static u32 tlsnic_get_msglevel(struct net_device *netdev)
{
	return ((struct tlsnic *)netdev_priv(netdev))->msg_enable;
}

/* With NETIF_MSG_HW the device sends its diagnostics, and they are printed. */
static void tlsnic_set_msglevel(struct net_device *netdev, u32 level)
{
	struct tlsnic *nic = netdev_priv(netdev);

	nic->msg_enable = level;
	tlsnic_hw_set_events(nic);
}

static int tlsnic_get_link_ksettings(struct net_device *netdev,
				     struct ethtool_link_ksettings *settings)
{
	struct tlsnic *nic = netdev_priv(netdev);
	bool up = netif_carrier_ok(netdev);

	settings->base.speed = up ? tlsnic_read(nic, TLSNIC_REG_LINK_SPEED) : SPEED_UNKNOWN;
	settings->base.duplex = up ? DUPLEX_FULL : DUPLEX_UNKNOWN;
	settings->base.port = PORT_OTHER;
	settings->base.autoneg = AUTONEG_DISABLE;
	return 0;
}

static int tlsnic_get_coalesce(struct net_device *netdev, struct ethtool_coalesce *coalesce,
			       struct kernel_ethtool_coalesce *kernel,
			       struct netlink_ext_ack *extack)
{
	struct tlsnic *nic = netdev_priv(netdev);

	coalesce->rx_coalesce_usecs = TLSNIC_GET(MODERATION_USECS, nic->moderation);
	coalesce->rx_max_coalesced_frames = TLSNIC_GET(MODERATION_FRAMES, nic->moderation);
	return 0;
}

static int tlsnic_set_coalesce(struct net_device *netdev, struct ethtool_coalesce *coalesce,
			       struct kernel_ethtool_coalesce *kernel,
			       struct netlink_ext_ack *extack)
{
	struct tlsnic *nic = netdev_priv(netdev);

	if (coalesce->rx_coalesce_usecs > U16_MAX || coalesce->rx_max_coalesced_frames > U16_MAX) {
		NL_SET_ERR_MSG_MOD(extack, "at most 65535 microseconds, and 65535 frames");
		return -ERANGE;
	}
	if (coalesce->rx_max_coalesced_frames && !coalesce->rx_coalesce_usecs) {
		NL_SET_ERR_MSG_MOD(extack, "frames without microseconds would wait for ever");
		return -EINVAL;
	}
	nic->moderation = TLSNIC_PREP(MODERATION_USECS, coalesce->rx_coalesce_usecs) |
			  TLSNIC_PREP(MODERATION_FRAMES, coalesce->rx_max_coalesced_frames);
	tlsnic_hw_set_moderation(nic);
	return 0;
}

static void tlsnic_get_ringparam(struct net_device *netdev, struct ethtool_ringparam *ring,
				 struct kernel_ethtool_ringparam *kernel,
				 struct netlink_ext_ack *extack)
{
	struct tlsnic *nic = netdev_priv(netdev);

	ring->rx_max_pending = nic->max_entries;
	ring->tx_max_pending = nic->max_entries;
	ring->rx_pending = nic->rx_entries;
	ring->tx_pending = nic->tx_entries;
}

static int tlsnic_set_ringparam(struct net_device *netdev, struct ethtool_ringparam *ring,
				struct kernel_ethtool_ringparam *kernel,
				struct netlink_ext_ack *extack)
{
	struct tlsnic *nic = netdev_priv(netdev);
	u32 tx, rx;

	if (ring->rx_mini_pending || ring->rx_jumbo_pending)
		return -EINVAL;
	tx = roundup_pow_of_two(max_t(u32, ring->tx_pending, TLSNIC_MIN_ENTRIES));
	rx = roundup_pow_of_two(max_t(u32, ring->rx_pending, TLSNIC_MIN_ENTRIES));
	if (tx == nic->tx_entries && rx == nic->rx_entries)
		return 0;
	return tlsnic_change(nic, nic->num_pairs, tx, rx);
}

static void tlsnic_get_channels(struct net_device *netdev, struct ethtool_channels *channels)
{
	struct tlsnic *nic = netdev_priv(netdev);

	channels->max_combined = nic->max_pairs;
	channels->combined_count = nic->num_pairs;
}

static int tlsnic_set_channels(struct net_device *netdev, struct ethtool_channels *channels)
{
	struct tlsnic *nic = netdev_priv(netdev);

	if (!channels->combined_count || channels->rx_count || channels->tx_count)
		return -EINVAL;
	if (channels->combined_count == nic->num_pairs)
		return 0;
	return tlsnic_change(nic, channels->combined_count, nic->tx_entries, nic->rx_entries);
}

static int tlsnic_get_sset_count(struct net_device *netdev, int set)
{
	switch (set) {
	case ETH_SS_STATS:
		return tlsnic_stats_count(netdev_priv(netdev));
	case ETH_SS_PRIV_FLAGS:
		return TLSNIC_PRIV_FLAGS;
	default:
		return -EOPNOTSUPP;
	}
}

static void tlsnic_get_strings(struct net_device *netdev, u32 set, u8 *data)
{
	switch (set) {
	case ETH_SS_STATS:
		tlsnic_stats_strings(netdev_priv(netdev), data);
		break;
	case ETH_SS_PRIV_FLAGS:
		memcpy(data, tlsnic_priv_names, sizeof(tlsnic_priv_names));
		break;
	}
}

static void tlsnic_get_ethtool_stats(struct net_device *netdev, struct ethtool_stats *stats,
				     u64 *data)
{
	tlsnic_stats_values(netdev_priv(netdev), data);
}

static u32 tlsnic_get_priv_flags(struct net_device *netdev)
{
	return ((struct tlsnic *)netdev_priv(netdev))->priv_flags;
}

/* For the flows that are made from now on. */
static int tlsnic_set_priv_flags(struct net_device *netdev, u32 flags)
{
	((struct tlsnic *)netdev_priv(netdev))->priv_flags = flags;
	return 0;
}

static const struct {
	u32 flow;
	u16 addresses;
	u16 ports;
} tlsnic_hash_map[] = {
	{ TCP_V4_FLOW, TLSNIC_HASH_TYPE_IPV4, TLSNIC_HASH_TYPE_TCP_IPV4 },
	{ UDP_V4_FLOW, TLSNIC_HASH_TYPE_IPV4, TLSNIC_HASH_TYPE_UDP_IPV4 },
	{ IPV4_FLOW, TLSNIC_HASH_TYPE_IPV4, 0 },
	{ TCP_V6_FLOW, TLSNIC_HASH_TYPE_IPV6, TLSNIC_HASH_TYPE_TCP_IPV6 },
	{ UDP_V6_FLOW, TLSNIC_HASH_TYPE_IPV6, TLSNIC_HASH_TYPE_UDP_IPV6 },
	{ IPV6_FLOW, TLSNIC_HASH_TYPE_IPV6, 0 },
};

#define TLSNIC_BY_ADDRESSES (RXH_IP_SRC | RXH_IP_DST)
#define TLSNIC_BY_PORTS (TLSNIC_BY_ADDRESSES | RXH_L4_B_0_1 | RXH_L4_B_2_3)

/* Which fields of the packets of a flow type are hashed. */
static u64 tlsnic_hash_fields(const struct tlsnic *nic, u32 flow_type)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tlsnic_hash_map); i++) {
		if (tlsnic_hash_map[i].flow != flow_type)
			continue;
		if (nic->hash_types & tlsnic_hash_map[i].ports)
			return TLSNIC_BY_PORTS;
		if (nic->hash_types & tlsnic_hash_map[i].addresses)
			return TLSNIC_BY_ADDRESSES;
	}
	return 0;
}

static int tlsnic_hash_set_fields(struct tlsnic *nic, u32 flow_type, u64 fields)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tlsnic_hash_map); i++) {
		if (tlsnic_hash_map[i].flow != flow_type)
			continue;
		if (fields == TLSNIC_BY_PORTS && tlsnic_hash_map[i].ports)
			nic->hash_types |= tlsnic_hash_map[i].ports;
		else if (fields == TLSNIC_BY_ADDRESSES)
			nic->hash_types &= ~tlsnic_hash_map[i].ports;
		else
			return -EINVAL;
		tlsnic_hw_set_rss(nic);
		return 0;
	}
	return -EINVAL;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
static int tlsnic_get_rxfh_fields(struct net_device *netdev, struct ethtool_rxfh_fields *fields)
{
	fields->data = tlsnic_hash_fields(netdev_priv(netdev), fields->flow_type);
	return 0;
}

static int tlsnic_set_rxfh_fields(struct net_device *netdev,
				  const struct ethtool_rxfh_fields *fields,
				  struct netlink_ext_ack *extack)
{
	return tlsnic_hash_set_fields(netdev_priv(netdev), fields->flow_type, fields->data);
}
#else
static int tlsnic_set_rxnfc(struct net_device *netdev, struct ethtool_rxnfc *info)
{
	if (info->cmd != ETHTOOL_SRXFH)
		return -EOPNOTSUPP;
	return tlsnic_hash_set_fields(netdev_priv(netdev), info->flow_type, info->data);
}
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
static u32 tlsnic_get_rx_ring_count(struct net_device *netdev)
{
	return ((struct tlsnic *)netdev_priv(netdev))->num_pairs;
}
#else
static int tlsnic_get_rxnfc(struct net_device *netdev, struct ethtool_rxnfc *info, u32 *rules)
{
	struct tlsnic *nic = netdev_priv(netdev);

	switch (info->cmd) {
	case ETHTOOL_GRXRINGS:
		info->data = nic->num_pairs;
		return 0;
	case ETHTOOL_GRXFH:
		info->data = tlsnic_hash_fields(nic, info->flow_type);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}
#endif

static u32 tlsnic_get_rxfh_key_size(struct net_device *netdev)
{
	return TLSNIC_RSS_KEY_BYTES;
}

static u32 tlsnic_get_rxfh_indir_size(struct net_device *netdev)
{
	return TLSNIC_RSS_ENTRIES;
}

static int tlsnic_get_rxfh(struct net_device *netdev, struct ethtool_rxfh_param *param)
{
	struct tlsnic *nic = netdev_priv(netdev);
	unsigned int i;

	param->hfunc = ETH_RSS_HASH_TOP;
	if (param->key)
		memcpy(param->key, nic->rss_key, sizeof(nic->rss_key));
	if (param->indir)
		for (i = 0; i < TLSNIC_RSS_ENTRIES; i++)
			param->indir[i] = nic->rss_table[i];
	return 0;
}

static int tlsnic_set_rxfh(struct net_device *netdev, struct ethtool_rxfh_param *param,
			   struct netlink_ext_ack *extack)
{
	struct tlsnic *nic = netdev_priv(netdev);
	unsigned int i;

	if (param->hfunc != ETH_RSS_HASH_NO_CHANGE && param->hfunc != ETH_RSS_HASH_TOP)
		return -EOPNOTSUPP;
	if (param->key)
		memcpy(nic->rss_key, param->key, sizeof(nic->rss_key));
	if (param->indir)
		for (i = 0; i < TLSNIC_RSS_ENTRIES; i++)
			nic->rss_table[i] = param->indir[i];
	tlsnic_hw_set_rss(nic);
	return 0;
}

/* All or nothing: with "dedicated" or "all". */
static int tlsnic_ethtool_reset(struct net_device *netdev, u32 *flags)
{
	if ((*flags & ETH_RESET_DEDICATED) != ETH_RESET_DEDICATED)
		return -EOPNOTSUPP;
	*flags &= ~ETH_RESET_DEDICATED;
	return tlsnic_reset(netdev_priv(netdev));
}

const struct ethtool_ops tlsnic_ethtool_ops = {
	.supported_coalesce_params = ETHTOOL_COALESCE_RX_USECS | ETHTOOL_COALESCE_RX_MAX_FRAMES,
	.get_drvinfo = tlsnic_get_drvinfo,
	.get_regs_len = tlsnic_get_regs_len,
	.get_regs = tlsnic_get_regs,
	.get_msglevel = tlsnic_get_msglevel,
	.set_msglevel = tlsnic_set_msglevel,
	.get_link = ethtool_op_get_link,
	.get_link_ksettings = tlsnic_get_link_ksettings,
	.get_coalesce = tlsnic_get_coalesce,
	.set_coalesce = tlsnic_set_coalesce,
	.get_ringparam = tlsnic_get_ringparam,
	.set_ringparam = tlsnic_set_ringparam,
	.get_channels = tlsnic_get_channels,
	.set_channels = tlsnic_set_channels,
	.get_sset_count = tlsnic_get_sset_count,
	.get_strings = tlsnic_get_strings,
	.get_ethtool_stats = tlsnic_get_ethtool_stats,
	.get_priv_flags = tlsnic_get_priv_flags,
	.set_priv_flags = tlsnic_set_priv_flags,
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
	.get_rxfh_fields = tlsnic_get_rxfh_fields,
	.set_rxfh_fields = tlsnic_set_rxfh_fields,
#else
	.set_rxnfc = tlsnic_set_rxnfc,
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
	.get_rx_ring_count = tlsnic_get_rx_ring_count,
#else
	.get_rxnfc = tlsnic_get_rxnfc,
#endif
	.get_rxfh_key_size = tlsnic_get_rxfh_key_size,
	.get_rxfh_indir_size = tlsnic_get_rxfh_indir_size,
	.get_rxfh = tlsnic_get_rxfh,
	.set_rxfh = tlsnic_set_rxfh,
	.get_ts_info = ethtool_op_get_ts_info,
	.reset = tlsnic_ethtool_reset,
};
