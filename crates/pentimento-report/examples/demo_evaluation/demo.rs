//! A view with made-up numbers: what an evaluation of six methods looks like on the page.

use pentimento_report::{
    CeilingView, Estimate, EvaluationView, Interval, JudgedMethodView, JudgedRow, JudgedSetView, MadeWith,
    QueryPairs, ScatterView, Statement, TargetView,
};

/// Name, score on the first set, score with the query mean removed, share of queries that are told from chance.
const METHODS: [(&str, f64, f64, f64); 6] = [
    ("influence-cg", 0.452, 0.401, 0.83),
    ("influence", 0.434, 0.352, 0.79),
    ("das", 0.271, 0.244, 0.46),
    ("trak", 0.183, 0.206, 0.31),
    ("pixel-cosine", 0.097, 0.121, 0.17),
    ("random", -0.013, 0.004, 0.06),
];
const QUERIES: usize = 48;
const SUBSETS: usize = 64;

/// The page of two sets of queries with two measurements each.
pub fn view() -> EvaluationView {
    let mut random = Random(11);
    EvaluationView {
        title: "Do the scores predict what really happens?".into(),
        what_this_is: "6 methods judged by 128 networks, 2 for each of 64 parts of the images, trained without some of the training \
            images: what the scores of training images say would happen is held against what did."
            .into(),
        made_with: MadeWith {
            version: "pentimento 0.1.0".into(),
            recipe_name: "demo (made-up numbers)".into(),
            ..MadeWith::default()
        },
        statement: Statement {
            behaviour: "the loss of a query, mean over 200 shared draws".into(),
            intervention: "training on 50 % of the images, 64 subsets".into(),
            training_process: "from first weights, by the bank's recipe, 2 seeds".into(),
        },
        interval_meaning: "95 % bootstrap intervals over the subsets that networks were trained on, 10000 resamples".into(),
        sets: [("Generated queries", "made by the network itself (samples)", 0.6), ("Held-out queries", "never trained on (held-out:48)", 1.0)]
            .into_iter()
            .map(|(title, note, strength)| JudgedSetView {
                title: title.into(),
                note: format!("{QUERIES} pictures, {note}."),
                targets: ["loss", "weighted loss"].into_iter().map(|name| target(name, strength, &mut random)).collect(),
            })
            .collect(),
        methods: METHODS.iter().map(|(name, ..)| method(name)).collect(),
    }
}

fn method(name: &str) -> JudgedMethodView {
    JudgedMethodView {
        name: name.into(),
        title: format!("{name} (made-up numbers)"),
        statement: Statement {
            behaviour: "the loss of the query, mean over draws".into(),
            intervention: "one training image, to first order".into(),
            training_process: "a converged training's linear response".into(),
        },
    }
}

fn target(name: &str, strength: f64, random: &mut Random) -> TargetView {
    let best = METHODS[0].1 * strength;
    let row = |random: &mut Random,
               (place, &(method, score, rest, share)): (usize, &(&str, f64, f64, f64))| {
        let value = score * strength;
        let mut query =
            || (value + 0.5 * (random.unit() + random.unit() + random.unit() - 1.5)).clamp(-1.0, 1.0);
        JudgedRow {
            method: method.into(),
            score: Some(estimate(value, 0.06)),
            without_query_mean: Some(estimate(rest * strength, 0.05)),
            significant_share: Some(share),
            behind_the_best: (place > 0).then(|| estimate(best - value, 0.04)),
            by_query: (0..QUERIES).map(|_| query()).collect(),
            undefined: 0,
        }
    };
    let predicts = name == "loss";
    TargetView {
        name: name.into(),
        finding: format!(
            "influence-cg predicts the {name} best, with {:.1} %. That it is better than the next, influence, is not established.",
            100.0 * best
        ),
        ceiling: Some(CeilingView { largest_score: 0.81, between_seeds: 0.49 }),
        ceiling_without_query_mean: Some(CeilingView { largest_score: 0.72, between_seeds: 0.35 }),
        rows: METHODS.iter().enumerate().map(|one| row(random, one)).collect(),
        scatters: METHODS[..2]
            .iter()
            .filter(|_| predicts)
            .map(|(method, ..)| scatter(method, random))
            .collect(),
    }
}

fn scatter(method: &str, random: &mut Random) -> ScatterView {
    let mut pair = || {
        let predicted = 0.004 * (random.unit() + random.unit() - 1.0);
        [predicted, 0.4 * predicted + 0.002 * (random.unit() + random.unit() - 1.0)]
    };
    let query = |query: usize, pair: &mut dyn FnMut() -> [f64; 2]| QueryPairs {
        query: query.to_string(),
        pairs: (0..SUBSETS / 2).map(|_| pair()).collect(),
    };
    ScatterView {
        method: method.into(),
        slope: 0.41,
        pearson: 0.52,
        pairs: (QUERIES * SUBSETS) as u64,
        queries: (0..QUERIES).map(|number| query(number, &mut pair)).collect(),
    }
}

fn estimate(value: f64, reach: f64) -> Estimate {
    Estimate { value, interval: Some(Interval { low: value - 1.1 * reach, high: value + 0.9 * reach }) }
}

/// A small generator (splitmix64), so that the demo is the same everywhere.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
