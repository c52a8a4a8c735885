//! `cp.async.bulk.tensor` against a model that goes element by element.

use super::super::super::{Arg, ElementType, FindingKind, Swizzle, TensorMap};
use super::{Hopper, MAP, POINTER, drain, fill, pattern, wait};

/// A deterministic stream of numbers below a bound.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn random_map(dice: &mut Dice) -> (TensorMap, [i32; 5]) {
    let types = [ElementType::U8, ElementType::F16, ElementType::Bf16, ElementType::F32, ElementType::F64];
    let ty = types[dice.below(5) as usize];
    let bytes = ty.bytes() as u32;
    let swizzle =
        [Swizzle::None, Swizzle::Rows(32), Swizzle::Rows(64), Swizzle::Rows(128)][dice.below(4) as usize];
    let rank = 1 + dice.below(5) as usize;
    // Rows of 16 bytes and more, no longer than the swizzle.
    let longest = swizzle.span().unwrap_or(128) / 16;
    let row = 16 * (1 + dice.below(longest.into()) as u32) / bytes;
    let mut map = TensorMap {
        address: 0,
        ty,
        rank,
        dims: [1; 5],
        strides: [bytes.into(), 0, 0, 0, 0],
        boxes: [1; 5],
        element_strides: [1; 5],
        swizzle,
        interleave: 0,
        nan_fill: dice.below(3) == 0,
        window: None,
    };
    let mut coords = [0; 5];
    for d in 0..rank {
        map.dims[d] = if d == 0 { 1 + dice.below(100) } else { 1 + dice.below(6) };
        map.element_strides[d] = if dice.below(4) == 0 { 1 + dice.below(3) as u32 } else { 1 };
        map.boxes[d] = if d == 0 {
            row * map.element_strides[0]
        } else {
            1 + dice.below(if d < 3 { 4 } else { 2 }) as u32
        };
        if map.boxes[d] > 256 {
            map.element_strides[d] = 1;
            map.boxes[d] = row;
        }
        if d > 0 {
            let below = map.strides[d - 1] * map.dims[d - 1];
            map.strides[d] = below.next_multiple_of(16) + 16 * dice.below(2);
        }
        coords[d] = dice.below(map.dims[d] + 4) as i32 - 3;
    }
    (map, coords)
}

/// Element by element: (offset in global memory if it is inside, offset in shared memory).
fn elements(map: &TensorMap, coords: &[i32; 5]) -> Vec<(Option<usize>, usize)> {
    let bytes = map.ty.bytes();
    let extents: Vec<usize> =
        (0..5).map(|d| (map.boxes[d] as usize).div_ceil(map.element_strides[d] as usize)).collect();
    let row_bytes = extents[0] * bytes;
    let pitch = match map.swizzle {
        Swizzle::None => row_bytes,
        Swizzle::Rows(span) => span as usize,
    };
    let mut all = Vec::new();
    for number in 0..extents.iter().product::<usize>() {
        let (mut left, mut inside, mut global) = (number, true, 0i64);
        for d in 0..5 {
            let x = left % extents[d];
            left /= extents[d];
            let at = i64::from(coords[d]) + x as i64 * i64::from(map.element_strides[d]);
            inside &= at >= 0 && at < map.dims[d] as i64;
            global += at * map.strides[d] as i64;
        }
        let (column, row) = (number % extents[0] * bytes, number / extents[0]);
        // Groups of 16 bytes within the row are permuted by the 128-byte line.
        let line = (row * pitch + column) / 128;
        let column = match map.swizzle {
            Swizzle::None => column,
            Swizzle::Rows(span) => column ^ (line % (span as usize / 16)) << 4,
        };
        all.push((inside.then_some(global as usize), row * pitch + column));
    }
    all
}

fn storage(map: &TensorMap) -> usize {
    (0..map.rank).map(|d| (map.dims[d] - 1) * map.strides[d]).sum::<u64>() as usize + map.ty.bytes()
}

const SPACE: u32 = 8192;

fn coordinates(map: &TensorMap, coords: &[i32; 5]) -> String {
    let list: Vec<String> = (0..map.rank).map(|d| format!("%r{}", 10 + d)).collect();
    let moves: String = (0..map.rank).map(|d| format!("mov.b32 %r{}, {};\n", 10 + d, coords[d])).collect();
    format!("{moves}// {{{}}}", list.join(", "))
}

fn list(rank: usize) -> String {
    let all: Vec<String> = (0..rank).map(|d| format!("%r{}", 10 + d)).collect();
    format!("{{{}}}", all.join(", "))
}

