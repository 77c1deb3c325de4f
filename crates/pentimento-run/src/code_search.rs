//! The codes that samples of a run rest on most: among the run's own, or those of a file of any size.

use crate::analyse::read_samples;
use crate::code_scores::form;
use crate::data::CodedData;
use crate::error::{Result, RunError};
use crate::networks::Networks;
use crate::words::counted;
use crate::workspace::Workspace;
use pentimento_attribution::ensemble::{Code, CodeDistance, CodeFile, FoundCode, QuadraticForm};
use std::path::Path;
use std::time::Instant;

/// What a search found, and how fast.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeSearch {
    /// The ranking of each sample, in the order asked for.
    pub rankings: Vec<SampleRanking>,
    /// How many codes were searched.
    pub codes: u64,
    /// Bytes of a code where they were read.
    pub bytes_per_code: usize,
    /// How long the pass over them took.
    pub seconds: f64,
}

/// The codes that one sample rests on most.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRanking {
    /// Id of the sample.
    pub sample: u32,
    /// The codes, the largest distance first, of equal distances the lower position.
    pub codes: Vec<RankedCode>,
}

/// A code of a ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedCode {
    /// Which of the codes searched, from 0.
    pub position: u64,
    /// The code.
    pub code: Code,
    /// Euclidean length of the sample's change without the code's members, black -1 and white 1.
    pub distance: f64,
    /// The group that has the code; absent for codes of a file.
    pub group: Option<String>,
}

impl CodeSearch {
    /// Codes that were searched in a second.
    pub fn codes_per_second(&self) -> f64 {
        self.codes as f64 / self.seconds
    }

    /// Bytes of codes that were read in a second.
    pub fn bytes_per_second(&self) -> f64 {
        self.codes_per_second() * self.bytes_per_code as f64
    }
}

/// Searches the run's own codes, or those of a NumPy file with the run's n and h, in one pass for all samples, and ranks the
/// first `top` for each.
///
/// # Errors
///
/// [`RunError::NoSuch`] for a sample that the run does not make, [`RunError::Missing`] if a sample is not attributed or lacks
/// what the distance needs, [`RunError::CodeFile`] for a file of other codes.
pub fn search_codes(
    workspace: &Workspace,
    data: &CodedData,
    samples: &[u32],
    codes: Option<&Path>,
    top: usize,
    distance: CodeDistance,
) -> Result<CodeSearch> {
    for &sample in samples {
        workspace.check_sample(sample)?;
    }
    let own = workspace.run.root().join("codes.npy");
    if codes.is_none() {
        // Against its digest: a damaged code would pass for another group's.
        workspace.run.get("codes.npy")?;
    }
    let file = CodeFile::open(codes.unwrap_or(&own))?;
    let networks = Networks::trained(workspace, data)?;
    let forms: Vec<QuadraticForm> = read_samples(workspace, data, &networks, samples)?
        .iter()
        .map(|sample| form(workspace, data, sample, distance))
        .collect::<Result<_>>()?;

    let progress = workspace.reporter().begin("search", file.codes(), 0);
    let started = Instant::now();
    let found = file.most_influential::<RunError>(&forms, top, |done| {
        progress.set(done, "codes");
        workspace.options.stop.check()
    })?;
    let mut search = CodeSearch {
        rankings: Vec::new(),
        codes: file.codes(),
        bytes_per_code: file.bytes_per_code(),
        seconds: started.elapsed().as_secs_f64(),
    };
    progress.finish(&format!(
        "{} codes for {} in one pass, {:.3} billion codes/s, {:.2} GB/s",
        search.codes,
        counted(samples.len(), "sample"),
        search.codes_per_second() * 1e-9,
        search.bytes_per_second() * 1e-9
    ));

    for (&sample, ranking) in samples.iter().zip(found) {
        let of_code = |found: FoundCode| RankedCode {
            position: found.position,
            code: found.code,
            distance: found.distance,
            // Positions of the run's own codes are its groups.
            group: match codes {
                None => data.groups.names().get(found.position as usize).cloned(),
                Some(_) => None,
            },
        };
        search.rankings.push(SampleRanking { sample, codes: ranking.into_iter().map(of_code).collect() });
    }
    Ok(search)
}
