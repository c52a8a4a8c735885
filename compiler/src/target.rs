//! The GPUs that code is made for: names and limits.
//!
//! Shared memory per block and registers are from the CUDA C++ Programming Guide's table of compute capabilities; the opt-in
//! maximum per block is one KiB (reserved by the system) below the SM's capacity.

use std::fmt;
use std::str::FromStr;

/// A compilation target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    Sm80,
    Sm86,
    Sm89,
    /// Hopper; for now it gets sm_80's instructions.
    Sm90a,
}

impl Target {
    pub const ALL: [Target; 4] = [Target::Sm80, Target::Sm86, Target::Sm89, Target::Sm90a];

    /// As `--target` and PTX's `.target` spell it.
    pub fn name(self) -> &'static str {
        match self {
            Target::Sm80 => "sm_80",
            Target::Sm86 => "sm_86",
            Target::Sm89 => "sm_89",
            Target::Sm90a => "sm_90a",
        }
    }

    /// Bytes of shared memory that one block may have.
    pub fn shared_limit(self) -> u32 {
        match self {
            Target::Sm80 => 166_912,
            Target::Sm86 | Target::Sm89 => 101_376,
            Target::Sm90a => 232_448,
        }
    }

    /// Bytes of shared memory of one SM.
    pub fn shared_per_sm(self) -> u32 {
        match self {
            Target::Sm80 => 167_936,
            Target::Sm86 | Target::Sm89 => 102_400,
            Target::Sm90a => 233_472,
        }
    }

    /// Threads that one SM holds.
    pub fn threads_per_sm(self) -> u32 {
        match self {
            Target::Sm80 | Target::Sm90a => 2048,
            Target::Sm86 | Target::Sm89 => 1536,
        }
    }

    /// SMs of the GPU that the target is usually met on (A100, A40, L40S, H100 SXM; NVIDIA data sheets).
    pub fn sms(self) -> u32 {
        match self {
            Target::Sm80 => 108,
            Target::Sm86 => 84,
            Target::Sm89 => 142,
            Target::Sm90a => 132,
        }
    }

    /// 32-bit registers that one thread may have.
    pub fn register_limit(self) -> u32 {
        255
    }

    /// 32-bit registers of one SM.
    pub fn registers_per_sm(self) -> u32 {
        65_536
    }

    /// The lowest PTX ISA version that knows the target, times ten.
    pub fn ptx_floor(self) -> u32 {
        match self {
            Target::Sm80 => 70,
            Target::Sm86 => 71,
            Target::Sm89 => 78,
            Target::Sm90a => 80,
        }
    }

    /// The target that runs on a device of this compute capability, if there is one.
    pub fn for_capability(major: u32, minor: u32) -> Option<Target> {
        match (major, minor) {
            (8, 0) | (8, 7) => Some(Target::Sm80),
            (8, 6) => Some(Target::Sm86),
            (8, 9) => Some(Target::Sm89),
            (9, 0) => Some(Target::Sm90a),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a target's name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("{0} is not supported yet; today's targets are sm_80, sm_86, sm_89 and sm_90a")]
    Later(String),
    #[error("unknown target `{0}`; today's targets are sm_80, sm_86, sm_89 and sm_90a")]
    Unknown(String),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(s: &str) -> Result<Target, TargetError> {
        if let Some(t) = Target::ALL.into_iter().find(|t| t.name() == s) {
            return Ok(t);
        }
        match s {
            "sm_90" => Ok(Target::Sm90a),
            "sm_100a" | "sm_100" | "sm_120a" | "sm_120" => Err(TargetError::Later(s.into())),
            _ => Err(TargetError::Unknown(s.into())),
        }
    }
}
