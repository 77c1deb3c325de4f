//! A classifier as safetensors: one tensor per parameter, and the configuration as JSON in the metadata.

use std::collections::{BTreeSet, HashMap};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::network::Network;
use super::{Classifier, ClassifierConfig, ClassifierError};

/// The only entry of the metadata: with several, their order in the file would be that of a hash map.
const CONFIG_KEY: &str = "pentimento_classifier";

impl Classifier {
    /// The classifier as the bytes of a safetensors file, with its configuration in the metadata.
    ///
    /// # Errors
    ///
    /// [`ClassifierError::File`] if it cannot be serialised.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ClassifierError> {
        let unwritable =
            |problem: String| ClassifierError::File { problem: format!("cannot be written: {problem}") };
        let config = serde_json::to_string(&self.config).map_err(|error| unwritable(error.to_string()))?;
        let parameters = self.network.parameters();
        let tensors: Vec<Vec<u8>> = self
            .values
            .iter()
            .map(|values| values.iter().flat_map(|value| value.to_le_bytes()).collect())
            .collect();
        let views = parameters.iter().zip(&tensors).map(|(parameter, bytes)| {
            Ok((parameter.name.as_str(), TensorView::new(Dtype::F32, parameter.shape.clone(), bytes)?))
        });
        views
            .collect::<Result<Vec<_>, _>>()
            .and_then(|views| {
                safetensors::serialize(views, Some(HashMap::from([(CONFIG_KEY.to_owned(), config)])))
            })
            .map_err(|error: safetensors::SafeTensorError| unwritable(error.to_string()))
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`ClassifierError`] if the bytes are not safetensors, the configuration is missing, unreadable or out of bounds,
    /// or a tensor is missing, one too many, of another shape or type, or has a value that is not finite.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ClassifierError> {
        let broken = |problem: String| ClassifierError::File { problem };
        let unreadable = |error: safetensors::SafeTensorError| broken(format!("not safetensors: {error}"));
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
        let entries = metadata.metadata().as_ref();
        let config = entries
            .and_then(|entries| entries.get(CONFIG_KEY))
            .ok_or_else(|| broken(format!("the metadata has no `{CONFIG_KEY}`")))?;
        let config: ClassifierConfig = serde_json::from_str(config)
            .map_err(|error| broken(format!("metadata `{CONFIG_KEY}`: {error}")))?;
        config.validate()?;

        let tensors = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        let network = Network::new(&config);
        let parameters = network.parameters();
        let known: BTreeSet<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        // Ordered, so that of several unknown tensors always the same one is named.
        let present: BTreeSet<&str> = tensors.names().into_iter().collect();
        if let Some(unknown) = present.difference(&known).next() {
            let problem = "is not part of such a network".to_owned();
            return Err(ClassifierError::Tensor { tensor: (*unknown).to_owned(), problem });
        }
        let values = parameters.iter().map(|parameter| {
            let bad = |problem: String| ClassifierError::Tensor { tensor: parameter.name.clone(), problem };
            let view = tensors.tensor(&parameter.name).map_err(|_| bad("is missing".to_owned()))?;
            if view.dtype() != Dtype::F32 || view.shape() != parameter.shape {
                let (found, needed) = (view.shape(), &parameter.shape);
                return Err(bad(format!("is {:?} {found:?}, not F32 {needed:?}", view.dtype())));
            }
            let (chunks, _) = view.data().as_chunks::<4>();
            let values: Vec<f32> = chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
            match values.iter().position(|value| !value.is_finite()) {
                Some(index) => Err(bad(format!("value {index} is {}, not a finite number", values[index]))),
                None => Ok(values),
            }
        });
        let values = values.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { config, network, values })
    }
}
