//! Measuring speed: the work that `pentimento bench` times on this machine, and that `bench/vs_pytorch.py` times
//! against PyTorch.

pub mod kernels;
pub mod machine;
pub mod network;
pub mod operations;
pub mod search;
pub mod timing;
pub mod whole;
