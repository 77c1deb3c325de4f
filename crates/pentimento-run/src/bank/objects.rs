//! What the networks of a bank are called in its run.

use crate::train::NetworkObjects;

/// The folder of a network, which diffusers opens: the number of its subset, and of its seed.
pub fn network_folder(subset: usize, seed: u32) -> String {
    format!("networks/{subset:04}-{seed}")
}

/// The object that holds the weights of a finished network.
pub fn weights_name(subset: usize, seed: u32) -> String {
    objects_of(subset, seed).weights()
}

/// The names of a network's objects.
pub(crate) fn objects_of(subset: usize, seed: u32) -> NetworkObjects {
    NetworkObjects::new(network_folder(subset, seed))
}
