//! The curvature of a network, in the run.
//!
//! Factors are summed over images ([`Summing`]), their total is decomposed ([`Decomposing`]), and eigenvalues are summed in the
//! directions that this gives.

use super::curvature_sums::{SHARDS, Summing};
use super::decomposition::Decomposing;
use super::query_gradients::image_draws;
use crate::drive::drive;
use crate::error::{MadeBy, Result, RunError};
use crate::gradients::Subject;
use crate::kept::kept;
use crate::recipe::{Eigenvalues, InfluenceTimesteps};
use crate::workspace::Workspace;
use pentimento_attribution::curvature::{
    BlockBasis, Curvature, EigenvalueSums, LOSSES_IN_FILES, read_bases, values_of_factors,
};
use pentimento_attribution::gradient::{DrawPlan, LossOfTenths, TimestepShares};
use pentimento_diffusion::NUMERICS_VERSION;
use pentimento_diffusion::arrays::ArrayReader;
use pentimento_diffusion::device::chosen_device_kind;
use pentimento_store::Fingerprint;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The curvature of one network.
pub struct MeasuredCurvature {
    /// The curvature.
    pub curvature: Curvature,
    /// The mean squared error over the draws at which it was measured.
    pub mean_loss: f64,
    /// Where in the schedule images are asked through it.
    pub shares: TimestepShares,
    /// Images on which it was measured.
    pub images: usize,
    /// Images that the network was trained on.
    pub seen: usize,
    /// What it follows from.
    pub identity: Fingerprint,
}

/// Eigenvectors of the factors of a curvature.
pub struct KeptBases {
    /// Those of each block.
    pub bases: Vec<BlockBasis>,
    /// The mean loss over the draws that they are of.
    mean_loss: f64,
    /// The losses by where in the schedule these draws are.
    losses: LossOfTenths,
}

/// One network whose curvature is measured.
pub struct Measurement<'a> {
    pub(super) subject: &'a Subject<'a>,
    pub(super) network: usize,
    /// Positions of its images among the training images.
    pub(super) images: Vec<usize>,
    /// Images that the network was trained on.
    seen: usize,
    pub(super) identity: Fingerprint,
    pub(super) folder: String,
    /// Names of the stages: factors, eigenvalues, decomposition.
    pub(super) names: [String; 3],
}

impl MeasuredCurvature {
    /// The draws of training images.
    pub fn image_draws(&self, subject: &Subject<'_>) -> DrawPlan {
        DrawPlan { shares: self.shares, ..image_draws(subject) }
    }
}

/// What the curvatures of several networks may take in memory, so that each is opened once: 2 GiB.
const MOST_BYTES: usize = 2 << 30;

/// The curvatures of the networks of a run, each opened once if the memory holds them all.
pub struct Curvatures<'a> {
    subject: &'a Subject<'a>,
    are_held: bool,
    held: RefCell<BTreeMap<usize, Rc<MeasuredCurvature>>>,
}

impl<'a> Curvatures<'a> {
    /// Those of a subject; none is opened yet.
    pub fn new(subject: &'a Subject<'a>) -> Self {
        let networks = subject.networks.weights.len();
        let bytes = values_of_factors(&subject.networks.architecture) * size_of::<f32>();
        let are_held = networks == 1 || networks * bytes <= MOST_BYTES;
        Self { subject, are_held, held: RefCell::default() }
    }

    /// That of a network; made, if it is not there.
    ///
    /// # Errors
    ///
    /// [`RunError::Stopped`] once it is asked to stop, what was summed is kept; as measuring and writing.
    pub fn of(&self, network: usize) -> Result<Rc<MeasuredCurvature>> {
        self.opened(network, |measurement| measurement.curvature())
    }

    /// That of a network, if it is in the run.
    ///
    /// # Errors
    ///
    /// [`RunError::Missing`] if it is not.
    pub fn kept(&self, network: usize) -> Result<Rc<MeasuredCurvature>> {
        self.opened(network, |measurement| measurement.kept_curvature())
    }

    fn opened(
        &self,
        network: usize,
        open: impl FnOnce(&Measurement<'_>) -> Result<MeasuredCurvature>,
    ) -> Result<Rc<MeasuredCurvature>> {
        if let Some(measured) = self.held.borrow().get(&network) {
            return Ok(Rc::clone(measured));
        }
        let measured = Rc::new(open(&Measurement::new(self.subject, network)?)?);
        if self.are_held {
            self.held.borrow_mut().insert(network, Rc::clone(&measured));
        }
        Ok(measured)
    }
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
        let identity = Fingerprint::of("curvature, version 2")
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

    /// What work on this network is called.
    pub(super) fn work_on(&self, what: &str) -> String {
        self.subject.work_on(what, self.network, self.subject.networks.weights.len())
    }

    pub(super) fn workspace(&self) -> &'a Workspace {
        self.subject.workspace
    }

    fn curvature(&self) -> Result<MeasuredCurvature> {
        let KeptBases { bases, mean_loss, losses } = self.bases()?;
        let shares = match self.workspace().recipe.influence.timesteps {
            InfluenceTimesteps::Even => TimestepShares::EVEN,
            InfluenceTimesteps::ByLoss => losses.shares(),
        };
        let (images, identity) = (self.images.len(), self.identity);
        let curvature = match self.workspace().recipe.influence.eigenvalues {
            Eigenvalues::Kronecker => Curvature::kronecker(bases),
            Eigenvalues::Corrected => {
                let sums = self.eigenvalues(&bases)?;
                Curvature::corrected(bases, &sums)?
            }
        };
        Ok(MeasuredCurvature { curvature, mean_loss, shares, images, seen: self.seen, identity })
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
        Summing::factors(self)
    }

    /// The stage that sums the eigenvalues in the directions of the factors.
    pub fn eigenvalues_in<'s>(&'s self, bases: &'s [BlockBasis]) -> Summing<'s> {
        Summing::eigenvalues(self, bases)
    }

    /// The eigenvectors of the factors, if they are there.
    ///
    /// # Errors
    ///
    /// As reading the run.
    pub fn kept_bases(&self) -> Result<Option<KeptBases>> {
        let name = self.bases_name();
        let Some(bytes) = kept(self.workspace(), &name, self.identity)? else { return Ok(None) };
        let arrays = ArrayReader::new(&bytes, &name)?;
        let loss = arrays.f64("mean_loss")?.first().copied();
        let mean_loss = loss.ok_or_else(|| arrays.broken("mean_loss", "is empty".into()))?;
        let losses = LossOfTenths::from_values(&arrays.f64(LOSSES_IN_FILES)?);
        let losses =
            losses.ok_or_else(|| arrays.broken(LOSSES_IN_FILES, "has another number of values".into()))?;
        let bases = read_bases(&self.subject.networks.architecture, &arrays)?;
        Ok(Some(KeptBases { bases, mean_loss, losses }))
    }

    /// The stage that decomposes the factors, once all of them are summed.
    pub fn decomposition(&self) -> Decomposing<'_> {
        Decomposing::new(self.factors())
    }

    fn bases(&self) -> Result<KeptBases> {
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

    pub(super) fn bases_name(&self) -> String {
        format!("{}/bases.safetensors", self.folder)
    }

    pub(super) fn eigenvalues_name(&self) -> String {
        format!("{}/eigenvalues.safetensors", self.folder)
    }

    /// Draws over all images for one part.
    pub(super) fn planned_draws(&self) -> u64 {
        (self.images.len() * (self.workspace().recipe.influence.draws / 2)) as u64
    }
}
