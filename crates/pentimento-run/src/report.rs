//! The page: turns what a run found into what a person reads.

use super::analyse::{SampleAnalysis, analysis_fingerprint, read_analysis};
use super::classify::{TrainedClassifier, open_classifier, train_classifier};
use super::costs::Costs;
use super::data::CodedData;
use super::figures::{Figures, SeenSample, group_classes, measure, see_all};
use super::train::losses;
use super::workspace::Workspace;
use crate::error::Result;
use crate::event::Event;
use crate::networks::Networks;
use crate::recipe::GroupBy;
use pentimento_attribution::ensemble::approximation::{clamped, clamped_distance};
use pentimento_attribution::ensemble::{
    Approximation, Candidate, DistinctLists, distinct_influences, sort_by_best,
};
use pentimento_data::exact_duplicates;
use pentimento_evaluation::statistics::{self, euclidean_distance, pearson};
use pentimento_report::{
    AgreementRow, ApproximationView, Basis, CounterfactualView, Estimate, FidelityRow, GroupTableRow,
    GroupTableView, HeadlineFigure, Interval, LossCurve, LossPoint, MadeWith, MethodComparison, MethodView,
    Picture, Reference, Removed, ReportView, SampleView, SeenAs, StageCost, TopImageView, TrainingImageList,
    Unit, render,
};
use pentimento_store::Fingerprint;
use std::path::PathBuf;

/// Name of the page in a run.
const REPORT: &str = "report.html";
/// Name of the figures in a run.
const FIGURES: &str = "figures.json";
/// Points of a loss curve on the page; each is the mean of the steps around it.
pub const CURVE_POINTS: usize = 120;
/// Training images shown for a sample.
pub const IMAGES_SHOWN: usize = 10;

/// Measures the run and writes `figures.json` and `report.html`, if they are not there. Returns the page's path and the
/// figures.
///
/// # Errors
///
/// [`crate::error::RunError::Missing`] if an earlier stage is missing.
pub fn report(
    workspace: &Workspace,
    data: &CodedData,
    networks: &Networks<'_>,
) -> Result<(PathBuf, Figures)> {
    let classifier = train_classifier(workspace)?;
    let key = fingerprint(workspace, data, networks, classifier)?;
    let run = &workspace.run;
    let path = run.root().join(REPORT);
    // A page that was damaged is no result; it is made again, as its parts are there.
    if run.is_current(REPORT, key)
        && run.is_current(FIGURES, key)
        && let (Ok(figures), Ok(_)) = (run.get(FIGURES), run.get(REPORT))
    {
        return Ok((path, serde_json::from_slice(&figures)?));
    }
    workspace.reporter().tell(Event::Reporting);
    let trained = open_classifier(workspace)?;
    let (samples, _) = read_analysis(workspace, data, networks)?;
    let seen = see_all(trained.as_ref(), &samples)?;
    let figures = measure(workspace, data, &samples, trained.as_ref(), &seen)?;
    let distinct = if data.trained.codes.groups == GroupBy::Image {
        let ranking = |sample: &SampleAnalysis| -> Vec<u32> {
            top_candidates(sample, usize::MAX).iter().map(|candidate| candidate.group).collect()
        };
        let rankings: Vec<Vec<u32>> = samples.iter().map(ranking).collect();
        Some(distinct_influences(&rankings, workspace.recipe.attribution.top)?)
    } else {
        None
    };
    let page = Page {
        workspace,
        data,
        samples: &samples,
        seen: &seen,
        figures: &figures,
        trained: trained.as_ref(),
        distinct,
    };
    let html = render(&page.view()?)?;
    run.put_many([(FIGURES, serde_json::to_vec_pretty(&figures)?), (REPORT, html.into_bytes())], key)?;
    Ok((path, figures))
}

fn fingerprint(
    workspace: &Workspace,
    data: &CodedData,
    networks: &Networks<'_>,
    classifier: Option<Fingerprint>,
) -> Result<Fingerprint> {
    Ok(Fingerprint::of("report")
        .text(env!("CARGO_PKG_VERSION"))
        .fingerprint(analysis_fingerprint(workspace, data, networks)?)
        .json(&classifier.map(|classifier| classifier.to_string()))?
        .text(&workspace.recipe.to_text()?)
        .finish())
}

/// Whether the page and the figures of a run are there, made with this classifier.
///
/// # Errors
///
/// As [`analysis_fingerprint`].
pub fn is_reported(
    workspace: &Workspace,
    data: &CodedData,
    networks: &Networks<'_>,
    classifier: Option<Fingerprint>,
) -> Result<bool> {
    let key = fingerprint(workspace, data, networks, classifier)?;
    Ok([REPORT, FIGURES].iter().all(|name| workspace.run.is_current(name, key)))
}

