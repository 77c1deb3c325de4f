//! The curvature of a network, in the run.
//!
//! It is a sum over images, made in [`SHARDS`] parts of consecutive images that are added up in order. The run has the sum of
//! the parts that are finished and, of the one that is made, what is there; so the result has the same bytes whatever
//! happened on the way.

use crate::progress::{Progress, say};
use crate::recipe::Eigenvalues;
use crate::stages::gradients::{Subject, noise_id, unless_damaged};
use crate::stages::train::open_member;
use crate::stages::workspace::Workspace;
use anyhow::{Context, Result};
use pentimento_attribution::curvature::{
    BlockBasis, Curvature, CurvaturePart, CurvaturePass, EigenvalueSums, FactorSums, ImageRecords, bases,
    curvature_draws, read_bases, write_bases,
};
use pentimento_attribution::gradient::side_by_side;
use pentimento_diffusion::NUMERICS_VERSION;
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_diffusion::device::chosen_device_kind;
use pentimento_store::Fingerprint;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Parts of the sums.
const SHARDS: usize = 8;

/// What sums say of themselves: how many shards are in the total, and which unit of which shard is next.
const FINISHED_SHARDS: &str = "shards";
const UNITS_OF_SHARD: &str = "next_unit";
/// Units of a shard are counted from so many times its number.
const SHARD_OF_UNITS: usize = 1 << 40;

/// The share of the time that may go into writing what a kill would lose.
const WRITING_SHARE: u32 = 20;

/// The curvature of one network.
pub struct MeasuredCurvature {
    /// The curvature.
    pub curvature: Curvature,
    /// The mean squared error over the draws at which it was measured.
    pub mean_loss: f64,
    /// Images on which it was measured.
    pub images: usize,
    /// Images that the network was trained on.
    pub seen: usize,
    /// What it follows from.
    pub identity: Fingerprint,
}

/// Sums of either kind.
enum Sums<'a> {
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

/// One network whose curvature is measured.
struct Measurement<'a> {
    subject: &'a Subject<'a>,
    network: usize,
    /// Positions of its images among the training images.
    images: Vec<usize>,
    /// Images that the network was trained on.
    seen: usize,
    identity: Fingerprint,
    folder: String,
}

/// The curvature of a network of the run; made, if it is not there.
///
/// # Errors
///
/// [`Stopped`](crate::error::ProgramError::Stopped) on Ctrl-C, what was summed is kept; as measuring and writing.
pub fn curvature(subject: &Subject<'_>, network: usize) -> Result<MeasuredCurvature> {
    Measurement::new(subject, network)?.curvature()
}

impl<'a> Measurement<'a> {
    fn new(subject: &'a Subject<'a>, network: usize) -> Result<Self> {
        let recipe = &subject.workspace.recipe;
        let seen: Vec<usize> =
            (0..subject.training.images.len()).filter(|&image| subject.saw(network, image)).collect();
        let count = recipe.influence.images.min(seen.len());
        let images: Vec<usize> = (0..count).map(|index| seen[index * seen.len() / count]).collect();
        let keys: Vec<u8> = images.iter().flat_map(|&image| subject.image_key(image)).collect();
        let identity = Fingerprint::of("curvature")
            .text(&subject.architecture.config().to_json())
            .bytes(subject.networks[network].1.as_bytes())
            .json(&recipe.schedule)?
            .json(&(recipe.influence.draws, recipe.influence.sharing, recipe.seed))?
            .bytes(&keys)
            .bytes(&NUMERICS_VERSION.to_le_bytes())
            .text(&format!("{:?}", chosen_device_kind()))
            .finish();
        let digest = identity.to_string();
        let folder = format!("curvature/{}", &digest[..16.min(digest.len())]);
        Ok(Self { subject, network, images, seen: seen.len(), identity, folder })
    }

