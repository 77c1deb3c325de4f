//! Where the images come from that are asked about: samples, training images, the other split, a folder or a file.

use super::queries::Query;
use super::row_key::row_key;
use super::subject::Subject;
use crate::analyse::{Sampling, shard_count, shard_samples};
use crate::data::{open_images, open_path, prepare_images, with_captions};
use crate::encoders::{EncodingPictures, EncodingTexts, Latents, TEXTS_OF_QUERIES, texts_of_samples};
use crate::error::{MadeBy, Result, RunError};
use crate::network_images::in_channels_of;
use crate::piece::missing;
use crate::words::{first_of, quoted};
use pentimento_attribution::gradient::RowKey;
use pentimento_data::{ImageSource, PreparedSet, Preprocessing, Split};
use pentimento_diffusion::arrays::ArrayReader;
use pentimento_diffusion::condition::Condition;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

/// What networks are told of a query, and that in words.
type Told = (Condition, Option<String>);

/// A picture of a set as a query.
fn query_of(picture: Vec<f32>, input: Option<Vec<f32>>, name: String, title: &str, told: Told) -> Query {
    let title = title.to_owned() + &as_told(&told);
    let (condition, told) = told;
    Query { name, title, input: input.unwrap_or_else(|| picture.clone()), picture, condition, told }
}

/// What networks are shown of some of the pictures that are asked about, if that is not the pictures.
fn latents_of(subject: &Subject<'_>, images: &PreparedSet, chosen: Vec<usize>) -> Result<Option<Latents>> {
    let Some(encoders) = &subject.networks.encoders else { return Ok(None) };
    EncodingPictures::of_queries(subject.workspace, encoders, images, chosen, subject.shape())
        .complete()
        .map(Some)
}

/// Texts that networks are told.
fn told_texts(subject: &Subject<'_>, texts: &[&str]) -> Result<Vec<Told>> {
    let Some(encoders) = &subject.networks.encoders else { return Ok(vec![Told::default(); texts.len()]) };
    let found = EncodingTexts::new(subject.workspace, encoders, TEXTS_OF_QUERIES, texts.iter().copied())
        .complete()?;
    Ok(texts.iter().map(|&text| (found.condition(text), Some(text.to_owned()))).collect())
}

/// The first caption of each of some images of a set.
fn first_captions<'a>(images: &'a PreparedSet, chosen: &[usize], whose: &Path) -> Result<Vec<&'a str>> {
    let caption = |&image: &usize| images.captions(image).first().map(String::as_str);
    let captions: Option<Vec<&str>> = chosen.iter().map(caption).collect();
    captions.ok_or_else(|| RunError::QueriesWithoutPrompt { path: whose.to_path_buf() })
}

/// A class, if the network is told one, with its name.
fn told_class(subject: &Subject<'_>, class: Option<u32>) -> Told {
    (class.into(), class.map(|class| subject.training.name_of_class(class)))
}

/// What stands behind the title of a query of which the network is told something.
fn as_told((condition, told): &Told) -> String {
    match (condition, told) {
        (Condition::Text(_), Some(told)) => format!(" ({})", quoted(told)),
        (_, told) => told.as_ref().map_or(String::new(), |told| format!(" (as {told})")),
    }
}

/// Samples of the run.
///
/// # Errors
///
/// [`RunError::Missing`] if they are not made.
pub(super) fn samples(subject: &Subject<'_>) -> Result<Vec<Query>> {
    let workspace = subject.workspace;
    if !missing(&Sampling::new(workspace, subject.networks), &workspace.run)?.is_empty() {
        return Err(workspace.missing("the samples".into(), MadeBy::Sampling));
    }
    let count = workspace.recipe.samples.count;
    let length = subject.picture_shape().iter().product();
    let latent_length: usize = subject.shape().iter().product();
    let texts = texts_of_samples(workspace, subject.networks)?;
    let told_of = |sample: u32| match workspace.recipe.samples.prompt(sample) {
        Some(prompt) => (texts.condition(prompt), Some(prompt.to_owned())),
        None => told_class(subject, workspace.recipe.samples.class),
    };
    let mut queries = Vec::new();
    for shard in 0..shard_count(count) {
        let name = format!("samples/shard-{shard:05}.safetensors");
        let bytes = workspace.run.get(&name)?;
        let arrays = ArrayReader::new(&bytes, &name)?;
        let values = arrays.f32("image")?;
        let latents = subject.networks.encoders.as_ref().map(|_| arrays.f32("latent")).transpose()?;
        let latent =
            |place: usize| latents.as_ref().map(|all| all[place * latent_length..][..latent_length].to_vec());
        for (place, (id, image)) in
            shard_samples(shard, count).into_iter().zip(values.chunks_exact(length)).enumerate()
        {
            // As whoever looks at it sees it.
            let picture: Vec<f32> = image.iter().map(|value| value.clamp(-1.0, 1.0)).collect();
            let title = format!("sample {id}");
            queries.push(query_of(picture, latent(place), id.to_string(), &title, told_of(id)));
        }
    }
    Ok(queries)
}

