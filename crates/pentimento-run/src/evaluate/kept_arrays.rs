//! What was judged and by what, as NumPy arrays: for whoever wants to judge other scores by the same networks.

use super::subsets::TARGETS;
use crate::error::Result;
use crate::npy::{npy_of_bits, npy_of_f64};
use crate::workspace::Workspace;
use pentimento_store::Fingerprint;
use serde_json::{Value, json};

/// Where the arrays are.
const FOLDER: &str = "evaluation/arrays/";

/// Arrays by name, and what their axes are.
pub(super) struct KeptArrays {
    objects: Vec<(String, Vec<u8>)>,
    axes: serde_json::Map<String, Value>,
    names: serde_json::Map<String, Value>,
}

/// What was measured of a set of queries, and what methods say of it.
pub(super) struct ArraysOfSet<'a> {
    /// The set, as a file is called.
    pub set: &'a str,
    /// The names of its queries.
    pub queries: Vec<&'a str>,
    /// For each of [`TARGETS`], `[seeds][subsets][queries]`.
    pub targets: &'a [Vec<Vec<Vec<f64>>>; 2],
    /// The names of the methods.
    pub methods: Vec<&'a str>,
    /// Of each of them, `[queries][images]`.
    pub scores: &'a [Vec<Vec<f64>>],
}

impl KeptArrays {
    /// The masks `[subsets][images]` of the subsets and images that are called so.
    ///
    /// # Errors
    ///
    /// If the masks are of unequal length.
    pub(super) fn new(masks: &[Vec<bool>], subsets: Vec<&str>, images: &[String]) -> Result<Self> {
        let bits: Vec<bool> = masks.concat();
        let mut names = serde_json::Map::new();
        names.insert("subsets".into(), json!(subsets));
        names.insert("images".into(), json!(images));
        let mut kept = Self { objects: Vec::new(), axes: serde_json::Map::new(), names };
        let shape = [masks.len() as u64, images.len() as u64];
        kept.insert("masks.npy".into(), npy_of_bits(&shape, &bits)?, &["subsets", "images"]);
        Ok(kept)
    }

    fn insert(&mut self, name: String, bytes: Vec<u8>, axes: &[&str]) {
        self.axes.insert(name.clone(), json!(axes));
        self.objects.push((FOLDER.to_owned() + &name, bytes));
    }

    /// Adds a set of queries.
    ///
    /// # Errors
    ///
    /// If its tables are of unequal length.
    pub(super) fn add(&mut self, arrays: &ArraysOfSet<'_>) -> Result<()> {
        let ArraysOfSet { set, queries, targets, methods, scores } = arrays;
        let count = queries.len() as u64;
        let of_queries = format!("queries of {set}");
        for (target, seeds) in TARGETS.iter().zip(targets.iter()) {
            let subsets = seeds.first().map_or(0, Vec::len) as u64;
            let shape = [seeds.len() as u64, subsets, count];
            let bytes = npy_of_f64(&shape, &seeds.concat().concat())?;
            let name = format!("{set}/{}.npy", target.replace(' ', "-"));
            self.insert(name, bytes, &["seeds", "subsets", &of_queries]);
        }
        for (method, rows) in methods.iter().zip(scores.iter()) {
            let images = rows.first().map_or(0, Vec::len) as u64;
            let bytes = npy_of_f64(&[count, images], &rows.concat())?;
            self.insert(format!("{set}/scores-{method}.npy"), bytes, &[&of_queries, "images"]);
        }
        self.names.insert(of_queries, json!(queries));
        Ok(())
    }

    /// Writes all of them to the run, in the place of those of the evaluation before.
    ///
    /// # Errors
    ///
    /// As writing to the run.
    pub(super) fn write(mut self, workspace: &Workspace) -> Result<()> {
        let description = json!({ "axes": self.axes, "names": self.names });
        self.objects.push((format!("{FOLDER}axes.json"), serde_json::to_vec_pretty(&description)?));
        let run = &workspace.run;
        let is_of_before = |name: &String| {
            name.starts_with(FOLDER) && !self.objects.iter().any(|(written, _)| written == name)
        };
        for name in run.names().into_iter().filter(is_of_before) {
            run.remove(&name)?;
        }
        let mut key = Fingerprint::of("arrays of an evaluation");
        for (_, bytes) in &self.objects {
            key = key.bytes(bytes);
        }
        run.put_many(self.objects, key.finish())?;
        Ok(())
    }
}
