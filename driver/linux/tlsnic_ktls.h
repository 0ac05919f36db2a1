/* SPDX-License-Identifier: GPL-2.0 */
/* What the three files about TLS flows share. */
#ifndef TLSNIC_KTLS_H
#define TLSNIC_KTLS_H

#include "tlsnic.h"

/**
 * struct tlsnic_flow - one direction of a connection
 * @handle: the device's name for it
 * @generation: of the device when it was made; after a reset the device does not know it
 * @expected: transmit: TCP sequence number that the device expects
 * @in_step: transmit: @expected is known to be right
 * @hints: receive: the stack tells unasked where records begin
 * @async: receive: how a question is handed to the TLS stack
 * @lock: the question
 * @question: its number
 * @question_seq: TCP sequence number that it is about
 * @asked: there is one
 * @rcu: freed when nobody can have found it by its handle
 *
 * Found by the network stack through the TLS context, and by interrupt handlers through
 * tlsnic.flows.
 */
struct tlsnic_flow {
	u32 handle;
	u32 generation;

	u32 expected;
	bool in_step;

	bool hints;
	struct tls_offload_resync_async async;
	spinlock_t lock;	/* question, question_seq, asked */
	u32 question;
	u32 question_seq;
	bool asked;

	struct rcu_head rcu;
};

/* The place that the TLS stack keeps for the driver. */
static inline struct tlsnic_flow **tlsnic_flow_place(struct tls_context *context,
						     enum tls_offload_ctx_dir direction)
{
	BUILD_BUG_ON(sizeof(struct tlsnic_flow *) > TLS_DRIVER_STATE_SIZE_RX);
	BUILD_BUG_ON(sizeof(struct tlsnic_flow *) > TLS_DRIVER_STATE_SIZE_TX);
	return __tls_driver_ctx(context, direction);
}

/* Whether the device still has the flow. */
static inline bool tlsnic_flow_alive(const struct tlsnic *nic, const struct tlsnic_flow *flow)
{
	return flow->generation == READ_ONCE(nic->generation);
}

void tlsnic_ktls_rx_setup(struct tlsnic *nic, struct sock *sk, struct tlsnic_flow *flow);
int tlsnic_ktls_rx_resync(struct tlsnic *nic, struct tlsnic_flow *flow, u32 seq, u64 number);

#endif /* TLSNIC_KTLS_H */
