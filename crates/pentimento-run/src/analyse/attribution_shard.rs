//! The object of an attribution shard: named arrays, written and read by the same list of names and shapes.
//!
//! Shapes are `[samples, ...]`. Arrays of what is made for measured samples only have fewer samples: those are the first
//! ones of a shard.

use super::analysis::SampleAnalysis;
use crate::error::{Result, RunError};
use pentimento_attribution::ensemble::{Candidate, Derivatives, FidelityInputs, Jacobian};
use pentimento_diffusion::arrays::{ArrayError, ArrayReader, ArrayWriter};

/// Ids of the samples, `[samples]`.
const SAMPLE: &str = "sample";
/// The samples, `[samples, image]`.
const IMAGE: &str = "image";
/// The asked groups, `[samples, asked]`.
const GROUP: &str = "group";
/// Their exact counterfactuals, `[samples, asked, image]`.
const EXACT: &str = "exact";
/// `[samples, members, image]`, where there is a search or a measurement.
const ONE_MEMBER_JACOBIAN: &str = "one_member_jacobian";
/// `[samples, members, image]`, where there is a search or a measurement.
const WITHOUT_MEMBER: &str = "without_member";
/// `[measured, asked, image]`.
const CONTROL_VARIATE: &str = "control_variate";
/// `[measured, asked, image]`.
const LAST_STEP: &str = "last_step";
/// `[measured, members, image]`, if the recipe asks for it.
const FULL_JACOBIAN: &str = "full_jacobian";
/// `[measured, members, image]`.
const ALONE: &str = "alone";
/// The most influential groups, `[samples, found]`.
const CANDIDATE: &str = "candidate";
/// Their distances, `[samples, found]`; NaN, which no distance is, for what was not computed.
const CANDIDATE_LINEAR: &str = "candidate_linear";
/// As [`CANDIDATE_LINEAR`].
const CANDIDATE_CONTROL_VARIATE: &str = "candidate_control_variate";
/// As [`CANDIDATE_LINEAR`].
const CANDIDATE_EXACT: &str = "candidate_exact";
/// After a search: counterfactuals of the first candidates, `[samples, checked, image]`.
const CHECKED: &str = "checked";

/// What a shard must agree with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Values of an image.
    pub image_length: usize,
    /// Members of the ensemble.
    pub members: usize,
}

/// The bytes of a shard, which errors call `name`.
///
/// # Errors
///
/// [`ArrayError`] if the samples have not equally many groups, members or candidates.
pub(super) fn to_bytes(samples: &[SampleAnalysis], name: &str) -> Result<Vec<u8>, ArrayError> {
    let mut writer = Writer { arrays: ArrayWriter::default(), length: image_length(samples) };
    let ids: Vec<u32> = samples.iter().map(|sample| sample.sample).collect();
    writer.arrays.put_u32(SAMPLE, &[samples.len()], &ids);
    let images: Vec<f32> = samples.iter().flat_map(|sample| &sample.image).copied().collect();
    writer.arrays.put_f32(IMAGE, &[samples.len(), writer.length], &images);
    writer.put_groups(GROUP, samples.iter().map(|sample| sample.groups.clone()).collect());
    writer.put_images(EXACT, samples.iter().map(|sample| &sample.exact[..]).collect());

    let derivatives: Vec<&Derivatives> =
        samples.iter().filter_map(|sample| sample.derivatives.as_ref()).collect();
    if !derivatives.is_empty() {
        let jacobians = derivatives.iter().map(|one| &one.one_member_jacobian.columns[..]);
        writer.put_images(ONE_MEMBER_JACOBIAN, jacobians.collect());
        writer.put_images(WITHOUT_MEMBER, derivatives.iter().map(|one| &one.without_member[..]).collect());
    }
    let measured: Vec<&FidelityInputs> =
        samples.iter().filter_map(|sample| sample.fidelity_inputs.as_ref()).collect();
    if !measured.is_empty() {
        writer.put_images(CONTROL_VARIATE, measured.iter().map(|one| &one.control_variate[..]).collect());
        writer.put_images(LAST_STEP, measured.iter().map(|one| &one.last_step[..]).collect());
        writer.put_images(ALONE, measured.iter().map(|one| &one.alone[..]).collect());
        let full: Vec<&[Vec<f32>]> = measured
            .iter()
            .filter_map(|one| one.full_jacobian.as_ref())
            .map(|jacobian| &jacobian.columns[..])
            .collect();
        if !full.is_empty() {
            writer.put_images(FULL_JACOBIAN, full);
        }
    }

    let groups =
        |sample: &SampleAnalysis| sample.candidates.iter().map(|candidate| candidate.group).collect();
    writer.put_groups(CANDIDATE, samples.iter().map(groups).collect());
    writer.put_distances(CANDIDATE_LINEAR, samples, |candidate| candidate.linear);
    writer.put_distances(CANDIDATE_CONTROL_VARIATE, samples, |candidate| candidate.control_variate);
    writer.put_distances(CANDIDATE_EXACT, samples, |candidate| candidate.exact);
    if samples.iter().any(was_searched) {
        let checked: Vec<Vec<Vec<f32>>> = samples
            .iter()
            .map(|sample| sample.checked.iter().map(|(_, image)| image.clone()).collect())
            .collect();
        writer.put_images(CHECKED, checked.iter().map(|images| &images[..]).collect());
    }
    writer.arrays.to_bytes(name, None)
}

