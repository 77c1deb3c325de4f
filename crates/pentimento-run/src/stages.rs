//! All stages of a run by their names: listing their pieces, making one, taking finished ones over.
//!
//! | stage | its pieces |
//! | --- | --- |
//! | `train` | members |
//! | `bank` | networks of a bank |
//! | `latents`, `texts` | 64 training images, 64 of their captions, encoded |
//! | `sample`, `attribute` | shards of samples |
//! | `classifier` | the classifier |
//! | `METHOD/NETWORK/images`, `METHOD/NETWORK/queries` | features of 64 images; in further groups of draws `images-4-7`, ... |
//! | `curvature/NETWORK/factors`, `curvature/NETWORK/eigenvalues` | shards of the images on which the curvature is measured |
//! | `curvature/NETWORK/decomposition` | the eigenvectors of the factors, between the two |
//! | `METHOD/NETWORK/products` | products of 64 training images with the queries, through the curvature; in further groups `products-4-7`, ... |
//! | `unlearning/NETWORK/queries` | queries that are unlearned |

use crate::analyse::{Attribution, Sampling};
use crate::bank::{BankData, BankTraining};
use crate::classify::Classifying;
use crate::costs::Costs;
use crate::data::CodedData;
use crate::drive::{self, Adoption};
use crate::encoders::{LATENTS, TEXTS};
use crate::error::{Result, RunError};
use crate::gradients::{Asked, AskedNetwork, Queries, QueryParts, QuerySet, Subject, TrainingImages};
use crate::influence::{products_of, with_curvature_stage, with_influence_stage};
use crate::network_inputs::Showing;
use crate::networks::Networks;
use crate::piece::{Piece, PieceName, Stage};
use crate::recipe::{Eigenvalues, Origin};
use crate::train::Training;
use crate::workspace::{Workspace, open_cleaned, refuse_inside_a_run};
use pentimento_attribution::curvature::InfluenceKind;
use pentimento_attribution::gradient::batches;
use pentimento_attribution::methods::{Family, Method};
use pentimento_store::Run;
use std::collections::BTreeSet;
use std::path::Path;

/// The pieces of a stage, each with whether it is there.
pub type Listed = Vec<(Piece, bool)>;

