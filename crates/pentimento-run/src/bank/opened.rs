//! A bank that is asked: its networks, which images each was trained on, and in the order of another run's images.

use super::data::BankData;
use super::training::BankTraining;
use crate::data::CodedData;
use crate::error::{BankError, Result, RunError};
use crate::gradients::{Subject, row_key};
use crate::networks::{Networks, NetworksAlike, Weights};
use crate::recipe::{EncodersRecipe, Origin};
use crate::words::{counted, first_of};
use crate::workspace::{RunOptions, Workspace};
use pentimento_attribution::gradient::RowKey;
use pentimento_data::PreparedSet;
use pentimento_diffusion::unet::{Architecture, UnetConfig};
use pentimento_store::Digest;
use std::collections::HashMap;
use std::path::Path;

fn check_seed(seed: Option<usize>, seeds: usize) -> Result<()> {
    match seed.filter(|&seed| seed >= seeds) {
        None => Ok(()),
        Some(seed) => {
            let bound = format!("the bank has seeds 0 to {}", seeds - 1);
            Err(RunError::NoSuch { what: "seed".into(), value: seed.to_string(), bound })
        }
    }
}

/// A network of a bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankNetwork {
    /// Its weights in the bank's run.
    pub weights: Weights,
    /// The number of its subset.
    pub subset: usize,
    /// The number of its seed.
    pub seed: usize,
}

/// Networks on known subsets: those of a bank, or the members of an encoded ensemble.
pub struct Bank {
    workspace: Workspace,
    architecture: Architecture,
    size: [usize; 2],
    images: PreparedSet,
    /// What the subsets are called.
    pub subsets: Vec<String>,
    /// Which of them were drawn, and so stand for all others that might have been.
    pub drawn: Vec<usize>,
    /// How many seeds each subset has.
    pub seeds: usize,
    masks: Vec<Vec<bool>>,
    /// All networks, seed by seed.
    pub networks: Vec<BankNetwork>,
}

impl Bank {
    /// Opens the bank in a run, or the ensemble, to be read; with `seed` the networks of that seed alone, by which scores of a
    /// network of another seed may be judged.
    ///
    /// # Errors
    ///
    /// [`RunError::NoSuch`] for a seed that it does not have, [`BankError::NotBank`] for an imported network, [`RunError::Missing`] for networks that are not trained; as opening images.
    pub fn open(folder: &Path, seed: Option<usize>, options: RunOptions) -> Result<Self> {
        let workspace = Workspace::open_read_only(folder, options)?;
        match workspace.recipe.origin {
            Origin::Bank(_) => Self::of_bank(workspace, seed),
            Origin::Trained(_) => {
                check_seed(seed, 1)?;
                Self::of_ensemble(workspace)
            }
            Origin::Imported(_) => Err(BankError::NotBank { run: folder.display().to_string() }.into()),
        }
    }

    fn of_bank(workspace: Workspace, seed: Option<usize>) -> Result<Self> {
        let data = BankData::open(&workspace.recipe, &workspace.options)?;
        let training = BankTraining::new(&workspace, &data)?;
        let all = data.bank.subsets.seeds as usize;
        check_seed(seed, all)?;
        let first = seed.unwrap_or(0);
        let is_asked = |&number: &usize| seed.is_none_or(|seed| data.network(number).1 as usize == seed);
        let network = |number| {
            let (subset, seed) = data.network(number);
            Ok(BankNetwork { weights: training.weights(number)?, subset, seed: seed as usize - first })
        };
        let networks = (0..data.networks()).filter(is_asked).map(network).collect::<Result<_>>()?;
        let architecture = training.architecture().clone();
        let drawn = data.bank.subsets.subsets as usize;
        Ok(Self {
            architecture,
            size: [data.images.height(), data.images.width()],
            subsets: data.subsets.iter().map(|subset| subset.name.clone()).collect(),
            // The first is that of all images, those that are named come last.
            drawn: (1..=drawn).collect(),
            seeds: if seed.is_some() { 1 } else { all },
            masks: data.subsets.into_iter().map(|subset| subset.kept).collect(),
            images: data.images,
            networks,
            workspace,
        })
    }

    /// The members of an encoded ensemble, each of which saw the images whose code says so.
    fn of_ensemble(workspace: Workspace) -> Result<Self> {
        let data = CodedData::open(&workspace.recipe, &workspace.options)?;
        let Networks { architecture, weights, size, .. } = Networks::trained(&workspace, &data)?;
        let count = weights.len();
        let saw =
            |member: usize, group: u32| data.codes.code(group).is_some_and(|code| code.trains(member as u32));
        let mask = |member| data.groups.group_of().iter().map(|&group| saw(member, group)).collect();
        Ok(Self {
            subsets: (0..count).map(|member| format!("member {member}")).collect(),
            drawn: (0..count).collect(),
            seeds: 1,
            masks: (0..count).map(mask).collect(),
            networks: weights
                .into_iter()
                .enumerate()
                .map(|(subset, weights)| BankNetwork { weights, subset, seed: 0 })
                .collect(),
            images: data.images,
            architecture,
            size,
            workspace,
        })
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        self.workspace.run.root()
    }

