//! Gradients of training images against those of queries that went through the inverse of the curvature.
//!
//! The gradient of each image is taken once and multiplied with all queries that the memory holds; what is kept of it in the
//! run is these products, one file for some images.

use super::curvature_store::{MeasuredCurvature, kept};
use super::query_gradients::{QueryGradients, image_draws};
use crate::progress::{Progress, say};
use crate::stages::gradients::{Query, Subject, noise_id};
use crate::stages::train::open_member;
use anyhow::Result;
use pentimento_attribution::curvature::QuantisedRows;
use pentimento_attribution::gradient::{FeatureExtractor, Measurement, side_by_side};
use pentimento_diffusion::arrays::{ArrayReader, ArrayWriter};
use pentimento_diffusion::unet::Parameters;
use pentimento_store::{Digest, Fingerprint};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Images of a file. A kill loses the gradients of one file that is not finished.
const IMAGES_PER_FILE: usize = 64;
/// Bytes that the gradients of queries may take at once, unless those of one query take more.
const MOST_QUERY_BYTES: usize = 2 << 30;

/// Values of training images' gradients that are held at once, unless those of one image are more: 256 MiB.
const MOST_GRADIENT_VALUES: usize = 1 << 26;

/// Products of training images with queries.
pub struct Products {
    /// `[images][groups of the image][queries, groups of the query]`: the gradient of an image in one group of draws with
    /// that of a query in one, through the inverse. Empty for an image that the network never saw.
    pub of_images: Vec<Vec<Vec<f64>>>,
    /// The gradient of each image with itself, through the inverse, over different draws if there are several groups; 0 for one
    /// that the network never saw.
    pub self_influence: Vec<f64>,
}

/// One network with everything that products follow from.
pub struct ProductsOf<'a> {
    /// The networks and images.
    pub subject: &'a Subject<'a>,
    /// Which network.
    pub network: usize,
    /// Its curvature.
    pub measured: &'a MeasuredCurvature,
    /// The damping of each block.
    pub dampings: &'a [f64],
    /// What tells one measurement of queries from another.
    pub measurement: &'a str,
    /// Whether queries have draws, as images do, at timesteps of the recipe's choice.
    pub queries_have_draws: bool,
}

