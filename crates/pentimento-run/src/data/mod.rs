//! Opening the training images, their groups and their codes.

mod opening;

pub(crate) use opening::with_captions;
pub use opening::{
    NamedImages, as_recipe_says, fetch_public, open_images, open_path, open_path_telling, prepare_images,
    telling,
};

use crate::base::BaseNetwork;
use crate::binding::take_recipe;
use crate::error::{BankError, Result, RunError};
use crate::event::Reporter;
use crate::network_images::check_labels;
use crate::recipe::{CodeKind, CodesRecipe, GroupBy, Origin, Recipe, TrainedNetwork, TrainedRecipe, unet};
use crate::workspace::{RunOptions, Workspace};
use pentimento_attribution::ensemble::CodeBook;
use pentimento_data::{Groups, ImageSource, PreparedSet, exact_duplicates};
use pentimento_diffusion::unet::{Architecture, UnetConfig};
use pentimento_store::Fingerprint;
use std::path::Path;

/// The training images of a run with their groups and codes.
pub struct CodedData {
    /// The images as they are trained on.
    pub images: PreparedSet,
    /// Which images share a code.
    pub groups: Groups,
    /// The code of each group.
    pub codes: CodeBook,
    /// Names of the classes, by label.
    pub class_names: Vec<String>,
    /// Identifies all of the above.
    pub fingerprint: Fingerprint,
    /// What the codes come from, and how members are trained.
    pub trained: TrainedRecipe,
    /// The network that every member is.
    pub network: UnetConfig,
    /// The network that members begin with, if it is one that is there.
    pub base: Option<BaseNetwork>,
}

impl CodedData {
    /// Opens, prepares, groups and codes the images of a recipe.
    ///
    /// # Errors
    ///
    /// As reading, fetching, preparing, grouping and drawing codes.
    ///
    /// [`RunError::RecipeValue`] and [`pentimento_data::DataError`] for images that do not fit the network that members begin with, or lack what
    /// it has to be told.
    pub fn open(recipe: &Recipe, options: &RunOptions) -> Result<Self> {
        let base = recipe.on_base().map(BaseNetwork::of).transpose()?;
        let (set, class_names) = match &base {
            Some(base) => base.taken().open(&recipe.data, options)?,
            None => open_images(&recipe.data, recipe.data.preprocessing.split, options)?,
        };
        Self::with_base(recipe, base, set.as_ref(), class_names, &options.reporter)
    }

