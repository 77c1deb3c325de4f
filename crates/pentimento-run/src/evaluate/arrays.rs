//! Anybody's scores, masks and outcomes, as NumPy arrays.

use super::subsets::FEWEST_SUBSETS;
use crate::error::{Result, RunError};
use crate::words::counted;
use pentimento_evaluation::datamodelling::{
    Ceiling, Datamodelling, Table, ceiling, datamodelling, mean_over_seeds,
};
use pentimento_evaluation::statistics::IntervalSettings;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Files of NumPy arrays of any number type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArraysToJudge {
    /// `[queries, images]`, larger for images whose presence lowers the loss.
    pub scores: PathBuf,
    /// `[subsets, images]`, whether an image was trained on.
    pub masks: PathBuf,
    /// `[subsets, queries]` or `[seeds, subsets, queries]`, the loss of a query on the network of a subset.
    pub outcomes: PathBuf,
}

/// Judges scores in files by outcomes in files.
///
/// # Errors
///
/// [`RunError::NumpyFile`] for a file that is no such array, or whose shape does not fit the others, for too few subsets, and if
/// scores or outcomes are such that no query ranks the subsets.
pub fn judge_arrays(
    files: &ArraysToJudge,
    interval: IntervalSettings,
) -> Result<(Datamodelling, Option<Ceiling>)> {
    let scores = table(&files.scores, &["queries", "images"])?;
    let masks = table(&files.masks, &["subsets", "images"])?;
    let outcomes = Array::read(&files.outcomes)?;
    let seeds: Vec<Table> = match *outcomes.shape.as_slice() {
        [_, _] => vec![outcomes.rows()],
        [seeds, subsets, _] => {
            let rows = outcomes.rows();
            (0..seeds).map(|seed| rows[seed * subsets..(seed + 1) * subsets].to_vec()).collect()
        }
        _ => return Err(outcomes.wrong_shape("[subsets, queries] or [seeds, subsets, queries]")),
    };
    let (queries, images) = (scores.rows.len(), scores.columns());
    let subsets = masks.rows.len();
    let lengths = seeds.first().map_or((0, 0), |table| (table.len(), table.first().map_or(0, Vec::len)));
    for (file, axis, found, of, expected) in [
        (&files.masks, "images", masks.columns(), &files.scores, images),
        (&files.outcomes, "subsets", lengths.0, &files.masks, subsets),
        (&files.outcomes, "queries", lengths.1, &files.scores, queries),
    ] {
        if found != expected {
            return Err(RunError::NumpyFile {
                file: file.clone(),
                problem: format!("has {found} {axis}, but {} has {expected}", of.display()),
            });
        }
    }
    if let Some((place, value)) =
        masks.rows.iter().flatten().enumerate().find(|(_, v)| **v != 0.0 && **v != 1.0)
    {
        return Err(RunError::NumpyFile {
            file: files.masks.clone(),
            problem: format!(
                "holds {value} for subset {}, image {}, but must hold 0 or 1: whether the image was trained on",
                place / images.max(1),
                place % images.max(1)
            ),
        });
    }
    if subsets < FEWEST_SUBSETS {
        return Err(RunError::NumpyFile {
            file: files.masks.clone(),
            problem: format!(
                "has {}, but must have at least {FEWEST_SUBSETS}, to be ranked",
                counted(subsets, "subset")
            ),
        });
    }
    let kept: Vec<Vec<bool>> =
        masks.rows.iter().map(|row| row.iter().map(|&value| value != 0.0).collect()).collect();
    let mean = mean_over_seeds(&seeds)?;
    let judged = datamodelling(&scores.rows, &kept, &mean, interval)?;
    if judged.score.mean.is_none() {
        let is_constant = |query: usize| mean.iter().all(|subset| subset[query] == mean[0][query]);
        let (file, problem) = match (0..queries).all(is_constant) {
            true => (
                &files.outcomes,
                "holds one and the same value of each query for all subsets, so nothing ranks them",
            ),
            false => (&files.scores, "has the same sum of scores for all subsets, so nothing ranks them"),
        };
        return Err(RunError::NumpyFile { file: file.clone(), problem: problem.into() });
    }
    Ok((judged, ceiling(&seeds)?))
}

