# SPDX-License-Identifier: GPL-2.0-only
"""Any order of applies, foreign writes, reverts, faults, renumberings, boots: as a model says."""

from __future__ import annotations

import errno
from pathlib import Path
from tempfile import TemporaryDirectory

from change_host import FakeKernel, contents, do_apply, do_revert, make_host, renumber
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agenttune.change.journal import open_journal, read_journal
from agenttune.change.revert import preview
from agenttune.change.verify import Condition, status
from agenttune.errors import ExitCode
from agenttune.host.cpumask import CpuMask
from agenttune.policy.plan import Change, Knob, KnobKind, Plan

VECTORS = [
    Knob(KnobKind.VECTOR_AFFINITY, f"0000:0{nic + 1}:00.0/{queue}/eth{nic}-TxRx-{queue}")
    for nic in range(2)
    for queue in range(2)
]
DEFAULT = Knob(KnobKind.DEFAULT_AFFINITY, "")
knobs = st.sampled_from([*VECTORS, DEFAULT])
values = st.sampled_from(["0", "1", "2-3", "0-7"])


class Host(RuleBasedStateMachine):
    """`shown` is what each knob shows, `open` its (before, wanted) pairs, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self.state = Path(self.folder.name) / "state"
        self.kernel = make_host(Path(self.folder.name) / "root")
        self.start = contents(self.kernel.root)
        self.shown = dict.fromkeys([*VECTORS, DEFAULT], "0-7")
        self.open: dict[Knob, list[tuple[str, str]]] = {}
        self.irqs = dict(zip(VECTORS, (24, 25, 27, 28), strict=True))
        self.free = 100
        self.boots = 0
        self.unfinished = False

    def teardown(self) -> None:
        self.folder.cleanup()

    def path(self, knob: Knob) -> str:
        if knob == DEFAULT:
            return "/proc/irq/default_smp_affinity"
        return f"/proc/irq/{self.irqs[knob]}/smp_affinity_list"

    @precondition(lambda self: not self.unfinished)
    @rule(wanted=st.dictionaries(knobs, values, min_size=2))
    def apply(self, wanted: dict[Knob, str]) -> None:
        changes = tuple(
            Change(knob, self.shown[knob], value, str(knob), "a test")
            for knob, value in wanted.items()
        )
        done = do_apply(
            self.kernel, Plan("test", None, CpuMask(), CpuMask(), CpuMask(), changes), self.state
        )
        for knob, value in wanted.items():
            if value != self.shown[knob]:
                self.open.setdefault(knob, []).append((self.shown[knob], value))
                self.shown[knob] = value
                assert done.txn is not None

    @precondition(lambda self: self.open)
    @rule(data=st.data(), value=st.sampled_from(["5", "6", "1", "0-7"]))
    def foreign_write(self, data: st.DataObject, value: str) -> None:
        knob = data.draw(st.sampled_from(sorted(self.open, key=str)))
        self.set(knob, value)
        self.shown[knob] = value

    def set(self, knob: Knob, value: str) -> None:
        text = CpuMask.parse_list(value).to_hex() if knob == DEFAULT else value
        self.kernel.write_once(self.path(knob), text + "\n")

    @precondition(lambda self: self.open)
    @rule()
    def revert(self) -> None:
        foreign = self.expect_undone(set(self.open))
        self.kernel.written.clear()
        with open_journal(self.state) as journal:
            foreseen = preview(self.kernel, journal)
        assert self.kernel.written == []
        done = do_revert(self.kernel, self.state)
        assert [r.outcome for r in foreseen.restorations] == [r.outcome for r in done.restorations]
        assert done.exit_code == (ExitCode.REVERT_INCOMPLETE if foreign else ExitCode.OK)
        self.unfinished = False

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def revert_with_a_fault(self, data: st.DataObject) -> None:
        """What cannot be restored stays, with everything older on the same knob."""
        stuck = data.draw(st.sampled_from(sorted(self.open, key=str)))
        self.kernel.faults[self.path(stuck)] = errno.ENOSPC
        # Newer changes that have nothing to restore are settled; the first that has one stays.
        pairs = self.open[stuck]
        while pairs and (pairs[-1][1] != self.shown[stuck] or pairs[-1][0] == self.shown[stuck]):
            pairs.pop()
        if not pairs:
            del self.open[stuck]
        self.expect_undone(set(self.open) - {stuck})
        done = do_revert(self.kernel, self.state)
        self.kernel.faults.clear()
        if pairs:
            assert done.exit_code is ExitCode.REVERT_INCOMPLETE
            self.unfinished = True

    def expect_undone(self, which: set[Knob]) -> bool:
        """Undo these in the model; whether a foreign value is met."""
        met = False
        for knob in which:
            self.shown[knob], foreign = self.undone(self.shown[knob], self.open.pop(knob))
            met = met or foreign
        return met

    @staticmethod
    def undone(shown: str, pairs: list[tuple[str, str]]) -> tuple[str, bool]:
        foreign = False
        for before, wanted in reversed(pairs):
            if shown == wanted:
                shown = before
            elif shown != before:
                foreign = True
        return shown, foreign

    @rule(knob=st.sampled_from(VECTORS))
    def renumber(self, knob: Knob) -> None:
        """The freed number goes to the other vector of the last device, which moves up too."""
        other = next(each for each in reversed(VECTORS) if each != knob)
        renumber(
            self.kernel.root,
            {self.irqs[knob]: self.free, self.irqs[other]: self.irqs[knob]},
        )
        self.irqs[other], self.irqs[knob] = self.irqs[knob], self.free
        self.free += 1

    @precondition(lambda self: self.open)
    @rule()
    def boot(self) -> None:
        """Every value is as the kernel starts with; what was open has died."""
        for knob in self.shown:
            self.set(knob, "0-7")
            self.shown[knob] = "0-7"
        self.boots += 1
        file = self.kernel.root / "proc/sys/kernel/random/boot_id"
        file.write_text(f"boot-{self.boots}\n")
        self.kernel = FakeKernel(self.kernel.root)
        if self.boots % 2:
            done = do_revert(self.kernel, self.state)
            assert {each.outcome for each in done.restorations} <= {"expired"}
        self.open.clear()
        self.unfinished = False

    @invariant()
    def the_host_shows_the_model(self) -> None:
        for knob, value in self.shown.items():
            text = self.kernel.read(self.path(knob))
            mask = CpuMask.parse_hex(text) if knob == DEFAULT else CpuMask.parse_list(text)
            assert str(mask) == value

    @invariant()
    def status_tells_drift(self) -> None:
        with read_journal(self.state) as journal:
            found = status(self.kernel, journal)
        seen = {item.entry.knob: item for item in reversed(found.items)}
        alive = {knob: item for knob, item in seen.items() if item.condition != "expired"}
        assert alive.keys() == self.open.keys()
        for knob, item in alive.items():
            before, wanted = self.open[knob][-1]
            if self.shown[knob] == wanted:
                assert item.condition is Condition.APPLIED
            elif self.shown[knob] == before:
                assert item.condition is Condition.UNWRITTEN
            else:
                assert item.condition is Condition.DRIFTED


def test_model() -> None:
    run_state_machine_as_test(
        Host,
        settings=settings(
            max_examples=50,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            # Shrinking a failure takes minutes: add Phase.shrink to debug one.
            phases=[Phase.generate],
        ),
    )
