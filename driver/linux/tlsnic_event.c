// SPDX-License-Identifier: GPL-2.0
/* What the device tells unasked: link, queues in error, diagnostics, questions about flows. */
#include "tlsnic.h"

/*
 * The link is up or down. Not before the interface is registered: it would have a carrier then, but
 * nobody would be told, and its operational state stay unknown.
 */
static void tlsnic_event_link(struct tlsnic *nic, bool up)
{
	if (nic->netdev->reg_state != NETREG_REGISTERED)
		return;
	if (up)
		netif_carrier_on(nic->netdev);
	else
		netif_carrier_off(nic->netdev);
}

/* Look at the link, which has no event for what changed before the queue was there. */
void tlsnic_events_look_at_link(struct tlsnic *nic)
{
	tlsnic_event_link(nic, tlsnic_hw_link_up(nic));
}

static void tlsnic_event_queue_error(struct tlsnic *nic,
				     const struct tlsnic_queue_error_event *event)
{
	bool service = event->kind == TLSNIC_QUEUE_KIND_ADMIN ||
		       event->kind == TLSNIC_QUEUE_KIND_EVENT;

	netdev_notice(nic->netdev,
		      "queue %u of kind %u stopped: diagnostic %llu, address %#llx; recovering\n",
		      event->queue, event->kind, le64_to_cpu(event->code),
		      le64_to_cpu(event->address));
	/* The reset needs rtnl, which may be with somebody who waits for a response. */
	if (event->kind == TLSNIC_QUEUE_KIND_ADMIN)
		tlsnic_admin_stop(nic);
	tlsnic_request(nic, service ? TLSNIC_RESET : TLSNIC_RESTART);
}

static void tlsnic_event_handle(struct tlsnic *nic, const struct tlsnic_event *event)
{
	switch (le16_to_cpu(event->type)) {
	case TLSNIC_EVENT_TYPE_LINK_CHANGE:
		tlsnic_event_link(nic, !!((const struct tlsnic_link_change_event *)event)->link_up);
		break;
	case TLSNIC_EVENT_TYPE_QUEUE_ERROR:
		tlsnic_event_queue_error(nic, (const void *)event);
		break;
	case TLSNIC_EVENT_TYPE_RESYNC_REQUEST:
		tlsnic_ktls_rx_question(nic, (const void *)event);
		break;
	case TLSNIC_EVENT_TYPE_FLOW_ERROR:
		/* Packets come as on the wire from now on: nothing to do. */
		break;
	case TLSNIC_EVENT_TYPE_DIAGNOSTIC:
		if (net_ratelimit())
			netif_info(nic, hw, nic->netdev,
				   "diagnostic %llu, queue %u of kind %u, operand %#llx\n",
				   le64_to_cpu(event->value0), event->queue, event->kind,
				   le64_to_cpu(event->value1));
		break;
	}
}

/**
 * tlsnic_events_poll - take in events
 * @nic: the device
 *
 * For any context. When it returns, every event that the device wrote before has been handled.
 */
void tlsnic_events_poll(struct tlsnic *nic)
{
	struct tlsnic_events *events = &nic->events;
	const struct tlsnic_event *event;
	unsigned long flags;

	spin_lock_irqsave(&events->lock, flags);
	if (events->up) {
		while ((event = tlsnic_ring_peek(&events->ring))) {
			tlsnic_event_handle(nic, event);
			tlsnic_ring_pop(&events->ring);
		}
		tlsnic_ring_arm(&events->ring);
	}
	spin_unlock_irqrestore(&events->lock, flags);
}

int tlsnic_events_alloc(struct tlsnic *nic)
{
	static const struct tlsnic_ring_layout layout = {
		.regs = TLSNIC_REG_EVENT_QUEUE_RING_BASE,
		.doorbells = TLSNIC_REG_EVENT_DOORBELL_TAIL,
		.entry_bytes = sizeof(struct tlsnic_event),
		.entries_size = TLSNIC_EVENT_ENTRIES,
	};

	spin_lock_init(&nic->events.lock);
	return tlsnic_ring_alloc(nic, &nic->events.ring, &layout);
}

void tlsnic_events_free(struct tlsnic *nic)
{
	tlsnic_ring_free(&nic->events.ring);
}

int tlsnic_events_start(struct tlsnic *nic)
{
	unsigned long flags;
	int error;

	error = tlsnic_ring_enable(&nic->events.ring, TLSNIC_SERVICE_VECTOR);
	if (error)
		return error;
	tlsnic_hw_set_events(nic);
	spin_lock_irqsave(&nic->events.lock, flags);
	nic->events.up = true;
	tlsnic_ring_arm(&nic->events.ring);
	spin_unlock_irqrestore(&nic->events.lock, flags);
	tlsnic_events_look_at_link(nic);
	return 0;
}

void tlsnic_events_stop(struct tlsnic *nic)
{
	unsigned long flags;

	spin_lock_irqsave(&nic->events.lock, flags);
	if (nic->events.up) {
		nic->events.up = false;
		tlsnic_ring_disable(&nic->events.ring);
	}
	spin_unlock_irqrestore(&nic->events.lock, flags);
}
