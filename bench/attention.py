"""Attention rows: our kernel beside PyTorch's SDPA backends and FlexAttention, on the same tensors, stream, events and turns.

The workload is FlashAttention's: 16384 positions over all batches, 2048 numbers over all heads; operations are 4 · D for each pair of a query and
a key that it sees (causal: half of all pairs, as everybody counts). `plan()` is the list of rows and needs no PyTorch.
"""

import dataclasses
import math

try:
    import torch
except ImportError:  # the plan and its test need none
    torch = None

import binary
import driver
import launch
import report

FILE = binary.EXAMPLES / "attention.tw"
PAGED = binary.EXAMPLES / "paged_attention.tw"
POSITIONS, WIDTH, WINDOW, PAGE = 16384, 2048, 1024, 16
LENGTHS, QUICK_LENGTHS = (1024, 2048, 4096, 8192, 16384), (1024, 8192)
DIMS = (64, 128)
# Tried for `attention/.../best_of`, the lengths frozen, as FlexAttention compiles for them.
TRIES = ["", "BQ=128,BKV=64", "BQ=128,BKV=32", "BQ=64,BKV=64", "BQ=128,BKV=96", "BQ=128,BKV=128", "BQ=64,BKV=128"]
PAGED_TRIES = ["CH=512", "CH=1024", "CH=2048", "CH=512,BKV=128"]
DECODE_TRIES = ["BQ=16,BR=4,BKV=64", "BQ=16,BR=4,BKV=128", "BQ=16,BR=8,BKV=64"]
GOAL = "ratio_to_best_peer >= 1"
CHECKED_ROWS = 1024  # of queries, of two heads of the first batch
FLEX_SECONDS = 45  # what FlexAttention may take to compile for one shape


@dataclasses.dataclass(frozen=True)
class Row:
    """One shape: `variant` is dense, causal, window or gqa (which is causal); `kind` forward, decode or paged."""

    kind: str
    variant: str
    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    dim: int

    @property
    def shape(self):
        return f"b{self.batch} h{self.heads}/{self.kv_heads} {self.queries}x{self.keys} d{self.dim}"

    @property
    def mask(self):
        return {"dense": "always", "window": "causal_window"}.get(self.variant, "causal")

    def pairs(self):
        """Pairs of a query and a key that it sees, in one head."""
        s, l = self.queries, self.keys
        if self.variant == "dense" or s == 1:
            return s * l
        if self.variant == "window":
            return sum(min(i + l - s, WINDOW) + 1 for i in range(s))
        return s * l // 2

    def flops(self):
        return 4 * self.batch * self.heads * self.pairs() * self.dim

    def moved(self):
        """Bytes that have to move: q and o, k and v once, lse."""
        q = self.batch * self.heads * self.queries
        return 2 * 2 * q * self.dim + 4 * q + 2 * 2 * self.batch * self.kv_heads * self.keys * self.dim


def plan(quick=False):
    """Every row, the ones that matter most first."""
    rows = []
    for length in QUICK_LENGTHS if quick else LENGTHS:
        for dim in DIMS:
            heads, batch = WIDTH // dim, POSITIONS // length
            for variant in ("dense", "causal", "window", "gqa"):
                kv_heads = heads // 8 if variant == "gqa" else heads
                rows.append(Row("forward", variant, batch, heads, kv_heads, length, length, dim))
    for kind in ("decode", "paged"):
        for batch, keys in ((16, 4096),) if quick else ((1, 16384), (16, 4096), (64, 4096), (128, 2048)):
            rows.append(Row(kind, "gqa", batch, 32, 8, 1, keys, 128))
    return rows


def source(row):
    """File and kernel of a row."""
    return (PAGED, "paged_decode") if row.kind == "paged" else (FILE, "attention")


def sets_of(row, sets):
    """Settings of the kernel for a row."""
    own = f"T=f16,D={row.dim}" + ("" if row.kind == "paged" else f",mask={row.mask}")
    return [own, sets] if sets else [own]


