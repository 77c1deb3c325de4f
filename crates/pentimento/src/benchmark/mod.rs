//! Measuring speed: the work that `pentimento bench` times on this machine, and that `bench/vs_pytorch.py` times
//! against PyTorch.

pub mod network;
pub mod search;