struct NamedTable {
    rows: Table,
}

impl NamedTable {
    fn columns(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }
}

/// A table whose axes are called so.
fn table(file: &Path, axes: &[&str; 2]) -> Result<NamedTable> {
    let array = Array::read(file)?;
    match array.shape.len() {
        2 => Ok(NamedTable { rows: array.rows() }),
        _ => Err(array.wrong_shape(&format!("[{}]", axes.join(", ")))),
    }
}

struct Array {
    file: PathBuf,
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Array {
    fn read(file: &Path) -> Result<Self> {
        let broken = |problem: String| RunError::NumpyFile { file: file.to_path_buf(), problem };
        let opened = match File::open(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(broken("does not exist".into()));
            }
            opened => opened.map_err(RunError::io("open", file))?,
        };
        let array = npyz::NpyFile::new(BufReader::new(opened))
            .map_err(|error| broken(format!("is no array of NumPy: {error}")))?;
        if array.order() == npyz::Order::Fortran && array.shape().len() > 1 {
            return Err(broken("lies column by column; save it with `numpy.ascontiguousarray`".into()));
        }
        let shape: Vec<usize> = array.shape().iter().map(|&side| side as usize).collect();
        let kind = array.dtype().descr();
        let values = values(array).map_err(|error| broken(format!("cannot be read: {error}")))?;
        let values = values.ok_or_else(|| {
            broken(format!("holds {kind}, but must hold bool, integers or floats of 4 or 8 bytes"))
        })?;
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            return Err(broken(format!("holds {} at position {place}", values[place])));
        }
        if values.is_empty() {
            return Err(broken("is empty".into()));
        }
        Ok(Self { file: file.to_path_buf(), shape, values })
    }

    /// Along the last axis.
    fn rows(&self) -> Table {
        let columns = self.shape.last().copied().unwrap_or(1).max(1);
        self.values.chunks_exact(columns).map(<[f64]>::to_vec).collect()
    }

    fn wrong_shape(&self, expected: &str) -> RunError {
        RunError::NumpyFile {
            file: self.file.clone(),
            problem: format!("has the shape {:?}, but must be {expected}", self.shape),
        }
    }
}

