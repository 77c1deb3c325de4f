//! Gradients of a network over texts in the parameters of an adapter.

use super::side::{timed, write};
use anyhow::{Context as _, Result};
use pentimento_attribution::gradient::{FeatureExtractor, Measurement};
use pentimento_bench::network::SEED;
use pentimento_diffusion::arrays::ArrayWriter;
use pentimento_diffusion::checkpoint::{AdapterFiles, CheckpointFiles, Selection, weights_to_bytes};
use pentimento_diffusion::condition::{Condition, TextEmbedding};
use pentimento_diffusion::denoising::Draw;
use pentimento_diffusion::schedule::ScheduleConfig;
use pentimento_diffusion::unet::{Architecture, Parameters};
use pentimento_noise::{Purpose, Stream};
use serde_json::{Value, json};
use std::path::Path;

/// Tokens of a prompt, as CLIP pads it.
const TOKENS: usize = 77;

/// A network with an adapter, and an image at some draws.
pub struct Adapted {
    architecture: Architecture,
    parameters: Parameters,
    schedule: ScheduleConfig,
    /// Height, width and channels of the image.
    shape: [usize; 3],
    image: Vec<f32>,
    text: TextEmbedding,
    draws: Vec<Draw>,
}

impl Adapted {
    /// Opens the network of a pipeline and an adapter of it. The answer has the seconds that this took, and the number of values of the adapter.
    pub fn open(pipeline: &Path, adapter: &Path, draws: usize) -> Result<(Self, Value)> {
        let (seconds, checkpoint) = timed(|| {
            let network = CheckpointFiles::find_denoiser(pipeline, &Selection::default())?.open()?;
            let adapter = AdapterFiles::find(adapter)?.read(&network.architecture)?;
            Ok(network.with_adapter(adapter)?)
        })?;
        let values = checkpoint.values_in_f32();
        let architecture = checkpoint.architecture;
        let config = architecture.config();
        let size = config.sample_size.context("the configuration names no size of images")?;
        let width = config.cross_attention.as_ref().context("the network is told no text")?.text_width;
        let shape = [size.height, size.width, config.in_channels];
        let normals = |id: u32, length: usize| {
            let mut values = vec![0.0; length];
            Stream::new(SEED, Purpose::Test, id, 0).fill_normal(&mut values);
            values
        };
        let schedule = checkpoint.scheduler.schedule;
        let length = shape.iter().product();
        let draw = |number: usize| Draw {
            timestep: (2 * number + 1) * schedule.num_train_timesteps / (2 * draws),
            noise: normals(2 + number as u32, length),
        };
        let adapted = Self {
            parameters: Parameters::from_memory(&architecture, values),
            shape,
            image: normals(0, length),
            text: TextEmbedding::new(normals(1, TOKENS * width), width),
            draws: (0..draws).map(draw).collect(),
            architecture,
            schedule,
        };
        let trained = adapted.architecture.parameter_count();
        Ok((adapted, json!({ "seconds": seconds, "trained": trained })))
    }

    /// The gradient of the mean squared error, mean over the draws.
    pub fn gradient(&self) -> Result<Vec<f32>> {
        let (architecture, parameters) = (&self.architecture, self.parameters.clone());
        let extractor =
            FeatureExtractor::new(architecture, parameters, &self.schedule, Measurement::Loss, false);
        let [height, width, _] = self.shape;
        let condition = Condition::Text(self.text.clone());
        Ok(extractor.gradient::<f32>(&self.image, [height, width], condition, &self.draws, "the image")?)
    }

    /// Writes what the gradient is taken of into `draws.safetensors`, and the gradient into `gradient.safetensors`.
    pub fn write(&self, gradient: &[f32], folder: &Path) -> Result<()> {
        let mut arrays = ArrayWriter::default();
        arrays.put_f32("image", &self.shape, &self.image);
        arrays.put_f32("text", &[TOKENS, self.text.width()], self.text.states());
        let noise: Vec<f32> = self.draws.iter().flat_map(|draw| draw.noise.iter().copied()).collect();
        let [height, width, channels] = self.shape;
        arrays.put_f32("noise", &[self.draws.len(), height, width, channels], &noise);
        let timesteps: Vec<u32> = self.draws.iter().map(|draw| draw.timestep as u32).collect();
        arrays.put_u32("timestep", &[timesteps.len()], &timesteps);
        write(&folder.join("draws.safetensors"), &arrays.to_bytes("side by side", None)?)?;
        let mut rest = gradient;
        let parts: Vec<Vec<f32>> = self
            .architecture
            .parameters()
            .iter()
            .map(|spec| {
                let (values, others) = rest.split_at(spec.disk_shape.iter().product());
                rest = others;
                values.to_vec()
            })
            .collect();
        write(&folder.join("gradient.safetensors"), &weights_to_bytes(&self.architecture, &parts)?)
    }
}
