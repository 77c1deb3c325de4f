//! What can be wrong with a view.

/// A view that cannot be shown. `field` names the place in the [`ReportView`](crate::ReportView).
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A picture is empty, too large, or neither grey nor colour.
    #[error(
        "{field}: a picture of {height} x {width} with {channels} channels cannot be shown: sides go from 1 to \
         {largest_side}, channels are 1 or 3"
    )]
    PictureSize {
        /// Place in the view.
        field: String,
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
        /// Channels.
        channels: u32,
        /// Largest accepted side.
        largest_side: u32,
    },
    /// A picture has more or fewer bytes than its size says.
    #[error("{field}: {found} pixel values, but height x width x channels is {expected}")]
    PixelCount {
        /// Place in the view.
        field: String,
        /// Bytes given.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// A counterfactual is not of the size of its sample.
    #[error("{field}: height, width and channels are {found:?}, but the sample's are {expected:?}")]
    DifferentShape {
        /// Place in the view.
        field: String,
        /// Shape of this picture.
        found: [u32; 3],
        /// Shape of the sample.
        expected: [u32; 3],
    },
    /// Two samples have the same id.
    #[error("samples[{second}].id: {id} is already the id of samples[{first}]")]
    DuplicateSample {
        /// The id.
        id: u64,
        /// Position of the first sample with it.
        first: usize,
        /// Position of the second.
        second: usize,
    },
    /// A row of the class table has more or fewer counts than there are classes.
    #[error("group_table.rows[{row}].counts: {found} counts for {expected} classes")]
    TableRow {
        /// Position of the row.
        row: usize,
        /// Counts given.
        found: usize,
        /// Number of classes.
        expected: usize,
    },
    /// A picture could not be encoded.
    #[error("a picture could not be encoded as PNG")]
    Png(#[from] png::EncodingError),
}
