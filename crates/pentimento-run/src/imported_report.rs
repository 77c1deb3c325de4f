//! The page of an imported network: its queries, and the training images that methods and plain likeness put first.

use super::gradients::{InfluenceNote, Queries, QuerySet, ScoreTable, Subject, compared_patches};
use super::report::{machine, today};
use super::scores::score;
use crate::error::Result;
use crate::event::Event;
use crate::words::counted;
use pentimento_attribution::gradient::DampingView;
use pentimento_attribution::likeness::Likeness;
use pentimento_attribution::methods::{Family, Method};
use pentimento_attribution::scores::top;
use pentimento_data::nearly_the_same;
use pentimento_report::{
    Basis, DampingCurve, DampingCurvePoint, GroupScore, MadeWith, MethodView, Picture, ReportView,
    SampleView, TimestepScore, TopImageView, TrainingImageList, render,
};
use pentimento_store::Fingerprint;
use std::collections::HashMap;
use std::path::PathBuf;

/// Training images shown in each list.
const SHOWN: usize = 10;

/// Patches that are compared for a page without being asked for: about 40 seconds on two cores.
const MOST_PATCHES: f64 = 2e10;

/// Writes the page of some methods and returns its path: `report.html` for samples, another name for other queries.
///
/// # Errors
///
/// If a query cannot be opened, or the page cannot be drawn or written.
pub fn report(subject: &Subject<'_>, queries: &Queries, tables: &[ScoreTable]) -> Result<PathBuf> {
    let run = &subject.workspace.run;
    let name = match &queries.set {
        QuerySet::Samples => "report.html".to_owned(),
        other => format!("report-{}.html", other.name()),
    };
    let baselines = baselines(subject, queries, tables)?;
    let tables: Vec<&ScoreTable> = tables.iter().chain(&baselines).collect();
    let html = render(&Page::new(subject, queries, &tables)?.view()?)?;
    run.put(&name, Fingerprint::of("report of an imported network").text(&html).finish(), html.as_bytes())?;
    Ok(run.root().join(name))
}

/// The likeness that every page holds methods against, but for what is among the tables already.
fn baselines(subject: &Subject<'_>, queries: &Queries, tables: &[ScoreTable]) -> Result<Vec<ScoreTable>> {
    let mut baselines = Vec::new();
    for method in Method::ALL {
        let Family::Likeness(likeness @ (Likeness::PixelCosine | Likeness::Patches)) = method.family else {
            continue;
        };
        if tables.iter().any(|table| table.method == method) {
            continue;
        }
        if likeness == Likeness::Patches && compared_patches(subject, queries.images.len()) > MOST_PATCHES {
            subject.workspace.reporter().tell(Event::PatchesLeftOut);
            continue;
        }
        baselines.push(score(subject, queries, method, None)?);
    }
    Ok(baselines)
}

/// What the page is drawn from.
struct Page<'a> {
    subject: &'a Subject<'a>,
    tables: &'a [&'a ScoreTable],
    queries: &'a Queries,
    groups: Vec<(String, Vec<usize>)>,
    /// The images that share credit, by the first of them.
    alike: HashMap<usize, Vec<usize>>,
}

