// SPDX-License-Identifier: GPL-2.0
/*
 * Commands. Each takes a slot, which has memory for the block that the command refers to, and the
 * number that its response brings back. Whoever can sleep waits for the response; answers to resync
 * questions are posted where that cannot be, and nobody waits for them.
 */
#include <linux/dma-mapping.h>

#include "tlsnic.h"

#define TLSNIC_SLOTS (TLSNIC_ADMIN_ENTRIES - 1)	/* what the ring holds */
#define TLSNIC_SLOT_MASK (TLSNIC_ADMIN_ENTRIES - 1)
#define TLSNIC_ADMIN_TIMEOUT (10 * HZ)
#define TLSNIC_ADMIN_LOOK (HZ / 5)
#define TLSNIC_STATUS_LOST 0xffff	/* no response: the device was reset */

static int tlsnic_admin_error(u16 status)
{
	switch (status) {
	case TLSNIC_COMMAND_STATUS_OK:
		return 0;
	case TLSNIC_COMMAND_STATUS_UNSUPPORTED:
	case TLSNIC_COMMAND_STATUS_DISABLED:
	case TLSNIC_COMMAND_STATUS_DEPENDENCY:
		return -EOPNOTSUPP;
	case TLSNIC_COMMAND_STATUS_TABLE_FULL:
		return -ENOSPC;
	case TLSNIC_COMMAND_STATUS_DUPLICATE:
		return -EEXIST;
	case TLSNIC_COMMAND_STATUS_BAD_HANDLE:
		return -ENOENT;
	case TLSNIC_COMMAND_STATUS_BUSY:
		return -EBUSY;
	case TLSNIC_STATUS_LOST:
		return -EIO;
	default:
		return -EINVAL;
	}
}

static struct tlsnic_slot *tlsnic_admin_try_get(struct tlsnic_admin *admin, unsigned int spare)
{
	struct tlsnic_slot *slot = NULL;
	unsigned long flags, number;

	spin_lock_irqsave(&admin->lock, flags);
	number = find_first_zero_bit(admin->used, TLSNIC_SLOTS);
	if (number + spare < TLSNIC_SLOTS) {
		__set_bit(number, admin->used);
		slot = &admin->slots[number];
		slot->id = number | ++admin->ids * TLSNIC_ADMIN_ENTRIES;
		slot->posted = false;
		slot->abandoned = false;
		reinit_completion(&slot->done);
	}
	spin_unlock_irqrestore(&admin->lock, flags);
	return slot;
}

static void tlsnic_admin_free_slot(struct tlsnic_admin *admin, struct tlsnic_slot *slot)
{
	/* There may have been a key in it. */
	memzero_explicit(slot->block, TLSNIC_BLOCK_BYTES);
	__clear_bit(slot - admin->slots, admin->used);
}

/*
 * No response came for a while. A device that is gone, or silent until the deadline, gets no
 * commands any more: nobody shall wait for it, perhaps with a lock that its reset needs.
 */
static int tlsnic_admin_give_up(struct tlsnic *nic, unsigned long deadline)
{
	if (tlsnic_hw_gone(nic)) {
		tlsnic_admin_stop(nic);
		return -ENODEV;
	}
	if (time_before(jiffies, deadline))
		return 0;
	tlsnic_admin_stop(nic);
	tlsnic_request(nic, TLSNIC_RESET);
	return -ETIMEDOUT;
}

/**
 * tlsnic_admin_get - a slot for a command
 * @nic: the device
 *
 * Sleeps until one is free. A device that gives no response meanwhile is reset.
 */
struct tlsnic_slot *tlsnic_admin_get(struct tlsnic *nic)
{
	struct tlsnic_admin *admin = &nic->admin;
	unsigned long since = jiffies;
	struct tlsnic_slot *slot;

	while (!wait_event_timeout(admin->room, (slot = tlsnic_admin_try_get(admin, 0)),
				   TLSNIC_ADMIN_LOOK)) {
		unsigned long heard = READ_ONCE(admin->heard);

		/* As long as there are responses there will be a slot. */
		if (time_after(heard, since))
			since = heard;
		tlsnic_admin_poll(nic);
		if (tlsnic_admin_give_up(nic, since + TLSNIC_ADMIN_TIMEOUT))
			since = jiffies;
	}
	return slot;
}

