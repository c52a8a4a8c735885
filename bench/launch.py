"""From the JSON of `compile --emit meta` to one launch: the variant, the grid, the parameters' bytes. Needs no GPU.

Worked example: gemm at (M, N, K) = (257, 130, 7) in f16. Rows of `a` are 14 bytes apart, so `wide` (16-byte accesses) and `mid`
(4-byte) are out and `any` is taken; its rule `cdiv(M, 64) * cdiv(N, 64)` gives 5 * 3 blocks.

The runtime's launch code (runtime/src/launch/choose.rs) is the authority; this is the same rule for a side that has no Rust.
"""

import ast
import dataclasses
import math
import operator
import struct

BITS = {"f16": 16, "bf16": 16, "f32": 32, "f64": 64, "bool": 8}
FORMATS = {"u8": "<B", "i8": "<b", "u16": "<H", "i16": "<h", "u32": "<I", "i32": "<i", "u64": "<Q", "i64": "<q", "f16": "<e", "f32": "<f", "f64": "<d"}
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod}


class LaunchError(Exception):
    """The meta file and the arguments do not fit."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What a launch needs to know of a tensor; strides in elements."""

    address: int
    shape: tuple
    strides: tuple
    bits: int


@dataclasses.dataclass(frozen=True)
class Launch:
    variant: str
    entry: str
    blocks: int
    block: tuple
    shared_bytes: int
    params: tuple  # of bytes, one per PTX parameter; a Memory where the launch wants workspace
    workspace: tuple = (0, 0)  # bytes of the parts and of the counters; counters are zero before the first launch

    def placed(self, parts, counters):
        """The launch with its workspace at these addresses."""
        at = {"parts": pack("u64", parts), "counters": pack("u64", counters)}
        return dataclasses.replace(self, params=tuple(at[p.kind] if isinstance(p, Memory) else p for p in self.params))


@dataclasses.dataclass(frozen=True)
class Memory:
    """A parameter that holds the address of the workspace's `parts` or `counters`."""

    kind: str


def dense(address, shape, elem, bits=None):
    """A contiguous tensor; `bits` of an element, where the type's name is not known here."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return Tensor(address, tuple(shape), tuple(strides), bits or BITS[elem])


def guard_holds(guard, tensors):
    """Base, row strides and row length are multiples of the guard's bytes; an axis of extent 1 has no stride to ask about."""
    tensor, unit = tensors[guard["tensor"]], guard["base_and_row_stride_multiple_of"]
    if 0 in tensor.shape:
        return True
    rows = [stride for size, stride in zip(tensor.shape[:-1], tensor.strides[:-1]) if size > 1]
    length = tensor.shape[-1] if tensor.shape else 1
    return tensor.address % unit == 0 and all(n * tensor.bits % (8 * unit) == 0 for n in [length, *rows])


def blocks(rule, dims):
    """`cdiv(M, 128) * cdiv(N, 128)`; an empty range launches nothing."""

    def value(node):
        match node:
            case ast.Constant(value=int(number)):
                return number
            case ast.Name(id=name) if name in dims:
                return dims[name]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return OPERATORS[type(op)](value(left), value(right))
            case ast.Call(func=ast.Name(id="cdiv"), args=[extent, by]):
                return max(0, -(-value(extent) // value(by)))
        raise LaunchError(f"the grid rule {rule!r} has a part that this bench cannot evaluate: {ast.unparse(node)}")

    return value(ast.parse(rule, mode="eval").body)


def pack(kind, value):
    """A scalar's bytes in its own type."""
    if kind == "bf16":
        bits = struct.unpack("<I", struct.pack("<f", value))[0]
        return struct.pack("<H", (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)  # to nearest, ties to even
    if kind == "bool":
        return bytes([bool(value)])
    if kind not in FORMATS:
        raise LaunchError(f"scalars of type {kind} are not known here")
    return struct.pack(FORMATS[kind], value)


def param(slot, tensors, dims, scalars):
    """One PTX parameter's bytes."""
    try:
        match slot:
            case {"pointer": name}:
                return pack("u64", tensors[name].address)
            case {"dim": name, "type": kind}:
                return pack(kind, dims[name])
            case {"workspace": kind}:
                return Memory(kind)
            case {"stride": name, "axis": axis, "type": kind}:
                return pack(kind, tensors[name].strides[axis])
            case {"scalar": name, "type": kind}:
                return pack(kind, scalars[name])
    except KeyError as missing:
        raise LaunchError(f"no value for {missing} in {slot}") from None
    raise LaunchError(f"a parameter of a kind not known here: {slot}")


def choose(plan, tensors, dims, scalars=None, sms=1, packed=None):
    """The launch for one entry of meta's `launches`; None where the grid is empty.

    `sms` are the GPU's, for kernels whose blocks stay. A packed tensor is described like any other (its logical shape; the address is that of the
    packed bytes), and `packed` holds the hash that its bytes were packed by: another one than the kernel's is refused.
    """
    variant = next((v for v in plan["variants"] if all(guard_holds(g, tensors) for g in v["guard"])), None)
    if variant is None:
        raise LaunchError("no variant's guards hold")
    if variant["cluster"] != [1, 1, 1] or variant["tensor_maps"]:
        raise LaunchError("clusters and tensor maps are not known here yet")
    for storage in variant["packed"]:
        have = (packed or {}).get(storage["tensor"])
        if have != storage["hash"]:
            raise LaunchError(f"{storage['tensor']} is packed by recipe {have}, the kernel wants {storage['hash']}")
    tiles = blocks(variant["grid"], dims)
    if tiles == 0:
        return None
    count = work = tiles
    workers = variant.get("workers")  # absent in older files
    if workers:
        if workers["steps"]:
            work = tiles * max(1, blocks(workers["steps"], dims))
        count = min(work, max(1, sms) * workers["per_sm"])
    return Launch(
        variant=variant["name"],
        entry=variant["entry"],
        blocks=count,
        block=tuple(variant["block"]),
        shared_bytes=variant["shared_bytes"],
        params=tuple(param(slot, tensors, dims, scalars or {}) for slot in variant["params"]),
        workspace=workspace(plan["workspace"], count, tiles),
    )


def workspace(rule, count, tiles):
    """Bytes of the parts and of the counters, by meta's `workspace`."""
    if not rule:
        return (0, 0)
    counters = {"one u32 per block": count, "one u32 per tile of the grid": tiles, "one u32": 1}
    if rule["counters"] not in counters:
        raise LaunchError(f"a rule for counters that is not known here: {rule['counters']}")
    return (rule["part_bytes_per_block"] * count, 4 * counters[rule["counters"]])
