"""GEMM rows: our kernels beside torch.matmul and Triton, on the same data, stream, events and turns."""

import math

import torch

import binary
import driver
import launch
import report

FILE = binary.EXAMPLES / "gemm.tw"
TYPES = {"f16": torch.float16, "bf16": torch.bfloat16}
SQUARES = [(n, n, n) for n in (512, 1024, 2048, 4096, 8192)]
# Few rows; tall; wide; deep; ragged, where neither 16-byte nor 4-byte accesses fit.
RECTANGLES = [(16, 4096, 4096), (8192, 512, 2048), (1024, 8192, 1024), (256, 256, 16384), (2047, 1025, 999)]
QUICK = [(512, 512, 512), (4096, 4096, 4096), (2047, 1025, 999)]
# Tiles tried for the row `gemm/best_of_tiles`; Triton's side picks the best of as many.
TILES = [(128, 256, 64), (128, 128, 64), (128, 128, 32), (64, 128, 64), (64, 64, 64)]
GOAL = "ratio_to_best_peer >= 1"


def flops(m, n, k):
    return 2 * m * n * k


def moved(m, n, k):
    return 2 * (m * k + n * k + m * n)


class Kernels:
    """Our side: PTX compiled by `tilewright`, loaded once per dtype and tile."""

    def __init__(self, target):
        self.target, self.driver, self.loaded = target, driver.Driver(), {}

    def get(self, dtype, tile):
        """Module and meta; None where the compiler or the driver refuses, which is printed once."""
        if (dtype, tile) not in self.loaded:
            sets = [f"T={dtype}"] + ([f"BM={tile[0]},BN={tile[1]},BK={tile[2]}"] if tile else [])
            try:
                ptx, meta = binary.compile_kernel(FILE, "gemm", self.target, sets)
                self.loaded[dtype, tile] = driver.Module(self.driver, ptx), meta
                print(f"gemm {dtype} {tile or 'default'}: schedule {meta['schedule']}", flush=True)
            except (binary.Refused, driver.DriverError) as error:
                print(f"gemm {dtype} {tile or 'default'}: {error}", flush=True)
                self.loaded[dtype, tile] = None
        return self.loaded[dtype, tile]

    def launcher(self, dtype, tile, a, b, c):
        """A function that enqueues one run on the current stream."""
        found = self.get(dtype, tile)
        if found is None:
            return None
        module, meta = found
        (m, k), n = a.shape, b.shape[0]
        facts = {name: launch.Tensor(t.data_ptr(), tuple(t.shape), t.stride(), 16) for name, t in (("a", a), ("b", b), ("c", c))}
        try:
            chosen = [launch.choose(plan, facts, {"M": m, "N": n, "K": k}) for plan in meta["launches"]]
            runs = [module.prepare(one) for one in chosen if one]
        except (launch.LaunchError, driver.DriverError) as error:
            print(f"gemm {dtype} {tile or 'default'} {m}x{n}x{k}: {error}", flush=True)
            return None
        stream = torch.cuda.current_stream().cuda_stream

        def run():
            for one in runs:
                one(stream)

        return run


def close(out, base, ref):
    """FlashAttention's rule: at most twice the error of PyTorch in the same type, against a product in f32."""
    error = lambda x: (x.float() - ref).abs().max().item()
    mine = error(out)
    return math.isfinite(mine) and mine <= 2 * error(base) + 1e-5 * max(1.0, ref.abs().max().item())


def triton_side(a, b, c, clock, configs, seconds):
    """The fastest configuration's launcher, or None where Triton is missing."""
    try:
        import triton_gemm
    except ImportError:
        return None
    runs = {}
    for config in triton_gemm.CONFIGS[:configs]:
        run = triton_gemm.launcher(a, b, c, config)
        try:
            run()
            torch.cuda.synchronize()
            runs[config] = run
        except Exception as error:  # a configuration that does not fit this GPU; any other fault shows as a missing column
            print(f"triton {config}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", flush=True)
    return fastest(runs, clock, seconds)


