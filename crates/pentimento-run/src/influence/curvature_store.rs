//! The curvature of a network, in the run.
//!
//! It is a sum over images, made in [`SHARDS`] shards of consecutive images that are added up in their order. So the result has
//! the same bytes whichever machine makes which shard, and whatever happens on the way.

use crate::drive::drive;
use crate::error::{MadeBy, Result, RunError};
use crate::event::{Event, Progress, Reporter};
use crate::gradients::{Subject, noise_id, unless_damaged};
use crate::piece::{Making, Object, Piece, Stage};
use crate::recipe::Eigenvalues;
use crate::workspace::Workspace;
use pentimento_attribution::curvature::{
    BlockBasis, Curvature, CurvaturePart, CurvaturePass, EigenvalueSums, FactorSums, ImageRecords, bases,
    curvature_draws, read_bases, write_bases,
};
use pentimento_attribution::gradient::side_by_side;
use pentimento_diffusion::NUMERICS_VERSION;
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_diffusion::device::chosen_device_kind;
use pentimento_store::{Fingerprint, Run};
use std::ops::Range;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Parts of the sums.
const SHARDS: usize = 8;

/// What the sums of an unfinished shard say of themselves: which unit is next.
const NEXT_UNIT: &str = "next_unit";

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
pub struct Measurement<'a> {
    subject: &'a Subject<'a>,
    network: usize,
    /// Positions of its images among the training images.
    images: Vec<usize>,
    /// Images that the network was trained on.
    seen: usize,
    identity: Fingerprint,
    folder: String,
    /// Names of the stages: factors, eigenvalues, decomposition.
    names: [String; 3],
}

/// The curvature of a network of the run; made, if it is not there.
///
/// # Errors
///
/// [`RunError::Stopped`] once it is asked to stop, what was summed is kept; as measuring and writing.
pub fn curvature(subject: &Subject<'_>, network: usize) -> Result<MeasuredCurvature> {
    Measurement::new(subject, network)?.curvature()
}

impl<'a> Measurement<'a> {
    /// What the curvature of a network follows from.
    ///
    /// # Errors
    ///
    /// If a setting has no JSON form.
    pub fn new(subject: &'a Subject<'a>, network: usize) -> Result<Self> {
        let recipe = &subject.workspace.recipe;
        let seen: Vec<usize> = (0..subject.training.images.len())
            .filter(|&image| subject.networks.saw(network, image))
            .collect();
        let count = recipe.influence.images.min(seen.len());
        let images: Vec<usize> = (0..count).map(|index| seen[index * seen.len() / count]).collect();
        let keys: Vec<u8> = images.iter().flat_map(|&image| subject.image_key(image)).collect();
        let identity = Fingerprint::of("curvature")
            .text(&subject.networks.architecture.config().to_json())
            .bytes(subject.networks.weights[network].digest.as_bytes())
            .json(&recipe.schedule)?
            .json(&(recipe.influence.draws, recipe.influence.sharing, recipe.seed))?
            .bytes(&keys)
            .bytes(&NUMERICS_VERSION.to_le_bytes())
            .text(&format!("{:?}", chosen_device_kind()))
            .finish();
        let digest = identity.to_string();
        let folder = format!("curvature/{}", &digest[..16.min(digest.len())]);
        let names =
            ["factors", "eigenvalues", "decomposition"].map(|what| format!("curvature/{network}/{what}"));
        Ok(Self { subject, network, images, seen: seen.len(), identity, folder, names })
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

    /// The curvature, if it is in the run.
    ///
    /// # Errors
    ///
    /// [`RunError::Missing`] if it is not.
    pub fn kept_curvature(&self) -> Result<MeasuredCurvature> {
        let run = &self.workspace().run;
        let corrected = self.workspace().recipe.influence.eigenvalues == Eigenvalues::Corrected;
        let is_there = |name: &str| run.is_current(name, self.identity);
        if !is_there(&self.bases_name()) || (corrected && !is_there(&self.eigenvalues_name())) {
            return Err(self.missing("curvature"));
        }
        self.curvature()
    }

    /// The failure of whoever needs a part of the curvature that is not there.
    pub fn missing(&self, what: &str) -> RunError {
        let method = Some("influence".to_owned());
        let what = format!("the {what} of network {}", self.network);
        self.workspace().missing(what, MadeBy::Scores { method, query: None })
    }

    /// The stage that sums the factors.
    pub fn factors(&self) -> Summing<'_> {
        Summing { measurement: self, part: CurvaturePart::Factors, bases: &[], pass: OnceLock::new() }
    }

    /// The stage that sums the eigenvalues in the directions of the factors.
    pub fn eigenvalues_in<'s>(&'s self, bases: &'s [BlockBasis]) -> Summing<'s> {
        Summing { measurement: self, part: CurvaturePart::Eigenvalues, bases, pass: OnceLock::new() }
    }

