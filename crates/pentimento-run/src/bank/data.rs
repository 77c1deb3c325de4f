//! The images of a bank with their subsets.

use super::subsets::{Subset, subsets};
use super::training::take_bank_recipe;
use crate::data::{grouped, open_images, prepare_images};
use crate::error::{BankError, Result};
use crate::npy::npy_of_bits;
use crate::recipe::{BankRecipe, Origin, Recipe, SubsetsRecipe};
use crate::workspace::{RunOptions, Workspace};
use pentimento_data::{Groups, PreparedSet};
use pentimento_store::Fingerprint;

/// The images that a bank's networks are trained on, and which of them each subset has.
pub struct BankData {
    /// All of them.
    pub images: PreparedSet,
    /// What stays or goes as one.
    pub groups: Groups,
    /// Names of the classes, by label.
    pub class_names: Vec<String>,
    /// The subsets; the first is that of all images.
    pub subsets: Vec<Subset>,
    /// How the networks are trained.
    pub bank: BankRecipe,
    /// Identifies the images, whatever the subsets.
    pub fingerprint: Fingerprint,
}

impl BankData {
    /// Opens the images of a bank's recipe and chooses their subsets.
    ///
    /// # Errors
    ///
    /// [`BankError::NotBank`] for a recipe without `bank`; as opening, preparing, grouping and choosing.
    pub fn open(recipe: &Recipe, options: &RunOptions) -> Result<Self> {
        let Origin::Bank(bank) = &recipe.origin else {
            return Err(BankError::NotBank { run: recipe.name.clone() }.into());
        };
        let (set, class_names) = open_images(&recipe.data, recipe.data.preprocessing.split, options)?;
        let images = prepare_images(set.as_ref(), &recipe.data.preprocessing, &options.reporter)?;
        let SubsetsRecipe { groups, table, .. } = &bank.subsets;
        let groups = grouped("bank", (*groups, table.as_deref()), set.as_ref(), &images, &class_names)?;
        let subsets = subsets(&bank.subsets, &images, &groups, recipe.seed)?;
        let fingerprint = Fingerprint::of("bank images")
            .json(&recipe.data.preprocessing)?
            .json(&images.ids())?
            .json(&images.labels())?
            .finish();
        Ok(Self { images, groups, class_names, subsets, bank: bank.clone(), fingerprint })
    }

    /// Height, width and channels of the images.
    pub fn shape(&self) -> [usize; 3] {
        [self.images.height(), self.images.width(), self.images.channels()]
    }

    /// How many networks the bank has: one for each subset and seed.
    pub fn networks(&self) -> usize {
        self.subsets.len() * self.bank.subsets.seeds as usize
    }

    /// The subset and the seed of a network. Those of one seed follow each other, so that a bank of few seeds is whole first.
    pub fn network(&self, number: usize) -> (usize, u32) {
        (number % self.subsets.len(), (number / self.subsets.len()) as u32)
    }

    /// `bank.json` and `masks.npy`, by name.
    fn objects(&self) -> Result<[(&'static str, Vec<u8>); 2]> {
        let bank = serde_json::json!({
            "images": self.images.len(),
            "ids": self.images.ids(),
            "names": self.images.names(),
            "source_indices": self.images.source_indices(),
            "labels": self.images.labels(),
            "class_names": self.class_names,
            "subsets": self.subsets.iter().map(|subset| &subset.name).collect::<Vec<_>>(),
            "seeds": self.bank.subsets.seeds,
            "masks": "masks.npy has a row for each subset and a column for each image: whether it was trained on",
            "networks": "networks/SSSS-K is trained on subset SSSS with seed K",
        });
        let masks: Vec<bool> = self.subsets.iter().flat_map(|subset| subset.kept.iter().copied()).collect();
        let shape = [self.subsets.len() as u64, self.images.len() as u64];
        Ok([("bank.json", serde_json::to_vec(&bank)?), ("masks.npy", npy_of_bits(&shape, &masks)?)])
    }
}

/// Opens the images and subsets of a workspace's bank and writes them, and the recipe, to its run if they are not there.
///
/// # Errors
///
/// As [`BankData::open`]; [`RunError::WouldReplace`] and [`BankError::WouldRemove`] if networks would be trained again or are too many; as writing.
pub fn bank_data(workspace: &Workspace) -> Result<BankData> {
    let data = BankData::open(&workspace.recipe, &workspace.options)?;
    // Before the run takes the recipe.
    workspace.recipe.check_images(data.shape(), data.class_names.len())?;
    take_bank_recipe(workspace, &data)?;
    let objects = data.objects()?;
    let mut key = Fingerprint::of("bank listing");
    for (_, bytes) in &objects {
        key = key.bytes(bytes);
    }
    let key = key.finish();
    if !objects.iter().all(|(name, _)| workspace.run.is_current(name, key)) {
        workspace.run.put_many(objects, key)?;
    }
    Ok(data)
}
