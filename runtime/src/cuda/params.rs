//! Kernel parameters as the driver wants them: an array of pointers, each to one parameter's value.
//!
//! Every value sits in a cell of its own, aligned to 16 bytes, so that the pointers stay good however the values differ in width.

use std::ffi::c_void;

use tilewright_compiler::tile::TensorId;

use super::error::CudaError;
use crate::launch::{DeviceLaunch, ParamValue};

/// One parameter's bytes.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell([u8; 16]);

/// The parameters of one launch.
#[derive(Debug)]
pub struct Params {
    cells: Vec<Cell>,
}

impl Params {
    /// Values for a launch; `address` gives the address of a tensor or of the workspace on the device, `name` its name for messages.
    pub fn new(
        launch: &DeviceLaunch,
        address: impl Fn(&ParamValue) -> Option<u64>,
        name: impl Fn(TensorId) -> String,
    ) -> Result<Params, CudaError> {
        let cell = |param: &ParamValue| {
            let bytes = match param {
                ParamValue::Number(scalar) => scalar.bytes(),
                ParamValue::Pointer(_) | ParamValue::Parts | ParamValue::Counters => {
                    let what = || match param {
                        ParamValue::Pointer(t) => name(*t),
                        _ => "the workspace".into(),
                    };
                    address(param).ok_or_else(|| CudaError::NoAddress(what()))?.to_le_bytes().to_vec()
                }
            };
            let mut cell = [0; 16];
            cell[..bytes.len()].copy_from_slice(&bytes);
            Ok(Cell(cell))
        };
        Ok(Params { cells: launch.params.iter().map(cell).collect::<Result<_, _>>()? })
    }

    /// What `cuLaunchKernel` takes as `kernelParams`. The pointers hold while `self` is neither moved nor dropped.
    pub fn pointers(&mut self) -> Vec<*mut c_void> {
        self.cells.iter_mut().map(|cell| cell.0.as_mut_ptr().cast()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Scalar;

    fn launch(params: Vec<ParamValue>) -> DeviceLaunch {
        DeviceLaunch {
            entry: "k".into(),
            grid: [1; 3],
            block: [32, 1, 1],
            cluster: [1; 3],
            shared_bytes: 0,
            params,
            workspace: None,
        }
    }

    #[test]
    fn each_parameter_is_in_a_cell_of_its_own() {
        let params = vec![
            ParamValue::Pointer(TensorId(1)),
            ParamValue::Number(Scalar::U32(7)),
            ParamValue::Number(Scalar::F64(0.5)),
        ];
        let address = |p: &ParamValue| match p {
            ParamValue::Pointer(t) => Some(0x1000 * u64::from(t.0)),
            _ => None,
        };
        let mut p = Params::new(&launch(params), address, |_| "a".into()).unwrap();
        assert_eq!(p.cells[0].0[..8], 0x1000u64.to_le_bytes());
        assert_eq!(p.cells[1].0[..4], [7, 0, 0, 0]);
        assert_eq!(p.cells[2].0[..8], 0.5f64.to_le_bytes());
        let pointers = p.pointers();
        assert!(pointers.iter().all(|at| at.align_offset(16) == 0));
        assert_eq!(pointers.len(), 3);
    }

    #[test]
    fn a_tensor_without_an_address_is_named() {
        let launch = launch(vec![ParamValue::Pointer(TensorId(0))]);
        let error = Params::new(&launch, |_| None, |_| "bias".into()).unwrap_err();
        assert_eq!(error.to_string(), "bias has no address: the launch needs one for every tensor parameter");
    }
}
