//! Features of images in the run: Arrow files of some rows each, found by what the network was shown.
//!
//! A row is found by its image and not by a position in a set, so images that are added later are the only ones for which
//! gradients are taken, and images that are left out cost nothing. Beside each file of rows lies its ledger, the digests of
//! its images, one to a line, by whose digest both are called; both are written at once. The run's manifest holds the digest of
//! every file: one that was damaged is made again.

use crate::error::{Result, RunError};
use crate::event::{Event, Reporter};
use crate::kept::unless_damaged;
use pentimento_attribution::gradient::{FeatureBlock, FeatureFile, FeatureRows, RowKey};
use pentimento_store::{Digest, Fingerprint, Run};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::PathBuf;

/// Most images of a file. A kill loses the gradients of one file that is not finished.
pub(super) const MOST_IMAGES_PER_FILE: usize = 64;
/// Most numbers of a file, unless it has one image: 256 MiB in memory. 64 images with 4 parts of 2048 numbers have half a
/// million.
pub(super) const MOST_NUMBERS_PER_FILE: usize = 1 << 26;

/// Features of a list of images, read from the run when they are needed.
#[derive(Clone)]
pub struct Features {
    files: Vec<PathBuf>,
    /// The file of each image, and its place in it; none for images without a gradient, whose feature is zero.
    places: Vec<Option<(usize, usize)>>,
    features_of: String,
    parts: usize,
    dimension: usize,
}

/// Names of the two files of some images in a folder: the rows and the ledger.
pub(super) fn names_of(folder: &str, images: &[RowKey]) -> [String; 2] {
    let digest = Digest::of(&images.concat()).to_string();
    ["arrow", "images"].map(|ending| format!("{folder}/{}.{ending}", &digest[..16]))
}

/// What a file of rows is made from.
pub(super) fn file_key(features_of: &str, images: &[RowKey]) -> Fingerprint {
    Fingerprint::of("features").text(features_of).bytes(&images.concat()).finish()
}

/// Rows that are there.
#[derive(Clone, Default)]
pub(super) struct Known {
    files: Vec<PathBuf>,
    rows: HashMap<RowKey, (usize, usize)>,
}

impl Known {
    /// What is there already of the images that are asked for. Files that are damaged or half there are removed, and that is
    /// told.
    ///
    /// # Errors
    ///
    /// As reading and writing the run.
    pub fn find(
        run: &Run,
        reporter: &Reporter,
        folder: &str,
        features_of: &str,
        asked: &BTreeSet<RowKey>,
    ) -> Result<Self> {
        let mut known = Self::default();
        for ledger_name in run.names() {
            let Some(base) =
                ledger_name.strip_suffix(".images").filter(|base| base.starts_with(&format!("{folder}/")))
            else {
                continue;
            };
            let rows_name = format!("{base}.arrow");
            // Reading both compares them with their digests.
            let images = unless_damaged(run.get(&ledger_name))?.and_then(|bytes| read_ledger(&bytes));
            let current = images.filter(|images| run.is_current(&rows_name, file_key(features_of, images)));
            let asked_for =
                current.as_ref().is_some_and(|images| images.iter().any(|image| asked.contains(image)));
            let path = if asked_for { unless_damaged(run.path_of(&rows_name))? } else { None };
            match (current, path) {
                (Some(images), Some(path)) => known.insert(path, &images),
                // Of other images only.
                (Some(_), None) if !asked_for => {}
                _ => {
                    reporter.tell(Event::MadeAgain(&rows_name));
                    if !run.is_read_only() {
                        run.remove(&ledger_name)?;
                        run.remove(&rows_name)?;
                    }
                }
            }
        }
        Ok(known)
    }

    /// Takes in a file that was just made.
    ///
    /// # Errors
    ///
    /// As reading it.
    pub fn add(&mut self, run: &Run, [rows, ledger]: [&str; 2]) -> Result<()> {
        let images = read_ledger(&run.get(ledger)?).ok_or_else(|| RunError::Inconsistent {
            object: ledger.into(),
            problem: "it is no list of digests".into(),
        })?;
        self.insert(run.path_of(rows)?, &images);
        Ok(())
    }

    /// Whether there is a row of an image.
    pub fn has(&self, image: &RowKey) -> bool {
        self.rows.contains_key(image)
    }

    /// Access to the rows of some images; one without a key has none, and its feature is zero.
    ///
    /// # Errors
    ///
    /// If a row is not there.
    pub fn features(
        self,
        keys: &[Option<RowKey>],
        features_of: String,
        parts: usize,
        dimension: usize,
    ) -> Result<Features> {
        let place_of = |key: &Option<RowKey>| match key {
            None => Ok(None),
            Some(key) => self.rows.get(key).copied().map(Some).ok_or_else(|| RunError::Inconsistent {
                object: "features".into(),
                problem: "some that were just made are gone".into(),
            }),
        };
        let places = keys.iter().map(place_of).collect::<Result<_>>()?;
        Ok(Features { files: self.files, places, features_of, parts, dimension })
    }