impl<'a> Page<'a> {
    fn new(subject: &'a Subject<'a>, queries: &'a Queries, tables: &'a [&'a ScoreTable]) -> Result<Self> {
        let images = &subject.training.images;
        let mut alike: HashMap<usize, Vec<usize>> = HashMap::new();
        for (image, first) in nearly_the_same(images)?.into_iter().enumerate() {
            alike.entry(first).or_default().push(image);
        }
        let groups = subject.training.named_groups();
        Ok(Self { subject, tables, queries, groups, alike })
    }

    fn view(&self) -> Result<ReportView> {
        let recipe = &self.subject.workspace.recipe;
        let samples = (0..self.queries.images.len()).map(|query| self.sample(query)).collect();
        let method = |table: &&ScoreTable| MethodView {
            name: table.method.name.into(),
            explanation: self.explanation(table),
        };
        let methods = self.tables.iter().map(method).collect();
        let intervals = self.tables.iter().any(|table| table.spread.is_known());
        Ok(ReportView {
            title: match self.queries.images.len() {
                1 => "What a picture rests on".into(),
                count => format!("What {count} pictures rest on"),
            },
            what_this_is: if recipe.description.is_empty() {
                match self.queries.set {
                    QuerySet::Samples => {
                        "Pictures made by an imported network, and the training images to which its gradients point."
                    }
                    _ => "Pictures that were given, and the training images to which a network's gradients point.",
                }
                .into()
            } else {
                recipe.description.clone()
            },
            made_with: MadeWith {
                version: format!("pentimento {}", env!("CARGO_PKG_VERSION")),
                recipe_name: recipe.name.clone(),
                machine: machine(),
                date: today(),
            },
            interval_meaning: if intervals {
                "95 % jackknife interval over groups of timesteps and noise".into()
            } else {
                String::new()
            },
            samples,
            damping_curves: self.tables.iter().flat_map(|table| self.dampings(table)).collect(),
            methods,
            recipe: recipe.to_text()?,
            ..ReportView::default()
        })
    }

    fn sample(&self, query: usize) -> SampleView {
        let lists = self.tables.iter().map(|table| match table.method.family {
            Family::Likeness(likeness) => self.alike_to(table, likeness, query),
            _ => self.scored(table, query),
        });
        SampleView {
            id: query as u64,
            name: (self.queries.set != QuerySet::Samples).then(|| self.queries.images[query].title.clone()),
            image: self.picture(&self.queries.images[query].image),
            seen_as: None,
            counterfactuals: Vec::new(),
            training_image_lists: lists.collect(),
            show_detail: query < self.subject.workspace.recipe.samples.in_report,
        }
    }

    fn picture(&self, values: &[f32]) -> Picture {
        let [height, width, channels] = self.subject.shape().map(|side| side as u32);
        // The page shows grey and colour.
        let shown = if channels == 2 { 1 } else { channels.min(3) };
        let values: Vec<f32> =
            values.chunks(channels as usize).flat_map(|pixel| pixel[..shown as usize].to_vec()).collect();
        Picture::from_model_range(height, width, shown, &values)
    }

    fn top_image(&self, image: usize, rank: usize, value: f64, basis: Basis, near_tie: bool) -> TopImageView {
        let training = self.subject.training;
        TopImageView {
            index: training.images.source_indices()[image] as u64,
            label: training.label_of(image),
            picture: Some(self.picture(&training.images.scaled(image))),
            distance: value,
            basis,
            rank: rank as u32 + 1,
            near_tie,
        }
    }

    /// The images that a method puts first. Those that are nearly the same stand there once, with their scores together.
    fn scored(&self, table: &ScoreTable, query: usize) -> TrainingImageList {
        let scores = &table.scores[query];
        // Of images that share credit, those that were scored.
        let scored = |first: &usize| -> Vec<usize> {
            self.alike[first].iter().copied().filter(|&image| !scores[image].is_nan()).collect()
        };
        let mut firsts: Vec<usize> = self.alike.keys().copied().collect();
        firsts.sort_unstable();
        let (firsts, members): (Vec<usize>, Vec<Vec<usize>>) = firsts
            .into_iter()
            .map(|first| (first, scored(&first)))
            .filter(|(_, members)| !members.is_empty())
            .unzip();
        // Scores that do not add up stand for the largest of them.
        let together = |scores: &mut dyn Iterator<Item = f64>| {
            if table.method.adds_up { scores.sum() } else { scores.fold(f64::NEG_INFINITY, f64::max) }
        };
        let value = |members: &Vec<usize>| together(&mut members.iter().map(|&image| scores[image]));
        let values: Vec<f64> = members.iter().map(value).collect();
        let order = top(&values, SHOWN + 1);
        let factor = table.spread.factor();
        let value_of = |place: usize| {
            let members = &members[place];
            move |scores: &[f64]| together(&mut members.iter().map(|&image| scores[image]))
        };
        let is_tie = |a, b| table.spread.is_tie(query, scores, value_of(a), value_of(b)).unwrap_or(false);
        let images = order
            .iter()
            .take(SHOWN)
            .enumerate()
            .map(|(rank, &place)| {
                let members = &members[place];
                // The one of them with the largest score is shown.
                let shown =
                    members.iter().copied().max_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(b.cmp(&a)));
                let shown = shown.unwrap_or(firsts[place]);
                let strips = table.gradients().map(|details| &details.strips);
                let strip = strips.and_then(|strips| Some((strips, strips.of(query, shown)?)));
                let by_timestep = strip.map_or(Vec::new(), |(strips, values)| {
                    let point = |(&timestep, &score): (&usize, &f64)| TimestepScore {
                        timestep: timestep as u64,
                        score,
                    };
                    strips.timesteps.iter().zip(values).map(point).collect()
                });
                let basis = Basis::Scored {
                    method: table.method.name.into(),
                    reach: table.spread.standard_error(query, value_of(place)).map(|error| factor * error),
                    by_timestep,
                    near_duplicates: members.len() as u32 - 1,
                };
                let tie = order.get(rank + 1).is_some_and(|&next| is_tie(place, next));
                self.top_image(shown, rank, values[place], basis, tie)
            })
            .collect();
        // Of groups of which not all images were scored, there is no sum.
        let adds_up = table.method.adds_up && table.candidates().is_none();
        let groups = if adds_up { self.group_scores(table, query) } else { Vec::new() };
        TrainingImageList {
            title: match self.queries.set {
                QuerySet::Samples => format!("Helped most to make it, by {}", table.method.name),
                _ => format!("Taught most of it, by {}", table.method.name),
            },
            explanation: format!(
                "Of {}, those with the largest scores. Training on an image with a larger score is held to have \
                 helped more; nothing was trained again to prove it.{}",
                match table.candidates() {
                    None => counted(scores.len(), "training image"),
                    Some(found) => format!(
                        "the {} of {} that look most like it (approximation: the others were not scored)",
                        found.candidates,
                        counted(scores.len(), "training image")
                    ),
                },
                if table.spread.is_known() {
                    " After each score stands how far its 95 % interval reaches, over the choice of timesteps and noise."
                } else {
                    ""
                }
            ),
            images,
            groups,
        }
    }

