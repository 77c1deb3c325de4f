//! The gradients that are missing, in pieces of some images each.

use super::feature_store::{
    Features, Known, MOST_IMAGES_PER_FILE, MOST_NUMBERS_PER_FILE, file_key, ledger, names_of,
};
use super::network_features::Asked;
use super::subject::Subject;
use crate::drive::drive;
use crate::error::Result;
use crate::event::Progress;
use crate::networks::Weights;
use crate::piece::{Making, Object, Piece, Stage};
use once_cell::sync::OnceCell;
use pentimento_attribution::gradient::{
    FeatureExtractor, FeatureRows, GradientMethod, RowKey, SparseProjection, side_by_side,
};
use pentimento_diffusion::condition::Condition;
use pentimento_diffusion::denoising::Draw;
use pentimento_store::{Digest, Run};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Draws of an image that are timed for a forecast, if it has so many.
const MEASURED_DRAWS: usize = 64;

/// An image, in the parts in which its gradient is kept.
pub struct Item {
    /// What the network is shown and how, for each part, whose gradient is the mean over its draws.
    pub parts: Vec<Vec<ImageDraws>>,
    /// What messages call it.
    pub name: String,
}

/// An image and the draws at which the network sees it at once.
pub struct ImageDraws {
    /// `[height, width, channels]`.
    pub image: Vec<f32>,
    /// What it is told.
    pub condition: Condition,
    /// Timesteps and noise.
    pub draws: Vec<Draw>,
}

/// What features are of, but for the images.
#[derive(Clone, Debug)]
pub struct FeatureKind {
    /// The network.
    pub weights: Weights,
    /// What all features of this kind follow from, but for the image.
    pub features_of: String,
    /// The method, of which the measurement and the unit length count.
    pub method: GradientMethod,
    /// What the parts of an image are, a word; with their number it names the folder.
    pub parts_are: &'static str,
    /// How many there are.
    pub parts: usize,
    /// The groups of draws that they are of.
    pub groups: Range<usize>,
}

impl FeatureKind {
    /// The folder of these features. Those of other settings lie beside it.
    fn folder(&self) -> String {
        let of = Digest::of(self.features_of.as_bytes()).to_string();
        let measured = self.method.measurement.name();
        let unit_length = if self.method.unit_length { "-unit-length" } else { "" };
        format!("features/{measured}{unit_length}-{}/{}-{}", &of[..8], self.parts_are, self.parts)
    }
}

/// The stage: a piece is so many of the listed images, as far as they have no row yet. One that has them all is there.
pub struct Featuring<'a> {
    subject: &'a Subject<'a>,
    name: String,
    asked: Asked,
    kind: FeatureKind,
    /// The images, by what the network is shown; one without a key has no gradient.
    keys: &'a [Option<RowKey>],
    /// The image at a position of `keys`.
    item: &'a (dyn Fn(usize) -> Result<Item> + Sync),
    /// Where to tell how many images are there.
    show: (&'a Progress, &'static str, u64),
    known: Mutex<Known>,
    extractor: OnceCell<(FeatureExtractor<'a>, Option<SparseProjection>)>,
    finished: AtomicUsize,
}

impl<'a> Featuring<'a> {
    /// The features of what is asked of a network, by its number. `show` is the progress of the whole, a word for these images, and how many
    /// others come before them.
    ///
    /// # Errors
    ///
    /// As reading the run.
    pub fn new(
        subject: &'a Subject<'a>,
        asked: Asked,
        network: usize,
        kind: FeatureKind,
        keys: &'a [Option<RowKey>],
        item: &'a (dyn Fn(usize) -> Result<Item> + Sync),
        show: (&'a Progress, &'static str, u64),
    ) -> Result<Self> {
        let wanted: BTreeSet<RowKey> = keys.iter().flatten().copied().collect();
        let workspace = subject.workspace;
        let (folder, of) = (kind.folder(), &kind.features_of);
        let known = Known::find(&workspace.run, workspace.reporter(), &folder, of, &wanted)?;
        Ok(Self {
            subject,
            name: asked.stage(kind.method, network, kind.groups.start..kind.groups.end),
            asked,
            kind,
            keys,
            item,
            show,
            known: Mutex::new(known),
            extractor: OnceCell::new(),
            finished: AtomicUsize::new(0),
        })
    }

