//! A bank: networks that were trained on known subsets of the images, and differ by nothing else.

use super::bound::{BrokenBound, broken};
use super::codes::GroupBy;
use super::data::DataRecipe;
use pentimento_diffusion::training::TrainingConfig;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Most subsets and seeds of a bank; each is a network.
const MOST_SUBSETS: u32 = 100_000;
const MOST_SEEDS: u32 = 1000;
/// A code has a bit for each subset, in 64 bits.
const MOST_CODED: u32 = 64;

/// How a bank is trained: the sections that the recipe of an ensemble does not have.
#[derive(Clone, Debug, PartialEq)]
pub struct BankRecipe {
    /// Which subsets.
    pub subsets: SubsetsRecipe,
    /// As for an ensemble.
    pub model: toml::Table,
    /// As for an ensemble.
    pub training: TrainingConfig,
}

/// How subsets are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubsetChoice {
    /// Each subset is drawn by itself.
    #[default]
    Random,
    /// Each group is in equally many subsets: the networks of the first seed are the members of an encoded ensemble.
    Coded,
}

/// The section `bank`: which subsets, how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SubsetsRecipe {
    /// How many subsets are drawn.
    pub subsets: u32,
    /// The share of the groups that stays in each of them.
    pub share: f64,
    /// How they are chosen.
    pub choice: SubsetChoice,
    /// Images or groups, by name or position: one more subset without each of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// What stays or goes as one.
    pub groups: GroupBy,
    /// A CSV file `image,group`, with `groups = "table"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<PathBuf>,
    /// How many networks are trained on each subset, with other first weights, noises and orders of the images.
    pub seeds: u32,
}

impl Default for SubsetsRecipe {
    fn default() -> Self {
        Self {
            subsets: 32,
            share: 0.5,
            choice: SubsetChoice::default(),
            without: Vec::new(),
            groups: GroupBy::default(),
            table: None,
            seeds: 1,
        }
    }
}

impl SubsetsRecipe {
    /// How many subsets a coded group is in.
    pub fn weight(&self) -> u32 {
        libm::round(self.share * f64::from(self.subsets)) as u32
    }

    pub(super) fn validate(&self, data: &DataRecipe) -> Result<(), BrokenBound> {
        if self.subsets > MOST_SUBSETS {
            return broken("bank.subsets", self.subsets, format!("at most {MOST_SUBSETS}"));
        }
        if self.subsets == 0 && self.without.is_empty() {
            return broken("bank.subsets", 0, "at least 1, unless `bank.without` names images or groups");
        }
        if !(self.share > 0.0 && self.share < 1.0) {
            return broken(
                "bank.share",
                self.share,
                "above 0 and below 1: the share of the groups that stays",
            );
        }
        if !(1..=MOST_SEEDS).contains(&self.seeds) {
            return broken("bank.seeds", self.seeds, format!("1 to {MOST_SEEDS}"));
        }
        if self.choice == SubsetChoice::Coded {
            if !(2..=MOST_CODED).contains(&self.subsets) {
                return broken("bank.subsets", self.subsets, "2 to 64 with `choice = \"coded\"`");
            }
            if !(1..self.subsets).contains(&self.weight()) {
                let bound =
                    "such that with `choice = \"coded\"` a group is in at least one subset and not in all";
                return broken("bank.share", self.share, bound);
            }
        }
        super::codes::validate_groups("bank", self.groups, self.table.as_deref(), data)
    }
}
