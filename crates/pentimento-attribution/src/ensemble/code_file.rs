//! Code files: NumPy arrays of any number of codes, searched where they are.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::code_map::FileMap;
use super::codes::{Code, all_members};
use super::error::EnsembleError;
use super::npy_header::{self, Element};
use super::ranking::FoundCode;
use super::scan::{PackedCodes, Scan, ScanError};
use super::search::QuadraticForm;

/// What is wrong with a code file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodeFileError {
    /// The system does not give it.
    #[error("{file}: cannot {action}: {source}", file = file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It is a folder, a pipe or the like.
    #[error("{file}: not a regular file, so it cannot be mapped into memory", file = file.display())]
    NotAFile {
        /// The file.
        file: PathBuf,
    },
    /// Its header is not that of a one-dimensional array of codes.
    #[error("{file}: {problem}", file = file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// The field, its value and what it must be.
        problem: String,
    },
    /// It holds no code.
    #[error("{file}: `shape` is (0,): a code file has at least one code", file = file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// Its elements have fewer bits than the codes.
    #[error(
        "{file}: `descr` is {element:?}, elements of {bits} bits, but the codes have n = {members} bits",
        file = file.display()
    )]
    TooNarrow {
        /// The file.
        file: PathBuf,
        /// The type of its elements.
        element: &'static str,
        /// Their bits.
        bits: u32,
        /// The number of members n.
        members: u32,
    },
    /// A code has bits that belong to no member.
    #[error(
        "{file}: code {position} is {bits:#x}: it has bits above the {members} members, so the file is not of this ensemble",
        file = file.display()
    )]
    BitsAboveMembers {
        /// The file.
        file: PathBuf,
        /// The first such code, from 0.
        position: u64,
        /// The code.
        bits: u64,
        /// The number of members n.
        members: u32,
    },
    /// A code has another weight than the ensemble's.
    #[error(
        "{file}: code {position} is {bits:#x}: its weight is {weight}, but that of this ensemble's codes is h = {expected}",
        file = file.display()
    )]
    OtherWeight {
        /// The file.
        file: PathBuf,
        /// The first such code, from 0.
        position: u64,
        /// The code.
        bits: u64,
        /// Its weight.
        weight: u32,
        /// The weight h of the ensemble.
        expected: u32,
    },
    /// Forms of different ensembles in one search.
    #[error(transparent)]
    Forms(#[from] EnsembleError),
}

/// Codes in a NumPy file (`.npy`) that is mapped into memory: one axis, little-endian unsigned integers of 8, 16, 32 or 64
/// bits, bit k for member k. A run's `codes.npy` is one; so is what `np.save` writes of an array of `<u4`.
///
/// The file may have any size; only the part that is being searched need be in memory. It must not be cut short while it
/// is open: whoever reads behind the new end is ended by the system (SIGBUS).
#[derive(Debug)]
pub struct CodeFile {
    path: PathBuf,
    map: FileMap,
    element: Element,
    /// Where the codes are in the file.
    data: Range<usize>,
}

impl CodeFile {
    /// Opens a code file and checks its header. The codes themselves are checked as they are searched.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is no such array, or is longer or shorter than its header says.
    pub fn open(path: &Path) -> Result<Self, CodeFileError> {
        let io = |action| move |source| CodeFileError::Io { file: path.to_path_buf(), action, source };
        // A pipe would be waited for on opening.
        let metadata = std::fs::metadata(path).map_err(io("open it"))?;
        if !metadata.is_file() {
            return Err(CodeFileError::NotAFile { file: path.to_path_buf() });
        }
        let file = File::open(path).map_err(io("open it"))?;
        let map = FileMap::new(&file).map_err(io("map it into memory"))?;
        let header = npy_header::parse(map.bytes())
            .map_err(|problem| CodeFileError::Header { file: path.to_path_buf(), problem })?;
        if header.data.is_empty() {
            return Err(CodeFileError::Empty { file: path.to_path_buf() });
        }
        Ok(Self { path: path.to_path_buf(), map, element: header.element, data: header.data })
    }