    /// Opens what the ensemble of a run is trained on, and writes nothing; none if its network was imported.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn of_run(workspace: &Workspace) -> Result<Option<Self>> {
        let Workspace { recipe, options, .. } = workspace;
        match recipe.origin {
            Origin::Trained(_) => Self::open(recipe, options).map(Some),
            Origin::Imported(_) => Ok(None),
            Origin::Bank(_) => {
                Err(BankError::IsBank { run: workspace.run.root().display().to_string() }.into())
            }
        }
    }

    /// Prepares, groups and codes images that are open already.
    ///
    /// # Errors
    ///
    /// As preparing, grouping and drawing codes; [`RunError::NoCodes`] for the recipe of an imported network,
    /// [`RunError::MembersWithoutImages`] for codes by which a member would train on nothing, [`RunError::RecipeValue`] for a
    /// network that does not fit the images, or images without the classes that it is told.
    pub fn of(
        recipe: &Recipe,
        set: &dyn ImageSource,
        class_names: Vec<String>,
        reporter: &Reporter,
    ) -> Result<Self> {
        let base = recipe.on_base().map(BaseNetwork::of).transpose()?;
        Self::with_base(recipe, base, set, class_names, reporter)
    }

    fn with_base(
        recipe: &Recipe,
        base: Option<BaseNetwork>,
        set: &dyn ImageSource,
        class_names: Vec<String>,
        reporter: &Reporter,
    ) -> Result<Self> {
        let trained = recipe.trained(Path::new(&recipe.name))?.clone();
        let images = prepare_images(set, &recipe.data.preprocessing, reporter)?;
        let shape = [images.height(), images.width(), images.channels()];
        let network = match (&trained.network, &base) {
            (TrainedNetwork::Fresh(model), _) => unet(model, &recipe.name, shape)?,
            (TrainedNetwork::OnBase(_), Some(base)) => base.config().clone(),
            (TrainedNetwork::OnBase(on_base), None) => BaseNetwork::of(on_base)?.config().clone(),
        };
        check_classes(&trained, &network, set.labels().is_some(), &images)?;
        let groups = groups_of(&trained.codes, set, &images, &class_names)?;
        let codes = codes_for(&trained.codes, groups.len(), recipe.seed)?;
        refuse_empty_members(&codes, &groups)?;
        let fingerprint = Fingerprint::of("coded data")
            .json(&recipe.data.preprocessing)?
            .json(&images.ids())?
            .json(&images.labels())?
            .json(&groups)?
            .bytes(&codes.to_npy()?)
            .finish();
        Ok(Self { images, groups, codes, class_names, fingerprint, trained, network, base })
    }

    /// Height, width and channels of the images.
    pub fn shape(&self) -> [usize; 3] {
        [self.images.height(), self.images.width(), self.images.channels()]
    }

    /// Height, width and channels of what members are shown: of the images, or of their latents.
    pub fn input_shape(&self) -> [usize; 3] {
        self.base.as_ref().map_or(self.shape(), BaseNetwork::shape)
    }

    /// The network of every member; of adapters with the network beneath, which is read when this is asked first.
    ///
    /// # Errors
    ///
    /// As [`BaseNetwork::of_members`]; for values of the recipe's `model` that are not supported.
    pub fn architecture(&self) -> Result<Architecture> {
        match &self.base {
            Some(base) => Ok(base.of_members()?.clone()),
            None => Ok(Architecture::new(&self.network)?),
        }
    }

    /// The values that members begin with; none if they are fresh.
    ///
    /// # Errors
    ///
    /// As [`BaseNetwork::first_values`].
    pub fn first_values(&self) -> Result<Option<&[Vec<f32>]>> {
        self.base.as_ref().map_or(Ok(None), BaseNetwork::first_values)
    }

    /// Positions of the images that a member trains on.
    ///
    /// # Errors
    ///
    /// [`pentimento_attribution::ensemble::EnsembleError`] if there is no such member.
    pub fn member_images(&self, member: u32) -> Result<Vec<u32>> {
        Ok(self.codes.member_images(member, self.groups.group_of())?)
    }

    /// `data.json` and `codes.npy`, by name.
    ///
    /// # Errors
    ///
    /// If one cannot be serialised.
    pub fn objects(&self) -> Result<[(&'static str, Vec<u8>); 2]> {
        let data = serde_json::json!({
            "height": self.images.height(),
            "width": self.images.width(),
            "channels": self.images.channels(),
            "class_names": self.class_names,
            "ids": self.images.ids(),
            "source_indices": self.images.source_indices(),
            "names": self.images.names(),
            "labels": self.images.labels(),
            "group_names": self.groups.names(),
            "group_of": self.groups.group_of(),
            "exact_duplicates": exact_duplicates(self.images.ids()),
        });
        Ok([("data.json", serde_json::to_vec(&data)?), ("codes.npy", self.codes.to_npy()?)])
    }

    /// What `data.json` follows from: beside what training uses, where the images come from and what classes are called.
    fn listing_fingerprint(&self) -> Result<Fingerprint> {
        Ok(Fingerprint::of("data listing")
            .fingerprint(self.fingerprint)
            .json(&self.images.source_indices())?
            .json(&self.images.names())?
            .json(&self.class_names)?
            .finish())
    }
}

/// Refuses images without a class that a network with classes knows; and dropping conditions where nothing could be dropped, or
/// where images are of the class that stands for none.
fn check_classes(
    trained: &TrainedRecipe,
    network: &UnetConfig,
    has_labels: bool,
    images: &PreparedSet,
) -> Result<()> {
    let dropout = trained.training.condition_dropout;
    let refuse_dropout = |bound: String| {
        let (file, field) = ("recipe".into(), "training.condition_dropout".into());
        Err(RunError::RecipeValue { file, field, value: dropout.to_string(), bound })
    };
    let Some(classes) = network.classes() else {
        if dropout > 0.0 && network.cross_attention.is_none() {
            return refuse_dropout("0, as the network has no classes or texts that could be dropped".into());
        }
        return Ok(());
    };
    check_labels(classes, has_labels, images.source_indices().iter().zip(images.labels()))?;
    if dropout > 0.0 && classes != u32::MAX && images.labels().contains(&(classes - 1)) {
        let last = classes - 1;
        return refuse_dropout(format!(
            "0, or a network with one class more: the last one, {last}, stands for no class, and images are of it"
        ));
    }
    Ok(())
}