fn load(map: &TensorMap, coords: &[i32; 5]) -> String {
    let bytes: usize =
        (0..5).map(|d| (map.boxes[d] as usize).div_ceil(map.element_strides[d] as usize)).product::<usize>()
            * map.ty.bytes();
    format!(
        "setp.eq.u32 %p1, %t, 0;\n{}{}\n@%p1 mbarrier.init.shared::cta.b64 [%smem+{SPACE}], 1;\nbar.sync 0;\nfence.proxy.async;\nbar.sync 0;\n\
         @%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%smem+{SPACE}], {bytes};\n\
         @%p1 cp.async.bulk.tensor.{}d.shared::cta.global.mbarrier::complete_tx::bytes [%smem], [%g0, {}], [%smem+{SPACE}];\n{}{}",
        fill(1, 0, SPACE, 64),
        coordinates(map, coords),
        map.rank,
        list(map.rank),
        wait(&format!("%smem+{SPACE}"), "0", "W"),
        drain(1, 0, SPACE, 64)
    )
}

#[test]
fn loads_are_element_by_element_what_the_map_says() {
    let mut dice = Dice(11);
    for case in 0..60 {
        let (map, coords) = random_map(&mut dice);
        let source = pattern(storage(&map), case);
        let before = pattern(SPACE as usize, 1000 + case);
        let kernel = Hopper::new(&[MAP, POINTER], load(&map, &coords)).block(64);
        let args = [Arg::TensorMap { map: map.clone(), buffer: 0 }, Arg::buffer(1)];
        let out = kernel.run(&args, &[source.clone(), before.clone()]);
        let (mut want, bytes) = (before, map.ty.bytes());
        for (global, shared) in elements(&map, &coords) {
            let element = &mut want[shared..shared + bytes];
            match global {
                Some(at) => element.copy_from_slice(&source[at..at + bytes]),
                None if map.nan_fill => {
                    element.fill(0xff);
                    element[bytes - 1] = 0x7f;
                }
                None => element.fill(0),
            }
        }
        // Bytes of a swizzled row beyond the box are not written; rows that do not fill their span leave them.
        assert_eq!(out[1], want, "case {case}: {map:?} at {coords:?}");
    }
}

fn store(map: &TensorMap, coords: &[i32; 5], reduce: Option<&str>) -> String {
    let name = match reduce {
        None => format!("cp.async.bulk.tensor.{}d.global.shared::cta.bulk_group", map.rank),
        Some(op) => format!("cp.reduce.async.bulk.tensor.{}d.global.shared::cta.{op}.bulk_group", map.rank),
    };
    format!(
        "setp.eq.u32 %p1, %t, 0;\n{}{}\nfence.proxy.async.shared::cta;\nbar.sync 0;\n@%p1 {name} [%g0, {}], [%smem];\n\
         @%p1 cp.async.bulk.commit_group;\n@%p1 cp.async.bulk.wait_group 0;\n",
        fill(1, 0, SPACE, 64),
        coordinates(map, coords),
        list(map.rank)
    )
}

#[test]
fn stores_write_what_lies_inside_and_nothing_else() {
    let mut dice = Dice(5);
    for case in 0..60 {
        let (mut map, coords) = random_map(&mut dice);
        let reduce = (case % 3 == 0).then_some("add");
        if reduce.is_some() {
            map.ty = ElementType::U32;
            map.strides[0] = 4;
            map.element_strides[0] = 1;
            map.boxes[0] = 4;
            for d in 1..map.rank {
                map.strides[d] = (map.strides[d - 1] * map.dims[d - 1]).next_multiple_of(16);
            }
        }
        let before = pattern(storage(&map), case);
        let source = pattern(SPACE as usize, 77 + case);
        let kernel = Hopper::new(&[MAP, POINTER], store(&map, &coords, reduce)).block(64);
        let args = [Arg::TensorMap { map: map.clone(), buffer: 0 }, Arg::buffer(1)];
        let out = kernel.run(&args, &[before.clone(), source.clone()]);
        let (mut want, bytes) = (before, map.ty.bytes());
        for (global, shared) in elements(&map, &coords) {
            let Some(at) = global else { continue };
            let new = &source[shared..shared + bytes];
            if reduce.is_some() {
                let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                let sum = word(&want[at..]).wrapping_add(word(new));
                want[at..at + 4].copy_from_slice(&sum.to_le_bytes());
            } else {
                want[at..at + bytes].copy_from_slice(new);
            }
        }
        assert_eq!(out[0], want, "case {case}: {map:?} at {coords:?} {reduce:?}");
    }
}

