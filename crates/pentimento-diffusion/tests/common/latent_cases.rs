//! The golden cases of latent and conditional models.

#![allow(dead_code, reason = "every test file uses its own part")]

use super::Golden;
use pentimento_diffusion::checkpoint::{Checkpoint, CheckpointFiles, Selection};
use pentimento_diffusion::condition::{Condition, TextEmbedding};
use std::path::{Path, PathBuf};

/// Every case with a U-Net: of this repository, and of the folder that `PENTIMENTO_GOLDENS_LATENT` names.
pub fn latent_cases() -> Vec<LatentCase> {
    let own = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens_latent"));
    let named = std::env::var_os("PENTIMENTO_GOLDENS_LATENT").map(PathBuf::from);
    let mut folders = Vec::new();
    for place in std::iter::once(own).chain(named) {
        let entries =
            std::fs::read_dir(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
        let mut here: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        here.retain(|folder| {
            folder.join("golden.safetensors").is_file() && folder.join("unet/config.json").is_file()
        });
        assert!(!here.is_empty(), "{}: no golden case", place.display());
        here.sort();
        folders.extend(here);
    }
    folders.iter().map(|folder| LatentCase::open(folder)).collect()
}

/// A pipeline, and what PyTorch computed with it.
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