/**
 * tlsnic_admin_put - give a slot back
 * @nic: the device
 * @slot: from tlsnic_admin_get()
 *
 * One that the device still has is freed by its response.
 */
void tlsnic_admin_put(struct tlsnic *nic, struct tlsnic_slot *slot)
{
	struct tlsnic_admin *admin = &nic->admin;
	unsigned long flags;

	spin_lock_irqsave(&admin->lock, flags);
	if (slot->posted)
		slot->abandoned = true;
	else
		tlsnic_admin_free_slot(admin, slot);
	spin_unlock_irqrestore(&admin->lock, flags);
	wake_up(&admin->room);
}

/*
 * Hand a command to the device. One whose response nobody waits for is about a flow, and gone when
 * the device was reset since the flow was made: the handle may be that of another one now.
 */
static int tlsnic_admin_write(struct tlsnic *nic, struct tlsnic_slot *slot, void *command,
			      bool abandoned, u32 generation)
{
	struct tlsnic_admin *admin = &nic->admin;
	struct tlsnic_command *common = command;
	unsigned long flags;
	int error = 0;

	spin_lock_irqsave(&admin->lock, flags);
	if (admin->up && (!abandoned || generation == nic->generation)) {
		slot->generation = nic->generation;
		common->command_id = cpu_to_le32(slot->id);
		memcpy(admin->ring.desc + admin->tail * sizeof(*common), common, sizeof(*common));
		admin->tail = (admin->tail + 1) & (admin->ring.size - 1);
		slot->posted = true;
		slot->abandoned = abandoned;
		tlsnic_ring_set_tail(&admin->ring, admin->tail);
	} else {
		error = -ENETDOWN;
		if (abandoned)
			tlsnic_admin_free_slot(admin, slot);
	}
	spin_unlock_irqrestore(&admin->lock, flags);
	return error;
}

/**
 * tlsnic_admin_run - have a command carried out
 * @nic: the device
 * @slot: from tlsnic_admin_get(), with the command's block filled in
 * @command: 32 bytes; command_id is set here
 *
 * Sleeps. Afterwards slot->result is the response's, and slot->generation that of the device that
 * gave it. A device that gives none is reset.
 *
 * Return: 0, the error that the device answers with, -ENETDOWN, -ENODEV or -ETIMEDOUT.
 */
int tlsnic_admin_run(struct tlsnic *nic, struct tlsnic_slot *slot, void *command)
{
	unsigned long deadline = jiffies + TLSNIC_ADMIN_TIMEOUT;
	int error;

	error = tlsnic_admin_write(nic, slot, command, false, 0);
	if (error)
		return error;
	while (!wait_for_completion_timeout(&slot->done, TLSNIC_ADMIN_LOOK)) {
		/* In case that interrupts do not come. */
		tlsnic_admin_poll(nic);
		if (completion_done(&slot->done))
			continue;
		error = tlsnic_admin_give_up(nic, deadline);
		if (error)
			return error;
	}
	return tlsnic_admin_error(slot->status);
}

/**
 * tlsnic_admin_post - post a command about a flow that has no block, and wait for no response
 * @nic: the device
 * @command: 32 bytes; command_id is set here
 * @generation: of the flow
 *
 * For any context. Some slots are left to those who wait.
 *
 * Return: 0, -EBUSY when there is no slot, -ENETDOWN also when the flow died with a reset.
 */
int tlsnic_admin_post(struct tlsnic *nic, void *command, u32 generation)
{
	struct tlsnic_slot *slot = tlsnic_admin_try_get(&nic->admin, TLSNIC_SLOTS / 4);

	return slot ? tlsnic_admin_write(nic, slot, command, true, generation) : -EBUSY;
}

/* The same for those who can sleep until there is a slot. */
int tlsnic_admin_post_sleeping(struct tlsnic *nic, void *command, u32 generation)
{
	return tlsnic_admin_write(nic, tlsnic_admin_get(nic), command, true, generation);
}

static void tlsnic_admin_respond(struct tlsnic_admin *admin, struct tlsnic_slot *slot, u16 status,
				 u64 result)
{
	slot->posted = false;
	slot->status = status;
	slot->result = result;
	if (slot->abandoned)
		tlsnic_admin_free_slot(admin, slot);
	else
		complete(&slot->done);
}

/**
 * tlsnic_admin_poll - take in responses
 * @nic: the device
 *
 * For any context.
 */
