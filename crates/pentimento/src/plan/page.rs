//! A page like the one that a run will write, made from stand-in pictures by the code that writes the real one: its
//! size and the time it takes are measured on a few samples, and grow in proportion to them.

use super::work::Work;
use anyhow::Result;
use pentimento_attribution::ensemble::Approximation;
use pentimento_attribution::methods::Statement;
use pentimento_evaluation::fidelity::{DifferencePair, fidelity};
use pentimento_evaluation::statistics::IntervalSettings;
use pentimento_noise::{Purpose, Stream};
use pentimento_report::{
    ApproximationView, Basis, CounterfactualView, Estimate, FidelityRow, GroupTableRow, GroupTableView,
    Interval, LossCurve, LossPoint, MethodView, Picture, Removed, ReportView, SampleView, SeenAs,
    TopImageView, TrainingImageList, render,
};
use pentimento_run::page::{CURVE_POINTS, IMAGES_SHOWN, statement};
use pentimento_run::recipe::GroupBy;
use std::time::Instant;

/// Standard deviation of what is left of the noise in a sample, as values in [-1, 1]. With it, and clamped as samples
/// are, training digits become pictures of 250 bytes at 14x14 and 530 at 28x28; samples of two runs had 259 and 520 on
/// average (128 of recipes/quickstart.toml, 1,000 of recipes/mnist-classes.toml, 2026-11-22).
const NOISE_LEFT: f32 = 0.03;

/// Bytes and seconds of something that grows with a number of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Size of the file.
    pub bytes: u64,
    /// Time to make it.
    pub seconds: f64,
}

/// Stand-ins for samples: training images with a little noise, clamped.
pub struct StandIns<'a> {
    work: &'a Work<'a>,
}

impl<'a> StandIns<'a> {
    /// Stand-ins for the samples of this run.
    pub fn new(work: &'a Work<'a>) -> Self {
        Self { work }
    }

    /// The values of one, `[height, width, channels]`.
    pub fn values(&self, index: usize) -> Vec<f32> {
        let images = &self.work.situation.data.images;
        let mut values = images.scaled(index % images.len());
        let mut noise = vec![0.0; values.len()];
        Stream::new(0, Purpose::Test, index as u32, 0).fill_normal(&mut noise);
        for (value, noise) in values.iter_mut().zip(noise) {
            *value = (*value + NOISE_LEFT * noise).clamp(-1.0, 1.0);
        }
        values
    }

    fn picture(&self, index: usize) -> Picture {
        let images = &self.work.situation.data.images;
        let [height, width, channels] =
            [images.height(), images.width(), images.channels()].map(|side| side as u32);
        Picture::from_model_range(height, width, channels, &self.values(index))
    }

    /// Mean bytes of the PNG of a sample.
    ///
    /// # Errors
    ///
    /// As encoding it.
    pub fn png_bytes(&self) -> Result<u64> {
        const PICTURES: usize = 16;
        let images = &self.work.situation.data.images;
        let mut bytes = 0;
        for index in 0..PICTURES {
            let png = pentimento_run::pictures::png(
                &self.values(index * images.len() / PICTURES),
                images.height(),
                images.width(),
                images.channels(),
            )?;
            bytes += png.len() as u64;
        }
        Ok(bytes.div_ceil(PICTURES as u64))
    }

    /// The page of the whole run.
    ///
    /// # Errors
    ///
    /// As rendering and measuring.
    pub fn page(&self) -> Result<Cost> {
        let recipe = self.work.recipe;
        let (count, shown) = (recipe.samples.count, recipe.samples.in_report.min(recipe.samples.count));
        let measured = recipe.attribution.fidelity_samples.min(shown);
        let kinds = [(true, true, measured), (true, false, shown - measured), (false, false, count - shown)];
        let frame = self.rendered(&[])?;
        let mut total = frame;
        for (detail, measured, samples) in kinds {
            if samples == 0 {
                continue;
            }
            // Two, so that what comes with the first of a kind counts once.
            let one = self.rendered(&[(detail, measured)])?;
            let two = self.rendered(&[(detail, measured); 2])?;
            total.bytes += one.bytes.saturating_sub(frame.bytes)
                + (samples as u64 - 1) * two.bytes.saturating_sub(one.bytes);
            total.seconds += samples as f64 * (two.seconds - frame.seconds).max(0.0) / 2.0;
        }
        Ok(total)
    }

    /// `figures.json` of the whole run.
    ///
    /// # Errors
    ///
    /// As measuring.
    pub fn figures(&self) -> Result<Cost> {
        let work = self.work;
        let measured = work.measured_samples();
        if measured == 0 {
            return Ok(Cost::default());
        }
        const SAMPLES: usize = 2;
        let images: Vec<Vec<f32>> =
            (0..SAMPLES + work.asked_per_sample).map(|index| self.values(index)).collect();
        let pairs: Vec<Vec<DifferencePair<'_>>> = (0..SAMPLES)
            .map(|sample| {
                (0..work.asked_per_sample)
                    .map(|place| DifferencePair {
                        exact: &images[place],
                        approximate: &images[sample + place],
                    })
                    .collect()
            })
            .collect();
        let intervals = IntervalSettings { confidence: 0.95, resamples: 2000, seed: 0 };
        let bytes = |samples: usize| -> Result<u64> {
            Ok(serde_json::to_vec_pretty(&fidelity(&pairs[..samples], &intervals)?)?.len() as u64)
        };
        // In the file, each line of this stands deeper by four spaces.
        let (one, two) = (bytes(1)?, bytes(SAMPLES)?);
        let per_sample = (two - one) + 4 * 7;
        let methods = work.methods().len() as u64;
        let comparisons = 10 * 250;
        Ok(Cost { bytes: methods * (one + per_sample * (measured as u64 - 1)) + comparisons, seconds: 0.0 })
    }

