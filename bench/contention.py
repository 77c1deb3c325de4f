"""How much of the machine others used while something was measured, on Linux; unknown elsewhere.

Two threads that wait for each other at a barrier lose far more than the share that others take, and PyTorch's more than
rayon's, so a measurement beside other work is not merely slow but unfair. With one thread, processor time is a fair
measure even then.
"""

import os
import time
from pathlib import Path

# Share of the machine's processor time. A quiet machine's own housekeeping stays below 2 % here.
DISTURBED = 0.05


def busy_seconds() -> float:
    """Processor time that was not idle since the start of the machine, over all processors; also stolen time."""
    user, nice, system, _idle, _wait, interrupts, soft, stolen = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def own_seconds(processes) -> float:
    """Processor time of some processes, in all of their threads."""
    # The clock of another process, as clock_getcpuclockid(3) makes it; /proc/PID/stat counts in hundredths of a second.
    return sum(time.clock_gettime((~process << 3) | 2) for process in processes)


class Watch:
    """Measures from its making until it is asked."""

    def __init__(self, processes):
        self.processes = [os.getpid(), *processes]
        self.begin = self.now()

    def now(self):
        try:
            return time.monotonic(), busy_seconds(), own_seconds(self.processes)
        except (OSError, ValueError):
            return None

    def processor_seconds(self) -> float | None:
        """Processor time of the watched processes since the start; nothing where it cannot be known."""
        end = self.now()
        return None if self.begin is None or end is None else end[2] - self.begin[2]

    def share_of_others(self) -> float | None:
        """From 0 to 1; nothing where it cannot be known."""
        end = self.now()
        if self.begin is None or end is None:
            return None
        elapsed, busy, own = (after - before for after, before in zip(end, self.begin))
        return max(0.0, busy - own) / max(elapsed * os.cpu_count(), 1e-9)


def wait_for_others(processes, deadline: float):
    """Returns once others use little of the machine, or at the deadline (of `time.monotonic`)."""
    while time.monotonic() < deadline:
        watch = Watch(processes)
        time.sleep(0.5)
        share = watch.share_of_others()
        if share is None or share < DISTURBED:
            return
