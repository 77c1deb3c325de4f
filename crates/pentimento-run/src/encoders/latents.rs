//! Pictures as latents: each is encoded once, and its latent kept in the run.

use super::RunEncoders;
use crate::drive::drive;
use crate::error::{MadeBy, PartError, Result, RunError};
use crate::event::Progress;
use crate::forecast::Forecast;
use crate::kept::kept_or_made_again;
use crate::piece::{Making, Object, Piece, Stage, missing};
use crate::recipe::LatentChoice;
use crate::words::counted;
use crate::workspace::{Workspace, fingerprint_of_computed};
use pentimento_data::PreparedSet;
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_noise::{Purpose, Stream};
use pentimento_store::{Digest, Fingerprint, Run};
use std::time::Instant;

/// The stage of the training images' latents.
pub(crate) const LATENTS: &str = "latents";
/// The stage of those of queries.
const LATENTS_OF_QUERIES: &str = "latents/queries";

/// What its costs are called.
const COST: &str = "encoding pictures";

/// Pictures of a piece.
const PICTURES_PER_PIECE: usize = 64;
/// Pictures that are encoded at once; a stop is noticed between them.
const PICTURES_AT_ONCE: usize = 8;

/// Latents of some pictures, in their order.
pub struct Latents {
    values: Vec<f32>,
    length: usize,
}

impl Latents {
    /// That of a picture, `[height, width, channels]`.
    pub fn of(&self, picture: usize) -> &[f32] {
        &self.values[picture * self.length..][..self.length]
    }
}

/// The stage: a piece is 64 pictures.
pub struct EncodingPictures<'a> {
    workspace: &'a Workspace,
    encoders: &'a RunEncoders,
    name: &'static str,
    images: &'a PreparedSet,
    /// Positions of those that are encoded.
    chosen: Vec<usize>,
    /// What each piece is made from.
    keys: Vec<Fingerprint>,
    /// Height, width and channels of a latent.
    shape: [usize; 3],
}

impl<'a> EncodingPictures<'a> {
    /// Encoding the training images, whose latents have this shape.
    pub fn of_training_images(
        workspace: &'a Workspace,
        encoders: &'a RunEncoders,
        images: &'a PreparedSet,
        shape: [usize; 3],
    ) -> Self {
        Self::new(workspace, encoders, LATENTS, images, (0..images.len()).collect(), shape)
    }

    /// Encoding those of some images that are asked about.
    pub fn of_queries(
        workspace: &'a Workspace,
        encoders: &'a RunEncoders,
        images: &'a PreparedSet,
        chosen: Vec<usize>,
        shape: [usize; 3],
    ) -> Self {
        Self::new(workspace, encoders, LATENTS_OF_QUERIES, images, chosen, shape)
    }

    fn new(
        workspace: &'a Workspace,
        encoders: &'a RunEncoders,
        name: &'static str,
        images: &'a PreparedSet,
        chosen: Vec<usize>,
        shape: [usize; 3],
    ) -> Self {
        let sides = [images.height(), images.width(), images.channels()].map(|side| side as u64);
        let recipe = &workspace.recipe;
        let key = |pictures: &[usize]| {
            let mut builder =
                fingerprint_of_computed("latents").bytes(encoders.autoencoder_digest().as_bytes());
            for side in sides {
                builder = builder.bytes(&side.to_le_bytes());
            }
            if recipe.data.latents == LatentChoice::Sample {
                builder = builder.bytes(b"drawn").bytes(&recipe.seed.to_le_bytes());
            }
            pictures.iter().fold(builder, |builder, &picture| builder.bytes(images.image(picture))).finish()
        };
        let keys = chosen.chunks(PICTURES_PER_PIECE).map(key).collect();
        Self { workspace, encoders, name, images, chosen, keys, shape }
    }

    /// Encodes what is missing, and gives all latents. In a run that is open for reading only, latents of queries are made for this
    /// time.
    ///
    /// # Errors
    ///
    /// [`RunError::Missing`] for those of training images that are not there, in such a run; as making them.
    pub fn complete(&self) -> Result<Latents> {
        let run = &self.workspace.run;
        if !run.is_read_only() {
            drive(self.workspace, self)?;
        }
        let mut values = Vec::with_capacity(self.chosen.len() * self.length());
        for piece in self.pieces()? {
            if run.is_read_only() && !piece.is_in(run) {
                if self.name == LATENTS {
                    let what = "the latents of the training images".into();
                    return Err(self.workspace.missing(what, MadeBy::Encoding));
                }
                values.extend(self.encoded(self.pictures_of(&piece), |_| {})?);
                continue;
            }
            let bytes = kept_or_made_again(self.workspace, self, &piece)?;
            let arrays = ArrayReader::new(&bytes, &object_name(piece.made_from))?;
            let [height, width, channels] = self.shape;
            let pictures = self.pictures_of(&piece).len();
            arrays.expect_shape("latent", &[pictures, height, width, channels])?;
            values.extend(arrays.f32("latent")?);
        }
        Ok(Latents { values, length: self.length() })
    }

