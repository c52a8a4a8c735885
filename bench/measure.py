"""Times on the GPU: CUDA events around one run, the L2 cache flushed before each, the sides taking turns.

Turns matter: clocks drift with temperature, and a side that is measured last would pay for it. Filling the flush buffer also takes long
enough (about 0.1 ms) that the launch is queued before the first event fires, so the host's own cost stays outside.
"""

import statistics
import time

import torch

from report import spread

FLUSH_BYTES = 512 << 20


class Deadline:
    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def left(self):
        return max(0.0, self.end - time.monotonic())

    def near(self, seconds):
        return self.left() < seconds


class Clock:
    def __init__(self):
        free, _ = torch.cuda.mem_get_info()
        self.flush = torch.empty(min(FLUSH_BYTES, free // 8), dtype=torch.int8, device="cuda")

    def compare(self, sides, seconds, most=50, least=5):
        """`{name: (median ms, spread)}` of functions that enqueue one run each, within about `seconds` together."""
        for run in sides.values():
            run()
            run()
        torch.cuda.synchronize()
        samples = {name: [] for name in sides}
        end = time.monotonic() + seconds
        for turn in range(most):
            events = {}
            for name, run in sides.items():
                self.flush.zero_()
                start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                start.record()
                run()
                stop.record()
                events[name] = start, stop
            torch.cuda.synchronize()
            for name, (start, stop) in events.items():
                samples[name].append(start.elapsed_time(stop))
            if turn + 1 >= least and time.monotonic() > end:
                break
        return {name: (statistics.median(all), spread(all)) for name, all in samples.items()}
