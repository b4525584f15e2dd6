# SPDX-License-Identifier: GPL-2.0-only
"""One evaluation from start to end: agent, plans, rounds, statistics."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import agenttune
from agenttune.change.journal import Journal
from agenttune.change.kernel import Kernel
from agenttune.errors import ApplyError, HostError, InputError, PlanRefused
from agenttune.evaluate.arm import Arm, choose
from agenttune.evaluate.comparison import BASELINE, LEVEL, BlockFigures, compare, figures
from agenttune.evaluate.ground import HostGround, Subject
from agenttune.evaluate.observer import open_observer
from agenttune.evaluate.request import Request
from agenttune.evaluate.result import ArmResult, Environment, Evaluation, Settings
from agenttune.evaluate.rounds import Outcome, reason_against, run_rounds
from agenttune.evaluate.subject import Attached, working
from agenttune.host.capture import read_host
from agenttune.host.host import Host
from agenttune.host.tree import Tree
from agenttune.host.virtual import on_hypervisor
from agenttune.measure.measurement import Measurement
from agenttune.measure.session import measure

_PLANNING_S = 5.0
# Beside a block's own time: planning, applying, reverting, reading; generous for emulated CPUs.
_OVERHEAD_S = 30.0


Say = Callable[[str], None]


def evaluate(
    request: Request, kernel: Kernel, journal: Journal, stop: Callable[[], bool], say: Say
) -> Evaluation:
    """Run the whole matrix. The host is as it was afterwards, or RevertIncomplete is raised.

    Raises InputError, HostError and PlanRefused before anything is changed.
    """
    kernel.require_privilege()
    if journal.open_transactions():
        raise ApplyError(
            "something is applied already, so that there is no baseline",
            hint="Run 'agenttune revert' first; 'agenttune status' shows what it is.",
        )
    arms, unavailable = choose(request.profile, request.arms, request.external)
    with ExitStack() as stack:
        subject = _subject(request, len(arms), stack)
        ground, blind = _ground(request, kernel, subject, stop, say, stack)
        runnable = _runnable(arms, ground, unavailable)
        _estimate(request, len(runnable), say)
        done = run_rounds(
            runnable,
            *(request.rounds, ground, kernel, journal),
            seed=request.seed,
            guard=request.guard,
            say=say,
        )
        return _evaluation(
            request, kernel, subject, ground, arms, unavailable | done.dropped, done, blind
        )


def _subject(request: Request, arms: int, stack: ExitStack) -> Subject:
    if request.attach:
        return Attached(request.attach)
    blocks = request.rounds * arms
    seconds = blocks * (request.seconds + request.settle_s + _OVERHEAD_S) + 2 * _OVERHEAD_S
    return stack.enter_context(working(request.workload, request.noise, seconds, request.out))


def _ground(
    request: Request,
    kernel: Kernel,
    subject: Subject,
    stop: Callable[[], bool],
    say: Say,
    stack: ExitStack,
) -> tuple[HostGround, tuple[str, ...]]:
    """The ground, and what cannot be observed on it."""
    measurement, blind = _measured(request, subject, stop, say)
    observer, why = open_observer(subject.selectors, request.engine, stack)
    if observer is None and not subject.own_clock:
        raise HostError(f"a live agent's steps cannot be timed here: {why}")
    ground = HostGround(
        *(kernel, subject, observer, request.profile, measurement),
        seconds=request.seconds,
        settle_s=request.settle_s,
        stop=stop,
    )
    missing = observer.missing if observer else (f"attribution: {why}",)
    return ground, tuple(dict.fromkeys((*blind, *missing)))


def _measured(
    request: Request, subject: Subject, stop: Callable[[], bool], say: Say
) -> tuple[Measurement | None, tuple[str, ...]]:
    """What plans rest on: where the agent runs, and what each vector costs."""
    seconds = min(_PLANNING_S, request.seconds)
    say(f"measuring for {seconds:g} s, for the plans")
    try:
        return measure(seconds, subject.selectors, read_host(), stop, request.engine), ()
    except HostError as error:
        return None, (f"measured load of vectors: {error.message}",)


def _runnable(
    arms: Sequence[Arm], ground: HostGround, unavailable: dict[str, str]
) -> tuple[Arm, ...]:
    """The arms whose plans change something; the reasons of the others are added."""
    found = []
    host = ground.host()
    for arm in arms:
        try:
            why = reason_against(arm, ground.plan(arm, host))
        except PlanRefused as refusal:
            why = f"its plan is refused: {refusal.message}"
        if why:
            unavailable[arm.name] = why
        else:
            found.append(arm)
    if len(found) < 2:
        reasons = "".join(f"\n  {name}: {why}" for name, why in unavailable.items())
        raise InputError(
            f"there is no arm to compare with the baseline:{reasons}",
            hint="Give a profile that changes something here, or an arm of your own.",
        )
    return tuple(found)


def _estimate(request: Request, arms: int, say: Say) -> None:
    minutes = request.rounds * arms * (request.seconds + request.settle_s) / 60
    say(f"{arms} arms in {request.rounds} rounds take at least {minutes:.0f} minutes")


def _evaluation(
    request: Request,
    kernel: Kernel,
    subject: Subject,
    ground: HostGround,
    arms: Sequence[Arm],
    unavailable: dict[str, str],
    done: Outcome,
    blind: tuple[str, ...],
) -> Evaluation:
    wanted = {arm.name: arm.what for arm in arms} | {
        name: "" for name in unavailable if name not in {arm.name for arm in arms}
    }
    return Evaluation(
        command=request.command,
        settings=_settings(request, subject),
        environment=_environment(kernel.tree, read_host(kernel.root)),
        agent_cpus=str(ground.base.agent_cpus),
        level=LEVEL,
        rounds=done.complete,
        arms=tuple(
            _arm_result(name, what, unavailable.get(name, ""), done, request.seed)
            for name, what in wanted.items()
        ),
        blocks=tuple(done.blocks),
        stopped=done.stopped,
        not_observable=blind,
    )


def _arm_result(name: str, what: str, why: str, done: Outcome, seed: int) -> ArmResult:
    plan = done.plans.get(name)
    if why or not done.complete:
        return ArmResult(name, what, why or "no round is complete")
    by_round: dict[int, dict[str, BlockFigures]] = {}
    for block in done.blocks:
        by_round.setdefault(block.round, {})[block.arm] = BlockFigures(
            block.steps, block.quantiles_ns
        )
    rounds = [by_round[number] for number in sorted(by_round)]
    return ArmResult(
        name,
        what,
        changes=plan.changes if plan else (),
        notes=plan.notes if plan else (),
        figures=figures(name, rounds, seed),
        comparisons=() if name == BASELINE else compare(name, rounds, seed),
    )


def _settings(request: Request, subject: Subject) -> Settings:
    return Settings(
        profile=request.profile.name,
        rounds=request.rounds,
        seconds=request.seconds,
        settle_s=request.settle_s,
        seed=request.seed,
        guard=request.guard,
        workload=None if request.attach else request.workload,
        noise=tuple(request.noise),
        selectors=tuple(map(str, subject.selectors)),
    )


def _environment(tree: Tree, host: Host) -> Environment:
    model = next(
        (
            line.partition(b":")[2].strip().decode(errors="replace")
            for line in tree.lines("/proc/cpuinfo")
            if line.startswith(b"model name")
        ),
        None,
    )
    return Environment(
        kernel=host.kernel or "unknown",
        cpu=model,
        online=str(host.topology.online),
        hypervisor=on_hypervisor(tree),
        governor=tree.read("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor"),
        writers=tuple(
            f"{writer.name} ({'active' if writer.active else 'installed'})"
            for writer in host.writers
        ),
        agenttune=agenttune.__version__,
        python=platform.python_version(),
    )
