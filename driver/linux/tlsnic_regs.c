// SPDX-License-Identifier: GPL-2.0
/*
 * Registers: what the device is, its reset, and its settings. A setting is kept in struct tlsnic or
 * in the network interface, and written here; tlsnic_hw_program() writes all of them after a reset.
 */
#include <linux/etherdevice.h>

#include "tlsnic.h"

#define TLSNIC_MAGIC 0x4e534c54		/* reset value of MAGIC */
#define TLSNIC_RESET_POLLS 100

/**
 * tlsnic_hw_gone - whether the device has left the bus
 * @nic: the device
 *
 * Remembered: all waiting ends then.
 */
bool tlsnic_hw_gone(struct tlsnic *nic)
{
	if (!test_bit(TLSNIC_GONE, &nic->state) &&
	    tlsnic_read(nic, TLSNIC_REG_MAGIC) == ~0U)
		set_bit(TLSNIC_GONE, &nic->state);
	return test_bit(TLSNIC_GONE, &nic->state);
}

/**
 * tlsnic_hw_reset - reset the device
 * @nic: the device
 *
 * Afterwards nothing of the driver's is in its hands.
 *
 * Return: 0, -ENODEV when it is gone, -ETIMEDOUT when it does not get ready.
 */
int tlsnic_hw_reset(struct tlsnic *nic)
{
	int polls;

	tlsnic_write(nic, TLSNIC_REG_CONTROL, TLSNIC_CONTROL_RESET_MASK);
	for (polls = 0; polls < TLSNIC_RESET_POLLS; polls++) {
		u32 status = tlsnic_read(nic, TLSNIC_REG_STATUS);

		if (status == ~0U)
			return tlsnic_hw_gone(nic) ? -ENODEV : -EIO;
		if (TLSNIC_GET(STATUS_READY, status))
			return 0;
		usleep_range(1000, 2000);
	}
	return -ETIMEDOUT;
}

/**
 * tlsnic_hw_identify - check that this is a device the driver knows, and read what it can do
 * @nic: the device
 *
 * Return: 0 or -ENODEV.
 */
int tlsnic_hw_identify(struct tlsnic *nic)
{
	u32 magic = tlsnic_read(nic, TLSNIC_REG_MAGIC);
	u32 version, queues, rings, frame;

	if (magic != TLSNIC_MAGIC) {
		dev_err(&nic->pdev->dev, "not a tlsnic: magic %#x\n", magic);
		return -ENODEV;
	}
	version = tlsnic_read(nic, TLSNIC_REG_VERSION);
	if (TLSNIC_GET(VERSION_MAJOR, version)) {
		dev_err(&nic->pdev->dev, "unknown version %u.%u of the interface\n",
			(u32)TLSNIC_GET(VERSION_MAJOR, version),
			(u32)TLSNIC_GET(VERSION_MINOR, version));
		return -ENODEV;
	}
	queues = tlsnic_read(nic, TLSNIC_REG_CAP_QUEUES);
	rings = tlsnic_read(nic, TLSNIC_REG_CAP_RINGS);
	frame = tlsnic_read(nic, TLSNIC_REG_CAP_FRAME);
	nic->max_pairs = min3((u32)TLSNIC_GET(CAP_QUEUES_TX_QUEUES, queues),
			      (u32)TLSNIC_GET(CAP_QUEUES_RX_QUEUES, queues),
			      (u32)TLSNIC_MAX_QUEUES);
	nic->max_entries = BIT(TLSNIC_GET(CAP_RINGS_MAX_LOG2, rings));
	nic->max_chain = TLSNIC_GET(CAP_RINGS_MAX_CHAIN, rings);
	nic->max_frame = TLSNIC_GET(CAP_FRAME_FRAME_BYTES, frame);
	nic->max_segment = TLSNIC_GET(CAP_FRAME_SEGMENT_PAYLOAD_BYTES, frame);
	nic->offloads = tlsnic_read(nic, TLSNIC_REG_CAP_OFFLOADS);
	nic->tls_tx_suites = tlsnic_read64(nic, TLSNIC_REG_CAP_TLS_TX);
	nic->tls_rx_suites = tlsnic_read64(nic, TLSNIC_REG_CAP_TLS_RX);
	return 0;
}

