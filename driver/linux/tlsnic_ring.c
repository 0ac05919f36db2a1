// SPDX-License-Identifier: GPL-2.0
/* Rings: their memory, and the registers that start and stop a queue of any kind. */
#include <linux/dma-mapping.h>

#include "tlsnic.h"

/* The four kinds of queues have the same registers, at the same distances. */
#define RING_REG(ring, name) \
	((ring)->regs + TLSNIC_REG_TX_QUEUE_##name - TLSNIC_REG_TX_QUEUE_RING_BASE)

#define SAME_LAYOUT(kind, name) \
	static_assert(TLSNIC_REG_##kind##_QUEUE_##name - TLSNIC_REG_##kind##_QUEUE_RING_BASE == \
		      TLSNIC_REG_TX_QUEUE_##name - TLSNIC_REG_TX_QUEUE_RING_BASE)
SAME_LAYOUT(RX, STATUS);
SAME_LAYOUT(ADMIN, STATUS);
SAME_LAYOUT(EVENT, STATUS);
SAME_LAYOUT(RX, VECTOR);
SAME_LAYOUT(ADMIN, VECTOR);
SAME_LAYOUT(EVENT, VECTOR);

/**
 * tlsnic_ring_alloc - memory for a queue
 * @nic: the device
 * @ring: what to set up
 * @layout: places and sizes
 *
 * Return: 0 or -ENOMEM.
 */
int tlsnic_ring_alloc(struct tlsnic *nic, struct tlsnic_ring *ring,
		      const struct tlsnic_ring_layout *layout)
{
	struct device *dev = &nic->pdev->dev;

	ring->nic = nic;
	ring->regs = layout->regs;
	ring->tail_doorbell = nic->bar2 + layout->doorbells + TLSNIC_REG_TX_DOORBELL_TAIL;
	ring->completion_doorbell = nic->bar2 + layout->doorbells +
				    TLSNIC_REG_TX_DOORBELL_COMPLETION;
	ring->desc_bytes = layout->desc_bytes;
	ring->size = layout->size;
	ring->entry_bytes = layout->entry_bytes;
	ring->entries_size = layout->entries_size;
	if (ring->desc_bytes) {
		ring->desc = dma_alloc_coherent(dev, (size_t)ring->size * ring->desc_bytes,
						&ring->desc_dma, GFP_KERNEL);
		if (!ring->desc)
			return -ENOMEM;
	}
	ring->entries = dma_alloc_coherent(dev, (size_t)ring->entries_size * ring->entry_bytes,
					   &ring->entries_dma, GFP_KERNEL);
	if (!ring->entries) {
		tlsnic_ring_free(ring);
		return -ENOMEM;
	}
	return 0;
}

/* Give the memory back; harmless for a ring that has none. */
void tlsnic_ring_free(struct tlsnic_ring *ring)
{
	if (ring->desc)
		dma_free_coherent(&ring->nic->pdev->dev, (size_t)ring->size * ring->desc_bytes,
				  ring->desc, ring->desc_dma);
	if (ring->entries)
		dma_free_coherent(&ring->nic->pdev->dev,
				  (size_t)ring->entries_size * ring->entry_bytes,
				  ring->entries, ring->entries_dma);
	ring->desc = NULL;
	ring->entries = NULL;
}

static u32 tlsnic_ring_state(struct tlsnic_ring *ring, u32 *code)
{
	u32 status = tlsnic_read(ring->nic, RING_REG(ring, STATUS));

	*code = TLSNIC_GET(TX_QUEUE_STATUS_ERROR_CODE, status);
	return TLSNIC_GET(TX_QUEUE_STATUS_STATE, status);
}

/**
 * tlsnic_ring_enable - start a queue, empty
 * @ring: its rings
 * @vector: interrupt vector of its completions
 *
 * Return: 0, or -EIO when the device refuses.
 */
int tlsnic_ring_enable(struct tlsnic_ring *ring, unsigned int vector)
{
	struct tlsnic *nic = ring->nic;
	u32 state, code;

	memset(ring->entries, 0, (size_t)ring->entries_size * ring->entry_bytes);
	ring->next = 0;
	ring->armed = false;
	ring->phase = true;
	if (ring->desc) {
		tlsnic_write64(nic, RING_REG(ring, RING_BASE), ring->desc_dma);
		tlsnic_write(nic, RING_REG(ring, RING_SIZE), ring->size);
	}
	tlsnic_write64(nic, RING_REG(ring, COMPLETION_BASE), ring->entries_dma);
	tlsnic_write(nic, RING_REG(ring, COMPLETION_SIZE), ring->entries_size);
	tlsnic_write(nic, RING_REG(ring, VECTOR), vector);
	tlsnic_write(nic, RING_REG(ring, CONTROL), TLSNIC_TX_QUEUE_CONTROL_ENABLE_MASK);
	state = tlsnic_ring_state(ring, &code);
	if (state == TLSNIC_QUEUE_STATE_RUNNING)
		return 0;
	if (!tlsnic_hw_gone(nic))
		dev_err(&nic->pdev->dev, "queue at %#x does not start: state %u, diagnostic %u\n",
			ring->regs, state, code);
	tlsnic_ring_disable(ring);
	return -EIO;
}

/**
 * tlsnic_ring_disable - stop a queue
 * @ring: its rings
 *
 * The read of the status makes sure that the device does not touch its memory any more.
 */
void tlsnic_ring_disable(struct tlsnic_ring *ring)
{
	u32 state, code;

	if (test_bit(TLSNIC_GONE, &ring->nic->state))
		return;
	tlsnic_write(ring->nic, RING_REG(ring, CONTROL), 0);
	state = tlsnic_ring_state(ring, &code);
	if (state != TLSNIC_QUEUE_STATE_DISABLED && !tlsnic_hw_gone(ring->nic))
		dev_err(&ring->nic->pdev->dev, "queue at %#x does not stop: state %u\n",
			ring->regs, state);
}

/* Whether a queue that should run does not. */
bool tlsnic_ring_broken(struct tlsnic_ring *ring)
{
	u32 code;

	return tlsnic_ring_state(ring, &code) != TLSNIC_QUEUE_STATE_RUNNING;
}
