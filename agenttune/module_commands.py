# SPDX-License-Identifier: GPL-2.0-only
"""The verb 'module': build it, load it, unload it, look at it, attach agents to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from agenttune.attached import follow
from agenttune.change import apply as applying
from agenttune.change import module_build, module_refusal
from agenttune.change import revert as reverting
from agenttune.change.journal import open_journal, read_journal
from agenttune.change.kernel import Kernel
from agenttune.change.knobs.module import KNOB, parse_setting
from agenttune.cli import Args
from agenttune.errors import ExitCode, HostError, InputError
from agenttune.host.capture import read_host
from agenttune.host.cpumask import CpuMask
from agenttune.host.host import KernelModule
from agenttune.host.module import BUILDS, MODULE, is_loaded
from agenttune.module_status import ModuleStatus, module_status
from agenttune.output import emit, say
from agenttune.policy.module import plan_changes
from agenttune.policy.plan import KnobKind, Plan
from agenttune.report.change import applied_text, reverted_text
from agenttune.report.module import built_text, module_status_text
from agenttune.stopping import interrupted

_KINDS = frozenset({KnobKind.MODULE, KnobKind.MODULE_SETTING})


def module(args: Args) -> ExitCode:
    """One of the module's actions."""
    return _ACTIONS[args.action](args)


def build(args: Args) -> ExitCode:
    if args.dkms_tree is not None:
        module_build.write_dkms_tree(args.dkms_tree)
        print(f"{args.dkms_tree}: for 'dkms add {args.dkms_tree}', then 'dkms install'")
        return ExitCode.OK
    release = args.kernel or os.uname().release
    say(f"building {MODULE} for kernel {release}")
    into = args.into or Path(BUILDS)
    done = module_build.build(release, headers=args.headers, into=into)
    emit(args, "built", done, built_text)
    return ExitCode.OK


def load(args: Args) -> ExitCode:
    kernel = Kernel()
    if not args.dry_run:
        kernel.require_privilege()
    wanted = _settings(args.settings)
    chosen = _load_plan(_look(kernel, args), wanted)
    if args.dry_run:
        done = applying.preview(chosen, kernel)
    else:
        with open_journal(args.state_dir) as journal:
            done = applying.apply(chosen, kernel, journal)
    emit(args, "applied", done, lambda each: applied_text(each, dry_run=args.dry_run))
    return ExitCode.OK


def unload(args: Args) -> ExitCode:
    """Revert what agenttune changed of the module, wherever it was applied."""
    kernel = Kernel()
    if not args.dry_run:
        kernel.require_privilege()
    if is_loaded(kernel.tree) and _look(kernel, args).ours is False:
        raise HostError(
            f"{MODULE} was not loaded by agenttune, so it is not unloaded",
            hint=module_refusal.HOW_TO_REMOVE,
        )
    if args.dry_run:
        with read_journal(args.state_dir) as journal:
            done = reverting.preview(kernel, journal, _KINDS)
    else:
        with open_journal(args.state_dir) as journal:
            done = reverting.revert(kernel, journal, _KINDS)
    emit(args, "reverted", done, lambda each: reverted_text(each, dry_run=args.dry_run))
    return done.exit_code


def status(args: Args) -> ExitCode:
    emit(args, "module", _look(Kernel(), args), module_status_text)
    return ExitCode.OK


def attach(args: Args) -> ExitCode:
    say(f"attaching {', '.join(map(str, args.selectors))}; Ctrl-C ends it and reports")
    with interrupted() as stop:
        followed = follow(args.selectors, args.limit, stop)
    print(followed.text, end="")
    return ExitCode.OK


def _look(kernel: Kernel, args: Args) -> ModuleStatus:
    try:
        with read_journal(args.state_dir) as journal:
            return module_status(kernel, journal)
    except HostError:
        return module_status(kernel, None, journal_read=False)


def _load_plan(now: ModuleStatus, wanted: Mapping[str, str]) -> Plan:
    """Raises HostError for a module that someone else loaded, or that cannot be loaded."""
    host = read_host()
    found = host.module or KernelModule(obstacle="there is no /sys/module")
    if found.obstacle:
        raise HostError(f"{MODULE} cannot be loaded: {found.obstacle}", hint=found.remedy)
    if found.loaded is not None and not now.ours:
        raise HostError(
            f"{MODULE} is loaded already, and not by agenttune", hint=module_refusal.HOW_TO_REMOVE
        )
    nobody = CpuMask()
    changes = plan_changes(found, wanted)
    return Plan(f"module load {KNOB.target}", host.boot_id, nobody, nobody, nobody, changes)


def _settings(words: tuple[str, ...]) -> dict[str, str]:
    try:
        return dict(parse_setting(word) for word in words)
    except ValueError as error:
        raise InputError(str(error), hint="See 'agenttune module load --help'.") from error


_ACTIONS: Mapping[str, Callable[[Args], ExitCode]] = {
    action.__name__: action for action in (build, load, unload, status, attach)
}
