//! Measuring speed: the work that `pentimento bench` times on this machine, and that `bench/vs_pytorch.py` times
//! against PyTorch (`examples/side_by_side`, a process that reads a request per line and answers with seconds).

mod error;
pub mod kernels;
pub mod machine;
pub mod network;
pub mod operations;
pub mod timing;
pub mod whole;

pub use error::{MeasureError, Result};
