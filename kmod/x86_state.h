/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * debugfs agent_latency/x86: what the x86 interrupt path is made of, CPU by CPU, as it is now.
 *
 * Format
 * ------
 * One fact a line; numbers are decimal, or hexadecimal with 0x. Fields that later versions add
 * stand at the end of a line, and other lines may be added. The first line names the version:
 *
 *     agent_latency x86 1
 *     addresses shown                  or: addresses withheld REASON
 *
 * then for each online CPU, in this order:
 *
 *     cpu 0 entry idt                  through the IDT; or fred: the IDT is not used
 *     cpu 0 idtr base=0xfffffe0000000000 limit=0xfff
 *     cpu 0 stack rsp0=0x... ist1=0x... ... ist7=0x...
 *     cpu 0 apic mode=xapic id=0x0 enabled=1 tpr=0x10 ppr=0x0 eoi_broadcast=1
 *     cpu 0 vector 0x22 irq 35 virtio2-input.0
 *     cpu 0 irr 0xec LOC
 *     cpu 0 isr 0x22 irq 35 virtio2-input.0
 *
 * `vector`: what a device's interrupt raises on that CPU, the Linux interrupt, and the names its
 * drivers gave, joined by a comma; the names are the rest of the line, with \, newlines and tabs
 * written in octal (\134, \012). Only interrupts that a driver has requested; one that is being
 * requested or freed at this moment may be missing. `irr` and `isr`: pending and in-service
 * vectors, if any; behind the vector is the interrupt as above, or the row of /proc/interrupts for
 * vectors without one, or nothing. Where there is no local APIC, or none enabled, there are
 * `cpu N apic mode=none` or `mode=off`, and no lines of the last three kinds.
 *
 * A CPU is asked by an IPI whose handler runs with interrupts off, so what arrives meanwhile is
 * pending (IRR), and what that CPU served before has ended: ISR is nearly always empty. One CPU's
 * registers are of one moment; two CPUs' are not. The saved RIP, CS, RFLAGS, RSP and SS exist for
 * the time of one interrupt and are not here; EOI can only be written.
 *
 * Who may know
 * ------------
 * The file is root's (0400). The IDT's base and the stacks are kernel addresses. They are left out
 * (base=withheld, stack withheld) under lockdown's confidentiality mode (REASON lockdown), with
 * kernel.kptr_restrict=2 (kptr_restrict), and for who opened the file without CAP_SYSLOG
 * (capability), as /proc/kallsyms does.
 */
#ifndef AGENT_X86_STATE_H
#define AGENT_X86_STATE_H

int agent_x86_state_init(void);

#endif
