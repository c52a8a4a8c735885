"""Weights of few bits: `qgemm` beside torch.matmul in f16 and whatever low-bit kernels this PyTorch has, at the shapes of Tilus' figure 9.

Groups of 128 weights share a scale and a zero point. Weights are random codes, packed on the GPU by the kernel's own recipe (packing.py).
"""

import math

import torch

import binary
import driver
import launch
import packing
import report
from gemm import close, fastest
from packing import bits, values

FILE = binary.EXAMPLES / "qgemm.tw"
GROUP = 128
SHAPES = [(m, n, k) for n, k in ((8192, 8192), (57344, 8192), (8192, 28672)) for m in (1, 16)]
QUICK = [(1, 8192, 8192), (16, 8192, 8192)]
TYPES = ("u8", "e3m2", "u4", "i4", "u2", "u1")
# Tried for `qgemm/best_of`: few rows of x want narrow tiles and every SM at work.
TRIES = [
    "BM=16,BN=64,BK=64",
    "BM=16,BN=128,BK=64",
    "BM=16,BN=64,BK=64,k.split=4",
    "BM=16,BN=64,BK=64,k.split=stream",
    "BM=16,BN=128,BK=64,k.split=stream",
    "BM=16,BN=64,BK=64,k.split=stream,occupancy=4",
    "BM=16,BN=128,BK=64,k.split=stream,occupancy=3",
]
GOAL = "ratio_to_best_peer >= 1"
ROWS = 1024  # of weights, packed and unpacked at a time