    fn workspace(&self) -> &'a Workspace {
        self.subject.workspace
    }

    fn curvature(&self) -> Result<MeasuredCurvature> {
        let (bases, mean_loss) = self.bases()?;
        let (images, identity) = (self.images.len(), self.identity);
        let curvature = match self.workspace().recipe.influence.eigenvalues {
            Eigenvalues::Kronecker => Curvature::kronecker(bases),
            Eigenvalues::Corrected => {
                let sums = self.eigenvalues(&bases)?;
                Curvature::corrected(bases, &sums)?
            }
        };
        Ok(MeasuredCurvature { curvature, mean_loss, images, seen: self.seen, identity })
    }

    /// Eigenvectors of the factors, and the mean loss over the draws that they are of.
    fn bases(&self) -> Result<(Vec<BlockBasis>, f64)> {
        let architecture = &self.subject.architecture;
        let name = format!("{}/bases.safetensors", self.folder);
        if let Some(bytes) = kept(self.workspace(), &name, self.identity)? {
            self.remove_sums(CurvaturePart::Factors)?;
            let arrays = ArrayReader::new(&bytes, &name)?;
            let loss = arrays.f64("mean_loss")?.first().copied().context("a loss was written")?;
            return Ok((read_bases(architecture, &arrays)?, loss));
        }
        let sharing = self.workspace().recipe.influence.sharing;
        let sums = self.sum(
            CurvaturePart::Factors,
            || Sums::Factors(FactorSums::new(architecture, sharing)),
            |arrays| Ok(Sums::Factors(FactorSums::read(architecture, sharing, arrays)?)),
        )?;
        let Sums::Factors(sums) = sums else { anyhow::bail!("sums of another kind") };
        say("decomposing the factors");
        let loss = sums.mean_loss();
        let bases = bases(sums)?;
        let mut arrays = ArrayWriter::default();
        write_bases(&bases, &mut arrays);
        arrays.put_f64("mean_loss", &[1], &[loss]);
        self.keep(&name, &arrays, CurvaturePart::Factors)?;
        Ok((bases, loss))
    }

    fn eigenvalues(&self, bases: &[BlockBasis]) -> Result<EigenvalueSums> {
        let name = format!("{}/eigenvalues.safetensors", self.folder);
        if let Some(bytes) = kept(self.workspace(), &name, self.identity)? {
            self.remove_sums(CurvaturePart::Eigenvalues)?;
            return Ok(EigenvalueSums::read(bases, self.planned_draws(), &ArrayReader::new(&bytes, &name)?)?);
        }
        let planned = self.planned_draws();
        let sums = self.sum(
            CurvaturePart::Eigenvalues,
            || Sums::Eigenvalues(bases, EigenvalueSums::new(bases, planned)),
            |arrays| Ok(Sums::Eigenvalues(bases, EigenvalueSums::read(bases, planned, arrays)?)),
        )?;
        self.keep(&name, &sums.to_arrays(), CurvaturePart::Eigenvalues)?;
        let Sums::Eigenvalues(_, sums) = sums else { anyhow::bail!("sums of another kind") };
        Ok(sums)
    }

    /// Draws over all images for one part.
    fn planned_draws(&self) -> u64 {
        (self.images.len() * (self.workspace().recipe.influence.draws / 2)) as u64
    }

    /// Writes a result, then removes the sums that it was made from.
    fn keep(&self, name: &str, arrays: &ArrayWriter, part: CurvaturePart) -> Result<()> {
        let run = &self.workspace().run;
        run.put(name, self.identity, &arrays.to_bytes(name, None)?)?;
        self.remove_sums(part)
    }

    /// Removes the sums of a part, which a kill may have left beside its result.
    fn remove_sums(&self, part: CurvaturePart) -> Result<()> {
        for name in [self.total_name(part), self.shard_name(part)] {
            self.workspace().run.remove(&name)?;
        }
        Ok(())
    }

    /// The sum of finished shards.
    fn total_name(&self, part: CurvaturePart) -> String {
        format!("{}/{}-total.safetensors", self.folder, word(part))
    }

    /// What is there of the shard that is made.
    fn shard_name(&self, part: CurvaturePart) -> String {
        format!("{}/{}-shard.safetensors", self.folder, word(part))
    }

    fn shard_images(&self, shard: usize) -> Range<usize> {
        let at = |shard: usize| shard * self.images.len() / SHARDS;
        at(shard)..at(shard + 1)
    }

    /// The sums over all images.
    fn sum<'s>(
        &self,
        part: CurvaturePart,
        new: impl Fn() -> Sums<'s>,
        read: impl Fn(&ArrayReader<'_>) -> Result<Sums<'s>>,
    ) -> Result<Sums<'s>> {
        let subject = self.subject;
        let recipe = &subject.workspace.recipe;
        let network = &subject.networks[self.network];
        let parameters = open_member(subject.workspace, &subject.architecture, &network.0)?;
        let pass = CurvaturePass::new(&subject.architecture, parameters, &recipe.schedule, subject.size);
        let progress = Progress::new(word(part), self.images.len() as u64, 0);
        let run = &self.workspace().run;
        let (total_name, shard_name) = (self.total_name(part), self.shard_name(part));
        loop {
            // Not held while a shard is made: the sums of a large network take gigabytes.
            let total = self.read_sums(&total_name, FINISHED_SHARDS, &read)?;
            let shard = match total {
                Some((finished, total)) if finished == SHARDS => {
                    let draws = recipe.influence.draws / 2;
                    progress.finish(&format!("{} images, {draws} draws of each", self.images.len()));
                    return Ok(total);
                }
                Some((finished, _)) => finished,
                None => 0,
            };
            let found = self.read_sums(&shard_name, UNITS_OF_SHARD, &read)?;
            // What is there of another shard is left from a kill between two writes: it is in the total already.
            let (unit, sums) = match found {
                Some((units, sums)) if units / SHARD_OF_UNITS == shard => (units % SHARD_OF_UNITS, sums),
                _ => (0, new()),
            };
            let sums = self.sum_shard(&pass, (part, shard), unit, sums, &progress)?;
            let total = match self.read_sums(&total_name, FINISHED_SHARDS, &read)? {
                Some((_, mut total)) => {
                    total.merge(&sums)?;
                    total
                }
                None => sums,
            };
            let metadata = (FINISHED_SHARDS, &*(shard + 1).to_string());
            let bytes = total.to_arrays().to_bytes(&total_name, Some(metadata))?;
            drop(total);
            run.put(&total_name, self.identity, &bytes)?;
            run.remove(&shard_name)?;
        }
    }

    /// Sums in the run, with the number that they say of themselves.
    fn read_sums<'s>(
        &self,
        name: &str,
        number: &str,
        read: impl Fn(&ArrayReader<'_>) -> Result<Sums<'s>>,
    ) -> Result<Option<(usize, Sums<'s>)>> {
        let Some(bytes) = kept(self.workspace(), name, self.identity)? else { return Ok(None) };
        let arrays = ArrayReader::new(&bytes, name)?;
        let count = arrays.metadata(number).and_then(|text| text.parse().ok());
        let count = count.ok_or_else(|| arrays.broken("looks", format!("does not say `{number}`")))?;
        Ok(Some((count, read(&arrays)?)))
    }

    /// The sums of a shard, from a unit on.
    fn sum_shard<'s>(
        &self,
        pass: &CurvaturePass<'_>,
        (part, shard): (CurvaturePart, usize),
        mut unit: usize,
        mut sums: Sums<'s>,
        progress: &Progress,
    ) -> Result<Sums<'s>> {
        let subject = self.subject;
        let workspace = self.workspace();
        let recipe = &workspace.recipe;
        let range = self.shard_images(shard);
        let name = self.shard_name(part);
        let save = |sums: &Sums<'_>, unit: usize| -> Result<()> {
            let metadata = (UNITS_OF_SHARD, &*(shard * SHARD_OF_UNITS + unit).to_string());
            let bytes = sums.to_arrays().to_bytes(&name, Some(metadata))?;
            Ok(workspace.run.put(&name, self.identity, &bytes)?)
        };
        let (mut written, mut writing) = (Instant::now(), Duration::ZERO);
        let due = |writing: Duration| workspace.options.checkpoint_every.max(writing * WRITING_SHARE);
        // Units are images, in parts if all draws of one do not pass at once. As many as there are threads are worked on at
        // a time; they are added one after another.
        let draws_of_image = recipe.influence.draws / 2;
        let parts = draws_of_image.div_ceil(pass.draws_at_once());
        let (at_once, units) = (rayon::current_num_threads().max(1), range.len() * parts);
        while unit < units {
            let stopped = workspace.stop.check();
            if stopped.is_err() || written.elapsed() >= due(writing) {
                let began = Instant::now();
                save(&sums, unit)?;
                stopped?;
                (writing, written) = (began.elapsed(), Instant::now());
            }
            let count = at_once.min(units - unit);
            let records = side_by_side(count, |index| {
                let (place, part_of_image) = ((unit + index) / parts, (unit + index) % parts);
                let image = self.images[range.start + place];
                let (key, class) = (subject.image_key(image), subject.class_of(image));
                let values = subject.training.images.scaled(image);
                let draws = curvature_draws(
                    &recipe.schedule,
                    recipe.seed,
                    part,
                    draws_of_image,
                    noise_id(&key),
                    values.len(),
                );
                let first = part_of_image * pass.draws_at_once();
                let draws = &draws[first..draws.len().min(first + pass.draws_at_once())];
                let name = format!("{} of the training set", subject.training.images.source_indices()[image]);
                pass.records(&values, class, draws, &name)
            })?;
            sums.add(&records)?;
            unit += count;
            progress.set((range.start + unit / parts) as u64, "images");
        }
        Ok(sums)
    }
}

/// The bytes of an object that need not be made again. One that is damaged is, and that is said.
pub fn kept(workspace: &Workspace, name: &str, made_from: Fingerprint) -> Result<Option<Vec<u8>>> {
    let run = &workspace.run;
    if !run.is_current(name, made_from) {
        return Ok(None);
    }
    let bytes = unless_damaged(run.get(name))?;
    if bytes.is_none() {
        say(&format!("warning: {name} is damaged: it is made again"));
        run.remove(name)?;
    }
    Ok(bytes)
}

fn word(part: CurvaturePart) -> &'static str {
    match part {
        CurvaturePart::Factors => "factors",
        CurvaturePart::Eigenvalues => "eigenvalues",
    }
}
