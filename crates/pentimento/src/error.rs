//! What the program itself can fail with, the exit code for every failure, and what a person can do about it.

use crate::hub;
use pentimento_attribution::curvature::CurvatureError;
use pentimento_data::DataError;
use pentimento_diffusion::DiffusionError;
use pentimento_diffusion::checkpoint::{NetworkFolder, Unclear};
use pentimento_encoders::EncoderError;
use pentimento_run::ablate::GROUP;
use pentimento_run::error::BankError;
use pentimento_run::recipe::TAKE_OUT;
use pentimento_run::{FailureKind, MadeBy, PartError, Recipe, RunError};
use pentimento_store::StoreError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Failures that belong to no library.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Ctrl-C or SIGTERM while the machine was measured.
    #[error("stopped before everything was measured; nothing is kept")]
    MeasuringStopped,
    /// `evaluate` without a run and a bank.
    #[error(
        "name a run and, with `--bank`, a bank that was trained on its images; or `evaluate lds` with arrays"
    )]
    NothingToEvaluate,
    /// A question about something that does not exist.
    #[error("{what} {value} does not exist: {bound}")]
    NoSuch {
        /// What was asked for.
        what: String,
        /// The value given.
        value: String,
        /// What exists.
        bound: String,
    },
    /// Nothing lies where a recipe or a run was named.
    #[error(
        "{} does not exist: no recipe and no run; {}",
        path.display(),
        match recipes.as_slice() {
            [] => "`pentimento quickstart` begins without a recipe".into(),
            several => format!(
                "there {} {}",
                if several.len() == 1 { "is" } else { "are" },
                several.iter().map(|recipe| recipe.display().to_string()).collect::<Vec<_>>().join(", ")
            ),
        }
    )]
    NoRecipe {
        /// What was named.
        path: PathBuf,
        /// Recipes near it.
        recipes: Vec<PathBuf>,
    },
    /// A picture was to be written where something is already.
    #[error("{} exists already: nothing is written over it", file.display())]
    Taken {
        /// Its path.
        file: PathBuf,
    },
    /// A picture was to be written under a name that does not say what it is.
    #[error("{}: the contact sheet is written as PNG, so its name has to end with .png", file.display())]
    NotPng {
        /// The name.
        file: PathBuf,
    },
    /// A classifier was named, and no method that reads one.
    #[error("{}: only the method `classifier-cosine` reads a classifier; name it too", file.display())]
    UnusedClassifier {
        /// Its file.
        file: PathBuf,
    },
    /// A method that measures codes, where it cannot be asked.
    #[error("`{method}` cannot be asked here: {why}")]
    NotByCodes {
        /// The method.
        method: String,
        /// Why not.
        why: String,
    },
    /// The results have nowhere to go.
    #[error("cannot write to the standard output: {source}")]
    Output {
        /// The system's answer.
        source: std::io::Error,
    },
    /// A checkpoint or its images did not pass a check.
    #[error("{}", match problems { 1 => "1 problem".into(), several => format!("{several} problems") })]
    Unwell {
        /// How many.
        problems: usize,
    },
    /// No batch keeps a run within the memory that it may hold.
    #[error(
        "--limit-memory {limit} is too little: about {least} would do, with `--batch 1`; {stage} sets it ({advice})"
    )]
    MemoryLimit {
        /// The limit given.
        limit: String,
        /// A limit that would do.
        least: String,
        /// The stage that holds most.
        stage: String,
        /// What else can be done.
        advice: String,
    },
    /// A limit cannot be checked here.
    #[error(
        "--limit-memory: this system does not tell how much memory a process holds (no /proc/self/status)"
    )]
    MemoryUnknown,
    /// A plan needs images that are not on this machine, and fetches none.
    #[error("the images of {set} are not on this machine: `pentimento data fetch {set}` brings them")]
    NotFetched {
        /// The public set.
        set: &'static str,
    },
}

/// A failure and its causes in one line, in the words of this program. A cause that the text before it quotes already is not
/// said again.
pub fn message(error: &anyhow::Error) -> String {
    let text = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<RunError>() {
        Some(error) => with_commands(error),
        None => match cause.downcast_ref::<DataError>() {
            Some(error) => of_images(error),
            None => cause.to_string(),
        },
    };
    error.chain().map(text).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        _ if said.contains(&cause) => said,
        _ => format!("{said}: {cause}"),
    })
}

