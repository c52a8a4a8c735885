"""One run on a machine with a GPU: examples checked, ceilings measured, our kernels beside their peers. See README.md."""

import argparse
import sys

import binary
import report

LIMIT, QUICK_LIMIT = 440, 145  # seconds, start-up and the last row included
TARGETS = {(8, 0): "sm_80", (8, 7): "sm_80", (8, 6): "sm_86", (8, 9): "sm_89", (9, 0): "sm_90a"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer shapes, inside 3 minutes")
    parser.add_argument("--dry-run", action="store_true", help="only what needs no GPU")
    args = parser.parse_args()
    if args.dry_run:
        import dry_run

        return dry_run.run()
    if not binary.path():
        sys.exit("no tilewright: name it in TILEWRIGHT, or build it with cargo build --release")
    try:
        import torch
    except ImportError:
        sys.exit("PyTorch is not installed here; bench/gpu.sh --dry-run does what needs no GPU")
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU; bench/gpu.sh --dry-run does what needs none")
    return measure(torch, args.quick)


def measure(torch, quick):
    import attention
    import examples
    import gemm
    import qgemm
    from measure import Clock, Deadline

    limit = QUICK_LIMIT if quick else LIMIT
    deadline = Deadline(limit)
    torch.cuda.set_device(0)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False  # the reference is a true f32 product
    name = torch.cuda.get_device_name(0)
    version = driver_version()
    # PTX of the oldest target runs on every later GPU.
    target = TARGETS.get(torch.cuda.get_device_capability(0), "sm_80")
    rows = []

    def keep(source):
        for r in source:
            report.show(r)
            rows.append(r)
            # After every row, so that a run that is cut short leaves what it has.
            report.write(name, name, version, rows)

    try:
        keep(examples.check(["cuda:0", "cpu"], Deadline(limit / 3)))
        clock = Clock()
        keep(gemm.ceilings(clock, quick))
        keep(gemm.rows(clock, gemm.Kernels(target), Deadline(deadline.left() / 3), quick))
        keep(qgemm.rows(clock, qgemm.Kernels(target), Deadline(deadline.left() / 2), quick))
        keep(attention.rows(clock, attention.Kernels(target), deadline, quick))
    finally:
        if rows:
            print(f"wrote {report.write(name, name, version, rows).relative_to(report.ROOT)}")
    wrong = [r for r in rows if r["error_ok"] is False]
    return 1 if wrong else 0


def driver_version():
    """The driver's release, such as 570.86.15, as nvidia-smi says it; else the CUDA version that it speaks."""
    import ctypes
    import subprocess

    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        number = ctypes.c_int()
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
        return f"CUDA {number.value // 1000}.{number.value % 1000 // 10}"


if __name__ == "__main__":
    sys.exit(main())
