//! The sums over images from which a curvature follows, made in [`SHARDS`] shards of consecutive images that are added up in their
//! order. So the result has the same bytes whichever machine makes which shard, and whatever happens on the way.

use super::curvature_store::Measurement;
use super::forecast::twice;
use crate::error::Result;
use crate::event::Progress;
use crate::gradients::noise_id;
use crate::kept::{kept, kept_in};
use crate::piece::{Making, Object, Piece, Stage};
use once_cell::sync::OnceCell;
use pentimento_attribution::curvature::{
    BlockBasis, CurvaturePart, CurvaturePass, EigenvalueSums, FactorSums, ImageRecords, curvature_draws,
};
use pentimento_attribution::gradient::side_by_side;
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_store::{Fingerprint, Run};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Parts of the sums.
pub(super) const SHARDS: usize = 8;

/// What the sums of an unfinished shard say of themselves: which unit is next.
const NEXT_UNIT: &str = "next_unit";

/// The share of the time that may go into writing what a kill would lose.
const WRITING_SHARE: u32 = 20;

/// Sums of either kind.
pub(super) enum Sums<'a> {
    Factors(FactorSums),
    Eigenvalues(&'a [BlockBasis], EigenvalueSums),
}

impl Sums<'_> {
    fn add(&mut self, images: &[ImageRecords]) -> Result<()> {
        match self {
            Self::Factors(sums) => sums.add(images)?,
            Self::Eigenvalues(bases, sums) => sums.add(bases, images)?,
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        match (self, other) {
            (Self::Factors(sums), Self::Factors(other)) => sums.merge(other)?,
            (Self::Eigenvalues(_, sums), Self::Eigenvalues(_, other)) => sums.merge(other),
            // Both come from one measurement.
            _ => {}
        }
        Ok(())
    }

    fn to_arrays(&self) -> ArrayWriter {
        let mut arrays = ArrayWriter::default();
        match self {
            Self::Factors(sums) => sums.write(&mut arrays),
            Self::Eigenvalues(bases, sums) => sums.write(bases, &mut arrays),
        }
        arrays
    }
}

/// The stage that sums one part of a curvature over images: a piece is a shard of consecutive images. Shards are added up in
/// their order, each as soon as those before it are in the total, and are then removed.
pub struct Summing<'a> {
    pub(super) measurement: &'a Measurement<'a>,
    part: CurvaturePart,
    /// For eigenvalues: the directions in which they are measured.
    bases: &'a [BlockBasis],
    pass: OnceCell<CurvaturePass<'a>>,
}

impl<'a> Summing<'a> {
    /// Sums the factors.
    pub(super) fn factors(measurement: &'a Measurement<'a>) -> Self {
        Self { measurement, part: CurvaturePart::Factors, bases: &[], pass: OnceCell::new() }
    }

    /// Sums the eigenvalues in the directions of the factors.
    pub(super) fn eigenvalues(measurement: &'a Measurement<'a>, bases: &'a [BlockBasis]) -> Self {
        Self { measurement, part: CurvaturePart::Eigenvalues, bases, pass: OnceCell::new() }
    }