/// A failure of a run, with the options and commands of this program that mend it.
fn with_commands(error: &RunError) -> String {
    match error {
        RunError::Setting { setting, problem } => match setting.strip_prefix(TAKE_OUT) {
            Some(key) => format!("`--unset {key}`: {problem}"),
            None => format!("`--set {setting}`: {problem}"),
        },
        RunError::Data(error) => of_images(error),
        RunError::ColourLost { .. } => {
            format!("{error}: `--set data.channels=grey` makes them grey")
        }
        RunError::ClassifierWithoutSet { keys, .. } => {
            let settings: Vec<String> = keys.iter().map(|key| format!("--unset {key}")).collect();
            format!(
                "{error}; `{}` leaves out what is meant for a public set, and recipes/own-images.toml has none of it",
                settings.join(" ")
            )
        }
        RunError::NoSuch { what, .. } if what == GROUP => {
            format!("{error}; `--images` names training images, whatever the groups are")
        }
        RunError::NoRun { .. } => format!("{error}: a run is a folder that `pentimento run RECIPE` made"),
        RunError::Missing { run, made_by, .. } => {
            format!("{error}: run `{}` first", command_for(made_by, run))
        }
        RunError::NoScores { run, made_by, methods, other_sets } => {
            let instead = match (methods.as_slice(), other_sets.as_slice()) {
                ([], []) => String::new(),
                ([], sets) => {
                    format!(" ({})", there_are_scores(sets.iter().map(|(asked, methods)| (asked, methods))))
                }
                (methods, _) => format!(" (there are those of {})", methods.join(", ")),
            };
            format!(
                "the table of scores{instead} is not there yet: run `{}` first",
                command_for(made_by, run)
            )
        }
        RunError::QueriesWithoutClass { .. } => {
            format!("{error}; or say with `--class` which all of them are of")
        }
        RunError::QueriesWithoutPrompt { .. } => {
            format!("{error}; for the images of a folder or file, `--prompt` gives one to all of them")
        }
        RunError::NoRecipe { run } => format!(
            "{error}; `pentimento adopt RUN {}` takes pieces over, `pentimento run RECIPE --run {}` goes on with a run",
            run.display(),
            run.display()
        ),
        RunError::RecipeBeingReplaced { run } => format!(
            "{error}; try again, or let a command that writes to the run, such as `pentimento report {}`, finish it",
            run.display()
        ),
        RunError::InsideARun { .. } => format!("{error}: name a place outside of it"),
        RunError::WouldReplace { .. } => {
            format!("{error}: add `--replace` to do so, or name another folder with `--run`")
        }
        RunError::ImagesGone { field, .. } => format!(
            "{error}; `pentimento run RECIPE --set {field}=PATH` takes another path, also with the run in the place of RECIPE"
        ),
        RunError::SeveralMethods { .. } => format!("{error}; name one with `--method`"),
        RunError::NoMember { members: 0, run, .. } => {
            format!("{error}: `pentimento train {}` trains them", run.display())
        }
        RunError::NoMember { .. } => format!("{error}; say which with `--member`"),
        RunError::Occupied { path } if path.is_dir() => {
            format!("{error}; name a folder that is empty or does not exist yet")
        }
        RunError::Occupied { .. } => format!("{error}; give another name"),
        RunError::MembersWithoutImages { .. } => format!(
            "{error}; take more groups, or other codes with `--set` of `codes.members`, `codes.weight` or `seed`"
        ),
        RunError::Diffusion(DiffusionError::Unclear { folder, what })
        | RunError::Encoder(EncoderError::Model(DiffusionError::Unclear { folder, what })) => {
            match how_to_choose(what, Path::new(folder)) {
                Some(choice) => format!("{error}; {choice}"),
                None => error.to_string(),
            }
        }
        RunError::Diffusion(DiffusionError::NoFolder { folder }) => match hub::fetching(Path::new(folder)) {
            Some((command, target)) => format!(
                "{error}; if a model of the Hugging Face Hub is meant, `{command}` fetches it into the folder {target}, which \
                 can be named then"
            ),
            None => error.to_string(),
        },
        RunError::NoCodes { .. } => format!("{error}; `sample`, `attribute` and `report` work with it"),
        RunError::NoTrainingImages => format!(
            "{error}: import the checkpoint again with `--set data.set=NAME` or `--set data.path=PATH`"
        ),
        RunError::NoClassifier { .. } => format!(
            "{error}: name the file of one with `--classifier`, such as classifier/classifier.safetensors of a run that \
             trained one"
        ),
        RunError::Bank(error) => of_banks(error),
        RunError::Part(error) => of_parts(error),
        RunError::NotFinite { .. } | RunError::Curvature(CurvatureError::Sums { .. }) => {
            format!("{error}; `pentimento doctor` looks at a checkpoint")
        }
        RunError::Device { problem } => {
            format!("--device: {problem}; without the option the processor is used")
        }
        error => error.to_string(),
    }
}

