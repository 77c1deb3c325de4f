//! The loss curves.

use maud::{Markup, html};

use super::{Cell, plain_table};
use crate::text::{name, number};
use crate::ticks::{even_ticks, tick_text};
use crate::{LossCurve, LossPoint, ReportView};

/// Points a curve is drawn with; longer ones are averaged in equal runs of points. More would not be seen at
/// the width of the page.
const DRAWN_POINTS: usize = 240;
/// Size of the drawing in its own units; it stretches to the page.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 300.0;
/// Colours that differ in lightness as well as in hue; used in turn.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#8a6d3b", "#808080"];

pub(crate) fn section(view: &ReportView) -> Option<Markup> {
    let curves: Vec<Drawn<'_>> = view.loss_curves.iter().map(Drawn::of).collect();
    let axes = Axes::over(&curves)?;
    Some(html! {
        h2 #training-title { "Training" }
        p {
            "Each member of the ensemble learns to tell the noise in a noisy picture. The loss is its error: it falls fast, then "
            "slowly. A curve far from the others is a member to look at."
        }
        (chart(&curves, &axes))
        (table(&curves))
    })
}

/// A curve, thinned for drawing.
struct Drawn<'a> {
    name: &'a str,
    points: Vec<(f64, f64)>,
    first: Option<LossPoint>,
    last: Option<LossPoint>,
    averaged_over: usize,
}

impl<'a> Drawn<'a> {
    fn of(curve: &'a LossCurve) -> Self {
        let finite: Vec<LossPoint> =
            curve.points.iter().copied().filter(|one| one.loss.is_finite()).collect();
        let run = finite.len().div_ceil(DRAWN_POINTS).max(1);
        let mean = |points: &[LossPoint], of: fn(&LossPoint) -> f64| {
            points.iter().map(of).sum::<f64>() / points.len() as f64
        };
        let points = finite
            .chunks(run)
            .map(|points| (mean(points, |one| one.step as f64), mean(points, |one| one.loss)));
        Self {
            name: &curve.name,
            points: points.collect(),
            first: finite.first().copied(),
            last: finite.last().copied(),
            averaged_over: run,
        }
    }

    /// The last drawn point: the mean of the last run of points.
    fn final_loss(&self) -> Option<f64> {
        self.points.last().map(|point| point.1)
    }
}

