//! Networks that are trained again without some images: they differ from the bank's by these images alone, whatever stops them.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Laboratory, digests, pixels};
use pentimento_attribution::methods::Method;
use pentimento_run::bank::{bank_data, network_folder, train_bank, weights_name};
use pentimento_run::checkpoint::{Selection, import_checkpoint, open_checkpoint};
use pentimento_run::error::BankError;
use pentimento_run::gradients::{QuerySet, Subject, TrainingImages};
use pentimento_run::removal::{
    AskedImage, OneImage, PooledSettings, Retraining, removal_of_many, verify_removal,
};
use pentimento_run::{Networks, Recipe, Reporter, RunError, RunOptions, Stop, Workspace};
use pentimento_store::{Digest, Run};
use pentimento_testing::image_files::npy;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const IMAGES: usize = 30;

/// A bank with two seeds whose second subset lacks the class 2, which is the images 20 to 29.
fn bank(laboratory: &Laboratory) -> PathBuf {
    let text = format!(
        r#"
name = "bank"
seed = 7
[data]
images = {images:?}
labels = {labels:?}
[bank]
subsets = 0
groups = "class"
without = ["2"]
seeds = 2
[model]
block_out_channels = [8, 16]
down_block_types = ["DownBlock2D", "AttnDownBlock2D"]
up_block_types = ["AttnUpBlock2D", "UpBlock2D"]
layers_per_block = 1
norm_num_groups = 4
[training]
steps = 6
batch = 8
learning_rate = 1e-3
[sampling]
steps = 3
"#,
        images = laboratory.path("images"),
        labels = laboratory.path("labels"),
    );
    let recipe = Recipe::parse(&text, "bank", &[]).unwrap();
    let workspace = Workspace::for_recipe(&laboratory.path("bank"), recipe, RunOptions::default()).unwrap();
    let data = bank_data(&workspace).unwrap();
    train_bank(&workspace, &data).unwrap();
    laboratory.path("bank")
}

/// The same images in the opposite order.
fn turned_around(laboratory: &Laboratory) -> PathBuf {
    let mut images: Vec<Vec<u8>> = pixels().chunks(64).map(<[u8]>::to_vec).collect();
    images.reverse();
    let file = laboratory.path("turned.npy");
    fs::write(&file, npy(&[images.len(), 8, 8], &images.concat())).unwrap();
    file
}

/// A run of a network of a bank, whose training images are in another order.
fn import(laboratory: &Laboratory, network: &str, name: &str) -> PathBuf {
    let folder = laboratory.path("bank").join(network);
    let opened = open_checkpoint(&folder, &Selection::default(), &Reporter::silent()).unwrap();
    let images = turned_around(laboratory);
    let settings = [
        format!("data.path={images:?}"),
        "samples.count=4".into(),
        "sampling.steps=3".into(),
        "gradients.timesteps=2".into(),
        "gradients.groups=2".into(),
    ];
    import_checkpoint(&opened, Some(&laboratory.path(name)), &settings, RunOptions::default()).unwrap();
    laboratory.path(name)
}