/// A failure of a bank, with the options and commands that mend it.
fn of_banks(error: &BankError) -> String {
    match error {
        BankError::OfOtherRecipe { bank, .. } => format!(
            "{error}; bring back the images and the recipe of then, or train today's bank in another folder: `pentimento bank \
             {} --run FOLDER`",
            bank.display()
        ),
        BankError::WouldRemove { .. } => {
            format!("{error}: add `--replace` to do so, or name another folder with `--run`")
        }
        BankError::IsBank { .. } => format!(
            "{error}; `bank` trains it, `evaluate` judges by it, `ablate` makes samples again without images, `pieces` lists it"
        ),
        BankError::NotBank { .. } => format!("{error}; recipes/mnist-bank.toml has one"),
        BankError::NothingToTrainAgain { .. } => format!(
            "{error}; `pentimento ablate` makes its samples again without images, by the members that never saw them, and \
             `pentimento bank` trains networks of which one sees all"
        ),
        BankError::NotOfBank { bank, .. } => {
            let network = bank.join("networks/0000-0");
            format!("{error}; `pentimento import {}` makes a run of one", network.display())
        }
        BankError::TooManyRemoved { .. } => format!("{error}; say fewer with `--top`"),
        BankError::TooFewSamples { run, targets, controls, .. } => format!(
            "{error}; ask for fewer with `--queries` and `--controls`, or import the network again with `--run {} --set \
             samples.count={}`",
            run.display(),
            targets + controls
        ),
        error => error.to_string(),
    }
}

/// A failure of a part of a pipeline, with the commands that mend it.
fn of_parts(error: &PartError) -> String {
    match error {
        PartError::NoSampleSize { .. } => {
            format!(
                "{error}; say it with `--set checkpoint.sample_size=SIDE` or `=[HEIGHT,WIDTH]`, of a network that members begin with by \
                 `base.sample_size`"
            )
        }
        PartError::AnotherNetwork { .. } => format!("{error}; name another folder with `--run`"),
        PartError::Gone { .. } | PartError::Other { .. } => format!(
            "{error}; bring it back, or begin again with what is there: `pentimento import` as it was used for this run, with the same \
             `--lora` and `--set`, or of an ensemble `pentimento run RECIPE`"
        ),
        PartError::LatentNotFinite { .. } => format!("{error}; `pentimento doctor` looks at a checkpoint"),
        PartError::Adapter { network, .. } => format!(
            "{error}; `--lora` takes a safetensors file, or the folder of one, that was trained on the network in {}",
            network.display()
        ),
    }
}

/// A failure of an image set, with the options of this program that mend it.
fn of_images(error: &DataError) -> String {
    match error {
        DataError::Damaged { .. } => format!(
            "{error}\n`--skip-damaged`, or `data.skip_damaged = true` in the recipe, goes on without them; `pentimento data \
             inspect` lists them all"
        ),
        DataError::Captions { .. } => format!(
            "{error}\nof several columns of texts `data.captions = \"COLUMN\"` in the recipe, or with `--set`, names the one that is \
             meant"
        ),
        error => error.to_string(),
    }
}

/// A word of a command as a shell reads it back.
pub fn in_shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The command that makes what a run lacks.
fn command_for(made_by: &MadeBy, run: &Path) -> String {
    let run = run.display();
    match made_by {
        MadeBy::Bank => format!("pentimento bank {run}"),
        MadeBy::Training => format!("pentimento train {run}"),
        MadeBy::Encoding => format!("pentimento attribute {run}"),
        MadeBy::Sampling => format!("pentimento sample {run}"),
        MadeBy::Attribution => format!("pentimento attribute {run}"),
        MadeBy::Settings(settings) => {
            let settings: String = settings.iter().map(|setting| format!(" --set {setting}")).collect();
            // What such settings ask for is in shards that are there without it.
            format!("pentimento run {run}{settings} --replace")
        }
        MadeBy::Import(folder) => {
            let folder = folder.as_deref().unwrap_or(Path::new("DIR")).display();
            format!("pentimento import {folder} --run {run}")
        }
        MadeBy::Scores { method, query } => {
            let option = |name: &str, value: &Option<String>| {
                value.as_ref().map_or(String::new(), |value| format!(" --{name} {value}"))
            };
            format!("pentimento attribute {run}{}{}", option("method", method), option("query", query))
        }
    }
}

