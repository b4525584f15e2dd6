# SPDX-License-Identifier: GPL-2.0-only
"""A window of steps: its ring, its ends, and what it records on request."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agenttune import step
from agenttune.host.selector import Selector
from agenttune.measure.backend import choose
from agenttune.measure.filter import Filter
from agenttune.measure.keeper import SLOWEST
from agenttune.measure.steps_engine import BpfSteps
from agenttune.measure.steps_layout import STEP_SAMPLE, StepSample
from agenttune.measure.steps_session import StepsSession
from agenttune.measure.trace import Bucket, StepKind

pytestmark = pytest.mark.bpf


MARKS = """
import ctypes, os, sys
prctl = ctypes.CDLL(None).prctl
prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
os.read(0, 1)
for number in range(1, 20001):
    prctl(0x41475354, 0x101, number, 0, 0)
    prctl(0x41475354, 2, number, 0, 0)
    for _ in range(int(sys.argv[1])):
        pass
"""


@pytest.fixture
def marker(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """Marks 20 000 steps once it is told to, with so many turns of a loop between them."""
    process = subprocess.Popen(
        [sys.executable, "-c", MARKS, str(request.param)], stdin=subprocess.PIPE
    )
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("marker", [0], indirect=True)
def test_a_ring_that_is_too_small_loses_nothing_unseen(marker: subprocess.Popen[bytes]) -> None:
    engine = BpfSteps(Filter(), entries={"records": 1 << 16})
    engine.open_window()
    marker.communicate(b"x")
    engine.close_window()
    samples = engine.take()
    coverage = engine.figures().coverage
    engine.close()
    steps = [StepSample.from_buffer_copy(each).step for each in samples if each[0] == STEP_SAMPLE]
    lost_steps = coverage.ended - len(steps)
    lost_waits = sum(each.waits for each in steps) - (len(samples) - len(steps))
    assert coverage.ended >= 20000
    assert lost_steps > 0
    assert coverage.kept == len(steps)
    assert coverage.lost_records == lost_steps + lost_waits


@pytest.mark.parametrize("marker", [1000], indirect=True)
def test_without_a_record_only_the_slowest_are_sent(marker: subprocess.Popen[bytes]) -> None:
    with StepsSession() as session:
        assert marker.stdin
        marker.stdin.write(b"x")
        marker.stdin.close()
        while marker.poll() is None:
            time.sleep(0.02)
            session.take()
        session.stop()
        trace = session.read()
    assert trace.coverage.ended >= 20000 > trace.coverage.kept
    assert trace.coverage.lost_records == 0
    (tool,) = (each for each in trace.kinds if each.kind is StepKind.TOOL)
    kept = [each.duration_ns for each in trace.steps if each.kind is StepKind.TOOL]
    assert len(kept) == SLOWEST
    assert tool.count >= 20000
    assert max(kept) == tool.durations.maximum


def test_a_selected_thread_is_watched_without_a_mark() -> None:
    name = "at-step-nap"
    code = f"import ctypes, time; ctypes.CDLL(None).prctl(15, b'{name}'); time.sleep(0.05)"
    engine = BpfSteps(Filter(comms=(name.encode(),)), backend=choose("libbpf"))
    engine.open_window()
    subprocess.run([sys.executable, "-c", code + "; time.sleep(0.05)"], check=True)
    engine.close_window()
    figures = engine.figures()
    engine.close()
    assert figures.coverage.matched >= 1
    # The first waking finds a thread that was not seen before, the second one ends a wait.
    assert {each.leg: each.histogram.count for each in figures.legs}["wakeup to run"] >= 1


WORK = """
import ctypes, mmap, os, time
prctl = ctypes.CDLL(None).prctl
prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
def read():
    with open("/dev/zero", "rb", buffering=0) as zeros:
        zeros.readinto(room)
def spin():
    for _ in range(1000):
        pass
def touch():
    with mmap.mmap(-1, 1 << 22) as memory:
        for page in range(0, len(memory), 4096):
            memory[page] = 1
room = bytearray(1 << 20)
for number, work in enumerate((read, spin, touch), start=1):
    prctl(0x41475354, 1, number, 0, 0)
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        work()
    if work is read:
        time.sleep(0.001)
    prctl(0x41475354, 2, number, 0, 0)
print(os.getpid())
"""


def test_system_calls_are_told_from_own_code_on_request() -> None:
    with StepsSession(syscalls=True) as session:
        said = subprocess.run([sys.executable, "-c", WORK], capture_output=True, check=True)
        session.stop()
        trace = session.read()
    steps = {each.id: each for each in trace.steps if each.tgid == int(said.stdout)}
    read, spin, touch = (steps[number] for number in (1, 2, 3))
    assert read.ns(Bucket.SYSCALL) > 4 * read.ns(Bucket.RUN)
    assert spin.ns(Bucket.RUN) > 4 * spin.ns(Bucket.SYSCALL)
    assert touch.faults >= 1024 > spin.faults
    assert all(abs(each.residual_ns) <= 2000 for each in (read, spin, touch))
    assert {each.leg: each.histogram.count for each in trace.legs}["resume"] >= 1
    missing = {each.probe for each in trace.coverage.probes.missing}
    assert trace.faults != ("handle_mm_fault" in missing)
    assert (touch.ns(Bucket.FAULT) > 0) == trace.faults


def test_ctrl_c_ends_the_window_early_and_still_reports() -> None:
    command = [sys.executable, "-m", "agenttune", "steps", "--seconds", "60", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            while "anon_inode:bpf-map" not in links(process.pid):
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            output = process.communicate(timeout=20)[0]
        finally:
            process.kill()
    assert process.returncode == 0
    assert json.loads(output)["schema"] == "agenttune.steps/1"


def links(pid: int) -> set[str]:
    """What the process has open; it may close some meanwhile."""
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(each.readlink()))
    return found


@pytest.mark.parametrize("marker", [0], indirect=True)
def test_a_selector_leaves_out_the_marks_of_others(marker: subprocess.Popen[bytes]) -> None:
    with StepsSession([Selector.parse("comm:at-nobody")]) as session:
        marker.communicate(b"x")
        session.stop()
        trace = session.read()
    assert trace.coverage.ended == trace.coverage.stray_ends == 0
    with StepsSession([Selector.parse(f"pid:{os.getpid()}")]) as session:
        with step("mine"):
            pass
        session.stop()
        assert [each.name for each in session.read().steps] == ["mine"]
