# SPDX-License-Identifier: GPL-2.0-only
"""The lab's judgement of a boot, against a fake QEMU: statuses, limits, retries, cleanup."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[1]
RUN = TREE / "vm/run"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with the fake QEMU and an empty kernel in it."""
    directory = tmp_path / "cache"
    (directory / "qemu").mkdir(parents=True)
    launcher = directory / "qemu/qemu"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} {TREE}/tests/fake_qemu.py "$@"\n')
    launcher.chmod(0o755)
    for kernel in ("6.1", "6.12"):
        (directory / "kernels" / kernel).mkdir(parents=True)
        (directory / "kernels" / kernel / "release").write_text(f"{kernel}.0-test\n")
        (directory / "kernels" / kernel / "initramfs").touch()
    return directory


def environment(cache: Path, script: str) -> dict[str, str]:
    added = {"AGENTTUNE_CACHE": str(cache), "FAKE_GUEST": script}
    return {**os.environ, **added, "FAKE_TRIES": str(cache / "tries")}


def run(cache: Path, script: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [RUN, "--multi", *options, "--", "true"],
        env=environment(cache, script),
        capture_output=True,
        timeout=50,
        check=False,
    )


def boots(cache: Path) -> int:
    return len((cache / "tries").read_text().splitlines())


def last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode().splitlines()[-1]


def test_status_and_output_are_the_commands(cache: Path) -> None:
    done = run(cache, "fine")
    assert done.returncode == 7
    assert done.stdout == b"some\0output\n"
    assert done.stderr.startswith(b"some errors\n")
    assert not list((cache / "run").iterdir())


def test_kernel_warning_is_reported_beside_the_status(cache: Path) -> None:
    done = run(cache, "warn")
    assert done.returncode == 7
    assert "the guest's kernel complained: WARNING: CPU: 1" in last_line(done)


def test_left_behind_processes_do_not_hold_the_lab(cache: Path) -> None:
    done = run(cache, "left-behind")
    assert done.returncode == 7
    assert done.stdout == b"some\0output\n"


def test_panic_before_the_sentinel_is_not_retried(cache: Path) -> None:
    done = run(cache, "die-early")
    assert (done.returncode, boots(cache)) == (125, 1)
    assert last_line(done) == "vm/run: the guest died at boot"
    assert "no init found" in done.stderr.decode()


def test_qemu_that_aborts_is_named_and_not_retried(cache: Path) -> None:
    done = run(cache, "abort")
    assert (done.returncode, boots(cache)) == (125, 1)
    assert last_line(done) == "vm/run: QEMU itself died of signal 6 at boot: made-up assertion"


def test_hang_before_the_sentinel_is_tried_three_times(cache: Path) -> None:
    # Time for the fake to start and count itself: up to 1.6 s, on 2 cores with 12 busy loops.
    done = run(cache, "hang", "--boot-seconds", "3")
    assert (done.returncode, boots(cache)) == (125, 3)
    said = done.stderr.decode()
    assert "trying again, 1 of 3 boots lost" in said
    assert "trying again, 2 of 3 boots lost" in said
    assert last_line(done) == "vm/run: no sign of life from the guest in 3 s"


def test_stray_int3_is_retried(cache: Path) -> None:
    done = run(cache, "int3", "--boots", "2")
    assert (done.returncode, boots(cache)) == (125, 2)
    assert last_line(done) == "vm/run: the guest died while the command ran"


def test_int3_in_our_code_is_not_retried(cache: Path) -> None:
    done = run(cache, "our-int3")
    assert (done.returncode, boots(cache)) == (125, 1)


def test_command_has_a_time_limit(cache: Path) -> None:
    done = run(cache, "run-on", "--seconds", "0.5")
    assert (done.returncode, boots(cache)) == (124, 1)


def test_missing_setup_names_the_remedy(tmp_path: Path) -> None:
    done = run(tmp_path, "fine")
    assert done.returncode == 125
    assert last_line(done).endswith("run 'vm/setup --lab' first")


def test_missing_out_directory_is_a_usage_error(cache: Path) -> None:
    done = run(cache, "fine", "--out", str(cache / "nowhere"))
    assert done.returncode == 2
    assert "no such directory" in last_line(done)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_leaves_nothing_running(cache: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [RUN, "--multi", "--", "true"],
        env=environment(cache, "run-on"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as lab:
        await_true((cache / "tries").exists)
        [qemu] = running_under(cache)
        lab.send_signal(number)
        ended = lab.wait(10)
    assert ended == (-number if number == signal.SIGKILL else 128 + number)
    await_true(lambda: is_gone(qemu))


def await_true(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running_under(cache: Path) -> list[Path]:
    """The fake QEMUs that use `cache`."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"{TREE}/tests/fake_qemu.py".encode() in words and str(cache).encode() in b" ".join(
            words
        ):
            found.append(path)
    return found


def is_gone(process: Path) -> bool:
    """Ended, or a zombie that waits for its new parent."""
    try:
        return "State:\tZ" in (process / "status").read_text()
    except OSError:
        return True


def test_one_guest_at_a_time(cache: Path) -> None:
    with subprocess.Popen(
        [RUN, "--multi", "--", "true"],
        env=environment(cache, "run-on"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as first:
        await_true((cache / "tries").exists)
        second = subprocess.Popen(
            [RUN, "--multi", "--", "true"],
            env=environment(cache, "fine"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert second.stderr is not None
        assert b"waiting for another guest" in second.stderr.readline()
        first.terminate()
        second.communicate(timeout=20)
        assert second.returncode == 7