/// Reads the bytes of a shard, which errors call `name`.
///
/// # Errors
///
/// [`ArrayError`] if an array is missing or has another shape, [`RunError::Inconsistent`] if it is the shard of other
/// samples.
pub(super) fn from_bytes(bytes: &[u8], name: &str, ids: &[u32], sizes: Sizes) -> Result<Vec<SampleAnalysis>> {
    let Sizes { image_length: length, members } = sizes;
    let reader = Reader { arrays: ArrayReader::new(bytes, name)?, length };
    if reader.arrays.u32(SAMPLE)? != ids {
        let problem = format!("it is not the shard of samples {ids:?}");
        return Err(RunError::Inconsistent { object: name.into(), problem });
    }
    let samples = ids.len();
    let asked = reader.columns(GROUP)?;
    let found = reader.columns(CANDIDATE)?;
    reader.arrays.expect_shape(IMAGE, &[samples, length])?;
    let images = reader.arrays.f32(IMAGE)?;
    let groups = reader.groups(GROUP, samples, asked)?;
    let exact = reader.images(EXACT, samples, asked)?;
    let derivatives = reader.derivatives(samples, members)?;
    let fidelity_inputs = reader.fidelity_inputs(samples, asked, members)?;
    let candidates = reader.candidates(samples, found)?;
    let checked = reader.checked(samples, found)?;

    let (mut images, mut groups, mut exact) =
        (images.chunks_exact(length), groups.into_iter(), exact.into_iter());
    let (mut derivatives, mut fidelity_inputs) = (derivatives.into_iter(), fidelity_inputs.into_iter());
    let (mut candidates, mut checked) = (candidates.into_iter(), checked.into_iter());
    let analyses = ids.iter().map(|&sample| {
        let candidates: Vec<Candidate> = candidates.next().unwrap_or_default();
        let first = candidates.iter().map(|candidate| candidate.group);
        SampleAnalysis {
            sample,
            image: images.next().unwrap_or_default().to_vec(),
            groups: groups.next().unwrap_or_default(),
            exact: exact.next().unwrap_or_default(),
            derivatives: derivatives.next(),
            fidelity_inputs: fidelity_inputs.next(),
            checked: first.zip(checked.next().unwrap_or_default()).collect(),
            candidates,
        }
    });
    Ok(analyses.collect())
}

fn image_length(samples: &[SampleAnalysis]) -> usize {
    samples.first().map_or(0, |sample| sample.image.len())
}

/// Whether the candidates of a sample come from a search and not from all its exact counterfactuals.
fn was_searched(sample: &SampleAnalysis) -> bool {
    sample.candidates.iter().any(|candidate| candidate.control_variate.is_some())
}

struct Writer {
    arrays: ArrayWriter,
    /// Values of an image.
    length: usize,
}

