//! Other ways to read a checkpoint.

use pentimento_diffusion::schedule::{BetaSchedule, PredictionType};
use std::fmt;

/// Another way to read a checkpoint, which a wrong configuration file would hide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// The network predicts something else.
    Predicts(PredictionType),
    /// It was trained with another noise schedule.
    Schedule(BetaSchedule),
    /// The time embedding has its halves the other way round.
    FlipSinToCos(bool),
    /// It was trained on images in [0, 1] instead of [-1, 1].
    ZeroToOne,
    /// Its latents are scaled by another factor.
    ScalingFactor(f64),
    /// It was trained on negatives.
    Inverted,
}

impl fmt::Display for Reading {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Predicts(other) => {
                write!(formatter, "`prediction_type` = {} in the scheduler", other.name())
            }
            Self::Schedule(other) => write!(formatter, "`beta_schedule` = {} in the scheduler", other.name()),
            Self::FlipSinToCos(flipped) => {
                write!(formatter, "`flip_sin_to_cos` = {flipped} in the network's configuration")
            }
            Self::ZeroToOne => formatter.write_str("images in [0, 1]"),
            Self::ScalingFactor(other) => {
                write!(formatter, "`scaling_factor` = {other} in the autoencoder's configuration")
            }
            Self::Inverted => formatter.write_str("black and white exchanged"),
        }
    }
}
