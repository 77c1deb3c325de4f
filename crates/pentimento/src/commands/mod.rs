//! The commands: each opens what it works on, calls the stages, and prints.

mod ablate;
mod attribute;
mod bench;
mod checkpoint;
mod codes;
mod doctor;
mod export;
mod gradients;
mod inspect;
mod pieces;
mod plan;
mod scores;
mod search;
mod summary;

use crate::arguments::{Arguments, AttributeMethod, Command, DataCommand, DeviceChoice, RecipeArguments};
use crate::error::{ProgramError, how_to_make_again};
use crate::progress::{harmless, say, terminal};
use crate::stop::on_signals;
use anyhow::{Context, Result};
use pentimento_attribution::ensemble::CodeDistance;
use pentimento_attribution::likeness::Likeness;
use pentimento_attribution::methods::{Family, Method};
use pentimento_diffusion::device::DeviceKind;
use pentimento_run::analyse;
use pentimento_run::data::{CodedData, coded_data, fetch_public};
use pentimento_run::gradients::QuerySet;
use pentimento_run::pool::on_pool;
use pentimento_run::recipe::Origin;
use pentimento_run::train::train;
use pentimento_run::workspace::{default_folder, refuse_what_is_no_run};
use pentimento_run::{Networks, Recipe, RunOptions, Workspace};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The recipe of `pentimento quickstart`.
const QUICKSTART: &str = include_str!("../../../../recipes/quickstart.toml");

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
        checkpoint_every: arguments.checkpoint_seconds,
        stop: on_signals().context("cannot handle signals")?,
        reporter: terminal(),
    };
    let open = |folder: &Path| Workspace::open(folder, options.clone());
    match arguments.command {
        Command::Quickstart(folder) => {
            let recipe = Recipe::parse(QUICKSTART, "quickstart", &[])?;
            let folder = folder.run.unwrap_or_else(|| default_folder(&recipe));
            everything(&Workspace::for_recipe(&folder, recipe, options)?)
        }
        Command::Run(recipe) => everything(&recipe_workspace(&recipe, &options)?),
        Command::Import { checkpoint, run, overrides } => {
            checkpoint::import(&checkpoint, run, &overrides, options)
        }
        Command::Export { run, folder, member } => export::export(&run, &folder, member),
        Command::Doctor { checkpoint, data } => doctor::doctor(&checkpoint, data.as_deref(), &options),
        Command::Data(DataCommand::Fetch { set, from }) => {
            let from = from.as_deref().or(options.data_from.as_deref());
            let fetched = fetch_public(set, from, &options.reporter)?;
            print(&format!("{}", fetched.folder().display()))?;
            Ok(())
        }
        Command::Data(DataCommand::Inspect { path, test, contact_sheet }) => {
            inspect::inspect(&path, test, contact_sheet.as_deref(), &options.reporter)
        }
        Command::Codes(recipe) => {
            let (recipe, folder) = recipe_and_folder(&recipe)?;
            recipe.trained(&folder)?;
            codes::print_codes(&recipe, &options)
        }
        Command::Plan { recipe, limit_memory } => {
            let (recipe, folder) = recipe_and_folder(&recipe)?;
            recipe.trained(&folder)?;
            plan::print_plan(&recipe, &folder, &options, limit_memory)
        }
        Command::Train { recipe, member } => {
            let workspace = recipe_workspace(&recipe, &options)?;
            let data = coded_data(&workspace)?;
            train(&workspace, &data, member)?;
            print(&format!("{}", workspace.run.root().display()))?;
            Ok(())
        }
        Command::Sample(run) => {
            let workspace = open(&run.run)?;
            if matches!(workspace.recipe.origin, Origin::Imported(_)) {
                analyse::sample(&workspace, &Networks::imported(&workspace)?)?;
            } else {
                let data = coded_data(&workspace)?;
                analyse::sample(&workspace, &Networks::trained(&workspace, &data)?)?;
            }
            print(&format!("{}", workspace.run.root().join("samples").display()))?;
            Ok(())
        }
        Command::Attribute { run, method, classifier, query, top } => {
            let workspace = open(&run.run)?;
            let asked = Asked::of(&method, classifier)?;
            if matches!(workspace.recipe.origin, Origin::Imported(_)) {
                return gradients::attribute(&workspace, &asked, query, top as usize);
            }
            let data = coded_data(&workspace)?;
            if query != QuerySet::Samples {
                asked.refuse_codes("it is for samples of the run")?;
            }
            if method.is_empty() && query != QuerySet::Samples {
                return Err(ProgramError::NoSuch {
                    what: "method without a name for".into(),
                    value: format!("`--query {query}`"),
                    bound: "name one by gradients or likeness with `--method`, such as `d-trak`".into(),
                }
                .into());
            }
            let networks = Networks::trained(&workspace, &data)?;
            if asked.codes().next().is_some() || method.is_empty() {
                analyse::attribute(&workspace, &data, &networks)?;
            }
            for (method, _) in asked.codes() {
                attribute::scores(&workspace, &data, &networks, method, top as usize)?;
            }
            gradients::attribute_members(&workspace, &networks, &asked, query, top as usize)
        }
        Command::Scores { run, method, query, of, top, bottom, export } => {
            let shown = scores::Shown { of, top: top as usize, bottom };
            let workspace = Workspace::open_read_only(&run.run, options)?;
            scores::scores(&workspace, method.as_deref(), &query, &shown, export.as_deref())
        }
        Command::Search { run, samples, codes, top, method } => {
            let workspace = open(&run.run)?;
            let data = coded_data(&workspace)?;
            search::search(&workspace, &data, &samples, codes.as_deref(), top as usize, method.0)
        }
        Command::Ablate { run, sample, groups, images, method } => {
            ablate::ablate(&open(&run.run)?, sample, &groups, &images, method)
        }
        Command::Report { run, compare, classifier, query } => {
            let workspace = open(&run.run)?;
            let asked = Asked::of(&compare, classifier)?;
            if matches!(workspace.recipe.origin, Origin::Imported(_)) {
                return gradients::report(&workspace, &asked, query);
            }
            if !compare.is_empty() || query != QuerySet::Samples {
                return Err(ProgramError::NoSuch {
                    what: "choice of methods or queries for".into(),
                    value: run.run.display().to_string(),
                    bound: "the report of a trained ensemble shows its counterfactuals; `--compare` and `--query` are for \
                            imported networks"
                        .into(),
                }
                .into());
            }
            let data = coded_data(&workspace)?;
            report(&workspace, &data, &Networks::trained(&workspace, &data)?)
        }
        Command::Pieces { recipe, method, query } => {
            if recipe.recipe.is_dir() && recipe.overrides.is_empty() {
                let workspace = Workspace::open_read_only(&recipe.recipe, options)?;
                return pieces::list(&workspace, &method, &query);
            }
            let workspace = recipe_workspace(&recipe, &options)?;
            pieces::begin(&workspace)?;
            pieces::list(&workspace, &method, &query)
        }
        Command::Make { run, piece, into, query } => {
            pieces::make(&run.run, &piece, &query, into.as_deref(), options)
        }
        Command::Adopt { run, folders, query } => pieces::adopt(&open(&run.run)?, &folders, &query),
        Command::Bench => bench::bench(&options),
        Command::Verify(run) => verify(&run.run),
    }
}

