//! From typed PTX to a [`Program`].
//!
//! Each PTX instruction is decoded into *items*: lane operations, which segments collect, and steps. What cannot be decoded is an
//! error here, before anything runs, with the instruction's name and line.
//!
//! ```text
//! add.s16 %rs3, %rs1, %rs2;       Int32 Add t, rs1, rs2 ; Int32 And rs3, t, 0xffff          two lane operations
//! shl.b32 %r3, %r1, %r2;          Call shl_clamped r3, r1, r2                               a step: per-lane amounts
//! @%p1 bra LOOP;                  Jump LOOP guarded by p1                                   a step
//! ```
//!
//! | file | decodes |
//! | --- | --- |
//! | `emit.rs` | operands, temporaries, constants: what the others emit with |
//! | `moves.rs` | `mov`, packing, selections, comparisons, address conversions |
//! | `calls.rs` | parameters of calls, functions of the host |
//! | `carry.rs` | additions with carry |
//! | `integer.rs` | integer arithmetic, shifts |
//! | `logic.rs` | logic, functions of three bits |
//! | `bits.rs` | bytes, funnel shifts, bit fields |
//! | `sums.rs` | `sad`, dot products of bytes, searches for bits |
//! | `video.rs` | arithmetic on parts of registers |
//! | `float.rs` | floating-point arithmetic |
//! | `convert.rs` | `cvt` |
//! | `memory.rs` | loads, stores, atomics, `cp.async` |
//! | `warp.rs` | cross-lane, matrix, barriers, control |
//! | `wmma.rs` | matrices of opaque layout |
//! | `hopper.rs` | mbarriers, bulk copies, `wgmma`, clusters |
//! | `flatten.rs` | calls, expanded |
//! | `guesses.rs` | which loads are the first guess of a loop of `atom.cas` |
//! | `blocks.rs` | control-flow graph, reverse post-order, liveness, segments |
//! | `variables.rs` | where shared, local, constant and global variables lie |

mod bits;
mod blocks;
mod calls;
mod carry;
mod convert;
mod emit;
mod flatten;
mod float;
mod guesses;
mod hopper;
mod integer;
mod logic;
mod memory;
mod moves;
mod sums;
mod variables;
mod video;
mod warp;
mod wmma;

use tilewright_compiler::ptx::{self, Op};

use super::finding::SourceLoc;
use super::launch::ExecError;
use super::program::{LaneInst, Program, StepKind, ValP};
use emit::Decoder;
use flatten::{Piece, Units, flatten};

/// One thing to do for an instruction.
#[derive(Clone, Debug)]
enum Item {
    Lane(LaneInst),
    Step { guard: ValP, kind: StepKind },
}

/// A decoded instruction.
#[derive(Debug)]
struct Decoded {
    line: u32,
    items: Vec<Item>,
    /// Index of its piece in the flat body.
    piece: usize,
}

/// The names of what entry `name` consists of: itself and the functions that it reaches.
pub fn reached<'m>(module: &'m ptx::Module, name: &str) -> Vec<&'m str> {
    let units = module.entry(name).map(|entry| Units::reached(module, entry));
    units.map_or_else(Vec::new, |units| units.list.iter().map(|unit| &*unit.entry.name).collect())
}

