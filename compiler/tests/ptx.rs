//! PTX in both directions: what is printed is read back the same, and what other compilers wrote survives the round trip.

use std::path::{Path, PathBuf};
use std::process::Command;

use tilewright_compiler::ptx::{self, Module};

const RARE: &str = include_str!("ptx/rare.ptx");
const TYPES: &str = include_str!("ptx/types.ptx");
const CALLS: &str = include_str!("ptx/calls.ptx");

fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {} is missing, so no foreign PTX is checked", path.display());
    None
}

/// Every PTX file that is at hand: (name, text).
fn corpus() -> Vec<(String, String)> {
    let own = [("rare.ptx", RARE), ("types.ptx", TYPES), ("calls.ptx", CALLS)];
    let mut files: Vec<_> = own.map(|(name, text)| (name.to_string(), text.to_string())).into();
    let Some(shared) = shared() else { return files };
    let mut folders =
        vec![shared.join("foreign_ptx"), shared.join("foreign_ptx_races"), shared.join("probes")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder was listed by its parent").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "ptx") {
                let text = std::fs::read_to_string(&path).expect("PTX files are text");
                files.push((path.strip_prefix(&shared).unwrap_or(&path).display().to_string(), text));
            }
        }
    }
    files.sort();
    files
}

fn parse(name: &str, text: &str) -> Module {
    ptx::parse(text).unwrap_or_else(|errors| {
        let errors: Vec<String> = errors.iter().take(20).map(|error| format!("{name}:{error}")).collect();
        panic!("{}", errors.join("\n"))
    })
}

#[test]
fn printing_and_parsing_are_inverse() {
    for (name, text) in corpus() {
        let module = parse(&name, &text);
        let printed = ptx::print(&module);
        let again = parse(&format!("{name} printed"), &printed);
        if again.clone().without_trivia() != module.clone().without_trivia() {
            let second = ptx::print(&again);
            let differs = printed.lines().zip(second.lines()).find(|(a, b)| a != b);
            panic!("{name}: parse(print(m)) differs from m; first line that prints differently: {differs:?}");
        }
        assert_eq!(printed, ptx::print(&again), "{name}: printing is not stable");
        assert!(module.entries.iter().all(|entry| entry.insts().all(|inst| inst.ptx_line > 0)));
    }
}

/// The version written by the compiler that made a file is at least what we compute for its instructions.
#[test]
fn computed_versions_do_not_exceed_what_their_makers_wrote() {
    for (name, text) in corpus() {
        let module = parse(&name, &text);
        let need = module.requires();
        assert!(need.isa <= module.version, "{name}: computed {} but it says {}", need.isa, module.version);
        assert!(module.target.satisfies(&need), "{name}: computed {need:?} but it says {}", module.target);
    }
}

