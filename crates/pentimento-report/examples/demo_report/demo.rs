//! A view with drawn digits and made-up numbers: what a run over seven classes looks like on the page.

use pentimento_report::{
    AgreementRow, ApproximationView, Basis, CounterfactualView, Estimate, FidelityRow, GroupTableRow,
    GroupTableView, HeadlineFigure, Interval, LossCurve, LossPoint, MadeWith, MethodComparison, MethodView,
    Picture, Reference, Removed, ReportView, SampleView, SeenAs, StageCost, Statement, TopImageView,
    TrainingImageList, Unit,
};

const CLASSES: [usize; 7] = [0, 1, 2, 3, 4, 6, 8];
const METHODS: [(&str, f64); 3] =
    [("control variate", 0.02), ("one-member Jacobian", 0.2), ("individual models", 0.5)];

/// A page of so many samples with pictures of `side` x `side`.
pub fn view(samples: usize, side: u32) -> ReportView {
    let mut random = Random(7);
    let samples: Vec<SampleView> = (0..samples).map(|id| sample(id as u64, side, &mut random)).collect();
    ReportView {
        title: "Seven classes of digits".to_owned(),
        what_this_is: "Seven small diffusion models learned from handwritten digits, each from another part of the classes. \
            Together they made the digits on this page. Each digit was then made again without one class at a time, to see \
            what it rests on."
            .to_owned(),
        made_with: MadeWith {
            version: "pentimento 0.1.0".to_owned(),
            recipe_name: "demo (drawn digits, made-up numbers)".to_owned(),
            machine: "2 cores".to_owned(),
            date: "2026-11-22".to_owned(),
        },
        headline_figures: headline_figures(),
        interval_meaning: "95 % bootstrap intervals over samples".to_owned(),
        distance_meaning: "the Euclidean distance over all pixels, black 0 and white 1".to_owned(),
        members: Some(7),
        methods: vec![
            method("control variate", "All members guide the picture along its first way; one member that never saw the class \
                corrects it. One model call per step."),
            method("one-member Jacobian", "A straight-line estimate of how the picture moves when members leave. One tangent per step."),
            method("individual models", "Each member makes the picture alone, and the pictures are averaged."),
        ],
        removal: None,
        pooled_removal: None,
        group_table: Some(group_table(&samples)),
        samples,
        fidelity: fidelity(),
        damping_curves: Vec::new(),
        method_comparisons: vec![
            comparison("Pearson over pixels", "control variate", "one-member Jacobian", 0.998, -62.4),
            comparison("Pearson over pixels", "one-member Jacobian", "individual models", 0.91, -38.1),
            comparison("Spearman over distances", "one-member Jacobian", "individual models", 0.71, -2.3),
        ],
        stage_agreement: vec![AgreementRow {
            question: "one-member Jacobian and control variate name the same class first".to_owned(),
            share: estimate(0.71, 0.62, 0.79),
        }],
        loss_curves: (0..7).map(|member| loss_curve(member, &mut random)).collect(),
        stage_costs: vec![
            cost("data", 1.2, "10,000 images read, pooled to 14 x 14"),
            cost("train", 231.0, "7 members, 700 steps each"),
            cost("sample", 8.4, "samples with 20 steps each"),
            cost("exact counterfactuals", 29.8, "7 per sample"),
            cost("approximations", 11.0, "3 methods"),
            cost("report", 0.3, ""),
        ],
        duplicates_note: Some("2 of 7,071 training images are exact copies of another one. They share a code.".to_owned()),
        recipe: "name = \"quickstart\"\nseed = 0\n\n[data]\nset = \"mnist\"\nsplit = \"test\"\nclasses = [0, 1, 2, 3, 4, 6, 8]\n\
            pool = 2\n\n[train]\nsteps = 700\nbatch = 64\nlearning_rate = 1e-3\n"
            .to_owned(),
        commands: vec!["pentimento quickstart".to_owned(), "pentimento report runs/quickstart".to_owned()],
    }
}

