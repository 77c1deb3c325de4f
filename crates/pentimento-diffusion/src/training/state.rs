//! The state of a training, from which it goes on.

use super::Trainer;
use crate::arrays::{ArrayReader, ArrayWriter};
use crate::{DiffusionError, NUMERICS_VERSION};

/// The key of the header under which the state of an adapter has the digest of the network beneath.
const BASE: &str = "base";

/// What a training state says of itself, read without the network that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSummary {
    /// Steps that were done.
    pub steps: usize,
    /// The [`NUMERICS_VERSION`] that did them; 0 if none was recorded.
    pub numerics_version: u32,
}

impl StateSummary {
    /// Reads what [`Trainer::state`] gave; errors call it `file`.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`] or [`DiffusionError::Tensor`] if the bytes are not such a state.
    pub fn read(state: &[u8], file: &str) -> Result<Self, DiffusionError> {
        let arrays = ArrayReader::new(state, file)?;
        let steps = arrays.f32("losses")?.len();
        let numerics_version = if arrays.contains("numerics_version") {
            arrays.expect_shape("numerics_version", &[1])?;
            arrays.u32("numerics_version")?[0]
        } else {
            0
        };
        Ok(Self { steps, numerics_version })
    }
}

impl Trainer {
    /// Everything that a resumed training needs, as safetensors.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`] if it cannot be serialised.
    pub fn state(&self) -> Result<Vec<u8>, DiffusionError> {
        let mut arrays = ArrayWriter::default();
        let sets = [
            ("values", Some(&self.values)),
            ("means", Some(&self.adam.means)),
            ("squares", Some(&self.adam.squares)),
            ("average", self.average.as_ref()),
        ];
        for (set, values) in sets {
            for (spec, values) in self.architecture.parameters().iter().zip(values.into_iter().flatten()) {
                arrays.put_f32(&format!("{set}/{}", spec.name), &[values.len()], values);
            }
        }
        arrays.put_f32("losses", &[self.losses.len()], &self.losses);
        arrays.put_u32("numerics_version", &[1], &[NUMERICS_VERSION]);
        let base = self.architecture.base_digest();
        Ok(arrays.to_bytes("training state", base.as_deref().map(|digest| (BASE, digest)))?)
    }

    /// Takes up a training where [`Trainer::state`] left it; settings, images and conditions must be the same.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::File`] or [`DiffusionError::Tensor`] if the bytes are not such a state, or one of an adapter of another
    /// network; [`DiffusionError::OtherNumerics`] if another version of this program computed it.
    pub fn restore(&mut self, state: &[u8], file: &str) -> Result<(), DiffusionError> {
        let found = StateSummary::read(state, file)?.numerics_version;
        if found != NUMERICS_VERSION {
            return Err(DiffusionError::OtherNumerics { file: file.into(), found, own: NUMERICS_VERSION });
        }
        let arrays = ArrayReader::new(state, file)?;
        let (own, found) = (self.architecture.base_digest(), arrays.metadata(BASE));
        if own.as_deref() != found {
            let of = |digest: Option<&str>| digest.map_or("none".to_owned(), |digest| format!("{digest:?}"));
            let problem = format!(
                "its adapter was begun on another network: the digest of the network beneath is {} there and {} here",
                of(found),
                of(own.as_deref())
            );
            return Err(DiffusionError::File { file: file.into(), problem });
        }
        let read_set = |set: &str| -> Result<Vec<Vec<f32>>, DiffusionError> {
            let specs = self.architecture.parameters().iter();
            specs
                .map(|spec| {
                    let name = format!("{set}/{}", spec.name);
                    arrays.expect_shape(&name, &[spec.len()])?;
                    Ok(arrays.f32(&name)?)
                })
                .collect()
        };
        let (values, means, squares) = (read_set("values")?, read_set("means")?, read_set("squares")?);
        let average = self.average.is_some().then(|| read_set("average")).transpose()?;
        let losses = arrays.f32("losses")?;
        if losses.len() > self.config.steps {
            let problem = format!("{} steps were done, the recipe has {}", losses.len(), self.config.steps);
            return Err(DiffusionError::File { file: file.into(), problem });
        }
        self.values = values;
        self.adam.means = means;
        self.adam.squares = squares;
        self.average = average;
        self.step = losses.len();
        self.losses = losses;
        Ok(())
    }
}
