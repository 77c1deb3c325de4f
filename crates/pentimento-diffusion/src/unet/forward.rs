//! The forward pass, for whatever flows through.

use super::architecture::Architecture;
use super::batch_condition::{BatchCondition, Class};
use super::flow::{ConvLayer, Flow};
use super::layers::{
    Attention, ClassEmbedding, Conv, Heads, Mixer, Resampling, Resize, Resnet, Transformer, TransformerBlock,
};
use super::parameters::{LowRankLayers, Parameters};

impl Architecture {
    /// Runs the network on `input`, `[images, height, width, in_channels]`.
    ///
    /// # Panics
    ///
    /// If the image does not fit ([`super::UnetConfig::check_image`]), or parameters or condition are another network's.
    pub fn forward<F: Flow>(&self, parameters: &Parameters, input: F, condition: &BatchCondition) -> F {
        let pass = Pass { parameters, scale_shift: self.config().scale_shift() };
        let [first, second] = self.time_embedding;
        let embedding = pass.conv(first, F::constant(condition.sinusoids.clone())).silu();
        let mut embedding = pass.conv(second, embedding);
        match (self.class_embedding, &condition.class) {
            (Some(ClassEmbedding::Table(at)), Some(Class::Rows(rows))) => {
                embedding = embedding.add(F::constant(parameters.rows(at, rows)));
            }
            (Some(ClassEmbedding::AsTimestep([first, second])), Some(Class::Sinusoids(sinusoids))) => {
                let class = pass.conv(first, F::constant(sinusoids.clone())).silu();
                embedding = embedding.add(pass.conv(second, class));
            }
            _ => {}
        }
        // Every residual block takes SiLU of the embedding; it is the same for all, so it is computed once.
        let told = Told { embedding: embedding.silu(), text: condition.text.clone().map(F::constant) };
        let input = if self.config().center_input_sample { pass.centred(input) } else { input };

        let mut x = pass.conv(self.conv_in, input);
        let mut skips = vec![x.clone()];
        for level in &self.down {
            for (resnet, mixer) in &level.blocks {
                x = pass.block(resnet, mixer.as_ref(), x, &told);
                skips.push(x.clone());
            }
            if let Some(resize) = &level.resize {
                x = match resize {
                    Resize::Conv(conv) => pass.conv(*conv, x),
                    Resize::Resnet(resnet) => pass.resnet(resnet, x, &told),
                };
                skips.push(x.clone());
            }
        }
        x = pass.block(&self.middle.before, self.middle.mixer.as_ref(), x, &told);
        x = pass.resnet(&self.middle.after, x, &told);
        for level in &self.up {
            for (resnet, mixer) in &level.blocks {
                if let Some(skip) = skips.pop() {
                    x = x.concatenate_channels(skip);
                }
                x = pass.block(resnet, mixer.as_ref(), x, &told);
            }
            if let Some(resize) = &level.resize {
                x = match resize {
                    Resize::Conv(conv) => pass.conv(*conv, doubled(x, skips.last())),
                    Resize::Resnet(resnet) => pass.resnet(resnet, x, &told),
                };
            }
        }
        pass.conv(self.conv_out, x.group_norm(parameters.norm(self.norm_out, true)))
    }
}

/// What all blocks of a pass are told.
struct Told<F> {
    /// Of timestep and class, behind SiLU.
    embedding: F,
    /// `[texts, 1, tokens, width]`, one for each image or one for all.
    text: Option<F>,
}

struct Pass<'a> {
    parameters: &'a Parameters,
    scale_shift: bool,
}

