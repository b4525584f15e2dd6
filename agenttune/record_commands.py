# SPDX-License-Identifier: GPL-2.0-only
"""The verbs that look at single steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from agenttune import cli
from agenttune.cli import Args
from agenttune.errors import ExitCode, HostError, InputError, PlanRefused
from agenttune.host.capture import read_host
from agenttune.host.host import Host
from agenttune.host.selector import Selector
from agenttune.measure.choice import only, slowest
from agenttune.measure.culprit import culprit
from agenttune.measure.record_file import read_trace
from agenttune.measure.steps_session import record
from agenttune.measure.trace import Step, Trace
from agenttune.output import emit, save, say
from agenttune.policy.planner import make_plan
from agenttune.policy.profile import Profile
from agenttune.policy.profile_file import profile_search, read_profile
from agenttune.policy.remedy import Remedy, find_remedy
from agenttune.report.explain import explanations_text
from agenttune.report.explanation import explain as explained
from agenttune.report.perfetto import perfetto_json
from agenttune.report.picture import picture_svg
from agenttune.stopping import interrupted


def explain(args: Args) -> ExitCode:
    trace = _recorded(args, args.slowest)
    remedy = _remedies(args, trace)
    found = tuple(explained(step, trace, remedy(step)) for step in trace.steps)
    emit(args, "explanations", found, lambda each: explanations_text(each, trace))
    return ExitCode.OK


def export(args: Args) -> ExitCode:
    if args.svg:
        trace = _recorded(args, 1)
        if not trace.steps:
            raise InputError(f"{args.file}: holds no steps", hint="Record for longer.")
        save(args.svg, picture_svg(trace.steps[0], trace).encode())
    elif args.perfetto:
        trace = _recorded(args, args.slowest)
        if len(trace.steps) == args.slowest < trace.coverage.kept:
            say(f"only the {args.slowest} slowest steps are exported; --slowest N says how many")
        save(args.perfetto, perfetto_json(trace))
    return ExitCode.OK


def _recorded(args: Args, count: int) -> Trace:
    """The step asked for, or the slowest ones, of the record or of a window recorded now."""
    chosen = only(args.step) if args.step else slowest(count)
    if args.file:
        return read_trace(args.file, chosen)
    say(f"recording steps for {args.seconds:g} s")
    with interrupted() as stop:
        trace = record(
            args.seconds,
            args.selectors,
            read_host(),
            stop,
            engine=args.engine,
            syscalls=args.syscalls,
            keep_all=args.step is not None,
        )
    return replace(trace, steps=chosen(trace.steps))


def _remedies(args: Args, trace: Trace) -> Callable[[Step], Remedy]:
    """What a plan for this host does about a step; a plan for another boot says nothing."""
    try:
        wanted = read_profile(args.profile or cli.DEFAULT_PROFILE, profile_search())
        host = _planning_host(wanted, trace)
        if trace.boot_id is None or trace.boot_id != host.boot_id:
            why = "planned changes can be told only in the boot that it was recorded in"
            return lambda step: Remedy(why)
        chosen = make_plan(host, wanted)
    except (InputError, HostError, PlanRefused) as error:
        if args.profile and not isinstance(error, PlanRefused):
            raise
        why = f"no plan can be told: {error.message}"
        return lambda step: Remedy(why)
    return lambda step: find_remedy(culprit(step, trace), step, trace, host, chosen)


def _planning_host(wanted: Profile, trace: Trace) -> Host:
    """This host with the agents of the profile; where none runs, those whose steps these are."""
    host = read_host(selectors=wanted.selectors)
    if host.agents or trace.boot_id != host.boot_id:
        return host
    recorded = [Selector.parse(text) for text in trace.selectors]
    processes = [Selector.parse(f"pid:{step.tgid}") for step in trace.steps]
    return read_host(selectors=(*recorded, *processes))