    /// Makes what is missing, and gives access to all.
    ///
    /// # Errors
    ///
    /// [`RunError::Stopped`](crate::RunError::Stopped) once it is asked to stop: finished files are kept. A gradient that is not
    /// finite, with the image and the layer.
    pub fn complete(self) -> Result<Features> {
        drive(self.subject.workspace, &self)?;
        self.tell(self.keys.len());
        let known = self.known.into_inner().unwrap_or_else(PoisonError::into_inner);
        known.features(self.keys, self.kind.features_of, self.kind.parts, self.subject.dimension())
    }

    fn tell(&self, done: usize) {
        let (progress, what, before) = self.show;
        progress.set(before + done as u64, what);
    }

    /// Positions of the images of each piece: each image once.
    fn listed(&self) -> Vec<Vec<usize>> {
        let mut seen = BTreeSet::new();
        let first = |place: &usize| self.keys[*place].is_some_and(|key| seen.insert(key));
        let places: Vec<usize> = (0..self.keys.len()).filter(first).collect();
        let numbers_per_image = (self.kind.parts * self.subject.dimension()).max(1);
        let images_per_file = (MOST_NUMBERS_PER_FILE / numbers_per_image).clamp(1, MOST_IMAGES_PER_FILE);
        places.chunks(images_per_file).map(<[usize]>::to_vec).collect()
    }

    /// The images of a piece that have no row: their positions and keys.
    fn missing_of(&self, places: &[usize]) -> Vec<(usize, RowKey)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |&place: &usize| {
            let key = self.keys[place].filter(|key| !known.has(key))?;
            Some((place, key))
        };
        places.iter().filter_map(missing).collect()
    }

    /// How many images have no row.
    pub fn missing(&self) -> usize {
        self.listed().iter().map(|places| self.missing_of(places).len()).sum()
    }

    /// Draws of the first image that has no row; none if all have one.
    ///
    /// # Errors
    ///
    /// If what a network is shown cannot be made.
    pub fn draws_of_missing(&self) -> Result<Option<usize>> {
        let places = self.listed().concat();
        let Some(&(place, _)) = self.missing_of(&places).first() else { return Ok(None) };
        Ok(Some((self.item)(place)?.parts.iter().map(|part| draws_in(part)).sum()))
    }

    /// The seconds that a draw takes while every thread is at work on one: measured on the first images that have no row, as
    /// many as there are threads. None if all have one.
    ///
    /// # Errors
    ///
    /// As taking gradients.
    pub fn seconds_per_draw(&self) -> Result<Option<f64>> {
        let threads = rayon::current_num_threads().max(1);
        let places = self.listed().concat();
        let first = self.missing_of(&places[..places.len().min(threads)]);
        let items = first.iter().map(|&(place, _)| (self.item)(place)).collect::<Result<Vec<_>>>()?;
        let Some(item) = items.first() else { return Ok(None) };
        // As many parts as it takes, of each image the same.
        let (mut parts, mut in_parts) = (0, 0);
        while in_parts < MEASURED_DRAWS && parts < item.parts.len() {
            in_parts += draws_in(&item.parts[parts]);
            parts += 1;
        }
        if in_parts == 0 {
            return Ok(None);
        }
        let once = || -> Result<f64> {
            let started = Instant::now();
            side_by_side(items.len(), |index| -> Result<()> {
                let item = &items[index];
                item.parts.iter().take(parts).try_for_each(|part| self.feature(part, item).map(drop))
            })?;
            Ok(started.elapsed().as_secs_f64())
        };
        // The first time also pays for memory that later ones reuse.
        once()?;
        Ok(Some(once()? / (items.len() * in_parts) as f64))
    }

    /// The gradient of a part of an image, projected if the recipe says so.
    fn feature(&self, part: &[ImageDraws], item: &Item) -> Result<Vec<f32>> {
        let networks = self.subject.networks;
        let (extractor, projection) = self.extractor()?;
        mean_over_draws(part, |ImageDraws { image, condition, draws }| {
            self.subject.check()?;
            let (size, name) = (networks.size, &item.name);
            Ok(match projection {
                Some(projection) => extractor.feature(image, size, condition, draws, projection, name)?,
                None => extractor.gradient::<f32>(image, size, condition, draws, name)?,
            })
        })
    }

    fn extractor(&self) -> Result<&(FeatureExtractor<'a>, Option<SparseProjection>)> {
        self.extractor.get_or_try_init(|| self.subject.extractor(&self.kind.weights, self.kind.method))
    }
}