    fn group_scores(&self, table: &ScoreTable, query: usize) -> Vec<GroupScore> {
        let mut groups: Vec<GroupScore> = self
            .groups
            .iter()
            .map(|(label, members)| {
                let sum = |scores: &[f64]| members.iter().map(|&image| scores[image]).sum::<f64>();
                GroupScore {
                    label: label.clone(),
                    images: members.len() as u64,
                    score: members.iter().map(|&image| table.scores[query][image]).sum(),
                    reach: table.spread.standard_error(query, sum).map(|error| table.spread.factor() * error),
                }
            })
            .collect();
        groups.sort_by(|a, b| b.score.total_cmp(&a.score));
        groups
    }

    fn alike_to(&self, table: &ScoreTable, likeness: Likeness, query: usize) -> TrainingImageList {
        let values = &table.scores[query];
        let image = |(rank, image): (usize, usize)| {
            let basis = Basis::Scored {
                method: table.method.name.into(),
                reach: None,
                by_timestep: Vec::new(),
                near_duplicates: 0,
            };
            self.top_image(image, rank, values[image], basis, false)
        };
        let title = match likeness {
            Likeness::Random => "Picked at random".into(),
            _ => format!("ImageDraws most like it, by {}", table.method.title),
        };
        TrainingImageList {
            title,
            explanation: match likeness {
                Likeness::Random => "By random numbers: what a method without any skill would show.".into(),
                _ => "Likeness, not influence: a method that only finds these has found nothing more.".into(),
            },
            images: top(values, SHOWN).into_iter().enumerate().map(image).collect(),
            groups: Vec::new(),
        }
    }

