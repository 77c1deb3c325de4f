//! The commands: each opens what it works on, calls the stages, and prints.

mod ablate;
mod asked;
mod attribute;
mod bench;
mod checkpoint;
mod codes;
mod doctor;
mod evaluate;
mod export;
mod inspect;
mod output;
mod pieces;
mod plan;
mod removal;
mod report;
mod score_lines;
mod scores;
mod search;
mod summary;
mod tables;
mod verify;

use crate::arguments::{Arguments, Command, DataCommand, DeviceChoice, RecipeArguments, TimeArguments};
use crate::error::ProgramError;
use crate::progress::terminal;
use crate::stop::on_signals;
use anyhow::{Context, Result};
use asked::Asked;
use output::print;
use pentimento_diffusion::device::DeviceKind;
use pentimento_run::analyse;
use pentimento_run::bank::{bank_data, train_bank};
use pentimento_run::data::{coded_data, coded_data_if_trained, fetch_public};
use pentimento_run::pool::on_pool;
use pentimento_run::recipe::{Origin, TAKE_OUT};
use pentimento_run::train::train;
use pentimento_run::workspace::{default_folder, refuse_what_is_no_run};
use pentimento_run::{Networks, Recipe, RunOptions, TimeAllowed, Workspace};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The recipe of `pentimento quickstart`.
const QUICKSTART: &str = include_str!("../../../../recipes/quickstart.toml");

/// Recipes that a message names at most.
const NAMED_RECIPES: usize = 8;

/// Runs one command.
///
/// # Errors
///
/// Whatever the command fails with; [`crate::error::exit_code`] says what it means to the caller.
pub fn run(arguments: Arguments) -> Result<()> {
    let device = match arguments.device {
        DeviceChoice::Cpu => DeviceKind::Cpu,
        DeviceChoice::Cuda => DeviceKind::Cuda,
        DeviceChoice::Metal => DeviceKind::Metal,
        DeviceChoice::Rocm => DeviceKind::Rocm,
        DeviceChoice::Vulkan => DeviceKind::Vulkan,
    };
    on_pool(device, arguments.threads.map(usize::from), || run_command(arguments))?
}

fn run_command(arguments: Arguments) -> Result<()> {
    let options = RunOptions {
        batch: arguments.batch.map(usize::from),
        data_from: arguments.data_from,
        replace: arguments.replace,
        verify_files: arguments.verify_files,
        checkpoint_every: arguments.checkpoint_seconds,
        stop: on_signals().context("cannot handle signals")?,
        reporter: terminal(),
        ..RunOptions::default()
    };
    let open = |folder: &Path| Workspace::open(folder, options.clone());
    match arguments.command {
        Command::Quickstart(folder) => {
            let recipe = Recipe::parse(QUICKSTART, "quickstart", &[])?;
            let folder = folder.run.unwrap_or_else(|| default_folder(&recipe));
            report::everything(&Workspace::for_recipe(&folder, recipe, options)?)
        }
        Command::Run(recipe) => report::everything(&recipe_workspace(&recipe, &options)?),
        Command::Import { checkpoint, run, overrides, skip_damaged } => {
            checkpoint::import(&checkpoint, run, &with_skipping(&overrides, skip_damaged), options)
        }
        Command::Export { run, folder, member } => export::export(&run, &folder, member),
        Command::Doctor { checkpoint, data, skip_damaged } => {
            doctor::doctor(&checkpoint, data.as_deref(), skip_damaged, &options)
        }
        Command::Data(DataCommand::Fetch { set, from }) => {
            let from = from.as_deref().or(options.data_from.as_deref());
            let fetched = fetch_public(set, from, &options.reporter)?;
            print(&format!("{}", fetched.folder().display()))?;
            Ok(())
        }
        Command::Data(DataCommand::Inspect { path, test, contact_sheet, json, skip_damaged }) => {
            let how = inspect::How { test, sheet: contact_sheet.as_deref(), json, skip_damaged };
            inspect::inspect(&path, &how, &options)
        }
        Command::Codes(recipe) => {
            let (recipe, folder) = recipe_and_folder(&recipe)?;
            recipe.trained(&folder)?;
            codes::print_codes(&recipe, &options)
        }
        Command::Plan { recipe, limit_memory, method, query } => {
            let (recipe, folder) = recipe_and_folder(&recipe)?;
            if !method.is_empty() || matches!(recipe.origin, Origin::Imported(_)) {
                let workspace = Workspace { recipe, ..Workspace::open_read_only(&folder, options)? };
                return plan::print_forecasts(&workspace, &Asked::of(&method, None)?, query.set()?);
            }
            if matches!(recipe.origin, Origin::Bank(_)) {
                return plan::print_bank(recipe, &folder, options);
            }
            plan::print_plan(&recipe, &folder, &options, limit_memory)
        }
        Command::Bank(recipe) => {
            let workspace = recipe_workspace(&recipe, &options)?;
            let data = bank_data(&workspace)?;
            train_bank(&workspace, &data)?;
            print(&format!("{}", workspace.run.root().display()))?;
            Ok(())
        }
        Command::Evaluate(arguments) => {
            let options = within(&arguments.time, options);
            evaluate::run(arguments, options)
        }
        Command::VerifyRemoval(arguments) => removal::verify(arguments, options),
        Command::Train { recipe, member } => {
            let workspace = recipe_workspace(&recipe, &options)?;
            let data = coded_data(&workspace)?;
            train(&workspace, &data, member)?;
            print(&format!("{}", workspace.run.root().display()))?;
            Ok(())
        }
        Command::Sample(run) => {
            let workspace = open(&run.run)?;
            let data = coded_data_if_trained(&workspace)?;
            analyse::sample(&workspace, &Networks::open(&workspace, data.as_ref())?)?;
            print(&format!("{}", workspace.run.root().join("samples").display()))?;
            Ok(())
        }
        Command::Attribute { run, method, classifier, query, top, time } => {
            let workspace = Workspace::open(&run.run, within(&time, options.clone()))?;
            tables::attribute(&workspace, &Asked::of(&method, classifier)?, query.set()?, top as usize)
        }
        Command::Scores { run, method, query, of, top, bottom, export } => {
            let shown = scores::Shown { of, top: top as usize, bottom };
            let workspace = Workspace::open_read_only(&run.run, options)?;
            scores::scores(&workspace, method.as_deref(), &query.set()?, &shown, export.as_deref())
        }
        Command::Search { run, samples, codes, top, method } => {
            let workspace = open(&run.run)?;
            let data = coded_data(&workspace)?;
            search::search(&workspace, &data, &samples, codes.as_deref(), top as usize, method.0)
        }
        Command::Ablate { run, sample, groups, images, method } => {
            ablate::ablate(&open(&run.run)?, sample, &groups, &images, method)
        }
        Command::Report { run, compare, classifier, query, time } => {
            let workspace = Workspace::open(&run.run, within(&time, options.clone()))?;
            report::report(&workspace, &Asked::of(&compare, classifier)?, query.set()?)
        }
        Command::Pieces { recipe, method, query } => {
            let changed = !recipe.overrides.is_empty() || !recipe.unset.is_empty() || recipe.skip_damaged;
            if recipe.recipe.is_dir() && !changed && recipe.run.is_none() {
                let workspace = Workspace::open_read_only(&recipe.recipe, options)?;
                return pieces::list(&workspace, &method, &query.set()?);
            }
            let workspace = recipe_workspace(&recipe, &options)?;
            pieces::begin(&workspace)?;
            pieces::list(&workspace, &method, &query.set()?)
        }
        Command::Make { run, piece, into, query } => {
            pieces::make(&run.run, &piece, &query.set()?, into.as_deref(), options)
        }
        Command::Adopt { run, folders, query } => pieces::adopt(&open(&run.run)?, &folders, &query.set()?),
        Command::Bench => bench::bench(&options),
        Command::Verify(run) => verify::verify(&run.run),
    }
}

