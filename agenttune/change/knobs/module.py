# SPDX-License-Identifier: GPL-2.0-only
"""The kernel module: in the kernel or not, and its settings while it is."""

from __future__ import annotations

from agenttune.change import module_refusal
from agenttune.change.kernel import Kernel
from agenttune.change.knobs.knob import KnobOps, TargetGone, canonical_mask
from agenttune.errors import HostError
from agenttune.host.cpumask import CpuMask
from agenttune.host.module import MODULE, SETTINGS, SYSFS, find_module, is_loaded, loaded_name
from agenttune.policy.module import AGENT_CPUS, DEFAULTS, PLACEMENT
from agenttune.policy.plan import LOADED, NOT_LOADED, Knob, KnobKind
from agenttune.policy.profile_schema import MODULE_PLACEMENTS

KNOB = Knob(KnobKind.MODULE, MODULE)


def _locate(_kernel: Kernel, target: str) -> str:
    if target != MODULE:
        raise HostError(
            f"module {target[:80]!r} is not agenttune's to load", hint=f"Only {MODULE} is."
        )
    return SYSFS


def _read(kernel: Kernel, place: str) -> str:
    """NOT_LOADED, or 'loaded VERSION, node N': a load by someone else has another node."""
    if not is_loaded(kernel.tree):
        return NOT_LOADED
    return f"{LOADED} {loaded_name(kernel.tree)}, node {kernel.identity(place)}"


def _write(kernel: Kernel, place: str, value: str) -> str:
    if value == NOT_LOADED:
        _unload(kernel)
    else:
        _load(kernel)
    return _read(kernel, place)


def _load(kernel: Kernel) -> None:
    release = kernel.read("/proc/sys/kernel/osrelease").strip()
    file = find_module(kernel.tree, release)
    if file is None:
        raise module_refusal.not_built(kernel, release)
    module_refusal.check(kernel, file, release)
    with module_refusal.listening(kernel) as said:
        try:
            kernel.load_module(file)
        except OSError as error:
            refusal = module_refusal.load_refused(kernel, file, release, error, said())
            raise refusal from error


def _unload(kernel: Kernel) -> None:
    try:
        kernel.unload_module(MODULE)
    except OSError as error:
        raise module_refusal.unload_refused(kernel, error) from error


def _canonical(value: str) -> str:
    if value not in (LOADED, NOT_LOADED):
        raise ValueError(f"{value!r} is neither {LOADED!r} nor {NOT_LOADED!r}")
    return value


OPS = KnobOps(
    locate=_locate,
    read=_read,
    write=_write,
    accepts=lambda wanted, observed: observed.split(" ", 1)[0] == wanted or observed == wanted,
    canonical=_canonical,
)


def _locate_setting(kernel: Kernel, target: str) -> str:
    if target not in DEFAULTS:
        raise HostError(
            f"module setting {target[:80]!r} has no known inverse, so it could not be undone",
            hint=f"agenttune changes {', '.join(DEFAULTS)}.",
        )
    path = f"{SETTINGS}/{target}"
    if not kernel.tree.exists(path):
        raise TargetGone(f"{MODULE} is not loaded, or has no setting {target}")
    return path


def _read_setting(kernel: Kernel, path: str) -> str:
    return _spelled(kernel.read(path).strip())


def _write_setting(kernel: Kernel, path: str, value: str) -> str:
    return _spelled(kernel.write_once(path, value + "\n").strip())


def _spelled(value: str) -> str:
    """A number, a placement or a CPU list: one spelling for each value."""
    if value.isdecimal():
        return str(int(value))
    return value if value.isalpha() else canonical_mask(value)


def parse_setting(text: str) -> tuple[str, str]:
    """'NAME=VALUE' as a setting and its canonical value. Raises ValueError saying what is right."""
    name, equals, value = text.partition("=")
    if not equals or name not in DEFAULTS:
        raise ValueError(f"{text[:40]!r} is not NAME=VALUE with NAME one of {', '.join(DEFAULTS)}")
    if name == AGENT_CPUS:
        return name, str(CpuMask.parse_list(value))
    if name == PLACEMENT:
        if value not in MODULE_PLACEMENTS:
            raise ValueError(f"{value[:40]!r} is no placement: {', '.join(MODULE_PLACEMENTS)}")
        return name, value
    if not value.isascii() or not value.isdecimal() or len(value) > 12:
        raise ValueError(f"{name}={value[:40]!r} is not a whole number")
    return name, str(int(value))


SETTING = KnobOps(
    locate=_locate_setting,
    read=_read_setting,
    write=_write_setting,
    canonical=_spelled,
    context=lambda kernel, _place: f"node {kernel.identity(SYSFS)}",
    survives=lambda kernel, _place, context: context == f"node {kernel.identity(SYSFS)}",
    dies_with_target=True,
    provider=KNOB,
)
