//! The golden cases of latent and conditional models.

#![allow(dead_code, reason = "every test file uses its own part")]

use super::Golden;
use pentimento_diffusion::checkpoint::{AdapterFiles, Checkpoint, CheckpointFiles, Selection};
use pentimento_diffusion::condition::{Condition, TextEmbedding};
use std::path::{Path, PathBuf};

/// Every case with a U-Net: of this repository, and of the folder that `PENTIMENTO_GOLDENS_LATENT` names.
pub fn latent_cases() -> Vec<LatentCase> {
    let mut found = Vec::new();
    for place in places() {
        let folders = cases_of(&place, |folder| folder.join("unet/config.json").is_file());
        assert!(!folders.is_empty(), "{}: no golden case", place.display());
        found.extend(folders.iter().map(|folder| LatentCase::open(folder)));
    }
    found
}

/// Every adapter among these cases, in each form in which it is there.
pub fn adapter_cases() -> Vec<AdapterCase> {
    let found: Vec<AdapterCase> = places()
        .iter()
        .flat_map(|place| cases_of(place, |folder| described(folder)["kind"] == "lora"))
        .flat_map(|folder| AdapterCase::in_folder(&folder))
        .collect();
    assert!(!found.is_empty(), "no adapter among the golden cases");
    found
}

fn places() -> Vec<PathBuf> {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens_latent"));
    let named = std::env::var_os("PENTIMENTO_GOLDENS_LATENT").map(PathBuf::from);
    std::iter::once(own).chain(named).collect()
}

/// The cases of a place that are of a kind.
fn cases_of(place: &Path, is_of_kind: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = entries(place);
    found.retain(|folder| folder.join("golden.safetensors").is_file() && is_of_kind(folder));
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn described(folder: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("golden.json")).unwrap()).unwrap()
}

/// A network beneath an adapter, and what PyTorch computed with both.
pub struct AdapterCase {
    /// The adapter's folder.
    pub path: PathBuf,
    /// The network with its adapter.
    pub adapted: LatentCase,
    /// The network alone, at the same inputs.
    pub base: LatentCase,
    /// The scale of its parts over that of the parts that gradients are of: what is missing here is in the values of B.
    pub scale_over_golden: f64,
}

impl AdapterCase {
    /// The adapters of a case: of each folder of it the description says what it gives, or it has answers of its own.
    fn in_folder(folder: &Path) -> Vec<Self> {
        let described = described(folder);
        let mut base = LatentCase::open(&folder.with_file_name(described["base"].as_str().unwrap()));
        let is_of_base = |name: &str| name.starts_with("text.") || name.starts_with("schedule.");
        let is_input = |name: &str| {
            let of_inputs = [".x", ".x0", ".eps", ".t", ".condition"];
            is_of_base(name) || of_inputs.iter().any(|ending| name.ends_with(ending))
        };
        let golden = Golden::open(&std::fs::read(folder.join("golden.safetensors")).unwrap());
        let golden = golden.and(&base.golden, is_of_base);
        base.golden = golden.only("forward.out_without_adapter", "forward.out").and(&golden, is_input);
        let scale = described["alpha"].as_f64().unwrap() / described["rank"].as_f64().unwrap();
        let of_form = |path: PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_listed =
                |key: &str| described[key].as_array().unwrap().iter().any(|form| form.as_str() == Some(name));
            let own = golden.under(&format!("{name}."));
            let has_own = !own.is_empty();
            let answers = match (is_listed("same_output"), is_listed("scale_1"), has_own) {
                (true, false, false) => golden.clone(),
                (false, true, false) => {
                    golden.only("forward.out_scale_1", "forward.out").and(&golden, is_input)
                }
                // With the text of the plain encoder.
                (false, false, true) => Golden::default().and(&golden, is_input).and(&own, |_| true),
                _ => panic!("{}: nothing says what it should give", path.display()),
            };
            let checkpoint = base.checkpoint.clone();
            let adapter = AdapterFiles::find(&path).unwrap().read(&checkpoint.architecture).unwrap();
            let own_scale = adapter.modules[0].scale();
            let checkpoint = checkpoint.with_adapter(adapter).unwrap();
            Self {
                adapted: LatentCase { name: path.display().to_string(), checkpoint, golden: answers },
                base: base.clone(),
                scale_over_golden: if has_own { 1.0 } else { own_scale / scale },
                path,
            }
        };
        entries(folder).into_iter().filter(|path| path.is_dir()).map(of_form).collect()
    }
}

/// A pipeline, and what PyTorch computed with it.
#[derive(Clone)]
pub struct LatentCase {
    pub name: String,
    pub checkpoint: Checkpoint,
    pub golden: Golden,
}

impl LatentCase {
    fn open(folder: &Path) -> Self {
        let files = CheckpointFiles::find_denoiser(folder, &Selection::default()).unwrap();
        let checkpoint = files.open().unwrap();
        assert!(checkpoint.unknown_keys.is_empty(), "{}: {:?}", folder.display(), checkpoint.unknown_keys);
        let golden = Golden::open(&std::fs::read(folder.join("golden.safetensors")).unwrap());
        Self { name: folder.display().to_string(), checkpoint, golden }
    }

    /// The text of a prompt.
    pub fn text(&self, prompt: usize) -> Condition {
        let &[_, tokens, width] = self.golden.shape("text.hidden") else { panic!("shape of text.hidden") };
        let states = &self.golden.values("text.hidden")[prompt * tokens * width..][..tokens * width];
        Condition::Text(TextEmbedding::new(states.iter().map(|&state| state as f32).collect(), width))
    }

    /// The conditions that a tensor of numbers names.
    pub fn conditions(&self, name: &str) -> Vec<Condition> {
        if !self.golden.has("text.hidden") {
            return vec![Condition::None; self.golden.shape(&name.replace("condition", "t"))[0]];
        }
        self.golden.whole_numbers(name).into_iter().map(|prompt| self.text(prompt)).collect()
    }

    /// Sides of images, `[images, height, width, channels]`.
    pub fn sides(&self, name: &str) -> [usize; 4] {
        let &[images, channels, height, width] = self.golden.shape(name) else { panic!("shape of {name}") };
        [images, height, width, channels]
    }
}