/// Training images by their names.
///
/// # Errors
///
/// [`RunError::NoSuch`] if there is none of a name.
pub(super) fn training_images(
    subject: &Subject<'_>,
    names: &[String],
    what: &str,
    find: impl Fn(&String) -> Option<usize>,
) -> Result<Vec<Query>> {
    let images = &subject.training.images;
    let query = |name: &String| {
        let index = find(name).ok_or_else(|| RunError::NoSuch {
            what: what.into(),
            value: format!("`{name}`"),
            bound: format!(
                "the run has {} training images, at positions {} to {} of their source, such as {}",
                images.len(),
                images.source_indices().first().copied().unwrap_or_default(),
                images.source_indices().last().copied().unwrap_or_default(),
                images.title(0)
            ),
        })?;
        let class = subject.knows_classes().then(|| images.labels()[index]);
        let (name, title) =
            (images.source_indices()[index].to_string(), format!("training image {}", images.title(index)));
        let input = Some(subject.training.input(index));
        let told = match subject.training.caption_of(index) {
            Some(caption) => (subject.training.conditions(index).swap_remove(0), Some(caption.to_owned())),
            None => told_class(subject, class),
        };
        Ok(query_of(images.scaled(index), input, name, &title, told))
    };
    names.iter().map(query).collect()
}

/// Images of the other split, the first of each class, that are not among the training images.
///
/// # Errors
///
/// [`RunError::NoSuch`] if there are not so many; as opening and preparing them.
pub(super) fn held_out(subject: &Subject<'_>, count: usize) -> Result<Vec<Query>> {
    let (recipe, training) = (&subject.workspace.recipe, &subject.training.images);
    let preprocessing = &recipe.data.preprocessing;
    let other = match preprocessing.split {
        Split::Train => Split::Test,
        Split::Test => Split::Train,
    };
    let labels: BTreeSet<u32> = training.labels().iter().copied().collect();
    let preprocessing = Preprocessing {
        split: other,
        first: None,
        // Copies of training images do not count, so a few more are looked at.
        first_per_class: Some(2 * count.div_ceil(labels.len().max(1))),
        ..preprocessing.clone()
    };
    let (source, class_names) = open_images(&recipe.data, other, &subject.workspace.options)?;
    let source = in_channels_of(source, subject.picture_shape()[2], &preprocessing, "held-out images")?;
    let images = prepare_images(source.as_ref(), &preprocessing, subject.workspace.reporter())?;
    let known: HashSet<RowKey> =
        (0..training.len()).map(|index| row_key(&training.scaled(index), &[])).collect();
    let mut of_class: BTreeMap<u32, usize> = BTreeMap::new();
    let mut chosen: Vec<(usize, usize)> = Vec::new();
    for index in 0..images.len() {
        if !known.contains(&row_key(&images.scaled(index), &[])) {
            let place = of_class.entry(images.labels()[index]).or_default();
            chosen.push((*place, index));
            *place += 1;
        }
    }
    // The first of every class, then the second of every class.
    chosen.sort_unstable();
    if count == 0 || chosen.len() < count {
        return Err(RunError::NoSuch {
            what: "set of".into(),
            value: format!("{count} held-out images"),
            bound: format!("the other split of the training images' set has {} for it", chosen.len()),
        });
    }
    chosen.truncate(count);
    let chosen: Vec<usize> = chosen.into_iter().map(|(_, index)| index).collect();
    let latents = latents_of(subject, &images, chosen.clone())?;
    let captions = match subject.networks.knows_texts() {
        true => Some(told_texts(subject, &first_captions(&images, &chosen, Path::new("held-out images"))?)?),
        false => None,
    };
    let query = |(place, &index): (usize, &usize)| {
        let label = images.labels()[index];
        let class = match (subject.knows_classes(), class_names.get(label as usize)) {
            (false, _) => None,
            (true, name) => Some(name.and_then(|name| subject.training.class_named(name)).unwrap_or(label)),
        };
        let (name, title) =
            (images.names()[index].clone(), format!("held-out image {}", images.title(index)));
        let input = latents.as_ref().map(|latents| latents.of(place).to_vec());
        let told = captions.as_ref().map_or_else(|| told_class(subject, class), |told| told[place].clone());
        query_of(images.scaled(index), input, name, &title, told)
    };
    Ok(chosen.iter().enumerate().map(query).collect())
}

