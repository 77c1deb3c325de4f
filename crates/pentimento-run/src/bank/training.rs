//! The networks that a bank's recipe asks for, and how its run takes a changed recipe.

use super::data::BankData;
use super::objects::{network_folder, objects_of};
use super::subset_training::{SubsetNetwork, SubsetTraining, positions};
use crate::drive::drive;
use crate::error::{BankError, MadeBy, Result, RunError};
use crate::event::Event;
use crate::networks::Weights;
use crate::piece::{Piece, Stage as _};
use crate::recipe::{Recipe, unet};
use crate::words::counted;
use crate::workspace::Workspace;
use pentimento_diffusion::unet::Architecture;
use pentimento_store::Fingerprint;

/// The networks of a bank.
pub struct BankTraining<'a> {
    workspace: &'a Workspace,
    stage: SubsetTraining<'a>,
}

/// What a network of a bank follows from: its own images, and nothing of the other subsets.
///
/// # Errors
///
/// If a setting has no JSON form.
pub(crate) fn fingerprint_of_network(
    recipe: &Recipe,
    data: &BankData,
    architecture: &Architecture,
    kept: &[bool],
    seed: u32,
) -> Result<Fingerprint> {
    Ok(Fingerprint::of("bank network")
        .fingerprint(data.fingerprint)
        .json(&positions(kept))?
        .text(&architecture.config().to_json())
        .json(&recipe.schedule)?
        .json(&data.bank.training)?
        .json(&(recipe.seed, seed))?
        .finish())
}

impl<'a> BankTraining<'a> {
    /// The networks of a bank.
    ///
    /// # Errors
    ///
    /// If the recipe's network does not fit the images.
    pub fn new(workspace: &'a Workspace, data: &'a BankData) -> Result<Self> {
        let recipe = &workspace.recipe;
        let architecture = Architecture::new(&unet(&data.bank.model, &recipe.name, data.shape())?)?;
        let network = |number| {
            let (subset, seed) = data.network(number);
            let of = &data.subsets[subset];
            Ok(SubsetNetwork {
                objects: objects_of(subset, seed),
                called: format!("{}, seed {seed}", of.name),
                kept: of.kept.clone(),
                seed,
                made_from: fingerprint_of_network(recipe, data, &architecture, &of.kept, seed)?,
            })
        };
        let networks = (0..data.networks()).map(network).collect::<Result<_>>()?;
        let stage = SubsetTraining::new("bank", workspace, (recipe, data), architecture, networks);
        Ok(Self { workspace, stage })
    }

    /// The stage that trains them.
    pub fn stage(&self) -> &SubsetTraining<'a> {
        &self.stage
    }

    /// The network that all of them are.
    pub fn architecture(&self) -> &Architecture {
        self.stage.architecture()
    }

    /// The weights of a finished network.
    ///
    /// # Errors
    ///
    /// [`RunError::Missing`] if it is not there, [`BankError::OfOtherRecipe`] if it was trained by another recipe or on other
    /// images.
    pub fn weights(&self, number: usize) -> Result<Weights> {
        let SubsetNetwork { objects, made_from, .. } = &self.stage.networks()[number];
        let (name, run) = (objects.weights(), &self.workspace.run);
        let what = format!("network {}", objects.folder);
        match run.entry(&name) {
            Some(entry) if run.is_current(&name, *made_from) => {
                Ok(Weights { object: name, digest: entry.blake3 })
            }
            Some(_) => Err(BankError::OfOtherRecipe { bank: run.root().to_path_buf(), what }.into()),
            None => Err(self.workspace.missing(what, MadeBy::Bank)),
        }
    }

    /// Names of networks, finished or in training, that another recipe made.
    fn of_others(&self) -> Result<Vec<String>> {
        let run = &self.workspace.run;
        let is_of_other = |(piece, network): &(Piece, &SubsetNetwork)| {
            let mut objects = piece.objects.iter().cloned().chain([network.objects.state()]);
            objects.any(|name| run.entry(&name).is_some_and(|entry| entry.made_from != piece.made_from))
        };
        let networks = self.stage.pieces()?.into_iter().zip(self.stage.networks());
        Ok(networks.filter(is_of_other).map(|(_, network)| network.objects.folder.clone()).collect())
    }
}

/// Trains every network of a bank that is not there yet.
///
/// # Errors
///
/// [`RunError::Stopped`] once it is asked to stop, after the state of every network in training was written.
pub fn train_bank(workspace: &Workspace, data: &BankData) -> Result<()> {
    drive(workspace, BankTraining::new(workspace, data)?.stage())
}

/// Puts the recipe of a bank in its run. Networks of another recipe are not replaced unasked.
///
/// # Errors
///
/// Unless the workspace may replace them, [`RunError::WouldReplace`] if networks would be trained again, and
/// [`BankError::WouldRemove`] if there are more than the recipe has; as writing to the run.
pub(super) fn take_bank_recipe(workspace: &Workspace, data: &BankData) -> Result<()> {
    let changes = workspace.recipe_changes()?;
    let others = BankTraining::new(workspace, data)?.of_others()?;
    let beyond = beyond(workspace, data);
    if !workspace.options.replace {
        let (bank, changes) = (workspace.run.root().to_path_buf(), changes.map(|changes| changes.now_says));
        if !others.is_empty() {
            let what = vec![counted(others.len(), "trained network")];
            return Err(RunError::WouldReplace { run: bank, what, changes });
        }
        if !beyond.is_empty() {
            return Err(BankError::WouldRemove { bank, networks: beyond.len(), changes }.into());
        }
    }
    workspace.save_recipe()?;
    let run = &workspace.run;
    let is_beyond = |name: &String| beyond.iter().any(|folder| name.starts_with(&format!("{folder}/")));
    let gone: Vec<String> = run.names().into_iter().filter(is_beyond).collect();
    for name in &gone {
        run.remove(name)?;
    }
    if !gone.is_empty() {
        workspace.reporter().tell(Event::RemovedBeyondRecipe { objects: &gone });
    }
    Ok(())
}

/// Folders of networks that the recipe does not have.
fn beyond(workspace: &Workspace, data: &BankData) -> Vec<String> {
    let own: Vec<String> = (0..data.networks())
        .map(|number| data.network(number))
        .map(|(subset, seed)| network_folder(subset, seed))
        .collect();
    let folder_of = |name: String| {
        let folder = name.strip_prefix("networks/")?.split('/').next()?;
        Some(format!("networks/{folder}"))
    };
    let mut found: Vec<String> = workspace.run.names().into_iter().filter_map(folder_of).collect();
    found.dedup();
    found.retain(|folder| !own.contains(folder));
    found
}