void tlsnic_hw_set_mac(struct tlsnic *nic)
{
	/* First octet in the low bits. */
	u64 address = get_unaligned_le32(nic->netdev->dev_addr) |
		      (u64)get_unaligned_le16(nic->netdev->dev_addr + 4) << 32;

	tlsnic_write64(nic, TLSNIC_REG_MAC_ADDRESS, address);
}

void tlsnic_hw_set_mtu(struct tlsnic *nic, unsigned int mtu)
{
	tlsnic_write(nic, TLSNIC_REG_MAX_FRAME, mtu + ETH_HLEN);
}

/**
 * tlsnic_hw_set_offloads - switch receive offloads and the making of flows
 * @nic: the device
 * @features: what the interface shall have
 */
void tlsnic_hw_set_offloads(struct tlsnic *nic, netdev_features_t features)
{
	u32 offloads = 0;

	if (features & NETIF_F_RXCSUM)
		offloads |= TLSNIC_OFFLOAD_RX_CHECKSUM;
	if (features & NETIF_F_HW_VLAN_CTAG_RX)
		offloads |= TLSNIC_OFFLOAD_VLAN_STRIP;
	if (features & NETIF_F_GRO_HW)
		offloads |= TLSNIC_OFFLOAD_RX_COALESCE;
	if (features & NETIF_F_HW_TLS_TX)
		offloads |= TLSNIC_OFFLOAD_TX_TLS;
	if (features & NETIF_F_HW_TLS_RX)
		offloads |= TLSNIC_OFFLOAD_RX_TLS;
	tlsnic_write(nic, TLSNIC_REG_OFFLOAD_ENABLE, offloads & nic->offloads);
}

void tlsnic_hw_set_moderation(struct tlsnic *nic)
{
	unsigned int i;

	for (i = 0; i < nic->max_pairs; i++)
		tlsnic_write(nic, TLSNIC_REG_MODERATION +
			     (i + 1) * TLSNIC_REG_MODERATION_STRIDE, nic->moderation);
}

void tlsnic_hw_set_events(struct tlsnic *nic)
{
	u32 events = TLSNIC_EVENT_MASK_LINK | TLSNIC_EVENT_MASK_QUEUE | TLSNIC_EVENT_MASK_TLS;

	if (nic->msg_enable & NETIF_MSG_HW)
		events |= TLSNIC_EVENT_MASK_DIAGNOSTIC;
	tlsnic_write(nic, TLSNIC_REG_EVENT_ENABLE, events);
}

void tlsnic_hw_set_rss(struct tlsnic *nic)
{
	unsigned int i;

	if (!(nic->offloads & TLSNIC_OFFLOAD_RSS))
		return;
	for (i = 0; i < TLSNIC_REG_RSS_KEY_COUNT; i++)
		tlsnic_write(nic, TLSNIC_REG_RSS_KEY + i * TLSNIC_REG_RSS_KEY_STRIDE,
			     get_unaligned_le32(nic->rss_key + 4 * i));
	for (i = 0; i < TLSNIC_REG_RSS_TABLE_COUNT; i++)
		tlsnic_write(nic, TLSNIC_REG_RSS_TABLE + i * TLSNIC_REG_RSS_TABLE_STRIDE,
			     get_unaligned_le32(nic->rss_table + 4 * i));
	tlsnic_write(nic, TLSNIC_REG_RSS_CONTROL,
		     TLSNIC_RSS_CONTROL_ENABLE_MASK |
		     TLSNIC_PREP(RSS_CONTROL_TYPES, nic->hash_types));
}

/**
 * tlsnic_hw_set_rx_filter - take the frames that the interface wants
 * @nic: the device
 * @features: what the interface shall have
 *
 * Only entries that change are written. Too many addresses open the filter for all of their kind.
 * Called with the address lists locked.
 */
