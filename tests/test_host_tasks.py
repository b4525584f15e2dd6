# SPDX-License-Identifier: GPL-2.0-only
"""Agent threads: a child's real ones, and every cgroup layout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agenttune.host.host import Task
from agenttune.host.selector import Selector
from agenttune.host.tasks import find_tasks_in, read_comms
from agenttune.host.tree import Tree

CHILD = """
import os, sys, threading
def name(comm):
    open(f"/proc/self/task/{threading.get_native_id()}/comm", "w").write(comm)
def work():
    name(sys.argv[1] + "w")
    ready.wait()
    sys.stdin.read()
ready = threading.Barrier(3)
name(sys.argv[1])
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
ready.wait()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A process of three threads: comm 'at<PID>)x', and twice that with 'w' at its end."""
    command = [sys.executable, "-c", CHILD, f"at{os.getpid()})x"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        assert process.stdin is not None
        process.stdin.close()


def find(*selectors: str) -> tuple[Task, ...]:
    return find_tasks_in(Tree(Path("/")), [Selector.parse(text) for text in selectors])


def threads_of(pid: int) -> list[int]:
    return sorted(int(folder.name) for folder in Path(f"/proc/{pid}/task").iterdir())


def test_pid_chooses_every_thread(child: subprocess.Popen[str]) -> None:
    found = find(f"pid:{child.pid}")
    assert [task.pid for task in found] == threads_of(child.pid)
    assert len(found) == 3
    assert {task.tgid for task in found} == {child.pid}


def test_comm_chooses_threads_by_their_own_name(child: subprocess.Popen[str]) -> None:
    name = f"at{os.getpid()})x"
    assert [task.pid for task in find(f"comm:{name}")] == [child.pid]
    workers = find(f"comm:{name}w")
    assert [task.pid for task in workers] == [t for t in threads_of(child.pid) if t != child.pid]
    assert {task.comm for task in workers} == {name + "w"}


def test_selectors_add_up_without_doubles(child: subprocess.Popen[str]) -> None:
    assert len(find(f"comm:at{os.getpid()})x", f"pid:{child.pid}")) == 3


def test_a_task_is_what_its_files_say(child: subprocess.Popen[str]) -> None:
    cpu = max(os.sched_getaffinity(0))
    os.sched_setaffinity(child.pid, {cpu})
    task = next(t for t in find(f"pid:{child.pid}") if t.pid == child.pid)
    # Cut after the known name, which holds a parenthesis itself.
    stat = Path(f"/proc/{child.pid}/stat").read_text().split(f"({task.comm}) ")[1].split()
    assert task.start_ticks == int(stat[22 - 3])
    assert list(task.affinity) == [cpu]
    assert task.last_cpu == int(stat[39 - 3])
    paths = [line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    assert task.cgroup in paths


def test_cgroup_chooses_the_child_by_its_path(child: subprocess.Popen[str]) -> None:
    path = next(iter(find(f"pid:{child.pid}"))).cgroup
    assert path is not None
    assert child.pid in {task.pid for task in find(f"cgroup:{path}")}
    assert find("cgroup:/agenttune-no-such-group") == ()


def test_this_process_is_no_agent_unless_named() -> None:
    own = Path("/proc/self/comm").read_text().strip()
    assert os.getpid() not in {task.tgid for task in find(f"comm:{own}")}
    assert os.getpid() not in {task.tgid for task in find("cgroup:/")}
    assert os.getpid() in {task.tgid for task in find(f"pid:{os.getpid()}")}


def test_kernel_threads_are_no_agents() -> None:
    assert Path("/proc/2/comm").read_text() == "kthreadd\n"
    assert find("comm:kthreadd", "pid:2") == ()


def test_nobody_is_found_without_selectors_or_processes(tmp_path: Path) -> None:
    assert find() == ()
    assert find("pid:4194304") == ()
    assert find_tasks_in(Tree(tmp_path), [Selector.parse("comm:agent")]) == ()


V2 = "0::/system.slice/agent.service/worker\n"
HYBRID = "3:cpu,cpuacct:/limits\n1:name=systemd:/system.slice/agent.service\n0::/\n"
V1 = "4:cpuset:/agents/a:b\n1:name=systemd:/user.slice\n"


@pytest.mark.parametrize(
    ("lines", "selector", "chosen"),
    [
        (V2, "unit:agent.service", True),
        (V2, "unit:system.slice", True),
        (V2, "unit:ent.service", False),
        (V2, "cgroup:/system.slice", True),
        (V2, "cgroup:/system.slice/agent.service/worker", True),
        (V2, "cgroup:/system", False),
        (V2, "cgroup:/system.slice/agent.service/worker/x", False),
        (HYBRID, "unit:agent.service", True),
        (HYBRID, "cgroup:/limits", True),
        (HYBRID, "cgroup:/", True),
        (V1, "cgroup:/agents/a:b", True),
        (V1, "cgroup:/agents", True),
        (V1, "unit:agent.service", False),
        ("", "cgroup:/", False),
    ],
)
def test_every_cgroup_layout(tmp_path: Path, lines: str, selector: str, chosen: bool) -> None:
    recorded_task(tmp_path, 50, "python3", lines)
    found = find_tasks_in(Tree(tmp_path), [Selector.parse(selector)])
    assert [task.pid for task in found] == ([50] if chosen else [])


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        (V2, "/system.slice/agent.service/worker"),
        (HYBRID, "/"),
        (V1, "/user.slice"),
        ("4:cpuset:/agents\n", "/agents"),
        ("", None),
    ],
)
def test_the_cgroup_named_is_the_newest_hierarchys(
    tmp_path: Path, lines: str, path: str | None
) -> None:
    recorded_task(tmp_path, 50, "python3", lines)
    (task,) = find_tasks_in(Tree(tmp_path), [Selector.parse("pid:50")])
    assert task.cgroup == path


def test_a_name_with_parentheses_and_line_ends(tmp_path: Path) -> None:
    recorded_task(tmp_path, 50, "a) R 1\n(b", "")
    (task,) = find_tasks_in(Tree(tmp_path), [Selector.parse("pid:50")])
    assert (task.start_ticks, task.last_cpu) == (777, 3)


def test_numbers_of_absurd_length_are_left_out(tmp_path: Path) -> None:
    recorded_task(tmp_path, 50, "python3", "")
    path = tmp_path / "proc/50/task/50/stat"
    path.write_text(path.read_text().replace(" 777 ", f" {'7' * 5000} "))
    assert find_tasks_in(Tree(tmp_path), [Selector.parse("pid:50")]) == ()


def test_a_thread_that_ends_meanwhile_is_left_out(tmp_path: Path) -> None:
    recorded_task(tmp_path, 50, "python3", "")
    (tmp_path / "proc/50/task/50/stat").unlink()
    assert find_tasks_in(Tree(tmp_path), [Selector.parse("pid:50")]) == ()


def recorded_task(root: Path, pid: int, comm: str, cgroup: str) -> None:
    folder = root / f"proc/{pid}/task/{pid}"
    folder.mkdir(parents=True)
    (folder / "comm").write_text(comm + "\n")
    fields = {3: "S", 9: "4194304", 22: "777", 39: "3"}
    rest = " ".join(fields.get(n, "0") for n in range(3, 53))
    (folder / "stat").write_text(f"{pid} ({comm}) {rest}\n")
    (folder / "status").write_text(f"Name:\t{comm}\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\n")
    (folder / "cgroup").write_text(cgroup)


def test_comms_of_this_host() -> None:
    comms = read_comms(Tree(Path("/")))
    assert comms[2] == "kthreadd"
    assert comms[os.getpid()] == Path("/proc/self/comm").read_text().strip()
