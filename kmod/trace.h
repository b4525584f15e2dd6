/* SPDX-License-Identifier: GPL-2.0-only */
/* The module's trace events, for trace-cmd, perf and BPF. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM agent_latency

#if !defined(AGENT_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define AGENT_TRACE_H

#include <linux/tracepoint.h>

#ifndef AGENT_STAGES
#define AGENT_STAGES
/*
 * completion, running, wakeup and run follow one completion to its step; stolen_* are interrupts
 * that ran on the CPU of an agent in a step while the agent itself was on it.
 */
enum agent_stage {
	AGENT_STAGE_COMPLETION, /* its waking; the thread slept */
	AGENT_STAGE_RUNNING, /* it came while its thread had not slept, or ran again already */
	AGENT_STAGE_WAKEUP, /* the thread is on a run queue */
	AGENT_STAGE_RUN, /* and on the CPU */
	AGENT_STAGE_STOLEN_HARDIRQ,
	AGENT_STAGE_STOLEN_SOFTIRQ,
};
#endif

TRACE_DEFINE_ENUM(AGENT_STAGE_COMPLETION);
TRACE_DEFINE_ENUM(AGENT_STAGE_RUNNING);
TRACE_DEFINE_ENUM(AGENT_STAGE_WAKEUP);
TRACE_DEFINE_ENUM(AGENT_STAGE_RUN);
TRACE_DEFINE_ENUM(AGENT_STAGE_STOLEN_HARDIRQ);
TRACE_DEFINE_ENUM(AGENT_STAGE_STOLEN_SOFTIRQ);

/*
 * One stage of one step. irq: the device interrupt's number; -1: none (timer, IPI) or not known.
 * softirq: the vector from which it woke, or that was stolen; -1: none. cpu: where the stage was.
 * ns: since the chain began (the interrupt's entry, else the softirq's raise, else its entry;
 * 0: not known); of stolen stages, the interrupt's own time.
 */
TRACE_EVENT(agent_irq_stage,

	TP_PROTO(u64 step_id, pid_t tid, u32 stage, int irq, int softirq, u32 cpu, u64 ns),

	TP_ARGS(step_id, tid, stage, irq, softirq, cpu, ns),

	TP_STRUCT__entry(
		__field(u64, step_id)
		__field(u64, ns)
		__field(pid_t, tid)
		__field(u32, stage)
		__field(int, irq)
		__field(int, softirq)
		__field(u32, cpu)
	),

	TP_fast_assign(
		__entry->step_id = step_id;
		__entry->ns = ns;
		__entry->tid = tid;
		__entry->stage = stage;
		__entry->irq = irq;
		__entry->softirq = softirq;
		__entry->cpu = cpu;
	),

	TP_printk("step_id=%llu tid=%d stage=%s irq=%d softirq=%d cpu=%u ns=%llu",
		  __entry->step_id, __entry->tid,
		  __print_symbolic(__entry->stage,
				   { AGENT_STAGE_COMPLETION, "completion" },
				   { AGENT_STAGE_RUNNING, "running" },
				   { AGENT_STAGE_WAKEUP, "wakeup" },
				   { AGENT_STAGE_RUN, "run" },
				   { AGENT_STAGE_STOLEN_HARDIRQ, "stolen_hardirq" },
				   { AGENT_STAGE_STOLEN_SOFTIRQ, "stolen_softirq" }),
		  __entry->irq, __entry->softirq, __entry->cpu, __entry->ns)
);

/* begin_ns: CLOCK_MONOTONIC, as is deadline_ns; 0 for no deadline or budget. */
TRACE_EVENT(agent_step_begin,

	TP_PROTO(u64 step_id, pid_t tid, u64 begin_ns, u64 deadline_ns, u32 budget_us),

	TP_ARGS(step_id, tid, begin_ns, deadline_ns, budget_us),

	TP_STRUCT__entry(
		__field(u64, step_id)
		__field(u64, begin_ns)
		__field(u64, deadline_ns)
		__field(u32, budget_us)
		__field(pid_t, tid)
	),

	TP_fast_assign(
		__entry->step_id = step_id;
		__entry->begin_ns = begin_ns;
		__entry->deadline_ns = deadline_ns;
		__entry->budget_us = budget_us;
		__entry->tid = tid;
	),

	TP_printk("step_id=%llu tid=%d begin_ns=%llu deadline_ns=%llu budget_us=%u",
		  __entry->step_id, __entry->tid, __entry->begin_ns, __entry->deadline_ns,
		  __entry->budget_us)
);

/* late_ns: how long after its deadline it ended; over_us: by how much it missed its budget. */
TRACE_EVENT(agent_step_end,

	TP_PROTO(u64 step_id, pid_t tid, u64 duration_ns, u64 late_ns, u64 over_us,
		 u32 completions),

	TP_ARGS(step_id, tid, duration_ns, late_ns, over_us, completions),

	TP_STRUCT__entry(
		__field(u64, step_id)
		__field(u64, duration_ns)
		__field(u64, late_ns)
		__field(u64, over_us)
		__field(u32, completions)
		__field(pid_t, tid)
	),

	TP_fast_assign(
		__entry->step_id = step_id;
		__entry->duration_ns = duration_ns;
		__entry->late_ns = late_ns;
		__entry->over_us = over_us;
		__entry->completions = completions;
		__entry->tid = tid;
	),

	TP_printk("step_id=%llu tid=%d duration_ns=%llu late_ns=%llu over_us=%llu completions=%u",
		  __entry->step_id, __entry->tid, __entry->duration_ns, __entry->late_ns,
		  __entry->over_us, __entry->completions)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