/// Does something with the network of a run.
fn with_subject<R>(run: &Path, options: RunOptions, work: impl FnOnce(&Subject<'_>) -> R) -> R {
    let workspace = &Workspace::open(run, options).unwrap();
    let networks = &Networks::imported(workspace).unwrap();
    let training = &TrainingImages::open(workspace, networks).unwrap();
    work(&Subject::new(workspace, networks, training))
}

/// The digests of the weights without each of some sets of images of a run.
fn without(run: &Path, bank: &Path, removed: &[Vec<usize>]) -> Result<Vec<Digest>, RunError> {
    with_subject(run, RunOptions::default(), |subject| {
        let retraining = Retraining::open(subject, bank, RunOptions::default())?;
        let networks = retraining.without(removed)?;
        assert_eq!(networks.weights[0], subject.networks.weights[0]);
        Ok(networks.weights[1..].iter().map(|weights| weights.digest).collect())
    })
}

fn verify(run: &Path, bank: &Path, method: &str, options: RunOptions) -> Result<OneImage, RunError> {
    with_subject(run, options.clone(), |subject| {
        let queries = QuerySet::Samples.make_and_open(subject)?;
        let retraining = Retraining::open(subject, bank, options)?;
        let method = Method::named(method).unwrap();
        let asked = AskedImage { query: "2", method, count: 5, classifier: None, draws: 4 };
        verify_removal(subject, &retraining, &queries, asked)
    })
}

/// What is found of a run beside its network and its samples.
fn evaluation(run: &Path) -> BTreeMap<String, Digest> {
    let mut found = digests(run);
    found.retain(|name, _| name.starts_with("evaluation/"));
    found
}

fn networks_of(objects: &BTreeMap<String, Digest>) -> Vec<&String> {
    objects.keys().filter(|name| name.ends_with("diffusion_pytorch_model.safetensors")).collect()
}

#[test]
fn only_the_removed_images_change_a_network() {
    let laboratory = Laboratory::new();
    let bank = bank(&laboratory);
    let of_bank =
        |subset, seed| Run::open_read_only(&bank).unwrap().entry(&weights_name(subset, seed)).unwrap().blake3;
    let run = import(&laboratory, &network_folder(0, 0), "run");
    // The class 2, which comes first in the run, and once more in another order.
    let class: Vec<usize> = (20..30).map(|place| IMAGES - 1 - place).collect();
    let mut shuffled = class.clone();
    shuffled.rotate_left(3);
    let found = without(&run, &bank, &[Vec::new(), class, shuffled, vec![15]]).unwrap();
    assert_eq!(found[..3], [of_bank(0, 0), of_bank(1, 0), of_bank(1, 0)]);
    assert_ne!(found[3], of_bank(0, 0));
    // One network for each set of images, which says in words what it lacks.
    let objects = evaluation(&run);
    assert_eq!(networks_of(&objects).len(), 3, "{objects:?}");
    let mut lacking: Vec<usize> = objects
        .keys()
        .filter(|name| name.ends_with("removed.json"))
        .map(|name| serde_json::from_slice(&fs::read(run.join(name)).unwrap()).unwrap())
        .map(|removed: serde_json::Value| removed["names"].as_array().unwrap().len())
        .collect();
    lacking.sort_unstable();
    assert_eq!(lacking, [0, 1, 10]);

    // The other seed is known by its weights, and keeps its own first weights and noises.
    let other = import(&laboratory, &network_folder(0, 1), "other");
    let found = without(&other, &bank, &[Vec::new(), vec![0]]).unwrap();
    assert_eq!(found[0], of_bank(0, 1));
    assert!(found[1] != of_bank(0, 1) && of_bank(0, 1) != of_bank(0, 0));
}

#[test]
fn a_removal_has_the_same_bytes_however_often_it_is_stopped() {
    let laboratory = Laboratory::new();
    let bank = bank(&laboratory);
    let run = import(&laboratory, &network_folder(0, 0), "once");
    let found = verify(&run, &bank, "das", RunOptions::default()).unwrap();
    let methods: Vec<_> = found.found.rows.iter().map(|row| (row.method, row.removed.len())).collect();
    assert_eq!(methods, [("das", 5), ("random", 5), ("pixel-cosine", 5)]);
    assert!(found.found.rows.iter().all(|row| row.image_change.unwrap() > 0.0 && row.loss_change != 0.0));
    let once = evaluation(&run);
    assert_eq!(networks_of(&once).len(), 3);

    let stopped = import(&laboratory, &network_folder(0, 0), "stopped");
    let mut attempt = 0;
    loop {
        let stop = Stop::default();
        let (flag, seen, most) = (stop.clone(), AtomicUsize::new(0), 8 + 4 * attempt);
        let reporter = Reporter::new(move |_| {
            if seen.fetch_add(1, Ordering::Relaxed) > most {
                flag.set();
            }
        });
        let options =
            RunOptions { stop, reporter, checkpoint_every: Duration::ZERO, ..RunOptions::default() };
        match verify(&stopped, &bank, "das", options) {
            Ok(_) => break,
            Err(RunError::Stopped) => attempt += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(attempt < 200, "it never ends");
    }
    assert!(attempt > 3, "{attempt}");
    assert_eq!(evaluation(&stopped), once);

    // The controls are those of any method: another one trains one network more.
    verify(&run, &bank, "trak", RunOptions::default()).unwrap();
    assert_eq!(networks_of(&evaluation(&run)).len(), 4);
}

#[test]
fn many_samples_are_held_against_others() {
    let laboratory = Laboratory::new();
    let bank = bank(&laboratory);
    let run = import(&laboratory, &network_folder(0, 0), "run");
    let found = with_subject(&run, RunOptions::default(), |subject| {
        let samples = QuerySet::Samples.make_and_open(subject).unwrap();
        let retraining = Retraining::open(subject, &bank, RunOptions::default()).unwrap();
        let methods = ["das", "trak"].map(|name| Method::named(name).unwrap());
        let settings = PooledSettings { targets: 2, controls: 2, top: Some(3), draws: 4 };
        removal_of_many(subject, &retraining, &samples, &methods, None, settings).unwrap()
    });
    assert!((3..=6).contains(&found.count), "{}", found.count);
    let methods: Vec<_> = found.rows.iter().map(|row| row.method).collect();
    assert_eq!(methods, ["das", "trak", "random", "pixel-cosine"]);
    for row in &found.rows {
        assert_eq!(row.removed.len(), found.count, "{}", row.method);
        assert_eq!((row.image.targets.len(), row.image.controls.len()), (2, 2));
        assert_eq!(row.loss.against.len(), if row.is_control { 0 } else { 2 });
        let mean = row.image.targets.iter().sum::<f64>() / 2.0;
        assert!((row.image.mean_of_targets - mean).abs() < 1e-12 && mean > 0.0);
    }
    assert_eq!((found.targets, found.controls), (vec!["0".into(), "1".into()], vec!["2".into(), "3".into()]));
    let objects = evaluation(&run);
    assert!(
        objects.contains_key("evaluation/removal.json") && objects.contains_key("evaluation/removal.parquet")
    );
}

#[test]
fn what_cannot_be_trained_again_is_refused() {
    let laboratory = Laboratory::new();
    let bank = bank(&laboratory);
    let refused = |run: &Path, bank: &Path| without(run, bank, &[]).err().unwrap();
    // Of the bank, and not of all images.
    let half = import(&laboratory, &network_folder(1, 1), "half");
    let error = refused(&half, &bank);
    assert!(matches!(error, RunError::Bank(BankError::NotOfBank { .. })), "{error}");
    let said = error.to_string();
    assert!(said.contains("networks/0001-1") && said.contains("without 2"), "{said}");
    let run = import(&laboratory, &network_folder(0, 0), "run");
    assert!(matches!(refused(&run, &run), RunError::Bank(BankError::NotBank { .. })));
    let ensemble = laboratory.begin("ensemble", RunOptions::default());
    pentimento_run::data::coded_data(&ensemble).unwrap();
    drop(ensemble);
    assert!(matches!(
        refused(&run, &laboratory.path("ensemble")),
        RunError::Bank(BankError::NothingToTrainAgain { .. })
    ));
    let all = (0..IMAGES).collect();
    let error = without(&run, &bank, &[all]).err().unwrap();
    assert!(
        matches!(error, RunError::Bank(BankError::TooManyRemoved { removed: IMAGES, images: IMAGES })),
        "{error}"
    );
    with_subject(&run, RunOptions::default(), |subject| {
        let retraining = Retraining::open(subject, &bank, RunOptions::default()).unwrap();
        let queries = "3,17".parse::<QuerySet>().unwrap().open(subject).unwrap();
        let ask = |query, count| {
            let method = Method::named("random").unwrap();
            let asked = AskedImage { query, method, count, classifier: None, draws: 4 };
            verify_removal(subject, &retraining, &queries, asked).map(|one| one.found)
        };
        assert!(matches!(ask("3", IMAGES), Err(RunError::Bank(BankError::TooManyRemoved { .. }))));
        let error = ask("4", 2).err().unwrap();
        assert!(matches!(error, RunError::NoSuch { .. }) && error.to_string().contains("3, 17"), "{error}");
        // An image that is no sample is not made again, and its loss is measured.
        let found = ask("17", 2).unwrap();
        assert!(found.rows.iter().all(|row| row.image_change.is_none()));
        assert!(found.headline.starts_with("Without its 2 images by random the loss"), "{}", found.headline);
    });
    assert!(!evaluation(&run).keys().any(|name| name.starts_with("evaluation/remade/")));
}
