// SPDX-License-Identifier: GPL-2.0
/* The PCI function: found, lost, and reset by the bus. */
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/rtnetlink.h>

#include "tlsnic.h"

#define TLSNIC_PCI_VENDOR 0x1234
#define TLSNIC_PCI_DEVICE 0x715c
#define TLSNIC_BAR_REGISTERS 0
#define TLSNIC_BAR_DOORBELLS 2

#define TLSNIC_MSG_DEFAULT (NETIF_MSG_DRV | NETIF_MSG_PROBE | NETIF_MSG_LINK)

static int debug = -1;
module_param(debug, int, 0444);
MODULE_PARM_DESC(debug, "message level (bits as in ethtool msglvl, 0 to 16)");

static int tlsnic_map(struct tlsnic *nic)
{
	struct pci_dev *pdev = nic->pdev;
	int error;

	error = pcim_enable_device(pdev);
	if (error)
		return error;
	error = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (error)
		return error;
	error = pcim_iomap_regions(pdev, BIT(TLSNIC_BAR_REGISTERS) | BIT(TLSNIC_BAR_DOORBELLS),
				   TLSNIC_NAME);
	if (error)
		return error;
	nic->bar0 = pcim_iomap_table(pdev)[TLSNIC_BAR_REGISTERS];
	nic->bar2 = pcim_iomap_table(pdev)[TLSNIC_BAR_DOORBELLS];
	if (pci_resource_len(pdev, TLSNIC_BAR_REGISTERS) < TLSNIC_BAR0_SIZE ||
	    pci_resource_len(pdev, TLSNIC_BAR_DOORBELLS) < TLSNIC_BAR2_SIZE)
		return -ENODEV;
	pci_set_master(pdev);
	return 0;
}

static void tlsnic_read_mac(struct tlsnic *nic)
{
	u64 value = tlsnic_read64(nic, TLSNIC_REG_MAC_ADDRESS);
	u8 address[8];

	put_unaligned_le64(TLSNIC_GET(MAC_ADDRESS_ADDRESS, value), address);
	if (is_valid_ether_addr(address))
		eth_hw_addr_set(nic->netdev, address);
	else
		eth_hw_addr_random(nic->netdev);
}

static int tlsnic_alloc_pairs(struct tlsnic *nic)
{
	unsigned int i;

	for (i = 0; i < nic->max_pairs; i++) {
		struct tlsnic_pair *pair;

		pair = devm_kzalloc(&nic->pdev->dev, sizeof(*pair), GFP_KERNEL);
		if (!pair)
			return -ENOMEM;
		pair->nic = nic;
		pair->index = i;
		u64_stats_init(&pair->tx.stats.sync);
		u64_stats_init(&pair->rx.stats.sync);
		nic->pairs[i] = pair;
	}
	return 0;
}

static int tlsnic_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct net_device *netdev;
	struct tlsnic *nic;
	int error;

	netdev = alloc_etherdev_mq(sizeof(*nic), TLSNIC_MAX_QUEUES);
	if (!netdev)
		return -ENOMEM;
	SET_NETDEV_DEV(netdev, &pdev->dev);
	nic = netdev_priv(netdev);
	nic->pdev = pdev;
	nic->netdev = netdev;
	nic->state = BIT(TLSNIC_DOWN);
	nic->msg_enable = netif_msg_init(debug, TLSNIC_MSG_DEFAULT);
	mutex_init(&nic->counters_lock);
	pci_set_drvdata(pdev, nic);

	error = tlsnic_map(nic);
	if (error)
		goto free_netdev;
	error = tlsnic_hw_identify(nic);
	if (error)
		goto free_netdev;
	error = tlsnic_hw_reset(nic);
	if (error)
		goto free_netdev;
	tlsnic_read_mac(nic);
	error = tlsnic_irq_alloc(nic);
	if (error)
		goto free_netdev;
	error = tlsnic_alloc_pairs(nic);
	if (error)
		goto free_vectors;
	tlsnic_netdev_init(nic);
	tlsnic_ktls_init(nic);
	error = tlsnic_admin_alloc(nic);
	if (error)
		goto exit_ktls;
	error = tlsnic_events_alloc(nic);
	if (error)
		goto free_admin;
	netif_carrier_off(netdev);
	error = tlsnic_irq_request_service(nic);
	if (error)
		goto free_events;
	error = tlsnic_service_start(nic);
	if (error)
		goto free_irq;
	error = register_netdev(netdev);
	if (error)
		goto stop_service;
	tlsnic_events_look_at_link(nic);
	schedule_delayed_work(&nic->watchdog, 0);
	netif_info(nic, probe, netdev, "%s, %u queue pairs, %pM\n",
		   nic->msix ? "MSI-X" : "INTx", nic->num_pairs, netdev->dev_addr);
	return 0;