impl Writer {
    /// Writes the images of each sample, `[samples][columns][image]`.
    fn put_images(&mut self, name: &str, images: Vec<&[Vec<f32>]>) {
        let shape = [images.len(), images.first().map_or(0, |images| images.len()), self.length];
        let values: Vec<f32> = images.into_iter().flatten().flatten().copied().collect();
        self.arrays.put_f32(name, &shape, &values);
    }

    /// Writes the groups of each sample.
    fn put_groups(&mut self, name: &str, groups: Vec<Vec<u32>>) {
        let shape = [groups.len(), groups.first().map_or(0, Vec::len)];
        self.arrays.put_u32(name, &shape, &groups.concat());
    }

    fn put_distances(
        &mut self,
        name: &str,
        samples: &[SampleAnalysis],
        distance: impl Fn(&Candidate) -> Option<f32>,
    ) {
        let shape = [samples.len(), samples.first().map_or(0, |sample| sample.candidates.len())];
        let candidates = samples.iter().flat_map(|sample| &sample.candidates);
        let values: Vec<f32> = candidates.map(|candidate| distance(candidate).unwrap_or(f32::NAN)).collect();
        self.arrays.put_f32(name, &shape, &values);
    }
}

struct Reader<'bytes> {
    arrays: ArrayReader<'bytes>,
    /// Values of an image.
    length: usize,
}