def fastest(runs, clock, seconds):
    if not runs:
        return None
    times = clock.compare(runs, seconds, most=8, least=3)
    return runs[min(times, key=lambda name: times[name][0])]


def rows(clock, kernels, deadline, quick):
    shapes = QUICK if quick else SQUARES + RECTANGLES
    tries = 2 if quick else len(TILES)
    jobs = [(shape, dtype) for shape in shapes for dtype in TYPES]
    for at, ((m, n, k), dtype) in enumerate(jobs):
        if deadline.near(5):
            print(f"gemm {m}x{n}x{k} {dtype}: skipped, no time left", flush=True)
            continue
        share = min(8.0, deadline.left() / (len(jobs) - at)) / 4
        yield from one_shape(clock, kernels, (m, n, k), dtype, tries, share)


def one_shape(clock, kernels, shape, dtype, tries, share):
    m, n, k = shape
    a, b = (torch.randn(size, device="cuda", dtype=TYPES[dtype]) for size in ((m, k), (n, k)))
    ours, base, theirs = (torch.full((m, n), math.nan, device="cuda", dtype=TYPES[dtype]) for _ in range(3))
    ref = a.float() @ b.float().T
    sides = {"torch.matmul": lambda: torch.matmul(a, b.T, out=base)}
    if triton := triton_side(a, b, theirs, clock, tries, share):
        sides["triton"] = triton
    if default := kernels.launcher(dtype, None, a, b, ours):
        sides["default"] = default
    tiles = {tile: run for tile in TILES[:tries] if (run := kernels.launcher(dtype, tile, a, b, ours))}
    if best := fastest(tiles, clock, share):
        sides["best_of_tiles"] = best
    # Results first, each into an output that is full of NaN, so that an element nobody wrote shows.
    sides["torch.matmul"]()
    right = {}
    for name in ("default", "best_of_tiles"):
        if name in sides:
            ours.fill_(math.nan)
            sides[name]()
            right[name] = close(ours, base, ref)
    if "triton" in sides:
        theirs.fill_(math.nan)
        sides["triton"]()
        if not close(theirs, base, ref):
            print(f"triton is wrong at {m}x{n}x{k} {dtype}; its column is left out", flush=True)
            del sides["triton"]
    del ref
    times = clock.compare(sides, 2 * share)
    peers = {name: times[name][0] for name in ("torch.matmul", "triton") if name in times}
    for name, bench in (("default", "gemm"), ("best_of_tiles", "gemm/best_of_tiles")):
        ms, spread = times.get(name, (None, None))
        if ms is None and name != "default":
            continue
        # Without a kernel of ours the row still says what the peers take; it is not a pass.
        yield report.row(bench, f"{m}x{n}x{k}", dtype, ms, peers, GOAL, flops(*shape), moved(*shape), right.get(name, False), spread)


def ceilings(clock, quick):
    """What the machine can do: a copy, and PyTorch's product at a size where only the tensor cores count."""
    count = (256 if quick else 1024) << 20
    x = torch.empty(count, dtype=torch.int8, device="cuda").random_()
    y = torch.empty_like(x)
    ms, spread = clock.compare({"copy": lambda: y.copy_(x)}, 2)["copy"]
    yield report.row("ceiling/copy", f"{count}", "i8", None, {"torch": ms}, moved=2 * count, spread=spread)
    del x, y
    n = 4096 if quick else 8192
    for dtype, kind in TYPES.items():
        a, b = (torch.randn((n, n), device="cuda", dtype=kind) for _ in range(2))
        c = torch.empty_like(a)
        ms, spread = clock.compare({"matmul": lambda: torch.matmul(a, b.T, out=c)}, 3)["matmul"]
        yield report.row("ceiling/matmul", f"{n}x{n}x{n}", dtype, None, {"torch.matmul": ms}, flops=flops(n, n, n), spread=spread)
