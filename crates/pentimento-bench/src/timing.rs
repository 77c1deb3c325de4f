//! Repeating work and summing up how long it took.

use crate::Result;
use pentimento_run::Stop;
use std::time::{Duration, Instant};

/// Fewer repetitions give no quartiles worth printing.
const LEAST_REPETITIONS: usize = 5;

/// How long work took, over several repetitions.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// In increasing order, never empty.
    seconds: Vec<f64>,
}

impl Timing {
    /// Does the work once to warm up, then at least five times and until `budget` is used up.
    ///
    /// # Errors
    ///
    /// [`RunError::Stopped`](pentimento_run::RunError::Stopped) between two repetitions, and whatever the work returns.
    pub fn of(stop: &Stop, budget: Duration, mut work: impl FnMut() -> Result<()>) -> Result<Self> {
        work()?;
        let begin = Instant::now();
        let mut seconds = Vec::new();
        while seconds.len() < LEAST_REPETITIONS || begin.elapsed() < budget {
            stop.check()?;
            let start = Instant::now();
            work()?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(Self::from_seconds(seconds))
    }

    /// From the seconds of each repetition, at least one.
    pub fn from_seconds(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        Self { seconds }
    }

    /// Half of the repetitions took at most this long.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// A quarter and three quarters of the repetitions took at most this long.
    pub fn quartiles(&self) -> [f64; 2] {
        [0.25, 0.75].map(|share| self.quantile(share))
    }

    /// The shortest repetition: what disturbs a measurement only lengthens it.
    pub fn least(&self) -> f64 {
        self.quantile(0.0)
    }

    /// Between the two nearest repetitions in a straight line.
    fn quantile(&self, share: f64) -> f64 {
        let place = share * (self.seconds.len() - 1) as f64;
        let (below, above) = (self.seconds[place.floor() as usize], self.seconds[place.ceil() as usize]);
        below + (above - below) * place.fract()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MeasureError;

    #[test]
    fn quantiles_lie_between_repetitions() {
        let timing = Timing::from_seconds(vec![4.0, 1.0, 3.0, 2.0]);
        // As NumPy's default: linear interpolation.
        assert_eq!((timing.least(), timing.median(), timing.quartiles()), (1.0, 2.5, [1.75, 3.25]));
        let one = Timing::from_seconds(vec![7.0]);
        assert_eq!((one.least(), one.median(), one.quartiles()), (7.0, 7.0, [7.0, 7.0]));
    }

    #[test]
    fn work_is_repeated_and_stops_when_asked() {
        let mut count = 0;
        let counted = |count: &mut usize| {
            *count += 1;
            Ok(())
        };
        Timing::of(&Stop::default(), Duration::ZERO, || counted(&mut count)).unwrap();
        assert_eq!(count, 1 + LEAST_REPETITIONS);
        let mut failing = 0;
        let result = Timing::of(&Stop::default(), Duration::ZERO, || {
            failing += 1;
            if failing < 3 { Ok(()) } else { Err(MeasureError::NoMemory { bytes: failing }) }
        });
        assert!(matches!(result, Err(MeasureError::NoMemory { bytes: 3 })), "{result:?}");
    }
}