impl ProductsOf<'_> {
    /// The products of all training images that the network saw with all queries; those that are in the run are not made
    /// again.
    ///
    /// # Errors
    ///
    /// [`Stopped`](crate::error::ProgramError::Stopped) on Ctrl-C, finished files are kept; a gradient that is not finite,
    /// with the image and the layer.
    pub fn complete(&self, gradients: &QueryGradients, queries: &[Query]) -> Result<Products> {
        let subject = self.subject;
        let network = &subject.networks[self.network];
        let parameters = open_member(subject.workspace, &subject.architecture, &network.0)?;
        let groups = subject.draws().groups;
        let bytes_per_query = (groups * subject.architecture.parameter_count()).max(1);
        let at_once = (MOST_QUERY_BYTES / bytes_per_query).clamp(1, queries.len().max(1));
        if at_once < queries.len() {
            say(&format!(
                "the gradients of {} queries take {:.1} GiB: they are asked {at_once} at a time",
                queries.len(),
                (bytes_per_query * queries.len()) as f64 / (1u64 << 30) as f64
            ));
        }
        let images: Vec<usize> =
            (0..subject.training.images.len()).filter(|&image| subject.saw(self.network, image)).collect();
        let mut products = Products {
            of_images: vec![Vec::new(); subject.training.images.len()],
            self_influence: vec![0.0; subject.training.images.len()],
        };
        for image in &images {
            products.of_images[*image] = vec![Vec::with_capacity(queries.len() * groups); groups];
        }
        for (part, asked) in queries.chunks(at_once).enumerate() {
            self.part(gradients, &parameters, asked, part * at_once, &images, &mut products)?;
        }
        Ok(products)
    }

    /// Appends the products with some queries.
    fn part(
        &self,
        gradients: &QueryGradients,
        parameters: &Parameters,
        queries: &[Query],
        first: usize,
        images: &[usize],
        products: &mut Products,
    ) -> Result<()> {
        let Self { subject, measured, dampings, .. } = *self;
        let (workspace, groups) = (subject.workspace, subject.draws().groups);
        let identity = self.identity(queries)?;
        let folder = format!("curvature/products/{}", &identity.to_string()[..16]);
        let files: Vec<&[usize]> = images.chunks(IMAGES_PER_FILE).collect();
        let mut rows = None;
        let done = AtomicUsize::new(0);
        let progress = Progress::new("influence", images.len() as u64, 0);
        for (number, images) in files.iter().enumerate() {
            let name = format!("{folder}/{number:05}.safetensors");
            let keys: Vec<u8> = images.iter().flat_map(|&image| subject.image_key(image)).collect();
            let key = Fingerprint::of("products").fingerprint(identity).bytes(&keys).finish();
            let known = kept(workspace, &name, key)?;
            let bytes = match known {
                Some(bytes) => {
                    done.fetch_add(images.len(), Ordering::Relaxed);
                    bytes
                }
                None => {
                    let rows = match &rows {
                        Some(rows) => rows,
                        None => {
                            let solved = gradients.solved(
                                subject,
                                parameters,
                                queries,
                                first,
                                &measured.curvature,
                                dampings,
                            )?;
                            rows.insert(solved)
                        }
                    };
                    let arrays = self.file(parameters, rows, images, || {
                        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                        progress.set(done as u64, "training images");
                    })?;
                    let bytes = arrays.to_bytes(&name, None)?;
                    workspace.run.put(&name, key, &bytes)?;
                    bytes
                }
            };
            let arrays = ArrayReader::new(&bytes, &name)?;
            let columns = queries.len() * groups;
            arrays.expect_shape("products", &[images.len(), groups, columns])?;
            arrays.expect_shape("self_influence", &[images.len()])?;
            let (values, own) = (arrays.f64("products")?, arrays.f64("self_influence")?);
            for ((&image, values), own) in images.iter().zip(values.chunks_exact(groups * columns)).zip(own) {
                products.self_influence[image] = own;
                for (to, from) in products.of_images[image].iter_mut().zip(values.chunks_exact(columns)) {
                    to.extend_from_slice(from);
                }
            }
        }
        progress.finish(&format!("{} training images and {} queries", images.len(), queries.len()));
        Ok(())
    }

    /// What products with some queries follow from, but for the training images.
    fn identity(&self, queries: &[Query]) -> Result<Fingerprint> {
        let Self { subject, measured, dampings, measurement, .. } = self;
        let recipe = &subject.workspace.recipe;
        let queries: Vec<Vec<u8>> = queries
            .iter()
            .map(|query| crate::stages::gradients::row_key(&query.image, query.class).to_vec())
            .collect();
        let plan = image_draws(subject);
        Ok(Fingerprint::of("influence")
            .fingerprint(measured.identity)
            .json(&recipe.influence.eigenvalues)?
            .json(dampings)?
            .text(measurement)
            .json(&recipe.influence.query_timestep.filter(|_| self.queries_have_draws))?
            .json(&(plan.timesteps, plan.groups, plan.antithetic, plan.sharing, recipe.seed))?
            .bytes(Digest::of(&queries.concat()).as_bytes())
            .finish())
    }

    /// The products of some images.
    fn file(
        &self,
        parameters: &Parameters,
        rows: &QuantisedRows,
        images: &[usize],
        show: impl Fn() + Sync,
    ) -> Result<ArrayWriter> {
        let Self { subject, measured, dampings, .. } = *self;
        let schedule = &subject.workspace.recipe.schedule;
        let (plan, count) = (image_draws(subject), subject.architecture.parameter_count());
        let extractor = FeatureExtractor::new(
            &subject.architecture,
            parameters.clone(),
            schedule,
            Measurement::Loss,
            false,
        );
        let of = |image: usize| -> Result<(Vec<f32>, f64)> {
            let key = subject.image_key(image);
            let values = subject.training.images.scaled(image);
            let name = format!("{} of the training set", subject.training.images.source_indices()[image]);
            let mut gradients = Vec::with_capacity(plan.groups * count);
            for group in 0..plan.groups {
                subject.workspace.stop.check()?;
                let draws = plan.draws(schedule, group, values.len(), noise_id(&key));
                let class = subject.class_of(image);
                gradients.extend(extractor.gradient::<f32>(&values, subject.size, class, &draws, &name)?);
            }
            // Draws that stood on both sides would have their noise squared in it: every second group against the others.
            let mean = |first: usize| {
                let groups: Vec<usize> = (first..plan.groups).step_by(2).collect();
                let mut mean = vec![0.0f32; count];
                for gradient in groups.iter().map(|group| &gradients[group * count..][..count]) {
                    mean.iter_mut()
                        .zip(gradient)
                        .for_each(|(sum, value)| *sum += value / groups.len() as f32);
                }
                mean
            };
            let [even, odd] = [mean(0), mean(if plan.groups > 1 { 1 } else { 0 })];
            let solved = measured.curvature.solve(&even, dampings)?;
            let own = odd.iter().zip(&solved).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            show();
            Ok((gradients, own))
        };
        // Queries are widened once for all gradients of a block.
        let at_once = (MOST_GRADIENT_VALUES / (plan.groups * count).max(1)).clamp(1, IMAGES_PER_FILE);
        let (mut products, mut own) = (Vec::new(), Vec::with_capacity(images.len()));
        for block in images.chunks(at_once) {
            let found = side_by_side(block.len(), |index| of(block[index]))?;
            own.extend(found.iter().map(|(_, own)| *own));
            let gradients: Vec<f32> = found.into_iter().flat_map(|(gradients, _)| gradients).collect();
            products.extend(rows.products(&gradients)?);
        }
        let columns = products.first().map_or(0, Vec::len);
        let products = products.concat();
        let mut arrays = ArrayWriter::default();
        arrays.put_f64("products", &[images.len(), plan.groups, columns], &products);
        arrays.put_f64("self_influence", &[images.len()], &own);
        Ok(arrays)
    }
}