/// The options with the time from now on that more draws may be taken.
fn within(time: &TimeArguments, options: RunOptions) -> RunOptions {
    let Some(allowed) = time.time_allowed else { return options };
    let began = Instant::now();
    RunOptions { time_allowed: TimeAllowed::until(move || began.elapsed() >= allowed), ..options }
}

fn recipe_workspace(arguments: &RecipeArguments, options: &RunOptions) -> Result<Workspace> {
    let (recipe, folder) = recipe_and_folder(arguments)?;
    Ok(Workspace::for_recipe(&folder, recipe, options.clone())?)
}

/// The recipe with its overrides, and where its run is or will be.
fn recipe_and_folder(arguments: &RecipeArguments) -> Result<(Recipe, PathBuf)> {
    if !arguments.recipe.exists() {
        let recipes = recipes_near(&arguments.recipe);
        return Err(ProgramError::NoRecipe { path: arguments.recipe.clone(), recipes }.into());
    }
    // A run folder stands for its own recipe, so `train RUN` goes on with a run.
    let file = if arguments.recipe.is_dir() {
        let file = arguments.recipe.join("recipe.toml");
        if !file.exists() {
            refuse_what_is_no_run(&arguments.recipe)?;
        }
        file
    } else {
        arguments.recipe.clone()
    };
    // First, so that a section that is set anew has nothing of the one before.
    let taken_out = arguments.unset.iter().map(|key| format!("{TAKE_OUT}{key}"));
    let settings: Vec<String> = taken_out.chain(arguments.overrides.iter().cloned()).collect();
    let recipe = Recipe::open(&file, &with_skipping(&settings, arguments.skip_damaged))?;
    let run = arguments.run.clone().or_else(|| arguments.recipe.is_dir().then(|| arguments.recipe.clone()));
    let folder = run.unwrap_or_else(|| default_folder(&recipe));
    Ok((recipe, folder))
}

/// Recipes in the folder of a path at which there is nothing, and in the folder of recipes of this project.
fn recipes_near(path: &Path) -> Vec<PathBuf> {
    let mut folders = vec![path.parent().unwrap_or(Path::new("")), Path::new("recipes")];
    folders.dedup();
    let files = |folder: &Path| {
        let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let names = listed.read_dir().into_iter().flatten().flatten().map(|entry| entry.file_name());
        let mut files: Vec<PathBuf> = names.map(|name| folder.join(name)).collect();
        // Other files are TOML too.
        files.retain(|file| {
            file.extension().is_some_and(|ending| ending == "toml") && Recipe::open(file, &[]).is_ok()
        });
        files.sort();
        files
    };
    let mut recipes: Vec<PathBuf> = folders.into_iter().flat_map(files).collect();
    recipes.truncate(NAMED_RECIPES);
    recipes
}

/// The settings of a command with that of `--skip-damaged`.
fn with_skipping(overrides: &[String], skip_damaged: bool) -> Vec<String> {
    let skipping = skip_damaged.then(|| "data.skip_damaged=true".to_owned());
    overrides.iter().cloned().chain(skipping).collect()
}
