//! The examples are in the style; whatever parses keeps its meaning and its comments, and formatting it twice is formatting it once.

use super::*;
use crate::front::tests::{ATTENTION, FRAGMENTS};
use proptest::prelude::*;
use std::path::Path;

/// The tree without its spans.
fn tree(text: &str) -> Option<String> {
    let mut diagnostics = Diagnostics::default();
    let (file, _) = parse(crate::diagnostics::FileId(0), text, 0, &mut diagnostics);
    if diagnostics.has_errors() {
        return None;
    }
    let debug = format!("{file:?}");
    let mut out = String::new();
    let mut rest = debug.as_str();
    while let Some(at) = rest.find("Span { file:") {
        out.push_str(&rest[..at]);
        let end = rest[at..].find(" }").expect("spans are closed") + at + 2;
        rest = &rest[end..];
    }
    Some(out + rest)
}

fn pretty(text: &str) -> String {
    let mut sources = SourceMap::default();
    format(&mut sources, "t.tw", text).unwrap_or_else(|d| panic!("{text}\n{}", d.render(&sources, false)))
}

fn comments(text: &str) -> Vec<String> {
    use logos::Logos;
    let toks = Token::lexer(text).spanned();
    let toks = toks.filter(|(t, _)| matches!(t, Ok(Token::Comment | Token::DocComment | Token::Directive)));
    toks.map(|(_, r)| text[r].trim_end().to_string()).collect()
}

/// Checks all that must hold of a text that parses.
#[track_caller]
fn check(text: &str) -> String {
    let done = pretty(text);
    assert_eq!(done, pretty(&done), "formatting twice differs; the source:\n{text}");
    assert_eq!(tree(text), tree(&done), "the meaning differs:\n{text}\n--\n{done}");
    assert_eq!(comments(text), comments(&done), "{text}\n--\n{done}");
    assert!(done.is_empty() || done.ends_with('\n'));
    assert!(!done.contains("\n\n\n") && !done.contains(" \n") && !done.starts_with('\n'), "{done}");
    done
}

fn folder(path: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut all: Vec<(String, String)> = std::fs::read_dir(&path)
        .expect("the folder is there")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "tw"))
        .map(|p| (p.display().to_string(), std::fs::read_to_string(&p).expect("a text")))
        .collect();
    all.sort();
    all
}

/// The fenced blocks of a document that parse.
fn fenced(document: &str) -> Vec<String> {
    let blocks = document.split("```").skip(1).step_by(2);
    let body = |b: &str| b.split_once('\n').map(|(_, body)| body.to_string());
    blocks.filter_map(body).filter(|b| tree(b).is_some()).collect()
}

fn everything() -> Vec<String> {
    let mut all: Vec<String> = folder("../dsl_examples").into_iter().map(|(_, t)| t).collect();
    all.extend(folder("../tests/corpus").into_iter().map(|(_, t)| t));
    all.extend(FRAGMENTS.iter().map(|f| f.to_string()));
    all.push(ATTENTION.to_string());
    all.push(include_str!("../prelude.tw").to_string());
    all.extend(fenced(include_str!("../../../../docs/language.md")));
    all.push(WILD.to_string());
    all
}

/// What the programs above do not have.
const WILD: &str = "\
import \"a.tw\" ; import \"b.tw\" as b;
//; dims: M=4
const T: i32[2,2]=[[1,-2],[3,4,],]; // table

