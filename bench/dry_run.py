"""What `bench/gpu.py --dry-run` does: everything that needs no GPU, on meta files of known answers, and on real ones where a
`tilewright` is at hand."""

import ctypes
import json
import struct
import tempfile

import binary
import driver
import launch
import report

# (M, N, K), address of a, expected variant and blocks; None: nothing is launched.
CASES = [
    ((512, 384, 256), 0x1000, "wide", 12),
    ((257, 130, 72), 0x1000, "mid", 6),  # rows of c are 260 bytes: no 16-byte stores
    ((257, 136, 74), 0x1000, "mid", 6),  # rows of a and b are 148 bytes
    ((257, 130, 7), 0x1000, "any", 15),
    ((128, 128, 64), 0x1002, "any", 4),
    ((128, 128, 64), 0x1004, "mid", 1),
    ((1, 8, 7), 0x1000, "any", 1),  # one row has no stride, but a length
    ((0, 128, 64), 0x1000, "wide", None),
]


def run():
    """Raises where an answer is not the expected one; prints what was done."""
    meta = json.loads((report.BENCH / "samples" / "gemm.meta.json").read_text())
    rows = []
    for shape, address, variant, blocks in CASES:
        chosen = [launch.choose(plan, tensors(shape, address), dims(shape), {"alpha": 0.5}) for plan in meta["launches"]]
        got = [(one.variant, one.blocks) if one else None for one in chosen]
        expect(got, [None if blocks is None else (variant, blocks)], f"the launch at {shape}")
        text = "x".join(map(str, shape))
        rows.append(report.row("dry_run", text, "f16", 2.0, {"torch.matmul": 1.0, "none": None}, None, 4e9, 2e6, True, 0.01))
    plan, shape = meta["launches"][0], (512, 384, 256)
    wide = launch.choose(plan, tensors(shape, 0x1000), dims(shape), {"alpha": 0.5})
    expect(b"".join(wide.params), struct.pack("<QQQIIIQf", 0x1000, 0x20000, 0x30000, 512, 256, 384, 256, 0.5), "the parameters' bytes")
    through_driver(wide)
    expect(launch.blocks("cdiv(M + 1, 128) * B * cdiv(N // 2, 64)", {"M": 128, "N": 130, "B": 3}), 12, "a grid rule")
    expect(launch.pack("bf16", 1.0), b"\x80\x3f", "1.0 as bf16")
    refused("a dimension without a value", lambda: launch.choose(plan, tensors(shape, 0x1000), {"M": 512, "N": 384}, {"alpha": 0.5}))
    refused("a grid rule with a stranger", lambda: launch.blocks("__import__('os')", {}))
    expect((rows[0]["ratio_to_best_peer"], rows[0]["tflops"], rows[0]["gbps"], rows[0]["peers_ms"]), (0.5, 2.0, 1.0, {"torch.matmul": 1.0}), "a row")
    expect(report.spread([1.0, 2.0, 3.0]), 1.0, "the spread of 1, 2, 3")
    storage_and_workspace()
    real()
    attention()
    packed()
    with tempfile.TemporaryDirectory() as folder:
        path = report.write("dry run", None, None, rows, folder)
        back = json.loads(path.read_text())
        expect(list(back), ["gpu", "driver", "date", "commit", "rows"], "the file's fields")
        expect(back["rows"], rows, "the rows read back")
        print(path.read_text(), end="")
    print("dry run: fine")