    /// The total of all shards, if it is there.
    pub(super) fn total(&self) -> Result<Option<Sums<'a>>> {
        let name = self.total_name();
        let Some(bytes) = kept(self.measurement.workspace(), &name, self.total_key(SHARDS)?)? else {
            return Ok(None);
        };
        Ok(Some(self.read_sums(&ArrayReader::new(&bytes, &name)?)?))
    }

    fn shard_images(&self, shard: usize) -> Range<usize> {
        let at = |shard: usize| shard * self.measurement.images.len() / SHARDS;
        at(shard)..at(shard + 1)
    }

    fn new_sums(&self) -> Sums<'a> {
        let Measurement { subject, .. } = self.measurement;
        match self.part {
            CurvaturePart::Factors => {
                let sharing = subject.workspace.recipe.influence.sharing;
                Sums::Factors(FactorSums::new(&subject.networks.architecture, sharing))
            }
            CurvaturePart::Eigenvalues => {
                let planned = self.measurement.planned_draws();
                Sums::Eigenvalues(self.bases, EigenvalueSums::new(self.bases, planned))
            }
        }
    }

    fn read_sums(&self, arrays: &ArrayReader<'_>) -> Result<Sums<'a>> {
        let Measurement { subject, .. } = self.measurement;
        Ok(match self.part {
            CurvaturePart::Factors => {
                let sharing = subject.workspace.recipe.influence.sharing;
                Sums::Factors(FactorSums::read(&subject.networks.architecture, sharing, arrays)?)
            }
            CurvaturePart::Eigenvalues => {
                let planned = self.measurement.planned_draws();
                Sums::Eigenvalues(self.bases, EigenvalueSums::read(self.bases, planned, arrays)?)
            }
        })
    }

    /// Removes the sums, which a kill may have left beside their result.
    pub(super) fn remove_sums(&self) -> Result<()> {
        let run = &self.measurement.workspace().run;
        if run.is_read_only() {
            return Ok(());
        }
        let prefix = format!("{}/{}-", self.measurement.folder, word(self.part));
        for name in run.names().into_iter().filter(|name| name.starts_with(&prefix)) {
            run.remove(&name)?;
        }
        Ok(())
    }

    /// The sum of the first shards.
    pub(super) fn total_name(&self) -> String {
        format!("{}/{}-total.safetensors", self.measurement.folder, word(self.part))
    }

    fn shard_name(&self, shard: usize) -> String {
        format!("{}/{}-{shard}.safetensors", self.measurement.folder, word(self.part))
    }

    /// What is there of a shard that is made.
    fn state_name(&self, shard: usize) -> String {
        format!("{}/{}-{shard}-unfinished.safetensors", self.measurement.folder, word(self.part))
    }

    fn key(&self, label: &str, number: usize) -> Result<Fingerprint> {
        let builder = Fingerprint::of(label).fingerprint(self.measurement.identity);
        Ok(builder.text(word(self.part)).json(&number)?.finish())
    }

    fn total_key(&self, shards: usize) -> Result<Fingerprint> {
        self.key("curvature total", shards)
    }

    /// How many shards the total in a run has.
    pub(super) fn finished(&self, run: &Run) -> Result<usize> {
        let name = self.total_name();
        for shards in (1..=SHARDS).rev() {
            if run.is_current(&name, self.total_key(shards)?) {
                return Ok(shards);
            }
        }
        Ok(0)
    }

    /// The total of the eigenvalues is their result.
    fn finish_eigenvalues(&self) -> Result<()> {
        let (run, name) = (&self.measurement.workspace().run, self.measurement.eigenvalues_name());
        if run.is_current(&name, self.measurement.identity) {
            return Ok(());
        }
        if let Some(sums) = self.total()? {
            run.put(&name, self.measurement.identity, &sums.to_arrays().to_bytes(&name, None)?)?;
            self.remove_sums()?;
        }
        Ok(())
    }

    fn pass(&self) -> Result<&CurvaturePass<'a>> {
        let Measurement { subject, network, .. } = self.measurement;
        self.pass.get_or_try_init(|| {
            let weights = &subject.networks.weights[*network];
            let parameters = subject.networks.parameters(subject.workspace, weights)?;
            let schedule = &subject.workspace.recipe.schedule;
            Ok(CurvaturePass::new(
                &subject.networks.architecture,
                parameters,
                schedule,
                subject.networks.size,
            ))
        })
    }

    /// Passes in which all draws of an image go through the network.
    fn parts_of_image(&self) -> Result<usize> {
        let draws = self.measurement.workspace().recipe.influence.draws / 2;
        Ok(draws.div_ceil(self.pass()?.draws_at_once()))
    }

    /// What layers see of an image, by its place among those of the curvature, in a part of its draws.
    fn records(&self, place: usize, part_of_image: usize) -> Result<ImageRecords> {
        let Measurement { subject, images, .. } = self.measurement;
        let (recipe, pass) = (&subject.workspace.recipe, self.pass()?);
        let image = images[place];
        let (key, condition) = (subject.image_key(image), subject.condition_of(image, 0));
        let values = subject.training.input(image);
        let draws = curvature_draws(
            &recipe.schedule,
            recipe.seed,
            self.part,
            recipe.influence.draws / 2,
            noise_id(&key),
            values.len(),
        );
        let first = part_of_image * pass.draws_at_once();
        let draws = &draws[first..draws.len().min(first + pass.draws_at_once())];
        let name = format!("{} of the training set", subject.training.images.source_indices()[image]);
        Ok(pass.records(&values, condition, draws, &name)?)
    }

    /// Seconds that an image takes, measured on the first ones, as many as there are threads.
    ///
    /// # Errors
    ///
    /// As summing.
    pub(super) fn seconds_per_image(&self) -> Result<f64> {
        let count = rayon::current_num_threads().clamp(1, self.measurement.images.len().max(1));
        let mut sums = self.new_sums();
        let seconds = twice(|| -> Result<()> {
            self.measurement.workspace().options.stop.check()?;
            sums.add(&side_by_side(count, |place| self.records(place, 0))?)
        })?;
        Ok(seconds * self.parts_of_image()? as f64 / count as f64)
    }

    /// The sums of a shard, from a unit on.
    fn sum_shard(
        &self,
        piece: &Piece,
        making: &Making<'_>,
        mut unit: usize,
        mut sums: Sums<'a>,
    ) -> Result<Sums<'a>> {
        let workspace = self.measurement.subject.workspace;
        let range = self.shard_images(piece.number);
        let name = self.state_name(piece.number);
        let save = |sums: &Sums<'_>, unit: usize| -> Result<()> {
            let bytes = sums.to_arrays().to_bytes(&name, Some((NEXT_UNIT, &*unit.to_string())))?;
            Ok(making.run.put(&name, piece.made_from, &bytes)?)
        };
        let (mut written, mut writing) = (Instant::now(), Duration::ZERO);
        let due = |writing: Duration| workspace.options.checkpoint_every.max(writing * WRITING_SHARE);
        // Units are images, in parts if all draws of one do not pass at once. As many as there are threads are worked on at
        // a time; they are added one after another.
        let parts = self.parts_of_image()?;
        let (at_once, units) = (rayon::current_num_threads().max(1), range.len() * parts);
        while unit < units {
            let stopped = workspace.options.stop.check();
            if stopped.is_err() || written.elapsed() >= due(writing) {
                let began = Instant::now();
                save(&sums, unit)?;
                stopped?;
                (writing, written) = (began.elapsed(), Instant::now());
            }
            let count = at_once.min(units - unit);
            let records = side_by_side(count, |index| {
                self.records(range.start + (unit + index) / parts, (unit + index) % parts)
            })?;
            sums.add(&records)?;
            unit += count;
            making.progress.set((range.start + unit / parts) as u64, "images");
        }
        Ok(sums)
    }
}

