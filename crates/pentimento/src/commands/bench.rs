//! `pentimento bench`: what this machine can do, and how much of it is reached.

use super::print;
use crate::error::ProgramError;
use crate::progress::say;
use anyhow::Result;
use pentimento_bench::kernels::{Amount, Measurement};
use pentimento_bench::machine::{BUFFER_BYTES, Machine, Watch};
use pentimento_bench::{MeasureError, kernels, whole};
use pentimento_run::{RunError, RunOptions, Stop};

/// Share of the machine from which on the figures are not its own. The system's housekeeping stayed below 2 %.
const DISTURBED: f64 = 0.05;

/// Measures and prints a table of at most 100 columns.
pub(super) fn bench(options: &RunOptions) -> Result<()> {
    measure_and_print(&options.stop, options).map_err(|error| match error.downcast_ref() {
        Some(MeasureError::Run(RunError::Stopped)) => ProgramError::MeasuringStopped.into(),
        _ => error,
    })
}

fn measure_and_print(stop: &Stop, options: &RunOptions) -> Result<()> {
    let mut announce = |work: &str| say(&format!("measuring: {work}"));
    announce("limits of the machine");
    let watch = Watch::start();
    let machine = Machine::measure(stop)?;
    let mut measurements = kernels::measure(stop, &mut announce)?;
    measurements.extend(whole::measure(stop, options.batch.unwrap_or(64), &mut announce)?);
    let others = watch.share_of_others();
    print(&format!("{}, {} threads, {:?}", machine.processor, machine.threads, machine.instructions))?;
    print(&format!(
        "peak: {:.0} GFLOP/s (fused multiply-adds between registers)",
        machine.operations_per_second * 1e-9
    ))?;
    print(&format!(
        "memory: {:.1} GB/s (reading {} MiB)",
        machine.bytes_per_second * 1e-9,
        BUFFER_BYTES >> 20
    ))?;
    if let Some(share) = others.filter(|&share| share > DISTURBED) {
        print(&format!(
            "others used {:.0} % of the machine meanwhile: the figures are too low; measure again when it is quiet",
            100.0 * share
        ))?;
    }
    print(
        "of limit: by the operations of the direct sum; wide 3x3 convolutions make a quarter of its products and may pass 100 %",
    )?;
    print("")?;
    for line in table(&machine, &measurements) {
        print(&line)?;
    }
    Ok(())
}

/// Columns: work, median, quartiles, rate, fraction of the limit (of the processor or of the memory).
fn table(machine: &Machine, measurements: &[Measurement]) -> Vec<String> {
    let mut lines = vec![row(["work", "median", "quartiles", "rate", "of limit"].map(String::from))];
    let mut last_subject = "";
    for Measurement { subject, part, timing, amount, counted } in measurements {
        let median = timing.median();
        let [low, high] = timing.quartiles().map(duration);
        let (rate, fraction) = match amount {
            Amount::Operations(operations) => {
                let rate = operations / median;
                (format!("{:.0} GFLOP/s", rate * 1e-9), rate / machine.operations_per_second)
            }
            Amount::Bytes(bytes) => {
                let rate = bytes / median;
                (format!("{:.1} GB/s", rate * 1e-9), rate / machine.bytes_per_second)
            }
        };
        let name = if part.is_empty() {
            subject.clone()
        } else {
            if subject != last_subject {
                lines.push(subject.clone());
            }
            format!("  {part}")
        };
        last_subject = subject;
        let quartiles = format!("{low} to {high}");
        lines.push(row([name, duration(median), quartiles, rate, format!("{:.0} %", 100.0 * fraction)]));
        if let Some((unit, count)) = counted {
            lines.push(format!("  {} {unit}/s", quantity(count / median)));
        }
    }
    lines
}

fn row([work, median, quartiles, rate, fraction]: [String; 5]) -> String {
    format!("{work:<50} {median:>8} {quartiles:>18} {rate:>12} {fraction:>8}")
}

/// Three digits and a unit.
fn duration(seconds: f64) -> String {
    let (value, unit) = if seconds >= 1.0 {
        (seconds, "s")
    } else if seconds >= 1e-3 {
        (seconds * 1e3, "ms")
    } else {
        (seconds * 1e6, "us")
    };
    // Bounds of what rounds to 100 and to 10.
    let digits = if value >= 99.95 { 0 } else { usize::from(value < 9.995) + 1 };
    format!("{value:.digits$} {unit}")
}

/// Three digits, and millions in words.
fn quantity(value: f64) -> String {
    if value >= 1e6 {
        format!("{:.0} million", value * 1e-6)
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pentimento_bench::timing::Timing;
    use pentimento_kernels::Instructions;

    #[test]
    fn durations_have_three_digits() {
        let texts = [2.5, 0.0123, 0.000_456_7, 123.4, 0.009_994, 0.009_996, 0.099_96].map(duration);
        assert_eq!(texts, ["2.50 s", "12.3 ms", "457 us", "123 s", "9.99 ms", "10.0 ms", "100 ms"]);
    }

    /// The longest names and numbers that the measurements have.
    #[test]
    fn the_table_fits_a_terminal() {
        let machine = Machine {
            processor: String::new(),
            threads: 1,
            instructions: Instructions::detect(),
            operations_per_second: 1e12,
            bytes_per_second: 1e10,
        };
        let timing = Timing::from_seconds(vec![0.1234, 0.1234]);
        let mut measurements = Vec::new();
        for (subject, part, amount) in [
            ("conv 3x3, 64 images 28x28, 32 channels", "gradient of weight", Amount::Operations(1.2e12)),
            ("search, 1000000 codes of 24 members, top 100", "", Amount::Bytes(1.2e11)),
            ("Jacobian of one member a step, 7 tangents, 5 steps", "", Amount::Operations(1.2e11)),
        ] {
            let counted = Some(("images", 64.0));
            let (subject, part) = (subject.into(), part.into());
            measurements.push(Measurement { subject, part, timing: timing.clone(), amount, counted });
        }
        for line in table(&machine, &measurements) {
            assert!(line.len() <= 100, "{line}");
        }
    }
}