/// Decodes entry `name` of `module` for a launch with `buffers` buffers.
///
/// # Errors
/// [`ExecError::BadLaunch`] if there is no such entry, [`ExecError::Unsupported`] or [`ExecError::Invalid`] with the line of the
/// instruction that cannot be run, or [`ExecError::Several`] of them.
pub fn decode(module: &ptx::Module, name: &str, buffers: usize) -> Result<Program, ExecError> {
    let entry = module.entry(name).ok_or_else(|| {
        let names: Vec<&str> = module.entries.iter().map(|e| &*e.name).collect();
        ExecError::BadLaunch(format!("the PTX has no entry `{name}`; it has {}", names.join(", ")))
    })?;
    if module.address_size != 64 {
        return Err(ExecError::Unsupported {
            line: 0,
            instruction: ".address_size 32".into(),
            why: "addresses have 64 bits here".into(),
        });
    }
    let units = Units::reached(module, entry);
    let variables = variables::place(module, &units, buffers)?;
    let of_unit = |unit, var| variables.of_unit(unit, ptx::VarId(var as u32)).unwrap_or_default();
    let flat = flatten(module, units, |unit| variables.params(unit), of_unit)?;
    let mut decoder = Decoder::new(&flat, &variables)?;
    let mut decoded = Vec::with_capacity(flat.pieces.len());
    let mut errors = Vec::new();
    for (number, piece) in flat.pieces.iter().enumerate() {
        let line = match *piece {
            Piece::Label(_) => continue,
            Piece::Inst { scope, inst } => {
                decoder.begin(scope, inst);
                match dispatch(&mut decoder, &inst.op) {
                    // A function that is called twice is refused once.
                    Err(error @ (ExecError::Unsupported { .. } | ExecError::Invalid { .. })) => {
                        if !errors.contains(&error) {
                            errors.push(error);
                        }
                    }
                    other => other?,
                }
                inst.ptx_line
            }
            Piece::Jump { line, guard, label } => {
                decoder.begin_call(line, guard);
                decoder.step(StepKind::Jump(label));
                line
            }
            Piece::Move { line, ty, to, from } => {
                decoder.begin_call(line, None);
                decoder.parameter(ty, to, from)?;
                line
            }
        };
        decoded.push(Decoded { line, items: decoder.finish(), piece: number });
    }
    if let Some(error) = ExecError::of_all(errors) {
        return Err(error);
    }
    let mut program = blocks::assemble(&flat, &mut decoder, &decoded)?;
    let (offsets, param_bytes) = entry.param_offsets();
    program.name = name.to_string();
    program.params =
        offsets.iter().zip(&entry.params).map(|(&offset, param)| (offset, param.bytes())).collect();
    program.param_bytes = param_bytes;
    program.shared_reserved = variables.shared_reserved;
    program.shared_static = variables.shared_static;
    program.shared_dynamic_at = variables.shared_dynamic_at;
    program.local_bytes = variables.local_bytes;
    program.constants = variables.constants;
    program.globals = variables.globals;
    program.globals_base = buffers;
    program.reqntid = entry.launch.reqntid;
    program.cluster = entry.launch.reqnctapercluster;
    program.maxntid = entry.launch.max_threads();
    program.maxnreg = entry.launch.maxnreg;
    for inst in flat.units.list.iter().flat_map(|unit| unit.entry.insts()) {
        program.mnemonics.push((inst.ptx_line, inst.op.name()));
        if let Some(loc) = inst.loc {
            let file = module
                .files
                .iter()
                .find(|f| f.number == loc.file)
                .map_or(String::new(), |f| f.path.to_string());
            program.locs.push((inst.ptx_line, SourceLoc { file, line: loc.line }));
        }
    }
    program.mnemonics.sort_by_key(|(line, _)| *line);
    program.locs.sort_by_key(|(line, _)| *line);
    Ok(program)
}