void tlsnic_admin_poll(struct tlsnic *nic)
{
	struct tlsnic_admin *admin = &nic->admin;
	const struct tlsnic_response *response;
	unsigned long flags;
	bool freed = false;

	spin_lock_irqsave(&admin->lock, flags);
	while (admin->up && (response = tlsnic_ring_peek(&admin->ring))) {
		u32 id = le32_to_cpu(response->command_id);
		struct tlsnic_slot *slot = &admin->slots[id & TLSNIC_SLOT_MASK];

		if (slot->id == id && slot->posted) {
			freed |= slot->abandoned;
			tlsnic_admin_respond(admin, slot, le16_to_cpu(response->status),
					     le64_to_cpu(response->result0));
		}
		tlsnic_ring_pop(&admin->ring);
		WRITE_ONCE(admin->heard, jiffies);
	}
	if (admin->up)
		tlsnic_ring_arm(&admin->ring);
	spin_unlock_irqrestore(&admin->lock, flags);
	if (freed)
		wake_up(&admin->room);
}

int tlsnic_admin_alloc(struct tlsnic *nic)
{
	static const struct tlsnic_ring_layout layout = {
		.regs = TLSNIC_REG_ADMIN_QUEUE_RING_BASE,
		.doorbells = TLSNIC_REG_ADMIN_DOORBELL_TAIL,
		.desc_bytes = sizeof(struct tlsnic_command),
		.size = TLSNIC_ADMIN_ENTRIES,
		.entry_bytes = sizeof(struct tlsnic_response),
		.entries_size = TLSNIC_ADMIN_ENTRIES,
	};
	struct tlsnic_admin *admin = &nic->admin;
	unsigned int i;
	int error;

	spin_lock_init(&admin->lock);
	init_waitqueue_head(&admin->room);
	admin->blocks = dma_alloc_coherent(&nic->pdev->dev, TLSNIC_SLOTS * TLSNIC_BLOCK_BYTES,
					   &admin->blocks_dma, GFP_KERNEL);
	if (!admin->blocks)
		return -ENOMEM;
	for (i = 0; i < TLSNIC_SLOTS; i++) {
		init_completion(&admin->slots[i].done);
		admin->slots[i].block = admin->blocks + i * TLSNIC_BLOCK_BYTES;
		admin->slots[i].block_dma = admin->blocks_dma + i * TLSNIC_BLOCK_BYTES;
	}
	error = tlsnic_ring_alloc(nic, &admin->ring, &layout);
	if (error)
		tlsnic_admin_free(nic);
	return error;
}

void tlsnic_admin_free(struct tlsnic *nic)
{
	struct tlsnic_admin *admin = &nic->admin;

	tlsnic_ring_free(&admin->ring);
	if (admin->blocks)
		dma_free_coherent(&nic->pdev->dev, TLSNIC_SLOTS * TLSNIC_BLOCK_BYTES,
				  admin->blocks, admin->blocks_dma);
	admin->blocks = NULL;
}

int tlsnic_admin_start(struct tlsnic *nic)
{
	struct tlsnic_admin *admin = &nic->admin;
	unsigned long flags;
	int error;

	error = tlsnic_ring_enable(&admin->ring, TLSNIC_SERVICE_VECTOR);
	if (error)
		return error;
	spin_lock_irqsave(&admin->lock, flags);
	admin->tail = 0;
	admin->up = true;
	tlsnic_ring_arm(&admin->ring);
	spin_unlock_irqrestore(&admin->lock, flags);
	return 0;
}

/*
 * Stop the queue, before a reset or for ever. Whoever waits for a response gets -EIO, and flows
 * count as lost. For any context.
 */
void tlsnic_admin_stop(struct tlsnic *nic)
{
	struct tlsnic_admin *admin = &nic->admin;
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&admin->lock, flags);
	if (admin->up) {
		admin->up = false;
		WRITE_ONCE(nic->generation, nic->generation + 1);
		tlsnic_ring_disable(&admin->ring);
		for (i = 0; i < TLSNIC_SLOTS; i++)
			if (admin->slots[i].posted)
				tlsnic_admin_respond(admin, &admin->slots[i], TLSNIC_STATUS_LOST,
						     0);
	}
	spin_unlock_irqrestore(&admin->lock, flags);
	wake_up(&admin->room);
}
