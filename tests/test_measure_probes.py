# SPDX-License-Identifier: GPL-2.0-only
"""Which programs are loaded where a kernel lacks tracepoints or symbols."""

from __future__ import annotations

import re
from pathlib import Path

from agenttune.measure.probes import PROBES, SEED, program_is_wanted, split, wanted

BPF = Path(__file__).parent.parent / "bpf"
SOURCE = (BPF / "agent.bpf.c").read_text()
ENTRIES = (BPF / "entries.bpf.h").read_text()


def tracepoints(has_agents: bool, realtime: bool = False) -> set[str]:
    return {name for probe in wanted(has_agents, realtime) for name in probe.tracepoints}


def test_every_probe_has_its_program_and_every_program_its_probe() -> None:
    entries = set(re.findall(r"^AT_PROGRAM\(\w+, (\w+)\)", SOURCE, re.MULTILINE))
    assert "\nAT_COMMON_PROGRAMS()\n" in SOURCE
    entries |= set(re.findall(r"^\tAT_CALLING\(\w+, (\w+),", ENTRIES, re.MULTILINE))
    for name in re.findall(r"^\tAT_ARCH_PROGRAMS\((\w+),", ENTRIES, re.MULTILINE):
        entries |= {f"{name}_entry", f"{name}_exit"}
    assert entries == {name for probe in PROBES for name in probe.tracepoints}
    assert f"AT_RUN_ONCE({SEED})" in SOURCE


def test_the_scheduler_is_left_alone_without_agents() -> None:
    assert not {"sched_switch", "sched_waking"} & tracepoints(has_agents=False)
    assert {"sched_switch", "sched_waking"} <= tracepoints(has_agents=True)


def test_realtime_kernels_need_switches_for_their_softirqs() -> None:
    assert "sched_switch" in tracepoints(has_agents=False, realtime=True)


def test_half_a_pair_is_not_attached_and_its_loss_is_said() -> None:
    chosen, missing = split(wanted(True, False), lambda name: name != "softirq_exit")
    assert not {"softirq_entry", "softirq_exit"} & chosen
    assert [(entry.probe, entry.consequence) for entry in missing] == [
        ("softirq_exit", "no softirq count, time or latency")
    ]


def test_a_whole_kernel_misses_nothing() -> None:
    chosen, missing = split(wanted(True, False), lambda _: True)
    assert chosen == tracepoints(has_agents=True)
    assert missing == []


def test_one_form_of_each_program_is_loaded() -> None:
    names = ("softirq_raise", "softirq_raise_exact", "softirq_entry")
    all_of_them = {"softirq_raise", "softirq_entry"}

    def loaded(exact: bool) -> list[str]:
        return [
            name
            for name in names
            if program_is_wanted(name, name.removesuffix("_exact"), all_of_them, exact)
        ]

    assert loaded(exact=True) == ["softirq_raise_exact", "softirq_entry"]
    assert loaded(exact=False) == ["softirq_raise", "softirq_entry"]
