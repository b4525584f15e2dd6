# SPDX-License-Identifier: GPL-2.0-only
"""One short function per verb; together they read like the pipeline."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import shtab

from agenttune import cli, document
from agenttune.change import apply as applying
from agenttune.change import revert as reverting
from agenttune.change import verify
from agenttune.change.apply import Applied
from agenttune.change.confirm import confirm as keep
from agenttune.change.journal import open_journal, read_journal
from agenttune.change.kernel import Kernel
from agenttune.change.module_build import Built
from agenttune.change.revert import Reverted
from agenttune.cli import Args
from agenttune.errors import AgenttuneError, ExitCode, InputError
from agenttune.evaluate.result import Evaluation
from agenttune.host.capture import read_host
from agenttune.host.host import Host
from agenttune.host.tree import Tree
from agenttune.host.x86_state import read_x86_state
from agenttune.measure.measurement import Measurement
from agenttune.measure.probe_layout import ProbeName
from agenttune.measure.probe_report import ProbeReport
from agenttune.measure.probe_session import probe as run_probe
from agenttune.measure.record_file import check_target, write_trace
from agenttune.measure.session import measure as measure_host
from agenttune.measure.steps_session import record as record_steps
from agenttune.measure.trace import Trace
from agenttune.module_commands import module
from agenttune.module_status import ModuleStatus
from agenttune.output import emit, save, say
from agenttune.policy.landing import Landing, landing
from agenttune.policy.plan import KnobKind, Plan
from agenttune.policy.planner import make_plan
from agenttune.policy.profile import Profile
from agenttune.policy.profile_file import list_profiles, profile_search, read_profile
from agenttune.record_commands import explain, export
from agenttune.report.change import applied_text, reverted_text, status_text
from agenttune.report.explanation import Explanation
from agenttune.report.host import host_text
from agenttune.report.landing import landing_text
from agenttune.report.measurement import measurement_text
from agenttune.report.plan import plan_text
from agenttune.report.probe import probe_text
from agenttune.report.profile import profile_text
from agenttune.report.steps import steps_text
from agenttune.report.x86 import x86_text
from agenttune.stopping import interrupted

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """One line of 'profile list'; `problem` is set instead of the description of a broken one."""

    name: str
    path: str
    description: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Tuned:
    """All of one tune. `after` and `proof` are None when there was nothing to change."""

    before: Measurement
    plan: Plan
    applied: Applied
    after: Measurement | None = None
    proof: Landing | None = None


# What --json prints, by the name in its 'schema' member; docs/schema/ is made from this.
DOCUMENTS: dict[str, Any] = {
    "host": Host,
    "measurement": Measurement,
    "probe": ProbeReport,
    "steps": Trace,
    "explanations": tuple[Explanation, ...],
    "profile": Profile,
    "profiles": tuple[ProfileSummary, ...],
    "plan": Plan,
    "applied": Applied,
    "status": verify.Status,
    "reverted": Reverted,
    "tuned": Tuned,
    "evaluation": Evaluation,
    "built": Built,
    "module": ModuleStatus,
}


def run(args: Args) -> ExitCode:
    """Carry out one command line. Raises AgenttuneError."""
    return _VERBS[args.verb](args)


def show(args: Args) -> ExitCode:
    host = read_host(args.root, args.selectors)
    if args.x86:
        # Reading it interrupts every CPU, so only who asks for it gets it.
        host = replace(host, x86=read_x86_state(Tree(args.root)))
    emit(args, "host", host, x86_text if args.x86 else host_text)
    return ExitCode.OK


def measure(args: Args) -> ExitCode:
    with interrupted() as stop:
        seen = measure_host(args.seconds, args.selectors, read_host(), stop, args.engine)
    if args.save:
        save(args.save, document.encode("measurement", seen))
    emit(args, "measurement", seen, measurement_text)
    return ExitCode.OK


def probe(args: Args) -> ExitCode:
    with interrupted() as stop:
        reports = run_probe(
            ProbeName(args.probe),
            args.selectors,
            seconds=args.seconds,
            interval=args.interval,
            max_bytes=args.max_bytes,
            host=read_host(),
            stop=stop,
            engine=args.engine,
        )
        for seen in reports:
            if args.json and args.interval:
                sys.stdout.write(document.encode_line("probe", seen).decode())
            else:
                emit(args, "probe", seen, probe_text)
            sys.stdout.flush()
    return ExitCode.OK


def steps(args: Args) -> ExitCode:
    if args.save:
        check_target(args.save)
    with interrupted() as stop:
        trace = record_steps(
            args.seconds,
            args.selectors,
            read_host(),
            stop,
            engine=args.engine,
            syscalls=args.syscalls,
            keep_all=args.save is not None,
        )
    if args.save:
        write_trace(args.save, trace)
    emit(args, "steps", trace, steps_text)
    return ExitCode.OK


def profile(args: Args) -> ExitCode:
    if args.action == "list":
        emit(args, "profiles", _summaries(), _summaries_text)
        return ExitCode.OK
    found = read_profile(args.profile, profile_search())
    if args.action == "show":
        emit(args, "profile", found, profile_text)
    else:
        print(f"{found.name}: valid")
    return ExitCode.OK


def plan(args: Args) -> ExitCode:
    wanted = read_profile(args.profile, profile_search())
    seen = None
    if args.measurement:
        seen = document.load("measurement", Measurement, args.measurement)
    host = read_host(args.root, wanted.selectors)
    emit(args, "plan", make_plan(host, wanted, seen), plan_text)
    return ExitCode.OK


def apply(args: Args) -> ExitCode:
    kernel = Kernel()
    if not args.dry_run:
        kernel.require_privilege()
    chosen = _plan_of(args.profile)
    done = applying.preview(chosen, kernel) if args.dry_run else _apply(args, chosen, kernel)
    emit(args, "applied", done, lambda each: applied_text(each, dry_run=args.dry_run))
    return ExitCode.OK


def confirm(args: Args) -> ExitCode:
    kernel = Kernel()
    kernel.require_privilege()
    with open_journal(args.state_dir) as journal:
        txn = keep(kernel, journal)
    print(f"transaction {txn} is confirmed and stays")
    return ExitCode.OK


def status(args: Args) -> ExitCode:
    with read_journal(args.state_dir) as journal:
        now = verify.status(Kernel(), journal)
    emit(args, "status", now, status_text)
    return now.exit_code


def revert(args: Args) -> ExitCode:
    kernel = Kernel()
    if args.dry_run:
        with read_journal(args.state_dir) as journal:
            done = reverting.preview(kernel, journal)
    else:
        kernel.require_privilege()
        with open_journal(args.state_dir) as journal:
            done = reverting.revert(kernel, journal)
    emit(args, "reverted", done, lambda each: reverted_text(each, dry_run=args.dry_run))
    return done.exit_code


def tune(args: Args) -> ExitCode:
    wanted, kernel = read_profile(args.profile, profile_search()), Kernel()
    kernel.require_privilege()
    say(f"measuring for {args.seconds:g} s before the change")
    before = measure_host(args.seconds, wanted.selectors, read_host(), engine=args.engine)
    host = read_host(selectors=wanted.selectors)
    chosen = make_plan(host, wanted, before)
    done = Tuned(before, chosen, _apply(args, chosen, kernel))
    if done.applied.txn is not None:
        say(f"measuring for {args.seconds:g} s after the change")
        after = _measure_again(args, wanted, host)
        done = Tuned(before, chosen, done.applied, after, landing(chosen, host, before, after))
    emit(args, "tuned", done, _tuned_text)
    return ExitCode.OK if done.proof is None or done.proof.landed else ExitCode.MISMATCH


def evaluate(args: Args) -> ExitCode:
    # Imported here: no other verb needs it, and each would start slower.
    from agenttune.evaluate_command import evaluate as evaluate_host

    return evaluate_host(args)


def completion(args: Args) -> ExitCode:
    print(shtab.complete(cli.make_parser(), args.shell))
    return ExitCode.OK


_VERBS: dict[str, Callable[[Args], ExitCode]] = {
    verb.__name__: verb
    for verb in (
        show,
        measure,
        probe,
        steps,
        explain,
        export,
        profile,
        plan,
        apply,
        confirm,
        status,
        revert,
        tune,
        evaluate,
        module,
        completion,
    )
}


def _plan_of(name: str) -> Plan:
    """A saved plan, or the plan of a profile for this host."""
    if name.endswith(".json"):
        return _without_commands(document.load("plan", Plan, Path(name)), name)
    wanted = read_profile(name, profile_search())
    return make_plan(read_host(selectors=wanted.selectors), wanted)


def _without_commands(chosen: Plan, name: str) -> Plan:
    """Only 'evaluate' runs shell commands, those of its own command line."""
    if any(change.knob.kind is KnobKind.COMMAND for change in chosen.changes):
        raise InputError(f"{name}: a plan from a file may not run shell commands")
    return chosen


def _apply(args: Args, chosen: Plan, kernel: Kernel) -> Applied:
    kernel.require_privilege()
    with open_journal(args.state_dir) as journal:
        return applying.apply(chosen, kernel, journal, confirm_within_s=args.confirm_within)


def _measure_again(args: Args, wanted: Profile, host: Host) -> Measurement:
    try:
        return measure_host(args.seconds, wanted.selectors, host, engine=args.engine)
    except (AgenttuneError, KeyboardInterrupt) as error:
        raise AgenttuneError(
            f"the second measurement failed ({error or 'interrupted'}); the plan stays applied",
            hint="Run 'agenttune status' to look at it, or 'agenttune revert' to undo it.",
        ) from error


def _summaries() -> tuple[ProfileSummary, ...]:
    search = profile_search()
    found = []
    for entry in list_profiles(search):
        try:
            description = read_profile(entry.name, search).description
            found.append(ProfileSummary(entry.name, str(entry.path), description))
        except AgenttuneError as error:
            found.append(ProfileSummary(entry.name, str(entry.path), problem=error.message))
    return tuple(found)


def _summaries_text(found: tuple[ProfileSummary, ...]) -> str:
    width = max((len(each.name) for each in found), default=0)
    lines = [
        f"{each.name:<{width}}  {each.description or 'NOT VALID: ' + each.problem}\n"
        for each in found
    ]
    return "".join(lines) or "no profiles found\n"


def _tuned_text(done: Tuned) -> str:
    if done.proof is None:
        return plan_text(done.plan) + "\n" + applied_text(done.applied)
    return "\n".join(
        (
            plan_text(done.plan),
            applied_text(done.applied),
            landing_text(done.proof),
            "'agenttune revert' puts every value back.\n",
        )
    )
