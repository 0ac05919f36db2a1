// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupts: vector 0 for commands and events, one for each pair of queues. Without MSI-X the
 * vectors are bits of a register, and share a line.
 */
#include <linux/interrupt.h>

#include "tlsnic.h"

static irqreturn_t tlsnic_service_handler(int irq, void *data)
{
	struct tlsnic *nic = data;

	tlsnic_admin_poll(nic);
	tlsnic_events_poll(nic);
	return IRQ_HANDLED;
}

static irqreturn_t tlsnic_pair_handler(int irq, void *data)
{
	struct tlsnic_pair *pair = data;

	napi_schedule_irqoff(&pair->napi);
	return IRQ_HANDLED;
}

static irqreturn_t tlsnic_line_handler(int irq, void *data)
{
	struct tlsnic *nic = data;
	u64 cause = tlsnic_read64(nic, TLSNIC_REG_INT_CAUSE);
	unsigned int i;

	if (!cause || cause == ~0ULL)
		return IRQ_NONE;
	/* Before the rings are looked at: what comes later sets the bit again. */
	tlsnic_write64(nic, TLSNIC_REG_INT_CAUSE, cause);
	if (cause & BIT_ULL(TLSNIC_SERVICE_VECTOR))
		tlsnic_service_handler(irq, nic);
	if (!test_bit(TLSNIC_DOWN, &nic->state))
		for (i = 0; i < nic->num_pairs; i++)
			if (cause & BIT_ULL(i + 1))
				napi_schedule_irqoff(&nic->pairs[i]->napi);
	return IRQ_HANDLED;
}

/**
 * tlsnic_irq_alloc - get vectors from the bus
 * @nic: the device
 *
 * Sets the number of queue pairs that there can be.
 *
 * Return: 0 or a negative error.
 */
int tlsnic_irq_alloc(struct tlsnic *nic)
{
	int vectors;

	nic->max_pairs = min_t(unsigned int, nic->max_pairs, num_possible_cpus());
	vectors = pci_alloc_irq_vectors(nic->pdev, 2, nic->max_pairs + 1, PCI_IRQ_MSIX);
	if (vectors > 0) {
		nic->msix = true;
		nic->max_pairs = vectors - 1;
		return 0;
	}
	vectors = pci_alloc_irq_vectors(nic->pdev, 1, 1, PCI_IRQ_INTX);
	return vectors < 0 ? vectors : 0;
}

void tlsnic_irq_free(struct tlsnic *nic)
{
	pci_free_irq_vectors(nic->pdev);
}

/* The vector of commands and events, or the line of all. */
int tlsnic_irq_request_service(struct tlsnic *nic)
{
	int error;

	if (nic->msix)
		error = request_irq(pci_irq_vector(nic->pdev, TLSNIC_SERVICE_VECTOR),
				    tlsnic_service_handler, 0, TLSNIC_NAME, nic);
	else
		error = request_irq(pci_irq_vector(nic->pdev, 0), tlsnic_line_handler,
				    IRQF_SHARED, TLSNIC_NAME, nic);
	nic->irq_ready = !error;
	return error;
}

void tlsnic_irq_free_service(struct tlsnic *nic)
{
	if (!nic->irq_ready)
		return;
	if (!nic->msix && !test_bit(TLSNIC_GONE, &nic->state))
		tlsnic_write64(nic, TLSNIC_REG_INT_ENABLE, 0);
	free_irq(pci_irq_vector(nic->pdev, 0), nic);
	nic->irq_ready = false;
}

/* After a reset of the device: let the vectors assert the line. MSI-X needs nothing. */
void tlsnic_irq_program(struct tlsnic *nic)
{
	if (!nic->msix)
		tlsnic_write64(nic, TLSNIC_REG_INT_ENABLE, GENMASK_ULL(nic->max_pairs, 0));
}

/* The interrupt of a queue pair, its own or the line of all. */
int tlsnic_irq_of(const struct tlsnic_pair *pair)
{
	return pci_irq_vector(pair->nic->pdev, pair->nic->msix ? pair->index + 1 : 0);
}

static void tlsnic_irq_free_some(struct tlsnic *nic, unsigned int pairs)
{
	unsigned int i;

	for (i = 0; i < pairs; i++) {
		int irq = tlsnic_irq_of(nic->pairs[i]);

		irq_update_affinity_hint(irq, NULL);
		free_irq(irq, nic->pairs[i]);
	}
}

int tlsnic_irq_request_pairs(struct tlsnic *nic)
{
	unsigned int i;
	int error;

	if (!nic->msix)
		return 0;
	for (i = 0; i < nic->num_pairs; i++) {
		struct tlsnic_pair *pair = nic->pairs[i];
		int irq = tlsnic_irq_of(pair);

		snprintf(pair->irq_name, sizeof(pair->irq_name), "%s-%u", nic->netdev->name, i);
		error = request_irq(irq, tlsnic_pair_handler, 0, pair->irq_name, pair);
		if (error) {
			tlsnic_irq_free_some(nic, i);
			return error;
		}
		irq_update_affinity_hint(irq, cpumask_of(cpumask_local_spread(i, NUMA_NO_NODE)));
	}
	return 0;
}

void tlsnic_irq_free_pairs(struct tlsnic *nic)
{
	if (nic->msix)
		tlsnic_irq_free_some(nic, nic->num_pairs);
	else
		synchronize_irq(pci_irq_vector(nic->pdev, 0));
}
