//! The curvature of a network, in the run.
//!
//! It is a sum over images, made in [`SHARDS`] parts of consecutive images that are added up in order. A part that was
//! interrupted goes on where it was, and a finished one is kept until all are there; so the result has the same bytes
//! whatever happened on the way.

use crate::progress::{Progress, say};
use crate::recipe::Eigenvalues;
use crate::stages::gradients::{Subject, noise_id, unless_damaged};
use crate::stages::train::open_member;
use crate::stages::workspace::Workspace;
use anyhow::{Context, Result};
use pentimento_attribution::curvature::{
    BlockBasis, Curvature, CurvaturePart, CurvaturePass, EigenvalueSums, FactorSums, ImageRecords, bases,
    curvature_looks, read_bases, write_bases,
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

/// The share of the time that may go into writing what a kill would lose.
const WRITING_SHARE: u32 = 20;

/// The curvature of one network.
pub struct MeasuredCurvature {
    /// The curvature.
    pub curvature: Curvature,
    /// The mean squared error over the looks at which it was measured.
    pub mean_loss: f64,
    /// Images on which it was measured.
    pub images: usize,
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
        Ok(Self { subject, network, images, identity, folder })
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
        Ok(MeasuredCurvature { curvature, mean_loss, images, identity })
    }

    /// Eigenvectors of the factors, and the mean loss of the looks that they are of.
    fn bases(&self) -> Result<(Vec<BlockBasis>, f64)> {
        let architecture = &self.subject.architecture;
        let name = format!("{}/bases.safetensors", self.folder);
        if let Some(bytes) = self.finished(&name)? {
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
        if let Some(bytes) = self.finished(&name)? {
            return Ok(EigenvalueSums::read(bases, &ArrayReader::new(&bytes, &name)?)?);
        }
        let sums = self.sum(
            CurvaturePart::Eigenvalues,
            || Sums::Eigenvalues(bases, EigenvalueSums::new(bases)),
            |arrays| Ok(Sums::Eigenvalues(bases, EigenvalueSums::read(bases, arrays)?)),
        )?;
        self.keep(&name, &sums.to_arrays(), CurvaturePart::Eigenvalues)?;
        let Sums::Eigenvalues(_, sums) = sums else { anyhow::bail!("sums of another kind") };
        Ok(sums)
    }

    /// The bytes of an object that need not be made again. One that is damaged is, and that is said.
    fn finished(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let run = &self.workspace().run;
        if !run.is_current(name, self.identity) {
            return Ok(None);
        }
        let bytes = unless_damaged(run.get(name))?;
        if bytes.is_none() {
            say(&format!("warning: {name} is damaged: it is made again"));
            run.remove(name)?;
        }
        Ok(bytes)
    }

    /// Writes a result, then removes the parts that it was made from.
    fn keep(&self, name: &str, arrays: &ArrayWriter, part: CurvaturePart) -> Result<()> {
        let run = &self.workspace().run;
        run.put(name, self.identity, &arrays.to_bytes(name, None)?)?;
        for shard in 0..SHARDS {
            run.remove(&self.shard_name(part, shard))?;
        }
        Ok(())
    }

    fn shard_name(&self, part: CurvaturePart, shard: usize) -> String {
        let what = match part {
            CurvaturePart::Factors => "factors",
            CurvaturePart::Eigenvalues => "eigenvalues",
        };
        format!("{}/{what}-{shard}.safetensors", self.folder)
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
        let what = match part {
            CurvaturePart::Factors => "factors",
            CurvaturePart::Eigenvalues => "eigenvalues",
        };
        let progress = Progress::new(what, self.images.len() as u64, 0);
        for shard in 0..SHARDS {
            let range = self.shard_images(shard);
            match self.read_shard(part, shard, &read)? {
                Some((done, _)) if done == range.len() => {}
                Some((done, sums)) => self.sum_shard(&pass, part, shard, done, sums, &progress)?,
                None => self.sum_shard(&pass, part, shard, 0, new(), &progress)?,
            }
        }
        let mut total: Option<Sums<'s>> = None;
        for shard in 0..SHARDS {
            let (_, sums) = self.read_shard(part, shard, &read)?.context("a shard that was just made")?;
            match &mut total {
                Some(total) => total.merge(&sums)?,
                None => total = Some(sums),
            }
        }
        progress.finish(&format!(
            "{} images, {} looks at each",
            self.images.len(),
            recipe.influence.draws / 2
        ));
        total.context("there are shards")
    }

    /// A shard as far as it was made: how many of its images, and their sums.
    fn read_shard<'s>(
        &self,
        part: CurvaturePart,
        shard: usize,
        read: impl Fn(&ArrayReader<'_>) -> Result<Sums<'s>>,
    ) -> Result<Option<(usize, Sums<'s>)>> {
        let name = self.shard_name(part, shard);
        let Some(bytes) = self.finished(&name)? else { return Ok(None) };
        let arrays = ArrayReader::new(&bytes, &name)?;
        let done = arrays.metadata("images").and_then(|text| text.parse().ok());
        let done = done.ok_or_else(|| arrays.broken("looks", "does not say of how many images".into()))?;
        Ok(Some((done, read(&arrays)?)))
    }

    fn sum_shard(
        &self,
        pass: &CurvaturePass<'_>,
        part: CurvaturePart,
        shard: usize,
        done: usize,
        mut sums: Sums<'_>,
        progress: &Progress,
    ) -> Result<()> {
        let subject = self.subject;
        let workspace = self.workspace();
        let range = self.shard_images(shard);
        let name = self.shard_name(part, shard);
        let save = |sums: &Sums<'_>, done: usize| -> Result<()> {
            let bytes = sums.to_arrays().to_bytes(&name, Some(("images", &done.to_string())))?;
            Ok(workspace.run.put(&name, self.identity, &bytes)?)
        };
        let (mut written, mut writing) = (Instant::now(), Duration::ZERO);
        let due = |writing: Duration| workspace.options.checkpoint_every.max(writing * WRITING_SHARE);
        // Units are images, in parts if all looks at one do not pass at once. As many as there are threads are worked on at
        // a time; they are added one after another.
        let recipe = &workspace.recipe;
        let looks_of_image = recipe.influence.draws / 2;
        let parts = looks_of_image.div_ceil(pass.looks_at_once());
        let (at_once, units) = (rayon::current_num_threads().max(1), range.len() * parts);
        let mut unit = done * parts;
        while unit < units {
            // Half an image is not kept, so nothing stops within one.
            if unit.is_multiple_of(parts) {
                let stopped = workspace.stop.check();
                if stopped.is_err() || written.elapsed() >= due(writing) {
                    let began = Instant::now();
                    save(&sums, unit / parts)?;
                    stopped?;
                    (writing, written) = (began.elapsed(), Instant::now());
                }
            }
            let count = match parts < at_once {
                true => at_once / parts * parts,
                false => at_once.min(parts - unit % parts),
            };
            let count = count.min(units - unit);
            let records = side_by_side(count, |index| {
                let (place, part_of_image) = ((unit + index) / parts, (unit + index) % parts);
                let image = self.images[range.start + place];
                let (key, class) = (subject.image_key(image), subject.class_of(image));
                let values = subject.training.images.scaled(image);
                let looks = curvature_looks(
                    &recipe.schedule,
                    recipe.seed,
                    part,
                    looks_of_image,
                    noise_id(&key),
                    values.len(),
                );
                let first = part_of_image * pass.looks_at_once();
                let looks = &looks[first..looks.len().min(first + pass.looks_at_once())];
                let name = format!("{} of the training set", subject.training.images.source_indices()[image]);
                pass.records(&values, class, looks, &name)
            })?;
            sums.add(&records)?;
            unit += count;
            progress.set((range.start + unit / parts) as u64, "images");
        }
        save(&sums, range.len())
    }
}