fn headline_figures() -> Vec<HeadlineFigure> {
    let figure = |label: &str, value, low, high, note: &str, references: &[(&str, f64)]| HeadlineFigure {
        label: label.to_owned(),
        estimate: estimate(value, low, high),
        unit: Unit::Share,
        note: note.to_owned(),
        references: references
            .iter()
            .map(|&(label, value)| Reference { label: label.to_owned(), value })
            .collect(),
    };
    vec![
        figure(
            "The digit rests most on the class that is seen in it",
            0.586,
            0.527,
            0.643,
            "Of 112 samples that the classifier sees as one of the seven classes.",
            &[("chance", 1.0 / 7.0), ("goal", 0.43), ("paper", 0.61)],
        ),
        figure(
            "Without its own class the digit becomes another one",
            0.821,
            0.745,
            0.897,
            "Own class removed, 112 pictures.",
            &[("goal", 0.74), ("paper", 0.93)],
        ),
        figure(
            "Without another class the digit becomes another one",
            0.149,
            0.107,
            0.191,
            "Six removals for each of 112 samples. Less is better.",
            &[("goal", 0.25), ("paper", 0.43)],
        ),
        HeadlineFigure {
            label: "How well the control variate tells the exact change".to_owned(),
            estimate: estimate(0.979, 0.971, 0.987),
            unit: Unit::Number { decimals: 3 },
            note: "Pearson correlation over pixels; 1 is perfect.".to_owned(),
            references: vec![Reference { label: "goal".to_owned(), value: 0.98 }],
        },
    ]
}

fn fidelity() -> Vec<FidelityRow> {
    let row = |method: &str, pearson: f64, spearman: f64, top1: f64, error: f64, cost: &str| FidelityRow {
        method: method.to_owned(),
        pearson: Some(estimate(pearson, pearson - error, pearson + error)),
        spearman: Some(estimate(spearman, spearman - 2.0 * error, spearman + 2.0 * error)),
        top1: Some(estimate(top1, top1 - 0.08, top1 + 0.07)),
        cost: cost.to_owned(),
    };
    let mut rows = vec![
        row("control variate", 0.996, 0.984, 0.91, 0.002, "1 forward pass per step and removal"),
        row("one-member Jacobian", 0.892, 0.849, 0.56, 0.022, "7 tangents per step, for all removals"),
        row("individual models", 0.538, 0.667, 0.69, 0.04, "nothing beyond the 7 pictures of the members"),
        row("last step only", 0.049, 0.075, 0.28, 0.01, "nothing"),
    ];
    if let Some(last) = rows.last_mut() {
        last.top1 = None;
    }
    rows
}

fn group_table(samples: &[SampleView]) -> GroupTableView {
    let classes: Vec<String> = (0..10).map(|class| class.to_string()).collect();
    let count = |labels: &mut dyn Iterator<Item = &SeenAs>| {
        let mut counts = vec![0; classes.len()];
        for seen in labels {
            if let Some(column) = classes.iter().position(|class| *class == seen.label) {
                counts[column] += 1;
            }
        }
        counts
    };
    let mut rows = vec![GroupTableRow {
        removed: None,
        counts: count(&mut samples.iter().filter_map(|one| one.seen_as.as_ref())),
    }];
    for (number, class) in CLASSES.iter().enumerate() {
        let seen = samples.iter().filter_map(|one| one.counterfactuals.get(number)?.seen_as.as_ref());
        rows.push(GroupTableRow { removed: Some(removed(*class)), counts: count(&mut seen.into_iter()) });
    }
    GroupTableView { classes, rows }
}