/// A sentence on sets of queries, by how they were asked about, and the methods that scored them.
pub(crate) fn there_are_scores<'a>(sets: impl Iterator<Item = (&'a String, &'a Vec<String>)>) -> String {
    let sets: Vec<String> =
        sets.map(|(asked, methods)| format!("`--query {asked}` by {}", methods.join(", "))).collect();
    format!("there are scores of {}", sets.join("; "))
}

/// The option or the command that says what a checkpoint leaves open; none if all that could be taken is damaged.
fn how_to_choose(what: &Unclear, folder: &Path) -> Option<String> {
    let one_of = |option: &str, names: &[String]| {
        let options: Vec<String> = names.iter().map(|name| format!("`--{option} {name}`")).collect();
        (!options.is_empty()).then(|| format!("say {}", options.join(" or ")))
    };
    match what {
        Unclear::Network { damaged } => {
            let is_whole = |kind: &NetworkFolder| damaged.iter().all(|(other, _)| other != kind);
            let whole = NetworkFolder::ALL.into_iter().filter(is_whole).map(|kind| kind.name().to_owned());
            one_of("network", &whole.collect::<Vec<_>>())
        }
        Unclear::Variant(names) => one_of("variant", names),
        Unclear::Config(_) => Some("name the file of its configuration with `--config FILE`".into()),
        Unclear::Scheduler => Some("name its file with `--scheduler FILE`".into()),
        Unclear::Checkpoint(inside) => {
            let whole = inside.iter().rfind(|checkpoint| checkpoint.damage.is_none())?;
            let whole = folder.join(&whole.name);
            Some(format!("name one of them, as in `pentimento doctor {}`", whole.display()))
        }
    }
}

/// What a person can do about a failure that does not say it itself.
///
/// A damaged object: its stage makes it again once it is gone, as every object follows from the recipe. It is not deleted
/// unasked, since a disk that loses bytes is something to know about, and a person may have a copy.
pub fn advice(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let of_run = cause.downcast_ref().and_then(|error| match error {
            RunError::Store(error) => Some(error),
            _ => None,
        });
        match of_run.or_else(|| cause.downcast_ref()) {
            Some(StoreError::Corrupt { file, .. } | StoreError::Missing { file }) => how_to_make_again(file),
            Some(StoreError::Moved { .. }) => Some(
                "nothing more was written; the same command goes on with what was stored, once it names the place of the run"
                    .into(),
            ),
            _ => None,
        }
    })
}

/// How to make an object again of which the file is damaged or gone; none for a file that is no object of a run.
pub fn how_to_make_again(file: &Path) -> Option<String> {
    let run = file.ancestors().skip(1).find(|folder| folder.join("manifest.json").is_file())?;
    let inside = |folder: &str| file.starts_with(run.join(folder));
    if inside("ablations") {
        return Some(
            "it was made by `pentimento ablate`, which makes it again; no stage reads it, and what you do not want any more \
             you can leave as it is"
                .into(),
        );
    }
    if inside("scores") {
        return Some(how_to_score_again(run, file));
    }
    if file == run.join("costs.json") {
        return Some(
            "the next stage that makes something writes it anew; only forecasts and the times on the page follow from it, and what \
             it said is lost"
                .into(),
        );
    }
    if file.ends_with("training.json")
        && let Some(network) = file.parent()
    {
        return Some(format!(
            "it only says which version of the program's numerics trained the network, which is sound without it; who wants it \
             back deletes the folder `{}`, and the network is trained again",
            network.display()
        ));
    }
    if inside("evaluation") {
        return Some(format!(
            "delete `{}`, then `pentimento evaluate {run} --bank BANK` with the bank of then makes it again, or `pentimento \
             verify-removal {run} --bank BANK` if that made it",
            file.display(),
            run = run.display()
        ));
    }
    if ["features", "curvature", "latents", "texts"].into_iter().any(inside) {
        return Some(format!(
            "`pentimento attribute {} --method NAME` with the method that reads it makes it again; if you ask for none that \
             does, nothing reads it",
            run.display()
        ));
    }
    let recipe = std::fs::read_to_string(run.join("recipe.toml")).unwrap_or_default();
    let imported_from = recipe
        .parse::<toml::Table>()
        .ok()
        .and_then(|recipe| Some(recipe.get("checkpoint")?.get("folder")?.as_str()?.to_owned()));
    let is_recipe = file == run.join("recipe.toml");
    if is_recipe && Recipe::open(file, &[]).is_ok() {
        return Some(format!(
            "if you have edited it, `pentimento run {}` takes it as it is now",
            run.display()
        ));
    }
    let imported_from = imported_from.or_else(|| {
        // A recipe that is gone does not say it; a trained run has codes.
        (is_recipe && !run.join("codes.npy").exists()).then(|| "FOLDER".to_owned())
    });
    let is_bank = recipe.parse::<toml::Table>().is_ok_and(|recipe| recipe.contains_key("bank"));
    let again = if is_bank && !is_recipe {
        format!("pentimento bank {}`", run.display())
    } else if let Some(folder) = imported_from.filter(|_| inside("members") || is_recipe) {
        format!("pentimento import {folder} --run {}`", run.display())
    } else if is_recipe {
        format!("pentimento run RECIPE --run {}` with the recipe of this run", run.display())
    } else {
        format!("pentimento run {}`", run.display())
    };
    let first = if file.exists() { format!("delete `{}`, then ", file.display()) } else { String::new() };
    Some(format!("{first}`{again} makes it again, and nothing else that is whole"))
}