void tlsnic_hw_set_rx_filter(struct tlsnic *nic, netdev_features_t features)
{
	struct net_device *netdev = nic->netdev;
	u32 filter = TLSNIC_RX_FILTER_BROADCAST_MASK;
	struct netdev_hw_addr *address;
	unsigned int i;
	u64 entry;

	if (features & NETIF_F_HW_VLAN_CTAG_FILTER)
		filter |= TLSNIC_RX_FILTER_VLAN_FILTER_MASK;
	if (netdev->flags & IFF_PROMISC || netdev_uc_count(netdev) > TLSNIC_REG_MAC_FILTER_COUNT)
		filter |= TLSNIC_RX_FILTER_PROMISCUOUS_MASK;
	if (netdev->flags & IFF_ALLMULTI ||
	    netdev_uc_count(netdev) + netdev_mc_count(netdev) > TLSNIC_REG_MAC_FILTER_COUNT)
		filter |= TLSNIC_RX_FILTER_ALL_MULTICAST_MASK;
	if (netdev->flags & IFF_PROMISC)
		filter &= ~TLSNIC_RX_FILTER_VLAN_FILTER_MASK;

	for (i = 0; i < TLSNIC_REG_MAC_FILTER_COUNT; i++) {
		struct netdev_hw_addr_list *lists[] = { &netdev->uc, &netdev->mc };
		unsigned int left = i, list;

		/* Entry i is address i of both lists, one after the other. */
		entry = 0;
		for (list = 0; list < ARRAY_SIZE(lists) && !entry; list++) {
			if (left >= netdev_hw_addr_list_count(lists[list])) {
				left -= netdev_hw_addr_list_count(lists[list]);
				continue;
			}
			netdev_hw_addr_list_for_each(address, lists[list]) {
				if (left--)
					continue;
				entry = get_unaligned_le32(address->addr) |
					(u64)get_unaligned_le16(address->addr + 4) << 32 |
					TLSNIC_MAC_FILTER_VALID_MASK;
				break;
			}
		}
		if (nic->mac_filter[i] == entry)
			continue;
		nic->mac_filter[i] = entry;
		tlsnic_write64(nic, TLSNIC_REG_MAC_FILTER + i * TLSNIC_REG_MAC_FILTER_STRIDE,
			       entry);
	}
	tlsnic_write(nic, TLSNIC_REG_RX_FILTER, filter);
}

void tlsnic_hw_set_vlan(struct tlsnic *nic, u16 vid, bool on)
{
	unsigned int word = vid / 64;

	if (on)
		nic->vlan_filter[word] |= BIT_ULL(vid % 64);
	else
		nic->vlan_filter[word] &= ~BIT_ULL(vid % 64);
	tlsnic_write64(nic, TLSNIC_REG_VLAN_FILTER + word * TLSNIC_REG_VLAN_FILTER_STRIDE,
		       nic->vlan_filter[word]);
}

/**
 * tlsnic_hw_set_traffic - let packets through, or not
 * @nic: the device
 * @on: whether
 */
void tlsnic_hw_set_traffic(struct tlsnic *nic, bool on)
{
	tlsnic_write(nic, TLSNIC_REG_CONTROL,
		     on ? TLSNIC_CONTROL_RX_ENABLE_MASK | TLSNIC_CONTROL_TX_ENABLE_MASK : 0);
}

bool tlsnic_hw_link_up(struct tlsnic *nic)
{
	u32 status = tlsnic_read(nic, TLSNIC_REG_STATUS);

	return status != ~0U && TLSNIC_GET(STATUS_LINK_UP, status);
}

/**
 * tlsnic_hw_program - write all settings to a device that was reset
 * @nic: the device
 */
void tlsnic_hw_program(struct tlsnic *nic)
{
	struct net_device *netdev = nic->netdev;
	unsigned int i;

	tlsnic_hw_set_mac(nic);
	tlsnic_hw_set_mtu(nic, netdev->mtu);
	tlsnic_hw_set_offloads(nic, netdev->features);
	tlsnic_hw_set_moderation(nic);
	tlsnic_hw_set_rss(nic);
	for (i = 0; i < TLSNIC_REG_VLAN_FILTER_COUNT; i++)
		if (nic->vlan_filter[i])
			tlsnic_write64(nic, TLSNIC_REG_VLAN_FILTER +
				       i * TLSNIC_REG_VLAN_FILTER_STRIDE, nic->vlan_filter[i]);
	/* Until it is registered an interface has no addresses, and no lock for them. */
	if (netdev->reg_state != NETREG_REGISTERED)
		return;
	netif_addr_lock_bh(netdev);
	memset(nic->mac_filter, 0, sizeof(nic->mac_filter));
	tlsnic_hw_set_rx_filter(nic, netdev->features);
	netif_addr_unlock_bh(netdev);
}
