//! Training images that are nearly the same, and share what credit there is.

pub use pentimento_data::nearly_the_same;
