//! The network of a bank that a run judges, and networks that are trained again without some of its images.

use crate::bank::{
    BankData, BankTraining, SubsetNetwork, SubsetTraining, fingerprint_of_network, objects_of, places_in,
    refuse_other_questions,
};
use crate::drive::drive;
use crate::error::{BankError, Result, RunError};
use crate::gradients::Subject;
use crate::networks::{NetworksAlike, Weights};
use crate::recipe::Origin;
use crate::train::{NetworkObjects, tell_who_trained};
use crate::workspace::{RunOptions, Workspace, fingerprint_of_computed};
use pentimento_diffusion::unet::Architecture;
use pentimento_store::Fingerprint;
use serde_json::json;
use std::path::Path;

/// The stage, as in `removal/3`.
const STAGE: &str = "removal";

/// How the network of a run was trained, so that it can be trained again without some of the images.
pub struct Retraining<'a> {
    subject: &'a Subject<'a>,
    bank: Workspace,
    data: BankData,
    architecture: Architecture,
    /// The seed of the bank that the run's network has.
    pub seed: u32,
    /// The place in the bank of each training image of the run.
    places: Vec<usize>,
}

impl<'a> Retraining<'a> {
    /// Opens the bank in a folder, to be read, and finds the run's network in it.
    ///
    /// # Errors
    ///
    /// [`BankError::NothingToTrainAgain`] if the run or the bank is an encoded ensemble, [`BankError::NotBank`] for an imported
    /// network, [`BankError::NotOfBank`] if the run's network is none of those that the bank trained on all images,
    /// [`BankError::OtherImages`] if their images differ; as opening them.
    pub fn open(subject: &'a Subject<'a>, bank: &Path, options: RunOptions) -> Result<Self> {
        if let Some(ensemble) = subject.networks.trained_on.map(|_| subject.workspace.run.root()) {
            return Err(BankError::NothingToTrainAgain { ensemble: ensemble.to_path_buf() }.into());
        }
        let bank = Workspace::open_read_only(bank, options)?;
        match bank.recipe.origin {
            Origin::Bank(_) => {}
            Origin::Trained(_) => {
                return Err(BankError::NothingToTrainAgain { ensemble: bank.run.root().to_path_buf() }.into());
            }
            Origin::Imported(_) => {
                return Err(BankError::NotBank { run: bank.run.root().display().to_string() }.into());
            }
        }
        let data = BankData::open(&bank.recipe, &bank.options)?;
        let places = places_in(bank.run.root(), &data.images, &subject.training.images)?;
        let training = BankTraining::new(&bank, &data)?;
        refuse_other_questions(&bank, training.architecture().config(), subject)?;
        let seed = seed_of_run(subject, &bank, &data, &training)?;
        let architecture = training.architecture().clone();
        // What it is compared with will be trained by this program.
        tell_who_trained(&bank, [objects_of(0, seed)]);
        Ok(Self { subject, architecture, seed, places, bank, data })
    }

    /// How many images can be removed at most: one has to be left.
    pub fn most(&self) -> usize {
        self.places.len().saturating_sub(1)
    }