fn dispatch(d: &mut Decoder<'_>, op: &Op) -> Result<(), ExecError> {
    match op {
        Op::Mov(op) => d.mov(op),
        Op::Pack(op) => d.pack(op),
        Op::Unpack(op) => d.unpack(op),
        Op::Cvt(op) => d.cvt(op),
        Op::CvtPack(op) => d.cvt_pack(op),
        Op::CvtPackInt(op) => d.cvt_pack_int(op),
        Op::Cvta(op) => d.cvta(op),
        Op::Setp(op) => d.setp(op),
        Op::Set(op) => d.set(op),
        Op::Selp(op) => d.selp(op),
        Op::Slct(op) => d.slct(op),
        Op::IntBinary(op) => d.int_binary(op),
        Op::IntMad(op) => d.int_mad(op),
        Op::IntUnary(op) => d.int_unary(op),
        Op::Logic(op) => d.logic(op),
        Op::Shift(op) => d.shift(op),
        Op::Lop3(op) => d.lop3(op),
        Op::Prmt(op) => d.prmt(op),
        Op::Funnel(op) => d.funnel(op),
        Op::BitExtract(op) => d.bit_extract(op),
        Op::BitInsert(op) => d.bit_insert(op),
        Op::Sad(op) => d.sad(op),
        Op::BitSearch(op) => d.bit_search(op),
        Op::Video(op) => d.video(op),
        Op::FloatBinary(op) => d.float_binary(op),
        Op::Fma(op) => d.fma(op),
        Op::FloatUnary(op) => d.float_unary(op),
        Op::Testp(op) => d.testp(op),
        Op::Ld(op) => d.ld(op),
        Op::St(op) => d.st(op),
        Op::Atom(op) => d.atom(op),
        Op::CpAsync(op) => d.cp_async(op),
        Op::CpAsyncGroup(op) => d.cp_async_group(*op),
        Op::Bar(op) => d.bar(op),
        Op::BarWarp(op) => d.bar_warp(op),
        Op::Shfl(op) => d.shfl(op),
        Op::Vote(op) => d.vote(op),
        Op::Activemask(op) => d.activemask(op),
        Op::Redux(op) => d.redux(op),
        Op::MatchSync(op) => d.match_sync(op),
        Op::ElectSync(op) => d.elect(op),
        Op::Fence(op) => d.fence(op),
        Op::Setmaxnreg(op) => d.setmaxnreg(*op),
        Op::MbarrierInit(op) => d.mbarrier_init(op),
        Op::MbarrierInval(op) => d.mbarrier_inval(op),
        Op::MbarrierArrive(op) => d.mbarrier_arrive(op),
        Op::MbarrierTx(op) => d.mbarrier_tx(op),
        Op::MbarrierWait(op) => d.mbarrier_wait(op),
        Op::MbarrierPending(op) => d.mbarrier_pending(op),
        Op::CpAsyncMbarrier(op) => d.cp_async_mbarrier(op),
        Op::StoreAsync(op) => d.store_async(op),
        Op::CpBulk(op) => d.bulk(op),
        Op::CpBulkTensor(op) => d.bulk_tensor(op),
        Op::CpBulkGroup(op) => d.bulk_group(*op),
        Op::TensormapReplace(op) => d.tensormap_replace(op),
        Op::TensormapFence(op) => d.tensormap_fence(op),
        Op::Wgmma(op) => d.wgmma(op),
        Op::WgmmaSync(op) => d.wgmma_sync(*op),
        Op::BarrierCluster(op) => d.barrier_cluster(*op),
        Op::Mapa(op) => d.mapa(op),
        Op::GetCtaRank(op) => d.getctarank(op),
        Op::Dp4a(op) => d.dp4a(op),
        Op::Movmatrix(op) => d.movmatrix(op),
        Op::IsSpace(op) => d.isspacep(op),
        Op::Ldmatrix(op) => d.ldmatrix(op),
        Op::Stmatrix(op) => d.stmatrix(op),
        Op::Mma(op) => d.mma(op),
        Op::WmmaLoad(op) => d.wmma_load(op),
        Op::WmmaStore(op) => d.wmma_store(op),
        Op::WmmaMma(op) => d.wmma_mma(op),
        Op::Bra(op) => d.bra(op),
        Op::BrxIdx(op) => d.brx(op),
        Op::Call(op) => d.call_host(op),
        Op::CarryChain(op) => d.carry_chain(op),
        Op::Ret(_) | Op::Exit(_) => d.exit(),
        Op::Trap(op) => d.trap(op),
        // Hints and orderings that hold anyway: a block's memory operations happen in program order here.
        Op::Prefetch(_)
        | Op::CpBulkPrefetch(_)
        | Op::ApplyPriority(_)
        | Op::Nanosleep(_)
        | Op::GridDepControl(_) => d.nothing(),
        Op::CreatePolicy(op) => d.create_policy(op.dst),
    }
}