/// Ranges of both axes. The loss axis is logarithmic when the losses are positive and span a factor of five
/// or more.
struct Axes {
    first_step: f64,
    last_step: f64,
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axes {
    fn over(curves: &[Drawn<'_>]) -> Option<Self> {
        let points = || curves.iter().flat_map(|curve| curve.points.iter());
        points().next()?;
        let lowest = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
        let highest = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
        let low = lowest(&mut points().map(|point| point.1));
        let high = highest(&mut points().map(|point| point.1));
        let logarithmic = low > 0.0 && high / low >= 5.0;
        let (low, high) = if logarithmic || high > low { (low, high) } else { (low - 0.5, high + 0.5) };
        Some(Self {
            first_step: lowest(&mut points().map(|point| point.0)),
            last_step: highest(&mut points().map(|point| point.0)),
            low,
            high,
            logarithmic,
        })
    }

    /// Share of the width, 0 left to 1 right.
    fn across(&self, step: f64) -> f64 {
        let span = self.last_step - self.first_step;
        if span > 0.0 { (step - self.first_step) / span } else { 0.5 }
    }

    /// Share of the height, 0 top to 1 bottom.
    fn down(&self, loss: f64) -> f64 {
        let height = |value: f64| if self.logarithmic { libm::log10(value) } else { value };
        let span = height(self.high) - height(self.low);
        if span > 0.0 { (height(self.high) - height(loss)) / span } else { 0.5 }
    }

    fn loss_ticks(&self) -> Vec<f64> {
        if !self.logarithmic {
            return even_ticks(self.low, self.high, 4);
        }
        let decades = libm::floor(libm::log10(self.low)) as i32..=libm::ceil(libm::log10(self.high)) as i32;
        let steps: &[f64] = if self.high / self.low > 1000.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        decades
            .flat_map(|decade| steps.iter().map(move |step| step * libm::pow(10.0, f64::from(decade))))
            .filter(|tick| (self.low..=self.high).contains(tick))
            .collect()
    }
}

fn chart(curves: &[Drawn<'_>], axes: &Axes) -> Markup {
    let percent = |share: f64| format!("{:.2}%", share * 100.0);
    let path = |curve: &Drawn<'_>| {
        let corner = |&(step, loss): &(f64, f64)| {
            format!("{:.1} {:.1}", axes.across(step) * WIDTH, axes.down(loss) * HEIGHT)
        };
        format!("M{}", curve.points.iter().map(corner).collect::<Vec<_>>().join("L"))
    };
    let averaged = curves.iter().map(|curve| curve.averaged_over).max().unwrap_or(1);
    html! {
        figure.chart {
            div.plot {
                @for tick in axes.loss_ticks() {
                    span.level style={ "top:" (percent(axes.down(tick))) } { span { (tick_text(tick)) } }
                }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                    aria-label="Loss of each member over the steps of its training; the numbers are in the table below" {
                    @for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
                        @if !curve.points.is_empty() { path d=(path(curve)) stroke=(colour) {} }
                    }
                }
                @for tick in even_ticks(axes.first_step, axes.last_step, 5) {
                    span.step-tick style={ "left:" (percent(axes.across(tick))) } { (tick_text(tick)) }
                }
            }
            figcaption.small {
                "Loss against training step."
                @if axes.logarithmic { " The loss axis is logarithmic." }
                @if averaged > 1 { " Each corner of a curve is the mean of up to " (averaged) " recorded losses." }
            }
        }
    }
}

fn table(curves: &[Drawn<'_>]) -> Markup {
    let headings = ["member", "first", "last, as drawn", "last step"].map(|heading| html! { (heading) });
    let rows = curves.iter().zip(COLOURS.iter().cycle()).map(|(curve, colour)| {
        let cells = vec![
            Cell::Number(html! { @if let Some(first) = curve.first { (number(first.loss, 4)) } }),
            Cell::Number(html! { @if let Some(last) = curve.final_loss() { (number(last, 4)) } }),
            Cell::Number(html! { @if let Some(last) = curve.last { (last.step) } }),
        ];
        (html! { span.key style={ "background:" (colour) } {} (name(curve.name)) }, cells)
    });
    plain_table("Loss of each member", &headings, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(losses: &[f64]) -> LossCurve {
        let points = losses.iter().enumerate().map(|(step, &loss)| LossPoint { step: step as u64, loss });
        LossCurve { name: "member 0".to_owned(), points: points.collect() }
    }

    #[test]
    fn long_curves_are_averaged_and_keep_their_mean() {
        let long = curve(&(0..4800).map(f64::from).collect::<Vec<_>>());
        let drawn = Drawn::of(&long);
        assert_eq!((drawn.points.len(), drawn.averaged_over), (240, 20));
        assert_eq!(drawn.points[0], (9.5, 9.5));
        let mean = drawn.points.iter().map(|point| point.1).sum::<f64>() / 240.0;
        assert!((mean - 2399.5).abs() < 1e-9);
    }

    #[test]
    fn losses_that_are_not_numbers_are_left_out() {
        let broken = curve(&[1.0, f64::NAN, f64::INFINITY, 0.5]);
        assert_eq!(Drawn::of(&broken).points, [(0.0, 1.0), (3.0, 0.5)]);
        assert!(Axes::over(&[Drawn::of(&curve(&[f64::NAN]))]).is_none(), "nothing to draw");
    }

    #[test]
    fn axes_are_logarithmic_only_where_that_helps() {
        let axes = |losses: &[f64]| Axes::over(&[Drawn::of(&curve(losses))]).expect("has points");
        let logarithmic = axes(&[1.0, 0.1, 0.01]);
        assert!(logarithmic.logarithmic);
        assert!((logarithmic.down(0.1) - 0.5).abs() < 1e-12);
        assert_eq!(logarithmic.loss_ticks().len(), 7, "1, 2, 5 times 0.01 and 0.1, and 1");
        assert!(!axes(&[0.2, 0.1]).logarithmic);
        assert!(!axes(&[1.0, 0.0]).logarithmic, "zero has no logarithm");
        let flat = axes(&[0.3, 0.3]);
        assert!((flat.down(0.3) - 0.5).abs() < 1e-12);
    }
}
