//! What the networks of a bank are called in its run.

/// The folder of a network, which diffusers opens: the number of its subset, and of its seed.
pub fn network_folder(subset: usize, seed: u32) -> String {
    format!("networks/{subset:04}-{seed}")
}

/// The object that holds the weights of a finished network.
pub fn weights_name(subset: usize, seed: u32) -> String {
    format!("{}/unet/diffusion_pytorch_model.safetensors", network_folder(subset, seed))
}

pub(super) fn losses_name(subset: usize, seed: u32) -> String {
    format!("{}/losses.npy", network_folder(subset, seed))
}

pub(super) fn record_name(subset: usize, seed: u32) -> String {
    format!("{}/training.json", network_folder(subset, seed))
}

pub(super) fn state_name(subset: usize, seed: u32) -> String {
    format!("{}/training_state.safetensors", network_folder(subset, seed))
}