/// How to make a file of scores again: by the command that wrote it, which writes it anew whatever is there.
fn how_to_score_again(run: &Path, file: &Path) -> String {
    let method = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let set = file.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    // Beside the scores lies who was asked about; of a damaged one, what it said before is still a help.
    let description = std::fs::read(file.with_extension("json")).unwrap_or_default();
    let asked = serde_json::from_slice::<serde_json::Value>(&description).ok().and_then(|description| {
        let class = description["asked_class"].as_str();
        let class = class.map_or(String::new(), |class| format!(" --class {}", in_shell(class)));
        let prompt = description["asked_prompt"].as_str();
        let prompt = prompt.map_or(String::new(), |prompt| format!(" --prompt {}", in_shell(prompt)));
        Some(format!("{}{class}{prompt}", in_shell(description["asked_about"].as_str()?)))
    });
    let (query, note) = match (set.as_deref(), asked) {
        (Some("projection"), _) => {
            return format!("`pentimento attribute {} --method NAME` measures it again", run.display());
        }
        // Samples, or the ranking of codes, which lies in `scores` itself.
        (Some("samples" | "scores"), _) => (String::new(), ""),
        (_, Some(asked)) => (format!(" --query {asked}"), ""),
        (_, None) => (" --query QUERY".into(), ", with the query of then,"),
    };
    format!("`pentimento attribute {} --method {method}{query}`{note} makes it again", run.display())
}

/// The exit code of a failure: 1 failed, 42 wrong input, 75 try again (clap itself ends with 2 on wrong usage).
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    for cause in error.chain() {
        if let Some(RunError::Device { .. }) = cause.downcast_ref() {
            return ExitCode::from(2);
        }
        let kind = match cause.downcast_ref() {
            Some(ProgramError::MeasuringStopped) => FailureKind::NotNow,
            // The reader has what it wanted, as in `pentimento codes RECIPE | head -3`.
            Some(ProgramError::Output { source }) if source.kind() == ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            Some(ProgramError::Output { .. }) => FailureKind::Failed,
            Some(_) => FailureKind::Input,
            None => FailureKind::of(cause),
        };
        if kind != FailureKind::Failed {
            return of_kind(kind);
        }
    }
    of_kind(FailureKind::Failed)
}

fn of_kind(kind: FailureKind) -> ExitCode {
    ExitCode::from(match kind {
        FailureKind::Input => 42,
        FailureKind::NotNow => 75,
        FailureKind::Failed => 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_shell_reads_a_word_back() {
        for (word, written) in [
            ("paintings/a-1.png", "paintings/a-1.png"),
            ("", "''"),
            ("for $5 or `ls`", "'for $5 or `ls`'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(in_shell(word), written);
            let told =
                std::process::Command::new("sh").arg("-c").arg(format!("printf %s {written}")).output();
            assert_eq!(told.unwrap().stdout, word.as_bytes());
        }
    }

    #[test]
    fn a_cause_is_said_once() {
        let missing = || std::io::Error::from(ErrorKind::NotFound);
        let quoted = ProgramError::Output { source: missing() };
        let text = quoted.to_string();
        assert_eq!(message(&anyhow::Error::new(quoted).context("printing")), format!("printing: {text}"));
        let told = Err::<(), _>(missing()).context("opening a.toml").unwrap_err();
        assert_eq!(message(&told), format!("opening a.toml: {}", missing()));
    }
}
