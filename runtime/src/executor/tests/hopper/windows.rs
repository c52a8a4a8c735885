//! Tensor copies of windows (im2col) against a walk over the image, pixel by pixel.

use super::super::super::{Arg, ElementType, FindingKind, Swizzle, TensorMap, Window};
use super::{Hopper, MAP, POINTER, drain, fill, pattern, wait};

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }
}

/// A map, where a copy starts, and the offsets in the filter.
fn random(dice: &mut Dice) -> (TensorMap, [i32; 5], [u16; 3]) {
    let rank = 3 + dice.below(3) as usize;
    let ty = [ElementType::F16, ElementType::F32, ElementType::U8][dice.below(3) as usize];
    let swizzle = [Swizzle::None, Swizzle::Rows(64), Swizzle::Rows(128)][dice.below(3) as usize];
    let bytes = ty.bytes() as u32;
    let channels = 16 / bytes * (1 + dice.below(4) as u32);
    let pixels = 1 + dice.below(40) as u32;
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
        nan_fill: false,
        window: None,
    };
    let mut window = Window { lower: [0; 3], upper: [0; 3], channels, pixels };
    let (mut coords, mut offsets) = ([0; 5], [0; 3]);
    for d in 0..rank {
        map.dims[d] = match d {
            0 => 8 + dice.below(80),
            _ if d + 1 == rank => 1 + dice.below(3),
            _ => 3 + dice.below(5),
        };
        if d > 0 {
            map.strides[d] = (map.strides[d - 1] * map.dims[d - 1]).next_multiple_of(16);
        }
        if d == 0 {
            coords[0] = dice.below(20) as i32;
        } else if d + 1 == rank {
            coords[d] = dice.below(map.dims[d]) as i32;
        } else {
            let lower = dice.between(-2, 1);
            let upper = dice.between(-2, 1).max(lower + 1 - map.dims[d] as i64);
            (window.lower[d - 1], window.upper[d - 1]) = (lower as i32, upper as i32);
            map.element_strides[d] = 1 + dice.below(2) as u32;
            let last = map.dims[d] as i64 + upper - 1;
            let steps = (last - lower) / i64::from(map.element_strides[d]);
            coords[d] = (lower + dice.between(0, steps) * i64::from(map.element_strides[d])) as i32;
            offsets[d - 1] = dice.below(4) as u16;
        }
    }
    map.window = Some(window);
    (map, coords, offsets)
}

/// The pixels of a copy, one after the other, as a loop nest would meet them.
fn walk(map: &TensorMap, coords: &[i32; 5]) -> Vec<[i64; 5]> {
    let window = map.window.expect("it has windows");
    let mut at: [i64; 5] = coords.map(i64::from);
    let mut all = Vec::new();
    for _ in 0..window.pixels {
        all.push(at);
        for d in 1..map.rank {
            at[d] += i64::from(map.element_strides[d]);
            let end = map.dims[d] as i64 + if d + 1 < map.rank { i64::from(window.upper[d - 1]) } else { 0 };
            if d + 1 == map.rank || at[d] < end {
                break;
            }
            at[d] = window.lower[d - 1].into();
        }
    }
    all
}

/// Element by element: offset in global memory if it is inside, offset in shared memory.
fn elements(map: &TensorMap, coords: &[i32; 5], offsets: &[u16; 3]) -> Vec<(Option<usize>, usize)> {
    let window = map.window.expect("it has windows");
    let (bytes, channels) = (map.ty.bytes(), window.channels as usize);
    let pitch = match map.swizzle {
        Swizzle::None => channels * bytes,
        Swizzle::Rows(span) => span as usize,
    };
    let mut all = Vec::new();
    for (row, pixel) in walk(map, coords).into_iter().enumerate() {
        for channel in 0..channels {
            let (mut inside, mut global) = (true, 0);
            for d in 0..map.rank {
                let moved = match d {
                    0 => channel as i64,
                    _ if d + 1 == map.rank => 0,
                    _ => offsets[d - 1].into(),
                };
                let at = pixel[d] + moved;
                inside &= at >= 0 && at < map.dims[d] as i64;
                global += at * map.strides[d] as i64;
            }
            let column = channel * bytes;
            let line = (row * pitch + column) / 128;
            let column = match map.swizzle {
                Swizzle::None => column,
                Swizzle::Rows(span) => column ^ (line % (span as usize / 16)) << 4,
            };
            all.push((inside.then_some(global as usize), row * pitch + column));
        }
    }
    all
}

fn storage(map: &TensorMap) -> usize {
    (0..map.rank).map(|d| (map.dims[d] - 1) * map.strides[d]).sum::<u64>() as usize + map.ty.bytes()
}

const SPACE: u32 = 8192;

fn list(first: usize, count: usize) -> String {
    let all: Vec<String> = (0..count).map(|d| format!("%r{}", first + d)).collect();
    format!("{{{}}}", all.join(", "))
}

