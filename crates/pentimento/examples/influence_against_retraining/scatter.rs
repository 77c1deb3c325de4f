//! A scatter plot of predictions and truths as SVG.

use std::fmt::Write as _;

/// A prediction and its truth.
#[derive(Clone, Copy)]
pub struct Point {
    /// Predicted.
    pub x: f64,
    /// Measured.
    pub y: f64,
}

/// One kind of removal.
pub struct Panel {
    /// What is above it.
    pub title: String,
    /// Its points.
    pub points: Vec<Point>,
    /// Of the line through the origin.
    pub slope: f64,
}

const SIDE: f64 = 300.0;
const MARGIN: f64 = 56.0;

/// Panels beside each other, each with the line of equality (dashed) and the fitted one.
pub fn svg(panels: &[Panel]) -> String {
    let width = panels.len() as f64 * (SIDE + 2.0 * MARGIN);
    let height = SIDE + 2.0 * MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        let left = index as f64 * (SIDE + 2.0 * MARGIN) + MARGIN;
        let largest = |of: fn(&Point) -> f64| {
            panel.points.iter().map(|point| of(point).abs()).fold(f64::MIN_POSITIVE, f64::max)
        };
        let (across, up) = (largest(|point| point.x), largest(|point| point.y));
        let place =
            |x: f64, y: f64| (left + SIDE / 2.0 * (1.0 + x / across), MARGIN + SIDE / 2.0 * (1.0 - y / up));
        let mut line = |slope: f64, style: &str| {
            // As far as both axes reach.
            let reach = across.min(up / slope.abs().max(f64::MIN_POSITIVE));
            let ((x1, y1), (x2, y2)) = (place(-reach, -slope * reach), place(reach, slope * reach));
            let _ =
                writeln!(text, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>");
        };
        line(0.0, "stroke=\"#ccc\"");
        line(1.0, "stroke=\"#888\" stroke-dasharray=\"4 4\"");
        line(panel.slope, "stroke=\"#c33\"");
        let (middle, bottom) = (left + SIDE / 2.0, MARGIN + SIDE);
        let _ = writeln!(
            text,
            "<line x1=\"{middle}\" y1=\"{MARGIN}\" x2=\"{middle}\" y2=\"{bottom}\" stroke=\"#ccc\"/>\n\
             <rect x=\"{left}\" y=\"{MARGIN}\" width=\"{SIDE}\" height=\"{SIDE}\" fill=\"none\" stroke=\"#888\"/>"
        );
        for point in &panel.points {
            let (x, y) = place(point.x, point.y);
            let _ = writeln!(
                text,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"#26a\" fill-opacity=\"0.45\"/>"
            );
        }
        let (above, below, beside, halfway) =
            (MARGIN - 16.0, bottom + 24.0, left - 14.0, MARGIN + SIDE / 2.0);
        let _ = writeln!(
            text,
            "<text x=\"{middle}\" y=\"{above}\" text-anchor=\"middle\" font-weight=\"bold\">{}</text>\n\
             <text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">predicted change, ±{across:.1e}</text>\n\
             <text x=\"{beside}\" y=\"{halfway}\" text-anchor=\"middle\" \
             transform=\"rotate(-90 {beside} {halfway})\">change after retraining, ±{up:.1e}</text>",
            panel.title,
        );
    }
    text.push_str("</svg>\n");
    text
}
