//! Generates the parser of the language from `src/front/grammar.lalrpop`.

fn main() {
    lalrpop::Configuration::new()
        .emit_rerun_directives(true)
        .process_dir("src/front")
        .expect("the grammar is LALR(1) without conflicts");
}
