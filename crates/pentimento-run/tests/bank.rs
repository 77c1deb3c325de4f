//! Banks: networks that differ by their images alone, made at once, stopped after every step, or one by one elsewhere.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Laboratory, digests, idx, pixels};
use pentimento_diffusion::checkpoint::{TensorFile, read_weights};
use pentimento_diffusion::mixture::{Mixture, Trajectory};
use pentimento_diffusion::sampler::Sampler;
use pentimento_diffusion::unet::Parameters;
use pentimento_run::ablate::{AblationMethod, ablate};
use pentimento_run::bank::{
    Bank, BankData, BankTraining, bank_data, network_folder, train_bank, weights_name,
};
use pentimento_run::error::BankError;
use pentimento_run::piece::PieceName;
use pentimento_run::{Recipe, Reporter, RunError, RunOptions, Stop, Workspace, stages};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The bank of a recipe with this section.
fn begin(laboratory: &Laboratory, name: &str, bank: &str, options: RunOptions) -> Workspace {
    let text = format!(
        r#"
name = "small-bank"
seed = 7
[data]
images = {images:?}
labels = {labels:?}
[bank]
{bank}
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
    let recipe = Recipe::parse(&text, "small-bank", &[]).unwrap();
    Workspace::for_recipe(&laboratory.path(name), recipe, options).unwrap()
}

fn train(workspace: &Workspace) -> Result<BankData, RunError> {
    let data = bank_data(workspace)?;
    train_bank(workspace, &data)?;
    Ok(data)
}

const HALVES: &str = "subsets = 3\nseeds = 2";

#[test]
fn each_network_sees_its_subset_and_differs_by_nothing_else() {
    let laboratory = Laboratory::new();
    let workspace = begin(&laboratory, "bank", HALVES, RunOptions::default());
    let data = train(&workspace).unwrap();
    let names: Vec<&str> = data.subsets.iter().map(|subset| subset.name.as_str()).collect();
    assert_eq!(names, ["all", "random 0", "random 1", "random 2"]);
    let kept: Vec<usize> = data.subsets.iter().map(|subset| subset.positions().len()).collect();
    assert_eq!(kept, [30, 15, 15, 15]);
    assert_ne!(data.subsets[1].kept, data.subsets[2].kept);
    let digest = |subset, seed| workspace.run.entry(&weights_name(subset, seed)).unwrap().blake3;
    let mut all: Vec<_> = (0..4).flat_map(|subset| (0..2).map(move |seed| (subset, seed))).collect();
    all.sort_by_key(|&(subset, seed)| digest(subset, seed).to_string());
    all.dedup_by_key(|&mut (subset, seed)| digest(subset, seed).to_string());
    assert_eq!(all.len(), 8);

    // A subset of all images by another name is the network on all images: replaced images are all that differs.
    let whole = "subsets = 0\nwithout = [\"0\"]\nseeds = 1";
    let without = begin(&laboratory, "without", whole, RunOptions::default());
    train(&without).unwrap();
    assert_eq!(without.run.entry(&weights_name(0, 0)).unwrap().blake3, digest(0, 0));
    assert_ne!(without.run.entry(&weights_name(1, 0)).unwrap().blake3, digest(0, 0));
    // The first step meets first weights that are the same: so its loss differs only by the images that were replaced.
    let losses = |workspace: &Workspace, subset| {
        workspace.run.get(&format!("{}/losses.npy", network_folder(subset, 0))).unwrap()
    };
    assert_eq!(losses(&without, 0), losses(&workspace, 0));
}

#[test]
fn a_bank_has_the_same_bytes_however_it_was_made() {
    let laboratory = Laboratory::new();
    train(&begin(&laboratory, "once", HALVES, RunOptions::default())).unwrap();
    let once = digests(&laboratory.path("once"));
    assert_eq!(once.keys().filter(|name| name.ends_with("losses.npy")).count(), 8);

    // Stopped after some events, a little later each time.
    let mut attempt = 0;
    loop {
        let stop = Stop::default();
        let (flag, seen, most) = (stop.clone(), AtomicUsize::new(0), 4 + 2 * attempt);
        let reporter = Reporter::new(move |_| {
            if seen.fetch_add(1, Ordering::Relaxed) > most {
                flag.set();
            }
        });
        let options =
            RunOptions { stop, reporter, checkpoint_every: Duration::ZERO, ..RunOptions::default() };
        match train(&begin(&laboratory, "stopped", HALVES, options)) {
            Ok(_) => break,
            Err(RunError::Stopped) => attempt += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(attempt < 500, "it never ends");
    }
    assert!(attempt > 3, "{attempt}");
    assert_eq!(digests(&laboratory.path("stopped")), once);

    // One by one and backwards, in folders of their own.
    let owner = begin(&laboratory, "spread", HALVES, RunOptions::default());
    bank_data(&owner).unwrap();
    assert_eq!(stages::names(&owner, &[]).unwrap(), ["bank"]);
    let queries = "3".parse().unwrap();
    for number in (0..8).rev() {
        let piece: PieceName = format!("bank/{number}").parse().unwrap();
        let folder = laboratory.path(&format!("piece-{number}"));
        let reader = Workspace::open_read_only(&laboratory.path("spread"), RunOptions::default()).unwrap();
        assert!(stages::make(&reader, &piece, &queries, Some(&folder)).unwrap());
        stages::adopt(&owner, &folder, &queries).unwrap();
    }
    train(&owner).unwrap();
    drop(owner);
    assert_eq!(digests(&laboratory.path("spread")), once);
}

#[test]
fn more_subsets_and_seeds_keep_what_is_there_and_fewer_are_not_replaced_unasked() {
    let laboratory = Laboratory::new();
    train(&begin(&laboratory, "bank", HALVES, RunOptions::default())).unwrap();
    let before = digests(&laboratory.path("bank"));
    let more = "subsets = 4\nseeds = 3";
    train(&begin(&laboratory, "bank", more, RunOptions::default())).unwrap();
    let after = digests(&laboratory.path("bank"));
    for (name, digest) in before.iter().filter(|(name, _)| name.starts_with("networks/")) {
        assert_eq!(after.get(name), Some(digest), "{name}");
    }
    let refused =
        |other: &str| train(&begin(&laboratory, "bank", other, RunOptions::default())).err().unwrap();
    let error = refused("subsets = 2\nseeds = 3");
    assert!(matches!(error, RunError::Bank(BankError::WouldRemove { networks: 6, .. })), "{error}");
    let error = refused("subsets = 4\nseeds = 3\nshare = 0.8");
    assert!(matches!(error, RunError::WouldReplace { .. }), "{error}");
    assert!(error.to_string().contains("12 trained networks"), "{error}");
    assert_eq!(digests(&laboratory.path("bank")), after);
    let options = RunOptions { replace: true, ..RunOptions::default() };
    train(&begin(&laboratory, "bank", "subsets = 2\nseeds = 1", options)).unwrap();
    let fewer = digests(&laboratory.path("bank"));
    assert_eq!(fewer.keys().filter(|name| name.ends_with("losses.npy")).count(), 3);
}

/// The networks on subsets are members of an ensemble: without an image, those that never saw it make the sample, and no other.
#[test]
fn a_bank_makes_samples_again_without_images() {
    let laboratory = Laboratory::new();
    let workspace = begin(&laboratory, "bank", HALVES, RunOptions::default());
    let data = train(&workspace).unwrap();
    let training = BankTraining::new(&workspace, &data).unwrap();
    let recipe = &workspace.recipe;
    let sampler = Sampler::new(&recipe.schedule, recipe.sampling).unwrap();
    let sampled_by = |networks: &[usize]| -> Vec<f32> {
        let open = |&number: &usize| {
            let object = training.weights(number).unwrap().object;
            let file = File::open(workspace.run.path_of(&object).unwrap()).unwrap();
            let file = TensorFile::open(BufReader::new(file), &object).unwrap();
            let values = read_weights(training.architecture(), &mut [file]).unwrap().values;
            Parameters::from_memory(training.architecture(), values)
        };
        let members: Vec<_> = networks.iter().map(open).collect();
        let weights = vec![1.0 / members.len() as f64; members.len()];
        let mixture = Mixture::new(training.architecture().clone(), members, 8, 8, 4).unwrap();
        let trajectory = Trajectory { sample: 1, weights, condition: None };
        mixture.sample(&sampler, recipe.seed, &[trajectory], |_| Ok::<_, RunError>(())).unwrap()
    };
    let lacking = |image: usize| -> Vec<usize> {
        (0..8).filter(|&number| !data.subsets[data.network(number).0].kept[image]).collect()
    };
    let (mut seen_by_all, mut compared) = (0, 0);
    for image in 0..30 {
        let found = ablate(&workspace, 1, &[], &[image.to_string()], AblationMethod::Exact);
        match lacking(image).as_slice() {
            [] => {
                let error = found.err().unwrap();
                assert!(matches!(error, RunError::NoMemberRemains { members: 6, .. }), "{error}");
                seen_by_all += 1;
            }
            networks => {
                assert_eq!(found.unwrap().without, sampled_by(networks), "image {image}");
                compared += 1;
            }
        }
    }
    assert!(seen_by_all > 0 && compared > 10, "{seen_by_all} {compared}");
}

/// Networks that were trained on other images are not those that are missing: training more would not bring them.
#[test]
fn a_bank_whose_images_have_changed_says_so() {
    let laboratory = Laboratory::new();
    train(&begin(&laboratory, "bank", HALVES, RunOptions::default())).unwrap();
    let open = || Bank::open(&laboratory.path("bank"), None, RunOptions::default());
    assert_eq!(open().unwrap().networks.len(), 8);
    let mut pixels = pixels();
    pixels[5] ^= 1;
    std::fs::write(laboratory.path("images"), idx(0x803, &[30, 8, 8], &pixels)).unwrap();
    let error = open().err().unwrap();
    assert!(matches!(error, RunError::Bank(BankError::OfOtherRecipe { .. })), "{error}");
    assert!(error.to_string().contains("networks/0000-0"), "{error}");
}

#[test]
fn coded_subsets_are_balanced_and_named_ones_lack_what_they_name() {
    let laboratory = Laboratory::new();
    let open = |bank: &str| {
        let workspace = begin(&laboratory, "none", bank, RunOptions::default());
        BankData::open(&workspace.recipe, &workspace.options)
    };
    let coded = open("subsets = 8\nchoice = \"coded\"\nshare = 0.375").unwrap();
    for image in 0..30 {
        let of = coded.subsets[1..].iter().filter(|subset| subset.kept[image]).count();
        assert_eq!(of, 3, "image {image}");
    }
    let named = open("subsets = 1\ngroups = \"class\"\nshare = 0.67\nwithout = [\"1\", \"29\"]").unwrap();
    let lacks =
        |place: usize| -> Vec<usize> { (0..30).filter(|&image| !named.subsets[place].kept[image]).collect() };
    // Two of three classes stay; the class 1 comes before the image 1.
    assert_eq!(named.subsets[1].positions().len(), 20);
    assert_eq!(lacks(2), (10..20).collect::<Vec<_>>());
    assert_eq!(lacks(3), [29]);
    for (bank, problem) in [
        ("without = [\"cat\"]", "`cat`"),
        ("share = 0.5\nsubsets = 1\ngroups = \"class\"\nwithout = [\"99\"]", "`99`"),
    ] {
        let error = open(bank).err().unwrap().to_string();
        assert!(error.contains(problem) && error.contains("groups are"), "{error}");
    }
}

#[test]
fn a_recipe_of_a_bank_is_checked_and_a_bank_is_nothing_else() {
    let laboratory = Laboratory::new();
    let parse = |text: &str| Recipe::parse(&format!("name = \"b\"\ndata.set = \"mnist\"\n{text}"), "b", &[]);
    for (text, problem) in [
        ("bank.subsets = 0", "bank.subsets"),
        ("bank.share = 1.0", "bank.share"),
        ("bank.share = 0.0", "bank.share"),
        ("bank.seeds = 0", "bank.seeds"),
        ("bank.choice = \"coded\"\nbank.subsets = 65", "bank.subsets"),
        ("bank.choice = \"coded\"\nbank.subsets = 4\nbank.share = 0.01", "bank.share"),
        ("bank.groups = \"table\"", "bank.table"),
        ("bank.groups = \"source\"", "bank.groups"),
        ("bank.subsets = 4\ncodes.members = 4", "codes"),
        ("bank.unknown = 4", "unknown"),
        ("bank.subsets = 4\ntraining.steps = 0", "training.steps"),
    ] {
        let error = parse(text).err().unwrap_or_else(|| panic!("{text}")).to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
    let workspace = begin(&laboratory, "bank", HALVES, RunOptions::default());
    let text = workspace.recipe.to_text().unwrap();
    assert_eq!(Recipe::parse(&text, "again", &[]).unwrap(), workspace.recipe);
    train(&workspace).unwrap();
    let error = pentimento_run::data::coded_data(&workspace).err().unwrap();
    assert!(matches!(error, RunError::Bank(BankError::IsBank { .. })), "{error}");
    let ensemble = laboratory.begin("ensemble", RunOptions::default());
    assert!(matches!(bank_data(&ensemble).err(), Some(RunError::Bank(BankError::NotBank { .. }))));
    assert!(Path::new(&laboratory.path("bank")).join("masks.npy").exists());
}