    /// Trains a network without each of some sets of training images of the run, by their positions, if it is not there. Sets of
    /// the same images have one network. Gives the run's own network and then theirs, set by set.
    ///
    /// # Errors
    ///
    /// [`BankError::TooManyRemoved`] if no image would be left; [`RunError::Stopped`] once it is asked to stop, what was trained
    /// is kept.
    pub fn without(&self, removed: &[Vec<usize>]) -> Result<NetworksAlike<'_>> {
        let mut networks: Vec<SubsetNetwork> = Vec::new();
        let mut number_of = Vec::new();
        for images in removed {
            let network = self.network_without(images)?;
            let same = networks.iter().position(|other| other.made_from == network.made_from);
            number_of.push(same.unwrap_or(networks.len()));
            if same.is_none() {
                networks.push(network);
            }
        }
        let workspace = self.subject.workspace;
        let recipe = (&self.bank.recipe, &self.data);
        let stage = SubsetTraining::new(STAGE, workspace, recipe, self.architecture.clone(), networks);
        drive(workspace, &stage)?;
        let weights_of = |network: &SubsetNetwork| {
            self.say_what_is_removed(network)?;
            let object = network.objects.weights();
            let entry = workspace.run.entry(&object);
            let digest = entry.map(|entry| entry.blake3).ok_or_else(|| RunError::Inconsistent {
                object: object.clone(),
                problem: "it was made and is not listed".into(),
            })?;
            Ok(Weights { object, digest })
        };
        let trained: Vec<Weights> = stage.networks().iter().map(weights_of).collect::<Result<_>>()?;
        let of_sets = number_of.into_iter().map(|number| trained[number].clone());
        Ok(NetworksAlike {
            workspace,
            architecture: &self.architecture,
            size: self.subject.networks.size,
            schedule: &self.bank.recipe.schedule,
            weights: self.subject.networks.weights.iter().cloned().chain(of_sets).collect(),
        })
    }

    /// The network that is trained on all but some images. Unlike those of a bank it is one of this version of the numerics,
    /// since it is compared with others.
    fn network_without(&self, images: &[usize]) -> Result<SubsetNetwork> {
        let mut kept = vec![true; self.places.len()];
        for &image in images {
            kept[self.places[image]] = false;
        }
        if !kept.contains(&true) {
            return Err(BankError::TooManyRemoved { removed: images.len(), images: kept.len() }.into());
        }
        let of_bank =
            fingerprint_of_network(&self.bank.recipe, &self.data, &self.architecture, &kept, self.seed)?;
        let made_from = fingerprint_of_computed("network without images").fingerprint(of_bank).finish();
        let folder = format!("evaluation/removals/{}", short(made_from));
        let called = format!("without {} images", kept.iter().filter(|kept| !**kept).count());
        Ok(SubsetNetwork { objects: NetworkObjects::new(folder), called, kept, seed: self.seed, made_from })
    }

    /// Writes which images a network lacks beside it, if that is not there.
    fn say_what_is_removed(&self, network: &SubsetNetwork) -> Result<()> {
        let name = format!("{}/removed.json", network.objects.folder);
        let run = &self.subject.workspace.run;
        if run.is_current(&name, network.made_from) {
            return Ok(());
        }
        let images = &self.data.images;
        let removed: Vec<usize> = (0..images.len()).filter(|&place| !network.kept[place]).collect();
        let text = json!({
            "positions": removed.iter().map(|&place| images.source_indices()[place]).collect::<Vec<_>>(),
            "names": removed.iter().map(|&place| &images.names()[place]).collect::<Vec<_>>(),
            "images": images.len(),
            "seed": network.seed,
        });
        run.put(&name, network.made_from, &serde_json::to_vec_pretty(&text)?)?;
        Ok(())
    }
}

/// The beginning of a fingerprint, for names of objects.
pub(super) fn short(fingerprint: Fingerprint) -> String {
    let digest = fingerprint.to_string();
    digest[..16.min(digest.len())].to_owned()
}

/// The seed of the network on all images that the run's network is, to the byte.
fn seed_of_run(
    subject: &Subject<'_>,
    bank: &Workspace,
    data: &BankData,
    training: &BankTraining<'_>,
) -> Result<u32> {
    let own = subject.networks.weights.first().map(|weights| weights.digest);
    let mut found = None;
    for number in 0..data.networks() {
        match training.weights(number) {
            Ok(weights) if Some(weights.digest) == own => found = Some(data.network(number)),
            // A network that is not trained yet is none of the run.
            Ok(_) | Err(RunError::Missing { .. }) => continue,
            Err(error) => return Err(error),
        }
        break;
    }
    let problem = match found {
        Some((0, seed)) => return Ok(seed),
        Some((subset, seed)) => format!(
            "it is {}, which was trained on the subset `{}`",
            objects_of(subset, seed).folder,
            data.subsets[subset].name
        ),
        None => "its weights are those of none of them".into(),
    };
    Err(BankError::NotOfBank {
        run: subject.workspace.run.root().to_path_buf(),
        bank: bank.run.root().to_path_buf(),
        problem,
    }
    .into())
}
