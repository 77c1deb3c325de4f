//! A classifier as safetensors: one tensor per parameter, and the configuration as JSON in the metadata.

use std::collections::BTreeSet;

use pentimento_diffusion::arrays::{ArrayError, ArrayReader, ArrayWriter};

use super::network::Network;
use super::{Classifier, ClassifierConfig, ClassifierError};

/// The entry of the metadata that holds the configuration.
const CONFIG_KEY: &str = "pentimento_classifier";

/// The texts of [`ClassifierError`] begin with it, whatever the file is called.
const FILE: &str = "classifier file";

impl Classifier {
    /// The classifier as the bytes of a safetensors file, with its configuration in the metadata.
    ///
    /// # Errors
    ///
    /// [`ClassifierError::File`] if it cannot be serialised.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ClassifierError> {
        let config = serde_json::to_string(&self.config)
            .map_err(|error| ClassifierError::File { problem: format!("cannot be written: {error}") })?;
        let mut arrays = ArrayWriter::default();
        for (parameter, values) in self.network.parameters().iter().zip(&self.values) {
            arrays.put_f32(&parameter.name, &parameter.shape, values);
        }
        Ok(arrays.to_bytes(FILE, Some((CONFIG_KEY, &config)))?)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`ClassifierError`] if the bytes are not safetensors, the configuration is missing, unreadable or out of bounds,
    /// or a tensor is missing, one too many, of another shape or type, or has a value that is not finite.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ClassifierError> {
        let broken = |problem: String| ClassifierError::File { problem };
        let arrays = ArrayReader::new(bytes, FILE)?;
        let config = arrays
            .metadata(CONFIG_KEY)
            .ok_or_else(|| broken(format!("the metadata has no `{CONFIG_KEY}`")))?;
        let config: ClassifierConfig = serde_json::from_str(config)
            .map_err(|error| broken(format!("metadata `{CONFIG_KEY}`: {error}")))?;
        config.validate()?;

        let network = Network::new(&config);
        let parameters = network.parameters();
        let known: BTreeSet<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        if let Some(unknown) = arrays.names().into_iter().find(|name| !known.contains(name)) {
            return Err(arrays.broken(unknown, "is not part of such a network".into()).into());
        }
        let values = parameters.iter().map(|parameter| {
            arrays.expect_shape(&parameter.name, &parameter.shape)?;
            arrays.finite_f32(&parameter.name)
        });
        let values = values.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { config, network, values })
    }
}

impl From<ArrayError> for ClassifierError {
    fn from(error: ArrayError) -> Self {
        match error {
            ArrayError::File { problem, .. } => Self::File { problem },
            ArrayError::Tensor { tensor, problem, .. } => Self::Tensor { tensor, problem },
        }
    }
}