impl Reader<'_> {
    /// The second size of an array.
    fn columns(&self, name: &str) -> Result<usize, ArrayError> {
        let shape = self.arrays.shape(name)?;
        let columns = shape.get(1).copied();
        columns.ok_or_else(|| self.arrays.broken(name, format!("has shape {shape:?}, too few dimensions")))
    }

    /// Number of samples that an optional array has: from the first one on, at most all.
    fn rows(&self, name: &str, samples: usize) -> Result<usize, ArrayError> {
        if !self.arrays.contains(name) {
            return Ok(0);
        }
        let shape = self.arrays.shape(name)?;
        let rows = shape.first().copied().filter(|&rows| rows <= samples);
        rows.ok_or_else(|| {
            self.arrays.broken(name, format!("has shape {shape:?}, but the shard has {samples} samples"))
        })
    }

    /// The images of each sample.
    fn images(&self, name: &str, samples: usize, columns: usize) -> Result<Vec<Vec<Vec<f32>>>, ArrayError> {
        self.arrays.expect_shape(name, &[samples, columns, self.length])?;
        let values = self.arrays.f32(name)?;
        let mut images = values.chunks_exact(self.length).map(<[f32]>::to_vec);
        Ok((0..samples).map(|_| images.by_ref().take(columns).collect()).collect())
    }

    /// The groups of each sample.
    fn groups(&self, name: &str, samples: usize, columns: usize) -> Result<Vec<Vec<u32>>, ArrayError> {
        self.arrays.expect_shape(name, &[samples, columns])?;
        let mut groups = self.arrays.u32(name)?.into_iter();
        Ok((0..samples).map(|_| groups.by_ref().take(columns).collect()).collect())
    }

    fn derivatives(&self, samples: usize, members: usize) -> Result<Vec<Derivatives>, ArrayError> {
        if !self.arrays.contains(ONE_MEMBER_JACOBIAN) {
            return Ok(Vec::new());
        }
        let jacobians = self.images(ONE_MEMBER_JACOBIAN, samples, members)?;
        let without = self.images(WITHOUT_MEMBER, samples, members)?;
        Ok(jacobians
            .into_iter()
            .zip(without)
            .map(|(columns, without_member)| Derivatives {
                one_member_jacobian: Jacobian { columns },
                without_member,
            })
            .collect())
    }

    fn fidelity_inputs(
        &self,
        samples: usize,
        asked: usize,
        members: usize,
    ) -> Result<Vec<FidelityInputs>, ArrayError> {
        let rows = self.rows(CONTROL_VARIATE, samples)?;
        if rows == 0 {
            return Ok(Vec::new());
        }
        let control_variate = self.images(CONTROL_VARIATE, rows, asked)?;
        let last_step = self.images(LAST_STEP, rows, asked)?;
        let alone = self.images(ALONE, rows, members)?;
        let full_jacobian = if self.arrays.contains(FULL_JACOBIAN) {
            self.images(FULL_JACOBIAN, rows, members)?
        } else {
            Vec::new()
        };
        let mut full_jacobian = full_jacobian.into_iter();
        Ok(control_variate
            .into_iter()
            .zip(last_step)
            .zip(alone)
            .map(|((control_variate, last_step), alone)| FidelityInputs {
                control_variate,
                last_step,
                full_jacobian: full_jacobian.next().map(|columns| Jacobian { columns }),
                alone,
            })
            .collect())
    }

    fn candidates(&self, samples: usize, found: usize) -> Result<Vec<Vec<Candidate>>, ArrayError> {
        let distances = |name: &str| -> Result<Vec<f32>, ArrayError> {
            self.arrays.expect_shape(name, &[samples, found])?;
            self.arrays.f32(name)
        };
        let linear = distances(CANDIDATE_LINEAR)?;
        let control_variate = distances(CANDIDATE_CONTROL_VARIATE)?;
        let exact = distances(CANDIDATE_EXACT)?;
        let known = |value: f32| Some(value).filter(|value| !value.is_nan());
        let groups = self.groups(CANDIDATE, samples, found)?;
        Ok(groups
            .into_iter()
            .enumerate()
            .map(|(sample, groups)| {
                let candidates = groups.into_iter().zip(sample * found..).map(|(group, at)| Candidate {
                    group,
                    linear: known(linear[at]),
                    control_variate: known(control_variate[at]),
                    exact: known(exact[at]),
                });
                candidates.collect()
            })
            .collect())
    }

    /// The counterfactuals of each sample's first candidates.
    fn checked(&self, samples: usize, found: usize) -> Result<Vec<Vec<Vec<f32>>>, ArrayError> {
        if !self.arrays.contains(CHECKED) {
            return Ok(Vec::new());
        }
        let columns = self.columns(CHECKED)?;
        if columns > found {
            let problem = format!("has {columns} images for each sample, but there are {found} candidates");
            return Err(self.arrays.broken(CHECKED, problem));
        }
        self.images(CHECKED, samples, columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { image_length: 3, members: 2 };
    const IDS: [u32; 2] = [16, 17];

    /// Images that are all different.
    struct Images(f32);

    impl Images {
        fn next(&mut self) -> Vec<f32> {
            self.0 += 1.0;
            (0..SIZES.image_length).map(|value| self.0 + value as f32 / 10.0).collect()
        }

        fn some(&mut self, count: usize) -> Vec<Vec<f32>> {
            (0..count).map(|_| self.next()).collect()
        }
    }

    /// Two samples of a run with a search, of which the first is measured.
    fn searched() -> Vec<SampleAnalysis> {
        let mut images = Images(0.0);
        IDS.iter()
            .map(|&sample| {
                let candidate = |group: u32, exact| Candidate {
                    group,
                    linear: Some(0.5 + group as f32),
                    control_variate: Some(0.25 + group as f32),
                    exact,
                };
                SampleAnalysis {
                    sample,
                    image: images.next(),
                    groups: vec![sample, 40, 41],
                    exact: images.some(3),
                    derivatives: Some(Derivatives {
                        one_member_jacobian: Jacobian { columns: images.some(2) },
                        without_member: images.some(2),
                    }),
                    fidelity_inputs: (sample == IDS[0]).then(|| FidelityInputs {
                        control_variate: images.some(3),
                        last_step: images.some(3),
                        full_jacobian: Some(Jacobian { columns: images.some(2) }),
                        alone: images.some(2),
                    }),
                    candidates: vec![
                        candidate(9, Some(7.0)),
                        candidate(sample, Some(6.0)),
                        candidate(3, None),
                        candidate(4, None),
                    ],
                    checked: vec![(9, images.next()), (sample, images.next())],
                }
            })
            .collect()
    }

    /// The same samples where every group was left out exactly and nothing else was asked.
    fn complete() -> Vec<SampleAnalysis> {
        let mut samples = searched();
        for sample in &mut samples {
            sample.derivatives = None;
            sample.fidelity_inputs = None;
            sample.checked = Vec::new();
            for candidate in &mut sample.candidates {
                *candidate =
                    Candidate { linear: None, control_variate: None, exact: Some(1.0), ..*candidate };
            }
        }
        samples
    }

    fn read(bytes: &[u8]) -> Result<Vec<SampleAnalysis>> {
        from_bytes(bytes, "shard-1", &IDS, SIZES)
    }

    #[test]
    fn a_shard_is_read_as_it_was_written() {
        let mut without_full = searched();
        for inputs in without_full.iter_mut().filter_map(|sample| sample.fidelity_inputs.as_mut()) {
            inputs.full_jacobian = None;
        }
        let mut unchecked = searched();
        for sample in &mut unchecked {
            sample.checked = Vec::new();
        }
        for samples in [searched(), complete(), without_full, unchecked] {
            let bytes = to_bytes(&samples, "shard-1").unwrap();
            assert_eq!(read(&bytes).unwrap(), samples);
        }
    }

    #[test]
    fn shapes_are_those_that_others_read() {
        let bytes = to_bytes(&searched(), "shard-1").unwrap();
        let arrays = ArrayReader::new(&bytes, "shard-1").unwrap();
        let shape = |name| arrays.shape(name).unwrap();
        assert_eq!(shape("exact"), [2, 3, 3]);
        assert_eq!((shape("one_member_jacobian"), shape("alone")), (vec![2, 2, 3], vec![1, 2, 3]));
        assert_eq!((shape("candidate_exact"), shape("checked")), (vec![2, 4], vec![2, 2, 3]));
        let exact = arrays.f32("candidate_exact").unwrap();
        assert!(exact[0] == 7.0 && exact[2].is_nan());
        let bytes = to_bytes(&complete(), "shard-1").unwrap();
        let arrays = ArrayReader::new(&bytes, "shard-1").unwrap();
        assert_eq!(
            arrays.names(),
            [
                "candidate",
                "candidate_control_variate",
                "candidate_exact",
                "candidate_linear",
                "exact",
                "group",
                "image",
                "sample"
            ]
        );
    }

    #[test]
    fn shards_that_do_not_fit_are_refused() {
        let bytes = to_bytes(&searched(), "shard-1").unwrap();
        let refused =
            |ids: &[u32], sizes: Sizes| from_bytes(&bytes, "shard-1", ids, sizes).unwrap_err().to_string();
        assert!(refused(&[0, 1], SIZES).contains("shard-1: it is not the shard of samples [0, 1]"));
        let said = refused(&IDS, Sizes { members: 3, ..SIZES });
        assert_eq!(said, "shard-1: tensor `one_member_jacobian`: has shape [2, 2, 3], needed is [2, 3, 3]");
        let said = refused(&IDS, Sizes { image_length: 4, ..SIZES });
        assert_eq!(said, "shard-1: tensor `image`: has shape [2, 3], needed is [2, 4]");

        // Each array is needed, or absent with all that it belongs to.
        let whole = ArrayReader::new(&bytes, "whole").unwrap();
        for left_out in [EXACT, GROUP, CANDIDATE_LINEAR, WITHOUT_MEMBER, LAST_STEP, ALONE] {
            let mut arrays = ArrayWriter::default();
            for name in whole.names().into_iter().filter(|&name| name != left_out) {
                let shape = whole.shape(name).unwrap();
                match whole.f32(name) {
                    Ok(values) => arrays.put_f32(name, &shape, &values),
                    Err(_) => arrays.put_u32(name, &shape, &whole.u32(name).unwrap()),
                }
            }
            let said = read(&arrays.to_bytes("partial", None).unwrap()).unwrap_err().to_string();
            assert_eq!(said, format!("shard-1: tensor `{left_out}`: is missing"));
        }
    }

    #[test]
    fn samples_of_different_sizes_are_not_written() {
        let mut samples = searched();
        samples[1].groups.pop();
        assert!(to_bytes(&samples, "shard-1").unwrap_err().to_string().contains("tensor `group`"));
    }
}