/// What a person asks by.
struct Asked {
    /// The methods that were named, each once, family by family.
    methods: Vec<Method>,
    /// The file of a classifier.
    classifier: Option<PathBuf>,
}

impl Asked {
    fn of(named: &[AttributeMethod], classifier: Option<PathBuf>) -> Result<Self, ProgramError> {
        let mut methods: Vec<Method> = Vec::new();
        for &AttributeMethod(method) in named {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        methods.sort_by_key(|method| method.family.place());
        let needs_classifier = |method: &Method| method.family == Family::Likeness(Likeness::Classifier);
        match &classifier {
            Some(file) if !methods.iter().any(needs_classifier) => Err(ProgramError::NoSuch {
                what: "use for the classifier".into(),
                value: file.display().to_string(),
                bound: "name the method `classifier-cosine` too".into(),
            }),
            _ => Ok(Self { methods, classifier }),
        }
    }

    /// Those that rank codes.
    fn codes(&self) -> impl Iterator<Item = (Method, CodeDistance)> {
        self.methods.iter().filter_map(|&method| match method.family {
            Family::Codes(distance) => Some((method, distance)),
            _ => None,
        })
    }

    /// Those that write a table of scores.
    fn tables(&self) -> Vec<Method> {
        self.methods.iter().copied().filter(Method::writes_table).collect()
    }

    /// Refuses methods that rank codes, where these do not apply.
    fn refuse_codes(&self, why: &str) -> Result<(), ProgramError> {
        match self.codes().next() {
            Some((method, _)) => Err(ProgramError::NoSuch {
                what: "method".into(),
                value: method.name.into(),
                bound: why.into(),
            }),
            None => Ok(()),
        }
    }
}

/// One line of results to stdout, made [`harmless`].
pub(crate) fn print(line: &str) -> Result<(), ProgramError> {
    writeln!(std::io::stdout(), "{}", harmless(line)).map_err(|source| ProgramError::Output { source })
}

fn recipe_workspace(arguments: &RecipeArguments, options: &RunOptions) -> Result<Workspace> {
    let (recipe, folder) = recipe_and_folder(arguments)?;
    Ok(Workspace::for_recipe(&folder, recipe, options.clone())?)
}

/// The recipe with its overrides, and where its run is or will be.
fn recipe_and_folder(arguments: &RecipeArguments) -> Result<(Recipe, PathBuf)> {
    // A run folder stands for its own recipe, so `train RUN` goes on with a run.
    let file = if arguments.recipe.is_dir() {
        arguments.recipe.join("recipe.toml")
    } else {
        arguments.recipe.clone()
    };
    let recipe = Recipe::open(&file, &arguments.overrides)?;
    let run = arguments.run.clone().or_else(|| arguments.recipe.is_dir().then(|| arguments.recipe.clone()));
    let folder = run.unwrap_or_else(|| default_folder(&recipe));
    Ok((recipe, folder))
}

/// All stages; what is there already is not made again.
fn everything(workspace: &Workspace) -> Result<()> {
    if matches!(workspace.recipe.origin, Origin::Imported(_)) {
        return gradients::everything(workspace);
    }
    let data = coded_data(workspace)?;
    train(workspace, &data, None)?;
    let networks = Networks::trained(workspace, &data)?;
    analyse::sample(workspace, &networks)?;
    analyse::attribute(workspace, &data, &networks)?;
    report(workspace, &data, &networks)
}

fn report(workspace: &Workspace, data: &CodedData, networks: &Networks<'_>) -> Result<()> {
    let (path, figures) = pentimento_run::report::report(workspace, data, networks)?;
    for line in summary::lines(&figures) {
        print(&line)?;
    }
    print(&format!("{}", path.display()))?;
    Ok(())
}

fn verify(folder: &Path) -> Result<()> {
    refuse_what_is_no_run(folder)?;
    let run = pentimento_store::Run::open_read_only(folder)?;
    let (unlisted, damaged): (Vec<_>, Vec<_>) = run
        .verify()?
        .into_iter()
        .partition(|problem| matches!(problem, pentimento_store::Problem::Unlisted { .. }));
    for file in &unlisted {
        say(&format!("note: {file} in the manifest, so no stage reads it"));
    }
    for problem in &damaged {
        say(&problem.to_string());
        if let pentimento_store::Problem::Object { name, .. } = problem
            && let Some(advice) = how_to_make_again(&folder.join(name))
        {
            say(&format!("  what to do: {advice}"));
        }
    }
    if damaged.is_empty() {
        print(&format!("{}: {} objects, all as the manifest says", folder.display(), run.names().len()))?;
        return Ok(());
    }
    let problems = if damaged.len() == 1 { "problem" } else { "problems" };
    anyhow::bail!("{}: {} {problems}", folder.display(), damaged.len())
}