impl Pass<'_> {
    fn conv<F: Flow>(&self, conv: Conv, input: F) -> F {
        self.adapted(conv, input, F::conv2d)
    }

    /// A layer, plus what goes past it.
    fn conv_with_residual<F: Flow>(&self, conv: Conv, input: F, past: F) -> F {
        self.adapted(conv, input, |input, layer| input.conv2d_with_residual(layer, past))
    }

    /// A layer as `run` runs it, `W x`, plus what an adapter has beside it, `s B (A x)`.
    fn adapted<F: Flow>(&self, conv: Conv, input: F, run: impl FnOnce(F, ConvLayer) -> F) -> F {
        let layer = self.parameters.conv(conv);
        let Some(LowRankLayers { down, up, scale }) = self.parameters.low_rank(conv) else {
            return run(input, layer);
        };
        let output = run(input.clone(), layer);
        // Of the few values between the two.
        let between = input.conv2d(down);
        let between = if scale == 1.0 { between } else { between.affine(scale, 0.0) };
        between.conv2d_with_residual(up, output)
    }

    /// `2 x - 1`.
    fn centred<F: Flow>(&self, input: F) -> F {
        input.affine(2.0, -1.0)
    }

    fn block<F: Flow>(&self, resnet: &Resnet, mixer: Option<&Mixer>, x: F, told: &Told<F>) -> F {
        let x = self.resnet(resnet, x, told);
        match (mixer, &told.text) {
            (Some(Mixer::Pixels(attention)), _) => self.attention(attention, x),
            (Some(Mixer::Transformer(transformer)), Some(text)) => self.transformer(transformer, x, text),
            // A condition without a text is another network's, which it was checked for.
            _ => x,
        }
    }

    /// `ResnetBlock2D` of diffusers: norm, SiLU, convolution, time embedding, norm, SiLU, convolution, shortcut.
    fn resnet<F: Flow>(&self, resnet: &Resnet, x: F, told: &Told<F>) -> F {
        let hidden = x.clone().group_norm(self.parameters.norm(resnet.norm1, true));
        let (hidden, x) = match resnet.resampling {
            None => (hidden, x),
            Some(Resampling::Halve) => (hidden.average_pool(), x.average_pool()),
            Some(Resampling::Double) => (hidden.upsample_nearest(), x.upsample_nearest()),
        };
        let projected = self.conv(resnet.time_projection, told.embedding.clone());
        let hidden = if self.scale_shift {
            let hidden = self.conv(resnet.conv1, hidden);
            let channels = resnet.output_channels;
            let scale = projected.clone().channels(0..channels);
            let shift = projected.channels(channels..2 * channels);
            hidden.group_norm(self.parameters.norm(resnet.norm2, false)).scale_shift(scale, shift).silu()
        } else {
            self.adapted(resnet.conv1, hidden, |hidden, layer| hidden.conv2d_with_embedding(layer, projected))
                .group_norm(self.parameters.norm(resnet.norm2, true))
        };
        let straight = match resnet.shortcut {
            Some(shortcut) => self.conv(shortcut, x),
            None => x,
        };
        let sum = self.conv_with_residual(resnet.conv2, hidden, straight);
        rescaled(sum, resnet.output_scale)
    }

    /// `Attention` of diffusers with a residual: norm, queries, keys and values, softmax, output.
    fn attention<F: Flow>(&self, attention: &Attention, x: F) -> F {
        let normalised = match attention.norm {
            Some(norm) => x.clone().group_norm(self.parameters.norm(norm, false)),
            None => x.clone(),
        };
        let sum = self.attend(&attention.heads, normalised.clone(), normalised, x);
        rescaled(sum, attention.output_scale)
    }

    /// Queries of one value, keys and values of another, softmax, output, plus what goes past all of it. The keys of one text
    /// serve all images.
    fn attend<F: Flow>(&self, heads: &Heads, asking: F, asked: F, past: F) -> F {
        let queries = self.conv(heads.query, asking);
        let keys = self.conv(heads.key, asked.clone());
        let values = self.conv(heads.value, asked);
        let [images, ..] = queries.sides();
        let [keys, values] = [keys, values].map(|of_text| of_text.for_images(images));
        self.conv_with_residual(heads.output, queries.attention(keys, values, heads.heads), past)
    }

    /// `Transformer2DModel` of diffusers: norm, a linear layer, blocks, a linear layer, plus what came in.
    fn transformer<F: Flow>(&self, transformer: &Transformer, x: F, text: &F) -> F {
        let normalised = x.clone().group_norm(self.parameters.norm(transformer.norm, false));
        let mut hidden = self.conv(transformer.project_in, normalised);
        for block in &transformer.blocks {
            hidden = self.transformer_block(block, hidden, text);
        }
        self.conv_with_residual(transformer.project_out, hidden, x)
    }

    /// `BasicTransformerBlock` of diffusers: its pixels see each other, then the text, then each itself.
    fn transformer_block<F: Flow>(&self, block: &TransformerBlock, hidden: F, text: &F) -> F {
        let norm = |norm, hidden: &F| hidden.clone().layer_norm(self.parameters.layer_norm(norm));
        let normalised = norm(block.before_pixels, &hidden);
        let hidden = self.attend(&block.over_pixels, normalised.clone(), normalised, hidden);
        let normalised = norm(block.before_text, &hidden);
        let hidden = self.attend(&block.over_text, normalised, text.clone(), hidden);
        let gated = self.conv(block.feed_in, norm(block.before_feed, &hidden)).geglu();
        self.conv_with_residual(block.feed_out, gated, hidden)
    }
}

/// Twice as large, but for the last row and column where the images that are joined next have one less.
fn doubled<F: Flow>(x: F, next: Option<&F>) -> F {
    let x = x.upsample_nearest();
    let [_, height, width, _] = x.sides();
    match next.map(Flow::sides) {
        Some([_, rows, columns, _]) if (rows, columns) != (height, width) => x.cropped(rows, columns),
        _ => x,
    }
}

fn rescaled<F: Flow>(x: F, scale: f64) -> F {
    if scale == 1.0 { x } else { x.affine(1.0 / scale, 0.0) }
}
