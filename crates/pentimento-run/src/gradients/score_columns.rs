//! The columns of a table of scores in Parquet: a row for each pair of query and training image, a row group for each query.
//! Whoever writes and reads such a table takes them from here.

/// What tables call the query.
pub(crate) const QUERY: usize = 0;
/// Position of the training image in its source.
pub(crate) const TRAINING_IMAGE: usize = 1;
/// Its place among the images of the query, from 1; null if the image was not scored.
pub(crate) const RANK: usize = 2;
/// Its score; null likewise.
pub(crate) const SCORE: usize = 3;
/// Standard error of the score; null if it is not known, as the next two.
pub(crate) const STANDARD_ERROR: usize = 4;
/// Lower end of the 95 % interval.
pub(crate) const LOW: usize = 5;
/// Upper end of it.
pub(crate) const HIGH: usize = 6;
/// What the source of the training image calls it.
pub(crate) const NAME: usize = 7;

/// The schema; ranks and scores may be null if only candidates of each query were scored.
pub(crate) fn schema(only_candidates: bool) -> String {
    let of_score = if only_candidates { "optional" } else { "required" };
    format!(
        "message scores {{
            required binary query (UTF8);
            required int64 training_image;
            {of_score} int64 rank;
            {of_score} double score;
            optional double standard_error;
            optional double low;
            optional double high;
            required binary training_image_name (UTF8);
        }}"
    )
}