def shapes_of(row):
    """Shapes and types of a row's tensors, by name. A kernel of one query a request has no axis for it."""
    b, h, g, s, l, d = row.batch, row.heads, row.kv_heads, row.queries, row.keys, row.dim
    if row.kind != "paged":
        return {"q": ((b, h, s, d), "f16"), "k": ((b, g, l, d), "f16"), "v": ((b, g, l, d), "f16"), "o": ((b, h, s, d), "f16"), "lse": ((b, h, s), "f32")}
    pages = -(-l // PAGE)
    caches = {name: ((b * pages, PAGE, g, d), "f16") for name in ("kc", "vc")}
    return {"q": ((b, h, d), "f16"), **caches, "pages": ((b, pages), "i32"), "len": ((b,), "i32"), "o": ((b, h, d), "f16"), "lse": ((b, h), "f32")}


def facts_of(row, address):
    """The tensors of a row as a launch knows them: dense, at these addresses by name."""
    return {name: launch.dense(address[name], shape, kind, {"f16": 16}.get(kind, 32)) for name, (shape, kind) in shapes_of(row).items()}


def launches(meta, row, facts, sms=1):
    """What has to be launched."""
    dims = {"B": row.batch, "HQ": row.heads, "HKV": row.kv_heads, "S": row.queries, "L": row.keys}
    pages = -(-row.keys // PAGE)
    dims |= {"NP": row.batch * pages, "MP": pages, "P": PAGE}
    scalars = {"scale": 1 / math.sqrt(row.dim), "left": WINDOW}
    found = [launch.choose(plan, facts, dims, scalars, sms=sms) for plan in meta["launches"]]
    return [one for one in found if one]


class Kernels:
    """Our side, compiled for each row and schedule, once."""

    def __init__(self, target):
        self.target, self.driver, self.loaded = target, driver.Driver(), {}
        self.sms = torch.cuda.get_device_properties(0).multi_processor_count

    def get(self, file, kernel, sets, frozen):
        key = file, kernel, tuple(sets), frozen
        if key not in self.loaded:
            try:
                ptx, meta = binary.compile_kernel(file, kernel, self.target, sets, [frozen] if frozen else [])
                self.loaded[key] = driver.Module(self.driver, ptx), meta
            except (binary.Refused, driver.DriverError) as error:
                print(f"{kernel} {' '.join(sets)}: {error}", flush=True)
                self.loaded[key] = None
        return self.loaded[key]

    def launcher(self, row, tensors, sets="", frozen=False):
        """A function that enqueues one run on the current stream; None where it cannot be."""
        dims = f"B={row.batch},HQ={row.heads},HKV={row.kv_heads},S={row.queries},L={row.keys}" if frozen else ""
        found = self.get(*source(row), sets_of(row, sets), dims)
        if found is None:
            return None
        module, meta = found
        facts = facts_of(row, {name: t.data_ptr() for name, t in tensors.items()})
        try:
            keep, runs = [tensors], []
            for one in launches(meta, row, facts, self.sms):
                parts, counters = (torch.zeros(max(size, 4) // 4, dtype=torch.int32, device="cuda") for size in one.workspace)
                keep += [parts, counters]
                runs.append(module.prepare(one.placed(parts.data_ptr(), counters.data_ptr())))
        except (launch.LaunchError, driver.DriverError) as error:
            print(f"{row.kind} {row.variant} {row.shape} {sets or 'default'}: {error}", flush=True)
            return None
        stream = torch.cuda.current_stream().cuda_stream

        def run(_keep=keep):
            for one in runs:
                one(stream)

        return run


def inputs(row):
    """q, k, v, o and lse on the GPU, standard normal; for pages also the caches, the table and the lengths."""
    make = lambda *shape: torch.randn(shape, device="cuda", dtype=torch.float16)
    t = {
        "q": make(row.batch, row.heads, row.queries, row.dim),
        "k": make(row.batch, row.kv_heads, row.keys, row.dim),
        "v": make(row.batch, row.kv_heads, row.keys, row.dim),
    }
    t["o"] = torch.full_like(t["q"], math.nan)
    t["lse"] = torch.full((row.batch, row.heads, row.queries), math.nan, device="cuda", dtype=torch.float32)
    if row.kind == "paged":
        pages = -(-row.keys // PAGE)
        table = torch.randperm(row.batch * pages, device="cuda").reshape(row.batch, pages)
        for name, cache in (("k", "kc"), ("v", "vc")):
            whole = torch.zeros((row.batch * pages, PAGE, row.kv_heads, row.dim), device="cuda", dtype=torch.float16)
            in_pages = t[name].transpose(1, 2).reshape(row.batch * pages, PAGE, row.kv_heads, row.dim)
            whole[table.reshape(-1)] = in_pages
            t[cache] = whole
        t["pages"], t["len"] = table.int(), torch.full((row.batch,), row.keys, device="cuda", dtype=torch.int32)
    return t


def allowed(row, i, j):
    """Whether query i sees key j: scalars or tensors."""
    place = i + (row.keys - row.queries)
    match row.mask:
        case "causal":
            return j <= place
        case "causal_window":
            return (j <= place) & (j >= place - WINDOW)
    return j >= 0


def sdpa(row, t, backend):
    """A launcher of one of SDPA's backends; raises where it does not take the shape."""
    from torch.nn.attention import sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    # One query at the end of the keys sees all of them.
    causal = row.mask == "causal" and row.queries > 1

    def run():
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(t["q"], t["k"], t["v"], is_causal=causal, enable_gqa=row.kv_heads != row.heads)

    return run


def flex(row, t):
    """A launcher of FlexAttention, compiled for this shape."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    compiled = torch.compile(flex_attention, dynamic=False)
    mask = None
    if row.mask != "always" and row.queries > 1:
        mask = create_block_mask(lambda b, h, i, j: allowed(row, i, j), None, None, row.queries, row.keys, device="cuda")
    return lambda: compiled(t["q"], t["k"], t["v"], block_mask=mask, enable_gqa=row.kv_heads != row.heads)


def peers(row, t, deadline):
    """Those that take the shape and run: name and launcher."""
    from torch.nn.attention import SDPBackend

    wanted = {}
    if row.variant != "window":
        for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):
            if backend := getattr(SDPBackend, name, None):
                wanted["sdpa_" + name.split("_")[0].lower()] = lambda backend=backend: sdpa(row, t, backend)
    if not deadline.near(FLEX_SECONDS):
        wanted["flex"] = lambda: flex(row, t)
    found = {}
    for name, make in wanted.items():
        try:
            run = make()
            run()
            torch.cuda.synchronize()
            found[name] = run
        except Exception as error:  # a backend that does not take this shape or GPU; any other fault shows as a missing column
            print(f"{name} at {row.variant} {row.shape}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}", flush=True)
    return found


def close(row, t, out):
    """FlashAttention's rule, on the last queries of the first and the last head of the first batch."""
    heads, first = [0, row.heads - 1], max(0, row.queries - CHECKED_ROWS)
    groups = [h // (row.heads // row.kv_heads) for h in heads]
    q, k, v = t["q"][0, heads, first:], t["k"][0, groups], t["v"][0, groups]
    i = torch.arange(first, row.queries, device="cuda")[:, None]
    j = torch.arange(row.keys, device="cuda")[None, :]
    hidden = ~allowed(row, i, j).expand(row.queries - first, row.keys)

    def eager(kind):
        scores = q.to(kind) @ (k.to(kind) * (1 / math.sqrt(row.dim))).mT
        return torch.softmax(scores.masked_fill(hidden, -math.inf), -1) @ v.to(kind)

    ref = eager(torch.float32)
    error = lambda x: (x.float() - ref).abs().max().item()
    mine = error(out[0, heads, first:])
    return math.isfinite(mine) and mine <= 2 * error(eager(torch.float16)) + 1e-5


def rows(clock, kernels, deadline, quick):
    jobs = plan(quick)
    for at, row in enumerate(jobs):
        if deadline.near(5):
            print(f"{row.kind} {row.variant} {row.shape}: skipped, no time left", flush=True)
            continue
        yield from one_row(clock, kernels, row, deadline, min(4.0, deadline.left() / (len(jobs) - at)) / 3)


def one_row(clock, kernels, row, deadline, share):
    from gemm import fastest

    t = inputs(row)
    theirs = peers(row, t, deadline)
    sides = dict(theirs)
    if default := kernels.launcher(row, t):
        sides["default"] = default
    # Lengths of pages are data, so there is nothing to freeze.
    kinds = {"forward": TRIES, "decode": DECODE_TRIES, "paged": PAGED_TRIES}
    tries = {sets: run for sets in kinds[row.kind] if (run := kernels.launcher(row, t, sets, row.kind != "paged"))}
    if best := fastest(tries, clock, share):
        sides["best_of"] = best
    right = {}
    for name in ("default", "best_of"):
        if name in sides:
            t["o"].fill_(math.nan)
            sides[name]()
            right[name] = close(row, t, t["o"])
    for name in theirs:
        if not close(row, t, sides[name]()):
            print(f"{name} is wrong at {row.variant} {row.shape}; its column is left out", flush=True)
            del sides[name]
    times = clock.compare(sides, share) if sides else {}
    peers_ms = {name: times[name][0] for name in theirs if name in times}
    for name, suffix in (("default", ""), ("best_of", "/best_of")):
        ms, spread = times.get(name, (None, None))
        if ms is None and name != "default":
            continue
        bench = f"attention/{row.kind}/{row.variant}{suffix}"
        yield report.row(bench, row.shape, "f16", ms, peers_ms, GOAL, row.flops(), row.moved(), right.get(name, False), spread)