    /// The eigenvectors of the factors if they are there, and the mean loss over the draws that they are of.
    ///
    /// # Errors
    ///
    /// As reading the run.
    pub fn kept_bases(&self) -> Result<Option<(Vec<BlockBasis>, f64)>> {
        let name = self.bases_name();
        let Some(bytes) = kept(self.workspace(), &name, self.identity)? else { return Ok(None) };
        let arrays = ArrayReader::new(&bytes, &name)?;
        let loss = arrays.f64("mean_loss")?.first().copied();
        let loss = loss.ok_or_else(|| arrays.broken("mean_loss", "is empty".into()))?;
        Ok(Some((read_bases(&self.subject.networks.architecture, &arrays)?, loss)))
    }

    /// The stage that decomposes the factors, once all of them are summed.
    pub fn decomposition(&self) -> Decomposing<'_> {
        Decomposing { factors: self.factors() }
    }

    /// Eigenvectors of the factors, and the mean loss over the draws that they are of.
    fn bases(&self) -> Result<(Vec<BlockBasis>, f64)> {
        loop {
            if let Some(found) = self.kept_bases()? {
                self.factors().remove_sums()?;
                return Ok(found);
            }
            // Again, if something was damaged and is gone now.
            drive(self.workspace(), &self.factors())?;
            match drive(self.workspace(), &self.decomposition()) {
                Err(RunError::Missing { .. }) if self.factors().finished(&self.workspace().run)? < SHARDS => {
                }
                decomposed => decomposed?,
            }
        }
    }

    fn eigenvalues(&self, bases: &[BlockBasis]) -> Result<EigenvalueSums> {
        let (name, stage) = (self.eigenvalues_name(), self.eigenvalues_in(bases));
        loop {
            if let Some(bytes) = kept(self.workspace(), &name, self.identity)? {
                stage.remove_sums()?;
                let arrays = ArrayReader::new(&bytes, &name)?;
                return Ok(EigenvalueSums::read(bases, self.planned_draws(), &arrays)?);
            }
            drive(self.workspace(), &stage)?;
        }
    }

    fn bases_name(&self) -> String {
        format!("{}/bases.safetensors", self.folder)
    }

    fn eigenvalues_name(&self) -> String {
        format!("{}/eigenvalues.safetensors", self.folder)
    }

    /// Draws over all images for one part.
    fn planned_draws(&self) -> u64 {
        (self.images.len() * (self.workspace().recipe.influence.draws / 2)) as u64
    }

    fn shard_images(&self, shard: usize) -> Range<usize> {
        let at = |shard: usize| shard * self.images.len() / SHARDS;
        at(shard)..at(shard + 1)
    }
}

/// The stage that sums one part of a curvature over images: a piece is a shard of consecutive images. Shards are added up in
/// their order, each as soon as those before it are in the total, and are then removed.
pub struct Summing<'a> {
    measurement: &'a Measurement<'a>,
    part: CurvaturePart,
    /// For eigenvalues: the directions in which they are measured.
    bases: &'a [BlockBasis],
    pass: OnceLock<CurvaturePass<'a>>,
}

impl<'a> Summing<'a> {
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
    fn remove_sums(&self) -> Result<()> {
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
    fn total_name(&self) -> String {
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
    fn finished(&self, run: &Run) -> Result<usize> {
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
        let (workspace, name) = (self.measurement.workspace(), self.measurement.eigenvalues_name());
        let run = &workspace.run;
        if run.is_current(&name, self.measurement.identity) {
            return Ok(());
        }
        if let Some(bytes) = kept(workspace, &self.total_name(), self.total_key(SHARDS)?)? {
            let sums = self.read_sums(&ArrayReader::new(&bytes, &self.total_name())?)?;
            run.put(&name, self.measurement.identity, &sums.to_arrays().to_bytes(&name, None)?)?;
            self.remove_sums()?;
        }
        Ok(())
    }

    fn pass(&self) -> Result<&CurvaturePass<'a>> {
        if let Some(pass) = self.pass.get() {
            return Ok(pass);
        }
        let Measurement { subject, network, .. } = self.measurement;
        let (recipe, weights) = (&subject.workspace.recipe, &subject.networks.weights[*network]);
        let parameters = subject.networks.parameters(subject.workspace, weights)?;
        let pass = CurvaturePass::new(
            &subject.networks.architecture,
            parameters,
            &recipe.schedule,
            subject.networks.size,
        );
        Ok(self.pass.get_or_init(|| pass))
    }

    /// The sums of a shard, from a unit on.
    fn sum_shard(
        &self,
        piece: &Piece,
        making: &Making<'_>,
        mut unit: usize,
        mut sums: Sums<'a>,
    ) -> Result<Sums<'a>> {
        let Measurement { subject, images, .. } = self.measurement;
        let (workspace, part, pass) = (subject.workspace, self.part, self.pass()?);
        let recipe = &workspace.recipe;
        let range = self.measurement.shard_images(piece.number);
        let name = self.state_name(piece.number);
        let save = |sums: &Sums<'_>, unit: usize| -> Result<()> {
            let bytes = sums.to_arrays().to_bytes(&name, Some((NEXT_UNIT, &*unit.to_string())))?;
            Ok(making.run.put(&name, piece.made_from, &bytes)?)
        };
        let (mut written, mut writing) = (Instant::now(), Duration::ZERO);
        let due = |writing: Duration| workspace.options.checkpoint_every.max(writing * WRITING_SHARE);
        // Units are images, in parts if all draws of one do not pass at once. As many as there are threads are worked on at
        // a time; they are added one after another.
        let draws_of_image = recipe.influence.draws / 2;
        let parts = draws_of_image.div_ceil(pass.draws_at_once());
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
                let (place, part_of_image) = ((unit + index) / parts, (unit + index) % parts);
                let image = images[range.start + place];
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