/// doc
/// more
fn f(a,b) using c:f32[N], d -> f32 { let x=a+b; if a>0 { x+=1; } else if b == 0 { x = 2; } else { } x }
kernel k<N: 1..=8 step 2|16=3,fn g(x)->f32=b.f,>(a: T[N] strides(_,1) align(16),inout c:f32[N] in 0..=N,) where(N)%2==0, N<5 {
    // first

    temp t:f32[N]=0 ;


    tune A in {1,2,},B in 3..=9 step 2 where A*B<9; grid i over N by A , j over N when i<j { c[i]=!a[ .. , :]'.T; } // c
    for p over rev(N) { for q over 2 { (x,y)=f(1,2); } }
    let (u , _) = topk ( x over (i,j) , n ) ; y = atomic c[i] max= 3 ;
    schedule sm_80 when N>3 { warps=(2,2); persistent; k.stages=4; }
}
";

#[test]
fn examples_are_in_the_style() {
    for (path, text) in folder("../dsl_examples") {
        let done = check(&text);
        assert_eq!(done, text, "{path} is not in the style: tilewright fmt {path}");
    }
}

#[test]
fn meaning_and_comments_stay() {
    for text in everything() {
        check(&text);
        check(&text.replace('\n', "\n\n\n"));
        check(&text.replace("    ", "\t").replace('\n', "\r\n"));
    }
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/language.md");
    match std::fs::read_to_string(&reference) {
        Ok(text) => fenced(&text).iter().for_each(|t| drop(check(t))),
        Err(_) => eprintln!("skipped: {} is not here", reference.display()),
    }
}

#[test]
fn texts_on_one_line_become_readable() {
    for (path, text) in folder("../dsl_examples") {
        let code: Vec<&str> = text.lines().map(|l| l.split("//").next().unwrap_or("").trim()).collect();
        let done = check(&code.join(" "));
        for line in done.lines() {
            assert!(line.chars().count() <= WIDTH, "{path}: {line}");
        }
    }
}

#[test]
fn odd_shapes() {
    insta::assert_snapshot!(check(WILD));
}

#[test]
fn long_lines_break() {
    let term = |n: usize| format!("some_rather_long_name_{n}");
    let list = |n: usize, sep: &str| (0..n).map(term).collect::<Vec<_>>().join(sep);
    let call = format!("f({}, g({}))[{}]", list(2, ", "), list(8, ", "), term(3));
    let text = format!(
        "const A: f32[40] = [{}];\nfn f({}) = {};\nfn g(x) = where({}, {}, ({} + 1) * 2);\n\
         kernel k<{}>({}) where {} {{ grid {}; for k over K when {} {{ acc += a; }} c[i] = {}; tune A in {{{}}}, B in {{1}} where A < B; }}\n",
        list(40, ", "),
        list(9, ", "),
        list(9, " + "),
        list(4, " && "),
        list(4, " * "),
        list(9, " - "),
        list(8, ": f16 | f32, "),
        list(8, ": f32[N], ") + ": f32",
        list(7, " == 0, ") + " > 1",
        (0..5).map(|n| format!("{} over M by 64", term(n))).collect::<Vec<_>>().join(", "),
        list(8, " < 4 || "),
        call,
        list(7, ", "),
    );
    let done = check(&text);
    assert!(done.lines().all(|l| l.chars().count() <= WIDTH), "{done}");
    insta::assert_snapshot!(done);
}

#[test]
fn comments_anywhere() {
    let mut text = String::new();
    for (n, token) in "kernel k ( a : f32 [ N ] , out b : f32 [ N ] , ) where N < 5 { for i over 0 .. N by 64 { b [ i ] = - a [ i ] . T ; } if x { } else { y = ( 1 , 2 ) ; } }"
        .split(' ')
        .enumerate()
    {
        text += &format!("{token} // {n}\n");
    }
    insta::assert_snapshot!(check(&text));
}

#[test]
fn what_does_not_parse_is_not_touched() {
    let mut sources = SourceMap::default();
    let wrong = format(&mut sources, "t.tw", "fn f(x) = ;").expect_err("it is wrong");
    assert!(wrong.render(&sources, false).contains("t.tw:1:11"));
}

#[test]
fn tables_of_thousands_are_quick() {
    let start = std::time::Instant::now();
    let done = check(&format!("const X: i32[5000] = [{}];", "-1 + 2, ".repeat(5000)));
    assert!(done.lines().count() > 300);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

/// A change of a text at a gap between two of its tokens.
#[derive(Clone, Debug)]
enum Change {
    Delete(usize),
    Double(usize),
    Swap(usize, usize),
    Space(usize, &'static str),
    Comment(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = || any::<usize>();
    prop_oneof![
        1 => at().prop_map(Change::Delete),
        1 => at().prop_map(Change::Double),
        1 => (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
        4 => (at(), prop::sample::select(vec!["\n", "\n\n\n", "  ", "\t\n ", "\n        "])).prop_map(|(a, s)| Change::Space(a, s)),
        4 => at().prop_map(Change::Comment),
    ]
}

/// The text with changes; pieces are its tokens and comments, each with the white space before it.
fn mutant(text: &str, changes: &[Change], tight: bool) -> String {
    use logos::Logos;
    let mut end = 0;
    let mut parts: Vec<(String, String)> = Token::lexer(text)
        .spanned()
        .map(|(_, r)| {
            let space = text[end..r.start].to_string();
            end = r.end;
            (space, text[r].to_string())
        })
        .collect();
    if tight {
        // Everything on as few lines as comments allow.
        for n in 1..parts.len() {
            let comment = parts[n - 1].1.starts_with("//");
            parts[n].0 = if comment { "\n".into() } else { " ".into() };
        }
    }
    for (n, change) in changes.iter().enumerate() {
        let len = parts.len();
        match change {
            Change::Delete(at) => drop(parts.remove(at % len)),
            Change::Double(at) => parts.insert(at % len, parts[at % len].clone()),
            Change::Swap(a, b) => parts.swap(a % len, b % len),
            Change::Space(at, s) => parts[at % len].0 += s,
            Change::Comment(at) => {
                let own = if at % 3 == 0 { "\n" } else { " " };
                parts[at % len].0 += &format!("{own}// note {n}\n");
            }
        }
        if parts.is_empty() {
            break;
        }
    }
    let mut out = String::new();
    for (space, token) in parts {
        if space.is_empty() && out.lines().last().is_some_and(|l| l.contains("//")) && !out.ends_with('\n') {
            out.push('\n');
        }
        out += &space;
        out += &token;
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutants(which in any::<prop::sample::Index>(), changes in prop::collection::vec(change(), 1..12), tight in prop::bool::weighted(0.2)) {
        let all = everything();
        let text = mutant(which.get::<String>(&all), &changes, tight);
        if tree(&text).is_some() {
            check(&text);
        }
    }

    /// Only white space and comments change, so every one of them parses.
    #[test]
    fn spaced_and_commented(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..30),
    ) {
        let all = everything();
        let changes: Vec<Change> = changes.into_iter().filter(|c| matches!(c, Change::Space(..) | Change::Comment(_))).collect();
        let text = mutant(which.get::<String>(&all), &changes, false);
        if tree(&text).is_some() {
            check(&text);
        }
    }

    /// Whatever the bytes, it returns; and what it takes, it formats well.
    #[test]
    fn bytes(which in any::<prop::sample::Index>(), changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let all = everything();
        let mut bytes = which.get::<String>(&all).clone().into_bytes();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let text = String::from_utf8_lossy(&bytes);
        let mut sources = SourceMap::default();
        match format(&mut sources, "t.tw", &text) {
            Ok(_) => drop(check(&text)),
            Err(wrong) => prop_assert!(!wrong.iter().any(|d| d.code == codes::INTERNAL), "{text}"),
        }
    }
}
