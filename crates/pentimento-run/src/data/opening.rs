//! The images that a recipe names: fetched or found, opened, with the channels and captions that the recipe says.

use crate::error::{Result, RunError};
use crate::event::{Event, Progress, Reporter};
use crate::known_sets::Telling;
use crate::recipe::{DataRecipe, NO_SOURCE};
use crate::workspace::RunOptions;
use pentimento_data::{
    Colours, FetchError, FetchEvent, FetchOptions, ImageSet, ImageSource, IndexedSource, OpenEvent,
    OpenOptions, PreparedSet, Preprocessing, PublicSet, Split, Work, converted, default_cache_dir, fetch,
    open, prepare_telling, read_idx, with_class_captions,
};
use std::path::Path;

/// Fetches a public set into the cache, telling what is tried.
///
/// # Errors
///
/// [`pentimento_data::FetchError`] if nothing answers.
pub fn fetch_public(
    set: PublicSet,
    from: Option<&Path>,
    reporter: &Reporter,
) -> Result<pentimento_data::FetchedSet> {
    fetch_into(&default_cache_dir()?, set, from, reporter)
}

fn fetch_into(
    cache: &Path,
    set: PublicSet,
    from: Option<&Path>,
    reporter: &Reporter,
) -> Result<pentimento_data::FetchedSet> {
    let mut options = FetchOptions::new(cache);
    if let Some(folder) = from.filter(|folder| !folder.is_dir()) {
        return Err(RunError::NoFolderOfSet { folder: folder.to_path_buf() });
    }
    options.from = from.map(Path::to_path_buf);
    let mut show = |event: FetchEvent<'_>| reporter.tell(Event::Fetch(event));
    Ok(fetch(set, &options, &mut show)?)
}

