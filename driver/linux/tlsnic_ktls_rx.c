// SPDX-License-Identifier: GPL-2.0
/*
 * Resync of TLS flows on receive. The device asks whether a record begins at a TCP sequence number;
 * the TLS stack knows when it gets there, and the answer goes back with the question's number. In
 * the other mode the stack tells, unasked, where the next record begins.
 */
#include "tlsnic_ktls.h"

/* Which mode the TLS stack is to use, decided when the flow is made. */
void tlsnic_ktls_rx_setup(struct tlsnic *nic, struct sock *sk, struct tlsnic_flow *flow)
{
	struct tls_offload_context_rx *context = tls_offload_ctx_rx(tls_get_ctx(sk));

	flow->hints = nic->priv_flags & BIT(TLSNIC_PRIV_RX_HINT);
	if (flow->hints) {
		tls_offload_rx_resync_set_type(sk, TLS_OFFLOAD_SYNC_TYPE_CORE_NEXT_HINT);
		return;
	}
	context->resync_async = &flow->async;
	tls_offload_rx_resync_set_type(sk, TLS_OFFLOAD_SYNC_TYPE_DRIVER_REQ_ASYNC);
}

/**
 * tlsnic_ktls_rx_question - the device asks where a record begins
 * @nic: the device
 * @event: the question
 *
 * Handled before the packet in which the device found the header goes to the stack, so the record
 * has not been read yet and the stack need not search among those that were.
 */
void tlsnic_ktls_rx_question(struct tlsnic *nic, const struct tlsnic_resync_request_event *event)
{
	u32 seq = le32_to_cpu(event->tcp_sequence);
	struct tlsnic_flow *flow;
	unsigned long flags;

	rcu_read_lock();
	flow = xa_load(&nic->flows, le32_to_cpu(event->handle));
	if (flow && !flow->hints) {
		spin_lock_irqsave(&flow->lock, flags);
		flow->question = le32_to_cpu(event->question);
		flow->question_seq = seq;
		flow->asked = true;
		spin_unlock_irqrestore(&flow->lock, flags);
		tls_offload_rx_resync_async_request_end(&flow->async, cpu_to_be32(seq));
	}
	rcu_read_unlock();
}

/**
 * tlsnic_ktls_rx_resync - the TLS stack knows where a record begins
 * @nic: the device
 * @flow: which flow
 * @seq: TCP sequence number of the record's first byte
 * @number: the record's number
 *
 * For any context.
 *
 * Return: 0, or a negative error when the device is not told.
 */
int tlsnic_ktls_rx_resync(struct tlsnic *nic, struct tlsnic_flow *flow, u32 seq, u64 number)
{
	struct tlsnic_tls_resync_answer_command answer = {
		.opcode = cpu_to_le16(TLSNIC_TLS_RESYNC_ANSWER_COMMAND_OPCODE),
		.record_number = cpu_to_le64(number),
		.tcp_sequence = cpu_to_le32(seq),
		.handle = cpu_to_le32(flow->handle),
		.found = 1,
	};
	struct tlsnic_tls_resync_hint_command hint = {
		.opcode = cpu_to_le16(TLSNIC_TLS_RESYNC_HINT_COMMAND_OPCODE),
		.record_number = cpu_to_le64(number),
		.tcp_sequence = cpu_to_le32(seq),
		.handle = cpu_to_le32(flow->handle),
	};
	unsigned long flags;
	bool asked;

	if (flow->hints)
		return tlsnic_admin_post(nic, &hint, flow->generation);
	spin_lock_irqsave(&flow->lock, flags);
	asked = flow->asked && flow->question_seq == seq;
	answer.question = cpu_to_le32(flow->question);
	if (asked)
		flow->asked = false;
	spin_unlock_irqrestore(&flow->lock, flags);
	return asked ? tlsnic_admin_post(nic, &answer, flow->generation) : -ESTALE;
}
