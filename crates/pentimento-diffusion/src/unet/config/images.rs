//! Which images pass through a network.

use super::UnetConfig;
use crate::DiffusionError;
use pentimento_kernels::MOST_TOKENS;

impl UnetConfig {
    /// The finest level that attends, counted from 0, and how many pixels it has for images of this size.
    fn finest_attention(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        (0..self.block_out_channels.len()).find(|&level| self.attends(level)).map(|level| {
            // An odd side is halved upwards.
            let side = |side: usize| side.div_ceil(1 << level.min(16));
            (level, side(height).saturating_mul(side(width)))
        })
    }

    /// Whether images whose sides are odd at some level pass through: on the way back they take the size of what they are
    /// joined with. Without padding before, halving would leave out the last row and column.
    fn halves_odd_images(&self) -> bool {
        self.cross_attention.is_some() && self.downsample_padding == 1
    }

    /// Checks that images of this size pass through: each level but the last halves them, evenly unless the network is a
    /// `UNet2DConditionModel` that pads on all sides, and no level attends over more than [`MOST_TOKENS`] pixels.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Image`] naming the size and the divisor.
    pub fn check_image(&self, height: usize, width: usize, channels: usize) -> Result<(), DiffusionError> {
        let halvings = self.block_out_channels.len().saturating_sub(1);
        let divisor = 1usize << halvings.min(16);
        let problem = if channels != self.in_channels {
            format!("the network takes {} channels", self.in_channels)
        } else if height == 0
            || width == 0
            || !(self.halves_odd_images() || height.is_multiple_of(divisor) && width.is_multiple_of(divisor))
        {
            format!(
                "the network halves its images {halvings} times, so height and width must be multiples of {divisor}"
            )
        } else if let Some((level, tokens)) =
            self.finest_attention(height, width).filter(|&(_, tokens)| tokens > MOST_TOKENS)
        {
            format!(
                "level {level} of the network attends over {tokens} pixels, of which it takes at most {MOST_TOKENS}: \
                 take blocks without attention there"
            )
        } else {
            return Ok(());
        };
        Err(DiffusionError::Image { height, width, channels, problem })
    }
}