fn sample(id: u64, side: u32, random: &mut Random) -> SampleView {
    let class = CLASSES[(random.unit() * 6.999) as usize];
    let hand = Hand::of(random);
    let base = draw(class, &hand, side);
    let counterfactuals = CLASSES.iter().map(|&without| {
        let mut after = hand;
        let mut seen = class;
        let own = without == class && random.unit() < 0.85;
        if own {
            seen = CLASSES
                [(CLASSES.iter().position(|one| *one == class).unwrap_or(0) + 1 + id as usize % 3) % 7];
        }
        after.slant += (random.unit() - 0.5) * 0.3;
        after.size *= 0.92 + 0.16 * random.unit();
        let exact = draw(seen, &after, side);
        let approximations = METHODS.iter().map(|&(name, error)| {
            let blurred: Vec<f64> = exact
                .iter()
                .zip(&base)
                .map(|(exact, base)| exact + error * (base - exact) + error * (random.unit() - 0.5))
                .collect();
            ApproximationView {
                method: name.to_owned(),
                distance: Some(distance(&blurred, &base)),
                pearson_with_exact: Some(1.0 - error * (0.5 + random.unit() * 0.5)),
                picture: Some(picture(&blurred, side)),
            }
        });
        CounterfactualView {
            removed: removed(without),
            approximations: approximations.collect(),
            distance_exact: Some(distance(&exact, &base)),
            exact: Some(picture(&exact, side)),
            seen_as: Some(SeenAs { label: seen.to_string(), probability: 0.55 + 0.44 * random.unit() }),
            members_left: Some(4),
        }
    });
    let counterfactuals = counterfactuals.collect();
    let images: Vec<_> = (1..=8)
        .map(|rank| TopImageView {
            index: (random.unit() * 7000.0) as u64,
            label: format!("class {class}"),
            picture: Some(picture(&draw(class, &Hand::of(random), side), side)),
            distance: 3.4 - 0.2 * f64::from(rank) - if rank == 3 { 0.19 } else { 0.0 },
            basis: match rank {
                1 | 2 => Basis::Exact,
                3..=6 => Basis::Approximate { method: "control variate".to_owned() },
                _ => Basis::Approximate { method: "one-member Jacobian".to_owned() },
            },
            rank,
            near_tie: rank == 3 || rank == 4,
        })
        .collect();
    SampleView {
        name: None,
        id,
        image: picture(&base, side),
        seen_as: Some(SeenAs { label: class.to_string(), probability: 0.6 + 0.39 * random.unit() }),
        counterfactuals,
        training_image_lists: vec![TrainingImageList {
            title: "Training images it rests on most".to_owned(),
            explanation: "All 7,071 images were searched with the one-member Jacobian, the best 50 again with the control variate, and \
                the best two were removed exactly."
                .to_owned(),
            statement: Statement {
                behaviour: "the finished picture".to_owned(),
                intervention: "the members that saw the image".to_owned(),
                training_process: "none again".to_owned(),
            },
            images,
            groups: Vec::new(),
        }],
        show_detail: true,
    }
}

fn removed(class: usize) -> Removed {
    Removed { label: format!("class {class}"), class: Some(class.to_string()) }
}

fn method(name: &str, explanation: &str) -> MethodView {
    MethodView { name: name.to_owned(), explanation: explanation.to_owned() }
}

fn estimate(value: f64, low: f64, high: f64) -> Estimate {
    Estimate { value, interval: Some(Interval { low, high }) }
}

fn comparison(measure: &str, first: &str, second: &str, probability: f64, log10_p: f64) -> MethodComparison {
    MethodComparison {
        measure: measure.to_owned(),
        first: first.to_owned(),
        second: second.to_owned(),
        first_count: 224,
        second_count: 224,
        probability_first_larger: probability,
        log10_p,
    }
}

fn cost(stage: &str, seconds: f64, note: &str) -> StageCost {
    StageCost { stage: stage.to_owned(), seconds, note: note.to_owned() }
}

fn loss_curve(member: usize, random: &mut Random) -> LossCurve {
    let points = (0..700).map(|step| {
        let falling = 0.05 + 0.95 / (1.0 + f64::from(step) / 12.0);
        LossPoint { step: step as u64, loss: falling * (0.85 + 0.3 * random.unit()) }
    });
    LossCurve { name: format!("member {member}"), points: points.collect() }
}

fn distance(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| (one - other) * (one - other)).sum::<f64>().sqrt()
}

fn picture(values: &[f64], side: u32) -> Picture {
    let values: Vec<f32> = values.iter().map(|value| (value * 2.0 - 1.0) as f32).collect();
    Picture::from_model_range(side, side, 1, &values)
}