impl Stage for Featuring<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn cost_name(&self) -> &str {
        self.kind.method.name
    }

    fn asks_queries(&self) -> bool {
        self.asked == Asked::Queries
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let folder = self.kind.folder();
        let piece = |(number, places): (usize, &Vec<usize>)| {
            let missing = self.missing_of(places);
            let images: Vec<RowKey> = missing.iter().map(|&(_, key)| key).collect();
            let objects = if images.is_empty() { Vec::new() } else { names_of(&folder, &images).to_vec() };
            let made_from = file_key(&self.kind.features_of, &images);
            Piece { stage: self.name.clone(), number, objects, made_from }
        };
        Ok(self.listed().iter().enumerate().map(piece).collect())
    }

    fn begin(&self, _run: &Run, _all: usize, _missing: &[Piece]) -> Result<Progress> {
        let missing: usize = self.listed().iter().map(|places| self.missing_of(places).len()).sum();
        self.finished.store(self.keys.len() - missing, Ordering::Relaxed);
        self.tell(self.keys.len() - missing);
        Ok(self.show.0.clone())
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let workspace = self.subject.workspace;
        let (parts, dimension) = (self.kind.parts, self.subject.dimension());
        let missing = self.missing_of(&self.listed()[piece.number]);
        let made = making.spent.time(self.kind.method.name, missing.len(), || {
            side_by_side(missing.len(), |place| -> Result<Vec<f32>> {
                let item = (self.item)(missing[place].0)?;
                let mut values = Vec::with_capacity(parts * dimension);
                for part in &item.parts {
                    values.extend(self.feature(part, &item)?);
                }
                self.tell(self.finished.fetch_add(1, Ordering::Relaxed) + 1);
                Ok(values)
            })
        })?;
        let images: Vec<RowKey> = missing.iter().map(|&(_, key)| key).collect();
        let [rows_name, ledger_name] = names_of(&self.kind.folder(), &images);
        let rows = FeatureRows { images, parts, dimension, values: made.concat() };
        let bytes = rows.to_arrow(workspace.recipe.gradients.precision, &self.kind.features_of)?;
        Ok(vec![(rows_name, bytes), (ledger_name, ledger(&rows.images).into_bytes())])
    }

    fn stored(&self, piece: &Piece, run: &Run) -> Result<()> {
        let [rows, ledger] = piece.objects.as_slice() else { return Ok(()) };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).add(run, [rows, ledger])
    }

    fn summary(&self, _missing: &[Piece]) -> Option<String> {
        None
    }
}

/// Draws of a part.
fn draws_in(part: &[ImageDraws]) -> usize {
    part.iter().map(|image| image.draws.len()).sum()
}

/// The gradient of a part, of which `of` gives that of an image at its draws: the mean over all draws.
pub fn mean_over_draws(
    part: &[ImageDraws],
    mut of: impl FnMut(&ImageDraws) -> Result<Vec<f32>>,
) -> Result<Vec<f32>> {
    if let [image] = part {
        return of(image);
    }
    let draws: usize = part.iter().map(|image| image.draws.len()).sum();
    let mut sum: Vec<f64> = Vec::new();
    for image in part {
        let share = image.draws.len() as f64 / draws as f64;
        let values = of(image)?;
        sum.resize(values.len(), 0.0);
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += share * f64::from(value));
    }
    Ok(sum.into_iter().map(|value| value as f32).collect())
}
