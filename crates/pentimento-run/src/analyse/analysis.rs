//! What is known of a sample once it was analysed.

use pentimento_attribution::ensemble::{
    Approximation, Candidate, CodeBook, Derivatives, EnsembleError, FidelityInputs, Space,
};

/// Everything made for one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleAnalysis {
    /// Id of the sample.
    pub sample: u32,
    /// Values before the final clamp, `[image]`; of a latent its own.
    pub image: Vec<f32>,
    /// Groups whose counterfactuals were made.
    pub groups: Vec<u32>,
    /// Exact counterfactuals, one per group, not clamped.
    pub exact: Vec<Vec<f32>>,
    /// What the approximations need, for the samples that they are measured on and for every sample that is searched.
    pub derivatives: Option<Derivatives>,
    /// What only the measuring of approximations needs.
    pub fidelity_inputs: Option<FidelityInputs>,
    /// The most influential groups, the first ones first.
    pub candidates: Vec<Candidate>,
    /// After a search: the groups that were made exactly, with their counterfactuals, not clamped.
    pub checked: Vec<(u32, Vec<f32>)>,
}

impl SampleAnalysis {
    /// The approximate counterfactual of the group at a place of [`groups`](Self::groups), as it is compared with the exact
    /// one; none if it was not computed.
    ///
    /// # Errors
    ///
    /// If the codes have no such group.
    pub fn approximate(
        &self,
        approximation: Approximation,
        codes: &CodeBook,
        place: usize,
        space: Space,
    ) -> Result<Option<Vec<f32>>, EnsembleError> {
        let (Some(derivatives), Some(inputs)) = (&self.derivatives, &self.fidelity_inputs) else {
            return Ok(None);
        };
        let weights = codes.weights_without(&[self.groups[place]])?;
        Ok(approximation.counterfactual((&self.image, space), derivatives, inputs, place, &weights))
    }
}