/// The names of the stages that a recipe has, and of those that some methods need.
///
/// # Errors
///
/// [`RunError::Missing`] for stages of methods if networks are not there; as opening them.
pub fn names(workspace: &Workspace, methods: &[&str]) -> Result<Vec<String>> {
    let recipe = &workspace.recipe;
    let mut names: Vec<String> = Vec::new();
    if let Some(encoders) = recipe.encoders().filter(|_| recipe.data.has_source()) {
        names.push(LATENTS.into());
        names.extend(encoders.text.is_some().then(|| TEXTS.into()));
    }
    match recipe.origin {
        Origin::Trained(_) => names.extend(["train", "sample", "attribute"].map(Into::into)),
        Origin::Imported(_) => names.push("sample".into()),
        Origin::Bank(_) => names.push("bank".into()),
    }
    names.extend(recipe.classifier.map(|_| "classifier".into()));
    if methods.is_empty() {
        return Ok(names);
    }
    with_subject(workspace, |subject| {
        for name in methods {
            match Method::named(name).map(|method| method.family) {
                Some(Family::Gradients(method)) => {
                    for number in 0..subject.networks_of(method)?.len() {
                        names.extend(Asked::stages(subject, method, number));
                    }
                }
                Some(Family::Influence(kind)) => {
                    for network in 0..subject.networks.weights.len() {
                        names.push(format!("curvature/{network}/factors"));
                        names.push(format!("curvature/{network}/decomposition"));
                        if recipe.influence.eigenvalues == Eigenvalues::Corrected {
                            names.push(format!("curvature/{network}/eigenvalues"));
                        }
                        match kind {
                            // Both ways to compare losses have the same pieces.
                            InfluenceKind::Unlearning(_) => {
                                let stage = format!("unlearning/{network}/queries");
                                if !names.contains(&stage) {
                                    names.push(stage);
                                }
                            }
                            InfluenceKind::Linear(..) => {
                                let stage = |groups| format!("{name}/{network}/{}", products_of(&groups));
                                names.extend(batches(subject.draws().groups).into_iter().map(stage));
                            }
                        }
                    }
                }
                Some(Family::Codes(_) | Family::Likeness(_)) | None => {}
            }
        }
        Ok(())
    })?;
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

/// The pieces of a stage, each with whether it is there.
///
/// # Errors
///
/// [`RunError::NoSuch`] for a stage that the run does not have, [`RunError::Missing`] if an earlier one is not finished.
pub fn list(workspace: &Workspace, stage: &str, queries: &QuerySet) -> Result<Listed> {
    with_stage(workspace, stage, queries, |stage| {
        let with_state = |piece: Piece| (stage.is_there(&piece, &workspace.run), piece);
        Ok(stage.pieces()?.into_iter().map(with_state).map(|(there, piece)| (piece, there)).collect())
    })
}

/// Makes one piece: in the workspace's run, or in a run folder of its own, which then holds its objects and nothing else. The
/// workspace may then be open for reading only. False if it was there.
///
/// # Errors
///
/// As [`drive::make_piece`].
pub fn make(
    workspace: &Workspace,
    piece: &PieceName,
    queries: &QuerySet,
    into: Option<&Path>,
) -> Result<bool> {
    let open = |folder: &Path| -> Result<Run> {
        // A run with a recipe is somebody's work, whose objects these would replace.
        let is_run = folder.join("recipe.toml").exists() || folder.join("data.json").exists();
        if is_run || (folder.exists() && !folder.is_dir()) {
            return Err(RunError::Occupied { path: folder.to_path_buf() });
        }
        refuse_inside_a_run(folder)?;
        open_cleaned(folder)
    };
    with_stage(workspace, &piece.stage, queries, |stage| {
        let into = into.map(open).transpose()?;
        drive::make_piece(workspace, stage, piece, into.as_ref())
    })
}

/// Takes over what another run folder has of this run's pieces, and says what became of each that is there. That folder stays
/// as it is.
///
/// # Errors
///
/// [`RunError::NoRun`] for a folder that is none; as reading and writing the run.
pub fn adopt(workspace: &Workspace, folder: &Path, queries: &QuerySet) -> Result<Vec<(PieceName, Adoption)>> {
    if !folder.join("manifest.json").exists() {
        return Err(RunError::NoRun { run: folder.to_path_buf() });
    }
    let other = Run::open_read_only(folder)?;
    // What it cost says which pieces it made.
    let made = Costs::read(&other).names();
    let mut stages: Vec<String> = names(workspace, &[])?;
    // Products go through the curvature, so that comes first.
    let mut of_methods: Vec<&String> = made.keys().map(|piece| &piece.stage).collect();
    of_methods.sort_by_key(|stage| !stage.starts_with("curvature/"));
    for stage in of_methods {
        if !stages.contains(stage) {
            stages.push(stage.clone());
        }
    }
    let mut found = Vec::new();
    for stage in stages {
        let mut of_stage = made.keys().filter(|piece| piece.stage == stage);
        let known = |piece: &Piece| made.contains_key(&piece.name());
        match with_stage(workspace, &stage, queries, |stage| drive::adopt(workspace, stage, &other, known)) {
            Ok(taken) => found.extend(taken.into_iter().filter_map(|(piece, adoption)| {
                let name = piece.name();
                match (adoption, made.get(&name)) {
                    (Adoption::NotThere, None) => None,
                    (Adoption::NotThere, Some(false)) => Some((name, Adoption::Unfinished)),
                    // What the folder says it made, and this run does not know, was made from something else.
                    (Adoption::NotThere, Some(true)) => Some((name, Adoption::Foreign)),
                    (adoption, _) => Some((name, adoption)),
                }
            })),
            Err(RunError::NoSuch { what, .. }) if what == "stage" => {
                found.extend(of_stage.cloned().map(|piece| (piece, Adoption::Foreign)));
            }
            Err(error @ RunError::Missing { .. }) => {
                // Said of the first piece, which stands for its stage.
                if let Some(piece) = of_stage.next() {
                    found.push((piece.clone(), Adoption::TooEarly(error)));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Does something with the stage of a name.
///
/// # Errors
///
/// [`RunError::NoSuch`] for a stage that the run does not have; [`RunError::Missing`] if an earlier one is not finished; as
/// opening what it works on, and those of the work.
pub fn with_stage<R>(
    workspace: &Workspace,
    name: &str,
    queries: &QuerySet,
    then: impl FnOnce(&dyn Stage) -> Result<R>,
) -> Result<R> {
    // Numbers can be written in several ways, of which one is the stage's name.
    let then = |stage: &dyn Stage| {
        if stage.name() == name { then(stage) } else { Err(no_such_stage(workspace, name)) }
    };
    match name {
        "train" | "sample" | "attribute" => {
            let data = CodedData::of_run(workspace)?;
            let networks = || Networks::open(workspace, data.as_ref());
            match (name, &data) {
                ("train", Some(data)) => return then(&Training::new(workspace, data)),
                ("attribute", Some(data)) => return then(&Attribution::new(workspace, data, &networks()?)),
                ("sample", _) => return then(&Sampling::new(workspace, &networks()?)),
                _ => {}
            }
        }
        "bank" if matches!(workspace.recipe.origin, Origin::Bank(_)) => {
            let data = BankData::open(&workspace.recipe, &workspace.options)?;
            return then(BankTraining::new(workspace, &data)?.stage());
        }
        LATENTS | TEXTS if workspace.recipe.encoders().is_some() => {
            let encoding = |showing: &Showing<'_>| match (name, showing.encoding_pictures()) {
                (LATENTS, Some(stage)) => then(&stage),
                (LATENTS, None) => Err(no_such_stage(workspace, name)),
                _ => match showing.encoding_texts() {
                    Some(stage) => then(&stage),
                    None => Err(no_such_stage(workspace, name)),
                },
            };
            return match CodedData::of_run(workspace)? {
                Some(data) => encoding(&Showing::to_members(workspace, &data)),
                None => TrainingImages::with_showing(workspace, &Networks::imported(workspace)?, encoding),
            };
        }
        "classifier" => {
            if let Some(stage) = Classifying::new(workspace) {
                return then(&stage);
            }
        }
        _ => {}
    }
    let mut words = name.splitn(3, '/');
    let (Some(method), Some(network), Some(what)) = (words.next(), words.next(), words.next()) else {
        return Err(no_such_stage(workspace, name));
    };
    let Ok(network) = network.parse::<usize>() else { return Err(no_such_stage(workspace, name)) };
    let named = Method::named(method);
    if let (Some(Family::Gradients(method)), Some((asked, first))) =
        (named.map(|method| method.family), Asked::named(what))
    {
        return with_subject(workspace, |subject| {
            let last = subject.in_last_round();
            let subject = if first == 0 { subject } else { &last };
            let networks = subject.networks_of(method)?;
            let asked_network = networks.get(network).ok_or_else(|| no_such_stage(workspace, name))?;
            let queries = match asked {
                Asked::Queries => queries.clone().open(subject)?,
                Asked::Images => Queries { set: queries.clone(), images: Vec::new() },
            };
            let parts = QueryParts::new(subject, &queries, method)?;
            let all: Vec<usize> = (0..subject.training.images.len()).collect();
            let network = AskedNetwork::new(subject, asked_network, network, method, &parts, &all)?;
            network.with_stage(asked, first, then)?.ok_or_else(|| no_such_stage(workspace, name))
        });
    }
    with_subject(workspace, |subject| {
        if network >= subject.networks.weights.len() {
            return Err(no_such_stage(workspace, name));
        }
        match (what, named) {
            (what, _) if method == "curvature" => with_curvature_stage(subject, network, what, then),
            (what, Some(Method { name: method, family: Family::Influence(kind), .. })) => {
                let last = subject.in_last_round();
                let groups = batches(last.draws().groups).into_iter();
                let first = match kind {
                    InfluenceKind::Unlearning(_) => Some(0),
                    InfluenceKind::Linear(..) => groups
                        .map(|groups| (products_of(&groups), groups.start))
                        .find_map(|(name, first)| (name == what).then_some(first)),
                };
                let Some(first) = first else { return Err(no_such_stage(workspace, name)) };
                let subject = if first == 0 { subject } else { &last };
                let queries = queries.clone().open(subject)?;
                with_influence_stage(subject, network, method, kind, &queries, first, then)?
                    .ok_or_else(|| no_such_stage(workspace, name))
            }
            _ => Err(no_such_stage(workspace, name)),
        }
    })
}

fn with_subject<R>(workspace: &Workspace, then: impl FnOnce(&Subject<'_>) -> Result<R>) -> Result<R> {
    let data = CodedData::of_run(workspace)?;
    let networks = &Networks::open(workspace, data.as_ref())?;
    let training = &TrainingImages::open(workspace, networks)?;
    then(&Subject::new(workspace, networks, training))
}

/// The failure of whoever asks for a stage that a run does not have.
pub(crate) fn no_such_stage(workspace: &Workspace, name: &str) -> RunError {
    let own = names(workspace, &[]).unwrap_or_default();
    let network = match &workspace.recipe.origin {
        Origin::Trained(_) => "the number of a member",
        Origin::Imported(_) => "0 for the network",
        Origin::Bank(_) => "a bank has none",
    };
    RunError::NoSuch {
        what: "stage".into(),
        value: format!("`{name}`"),
        bound: format!(
            "a stage of this run is {}, or that of a method, such as `d-trak/0/images` ({network})",
            own.join(", ")
        ),
    }
}
