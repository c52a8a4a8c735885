"""The executor's speed: matrix products beside a float32 BLAS product of the same size, thread-instructions per second, the sanitizer's price.

All sides run in the same minute, in turn, on the same number of threads. A row's `ours_ms` is what `exec --json` calls `time_ms`: the run
without reading files and compiling, which `compile_ms` has. Limits are printed and judged, but the exit status is 0: machines differ.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import binary
import report
from cpu import cpu_name
from report import row, spread

KERNELS = pathlib.Path(__file__).resolve().parent / "kernels"
N = 1024
# Instructions of one thread of integer.ptx: before the loop, in a turn of it, after it.
INTEGER = (14, 25, 5)
INTEGER_TURNS, INTEGER_BLOCKS = 20_000, 64


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="of each side")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for the executor and for numpy")
    parser.add_argument("--blas", action="store_true", help=argparse.SUPPRESS)  # this file calls itself
    parser.add_argument("--no-write", action="store_true", help="print only")
    args = parser.parse_args()
    if args.blas:
        return blas_server()
    if not binary.path():
        sys.exit("no tilewright: name it in TILEWRIGHT, or build it with cargo build --release")
    if os.getloadavg()[0] > 0.5 * args.threads:
        print(f"load average {os.getloadavg()[0]:.1f}: something else is running, so these figures say little about the machine")
    with tempfile.TemporaryDirectory() as folder:
        rows = list(measure(pathlib.Path(folder), args.runs, args.threads))
    if not rows:
        sys.exit("nothing could be measured")
    if not args.no_write:
        machine = f"none; {cpu_name()}, {args.threads} threads"
        print(f"wrote {report.write('executor', machine, None, rows).relative_to(report.ROOT)}")


def measure(folder, runs, threads):
    launches = {"sm_80": sm80(folder), "wgmma": wgmma(folder)}
    launches = {name: file for name, file in launches.items() if file}
    integer_file = integer(folder)
    blas = Blas(threads)
    times = {name: [] for name in [*launches, "blas", "integer"]}
    for _ in range(runs):
        for name, file in launches.items():
            times[name].append(execute(file, threads)["time_ms"])
            times["blas"] += blas.time()
        last = execute(integer_file, threads)
        times["integer"].append(last["time_ms"])
    peers = {"numpy f32": statistics.median(times["blas"])} if times["blas"] else {}
    limits = {"sm_80": 6, "wgmma": 3}
    for name in launches:
        ours = statistics.median(times[name])
        goal = f"ours_ms <= {limits[name]} * numpy f32"
        r = row(f"executor/gemm/{name}", f"{N}x{N}x{N}", "f16", ours, peers, goal, 2 * N**3, spread=spread(times[name]))
        report.show(r)
        if peers:
            judge(f"{name} code", ours / peers["numpy f32"], limits[name], "x the time of a float32 BLAS product")
        yield r
    if not peers:
        print("numpy is not there: nothing to compare the products with")

    ours = statistics.median(times["integer"])
    expected = (INTEGER[0] + INTEGER[1] * INTEGER_TURNS + INTEGER[2]) * INTEGER_BLOCKS * 256 // 32
    if last["warp_instructions"] != expected:
        print(f"integer: {last['warp_instructions']} warp instructions, expected {expected}: the kernel is not what this file thinks")
    rate = last["warp_instructions"] * 32 / (ours * 1e-3) / threads
    r = row("executor/integer", f"{rate:.3g} thread-instructions per second and core", "u32", ours, {}, ">= 3e9", spread=spread(times["integer"]))
    report.show(r)
    judge("thread-instructions per second and core", rate / 1e9, 3, "e9", at_least=True)
    yield r

    for name, file in launches.items():
        # The lazy clocks of a whole product take a while: three runs will do.
        plain, watched = [], []
        for _ in range(min(runs, 3)):
            plain.append(execute(file, threads)["time_ms"])
            watched.append(execute(file, threads, "--sanitize")["time_ms"])
        ours, alone = statistics.median(watched), statistics.median(plain)
        r = row(f"executor/sanitize/{name}", f"{N}x{N}x{N}", "f16", ours, {"without": alone}, "ours_ms <= 25 * without", spread=spread(watched))
        report.show(r)
        judge(f"--sanitize, {name} code", ours / alone, 25, "x the time without")
        yield r
    blas.close()


def judge(what, value, limit, unit, at_least=False):
    kept = value >= limit if at_least else value <= limit
    print(f"    {what}: {value:.2f} {unit} (limit {limit}){'' if kept else '  MISSED'}", flush=True)


def execute(file, threads, *flags):
    status, out, err = binary.call(["exec", file, "--json", *flags], timeout=600, env={"RAYON_NUM_THREADS": str(threads)})
    if status != 0:
        sys.exit(f"exec {file}: {binary.message(status, out, err)}")
    return next(o for o in binary.objects(out) if "time_ms" in o)


def sm80(folder):
    """Our own code for gemm.tw, as `run --save-launch` writes it."""
    saved = folder / "sm_80"
    args = ["run", binary.EXAMPLES / "gemm.tw", "--kernel", "gemm", "--target", "sm_80", "--device", "cpu", "--dim", f"M={N},N={N},K={N}"]
    status, out, err = binary.call([*args, "--save-launch", saved])
    if status != 0:
        print(f"gemm.tw: {binary.message(status, out, err)}")
        return None
    return saved / "LAUNCH.json"


def wgmma(folder):
    """The hand-written sm_90a product; its result is compared where numpy is there."""
    ptx = "wgmma_gemm.ptx"
    shutil.copy(KERNELS / ptx, folder)
    tensor = lambda init, rows: {"tensormap": {"dtype": "f16", "shape": [N, N], "box": [rows, 64], "swizzle": "128B", "init": init}}
    inits = ["random:1", "random:2"]
    try:
        import numpy
    except ImportError:
        numpy = None
    if numpy:
        rng = numpy.random.default_rng(0)
        a, b = (rng.standard_normal((N, N)).astype(numpy.float16) for _ in range(2))
        inits = ["wgmma_a.npy", "wgmma_b.npy"]
        for name, value in zip(inits, (a, b)):
            numpy.save(folder / name, value)
    file = folder / "wgmma.json"
    launch = {
        **{"ptx": ptx, "kernel": "wgmma_gemm", "target": "sm_90a"},
        **{"grid": [N // 256, N // 128, 1], "block": [384, 1, 1], "shared_bytes": 196672},
        "args": [
            tensor(inits[0], 128),
            tensor(inits[1], 256),
            {"buffer": {"dtype": "f16", "shape": [N, N], "init": "zeros", "out": "wgmma_c.npy"}},
            {"u32": N},
            {"u32": N},
        ],
    }
    file.write_text(json.dumps(launch))
    if numpy:
        execute(file, len(os.sched_getaffinity(0)))
        wrong = numpy.abs(numpy.load(folder / "wgmma_c.npy").astype(float) - a.astype(float) @ b.astype(float).T).max()
        if not wrong < 0.1:  # one unit in the last place of f16 at 128 is 0.125, half of it the rounding
            sys.exit(f"wgmma_gemm.ptx computes something else: off by {wrong}")
    return file


def integer(folder):
    shutil.copy(KERNELS / "integer.ptx", folder)
    file = folder / "integer.json"
    launch = {
        **{"ptx": "integer.ptx", "kernel": "integer", "target": "sm_80", "grid": [INTEGER_BLOCKS, 1, 1], "block": [256, 1, 1]},
        "args": [{"buffer": {"dtype": "u32", "shape": [INTEGER_BLOCKS * 256], "init": "zeros"}}, {"u32": INTEGER_TURNS}],
    }
    file.write_text(json.dumps(launch))
    return file


class Blas:
    """numpy in a process of its own, asked for a few products at a time; nothing where it is missing."""

    def __init__(self, threads):
        env = {**os.environ, **{name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}}
        self.process = subprocess.Popen([sys.executable, __file__, "--blas"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        if self.process.stdout.readline().strip() != "ready":
            print("numpy: not measured")
            self.process = None

    def time(self):
        if not self.process:
            return []
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        times = [float(ms) for ms in self.process.stdout.readline().split()]
        # OpenBLAS's threads spin for some 2^26 cycles before they sleep: whoever runs next would share the cores with them.
        time.sleep(0.2)
        return times

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


def blas_server():
    try:
        import numpy
    except ImportError:
        return print("numpy is missing")
    rng = numpy.random.default_rng(0)
    a, b = (rng.standard_normal((N, N), dtype=numpy.float32) for _ in range(2))
    c = numpy.empty((N, N), numpy.float32)
    numpy.matmul(a, b.T, out=c)
    print("ready", flush=True)
    for _ in sys.stdin:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            numpy.matmul(a, b.T, out=c)
            times.append((time.perf_counter() - start) * 1e3)
        # The first one wakes the threads up.
        print(*times[1:], flush=True)


if __name__ == "__main__":
    sys.exit(main())