    fn explanation(&self, table: &ScoreTable) -> String {
        if let Family::Likeness(likeness) = table.method.family {
            return likeness.explanation().into();
        }
        let Some(taken) = table.taken() else { return String::new() };
        let length = if table.influence().is_some() {
            "through the inverse of its curvature".into()
        } else if self.subject.workspace.recipe.gradients.is_projected() {
            format!("projected to {} numbers", taken.dimension)
        } else {
            "not projected".into()
        };
        let mut text = format!(
            "{}: gradients of the network in all its parameters, {} draws of each image, {length}.",
            table.method.title, taken.draws
        );
        if let Some(InfluenceNote { curvature_images, curvature_draws, dampings, damping_rule, .. }) =
            table.influence()
        {
            let [least, middle, most] = dampings;
            text.push_str(&format!(
                " A score is {}. The curvature was measured on {curvature_images} images with {curvature_draws} draws each; \
                 its damping is {middle:.1e} in the middle block ({least:.1e} to {most:.1e}), {damping_rule}.",
                table.method.meaning
            ));
        }
        if let Some(reliability) = table.spread.reliability(&table.scores) {
            text.push_str(&format!(
                " Of what tells training images apart, at least {:.0} % is no noise of the draws.",
                100.0 * reliability
            ));
        }
        if let Some(found) = table.candidates() {
            let interval = found.interval.map_or(String::new(), |[low, high]| {
                format!(" (95 % interval {:.0} to {:.0} %)", 100.0 * low, 100.0 * high)
            });
            text.push_str(&format!(
                " An approximation: only the {} training images whose pixels are most like the picture's were scored. Measured on \
                 {} pictures and {}, as large a share of the images held {:.0} % of the first {} of full scores{interval}.",
                found.candidates,
                found.queries,
                counted(found.images, "training image"),
                100.0 * found.kept,
                found.places
            ));
        }
        if let Some(projection) = table.gradients().and_then(|details| details.projection) {
            text.push_str(&format!(
                " The projection keeps the order of scores with a rank correlation of {:.2}, measured on {}.",
                projection.rank_agreement,
                counted(projection.images, "image")
            ));
        }
        text
    }

    fn dampings(&self, table: &ScoreTable) -> Vec<DampingCurve> {
        let name = |number: usize| match table.dampings().len() {
            1 => table.method.name.into(),
            _ => format!("{}, member {number}", table.method.name),
        };
        table.dampings().iter().enumerate().map(|(number, view)| self.damping(name(number), view)).collect()
    }

    fn damping(&self, method: String, view: &DampingView) -> DampingCurve {
        let DampingView { taken, by_centred_eigenvalue, by_median_eigenvalue, degrees_of_freedom, curve } =
            view;
        let by_hand = self.subject.workspace.recipe.gradients.damping.is_some();
        let mut rules = Vec::new();
        if by_hand {
            rules.extend(
                by_centred_eigenvalue
                    .map(|value| ("Chosen from the features, it would be".to_owned(), value)),
            );
        }
        rules.push(("A hundred times the median eigenvalue would be".into(), *by_median_eigenvalue));
        let warning = view.cliff().filter(|_| view.is_near_cliff()).map(|(from, to, agreement)| {
            format!(
                "The damping that was taken is near a cliff: between {from:.2e} and {to:.2e} the order of the images changes \
                 (rank correlation {agreement:.2}). Compare methods, or other dampings, before you rely on it."
            )
        });
        DampingCurve {
            method,
            taken: *taken,
            chosen: format!(
                "The damping is {taken:.2e}, {}; it leaves {degrees_of_freedom:.0} directions of the training images' features.",
                if by_hand {
                    "as the recipe says"
                } else {
                    "the mean eigenvalue of the double-centred kernel"
                }
            ),
            rules,
            points: curve
                .iter()
                .map(|point| DampingCurvePoint {
                    damping: point.damping,
                    degrees_of_freedom: point.degrees_of_freedom,
                    agreement: point.agreement_with_taken,
                })
                .collect(),
            warning,
        }
    }
}
