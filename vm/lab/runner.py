# SPDX-License-Identifier: GPL-2.0-only
"""From a request to an exit status, with the few retries that are allowed."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from vm.lab import accelerator, console
from vm.lab.cache import Cache, find_cache, one_guest_at_a_time
from vm.lab.errors import BootHung, KernelDied, LabError
from vm.lab.guest import boot
from vm.lab.job import Job, prepare
from vm.lab.machine import Machine
from vm.lab.options import Options, parse
from vm.lab.process import Interrupted, stopping_on_signals


def main(argv: list[str]) -> int:
    """The exit status of the command in `argv`, run in a guest; see EPILOG in options.py."""
    options = parse(argv)
    try:
        with stopping_on_signals():
            return run(options)
    except LabError as error:
        say(str(error))
        return error.exit_code
    except BrokenPipeError:
        return 141
    except Interrupted as interrupted:
        say(f"stopped by signal {interrupted.number}; the guest is gone")
        return 128 + interrupted.number


def run(options: Options) -> int:
    """Boots up to `options.boots` times, and only again for what `may_retry` allows."""
    cache = find_cache(options.kernel)
    with one_guest_at_a_time(cache):
        kind = accelerator.choose(options, cache)
        for attempt in range(1, options.boots + 1):
            job = prepare(options, cache, kind)
            try:
                return _run_once(options, cache, kind, job)
            except LabError as error:
                messages = _messages(job)
                if not may_retry(error, messages) or attempt == options.boots:
                    _show(messages)
                    raise
                say(f"{error}: trying again, {attempt} of {options.boots} boots lost")
            finally:
                _keep_console(job, options.console)
                shutil.rmtree(job.directory, ignore_errors=True)
    raise AssertionError("the last boot either returns or raises")


def may_retry(error: LabError, messages: str) -> bool:
    """A hang before the sentinel, or a stray int3: both are faults of emulation, known and rare."""
    if isinstance(error, BootHung):
        return True
    return isinstance(error, KernelDied) and console.is_stray_int3(messages)


def _show(messages: str) -> None:
    last = console.last_lines(messages)
    text = f"The guest kernel's last words:\n{last}" if last else "The guest's kernel said nothing."
    print(text, file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Tells the user, apart from the command's own output."""
    print(f"vm/run: {text}", file=sys.stderr, flush=True)


def _run_once(options: Options, cache: Cache, kind: str, job: Job) -> int:
    machine = Machine(
        qemu=cache.qemu,
        kernel=cache.image(options.kernel),
        initramfs=cache.initramfs(options.kernel),
        job=job.directory,
        accelerator=kind,
        ports=(),
        iommu=options.iommu,
        out=options.out.resolve() if options.out else None,
    )
    started = time.monotonic()
    progress = boot(machine, job, options)
    if progress.booted_at is not None:
        say(
            f"kernel {options.kernel}, {kind}: up after {progress.booted_at - started:.1f} s"
            f" (guest clock {progress.guest_uptime_s:.1f} s)"
        )
    for line in console.trouble(_messages(job)):
        say(f"the guest's kernel complained: {line}")
    assert progress.exit_status is not None
    return progress.exit_status


def _messages(job: Job) -> str:
    path = job.directory / "console"
    return path.read_text(errors="replace") if path.exists() else ""


def _keep_console(job: Job, wanted: Path | None) -> None:
    if wanted is not None:
        wanted.write_text(_messages(job))