/// The images of a folder or file.
///
/// # Errors
///
/// As opening and preparing them, and of images and classes that do not fit the network.
pub(super) fn images_of(
    subject: &Subject<'_>,
    path: &Path,
    class: Option<&str>,
    prompt: Option<&str>,
) -> Result<Vec<Query>> {
    let recipe = &subject.workspace.recipe;
    let shape = subject.picture_shape();
    if let (Some(prompt), false) = (prompt, subject.networks.knows_texts()) {
        return Err(RunError::NoSuch {
            what: "prompt".into(),
            value: quoted(prompt),
            bound: "the network was trained without texts, so it cannot be told one".into(),
        });
    }
    let mut data = recipe.data.clone();
    if prompt.is_some() || !subject.networks.knows_texts() {
        data.captions = None;
    }
    let source = open_path(path, Split::Train, &data, &subject.workspace.options)?;
    let mut preprocessing = recipe.data.preprocessing.clone();
    // These choose among training images.
    (preprocessing.classes, preprocessing.first_per_class, preprocessing.first) = (None, None, None);
    let class_names = source.class_names().to_vec();
    // Without classes they may have captions of their own.
    let source = match source.labels() {
        Some(_) => with_captions(Box::new(source), &class_names, &data)?,
        None => Box::new(source) as Box<dyn ImageSource>,
    };
    let source = in_channels_of(source, shape[2], &preprocessing, &path.display().to_string())?;
    let images = prepare_images(source.as_ref(), &preprocessing, subject.workspace.reporter())?;
    let found = [images.height(), images.width(), images.channels()];
    if found != shape {
        let text =
            |[height, width, channels]: [usize; 3]| format!("{height}x{width} with {channels} channels");
        let bound = format!("the network takes {}; the run's preprocessing was applied to them", text(shape));
        return Err(RunError::RecipeValue {
            file: path.display().to_string(),
            field: "the images".into(),
            value: text(found),
            bound,
        });
    }
    let classes = classes_of(subject, path, source.as_ref(), class)?;
    let all: Vec<usize> = (0..images.len()).collect();
    let texts = match (subject.networks.knows_texts(), prompt) {
        (false, _) => None,
        (true, Some(prompt)) => Some(told_texts(subject, &vec![prompt; images.len()])?),
        (true, None) => Some(told_texts(subject, &first_captions(&images, &all, path)?)?),
    };
    let latents = latents_of(subject, &images, all)?;
    let query = |index: usize| {
        let position = images.source_indices()[index];
        let name = images.names()[index].clone();
        let class = classes.as_ref().map(|classes| classes[position]);
        let title = match name == position.to_string() {
            true => format!("image {position} of {}", path.display()),
            false => name.clone(),
        };
        let input = latents.as_ref().map(|latents| latents.of(index).to_vec());
        let told = texts.as_ref().map_or_else(|| told_class(subject, class), |texts| texts[index].clone());
        query_of(images.scaled(index), input, name, &title, told)
    };
    Ok((0..images.len()).map(query).collect())
}

/// The class of each image of a set of queries, as the network numbers them; none if the network is not told. Classes are
/// the same if their names are: a set of queries need not have all of them, nor in the same order.
fn classes_of(
    subject: &Subject<'_>,
    path: &Path,
    source: &dyn ImageSource,
    given: Option<&str>,
) -> Result<Option<Vec<u32>>> {
    if !subject.knows_classes() {
        return match given {
            None => Ok(None),
            Some(class) => Err(RunError::NoSuch {
                what: "class".into(),
                value: format!("`{class}`"),
                bound: "the network was trained without classes, so it cannot be told one".into(),
            }),
        };
    }
    let class_of = |name: &str| {
        subject.training.class_named(name).ok_or_else(|| RunError::NoSuch {
            what: "class".into(),
            value: format!("`{name}` of {}", path.display()),
            bound: format!(
                "the training images have the classes {}",
                first_of(&subject.training.class_names)
            ),
        })
    };
    if let Some(name) = given {
        // Or its number.
        let number =
            name.parse().ok().filter(|&class: &u32| (class as usize) < subject.training.class_names.len());
        let class = class_of(name).or_else(|error| number.ok_or(error))?;
        return Ok(Some(vec![class; source.len()]));
    }
    let Some(labels) = source.labels() else {
        let classes = subject.training.class_names.clone();
        return Err(RunError::QueriesWithoutClass { path: path.to_path_buf(), classes });
    };
    // Of a set without names the label itself is the name.
    let name = |label: u32| source.class_names().get(label as usize).cloned().unwrap_or(label.to_string());
    let mut known = BTreeMap::new();
    for &label in labels {
        if let Entry::Vacant(place) = known.entry(label) {
            place.insert(class_of(&name(label))?);
        }
    }
    Ok(Some(labels.iter().map(|label| known[label]).collect()))
}