def storage_and_workspace():
    """A packed operand and stream-K's workspace, on a meta file of known answers."""
    meta = json.loads((report.BENCH / "samples" / "qgemm.meta.json").read_text())
    plan, shape = meta["launches"][0], (16, 256, 512)
    recipe = plan["variants"][0]["packed"][0]["hash"]
    facts = {name: launch.dense(at, size, "f16") for name, at, size in (("x", 0x1000, (16, 512)), ("s", 0x2000, (256, 8)), ("z", 0x3000, (256, 8)), ("y", 0x4000, (16, 256)))}
    facts["w"] = launch.dense(0x5000, (256, 512), "u4", 4)
    of = lambda sms: launch.choose(plan, facts, dims(shape), sms=sms, packed={"w": recipe})
    # 1 x 4 tiles of 16 steps: the blocks of 3 SMs, and not more than there are steps.
    per_sm, part = plan["variants"][0]["workers"]["per_sm"], plan["workspace"]["part_bytes_per_block"]
    few = of(3)
    expect((few.blocks, few.workspace), (3 * per_sm, (3 * per_sm * part, 4 * 4)), "stream-K on 3 SMs")
    expect(of(1000).blocks, 64, "stream-K on 1000 SMs")
    memories = [p.kind for p in few.params if isinstance(p, launch.Memory)]
    expect(sorted(memories), ["counters", "parts"], "the workspace's parameters")
    placed = few.placed(0x77, 0x88)
    at = {kind: placed.params[n] for n, p in enumerate(few.params) if isinstance(p, launch.Memory) for kind in [p.kind]}
    expect(at, {"parts": struct.pack("<Q", 0x77), "counters": struct.pack("<Q", 0x88)}, "the workspace's addresses")
    refused("another recipe", lambda: launch.choose(plan, facts, dims(shape), packed={"w": "0" * 16}))
    refused("no recipe", lambda: launch.choose(plan, facts, dims(shape)))


def packed():
    """packing.py against `tilewright pack`, where both have what they need."""
    import packing

    expect((packing.values("i2"), packing.values("e2m1")[:8]), ([0, 1, -2, -1], [0, 0.5, 1, 1.5, 2, 3, 4, 6]), "what codes mean")
    expect((packing.bits("e3m2"), max(packing.values("e3m2"))), (6, 28), "e3m2")
    try:
        import numpy
    except ImportError:
        print("no numpy here: packing was not tried")
        return
    if not binary.path():
        return
    for kind, bits in (("u4", 4), ("i3", 3), ("u6", 6), ("e3m2", 6), ("u1", 1)):
        sets = [f"W={kind},BM=16,BN=64,BK=64"]
        try:
            _, meta = binary.compile_kernel(binary.EXAMPLES / "qgemm.tw", "qgemm", sets=sets)
        except binary.Refused as error:
            print(f"qgemm {kind}: not compiled: {error}")
            continue
        storage = meta["launches"][0]["variants"][0]["packed"][0]
        codes = numpy.random.default_rng(bits).integers(0, 1 << bits, (128, 128))
        got = packing.pack(numpy, codes, storage, numpy.array).astype("<u4").tobytes()
        signed = numpy.where(codes >> (bits - 1), codes - (1 << bits), codes) if kind[0] == "i" else codes
        with tempfile.TemporaryDirectory() as folder:
            numpy.save(f"{folder}/w.npy", signed.astype(numpy.int8 if kind[0] == "i" else numpy.uint8))
            args = ["pack", binary.EXAMPLES / "qgemm.tw", "--set", sets[0], "--arg", f"w={folder}/w.npy", "-o", f"{folder}/p.safetensors"]
            status, out, err = binary.call(args)
            if status != 0:
                raise AssertionError(f"pack {kind}: {binary.message(status, out, err)}")
            with open(f"{folder}/p.safetensors", "rb") as file:
                file.seek(8 + int.from_bytes(file.read(8), "little"))
                expect(file.read() == got, True, f"{kind} packed here and by tilewright")
        print(f"qgemm {kind}: packed as by tilewright, recipe {storage['hash']}")


class StandIn:
    """A driver that takes every call and remembers what the launch was given."""

    def __getattr__(self, name):
        return lambda *args: self.calls.append((name, args)) or 0

    def __init__(self):
        self.calls = []


def through_driver(one):
    """The parameters' bytes as cuLaunchKernel would read them, after everything that made them is out of scope."""
    lib = StandIn()
    fake = object.__new__(driver.Driver)
    fake.lib = lib
    start = driver.Module(fake, "").prepare(one)
    start(7)
    expect([name for name, _ in lib.calls], ["cuModuleLoadDataEx", "cuModuleGetFunction", "cuFuncSetAttribute", "cuLaunchKernel"], "the calls")
    _, grid_x, grid_y, grid_z, *block, shared, stream, pointers, extra = lib.calls[-1][1]
    numbers = [n.value for n in (grid_x, grid_y, grid_z, *block, shared, stream)]
    expect((numbers, extra), ([one.blocks, 1, 1, *one.block, one.shared_bytes, 7], None), "the launch")
    expect([ctypes.string_at(at, len(value)) for at, value in zip(pointers, one.params)], list(one.params), "the parameters in memory")


