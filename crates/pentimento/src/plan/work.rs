//! What a run still has to do, stage by stage: units, calls of networks, and the arrays it keeps.

use super::calls::{Calls, Sizes};
use super::disk::ArrayShape;
use super::situation::Situation;
use pentimento_attribution::ensemble::Approximation;
use pentimento_run::recipe::Recipe;
use std::collections::BTreeMap;

/// A run as numbers.
pub struct Work<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// Its images and what is there already.
    pub situation: &'a Situation,
    /// What all counts have in common.
    pub sizes: Sizes,
    /// Groups whose counterfactual is made exactly for each sample.
    pub asked_per_sample: usize,
}

/// A shard as numbers; shards with the same ones cost the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardKind {
    /// Number of samples.
    pub samples: usize,
    /// How many of them the approximations are measured on.
    pub measured: usize,
}

/// One stage of the work, under the name that a run's `costs.json` has for it.
#[derive(Clone, Debug, PartialEq)]
pub struct StageWork {
    /// The name.
    pub name: &'static str,
    /// How many of `unit` it makes.
    pub units: u64,
    /// What it makes.
    pub unit: &'static str,
    /// The calls of networks that takes.
    pub calls: Calls,
}

impl<'a> Work<'a> {
    /// The work of a recipe, with so many images at once in a network.
    pub fn new(recipe: &'a Recipe, situation: &'a Situation, batch: usize) -> Self {
        let data = &situation.data;
        Self {
            recipe,
            situation,
            sizes: Sizes {
                steps: recipe.sampling.steps as u64,
                members: data.codes.members() as usize,
                batch: batch.max(1),
                guided: data.network.cross_attention.is_some() && recipe.samples.guided().is_some(),
            },
            asked_per_sample: recipe.attribution.counterfactuals.min(data.groups.len()),
        }
    }

    /// Whether the counterfactual of every group is made exactly, so that there is nothing to search.
    pub fn is_complete(&self) -> bool {
        self.asked_per_sample == self.situation.data.groups.len()
    }

    /// Candidates that the control variate ranks, per sample; 0 without a search.
    pub fn candidates(&self) -> usize {
        let groups = self.situation.data.groups.len();
        if self.is_complete() { 0 } else { self.recipe.attribution.candidates.min(groups) }
    }

    /// Candidates that are made exactly, per sample; 0 without a search.
    pub fn checked(&self) -> usize {
        self.recipe.attribution.exact.min(self.candidates())
    }

    /// Samples of the whole run that the approximations are measured on.
    pub fn measured_samples(&self) -> usize {
        self.recipe.attribution.fidelity_samples.min(self.recipe.samples.count)
    }

    /// The approximations that are measured.
    pub fn methods(&self) -> Vec<Approximation> {
        let full =
            |method: &Approximation| matches!(method, Approximation::Jacobian | Approximation::PaperJacobian);
        let asked = self.recipe.attribution.full_jacobian;
        Approximation::ALL.into_iter().filter(|method| asked || !full(method)).collect()
    }

    /// What a shard of these samples is.
    pub fn kind_of(&self, samples: &[u32]) -> ShardKind {
        let limit = self.recipe.attribution.fidelity_samples;
        ShardKind {
            samples: samples.len(),
            measured: samples.iter().filter(|&&sample| (sample as usize) < limit).count(),
        }
    }

    /// How many shards of each kind are still to be made.
    pub fn kinds(&self) -> BTreeMap<ShardKind, u64> {
        let mut kinds = BTreeMap::new();
        for samples in &self.situation.remaining.attribution_shards {
            *kinds.entry(self.kind_of(samples)).or_default() += 1;
        }
        kinds
    }

    /// The members that remain without each of the first `count` groups, for each of `samples`. Which groups are asked
    /// for or found is not known yet; all codes have the same weight, so any groups need as many calls of networks. Only
    /// how these spread over the members differs a little.
    fn survivors(&self, samples: usize, count: usize) -> Vec<u64> {
        let codes = self.situation.data.codes.codes();
        let all = self.all_members();
        (0..samples * count).map(|place| all & !codes[place % codes.len()].bits()).collect()
    }

    fn all_members(&self) -> u64 {
        u64::MAX >> (64 - self.sizes.members.clamp(1, 64))
    }

    /// The stage that makes samples.
    pub fn sampling(&self) -> StageWork {
        let mut calls = Calls::default();
        let mut units = 0;
        let mut kinds: BTreeMap<usize, u64> = BTreeMap::new();
        for samples in &self.situation.remaining.sample_shards {
            *kinds.entry(samples.len()).or_default() += 1;
        }
        for (samples, shards) in kinds {
            calls.add(&Calls::trajectories(self.sizes, &vec![self.all_members(); samples]), shards);
            units += samples as u64 * shards;
        }
        StageWork { name: "sampling", units, unit: "samples", calls }
    }

