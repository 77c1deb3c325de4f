//! Whether a network's values are still those with which training begins.

use crate::unet::{Architecture, StoredValues};

/// A sign that a network was never trained, or that its moving average was never updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrained {
    /// Every value of the last layer is zero, so the network answers zero to every image.
    LastLayerZero,
    /// Every norm has weights of exactly one and biases of exactly zero, which no step of training leaves as they are.
    NormsAsInitialised,
}

/// Looks for such a sign in values in memory layout, one for each parameter. An adapter shows none of them.
pub fn untrained(architecture: &Architecture, values: &[StoredValues]) -> Option<Untrained> {
    if !architecture.adapter_modules().is_empty() {
        return None;
    }
    let all = |belongs: fn(&str) -> bool, expected: fn(&str) -> f32| {
        let mut named = architecture
            .parameters()
            .iter()
            .zip(values)
            .map(|(spec, values)| (spec.name.as_str(), values))
            .filter(|(name, _)| belongs(name))
            .peekable();
        named.peek().is_some()
            && named.all(|(name, values)| values.to_f32().iter().all(|&value| value == expected(name)))
    };
    if all(|name| name.starts_with("conv_out."), |_| 0.0) {
        return Some(Untrained::LastLayerZero);
    }
    let of_norms = |name: &str| if name.ends_with(".weight") { 1.0 } else { 0.0 };
    all(|name| name.contains("norm"), of_norms).then_some(Untrained::NormsAsInitialised)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unet::{Parameters, smallest_network};

    #[test]
    fn a_network_before_its_first_step_is_told_from_one_after_it() {
        let architecture = smallest_network();
        let place = |name: &str| architecture.parameters().iter().position(|spec| spec.name == name).unwrap();
        let mut values = Parameters::initial(&architecture, 1, 0);
        let untrained = |values: &[Vec<f32>]| {
            let values: Vec<StoredValues> = values.iter().cloned().map(Into::into).collect();
            untrained(&architecture, &values)
        };
        values[place("conv_out.weight")].fill(0.0);
        assert_eq!(untrained(&values), Some(Untrained::LastLayerZero));
        // As PyTorch draws it, which begins with no zero there.
        values[place("conv_out.weight")].fill(0.1);
        assert_eq!(untrained(&values), Some(Untrained::NormsAsInitialised));
        values[place("conv_norm_out.bias")][3] = -1e-6;
        assert_eq!(untrained(&values), None);
    }
}