struct Page<'a> {
    workspace: &'a Workspace,
    data: &'a CodedData,
    samples: &'a [SampleAnalysis],
    seen: &'a [SeenSample],
    figures: &'a Figures,
    trained: Option<&'a TrainedClassifier>,
    /// The samples' lists without generally influential images, for runs whose groups are single images.
    distinct: Option<DistinctLists>,
}

fn estimate(estimate: &statistics::Estimate) -> Estimate {
    Estimate { value: estimate.value, interval: Some(Interval { low: estimate.low, high: estimate.high }) }
}

impl Page<'_> {
    fn view(&self) -> Result<ReportView> {
        let recipe = &self.workspace.recipe;
        let members = self.data.codes.members();
        let shown = self.figures.fidelity.iter().map(|entry| entry.method);
        let shown: Vec<Approximation> =
            Approximation::ALL.into_iter().filter(|method| shown.clone().any(|m| m == *method)).collect();
        Ok(ReportView {
            title: format!("What {} generated pictures rest on", self.samples.len()),
            what_this_is: recipe.description.clone(),
            made_with: MadeWith {
                version: format!("pentimento {}", env!("CARGO_PKG_VERSION")),
                recipe_name: recipe.name.clone(),
                machine: machine(),
                date: today(),
            },
            headline_figures: self.headlines(),
            interval_meaning: "95 % intervals over samples of this one trained ensemble (another training seed is not in them): Wilson's for \
                 shares of samples, else a bootstrap over samples"
                .into(),
            distance_meaning:
                "the Euclidean distance between all values of two pictures, black −1 and white 1".into(),
            members: Some(members),
            methods: shown
                .iter()
                .map(|method| MethodView {
                    name: method.name().into(),
                    explanation: method.explanation().into(),
                })
                .collect(),
            samples: self
                .samples
                .iter()
                .enumerate()
                .map(|(at, sample)| self.sample(at, sample))
                .collect::<Result<_>>()?,
            group_table: self.group_table(),
            fidelity: self
                .figures
                .fidelity
                .iter()
                .map(|entry| FidelityRow {
                    method: entry.method.name().into(),
                    pearson: entry.fidelity.pearson.as_ref().map(estimate),
                    spearman: entry.fidelity.spearman.as_ref().map(estimate),
                    top1: Some(estimate(&entry.fidelity.top_1_agreement)),
                    cost: entry.method.cost().into(),
                })
                .collect(),
            damping_curves: Vec::new(),
            method_comparisons: self
                .figures
                .comparisons
                .iter()
                .map(|comparison| MethodComparison {
                    measure: comparison.measure.clone(),
                    first: comparison.first.name().into(),
                    second: comparison.second.name().into(),
                    first_count: comparison.counts[0] as u64,
                    second_count: comparison.counts[1] as u64,
                    probability_first_larger: comparison.first_larger,
                    log10_p: comparison.ln_p / std::f64::consts::LN_10,
                })
                .collect(),
            stage_agreement: self
                .figures
                .agreement
                .iter()
                .map(|row| AgreementRow { question: row.question.clone(), share: estimate(&row.share) })
                .collect(),
            loss_curves: (0..members).map(|member| self.loss_curve(member)).collect::<Result<_>>()?,
            stage_costs: Costs::read(&self.workspace.run)
                .total()
                .into_iter()
                .map(|(stage, (seconds, units))| StageCost { stage, seconds, note: format!("{units} made") })
                .collect(),
            duplicates_note: Some(self.duplicates()),
            recipe: recipe.to_text()?,
            commands: vec![format!("pentimento run {}/recipe.toml", self.workspace.run.root().display())],
        })
    }

    fn headlines(&self) -> Vec<HeadlineFigure> {
        let mut all = Vec::new();
        let reference = |label: &str, value: f64| Reference { label: label.into(), value };
        if let Some(classes) = &self.figures.class_ablation {
            let chance = 1.0 / self.data.groups.len() as f64;
            if let Some(agreement) = &classes.agreement_of_groups {
                all.push(HeadlineFigure {
                    label:
                        "The class whose removal moves the picture most is the class a classifier sees in it"
                            .into(),
                    estimate: estimate(&agreement.share),
                    unit: Unit::Share,
                    note: format!(
                        "{} of {} samples seen as one of the classes trained on; of all samples {:.1} %",
                        agreement.agreeing,
                        agreement.samples,
                        100.0 * classes.agreement.share.value
                    ),
                    references: vec![
                        reference("chance", chance),
                        reference("Dai and Gifford, all samples", 0.61),
                    ],
                });
            }
            if let Some(own) = &classes.own_flips {
                all.push(HeadlineFigure {
                    label: "Without its own class, the picture is seen as another class".into(),
                    estimate: estimate(own),
                    unit: Unit::Share,
                    note: format!("{} samples", classes.samples_of_groups),
                    references: vec![reference("Dai and Gifford", 0.93)],
                });
            }
            all.push(HeadlineFigure {
                label: "Without another class, it is".into(),
                estimate: estimate(&classes.other_flips),
                unit: Unit::Share,
                note: "every sample without each class that is not its own".into(),
                references: vec![reference("Dai and Gifford", 0.43)],
            });
        }
        for method in
            [Approximation::ControlVariate, Approximation::OneMemberJacobian, Approximation::PaperJacobian]
        {
            let entry = self.figures.fidelity.iter().find(|entry| entry.method == method);
            if let Some((entry, pearson)) =
                entry.and_then(|entry| Some((entry, entry.fidelity.pearson.as_ref()?)))
            {
                all.push(HeadlineFigure {
                    label: format!(
                        "How well the {} tells the exact difference, pixel by pixel",
                        method.name()
                    ),
                    estimate: estimate(pearson),
                    unit: Unit::Number { decimals: 3 },
                    note: format!("Pearson correlation, {} samples", entry.fidelity.per_sample.len()),
                    references: vec![],
                });
            }
        }
        all
    }

    fn label_of_class(&self, class: u32) -> String {
        self.data.class_names.get(class as usize).cloned().unwrap_or_else(|| class.to_string())
    }

    fn seen(&self, seen: (u32, f64)) -> SeenAs {
        SeenAs { label: self.label_of_class(seen.0), probability: seen.1 }
    }

    fn removed(&self, group: u32) -> Removed {
        let name = self.data.groups.names().get(group as usize).cloned().unwrap_or_default();
        match self.data.trained.codes.groups {
            GroupBy::Class => Removed { label: format!("class {name}"), class: Some(name) },
            GroupBy::Image => Removed { label: format!("training image {name}"), class: None },
            GroupBy::Table | GroupBy::Source => Removed { label: name, class: None },
        }
    }

    fn picture(&self, values: &[f32]) -> Picture {
        let images = &self.data.images;
        let side = |length: usize| length as u32;
        Picture::from_model_range(
            side(images.height()),
            side(images.width()),
            side(images.channels()),
            values,
        )
    }

    fn training_picture(&self, image: usize) -> Picture {
        self.picture(&self.data.images.scaled(image))
    }

    fn sample(&self, at: usize, sample: &SampleAnalysis) -> Result<SampleView> {
        let detail = at < self.workspace.recipe.samples.in_report;
        let seen = self.seen.get(at);
        let counterfactuals = (0..sample.groups.len())
            .map(|place| self.counterfactual(sample, place, seen, detail))
            .collect::<Result<_>>()?;
        Ok(SampleView {
            name: None,
            id: u64::from(sample.sample),
            image: self.picture(&clamped(&sample.image)),
            seen_as: seen.map(|seen| self.seen(seen.base)),
            // Of many groups those at random say little; the ones that the search found are shown.
            counterfactuals: if sample.checked.is_empty() {
                counterfactuals
            } else {
                self.checked(sample, detail)
            },
            training_image_lists: if detail { self.training_images(at, sample) } else { Vec::new() },
            show_detail: detail,
        })
    }

    /// The counterfactuals of the groups that a search found and that were made exactly.
    fn checked(&self, sample: &SampleAnalysis, detail: bool) -> Vec<CounterfactualView> {
        let base = clamped(&sample.image);
        let view = |(group, image): &(u32, Vec<f32>)| CounterfactualView {
            removed: self.removed(*group),
            exact: detail.then(|| self.picture(&clamped(image))),
            distance_exact: Some(f64::from(clamped_distance(&base, image))),
            seen_as: None,
            members_left: Some(self.data.codes.members() - self.data.codes.weight()),
            approximations: Vec::new(),
        };
        sample.checked.iter().map(view).collect()
    }

    fn counterfactual(
        &self,
        sample: &SampleAnalysis,
        place: usize,
        seen: Option<&SeenSample>,
        detail: bool,
    ) -> Result<CounterfactualView> {
        let exact = clamped(&sample.exact[place]);
        let base = clamped(&sample.image);
        let difference =
            |image: &[f32]| -> Vec<f32> { image.iter().zip(&base).map(|(a, b)| a - b).collect() };
        let mut approximations = Vec::new();
        if detail {
            for method in Approximation::ALL {
                let Some(image) = sample.approximate(method, &self.data.codes, place)? else { continue };
                approximations.push(ApproximationView {
                    method: method.name().into(),
                    distance: Some(euclidean_distance(&image, &base)?),
                    pearson_with_exact: pearson(&difference(&exact), &difference(&image))?,
                    picture: Some(self.picture(&image)),
                });
            }
        }
        let group = sample.groups[place];
        let weight = self.data.codes.weight();
        Ok(CounterfactualView {
            removed: self.removed(group),
            distance_exact: Some(f64::from(clamped_distance(&base, &exact))),
            exact: detail.then(|| self.picture(&exact)),
            seen_as: seen.and_then(|seen| seen.without.get(place)).map(|&seen| self.seen(seen)),
            members_left: Some(self.data.codes.members() - weight),
            approximations,
        })
    }

    fn training_images(&self, at: usize, sample: &SampleAnalysis) -> Vec<TrainingImageList> {
        if self.data.trained.codes.groups != GroupBy::Image {
            return vec![self.most_similar_of_top_group(sample)];
        }
        let mut lists = vec![self.top_single_images(sample)];
        lists.extend(self.distinct.as_ref().and_then(|distinct| self.own_images(distinct, at, sample)));
        lists
    }

    /// What is left of a sample's list without the images that stand in other samples' lists too.
    fn own_images(
        &self,
        distinct: &DistinctLists,
        at: usize,
        sample: &SampleAnalysis,
    ) -> Option<TrainingImageList> {
        let own = distinct.lists.get(at)?;
        let kept: Vec<Candidate> = own
            .iter()
            .filter_map(|&group| sample.candidates.iter().find(|candidate| candidate.group == group).copied())
            .collect();
        let distances: Vec<f32> = kept.iter().map(Candidate::best).collect();
        let image = |(rank, candidate): (usize, &Candidate)| {
            let image = *self.data.groups.members(candidate.group).first()?;
            Some(self.top_image(image, rank, &distances, basis_of(candidate)))
        };
        Some(TrainingImageList {
            title: "Of these, in no other sample's list".into(),
            explanation: format!(
                "Some images move every sample. {} of them stand in more than one sample's list and are left out here; the \
                 next ranks take their places.",
                distinct.removed.len()
            ),
            images: kept.iter().enumerate().filter_map(image).collect(),
            groups: Vec::new(),
        })
    }

    /// The search's list: one image per group.
    fn top_single_images(&self, sample: &SampleAnalysis) -> TrainingImageList {
        let recipe = self.workspace.recipe.attribution;
        let candidates = top_candidates(sample, recipe.top);
        let distances: Vec<f32> = candidates.iter().map(Candidate::best).collect();
        let images = candidates
            .iter()
            .enumerate()
            .filter_map(|(rank, candidate)| {
                let image = *self.data.groups.members(candidate.group).first()?;
                Some(self.top_image(image, rank, &distances, basis_of(candidate)))
            })
            .collect();
        TrainingImageList {
            title: "Training images it rests on most".into(),
            explanation: if sample.candidates.iter().all(|candidate| candidate.linear.is_none()) {
                format!(
                    "The sample was made again without each of the {} training images.",
                    self.data.groups.len()
                )
            } else {
                format!(
                    "A search over all {} training images: the one-member Jacobian with its second-order term ranks every code, \
                 the control variate ranks the best {} again, and the first {} were made exactly. Images with nearly the \
                 same code cannot be told apart: {} members give each picture only so much resolution.",
                    self.data.groups.len(),
                    recipe.candidates,
                    recipe.exact,
                    self.data.codes.members()
                )
            },
            images,
            groups: Vec::new(),
        }
    }

    /// All images of a group leave together; of the most influential one, those that look most like the sample.
    fn most_similar_of_top_group(&self, sample: &SampleAnalysis) -> TrainingImageList {
        let Some(top) = top_candidates(sample, 1).into_iter().next() else {
            return TrainingImageList {
                title: String::new(),
                explanation: String::new(),
                images: Vec::new(),
                groups: Vec::new(),
            };
        };
        let base = clamped(&sample.image);
        let mut members: Vec<(f32, usize)> = self
            .data
            .groups
            .members(top.group)
            .into_iter()
            .map(|image| (clamped_distance(&base, &self.data.images.scaled(image)), image))
            .collect();
        members.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        members.truncate(IMAGES_SHOWN);
        let distances = vec![top.best(); members.len()];
        let basis = basis_of(&top);
        let removed = self.removed(top.group);
        TrainingImageList {
            title: format!("Training images of {}", removed.label),
            explanation: format!(
                "It moves most without {}. All images of it ({}) share one code and leave together, so they have one distance. \
                 Shown are those whose pixels are most like the picture: likeness, not influence.",
                removed.label,
                self.data.groups.members(top.group).len()
            ),
            groups: Vec::new(),
            images: members
                .iter()
                .enumerate()
                .map(|(rank, &(_, image))| self.top_image(image, rank, &distances, basis.clone()))
                .collect(),
        }
    }

    fn top_image(&self, image: usize, rank: usize, distances: &[f32], basis: Basis) -> TopImageView {
        let distance = distances[rank];
        // The linear stage and the control variate differ by a few percent from the exact distance, so closer
        // neighbours are not told apart.
        let near =
            |other: Option<&f32>| other.is_some_and(|other| (other - distance).abs() < 0.02 * distance);
        let before = rank.checked_sub(1).and_then(|before| distances.get(before));
        let single = self.data.trained.codes.groups == GroupBy::Image;
        TopImageView {
            index: self.data.images.source_indices()[image] as u64,
            // Of a set without labels all images are of one class, which says nothing.
            label: match self.data.class_names.len() {
                0 | 1 => String::new(),
                _ => self.label_of_class(self.data.images.labels()[image]),
            },
            picture: Some(self.training_picture(image)),
            distance: f64::from(distance),
            basis,
            rank: rank as u32 + 1,
            near_tie: single && (near(before) || near(distances.get(rank + 1))),
        }
    }

    fn group_table(&self) -> Option<GroupTableView> {
        let classes = self.figures.class_ablation.as_ref()?;
        let groups = group_classes(self.data);
        let rows = classes
            .table
            .iter()
            .map(|row| GroupTableRow {
                removed: row.removed.and_then(|class| {
                    let group = groups.iter().position(|&group| group == class)?;
                    Some(self.removed(group as u32))
                }),
                counts: row.counts.clone(),
            })
            .collect();
        Some(GroupTableView { classes: self.data.class_names.clone(), rows })
    }

    fn loss_curve(&self, member: u32) -> Result<LossCurve> {
        let losses = losses(self.workspace, member)?;
        let chunk = losses.len().div_ceil(CURVE_POINTS).max(1);
        let points = losses
            .chunks(chunk)
            .enumerate()
            .map(|(index, values)| LossPoint {
                step: (index * chunk + values.len() / 2) as u64,
                loss: values.iter().map(|&loss| f64::from(loss)).sum::<f64>() / values.len() as f64,
            })
            .collect();
        Ok(LossCurve { name: format!("member {member}"), points })
    }

    fn duplicates(&self) -> String {
        let duplicates = exact_duplicates(self.data.images.ids());
        let classifier = self.trained.map_or(String::new(), |trained| {
            format!(
                " The classifier names {:.2} % of {} test images rightly.",
                100.0 * trained.accuracy.test,
                trained.accuracy.test_images
            )
        });
        if duplicates.is_empty() {
            return format!(
                "No two of the {} training images are equal.{classifier}",
                self.data.images.len()
            );
        }
        let extra: usize = duplicates.iter().map(|group| group.len() - 1).sum();
        format!(
            "{extra} of the {} training images have the same pixels as an earlier one: leaving out one of such a set does not \
             remove what the others teach.{classifier}",
            self.data.images.len()
        )
    }
}

/// The first of a sample's groups, by the best distance known of each.
fn top_candidates(sample: &SampleAnalysis, count: usize) -> Vec<Candidate> {
    let mut candidates = sample.candidates.clone();
    sort_by_best(&mut candidates);
    candidates.truncate(count);
    candidates
}

/// How a candidate's best distance was found.
fn basis_of(candidate: &Candidate) -> Basis {
    let method = match (candidate.exact, candidate.control_variate) {
        (Some(_), _) => return Basis::Exact,
        (None, Some(_)) => Approximation::ControlVariate,
        (None, None) => Approximation::SecondOrder,
    };
    Basis::Approximate { method: method.name().into() }
}

/// Processor and number of threads.
pub fn machine() -> String {
    let name = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        line.split_once(':').map(|(_, name)| name.trim().to_string())
    });
    let threads = rayon::current_num_threads();
    format!("{}, {threads} threads", name.unwrap_or_else(|| std::env::consts::ARCH.into()))
}

/// The date in UTC, from the system's clock (Hinnant's civil-from-days).
pub fn today() -> String {
    let seconds =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let days = (seconds / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
