//! One HTML file that shows a run to a person: the generated pictures, what each of them rests on by codes, gradients or
//! likeness, of an encoded ensemble the pictures made again without it, and how far the approximations can be trusted. Another one
//! ([`render_evaluation`]) shows how well scores of training images predict what networks do without some of them.
//!
//! A page is self-contained. It loads nothing, its content security policy forbids loading anything, and it
//! opens from a disk without a server. It works without JavaScript; the script of a report adds arrow keys and filters.
//!
//! This crate does not know how distances were measured or counterfactuals made. It takes plain [view
//! structs](ReportView), checks them, and returns the page as a `String`. The same view gives the same bytes.
//!
//! Every name, label, path and setting in a view is taken as text from a stranger: it is escaped, and
//! characters that are invisible or turn the reading direction around are written out as their code point.
//!
//! ```
//! use pentimento_report::{Picture, ReportView, SampleView, render};
//!
//! let view = ReportView {
//!     title: "Seven classes".to_owned(),
//!     samples: vec![SampleView {
//!         name: None,
//!         id: 0,
//!         image: Picture { height: 1, width: 2, channels: 1, pixels: vec![0, 255] },
//!         seen_as: None,
//!         counterfactuals: Vec::new(),
//!         training_image_lists: Vec::new(),
//!         show_detail: true,
//!     }],
//!     ..ReportView::default()
//! };
//! let page = render(&view)?;
//! assert!(page.starts_with("<!DOCTYPE html>"));
//! # Ok::<(), pentimento_report::ReportError>(())
//! ```

mod check;
mod data_uri;
mod difference;
mod error;
mod evaluation;
mod page;
mod picture;
mod removal_view;
mod sections;
mod text;
mod ticks;
mod view;

pub use error::ReportError;
pub use evaluation::render_evaluation;
pub use evaluation::view::{
    CeilingView, EvaluationView, JudgedMethodView, JudgedRow, JudgedSetView, QueryPairs, ScatterView,
    TargetView,
};
pub use page::render;
pub use picture::Picture;
pub use removal_view::{PooledMeasurementView, PooledRemovalView, PooledRowView, RemovalView, RemovedView};
pub use view::{
    AgreementRow, ApproximationView, Basis, CounterfactualView, DampingCurve, DampingCurvePoint, Estimate,
    FidelityRow, GroupScore, GroupTableRow, GroupTableView, HeadlineFigure, Interval, LossCurve, LossPoint,
    MadeWith, MethodComparison, MethodView, Reference, Removed, ReportView, SampleView, SeenAs, StageCost,
    Statement, TimestepScore, TopImageView, TrainingImageList, Unit,
};
