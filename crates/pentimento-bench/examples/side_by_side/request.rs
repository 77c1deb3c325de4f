//! What the other side can ask for.

use crate::layer::LayerKind;
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::path::PathBuf;

/// One line of stdin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Describes this side: threads and instructions.
    About {},
    /// Fused multiply-adds between registers; the answer also has their number of operations.
    Peak {},
    /// Makes members of this network, writes a diffusers folder for each, and keeps them for what follows.
    Open {
        /// A `config.json` of diffusers.
        config: PathBuf,
        /// Where `000`, `001`, ... go.
        folder: PathBuf,
        /// How many.
        members: u32,
    },
    /// Prepares training steps of member 0 and makes the first one. Writes `batch.safetensors` (what it was made from)
    /// and `gradient.safetensors`; the answer has the loss.
    PrepareTraining {
        /// Images of a step.
        images: usize,
        /// Where the files go.
        folder: PathBuf,
    },
    /// One training step.
    Train {},
    /// Samples of the whole ensemble.
    Sample {
        /// How many, side by side.
        images: usize,
        /// Sampler steps.
        steps: usize,
        /// Where the recorded noise and the samples go, if they are wanted; writing is not timed.
        file: Option<PathBuf>,
    },
    /// One sample and its derivative in every member's weight, by the tangents of all members.
    Jacobian {
        /// Sampler steps.
        steps: usize,
        /// Where the recorded noise, the sample and the columns go, if they are wanted; writing is not timed.
        file: Option<PathBuf>,
    },
    /// The first ones of all codes of a weight, in two stages and a check.
    Search {
        /// Sampler steps.
        steps: usize,
        /// Weight of the codes.
        weight: u32,
        /// Candidates of the first stage.
        candidates: usize,
        /// How many of them are made exactly.
        exact: usize,
    },
    /// Exact counterfactuals of the first so many codes.
    Exact {
        /// Sampler steps.
        steps: usize,
        /// Weight of the codes.
        weight: u32,
        /// How many codes.
        codes: u32,
    },
    /// Opens the network of a pipeline and an adapter of it, and takes the gradient of one image in the adapter. Writes
    /// `draws.safetensors` (what it is taken of) and `gradient.safetensors`; the answer has the seconds of opening.
    OpenAdapted {
        /// The pipeline.
        pipeline: PathBuf,
        /// The adapter.
        adapter: PathBuf,
        /// Draws of the gradient, which pass through the network together.
        draws: usize,
        /// Where the files go.
        folder: PathBuf,
    },
    /// The gradient of that image, once.
    AdaptedGradient {},
    /// Prepares a 3x3 convolution with bias. Writes its input, weight, bias and output.
    PrepareConvolution {
        /// Images.
        images: usize,
        /// Side of an image in pixels.
        side: usize,
        /// Channels of the input, and as many of the output.
        channels: usize,
        /// Where the arrays go.
        file: PathBuf,
    },
    /// The prepared convolution, so many times; the answer has the seconds of all of them.
    Convolution {
        /// How many times.
        repeats: usize,
    },
    /// Prepares a layer of a transformer. Writes what it is given, its output and its gradients.
    PrepareLayer {
        /// Which layer.
        layer: LayerKind,
        /// Where the arrays go.
        file: PathBuf,
    },
    /// The prepared layer, so many times; the answer has the seconds of all of them.
    Layer {
        /// How many times.
        repeats: usize,
        /// Whether the gradients are wanted too.
        backward: bool,
    },
}

impl Request {
    /// Reads one line.
    pub fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).with_context(|| format!("not a request: {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines_of_json() {
        assert_eq!(Request::parse(r#"{"request": "train"}"#).unwrap(), Request::Train {});
        let sample = r#"{"request": "sample", "images": 64, "steps": 10, "file": null}"#;
        assert_eq!(Request::parse(sample).unwrap(), Request::Sample { images: 64, steps: 10, file: None });
        let open = r#"{"request": "open", "config": "a/b.json", "folder": "c", "members": 7}"#;
        let expected = Request::Open { config: "a/b.json".into(), folder: "c".into(), members: 7 };
        assert_eq!(Request::parse(open).unwrap(), expected);
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_text() {
        for line in [
            "",
            "train",
            r#"{"request": "dance"}"#,
            r#"{"request": "sample", "images": 64}"#,
            r#"{"request": "sample", "images": -1, "steps": 1}"#,
            r#"{"request": "train", "images": 64}"#,
        ] {
            let error = Request::parse(line).unwrap_err();
            assert!(error.to_string().contains(line), "{error}");
        }
    }
}
