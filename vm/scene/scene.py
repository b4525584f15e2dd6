# SPDX-License-Identifier: GPL-2.0-only
"""The scene put together: NICs, namespaces, agent, tool, flood."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vm.lab.machine import AGENT_NIC, FLOOD_NIC, SOURCE_NIC, TOOL_NIC
from vm.scene import interfaces
from vm.scene.calls import Call, CallLog, create_log
from vm.scene.flood import load_generator, open_sink
from vm.scene.processes import SceneError, start, stop

AGENT_ADDRESS = "10.77.0.1"
TOOL_ADDRESS = "10.77.0.2"
FLOOD_ADDRESS = "10.77.1.1"
SOURCE_ADDRESS = "10.77.1.2"
TOOL_NAMESPACE = "tool"
SOURCE_NAMESPACE = "source"


@dataclass(frozen=True)
class Cast:
    """Who runs where, and the bounds of all of it. CPU numbers; None: where the kernel likes.

    A flood without pause keeps NAPI polling: few interrupts, but its softirq fills a CPU. One with
    a pause after each burst of packets raises up to one interrupt per burst. `dissections` is how
    much softirq work each packet is (flood.open_sink).
    """

    agent_cpu: int | None = 1
    tool_cpu: int | None = 2
    source_cpu: int = 3
    interrupts_cpu: int = 1
    flooded: bool = True
    seconds: float = 120.0
    calls: int = 200_000
    packets: int = 50_000_000
    pause_us: int = 0
    dissections: int = 0


@dataclass(frozen=True)
class Scene:
    """A scene that runs. Its NICs A and B are this namespace's, like those of any host."""

    agent: subprocess.Popen[str]
    log: CallLog
    flood: subprocess.Popen[str] | None

    def block(self, seconds: float) -> list[Call]:
        """The calls that the agent finishes in the next `seconds`.

        Raises SceneError when the agent is gone, or the flood broke (its bounds may end it).
        """
        first = len(self.log)
        time.sleep(seconds)
        if self.agent.poll() is not None:
            raise SceneError(f"the agent ended early (exit {self.agent.returncode})")
        if self.flood is not None and self.flood.poll():
            raise SceneError(f"the flood broke (exit {self.flood.returncode})")
        return self.log.since(first)


@contextmanager
def networked() -> Iterator[None]:
    """NICs A and B up here; the tool's and the flood source's each in a namespace of its own."""
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(interfaces.addressed(AGENT_NIC, f"{AGENT_ADDRESS}/24"))
        enter(interfaces.addressed(FLOOD_NIC, f"{FLOOD_ADDRESS}/24"))
        enter(interfaces.namespace(TOOL_NAMESPACE, TOOL_NIC, f"{TOOL_ADDRESS}/24"))
        enter(interfaces.namespace(SOURCE_NAMESPACE, SOURCE_NIC, f"{SOURCE_ADDRESS}/24"))
        yield


@contextmanager
def playing(cast: Cast | None = None) -> Iterator[Scene]:
    """The whole scene, with NIC A's and B's interrupts on one CPU; all gone afterwards."""
    cast = cast or Cast()
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(networked())
        enter(interfaces.placed([AGENT_NIC, FLOOD_NIC], cast.interrupts_cpu))
        if cast.tool_cpu is not None:
            enter(interfaces.placed([TOOL_NIC], cast.tool_cpu))
        enter(interfaces.placed([SOURCE_NIC], cast.source_cpu))
        log_path = Path(enter(tempfile.TemporaryDirectory())) / "calls"
        log = create_log(log_path, cast.calls)
        stack.callback(log.close)
        server = start_tool(cast)
        stack.callback(stop, server)
        agent = start(
            "vm.scene.agent",
            *(TOOL_ADDRESS, log_path, "--seconds", cast.seconds, *_on(cast.agent_cpu)),
        )
        stack.callback(stop, agent)
        flood = enter(flooding(cast)) if cast.flooded else None
        yield Scene(agent, log, flood)


def start_tool(cast: Cast) -> subprocess.Popen[str]:
    """The tool server in its namespace."""
    return start(
        "vm.scene.toolserver",
        *(TOOL_ADDRESS, "--seconds", cast.seconds, *_on(cast.tool_cpu)),
        namespace=TOOL_NAMESPACE,
    )


@contextmanager
def flooding(cast: Cast) -> Iterator[subprocess.Popen[str]]:
    """The flood towards NIC B, within the bounds of `cast`."""
    load_generator()
    target = (SOURCE_NIC, FLOOD_ADDRESS, interfaces.hardware_address(FLOOD_NIC))
    bounds = ("--seconds", cast.seconds, "--packets", cast.packets, "--pause-us", cast.pause_us)
    with open_sink(FLOOD_ADDRESS, cast.dissections):
        source = start(
            "vm.scene.flood",
            *(*target, *bounds, "--cpu", cast.source_cpu),
            namespace=SOURCE_NAMESPACE,
        )
        try:
            yield source
        finally:
            stop(source)


def _on(cpu: int | None) -> tuple[object, ...]:
    return () if cpu is None else ("--cpu", cpu)
