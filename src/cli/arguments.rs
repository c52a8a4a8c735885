//! `--arg NAME=VALUE`, from text to what a launch is given: files are read before the kernel is elaborated, since their types imply generics,
//! and become tensors after it, since parameters have the types.

use tilewright_compiler::elaborate;
use tilewright_compiler::front::Program;
use tilewright_compiler::front::ast::ParamMode;
use tilewright_compiler::tile::{Kernel, Param, TensorKind};
use tilewright_runtime::launch::bind::find_param;
use tilewright_runtime::launch::{Given, Signature};
use tilewright_runtime::tensor::Stored;

use super::Failure;
use super::values::{self, ArgValue};

/// Arguments as they were written.
pub struct Arguments(Vec<(String, ArgValue)>);

/// Arguments whose files are read.
pub struct ReadArguments(Vec<(String, ArgValue, Option<Stored>)>);

impl Arguments {
    pub fn parse(texts: &[String]) -> Result<Arguments, Failure> {
        let all: Vec<(String, ArgValue)> =
            texts.iter().map(|text| values::argument(text)).collect::<Result<_, _>>()?;
        for (at, (name, _)) in all.iter().enumerate() {
            if all[..at].iter().any(|(other, _)| other == name) {
                return Err(Failure::Usage(format!("--arg {name} is given twice")));
            }
        }
        Ok(Arguments(all))
    }

    /// Reads files, but none for a result of the kernel: that is written.
    pub fn read(self, program: &Program, kernel: &str) -> Result<ReadArguments, Failure> {
        let outs = outs(program, kernel);
        let read = |(name, value): (String, ArgValue)| {
            if outs.contains(&name.as_str()) {
                let path = match &value {
                    ArgValue::File(place) => place.to_string(),
                    ArgValue::Number(_) | ArgValue::Random(_) => format!("{name}.npy"),
                };
                return Err(Failure::input(format!(
                    "--arg {name}: {name} is `out`: the kernel writes it and reads nothing of it"
                ))
                .help(format!(
                    "--out {name}={path} stores what it writes; what a kernel changes is `inout`"
                )));
            }
            let stored = match &value {
                ArgValue::File(place) => {
                    Some(place.read().map_err(|e| Failure::input(format!("--arg {name}: {e}")))?)
                }
                ArgValue::Number(_) | ArgValue::Random(_) => None,
            };
            Ok((name, value, stored))
        };
        Ok(ReadArguments(self.0.into_iter().map(read).collect::<Result<_, Failure>>()?))
    }
}

impl ReadArguments {
    /// What files say about their parameters' types, for generics that they imply.
    pub fn known(&self) -> Vec<elaborate::Argument> {
        let known = |(name, value, stored): &(String, ArgValue, Option<Stored>)| {
            let (ArgValue::File(place), Some(stored)) = (value, stored) else { return None };
            let shape = place.shape(stored)?.into_iter().map(|n| n as i64).collect();
            let origin = Some(place.to_string());
            Some(elaborate::Argument { name: name.clone(), elem: stored.elem(), shape: Some(shape), origin })
        };
        self.0.iter().filter_map(known).collect()
    }

    /// Arguments with the types of their parameters.
    pub fn give(self, kernel: &Kernel) -> Result<Vec<(String, Given)>, Failure> {
        let signature = Signature::from(kernel);
        let mut given: Vec<(String, Given)> = Vec::new();
        for (name, value, stored) in self.0 {
            let param = find_param(&signature, &name).map_err(Failure::input)?;
            let value = match (value, stored, param) {
                (ArgValue::File(place), Some(stored), param) => {
                    let origin = place.to_string();
                    let Param::Tensor(id) = param else {
                        return Err(Failure::input(format!("{name} is a scalar, but {origin} is a file"))
                            .help(format!("give it as --arg {name}=NUMBER")));
                    };
                    let tensor = &kernel.tensors[id.0 as usize];
                    match stored {
                        Stored::Packed(packed)
                            if tensor.kind == TensorKind::Packed && place.transpose.is_none() =>
                        {
                            Given::Packed(*packed, origin)
                        }
                        stored => {
                            let tensor = place.tensor(&stored, tensor.elem);
                            Given::Tensor(tensor.map_err(|e| Failure::input(format!("{name}: {e}")))?, origin)
                        }
                    }
                }
                (ArgValue::Number(value), ..) => Given::Number(value),
                (ArgValue::Random(seed), ..) => Given::Random(seed.unwrap_or(0)),
                // Every path was read.
                (ArgValue::File(place), None, _) => {
                    return Err(Failure::Bug(format!("{place} was not read")));
                }
            };
            given.push((name, value));
        }
        Ok(given)
    }
}

/// The `out` parameters of a kernel, or of what an instance is made of.
fn outs<'p>(program: &'p Program, kernel: &'p str) -> Vec<&'p str> {
    let mut name = kernel;
    // An instance of an instance, and so on; a circle of them is refused elsewhere.
    for _ in 0..16 {
        if let Some(id) = program.kernel_named(name) {
            let params = program.kernel(id).params.iter().filter(|p| p.mode == ParamMode::Out);
            return params.map(|p| p.name.as_str()).collect();
        }
        let Some(id) = program.instance_named(name) else { break };
        name = program.instance(id).base.last().as_str();
    }
    Vec::new()
}