/// The values of an array as f64; none for a type that holds no numbers. Of integers of 8 bytes those beyond 2^53 are rounded,
/// which no mask or loss is.
fn values(array: npyz::NpyFile<BufReader<File>>) -> std::io::Result<Option<Vec<f64>>> {
    let dtype = array.dtype();
    macro_rules! read_as {
        ($($kind:ty: $to:expr),*) => {
            $(if <$kind as npyz::Deserialize>::reader(&dtype).is_ok() {
                return Ok(Some(array.into_vec::<$kind>()?.into_iter().map($to).collect()));
            })*
        };
    }
    read_as!(
        f64: |value| value,
        f32: f64::from,
        bool: |value| f64::from(u8::from(value)),
        u8: f64::from,
        i8: f64::from,
        u16: f64::from,
        i16: f64::from,
        u32: f64::from,
        i32: f64::from,
        i64: |value| value as f64,
        u64: |value| value as f64
    );
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use npyz::WriterBuilder as _;

    fn write<T: npyz::AutoSerialize + Copy>(path: &Path, shape: &[u64], values: &[T]) -> PathBuf {
        let mut bytes = Vec::new();
        let options = npyz::WriteOptions::new().default_dtype().shape(shape);
        let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
        writer.extend(values.iter().copied()).unwrap();
        writer.finish().unwrap();
        std::fs::write(path, bytes).unwrap();
        path.to_path_buf()
    }

    /// Two queries, three images, six subsets of them.
    const SCORES: [f64; 6] = [3.0, 1.0, -2.0, 0.5, 4.0, 1.5];
    const MASKS: [u8; 18] = [1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1];

    fn truth() -> Vec<f64> {
        let of = |(mask, scores): (&[u8], &[f64])| -> f64 {
            mask.iter().zip(scores).map(|(&kept, score)| -f64::from(kept) * score).sum()
        };
        MASKS.chunks(3).flat_map(|mask| SCORES.chunks(3).map(move |scores| of((mask, scores)))).collect()
    }

    #[test]
    fn arrays_of_any_type_are_judged() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let outcomes = truth();
        let twice = [outcomes.clone(), outcomes.clone()].concat();
        let interval = IntervalSettings { resamples: 50, ..IntervalSettings::default() };
        let scores = write(&path("scores.npy"), &[2, 3], &SCORES);
        let narrow = write(&path("narrow.npy"), &[2, 3], &SCORES.map(|score| score as f32));
        let bits: Vec<bool> = MASKS.iter().map(|&bit| bit == 1).collect();
        let wide: Vec<i64> = MASKS.iter().map(|&bit| i64::from(bit)).collect();
        let masks = [
            write(&path("bytes.npy"), &[6, 3], &MASKS),
            write(&path("bits.npy"), &[6, 3], &bits),
            write(&path("wide.npy"), &[6, 3], &wide),
        ];
        let one_seed = write(&path("one.npy"), &[6, 2], &outcomes);
        let two_seeds = write(&path("two.npy"), &[2, 6, 2], &twice);
        for masks in masks {
            for (scores, outcomes, seeds) in [(&scores, &one_seed, 1), (&narrow, &two_seeds, 2)] {
                let files = ArraysToJudge {
                    scores: scores.clone(),
                    masks: masks.clone(),
                    outcomes: outcomes.clone(),
                };
                let (judged, ceiling) = judge_arrays(&files, interval).unwrap();
                assert!((judged.score.mean.unwrap().value - 1.0).abs() < 1e-12);
                assert_eq!(ceiling.map(|ceiling| ceiling.outcomes.seeds), (seeds == 2).then_some(2));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let good = ArraysToJudge {
            scores: write(&path("scores.npy"), &[2, 3], &SCORES),
            masks: write(&path("masks.npy"), &[6, 3], &MASKS),
            outcomes: write(&path("outcomes.npy"), &[6, 2], &truth()),
        };
        let mut third = MASKS;
        third[4] = 3;
        let mut nan = SCORES;
        nan[1] = f64::NAN;
        std::fs::write(path("text.npy"), "no array").unwrap();
        let cases = [
            (
                ArraysToJudge { scores: write(&path("a.npy"), &[3, 2], &SCORES), ..good.clone() },
                "has 3 images, but",
            ),
            (
                ArraysToJudge { masks: write(&path("b.npy"), &[9, 2], &MASKS), ..good.clone() },
                "has 2 images, but",
            ),
            (
                ArraysToJudge { outcomes: write(&path("c.npy"), &[4, 3], &truth()), ..good.clone() },
                "has 4 subsets, but",
            ),
            (
                ArraysToJudge { outcomes: write(&path("d.npy"), &[12], &truth()), ..good.clone() },
                "the shape [12]",
            ),
            (
                ArraysToJudge { masks: write(&path("e.npy"), &[6, 3], &third), ..good.clone() },
                "3 for subset 1, image 1",
            ),
            (
                ArraysToJudge { scores: write(&path("f.npy"), &[2, 3], &nan), ..good.clone() },
                "NaN at position 1",
            ),
            (ArraysToJudge { scores: path("text.npy"), ..good.clone() }, "no array of NumPy"),
            (
                ArraysToJudge { outcomes: write(&path("g.npy"), &[6, 2], &[1.5; 12]), ..good.clone() },
                "g.npy holds one and the same value",
            ),
            (
                ArraysToJudge { scores: write(&path("h.npy"), &[2, 3], &[0.0; 6]), ..good.clone() },
                "h.npy has the same sum of scores",
            ),
            (
                ArraysToJudge {
                    masks: write(&path("i.npy"), &[3, 3], &MASKS[..9]),
                    outcomes: write(&path("j.npy"), &[3, 2], &truth()[..6]),
                    ..good.clone()
                },
                "i.npy has 3 subsets, but must have at least 4",
            ),
        ];
        for (files, problem) in cases {
            let said = judge_arrays(&files, IntervalSettings::default()).unwrap_err().to_string();
            assert!(said.contains(problem), "{said}");
        }
    }
}