fn moves(first: usize, values: &[i32]) -> String {
    values.iter().enumerate().map(|(i, value)| format!("mov.b32 %r{}, {value};\n", first + i)).collect()
}

fn load(map: &TensorMap, coords: &[i32; 5], offsets: &[u16; 3], mode: &str) -> String {
    let window = map.window.expect("it has windows");
    let (rank, bytes) = (map.rank, (window.channels * window.pixels) as usize * map.ty.bytes());
    let filter: String = (0..rank - 2).map(|d| format!("mov.b16 %h{d}, {};\n", offsets[d])).collect();
    let halves: Vec<String> = (0..rank - 2).map(|d| format!("%h{d}")).collect();
    let tail = if mode == ".im2col" { format!(", {{{}}}", halves.join(", ")) } else { String::new() };
    format!(
        ".reg .b16 %h<4>;\nsetp.eq.u32 %p1, %t, 0;\n{}{}{filter}\n@%p1 mbarrier.init.shared::cta.b64 [%smem+{SPACE}], 1;\nbar.sync 0;\nfence.proxy.async;\n\
         bar.sync 0;\n@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%smem+{SPACE}], {bytes};\n\
         @%p1 cp.async.bulk.tensor.{rank}d.shared::cta.global{mode}.mbarrier::complete_tx::bytes [%smem], [%g0, {}], [%smem+{SPACE}]{tail};\n{}{}",
        fill(1, 0, SPACE, 64),
        moves(10, &coords[..rank]),
        list(10, rank),
        wait(&format!("%smem+{SPACE}"), "0", "W"),
        drain(1, 0, SPACE, 64)
    )
}

#[test]
fn loads_walk_over_the_image() {
    let mut dice = Dice(23);
    for case in 0..80 {
        let (map, coords, offsets) = random(&mut dice);
        let source = pattern(storage(&map), case);
        let before = pattern(SPACE as usize, 900 + case);
        let kernel = Hopper::new(&[MAP, POINTER], load(&map, &coords, &offsets, ".im2col")).block(64);
        let args = [Arg::TensorMap { map: map.clone(), buffer: 0 }, Arg::buffer(1)];
        let out = kernel.run(&args, &[source.clone(), before.clone()]);
        let (mut want, bytes) = (before, map.ty.bytes());
        for (global, shared) in elements(&map, &coords, &offsets) {
            let element = &mut want[shared..shared + bytes];
            match global {
                Some(at) => element.copy_from_slice(&source[at..at + bytes]),
                None => element.fill(0),
            }
        }
        assert_eq!(out[1], want, "case {case}: {map:?} at {coords:?} + {offsets:?}");
    }
}

#[test]
fn stores_write_pixels_that_exist() {
    let mut dice = Dice(31);
    for case in 0..60 {
        let (map, coords, _) = random(&mut dice);
        let before = pattern(storage(&map), case);
        let source = pattern(SPACE as usize, 300 + case);
        let body = format!(
            "setp.eq.u32 %p1, %t, 0;\n{}{}fence.proxy.async.shared::cta;\nbar.sync 0;\n\
             @%p1 cp.async.bulk.tensor.{}d.global.shared::cta.im2col_no_offs.bulk_group [%g0, {}], [%smem];\n\
             @%p1 cp.async.bulk.commit_group;\n@%p1 cp.async.bulk.wait_group 0;\n",
            fill(1, 0, SPACE, 64),
            moves(10, &coords[..map.rank]),
            map.rank,
            list(10, map.rank)
        );
        let kernel = Hopper::new(&[MAP, POINTER], body).block(64);
        let args = [Arg::TensorMap { map: map.clone(), buffer: 0 }, Arg::buffer(1)];
        let out = kernel.run(&args, &[before.clone(), source.clone()]);
        let (mut want, bytes) = (before, map.ty.bytes());
        for (global, shared) in elements(&map, &coords, &[0; 3]) {
            if let Some(at) = global {
                want[at..at + bytes].copy_from_slice(&source[shared..shared + bytes]);
            }
        }
        assert_eq!(out[0], want, "case {case}: {map:?} at {coords:?}");
    }
}

#[test]
fn a_map_serves_one_kind_of_copy() {
    let mut dice = Dice(3);
    let (map, coords, offsets) = random(&mut dice);
    let args = |map: &TensorMap| [Arg::TensorMap { map: map.clone(), buffer: 0 }, Arg::buffer(1)];
    let buffers = [vec![0; storage(&map)], vec![0; SPACE as usize]];
    let tiles = Hopper::new(&[MAP, POINTER], load(&map, &coords, &offsets, "")).block(64);
    assert_eq!(tiles.kinds(&args(&map), &buffers), [FindingKind::BarrierMisuse]);
    let plain = TensorMap { window: None, boxes: [16, 1, 1, 1, 1], ..map.clone() };
    let windows = Hopper::new(&[MAP, POINTER], load(&map, &coords, &offsets, ".im2col")).block(64);
    assert_eq!(windows.kinds(&args(&plain), &buffers), [FindingKind::BarrierMisuse]);
}
