// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one hook on __napi_poll(), for attribution and guardrail.
 *
 * A kretprobe: set once at load and gated by plain flags, because setting it rewrites the kernel's
 * text. Its handlers run with preemption off (kprobe_ftrace_handler() in
 * arch/x86/kernel/kprobes/ftrace.c, rethook_trampoline_handler() in kernel/trace/rethook.c).
 * __napi_poll() is called from net_rx_action() and from NAPI threads, both with bottom halves off,
 * never from an NMI or a hardirq. So one task at a time on a CPU is inside, and stays on that CPU:
 * without PREEMPT_RT because preemption is off; with it because local_bh_disable() holds
 * softirq_ctrl.lock, a local lock, which also disables migration (kernel/softirq.c, v6.12).
 */
#include <linux/cpumask.h>
#include <linux/kprobes.h>
#include <linux/netdevice.h>
#include <linux/rcupdate.h>

#include "agents.h"
#include "attribution.h"
#include "guardrail.h"
#include "napi.h"

/* What a poll's entry leaves for its return. */
struct poll {
	struct napi_struct *napi;
	bool attributed;
	bool guarded;
	struct agent_guardrail_poll guardrail;
};

static bool hooked;
static bool closing;

/* 1: the return is not of interest. */
static int poll_entered(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct poll *poll = (struct poll *)instance->data;

	if (READ_ONCE(closing))
		return 1;
	poll->attributed = agents_count();
	poll->guarded = agent_guardrail_on();
	if (!poll->attributed && !poll->guarded)
		return 1;
	poll->napi = (struct napi_struct *)regs_get_kernel_argument(regs, 0);
	if (poll->attributed)
		agent_attribution_poll_begin(poll->napi);
	if (poll->guarded)
		agent_guardrail_poll_begin(poll->napi, &poll->guardrail);
	return 0;
}

/*
 * The NAPI may be scheduled and polled on another CPU by now, and taken from its device, but its
 * memory is there: who frees it waits for a grace period (__netif_napi_del() in linux/netdevice.h).
 */
static int poll_returned(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	const struct poll *poll = (const struct poll *)instance->data;
	int work = regs_return_value(regs), told = work;

	if (poll->guarded)
		told = agent_guardrail_poll_end(poll->napi, &poll->guardrail, work);
	if (poll->attributed)
		agent_attribution_poll_end(poll->napi);
	if (told != work)
		regs_set_return_value(regs, told);
	return 0;
}

/*
 * gcc may make it a clone for both of its callers, which pass a `repoll` of false: Debian's
 * 6.12-rt has only that one. The first argument and the result are the same.
 */
static const char *const names[] = { "__napi_poll", "__napi_poll.constprop.0" };

static struct kretprobe hook = {
	.entry_handler = poll_entered,
	.handler = poll_returned,
	.data_size = sizeof(struct poll),
};

bool agent_napi_hooked(void)
{
	return hooked;
}

unsigned long agent_napi_missed(void)
{
	return hook.kp.nmissed + hook.nmissed;
}

int agent_napi_init(void)
{
	unsigned int i;

	/* One task per CPU is inside; twice that is what kernel/kprobes.c takes by default. */
	hook.maxactive = 2 * num_possible_cpus();
	/* Refused, say without kprobes: the features that need it are missing then. */
	for (i = 0; i < ARRAY_SIZE(names) && !hooked; i++) {
		hook.kp.symbol_name = names[i];
		/* Set by a try that found the name and was refused; beside a name it is -EINVAL. */
		hook.kp.addr = NULL;
		hooked = !register_kretprobe(&hook);
	}
	return 0;
}

void agent_napi_exit(void)
{
	if (!hooked)
		return;
	/*
	 * A poll that is under way when a kretprobe is unregistered returns without the handler
	 * (rethook_free()), and a lowered weight would stay. So first no entry begins one any more,
	 * and those begun end: bottom halves off are an RCU read side, on PREEMPT_RT too
	 * (__local_bh_disable_ip()).
	 */
	WRITE_ONCE(closing, true);
	synchronize_rcu();
	unregister_kretprobe(&hook);
}