    fn begin(&self, _all: usize, _missing: &[Piece]) -> Result<Progress> {
        let images = self.measurement.images.len() as u64;
        Ok(self.measurement.workspace().reporter().begin(word(self.part), images, 0))
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

/// The stage that decomposes the factors: one piece.
pub struct Decomposing<'a> {
    factors: Summing<'a>,
}

impl Stage for Decomposing<'_> {
    fn name(&self) -> &str {
        &self.factors.measurement.names[2]
    }

    fn cost_name(&self) -> &str {
        "decomposition"
    }

    fn pieces(&self) -> Result<Vec<Piece>> {
        let measurement = self.factors.measurement;
        Ok(vec![Piece {
            stage: self.name().into(),
            number: 0,
            objects: vec![measurement.bases_name()],
            made_from: measurement.identity,
        }])
    }

    fn begin(&self, _all: usize, _missing: &[Piece]) -> Result<Progress> {
        let reporter = self.factors.measurement.workspace().reporter();
        reporter.tell(Event::Decomposing);
        Ok(reporter.begin("decomposition", 1, 0))
    }

    fn make(&self, _piece: &Piece, _making: &mut Making<'_>) -> Result<Vec<Object>> {
        let measurement = self.factors.measurement;
        let (workspace, total) = (measurement.workspace(), self.factors.total_name());
        let Some(bytes) = kept(workspace, &total, self.factors.total_key(SHARDS)?)? else {
            return Err(measurement.missing("factors of the curvature"));
        };
        let sums = self.factors.read_sums(&ArrayReader::new(&bytes, &total)?)?;
        drop(bytes);
        let Sums::Factors(sums) = sums else { return Err(sums_of_another_kind(&total)) };
        let loss = sums.mean_loss();
        let mut arrays = ArrayWriter::default();
        write_bases(&bases(sums)?, &mut arrays);
        arrays.put_f64("mean_loss", &[1], &[loss]);
        let name = measurement.bases_name();
        let bytes = arrays.to_bytes(&name, None)?;
        Ok(vec![(name, bytes)])
    }

    fn merge(&self) -> Result<()> {
        let measurement = self.factors.measurement;
        if measurement.workspace().run.is_current(&measurement.bases_name(), measurement.identity) {
            self.factors.remove_sums()?;
        }
        Ok(())
    }

    fn summary(&self, _missing: &[Piece]) -> Option<String> {
        None
    }
}

/// The bytes of an object that need not be made again. One that is damaged is, and that is said.
///
/// # Errors
///
/// As reading and writing the run.
pub fn kept(workspace: &Workspace, name: &str, made_from: Fingerprint) -> Result<Option<Vec<u8>>> {
    kept_in(&workspace.run, workspace.reporter(), name, made_from)
}

fn kept_in(run: &Run, reporter: &Reporter, name: &str, made_from: Fingerprint) -> Result<Option<Vec<u8>>> {
    if !run.is_current(name, made_from) {
        return Ok(None);
    }
    let bytes = unless_damaged(run.get(name))?;
    if bytes.is_none() {
        reporter.tell(Event::MadeAgain(name));
        if !run.is_read_only() {
            run.remove(name)?;
        }
    }
    Ok(bytes)
}

fn sums_of_another_kind(object: &str) -> RunError {
    RunError::Inconsistent { object: object.into(), problem: "it holds sums of another kind".into() }
}

fn word(part: CurvaturePart) -> &'static str {
    match part {
        CurvaturePart::Factors => "factors",
        CurvaturePart::Eigenvalues => "eigenvalues",
    }
}