fn groups_of(
    codes: &CodesRecipe,
    set: &dyn ImageSource,
    images: &PreparedSet,
    class_names: &[String],
) -> Result<Groups> {
    grouped("codes", (codes.groups, codes.table.as_deref()), set, images, class_names)
}

/// The groups of some images, by the key `groups` of a section of the recipe and, if it says so, a table.
///
/// # Errors
///
/// [`RunError::RecipeValue`] for groups that the set does not have; as reading the table.
pub(crate) fn grouped(
    section: &str,
    (by, table): (GroupBy, Option<&Path>),
    set: &dyn ImageSource,
    images: &PreparedSet,
    class_names: &[String],
) -> Result<Groups> {
    let lacks = |value: &str, bound: &str| RunError::RecipeValue {
        file: "recipe".into(),
        field: format!("{section}.groups"),
        value: value.into(),
        bound: bound.into(),
    };
    Ok(match (by, table) {
        (GroupBy::Class, _) if set.labels().is_none() => {
            return Err(lacks("\"class\"", "the set has no labels"));
        }
        (GroupBy::Class, _) => Groups::by_class(images.labels(), class_names)?,
        (GroupBy::Table, Some(table)) => Groups::by_table(table, images)?,
        (GroupBy::Source, _) => match set.groups() {
            Some(names) => Groups::by_name(names, images)?,
            None => return Err(lacks("\"source\"", "the set says nothing of groups")),
        },
        _ => Groups::by_image(images),
    })
}

/// Every member trains on something; few groups may have codes that leave one out.
fn refuse_empty_members(codes: &CodeBook, groups: &Groups) -> Result<()> {
    let of = codes.members();
    let sees_a_group = |member: u32| {
        (0..groups.len() as u32).any(|group| codes.code(group).is_some_and(|code| code.trains(member)))
    };
    let members: Vec<u32> = (0..of).filter(|&member| !sees_a_group(member)).collect();
    match members.as_slice() {
        [] => Ok(()),
        _ => Err(RunError::MembersWithoutImages { members, of, groups: groups.len() }),
    }
}

fn codes_for(codes: &CodesRecipe, groups: usize, seed: u64) -> Result<CodeBook> {
    let count = u32::try_from(groups).map_err(|_| RunError::RecipeValue {
        file: "recipe".into(),
        field: "codes.groups".into(),
        value: format!("{groups} groups"),
        bound: "at most 2^32 - 1".into(),
    })?;
    Ok(match (codes.kind, codes.members) {
        (CodeKind::Drawn, Some(members)) => {
            CodeBook::draw(members, codes.weight.unwrap_or(members / 2), count, seed)?
        }
        _ => CodeBook::walsh(count)?,
    })
}

/// Opens the coded data of a workspace and writes them, and the recipe, to its run if they are not there.
///
/// # Errors
///
/// As opening and writing, and for a network that does not fit the images.
pub fn coded_data(workspace: &Workspace) -> Result<CodedData> {
    workspace.recipe.trained(workspace.run.root())?;
    let data = CodedData::open(&workspace.recipe, &workspace.options)?;
    // Before the run takes the recipe.
    workspace.recipe.check_images(data.shape(), data.class_names.len())?;
    workspace.recipe.samples.check(&data.network)?;
    take_recipe(workspace, Some(&data))?;
    let key = data.listing_fingerprint()?;
    if !["data.json", "codes.npy"].iter().all(|name| workspace.run.is_current(name, key)) {
        workspace.run.put_many(data.objects()?, key)?;
    }
    Ok(data)
}

/// [`coded_data`] of an ensemble; none if the network of the run was imported, whose recipe is then taken.
///
/// # Errors
///
/// As [`coded_data`] and [`take_recipe`].
pub fn coded_data_if_trained(workspace: &Workspace) -> Result<Option<CodedData>> {
    match workspace.recipe.origin {
        Origin::Trained(_) => coded_data(workspace).map(Some),
        Origin::Imported(_) => {
            take_recipe(workspace, None)?;
            Ok(None)
        }
        Origin::Bank(_) => Err(BankError::IsBank { run: workspace.run.root().display().to_string() }.into()),
    }
}