    fn rendered(&self, samples: &[(bool, bool)]) -> Result<Cost> {
        let samples =
            samples.iter().enumerate().map(|(id, &(detail, measured))| self.sample(id, detail, measured));
        let view = self.view(samples.collect())?;
        let started = Instant::now();
        let bytes = render(&view)?.len() as u64;
        Ok(Cost { bytes, seconds: started.elapsed().as_secs_f64() })
    }

    fn seen_as(&self) -> Option<SeenAs> {
        let work = self.work;
        let label = work.situation.data.class_names.first().cloned().unwrap_or_default();
        work.recipe.classifier.map(|_| SeenAs { label, probability: 0.98 })
    }

    fn removed(&self, group: usize) -> Removed {
        let name = self.work.situation.data.groups.names().get(group).cloned().unwrap_or_default();
        match self.work.situation.data.trained.codes.groups {
            GroupBy::Class => Removed { label: format!("class {name}"), class: Some(name) },
            GroupBy::Image => Removed { label: format!("training image {name}"), class: None },
            GroupBy::Table | GroupBy::Source => Removed { label: name, class: None },
        }
    }

    fn sample(&self, id: usize, detail: bool, measured: bool) -> SampleView {
        let work = self.work;
        let attribution = work.recipe.attribution;
        // After a search the page shows what it found; else every counterfactual.
        let (views, approximated) =
            if work.is_complete() { (work.asked_per_sample, measured) } else { (attribution.exact, false) };
        let counterfactual = |group: usize| CounterfactualView {
            removed: self.removed(group),
            exact: detail.then(|| self.picture(id + group + 1)),
            distance_exact: Some(1.0 + group as f64),
            seen_as: if work.is_complete() { self.seen_as() } else { None },
            members_left: Some((work.sizes.members - work.situation.data.codes.weight() as usize) as u32),
            approximations: if detail && approximated {
                work.methods().iter().map(|method| self.approximation(*method, id + group)).collect()
            } else {
                Vec::new()
            },
        };
        SampleView {
            name: None,
            id: id as u64,
            image: self.picture(id),
            seen_as: self.seen_as(),
            counterfactuals: (0..views).map(counterfactual).collect(),
            training_image_lists: if detail { self.lists() } else { Vec::new() },
            show_detail: detail,
        }
    }

    fn approximation(&self, method: Approximation, index: usize) -> ApproximationView {
        ApproximationView {
            method: method.name().into(),
            picture: Some(self.picture(index)),
            distance: Some(1.5),
            pearson_with_exact: Some(0.9),
        }
    }

    fn lists(&self) -> Vec<TrainingImageList> {
        let by_image = self.work.situation.data.trained.codes.groups == GroupBy::Image;
        let (lists, length) =
            if by_image { (2, self.work.recipe.attribution.top) } else { (1, IMAGES_SHOWN) };
        let data = &self.work.situation.data;
        let image = |rank: usize| TopImageView {
            index: rank as u64,
            label: data.class_names.first().cloned().unwrap_or_default(),
            picture: Some(Picture::from_model_range(
                data.images.height() as u32,
                data.images.width() as u32,
                data.images.channels() as u32,
                &data.images.scaled(rank % data.images.len()),
            )),
            distance: 2.5,
            basis: Basis::Approximate { method: Approximation::ControlVariate.name().into() },
            rank: rank as u32 + 1,
            near_tie: by_image,
        };
        let list = TrainingImageList {
            title: "Training images it rests on most".into(),
            // About as long as the sentences that the report has there.
            explanation: "x".repeat(300),
            statement: statement(Statement::of_counterfactuals()),
            images: (0..length.min(data.images.len())).map(image).collect(),
            groups: Vec::new(),
        };
        vec![list; lists]
    }

    /// Everything on the page but the samples.
    fn view(&self, samples: Vec<SampleView>) -> Result<ReportView> {
        let work = self.work;
        let data = &work.situation.data;
        let estimate = Estimate { value: 0.5, interval: Some(Interval { low: 0.4, high: 0.6 }) };
        let curve = |member: usize| LossCurve {
            name: format!("member {member}"),
            points: (0..CURVE_POINTS.min(data.trained.training.steps))
                .map(|step| LossPoint { step: 10 * step as u64, loss: 1.0 / (1.0 + step as f64) })
                .collect(),
        };
        let methods = if work.measured_samples() > 0 { work.methods() } else { Vec::new() };
        Ok(ReportView {
            title: "What generated pictures rest on".into(),
            methods: methods
                .iter()
                .map(|method| MethodView {
                    name: method.name().into(),
                    explanation: method.explanation().into(),
                })
                .collect(),
            samples,
            group_table: (data.trained.codes.groups == GroupBy::Class).then(|| GroupTableView {
                classes: data.class_names.clone(),
                rows: (0..data.groups.len())
                    .map(|group| GroupTableRow {
                        removed: Some(self.removed(group)),
                        counts: vec![10; data.class_names.len()],
                    })
                    .collect(),
            }),
            fidelity: methods
                .iter()
                .map(|method| FidelityRow {
                    method: method.name().into(),
                    pearson: Some(estimate),
                    spearman: Some(estimate),
                    top1: Some(estimate),
                    cost: method.cost().into(),
                })
                .collect(),
            loss_curves: (0..work.sizes.members).map(curve).collect(),
            recipe: work.recipe.to_text()?,
            ..ReportView::default()
        })
    }
}
