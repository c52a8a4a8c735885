//! Launching from Rust on a CUDA context, stream and device memory that the caller owns, as an inference engine would.
//!
//! `cargo run --example caller_stream` compiles `dsl_examples/gemm.tw` from a string, loads the PTX into the caller's context, and queues
//! it on the caller's stream between the caller's own copies. Without a GPU it says so and stops.

use tilewright_compiler::compile::{Options, compile};
use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::front::Memory as Sources;
use tilewright_compiler::target::Target;
use tilewright_compiler::tile::ElemType;
use tilewright_runtime::cuda::cudarc::driver::{CudaContext, DevicePtr};
use tilewright_runtime::cuda::{CudaError, Device, Module};
use tilewright_runtime::launch::{
    Argument, Chosen, DimValues, Memory, ParamValue, Signature, TensorFacts, bind, choose,
    choose::tensor_name,
};
use tilewright_runtime::tensor::dense_strides;

const SOURCE: &str = include_str!("../dsl_examples/gemm.tw");

fn main() -> anyhow::Result<()> {
    // The program, from a string. This needs no GPU.
    let mut sources = SourceMap::default();
    let files = Sources::from([("gemm.tw", SOURCE)]);
    let compiled = compile(&mut sources, &files, "gemm.tw", &Options::new(Target::Sm80))
        .map_err(|errors| anyhow::anyhow!(errors.render(&sources, false)))?;
    println!("{}: {} bytes of PTX for {}", compiled.kernel.name, compiled.ptx.len(), compiled.target);

    // What the caller has: a context, a stream, tensors on the device.
    match Device::count() {
        Ok(1..) => {}
        Ok(_) => return stop(CudaError::NoDevice),
        Err(error) => return stop(error),
    }
    let context = CudaContext::new(0)?;
    let stream = context.new_stream()?;
    let (m, n, k) = (257, 130, 72);
    let shapes = [("a", [m, k]), ("b", [n, k]), ("c", [m, n])];
    let tensors = shapes
        .iter()
        .map(|(_, [rows, columns])| stream.alloc_zeros::<u16>(rows * columns))
        .collect::<Result<Vec<_>, _>>()?;
    let addresses: Vec<u64> = tensors.iter().map(|t| t.device_ptr(&stream).0).collect();

    // Once per program and GPU: the driver compiles the PTX.
    let device = Device::from_context(context.clone())?;
    let module = Module::load(&device, &compiled.ptx, compiled.target.name())?;

    // Per call: bind, which checks shapes, alignment and overlap; choose a variant; queue it.
    let arguments: Vec<(String, Argument)> = shapes
        .iter()
        .zip(&addresses)
        .map(|((name, shape), &address)| {
            let facts = TensorFacts {
                origin: format!("tensor {name}"),
                elem: ElemType::F16,
                shape: shape.to_vec(),
                strides: dense_strides(shape),
                memory: Some(Memory { address, len: Some((shape[0] * shape[1] * 2) as u64) }),
            };
            (name.to_string(), Argument::Tensor(facts))
        })
        .collect();
    let bound = bind(&Signature::from(&compiled.kernel), &arguments, &DimValues::default())?;
    for plan in &compiled.meta.launches {
        let Chosen::Launch { variant, launch } = choose(&compiled.kernel, plan, &bound, device.sms()?)?
        else {
            continue;
        };
        let function = module.function(&launch.entry, launch.shared_bytes)?;
        // A kernel that reduces over its grid (`launch.workspace`) would also want the addresses of its parts and counters.
        let address = |p: &ParamValue| match p {
            ParamValue::Pointer(t) => addresses.get(t.0 as usize).copied(),
            _ => None,
        };
        // SAFETY: the addresses are `tensors`, which `bind` found large enough and which live until the stream is waited for.
        unsafe { function.launch(&stream, &launch, address, |t| tensor_name(&compiled.kernel, t)) }?;
        function.wait(&stream, &launch)?;
        println!("{variant}: {} blocks on {}", launch.grid[0], device.name());
    }
    Ok(())
}

/// No GPU is not an error of this example.
fn stop(error: CudaError) -> anyhow::Result<()> {
    println!("nothing was launched: {error}");
    Ok(())
}
