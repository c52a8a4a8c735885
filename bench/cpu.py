"""Compile time and executor speed on this machine. It measures and asserts nothing: machines differ, and so do their neighbours."""

import argparse
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import binary
import report
from report import row, spread

FILE = binary.EXAMPLES / "gemm.tw"
N = 512


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30, help="of each compilation")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for the executor and for numpy")
    parser.add_argument("--examples", action="store_true", help="only the compile time of every kernel of every example; writes no file")
    parser.add_argument("--part", choices=["numpy", "triton"], help=argparse.SUPPRESS)  # this file calls itself
    args = parser.parse_args()
    if args.part:
        return {"numpy": numpy_part, "triton": triton_part}[args.part]()
    if not binary.path():
        sys.exit("no tilewright: name it in TILEWRIGHT, or build it with cargo build --release")
    machine = f"none; {cpu_name()}, {args.threads} threads"
    rows = []
    for r in example_rows() if args.examples else [*compile_rows(args.runs), *example_rows(), *executor_rows(args.threads)]:
        report.show(r)
        rows.append(r)
    if not rows:
        sys.exit("nothing could be measured")
    slow = [r for r in rows if r["bench"].startswith("compile/example/") and r["ours_ms"] > 10]
    print(f"kernels of the examples that take more than 10 ms to PTX: {', '.join(r['shape'] for r in slow) or 'none'}")
    if args.examples:
        return
    if busy():
        print("this machine has other work: no file of results was written")
        return
    print(f"wrote {report.write('cpu', machine, None, rows).relative_to(report.ROOT)}")


def compile_rows(runs):
    """Text to PTX: the sum of the passes inside the process, and the whole process from outside."""
    with tempfile.TemporaryDirectory() as folder:
        # An output path keeps the PTX out of the JSON that is parsed here.
        args = ["compile", FILE, "--kernel", "gemm", "--time-passes", "--json", "-o", pathlib.Path(folder) / "gemm.ptx"]
        inside, outside = [], []
        for _ in range(runs + 1):
            start = time.perf_counter()
            status, out, err = binary.call(args)
            outside.append((time.perf_counter() - start) * 1e3)
            if status != 0:
                print(f"gemm: not compiled: {binary.message(status, out, err)}")
                return
            result = next(o for o in binary.objects(out) if "passes" in o)
            inside.append(sum(p["ms"] for p in result["passes"]))
    # The first run reads the binary from disk.
    inside, outside = inside[1:], outside[1:]
    for p in result["passes"]:
        print(f"{p['name']:>12} {p['ms']:9.3f} ms in the last run")
    peers = dict(zip(("triton to PTX", "triton to cubin"), part("triton", {})))
    yield row("compile/in_process", "gemm", "f16", statistics.median(inside), peers, "ours_ms <= 10", spread=spread(inside))
    yield row("compile/process", "gemm", "f16", statistics.median(outside), peers, "ours_ms <= 40", spread=spread(outside))


def example_rows():
    """Text to PTX inside the process, of every kernel of every example: the best of a few, for machines have other work."""
    for file in sorted(binary.EXAMPLES.glob("*.tw")):
        for kernel in binary.kernels(file):
            times = []
            for _ in range(9):
                status, out, err = binary.call(["compile", file, "--kernel", kernel, "--time-passes", "--json", "-o", os.devnull])
                if status != 0:
                    print(f"{kernel}: not compiled: {binary.message(status, out, err)}")
                    break
                result = next(o for o in binary.objects(out) if "passes" in o)
                times.append(sum(p["ms"] for p in result["passes"]))
            if times:
                yield row(f"compile/example/{file.stem}", kernel, "", min(times), None, "ours_ms <= 10", spread=spread(times))


def busy():
    """Whether others keep more than half of the cores at work; what this file runs keeps one."""
    return os.getloadavg()[0] > 1 + len(os.sched_getaffinity(0)) / 2


def executor_rows(threads):
    """The executor on gemm.tw beside a float32 product by numpy's BLAS, with as many threads."""
    dims = f"M={N},N={N},K={N}"
    args = ["run", FILE, "--kernel", "gemm", "--device", "cpu", "--dim", dims, "--json"]
    times = []
    for _ in range(5):
        status, out, err = binary.call(args, env={"RAYON_NUM_THREADS": str(threads)})
        if status != 0:
            print(f"gemm on the executor: {binary.message(status, out, err)}")
            return
        times.append(next(o for o in binary.objects(out) if "run_ms" in o)["run_ms"])
    blas = part("numpy", {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")})
    yield row(
        "executor/gemm", f"{N}x{N}x{N}", "f16", statistics.median(times), dict(zip(["numpy f32"], blas)), None, 2 * N**3, spread=spread(times)
    )


def part(name, env):
    """A peer's medians in milliseconds, measured in a process of its own; empty where the peer is not installed or fails."""
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, **env, "TRITON_CACHE_DIR": cache}
        done = subprocess.run([sys.executable, __file__, "--part", name], capture_output=True, text=True, env=env)
    try:
        if done.returncode == 0:
            return [float(ms) for ms in done.stdout.split()]
    except ValueError:
        pass
    reason = (done.stderr or done.stdout).strip().splitlines()
    print(f"{name}: not measured: {reason[-1] if reason else 'no answer'}")
    return []


def numpy_part():
    import numpy

    rng = numpy.random.default_rng(0)
    a, b = (rng.standard_normal((N, N), dtype=numpy.float32) for _ in range(2))
    c, times = numpy.empty((N, N), numpy.float32), []
    for _ in range(21):
        start = time.perf_counter()
        numpy.matmul(a, b.T, out=c)
        times.append((time.perf_counter() - start) * 1e3)
    print(statistics.median(times[1:]))


def triton_part():
    """Up to PTX, which is where ours ends, and up to the cubin; importing Triton is not counted."""
    import triton_gemm

    # The first compilation also loads Triton's libraries.
    times = [triton_gemm.compile_only() for _ in range(6)][1:]
    print(*map(statistics.median, zip(*times)))


def cpu_name():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