    /// The number of codes.
    #[must_use]
    pub fn codes(&self) -> u64 {
        (self.data.len() / self.element.bytes()) as u64
    }

    /// Bytes of a code.
    #[must_use]
    pub fn bytes_per_code(&self) -> usize {
        self.element.bytes()
    }

    /// The first `count` codes of each form's ranking, in one pass over the file: the largest distance first, of equal
    /// distances the lower position. Distances have the bits that [`QuadraticForm`] gives them, for any number of threads.
    ///
    /// Every code is checked: it must have the length and the weight that the forms are for. Memory beyond the map is
    /// proportional to `count`, the number of forms and the number of threads. `go_on` is called from several threads with
    /// the number of codes that are done.
    ///
    /// # Errors
    ///
    /// If the forms are of different ensembles, the first code that is not one of theirs, if the file cannot be read to its
    /// end, and what `go_on` says.
    pub fn most_influential<E: From<CodeFileError> + Send>(
        &self,
        forms: &[QuadraticForm],
        count: usize,
        go_on: impl Fn(u64) -> Result<(), E> + Sync,
    ) -> Result<Vec<Vec<FoundCode>>, E> {
        let Some(first) = forms.first() else { return Ok(Vec::new()) };
        let (members, weight) = (first.members(), first.weight());
        if let Some(form) = forms.iter().find(|form| (form.members(), form.weight()) != (members, weight)) {
            return Err(E::from(CodeFileError::Forms(EnsembleError::FormOfAnotherEnsemble {
                form_members: members,
                form_weight: weight,
                members: form.members(),
                weight: form.weight(),
            })));
        }
        let bits = 8 * self.element.bytes() as u32;
        if members > bits {
            let (file, element) = (self.path.clone(), self.element.name());
            return Err(E::from(CodeFileError::TooNarrow { file, element, bits, members }));
        }
        let codes = self.packed().map_err(E::from)?;
        let fetch = |range: Range<usize>| {
            let at = |position: usize| self.data.start + position * self.element.bytes();
            self.map.fetch(at(range.start)..at(range.end)).map_err(|source| {
                let action = "read it to its end; it may have been cut short meanwhile";
                E::from(CodeFileError::Io { file: self.path.clone(), action, source })
            })
        };
        Scan { forms, count }.run(codes, fetch, go_on).map_err(|error| match error {
            ScanError::Stopped(error) => error,
            ScanError::OtherCode { position } => {
                E::from(self.other_code(position as u64, codes.code(position), members, weight))
            }
        })
    }

    fn other_code(&self, position: u64, code: Code, members: u32, weight: u32) -> CodeFileError {
        let (file, bits) = (self.path.clone(), code.bits());
        if bits & !all_members(members) != 0 {
            return CodeFileError::BitsAboveMembers { file, position, bits, members };
        }
        CodeFileError::OtherWeight { file, position, bits, weight: code.weight(), expected: weight }
    }

    fn packed(&self) -> Result<PackedCodes<'_>, CodeFileError> {
        let bytes = self.map.bytes().get(self.data.clone()).unwrap_or_default();
        let packed = match self.element {
            Element::U8 => Ok(PackedCodes::U8(bytes)),
            Element::U16 => bytemuck::try_cast_slice(bytes).map(PackedCodes::U16),
            Element::U32 => bytemuck::try_cast_slice(bytes).map(PackedCodes::U32),
            Element::U64 => bytemuck::try_cast_slice(bytes).map(PackedCodes::U64),
        };
        packed.map_err(|_| CodeFileError::Header {
            file: self.path.clone(),
            problem: format!(
                "the codes start at byte {}, which must be a multiple of their {} bytes, as NumPy makes it",
                self.data.start,
                self.element.bytes()
            ),
        })
    }
}
