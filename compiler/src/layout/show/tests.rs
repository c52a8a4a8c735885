//! Tables and errors as people see them.

use super::*;

fn shown(text: &str) -> Shown {
    parse_expr(text).unwrap_or_else(|e| panic!("{}", e.render(text)))
}

fn shown_table(text: &str) -> String {
    table(&shown(text)).unwrap()
}

#[test]
fn tables() {
    let expressions = [
        "spatial(8,4) * local(1,2)",
        "mma.m16n8k16.C",
        "local(2,1) * spatial(2,2) * replicated(lane, 2)",
        "warps(2,1) * spatial(2,4)",
        "local(3,1) * spatial(4,1) * local(1,2)",
        "local(3)",
        "spatial(4)",
        "local(2,1,1) * spatial(1,2,4)",
        "(8,4):(4,1)",
        "((2,4),8):((1,2),8)",
        "f16 (4,8):(9,1)",
        "swizzle(3,4,3) o f16 (8,64):(64,1)",
    ];
    let all: Vec<String> = expressions.iter().map(|e| format!("> {e}\n{}", shown_table(e))).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn mistakes_show_where_and_what_instead() {
    let mistakes = [
        "spatail(8,4)",
        "spatial(8,4) * mma.m16n8k16.X",
        "spatial(8,",
        "spatial(8,4) local(2,1)",
        "spatial(3,4)",
        "local(2) * local(3)",
        "mma.m16n8k16.C / spatial(4,8)",
        "(8,4)",
        "(8,4):(1)",
        "(8,4):(1,1)",
        "swizzle(3,4,3)",
        "swizzle(3,4,2) o row_major(f16, 64, 64)",
        "spatial(8,4) o local(2,1)",
        "spatial(8,4) * row_major(f16, 8, 8)",
        "wgmma.C(m64n12)",
        "replicated(lan, 4)",
        "interleave(mma.m16n8k16.C, 1, 4)",
        "local(0)",
        "local(99999999999)",
        "spatial(8,4) + local(2,1)",
        "",
        "∘",
        "row_major(f16, 1048576, 1048576)",
        "panels(f64, 8, 4294967295, 128)",
        "local(65536, 65536)",
        "local(4294967295)",
    ];
    let all: Vec<String> = mistakes
        .iter()
        .map(|text| match parse_expr(text) {
            Ok(_) => panic!("{text} is accepted"),
            Err(error) => error.render(text),
        })
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn operators_mean_what_the_algebra_says() {
    assert_eq!(shown("(spatial(8,4) * local(1,2)) / local(1,2)"), shown("spatial(8,4)"));
    assert_eq!(shown("left_divide(spatial(8,4) * local(1,2), spatial(8,4))"), shown("local(1,2)"));
    // The accumulator of mma.m16n8 is two rows of an 8x4 grid of lanes with two columns each.
    assert_eq!(shown("local(2,1) * spatial(8,4) * local(1,2)"), shown("mma.m16n8k16.C"));
    // More than 32 lanes are warps.
    assert_eq!(shown("spatial(16,8)"), shown("spatial(16, 8)"));
    assert!(shown_table("spatial(16,8)").contains("4 warps, 32 lanes"));
    assert_eq!(shown("transpose(transpose(mma.m16n8k16.B))"), shown("mma.m16n8k16.B"));
    assert_eq!(shown("swizzle(3,4,3) o row_major(f16, 128, 64)"), shown("shared(f16, 128, 64)"));
    assert_eq!(shown("row_major(f16, 64, 64)"), shown("f16 (64,64):(64,1)"));
    assert_eq!(shown("column_major(f16, 64, 32)"), shown("f16 (64,32):(1,64)"));
}

#[test]
fn pictures_have_a_cell_for_every_element() {
    let pictures = [
        ("spatial(8,4) * local(1,2)", 64, 32),
        ("warps(2,1) * local(2,1) * spatial(8,4) * local(1,2)", 256, 32),
        ("mma.m16n8k16.C", 128, 32),
        ("swizzle(3,4,3) o row_major(f16, 64, 64)", 512, 8),
    ];
    for (text, cells, colours) in pictures {
        let picture = svg(&shown(text), text).unwrap();
        // Background, cells, and the legend's swatches.
        assert_eq!(picture.matches("<rect").count(), 1 + cells + colours, "{text}");
        if let Some(dir) = std::env::var_os("TILEWRIGHT_SHOW_DIR") {
            let name: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
            std::fs::write(std::path::Path::new(&dir).join(name + ".svg"), picture).unwrap();
        }
    }
    assert!(svg(&shown("wgmma.C(m64n256)"), "").is_ok());
    assert!(table(&shown("local(256, 256)")).is_err());
}

#[test]
fn the_largest_layouts_are_too_large_to_draw_but_no_more() {
    for text in [
        "local(536870912, 1) * spatial(1, 536870912) * warps(2, 2)",
        "replicated(reg, 1073741824) * replicated(lane, 1073741824) * replicated(warp, 16)",
    ] {
        assert!(table(&shown(text)).is_err());
        assert!(svg(&shown(text), text).is_err());
        assert!(json(&shown(text)).is_object());
    }
}

#[test]
fn json_names_every_column() {
    let value = json(&shown("local(3,1) * spatial(2,2) * local(1,2)"));
    insta::assert_snapshot!(serde_json::to_string(&value).unwrap());
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[a-z0-9(),:*/ o.∘A-C]{0,40}") {
        if let Ok(shown) = parse_expr(&text) {
            let _ = (table(&shown), json(&shown));
        }
    }

    #[test]
    fn no_plausible_expression_panics(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "local", "spatial", "(", ")", ",", "8", "3", "0", "4294967295", "*", "/", "o", "swizzle", "mma.m16n8k16.A", ":", "f16",
            "row_major", "coalesced", "shared", "panels", "interleave", "reduce", "(8,4)", "(1,2)", "replicated", "lane", "65536",
        ]), 0..14),
    ) {
        let text = words.join(" ");
        match parse_expr(&text) {
            Ok(shown) => { let _ = (table(&shown), json(&shown), svg(&shown, &text)); }
            Err(error) => { let _ = error.render(&text); }
        }
    }
}
