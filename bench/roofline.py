"""What `qgemm` can take at the shapes of Tilus' figure 9, from what the executor counts; into docs/roofline.md. Needs no GPU.

    TILEWRIGHT=target/release/tilewright python3 bench/roofline.py            write the page
    TILEWRIGHT=target/release/tilewright python3 bench/roofline.py --check    fail where the page says something else

One column of tiles of the very kernel runs on the executor, through all of K. Every other column does the same on other data, so its counts times
the number of columns are the launch's, exactly.
"""

import json
import pathlib
import re
import sys
import tempfile

import binary
import report

PAGE = report.ROOT / "docs" / "roofline.md"
GROUP = 128
SETS = "BM=16,BN=128,BK=64,warps=(1,4)"
WIDE = 128  # BN
TYPES = [("u8", 8), ("e3m2", 6), ("u4", 4), ("i4", 4), ("u2", 2), ("u1", 1)]
SHAPES = [(n, k) for n, k in ((8192, 8192), (57344, 8192), (8192, 28672))]
GPUS = ("l40s", "a100", "h200")


def gpus():
    """The executor's own table of GPUs."""
    text = (report.ROOT / "runtime" / "src" / "executor" / "stats.rs").read_text()
    fields = r"name: \"(\w+)\",\s*sms: (\d+),\s*clock_ghz: ([\d.]+),\s*tensor_tflops: ([\d.]+),\s*f64_tflops: [\d.]+,\s*memory_gb_s: ([\d.]+)"
    found = {name: tuple(map(float, rest)) for name, *rest in re.findall(fields, text)}
    return {name: found[name] for name in GPUS}


def count(kind, m, k):
    """What the executor counts for one column of tiles: instructions but for copies of registers, tensor operations, bytes."""
    with tempfile.TemporaryDirectory() as folder:
        args = ["run", binary.EXAMPLES / "qgemm.tw", "--device", "cpu", "--target", "sm_80", "--set", f"W={kind},G={GROUP},{SETS}"]
        args += ["--dim", f"M={m},N={WIDE},K={k}", "--save-launch", folder]
        # The launch is only saved for `exec`, which counts.
        status, out, err = binary.call(args, timeout=600)
        if status != 0:
            sys.exit(f"{kind} {m}x{WIDE}x{k}: {binary.message(status, out, err)}")
        status, out, err = binary.call(["exec", pathlib.Path(folder) / "LAUNCH.json", "--stats", "--json"], timeout=600)
        stats = next(o["stats"] for o in binary.objects(out) if "stats" in o)
    copies = sum(n for op, n in stats["mix"].items() if op.startswith(("mov.", "ld.param", "cvta")))
    return {
        "instructions": stats["warp_instructions"] - copies,
        "tensor": sum(stats["tensor_ops"].values()),
        "bytes": stats["global_bytes_read"],
        "conflicts": stats["bank_conflicts"],
    }


def page():
    machines = gpus()
    counted = {(kind, m, k): count(kind, m, k) for kind, _ in TYPES for m in (1, 16) for k in (8192, 28672)}
    lines = [
        "# What the executor's counts say about speed",
        "",
        "Written by `bench/roofline.py`; a prediction, not a measurement. `qgemm` with groups of 128 (an f16 scale and an f16 zero point each) at the shapes of",
        f"Tilus' figure 9, `{SETS}`, compiled for sm_80. The executor runs one column of tiles of each kernel through all of K; other columns do",
        "the same on other data, so counts times columns are the launch's.",
        "",
        "*Memory* is the time to move what must be moved once at the GPU's full bandwidth: packed weights, scales, zero points, x and y. *Issue* is the",
        "counted warp instructions at four per SM and clock, copies of registers apart (the assembler removes them). *Tensor* is the counted matrix instructions",
        "at the GPU's f16 rate, with M filled up to 16. *Predicted* is the largest of the three: all SMs at work (`k.split = stream` sees to that) and",
        "latencies hidden; x is read again by every column of tiles, from the L2 cache. On the H200 `mma.sync`, which is what this code uses, reaches about two",
        "thirds of the f16 rate. *f16* is the time to move weights of 16 bits, over the prediction: the most that can be won. GPUs:",
        "",
    ]
    for name, (sms, clock, tflops, bandwidth) in machines.items():
        lines.append(f"- {name.upper()}: {sms:.0f} SMs at {clock} GHz, {tflops:.0f} TFLOP/s in f16, {bandwidth:.0f} GB/s")
    lines += [
        "",
        "## Counted, per weight",
        "",
        "Of steps in the middle of K (the difference of two depths): bytes of weights loaded from global memory, instructions at M = 1 and at M = 16, and bank",
        "conflicts of the whole run.",
        "",
        "| type | bytes of weights | bits / 8 | instructions, M = 1 | M = 16 | bank conflicts |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind, bits in TYPES:
        deep, shallow = counted[kind, 16, 28672], counted[kind, 16, 8192]
        steps = 28672 - 8192
        # x is 16 rows of f16; scales and zero points are 2 bytes for a group each.
        weights = (deep["bytes"] - shallow["bytes"] - steps * 16 * 2 - WIDE * steps / GROUP * 4) / (steps * WIDE)
        each = [(counted[kind, m, 28672]["instructions"] - counted[kind, m, 8192]["instructions"]) / (steps * WIDE / 32) for m in (1, 16)]
        conflicts = sum(c["conflicts"] for (t, _, _), c in counted.items() if t == kind)
        lines.append(f"| {kind} | {weights:g} | {bits / 8:g} | {each[0]:.2f} | {each[1]:.2f} | {conflicts} |")
    for name, (sms, clock, tflops, bandwidth) in machines.items():
        lines += [
            "",
            f"## {name.upper()}",
            "",
            "| M | N | K | type | memory µs | issue µs | tensor µs | predicted µs | over memory | f16 |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for m in (1, 16):
            for n, k in SHAPES:
                for kind, bits in TYPES:
                    c, columns = counted[kind, m, k], n / WIDE
                    small = 4 * n * k / GROUP + 2 * m * (n + k)
                    memory = (n * k * bits / 8 + small) / bandwidth * 1e-3
                    issue = c["instructions"] * columns / (sms * 4 * clock) * 1e-3
                    tensor = c["tensor"] * columns / tflops * 1e-6
                    predicted = max(memory, issue, tensor)
                    half = (2 * n * k + 2 * m * (n + k)) / bandwidth * 1e-3
                    lines.append(
                        f"| {m} | {n} | {k} | {kind} | {memory:.1f} | {issue:.1f} | {tensor:.1f} | {predicted:.1f} | {predicted / memory:.2f} | {half / predicted:.2f} |"
                    )
    return "\n".join(lines) + "\n"


def main():
    if not binary.path():
        sys.exit("no tilewright: name it in TILEWRIGHT, or build it with cargo build --release")
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text() != text:
            sys.exit(f"{PAGE.relative_to(report.ROOT)} is not what the executor counts now: python3 bench/roofline.py")
        return
    PAGE.write_text(text)
    print(f"wrote {PAGE.relative_to(report.ROOT)}")


if __name__ == "__main__":
    main()
