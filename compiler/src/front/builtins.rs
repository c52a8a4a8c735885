//! The functions that the compiler knows: one table of names, arities and where `over` stands.
//!
//! What they mean is the elaborator's business; this table is what the resolver checks calls against, and what the manual lists. The prelude
//! (`prelude.tw`) adds more, written in the language itself.

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct BuiltinFn {
    pub name: &'static str,
    /// Arguments without `over`: least and most; `None` when the function is called with `over` only.
    pub plain: Option<(usize, usize)>,
    /// Arguments when the first one has `over`; `None` when it must have none.
    pub over: Option<usize>,
    /// How a call looks, for diagnostics.
    pub form: &'static str,
}

const fn plain(name: &'static str, args: usize, form: &'static str) -> BuiltinFn {
    BuiltinFn { name, plain: Some((args, args)), over: None, form }
}

const fn over(name: &'static str, form: &'static str) -> BuiltinFn {
    BuiltinFn { name, plain: None, over: Some(1), form }
}

/// In the order of the language reference.
pub const BUILTINS: &[BuiltinFn] = &[
    // Reductions and scans.
    over("sum", "sum(x over k)"),
    BuiltinFn { name: "max", plain: Some((2, 8)), over: Some(1), form: "max(x, y) or max(x over k)" },
    BuiltinFn { name: "min", plain: Some((2, 8)), over: Some(1), form: "min(x, y) or min(x over k)" },
    over("any", "any(c over k)"),
    over("all", "all(c over k)"),
    over("argmax", "argmax(x over k)"),
    over("argmin", "argmin(x over k)"),
    over("cumsum", "cumsum(x over k)"),
    over("cummax", "cummax(x over k)"),
    BuiltinFn { name: "topk", plain: None, over: Some(2), form: "topk(x over c, n)" },
    over("sort", "sort(x over c)"),
    // Per element.
    plain("where", 3, "where(c, x, y)"),
    plain("abs", 1, "abs(x)"),
    plain("clamp", 3, "clamp(x, lo, hi)"),
    plain("floor", 1, "floor(x)"),
    plain("ceil", 1, "ceil(x)"),
    plain("round", 1, "round(x)"),
    plain("trunc", 1, "trunc(x)"),
    plain("exp", 1, "exp(x)"),
    plain("exp2", 1, "exp2(x)"),
    plain("log", 1, "log(x)"),
    plain("log2", 1, "log2(x)"),
    plain("sqrt", 1, "sqrt(x)"),
    plain("rsqrt", 1, "rsqrt(x)"),
    plain("tanh", 1, "tanh(x)"),
    plain("erf", 1, "erf(x)"),
    plain("sin", 1, "sin(x)"),
    plain("cos", 1, "cos(x)"),
    plain("fma", 3, "fma(a, b, c)"),
    plain("popc", 1, "popc(x)"),
    plain("clz", 1, "clz(x)"),
    plain("cdiv", 2, "cdiv(a, b)"),
    plain("ilog2", 1, "ilog2(x)"),
    plain("bits", 2, "bits(x, T)"),
    // Domains.
    plain("rev", 1, "rev(D)"),
    plain("part", 3, "part(D, s, n)"),
    // Promises.
    plain("stride", 2, "stride(t, axis)"),
];

/// Names that the reference keeps for later.
pub const LATER: &[&str] = &["scan", "reduce"];

/// The function of that name.
pub fn builtin(name: &str) -> Option<&'static BuiltinFn> {
    BUILTINS.iter().find(|b| b.name == name)
}

/// What to write here instead of a function that other languages have.
pub fn foreign(name: &str) -> Option<&'static str> {
    Some(match name {
        "zeros" | "zeros_like" | "full" | "ones" | "empty" => {
            "there is no such function: a type broadcasts its initial value, `let mut acc: f32[i, j] = 0;`"
        }
        "arange" | "range" | "linspace" => {
            "a range is a value: `i over M by 128` makes `i` the integers lo, lo + 1, …"
        }
        "dot" | "matmul" | "mma" | "gemm" | "einsum" => "products are written `a[i, k] @ b[k, j]`",
        "load" | "store" | "ldg" | "copy" => {
            "tensors are read by subscripts, `a[i, k]`, and written by `c[i, j] = …;`"
        }
        "mean" => "write `sum(x over k) / n`",
        "pow" => "write `exp2(y * log2(x))`, or a product",
        "select" | "tl_where" => "write `where(c, x, y)`",
        "ceildiv" | "ceil_div" | "cdiv_up" => "write `cdiv(a, b)`",
        "transpose" | "trans" | "permute" => "`x.T` swaps the last two axes; otherwise axes go by name",
        "reshape" | "view" | "expand" | "broadcast" | "unsqueeze" => {
            "axes go by name: subscripts and broadcasting need no reshaping"
        }
        "cast" | "to" | "astype" | "float" | "int" | "half" => "conversions are written `x as f32`",
        "sync" | "syncthreads" | "barrier" | "__syncthreads" => {
            "there are no threads and no barriers in the language"
        }
        "program_id" | "num_programs" | "threadIdx" | "blockIdx" => "use `grid i over M by BM`",
        "atomic_add" => "write `atomic place += value;`",
        "softmax" => "write it out: `exp(x - max(x over k))` over its sum",
        "relu" => "write `max(x, 0)`",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_no_types() {
        for (n, b) in BUILTINS.iter().enumerate() {
            assert!(BUILTINS[..n].iter().all(|c| c.name != b.name), "{}", b.name);
            assert!(crate::tile::ElemType::from_name(b.name).is_none(), "{}", b.name);
            assert!(b.form.starts_with(b.name), "{}", b.name);
        }
    }
}