    /// How long those that are missing will take, from one of them; none if none is.
    ///
    /// # Errors
    ///
    /// As making them.
    pub(crate) fn forecast(&self) -> Result<Option<Forecast>> {
        let missing = missing(self, &self.workspace.run)?;
        let pictures: usize = missing.iter().map(|piece| self.pictures_of(piece).len()).sum();
        let Some(first) = missing.first().and_then(|piece| self.pictures_of(piece).first()) else {
            return Ok(None);
        };
        // The first time opens the autoencoder too.
        self.encoded(&[*first], |_| {})?;
        let started = Instant::now();
        self.encoded(&[*first], |_| {})?;
        let seconds = started.elapsed().as_secs_f64() * pictures as f64;
        let work = format!("{} to latents", counted(pictures, "picture"));
        // Those of all pictures are in memory together.
        let bytes = size_of::<f32>() * self.length() * self.chosen.len();
        Ok(Some(Forecast::new(COST, work, seconds, bytes)))
    }

    /// What stands in for latents that are not made, where only time counts; no two are the same.
    pub(crate) fn stand_in(&self) -> Latents {
        let length = self.length();
        let values = (0..self.chosen.len() * length).map(|value| (value / length) as f32 / 1000.0).collect();
        Latents { values, length }
    }

    /// Values of a latent.
    fn length(&self) -> usize {
        self.shape.iter().product()
    }

    /// Positions of the pictures of a piece.
    fn pictures_of(&self, piece: &Piece) -> &[usize] {
        self.chosen.chunks(PICTURES_PER_PIECE).nth(piece.number).unwrap_or_default()
    }

    /// The noise with which the latent of a picture is drawn.
    fn noise(&self, picture: usize) -> Vec<f32> {
        let mut noise = vec![0.0; self.length()];
        let id = noise_id(self.images.image(picture));
        Stream::new(self.workspace.recipe.seed, Purpose::PosteriorNoise, id, 0).fill_normal(&mut noise);
        noise
    }

    fn draws_nothing(&self) -> RunError {
        RunError::RecipeValue {
            file: self.workspace.recipe.name.clone(),
            field: "data.latents".into(),
            value: "sample".into(),
            bound: "this autoencoder has nothing to draw from (a `VQModel`): take `mode`".into(),
        }
    }

    /// The latents of some pictures.
    fn encoded(&self, pictures: &[usize], show: impl Fn(usize)) -> Result<Vec<f32>> {
        let size = [self.images.height(), self.images.width()];
        let mut latents = Vec::with_capacity(pictures.len() * self.length());
        for some in pictures.chunks(PICTURES_AT_ONCE) {
            self.workspace.options.stop.check()?;
            let values: Vec<f32> = some.iter().flat_map(|&picture| self.images.scaled(picture)).collect();
            let found = match self.workspace.recipe.data.latents {
                LatentChoice::Mode => self.encoders.latents(&values, size)?,
                LatentChoice::Sample => {
                    let noise: Vec<f32> = some.iter().flat_map(|&picture| self.noise(picture)).collect();
                    self.encoders.drawn_latents(&values, size, &noise)?.ok_or_else(|| self.draws_nothing())?
                }
            };
            for (&picture, latent) in some.iter().zip(found.chunks_exact(self.length())) {
                if latent.iter().any(|value| !value.is_finite()) {
                    return Err(PartError::LatentNotFinite { picture: self.images.title(picture) }.into());
                }
            }
            latents.extend(found);
            show(latents.len() / self.length());
        }
        Ok(latents)
    }
}

/// The number by which pictures are told apart that do not share their noise: the first bytes of the digest of their values.
fn noise_id(picture: &[u8]) -> u32 {
    let [first, second, third, fourth, ..] = *Digest::of(picture).as_bytes();
    u32::from_le_bytes([first, second, third, fourth])
}

/// Pieces of one content are one object, whoever's pictures they are.
fn object_name(made_from: Fingerprint) -> String {
    format!("latents/{}.safetensors", &made_from.to_string()[..16])
}

impl Stage for EncodingPictures<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn cost_name(&self) -> &str {
        COST
    }

    fn asks_queries(&self) -> bool {
        self.name == LATENTS_OF_QUERIES
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let piece = |(number, &made_from)| Piece {
            stage: self.name.into(),
            number,
            objects: vec![object_name(made_from)],
            made_from,
        };
        Ok(self.keys.iter().enumerate().map(piece).collect())
    }

    fn begin(&self, _run: &Run, _all: usize, missing: &[Piece]) -> Result<Progress> {
        let all = self.chosen.len();
        let missing: usize = missing.iter().map(|piece| self.pictures_of(piece).len()).sum();
        Ok(self.workspace.reporter().begin(self.cost_name(), all as u64, (all - missing) as u64))
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let (pictures, progress) = (self.pictures_of(piece), making.progress);
        let before = (making.there + making.place) * PICTURES_PER_PIECE;
        let latents = making.spent.time(self.cost_name(), pictures.len(), || {
            self.encoded(pictures, |done| progress.set((before + done) as u64, "pictures"))
        })?;
        let [height, width, channels] = self.shape;
        let mut arrays = ArrayWriter::default();
        arrays.put_f32("latent", &[pictures.len(), height, width, channels], &latents);
        let name = object_name(piece.made_from);
        let bytes = arrays.to_bytes(&name, None)?;
        Ok(vec![(name, bytes)])
    }

    fn summary(&self, _missing: &[Piece]) -> Option<String> {
        Some(counted(self.chosen.len(), "picture"))
    }
}