    fn insert(&mut self, path: PathBuf, images: &[RowKey]) {
        for (place, image) in images.iter().enumerate() {
            self.rows.entry(*image).or_insert((self.files.len(), place));
        }
        self.files.push(path);
    }
}

/// A ledger: the digests of images, one to a line.
pub(super) fn ledger(images: &[RowKey]) -> String {
    let line = |image: &RowKey| {
        let digits: String = image.iter().map(|byte| format!("{byte:02x}")).collect();
        digits + "\n"
    };
    images.iter().map(line).collect()
}

fn read_ledger(bytes: &[u8]) -> Option<Vec<RowKey>> {
    let key = |line: &str| -> Option<RowKey> {
        let digits = line.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut key = [0; 32];
        for (byte, digits) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(key)
    };
    std::str::from_utf8(bytes).ok()?.lines().map(key).collect()
}

impl Features {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Those of some of the images, by their positions.
    pub fn of(&self, images: &[usize]) -> Self {
        Self { places: images.iter().map(|&image| self.places[image]).collect(), ..self.clone() }
    }

    /// Length of a feature.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Parts of an image, of each of which there is a feature.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// The features of a range of images, each the mean over those of its parts that `keep`, `[images, feature]`.
    ///
    /// # Errors
    ///
    /// If a file is gone or damaged since it was opened.
    pub fn read(&self, images: Range<usize>, keep: impl Fn(usize) -> bool) -> Result<Vec<f32>> {
        let kept: Vec<usize> = (0..self.parts).filter(|&part| keep(part)).collect();
        let share = 1.0 / kept.len().max(1) as f32;
        let mut values = Vec::with_capacity(images.len() * self.dimension);
        self.each(images, |parts| {
            let start = values.len();
            values.resize(start + self.dimension, 0.0f32);
            let sum = &mut values[start..];
            for &part in &kept {
                for (sum, value) in sum.iter_mut().zip(&parts[part * self.dimension..][..self.dimension]) {
                    *sum += value;
                }
            }
            sum.iter_mut().for_each(|value| *value *= share);
        })?;
        Ok(values)
    }

    /// [`read`](Self::read) for whoever reads piece by piece: features stay in their files.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn block(&self, images: Range<usize>, keep: impl Fn(usize) -> bool) -> Result<FeatureBlock> {
        let kept: Option<Vec<(usize, usize)>> = self.places[images.clone()].iter().copied().collect();
        // Features of images that have no row are zero, which no file says.
        let Some(kept) = kept else { return Ok(self.read(images, keep)?.into()) };
        let mut numbers: Vec<usize> = kept.iter().map(|&(file, _)| file).collect();
        numbers.dedup();
        let parts: Vec<usize> = (0..self.parts).filter(|&part| keep(part)).collect();
        // Images that lie here and there would bring whole files for a row of each.
        let open = numbers.len() * MOST_IMAGES_PER_FILE * self.parts * self.dimension;
        if open > MOST_NUMBERS_PER_FILE || parts.is_empty() {
            return Ok(self.read(images, keep)?.into());
        }
        let files = numbers.iter().map(|&file| {
            let (bytes, name) = self.bytes(file)?;
            Ok(FeatureFile::open(bytes.into(), &name, &self.features_of, self.parts, self.dimension)?)
        });
        let files: Vec<FeatureFile> = files.collect::<Result<_>>()?;
        let mut number = 0;
        let mut places = Vec::with_capacity(kept.len());
        for (file, place) in kept {
            number += usize::from(numbers[number] != file);
            self.check(file, place, files[number].images().len())?;
            places.push((number, place));
        }
        Ok(FeatureBlock::kept(files, places, parts))
    }

    fn bytes(&self, file: usize) -> Result<(Vec<u8>, String)> {
        let path = &self.files[file];
        let bytes = std::fs::read(path).map_err(RunError::io("read", path))?;
        Ok((bytes, path.display().to_string()))
    }

    fn check(&self, file: usize, place: usize, images: usize) -> Result<()> {
        if place < images {
            return Ok(());
        }
        Err(RunError::NoSuch {
            what: "row".into(),
            value: place.to_string(),
            bound: format!("{} has {images}", self.files[file].display()),
        })
    }

    /// The features of all parts of a range of images, `[images, parts, feature]`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_parts(&self, images: Range<usize>) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(images.len() * self.parts * self.dimension);
        self.each(images, |parts| values.extend_from_slice(parts))?;
        Ok(values)
    }

    fn each(&self, images: Range<usize>, mut of: impl FnMut(&[f32])) -> Result<()> {
        let mut open: Option<(usize, FeatureRows)> = None;
        let zero = vec![0.0f32; self.parts * self.dimension];
        for place in &self.places[images] {
            let Some((file, place)) = *place else {
                of(&zero);
                continue;
            };
            let rows = match open.take().filter(|(number, _)| *number == file) {
                Some((_, rows)) => rows,
                None => {
                    let (bytes, name) = self.bytes(file)?;
                    FeatureRows::from_arrow(bytes, &name, &self.features_of, self.parts, self.dimension)?
                }
            };
            self.check(file, place, rows.images.len())?;
            of(rows.parts_of(place));
            open = Some((file, rows));
        }
        Ok(())
    }
}