/// How a digit is written.
#[derive(Clone, Copy)]
struct Hand {
    slant: f64,
    size: f64,
    pen: f64,
    shift: (f64, f64),
}

impl Hand {
    fn of(random: &mut Random) -> Self {
        Self {
            slant: (random.unit() - 0.3) * 0.5,
            size: 0.85 + 0.25 * random.unit(),
            pen: 0.05 + 0.03 * random.unit(),
            shift: ((random.unit() - 0.5) * 0.08, (random.unit() - 0.5) * 0.08),
        }
    }
}

/// Strokes of a digit in a square from -1 to 1, y downwards.
fn strokes(digit: usize) -> Vec<Vec<(f64, f64)>> {
    let ellipse = |x: f64, y: f64, across: f64, down: f64| -> Vec<(f64, f64)> {
        // Points of a circle by repeated rotation through 22.5 degrees.
        let (cosine, sine) = (0.923_879_532_5, 0.382_683_432_4);
        let (mut right, mut up) = (1.0, 0.0);
        (0..=16)
            .map(|_| {
                let point = (x + across * right, y + down * up);
                (right, up) = (right * cosine - up * sine, right * sine + up * cosine);
                point
            })
            .collect()
    };
    match digit {
        0 => vec![ellipse(0.0, 0.0, 0.38, 0.62)],
        1 => vec![vec![(-0.1, -0.45), (0.05, -0.6), (0.0, 0.6)]],
        2 => vec![vec![
            (-0.35, -0.35),
            (-0.15, -0.6),
            (0.2, -0.58),
            (0.33, -0.3),
            (0.1, 0.1),
            (-0.38, 0.58),
            (0.42, 0.56),
        ]],
        3 => vec![vec![
            (-0.3, -0.5),
            (0.05, -0.62),
            (0.3, -0.4),
            (0.2, -0.12),
            (-0.05, -0.02),
            (0.28, 0.14),
            (0.34, 0.4),
            (0.05, 0.62),
            (-0.32, 0.5),
        ]],
        4 => vec![vec![(-0.2, -0.6), (-0.36, 0.08), (0.4, 0.05)], vec![(0.22, -0.5), (0.16, 0.62)]],
        6 => vec![vec![(0.2, -0.62), (-0.15, -0.3), (-0.32, 0.2)], ellipse(0.0, 0.3, 0.32, 0.3)],
        _ => vec![ellipse(0.0, -0.3, 0.26, 0.28), ellipse(0.0, 0.3, 0.32, 0.31)],
    }
}

/// Brightness `[side, side]` from 0 to 1.
fn draw(digit: usize, hand: &Hand, side: u32) -> Vec<f64> {
    let strokes = strokes(digit);
    let pixels = (0..side).flat_map(|row| (0..side).map(move |column| (row, column)));
    let place = |cell: u32| (f64::from(cell) + 0.5) / f64::from(side) * 2.0 - 1.0;
    pixels
        .map(|(row, column)| {
            let y = (place(row) - hand.shift.1) / hand.size;
            let x = (place(column) - hand.shift.0) / hand.size + hand.slant * y;
            let nearest = strokes
                .iter()
                .flat_map(|stroke| stroke.windows(2))
                .map(|pair| to_segment((x, y), pair[0], pair[1]))
                .fold(f64::INFINITY, f64::min);
            (1.0 - (nearest - hand.pen) / 0.12).clamp(0.0, 1.0)
        })
        .collect()
}

fn to_segment(point: (f64, f64), start: (f64, f64), end: (f64, f64)) -> f64 {
    let along = (end.0 - start.0, end.1 - start.1);
    let from = (point.0 - start.0, point.1 - start.1);
    let square = along.0 * along.0 + along.1 * along.1;
    let share = ((from.0 * along.0 + from.1 * along.1) / square.max(1e-12)).clamp(0.0, 1.0);
    let rest = (from.0 - share * along.0, from.1 - share * along.1);
    (rest.0 * rest.0 + rest.1 * rest.1).sqrt()
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