    /// The stages of attribution, in their order; those with nothing to do are left out.
    pub fn attribution(&self) -> Vec<StageWork> {
        let mut stages: Vec<StageWork> = Vec::new();
        for (kind, shards) in self.kinds() {
            for stage in self.shard(kind) {
                match stages.iter_mut().find(|known| known.name == stage.name) {
                    Some(known) => {
                        known.calls.add(&stage.calls, shards);
                        known.units += stage.units * shards;
                    }
                    None => {
                        let mut calls = Calls::default();
                        calls.add(&stage.calls, shards);
                        stages.push(StageWork { units: stage.units * shards, calls, ..stage });
                    }
                }
            }
        }
        let order = [
            "base trajectories",
            "exact counterfactuals",
            "one-member Jacobian",
            "second-order term",
            "search: linear stage",
            "search: control-variate stage",
            "search: exact check",
            "control-variate counterfactuals",
            "full Jacobian",
            "individual members",
        ];
        stages.retain(|stage| stage.units > 0);
        stages.sort_by_key(|stage| order.iter().position(|name| *name == stage.name));
        stages
    }

    /// The stages of one shard, as `stages::analyse` goes through them.
    pub fn shard(&self, ShardKind { samples, measured }: ShardKind) -> Vec<StageWork> {
        let sizes = self.sizes;
        let members = sizes.members;
        let stage = |name, units: usize, unit, calls| StageWork { name, units: units as u64, unit, calls };
        let asked = |samples: usize| self.survivors(samples, self.asked_per_sample);
        let mut stages = vec![
            stage("base trajectories", samples, "samples", Calls::base_run(sizes, samples)),
            stage(
                "exact counterfactuals",
                samples * self.asked_per_sample,
                "counterfactuals",
                Calls::trajectories(sizes, &asked(samples)),
            ),
        ];
        if measured > 0 || !self.is_complete() {
            let without_one: Vec<u64> =
                (0..samples * members).map(|place| self.all_members() & !(1 << (place % members))).collect();
            stages.push(stage(
                "one-member Jacobian",
                samples,
                "samples",
                Calls::jacobians(sizes, samples, 1),
            ));
            stages.push(stage(
                "second-order term",
                samples,
                "samples",
                Calls::control_variates(sizes, &without_one),
            ));
        }
        if !self.is_complete() {
            let groups = self.situation.data.groups.len();
            let (candidates, checked) = (self.candidates(), self.checked());
            stages.push(stage("search: linear stage", samples * groups, "distances", Calls::default()));
            stages.push(stage(
                "search: control-variate stage",
                samples * candidates,
                "counterfactuals",
                Calls::control_variates(sizes, &self.survivors(samples, candidates)),
            ));
            stages.push(stage(
                "search: exact check",
                samples * checked,
                "counterfactuals",
                Calls::trajectories(sizes, &self.survivors(samples, checked)),
            ));
        }
        if measured > 0 {
            stages.push(stage(
                "control-variate counterfactuals",
                measured * self.asked_per_sample,
                "counterfactuals",
                Calls::control_variates(sizes, &asked(measured)),
            ));
            if self.recipe.attribution.full_jacobian {
                let calls = Calls::jacobians(sizes, measured, members);
                stages.push(stage("full Jacobian", measured, "samples", calls));
            }
            let alone: Vec<u64> = (0..measured * members).map(|place| 1 << (place % members)).collect();
            stages.push(stage("individual members", measured, "samples", Calls::trajectories(sizes, &alone)));
        }
        stages
    }

    /// The arrays of an attribution shard with their shapes.
    pub fn arrays(&self, ShardKind { samples, measured }: ShardKind) -> Vec<ArrayShape> {
        let (members, asked) = (self.sizes.members, self.asked_per_sample);
        let length = self.situation.data.input_shape().iter().product();
        let found = if self.is_complete() { asked } else { self.candidates() };
        let mut arrays = vec![
            ("sample", "U32", vec![samples]),
            ("image", "F32", vec![samples, length]),
            ("group", "U32", vec![samples, asked]),
            ("exact", "F32", vec![samples, asked, length]),
            ("candidate", "U32", vec![samples, found]),
            ("candidate_linear", "F32", vec![samples, found]),
            ("candidate_control_variate", "F32", vec![samples, found]),
            ("candidate_exact", "F32", vec![samples, found]),
        ];
        if measured > 0 || !self.is_complete() {
            arrays.push(("one_member_jacobian", "F32", vec![samples, members, length]));
            arrays.push(("without_member", "F32", vec![samples, members, length]));
        }
        if !self.is_complete() {
            arrays.push(("checked", "F32", vec![samples, self.checked(), length]));
        }
        if measured > 0 {
            arrays.push(("last_step", "F32", vec![measured, asked, length]));
            arrays.push(("control_variate", "F32", vec![measured, asked, length]));
            arrays.push(("alone", "F32", vec![measured, members, length]));
            if self.recipe.attribution.full_jacobian {
                arrays.push(("full_jacobian", "F32", vec![measured, members, length]));
            }
        }
        arrays
    }
}