def real():
    """The compiler's own meta, where there is a compiler."""
    if not binary.path():
        print("no tilewright here: only the sample's meta was tried")
        return
    for dtype in ("f16", "bf16"):
        try:
            ptx, meta = binary.compile_kernel(binary.EXAMPLES / "gemm.tw", "gemm", sets=[f"T={dtype}"])
        except binary.Refused as error:
            print(f"gemm {dtype}: not compiled: {error}")
            continue
        for shape in ((512, 384, 256), (257, 130, 72), (33, 1025, 7)):
            for plan in meta["launches"]:
                one = launch.choose(plan, tensors(shape, 0x1000), dims(shape))
                found = f".entry {one.entry}(" in ptx.replace("\n", "")
                expect(found, True, f"the entry {one.entry} in the PTX")
                print(f"gemm {dtype} {shape}: {one.variant}, {one.blocks} blocks of {one.block}, {len(one.params)} parameters")


def attention():
    """The rows of attention.py: their counts against counting, and the launch of each where there is a compiler."""
    import attention as bench

    rows = bench.plan()
    expect((len(rows), len(bench.plan(quick=True))), (5 * 2 * 4 + 2 * 4, 2 * 2 * 4 + 2), "the rows of attention")
    expect(len({(r.kind, r.variant, r.shape) for r in rows}), len(rows), "the rows of attention, each once")
    big = next(r for r in rows if (r.variant, r.dim, r.queries) == ("dense", 128, 16384))
    expect((big.batch, big.heads, big.flops()), (1, 16, 4 * 16 * 16384**2 * 128), "16384 queries of 128")
    for queries, keys, mask in ((1500, 1500, "window"), (700, 1400, "window"), (40, 90, "dense")):
        row = bench.Row("forward", mask, 1, 1, 1, queries, keys, 64)
        counted = sum(bool(bench.allowed(row, i, j)) for i in range(queries) for j in range(keys))
        expect(row.pairs(), counted, f"pairs of {mask} {queries}x{keys}")
    expect(bench.Row("decode", "gqa", 2, 32, 8, 1, 100, 128).moved(), 4 * 64 * 128 + 4 * 64 + 4 * 16 * 100 * 128, "bytes of a decode")
    if not binary.path():
        return
    compiled, names = {}, ("q", "k", "v", "kc", "vc", "pages", "len", "o", "lse")
    address = {name: 0x10000 << n for n, name in enumerate(names)}
    for row in rows:
        key = row.mask, row.dim, row.kind
        if key not in compiled:
            sets = bench.sets_of(row, bench.DECODE_TRIES[0] if row.kind == "decode" else "")
            compiled[key] = binary.compile_kernel(*bench.source(row), sets=sets)
        ptx, meta = compiled[key]
        for one in bench.launches(meta, row, bench.facts_of(row, address)):
            expect(f".entry {one.entry}(" in ptx.replace("\n", ""), True, f"the entry {one.entry} in the PTX")
            # Of one query, rows of lse are 4 bytes long.
            expect(one.variant in ("wide", "mid") if row.queries == 1 else one.variant == "wide", True, f"the variant at {row.shape}")
            expect(one.params.count(struct.pack("<f", row.dim**-0.5)) > 0, True, f"the scale at {row.shape}")
    for sets in bench.TRIES:
        for dim in bench.DIMS:
            try:
                binary.compile_kernel(bench.FILE, "attention", sets=bench.sets_of(bench.Row("forward", "causal", 1, 1, 1, 1, 1, dim), sets))
            except binary.Refused as error:
                print(f"attention D={dim} {sets}: not compiled: {error}")
    print(f"attention: {len(rows)} rows planned, {len(compiled)} kernels compiled, each launch chosen")


def dims(shape):
    return dict(zip("MNK", shape))


def tensors(shape, address):
    m, n, k = shape
    return {
        "a": launch.dense(address, (m, k), "f16"),
        "b": launch.dense(0x20000, (n, k), "f16"),
        "c": launch.dense(0x30000, (m, n), "f16"),
    }


def expect(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, expected {want!r}")


def refused(what, act):
    try:
        act()
    except launch.LaunchError:
        return
    raise AssertionError(f"{what} was accepted")