class Weights:
    """Codes on the GPU, their scales and zero points, and what they stand for in f16."""

    def __init__(self, kind, n, k):
        self.kind, self.n, self.k = kind, n, k
        self.codes = torch.randint(0, 1 << bits(kind), (n, k), device="cuda", dtype=torch.uint8)
        self.s = (torch.rand((n, k // GROUP), device="cuda") * 0.02 + 0.01).half()
        middle = 1 << (bits(kind) - 1) if kind[0] == "u" else 0
        self.z = torch.full((n, k // GROUP), float(middle), device="cuda", dtype=torch.float16)
        self.packed = {}

    def dense(self):
        """(w - z) * s in f16, rows at a time."""
        table, out = torch.tensor(values(self.kind), device="cuda"), torch.empty((self.n, self.k), device="cuda", dtype=torch.float16)
        for at in range(0, self.n, ROWS):
            part = slice(at, at + ROWS)
            w = table[self.codes[part].long()].reshape(-1, self.k // GROUP, GROUP)
            out[part] = ((w - self.z[part, :, None].float()) * self.s[part, :, None].float()).reshape(-1, self.k).half()
        return out

    def as_packed(self, storage):
        """The bytes that the kernel reads, packed once for each recipe."""
        if storage["hash"] not in self.packed:
            if self.n % storage["tile"][0] or self.k % storage["tile"][1]:
                raise launch.LaunchError(f"{self.n}x{self.k} is not in whole tiles of {storage['tile']}")
            rows = max(storage["tile"][0], ROWS // storage["tile"][0] * storage["tile"][0])
            index = lambda places: torch.tensor(places, device="cuda")
            parts = [packing.pack(torch, self.codes[at : at + rows].int(), storage, index).reshape(-1) for at in range(0, self.n, rows)]
            self.packed[storage["hash"]] = torch.cat(parts)
        return self.packed[storage["hash"]]


class Kernels:
    """Our side, compiled for each type, size and schedule."""

    def __init__(self, target):
        self.target, self.driver, self.loaded = target, driver.Driver(), {}
        self.sms = torch.cuda.get_device_properties(0).multi_processor_count

    def get(self, kind, shape, sets):
        key = kind, shape, sets
        if key not in self.loaded:
            pins = [f"W={kind},G={GROUP}", *([sets] if sets else [])]
            frozen = ["M={},N={},K={}".format(*shape)]
            try:
                ptx, meta = binary.compile_kernel(FILE, "qgemm", self.target, pins, frozen)
                self.loaded[key] = driver.Module(self.driver, ptx), meta
            except (binary.Refused, driver.DriverError) as error:
                print(f"qgemm {kind} {shape} {sets or 'default'}: {error}", flush=True)
                self.loaded[key] = None
        return self.loaded[key]

    def launcher(self, shape, sets, x, weights, y):
        """A function that enqueues one run on the current stream; None where it cannot be."""
        found = self.get(weights.kind, shape, sets)
        if found is None:
            return None
        module, meta = found
        keep, runs = [], []
        facts = {name: launch.Tensor(t.data_ptr(), tuple(t.shape), t.stride(), 16) for name, t in (("x", x), ("s", weights.s), ("z", weights.z), ("y", y))}
        try:
            for plan in meta["launches"]:
                storage = plan["variants"][0]["packed"][0]
                memory = weights.as_packed(storage)
                facts["w"] = launch.dense(memory.data_ptr(), (weights.n, weights.k), weights.kind, bits(weights.kind))
                one = launch.choose(plan, facts, dict(zip("MNK", shape)), sms=self.sms, packed={"w": storage["hash"]})
                if one:
                    parts, counters = (torch.zeros(max(size, 4) // 4, dtype=torch.int32, device="cuda") for size in one.workspace)
                    keep += [memory, parts, counters]
                    runs.append(module.prepare(one.placed(parts.data_ptr(), counters.data_ptr())))
        except (launch.LaunchError, driver.DriverError) as error:
            print(f"qgemm {weights.kind} {shape} {sets or 'default'}: {error}", flush=True)
            return None
        stream = torch.cuda.current_stream().cuda_stream

        def run(_keep=keep):
            for one in runs:
                one(stream)

        return run


def peers(kind, x, weights):
    """PyTorch's own kernels for weights of this width, those that this version and GPU have: name and launcher."""
    aten, found = torch.ops.aten, {}
    n, k = weights.n, weights.k

    def int4():
        pairs = weights.codes[:, ::2] << 4 | weights.codes[:, 1::2]
        try:
            w = aten._convert_weight_to_int4pack(pairs, 8)
        except RuntimeError:  # before 2.5 it took one code an element
            w = aten._convert_weight_to_int4pack(weights.codes.int(), 8)
        both = torch.stack([weights.s.T, torch.zeros_like(weights.s.T)], -1).bfloat16().contiguous()
        x16 = x.bfloat16()
        return lambda: aten._weight_int4pack_mm(x16, w, GROUP, both)

    def int8():
        w, s, x16 = weights.codes.view(torch.int8), weights.s[:, 0].bfloat16().contiguous(), x.bfloat16()
        return lambda: aten._weight_int8pack_mm(x16, w, s)

    wanted = {"u4": [("_weight_int4pack_mm", int4)], "i4": [("_weight_int4pack_mm", int4)], "u8": [("_weight_int8pack_mm", int8)]}
    for name, make in wanted.get(kind, []):
        try:
            run = make()
            run()
            torch.cuda.synchronize()
            found[name] = run
        except (RuntimeError, NotImplementedError, AttributeError) as error:
            print(f"{name} at {tuple(x.shape)}x{n}x{k}: {str(error).splitlines()[0]}", flush=True)
    return found


def moved(shape, kind):
    """Bytes that have to move: weights, scales and zero points, x and y."""
    m, n, k = shape
    return n * k * bits(kind) / 8 + 2 * 2 * n * (k // GROUP) + 2 * m * (n + k)


def rows(clock, kernels, deadline, quick):
    shapes = QUICK if quick else SHAPES
    kinds = ("u4", "u2") if quick else TYPES
    jobs = [(shape, kind) for shape in shapes for kind in kinds]
    for at, (shape, kind) in enumerate(jobs):
        if deadline.near(6):
            print(f"qgemm {shape} {kind}: skipped, no time left", flush=True)
            continue
        yield from one_shape(clock, kernels, shape, kind, min(6.0, deadline.left() / (len(jobs) - at)) / 3)


def one_shape(clock, kernels, shape, kind, share):
    m, n, k = shape
    weights = Weights(kind, n, k)
    x = torch.randn((m, k), device="cuda", dtype=torch.float16)
    ours, base = (torch.full((m, n), math.nan, device="cuda", dtype=torch.float16) for _ in range(2))
    w = weights.dense()
    ref = torch.cat([x.float() @ w[at : at + ROWS].float().T for at in range(0, n, ROWS)], 1)
    sides = {"torch.matmul": lambda: torch.matmul(x, w.T, out=base), **peers(kind, x, weights)}
    names = list(sides)
    if default := kernels.launcher(shape, "", x, weights, ours):
        sides["default"] = default
    tries = {sets: run for sets in TRIES if (run := kernels.launcher(shape, sets, x, weights, ours))}
    if best := fastest(tries, clock, share):
        sides["best_of"] = best
    sides["torch.matmul"]()
    right = {}
    for name in ("default", "best_of"):
        if name in sides:
            ours.fill_(math.nan)
            sides[name]()
            right[name] = close(ours, base, ref)
    del ref
    times = clock.compare(sides, share)
    theirs = {name: times[name][0] for name in names}
    for name, bench in (("default", "qgemm"), ("best_of", "qgemm/best_of")):
        ms, spread = times.get(name, (None, None))
        if ms is None and name != "default":
            continue
        yield report.row(bench, f"{m}x{n}x{k}", kind, ms, theirs, GOAL, 2 * m * n * k, moved(shape, kind), right.get(name, False), spread)