stop_service:
	tlsnic_service_stop(nic);
free_irq:
	tlsnic_irq_free_service(nic);
	cancel_work_sync(&nic->work);
free_events:
	tlsnic_events_free(nic);
free_admin:
	tlsnic_admin_free(nic);
exit_ktls:
	tlsnic_ktls_exit(nic);
free_vectors:
	tlsnic_irq_free(nic);
free_netdev:
	free_netdev(netdev);
	return error;
}

static void tlsnic_remove(struct pci_dev *pdev)
{
	struct tlsnic *nic = pci_get_drvdata(pdev);

	tlsnic_hw_gone(nic);
	cancel_delayed_work_sync(&nic->watchdog);
	unregister_netdev(nic->netdev);
	cancel_work_sync(&nic->work);
	tlsnic_service_stop(nic);
	tlsnic_irq_free_service(nic);
	cancel_work_sync(&nic->work);
	if (!test_bit(TLSNIC_GONE, &nic->state))
		tlsnic_hw_reset(nic);
	pci_clear_master(pdev);
	tlsnic_events_free(nic);
	tlsnic_admin_free(nic);
	tlsnic_ktls_exit(nic);
	tlsnic_irq_free(nic);
	free_netdev(nic->netdev);
}

static void tlsnic_shutdown(struct pci_dev *pdev)
{
	struct tlsnic *nic = pci_get_drvdata(pdev);

	cancel_delayed_work_sync(&nic->watchdog);
	rtnl_lock();
	netif_device_detach(nic->netdev);
	tlsnic_down(nic);
	rtnl_unlock();
	tlsnic_service_stop(nic);
	pci_clear_master(pdev);
}

/* Function level reset, asked for through sysfs or vfio. */
static void tlsnic_reset_prepare(struct pci_dev *pdev)
{
	struct tlsnic *nic = pci_get_drvdata(pdev);

	rtnl_lock();
	tlsnic_quiesce(nic);
	rtnl_unlock();
}

static void tlsnic_reset_done(struct pci_dev *pdev)
{
	struct tlsnic *nic = pci_get_drvdata(pdev);

	pci_set_master(pdev);
	rtnl_lock();
	tlsnic_revive(nic);
	rtnl_unlock();
}

static const struct pci_error_handlers tlsnic_error_handlers = {
	.reset_prepare = tlsnic_reset_prepare,
	.reset_done = tlsnic_reset_done,
};

static const struct pci_device_id tlsnic_ids[] = {
	{ PCI_DEVICE(TLSNIC_PCI_VENDOR, TLSNIC_PCI_DEVICE) },
	{}
};
MODULE_DEVICE_TABLE(pci, tlsnic_ids);

static struct pci_driver tlsnic_driver = {
	.name = TLSNIC_NAME,
	.id_table = tlsnic_ids,
	.probe = tlsnic_probe,
	.remove = tlsnic_remove,
	.shutdown = tlsnic_shutdown,
	.err_handler = &tlsnic_error_handlers,
};
module_pci_driver(tlsnic_driver);

MODULE_DESCRIPTION("Network card with TLS offload, in software");
MODULE_AUTHOR("The tlsnic authors");
MODULE_LICENSE("GPL");