fn assemble(folder: &Path, name: &str, module: &Module) -> Result<(), String> {
    let Some(bin) = std::env::var_os("TILEWRIGHT_CUDA_BIN") else { return Ok(()) };
    let file = folder.join(name.replace('/', "_"));
    std::fs::write(&file, ptx::print(module)).map_err(|error| error.to_string())?;
    let output = Command::new(Path::new(&bin).join("ptxas"))
        .arg(format!("-arch={}", module.target))
        .args([file.as_os_str(), "-o".as_ref(), folder.join("out.cubin").as_os_str()])
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn printed_files_assemble_at_the_computed_version() {
    if std::env::var_os("TILEWRIGHT_CUDA_BIN").is_none() {
        eprintln!("skipped: TILEWRIGHT_CUDA_BIN is not set, so ptxas checks nothing");
        return;
    }
    let folder = std::env::temp_dir().join(format!("tilewright-ptx-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    for (name, text) in corpus() {
        if name.contains("races") || name.contains("attention_d128_sm90a_c") {
            continue;
        }
        let mut module = parse(&name, &text);
        module.lower_version();
        if let Err(errors) = assemble(&folder, &name, &module) {
            panic!("{name} (.version {}):\n{errors}", module.version);
        }
    }
    let _ = std::fs::remove_dir_all(folder);
}

/// `requires` of every instruction in our own samples is enough: alone in a file with that version and target, it assembles.
#[test]
fn each_instruction_assembles_at_its_own_version_and_target() {
    use ptx::{Entry, Op, RegClass, Stmt, Suffix, Target, Type};
    if std::env::var_os("TILEWRIGHT_CUDA_BIN").is_none() {
        eprintln!("skipped: TILEWRIGHT_CUDA_BIN is not set, so ptxas checks nothing");
        return;
    }
    let folder = std::env::temp_dir().join(format!("tilewright-ptx-each-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    // One file a pair of version and target, with all instructions that need just that.
    let mut files: Vec<Module> = Vec::new();
    for (name, text) in [("rare.ptx", RARE), ("types.ptx", TYPES)] {
        let module = parse(name, text);
        for inst in module.entries[0].insts() {
            if matches!(inst.op, Op::Bra(_) | Op::BrxIdx(_)) {
                continue;
            }
            let need = inst.op.requires();
            let sm = [75, 80, 86, 89, 90].into_iter().find(|sm| *sm >= need.sm).unwrap_or(90);
            let suffix = if need.arch_specific { Suffix::Arch } else { Suffix::None };
            let target = Target { sm, suffix };
            let version = need.isa.max(target.floor());
            let place = files.iter().position(|file| {
                file.target == target
                    && file.version == version
                    && file.entries[0].name == module.entries[0].name
            });
            let place = place.unwrap_or_else(|| {
                let mut entry = Entry { body: Vec::new(), labels: Vec::new(), ..module.entries[0].clone() };
                entry.launch = Default::default();
                // 128-bit registers need a version of their own; who uses them needs it anyway.
                let wide = |reg: &ptx::Reg| reg.ty.class() == RegClass::B128;
                if version < ptx::Isa(8, 3) {
                    entry.regs.iter_mut().filter(|reg| wide(reg)).for_each(|reg| reg.ty = Type::B64);
                }
                files.push(Module {
                    target,
                    version,
                    files: Vec::new(),
                    entries: vec![entry],
                    ..module.clone()
                });
                files.len() - 1
            });
            let mut inst = inst.clone();
            (inst.loc, inst.guard) = (None, None);
            files[place].entries[0].body.push(Stmt::Inst(inst));
        }
    }
    assert!(files.len() > 20, "only {} combinations", files.len());
    for module in &files {
        let name = format!("{}-{}-{}.ptx", module.entries[0].name, module.version, module.target);
        if let Err(errors) = assemble(&folder, &name, module) {
            panic!("{name}:\n{errors}");
        }
    }
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn all_errors_are_reported_with_their_lines() {
    let text = "\
.version 7.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 a)
{
    .reg .b32 %r<3>;
    .reg .f32 %f<3>;
    .reg .b64 %rd<3>;
    frobnicate.b32 %r1, %r2;
    add.s32 %r1, %r2, %rd1;
    add.s32 %r1, %r7, 1;
    ld.global.zz.b32 %r1, [%rd1];
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2}, {%r1}, {%r1}, {%f1, %f2};
    bra nowhere;
    cp.async.cg.shared.global [%r1], [%rd1], 8;
    add.f32 %f1, %f2, 1;
    cvt.f16.f32 %r1, %f1;
    div.f32 %f1, %f2, %f1;
    call (%r1), f;
    mul.s32 %r1, %r2, 3;
    add.s32 %r1 %r2, 3;
    ret;
}
";
    let errors = ptx::parse(text).expect_err("nothing in it is right");
    let rendered: Vec<String> = errors.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(rendered.join("\n"));
}

#[test]
fn definitions_and_uses() {
    let module = parse("rare.ptx", RARE);
    let entry = &module.entries[0];
    let names = |each: &dyn Fn(&mut dyn FnMut(ptx::RegId))| {
        let mut names = Vec::new();
        each(&mut |reg| names.push(entry.reg_name(reg)));
        names.join(" ")
    };
    let mut table = String::new();
    for inst in entry.insts() {
        let defs = names(&|f| inst.op.defs(f));
        let uses = names(&|f| inst.op.uses(f));
        table += &format!("{:<60} {:?}: {defs} <- {uses}\n", inst.op.name(), inst.op.kind());
    }
    insta::assert_snapshot!(table);
}

#[test]
fn printed_form() {
    insta::assert_snapshot!(ptx::print(&parse("rare.ptx", RARE)));
}

/// What an emitter builds prints as an engineer would write it, and is read back.
#[test]
fn built_kernels() {
    use ptx::op::*;
    use ptx::*;
    let mut b = Builder::new("scale");
    let out = b.param(Param::scalar("out", Type::U64));
    let n = b.param(Param::scalar("n", Type::U32));
    let tile = b.var(Variable::shared("tile", 16, 512));
    let (tid, limit, inside) = (b.fresh(Type::U32), b.fresh(Type::U32), b.fresh(Type::Pred));
    let (base, at) = (b.fresh(Type::U64), b.fresh(Type::U64));
    let x = b.fresh_many(Type::F32, 2);
    let done = b.label("$L_done");
    b.set_loc(Some(Loc { file: 1, line: 3, column: 5 }));
    b.comment("where this thread works");
    b.push(Mov { ty: Type::U32, dst: tid, src: Operand::Special(SpecialReg::TidX) });
    b.push(Ld::new(Space::Param, Type::U32, [limit], Address::sym(Symbol::Param(n), 0)));
    b.push(Ld::new(Space::Param, Type::U64, [base], Address::sym(Symbol::Param(out), 0)));
    b.push(Setp::new(CmpOp::Ge, Type::U32, inside, tid, limit));
    b.guarded(inside, false, |b| {
        b.push(Bra { uniform: false, target: done }).comment = Some("past the end".into())
    });
    b.set_loc(Some(Loc { file: 1, line: 4, column: 1 }));
    b.push(IntMad {
        mode: MulMode::Wide,
        m24: false,
        sat: false,
        ty: Type::U32,
        dst: at,
        a: tid.into(),
        b: 8.into(),
        c: base.into(),
    });
    b.push(Ld::new(Space::Shared, Type::F32, x.iter().copied(), Address::sym(tile, 16)));
    b.push(Fma::new(Type::F32, x[0], x[0], Operand::f32(2.0), x[1]));
    b.push(St::new(Space::Global, Type::F32, Address::reg(at, -8), x.iter().copied()));
    b.bind(done);
    b.push(Ret { uniform: false });
    let mut module = Module::new(Target::SM_80);
    module.files.push(FileEntry { number: 1, path: "scale.tw".into() });
    module.entries.push(b.finish());
    module.lower_version();
    let printed = print(&module);
    assert_eq!(
        print(&parse(&printed).expect("what is printed is legal"))
            .lines()
            .filter(|line| !line.contains(".reg"))
            .count(),
        {
            // Comments are not kept by the parser.
            printed
                .lines()
                .filter(|line| !line.contains(".reg") && !line.trim_start().starts_with("//"))
                .count()
        }
    );
    insta::assert_snapshot!(printed);
    assert_eq!(module.version, Isa(7, 0));
}

mod hostile {
    use proptest::prelude::*;

    use super::{RARE, corpus};
    use tilewright_compiler::ptx;

    /// A small edit somewhere in a PTX text.
    fn mutate(text: &str, edits: &[(usize, u8, u8)]) -> String {
        let mut bytes = text.as_bytes().to_vec();
        for (at, kind, byte) in edits {
            let at = at % bytes.len().max(1);
            match kind % 5 {
                0 => bytes[at] = *byte,
                1 => {
                    bytes.remove(at);
                }
                2 => bytes.insert(at, *byte),
                3 => {
                    let end = (at + usize::from(*byte)).min(bytes.len());
                    bytes.drain(at..end);
                }
                _ => {
                    let end = (at + usize::from(*byte)).min(bytes.len());
                    let copy = bytes[at..end].to_vec();
                    let to = (at * 7 + 13) % bytes.len();
                    bytes.splice(to..to, copy);
                }
            }
            if bytes.is_empty() {
                bytes.push(b'{');
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Mutants may be wrong; they must never panic, and what still parses must still round-trip.
    fn check(text: &str) {
        if let Ok(module) = ptx::parse(text) {
            let printed = ptx::print(&module);
            let again = ptx::parse(&printed)
                .unwrap_or_else(|errors| panic!("{errors:?}\nin printed mutant:\n{printed}"));
            assert_eq!(again.without_trivia(), module.without_trivia(), "of mutant:\n{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn mutants_of_rare_forms(edits in prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..4)) {
            check(&mutate(RARE, &edits));
        }

        #[test]
        fn noise(text in "\\PC{0,200}") {
            let _ = ptx::parse(&text);
            let _ = ptx::parse(&format!(".version 8.0 .target sm_90a .entry k() {{ {text}"));
        }

        #[test]
        fn shuffled_words(words in prop::collection::vec(0usize..60, 0..40)) {
            const WORDS: [&str; 60] = [
                ".version", "8.0", ".target", "sm_90a", ".entry", "k", "(", ")", "{", "}", "[", "]", ";", ",", ".reg", ".b32", "%r", "<",
                "4", ">", "@", "!", "%r1", "mov.u32", "%tid.x", "L", ":", "bra", ".loc", "1", "-1", "0x", "0f0", "_", "|", "+", "ld.param.b32",
                ".param", ".u64", ".align", "=", "\"", ".section", ".file", ".shared", ".b8", "wgmma", "cp.async", "mma.sync", "//", "/*",
                "*/", "\n", ".branchtargets", "brx.idx", ".pragma", ".extern", ".func", "generic", "99999999999999999999999",
            ];
            let text: Vec<&str> = words.iter().map(|word| WORDS[*word]).collect();
            let text = text.join(" ");
            let _ = ptx::parse(&text);
            let _ = ptx::parse(&format!(".version 8.0 .target sm_90a .entry k() {{ .reg .b32 %r<4>; {text}"));
        }
    }

    #[test]
    fn mutants_of_foreign_kernels() {
        // A fixed walk, so that a failure repeats: one byte changed at many places of each file.
        for (_, text) in corpus() {
            for step in 0..24usize {
                let at = (step * 7919 + 31) * 37;
                check(&mutate(&text, &[(at, step as u8, b"{}[];,.%@\"\n 0"[step % 13])]));
            }
        }
    }
}