#[test]
fn a_map_made_on_the_device_is_used() {
    // Rank 2, f16, 64 columns by 8 rows, box 32 by 4, no swizzle; built in shared memory, copied to scratch memory.
    let (a, one) = ("[%smem+1024]", "[%rd9]");
    let replace = |field: &str, ty: &str, rest: &str| {
        format!("@%p1 tensormap.replace.tile.{field}.shared::cta.b1024.{ty} {a}, {rest};\n")
    };
    let mut body = String::from(
        "setp.eq.u32 %p1, %t, 0;\nmad.lo.u32 %r1, %t, 4, %smem;\nmov.b32 %r2, 0;\nst.shared.b32 [%r1+1024], %r2;\nbar.warp.sync -1;\n",
    );
    body += &replace("global_address", "b64", "%g0");
    body += &replace("rank", "b32", "1");
    for (field, values) in [("box_dim", [32, 4]), ("global_dim", [64, 8]), ("element_stride", [1, 1])] {
        for (ord, value) in values.iter().enumerate() {
            body += &replace(field, "b32", &format!("{ord}, {value}"));
        }
    }
    body += "mov.b64 %rd3, 128;\n";
    body += &replace("global_stride", "b64", "0, %rd3");
    for (field, value) in [("elemtype", 6), ("interleave_layout", 0), ("swizzle_mode", 0), ("fill_mode", 0)] {
        body += &replace(field, "b32", &value.to_string());
    }
    body += &format!(
        "mov.b64 %rd9, %g2;\nbar.warp.sync -1;\ntensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.gpu.sync.aligned {one}, {a}, 128;\n\
         fence.proxy.tensormap::generic.acquire.gpu {one}, 128;\n@%p1 mbarrier.init.shared::cta.b64 [%smem+2048], 1;\nbar.sync 0;\n\
         @%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%smem+2048], 256;\nmov.b32 %r5, 32;\nmov.b32 %r6, 3;\n\
         @%p1 cp.async.bulk.tensor.2d.shared::cta.global.mbarrier::complete_tx::bytes [%smem], [%rd9, {{%r5, %r6}}], [%smem+2048];\n{}{}",
        wait("%smem+2048", "0", "W"),
        drain(1, 0, 256, 32)
    );
    let source = pattern(1024, 3);
    let kernel = Hopper::new(&[POINTER, POINTER, POINTER], body);
    let args = [Arg::buffer(0), Arg::buffer(1), Arg::buffer(2)];
    let out = kernel.run(&args, &[source.clone(), vec![0; 256], vec![0; 128]]);
    let want: Vec<u8> = (3..7).flat_map(|row| source[128 * row + 64..128 * row + 128].to_vec()).collect();
    assert_eq!(out[1], want);
}

#[test]
fn what_is_no_map_is_said() {
    let mut dice = Dice(2);
    let (map, coords) = random_map(&mut dice);
    let kernel = Hopper::new(&[POINTER, POINTER], load(&map, &coords)).block(64);
    // 128 bytes of a buffer that hold an im2col map.
    let mut object = vec![0; 128];
    object[8] = 1;
    let found = kernel.kinds(&[Arg::buffer(0), Arg::buffer(1)], &[object, vec![0; SPACE as usize]]);
    assert_eq!(found, [FindingKind::BarrierMisuse]);
}

#[test]
fn two_stores_of_the_same_bytes_to_the_same_place_are_harmless() {
    // A box of 4 rows of 16 halves, of which half of the columns and rows lie inside, stored by two warps.
    let map = TensorMap {
        address: 0,
        ty: ElementType::F16,
        rank: 2,
        dims: [40, 6, 1, 1, 1],
        strides: [2, 80, 0, 0, 0],
        boxes: [16, 4, 1, 1, 1],
        element_strides: [1; 5],
        swizzle: Swizzle::Rows(32),
        interleave: 0,
        nan_fill: false,
        window: None,
    };
    let store = |warp: u32, at: u32| {
        format!(
            "setp.eq.u32 %p1, %t, {};\n@%p1 cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%g0, {{%r5, %r6}}], [%smem+{at}];\n\
             @%p1 cp.async.bulk.commit_group;\n@%p1 cp.async.bulk.wait_group 0;\n",
            32 * warp
        )
    };
    let body = |other: usize| {
        format!(
            "{}{}mov.b32 %r5, 32;\nmov.b32 %r6, 4;\nfence.proxy.async.shared::cta;\nbar.sync 0;\n{}{}",
            fill(1, 0, 128, 64),
            fill(other, 1024, 128, 64),
            store(0, 0),
            store(1, 1024)
        )
    };
    let args = [Arg::TensorMap { map: map.clone(), buffer: 0 }, Arg::buffer(1), Arg::buffer(2)];
    let buffers = [vec![0; storage(&map)], pattern(128, 1), pattern(128, 2)];
    let kernel = |other| Hopper::new(&[MAP, POINTER, POINTER], body(other)).block(64);
    let out = kernel(1).run(&args, &buffers);
    let (mut want, bytes) = (buffers[0].clone(), 2);
    for (global, shared) in elements(&map, &[32, 4, 0, 0, 0]) {
        if let Some(at) = global {
            want[at..at + bytes].copy_from_slice(&buffers[1][shared..shared + bytes]);
        }
    }
    assert_eq!(out[0], want);
    // Other bytes: whose are there in the end?
    let found = kernel(2).kinds_any(&args, &buffers);
    assert!(found.iter().all(|k| matches!(k, FindingKind::AsyncInFlight | FindingKind::Race)), "{found:?}");
}
