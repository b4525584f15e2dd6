/* SPDX-License-Identifier: GPL-2.0-only */
/* The log-linear bucket of a value; agenttune/measure/histogram.py has the same layout. */
#ifndef AGENTTUNE_HISTOGRAM_H
#define AGENTTUNE_HISTOGRAM_H

/* Sixteen buckets per power of two: a bucket is at most 1/16 of its lowest value wide. */
#define AT_SUB_BITS 4
#define AT_SUB_BUCKETS (1 << AT_SUB_BITS)
/* Values from 2^35 (34 s in ns) on share the last bucket. */
#define AT_TOP_BIT 35
#define AT_HISTOGRAM_BUCKETS ((AT_TOP_BIT - AT_SUB_BITS + 1) * AT_SUB_BUCKETS)

struct at_histogram {
	__u64 total;
	__u64 maximum;
	__u64 buckets[AT_HISTOGRAM_BUCKETS];
};

/* By shifts: clang 14 crashes on __builtin_clzll for the bpf target. value must not be 0. */
static inline __attribute__((always_inline)) __u32 at_log2(__u64 value)
{
	__u32 bit = 0;

	if (value >> 32) {
		value >>= 32;
		bit += 32;
	}
	if (value >> 16) {
		value >>= 16;
		bit += 16;
	}
	if (value >> 8) {
		value >>= 8;
		bit += 8;
	}
	if (value >> 4) {
		value >>= 4;
		bit += 4;
	}
	if (value >> 2) {
		value >>= 2;
		bit += 2;
	}
	return bit + (value >> 1);
}

static inline __attribute__((always_inline)) __u32 at_bucket(__u64 value)
{
	__u32 bit;

	if (value < AT_SUB_BUCKETS)
		return value;
	if (value >> AT_TOP_BIT)
		return AT_HISTOGRAM_BUCKETS - 1;
	bit = at_log2(value);
	return (bit - AT_SUB_BITS + 1) * AT_SUB_BUCKETS +
	       ((value >> (bit - AT_SUB_BITS)) & (AT_SUB_BUCKETS - 1));
}

/* For one writer at a time: per-CPU values, or maps whose key holds the CPU. */
static inline __attribute__((always_inline)) void at_record(struct at_histogram *histogram,
							    __u64 value)
{
	__u32 bucket = at_bucket(value);

	histogram->total += value;
	if (value > histogram->maximum)
		histogram->maximum = value;
	if (bucket < AT_HISTOGRAM_BUCKETS)
		histogram->buckets[bucket]++;
}

#endif