impl Stage for Summing<'_> {
    fn name(&self) -> &str {
        match self.part {
            CurvaturePart::Factors => &self.measurement.names[0],
            CurvaturePart::Eigenvalues => &self.measurement.names[1],
        }
    }

    fn cost_name(&self) -> &str {
        word(self.part)
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let piece = |shard| {
            Ok(Piece {
                stage: self.name().into(),
                number: shard,
                objects: vec![self.shard_name(shard)],
                made_from: self.key("curvature shard", shard)?,
            })
        };
        (0..SHARDS).map(piece).collect()
    }

    fn is_there(&self, piece: &Piece, run: &Run) -> bool {
        let result = match self.part {
            CurvaturePart::Factors => self.measurement.bases_name(),
            CurvaturePart::Eigenvalues => self.measurement.eigenvalues_name(),
        };
        piece.is_in(run)
            || run.is_current(&result, self.measurement.identity)
            || self.finished(run).is_ok_and(|finished| finished > piece.number)
    }

    fn begin(&self, _run: &Run, _all: usize, _missing: &[Piece]) -> Result<Progress> {
        let images = self.measurement.images.len() as u64;
        Ok(self.measurement.workspace().reporter().begin(
            &self.measurement.work_on(word(self.part)),
            images,
            0,
        ))
    }

    fn make(&self, piece: &Piece, making: &mut Making<'_>) -> Result<Vec<Object>> {
        let state = self.state_name(piece.number);
        let before =
            match kept_in(making.run, self.measurement.workspace().reporter(), &state, piece.made_from)? {
                Some(bytes) => {
                    let arrays = ArrayReader::new(&bytes, &state)?;
                    let unit = arrays.metadata(NEXT_UNIT).and_then(|text| text.parse().ok());
                    let unit =
                        unit.ok_or_else(|| arrays.broken("sums", format!("does not say `{NEXT_UNIT}`")))?;
                    Some((unit, self.read_sums(&arrays)?))
                }
                None => None,
            };
        let (unit, sums) = before.unwrap_or_else(|| (0, self.new_sums()));
        let sums = self.sum_shard(piece, making, unit, sums)?;
        let name = self.shard_name(piece.number);
        let bytes = sums.to_arrays().to_bytes(&name, None)?;
        Ok(vec![(name, bytes)])
    }

    fn stored(&self, piece: &Piece, run: &Run) -> Result<()> {
        run.remove(&self.state_name(piece.number))?;
        Ok(())
    }

    fn result(&self) -> Option<(String, Fingerprint)> {
        match self.part {
            // Their decomposition is a piece.
            CurvaturePart::Factors => None,
            CurvaturePart::Eigenvalues => {
                Some((self.measurement.eigenvalues_name(), self.measurement.identity))
            }
        }
    }

    fn merge(&self) -> Result<()> {
        let workspace = self.measurement.workspace();
        let run = &workspace.run;
        let mut finished = self.finished(run)?;
        // What lies beside a total that has it already is left from a kill.
        for shard in 0..finished {
            run.remove(&self.shard_name(shard))?;
        }
        let total_name = self.total_name();
        let mut total = None;
        while finished < SHARDS {
            let name = self.shard_name(finished);
            let key = self.key("curvature shard", finished)?;
            let Some(bytes) = kept(workspace, &name, key)? else { break };
            let shard = self.read_sums(&ArrayReader::new(&bytes, &name)?)?;
            drop(bytes);
            if total.is_none() && finished > 0 {
                match kept(workspace, &total_name, self.total_key(finished)?)? {
                    Some(bytes) => total = Some(self.read_sums(&ArrayReader::new(&bytes, &total_name)?)?),
                    // Damaged, and gone now: the sum begins anew.
                    None => return self.merge(),
                }
            }
            let sum = match total.take() {
                Some(mut sum) => {
                    sum.merge(&shard)?;
                    sum
                }
                None => shard,
            };
            let bytes = sum.to_arrays().to_bytes(&total_name, None)?;
            run.put(&total_name, self.total_key(finished + 1)?, &bytes)?;
            run.remove(&name)?;
            total = Some(sum);
            finished += 1;
        }
        if self.part == CurvaturePart::Eigenvalues && finished == SHARDS {
            self.finish_eigenvalues()?;
        }
        Ok(())
    }

    fn summary(&self, _missing: &[Piece]) -> Option<String> {
        let draws = self.measurement.workspace().recipe.influence.draws / 2;
        Some(format!("{} images, {draws} draws of each", self.measurement.images.len()))
    }
}

fn word(part: CurvaturePart) -> &'static str {
    match part {
        CurvaturePart::Factors => "factors",
        CurvaturePart::Eigenvalues => "eigenvalues",
    }
}
