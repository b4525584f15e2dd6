# SPDX-License-Identifier: GPL-2.0-only
"""What the demo picks out of the module's words; the demo itself runs in a guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from vm.scene import module_demo
from vm.scene.demo import DemoError

# As trace_output prints them, from a run of the demo; the first step began before the tracing.
TRACE = """\
# tracer: nop
           <...>-267     [001] ..... 230.763: agent_step_end: step_id=7 tid=267 duration_ns=28 \
late_ns=0 over_us=0 completions=1
           agent-267     [001] ..... 230.764: agent_step_begin: step_id=8 tid=267 begin_ns=23 \
deadline_ns=0 budget_us=0
     ksoftirqd/1-24      [001] ..s.. 230.765: agent_irq_stage: step_id=8 tid=267 stage=completion \
irq=30 softirq=3 cpu=1 ns=4737348
           agent-267     [001] ..... 230.766: agent_step_end: step_id=8 tid=267 duration_ns=28 \
late_ns=0 over_us=0 completions=1
           agent-267     [001] ..... 230.767: agent_step_begin: step_id=9 tid=267 begin_ns=24 \
deadline_ns=0 budget_us=0
     ksoftirqd/1-24      [001] ..s.. 230.768: agent_irq_stage: step_id=9 tid=267 stage=completion \
irq=29 softirq=3 cpu=1 ns=4737348
          <idle>-0       [001] d.h.. 230.769: agent_irq_stage: step_id=9 tid=267 stage=run irq=29 \
softirq=3 cpu=1 ns=7763725
           agent-267     [001] ..... 230.770: agent_step_end: step_id=9 tid=267 duration_ns=28 \
late_ns=0 over_us=0 completions=1
           agent-267     [001] ..... 230.771: agent_step_begin: step_id=10 tid=267 begin_ns=25 \
deadline_ns=0 budget_us=0
     ksoftirqd/1-24      [001] ..s.. 230.772: agent_irq_stage: step_id=10 tid=267 stage=completion \
irq=29 softirq=3 cpu=1 ns=4737348
"""


def test_a_whole_step_with_the_right_interrupt() -> None:
    lines = module_demo.whole_step(TRACE, [29])
    assert [line.split(":")[0] for line in lines] == [
        "agent_step_begin", "agent_irq_stage", "agent_irq_stage", "agent_step_end",
    ]  # fmt: skip
    assert all("step_id=9 " in line for line in lines)
    assert module_demo.whole_step(TRACE, [30])[1].startswith("agent_irq_stage: step_id=8 ")
    assert module_demo.whole_step(TRACE, [31]) == []
    assert module_demo.whole_step("", [29]) == []


def test_the_agents_cpu_alone_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_demo, "DEBUGFS", tmp_path)
    (tmp_path / "guardrail").write_text(
        "# comments\nagent_napi_budget=16 agent_softirq_budget_ns=0 hooked=1 missed=0\n"
        "cpu=0 kind=other actions=9 packets=900 largest=300 longest_ns=1\n"
        "cpu=1 kind=agent actions=5 packets=60 largest=16 longest_ns=1 sizes=8:5\n"
        "cpu=1 kind=other actions=7 packets=70 largest=64 longest_ns=1 sizes=8:5\n"
    )
    assert module_demo.tally()["largest"] == "16"
    (tmp_path / "guardrail").write_text("# nothing yet\n")
    assert module_demo.tally() == {}
    (tmp_path / "guardrail").unlink()
    with pytest.raises(DemoError):
        module_demo.tally()
