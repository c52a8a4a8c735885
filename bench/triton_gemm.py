"""The Triton side of the GEMM rows: C = A · Bᵀ with blocks grouped for L2, in the manner of Triton's matmul tutorial."""

import time

import triton
import triton.language as tl


@triton.jit
def gemm(
    a_ptr, b_ptr, c_ptr, M, N, K, stride_am, stride_bn, stride_cm, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr
):
    pid = tl.program_id(0)
    blocks_m = tl.cdiv(M, BM)
    blocks_n = tl.cdiv(N, BN)
    # Neighbours in time share rows of A and B: GROUP rows of blocks are walked column by column.
    first = pid // (GROUP * blocks_n) * GROUP
    height = min(blocks_m - first, GROUP)
    block_m = first + pid % (GROUP * blocks_n) % height
    block_n = pid % (GROUP * blocks_n) // height
    rows = (block_m * BM + tl.arange(0, BM)).to(tl.int64)
    cols = (block_n * BN + tl.arange(0, BN)).to(tl.int64)
    depth = tl.arange(0, BK)
    # Rows beyond the edge read row 0 onwards again, so that only K needs a mask; their results are not stored.
    a = a_ptr + (rows % M)[:, None] * stride_am + depth[None, :]
    b = b_ptr + (cols % N)[None, :] * stride_bn + depth[:, None]
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, tl.cdiv(K, BK)):
        inside = depth < K - k * BK
        acc = tl.dot(tl.load(a, mask=inside[None, :], other=0.0), tl.load(b, mask=inside[:, None], other=0.0), acc)
        a += BK
        b += BK
    c = c_ptr + rows[:, None] * stride_cm + cols[None, :]
    tl.store(c, acc.to(c_ptr.dtype.element_ty), mask=(rows[:, None] < M) & (cols[None, :] < N))


# (BM, BN, BK, stages, warps), the usual choices on sm_80 and later.
CONFIGS = [(128, 256, 64, 3, 8), (128, 128, 64, 3, 8), (128, 128, 32, 4, 4), (64, 128, 64, 4, 4), (64, 64, 64, 4, 4)]


def launcher(a, b, c, config):
    """A function that enqueues one run."""
    bm, bn, bk, stages, warps = config
    (m, k), n = a.shape, b.shape[0]
    grid = (triton.cdiv(m, bm) * triton.cdiv(n, bn),)

    def run():
        gemm[grid](
            a, b, c, m, n, k, a.stride(0), b.stride(0), c.stride(0), BM=bm, BN=bn, BK=bk, GROUP=8, num_stages=stages, num_warps=warps
        )

    return run


def compile_only(target=80):
    """Compiles without a GPU and without the cache; milliseconds up to PTX, and up to the cubin."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kinds = {name: "*fp16" for name in ("a_ptr", "b_ptr", "c_ptr")}
    kinds |= {name: "i32" for name in ("M", "N", "K", "stride_am", "stride_bn", "stride_cm")}
    constants = {"BM": 128, "BN": 128, "BK": 32, "GROUP": 8}
    kinds |= {name: "constexpr" for name in constants}
    stages = {}

    def listen(*, times, **_):
        stages.update(times.lowering_stages)  # microseconds

    triton.knobs.compilation.listener = listen
    triton.knobs.compilation.always_compile = True
    start = time.perf_counter()
    source = ASTSource(fn=gemm, signature=kinds, constexprs=constants)
    triton.compile(source, target=GPUTarget("cuda", target, 32), options={"num_warps": 4, "num_stages": 4})
    total = (time.perf_counter() - start) * 1e3
    return total - stages["cubin"] * 1e-3, total