    /// What its networks have in common.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Height and width of its images.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Its networks, each to be asked for itself, in the order of [`networks`](Self::networks).
    pub fn alike(&self) -> NetworksAlike<'_> {
        NetworksAlike {
            workspace: &self.workspace,
            architecture: &self.architecture,
            size: self.size,
            schedule: &self.workspace.recipe.schedule,
            weights: self.networks.iter().map(|network| network.weights.clone()).collect(),
        }
    }

    /// A digest of all weights in their order.
    pub fn digest(&self) -> Digest {
        let digests: Vec<u8> =
            self.networks.iter().flat_map(|network| network.weights.digest.as_bytes().to_vec()).collect();
        Digest::of(&digests)
    }

    /// Refuses a run whose queries mean something else to the networks here.
    ///
    /// # Errors
    ///
    /// [`BankError::OtherQuestions`].
    pub fn refuse_other_questions(&self, subject: &Subject<'_>) -> Result<()> {
        refuse_other_questions(&self.workspace, self.architecture.config(), subject)
    }

    /// Whether each subset has each of some images, `[subsets][images]`, which have to be the bank's own in any order.
    ///
    /// # Errors
    ///
    /// [`BankError::OtherImages`] if they are others.
    pub fn masks_of(&self, images: &PreparedSet) -> Result<Vec<Vec<bool>>> {
        let of_bank = places_in(self.folder(), &self.images, images)?;
        Ok(self.masks.iter().map(|mask| of_bank.iter().map(|&place| mask[place]).collect()).collect())
    }
}

/// Refuses a run whose queries mean something else to the networks of a bank than to its own.
///
/// # Errors
///
/// [`BankError::OtherQuestions`].
pub(crate) fn refuse_other_questions(
    bank: &Workspace,
    network: &UnetConfig,
    subject: &Subject<'_>,
) -> Result<()> {
    let (own, of_bank) = (&subject.workspace.recipe, &bank.recipe);
    let (knows_classes, knows_texts) = (network.classes().is_some(), network.cross_attention.is_some());
    let digests = |of: &EncodersRecipe| (of.autoencoder.digest, of.text.as_ref().map(|text| text.digest));
    let problem = match (own.encoders(), of_bank.encoders()) {
        (Some(_), None) => "that one works on latents, and they see pictures",
        (None, Some(_)) => "that one sees pictures, and they work on latents",
        (own, of_bank) if own.map(digests) != of_bank.map(digests) => "they have other encoders",
        _ if (subject.networks.knows_classes(), subject.networks.knows_texts())
            != (knows_classes, knows_texts) =>
        {
            "what they are told of a picture, its class or its text or nothing, is not what that one is told"
        }
        _ if own.schedule != of_bank.schedule => {
            "the section `schedule` of its recipe is another than the bank's"
        }
        _ => return Ok(()),
    };
    Err(BankError::OtherQuestions { bank: bank.run.root().to_path_buf(), problem: problem.into() }.into())
}

/// The place in a bank of each image of a run, which have to be the same in any order.
///
/// # Errors
///
/// [`BankError::OtherImages`] if they are others.
pub(crate) fn places_in(bank: &Path, of_bank: &PreparedSet, of_run: &PreparedSet) -> Result<Vec<usize>> {
    // By what networks see of them: an image that was resized otherwise is another. Copies of one are told apart by their
    // order.
    let mut places: HashMap<RowKey, Vec<usize>> = HashMap::new();
    for place in (0..of_bank.len()).rev() {
        places.entry(row_key(&of_bank.scaled(place), &[])).or_default().push(place);
    }
    let mut found = Vec::with_capacity(of_run.len());
    let mut strangers = Vec::new();
    for image in 0..of_run.len() {
        match places.get_mut(&row_key(&of_run.scaled(image), &[])).and_then(Vec::pop) {
            Some(place) => found.push(place),
            None => strangers.push(of_run.title(image)),
        }
    }
    let missing: usize = places.values().map(Vec::len).sum();
    if !strangers.is_empty() || missing > 0 {
        return Err(BankError::OtherImages {
            bank: bank.to_path_buf(),
            problem: format!(
                "{} of the run are not in the bank{}, and {} of the bank not in the run",
                counted(strangers.len(), "training image"),
                if strangers.is_empty() { String::new() } else { format!(" ({})", first_of(&strangers)) },
                missing
            ),
        }
        .into());
    }
    Ok(found)
}