/// One half of a public set, which is fetched if it is not in the cache. Without a cache it is fetched for this time.
fn open_public(set: PublicSet, split: Split, options: &RunOptions) -> Result<ImageSet> {
    let (from, reporter) = (options.data_from.as_deref(), &options.reporter);
    match default_cache_dir() {
        Ok(cache) => Ok(fetch_into(&cache, set, from, reporter)?.open(split)?),
        Err(error @ FetchError::NoCacheFolder) => {
            reporter.tell(Event::FetchedForNow { reason: &error.to_string() });
            let folder = tempfile::tempdir().map_err(RunError::io("make", &std::env::temp_dir()))?;
            Ok(fetch_into(folder.path(), set, from, reporter)?.open(split)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens an image set of any layout, telling what was found, with the channels, the background and the treatment of damaged
/// images that a recipe says. Its index is kept in the cache, if there is one. Of an unchanged set that is known, one line is
/// told, and nothing the second time.
///
/// # Errors
///
/// [`pentimento_data::DataError`] naming the file, the field, the value and the bound.
pub fn open_path(
    path: &Path,
    split: Split,
    data: &DataRecipe,
    options: &RunOptions,
) -> Result<IndexedSource> {
    let how = options.known_sets.telling(path, split, data);
    let mut tell = telling(&options.reporter);
    let source = open_path_telling(path, split, data, options, how != Telling::Everything, &mut |event| {
        if how != Telling::Nothing || !matches!(event, OpenEvent::Known { .. }) {
            tell(event);
        }
    })?;
    options.known_sets.told(path, split, data);
    Ok(source)
}

/// Opens an image set as [`open_path`] does, and hands all events to `tell`; `is_known` says that one is enough where the set
/// is unchanged.
///
/// # Errors
///
/// As [`open_path`].
pub fn open_path_telling(
    path: &Path,
    split: Split,
    data: &DataRecipe,
    options: &RunOptions,
    is_known: bool,
    tell: &mut dyn FnMut(OpenEvent<'_>),
) -> Result<IndexedSource> {
    let cache_dir = match default_cache_dir() {
        Ok(folder) => Some(folder),
        Err(error) => {
            tell(OpenEvent::NoCache { reason: &error.to_string() });
            None
        }
    };
    let background = data.background.unwrap_or(Colours::default().background);
    let opening = OpenOptions {
        split,
        colours: Colours { channels: data.channels, background },
        cache_dir,
        captions: data.caption_column().map(str::to_owned),
        verify: options.verify_files,
        skip_damaged: data.skip_damaged,
        is_known,
    };
    Ok(open(path, &opening, tell)?)
}

/// Hands the events of a set on; what takes longer than a moment becomes a stage.
pub fn telling(reporter: &Reporter) -> impl FnMut(OpenEvent<'_>) {
    let mut shown: Option<(Work, Progress)> = None;
    move |event| match event {
        OpenEvent::Progress { work, done, total, .. } => {
            let (name, what) = work.names();
            if shown.as_ref().is_none_or(|(of, _)| *of != work) {
                shown = Some((work, reporter.begin(name, total as u64, done as u64)));
            }
            match shown.take() {
                Some((_, progress)) if done >= total => progress.finish(&format!("{total} {what}")),
                Some((work, progress)) => {
                    progress.set(done as u64, what);
                    shown = Some((work, progress));
                }
                None => {}
            }
        }
        event => reporter.tell(Event::Open(event)),
    }
}

/// Prepares images, telling how far it is.
///
/// # Errors
///
/// As [`prepare_telling`].
pub fn prepare_images(
    set: &dyn ImageSource,
    preprocessing: &Preprocessing,
    reporter: &Reporter,
) -> Result<PreparedSet> {
    Ok(prepare_telling(set, preprocessing, &mut telling(reporter))?)
}

/// Images that can be read one by one, and the names of their classes.
pub type NamedImages = (Box<dyn ImageSource>, Vec<String>);

/// Opens the images that a recipe names, before preprocessing, with the names of their classes. A set without labels is
/// one class.
///
/// # Errors
///
/// As reading and fetching.
pub fn open_images(data: &DataRecipe, split: Split, options: &RunOptions) -> Result<NamedImages> {
    data.check_paths()?;
    if let Some(set) = data.set {
        return as_recipe_says(data, set, open_public(set, split, options)?);
    }
    if let Some(path) = &data.path {
        let source = open_path(path, split, data, options)?;
        let names =
            if source.labels().is_some() { source.class_names().to_vec() } else { vec!["all".into()] };
        return Ok((with_captions(Box::new(source), &names, data)?, names));
    }
    let (Some(images), Some(labels)) = (&data.images, &data.labels) else {
        return Err(RunError::RecipeValue {
            file: "recipe".into(),
            field: "data".into(),
            value: "without a source".into(),
            bound: NO_SOURCE.into(),
        });
    };
    let set = read_idx(images, labels)?;
    let classes = set.labels().iter().max().map_or(0, |&label| label as usize + 1);
    let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
    Ok((with_captions(in_channels(set, data), &names, data)?, names))
}

/// Images of a public set with the channels and the captions that a recipe says, and the names of the set's classes.
///
/// # Errors
///
/// As [`with_captions`].
pub fn as_recipe_says(data: &DataRecipe, public: PublicSet, images: ImageSet) -> Result<NamedImages> {
    let names: Vec<String> = public.class_names().iter().map(ToString::to_string).collect();
    Ok((with_captions(in_channels(images, data), &names, data)?, names))
}

/// Of a path, opening it brings images to the channels.
fn in_channels(images: ImageSet, data: &DataRecipe) -> Box<dyn ImageSource> {
    match data.channels {
        Some(channels) => converted(Box::new(images), channels),
        None => Box::new(images),
    }
}

/// Images under the captions that a recipe makes of the names of their classes; as they are where it makes none.
///
/// # Errors
///
/// [`RunError::RecipeValue`] for images without classes.
pub(crate) fn with_captions(
    images: Box<dyn ImageSource>,
    class_names: &[String],
    data: &DataRecipe,
) -> Result<Box<dyn ImageSource>> {
    let Some(captions) = data.captions_of_classes(class_names) else { return Ok(images) };
    with_class_captions(images, captions).ok_or_else(|| RunError::RecipeValue {
        file: "recipe".into(),
        field: "data.captions".into(),
        value: format!("{:?}", data.captions.as_deref().unwrap_or_default()),
        bound: "without `{class}`, as the images have no classes whose names could stand there".into(),
    })
}
