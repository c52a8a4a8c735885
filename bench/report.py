"""Rows and the file of results: the same fields on every machine, so that files can be compared over time."""

import datetime
import json
import os
import pathlib
import re
import statistics
import subprocess

BENCH = pathlib.Path(__file__).resolve().parent
ROOT = BENCH.parent
ROW = ("bench", "shape", "dtype", "ours_ms", "peers_ms", "ratio_to_best_peer", "goal", "tflops", "gbps", "error_ok", "spread")


def row(bench, shape, dtype, ours_ms=None, peers_ms=None, goal=None, flops=None, moved=None, error_ok=None, spread=None):
    """`flops` and `moved` (bytes) are of one run; rates are ours, or the best peer's in rows that have no `ours_ms`."""
    peers = {name: ms for name, ms in (peers_ms or {}).items() if ms}
    best = min(peers.values(), default=None)
    of = ours_ms or best
    values = (
        bench,
        shape,
        dtype,
        rounded(ours_ms),
        {name: rounded(ms) for name, ms in peers.items()},
        rounded(best / ours_ms) if best and ours_ms else None,
        goal,
        rounded(flops / of * 1e-9) if flops and of else None,
        rounded(moved / of * 1e-6) if moved and of else None,
        error_ok,
        rounded(spread),
    )
    return dict(zip(ROW, values, strict=True))


def rounded(value):
    return None if value is None else float(f"{value:.4g}")


def spread(samples):
    """Distance between the quartiles over the median: 0 is perfectly steady."""
    if len(samples) < 2:
        return None
    low, middle, high = statistics.quantiles(samples, n=4)
    return (high - low) / middle if middle else None


def commit():
    """Of the working tree, or TILEWRIGHT_COMMIT where a copy has no history."""
    if given := os.environ.get("TILEWRIGHT_COMMIT"):
        return given
    try:
        git = lambda *args: subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True, check=True).stdout.strip()
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write(name, gpu, driver, rows, folder=BENCH / "results"):
    """The path of the file; a second run on the same day replaces the first."""
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    path = pathlib.Path(folder) / f"{slug}-{date}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"gpu": gpu, "driver": driver, "date": date, "commit": commit()}
    # One row a line, so that a diff of two files reads.
    lines = ",\n".join("    " + json.dumps(r) for r in rows)
    body = "".join(f"  {json.dumps(k)}: {json.dumps(v)},\n" for k, v in head.items())
    path.write_text(f'{{\n{body}  "rows": [\n{lines}\n  ]\n}}\n')
    return path


def show(r):
    """One row for people."""
    part = lambda name, value: f"  {name} {value}" if value is not None else ""
    peers = "".join(f"  {name} {ms} ms" for name, ms in r["peers_ms"].items())
    right = {True: "  right", False: "  WRONG", None: ""}[r["error_ok"]]
    ours = f"  ours {r['ours_ms']} ms" if r["ours_ms"] is not None else ""
    rates = part("TFLOP/s", r["tflops"]) + part("GB/s", r["gbps"])
    print(f"{r['bench']} {r['shape']} {r['dtype']}:{ours}{peers}{part('ratio', r['ratio_to_best_peer'])}{rates}{part('spread', r['spread'])}{right}", flush=True)
